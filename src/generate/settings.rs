//! Everything that decides what is in a generated dataset.

use super::{GenerateError, Pilot, plan};
use crate::app::{Loaded, RunOptions};
use crate::dataset::CameraSpec;
use crate::record::CameraWish;
use crate::task::expert::Expert;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// A camera of the dataset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Camera {
    /// Its name in the scene.
    pub name: String,
    /// Width of its pictures, pixels.
    pub width: u32,
    /// Height, pixels.
    pub height: u32,
}

impl Camera {
    pub(super) fn spec(&self) -> CameraSpec {
        CameraSpec { name: self.name.clone(), width: self.width as usize, height: self.height as usize }
    }

    pub(super) fn wish(&self) -> CameraWish {
        CameraWish { name: self.name.clone(), size: Some((self.width, self.height)) }
    }
}

/// Everything that decides what is in the dataset. It is kept in the dataset's `info.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Scene, by the name it was loaded with.
    pub task: String,
    /// Which expert.
    pub expert: Expert,
    /// Instead of an expert, the demonstrations that are carried over: how many, and a hash of them.
    pub from: Option<String>,
    /// Episodes of the whole run.
    pub episodes: u64,
    /// Seed of the first episode; the next ones count up.
    pub seed: u64,
    /// Whether failures are kept too.
    pub keep_all: bool,
    /// Cameras.
    pub cameras: Vec<Camera>,
    /// H.264 quantiser of the pictures.
    pub quantiser: u8,
    /// Every how many control ticks there is a row.
    pub every: u32,
    /// Control ticks per second.
    pub control_hz: u32,
    /// Steps of the column [`super::column::CHUNK`]; 0 leaves it out.
    pub chunk: u32,
    /// Amplitudes of the noise on commands, rad; each episode draws one.
    pub noise_rad: Vec<f64>,
    /// Share of episodes that start with the hand anywhere over the table.
    pub random_start: f64,
    /// By how much the ranges of starts are wider than the scene's; 0.1 is ten per cent.
    pub wider: f64,
    /// Pace of the expert, 1 is its own.
    pub speed: f64,
    /// An attempt has failed after this time, s.
    pub limit_s: f64,
    /// In how many looks each simulated episode is in the dataset, one after the other.
    #[serde(default = "one")]
    pub looks: u32,
    /// Rows after which an episode's pictures go over to another look; 0: never.
    #[serde(default)]
    pub look_every: u32,
    /// Whether every episode has a world of its own, told in the column `etude.world`.
    #[serde(default)]
    pub worlds_differ: bool,
    /// The policy that drives while the expert labels, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pilot: Option<Pilot>,
    /// Hash of scene, arm, servo and physics files, and of the ranges of worlds: a change of them is another run.
    pub world: String,
    /// Version of this program.
    pub etude: String,
}

/// Most looks of an episode.
const MOST_LOOKS: u32 = 1000;

fn one() -> u32 {
    1
}

impl Settings {
    /// Ticks after which an attempt has failed.
    pub(super) fn most_ticks(&self) -> u64 {
        (self.limit_s * f64::from(self.control_hz)).round().max(1.0) as u64
    }

    /// Episodes that are simulated; each is in the dataset once for each look.
    pub(super) fn simulated(&self) -> u64 {
        self.episodes / u64::from(self.looks.max(1))
    }

    /// Checks what does not depend on the scene.
    ///
    /// # Errors
    /// [`GenerateError::Option`] naming the option and what it may be.
    pub fn validate(&self) -> Result<(), GenerateError> {
        let bad = |option, problem: String, remedy: &str| {
            Err(GenerateError::Option { option, problem, remedy: remedy.into() })
        };
        let hz = self.control_hz;
        if self.every == 0 || !hz.is_multiple_of(self.every) {
            let problem = format!("{hz} ticks a second do not divide by {}", self.every);
            return bad("--every", problem, "give a divisor of the control rate, so that rows have a whole rate");
        }
        if self.looks == 0 || self.looks > MOST_LOOKS {
            return bad("--looks", self.looks.to_string(), "give 1 to 1000");
        }
        if !self.episodes.is_multiple_of(self.looks.into()) {
            let above = (self.simulated() + 1) * u64::from(self.looks);
            let remedy = format!("each is drawn {} times; give {above}", self.looks);
            return bad("--episodes", format!("{} is no multiple of --looks", self.episodes), &remedy);
        }
        if self.seed.checked_add(self.episodes).is_none_or(|end| end > plan::SEEDS_END) {
            return bad("--seed", format!("{} is too large", self.seed), "give a seed below 4000000000");
        }
        if self.noise_rad.iter().any(|noise| !(0.0..=0.2).contains(noise)) {
            return bad(
                "--noise",
                format!("{:?}", self.noise_rad),
                "give amplitudes from 0 to 0.2 rad, such as 0,0.01",
            );
        }
        if !(0.0..=1.0).contains(&self.random_start) {
            return bad("--random-start", self.random_start.to_string(), "give a share from 0 to 1");
        }
        if !(-0.5..=1.0).contains(&self.wider) {
            return bad("--wider", self.wider.to_string(), "give a share from -0.5 to 1; 0.1 is ten per cent");
        }
        if !(0.05..=2.0).contains(&self.speed) {
            return bad("--speed", self.speed.to_string(), "give a pace from 0.05 to 2; 1 is the expert's own");
        }
        if !(0.5..=3600.0).contains(&self.limit_s) {
            return bad("--limit", self.limit_s.to_string(), "give seconds from 0.5 to 3600");
        }
        if let Some(pilot) = &self.pilot {
            if !(0.0..=1.0).contains(&pilot.expert_share) {
                return bad("--expert-share", pilot.expert_share.to_string(), "give a share from 0 to 1");
            }
            let kept = crate::policy::KEPT_SEEDS;
            if self.seed + self.episodes > kept {
                let problem = format!("{} episodes from seed {} on", self.episodes, self.seed);
                let remedy = format!("stay below seed {kept}: those from there on are kept for judging");
                return bad("--seed", problem, &remedy);
            }
        }
        if self.quantiser > 51 {
            return bad("--quantiser", self.quantiser.to_string(), "give 0 to 51; smaller is better and larger");
        }
        Ok(())
    }
}

/// Hash of everything loaded that an episode depends on.
pub fn world_hash(loaded: &Loaded, options: &RunOptions) -> String {
    let text = format!(
        "{:?} {:?} {:?} {:?} {:?} {:?} {:?}",
        loaded.scene.scene,
        loaded.arm,
        loaded.servo,
        loaded.sim,
        options.urdf,
        options.control_hz,
        loaded.worlds.ranges(&loaded.scene.scene)
    );
    format!("{:016x}", xxh3_64(text.as_bytes()))
}
