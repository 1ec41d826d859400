//! Benchmarks of making and reading datasets.

use super::CliError;
use crate::app::{Loaded, RunOptions};
use crate::dataset::Dataset;
use crate::dataset::schema::CAMERA_PREFIX;
use crate::generate::{self, Camera, Settings, Shard, column, world_hash};
use crate::operator::Operator;
use crate::task::expert::Expert;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Making a dataset, everything included: physics, looking ahead, cameras, encoding, writing.
#[derive(Serialize)]
pub(super) struct Generation {
    pub(super) case: &'static str,
    /// Environment ticks per second, all workers together.
    pub(super) ticks_per_second: f64,
    /// Rows of the dataset per second.
    pub(super) rows_per_second: f64,
    pub(super) episodes_per_minute: f64,
    pub(super) workers: usize,
    /// Size of the dataset, bytes a row.
    pub(super) bytes_per_row: f64,
}

/// Reading it again.
#[derive(Serialize)]
pub(super) struct Reading {
    pub(super) case: &'static str,
    pub(super) per_second: f64,
}

/// A folder that is gone afterwards.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left lies among other temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Measures generation with `workers` worlds, and reading.
pub(super) fn measure(
    physics: &str,
    workers: usize,
    mut started: impl FnMut(&'static str),
) -> Result<(Vec<Generation>, Vec<Reading>), CliError> {
    let options = RunOptions { physics: physics.into(), operator: Operator::Outside, ..RunOptions::default() };
    let loaded = Loaded::new(&options)?;
    let scratch = Scratch(std::env::temp_dir().join(format!("etude-bench-{}", std::process::id())));
    // Name, side of the pictures, rows every so many ticks, steps of the chunk, parts a worker makes.
    let cases: [(&'static str, Option<u32>, u32, u32, u64); 4] = [
        ("every tick, no cameras, no chunk", None, 1, 0, 8),
        ("every tick, two cameras of 96x96", Some(96), 1, 0, 2),
        ("every tick, two cameras of 224x224", Some(224), 1, 0, 1),
        ("every third tick, 96x96, chunk of 8", Some(96), 3, 8, 4),
    ];
    let (mut made, mut read) = (Vec::new(), Vec::new());
    for (number, (case, size, every, chunk, parts)) in cases.into_iter().enumerate() {
        started(case);
        let cameras = size.map(|size| ["overview", "wrist"].map(|name| camera(name, size)).to_vec());
        let settings = Settings {
            task: "move_t".into(),
            expert: Expert::Place,
            from: None,
            episodes: parts * workers as u64 * generate::plan::PART_EPISODES,
            seed: 0,
            keep_all: false,
            cameras: cameras.unwrap_or_default(),
            quantiser: super::generate::QUANTISER,
            every,
            control_hz: 30,
            chunk,
            noise_rad: vec![0.0, 0.005, 0.01, 0.015],
            random_start: 0.35,
            wider: 0.1,
            speed: 1.0,
            limit_s: 15.0,
            pilot: None,
            looks: 1,
            look_every: 0,
            worlds_differ: loaded.worlds.ranges(&loaded.scene.scene).is_some(),
            world: world_hash(&loaded, &options),
            etude: env!("CARGO_PKG_VERSION").into(),
        };
        let root = scratch.0.join(number.to_string());
        let done = generate::run(&loaded, &options, &settings, &[], (Shard::default(), workers), &root, |_| {})?;
        let seconds = done.making_s + done.joining_s;
        made.push(Generation {
            case,
            ticks_per_second: done.ticks as f64 / seconds,
            rows_per_second: done.rows as f64 / seconds,
            episodes_per_minute: 60.0 * done.episodes as f64 / seconds,
            workers,
            bytes_per_row: bytes_under(&root) as f64 / done.rows.max(1) as f64,
        });
        if every == 3 {
            started("reading it");
            read = reading(&root)?;
        }
    }
    Ok((made, read))
}

fn camera(name: &str, size: u32) -> Camera {
    Camera { name: name.into(), width: size, height: size }
}

fn reading(root: &Path) -> Result<Vec<Reading>, CliError> {
    let mut found = Vec::new();
    let mut timed = |case: &'static str, count: usize, began: Instant| {
        found.push(Reading { case, per_second: count as f64 / began.elapsed().as_secs_f64() });
    };
    let began = Instant::now();
    let dataset = Dataset::open(root)?;
    dataset.rows(column::CHUNK)?;
    timed("rows with their chunks", dataset.len(), began);
    let keys = ["overview", "wrist"].map(|name| format!("{CAMERA_PREFIX}{name}"));
    let began = Instant::now();
    for key in &keys {
        for row in 0..dataset.len() {
            dataset.frame(row, key)?;
        }
    }
    timed("pictures of 96x96 in their order", 2 * dataset.len(), began);
    let began = Instant::now();
    let count = dataset.len().min(1000);
    for i in 0..count {
        // A stride without common divisor visits rows all over the dataset.
        dataset.frame(i * 7919 % dataset.len(), &keys[i % 2])?;
    }
    timed("pictures of 96x96 in any order", count, began);
    Ok(found)
}

/// Bytes of all files below a folder.
fn bytes_under(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(data) if data.is_dir() => bytes_under(&entry.path()),
            Ok(data) => data.len(),
            Err(_) => 0,
        })
        .sum()
}
