//! The gripping expert: take an object by two parallel sides, carry it, turn it, put it down, let go.
//!
//! It has no memory: the command follows from joint angles and object pose alone. So it recovers from any disturbance,
//! can say what it would do in any state, and can be imitated by a policy that sees only the present.

use crate::arm::{DPose3, DVec3, IkSettings, IkTarget, Tool};
use crate::robot::Arm;
use crate::world::{outward_tilt_rad, pan_axis_m, wrap_angle};
use bevy_rapier3d::rapier::math::Pose;
use std::f64::consts::{FRAC_PI_2, TAU};

/// Jaw angle while approaching, rad.
const OPEN_RAD: f64 = 0.60;
/// Jaw angle at which a 25 mm object is between the fingers, rad (measured, docs/arm.md).
const CLOSED_ON_25MM_RAD: f64 = 0.126;
/// Jaw angle per metre of object width around 25 mm, rad/m (measured gap at 0.1 and 0.2 rad).
const JAW_RAD_PER_M: f64 = 13.7;
/// Where the fixed finger's pad stands beside the tool point, m.
const FIXED_PAD_M: f64 = 0.0094;
/// A hand that cannot be turned as wanted goes on if it can be this near to where it is wanted, m.
const MAKESHIFT_M: f64 = 0.002;
/// Length that weighs as much as one radian when pose errors are added, m.
const METRES_PER_RADIAN: f64 = 0.045;

/// What to grip and where to put it. Lengths in m, angles in rad.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GripJob {
    /// Where the object's centre shall go.
    pub goal_m: (f64, f64),
    /// How it shall be turned; `None` if any way will do.
    pub goal_yaw_rad: Option<f64>,
    /// Grip point in the object's frame.
    pub grip_m: (f64, f64),
    /// Height of the grip point above the table while the object lies on it.
    pub grip_height_m: f64,
    /// Half of the object's width between the fingers.
    pub half_width_m: f64,
    /// Height of the object's centre while it lies on the table.
    pub rest_height_m: f64,
    /// In how many ways, evenly spread over a turn, the hand may grip it.
    pub turn_symmetry: u32,
    /// How high it is carried.
    pub lift_m: f64,
    /// It is let go when its pose error falls below this.
    pub release_within_m: f64,
    /// It counts as placed, and is left alone, while its pose error is below this.
    pub placed_within_m: f64,
    /// Height of what it is put onto; 0 for the table.
    pub support_m: f64,
    /// In how many ways, evenly spread over a turn, it may lie on the goal.
    pub goal_symmetry: u32,
    /// From which side it is gripped.
    pub side: GripSide,
}

/// How the hand chooses among the sides from which it may grip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GripSide {
    /// The one whose wrist roll at the object is nearest to a quarter turn: the choice depends on the object alone.
    QuarterTurn,
    /// The one that turns the wrist least on the way to the object and, weighed half as much again, to the goal: needed
    /// where objects may lie in any direction.
    LeastTravel,
}

/// Weight of the wrist's travel while carrying against that on the way to the object.
const CARRY_WEIGHT: f64 = 1.5;
/// Distance kept from the limits of the wrist roll, rad.
const ROLL_MARGIN_RAD: f64 = 0.09;

/// What the expert is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GripPhase {
    /// Going over the object.
    Reach,
    /// Going down around it.
    Descend,
    /// Closing the jaws.
    Close,
    /// Lifting it.
    Lift,
    /// Carrying and turning it.
    Carry,
    /// Setting it down.
    Lower,
    /// Opening the jaws.
    Release,
    /// Going up, away from it.
    Retreat,
}

impl GripPhase {
    /// Whether the object is in the hand.
    pub fn holds(self) -> bool {
        matches!(self, Self::Lift | Self::Carry | Self::Lower)
    }
}

/// Where the hand is and how it stands.
struct Hand {
    tool: Tool,
    /// The grip point between the fingers, in the world.
    at: DVec3,
    pose: DPose3,
    yaw: f64,
    jaw: f64,
}

/// What the hand shall do next.
struct Intent {
    phase: GripPhase,
    to: DVec3,
    turn: f64,
    jaw: f64,
    step_across_m: f64,
    step_up_m: f64,
    payload_kg: f64,
}

/// Joint command (rad) for the present state, and what it is meant for. `q_rad`: measured joint angles; `object`: its
/// pose; `speed`: 1 is the normal pace.
pub fn grip_and_place(
    arm: &Arm,
    job: &GripJob,
    q_rad: &[f64],
    object: &Pose,
    mass_kg: f64,
    speed: f64,
) -> (Vec<f64>, GripPhase) {
    let hand = hand_of(arm, job, q_rad);
    let intent = decide(arm, job, q_rad, object, mass_kg, &hand);
    (move_hand(arm, q_rad, &hand, &intent, speed), intent.phase)
}

/// What [`grip_and_place`] is about in a state, without the cost of finding the command.
pub fn grip_phase(arm: &Arm, job: &GripJob, q_rad: &[f64], object: &Pose) -> GripPhase {
    decide(arm, job, q_rad, object, 0.0, &hand_of(arm, job, q_rad)).phase
}

/// Where an object is in the hand: what a policy may be taught to see besides the command.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GripPlace {
    /// The object's grip point from the point between the fingers, along the direction in which the jaws close, m.
    pub across_m: f64,
    /// The same along the fingers, m.
    pub along_m: f64,
    /// The same across both, m.
    pub sideways_m: f64,
    /// The object's yaw from the hand's, rad.
    pub yaw_rad: f64,
}

/// Where `object` is in the hand of an arm at `q_rad`.
pub fn place_in_hand(arm: &Arm, job: &GripJob, q_rad: &[f64], object: &Pose) -> GripPlace {
    let hand = hand_of(arm, job, q_rad);
    let yaw = crate::world::yaw_rad(object);
    let (sin, cos) = yaw.sin_cos();
    let grip = DVec3::new(
        f64::from(object.translation.x) + cos * job.grip_m.0 - sin * job.grip_m.1,
        f64::from(object.translation.y) + sin * job.grip_m.0 + cos * job.grip_m.1,
        f64::from(object.translation.z) - job.rest_height_m + job.grip_height_m,
    );
    let place = hand.pose.inverse_transform_point(grip) - hand.tool.point_m;
    let (closing, approach) = (hand.tool.closing, hand.tool.approach);
    GripPlace {
        across_m: place.dot(closing),
        along_m: place.dot(approach),
        sideways_m: place.dot(closing.cross(approach)),
        yaw_rad: wrap_angle(yaw - hand.yaw),
    }
}

fn hand_of(arm: &Arm, job: &GripJob, q_rad: &[f64]) -> Hand {
    let closing = arm.tool.closing;
    let tool = Tool { point_m: arm.tool.point_m + closing * (FIXED_PAD_M - job.half_width_m), ..arm.tool };
    let pose = arm.model.link_pose(q_rad, tool.link);
    let opening = pose.rotation * closing;
    Hand {
        tool,
        at: pose.transform_point(tool.point_m),
        pose,
        yaw: opening.y.atan2(opening.x),
        jaw: q_rad[arm.model.gripper_joint()],
    }
}

fn decide(arm: &Arm, job: &GripJob, q: &[f64], object: &Pose, mass_kg: f64, hand: &Hand) -> Intent {
    let centre = DVec3::new(object.translation.x.into(), object.translation.y.into(), object.translation.z.into());
    let yaw = crate::world::yaw_rad(object);
    let upright = f64::from((object.rotation * bevy_rapier3d::rapier::math::Vector::Z).z).abs();
    let closed = CLOSED_ON_25MM_RAD + (2.0 * job.half_width_m - 0.025) * JAW_RAD_PER_M;

    let (sin, cos) = yaw.sin_cos();
    let grip = |height: f64| {
        DVec3::new(
            centre.x + cos * job.grip_m.0 - sin * job.grip_m.1,
            centre.y + sin * job.grip_m.0 + cos * job.grip_m.1,
            height,
        )
    };
    let goal_turn = job.goal_yaw_rad.map_or(0.0, |goal| {
        let same = TAU / f64::from(job.goal_symmetry.max(1));
        let turn = goal - yaw;
        turn - same * (turn / same).round()
    });
    // Height of the lowest edge of a body that may be tilted: zero while it lies flat.
    let tilt = (1.0 - upright * upright).max(0.0).sqrt();
    let bottom = centre.z - job.rest_height_m * upright - METRES_PER_RADIAN * tilt;
    // What it stands on: the table, or, once it is up there, what it shall be put onto.
    let floor = if bottom > 0.5 * job.support_m { job.support_m } else { 0.0 };
    let on_table = grip(job.grip_height_m + floor);
    let in_hand = {
        let height = centre.z - job.rest_height_m + job.grip_height_m;
        hand.pose.inverse_transform_point(grip(height)) - hand.tool.point_m
    };
    let candidates: Vec<f64> = (0..job.turn_symmetry)
        .map(|k| wrap_angle(yaw + TAU * f64::from(k) / f64::from(job.turn_symmetry) - hand.yaw))
        .collect();
    let nearest_turn = candidates.iter().copied().min_by(|a, b| a.abs().total_cmp(&b.abs())).unwrap_or(0.0);

    let goal_error = (centre.x - job.goal_m.0).hypot(centre.y - job.goal_m.1) + METRES_PER_RADIAN * goal_turn.abs();

    let across = in_hand.dot(hand.tool.closing);
    let along = in_hand.dot(hand.tool.approach);
    let sideways = (in_hand - hand.tool.closing * across - hand.tool.approach * along).length();
    let held = across.abs() < 0.007
        && along.abs() < 0.009
        && sideways < 0.015
        && nearest_turn.abs() < 0.3
        && hand.jaw < closed + 0.13;
    if held {
        let turn = if job.side == GripSide::LeastTravel {
            Wrist::new(arm, q).turn_within_limits(goal_turn, hand.at, goal_grip(job, hand.at - centre, goal_turn))
        } else {
            goal_turn
        };
        return carry(job, hand, centre, goal_turn, turn, goal_error, bottom, mass_kg);
    }

    let above = bottom - job.support_m;
    let placed = goal_error < job.placed_within_m && above < 0.002 && (job.support_m == 0.0 || above > -0.004);
    let turn = if placed {
        nearest_turn
    } else {
        match job.side {
            GripSide::QuarterTurn => turn_to_grip(arm, q, &candidates, on_table),
            GripSide::LeastTravel => {
                let over_goal = goal_grip(job, on_table - centre, goal_turn);
                Wrist::new(arm, q).least_travel(&candidates, on_table, over_goal, goal_turn)
            }
        }
    };
    let facing = hand.yaw + turn;
    let facing = DVec3::new(facing.cos(), facing.sin(), 0.0);
    // Open jaws swing away on one side only: the grip point keeps the fixed finger beside the object.
    let beside = |jaw: f64| 0.010 * ((jaw - closed) / (OPEN_RAD - closed)).clamp(0.0, 1.0);
    let still = Intent {
        phase: GripPhase::Close,
        to: hand.at,
        turn,
        jaw: OPEN_RAD,
        step_across_m: 0.010,
        step_up_m: 0.006,
        payload_kg: 0.0,
    };
    if placed {
        let margin = if hand.at.z < 0.03 + floor { beside(hand.jaw).min(0.005) } else { beside(hand.jaw) };
        let away = on_table + facing * margin;
        return if hand.jaw < closed + 0.27 && hand.at.z < 0.035 + floor {
            Intent { phase: GripPhase::Release, to: away, jaw: hand.jaw + 0.15, ..still }
        } else {
            Intent { phase: GripPhase::Retreat, to: away.with_z(0.075 + floor), step_up_m: 0.008, ..still }
        };
    }
    let above = on_table + facing * beside(hand.jaw);
    let miss = (hand.at - above).truncate();
    let miss_m = miss.length() + 0.04 * turn.abs();
    let low = hand.at.z - job.grip_height_m - floor;
    let open = hand.jaw > OPEN_RAD - 0.10;
    // Once the jaws move they go on closing only while the hand is still where it should be.
    let may_close = if open { miss_m < 0.006 && low < 0.005 } else { miss_m < 0.009 && low < 0.009 };
    if may_close {
        return Intent { phase: GripPhase::Close, to: above, jaw: hand.jaw - 0.13, ..still };
    }
    // A cone over the grip point: the lower the hand, the closer it must be.
    let mut height = ((miss_m - 0.003) * 3.5).clamp(0.0, 0.055);
    if hand.jaw <= OPEN_RAD - 0.15 {
        // Half-closed jaws would hit the object: stay or go up until they are open.
        let near = low < 0.03 && miss_m < 0.03;
        height = height.max(if near { low.max(0.0) } else { 0.04 });
    }
    // Low and far away: rise before going across.
    let freedom = (1.0 - (height.min(0.035) - low - 0.004) / 0.015).clamp(0.0, 1.0);
    Intent {
        phase: if height > 0.03 { GripPhase::Reach } else { GripPhase::Descend },
        to: DVec3::new(hand.at.x - miss.x * freedom, hand.at.y - miss.y * freedom, on_table.z + height),
        turn: turn * freedom,
        ..still
    }
}

/// The object is in the hand: lift, carry, turn, lower, let go.
fn carry(
    job: &GripJob,
    hand: &Hand,
    centre: DVec3,
    goal_turn: f64,
    turn: f64,
    goal_error: f64,
    bottom: f64,
    mass_kg: f64,
) -> Intent {
    let above = bottom - job.support_m;
    if goal_error < job.release_within_m && above < 0.0012 {
        return Intent {
            phase: GripPhase::Release,
            to: hand.at,
            turn: 0.0,
            jaw: hand.jaw + 0.15,
            step_across_m: 0.008,
            step_up_m: 0.005,
            payload_kg: 0.0,
        };
    }
    // Where the hand must be for the object to lie on the goal: turned and moved together with it.
    let to = goal_grip(job, hand.at - centre, goal_turn);
    let height = ((goal_error - 0.9 * job.release_within_m) * 2.0).clamp(0.0, job.lift_m);
    // Across only once it is off the table, unless a last small correction is left.
    let freedom = if goal_error < 0.004 { 1.0 } else { ((above - 0.001) / (0.5 * height).max(1e-4)).clamp(0.0, 1.0) };
    let press = if height == 0.0 { 0.001 } else { 0.0 };
    Intent {
        phase: if height < 0.002 {
            GripPhase::Lower
        } else if freedom < 0.5 {
            GripPhase::Lift
        } else {
            GripPhase::Carry
        },
        to: DVec3::new(
            hand.at.x + (to.x - hand.at.x) * freedom,
            hand.at.y + (to.y - hand.at.y) * freedom,
            hand.at.z + height - above - press,
        ),
        turn: turn * freedom,
        jaw: hand.jaw - 0.095,
        step_across_m: 0.008,
        step_up_m: 0.005,
        payload_kg: mass_kg * ((bottom - 0.0005) / 0.002).clamp(0.0, 1.0),
    }
}

/// Where the hand is over the goal if it is `lever` away from the object's centre now, and both turn by `goal_turn`.
fn goal_grip(job: &GripJob, lever: DVec3, goal_turn: f64) -> DVec3 {
    let (sin, cos) = goal_turn.sin_cos();
    let (x, y) = (cos * lever.x - sin * lever.y, sin * lever.x + cos * lever.y);
    DVec3::new(job.goal_m.0 + x, job.goal_m.1 + y, 0.0)
}

/// The joint that turns the hand about its fingers, as the hand stands.
struct Wrist {
    /// Present angle, rad.
    roll: f64,
    lower: f64,
    upper: f64,
    /// With the hand down, the roll turns it one way or the other, depending on which way the joint's axis points.
    sign: f64,
    /// The pan axis on the table, m.
    pan_m: (f64, f64),
    /// Where the tool point is, m.
    tool: DVec3,
}

impl Wrist {
    fn new(arm: &Arm, q: &[f64]) -> Self {
        let pan_m = pan_axis_m(&arm.model);
        let tool = arm.model.tool_pose(q, &arm.tool).translation;
        let Some(&joint) = arm.model.chain_to(arm.tool.link).last() else {
            return Self { roll: 0.0, lower: 0.0, upper: 0.0, sign: 1.0, pan_m, tool };
        };
        let roll = &arm.model.joints[joint];
        let sign = (arm.model.link_pose(q, roll.link).rotation * roll.axis).z.signum();
        Self { roll: q[joint], lower: roll.lower, upper: roll.upper, sign, pan_m, tool }
    }

    /// How far the pan joint turns the hand between two places, counter-clockwise seen from above.
    fn pan_turn(&self, from: DVec3, to: DVec3) -> f64 {
        let heading = |at: DVec3| (at.x - self.pan_m.0).atan2(-(at.y - self.pan_m.1));
        wrap_angle(heading(to) - heading(from))
    }

    /// Roll once the hand has turned by `turn` on its way over a place.
    fn roll_needed(&self, turn: f64, over: DVec3) -> f64 {
        wrap_angle(self.roll + self.sign * (turn - self.pan_turn(self.tool, over)))
    }

    /// The turn that ends in a roll.
    fn turn_to(&self, roll: f64, over: DVec3) -> f64 {
        self.sign * (roll - self.roll) + self.pan_turn(self.tool, over)
    }

    fn is_outside(&self, roll: f64) -> bool {
        roll < self.lower + ROLL_MARGIN_RAD || roll > self.upper - ROLL_MARGIN_RAD
    }

    /// `roll`, or the same a full turn away if that is inside the limits instead.
    fn inside(&self, roll: f64) -> f64 {
        if roll > self.upper - ROLL_MARGIN_RAD {
            roll - TAU
        } else if roll < self.lower + ROLL_MARGIN_RAD {
            roll + TAU
        } else {
            roll
        }
    }

    /// See [`GripSide::LeastTravel`]. Going to one side makes it cheaper still, so the choice does not chatter.
    fn least_travel(&self, candidates: &[f64], over: DVec3, over_goal: DVec3, goal_turn: f64) -> f64 {
        let cost = |need: f64| {
            let then = self.inside(need + self.sign * (goal_turn - self.pan_turn(over, over_goal)));
            let outside = if self.is_outside(need) || self.is_outside(then) { 20.0 } else { 0.0 };
            (need - self.roll).abs() + CARRY_WEIGHT * (then - need).abs() + outside
        };
        let rolls = candidates.iter().map(|turn| self.roll_needed(*turn, over));
        let best = rolls.min_by(|a, b| cost(*a).total_cmp(&cost(*b))).unwrap_or(self.roll);
        self.turn_to(best, over)
    }

    /// `turn`, or the other way round if the wrist cannot go that way while the hand goes to a place.
    fn turn_within_limits(&self, turn: f64, from: DVec3, to: DVec3) -> f64 {
        let then = self.roll + self.sign * (turn - self.pan_turn(from, to));
        turn + self.sign * (self.inside(then) - then)
    }
}

/// Turn of the hand towards the grip whose wrist roll, once the hand is over the object, is nearest to a quarter turn. The
/// choice depends on the object alone, so it cannot chatter, and the way there stays inside the roll's limits.
fn turn_to_grip(arm: &Arm, q: &[f64], candidates: &[f64], over: DVec3) -> f64 {
    let wrist = Wrist::new(arm, q);
    let cost = |need: f64| {
        let outside = (need - wrist.upper + 0.17).max(wrist.lower + 0.17 - need).max(0.0);
        (need - FRAC_PI_2).abs() + 100.0 * outside
    };
    let rolls = candidates.iter().map(|turn| wrist.roll_needed(*turn, over));
    let best = rolls.min_by(|a, b| cost(*a).total_cmp(&cost(*b))).unwrap_or(wrist.roll);
    wrist.turn_to(best, over)
}

/// A step of the hand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HandMove {
    /// Where the tool point shall go, m.
    pub to_m: DVec3,
    /// How far the hand shall turn about the vertical, rad.
    pub turn_rad: f64,
    /// Command of the gripper, rad.
    pub jaw_rad: f64,
    /// Most that the tool point moves across the table in this tick, m.
    pub step_across_m: f64,
    /// Most that it goes down; up it may go 1.3 times as fast, m.
    pub step_up_m: f64,
    /// Most that the hand turns, rad.
    pub step_turn_rad: f64,
    /// Most that the jaw opens; it closes by up to 0.15 at any pace, since the last of that is the grip's force. Rad.
    pub step_open_rad: f64,
    /// Mass in the hand, kg.
    pub payload_kg: f64,
}

fn move_hand(arm: &Arm, q: &[f64], hand: &Hand, intent: &Intent, speed: f64) -> Vec<f64> {
    let to = HandMove {
        to_m: intent.to,
        turn_rad: intent.turn,
        jaw_rad: intent.jaw,
        step_across_m: intent.step_across_m * speed,
        step_up_m: intent.step_up_m * speed,
        step_turn_rad: 0.11 * speed,
        // Opening keeps pace with the hand, so that the jaw is above what lies beside when it swings out.
        step_open_rad: 0.15 * speed.min(1.0),
        payload_kg: intent.payload_kg,
    };
    move_hand_to(arm, &hand.tool, q, &to)
}

/// One clipped step of the hand as a joint command (rad) with feed-forward of gravity and friction; the hand stays as
/// upright as the arm's reach allows. `q`: measured joint angles, rad.
pub fn move_hand_to(arm: &Arm, tool: &Tool, q: &[f64], to: &HandMove) -> Vec<f64> {
    let pose = arm.model.link_pose(q, tool.link);
    let (at, opening) = (pose.transform_point(tool.point_m), pose.rotation * tool.closing);
    let across = (to.to_m - at).truncate().clamp_length_max(to.step_across_m);
    let up = (to.to_m.z - at.z).clamp(-to.step_up_m, 1.3 * to.step_up_m);
    let turn = to.turn_rad.clamp(-to.step_turn_rad, to.step_turn_rad);
    let position = at + DVec3::new(across.x, across.y, up);
    let wanted = reach(arm, tool, position, opening.y.atan2(opening.x) + turn, q);
    let lead = arm.gravity_lead_rad(q, to.payload_kg);
    let friction_lead = 0.8 * arm.servo.friction_nm / arm.stiffness_nm_rad();
    let gripper = arm.model.gripper_joint();
    (0..q.len())
        .map(|joint| {
            if joint == gripper {
                let limits = &arm.model.joints[joint];
                let step = (to.jaw_rad - q[joint]).clamp(-0.15, to.step_open_rad);
                return (q[joint] + step).clamp(limits.lower, limits.upper);
            }
            let step = wrap_angle(wanted[joint] - q[joint]).clamp(-0.15, 0.15);
            // Dry friction swallows small errors; the lead grows smoothly with the step so that the sign may flip.
            q[joint] + 1.15 * step + lead[joint] + (step / 0.006).tanh() * friction_lead
        })
        .collect()
}

/// Joint angles that bring the tool to a place with the jaws opening towards `yaw`, as upright as the arm's reach allows.
fn reach(arm: &Arm, tool: &Tool, position: DVec3, yaw: f64, q: &[f64]) -> Vec<f64> {
    let axis = pan_axis_m(&arm.model);
    let outward = DVec3::new(position.x - axis.0, position.y - axis.1, 0.0);
    let tilt = outward_tilt_rad(outward.length());
    let outward = outward.normalize_or_zero();
    let settings = IkSettings { max_iterations: 60, tolerance_m: 1.5e-3, ..IkSettings::default() };
    let mut makeshift = None;
    for extra in [0.0, 0.1, 0.2, -0.1, 0.35] {
        let (sin, cos) = (tilt + extra).sin_cos();
        let target = IkTarget {
            position_m: position,
            approach: DVec3::NEG_Z * cos + outward * sin,
            closing: Some(DVec3::new(yaw.cos(), yaw.sin(), 0.0)),
        };
        let solution = arm.model.ik(tool, &target, q, &settings);
        if solution.reached {
            return solution.q;
        }
        if makeshift.is_none() && solution.position_error_m < MAKESHIFT_M {
            makeshift = Some(solution.q);
        }
    }
    // On the way a wrist at its limit may be turned less than wanted: going on takes it away from there, waiting does not.
    makeshift.unwrap_or_else(|| q.to_vec())
}
