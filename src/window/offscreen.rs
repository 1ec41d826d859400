//! The window's picture without a window: drawn into an image and read back, at a moment that is the same every time.

use super::{WindowError, add_practice, camera, display, engine, find_adapter};
use crate::app::{Loaded, RunOptions};
use crate::scores::ScoreBook;
use crate::ui::actions::{self, Session};
use crate::ui::camera_rig::{CameraRig, View};
use crate::ui::panels::AdapterName;
use crate::ui::quality::Quality;
use crate::ui::screenshot::to_png;
use bevy::camera::RenderTarget;
use bevy::image::Image;
use bevy::prelude::*;
use bevy::render::render_resource::{TextureFormat, TextureUsages};
use bevy::render::view::screenshot::{Screenshot, ScreenshotCaptured};
use bevy::time::TimeUpdateStrategy;
use bevy::window::ExitCondition;
use bevy::winit::WinitPlugin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Frames drawn before the picture: panels find their size, the eye its place, materials their pipelines.
const FRAMES_BEFORE: u32 = 8;
/// Frames waited for the picture to come back.
const FRAMES_AFTER: u32 = 200;

/// What to picture.
#[derive(Clone, Debug)]
pub struct PictureOptions {
    /// What to simulate.
    pub run: RunOptions,
    /// Seed of the start.
    pub seed: u64,
    /// Moment, s after the start; later than the end of the episode shows its end.
    pub at_s: f64,
    /// Size, pixels.
    pub size: (u32, u32),
    /// Quality; chosen by the adapter if not given.
    pub quality: Option<Quality>,
    /// View.
    pub view: View,
    /// Whether the help is open.
    pub help: bool,
    /// How much is logged.
    pub verbose: u8,
}

/// Draws the window with the expert at work and returns it as PNG.
///
/// # Errors
/// [`WindowError`] if nothing can draw.
pub fn picture(loaded: &Loaded, options: &PictureOptions) -> Result<Vec<u8>, WindowError> {
    let adapter = find_adapter()?;
    let quality = options.quality.unwrap_or(if adapter.software { Quality::Low } else { Quality::High });
    let name = AdapterName { name: adapter.name.clone(), software: adapter.software };
    let drawn = display::quietly(|| {
        let mut app = App::new();
        let windows = WindowPlugin { primary_window: None, exit_condition: ExitCondition::DontExit, ..default() };
        app.add_plugins(engine(adapter.resources, options.verbose).set(windows).disable::<WinitPlugin>());
        app.insert_resource(quality);
        app.insert_resource(name);
        // The book stays closed: the picture shall not depend on who takes it.
        add_practice(&mut app, loaded, &options.run, options.seed, ScoreBook::unkept());
        draw(&mut app, options)
    });
    match drawn {
        Ok(Ok(png)) => Ok(png),
        Ok(Err(message)) | Err(message) => Err(WindowError::Start(message)),
    }
}

fn draw(app: &mut App, options: &PictureOptions) -> Result<Vec<u8>, String> {
    let mut target = Image::new_target_texture(options.size.0, options.size.1, TextureFormat::Rgba8UnormSrgb, None);
    target.texture_descriptor.usage |= TextureUsages::COPY_SRC;
    let target = app.world_mut().resource_mut::<Assets<Image>>().add(target);
    app.world_mut().spawn((camera(), RenderTarget::Image(target.clone().into())));
    app.finish();
    app.cleanup();
    app.world_mut().resource_mut::<Session>().help = options.help;
    // The clock on the wall has no say: ticks are made by hand, and what is drawn is the latest.
    app.insert_resource(TimeUpdateStrategy::ManualDuration(Duration::ZERO));
    let mut fixed = app.world_mut().resource_mut::<Time<Fixed>>();
    let nearly_all = fixed.timestep().mul_f64(0.999);
    fixed.accumulate_overstep(nearly_all);
    let ticks = (options.at_s * f64::from(options.run.control_hz)).round() as u64;
    for _ in 0..=ticks {
        actions::tick(app.world_mut());
    }
    app.world_mut().resource_mut::<CameraRig>().show(options.view);
    app.update();
    // The eye is there at once.
    let mut rig = app.world_mut().resource_mut::<CameraRig>();
    rig.now = rig.goal;
    for _ in 0..FRAMES_BEFORE {
        app.update();
    }
    let captured: Arc<Mutex<Option<Result<Vec<u8>, String>>>> = Arc::default();
    let keep = captured.clone();
    app.world_mut().spawn(Screenshot::image(target)).observe(move |picture: On<ScreenshotCaptured>| {
        if let Ok(mut captured) = keep.lock() {
            *captured = Some(to_png(&picture.image));
        }
    });
    for _ in 0..FRAMES_AFTER {
        app.update();
        if let Some(png) = captured.lock().ok().and_then(|mut captured| captured.take()) {
            return png;
        }
    }
    Err("the picture was drawn but never came back".into())
}
