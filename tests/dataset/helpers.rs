//! What the tests of datasets share: rows and pictures that tell who they are, and episodes of them.

use etude::dataset::{
    CameraSpec, Dataset, Event, Image, Outcome, Row, RowExtra, Saved, Source, Spec, Writer, WriterOptions,
};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub const FRONT: &str = "observation.images.front";
pub const WRIST: &str = "observation.images.wrist";

pub fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/lerobot_v30/video")
}

pub fn spec() -> Spec {
    let camera = |name: &str, width, height| CameraSpec { name: name.into(), width, height };
    Spec {
        fps: 30,
        robot_type: "so100_follower".into(),
        joints: ["pan", "lift", "gripper"].map(|j| format!("{j}.pos")).to_vec(),
        cameras: vec![camera("front", 96, 64), camera("wrist", 64, 64)],
        extras: true,
    }
}

/// A picture in which a bright square wanders, so that every frame is told from its neighbours.
pub fn picture(width: usize, height: usize, serial: usize, row: usize) -> Arc<Image> {
    let mut image = Image::filled(width, height, [30, (serial * 37 % 200) as u8, 90]);
    for y in 8..24 {
        for x in 0..16 {
            let at = (y * width + (x + row * 17) % width) * 3;
            image.rgb[at..at + 3].copy_from_slice(&[240, 240, 240]);
        }
    }
    Arc::new(image)
}

/// Row `row` of attempt `serial`; both can be read off it again.
pub fn row(serial: usize, row: usize) -> Row {
    let x = row as f32;
    Row {
        state: vec![serial as f32, x, -x],
        action: vec![x, 1.0, serial as f32 * 0.5],
        images: vec![picture(96, 64, serial, row), picture(64, 64, serial + 1, row)],
        extra: RowExtra {
            capture_s: 100.0 + row as f64 / 30.0,
            late_s: 0.0005,
            load: vec![0.25; 3],
            score: x / 100.0,
            source: Source::Expert,
            ..RowExtra::default()
        },
    }
}

pub fn open(root: &Path) -> Writer {
    Writer::open(root, &spec(), &WriterOptions { waiting_pictures: 1000, ..Default::default() }).unwrap()
}

pub fn record(writer: &mut Writer, serial: usize, rows: usize, task: &str, outcome: Outcome) -> Saved {
    writer.begin(task).unwrap();
    for i in 0..rows {
        writer.push(row(serial, i)).unwrap();
    }
    writer.end(outcome).unwrap();
    match writer.flush().pop() {
        Some(Event::Saved(saved)) => saved,
        other => panic!("not saved: {other:?}"),
    }
}

pub fn mean_difference(a: &Image, b: &Image) -> f64 {
    assert_eq!((a.width, a.height), (b.width, b.height));
    a.rgb.iter().zip(&b.rgb).map(|(x, y)| f64::from(x.abs_diff(*y))).sum::<f64>() / a.rgb.len() as f64
}

/// Every row and picture of an episode is the one that was recorded.
pub fn assert_episode(dataset: &Dataset, episode: usize, serial: usize, rows: usize) {
    assert_part(dataset, episode, serial, 0..rows);
}

/// The episode holds these rows of attempt `serial` and nothing else.
pub fn assert_part(dataset: &Dataset, episode: usize, serial: usize, rows: std::ops::Range<usize>) {
    let found = dataset.episode(episode).unwrap();
    assert_eq!(found.length, rows.len());
    let (state, action) = (dataset.rows("observation.state").unwrap(), dataset.rows("action").unwrap());
    for i in 0..rows.len() {
        let truth = row(serial, rows.start + i);
        assert_eq!(state.row(found.from + i), truth.state, "episode {episode}, row {i}");
        assert_eq!(action.row(found.from + i), truth.action);
        for (camera, image) in [FRONT, WRIST].iter().zip(&truth.images) {
            let read = dataset.frame(found.from + i, camera).unwrap();
            let difference = mean_difference(&read, image);
            assert!(difference < 5.0, "episode {episode}, row {i}, {camera}: mean difference {difference}");
        }
    }
}

/// Runs this test binary again for one test, with an environment variable that makes the test play the other part.
pub fn again(test: &str, shell: Option<&str>, variables: &[(&str, &str)]) -> std::process::Command {
    let program = std::env::current_exe().unwrap();
    let mut command = match shell {
        None => std::process::Command::new(program),
        Some(before) => {
            let mut command = std::process::Command::new("sh");
            command.arg("-c").arg(format!("{before}; exec \"$0\" \"$@\"")).arg(program);
            command
        }
    };
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]).envs(variables.iter().copied());
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    command
}

/// A dataset of episodes with the serial numbers 0, 1, … and these lengths.
pub fn recorded(root: &Path, lengths: &[usize]) {
    let mut writer = open(root);
    for (serial, &rows) in lengths.iter().enumerate() {
        let outcome = if serial % 2 == 0 { Outcome::Success } else { Outcome::Failure };
        record(&mut writer, serial, rows, ["a", "b"][serial % 2], outcome);
    }
}

pub fn assert_all(root: &Path, episodes: &[(usize, usize)]) {
    let dataset = Dataset::open(root).unwrap();
    assert_eq!(dataset.episodes().len(), episodes.len());
    for (i, &(serial, rows)) in episodes.iter().enumerate() {
        assert_episode(&dataset, i, serial, rows);
        let row = dataset.episodes()[i].from;
        assert_eq!(dataset.scalars("index").unwrap()[row], row as f64);
        assert_eq!(dataset.scalars("episode_index").unwrap()[row], i as f64);
        let task = dataset.scalars("task_index").unwrap()[row] as usize;
        assert_eq!(dataset.tasks()[task], ["a", "b"][serial % 2]);
    }
    assert_eq!(dataset.stats("action").unwrap().count, dataset.len() as u64);
}

pub fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() { copy_tree(&path, &target) } else { fs::copy(&path, &target).map(|_| ()).unwrap() }
    }
}

pub fn files(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, out) } else { out.push(path) }
    }
    out.sort();
}
