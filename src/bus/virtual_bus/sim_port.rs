//! The emulated bus as a serial port in simulated time: reading moves the clock, nothing waits. Hours of bus traffic, and
//! every fault, pass in seconds and always the same way.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serialport::{ClearBuffer, DataBits, FlowControl, Parity, SerialPort, StopBits};

use super::VirtualBus;
use crate::bus::clock::Clock;

/// An emulated bus shared between the ports opened on it, its clock, and a test that looks on.
#[derive(Clone, Debug)]
pub struct SharedBus(Arc<Mutex<VirtualBus>>);

impl SharedBus {
    /// Share `bus`.
    pub fn new(bus: VirtualBus) -> Self {
        SharedBus(Arc::new(Mutex::new(bus)))
    }

    /// The bus itself.
    pub fn lock(&self) -> MutexGuard<'_, VirtualBus> {
        // A panic in a test's closure leaves the bus as it was: there is nothing to protect.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Open a port on it; fails while the cable is out.
    ///
    /// # Errors
    /// As a serial device that is not there.
    pub fn open(&self, baud: u32) -> serialport::Result<Box<dyn SerialPort>> {
        let mut bus = self.lock();
        if !bus.is_plugged() {
            return Err(serialport::Error::new(serialport::ErrorKind::Io(ErrorKind::NotFound), "the cable is out"));
        }
        bus.host_baud = baud;
        let generation = bus.generation();
        drop(bus);
        Ok(Box::new(SimPort { bus: self.clone(), generation, baud, timeout: Duration::from_millis(20) }))
    }
}

impl Clock for SharedBus {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.lock().now_ns())
    }

    fn sleep_until(&self, moment: Duration) {
        self.lock().advance_to(moment.as_nanos() as u64);
    }
}

struct SimPort {
    bus: SharedBus,
    generation: u64,
    baud: u32,
    timeout: Duration,
}

impl SimPort {
    fn connected(&self) -> io::Result<MutexGuard<'_, VirtualBus>> {
        let bus = self.bus.lock();
        if bus.is_plugged() && bus.generation() == self.generation {
            return Ok(bus);
        }
        Err(io::Error::new(ErrorKind::BrokenPipe, "the cable was pulled out"))
    }
}

impl Read for SimPort {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let deadline_ns = self.bus.lock().now_ns() + self.timeout.as_nanos() as u64;
        loop {
            let mut bus = self.connected()?;
            let count = bus.send(buffer);
            if count > 0 {
                return Ok(count);
            }
            if bus.now_ns() >= deadline_ns {
                return Err(io::Error::new(ErrorKind::TimedOut, "nothing arrived"));
            }
            let next_ns = bus.next_reply_ns().unwrap_or(deadline_ns).clamp(bus.now_ns() + 1, deadline_ns);
            bus.advance_to(next_ns);
        }
    }
}

impl Write for SimPort {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut bus = self.connected()?;
        bus.host_baud = self.baud;
        bus.receive(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn unsupported<T>() -> serialport::Result<T> {
    Err(serialport::Error::new(serialport::ErrorKind::InvalidInput, "an emulated port has no such line"))
}

impl SerialPort for SimPort {
    fn name(&self) -> Option<String> {
        Some("the emulated bus".to_owned())
    }
    fn baud_rate(&self) -> serialport::Result<u32> {
        Ok(self.baud)
    }
    fn data_bits(&self) -> serialport::Result<DataBits> {
        Ok(DataBits::Eight)
    }
    fn flow_control(&self) -> serialport::Result<FlowControl> {
        Ok(FlowControl::None)
    }
    fn parity(&self) -> serialport::Result<Parity> {
        Ok(Parity::None)
    }
    fn stop_bits(&self) -> serialport::Result<StopBits> {
        Ok(StopBits::One)
    }
    fn timeout(&self) -> Duration {
        self.timeout
    }
    fn set_baud_rate(&mut self, baud_rate: u32) -> serialport::Result<()> {
        self.baud = baud_rate;
        Ok(())
    }
    fn set_data_bits(&mut self, _: DataBits) -> serialport::Result<()> {
        Ok(())
    }
    fn set_flow_control(&mut self, _: FlowControl) -> serialport::Result<()> {
        Ok(())
    }
    fn set_parity(&mut self, _: Parity) -> serialport::Result<()> {
        Ok(())
    }
    fn set_stop_bits(&mut self, _: StopBits) -> serialport::Result<()> {
        Ok(())
    }
    fn set_timeout(&mut self, timeout: Duration) -> serialport::Result<()> {
        self.timeout = timeout;
        Ok(())
    }
    fn write_request_to_send(&mut self, _: bool) -> serialport::Result<()> {
        unsupported()
    }
    fn write_data_terminal_ready(&mut self, _: bool) -> serialport::Result<()> {
        unsupported()
    }
    fn read_clear_to_send(&mut self) -> serialport::Result<bool> {
        unsupported()
    }
    fn read_data_set_ready(&mut self) -> serialport::Result<bool> {
        unsupported()
    }
    fn read_ring_indicator(&mut self) -> serialport::Result<bool> {
        unsupported()
    }
    fn read_carrier_detect(&mut self) -> serialport::Result<bool> {
        unsupported()
    }
    fn bytes_to_read(&self) -> serialport::Result<u32> {
        Ok(self.connected()?.ready() as u32)
    }
    fn bytes_to_write(&self) -> serialport::Result<u32> {
        Ok(0)
    }
    fn clear(&self, which: ClearBuffer) -> serialport::Result<()> {
        let mut bus = self.connected()?;
        if which != ClearBuffer::Output {
            bus.discard_ready();
        }
        Ok(())
    }
    fn try_clone(&self) -> serialport::Result<Box<dyn SerialPort>> {
        let SimPort { generation, baud, timeout, .. } = *self;
        Ok(Box::new(SimPort { bus: self.bus.clone(), generation, baud, timeout }))
    }
    fn set_break(&self) -> serialport::Result<()> {
        unsupported()
    }
    fn clear_break(&self) -> serialport::Result<()> {
        unsupported()
    }
}
