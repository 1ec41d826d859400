//! Triangles as the rasteriser wants them: positions one axis after the other, a normal per corner, a bounding sphere.

use super::RasterError;
use super::coarse::{self, Copies};
use super::pose::unit;
use super::scalar::sin_cos;
use bevy::math::Vec3;
use std::collections::HashMap;
use std::sync::OnceLock;

/// An indexed triangle mesh with a normal per triangle corner. Counter-clockwise triangles seen from outside face outward.
///
/// Built once; instances of a scene share it. Units are metres in the mesh's own frame.
#[derive(Debug, Clone)]
pub struct RasterMesh {
    pub(super) x_m: Vec<f32>,
    pub(super) y_m: Vec<f32>,
    pub(super) z_m: Vec<f32>,
    pub(super) triangles: Vec<[u32; 3]>,
    /// One normal per triangle corner, unit length.
    pub(super) normals: Vec<[Vec3; 3]>,
    pub(super) centre_m: Vec3,
    pub(super) radius_m: f32,
    /// Copies with less detail, made when they are first asked for.
    pub(super) coarser: OnceLock<Copies>,
}

impl RasterMesh {
    /// A mesh from shared vertices. Two faces that meet at less than `crease_angle_rad` are shaded as one smooth surface;
    /// 0 gives flat faces, about 0.6 suits printed parts. Triangles without an area are dropped.
    ///
    /// # Errors
    /// A triangle index past the end, a position that is not finite, or no triangle left.
    pub fn new(positions_m: &[Vec3], triangles: &[[u32; 3]], crease_angle_rad: f32) -> Result<Self, RasterError> {
        if !crease_angle_rad.is_finite() {
            return Err(RasterError::NotFinite { what: "crease angle of a mesh".into() });
        }
        if let Some(i) = positions_m.iter().position(|p| !p.is_finite()) {
            return Err(RasterError::NotFinite { what: format!("position of mesh vertex {i}") });
        }
        for (i, t) in triangles.iter().enumerate() {
            if let Some(&index) = t.iter().find(|&&v| v as usize >= positions_m.len()) {
                return Err(RasterError::VertexIndex { triangle: i, index, vertices: positions_m.len() });
            }
        }
        let (positions_m, mut triangles) = weld(positions_m, triangles);
        // Area vector of each face: its direction is the normal, its length twice the area.
        let area = |t: &[u32; 3]| {
            let [a, b, c] = t.map(|v| positions_m[v as usize]);
            (b - a).cross(c - a)
        };
        let given = triangles.len();
        triangles.retain(|t| unit(area(t) * 1e4).is_some());
        if triangles.is_empty() {
            return Err(RasterError::EmptyMesh { given });
        }
        let normals = corner_normals(positions_m.len(), &triangles, &area, crease_angle_rad);
        let (mut low, mut high) = (Vec3::INFINITY, Vec3::NEG_INFINITY);
        for p in &positions_m {
            low = low.min(*p);
            high = high.max(*p);
        }
        let centre_m = (low + high) * 0.5;
        let radius_m = positions_m.iter().map(|p| (*p - centre_m).length()).fold(0.0, f32::max);
        Ok(RasterMesh {
            x_m: positions_m.iter().map(|p| p.x).collect(),
            y_m: positions_m.iter().map(|p| p.y).collect(),
            z_m: positions_m.iter().map(|p| p.z).collect(),
            triangles,
            normals,
            centre_m,
            radius_m,
            coarser: OnceLock::new(),
        })
    }

    /// A mesh from loose triangles as an STL file holds them (corner positions in metres).
    ///
    /// # Errors
    /// As [`RasterMesh::new`].
    pub fn from_triangles(triangles_m: &[[Vec3; 3]], crease_angle_rad: f32) -> Result<Self, RasterError> {
        let positions: Vec<Vec3> = triangles_m.iter().flatten().copied().collect();
        let indices: Vec<[u32; 3]> = (0..triangles_m.len() as u32).map(|i| [3 * i, 3 * i + 1, 3 * i + 2]).collect();
        RasterMesh::new(&positions, &indices, crease_angle_rad)
    }

    /// A box with flat faces, centred on the origin.
    ///
    /// # Errors
    /// A size that is not finite or flat in more than one axis (no area left).
    pub fn cuboid(size_m: Vec3) -> Result<Self, RasterError> {
        let corners: Vec<Vec3> = (0..8)
            .map(|i| {
                let sign = |bit: i32| if i & bit == 0 { -0.5 } else { 0.5 };
                size_m * Vec3::new(sign(1), sign(2), sign(4))
            })
            .collect();
        const QUADS: [[u32; 4]; 6] =
            [[0, 2, 3, 1], [4, 5, 7, 6], [0, 1, 5, 4], [2, 6, 7, 3], [0, 4, 6, 2], [1, 3, 7, 5]];
        let triangles: Vec<[u32; 3]> = QUADS.iter().flat_map(|&[a, b, c, d]| [[a, b, c], [a, c, d]]).collect();
        RasterMesh::new(&corners, &triangles, 0.0)
    }

    /// A prism over a simple polygon in the xy plane (counter-clockwise, metres), centred in z, with flat faces.
    ///
    /// # Errors
    /// A position that is not finite or a polygon without an area.
    pub fn prism(polygon_m: &[[f32; 2]], height_m: f32) -> Result<Self, RasterError> {
        let n = polygon_m.len();
        let half = height_m * 0.5;
        let level = |z: f32| polygon_m.iter().map(move |p| Vec3::new(p[0], p[1], z));
        let positions: Vec<Vec3> = level(-half).chain(level(half)).collect();
        let top = triangulate(polygon_m);
        let n32 = n as u32;
        let mut triangles: Vec<[u32; 3]> = Vec::new();
        for [a, b, c] in top {
            triangles.push([a, c, b]);
            triangles.push([a + n32, b + n32, c + n32]);
        }
        for i in 0..n32 {
            let j = (i + 1) % n32.max(1);
            triangles.push([i, j, j + n32]);
            triangles.push([i, j + n32, i + n32]);
        }
        RasterMesh::new(&positions, &triangles, 0.0)
    }

    /// Number of triangles.
    pub fn triangle_count(&self) -> usize {
        self.triangles.len()
    }

    /// Number of distinct vertex positions.
    pub fn vertex_count(&self) -> usize {
        self.x_m.len()
    }

    /// Number of the coarsest copy that lies within `detail_m` of the mesh; 0 is the mesh itself.
    pub(super) fn level_for(&self, detail_m: f32) -> usize {
        if detail_m < coarse::STEPS_M[0] {
            return 0;
        }
        let copies = self.coarser.get_or_init(|| coarse::copies(self));
        copies.iter().take_while(|(error_m, _)| *error_m <= detail_m).count()
    }

    /// The copy with this number.
    #[inline(always)]
    pub(super) fn at_level(&self, level: usize) -> &RasterMesh {
        if level == 0 {
            return self;
        }
        self.coarser.get().and_then(|copies| copies.get(level - 1)).map_or(self, |(_, copy)| copy)
    }

    /// Position of vertex `i`.
    #[inline(always)]
    pub(super) fn position(&self, i: u32) -> Vec3 {
        let i = i as usize;
        Vec3::new(self.x_m[i], self.y_m[i], self.z_m[i])
    }
}

/// Joins vertices at exactly the same place and drops those no triangle uses, in order of first use.
fn weld(positions_m: &[Vec3], triangles: &[[u32; 3]]) -> (Vec<Vec3>, Vec<[u32; 3]>) {
    let mut seen: HashMap<[u32; 3], u32> = HashMap::with_capacity(positions_m.len());
    let mut kept = Vec::with_capacity(positions_m.len());
    let triangles = triangles
        .iter()
        .map(|t| {
            t.map(|v| {
                // Adding zero turns -0 into +0, so that both weld.
                let p = positions_m[v as usize] + Vec3::ZERO;
                *seen.entry(p.to_array().map(f32::to_bits)).or_insert_with(|| {
                    kept.push(p);
                    kept.len() as u32 - 1
                })
            })
        })
        .collect();
    (kept, triangles)
}

/// Normal of every corner: the area-weighted mean over the faces at that vertex within the crease angle.
fn corner_normals(
    vertices: usize,
    triangles: &[[u32; 3]],
    area: &impl Fn(&[u32; 3]) -> Vec3,
    crease_angle_rad: f32,
) -> Vec<[Vec3; 3]> {
    let areas: Vec<Vec3> = triangles.iter().map(area).collect();
    let faces: Vec<Vec3> = areas.iter().map(|a| unit(*a * 1e4).unwrap_or(Vec3::Z)).collect();
    let mut at_vertex: Vec<Vec<u32>> = vec![Vec::new(); vertices];
    for (i, t) in triangles.iter().enumerate() {
        for &v in t {
            at_vertex[v as usize].push(i as u32);
        }
    }
    let limit = crease_angle_rad.clamp(0.0, std::f32::consts::PI);
    let smallest_cosine = sin_cos(f64::from(limit)).1 as f32;
    let corner = |face: Vec3, v: u32| {
        let mut sum = Vec3::ZERO;
        for &other in &at_vertex[v as usize] {
            if faces[other as usize].dot(face) >= smallest_cosine {
                sum += areas[other as usize];
            }
        }
        unit(sum * 1e4).unwrap_or(face)
    };
    triangles.iter().zip(&faces).map(|(t, &face)| t.map(|v| corner(face, v))).collect()
}

/// Ear clipping of a simple counter-clockwise polygon.
fn triangulate(polygon: &[[f32; 2]]) -> Vec<[u32; 3]> {
    let mut rest: Vec<u32> = (0..polygon.len() as u32).collect();
    let mut triangles = Vec::new();
    let cross = |a: u32, b: u32, c: u32| {
        let [a, b, c] = [a, b, c].map(|i| polygon[i as usize]);
        (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    };
    while rest.len() > 3 {
        let n = rest.len();
        let ear = (0..n).find(|&i| {
            let (a, b, c) = (rest[(i + n - 1) % n], rest[i], rest[(i + 1) % n]);
            let inside = |p: u32| cross(a, b, p) >= 0.0 && cross(b, c, p) >= 0.0 && cross(c, a, p) >= 0.0;
            cross(a, b, c) > 0.0 && !rest.iter().any(|&p| p != a && p != b && p != c && inside(p))
        });
        let Some(i) = ear else { break };
        triangles.push([rest[(i + n - 1) % n], rest[i], rest[(i + 1) % n]]);
        rest.remove(i);
    }
    if let [a, b, c] = rest[..] {
        triangles.push([a, b, c]);
    }
    triangles
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuboid_faces_look_outward() {
        let mesh = RasterMesh::cuboid(Vec3::new(1.0, 2.0, 3.0)).unwrap();
        assert_eq!((mesh.triangle_count(), mesh.vertex_count()), (12, 8));
        for (t, n) in mesh.triangles.iter().zip(&mesh.normals) {
            let [a, b, c] = t.map(|v| mesh.position(v));
            let outward = (a + b + c) / 3.0;
            assert!((b - a).cross(c - a).dot(outward) > 0.0);
            assert!(n.iter().all(|n| n.dot(outward) > 0.0 && n.abs().max_element() == 1.0));
        }
    }

    #[test]
    fn crease_angle_decides_what_is_smooth() {
        let flat = RasterMesh::cuboid(Vec3::ONE).unwrap();
        let corners: Vec<Vec3> = (0..8).map(|i| flat.position(i)).collect();
        let smooth = RasterMesh::new(&corners, &flat.triangles, 3.0).unwrap();
        for n in smooth.normals.iter().flatten() {
            assert!(n.abs().min_element() > 0.3, "{n} should point out of a corner");
        }
    }

    #[test]
    fn loose_triangles_are_welded_and_slivers_dropped() {
        let [a, b, c, d] = [Vec3::ZERO, Vec3::X, Vec3::Y, Vec3::new(1.0, 1.0, -0.0)];
        let mesh = RasterMesh::from_triangles(&[[a, b, c], [b, d, c], [a, b, a]], 0.5).unwrap();
        assert_eq!((mesh.triangle_count(), mesh.vertex_count()), (2, 4));
    }

    #[test]
    fn a_concave_prism_has_the_volume_of_its_polygon() {
        // L shape of area 3.
        let outline = [[0.0, 0.0], [2.0, 0.0], [2.0, 1.0], [1.0, 1.0], [1.0, 2.0], [0.0, 2.0]];
        let mesh = RasterMesh::prism(&outline, 0.5).unwrap();
        let volume: f32 = mesh
            .triangles
            .iter()
            .map(|t| {
                let [a, b, c] = t.map(|v| mesh.position(v));
                a.dot(b.cross(c)) / 6.0
            })
            .sum();
        assert!((volume - 1.5).abs() < 1e-5, "{volume}");
    }

    #[test]
    fn bad_meshes_are_refused() {
        let p = [Vec3::ZERO, Vec3::X, Vec3::Y];
        assert!(matches!(
            RasterMesh::new(&p, &[[0, 1, 3]], 0.0),
            Err(RasterError::VertexIndex { triangle: 0, index: 3, vertices: 3 })
        ));
        assert!(matches!(RasterMesh::new(&p, &[[0, 1, 1]], 0.0), Err(RasterError::EmptyMesh { given: 1 })));
        assert!(RasterMesh::new(&[Vec3::NAN; 3], &[[0, 1, 2]], 0.0).is_err());
        assert!(RasterMesh::cuboid(Vec3::ZERO).is_err());
        assert!(RasterMesh::prism(&[], 1.0).is_err());
    }
}
