//! Light on the surfaces of meshes: one job per pixel and visible part, computed eight at a time.

use super::fill::ScreenVertex;
use super::ground::Reached;
use super::lanes::{F8, I8, LANES, dot3, three};
use super::model::Pinhole;
use super::sun::LitScene;
use bevy::math::Vec3;

/// Pixels of a row that are shaded together.
pub(super) const ROW: usize = LANES;
/// Most jobs that wait: what a row can give, four parts a pixel, and those left over from the rows before.
const MAX_JOBS: usize = 5 * ROW;
/// Linear RGB of the pixels of a tile, row by row.
pub(super) type TileLight = [[f32; ROW * ROW]; 3];
/// Triangles with less than this area (twice, in square subpixels) are shaded flat.
const FLAT_AREA: f32 = 256.0;

/// Normal of a triangle as a function of the position on the screen.
#[derive(Debug, Clone, Copy)]
pub(super) struct TriangleShade {
    /// Normal at the first corner and its change per pixel.
    normal: Vec3,
    normal_dx: Vec3,
    normal_dy: Vec3,
    x_px: f32,
    y_px: f32,
    /// Index of the instance; `PENDING` until first needed.
    pub item: u32,
}

impl TriangleShade {
    /// Marks an entry as not computed yet.
    pub const PENDING: u32 = u32::MAX;
    /// An entry not computed yet.
    pub const EMPTY: TriangleShade = TriangleShade {
        normal: Vec3::Z,
        normal_dx: Vec3::ZERO,
        normal_dy: Vec3::ZERO,
        x_px: 0.0,
        y_px: 0.0,
        item: Self::PENDING,
    };

    /// From the three corners on the screen and their world normals.
    #[inline(always)]
    pub fn new(v: [ScreenVertex; 3], n: [Vec3; 3], item: u32) -> Self {
        let [a, b, c] = v;
        let to_px = 1.0 / 256.0;
        let (ax, ay) = ((b.x - a.x) as f32, (b.y - a.y) as f32);
        let (bx, by) = ((c.x - a.x) as f32, (c.y - a.y) as f32);
        let area = ax * by - bx * ay;
        let (x_px, y_px) = (a.x as f32 * to_px, a.y as f32 * to_px);
        if area.abs() < FLAT_AREA || (n[0] == n[1] && n[0] == n[2]) {
            let normal = (n[0] + n[1] + n[2]) * (1.0 / 3.0);
            return TriangleShade { normal, normal_dx: Vec3::ZERO, normal_dy: Vec3::ZERO, x_px, y_px, item };
        }
        let per_area = 256.0 / area;
        let (da, db) = (n[1] - n[0], n[2] - n[0]);
        TriangleShade {
            normal: n[0],
            normal_dx: (da * by - db * ay) * per_area,
            normal_dy: (db * ax - da * bx) * per_area,
            x_px,
            y_px,
            item,
        }
    }
}

/// Eight values of a job list.
#[inline(always)]
fn eight<V: F8>(values: &[f32; MAX_JOBS], start: usize) -> V {
    let mut lanes = [0f32; LANES];
    lanes.copy_from_slice(&values[start..start + LANES]);
    V::load(&lanes)
}

/// Parts of pixels that wait to be shaded.
pub(super) struct Jobs {
    pub len: usize,
    pixel: [u8; MAX_JOBS],
    weight: [f32; MAX_JOBS],
    x: [f32; MAX_JOBS],
    y: [f32; MAX_JOBS],
    depth: [f32; MAX_JOBS],
    normal: [[f32; MAX_JOBS]; 3],
    colour: [[f32; MAX_JOBS]; 3],
    gloss: [f32; MAX_JOBS],
}

impl Jobs {
    pub fn new() -> Self {
        let zero = [0.0; MAX_JOBS];
        Jobs {
            len: 0,
            pixel: [0; MAX_JOBS],
            weight: zero,
            x: zero,
            y: zero,
            depth: [1.0; MAX_JOBS],
            normal: [zero; 3],
            colour: [zero; 3],
            gloss: zero,
        }
    }

    /// Adds the part of a pixel that shows a triangle at screen position (x, y) with inverse depth `depth`.
    #[inline(always)]
    pub fn push(
        &mut self,
        lit: &LitScene,
        triangle: &TriangleShade,
        pixel: usize,
        weight: f32,
        x: f32,
        y: f32,
        depth: f32,
    ) {
        let i = self.len;
        if i >= MAX_JOBS {
            return;
        }
        self.len = i + 1;
        let item = &lit.items[triangle.item as usize];
        let n = triangle.normal + triangle.normal_dx * (x - triangle.x_px) + triangle.normal_dy * (y - triangle.y_px);
        self.pixel[i] = pixel as u8;
        self.weight[i] = weight;
        (self.x[i], self.y[i], self.depth[i]) = (x, y, depth);
        (self.normal[0][i], self.normal[1][i], self.normal[2][i]) = (n.x, n.y, n.z);
        (self.colour[0][i], self.colour[1][i], self.colour[2][i]) = (item.colour.x, item.colour.y, item.colour.z);
        self.gloss[i] = item.gloss;
    }

    /// Shades jobs, eight at a time, and adds them to their pixels. Fewer than eight wait for company from the next rows,
    /// unless this is the `last`.
    #[inline(always)]
    pub fn shade<V: F8>(
        &mut self,
        lit: &LitScene,
        camera: &Pinhole,
        tile: &mut TileLight,
        last: bool,
        mut reached: Option<&mut Reached>,
    ) {
        let mut start = 0;
        while start + LANES <= self.len || (last && start < self.len) {
            self.shade_eight::<V>(start, lit, camera, tile, reached.as_deref_mut());
            start += LANES;
        }
        let left = self.len.saturating_sub(start);
        if start > 0 && left > 0 {
            self.move_down(start);
        }
        self.len = left;
    }

    /// Moves the eight jobs from `start` on to the front of the list.
    #[inline(always)]
    fn move_down(&mut self, start: usize) {
        let start = start.min(MAX_JOBS - LANES);
        self.pixel.copy_within(start..start + LANES, 0);
        for list in [&mut self.weight, &mut self.x, &mut self.y, &mut self.depth, &mut self.gloss] {
            list.copy_within(start..start + LANES, 0);
        }
        for k in 0..3 {
            self.normal[k].copy_within(start..start + LANES, 0);
            self.colour[k].copy_within(start..start + LANES, 0);
        }
    }

    #[inline(always)]
    fn shade_eight<V: F8>(
        &self,
        start: usize,
        lit: &LitScene,
        camera: &Pinhole,
        tile: &mut TileLight,
        reached: Option<&mut Reached>,
    ) {
        let start = start.min(MAX_JOBS - LANES);
        let count = LANES.min(self.len - start);
        let batch = Batch {
            x: eight::<V>(&self.x, start),
            y: eight::<V>(&self.y, start),
            depth: eight::<V>(&self.depth, start),
            normal: three!(k => eight::<V>(&self.normal[k], start)),
            colour: three!(k => eight::<V>(&self.colour[k], start)),
            gloss: eight::<V>(&self.gloss, start),
            counts: (1 << count) - 1,
        };
        let weight = eight::<V>(&self.weight, start);
        let light = batch.shade(lit, camera, reached);
        let colour: [[f32; LANES]; 3] = three!(k => (light[k] * weight).store());
        for l in 0..count {
            let pixel = self.pixel[start + l] as usize & (ROW * ROW - 1);
            for k in 0..3 {
                tile[k][pixel] += colour[k][l];
            }
        }
    }
}

/// Eight places on surfaces.
pub(super) struct Batch<V> {
    /// Position on the screen in pixels and inverse distance along the optical axis.
    x: V,
    y: V,
    depth: V,
    /// Normal in the world, any length.
    normal: [V; 3],
    colour: [V; 3],
    gloss: V,
    /// Bits of the lanes that count.
    counts: u32,
}

impl<V: F8> Batch<V> {
    /// The middles of eight pixels of a row from (x, y) on, all covered by one triangle.
    #[inline(always)]
    pub fn of_triangle(
        lit: &LitScene,
        triangle: &TriangleShade,
        x: usize,
        y: usize,
        depth: &[f32; LANES],
        counts: u32,
    ) -> Self {
        let item = &lit.items[triangle.item as usize];
        let from = triangle.normal
            + triangle.normal_dx * (x as f32 + 0.5 - triangle.x_px)
            + triangle.normal_dy * (y as f32 + 0.5 - triangle.y_px);
        Batch {
            x: V::splat(x as f32 + 0.5) + V::ramp(),
            y: V::splat(y as f32 + 0.5),
            depth: V::load(depth),
            normal: three!(k => V::splat(from[k]) + V::splat(triangle.normal_dx[k]) * V::ramp()),
            colour: three!(k => V::splat(item.colour[k])),
            gloss: V::splat(item.gloss),
            counts,
        }
    }

    /// Linear RGB of the light they send to the camera.
    #[inline(always)]
    pub fn shade(&self, lit: &LitScene, camera: &Pinhole, reached: Option<&mut Reached>) -> [V; 3] {
        let b = self;
        let (zero, one) = (V::splat(0.0), V::splat(1.0));
        let inverse = one / (dot3(b.normal, b.normal) + V::splat(1e-12)).sqrt();
        let n = three!(k => b.normal[k] * inverse);
        let d: [V; 3] = three!(k => {
            V::splat(camera.ray_0[k]) + V::splat(camera.ray_x[k]) * b.x + V::splat(camera.ray_y[k]) * b.y
        });
        let distance = one / b.depth;
        let sun: [V; 3] = three!(k => V::splat(lit.to_sun[k]));
        let facing = dot3(n, sun);
        let point: [V; 3] = three!(k => V::splat(camera.eye[k]) + d[k] * distance);
        // The soft edge compares neighbours of the point; on a slope they lie nearer to the sun by up to this offset.
        let slope = (one - facing * facing).max(zero).sqrt();
        let lift = V::splat(lit.texel_m()) * (V::splat(0.4) + V::splat(2.6) * slope);
        let located = lit.locate_eight(three!(k => point[k] + n[k] * lift));
        let counts = zero.lt(facing).bits() & b.counts;
        let light = lit.visibility::<V>(located, counts);
        if let Some(reached) = reached {
            reached.shadow(located[0], located[1], counts);
        }
        // Highlight: how well the mirrored sun lies on the line of sight, to the 16th power and a little beyond.
        let inverse_d = one / dot3(d, d);
        let across = dot3(n, d);
        let mirrored = dot3(sun, d) - (facing + facing) * across;
        let mirrored = mirrored.max(zero);
        let m = mirrored * mirrored * inverse_d;
        let m2 = m * m;
        let m8 = m2 * m2 * (m2 * m2);
        let shine = b.gloss * V::splat(0.42) * m8 * (V::splat(0.6) + V::splat(0.4) * m2) * light;
        // At a glancing angle even dark plastic reflects the sky.
        let glance = one - (zero - across * inverse_d.sqrt()).clamp(0.0, 1.0);
        let up = V::splat(0.5) + V::splat(0.5) * n[2];
        let rim = b.gloss * V::splat(0.22) * glance * glance * glance * (V::splat(0.3) + V::splat(0.7) * up);
        // Surfaces that face down see less light the nearer the table is.
        let low = one - (point[2] * V::splat(14.0)).clamp(0.0, 1.0);
        let open = one - V::splat(0.5) * (one - up) * low;
        // A weak light from the other side keeps form in the shade.
        let other = n[2] * V::splat(0.25) - n[0] * sun[0] - n[1] * sun[1];
        let other = other.max(zero) * V::splat(0.16);
        let direct = light * facing.max(zero);
        three!(k => {
            let (sun, sky, bounce) = (lit.light.sun[k], lit.light.sky[k], lit.light.bounce[k]);
            let ambient = V::splat(bounce).mix(V::splat(sky), up) * open + V::splat(sky) * other;
            let diffuse = b.colour[k] * (ambient + V::splat(sun) * direct);
            diffuse + V::splat(sun) * shine + V::splat(sky) * rim
        })
    }
}
