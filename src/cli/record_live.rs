//! `etude record` by a person, or beside one: a session with keys, in the window or in the terminal.

use super::arm::tell;
use super::record::{RecordArgs, cameras};
use super::terminal::{self, ArmKeys, Terminal};
use super::{CliError, dataset, say};
use crate::app::{Loaded, RunOptions};
use crate::backend::servo::ServoArm;
use crate::bus::calibration_file::ArmCalibration;
use crate::bus::driver::BusDriver;
use crate::control::{EmergencyStop, StopKey};
use crate::dataset::check::Severity;
use crate::dataset::{Dataset, Saved};
use crate::headless::Headless;
use crate::operator::Operator;
use crate::record::{self, CameraWish, Keep, RecordOptions};
use crate::recording::desk::{self, Desk, DeskOptions, News};
use crate::recording::keys;
use crate::recording::session::{Action, Phase, Plan, Session, Why};
use crate::window::{self, WindowError, WindowOptions};
use bevy::prelude::{App, World};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Time to get used to the arm before the first episode unless told otherwise, s.
const WARM_UP_S: f64 = 10.0;
/// Time between episodes of a real arm unless told otherwise, s.
const RESET_S: f64 = 60.0;

/// A session of people, with everything it needs.
struct Live<'a> {
    args: &'a RecordArgs,
    run: RunOptions,
    loaded: Loaded,
    cameras: Vec<CameraWish>,
    leader: Option<(Arc<BusDriver>, ArmCalibration)>,
}

/// Records with keys: what a person does, or, beside a person, what the expert does at the pace of the clock.
pub(super) fn record(args: &RecordArgs, operator: Operator, verbose: u8) -> Result<(), CliError> {
    args.check_times()?;
    let run = args.world.options(operator)?;
    let cameras = cameras(args)?;
    let leader = match &args.leader {
        Some(port) => {
            let (driver, calibration) = super::teleoperate::connect_leader(port, args.leader_id.clone())?;
            Some((Arc::new(driver), calibration))
        }
        None => None,
    };
    let loaded = Loaded::new(&run)?;
    let live = Live { args, run, loaded, cameras, leader };
    let in_terminal = args.no_window || (operator == Operator::Scripted && args.realtime);
    if in_terminal {
        if operator == Operator::Human && live.leader.is_none() {
            return Err(CliError::Usage(
                "--no-window: in a terminal no key moves the arm; give --leader PORT (`etude virtual-arm --leader` makes one \
                 to try), or record in the window"
                    .into(),
            ));
        }
        return live.in_terminal();
    }
    live.in_window(verbose)
}

impl Live<'_> {
    /// Puts recorder, leader and desk into a world that has the arm.
    fn install(&self, world: &mut World) -> Result<(), CliError> {
        let args = self.args;
        let is_real = args.world.is_real();
        let options = RecordOptions {
            keep: Keep::All,
            task: args.instruction.clone(),
            note: record::note(&self.run, &args.tags),
        };
        let recorder = record::open(world, &args.out, &self.cameras, options)?;
        world.insert_resource(recorder);
        if let Some((driver, calibration)) = &self.leader {
            super::teleoperate::install_leader(world, (driver.clone(), calibration), args.mirror)?;
        }
        let before = dataset::open(&args.out)?;
        let had = before.episodes().len();
        let known = record::seeds(&before)?.into_iter().flatten().filter(|seed| *seed >= args.seed).max();
        drop(before);
        if had > 0 {
            tell(&format!("etude: {} has {}; continuing", args.out.display(), dataset::episodes(had)));
        }
        self.settle_cut_episodes(world)?;
        let scripted = self.run.operator == Operator::Scripted;
        let plan = Plan {
            episodes: args.episodes as usize,
            warm_up_s: args.warm_up.unwrap_or(if scripted { 0.0 } else { WARM_UP_S }),
            episode_s: args.episode_time,
            reset_s: args.reset_time.or(match () {
                () if is_real => Some(RESET_S),
                () if scripted => Some(1.0),
                () => None,
            }),
            starts_with_movement: !is_real && !scripted && self.leader.is_none(),
            can_pause_episodes: !is_real,
        };
        let task = args.instruction.clone().unwrap_or_else(|| self.loaded.scene.scene.instruction.clone());
        let options = DeskOptions {
            root: args.out.clone(),
            operator: self.run.operator,
            seed: known.map_or(args.seed, |seed| seed + 1),
            reserve_bytes: args.keep_free_mb.saturating_mul(1_000_000),
            is_real,
            tags: args.tags.clone(),
            task,
        };
        // Recovered episodes count too.
        let had = dataset::open(&args.out)?.episodes().len();
        desk::set_up(world, Desk::new(Session::new(plan, had), options));
        Ok(())
    }

    /// Cut episodes of earlier sessions, as `--cut` says.
    fn settle_cut_episodes(&self, world: &mut World) -> Result<(), CliError> {
        let mut recorder = world.resource_mut::<record::Recorder>();
        super::record::settle_cut_episodes(&mut recorder, self.args.cut, &self.args.out)?;
        for event in recorder.flush() {
            super::record::tell_recovered(event)?;
        }
        Ok(())
    }

    fn in_window(&self, verbose: u8) -> Result<(), CliError> {
        let options = WindowOptions {
            run: self.run.clone(),
            seed: self.args.seed,
            quality: None,
            size: (1280, 720),
            measure_s: None,
            verbose,
        };
        let opened = window::open_with(&self.loaded, &options, |app: &mut App| {
            self.install(app.world_mut())?;
            // A reader of what is printed that has gone away is no reason to end the session.
            let json = self.args.json;
            crate::ui::recording::add(app, move |news| drop(print(news, json)));
            Ok::<(), CliError>(())
        });
        match opened {
            Ok(installed) => drop(installed?),
            Err(fault @ WindowError::NoDisplay(_)) => {
                return Err(CliError::Window(format!(
                    "{fault}; record on a desktop, with --leader PORT --no-window in a terminal, or with --operator scripted"
                )));
            }
            Err(fault) => return Err(CliError::Window(fault.to_string())),
        }
        self.summary()
    }

    fn in_terminal(&self) -> Result<(), CliError> {
        let mut headless = Headless::from_loaded(&self.loaded, &self.run);
        self.install(headless.app.world_mut())?;
        let mut terminal = Terminal::open()?;
        let mut arm_keys = ArmKeys::default();
        if terminal.is_person() {
            tell(&format!("{}  {} STOPS THE ARM AT ONCE, g lets it go on", keys::help(), StopKey::LABEL));
        }
        let mut told = Vec::new();
        headless.keep_real_time();
        let mut last = Instant::now();
        loop {
            let world = headless.app.world_mut();
            let typed = terminal.typed();
            for byte in &typed {
                let mut stop = world.resource_mut::<EmergencyStop>();
                if let Some(wish) = arm_keys.only_stop(*byte, stop.on) {
                    terminal.clear();
                    terminal::obey(wish, &mut stop);
                }
            }
            for action in keys::read(&typed) {
                desk::act(world, action);
            }
            let notices = terminal::notices_of(world);
            for notice in notices.iter().filter(|notice| !told.contains(*notice)) {
                terminal.clear();
                tell(notice);
            }
            told = notices;
            if terminal.is_interrupted() || headless.arm_has_ended() {
                desk::act(headless.app.world_mut(), Action::Stop);
            }
            let world = headless.app.world_mut();
            let now = Instant::now();
            desk::run(world, now.duration_since(last).as_secs_f64());
            last = now;
            self.tell(world, &mut terminal)?;
            let stopped = if world.resource::<EmergencyStop>().on { "ARM STOPPED (g goes on)  " } else { "" };
            let desk = world.resource::<Desk>();
            let line = desk.status().line(terminal.width().saturating_sub(1 + stopped.len()));
            terminal.show(&format!("{stopped}{line}"));
            if matches!(desk.session.phase(), Phase::Complete | Phase::Stopped(_)) {
                break;
            }
            if desk.time_stands() {
                std::thread::sleep(std::time::Duration::from_millis(20));
            } else {
                headless.tick();
            }
        }
        let world = headless.app.world_mut();
        desk::finish(world);
        self.tell(world, &mut terminal)?;
        let stopped = world.resource::<Desk>().session.phase();
        if let Some(arm) = world.get_resource::<ServoArm>().cloned() {
            terminal::park(arm.link().as_ref(), &mut terminal, &mut arm_keys);
        }
        drop(terminal);
        drop(headless);
        self.summary()?;
        match stopped {
            Phase::Stopped(Why::DiskFull) => Err(CliError::Usage(format!(
                "{}: the disk is nearly full (--keep-free-mb {}); everything recorded is saved",
                self.args.out.display(),
                self.args.keep_free_mb
            ))),
            _ => Ok(()),
        }
    }

    fn tell(&self, world: &mut World, terminal: &mut Terminal) -> Result<(), CliError> {
        while let Some(news) = world.resource_mut::<Desk>().next_news() {
            terminal.clear();
            print(news, self.args.json)?;
        }
        Ok(())
    }

    fn summary(&self) -> Result<(), CliError> {
        // A dataset whose last episode was deleted is empty and whole.
        summary(&self.args.out, self.args.json)
    }
}

fn print(news: News, json: bool) -> Result<(), CliError> {
    match news {
        News::Line(line) => tell(&format!("etude: {line}")),
        News::Saved(saved) if json => say(serde_json::to_string(&saved.report).unwrap_or_default())?,
        News::Saved(saved) => say(describe(&saved))?,
    }
    Ok(())
}

fn describe(saved: &Saved) -> String {
    let fine = saved.report.findings.iter().all(|finding| finding.severity == Severity::Note);
    if fine { format!("{}, no faults found", saved.report) } else { saved.report.to_string() }
}

fn summary(root: &Path, json: bool) -> Result<(), CliError> {
    let after = Dataset::open(root)?;
    let (episodes, rows) = (after.episodes().len(), after.len());
    if json {
        return say(serde_json::json!({"dataset": root.display().to_string(), "episodes": episodes, "rows": rows}));
    }
    say(format!("{}: {}, {rows} rows", root.display(), dataset::episodes(episodes)))
}
