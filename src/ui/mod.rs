//! The window's presentation: it reads the core's components and sends requests; the core knows nothing of it.

pub mod camera_rig;
pub mod matte;
pub mod quality;
pub mod shapes;
pub mod visuals;

use bevy::prelude::*;

/// Order of the window's systems within a frame, around the control ticks.
#[derive(SystemSet, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UiSystems {
    /// Actions from keys and buttons take effect.
    Act,
    /// Visuals, camera and light follow the state.
    Present,
}

/// Adds all of it.
pub fn plugin(app: &mut App) {
    app.init_schedule(bevy_egui::EguiPrimaryContextPass);
    app.configure_sets(Update, (UiSystems::Act, UiSystems::Present).chain());
    app.add_plugins((matte::plugin, quality::plugin, visuals::plugin, camera_rig::plugin));
}
