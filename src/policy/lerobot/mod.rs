//! LeRobot's kinds of policy in training and at work: what lies between the networks and the rest of the program.
//!
//! [`learn`] wraps a network with its normaliser, so that it learns from rows in the dataset's own units and is saved in
//! LeRobot's layout; [`at_work`] opens such a folder, ours or LeRobot's, and answers observations.

pub mod at_work;
pub mod learn;

use crate::policy::normalise::Statistics;

/// File beside a checkpoint's own with what LeRobot's files have no place for: joints, rate, tasks. LeRobot refuses keys it
/// does not know in `config.json`, and passes over files it does not know.
pub const ORIGIN_FILE: &str = "etude.json";
/// A joint that spreads less than this over a dataset counts as spreading so much, in the dataset's units (degrees):
/// divided by its true spread, a tremor no demonstration showed would look like a leap.
const LEAST_SPREAD: f32 = 0.1;

/// Statistics of rows of `width` numbers under a feature's key.
fn measure(statistics: &mut Statistics, key: &str, rows: &[f32], width: usize) {
    let count = (rows.len() / width.max(1)).max(1) as f64;
    let column = |i: usize| rows.iter().skip(i).step_by(width.max(1)).map(|&x| f64::from(x));
    let of = |f: &dyn Fn(usize) -> f64| (0..width).map(|i| f(i) as f32).collect::<Vec<f32>>();
    let mean = |i: usize| column(i).sum::<f64>() / count;
    let std = |i: usize| (column(i).map(|x| (x - mean(i)).powi(2)).sum::<f64>() / count).sqrt();
    let least = of(&|i| column(i).fold(f64::INFINITY, f64::min));
    let greatest = of(&|i| column(i).fold(f64::NEG_INFINITY, f64::max));
    let room: Vec<f32> =
        least.iter().zip(&greatest).map(|(a, b)| (2.0 * LEAST_SPREAD - (b - a)).max(0.0) / 2.0).collect();
    statistics.insert(key, "mean", of(&mean));
    statistics.insert(key, "std", of(&std).into_iter().map(|s| s.max(LEAST_SPREAD)).collect());
    statistics.insert(key, "min", least.iter().zip(&room).map(|(x, room)| x - room).collect());
    statistics.insert(key, "max", greatest.iter().zip(&room).map(|(x, room)| x + room).collect());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_joint_that_stood_still_is_given_some_spread() {
        let mut statistics = Statistics::default();
        measure(&mut statistics, "action", &[0.0, 7.0, 2.0, 7.0], 2);
        assert_eq!(statistics.get("action", "mean"), Some(&[1.0, 7.0][..]));
        assert_eq!(statistics.get("action", "std"), Some(&[1.0, LEAST_SPREAD][..]));
        assert_eq!(statistics.get("action", "min"), Some(&[0.0, 6.9][..]));
        assert_eq!(statistics.get("action", "max"), Some(&[2.0, 7.1][..]));
    }
}
