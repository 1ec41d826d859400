//! Real cameras of a run: their pictures reach the same components as those of simulated ones, so that recording, panels
//! and policies cannot tell them apart.

use super::real::{
    Backoff, CameraError, CameraSource, FolderOpener, Health, NamedSource, Opener, Picture, RealCamera, VideoOpener,
    WebcamOpener,
};
use super::{CameraFrame, CameraSensor, CameraState};
use crate::config::{CameraConfig, CameraMount};
use crate::episode::Episode;
use bevy::prelude::*;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Size of a real camera's pictures where neither scene nor dataset says one, pixels.
const SIZE: (u32, u32) = (640, 480);
/// A picture older than this is stale, s; cameras slower than 20 pictures per second get four of theirs.
const STALE_S: f32 = 0.2;
/// How long a camera may take until its first picture: some need seconds to wake up.
const FIRST_PICTURE: Duration = Duration::from_secs(8);

/// The real cameras of a run; all holders share their threads.
#[derive(Resource, Clone, Default)]
pub struct RealCameras {
    /// In the order they were given.
    pub cameras: Vec<Arc<RealCamera>>,
    /// Leave out the scene's simulated cameras: beside a real arm they would show what is not there.
    pub alone: bool,
}

impl std::fmt::Debug for RealCameras {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<(&str, &str)> = self.cameras.iter().map(|camera| (camera.name(), camera.source())).collect();
        f.debug_struct("RealCameras").field("cameras", &names).field("alone", &self.alone).finish()
    }
}

/// On the entity of a real camera, beside its [`CameraSensor`] and [`CameraFrame`].
#[derive(Component)]
pub struct LiveCamera {
    camera: Arc<RealCamera>,
    picture: Picture,
    /// How the camera is.
    pub health: Health,
    /// Ticks that saw a picture too old, or none.
    pub stale_ticks: u64,
}

/// What opens a source.
pub fn opener_of(source: &CameraSource) -> Box<dyn Opener> {
    match source.clone() {
        CameraSource::Device(id) => Box::new(WebcamOpener { id }),
        CameraSource::Folder { path, fps } => Box::new(FolderOpener { path, fps }),
        CameraSource::File { path, fps } => Box::new(VideoOpener { path, fps }),
    }
}

impl RealCameras {
    /// Starts the cameras; `scene` says the sizes of those it has by the same name. One that is not there yet is waited for
    /// in the background.
    ///
    /// # Errors
    /// [`CameraError`] when the system has no thread for one.
    pub fn start(sources: &[NamedSource], scene: &[CameraConfig], fps: u32, alone: bool) -> Result<Self, CameraError> {
        let start = |named: &NamedSource| {
            let size = scene.iter().find(|camera| camera.name == named.name).map_or(SIZE, |c| (c.width, c.height));
            let source = named.source.to_string();
            RealCamera::start(&named.name, &source, opener_of(&named.source), (size, fps), Backoff::default())
                .map(Arc::new)
                .map_err(|error| CameraError::Open {
                    camera: source,
                    problem: error.to_string(),
                    remedy: "close other programs".into(),
                })
        };
        let cameras = sources.iter().map(start).collect::<Result<_, _>>()?;
        Ok(Self { cameras, alone: alone && !sources.is_empty() })
    }
}

/// Spawns the cameras of a scene; real ones take the place of simulated ones of their name, others are added.
pub fn spawn_cameras(commands: &mut Commands, scene: &[CameraConfig], real: &RealCameras) {
    let of_name = |name: &str| real.cameras.iter().find(|camera| camera.name() == name);
    let mut spawn = |index: usize, config: CameraConfig, real: Option<&Arc<RealCamera>>| {
        let mut entity = commands.spawn((Name::new(config.name.clone()), CameraSensor { config, index }));
        if let Some(camera) = real {
            let (picture, health) = Default::default();
            entity.insert(LiveCamera { camera: camera.clone(), picture, health, stale_ticks: 0 });
        }
    };
    for (index, config) in scene.iter().enumerate() {
        let real_one = of_name(&config.name);
        if real_one.is_some() || !real.alone {
            spawn(index, config.clone(), real_one);
        }
    }
    let added = real.cameras.iter().filter(|camera| !scene.iter().any(|config| config.name == camera.name()));
    for (number, camera) in added.enumerate() {
        spawn(scene.len() + number, placeless(camera.name()), Some(camera));
    }
}

/// A camera of which nothing is known but its name.
fn placeless(name: &str) -> CameraConfig {
    CameraConfig {
        name: name.into(),
        mount: CameraMount::World,
        position_m: (0.0, -0.6, 0.4),
        look_at_m: (0.0, -0.2, 0.0),
        up: (0.0, 0.0, 1.0),
        vertical_fov_deg: 45.0,
        width: SIZE.0,
        height: SIZE.1,
        lens: None,
        sensor: None,
    }
}

/// Hands the newest pictures of real cameras to their entities.
pub(super) fn take_pictures(
    episode: Res<Episode>,
    mut cameras: Query<(&CameraSensor, &mut LiveCamera, &mut CameraFrame)>,
) {
    for (sensor, mut live, mut frame) in &mut cameras {
        let live = &mut *live;
        let wanted = (sensor.config.width, sensor.config.height);
        live.camera.want(wanted);
        let was_connected = live.health.connected;
        let new = live.camera.take(&mut live.picture, &mut live.health);
        if new {
            std::mem::swap(&mut frame.rgb, &mut live.picture.rgb);
            (frame.width, frame.height) = (live.picture.width, live.picture.height);
            frame.captured = live.picture.captured;
            frame.tick = episode.tick;
        }
        let age_s = frame.captured.map_or(f32::INFINITY, |time| Instant::now().duration_since(time).as_secs_f32());
        let state = judge(age_s, &live.health);
        live.stale_ticks += u64::from(state != CameraState::Fresh);
        if was_connected && !live.health.connected {
            let problem = live.health.problem.as_deref().unwrap_or("it is gone");
            warn!("camera {}: {problem}; its last picture stands in until it is back", sensor.config.name);
        } else if !was_connected && live.health.connected && live.health.losses > 0 {
            warn!("camera {}: back again", sensor.config.name);
        }
        (frame.age_s, frame.state) = (age_s, state);
    }
}

/// What the age of a camera's picture means.
fn judge(age_s: f32, health: &Health) -> CameraState {
    let period_s = health.mode.map_or(0.0, |mode| 1.0 / mode.fps.max(1) as f32);
    if !health.connected {
        CameraState::Lost
    } else if age_s > STALE_S.max(4.0 * period_s) {
        CameraState::Stale
    } else {
        CameraState::Fresh
    }
}

/// Waits until each of the named cameras that is real has a picture of the size its sensor asks for.
///
/// # Errors
/// [`CameraError::NoPicture`] with what the camera's thread says.
pub fn wait_for_pictures(world: &mut World, names: &[String]) -> Result<(), CameraError> {
    let mut cameras = world.query::<(&CameraSensor, &mut LiveCamera, &mut CameraFrame)>();
    let until = Instant::now() + FIRST_PICTURE;
    for (sensor, mut live, mut frame) in cameras.iter_mut(world) {
        let wanted = (sensor.config.width, sensor.config.height);
        if !names.contains(&sensor.config.name) {
            continue;
        }
        live.camera.want(wanted);
        loop {
            if (frame.width, frame.height) == wanted && frame.captured.is_some() {
                break;
            }
            let live = &mut *live;
            let there = live.camera.wait_for_picture(until.saturating_duration_since(Instant::now()));
            if live.camera.take(&mut live.picture, &mut live.health) {
                std::mem::swap(&mut frame.rgb, &mut live.picture.rgb);
                (frame.width, frame.height) = (live.picture.width, live.picture.height);
                frame.captured = live.picture.captured;
            } else if !there {
                let problem = live.camera.health().problem.as_deref().unwrap_or("its source is silent").to_string();
                let name = sensor.config.name.clone();
                return Err(CameraError::NoPicture { name, seconds: FIRST_PICTURE.as_secs(), problem });
            }
        }
    }
    Ok(())
}

/// How the real cameras did so far: name, ticks that saw no fresh picture, and how often the camera was lost.
pub fn faults(world: &mut World) -> Vec<(String, u64, u64)> {
    let mut cameras = world.query::<(&CameraSensor, &LiveCamera)>();
    let mut faults: Vec<_> = cameras
        .iter(world)
        .map(|(sensor, live)| (sensor.index, sensor.config.name.clone(), live.stale_ticks, live.health.losses))
        .filter(|(_, _, stale, losses)| stale + losses > 0)
        .collect();
    faults.sort();
    faults.into_iter().map(|(_, name, stale, losses)| (name, stale, losses)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::real::{Encoding, Mode};

    #[test]
    fn old_pictures_are_stale_and_slow_cameras_are_not() {
        let mode = |fps| Some(Mode { width: 64, height: 48, fps, encoding: Encoding::Rgb });
        let at = |fps, age_s| judge(age_s, &Health { connected: true, mode: mode(fps), ..Health::default() });
        assert_eq!(at(30, 0.05), CameraState::Fresh);
        assert_eq!(at(30, 0.25), CameraState::Stale);
        assert_eq!(at(5, 0.25), CameraState::Fresh);
        assert_eq!(at(5, f32::INFINITY), CameraState::Stale);
        assert_eq!(judge(0.0, &Health { mode: mode(30), ..Health::default() }), CameraState::Lost);
    }
}
