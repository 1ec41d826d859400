//! Keys from a bare terminal, also over SSH: single key presses without Enter and without echo, and a line that is drawn
//! over. However the program ends, short of a kill that cannot be caught, the terminal is as it was before.

use super::CliError;
use super::arm::watched;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{self, LocalModes, OptionalActions, SpecialCodeIndex, Termios};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Byte that switches a control character off.
const DISABLED: u8 = 0;
/// Width of a terminal that does not tell.
const USUAL_WIDTH: usize = 80;

/// The terminal of a person, or whatever stands in for one.
pub(super) struct Terminal {
    /// Settings to go back to; `None` where the input is no terminal.
    before: Option<Termios>,
    interrupted: Arc<AtomicBool>,
    ended: bool,
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
        let before = termios::tcgetattr(&input).ok();
        if let Some(before) = &before {
            let mut raw = before.clone();
            raw.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
            // A program that is put to sleep would leave the terminal without echo, and the arm without goals.
            raw.special_codes[SpecialCodeIndex::VSUSP] = DISABLED;
            raw.special_codes[SpecialCodeIndex::VMIN] = 0;
            raw.special_codes[SpecialCodeIndex::VTIME] = 0;
            termios::tcsetattr(&input, OptionalActions::Now, &raw).map_err(std::io::Error::from)?;
        }
        Ok(Self { before, interrupted, ended: false, line: String::new() })
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
