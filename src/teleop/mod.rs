//! A person moves the arm: by steps of the hand in space, by dragging it, or joint by joint.
//!
//! Whoever gathers input (keyboard, mouse, gamepad; none of them known here) fills [`TeleopInput`] before the control
//! ticks of a frame, since none, one or two of them may fall into it.

pub mod leader;

use crate::arm::{DVec3, IkSettings, IkTarget};
use crate::control::{Control, ControlRate, ControlSystems};
use crate::episode::EpisodeStarted;
use crate::operator::{DriveArms, Operator, has_the_arm};
use crate::robot::{Arm, JointCommand, JointState};
use crate::world::{outward_tilt_rad, pan_axis_m};
use bevy::prelude::*;

/// Speed of the hand at full input, m/s.
const HAND_SPEED_M_S: f64 = 0.16;
/// Speed at which the hand follows a dragged handle, m/s.
const DRAG_SPEED_M_S: f64 = 0.35;
/// Turning speed of roll, tilt and single joints at full input, rad/s.
const TURN_SPEED_RAD_S: f64 = 1.4;
/// Speed of the jaws at full input, rad/s.
const JAW_SPEED_RAD_S: f64 = 2.0;
/// Share of the way to the wanted speed covered per second; makes keys feel like a stick.
const RESPONSE_PER_S: f64 = 12.0;
/// Lowest place of the tool point, m: the finger tips, 9 mm below it, stay just above the table.
const FLOOR_M: f64 = 0.0115;
/// How far the wanted place may run ahead of the hand, m: beyond it something holds the hand up.
const LEASH_M: f64 = 0.04;
/// How far the jaws' target closes beyond where they are, rad: firm, without winding up.
const SQUEEZE_RAD: f64 = 0.11;
/// Range of the extra tilt a person may give the hand, rad.
const TILT_RANGE_RAD: (f64, f64) = (-0.6, 1.5);

/// How far the hand may lean in one tick to keep going where the wrist is at its limit, rad; tried in this order.
const LEANS_RAD: [f64; 5] = [0.0, 0.03, -0.03, 0.07, -0.07];

/// What the person wants right now. Axes run from -1 to 1; anything outside is clamped, anything that is no number counts
/// as 0.
#[derive(Resource, Clone, Debug, Default, PartialEq)]
pub struct TeleopInput {
    /// Hand velocity along the world's axes.
    pub translate: DVec3,
    /// Turn of the hand about its fingers, positive counter-clockwise seen from above.
    pub roll: f64,
    /// Tilt of the fingers, positive outwards.
    pub tilt: f64,
    /// Jaws, positive opens.
    pub gripper: f64,
    /// Single joints, in the order of the arm's model; missing ones are 0.
    pub jog: Vec<f64>,
    /// Where the hand is dragged to, m; it follows as fast as it may.
    pub drag_target_m: Option<DVec3>,
    /// Factor on all speeds; 1 is normal.
    pub speed: f64,
}

/// Where the person has put the hand.
#[derive(Component, Clone, Debug, PartialEq)]
pub struct HandTarget {
    /// Wanted place of the tool point, m.
    pub position_m: DVec3,
    /// Direction in which the jaws open, seen from above, rad.
    pub heading_rad: f64,
    /// Tilt beyond what the arm needs at this reach, rad.
    pub tilt_rad: f64,
    /// Joint angles that bring the hand there, rad.
    pub q_rad: Vec<f64>,
    /// Whether the last wish could not be followed: out of reach, or at a limit.
    pub blocked: bool,
    translate_m_s: DVec3,
    turn_rad_s: [f64; 2],
    jog_rad_s: Vec<f64>,
}

/// Adds teleoperation.
pub fn plugin(app: &mut App) {
    app.init_resource::<TeleopInput>();
    app.add_systems(
        Control,
        (
            drive_by_hand
                .in_set(ControlSystems::Decide)
                .in_set(DriveArms)
                .ambiguous_with(DriveArms)
                .run_if(has_the_arm(Operator::Human).and_then(not(resource_exists::<leader::Leader>))),
            leader::follow_leader
                .in_set(ControlSystems::Decide)
                .in_set(DriveArms)
                .ambiguous_with(DriveArms)
                .run_if(has_the_arm(Operator::Human).and_then(resource_exists::<leader::Leader>)),
            forget_targets.in_set(ControlSystems::Decide).before(DriveArms).run_if(not(has_the_arm(Operator::Human))),
        ),
    );
    app.add_observer(|_: On<EpisodeStarted>, commands: Commands, arms: Query<Entity, With<HandTarget>>| {
        forget_targets(commands, arms);
    });
    app.add_observer(leader::meet_again);
}

/// Whoever takes over later starts from where the arm is then.
fn forget_targets(mut commands: Commands, arms: Query<Entity, With<HandTarget>>) {
    for arm in &arms {
        commands.entity(arm).remove::<HandTarget>();
    }
}

fn drive_by_hand(
    mut commands: Commands,
    rate: Res<ControlRate>,
    input: Res<TeleopInput>,
    mut arms: Query<(Entity, &Arm, Option<&mut HandTarget>)>,
    states: Query<&JointState>,
    mut joint_commands: Query<&mut JointCommand>,
) {
    for (entity, arm, target) in &mut arms {
        let measured = arm.positions_rad(&states);
        let Some(mut target) = target else {
            let target = HandTarget::from_joints(arm, &measured);
            arm.command(&mut joint_commands, &held(arm, &target, &measured));
            commands.entity(entity).insert(target);
            continue;
        };
        target.follow(arm, &input, &measured, rate.tick_s());
        arm.command(&mut joint_commands, &held(arm, &target, &measured));
    }
}

/// Joint command that holds the hand at its target against gravity.
fn held(arm: &Arm, target: &HandTarget, measured: &[f64]) -> Vec<f64> {
    let lead = arm.gravity_lead_rad(measured, 0.0);
    target.q_rad.iter().zip(lead).map(|(q, lead)| q + lead).collect()
}

impl HandTarget {
    /// The target that leaves the arm as it stands.
    pub fn from_joints(arm: &Arm, q_rad: &[f64]) -> Self {
        let pose = arm.model.tool_pose(q_rad, &arm.tool);
        let opening = pose.rotation * arm.tool.closing;
        let approach = pose.rotation * arm.tool.approach;
        let outward = outward(arm, pose.translation);
        let tilt = approach.dot(outward.normalize_or_zero()).atan2(-approach.z);
        Self {
            position_m: pose.translation,
            heading_rad: opening.y.atan2(opening.x),
            tilt_rad: tilt - outward_tilt_rad(outward.length()),
            q_rad: q_rad.to_vec(),
            blocked: false,
            translate_m_s: DVec3::ZERO,
            turn_rad_s: [0.0; 2],
            jog_rad_s: vec![0.0; q_rad.len()],
        }
    }

    /// One tick of `tick_s` under `input`, with the arm standing at `measured`.
    pub fn follow(&mut self, arm: &Arm, input: &TeleopInput, measured: &[f64], tick_s: f64) {
        let speed = if input.speed.is_finite() { input.speed.clamp(0.0, 4.0) } else { 1.0 };
        let blend = (RESPONSE_PER_S * tick_s).min(1.0);
        let ease = |now: &mut f64, wish: f64| {
            *now += (wish - *now) * blend;
            if now.abs() < 1e-4 {
                *now = 0.0;
            }
        };
        let gripper = arm.model.gripper_joint();
        self.blocked = false;

        for (joint, now) in self.jog_rad_s.iter_mut().enumerate() {
            ease(now, axis(input.jog.get(joint).copied().unwrap_or(0.0)) * TURN_SPEED_RAD_S * speed);
        }
        if self.jog_rad_s.iter().any(|rate| *rate != 0.0) {
            let moved: Vec<f64> = self.q_rad.iter().zip(&self.jog_rad_s).map(|(q, rate)| q + rate * tick_s).collect();
            let clamped = arm.model.clamp(&moved);
            self.blocked = moved.iter().zip(&clamped).any(|(a, b)| a != b);
            let (jogging, jaw) = (self.jog_rad_s.clone(), self.q_rad[gripper]);
            *self = Self::from_joints(arm, &clamped);
            self.jog_rad_s = jogging;
            if self.jog_rad_s[gripper] == 0.0 {
                self.q_rad[gripper] = jaw;
            }
        }

        let wish = DVec3::new(axis(input.translate.x), axis(input.translate.y), axis(input.translate.z))
            .clamp_length_max(1.0)
            * HAND_SPEED_M_S
            * speed;
        let wish = match input.drag_target_m.filter(|target| target.is_finite()) {
            Some(target) => {
                // Full speed from 5 cm on, so that the hand settles on the handle instead of swinging about it.
                ((target - self.position_m) / 0.05 * DRAG_SPEED_M_S).clamp_length_max(DRAG_SPEED_M_S)
            }
            None => wish,
        };
        ease(&mut self.translate_m_s.x, wish.x);
        ease(&mut self.translate_m_s.y, wish.y);
        ease(&mut self.translate_m_s.z, wish.z);
        ease(&mut self.turn_rad_s[0], axis(input.roll) * TURN_SPEED_RAD_S * speed);
        ease(&mut self.turn_rad_s[1], axis(input.tilt) * TURN_SPEED_RAD_S * speed);
        if self.translate_m_s != DVec3::ZERO || self.turn_rad_s != [0.0; 2] {
            self.move_hand(arm, measured, tick_s);
        }

        let limits = &arm.model.joints[gripper];
        let jaw = self.q_rad[gripper] + axis(input.gripper) * JAW_SPEED_RAD_S * speed * tick_s;
        let jaw = if input.gripper < 0.0 { jaw.max(measured[gripper] - SQUEEZE_RAD) } else { jaw };
        self.q_rad[gripper] = jaw.clamp(limits.lower, limits.upper);
    }

    /// Moves and turns the hand by this tick's velocities, as far as the arm can follow: where the wrist is at its limit
    /// the hand leans, and where that does not help it slides along what stops it.
    fn move_hand(&mut self, arm: &Arm, measured: &[f64], tick_s: f64) {
        let step = self.translate_m_s * tick_s;
        let hand = arm.model.tool_pose(measured, &arm.tool).translation;
        let heading = self.heading_rad + self.turn_rad_s[0] * tick_s;
        let tilt = self.tilt_rad + self.turn_rad_s[1] * tick_s;
        let leaning = LEANS_RAD.iter().map(|lean| (DVec3::ONE, *lean));
        let sliding = [(1.0, 1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)];
        let sliding = sliding.iter().map(|&(x, y, z)| (DVec3::new(x, y, z), 0.0));
        for (share, lean) in leaning.chain(sliding) {
            let mut position = self.position_m + step * share;
            position.z = position.z.max(FLOOR_M);
            // A hand that is held up pulls its target along on a leash.
            position = hand + (position - hand).clamp_length_max(LEASH_M);
            let tilt = (tilt + lean).clamp(TILT_RANGE_RAD.0, TILT_RANGE_RAD.1);
            if let Some(q) = self.joints_for(arm, position, heading, tilt) {
                self.blocked |= share != DVec3::ONE;
                let gripper = arm.model.gripper_joint();
                let jaw = self.q_rad[gripper];
                (self.position_m, self.heading_rad, self.tilt_rad, self.q_rad) = (position, heading, tilt, q);
                self.q_rad[gripper] = jaw;
                return;
            }
        }
        self.blocked = true;
        self.translate_m_s = DVec3::ZERO;
        self.turn_rad_s = [0.0; 2];
    }

    fn joints_for(&self, arm: &Arm, position: DVec3, heading: f64, tilt: f64) -> Option<Vec<f64>> {
        let outward = outward(arm, position);
        let (sin, cos) = (outward_tilt_rad(outward.length()) + tilt).sin_cos();
        let target = IkTarget {
            position_m: position,
            approach: DVec3::NEG_Z * cos + outward.normalize_or_zero() * sin,
            closing: Some(DVec3::new(heading.cos(), heading.sin(), 0.0)),
        };
        let settings = IkSettings { max_iterations: 40, tolerance_m: 3e-3, ..IkSettings::default() };
        let solution = arm.model.ik(&arm.tool, &target, &self.q_rad, &settings);
        // No leap to another posture that happens to reach the same place.
        let leap = solution.q.iter().zip(&self.q_rad).any(|(new, old)| (new - old).abs() > 0.35);
        (solution.reached && !leap).then_some(solution.q)
    }
}

/// An axis of input: -1 to 1.
fn axis(value: f64) -> f64 {
    if value.is_finite() { value.clamp(-1.0, 1.0) } else { 0.0 }
}

/// Horizontal vector from the pan axis to a place, m.
fn outward(arm: &Arm, place: DVec3) -> DVec3 {
    let axis = pan_axis_m(&arm.model);
    DVec3::new(place.x - axis.0, place.y - axis.1, 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::RunOptions;
    use crate::episode::{Episode, EpisodePhase, EpisodeRequests};
    use crate::headless::Headless;

    fn practising() -> Headless {
        let mut headless = Headless::new(&RunOptions { operator: Operator::Human, ..RunOptions::default() }).unwrap();
        headless.app.world_mut().resource_mut::<EpisodeRequests>().wait_for_movement = true;
        headless.start(7).unwrap();
        headless
    }

    fn hand(headless: &mut Headless) -> DVec3 {
        let world = headless.app.world_mut();
        let arm = world.query::<&Arm>().single(world).unwrap().clone();
        let q: Vec<f64> = arm.joints.iter().map(|j| world.get::<JointState>(*j).unwrap().position_rad).collect();
        arm.model.tool_pose(&q, &arm.tool).translation
    }

    fn ticks(headless: &mut Headless, count: usize, input: TeleopInput) {
        headless.app.insert_resource(TeleopInput { speed: 1.0, ..input });
        (0..count).for_each(|_| headless.tick());
    }

    #[test]
    fn without_input_the_arm_holds_still_and_the_clock_waits() {
        let mut headless = practising();
        let before = hand(&mut headless);
        ticks(&mut headless, 60, TeleopInput::default());
        assert!((hand(&mut headless) - before).length() < 0.003, "it sagged or drifted");
        assert_eq!(headless.app.world().resource::<Episode>().phase, EpisodePhase::Ready);
    }

    #[test]
    fn the_hand_goes_where_it_is_told_and_the_clock_runs() {
        let mut headless = practising();
        let before = hand(&mut headless);
        ticks(&mut headless, 15, TeleopInput { translate: DVec3::X, ..default() });
        ticks(&mut headless, 20, TeleopInput::default());
        let moved = hand(&mut headless) - before;
        assert!((0.05..0.10).contains(&moved.x) && moved.y.abs() < 0.012 && moved.z.abs() < 0.012, "{moved}");
        assert_eq!(headless.app.world().resource::<Episode>().phase, EpisodePhase::Running);
    }

    #[test]
    fn dragging_brings_the_hand_to_the_handle() {
        let mut headless = practising();
        let target = DVec3::new(-0.06, -0.22, 0.06);
        ticks(&mut headless, 60, TeleopInput { drag_target_m: Some(target), ..default() });
        assert!((hand(&mut headless) - target).length() < 0.008, "{}", hand(&mut headless));
    }

    #[test]
    fn the_table_and_the_reach_stop_the_hand() {
        let mut headless = practising();
        ticks(&mut headless, 90, TeleopInput { translate: DVec3::NEG_Z, ..default() });
        assert!(hand(&mut headless).z > 0.005);
        ticks(&mut headless, 200, TeleopInput { translate: DVec3::NEG_Y, ..default() });
        let world = headless.app.world_mut();
        assert!(world.query::<&HandTarget>().single(world).unwrap().blocked, "the end of the reach is reported");
    }

    #[test]
    fn at_the_wrists_limit_the_hand_leans_and_goes_on() {
        let mut headless = practising();
        let before = hand(&mut headless);
        ticks(&mut headless, 30, TeleopInput { translate: DVec3::Z, ..default() });
        let risen = hand(&mut headless).z - before.z;
        assert!(risen > 0.08, "only {risen} m up from a start that needs nearly all of the wrist");
    }

    #[test]
    fn nonsense_input_moves_nothing() {
        let mut headless = practising();
        let before = hand(&mut headless);
        let nan = f64::NAN;
        let input = TeleopInput {
            translate: DVec3::splat(nan),
            roll: nan,
            gripper: nan,
            jog: vec![nan; 9],
            drag_target_m: Some(DVec3::splat(nan)),
            ..default()
        };
        ticks(&mut headless, 30, input);
        assert!((hand(&mut headless) - before).length() < 0.003);
    }
}
