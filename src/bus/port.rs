//! One serial port with servos on it: single transactions, the cyclic sync read and sync write.
//!
//! Single transactions (ping, read, write) are rustypot's. The two cyclic packets are ours, because rustypot's
//! - sync read gives up at the first servo that fails and throws away the answers before and after it, while the arm must
//!   keep the five good ones;
//! - reader takes the first four bytes for a header and reports an error if they are not, so one byte of noise costs all
//!   six answers, and bytes that still arrive afterwards spoil the next transaction;
//! - every send sleeps 5 ms if a late byte is waiting, half a period at 100 Hz;
//! - timeout counts from the last byte, so a chattering line can hold a cycle for as long as it likes.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use rustypot::{CommunicationErrorKind, DynamixelProtocolHandler, StatusError};
use serialport::{ClearBuffer, SerialPort};

use super::clock::Clock;
use super::error::BusError;
use super::packet::{self, Listen, Packet, Parser, StatusBits};
use super::registers::{Access, Register};

/// What a transaction through rustypot gives.
type Transaction<T> = Result<T, Box<dyn std::error::Error>>;

/// A value and the status bits that came with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Register value, in register units.
    pub value: i32,
    /// Status bits of the servo.
    pub status: StatusBits,
}

/// What a sync read brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncRead {
    /// The bytes and status bits of each servo asked, in the order asked; `None`: no whole answer in time.
    pub answers: Vec<Option<(Vec<u8>, StatusBits)>>,
    /// Bytes that belonged to no whole packet.
    pub noise_bytes: u64,
    /// Whole packets nobody had asked for, or that came twice.
    pub stray_packets: u32,
}

impl SyncRead {
    /// Whether every servo answered.
    pub fn is_complete(&self) -> bool {
        self.answers.iter().all(Option::is_some)
    }
}

/// A serial port with servos on it.
pub struct ServoPort {
    port: Box<dyn SerialPort>,
    protocol: DynamixelProtocolHandler,
    clock: Arc<dyn Clock>,
    parser: Parser,
    out: Vec<u8>,
    baud: u32,
    /// How long to wait for an answer beyond its time on the wire. A USB adapter holds bytes back for 1 ms (CDC) to
    /// 16 ms (FTDI with its default latency timer).
    pub reply_timeout: Duration,
    /// How often a failed single transaction is tried again.
    pub retries: u32,
}

impl std::fmt::Debug for ServoPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServoPort").field("path", &self.port.name()).field("baud", &self.baud).finish_non_exhaustive()
    }
}

impl ServoPort {
    /// Talk through an open `port` that is set to `baud`.
    pub fn new(port: Box<dyn SerialPort>, baud: u32, clock: Arc<dyn Clock>) -> Self {
        ServoPort {
            port,
            protocol: DynamixelProtocolHandler::v1(),
            clock,
            parser: Parser::new(Listen::ToServos),
            out: Vec::with_capacity(packet::MAX_PACKET),
            baud,
            reply_timeout: Duration::from_millis(20),
            retries: 2,
        }
    }

    /// Open the serial device `path` at `baud`, 8N1, for this program alone.
    ///
    /// # Errors
    /// [`BusError::NoSuchPort`], [`BusError::PermissionDenied`], [`BusError::Busy`] or [`BusError::Open`].
    pub fn open(path: &str, baud: u32, clock: Arc<dyn Clock>) -> Result<Self, BusError> {
        Ok(ServoPort::new(open_device(path, baud)?, baud, clock))
    }

    /// Device file, if it has one.
    pub fn path(&self) -> String {
        self.port.name().unwrap_or_else(|| "the port".to_owned())
    }

    /// The baud rate in use.
    pub fn baud(&self) -> u32 {
        self.baud
    }

    /// Change the baud rate of this end.
    ///
    /// # Errors
    /// [`BusError::Unplugged`] if the port refuses.
    pub fn set_baud(&mut self, baud: u32) -> Result<(), BusError> {
        self.port.set_baud_rate(baud).map_err(lost)?;
        self.baud = baud;
        Ok(())
    }

    /// Time `bytes` take on the wire at the present baud rate (10 bits each).
    pub fn wire_time(&self, bytes: usize) -> Duration {
        Duration::from_nanos(bytes as u64 * 10_000_000_000 / u64::from(self.baud.max(1)))
    }

    /// Let `time` pass on the bus, as a servo needs before a change shows in what it reports.
    pub fn pause(&self, time: Duration) {
        self.clock.sleep_until(self.clock.now() + time);
    }

    /// Whether servo `id` answers a ping.
    ///
    /// # Errors
    /// [`BusError::Unplugged`] if the port is gone.
    pub fn ping(&mut self, id: u8) -> Result<bool, BusError> {
        for _ in 0..=self.retries {
            self.prepare()?;
            match self.protocol.ping(self.port.as_mut(), id) {
                Ok(true) => return Ok(true),
                // rustypot hides the reason of a failed ping: ask the port itself whether it is still there.
                Ok(false) => self.port.bytes_to_read().map(drop).map_err(lost)?,
                Err(error) => {
                    if let Failure::Lost(error) = classify(id, error) {
                        return Err(error);
                    }
                }
            }
        }
        Ok(false)
    }

    /// Ids of all servos that answer a ping to everyone, in the order they answer; an id twice means two servos with it.
    /// Takes up to 0.8 s.
    ///
    /// # Errors
    /// [`BusError::Unplugged`] if the port is gone.
    pub fn broadcast_ping(&mut self) -> Result<Vec<u8>, BusError> {
        self.prepare()?;
        match self.protocol.broadcast_ping(self.port.as_mut()) {
            Ok(ids) => Ok(ids),
            Err(error) => match classify(packet::BROADCAST, error) {
                Failure::Lost(error) => Err(error),
                Failure::Bad(_) => Ok(Vec::new()),
            },
        }
    }

    /// Read one register.
    ///
    /// # Errors
    /// [`BusError::NoAnswer`] or [`BusError::Corrupt`] after the retries, [`BusError::Unplugged`].
    pub fn read(&mut self, id: u8, register: Register) -> Result<Answer, BusError> {
        let (bytes, status) = self.read_bytes(id, register.address, register.size)?;
        Ok(Answer { value: register.decode(&bytes), status })
    }

    /// Read `len` bytes of the control table from `address`.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_bytes(&mut self, id: u8, address: u8, len: u8) -> Result<(Vec<u8>, StatusBits), BusError> {
        self.transact(id, |protocol, port| {
            let (bytes, status) = protocol.read_with_error(port, id, address, len)?;
            // An answer of another length belongs to an earlier question.
            if bytes.len() != usize::from(len) {
                return Err(Box::new(CommunicationErrorKind::ParsingError));
            }
            Ok((bytes, status))
        })
        .map(|(bytes, status)| (bytes, StatusBits(status.byte())))
    }

    /// Write one register. The servo's status bits come back; a set bit does not mean that the write was refused.
    ///
    /// # Errors
    /// As [`read`](Self::read), and [`BusError::ReadOnly`] or [`BusError::OutOfRange`] for a value that cannot be sent.
    pub fn write(&mut self, id: u8, register: Register, value: i32) -> Result<StatusBits, BusError> {
        if register.access == Access::Read {
            return Err(BusError::ReadOnly { register: register.name });
        }
        let bytes = register.encode(value)?;
        let bytes = &bytes[..usize::from(register.size)];
        self.transact(id, |protocol, port| protocol.write_with_error(port, id, register.address, bytes))
            .map(|status: StatusError| StatusBits(status.byte()))
    }

    /// Write one register and read it back.
    ///
    /// # Errors
    /// As [`write`](Self::write), and [`BusError::NotKept`] if it reads differently.
    pub fn write_verified(&mut self, id: u8, register: Register, value: i32) -> Result<StatusBits, BusError> {
        // The answer to a write may be lost although the write arrived, so what counts is what it reads afterwards.
        let written = self.write(id, register, value);
        if let Err(error @ (BusError::Unplugged { .. } | BusError::ReadOnly { .. } | BusError::OutOfRange { .. })) =
            written
        {
            return Err(error);
        }
        let answer = self.read(id, register)?;
        if answer.value == value {
            return Ok(answer.status);
        }
        Err(BusError::NotKept { id, register: register.name, wrote: value, reads: answer.value })
    }

    /// Read `len` bytes from `address` of all `ids` with one packet. What arrives whole within the time on the wire plus
    /// [`reply_timeout`](Self::reply_timeout) is returned, however many servos that leaves out.
    ///
    /// # Errors
    /// [`BusError::Unplugged`] if the port is gone.
    pub fn sync_read(&mut self, ids: &[u8], address: u8, len: u8) -> Result<SyncRead, BusError> {
        self.discard_input()?;
        self.parser.clear();
        let skipped = self.parser.skipped();
        self.out.clear();
        packet::write_sync_read(&mut self.out, address, len, ids)?;
        let on_wire = self.wire_time(self.out.len() + ids.len() * (usize::from(len) + 6));
        self.send()?;
        let deadline = self.clock.now() + on_wire + self.reply_timeout;
        let mut result = SyncRead { answers: vec![None; ids.len()], ..SyncRead::default() };
        let mut chunk = [0u8; 256];
        loop {
            while let Some(packet) = self.parser.next_packet() {
                sort_in(&mut result, ids, len, packet);
            }
            let left = deadline.saturating_sub(self.clock.now());
            if result.is_complete() || left.is_zero() {
                break;
            }
            match self.receive(&mut chunk, left)? {
                0 => break,
                count => self.parser.push(&chunk[..count]),
            }
        }
        while let Some(packet) = self.parser.next_at_end() {
            sort_in(&mut result, ids, len, packet);
        }
        result.noise_bytes = self.parser.skipped() - skipped;
        Ok(result)
    }

    /// Write `register` of several servos with one packet, which is never answered.
    ///
    /// # Errors
    /// [`BusError::OutOfRange`] for a value that cannot be sent, [`BusError::Unplugged`].
    pub fn sync_write(&mut self, register: Register, values: &[(u8, i32)]) -> Result<(), BusError> {
        let mut encoded = Vec::with_capacity(values.len());
        for (id, value) in values {
            encoded.push((*id, register.encode(*value)?));
        }
        self.out.clear();
        packet::write_sync_write(&mut self.out, register.address, register.size, &encoded)?;
        self.send()
    }

    fn transact<T>(
        &mut self,
        id: u8,
        mut transaction: impl FnMut(&DynamixelProtocolHandler, &mut dyn SerialPort) -> Transaction<T>,
    ) -> Result<T, BusError> {
        let mut last = BusError::NoAnswer { id };
        for _ in 0..=self.retries {
            self.prepare()?;
            match transaction(&self.protocol, self.port.as_mut()).map_err(|error| classify(id, error)) {
                Ok(value) => return Ok(value),
                Err(Failure::Lost(error)) => return Err(error),
                Err(Failure::Bad(error)) => last = error,
            }
        }
        Err(last)
    }

    /// Empty the input, so that rustypot does not sleep over it, and set the timeout.
    fn prepare(&mut self) -> Result<(), BusError> {
        self.discard_input()?;
        self.port.set_timeout(self.reply_timeout).map_err(lost)
    }

    fn discard_input(&mut self) -> Result<(), BusError> {
        self.port.clear(ClearBuffer::Input).map_err(lost)
    }

    fn send(&mut self) -> Result<(), BusError> {
        self.port.write_all(&self.out).map_err(|error| BusError::Unplugged { reason: error.to_string() })
    }

    /// Bytes received within `wait`; 0 when that has passed.
    fn receive(&mut self, chunk: &mut [u8], wait: Duration) -> Result<usize, BusError> {
        self.port.set_timeout(wait).map_err(lost)?;
        match self.port.read(chunk) {
            Ok(0) => Err(BusError::Unplugged { reason: "the device hung up".to_owned() }),
            Ok(count) => Ok(count),
            Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) => Ok(0),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(0),
            Err(error) => Err(BusError::Unplugged { reason: error.to_string() }),
        }
    }
}

/// Open a serial device, for this program alone.
///
/// # Errors
/// As [`ServoPort::open`].
pub fn open_device(path: &str, baud: u32) -> Result<Box<dyn SerialPort>, BusError> {
    let opened = serialport::new(path, baud).timeout(Duration::from_millis(20)).open();
    opened.map_err(|error| {
        let path = path.to_owned();
        match error.kind() {
            serialport::ErrorKind::Io(ErrorKind::PermissionDenied) => {
                let remedy = super::discover::permission_remedy(&path);
                BusError::PermissionDenied { path, remedy }
            }
            serialport::ErrorKind::Io(ErrorKind::NotFound) => BusError::NoSuchPort { path },
            serialport::ErrorKind::Io(ErrorKind::ResourceBusy) => BusError::Busy { path },
            // serialport reports a missing device and one held with TIOCEXCL or flock alike.
            serialport::ErrorKind::NoDevice if std::path::Path::new(&path).exists() => BusError::Busy { path },
            serialport::ErrorKind::NoDevice => BusError::NoSuchPort { path },
            _ if !std::path::Path::new(&path).exists() => BusError::NoSuchPort { path },
            _ => BusError::Open { path, reason: error.to_string() },
        }
    })
}

fn sort_in(result: &mut SyncRead, ids: &[u8], len: u8, packet: Packet) {
    let slot = ids.iter().position(|id| *id == packet.id);
    match slot.and_then(|index| result.answers.get_mut(index)) {
        Some(answer) if packet.params.len() == usize::from(len) => {
            if answer.is_some() {
                result.stray_packets += 1;
            }
            *answer = Some((packet.params, StatusBits(packet.code)));
        }
        _ => result.stray_packets += 1,
    }
}

fn lost(error: serialport::Error) -> BusError {
    BusError::Unplugged { reason: error.to_string() }
}

enum Failure {
    Lost(BusError),
    Bad(BusError),
}

fn classify(id: u8, error: Box<dyn std::error::Error>) -> Failure {
    if let Some(kind) = error.downcast_ref::<CommunicationErrorKind>() {
        return Failure::Bad(match kind {
            CommunicationErrorKind::TimeoutError => BusError::NoAnswer { id },
            _ => BusError::Corrupt { id },
        });
    }
    if let Some(error) = error.downcast_ref::<std::io::Error>() {
        return match error.kind() {
            ErrorKind::TimedOut | ErrorKind::WouldBlock | ErrorKind::Interrupted => {
                Failure::Bad(BusError::NoAnswer { id })
            }
            _ => Failure::Lost(BusError::Unplugged { reason: error.to_string() }),
        };
    }
    Failure::Lost(BusError::Unplugged { reason: error.to_string() })
}
