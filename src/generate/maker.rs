//! Makes single episodes: one world, used again and again. An episode depends on its seed and the settings alone.

use super::carry_over::Follower;
use super::demonstration::Demonstration;
use super::easel::{self, Looks, Seen, Take};
use super::labels;
use super::look_ahead::{LookAhead, Present, within_limits};
use super::noise::CommandNoise;
use super::pilot::{self, Turns};
use super::starts::Starts;
use super::teacher::{Scripted, Teacher};
use super::{Camera, GenerateError, Settings};
use crate::app::{Loaded, RunOptions};
use crate::arm::ArmModel;
use crate::camera::CamerasInUse;
use crate::config::{Randomise, Scene};
use crate::dataset::bulk::{Numbers, WholeEpisode};
use crate::dataset::schema::{self, ACTION, STATE, extra};
use crate::dataset::{Feature, Info, Outcome, Source, Spec};
use crate::episode::{EndReason, EpisodePhase, EpisodeRequests};
use crate::headless::Headless;
use crate::joint_units::JointUnits;
use crate::record::{CameraWish, set_up_cameras};
use crate::robot::{Arm, JointCommand, JointTarget};
use crate::task::expert::{ExpertMemory, ExpertSpeed};
use crate::world::{ActiveScene, DrawFor, DrawnWorld, EpisodeWorld, Order, Start};
use bevy_rapier3d::rapier::math::Pose;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use serde_json::{Map, Value, json};
use std::f64::consts::TAU;
use std::sync::Arc;

/// Keys of the columns that only generated datasets have.
pub mod column {
    /// Targets really sent: the label with noise, inside every limit; float32, one a joint.
    pub const SENT: &str = "etude.sent";
    /// What the expert would command in the next control ticks without noise; float32, steps times joints.
    pub const CHUNK: &str = "etude.chunk";
    /// Named numbers for auxiliary losses, float32.
    pub const LABELS: &str = "etude.labels";
    /// Where every prop is, exactly: position in m and rotation as a quaternion, base frame; float32, seven a prop. All zero
    /// for one that the episode does not have. From these the episode can be drawn again.
    pub const PROPS: &str = "etude.props";
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
    /// What the dataset gets, one episode for each look; empty when it is not kept.
    pub episodes: Vec<WholeEpisode>,
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
    looks: Looks,
    info: Info,
    /// What is carried over; empty where the scripted expert demonstrates.
    demonstrations: Vec<Arc<Demonstration>>,
}

/// What the features of the settings' dataset are.
pub(super) fn info_of(
    settings: &Settings,
    scene: &Scene,
    ranges: Option<&Randomise>,
    model: &ArmModel,
) -> Result<Info, GenerateError> {
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
    let things = ranges.and_then(|ranges| ranges.distractors).map_or(0, |range| range.count.1);
    let distractors = (1..=things).map(|number| format!("distractor_{number}"));
    let of_prop = ["x_m", "y_m", "z_m", "qx", "qy", "qz", "qw"];
    let props: Vec<String> = scene
        .props
        .iter()
        .map(|prop| prop.name.clone())
        .chain(distractors)
        .flat_map(|prop| of_prop.map(|name| format!("{prop}.{name}")))
        .collect();
    info.features.push(Feature::column(column::PROPS, "float32", props.len(), json!(props)));
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
        let ranges = loaded.worlds.ranges(&scene);
        let info = info_of(&settings, &scene, ranges.as_ref(), &arm.model)?;
        let looks = Looks::new(ranges.as_ref(), 0, settings.looks, settings.look_every);
        let (starts, units) = (Starts::new(&scene, settings.wider), JointUnits::new(&arm.model));
        let demonstrations = Vec::new();
        let props = scene.props.len();
        Ok(Self { headless, settings, scene, props, starts, arm, units, look_ahead, looks, info, demonstrations })
    }

    /// Lets these demonstrations be carried over, in place of the scripted expert.
    pub fn set_demonstrations(&mut self, demonstrations: &[Arc<Demonstration>]) {
        self.demonstrations = demonstrations.to_vec();
    }

    /// What the dataset's `info.json` says of its features.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// Makes the episode of `seed`. It becomes part of the attempt, once for each look, when the task was done, or when
    /// `keep_all` is set and the physics held; only then are pictures drawn.
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
        let world = self.headless.app.world_mut();
        world.insert_resource(CamerasInUse::None);
        world.resource_mut::<EpisodeRequests>().start_at = Some(start.clone());
        self.headless.start(seed)?;
        // The episode's world may differ from the one of the file.
        let world = self.headless.app.world_mut();
        self.arm = self.look_ahead.arm(world).ok_or(GenerateError::NoArm)?;
        self.scene = world.resource::<ActiveScene>().scene.clone();
        let present = self.look_ahead.present(world, &self.arm).ok_or(GenerateError::NoArm)?;
        let mut teacher = self.teacher(&mut draws)?;
        let mut turns = Turns::new(&settings, &self.scene, &present, seed ^ OWN_DRAWS.rotate_left(1));
        let mut rows = Vec::new();
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
        let kept = (success || keep_all && !diverged) && !rows.is_empty();
        let about = About { seed, amplitude_rad, success, start };
        let episodes = if kept { self.finish(rows, &about)? } else { Vec::new() };
        Ok(Attempt { success, diverged, ticks, digest, episodes })
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
        rows: Option<&mut Vec<Row>>,
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
        self.draw_pictures(is_policy);
        self.headless.tick();
        self.draw_pictures(false);
        if let Some(rows) = rows {
            let source = if is_policy { Source::Policy } else { Source::Expert };
            rows.push(self.row(present, &command, chunk, source));
        }
        Ok(true)
    }

    fn draw_pictures(&mut self, wanted: bool) {
        let names: Vec<String> = match wanted {
            true => self.settings.cameras.iter().map(|camera| camera.name.clone()).collect(),
            false => Vec::new(),
        };
        let in_use = if names.is_empty() { CamerasInUse::None } else { CamerasInUse::Named(names) };
        self.headless.app.world_mut().insert_resource(in_use);
    }

    /// What is told of the tick that was just made.
    fn row(&self, present: Present, command_rad: &[f64], chunk_rad: Vec<Vec<f64>>, source: Source) -> Row {
        let world = self.headless.app.world();
        let sent = self.arm.joints.iter().enumerate().map(|(index, joint)| {
            world.get::<JointTarget>(*joint).map_or(0.0, |target| target.position_rad) - self.arm.zero_rad(index)
        });
        let sent_rad = sent.collect();
        let view = self.scripted().view(&self.arm, &present);
        let labels = labels::labels(&present.props[..self.props.min(present.props.len())], view);
        let episode = self.headless.episode();
        Row {
            // It is already counted.
            seen: Seen { tick: episode.tick - 1, q_rad: present.q_rad, props: present.props },
            clean_rad: within_limits(&self.arm.model, command_rad),
            sent_rad,
            chunk_rad,
            labels,
            score: episode.score.value as f32,
            success: episode.score.conditions_hold,
            source,
        }
    }

    /// The episode that has just ended, in all its looks.
    fn finish(&mut self, mut rows: Vec<Row>, about: &About) -> Result<Vec<WholeEpisode>, GenerateError> {
        // The verdict is that of the last row, so that LeRobot's readers see it under the usual name.
        if let Some(last) = rows.last_mut() {
            last.success = about.success;
        }
        let world = self.headless.app.world_mut();
        let own = world.resource::<EpisodeWorld>().0.as_deref().cloned().unwrap_or_default();
        let nominal = world.resource::<ActiveScene>().nominal.clone();
        let task = world.resource::<Order>().text.clone();
        let seen: Vec<Seen> = rows.iter().map(|row| row.seen.clone()).collect();
        let ticks_per_turn = self.arm.servo.ticks_per_turn;
        let mut episodes = Vec::new();
        for number in 0..self.settings.looks {
            let (scene, model, start) = (nominal.as_ref(), self.arm.model.as_ref(), &about.start);
            let it = DrawFor { scene, model, ticks_per_turn, start, seed: about.seed, look: 0 };
            let take = self.looks.take(number, &own, rows.len(), &it);
            let settings = &self.settings;
            let how = (&settings.cameras[..], settings.control_hz / settings.every, settings.quantiser);
            let pictures = easel::draw(self.headless.app.world_mut(), &self.arm, how, &seen, &take)?;
            let columns = self.columns(&rows, about, &take);
            episodes.push(WholeEpisode { rows: rows.len(), task: task.clone(), columns, pictures });
        }
        Ok(episodes)
    }

    /// The columns of one look of an episode. Joints are counted from the zeros that the arm has in it.
    fn columns(&self, rows: &[Row], about: &About, take: &Take) -> Vec<(String, Numbers)> {
        let counting = Counting::new(&self.arm, &take.world);
        let counted = |q_rad: &[f64]| self.units.to_lerobot(&counting.counted_rad(q_rad));
        let whole = |q_rad: &[f64]| self.units.to_lerobot(&counting.whole_rad(q_rad));
        let count = rows.len();
        let same = |value: i64| Numbers::I64(vec![value; count]);
        let each = |of: &dyn Fn(&Row) -> Vec<f32>| Numbers::F32(rows.iter().flat_map(of).collect());
        let outcome = if about.success { Outcome::Success } else { Outcome::Failure };
        let hz = f64::from(self.settings.control_hz);
        let mut columns = Vec::new();
        for feature in &self.info.features {
            let numbers = match feature.key.as_str() {
                ACTION => each(&|row| counted(&row.clean_rad)),
                STATE => each(&|row| whole(&row.seen.q_rad)),
                column::SENT => each(&|row| whole(&row.sent_rad)),
                column::CHUNK => each(&|row| row.chunk_rad.iter().flat_map(|step| counted(step)).collect()),
                column::LABELS => each(&|row| row.labels.clone()),
                column::PROPS => each(&|row| told_poses(&row.seen.props, feature.width() / NUMBERS_OF_POSE)),
                column::NOISE => Numbers::F32(vec![about.amplitude_rad as f32; count]),
                column::SEED => same(i64::try_from(about.seed).unwrap_or(-1)),
                extra::CAPTURE => Numbers::F64(rows.iter().map(|row| row.seen.tick as f64 / hz).collect()),
                extra::SCORE => each(&|row| vec![row.score]),
                extra::SUCCESS => Numbers::Bool(rows.iter().map(|row| row.success).collect()),
                extra::SOURCE => Numbers::I64(rows.iter().map(|row| row.source as i64).collect()),
                extra::OUTCOME => same(outcome.code()),
                extra::WORLD => Numbers::Text(take.told(count)),
                _ => continue,
            };
            columns.push((feature.key.clone(), numbers));
        }
        columns
    }
}

/// How an arm counts its joints in a world.
pub(super) struct Counting {
    zeros_rad: Vec<f64>,
    tick_rad: f64,
}

impl Counting {
    pub(super) fn new(arm: &Arm, world: &DrawnWorld) -> Self {
        let (drawn, ticks_per_turn) = (world.arm(), arm.servo.ticks_per_turn);
        let zeros_rad = (0..arm.joints.len()).map(|index| drawn.zero_rad(index, ticks_per_turn)).collect();
        Self { zeros_rad, tick_rad: TAU / f64::from(ticks_per_turn) }
    }

    /// True angles as counted, rad.
    pub(super) fn counted_rad(&self, q_rad: &[f64]) -> Vec<f64> {
        q_rad.iter().zip(&self.zeros_rad).map(|(q, zero)| q + zero).collect()
    }

    /// The same in whole encoder ticks.
    pub(super) fn whole_rad(&self, q_rad: &[f64]) -> Vec<f64> {
        self.counted_rad(q_rad).into_iter().map(|q| (q / self.tick_rad).round() * self.tick_rad).collect()
    }

    /// The inverse of [`Counting::counted_rad`].
    pub(super) fn uncounted_rad(&self, counted_rad: &[f64]) -> Vec<f64> {
        counted_rad.iter().zip(&self.zeros_rad).map(|(q, zero)| q - zero).collect()
    }

    /// True angles of counted ones that are whole ticks, rad.
    pub(super) fn true_rad(&self, counted_rad: &[f64]) -> Vec<f64> {
        let truth = |(q, zero): (&f64, &f64)| ((q - zero) / self.tick_rad).round() * self.tick_rad;
        counted_rad.iter().zip(&self.zeros_rad).map(truth).collect()
    }
}

/// Numbers of a pose in [`column::PROPS`].
pub(super) const NUMBERS_OF_POSE: usize = 7;

/// The numbers of [`column::PROPS`] for `count` props.
fn told_poses(props: &[Pose], count: usize) -> Vec<f32> {
    let mut told: Vec<f32> =
        props.iter().flat_map(|pose| pose.translation.to_array().into_iter().chain(pose.rotation.to_array())).collect();
    told.resize(count * NUMBERS_OF_POSE, 0.0);
    told
}

/// What is the same in all rows of an episode.
struct About {
    seed: u64,
    amplitude_rad: f64,
    success: bool,
    /// Where it began in the nominal world.
    start: Start,
}

/// One row of an episode, angles true and in rad.
struct Row {
    seen: Seen,
    clean_rad: Vec<f64>,
    sent_rad: Vec<f64>,
    chunk_rad: Vec<Vec<f64>>,
    labels: Vec<f32>,
    score: f32,
    success: bool,
    /// Who drove.
    source: Source,
}
