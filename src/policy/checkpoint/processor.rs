//! The pre- and the post-processor: two lists of steps, of which normalising is the one with a state.

use super::config::{PolicyConfig, PolicyKind, write_json};
use super::error::{CheckpointError, Result};
use super::features::FeatureKind;
use super::file::{POSTPROCESSOR, PREPROCESSOR};
use super::safetensors::{NamedTensor, TensorFile, write_tensors};
use crate::policy::normalise::{NormMap, Statistics};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::fs;
use std::path::Path;

const NORMALIZER: &str = "normalizer_processor";
const UNNORMALIZER: &str = "unnormalizer_processor";
const RENAME: &str = "rename_observations_processor";

/// What the processors of a checkpoint say.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Processors {
    pub statistics: Statistics,
    pub modes: Option<NormMap>,
    /// The dataset's name of an observation and the policy's.
    pub renamed: Vec<(String, String)>,
}

pub(super) fn write(folder: &Path, config: &PolicyConfig, statistics: &Statistics) -> Result<()> {
    let features = |outputs_only: bool| -> Value {
        let inputs = if outputs_only { &[][..] } else { &config.features.inputs[..] };
        let all = inputs.iter().chain(&config.features.outputs);
        Value::Object(all.map(|(key, f)| (key.clone(), json!({"type": f.kind, "shape": f.shape}))).collect())
    };
    let normalise =
        |outputs_only| json!({"eps": 1e-8, "features": features(outputs_only), "norm_map": config.normalization});
    let step = |name: &str, config: Value| json!({"registry_name": name, "config": config});
    let device = || step("device_processor", json!({"device": "cpu", "float_dtype": null}));
    let mut before = vec![step(RENAME, json!({"rename_map": {}})), step("to_batch_processor", json!({}))];
    if let PolicyKind::SmolVla(settings) = &config.kind {
        before.push(step("smolvla_new_line_processor", json!({})));
        let tokenizer = json!({
            "max_length": settings.tokenizer_max_length,
            "task_key": "task",
            "padding_side": "right",
            "padding": settings.pad_language_to,
            "truncation": true,
            "tokenizer_name": settings.vlm_model_name,
        });
        before.push(step("tokenizer_processor", tokenizer));
    }
    before.extend([device(), step(NORMALIZER, normalise(false))]);
    let after = vec![step(UNNORMALIZER, normalise(true)), device()];
    let tensors = tensors(config, statistics);
    for (file, name, mut steps) in
        [(PREPROCESSOR, "policy_preprocessor", before), (POSTPROCESSOR, "policy_postprocessor", after)]
    {
        for (i, step) in steps.iter_mut().enumerate() {
            let registry = step["registry_name"].as_str().unwrap_or_default();
            if [NORMALIZER, UNNORMALIZER].contains(&registry) {
                let state = format!("{name}_step_{i}_{registry}.safetensors");
                write_tensors(&folder.join(&state), &tensors)?;
                step["state_file"] = json!(state);
            }
        }
        write_json(&folder.join(file), &json!({"name": name, "steps": steps}), 2)?;
    }
    Ok(())
}

/// The statistics with LeRobot's shapes: a picture's are (3, 1, 1).
fn tensors(config: &PolicyConfig, statistics: &Statistics) -> Vec<NamedTensor> {
    let is_picture = |key: &str| config.features.all().any(|(k, f)| k == key && f.kind == FeatureKind::Visual);
    let tensor = |(feature, name, values): (&str, &str, &[f32])| NamedTensor {
        name: format!("{feature}.{name}"),
        shape: if is_picture(feature) && values.len() == 3 { vec![3, 1, 1] } else { vec![values.len()] },
        values: values.to_vec(),
    };
    statistics.iter().map(tensor).collect()
}

pub(super) fn read(folder: &Path) -> Result<Processors> {
    let before = steps(&folder.join(PREPROCESSOR))?;
    let after = steps(&folder.join(POSTPROCESSOR))?;
    let find = |steps: &'_ [Value], name: &str| steps.iter().find(|s| s["registry_name"] == name).cloned();
    let mut statistics = Statistics::default();
    let mut modes = None;
    for (file, steps, name) in [(PREPROCESSOR, &before, NORMALIZER), (POSTPROCESSOR, &after, UNNORMALIZER)] {
        let path = folder.join(file);
        let Some(step) = find(steps, name) else {
            return Err(CheckpointError::invalid(
                &path,
                name,
                "the step is missing",
                "give a checkpoint of LeRobot 0.4 or later",
            ));
        };
        if let Some(norm_map) = step["config"].get("norm_map") {
            modes = Some(NormMap::deserialize(norm_map).map_err(|e| {
                CheckpointError::invalid(&path, "norm_map", e.to_string(), "give a checkpoint of LeRobot 0.4 or later")
            })?);
        }
        let Some(state) = step["state_file"].as_str() else { continue };
        if Path::new(state).file_name() != Some(state.as_ref()) {
            let problem = format!("is {state}, outside the folder");
            return Err(CheckpointError::invalid(&path, "state_file", problem, "give a file beside it"));
        }
        let tensors = TensorFile::open(&folder.join(state))?;
        for key in tensors.names() {
            if let (Some((feature, stat)), Some(tensor)) = (key.rsplit_once('.'), tensors.get(key)) {
                statistics.insert(feature, stat, tensor.values());
            }
        }
    }
    let rename = find(&before, RENAME).unwrap_or_default();
    let renamed = rename["config"]["rename_map"].as_object().into_iter().flatten();
    let renamed = renamed.filter_map(|(from, to)| Some((from.clone(), to.as_str()?.to_string()))).collect();
    Ok(Processors { statistics, modes, renamed })
}

fn steps(path: &Path) -> Result<Vec<Value>> {
    let text = fs::read_to_string(path).map_err(CheckpointError::io(path, "read"))?;
    let wrong = |key: String, problem: String| {
        CheckpointError::invalid(path, key, problem, "the file is damaged or incomplete: copy it again")
    };
    let mut json: Map<String, Value> =
        serde_json::from_str(&text).map_err(|e| wrong(format!("line {}", e.line()), e.to_string()))?;
    match json.remove("steps") {
        Some(Value::Array(steps)) => Ok(steps),
        _ => Err(wrong("steps".into(), "is missing".into())),
    }
}
