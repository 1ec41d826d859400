//! The driver's clock: the system's in use, a simulated one in accelerated tests.

use std::sync::Arc;
use std::time::{Duration, Instant};

/// A monotonic clock that can also be waited on.
pub trait Clock: Send + Sync {
    /// Time since some fixed moment.
    fn now(&self) -> Duration;
    /// Wait until `moment`; returns at once if it has passed.
    fn sleep_until(&self, moment: Duration);
}

/// The system's monotonic clock.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock that starts at 0 now.
    pub fn shared() -> Arc<dyn Clock> {
        Arc::new(SystemClock { start: Instant::now() })
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn sleep_until(&self, moment: Duration) {
        if let Some(left) = moment.checked_sub(self.now()) {
            std::thread::sleep(left);
        }
    }
}
