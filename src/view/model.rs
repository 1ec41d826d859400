//! What is shown of a dataset.

use crate::dataset::check::Finding;
use crate::dataset::schema::{ACTION, CAMERA_PREFIX, STATE, extra};
use crate::dataset::{Dataset, DatasetError, Source};
use std::path::Path;

/// An episode in the list.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its number.
    pub index: usize,
    /// Its rows.
    pub rows: usize,
    /// Its length, s.
    pub seconds: f64,
    /// Its verdict; `None`: not judged.
    pub success: Option<bool>,
    /// Who drove, in words: `person`, `expert`, `policy`, `policy, corrected`.
    pub source: &'static str,
    /// Its tags.
    pub tags: Vec<String>,
    /// Its task.
    pub task: String,
    /// What the quality check found; `None`: it has not looked yet.
    pub findings: Option<Vec<Finding>>,
}

/// A dataset with its episodes.
pub struct Model {
    /// The dataset.
    pub dataset: Dataset,
    /// Its episodes.
    pub entries: Vec<Entry>,
    /// Its cameras: key and short name.
    pub cameras: Vec<(String, String)>,
    /// Names of the joints.
    pub joints: Vec<String>,
}

/// The numbers of an episode.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Measured position of each joint, LeRobot's units, one list a joint.
    pub states: Vec<Vec<f32>>,
    /// Target of each joint.
    pub actions: Vec<Vec<f32>>,
    /// Score, 0 to 1; empty where there is none.
    pub score: Vec<f32>,
}

impl Model {
    /// Opens the dataset in `root`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(root: &Path) -> Result<Self, DatasetError> {
        let dataset = Dataset::open(root)?;
        let info = dataset.info();
        let column = |key: &str| match info.feature(key) {
            Some(_) => dataset.scalars(key).map(Some),
            None => Ok(None),
        };
        let (outcomes, sources) = (column(extra::OUTCOME)?, column(extra::SOURCE)?);
        let of = |e: &crate::dataset::Episode| Entry {
            index: e.index,
            rows: e.length,
            seconds: e.length as f64 / f64::from(info.fps),
            success: match outcomes.as_ref().and_then(|codes| codes.get(e.from)) {
                Some(1.0) => Some(true),
                Some(0.0) => Some(false),
                _ => None,
            },
            source: sources.as_ref().and_then(|codes| codes.get(e.rows())).map_or("", source),
            tags: info.tags(e.index),
            task: e.tasks.join("; "),
            findings: None,
        };
        let entries = dataset.episodes().iter().map(of).collect();
        let cameras = info.features.iter().filter(|f| f.is_visual());
        let short = |key: &str| key.strip_prefix(CAMERA_PREFIX).unwrap_or(key).to_string();
        let cameras = cameras.map(|f| (f.key.clone(), short(&f.key))).collect();
        let names = info.feature(STATE).or(info.feature(ACTION)).map(|f| f.names.clone()).unwrap_or_default();
        let joints = names.as_array().into_iter().flatten().filter_map(|name| name.as_str());
        let joints = joints.map(|name| name.trim_end_matches(".pos").replace('_', " ")).collect();
        Ok(Self { entries, cameras, joints, dataset })
    }

    /// The numbers of an episode.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn series(&self, episode: usize) -> Result<Series, DatasetError> {
        let rows = self.dataset.episode(episode)?.rows();
        let columns = |key: &str| -> Result<Vec<Vec<f32>>, DatasetError> {
            if self.dataset.info().feature(key).is_none() {
                return Ok(Vec::new());
            }
            let all = self.dataset.rows(key)?;
            let one = |joint: usize| rows.clone().filter_map(|row| all.row(row).get(joint).copied()).collect();
            Ok((0..all.width).map(one).collect())
        };
        Ok(Series {
            states: columns(STATE)?,
            actions: columns(ACTION)?,
            score: columns(extra::SCORE)?.into_iter().next().unwrap_or_default(),
        })
    }

    /// Name of a joint.
    pub fn joint(&self, index: usize) -> String {
        self.joints.get(index).cloned().unwrap_or_else(|| format!("joint {index}"))
    }
}

/// Who drove, from the codes of an episode's rows.
fn source(codes: &[f64]) -> &'static str {
    let has = |source: Source| codes.contains(&f64::from(source as u8));
    match (has(Source::Policy), has(Source::Intervention)) {
        (true, true) => "policy, corrected",
        (true, false) => "policy",
        (false, true) => "correction",
        (false, false) if has(Source::Expert) => "expert",
        (false, false) => "person",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lerobots_dataset_is_listed() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/lerobot_v30/video");
        let model = Model::open(&root).unwrap();
        let lengths: Vec<usize> = model.entries.iter().map(|entry| entry.rows).collect();
        assert_eq!(lengths, [60, 45, 50]);
        assert_eq!((model.entries[1].task.as_str(), model.entries[1].success), ("Pick the cube", None));
        assert_eq!(model.cameras[0].1, "front");
        let series = model.series(1).unwrap();
        assert_eq!((series.states.len(), series.actions[5].len(), series.score.len()), (6, 45, 0));
        assert_eq!(series.states[0][0], model.dataset.rows(STATE).unwrap().row(60)[0]);
        assert_eq!(model.joint(0), "shoulder pan");
        assert!(model.series(3).is_err());
    }

    #[test]
    fn who_drove_is_told_in_words() {
        assert_eq!(source(&[0.0, 0.0]), "person");
        assert_eq!(source(&[1.0]), "expert");
        assert_eq!(source(&[2.0, 3.0, 2.0]), "policy, corrected");
    }
}
