//! `configs/policy/*.ron`: what to train and how, one file a preset.

use super::act::ActConfig;
use super::diffusion::DiffusionConfig;
use super::small::SmallSize;
use super::train::FitConfig;
use crate::config::{Problems, Validate};
use serde::{Deserialize, Serialize};

/// What to train and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// The kind of network and its sizes.
    pub network: NetworkPreset,
    /// Cameras by name; `None` takes all of the dataset.
    #[serde(default)]
    pub cameras: Option<Vec<String>>,
    /// Width and height pictures are brought to; `None` leaves them as they are.
    #[serde(default)]
    pub picture: Option<(usize, usize)>,
    /// Targets in a chunk.
    pub chunk: usize,
    /// Targets that are followed before the policy looks again.
    pub execute: usize,
    /// Noise on the commands of an arm that stands still, rad; 0 without. For policies without memory, which would stand
    /// there for good.
    #[serde(default)]
    pub nudge_rad: f64,
    /// How it is trained.
    pub training: FitConfig,
}

/// Kinds of networks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum NetworkPreset {
    /// The small convolutional policy.
    Small(SmallSize),
    /// ACT; `chunk_size` and `n_action_steps` follow from the preset's `chunk` and `execute`.
    Act(ActConfig),
    /// A diffusion policy; `horizon` and `n_action_steps` follow from the preset's `chunk` and `execute`.
    Diffusion(DiffusionConfig),
}

impl NetworkPreset {
    /// Moments in an observation.
    pub fn n_obs_steps(&self) -> usize {
        match self {
            Self::Small(_) | Self::Act(_) => 1,
            Self::Diffusion(config) => config.n_obs_steps.max(1),
        }
    }
}

impl Validate for Preset {
    fn validate(&self, problems: &mut Problems) {
        let most = |problems: &mut Problems, key: &str, value: usize, high: usize, unit: &str| {
            problems.range(key, value as f64, 1.0, high as f64, unit);
        };
        problems.within("network", |p| {
            // ACT and diffusion are checked against the data, when the network is made.
            let NetworkPreset::Small(size) = &self.network else { return };
            let (a, b, c, d) = size.channels;
            for channels in [a, b, c, d] {
                most(p, "channels", channels, 1024, "");
            }
            if b != c {
                p.report("channels", "the second and the third differ", "give them the same number");
            }
            most(p, "embedding", size.embedding, 4096, "");
            most(p, "hidden", size.hidden, 8192, "");
        });
        if let Some((width, height)) = self.picture {
            for side in [width, height] {
                problems.range("picture", side as f64, 16.0, 1024.0, "pixels");
            }
        }
        most(problems, "chunk", self.chunk, 256, "");
        most(problems, "execute", self.execute, self.chunk, "");
        problems.range("nudge_rad", self.nudge_rad, 0.0, 0.1, "rad");
        let training = &self.training;
        problems.within("training", |p| {
            most(p, "steps", training.steps, 100_000_000, "");
            most(p, "batch", training.batch, 65_536, "");
            p.range("label_weight", f64::from(training.label_weight), 0.0, 1000.0, "");
            p.range("phase_weight", f64::from(training.phase_weight), 0.0, 1000.0, "");
            p.within("optimiser", |p| {
                let optimiser = &training.optimiser;
                p.range("learning_rate", optimiser.learning_rate, 1e-9, 1.0, "");
                p.range("final_share", optimiser.final_share, 0.0, 1.0, "");
                p.range("weight_decay", optimiser.weight_decay, 0.0, 10.0, "");
                p.range("beta_2", optimiser.beta_2, 0.0, 0.999_999, "");
                p.range("clip", optimiser.clip, 1e-6, 1e9, "");
            });
            p.within("augmentation", |p| {
                let augmentation = &training.augmentation;
                p.range("brightness", f64::from(augmentation.brightness), 0.0, 1.0, "");
                p.range("contrast", f64::from(augmentation.contrast), 0.0, 1.0, "");
                p.range("colour", f64::from(augmentation.colour), 0.0, 1.0, "");
                p.range("shift_px", augmentation.shift_px as f64, 0.0, 64.0, "pixels");
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shipped_presets_are_in_order() {
        let folder = crate::config::home().unwrap().join("configs/policy");
        let names = crate::config::names_in(&folder);
        assert!(names.contains(&"small".to_string()));
        for name in &names {
            crate::config::load_named::<Preset>("configs/policy", name).unwrap();
        }
    }
}
