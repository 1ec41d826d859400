//! Recorded demonstrations as something that can be carried over to other starts: where the hand was relative to the
//! object, and where the object went. Segments are found by what the object did, or were marked by a person.

use super::GenerateError;
use super::column;
use super::look_ahead::LookAhead;
use crate::app::{Loaded, RunOptions};
use crate::arm::{ArmModel, DVec3, Tool};
use crate::config::{PropShape, Scene};
use crate::dataset::{Dataset, Outcome, Segments, schema};
use crate::headless::Headless;
use crate::joint_units::JointUnits;
use crate::operator::Operator;
use crate::record;
use crate::replay::{self, Recording};
use crate::world::{wrap_angle, yaw_rad};
use bevy_rapier3d::rapier::math::Pose;

/// An object this much higher than where it lay is in the hand, m.
const LIFTED_M: f64 = 0.002;
/// It lies again when it stays within this height of where it ends, m.
const RESTS_M: f64 = 0.001;
/// Ticks for which it must be so, against single wrong readings.
const SURE_TICKS: usize = 3;
/// The jaws close when their command is this much below the widest before, rad.
const CLOSING_RAD: f64 = 0.1;

/// Position and turn about the vertical.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Upright {
    /// Position, m.
    pub at_m: DVec3,
    /// Turn about z, rad.
    pub yaw_rad: f64,
}

impl Upright {
    /// Of an object.
    pub fn of(pose: &Pose) -> Self {
        let at = pose.translation;
        Self { at_m: DVec3::new(at.x.into(), at.y.into(), at.z.into()), yaw_rad: yaw_rad(pose) }
    }

    /// Of the hand of an arm at `q_rad`: the point between the fingers, and the direction in which the jaws open.
    pub fn of_hand(model: &ArmModel, tool: &Tool, q_rad: &[f64]) -> Self {
        let pose = model.tool_pose(q_rad, tool);
        let opening = pose.rotation * tool.closing;
        Self { at_m: pose.translation, yaw_rad: opening.y.atan2(opening.x) }
    }

    /// `self`, which is known where `before` is, carried along to where `now` is.
    pub fn carried(&self, before: &Self, now: &Self) -> Self {
        let turn = wrap_angle(now.yaw_rad - before.yaw_rad);
        let (sin, cos) = turn.sin_cos();
        let arm = self.at_m - before.at_m;
        let turned = DVec3::new(cos * arm.x - sin * arm.y, sin * arm.x + cos * arm.y, arm.z);
        Self { at_m: now.at_m + turned, yaw_rad: wrap_angle(self.yaw_rad + turn) }
    }

    /// Between `self` (share 0) and `other` (share 1).
    pub fn towards(&self, other: &Self, share: f64) -> Self {
        let turn = wrap_angle(other.yaw_rad - self.yaw_rad);
        Self { at_m: self.at_m.lerp(other.at_m, share), yaw_rad: wrap_angle(self.yaw_rad + share * turn) }
    }
}

/// One tick of a demonstration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment {
    /// The hand.
    pub hand: Upright,
    /// Command of the gripper, rad.
    pub jaw_rad: f64,
    /// The object.
    pub object: Upright,
}

/// A demonstration of bringing one object somewhere in the hand.
#[derive(Clone, Debug, PartialEq)]
pub struct Demonstration {
    /// Its ticks.
    pub moments: Vec<Moment>,
    /// First tick in which the jaws close on the object.
    pub close: usize,
    /// First tick with the object off the table.
    pub lift: usize,
    /// First tick with the object back on the table, where it stays.
    pub rest: usize,
}

impl Demonstration {
    /// With the segments that a person `marked`, or else those that are found.
    ///
    /// # Errors
    /// What is missing, for people.
    pub fn new(moments: Vec<Moment>, marked: Option<Segments>) -> Result<Self, String> {
        if let Some(marks) = marked {
            if let Some(problem) = marks.problem(moments.len()) {
                return Err(format!("its marks cannot be: {problem}; mark it again"));
            }
            return Ok(Self { moments, close: marks.close, lift: marks.lift.max(1), rest: marks.rest });
        }
        let (Some(first), Some(last)) = (moments.first().copied(), moments.last().copied()) else {
            return Err("it has no ticks".into());
        };
        let high = |moment: &Moment| moment.object.at_m.z - first.object.at_m.z > LIFTED_M;
        let lift = moments.windows(SURE_TICKS).position(|window| window.iter().all(high));
        let lift = lift.ok_or("the object was never lifted; only demonstrations that carry can be carried over")?;
        let off = |moment: &Moment| (moment.object.at_m.z - last.object.at_m.z).abs() > RESTS_M;
        let rest = moments.iter().rposition(off).map_or(0, |tick| tick + 1);
        if high(&last) || rest <= lift || rest + SURE_TICKS >= moments.len() {
            return Err("the object was not set down before the end".into());
        }
        let mut widest = f64::NEG_INFINITY;
        let mut close = lift;
        for (tick, moment) in moments[..lift].iter().enumerate() {
            widest = widest.max(moment.jaw_rad);
            // The last closing before the lift counts: earlier ones were attempts.
            if moment.jaw_rad > widest - CLOSING_RAD {
                close = tick + 1;
            }
        }
        Ok(Self { moments, close: close.min(lift), lift, rest })
    }

    /// How far the hand (before the lift) or the object (after it) has come at a tick: 0 where the segment begins, 1 where
    /// it ends. It never goes back.
    pub fn progress(&self, tick: usize) -> f64 {
        let (from, to) = if tick < self.lift { (0, self.close) } else { (self.lift, self.rest) };
        let place = |tick: usize| {
            let moment = &self.moments[tick.min(self.moments.len() - 1)];
            if tick < self.lift { moment.hand.at_m } else { moment.object.at_m }
        };
        let end = if from == 0 { place(to.min(self.lift - 1)) } else { place(to) };
        let left = |tick: usize| (place(tick) - end).truncate().length();
        let way = left(from);
        if tick >= to {
            return 1.0;
        }
        // Hardly any way at all: time tells instead.
        if way < 0.01 {
            return (tick - from) as f64 / (to - from).max(1) as f64;
        }
        (from..=tick).map(|tick| 1.0 - left(tick) / way).fold(0.0, f64::max).clamp(0.0, 1.0)
    }
}

/// In how many ways, evenly spread over a turn, an object looks the same.
pub fn turn_symmetry(shape: &PropShape) -> u32 {
    match *shape {
        PropShape::Block(x, y, _) if (x - y).abs() < 1e-6 => 4,
        PropShape::Block(..) => 2,
        PropShape::Ball(_) => 72,
        PropShape::Tee(_) => 1,
    }
}

/// The prop that demonstrations of a scene move.
pub fn object_of(scene: &Scene) -> Option<usize> {
    let (block, _) = scene.task.block_and_goal()?;
    scene.props.iter().position(|prop| prop.name == block)
}

/// Reads the successful demonstrations of a dataset. Where the object was is taken from its labels, or, for an episode that
/// was recorded in the simulation, found by replaying it from its seed.
///
/// # Errors
/// [`GenerateError::Demonstrations`] when none can be used, with the reason of the last.
pub fn read(
    dataset: &Dataset,
    loaded: &Loaded,
    options: &RunOptions,
    control_hz: u32,
) -> Result<Vec<Demonstration>, GenerateError> {
    let units = JointUnits::new(&loaded.model);
    replay::check_joints(dataset, &units).map_err(|error| none_of(dataset, error.to_string()))?;
    if dataset.info().fps != control_hz {
        let problem = format!("{} rows a second instead of {}", dataset.info().fps, control_hz);
        return Err(none_of(dataset, problem));
    }
    let object = object_of(&loaded.scene.scene).ok_or_else(|| {
        let problem = "the scene has no task with one object and a fixed goal, as move_t and pick_place have";
        none_of(dataset, problem.into())
    })?;
    let outcomes = match dataset.info().feature(schema::extra::OUTCOME) {
        Some(_) => dataset.scalars(schema::extra::OUTCOME)?,
        None => Vec::new(),
    };
    let mut found = Vec::new();
    let mut problem = "it has no episodes".to_string();
    for episode in dataset.episodes() {
        if outcomes.get(episode.from).is_some_and(|code| *code == Outcome::Failure.code() as f64) {
            problem = format!("episode {} failed", episode.index);
            continue;
        }
        let moments = if dataset.info().feature(column::LABELS).is_some() {
            labelled(dataset, episode.index, loaded, &units, object)
        } else {
            replayed(dataset, episode.index, loaded, options, object)
        };
        let marked = dataset.info().segments(episode.index);
        match moments.and_then(|moments| Demonstration::new(moments, marked)) {
            Ok(demonstration) => found.push(demonstration),
            Err(reason) => problem = format!("episode {}: {reason}", episode.index),
        }
    }
    if found.is_empty() { Err(none_of(dataset, problem)) } else { Ok(found) }
}

fn none_of(dataset: &Dataset, problem: String) -> GenerateError {
    GenerateError::Demonstrations { root: dataset.root().to_path_buf(), problem }
}

/// Moments of an episode whose rows tell where the object was.
fn labelled(
    dataset: &Dataset,
    episode: usize,
    loaded: &Loaded,
    units: &JointUnits,
    object: usize,
) -> Result<Vec<Moment>, String> {
    let told = |error: crate::dataset::DatasetError| error.to_string();
    let names = dataset.info().feature(column::LABELS).map(|feature| feature.names.clone()).unwrap_or_default();
    let prop = &loaded.scene.scene.props[object].name;
    let place = |name: &str| {
        let wanted = format!("{prop}.{name}");
        let place = names.as_array().and_then(|names| names.iter().position(|name| *name == wanted));
        place.ok_or_else(|| format!("its labels have no {wanted}"))
    };
    let places = [place("x_m")?, place("y_m")?, place("z_m")?, place("cos_yaw")?, place("sin_yaw")?];
    let (states, actions) = (dataset.rows(schema::STATE).map_err(told)?, dataset.rows(schema::ACTION).map_err(told)?);
    let labels = dataset.rows(column::LABELS).map_err(told)?;
    let (tool, gripper) = (loaded.model.hand_tool(), loaded.model.gripper_joint());
    // Where the world was drawn, joints may have been counted from zeros that were off.
    let worlds = record::worlds(dataset).map_err(told)?;
    let zeros = worlds.get(episode).and_then(|world| world.as_ref()).map(|world| world.arm()).unwrap_or_default();
    let true_rad = |row: &[f32]| -> Vec<f64> {
        let counted = units.to_rad(row).into_iter().enumerate();
        counted.map(|(joint, q)| q - zeros.zero_rad(joint, loaded.servo.ticks_per_turn)).collect()
    };
    let moment = |row: usize| {
        let value = |k: usize| f64::from(labels.row(row).get(places[k]).copied().unwrap_or(f32::NAN));
        Moment {
            hand: Upright::of_hand(&loaded.model, &tool, &true_rad(states.row(row))),
            jaw_rad: units.to_rad(actions.row(row)).get(gripper).copied().unwrap_or(0.0),
            object: Upright { at_m: DVec3::new(value(0), value(1), value(2)), yaw_rad: value(4).atan2(value(3)) },
        }
    };
    Ok(dataset.episode(episode).map_err(told)?.rows().map(moment).collect())
}

/// Moments of an episode of the simulation, which is run again.
fn replayed(
    dataset: &Dataset,
    episode: usize,
    loaded: &Loaded,
    options: &RunOptions,
    object: usize,
) -> Result<Vec<Moment>, String> {
    let recording = Recording::read(dataset, episode).map_err(|error| error.to_string())?;
    if recording.seed.is_none() || !recording.is_whole {
        return Err("it does not tell where the object was, nor the seed to find out by".into());
    }
    let options = RunOptions { operator: Operator::Replay, ..options.clone() };
    let mut headless = Headless::from_loaded(loaded, &options);
    let mut look = LookAhead::new(headless.app.world_mut());
    let arm = look.arm(headless.app.world()).ok_or("there is no arm")?;
    let (tool, gripper) = (arm.tool, arm.model.gripper_joint());
    let units = JointUnits::new(&arm.model);
    let mut moments = Vec::new();
    let report = replay::replay_watched(&mut headless, &recording, None, |headless, row| {
        let world = headless.app.world_mut();
        // The arm as it is in this episode.
        let Some(arm) = look.arm(world) else { return };
        if let Some(present) = look.present(world, &arm) {
            let jaw = units.to_rad(&recording.actions[row]).get(gripper).copied().unwrap_or(0.0);
            let hand = Upright::of_hand(&arm.model, &tool, &present.q_rad);
            moments.push(Moment { hand, jaw_rad: jaw, object: Upright::of(&present.props[object]) });
        }
    })
    .map_err(|error| error.to_string())?;
    if !report.identical {
        return Err("replaying it from its seed goes another way; it was recorded with another scene or physics".into());
    }
    Ok(moments)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upright(x: f64, z: f64, yaw_rad: f64) -> Upright {
        Upright { at_m: DVec3::new(x, 0.0, z), yaw_rad }
    }

    /// Reach from 0.1 to 0, close, lift, carry to -0.1, set down, open, rise.
    fn carrying() -> Vec<Moment> {
        let mut moments = Vec::new();
        let mut push = |x: f64, z: f64, jaw_rad: f64, object_x: f64, object_z: f64| {
            let (hand, object) = (upright(x, z, 0.3), upright(object_x, object_z, 0.1));
            moments.push(Moment { hand, jaw_rad, object });
        };
        (0..10).for_each(|i| push(0.1 - 0.01 * f64::from(i), 0.05, 0.6, 0.0, 0.01));
        (0..5).for_each(|i| push(0.0, 0.01, 0.45 - 0.1 * f64::from(i), 0.0, 0.01));
        (0..5).for_each(|i| push(0.0, 0.01 + 0.01 * f64::from(i + 1), 0.1, 0.0, 0.01 + 0.01 * f64::from(i + 1)));
        (0..10).for_each(|i| push(-0.01 * f64::from(i + 1), 0.06, 0.1, -0.01 * f64::from(i + 1), 0.06));
        (0..5).for_each(|i| push(-0.1, 0.05 - 0.01 * f64::from(i), 0.1, -0.1, 0.05 - 0.01 * f64::from(i)));
        (0..9).for_each(|i| push(-0.1, 0.01 + 0.01 * f64::from(i), 0.6, -0.1, 0.01));
        moments
    }

    #[test]
    fn segments_are_found_by_what_the_object_did() {
        let found = Demonstration::new(carrying(), None).unwrap();
        assert_eq!((found.close, found.lift, found.rest), (10, 15, 34));
        assert_eq!((found.progress(0), found.progress(11), found.progress(14)), (0.0, 1.0, 1.0));
        assert!((found.progress(5) - 0.5).abs() < 0.1 && (found.progress(24) - 0.5).abs() < 0.1);
        assert_eq!((found.progress(15), found.progress(34)), (0.0, 1.0));
    }

    #[test]
    fn what_a_person_marked_counts_instead() {
        let marks = Segments { close: 8, lift: 14, rest: 33 };
        let found = Demonstration::new(carrying(), Some(marks)).unwrap();
        assert_eq!((found.close, found.lift, found.rest), (8, 14, 33));
        // Also where nothing would be found.
        let aloft: Vec<Moment> = carrying().into_iter().take(30).collect();
        assert!(Demonstration::new(aloft.clone(), Some(Segments { rest: 28, ..marks })).is_ok());
        let refused = Demonstration::new(aloft, Some(marks)).unwrap_err();
        assert!(refused.contains("marks") && refused.contains("30 rows"), "{refused}");
    }

    #[test]
    fn pushing_and_unfinished_demonstrations_are_refused_with_the_reason() {
        let lying: Vec<Moment> = carrying().into_iter().take(14).collect();
        assert!(Demonstration::new(lying, None).unwrap_err().contains("never lifted"));
        let aloft: Vec<Moment> = carrying().into_iter().take(30).collect();
        assert!(Demonstration::new(aloft, None).unwrap_err().contains("not set down"));
        assert!(Demonstration::new(Vec::new(), None).is_err());
    }

    #[test]
    fn what_is_carried_along_keeps_its_place_relative_to_the_object() {
        let (before, now) = (upright(0.1, 0.0, 0.0), upright(0.2, 0.0, std::f64::consts::FRAC_PI_2));
        let hand = Upright { at_m: DVec3::new(0.15, 0.0, 0.03), yaw_rad: 3.0 };
        let carried = hand.carried(&before, &now);
        assert!((carried.at_m - DVec3::new(0.2, 0.05, 0.03)).length() < 1e-12);
        assert!((wrap_angle(carried.yaw_rad - 3.0) - std::f64::consts::FRAC_PI_2).abs() < 1e-12);
        assert!((hand.towards(&carried, 0.5).at_m - DVec3::new(0.175, 0.025, 0.03)).length() < 1e-12);
    }
}
