//! Datasets for other tools and eyes: rows as CSV, an episode as a contact sheet.

use super::error::{DatasetError, IoContext, Result};
use super::pixels::Image;
use super::reader::Dataset;
use super::schema::{DEFAULT_COLUMNS, Feature};
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

/// Writes the rows of the named episodes (all when empty) as CSV: episode, frame, timestamp, task, then each number
/// under its name.
///
/// # Errors
/// When the dataset cannot be read or the file not written.
pub fn csv(dataset: &Dataset, episodes: &[usize], path: &Path) -> Result<()> {
    let failed = |e: csv::Error| {
        let source = match e.into_kind() {
            csv::ErrorKind::Io(source) => source,
            other => std::io::Error::other(format!("{other:?}")),
        };
        DatasetError::Io { path: path.into(), action: "write", source }
    };
    let is_extra =
        |f: &&Feature| !f.is_visual() && f.dtype != "string" && !DEFAULT_COLUMNS.iter().any(|c| c.0 == f.key);
    let features: Vec<Feature> = dataset.info().features.iter().filter(is_extra).cloned().collect();
    let mut columns = Vec::new();
    let mut header: Vec<String> = ["episode", "frame", "timestamp", "task"].map(String::from).to_vec();
    for feature in &features {
        // A single number keeps its double precision.
        let values = match feature.width() {
            1 => dataset.scalars(&feature.key)?,
            _ => dataset.rows(&feature.key)?.values.iter().map(|&x| f64::from(x)).collect(),
        };
        columns.push((feature.width(), values));
        for i in 0..feature.width() {
            header.push(match (feature.width(), feature.names.get(i).and_then(|n| n.as_str())) {
                (1, _) => feature.key.clone(),
                (_, Some(name)) => format!("{}.{name}", feature.key),
                (_, None) => format!("{}.{i}", feature.key),
            });
        }
    }
    let tasks = dataset.scalars("task_index")?;
    let mut out = csv::Writer::from_writer(BufWriter::new(File::create(path).at(path, "create")?));
    out.write_record(&header).map_err(failed)?;
    let chosen = |index: usize| episodes.is_empty() || episodes.contains(&index);
    for &index in episodes {
        dataset.episode(index)?;
    }
    for episode in dataset.episodes().iter().filter(|e| chosen(e.index)) {
        for (frame, row) in episode.rows().enumerate() {
            let task = tasks.get(row).and_then(|&t| dataset.tasks().get(t as usize)).cloned().unwrap_or_default();
            let time_s = frame as f64 / f64::from(dataset.info().fps);
            let mut record = vec![episode.index.to_string(), frame.to_string(), format!("{time_s:.6}"), task];
            for (width, values) in &columns {
                record.extend(values[row * width..(row + 1) * width].iter().map(|x| x.to_string()));
            }
            out.write_record(&record).map_err(failed)?;
        }
    }
    out.flush().at(path, "write")
}

/// An episode at a glance: a line for each camera, `count` pictures of equal width from its beginning to its end.
///
/// # Errors
/// When a picture cannot be read, or the dataset has no camera.
pub fn contact_sheet(dataset: &Dataset, episode: usize, count: usize, width: usize) -> Result<Image> {
    const GAP: usize = 4;
    let episode = dataset.episode(episode)?;
    let cameras: Vec<_> = dataset.info().features.iter().filter(|f| f.is_visual()).collect();
    if cameras.is_empty() {
        return Err(DatasetError::request("contact sheet", "the dataset has no camera", "Export the rows instead"));
    }
    let (count, width) = (count.clamp(1, 200), width.clamp(16, 1024));
    let height_of = |f: &Feature| (width * f.shape[0] / f.shape[1].max(1)).max(1);
    let height: usize = cameras.iter().map(|f| height_of(f) + GAP).sum::<usize>() + GAP;
    let mut sheet = Image::filled(count * (width + GAP) + GAP, height, [32; 3]);
    let mut top = GAP;
    for camera in &cameras {
        let small = height_of(camera);
        for i in 0..count {
            let row = (episode.length - 1) * i / (count - 1).max(1);
            let image = dataset.frame(episode.from + row, &camera.key)?;
            paste(&mut sheet, &image, GAP + i * (width + GAP), top, width, small);
        }
        top += small + GAP;
    }
    Ok(sheet)
}

/// Draws `image` into a rectangle, each pixel the mean of those it covers.
fn paste(sheet: &mut Image, image: &Image, left: usize, top: usize, width: usize, height: usize) {
    let span = |i: usize, of: usize, size: usize| {
        let (a, b) = (i * size / of, (i + 1) * size / of);
        a..b.max(a + 1).min(size)
    };
    for y in 0..height {
        for x in 0..width {
            let (mut sum, mut n) = ([0u32; 3], 0);
            for sy in span(y, height, image.height) {
                for sx in span(x, width, image.width) {
                    let pixel = image.pixel(sx, sy);
                    sum.iter_mut().zip(pixel).for_each(|(s, p)| *s += u32::from(p));
                    n += 1;
                }
            }
            let at = ((top + y) * sheet.width + left + x) * 3;
            if let Some(out) = sheet.rgb.get_mut(at..at + 3) {
                out.iter_mut().zip(sum).for_each(|(o, s)| *o = (s / n.max(1)) as u8);
            }
        }
    }
}

/// Writes a picture as PNG.
///
/// # Errors
/// When the file cannot be written.
pub fn png(image: &Image, path: &Path) -> Result<()> {
    let file = BufWriter::new(File::create(path).at(path, "create")?);
    let mut encoder = png::Encoder::new(file, image.width as u32, image.height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let failed = |e: png::EncodingError| {
        let source = match e {
            png::EncodingError::IoError(source) => source,
            other => std::io::Error::other(other.to_string()),
        };
        DatasetError::Io { path: path.into(), action: "write", source }
    };
    let mut writer = encoder.write_header().map_err(failed)?;
    writer.write_image_data(&image.rgb).map_err(failed)?;
    writer.finish().map_err(failed)
}
