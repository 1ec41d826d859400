//! Lens distortion: the pinhole picture is drawn a little larger and bent into place.

use super::RasterError;
use super::model::{CameraModel, LensDistortion, MAX_SIDE_PX, Pinhole};

/// For every pixel of the bent picture the place in the straight one it shows.
#[derive(Debug)]
pub(super) struct Lens {
    width: usize,
    height: usize,
    fov_rad: f32,
    distortion: LensDistortion,
    /// Size of the straight picture.
    wide: usize,
    high: usize,
    /// Index of the upper left of four pixels, and the position between them in 1/256.
    sources: Vec<(u32, [u16; 2])>,
}

impl Lens {
    /// Works out the map.
    ///
    /// # Errors
    /// The distortion folds the picture over, or asks for a straight picture beyond the size limit.
    pub fn new(camera: &CameraModel, distortion: LensDistortion) -> Result<Self, RasterError> {
        let f = f64::from(camera.focal_px());
        let (cx, cy) = (camera.width as f64 * 0.5, camera.height as f64 * 0.5);
        let refuse = |range| RasterError::OutOfRange {
            what: "lens distortion",
            value: format!("k1 {}, k2 {}", distortion.k1, distortion.k2),
            range,
        };
        // The stretch depends on the distance from the middle alone: a quarter of the picture tells all of it.
        let (half_wide, half_high) = (camera.width.div_ceil(2), camera.height.div_ceil(2));
        let mut quarter = Vec::with_capacity(half_wide * half_high);
        for y in 0..half_high {
            for x in 0..half_wide {
                let (u, v) = ((x as f64 + 0.5 - cx) / f, (y as f64 + 0.5 - cy) / f);
                quarter.push(
                    undistort(distortion, (u * u + v * v).sqrt())
                        .ok_or_else(|| refuse("small enough that the picture does not fold over at its corners"))?,
                );
            }
        }
        let mut places = Vec::with_capacity(camera.width * camera.height);
        let (mut reach_x, mut reach_y) = (cx, cy);
        for y in 0..camera.height {
            for x in 0..camera.width {
                let (u, v) = ((x as f64 + 0.5 - cx) / f, (y as f64 + 0.5 - cy) / f);
                let (mirrored_x, mirrored_y) = (x.min(camera.width - 1 - x), y.min(camera.height - 1 - y));
                let stretch = quarter[mirrored_y * half_wide + mirrored_x];
                let (sx, sy) = (u * stretch * f, v * stretch * f);
                reach_x = reach_x.max(sx.abs() + 1.0);
                reach_y = reach_y.max(sy.abs() + 1.0);
                places.push((sx, sy));
            }
        }
        // Grow by whole pixels on each side so that the grids stay aligned in the middle.
        let (grow_x, grow_y) = ((reach_x - cx).ceil() as usize + 1, (reach_y - cy).ceil() as usize + 1);
        let (wide, high) = (camera.width + 2 * grow_x, camera.height + 2 * grow_y);
        if wide.max(high) > MAX_SIDE_PX {
            return Err(refuse("small enough that the straight picture stays within 4096 pixels"));
        }
        let sources = places
            .into_iter()
            .map(|(sx, sy)| {
                let at = |s: f64, size: usize| ((s + size as f64 * 0.5 - 0.5) * 256.0).round() as usize;
                let (px, py) = (at(sx, wide), at(sy, high));
                (((py >> 8) * wide + (px >> 8)) as u32, [(px & 255) as u16, (py & 255) as u16])
            })
            .collect();
        let (width, height, fov_rad) = (camera.width, camera.height, camera.vertical_fov_rad);
        Ok(Lens { width, height, fov_rad, distortion, wide, high, sources })
    }

    /// True if this map serves the camera.
    pub fn fits(&self, camera: &CameraModel) -> bool {
        (self.width, self.height, self.fov_rad) == (camera.width, camera.height, camera.vertical_fov_rad)
            && camera.distortion == Some(self.distortion)
    }

    /// The camera of the straight picture: same focal length, more pixels around.
    pub fn pinhole(&self, camera: &CameraModel) -> Pinhole {
        let mut p = Pinhole::new(camera);
        p.ray_0 -=
            p.ray_x * ((self.wide - self.width) as f32 * 0.5) + p.ray_y * ((self.high - self.height) as f32 * 0.5);
        (p.width, p.height) = (self.wide, self.high);
        (p.centre_x_px, p.centre_y_px) = (self.wide as f32 * 0.5, self.high as f32 * 0.5);
        p
    }

    /// Bends the straight picture into place (RGB bytes, mean of four neighbours by nearness).
    pub fn warp(&self, straight: &[u8], rgb: &mut [u8]) {
        let below = self.wide * 3;
        for (pixel, (index, [fx, fy])) in rgb.chunks_exact_mut(3).zip(&self.sources) {
            let at = *index as usize * 3;
            let (fx, fy) = (u32::from(*fx), u32::from(*fy));
            for (k, out) in pixel.iter_mut().enumerate() {
                let p = |i: usize| u32::from(straight[at + k + i]);
                let upper = p(0) * (256 - fx) + p(3) * fx;
                let lower = p(below) * (256 - fx) + p(below + 3) * fx;
                *out = ((upper * (256 - fy) + lower * fy + (1 << 15)) >> 16) as u8;
            }
        }
    }
}

/// Ratio of the pinhole radius to the bent radius `bent`, by Newton's method; nothing where the lens model folds over.
fn undistort(d: LensDistortion, bent: f64) -> Option<f64> {
    let (k1, k2) = (f64::from(d.k1), f64::from(d.k2));
    let mut r = bent;
    for _ in 0..30 {
        let r2 = r * r;
        let slope = 1.0 + 3.0 * k1 * r2 + 5.0 * k2 * r2 * r2;
        if slope <= 0.05 {
            return None;
        }
        let step = (r * (1.0 + k1 * r2 + k2 * r2 * r2) - bent) / slope;
        r -= step;
        if step.abs() < 1e-12 {
            break;
        }
    }
    let r2 = r * r;
    let error = (r * (1.0 + k1 * r2 + k2 * r2 * r2) - bent).abs();
    (error < 1e-6 && r >= 0.0).then_some(if bent > 0.0 { r / bent } else { 1.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn undistorting_inverts_the_model() {
        let d = LensDistortion { k1: -0.25, k2: 0.06 };
        for i in 0..70 {
            let r = f64::from(i) * 0.01;
            let bent = r * (1.0 - 0.25 * r * r + 0.06 * r.powi(4));
            let back = bent * undistort(d, bent).unwrap();
            assert!((back - r).abs() < 1e-6, "{r} {back}");
        }
        assert!(undistort(LensDistortion { k1: -0.9, k2: 0.0 }, 0.8).is_none());
    }
}
