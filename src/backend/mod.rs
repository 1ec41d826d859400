//! What moves the joints. A backend tags its joints, writes their [`JointState`](crate::robot::JointState) in Sense and
//! reads their [`JointTarget`](crate::robot::JointTarget) in Act.

pub mod servo;
pub mod sim;

use bevy::prelude::*;

/// Set inside Sense in which backends write joint states.
#[derive(SystemSet, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReadJoints;

/// Set inside Act in which backends take joint targets.
#[derive(SystemSet, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SendTargets;
