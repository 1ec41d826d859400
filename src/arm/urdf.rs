//! Reading a URDF into an [`ArmModel`]: `urdf-rs` parses the XML, this module checks every number and resolves every
//! file, so that what is wrong is told by file, element and remedy before anything is built from it.

use super::model::{ArmModel, Inertial, Joint, JointKind, Link, Shape, ShapeKind, Visual};
use super::{DMat3, DPose3, DQuat, DVec3};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why a URDF was refused.
#[derive(Debug, Error)]
pub enum UrdfError {
    /// The file could not be read.
    #[error("URDF {file}: cannot be read: {source}; check the path and its permissions")]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not the XML of a URDF.
    #[error("URDF {file}: not a valid URDF: {message}")]
    Xml {
        /// The file.
        file: PathBuf,
        /// What the parser said, with the line where it knows it.
        message: String,
    },
    /// An element is missing or wrong.
    #[error("URDF {file}: {element}: {problem}; {remedy}")]
    Element {
        /// The file.
        file: PathBuf,
        /// The element, such as `joint "elbow_flex"`.
        element: String,
        /// What is wrong with it.
        problem: String,
        /// What to do.
        remedy: String,
    },
}

/// Reads and checks `file`. Mesh paths may be relative to the file, absolute, `file://` or `package://`; a package path
/// is looked for upwards from the URDF's folder. Every mesh must exist; it is read later.
///
/// # Errors
/// [`UrdfError`] naming the file, the element and the remedy.
pub fn load_urdf(file: &Path) -> Result<ArmModel, UrdfError> {
    let text = std::fs::read_to_string(file).map_err(|source| UrdfError::Read { file: file.to_path_buf(), source })?;
    let robot = urdf_rs::read_from_string(&text)
        .map_err(|error| UrdfError::Xml { file: file.to_path_buf(), message: innermost_message(&error) })?;
    Reader { file, robot: &robot }.model(&declared_inertials(&text))
}

/// The most telling message in a chain of errors, which is the last.
fn innermost_message(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        message = inner.to_string();
        source = inner.source();
    }
    message
}

/// Names of the links that have an `<inertial>` element. `urdf-rs` fills in zeros where there is none, and a link without
/// mass must not pass for one that weighs nothing by intent.
fn declared_inertials(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    for chunk in text.split("<link").skip(1) {
        let body = chunk.split("</link").next().unwrap_or(chunk);
        let Some(name) = body.split("name=").nth(1) else { continue };
        let Some(quote) = name.chars().next().filter(|c| matches!(c, '"' | '\'')) else { continue };
        if body.contains("<inertial") {
            names.extend(name[1..].split(quote).next().map(str::to_string));
        }
    }
    names
}

struct Reader<'a> {
    file: &'a Path,
    robot: &'a urdf_rs::Robot,
}

impl Reader<'_> {
    fn error(&self, element: &str, problem: impl Into<String>, remedy: impl Into<String>) -> UrdfError {
        UrdfError::Element {
            file: self.file.to_path_buf(),
            element: element.to_string(),
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }

    fn model(&self, declared_inertials: &[String]) -> Result<ArmModel, UrdfError> {
        self.check_names()?;
        let order = self.links_parents_first()?;
        let mut model = ArmModel {
            name: self.robot.name.clone(),
            file: self.file.to_path_buf(),
            links: Vec::new(),
            joints: Vec::new(),
        };
        for (link, incoming) in order {
            let element = format!("link \"{}\"", link.name);
            let index = model.links.len();
            let mut parent = None;
            let mut parent_from_link = DPose3::IDENTITY;
            let mut joint_index = None;
            if let Some(joint) = incoming {
                parent = model.link_index(&joint.parent.link);
                let joint_element = format!("joint \"{}\"", joint.name);
                parent_from_link = self.pose(&joint_element, &joint.origin)?;
                if let Some(movable) = self.movable(&joint_element, joint, index)? {
                    joint_index = Some(model.joints.len());
                    model.joints.push(movable);
                }
            }
            let inertial = if declared_inertials.contains(&link.name) {
                Some(self.inertial(&element, &link.inertial)?)
            } else {
                None
            };
            let moves = joint_index.is_some();
            if moves && inertial.is_none_or(|inertial| inertial.mass_kg <= 0.0) {
                return Err(self.error(
                    &element,
                    "it moves but has no mass",
                    "give it an <inertial> with a positive <mass> in kg and its <inertia>",
                ));
            }
            let visuals = link.visual.iter().map(|v| self.visual(&element, v)).collect::<Result<Vec<_>, _>>()?;
            let shapes = link.collision.iter().map(|c| self.shape(&element, c)).collect::<Result<Vec<_>, _>>()?;
            model.links.push(Link {
                name: link.name.clone(),
                parent,
                parent_from_link,
                joint: joint_index,
                inertial,
                visuals,
                shapes,
            });
        }
        if model.joints.is_empty() {
            return Err(self.error("robot", "it has no joint that moves", "add joints of type revolute"));
        }
        Ok(model)
    }

    fn check_names(&self) -> Result<(), UrdfError> {
        let duplicate = |kind: &str, names: Vec<&String>| {
            let mut sorted = names;
            sorted.sort();
            sorted.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| {
                self.error(
                    &format!("{kind} \"{}\"", pair[0]),
                    "the name is used twice",
                    format!("give every {kind} a name of its own"),
                )
            })
        };
        let links = duplicate("link", self.robot.links.iter().map(|l| &l.name).collect());
        let joints = duplicate("joint", self.robot.joints.iter().map(|j| &j.name).collect());
        links.or(joints).map_or(Ok(()), Err)
    }

    /// Links with the joint that carries each, parents first and in order of depth.
    fn links_parents_first(&self) -> Result<Vec<(&urdf_rs::Link, Option<&urdf_rs::Joint>)>, UrdfError> {
        let find = |name: &str| self.robot.links.iter().find(|link| link.name == name);
        for joint in &self.robot.joints {
            let element = format!("joint \"{}\"", joint.name);
            for (role, name) in [("parent", &joint.parent.link), ("child", &joint.child.link)] {
                if find(name).is_none() {
                    return Err(self.error(
                        &element,
                        format!("its {role} link \"{name}\" does not exist"),
                        "name a <link> of this file",
                    ));
                }
            }
        }
        let incoming = |link: &urdf_rs::Link| self.robot.joints.iter().filter(|j| j.child.link == link.name).count();
        if let Some(link) = self.robot.links.iter().find(|link| incoming(link) > 1) {
            return Err(self.error(
                &format!("link \"{}\"", link.name),
                "more than one joint carries it",
                "a URDF is a tree: leave one joint with this child",
            ));
        }
        let roots: Vec<_> = self.robot.links.iter().filter(|link| incoming(link) == 0).collect();
        let root = match roots[..] {
            [root] => root,
            [] => {
                return Err(self.error("robot", "no link is the base", "leave one link that no joint has as child"));
            }
            _ => {
                let names: Vec<_> = roots.iter().map(|link| link.name.as_str()).collect();
                return Err(self.error(
                    "robot",
                    format!("{} links have no joint that carries them: {}", names.len(), names.join(", ")),
                    "connect all but the base by joints",
                ));
            }
        };
        let mut order = vec![(root, None)];
        let mut next = 0;
        while next < order.len() {
            let parent = order[next].0;
            next += 1;
            for joint in self.robot.joints.iter().filter(|joint| joint.parent.link == parent.name) {
                if let Some(child) = find(&joint.child.link) {
                    order.push((child, Some(joint)));
                }
            }
        }
        if let Some(link) = self.robot.links.iter().find(|link| !order.iter().any(|(l, _)| l.name == link.name)) {
            return Err(self.error(
                &format!("link \"{}\"", link.name),
                "it is not connected to the base",
                "break the cycle of joints it is part of",
            ));
        }
        Ok(order)
    }

    fn movable(&self, element: &str, joint: &urdf_rs::Joint, link: usize) -> Result<Option<Joint>, UrdfError> {
        use urdf_rs::JointType;
        let kind = match joint.joint_type {
            JointType::Fixed => return Ok(None),
            JointType::Revolute | JointType::Continuous => JointKind::Revolute,
            JointType::Prismatic => JointKind::Prismatic,
            JointType::Floating | JointType::Planar | JointType::Spherical => {
                return Err(self.error(
                    element,
                    format!("type {:?} is not supported", joint.joint_type).to_lowercase(),
                    "use revolute, continuous, prismatic or fixed",
                ));
            }
        };
        let axis = self.vector(element, "<axis>", &joint.axis.xyz)?;
        if axis.length() < 1e-6 {
            return Err(self.error(element, "<axis> has no direction", "give it a unit vector such as xyz=\"0 0 1\""));
        }
        let limit = &joint.limit;
        let (lower, upper) = if joint.joint_type == JointType::Continuous {
            (-std::f64::consts::PI, std::f64::consts::PI)
        } else {
            (limit.lower, limit.upper)
        };
        for (name, value) in
            [("lower", lower), ("upper", upper), ("effort", limit.effort), ("velocity", limit.velocity)]
        {
            if !value.is_finite() {
                return Err(self.error(element, format!("<limit {name}=\"{value}\">"), "give a finite number"));
            }
        }
        if lower >= upper {
            return Err(self.error(
                element,
                format!("<limit lower=\"{lower}\" upper=\"{upper}\"> leaves no room to move"),
                "give radians with lower < upper",
            ));
        }
        if kind == JointKind::Revolute && (lower < -4.0 * std::f64::consts::PI || upper > 4.0 * std::f64::consts::PI) {
            return Err(self.error(
                element,
                format!("<limit lower=\"{lower}\" upper=\"{upper}\"> is more than two turns"),
                "limits are radians; divide degrees by 57.2958",
            ));
        }
        Ok(Some(Joint {
            name: joint.name.clone(),
            link,
            axis: axis.normalize(),
            kind,
            lower,
            upper,
            effort_nm: limit.effort,
            velocity_rad_s: limit.velocity,
        }))
    }

    fn inertial(&self, element: &str, inertial: &urdf_rs::Inertial) -> Result<Inertial, UrdfError> {
        let mass_kg = inertial.mass.value;
        if !mass_kg.is_finite() || mass_kg < 0.0 {
            return Err(self.error(element, format!("<mass value=\"{mass_kg}\">"), "give a positive mass in kg"));
        }
        let i = &inertial.inertia;
        if [i.ixx, i.ixy, i.ixz, i.iyy, i.iyz, i.izz].iter().any(|value| !value.is_finite()) {
            return Err(self.error(element, "<inertia> has an entry that is no finite number", "give kg m²"));
        }
        if i.ixx < 0.0 || i.iyy < 0.0 || i.izz < 0.0 {
            return Err(self.error(element, "<inertia> has a negative diagonal entry", "give positive ixx, iyy, izz"));
        }
        let pose = self.pose(element, &inertial.origin)?;
        let rotation = DMat3::from_quat(pose.rotation);
        let about_com = DMat3::from_cols(
            DVec3::new(i.ixx, i.ixy, i.ixz),
            DVec3::new(i.ixy, i.iyy, i.iyz),
            DVec3::new(i.ixz, i.iyz, i.izz),
        );
        Ok(Inertial { mass_kg, com_m: pose.translation, inertia_kg_m2: rotation * about_com * rotation.transpose() })
    }

    fn visual(&self, element: &str, visual: &urdf_rs::Visual) -> Result<Visual, UrdfError> {
        let named = visual.material.as_ref().and_then(|material| {
            material.color.as_ref().or_else(|| {
                let global = self.robot.materials.iter().find(|m| m.name == material.name);
                global.and_then(|m| m.color.as_ref())
            })
        });
        Ok(Visual {
            link_from_shape: self.pose(element, &visual.origin)?,
            kind: self.geometry(&format!("{element} <visual>"), &visual.geometry)?,
            colour_srgba: named.map_or([0.7, 0.7, 0.7, 1.0], |c| c.rgba.0.map(|x| x.clamp(0.0, 1.0) as f32)),
        })
    }

    fn shape(&self, element: &str, collision: &urdf_rs::Collision) -> Result<Shape, UrdfError> {
        Ok(Shape {
            name: collision.name.clone(),
            link_from_shape: self.pose(element, &collision.origin)?,
            kind: self.geometry(&format!("{element} <collision>"), &collision.geometry)?,
        })
    }

    fn geometry(&self, element: &str, geometry: &urdf_rs::Geometry) -> Result<ShapeKind, UrdfError> {
        let positive = |name: &str, value: f64| {
            if value.is_finite() && value > 0.0 {
                Ok(value)
            } else {
                Err(self.error(element, format!("{name}=\"{value}\""), "give a positive length in metres"))
            }
        };
        Ok(match geometry {
            urdf_rs::Geometry::Box { size } => ShapeKind::Box {
                size_m: DVec3::new(
                    positive("size x", size[0])?,
                    positive("size y", size[1])?,
                    positive("size z", size[2])?,
                ),
            },
            urdf_rs::Geometry::Cylinder { radius, length } => {
                ShapeKind::Cylinder { radius_m: positive("radius", *radius)?, length_m: positive("length", *length)? }
            }
            urdf_rs::Geometry::Capsule { radius, length } => {
                ShapeKind::Capsule { radius_m: positive("radius", *radius)?, length_m: positive("length", *length)? }
            }
            urdf_rs::Geometry::Sphere { radius } => ShapeKind::Sphere { radius_m: positive("radius", *radius)? },
            urdf_rs::Geometry::Mesh { filename, scale } => ShapeKind::Mesh {
                path: self.mesh_path(element, filename)?,
                scale: match scale {
                    Some(scale) => self.vector(element, "mesh scale", scale)?,
                    None => DVec3::ONE,
                },
            },
        })
    }

    fn mesh_path(&self, element: &str, filename: &str) -> Result<PathBuf, UrdfError> {
        let folder = self.file.parent().unwrap_or(Path::new("."));
        let candidates: Vec<PathBuf> = if let Some(package_path) = filename.strip_prefix("package://") {
            let inside = package_path.split_once('/').map_or(package_path, |(_, rest)| rest);
            folder.ancestors().flat_map(|up| [up.join(package_path), up.join(inside)]).collect()
        } else {
            vec![folder.join(filename.strip_prefix("file://").unwrap_or(filename))]
        };
        let found = candidates.iter().find(|path| path.is_file()).cloned().ok_or_else(|| {
            self.error(
                element,
                format!("mesh \"{filename}\" not found (looked for {})", candidates[0].display()),
                "put the file there or correct the filename",
            )
        })?;
        let extension = found.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
        if !matches!(extension.as_str(), "stl" | "obj") {
            return Err(self.error(
                element,
                format!("mesh \"{filename}\" is neither STL nor OBJ"),
                "convert it, for example with MeshLab or Blender",
            ));
        }
        Ok(found)
    }

    fn vector(&self, element: &str, what: &str, value: &urdf_rs::Vec3) -> Result<DVec3, UrdfError> {
        let vector = DVec3::from_array(value.0);
        if vector.is_finite() {
            Ok(vector)
        } else {
            Err(self.error(element, format!("{what} has an entry that is no finite number"), "give three numbers"))
        }
    }

    fn pose(&self, element: &str, pose: &urdf_rs::Pose) -> Result<DPose3, UrdfError> {
        let xyz = self.vector(element, "<origin xyz>", &pose.xyz)?;
        let rpy = self.vector(element, "<origin rpy>", &pose.rpy)?;
        Ok(DPose3::from_parts(xyz, quat_from_rpy(rpy)))
    }
}

/// URDF's roll, pitch, yaw: turns about the fixed x, then y, then z axis.
pub(super) fn quat_from_rpy(rpy: DVec3) -> DQuat {
    DQuat::from_rotation_z(rpy.z) * DQuat::from_rotation_y(rpy.y) * DQuat::from_rotation_x(rpy.x)
}
