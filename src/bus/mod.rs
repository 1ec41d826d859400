//! The servo bus of a real SO-100, and a stand-in for it. Plain Rust: nothing here knows Bevy.
//!
//! From the wire up:
//! - [`packet`] and [`registers`] are what goes over the wire and what it means;
//! - [`port`] puts questions to servos through a serial port: rustypot does the single transactions, the two cyclic packets are
//!   ours;
//! - [`calibration`], [`calibration_file`] and [`calibration_check`] turn encoder steps into joint angles, in LeRobot's files;
//!   [`calibrate`] has the steps that make one, [`calibration_guide`] leads a person through them;
//! - [`engine`] is one cycle of the driver: read all joints, look after them, send all goals. [`guard`] keeps each goal safe,
//!   `bring_up` brings each servo to the state it should be in;
//! - [`driver`] runs the engine in a thread of its own, as punctual as [`realtime`] can make it, with [`settings`] in and [`state`] out;
//! - [`follow`] makes a follower's goals of a leader's pose, [`path`] of what was shown by hand;
//! - [`discover`], [`setup`] and [`doctor`] find arms, give servos their ids, and say what is wrong; [`known_arms`] remembers
//!   which arm is which;
//! - [`virtual_bus`] is an arm that is not there: emulated servos with faults, behind a pseudo-terminal or in simulated time.
//!
//! `docs/bus.md` says how it behaves and what was measured.

mod bring_up;
pub mod calibrate;
pub mod calibration;
pub mod calibration_check;
pub mod calibration_file;
pub mod calibration_guide;
pub mod clock;
pub mod discover;
pub mod doctor;
pub mod driver;
pub mod engine;
#[cfg(test)]
mod engine_tests;
pub mod error;
pub mod follow;
pub mod guard;
mod joint;
pub mod known_arms;
pub mod packet;
pub mod path;
pub mod port;
pub mod realtime;
pub mod registers;
mod report;
pub mod settings;
pub mod setup;
pub mod state;
pub mod virtual_bus;
