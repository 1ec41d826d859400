//! Actions of the person at the window: what keys and buttons ask for, and how it reaches the core.

use super::camera_rig::{CameraRig, View};
use super::ghost::GhostChoice;
use super::keys::{BINDINGS, Group, Use};
use crate::app::load_scene;
use crate::config;
use crate::control::{Control, EmergencyStop, StopKey};
use crate::episode::{Episode, EpisodePhase, EpisodeRequests};
use crate::operator::Operator;
use crate::recording::desk::Desk;
use crate::rollout::PolicyDriver;
use crate::task::expert::has_job;
use crate::world::ActiveScene;
use bevy::prelude::*;
use bevy_egui::input::EguiWantsInput;
use std::time::Instant;

/// Speed of slow motion.
pub const SLOW: f32 = 0.25;
/// How long a notice stays, s.
const NOTICE_S: f32 = 4.0;

/// Something a person asks for.
#[derive(Message, Clone, Copy, Debug, PartialEq)]
pub enum Action {
    /// Same start again.
    Restart,
    /// The next seed.
    NextSeed,
    /// The seed before.
    PreviousSeed,
    /// This seed.
    Seed(u64),
    /// The next task.
    NextTask,
    /// The task with this index in [`Session::tasks`].
    Task(usize),
    /// Watch the expert; while watching, take over.
    WatchOrTakeOver,
    /// End the attempt.
    Stop,
    /// The next kind of ghost.
    NextGhost,
    /// Pause or go on.
    Pause,
    /// One tick while paused.
    Step,
    /// Slow motion on or off.
    SlowMotion,
    /// A view.
    Show(View),
    /// Panels on or off.
    Panels,
    /// Pictures of the simulated cameras on or off.
    Cameras,
    /// Help on or off.
    Help,
    /// Save a picture.
    Screenshot,
    /// The arm stands where it is; while it does: it goes on, slowly at first.
    EmergencyStop,
    /// Close what is open, else the window.
    Quit,
}

/// What the person has chosen.
#[derive(Resource, Clone, Debug)]
pub struct Session {
    /// Names of the scenes to choose from.
    pub tasks: Vec<String>,
    /// Whether time stands.
    pub paused: bool,
    /// Speed of time, 1 is real.
    pub speed: f32,
    /// Whether the help is open.
    pub help: bool,
    /// Whether panels are shown.
    pub panels: bool,
    /// Whether collision shapes are drawn.
    pub shapes: bool,
    /// Whether the simulated cameras draw and are shown.
    pub cameras: bool,
    /// Which ghost to race.
    pub ghost: GhostChoice,
    /// Whether the arm changed hands in this attempt, so that nobody can claim it.
    pub changed_hands: bool,
    /// A line to show, and for how much longer, s.
    pub notice: Option<(String, f32)>,
}

impl Session {
    /// A new session of which `scene` is one of the tasks.
    pub fn new(scene: &str) -> Self {
        let mut tasks = config::home().map(|home| config::names_in(&home.join("scenes"))).unwrap_or_default();
        // Practice begins with Move-T; what is for play comes last.
        tasks.sort_by_key(|name| (name == "free_play", name != "move_t", name.clone()));
        if !tasks.iter().any(|name| name == scene) {
            tasks.insert(0, scene.to_string());
        }
        Self {
            tasks,
            paused: false,
            speed: 1.0,
            help: false,
            panels: true,
            shapes: false,
            cameras: false,
            ghost: GhostChoice::default(),
            changed_hands: false,
            notice: None,
        }
    }

    /// Shows a line for a few seconds.
    pub fn say(&mut self, line: impl Into<String>) {
        self.notice = Some((line.into(), NOTICE_S));
    }
}

/// Adds actions.
pub fn plugin(app: &mut App) {
    app.add_message::<Action>();
    app.init_resource::<StopKey>();
    app.add_systems(PreUpdate, read_keys.after(bevy_egui::EguiPreUpdateSet::BeginPass));
    app.add_systems(Update, (carry_out, keep_time, age_notice).chain().in_set(super::UiSystems::Act));
}

fn read_keys(
    keys: Res<ButtonInput<KeyCode>>,
    egui: Res<EguiWantsInput>,
    session: Res<Session>,
    desk: Option<Res<Desk>>,
    mut actions: MessageWriter<Action>,
) {
    if egui.wants_any_keyboard_input() {
        return;
    }
    for binding in BINDINGS {
        // While recording, attempts and time are the desk's; Esc closes the help only.
        let is_desks = matches!(binding.help.0, Group::Attempt | Group::Time)
            || (binding.does == Use::Do(Action::Quit) && !session.help);
        if desk.is_some() && is_desks {
            continue;
        }
        if let Use::Do(action) = binding.does
            && keys.just_pressed(binding.key)
        {
            actions.write(action);
        }
    }
}

fn carry_out(world: &mut World) {
    let actions: Vec<Action> = world.resource_mut::<Messages<Action>>().drain().collect();
    for action in actions {
        match action {
            Action::Restart => start(world, None, None),
            Action::NextSeed => start(world, None, Some(1)),
            Action::PreviousSeed => start(world, None, Some(-1)),
            Action::Seed(seed) => start_seed(world, None, seed),
            Action::NextTask => {
                let session = world.resource::<Session>();
                let now = &world.resource::<ActiveScene>().name;
                let index = session.tasks.iter().position(|name| name == now).map_or(0, |index| index + 1);
                switch(world, index);
            }
            Action::Task(index) => switch(world, index),
            Action::WatchOrTakeOver => watch_or_take_over(world),
            Action::Stop => world.resource_mut::<EpisodeRequests>().stop = true,
            Action::NextGhost => {
                let mut session = world.resource_mut::<Session>();
                session.ghost = session.ghost.next();
                let line = format!("Ghost: {}", session.ghost.name());
                session.say(line);
            }
            Action::Pause => world.resource_mut::<Session>().paused ^= true,
            Action::Step => {
                let mut session = world.resource_mut::<Session>();
                if session.paused {
                    tick(world);
                } else {
                    session.paused = true;
                }
            }
            Action::SlowMotion => {
                let mut session = world.resource_mut::<Session>();
                session.speed = if session.speed < 1.0 { 1.0 } else { SLOW };
            }
            Action::Show(view) => world.resource_mut::<CameraRig>().show(view),
            Action::Panels => world.resource_mut::<Session>().panels ^= true,
            Action::Cameras => world.resource_mut::<Session>().cameras ^= true,
            Action::Help => world.resource_mut::<Session>().help ^= true,
            Action::EmergencyStop => {
                let stopped = world.resource::<EmergencyStop>().on;
                let stands = world.resource_mut::<StopKey>().press(stopped, Instant::now());
                world.resource_mut::<EmergencyStop>().on = stands;
            }
            Action::Screenshot => {
                world.trigger(super::screenshot::TakePicture);
            }
            Action::Quit => {
                let mut session = world.resource_mut::<Session>();
                if session.help {
                    session.help = false;
                } else {
                    // Scores are written when an attempt ends: nothing is lost.
                    world.write_message(AppExit::Success);
                }
            }
        }
    }
}

/// One control tick, while there is something to simulate.
pub fn tick(world: &mut World) {
    let over = matches!(world.resource::<Episode>().phase, EpisodePhase::Done(_) | EpisodePhase::Idle);
    if !over || world.resource::<EpisodeRequests>().start.is_some() {
        world.run_schedule(Control);
    }
}

fn start(world: &mut World, scene: Option<ActiveScene>, step: Option<i64>) {
    let requests = world.resource::<EpisodeRequests>();
    let seed = requests.start.unwrap_or(world.resource::<Episode>().seed);
    start_seed(world, scene, seed.saturating_add_signed(step.unwrap_or(0)));
}

fn start_seed(world: &mut World, scene: Option<ActiveScene>, seed: u64) {
    let human = *world.resource::<Operator>() == Operator::Human;
    let mut requests = world.resource_mut::<EpisodeRequests>();
    requests.start = Some(seed);
    requests.stop = false;
    requests.wait_for_movement = human;
    if scene.is_some() {
        requests.scene = scene;
    }
    world.resource_mut::<Session>().changed_hands = false;
    if world.resource::<Session>().paused {
        // Time stands, but the new start shall be seen.
        tick(world);
    }
}

fn switch(world: &mut World, index: usize) {
    let session = world.resource::<Session>();
    let Some(name) = session.tasks.get(index % session.tasks.len().max(1)).cloned() else { return };
    match load_scene(&name) {
        Ok(scene) => {
            let operator = *world.resource::<Operator>();
            if operator == Operator::Scripted && !has_job(&scene.scene) {
                world.insert_resource(Operator::Human);
            }
            start(world, Some(scene), None);
        }
        Err(fault) => world.resource_mut::<Session>().say(fault.to_string()),
    }
}

fn watch_or_take_over(world: &mut World) {
    let operator = *world.resource::<Operator>();
    if operator == Operator::Human && world.contains_resource::<PolicyDriver>() {
        world.insert_resource(Operator::Policy);
        world.resource_mut::<Session>().say("The policy goes on from here");
    } else if matches!(operator, Operator::Scripted | Operator::Policy) {
        world.insert_resource(Operator::Human);
        let over = matches!(world.resource::<Episode>().phase, EpisodePhase::Done(_) | EpisodePhase::Idle);
        if over {
            start(world, None, None);
        } else {
            let mut session = world.resource_mut::<Session>();
            session.changed_hands = true;
            session.say("Yours! This attempt is not counted; R starts a fair one");
        }
    } else if !has_job(&world.resource::<ActiveScene>().scene) {
        let title = world.resource::<ActiveScene>().scene.title.clone();
        world.resource_mut::<Session>().say(format!("{title} has nothing an expert could show; F2 changes the task"));
    } else {
        world.insert_resource(Operator::Scripted);
        start(world, None, None);
    }
}

/// Pause and slow motion reach the clock that drives the control ticks.
fn keep_time(session: Res<Session>, mut time: ResMut<Time<Virtual>>) {
    if session.paused != time.is_paused() {
        if session.paused { time.pause() } else { time.unpause() }
    }
    let speed = session.speed.clamp(0.05, 4.0);
    if time.relative_speed() != speed {
        time.set_relative_speed(speed);
    }
}

fn age_notice(time: Res<Time<Real>>, mut session: ResMut<Session>) {
    if let Some((_, left)) = &mut session.bypass_change_detection().notice {
        *left -= time.delta_secs();
        if *left <= 0.0 {
            session.notice = None;
        }
    }
}
