//! Calibration files: LeRobot's JSON, LeRobot's folders, and no version ever lost.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::calibration::{JointCalibration, MAX_HOMING_OFFSET};
use super::error::BusError;

/// Calibration of an arm: its joints in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArmCalibration {
    /// Joint names and their calibration.
    pub joints: Vec<(String, JointCalibration)>,
}

/// Which arm a file belongs to; decides LeRobot's folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// The arm that does the work.
    Follower,
    /// The arm moved by hand.
    Leader,
}

impl ArmCalibration {
    /// The calibration of the joint `name`.
    pub fn joint(&self, name: &str) -> Option<&JointCalibration> {
        self.joints.iter().find(|(joint, _)| joint == name).map(|(_, calibration)| calibration)
    }

    /// Read a file.
    ///
    /// # Errors
    /// [`BusError::Calibration`] if it is missing, not LeRobot's JSON, or holds numbers no servo can take; the message names
    /// the joint.
    pub fn load(path: &Path) -> Result<Self, BusError> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            let reason = match error.kind() {
                std::io::ErrorKind::NotFound => "no such calibration; run `etude calibrate`".to_owned(),
                _ => error.to_string(),
            };
            BusError::Calibration { path: path.to_owned(), reason }
        })?;
        Self::from_json(&text).map_err(|reason| BusError::Calibration { path: path.to_owned(), reason })
    }

    /// Read LeRobot's JSON.
    ///
    /// # Errors
    /// What is wrong, where, and what to do.
    pub fn from_json(text: &str) -> Result<Self, String> {
        let map: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(text).map_err(|error| format!("not a calibration: {error}"))?;
        let mut joints = Vec::with_capacity(map.len());
        for (name, value) in map {
            let calibration: JointCalibration = serde_json::from_value(value)
                .map_err(|error| format!("joint {name}: {error}; calibrate this arm again"))?;
            joints.push((name, calibration));
        }
        let arm = ArmCalibration { joints };
        arm.validate()?;
        Ok(arm)
    }

    /// LeRobot's JSON, byte for byte: four spaces, no newline at the end.
    ///
    /// # Errors
    /// [`BusError::Io`] if serialisation fails.
    pub fn to_json(&self) -> Result<String, BusError> {
        let failed =
            |error: serde_json::Error| BusError::Io { what: "writing a calibration".to_owned(), source: error.into() };
        let mut map = serde_json::Map::new();
        for (name, calibration) in &self.joints {
            map.insert(name.clone(), serde_json::to_value(calibration).map_err(failed)?);
        }
        let mut bytes = Vec::new();
        let indent = serde_json::ser::PrettyFormatter::with_indent(b"    ");
        map.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, indent)).map_err(failed)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Check what would make the numbers meaningless.
    ///
    /// # Errors
    /// What is wrong, where, and what to do.
    pub fn validate(&self) -> Result<(), String> {
        if self.joints.is_empty() {
            return Err("no joints; run `etude calibrate`".to_owned());
        }
        for (index, (name, joint)) in self.joints.iter().enumerate() {
            if joint.range_min >= joint.range_max {
                let (min, max) = (joint.range_min, joint.range_max);
                return Err(format!("joint {name}: range {min}..{max} is empty; calibrate this joint again"));
            }
            if !(-4095..=8190).contains(&joint.range_min) || !(-4095..=8190).contains(&joint.range_max) {
                return Err(format!("joint {name}: range is more than a turn off; calibrate this joint again"));
            }
            if joint.homing_offset.abs() > MAX_HOMING_OFFSET {
                let offset = joint.homing_offset;
                return Err(format!("joint {name}: homing offset {offset} exceeds 2047; calibrate this joint again"));
            }
            if let Some((other, _)) = self.joints[..index].iter().find(|(_, other)| other.id == joint.id) {
                return Err(format!("joints {other} and {name} both have servo id {}; correct the file", joint.id));
            }
        }
        Ok(())
    }

    /// Save to `path`. What was there before is kept beside it as `history/<name>.<n>.json`, newest highest; the new file
    /// appears whole or not at all. Saving the same numbers again changes nothing. Returns where the previous version went.
    ///
    /// # Errors
    /// [`BusError::Calibration`] for numbers that fail [`validate`](Self::validate), [`BusError::Io`].
    pub fn save(&self, path: &Path) -> Result<Option<PathBuf>, BusError> {
        self.validate().map_err(|reason| BusError::Calibration { path: path.to_owned(), reason })?;
        let text = self.to_json()?;
        let failed = |what: &str| {
            let what = format!("{}: {what}", path.display());
            move |source| BusError::Io { what, source }
        };
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(failed("creating its folder"))?;
        let previous = match std::fs::read_to_string(path) {
            Ok(old) if old == text => return Ok(None),
            Ok(_) => Some(keep_version(path, folder)?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed("reading the previous version")(error)),
        };
        let part = path.with_extension("json.part");
        let mut file = std::fs::File::create(&part).map_err(failed("writing"))?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed("writing"))?;
        std::fs::rename(&part, path).map_err(failed("putting the new version in place"))?;
        Ok(previous)
    }
}

/// Copy `path` to the first free number in `history/`.
fn keep_version(path: &Path, folder: &Path) -> Result<PathBuf, BusError> {
    let history = folder.join("history");
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let failed = |source| BusError::Io { what: format!("{}: keeping the previous version", path.display()), source };
    std::fs::create_dir_all(&history).map_err(failed)?;
    for number in 1..100_000u32 {
        let kept = history.join(format!("{stem}.{number}.json"));
        // A hard link fails if the name is taken, so that no version can be written over, not even by two programs at once.
        match std::fs::hard_link(path, &kept) {
            Ok(()) => return Ok(kept),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            // File systems without hard links.
            Err(_) if !kept.exists() => {
                std::fs::copy(path, &kept).map_err(failed)?;
                return Ok(kept);
            }
            Err(_) => {}
        }
    }
    Err(failed(std::io::Error::other("there are 100000 versions already; clear the history folder")))
}

/// The file LeRobot keeps the calibration of the arm `id` in, with the environment read through `variable`.
pub fn lerobot_path(role: Role, id: &str, variable: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let root = set("HF_LEROBOT_CALIBRATION")
        .or_else(|| set("HF_LEROBOT_HOME").map(|home| home.join("calibration")))
        .or_else(|| set("HF_HOME").map(|home| home.join("lerobot/calibration")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/huggingface/lerobot/calibration")))?;
    let folders: [&str; 3] = match role {
        Role::Follower => ["robots/so_follower", "robots/so100_follower", "robots/so101_follower"],
        Role::Leader => ["teleoperators/so_leader", "teleoperators/so100_leader", "teleoperators/so101_leader"],
    };
    // Older releases used a folder per arm type; a file found there is the arm's calibration all the same.
    let file = format!("{id}.json");
    let paths = folders.map(|folder| root.join(folder).join(&file));
    Some(paths.iter().find(|path| path.exists()).unwrap_or(&paths[0]).clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = include_str!("../../tests/fixtures/bus/follower.json");

    #[test]
    fn lerobots_file_is_written_back_byte_for_byte() {
        let arm = ArmCalibration::from_json(FILE).unwrap();
        assert_eq!(arm.joint("shoulder_lift").unwrap().homing_offset, 1034);
        assert_eq!(arm.to_json().unwrap(), FILE);
    }

    #[test]
    fn bad_files_are_refused_with_the_joints_name() {
        for (wrong, expected) in [
            (FILE.replacen("\"range_max\": 3300", "\"range_max\": 700", 1), "shoulder_pan"),
            (FILE.replacen("1034", "2048", 1), "shoulder_lift"),
            (FILE.replacen("\"id\": 2", "\"id\": 1", 1), "shoulder_lift"),
            (FILE.replacen("\"drive_mode\": 0,", "", 1), "drive_mode"),
            (FILE.replacen("drive_mode", "mode", 1), "mode"),
            ("{}".to_owned(), "no joints"),
            ("[1]".to_owned(), "not a calibration"),
            (FILE[..100].to_owned(), "line"),
        ] {
            let error = ArmCalibration::from_json(&wrong).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn saving_keeps_every_version() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("robots/so_follower/blue.json");
        let mut arm = ArmCalibration::from_json(FILE).unwrap();
        assert_eq!(arm.save(&path).unwrap(), None);
        assert_eq!(arm.save(&path).unwrap(), None, "the same numbers again are no new version");
        for homing_offset in [1, 2, 3] {
            arm.joints[0].1.homing_offset = homing_offset;
            let kept = arm.save(&path).unwrap().unwrap();
            assert!(kept.ends_with(format!("history/blue.{homing_offset}.json")), "{}", kept.display());
            assert_eq!(ArmCalibration::load(&path).unwrap(), arm);
        }
        let first = ArmCalibration::load(&path.with_file_name("history/blue.1.json")).unwrap();
        assert_eq!(first, ArmCalibration::from_json(FILE).unwrap());
        arm.joints[0].1.range_max = 0;
        assert!(arm.save(&path).is_err(), "numbers no servo can take are not saved");
        assert_eq!(ArmCalibration::load(&path).unwrap().joints[0].1.homing_offset, 3);
    }

    #[test]
    fn folders_are_lerobots() {
        let home = |name: &str| (name == "HOME").then(|| "/home/ada".to_owned());
        let path = lerobot_path(Role::Follower, "blue", home).unwrap();
        assert_eq!(path, Path::new("/home/ada/.cache/huggingface/lerobot/calibration/robots/so_follower/blue.json"));
        let set = |name: &str| (name == "HF_LEROBOT_CALIBRATION").then(|| "/cal".to_owned());
        let path = lerobot_path(Role::Leader, "blue", set).unwrap();
        assert_eq!(path, Path::new("/cal/teleoperators/so_leader/blue.json"));
        assert_eq!(lerobot_path(Role::Leader, "blue", |_| None), None);
    }

    #[test]
    fn a_file_of_an_older_release_is_found() {
        let root = tempfile::tempdir().unwrap();
        let old = root.path().join("robots/so101_follower/blue.json");
        std::fs::create_dir_all(old.parent().unwrap()).unwrap();
        std::fs::write(&old, FILE).unwrap();
        let root = root.path().to_string_lossy().into_owned();
        let found =
            lerobot_path(Role::Follower, "blue", |name| (name == "HF_LEROBOT_CALIBRATION").then(|| root.clone()));
        assert_eq!(found, Some(old));
    }
}
