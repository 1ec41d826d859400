//! A policy drives and the expert says what would have been right there (DAgger): so a dataset holds the states into which
//! the policy's own mistakes lead, with the way back.

use super::look_ahead::Present;
use super::{GenerateError, Settings};
use crate::config::{PropShape, Scene};
use crate::operator::Operator;
use crate::policy;
use crate::rollout::{self, PolicyDriver, RolloutOptions};
use bevy::prelude::*;
use bevy_rapier3d::rapier::math::{Pose, Vector};
use burn::tensor::Device;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use xxhash_rust::xxh3::Xxh3;

/// Ticks for which the policy or the expert drives before it is drawn anew which of them goes on.
const TURN_TICKS: (u32, u32) = (10, 40);
/// An arm that stands still for so many ticks has nothing more to show.
const STILL_TICKS: u32 = 120;
/// It stands still when no joint is farther than this from where it was, rad.
const STILL_RAD: f64 = 0.01;
/// No hand reaches an object nearer to the arm's base or farther from it, m.
const REACH_M: (f32, f32) = (0.08, 0.38);
/// An object so far below the table top has fallen off, m.
const FALLEN_M: f32 = 0.02;
/// A T whose axis leans more than this (the cosine of its angle to the vertical) and that lies low has tipped over.
const TIPPED: f32 = 0.7;

/// A policy that drives while the expert labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pilot {
    /// Folder of the policy.
    pub policy: PathBuf,
    /// Hash of its files: another policy is another run.
    pub hash: String,
    /// Share of the time in which the expert drives.
    pub expert_share: f64,
    /// How chunks are followed.
    pub rollout: RolloutOptions,
}

impl Pilot {
    /// The policy in this folder.
    ///
    /// # Errors
    /// [`policy::PolicyError`] naming the file that cannot be read.
    pub fn new(folder: PathBuf, expert_share: f64, rollout: RolloutOptions) -> Result<Self, policy::PolicyError> {
        let folder = policy::folder_of(&folder);
        let mut hash = Xxh3::new();
        for name in [policy::CONFIG_FILE, policy::WEIGHTS_FILE] {
            let file = folder.join(name);
            hash.update(&std::fs::read(&file).map_err(|source| policy::PolicyError::Io { file, source })?);
        }
        Ok(Self { policy: folder, hash: format!("{:016x}", hash.digest()), expert_share, rollout })
    }

    /// Puts the policy into a world.
    ///
    /// # Errors
    /// [`GenerateError`] when it cannot be opened or does not fit.
    pub(super) fn install(&self, world: &mut World) -> Result<(), GenerateError> {
        let policy = policy::load(&self.policy, &Device::flex())?;
        rollout::install(world, policy, self.rollout).map_err(GenerateError::Refused)
    }
}

/// Who drives when in one episode, and whether it is still worth while.
#[derive(Debug)]
pub(super) struct Turns {
    expert_share: f64,
    draws: ChaCha8Rng,
    ticks_left: u32,
    is_expert: bool,
    /// Objects that were within reach when the episode began.
    in_reach: Vec<bool>,
    stood_rad: Vec<f64>,
    still_ticks: u32,
}

impl Turns {
    /// Of an episode of `settings` that begins like this; `None` where no policy drives.
    pub(super) fn new(settings: &Settings, scene: &Scene, present: &Present, seed: u64) -> Option<Self> {
        let in_reach =
            present.props.iter().enumerate().map(|(index, pose)| can_be_helped(scene, index, pose)).collect();
        Some(Self {
            expert_share: settings.pilot.as_ref()?.expert_share,
            draws: ChaCha8Rng::seed_from_u64(seed),
            ticks_left: 0,
            is_expert: false,
            in_reach,
            stood_rad: present.q_rad.clone(),
            still_ticks: 0,
        })
    }

    /// Whether the policy drives in the next tick.
    pub(super) fn next_is_policy(&mut self) -> bool {
        if self.ticks_left == 0 {
            self.ticks_left = self.draws.random_range(TURN_TICKS.0..=TURN_TICKS.1);
            self.is_expert = self.draws.random::<f64>() < self.expert_share;
        }
        self.ticks_left -= 1;
        !self.is_expert
    }

    /// Whether nothing can be learnt from here on: an object is where no expert gets it, or the arm has stood still for
    /// long.
    pub(super) fn is_hopeless(&mut self, scene: &Scene, present: &Present) -> bool {
        let moved = present.q_rad.iter().zip(&self.stood_rad).any(|(q, stood)| (q - stood).abs() > STILL_RAD);
        if moved {
            self.stood_rad.clone_from(&present.q_rad);
            self.still_ticks = 0;
        }
        self.still_ticks += 1;
        let lost = present.props.iter().zip(&self.in_reach).enumerate();
        self.still_ticks > STILL_TICKS
            || lost.into_iter().any(|(index, (pose, was))| *was && !can_be_helped(scene, index, pose))
    }
}

/// Whether the expert can do something with a prop at this pose.
fn can_be_helped(scene: &Scene, index: usize, pose: &Pose) -> bool {
    let Some(prop) = scene.props.get(index) else { return false };
    let at = pose.translation;
    let apart = at.truncate().length();
    let tipped = matches!(prop.shape, PropShape::Tee(_))
        && (pose.rotation * Vector::Z).z < TIPPED
        && at.z < 2.0 * prop.shape.rest_height_m() as f32;
    at.is_finite() && (REACH_M.0..=REACH_M.1).contains(&apart) && at.z > -FALLEN_M && !tipped
}

/// Gives the arm to the policy, or to who writes between ticks.
pub(super) fn hand_over(world: &mut World, to_policy: bool) {
    *world.resource_mut::<Operator>() = if to_policy { Operator::Policy } else { Operator::Outside };
}

/// What went wrong with the policy in the latest tick.
///
/// # Errors
/// [`GenerateError::Pilot`].
pub(super) fn check(world: &mut World, seed: u64) -> Result<(), GenerateError> {
    match world.resource_mut::<PolicyDriver>().take_fault() {
        Some(problem) => Err(GenerateError::Pilot { seed, problem }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load_named;
    use bevy_rapier3d::rapier::math::Rotation;

    #[test]
    fn objects_off_the_table_out_of_reach_or_tipped_over_are_beyond_help() {
        let scene: Scene = load_named("scenes", "move_t").unwrap();
        let at = |x: f32, y: f32, z: f32| Pose::from_translation(Vector::new(x, y, z));
        assert!(can_be_helped(&scene, 0, &at(0.05, -0.22, 0.01)));
        assert!(can_be_helped(&scene, 0, &at(0.05, -0.22, 0.12)), "in the hand");
        assert!(!can_be_helped(&scene, 0, &at(0.30, -0.35, 0.01)), "too far");
        assert!(!can_be_helped(&scene, 0, &at(0.0, -0.25, -0.4)), "on the floor");
        assert!(!can_be_helped(&scene, 0, &at(f32::NAN, 0.0, 0.0)));
        let mut tipped = at(0.05, -0.22, 0.012);
        tipped.rotation = Rotation::from_rotation_x(1.5);
        assert!(!can_be_helped(&scene, 0, &tipped));
    }

    #[test]
    fn the_expert_drives_its_share_of_the_time() {
        let turns = |expert_share| Turns {
            expert_share,
            draws: ChaCha8Rng::seed_from_u64(5),
            ticks_left: 0,
            is_expert: false,
            in_reach: Vec::new(),
            stood_rad: Vec::new(),
            still_ticks: 0,
        };
        for share in [0.0, 0.3, 1.0] {
            let mut turns = turns(share);
            let policy = (0..20_000).filter(|_| turns.next_is_policy()).count() as f64 / 20_000.0;
            assert!((policy - (1.0 - share)).abs() < 0.05, "{share}: {policy}");
        }
    }
}
