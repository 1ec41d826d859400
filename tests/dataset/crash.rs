//! Nothing that was finished is lost: kills at any instant, a full disk.

use super::helpers::*;
use etude::dataset::{Dataset, Event, Outcome, edit};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

#[cfg(unix)]
#[test]
fn a_full_disk_keeps_what_was_finished_and_the_rest_can_be_recovered() {
    const NAME: &str = "crash::a_full_disk_keeps_what_was_finished_and_the_rest_can_be_recovered";
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
            again("crash::killed_at_any_instant_every_finished_episode_is_there", None, &variables).spawn().unwrap();
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
        let mut child =
            again("crash::an_edit_killed_at_any_instant_is_done_or_not_done", None, &variables).spawn().unwrap();
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
