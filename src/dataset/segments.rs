//! Where a person says that the segments of a demonstration begin. The marks are part of the episode's note in `info.json`,
//! which LeRobot passes over:
//!
//! ```json
//! {"scene": "pick_place", "segments": {"close": 57, "lift": 63, "rest": 140}}
//! ```
//!
//! They stay with their episode through all edits; trimming moves them.

use super::notes::Note;
use super::schema::Info;
use serde_json::json;
use std::ops::Range;

/// Key in a note.
const KEY: &str = "segments";

/// First rows of the segments, counted from the episode's beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segments {
    /// The jaws close on the object.
    pub close: usize,
    /// The object leaves the table.
    pub lift: usize,
    /// The object lies where it stays.
    pub rest: usize,
}

impl Segments {
    /// What is wrong with them in an episode of so many rows; `None` if nothing is.
    pub fn problem(&self, rows: usize) -> Option<String> {
        let Self { close, lift, rest } = *self;
        if close > lift || lift >= rest {
            return Some(format!("closing at row {close}, lifting at {lift}, setting down at {rest} are out of order"));
        }
        (rest + 1 >= rows).then(|| format!("row {rest} leaves nothing after setting down; there are {rows} rows"))
    }

    /// The same marks in an episode of which only `rows` are kept; `None` where a mark was cut off.
    pub(crate) fn within(&self, rows: &Range<usize>) -> Option<Self> {
        let moved = |row: usize| rows.contains(&row).then(|| row - rows.start);
        Some(Self { close: moved(self.close)?, lift: moved(self.lift)?, rest: moved(self.rest)? })
    }

    /// Puts them into a note.
    pub(crate) fn note_in(&self, note: &mut Note) {
        note.insert(KEY.into(), json!({"close": self.close, "lift": self.lift, "rest": self.rest}));
    }

    /// Takes the marks out of a note.
    pub(crate) fn forget_in(note: &mut Note) {
        note.remove(KEY);
    }

    pub(crate) fn of_note(note: &Note) -> Option<Self> {
        let marks = note.get(KEY)?;
        let row = |name: &str| usize::try_from(marks.get(name)?.as_u64()?).ok();
        Some(Self { close: row("close")?, lift: row("lift")?, rest: row("rest")? })
    }
}

impl Info {
    /// The segments of an episode as a person marked them; `None` where nobody did.
    pub fn segments(&self, episode: usize) -> Option<Segments> {
        Segments::of_note(self.note(episode)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_move_with_the_rows_and_nonsense_is_named() {
        let marks = Segments { close: 10, lift: 12, rest: 40 };
        assert_eq!(marks.problem(60), None);
        assert!(marks.problem(41).unwrap().contains("40"));
        assert!(Segments { lift: 9, ..marks }.problem(60).unwrap().contains("out of order"));
        assert_eq!(marks.within(&(5..60)), Some(Segments { close: 5, lift: 7, rest: 35 }));
        assert_eq!(marks.within(&(11..60)), None);
        let mut note = Note::new();
        marks.note_in(&mut note);
        assert_eq!(Segments::of_note(&note), Some(marks));
        Segments::forget_in(&mut note);
        assert!(note.is_empty() && Segments::of_note(&note).is_none());
        let damaged = json!({"segments": {"close": -1, "lift": 2}}).as_object().cloned().unwrap();
        assert_eq!(Segments::of_note(&damaged), None);
    }
}
