//! The window's presentation: it reads the core's components and sends requests; the core knows nothing of it.

pub mod actions;
pub mod attempts;
pub mod calibration;
pub mod camera_rig;
pub mod collision;
pub mod ghost;
pub mod hands;
pub mod keys;
pub mod matte;
pub mod panels;
pub mod planar;
pub mod quality;
pub mod recording;
pub mod screenshot;
pub mod shapes;
pub mod theme;
#[cfg(unix)]
pub mod virtual_arm;
pub mod visuals;

use bevy::prelude::*;

/// Order of the window's systems within a frame, after the control ticks.
#[derive(SystemSet, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UiSystems {
    /// Actions from keys and buttons take effect.
    Act,
    /// Visuals, camera, light and books follow the state.
    Present,
}

/// Adds all of it.
pub fn plugin(app: &mut App) {
    app.configure_sets(Update, (UiSystems::Act, UiSystems::Present).chain());
    app.add_plugins((
        actions::plugin,
        hands::plugin,
        matte::plugin,
        quality::plugin,
        visuals::plugin,
        camera_rig::plugin,
        collision::plugin,
        ghost::plugin,
        attempts::plugin,
        screenshot::plugin,
        panels::plugin,
    ));
}
