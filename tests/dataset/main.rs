//! Datasets as their users meet them: LeRobot's own files are read, what is written is read back, and nothing that was
//! finished is lost when the program is killed, the disk is full or a file is damaged.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests; the seed has to be shown")]

mod crash;
mod damage;
mod edits;
mod helpers;

use etude::dataset::{
    Dataset, DatasetError, Event, Image, Outcome, Row, Spec, VideoFrames, Writer, WriterOptions, check, edit, export,
    schema::extra,
};
use helpers::*;
use std::fs;
use std::path::Path;
use std::sync::Arc;

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
fn a_video_plays_in_the_order_of_display() {
    let dataset = Dataset::open(golden()).unwrap();
    let camera = "observation.images.front";
    let mut video = VideoFrames::open(&golden().join(format!("videos/{camera}/chunk-000/file-000.mp4"))).unwrap();
    assert_eq!((video.len(), video.is_empty()), (dataset.len(), false));
    assert!((video.fps() - f64::from(dataset.info().fps)).abs() < 0.01, "{}", video.fps());
    // Forward, skipping, and back to the start as at the end of the film.
    for index in [0, 1, 2, 7, 8, 3, 0] {
        assert_eq!(video.shown(index).unwrap(), *dataset.frame(index, camera).unwrap(), "picture {index}");
    }
    assert!(video.shown(video.len()).is_err());
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
fn ages_of_pictures_follow_their_cameras_and_older_datasets_go_on_without() {
    const AGES: &str = "etude.camera_age_s";
    let dir = tempfile::tempdir().unwrap();
    let aged = |cameras: [f32; 2], swap: bool| {
        let mut row = row(1, 0);
        row.extra.camera_age_s = cameras.to_vec();
        if swap {
            row.images.reverse();
        }
        row
    };
    let add = |root: &Path, spec: &Spec, row: Row| {
        let mut writer = Writer::open(root, spec, &WriterOptions::default()).unwrap();
        writer.begin("t").unwrap();
        writer.push(row).unwrap();
        writer.end(Outcome::Success).unwrap();
        assert!(matches!(writer.flush().pop(), Some(Event::Saved(_))));
    };
    add(dir.path(), &spec(), aged([0.01, 0.25], false));
    let mut other_way_round = spec();
    other_way_round.cameras.reverse();
    add(dir.path(), &other_way_round, aged([0.5, 0.02], true));
    let dataset = Dataset::open(dir.path()).unwrap();
    let ages = dataset.rows(AGES).unwrap();
    assert_eq!((ages.row(0), ages.row(1)), (&[0.01, 0.25][..], &[0.02, 0.5][..]));
    let old = tempfile::tempdir().unwrap();
    drop(open(old.path()));
    let file = old.path().join("meta/info.json");
    let mut info: serde_json::Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    info["features"].as_object_mut().unwrap().remove(AGES).unwrap();
    fs::write(&file, info.to_string()).unwrap();
    add(old.path(), &spec(), aged([0.01, 0.25], false));
    let dataset = Dataset::open(old.path()).unwrap();
    assert_eq!((dataset.len(), dataset.info().feature(AGES)), (1, None));
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
    assert!(again.to_string().contains("0 successes, 1 failure,"));
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
