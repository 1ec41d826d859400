//! A path shown by hand: recorded from a limp arm, kept as a table anybody can read, and followed again.

use std::path::Path;

use super::error::BusError;
use super::registers::JOINT_NAMES;

/// Longest path that is kept, points: twenty minutes at 100 Hz.
pub const MOST_POINTS: usize = 120_000;
/// How fast the goal moves ahead of the path where the arm lags behind or sags, per second of its error.
const CORRECTION_PER_S: f64 = 2.0;
/// Furthest the goal may be ahead of the path, rad: a little more than the arm's own weight takes, stretched out.
const MOST_CORRECTION_RAD: f64 = 0.12;

/// Joint angles over time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ArmPath {
    /// Times, s, ascending from 0, and joint angles, rad, in bus order.
    points: Vec<(f64, Vec<f64>)>,
    /// Time of the first point as it was given, s.
    start_s: f64,
}

impl ArmPath {
    /// Add a point; one that is not later than the last, or has no angles, is passed over.
    pub fn push(&mut self, time_s: f64, q_rad: &[f64]) {
        if !time_s.is_finite() || q_rad.len() != JOINT_NAMES.len() || self.is_full() {
            return;
        }
        if self.points.is_empty() {
            self.start_s = time_s;
        }
        let time_s = time_s - self.start_s;
        if self.points.last().is_none_or(|(last, _)| time_s > *last) {
            self.points.push((time_s, q_rad.to_vec()));
        }
    }

    /// Number of points.
    pub fn len(&self) -> usize {
        self.points.len()
    }

    /// Whether there is nothing to follow.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// Whether no more points are taken.
    pub fn is_full(&self) -> bool {
        self.points.len() >= MOST_POINTS
    }

    /// How long it takes, s.
    pub fn seconds(&self) -> f64 {
        self.points.last().map_or(0.0, |(time_s, _)| *time_s)
    }

    /// The farthest any joint moves, rad.
    pub fn extent_rad(&self) -> f64 {
        let range = |joint: usize| {
            let angles = || self.points.iter().map(|(_, q)| q[joint]);
            angles().fold(f64::NEG_INFINITY, f64::max) - angles().fold(f64::INFINITY, f64::min)
        };
        (0..JOINT_NAMES.len()).map(range).fold(0.0, f64::max)
    }

    /// Joint angles at a time, rad; before the beginning those of the first point, after the end those of the last. Empty
    /// for an empty path.
    pub fn at(&self, time_s: f64) -> Vec<f64> {
        let after = self.points.partition_point(|(at_s, _)| *at_s <= time_s);
        let (Some(before), next) = (after.checked_sub(1).and_then(|at| self.points.get(at)), self.points.get(after))
        else {
            return self.points.first().map_or_else(Vec::new, |(_, q)| q.clone());
        };
        let Some(next) = next else { return before.1.clone() };
        let share = (time_s - before.0) / (next.0 - before.0);
        before.1.iter().zip(&next.1).map(|(a, b)| a + share * (b - a)).collect()
    }

    /// As CSV: `time_s`, then one column of degrees per joint.
    pub fn to_csv(&self) -> String {
        let mut text = format!("time_s,{}\n", JOINT_NAMES.map(|name| format!("{name}_deg")).join(","));
        for (time_s, q) in &self.points {
            let angles: Vec<String> = q.iter().map(|angle| format!("{:.3}", angle.to_degrees())).collect();
            text += &format!("{time_s:.4},{}\n", angles.join(","));
        }
        text
    }

    /// From CSV.
    ///
    /// # Errors
    /// What is wrong in which line, and what belongs there.
    pub fn from_csv(text: &str) -> Result<Self, String> {
        let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let wanted = Self::default().to_csv();
        let (_, header) = lines.next().ok_or("it is empty; record a path anew")?;
        if header.trim() != wanted.trim() {
            return Err(format!("line 1: the columns must be {}", wanted.trim()));
        }
        let mut path = Self::default();
        for (index, line) in lines {
            let number = index + 1;
            let values: Result<Vec<f64>, _> = line.split(',').map(|value| value.trim().parse::<f64>()).collect();
            let values = values.map_err(|_| format!("line {number}: \"{line}\" is no list of numbers"))?;
            let [time_s, angles @ ..] = values.as_slice() else { continue };
            if angles.len() != JOINT_NAMES.len() {
                let (count, needed) = (values.len(), JOINT_NAMES.len() + 1);
                return Err(format!("line {number}: {count} values, {needed} are needed"));
            }
            if let Some(angle) = angles.iter().find(|angle| !(-360.0..=360.0).contains(*angle)) {
                return Err(format!("line {number}: {angle} is no joint angle; degrees from -360 to 360 are needed"));
            }
            let before = path.points.len();
            path.push(*time_s, &angles.iter().map(|angle| angle.to_radians()).collect::<Vec<f64>>());
            if path.points.len() == before {
                return Err(format!("line {number}: time {time_s} does not follow the line before; times must ascend"));
            }
        }
        if path.is_empty() {
            return Err("it has no points; record a path anew".to_owned());
        }
        Ok(path)
    }

    /// Read a file.
    ///
    /// # Errors
    /// [`BusError::Path`] naming file and line.
    pub fn load(file: &Path) -> Result<Self, BusError> {
        let wrong = |reason| BusError::Path { path: file.to_owned(), reason };
        let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
        Self::from_csv(&text).map_err(wrong)
    }

    /// Write a file; it appears whole or not at all.
    ///
    /// # Errors
    /// [`BusError::Io`].
    pub fn save(&self, file: &Path) -> Result<(), BusError> {
        let failed = |source| BusError::Io { what: format!("{}: saving the path", file.display()), source };
        let mut part = file.as_os_str().to_owned();
        part.push(".part");
        std::fs::write(&part, self.to_csv()).map_err(failed)?;
        std::fs::rename(&part, file).map_err(failed)
    }
}

/// Follows a path so that the arm, not the goal, is on it: where it sags under its weight or is held up, the goal leads.
#[derive(Clone, Debug, PartialEq)]
pub struct PathFollower {
    time_s: f64,
    lead_rad: Vec<f64>,
    worst_rad: f64,
}

impl Default for PathFollower {
    fn default() -> Self {
        Self { time_s: 0.0, lead_rad: vec![0.0; JOINT_NAMES.len()], worst_rad: 0.0 }
    }
}

impl PathFollower {
    /// Time on the path, s.
    pub fn time_s(&self) -> f64 {
        self.time_s
    }

    /// The farthest any joint but the gripper was from the path so far, rad.
    pub fn worst_rad(&self) -> f64 {
        self.worst_rad
    }

    /// The goal for an arm at `measured_rad`, rad; `dt_s` after the last, of which `advance_s` pass on the path.
    pub fn next(&mut self, path: &ArmPath, measured_rad: &[f64], dt_s: f64, advance_s: f64) -> Vec<f64> {
        let here = path.at(self.time_s);
        // What jaws hold keeps them from where they were shown to go; they shall squeeze no harder for it.
        let gripper = JOINT_NAMES.len() - 1;
        for (joint, ((lead, wanted), measured)) in self.lead_rad.iter_mut().zip(&here).zip(measured_rad).enumerate() {
            if joint == gripper {
                continue;
            }
            let error = wanted - measured;
            if advance_s > 0.0 {
                self.worst_rad = self.worst_rad.max(error.abs());
            }
            *lead = (*lead + CORRECTION_PER_S * error * dt_s).clamp(-MOST_CORRECTION_RAD, MOST_CORRECTION_RAD);
        }
        self.time_s += advance_s;
        path.at(self.time_s).iter().zip(&self.lead_rad).map(|(wanted, lead)| wanted + lead).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ramp() -> ArmPath {
        let mut path = ArmPath::default();
        (0..=100).for_each(|tick| path.push(7.0 + f64::from(tick) * 0.01, &[f64::from(tick) * 0.01; 6]));
        path
    }

    #[test]
    fn a_path_begins_at_zero_and_lies_between_its_points() {
        let path = ramp();
        assert!((path.seconds() - 1.0).abs() < 1e-9 && (path.extent_rad() - 1.0).abs() < 1e-9);
        assert!((path.at(0.505)[3] - 0.505).abs() < 1e-9);
        assert_eq!((path.at(-1.0)[0], path.at(9.0)[0]), (0.0, 1.0));
    }

    #[test]
    fn a_table_comes_back_and_mistakes_name_their_line() {
        let path = ramp();
        let back = ArmPath::from_csv(&path.to_csv()).unwrap();
        assert_eq!(back.len(), path.len());
        assert!(back.at(0.5).iter().zip(path.at(0.5)).all(|(a, b)| (a - b).abs() < 1e-4));
        let header = ArmPath::default().to_csv();
        for (text, complaint) in [
            (String::new(), "empty"),
            ("time,pan\n".into(), "line 1"),
            (header.clone(), "no points"),
            (format!("{header}0,1,2,3,4,5\n"), "line 2: 6 values"),
            (format!("{header}0,0,0,0,0,0,0\n0,1,1,1,1,1,1\n"), "line 3: time 0"),
            (format!("{header}0,0,0,0,0,0,nan\n"), "line 2: NaN"),
            (format!("{header}0,0,0,0,0,0,x\n"), "no list of numbers"),
        ] {
            let error = ArmPath::from_csv(&text).unwrap_err();
            assert!(error.contains(complaint), "{error}");
        }
    }

    #[test]
    fn an_arm_that_sags_is_brought_back_onto_the_path() {
        let mut path = ArmPath::default();
        (0..200).for_each(|tick| path.push(f64::from(tick) * 0.05, &[0.4; 6]));
        let (mut follower, mut measured) = (PathFollower::default(), vec![0.3; 6]);
        for _ in 0..300 {
            let goal = follower.next(&path, &measured, 0.01, 0.01);
            // Sags 0.07 rad below its goal, which it approaches within a tenth of a second.
            measured.iter_mut().zip(&goal).for_each(|(at, goal)| *at += 0.1 * (goal - 0.07 - *at));
        }
        assert!((measured[1] - 0.4).abs() < 0.005, "{measured:?}");
        assert!((measured[5] - 0.33).abs() < 0.005, "jaws get no lead");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC*") {
            let _ = ArmPath::from_csv(&text);
            let _ = ArmPath::from_csv(&format!("{}{text}", ArmPath::default().to_csv()));
        }
    }
}
