//! Meshes of what lies on the table, as plain triangles with flat normals.

use crate::arm::TriMesh;
use crate::config::{PropShape, TeeSize};
use bevy::asset::RenderAssetUsages;
use bevy::math::{Vec2, Vec3};
use bevy::mesh::{Indices, Mesh, PrimitiveTopology};
use std::collections::{BTreeMap, BTreeSet};

/// Triangles of a T's face over the corners of [`TeeSize::outline_m`]: the bar, then the stem.
const TEE_FACE: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 5], [0, 5, 6], [0, 6, 7], [2, 3, 4], [2, 4, 5]];
/// Triangles of a rectangle's face.
const QUAD_FACE: [[usize; 3]; 2] = [[0, 1, 2], [0, 2, 3]];

/// Triangles with a normal per corner.
#[derive(Clone, Debug, Default)]
pub struct Soup {
    /// Corners, three per triangle, m.
    pub positions: Vec<[f32; 3]>,
    /// One normal per corner.
    pub normals: Vec<[f32; 3]>,
}

impl Soup {
    /// Adds a triangle, counter-clockwise seen from outside, with its face normal.
    pub fn triangle(&mut self, corners: [Vec3; 3]) {
        let normal = (corners[1] - corners[0]).cross(corners[2] - corners[0]).normalize_or_zero();
        for corner in corners {
            self.positions.push(corner.to_array());
            self.normals.push(normal.to_array());
        }
    }

    fn quad(&mut self, [a, b, c, d]: [Vec3; 4]) {
        self.triangle([a, b, c]);
        self.triangle([a, c, d]);
    }

    /// As a mesh for the renderer; equal corners are shared, which software drivers thank us for.
    pub fn into_mesh(self) -> Mesh {
        let mut seen: BTreeMap<[u32; 6], u32> = BTreeMap::new();
        let mut shared = Self::default();
        let indices = self
            .positions
            .into_iter()
            .zip(self.normals)
            .map(|(position, normal)| {
                let key = [position, normal].map(|v| v.map(f32::to_bits));
                let key = [key[0][0], key[0][1], key[0][2], key[1][0], key[1][1], key[1][2]];
                *seen.entry(key).or_insert_with(|| {
                    shared.positions.push(position);
                    shared.normals.push(normal);
                    shared.positions.len() as u32 - 1
                })
            })
            .collect();
        Mesh::new(PrimitiveTopology::TriangleList, RenderAssetUsages::default())
            .with_inserted_attribute(Mesh::ATTRIBUTE_POSITION, shared.positions)
            .with_inserted_attribute(Mesh::ATTRIBUTE_NORMAL, shared.normals)
            .with_inserted_indices(Indices::U32(indices))
    }
}

/// A coarse copy of a mesh without normals' detail, for its shadow: corners snap to a grid of `cell_m`, triangles that
/// vanish are dropped. `None` if the mesh is not made of indexed triangles.
pub fn coarse(mesh: &Mesh, cell_m: f32) -> Option<Mesh> {
    let positions = mesh.attribute(Mesh::ATTRIBUTE_POSITION)?.as_float3()?;
    let cells: Vec<[i32; 3]> = positions.iter().map(|p| p.map(|value| (value / cell_m).round() as i32)).collect();
    let mut numbers: BTreeMap<[i32; 3], u32> = BTreeMap::new();
    let mut corners: Vec<[f32; 3]> = Vec::new();
    let number: Vec<u32> = cells
        .iter()
        .zip(positions)
        .map(|(cell, position)| {
            *numbers.entry(*cell).or_insert_with(|| {
                corners.push(*position);
                corners.len() as u32 - 1
            })
        })
        .collect();
    let mut kept: BTreeSet<[u32; 3]> = BTreeSet::new();
    let indices: Vec<usize> = mesh.indices()?.iter().collect();
    for triangle in indices.as_chunks::<3>().0 {
        let mut corner = triangle.map(|index| number.get(index).copied().unwrap_or(0));
        if corner[0] != corner[1] && corner[1] != corner[2] && corner[2] != corner[0] {
            let least = (0..3).min_by_key(|index| corner[*index]).unwrap_or(0);
            corner.rotate_left(least);
            kept.insert(corner);
        }
    }
    let normals = vec![[0.0, 0.0, 1.0]; corners.len()];
    Some(
        Mesh::new(PrimitiveTopology::TriangleList, RenderAssetUsages::default())
            .with_inserted_attribute(Mesh::ATTRIBUTE_POSITION, corners)
            .with_inserted_attribute(Mesh::ATTRIBUTE_NORMAL, normals)
            .with_inserted_indices(Indices::U32(kept.into_iter().flatten().collect())),
    )
}

/// Moves every edge of a counter-clockwise polygon outwards by `distance` (inwards if negative); corners stay sharp.
pub fn offset_polygon(corners: &[Vec2], distance: f32) -> Vec<Vec2> {
    let count = corners.len();
    (0..count)
        .map(|index| {
            let (last, here, next) =
                (corners[(index + count - 1) % count], corners[index], corners[(index + 1) % count]);
            let outward = |from: Vec2, to: Vec2| {
                let along = (to - from).normalize_or_zero();
                Vec2::new(along.y, -along.x)
            };
            let (a, b) = (outward(last, here), outward(here, next));
            // The mitre: the point whose distance to both moved edges is nothing.
            here + (a + b) * (distance / (1.0 + a.dot(b)).max(0.2))
        })
        .collect()
}

/// A prism of height `height` about z = 0 over a counter-clockwise polygon, its upper and lower edges cut by `chamfer`.
pub fn prism(corners: &[Vec2], face: &[[usize; 3]], height: f32, chamfer: f32) -> Soup {
    let inner = offset_polygon(corners, -chamfer);
    let half = 0.5 * height;
    let ring = |points: &[Vec2], z: f32| -> Vec<Vec3> { points.iter().map(|point| point.extend(z)).collect() };
    let rings =
        [ring(&inner, -half), ring(corners, -half + chamfer), ring(corners, half - chamfer), ring(&inner, half)];
    let mut soup = Soup::default();
    for triangle in face {
        soup.triangle(triangle.map(|index| rings[3][index]));
        let [a, b, c] = triangle.map(|index| rings[0][index]);
        soup.triangle([a, c, b]);
    }
    let count = corners.len();
    for pair in rings.windows(2) {
        for index in 0..count {
            let next = (index + 1) % count;
            soup.quad([pair[0][index], pair[0][next], pair[1][next], pair[1][index]]);
        }
    }
    soup
}

/// A block with full edge lengths about the origin.
pub fn block(size: Vec3, chamfer: f32) -> Soup {
    prism(&rectangle(size.x, size.y), &QUAD_FACE, size.z, chamfer)
}

/// A ball about the origin.
pub fn ball(radius: f32) -> Soup {
    const SEGMENTS: u32 = 28;
    let mesh = TriMesh::ball(radius, SEGMENTS);
    let corners = mesh.triangles.iter().flatten().filter_map(|&index| mesh.positions_m.get(index as usize));
    let positions: Vec<[f32; 3]> = corners.copied().collect();
    let normals = positions.iter().map(|p| Vec3::from_array(*p).normalize_or_zero().to_array()).collect();
    Soup { positions, normals }
}

/// Corners of a rectangle about the origin, counter-clockwise.
pub fn rectangle(x: f32, y: f32) -> Vec<Vec2> {
    [(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)].map(|(i, j)| Vec2::new(i * x, j * y)).to_vec()
}

/// Corners of a rectangle about the origin with rounded corners, counter-clockwise.
pub fn rounded_rectangle(x: f32, y: f32, radius: f32) -> Vec<Vec2> {
    const STEPS: usize = 8;
    let radius = radius.min(0.49 * x.min(y));
    let centres = [(1.0, 1.0), (-1.0, 1.0), (-1.0, -1.0), (1.0, -1.0)];
    let quarter = std::f32::consts::FRAC_PI_2;
    (0..4 * (STEPS + 1))
        .map(|index| {
            let (corner, step) = (index / (STEPS + 1), index % (STEPS + 1));
            let (i, j) = centres[corner];
            let angle = quarter * (corner as f32 + step as f32 / STEPS as f32);
            Vec2::new(i * (0.5 * x - radius), j * (0.5 * y - radius)) + radius * Vec2::new(angle.cos(), angle.sin())
        })
        .collect()
}

/// The T's outline about its centre of area, counter-clockwise.
pub fn tee_outline(tee: &TeeSize) -> Vec<Vec2> {
    tee.outline_m().map(|(x, y)| Vec2::new(x as f32, y as f32)).to_vec()
}

/// The shape of a prop about its centre of mass.
pub fn prop(shape: &PropShape) -> Soup {
    match shape {
        PropShape::Block(x, y, z) => {
            let size = Vec3::new(*x as f32, *y as f32, *z as f32);
            block(size, 0.05 * size.min_element())
        }
        PropShape::Ball(radius) => ball(*radius as f32),
        PropShape::Tee(tee) => prism(&tee_outline(tee), &TEE_FACE, tee.height_m as f32, 0.05 * tee.height_m as f32),
    }
}

/// A flat band between a counter-clockwise polygon moved by `inner` and by `outer`, in the plane z = 0.
pub fn band(corners: &[Vec2], inner: f32, outer: f32) -> Soup {
    let (inside, outside) = (offset_polygon(corners, inner), offset_polygon(corners, outer));
    let mut soup = Soup::default();
    for index in 0..corners.len() {
        let next = (index + 1) % corners.len();
        soup.quad([inside[index], outside[index], outside[next], inside[next]].map(|point| point.extend(0.0)));
    }
    soup
}

/// Triangles of a convex polygon's face.
fn fan(count: usize) -> Vec<[usize; 3]> {
    (1..count.saturating_sub(1)).map(|index| [0, index, index + 1]).collect()
}

/// A convex polygon in the plane z = 0.
pub fn face(corners: &[Vec2]) -> Soup {
    let mut soup = Soup::default();
    for triangle in fan(corners.len()) {
        soup.triangle(triangle.map(|index| corners[index].extend(0.0)));
    }
    soup
}

/// A prism over a convex counter-clockwise polygon.
pub fn slab(corners: &[Vec2], height: f32, chamfer: f32) -> Soup {
    prism(corners, &fan(corners.len()), height, chamfer)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEE: TeeSize = TeeSize { stroke_m: 0.025, height_m: 0.020 };

    fn volume(soup: &Soup) -> f32 {
        soup.positions
            .chunks_exact(3)
            .map(|t| {
                let [a, b, c] = [t[0], t[1], t[2]].map(Vec3::from_array);
                a.dot(b.cross(c)) / 6.0
            })
            .sum()
    }

    #[test]
    fn a_tee_encloses_its_volume_and_faces_outwards() {
        let soup = prism(&tee_outline(&TEE), &TEE_FACE, TEE.height_m as f32, 0.0);
        let expected = (TEE.area_m2() * TEE.height_m) as f32;
        assert!((volume(&soup) - expected).abs() < 1e-3 * expected, "{} {expected}", volume(&soup));
    }

    #[test]
    fn coarse_meshes_keep_their_size_with_fewer_triangles() {
        let fine = ball(0.05).into_mesh();
        let coarse = coarse(&fine, 0.02).unwrap();
        let triangles = |mesh: &Mesh| mesh.indices().map_or(0, |indices| indices.len() / 3);
        assert!(triangles(&coarse) * 3 < triangles(&fine) && triangles(&coarse) > 8);
        let reach = |mesh: &Mesh| {
            let positions = mesh.attribute(Mesh::ATTRIBUTE_POSITION).unwrap().as_float3().unwrap();
            positions.iter().map(|p| p[2]).fold(0.0, f32::max)
        };
        assert!((reach(&coarse) - reach(&fine)).abs() < 0.02);
    }

    #[test]
    fn a_chamfer_takes_little_and_stays_closed() {
        let sharp = volume(&block(Vec3::splat(0.025), 0.0));
        let cut = volume(&block(Vec3::splat(0.025), 0.001));
        assert!(cut < sharp && cut > 0.95 * sharp);
    }

    #[test]
    fn offsetting_moves_edges_by_the_distance() {
        let wider = offset_polygon(&rectangle(2.0, 1.0), 0.25);
        assert_eq!(wider[0], Vec2::new(-1.25, -0.75));
        // The T's inner corners move as well: every edge keeps its distance.
        let outline = tee_outline(&TEE);
        let moved = offset_polygon(&outline, 0.004);
        assert!((moved[2] - Vec2::new(outline[2].x - 0.004, outline[2].y - 0.004)).length() < 1e-6);
    }

    #[test]
    fn the_outline_band_lies_outside_the_tee() {
        let soup = band(&tee_outline(&TEE), 0.0, 0.004);
        let area: f32 = soup
            .positions
            .chunks_exact(3)
            .map(|t| {
                let [a, b, c] = [t[0], t[1], t[2]].map(Vec3::from_array);
                0.5 * (b - a).cross(c - a).z
            })
            .sum();
        // Perimeter 400 mm and eight mitred corners: 6 outer, 2 inner.
        let expected = 0.4 * 0.004 + 4.0 * 0.004 * 0.004;
        assert!((area - expected).abs() < 1e-6, "{area} {expected}");
    }
}
