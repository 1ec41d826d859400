//! A person takes the arm from a policy: by the controls, or by moving a leader arm. Nothing jumps: by the controls the arm
//! goes on from where it is, and to a leader's pose it glides.

use super::PolicyDriver;
use crate::control::{Control, ControlRate, ControlSystems};
use crate::operator::{Operator, has_the_arm};
use crate::teleop::TeleopInput;
use crate::teleop::leader::Leader;
use bevy::prelude::*;

/// A leader that a hand has moved this far, on any joint, takes the arm, rad: more than a knock at the table does.
const TAKES_RAD: f64 = 0.06;
/// A leader that stays within this of a pose rests, rad.
const RESTS_RAD: f64 = 0.02;

/// A leader that has rested for so long hands the arm back to the policy, s. Where there are keys, a person says so instead.
#[derive(Resource, Clone, Copy, Debug, PartialEq)]
pub struct HandsBack(pub f64);

/// Where the leader stood last.
#[derive(Debug, Default)]
struct Stood {
    rad: Vec<f64>,
    still_ticks: u32,
}

impl Stood {
    fn is_far(&self, pose_rad: &[f64], most_rad: f64) -> bool {
        self.rad.iter().zip(pose_rad).any(|(stood, now)| (stood - now).abs() > most_rad)
    }

    fn at(pose_rad: Vec<f64>) -> Self {
        Self { rad: pose_rad, still_ticks: 0 }
    }
}

/// Adds taking over.
pub(super) fn plugin(app: &mut App) {
    let by_leader = by_leader.run_if(resource_exists::<Leader>.and_then(resource_exists::<PolicyDriver>));
    let by_hand = by_hand.run_if(has_the_arm(Operator::Policy));
    app.add_systems(Control, (by_hand, by_leader).chain().in_set(ControlSystems::Sense));
}

/// A person who touches the controls has the arm from the same tick on, from where it is.
fn by_hand(input: Res<TeleopInput>, mut operator: ResMut<Operator>) {
    if is_touched(&input) {
        *operator = Operator::Human;
    }
}

/// Whether a person wants anything.
fn is_touched(input: &TeleopInput) -> bool {
    let TeleopInput { translate, roll, tilt, gripper, jog, drag_target_m, .. } = input;
    let axes = [translate.x, translate.y, translate.z, *roll, *tilt, *gripper];
    drag_target_m.is_some() || axes.iter().chain(jog).any(|axis| axis.abs() > 1e-3)
}

/// A hand that moves the leader has the arm from the same tick on.
fn by_leader(
    mut stood: Local<Stood>,
    mut leader: ResMut<Leader>,
    mut operator: ResMut<Operator>,
    hands_back: Option<Res<HandsBack>>,
    rate: Res<ControlRate>,
) {
    let Some(pose_rad) = leader.pose_rad() else { return };
    if stood.rad.len() != pose_rad.len() {
        *stood = Stood::at(pose_rad);
        return;
    }
    match *operator {
        Operator::Policy if stood.is_far(&pose_rad, TAKES_RAD) => {
            leader.meet_again();
            *stood = Stood::at(pose_rad);
            *operator = Operator::Human;
        }
        Operator::Human if stood.is_far(&pose_rad, RESTS_RAD) => *stood = Stood::at(pose_rad),
        Operator::Human => {
            stood.still_ticks += 1;
            let rested_s = f64::from(stood.still_ticks) * rate.tick_s();
            if hands_back.is_some_and(|after| rested_s >= after.0) {
                *stood = Stood::at(pose_rad);
                *operator = Operator::Policy;
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::RunOptions;
    use crate::backend::servo::ArmLink;
    use crate::bus::follow::LeaderMap;
    use crate::bus::state::{ArmState, JointReading};
    use crate::headless::Headless;
    use crate::policy::{Observation, Policy, PolicyError, PolicySpec};
    use crate::robot::{Arm, JointTarget};
    use crate::rollout::{RolloutOptions, install};
    use std::sync::{Arc, Mutex};

    #[test]
    fn only_a_real_touch_takes_the_arm() {
        assert!(!is_touched(&TeleopInput { speed: 1.0, jog: vec![0.0; 6], ..TeleopInput::default() }));
        assert!(is_touched(&TeleopInput { gripper: -1.0, ..TeleopInput::default() }));
        assert!(is_touched(&TeleopInput { jog: vec![0.0, 0.5], ..TeleopInput::default() }));
    }

    /// Wants every joint at 10 degrees, the gripper at 10 %.
    struct Still(PolicySpec);

    impl Policy for Still {
        fn spec(&self) -> &PolicySpec {
            &self.0
        }
        fn predict(&mut self, observations: &[Observation], _: u64) -> Result<Vec<Vec<f32>>, PolicyError> {
            Ok(vec![vec![10.0; 6]; observations.len()])
        }
    }

    fn still() -> Still {
        Still(PolicySpec {
            kind: "still".into(),
            joints: Vec::new(),
            cameras: Vec::new(),
            fps: None,
            robot: None,
            n_obs_steps: 1,
            chunk_size: 1,
            n_action_steps: 1,
            tasks: Vec::new(),
            state_range: Vec::new(),
            reads: false,
            recorded: Vec::new(),
            ensemble: None,
            nudge_rad: 0.0,
        })
    }

    struct Hand(Mutex<f64>);

    impl ArmLink for Hand {
        fn state(&self) -> ArmState {
            let position_rad = *self.0.lock().unwrap();
            let joint = JointReading { position_rad, age_s: 0.001, ..JointReading::default() };
            ArmState { joints: vec![joint; 6], ..ArmState::default() }
        }
        fn set_goal(&self, _: &[f64]) {}
        fn enable(&self) {}
        fn emergency_stop(&self) {}
        fn park(&self) {}
        fn shut_down(&self) {}
        fn is_real_time(&self) -> bool {
            false
        }
        fn pass(&self, _: f64) {}
    }

    #[test]
    fn a_moved_leader_takes_the_arm_without_a_jump_and_hands_it_back_when_it_rests() {
        let mut headless = Headless::new(&RunOptions { operator: Operator::Policy, ..RunOptions::default() }).unwrap();
        let hand = Arc::new(Hand(Mutex::new(-0.3)));
        let ends = (-0.17, 1.7);
        let map = LeaderMap { mirror: false, turn_rad: 0.0, leader_gripper_rad: ends, follower_gripper_rad: ends };
        let world = headless.app.world_mut();
        install(world, Box::new(still()), RolloutOptions::default()).unwrap();
        world.insert_resource(Leader::new(hand.clone(), map));
        world.insert_resource(HandsBack(1.0));
        headless.start(3).unwrap();
        let pan = |headless: &mut Headless| {
            let world = headless.app.world_mut();
            let joint = world.query::<&Arm>().single(world).unwrap().joints[0];
            world.get::<JointTarget>(joint).unwrap().position_rad
        };
        let operator = |headless: &Headless| *headless.app.world().resource::<Operator>();
        let wanted = 10f64.to_radians();
        (0..120).for_each(|_| headless.tick());
        assert!((pan(&mut headless) - wanted).abs() < 0.01, "{}", pan(&mut headless));
        // A tremble is nobody's hand.
        *hand.0.lock().unwrap() = -0.28;
        headless.tick();
        assert_eq!(operator(&headless), Operator::Policy);

        *hand.0.lock().unwrap() = -0.2;
        let mut before = pan(&mut headless);
        headless.tick();
        assert_eq!(operator(&headless), Operator::Human);
        for _ in 0..25 {
            let now = pan(&mut headless);
            assert!((now - before).abs() < 0.08, "it jumped from {before} to {now}");
            before = now;
            headless.tick();
        }
        assert!(pan(&mut headless) < wanted - 0.1, "it is on its way to the leader: {}", pan(&mut headless));
        (0..6).for_each(|_| headless.tick());
        assert_eq!(operator(&headless), Operator::Policy, "the leader rested for a second");
        (0..120).for_each(|_| headless.tick());
        assert!((pan(&mut headless) - wanted).abs() < 0.01);
        // A second time it begins from where the arm is then.
        *hand.0.lock().unwrap() = -0.5;
        let before = pan(&mut headless);
        headless.tick();
        assert_eq!(operator(&headless), Operator::Human);
        assert!((pan(&mut headless) - before).abs() < 0.08);
    }
}
