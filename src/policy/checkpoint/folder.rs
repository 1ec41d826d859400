//! The folder of a checkpoint.

use super::config::PolicyConfig;
use super::error::{CheckpointError, Result};
use super::processor;
use super::safetensors::{TensorFile, write_tensors};
use super::weights::{collect, load};
use super::{ConfigProblem, file};
use crate::policy::normalise::{Normaliser, Statistics};
use burn::module::Module;
use std::fs;
use std::path::{Path, PathBuf};

/// What a checkpoint is written from.
#[derive(Debug, Clone, Copy)]
pub struct Contents<'a, M: Module> {
    /// What the policy is.
    pub config: &'a PolicyConfig,
    /// The statistics its inputs and outputs are normalised with.
    pub statistics: &'a Statistics,
    /// The network.
    pub module: &'a M,
}

/// Writes a checkpoint. The configuration comes last: a folder without it is none.
///
/// # Errors
/// When a file cannot be written, or the statistics do not suffice for the policy's inputs and outputs.
pub fn write<M: Module>(folder: &Path, contents: &Contents<M>) -> Result<()> {
    let Contents { config, statistics, module } = contents;
    let path = folder.join(file::CONFIG);
    Normaliser::new(statistics, &config.normalization, &config.features).map_err(|p| p.in_file(&path))?;
    fs::create_dir_all(folder).map_err(CheckpointError::io(folder, "make"))?;
    let weights = folder.join(file::WEIGHTS);
    let tensors = collect(*module, config.kind.prefix()).map_err(|problem| {
        ConfigProblem::new("weights", problem, "save again, or on another device").in_file(&weights)
    })?;
    write_tensors(&weights, &tensors)?;
    processor::write(folder, config, statistics)?;
    config.write(&path)
}

/// A checkpoint that was read and checked.
#[derive(Debug)]
pub struct Checkpoint {
    /// Where it lies: the folder with `config.json`.
    pub folder: PathBuf,
    /// What the policy is.
    pub config: PolicyConfig,
    /// The statistics of its processors.
    pub statistics: Statistics,
    /// The dataset's name of an observation and the policy's, where they differ.
    pub renamed: Vec<(String, String)>,
    weights: TensorFile,
}

impl Checkpoint {
    /// Reads the checkpoint in a folder, in its `pretrained_model`, or the last one of a training run.
    ///
    /// # Errors
    /// The file, the place in it and what to do.
    pub fn open(folder: &Path) -> Result<Self> {
        let places = [folder.into(), folder.join("pretrained_model"), folder.join("checkpoints/last/pretrained_model")];
        let folder = places.into_iter().find(|p| p.join(file::CONFIG).is_file()).unwrap_or_else(|| folder.into());
        let mut config = PolicyConfig::read(&folder.join(file::CONFIG))?;
        let processors = processor::read(&folder)?;
        if let Some(modes) = processors.modes {
            config.normalization = modes;
        }
        let weights = TensorFile::open(&folder.join(file::WEIGHTS))?;
        Ok(Self { config, statistics: processors.statistics, renamed: processors.renamed, weights, folder })
    }

    /// What normalises the policy's inputs and un-normalises its outputs.
    ///
    /// # Errors
    /// When a statistic is missing or has another width.
    pub fn normaliser(&self) -> Result<Normaliser> {
        Normaliser::new(&self.statistics, &self.config.normalization, &self.config.features)
            .map_err(|problem| problem.in_file(&self.folder.join(file::PREPROCESSOR)))
    }

    /// The module with the checkpoint's weights.
    ///
    /// # Errors
    /// A tensor that is missing, too much, or of another shape.
    pub fn load_into<M: Module>(&self, module: M) -> Result<M> {
        load(module, &self.weights, self.config.kind.prefix(), |_| false)
    }

    /// The weights as they are stored.
    pub fn weights(&self) -> &TensorFile {
        &self.weights
    }
}
