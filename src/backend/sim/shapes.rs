//! Collision shapes of an arm's links, made once and shared by every world the arm is put into.

use super::physics::single;
use crate::arm::{ArmModel, DPose3, DQuat, MeshError, ShapeKind, TriMesh};
use bevy::prelude::Component;
use bevy_rapier3d::rapier::parry::transformation::vhacd::VHACDParameters;
use bevy_rapier3d::rapier::prelude::*;
use std::sync::Arc;
use thiserror::Error;

/// Concavity left in the convex parts of a finger, as a share of its size: what lies between the fingers must stay free.
const FINGER_CONCAVITY: f32 = 0.003;
/// Voxels along the longest side of a finger's mesh while it is taken apart: about a millimetre each.
const FINGER_VOXELS: u32 = 96;

/// Why collision shapes could not be made.
#[derive(Debug, Error)]
pub enum ShapeError {
    /// A mesh has no volume.
    #[error("link \"{link}\": the mesh of its collision shape has no convex hull; give it a mesh with volume")]
    Hull {
        /// The link.
        link: String,
    },
    /// A mesh could not be read.
    #[error(transparent)]
    Mesh(#[from] MeshError),
}

/// Convex shapes of every link of an arm, with their poses in the link.
#[derive(Component, Clone)]
pub struct LinkShapes(Arc<Vec<Vec<(SharedShape, Pose)>>>);

impl std::fmt::Debug for LinkShapes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let counts: Vec<usize> = self.0.iter().map(Vec::len).collect();
        f.debug_tuple("LinkShapes").field(&counts).finish()
    }
}

impl LinkShapes {
    /// Reads meshes and makes shapes. Links collide with what their `<collision>` elements say, moving links without any
    /// with what is seen of them. Meshes become convex hulls, those of hand and jaw several convex parts.
    ///
    /// # Errors
    /// [`ShapeError`] naming the link or the file.
    pub fn new(model: &ArmModel) -> Result<Self, ShapeError> {
        let jaw = model.joints[model.gripper_joint()].link;
        let fingers = [model.hand_link(), jaw];
        let shapes = (0..model.links.len()).map(|link| shapes_of(model, link, fingers.contains(&link)));
        Ok(Self(Arc::new(shapes.collect::<Result<_, _>>()?)))
    }

    /// Shapes of one link.
    pub fn of_link(&self, link: usize) -> &[(SharedShape, Pose)] {
        self.0.get(link).map_or(&[], Vec::as_slice)
    }
}

fn shapes_of(model: &ArmModel, index: usize, finger: bool) -> Result<Vec<(SharedShape, Pose)>, ShapeError> {
    let link = &model.links[index];
    let given: Vec<(&ShapeKind, DPose3)> = if link.shapes.is_empty() && link.joint.is_some() {
        link.visuals.iter().map(|visual| (&visual.kind, visual.link_from_shape)).collect()
    } else {
        link.shapes.iter().map(|shape| (&shape.kind, shape.link_from_shape)).collect()
    };
    // URDF cylinders stand along z, Rapier's along y.
    let upright = DPose3::from_rotation(DQuat::from_rotation_x(std::f64::consts::FRAC_PI_2));
    let mut shapes = Vec::new();
    for (kind, link_from_shape) in given {
        let at = single(&link_from_shape);
        match kind {
            ShapeKind::Box { size_m } => {
                let half = (*size_m * 0.5).as_vec3();
                shapes.push((SharedShape::cuboid(half.x, half.y, half.z), at));
            }
            ShapeKind::Cylinder { radius_m, length_m } => {
                let shape = SharedShape::cylinder(0.5 * *length_m as f32, *radius_m as f32);
                shapes.push((shape, single(&(link_from_shape * upright))));
            }
            ShapeKind::Capsule { radius_m, length_m } => {
                shapes.push((SharedShape::capsule_z(0.5 * *length_m as f32, *radius_m as f32), at));
            }
            ShapeKind::Sphere { radius_m } => shapes.push((SharedShape::ball(*radius_m as f32), at)),
            ShapeKind::Mesh { path, scale } => {
                let parts = mesh_parts(&TriMesh::load(path, *scale)?, finger);
                if parts.is_empty() {
                    return Err(ShapeError::Hull { link: link.name.clone() });
                }
                shapes.extend(parts.into_iter().map(|shape| (shape, at)));
            }
        }
    }
    Ok(shapes)
}

/// Convex parts of a mesh: its hull, or several for a finger.
fn mesh_parts(mesh: &TriMesh, finger: bool) -> Vec<SharedShape> {
    let points: Vec<Vector> = mesh.positions_m.iter().map(|p| Vector::from_array(*p)).collect();
    if finger {
        let parameters =
            VHACDParameters { concavity: FINGER_CONCAVITY, resolution: FINGER_VOXELS, ..VHACDParameters::default() };
        let compound = SharedShape::convex_decomposition_with_params(&points, &mesh.triangles, &parameters);
        if let Some(compound) = compound.as_compound().filter(|compound| !compound.shapes().is_empty()) {
            return compound.shapes().iter().map(|(_, shape)| shape.clone()).collect();
        }
    }
    SharedShape::convex_hull(&points).into_iter().collect()
}
