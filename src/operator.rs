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
    /// A recorded episode, sent again.
    Replay,
    /// A learned policy.
    Policy,
    /// Code outside the tick, which writes the commands between ticks: generation, an environment served to others.
    Outside,
}

/// Set inside Decide of the systems that move arms. They may be unordered among themselves, since never more than one of
/// them runs in a tick: add each with `.run_if(has_the_arm(..)).ambiguous_with(DriveArms)`.
#[derive(SystemSet, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DriveArms;

/// Runs a Decide system only while `operator` has the arm.
pub fn has_the_arm(operator: Operator) -> impl Fn(Option<Res<Operator>>) -> bool + Clone {
    move |present| present.is_some_and(|present| *present == operator)
}
