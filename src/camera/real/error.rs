//! What can be wrong with a camera.

use std::path::PathBuf;
use thiserror::Error;

/// Why a camera cannot be used.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum CameraError {
    /// The description of a source is not one.
    #[error("camera \"{text}\": {problem}; {remedy}")]
    Spec {
        /// What was given.
        text: String,
        /// What is wrong with it.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// No camera of this computer goes by the name.
    #[error("camera \"{id}\": this computer has {known}; plug it in, or choose one that `etude cameras` lists")]
    Unknown {
        /// The name, serial number or device file that was asked for.
        id: String,
        /// What there is.
        known: String,
    },
    /// It cannot be opened.
    #[error("{camera}: {problem}; {remedy}")]
    Open {
        /// Device, folder or file.
        camera: String,
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// No picture came.
    #[error("camera {name}: no picture came within {seconds} s ({problem}); see `etude cameras`")]
    NoPicture {
        /// Its name.
        name: String,
        /// How long was waited.
        seconds: u64,
        /// What its thread says.
        problem: String,
    },
    /// The user's file of cameras.
    #[error("{path}: {problem}; {remedy}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: String,
    },
}

impl CameraError {
    /// Shorthand for [`CameraError::Open`].
    pub(super) fn open(camera: impl Into<String>, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Open { camera: camera.into(), problem: problem.into(), remedy: remedy.into() }
    }

    /// Shorthand for [`CameraError::Spec`].
    pub(super) fn spec(text: &str, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Spec { text: text.into(), problem: problem.into(), remedy: remedy.into() }
    }
}
