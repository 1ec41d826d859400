//! Who moves the arm.

use bevy::prelude::*;

/// The source of joint commands. Exactly one writes in Decide.
#[derive(Resource, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Operator {
    /// Nobody: the arm holds its last target.
    #[default]
    Nobody,
    /// A person at keyboard, mouse or gamepad.
    Human,
    /// The scene's scripted expert.
    Scripted,
}

/// Runs a Decide system only while `operator` has the arm.
pub fn has_the_arm(operator: Operator) -> impl Fn(Option<Res<Operator>>) -> bool + Clone {
    move |present| present.is_some_and(|present| *present == operator)
}
