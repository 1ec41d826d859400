//! What stands between a command and what is sent, the same for every backend: limits of joints and speed, of torque and
//! current, the table under the hand, joints that push in vain or get hot, commands that stop coming, the emergency stop.

use super::{Arm, JointCommand, JointState, JointTarget};
use crate::arm::{Floor, ParkWay};
use crate::config::{OVERCURRENT_AFTER_S, STALL_AFTER_S, SafetyConfig};
use crate::control::{ControlRate, EmergencyStop};
use crate::operator::Operator;
use bevy::prelude::*;

/// Slower than this counts as standing still, rad/s.
const STANDSTILL_RAD_S: f64 = 0.06;
/// How far the target of a joint that yields may lead it, rad.
const STALL_LEAD_RAD: f64 = 0.12;
/// A joint that moved this far from where it stalled is free again, rad.
const FREE_AFTER_RAD: f64 = 0.05;
/// Fastest joint on the way back to the commands after an emergency stop, and on the way to the rest pose, rad/s.
const CAREFUL_RAD_S: f64 = 0.6;
/// Closer than this to its command on every joint, an arm follows it again, rad.
const CAUGHT_UP_RAD: f64 = 0.02;
/// Readings in a row above the temperature limit that count.
const CONFIRMED: u32 = 3;
/// Without a command for this long the arm holds still, s.
const HOLD_AFTER_S: f64 = 0.2;
/// Without a command for this long the arm parks and lets go, s.
const PARK_AFTER_S: f64 = 2.0;
/// Close enough to the rest pose to let go, rad: an arm with P = 16 sags some 0.07.
const RESTING_RAD: f64 = 0.12;
/// Time for coming to rest at the end of a park, s; then the arm lets go all the same.
const REST_S: f64 = 3.0;

/// Why an arm parks and lets go by itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Trouble {
    /// A joint is too hot.
    Hot {
        /// Its index in the arm's model.
        joint: usize,
        /// How hot it was, degrees Celsius.
        temperature_c: f64,
    },
    /// Whoever has the arm gives no commands any more.
    Silence,
}

/// What keeps targets from following commands; written in Act.
#[derive(Component, Clone, Debug, Default, PartialEq)]
pub struct ArmLimits {
    /// The table under the hand, where it counts.
    pub floor: Option<Floor>,
    /// Whether the table holds the targets back in this tick.
    pub at_floor: bool,
    /// Joints that push against something and have been made to yield, in the order of the arm's model.
    pub stalled: Vec<bool>,
    /// Why the arm parks, or has let go.
    pub trouble: Option<Trouble>,
    stalls: Vec<Stall>,
    hot_in_row: Vec<u32>,
    silent_s: f64,
    phase: Phase,
}

#[derive(Clone, Debug, Default, PartialEq)]
enum Phase {
    #[default]
    Following,
    /// Emergency stop.
    Caught,
    /// Slowly back to the commands.
    Careful,
    /// Slowly to the rest pose.
    Parking { way: ParkWay, left_s: f64 },
    /// Without torque. `asked`: the emergency stop has been on since; when it goes off the arm works again.
    Released { asked: bool },
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Stall {
    pushing_s: f64,
    overcurrent_s: f64,
    /// Where it stalled, rad, and to which side it pushes.
    at: Option<(f64, f64)>,
}

/// What a joint may do before it yields.
struct Bounds {
    /// Torque at standstill, Nm; `None`: it may push, as jaws do.
    stall_nm: Option<f64>,
    max_current_a: f64,
}

impl Bounds {
    fn of(safety: &SafetyConfig, full_torque_nm: f64, is_gripper: bool) -> Self {
        Self {
            // Jaws are meant to push: what they hold, they hold.
            stall_nm: (!is_gripper).then_some(safety.stall_load * full_torque_nm),
            max_current_a: if is_gripper { safety.gripper_max_current_a } else { safety.max_current_a },
        }
    }
}

impl Stall {
    /// Takes in a reading of a joint whose target leads it by `lead_rad`.
    fn observe(&mut self, state: &JointState, bounds: &Bounds, lead_rad: f64, dt_s: f64) {
        let still = state.velocity_rad_s.abs() < STANDSTILL_RAD_S;
        let pushing = still && bounds.stall_nm.is_some_and(|most_nm| state.torque_nm.abs() >= most_nm);
        self.pushing_s = if pushing { self.pushing_s + dt_s } else { 0.0 };
        let over = state.current_a > bounds.max_current_a;
        self.overcurrent_s = if over { self.overcurrent_s + dt_s } else { 0.0 };
        match self.at {
            None if self.pushing_s >= STALL_AFTER_S || self.overcurrent_s >= OVERCURRENT_AFTER_S => {
                self.at = Some((state.position_rad, lead_rad.signum()));
            }
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
    /// Limits of an arm whose hand must stay above `floor`, if there is one.
    pub fn new(floor: Option<Floor>) -> Self {
        Self { floor, ..Self::default() }
    }

    /// Forgets what happened so far: the arm is in a new world.
    pub fn start_over(&mut self) {
        *self = Self::new(self.floor.take());
    }

    /// Whether the arm has let go: its joints shall have no torque.
    pub fn is_released(&self) -> bool {
        matches!(self.phase, Phase::Released { .. })
    }

    /// What a person should know, each with its remedy. `again`: what they do to let the arm work again.
    pub fn notices(&self, arm: &Arm, again: &str) -> Vec<String> {
        let name = |joint: usize| arm.model.joints.get(joint).map_or("a joint".into(), |j| j.name.replace('_', " "));
        let does = if self.is_released() { "the arm has parked and let go" } else { "the arm parks and lets go" };
        let mut notices = Vec::new();
        match self.trouble {
            Some(Trouble::Hot { joint, temperature_c }) => notices.push(format!(
                "{}: {temperature_c:.0} degrees, its limit is {:.0}: {does}. Let it cool and take load off it; {again}",
                name(joint),
                arm.config.safety.max_temperature_c
            )),
            Some(Trouble::Silence) => notices.push(format!(
                "no commands for {PARK_AFTER_S:.0} s: {does}. Look after what gives them, such as the leader's cable; {again}"
            )),
            None => {}
        }
        for (joint, _) in self.stalled.iter().enumerate().filter(|(_, stalled)| **stalled) {
            notices.push(format!("{} pushes against something and yields", name(joint)));
        }
        notices
    }

    /// Takes note of whether the arm was commanded in this tick by whoever has it.
    fn hear(&mut self, commanded: bool, dt_s: f64) {
        if !commanded {
            self.silent_s += dt_s;
            return;
        }
        if self.silent_s > PARK_AFTER_S && self.trouble == Some(Trouble::Silence) && !self.is_released() {
            self.trouble = None;
            self.phase = Phase::Careful;
        }
        self.silent_s = 0.0;
    }

    /// What is wrong with the arm at this moment.
    fn diagnose(&mut self, arm: &Arm, joints: &[Limited]) -> Option<Trouble> {
        self.hot_in_row.resize(joints.len(), 0);
        let mut trouble = None;
        for (index, (joint, in_row)) in joints.iter().zip(&mut self.hot_in_row).enumerate() {
            let temperature_c = joint.state.temperature_c;
            *in_row = if temperature_c > arm.config.safety.max_temperature_c { *in_row + 1 } else { 0 };
            if *in_row >= CONFIRMED {
                trouble = Some(Trouble::Hot { joint: index, temperature_c });
            }
        }
        trouble.or((self.silent_s > PARK_AFTER_S).then_some(Trouble::Silence))
    }

    /// Moves on to the phase of this tick.
    fn enter_phase(&mut self, arm: &Arm, dt_s: f64, stopped: bool, joints: &[Limited]) {
        let trouble = self.diagnose(arm, joints);
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Released { asked } if stopped || !asked => Phase::Released { asked: asked || stopped },
            _ if stopped => Phase::Caught,
            Phase::Caught | Phase::Released { .. } => {
                self.trouble = None;
                self.silent_s = 0.0;
                Phase::Careful
            }
            phase => phase,
        };
        if let (Some(trouble), Phase::Following | Phase::Careful) = (trouble, &self.phase) {
            self.trouble = Some(trouble);
            let last: Vec<f64> = joints.iter().map(|joint| joint.last_rad).collect();
            let rest: Vec<f64> = arm.config.rest_deg.iter().map(|degrees| degrees.to_radians()).collect();
            // Another URDF than the arm's own has no rest pose: such an arm stays where it is.
            let rest = if rest.len() == last.len() { arm.model.clamp(&rest) } else { truly(arm, &last) };
            let way = ParkWay::new(self.floor.as_ref(), &truly(arm, &last), &rest);
            let left_s = way.length_rad() / CAREFUL_RAD_S + REST_S;
            self.phase = Phase::Parking { way, left_s };
        }
        if let Phase::Parking { way, left_s } = &mut self.phase {
            *left_s -= dt_s;
            let rests = |(index, (joint, end)): (usize, (&Limited, &f64))| {
                let there = (joint.state.position_rad - arm.zero_rad(index) - end).abs() < RESTING_RAD;
                there && joint.state.velocity_rad_s.abs() < STANDSTILL_RAD_S
            };
            if *left_s <= 0.0 || joints.iter().zip(way.end_rad()).enumerate().all(rests) {
                self.phase = Phase::Released { asked: stopped };
            }
        }
    }

    /// Commands become targets, rad, one for each of `joints` (in the order of the arm's model): inside joint limits, no
    /// faster than the arm may go, above the table, in whole encoder ticks as the goal register counts them. A command that
    /// is no number is ignored. `stopped`: the emergency stop is on.
    pub fn next_targets(&mut self, arm: &Arm, rate: ControlRate, stopped: bool, joints: &[Limited]) -> Vec<f64> {
        let dt_s = rate.tick_s();
        let was_caught = self.phase == Phase::Caught;
        self.enter_phase(arm, dt_s, stopped, joints);
        let caught_now = self.phase == Phase::Caught && !was_caught;
        self.stalls.resize(arm.joints.len(), Stall::default());
        let safety = &arm.config.safety;
        let speed = if self.phase == Phase::Following { f64::INFINITY } else { CAREFUL_RAD_S };
        let step = arm.config.max_velocity_rad_s.min(speed) * dt_s;
        let encoder_tick = std::f64::consts::TAU / f64::from(arm.servo.ticks_per_turn);
        let whole = |angle: f64, joint: usize| {
            // The limits are where they are, whatever the zero is that angles are counted from.
            let zero = arm.zero_rad(joint);
            let (lower, upper) = (arm.model.joints[joint].lower + zero, arm.model.joints[joint].upper + zero);
            let ticks = (angle.clamp(lower, upper) / encoder_tick).round();
            ticks.clamp((lower / encoder_tick).ceil(), (upper / encoder_tick).floor()) * encoder_tick
        };
        let last: Vec<f64> = joints.iter().map(|joint| joint.last_rad).collect();
        let parking = match &self.phase {
            Phase::Parking { way, .. } => Some(self.counted_way(arm, way, &last, encoder_tick)),
            _ => None,
        };
        let gripper = arm.model.gripper_joint();
        let silent = self.silent_s > HOLD_AFTER_S;
        let mut apart = 0.0f64;
        let mut next = Vec::with_capacity(joints.len());
        for (index, joint) in joints.iter().enumerate().take(arm.joints.len()) {
            let Limited { state, command_rad, last_rad: now } = *joint;
            let stall = &mut self.stalls[index];
            let bounds = Bounds::of(safety, arm.servo.torque_limit_nm, index == gripper);
            stall.observe(&state, &bounds, now - state.position_rad, dt_s);
            // A spring that is drawn no further pulls no harder.
            let within_reach = |angle: f64| {
                let reach = safety.max_lead_rad;
                angle.clamp((state.position_rad - reach).min(now), (state.position_rad + reach).max(now))
            };
            next.push(match &self.phase {
                Phase::Caught if caught_now => whole(state.position_rad, index),
                Phase::Released { .. } => whole(state.position_rad, index),
                Phase::Caught => now,
                Phase::Parking { .. } => {
                    let wanted = parking.as_ref().map_or(now, |parking| stall.yielding(parking[index]));
                    whole(wanted.clamp(now - step, now + step), index)
                }
                _ if !command_rad.is_finite() || silent => now,
                _ => {
                    let wanted = stall.yielding(command_rad);
                    apart = apart.max((command_rad - now).abs());
                    whole(within_reach(wanted.clamp(now - step, now + step)), index)
                }
            });
        }
        if self.phase == Phase::Careful && apart < CAUGHT_UP_RAD {
            self.phase = Phase::Following;
        }
        let follows = matches!(self.phase, Phase::Following | Phase::Careful);
        // The table is where it is, too; a park has looked at its way before it set out.
        let floor = self.floor.as_ref().filter(|_| follows);
        let held = floor.and_then(|floor| floor.hold_back(&truly(arm, &last), &truly(arm, &next)));
        self.at_floor = held.is_some();
        if let Some(held) = held {
            next =
                held.into_iter().enumerate().map(|(joint, angle)| whole(angle + arm.zero_rad(joint), joint)).collect();
        }
        self.stalled = self.stalls.iter().map(|stall| stall.at.is_some()).collect();
        next
    }

    /// Where a park wants the joints now, as the arm counts angles, rad. Targets are whole encoder ticks: one that is a tick
    /// from the end of its stage is there.
    fn counted_way(&self, arm: &Arm, way: &ParkWay, last: &[f64], encoder_tick: f64) -> Vec<f64> {
        let mut at = truly(arm, last);
        for (angle, end) in at.iter_mut().zip(way.end_rad()) {
            if (*angle - end).abs() < encoder_tick {
                *angle = *end;
            }
        }
        arm.counted_rad(&way.next(&at))
    }
}

/// Angles that are told, or reported, as true ones, rad.
fn truly(arm: &Arm, told: &[f64]) -> Vec<f64> {
    told.iter().enumerate().map(|(joint, angle)| angle - arm.zero_rad(joint)).collect()
}

/// Commands become targets, see [`ArmLimits::next_targets`]. So a target is what any backend really sends.
pub(super) fn limit_targets(
    rate: Res<ControlRate>,
    stop: Res<EmergencyStop>,
    operator: Option<Res<Operator>>,
    mut arms: Query<(&Arm, &mut ArmLimits)>,
    mut joints: Query<(&JointState, Ref<JointCommand>, &mut JointTarget)>,
) {
    // Those whose commands come from elsewhere can fall silent; the others say nothing when they have nothing to say.
    let must_speak = operator.is_some_and(|operator| matches!(*operator, Operator::Human | Operator::Policy));
    for (arm, mut limits) in &mut arms {
        let mut commanded = !must_speak;
        let now: Vec<Limited> = joints
            .iter_many(&arm.joints)
            .map(|(state, command, target)| {
                commanded |= command.is_changed();
                Limited { state: *state, command_rad: command.position_rad, last_rad: target.position_rad }
            })
            .collect();
        limits.hear(commanded, rate.tick_s());
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
    use crate::backend::sim::SimJoint;
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

    fn each<C: Component, T>(headless: &Headless, arm: &Arm, of: impl Fn(&C) -> T) -> Vec<T> {
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
        assert!(held.at_floor || held.stalled.contains(&true), "{held:?}");
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
        let pushing = JointState { position_rad: 0.5, torque_nm: 2.5, ..JointState::default() };
        let mut stall = Stall::default();
        for _ in 0..16 {
            stall.observe(&pushing, &Bounds { stall_nm: Some(2.0), max_current_a: 2.2 }, 0.6, 1.0 / 30.0);
        }
        assert!((stall.yielding(1.5) - 0.62).abs() < 1e-12);
        assert_eq!(stall.yielding(0.4), 0.4);
        assert_eq!(stall.yielding(1.5), 1.5, "it was told to turn back");
    }

    #[test]
    fn too_much_current_makes_a_moving_joint_yield_jaws_included() {
        let safety = SafetyConfig::default();
        for (is_gripper, current_a, yields) in [(false, 2.3, true), (false, 2.1, false), (true, 1.5, true)] {
            let mut stall = Stall::default();
            let state = JointState { velocity_rad_s: 1.0, current_a, ..JointState::default() };
            for _ in 0..8 {
                stall.observe(&state, &Bounds::of(&safety, 2.94, is_gripper), 0.4, 1.0 / 30.0);
            }
            assert_eq!((stall.yielding(1.0) - STALL_LEAD_RAD).abs() < 1e-12, yields, "{is_gripper} {current_a}");
        }
    }

    #[test]
    fn an_arm_pressed_on_the_table_takes_no_more_current_than_it_may() {
        let (mut headless, arm) = standing();
        let world = headless.app.world_mut();
        world.query::<&mut ArmLimits>().single_mut(world).unwrap().floor = None;
        let down = [0.0, 0.3, 0.6, 0.9, 0.0, 0.5];
        let currents = |headless: &Headless| each(headless, &arm, |state: &JointState| state.current_a);
        let (mut over, mut longest) = (0, 0);
        for _ in 0..150 {
            send(&mut headless, &arm, &down, 1);
            over = if currents(&headless).iter().any(|current_a| *current_a > 2.2) { over + 1 } else { 0 };
            longest = longest.max(over);
        }
        assert!((1..=12).contains(&longest), "over the cap for {longest} ticks: a moment, not for long");
        assert!(limits(&mut headless).stalled.contains(&true));
    }

    fn heat(headless: &mut Headless, arm: &Arm, joint: usize, temperature_c: f64) {
        let mut joint = headless.app.world_mut().get_mut::<SimJoint>(arm.joints[joint]).unwrap();
        joint.servo.as_mut().unwrap().temperature_c = temperature_c;
    }

    fn torques(headless: &Headless, arm: &Arm) -> Vec<bool> {
        each(headless, arm, |joint: &SimJoint| joint.servo.as_ref().unwrap().has_torque)
    }

    #[test]
    fn a_hot_arm_parks_slowly_lets_go_and_works_again_when_it_is_cool() {
        let (mut headless, arm) = standing();
        let up = [0.4, -0.6, 0.6, 0.6, 0.2, 0.8];
        send(&mut headless, &arm, &up, 60);
        heat(&mut headless, &arm, 2, 66.0);
        send(&mut headless, &arm, &up, 5);
        assert!(matches!(limits(&mut headless).trouble, Some(Trouble::Hot { joint: 2, .. })));
        let mut fastest = 0.0f64;
        for _ in 0..400 {
            send(&mut headless, &arm, &up, 1);
            if limits(&mut headless).is_released() {
                break;
            }
            let speeds = each(&headless, &arm, |state: &JointState| state.velocity_rad_s.abs());
            fastest = speeds.into_iter().fold(fastest, f64::max);
        }
        assert!(limits(&mut headless).is_released() && fastest < 1.0, "slowly, not at {fastest} rad/s");
        let notices = limits(&mut headless).notices(&arm, "press it");
        assert!(notices[0].contains("elbow flex") && notices[0].contains("let go") && notices[0].contains("press it"));
        send(&mut headless, &arm, &up, 30);
        assert_eq!(torques(&headless, &arm), [false; 6]);
        let rest: Vec<f64> = arm.config.rest_deg.iter().map(|degrees| degrees.to_radians()).collect();
        let lies = each(&headless, &arm, |state: &JointState| state.position_rad);
        assert!(lies.iter().zip(&rest).all(|(at, rest)| (at - rest).abs() < 0.25), "{lies:?}");
        let ask = |headless: &mut Headless| {
            headless.app.world_mut().resource_mut::<EmergencyStop>().on = true;
            send(headless, &arm, &up, 2);
            assert_eq!(torques(headless, &arm), [false; 6], "a stop brings no torque");
            headless.app.world_mut().resource_mut::<EmergencyStop>().on = false;
            send(headless, &arm, &up, 300);
        };
        ask(&mut headless);
        assert!(limits(&mut headless).is_released(), "still hot");
        heat(&mut headless, &arm, 2, 40.0);
        ask(&mut headless);
        let stands = each(&headless, &arm, |state: &JointState| state.position_rad);
        assert!(stands.iter().zip(&up).all(|(at, up)| (at - up).abs() < 0.1), "{stands:?}");
        assert_eq!((torques(&headless, &arm), limits(&mut headless).trouble), (vec![true; 6], None));
    }

    #[test]
    fn an_arm_whose_commands_stop_holds_then_parks_and_goes_on_when_they_return_in_time() {
        let (mut headless, arm) = standing();
        // A policy that is not there: nobody writes commands but this test.
        headless.app.insert_resource(Operator::Policy);
        let up = [0.4, -0.6, 0.6, 0.6, 0.2, 0.8];
        send(&mut headless, &arm, &up, 90);
        let targets = |headless: &Headless| each(headless, &arm, |target: &JointTarget| target.position_rad);
        let held = targets(&headless);
        (0..57).for_each(|_| headless.tick());
        assert_eq!((targets(&headless), limits(&mut headless).trouble), (held.clone(), None));
        (0..30).for_each(|_| headless.tick());
        assert_eq!(limits(&mut headless).trouble, Some(Trouble::Silence));
        assert_ne!(targets(&headless), held);
        send(&mut headless, &arm, &up, 90);
        assert_eq!((targets(&headless), limits(&mut headless).trouble), (held, None));
        (0..500).for_each(|_| headless.tick());
        assert_eq!((limits(&mut headless).is_released(), torques(&headless, &arm)), (true, vec![false; 6]));
        headless.start(1).unwrap();
        assert_eq!((limits(&mut headless).is_released(), torques(&headless, &arm)), (false, vec![true; 6]));
    }
}
