//! The arm as data: links, joints, masses, shapes, read from a URDF, and its kinematics. Knows neither Bevy's world nor a
//! physics engine; vectors and poses are `glam`'s and `glamx`'s, in metres and radians, `f64`.
//!
//! Frames follow the URDF: z up, origin at the arm's base on the table top. `a_from_b` is the pose of frame b in frame a.

mod check;
mod floor;
mod kinematics;
mod mesh;
mod model;
mod park;
mod urdf;

pub use check::{CheckReport, check};
pub use floor::{FLOOR_TOLERANCE_M, Floor};
pub use kinematics::{IkSettings, IkSolution, IkTarget, Tool};
pub use mesh::{MeshError, TriMesh};
pub use model::{ArmModel, Inertial, Joint, JointKind, Link, Shape, ShapeKind, Visual};
pub use park::ParkWay;
pub use urdf::{UrdfError, load_urdf};

pub use glamx::{DMat3, DPose3, DQuat, DVec3};

/// Joint names of the SO-100 and SO-101 in servo-bus order (ids 1 to 6), as LeRobot writes them into datasets.
pub const SO100_JOINT_NAMES: [&str; 6] =
    ["shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper"];

/// Standard gravity in m/s².
pub const GRAVITY_M_S2: f64 = 9.81;
