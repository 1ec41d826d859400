//! The desk at which a session of recording is run: it carries the session's orders out in the world, watches what happens
//! there, the disk and the encoders, and keeps what the person sees. Window and terminal both call [`act`] for keys and
//! [`run`] between ticks.

use super::session::{Action, Order, Phase, Session};
use super::status::{Disk, Status};
use crate::camera::{CameraFrame, CameraSensor};
use crate::control::ControlRate;
use crate::dataset::{Event, Load, Outcome, Pressure, Saved, free_bytes};
use crate::episode::{EndReason, Episode, EpisodeFault, EpisodePhase, EpisodeRequests};
use crate::operator::Operator;
use crate::record::{Pace, Recorder};
use bevy::prelude::*;
use std::collections::VecDeque;
use std::path::PathBuf;

/// How often the disk is looked at, s.
const LOOK_S: f64 = 1.0;
/// How long a message stays, s.
const MESSAGE_S: f64 = 5.0;
/// Late ticks are told of when they are more than one in this many,
const LATE_PART: usize = 20;
/// of at least so many.
const LATE_ROWS: usize = 30;

/// What a desk is set up with.
#[derive(Clone, Debug)]
pub struct DeskOptions {
    /// The dataset's folder.
    pub root: PathBuf,
    /// Who moves the arm while an episode is recorded.
    pub operator: Operator,
    /// Seed of the next episode.
    pub seed: u64,
    /// Room on the disk that is not touched, bytes.
    pub reserve_bytes: u64,
    /// Whether the arm is a real one.
    pub is_real: bool,
    /// Episodes are tagged with these.
    pub tags: Vec<String>,
    /// What the episodes show.
    pub task: String,
}

/// News for whoever prints.
#[derive(Debug)]
pub enum News {
    /// An episode is saved.
    Saved(Box<Saved>),
    /// Something to know.
    Line(String),
}

/// See the module.
#[derive(Resource)]
pub struct Desk {
    /// The session.
    pub session: Session,
    options: DeskOptions,
    /// Seed of the present or next episode.
    seed: u64,
    /// Seeds of the episodes of this session, the latest last.
    recorded: Vec<u64>,
    /// Number of the world's episode that is being recorded.
    episode: Option<u64>,
    rows: usize,
    late: usize,
    disk: Disk,
    since_look_s: f64,
    /// Free bytes when the first episode of this session began, and rows since.
    first_free: Option<u64>,
    rows_in_all: u64,
    message: Option<(String, f64)>,
    news: VecDeque<News>,
    /// The episode saved last.
    pub last: Option<Saved>,
    cameras: Vec<(String, f64)>,
    queue: Load,
    /// The worst that encoding has given up in this session, as far as it was told.
    pressure: Pressure,
    /// It was told that ticks of this episode come late.
    told_late: bool,
}

impl Desk {
    /// A desk for `session`.
    pub fn new(session: Session, options: DeskOptions) -> Self {
        Self {
            session,
            seed: options.seed,
            disk: Disk::new(free_bytes(&options.root), options.reserve_bytes, None),
            options,
            recorded: Vec::new(),
            episode: None,
            rows: 0,
            late: 0,
            since_look_s: 0.0,
            first_free: None,
            rows_in_all: 0,
            message: None,
            news: VecDeque::new(),
            last: None,
            cameras: Vec::new(),
            queue: Load::default(),
            pressure: Pressure::None,
            told_late: false,
        }
    }

    /// What it was set up with.
    pub fn options(&self) -> &DeskOptions {
        &self.options
    }

    /// Whether ticks wait: the simulation stands still while the session is paused.
    pub fn time_stands(&self) -> bool {
        self.session.is_paused() && !self.options.is_real
    }

    /// The oldest news that was not taken yet.
    pub fn next_news(&mut self) -> Option<News> {
        self.news.pop_front()
    }

    /// What the person sees.
    pub fn status(&self) -> Status {
        Status {
            phase: self.session.phase(),
            paused: self.session.is_paused(),
            number: self.session.number(),
            of: self.session.plan().episodes,
            have: self.session.have(),
            elapsed_s: self.session.elapsed_s(),
            left_s: self.session.left_s(),
            late: self.late,
            rows: self.rows,
            cameras: self.cameras.clone(),
            disk: self.disk,
            queue: self.queue,
            message: self.message.as_ref().map(|message| message.0.clone()),
        }
    }

    /// Says what a machine that is too slow costs, each thing once: a session, late ticks once an episode.
    fn tell_of_slowness(&mut self) {
        let given_up = if self.queue.lost > 0 { Pressure::LosesPictures } else { self.queue.pressure() };
        if given_up > self.pressure {
            self.pressure = given_up;
            self.say(match given_up {
                Pressure::LosesPictures => {
                    "encoding cannot keep up: pictures are lost, the one before stands in; use smaller or fewer ones"
                }
                Pressure::FewerKeyFrames | Pressure::None => {
                    "encoding is behind: fewer key frames until it has caught up; if it does not, pictures are lost"
                }
            });
        }
        if !self.told_late && self.rows >= LATE_ROWS && self.late * LATE_PART > self.rows {
            self.told_late = true;
            self.say(format!(
                "{} of {} ticks came late: close other programs, or record fewer pictures",
                self.late, self.rows
            ));
        }
    }

    fn say(&mut self, line: impl Into<String>) {
        let line = line.into();
        self.news.push_back(News::Line(line.clone()));
        self.message = Some((line, MESSAGE_S));
    }
}

/// Sets the desk up in a world that has a [`Recorder`]; the first start is prepared.
pub fn set_up(world: &mut World, desk: Desk) {
    let orders = desk.session.open();
    world.insert_resource(desk);
    world.insert_resource(Pace::default());
    carry_out(world, orders);
}

/// Carries out what the person asks for; what cannot be done now is said.
pub fn act(world: &mut World, action: Action) {
    let orders = {
        let mut desk = world.resource_mut::<Desk>();
        match desk.session.act(action) {
            Ok(orders) => orders,
            Err(why) => {
                desk.message = Some((why.to_string(), MESSAGE_S));
                return;
            }
        }
    };
    carry_out(world, orders);
}

fn carry_out(world: &mut World, orders: Vec<Order>) {
    for order in orders {
        world.resource_scope(|world, mut desk: Mut<Desk>| carry_out_one(world, &mut desk, order));
    }
}

fn carry_out_one(world: &mut World, desk: &mut Desk, order: Order) {
    match order {
        Order::Prepare => {
            desk.episode = None;
            world.resource_mut::<Recorder>().switch(false);
            // The expert begins with the episode, a person is there all the time.
            let operator = if desk.options.operator == Operator::Human { Operator::Human } else { Operator::Nobody };
            world.insert_resource(operator);
            start(world, desk.seed, true);
        }
        Order::Begin => {
            world.resource_mut::<Recorder>().switch(true);
            world.insert_resource(desk.options.operator);
            start(world, desk.seed, false);
            world.insert_resource(Pace::default());
            (desk.rows, desk.late, desk.told_late) = (0, 0, false);
            desk.episode = Some(world.resource::<Episode>().number + 1);
            desk.first_free = desk.first_free.or(desk.disk.free_bytes);
        }
        Order::End(verdict) => {
            world.resource_mut::<Recorder>().mark(verdict);
            world.resource_mut::<EpisodeRequests>().stop = true;
        }
        Order::Cancel => {
            world.resource_mut::<Recorder>().cancel();
            desk.say("dropped; the same start again");
        }
        Order::Leave => {
            world.resource_mut::<Recorder>().leave();
            if desk.rows > 0 {
                desk.say("the episode was cut; --cut recover makes one of what there is of it");
            }
        }
        Order::RemoveLast => {
            world.resource_mut::<Recorder>().remove_last();
            // Its start is tried again.
            desk.seed = desk.recorded.pop().unwrap_or(desk.seed);
        }
        Order::JudgeLast(verdict) => world.resource_mut::<Recorder>().judge_last(verdict),
    }
}

fn start(world: &mut World, seed: u64, wait: bool) {
    let mut requests = world.resource_mut::<EpisodeRequests>();
    requests.start = Some(seed);
    requests.stop = false;
    requests.wait_for_movement = wait;
}

/// Follows what has happened in the world since the last call, `dt_s` of real time ago.
pub fn run(world: &mut World, dt_s: f64) {
    let orders = world.resource_scope(|world, mut desk: Mut<Desk>| {
        let desk = &mut *desk;
        if desk.time_stands()
            && let Some(mut pace) = world.get_resource_mut::<Pace>()
        {
            pace.forget();
        }
        if let Some((_, left_s)) = &mut desk.message {
            *left_s -= dt_s;
            if *left_s <= 0.0 {
                desk.message = None;
            }
        }
        let mut orders = hear(world, desk);
        orders.extend(watch_episode(world, desk));
        let hz = world.resource::<ControlRate>().hz;
        orders.extend(watch_disk(desk, dt_s, hz));
        desk.tell_of_slowness();
        if desk.session.phase() != Phase::Recording {
            orders.extend(desk.session.pass(dt_s));
        }
        look_at_cameras(world, desk);
        orders
    });
    carry_out(world, orders);
}

/// News of the recorder.
fn hear(world: &mut World, desk: &mut Desk) -> Vec<Order> {
    let mut recorder = world.resource_mut::<Recorder>();
    desk.queue = recorder.load();
    let mut orders = Vec::new();
    for event in recorder.events() {
        orders.extend(take(desk, event));
    }
    if let Some(fault) = recorder.take_fault() {
        desk.say(fault.to_string());
        orders.extend(desk.session.ended(false));
    }
    orders
}

fn take(desk: &mut Desk, event: Event) -> Vec<Order> {
    match event {
        Event::Saved(saved) => {
            desk.news.push_back(News::Saved(Box::new(saved.clone())));
            desk.last = Some(saved);
            Vec::new()
        }
        Event::Failed(error) => {
            desk.say(error.to_string());
            desk.recorded.pop();
            desk.session.lost()
        }
        Event::Removed { episode } => {
            desk.say(format!("episode {episode} is deleted; `etude dataset undo` brings it back"));
            desk.last = None;
            Vec::new()
        }
        Event::Judged { episode, outcome } => {
            let verdict = match outcome {
                Outcome::Success => "success",
                Outcome::Failure => "failure",
                Outcome::Unjudged => "not judged",
            };
            desk.say(format!("episode {episode}: {verdict}"));
            if let Some(last) = desk.last.as_mut().filter(|last| last.episode == episode) {
                last.report.success = (outcome != Outcome::Unjudged).then_some(outcome == Outcome::Success);
            }
            Vec::new()
        }
    }
}

/// Waits until everything recorded is saved. The news of it can then be taken.
pub fn finish(world: &mut World) {
    world.resource_scope(|world, mut desk: Mut<Desk>| {
        for event in world.resource_mut::<Recorder>().flush() {
            take(&mut desk, event);
        }
    });
}

/// What the episode in the world does.
fn watch_episode(world: &mut World, desk: &mut Desk) -> Vec<Order> {
    let tick_s = world.resource::<ControlRate>().tick_s();
    let late = world.get_resource::<Pace>().map_or(0, |pace| pace.late);
    // A start that was asked for has not happened yet.
    if world.resource::<EpisodeRequests>().start.is_some() {
        return Vec::new();
    }
    if let Some(fault) = world.resource_mut::<EpisodeFault>().0.take() {
        desk.seed += 1;
        desk.say(format!("{fault}; trying the next start"));
        let orders = desk.session.ended(false);
        return if orders.is_empty() { vec![Order::Prepare] } else { orders };
    }
    if desk.session.phase() == Phase::Ending {
        // An end that was asked for together with the start has been forgotten by the start.
        world.resource_mut::<EpisodeRequests>().stop = true;
    }
    let rows = world.resource_mut::<Recorder>().recorded();
    let episode = world.resource::<Episode>();
    match desk.session.phase() {
        Phase::Recording | Phase::Ending if desk.episode == Some(episode.number) => {
            let mut orders = Vec::new();
            if let Some(rows) = rows.filter(|rows| *rows > desk.rows) {
                desk.late = late;
                desk.rows_in_all += (rows - desk.rows) as u64;
                if desk.session.phase() == Phase::Recording {
                    // Episodes are measured in rows: a slow machine does not shorten them.
                    // The tick that ends it is one more; half of one keeps rounding out of it.
                    let ticks = (rows - desk.rows) as f64 + if desk.rows == 0 { 1.5 } else { 0.0 };
                    orders = desk.session.pass(ticks * tick_s);
                }
                desk.rows = rows;
            }
            if let EpisodePhase::Done(outcome) = &episode.phase {
                let whole = !matches!(outcome.reason, EndReason::Diverged(_));
                if let EndReason::Diverged(what) = &outcome.reason {
                    desk.say(format!("the simulation came apart, nothing is kept: {what}"));
                }
                if whole {
                    desk.recorded.push(desk.seed);
                    desk.seed += 1;
                }
                desk.episode = None;
                orders = desk.session.ended(whole);
            }
            orders
        }
        Phase::Ready if episode.phase == EpisodePhase::Running => desk.session.moved(),
        // Practice before the start ended, by success or because its time was up.
        Phase::WarmUp | Phase::Ready if matches!(episode.phase, EpisodePhase::Done(_)) => vec![Order::Prepare],
        _ => Vec::new(),
    }
}

fn watch_disk(desk: &mut Desk, dt_s: f64, hz: u32) -> Vec<Order> {
    desk.since_look_s += dt_s;
    if desk.since_look_s < LOOK_S {
        return Vec::new();
    }
    desk.since_look_s = 0.0;
    let free = free_bytes(&desk.options.root);
    // What others write meanwhile counts too: it fills the disk as well.
    let used = desk.first_free.zip(free).map(|(before, now)| before.saturating_sub(now) as f64);
    let seconds = desk.rows_in_all as f64 / f64::from(hz);
    let rate = used.filter(|_| seconds > 20.0).map(|used| used / seconds);
    let was = desk.disk;
    desk.disk = Disk::new(free, desk.options.reserve_bytes, rate);
    if desk.disk.is_full && !was.is_full {
        desk.say("the disk is nearly full: recording stops with this episode; free some space, then go on");
    } else if desk.disk.is_low && !was.is_low {
        desk.say("the disk is getting full");
    }
    if desk.disk.is_full { desk.session.disk_full() } else { Vec::new() }
}

fn look_at_cameras(world: &mut World, desk: &mut Desk) {
    let tick_s = world.resource::<ControlRate>().tick_s();
    let tick = world.resource::<Episode>().tick;
    let in_use = world.resource::<crate::camera::CamerasInUse>().clone();
    let mut cameras = world.query::<(&CameraSensor, &CameraFrame)>();
    let mut ages: Vec<(usize, String, f64)> = cameras
        .iter(world)
        .filter(|(sensor, frame)| frame.captured.is_some() || in_use.contains(&sensor.config.name))
        .filter(|(_, frame)| !frame.rgb.is_empty())
        // The tick that drew it has been counted since.
        .map(|(sensor, frame)| {
            let drawn_s = tick.saturating_sub(frame.tick + 1) as f64 * tick_s;
            let age = if frame.captured.is_some() { f64::from(frame.age_s) } else { drawn_s };
            (sensor.index, sensor.config.name.clone(), age)
        })
        .collect();
    ages.sort_by_key(|age| age.0);
    desk.cameras = ages.into_iter().map(|(_, name, age)| (name, age)).collect();
}

#[cfg(test)]
#[path = "desk_tests.rs"]
mod tests;
