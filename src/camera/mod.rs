//! Cameras. The simulated ones are drawn on the CPU from arm, props and marks, so that a run without a window needs no
//! graphics and every machine sees the same bits. Real ones, and folders and videos in their place, have a thread each
//! ([`real`]); their pictures reach the same components ([`live`]).

pub mod live;
pub mod raster;
pub mod real;
mod studio;

pub use live::spawn_cameras;

use crate::config::CameraConfig;
use crate::control::{Control, ControlSystems, Draw, Look};
use crate::robot::PoseLinks;
use crate::world::ActiveScene;
use bevy::prelude::*;
use std::time::Instant;

/// A camera of the scene.
#[derive(Component, Clone, Debug)]
#[require(CameraFrame)]
pub struct CameraSensor {
    /// How it is set up.
    pub config: CameraConfig,
    /// Its number in the scene.
    pub index: usize,
}

/// The newest picture of a camera. Written in Sense.
#[derive(Component, Clone, Debug, Default, PartialEq)]
pub struct CameraFrame {
    /// Width, pixels.
    pub width: u32,
    /// Height, pixels.
    pub height: u32,
    /// Rows from the top, three bytes (sRGB) a pixel; empty until a first picture is drawn.
    pub rgb: Vec<u8>,
    /// Tick of the episode it was taken at.
    pub tick: u64,
    /// When a real camera took it; `None`: it is drawn, and shows this very tick.
    pub captured: Option<Instant>,
    /// How old it was when the tick began, s; 0 for what is drawn.
    pub age_s: f32,
    /// Whether it can be relied on.
    pub state: CameraState,
}

/// Whether a camera's picture can be relied on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CameraState {
    /// It is new.
    #[default]
    Fresh,
    /// It is older than it should be; the camera is still there.
    Stale,
    /// The camera is gone; its last picture stands in.
    Lost,
}

/// Which simulated cameras draw for whoever keeps or uses pictures. Pictures cost time, so nothing is drawn unless somebody
/// looks. Real cameras always deliver.
#[derive(Resource, Clone, Debug, Default, PartialEq)]
pub enum CamerasInUse {
    /// No camera draws.
    #[default]
    None,
    /// Every camera of the scene draws every tick.
    All,
    /// The cameras with these names draw every tick.
    Named(Vec<String>),
}

impl CamerasInUse {
    /// Whether the camera called `name` draws.
    pub fn contains(&self, name: &str) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Named(names) => names.iter().any(|other| other == name),
        }
    }
}

/// Whether a person watches the pictures: then every camera draws, beside those in use.
#[derive(Resource, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CamerasWatched(pub bool);

/// Adds cameras, simulated and real.
pub fn plugin(app: &mut App) {
    app.init_resource::<CamerasInUse>();
    app.init_resource::<CamerasWatched>();
    app.init_resource::<live::RealCameras>();
    app.add_systems(
        Control,
        follow_scene.in_set(ControlSystems::Sense).before(studio::draw_cameras).before(live::take_pictures),
    );
    app.add_systems(
        Control,
        (
            studio::draw_cameras.after(PoseLinks).run_if(|in_use: Res<CamerasInUse>, watched: Res<CamerasWatched>| {
                *in_use != CamerasInUse::None || watched.0
            }),
            live::take_pictures,
        )
            .in_set(ControlSystems::Sense),
    );
    app.add_systems(Look, studio::draw_cameras.after(PoseLinks));
    app.add_systems(Draw, (follow_scene, studio::draw_cameras).chain());
}

/// Cameras are set up as the scene has them, in each episode anew; their size may have been chosen by who looks.
fn follow_scene(scene: Res<ActiveScene>, mut sensors: Query<&mut CameraSensor>) {
    if !scene.is_changed() {
        return;
    }
    for mut sensor in &mut sensors {
        let Some(config) = scene.scene.cameras.iter().find(|camera| camera.name == sensor.config.name) else {
            continue;
        };
        let (width, height) = (sensor.config.width, sensor.config.height);
        sensor.config = CameraConfig { width, height, ..config.clone() };
    }
}
