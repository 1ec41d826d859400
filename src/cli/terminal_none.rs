//! Where single keys of a terminal cannot be read: Ctrl-C parks an arm, and the window has its stop key.

use super::CliError;
use super::arm::tell;
use crate::headless::Headless;
use bevy::prelude::App;

/// Says how the arm is stopped here.
pub(super) fn add_stop_keys(_: &mut App) -> Result<(), CliError> {
    tell("Ctrl-C parks the arm and ends; a key that stops it at once is there with --window only");
    Ok(())
}

/// Ends an application: its arm parks.
pub(super) fn end(headless: Headless) {
    drop(headless);
}
