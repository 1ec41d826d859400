//! What can go wrong on the servo bus. Every message names the port, servo or register and the remedy.

use std::path::PathBuf;

/// An error of the servo bus.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// The port file is not there.
    #[error(
        "{path}: there is no such port; plug the arm's USB cable in, or list the ports there are with `etude ports`"
    )]
    NoSuchPort {
        /// Device file.
        path: String,
    },
    /// The user may not open the port.
    #[error("{path}: permission denied. {remedy}")]
    PermissionDenied {
        /// Device file.
        path: String,
        /// What to do about it.
        remedy: String,
    },
    /// Another program holds the port.
    #[error("{path}: the port is in use by another program; close it (`fuser {path}` names it) and try again")]
    Busy {
        /// Device file.
        path: String,
    },
    /// The port could not be opened for another reason.
    #[error("{path}: cannot open the port: {reason}; unplug the arm, plug it in again and try again")]
    Open {
        /// Device file.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// The device went away while it was open.
    #[error("the USB connection of the arm was lost ({reason}); plug it in again, the driver reconnects by itself")]
    Unplugged {
        /// What the system said.
        reason: String,
    },
    /// A servo did not answer.
    #[error(
        "servo {id} does not answer; check its power, the cable from the servo before it, and its id and baud rate \
         (`etude doctor`)"
    )]
    NoAnswer {
        /// Servo id.
        id: u8,
    },
    /// A servo's answer was damaged.
    #[error(
        "the answer of servo {id} was damaged; look for a loose plug, a cable run along the power supply, or two servos \
         with id {id}"
    )]
    Corrupt {
        /// Servo id.
        id: u8,
    },
    /// A value does not fit the register.
    #[error("{register} cannot hold {value}: it takes {least}..={greatest}; calibrate this joint again")]
    OutOfRange {
        /// Register name.
        register: &'static str,
        /// Refused value.
        value: i32,
        /// Least value.
        least: i32,
        /// Greatest value.
        greatest: i32,
    },
    /// The register cannot be written.
    #[error("{register} is read only")]
    ReadOnly {
        /// Register name.
        register: &'static str,
    },
    /// A written register reads back as something else.
    #[error(
        "servo {id}: wrote {wrote} to {register} but it reads {reads}; open the lock (Lock = 0) and check its power"
    )]
    NotKept {
        /// Servo id.
        id: u8,
        /// Register name.
        register: &'static str,
        /// Value written.
        wrote: i32,
        /// Value read back.
        reads: i32,
    },
    /// Another kind of servo answered.
    #[error("servo {id} is model {model}, not an STS3215 (777); replace it or correct the arm's configuration")]
    WrongModel {
        /// Servo id.
        id: u8,
        /// Model number it reports.
        model: i32,
    },
    /// No servo answered at any baud rate.
    #[error(
        "no servo answers on {path} at any baud rate; check that the power supply is plugged in and the three-wire cable \
         sits in both sockets"
    )]
    NoServo {
        /// Device file.
        path: String,
    },
    /// More than one servo answered where one was wanted.
    #[error("servos {ids:?} answer at {baud} baud, but one motor at a time must be connected; unplug the others")]
    SeveralServos {
        /// Ids that answered.
        ids: Vec<u8>,
        /// Baud rate at which they did.
        baud: u32,
    },
    /// Two servos seem to share an id.
    #[error("two servos answer with id {id}; leave only one of them connected and run `etude setup-motors` for it")]
    DuplicateId {
        /// The shared id.
        id: u8,
    },
    /// A setting of the driver makes no sense.
    #[error("bus settings, {field}: {reason}")]
    Settings {
        /// Field name.
        field: String,
        /// What is wrong and what it should be.
        reason: String,
    },
    /// A calibration file cannot be used.
    #[error("{}: {reason}", path.display())]
    Calibration {
        /// The file.
        path: PathBuf,
        /// What is wrong, where, and the remedy.
        reason: String,
    },
    /// A recorded path cannot be used.
    #[error("{}: {reason}", path.display())]
    Path {
        /// The file.
        path: PathBuf,
        /// What is wrong, in which line, and the remedy.
        reason: String,
    },
    /// A file or system call failed.
    #[error("{what}: {source}")]
    Io {
        /// What was attempted.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The driver thread has ended.
    #[error("the bus driver of {path} has stopped; start it again")]
    Stopped {
        /// Device file.
        path: String,
    },
}
