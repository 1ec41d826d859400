//! What is learned of this computer's arms, so that nothing is typed twice: which USB serial number is the leader, which the
//! follower, and which calibration belongs to each. Saved as RON in the user's configuration folder.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::calibration_file::Role;
use super::discover::PortInfo;
use super::error::BusError;

/// An arm that was used on this computer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownArm {
    /// Name the user gave it.
    pub name: String,
    /// What it is used for.
    pub role: Role,
    /// Serial number of its USB adapter; the adapters of some arms have none.
    pub serial_number: Option<String>,
    /// Device file it was last found at.
    pub path: String,
    /// Name of its calibration, without `.json`.
    pub calibration_id: String,
}

/// All arms known on this computer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownArms {
    /// The arms, in the order they were learned.
    pub arms: Vec<KnownArm>,
}

impl KnownArms {
    /// The user's file, `arms.ron` in the configuration folder of `etude`; `None` on a system without home folders.
    pub fn user_file() -> Option<PathBuf> {
        directories::ProjectDirs::from("", "", "etude").map(|folders| folders.config_dir().join("arms.ron"))
    }

    /// Read a file; one that is not there holds no arms.
    ///
    /// # Errors
    /// [`BusError::Settings`] with the place of the mistake, [`BusError::Io`].
    pub fn load(path: &Path) -> Result<Self, BusError> {
        match std::fs::read_to_string(path) {
            Ok(text) => ron::from_str(&text).map_err(|error| BusError::Settings {
                field: path.display().to_string(),
                reason: format!("{error}; correct it, or delete it to have the arms learned again"),
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(KnownArms::default()),
            Err(source) => Err(BusError::Io { what: format!("{}: reading the known arms", path.display()), source }),
        }
    }

    /// Write a file; it appears whole or not at all.
    ///
    /// # Errors
    /// [`BusError::Io`].
    pub fn save(&self, path: &Path) -> Result<(), BusError> {
        let failed = |source| BusError::Io { what: format!("{}: saving the known arms", path.display()), source };
        let text = ron::ser::to_string_pretty(self, ron::ser::PrettyConfig::default())
            .map_err(|error| failed(std::io::Error::other(error)))?;
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let part = path.with_extension("ron.part");
        std::fs::write(&part, text).map_err(failed)?;
        std::fs::rename(&part, path).map_err(failed)
    }

    /// Remember an arm; what was known under its serial number, or its name in its role, is replaced.
    pub fn remember(&mut self, arm: KnownArm) {
        let same = |known: &KnownArm| {
            (known.name == arm.name && known.role == arm.role)
                || (arm.serial_number.is_some() && known.serial_number == arm.serial_number)
        };
        self.arms.retain(|known| !same(known));
        self.arms.push(arm);
    }

    /// The arm on a port: by its serial number, or by its device file if the adapter has none.
    pub fn on_port(&self, port: &PortInfo) -> Option<&KnownArm> {
        self.arms.iter().find(|arm| match (&arm.serial_number, &port.serial_number) {
            (Some(known), Some(found)) => known == found,
            (None, None) => arm.path == port.path,
            _ => false,
        })
    }

    /// The arm last learned for a role.
    pub fn latest(&self, role: Role) -> Option<&KnownArm> {
        self.arms.iter().rev().find(|arm| arm.role == role)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arm(name: &str, role: Role, serial_number: Option<&str>) -> KnownArm {
        KnownArm {
            name: name.to_owned(),
            role,
            serial_number: serial_number.map(str::to_owned),
            path: "/dev/ttyACM0".to_owned(),
            calibration_id: name.to_owned(),
        }
    }

    fn port(path: &str, serial_number: Option<&str>) -> PortInfo {
        let serial_number = serial_number.map(str::to_owned);
        PortInfo { path: path.to_owned(), usb_id: None, serial_number, manufacturer: None, product: None }
    }

    #[test]
    fn an_arm_is_known_again_on_another_port() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("etude/arms.ron");
        assert_eq!(KnownArms::load(&path).unwrap(), KnownArms::default());
        let mut known = KnownArms::default();
        known.remember(arm("blue", Role::Follower, Some("A1")));
        known.remember(arm("red", Role::Leader, Some("B2")));
        known.remember(arm("plain", Role::Leader, None));
        known.save(&path).unwrap();
        let known = KnownArms::load(&path).unwrap();
        assert_eq!(known.on_port(&port("/dev/ttyACM7", Some("A1"))).unwrap().name, "blue");
        assert_eq!(known.on_port(&port("/dev/ttyACM0", None)).unwrap().name, "plain");
        assert_eq!(known.on_port(&port("/dev/ttyACM0", Some("C3"))), None, "another arm on a known device file");
        assert_eq!(known.latest(Role::Leader).unwrap().name, "plain");
    }

    #[test]
    fn relearning_replaces_and_a_broken_file_is_explained() {
        let mut known = KnownArms::default();
        known.remember(arm("blue", Role::Follower, Some("A1")));
        known.remember(arm("azure", Role::Leader, Some("A1")));
        assert_eq!(known.arms, [arm("azure", Role::Leader, Some("A1"))]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("arms.ron");
        std::fs::write(&path, "(arms: [(nam: \"x\")])").unwrap();
        let error = KnownArms::load(&path).unwrap_err().to_string();
        assert!(error.contains("arms.ron") && error.contains("delete it"), "{error}");
    }
}
