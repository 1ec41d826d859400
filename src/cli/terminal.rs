//! Keys from a bare terminal, also over SSH: single key presses without Enter and without echo, and a line that is drawn
//! over; from a pipe its characters. However the program ends, short of a kill that cannot be caught, the terminal is as it
//! was before. Every live session in a terminal reads its keys here, so the emergency stop is the same in all.

use super::CliError;
use super::arm::{tell, watched};
use crate::backend::servo::{ArmLink, ServoArm, ServoHealth};
use crate::control::{Control, ControlSystems, EmergencyStop, StopKey};
use crate::headless::Headless;
use crate::robot::{Arm, ArmLimits};
use bevy::platform::cell::SyncCell;
use bevy::prelude::*;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{self, LocalModes, OptionalActions, SpecialCodeIndex, Termios};
use std::collections::VecDeque;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Byte that switches a control character off.
const DISABLED: u8 = 0;
/// Width of a terminal that does not tell.
const USUAL_WIDTH: usize = 80;
/// What the key of the emergency stop sends.
pub(super) const STOP_BYTE: u8 = b'\t';
/// What lets a stopped arm go on, beside the key that stopped it.
pub(super) const GO_ON_BYTE: u8 = b'g';
/// How often keys are looked at while nothing else is to be done.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What the keys do in verbs that move an arm, for people.
pub(super) const STOP_HELP: &str = "Tab, Space or Esc stops the arm at once, g lets it go on";

/// How an arm that stopped or parked by itself is made to work again, for people.
pub(super) const WORK_AGAIN: &str = "then Tab and g let it work again";

/// What a person did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// A key; Enter is `\n`. Arrows and function keys are none.
    Char(char),
    /// Nothing yet.
    Waiting,
    /// Nothing more will come.
    Ended,
}

/// What a person wants of an arm that moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// Stand still at once.
    Stop,
    /// Go on after that.
    GoOn,
    /// Park and end.
    End,
}

/// What keys mean to an arm.
#[derive(Debug, Default)]
pub(super) struct ArmKeys(StopKey);

impl ArmKeys {
    /// What a key asks of an arm that stands by emergency stop, or not.
    pub fn wish(&mut self, key: char, stopped: bool) -> Option<Wish> {
        match key {
            '\t' => Some(if self.0.press(stopped, Instant::now()) { Wish::Stop } else { Wish::GoOn }),
            // What a hand in a hurry may hit instead.
            ' ' | '\u{1b}' => Some(Wish::Stop),
            'g' => stopped.then_some(Wish::GoOn),
            'q' => Some(Wish::End),
            _ => None,
        }
    }

    /// As [`wish`](Self::wish) where Space, Esc and q mean something else.
    pub fn only_stop(&mut self, byte: u8, stopped: bool) -> Option<Wish> {
        if byte == STOP_BYTE || byte == GO_ON_BYTE { self.wish(char::from(byte), stopped) } else { None }
    }
}

/// The terminal of a person, or whatever stands in for one.
pub(super) struct Terminal {
    /// Settings to go back to; `None` where the input is no terminal, or that of somebody else now.
    before: Option<Termios>,
    interrupted: Arc<AtomicBool>,
    ended: bool,
    unread: VecDeque<char>,
    line: String,
}

impl Terminal {
    /// Takes the terminal. Ctrl-C, SIGTERM and SIGHUP are asked for by [`Terminal::is_interrupted`] from then on.
    ///
    /// # Errors
    /// When the signals cannot be caught.
    pub(super) fn open() -> Result<Self, CliError> {
        let interrupted = super::arm::interruption()?;
        let input = std::io::stdin();
        // In the background nothing ever comes.
        let ended = !may_read_stdin();
        let before = termios::tcgetattr(&input).ok().filter(|_| !ended);
        if let Some(before) = &before {
            let mut raw = before.clone();
            raw.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
            // A program that is put to sleep would leave the terminal without echo, and the arm without goals.
            raw.special_codes[SpecialCodeIndex::VSUSP] = DISABLED;
            raw.special_codes[SpecialCodeIndex::VMIN] = 0;
            raw.special_codes[SpecialCodeIndex::VTIME] = 0;
            termios::tcsetattr(&input, OptionalActions::Now, &raw).map_err(std::io::Error::from)?;
        }
        Ok(Self { before, interrupted, ended, unread: VecDeque::new(), line: String::new() })
    }

    /// Whether a person types here.
    pub(super) fn is_person(&self) -> bool {
        self.before.is_some()
    }

    /// Whether a signal asked the program to end.
    pub(super) fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// What has been typed since the last call; never waits.
    pub(super) fn typed(&mut self) -> Vec<u8> {
        let input = std::io::stdin();
        let mut typed = Vec::new();
        let mut buffer = [0; 64];
        while !self.ended {
            let mut ready = [PollFd::new(&input, PollFlags::IN)];
            if poll(&mut ready, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|count| count == 0) {
                break;
            }
            match rustix::io::read(&input, &mut buffer) {
                Ok(0) if self.before.is_none() => self.ended = true,
                Ok(0) => break,
                Ok(count) => typed.extend_from_slice(&buffer[..count]),
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => self.ended = true,
            }
        }
        typed
    }

    /// The next key; never waits.
    pub(super) fn key(&mut self) -> Key {
        if self.unread.is_empty() {
            let typed = self.typed();
            self.unread.extend(keys_of(&typed));
        }
        match self.unread.pop_front() {
            Some(key) => Key::Char(key),
            None if self.ended => Key::Ended,
            None => Key::Waiting,
        }
    }

    /// Characters in a line.
    pub(super) fn width(&self) -> usize {
        let size = termios::tcgetwinsize(std::io::stderr()).ok();
        size.map(|size| usize::from(size.ws_col)).filter(|width| *width > 0).unwrap_or(USUAL_WIDTH)
    }

    /// Draws the line over the one before; nothing where nobody watches.
    pub(super) fn show(&mut self, line: &str) {
        if watched() && self.line != line {
            self.line = line.to_string();
            let _ = write!(std::io::stderr(), "\r\x1b[K{line}");
            let _ = std::io::stderr().flush();
        }
    }

    /// Clears the line that is drawn over, for something that stays.
    pub(super) fn clear(&mut self) {
        if watched() && !self.line.is_empty() {
            self.line.clear();
            let _ = write!(std::io::stderr(), "\r\x1b[K");
            let _ = std::io::stderr().flush();
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.clear();
        if let Some(before) = &self.before {
            // The terminal may be gone, and with it the reason to restore it.
            let _ = termios::tcsetattr(std::io::stdin(), OptionalActions::Now, before);
        }
    }
}

/// The keys behind the bytes a terminal sends: an escape alone is the Esc key, a sequence some other key that means nothing.
fn keys_of(bytes: &[u8]) -> Vec<char> {
    let mut keys = Vec::new();
    let mut rest = bytes;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        match first {
            0x1b if matches!(after.first(), Some(b'[' | b'O')) => {
                let end = after[1..].iter().position(|byte| (0x40..=0x7e).contains(byte));
                rest = end.map_or(&[], |end| &after[end + 2..]);
            }
            b'\r' => keys.push('\n'),
            _ => keys.push(char::from(first)),
        }
    }
    keys
}

/// Whether stdin may be read: reading a terminal from the background would stop the program.
pub(super) fn may_read_stdin() -> bool {
    match termios::tcgetpgrp(std::io::stdin()) {
        Ok(foreground) => foreground == rustix::process::getpgrp(),
        Err(_) => true,
    }
}

/// The keys of an application without a window.
#[derive(Resource)]
struct StopKeys {
    terminal: SyncCell<Terminal>,
    keys: ArmKeys,
    /// What was said of the arm last.
    told: Vec<String>,
}

/// Lets the keys of the terminal stop the arm of an application without a window; q or Ctrl-C parks it and ends.
///
/// # Errors
/// When signals cannot be caught.
pub(super) fn add_stop_keys(app: &mut App) -> Result<(), CliError> {
    let terminal = SyncCell::new(Terminal::open()?);
    tell(&format!("{STOP_HELP}; q or Ctrl-C parks it and ends"));
    app.insert_resource(StopKeys { terminal, keys: ArmKeys::default(), told: Vec::new() });
    app.add_systems(Control, obey_keys.in_set(ControlSystems::Sense).before(crate::backend::ReadJoints));
    // It only looks, and nothing depends on when.
    app.add_systems(Control, tell_notices.in_set(ControlSystems::Record).ambiguous_with_all());
    Ok(())
}

fn obey_keys(mut stop_keys: ResMut<StopKeys>, mut stop: ResMut<EmergencyStop>, arm: Option<Res<ServoArm>>) {
    let stop_keys = &mut *stop_keys;
    while let Key::Char(key) = stop_keys.terminal.get().key() {
        match stop_keys.keys.wish(key, stop.on) {
            Some(Wish::End) => {
                // The driver parks the arm, and the program ends with it.
                if let Some(arm) = &arm {
                    arm.link().shut_down();
                }
            }
            Some(wish) => obey(wish, &mut stop),
            None => {}
        }
    }
}

/// Tells something over a line that may be drawn there.
fn announce(line: &str) {
    tell(&if watched() { format!("\r\x1b[K{line}") } else { line.to_owned() });
}

/// Stops the arm of an application, or lets it go on, and says so.
pub(super) fn obey(wish: Wish, stop: &mut EmergencyStop) {
    let on = wish == Wish::Stop;
    if stop.on != on && wish != Wish::End {
        stop.on = on;
        announce(if on { "STOPPED: the arm stands; g lets it go on" } else { "going on, slowly at first" });
    }
}

/// Tells what is new about the arm.
fn tell_notices(world: &mut World) {
    let news = notices_of(world);
    let Some(mut keys) = world.get_resource_mut::<StopKeys>() else { return };
    for notice in news.iter().filter(|notice| !keys.told.contains(*notice)) {
        announce(notice);
    }
    keys.told = news;
}

/// What a person in a terminal should know of the arm in a world.
pub(super) fn notices_of(world: &mut World) -> Vec<String> {
    let mut news = world.get_resource::<ServoHealth>().map_or_else(Vec::new, |health| health.notices.clone());
    let mut arms = world.query::<(&Arm, &ArmLimits)>();
    // The driver of a real arm says the same of what it notices itself.
    let own = arms.iter(world).filter(|(_, limits)| news.is_empty() || limits.trouble.is_some());
    let own: Vec<String> = own.flat_map(|(arm, limits)| limits.notices(arm, WORK_AGAIN)).collect();
    news.extend(own);
    news
}

/// Ends an application with the keys of [`add_stop_keys`]: its arm parks while the person can still stop it on the way.
pub(super) fn end(mut headless: Headless) {
    let world = headless.app.world_mut();
    let Some(mut keys) = world.remove_resource::<StopKeys>() else { return };
    if let Some(arm) = world.get_resource::<ServoArm>().cloned() {
        park(arm.link().as_ref(), keys.terminal.get(), &mut keys.keys);
    }
}

/// Parks an arm and lets its driver end, while the person can still stop it on the way.
pub(super) fn park(arm: &dyn ArmLink, terminal: &mut Terminal, keys: &mut ArmKeys) {
    terminal.clear();
    if !arm.state().finished {
        tell("parking the arm; Tab stops it");
    }
    arm.shut_down();
    // What was asked for; the driver's own word for it comes a cycle later.
    let mut stopped = false;
    loop {
        let state = arm.state();
        if state.finished {
            return;
        }
        while let Key::Char(key) = terminal.key() {
            match keys.wish(key, stopped) {
                Some(Wish::Stop) if !stopped => {
                    stopped = true;
                    arm.emergency_stop();
                    announce("STOPPED: the arm stands with its torque on; g lets it park");
                }
                Some(Wish::GoOn) => {
                    stopped = false;
                    arm.enable();
                    announce("parking");
                }
                _ => {}
            }
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_escape_is_a_key_and_a_sequence_is_none() {
        assert_eq!(keys_of(b"g\r \t"), ['g', '\n', ' ', '\t']);
        assert_eq!(keys_of(b"\x1b"), ['\u{1b}']);
        assert_eq!(keys_of(b"\x1b[A\x1b[3~\x1bOPq"), ['q']);
        assert_eq!(keys_of(b"\x1b["), []);
    }

    #[test]
    fn the_stop_key_stops_whatever_else_the_keys_mean() {
        let mut keys = ArmKeys::default();
        assert_eq!(keys.only_stop(STOP_BYTE, false), Some(Wish::Stop));
        assert_eq!(keys.only_stop(STOP_BYTE, true), Some(Wish::Stop), "hit twice in a hurry");
        assert_eq!(keys.only_stop(GO_ON_BYTE, true), Some(Wish::GoOn));
        assert_eq!((keys.only_stop(GO_ON_BYTE, false), keys.only_stop(b' ', false)), (None, None));
        assert_eq!((keys.wish(' ', false), keys.wish('q', true)), (Some(Wish::Stop), Some(Wish::End)));
        let bound = crate::recording::keys::KEYS.iter().flat_map(|key| key.bytes);
        assert!(bound.into_iter().all(|byte| ![STOP_BYTE, GO_ON_BYTE].contains(byte)), "recording leaves them alone");
    }
}
