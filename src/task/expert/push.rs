//! The pushing expert: moves a T over the table with closed fingers, one straight push after another.
//!
//! A push is planned from the T's pose and then held on to: choosing anew in every tick would dither between two good
//! pushes. So this expert has a memory, [`PushMemory`]: plain data, which whoever saves and restores a world must save and
//! restore with it. A hand that is found elsewhere than expected, and a T that was moved, make it plan again.

use crate::arm::{DVec3, IkSettings, IkTarget, Tool};
use crate::config::TeeSize;
use crate::robot::Arm;
use crate::task::overlap::{PlanarPose, tee_coverage};
use crate::task::push_plan::{Point, Push, PushModel, along};
use crate::world::{pan_axis_m, wrap_angle, yaw_rad};
use bevy_rapier3d::rapier::math::Pose;

/// Middle of the closed finger tips beside the tool point, towards the fixed finger, m.
const TIP_ASIDE_M: f64 = 0.0065;
/// The same along the fingers, m: 6 mm above their ends.
const TIP_AHEAD_M: f64 = 0.003;
/// Radius of the closed finger tips, m.
const FINGER_M: f64 = 0.0065;
/// Friction between finger and T.
const FINGER_FRICTION: f64 = 0.4;
/// Height of the tip's middle while pushing, m.
const PUSH_HEIGHT_M: f64 = 0.011;
/// Height at which it passes over the T, m.
const FREE_HEIGHT_M: f64 = 0.050;
/// How far behind the planned start the finger goes down, m.
const SET_BACK_M: f64 = 0.003;
/// How far it goes back after a push, m.
const BACK_OFF_M: f64 = 0.008;
/// Speed over the table at pace 1, m/s.
const TRAVEL_M_S: f64 = 0.24;
/// Speed of pushing at pace 1, m/s.
const PUSH_M_S: f64 = 0.06;
/// Slowest pushing, m/s: the T stops with the finger.
const CREEP_M_S: f64 = 0.008;
/// Share of a position error that the integral takes away, 1/s.
const INTEGRAL_HZ: f64 = 3.0;
/// The integral's limit, rad.
const INTEGRAL_MOST_RAD: f64 = 0.2;
/// A tip this far from where it should be was moved by something else, m.
const LOST_M: f64 = 0.035;
/// Coverage that is good enough to stop at.
const ENOUGH: f64 = 0.955;

/// Where the T shall go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PushJob {
    /// The T.
    pub tee: TeeSize,
    /// Pose of its outline: x (m), y (m), yaw (rad).
    pub goal: PlanarPose,
    /// Coverage that counts as success.
    pub coverage: f64,
}

/// What the pushing expert remembers from tick to tick.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PushMemory {
    /// Joint angles it wanted in the last tick; empty before the first.
    wanted_rad: Vec<f64>,
    /// What it adds to them against sag and friction.
    integral_rad: Vec<f64>,
    /// Distances from the pan axis, at which the finger reaches the table and passes over it, m.
    reach_m: (f64, f64),
    stage: Stage,
}

#[derive(Clone, Debug, Default, PartialEq)]
enum Stage {
    /// Going up from where it is, to look.
    #[default]
    Rise,
    /// Going over the start of a push.
    Across(Push),
    /// Going down there.
    Descend(Push),
    /// Pushing.
    Push(Stroke),
    /// Going back from the T: from this place, in this direction.
    BackOff(Point, Point),
    /// Nothing is left to do.
    Rest,
}

/// A push under way.
#[derive(Clone, Debug, PartialEq)]
struct Stroke {
    push: Push,
    /// Where the finger began, and how far it has gone, m.
    from: Point,
    gone_m: f64,
    /// The T at the beginning, and how far it has moved, m.
    tee: PlanarPose,
    moved_m: f64,
    /// Least distance from the goal so far, m, and ticks since.
    best_m: f64,
    ticks_since: u32,
}

impl PushMemory {
    /// Pushes planned so far are forgotten; where the arm is stays known.
    fn replan(&mut self) {
        self.stage = Stage::Rise;
    }
}

/// Joint command (rad) for the present state. `q_rad`: measured joint angles; `object`: pose of the T; `speed`: pace, see
/// [`super::ExpertSpeed`]; `tick_s`: length of a control tick.
pub fn push_to_goal(
    arm: &Arm,
    job: &PushJob,
    q_rad: &[f64],
    object: &Pose,
    speed: f64,
    tick_s: f64,
    memory: &mut PushMemory,
) -> Vec<f64> {
    let hand = Finger::new(arm);
    let tip = hand.at(q_rad);
    if memory.wanted_rad.len() != q_rad.len() || (hand.at(&memory.wanted_rad) - tip).length() > LOST_M {
        let reach_m = if memory.reach_m == (0.0, 0.0) { hand.reach_m() } else { memory.reach_m };
        *memory = PushMemory {
            wanted_rad: q_rad.to_vec(),
            integral_rad: vec![0.0; q_rad.len()],
            reach_m,
            stage: Stage::Rise,
        };
    }
    let tee = (f64::from(object.translation.x), f64::from(object.translation.y), yaw_rad(object));
    let model = PushModel::of_tee(&job.tee, FINGER_M, FINGER_FRICTION, job.goal);
    let step = |m_s: f64| m_s * speed * tick_s;
    let now = hand.at(&memory.wanted_rad);
    let stage = std::mem::take(&mut memory.stage);
    let (stage, to) = advance(&hand, job, &model, tee, tip, now, memory.reach_m, speed, tick_s, stage);
    memory.stage = stage;
    let way = to - now;
    let limit = match memory.stage {
        Stage::Push(_) => step(PUSH_M_S),
        Stage::Descend(_) | Stage::BackOff(..) => step(0.5 * TRAVEL_M_S),
        Stage::Rise | Stage::Across(_) | Stage::Rest => step(TRAVEL_M_S),
    };
    let next = now + way.clamp_length_max(limit);
    match hand.reach(next, &memory.wanted_rad, q_rad, 2.5 * speed * tick_s) {
        Some(wanted) => memory.wanted_rad = wanted,
        // It cannot go on here: look again from above.
        None if matches!(memory.stage, Stage::Push(_) | Stage::Descend(_)) => memory.replan(),
        None => {}
    }
    command(arm, q_rad, tick_s, memory)
}

/// Wanted angles as a command: gravity and what the integral learnt on top, the jaws closed.
fn command(arm: &Arm, q: &[f64], tick_s: f64, memory: &mut PushMemory) -> Vec<f64> {
    let gripper = arm.model.gripper_joint();
    let lead = arm.gravity_lead_rad(&memory.wanted_rad, 0.0);
    (0..q.len())
        .map(|joint| {
            if joint == gripper {
                let closed = arm.model.joints[joint].lower;
                return q[joint] + (closed - q[joint]).clamp(-0.15, 0.15);
            }
            let error = memory.wanted_rad[joint] - q[joint];
            let integral = memory.integral_rad[joint] + INTEGRAL_HZ * tick_s * error;
            memory.integral_rad[joint] = integral.clamp(-INTEGRAL_MOST_RAD, INTEGRAL_MOST_RAD);
            memory.wanted_rad[joint] + lead[joint] + memory.integral_rad[joint]
        })
        .collect()
}

/// The stage of this tick and where the tip shall go in it. `tip`: where it is; `now`: where it was wanted last.
fn advance(
    hand: &Finger,
    job: &PushJob,
    model: &PushModel,
    tee: PlanarPose,
    tip: DVec3,
    now: DVec3,
    reach_m: (f64, f64),
    speed: f64,
    tick_s: f64,
    stage: Stage,
) -> (Stage, DVec3) {
    let close = |a: DVec3, b: DVec3| (a - b).length() < 0.0005;
    match stage {
        Stage::Rise => {
            let free = now.with_z(FREE_HEIGHT_M);
            // From below it goes straight up; from above there is no need to come down here.
            if now.z < FREE_HEIGHT_M - 0.0005 {
                return (Stage::Rise, free);
            }
            let covered = tee_coverage(&job.tee, tee, job.goal);
            let may = |point: Point| {
                let reach = (point.0 - hand.pan_m.0).hypot(point.1 - hand.pan_m.1);
                reach > reach_m.0 && reach < reach_m.1 && point.1 < hand.pan_m.1 - 0.02
            };
            let push = if covered >= ENOUGH { None } else { model.plan(tee, (tip.x, tip.y), &may) };
            // A push that would gain less than it may spoil is not made once the T is where it should be.
            let push = push.filter(|push| covered < job.coverage || push.error_after < model.error(tee) - 0.0006);
            match push {
                Some(push) => (Stage::Across(push), now),
                None => (Stage::Rest, now),
            }
        }
        Stage::Rest => {
            let covered = tee_coverage(&job.tee, tee, job.goal);
            let stage = if covered < job.coverage { Stage::Rise } else { Stage::Rest };
            (stage, now.with_z(FREE_HEIGHT_M))
        }
        Stage::Across(push) => {
            let start = set_back(&push);
            let to = DVec3::new(start.0, start.1, FREE_HEIGHT_M);
            let over = close(now, to) && (tip - to).truncate().length() < 0.004;
            (if over { Stage::Descend(push) } else { Stage::Across(push) }, to)
        }
        Stage::Descend(push) => {
            let start = set_back(&push);
            let to = DVec3::new(start.0, start.1, PUSH_HEIGHT_M);
            if !close(now, to) {
                return (Stage::Descend(push), to);
            }
            let stroke =
                Stroke { push, from: start, gone_m: 0.0, tee, moved_m: 0.0, best_m: model.error(tee), ticks_since: 0 };
            (Stage::Push(stroke), to)
        }
        Stage::Push(stroke) => go_on(model, tee, tip, speed, tick_s, stroke),
        Stage::BackOff(from, direction) => {
            let back = along(from, direction, -BACK_OFF_M);
            let to = DVec3::new(back.0, back.1, PUSH_HEIGHT_M);
            (if close(now, to) { Stage::Rise } else { Stage::BackOff(from, direction) }, to)
        }
    }
}

fn set_back(push: &Push) -> Point {
    along(push.start, push.direction, -SET_BACK_M)
}

/// One tick of a push: the model says from the measured pose how much is left; slow down towards the end, stop when it
/// gains nothing more.
fn go_on(
    model: &PushModel,
    tee: PlanarPose,
    tip: DVec3,
    speed: f64,
    tick_s: f64,
    mut stroke: Stroke,
) -> (Stage, DVec3) {
    let direction = stroke.push.direction;
    let place = |gone_m: f64| {
        let at = along(stroke.from, direction, gone_m);
        (at, DVec3::new(at.0, at.1, PUSH_HEIGHT_M))
    };
    let error = model.error(tee);
    let shift = (tee.0 - stroke.tee.0).hypot(tee.1 - stroke.tee.1) + 0.04 * wrap_angle(tee.2 - stroke.tee.2).abs();
    stroke.moved_m = stroke.moved_m.max(shift);
    let (left_m, error_then) = model.remaining(tee, (tip.x, tip.y), direction, 0.06);
    let touching = stroke.moved_m > 0.0004;
    if touching {
        if error < stroke.best_m - 2e-5 {
            (stroke.best_m, stroke.ticks_since) = (error, 0);
        } else {
            stroke.ticks_since += 1;
        }
    }
    let exhausted = touching && (left_m < 0.0004 || stroke.ticks_since > 12 || error_then > error - 2e-4);
    let (here, at) = place(stroke.gone_m);
    if exhausted || stroke.gone_m > stroke.push.length + SET_BACK_M + 0.02 {
        return (Stage::BackOff(here, direction), at);
    }
    let slowest = if touching { CREEP_M_S } else { 0.02 };
    stroke.gone_m += (3.0 * left_m).clamp(slowest, (PUSH_M_S * speed).max(slowest)) * tick_s;
    let to = place(stroke.gone_m).1;
    (Stage::Push(stroke), to)
}

/// The closed finger tips.
struct Finger<'a> {
    arm: &'a Arm,
    tool: Tool,
    pan_m: Point,
}

impl<'a> Finger<'a> {
    fn new(arm: &'a Arm) -> Self {
        let point_m = arm.tool.point_m + arm.tool.closing * TIP_ASIDE_M + arm.tool.approach * TIP_AHEAD_M;
        Self { arm, tool: Tool { point_m, ..arm.tool }, pan_m: pan_axis_m(&arm.model) }
    }

    fn at(&self, q: &[f64]) -> DVec3 {
        self.arm.model.tool_pose(q, &self.tool).translation
    }

    /// Directions of the fingers that the arm manages there, best first: straight down, leaning outwards far away.
    fn leans(reach_m: f64) -> impl Iterator<Item = f64> {
        let lean = ((reach_m - 0.255) * 10.0).clamp(0.0, 0.75);
        [0.0, 0.1, -0.1, 0.25].into_iter().map(move |extra| lean + extra)
    }

    fn solve(&self, to: DVec3, closing: DVec3, seed: &[f64]) -> Option<Vec<f64>> {
        let outward = (to.truncate() - DVec3::new(self.pan_m.0, self.pan_m.1, 0.0).truncate()).extend(0.0);
        let settings = IkSettings { max_iterations: 60, tolerance_m: 1.5e-3, ..IkSettings::default() };
        let towards = outward.normalize_or_zero();
        Self::leans(outward.length()).find_map(|lean| {
            let (sin, cos) = lean.sin_cos();
            let approach = DVec3::NEG_Z * cos + towards * sin;
            let target = IkTarget { position_m: to, approach, closing: Some(closing) };
            let solution = self.arm.model.ik(&self.tool, &target, seed, &settings);
            solution.reached.then_some(solution.q)
        })
    }

    /// Joint angles with the tip at `to`, the hand turned by at most `most_turn` towards where its roll is near zero: there
    /// the fixed finger is on the arm's side. The jaws are where they are.
    fn reach(&self, to: DVec3, wanted: &[f64], q: &[f64], most_turn: f64) -> Option<Vec<f64>> {
        let opening = self.arm.model.link_pose(wanted, self.tool.link).rotation * self.tool.closing;
        let now = opening.y.atan2(opening.x);
        let inward = (self.pan_m.1 - to.y).atan2(self.pan_m.0 - to.x);
        let yaw = now + wrap_angle(inward - now).clamp(-most_turn, most_turn);
        let mut found = self.solve(to, DVec3::new(yaw.cos(), yaw.sin(), 0.0), wanted)?;
        let gripper = self.arm.model.gripper_joint();
        found[gripper] = q[gripper];
        Some(found)
    }

    /// Least and greatest distance from the pan axis at which the tip can push and pass over the T, m.
    fn reach_m(&self) -> (f64, f64) {
        let seed = self.arm.model.clamp(&[0.0, 0.1, 0.1, 1.3, 0.0, 0.0]);
        let able = |reach: f64| {
            let inward = DVec3::Y;
            [PUSH_HEIGHT_M, FREE_HEIGHT_M].iter().all(|height| {
                self.solve(DVec3::new(self.pan_m.0, self.pan_m.1 - reach, *height), inward, &seed).is_some()
            })
        };
        let tried: Vec<f64> = (0..70).map(|k| 0.06 + 0.005 * f64::from(k)).collect();
        let first = tried.iter().position(|reach| able(*reach)).unwrap_or(0);
        let last = tried[first..].iter().position(|reach| !able(*reach)).map_or(tried.len(), |count| first + count);
        (tried[first], tried[last.max(1) - 1])
    }
}
