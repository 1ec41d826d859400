//! One camera's buffers and the drawing of its picture.
//!
//! The picture is cut into tiles of 8 x 8 pixels. Only tiles that a part touches are cleared and resolved sample by sample;
//! the others are ground alone. Tiles of a camera at rest that no moving thing and no moving shadow reaches are copied from
//! the last time they were shaded.

use super::RasterError;
use super::fill::{DepthBuffer, Extent, Prepared, SAMPLE_X_PX, SAMPLE_Y_PX, ScreenVertex, fill, prepare};
use super::ground::Reached;
use super::lanes::{F8, I8, LANES, three, wide_vectors};
use super::lens::Lens;
use super::model::{CameraModel, Pinhole};
use super::scalar::max;
use super::shade::{Batch, Jobs, ROW, TileLight, TriangleShade};
use super::sun::LitScene;
use super::tone::ToneCurve;
use super::vertex::{ClippedVertex, NEAR_M, clip_triangle, list_visible, needs_clipping, project_mesh};
use std::ops::Range;

/// Samples per pixel.
const SAMPLES: usize = 4;
/// Pixels along the side of a tile.
const TILE: usize = ROW;
/// Size of depth and triangle numbers that are worked on together.
const BAND_BYTES: usize = 768 << 10;
/// Details of a part smaller than this share of a pixel are left out. (At 0.5 no difference can be seen in pictures of 96x96
/// beside each other; the two cameras and the shadows of Move-T together take an eighth less time there.)
const DETAIL_PX: f32 = 0.5;
/// Triangle number of a sample that shows the ground.
const NO_TRIANGLE: i32 = -1;
/// Set in [`Drawn::item`] for the pieces of clipped triangles.
const CLIPPED: u32 = 1 << 31;

/// What a tile shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Touch {
    Ground,
    Still,
    Moving,
}

/// A tile's pixels of an earlier picture that may be used again.
#[derive(Debug, Clone, Copy)]
struct CachedTile {
    valid: bool,
    /// What the tile looks at while no moving thing is in it; known after it was first shaded so.
    reached: Option<Reached>,
}

/// A triangle that was filled: its instance and its number in the mesh, or in the list of clipped pieces.
#[derive(Debug, Clone, Copy)]
struct Drawn {
    item: u32,
    triangle: u32,
}

/// The samples of a pixel that show the same triangle: the first of them and how many they are.
#[derive(Debug, Clone, Copy)]
struct Part {
    id: i32,
    pixel: u8,
    sample: u8,
    count: u8,
}

/// What eight neighbouring pixels show.
enum Content<V> {
    /// The ground alone.
    Ground,
    /// One triangle.
    Surface(Batch<V>),
    /// Jobs, and the ground with this share of each pixel.
    Parts([f32; LANES]),
}

/// The buffers of one camera. Keep one per camera: pictures of a camera at rest get cheaper from the second one on.
#[derive(Debug, Default)]
pub struct CameraView {
    buffer: DepthBuffer,
    vertices: Vec<ScreenVertex>,
    visible: Vec<u32>,
    /// Where the vertices of each instance begin.
    starts: Vec<usize>,
    /// Which copy of its mesh is drawn for each instance.
    levels: Vec<usize>,
    drawn: Vec<Drawn>,
    prepared: Vec<Prepared>,
    /// The drawn triangles that reach into each band of rows.
    bands: Vec<Vec<u32>>,
    shades: Vec<TriangleShade>,
    clipped: Vec<[ClippedVertex; 3]>,
    polygon: Vec<ClippedVertex>,
    touched: Vec<Touch>,
    tiles_x: usize,
    plane: (f32, f32, f32),
    cached: Vec<CachedTile>,
    cached_rgb: Vec<u8>,
    /// The camera and static part that the cache belongs to.
    last: Option<(Pinhole, u64)>,
    lens: Option<Lens>,
    lens_rgb: Vec<u8>,
    reuse_off: bool,
}

impl CameraView {
    /// Empty buffers; they grow to the first camera drawn.
    pub fn new() -> Self {
        CameraView::default()
    }

    /// Whether unchanged parts of the picture are copied from the one before (on by default). The picture is the same.
    pub fn set_reuse(&mut self, on: bool) {
        self.reuse_off = !on;
        self.last = None;
    }

    /// Draws the scene as `camera` sees it into `rgb` (rows from the top, three sRGB bytes a pixel).
    ///
    /// # Errors
    /// The scene has not been updated yet, the camera is out of range, or the buffer does not fit.
    pub fn draw(&mut self, lit: &LitScene, camera: &CameraModel, rgb: &mut [u8]) -> Result<(), RasterError> {
        camera.validate()?;
        if !lit.is_ready() {
            return Err(RasterError::NoTick);
        }
        let needed = camera.rgb_bytes();
        if rgb.len() != needed {
            let (given, width, height) = (rgb.len(), camera.width, camera.height);
            return Err(RasterError::BufferSize { given, needed, width, height });
        }
        let Some(distortion) = camera.distortion else {
            self.draw_pinhole(lit, &Pinhole::new(camera), rgb);
            return Ok(());
        };
        let lens = match self.lens.take() {
            Some(lens) if lens.fits(camera) => lens,
            _ => Lens::new(camera, distortion)?,
        };
        let pinhole = lens.pinhole(camera);
        let mut wide = std::mem::take(&mut self.lens_rgb);
        wide.resize(pinhole.width * pinhole.height * 3, 0);
        self.draw_pinhole(lit, &pinhole, &mut wide);
        lens.warp(&wide, rgb);
        self.lens_rgb = wide;
        self.lens = Some(lens);
        Ok(())
    }

    /// Draws without a lens.
    fn draw_pinhole(&mut self, lit: &LitScene, camera: &Pinhole, rgb: &mut [u8]) {
        self.tiles_x = camera.width.div_ceil(TILE);
        let tiles = self.tiles_x * camera.height.div_ceil(TILE);
        self.touched.clear();
        self.touched.resize(tiles, Touch::Ground);
        // As many rows at a time as the nearest large cache holds.
        let row_bytes = DepthBuffer::stride::<SAMPLES>(camera.width) * 8;
        let rows = (BAND_BYTES / row_bytes / TILE * TILE).clamp(TILE, camera.height.next_multiple_of(TILE));
        self.buffer.resize::<SAMPLES>(camera.width, rows, true);
        self.bands.resize_with(camera.height.div_ceil(rows).max(self.bands.len()), Vec::new);
        self.bands.iter_mut().for_each(Vec::clear);
        self.plane = lit.ground.depth_plane(camera);
        let at_rest = self.last == Some((*camera, lit.revision)) && !self.reuse_off;
        if !at_rest {
            self.last = Some((*camera, lit.revision));
            self.cached.clear();
            self.cached.resize(tiles, CachedTile { valid: false, reached: None });
        }
        prepare_parts(self, lit, camera);
        draw_bands(self, lit, camera, at_rest, rgb);
    }

    /// Marks the tiles a triangle may write to and clears those touched for the first time.
    #[inline(always)]
    fn touch<V: F8>(&mut self, e: &Extent, how: Touch) {
        const SHIFT: u32 = TILE.trailing_zeros();
        let (x0, x1) = (e.x0 >> SHIFT, e.x1 >> SHIFT);
        let last_row = (self.buffer.first_row + self.buffer.rows) as i32 - 1;
        let (y0, y1) = (e.y0.max(self.buffer.first_row as i32) >> SHIFT, e.y1.min(last_row) >> SHIFT);
        for y in y0 as usize..=y1 as usize {
            for x in x0 as usize..=x1 as usize {
                let tile = y * self.tiles_x + x;
                if self.touched[tile] < how {
                    if self.touched[tile] == Touch::Ground {
                        self.clear_tile::<V>(x, y);
                    }
                    self.touched[tile] = how;
                }
            }
        }
    }

    /// Fills a tile with the depth of the table plane.
    #[inline(always)]
    fn clear_tile<V: F8>(&mut self, tile_x: usize, tile_y: usize) {
        const STEP: usize = LANES / SAMPLES;
        let (plane_0, plane_x, plane_y) = self.plane;
        let mut lanes = [0f32; LANES];
        for (l, lane) in lanes.iter_mut().enumerate() {
            let x = SAMPLE_X_PX[l % SAMPLES] + (l / SAMPLES) as f32;
            *lane = plane_0 + plane_x * x + plane_y * SAMPLE_Y_PX[l % SAMPLES];
        }
        let lanes = V::load(&lanes);
        for y in tile_y * TILE..(tile_y + 1) * TILE {
            let at = self.buffer.index::<SAMPLES>(tile_x * TILE, y);
            let depth = &mut self.buffer.depth[at..at + TILE * SAMPLES];
            for (i, eight) in depth.chunks_exact_mut(LANES).enumerate() {
                let shift = plane_x * (tile_x * TILE + i * STEP) as f32 + plane_y * y as f32;
                eight.copy_from_slice(&(lanes + V::splat(shift)).max(V::splat(0.0)).store());
            }
            self.buffer.ids[at..at + TILE * SAMPLES].fill(NO_TRIANGLE);
        }
    }

    /// Notes a triangle for the bands it reaches into.
    #[inline(always)]
    fn note_triangle(&mut self, camera: &Pinhole, v: [ScreenVertex; 3], drawn: Drawn) {
        let Some(p) = prepare::<SAMPLES>(camera.width, camera.height, v[0], v[1], v[2]) else { return };
        let id = self.drawn.len() as u32;
        self.drawn.push(drawn);
        let rows = self.buffer.rows;
        let (first, last) = (p.extent.y0 as usize / rows, p.extent.y1 as usize / rows);
        self.prepared.push(p);
        for band in &mut self.bands[first..=last] {
            band.push(id);
        }
    }

    /// The part of a triangle in front of the camera, as a fan of pieces.
    #[cold]
    fn note_clipped(&mut self, lit: &LitScene, camera: &Pinhole, item: usize, triangle: usize) {
        let it = &lit.items[item];
        let mut polygon = std::mem::take(&mut self.polygon);
        clip_triangle(it.mesh.at_level(self.levels[item]), &it.placed, camera, triangle, &mut polygon);
        for i in 2..polygon.len() {
            let corners = [polygon[0], polygon[i - 1], polygon[i]];
            let drawn = Drawn { item: item as u32 | CLIPPED, triangle: self.clipped.len() as u32 };
            self.clipped.push(corners);
            self.note_triangle(camera, corners.map(|c| c.screen), drawn);
        }
        self.polygon = polygon;
    }

    /// The shading of triangle `id`, worked out when first asked for.
    #[inline(always)]
    fn shade_of(&mut self, lit: &LitScene, id: i32) -> TriangleShade {
        let known = self.shades[id as usize];
        if known.item != TriangleShade::PENDING {
            return known;
        }
        let Drawn { item, triangle } = self.drawn[id as usize];
        let shade = if item & CLIPPED != 0 {
            let c = self.clipped[triangle as usize];
            TriangleShade::new(three!(k => c[k].screen), three!(k => c[k].normal), item & !CLIPPED)
        } else {
            let it = &lit.items[item as usize];
            let start = self.starts[item as usize];
            let mesh = it.mesh.at_level(self.levels[item as usize]);
            let (t, n) = (mesh.triangles[triangle as usize], &mesh.normals[triangle as usize]);
            let v = three!(k => self.vertices[start + t[k] as usize]);
            TriangleShade::new(v, three!(k => it.placed.normal(n[k])), item)
        };
        self.shades[id as usize] = shade;
        shade
    }

    /// Sorts the samples of eight pixels; parts of pixels become jobs. `first` is the number of the first pixel in its tile;
    /// `counts` has a bit for each pixel in the picture.
    #[inline(always)]
    fn collect<V: F8>(
        &mut self,
        lit: &LitScene,
        x: usize,
        y: usize,
        first: usize,
        counts: u32,
        jobs: &mut Jobs,
    ) -> Content<V> {
        let mut ground = [0f32; LANES];
        let at = self.buffer.index::<SAMPLES>(x, y);
        let mut ids = [NO_TRIANGLE; LANES * SAMPLES];
        ids.copy_from_slice(&self.buffer.ids[at..at + LANES * SAMPLES]);
        if ids.iter().fold(NO_TRIANGLE, |all, id| all & id) == NO_TRIANGLE {
            return Content::Ground;
        }
        let mut depths = [0f32; LANES * SAMPLES];
        depths.copy_from_slice(&self.buffer.depth[at..at + LANES * SAMPLES]);
        if ids == [ids[0]; LANES * SAMPLES] {
            // One triangle covers all eight pixels.
            let mut mean = [0f32; LANES];
            for (l, mean) in mean.iter_mut().enumerate() {
                let [a, b, c, d] = four(&depths, l * SAMPLES);
                *mean = ((a + b) + (c + d)) * 0.25;
            }
            let shade = self.shade_of(lit, ids[0]);
            return Content::Surface(Batch::of_triangle(lit, &shade, x, y, &mean, counts));
        }
        let mut parts = [Part { id: 0, pixel: 0, sample: 0, count: 0 }; LANES * SAMPLES + 1];
        let mut count = 0;
        for l in 0..LANES {
            let id: [i32; SAMPLES] = four(&ids, l * SAMPLES);
            let [a, b, c, d] = id;
            // Which samples show the same triangle as an earlier one; each part of the pixel is kept at its first sample.
            // Every sample is noted and the list moved on only for those, since which they are cannot be guessed.
            let same = |p: i32, q: i32| u32::from(p == q);
            let (ab, ac, ad) = (same(a, b), same(a, c), same(a, d));
            let (bc, bd, cd) = (same(b, c), same(b, d), same(c, d));
            let counts = [1 + ab + ac + ad, 1 + bc + bd, 1 + cd, 1];
            let later = [0, ab, ac | bc, ad | bd | cd];
            let mut open = 0;
            for s in 0..SAMPLES {
                let is_ground = id[s] == NO_TRIANGLE;
                open += u32::from(is_ground);
                parts[count] = Part { id: id[s], pixel: l as u8, sample: s as u8, count: counts[s] as u8 };
                count += usize::from((later[s] == 0) & !is_ground);
            }
            ground[l] = open as f32 * 0.25;
        }
        for part in &parts[..count] {
            let shade = self.shade_of(lit, part.id);
            let (pixel, s) = (part.pixel as usize, part.sample as usize & (SAMPLES - 1));
            // A pixel of one triangle is shaded in its middle, a part of a pixel at its sample.
            let (whole, at) = (part.count == 4, (pixel * SAMPLES + s) & (LANES * SAMPLES - 1));
            let (dx, dy) = if whole { (0.5, 0.5) } else { (SAMPLE_X_PX[s], SAMPLE_Y_PX[s]) };
            let [p, q, r, t] = four(&depths, at & !(SAMPLES - 1));
            let depth = if whole { ((p + q) + (r + t)) * 0.25 } else { depths[at] };
            let weight = f32::from(part.count) * 0.25;
            jobs.push(lit, &shade, first + pixel, weight, x as f32 + pixel as f32 + dx, y as f32 + dy, depth);
        }
        Content::Parts(ground)
    }

    /// Shades one tile into the picture and notes what it looked at.
    #[inline(always)]
    fn shade_tile<V: F8>(
        &mut self,
        lit: &LitScene,
        camera: &Pinhole,
        tile: usize,
        (curve, jobs, tile_light): (&ToneCurve, &mut Jobs, &mut TileLight),
        rgb: &mut [u8],
        mut reached: Option<&mut Reached>,
    ) {
        let (x, y0) = (tile % self.tiles_x * TILE, tile / self.tiles_x * TILE);
        let columns = TILE.min(camera.width - x);
        let counts = (1u32 << columns) - 1;
        let only_ground = self.touched[tile] == Touch::Ground;
        let rows = TILE.min(camera.height - y0);
        for row in 0..rows {
            let y = y0 + row;
            let content = match only_ground {
                true => Content::Ground,
                false => self.collect::<V>(lit, x, y, row * ROW, counts, jobs),
            };
            let light = match content {
                Content::Ground => lit.ground.shade::<V>(lit, camera, x, y, counts, reached.as_deref_mut()),
                Content::Surface(batch) => batch.shade(lit, camera, reached.as_deref_mut()),
                Content::Parts(share) => {
                    let share = V::load(&share);
                    let wanted = V::splat(0.0).lt(share).bits() & counts;
                    if wanted != 0 {
                        let ground = lit.ground.shade::<V>(lit, camera, x, y, wanted, reached.as_deref_mut());
                        three!(k => ground[k] * share)
                    } else {
                        [V::splat(0.0); 3]
                    }
                }
            };
            for k in 0..3 {
                tile_light[k][row * ROW..][..ROW].copy_from_slice(&light[k].store());
            }
            // Parts of pixels come on top of what their row shows of the ground.
            jobs.shade::<V>(lit, camera, tile_light, row + 1 == rows, reached.as_deref_mut());
        }
        for row in 0..rows {
            let light: [V; 3] = three!(k => {
                let mut eight = [0f32; LANES];
                eight.copy_from_slice(&tile_light[k][row * ROW..][..ROW]);
                V::load(&eight)
            });
            let [red, green, blue] = three!(k => curve.bytes(light[k]));
            let at = ((y0 + row) * camera.width + x) * 3;
            for (l, pixel) in rgb[at..at + columns * 3].chunks_exact_mut(3).enumerate() {
                pixel.copy_from_slice(&[red[l], green[l], blue[l]]);
            }
        }
    }

    /// Copies a tile between two pictures of this camera.
    #[inline(always)]
    fn copy_tile(&self, camera: &Pinhole, tile: usize, from: &[u8], to: &mut [u8]) {
        let (x0, y0) = (tile % self.tiles_x * TILE, tile / self.tiles_x * TILE);
        let columns = TILE.min(camera.width - x0);
        for y in y0..(y0 + TILE).min(camera.height) {
            let at = (y * camera.width + x0) * 3;
            to[at..at + columns * 3].copy_from_slice(&from[at..at + columns * 3]);
        }
    }
}

/// The four values of a pixel.
#[inline(always)]
fn four<T: Copy>(values: &[T; LANES * SAMPLES], at: usize) -> [T; SAMPLES] {
    [values[at], values[at + 1], values[at + 2], values[at + 3]]
}

wide_vectors! {
    /// Projects all parts that may be in view and lists their triangles.
    fn prepare_parts(view: &mut CameraView, lit: &LitScene, camera: &Pinhole) => prepare_parts_body
}
wide_vectors! {
    /// Fills and shades the picture band by band.
    fn draw_bands(view: &mut CameraView, lit: &LitScene, camera: &Pinhole, at_rest: bool, rgb: &mut [u8])
        => draw_bands_body
}

#[inline(always)]
fn prepare_parts_body<V: F8>(view: &mut CameraView, lit: &LitScene, camera: &Pinhole) {
    view.vertices.clear();
    view.starts.clear();
    view.levels.clear();
    view.drawn.clear();
    view.prepared.clear();
    view.clipped.clear();
    for (i, item) in lit.items.iter().enumerate() {
        let start = view.vertices.len();
        view.starts.push(start);
        view.levels.push(0);
        if !camera.may_see_sphere(item.placed.centre, item.placed.radius_m, NEAR_M) {
            continue;
        }
        // How large a pixel is at the nearest point of the part.
        let nearest_m = max(camera.camera_from_world(item.placed.centre).z - item.placed.radius_m, NEAR_M);
        let level = item.mesh.level_for(DETAIL_PX * nearest_m / (camera.focal_px * item.placed.scale));
        view.levels[i] = level;
        let mesh = item.mesh.at_level(level);
        project_mesh::<V>(mesh, &item.placed, camera, &mut view.vertices);
        let mut visible = std::mem::take(&mut view.visible);
        list_visible::<SAMPLES>(mesh, &view.vertices[start..], camera.width, camera.height, &mut visible);
        for &triangle in &visible {
            let t = mesh.triangles[triangle as usize];
            let v = three!(k => view.vertices[start + t[k] as usize]);
            if needs_clipping(v[0], v[1], v[2]) {
                view.note_clipped(lit, camera, i, triangle as usize);
            } else {
                view.note_triangle(camera, v, Drawn { item: i as u32, triangle });
            }
        }
        view.visible = visible;
    }
    view.shades.clear();
    view.shades.resize(view.drawn.len(), TriangleShade::EMPTY);
}

#[inline(always)]
fn draw_bands_body<V: F8>(view: &mut CameraView, lit: &LitScene, camera: &Pinhole, at_rest: bool, rgb: &mut [u8]) {
    for (number, first_row) in (0..camera.height).step_by(view.buffer.rows).enumerate() {
        view.buffer.first_row = first_row;
        let band = std::mem::take(&mut view.bands[number]);
        for &id in &band {
            let triangle = view.prepared[id as usize];
            let item = &lit.items[(view.drawn[id as usize].item & !CLIPPED) as usize];
            view.touch::<V>(&triangle.extent, if item.is_static { Touch::Still } else { Touch::Moving });
            fill::<V, SAMPLES, true>(&mut view.buffer, &triangle, id);
        }
        view.bands[number] = band;
        let tile_row = first_row / TILE * view.tiles_x;
        let tiles = tile_row..(tile_row + view.buffer.rows / TILE * view.tiles_x).min(view.touched.len());
        shade_tiles::<V>(view, lit, camera, at_rest, tiles, rgb);
    }
}

/// Shades a range of tiles or copies them from the cache.
#[inline(always)]
fn shade_tiles<V: F8>(
    view: &mut CameraView,
    lit: &LitScene,
    camera: &Pinhole,
    at_rest: bool,
    tiles: Range<usize>,
    rgb: &mut [u8],
) {
    let curve = ToneCurve::shared();
    // Every tile leaves no job behind and fills all of its light that it shows.
    let (mut jobs, mut tile_light) = (Jobs::new(), [[0.0; TILE * TILE]; 3]);
    let mut cached_rgb = std::mem::take(&mut view.cached_rgb);
    if at_rest {
        cached_rgb.resize(rgb.len(), 0);
    }
    for tile in tiles {
        let fits = |r: &Reached| {
            !lit.changed_within(r.shadow_low, r.shadow_high) && !lit.contact_changed_within(r.table_low, r.table_high)
        };
        let CachedTile { valid, reached } = view.cached[tile];
        let reusable = at_rest && view.touched[tile] != Touch::Moving;
        let unchanged = reusable && reached.as_ref().is_some_and(fits);
        if unchanged && valid {
            view.copy_tile(camera, tile, &cached_rgb, rgb);
            continue;
        }
        let mut looked_at = Reached::NOTHING;
        let note = reusable && reached.is_none();
        view.shade_tile::<V>(
            lit,
            camera,
            tile,
            (curve, &mut jobs, &mut tile_light),
            rgb,
            note.then_some(&mut looked_at),
        );
        if note {
            view.cached[tile].reached = Some(looked_at);
        }
        if unchanged || (note && fits(&looked_at)) {
            view.copy_tile(camera, tile, rgb, &mut cached_rgb);
            view.cached[tile].valid = true;
        }
    }
    view.cached_rgb = cached_rgb;
}
