//! The practice window: the core's control tick driven by the clock on the wall, and Bevy's renderer around it.

use crate::app::{self, Loaded, RunOptions};
use crate::episode::EpisodeRequests;
use crate::ui::camera_rig::MainCamera;
use crate::ui::quality::Quality;
use bevy::prelude::*;
use bevy::render::pipelined_rendering::PipelinedRenderingPlugin;
use bevy::window::{PresentMode, WindowResolution};
use bevy_egui::EguiPlugin;
use std::time::Duration;

/// Ticks that one frame may make up for. A frame slower than this drops ticks instead of bursting them.
const TICKS_PER_FRAME: u32 = 2;

/// Adds core and presentation to an application that can already draw.
pub fn add_practice(app: &mut App, loaded: &Loaded, options: &RunOptions, seed: u64) {
    app::add_core(app, loaded, options);
    app.add_plugins(crate::trace::plugin);
    app.insert_resource(crate::ui::actions::Session::new(&loaded.scene.name));
    app.insert_resource(crate::ui::ghost::ExpertOptions(options.clone()));
    app.insert_resource(crate::ui::attempts::Book(crate::scores::ScoreBook::of_user()));
    app.add_plugins(crate::ui::plugin);
    let tick_s = loaded.rate.tick_s();
    app.insert_resource(Time::<Fixed>::from_seconds(tick_s));
    let mut virtual_time = Time::<Virtual>::default();
    virtual_time.set_max_delta(Duration::from_secs_f64(tick_s * f64::from(TICKS_PER_FRAME)));
    app.insert_resource(virtual_time);
    app.world_mut().resource_mut::<EpisodeRequests>().start = Some(seed);
    app.world_mut().resource_mut::<EpisodeRequests>().wait_for_movement = options.operator == crate::operator::Operator::Human;
    app.add_systems(FixedUpdate, crate::ui::actions::tick);
}

/// Opens the window and stays until it is closed.
pub fn open(loaded: &Loaded, options: &RunOptions, seed: u64) {
    let mut app = App::new();
    app.add_plugins(
        DefaultPlugins
            .set(WindowPlugin {
                primary_window: Some(Window {
                    title: "Etude".into(),
                    resolution: WindowResolution::new(1280, 720),
                    present_mode: PresentMode::AutoNoVsync,
                    ..default()
                }),
                ..default()
            })
            .disable::<PipelinedRenderingPlugin>(),
    );
    app.add_plugins(EguiPlugin::default());
    app.insert_resource(ClearColor(Color::srgb(0.16, 0.18, 0.21)));
    app.insert_resource(Quality::Low);
    add_practice(&mut app, loaded, options, seed);
    app.add_systems(Startup, spawn_camera);
    app.add_systems(Update, count);
    app.run();
}

fn count(time: Res<Time<Real>>, mut n: Local<(u32, f32)>) {
    n.0 += 1;
    n.1 += time.delta_secs();
    if n.1 > 3.0 {
        info!("{} fps", n.0 as f32 / n.1);
        *n = (0, 0.0);
    }
}

fn spawn_camera(mut commands: Commands) {
    commands.spawn((
        MainCamera,
        Camera3d::default(),
        Projection::Perspective(PerspectiveProjection {
            fov: crate::ui::camera_rig::FIELD_OF_VIEW_RAD,
            near: 0.02,
            ..default()
        }),
        Transform::default(),
    ));
}
