//! Edits and what takes them back.

use super::helpers::*;
use etude::dataset::{
    Dataset, DatasetError, Event, Outcome, Segments, Writer, WriterOptions, edit, schema::extra,
};
use std::fs;
use std::path::Path;

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
fn marks_of_segments_stay_with_their_episode_and_are_undone() {
    let dir = tempfile::tempdir().unwrap();
    recorded(dir.path(), &[9, 20, 8]);
    let segments = |episode: usize| Dataset::open(dir.path()).unwrap().info().segments(episode);
    let marks = Segments { close: 5, lift: 7, rest: 15 };
    edit::mark(dir.path(), 1, Some(marks)).unwrap();
    assert_eq!([segments(0), segments(1), segments(2)], [None, Some(marks), None]);
    // Nothing else has changed.
    assert_all(dir.path(), &[(0, 9), (1, 20), (2, 8)]);
    edit::delete(dir.path(), &[0]).unwrap();
    edit::trim(dir.path(), 0, 4..20).unwrap();
    assert_eq!(segments(0), Some(Segments { close: 1, lift: 3, rest: 11 }));
    edit::trim(dir.path(), 0, 2..16).unwrap();
    assert_eq!(segments(0), None, "a mark was cut off");
    edit::undo(dir.path()).unwrap();
    edit::mark(dir.path(), 0, None).unwrap();
    assert_eq!(segments(0), None);
    edit::undo(dir.path()).unwrap();
    assert!(segments(0).is_some());
    let late = edit::mark(dir.path(), 0, Some(Segments { rest: 15, ..marks })).unwrap_err().to_string();
    assert!(late.contains("episode 0") && late.contains("after setting down"), "{late}");
    assert!(edit::mark(dir.path(), 9, Some(marks)).is_err());
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
fn the_last_episode_is_judged_and_removed_while_recording_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = open(dir.path());
    record(&mut writer, 0, 6, "a", Outcome::Success);
    record(&mut writer, 1, 5, "b", Outcome::Unjudged);
    writer.judge_last(Outcome::Failure);
    // The next one is recorded meanwhile.
    writer.begin("a").unwrap();
    (0..4).for_each(|i| writer.push(row(2, i)).unwrap());
    writer.end(Outcome::Success).unwrap();
    let events = writer.flush();
    assert!(
        matches!(events[..], [Event::Judged { episode: 1, outcome: Outcome::Failure }, Event::Saved(_)]),
        "{events:?}"
    );
    assert_eq!(outcomes(dir.path()), [1.0, 0.0, 1.0]);
    writer.remove_last();
    writer.remove_last();
    writer.remove_last();
    writer.remove_last();
    let events = writer.flush();
    let removed: Vec<usize> =
        events.iter().filter_map(|e| if let Event::Removed { episode } = e { Some(*episode) } else { None }).collect();
    assert_eq!(removed, [2, 1, 0]);
    assert!(matches!(&events[3], Event::Failed(error) if error.to_string().contains("there is none")), "{events:?}");
    assert_eq!(Dataset::open(dir.path()).unwrap().len(), 0, "an empty dataset is whole");
    record(&mut writer, 4, 7, "b", Outcome::Success);
    drop(writer);
    assert_episode(&Dataset::open(dir.path()).unwrap(), 0, 4, 7);
    for _ in 0..3 {
        edit::undo(dir.path()).unwrap();
    }
    assert_episode(&Dataset::open(dir.path()).unwrap(), 2, 2, 4);
    edit::judge(dir.path(), &[0, 2], Outcome::Failure).unwrap();
    assert_eq!(outcomes(dir.path()), [0.0, 0.0, 0.0]);
    let dataset = Dataset::open(dir.path()).unwrap();
    assert_eq!(dataset.scalars(extra::SUCCESS).unwrap()[5], 0.0, "what LeRobot's readers see says the same");
    assert!(edit::judge(dir.path(), &[3], Outcome::Success).is_err());
}

/// The verdict of each episode.
fn outcomes(root: &Path) -> Vec<f64> {
    let dataset = Dataset::open(root).unwrap();
    let codes = dataset.scalars(extra::OUTCOME).unwrap();
    dataset.episodes().iter().map(|episode| codes[episode.from]).collect()
}

#[test]
fn notes_stay_with_their_episodes() {
    let dir = tempfile::tempdir().unwrap();
    let noted = |tag: &str| {
        let mut options = WriterOptions { waiting_pictures: 1000, ..Default::default() };
        options.note.insert("tags".into(), serde_json::json!([tag]));
        Writer::open(dir.path(), &spec(), &options).unwrap()
    };
    record(&mut open(dir.path()), 0, 3, "a", Outcome::Success);
    record(&mut noted("x"), 1, 3, "b", Outcome::Success);
    record(&mut noted("y"), 2, 3, "a", Outcome::Success);
    let mut writer = noted("cut");
    writer.begin("b").unwrap();
    (0..40).for_each(|i| writer.push(row(3, i)).unwrap());
    writer.leave();
    drop(writer);
    let mut writer = open(dir.path());
    let cut = writer.cut_episodes().to_vec();
    assert_eq!(cut.len(), 1);
    writer.recover(&cut[0], Outcome::Unjudged);
    assert!(matches!(writer.flush()[..], [Event::Saved(_)]));
    drop(writer);
    let tags = || {
        let dataset = Dataset::open(dir.path()).unwrap();
        let of = |episode| dataset.info().tags(episode).concat();
        (0..dataset.episodes().len()).map(of).collect::<Vec<String>>()
    };
    assert_eq!(tags(), ["", "x", "y", "cut"]);
    edit::delete(dir.path(), &[1]).unwrap();
    assert_eq!(tags(), ["", "y", "cut"]);
    edit::undo(dir.path()).unwrap();
    let merged = dir.path().join("merged");
    edit::merge(&[dir.path().to_path_buf(), dir.path().to_path_buf()], &merged).unwrap();
    let info = Dataset::open(&merged).unwrap().info().clone();
    assert_eq!((info.tags(5), info.tags(7)), (vec!["x".to_string()], vec!["cut".to_string()]));
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
