//! `etude teleoperate --guide`: an arm is shown a path by hand, keeps it, and follows it again.

use super::arm::{notices, open_arm, tell, watched};
use super::teleoperate::{Show, wait_for};
use super::terminal::{self, ArmKeys, Key, STOP_HELP, Terminal};
use super::{CliError, say};
use crate::bus::calibration_file::ArmCalibration;
use crate::bus::driver::BusDriver;
use crate::bus::follow::Glide;
use crate::bus::path::{ArmPath, PathFollower};
use crate::bus::settings::DriverSettings;
use crate::bus::state::{ArmState, Mode};
use std::path::Path;
use std::time::{Duration, Instant};

/// Older readings are no points of a path, s.
const FRESH_S: f64 = 0.05;
/// How long a reading may take.
const READING: Duration = Duration::from_millis(100);
/// Less movement than this makes no path, rad.
const NO_MOVEMENT_RAD: f64 = 0.03;
/// Time at the beginning of the path in which the arm comes to rest on it, and at its end, s.
const REST_S: f64 = 0.5;

/// What the person wants next.
#[derive(Clone, Copy, PartialEq)]
enum Wish {
    GoOn,
    Record,
    End,
}

struct Guide<'a> {
    driver: &'a BusDriver,
    terminal: Terminal,
    keys: ArmKeys,
    show: Show,
    cycle: u64,
}

pub(super) fn guide(
    port: &str,
    file: &Path,
    settings: DriverSettings,
    calibration: &ArmCalibration,
) -> Result<(), CliError> {
    let mut path = if file.exists() { Some(ArmPath::load(file)?) } else { None };
    if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
        return Err(CliError::Usage(format!("--guide {}: there is no folder {}", file.display(), folder.display())));
    }
    drop(open_arm(port)?);
    let driver = BusDriver::start(port, None, settings, calibration)?;
    driver.stop_on_signals()?;
    wait_for(&driver, "arm")?;
    let terminal = Terminal::open()?;
    let mut guide = Guide { driver: &driver, terminal, keys: ArmKeys::default(), show: Show::default(), cycle: 0 };
    let mut held = None;
    let ended = loop {
        let Some(known) = &path else {
            match guide.record(file) {
                Ok(Some(recorded)) => path = Some(recorded),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
            held = None;
            continue;
        };
        tell(&format!(
            "{}: {:.1} s. Enter replays it: the torque comes on and the arm glides to its beginning. {STOP_HELP}. r records \
             anew, q parks and ends.",
            file.display(),
            known.seconds()
        ));
        match guide.wait(held.as_deref(), true) {
            Err(error) => break Err(error),
            Ok(Wish::End) => break Ok(()),
            Ok(Wish::Record) => path = None,
            Ok(Wish::GoOn) => match guide.replay(known) {
                Ok(Some(last)) => held = Some(last),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            },
        }
    };
    let Guide { mut terminal, mut keys, .. } = guide;
    terminal::park(&driver, &mut terminal, &mut keys);
    driver.stop();
    ended
}

impl Guide<'_> {
    /// The next reading of the arm.
    fn read(&mut self) -> ArmState {
        let state = self.driver.wait_newer(self.cycle, READING).unwrap_or_else(|| self.driver.state());
        self.cycle = state.cycle;
        state
    }

    fn show(&mut self, state: &ArmState, doing: &str, more: &str) {
        if self.show.is_due() {
            self.show.tell(notices(state));
            Show::line(state, doing, more);
        }
    }

    /// Waits for a key, while the arm stands at `held_rad` if it stands.
    fn wait(&mut self, held_rad: Option<&[f64]>, may_record: bool) -> Result<Wish, CliError> {
        loop {
            let state = self.read();
            if self.driver.is_finished() {
                return Ok(Wish::End);
            }
            // Goals that come keep the driver from parking the arm while a person thinks.
            if let Some(held_rad) = held_rad
                && self.driver.set_goal(held_rad).is_err()
            {
                return Ok(Wish::End);
            }
            self.show(&state, "standing", "");
            let key = self.terminal.key();
            let wish = match key {
                Key::Char('\n') => Wish::GoOn,
                Key::Char('r') if may_record => Wish::Record,
                Key::Char('q') | Key::Ended => Wish::End,
                Key::Char(key) => {
                    self.obey(key, state.mode == Mode::Stopped)?;
                    continue;
                }
                Key::Waiting => continue,
            };
            clear_line();
            return Ok(wish);
        }
    }

    /// Lets the person move the arm; the path, or nothing if the person ends.
    fn record(&mut self, file: &Path) -> Result<Option<ArmPath>, CliError> {
        tell("1. Hold the arm: Enter switches its torque off (q ends).");
        if self.wait(None, false)? == Wish::End {
            return Ok(None);
        }
        self.driver.release()?;
        loop {
            tell("2. Bring it to where the path begins; Enter starts recording.");
            if self.wait(None, false)? == Wish::End {
                return Ok(None);
            }
            tell("3. Recording. Enter ends it.");
            let path = self.follow_hand();
            if self.driver.is_finished() {
                return Ok(None);
            }
            if path.is_empty() {
                let why = notices(&self.driver.state()).join("; ");
                return Err(CliError::Usage(format!("nothing was recorded: {why}; `etude doctor` says more")));
            }
            if path.extent_rad() < NO_MOVEMENT_RAD {
                tell("the arm was not moved, so there is no path");
                continue;
            }
            path.save(file)?;
            say(format!(
                "{}: {:.1} s, {} points, a joint moved {:.0} degrees",
                file.display(),
                path.seconds(),
                path.len(),
                path.extent_rad().to_degrees()
            ))?;
            return Ok(Some(path));
        }
    }

    /// Stops the arm, or lets it go on, if that is what a key means.
    fn obey(&mut self, key: char, stopped: bool) -> Result<(), CliError> {
        match self.keys.wish(key, stopped) {
            Some(terminal::Wish::Stop) => self.driver.emergency_stop(),
            Some(terminal::Wish::GoOn) => self.driver.enable()?,
            Some(terminal::Wish::End) | None => {}
        }
        Ok(())
    }

    fn follow_hand(&mut self) -> ArmPath {
        let mut path = ArmPath::default();
        while !self.driver.is_finished() && !path.is_full() {
            let state = self.read();
            if state.is_fresh(FRESH_S) {
                path.push(state.time_s, &state.positions_rad());
            }
            self.show(&state, "recording", &format!("{:.1} s", path.seconds()));
            if matches!(self.terminal.key(), Key::Char('\n' | 'q') | Key::Ended) {
                break;
            }
        }
        clear_line();
        path
    }

    /// Follows the path once; the last goal, or nothing if the person ends.
    fn replay(&mut self, path: &ArmPath) -> Result<Option<Vec<f64>>, CliError> {
        self.driver.enable()?;
        let mut follower = PathFollower::default();
        let mut glide = Glide::from(self.driver.state().positions_rad());
        let (mut last, mut rested_s) = (Instant::now(), 0.0);
        let mut goal = self.driver.state().positions_rad();
        while rested_s < 2.0 * REST_S {
            let state = self.read();
            let dt_s = last.elapsed().as_secs_f64().min(0.05);
            last = Instant::now();
            match self.terminal.key() {
                Key::Char('\n') if state.mode == Mode::Stopped => self.driver.enable()?,
                Key::Char('q') => return Ok(None),
                Key::Char(key) => self.obey(key, state.mode == Mode::Stopped)?,
                Key::Waiting | Key::Ended => {}
            }
            if self.driver.is_finished() {
                return Ok(None);
            }
            if state.mode != Mode::Following {
                // Time on the path stands until the arm follows again, from wherever it is then.
                glide = Glide::from(state.joints.iter().map(|joint| joint.goal_rad).collect());
            }
            let here = follower.time_s();
            goal = if glide.has_arrived() && state.mode == Mode::Following {
                let rests = rested_s < REST_S || here >= path.seconds();
                rested_s += if rests { dt_s } else { 0.0 };
                follower.next(path, &state.positions_rad(), dt_s, if rests { 0.0 } else { dt_s })
            } else {
                glide.next(&path.at(here), dt_s)
            };
            if self.driver.set_goal(&goal).is_err() {
                return Ok(None);
            }
            let doing = if glide.has_arrived() { "replaying" } else { "gliding to the path" };
            self.show(&state, doing, &format!("{here:.1} of {:.1} s", path.seconds()));
        }
        clear_line();
        let worst = follower.worst_rad().to_degrees();
        say(format!("replayed {:.1} s; no joint was further than {worst:.1} degrees from the path", path.seconds()))?;
        Ok(Some(goal))
    }
}

fn clear_line() {
    if watched() {
        tell("\r\x1b[K");
    }
}
