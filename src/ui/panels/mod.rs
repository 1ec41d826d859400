//! The panels, one file each: they read the state and write [`super::actions::Action`]s, nothing else.

mod arm;
mod banner;
mod cameras;
mod controls;
mod help;
mod recording;
mod settings;
mod task;

pub use cameras::{CameraPicture, CameraPictures};
pub use settings::AdapterName;

use super::actions::Session;
use super::{UiSystems, theme};
use crate::recording::desk::Desk;
use bevy::prelude::*;
use bevy_egui::{EguiContexts, EguiPrimaryContextPass};

/// Distance of cards from the window's edge, points.
pub(super) const EDGE: f32 = 12.0;

/// Adds the panels.
pub fn plugin(app: &mut App) {
    app.init_resource::<AdapterName>().init_resource::<CameraPictures>();
    app.add_systems(Update, cameras::look.in_set(UiSystems::Present));
    app.add_systems(
        EguiPrimaryContextPass,
        (
            prepare,
            (
                (task::show, controls::show).chain().run_if(not(resource_exists::<Desk>)),
                (recording::show, recording::buttons).chain().run_if(resource_exists::<Desk>),
                arm::show,
                cameras::show,
            )
                .chain()
                .run_if(|s: Res<Session>| s.panels),
            banner::show,
            help::show,
        )
            .chain(),
    );
}

/// Theme and scale; keeps the keyboard for the arm.
fn prepare(mut contexts: EguiContexts, mut prepared: Local<theme::Prepared>) -> Result {
    let ctx = contexts.ctx_mut()?;
    theme::prepare(ctx, &mut prepared);
    // Tab would walk the focus through the buttons and take the keys away from the arm.
    if !ctx.text_edit_focused()
        && let Some(focused) = ctx.memory(|memory| memory.focused())
    {
        ctx.memory_mut(|memory| memory.surrender_focus(focused));
    }
    Ok(())
}
