//! Pictures of an episode that has happened, in any look: what was where is put back row by row, and drawn.

use super::{Camera, GenerateError};
use crate::camera::{CameraFrame, CameraSensor, CamerasInUse};
use crate::config::{Group, Randomise, Scene};
use crate::control::Draw;
use crate::dataset::Image;
use crate::dataset::bulk::{EncodedPictures, PictureEncoder};
use crate::episode::Episode;
use crate::redraw::looks_of;
use crate::robot::{Arm, WorldPose};
use crate::world::{ActiveScene, DrawFor, DrawnWorld, PropBody, draw_world};
use bevy::prelude::*;
use bevy_rapier3d::rapier::math::Pose;
use std::sync::Arc;

/// What was where when a row was recorded.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seen {
    /// Tick of the episode, which the noise of image sensors follows from.
    pub tick: u64,
    /// True joint angles in whole encoder ticks, rad.
    pub q_rad: Vec<f64>,
    /// Pose of every prop, in the order of the episode's own scene.
    pub props: Vec<Pose>,
}

/// In which looks episodes are drawn.
#[derive(Clone, Debug)]
pub(super) struct Looks {
    /// Ranges of the look groups; `None`: every episode looks as its world is.
    ranges: Option<Randomise>,
    /// Number of the first look.
    pub first: u32,
    /// How many looks of each episode there are.
    pub count: u32,
    /// Rows after which the pictures of an episode go over to another look; 0: never.
    pub every: u32,
}

/// One way in which an episode looks.
#[derive(Clone, Debug)]
pub(super) struct Take {
    /// Its world: what happens as in the episode, seen otherwise.
    pub world: DrawnWorld,
    /// First row and look groups of the looks that follow.
    later: Vec<(usize, DrawnWorld)>,
}

impl Looks {
    /// `count` looks from `first` on, from the look groups of `ranges`.
    pub fn new(ranges: Option<&Randomise>, first: u32, count: u32, every: u32) -> Self {
        Self { ranges: ranges.and_then(|ranges| looks_of(ranges).ok()), first, count, every }
    }

    /// Whether there is something to draw anew.
    pub fn can_differ(&self) -> bool {
        self.ranges.is_some()
    }

    /// Way number `number` of an episode of `rows` rows that happened in the world `own`. `it` says what looks are drawn for;
    /// its `look` is not used.
    pub fn take(&self, number: u32, own: &DrawnWorld, rows: usize, it: &DrawFor) -> Take {
        let Some(ranges) = &self.ranges else { return Take { world: own.clone(), later: Vec::new() } };
        let look = self.first + number;
        let world = own.with_looks_of(&draw_world(ranges, &DrawFor { look, ..*it }));
        let mut later = Vec::new();
        if self.every > 0 {
            // The joints' zeros stay: an arm does not lose count in the middle of an episode.
            let groups: Vec<Group> = ranges.groups().into_iter().filter(|group| *group != Group::Zeros).collect();
            let seen = ranges.only(&groups, &Randomise::default());
            let begins = (self.every as usize..rows).step_by(self.every as usize);
            later = begins
                .zip(1u32..)
                .map(|(row, block)| {
                    let look = look.wrapping_add(self.count.wrapping_mul(block));
                    (row, draw_world(&seen, &DrawFor { look, ..*it }))
                })
                .collect();
        }
        Take { world, later }
    }
}

impl Take {
    /// What the column `etude.world` tells of it: the world in the first row, in later ones the looks that begin there.
    pub fn told(&self, rows: usize) -> Vec<String> {
        let mut told = vec![String::new(); rows];
        if let Some(first) = told.first_mut().filter(|_| !self.world.is_nominal()) {
            *first = self.world.to_json();
        }
        for (row, look) in &self.later {
            told[*row] = look.to_json();
        }
        told
    }
}

/// Draws the rows of `take` with `cameras` of the simulated `world`, in which everything of the episode exists; what stands there is
/// moved.
///
/// # Errors
/// [`GenerateError`] when a camera is missing or a picture cannot be encoded.
pub(super) fn draw(
    world: &mut World,
    arm: &Arm,
    (cameras, fps, quantiser): (&[Camera], u32, u8),
    seen: &[Seen],
    take: &Take,
) -> Result<Vec<EncodedPictures>, GenerateError> {
    if cameras.is_empty() {
        return Ok(Vec::new());
    }
    let encoder = |camera: &Camera| PictureEncoder::new(camera.width as usize, camera.height as usize, fps, quantiser);
    let mut encoders = cameras.iter().map(encoder).collect::<Result<Vec<_>, _>>()?;
    let nominal = world.resource::<ActiveScene>().nominal.clone();
    let names = cameras.iter().map(|camera| camera.name.clone()).collect();
    world.insert_resource(CamerasInUse::Named(names));
    let props = props_of(world);
    let mut frames = world.query::<(&CameraSensor, &mut CameraFrame)>();
    show(world, &nominal, &take.world);
    let mut later = take.later.iter().peekable();
    for (row, seen) in seen.iter().enumerate() {
        if let Some((_, look)) = later.next_if(|(begin, _)| *begin == row) {
            show(world, &nominal, &take.world.with_looks_of(look));
        }
        put_back(world, arm, &props, seen);
        world.run_schedule(Draw);
        for (camera, encoder) in cameras.iter().zip(&mut encoders) {
            let found = frames.iter_mut(world).find(|(sensor, _)| sensor.config.name == camera.name);
            let (_, mut frame) = found.ok_or_else(|| GenerateError::NoPicture { name: camera.name.clone() })?;
            let (width, height) = (frame.width as usize, frame.height as usize);
            let image = Image { width, height, rgb: std::mem::take(&mut frame.rgb) };
            encoder.add(&image)?;
            frame.rgb = image.rgb;
        }
    }
    world.insert_resource(CamerasInUse::None);
    Ok(encoders.into_iter().map(PictureEncoder::finish).collect::<Result<_, _>>()?)
}

/// Lets the scene look as in `drawn`.
fn show(world: &mut World, nominal: &Arc<Scene>, drawn: &DrawnWorld) {
    let scene = if drawn.is_nominal() { nominal.clone() } else { Arc::new(drawn.apply(nominal)) };
    let mut active = world.resource_mut::<ActiveScene>();
    if !Arc::ptr_eq(&active.scene, &scene) {
        active.scene = scene;
    }
}

/// The props in the order of the episode's own scene.
fn props_of(world: &mut World) -> Vec<(usize, Entity)> {
    let mut props: Vec<(usize, Entity)> =
        world.query::<(Entity, &PropBody)>().iter(world).map(|(entity, prop)| (prop.index, entity)).collect();
    props.sort_unstable();
    props
}

/// Puts everything where it was.
fn put_back(world: &mut World, arm: &Arm, props: &[(usize, Entity)], seen: &Seen) {
    world.resource_mut::<Episode>().tick = seen.tick;
    for (link, pose) in arm.links.iter().zip(arm.model.link_poses(&seen.q_rad)) {
        put(world, *link, Pose::from_parts(pose.translation.as_vec3(), pose.rotation.as_quat()));
    }
    for ((_, prop), pose) in props.iter().zip(&seen.props) {
        put(world, *prop, *pose);
    }
}

fn put(world: &mut World, entity: Entity, pose: Pose) {
    if let Some(mut shown) = world.get_mut::<WorldPose>(entity) {
        *shown = WorldPose::at(pose);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::RunOptions;
    use crate::generate::LookAhead;
    use crate::headless::Headless;
    use crate::world::EpisodeWorld;

    fn wrist(headless: &mut Headless) -> Vec<u8> {
        let world = headless.app.world_mut();
        let mut frames = world.query::<(&CameraSensor, &CameraFrame)>();
        frames.iter(world).find(|(sensor, _)| sensor.config.name == "wrist").unwrap().1.rgb.clone()
    }

    #[test]
    fn what_is_drawn_later_is_what_was_seen_to_the_byte() {
        let options = RunOptions { randomise: "all".parse().unwrap(), ..RunOptions::default() };
        let mut headless = Headless::new(&options).unwrap();
        headless.start(3).unwrap();
        let in_use = CamerasInUse::Named(vec!["wrist".into()]);
        let mut looking = LookAhead::new(headless.app.world_mut());
        let arm = looking.arm(headless.app.world()).unwrap();
        let mut rows = Vec::new();
        for tick in 0..60 {
            let tick_now = headless.episode().tick;
            let present = looking.present(headless.app.world_mut(), &arm).unwrap();
            let seen = Seen { tick: tick_now, q_rad: present.q_rad, props: present.props };
            headless.app.insert_resource(if tick % 20 == 7 { in_use.clone() } else { CamerasInUse::None });
            headless.tick();
            if tick % 20 == 7 {
                rows.push((seen, wrist(&mut headless)));
            }
        }
        let world = headless.app.world_mut();
        let props = props_of(world);
        let (nominal, own) =
            (world.resource::<ActiveScene>().nominal.clone(), world.resource::<EpisodeWorld>().0.clone());
        world.insert_resource(in_use);
        for (seen, picture) in &rows {
            let world = headless.app.world_mut();
            show(world, &nominal, own.as_ref().unwrap());
            put_back(world, &arm, &props, seen);
            world.run_schedule(Draw);
            assert!(wrist(&mut headless) == *picture, "tick {}", seen.tick);
            let other = DrawnWorld { light: None, ..own.as_deref().cloned().unwrap() };
            show(headless.app.world_mut(), &nominal, &other);
            headless.app.world_mut().run_schedule(Draw);
            assert!(wrist(&mut headless) != *picture, "another light gives the same picture");
        }
    }
}
