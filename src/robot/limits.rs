//! What stands between a command and what is sent, the same for every backend: limits of joints and speed, the table under
//! the hand, joints that push in vain, the emergency stop.

use super::{Arm, JointCommand, JointState, JointTarget};
use crate::arm::Floor;
use crate::control::{ControlRate, EmergencyStop};
use bevy::prelude::*;

/// Load, as a share of the servo's torque, at which a joint that stands still pushes against something; the driver of a
/// real arm counts alike.
const STALL_LOAD: f64 = 0.7;
/// Slower than this counts as standing still, rad/s.
const STANDSTILL_RAD_S: f64 = 0.06;
/// How long a joint pushes in vain before it yields, s.
const STALL_AFTER_S: f64 = 0.5;
/// How far the target of a joint that yields may lead it, rad.
const STALL_LEAD_RAD: f64 = 0.12;
/// A joint that moved this far from where it stalled is free again, rad.
const FREE_AFTER_RAD: f64 = 0.05;
/// Fastest joint on the way back to the commands after an emergency stop, rad/s.
const CAREFUL_RAD_S: f64 = 0.6;
/// Closer than this to its command on every joint, an arm follows it again, rad.
const CAUGHT_UP_RAD: f64 = 0.02;

/// What keeps targets from following commands; written in Act.
#[derive(Component, Clone, Debug, Default, PartialEq)]
pub struct ArmLimits {
    /// The table under the hand, where it counts.
    pub floor: Option<Floor>,
    /// Whether the table holds the targets back in this tick.
    pub at_floor: bool,
    /// Joints that push against something and have been made to yield, in the order of the arm's model.
    pub stalled: Vec<bool>,
    stalls: Vec<Stall>,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Phase {
    #[default]
    Following,
    /// Emergency stop.
    Caught,
    /// Slowly back to the commands.
    Careful,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Stall {
    pushing_s: f64,
    /// Where it stalled, rad, and to which side it pushes.
    at: Option<(f64, f64)>,
}

impl ArmLimits {
    /// Limits of an arm whose hand must stay above `floor`, if there is one.
    pub fn new(floor: Option<Floor>) -> Self {
        Self { floor, ..Self::default() }
    }
}

impl Stall {
    /// Takes in a reading of a joint whose target leads it by `lead_rad`.
    fn observe(&mut self, state: &JointState, full_torque_nm: f64, lead_rad: f64, dt_s: f64) {
        let still = state.velocity_rad_s.abs() < STANDSTILL_RAD_S;
        let pushing = still && state.torque_nm.abs() >= STALL_LOAD * full_torque_nm;
        self.pushing_s = if pushing { self.pushing_s + dt_s } else { 0.0 };
        match self.at {
            None if self.pushing_s >= STALL_AFTER_S => self.at = Some((state.position_rad, lead_rad.signum())),
            Some((at, towards)) if (state.position_rad - at) * towards > FREE_AFTER_RAD => self.at = None,
            _ => {}
        }
    }

    /// `wanted_rad`, no further than a joint that pushes in vain may be sent.
    fn yielding(&mut self, wanted_rad: f64) -> f64 {
        let Some((at, towards)) = self.at else { return wanted_rad };
        let bound = at + towards * STALL_LEAD_RAD;
        if (wanted_rad - bound) * towards < 0.0 {
            self.at = None;
            return wanted_rad;
        }
        bound
    }
}

/// What a joint's target follows from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limited {
    /// What its servo reports.
    pub state: JointState,
    /// The command, rad.
    pub command_rad: f64,
    /// Its last target, rad.
    pub last_rad: f64,
}

impl ArmLimits {
    /// Commands become targets, rad, one for each of `joints` (in the order of the arm's model): inside joint limits, no
    /// faster than the arm may go, above the table, in whole encoder ticks as the goal register counts them. A command that
    /// is no number is ignored. `stopped`: the emergency stop is on.
    pub fn next_targets(&mut self, arm: &Arm, rate: ControlRate, stopped: bool, joints: &[Limited]) -> Vec<f64> {
        let caught_now = stopped && self.phase != Phase::Caught;
        self.phase = match self.phase {
            _ if stopped => Phase::Caught,
            Phase::Caught => Phase::Careful,
            phase => phase,
        };
        self.stalls.resize(arm.joints.len(), Stall::default());
        let speed = if self.phase == Phase::Careful { CAREFUL_RAD_S } else { f64::INFINITY };
        let step = arm.config.max_velocity_rad_s.min(speed) * rate.tick_s();
        let encoder_tick = std::f64::consts::TAU / f64::from(arm.servo.ticks_per_turn);
        let whole = |angle: f64, joint: usize| {
            // The limits are where they are, whatever the zero is that angles are counted from.
            let zero = arm.zero_rad(joint);
            let (lower, upper) = (arm.model.joints[joint].lower + zero, arm.model.joints[joint].upper + zero);
            let ticks = (angle.clamp(lower, upper) / encoder_tick).round();
            ticks.clamp((lower / encoder_tick).ceil(), (upper / encoder_tick).floor()) * encoder_tick
        };
        let gripper = arm.model.gripper_joint();
        let mut apart = 0.0f64;
        let mut next = Vec::with_capacity(joints.len());
        for (index, joint) in joints.iter().enumerate().take(arm.joints.len()) {
            let Limited { state, command_rad, last_rad: now } = *joint;
            let stall = &mut self.stalls[index];
            // Jaws are meant to push: what they hold, they hold.
            if index != gripper {
                stall.observe(&state, arm.servo.torque_limit_nm, now - state.position_rad, rate.tick_s());
            }
            next.push(match self.phase {
                Phase::Caught if caught_now => whole(state.position_rad, index),
                Phase::Caught => now,
                _ if !command_rad.is_finite() => now,
                _ => {
                    let wanted = stall.yielding(command_rad);
                    apart = apart.max((command_rad - now).abs());
                    whole(wanted.clamp(now - step, now + step), index)
                }
            });
        }
        if self.phase == Phase::Careful && apart < CAUGHT_UP_RAD {
            self.phase = Phase::Following;
        }
        let last: Vec<f64> = joints.iter().map(|joint| joint.last_rad).collect();
        // The table is where it is, too.
        let truly = |told: &[f64]| -> Vec<f64> {
            told.iter().enumerate().map(|(joint, angle)| angle - arm.zero_rad(joint)).collect()
        };
        let floor = self.floor.as_ref().filter(|_| !stopped);
        let held = floor.and_then(|floor| floor.hold_back(&truly(&last), &truly(&next)));
        self.at_floor = held.is_some();
        if let Some(held) = held {
            next =
                held.into_iter().enumerate().map(|(joint, angle)| whole(angle + arm.zero_rad(joint), joint)).collect();
        }
        self.stalled = self.stalls.iter().map(|stall| stall.at.is_some()).collect();
        next
    }
}

/// Commands become targets, see [`ArmLimits::next_targets`]. So a target is what any backend really sends.
pub(super) fn limit_targets(
    rate: Res<ControlRate>,
    stop: Res<EmergencyStop>,
    mut arms: Query<(&Arm, &mut ArmLimits)>,
    mut joints: Query<(&JointState, &JointCommand, &mut JointTarget)>,
) {
    for (arm, mut limits) in &mut arms {
        let now: Vec<Limited> = joints
            .iter_many(&arm.joints)
            .map(|(state, command, target)| Limited {
                state: *state,
                command_rad: command.position_rad,
                last_rad: target.position_rad,
            })
            .collect();
        let next = limits.next_targets(arm, *rate, stop.on, &now);
        for (joint, angle) in arm.joints.iter().zip(next) {
            if let Ok((.., mut target)) = joints.get_mut(*joint) {
                target.position_rad = angle;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::RunOptions;
    use crate::headless::Headless;
    use crate::operator::Operator;

    fn standing() -> (Headless, Arm) {
        let options = RunOptions { scene: "free_play".into(), operator: Operator::Nobody, ..RunOptions::default() };
        let mut headless = Headless::new(&options).unwrap();
        headless.start(0).unwrap();
        let world = headless.app.world_mut();
        let arm = world.query::<&Arm>().single(world).unwrap().clone();
        (headless, arm)
    }

    fn send(headless: &mut Headless, arm: &Arm, q: &[f64], ticks: usize) {
        for _ in 0..ticks {
            for (joint, angle) in arm.joints.iter().zip(q) {
                headless.app.world_mut().get_mut::<JointCommand>(*joint).unwrap().position_rad = *angle;
            }
            headless.tick();
        }
    }

    fn each<C: Component>(headless: &Headless, arm: &Arm, of: impl Fn(&C) -> f64) -> Vec<f64> {
        arm.joints.iter().map(|joint| of(headless.app.world().get::<C>(*joint).unwrap())).collect()
    }

    fn limits(headless: &mut Headless) -> ArmLimits {
        let world = headless.app.world_mut();
        world.query::<&ArmLimits>().single(world).unwrap().clone()
    }

    #[test]
    fn a_hand_sent_through_the_table_is_held_back() {
        let (mut headless, arm) = standing();
        let under = [0.3, 0.9, 0.6, 0.3, 0.0, 0.5];
        send(&mut headless, &arm, &under, 90);
        let targets = each(&headless, &arm, |target: &JointTarget| target.position_rad);
        let held = limits(&mut headless);
        let floor = held.floor.clone().unwrap();
        assert!(floor.height_m(&under) < -0.1, "the command would be far below");
        assert!(floor.height_m(&targets) > -crate::arm::FLOOR_TOLERANCE_M - 0.001, "{}", floor.height_m(&targets));
        assert!(held.at_floor);
        assert!((targets[0] - 0.3).abs() < 0.01, "what does not lower the hand goes on: {targets:?}");
        send(&mut headless, &arm, &[0.3, -0.8, 0.6, 0.9, 0.0, 0.5], 60);
        assert!(!limits(&mut headless).at_floor);
    }

    #[test]
    fn an_emergency_stop_holds_the_arm_and_it_goes_on_slowly() {
        let (mut headless, arm) = standing();
        let far = [0.9, -1.0, 1.0, 0.8, 0.5, 0.8];
        send(&mut headless, &arm, &far, 10);
        headless.app.world_mut().resource_mut::<EmergencyStop>().on = true;
        send(&mut headless, &arm, &far, 1);
        let caught = each(&headless, &arm, |target: &JointTarget| target.position_rad);
        send(&mut headless, &arm, &far, 60);
        assert_eq!(each(&headless, &arm, |target: &JointTarget| target.position_rad), caught);
        assert!(each(&headless, &arm, |state: &JointState| state.velocity_rad_s).iter().all(|rate| rate.abs() < 0.05));
        headless.app.world_mut().resource_mut::<EmergencyStop>().on = false;
        send(&mut headless, &arm, &far, 1);
        let first = each(&headless, &arm, |target: &JointTarget| target.position_rad);
        assert!(first.iter().zip(&caught).all(|(new, old)| (new - old).abs() <= CAREFUL_RAD_S / 30.0 + 0.002));
        send(&mut headless, &arm, &far, 120);
        let targets = each(&headless, &arm, |target: &JointTarget| target.position_rad);
        assert!(targets.iter().zip(&far).all(|(target, far)| (target - far).abs() < 0.01), "{targets:?}");
    }

    #[test]
    fn a_joint_that_pushes_in_vain_yields_until_it_turns_back() {
        let pushing = JointState { position_rad: 0.5, velocity_rad_s: 0.0, torque_nm: 2.5 };
        let mut stall = Stall::default();
        for _ in 0..16 {
            stall.observe(&pushing, 2.94, 0.6, 1.0 / 30.0);
        }
        assert!((stall.yielding(1.5) - 0.62).abs() < 1e-12);
        assert_eq!(stall.yielding(0.4), 0.4);
        assert_eq!(stall.yielding(1.5), 1.5, "it was told to turn back");
    }
}
