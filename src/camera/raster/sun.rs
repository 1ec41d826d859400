//! A scene at one tick, ready to be drawn by any number of cameras: where everything is, the sun's shadow map, and the
//! darkening of the table near things that stand on it.
//!
//! Things that do not move are drawn once; each tick only the cells that moving things touch are drawn again.

use super::RasterError;
use super::RasterMesh;
use super::fill::{DepthBuffer, ScreenVertex, fill, prepare};
use super::ground::Ground;
use super::lanes::{F8, I8, LANES, three, wide_vectors};
use super::pose::unit;
use super::scalar::{clamp, max, min};
use super::scene::{Backdrop, Instance, Light, Outline, RasterScene, TableTop};
use super::vertex::{Placed, list_visible, place_mesh};
use bevy::math::{Mat3, Vec3};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where revision numbers come from; only their being different matters.
static NEXT_REVISION: AtomicU64 = AtomicU64::new(1);
/// Texels along one side of the map.
const SIDE: usize = CELL * CELLS;
/// Texels along one side of a cell, the unit of redrawing and of early answers.
const CELL: usize = 1 << CELL_SHIFT;
/// Binary logarithm of the same.
const CELL_SHIFT: i32 = 3;
/// Elements from one row of the map to the next, as [`DepthBuffer::resize`] lays it out.
const STRIDE: usize = DepthBuffer::stride::<1>(SIDE);
/// Cells along one side.
pub(super) const CELLS: usize = 1 << CELLS_SHIFT;
/// Binary logarithm of the same.
const CELLS_SHIFT: i32 = 6;
/// Depth of a texel with nothing in it.
const EMPTY: f32 = -1e9;
/// Details of a part smaller than this share of a texel cast no shadow of their own; well below [`BIAS_M`].
const DETAIL_TEXELS: f32 = 0.5;
/// A point is shadowed by what lies at least this much nearer to the sun, in metres.
const BIAS_M: f32 = 0.0012;
/// Cells along one side of the grid on the table that holds the contact shade.
pub(super) const CONTACT_CELLS: usize = 1 << CONTACT_SHIFT;
/// Binary logarithm of the same.
const CONTACT_SHIFT: i32 = 6;
/// Height in metres above which things no longer darken the table below.
const CONTACT_HEIGHT_M: f32 = 0.09;

/// Sum of the column weights 1 - f, 1, 1, f over each set of four columns, as a constant and a factor of f.
const ROW_SUMS: [[f32; 2]; 16] = {
    let mut sums = [[0.0; 2]; 16];
    let mut set = 0usize;
    while set < 16 {
        let bits = [set & 1, set >> 1 & 1, set >> 2 & 1, set >> 3];
        sums[set] = [(bits[0] + bits[1] + bits[2]) as f32, bits[3] as f32 - bits[0] as f32];
        set += 1;
    }
    sums
};

/// Everything that decides how things that do not move look; if it changes, cached pictures are void.
#[derive(Debug, Clone)]
struct StaticPart {
    light: Light,
    table: Option<TableTop>,
    outlines: Vec<Outline>,
    backdrop: Backdrop,
    instances: Vec<(Arc<RasterMesh>, Instance)>,
}

impl StaticPart {
    fn matches(&self, scene: &RasterScene) -> bool {
        let mut now = scene.instances.iter().filter(|i| i.is_static);
        self.light == scene.light
            && self.table == scene.table
            && self.outlines == scene.outlines
            && self.backdrop == scene.backdrop
            && self
                .instances
                .iter()
                .all(|(m, i)| now.next().is_some_and(|n| n == i && Arc::ptr_eq(m, &scene.meshes()[n.mesh])))
            && now.next().is_none()
    }

    fn of(scene: &RasterScene) -> Self {
        let placed = scene.instances.iter().filter(|i| i.is_static);
        StaticPart {
            light: scene.light,
            table: scene.table,
            outlines: scene.outlines.clone(),
            backdrop: scene.backdrop,
            instances: placed.map(|i| (scene.meshes()[i.mesh].clone(), i.clone())).collect(),
        }
    }
}

/// An instance as the cameras need it.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub mesh: Arc<RasterMesh>,
    pub placed: Placed,
    pub colour: Vec3,
    pub gloss: f32,
    pub is_static: bool,
}

/// The poses of all instances at one tick with the sun's shadow map. Cameras only read it, so several may draw from it on
/// several threads.
#[derive(Debug, Default)]
pub struct LitScene {
    still: Option<StaticPart>,
    /// Changes with the static part; no two static parts of a run share a number.
    pub(super) revision: u64,
    pub(super) items: Vec<Item>,
    pub(super) ground: Ground,
    pub(super) light: Light,
    /// Unit vector towards the sun.
    pub(super) to_sun: Vec3,
    /// Columns: right and down on the map, away from the sun.
    frame: Mat3,
    /// World point of the map's corner.
    origin: Vec3,
    texels_per_m: f32,
    live: DepthBuffer,
    still_depth: Vec<f32>,
    /// Nearest and farthest occluder of each cell.
    cell_max: Vec<f32>,
    cell_min: Vec<f32>,
    still_cell_max: Vec<f32>,
    still_cell_min: Vec<f32>,
    /// The same over the cell and its eight neighbours, which the soft edge can reach.
    reach_near: Vec<f32>,
    reach_far: Vec<f32>,
    /// Cells that moving things touched this tick.
    touched: Vec<bool>,
    /// Cells whose shadows may differ from those of the static things alone.
    pub(super) changed: Vec<bool>,
    /// Contact shade 0 (open) to 1 per cell of the table grid, before and after smoothing.
    splat: Vec<f32>,
    contact: Vec<f32>,
    still_contact: Vec<f32>,
    pub(super) contact_changed: Vec<bool>,
    /// Corner of the contact grid on the table and its cells per metre.
    contact_origin: [f32; 2],
    contact_per_m: f32,
    vertices: Vec<ScreenVertex>,
    visible: Vec<u32>,
}

impl LitScene {
    /// An empty map; `update` fills it.
    pub fn new() -> Self {
        LitScene::default()
    }

    /// True once a scene was taken in.
    pub(super) fn is_ready(&self) -> bool {
        self.still.is_some()
    }

    /// Takes in the poses of a tick and draws the shadow map.
    ///
    /// # Errors
    /// A mesh index, pose or setting of the scene is bad; the map then keeps the last good tick.
    pub fn update(&mut self, scene: &RasterScene) -> Result<(), RasterError> {
        scene.validate()?;
        self.items.clear();
        self.items.extend(scene.instances.iter().map(|i| {
            let mesh = scene.meshes()[i.mesh].clone();
            Item { placed: Placed::new(i, &mesh), mesh, colour: i.colour, gloss: i.gloss, is_static: i.is_static }
        }));
        if self.still.as_ref().is_none_or(|s| !s.matches(scene)) {
            self.still = Some(StaticPart::of(scene));
            self.revision = NEXT_REVISION.fetch_add(1, Ordering::Relaxed);
            self.light = scene.light;
            self.ground.set(scene);
            self.aim(&scene.light);
            redraw_static(self);
        }
        redraw_moving(self);
        Ok(())
    }

    /// Lays the map's square around the lit region.
    fn aim(&mut self, light: &Light) {
        self.to_sun = unit(light.to_sun).unwrap_or(Vec3::Z);
        let forward = -self.to_sun;
        let right = unit(forward.cross(Vec3::Y)).unwrap_or(Vec3::X);
        let down = forward.cross(right);
        self.frame = Mat3::from_cols(right, down, forward);
        // The table square seen along the light fits in a circle of sqrt(2) times its half size; things up to a third of it
        // in height stay in as well.
        let half = light.shadow_half_size_m * 1.25;
        let middle = Vec3::new(light.shadow_centre_m.x, light.shadow_centre_m.y, light.shadow_half_size_m * 0.15);
        self.origin = middle - (right + down) * half;
        self.texels_per_m = SIDE as f32 / (2.0 * half);
        self.contact_origin =
            [light.shadow_centre_m.x - light.shadow_half_size_m, light.shadow_centre_m.y - light.shadow_half_size_m];
        self.contact_per_m = CONTACT_CELLS as f32 / (2.0 * light.shadow_half_size_m);
        self.live.resize::<1>(SIDE, SIDE, false);
        for (cells, value) in [(&mut self.cell_max, EMPTY), (&mut self.cell_min, EMPTY)] {
            cells.clear();
            cells.resize(CELLS * CELLS, value);
        }
        self.reach_near.resize(CELLS * CELLS, EMPTY);
        self.reach_far.resize(CELLS * CELLS, EMPTY);
        for flags in [&mut self.touched, &mut self.changed] {
            flags.clear();
            flags.resize(CELLS * CELLS, false);
        }
        self.splat.clear();
        self.splat.resize(CONTACT_CELLS * CONTACT_CELLS, 0.0);
        self.contact_changed.resize(CONTACT_CELLS * CONTACT_CELLS, false);
    }

    /// A world point in the map: column and row in texels, nearness to the sun in metres.
    #[inline(always)]
    pub(super) fn locate(&self, p: Vec3) -> Vec3 {
        let d = p - self.origin;
        Vec3::new(
            self.frame.x_axis.dot(d) * self.texels_per_m,
            self.frame.y_axis.dot(d) * self.texels_per_m,
            -self.frame.z_axis.dot(d),
        )
    }

    /// Side of a texel in metres.
    pub(super) fn texel_m(&self) -> f32 {
        1.0 / self.texels_per_m
    }

    /// Rows of the affine map from a world point (x, y, z, 1) to map column, row and nearness to the sun.
    #[inline(always)]
    fn map_rows(&self) -> [[f32; 4]; 3] {
        let f = &self.frame;
        let rows = [f.x_axis * self.texels_per_m, f.y_axis * self.texels_per_m, f.z_axis * -1.0];
        three!(k => [rows[k].x, rows[k].y, rows[k].z, -rows[k].dot(self.origin)])
    }

    /// World points in the map: column and row in texels, nearness to the sun in metres.
    #[inline(always)]
    pub(super) fn locate_eight<V: F8>(&self, p: [V; 3]) -> [V; 3] {
        let rows = self.map_rows();
        three!(k => {
            let r = &rows[k];
            V::splat(r[0]) * p[0] + V::splat(r[1]) * p[1] + V::splat(r[2]) * p[2] + V::splat(r[3])
        })
    }

    /// Share of the sun that reaches located points, 0 to 1, with an edge about four texels wide; only for the lanes with a
    /// bit in `counts`.
    #[inline(always)]
    pub(super) fn visibility<V: F8>(&self, [u, v, w]: [V; 3], counts: u32) -> V {
        const LIMIT: f32 = (SIDE - 4) as f32;
        let (low, high) = (V::splat(3.0), V::splat(LIMIT));
        let inside = low.lt(u).and(u.lt(high)).and(low.lt(v)).and(v.lt(high));
        let mut open = inside.bits() & counts;
        if open == 0 {
            return V::splat(1.0);
        }
        let (u, v) = (u.clamp(3.0, LIMIT), v.clamp(3.0, LIMIT));
        let cell = v.floor().sra::<CELL_SHIFT>().shl::<CELLS_SHIFT>().or(u.floor().sra::<CELL_SHIFT>());
        let threshold = w + V::splat(BIAS_M);
        // Most points are answered by their cell: nothing near enough to the sun to matter, or full shade.
        open &= threshold.lt(V::gather(&self.reach_near, cell)).bits();
        if open == 0 {
            return V::splat(1.0);
        }
        let full = threshold.lt(V::gather(&self.reach_far, cell)).bits();
        let threshold = threshold.store();
        let mut visible = [1f32; LANES];
        let mut edge = open & !full;
        while open != 0 {
            visible[open.trailing_zeros() as usize & (LANES - 1)] = 0.0;
            open &= open - 1;
        }
        if edge != 0 {
            let x16 = (u * V::splat(16.0) - V::splat(8.0)).floor().store();
            let y16 = (v * V::splat(16.0) - V::splat(8.0)).floor().store();
            while edge != 0 {
                let l = edge.trailing_zeros() as usize & (LANES - 1);
                edge &= edge - 1;
                visible[l] = self.soft_edge::<V>(x16[l], y16[l], threshold[l]);
            }
        }
        V::load(&visible)
    }

    /// A 3 x 3 texel box slid over the map: four columns and rows with the outer ones in part. The position comes in
    /// sixteenths of a texel, so that all sums are exact and full light and full shadow are exactly 1 and 0.
    #[inline(always)]
    fn soft_edge<V: F8>(&self, x16: i32, y16: i32, threshold: f32) -> f32 {
        let (fx, fy) = ((x16 & 15) as f32 * 0.0625, (y16 & 15) as f32 * 0.0625);
        let at = ((y16 >> 4) - 1) as usize * STRIDE + ((x16 >> 4) - 1) as usize;
        let Some(texels) = self.live.depth.get(at..at + 3 * STRIDE + LANES) else { return 1.0 };
        let limit = V::splat(threshold);
        let rows = [1.0 - fy, 1.0, 1.0, fy];
        let mut shadow = 0.0;
        for (r, weight) in rows.into_iter().enumerate() {
            let Some(row) = texels[r * STRIDE..].first_chunk::<LANES>() else { return 1.0 };
            let [whole, part] = ROW_SUMS[limit.lt(V::load(row)).bits() as usize & 15];
            shadow += weight * (whole + fx * part);
        }
        1.0 - shadow * (1.0 / 9.0)
    }

    /// How much things on the table near (x, y) keep the sky's light off it, 0 to 1.
    #[inline(always)]
    pub(super) fn contact_shade<V: F8>(&self, x_m: V, y_m: V) -> V {
        const LIMIT: f32 = (CONTACT_CELLS - 1) as f32 - 0.01;
        let half = V::splat(0.5);
        let per_m = V::splat(self.contact_per_m);
        let u = ((x_m - V::splat(self.contact_origin[0])) * per_m - half).clamp(0.0, LIMIT);
        let v = ((y_m - V::splat(self.contact_origin[1])) * per_m - half).clamp(0.0, LIMIT);
        let (i, j) = (u.floor(), v.floor());
        let at = j.shl::<CONTACT_SHIFT>().or(i);
        let corner = [0, 1, CONTACT_CELLS, CONTACT_CELLS + 1];
        let [a, b] = [V::gather(&self.contact, at), V::gather(&self.contact, at + V::I::splat(corner[1] as i32))];
        let [c, d] = [
            V::gather(&self.contact, at + V::I::splat(corner[2] as i32)),
            V::gather(&self.contact, at + V::I::splat(corner[3] as i32)),
        ];
        let (fu, fv) = (u - i.to_f(), v - j.to_f());
        a.mix(b, fu).mix(c.mix(d, fu), fv)
    }

    /// True if shadows inside this range of map positions (texels) may differ from the static ones.
    pub(super) fn changed_within(&self, low: [f32; 2], high: [f32; 2]) -> bool {
        let cell = |x: f32| (clamp(x, 0.0, (SIDE - 1) as f32) as usize) / CELL;
        low[0] <= high[0]
            && (cell(low[1])..=cell(high[1]))
                .any(|y| self.changed[y * CELLS + cell(low[0])..=y * CELLS + cell(high[0])].contains(&true))
    }

    /// True if the contact shade inside this rectangle of the table (metres) differs from the static one.
    pub(super) fn contact_changed_within(&self, low: [f32; 2], high: [f32; 2]) -> bool {
        let cell = |x: f32, axis: usize| {
            clamp((x - self.contact_origin[axis]) * self.contact_per_m, 0.0, (CONTACT_CELLS - 1) as f32) as usize
        };
        let (x0, x1) = (cell(low[0], 0).saturating_sub(1), (cell(high[0], 0) + 1).min(CONTACT_CELLS - 1));
        let (y0, y1) = (cell(low[1], 1).saturating_sub(1), (cell(high[1], 1) + 1).min(CONTACT_CELLS - 1));
        low[0] <= high[0]
            && (y0..=y1).any(|y| self.contact_changed[y * CONTACT_CELLS + x0..=y * CONTACT_CELLS + x1].contains(&true))
    }

    /// Draws the instances that are static or those that are not, marking the cells they touch.
    #[inline(always)]
    fn cast<V: F8>(&mut self, is_static: bool) {
        for item in self.items.iter().filter(|i| i.is_static == is_static) {
            let (mesh, placed) = (&item.mesh, &item.placed);
            let centre = self.locate(placed.centre);
            let reach = placed.radius_m * self.texels_per_m;
            let outside = |x: f32| x + reach < 0.0 || x - reach > SIDE as f32;
            if outside(centre.x) || outside(centre.y) {
                continue;
            }
            self.vertices.clear();
            let mesh = mesh.at_level(mesh.level_for(DETAIL_TEXELS / (self.texels_per_m * placed.scale)));
            place_mesh::<V>(mesh, placed, &self.frame, self.origin, self.texels_per_m, &mut self.vertices);
            list_visible::<1>(mesh, &self.vertices, SIDE, SIDE, &mut self.visible);
            for &number in &self.visible {
                let t = mesh.triangles[number as usize];
                let [a, b, c] = three!(k => self.vertices[t[k] as usize]);
                let Some(p) = prepare::<1>(SIDE, SIDE, a, b, c) else { continue };
                let e = p.extent;
                let columns = e.x0 as usize / CELL..=e.x1 as usize / CELL;
                for row in e.y0 as usize / CELL..=e.y1 as usize / CELL {
                    // Mostly one cell: a call to fill them would cost more.
                    for column in columns.clone() {
                        self.touched[row * CELLS + column] = true;
                    }
                }
                fill::<V, 1, false>(&mut self.live, &p, 0);
            }
        }
    }

    /// Texel index of a cell's corner.
    #[inline(always)]
    fn corner(&self, cell: usize) -> usize {
        (cell / CELLS) * CELL * STRIDE + (cell % CELLS) * CELL
    }

    /// Nearest and farthest occluder of a touched cell, and the contact shade its occluders cast on the table below them.
    #[inline(always)]
    fn summarise_cell(&mut self, cell: usize) {
        const HALF: usize = CELL / 2;
        let corner = self.corner(cell);
        let mut farthest = [f32::INFINITY; CELL];
        let mut halves = [[EMPTY; CELL]; 2];
        for row in 0..CELL {
            let line = &self.live.depth[corner + row * STRIDE..][..CELL];
            for l in 0..CELL {
                farthest[l] = min(farthest[l], line[l]);
                halves[row / HALF][l] = max(halves[row / HALF][l], line[l]);
            }
        }
        self.cell_min[cell] = farthest.into_iter().fold(f32::INFINITY, min);
        let mut nearest = EMPTY;
        for quarter in 0..4 {
            let (i, j) = (quarter % 2 * HALF, quarter / 2);
            let depth = halves[j][i..i + HALF].iter().fold(EMPTY, |a, &b| max(a, b));
            nearest = max(nearest, depth);
            if depth > EMPTY {
                let (u, v) = (cell % CELLS * CELL + i, cell / CELLS * CELL + j * HALF);
                self.shade_below(u as f32 + HALF as f32 * 0.5, v as f32 + HALF as f32 * 0.5, depth);
            }
        }
        self.cell_max[cell] = nearest;
    }

    /// Notes the contact shade that an occluder at a map position casts on the table straight below it.
    #[inline(always)]
    fn shade_below(&mut self, u: f32, v: f32, depth: f32) {
        let p =
            self.origin + (self.frame.x_axis * u + self.frame.y_axis * v) * self.texel_m() - self.frame.z_axis * depth;
        let weight = 1.0 - p.z * (1.0 / CONTACT_HEIGHT_M);
        let x = (p.x - self.contact_origin[0]) * self.contact_per_m;
        let y = (p.y - self.contact_origin[1]) * self.contact_per_m;
        let limit = CONTACT_CELLS as f32;
        if weight > 0.0 && x >= 0.0 && y >= 0.0 && x < limit && y < limit {
            let at = y as usize * CONTACT_CELLS + x as usize;
            self.splat[at] = max(self.splat[at], min(weight, 1.0));
        }
    }

    /// Spreads the cells' extremes and the contact shade to their neighbours.
    #[inline(always)]
    fn spread(&mut self) {
        spread_cells(&self.cell_max, &self.cell_min, &mut self.reach_near, &mut self.reach_far);
        let once = smooth(&self.splat);
        self.contact = smooth(&once);
    }
}

wide_vectors! {
    /// Draws the static instances into an empty map and keeps it.
    fn redraw_static(map: &mut LitScene) => static_body
}
wide_vectors! {
    /// Restores the static map where moving things were and draws them where they are now.
    fn redraw_moving(map: &mut LitScene) => moving_body
}

#[inline(always)]
fn static_body<V: F8>(map: &mut LitScene) {
    map.live.depth.fill(EMPTY);
    map.cast::<V>(true);
    for cell in 0..CELLS * CELLS {
        if map.touched[cell] {
            map.summarise_cell(cell);
        }
    }
    map.spread();
    map.touched.fill(false);
    map.still_depth = map.live.depth.clone();
    map.still_cell_max = map.cell_max.clone();
    map.still_cell_min = map.cell_min.clone();
    map.still_contact = map.contact.clone();
}

#[inline(always)]
fn moving_body<V: F8>(map: &mut LitScene) {
    for cell in 0..CELLS * CELLS {
        if map.touched[cell] {
            let corner = map.corner(cell);
            for row in 0..CELL {
                let at = corner + row * STRIDE;
                map.live.depth[at..at + CELL].copy_from_slice(&map.still_depth[at..at + CELL]);
            }
            map.touched[cell] = false;
        }
    }
    map.cell_max.copy_from_slice(&map.still_cell_max);
    map.cell_min.copy_from_slice(&map.still_cell_min);
    map.splat.fill(0.0);
    map.cast::<V>(false);
    for cell in 0..CELLS * CELLS {
        if map.touched[cell] | (map.still_cell_max[cell] > EMPTY) {
            map.summarise_cell(cell);
        }
    }
    map.spread();
    // The soft edge and the early answers of a cell look one cell further.
    map.changed.fill(false);
    for (cell, _) in map.touched.iter().enumerate().filter(|(_, touched)| **touched) {
        let (x, y) = (cell % CELLS, cell / CELLS);
        for row in y.saturating_sub(1)..=(y + 1).min(CELLS - 1) {
            map.changed[row * CELLS + x.saturating_sub(1)..=row * CELLS + (x + 1).min(CELLS - 1)].fill(true);
        }
    }
    for ((changed, now), still) in map.contact_changed.iter_mut().zip(&map.contact).zip(&map.still_contact) {
        *changed = now.to_bits() != still.to_bits();
    }
}

/// Combines every cell with its eight neighbours (cells beyond the rim count as the rim).
#[inline(always)]
fn spread_cells(nearest: &[f32], farthest: &[f32], near: &mut [f32], far: &mut [f32]) {
    // One more column on each side repeats the rim.
    let (mut high, mut low) = ([0f32; CELLS + 2], [0f32; CELLS + 2]);
    for y in 0..CELLS {
        let rows = [y.saturating_sub(1), y, (y + 1).min(CELLS - 1)];
        let [n0, n1, n2] = rows.map(|r| &nearest[r * CELLS..][..CELLS]);
        let [f0, f1, f2] = rows.map(|r| &farthest[r * CELLS..][..CELLS]);
        for x in 0..CELLS {
            high[x + 1] = max(max(n0[x], n1[x]), n2[x]);
            low[x + 1] = min(min(f0[x], f1[x]), f2[x]);
        }
        (high[0], high[CELLS + 1]) = (high[1], high[CELLS]);
        (low[0], low[CELLS + 1]) = (low[1], low[CELLS]);
        let (near, far) = (&mut near[y * CELLS..][..CELLS], &mut far[y * CELLS..][..CELLS]);
        for x in 0..CELLS {
            near[x] = max(max(high[x], high[x + 1]), high[x + 2]);
            far[x] = min(min(low[x], low[x + 1]), low[x + 2]);
        }
    }
}

/// Mean over 3 x 3 cells of the contact grid. The rim stays empty: positions beyond the grid read it.
#[inline(always)]
fn smooth(from: &[f32]) -> Vec<f32> {
    const N: usize = CONTACT_CELLS;
    let mut to = vec![0f32; N * N];
    let mut columns = [0f32; N + 2];
    for y in 1..N - 1 {
        let row = |r: usize| &from[r * N..][..N];
        let (above, here, below) = (row(y - 1), row(y), row(y + 1));
        for x in 0..N {
            columns[x + 1] = above[x] + here[x] + below[x];
        }
        for x in 1..N - 1 {
            to[y * N + x] = (columns[x] + columns[x + 1] + columns[x + 2]) * (1.0 / 9.0);
        }
    }
    to
}
