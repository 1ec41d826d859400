//! The practice window: the core's control tick driven by the clock on the wall, and Bevy's renderer around it.
//!
//! A machine may have no display, no driver, or a driver that draws in software. All of that is found out before or
//! while the window opens and comes back as a [`WindowError`], never as a panic.

mod display;
mod frames;
mod offscreen;
mod page;
pub mod stage;

pub use frames::FrameRate;
pub use offscreen::{PictureOptions, picture};
pub use page::{Page, open_page};

use crate::app::{self, Loaded, RunOptions};
use crate::control::ControlRate;
use crate::episode::EpisodeRequests;
use crate::operator::Operator;
use crate::scores::ScoreBook;
use crate::ui::actions::{self, Session};
use crate::ui::attempts::Book;
use crate::ui::camera_rig::{FIELD_OF_VIEW_RAD, MainCamera};
use crate::ui::ghost::ExpertOptions;
use crate::ui::panels::AdapterName;
use crate::ui::quality::Quality;
use bevy::app::PluginGroupBuilder;
use bevy::log::{Level, LogPlugin};
use bevy::prelude::*;
use bevy::render::RenderPlugin;
use bevy::render::pipelined_rendering::PipelinedRenderingPlugin;
use bevy::render::renderer::initialize_renderer;
use bevy::render::settings::{RenderCreation, RenderResources, WgpuSettings};
use bevy::window::{PresentMode, WindowResolution};
use bevy::winit::{UpdateMode, WinitSettings};
use bevy_egui::EguiPlugin;
use std::convert::Infallible;
use std::time::Duration;
use thiserror::Error;

/// Ticks that one frame may make up for. A frame slower than this drops ticks instead of bursting them.
const TICKS_PER_FRAME: u32 = 2;
/// Frames per second at which a software driver has done enough.
const SOFTWARE_FRAMES_PER_S: f64 = 40.0;
/// Longest pause between frames that a software driver draws, s.
const LONGEST_PAUSE_S: f64 = 0.04;
/// Colour behind the table.
const BACKGROUND: ClearColor = ClearColor(Color::srgb(0.155, 0.175, 0.205));
/// Name of adapters that draw in software, as `AdapterInfo` prints their kind.
const SOFTWARE: &str = "Cpu";

/// What to open.
#[derive(Clone, Debug)]
pub struct WindowOptions {
    /// What to simulate.
    pub run: RunOptions,
    /// Seed of the first start.
    pub seed: u64,
    /// Quality; chosen by the adapter if not given.
    pub quality: Option<Quality>,
    /// Size of the window, pixels.
    pub size: (u32, u32),
    /// Measure frames for this long, s, and close.
    pub measure_s: Option<f64>,
    /// How much is logged: 0 errors, 1 what happens, 2 details.
    pub verbose: u8,
}

/// Why there is no window.
#[derive(Debug, Error)]
pub enum WindowError {
    /// No display to open a window on.
    #[error("no display ({0})")]
    NoDisplay(String),
    /// Nothing that draws.
    #[error("no graphics driver ({0})")]
    NoAdapter(String),
    /// The window could not be opened although display and driver are there.
    #[error("the window could not be opened ({0})")]
    Start(String),
    /// It broke while it was open.
    #[error("it broke: {0}")]
    Broke(String),
}

impl WindowError {
    /// Whether nothing had been shown yet, so that something else may be done instead.
    pub fn before_start(&self) -> bool {
        !matches!(self, Self::Broke(_))
    }
}

/// What draws.
struct Adapter {
    resources: RenderResources,
    name: String,
    software: bool,
}

/// Asks the graphics drivers for one that can draw.
fn find_adapter() -> Result<Adapter, WindowError> {
    let settings = WgpuSettings::default();
    let backends = settings.backends.ok_or_else(|| WindowError::NoAdapter("none is built in".into()))?;
    // Bevy's initialisation panics where there is no driver.
    let resources = display::quietly(|| bevy::tasks::block_on(initialize_renderer(backends, None, &settings)))
        .map_err(|_| WindowError::NoAdapter("no Vulkan or OpenGL driver answers".into()))?;
    let info = &resources.2;
    let (name, software) = (info.name.clone(), format!("{:?}", info.device_type) == SOFTWARE);
    Ok(Adapter { resources, name, software })
}

/// Bevy's plugins as far as they are used, with the adapter that has been found.
fn engine(adapter: RenderResources, verbose: u8) -> PluginGroupBuilder {
    let (level, filter) = match verbose {
        0 => (Level::ERROR, "wgpu=off,naga=off"),
        1 => (Level::INFO, "wgpu=error,naga=error"),
        _ => (Level::DEBUG, "wgpu=warn,naga=warn"),
    };
    DefaultPlugins
        .set(LogPlugin { level, filter: filter.into(), ..default() })
        .set(RenderPlugin {
            render_creation: RenderCreation::Manual(adapter),
            // A first frame without arm or table would be a poor welcome.
            synchronous_pipeline_compilation: true,
            ..default()
        })
        // One frame less between hand and picture; the scene is too small to gain from it.
        .disable::<PipelinedRenderingPlugin>()
}

/// Adds core and presentation to an application that can draw.
fn add_practice(app: &mut App, loaded: &Loaded, options: &RunOptions, seed: u64, book: ScoreBook) {
    app.set_error_handler(bevy::ecs::error::error);
    app.insert_resource(BACKGROUND);
    app.insert_resource(Session::new(&loaded.scene.name));
    app.insert_resource(ExpertOptions(options.clone()));
    app.insert_resource(Book(book));
    app::add_core(app, loaded, options);
    app.add_plugins((EguiPlugin::default(), crate::trace::plugin, crate::ui::plugin));
    add_clock(app, loaded.rate);
    let mut requests = app.world_mut().resource_mut::<EpisodeRequests>();
    requests.start = Some(seed);
    requests.wait_for_movement = options.operator == Operator::Human;
}

/// Drives the control ticks by the clock on the wall.
pub fn add_clock(app: &mut App, rate: ControlRate) {
    let tick_s = rate.tick_s();
    app.insert_resource(Time::<Fixed>::from_seconds(tick_s));
    let mut clock = Time::<Virtual>::default();
    clock.set_max_delta(Duration::from_secs_f64(tick_s * f64::from(TICKS_PER_FRAME)));
    app.insert_resource(clock);
    app.add_systems(FixedUpdate, actions::tick);
}

/// The next frame begins when the next tick is due, so that slow frames do not make ticks late beside.
fn wait_for_tick(fixed: Res<Time<Fixed>>, time: Res<Time<Virtual>>, mut settings: ResMut<WinitSettings>) {
    let left_s = fixed.timestep().saturating_sub(fixed.overstep()).as_secs_f64() / time.relative_speed_f64().max(0.05);
    // In slow motion the frames between ticks are needed, too.
    let frames = (left_s / LONGEST_PAUSE_S).ceil().max(1.0);
    settings.focused_mode = UpdateMode::reactive(Duration::from_secs_f64(left_s / frames));
}

fn camera() -> impl Bundle {
    let lens = PerspectiveProjection { fov: FIELD_OF_VIEW_RAD, near: 0.02, ..default() };
    (MainCamera, Camera3d::default(), Projection::Perspective(lens), Transform::default())
}

/// Opens the window and stays until it is closed; frames are reported if they were to be measured.
///
/// # Errors
/// [`WindowError`] if there is no display or driver, or if it breaks.
pub fn open(loaded: &Loaded, options: &WindowOptions) -> Result<Option<FrameRate>, WindowError> {
    let Ok(rate) = open_with(loaded, options, |_| Ok::<(), Infallible>(()))?;
    Ok(rate)
}

/// As [`open`], with something added to the application before the window opens; if that fails, none does.
///
/// # Errors
/// [`WindowError`] if there is no display or driver, or if it breaks; inside it what adding gave.
pub fn open_with<E>(
    loaded: &Loaded,
    options: &WindowOptions,
    extend: impl FnOnce(&mut App) -> Result<(), E>,
) -> Result<Result<Option<FrameRate>, E>, WindowError> {
    display::find()?;
    let adapter = find_adapter()?;
    let quality = options.quality.unwrap_or(if adapter.software { Quality::Low } else { Quality::High });
    let measured = frames::Measured::default();
    let name = AdapterName { name: adapter.name.clone(), software: adapter.software };
    let ended = display::quietly(|| {
        let mut app = App::new();
        let measuring = options.measure_s.is_some();
        let window = Window {
            title: "Etude".into(),
            resolution: WindowResolution::new(options.size.0, options.size.1),
            present_mode: if adapter.software || measuring { PresentMode::AutoNoVsync } else { PresentMode::AutoVsync },
            ..default()
        };
        let windows = WindowPlugin { primary_window: Some(window), ..default() };
        app.add_plugins(engine(adapter.resources, options.verbose).set(windows));
        app.insert_resource(quality);
        app.insert_resource(name.clone());
        if adapter.software && !measuring {
            let pause = Duration::from_secs_f64(1.0 / SOFTWARE_FRAMES_PER_S);
            app.insert_resource(WinitSettings { focused_mode: UpdateMode::reactive(pause), ..WinitSettings::game() });
            app.add_systems(Last, wait_for_tick);
        } else if measuring {
            app.insert_resource(WinitSettings::continuous());
        }
        add_practice(&mut app, loaded, &options.run, options.seed, ScoreBook::of_user());
        extend(&mut app)?;
        app.world_mut().spawn(camera());
        frames::add(&mut app, options.measure_s, measured.clone());
        Ok(app.run())
    });
    match ended {
        Ok(Err(fault)) => Ok(Err(fault)),
        Ok(Ok(AppExit::Success)) => Ok(Ok(measured.rate(&name.name, quality))),
        Ok(Ok(AppExit::Error(code))) => Err(WindowError::Broke(format!("exit code {code}"))),
        Err(message) if measured.started() => Err(WindowError::Broke(message)),
        Err(message) => Err(WindowError::Start(message)),
    }
}
