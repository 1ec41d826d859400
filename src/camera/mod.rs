//! Cameras: the simulated ones, drawn on the CPU from arm, props and marks, so that a run without a window needs no graphics
//! and every machine sees the same bits.

pub mod raster;
mod studio;

use crate::config::CameraConfig;
use crate::control::{Control, ControlSystems};
use crate::robot::PoseLinks;
use crate::world::ActiveScene;
use bevy::prelude::*;

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
}

/// Which cameras draw. Pictures cost time, so nothing is drawn unless somebody looks.
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

/// Adds the simulated cameras.
pub fn plugin(app: &mut App) {
    app.init_resource::<CamerasInUse>();
    app.add_systems(Control, follow_scene.in_set(ControlSystems::Sense).before(studio::draw_cameras));
    app.add_systems(
        Control,
        studio::draw_cameras
            .in_set(ControlSystems::Sense)
            .after(PoseLinks)
            .run_if(|in_use: Res<CamerasInUse>| *in_use != CamerasInUse::None),
    );
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

/// Spawns the cameras of a scene.
pub fn spawn_cameras(commands: &mut Commands, cameras: &[CameraConfig]) {
    for (index, config) in cameras.iter().enumerate() {
        commands.spawn((Name::new(config.name.clone()), CameraSensor { config: config.clone(), index }));
    }
}
