//! The table's fine structure: one tileable grey texture with smaller versions for the distance, made of integer-hash noise.

use super::lanes::{F8, I8, LANES};
use super::scalar::{clamp, floor_i32, hash, max};
use super::scene::TablePattern;
use std::sync::{Arc, Mutex, PoisonError};

/// Texels along one side of the finest level.
const SIDE: usize = 512;
/// Texels per metre at the finest level; the texture repeats every 0.512 m.
pub(super) const TEXELS_PER_M: f32 = 1000.0;
/// Levels, each half the size of the one before.
const LEVELS: usize = 8;

/// Textures kept once they are made. A world that differs from the one before costs no texture then, as long as there are not
/// more of them; each takes 1.4 MB.
const KEPT: usize = 48;

/// The texture: 0 is the table's first colour, 255 its second.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Texture {
    /// Each entry holds the texel, its right, its lower and its lower right neighbour, lowest byte first.
    levels: Vec<Vec<i32>>,
}

/// A texture with what it was made from.
type KeptTexture = (TablePattern, u32, Arc<Texture>);

impl Texture {
    /// The texture of a pattern and seed, made when it is first asked for. Plain and checkered ones have no seed.
    pub fn shared(pattern: TablePattern, seed: u32) -> Arc<Texture> {
        static TEXTURES: Mutex<Vec<KeptTexture>> = Mutex::new(Vec::new());
        let seed = match pattern {
            TablePattern::Plain | TablePattern::Checker(_) => 0,
            TablePattern::Wood | TablePattern::Mottled => seed,
        };
        // A texture is pushed whole: a panic elsewhere leaves the list as good as before.
        let mut kept = TEXTURES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, _, texture)) = kept.iter().find(|(p, s, _)| (*p, *s) == (pattern, seed)) {
            return texture.clone();
        }
        let texture = Arc::new(Texture::new(pattern, seed));
        if kept.len() >= KEPT {
            kept.remove(0);
        }
        kept.push((pattern, seed, texture.clone()));
        texture
    }

    pub fn new(pattern: TablePattern, seed: u32) -> Self {
        let mut finest = vec![0u8; SIDE * SIDE];
        for y in 0..SIDE {
            for x in 0..SIDE {
                let value = match pattern {
                    TablePattern::Plain => 0.0,
                    TablePattern::Wood => wood(x as i32, y as i32, seed),
                    TablePattern::Mottled => mottled(x as i32, y as i32, seed),
                    TablePattern::Checker(side_m) => {
                        let square = |i: usize| ((i as f32 + 0.5) / (side_m * TEXELS_PER_M)) as u32;
                        ((square(x) + square(y)) & 1) as f32
                    }
                };
                finest[y * SIDE + x] = (clamp(value, 0.0, 1.0) * 255.0 + 0.5) as u8;
            }
        }
        let mut levels = vec![finest];
        for level in 1..LEVELS {
            let (side, above) = (SIDE >> level, &levels[level - 1]);
            let wide = side * 2;
            let mean = |i: usize| {
                let at = (i / side) * 2 * wide + (i % side) * 2;
                let four = [above[at], above[at + 1], above[at + wide], above[at + wide + 1]];
                (four.into_iter().map(u16::from).sum::<u16>() / 4) as u8
            };
            let next = (0..side * side).map(mean).collect();
            levels.push(next);
        }
        let fours = levels.iter().enumerate().map(|(level, texels)| {
            let side = SIDE >> level;
            let at = |x: usize, y: usize| u32::from(texels[y % side * side + x % side]);
            let four = |i: usize| {
                let (x, y) = (i % side, i / side);
                (at(x, y) | at(x + 1, y) << 8 | at(x, y + 1) << 16 | at(x + 1, y + 1) << 24) as i32
            };
            (0..texels.len()).map(four).collect()
        });
        Texture { levels: fours.collect() }
    }

    /// Values 0 to 1 at eight neighbouring table positions in metres; `footprint_m` is the size of a pixel there.
    #[inline(always)]
    pub fn sample<V: F8>(&self, x_m: V, y_m: V, footprint_m: V) -> V {
        // One pair of levels serves all eight; between them each pixel takes its own mixture.
        let ends = footprint_m.store();
        let texels = clamp(max(ends[0], ends[LANES - 1]) * TEXELS_PER_M, 1e-3, 1e6);
        if texels <= 1.0 {
            return self.bilinear::<V>(0, x_m, y_m);
        }
        let level = ((texels.to_bits() >> 23) - 127) as usize;
        if level + 1 >= LEVELS {
            return self.bilinear::<V>(LEVELS - 1, x_m, y_m);
        }
        let scale = TEXELS_PER_M / (1u32 << level) as f32;
        let share = (footprint_m * V::splat(scale) - V::splat(1.0)).clamp(0.0, 1.0);
        self.bilinear::<V>(level, x_m, y_m).mix(self.bilinear::<V>(level + 1, x_m, y_m), share)
    }

    #[inline(always)]
    fn bilinear<V: F8>(&self, level: usize, x_m: V, y_m: V) -> V {
        let shift = 9 - level as u32;
        let (mask, side) = (V::I::splat((1i32 << shift) - 1), V::splat((1u32 << shift) as f32));
        let per_m = V::splat(TEXELS_PER_M / (1u32 << level) as f32);
        let (u, v) = ((x_m * per_m).clamp(-1e6, 1e6) - V::splat(0.5), (y_m * per_m).clamp(-1e6, 1e6) - V::splat(0.5));
        let (i, j) = (u.floor(), v.floor());
        let (fu, fv) = (u - i.to_f(), v - j.to_f());
        // Whole numbers far below 2^24: the product and the sum are exact.
        let at = (j.and(mask).to_f() * side + i.and(mask).to_f()).round();
        let (four, byte) = (V::I::gather(&self.levels[level], at), V::I::splat(255));
        let (a, b) = (four.and(byte).to_f(), four.sra::<8>().and(byte).to_f());
        let (c, d) = (four.sra::<16>().and(byte).to_f(), four.sra::<24>().and(byte).to_f());
        let (upper, lower) = (a.mix(b, fu), c.mix(d, fu));
        upper.mix(lower, fv) * V::splat(1.0 / 255.0)
    }
}

/// Smooth noise 0 to 1 that repeats every 512 texels; the lattice has `nx` by `ny` points.
fn noise(x: i32, y: i32, nx: i32, ny: i32, seed: u32) -> f32 {
    let (u, v) = (x as f32 * nx as f32 / SIDE as f32, y as f32 * ny as f32 / SIDE as f32);
    let (i, j) = (floor_i32(u), floor_i32(v));
    let ease = |t: f32| t * t * (3.0 - 2.0 * t);
    let (fu, fv) = (ease(u - i as f32), ease(v - j as f32));
    let at = |i: i32, j: i32| {
        let cell = (j.rem_euclid(ny) as u32) << 16 | i.rem_euclid(nx) as u32;
        (hash(cell ^ seed.wrapping_mul(0x9e37_79b9)) >> 8) as f32 * (1.0 / 16_777_216.0)
    };
    let a = at(i, j) + (at(i + 1, j) - at(i, j)) * fu;
    let b = at(i, j + 1) + (at(i + 1, j + 1) - at(i, j + 1)) * fu;
    a + (b - a) * fv
}

/// Planks along x, 128 mm wide, each with its own tone and grain.
fn wood(x: i32, y: i32, seed: u32) -> f32 {
    const PLANK: i32 = 128;
    let plank = y.div_euclid(PLANK);
    let own = hash(plank as u32 ^ seed.wrapping_mul(0x85eb_ca6b));
    let tone = (own & 255) as f32 * (1.0 / 255.0);
    let shifted = (x + (own >> 8 & 511) as i32).rem_euclid(SIDE as i32);
    let seed = seed ^ own;
    // Growth rings: long waves along the plank bend fine lines across it.
    let bend = noise(shifted, y, 3, 12, seed) * 2.2 + noise(shifted, y, 8, 24, seed ^ 7) * 0.5;
    let ring = y as f32 * (1.0 / 15.0) + bend * 2.0;
    let saw = ring - floor_i32(ring) as f32;
    let ring = saw * saw * (3.0 - 2.0 * saw) * (1.0 - clamp((saw - 0.86) * 7.0, 0.0, 1.0));
    let fibre = noise(shifted, y, 24, 256, seed ^ 1) * 0.6 + noise(shifted, y, 64, 512, seed ^ 2) * 0.4;
    let cloud = noise(shifted, y, 4, 8, seed ^ 3);
    let seam = if y.rem_euclid(PLANK) == 0 { 0.55 } else { 0.0 };
    0.10 + 0.20 * tone + 0.24 * ring + 0.26 * (fibre - 0.5) + 0.22 * (cloud - 0.3) + seam
}

/// Fine speckle over soft clouds.
fn mottled(x: i32, y: i32, seed: u32) -> f32 {
    0.45 * noise(x, y, 256, 256, seed) + 0.3 * noise(x, y, 64, 64, seed ^ 1) + 0.25 * noise(x, y, 6, 6, seed ^ 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::raster::lanes::Base;

    #[test]
    fn the_texture_repeats_and_fades_to_its_mean() {
        let t = Texture::new(TablePattern::Wood, 3);
        let period = SIDE as f32 / TEXELS_PER_M;
        let at = |t: &Texture, x: f32, y: f32, size: f32| {
            t.sample(Base::splat(x), Base::splat(y), Base::splat(size)).store()[3]
        };
        for (x, y) in [(0.013, 0.4), (-0.2, 0.01), (0.511, 0.257)] {
            assert!((at(&t, x, y, 0.0) - at(&t, x + period, y - period, 0.0)).abs() < 0.01);
        }
        let checker = Texture::new(TablePattern::Checker(0.016), 0);
        assert_eq!((at(&checker, 0.008, 0.008, 0.0), at(&checker, 0.024, 0.008, 0.0)), (0.0, 1.0));
        assert!((at(&checker, 0.1, 0.2, 0.3) - 0.5).abs() < 0.02);
    }
}
