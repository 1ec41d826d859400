//! `config.json`.

use super::error::{CheckpointError, ConfigProblem, Result};
use super::features::{FeatureKind, Features};
use super::safetensors::replace;
use crate::policy::act::ActConfig;
use crate::policy::diffusion::DiffusionConfig;
use crate::policy::normalise::{NormMap, NormMode};
use crate::policy::smolvla::SmolVlaConfig;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::fs;
use std::path::Path;

/// Keys of LeRobot's that say where and with what a policy was trained and shared, not what it computes.
const WITHOUT_EFFECT: &[&str] = &[
    "type",
    "input_features",
    "output_features",
    "normalization_mapping",
    "device",
    "use_amp",
    "use_peft",
    "push_to_hub",
    "repo_id",
    "private",
    "tags",
    "license",
    "pretrained_path",
    "compile_model",
    "compile_mode",
];

/// The settings of a kind of policy.
#[derive(Debug, Clone, PartialEq)]
pub enum PolicyKind {
    /// Action chunking transformer.
    Act(ActConfig),
    /// Diffusion policy.
    Diffusion(DiffusionConfig),
    /// SmolVLA, for inference.
    SmolVla(SmolVlaConfig),
}

impl PolicyKind {
    /// LeRobot's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Act(_) => "act",
            Self::Diffusion(_) => "diffusion",
            Self::SmolVla(_) => "smolvla",
        }
    }

    /// What stands before every tensor's name.
    pub fn prefix(&self) -> &'static str {
        match self {
            Self::Act(_) | Self::SmolVla(_) => "model.",
            Self::Diffusion(_) => "diffusion.",
        }
    }

    /// How LeRobot normalises for this kind unless told otherwise.
    pub fn default_normalization(&self) -> NormMap {
        let (visual, numbers) = match self {
            Self::Act(_) => (NormMode::MeanStd, NormMode::MeanStd),
            Self::Diffusion(_) => (NormMode::MeanStd, NormMode::MinMax),
            Self::SmolVla(_) => (NormMode::Identity, NormMode::MeanStd),
        };
        [(FeatureKind::Visual, visual), (FeatureKind::State, numbers), (FeatureKind::Action, numbers)].into()
    }
}

/// A policy's `config.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyConfig {
    /// What it is and its settings.
    pub kind: PolicyKind,
    /// What it sees and gives.
    pub features: Features,
    /// How that is normalised.
    pub normalization: NormMap,
    /// Keys of the file that Etude does not know; a newer LeRobot may mean something by them.
    pub unknown_keys: Vec<String>,
}

impl PolicyConfig {
    /// With LeRobot's way of normalising for this kind.
    pub fn new(kind: PolicyKind, features: Features) -> Self {
        Self { normalization: kind.default_normalization(), kind, features, unknown_keys: Vec::new() }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, is not JSON, or a key is missing, wrong or of a kind of policy that Etude does not have.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(CheckpointError::io(path, "read"))?;
        let config: Map<String, Value> = serde_json::from_str(&text).map_err(|e| {
            let remedy = "the file is damaged or incomplete: copy it again";
            CheckpointError::invalid(path, format!("line {}", e.line()), e.to_string(), remedy)
        })?;
        Self::from_json(&config).map_err(|problem| problem.in_file(path))
    }

    fn from_json(config: &Map<String, Value>) -> Result<Self, ConfigProblem> {
        let features = Features::from_config(config)?;
        let (kind, unknown_keys) = match config.get("type").and_then(Value::as_str) {
            Some("act") => settings(config).map(|(c, unknown)| (PolicyKind::Act(c), unknown))?,
            Some("diffusion") => settings(config).map(|(c, unknown)| (PolicyKind::Diffusion(c), unknown))?,
            Some("smolvla") => settings(config).map(|(c, unknown)| (PolicyKind::SmolVla(c), unknown))?,
            other => {
                let problem = other.map_or("is missing".into(), |name| format!("is {name}"));
                return Err(ConfigProblem::new("type", problem, "Etude has act, diffusion and smolvla"));
            }
        };
        let normalization = match config.get("normalization_mapping") {
            None => kind.default_normalization(),
            Some(value) => NormMap::deserialize(value).map_err(|e| {
                let remedy = "give VISUAL, STATE, ACTION one of MEAN_STD, MIN_MAX, QUANTILES, QUANTILE10, IDENTITY";
                ConfigProblem::new("normalization_mapping", e.to_string(), remedy)
            })?,
        };
        match &kind {
            PolicyKind::Act(c) => c.check(&features)?,
            PolicyKind::Diffusion(c) => c.check(&features)?,
            PolicyKind::SmolVla(c) => c.check(&features)?,
        }
        Ok(Self { kind, features, normalization, unknown_keys })
    }

    /// As LeRobot's file has it.
    pub fn to_json(&self) -> Value {
        let mut config = Map::new();
        config.insert("type".into(), json!(self.kind.name()));
        config.insert("input_features".into(), Features::to_json(&self.features.inputs));
        config.insert("output_features".into(), Features::to_json(&self.features.outputs));
        config.insert("normalization_mapping".into(), json!(self.normalization));
        let settings = match &self.kind {
            PolicyKind::Act(c) => json!(c),
            PolicyKind::Diffusion(c) => json!(c),
            PolicyKind::SmolVla(c) => json!(c),
        };
        if let Value::Object(settings) = settings {
            config.extend(settings);
        }
        Value::Object(config)
    }

    pub(super) fn write(&self, path: &Path) -> Result<()> {
        write_json(path, &self.to_json(), 4)
    }
}

/// The keys of a kind of policy, and the names of those nobody knows.
fn settings<C: DeserializeOwned + Serialize + Default>(
    config: &Map<String, Value>,
) -> Result<(C, Vec<String>), ConfigProblem> {
    let known = match serde_json::to_value(C::default()) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    };
    let mine: Map<String, Value> = config
        .iter()
        .filter(|(key, _)| known.contains_key(*key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    // One key at a time first: serde's own message would not name it.
    for (key, value) in &mine {
        let alone = Value::Object([(key.clone(), value.clone())].into_iter().collect());
        if let Err(e) = C::deserialize(alone) {
            return Err(ConfigProblem::new(key, e.to_string(), "give what LeRobot's configuration has there"));
        }
    }
    let unknown = config
        .keys()
        .filter(|key| !known.contains_key(*key) && !WITHOUT_EFFECT.contains(&key.as_str()))
        .cloned()
        .collect();
    let settings = C::deserialize(Value::Object(mine))
        .map_err(|e| ConfigProblem::new("config", e.to_string(), "give the config.json of a trained policy"))?;
    Ok((settings, unknown))
}

/// Writes JSON with LeRobot's indent.
pub(super) fn write_json(path: &Path, value: &Value, indent: usize) -> Result<()> {
    let mut text = Vec::new();
    let spaces = " ".repeat(indent);
    let formatter = serde_json::ser::PrettyFormatter::with_indent(spaces.as_bytes());
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
    value.serialize(&mut serializer).map_err(|e| CheckpointError::Io {
        path: path.into(),
        action: "write",
        source: std::io::Error::other(e),
    })?;
    replace(path, |out| out.write_all(&text))
}
