//! A queue from the recording loop to a background thread. Things are left in it without waking the thread, which
//! looks by itself every few milliseconds: waking it would let it run in the recording loop's place (measured: up to
//! 14 ms on a loaded machine with two cores).

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often the thread looks.
const LOOK: Duration = Duration::from_millis(10);

#[derive(Debug)]
struct Inner<T> {
    items: VecDeque<T>,
    /// No more items will come.
    closed: bool,
    /// Nobody takes items any more.
    abandoned: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    inner: Mutex<Inner<T>>,
    ready: Condvar,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        let inner = Inner { items: VecDeque::new(), closed: false, abandoned: false };
        Self { inner: Mutex::new(inner), ready: Condvar::new() }
    }
}

impl<T> Queue<T> {
    /// Each change is a single step, so a panic elsewhere cannot have left it half done.
    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an item for the thread to find; false when the thread has ended.
    pub(crate) fn leave(&self, item: T) -> bool {
        let mut inner = self.lock();
        if !inner.abandoned {
            inner.items.push_back(item);
        }
        !inner.abandoned
    }

    /// Adds an item and wakes the thread, for callers who wait for it; false when the thread has ended.
    pub(crate) fn send(&self, item: T) -> bool {
        let taken = self.leave(item);
        self.ready.notify_one();
        taken
    }

    /// Says that no more items will come.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.ready.notify_one();
    }

    /// The next item; `None` once the queue is closed and empty.
    fn next(&self) -> Option<T> {
        let mut inner = self.lock();
        loop {
            if let Some(item) = inner.items.pop_front() {
                return Some(item);
            }
            if inner.closed {
                return None;
            }
            inner = self.ready.wait_timeout(inner, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// The thread's end of a queue. When it is dropped, by a panic too, waiting items are dropped with it, so that nobody
/// waits for an answer to them.
pub(crate) struct Taker<'a, T>(pub(crate) &'a Queue<T>);

impl<T> Iterator for Taker<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.0.next()
    }
}

impl<T> Drop for Taker<'_, T> {
    fn drop(&mut self) {
        let mut inner = self.0.lock();
        inner.abandoned = true;
        let waiting = std::mem::take(&mut inner.items);
        drop(inner);
        drop(waiting);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::mpsc::channel;

    #[test]
    fn items_arrive_in_order_and_an_ended_thread_drops_what_waits() {
        let queue = Arc::new(Queue::default());
        let (reply, answer) = channel::<()>();
        let taker = {
            let queue = queue.clone();
            std::thread::spawn(move || Taker(&queue).take(3).map(|(n, _)| n).collect::<Vec<u32>>())
        };
        for n in 0..3 {
            assert!(queue.leave((n, None)));
        }
        assert_eq!(taker.join().unwrap(), [0, 1, 2]);
        assert!(!queue.send((3, Some(reply))));
        assert!(answer.recv().is_err());
    }
}
