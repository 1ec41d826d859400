//! The small policy on disk and at work.

use super::learner::Keep;
use super::loader::{CameraInput, TrainData};
use super::optimiser::{load_weights, weights_of};
use super::sentence::Vocabulary;
use super::small::{SmallNet, SmallScales, SmallShape, SmallSize};
use super::tensors::TensorFile;
use super::{CONFIG_FILE, ORIGIN_KEY, WEIGHTS_FILE, folder_of, read_config};
use super::{Observation, Origin, Policy, PolicyError, PolicySpec};
use crate::dataset::schema::{ACTION, CAMERA_PREFIX, STATE};
use burn::tensor::{Device, Tensor, TensorData};
use serde_json::{Value, json};
use std::path::Path;

/// `type` in config.json.
pub const KIND: &str = "etude_small";
/// Relative targets smaller than this on average are not magnified further, in the dataset's units (degrees).
const LEAST_TARGET: f32 = 0.06;
/// Room above the mean size of a target.
const TARGET_ROOM: f32 = 1.25;

/// The network for a dataset: shapes and scales follow from it. Weights depend on `seed` alone.
pub fn build(data: &TrainData, size: &SmallSize, seed: u64, device: &Device) -> SmallNet {
    let (state_mean, state_std) = data.state_statistics();
    let target = data.target_sizes().iter().map(|mean| TARGET_ROOM * mean + LEAST_TARGET).collect();
    let (names, phases) = data.labels.as_ref().map_or((&[][..], 0), |labels| (&labels.names[..], labels.phases));
    let count = names.len() - usize::from(phases > 0);
    let shape = SmallShape {
        size: size.clone(),
        pictures: data.cameras.iter().map(|camera| (camera.height, camera.width)).collect(),
        joints: data.joints.len(),
        chunk: data.chunk_size,
        labels: count,
        phases,
        sentences: Vocabulary::of(&data.tasks),
    };
    let label_std = names[..count].iter().map(|name| label_size(name)).collect();
    let label_mean = label_means(data, count);
    SmallNet::new(shape, SmallScales { state_mean, state_std, target, label_mean, label_std }, seed, device)
}

/// What counts as one unit of a label: millimetres matter near the hand, and nobody needs them far away.
fn label_size(name: &str) -> f32 {
    match name {
        name if name.starts_with("grip.") && name.ends_with("_m") => 0.02,
        name if name.ends_with(".z_m") => 0.02,
        name if name.ends_with("_m") => 0.04,
        _ => 1.0,
    }
}

/// Means of the labels; those about the hand are zero where it is right.
fn label_means(data: &TrainData, count: usize) -> Vec<f32> {
    let Some(labels) = &data.labels else { return Vec::new() };
    let mut sums = vec![0.0f64; count];
    for row in labels.values.chunks_exact(labels.names.len()) {
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
    }
    let mean = |(sum, name): (&f64, &String)| {
        if name.starts_with("grip.") { 0.0 } else { (sum / data.rows as f64) as f32 }
    };
    sums.iter().zip(&labels.names).map(mean).collect()
}

impl Keep for SmallNet {
    fn begin_with(self, folder: &Path, device: &Device) -> Result<Self, PolicyError> {
        let folder = folder_of(folder);
        let file = folder.join(CONFIG_FILE);
        let config = read_config(&folder)?;
        let bad =
            |problem: String, remedy: &str| PolicyError::Config { file: file.clone(), problem, remedy: remedy.into() };
        if config["type"].as_str() != Some(KIND) {
            let problem = format!("it is a policy of the kind {}", config["type"]);
            return Err(bad(problem, "begin with one of the same kind and size, or from nothing"));
        }
        let (shape, scales) = sizes(&config).map_err(|problem| bad(problem, "restore it from a copy"))?;
        let wanted = self.shape();
        // New data may show fewer phases and ask in other words of the same vocabulary; the network stays what it was.
        let alike = SmallShape { phases: shape.phases, sentences: shape.sentences.clone(), ..wanted.clone() };
        if alike != shape || wanted.phases > shape.phases || wanted.sentences.is_some() && shape.sentences.is_none() {
            let problem = format!("its network is another one: {shape:?}, the data ask for {wanted:?}");
            return Err(bad(problem, "give the same --policy preset and data of the same kind, or begin from nothing"));
        }
        let file = folder.join(WEIGHTS_FILE);
        let weights = TensorFile::read(&file)?;
        let network = SmallNet::new(shape, scales, 0, device);
        load_weights(network, &weights).map_err(|problem| PolicyError::Weights { file, problem })
    }

    fn save(
        &self,
        folder: &Path,
        cameras: &[CameraInput],
        origin: &Origin,
        n_action_steps: usize,
    ) -> Result<(), PolicyError> {
        let io = |source| PolicyError::Io { file: folder.to_path_buf(), source };
        std::fs::create_dir_all(folder).map_err(io)?;
        let (shape, joints) = (self.shape(), origin.joints.len());
        let mut inputs = serde_json::Map::new();
        inputs.insert(STATE.into(), json!({"type": "STATE", "shape": [joints]}));
        for camera in cameras {
            let entry = json!({"type": "VISUAL", "shape": [3, camera.height, camera.width]});
            inputs.insert(format!("{CAMERA_PREFIX}{}", camera.name), entry);
        }
        let config = json!({
            "type": KIND,
            "n_obs_steps": 1,
            "chunk_size": shape.chunk,
            "n_action_steps": n_action_steps,
            "input_features": inputs,
            "output_features": {ACTION: {"type": "ACTION", "shape": [joints]}},
            "network": {"shape": shape, "scales": self.scales()},
            ORIGIN_KEY: origin,
        });
        let text = serde_json::to_string_pretty(&config).unwrap_or_default();
        let file = folder.join(CONFIG_FILE);
        std::fs::write(&file, text).map_err(|source| PolicyError::Io { file, source })?;
        let metadata = [("format".to_string(), "pt".to_string())].into();
        TensorFile { metadata, tensors: weights_of(self) }.write(&folder.join(WEIGHTS_FILE))?;
        Ok(())
    }
}

/// A small policy at work.
pub struct SmallPolicy {
    network: SmallNet,
    spec: PolicySpec,
    device: Device,
}

impl SmallPolicy {
    /// Opens the policy of `folder`, whose configuration is `config`.
    ///
    /// # Errors
    /// [`PolicyError`] naming the file.
    pub fn open(folder: &Path, config: &Value, device: &Device) -> Result<Self, PolicyError> {
        let bad = |problem: String| PolicyError::Config {
            file: folder.join(CONFIG_FILE),
            problem,
            remedy: "restore it from a copy, or train again".into(),
        };
        let origin: Origin = serde_json::from_value(config[ORIGIN_KEY].clone())
            .map_err(|error| bad(format!("{ORIGIN_KEY}: {error}")))?;
        let (shape, scales) = sizes(config).map_err(&bad)?;
        let inputs = config["input_features"].as_object();
        let names: Vec<String> =
            inputs.into_iter().flatten().filter_map(|(key, _)| Some(key.strip_prefix(CAMERA_PREFIX)?.into())).collect();
        let fits = [
            (names.len() == shape.pictures.len(), "input_features and network.shape name other cameras"),
            (
                origin.joints.len() == shape.joints && shape.joints > 0,
                "the joints are not as many as network.shape says",
            ),
            (scales.target.len() == shape.chunk * shape.joints, "network.scales.target has another length"),
            (scales.state_mean.len() == shape.joints, "network.scales.state_mean has another length"),
            (scales.state_std.len() == shape.joints, "network.scales.state_std has another length"),
            (is_possible(&shape), "network.shape has impossible sizes"),
        ];
        if let Some((_, problem)) = fits.iter().find(|(fits, _)| !fits) {
            return Err(bad((*problem).into()));
        }
        let cameras = names.into_iter().zip(&shape.pictures);
        let spec = PolicySpec {
            kind: "small".into(),
            cameras: cameras.map(|(name, &(height, width))| CameraInput { name, width, height }).collect(),
            fps: Some(origin.fps),
            robot: origin.robot,
            n_obs_steps: 1,
            chunk_size: shape.chunk,
            n_action_steps: config["n_action_steps"].as_u64().map_or(1, |steps| steps as usize).clamp(1, shape.chunk),
            tasks: origin.tasks,
            state_range: origin.state_range,
            reads: shape.sentences.is_some(),
            recorded: origin.recorded,
            ensemble: None,
            nudge_rad: origin.nudge_rad,
            joints: origin.joints,
        };
        let file = folder.join(WEIGHTS_FILE);
        let weights = TensorFile::read(&file)?;
        let network = SmallNet::new(shape, scales, 0, device);
        let network = load_weights(network, &weights).map_err(|problem| PolicyError::Weights { file, problem })?;
        Ok(Self { network, spec, device: device.clone() })
    }
}

/// Shape and scales of the network that a configuration describes, or what is wrong with it.
fn sizes(config: &Value) -> Result<(SmallShape, SmallScales), String> {
    let part = |key: &str| config["network"][key].clone();
    let shape = serde_json::from_value(part("shape")).map_err(|error| format!("network.shape: {error}"))?;
    let scales = serde_json::from_value(part("scales")).map_err(|error| format!("network.scales: {error}"))?;
    Ok((shape, scales))
}

/// Whether a network of this shape can be built at all.
fn is_possible(shape: &SmallShape) -> bool {
    let SmallSize { channels: (a, b, c, d), embedding, hidden } = shape.size;
    let sides = shape.pictures.iter().flat_map(|(height, width)| [*height, *width]);
    let counts = [a, b, c, d, embedding, hidden, shape.chunk];
    b == c
        && counts.iter().all(|count| (1..=8192).contains(count))
        && shape.labels + shape.phases <= 4096
        && shape.sentences.as_ref().is_none_or(|sentences| sentences.places <= 64 && sentences.words.len() <= 4096)
        && shape.joints <= 64
        && sides.into_iter().all(|side| (16..=1024).contains(&side))
}

impl Policy for SmallPolicy {
    fn spec(&self) -> &PolicySpec {
        &self.spec
    }

    fn predict(&mut self, observations: &[Observation], _noise_seed: u64) -> Result<Vec<Vec<f32>>, PolicyError> {
        let (count, joints) = (observations.len(), self.spec.joints.len());
        if count == 0 {
            return Ok(Vec::new());
        }
        let bad = |problem: String| PolicyError::Observation(problem);
        let mut states: Vec<f32> = Vec::with_capacity(count * joints);
        let mut pictures: Vec<Vec<f32>> = vec![Vec::new(); self.spec.cameras.len()];
        for observation in observations {
            let moment = observation.history.last().ok_or_else(|| bad("it is empty".into()))?;
            if moment.state.len() != joints {
                return Err(bad(format!("{} joints instead of {joints}", moment.state.len())));
            }
            states.extend(&moment.state);
            for (number, (camera, planes)) in self.spec.cameras.iter().zip(&mut pictures).enumerate() {
                let picture = moment.pictures.get(number);
                let size = (camera.width, camera.height);
                let picture = picture.filter(|p| (p.width, p.height) == size && p.rgb.len() == 3 * size.0 * size.1);
                let picture = picture.ok_or_else(|| bad(format!("no picture of camera {}", camera.name)))?;
                super::augment::Shading::default().to_planes(&picture.rgb, size, planes);
            }
        }
        let pictures: Vec<Tensor<4>> = pictures
            .into_iter()
            .zip(&self.spec.cameras)
            .map(|(planes, camera)| {
                Tensor::from_data(TensorData::new(planes, [count, 3, camera.height, camera.width]), &self.device)
            })
            .collect();
        let state = Tensor::from_data(TensorData::new(states, [count, joints]), &self.device);
        let texts = self.network.encode(observations.iter().map(|observation| observation.task), &self.device);
        let targets = self.network.targets(&pictures, state, texts).into_data().try_to_vec::<f32>();
        let targets = targets.map_err(|error| bad(format!("its answer is unreadable: {error:?}")))?;
        Ok(targets.chunks_exact(self.spec.chunk_size * joints).map(<[f32]>::to_vec).collect())
    }
}
