//! A report on a URDF for `etude urdf check`.

use super::mesh::TriMesh;
use super::model::{ArmModel, ShapeKind};
use serde::Serialize;
use std::collections::BTreeSet;

/// What a URDF holds, and what is doubtful in it.
#[derive(Clone, Debug, Serialize)]
pub struct CheckReport {
    /// The robot's name.
    pub robot: String,
    /// One entry per link, base first.
    pub links: Vec<LinkReport>,
    /// One entry per movable joint, base first.
    pub joints: Vec<JointReport>,
    /// Mass of everything that moves, kg.
    pub moving_mass_kg: f64,
    /// Triangles of all visual meshes.
    pub visual_triangles: usize,
    /// Things that load but are probably not meant, each naming its element.
    pub warnings: Vec<String>,
}

/// A link in a [`CheckReport`].
#[derive(Clone, Debug, Serialize)]
pub struct LinkReport {
    /// Its name.
    pub name: String,
    /// Its parent's name.
    pub parent: Option<String>,
    /// Its mass, kg, where given.
    pub mass_kg: Option<f64>,
    /// Number of visual parts.
    pub visuals: usize,
    /// Number of collision shapes.
    pub shapes: usize,
}

/// A joint in a [`CheckReport`].
#[derive(Clone, Debug, Serialize)]
pub struct JointReport {
    /// Its name.
    pub name: String,
    /// The link it carries.
    pub child: String,
    /// Lower limit, rad.
    pub lower_rad: f64,
    /// Upper limit, rad.
    pub upper_rad: f64,
    /// Effort limit, Nm.
    pub effort_nm: f64,
    /// Velocity limit, rad/s.
    pub velocity_rad_s: f64,
}

/// Examines a loaded model; reads its meshes.
pub fn check(model: &ArmModel) -> CheckReport {
    let mut warnings = Vec::new();
    let mut visual_triangles = 0;
    for link in &model.links {
        let name = &link.name;
        let moves = link.joint.is_some();
        if let Some(inertial) = &link.inertial {
            inertia_warnings(name, inertial, &mut warnings);
        }
        if moves && link.shapes.is_empty() {
            warnings.push(format!("link \"{name}\": no <collision>; its visual meshes' convex hulls collide instead"));
        }
        if moves && link.visuals.is_empty() {
            warnings.push(format!("link \"{name}\": no <visual>; it will not be seen"));
        }
        let mut read = BTreeSet::new();
        let kinds = link.visuals.iter().map(|v| (&v.kind, true)).chain(link.shapes.iter().map(|s| (&s.kind, false)));
        for (kind, visible) in kinds {
            let ShapeKind::Mesh { path, scale } = kind else { continue };
            match TriMesh::load(path, *scale) {
                Ok(mesh) => {
                    visual_triangles += if visible { mesh.triangles.len() } else { 0 };
                    let reach =
                        mesh.positions_m.iter().flatten().fold(0.0f32, |largest, value| largest.max(value.abs()));
                    if reach > 5.0 && read.insert(path.clone()) {
                        warnings.push(format!(
                            "link \"{name}\": mesh {} reaches {reach:.0} m from its origin; if it is in millimetres, \
                             add scale=\"0.001 0.001 0.001\"",
                            path.display()
                        ));
                    }
                }
                Err(error) => warnings.push(format!("link \"{name}\": {error}")),
            }
        }
    }
    for joint in &model.joints {
        if joint.effort_nm <= 0.0 || joint.velocity_rad_s <= 0.0 {
            warnings.push(format!(
                "joint \"{}\": <limit> gives no effort or velocity; the servo profile's are used",
                joint.name
            ));
        }
        if joint.lower > 0.0 || joint.upper < 0.0 {
            warnings.push(format!("joint \"{}\": its zero is outside its limits", joint.name));
        }
    }
    CheckReport {
        robot: model.name.clone(),
        links: model
            .links
            .iter()
            .map(|link| LinkReport {
                name: link.name.clone(),
                parent: link.parent.map(|parent| model.links[parent].name.clone()),
                mass_kg: link.inertial.map(|inertial| inertial.mass_kg),
                visuals: link.visuals.len(),
                shapes: link.shapes.len(),
            })
            .collect(),
        joints: model
            .joints
            .iter()
            .map(|joint| JointReport {
                name: joint.name.clone(),
                child: model.links[joint.link].name.clone(),
                lower_rad: joint.lower,
                upper_rad: joint.upper,
                effort_nm: joint.effort_nm,
                velocity_rad_s: joint.velocity_rad_s,
            })
            .collect(),
        moving_mass_kg: model.moving_mass_kg(),
        visual_triangles,
        warnings,
    }
}

/// A rigid body's principal moments are positive and no one exceeds the sum of the others.
fn inertia_warnings(name: &str, inertial: &super::Inertial, warnings: &mut Vec<String>) {
    let columns = inertial.inertia_kg_m2.to_cols_array();
    let mut moments: Vec<f64> =
        nalgebra::Matrix3::from_column_slice(&columns).symmetric_eigenvalues().iter().copied().collect();
    moments.sort_by(f64::total_cmp);
    if inertial.mass_kg <= 1e-6 {
        return;
    }
    if moments[0] <= 0.0 {
        warnings.push(format!(
            "link \"{name}\": <inertia> has a principal moment of {:.3e} kg m²; all must be positive",
            moments[0]
        ));
    } else if moments[2] > (moments[0] + moments[1]) * (1.0 + 1e-6) {
        warnings.push(format!(
            "link \"{name}\": <inertia> breaks the triangle inequality: {:.3e} > {:.3e} + {:.3e} kg m²; no real body has \
             it",
            moments[2], moments[0], moments[1]
        ));
    }
    let radius_m = (moments[2] / inertial.mass_kg).max(0.0).sqrt();
    if radius_m > 0.3 {
        warnings.push(format!(
            "link \"{name}\": <inertia> is that of its mass {radius_m:.2} m away from its centre; check the units"
        ));
    }
}
