//! Triangle meshes from STL and OBJ files.

use super::DVec3;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why a mesh file was refused.
#[derive(Debug, Error)]
pub enum MeshError {
    /// The file could not be opened or parsed.
    #[error("mesh {file}: {message}; export it again as binary STL or as OBJ")]
    Read {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        message: String,
    },
}

/// Triangles over shared corners.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TriMesh {
    /// Corners in the mesh's own frame, m (as the file has them, times the scale).
    pub positions_m: Vec<[f32; 3]>,
    /// Three indices into `positions_m` per triangle, counter-clockwise seen from outside.
    pub triangles: Vec<[u32; 3]>,
}

impl TriMesh {
    /// Reads an STL (binary or ASCII) or OBJ file and multiplies it by `scale`.
    ///
    /// # Errors
    /// [`MeshError`] if the file is missing, broken, empty, or holds numbers that are not finite.
    pub fn load(path: &Path, scale: DVec3) -> Result<Self, MeshError> {
        let error = |message: String| MeshError::Read { file: path.to_path_buf(), message };
        let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
        let mut mesh = match extension.as_str() {
            "stl" => read_stl(path).map_err(|e| error(e.to_string()))?,
            "obj" => read_obj(path).map_err(|e| error(e.to_string()))?,
            other => return Err(error(format!("unknown kind of file \".{other}\""))),
        };
        let corners = mesh.positions_m.len();
        if mesh.triangles.is_empty() {
            return Err(error("it holds no triangle".into()));
        }
        if mesh.triangles.iter().flatten().any(|&index| index as usize >= corners) {
            return Err(error("a triangle names a corner that does not exist".into()));
        }
        let scale = scale.as_vec3().to_array();
        for position in &mut mesh.positions_m {
            for (value, factor) in position.iter_mut().zip(scale) {
                *value *= factor;
            }
            if position.iter().any(|value| !value.is_finite()) {
                return Err(error("a corner is no finite number".into()));
            }
        }
        // A mirroring scale turns every triangle inside out.
        if scale.iter().product::<f32>() < 0.0 {
            mesh.triangles.iter_mut().for_each(|triangle| triangle.swap(1, 2));
        }
        Ok(mesh)
    }

    /// A ball about the origin, of latitude and longitude about z: `segments` around and half as many from pole to pole.
    pub fn ball(radius_m: f32, segments: u32) -> Self {
        let rings = segments / 2;
        let mut mesh = Self::default();
        for ring in 0..=rings {
            let (sin_polar, cos_polar) = (std::f64::consts::PI * f64::from(ring) / f64::from(rings)).sin_cos();
            for k in 0..segments {
                let (sin, cos) = (std::f64::consts::TAU * f64::from(k) / f64::from(segments)).sin_cos();
                let unit = [sin_polar * cos, sin_polar * sin, cos_polar];
                mesh.positions_m.push(unit.map(|value| value as f32 * radius_m));
            }
        }
        for ring in 0..rings {
            for k in 0..segments {
                let next = (k + 1) % segments;
                let (a, b) = (ring * segments + k, ring * segments + next);
                let (c, d) = (a + segments, b + segments);
                if ring > 0 {
                    mesh.triangles.push([a, c, b]);
                }
                if ring + 1 < rings {
                    mesh.triangles.push([b, c, d]);
                }
            }
        }
        mesh
    }

    /// Flat list of corners, three per triangle, with a normal each: edges sharper than `crease_rad` stay sharp, others are
    /// smoothed over the triangles around the corner, weighed by area.
    pub fn with_normals(&self, crease_rad: f32) -> (Vec<[f32; 3]>, Vec<[f32; 3]>) {
        use glamx::Vec3;
        let corner = |index: u32| Vec3::from_array(self.positions_m[index as usize]);
        let faces: Vec<Vec3> =
            self.triangles.iter().map(|&[a, b, c]| (corner(b) - corner(a)).cross(corner(c) - corner(a))).collect();
        let mut around: Vec<Vec<usize>> = vec![Vec::new(); self.positions_m.len()];
        for (face, triangle) in self.triangles.iter().enumerate() {
            for &index in triangle {
                around[index as usize].push(face);
            }
        }
        let cos_crease = (f64::from(crease_rad).cos()) as f32;
        let mut positions = Vec::with_capacity(self.triangles.len() * 3);
        let mut normals = Vec::with_capacity(self.triangles.len() * 3);
        for (face, triangle) in self.triangles.iter().enumerate() {
            let own = faces[face].normalize_or_zero();
            for &index in triangle {
                let smooth: Vec3 = around[index as usize]
                    .iter()
                    .filter(|&&other| faces[other].normalize_or_zero().dot(own) >= cos_crease)
                    .map(|&other| faces[other])
                    .sum();
                positions.push(self.positions_m[index as usize]);
                normals.push(smooth.normalize_or(own).to_array());
            }
        }
        (positions, normals)
    }
}

fn read_stl(path: &Path) -> std::io::Result<TriMesh> {
    let mut file = std::io::BufReader::new(std::fs::File::open(path)?);
    let stl = stl_io::create_stl_reader(&mut file)?;
    let mut mesh = TriMesh::default();
    // STL repeats corners per triangle; equal coordinates are one corner. A BTreeMap keeps the order reproducible.
    let mut seen: BTreeMap<[u32; 3], u32> = BTreeMap::new();
    for triangle in stl {
        let triangle = triangle?;
        let mut indices = [0u32; 3];
        for (slot, vertex) in indices.iter_mut().zip(triangle.vertices) {
            let position: [f32; 3] = vertex.into();
            let key = position.map(|value| if value == 0.0 { 0 } else { value.to_bits() });
            *slot = *seen.entry(key).or_insert_with(|| {
                mesh.positions_m.push(position);
                mesh.positions_m.len() as u32 - 1
            });
        }
        mesh.triangles.push(indices);
    }
    Ok(mesh)
}

fn read_obj(path: &Path) -> Result<TriMesh, tobj::LoadError> {
    let options = tobj::LoadOptions { triangulate: true, single_index: false, ..Default::default() };
    let (models, _) = tobj::load_obj(path, &options)?;
    let mut mesh = TriMesh::default();
    for model in models {
        let base = mesh.positions_m.len() as u32;
        mesh.positions_m.extend(model.mesh.positions.chunks_exact(3).map(|p| [p[0], p[1], p[2]]));
        mesh.triangles.extend(model.mesh.indices.chunks_exact(3).map(|t| [base + t[0], base + t[1], base + t[2]]));
    }
    Ok(mesh)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CUBE_OBJ: &str = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nv 0 0 1\nv 1 0 1\nv 1 1 1\nv 0 1 1\n\
        f 4 3 2 1\nf 5 6 7 8\nf 1 2 6 5\nf 2 3 7 6\nf 3 4 8 7\nf 4 1 5 8\n";

    fn write(name: &str, text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    #[test]
    fn obj_quads_become_triangles_and_scale_applies() {
        let (_folder, path) = write("cube.obj", CUBE_OBJ);
        let mesh = TriMesh::load(&path, DVec3::splat(0.5)).unwrap();
        assert_eq!((mesh.positions_m.len(), mesh.triangles.len()), (8, 12));
        assert_eq!(mesh.positions_m[6], [0.5, 0.5, 0.5]);
    }

    #[test]
    fn sharp_edges_stay_sharp_and_soft_ones_round() {
        let (_folder, path) = write("cube.obj", CUBE_OBJ);
        let mesh = TriMesh::load(&path, DVec3::ONE).unwrap();
        let (_, sharp) = mesh.with_normals(0.6);
        assert!(sharp.iter().all(|n| n.iter().filter(|value| value.abs() > 0.99).count() == 1));
        let (_, soft) = mesh.with_normals(3.0);
        assert!(soft.iter().all(|n| n.iter().all(|value| value.abs() > 0.2)));
    }

    #[test]
    fn ascii_stl_is_read_and_corners_are_shared() {
        let facet = |a: &str, b: &str, c: &str| {
            format!("facet normal 0 0 1\nouter loop\nvertex {a}\nvertex {b}\nvertex {c}\nendloop\nendfacet\n")
        };
        let text =
            format!("solid s\n{}{}endsolid s\n", facet("0 0 0", "1 0 0", "0 1 0"), facet("1 0 0", "1 1 0", "0 1 0"));
        let (_folder, path) = write("flat.stl", &text);
        let mesh = TriMesh::load(&path, DVec3::new(1.0, 1.0, -1.0)).unwrap();
        assert_eq!((mesh.positions_m.len(), mesh.triangles.len()), (4, 2));
        assert_eq!(mesh.triangles[0], [0, 2, 1], "a mirrored mesh is turned right side out");
    }

    #[test]
    fn broken_files_are_refused_by_name() {
        for (name, text) in [("a.stl", "solid"), ("b.obj", "v 0 0 0\n"), ("c.obj", "f 1 2 3\n"), ("d.stl", "")] {
            let (_folder, path) = write(name, text);
            let error = TriMesh::load(&path, DVec3::ONE).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}
