//! The ghost to race: a translucent arm and objects that replay an earlier attempt in step with the clock.

use super::actions::Session;
use super::attempts::Book;
use super::quality::Look;
use super::{shapes, visuals};
use crate::app::RunOptions;
use crate::config::Scene;
use crate::control::ControlRate;
use crate::episode::{Episode, EpisodePhase};
use crate::headless::Headless;
use crate::operator::Operator;
use crate::robot::{Arm, ArmLink, WorldPose};
use crate::task::expert::{Expert, ExpertSpeed, has_job};
use crate::trace::{self, Trace};
use crate::world::{ActiveScene, PropBody};
use bevy::prelude::*;
use bevy_rapier3d::rapier::math::Pose;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::sync::{Arc, Mutex};

/// Opacity of ghosts.
const OPACITY: f32 = 0.34;

/// Whose ghost is raced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum GhostChoice {
    /// None.
    Off,
    /// One's own best attempt: from this start if there is one, else of all.
    #[default]
    Mine,
    /// The expert's run from this start.
    Expert,
}

impl GhostChoice {
    /// All choices.
    pub const ALL: [Self; 3] = [Self::Off, Self::Mine, Self::Expert];

    /// Name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Mine => "my best",
            Self::Expert => "the expert",
        }
    }

    /// The one after it.
    pub fn next(self) -> Self {
        match self {
            Self::Off => Self::Mine,
            Self::Mine => Self::Expert,
            Self::Expert => Self::Off,
        }
    }
}

/// What is replayed.
#[derive(Resource, Default)]
pub struct Ghost {
    /// The trace, once there is one.
    pub trace: Option<Trace>,
    /// What there is to know about it, for the panel.
    pub about: String,
    wanted: Option<(GhostChoice, String, u64, u64, u64, Expert)>,
    computing: Option<Mutex<Receiver<Result<Trace, String>>>>,
}

/// How the arm of the window is set up, for the expert's run.
#[derive(Resource, Clone, Debug)]
pub struct ExpertOptions(pub RunOptions);

#[derive(Component)]
struct GhostRoot {
    /// The scene as it was in the episode it was built for: colours and distractors differ between drawn worlds.
    built_for: Arc<Scene>,
}

#[derive(Component, Clone, Copy)]
enum GhostPart {
    Link(usize),
    Prop(usize),
}

/// Adds the ghost.
pub fn plugin(app: &mut App) {
    app.init_resource::<Ghost>();
    app.add_systems(Update, (choose, receive, dress, haunt).chain().in_set(super::UiSystems::Present));
}

/// Finds the trace that belongs to choice, task and start; asks for the expert's in the background.
fn choose(
    mut ghost: ResMut<Ghost>,
    session: Res<Session>,
    episode: Res<Episode>,
    scene: Option<Res<ActiveScene>>,
    (expert, speed): (Res<Expert>, Res<ExpertSpeed>),
    book: Res<Book>,
    options: Res<ExpertOptions>,
    operator: Res<Operator>,
) {
    let Some(scene) = scene else { return };
    // The expert is no rival to itself.
    let choice = match session.ghost {
        GhostChoice::Expert if *operator == Operator::Scripted => GhostChoice::Off,
        choice => choice,
    };
    // One's own best may change with every attempt, the expert's run does not.
    let attempt = if choice == GhostChoice::Mine { episode.number } else { 0 };
    let wanted = (choice, scene.name.clone(), episode.seed, attempt, speed.0.to_bits(), *expert);
    if episode.phase == EpisodePhase::Idle || ghost.wanted.as_ref() == Some(&wanted) {
        return;
    }
    *ghost = Ghost { wanted: Some(wanted), ..default() };
    match choice {
        GhostChoice::Off => {}
        GhostChoice::Mine => (ghost.trace, ghost.about) = my_best(&book, &scene.name, episode.seed),
        GhostChoice::Expert if !has_job(&scene.scene) => ghost.about = "no expert for this".into(),
        GhostChoice::Expert => {
            let options = RunOptions {
                scene: scene.name.clone(),
                operator: Operator::Scripted,
                expert: *expert,
                cameras: Vec::new(),
                ..options.0.clone()
            };
            let (sender, receiver) = channel();
            let (seed, scene, speed) = (episode.seed, scene.clone(), *speed);
            let work = move || {
                // Nobody may be waiting any more.
                let _ = sender.send(run_expert(&options, &scene, seed, speed));
            };
            match std::thread::Builder::new().name("expert ghost".into()).spawn(work) {
                Ok(_) => {
                    ghost.computing = Some(Mutex::new(receiver));
                    ghost.about = "the expert is thinking".into();
                }
                Err(fault) => ghost.about = format!("no thread for the expert: {fault}"),
            }
        }
    }
}

fn my_best(book: &Book, task: &str, seed: u64) -> (Option<Trace>, String) {
    for (key, words) in [(Some(seed), "my best from this start"), (None, "my best, another start")] {
        let Some(file) = book.0.ghost_file(task, key) else { return (None, "ghosts are not kept".into()) };
        match Trace::load(&file) {
            Ok(Some(trace)) => {
                let about = format!("{words}, {:.1} s", trace.seconds());
                return (Some(trace), about);
            }
            Ok(None) => {}
            Err(fault) => return (None, fault.to_string()),
        }
    }
    (None, "no attempt of mine yet".into())
}

fn run_expert(options: &RunOptions, scene: &ActiveScene, seed: u64, speed: ExpertSpeed) -> Result<Trace, String> {
    let mut headless = Headless::new(options).map_err(|fault| fault.to_string())?;
    trace::plugin(&mut headless.app);
    headless.app.insert_resource(speed);
    headless.app.insert_resource(scene.clone());
    headless.run(seed).map_err(|fault| fault.to_string())?;
    Ok(headless.app.world_mut().remove_resource::<Trace>().unwrap_or_default())
}

fn receive(mut ghost: ResMut<Ghost>) {
    let answer = match &ghost.computing {
        Some(receiver) => match receiver.lock().map(|receiver| receiver.try_recv()) {
            Ok(Err(TryRecvError::Empty)) => return,
            Ok(Ok(answer)) => answer,
            Ok(Err(TryRecvError::Disconnected)) | Err(_) => Err("the expert's run broke off".into()),
        },
        None => return,
    };
    ghost.computing = None;
    match answer {
        Ok(trace) => {
            ghost.about = format!("the expert, {:.1} s", trace.seconds());
            ghost.trace = Some(trace);
        }
        Err(fault) => ghost.about = fault,
    }
}

/// Builds the ghost's body when it is first needed, and again when the scene is another or looks otherwise.
fn dress(
    mut commands: Commands,
    mut meshes: ResMut<Assets<Mesh>>,
    ghost: Res<Ghost>,
    scene: Option<Res<ActiveScene>>,
    arms: Query<&Arm>,
    roots: Query<(Entity, &GhostRoot)>,
) {
    let (Some(scene), Some(arm)) = (scene, arms.iter().next()) else { return };
    let mut dressed = false;
    for (entity, root) in &roots {
        if Arc::ptr_eq(&root.built_for, &scene.scene) {
            dressed = true;
        } else {
            commands.entity(entity).despawn();
        }
    }
    if dressed || ghost.trace.is_none() {
        return;
    }
    let tint = |colour: Color| Look {
        colour: colour.mix(&Color::srgb(0.35, 0.65, 1.0), 0.65).with_alpha(OPACITY),
        ghost: true,
        ..default()
    };
    let built_for = scene.scene.clone();
    let root = commands.spawn((GhostRoot { built_for }, Transform::default(), Visibility::Hidden)).id();
    for link in 0..arm.model.links.len() {
        let body =
            commands.spawn((GhostPart::Link(link), Transform::default(), Visibility::default(), ChildOf(root))).id();
        visuals::dress_link(&mut commands, &mut meshes, &arm.model, link, body, |[r, g, b, _]| {
            tint(Color::srgb(r, g, b))
        });
    }
    for (index, prop) in scene.scene.props.iter().enumerate() {
        commands.spawn((
            GhostPart::Prop(index),
            Transform::default(),
            Visibility::default(),
            Mesh3d(meshes.add(shapes::prop(&prop.shape).into_mesh())),
            tint(visuals::colour(prop.colour)),
            ChildOf(root),
        ));
    }
}

/// Moves the ghost to where it was at this time.
fn haunt(
    ghost: Res<Ghost>,
    rate: Res<ControlRate>,
    time: Res<Time<Fixed>>,
    clock: Res<Time<Virtual>>,
    episode: Res<Episode>,
    arms: Query<&Arm>,
    links: Query<(&ArmLink, &WorldPose)>,
    props: Query<(&PropBody, &WorldPose)>,
    mut roots: Query<&mut Visibility, (With<GhostRoot>, Without<GhostPart>)>,
    mut parts: Query<(&GhostPart, &mut Transform, &mut Visibility), Without<GhostRoot>>,
) {
    let Some(arm) = arms.iter().next() else { return };
    let share = f64::from(visuals::share_of_tick(&time, &clock, &episode));
    // What is drawn lies between the tick before and the latest one.
    let seconds = (episode.clock_ticks as f64 - 1.0 + share).max(0.0) * rate.tick_s();
    let prop_count = parts.iter().filter(|(part, ..)| matches!(part, GhostPart::Prop(_))).count();
    let moment = ghost
        .trace
        .as_ref()
        .filter(|trace| trace.fits(arm.joints.len(), prop_count))
        .and_then(|trace| trace.at(seconds));
    let wanted = if moment.is_some() { Visibility::Inherited } else { Visibility::Hidden };
    for mut visibility in &mut roots {
        visibility.set_if_neq(wanted);
    }
    let Some(moment) = moment else { return };
    let link_poses = arm.model.link_poses(&moment.q_rad);
    for (part, mut transform, mut visibility) in &mut parts {
        let (pose, real) = match *part {
            GhostPart::Link(index) => {
                let pose = link_poses.get(index);
                let pose = pose.map(|pose| Pose::from_parts(pose.translation.as_vec3(), pose.rotation.as_quat()));
                (pose, links.iter().find(|(link, _)| link.index == index).map(|(_, pose)| pose.now))
            }
            GhostPart::Prop(index) => {
                let real = props.iter().find(|(prop, _)| prop.index == index).map(|(_, pose)| pose.now);
                (moment.props.get(index).copied(), real)
            }
        };
        let Some(pose) = pose else { continue };
        let next = visuals::blend(&pose, &pose, 1.0);
        if next.is_finite() {
            *transform = next;
        }
        let covered = real.is_some_and(|real| coincide(&pose, &real));
        visibility.set_if_neq(if covered { Visibility::Hidden } else { Visibility::Inherited });
    }
}

/// Whether two poses are so close that their surfaces would fight for pixels.
fn coincide(a: &Pose, b: &Pose) -> bool {
    (a.translation - b.translation).length() < 0.003 && a.rotation.angle_between(b.rotation) < 0.03
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::load_scene;

    #[test]
    fn the_experts_ghost_is_the_experts_run() {
        let options = RunOptions { scene: "pick_place".into(), ..RunOptions::default() };
        let scene = load_scene("pick_place").unwrap();
        let trace = run_expert(&options, &scene, 4, ExpertSpeed::default()).unwrap();
        let report = Headless::new(&options).unwrap().run(4).unwrap();
        assert!((trace.seconds() - report.seconds).abs() < 1e-9);
        assert!(trace.fits(6, 1));
    }

    #[test]
    fn only_poses_in_the_same_place_coincide() {
        let pose = |x: f32, turn: f32| Pose::from_parts(Vec3::new(x, 0.0, 0.0), Quat::from_rotation_z(turn));
        assert!(coincide(&pose(0.0, 0.0), &pose(0.001, 0.01)));
        assert!(!coincide(&pose(0.0, 0.0), &pose(0.01, 0.0)));
        assert!(!coincide(&pose(0.0, 0.0), &pose(0.0, 0.1)));
    }

    #[test]
    fn choices_go_round() {
        let mut choice = GhostChoice::Off;
        for expected in [GhostChoice::Mine, GhostChoice::Expert, GhostChoice::Off] {
            choice = choice.next();
            assert_eq!(choice, expected);
        }
    }
}
