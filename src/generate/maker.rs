//! Makes single episodes: one world, used again and again. An episode depends on its seed and the settings alone.

use super::carry_over::Follower;
use super::demonstration::Demonstration;
use super::labels;
use super::look_ahead::{LookAhead, Present, within_limits};
use super::noise::CommandNoise;
use super::pilot::{self, Turns};
use super::starts::Starts;
use super::teacher::{Scripted, Teacher};
use super::{Camera, GenerateError, Settings};
use crate::app::{Loaded, RunOptions};
use crate::arm::ArmModel;
use crate::camera::{CameraFrame, CameraSensor, CamerasInUse};
use crate::config::Scene;
use crate::dataset::bulk::{Numbers, PictureEncoder, WholeEpisode};
use crate::dataset::schema::{self, ACTION, STATE, extra};
use crate::dataset::{Feature, Image, Info, Outcome, Source, Spec};
use crate::episode::{EndReason, EpisodePhase, EpisodeRequests};
use crate::headless::Headless;
use crate::joint_units::JointUnits;
use crate::record::{CameraWish, set_up_cameras};
use crate::robot::{Arm, JointCommand, JointTarget};
use crate::task::expert::{ExpertMemory, ExpertSpeed};
use crate::world::{ActiveScene, EpisodeWorld, Order};
use bevy::prelude::*;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Keys of the columns that only generated datasets have.
pub mod column {
    /// Targets really sent: the label with noise, inside every limit; float32, one a joint.
    pub const SENT: &str = "etude.sent";
    /// What the expert would command in the next control ticks without noise; float32, steps times joints.
    pub const CHUNK: &str = "etude.chunk";
    /// Named numbers for auxiliary losses, float32.
    pub const LABELS: &str = "etude.labels";
    /// Amplitude of the episode's noise, rad, float32.
    pub const NOISE: &str = "etude.noise_rad";
    /// Seed of the attempt, int64. Not `etude.seed`: such a start may be one that the scene's own ranges do not have.
    pub const SEED: &str = "etude.generate_seed";
}

/// Draws of an episode that are not its start use seeds far from all others.
const OWN_DRAWS: u64 = 0x6765_6e65_7261_7465;

/// How an attempt ended.
pub struct Attempt {
    /// Whether the task was done.
    pub success: bool,
    /// Whether the physics came apart.
    pub diverged: bool,
    /// Control ticks it took.
    pub ticks: u64,
    /// Hash over every joint and object state of every tick.
    pub digest: u64,
    /// What the dataset gets, unless it is not kept.
    pub episode: Option<WholeEpisode>,
}

/// One world that makes episodes.
pub struct Maker {
    headless: Headless,
    settings: Arc<Settings>,
    /// As it is in the present episode, like the arm.
    scene: Arc<Scene>,
    /// Props of the scene's file, which come first.
    props: usize,
    starts: Starts,
    arm: Arm,
    units: JointUnits,
    look_ahead: LookAhead,
    info: Info,
    /// What is carried over; empty where the scripted expert demonstrates.
    demonstrations: Vec<Arc<Demonstration>>,
}

/// What the features of the settings' dataset are.
pub(super) fn info_of(settings: &Settings, scene: &Scene, model: &ArmModel) -> Result<Info, GenerateError> {
    let units = JointUnits::new(model);
    let names = units.names();
    let spec = Spec {
        fps: settings.control_hz / settings.every,
        robot_type: format!("{}_follower", model.name),
        joints: names.to_vec(),
        cameras: settings.cameras.iter().map(Camera::spec).collect(),
        extras: false,
    };
    let mut info = spec.info()?;
    let defaults = info.features.split_off(info.features.len() - schema::DEFAULT_COLUMNS.len());
    let scalar = |key, dtype| Feature::column(key, dtype, 1, Value::Null);
    info.features.push(Feature::column(column::SENT, "float32", names.len(), json!(names)));
    if settings.chunk > 0 {
        let steps = settings.chunk as usize;
        let all: Vec<String> =
            (0..steps).flat_map(|step| names.iter().map(move |name| format!("{name}@{step}"))).collect();
        let mut chunk = Feature::column(column::CHUNK, "float32", all.len(), json!(all));
        let about = json!({"steps": steps, "joints": names.len(), "hz": settings.control_hz});
        chunk.rest = Map::from_iter([("info".to_string(), about)]);
        info.features.push(chunk);
    }
    let labels = labels::names(scene);
    info.features.push(Feature::column(column::LABELS, "float32", labels.len(), json!(labels)));
    info.features.extend([
        scalar(column::NOISE, "float32"),
        scalar(column::SEED, "int64"),
        scalar(extra::CAPTURE, "float64"),
        scalar(extra::SCORE, "float32"),
        scalar(extra::SUCCESS, "bool"),
        scalar(extra::SOURCE, "int64"),
        scalar(extra::OUTCOME, "int64"),
    ]);
    if settings.worlds_differ {
        info.features.push(scalar(extra::WORLD, "string"));
    }
    info.features.extend(defaults);
    Ok(info)
}

impl Maker {
    /// A world for these settings.
    ///
    /// # Errors
    /// [`GenerateError`]: an unknown camera, or a scene without an expert.
    pub fn new(loaded: &Loaded, options: &RunOptions, settings: Arc<Settings>) -> Result<Self, GenerateError> {
        let mut headless = Headless::from_loaded(loaded, options);
        let world = headless.app.world_mut();
        let wishes: Vec<CameraWish> = settings.cameras.iter().map(Camera::wish).collect();
        set_up_cameras(world, &wishes)?;
        if let Some(pilot) = &settings.pilot {
            pilot.install(world)?;
        }
        let mut look_ahead = LookAhead::new(world);
        let arm = look_ahead.arm(world).ok_or(GenerateError::NoArm)?;
        let scene = loaded.scene.scene.clone();
        let info = info_of(&settings, &scene, &arm.model)?;
        let (starts, units) = (Starts::new(&scene, settings.wider), JointUnits::new(&arm.model));
        let demonstrations = Vec::new();
        let props = scene.props.len();
        Ok(Self { headless, settings, scene, props, starts, arm, units, look_ahead, info, demonstrations })
    }

    /// Lets these demonstrations be carried over, in place of the scripted expert.
    pub fn set_demonstrations(&mut self, demonstrations: &[Arc<Demonstration>]) {
        self.demonstrations = demonstrations.to_vec();
    }

    /// What the dataset's `info.json` says of its features.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// Makes the episode of `seed`. It becomes part of the attempt when the task was done, or when `keep_all` is set and
    /// the physics held.
    ///
    /// # Errors
    /// [`GenerateError`] if the scene allows no start or a picture cannot be encoded.
    pub fn attempt(&mut self, seed: u64, keep_all: bool) -> Result<Attempt, GenerateError> {
        let settings = self.settings.clone();
        let mut draws = ChaCha8Rng::seed_from_u64(seed ^ OWN_DRAWS);
        let amplitude_rad = match settings.noise_rad.len() {
            0 => 0.0,
            count => settings.noise_rad[draws.random_range(0..count)],
        };
        let in_the_middle = draws.random::<f64>() < settings.random_start;
        let offset = draws.random_range(0..settings.every.max(1));
        let mut noise = CommandNoise::new(self.arm.joints.len(), amplitude_rad, draws.random());
        let start = self.starts.draw(&self.arm.model, seed, in_the_middle)?;
        self.draw_pictures(false);
        self.headless.app.world_mut().resource_mut::<EpisodeRequests>().start_at = Some(start);
        self.headless.start(seed)?;
        // The episode's world may differ from the one of the file.
        let world = self.headless.app.world_mut();
        self.arm = self.look_ahead.arm(world).ok_or(GenerateError::NoArm)?;
        self.scene = world.resource::<ActiveScene>().scene.clone();
        let present = self.look_ahead.present(world, &self.arm).ok_or(GenerateError::NoArm)?;
        let mut teacher = self.teacher(&mut draws)?;
        let mut turns = Turns::new(&settings, &self.scene, &present, seed ^ OWN_DRAWS.rotate_left(1));
        let mut rows = Rows::new(&settings)?;
        let mut tick = 0u32;
        while self.headless.episode().phase == EpisodePhase::Running && u64::from(tick) < settings.most_ticks() {
            let is_row = tick % settings.every == offset;
            let goes_on = self.tick(&mut teacher, &mut noise, turns.as_mut(), is_row.then_some(&mut rows))?;
            if let (true, Some(_)) = (goes_on, &turns) {
                pilot::check(self.headless.app.world_mut(), seed)?;
            }
            if !goes_on {
                break;
            }
            tick += 1;
        }
        pilot::hand_over(self.headless.app.world_mut(), false);
        let episode = self.headless.episode();
        let outcome = episode.outcome();
        let success = outcome.is_some_and(|outcome| outcome.success);
        let diverged = outcome.is_some_and(|outcome| matches!(outcome.reason, EndReason::Diverged(_)));
        let (ticks, digest) = (episode.tick, episode.digest());
        let kept = (success || keep_all && !diverged) && rows.count > 0;
        let episode = if kept { Some(rows.finish(self, seed, amplitude_rad, success)?) } else { None };
        Ok(Attempt { success, diverged, ticks, digest, episode })
    }

    /// Who shows what to do in the episode that has just started.
    fn teacher(&mut self, draws: &mut ChaCha8Rng) -> Result<Teacher, GenerateError> {
        if self.demonstrations.is_empty() {
            return Ok(Teacher::Scripted(Box::new(self.scripted())));
        }
        let world = self.headless.app.world_mut();
        let present = self.look_ahead.present(world, &self.arm).ok_or(GenerateError::NoArm)?;
        let follower = Follower::choose(&self.demonstrations, &self.scene, &present, draws);
        Ok(Teacher::Follower(Box::new(follower.ok_or(GenerateError::NoExpert)?)))
    }

    /// The scripted expert for the episode that has just started.
    fn scripted(&self) -> Scripted {
        Scripted {
            scene: self.scene.clone(),
            order: self.headless.app.world().resource::<Order>().clone(),
            expert: self.settings.expert,
            speed: ExpertSpeed(self.settings.speed),
            memory: ExpertMemory::default(),
            tick_s: 1.0 / f64::from(self.settings.control_hz),
        }
    }

    /// One tick; with `rows` it becomes one. With `turns` a policy may drive in it; then false where the expert has nothing
    /// more to say.
    fn tick(
        &mut self,
        teacher: &mut Teacher,
        noise: &mut CommandNoise,
        turns: Option<&mut Turns>,
        rows: Option<&mut Rows>,
    ) -> Result<bool, GenerateError> {
        let steps = self.settings.chunk as usize;
        let world = self.headless.app.world_mut();
        let present = self.look_ahead.present(world, &self.arm).ok_or(GenerateError::NoArm)?;
        let command = teacher.command_rad(&self.arm, &present);
        let is_policy = match turns {
            Some(turns) => {
                if command.is_none() || turns.is_hopeless(&self.scene, &present) {
                    return Ok(false);
                }
                turns.next_is_policy()
            }
            None => false,
        };
        let command = command.ok_or(GenerateError::NoExpert)?;
        let mut chunk = Vec::new();
        if rows.is_some() && steps > 0 {
            let after = teacher.clone();
            chunk = self.look_ahead.roll_out(world, &self.arm, after, &command, steps).ok_or(GenerateError::NoArm)?;
        }
        pilot::hand_over(world, is_policy);
        if !is_policy {
            let told = self.arm.counted_rad(&command);
            for ((joint, command), offset) in self.arm.joints.iter().zip(told).zip(noise.next_rad()) {
                if let Some(mut written) = world.get_mut::<JointCommand>(*joint) {
                    written.position_rad = command + offset;
                }
            }
        }
        self.draw_pictures(is_policy || rows.is_some());
        self.headless.tick();
        self.draw_pictures(false);
        if let Some(rows) = rows {
            rows.sources.push(if is_policy { Source::Policy } else { Source::Expert } as i64);
            self.add_row(rows, &present, &command, &chunk)?;
        }
        Ok(true)
    }

    /// The episode's drawn world as one line of JSON, told in the first of `rows`.
    fn world_told(&self, rows: usize) -> Vec<String> {
        let drawn = &self.headless.app.world().resource::<EpisodeWorld>().0;
        let mut told = vec![String::new(); rows];
        if let (Some(first), Some(drawn)) = (told.first_mut(), drawn) {
            *first = drawn.to_json();
        }
        told
    }

    fn draw_pictures(&mut self, wanted: bool) {
        let names: Vec<String> = match wanted {
            true => self.settings.cameras.iter().map(|camera| camera.name.clone()).collect(),
            false => Vec::new(),
        };
        let in_use = if names.is_empty() { CamerasInUse::None } else { CamerasInUse::Named(names) };
        self.headless.app.world_mut().insert_resource(in_use);
    }

    fn add_row(
        &mut self,
        rows: &mut Rows,
        present: &Present,
        command_rad: &[f64],
        chunk: &[Vec<f64>],
    ) -> Result<(), GenerateError> {
        let world = self.headless.app.world_mut();
        let mut frames = world.query::<(&CameraSensor, &CameraFrame)>();
        for (camera, encoder) in self.settings.cameras.iter().zip(&mut rows.encoders) {
            let found = frames.iter(world).find(|(sensor, _)| sensor.config.name == camera.name);
            let Some((_, frame)) = found else { return Err(GenerateError::NoPicture { name: camera.name.clone() }) };
            let (width, height) = (frame.width as usize, frame.height as usize);
            encoder.add(&Image { width, height, rgb: frame.rgb.clone() })?;
        }
        let sent: Vec<f64> = self
            .arm
            .joints
            .iter()
            .map(|joint| world.get::<JointTarget>(*joint).map_or(0.0, |target| target.position_rad))
            .collect();
        let clean = within_limits(&self.arm.model, command_rad);
        let view = self.scripted().view(&self.arm, present);
        // What a policy sees and gives is counted from the zeros that the arm has in this episode.
        let counted = |q_rad: &[f64]| self.units.to_lerobot(&self.arm.counted_rad(q_rad));
        rows.add(ACTION, counted(&clean));
        rows.add(STATE, self.units.to_lerobot(&present.reported_rad));
        rows.add(column::SENT, self.units.to_lerobot(&sent));
        rows.add(column::CHUNK, chunk.iter().flat_map(|step| counted(step)));
        rows.add(column::LABELS, labels::labels(&present.props[..self.props.min(present.props.len())], view));
        let episode = self.headless.episode();
        // The tick that was just made is already counted.
        rows.capture_s.push((episode.tick - 1) as f64 / f64::from(self.settings.control_hz));
        rows.add(extra::SCORE, [episode.score.value as f32]);
        rows.success.push(episode.score.conditions_hold);
        rows.count += 1;
        Ok(())
    }
}

/// The rows of an episode so far.
struct Rows {
    count: usize,
    floats: BTreeMap<&'static str, Vec<f32>>,
    capture_s: Vec<f64>,
    success: Vec<bool>,
    /// Who drove.
    sources: Vec<i64>,
    encoders: Vec<PictureEncoder>,
}

impl Rows {
    fn new(settings: &Settings) -> Result<Self, GenerateError> {
        let encoder = |camera: &Camera| {
            let (width, height) = (camera.width as usize, camera.height as usize);
            PictureEncoder::new(width, height, settings.control_hz / settings.every, settings.quantiser)
        };
        let encoders = settings.cameras.iter().map(encoder).collect::<Result<_, _>>()?;
        let (count, floats, capture_s, success, sources) = Default::default();
        Ok(Self { count, floats, capture_s, success, sources, encoders })
    }

    fn add(&mut self, key: &'static str, values: impl IntoIterator<Item = f32>) {
        self.floats.entry(key).or_default().extend(values);
    }

    fn finish(
        mut self,
        maker: &Maker,
        seed: u64,
        amplitude_rad: f64,
        success: bool,
    ) -> Result<WholeEpisode, GenerateError> {
        let rows = self.count;
        let outcome = if success { Outcome::Success } else { Outcome::Failure };
        // The verdict is that of the last row, so that LeRobot's readers see it under the usual name.
        if let Some(last) = self.success.last_mut() {
            *last = success;
        }
        let whole = |value: i64| Numbers::I64(vec![value; rows]);
        let mut columns = Vec::new();
        for feature in &maker.info.features {
            let numbers = match feature.key.as_str() {
                extra::CAPTURE => Numbers::F64(std::mem::take(&mut self.capture_s)),
                extra::SUCCESS => Numbers::Bool(std::mem::take(&mut self.success)),
                extra::SOURCE => Numbers::I64(std::mem::take(&mut self.sources)),
                extra::OUTCOME => whole(outcome.code()),
                extra::WORLD => Numbers::Text(maker.world_told(rows)),
                column::SEED => whole(i64::try_from(seed).unwrap_or(-1)),
                column::NOISE => Numbers::F32(vec![amplitude_rad as f32; rows]),
                key => match self.floats.remove(key) {
                    Some(values) => Numbers::F32(values),
                    None => continue,
                },
            };
            columns.push((feature.key.clone(), numbers));
        }
        let pictures = self.encoders.into_iter().map(PictureEncoder::finish).collect::<Result<_, _>>()?;
        let task = maker.headless.app.world().resource::<Order>().text.clone();
        Ok(WholeEpisode { rows, task, columns, pictures })
    }
}
