//! A checkpoint in LeRobot's layout, ours or LeRobot's own, that answers observations.

use super::ORIGIN_FILE;
use crate::dataset::schema::{ACTION, CAMERA_PREFIX, STATE};
use crate::policy::act::{Act, ActInput};
use crate::policy::augment::Shading;
use crate::policy::checkpoint::{Checkpoint, PolicyKind};
use crate::policy::diffusion::{Diffusion, DiffusionInput};
use crate::policy::loader::CameraInput;
use crate::policy::nn::Noise;
use crate::policy::normalise::Normaliser;
use crate::policy::{Observation, Origin, Policy, PolicyError, PolicySpec};
use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use std::path::Path;

enum Network {
    Act(Box<Act>),
    Diffusion(Box<Diffusion>),
}

/// ACT or a diffusion policy at work.
pub struct ChunkPolicy {
    network: Network,
    normaliser: Normaliser,
    spec: PolicySpec,
    /// Keys of the cameras, in the order of [`PolicySpec::cameras`].
    keys: Vec<String>,
    state_width: usize,
    device: Device,
}

impl ChunkPolicy {
    /// Opens the checkpoint in a folder.
    ///
    /// # Errors
    /// The file, the place in it and what to do.
    pub fn open(folder: &Path, device: &Device) -> Result<Self, PolicyError> {
        let checkpoint = Checkpoint::open(folder)?;
        let config_file = checkpoint.folder.join(crate::policy::CONFIG_FILE);
        let refuse = |problem: String, remedy: &str| PolicyError::Config {
            file: config_file.clone(),
            problem,
            remedy: remedy.into(),
        };
        let features = &checkpoint.config.features;
        let fits = |p: crate::policy::checkpoint::ConfigProblem| p.in_file(&config_file);
        if features.environment_width().is_some() {
            let remedy = "train on cameras and joint positions alone: a real arm knows nothing else";
            return Err(refuse("it wants to be told where objects are".into(), remedy));
        }
        let (network, n_obs_steps, chunk_size, n_action_steps) = match &checkpoint.config.kind {
            PolicyKind::Act(config) => {
                let act = checkpoint.load_into(Act::new(config, features, device).map_err(fits)?)?.for_inference();
                (Network::Act(Box::new(act)), 1, config.chunk_size, config.n_action_steps)
            }
            PolicyKind::Diffusion(config) => {
                let network = Diffusion::new(config, features, device).map_err(fits)?;
                let network = checkpoint.load_into(network)?.valid();
                (
                    Network::Diffusion(Box::new(network)),
                    config.n_obs_steps,
                    config.n_action_steps,
                    config.n_action_steps,
                )
            }
            PolicyKind::SmolVla(_) => {
                let remedy =
                    "use act, diffusion or small; SmolVLA runs through etude::policy::smolvla with token numbers";
                return Err(refuse("smolvla needs a tokenizer, which Etude does not have".into(), remedy));
            }
        };
        let origin = read_origin(&checkpoint.folder)?;
        let keys: Vec<String> = features.cameras().map(|(key, _)| key.to_string()).collect();
        // A renamed camera is the dataset's to the outside.
        let outside = |key: &str| {
            let renamed = checkpoint.renamed.iter().find(|(_, to)| to == key);
            let key = renamed.map_or(key, |(from, _)| from.as_str());
            key.strip_prefix(CAMERA_PREFIX).unwrap_or(key).to_string()
        };
        let cameras = features.cameras().map(|(key, feature)| CameraInput {
            name: outside(key),
            width: feature.shape[2],
            height: feature.shape[1],
        });
        let state_width = features.state_width().unwrap_or(0);
        let action_width = features.action_width().map_err(fits)?;
        if state_width != action_width {
            let problem = format!("it sees {state_width} joints and moves {action_width}");
            return Err(refuse(problem, "give a policy whose state and action are the same joints"));
        }
        let origin = origin.unwrap_or_default();
        // LeRobot counts an ensemble's chunks from the oldest, this program from the newest.
        let ensemble = match &checkpoint.config.kind {
            PolicyKind::Act(config) => config.temporal_ensemble_coeff.map(|coefficient| -coefficient as f32),
            _ => None,
        };
        let spec = PolicySpec {
            reads: false,
            recorded: origin.recorded,
            ensemble,
            nudge_rad: origin.nudge_rad,
            kind: checkpoint.config.kind.name().into(),
            cameras: cameras.collect(),
            fps: (origin.fps > 0).then_some(origin.fps),
            robot: origin.robot,
            n_obs_steps,
            chunk_size,
            n_action_steps,
            tasks: origin.tasks,
            state_range: origin.state_range,
            joints: origin.joints,
        };
        Ok(Self { network, normaliser: checkpoint.normaliser()?, spec, keys, state_width, device: device.clone() })
    }
}

/// What our own training wrote beside the checkpoint; LeRobot's have nothing there.
fn read_origin(folder: &Path) -> Result<Option<Origin>, PolicyError> {
    let file = folder.join(ORIGIN_FILE);
    if !file.exists() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&file).map_err(|source| PolicyError::Io { file: file.clone(), source })?;
    serde_json::from_str(&text).map(Some).map_err(|error| PolicyError::Config {
        file,
        problem: error.to_string(),
        remedy: "restore it from a copy".into(),
    })
}

impl Policy for ChunkPolicy {
    fn spec(&self) -> &PolicySpec {
        &self.spec
    }

    fn predict(&mut self, observations: &[Observation], noise_seed: u64) -> Result<Vec<Vec<f32>>, PolicyError> {
        let (count, moments, joints) = (observations.len(), self.spec.n_obs_steps, self.state_width);
        if count == 0 {
            return Ok(Vec::new());
        }
        let bad = |problem: String| Err(PolicyError::Observation(problem));
        let mut states: Vec<f32> = Vec::with_capacity(count * moments * joints);
        let mut pictures: Vec<Vec<f32>> = vec![Vec::new(); self.keys.len()];
        for observation in observations {
            if observation.history.len() != moments {
                return bad(format!("{} moments instead of {moments}", observation.history.len()));
            }
            for moment in observation.history {
                if moment.state.len() != joints {
                    return bad(format!("{} joints instead of {joints}", moment.state.len()));
                }
                states.extend(&moment.state);
                for (i, (camera, planes)) in self.spec.cameras.iter().zip(&mut pictures).enumerate() {
                    let size = (camera.width, camera.height);
                    match moment.pictures.get(i) {
                        Some(p) if (p.width, p.height) == size && p.rgb.len() == 3 * size.0 * size.1 => {
                            Shading::default().to_planes(&p.rgb, size, planes);
                        }
                        _ => return bad(format!("no picture of camera {}, {} x {}", camera.name, size.0, size.1)),
                    }
                }
            }
        }
        let images = pictures.into_iter().zip(&self.spec.cameras).zip(&self.keys).map(|((planes, camera), key)| {
            let shape = [count * moments, 3, camera.height, camera.width];
            self.normaliser.normalise(key, Tensor::<4>::from_data(TensorData::new(planes, shape), &self.device))
        });
        let images = images.collect();
        let state = Tensor::<3>::from_data(TensorData::new(states, [count, moments, joints]), &self.device);
        let state = self.normaliser.normalise(STATE, state);
        let chunk = match &self.network {
            Network::Act(act) => {
                let state = Some(state.reshape([count, joints]));
                act.predict(ActInput { state, environment: None, images })
            }
            Network::Diffusion(diffusion) => {
                let mut source = Noise::new(noise_seed);
                let noise = diffusion.noise(count, &mut source, &self.device);
                diffusion.predict(DiffusionInput { state, environment: None, images }, noise, &mut source)
            }
        };
        match self.normaliser.unnormalise(ACTION, chunk).into_data().try_into_vec::<f32>() {
            Ok(values) => Ok(values.chunks(self.spec.chunk_size * joints).map(<[f32]>::to_vec).collect()),
            Err(e) => bad(format!("the answer cannot be read: {e:?}")),
        }
    }
}
