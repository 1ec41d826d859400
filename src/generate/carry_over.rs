//! Carrying a demonstration over to another start. On the way to the object the hand passes from where it was in the world
//! to where it was relative to the object; then the object is led along its path, warped so that it begins where it lies
//! now and ends where it ended; at last the hand leaves as it left.

use super::demonstration::{Demonstration, Upright, object_of, turn_symmetry};
use super::look_ahead::Present;
use crate::config::Scene;
use crate::robot::Arm;
use crate::task::expert::{HandMove, move_hand_to};
use crate::world::wrap_angle;
use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use std::f64::consts::TAU;
use std::sync::Arc;

/// Length that weighs as much as one radian when demonstrations are compared, m.
const METRES_PER_RADIAN: f64 = 0.06;
/// One of so many nearest demonstrations is chosen.
const NEAREST: usize = 3;
/// The next tick of the demonstration comes when the hand is so near to the present one, m and rad.
const NEAR: (f64, f64) = (0.006, 0.10);
/// It comes anyway after so many ticks.
const PATIENCE: u32 = 12;
/// The object is let go when it is so near to where it shall lie, m and rad; and anyway after so many ticks.
const PLACED: (f64, f64) = (0.0012, 0.012);
const PLACING_PATIENCE: u32 = 45;
/// Most that the hand moves in a tick, across and up, m; most that it turns, rad.
const STEP: (f64, f64, f64) = (0.010, 0.007, 0.11);

/// Follows one demonstration.
#[derive(Clone, Debug)]
pub struct Follower {
    demonstration: Arc<Demonstration>,
    scene: Arc<Scene>,
    object: usize,
    /// Turn that makes the demonstration's object look like the present one, rad.
    alike_rad: f64,
    tick: usize,
    waited: u32,
    /// Where the object lay when the jaws closed.
    taken_from: Option<Upright>,
    /// Where it lay when it was let go.
    left_at: Option<Upright>,
}

impl Follower {
    /// Chooses one of the demonstrations nearest to the present state. `None` without any, or without an object.
    pub fn choose(
        demonstrations: &[Arc<Demonstration>],
        scene: &Arc<Scene>,
        present: &Present,
        draws: &mut ChaCha8Rng,
    ) -> Option<Self> {
        let object = object_of(scene)?;
        let now = Upright::of(present.props.get(object)?);
        let ways = turn_symmetry(&scene.props.get(object)?.shape);
        let mut ranked: Vec<(f64, usize, f64)> = demonstrations
            .iter()
            .enumerate()
            .filter_map(|(number, demonstration)| {
                let then = demonstration.moments.first()?.object;
                let turns = (0..ways).map(|way| TAU * f64::from(way) / f64::from(ways));
                let left = |turn: f64| wrap_angle(now.yaw_rad - then.yaw_rad - turn).abs();
                let alike = turns.min_by(|a, b| left(*a).total_cmp(&left(*b)))?;
                let apart = (now.at_m - then.at_m).truncate().length();
                Some((apart + METRES_PER_RADIAN * left(alike), number, alike))
            })
            .collect();
        ranked.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        ranked.truncate(NEAREST);
        let (_, number, alike_rad) = *ranked.get(draws.random_range(0..ranked.len().max(1)))?;
        Some(Self {
            demonstration: demonstrations[number].clone(),
            scene: scene.clone(),
            object,
            alike_rad,
            tick: 0,
            waited: 0,
            taken_from: None,
            left_at: None,
        })
    }

    /// The demonstration's object at a tick, turned so that it looks like the present one.
    fn shown(&self, tick: usize) -> Upright {
        let moment = &self.demonstration.moments[tick.min(self.demonstration.moments.len() - 1)];
        Upright { yaw_rad: moment.object.yaw_rad + self.alike_rad, ..moment.object }
    }

    /// Command for the present state, rad. `None` without the object or the demonstration's end is passed long ago.
    pub fn command_rad(&mut self, arm: &Arm, present: &Present) -> Option<Vec<f64>> {
        let demonstration = self.demonstration.clone();
        let hand = Upright::of_hand(&arm.model, &arm.tool, &present.q_rad);
        let object = Upright::of(present.props.get(self.object)?);
        let wanted = self.wanted(&hand, &object);
        if self.is_reached(&hand, &object, &wanted) || self.waited >= self.patience() {
            self.tick = (self.tick + 1).min(demonstration.moments.len() - 1);
            self.waited = 0;
        } else {
            self.waited += 1;
        }
        let wanted = self.wanted(&hand, &object);
        let held = (demonstration.lift..demonstration.rest).contains(&self.tick);
        let payload_kg = if held { self.scene.props.get(self.object)?.mass_kg } else { 0.0 };
        let to = HandMove {
            to_m: wanted.at_m,
            turn_rad: wrap_angle(wanted.yaw_rad - hand.yaw_rad),
            jaw_rad: demonstration.moments[self.tick].jaw_rad,
            step_across_m: STEP.0,
            step_up_m: STEP.1,
            step_turn_rad: STEP.2,
            step_open_rad: 0.15,
            payload_kg,
        };
        Some(move_hand_to(arm, &arm.tool, &present.q_rad, &to))
    }

    /// Where the hand shall be at the demonstration's present tick.
    fn wanted(&mut self, hand: &Upright, object: &Upright) -> Upright {
        let demonstration = self.demonstration.clone();
        let moment = &demonstration.moments[self.tick];
        if self.tick < demonstration.lift {
            if self.tick < demonstration.close {
                self.taken_from = Some(*object);
            }
            let lies = self.taken_from.unwrap_or(*object);
            let relative = moment.hand.carried(&self.shown(0), &lies);
            return moment.hand.towards(&relative, demonstration.progress(self.tick));
        }
        if self.tick < demonstration.rest {
            let begin = *self.taken_from.get_or_insert(*object);
            let path = self.shown(self.tick);
            let from_begin = path.carried(&self.shown(demonstration.lift), &self.lifted(&begin));
            let object_wanted = from_begin.towards(&path, demonstration.progress(self.tick));
            // The hand goes where the object, as it really sits in it, comes to where it shall be.
            return hand.carried(object, &object_wanted);
        }
        let lies = *self.left_at.get_or_insert(*object);
        moment.hand.carried(&self.shown(demonstration.rest), &lies)
    }

    /// Where the object is when it is lifted from `begin` as in the demonstration.
    fn lifted(&self, begin: &Upright) -> Upright {
        let lift = self.shown(self.demonstration.lift);
        lift.carried(&self.shown(0), begin)
    }

    fn is_reached(&self, hand: &Upright, object: &Upright, wanted: &Upright) -> bool {
        if self.tick + 1 == self.demonstration.rest {
            let goal = self.shown(self.demonstration.rest);
            let off = (object.at_m - goal.at_m).truncate().length();
            return off < PLACED.0 && wrap_angle(object.yaw_rad - goal.yaw_rad).abs() < PLACED.1;
        }
        (wanted.at_m - hand.at_m).length() < NEAR.0 && wrap_angle(wanted.yaw_rad - hand.yaw_rad).abs() < NEAR.1
    }

    fn patience(&self) -> u32 {
        if self.tick + 1 == self.demonstration.rest { PLACING_PATIENCE } else { PATIENCE }
    }
}
