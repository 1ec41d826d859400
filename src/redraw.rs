//! Looks: the same episode seen otherwise. While one is made, every look is a run of the same seed, since what happens does not
//! depend on looks; one that was recorded is replayed and its pictures are drawn anew.

use crate::app::{AppError, Loaded, RunOptions};
use crate::config::{Group, Randomise};
use crate::dataset::{Dataset, DatasetError, Outcome, Source, schema::extra};
use crate::headless::Headless;
use crate::joint_units::JointUnits;
use crate::record::Recorder;
use crate::replay::{Recording, ReplayError, check_joints, replay_seen};
use crate::robot::Arm;
use crate::world::{ActiveScene, DrawFor, DrawnWorld, Randomiser, Worlds, draw_world, sample_start};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// Why an episode cannot be redrawn.
#[derive(Debug, Error)]
pub enum RedrawError {
    /// Nothing was asked for that can change afterwards.
    #[error(
        "nothing to draw anew: {groups} belong to what happened; choose some of light, colours, textures, camera, lens, sensor, \
         zeros, or looks for all of them"
    )]
    NoLooks {
        /// The groups asked for.
        groups: String,
    },
    /// It did not begin with a seed, or its beginning was cut off.
    #[error("episode {episode}: {problem}, so it cannot be simulated again; leave it out with --episodes")]
    NoSeed {
        /// The episode.
        episode: usize,
        /// Why.
        problem: &'static str,
    },
    /// Something else happens now.
    #[error(
        "episode {episode}: from row {row} on something else happens than was recorded; name the scene, arm and physics it was \
         recorded with (--task, --arm, --servo, --physics), or leave it out with --episodes"
    )]
    Differs {
        /// The episode.
        episode: usize,
        /// First row that differs.
        row: usize,
    },
    /// The application could not be put together.
    #[error(transparent)]
    App(#[from] AppError),
    /// The dataset cannot be read or written.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// It cannot be replayed.
    #[error(transparent)]
    Replay(#[from] ReplayError),
}

/// Has `each` make or draw an episode for each of `count` looks, beginning with look `first`. A seed gives the same episode in
/// every one of them: only pictures differ, and the zeros that joints are counted from. Ends with the first error.
///
/// # Errors
/// Those of `each`.
pub fn for_each_look<E>(
    headless: &mut Headless,
    first: u32,
    count: u32,
    mut each: impl FnMut(&mut Headless, u32) -> Result<(), E>,
) -> Result<(), E> {
    for look in first..first.saturating_add(count) {
        headless.app.world_mut().resource_mut::<Randomiser>().look = look;
        each(headless, look)?;
    }
    Ok(())
}

/// The look groups of `ranges`.
///
/// # Errors
/// [`RedrawError::NoLooks`] if there are none.
pub fn looks_of(ranges: &Randomise) -> Result<Randomise, RedrawError> {
    let (looks, others): (Vec<Group>, Vec<Group>) = ranges.groups().into_iter().partition(|group| group.is_look());
    if looks.is_empty() {
        let names: Vec<&str> = others.iter().map(|group| group.name()).collect();
        return Err(RedrawError::NoLooks { groups: if names.is_empty() { "none".into() } else { names.join(", ") } });
    }
    Ok(ranges.only(&looks, &Randomise::default()))
}

/// A recorded episode that can be drawn again.
#[derive(Clone, Debug)]
pub struct Redrawable {
    /// Its number.
    pub episode: usize,
    /// Its seed.
    pub seed: u64,
    /// What was recorded of it.
    pub recording: Recording,
    /// Who drove in each row.
    pub sources: Vec<Source>,
    /// Its verdict.
    pub outcome: Outcome,
}

impl Redrawable {
    /// Reads an episode.
    ///
    /// # Errors
    /// [`RedrawError`]: it cannot be read, or did not begin with a seed.
    pub fn read(dataset: &Dataset, episode: usize) -> Result<Self, RedrawError> {
        let recording = Recording::read(dataset, episode)?;
        let none = |problem| RedrawError::NoSeed { episode, problem };
        let seed = recording.seed.ok_or(none("it did not begin with a seed"))?;
        if !recording.is_whole {
            return Err(none("its first rows were cut off"));
        }
        let rows = dataset.episode(episode)?.rows();
        let codes = |key: &str| match dataset.info().feature(key) {
            Some(_) => dataset.scalars(key).map(|all| all.get(rows.clone()).unwrap_or_default().to_vec()),
            None => Ok(Vec::new()),
        };
        let sources =
            codes(extra::SOURCE)?.iter().map(|code| Source::from_code(*code as i64).unwrap_or_default()).collect();
        let outcome = codes(extra::OUTCOME)?.first().map_or(Outcome::Unjudged, |code| Outcome::from_code(*code as i64));
        Ok(Self { episode, seed, recording, sources, outcome })
    }

    /// The look it was recorded in.
    pub fn look(&self) -> u32 {
        self.recording.world.as_ref().map_or(0, |world| world.look)
    }

    /// Its world with look number `look` from `ranges`, of which only look groups count.
    ///
    /// # Errors
    /// [`RedrawError`] if the scene allows no start.
    pub fn seen(&self, headless: &mut Headless, ranges: &Randomise, look: u32) -> Result<DrawnWorld, RedrawError> {
        let world = headless.app.world_mut();
        let scene = world.resource::<ActiveScene>().nominal.clone();
        let arm = world.query::<&Arm>().iter(world).next().map(|arm| (arm.model.clone(), arm.servo.ticks_per_turn));
        let start = |problem: &str| ReplayError::Start(crate::headless::StartError::new(self.seed, problem));
        let (model, ticks_per_turn) = arm.ok_or_else(|| start("there is no arm in the scene"))?;
        let begun = sample_start(&scene, &model, self.seed).map_err(|error| start(&error.to_string()))?;
        let it = DrawFor { scene: &scene, model: &model, ticks_per_turn, start: &begun, seed: self.seed, look };
        let own = self.recording.world.clone().unwrap_or_default();
        Ok(own.with_looks_of(&draw_world(ranges, &it)))
    }

    /// Replays it in the world `seen`, which [`Redrawable::seen`] gives, and records it where there is a [`Recorder`] in
    /// `headless`. That something else happened shows at the end, when it has been recorded: [`Redrawable::check`] first.
    ///
    /// # Errors
    /// [`RedrawError`]: it cannot start, goes another way, or cannot be recorded.
    pub fn redraw(&self, headless: &mut Headless, seen: &DrawnWorld) -> Result<(), RedrawError> {
        if let Some(mut recorder) = headless.app.world_mut().get_resource_mut::<Recorder>() {
            recorder.credit(self.sources.clone());
        }
        let rows = self.recording.states.len();
        let last_states = &mut |headless: &mut Headless, row: usize| {
            let Some(mut recorder) = headless.app.world_mut().get_resource_mut::<Recorder>() else { return };
            if row + 1 == rows {
                recorder.end_as(self.outcome);
            }
            // Nothing is in a hurry: no picture is lost, and key frames stay dense.
            while let load = recorder.load()
                && load.waiting * 3 > load.capacity
            {
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        let report = replay_seen(headless, &self.recording, None, seen, &mut || false, last_states)
            .map_err(ReplayError::from)?;
        if let Some(mut recorder) = headless.app.world_mut().get_resource_mut::<Recorder>() {
            recorder.credit(Vec::new());
            if let Some(fault) = recorder.take_fault() {
                return Err(fault.into());
            }
        }
        match report.first_difference {
            Some(row) => Err(RedrawError::Differs { episode: self.episode, row }),
            None => Ok(()),
        }
    }

    /// Whether it can be simulated again, found out without drawing: the same states come, bit for bit.
    ///
    /// # Errors
    /// [`RedrawError`]: it cannot start or goes another way.
    pub fn check(&self, headless: &mut Headless) -> Result<(), RedrawError> {
        let own = self.recording.world.clone().unwrap_or_default();
        let recorder = headless.app.world_mut().remove_resource::<Recorder>();
        let cameras = headless.app.world_mut().remove_resource::<crate::camera::CamerasInUse>().unwrap_or_default();
        headless.app.insert_resource(crate::camera::CamerasInUse::None);
        let checked = self.redraw(headless, &own);
        headless.app.insert_resource(cameras);
        if let Some(recorder) = recorder {
            headless.app.insert_resource(recorder);
        }
        checked
    }
}

/// A headless world in which recorded episodes of a dataset can be replayed, and the ranges that `options` asks for.
///
/// # Errors
/// [`RedrawError`]: files are refused, the dataset has other joints, or no looks were asked for.
pub fn open(dataset: &Dataset, options: &RunOptions) -> Result<(Headless, Randomise), RedrawError> {
    let loaded = Loaded::new(options)?;
    check_joints(dataset, &JointUnits::new(&loaded.model))?;
    let ranges = looks_of(&loaded.worlds.ranges(&loaded.scene.scene).unwrap_or_default())?;
    let mut headless = Headless::from_loaded(&loaded, options);
    // What is recorded tells its world, also where the original had none.
    headless.app.world_mut().resource_mut::<Randomiser>().worlds = Worlds::Given(Arc::default());
    Ok((headless, ranges))
}
