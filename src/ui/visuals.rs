//! What is seen of the simulation: a visual for every link, prop and mark, which follows its `WorldPose` between ticks.

use super::quality::Look;
use super::shapes;
use crate::arm::{ArmModel, ShapeKind, TriMesh, Visual};
use crate::config::{Mark, MarkShape};
use crate::episode::{Episode, EpisodePhase};
use crate::robot::{Arm, ArmLink, WorldPose};
use crate::world::{ActiveScene, PropBody};
use bevy::prelude::*;
use bevy_rapier3d::rapier::math::Pose;

/// Edges of the arm's meshes sharper than this stay sharp, rad.
const CREASE_RAD: f32 = 0.61;
/// Height of marks above the table, m: painted, but never fighting with it for pixels.
const MARK_HEIGHT_M: f32 = 0.0004;
/// Thickness of the table top, m.
const TABLE_THICKNESS_M: f32 = 0.022;

/// A visual that follows an entity with a `WorldPose`.
#[derive(Component, Clone, Copy, Debug)]
pub struct Follows(pub Entity);

/// An arm that is drawn translucent, in its own colours mixed with this one: not there but thought of.
#[derive(Component, Clone, Copy, Debug)]
pub struct Translucent(pub Color);

/// Opacity of what is translucent.
const OPACITY: f32 = 0.6;

/// An entity that has its visual.
#[derive(Component)]
struct Drawn;

/// The colour of an arm's part as its URDF has it, and whether it belongs to the jaw: what a scene's colours of the arm start
/// from.
#[derive(Component, Clone, Copy, Debug)]
struct Given {
    srgb: (f32, f32, f32),
    jaw: bool,
}

/// Part of the table, its marks and the floor: replaced with the scene.
#[derive(Component)]
struct Scenery;

/// Adds visuals.
pub fn plugin(app: &mut App) {
    app.add_systems(PreUpdate, (dress_links, dress_props, dress_table, drop_orphans));
    app.add_systems(PreUpdate, paint_links.after(dress_links));
    app.add_systems(Update, follow.in_set(super::UiSystems::Present));
}

/// Pose between two, as a transform.
pub fn blend(before: &Pose, now: &Pose, share: f32) -> Transform {
    Transform::from_translation(before.translation.lerp(now.translation, share))
        .with_rotation(before.rotation.slerp(now.rotation, share))
}

/// Mesh of one visual of a link, in the frame of the shape.
pub fn visual_mesh(visual: &Visual) -> Option<Mesh> {
    let (positions, normals) = match &visual.kind {
        ShapeKind::Mesh { path, scale } => match TriMesh::load(path, *scale) {
            Ok(mesh) => mesh.with_normals(CREASE_RAD),
            Err(fault) => {
                error!("{fault}");
                return None;
            }
        },
        ShapeKind::Box { size_m } => return Some(shapes::block(size_m.as_vec3(), 0.0).into_mesh()),
        ShapeKind::Sphere { radius_m } => return Some(shapes::ball(*radius_m as f32).into_mesh()),
        ShapeKind::Cylinder { radius_m, length_m } => {
            return Some(upright(Cylinder::new(*radius_m as f32, *length_m as f32).into()));
        }
        ShapeKind::Capsule { radius_m, length_m } => {
            return Some(upright(Capsule3d::new(*radius_m as f32, *length_m as f32).into()));
        }
    };
    Some(shapes::Soup { positions, normals }.into_mesh())
}

/// Bevy's round primitives stand along y, URDF's along z.
fn upright(mesh: Mesh) -> Mesh {
    mesh.rotated_by(Quat::from_rotation_x(std::f32::consts::FRAC_PI_2))
}

/// Pose of a shape in its link.
pub fn shape_transform(visual: &Visual) -> Transform {
    let pose = &visual.link_from_shape;
    Transform::from_translation(pose.translation.as_vec3()).with_rotation(pose.rotation.as_quat())
}

/// sRGB colour of a configuration file.
pub fn colour((r, g, b): (f32, f32, f32)) -> Color {
    Color::srgb(r, g, b)
}

fn dress_links(
    mut commands: Commands,
    mut meshes: ResMut<Assets<Mesh>>,
    arms: Query<(&Arm, Option<&Translucent>)>,
    links: Query<(Entity, &ArmLink), Without<Drawn>>,
) {
    for (entity, link) in &links {
        let Ok((arm, translucent)) = arms.get(link.arm) else { continue };
        commands.entity(entity).insert(Drawn);
        let body = commands.spawn((Follows(entity), Transform::default(), Visibility::default())).id();
        dress_link(&mut commands, &mut meshes, &arm.model, link.index, body, |[r, g, b, _]| {
            if let Some(Translucent(tint)) = translucent {
                let colour = Color::srgb(r, g, b).mix(tint, 0.75).with_alpha(OPACITY);
                return Look { colour, ghost: true, ..default() };
            }
            // What is black is a servo, with the sheen of moulded plastic; the rest is printed.
            let roughness = if r + g + b < 0.4 { 0.35 } else { 0.55 };
            Look { colour: Color::srgb(r, g, b), roughness, casts: true, ..default() }
        });
    }
}

/// Spawns the visuals of one link below `body`; `look` turns their colour into how they are drawn.
pub fn dress_link(
    commands: &mut Commands,
    meshes: &mut Assets<Mesh>,
    model: &ArmModel,
    link: usize,
    body: Entity,
    look: impl Fn([f32; 4]) -> Look,
) {
    let jaw = model.joints[model.gripper_joint()].link == link;
    for visual in &model.links[link].visuals {
        let Some(mesh) = visual_mesh(visual) else { continue };
        let [r, g, b, _] = visual.colour_srgba;
        commands.spawn((
            Given { srgb: (r, g, b), jaw },
            Mesh3d(meshes.add(mesh)),
            shape_transform(visual),
            look(visual.colour_srgba),
            Visibility::default(),
            ChildOf(body),
        ));
    }
}

/// The arm follows the colours that the scene gives it.
fn paint_links(scene: Option<Res<ActiveScene>>, new: Query<(), Added<Given>>, mut links: Query<(&Given, &mut Look)>) {
    let Some(scene) = scene.filter(|scene| scene.is_changed() || !new.is_empty()) else { return };
    for (given, mut look) in links.iter_mut().filter(|(_, look)| !look.ghost) {
        let paint = scene.scene.arm_colours.map_or(given.srgb, |colours| colours.paint(given.srgb, given.jaw));
        let next = Look { colour: colour(paint), ..*look };
        look.set_if_neq(next);
    }
}

fn dress_props(
    mut commands: Commands,
    mut meshes: ResMut<Assets<Mesh>>,
    props: Query<(Entity, &PropBody), Without<Drawn>>,
) {
    for (entity, prop) in &props {
        commands.entity(entity).insert(Drawn);
        commands.spawn((
            Follows(entity),
            Transform::default(),
            Visibility::default(),
            Mesh3d(meshes.add(shapes::prop(&prop.spec.shape).into_mesh())),
            Look { colour: colour(prop.spec.colour), roughness: 0.45, casts: true, ..default() },
        ));
    }
}

fn dress_table(
    mut commands: Commands,
    mut meshes: ResMut<Assets<Mesh>>,
    scene: Option<Res<ActiveScene>>,
    old: Query<Entity, With<Scenery>>,
) {
    let Some(scene) = scene.filter(|scene| scene.is_changed()) else { return };
    for entity in &old {
        commands.entity(entity).despawn();
    }
    let table = &scene.scene.table;
    let (x, y) = (table.centre_m.0 as f32, table.centre_m.1 as f32);
    let (width, depth) = (table.size_m.0 as f32, table.size_m.1 as f32);
    let corners = shapes::rounded_rectangle(width, depth, 0.04);
    let top = shapes::slab(&corners, TABLE_THICKNESS_M, 0.003);
    commands.spawn((
        Scenery,
        Mesh3d(meshes.add(top.into_mesh())),
        Transform::from_xyz(x, y, -0.5 * TABLE_THICKNESS_M),
        Visibility::default(),
        Look { colour: colour(table.colour), roughness: 0.75, ..default() },
    ));
    for mark in &scene.scene.marks {
        spawn_mark(&mut commands, &mut meshes, mark);
    }
}

fn spawn_mark(commands: &mut Commands, meshes: &mut Assets<Mesh>, mark: &Mark) {
    let place = Transform::from_xyz(mark.pose.x_m as f32, mark.pose.y_m as f32, MARK_HEIGHT_M)
        .with_rotation(Quat::from_rotation_z(mark.pose.yaw_rad() as f32));
    let paint = colour(mark.colour);
    let mut spawn = |soup: shapes::Soup, colour: Color, lift_m: f32| {
        let mut place = place;
        place.translation.z += lift_m;
        let look = Look { colour, roughness: 0.8, ..default() };
        commands.spawn((Scenery, Mesh3d(meshes.add(soup.into_mesh())), place, Visibility::default(), look));
    };
    match mark.shape {
        MarkShape::TeeOutline(tee, width_m) => {
            spawn(shapes::band(&shapes::tee_outline(&tee), 0.0, width_m as f32), paint, 0.0);
        }
        MarkShape::Area(width, depth) => {
            let corners = shapes::rounded_rectangle(width as f32, depth as f32, 0.004);
            let line = 0.0025;
            spawn(shapes::face(&shapes::offset_polygon(&corners, -line)), paint.mix(&Color::WHITE, 0.35), 0.0);
            spawn(shapes::band(&corners, -line, 0.0), paint.mix(&Color::BLACK, 0.15), 0.0);
        }
    }
}

fn drop_orphans(mut commands: Commands, visuals: Query<(Entity, &Follows)>, bodies: Query<(), With<WorldPose>>) {
    for (entity, follows) in &visuals {
        if !bodies.contains(follows.0) {
            commands.entity(entity).despawn();
        }
    }
}

/// Share of the present tick that has passed, for drawing between ticks.
pub fn share_of_tick(time: &Time<Fixed>, clock: &Time<Virtual>, episode: &Episode) -> f32 {
    match episode.phase {
        EpisodePhase::Ready | EpisodePhase::Running if !clock.is_paused() => time.overstep_fraction().clamp(0.0, 1.0),
        // No tick will come by itself: what is drawn stands where it is.
        _ => 1.0,
    }
}

fn follow(
    time: Res<Time<Fixed>>,
    clock: Res<Time<Virtual>>,
    episode: Res<Episode>,
    bodies: Query<&WorldPose>,
    mut visuals: Query<(&Follows, &mut Transform)>,
) {
    let share = share_of_tick(&time, &clock, &episode);
    for (follows, mut transform) in &mut visuals {
        if let Ok(pose) = bodies.get(follows.0) {
            let next = blend(&pose.before, &pose.now, share);
            if next != *transform && next.is_finite() {
                *transform = next;
            }
        }
    }
}
