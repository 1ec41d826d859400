//! Counts frames: to know whether the window ever opened, and to measure how fast it draws.

use crate::ui::quality::Quality;
use bevy::prelude::*;
use serde::Serialize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Time to warm up before frames are counted, s.
const WARM_UP_S: f64 = 2.0;
/// After this many frames the window has opened.
const OPEN_FRAMES: u64 = 3;

/// How fast the window drew.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FrameRate {
    /// Frames per second.
    pub frames_per_s: f64,
    /// Longest time between two frames, ms.
    pub longest_frame_ms: f64,
    /// Processor time per frame over all cores, ms, where the system tells it: what stays comparable on a busy machine.
    pub cpu_ms_per_frame: Option<f64>,
    /// What drew.
    pub adapter: String,
    /// Quality it was drawn with.
    pub quality: &'static str,
}

#[derive(Debug, Default)]
struct Count {
    frames: u64,
    measured: u64,
    seconds: f64,
    longest_s: f64,
    cpu_s: Option<f64>,
}

/// Processor time this process has used, s; from `/proc`, whose clock ticks are hundredths of a second.
fn cpu_s() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<f64>().ok();
    Some((next()? + next()?) / 100.0)
}

/// Frames counted, read after the window has closed.
#[derive(Resource, Clone, Debug, Default)]
pub(super) struct Measured(Arc<Mutex<Count>>);

impl Measured {
    /// Whether the window has been on the screen.
    pub(super) fn started(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).frames >= OPEN_FRAMES
    }

    /// The rate, if it was measured.
    pub(super) fn rate(&self, adapter: &str, quality: Quality) -> Option<FrameRate> {
        let count = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (count.measured > 0 && count.seconds > 0.0).then(|| FrameRate {
            frames_per_s: round(count.measured as f64 / count.seconds),
            longest_frame_ms: round(count.longest_s * 1e3),
            cpu_ms_per_frame: count.cpu_s.map(|cpu_s| round(1e3 * cpu_s / count.measured as f64)),
            adapter: adapter.to_string(),
            quality: quality.name(),
        })
    }
}

fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// Adds the counting; with `measure_s` the window closes after that time.
pub(super) fn add(app: &mut App, measure_s: Option<f64>, measured: Measured) {
    app.insert_resource(measured);
    let mut began: Option<Instant> = None;
    let mut last: Option<Instant> = None;
    let mut cpu_before: Option<f64> = None;
    app.add_systems(Last, move |measured: Res<Measured>, mut exits: MessageWriter<AppExit>| {
        let now = Instant::now();
        let mut count = measured.0.lock().unwrap_or_else(PoisonError::into_inner);
        count.frames += 1;
        let Some(measure_s) = measure_s else { return };
        let since = now.duration_since(*began.get_or_insert(now)).as_secs_f64();
        if since > WARM_UP_S {
            if let Some(last) = last {
                let frame_s = now.duration_since(last).as_secs_f64();
                count.measured += 1;
                count.seconds += frame_s;
                count.longest_s = count.longest_s.max(frame_s);
            }
            if last.is_none() {
                cpu_before = cpu_s();
            }
            last = Some(now);
        }
        if since > WARM_UP_S + measure_s {
            count.cpu_s = cpu_s().zip(cpu_before).map(|(after, before)| after - before);
            exits.write(AppExit::Success);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_counted_is_no_rate() {
        let measured = Measured::default();
        assert!(!measured.started());
        assert_eq!(measured.rate("none", Quality::Low), None);
        *measured.0.lock().unwrap() =
            Count { frames: 60, measured: 40, seconds: 2.0, longest_s: 0.07, cpu_s: Some(1.0) };
        let rate = measured.rate("llvmpipe", Quality::Low).unwrap();
        assert_eq!((rate.frames_per_s, rate.longest_frame_ms, rate.quality), (20.0, 70.0, "low"));
        assert_eq!(rate.cpu_ms_per_frame, Some(25.0));
    }
}
