//! Forward and inverse kinematics and gravity torque.

use super::model::{ArmModel, JointKind};
use super::{DPose3, DQuat, DVec3, GRAVITY_M_S2};
use nalgebra::{Matrix6, Vector6};

/// A point of a link that is steered, with the two directions that matter for grasping.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tool {
    /// The link it belongs to.
    pub link: usize,
    /// The steered point in the link frame, m.
    pub point_m: DVec3,
    /// Where the fingers point, unit vector in the link frame.
    pub approach: DVec3,
    /// The direction in which the jaws open, unit vector in the link frame, at right angles to `approach`.
    pub closing: DVec3,
}

/// Where a [`Tool`] shall be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IkTarget {
    /// Position of the tool point in the base frame, m.
    pub position_m: DVec3,
    /// Direction of the fingers in the base frame; need not be a unit vector.
    pub approach: DVec3,
    /// Direction in which the jaws open; `None` leaves the roll about `approach` as it comes.
    pub closing: Option<DVec3>,
}

/// How hard inverse kinematics tries.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IkSettings {
    /// Steps at most.
    pub max_iterations: usize,
    /// Length that counts as much as one radian of direction error, m. 50 mm balances the two on an arm of this size.
    pub metres_per_radian: f64,
    /// Combined error (m, angles weighed by `metres_per_radian`) below which the solution counts as reached.
    pub tolerance_m: f64,
    /// Distance kept from joint limits, rad.
    pub limit_margin_rad: f64,
}

impl Default for IkSettings {
    fn default() -> Self {
        Self { max_iterations: 100, metres_per_radian: 0.05, tolerance_m: 1e-3, limit_margin_rad: 0.01 }
    }
}

/// What inverse kinematics found: the best joint vector, reached or not.
#[derive(Clone, Debug, PartialEq)]
pub struct IkSolution {
    /// All joints of the model; those outside the tool's chain keep the seed's value.
    pub q: Vec<f64>,
    /// Distance of the tool point from the target, m.
    pub position_error_m: f64,
    /// Angle by which the wanted directions are missed, rad.
    pub angle_error_rad: f64,
    /// Whether the combined error is within the tolerance.
    pub reached: bool,
}

impl ArmModel {
    /// The model turned about z on the table so that the hand, with every joint in the middle of its range, is ahead of the
    /// first joint's axis in -y, and moved so that this axis stands where an SO-100's does. Other arms of this size then
    /// find our scenes in front of them, whatever their URDF calls forward; an SO-100 stays as it is.
    #[must_use]
    pub fn facing_the_scene(mut self) -> Self {
        let middle: Vec<f64> = self.joints.iter().map(|joint| 0.5 * (joint.lower + joint.upper)).collect();
        let Some(first) = self.joints.first() else { return self };
        let axis = self.link_pose(&middle, first.link).translation;
        let ahead = self.tool_pose(&middle, &self.hand_tool()).translation - axis;
        let turn = (-std::f64::consts::FRAC_PI_2) - ahead.y.atan2(ahead.x);
        // A hand a little to the side of an arm that looks ahead already is no reason to turn the arm.
        let turn = if turn.sin().abs() < 0.1 && turn.cos() > 0.0 { 0.0 } else { turn };
        let rotation = DQuat::from_rotation_z(turn);
        let shift = DVec3::new(0.0, -0.0452, axis.z) - rotation * axis;
        let mount = DPose3::from_parts(shift, rotation);
        self.links[0].parent_from_link = mount * self.links[0].parent_from_link;
        self
    }

    /// Pose of every link in the base frame for joint values `q` (one per [`ArmModel::joints`], rad or m).
    pub fn link_poses(&self, q: &[f64]) -> Vec<DPose3> {
        let mut poses: Vec<DPose3> = Vec::with_capacity(self.links.len());
        for link in &self.links {
            let mut local = link.parent_from_link;
            if let Some(joint) = link.joint {
                local *= self.joints[joint].motion(q.get(joint).copied().unwrap_or(0.0));
            }
            poses.push(link.parent.map_or(local, |parent| poses[parent] * local));
        }
        poses
    }

    /// Pose of one link in the base frame.
    pub fn link_pose(&self, q: &[f64], link: usize) -> DPose3 {
        let mut pose = DPose3::IDENTITY;
        let mut at = Some(link);
        while let Some(index) = at {
            let link = &self.links[index];
            let mut local = link.parent_from_link;
            if let Some(joint) = link.joint {
                local *= self.joints[joint].motion(q.get(joint).copied().unwrap_or(0.0));
            }
            pose = local * pose;
            at = link.parent;
        }
        pose
    }

    /// The hand's tool, found from the joints: fingers point along the axis about which the hand rolls, on the side where
    /// the moving jaw is; the point lies 73 mm ahead of the jaw's pivot, between the finger pads of an SO-100; jaws open
    /// in the plane in which the jaw turns, positive towards the fixed finger.
    pub fn hand_tool(&self) -> Tool {
        let hand = self.hand_link();
        let jaw = self.joints.get(self.gripper_joint()).map(|joint| (joint.axis, &self.links[joint.link]));
        let roll = self.links[hand].joint.map_or(DVec3::Y, |joint| self.joints[joint].axis);
        let Some((jaw_axis, jaw)) = jaw else {
            return Tool { link: hand, point_m: DVec3::ZERO, approach: roll, closing: roll.any_orthonormal_vector() };
        };
        let pivot = jaw.parent_from_link.translation;
        let jaw_com = jaw.parent_from_link.transform_point(jaw.inertial.map_or(DVec3::ZERO, |i| i.com_m));
        let approach = if (jaw_com - pivot).dot(roll) < 0.0 { -roll } else { roll };
        let across =
            (jaw.parent_from_link.rotation * jaw_axis).cross(approach).normalize_or(roll.any_orthonormal_vector());
        let closing = if jaw_com.dot(across) > 0.0 { -across } else { across };
        Tool { link: hand, point_m: approach * (pivot.dot(approach) + 0.073), approach, closing }
    }

    /// Pose of the tool in the base frame: origin at the tool point, axes of its link.
    pub fn tool_pose(&self, q: &[f64], tool: &Tool) -> DPose3 {
        let link = self.link_pose(q, tool.link);
        DPose3::from_parts(link.transform_point(tool.point_m), link.rotation)
    }

    /// Damped least squares from `seed` towards `target`, within the joint limits. Works for chains of up to six joints.
    pub fn ik(&self, tool: &Tool, target: &IkTarget, seed: &[f64], settings: &IkSettings) -> IkSolution {
        let chain = self.chain_to(tool.link);
        let chain = &chain[..chain.len().min(6)];
        let mut q = seed.to_vec();
        q.resize(self.joints.len(), 0.0);
        let mut best: Option<(f64, IkSolution)> = None;
        for _ in 0..settings.max_iterations.max(1) {
            let poses = self.link_poses(&q);
            let (error, position_error_m, angle_error_rad) =
                target_error(tool, target, &poses[tool.link], settings.metres_per_radian);
            let total = position_error_m + settings.metres_per_radian * angle_error_rad;
            if best.as_ref().is_none_or(|(least, _)| total < *least) {
                let reached = total < settings.tolerance_m;
                best = Some((total, IkSolution { q: q.clone(), position_error_m, angle_error_rad, reached }));
            }
            if total < 1e-7 {
                break;
            }
            let point = poses[tool.link].transform_point(tool.point_m);
            let approach = (poses[tool.link].rotation * tool.approach).normalize();
            let mut columns = [Vector6::<f64>::zeros(); 6];
            for (column, &joint) in columns.iter_mut().zip(chain) {
                let pose = &poses[self.joints[joint].link];
                let axis = pose.rotation * self.joints[joint].axis;
                let (linear, mut angular) = match self.joints[joint].kind {
                    JointKind::Revolute => (axis.cross(point - pose.translation), axis),
                    JointKind::Prismatic => (axis, DVec3::ZERO),
                };
                if target.closing.is_none() {
                    angular -= approach * approach.dot(angular);
                }
                let angular = angular * settings.metres_per_radian;
                *column = Vector6::new(linear.x, linear.y, linear.z, angular.x, angular.y, angular.z);
            }
            // A joint that a step would carry past its limit stops there, and the others are asked again what they can do
            // without it: shared with a blocked joint, their motion would stall short of the target.
            let mut moved = 0.0f64;
            for _ in 0..chain.len() {
                // More damping while far off keeps steps sane near singular poses; little of it lets the end converge.
                let Some(step) = damped_step(&columns, &error, 1e-6 + 1e-3 * total) else { break };
                let mut blocked = false;
                let mut next = q.clone();
                for (index, &joint) in chain.iter().enumerate() {
                    let limits = &self.joints[joint];
                    let margin = settings.limit_margin_rad.min(0.5 * (limits.upper - limits.lower));
                    let wanted = q[joint] + step[index].clamp(-0.3, 0.3);
                    next[joint] = wanted.clamp(limits.lower + margin, limits.upper - margin);
                    if next[joint] != wanted && columns[index] != Vector6::zeros() {
                        blocked = true;
                        columns[index] = Vector6::zeros();
                        // What is left of its way to the limit it goes with this step.
                        moved = moved.max((next[joint] - q[joint]).abs());
                        q[joint] = next[joint];
                    }
                }
                if !blocked {
                    moved = chain.iter().map(|&joint| (next[joint] - q[joint]).abs()).fold(moved, f64::max);
                    q = next;
                    break;
                }
            }
            if moved < 1e-9 {
                break;
            }
        }
        best.map(|(_, solution)| solution).unwrap_or(IkSolution {
            q,
            position_error_m: f64::INFINITY,
            angle_error_rad: f64::INFINITY,
            reached: false,
        })
    }

    /// Torque in Nm that each joint must give to hold the arm at `q` against gravity along -z of the base frame, with an
    /// optional payload: mass in kg at a point (m) of a link. Forces in N for prismatic joints.
    pub fn gravity_torque_nm(&self, q: &[f64], payload: Option<(usize, DVec3, f64)>) -> Vec<f64> {
        let poses = self.link_poses(q);
        let mut torque = vec![0.0; self.joints.len()];
        let mut add = |link: usize, point: DVec3, mass_kg: f64| {
            let mut at = Some(link);
            while let Some(index) = at {
                if let Some(joint) = self.links[index].joint {
                    let axis = poses[index].rotation * self.joints[joint].axis;
                    let lift = match self.joints[joint].kind {
                        JointKind::Revolute => axis.dot((point - poses[index].translation).cross(DVec3::Z)),
                        JointKind::Prismatic => axis.z,
                    };
                    torque[joint] += mass_kg * GRAVITY_M_S2 * lift;
                }
                at = self.links[index].parent;
            }
        };
        for (index, link) in self.links.iter().enumerate() {
            if let Some(inertial) = &link.inertial {
                add(index, poses[index].transform_point(inertial.com_m), inertial.mass_kg);
            }
        }
        if let Some((link, point_m, mass_kg)) = payload {
            add(link, poses[link].transform_point(point_m), mass_kg);
        }
        torque
    }
}

impl super::Joint {
    /// The motion of the carried link relative to joint zero.
    fn motion(&self, value: f64) -> DPose3 {
        match self.kind {
            JointKind::Revolute => DPose3::from_rotation(DQuat::from_axis_angle(self.axis, value)),
            JointKind::Prismatic => DPose3::from_translation(self.axis * value),
        }
    }
}

/// The damped least-squares step: what each joint, with its `columns` of the Jacobian, does about `error`. Joints whose
/// column is zero stay.
fn damped_step(columns: &[Vector6<f64>; 6], error: &Vector6<f64>, damping: f64) -> Option<Vector6<f64>> {
    let mut normal = Matrix6::<f64>::zeros();
    let mut right = Vector6::<f64>::zeros();
    for row in 0..6 {
        for column in 0..=row {
            let value = columns[row].dot(&columns[column]);
            normal[(row, column)] = value;
            normal[(column, row)] = value;
        }
        right[row] = columns[row].dot(error);
        normal[(row, row)] += damping;
    }
    Some(normal.cholesky()?.solve(&right))
}

/// Error vector (3 position rows, 3 weighed rotation rows), position error and angle error of a tool on link pose `link`.
fn target_error(tool: &Tool, target: &IkTarget, link: &DPose3, weight: f64) -> (Vector6<f64>, f64, f64) {
    let position = target.position_m - link.transform_point(tool.point_m);
    let wanted = target.approach.normalize_or_zero();
    let rotation = match target.closing {
        None => {
            let turn = DQuat::from_rotation_arc(link.rotation * tool.approach, wanted);
            rotation_vector(turn)
        }
        Some(closing) => {
            let closing = (closing - wanted * closing.dot(wanted)).normalize_or(wanted.any_orthonormal_vector());
            let frame = |a: DVec3, c: DVec3| DQuat::from_mat3(&super::DMat3::from_cols(a, c, a.cross(c)));
            let wanted = frame(wanted, closing);
            let present = link.rotation * frame(tool.approach, tool.closing);
            rotation_vector(wanted * present.inverse())
        }
    };
    let weighed = rotation * weight;
    (
        Vector6::new(position.x, position.y, position.z, weighed.x, weighed.y, weighed.z),
        position.length(),
        rotation.length(),
    )
}

/// Axis times angle, by the shorter way.
fn rotation_vector(rotation: DQuat) -> DVec3 {
    (if rotation.w < 0.0 { -rotation } else { rotation }).to_scaled_axis()
}

#[cfg(test)]
mod tests {
    use super::super::load_urdf;
    use super::*;
    use proptest::prelude::*;
    use std::path::Path;

    fn so100() -> ArmModel {
        load_urdf(&Path::new(env!("CARGO_MANIFEST_DIR")).join("urdf/so100.urdf")).unwrap()
    }

    fn tool(model: &ArmModel) -> Tool {
        model.hand_tool()
    }

    proptest! {
        /// From a nearby seed, inverse kinematics brings the tool back to where forward kinematics put it.
        #[test]
        fn fk_of_ik_is_the_target(q in prop::array::uniform6(0.02f64..0.98), nudge in prop::array::uniform5(-0.2f64..0.2)) {
            let model = so100();
            let tool = tool(&model);
            let q: Vec<f64> = q.iter().zip(&model.joints).map(|(u, j)| j.lower + u * (j.upper - j.lower)).collect();
            let pose = model.tool_pose(&q, &tool);
            let target = IkTarget {
                position_m: pose.translation,
                approach: pose.rotation * tool.approach,
                closing: Some(pose.rotation * tool.closing),
            };
            let mut seed = q.clone();
            for (value, nudge) in seed.iter_mut().zip(nudge) { *value += nudge; }
            let solution = model.ik(&tool, &target, &model.clamp(&seed), &IkSettings::default());
            prop_assert!(solution.reached, "{solution:?}");
            let reached = model.tool_pose(&solution.q, &tool);
            prop_assert!((reached.translation - pose.translation).length() < 1e-3);
            prop_assert!(reached.rotation.angle_between(pose.rotation) < 0.02);
            for (value, joint) in solution.q.iter().zip(&model.joints) {
                prop_assert!(*value >= joint.lower && *value <= joint.upper);
            }
        }

        /// Gravity torque is the gradient of potential energy.
        #[test]
        fn gravity_torque_is_the_gradient_of_energy(q in prop::array::uniform6(0.0f64..1.0)) {
            let model = so100();
            let q: Vec<f64> = q.iter().zip(&model.joints).map(|(u, j)| j.lower + u * (j.upper - j.lower)).collect();
            let energy = |q: &[f64]| -> f64 {
                model.link_poses(q).iter().zip(&model.links).filter_map(|(pose, link)| {
                    link.inertial.map(|i| i.mass_kg * GRAVITY_M_S2 * pose.transform_point(i.com_m).z)
                }).sum()
            };
            let torque = model.gravity_torque_nm(&q, None);
            for joint in 0..6 {
                let (mut up, mut down) = (q.clone(), q.clone());
                up[joint] += 1e-5;
                down[joint] -= 1e-5;
                prop_assert!((torque[joint] - (energy(&up) - energy(&down)) / 2e-5).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn position_and_approach_alone_leave_the_roll_free() {
        let model = so100();
        let tool = tool(&model);
        let target = IkTarget { position_m: DVec3::new(0.05, -0.24, 0.05), approach: DVec3::NEG_Z, closing: None };
        for roll in [-1.0, 0.0, 1.2] {
            let solution = model.ik(&tool, &target, &[0.0, 0.1, 0.1, 1.3, roll, 0.2], &IkSettings::default());
            assert!(solution.reached, "{solution:?}");
            assert!((solution.q[4] - roll).abs() < 0.2, "roll wandered to {}", solution.q[4]);
            assert_eq!(solution.q[5], 0.2);
        }
    }

    #[test]
    fn the_hand_is_found_from_the_joints() {
        let model = so100();
        let tool = tool(&model);
        assert_eq!(model.links[tool.link].name, "gripper");
        assert!((tool.point_m - DVec3::new(0.0, -0.0974, 0.0)).length() < 1e-9, "{tool:?}");
        assert!(
            (tool.approach - DVec3::NEG_Y).length() < 1e-9 && (tool.closing - DVec3::X).length() < 1e-9,
            "{tool:?}"
        );
    }

    #[test]
    fn unreachable_targets_are_reported_with_the_nearest_pose() {
        let model = so100();
        let target = IkTarget { position_m: DVec3::new(0.0, -2.0, 0.1), approach: DVec3::NEG_Y, closing: None };
        let solution = model.ik(&tool(&model), &target, &[0.0; 6], &IkSettings::default());
        assert!(!solution.reached);
        assert!(solution.position_error_m > 1.0 && solution.q.iter().all(|value| value.is_finite()));
    }

    #[test]
    fn stretched_arm_needs_the_published_torque() {
        // Fully extended: lift 0.948, elbow 0.475, wrist 0.126 Nm (MuJoCo on the menagerie masses).
        let model = so100();
        let q = [0.0, std::f64::consts::FRAC_PI_2, -std::f64::consts::FRAC_PI_2, 0.0, 0.0, 0.0];
        let torque = model.gravity_torque_nm(&q, None);
        for (joint, expected) in [(1, 0.948), (2, 0.475), (3, 0.126)] {
            assert!((torque[joint].abs() - expected).abs() < 0.01, "joint {joint}: {torque:?}");
        }
    }
}
