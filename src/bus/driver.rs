//! The driver of one port: a named thread that runs the [`Engine`] at its rate, and the handle the program holds.
//!
//! Goals go through a box that holds the newest one, commands through a bounded channel, and the state comes back as the
//! newest snapshot; no side ever waits for the other. A goal that comes between two cycles is sent at once, so that a leader's
//! movement does not wait for the follower's next reading. Whatever ends the program's hold on the handle - [`BusDriver::stop`], drop, a
//! panic that unwinds, a signal after [`BusDriver::stop_on_signals`] - parks the arm slowly and only then takes its torque
//! away. Only SIGKILL and a crash of the machine do not: the servos then hold their last goal until they are switched off.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::calibration_file::ArmCalibration;
use super::clock::{Clock, SystemClock};
use super::engine::{Engine, Opener};
use super::error::BusError;
use super::port::open_device;
use super::realtime::{self, Priority};
use super::settings::DriverSettings;
use super::state::{ArmState, Pace, Reason};

/// Commands that may wait to be carried out.
const COMMANDS: usize = 32;

/// The control table of a joint, or why it could not be read.
type Table = Result<Vec<u8>, BusError>;

enum Command {
    Enable,
    Park,
    Release,
    ReadTable { joint: usize, reply: SyncSender<Table> },
}

#[derive(Default)]
struct Shared {
    goal: Mutex<Option<(Vec<f64>, Instant)>>,
    read_at: Mutex<Option<Instant>>,
    woken: Condvar,
    /// Shared whole, so that nobody holds the lock for longer than it takes to count one reader more: a thread of ordinary
    /// priority that is interrupted while it holds it would keep the driver waiting.
    state: Mutex<Arc<ArmState>>,
    published: Condvar,
    pace: Mutex<Pace>,
    priority: Mutex<Priority>,
    emergency: AtomicBool,
    stop: Arc<AtomicBool>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is left half done while one of these is held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A running driver.
pub struct BusDriver {
    shared: Arc<Shared>,
    commands: SyncSender<Command>,
    thread: Option<JoinHandle<()>>,
    name: String,
    joints: usize,
}

impl std::fmt::Debug for BusDriver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BusDriver").field("name", &self.name).finish_non_exhaustive()
    }
}

impl BusDriver {
    /// Drive the arm on the serial device `path`; if it has a `serial_number`, it is found again under another path too. The
    /// port is opened, and opened again after each loss, by the driver itself: see [`ArmState::notices`].
    ///
    /// # Errors
    /// [`BusError::Settings`], or [`BusError::Io`] if the thread cannot be started.
    pub fn start(
        path: &str,
        serial_number: Option<&str>,
        settings: DriverSettings,
        calibration: &ArmCalibration,
    ) -> Result<Self, BusError> {
        let opener = device_opener(path.to_owned(), serial_number.map(str::to_owned), settings.baud);
        Self::start_with(path, settings, calibration, opener)
    }

    /// Drive an arm whose port is opened by `opener`; `name` is for messages and the thread's name.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with(
        name: &str,
        settings: DriverSettings,
        calibration: &ArmCalibration,
        opener: Opener,
    ) -> Result<Self, BusError> {
        let clock = SystemClock::shared();
        let (joints, punctual) = (settings.joints.len(), settings.punctual);
        let mut engine = Engine::new(settings, calibration, opener, clock.clone())?;
        let shared = Arc::new(Shared::default());
        publish(&shared, engine.state());
        let (commands, received) = sync_channel(COMMANDS);
        let inner = shared.clone();
        let short = name.rsplit('/').next().unwrap_or(name);
        let thread = std::thread::Builder::new()
            .name(format!("bus {short}"))
            .spawn(move || {
                if punctual {
                    *lock(&inner.priority) = realtime::be_punctual(realtime::DRIVER_PRIORITY);
                }
                let ran = catch_unwind(AssertUnwindSafe(|| run(&mut engine, &inner, &received, clock.as_ref())));
                if ran.is_err() {
                    // A mistake in the driver must not leave the arm up in the air: the same engine, told to park.
                    inner.stop.store(true, Ordering::SeqCst);
                    let _ = catch_unwind(AssertUnwindSafe(|| run(&mut engine, &inner, &received, clock.as_ref())));
                }
                let last = ArmState { finished: true, ..ArmState::clone(&newest(&inner)) };
                publish(&inner, last);
            })
            .map_err(|source| BusError::Io { what: format!("starting the bus driver of {name}"), source })?;
        Ok(BusDriver { shared, commands, thread: Some(thread), name: name.to_owned(), joints })
    }

    /// The newest state of the arm.
    pub fn state(&self) -> ArmState {
        ArmState::clone(&newest(&self.shared))
    }

    /// The first state newer than that of `cycle`, as soon as it is there; `None` if none comes within `patience`.
    pub fn wait_newer(&self, cycle: u64, patience: Duration) -> Option<ArmState> {
        let end = Instant::now() + patience;
        let mut state = lock(&self.shared.state);
        while state.cycle <= cycle {
            let left = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
            state = self.shared.published.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let newest = state.clone();
        drop(state);
        Some(ArmState::clone(&newest))
    }

    /// When the cycle of the newest state began, that is when its joints were asked; `None` before the first.
    pub fn read_at(&self) -> Option<Instant> {
        *lock(&self.shared.read_at)
    }

    /// How the driver has kept time so far.
    pub fn pace(&self) -> Pace {
        lock(&self.shared.pace).clone()
    }

    /// How the system treats the driver's thread.
    pub fn priority(&self) -> Priority {
        *lock(&self.shared.priority)
    }

    /// Forget how it has kept time so far.
    pub fn reset_pace(&self) {
        *lock(&self.shared.pace) = Pace::default();
    }

    /// The newest goal per joint, rad, in bus order; replaces one that was not yet sent.
    ///
    /// # Errors
    /// [`BusError::Settings`] for a wrong number of joints, [`BusError::Stopped`].
    pub fn set_goal(&self, goal_rad: &[f64]) -> Result<(), BusError> {
        self.set_goal_read_at(goal_rad, Instant::now())
    }

    /// [`set_goal`](Self::set_goal) with the moment the goal goes back to, such as [`read_at`](Self::read_at) of a leader:
    /// [`Pace::goal`] then tells how long the whole way took.
    ///
    /// # Errors
    /// As [`set_goal`](Self::set_goal).
    pub fn set_goal_read_at(&self, goal_rad: &[f64], read_at: Instant) -> Result<(), BusError> {
        if goal_rad.len() != self.joints {
            let reason = format!("{} angles given, the arm has {} joints", goal_rad.len(), self.joints);
            return Err(BusError::Settings { field: "goal".to_owned(), reason });
        }
        self.alive()?;
        *lock(&self.shared.goal) = Some((goal_rad.to_vec(), read_at));
        self.shared.woken.notify_one();
        Ok(())
    }

    /// Turn the torque on where the arm stands and follow goals; the first one is approached slowly. Also ends a park and an
    /// emergency stop.
    ///
    /// # Errors
    /// [`BusError::Stopped`].
    pub fn enable(&self) -> Result<(), BusError> {
        self.shared.emergency.store(false, Ordering::SeqCst);
        self.send(Command::Enable)
    }

    /// Go slowly to the park pose, then limp.
    ///
    /// # Errors
    /// [`BusError::Stopped`].
    pub fn park(&self) -> Result<(), BusError> {
        self.send(Command::Park)
    }

    /// Torque off at once. The arm falls unless somebody holds it: for guiding it by hand.
    ///
    /// # Errors
    /// [`BusError::Stopped`].
    pub fn release(&self) -> Result<(), BusError> {
        self.send(Command::Release)
    }

    /// Stand still from now on, until [`enable`](Self::enable). Never fails; takes effect within a cycle.
    pub fn emergency_stop(&self) {
        self.shared.emergency.store(true, Ordering::SeqCst);
    }

    /// The control table (71 bytes from address 0) of a joint, read between two cycles.
    ///
    /// # Errors
    /// [`BusError::NoAnswer`], [`BusError::Unplugged`] or [`BusError::Stopped`].
    pub fn read_table(&self, joint: usize) -> Result<Vec<u8>, BusError> {
        let (reply, answer) = sync_channel(1);
        self.send(Command::ReadTable { joint, reply })?;
        answer.recv_timeout(Duration::from_secs(2)).map_err(|_| self.stopped())?
    }

    /// Ask the arm to park and the driver to end, without waiting for it.
    pub fn request_stop(&self) {
        self.shared.stop.store(true, Ordering::SeqCst);
    }

    /// Park, release the torque, end the thread, and give the last state. Takes as long as parking does.
    pub fn stop(mut self) -> ArmState {
        self.join();
        self.state()
    }

    /// Whether the driver has ended, after a stop or a signal.
    pub fn is_finished(&self) -> bool {
        self.state().finished
    }

    /// Let Ctrl-C (SIGINT), SIGTERM and SIGHUP park this arm and end its driver, instead of ending the program at once. The
    /// program has to end itself when [`is_finished`](Self::is_finished).
    ///
    /// # Errors
    /// [`BusError::Io`] if the system refuses a handler.
    #[cfg(unix)]
    pub fn stop_on_signals(&self) -> Result<(), BusError> {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, self.shared.stop.clone())
                .map_err(|source| BusError::Io { what: "catching signals".to_owned(), source })?;
        }
        Ok(())
    }

    fn alive(&self) -> Result<(), BusError> {
        match &self.thread {
            Some(thread) if !thread.is_finished() => Ok(()),
            _ => Err(self.stopped()),
        }
    }

    fn send(&self, command: Command) -> Result<(), BusError> {
        match self.commands.try_send(command) {
            Ok(()) => Ok(()),
            Err(TrySendError::Disconnected(_)) => Err(self.stopped()),
            Err(TrySendError::Full(_)) => Err(BusError::Settings {
                field: "commands".to_owned(),
                reason: format!("{COMMANDS} are waiting; send fewer"),
            }),
        }
    }

    fn stopped(&self) -> BusError {
        BusError::Stopped { path: self.name.clone() }
    }

    fn join(&mut self) {
        self.request_stop();
        if let Some(thread) = self.thread.take() {
            // The thread catches its own panics.
            let _ = thread.join();
        }
    }
}

impl Drop for BusDriver {
    fn drop(&mut self) {
        self.join();
    }
}

/// Opens `path`, or the port whose USB serial number is `serial_number`, wherever it is now.
pub fn device_opener(path: String, serial_number: Option<String>, baud: u32) -> Opener {
    Box::new(move || {
        let found = serial_number.as_ref().and_then(|number| super::discover::path_of_serial_number(number));
        open_device(found.as_deref().unwrap_or(&path), baud)
    })
}

fn run(engine: &mut Engine, shared: &Shared, commands: &Receiver<Command>, clock: &dyn Clock) {
    let period = engine.period();
    let mut next = clock.now();
    while !engine.is_finished() {
        let start = clock.now();
        obey(engine, shared, commands);
        // A goal that came too late in the last pause goes out before the joints are read, which takes longer than sending it.
        if let Some(from) = take_goal(engine, shared) {
            engine.send_between();
            count_goal(shared, from);
        }
        let read_at = Instant::now();
        engine.read();
        let newest = take_goal(engine, shared);
        engine.send();
        if let Some(from) = newest {
            count_goal(shared, from);
        }
        *lock(&shared.read_at) = Some(read_at);
        publish(shared, engine.state());
        // Whoever waits for the reading has it before this cycle's errands, which may take longer than the reading.
        shared.published.notify_all();
        engine.tend();
        publish(shared, engine.state());
        let end = clock.now();
        let mut pace = lock(&shared.pace);
        pace.lateness.add(start.saturating_sub(next).as_secs_f64() * 1e6);
        pace.cycle.add(end.saturating_sub(start).as_secs_f64() * 1e6);
        next += period;
        // Absolute deadlines: a late cycle does not shift the others, and missed ones are not made up for in a burst.
        while next <= end {
            next += period;
            pace.skipped += 1;
        }
        drop(pace);
        wait(engine, shared, clock, next);
    }
}

fn newest(shared: &Shared) -> Arc<ArmState> {
    lock(&shared.state).clone()
}

fn publish(shared: &Shared, state: ArmState) {
    let state = Arc::new(state);
    let before = std::mem::replace(&mut *lock(&shared.state), state);
    // Freed outside the lock.
    drop(before);
}

/// Closer than this to the next cycle a goal waits for it: sending it takes 0.26 ms on the wire.
const TOO_CLOSE: Duration = Duration::from_micros(500);
/// Goals are sent between two cycles no more often than this.
const BETWEEN_GOALS: Duration = Duration::from_millis(2);

/// Sleep until `next`, but send goals that come meanwhile.
fn wait(engine: &mut Engine, shared: &Shared, clock: &dyn Clock, next: Duration) {
    let mut earliest = Duration::ZERO;
    while let Some(left) = next.checked_sub(clock.now()).filter(|left| !left.is_zero()) {
        if left < TOO_CLOSE {
            return clock.sleep_until(next);
        }
        if earliest > clock.now() {
            clock.sleep_until(earliest.min(next - TOO_CLOSE));
            continue;
        }
        let goal = lock(&shared.goal);
        // It lets go of the lock while it waits, and has it again afterwards.
        drop(shared.woken.wait_timeout_while(goal, left - TOO_CLOSE / 2, |goal| goal.is_none()));
        if let Some(from) = take_goal(engine, shared) {
            engine.send_between();
            count_goal(shared, from);
            earliest = clock.now() + BETWEEN_GOALS;
        }
    }
}

/// Hands the engine the newest goal, if there is one that it does not have; the moment it goes back to.
fn take_goal(engine: &mut Engine, shared: &Shared) -> Option<Instant> {
    let (goal, from) = lock(&shared.goal).take()?;
    engine.set_goal(&goal);
    Some(from)
}

/// A goal that goes back to `from` is on the wire.
fn count_goal(shared: &Shared, from: Instant) {
    lock(&shared.pace).goal.add(from.elapsed().as_secs_f64() * 1e6);
}

/// Carries out what was asked for since the last cycle.
fn obey(engine: &mut Engine, shared: &Shared, commands: &Receiver<Command>) {
    loop {
        match commands.try_recv() {
            Ok(Command::Enable) => engine.enable(),
            Ok(Command::Park) => engine.park(Reason::Requested),
            Ok(Command::Release) => engine.release(),
            Ok(Command::ReadTable { joint, reply }) => {
                // Whoever asked may have given up by now.
                let _ = reply.try_send(engine.read_table(joint));
            }
            Err(TryRecvError::Empty) => break,
            // The handle is gone without a drop: nobody is left to drive the arm.
            Err(TryRecvError::Disconnected) => {
                engine.shut_down();
                break;
            }
        }
    }
    if shared.stop.load(Ordering::SeqCst) {
        engine.shut_down();
    }
    // After the park of a shutdown has begun, so that a stop that comes together with it is not lost.
    if shared.emergency.swap(false, Ordering::SeqCst) {
        engine.emergency_stop();
    }
}
