//! What can be wrong with a checkpoint.

use std::io;
use std::path::{Path, PathBuf};

/// Result of reading or writing a checkpoint.
pub type Result<T, E = CheckpointError> = std::result::Result<T, E>;

/// A checkpoint that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The operating system refused a file operation.
    #[error("{path}: cannot {action}: {source}; {}", io_remedy(source))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried, as a verb.
        action: &'static str,
        /// The system's own reason.
        source: io::Error,
    },
    /// A file was read but does not hold what it should.
    #[error("{path}: {key}: {problem}; {remedy}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The tensor, key or place in it.
        key: String,
        /// What is wrong there.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
}

fn io_remedy(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::NotFound => "give a folder with a checkpoint, such as RUN/checkpoints/last/pretrained_model",
        io::ErrorKind::PermissionDenied => "check who may read and write there",
        io::ErrorKind::StorageFull => "make room on the disk",
        _ => "check the disk",
    }
}

impl CheckpointError {
    pub(super) fn io(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.into(), action, source }
    }

    pub(super) fn invalid(
        path: &Path,
        key: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Invalid { path: path.into(), key: key.into(), problem: problem.into(), remedy: remedy.into() }
    }
}

/// A key of a policy's configuration that cannot be; the file is added by whoever read it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}; {remedy}")]
pub struct ConfigProblem {
    /// The key.
    pub key: String,
    /// What is wrong with it.
    pub problem: String,
    /// What to do.
    pub remedy: String,
}

impl ConfigProblem {
    /// A problem with a key.
    pub fn new(key: impl Into<String>, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { key: key.into(), problem: problem.into(), remedy: remedy.into() }
    }

    /// The same, told of a file.
    pub fn in_file(self, path: &Path) -> CheckpointError {
        CheckpointError::invalid(path, self.key, self.problem, self.remedy)
    }
}
