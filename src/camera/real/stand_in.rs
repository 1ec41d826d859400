//! What stands in for a camera: a folder of pictures, a video file. Both keep the pace of a camera and start over at
//! their end; what they are too slow for is skipped, as a camera would.

use super::capture::{Capture, Decoder, Encoding};
use super::error::CameraError;
use super::mode::Mode;
use super::source::{Opener, Source, SourceFault};
use crate::dataset::VideoFrames;
use std::borrow::Cow;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Numbers pictures by the clock.
#[derive(Debug)]
struct Pace {
    start: Instant,
    fps: f64,
    /// The next picture.
    next: u64,
}

impl Pace {
    fn new(fps: f64) -> Self {
        Self { start: Instant::now(), fps, next: 0 }
    }

    /// Waits for the next picture; its number and time.
    fn wait(&mut self) -> (u64, Instant) {
        let due_now = (self.start.elapsed().as_secs_f64() * self.fps) as u64;
        let number = self.next.max(due_now);
        self.next = number + 1;
        let time = self.start + Duration::from_secs_f64(number as f64 / self.fps);
        std::thread::sleep(time.saturating_duration_since(Instant::now()));
        (number, time)
    }
}

/// Reads a PNG or JPEG file into RGB: bytes, width, height.
///
/// # Errors
/// What is wrong with it, in words.
pub fn read_picture(path: &Path) -> Result<(Vec<u8>, usize, usize), String> {
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    if is_png(path) {
        return decode_png(&bytes);
    }
    let (width, height, data) = (0, 0, Cow::Owned(bytes));
    let capture = Capture { encoding: Encoding::Jpeg, width, height, data, captured: Instant::now() };
    Decoder::default().decode(&capture).map(|(rgb, width, height)| (rgb.to_vec(), width, height))
}

fn is_png(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("png"))
}

fn decode_png(bytes: &[u8]) -> Result<(Vec<u8>, usize, usize), String> {
    let mut decoder = png::Decoder::new(Cursor::new(bytes));
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().map_err(|error| error.to_string())?;
    let size = reader.output_buffer_size().filter(|size| *size <= 1 << 28).ok_or("it is too large")?;
    let mut bytes = vec![0; size];
    let info = reader.next_frame(&mut bytes).map_err(|error| error.to_string())?;
    bytes.truncate(info.buffer_size());
    let rgb = match info.color_type {
        png::ColorType::Rgb => bytes,
        png::ColorType::Rgba => bytes.chunks_exact(4).flat_map(|p| [p[0], p[1], p[2]]).collect(),
        png::ColorType::Grayscale => bytes.iter().flat_map(|&y| [y; 3]).collect(),
        png::ColorType::GrayscaleAlpha => bytes.chunks_exact(2).flat_map(|p| [p[0]; 3]).collect(),
        png::ColorType::Indexed => return Err("its palette cannot be read".into()),
    };
    Ok((rgb, info.width as usize, info.height as usize))
}

/// The PNG and JPEG files of a folder, sorted by name.
#[derive(Clone, Debug)]
pub struct FolderOpener {
    /// The folder.
    pub path: PathBuf,
    /// Pictures per second.
    pub fps: f64,
}

impl Opener for FolderOpener {
    fn open(&mut self, _: (u32, u32), _: u32) -> Result<Box<dyn Source>, CameraError> {
        let place = self.path.display().to_string();
        let fail = |problem: String| CameraError::open(&*place, problem, "give a folder with PNG or JPEG files");
        let is_picture = |path: &Path| {
            let extension = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
            extension.is_some_and(|e| ["png", "jpg", "jpeg"].contains(&&*e))
        };
        let entries = std::fs::read_dir(&self.path).map_err(|error| fail(error.to_string()))?;
        let mut files: Vec<PathBuf> =
            entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| is_picture(path)).collect();
        files.sort();
        let first = files.first().ok_or_else(|| fail("there is no picture in it".into()))?;
        let (_, width, height) = read_picture(first).map_err(|problem| {
            CameraError::open(first.display().to_string(), problem, "remove it from the folder or write it anew")
        })?;
        let encoding = if is_png(first) { Encoding::Rgb } else { Encoding::Jpeg };
        let (width, height, fps) = (width as u32, height as u32, self.fps.round().max(1.0) as u32);
        Ok(Box::new(Folder { files, mode: Mode { width, height, fps, encoding }, pace: Pace::new(self.fps) }))
    }
}

struct Folder {
    files: Vec<PathBuf>,
    mode: Mode,
    pace: Pace,
}

impl Source for Folder {
    fn next(&mut self) -> Result<Capture<'_>, SourceFault> {
        let (number, captured) = self.pace.wait();
        let file = &self.files[(number % self.files.len() as u64) as usize];
        let broken = |problem: String| SourceFault::Broken(format!("{}: {problem}", file.display()));
        let bytes = std::fs::read(file).map_err(|error| match error.kind() {
            // A whole folder that is gone is a camera unplugged.
            std::io::ErrorKind::NotFound if !file.parent().is_some_and(Path::exists) => {
                SourceFault::Lost("the folder is gone".into())
            }
            _ => broken(error.to_string()),
        })?;
        if !is_png(file) {
            let (width, height) = (self.mode.width, self.mode.height);
            return Ok(Capture { encoding: Encoding::Jpeg, width, height, data: bytes.into(), captured });
        }
        let (rgb, width, height) = decode_png(&bytes).map_err(broken)?;
        let (width, height) = (width as u32, height as u32);
        Ok(Capture { encoding: Encoding::Rgb, width, height, data: rgb.into(), captured })
    }

    fn mode(&self) -> Mode {
        self.mode
    }

    fn suits(&self, _: (u32, u32)) -> bool {
        true
    }
}

/// An mp4 file with H.264 or AV1.
#[derive(Clone, Debug)]
pub struct VideoOpener {
    /// The file.
    pub path: PathBuf,
    /// Pictures per second; `None` as the file says.
    pub fps: Option<f64>,
}

impl Opener for VideoOpener {
    fn open(&mut self, _: (u32, u32), _: u32) -> Result<Box<dyn Source>, CameraError> {
        let place = self.path.display().to_string();
        let fail = |problem: String| CameraError::open(&*place, problem, "give an mp4 file with H.264 or AV1 video");
        let frames = VideoFrames::open(&self.path).map_err(|error| fail(error.to_string()))?;
        let fps = self.fps.unwrap_or(frames.fps()).clamp(1.0, 240.0);
        let (width, height) = (frames.width() as u32, frames.height() as u32);
        let mode = Mode { width, height, fps: fps.round() as u32, encoding: Encoding::Rgb };
        Ok(Box::new(VideoFile { frames, mode, pace: Pace::new(fps) }))
    }
}

struct VideoFile {
    frames: VideoFrames,
    mode: Mode,
    pace: Pace,
}

impl Source for VideoFile {
    fn next(&mut self) -> Result<Capture<'_>, SourceFault> {
        let (number, captured) = self.pace.wait();
        let count = self.frames.len().max(1) as u64;
        let image = self.frames.shown((number % count) as usize).map_err(|e| SourceFault::Broken(e.to_string()))?;
        let (width, height) = (image.width as u32, image.height as u32);
        Ok(Capture { encoding: Encoding::Rgb, width, height, data: image.rgb.into(), captured })
    }

    fn mode(&self) -> Mode {
        self.mode
    }

    fn suits(&self, _: (u32, u32)) -> bool {
        true
    }
}
