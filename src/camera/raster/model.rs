//! A camera: picture size, field of view, lens and pose.

use super::RasterError;
use super::pose::Pose;
use super::scalar::tan;
use bevy::math::{Mat3, Vec3};

/// Largest picture side in pixels.
pub(super) const MAX_SIDE_PX: usize = 4096;

/// Radial lens distortion in the convention of OpenCV: a ray that a pinhole would see at radius `r` (in units of the focal
/// length) is seen at `r * (1 + k1 r^2 + k2 r^4)`. Barrel distortion has a negative `k1`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LensDistortion {
    /// Quadratic coefficient.
    pub k1: f32,
    /// Quartic coefficient.
    pub k2: f32,
}

/// A pinhole camera with optional lens distortion. Pixel (0, 0) is the top left; the optical axis goes through the middle of
/// the picture; pixels are square.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CameraModel {
    /// Columns in pixels, 1 to 4096.
    pub width: usize,
    /// Rows in pixels, 1 to 4096.
    pub height: usize,
    /// Full vertical field of view of the pinhole in radians, between 0.02 and 2.8.
    pub vertical_fov_rad: f32,
    /// Lens distortion, if any.
    pub distortion: Option<LensDistortion>,
    /// Pose in the world; the camera's axes are x right, y down, z forward (optical convention).
    pub world_from_camera: Pose,
}

impl CameraModel {
    /// A camera at `eye` that looks to `target` with the world's z up in the picture.
    ///
    /// # Errors
    /// Eye and target coincide or lie above each other (then use [`Pose::look_at`] with another up vector).
    pub fn look_at(
        width: usize,
        height: usize,
        vertical_fov_rad: f32,
        eye: Vec3,
        target: Vec3,
    ) -> Result<Self, RasterError> {
        let world_from_camera = Pose::look_at(eye, target, Vec3::Z)?;
        Ok(CameraModel { width, height, vertical_fov_rad, distortion: None, world_from_camera })
    }

    /// Bytes of one RGB picture.
    pub fn rgb_bytes(&self) -> usize {
        self.width * self.height * 3
    }

    /// Focal length in pixels.
    pub fn focal_px(&self) -> f32 {
        (self.height as f64 * 0.5 / tan(f64::from(self.vertical_fov_rad) * 0.5)) as f32
    }

    /// Where the pinhole (without distortion) sees a world point, in pixels from the top left corner of the picture, and its
    /// depth along the optical axis in metres; nothing for points behind the camera.
    pub fn project(&self, world_point: Vec3) -> Option<(f32, f32, f32)> {
        let m = self.world_from_camera.rotation_matrix();
        let d = world_point - self.world_from_camera.translation;
        let (x, y, z) = (m.x_axis.dot(d), m.y_axis.dot(d), m.z_axis.dot(d));
        let f = self.focal_px();
        (z > 0.0).then(|| (self.width as f32 * 0.5 + f * x / z, self.height as f32 * 0.5 + f * y / z, z))
    }

    /// Checks every range.
    pub(super) fn validate(&self) -> Result<(), RasterError> {
        for (what, side) in [("camera width", self.width), ("camera height", self.height)] {
            if !(1..=MAX_SIDE_PX).contains(&side) {
                return Err(RasterError::OutOfRange { what, value: side.to_string(), range: "1 to 4096 pixels" });
            }
        }
        if !(0.02..=2.8).contains(&self.vertical_fov_rad) {
            return Err(RasterError::OutOfRange {
                what: "vertical field of view",
                value: format!("{} rad", self.vertical_fov_rad),
                range: "0.02 to 2.8 rad",
            });
        }
        if let Some(d) = self.distortion
            && !(d.k1.abs() <= 1.0 && d.k2.abs() <= 1.0)
        {
            return Err(RasterError::OutOfRange {
                what: "lens distortion",
                value: format!("k1 {}, k2 {}", d.k1, d.k2),
                range: "-1 to 1 each",
            });
        }
        if !self.world_from_camera.is_usable() {
            return Err(RasterError::NotFinite { what: "pose of a camera".into() });
        }
        Ok(())
    }
}

/// A validated pinhole in the form the drawing loops use.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pinhole {
    pub width: usize,
    pub height: usize,
    pub focal_px: f32,
    pub centre_x_px: f32,
    pub centre_y_px: f32,
    /// Columns: the camera's right, down and forward in the world.
    pub world_from_camera: Mat3,
    pub eye: Vec3,
    /// World direction of the ray through pixel position (x, y): `ray_0 + x * ray_x + y * ray_y`; depth one along the axis.
    pub ray_0: Vec3,
    pub ray_x: Vec3,
    pub ray_y: Vec3,
}

impl Pinhole {
    /// The camera without its lens.
    pub fn new(camera: &CameraModel) -> Self {
        let world_from_camera = camera.world_from_camera.rotation_matrix();
        let focal_px = camera.focal_px();
        let (cx, cy) = (camera.width as f32 * 0.5, camera.height as f32 * 0.5);
        let ray_x = world_from_camera.x_axis * (1.0 / focal_px);
        let ray_y = world_from_camera.y_axis * (1.0 / focal_px);
        Pinhole {
            width: camera.width,
            height: camera.height,
            focal_px,
            centre_x_px: cx,
            centre_y_px: cy,
            world_from_camera,
            eye: camera.world_from_camera.translation,
            ray_0: world_from_camera.z_axis - ray_x * cx - ray_y * cy,
            ray_x,
            ray_y,
        }
    }

    /// A world point in the camera's frame.
    pub fn camera_from_world(&self, p: Vec3) -> Vec3 {
        let d = p - self.eye;
        let m = &self.world_from_camera;
        Vec3::new(m.x_axis.dot(d), m.y_axis.dot(d), m.z_axis.dot(d))
    }

    /// True unless a sphere is surely outside the view.
    pub fn may_see_sphere(&self, centre: Vec3, radius: f32, near_m: f32) -> bool {
        let c = self.camera_from_world(centre);
        if c.z + radius < near_m {
            return false;
        }
        // Side planes through the eye: |x| <= z * half width / focal length, and the same for y.
        let outside = |across: f32, half_px: f32| {
            let f = self.focal_px;
            across.abs() * f - c.z * half_px > radius * (f * f + half_px * half_px).sqrt()
        };
        !(outside(c.x, self.centre_x_px + 1.0) || outside(c.y, self.centre_y_px + 1.0))
    }
}
