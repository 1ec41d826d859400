//! The table top with its markings and what lies beyond it, computed per pixel from the ray instead of from triangles.

use super::lanes::{F8, I8, LANES, three};
use super::model::Pinhole;
use super::scalar::{max, min};
use super::scene::{Backdrop, Outline, RasterScene, TableTop};
use super::sun::LitScene;
use super::wood::Texture;
use bevy::math::Vec2;
use std::sync::Arc;

/// An outline with what is needed to skip it quickly.
#[derive(Debug, Clone)]
struct Marking {
    outline: Outline,
    /// Rectangle that holds the line, without any allowance for the pixel's size.
    low: Vec2,
    high: Vec2,
    /// The rectangle of each edge, its lower and its upper corner.
    edges: Vec<[Vec2; 2]>,
}

/// Table, markings and backdrop of a scene.
#[derive(Debug, Clone, Default)]
pub(super) struct Ground {
    table: Option<TableTop>,
    texture: Option<Arc<Texture>>,
    markings: Vec<Marking>,
    backdrop: Backdrop,
}

/// Ranges of map and table positions that were looked at, to know later whether a cached tile is still right.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reached {
    pub shadow_low: [f32; 2],
    pub shadow_high: [f32; 2],
    pub table_low: [f32; 2],
    pub table_high: [f32; 2],
}

impl Reached {
    pub const NOTHING: Reached = Reached {
        shadow_low: [f32::INFINITY; 2],
        shadow_high: [f32::NEG_INFINITY; 2],
        table_low: [f32::INFINITY; 2],
        table_high: [f32::NEG_INFINITY; 2],
    };

    /// Takes in map positions (columns, rows in texels) of the lanes with a bit in `counts`.
    #[inline(always)]
    pub fn shadow<V: F8>(&mut self, u: V, v: V, counts: u32) {
        grow(&mut self.shadow_low, &mut self.shadow_high, [u.store(), v.store()], counts);
    }

    /// Takes in table positions (metres) of the lanes with a bit in `counts`.
    #[inline(always)]
    pub fn table<V: F8>(&mut self, x: V, y: V, counts: u32) {
        grow(&mut self.table_low, &mut self.table_high, [x.store(), y.store()], counts);
    }
}

fn grow(low: &mut [f32; 2], high: &mut [f32; 2], points: [[f32; LANES]; 2], counts: u32) {
    for l in (0..LANES).filter(|l| counts >> l & 1 != 0) {
        for k in 0..2 {
            low[k] = min(low[k], points[k][l]);
            high[k] = max(high[k], points[k][l]);
        }
    }
}

/// Allowance for rounding, m.
const ROUNDING_M: f32 = 1e-5;

impl Ground {
    /// Takes over the scene's table; the texture is made anew only if the table changed.
    pub fn set(&mut self, scene: &RasterScene) {
        let same = |a: &TableTop, b: &TableTop| (a.pattern, a.seed) == (b.pattern, b.seed);
        if let Some(table) = &scene.table
            && (self.texture.is_none() || !self.table.as_ref().is_some_and(|t| same(t, table)))
        {
            self.texture = Some(Texture::shared(table.pattern, table.seed));
        }
        self.table = scene.table;
        self.backdrop = scene.backdrop;
        self.markings = scene
            .outlines
            .iter()
            .map(|o| {
                let reach = o.width_m.abs() * 0.5 + max(o.offset_m, 0.0);
                let corner = |pick: fn(f32, f32) -> f32, grow: f32| {
                    let first = o.points_m[0];
                    let c = o.points_m.iter().fold(first, |a, p| Vec2::new(pick(a.x, p.x), pick(a.y, p.y)));
                    c + Vec2::splat(grow)
                };
                let next = o.points_m.iter().skip(1).chain(o.points_m.first());
                let edges = o.points_m.iter().zip(next).map(|(p, q)| [p.min(*q), p.max(*q)]).collect();
                Marking { outline: o.clone(), low: corner(min, -reach), high: corner(max, reach), edges }
            })
            .collect();
    }

    /// Inverse depth of the table plane at a pixel position, slightly behind it: what clears the depth buffer.
    pub fn depth_plane(&self, camera: &Pinhole) -> (f32, f32, f32) {
        if self.table.is_none() || camera.eye.z <= 1e-4 {
            return (0.0, 0.0, 0.0);
        }
        let scale = -0.999 / camera.eye.z;
        (camera.ray_0.z * scale, camera.ray_x.z * scale, camera.ray_y.z * scale)
    }

    /// Colours of eight pixels of a row from column `x` on; those without a bit in `wanted` may get anything.
    #[inline(always)]
    pub fn shade<V: F8>(
        &self,
        lit: &LitScene,
        camera: &Pinhole,
        x: usize,
        y: usize,
        wanted: u32,
        reached: Option<&mut Reached>,
    ) -> [V; 3] {
        let row = camera.ray_0 + camera.ray_y * (y as f32 + 0.5);
        let column = V::splat(x as f32 + 0.5) + V::ramp();
        let d: [V; 3] = three!(k => V::splat(row[k]) + V::splat(camera.ray_x[k]) * column);
        let (Some(table), Some(texture)) = (&self.table, &self.texture) else { return self.backdrop(d) };
        if camera.eye.z <= 1e-4 {
            return self.backdrop(d);
        }
        // Where the rays meet the top and how far one pixel step moves there.
        let (zero, one) = (V::splat(0.0), V::splat(1.0));
        let down = d[2].lt(V::splat(-1e-4));
        let inverse = one / down.pick(d[2], V::splat(-1.0));
        let t = V::splat(-camera.eye.z) * inverse;
        let (eye_x, eye_y) = (V::splat(camera.eye.x), V::splat(camera.eye.y));
        let (gx, gy) = (eye_x + d[0] * t, eye_y + d[1] * t);
        let (kx, ky) = (V::splat(camera.ray_x.z) * inverse, V::splat(camera.ray_y.z) * inverse);
        let step_x = [t * (V::splat(camera.ray_x.x) - d[0] * kx), t * (V::splat(camera.ray_x.y) - d[1] * kx)];
        let step_y = [t * (V::splat(camera.ray_y.x) - d[0] * ky), t * (V::splat(camera.ray_y.y) - d[1] * ky)];
        // Share of each pixel inside the rectangle, on the top and on the underside of the board.
        let tiny = V::splat(1e-9);
        let per_x = one / (step_x[0].abs() + step_y[0].abs() + tiny);
        let per_y = one / (step_x[1].abs() + step_y[1].abs() + tiny);
        let cover = down.pick(inside(table, gx, gy, per_x, per_y), zero);
        let partly = cover.lt(one).bits() & wanted;
        let mut behind = [zero; 3];
        if partly != 0 {
            behind = self.backdrop(d);
            let lower = V::splat(-(camera.eye.z + table.thickness_m)) * inverse;
            let side = down.pick(inside(table, eye_x + d[0] * lower, eye_y + d[1] * lower, per_x, per_y), zero);
            let edge = (table.colours[0] + table.colours[1]) * 0.33 * (lit.light.sky + lit.light.sun * 0.15);
            for k in 0..3 {
                behind[k] = behind[k].mix(V::splat(edge[k]), side);
            }
        }
        let counts = zero.lt(cover).bits() & wanted;
        if counts == 0 {
            return behind;
        }
        let square_x = step_x[0] * step_x[0] + step_x[1] * step_x[1];
        let square_y = step_y[0] * step_y[0] + step_y[1] * step_y[1];
        let footprint = (square_x * square_y).sqrt().sqrt();
        let pattern = texture.sample::<V>(gx, gy, footprint);
        let located = lit.locate_eight([gx, gy, zero]);
        let sun = lit.visibility::<V>(located, counts) * V::splat(lit.to_sun.z);
        let sky = one - V::splat(0.75) * lit.contact_shade::<V>(gx, gy);
        if let Some(reached) = reached {
            reached.shadow(located[0], located[1], counts);
            reached.table(gx, gy, counts);
        }
        let mut surface: [V; 3] =
            three!(k => V::splat(table.colours[0][k]).mix(V::splat(table.colours[1][k]), pattern));
        for marking in &self.markings {
            marking.paint(gx, gy, step_x, step_y, counts, &mut surface);
        }
        let fog = V::splat(1.0 / (self.backdrop.fog_distance_m * self.backdrop.fog_distance_m));
        let clear = one / (one + t * t * (d[0] * d[0] + d[1] * d[1] + d[2] * d[2]) * fog);
        three!(k => {
            let light = V::splat(lit.light.sky[k]) * sky + V::splat(lit.light.sun[k]) * sun;
            let top = V::splat(self.backdrop.horizon[k]).mix(surface[k] * light, clear);
            behind[k].mix(top, cover)
        })
    }

    /// The light from beyond the table in eight directions.
    #[inline(always)]
    fn backdrop<V: F8>(&self, d: [V; 3]) -> [V; 3] {
        let b = &self.backdrop;
        let sine = d[2] / (d[0] * d[0] + d[1] * d[1] + d[2] * d[2]).sqrt();
        let up = (sine * V::splat(1.6)).clamp(0.0, 1.0);
        let down = (sine * V::splat(-2.2)).clamp(0.0, 1.0);
        let down = down * (V::splat(2.0) - down);
        three!(k => {
            let (above, below) = (b.zenith[k] - b.horizon[k], b.floor[k] - b.horizon[k]);
            V::splat(b.horizon[k]) + V::splat(above) * up + V::splat(below) * down
        })
    }
}

/// Share of pixels inside the table's rectangle; `per_x` and `per_y` are pixels per metre along its sides.
#[inline(always)]
fn inside<V: F8>(table: &TableTop, px: V, py: V, per_x: V, per_y: V) -> V {
    let (size, centre) = (table.half_size_m, table.centre_m);
    let qx = (V::splat(size.x) - (px - V::splat(centre.x)).abs()) * per_x + V::splat(0.5);
    let qy = (V::splat(size.y) - (py - V::splat(centre.y)).abs()) * per_y + V::splat(0.5);
    qx.clamp(0.0, 1.0) * qy.clamp(0.0, 1.0)
}

impl Marking {
    /// Whether eight pixels lie inside the outline, if its line is too far away to be seen in any of them.
    #[inline(always)]
    fn sees_no_edge<V: F8>(&self, gx: V, gy: V, pixel: V) -> Option<bool> {
        let o = &self.outline;
        let (xs, ys, pixels) = (gx.store(), gy.store(), pixel.store());
        let (mut low, mut high, mut widest) = ([xs[0], ys[0]], [xs[0], ys[0]], pixels[0]);
        for l in 1..LANES {
            (low[0], high[0]) = (min(low[0], xs[l]), max(high[0], xs[l]));
            (low[1], high[1]) = (min(low[1], ys[l]), max(high[1], ys[l]));
            widest = max(widest, pixels[l]);
        }
        // The line fades out within half a pixel.
        let reach = o.offset_m.abs() + 0.5 * (o.width_m.abs() + widest) + ROUNDING_M;
        let touches = |[from, to]: &[Vec2; 2]| {
            (from.x - reach < high[0]) & (to.x + reach > low[0]) & (from.y - reach < high[1]) & (to.y + reach > low[1])
        };
        if self.edges.iter().fold(false, |any, edge| any | touches(edge)) {
            return None;
        }
        // Without an edge between them all are on the same side.
        let n = o.points_m.len();
        let odd = (0..n).fold(false, |odd, i| {
            let (p, q) = (o.points_m[i], o.points_m[(i + 1) % n]);
            let slope = if q.y == p.y { 0.0 } else { (q.x - p.x) / (q.y - p.y) };
            odd ^ (((ys[0] < p.y) != (ys[0] < q.y)) & (xs[0] - p.x < slope * (ys[0] - p.y)))
        });
        Some(odd)
    }

    /// Blends the line over the surface of eight pixels by how much of each it covers.
    #[inline(always)]
    fn paint<V: F8>(&self, gx: V, gy: V, step_x: [V; 2], step_y: [V; 2], counts: u32, surface: &mut [V; 3]) {
        let o = &self.outline;
        let pixel = step_x[0].abs() + step_x[1].abs() + step_y[0].abs() + step_y[1].abs();
        let near_x = V::splat(self.low.x).lt(gx + pixel).and((gx - pixel).lt(V::splat(self.high.x)));
        let near_y = V::splat(self.low.y).lt(gy + pixel).and((gy - pixel).lt(V::splat(self.high.y)));
        let near = near_x.and(near_y);
        if near.bits() & counts == 0 {
            return;
        }
        if let Some(inside) = self.sees_no_edge(gx, gy, pixel) {
            if inside && o.fill != 0.0 {
                for k in 0..3 {
                    surface[k] = surface[k].mix(V::splat(o.colour[k]), V::splat(o.fill));
                }
            }
            return;
        }
        // Squared distance to the nearest edge with the vector to it, and the even-odd rule for inside.
        let (zero, one) = (V::splat(0.0), V::splat(1.0));
        let (mut best, mut vx, mut vy) = (V::splat(1e9), zero, zero);
        let mut odd = V::I::splat(0);
        let n = o.points_m.len();
        for i in 0..n {
            let (p, q) = (o.points_m[i], o.points_m[(i + 1) % n]);
            let (ex, ey) = (q.x - p.x, q.y - p.y);
            let inverse = 1.0 / (ex * ex + ey * ey + 1e-12);
            let slope = if ey == 0.0 { 0.0 } else { ex / ey };
            let (wx, wy) = (gx - V::splat(p.x), gy - V::splat(p.y));
            let along = (wx * V::splat(ex * inverse) + wy * V::splat(ey * inverse)).clamp(0.0, 1.0);
            let (rx, ry) = (wx - V::splat(ex) * along, wy - V::splat(ey) * along);
            let square = rx * rx + ry * ry;
            let nearer = square.lt(best);
            best = nearer.pick(square, best);
            vx = nearer.pick(rx, vx);
            vy = nearer.pick(ry, vy);
            let (from, to) = (gy.lt(V::splat(p.y)), gy.lt(V::splat(q.y)));
            let crosses = from.without(to).or(to.without(from)).and(wx.lt(V::splat(slope) * wy));
            odd = odd.without(crosses).or(crosses.without(odd));
        }
        let distance = best.sqrt();
        // Size of the pixel along the direction to the line.
        let inverse = one / (distance + V::splat(1e-9));
        let (ux, uy) = (vx * inverse, vy * inverse);
        let (a, b) = (step_x[0] * ux + step_x[1] * uy, step_y[0] * ux + step_y[1] * uy);
        let per_pixel = one / ((a * a + b * b).sqrt() + V::splat(1e-6));
        let beyond = odd.pick(zero - distance, distance) - V::splat(o.offset_m);
        let half = V::splat(0.5);
        let line = ((V::splat(o.width_m * 0.5) - beyond.abs()) * per_pixel + half).clamp(0.0, 1.0);
        // A line thinner than a pixel is fainter, not wider.
        let line = line.min(V::splat(o.width_m) * per_pixel);
        let inner = (half - beyond * per_pixel).clamp(0.0, 1.0) * V::splat(o.fill);
        let share = near.pick(line.max(inner), zero);
        for k in 0..3 {
            surface[k] = surface[k].mix(V::splat(o.colour[k]), share);
        }
    }
}
