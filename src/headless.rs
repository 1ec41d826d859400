//! Runs without a window, as fast as the machine goes.

use crate::app::{AppError, Loaded, RunOptions, add_core};
use crate::backend::servo::ServoArm;
use crate::bus::realtime::be_punctual;
use crate::camera::live::RealCameras;
use crate::config::Scene;
use crate::control::{Control, ControlRate};
use crate::episode::{EndReason, Episode, EpisodeFault, EpisodePhase, EpisodeRequests};
use crate::world::ActiveScene;
use bevy::prelude::*;
use serde::Serialize;
use std::sync::Arc;
use std::time::{Duration, Instant};
use thiserror::Error;

/// Real-time priority of a thread that ticks by the clock: below the drivers of buses.
const TICK_PRIORITY: i32 = 4;

/// An application without a window, whose ticks are driven by hand.
pub struct Headless {
    /// The Bevy application.
    pub app: App,
    /// When the next tick is due, where the clock on the wall keeps the time.
    due: Option<Instant>,
    /// Whether it does so without a real arm too.
    in_real_time: bool,
    /// Whether the thread was asked to be woken on time.
    is_punctual: bool,
}

/// The episode could not be started.
#[derive(Debug, Error)]
#[error("episode with seed {seed} could not start: {message}")]
pub struct StartError {
    seed: u64,
    message: String,
}

impl StartError {
    pub(crate) fn new(seed: u64, message: impl Into<String>) -> Self {
        Self { seed, message: message.into() }
    }
}

/// How an episode went.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EpisodeReport {
    /// Seed of its start.
    pub seed: u64,
    /// Whether the task was done.
    pub success: bool,
    /// Score at the end.
    pub score: f64,
    /// Time on the clock, s.
    pub seconds: f64,
    /// Control ticks.
    pub ticks: u64,
    /// Hash over every joint and object state of every tick, hexadecimal.
    pub digest: String,
    /// Why it ended: `success`, `time_limit`, `stopped` or `diverged: …`.
    pub end: String,
}

impl Headless {
    /// Loads what `options` names.
    ///
    /// # Errors
    /// [`AppError`] naming file, place and remedy.
    pub fn new(options: &RunOptions) -> Result<Self, AppError> {
        Ok(Self::from_loaded(&Loaded::new(options)?, options))
    }

    /// An application of what was loaded before.
    pub fn from_loaded(loaded: &Loaded, options: &RunOptions) -> Self {
        let mut app = App::new();
        if options.multi_threaded {
            app.add_plugins(TaskPoolPlugin::default());
        }
        add_core(&mut app, loaded, options);
        Self { app, due: None, in_real_time: false, is_punctual: false }
    }

    /// Sets up the episode of `seed`; its first tick has then been made.
    ///
    /// # Errors
    /// [`StartError`] if the scene allows no start.
    pub fn start(&mut self, seed: u64) -> Result<(), StartError> {
        self.app.world_mut().resource_mut::<EpisodeRequests>().start = Some(seed);
        self.tick();
        match &self.app.world().resource::<EpisodeFault>().0 {
            None => Ok(()),
            Some(message) => Err(StartError { seed, message: message.clone() }),
        }
    }

    /// Whether there was a real arm whose driver has ended.
    pub fn arm_has_ended(&self) -> bool {
        self.app.world().get_resource::<ServoArm>().is_some_and(ServoArm::is_finished)
    }

    /// From now on ticks keep to the clock on the wall.
    pub fn keep_real_time(&mut self) {
        self.in_real_time = true;
    }

    /// Whether the clock on the wall keeps the time, as it does for real arms and cameras.
    pub fn is_real_time(&self) -> bool {
        let world = self.app.world();
        self.in_real_time
            || world.get_resource::<ServoArm>().is_some_and(ServoArm::is_real_time)
            || world.get_resource::<RealCameras>().is_some_and(|real| !real.cameras.is_empty())
    }

    /// One control tick. With a real arm or camera it begins when it is due.
    pub fn tick(&mut self) {
        if self.is_real_time() {
            if !self.is_punctual {
                // Beside threads that decode and encode pictures an ordinary one waits for the end of their turns: several ms.
                be_punctual(TICK_PRIORITY);
                self.is_punctual = true;
            }
            let now = Instant::now();
            let tick = Duration::from_secs_f64(self.app.world().resource::<ControlRate>().tick_s());
            // After a pause, such as the planning of an episode, time goes on from now instead of being caught up with.
            let due = self.due.filter(|due| now.saturating_duration_since(*due) < tick).unwrap_or(now);
            std::thread::sleep(due.saturating_duration_since(now));
            self.due = Some(due + tick);
        }
        self.app.world_mut().run_schedule(Control);
    }

    /// The scene in play.
    pub fn scene(&self) -> Arc<Scene> {
        self.app.world().resource::<ActiveScene>().scene.clone()
    }

    /// The present episode.
    pub fn episode(&self) -> &Episode {
        self.app.world().resource::<Episode>()
    }

    /// Runs the episode of `seed` to its end.
    ///
    /// # Errors
    /// [`StartError`] if the scene allows no start.
    pub fn run(&mut self, seed: u64) -> Result<EpisodeReport, StartError> {
        self.start(seed)?;
        while self.episode().phase == EpisodePhase::Running {
            self.tick();
        }
        Ok(self.report())
    }

    /// How the present episode went so far.
    pub fn report(&self) -> EpisodeReport {
        let episode = self.episode();
        let tick_s = self.app.world().resource::<ControlRate>().tick_s();
        let outcome = episode.outcome();
        EpisodeReport {
            seed: episode.seed,
            success: outcome.is_some_and(|outcome| outcome.success),
            score: outcome.map_or(episode.score.value, |outcome| outcome.score),
            seconds: episode.clock_ticks as f64 * tick_s,
            ticks: episode.tick,
            digest: format!("{:016x}", episode.digest()),
            end: match outcome.map(|outcome| &outcome.reason) {
                None => "running".into(),
                Some(EndReason::Success) => "success".into(),
                Some(EndReason::TimeLimit) => "time_limit".into(),
                Some(EndReason::Stopped) => "stopped".into(),
                Some(EndReason::Diverged(what)) => format!("diverged: {what}"),
            },
        }
    }
}
