//! Single keys from the terminal while an arm moves, Enter or not; from a pipe its characters.

use crate::control::{Control, ControlSystems, EmergencyStop};
use bevy::platform::cell::SyncCell;
use bevy::prelude::*;
use std::io::{IsTerminal, Read};
use std::sync::mpsc::{Receiver, TryRecvError, channel};

/// What the keys do, for people.
pub(super) const STOP_HELP: &str = "Space stops the arm at once, g lets it go on";

/// Whether a key is an emergency stop: Space, and what a hand in a hurry may hit instead.
pub(super) fn stops(key: char) -> bool {
    matches!(key, ' ' | '\t' | '\u{1b}')
}

/// What a person did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// A key; Enter is `\n`.
    Char(char),
    /// Nothing yet.
    Waiting,
    /// Nothing more will come.
    Ended,
}

/// Keys as they are pressed. The terminal is as it was when this is dropped.
pub(super) struct TerminalKeys {
    keys: Receiver<char>,
    #[cfg(unix)]
    _raw: Option<Raw>,
}

impl TerminalKeys {
    /// Starts listening on stdin; where a program in the background may not read it, nothing ever comes.
    pub fn listen() -> Self {
        let (sender, keys) = channel();
        #[cfg(unix)]
        let (listens, raw) = (may_read_stdin(), Raw::enter());
        #[cfg(not(unix))]
        let listens = true;
        let reader = move || {
            for byte in std::io::stdin().bytes() {
                let Ok(byte) = byte else { return };
                let key = if byte == b'\r' { '\n' } else { char::from(byte) };
                if sender.send(key).is_err() {
                    return;
                }
            }
        };
        if listens {
            // Without the thread nothing ever comes, which reads as the end of the input.
            let _ = std::thread::Builder::new().name("keys".into()).spawn(reader);
        }
        Self {
            keys,
            #[cfg(unix)]
            _raw: raw,
        }
    }

    /// What came by now.
    pub fn now(&self) -> Key {
        match self.keys.try_recv() {
            Ok(key) => Key::Char(key),
            Err(TryRecvError::Empty) => Key::Waiting,
            Err(TryRecvError::Disconnected) => Key::Ended,
        }
    }
}

/// Whether stdin may be read: reading a terminal from the background would stop the program.
#[cfg(unix)]
pub(super) fn may_read_stdin() -> bool {
    match rustix::termios::tcgetpgrp(std::io::stdin()) {
        Ok(foreground) => foreground == rustix::process::getpgrp(),
        Err(_) => true,
    }
}

/// The terminal gives keys one by one and does not show them. Ctrl-C stays what it is.
#[cfg(unix)]
struct Raw(rustix::termios::Termios);

#[cfg(unix)]
impl Raw {
    fn enter() -> Option<Self> {
        use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, tcgetattr, tcsetattr};
        let stdin = std::io::stdin();
        if !stdin.is_terminal() || !may_read_stdin() {
            return None;
        }
        let before = tcgetattr(&stdin).ok()?;
        let mut raw = before.clone();
        raw.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        raw.special_codes[SpecialCodeIndex::VMIN] = 1;
        raw.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(&stdin, OptionalActions::Now, &raw).ok()?;
        Some(Self(before))
    }
}

#[cfg(unix)]
impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        let _ = rustix::termios::tcsetattr(std::io::stdin(), rustix::termios::OptionalActions::Now, &self.0);
    }
}

#[derive(Resource)]
struct StopKeys(SyncCell<TerminalKeys>);

/// Lets the keys of the terminal stop the arm of an application without a window: Space, g to go on, q to end.
pub(super) fn add_stop_keys(app: &mut App) {
    super::arm::tell(&format!("{STOP_HELP}; q or Ctrl-C ends and parks it"));
    app.insert_resource(StopKeys(SyncCell::new(TerminalKeys::listen())));
    app.add_systems(Control, obey_keys.in_set(ControlSystems::Sense).before(crate::backend::ReadJoints));
}

fn obey_keys(mut keys: ResMut<StopKeys>, mut stop: ResMut<EmergencyStop>) {
    while let Key::Char(key) = keys.0.get().now() {
        match key {
            key if stops(key) => {
                stop.on = true;
                super::arm::tell("stopped; g goes on, q ends");
            }
            'g' if stop.on => {
                stop.on = false;
                super::arm::tell("going on");
            }
            'q' => end_as_ctrl_c_does(),
            _ => {}
        }
    }
}

/// The driver of the arm parks it and the program ends itself.
fn end_as_ctrl_c_does() {
    #[cfg(unix)]
    if let Err(error) = signal_hook::low_level::raise(signal_hook::consts::SIGINT) {
        super::arm::tell(&format!("{error}; press Ctrl-C instead"));
    }
    #[cfg(not(unix))]
    super::arm::tell("press Ctrl-C");
}
