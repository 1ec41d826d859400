//! What a person sees of a recording session, at a glance.

use super::session::{Phase, Why};
use crate::dataset::Load;

/// How much room the disk has.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Disk {
    /// Free bytes; `None` where the system does not say.
    pub free_bytes: Option<u64>,
    /// How long recording could go on, s; `None` as long as that is unknown.
    pub lasts_s: Option<f64>,
    /// Less than a quarter of an hour, or than ten times the reserve, is left.
    pub is_low: bool,
    /// The reserve is reached: nothing more is begun.
    pub is_full: bool,
}

/// With less time than this left the disk counts as low, s.
const LOW_S: f64 = 900.0;

impl Disk {
    /// The room on a disk with `free_bytes`, of which `reserve_bytes` are not touched, at a rate of writing.
    pub fn new(free_bytes: Option<u64>, reserve_bytes: u64, bytes_per_s: Option<f64>) -> Self {
        let usable = free_bytes.map(|free| free.saturating_sub(reserve_bytes));
        let lasts_s = usable.zip(bytes_per_s.filter(|rate| *rate > 0.0)).map(|(usable, rate)| usable as f64 / rate);
        let scarce = free_bytes.is_some_and(|free| free < reserve_bytes.saturating_mul(10));
        Self {
            free_bytes,
            lasts_s,
            is_low: lasts_s.map_or(scarce, |lasts_s| lasts_s < LOW_S),
            is_full: usable == Some(0),
        }
    }
}

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// Where the session stands.
    pub phase: Phase,
    /// Whether time stands still.
    pub paused: bool,
    /// Number of the present or next episode, from 1.
    pub number: usize,
    /// Episodes the dataset shall have.
    pub of: usize,
    /// Episodes it has.
    pub have: usize,
    /// Time in this phase, s.
    pub elapsed_s: f64,
    /// Time until it ends by itself, s.
    pub left_s: Option<f64>,
    /// Rows of the present episode that came more than half a tick late, and its rows.
    pub late: usize,
    /// Rows of the present episode.
    pub rows: usize,
    /// Each camera and the age of its picture, s.
    pub cameras: Vec<(String, f64)>,
    /// The disk.
    pub disk: Disk,
    /// How far encoding is behind.
    pub queue: Load,
    /// What the person should know.
    pub message: Option<String>,
}

impl Status {
    /// The phase in a word or two.
    pub fn title(&self) -> &'static str {
        match self.phase {
            _ if self.paused => "paused",
            Phase::WarmUp => "warm-up",
            Phase::Ready => "ready",
            Phase::Recording => "recording",
            Phase::Ending => "ending",
            Phase::Complete => "complete",
            Phase::Stopped(Why::Asked) => "stopped",
            Phase::Stopped(Why::DiskFull) => "stopped: disk full",
        }
    }

    /// Oldest picture of a camera, s.
    pub fn oldest_picture_s(&self) -> Option<f64> {
        self.cameras.iter().map(|camera| camera.1).reduce(f64::max)
    }

    /// Everything in one line of at most `width` characters, the most important first.
    pub fn line(&self, width: usize) -> String {
        let mark = if self.phase == Phase::Recording && !self.paused { "* " } else { "" };
        let mut parts = vec![format!("{mark}{}", self.title()), format!("episode {} of {}", self.number, self.of)];
        parts.push(match self.left_s {
            Some(left_s) => format!("{} left", clock(left_s)),
            None => clock(self.elapsed_s),
        });
        if let Some(message) = &self.message {
            parts.push(message.clone());
        }
        if self.disk.is_low {
            parts.push("DISK LOW".into());
        }
        parts.push(format!("late {}", self.late));
        if let Some(age_s) = self.oldest_picture_s() {
            parts.push(format!("pictures {:.0} ms", age_s * 1e3));
        }
        let lost = if self.queue.lost > 0 { format!(", {} lost", self.queue.lost) } else { String::new() };
        parts.push(format!("queue {}/{}{lost}", self.queue.waiting, self.queue.capacity));
        parts.extend(self.disk.free_bytes.map(|free| format!("disk {}", size(free))));
        let line = parts.join("  ");
        match line.char_indices().nth(width) {
            Some((end, _)) => line[..end].to_string(),
            None => line,
        }
    }
}

/// Minutes and seconds.
pub fn clock(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64;
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

/// Bytes for people.
pub fn size(bytes: u64) -> String {
    let bytes = bytes as f64;
    match bytes {
        _ if bytes >= 1e12 => format!("{:.1} TB", bytes / 1e12),
        _ if bytes >= 1e9 => format!("{:.1} GB", bytes / 1e9),
        _ => format!("{:.0} MB", bytes / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Status {
        Status {
            phase: Phase::Recording,
            paused: false,
            number: 3,
            of: 10,
            have: 2,
            elapsed_s: 8.0,
            left_s: Some(52.4),
            late: 1,
            rows: 240,
            cameras: vec![("front".into(), 0.004), ("wrist".into(), 0.031)],
            disk: Disk::new(Some(12_300_000_000), 500_000_000, None),
            queue: Load { waiting: 2, capacity: 64, lost: 0 },
            message: None,
        }
    }

    #[test]
    fn the_line_tells_what_matters_first_and_is_cut_at_the_end() {
        let line = status().line(200);
        assert_eq!(line, "* recording  episode 3 of 10  0:52 left  late 1  pictures 31 ms  queue 2/64  disk 12.3 GB");
        assert_eq!(status().line(20), "* recording  episode");
        let waiting = Status { phase: Phase::Ready, left_s: None, paused: true, ..status() };
        assert!(waiting.line(99).starts_with("paused  episode 3 of 10  0:08"));
    }

    #[test]
    fn the_disk_is_low_before_it_is_full() {
        let disk = |free, rate| Disk::new(Some(free), 1000, rate);
        assert!(!disk(1_000_000, Some(1.0)).is_low && !disk(1_000_000, None).is_low);
        assert!(disk(1_500, Some(1.0)).is_low && !disk(1_500, Some(1.0)).is_full);
        assert!(disk(9_000, None).is_low, "without a rate the reserve is the measure");
        assert!(disk(1_000, None).is_full && disk(7, Some(1.0)).is_full);
        assert_eq!(Disk::new(None, 1000, Some(1.0)), Disk::default());
    }
}
