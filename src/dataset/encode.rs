//! The encoding thread of a camera: it turns pictures into journal records while the next ones are recorded.

use super::error::{DatasetError, Result};
use super::h264::{GOP, GOP_UNDER_LOAD, H264Encoder};
use super::journal::{JournalWriter, append_packet, append_setup, camera_file};
use super::measure::{FrameMeasure, Measurer, Thumbnail};
use super::mp4::Track;
use super::pixels::Image;
use super::queue::{Queue, Taker};
use super::schema::CameraSpec;
use super::stats::{ImageStats, Stats};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// A camera's part of a finished episode; its bytes lie in the journal.
pub(crate) struct Encoded {
    pub(crate) track: Track,
    pub(crate) stats: Stats,
    pub(crate) report: CameraReport,
}

/// What was noticed about a camera's pictures while they were encoded.
#[derive(Debug, Clone, Default)]
pub struct CameraReport {
    /// The camera's feature key.
    pub key: String,
    /// One entry a frame.
    pub frames: Vec<FrameMeasure>,
    /// The first picture, small.
    pub first: Option<Thumbnail>,
    /// Rows whose picture was lost because encoding could not keep up; the picture before stands in.
    pub lost: Vec<usize>,
}

enum Order {
    Start(PathBuf),
    Picture(Arc<Image>),
    /// In place of a picture for which the queue had no room.
    Repeat,
    End(Sender<Result<Encoded>>),
    /// Leave the journal as it is.
    Stop,
}

/// How far encoding is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Pictures waiting.
    pub waiting: usize,
    /// Pictures that may wait.
    pub capacity: usize,
    /// Pictures replaced by the one before them, since the writer was opened.
    pub lost: usize,
}

/// What encoding gives up when it cannot keep up, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Pressure {
    /// Nothing.
    #[default]
    None,
    /// Key frames are further apart: about twice as fast to encode, slower to look into.
    FewerKeyFrames,
    /// A new picture is replaced by the one before it. Rows are never lost.
    LosesPictures,
}

impl Load {
    /// What is given up now.
    pub fn pressure(&self) -> Pressure {
        match () {
            () if self.waiting >= self.capacity && self.capacity > 0 => Pressure::LosesPictures,
            () if self.waiting * 2 > self.capacity => Pressure::FewerKeyFrames,
            () => Pressure::None,
        }
    }
}

struct Shared {
    orders: Queue<Order>,
    waiting: AtomicUsize,
    lost: AtomicUsize,
    capacity: usize,
}

/// Where a thread leaves the error that ends an episode, for the recording side to find at its next row.
pub(crate) type Trouble = Arc<Mutex<Option<DatasetError>>>;

/// Leaves an error unless one is already there.
pub(crate) fn report(trouble: &Trouble, error: DatasetError) {
    trouble.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
}

/// Handle of a camera's thread.
pub(crate) struct CameraEncoder {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl CameraEncoder {
    /// Starts the thread for camera number `index`; at most `capacity` pictures wait.
    pub(crate) fn start(index: usize, spec: &CameraSpec, fps: u32, capacity: usize, trouble: Trouble) -> Result<Self> {
        let (waiting, lost) = Default::default();
        let shared = Arc::new(Shared { orders: Queue::default(), waiting, lost, capacity: capacity.max(2) });
        let (for_thread, spec) = (shared.clone(), spec.clone());
        let thread = std::thread::Builder::new()
            .name(format!("encode-{}", spec.name))
            .spawn(move || run(&for_thread, index, &spec, fps, &trouble))
            .map_err(|source| DatasetError::Io { path: "a thread".into(), action: "start", source })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Begins an episode whose journal lies in `dir`.
    pub(crate) fn begin(&self, dir: &Path) {
        self.shared.orders.leave(Order::Start(dir.to_path_buf()));
    }

    /// Hands over a picture without waiting. With a full queue the picture is lost and counted.
    pub(crate) fn push(&self, image: Arc<Image>) {
        if self.load().pressure() == Pressure::LosesPictures {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
            self.shared.orders.leave(Order::Repeat);
        } else {
            self.shared.waiting.fetch_add(1, Ordering::Relaxed);
            self.shared.orders.leave(Order::Picture(image));
        }
    }

    /// Ends the episode; the result arrives when its last picture is encoded.
    pub(crate) fn end(&self, reply: Sender<Result<Encoded>>) {
        self.shared.orders.leave(Order::End(reply));
    }

    /// Ends the episode and forgets it.
    pub(crate) fn stop(&self) {
        self.shared.orders.leave(Order::Stop);
    }

    /// How far the thread is behind.
    pub(crate) fn load(&self) -> Load {
        let shared = &self.shared;
        let (waiting, lost) = (shared.waiting.load(Ordering::Relaxed), shared.lost.load(Ordering::Relaxed));
        Load { waiting, capacity: shared.capacity, lost }
    }

    /// Whether the thread has ended, which it does only by a fault.
    pub(crate) fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for CameraEncoder {
    fn drop(&mut self) {
        self.shared.orders.close();
        if let Some(thread) = self.thread.take() {
            // Its panic, if any, was already reported as a missing result.
            let _ = thread.join();
        }
    }
}

/// An episode in the thread's hands.
struct Recording {
    journal: JournalWriter,
    samples: Vec<(u32, bool)>,
    stats: ImageStats,
    measurer: Measurer,
    last: Option<FrameMeasure>,
    report: CameraReport,
}

/// Lets the recording loop go first. Only Linux lowers the priority of one thread; elsewhere nothing happens.
pub(crate) fn lower_priority() {
    #[cfg(target_os = "linux")]
    {
        // Refused at worst: then the thread stays as important as the others.
        let _ = rustix::process::nice(10);
    }
}

fn run(shared: &Shared, index: usize, spec: &CameraSpec, fps: u32, trouble: &Trouble) {
    lower_priority();
    let mut encoder: Option<H264Encoder> = None;
    let mut recording: Option<Recording> = None;
    for order in Taker(&shared.orders) {
        let is_picture = matches!(order, Order::Picture(_));
        let waiting = shared.waiting.fetch_sub(usize::from(is_picture), Ordering::Relaxed);
        let pressure = Load { waiting, capacity: shared.capacity, lost: 0 }.pressure();
        let gop = if pressure >= Pressure::FewerKeyFrames { GOP_UNDER_LOAD } else { GOP };
        let done = match order {
            Order::Start(dir) => {
                if let Some(e) = &mut encoder {
                    e.restart();
                }
                JournalWriter::create(camera_file(&dir, index)).map(|journal| {
                    let report = CameraReport { key: spec.key(), ..CameraReport::default() };
                    let (stats, measurer) = Default::default();
                    recording = Some(Recording { journal, samples: Vec::new(), stats, measurer, last: None, report });
                })
            }
            Order::Picture(image) => add(&mut encoder, recording.as_mut(), spec, fps, Some(&image), gop),
            Order::Repeat => add(&mut encoder, recording.as_mut(), spec, fps, None, gop),
            Order::End(reply) => {
                let lost = DatasetError::Thread { thread: "encoding" };
                let result = recording.take().ok_or(lost).and_then(|r| finish(r, encoder.as_ref(), spec, fps));
                // Nobody listening means that the writer is being closed.
                let _ = reply.send(result);
                Ok(())
            }
            Order::Stop => {
                recording = None;
                Ok(())
            }
        };
        if let Err(error) = done {
            recording = None;
            report(trouble, error);
        }
    }
}

fn add(
    encoder: &mut Option<H264Encoder>,
    recording: Option<&mut Recording>,
    spec: &CameraSpec,
    fps: u32,
    image: Option<&Image>,
    gop: usize,
) -> Result<()> {
    let Some(r) = recording else { return Ok(()) };
    let row = r.samples.len();
    let fail = |problem: String| DatasetError::Video { path: PathBuf::from(spec.key()), frame: row, problem };
    let encoder = match encoder {
        Some(encoder) => encoder,
        None => encoder.insert(H264Encoder::new(spec.width, spec.height, fps).map_err(&fail)?),
    };
    let packet = match image {
        Some(image) => {
            let packet = encoder.encode(image, gop).map_err(&fail)?;
            r.stats.add(image);
            r.last = Some(r.measurer.luma(encoder.luma(), spec.width, spec.height));
            packet
        }
        None => {
            r.report.lost.push(row);
            r.last = r.last.map(|m| FrameMeasure { change: 0.0, ..m });
            encoder.encode_again(gop).map_err(&fail)?
        }
    };
    r.report.frames.push(r.last.unwrap_or_default());
    if row == 0 {
        let setup = encoder.setup().ok_or_else(|| fail("the encoder gave no parameter sets".into()))?;
        append_setup(&mut r.journal, setup)?;
    }
    append_packet(&mut r.journal, &packet)?;
    r.samples.push((packet.bytes.len() as u32, packet.key));
    // Once a second what was recorded becomes safe from a power cut as well.
    if r.samples.len().is_multiple_of(fps as usize) {
        r.journal.sync()?;
    }
    Ok(())
}

fn finish(mut r: Recording, encoder: Option<&H264Encoder>, spec: &CameraSpec, fps: u32) -> Result<Encoded> {
    let fail = || DatasetError::Video { path: spec.key().into(), frame: 0, problem: "no picture was recorded".into() };
    let setup = encoder.and_then(H264Encoder::setup).filter(|_| !r.samples.is_empty()).ok_or_else(fail)?;
    let track = Track { setup: setup.clone(), width: spec.width, height: spec.height, fps, samples: r.samples };
    r.report.first = r.measurer.first.take();
    Ok(Encoded { track, stats: r.stats.finish(), report: r.report })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_frames_are_given_up_before_pictures() {
        let of = |waiting| Load { waiting, capacity: 8, lost: 0 }.pressure();
        let told: Vec<Pressure> = (0..=9).map(of).collect();
        assert!(told.is_sorted());
        assert_eq!((told[4], told[5], told[7]), (Pressure::None, Pressure::FewerKeyFrames, Pressure::FewerKeyFrames));
        assert_eq!((told[8], told[9]), (Pressure::LosesPictures, Pressure::LosesPictures));
        assert_eq!(Load::default().pressure(), Pressure::None, "without cameras there is nothing to give up");
    }
}
