//! A scripted expert for the planar Push-T: the arm's push planner, and ways around the T.

use super::physics::{CENTRE, FINGER, GOAL, Point, STROKE, WORKSPACE, lever};
use super::{Action, PushT2d};
use crate::task::push_plan::{Push, PushModel, along};
use std::collections::BinaryHeap;

/// Corners of the T about its centre of gravity, counter-clockwise.
const OUTLINE: [Point; 8] = [
    (-60.0, -45.0),
    (60.0, -45.0),
    (60.0, -15.0),
    (15.0, -15.0),
    (15.0, 75.0),
    (-15.0, 75.0),
    (-15.0, -15.0),
    (-60.0, -15.0),
];
/// Distance from the edges of the workspace, pixels.
const EDGE: f64 = 4.0;
/// Room left between finger and T on the way, pixels.
const ROOM: f64 = 3.0;
/// Cell of the grid in which ways are sought, pixels.
const CELL: f64 = 8.0;
const CELLS: usize = (WORKSPACE / CELL) as usize;
/// How far ahead the finger is sent on its way, and while it pushes, pixels.
const TRAVEL_AHEAD: f64 = 45.0;
const PUSH_AHEAD: f64 = 18.0;

/// The expert; remembers the push it is at.
#[derive(Clone, Debug)]
pub struct PlanarExpert {
    model: PushModel,
    stage: Stage,
}

#[derive(Clone, Debug, Default, PartialEq)]
enum Stage {
    #[default]
    Choose,
    /// Going round the T to where the push starts; steps so far.
    Approach(Push, u32),
    /// Pushing; the T's error at best and steps since.
    Push { push: Push, best: f64, steps_since: u32 },
    /// Going back from the T.
    BackOff(Point, u32),
}

impl Default for PlanarExpert {
    fn default() -> Self {
        // The published goal is where the frame's origin goes; the planner thinks about the centre of gravity.
        let (sin, cos) = GOAL.2.sin_cos();
        let goal = (GOAL.0 + cos * CENTRE.0 - sin * CENTRE.1, GOAL.1 + sin * CENTRE.0 + cos * CENTRE.1, GOAL.2);
        let model = PushModel {
            outline: OUTLINE,
            stroke: STROKE,
            lever: lever(),
            friction: 0.0,
            finger: FINGER,
            radian: 1.8 * STROKE,
            goal,
        };
        Self { model, stage: Stage::Choose }
    }
}

impl PlanarExpert {
    /// What to do now.
    pub fn act(&mut self, world: &PushT2d) -> Action {
        let tee = world.plane().tee_centre();
        let finger = world.plane().finger;
        loop {
            match std::mem::take(&mut self.stage) {
                Stage::Choose => {
                    let inside = |at: f64| at > EDGE && at < WORKSPACE - EDGE;
                    let may = |point: Point| inside(point.0) && inside(point.1);
                    let Some(push) = self.model.plan(tee, finger, &may) else { return action(finger) };
                    self.stage = Stage::Approach(push, 0);
                }
                Stage::Approach(push, steps) => {
                    let left = (finger.0 - push.start.0).hypot(finger.1 - push.start.1);
                    if left < 2.0 {
                        let best = self.model.error(tee);
                        self.stage = Stage::Push { push, best, steps_since: 0 };
                        continue;
                    }
                    // The T was touched on the way, or there is none: think again.
                    if steps > 60 {
                        continue;
                    }
                    self.stage = Stage::Approach(push, steps + 1);
                    return action(self.way(tee, finger, push.start));
                }
                Stage::Push { push, best, steps_since } => {
                    let error = self.model.error(tee);
                    let (left, then) = self.model.remaining(tee, finger, push.direction, 2.5 * STROKE);
                    let (best, steps_since) = if error < best - 0.01 { (error, 0) } else { (best, steps_since + 1) };
                    let travelled = (finger.0 - push.start.0).hypot(finger.1 - push.start.1);
                    // A long push may begin by making things worse: the plan is trusted through its first half.
                    let exhausted =
                        travelled > 0.5 * push.length && (left < 0.3 || then > error - 0.1 || steps_since > 8);
                    if exhausted || travelled > push.length + STROKE {
                        self.stage = Stage::BackOff(along(finger, push.direction, -10.0), 0);
                        continue;
                    }
                    self.stage = Stage::Push { push, best, steps_since };
                    // Always on the planned line, not from where the finger may have been pressed to.
                    let ahead = if travelled > 0.5 * push.length { left } else { push.length - travelled };
                    let on_line = along(push.start, push.direction, travelled + ahead.min(PUSH_AHEAD));
                    return action(on_line);
                }
                Stage::BackOff(to, steps) => {
                    if steps < 3 {
                        self.stage = Stage::BackOff(to, steps + 1);
                        return action(to);
                    }
                }
            }
        }
    }

    /// A place on the way to `to` that the finger can go to in a straight line without touching the T.
    fn way(&self, tee: (f64, f64, f64), finger: Point, to: Point) -> Point {
        let clear = |from: Point, to: Point| {
            let length = (to.0 - from.0).hypot(to.1 - from.1).max(1e-9);
            let direction = ((to.0 - from.0) / length, (to.1 - from.1) / length);
            let count = (length / 3.0).ceil() as u32;
            (1..=count).all(|k| {
                let at = along(from, direction, length * f64::from(k) / f64::from(count));
                // Whoever stands close must be able to leave.
                let near = (at.0 - from.0).hypot(at.1 - from.1) < 12.0 || (at.0 - to.0).hypot(at.1 - to.1) < 12.0;
                self.model.clearance(tee, at) > FINGER + if near { 0.5 } else { ROOM }
            })
        };
        let ahead = |to: Point| {
            let length = (to.0 - finger.0).hypot(to.1 - finger.1);
            if length <= TRAVEL_AHEAD {
                to
            } else {
                along(finger, ((to.0 - finger.0) / length, (to.1 - finger.1) / length), TRAVEL_AHEAD)
            }
        };
        if clear(finger, to) {
            return ahead(to);
        }
        let path = self.path(tee, finger, to);
        // The farthest of the next places that is in sight.
        let in_sight = path.iter().skip(1).take(12).rev().find(|place| clear(finger, **place));
        in_sight.or(path.get(1)).map_or_else(|| ahead(to), |place| ahead(*place))
    }

    /// The shortest way over the grid from `from` to `to`, both included, around the T.
    fn path(&self, tee: (f64, f64, f64), from: Point, to: Point) -> Vec<Point> {
        let centre =
            |cell: usize| ((cell % CELLS) as f64 * CELL + 0.5 * CELL, (cell / CELLS) as f64 * CELL + 0.5 * CELL);
        let cell_of = |point: Point| {
            let index = |at: f64| ((at / CELL).max(0.0) as usize).min(CELLS - 1);
            index(point.1) * CELLS + index(point.0)
        };
        let (first, last) = (cell_of(from), cell_of(to));
        // From the goal, so that the way can be read off forwards.
        let mut cost = vec![f64::INFINITY; CELLS * CELLS];
        let mut next = vec![usize::MAX; CELLS * CELLS];
        let mut room = vec![f64::NAN; CELLS * CELLS];
        let mut open = BinaryHeap::new();
        cost[last] = 0.0;
        open.push((std::cmp::Reverse(0u64), last));
        while let Some((std::cmp::Reverse(bits), cell)) = open.pop() {
            let so_far = f64::from_bits(bits);
            if cell == first {
                break;
            }
            if so_far > cost[cell] {
                continue;
            }
            let (column, row) = ((cell % CELLS) as i64, (cell / CELLS) as i64);
            for (dx, dy) in [(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1)] {
                let (x, y) = (column + dx, row + dy);
                if x < 0 || y < 0 || x >= CELLS as i64 || y >= CELLS as i64 {
                    continue;
                }
                let other = (y * CELLS as i64 + x) as usize;
                if room[other].is_nan() {
                    room[other] = self.model.clearance(tee, centre(other)) - FINGER;
                }
                let room = room[other];
                // Through the T only where there is no other way, as when it lies against a wall.
                let toll = if other == first || room > ROOM { 0.0 } else { 40.0 * (1.0 + (ROOM - room)) };
                let step = CELL * ((dx * dx + dy * dy) as f64).sqrt() + toll;
                if so_far + step < cost[other] {
                    cost[other] = so_far + step;
                    next[other] = cell;
                    // Positive numbers are ordered like their bits.
                    open.push((std::cmp::Reverse(cost[other].to_bits()), other));
                }
            }
        }
        let mut path = vec![from];
        let mut cell = first;
        while next[cell] != usize::MAX && cell != last {
            cell = next[cell];
            path.push(centre(cell));
        }
        path.push(to);
        path
    }
}

fn action((x, y): Point) -> Action {
    [x.clamp(0.0, WORKSPACE) as f32, y.clamp(0.0, WORKSPACE) as f32]
}
