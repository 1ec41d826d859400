//! Links and joints of an arm.

use super::{DMat3, DPose3, DVec3};
use std::path::PathBuf;

/// An arm as read from a URDF: a tree of links, parents before children.
#[derive(Clone, Debug)]
pub struct ArmModel {
    /// The URDF's `robot name`.
    pub name: String,
    /// File it was read from; mesh paths in [`Visual`]s and [`Shape`]s are already resolved against it.
    pub file: PathBuf,
    /// Links, each after its parent; the first is the base.
    pub links: Vec<Link>,
    /// Movable joints in order of depth from the base, which on an SO-100 is the order of the servo bus.
    pub joints: Vec<Joint>,
}

/// A rigid body of the arm.
#[derive(Clone, Debug)]
pub struct Link {
    /// Name in the URDF.
    pub name: String,
    /// Index of the parent link; `None` for the base.
    pub parent: Option<usize>,
    /// Pose of this link in its parent while its joint stands at zero.
    pub parent_from_link: DPose3,
    /// Index of the movable joint that carries this link; `None` for the base and for fixed joints.
    pub joint: Option<usize>,
    /// Mass properties; `None` where the URDF gives none.
    pub inertial: Option<Inertial>,
    /// What is seen.
    pub visuals: Vec<Visual>,
    /// What collides.
    pub shapes: Vec<Shape>,
}

/// Mass properties of a link.
#[derive(Clone, Copy, Debug)]
pub struct Inertial {
    /// Mass in kg.
    pub mass_kg: f64,
    /// Centre of mass in the link frame, m.
    pub com_m: DVec3,
    /// Inertia about the centre of mass in link axes, kg m².
    pub inertia_kg_m2: DMat3,
}

/// A movable joint.
#[derive(Clone, Debug)]
pub struct Joint {
    /// Name in the URDF.
    pub name: String,
    /// Index of the link it carries.
    pub link: usize,
    /// Unit axis in the carried link's frame; angles are positive about it.
    pub axis: DVec3,
    /// How it moves.
    pub kind: JointKind,
    /// Lower limit, rad (m for prismatic joints).
    pub lower: f64,
    /// Upper limit, rad (m for prismatic joints).
    pub upper: f64,
    /// Effort limit as the URDF states it, Nm; 0 where it states none.
    pub effort_nm: f64,
    /// Velocity limit as the URDF states it, rad/s; 0 where it states none.
    pub velocity_rad_s: f64,
}

/// How a joint moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JointKind {
    /// Turns about its axis.
    Revolute,
    /// Slides along its axis.
    Prismatic,
}

/// A visible part of a link.
#[derive(Clone, Debug)]
pub struct Visual {
    /// Pose in the link frame.
    pub link_from_shape: DPose3,
    /// Geometry.
    pub kind: ShapeKind,
    /// Colour, sRGB with alpha, each 0 to 1.
    pub colour_srgba: [f32; 4],
}

/// A colliding part of a link.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Name of the `<collision>` element, where it has one.
    pub name: Option<String>,
    /// Pose in the link frame.
    pub link_from_shape: DPose3,
    /// Geometry.
    pub kind: ShapeKind,
}

/// Geometry of a visual or a collision shape; lengths in metres, cylinders and capsules along z.
#[derive(Clone, Debug, PartialEq)]
pub enum ShapeKind {
    /// Full edge lengths.
    Box {
        /// Edge lengths along x, y, z.
        size_m: DVec3,
    },
    /// A cylinder about z.
    Cylinder {
        /// Radius.
        radius_m: f64,
        /// Full length.
        length_m: f64,
    },
    /// A capsule about z.
    Capsule {
        /// Radius.
        radius_m: f64,
        /// Length of the cylindrical part.
        length_m: f64,
    },
    /// A ball.
    Sphere {
        /// Radius.
        radius_m: f64,
    },
    /// A mesh file, STL or OBJ.
    Mesh {
        /// Resolved path.
        path: PathBuf,
        /// Scale factors along x, y, z.
        scale: DVec3,
    },
}

impl ArmModel {
    /// Index of the link called `name`.
    pub fn link_index(&self, name: &str) -> Option<usize> {
        self.links.iter().position(|link| link.name == name)
    }

    /// Index of the movable joint called `name`.
    pub fn joint_index(&self, name: &str) -> Option<usize> {
        self.joints.iter().position(|joint| joint.name == name)
    }

    /// The gripper's joint: the one called `gripper` or `Jaw`, else the last of the chain.
    pub fn gripper_joint(&self) -> usize {
        ["gripper", "Jaw", "jaw"]
            .iter()
            .find_map(|name| self.joint_index(name))
            .unwrap_or(self.joints.len().saturating_sub(1))
    }

    /// The link that carries the gripper's joint: the hand.
    pub fn hand_link(&self) -> usize {
        self.joints.get(self.gripper_joint()).and_then(|joint| self.links[joint.link].parent).unwrap_or(0)
    }

    /// Indices of the movable joints between the base and `link`, base first.
    pub fn chain_to(&self, link: usize) -> Vec<usize> {
        let mut chain = Vec::new();
        let mut at = Some(link);
        while let Some(index) = at {
            chain.extend(self.links[index].joint);
            at = self.links[index].parent;
        }
        chain.reverse();
        chain
    }

    /// `q` with every joint inside its limits.
    pub fn clamp(&self, q: &[f64]) -> Vec<f64> {
        q.iter().zip(&self.joints).map(|(value, joint)| value.clamp(joint.lower, joint.upper)).collect()
    }

    /// Total mass of the moving links, kg.
    pub fn moving_mass_kg(&self) -> f64 {
        (0..self.links.len())
            .filter(|&index| !self.chain_to(index).is_empty())
            .filter_map(|index| self.links[index].inertial.map(|inertial| inertial.mass_kg))
            .sum()
    }
}
