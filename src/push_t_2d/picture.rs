//! The published picture: 96 x 96 pixels, drawn as if on 512 x 512 and sampled down with bilinear weights.

use super::physics::{FINGER, GOAL, Plane, Point, WORKSPACE, corners};

/// Edge of the picture, pixels.
pub const PICTURE: usize = 96;

const PAPER: [f32; 3] = [255.0, 255.0, 255.0];
/// Light green.
const GOAL_COLOUR: [f32; 3] = [144.0, 238.0, 144.0];
/// Light slate grey, and a fifth brighter.
const TEE_EDGE: [f32; 3] = [119.0, 136.0, 153.0];
const TEE_FACE: [f32; 3] = [142.0, 163.0, 183.0];
/// Royal blue, and a fifth brighter.
const FINGER_EDGE: [f32; 3] = [65.0, 105.0, 225.0];
const FINGER_FACE: [f32; 3] = [78.0, 126.0, 255.0];
/// Light grey.
const WALL_COLOUR: [f32; 3] = [211.0, 211.0, 211.0];
/// Width of the finger's rim and half the width of the T's, pixels of the large picture.
const FINGER_RIM: f64 = 4.0;
const TEE_RIM: f64 = 2.0;

/// Draws the plane: `PICTURE` rows of `PICTURE` pixels, 8 bit RGB.
pub fn draw(plane: &Plane) -> Vec<u8> {
    let whole = |part: [Point; 4]| part.map(|corner| (corner.0.round_ties_even(), corner.1.round_ties_even()));
    let (x, y, angle) = plane.tee();
    let large = Large {
        goal: corners((GOAL.0, GOAL.1), GOAL.2).map(whole),
        tee: corners((x, y), angle).map(whole),
        finger: (plane.finger.0.round_ties_even(), plane.finger.1.round_ties_even()),
    };
    let scale = WORKSPACE / PICTURE as f64;
    // For each picture coordinate the two coordinates of the large picture between which it lies, and the second's weight.
    let taps: Vec<(f64, f32)> = (0..PICTURE)
        .map(|index| {
            let at = (index as f64 + 0.5) * scale - 0.5;
            (at.floor(), (at - at.floor()) as f32)
        })
        .collect();
    let mut picture = Vec::with_capacity(PICTURE * PICTURE * 3);
    for &(row, down) in &taps {
        for &(column, right) in &taps {
            let above = (large.colour(column, row), large.colour(column + 1.0, row));
            let below = (large.colour(column, row + 1.0), large.colour(column + 1.0, row + 1.0));
            for channel in 0..3 {
                let mix = |(a, b): ([f32; 3], [f32; 3])| a[channel] + (b[channel] - a[channel]) * right;
                let value = mix(above) + (mix(below) - mix(above)) * down;
                picture.push(value.round().clamp(0.0, 255.0) as u8);
            }
        }
    }
    picture
}

/// What is drawn on the large picture.
struct Large {
    goal: [[Point; 4]; 2],
    tee: [[Point; 4]; 2],
    finger: Point,
}

impl Large {
    fn colour(&self, x: f64, y: f64) -> [f32; 3] {
        let wall = |at: f64| (3.0..=7.0).contains(&at) || (504.0..=508.0).contains(&at);
        let along = |at: f64| (3.0..=508.0).contains(&at);
        if (wall(x) && along(y)) || (wall(y) && along(x)) {
            return WALL_COLOUR;
        }
        // The stem is drawn over the bar, and the T over the finger.
        for part in self.tee.iter().rev() {
            let outside = outside(part, (x, y));
            if outside <= TEE_RIM {
                return if outside > -TEE_RIM { TEE_EDGE } else { TEE_FACE };
            }
        }
        let from_finger = (x - self.finger.0).hypot(y - self.finger.1);
        if from_finger < FINGER {
            return if from_finger < FINGER - FINGER_RIM { FINGER_FACE } else { FINGER_EDGE };
        }
        if self.goal.iter().any(|part| outside(part, (x, y)) <= 0.0) { GOAL_COLOUR } else { PAPER }
    }
}

/// How far a point is outside a rectangle, corners counter-clockwise; negative inside.
fn outside(corners: &[Point; 4], (x, y): Point) -> f64 {
    let mut most = f64::NEG_INFINITY;
    for (index, from) in corners.iter().enumerate() {
        let to = corners[(index + 1) % 4];
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        most = most.max(((x - from.0) * dy - (y - from.1) * dx) / dx.hypot(dy));
    }
    most
}
