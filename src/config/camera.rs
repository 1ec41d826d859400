//! Cameras of a scene.

use super::{Problems, Validate};
use serde::{Deserialize, Serialize};

/// A camera: where it is, where it looks, how large its picture is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CameraConfig {
    /// Its name; recorded pictures are called `observation.images.NAME`.
    pub name: String,
    /// What it is fixed to.
    pub mount: CameraMount,
    /// Its place in the mount's frame, m.
    pub position_m: (f32, f32, f32),
    /// A point it looks at, in the mount's frame, m.
    pub look_at_m: (f32, f32, f32),
    /// Which way is up in the picture, in the mount's frame; need not be a unit vector.
    pub up: (f32, f32, f32),
    /// Full vertical field of view, degrees.
    pub vertical_fov_deg: f32,
    /// Width of the picture, pixels.
    pub width: u32,
    /// Height of the picture, pixels.
    pub height: u32,
    /// Its lens; without it an ideal one.
    #[serde(default)]
    pub lens: Option<LensConfig>,
    /// Its image sensor; without it an ideal one.
    #[serde(default)]
    pub sensor: Option<SensorConfig>,
}

/// Radial distortion as OpenCV counts it: a ray at radius r, in focal lengths, is seen at `r * (1 + k1 r^2 + k2 r^4)`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LensConfig {
    /// Quadratic coefficient; barrel distortion is negative.
    pub k1: f32,
    /// Quartic coefficient.
    pub k2: f32,
}

/// What an image sensor does to the light.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SensorConfig {
    /// Factor on the light, 1 is normal.
    pub exposure: f32,
    /// Factor on red, green and blue.
    pub white_balance: (f32, f32, f32),
    /// Standard deviation of the noise, byte values.
    pub noise: f32,
    /// Blur, pixels (standard deviation).
    pub blur_px: f32,
    /// Seed of the noise; with tick and pixel it decides every value.
    pub seed: u32,
}

/// What a camera is fixed to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum CameraMount {
    /// The table.
    World,
    /// The arm's hand: the link that carries the gripper's joint.
    Hand,
}

impl Validate for CameraConfig {
    fn validate(&self, problems: &mut Problems) {
        let (p, t, u) = (self.position_m, self.look_at_m, self.up);
        for (key, vector) in [("position_m", p), ("look_at_m", t), ("up", u)] {
            for value in [vector.0, vector.1, vector.2] {
                problems.range(key, f64::from(value), -5.0, 5.0, if key == "up" { "" } else { "m" });
            }
        }
        let sight = [t.0 - p.0, t.1 - p.1, t.2 - p.2];
        let across =
            [sight[1] * u.2 - sight[2] * u.1, sight[2] * u.0 - sight[0] * u.2, sight[0] * u.1 - sight[1] * u.0];
        let length = |v: [f32; 3]| v.iter().map(|x| x * x).sum::<f32>().sqrt();
        if length(sight) < 1e-4 {
            problems.report("look_at_m", "it is where the camera is", "give another point");
        } else if length(across) < 1e-4 * length(sight) {
            problems.report("up", "it points along the line of sight", "give another direction");
        }
        problems.range("vertical_fov_deg", f64::from(self.vertical_fov_deg), 2.0, 160.0, "degrees");
        problems.range("width", f64::from(self.width), 8.0, 4096.0, "pixels");
        problems.range("height", f64::from(self.height), 8.0, 4096.0, "pixels");
        if let Some(lens) = &self.lens {
            problems.within("lens", |problems| {
                problems.range("k1", lens.k1.into(), -0.3, 0.3, "");
                problems.range("k2", lens.k2.into(), -0.1, 0.1, "");
            });
        }
        if let Some(sensor) = &self.sensor {
            problems.within("sensor", |problems| {
                problems.range("exposure", sensor.exposure.into(), 0.05, 8.0, "");
                for gain in [sensor.white_balance.0, sensor.white_balance.1, sensor.white_balance.2] {
                    problems.range("white_balance", gain.into(), 0.25, 2.0, "");
                }
                problems.range("noise", sensor.noise.into(), 0.0, 32.0, "byte values");
                problems.range("blur_px", sensor.blur_px.into(), 0.0, 0.8, "pixels");
            });
        }
    }
}
