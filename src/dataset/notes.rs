//! What this program notes about episodes beside LeRobot's format: with which scene, arm and physics they were recorded,
//! and their tags. It lies in `info.json` under `etude`, which LeRobot passes over:
//!
//! ```json
//! "etude": {"recorded": [{"scene": "move_t", "physics": "fast", "tags": ["night"]}], "episodes": [0, 0, null]}
//! ```
//!
//! Each episode points to the note it was recorded under; episodes of other programs have none.

use super::schema::Info;
use serde_json::{Map, Value, json};

/// A note: names and values, such as `scene`, `arm`, `physics`, `tags`.
pub type Note = Map<String, Value>;

/// Key in `info.json`.
const KEY: &str = "etude";
const NOTES: &str = "recorded";
const EPISODES: &str = "episodes";

impl Info {
    /// The note of an episode; `None` where it has none.
    pub fn note(&self, episode: usize) -> Option<&Note> {
        let entry = self.rest.get(KEY)?;
        let place = usize::try_from(entry.get(EPISODES)?.get(episode)?.as_u64()?).ok()?;
        entry.get(NOTES)?.get(place)?.as_object()
    }

    /// Tags of an episode.
    pub fn tags(&self, episode: usize) -> Vec<String> {
        let tags = self.note(episode).and_then(|note| note.get("tags")?.as_array());
        tags.into_iter().flatten().filter_map(|tag| tag.as_str().map(String::from)).collect()
    }

    /// Notes something about the episode with this number, which comes after all that have a note. Notes nothing and
    /// changes nothing if `note` is empty and no episode before has one.
    pub(crate) fn add_note(&mut self, episode: usize, note: Option<&Note>) {
        let note = note.filter(|note| !note.is_empty());
        if note.is_none() && !self.rest.contains_key(KEY) {
            return;
        }
        let entry = self.rest.entry(KEY).or_insert_with(|| json!({}));
        if !entry.is_object() {
            *entry = json!({});
        }
        let Some(entry) = entry.as_object_mut() else { return };
        let place = note.map(|note| {
            let Some(notes) = list(entry, NOTES) else { return 0 };
            notes.iter().position(|known| known.as_object() == Some(note)).unwrap_or_else(|| {
                notes.push(Value::Object(note.clone()));
                notes.len() - 1
            })
        });
        if let Some(episodes) = list(entry, EPISODES) {
            // Episodes added by other programs are not in the list.
            episodes.resize(episode, Value::Null);
            episodes.push(json!(place));
        }
    }

    /// Forgets all notes.
    pub(crate) fn clear_notes(&mut self) {
        self.rest.remove(KEY);
    }
}

/// The list called `key`, made if there is none.
fn list<'a>(entry: &'a mut Map<String, Value>, key: &str) -> Option<&'a mut Vec<Value>> {
    let value = entry.entry(key).or_insert_with(|| json!([]));
    if !value.is_array() {
        *value = json!([]);
    }
    value.as_array_mut()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::schema::Spec;

    #[test]
    fn notes_are_shared_and_gaps_stay_gaps() {
        let (cameras, joints) = (Vec::new(), vec!["a.pos".to_string()]);
        let mut info = Spec { fps: 30, robot_type: "r".into(), joints, cameras, extras: false }.info().unwrap();
        info.add_note(0, None);
        assert!(info.rest.is_empty(), "nothing is noted where there is nothing to note");
        let note = |scene: &str| json!({"scene": scene, "tags": ["x"]}).as_object().cloned().unwrap();
        info.add_note(1, Some(&note("a")));
        info.add_note(2, Some(&note("b")));
        info.add_note(4, Some(&note("a")));
        assert_eq!(info.rest[KEY]["episodes"], json!([null, 0, 1, null, 0]));
        assert_eq!(info.rest[KEY]["recorded"].as_array().unwrap().len(), 2);
        assert_eq!((info.note(2).unwrap()["scene"].as_str(), info.note(3)), (Some("b"), None));
        assert_eq!((info.tags(4), info.tags(0)), (vec!["x".to_string()], Vec::new()));
        info.rest[KEY] = json!({"episodes": "damaged", "recorded": 3});
        assert_eq!(info.note(0), None);
        info.add_note(0, Some(&note("a")));
        assert!(info.note(0).is_some());
    }
}
