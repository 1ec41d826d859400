//! Datasets as their users meet them: LeRobot's own files are read, what is written is read back, and nothing that was
//! finished is lost when the program is killed, the disk is full or a file is damaged.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests; the seed has to be shown")]

use etude::dataset::{
    CameraSpec, Dataset, DatasetError, Event, Image, Outcome, Row, RowExtra, Saved, Source, Spec, Writer,
    WriterOptions, check, edit, export, schema::extra,
};
use proptest::prelude::*;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const FRONT: &str = "observation.images.front";
const WRIST: &str = "observation.images.wrist";

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/lerobot_v30/video")
}

fn spec() -> Spec {
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
fn picture(width: usize, height: usize, serial: usize, row: usize) -> Arc<Image> {
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
fn row(serial: usize, row: usize) -> Row {
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

fn open(root: &Path) -> Writer {
    Writer::open(root, &spec(), &WriterOptions { waiting_pictures: 1000, ..Default::default() }).unwrap()
}

fn record(writer: &mut Writer, serial: usize, rows: usize, task: &str, outcome: Outcome) -> Saved {
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

fn mean_difference(a: &Image, b: &Image) -> f64 {
    assert_eq!((a.width, a.height), (b.width, b.height));
    a.rgb.iter().zip(&b.rgb).map(|(x, y)| f64::from(x.abs_diff(*y))).sum::<f64>() / a.rgb.len() as f64
}

/// Every row and picture of an episode is the one that was recorded.
fn assert_episode(dataset: &Dataset, episode: usize, serial: usize, rows: usize) {
    assert_part(dataset, episode, serial, 0..rows);
}

/// The episode holds these rows of attempt `serial` and nothing else.
fn assert_part(dataset: &Dataset, episode: usize, serial: usize, rows: std::ops::Range<usize>) {
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

#[test]
fn lerobots_own_dataset_is_read_as_lerobot_reads_it() {
    let dataset = Dataset::open(golden()).unwrap();
    assert_eq!(dataset.len(), 155);
    assert_eq!(dataset.episodes().iter().map(|e| e.length).collect::<Vec<_>>(), [60, 45, 50]);
    assert_eq!(dataset.tasks(), ["Push the T onto the outline", "Pick the cube"]);
    assert_eq!(dataset.episode_of(77).unwrap().tasks, ["Pick the cube"]);
    let action = dataset.rows("action").unwrap();
    assert_eq!(action.row(41)[..3], [-43.57879, -44.172_733, -4.154_47]);
    assert_eq!(dataset.rows("observation.state").unwrap().row(154)[..2], [-49.122_63, -18.693_832]);
    assert_eq!(dataset.scalars("index").unwrap()[154], 154.0);
    // Pixels as LeRobot's PyAV gives them (row, camera, colour at (320, 240)); its conversion is 1 to 2 levels darker.
    for (row, camera, colour) in
        [(0, FRONT, [0, 99, 49]), (41, WRIST, [121, 100, 48]), (77, FRONT, [50, 98, 48]), (154, WRIST, [146, 99, 49])]
    {
        let image = dataset.frame(row, camera).unwrap();
        for (a, b) in image.pixel(320, 240).iter().zip(colour) {
            assert!(a.abs_diff(b) <= 3, "row {row}: {:?} is not {colour:?}", image.pixel(320, 240));
        }
    }
    let at_time = dataset.frame_at(1, 17.0 / 30.0, FRONT).unwrap();
    assert_eq!(*at_time, *dataset.frame(77, FRONT).unwrap());
}

#[test]
fn our_statistics_of_lerobots_rows_are_lerobots() {
    let dataset = Dataset::open(golden()).unwrap();
    for key in ["action", "observation.state"] {
        let rows = dataset.rows(key).unwrap();
        for episode in dataset.episodes() {
            let theirs = &episode.stats.iter().find(|s| s.0 == key).unwrap().1;
            let numbers: Vec<f64> = episode.rows().flat_map(|r| rows.row(r)).map(|&x| f64::from(x)).collect();
            let ours = etude::dataset::stats::Stats::of_rows(&numbers, 6);
            assert_eq!(ours.count, theirs.count);
            for ((name, a), (_, b)) in ours.lists().into_iter().zip(theirs.lists()) {
                for (x, y) in a.iter().zip(b) {
                    assert!((x - y).abs() < 0.03, "{key} {name}: {x} is not {y}");
                }
            }
        }
    }
    let merged = etude::dataset::stats::Stats::merge(dataset.episodes().iter().map(|e| &e.stats[0].1)).unwrap();
    let theirs = dataset.stats(&dataset.episodes()[0].stats[0].0).unwrap();
    for ((name, a), (_, b)) in merged.lists().into_iter().zip(theirs.lists()) {
        for (x, y) in a.iter().zip(b) {
            assert!((x - y).abs() < 1e-6, "{name}: {x} is not {y}");
        }
    }
}

#[test]
fn info_json_is_written_byte_for_byte_like_lerobots() {
    let text = fs::read_to_string(golden().join("meta/info.json")).unwrap();
    let info = etude::dataset::Info::parse(Path::new("info.json"), text.as_bytes()).unwrap();
    assert_eq!(info.to_text(), text);
}

#[test]
fn pictures_inside_parquet_files_are_read_and_not_edited() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/lerobot_v30/png");
    let dataset = Dataset::open(&root).unwrap();
    assert_eq!((dataset.episodes().len(), dataset.len(), dataset.info().fps), (2, 8, 10));
    for row in 0..8 {
        let image = dataset.frame(row, FRONT).unwrap();
        assert_eq!((image.width, image.height), (16, 12));
        assert_eq!(image.pixel(0, 0), [(row / 4 * 100) as u8, (row % 4 * 20) as u8, 0]);
        assert_eq!(image.pixel(5, 3), [250, 1, 2]);
    }
    let dir = tempfile::tempdir().unwrap();
    let error = edit::merge(&[root], &dir.path().join("new")).unwrap_err().to_string();
    assert!(error.contains(FRONT) && error.contains("Convert"), "{error}");
}

#[test]
fn windows_are_held_at_the_episodes_ends_and_marked() {
    let dataset = Dataset::open(golden()).unwrap();
    let steps = dataset.steps(&[-2.0 / 30.0, 0.0, 0.1]).unwrap();
    assert_eq!(steps, [-2, 0, 3]);
    let first = dataset.window(61, &steps).unwrap();
    assert_eq!((first.rows, first.is_pad), (vec![60, 61, 64], vec![true, false, false]));
    let last = dataset.window(104, &steps).unwrap();
    assert_eq!((last.rows, last.is_pad), (vec![102, 104, 104], vec![false, false, true]));
    assert!(dataset.steps(&[0.05]).unwrap_err().to_string().contains("whole number of rows"));
    assert!(dataset.window(155, &steps).is_err());
}

#[test]
fn what_is_written_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("Übungen 日本/T schieben");
    let mut writer = open(&root);
    record(&mut writer, 1, 31, "Push the T", Outcome::Success);
    record(&mut writer, 2, 7, "Pick the cube", Outcome::Failure);
    drop(writer);
    let mut writer = open(&root);
    assert!(writer.cut_episodes().is_empty());
    let saved = record(&mut writer, 3, 12, "Push the T", Outcome::Unjudged);
    assert_eq!((saved.episode, saved.frames), (2, 12));
    assert!(saved.cameras.iter().all(|c| c.frames.len() == 12 && c.lost.is_empty()));
    drop(writer);

    let dataset = Dataset::open(&root).unwrap();
    assert_eq!((dataset.episodes().len(), dataset.len()), (3, 50));
    assert_eq!(dataset.tasks(), ["Push the T", "Pick the cube"]);
    for (episode, serial, rows) in [(0, 1, 31), (1, 2, 7), (2, 3, 12)] {
        assert_episode(&dataset, episode, serial, rows);
    }
    let outcome = dataset.scalars(extra::OUTCOME).unwrap();
    assert_eq!([outcome[0], outcome[31], outcome[49]], [1.0, 0.0, -1.0]);
    let success = dataset.scalars(extra::SUCCESS).unwrap();
    assert_eq!([success[29], success[30], success[37]], [0.0, 1.0, 0.0]);
    assert_eq!(dataset.scalars(extra::CAPTURE).unwrap()[30], 101.0);
    assert_eq!(dataset.rows(extra::LOAD).unwrap().row(5), [0.25; 3]);
    assert_eq!(dataset.scalars("timestamp").unwrap()[32], f64::from(1.0f32 / 30.0));
    let stats = dataset.stats("observation.state").unwrap();
    assert_eq!((stats.count, stats.max[1], stats.min[0]), (50, 30.0, 1.0));
    assert_eq!(dataset.stats(FRONT).unwrap().mean.len(), 3);
}

#[test]
fn the_index_has_lerobots_columns() {
    let dir = tempfile::tempdir().unwrap();
    let mut plain = spec();
    plain.extras = false;
    let mut writer = Writer::open(dir.path(), &plain, &WriterOptions::default()).unwrap();
    writer.begin("t").unwrap();
    (0..3).for_each(|i| writer.push(row(0, i)).unwrap());
    writer.end(Outcome::Success).unwrap();
    writer.flush();
    let columns = |root: &Path| {
        let path = root.join("meta/episodes/chunk-000/file-000.parquet");
        use parquet::file::reader::{FileReader, SerializedFileReader};
        let reader = SerializedFileReader::new(fs::File::open(path).unwrap()).unwrap();
        let schema = reader.metadata().file_metadata().schema_descr_ptr();
        let of = |i| {
            let c = schema.column(i);
            (c.path().parts()[0].clone(), c.physical_type(), c.max_def_level(), c.max_rep_level())
        };
        (0..schema.num_columns()).map(of).collect::<Vec<_>>()
    };
    assert_eq!(columns(dir.path()), columns(&golden()));
}

#[test]
fn cameras_are_found_by_name_when_the_configuration_lists_them_in_another_order() {
    let dir = tempfile::tempdir().unwrap();
    record(&mut open(dir.path()), 1, 5, "t", Outcome::Success);
    let mut turned = spec();
    turned.cameras.reverse();
    let mut writer = Writer::open(dir.path(), &turned, &WriterOptions::default()).unwrap();
    writer.begin("t").unwrap();
    for i in 0..5 {
        let mut row = row(2, i);
        row.images.reverse();
        writer.push(row).unwrap();
    }
    writer.end(Outcome::Success).unwrap();
    writer.flush();
    assert_episode(&Dataset::open(dir.path()).unwrap(), 1, 2, 5);
}

#[test]
fn cancelled_and_empty_episodes_leave_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = open(dir.path());
    writer.begin("t").unwrap();
    (0..9).for_each(|i| writer.push(row(1, i)).unwrap());
    writer.cancel();
    writer.begin("t").unwrap();
    writer.end(Outcome::Success).unwrap();
    record(&mut writer, 2, 4, "t", Outcome::Success);
    drop(writer);
    let writer = open(dir.path());
    assert!(writer.cut_episodes().is_empty());
    let dataset = Dataset::open(dir.path()).unwrap();
    assert_eq!(dataset.episodes().len(), 1);
    assert_episode(&dataset, 0, 2, 4);
}

#[test]
fn rows_that_do_not_fit_are_refused_by_name_and_the_episode_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = open(dir.path());
    assert!(writer.push(row(0, 0)).unwrap_err().to_string().contains("begin"));
    assert!(writer.begin("  ").unwrap_err().to_string().contains("task"));
    writer.begin("t").unwrap();
    writer.push(row(0, 0)).unwrap();
    let refused = |change: &dyn Fn(&mut Row)| {
        let mut bad = row(0, 1);
        change(&mut bad);
        bad
    };
    let cases: [(&dyn Fn(&mut Row), &str); 4] = [
        (&|r| r.state.truncate(2), "state"),
        (&|r| r.action[1] = f32::NAN, "action"),
        (&|r| r.images.truncate(1), "1 pictures for 2 cameras"),
        (&|r| r.images.swap(0, 1), FRONT),
    ];
    for (change, words) in cases {
        let error = writer.push(refused(change)).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    writer.push(row(0, 1)).unwrap();
    writer.end(Outcome::Success).unwrap();
    writer.flush();
    assert_episode(&Dataset::open(dir.path()).unwrap(), 0, 0, 2);
}

#[test]
fn a_dataset_that_differs_is_refused_with_every_reason() {
    let dir = tempfile::tempdir().unwrap();
    record(&mut open(dir.path()), 1, 3, "t", Outcome::Success);
    let mut other = spec();
    other.fps = 15;
    other.cameras[1].name = "side".into();
    let error = Writer::open(dir.path(), &other, &WriterOptions::default()).err().unwrap().to_string();
    for words in ["30 rows a second, not 15", WRIST, "observation.images.side", "another folder"] {
        assert!(error.contains(words), "{error}");
    }
    assert_episode(&Dataset::open(dir.path()).unwrap(), 0, 1, 3);
}

#[test]
fn the_second_writer_is_told_who_holds_the_dataset() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    let error = Writer::open(dir.path(), &spec(), &WriterOptions::default()).err().unwrap();
    assert!(matches!(error, DatasetError::Locked { .. }));
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    drop(first);
    open(dir.path());
}

#[test]
fn a_slow_machine_loses_pictures_not_rows_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer =
        Writer::open(dir.path(), &spec(), &WriterOptions { waiting_pictures: 2, ..Default::default() }).unwrap();
    writer.begin("t").unwrap();
    (0..200).for_each(|i| writer.push(row(1, i)).unwrap());
    let lost = writer.load().lost;
    writer.end(Outcome::Success).unwrap();
    let Some(Event::Saved(saved)) = writer.flush().pop() else { panic!("not saved") };
    assert!(lost > 0, "200 rows at once fitted into a queue of two");
    assert_eq!(saved.cameras.iter().map(|c| c.lost.len()).sum::<usize>(), lost);
    let dataset = Dataset::open(dir.path()).unwrap();
    assert_eq!(dataset.rows("observation.state").unwrap().row(199), row(1, 199).state);
    assert!(dataset.frame(199, FRONT).is_ok());
}

#[cfg(unix)]
#[test]
fn a_folder_that_cannot_be_written_is_explained() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    record(&mut open(dir.path()), 1, 3, "t", Outcome::Success);
    // A file where a folder has to be stops every user, the superuser included.
    let blocked = dir.path().join("file");
    fs::write(&blocked, "x").unwrap();
    let error = Writer::open(blocked.join("set"), &spec(), &WriterOptions::default()).err().unwrap().to_string();
    assert!(error.contains("cannot create the folder"), "{error}");
    let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    fs::remove_dir_all(dir.path().join(".etude")).unwrap();
    set(dir.path(), 0o555);
    let opened = Writer::open(dir.path(), &spec(), &WriterOptions::default());
    // Reading needs no right to write.
    assert_eq!(Dataset::open(dir.path()).unwrap().len(), 3);
    set(dir.path(), 0o755);
    match opened {
        Err(error) => assert!(error.to_string().contains("choose another folder"), "{error}"),
        Ok(_) => assert!(rustix::process::geteuid().is_root(), "only the superuser may write here"),
    }
}

/// Runs this test binary again for one test, with an environment variable that makes the test play the other part.
fn again(test: &str, shell: Option<&str>, variables: &[(&str, &str)]) -> std::process::Command {
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

#[cfg(unix)]
#[test]
fn a_full_disk_keeps_what_was_finished_and_the_rest_can_be_recovered() {
    const NAME: &str = "a_full_disk_keeps_what_was_finished_and_the_rest_can_be_recovered";
    if let Ok(root) = std::env::var("ETUDE_FULL_DISK") {
        let root = PathBuf::from(root);
        let mut writer = open(&root);
        record(&mut writer, 1, 5, "t", Outcome::Success);
        writer.begin("t").unwrap();
        let mut errors = Vec::new();
        for i in 0..2000 {
            match writer.push(row(2, i)) {
                Ok(()) => std::thread::sleep(Duration::from_millis(1)),
                Err(e) => {
                    errors.push(e.to_string());
                    break;
                }
            }
        }
        fs::write(root.join("errors"), errors.concat()).unwrap();
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().to_str().unwrap();
    // The limit on a file's size (in blocks of 512 or 1024 bytes) makes writes fail for good, as a full disk does.
    let status = again(NAME, Some("trap '' XFSZ; ulimit -f 160"), &[("ETUDE_FULL_DISK", root)]).status().unwrap();
    assert!(status.success());
    let errors = fs::read_to_string(dir.path().join("errors")).unwrap();
    assert!(errors.contains("No room is left") && errors.contains("recovered"), "{errors:?}");
    assert_episode(&Dataset::open(dir.path()).unwrap(), 0, 1, 5);
    let mut writer = open(dir.path());
    let cut = writer.cut_episodes().to_vec();
    assert_eq!(cut.len(), 1);
    writer.recover(&cut[0], Outcome::Failure);
    assert!(matches!(writer.flush().as_slice(), [Event::Saved(s)] if s.frames == cut[0].frames && s.frames > 20));
    assert_episode(&Dataset::open(dir.path()).unwrap(), 1, 2, cut[0].frames);
}

/// A small generator: tests need nothing better, and the seed is printed.
fn next(seed: &mut u64) -> usize {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) as usize
}

/// Records until it is killed; `log` gets the serial number and length of each episode once it is reported saved.
fn record_until_killed(root: &Path, log: &Path, mut seed: u64) -> ! {
    use std::io::Write;
    let mut log = fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
    let mut writer = open(root);
    for cut in writer.cut_episodes().to_vec() {
        match next(&mut seed) % 2 {
            0 => writer.recover(&cut, Outcome::Unjudged),
            _ => writer.discard(&cut).unwrap(),
        }
    }
    writer.flush();
    loop {
        let (serial, rows) = (next(&mut seed) % 1_000_000, 3 + next(&mut seed) % 20);
        let saved = record(&mut writer, serial, rows, ["a", "b"][serial % 2], Outcome::Success);
        writeln!(log, "{serial} {}", saved.frames).unwrap();
    }
}

/// The number of episodes there will be once interrupted moves are completed; `None` when none were interrupted.
fn decided(root: &Path) -> Option<usize> {
    let pending = fs::read_dir(root.join(".etude/pending")).ok()?;
    let dir = pending.map(|e| e.unwrap().path()).find(|p| p.join("commit.json").exists())?;
    let text = fs::read(dir.join("info.json")).ok()?;
    Some(etude::dataset::Info::parse(&dir, &text).unwrap().total_episodes)
}

#[test]
fn killed_at_any_instant_every_finished_episode_is_there() {
    if let (Ok(root), Ok(log), Ok(seed)) =
        (std::env::var("ETUDE_KILL_ROOT"), std::env::var("ETUDE_KILL_LOG"), std::env::var("ETUDE_KILL_SEED"))
    {
        record_until_killed(Path::new(&root), Path::new(&log), seed.parse().unwrap());
    }
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let kills = number("ETUDE_KILLS").unwrap_or(20);
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let mut seed = number("ETUDE_SEED").unwrap_or_else(clock);
    println!("seed {seed}, {kills} kills (ETUDE_SEED and ETUDE_KILLS set them)");
    let dir = tempfile::tempdir().unwrap();
    let (root, log) = (dir.path().join("set"), dir.path().join("log"));
    let (mut checked, mut completed) = (0, 0);
    for kill in 0..kills {
        let child_seed = next(&mut seed).to_string();
        let (root_text, log_text) = (root.to_str().unwrap(), log.to_str().unwrap());
        let variables =
            [("ETUDE_KILL_ROOT", root_text), ("ETUDE_KILL_LOG", log_text), ("ETUDE_KILL_SEED", child_seed.as_str())];
        let mut child =
            again("killed_at_any_instant_every_finished_episode_is_there", None, &variables).spawn().unwrap();
        // Some episodes later, at any instant of the next one; a slow machine gets the time it needs.
        let saved = || fs::read_to_string(&log).unwrap_or_default().lines().count();
        let (target, patience) = (saved() + next(&mut seed) % 4, Instant::now() + Duration::from_secs(20));
        while saved() < target && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_micros(next(&mut seed) as u64 % 150_000));
        child.kill().unwrap();
        child.wait().unwrap();
        if !root.join("meta/info.json").exists() {
            assert!(!log.exists(), "kill {kill}: an episode was reported saved, and there is no dataset");
            continue;
        }
        let dataset = Dataset::open(&root).unwrap_or_else(|e| panic!("kill {kill}: {e}"));
        let state = dataset.rows("observation.state");
        let mut found = Vec::new();
        for episode in dataset.episodes() {
            let serial = state.as_ref().unwrap().row(episode.from)[0] as usize;
            if episode.index >= checked {
                assert_episode(&dataset, episode.index, serial, episode.length);
            }
            found.push((serial, episode.length));
        }
        checked = dataset.episodes().len();
        // An episode whose moves were decided on and interrupted is completed by the next writer.
        if let Some(promised) = decided(&root) {
            drop(open(&root));
            assert_eq!(Dataset::open(&root).unwrap().episodes().len(), promised, "kill {kill}");
            completed += 1;
        }
        let promised = fs::read_to_string(&log).unwrap_or_default();
        for line in promised.lines() {
            let (serial, rows) = line.split_once(' ').unwrap();
            let entry = (serial.parse().unwrap(), rows.parse().unwrap());
            assert!(found.contains(&entry), "kill {kill}: episode {entry:?} was reported saved and is lost");
        }
    }
    println!("{checked} episodes after {kills} kills, {completed} of them between decision and last move");
    assert!(checked > kills as usize / 2, "only {checked} episodes were finished: the test hardly tested anything");
    if let Ok(keep) = std::env::var("ETUDE_KEEP") {
        fs::rename(&root, keep).unwrap();
    }
}

/// A dataset of episodes with the serial numbers 0, 1, … and these lengths.
fn recorded(root: &Path, lengths: &[usize]) {
    let mut writer = open(root);
    for (serial, &rows) in lengths.iter().enumerate() {
        let outcome = if serial % 2 == 0 { Outcome::Success } else { Outcome::Failure };
        record(&mut writer, serial, rows, ["a", "b"][serial % 2], outcome);
    }
}

fn assert_all(root: &Path, episodes: &[(usize, usize)]) {
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

#[test]
fn deleting_is_undone_by_undo_and_recording_goes_on_after_it() {
    let dir = tempfile::tempdir().unwrap();
    recorded(dir.path(), &[9, 5, 8, 4]);
    let edited = edit::delete(dir.path(), &[1, 3]).unwrap();
    assert_eq!((edited.episodes, edited.frames), (2, 17));
    assert!(edited.backup.unwrap().exists());
    assert_all(dir.path(), &[(0, 9), (2, 8)]);
    assert_eq!(Dataset::open(dir.path()).unwrap().tasks(), ["a"]);
    assert_eq!(edit::undo(dir.path()).unwrap(), "delete");
    assert_all(dir.path(), &[(0, 9), (1, 5), (2, 8), (3, 4)]);
    assert!(edit::undo(dir.path()).unwrap_err().to_string().contains("no edit"));
    edit::delete(dir.path(), &[0]).unwrap();
    record(&mut open(dir.path()), 6, 7, "a", Outcome::Success);
    assert_all(dir.path(), &[(1, 5), (2, 8), (3, 4), (6, 7)]);
    assert!(edit::delete(dir.path(), &[4]).unwrap_err().to_string().contains("4 episodes"));
    assert!(edit::delete(dir.path(), &[0, 1, 2, 3]).unwrap_err().to_string().contains("none would be left"));
    edit::forget_backups(dir.path()).unwrap();
    assert!(edit::undo(dir.path()).is_err());
}

#[test]
fn trimming_cuts_between_key_frames_too() {
    let dir = tempfile::tempdir().unwrap();
    recorded(dir.path(), &[6, 20, 6]);
    edit::trim(dir.path(), 1, 4..18).unwrap();
    assert_part(&Dataset::open(dir.path()).unwrap(), 1, 1, 4..18);
    edit::trim(dir.path(), 1, 3..11).unwrap();
    let dataset = Dataset::open(dir.path()).unwrap();
    assert_part(&dataset, 1, 1, 7..15);
    assert_episode(&dataset, 2, 2, 6);
    assert_eq!(dataset.scalars("timestamp").unwrap()[6], 0.0);
    assert!(edit::trim(dir.path(), 1, 5..5).is_err());
}

#[test]
fn split_merge_and_compact_keep_every_row_and_picture() {
    let dir = tempfile::tempdir().unwrap();
    let [whole, part, joined] = ["whole", "part", "joined"].map(|n| dir.path().join(n));
    recorded(&whole, &[9, 5, 8]);
    edit::split(&whole, &[2, 0], &part).unwrap();
    assert_all(&part, &[(2, 8), (0, 9)]);
    edit::merge(&[whole.clone(), part.clone()], &joined).unwrap();
    let all = [(0, 9), (1, 5), (2, 8), (2, 8), (0, 9)];
    assert_all(&joined, &all);
    assert!(edit::merge(std::slice::from_ref(&whole), &joined).unwrap_err().to_string().contains("already"));
    edit::compact(&joined).unwrap();
    assert_all(&joined, &all);
    let mut found = Vec::new();
    for tree in ["data", "videos"] {
        files(&joined.join(tree), &mut found);
    }
    assert_eq!(found.len(), 3, "{found:?}");
    record(&mut open(&joined), 4, 6, "a", Outcome::Success);
    let more: Vec<_> = all.into_iter().chain([(4, 6)]).collect();
    assert_all(&joined, &more);
    edit::restat(&joined).unwrap();
    let other = dir.path().join("other");
    let mut spec = spec();
    spec.fps = 10;
    let mut writer = Writer::open(&other, &spec, &WriterOptions::default()).unwrap();
    record(&mut writer, 1, 3, "a", Outcome::Success);
    drop(writer);
    assert!(matches!(edit::merge(&[whole, other], &dir.path().join("no")), Err(DatasetError::Mismatch { .. })));
}

#[test]
fn lerobots_dataset_is_edited_without_decoding_its_video() {
    let dir = tempfile::tempdir().unwrap();
    copy_tree(&golden(), dir.path());
    edit::delete(dir.path(), &[0]).unwrap();
    let (before, after) = (Dataset::open(golden()).unwrap(), Dataset::open(dir.path()).unwrap());
    assert_eq!((after.len(), after.tasks()[0].as_str()), (95, "Pick the cube"));
    for (old, new) in [(60, 0), (104, 44), (120, 60), (154, 94)] {
        assert_eq!(before.rows("action").unwrap().row(old), after.rows("action").unwrap().row(new));
        assert_eq!(*before.frame(old, WRIST).unwrap(), *after.frame(new, WRIST).unwrap());
    }
    assert_eq!(before.episodes()[1].stats[2], after.episodes()[0].stats[2], "statistics of pictures are kept");
    edit::undo(dir.path()).unwrap();
    assert_eq!(Dataset::open(dir.path()).unwrap().len(), 155);
}

/// Turns a dataset of one file an episode into the older layout.
fn make_v21(root: &Path, lengths: &[usize]) {
    let info = fs::read_to_string(root.join("meta/info.json")).unwrap();
    let info = info
        .replace("\"v3.0\"", "\"v2.1\"")
        .replace(
            "chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
            "chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        )
        .replace(
            "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
            "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
        );
    fs::write(root.join("meta/info.json"), info).unwrap();
    let (mut episodes, mut tasks) = (String::new(), String::new());
    for (i, rows) in lengths.iter().enumerate() {
        let task = ["a", "b"][i % 2];
        episodes += &format!("{{\"episode_index\": {i}, \"tasks\": [\"{task}\"], \"length\": {rows}}}\n");
        let data = root.join("data/chunk-000");
        fs::rename(data.join(format!("file-{i:03}.parquet")), data.join(format!("episode_{i:06}.parquet"))).unwrap();
        for key in [FRONT, WRIST] {
            let to = root.join("videos/chunk-000").join(key);
            fs::create_dir_all(&to).unwrap();
            let from = root.join("videos").join(key).join(format!("chunk-000/file-{i:03}.mp4"));
            fs::rename(from, to.join(format!("episode_{i:06}.mp4"))).unwrap();
        }
    }
    for (i, task) in ["a", "b"].iter().enumerate() {
        tasks += &format!("{{\"task_index\": {i}, \"task\": \"{task}\"}}\n");
    }
    fs::write(root.join("meta/episodes.jsonl"), episodes).unwrap();
    fs::write(root.join("meta/tasks.jsonl"), tasks).unwrap();
    for gone in ["meta/tasks.parquet", "meta/stats.json"] {
        fs::remove_file(root.join(gone)).unwrap();
    }
    fs::remove_dir_all(root.join("meta/episodes")).unwrap();
}

#[test]
fn the_older_layout_is_read_and_becomes_the_new_one_by_merging() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (dir.path().join("old"), dir.path().join("new"));
    recorded(&old, &[7, 12]);
    make_v21(&old, &[7, 12]);
    let dataset = Dataset::open(&old).unwrap();
    assert_eq!(dataset.info().version, "v2.1");
    assert_episode(&dataset, 0, 0, 7);
    assert_episode(&dataset, 1, 1, 12);
    let refused = Writer::open(&old, &spec(), &WriterOptions::default()).err().unwrap().to_string();
    assert!(refused.contains("v2.1") && refused.contains("convert"), "{refused}");
    edit::merge(&[old], &new).unwrap();
    assert_all(&new, &[(0, 7), (1, 12)]);
    assert_eq!(Dataset::open(&new).unwrap().stats(FRONT).unwrap().count, 19);
}

#[test]
fn an_edit_killed_at_any_instant_is_done_or_not_done() {
    if let Ok(root) = std::env::var("ETUDE_EDIT_ROOT") {
        loop {
            edit::delete(Path::new(&root), &[1]).unwrap();
            edit::undo(Path::new(&root)).unwrap();
        }
    }
    let mut seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    println!("seed {seed}");
    let dir = tempfile::tempdir().unwrap();
    recorded(dir.path(), &[5, 4, 6]);
    let (mut done, mut undone) = (0, 0);
    for _ in 0..12 {
        let variables = [("ETUDE_EDIT_ROOT", dir.path().to_str().unwrap())];
        let mut child = again("an_edit_killed_at_any_instant_is_done_or_not_done", None, &variables).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(30_000 + next(&mut seed) as u64 % 300_000));
        child.kill().unwrap();
        child.wait().unwrap();
        match Dataset::open(dir.path()).unwrap().episodes().len() {
            2 => {
                assert_all(dir.path(), &[(0, 5), (2, 6)]);
                edit::undo(dir.path()).unwrap();
                done += 1;
            }
            _ => undone += 1,
        }
        assert_all(dir.path(), &[(0, 5), (1, 4), (2, 6)]);
    }
    println!("{done} times deleted, {undone} times not");
}

#[test]
fn the_report_names_rows_and_remedies() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = open(dir.path());
    writer.begin("t").unwrap();
    for i in 0..60 {
        let mut row = row(0, i);
        row.state[1] += if i >= 40 { 90.0 } else { 0.0 };
        row.extra.late_s = if i == 20 { 0.05 } else { 0.0 };
        row.images[1] = picture(64, 64, 1, 0);
        row.images[0] = Arc::new(Image::filled(96, 64, [4; 3]));
        writer.push(row).unwrap();
    }
    writer.end(Outcome::Failure).unwrap();
    let Some(Event::Saved(saved)) = writer.flush().pop() else { panic!("not saved") };
    drop(writer);
    let find = |report: &check::EpisodeReport, kind| report.findings.iter().find(|f| f.kind == kind).cloned();
    let again = check::dataset(&Dataset::open(dir.path()).unwrap(), &check::CheckOptions::default()).unwrap();
    for report in [&saved.report, &again.episodes[0]] {
        let jump = find(report, check::Kind::Jump).unwrap();
        assert_eq!((jump.frames, jump.subject.as_str()), (vec![[40, 40]], "lift.pos"));
        assert_eq!(find(report, check::Kind::Late).unwrap().frames, [[20, 20]]);
        assert_eq!(find(report, check::Kind::Dark).unwrap().subject, FRONT);
    }
    assert_eq!(find(&saved.report, check::Kind::DeadCamera).unwrap().severity, check::Severity::Bad);
    assert!(again.to_json().contains("\"kind\": \"jump\""));
    assert!(again.to_string().contains("0 successes, 1 failures"));
}

#[test]
fn rows_and_pictures_are_exported() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("set");
    let mut writer = open(&root);
    record(&mut writer, 1, 6, "say \"push\", then wait", Outcome::Success);
    record(&mut writer, 2, 5, "b", Outcome::Success);
    let dataset = Dataset::open(&root).unwrap();
    let path = dir.path().join("rows.csv");
    export::csv(&dataset, &[], &path).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].starts_with("episode,frame,timestamp,task,action.pan.pos,action.lift.pos"), "{}", lines[0]);
    assert_eq!(lines.len(), 12);
    assert!(lines[6].starts_with("0,5,0.166667,\"say \"\"push\"\", then wait\",5,1,0.5,1,5,-5,"), "{}", lines[6]);
    export::csv(&dataset, &[1], &path).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 6);
    let sheet = export::contact_sheet(&dataset, 0, 3, 96).unwrap();
    assert_eq!((sheet.width, sheet.height), (3 * 100 + 4, 4 + 64 + 4 + 96 + 4));
    assert!(mean_difference(&crop(&sheet, 4, 4, 96, 64), &picture(96, 64, 1, 0)) < 5.0);
    assert!(mean_difference(&crop(&sheet, 204, 4, 96, 64), &picture(96, 64, 1, 5)) < 5.0);
    let png = dir.path().join("sheet.png");
    export::png(&sheet, &png).unwrap();
    assert!(fs::read(&png).unwrap().starts_with(b"\x89PNG"));
}

fn crop(image: &Image, left: usize, top: usize, width: usize, height: usize) -> Image {
    let mut part = Image::filled(width, height, [0; 3]);
    for y in 0..height {
        for x in 0..width {
            part.rgb[(y * width + x) * 3..][..3].copy_from_slice(&image.pixel(left + x, top + y));
        }
    }
    part
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() { copy_tree(&path, &target) } else { fs::copy(&path, &target).map(|_| ()).unwrap() }
    }
}

fn files(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, out) } else { out.push(path) }
    }
    out.sort();
}

/// Reads everything there is; errors are fine.
fn read_all(root: &Path) -> Result<(), DatasetError> {
    let dataset = Dataset::open(root)?;
    for feature in dataset.info().features.clone() {
        if feature.is_video() {
            for index in (0..dataset.len()).step_by(7) {
                dataset.frame(index, &feature.key)?;
            }
        } else {
            dataset.rows(&feature.key)?;
        }
    }
    Ok(())
}

fn small_dataset() -> &'static Path {
    static DIR: std::sync::OnceLock<tempfile::TempDir> = std::sync::OnceLock::new();
    DIR.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = open(dir.path());
        record(&mut writer, 1, 9, "a", Outcome::Success);
        record(&mut writer, 2, 6, "b", Outcome::Failure);
        drop(writer);
        fs::remove_dir_all(dir.path().join(".etude")).unwrap();
        dir
    })
    .path()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn damaged_files_give_errors_never_a_panic(
        theirs in prop::bool::weighted(0.3),
        file in any::<prop::sample::Index>(),
        cut in prop::option::weighted(0.3, any::<prop::sample::Index>()),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let source = if theirs { golden() } else { small_dataset().to_path_buf() };
        copy_tree(&source, dir.path());
        let mut all = Vec::new();
        files(dir.path(), &mut all);
        let path = file.get(&all);
        let mut bytes = fs::read(path).unwrap();
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        fs::write(path, &bytes).unwrap();
        if let Err(error) = read_all(dir.path()) {
            prop_assert!(error.to_string().len() > 20);
        }
    }
}

#[test]
fn worlds_are_told_in_the_first_row_and_survive_every_edit() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("a");
    let options = WriterOptions { waiting_pictures: 1000, world: true, ..Default::default() };
    let mut writer = Writer::open(&root, &spec(), &options).unwrap();
    for serial in 0..3 {
        writer.begin("task").unwrap();
        for i in 0..6 {
            let mut row = row(serial, i);
            // The second episode happened in the scene as it is.
            row.extra.world = (i == 0 && serial != 1).then(|| format!("{{\"look\":{serial}}}"));
            writer.push(row).unwrap();
        }
        writer.end(Outcome::Success).unwrap();
    }
    writer.flush();
    drop(writer);
    let told = |root: &Path| {
        let dataset = Dataset::open(root).unwrap();
        let texts = dataset.texts(extra::WORLD).unwrap();
        let firsts: Vec<usize> = dataset.episodes().iter().map(|episode| episode.from).collect();
        assert!(texts.iter().enumerate().all(|(row, text)| text.is_empty() || firsts.contains(&row)), "{texts:?}");
        firsts.into_iter().map(|row| texts[row].clone()).collect::<Vec<_>>()
    };
    assert_eq!(told(&root), ["{\"look\":0}", "", "{\"look\":2}"]);
    assert_eq!(etude::record::worlds(&Dataset::open(&root).unwrap()).unwrap()[2].as_ref().unwrap().look, 2);
    edit::trim(&root, 2, 2..5).unwrap();
    edit::compact(&root).unwrap();
    assert_eq!(told(&root), ["{\"look\":0}", "", "{\"look\":2}"]);
    edit::delete(&root, &[0]).unwrap();
    assert_eq!(told(&root), ["", "{\"look\":2}"]);
    edit::undo(&root).unwrap();
    let merged = dir.path().join("b");
    edit::merge(&[root.clone(), root.clone()], &merged).unwrap();
    assert_eq!(told(&merged)[3..], ["{\"look\":0}", "", "{\"look\":2}"]);
    // Without the column the dataset is another one.
    let refused = Writer::open(&root, &spec(), &WriterOptions::default()).err().unwrap().to_string();
    assert!(refused.contains("etude.world"), "{refused}");
}
