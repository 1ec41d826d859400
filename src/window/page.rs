//! A window that shows one page of egui and nothing else.

use super::{SOFTWARE_FRAMES_PER_S, WindowError, display, engine, find_adapter};
use crate::ui::theme;
use bevy::core_pipeline::tonemapping::Tonemapping;
use bevy::platform::cell::SyncCell;
use bevy::prelude::*;
use bevy::window::{PresentMode, WindowResolution};
use bevy::winit::{UpdateMode, WinitSettings};
use bevy_egui::egui::Context;
use bevy_egui::{EguiContexts, EguiPlugin, EguiPrimaryContextPass};
use std::time::Duration;

/// Pause between frames while nothing moves and nobody does anything.
const IDLE: Duration = Duration::from_millis(250);

/// What draws the page: it gets egui's context and the time since the last frame, s, and says whether it wants the next frame
/// soon.
pub type Page = Box<dyn FnMut(&Context, f64) -> bool + Send>;

#[derive(Resource)]
struct Shown(SyncCell<Page>);

/// Opens a window with `page` and stays until it is closed.
///
/// # Errors
/// [`WindowError`] if there is no display or driver, or if it breaks.
pub fn open_page(title: &str, size: (u32, u32), verbose: u8, page: Page) -> Result<(), WindowError> {
    display::find()?;
    let adapter = find_adapter()?;
    let ended = display::quietly(|| {
        let mut app = App::new();
        let window = Window {
            title: title.into(),
            resolution: WindowResolution::new(size.0, size.1),
            present_mode: if adapter.software { PresentMode::AutoNoVsync } else { PresentMode::AutoVsync },
            ..default()
        };
        let windows = WindowPlugin { primary_window: Some(window), ..default() };
        app.add_plugins(engine(adapter.resources, verbose).set(windows));
        app.add_plugins(EguiPlugin::default());
        app.insert_resource(Shown(SyncCell::new(page)));
        app.insert_resource(WinitSettings {
            focused_mode: UpdateMode::reactive(IDLE),
            unfocused_mode: UpdateMode::reactive(IDLE),
        });
        app.world_mut().spawn((Camera3d::default(), Tonemapping::None));
        app.add_systems(EguiPrimaryContextPass, show);
        app.add_systems(Update, quit);
        app.run()
    });
    match ended {
        Ok(AppExit::Success) => Ok(()),
        Ok(AppExit::Error(code)) => Err(WindowError::Broke(format!("exit code {code}"))),
        Err(message) => Err(WindowError::Broke(message)),
    }
}

fn show(
    mut contexts: EguiContexts,
    mut shown: ResMut<Shown>,
    mut settings: ResMut<WinitSettings>,
    time: Res<Time<Real>>,
    mut themed: Local<bool>,
) -> Result {
    let context = contexts.ctx_mut()?;
    if !*themed {
        theme::apply(context);
        *themed = true;
    }
    let soon = (shown.0.get())(context, time.delta_secs_f64());
    let pause = if soon { Duration::from_secs_f64(1.0 / SOFTWARE_FRAMES_PER_S) } else { IDLE };
    settings.focused_mode = UpdateMode::reactive(pause);
    settings.unfocused_mode = UpdateMode::reactive(pause);
    Ok(())
}

fn quit(keys: Res<ButtonInput<KeyCode>>, mut exits: MessageWriter<AppExit>) {
    if keys.just_pressed(KeyCode::Escape) || keys.just_pressed(KeyCode::KeyQ) {
        exits.write(AppExit::Success);
    }
}
