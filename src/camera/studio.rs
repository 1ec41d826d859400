//! What the simulated cameras see: arm, props and marks as a scene for the rasteriser, kept in step with the entities.

use super::live::LiveCamera;
use super::raster::{
    Backdrop, CameraModel, Instance, LensDistortion, Outline, Pose, RasterError, RasterMesh, RasterScene, Renderer,
    SensorModel, TablePattern, TableTop, blur, linear_from_srgb8,
};
use super::{CameraFrame, CameraSensor, CamerasInUse, CamerasWatched};
use crate::arm::{ArmModel, ShapeKind, TriMesh};
use crate::config::{CameraConfig, CameraMount, Colour, MarkShape, PropShape, Scene, SurfacePattern, TeeSize};
use crate::episode::Episode;
use crate::robot::{Arm, WorldPose};
use crate::world::{ActiveScene, PropBody};
use bevy::math::{Quat, Vec2, Vec3};
use bevy::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

type WorldPoseValue = bevy_rapier3d::rapier::math::Pose;

/// Edges sharper than this stay sharp, rad.
const CREASE_RAD: f32 = 0.61;
/// Segments around a ball or a cylinder.
const SEGMENTS: u32 = 24;
/// How much darker the second colour of a table's pattern is, unless its scene says.
const PATTERN_DEPTH: f32 = 0.20;

/// The scene as the rasteriser wants it, with the buffers of the cameras.
#[derive(Default)]
pub(super) struct Studio {
    /// The scene it was built for.
    built_for: Option<Arc<Scene>>,
    scene: RasterScene,
    renderer: Renderer,
    /// For each instance, the entity that carries it and its pose there.
    parts: Vec<(Entity, Pose)>,
    /// Meshes made so far, by what they are made of: worlds differ, their shapes seldom do.
    meshes: BTreeMap<String, Arc<RasterMesh>>,
    /// Room for blurring a picture.
    scratch: Vec<u8>,
}

/// Draws the cameras in use. A camera that cannot be drawn is reported once and left without a picture.
pub(super) fn draw_cameras(
    mut studio: Local<Studio>,
    mut failed: Local<Option<String>>,
    in_use: Res<CamerasInUse>,
    watched: Res<CamerasWatched>,
    scene: Res<ActiveScene>,
    episode: Res<Episode>,
    arms: Query<&Arm>,
    props: Query<(Entity, &PropBody)>,
    poses: Query<&WorldPose>,
    mut cameras: Query<(&CameraSensor, &mut CameraFrame), Without<LiveCamera>>,
) {
    let changed = studio.built_for.as_ref().is_none_or(|built_for| !Arc::ptr_eq(built_for, &scene.scene));
    let mut problem = if changed { studio.build(&scene.scene, &arms, &props).err() } else { None };
    studio.pose(&poses);
    let studio = &mut *studio;
    problem = problem.or(studio.renderer.begin_tick(&studio.scene).err().map(|error| error.to_string()));
    let hand = arms.iter().next().and_then(|arm| arm.links.get(arm.tool.link)).and_then(|link| poses.get(*link).ok());
    for (sensor, mut frame) in &mut cameras {
        let config = &sensor.config;
        if !watched.0 && !in_use.contains(&config.name) {
            continue;
        }
        let mount = match config.mount {
            CameraMount::World => Pose::IDENTITY,
            CameraMount::Hand => hand.map_or(Pose::IDENTITY, |hand| of(&hand.now)),
        };
        frame.rgb.resize((config.width * config.height * 3) as usize, 0);
        (frame.width, frame.height, frame.tick) = (config.width, config.height, episode.tick);
        let drawn =
            camera_model(config, &mount).and_then(|camera| studio.renderer.draw(sensor.index, &camera, &mut frame.rgb));
        let sensed = drawn.and_then(|()| sense(config, episode.tick, &mut studio.scratch, &mut frame.rgb));
        if let Err(error) = sensed {
            frame.rgb.clear();
            problem = problem.or(Some(format!("camera {}: {error}", config.name)));
        }
    }
    if *failed != problem {
        if let Some(problem) = &problem {
            warn!("{problem}");
        }
        *failed = problem;
    }
}

fn camera_model(config: &CameraConfig, world_from_mount: &Pose) -> Result<CameraModel, RasterError> {
    let vector = |(x, y, z): (f32, f32, f32)| Vec3::new(x, y, z);
    let mount_from_camera = Pose::look_at(vector(config.position_m), vector(config.look_at_m), vector(config.up))?;
    Ok(CameraModel {
        width: config.width as usize,
        height: config.height as usize,
        vertical_fov_rad: config.vertical_fov_deg.to_radians(),
        distortion: config.lens.map(|lens| LensDistortion { k1: lens.k1, k2: lens.k2 }),
        world_from_camera: world_from_mount.then(&mount_from_camera),
    })
}

/// What the image sensor makes of a clean picture.
fn sense(config: &CameraConfig, tick: u64, scratch: &mut Vec<u8>, rgb: &mut [u8]) -> Result<(), RasterError> {
    let Some(sensor) = &config.sensor else { return Ok(()) };
    blur(sensor.blur_px, config.width as usize, scratch, rgb)?;
    let (red, green, blue) = sensor.white_balance;
    let (exposure, noise_sigma, seed) = (sensor.exposure, sensor.noise, sensor.seed);
    SensorModel { exposure, white_balance: [red, green, blue], noise_sigma, seed }.apply(tick, rgb)
}

impl Studio {
    fn build(
        &mut self,
        scene: &Arc<Scene>,
        arms: &Query<&Arm>,
        props: &Query<(Entity, &PropBody)>,
    ) -> Result<(), String> {
        self.built_for = Some(scene.clone());
        self.scene = RasterScene::default();
        self.parts.clear();
        self.furnish(scene);
        for arm in arms {
            for (link, entity) in arm.links.iter().enumerate() {
                self.add_link(scene, &arm.model, link, *entity)?;
            }
        }
        let mut props: Vec<_> = props.iter().collect();
        props.sort_by_key(|(_, prop)| prop.index);
        for (entity, prop) in props {
            let shape = &prop.spec.shape;
            let mesh = self.mesh(format!("{shape:?}"), || prop_mesh(shape).map_err(|error| error.to_string()));
            let mesh = self.scene.add_mesh(mesh.map_err(|error| format!("prop {}: {error}", prop.spec.name))?);
            // The scene may look otherwise than when the prop was put there.
            let colour = scene.props.get(prop.index).map_or(prop.spec.colour, |now| now.colour);
            self.add_part(mesh, entity, Pose::IDENTITY, linear(colour));
        }
        Ok(())
    }

    /// The mesh called `key`, made the first time it is asked for.
    fn mesh(
        &mut self,
        key: String,
        make: impl FnOnce() -> Result<RasterMesh, String>,
    ) -> Result<Arc<RasterMesh>, String> {
        if let Some(mesh) = self.meshes.get(&key) {
            return Ok(mesh.clone());
        }
        let mesh = Arc::new(make()?);
        self.meshes.insert(key, mesh.clone());
        Ok(mesh)
    }

    /// Light, table and marks.
    fn furnish(&mut self, scene: &Scene) {
        let light = &mut self.scene.light;
        let (x, y, z) = scene.light.towards_sun;
        light.to_sun = Vec3::new(x, y, z);
        light.sun *= scene.light.sun;
        light.sky *= scene.light.sky;
        light.bounce *= scene.light.sky;
        if let Some((red, green, blue)) = scene.light.tint {
            light.sun *= Vec3::new(red, green, blue);
        }
        if let Some(backdrop) = &scene.backdrop {
            let (horizon, zenith, floor) = (linear(backdrop.horizon), linear(backdrop.zenith), linear(backdrop.floor));
            self.scene.backdrop = Backdrop { horizon, zenith, floor, ..Backdrop::default() };
        }
        let table = &scene.table;
        let colour = linear(table.colour);
        let depth = table.pattern_depth.unwrap_or(PATTERN_DEPTH);
        let nominal = TableTop::default();
        self.scene.table = Some(TableTop {
            centre_m: Vec2::new(table.centre_m.0 as f32, table.centre_m.1 as f32),
            half_size_m: Vec2::new(0.5 * table.size_m.0 as f32, 0.5 * table.size_m.1 as f32),
            colours: [colour, colour * (1.0 - depth)],
            pattern: match table.pattern {
                None => nominal.pattern,
                Some(SurfacePattern::Plain) => TablePattern::Plain,
                Some(SurfacePattern::Wood) => TablePattern::Wood,
                Some(SurfacePattern::Mottled) => TablePattern::Mottled,
                Some(SurfacePattern::Checker(side_m)) => TablePattern::Checker(side_m),
            },
            seed: table.pattern_seed.unwrap_or(nominal.seed),
            ..nominal
        });
        for mark in &scene.marks {
            let (sin, cos) = mark.pose.yaw_rad().sin_cos();
            let at = |(px, py): (f64, f64)| {
                let (x, y) = (mark.pose.x_m + cos * px - sin * py, mark.pose.y_m + sin * px + cos * py);
                Vec2::new(x as f32, y as f32)
            };
            let colour = linear(mark.colour);
            self.scene.outlines.push(match mark.shape {
                MarkShape::TeeOutline(tee, width_m) => Outline {
                    points_m: tee.outline_m().into_iter().map(at).collect(),
                    width_m: width_m as f32,
                    offset_m: 0.5 * width_m as f32,
                    colour,
                    fill: 0.0,
                },
                MarkShape::Area(x, y) => Outline {
                    points_m: [(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)]
                        .map(|(i, j)| at((0.5 * i * x, 0.5 * j * y)))
                        .to_vec(),
                    width_m: 0.002,
                    offset_m: -0.001,
                    colour,
                    fill: 1.0,
                },
            });
        }
    }

    /// Adds what is seen of a link; each mesh file is read once.
    fn add_link(&mut self, scene: &Scene, model: &ArmModel, link: usize, entity: Entity) -> Result<(), String> {
        let is_jaw = model.joints[model.gripper_joint()].link == link;
        for visual in &model.links[link].visuals {
            let mesh = self.mesh(format!("{:?}", visual.kind), || visual_mesh(&visual.kind));
            let mesh = self.scene.add_mesh(mesh.map_err(|error| format!("link {}: {error}", model.links[link].name))?);
            let pose = &visual.link_from_shape;
            let pose = Pose::new(pose.rotation.as_quat(), pose.translation.as_vec3());
            let [r, g, b, _] = visual.colour_srgba;
            let colour = scene.arm_colours.map_or((r, g, b), |colours| colours.paint((r, g, b), is_jaw));
            self.add_part(mesh, entity, pose, linear(colour));
            if let Some(part) = self.scene.instances.last_mut() {
                part.is_static = model.chain_to(link).is_empty();
            }
        }
        Ok(())
    }

    fn add_part(&mut self, mesh: usize, entity: Entity, entity_from_mesh: Pose, colour: Vec3) {
        self.scene.instances.push(Instance::new(mesh, entity_from_mesh, colour));
        self.parts.push((entity, entity_from_mesh));
    }

    /// Puts every part where its entity is now.
    fn pose(&mut self, poses: &Query<&WorldPose>) {
        for (instance, (entity, entity_from_mesh)) in self.scene.instances.iter_mut().zip(&self.parts) {
            if let Ok(pose) = poses.get(*entity) {
                instance.world_from_mesh = of(&pose.now).then(entity_from_mesh);
            }
        }
    }
}

fn of(pose: &WorldPoseValue) -> Pose {
    let (r, t) = (pose.rotation, pose.translation);
    Pose::new(Quat::from_xyzw(r.x, r.y, r.z, r.w), Vec3::new(t.x, t.y, t.z))
}

/// Linear light of an sRGB colour.
fn linear((r, g, b): Colour) -> Vec3 {
    let byte = |value: f32| (value.clamp(0.0, 1.0) * 255.0).round() as u8;
    Vec3::from_array(linear_from_srgb8([byte(r), byte(g), byte(b)]))
}

fn prop_mesh(shape: &PropShape) -> Result<RasterMesh, RasterError> {
    match *shape {
        PropShape::Block(x, y, z) => RasterMesh::cuboid(Vec3::new(x as f32, y as f32, z as f32)),
        PropShape::Ball(radius) => ball(radius as f32),
        PropShape::Tee(tee) => tee_mesh(&tee),
    }
}

fn tee_mesh(tee: &TeeSize) -> Result<RasterMesh, RasterError> {
    let corners: Vec<[f32; 2]> = tee.outline_m().iter().map(|(x, y)| [*x as f32, *y as f32]).collect();
    RasterMesh::prism(&corners, tee.height_m as f32)
}

fn visual_mesh(kind: &ShapeKind) -> Result<RasterMesh, String> {
    let told = |error: RasterError| error.to_string();
    match kind {
        ShapeKind::Box { size_m } => RasterMesh::cuboid(size_m.as_vec3()).map_err(told),
        ShapeKind::Sphere { radius_m } => ball(*radius_m as f32).map_err(told),
        ShapeKind::Cylinder { radius_m, length_m } | ShapeKind::Capsule { radius_m, length_m } => {
            let corners: Vec<[f32; 2]> = (0..SEGMENTS)
                .map(|k| {
                    let angle = std::f64::consts::TAU * f64::from(k) / f64::from(SEGMENTS);
                    [(radius_m * angle.cos()) as f32, (radius_m * angle.sin()) as f32]
                })
                .collect();
            RasterMesh::prism(&corners, *length_m as f32).map_err(told)
        }
        ShapeKind::Mesh { path, scale } => {
            let mesh = TriMesh::load(path, *scale).map_err(|error| error.to_string())?;
            raster_mesh(&mesh, CREASE_RAD).map_err(told)
        }
    }
}

/// A ball.
fn ball(radius: f32) -> Result<RasterMesh, RasterError> {
    raster_mesh(&TriMesh::ball(radius, SEGMENTS), 1.0)
}

fn raster_mesh(mesh: &TriMesh, crease_rad: f32) -> Result<RasterMesh, RasterError> {
    let corners: Vec<Vec3> = mesh.positions_m.iter().map(|p| Vec3::from_array(*p)).collect();
    RasterMesh::new(&corners, &mesh.triangles, crease_rad)
}
