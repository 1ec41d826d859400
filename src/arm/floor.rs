//! The table under an arm: how low its hand is, and how far its joints may go without taking the hand through the table.

use super::model::{ArmModel, ShapeKind};
use super::{DPose3, DVec3, TriMesh};
use std::sync::Arc;

/// How far below the table top a target may put the hand, m. Servos are springs: to press on something, or to hold the
/// arm's weight, a target leads the hand. At the arm's full reach this much is a push of 2 N.
pub const FLOOR_TOLERANCE_M: f64 = 0.02;
/// Directions in which the outermost points of a mesh are looked for.
const DIRECTIONS: usize = 96;
/// Halvings on the search for how far a joint may go; the last is a thirtieth of a tick's way.
const HALVINGS: usize = 5;

/// The table top under an arm, and the points of its hand that could go through it.
#[derive(Clone, Debug)]
pub struct Floor {
    model: Arc<ArmModel>,
    /// Link, point in the link's frame, m, and radius of a ball about it, m.
    points: Vec<(usize, DVec3, f64)>,
    /// Lowest height a point may have, m, in the arm's base frame.
    lowest_m: f64,
}

impl PartialEq for Floor {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.model, &other.model) && self.lowest_m == other.lowest_m
    }
}

impl Floor {
    /// The table on which the base of `model` stands. Its hand is the link before the gripper's joint with everything it
    /// carries; a mesh that cannot be read is left out.
    pub fn new(model: &Arc<ArmModel>) -> Self {
        let hand = model.hand_link();
        let is_hand = |mut link: usize| {
            loop {
                if link == hand {
                    return true;
                }
                match model.links[link].parent {
                    Some(parent) => link = parent,
                    None => return false,
                }
            }
        };
        let mut points = Vec::new();
        for (index, link) in model.links.iter().enumerate().filter(|(index, _)| is_hand(*index)) {
            // As for collisions: a link without shapes of its own collides with what is seen of it.
            let kinds: Vec<(&ShapeKind, DPose3)> = if link.shapes.is_empty() {
                link.visuals.iter().map(|visual| (&visual.kind, visual.link_from_shape)).collect()
            } else {
                link.shapes.iter().map(|shape| (&shape.kind, shape.link_from_shape)).collect()
            };
            for (kind, pose) in kinds {
                let add = |(point, radius)| (index, pose.transform_point(point), radius);
                points.extend(outermost(kind).into_iter().map(add));
            }
        }
        Self { model: model.clone(), points, lowest_m: -FLOOR_TOLERANCE_M }
    }

    /// Height of the lowest point of the hand above the table, m, with the joints at `q_rad`.
    pub fn height_m(&self, q_rad: &[f64]) -> f64 {
        let poses = self.model.link_poses(q_rad);
        let height = |(link, point, radius): &(usize, DVec3, f64)| poses[*link].transform_point(*point).z - radius;
        self.points.iter().map(height).fold(f64::INFINITY, f64::min)
    }

    /// Lowest height the hand may have that is at `from_rad` now, m: that of the table, or its own if it is lower.
    pub fn bound_m(&self, from_rad: &[f64]) -> f64 {
        self.lowest_m.min(self.height_m(from_rad))
    }

    /// Where joints that stand at `from_rad` may go that shall go to `to_rad`: `None` if all the way, else as far as each can
    /// without taking the hand further below the table than it may be, or than it is already.
    pub fn hold_back(&self, from_rad: &[f64], to_rad: &[f64]) -> Option<Vec<f64>> {
        if self.points.is_empty() || from_rad.len() != to_rad.len() || self.height_m(to_rad) >= self.lowest_m {
            return None;
        }
        let bound = self.bound_m(from_rad);
        if self.height_m(to_rad) >= bound {
            return None;
        }
        // Joints that lift the hand or leave its height go first, so that the others have room and it slides along.
        let mut q = from_rad.to_vec();
        let mut late = Vec::new();
        for joint in 0..q.len() {
            q[joint] = to_rad[joint];
            if self.height_m(&q) < bound {
                q[joint] = from_rad[joint];
                late.push(joint);
            }
        }
        for joint in late {
            let (mut reached, mut share) = (0.0, 1.0);
            for halving in 0..=HALVINGS {
                q[joint] = from_rad[joint] + share * (to_rad[joint] - from_rad[joint]);
                let step = 0.5f64.powi(halving as i32 + 1);
                if self.height_m(&q) >= bound {
                    reached = share;
                    if halving == 0 {
                        break;
                    }
                    share += step;
                } else {
                    share -= step;
                }
            }
            q[joint] = from_rad[joint] + reached * (to_rad[joint] - from_rad[joint]);
        }
        Some(q)
    }
}

/// Points of a shape of which, whatever its pose, one is its lowest but for the radius that goes with it.
fn outermost(kind: &ShapeKind) -> Vec<(DVec3, f64)> {
    let ends = |length_m: f64| [-0.5 * length_m, 0.5 * length_m].map(|z| DVec3::new(0.0, 0.0, z));
    match kind {
        ShapeKind::Box { size_m } => (0..8)
            .map(|corner| {
                let side = |bit: usize| if corner >> bit & 1 == 1 { 0.5 } else { -0.5 };
                (DVec3::new(side(0), side(1), side(2)) * *size_m, 0.0)
            })
            .collect(),
        ShapeKind::Sphere { radius_m } => vec![(DVec3::ZERO, *radius_m)],
        ShapeKind::Capsule { radius_m, length_m } => ends(*length_m).map(|end| (end, *radius_m)).to_vec(),
        ShapeKind::Cylinder { radius_m, length_m } => {
            let rim = |end: DVec3| {
                (0..16).map(move |step| {
                    let angle = f64::from(step) * std::f64::consts::TAU / 16.0;
                    (end + *radius_m * DVec3::new(angle.cos(), angle.sin(), 0.0), 0.0)
                })
            };
            ends(*length_m).into_iter().flat_map(rim).collect()
        }
        ShapeKind::Mesh { path, scale } => {
            let Ok(mesh) = TriMesh::load(path, *scale) else { return Vec::new() };
            let vertices: Vec<DVec3> = mesh.positions_m.iter().map(|p| DVec3::from_array(p.map(f64::from))).collect();
            let mut found: Vec<usize> = (0..DIRECTIONS)
                .filter_map(|index| {
                    // A spiral of nearly even directions over the sphere.
                    let z = 1.0 - (2.0 * index as f64 + 1.0) / DIRECTIONS as f64;
                    let (angle, around) = (2.399_963 * index as f64, (1.0 - z * z).sqrt());
                    let direction = DVec3::new(around * angle.cos(), around * angle.sin(), z);
                    (0..vertices.len())
                        .max_by(|a, b| direction.dot(vertices[*a]).total_cmp(&direction.dot(vertices[*b])))
                })
                .collect();
            found.sort_unstable();
            found.dedup();
            found.into_iter().map(|index| (vertices[index], 0.0)).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::load_urdf;
    use super::*;
    use proptest::prelude::*;
    use std::path::Path;

    fn floor() -> (Arc<ArmModel>, Floor) {
        let model = Arc::new(load_urdf(&Path::new(env!("CARGO_MANIFEST_DIR")).join("urdf/so100.urdf")).unwrap());
        (model.clone(), Floor::new(&model))
    }

    #[test]
    fn the_folded_hand_is_above_the_table_and_a_bowing_one_below() {
        let (_, floor) = floor();
        assert!(floor.height_m(&[0.0, -1.70, 1.50, 1.15, 0.0, 0.0]) > 0.0);
        assert!(floor.height_m(&[0.0, 0.6, 0.9, 0.3, 0.0, 0.0]) < -0.1);
    }

    #[test]
    fn a_hand_pressed_on_the_table_still_slides_and_rises() {
        let (_, floor) = floor();
        // Down to the table, by the lift alone.
        let mut q = vec![0.0, 0.0, 0.0, 1.2, 0.0, 0.0];
        while floor.height_m(&q) > 0.0 {
            q[1] += 0.01;
        }
        while let next = [q[0], q[1] + 0.01, q[2], q[3], q[4], q[5]]
            && floor.hold_back(&q, &next).is_none()
        {
            q = next.to_vec();
        }
        assert!((floor.height_m(&q) + FLOOR_TOLERANCE_M).abs() < 0.005, "{}", floor.height_m(&q));
        let sideways = floor.hold_back(&q, &[q[0] + 0.1, q[1] + 0.05, q[2], q[3], q[4], q[5]]).unwrap();
        assert_eq!(sideways[0], q[0] + 0.1, "the pan is free");
        assert!(sideways[1] < q[1] + 0.02);
        assert_eq!(floor.hold_back(&q, &[q[0], q[1] - 0.1, q[2], q[3], q[4], q[5]]), None, "up is free");
    }

    proptest! {
        #[test]
        fn nothing_is_taken_lower_than_it_may_be(
            from in prop::array::uniform6(0.0f64..1.0),
            step in prop::array::uniform6(-0.2f64..0.2),
        ) {
            let (model, floor) = floor();
            let from: Vec<f64> = from.iter().zip(&model.joints).map(|(u, j)| j.lower + u * (j.upper - j.lower)).collect();
            let to: Vec<f64> = from.iter().zip(&step).map(|(from, step)| from + step).collect();
            let bound = (-FLOOR_TOLERANCE_M).min(floor.height_m(&from));
            let went = floor.hold_back(&from, &to).unwrap_or(to.clone());
            prop_assert!(floor.height_m(&went) >= bound - 1e-9);
            for ((went, from), to) in went.iter().zip(&from).zip(&to) {
                prop_assert!((from.min(*to) - 1e-12..=from.max(*to) + 1e-12).contains(went));
            }
        }
    }
}
