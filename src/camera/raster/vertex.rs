//! From mesh positions to the screen: instances placed in the world, projection, and clipping of the few triangles that
//! cross the near plane or run far out of the picture.

use super::RasterMesh;
use super::fill::{GUARD_PX, ScreenVertex, may_cover};
use super::lanes::{F8, I8, LANES, three};
use super::model::Pinhole;
use super::pose::unit;
use super::scalar::{clamp, round_i32};
use super::scene::Instance;
use bevy::math::{Mat3, Vec3};

/// Nothing nearer than this to the camera's centre is drawn, in metres.
pub(super) const NEAR_M: f32 = 0.004;
/// Depth value of a vertex that cannot be projected; its triangles are clipped.
const UNPROJECTED: f32 = f32::NEG_INFINITY;

/// An instance with its pose as matrices.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Placed {
    /// Rotation and scale.
    pub linear: Mat3,
    pub translation: Vec3,
    /// Takes mesh normals to world directions (not of unit length).
    pub normals: Mat3,
    pub centre: Vec3,
    pub radius_m: f32,
    /// Largest of the scales along the mesh's axes, not nothing.
    pub scale: f32,
}

impl Placed {
    pub fn new(instance: &Instance, mesh: &RasterMesh) -> Self {
        let rotation = instance.world_from_mesh.rotation_matrix();
        let s = instance.scale;
        let scaled = |v: Vec3| Mat3::from_cols(rotation.x_axis * v.x, rotation.y_axis * v.y, rotation.z_axis * v.z);
        let linear = scaled(s);
        let inverse = |x: f32| if x > 1e-6 { 1.0 / x } else { 0.0 };
        let translation = instance.world_from_mesh.translation;
        Placed {
            linear,
            translation,
            normals: scaled(Vec3::new(inverse(s.x), inverse(s.y), inverse(s.z))),
            centre: linear * mesh.centre_m + translation,
            radius_m: mesh.radius_m * s.max_element(),
            scale: s.max_element().max(1e-6),
        }
    }

    /// World normal of a mesh normal, unit length.
    #[inline(always)]
    pub fn normal(&self, n: Vec3) -> Vec3 {
        let n = self.normals * n;
        n * (1.0 / (n.dot(n) + 1e-20).sqrt())
    }
}

/// Rows of an affine map from the mesh to a drawing frame, for loops over positions.
struct Rows {
    r: [[f32; 3]; 3],
    t: [f32; 3],
}

impl Rows {
    /// `frame` has the drawing frame's axes in the world as columns; `origin` is its origin in the world.
    fn new(placed: &Placed, frame: &Mat3, origin: Vec3) -> Self {
        let offset = placed.translation - origin;
        let row = |axis: Vec3| {
            let m = &placed.linear;
            [axis.dot(m.x_axis), axis.dot(m.y_axis), axis.dot(m.z_axis)]
        };
        let axes = [frame.x_axis, frame.y_axis, frame.z_axis];
        Rows { r: axes.map(row), t: axes.map(|a| a.dot(offset)) }
    }

    #[inline(always)]
    fn apply<V: F8>(&self, x: V, y: V, z: V) -> [V; 3] {
        three!(k => {
            let r = &self.r[k];
            V::splat(r[0]) * x + V::splat(r[1]) * y + V::splat(r[2]) * z + V::splat(self.t[k])
        })
    }
}

/// How positions of the drawing frame come to the screen.
trait Projection {
    /// Screen x, y in pixels and the depth value.
    fn project<V: F8>(&self, p: [V; 3]) -> [V; 3];
}

impl Projection for Pinhole {
    #[inline(always)]
    fn project<V: F8>(&self, [x, y, z]: [V; 3]) -> [V; 3] {
        let (near, guard) = (V::splat(NEAR_M), V::splat(GUARD_PX));
        let inverse = V::splat(1.0) / z.max(near);
        let px = V::splat(self.centre_x_px) + V::splat(self.focal_px) * x * inverse;
        let py = V::splat(self.centre_y_px) + V::splat(self.focal_px) * y * inverse;
        let bad = z.lt(near).or(guard.lt(px.abs())).or(guard.lt(py.abs()));
        [px, py, bad.pick(V::splat(UNPROJECTED), inverse)]
    }
}

/// Parallel projection with this many pixels per metre.
struct Parallel(f32);

impl Projection for Parallel {
    #[inline(always)]
    fn project<V: F8>(&self, [x, y, z]: [V; 3]) -> [V; 3] {
        let scale = V::splat(self.0);
        [x * scale, y * scale, V::splat(0.0) - z]
    }
}

/// Positions `from` to `from + 8` along one axis, padded with zeros.
#[inline(always)]
fn load_axis<V: F8>(axis: &[f32], from: usize) -> V {
    let mut eight = [0f32; LANES];
    let rest = &axis[from..];
    let count = LANES.min(rest.len());
    eight[..count].copy_from_slice(&rest[..count]);
    V::load(&eight)
}

#[inline(always)]
fn to_subpixels<V: F8>(p: V) -> [i32; LANES] {
    (p.clamp(-GUARD_PX, GUARD_PX) * V::splat(256.0)).round().store()
}

/// Projects all positions of a mesh, eight at a time.
#[inline(always)]
fn for_each_vertex<V: F8>(mesh: &RasterMesh, rows: &Rows, projection: &impl Projection, out: &mut Vec<ScreenVertex>) {
    let n = mesh.x_m.len();
    let start = out.len();
    out.resize(start + n.next_multiple_of(LANES), ScreenVertex::default());
    for (chunk, target) in out[start..].chunks_exact_mut(LANES).enumerate() {
        let from = chunk * LANES;
        let [x, y, z] = [load_axis::<V>(&mesh.x_m, from), load_axis(&mesh.y_m, from), load_axis(&mesh.z_m, from)];
        let [px, py, depth] = projection.project(rows.apply(x, y, z));
        let (sx, sy, depth) = (to_subpixels(px), to_subpixels(py), depth.store());
        for l in 0..LANES {
            target[l] = ScreenVertex { x: sx[l], y: sy[l], depth: depth[l] };
        }
    }
    out.truncate(start + n);
}

/// Projects all positions; the depth value is the inverse of the distance along the optical axis. Vertices too near or too
/// far out are marked for clipping ([`needs_clipping`]).
#[inline(always)]
pub(super) fn project_mesh<V: F8>(mesh: &RasterMesh, placed: &Placed, camera: &Pinhole, out: &mut Vec<ScreenVertex>) {
    let rows = Rows::new(placed, &camera.world_from_camera, camera.eye);
    for_each_vertex::<V>(mesh, &rows, camera, out);
}

/// Places all positions on a parallel projection: `frame` has its right, down and forward axes as columns, `origin` its
/// corner; the depth value grows against the forward axis. Positions far outside are moved to the guard band.
#[inline(always)]
pub(super) fn place_mesh<V: F8>(
    mesh: &RasterMesh,
    placed: &Placed,
    frame: &Mat3,
    origin: Vec3,
    texels_per_m: f32,
    out: &mut Vec<ScreenVertex>,
) {
    let rows = Rows::new(placed, frame, origin);
    for_each_vertex::<V>(mesh, &rows, &Parallel(texels_per_m), out);
}

/// Lists the triangles of a mesh that may cover a sample, or that must be clipped to know. `vertices` are the mesh's own.
/// Whether a triangle faces the camera is as good as random; collecting first keeps that guess out of the filling loop.
#[inline(always)]
pub(super) fn list_visible<const SAMPLES: usize>(
    mesh: &RasterMesh,
    vertices: &[ScreenVertex],
    width: usize,
    height: usize,
    out: &mut Vec<u32>,
) {
    out.resize(mesh.triangles.len() + 1, 0);
    let mut count = 0;
    for (number, t) in mesh.triangles.iter().enumerate() {
        let [a, b, c] = three!(k => vertices[t[k] as usize]);
        out[count] = number as u32;
        count += usize::from(may_cover::<SAMPLES>(width, height, a, b, c) | needs_clipping(a, b, c));
    }
    out.truncate(count);
}

/// True if one of the three could not be projected.
#[inline(always)]
pub(super) fn needs_clipping(a: ScreenVertex, b: ScreenVertex, c: ScreenVertex) -> bool {
    (a.depth < 0.0) | (b.depth < 0.0) | (c.depth < 0.0)
}

/// A corner of a triangle cut at the near plane and the guard band, with its normal in the world.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClippedVertex {
    pub screen: ScreenVertex,
    pub normal: Vec3,
}

/// The visible part of triangle `index` as a convex polygon of at most 8 corners (possibly none).
#[cold]
pub(super) fn clip_triangle(
    mesh: &RasterMesh,
    placed: &Placed,
    camera: &Pinhole,
    index: usize,
    out: &mut Vec<ClippedVertex>,
) {
    out.clear();
    let mut polygon: Vec<(Vec3, Vec3)> = (0..3)
        .map(|k| {
            let p = placed.linear * mesh.position(mesh.triangles[index][k]) + placed.translation;
            (camera.camera_from_world(p), placed.normal(mesh.normals[index][k]))
        })
        .collect();
    // Half-spaces dot(plane, p) >= offset. The sides are 30 pixels inside the guard band to leave room for rounding.
    let side = (GUARD_PX - 30.0 - camera.width.max(camera.height) as f32) / camera.focal_px;
    let planes = [
        (Vec3::Z, NEAR_M),
        (Vec3::new(1.0, 0.0, side), 0.0),
        (Vec3::new(-1.0, 0.0, side), 0.0),
        (Vec3::new(0.0, 1.0, side), 0.0),
        (Vec3::new(0.0, -1.0, side), 0.0),
    ];
    for (plane, offset) in planes {
        let mut kept = Vec::with_capacity(polygon.len() + 1);
        for i in 0..polygon.len() {
            let (p, q) = (polygon[i], polygon[(i + 1) % polygon.len()]);
            let (dp, dq) = (plane.dot(p.0) - offset, plane.dot(q.0) - offset);
            if dp >= 0.0 {
                kept.push(p);
            }
            if (dp >= 0.0) != (dq >= 0.0) {
                let t = dp / (dp - dq);
                kept.push((p.0 + (q.0 - p.0) * t, p.1 + (q.1 - p.1) * t));
            }
        }
        polygon = kept;
    }
    out.extend(polygon.into_iter().map(|(p, normal)| {
        let inverse = 1.0 / p.z.max(NEAR_M);
        let x = clamp(camera.centre_x_px + camera.focal_px * p.x * inverse, -GUARD_PX, GUARD_PX);
        let y = clamp(camera.centre_y_px + camera.focal_px * p.y * inverse, -GUARD_PX, GUARD_PX);
        let screen = ScreenVertex { x: round_i32(x * 256.0), y: round_i32(y * 256.0), depth: inverse };
        ClippedVertex { screen, normal: unit(normal).unwrap_or(Vec3::Z) }
    }));
}
