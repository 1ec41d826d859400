//! Rigid transforms with a fixed order of operations (glam's quaternions may use the machine's vector units).

use super::RasterError;
use bevy::math::{Mat3, Quat, Vec3};

/// Rotation then translation: `parent = rotation * child + translation`. Metres.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pose {
    /// Orientation; need not be of unit length, but not zero.
    pub rotation: Quat,
    /// Origin of the child frame in the parent frame, in metres.
    pub translation: Vec3,
}

impl Pose {
    /// No rotation, no translation.
    pub const IDENTITY: Pose = Pose { rotation: Quat::IDENTITY, translation: Vec3::ZERO };

    /// A pose from its two parts.
    pub const fn new(rotation: Quat, translation: Vec3) -> Self {
        Pose { rotation, translation }
    }

    /// A pose that only moves.
    pub const fn from_translation(translation: Vec3) -> Self {
        Pose { rotation: Quat::IDENTITY, translation }
    }

    /// `self` after `child`: the pose of a frame given in the child frame of `self`.
    pub fn then(&self, child: &Pose) -> Pose {
        let (a, b) = (self.rotation, child.rotation);
        let rotation = Quat::from_xyzw(
            a.w * b.x + a.x * b.w + a.y * b.z - a.z * b.y,
            a.w * b.y - a.x * b.z + a.y * b.w + a.z * b.x,
            a.w * b.z + a.x * b.y - a.y * b.x + a.z * b.w,
            a.w * b.w - a.x * b.x - a.y * b.y - a.z * b.z,
        );
        Pose { rotation, translation: self.rotation_matrix() * child.translation + self.translation }
    }

    /// A point of the child frame in the parent frame.
    pub fn transform_point(&self, point: Vec3) -> Vec3 {
        self.rotation_matrix() * point + self.translation
    }

    /// Pose of a camera (x right, y down, z forward) at `eye` that looks to `target`, picture up along `up`.
    ///
    /// # Errors
    /// [`RasterError::LookAt`] if eye and target coincide or `up` is parallel to the line of sight.
    pub fn look_at(eye: Vec3, target: Vec3, up: Vec3) -> Result<Pose, RasterError> {
        if !(eye.is_finite() && target.is_finite() && up.is_finite()) {
            return Err(RasterError::NotFinite { what: "eye, target or up vector of a camera".into() });
        }
        let forward = unit(target - eye).ok_or(RasterError::LookAt { reason: "they are the same point" })?;
        let right = unit(forward.cross(up)).ok_or(RasterError::LookAt {
            reason: "the up vector is parallel to the line of sight; give another one",
        })?;
        let down = forward.cross(right);
        Ok(Pose { rotation: quat_from_axes(right, down, forward), translation: eye })
    }

    /// The rotation as a matrix of unit columns.
    pub(super) fn rotation_matrix(&self) -> Mat3 {
        let q = self.rotation;
        let length_squared = q.x * q.x + q.y * q.y + q.z * q.z + q.w * q.w;
        let s = if length_squared > 0.0 { 2.0 / length_squared } else { 0.0 };
        let (xx, yy, zz) = (q.x * q.x * s, q.y * q.y * s, q.z * q.z * s);
        let (xy, xz, yz) = (q.x * q.y * s, q.x * q.z * s, q.y * q.z * s);
        let (wx, wy, wz) = (q.w * q.x * s, q.w * q.y * s, q.w * q.z * s);
        Mat3::from_cols(
            Vec3::new(1.0 - (yy + zz), xy + wz, xz - wy),
            Vec3::new(xy - wz, 1.0 - (xx + zz), yz + wx),
            Vec3::new(xz + wy, yz - wx, 1.0 - (xx + yy)),
        )
    }

    /// True if every number is finite and the rotation is not zero.
    pub(super) fn is_usable(&self) -> bool {
        let q = self.rotation;
        let length_squared = q.x * q.x + q.y * q.y + q.z * q.z + q.w * q.w;
        length_squared.is_finite() && length_squared > 1e-12 && self.translation.is_finite()
    }
}

/// Vector of length one, or nothing if it is too short to have a direction.
pub(super) fn unit(v: Vec3) -> Option<Vec3> {
    let length_squared = v.x * v.x + v.y * v.y + v.z * v.z;
    (length_squared > 1e-16).then(|| v * (1.0 / length_squared.sqrt()))
}

/// Quaternion of a rotation given by its unit columns (Shepperd's method).
fn quat_from_axes(x: Vec3, y: Vec3, z: Vec3) -> Quat {
    let (xx, yy, zz) = (x.x, y.y, z.z);
    let trace = xx + yy + zz;
    if trace > xx && trace > yy && trace > zz {
        let s = (1.0 + trace).sqrt() * 2.0;
        Quat::from_xyzw((y.z - z.y) / s, (z.x - x.z) / s, (x.y - y.x) / s, 0.25 * s)
    } else if xx > yy && xx > zz {
        let s = (1.0 + xx - yy - zz).sqrt() * 2.0;
        Quat::from_xyzw(0.25 * s, (y.x + x.y) / s, (z.x + x.z) / s, (y.z - z.y) / s)
    } else if yy > zz {
        let s = (1.0 + yy - xx - zz).sqrt() * 2.0;
        Quat::from_xyzw((y.x + x.y) / s, 0.25 * s, (z.y + y.z) / s, (z.x - x.z) / s)
    } else {
        let s = (1.0 + zz - xx - yy).sqrt() * 2.0;
        Quat::from_xyzw((z.x + x.z) / s, (z.y + y.z) / s, 0.25 * s, (x.y - y.x) / s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn look_at_gives_the_optical_frame() {
        let pose = Pose::look_at(Vec3::new(0.0, -1.0, 0.5), Vec3::new(0.0, 0.0, 0.5), Vec3::Z).unwrap();
        let m = pose.rotation_matrix();
        assert!((m.x_axis - Vec3::X).length() < 1e-6);
        assert!((m.y_axis + Vec3::Z).length() < 1e-6);
        assert!((m.z_axis - Vec3::Y).length() < 1e-6);
        assert!(Pose::look_at(Vec3::ONE, Vec3::ONE, Vec3::Z).is_err());
        assert!(Pose::look_at(Vec3::ONE, Vec3::ONE + Vec3::Z, Vec3::Z).is_err());
    }

    #[test]
    fn axes_of_random_rotations_come_back() {
        for i in 0..200 {
            let k = i as f32;
            let q = Quat::from_xyzw((k * 1.7).sin(), (k * 0.9).cos(), (k * 2.3).sin(), (k * 0.31).cos()).normalize();
            let m = Pose::new(q, Vec3::ZERO).rotation_matrix();
            let back = Pose::new(quat_from_axes(m.x_axis, m.y_axis, m.z_axis), Vec3::ZERO).rotation_matrix();
            assert!((m.x_axis - back.x_axis).length() < 1e-5 && (m.z_axis - back.z_axis).length() < 1e-5, "{i}");
            assert!((m * Vec3::new(1.0, 2.0, 3.0) - q * Vec3::new(1.0, 2.0, 3.0)).length() < 1e-5);
        }
    }

    #[test]
    fn poses_chain() {
        let a = Pose::new(Quat::from_rotation_z(0.4), Vec3::new(1.0, 2.0, 3.0));
        let b = Pose::new(Quat::from_rotation_x(-1.1), Vec3::new(-0.2, 0.5, 0.0));
        let p = Vec3::new(0.3, -0.7, 0.9);
        assert!((a.then(&b).transform_point(p) - a.transform_point(b.transform_point(p))).length() < 1e-5);
    }
}
