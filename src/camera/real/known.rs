//! Which camera is which on this computer, said once: names such as `front` bound to stable names of cameras. Saved as RON
//! in the user's configuration folder, beside the known arms.

use super::error::CameraError;
use super::source::{CameraSource, NamedSource};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A name and the camera it means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BoundCamera {
    /// The name in datasets and policies.
    pub name: String,
    /// The camera as [`CameraSource`] reads it: a stable name, or a stand-in.
    pub source: String,
}

/// All cameras bound on this computer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownCameras {
    /// The bindings, in the order they were made.
    pub cameras: Vec<BoundCamera>,
}

impl KnownCameras {
    /// The user's file, `cameras.ron` in the configuration folder of `etude`; `None` on a system without home folders.
    pub fn user_file() -> Option<PathBuf> {
        directories::ProjectDirs::from("", "", "etude").map(|folders| folders.config_dir().join("cameras.ron"))
    }

    /// Reads a file; one that is not there binds nothing.
    ///
    /// # Errors
    /// [`CameraError::File`].
    pub fn load(path: &Path) -> Result<Self, CameraError> {
        let fail =
            |problem: String, remedy: &str| CameraError::File { path: path.into(), problem, remedy: remedy.into() };
        match std::fs::read_to_string(path) {
            Ok(text) => ron::from_str(&text)
                .map_err(|error| fail(error.to_string(), "correct it, or delete it and bind the cameras again")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(fail(error.to_string(), "make it readable")),
        }
    }

    /// Writes a file; it appears whole or not at all.
    ///
    /// # Errors
    /// [`CameraError::File`].
    pub fn save(&self, path: &Path) -> Result<(), CameraError> {
        let fail = |problem: String| CameraError::File {
            path: path.into(),
            problem,
            remedy: "make its folder writable".into(),
        };
        let text =
            ron::ser::to_string_pretty(self, ron::ser::PrettyConfig::default()).map_err(|e| fail(e.to_string()))?;
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|e| fail(e.to_string()))?;
        }
        let part = path.with_extension("ron.part");
        std::fs::write(&part, text).and_then(|()| std::fs::rename(&part, path)).map_err(|e| fail(e.to_string()))
    }

    /// Binds a name; what it meant before, and other names of the same camera, are forgotten.
    pub fn bind(&mut self, name: &str, source: &CameraSource) {
        let source = source.to_string();
        self.cameras.retain(|camera| camera.name != name && camera.source != source);
        self.cameras.push(BoundCamera { name: name.into(), source });
    }

    /// Forgets a name; whether it was bound.
    pub fn unbind(&mut self, name: &str) -> bool {
        let before = self.cameras.len();
        self.cameras.retain(|camera| camera.name != name);
        self.cameras.len() < before
    }

    /// The bindings as sources.
    ///
    /// # Errors
    /// [`CameraError::Spec`] when somebody wrote nonsense into the file.
    pub fn sources(&self) -> Result<Vec<NamedSource>, CameraError> {
        let read = |camera: &BoundCamera| {
            NamedSource::check_name(&camera.name)?;
            Ok(NamedSource { name: camera.name.clone(), source: camera.source.parse()? })
        };
        self.cameras.iter().map(read).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_means_one_camera_and_a_camera_has_one_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("etude/cameras.ron");
        let mut known = KnownCameras::load(&path).unwrap();
        let device = |id: &str| CameraSource::Device(id.into());
        known.bind("front", &device("usb-1"));
        known.bind("wrist", &device("usb-2"));
        known.bind("front", &device("usb-3"));
        known.bind("side", &device("usb-2"));
        known.save(&path).unwrap();
        let sources = KnownCameras::load(&path).unwrap().sources().unwrap();
        let names: Vec<&str> = sources.iter().map(|named| named.name.as_str()).collect();
        assert_eq!(names, ["front", "side"]);
        assert_eq!(sources[0].source, device("usb-3"));
        assert!(known.unbind("side") && !known.unbind("side"));
    }

    #[test]
    fn a_broken_file_is_explained() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cameras.ron");
        std::fs::write(&path, "(cameras: [(nam: \"x\")])").unwrap();
        let error = KnownCameras::load(&path).unwrap_err().to_string();
        assert!(error.contains("cameras.ron") && error.contains("delete it"), "{error}");
    }
}
