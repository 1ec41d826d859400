//! The folder of a training run: what was trained and how, curves, checkpoints.
//!
//! ```text
//! run.json                                 the whole configuration, the dataset's fingerprint
//! curves.jsonl                             one line a report
//! tensorboard/                             the same for TensorBoard
//! checkpoints/004000/pretrained_model/     a policy
//! checkpoints/004000/training_state/       what a run needs to go on
//! policy/                                  the chosen policy
//! ```

use super::curves::CURVES_FILE;
use super::events::Events;
use super::tensors::{TensorError, TensorFile};
use super::train::Progress;
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// File with what a run needs to go on.
const STATE_FILE: &str = "training_state/optimiser.safetensors";

/// The folder of a run could not be used.
#[derive(Debug, Error)]
pub enum RunError {
    /// The file system refused.
    #[error("{path}: {source}; check the path, its permissions and the free space")]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// There is a run already.
    #[error("{0}: there is a run in this folder already; go on with it by --resume, or name another folder")]
    Taken(PathBuf),
    /// There is nothing to go on with.
    #[error("{0}: there is no checkpoint to go on from; name a run's folder or one of its checkpoints/NUMBER")]
    NoCheckpoint(PathBuf),
    /// A checkpoint is damaged.
    #[error(transparent)]
    Tensors(#[from] TensorError),
}

/// An open run.
#[derive(Debug)]
pub struct RunFolder {
    root: PathBuf,
    curves: std::fs::File,
    events: Events,
}

impl RunFolder {
    /// Begins a run in `root`; `config` is everything that decides it.
    ///
    /// # Errors
    /// [`RunError`]; a folder with another run is left alone.
    pub fn create(root: &Path, config: &Value) -> Result<Self, RunError> {
        if root.join("run.json").exists() {
            return Err(RunError::Taken(root.to_path_buf()));
        }
        let io = |source| RunError::Io { path: root.to_path_buf(), source };
        std::fs::create_dir_all(root.join("checkpoints")).map_err(io)?;
        let text = serde_json::to_string_pretty(config).unwrap_or_default();
        std::fs::write(root.join("run.json"), text).map_err(io)?;
        Self::open(root)
    }

    /// Goes on with the run in `root`.
    ///
    /// # Errors
    /// [`RunError::Io`].
    pub fn open(root: &Path) -> Result<Self, RunError> {
        let io = |source| RunError::Io { path: root.to_path_buf(), source };
        let curves = std::fs::File::options().create(true).append(true).open(root.join(CURVES_FILE)).map_err(io)?;
        let events = Events::create(&root.join("tensorboard")).map_err(io)?;
        Ok(Self { root: root.to_path_buf(), curves, events })
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Its configuration.
    ///
    /// # Errors
    /// [`RunError::Io`], also where the file is no JSON.
    pub fn config(root: &Path) -> Result<Value, RunError> {
        let path = root.join("run.json");
        let read = || Ok(serde_json::from_str(&std::fs::read_to_string(&path)?)?);
        read().map_err(|source| RunError::Io { path: path.clone(), source })
    }

    /// Adds a point to the curves.
    ///
    /// # Errors
    /// [`RunError::Io`].
    pub fn log(&mut self, progress: &Progress) -> Result<(), RunError> {
        let mut line = json!({
            "step": progress.step, "learning_rate": progress.learning_rate, "gradient": progress.gradient,
            "samples_per_second": progress.samples_per_second, "seconds": progress.seconds,
        });
        let mut values: Vec<(String, f32)> = vec![("train/learning_rate".into(), progress.learning_rate as f32)];
        for (name, value) in &progress.losses {
            line[format!("loss_{name}")] = json!(value);
            values.push((format!("train/loss_{name}"), *value));
        }
        values.push(("train/samples_per_second".into(), progress.samples_per_second as f32));
        self.add(progress.step, &line, &values)
    }

    /// Adds the success rate of a checkpoint to the curves.
    ///
    /// # Errors
    /// [`RunError::Io`].
    pub fn log_success(&mut self, step: usize, rate: f64, episodes: usize) -> Result<(), RunError> {
        let line = json!({"step": step, "success_rate": rate, "episodes": episodes});
        self.add(step, &line, &[("evaluate/success_rate".into(), rate as f32)])
    }

    fn add(&mut self, step: usize, line: &Value, values: &[(String, f32)]) -> Result<(), RunError> {
        let mut write = || {
            writeln!(self.curves, "{line}")?;
            self.events.add(step, values)
        };
        write().map_err(|source| RunError::Io { path: self.root.clone(), source })
    }

    /// Folder for the policy of a checkpoint; what a run needs to go on is kept beside it.
    ///
    /// # Errors
    /// [`RunError`].
    pub fn checkpoint(&self, step: usize, state: &TensorFile) -> Result<PathBuf, RunError> {
        let folder = self.root.join(format!("checkpoints/{step:06}"));
        let io = |source| RunError::Io { path: folder.clone(), source };
        std::fs::create_dir_all(folder.join("training_state")).map_err(io)?;
        std::fs::create_dir_all(folder.join("pretrained_model")).map_err(io)?;
        state.write(&folder.join(STATE_FILE))?;
        Ok(folder.join("pretrained_model"))
    }

    /// What the run in `path` needs to go on: `path` is a run's folder, for its last checkpoint, or one of its checkpoints.
    /// The run's folder, the file and its content.
    ///
    /// # Errors
    /// [`RunError::NoCheckpoint`] or why it cannot be read.
    pub fn resume(path: &Path) -> Result<(PathBuf, PathBuf, TensorFile), RunError> {
        let none = || RunError::NoCheckpoint(path.to_path_buf());
        let checkpoint = if path.join(STATE_FILE).is_file() {
            path.to_path_buf()
        } else {
            let entries = std::fs::read_dir(path.join("checkpoints")).map_err(|_| none())?;
            let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
            found.retain(|path| path.join(STATE_FILE).is_file());
            found.sort();
            found.pop().ok_or_else(none)?
        };
        let root = checkpoint.parent().and_then(Path::parent).ok_or_else(none)?.to_path_buf();
        let file = checkpoint.join(STATE_FILE);
        let state = TensorFile::read(&file)?;
        Ok((root, file, state))
    }

    /// Makes the policy in `from` the chosen one, `policy/`.
    ///
    /// # Errors
    /// [`RunError::Io`].
    pub fn choose(&self, from: &Path) -> Result<PathBuf, RunError> {
        let to = self.root.join("policy");
        let copy = || {
            std::fs::create_dir_all(&to)?;
            for entry in std::fs::read_dir(from)? {
                let entry = entry?;
                std::fs::copy(entry.path(), to.join(entry.file_name()))?;
            }
            Ok(())
        };
        copy().map_err(|source| RunError::Io { path: to.clone(), source })?;
        Ok(to)
    }
}
