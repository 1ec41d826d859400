//! The emulated bus behind a pseudo-terminal, in real time: a serial device file for any client of a real arm.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use super::VirtualBus;
use super::sim_port::SharedBus;
use crate::bus::error::BusError;
use crate::bus::realtime;

/// Longest nap of the thread, so that the mechanics move and a stop is noticed, ns.
const NAP_NS: u64 = 2_000_000;
/// A line that was quiet this long has no client that minds losing its exclusive hold.
const IDLE: Duration = Duration::from_millis(250);

/// An emulated arm on a pseudo-terminal. Dropping it pulls the cable.
#[derive(Debug)]
pub struct VirtualArm {
    bus: SharedBus,
    path: Arc<std::sync::Mutex<PathBuf>>,
    link: Option<PathBuf>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl VirtualArm {
    /// Put `bus` behind a new pseudo-terminal. With `link`, a symbolic link of that name points to it, also after the cable
    /// was pulled and put in again; an old link there is replaced, anything else is left alone.
    ///
    /// # Errors
    /// [`BusError::Io`] if the system gives no pseudo-terminal, the link cannot be made, or no thread can be started.
    pub fn start(bus: VirtualBus, link: Option<&Path>) -> Result<Self, BusError> {
        let bus = SharedBus::new(bus);
        let line = Line::open()?;
        if let Some(link) = link {
            make_link(&line.path, link)?;
        }
        let path = Arc::new(std::sync::Mutex::new(line.path.clone()));
        let stop = Arc::new(AtomicBool::new(false));
        let mut host = Host {
            bus: bus.clone(),
            line: Some(line),
            path: path.clone(),
            link: link.map(Path::to_owned),
            start: Instant::now(),
            offset_ns: bus.lock().now_ns(),
            heard: Instant::now(),
        };
        let stopped = stop.clone();
        let thread = std::thread::Builder::new()
            .name("virtual arm".to_owned())
            .spawn(move || {
                // It stands for hardware, which no other program slows down.
                realtime::be_punctual(realtime::EMULATOR_PRIORITY);
                while !stopped.load(Ordering::SeqCst) {
                    host.turn();
                }
            })
            .map_err(|source| BusError::Io { what: "starting the emulated arm".to_owned(), source })?;
        Ok(VirtualArm { bus, path, link: link.map(Path::to_owned), stop, thread: Some(thread) })
    }

    /// The device file a client opens: the link if there is one, else the pseudo-terminal.
    pub fn path(&self) -> PathBuf {
        let device = || self.path.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        self.link.clone().unwrap_or_else(device)
    }

    /// The bus, to look at or to inject faults into.
    pub fn bus(&self) -> &SharedBus {
        &self.bus
    }
}

impl Drop for VirtualArm {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // A panic in the emulation has been reported by then.
            let _ = thread.join();
        }
        // Another arm may have taken the link's name meanwhile.
        let path = self.path.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(link) = self.link.as_ref().filter(|link| std::fs::read_link(link).is_ok_and(|to| to == *path)) {
            remove_link(link);
        }
    }
}

fn io(what: &str) -> impl Fn(rustix::io::Errno) -> BusError {
    let what = what.to_owned();
    move |error| BusError::Io { what: what.clone(), source: error.into() }
}

/// One pseudo-terminal.
struct Line {
    master: File,
    /// Held open so that the terminal, with its settings, outlives each client.
    slave: OwnedFd,
    path: PathBuf,
}

impl Line {
    fn open() -> Result<Self, BusError> {
        let failed = io("opening a pseudo-terminal");
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = rustix::pty::openpt(flags).map_err(&failed)?;
        rustix::pty::grantpt(&master).map_err(&failed)?;
        rustix::pty::unlockpt(&master).map_err(&failed)?;
        let name = rustix::pty::ptsname(&master, Vec::new()).map_err(&failed)?;
        let path = PathBuf::from(name.to_string_lossy().into_owned());
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let slave = rustix::fs::open(&path, flags, Mode::empty()).map_err(&failed)?;
        let mut settings = tcgetattr(&slave).map_err(&failed)?;
        // Without this the terminal would echo the servos' answers back to them until a client comes.
        settings.make_raw();
        tcsetattr(&slave, OptionalActions::Now, &settings).map_err(&failed)?;
        // A client that reads nothing must not stop the emulation.
        rustix::fs::fcntl_setfl(&master, OFlags::RDWR | OFlags::NONBLOCK).map_err(&failed)?;
        Ok(Line { master: File::from(master), slave, path })
    }
}

/// The thread's end of the line.
struct Host {
    bus: SharedBus,
    line: Option<Line>,
    path: Arc<std::sync::Mutex<PathBuf>>,
    link: Option<PathBuf>,
    start: Instant,
    offset_ns: u64,
    heard: Instant,
}

impl Host {
    fn turn(&mut self) {
        let now_ns = self.offset_ns + self.start.elapsed().as_nanos() as u64;
        let mut answer = [0u8; 1024];
        let (count, wait_ns, plugged) = {
            let mut bus = self.bus.lock();
            bus.advance_to(now_ns);
            let count = bus.send(&mut answer);
            let next_ns = bus.next_reply_ns().map_or(NAP_NS, |at| at.saturating_sub(now_ns)).min(NAP_NS);
            (count, next_ns, bus.is_plugged())
        };
        match (&mut self.line, plugged) {
            (Some(line), true) => {
                // What a client does not take is lost, as on a wire.
                let _ = line.master.write(&answer[..count]);
            }
            (Some(_), false) => {
                self.line = None;
                if let Some(link) = &self.link {
                    remove_link(link);
                }
            }
            (None, true) => self.plug_in(),
            (None, false) => {}
        }
        self.listen(wait_ns);
    }

    fn plug_in(&mut self) {
        let Ok(line) = Line::open() else { return };
        if let Some(link) = &self.link
            && make_link(&line.path, link).is_err()
        {
            return;
        }
        *self.path.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = line.path.clone();
        self.line = Some(line);
    }

    fn listen(&mut self, wait_ns: u64) {
        let wait = Duration::from_nanos(wait_ns);
        let Some(line) = &mut self.line else {
            std::thread::sleep(wait.max(Duration::from_millis(1)));
            return;
        };
        let timeout = Timespec { tv_sec: 0, tv_nsec: wait_ns as _ };
        let mut fds = [PollFd::new(&line.master, PollFlags::IN)];
        let readable = matches!(poll(&mut fds, Some(&timeout)), Ok(count) if count > 0);
        if !readable {
            if self.heard.elapsed() > IDLE {
                self.heard = Instant::now();
                // A client that was killed leaves its exclusive hold on the terminal, which a real port loses with it.
                let _ = rustix::termios::ioctl_tiocnxcl(line.slave.as_fd());
            }
            return;
        }
        let mut heard = [0u8; 1024];
        let Ok(count @ 1..) = line.master.read(&mut heard) else {
            std::thread::sleep(Duration::from_millis(1));
            return;
        };
        self.heard = Instant::now();
        let baud = tcgetattr(&line.slave).map(|settings| settings.output_speed());
        let now_ns = self.offset_ns + self.start.elapsed().as_nanos() as u64;
        let mut bus = self.bus.lock();
        bus.advance_to(now_ns);
        if let Ok(baud) = baud {
            bus.host_baud = baud;
        }
        bus.receive(&heard[..count]);
    }
}

fn make_link(device: &Path, link: &Path) -> Result<(), BusError> {
    remove_link(link);
    std::os::unix::fs::symlink(device, link).map_err(|source| BusError::Io {
        what: format!("{}: making the link to {}", link.display(), device.display()),
        source,
    })
}

fn remove_link(link: &Path) {
    if link.symlink_metadata().is_ok_and(|data| data.file_type().is_symlink()) {
        // A link that cannot be removed points nowhere; the next one replaces it or says why not.
        let _ = std::fs::remove_file(link);
    }
}
