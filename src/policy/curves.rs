//! The curves of a training run as they are on disk, read while the run still writes them.

use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// File with the curves in the folder of a run.
pub const CURVES_FILE: &str = "curves.jsonl";
/// Blocks of a sparkline, low to high.
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Curves by name: points of step and value.
#[derive(Debug, Default)]
pub struct Curves {
    file: PathBuf,
    read: u64,
    /// `loss_actions`, `learning_rate`, `success_rate`, … in alphabetical order.
    pub series: BTreeMap<String, Vec<[f64; 2]>>,
}

impl Curves {
    /// Those of the run in `root`; nothing is read yet.
    pub fn of(root: &Path) -> Self {
        Self { file: root.join(CURVES_FILE), ..Self::default() }
    }

    /// Reads what was added since the last call; whether there was anything. A line that is still being written waits for the
    /// next call.
    ///
    /// # Errors
    /// When the file is not there or cannot be read.
    pub fn update(&mut self) -> std::io::Result<bool> {
        let mut file = std::fs::File::open(&self.file)?;
        // Shorter than before: another run was begun.
        if file.metadata()?.len() < self.read {
            self.read = 0;
            self.series.clear();
        }
        file.seek(SeekFrom::Start(self.read))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.read += whole as u64;
        for line in bytes[..whole].split(|byte| *byte == b'\n') {
            // A line that is none was damaged by a crash; the others still tell their part.
            if let Ok(Value::Object(entries)) = serde_json::from_slice::<Value>(line)
                && let Some(step) = entries.get("step").and_then(Value::as_f64)
            {
                for (name, value) in entries.iter().filter(|(name, _)| *name != "step") {
                    if let Some(value) = value.as_f64() {
                        self.add(name, step, value);
                    }
                }
            }
        }
        Ok(whole > 0)
    }

    /// Adds a point; where a resumed run comes past a step again, the points from there on are replaced.
    pub fn add(&mut self, name: &str, step: f64, value: f64) {
        let points = self.series.entry(name.to_string()).or_default();
        while points.last().is_some_and(|last| last[0] >= step) {
            points.pop();
        }
        points.push([step, value]);
    }

    /// Latest value of a curve.
    pub fn last(&self, name: &str) -> Option<f64> {
        self.series.get(name)?.last().map(|point| point[1])
    }
}

/// A curve in `width` characters or fewer, from its least to its greatest value. Positive values that differ by more than ten
/// times are drawn by their logarithm, as losses are.
pub fn sparkline(points: &[[f64; 2]], width: usize) -> String {
    let finite: Vec<f64> = points.iter().map(|point| point[1]).filter(|value| value.is_finite()).collect();
    let bins = width.min(finite.len());
    let mut means: Vec<f64> = (0..bins)
        .map(|bin| {
            let part = &finite[bin * finite.len() / bins..(bin + 1) * finite.len() / bins];
            part.iter().sum::<f64>() / part.len() as f64
        })
        .collect();
    let range = |values: &[f64]| values.iter().fold((f64::MAX, f64::MIN), |(a, b), x| (a.min(*x), b.max(*x)));
    let (low, high) = range(&means);
    if low > 0.0 && high > 10.0 * low {
        means.iter_mut().for_each(|mean| *mean = mean.ln());
    }
    let (low, high) = range(&means);
    let block = |mean: &f64| {
        let share = if high > low { (mean - low) / (high - low) } else { 0.0 };
        BLOCKS[((share * 8.0) as usize).min(7)]
    };
    means.iter().map(block).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn curves_are_read_as_they_grow_and_resumed_runs_replace_their_end() {
        let folder = tempfile::tempdir().unwrap();
        let mut curves = Curves::of(folder.path());
        assert!(curves.update().is_err());
        let mut file = std::fs::File::create(folder.path().join(CURVES_FILE)).unwrap();
        let mut write = |text: &str| file.write_all(text.as_bytes()).unwrap();
        write("{\"step\": 1, \"loss_a\": 2.0}\n{\"step\": 2, \"loss_a\": 1.0}\nnonsense\n{\"step\": 3, \"lo");
        assert!(curves.update().unwrap());
        assert_eq!(curves.series["loss_a"], [[1.0, 2.0], [2.0, 1.0]]);
        assert!(!curves.update().unwrap());
        write("ss_a\": 0.5, \"success_rate\": 0.25}\n{\"step\": 2, \"loss_a\": 0.9}\n");
        assert!(curves.update().unwrap());
        assert_eq!(curves.series["loss_a"], [[1.0, 2.0], [2.0, 0.9]]);
        assert_eq!(curves.last("success_rate"), Some(0.25));
    }

    #[test]
    fn sparklines_go_from_the_least_to_the_greatest() {
        let points: Vec<[f64; 2]> = (0..8).map(|i| [f64::from(i), f64::from(i)]).collect();
        assert_eq!(sparkline(&points, 40), "▁▂▃▄▅▆▇█");
        assert_eq!(sparkline(&points, 2), "▁█");
        assert_eq!(sparkline(&[[0.0, 3.0], [1.0, 3.0]], 5), "▁▁");
        assert_eq!(sparkline(&[], 5), "");
        let falling: Vec<[f64; 2]> = [1000.0, 100.0, 10.0, 1.0].iter().map(|value| [0.0, *value]).collect();
        assert_eq!(sparkline(&falling, 4), "█▆▃▁", "by the logarithm");
    }
}
