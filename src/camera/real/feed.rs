//! The thread of a camera: it opens the source, keeps the newest picture, and opens the source again when it was lost.

use super::capture::Decoder;
use super::fit::Fitter;
use super::mode::Mode;
use super::source::{Opener, Source, SourceFault};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Unusable pictures in a row after which the source is opened anew.
const MOST_BROKEN: u32 = 30;
/// How long the end of a camera waits for its thread. A driver that hangs keeps only the thread.
const PATIENCE: Duration = Duration::from_millis(1500);

/// A picture as it is handed over.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Picture {
    /// Width, pixels.
    pub width: u32,
    /// Height, pixels.
    pub height: u32,
    /// Rows from the top, three bytes (sRGB) a pixel.
    pub rgb: Vec<u8>,
    /// When it was taken; `None`: there is none yet.
    pub captured: Option<Instant>,
}

/// How a camera is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Health {
    /// Whether its source is open.
    pub connected: bool,
    /// What the source delivers.
    pub mode: Option<Mode>,
    /// Pictures since the start.
    pub pictures: u64,
    /// Bytes of them as they came.
    pub bytes: u64,
    /// Pictures that were unusable.
    pub broken: u64,
    /// How often the source was lost.
    pub losses: u64,
    /// What is wrong now, or was wrong with the last unusable picture.
    pub problem: Option<Arc<str>>,
    /// What is worth telling about the open source.
    pub notes: Arc<[String]>,
}

/// Pauses between attempts to open a source.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// The first pause.
    pub first: Duration,
    /// The longest; each is twice the one before up to it.
    pub longest: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_millis(250), longest: Duration::from_secs(4) }
    }
}

#[derive(Default)]
struct State {
    picture: Picture,
    /// Nobody has taken the picture yet.
    fresh: bool,
    health: Health,
    stop: bool,
}

struct Shared {
    state: Mutex<State>,
    /// Something in the state has changed.
    changed: Condvar,
    /// Width and height asked for, in the upper and lower half.
    size: AtomicU64,
}

impl Shared {
    /// Each change is one step, so a panic elsewhere cannot have left the state half done.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn size(&self) -> (u32, u32) {
        let both = self.size.load(Ordering::Relaxed);
        ((both >> 32) as u32, both as u32)
    }

    /// Changes the health, or says that the camera shall end.
    fn tell(&self, change: impl FnOnce(&mut Health)) -> bool {
        let mut state = self.lock();
        change(&mut state.health);
        let go_on = !state.stop;
        drop(state);
        self.changed.notify_all();
        go_on
    }

    /// Waits, unless the camera shall end.
    fn pause(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut state = self.lock();
        while !state.stop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        false
    }
}

/// A camera and its thread; dropping it closes the camera.
pub struct RealCamera {
    name: String,
    source: String,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl RealCamera {
    /// Starts the thread of the camera `name`, whose source is called `source` in messages.
    ///
    /// # Errors
    /// When the system has no thread for it.
    pub fn start(
        name: &str,
        source: &str,
        opener: Box<dyn Opener>,
        (size, fps): ((u32, u32), u32),
        backoff: Backoff,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            size: AtomicU64::new(u64::from(size.0) << 32 | u64::from(size.1)),
        });
        let of_thread = shared.clone();
        let thread = std::thread::Builder::new()
            .name(format!("camera-{name}"))
            .spawn(move || run(&of_thread, opener, fps, backoff))?;
        Ok(Self { name: name.into(), source: source.into(), shared, thread: Some(thread) })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its source is called.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Asks for pictures of this size, pixels; the ones taken from now on have it.
    pub fn want(&self, (width, height): (u32, u32)) {
        self.shared.size.store(u64::from(width) << 32 | u64::from(height), Ordering::Relaxed);
    }

    /// Exchanges `picture` for a newer one of the size asked for, if there is one, and refreshes `health`. Never waits:
    /// while the thread is just handing over a picture, the next call gets it.
    pub fn take(&self, picture: &mut Picture, health: &mut Health) -> bool {
        let Ok(mut state) = self.shared.state.try_lock() else { return false };
        if *health != state.health {
            health.clone_from(&state.health);
        }
        let right = (state.picture.width, state.picture.height) == self.shared.size();
        let new = std::mem::take(&mut state.fresh) && right;
        if new {
            std::mem::swap(picture, &mut state.picture);
        }
        new
    }

    /// How it is.
    pub fn health(&self) -> Health {
        self.shared.lock().health.clone()
    }

    /// Waits until `done` says so of the camera's health, at most this long; whether it did.
    pub fn wait(&self, patience: Duration, mut done: impl FnMut(&Health) -> bool) -> bool {
        let until = Instant::now() + patience;
        let mut state = self.shared.lock();
        loop {
            if done(&state.health) {
                return true;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for a picture of the size asked for that nobody has taken yet, at most this long; whether there is one.
    pub fn wait_for_picture(&self, patience: Duration) -> bool {
        let shared = &self.shared;
        let until = Instant::now() + patience;
        let mut state = shared.lock();
        while !(state.fresh && (state.picture.width, state.picture.height) == shared.size()) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl Drop for RealCamera {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.changed.notify_all();
        let Some(thread) = self.thread.take() else { return };
        let until = Instant::now() + PATIENCE;
        while !thread.is_finished() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(2));
        }
        if thread.is_finished() {
            // It catches its panics itself.
            let _ = thread.join();
        }
    }
}

/// Runs code of drivers and decoders; a panic in it is a fault like any other.
fn guarded<T>(run: impl FnOnce() -> Result<T, SourceFault>) -> Result<T, SourceFault> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Err(SourceFault::Lost("its driver failed".into())))
}

fn run(shared: &Shared, mut opener: Box<dyn Opener>, fps: u32, backoff: Backoff) {
    // Control ticks come first.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::nice(5);
    let mut pause = backoff.first;
    let mut worker = Worker::default();
    loop {
        let size = shared.size();
        let opened = guarded(|| opener.open(size, fps).map_err(|error| SourceFault::Lost(error.to_string())));
        let fault = match opened {
            Ok(mut source) => {
                let mode = source.mode();
                let go_on = shared.tell(|health| {
                    (health.connected, health.mode, health.problem) = (true, Some(mode), None);
                });
                if !go_on {
                    return;
                }
                let before = worker.pictures;
                let end = worker.deliver(shared, source.as_mut(), size);
                drop(source);
                if worker.pictures > before {
                    pause = backoff.first;
                }
                match end {
                    End::Asked => return,
                    // Another size: opened again at once.
                    End::Size => continue,
                    End::Fault(fault) => {
                        shared.tell(|health| health.losses += 1);
                        fault
                    }
                }
            }
            Err(SourceFault::Lost(fault) | SourceFault::Broken(fault)) => fault,
        };
        let go_on = shared.tell(|health| {
            health.connected = false;
            health.problem = Some(fault.into());
        });
        if !go_on || !shared.pause(pause) {
            return;
        }
        pause = (pause * 2).min(backoff.longest);
    }
}

/// Why pictures ceased to come.
enum End {
    Asked,
    Size,
    Fault(String),
}

#[derive(Default)]
struct Worker {
    decoder: Decoder,
    fitter: Fitter,
    /// The picture being made.
    next: Picture,
    pictures: u64,
}

impl Worker {
    /// Delivers pictures until there are no more. The source was opened for pictures of the size `opened_for`, which is as
    /// near as it can come.
    fn deliver(&mut self, shared: &Shared, source: &mut dyn Source, opened_for: (u32, u32)) -> End {
        let mut broken = 0;
        loop {
            let size = shared.size();
            if size != opened_for && !source.suits(size) {
                return End::Size;
            }
            let fault = match guarded(|| self.picture(source, size)) {
                Ok(bytes) => {
                    broken = 0;
                    self.pictures += 1;
                    let mut state = shared.lock();
                    std::mem::swap(&mut state.picture, &mut self.next);
                    state.fresh = true;
                    state.health.pictures += 1;
                    state.health.bytes += bytes;
                    if *state.health.notes != *source.notes() {
                        state.health.notes = source.notes().into();
                    }
                    let stop = state.stop;
                    drop(state);
                    shared.changed.notify_all();
                    if stop {
                        return End::Asked;
                    }
                    continue;
                }
                Err(fault) => fault,
            };
            let problem = match fault {
                SourceFault::Lost(problem) => return End::Fault(problem),
                SourceFault::Broken(problem) => problem,
            };
            broken += 1;
            let told = Some(problem.as_str().into());
            let go_on = shared.tell(|health| {
                health.broken += 1;
                health.problem = told;
            });
            if !go_on {
                return End::Asked;
            }
            if broken >= MOST_BROKEN {
                return End::Fault(format!("{MOST_BROKEN} unusable pictures in a row, the last: {problem}"));
            }
        }
    }

    /// Makes the next picture; the bytes it took.
    fn picture(&mut self, source: &mut dyn Source, size: (u32, u32)) -> Result<u64, SourceFault> {
        let capture = source.next()?;
        let (rgb, width, height) = self.decoder.decode(&capture).map_err(SourceFault::Broken)?;
        let next = &mut self.next;
        self.fitter.fit(rgb, (width, height), &mut next.rgb, (size.0 as usize, size.1 as usize));
        (next.width, next.height) = size;
        next.captured = Some(capture.captured);
        Ok(capture.data.len() as u64)
    }
}
