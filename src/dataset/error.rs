//! What can go wrong with a dataset, said so that the reader knows which file, which key and what to do.

use std::io;
use std::path::{Path, PathBuf};

/// Result of every fallible call in this module.
pub type Result<T, E = DatasetError> = std::result::Result<T, E>;

/// A failure of reading, writing or editing a dataset.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// The operating system refused a file operation.
    #[error("{path}: cannot {action}: {source}. {}", io_remedy(source))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried, as a verb: "open", "write".
        action: &'static str,
        /// The system's own reason.
        source: io::Error,
    },
    /// A file was read but its content is not a valid dataset.
    #[error("{path}: {key}: {problem}. {remedy}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The key, column, box or episode in it.
        key: String,
        /// What is wrong there.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
    /// What was asked for does not fit: a wrong argument, an unknown camera, an episode out of range.
    #[error("{what}: {problem}. {remedy}")]
    Request {
        /// The argument.
        what: String,
        /// Why it cannot be served.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
    /// Another program writes to this dataset.
    #[error(
        "{root} is being written by another program ({holder}). Close that one first, or record into another folder."
    )]
    Locked {
        /// The dataset.
        root: PathBuf,
        /// Who holds it: process number and starting time as that program wrote them.
        holder: String,
    },
    /// The dataset on disk was recorded with another robot, rate or set of cameras.
    #[error(
        "cannot add to {root}, it differs from what would be recorded: {}. Record into another folder, or change the configuration to match.",
        differences.join("; ")
    )]
    Mismatch {
        /// The dataset.
        root: PathBuf,
        /// One sentence for each difference.
        differences: Vec<String>,
    },
    /// A video encoder or decoder gave up.
    #[error("{path}: frame {frame}: {problem}. The rest of the dataset is readable; delete or re-record this episode.")]
    Video {
        /// The video file.
        path: PathBuf,
        /// Index of the frame in that file.
        frame: usize,
        /// The codec's own reason.
        problem: String,
    },
    /// A background thread of the writer ended early.
    #[error(
        "the {thread} thread ended unexpectedly. Finished episodes are safe; restart recording to recover the cut one."
    )]
    Thread {
        /// Which thread.
        thread: &'static str,
    },
}

fn io_remedy(source: &io::Error) -> &'static str {
    use io::ErrorKind as K;
    match source.kind() {
        K::NotFound => "Check the path.",
        K::NotADirectory => "A part of the path is a file, not a folder: choose another folder.",
        K::PermissionDenied | K::ReadOnlyFilesystem => {
            "The folder cannot be written by this user: choose another folder or change its permissions."
        }
        K::StorageFull | K::QuotaExceeded | K::FileTooLarge => {
            "No room is left: free some space; finished episodes are safe and the cut one can be recovered."
        }
        K::UnexpectedEof => "The file was cut short: restore it from a copy or delete the episode it belongs to.",
        _ => "Check the disk and try again.",
    }
}

/// Attaches path and verb to an [`io::Error`].
pub(crate) trait IoContext<T> {
    /// `action` is a verb: "open", "write".
    fn at(self, path: &Path, action: &'static str) -> Result<T>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn at(self, path: &Path, action: &'static str) -> Result<T> {
        self.map_err(|source| DatasetError::Io { path: path.to_path_buf(), action, source })
    }
}

impl DatasetError {
    /// Shorthand for [`DatasetError::Invalid`].
    pub(crate) fn invalid(
        path: &Path,
        key: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Invalid { path: path.to_path_buf(), key: key.into(), problem: problem.into(), remedy: remedy.into() }
    }

    /// Shorthand for [`DatasetError::Request`].
    pub(crate) fn request(what: impl Into<String>, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Request { what: what.into(), problem: problem.into(), remedy: remedy.into() }
    }
}

/// The remedy for damage that nobody can undo from inside the file.
pub(crate) const RESTORE: &str = "Restore the file from a copy, or delete the episodes it holds";

/// Runs a third-party parser on bytes that may be damaged and turns a panic inside it into an error: a bad file must
/// never end the program, and these parsers were not all written for hostile input.
pub(crate) fn guarded<T>(path: &Path, what: &str, run: impl FnOnce() -> Result<T>) -> Result<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(run))
        .unwrap_or_else(|_| Err(DatasetError::invalid(path, what, "the content is damaged", RESTORE)))
}
