//! Planning pushes of a T on a plane: which side to push, in which direction, how far.
//!
//! The T slides quasi-statically: friction with what it lies on is an ellipsoidal limit surface, so that it turns about
//! a point which the contact's place and force alone decide (one constant, the lever). Contacts are sampled along the
//! outline, each push is rolled out, and of the best ones a second push is looked at. Lengths are in the unit of the stroke.

use super::overlap::PlanarPose;
use crate::config::TeeSize;
use std::f64::consts::TAU;

/// A point or direction on the plane.
pub type Point = (f64, f64);

/// Directions of a push, from the inward normal of the edge, rad.
const DIRECTIONS_RAD: [f64; 5] = [-0.35, -0.17, 0.0, 0.17, 0.35];
/// Pushes of different kinds whose best second push is looked at.
const LOOKED_AHEAD: usize = 24;

/// A T, the finger that pushes it, and where it shall go.
#[derive(Clone, Debug)]
pub struct PushModel {
    /// Corners of the T, counter-clockwise, about the point where friction turns it.
    pub outline: [Point; 8],
    /// Width of its strokes; all distances of the search scale with it.
    pub stroke: f64,
    /// Greatest torque over greatest force of the friction with the ground.
    pub lever: f64,
    /// Friction coefficient between finger and T.
    pub friction: f64,
    /// Radius of the finger.
    pub finger: f64,
    /// Length that weighs as much as one radian.
    pub radian: f64,
    /// Where the T shall go: pose of the outline's origin.
    pub goal: PlanarPose,
}

/// A straight push.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Push {
    /// Where the finger's centre starts, close to the T.
    pub start: Point,
    /// Its direction, a unit vector.
    pub direction: Point,
    /// How far the finger goes.
    pub length: f64,
    /// Where the T then is.
    pub after: PlanarPose,
    /// How far that is from the goal.
    pub error_after: f64,
}

fn turned((x, y): Point, angle: f64) -> Point {
    let (sin, cos) = angle.sin_cos();
    (cos * x - sin * y, sin * x + cos * y)
}

fn dot(a: Point, b: Point) -> f64 {
    a.0 * b.0 + a.1 * b.1
}

fn cross(a: Point, b: Point) -> f64 {
    a.0 * b.1 - a.1 * b.0
}

/// `from` moved by `length` along `direction`.
pub fn along(from: Point, direction: Point, length: f64) -> Point {
    (from.0 + direction.0 * length, from.1 + direction.1 * length)
}

/// Nearest place of the outline to a point.
struct Nearest {
    /// Negative inside.
    distance: f64,
    at: Point,
    /// Outward normal there.
    normal: Point,
}

impl PushModel {
    /// The model of a T on the table, m, pushed by a finger of this radius.
    pub fn of_tee(tee: &TeeSize, finger: f64, friction: f64, goal: PlanarPose) -> Self {
        Self {
            outline: tee.outline_m(),
            stroke: tee.stroke_m,
            lever: mean_distance(tee),
            friction,
            finger,
            // Weighs a turn like the mean way of the T's points.
            radian: 1.8 * tee.stroke_m,
            goal,
        }
    }

    /// Distance of a pose from the goal, turns weighed by `radian`.
    pub fn error(&self, (x, y, yaw): PlanarPose) -> f64 {
        let turn = yaw - self.goal.2;
        let turn = turn - TAU * (turn / TAU).round();
        (x - self.goal.0).hypot(y - self.goal.1).hypot(self.radian * turn)
    }

    fn nearest(&self, point: Point) -> Nearest {
        let mut best = Nearest { distance: f64::INFINITY, at: (0.0, 0.0), normal: (0.0, 0.0) };
        let mut inside = false;
        for (index, from) in self.outline.iter().enumerate() {
            let to = self.outline[(index + 1) % self.outline.len()];
            let edge = (to.0 - from.0, to.1 - from.1);
            let offset = (point.0 - from.0, point.1 - from.1);
            let share = (dot(offset, edge) / dot(edge, edge)).clamp(0.0, 1.0);
            let at = along(*from, edge, share);
            let away = (point.0 - at.0, point.1 - at.1);
            let distance = away.0.hypot(away.1);
            if distance < best.distance {
                let length = edge.0.hypot(edge.1);
                let flat = (edge.1 / length, -edge.0 / length);
                let at_corner = distance > 1e-4 * self.stroke && (share <= 0.0 || share >= 1.0);
                let normal = if at_corner { (away.0 / distance, away.1 / distance) } else { flat };
                best = Nearest { distance, at, normal };
            }
            if (from.1 > point.1) != (to.1 > point.1)
                && point.0 < edge.0 * (point.1 - from.1) / (to.1 - from.1) + from.0
            {
                inside = !inside;
            }
        }
        if inside {
            best.distance = -best.distance;
        }
        best
    }

    /// How far a point of the plane is from the T at `pose`; negative inside.
    pub fn clearance(&self, pose: PlanarPose, point: Point) -> f64 {
        self.nearest(turned((point.0 - pose.0, point.1 - pose.1), -pose.2)).distance
    }

    /// The T's pose after the finger's centre, at `finger`, moved by a small `step` along `direction`.
    fn pushed(&self, pose: PlanarPose, finger: Point, direction: Point, step: f64) -> PlanarPose {
        let near = self.nearest(turned((finger.0 - pose.0, finger.1 - pose.1), -pose.2));
        let inward = (-near.normal.0, -near.normal.1);
        let moved = turned(direction, -pose.2);
        let pressing = dot(moved, inward);
        if near.distance > self.finger || pressing <= 0.0 {
            return pose;
        }
        let at = near.at;
        let lever2 = self.lever * self.lever;
        // How the T and its point of contact move under a force: the normal of the limit surface.
        let twist = |force: Point| {
            let spin = cross(at, force) / lever2;
            ((force.0, force.1, spin), (force.0 - at.1 * spin, force.1 + at.0 * spin))
        };
        let cone = self.friction.atan();
        let (left, right) = (twist(turned(inward, cone)), twist(turned(inward, -cone)));
        let (vx, vy, spin) = if cross(right.1, moved) >= 0.0 && cross(moved, left.1) >= 0.0 {
            // It sticks to the finger.
            let all = lever2 + dot(at, at);
            let vx = ((lever2 + at.0 * at.0) * moved.0 + at.0 * at.1 * moved.1) / all;
            let vy = (at.0 * at.1 * moved.0 + (lever2 + at.1 * at.1) * moved.1) / all;
            (vx, vy, cross(at, (vx, vy)) / lever2)
        } else {
            // It slides along the finger: the force lies on the edge of the friction cone.
            let (body, contact) = if cross(moved, left.1) < 0.0 { left } else { right };
            let scale = pressing / dot(contact, inward).max(1e-3);
            (body.0 * scale, body.1 * scale, body.2 * scale)
        };
        let (vx, vy) = turned((vx, vy), pose.2);
        (pose.0 + vx * step, pose.1 + vy * step, pose.2 + spin * step)
    }

    /// How much farther along `direction` brings the T nearest to the goal, and how near; looks `most` far.
    pub fn remaining(&self, mut pose: PlanarPose, mut finger: Point, direction: Point, most: f64) -> (f64, f64) {
        let step = 0.02 * self.stroke;
        let mut best = (0.0, self.error(pose));
        let mut worse = 0;
        for count in 1..=(most / step) as u32 {
            finger = along(finger, direction, step);
            let next = self.pushed(pose, finger, direction, step);
            if next == pose {
                continue;
            }
            pose = next;
            let error = self.error(pose);
            if error < best.1 - 4e-5 * self.stroke {
                best = (f64::from(count) * step, error);
                worse = 0;
            } else {
                worse += 1;
                if worse > 20 {
                    break;
                }
            }
        }
        best
    }

    /// Every sampled push that brings the T nearer. `spacing` of the contacts; `may` says where the finger can be.
    fn sample(&self, pose: PlanarPose, spacing: f64, may: &dyn Fn(Point) -> bool, found: &mut dyn FnMut(Push)) {
        let step = 0.04 * self.stroke;
        let corner = 0.12 * self.stroke;
        let before = self.error(pose);
        for (index, from) in self.outline.iter().enumerate() {
            let to = self.outline[(index + 1) % self.outline.len()];
            let length = (to.0 - from.0).hypot(to.1 - from.1);
            let edge = ((to.0 - from.0) / length, (to.1 - from.1) / length);
            let inward = (-edge.1, edge.0);
            let count = ((length - 2.0 * corner) / spacing).ceil().max(1.0) as u32;
            for k in 0..=count {
                let contact = along(*from, edge, corner + (length - 2.0 * corner) * f64::from(k) / f64::from(count));
                let finger = along(contact, inward, -(self.finger + 0.18 * self.stroke));
                // In the concave corners there is no room for the finger.
                if self.nearest(finger).distance < self.finger + 0.12 * self.stroke {
                    continue;
                }
                let turned_finger = turned(finger, pose.2);
                let start = (turned_finger.0 + pose.0, turned_finger.1 + pose.1);
                if !may(start) {
                    continue;
                }
                for angle in DIRECTIONS_RAD {
                    let direction = turned(turned(inward, angle), pose.2);
                    let (mut now, mut at, mut worse) = (pose, start, 0);
                    let mut best = (before, 0.0, pose);
                    for taken in 1..=110 {
                        at = along(at, direction, step);
                        let next = self.pushed(now, at, direction, step);
                        let error = self.error(next);
                        if error < best.0 {
                            best = (error, f64::from(taken) * step, next);
                            worse = 0;
                        } else if next != pose {
                            worse += 1;
                            if worse > 12 {
                                break;
                            }
                        }
                        now = next;
                    }
                    if best.1 > 0.0 && may(along(start, direction, best.1)) {
                        found(Push { start, direction, length: best.1, after: best.2, error_after: best.0 });
                    }
                }
            }
        }
    }

    /// The best next push from `pose` with the finger now at `finger`; `may` says where a finger can be. `None` if no
    /// push brings the T nearer.
    pub fn plan(&self, pose: PlanarPose, finger: Point, may: &dyn Fn(Point) -> bool) -> Option<Push> {
        let unit = self.stroke;
        let travel = |push: &Push| 0.008 * (push.start.0 - finger.0).hypot(push.start.1 - finger.1);
        let mut pushes = Vec::new();
        self.sample(pose, 0.16 * unit, may, &mut |push| pushes.push((push.error_after + travel(&push), push)));
        pushes.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut seen: Vec<PlanarPose> = Vec::new();
        let mut best: Option<(f64, Push)> = None;
        for (score, push) in pushes {
            let alike = |other: &PlanarPose| {
                let (x, y, yaw) = push.after;
                (other.0 - x).abs() < 0.16 * unit && (other.1 - y).abs() < 0.16 * unit && (other.2 - yaw).abs() < 0.08
            };
            if seen.iter().any(alike) {
                continue;
            }
            seen.push(push.after);
            // A second push costs about as much as this distance.
            let mut second = f64::INFINITY;
            self.sample(push.after, 0.32 * unit, may, &mut |next| second = second.min(next.error_after));
            let score = score - push.error_after + push.error_after.min(second + 0.16 * unit);
            if best.is_none_or(|(least, _)| score < least) {
                best = Some((score, push));
            }
            if seen.len() >= LOOKED_AHEAD {
                break;
            }
        }
        best.map(|(_, push)| push)
    }
}

/// Mean distance of a T's points from its centre of area: the lever of friction under even pressure.
fn mean_distance(tee: &TeeSize) -> f64 {
    let (mut sum, mut count) = (0.0, 0.0);
    for (cx, cy, hx, hy) in tee.boxes_m() {
        // A grid of 20 points a half stroke, so that all points stand for the same area.
        let cell = 0.025 * tee.stroke_m;
        let (columns, rows) = ((2.0 * hx / cell).round() as u32, (2.0 * hy / cell).round() as u32);
        for column in 0..columns {
            for row in 0..rows {
                let (x, y) = (cx - hx + (f64::from(column) + 0.5) * cell, cy - hy + (f64::from(row) + 0.5) * cell);
                sum += x.hypot(y);
                count += 1.0;
            }
        }
    }
    sum / count
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEE: TeeSize = TeeSize { stroke_m: 0.025, height_m: 0.02 };

    fn model() -> PushModel {
        PushModel::of_tee(&TEE, 0.0065, 0.4, (0.0, 0.0, 0.0))
    }

    fn follow(model: &PushModel, mut pose: PlanarPose, push: &Push) -> PlanarPose {
        let step = 0.04 * model.stroke;
        for count in 1..=(push.length / step).round() as u32 {
            let finger = along(push.start, push.direction, f64::from(count) * step);
            pose = model.pushed(pose, finger, push.direction, step);
        }
        pose
    }

    #[test]
    fn a_push_through_the_centre_does_not_turn_and_one_beside_it_does() {
        let model = model();
        // Down on the middle of the bar, which is level with the centre.
        let push = |x: f64| Push {
            start: (x, 0.06),
            direction: (0.0, -1.0),
            length: 0.04,
            after: (0.0, 0.0, 0.0),
            error_after: 0.0,
        };
        let (x, y, yaw) = follow(&model, (0.0, 0.0, 0.0), &push(0.0));
        assert!(x.abs() < 1e-9 && y < -0.005 && yaw.abs() < 1e-9, "{x} {y} {yaw}");
        assert!(follow(&model, (0.0, 0.0, 0.0), &push(0.04)).2 < -0.1, "clockwise by its right end");
        assert!(follow(&model, (0.0, 0.0, 0.0), &push(-0.04)).2 > 0.1);
    }

    #[test]
    fn a_few_planned_pushes_reach_the_goal_in_the_model() {
        let model = model();
        for (index, start) in [(0.06, -0.05, 1.0), (-0.07, 0.02, -0.8), (0.0, 0.05, 3.1)].into_iter().enumerate() {
            let mut pose = start;
            let mut count = 0;
            while model.error(pose) > 0.003 {
                let push = model.plan(pose, (0.0, 0.0), &|_| true).unwrap();
                assert!(model.clearance(pose, push.start) > model.finger, "the finger starts beside the T");
                pose = follow(&model, pose, &push);
                count += 1;
                assert!(count <= 7, "start {index}: still {} m away", model.error(pose));
            }
        }
    }

    #[test]
    fn where_no_finger_can_be_there_is_no_push() {
        assert_eq!(model().plan((0.05, 0.0, 0.0), (0.0, 0.0), &|_| false), None);
    }

    #[test]
    fn the_lever_of_a_tee() {
        // Between the mean distance of a disc of the same area and that of its far ends.
        let lever = mean_distance(&TEE);
        assert!((0.030..0.040).contains(&lever), "{lever}");
    }
}
