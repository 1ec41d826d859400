//! Coarser copies of a mesh, for where its details are smaller than pixels: edges are collapsed in the order of what that
//! moves (Garland and Heckbert's squared distances to planes), always onto a vertex that is there. Arithmetic that is
//! the same on every machine; ties go by the vertices' numbers.

use super::RasterMesh;
use bevy::math::Vec3;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// How far surfaces of the coarser copies lie from the planes of the mesh at most (root mean square at each corner), m; each
/// copy is made from the one before.
pub(super) const STEPS_M: [f32; 5] = [0.0001, 0.0002, 0.0004, 0.0008, 0.0016];
/// Meshes of fewer triangles have no coarser copies.
const LEAST_TRIANGLES: usize = 64;
/// A copy that does not save this share is not worth keeping.
const WORTH: f64 = 0.9;
/// Cosine of the angle by which a collapse may turn a face.
const TURN: f64 = 0.7;
/// Cosine of the angle between a face and the normals it takes over from the mesh.
const SAME_SURFACE: f32 = 0.75;

/// Coarser copies of a mesh with how far they may lie from it, m, the finest first.
pub(super) type Copies = Vec<(f32, RasterMesh)>;

type V3 = [f64; 3];

fn sub(a: V3, b: V3) -> V3 {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

fn dot(a: V3, b: V3) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

fn cross(a: V3, b: V3) -> V3 {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

/// Mean squared distance to planes as a function of the place: the upper half of a symmetric 4 x 4 matrix, and how many
/// planes there are.
#[derive(Clone, Copy, Default)]
struct Quadric([f64; 11]);

impl Quadric {
    fn of_plane(n: V3, d: f64) -> Self {
        let [x, y, z] = n;
        Self([x * x, x * y, x * z, x * d, y * y, y * z, y * d, z * z, z * d, d * d, 1.0])
    }

    fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }

    fn at(&self, [x, y, z]: V3) -> f64 {
        let q = &self.0;
        let value = q[0] * x * x
            + q[4] * y * y
            + q[7] * z * z
            + q[9]
            + 2.0 * (q[1] * x * y + q[2] * x * z + q[5] * y * z + q[3] * x + q[6] * y + q[8] * z);
        if value > 0.0 { value / q[10] } else { 0.0 }
    }
}

/// A mesh that is being made coarser.
struct Collapse {
    places: Vec<V3>,
    triangles: Vec<[u32; 3]>,
    alive: Vec<bool>,
    /// Triangles at each vertex, those that are gone among them.
    around: Vec<Vec<u32>>,
    quadrics: Vec<Quadric>,
    /// Counts the changes of a vertex, so that old candidates are known.
    changes: Vec<u32>,
    /// What moving the first vertex onto the second costs (bits of a number that is not negative), their numbers and changes.
    candidates: BinaryHeap<Reverse<(u64, u32, u32, u32, u32)>>,
}

impl Collapse {
    fn new(mesh: &RasterMesh) -> Self {
        let places: Vec<V3> = (0..mesh.x_m.len() as u32).map(|i| mesh.position(i).to_array().map(f64::from)).collect();
        let mut collapse = Self {
            around: vec![Vec::new(); places.len()],
            quadrics: vec![Quadric::default(); places.len()],
            changes: vec![0; places.len()],
            alive: vec![true; mesh.triangles.len()],
            triangles: mesh.triangles.clone(),
            candidates: BinaryHeap::new(),
            places,
        };
        for (number, t) in mesh.triangles.iter().enumerate() {
            let n = collapse.normal(*t);
            let length = dot(n, n).sqrt();
            let plane = (length > 0.0).then(|| {
                let n = n.map(|value| value / length);
                Quadric::of_plane(n, -dot(n, collapse.places[t[0] as usize]))
            });
            for &v in t {
                collapse.around[v as usize].push(number as u32);
                if let Some(plane) = &plane {
                    collapse.quadrics[v as usize].add(plane);
                }
            }
        }
        for v in 0..collapse.places.len() as u32 {
            collapse.propose(v);
        }
        collapse
    }

    /// Normal of a triangle, twice its area long.
    fn normal(&self, t: [u32; 3]) -> V3 {
        let [a, b, c] = t.map(|v| self.places[v as usize]);
        cross(sub(b, a), sub(c, a))
    }

    fn living(&self, v: u32) -> impl Iterator<Item = [u32; 3]> + '_ {
        self.around[v as usize].iter().filter(|&&t| self.alive[t as usize]).map(|&t| self.triangles[t as usize])
    }

    fn neighbours(&self, v: u32) -> Vec<u32> {
        let mut found: Vec<u32> = self.living(v).flatten().filter(|&other| other != v).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Adds the moves of a vertex onto each neighbour.
    fn propose(&mut self, v: u32) {
        for to in self.neighbours(v) {
            let mut sum = self.quadrics[v as usize];
            sum.add(&self.quadrics[to as usize]);
            let cost = sum.at(self.places[to as usize]).to_bits();
            let (changes, changes_to) = (self.changes[v as usize], self.changes[to as usize]);
            self.candidates.push(Reverse((cost, v, to, changes, changes_to)));
        }
    }

    /// Whether the surface stays a surface, and no face turns over, if `v` moves onto `to`.
    fn may_move(&self, v: u32, to: u32) -> bool {
        let (mine, theirs) = (self.neighbours(v), self.neighbours(to));
        let common = mine.iter().filter(|other| theirs.binary_search(other).is_ok()).count();
        let shared = self.living(v).filter(|t| t.contains(&to)).count();
        if shared != 2 || common != 2 {
            return false;
        }
        self.living(v).filter(|t| !t.contains(&to)).all(|t| {
            let (before, after) = (self.normal(t), self.normal(t.map(|other| if other == v { to } else { other })));
            let along = dot(before, after);
            along > 0.0 && along * along > TURN * TURN * dot(before, before) * dot(after, after)
        })
    }

    /// Collapses everything that costs at most the square of `error_m`.
    fn run(&mut self, error_m: f64) {
        let most = (error_m * error_m).to_bits();
        while let Some(&Reverse((cost, v, to, changes, changes_to))) = self.candidates.peek() {
            if cost > most {
                return;
            }
            self.candidates.pop();
            if (changes, changes_to) != (self.changes[v as usize], self.changes[to as usize]) || !self.may_move(v, to) {
                continue;
            }
            for number in std::mem::take(&mut self.around[v as usize]) {
                let triangle = &mut self.triangles[number as usize];
                if !self.alive[number as usize] || triangle.contains(&to) {
                    self.alive[number as usize] = false;
                    continue;
                }
                *triangle = triangle.map(|other| if other == v { to } else { other });
                self.around[to as usize].push(number);
            }
            let moved = self.quadrics[v as usize];
            self.quadrics[to as usize].add(&moved);
            self.changes[v as usize] += 1;
            self.changes[to as usize] += 1;
            for other in self.neighbours(to) {
                // Its moves onto `to` cost something else now; the others are kept as they are.
                let mut sum = self.quadrics[other as usize];
                sum.add(&self.quadrics[to as usize]);
                let cost = sum.at(self.places[to as usize]).to_bits();
                let (changes, changes_to) = (self.changes[other as usize], self.changes[to as usize]);
                self.candidates.push(Reverse((cost, other, to, changes, changes_to)));
            }
            self.propose(to);
        }
    }

    /// What is left, with the normals that `mesh` has at the same vertices.
    fn mesh(&self, mesh: &RasterMesh) -> RasterMesh {
        let mut known: Vec<Vec<Vec3>> = vec![Vec::new(); self.places.len()];
        for (t, normals) in mesh.triangles.iter().zip(&mesh.normals) {
            for (&v, &normal) in t.iter().zip(normals) {
                if !known[v as usize].contains(&normal) {
                    known[v as usize].push(normal);
                }
            }
        }
        let mut numbers = vec![u32::MAX; self.places.len()];
        let (mut x_m, mut y_m, mut z_m) = (Vec::new(), Vec::new(), Vec::new());
        let (mut triangles, mut normals) = (Vec::new(), Vec::new());
        for (t, _) in self.triangles.iter().zip(&self.alive).filter(|(_, alive)| **alive) {
            let n = self.normal(*t);
            let length = dot(n, n).sqrt();
            if length <= 0.0 {
                continue;
            }
            let face = Vec3::from_array(n.map(|value| (value / length) as f32));
            normals.push(t.map(|v| {
                let mut best = (SAME_SURFACE, face);
                for &normal in &known[v as usize] {
                    if normal.dot(face) > best.0 {
                        best = (normal.dot(face), normal);
                    }
                }
                best.1
            }));
            triangles.push(t.map(|v| {
                let number = &mut numbers[v as usize];
                if *number == u32::MAX {
                    *number = x_m.len() as u32;
                    let p = mesh.position(v);
                    x_m.push(p.x);
                    y_m.push(p.y);
                    z_m.push(p.z);
                }
                *number
            }));
        }
        let (centre_m, radius_m, coarser) = (mesh.centre_m, mesh.radius_m, Default::default());
        RasterMesh { x_m, y_m, z_m, triangles, normals, centre_m, radius_m, coarser }
    }
}

/// The coarser copies of a mesh; none where they would save little.
pub(super) fn copies(mesh: &RasterMesh) -> Copies {
    let mut found = Copies::new();
    if mesh.triangles.len() < LEAST_TRIANGLES {
        return found;
    }
    let mut collapse = Collapse::new(mesh);
    for error_m in STEPS_M {
        collapse.run(f64::from(error_m));
        let before = found.last().map_or(mesh.triangles.len(), |(_, copy)| copy.triangles.len());
        let left = collapse.alive.iter().filter(|alive| **alive).count();
        if left > 0 && (left as f64) < WORTH * before as f64 {
            found.push((error_m, collapse.mesh(mesh)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::raster::scalar::sin_cos;
    use std::collections::BTreeMap;

    /// A ball about the origin as latitude and longitude.
    fn ball(radius_m: f32, segments: u32) -> RasterMesh {
        let (rings, mut places, mut triangles) = (segments / 2, Vec::new(), Vec::new());
        let turn = |k: u32, of: u32| sin_cos(2.0 * std::f64::consts::PI * f64::from(k) / f64::from(of));
        for ring in 0..=rings {
            for k in 0..segments {
                let ((s, c), (sin, cos)) = (turn(ring, 2 * rings), turn(k, segments));
                // The poles are one place each.
                let s = if ring % rings == 0 { 0.0 } else { s };
                places.push(Vec3::new((s * cos) as f32, (s * sin) as f32, c as f32) * radius_m);
            }
        }
        for (ring, k) in (0..rings).flat_map(|ring| (0..segments).map(move |k| (ring, k))) {
            let (a, b) = (ring * segments + k, ring * segments + (k + 1) % segments);
            triangles.extend([[a, a + segments, b], [b, a + segments, b + segments]]);
        }
        triangles.retain(|t: &[u32; 3]| {
            let [a, b, c] = t.map(|v| places[v as usize]);
            (b - a).cross(c - a).length() > 1e-9
        });
        RasterMesh::new(&places, &triangles, 0.6).unwrap()
    }

    fn volume(mesh: &RasterMesh) -> f32 {
        let corners = |t: &[u32; 3]| t.map(|v| mesh.position(v));
        mesh.triangles.iter().map(corners).map(|[a, b, c]| a.dot(b.cross(c)) / 6.0).sum()
    }

    #[test]
    fn copies_are_closed_coarser_and_as_near_as_they_say() {
        const RADIUS: f32 = 0.02;
        let mesh = ball(RADIUS, 64);
        let copies = copies(&mesh);
        assert!(copies.len() >= 2, "{}", copies.len());
        let mut before = mesh.triangle_count();
        for (error_m, copy) in &copies {
            assert!(copy.triangle_count() * 10 < before * 9, "{error_m}: {before} {}", copy.triangle_count());
            before = copy.triangle_count();
            let mut edges: BTreeMap<(u32, u32), i32> = BTreeMap::new();
            for [a, b, c] in &copy.triangles {
                for (from, to) in [(a, b), (b, c), (c, a)] {
                    *edges.entry((*from.min(to), *from.max(to))).or_default() += if from < to { 1 } else { -1 };
                }
            }
            assert!(edges.values().all(|sum| *sum == 0), "{error_m}: a hole");
            for t in &copy.triangles {
                let [a, b, c] = t.map(|v| copy.position(v));
                let middle = (a + b + c) / 3.0;
                // The middle of a face lies farther off than its corners lie from the planes.
                assert!(RADIUS - middle.length() < 4.0 * error_m + 0.0001, "{error_m}: {}", RADIUS - middle.length());
            }
            assert!((volume(copy) / volume(&mesh) - 1.0).abs() < 12.0 * error_m / RADIUS + 0.01, "{error_m}");
            assert!(copy.normals.iter().flatten().all(|n| (n.length() - 1.0).abs() < 1e-4));
        }
    }

    #[test]
    fn the_level_follows_the_detail_and_edges_stay_sharp() {
        let mesh = ball(0.02, 64);
        let levels = [0.0, 0.000_05, 0.000_1, 0.000_4, 1.0].map(|detail_m| mesh.level_for(detail_m));
        assert_eq!(levels[..2], [0, 0]);
        assert!(levels.is_sorted() && levels[4] >= 2);
        assert_eq!(mesh.at_level(0).triangle_count(), mesh.triangle_count());
        assert!(mesh.at_level(levels[4]).triangle_count() < mesh.triangle_count() / 2);
        let block = RasterMesh::cuboid(Vec3::splat(0.03)).unwrap();
        assert_eq!(block.level_for(1.0), 0, "a block has nothing to leave out");
        // A plate of many triangles is flat: what is left of it is its rim.
        let n = 8u32;
        let grid = |x: u32, y: u32, z: f32| Vec3::new(x as f32, y as f32, z) * 0.01;
        let mut places: Vec<Vec3> = Vec::new();
        for z in [0.0, 1.0] {
            places.extend((0..=n).flat_map(|y| (0..=n).map(move |x| grid(x, y, z))));
        }
        let at = |x: u32, y: u32, top: u32| top * (n + 1) * (n + 1) + y * (n + 1) + x;
        let mut triangles = Vec::new();
        let mut quad = |[a, b, c, d]: [u32; 4]| triangles.extend([[a, b, c], [a, c, d]]);
        for (x, y) in (0..n).flat_map(|y| (0..n).map(move |x| (x, y))) {
            quad([at(x, y, 1), at(x + 1, y, 1), at(x + 1, y + 1, 1), at(x, y + 1, 1)]);
            quad([at(x, y, 0), at(x, y + 1, 0), at(x + 1, y + 1, 0), at(x + 1, y, 0)]);
        }
        for k in 0..n {
            quad([at(k, 0, 0), at(k + 1, 0, 0), at(k + 1, 0, 1), at(k, 0, 1)]);
            quad([at(k + 1, n, 0), at(k, n, 0), at(k, n, 1), at(k + 1, n, 1)]);
            quad([at(0, k + 1, 0), at(0, k, 0), at(0, k, 1), at(0, k + 1, 1)]);
            quad([at(n, k, 0), at(n, k + 1, 0), at(n, k + 1, 1), at(n, k, 1)]);
        }
        let plate = RasterMesh::new(&places, &triangles, 0.3).unwrap();
        let copy = plate.at_level(plate.level_for(0.0001));
        assert!(copy.triangle_count() <= 24, "{}", copy.triangle_count());
        assert!((volume(copy) - volume(&plate)).abs() < 1e-6 * volume(&plate));
        assert!(copy.normals.iter().flatten().all(|n| n.abs().max_element() > 0.999));
    }
}
