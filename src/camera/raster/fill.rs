//! Filling triangles into a depth buffer, exactly: integer edge functions with 1/256 pixel, every sample on a shared edge
//! belongs to one triangle.
//!
//! A picture has four samples a pixel that share no row and no column (a rotated grid); they lie side by side in memory, so
//! that one vector of eight holds two pixels. The shadow map has one sample a pixel, eight pixels to a vector.

use super::lanes::{F8, I8, LANES, three};
use super::scalar::{max, min};

/// Sub-pixel steps per pixel.
pub(super) const SUBPIXELS: i32 = 256;
/// A vertex farther than this from the picture's corner is clipped first, so that edge functions cannot overflow.
pub(super) const GUARD_PX: f32 = 8192.0;
/// Triangles wider or higher than this many pixels are filled by exact spans in 64 bits instead of 32.
const SMALL_PX: i32 = 100;
/// Position of the four samples in their pixel, in subpixels.
const X_4: [i32; 4] = [96, 224, 32, 160];
/// See [`X_4`].
const Y_4: [i32; 4] = [32, 96, 160, 224];
/// Position of the four samples in their pixel, in pixels.
pub(super) const SAMPLE_X_PX: [f32; 4] = [0.375, 0.875, 0.125, 0.625];
/// See [`SAMPLE_X_PX`].
pub(super) const SAMPLE_Y_PX: [f32; 4] = [0.125, 0.375, 0.625, 0.875];

/// Unit of [`lane_positions`] in subpixels, as a binary logarithm.
const fn lane_unit(samples: usize) -> i32 {
    if samples == 4 { 5 } else { 7 }
}

/// Position of each lane's sample relative to the first pixel of a vector, in units of 32 subpixels with four samples and of
/// 128 with one.
const fn lane_positions(samples: usize) -> [[f32; LANES]; 2] {
    let mut at = [[0.0; LANES]; 2];
    let mut l = 0;
    while l < LANES {
        let unit = 1 << lane_unit(samples);
        (at[0][l], at[1][l]) = if samples == 4 {
            ((((l / 4) as i32 * SUBPIXELS + X_4[l % 4]) / unit) as f32, (Y_4[l % 4] / unit) as f32)
        } else {
            (((l as i32 * SUBPIXELS + 128) / unit) as f32, (128 / unit) as f32)
        };
        l += 1;
    }
    at
}

/// Position of sample number `sample` in its pixel, in subpixels.
#[inline(always)]
fn sample_position<const SAMPLES: usize>(sample: usize) -> (i32, i32) {
    if SAMPLES == 4 { (X_4[sample], Y_4[sample]) } else { (128, 128) }
}

/// A vertex on the screen: position in subpixels and the value the depth test compares (larger wins).
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ScreenVertex {
    pub x: i32,
    pub y: i32,
    pub depth: f32,
}

/// Depth and triangle number per sample.
#[derive(Debug, Default)]
pub(super) struct DepthBuffer {
    /// Pixel row of the picture that the first row of the buffer holds.
    pub first_row: usize,
    /// Rows held.
    pub rows: usize,
    /// Samples from one pixel row to the next; larger than the width needs by at least one vector.
    pub stride: usize,
    pub depth: Vec<f32>,
    pub ids: Vec<i32>,
}

impl DepthBuffer {
    /// Samples from one row to the next for a width in pixels: room for a vector beyond the last column.
    pub const fn stride<const SAMPLES: usize>(width: usize) -> usize {
        (width.next_multiple_of(16) + 16) * SAMPLES
    }

    /// Makes room; the contents are undefined until cleared.
    pub fn resize<const SAMPLES: usize>(&mut self, width: usize, rows: usize, with_ids: bool) {
        self.first_row = 0;
        self.rows = rows;
        self.stride = Self::stride::<SAMPLES>(width);
        self.depth.resize(self.stride * rows, 0.0);
        self.ids.resize(if with_ids { self.stride * rows } else { 0 }, 0);
    }

    /// Index of the first sample of a pixel.
    #[inline(always)]
    pub fn index<const SAMPLES: usize>(&self, x: usize, y: usize) -> usize {
        (y - self.first_row) * self.stride + x * SAMPLES
    }
}

/// The pixels a triangle can touch, all bounds inclusive.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    pub x0: i32,
    pub x1: i32,
    pub y0: i32,
    pub y1: i32,
}

/// A triangle ready to be filled.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prepared {
    v: [ScreenVertex; 3],
    area: i64,
    pub extent: Extent,
}

/// False for triangles that face away or surely miss every sample; the first step of [`prepare`] without branches, for going
/// through all triangles of a mesh fast.
#[inline(always)]
pub(super) fn may_cover<const SAMPLES: usize>(
    width: usize,
    height: usize,
    a: ScreenVertex,
    b: ScreenVertex,
    c: ScreenVertex,
) -> bool {
    let area = i64::from(b.x - a.x) * i64::from(c.y - a.y) - i64::from(c.x - a.x) * i64::from(b.y - a.y);
    let e = extent::<SAMPLES>(width, height, a, b, c);
    (area < 0) & (e.x0 <= e.x1) & (e.y0 <= e.y1)
}

/// The pixels whose samples lie within the bounds of a triangle.
#[inline(always)]
fn extent<const SAMPLES: usize>(
    width: usize,
    height: usize,
    a: ScreenVertex,
    b: ScreenVertex,
    c: ScreenVertex,
) -> Extent {
    let (low_x, high_x) = (a.x.min(b.x).min(c.x), a.x.max(b.x).max(c.x));
    let (low_y, high_y) = (a.y.min(b.y).min(c.y), a.y.max(b.y).max(c.y));
    // Samples lie at 32..=224 of a pixel's 256 subpixels with four samples, at 128 with one.
    let (first, last) = if SAMPLES == 4 { (32, 224) } else { (128, 128) };
    Extent {
        x0: ((low_x - last + SUBPIXELS - 1) >> 8).max(0),
        x1: ((high_x - first) >> 8).min(width as i32 - 1),
        y0: ((low_y - last + SUBPIXELS - 1) >> 8).max(0),
        y1: ((high_y - first) >> 8).min(height as i32 - 1),
    }
}

/// Discards triangles that face away or miss every sample. Triangles seen from the front run counter-clockwise on screen.
#[inline(always)]
pub(super) fn prepare<const SAMPLES: usize>(
    width: usize,
    height: usize,
    a: ScreenVertex,
    b: ScreenVertex,
    c: ScreenVertex,
) -> Option<Prepared> {
    // With y down, counter-clockwise is a negative area; swap two corners to make it positive.
    let (b, c) = (c, b);
    let area = i64::from(b.x - a.x) * i64::from(c.y - a.y) - i64::from(c.x - a.x) * i64::from(b.y - a.y);
    if area <= 0 {
        return None;
    }
    let extent = extent::<SAMPLES>(width, height, a, b, c);
    if extent.x0 > extent.x1 || extent.y0 > extent.y1 {
        return None;
    }
    Some(Prepared { v: [a, b, c], area, extent })
}

/// Coefficients of a triangle that all rows share.
struct Setup {
    /// Change of each edge function per subpixel.
    dx: [i32; 3],
    dy: [i32; 3],
    /// 0 if samples exactly on the edge belong to this triangle, else -1.
    bias: [i32; 3],
    depth_dx: f32,
    depth_dy: f32,
    depth_min: f32,
    depth_max: f32,
}

#[inline(always)]
fn setup(t: &Prepared) -> Setup {
    let [a, b, c] = t.v;
    let inverse = 1.0 / t.area as f32;
    let (ax, ay) = ((b.x - a.x) as f32, (b.y - a.y) as f32);
    let (bx, by) = ((c.x - a.x) as f32, (c.y - a.y) as f32);
    let (da, db) = (b.depth - a.depth, c.depth - a.depth);
    let dx = [b.y - c.y, c.y - a.y, a.y - b.y];
    let dy = [c.x - b.x, a.x - c.x, b.x - a.x];
    Setup {
        dx,
        dy,
        // Top edges run to the right (dx = 0, dy > 0), left edges upwards (dx > 0).
        bias: three!(k => if dx[k] > 0 || (dx[k] == 0 && dy[k] > 0) { 0 } else { -1 }),
        depth_dx: (da * by - db * ay) * inverse,
        depth_dy: (db * ax - da * bx) * inverse,
        depth_min: min(min(a.depth, b.depth), c.depth),
        depth_max: max(max(a.depth, b.depth), c.depth),
    }
}

/// Writes the triangle where it is nearer (larger depth value) than what is there, in the rows that the buffer holds.
#[inline(always)]
pub(super) fn fill<V: F8, const SAMPLES: usize, const IDS: bool>(buffer: &mut DepthBuffer, t: &Prepared, id: u32) {
    let mut t = *t;
    t.extent.y0 = t.extent.y0.max(buffer.first_row as i32);
    t.extent.y1 = t.extent.y1.min((buffer.first_row + buffer.rows) as i32 - 1);
    let t = &t;
    let s = setup(t);
    let wide = t.v.iter().any(|p| {
        let q = &t.v[0];
        (p.x - q.x).abs() >= SMALL_PX * 128 || (p.y - q.y).abs() >= SMALL_PX * 128
    });
    if wide {
        fill_spans::<V, SAMPLES, IDS>(buffer, t, &s, id);
    } else {
        fill_small::<V, SAMPLES, IDS>(buffer, t, &s, id);
    }
}

/// Depth values of a vector's samples relative to the first pixel's corner.
#[inline(always)]
fn lane_depths<V: F8, const SAMPLES: usize>(s: &Setup) -> V {
    let [x, y] = const { lane_positions(SAMPLES) };
    let unit = const { (1 << lane_unit(SAMPLES)) as f32 };
    V::load(&x) * V::splat(s.depth_dx * unit) + V::load(&y) * V::splat(s.depth_dy * unit)
}

/// Writes `z` where it is nearer and the lane is not `outside`.
#[inline(always)]
fn write<V: F8, const IDS: bool>(buffer: &mut DepthBuffer, at: usize, z: V, outside: V::I, id: V::I) {
    let Some(line) = buffer.depth[at..].first_chunk_mut::<LANES>() else { return };
    let old = V::load(line);
    let nearer = old.lt(z).without(outside);
    *line = nearer.pick(z, old).store();
    if IDS && let Some(line) = buffer.ids[at..].first_chunk_mut::<LANES>() {
        *line = nearer.pick_i(id, V::I::load(line)).store();
    }
}

/// Tests every sample of the extent, eight at a time.
#[inline(always)]
fn fill_small<V: F8, const SAMPLES: usize, const IDS: bool>(
    buffer: &mut DepthBuffer,
    t: &Prepared,
    s: &Setup,
    id: u32,
) {
    let step = LANES / SAMPLES;
    let e = t.extent;
    let origins = [t.v[1], t.v[2], t.v[0]];
    let [lane_x, lane_y] = const { lane_positions(SAMPLES) };
    let (corner_x, corner_y) = (e.x0 * SUBPIXELS, e.y0 * SUBPIXELS);
    let (lane_x, lane_y) = (V::load(&lane_x), V::load(&lane_y));
    // Small triangles: the products are whole numbers below 2^24 and so exact.
    let mut row: [V::I; 3] = three!(k => {
        let corner = s.dx[k] * (corner_x - origins[k].x) + s.dy[k] * (corner_y - origins[k].y) + s.bias[k];
        let lanes = (V::splat(s.dx[k] as f32) * lane_x + V::splat(s.dy[k] as f32) * lane_y).round();
        let lanes = if SAMPLES == 4 { lanes.shl::<{ lane_unit(4) }>() } else { lanes.shl::<{ lane_unit(1) }>() };
        lanes + V::I::splat(corner)
    });
    let along: [V::I; 3] = three!(k => V::I::splat(s.dx[k] * (SUBPIXELS * step as i32)));
    let down: [V::I; 3] = three!(k => V::I::splat(s.dy[k] * SUBPIXELS));
    let corner = t.v[0].depth + s.depth_dx * (corner_x - t.v[0].x) as f32 + s.depth_dy * (corner_y - t.v[0].y) as f32;
    let lane_depth = V::splat(corner) + lane_depths::<V, SAMPLES>(s);
    let (low, high, id) = (V::splat(s.depth_min), V::splat(s.depth_max), V::I::splat(id as i32));
    let vectors = (e.x1 - e.x0) as usize / step + 1;
    let mut start = buffer.index::<SAMPLES>(e.x0 as usize, e.y0 as usize);
    if vectors == 1 {
        // Most triangles: one vector a row. Writing nothing costs less than guessing wrong whether there is something.
        let mut z = lane_depth;
        let depth_down = V::splat(s.depth_dy * 256.0);
        for _ in e.y0..=e.y1 {
            let outside = row[0].or(row[1]).or(row[2]).sra::<31>();
            write::<V, IDS>(buffer, start, z.min(high).max(low), outside, id);
            row = three!(k => row[k] + down[k]);
            z = z + depth_down;
            start += buffer.stride;
        }
        return;
    }
    for y in 0..=e.y1 - e.y0 {
        let mut edge = row;
        for i in 0..vectors {
            let outside = edge[0].or(edge[1]).or(edge[2]).sra::<31>();
            if outside.bits() != 255 {
                let shift = s.depth_dx * ((i * step) as f32 * 256.0) + s.depth_dy * (y as f32 * 256.0);
                let z = (lane_depth + V::splat(shift)).min(high).max(low);
                write::<V, IDS>(buffer, start + i * LANES, z, outside, id);
            }
            edge = three!(k => edge[k] + along[k]);
        }
        row = three!(k => row[k] + down[k]);
        start += buffer.stride;
    }
}

/// Finds the first and last pixel of every sample of a row exactly, then fills between them.
#[inline(always)]
fn fill_spans<V: F8, const SAMPLES: usize, const IDS: bool>(
    buffer: &mut DepthBuffer,
    t: &Prepared,
    s: &Setup,
    id: u32,
) {
    let step = LANES / SAMPLES;
    let e = t.extent;
    let origins = [t.v[1], t.v[2], t.v[0]];
    let lane_depth = lane_depths::<V, SAMPLES>(s);
    let (low, high, id) = (V::splat(s.depth_min), V::splat(s.depth_max), V::I::splat(id as i32));
    // Edge functions at pixel column 0, as multiples of their change per pixel and what is left: inside where
    // at_0 + step * x >= 0. From row to row they change by the same amount, which saves dividing again.
    let steps: [i64; 3] = three!(k => i64::from(s.dx[k]) * i64::from(SUBPIXELS));
    let divided = |value: i64, k: usize| match steps[k].abs() {
        0 => [0, value],
        step => [value.div_euclid(step), value.rem_euclid(step)],
    };
    let down: [[i64; 2]; 3] = three!(k => divided(i64::from(s.dy[k]) * i64::from(SUBPIXELS), k));
    let mut at_0 = [[[0i64; 2]; 3]; SAMPLES];
    for (sample, at_0) in at_0.iter_mut().enumerate() {
        let (sample_x, sample_y) = sample_position::<SAMPLES>(sample);
        *at_0 = three!(k => {
            let across = i64::from(s.dx[k]) * i64::from(sample_x - origins[k].x);
            let along = i64::from(s.dy[k]) * i64::from(e.y0 * SUBPIXELS + sample_y - origins[k].y);
            divided(across + along + i64::from(s.bias[k]), k)
        });
    }
    for y in e.y0..=e.y1 {
        let (mut first, mut last) = ([e.x0; LANES], [e.x1; LANES]);
        for (sample, at_0) in at_0.iter_mut().enumerate() {
            let (mut x0, mut x1) = (i64::from(e.x0), i64::from(e.x1));
            for k in 0..3 {
                let [whole, rest] = at_0[k];
                if steps[k] > 0 {
                    x0 = x0.max(-whole);
                } else if steps[k] < 0 {
                    x1 = x1.min(whole);
                } else if rest < 0 {
                    x1 = -1;
                }
                let carry = i64::from(steps[k] != 0 && rest + down[k][1] >= steps[k].abs());
                at_0[k] = [whole + down[k][0] + carry, rest + down[k][1] - carry * steps[k].abs()];
            }
            for l in (sample..LANES).step_by(SAMPLES) {
                (first[l], last[l]) = (x0 as i32, x1 as i32);
            }
        }
        let from = first.into_iter().fold(i32::MAX, i32::min);
        let to = last.into_iter().fold(-1, i32::max);
        let (mut after_first, mut before_last) = ([0; LANES], [0; LANES]);
        for l in 0..LANES {
            // Negative outside the span of the lane's sample.
            let pixel = from + (l / SAMPLES) as i32;
            (after_first[l], before_last[l]) = (pixel - first[l], last[l] - pixel);
        }
        let (mut after, mut before) = (V::I::load(&after_first), V::I::load(&before_last));
        let start = buffer.index::<SAMPLES>(0, y as usize);
        let row = t.v[0].depth + s.depth_dy * (y * SUBPIXELS - t.v[0].y) as f32;
        let mut x = from;
        while x <= to {
            let shift = row + s.depth_dx * (x * SUBPIXELS - t.v[0].x) as f32;
            let z = (lane_depth + V::splat(shift)).min(high).max(low);
            write::<V, IDS>(buffer, start + x as usize * SAMPLES, z, after.or(before).sra::<31>(), id);
            after = after + V::I::splat(step as i32);
            before = before + V::I::splat(-(step as i32));
            x += step as i32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::raster::lanes::Base;

    fn vertex(x_px: f32, y_px: f32, depth: f32) -> ScreenVertex {
        ScreenVertex { x: (x_px * 256.0) as i32, y: (y_px * 256.0) as i32, depth }
    }

    fn draw<const S: usize>(size: usize, triangles: &[[ScreenVertex; 3]]) -> Vec<u32> {
        let mut buffer = DepthBuffer::default();
        buffer.resize::<S>(size, size, true);
        buffer.depth.fill(-1.0);
        let mut hits = vec![0; size * size * S];
        for (i, &[a, b, c]) in triangles.iter().enumerate() {
            buffer.depth.fill(-1.0);
            if let Some(t) = prepare::<S>(size, size, a, b, c) {
                fill::<Base, S, true>(&mut buffer, &t, i as u32 + 1);
            }
            for (row, line) in buffer.depth.chunks(buffer.stride).enumerate() {
                for x in 0..size * S {
                    hits[row * size * S + x] += u32::from(line[x] >= 0.0);
                }
            }
        }
        hits
    }

    /// A fan of triangles around a point, all facing the camera (counter-clockwise on a screen with y down).
    fn fan(centre: (f32, f32), rim: &[(f32, f32)]) -> Vec<[ScreenVertex; 3]> {
        (0..rim.len())
            .map(|i| {
                let (p, q) = (rim[i], rim[(i + 1) % rim.len()]);
                [vertex(centre.0, centre.1, 1.0), vertex(q.0, q.1, 1.0), vertex(p.0, p.1, 1.0)]
            })
            .collect()
    }

    #[test]
    fn triangles_that_share_edges_cover_every_sample_once() {
        // Square over the whole picture: small (32-bit path) and large (span path); the centre is off the grid.
        for (size, centre) in [(40usize, (17.3, 11.7)), (300, (133.7, 95.1)), (40, (20.5, 20.5)), (300, (150.0, 150.0))]
        {
            let s = size as f32;
            let rim = [(0.0, 0.0), (s * 0.4, 0.0), (s, 0.0), (s, s * 0.7), (s, s), (s * 0.2, s), (0.0, s), (0.0, 3.0)];
            assert!(draw::<4>(size, &fan(centre, &rim)).iter().all(|&n| n == 1), "four samples, size {size}");
            assert!(draw::<1>(size, &fan(centre, &rim)).iter().all(|&n| n == 1), "one sample, size {size}");
        }
    }

    #[test]
    fn small_and_wide_paths_agree() {
        // The same half-plane edge once as a small triangle and once as part of a very large one.
        let small = [vertex(1.0, 1.0, 1.0), vertex(9.0, 31.0, 1.0), vertex(30.0, 2.0, 1.0)];
        let direct = draw::<4>(32, &[small]);
        let mut buffer = DepthBuffer::default();
        buffer.resize::<4>(32, 32, true);
        buffer.depth.fill(-1.0);
        let t = prepare::<4>(32, 32, small[0], small[1], small[2]).unwrap();
        fill_spans::<Base, 4, true>(&mut buffer, &t, &setup(&t), 7);
        for (row, line) in buffer.depth.chunks(buffer.stride).enumerate() {
            for x in 0..128 {
                assert_eq!(line[x] >= 0.0, direct[row * 128 + x] == 1, "{x} {row}");
            }
        }
        assert!(direct.iter().sum::<u32>() > 1000);
    }

    #[test]
    fn back_faces_and_slivers_draw_nothing() {
        let (a, b, c) = (vertex(1.0, 1.0, 1.0), vertex(9.0, 1.0, 1.0), vertex(1.0, 9.0, 1.0));
        assert!(prepare::<4>(16, 16, a, b, c).is_none());
        assert!(prepare::<4>(16, 16, a, c, b).is_some());
        assert!(prepare::<4>(16, 16, a, a, b).is_none());
        assert!(prepare::<4>(16, 16, a, b, a).is_none());
    }

    #[test]
    fn the_nearer_of_two_wins_in_any_order() {
        let tri = |d| [vertex(0.0, 0.0, d), vertex(0.0, 20.0, d), vertex(20.0, 0.0, d)];
        for order in [[2.0, 1.0], [1.0, 2.0]] {
            let mut buffer = DepthBuffer::default();
            buffer.resize::<1>(16, 16, true);
            buffer.depth.fill(0.0);
            for (i, d) in order.into_iter().enumerate() {
                let [a, b, c] = tri(d);
                fill::<Base, 1, true>(&mut buffer, &prepare::<1>(16, 16, a, b, c).unwrap(), i as u32);
            }
            assert_eq!(order[buffer.ids[5 * buffer.stride + 5] as usize], 2.0);
        }
    }
}
