//! Decoded pictures of a whole dataset: in memory while they fit, else in a file that is gone with its owner.

use super::loader::{CameraInput, LoadError};
use crate::dataset::{Dataset, Image, schema};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Share of the free memory that pictures may take.
const MEMORY_SHARE: f64 = 0.4;
/// Memory that is taken when the system does not tell how much is free, bytes.
const UNKNOWN_MEMORY: u64 = 1 << 30;

/// Files made so far: several datasets have one each.
static FILES: AtomicUsize = AtomicUsize::new(0);

/// Pictures by row: for each camera width * height * 3 bytes.
#[derive(Debug, Default)]
pub struct PictureCache {
    row_bytes: usize,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Memory(Vec<u8>),
    Disk { file: File, path: PathBuf },
}

impl Default for Place {
    fn default() -> Self {
        Self::Memory(Vec::new())
    }
}

impl Drop for PictureCache {
    fn drop(&mut self) {
        if let Place::Disk { path, .. } = &self.place {
            // What is left behind is found under a telling name.
            let _ = std::fs::remove_file(path);
        }
    }
}

impl PictureCache {
    /// Decodes the pictures of all rows, on all cores.
    pub(super) fn decode(
        root: &Path,
        cameras: &[CameraInput],
        rows: usize,
        scratch: &Path,
        progress: &(dyn Fn(usize) + Sync),
    ) -> Result<Self, LoadError> {
        let row_bytes: usize = cameras.iter().map(|camera| 3 * camera.width * camera.height).sum();
        let total = (row_bytes * rows) as u64;
        if total == 0 {
            return Ok(Self::default());
        }
        let free = free_memory_bytes().map_or(UNKNOWN_MEMORY, |free| (free as f64 * MEMORY_SHARE) as u64);
        let mut place = if total <= free {
            Place::Memory(vec![0; row_bytes * rows])
        } else {
            let number = FILES.fetch_add(1, Ordering::Relaxed);
            let path = scratch.join(format!("decoded-pictures-{}-{number}.tmp", std::process::id()));
            let file = File::options().create(true).truncate(true).read(true).write(true).open(&path);
            Place::Disk { file: file.map_err(LoadError::Cache)?, path }
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(rows);
        let share = rows.div_ceil(threads);
        match &mut place {
            Place::Memory(bytes) => in_parallel(bytes.chunks_mut(share * row_bytes).enumerate(), |(number, part)| {
                let dataset = Dataset::open(root)?;
                for (row, to) in part.chunks_exact_mut(row_bytes).enumerate() {
                    read_row(&dataset, number * share + row, cameras, to)?;
                    progress(1);
                }
                Ok(())
            })?,
            Place::Disk { file, .. } => {
                let file: &File = file;
                in_parallel(0..threads, |number| {
                    let dataset = Dataset::open(root)?;
                    let mut bytes = vec![0; row_bytes];
                    for row in number * share..((number + 1) * share).min(rows) {
                        read_row(&dataset, row, cameras, &mut bytes)?;
                        write_at(file, &bytes, (row * row_bytes) as u64).map_err(LoadError::Cache)?;
                        progress(1);
                    }
                    Ok(())
                })?;
            }
        }
        Ok(Self { row_bytes, place })
    }

    /// Copies the pictures of a row into `to`.
    pub(super) fn read(&self, row: usize, to: &mut [u8]) -> io::Result<()> {
        match &self.place {
            Place::Memory(bytes) => {
                let from = bytes.get(row * self.row_bytes..(row + 1) * self.row_bytes);
                to.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
            Place::Disk { file, .. } => read_at(file, to, (row * self.row_bytes) as u64),
        }
    }
}

fn in_parallel<T: Send>(
    parts: impl Iterator<Item = T>,
    work: impl Fn(T) -> Result<(), LoadError> + Sync,
) -> Result<(), LoadError> {
    let work = &work;
    std::thread::scope(|scope| {
        let threads: Vec<_> = parts.map(|part| scope.spawn(move || work(part))).collect();
        // A thread that panicked has said so; its rows are missing.
        let lost = || LoadError::Cache(io::Error::other("a decoding thread stopped"));
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| Err(lost())))
    })
}

fn read_row(dataset: &Dataset, row: usize, cameras: &[CameraInput], to: &mut [u8]) -> Result<(), LoadError> {
    let mut at = 0;
    for camera in cameras {
        let picture = dataset.frame(row, &format!("{}{}", schema::CAMERA_PREFIX, camera.name))?;
        let size = 3 * camera.width * camera.height;
        resize(&picture, (camera.width, camera.height), &mut to[at..at + size]);
        at += size;
    }
    Ok(())
}

/// Brings a picture to another size, each pixel the mean of the area it covers; `to` holds three bytes a pixel.
pub fn resize(picture: &Image, (width, height): (usize, usize), to: &mut [u8]) {
    if (picture.width, picture.height) == (width, height) && picture.rgb.len() == to.len() {
        to.copy_from_slice(&picture.rgb);
        return;
    }
    let edges = |from: usize, to: usize, index: usize| {
        let (low, high) = (index as f64 * from as f64 / to as f64, (index + 1) as f64 * from as f64 / to as f64);
        let last = (high.ceil() as usize).min(from);
        (low.floor() as usize..last).map(move |at| {
            let share = (high.min(at as f64 + 1.0) - low.max(at as f64)).max(0.0);
            (at, share as f32)
        })
    };
    for y in 0..height {
        for x in 0..width {
            let (mut sums, mut area) = ([0.0f32; 3], 0.0f32);
            for (row, tall) in edges(picture.height, height, y) {
                for (column, wide) in edges(picture.width, width, x) {
                    let share = tall * wide;
                    let Some(pixel) = picture.rgb.get(3 * (row * picture.width + column)..).filter(|p| p.len() >= 3)
                    else {
                        continue;
                    };
                    sums.iter_mut().zip(pixel).for_each(|(sum, byte)| *sum += share * f32::from(*byte));
                    area += share;
                }
            }
            let pixel = &mut to[3 * (y * width + x)..][..3];
            pixel.iter_mut().zip(sums).for_each(|(byte, sum)| *byte = (sum / area.max(1e-6)).round() as u8);
        }
    }
}

#[cfg(unix)]
fn read_at(file: &File, to: &mut [u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, to, at)
}

#[cfg(unix)]
fn write_at(file: &File, from: &[u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, from, at)
}

#[cfg(windows)]
fn read_at(file: &File, to: &mut [u8], at: u64) -> io::Result<()> {
    let mut done = 0;
    while done < to.len() {
        match std::os::windows::fs::FileExt::seek_read(file, &mut to[done..], at + done as u64)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => done += count,
        }
    }
    Ok(())
}

#[cfg(windows)]
fn write_at(file: &File, from: &[u8], at: u64) -> io::Result<()> {
    let mut done = 0;
    while done < from.len() {
        done += std::os::windows::fs::FileExt::seek_write(file, &from[done..], at + done as u64)?;
    }
    Ok(())
}

/// Memory that can be had without paging, where the system tells.
fn free_memory_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemAvailable:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resizing_keeps_the_mean_of_areas() {
        let picture = Image { width: 4, height: 2, rgb: (0..24).map(|i| i * 10).collect() };
        let mut same = vec![0; 24];
        resize(&picture, (4, 2), &mut same);
        assert_eq!(same, picture.rgb);
        let mut half = vec![0; 6];
        resize(&picture, (2, 1), &mut half);
        // Columns 0 and 1 of both rows, red: 0, 30, 120, 150.
        assert_eq!(half[0], 75);
        let mut larger = vec![0; 8 * 4 * 3];
        resize(&picture, (8, 4), &mut larger);
        assert_eq!(larger[..6], [0, 10, 20, 0, 10, 20]);
    }
}
