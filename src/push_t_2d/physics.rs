//! The plane of the published Push-T: a round finger that a controller carries along, a T that moves only while it is
//! pushed, four walls.
//!
//! The published environment runs on Chipmunk 7 with its space's damping at zero: every step takes all speed from the T,
//! so that contacts alone move it. The same laws in the same order here: positions, contacts, impulses without friction.

use std::f64::consts::FRAC_PI_4;

/// A point or vector, pixels.
pub type Point = (f64, f64);

/// Edge of the square workspace, pixels.
pub const WORKSPACE: f64 = 512.0;
/// Length of a physics step, s.
pub const STEP_S: f64 = 0.01;
/// Radius of the finger, pixels.
pub const FINGER: f64 = 15.0;
/// Width of the T's strokes, pixels.
pub const STROKE: f64 = 30.0;
/// The T's centre of gravity in its own frame, whose origin is the middle of the bar's outer edge. The published T takes the
/// mean of bar and stem, as if both weighed the same.
pub const CENTRE: Point = (0.0, 45.0);
/// Where the T shall lie: place of its frame's origin and turn.
pub const GOAL: (f64, f64, f64) = (256.0, 256.0, FRAC_PI_4);
/// Mass of the T.
const MASS: f64 = 1.0;
/// Moment of inertia of the published T, twice that of its bar about the frame's origin: 120 x 30 pixels, 15 away.
const INERTIA: f64 = 2.0 * ((120.0 * 120.0 + 30.0 * 30.0) / 12.0 + 15.0 * 15.0);
/// Gains of the finger's controller.
const GAINS: (f64, f64) = (100.0, 20.0);
/// Impulse iterations of a step.
const ITERATIONS: usize = 10;
/// Overlap that is left alone, pixels.
const SLOP: f64 = 0.1;
/// Share of an overlap that is left after one second.
const OVERLAP_AFTER_A_SECOND: fn() -> f64 = || 0.9f64.powi(60);
/// Half the thickness of the walls, pixels.
const WALL: f64 = 2.0;
/// Where the walls' middle lines are, pixels.
const WALLS: (f64, f64) = (5.0, 506.0);

/// Bar and stem in the T's frame, counter-clockwise (x right, y down in pictures).
pub const PARTS: [[Point; 4]; 2] = [
    [(-60.0, 0.0), (60.0, 0.0), (60.0, 30.0), (-60.0, 30.0)],
    [(-15.0, 30.0), (15.0, 30.0), (15.0, 120.0), (-15.0, 120.0)],
];

/// Ratio of the T's greatest turning to its greatest shifting under a push, pixels: what a push planner calls its lever.
pub fn lever() -> f64 {
    (INERTIA / MASS).sqrt()
}

/// The state of the plane.
#[derive(Clone, Debug, PartialEq)]
pub struct Plane {
    /// Where the finger is.
    pub finger: Point,
    /// Its velocity, pixels/s.
    pub finger_velocity: Point,
    /// The T's centre of gravity.
    centre: Point,
    /// Its turn, rad.
    angle: f64,
    velocity: Point,
    spin: f64,
    /// Velocity that only takes overlaps away, and is then forgotten.
    push_out: Point,
    push_out_spin: f64,
    contacts: Vec<Contact>,
}

/// Where the T is touched.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Contact {
    /// Part of the T, who touches it, and at which feature: what makes it the same contact in the next step.
    id: (usize, Toucher, usize),
    /// From the T's centre.
    arm: Point,
    /// From the toucher to the T.
    normal: Point,
    /// Velocity of the toucher.
    carried: Point,
    inverse_mass: f64,
    wanted_push_out: f64,
    impulse: f64,
    push_out_impulse: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Toucher {
    Finger,
    Wall(usize),
}

fn dot(a: Point, b: Point) -> f64 {
    a.0 * b.0 + a.1 * b.1
}

fn cross(a: Point, b: Point) -> f64 {
    a.0 * b.1 - a.1 * b.0
}

fn add(a: Point, b: Point, scale: f64) -> Point {
    (a.0 + b.0 * scale, a.1 + b.1 * scale)
}

fn turned(p: Point, angle: f64) -> Point {
    let (sin, cos) = angle.sin_cos();
    (cos * p.0 - sin * p.1, sin * p.0 + cos * p.1)
}

/// Corners of bar and stem of a T whose frame's origin is at `origin`.
pub fn corners(origin: Point, angle: f64) -> [[Point; 4]; 2] {
    PARTS.map(|part| part.map(|corner| add(origin, turned(corner, angle), 1.0)))
}

impl Plane {
    /// A finger and a T, set down as the published environment does it: first the T's place while it is not turned, then
    /// its turn about the centre of gravity. So its frame's origin ends elsewhere than at `tee`; published starts are like
    /// that.
    pub fn new(finger: Point, tee: (f64, f64, f64)) -> Self {
        let mut plane = Self {
            finger,
            finger_velocity: (0.0, 0.0),
            centre: add((tee.0, tee.1), CENTRE, 1.0),
            angle: tee.2,
            velocity: (0.0, 0.0),
            spin: 0.0,
            push_out: (0.0, 0.0),
            push_out_spin: 0.0,
            contacts: Vec::new(),
        };
        plane.advance();
        plane
    }

    /// Pose of the T: place of its frame's origin, turn in rad, not wrapped.
    pub fn tee(&self) -> (f64, f64, f64) {
        let origin = add(self.centre, turned(CENTRE, self.angle), -1.0);
        (origin.0, origin.1, self.angle)
    }

    /// Pose of the T about its centre of gravity.
    pub fn tee_centre(&self) -> (f64, f64, f64) {
        (self.centre.0, self.centre.1, self.angle)
    }

    /// One step in which the finger is drawn towards `target`.
    pub fn step(&mut self, target: Point) {
        let pull = |to: f64, at: f64, velocity: f64| GAINS.0 * (to - at) + GAINS.1 * (0.0 - velocity);
        self.finger_velocity.0 += pull(target.0, self.finger.0, self.finger_velocity.0) * STEP_S;
        self.finger_velocity.1 += pull(target.1, self.finger.1, self.finger_velocity.1) * STEP_S;
        self.advance();
    }

    fn advance(&mut self) {
        self.finger = add(self.finger, self.finger_velocity, STEP_S);
        self.centre = add(self.centre, add(self.velocity, self.push_out, 1.0), STEP_S);
        self.angle += (self.spin + self.push_out_spin) * STEP_S;
        (self.push_out, self.push_out_spin) = ((0.0, 0.0), 0.0);
        self.find_contacts();
        // The space's damping.
        (self.velocity, self.spin) = ((0.0, 0.0), 0.0);
        let mut contacts = std::mem::take(&mut self.contacts);
        for contact in &contacts {
            self.push(contact, contact.impulse);
        }
        for _ in 0..ITERATIONS {
            for contact in &mut contacts {
                self.solve(contact);
            }
        }
        self.contacts = contacts;
    }

    fn push(&mut self, contact: &Contact, impulse: f64) {
        let change = (contact.normal.0 * impulse, contact.normal.1 * impulse);
        self.velocity = add(self.velocity, change, 1.0 / MASS);
        self.spin += cross(contact.arm, change) / INERTIA;
    }

    fn solve(&mut self, contact: &mut Contact) {
        let at = |velocity: Point, spin: f64| add(velocity, (-contact.arm.1, contact.arm.0), spin);
        let out = dot(at(self.push_out, self.push_out_spin), contact.normal);
        let approach = dot(add(at(self.velocity, self.spin), contact.carried, -1.0), contact.normal);
        let before = (contact.push_out_impulse, contact.impulse);
        contact.push_out_impulse = (before.0 + (contact.wanted_push_out - out) / contact.inverse_mass).max(0.0);
        contact.impulse = (before.1 - approach / contact.inverse_mass).max(0.0);
        let out = contact.push_out_impulse - before.0;
        let change = (contact.normal.0 * out, contact.normal.1 * out);
        self.push_out = add(self.push_out, change, 1.0 / MASS);
        self.push_out_spin += cross(contact.arm, change) / INERTIA;
        let more = contact.impulse - before.1;
        self.push(contact, more);
    }

    fn find_contacts(&mut self) {
        let old = std::mem::take(&mut self.contacts);
        let origin = self.tee();
        let share = 1.0 - OVERLAP_AFTER_A_SECOND().powf(STEP_S);
        let mut found = Vec::new();
        for (index, part) in corners((origin.0, origin.1), origin.2).iter().enumerate() {
            let near = nearest(part, self.finger);
            if near.distance <= FINGER {
                let touch = add(self.finger, near.towards, FINGER);
                found.push(((index, Toucher::Finger, near.edge), touch, near.at, near.towards, self.finger_velocity));
            }
            wall_contacts(index, part, &mut found);
        }
        for (id, on_toucher, on_tee, normal, carried) in found {
            let arm = add(on_tee, self.centre, -1.0);
            let turn = cross(arm, normal);
            let distance = dot(add(on_tee, on_toucher, -1.0), normal);
            self.contacts.push(Contact {
                id,
                arm,
                normal,
                carried,
                inverse_mass: 1.0 / MASS + turn * turn / INERTIA,
                wanted_push_out: -share * (distance + SLOP).min(0.0) / STEP_S,
                impulse: old.iter().find(|contact| contact.id == id).map_or(0.0, |contact| contact.impulse),
                push_out_impulse: 0.0,
            });
        }
    }
}

/// The corners of a part that are in a wall; a part that lies flat against one touches with two of them.
fn wall_contacts(
    index: usize,
    part: &[Point; 4],
    found: &mut Vec<((usize, Toucher, usize), Point, Point, Point, Point)>,
) {
    let (low, high) = (WALLS.0 + WALL, WALLS.1 - WALL);
    for (feature, corner) in part.iter().enumerate() {
        let sides = [
            (corner.0 - low, (low, corner.1), (1.0, 0.0)),
            (high - corner.0, (high, corner.1), (-1.0, 0.0)),
            (corner.1 - low, (corner.0, low), (0.0, 1.0)),
            (high - corner.1, (corner.0, high), (0.0, -1.0)),
        ];
        for (wall, (inside, on_wall, normal)) in sides.into_iter().enumerate() {
            if inside <= 0.0 {
                found.push(((index, Toucher::Wall(wall), feature), on_wall, *corner, normal, (0.0, 0.0)));
            }
        }
    }
}

struct Nearest {
    /// Negative inside.
    distance: f64,
    at: Point,
    /// Unit vector from the point towards the polygon.
    towards: Point,
    /// Edge on which it is.
    edge: usize,
}

/// The place of a convex polygon, counter-clockwise, that is nearest to a point.
fn nearest(polygon: &[Point; 4], point: Point) -> Nearest {
    let mut best = Nearest { distance: f64::INFINITY, at: point, towards: (0.0, 0.0), edge: 0 };
    let mut deepest = Nearest { distance: f64::NEG_INFINITY, ..best };
    let mut inside = true;
    for (edge, from) in polygon.iter().enumerate() {
        let to = polygon[(edge + 1) % polygon.len()];
        let way = add(to, *from, -1.0);
        let length = dot(way, way).sqrt();
        let outward = (way.1 / length, -way.0 / length);
        let beyond = dot(add(point, *from, -1.0), outward);
        if beyond > 0.0 {
            inside = false;
        }
        if beyond > deepest.distance {
            let at = add(point, outward, -beyond);
            deepest = Nearest { distance: beyond, at, towards: (-outward.0, -outward.1), edge };
        }
        let share = (dot(add(point, *from, -1.0), way) / (length * length)).clamp(0.0, 1.0);
        let at = add(*from, way, share);
        let gap = add(at, point, -1.0);
        let distance = dot(gap, gap).sqrt();
        if distance < best.distance && distance > 0.0 {
            best = Nearest { distance, at, towards: (gap.0 / distance, gap.1 / distance), edge };
        }
    }
    if inside { deepest } else { best }
}
