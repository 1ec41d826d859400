//! The program as a person calls it.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "cli/policy.rs"]
mod policy;
#[path = "cli/recording.rs"]
mod recording;

use std::path::Path;
use std::process::{Command, Output};
use std::time::Instant;

fn etude(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_etude"))
        .args(arguments)
        .env_remove("DISPLAY")
        .env_remove("WAYLAND_DISPLAY")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn complaint(arguments: &[&str]) -> String {
    let output = etude(arguments);
    assert!(!output.status.success(), "{arguments:?} was accepted");
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!text.contains("panicked"), "{text}");
    text
}

#[test]
fn help_comes_at_once_and_lists_the_verbs() {
    let fastest = (0..5)
        .map(|_| {
            let began = Instant::now();
            let text = stdout(&etude(&["--help"]));
            assert!(
                [
                    "practise",
                    "run",
                    "record",
                    "generate",
                    "replay",
                    "dataset",
                    "urdf",
                    "bench",
                    "screenshot",
                    "cameras"
                ]
                .iter()
                .all(|verb| text.contains(verb)),
                "{text}"
            );
            began.elapsed()
        })
        .min()
        .unwrap();
    // 20 ms is the aim; four times that on a busy machine still catches a start-up that loads something.
    assert!(fastest.as_millis() < 80, "{fastest:?}");
}

#[test]
fn run_prints_json_lines_that_repeat() {
    let arguments = ["run", "--task", "move_t", "--operator", "scripted", "--seed", "7", "--episodes", "2", "--json"];
    let first = stdout(&etude(&arguments));
    let lines: Vec<serde_json::Value> = first.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    for (line, seed) in lines[..2].iter().zip(7..) {
        assert_eq!(line["seed"], seed);
        assert_eq!(line["success"], true);
        assert!(line["score"].as_f64().unwrap() >= 0.9 && line["seconds"].as_f64().unwrap() > 1.0);
        assert!(line["ticks"].as_u64().unwrap() > 30 && line["digest"].as_str().unwrap().len() == 16);
    }
    assert_eq!((&lines[2]["episodes"], &lines[2]["successes"]), (&2.into(), &2.into()));
    let digests = |text: &str| -> Vec<String> {
        text.lines().filter_map(|line| Some(line.split("\"digest\":\"").nth(1)?[..16].to_string())).collect()
    };
    assert_eq!(digests(&first), digests(&stdout(&etude(&arguments))));
}

#[test]
fn forward_kinematics_as_csv() {
    let folder = tempfile::tempdir().unwrap();
    let poses = folder.path().join("poses.csv");
    std::fs::write(&poses, "shoulder_pan,gripper,elbow_flex\n0,0,0\n0.3, 0.5 ,0.5\n").unwrap();
    let text = stdout(&etude(&["urdf", "fk", "urdf/so100.urdf", "--poses", poses.to_str().unwrap()]));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "pose,link,x,y,z,qw,qx,qy,qz");
    assert_eq!(lines.len(), 1 + 2 * 7);
    let hand: Vec<&str> = lines.iter().find(|line| line.starts_with("0,gripper,")).unwrap().split(',').collect();
    let place: Vec<f64> = hand[2..5].iter().map(|field| field.parse().unwrap()).collect();
    // The L pose: hand level and forward.
    assert!(
        place[0].abs() < 1e-6 && (place[1] + 0.2988).abs() < 1e-4 && (place[2] - 0.23677).abs() < 1e-4,
        "{place:?}"
    );
}

#[test]
fn urdf_check_reports_as_text_and_json() {
    let text = stdout(&etude(&["urdf", "check", "urdf/so100.urdf"]));
    assert!(text.contains("wrist_roll") && text.contains("no warnings"), "{text}");
    let json = stdout(&etude(&["urdf", "check", "urdf/so100.urdf", "--json"]));
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(report["joints"].as_array().unwrap().len(), 6);
}

#[test]
fn without_a_display_the_task_runs_headless() {
    let output = etude(&[]);
    let text = stdout(&output);
    assert!(text.contains("Move-T") && text.contains("score"), "{text}");
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(told.lines().count(), 1, "one line says so: {told}");
    assert!(told.contains("display"), "{told}");
}

#[test]
fn wrong_calls_are_answered_in_words() {
    for (arguments, expected) in [
        (&["run", "--task", "move_x"][..], "there are free_play, move_t, move_t_anywhere, pick_place"),
        (&["run", "--task", "free_play"], "nothing to do"),
        (&["run", "--episodes", "0"], "--episodes"),
        (&["run", "--speed", "NaN"], "--speed"),
        (&["run", "--expert", "push", "--task", "stack"], "--expert place"),
        (&["record", "--expert", "push", "--task", "pick_place", "--episodes", "1", "--out", "gone"], "--expert place"),
        (&["run", "--expert", "kick"], "place, push"),
        (&["record", "--task", "push_t_2d", "--episodes", "1", "--out", "gone"], "no table with an arm"),
        (&["run", "--control-hz", "50"], "whole multiple"),
        (&["run", "--urdf", "no.urdf"], "no.urdf"),
        (&["run", "--urdf", "Cargo.toml"], "not a valid URDF"),
        (&["run", "--servo", "dynamixel"], "sts3215_12v"),
        (&["urdf", "fk", "urdf/so100.urdf", "--poses", "gone.csv"], "gone.csv"),
        (&["urdf", "check", "missing.urdf"], "missing.urdf"),
        (&["bench", "--seconds=-1"], "--seconds"),
        (&["fly"], "fly"),
    ] {
        let text = complaint(arguments);
        assert!(text.contains(expected), "{arguments:?}: \"{text}\" does not say \"{expected}\"");
    }
    let folder = tempfile::tempdir().unwrap();
    let poses = folder.path().join("poses.csv");
    for (table, expected) in
        [("knee\n0\n", "no joint \"knee\""), ("gripper\nwide\n", "line 2"), ("gripper\nNaN\n", "line 2")]
    {
        std::fs::write(&poses, table).unwrap();
        let text = complaint(&["urdf", "fk", "urdf/so100.urdf", "--poses", poses.to_str().unwrap()]);
        assert!(text.contains(expected), "{table}: {text}");
    }
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_etude"))
        .args(["run", "--task", "pick_place", "--episodes", "5", "--json"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// `etude record` of the expert with small pictures.
fn record_arguments<'a>(out: &'a str, episodes: &'a str) -> Vec<&'a str> {
    let world = ["record", "--task", "move_t", "--operator", "scripted", "--size", "48x48", "--json"];
    [&world[..], &["--seed", "5", "--episodes", episodes, "--out", out]].concat()
}

fn json_lines(text: &str) -> Vec<serde_json::Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Every row as CSV: numbers only, so equal texts are equal rows.
fn rows_of(dataset: &str, folder: &Path) -> String {
    let csv = folder.join("rows.csv");
    stdout(&etude(&["dataset", "export", dataset, "--csv", csv.to_str().unwrap()]));
    std::fs::read_to_string(csv).unwrap()
}

#[test]
fn every_episode_has_the_sentence_it_was_about() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("sorted");
    let out = out.to_str().unwrap();
    let call = ["record", "--task", "sort_by_word", "--cameras", "none", "--episodes", "3", "--speed", "1"];
    stdout(&etude(&[&call[..], &["--json", "--out", out]].concat()));
    let dataset = etude::dataset::Dataset::open(Path::new(out)).unwrap();
    let tasks: Vec<String> = (0..3).map(|episode| dataset.episode(episode).unwrap().tasks.join("; ")).collect();
    assert!(tasks.iter().all(|task| task.starts_with("Put ") && task.contains(" area")), "{tasks:?}");
    assert!(tasks[0] != tasks[1] || tasks[1] != tasks[2], "the sentence is drawn anew: {tasks:?}");
    // Replay finds the scene by any of its sentences.
    let line = json_lines(&stdout(&etude(&["replay", "--dataset", out, "--episode", "1", "--json"])));
    assert_eq!((&line[0]["task"], &line[0]["success"]), (&"sort_by_word".into(), &true.into()), "{line:?}");
}

#[test]
fn the_planar_task_runs_too() {
    let lines =
        json_lines(&stdout(&etude(&["run", "--task", "push_t_2d", "--seed", "100000", "--episodes", "3", "--json"])));
    assert_eq!(lines.len(), 4);
    assert!(lines[..3].iter().all(|line| line["success"] == true && line["coverage"].as_f64().unwrap() > 0.95));
    assert_eq!((&lines[3]["successes"], &lines[3]["mean_score"]), (&3.into(), &1.0.into()));
}

#[test]
fn what_is_recorded_can_be_checked_edited_and_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("set ünïcode");
    let out = out.to_str().unwrap();
    let lines = json_lines(&stdout(&etude(&record_arguments(out, "2"))));
    assert_eq!(lines.len(), 3);
    assert_eq!((&lines[0]["episode"], &lines[0]["seed"], &lines[1]["seed"]), (&0.into(), &5.into(), &6.into()));
    assert_eq!((&lines[2]["episodes"], &lines[2]["lost_pictures"]), (&2.into(), &0.into()));

    let info = json_lines(&stdout(&etude(&["dataset", "info", out, "--json"])).replace('\n', " "));
    assert_eq!((&info[0]["episodes"], &info[0]["successes"]), (&2.into(), &2.into()));
    assert_eq!(info[0]["cameras"].as_array().unwrap().len(), 2);
    let report: serde_json::Value =
        serde_json::from_str(&stdout(&etude(&["dataset", "check", out, "--json"]))).unwrap();
    for episode in report["episodes"].as_array().unwrap() {
        let bad = episode["findings"].as_array().unwrap().iter().find(|finding| finding["severity"] == "bad");
        assert!(bad.is_none(), "{bad:?}");
    }

    for episode in ["0", "1"] {
        let replayed = json_lines(&stdout(&etude(&["replay", "--dataset", out, "--episode", episode, "--json"])));
        assert_eq!((&replayed[0]["start"], &replayed[0]["identical"]), (&"seed".into(), &true.into()), "{replayed:?}");
        assert_eq!(
            (&replayed[0]["success"], &replayed[0]["rows"]),
            (&true.into(), &lines[episode.parse::<usize>().unwrap()]["rows"])
        );
    }

    let before = rows_of(out, folder.path());
    stdout(&etude(&["dataset", "trim", out, "--episode", "0", "--rows", "20-"]));
    let replayed = json_lines(&stdout(&etude(&["replay", "--dataset", out, "--episode", "0", "--json"])));
    assert_eq!(
        (&replayed[0]["start"], &replayed[0]["identical"]),
        (&"glide".into(), &false.into()),
        "its head is gone"
    );
    stdout(&etude(&["dataset", "delete", out, "--episodes", "1"]));
    assert!(stdout(&etude(&["dataset", "info", out])).contains("1 episode,"));
    stdout(&etude(&["dataset", "undo", out]));
    stdout(&etude(&["dataset", "undo", out]));
    assert_eq!(rows_of(out, folder.path()), before, "both edits are taken back");

    let sheet = folder.path().join("sheet.png");
    stdout(&etude(&["dataset", "export", out, "--png", sheet.to_str().unwrap(), "--episode", "1"]));
    assert!(std::fs::metadata(&sheet).unwrap().len() > 1000);
    let halves = [folder.path().join("a"), folder.path().join("b")].map(|half| half.to_str().unwrap().to_string());
    for (half, episode) in halves.iter().zip(["0", "1"]) {
        stdout(&etude(&["dataset", "split", out, "--episodes", episode, "--out", half]));
    }
    let both = folder.path().join("both");
    let both = both.to_str().unwrap();
    stdout(&etude(&["dataset", "merge", &halves[0], &halves[1], "--out", both]));
    stdout(&etude(&["dataset", "compact", both]));
    assert_eq!(rows_of(both, folder.path()), before);
    assert!(stdout(&etude(&["dataset", "stats", both])).contains("action shoulder_pan.pos"));
}

#[test]
fn a_killed_recording_continues_as_if_nothing_had_happened() {
    let folder = tempfile::tempdir().unwrap();
    let (cut, whole) = (folder.path().join("cut"), folder.path().join("whole"));
    let (cut, whole) = (cut.to_str().unwrap(), whole.to_str().unwrap());
    let mut child = Command::new(env!("CARGO_BIN_EXE_etude"))
        .args(record_arguments(cut, "400"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // Killed somewhere in the episodes after the first that was reported saved.
    let mut first = String::new();
    let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut output, &mut first).unwrap();
    assert_eq!(json_lines(&first)[0]["episode"], 0);
    std::thread::sleep(std::time::Duration::from_millis(70));
    child.kill().unwrap();
    child.wait().unwrap();
    let text = stdout(&etude(&["dataset", "info", cut, "--json"]));
    let kept = serde_json::from_str::<serde_json::Value>(&text).unwrap()["episodes"].as_u64().unwrap();
    assert!((1..400).contains(&kept), "{kept}");
    let total = (kept + 2).to_string();
    // Continued without saying the size again: the dataset knows it.
    let resumed = etude(&["record", "--seed", "5", "--episodes", &total, "--out", cut, "--json"]);
    let last = json_lines(&stdout(&resumed)).pop().unwrap();
    assert_eq!(last["episodes"], kept + 2);
    assert!(String::from_utf8_lossy(&resumed.stderr).contains("continuing with seed"));
    stdout(&etude(&record_arguments(whole, &total)));
    assert_eq!(rows_of(cut, folder.path()), rows_of(whole, folder.path()));
    let pending = std::fs::read_dir(Path::new(cut).join(".etude/pending"));
    assert_eq!(pending.map_or(0, |entries| entries.count()), 0, "the expert's cut episode was recorded again");
    let refused = complaint(&["record", "--size", "96x96", "--episodes", "99", "--out", cut]);
    assert!(refused.contains("[48, 48, 3], not video [96, 96, 3]"), "{refused}");
}

#[test]
fn datasets_that_are_none_and_numbers_out_of_range_are_answered_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().to_str().unwrap();
    let golden = "tests/fixtures/lerobot_v30/video";
    for (arguments, expected) in [
        (&["dataset", "info", "/no/such/folder"][..], "no such folder"),
        (&["dataset", "info", empty], "holds no dataset"),
        (&["dataset", "undo", empty], "holds no dataset"),
        (&["dataset", "delete", golden, "--episodes", "7"], "there are 3 episodes"),
        (&["dataset", "delete", golden, "--episodes", "7-"], "3,7-9"),
        (&["dataset", "trim", golden, "--episode", "0", "--rows", "10-60"], "has the rows 0-59"),
        (&["dataset", "stats", golden, "--column", "speed"], "observation.state"),
        (&["dataset", "export", golden], "--csv"),
        (&["replay", "--dataset", golden, "--episode", "3"], "there are 3 episodes"),
        (&["replay", "--dataset", golden, "--episode", "0"], "--task"),
        (&["record", "--episodes", "1", "--out", empty, "--cameras", "nowhere"], "overview, wrist, front, side, top"),
        (&["record", "--episodes", "1", "--out", empty, "--size", "97x96"], "even numbers"),
        (&["record", "--episodes", "1", "--out", empty, "--task", "free_play"], "nothing to do"),
        (&["record", "--episodes", "1", "--out", "Cargo.toml"], "choose another folder"),
    ] {
        let text = complaint(arguments);
        assert!(text.contains(expected), "{arguments:?}: \"{text}\" does not say \"{expected}\"");
    }
}

/// The program at work on emulated arms, with its files in a folder of its own.
#[cfg(unix)]
mod arms {
    use std::io::{BufRead, BufReader, Write};
    use std::path::Path;
    use std::process::{Child, Command, Stdio};
    use std::time::Duration;

    fn program(folder: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_etude"));
        command
            .args(arguments)
            .env("HF_LEROBOT_CALIBRATION", folder.join("calibration"))
            .env("XDG_CONFIG_HOME", folder.join("config"))
            .env("XDG_RUNTIME_DIR", folder)
            .env("ETUDE_HOME", env!("CARGO_MANIFEST_DIR"))
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs to the end with `input`; stdout and stderr.
    fn run(folder: &Path, arguments: &[&str], input: &str) -> (bool, String, String) {
        let mut child = program(folder, arguments).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    }

    /// A verb that keeps running, told what to do line by line.
    struct Running(Child);

    impl Running {
        fn start(folder: &Path, arguments: &[&str]) -> Self {
            Self(program(folder, arguments).spawn().unwrap())
        }

        /// An emulated arm; returns when its port is there.
        fn arm(folder: &Path, arguments: &[&str]) -> Self {
            let mut arm = Self::start(folder, &[&["virtual-arm"], arguments].concat());
            let mut line = String::new();
            BufReader::new(arm.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
            assert!(!line.trim().is_empty(), "it names its port");
            arm
        }

        fn tell(&mut self, line: &str) {
            self.press(&format!("{line}\n"));
        }

        fn press(&mut self, keys: &str) {
            self.0.stdin.as_mut().unwrap().write_all(keys.as_bytes()).unwrap();
        }

        /// What it says on stderr, line by line.
        fn words(&mut self) -> Words {
            Words(BufReader::new(self.0.stderr.take().unwrap()).lines())
        }
    }

    struct Words(std::io::Lines<BufReader<std::process::ChildStderr>>);

    impl Words {
        /// The next line with these words in it.
        fn wait_for(&mut self, words: &str) -> String {
            let found = self.0.by_ref().map(Result::unwrap).find(|line| line.contains(words));
            found.unwrap_or_else(|| panic!("it ended without \"{words}\""))
        }

        /// Goals and torques of an emulated arm that was told to look.
        fn look(&mut self, arm: &mut Running) -> (Vec<String>, bool) {
            arm.tell("look");
            let lines: Vec<String> = (1..=6).map(|id| self.wait_for(&format!("servo {id}:"))).collect();
            let goal = |line: &String| line.split("goal ").nth(1).unwrap().split(',').next().unwrap().to_owned();
            (lines.iter().map(goal).collect(), lines.iter().all(|line| line.contains("torque on")))
        }
    }

    impl Drop for Running {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn an_arm_is_calibrated_examined_and_parked() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let mut arm = Running::arm(folder, &["--link", "arm", "--uncalibrated", "--seed", "3"]);
        let (_, ports, _) = run(folder, &["ports", "arm"], "");
        assert!(ports.contains("arm: an arm at 12.0 V") && ports.contains("etude calibrate"), "{ports}");
        let (parked, _, complaint) = run(folder, &["park", "--port", "arm"], "");
        assert!(!parked && complaint.contains("--id NAME"), "{complaint}");

        arm.tell("middle");
        std::thread::sleep(Duration::from_secs(2));
        let mut calibrate = Running::start(folder, &["calibrate", "--port", "arm", "--id", "blue"]);
        calibrate.tell("\n");
        let mut said = BufReader::new(calibrate.0.stderr.take().unwrap()).lines();
        let mut wait_for = |words: &str| {
            for line in said.by_ref().map(Result::unwrap) {
                assert!(!line.starts_with("check: "), "{line}");
                if line.contains(words) {
                    return;
                }
            }
            panic!("it ended without \"{words}\"");
        };
        wait_for("3. Move each joint");
        arm.tell("pose -179 -179 -179 -179 0 -179");
        std::thread::sleep(Duration::from_secs(3));
        arm.tell("pose 179 179 179 179 0 179");
        wait_for("every joint was at both ends");
        std::thread::sleep(Duration::from_secs(1));
        calibrate.tell("");
        wait_for("checks: no range");
        assert!(calibrate.0.wait().unwrap().success());

        let file = std::fs::read_to_string(folder.join("calibration/robots/so_follower/blue.json")).unwrap();
        assert!(file.contains("\"homing_offset\"") && file.contains("\"range_max\": 4095"), "{file}");
        // At its upper ends, from where it is parked below, the hand is inside the table by its model.
        arm.tell("still");
        let (healthy, report, _) = run(folder, &["doctor", "--port", "arm"], "");
        assert!(healthy && report.contains("the arm is healthy") && !report.contains("not compared"), "{report}");
        let (_, ports, _) = run(folder, &["ports", "arm", "--json"], "");
        let port: serde_json::Value = serde_json::from_str(&ports).unwrap();
        assert_eq!((&port["id"], &port["role"], &port["is_arm"]), (&"blue".into(), &"follower".into(), &true.into()));
        let (parked, said, complaint) = run(folder, &["park", "--port", "arm"], "");
        assert!(parked && said.contains("parked"), "{said}{complaint}");
    }

    #[test]
    fn motors_are_set_up_one_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let mut arm = Running::arm(folder, &["--link", "board", "--new-motors"]);
        let (done, said, complaint) = run(folder, &["setup-motors", "--port", "board", "--joint", "gripper"], "\n");
        assert!(done && said.contains("gripper: id 6 at 1000000 baud, read back (had id 1"), "{said}{complaint}");
        // Whoever forgets to change the cable does not give the gripper another joint's id.
        let (_, said, complaint) = run(folder, &["setup-motors", "--port", "board"], "hello\n\n\nq\n");
        assert!(complaint.contains("hello: not understood") && said.contains("had it already"), "{said}{complaint}");
        assert!(complaint.contains("set up as gripper just now") && !said.contains("wrist_roll"), "{said}{complaint}");
        arm.tell("connect all");
        std::thread::sleep(Duration::from_secs(1));
        let (_, said, complaint) = run(folder, &["setup-motors", "--port", "board", "--joint", "elbow_flex"], "\nq\n");
        assert!(said.is_empty() && complaint.contains("elbow_flex: "), "{said}{complaint}");
        assert!(complaint.contains("connected"), "{complaint}");
    }

    #[test]
    fn a_follower_follows_and_is_parked() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let _leader = Running::arm(folder, &["--link", "leader", "--leader"]);
        let _follower = Running::arm(folder, &["--link", "follower"]);
        let (done, said, complaint) = run(
            folder,
            &[
                "teleoperate",
                "--leader",
                "leader",
                "--leader-id",
                "virtual",
                "--follower",
                "follower",
                "--follower-id",
                "virtual",
                "--seconds",
                "6",
            ],
            "",
        );
        assert!(done && said.contains("from reading the leader"), "{said}{complaint}");
        let goals: u32 = said.split_whitespace().next().unwrap().parse().unwrap();
        assert!(goals > 60, "{said}");
    }

    #[test]
    fn an_arm_is_guided_by_hand_and_repeats_it() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let mut arm = Running::arm(folder, &["--link", "arm"]);
        let (_, ports, _) = run(folder, &["ports"], "");
        assert!(ports.contains("an arm at 12.0 V") && ports.contains("[emulated: a follower]"), "{ports}");
        let guide = ["teleoperate", "--follower", "arm", "--follower-id", "virtual", "--guide", "path.csv"];
        let mut guide = Running::start(folder, &guide);
        let mut said = BufReader::new(guide.0.stderr.take().unwrap()).lines();
        let mut wait_for = |words: &str| {
            let found = said.by_ref().map(Result::unwrap).any(|line| line.contains(words));
            assert!(found, "it ended without \"{words}\"");
        };
        wait_for("1. Hold the arm");
        guide.tell("");
        wait_for("2. Bring it");
        guide.tell("");
        wait_for("3. Recording");
        arm.tell("pose 20 -80 70 50 10 20");
        std::thread::sleep(Duration::from_secs(2));
        guide.tell("");
        wait_for("Enter replays it");
        arm.tell("still");
        guide.tell("");
        // After the replay it asks again.
        wait_for("Enter replays it");
        guide.tell("q");
        wait_for("parking");
        assert!(guide.0.wait().unwrap().success());
        let mut said = String::new();
        std::io::Read::read_to_string(&mut guide.0.stdout.take().unwrap(), &mut said).unwrap();
        assert!(said.contains("points") && said.contains("no joint was further than"), "{said}");
        let table = std::fs::read_to_string(folder.join("path.csv")).unwrap();
        assert!(table.starts_with("time_s,shoulder_pan_deg,") && table.lines().count() > 50, "{table}");
        let last: Vec<f64> = table.lines().last().unwrap().split(',').map(|value| value.parse().unwrap()).collect();
        assert!((1.0..60.0).contains(&last[0]) && (last[1] - 20.0).abs() < 1.0, "{last:?}");
    }

    #[test]
    fn an_application_without_a_window_drives_an_arm_until_it_is_told_to_end() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let mut arm = Running::arm(folder, &["--link", "arm"]);
        let mut seen = arm.words();
        let line = "run --task move_t --arm-port arm --arm-id virtual";
        let mut program = Running::start(folder, &line.split(' ').collect::<Vec<&str>>());
        let mut said = program.words();
        said.wait_for("stops the arm at once");
        std::thread::sleep(Duration::from_secs(2));
        program.press(" ");
        said.wait_for("STOPPED");
        program.press("q");
        said.wait_for("was parked");
        assert!(!program.0.wait().unwrap().success() && !seen.look(&mut arm).1);
    }

    #[test]
    fn one_key_stops_the_arm_while_a_terminal_records_it() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let mut arm = Running::arm(folder, &["--link", "arm"]);
        let mut seen = arm.words();
        let line =
            "record --realtime --task move_t --arm-port arm --arm-id virtual --episodes 1 --out set --cameras none";
        let mut record = Running::start(folder, &line.split(' ').collect::<Vec<&str>>());
        let mut said = record.words();
        let stands = seen.look(&mut arm).0;
        // Enter begins the episode; the expert moves the arm.
        let moves = |record: &mut Running, arm: &mut Running, seen: &mut Words, from: &[String]| {
            for _ in 0..300 {
                std::thread::sleep(Duration::from_millis(100));
                assert!(record.0.try_wait().unwrap().is_none());
                let (goals, on) = seen.look(arm);
                if on && goals != from {
                    return;
                }
            }
            panic!("it never moved");
        };
        record.press("\n");
        moves(&mut record, &mut arm, &mut seen, &stands);
        record.press("\t");
        said.wait_for("STOPPED");
        std::thread::sleep(Duration::from_millis(500));
        let (stopped, on) = seen.look(&mut arm);
        std::thread::sleep(Duration::from_secs(1));
        assert_eq!((seen.look(&mut arm), on), ((stopped.clone(), true), true), "it stands, under torque");
        record.press("g");
        said.wait_for("going on");
        moves(&mut record, &mut arm, &mut seen, &stopped);
        record.press("q");
        said.wait_for("parking the arm");
        // On its way to rest it can be stopped, too.
        record.press("\t");
        said.wait_for("torque on; g lets it park");
        record.press("g");
        assert!(record.0.wait().unwrap().success());
        assert!(!seen.look(&mut arm).1, "its torque is off");
    }

    #[test]
    fn what_does_not_fit_is_answered_in_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let cases: [(&[&str], &str); 11] = [
            (&["doctor", "--port", "/dev/nope"], "/dev/nope: there is no such port"),
            (&["park", "--port", "/dev/null", "--id", "blue"], "blue.json: no such calibration"),
            (&["calibrate", "--port", "/dev/null", "--id", "a/b"], "letters, digits"),
            (&["calibrate", "--port", "/dev/null", "--id", "a", "--joint", "elbow"], "elbow_flex"),
            (&["setup-motors", "--port", "/dev/null"], "cannot open the port"),
            (&["virtual-arm", "--faults", "nix.ron"], "nix.ron"),
            (&["teleoperate", "--follower", "sim", "--guide", "path.csv"], "nobody can hold"),
            (&["calibrate", "--port", "/dev/null", "--id", "a", "--check"], "no such calibration"),
            (&["bench", "bus", "--seconds", "0"], "--seconds 0"),
            (&["run", "--arm", "real"], "etude calibrate"),
            (&["teleoperate", "--leader", "/dev/null", "--follower", "sim", "--rotate", "999"], "--rotate 999"),
        ];
        for (arguments, expected) in cases {
            let (done, _, complaint) = run(folder.path(), arguments, "");
            assert!(!done && complaint.contains(expected), "{arguments:?}: {complaint}");
            assert_eq!(complaint.trim_end().lines().count(), 1, "{complaint}");
        }
    }
}

/// The first picture of a camera in an episode.
fn first_picture(dataset: &etude::dataset::Dataset, episode: usize) -> Vec<u8> {
    let row = dataset.episode(episode).unwrap().from;
    dataset.frame(row, "observation.images.overview").unwrap().rgb.clone()
}

#[test]
fn worlds_differ_as_asked_and_recorded_episodes_are_seen_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let (first, again, others) = (path("first"), path("again"), path("others"));
    let record = ["record", "--size", "48x48", "--cameras", "overview", "--json", "--randomise", "all", "--looks", "2"];
    let lines = json_lines(&stdout(&etude(&[&record[..], &["--episodes", "3", "--out", &first]].concat())));
    let told: Vec<_> = lines[..3].iter().map(|line| (line["seed"].as_u64(), line["look"].as_u64())).collect();
    assert_eq!(told, [(Some(0), Some(0)), (Some(0), Some(1)), (Some(1), Some(0))]);
    let recorded = etude::dataset::Dataset::open(&first).unwrap();
    let worlds = etude::record::worlds(&recorded).unwrap();
    assert_eq!(worlds[0].as_ref().unwrap().mass, worlds[1].as_ref().unwrap().mass);
    assert_ne!(first_picture(&recorded, 0), first_picture(&recorded, 1));

    // A recorded world needs no ranges to be replayed.
    let replayed = json_lines(&stdout(&etude(&["replay", "--dataset", &first, "--episode", "1", "--json"])));
    assert_eq!(replayed[0]["identical"], true, "{replayed:?}");

    // Drawn in the look it was recorded in, an episode has the pictures that were recorded.
    let redraw = ["dataset", "redraw", &first, "--json"];
    stdout(&etude(&[&redraw[..], &["--episodes", "0,2", "--from-look", "0", "--out", &again]].concat()));
    let same = etude::dataset::Dataset::open(&again).unwrap();
    for (new, old) in [(0, 0), (1, 2)] {
        let rows = |dataset: &etude::dataset::Dataset, episode| dataset.episode(episode).unwrap().rows();
        assert_eq!(rows(&same, new).len(), rows(&recorded, old).len());
        for (a, b) in rows(&same, new).zip(rows(&recorded, old)) {
            let picture = |dataset: &etude::dataset::Dataset, row| {
                dataset.frame(row, "observation.images.overview").unwrap().rgb.clone()
            };
            assert!(picture(&same, a) == picture(&recorded, b), "row {b} of episode {old} looks otherwise");
        }
    }
    assert_eq!(etude::record::worlds(&same).unwrap()[1], worlds[2]);

    // In other looks the pictures differ, joints are counted from other zeros, and the rest stays.
    stdout(&etude(&[&redraw[..], &["--episodes", "0", "--looks", "2", "--out", &others]].concat()));
    let seen = etude::dataset::Dataset::open(&others).unwrap();
    assert_eq!(seen.episodes().len(), 2);
    assert_eq!(first_picture(&seen, 0), first_picture(&recorded, 1), "the next look is the one recorded next");
    assert_ne!(first_picture(&seen, 1), first_picture(&recorded, 0));
    let columns = |dataset: &etude::dataset::Dataset, key: &str| {
        let rows = dataset.episode(0).unwrap().rows();
        rows.flat_map(|row| dataset.rows(key).unwrap().row(row).to_vec()).collect::<Vec<f32>>()
    };
    for key in ["etude.score", "etude.source", "etude.outcome", "etude.seed", "etude.load"] {
        assert_eq!(columns(&seen, key), columns(&recorded, key), "{key}");
    }
    let (now, then) = (columns(&seen, "observation.state"), columns(&recorded, "observation.state"));
    assert_ne!(now, then);
    assert!(now.iter().zip(&then).all(|(a, b)| (a - b).abs() < 2.2), "zeros moved by more than two degrees");
}

#[test]
fn worlds_that_cannot_differ_so_are_answered_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("d").to_string_lossy().into_owned();
    let ranges = dir.path().join("mine.ron");
    std::fs::write(&ranges, "(\n  light: (tilt: 0.5, sun: (2.0, 1.0), sky: (1.0, 1.0), tint: 0.0),\n)").unwrap();
    let ranges = ranges.to_string_lossy().into_owned();
    let wrong: [(&[&str], &str); 5] = [
        (&["run", "--randomise", "lights"], "some of light, colours, textures"),
        (&["run", "--randomise", "nowhere.ron"], "nowhere.ron: cannot be read"),
        (
            &["run", "--randomise", &ranges],
            "mine.ron:2: light.sun: (2, 1) runs backwards; give the smaller number first",
        ),
        (&["record", "--looks", "2", "--episodes", "1", "--out", &out], "say with --randomise what may differ"),
        (&["dataset", "redraw", "scenes", "--out", &out], "holds no dataset"),
    ];
    for (arguments, words) in wrong {
        let text = complaint(arguments);
        assert!(text.contains(words), "{arguments:?}: {text}");
    }
}

/// Files of a dataset with their content, without what is private to the program.
fn tree(root: &Path) -> Vec<(String, Vec<u8>)> {
    fn walk(root: &Path, dir: &Path, found: &mut Vec<(String, Vec<u8>)>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with(".etude") {
                walk(root, &path, found);
            } else if path.is_file() {
                found.push((path.strip_prefix(root).unwrap().display().to_string(), std::fs::read(&path).unwrap()));
            }
        }
    }
    let mut found = Vec::new();
    walk(root, root, &mut found);
    found.sort();
    found
}

#[test]
fn a_killed_generation_goes_on_and_makes_the_same_dataset() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (cut, whole) = (path("cut"), path("whole"));
    fn arguments<'a>(out: &'a str, workers: &'a str) -> Vec<&'a str> {
        let options = "generate --episodes 40 --cameras none --chunk 2 --every 3 --json --workers";
        options.split(' ').chain([workers, "--out", out]).collect()
    }
    let mut child = Command::new(env!("CARGO_BIN_EXE_etude"))
        .args(arguments(&cut, "1"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    // Killed when the first of five parts is there, whenever that is.
    while !Path::new(&cut).join(".etude/generate/parts/000000/meta/info.json").exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it could be killed");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!Path::new(&cut).join("meta").exists(), "it was killed too late");
    let other = complaint(&["generate", "--episodes", "41", "--cameras", "none", "--out", &cut]);
    assert!(other.contains("other settings") && other.contains("episodes was 40"), "{other}");
    let line = |output: &Output| -> serde_json::Value {
        serde_json::from_str(stdout(output).lines().last().unwrap()).unwrap()
    };
    let done = line(&etude(&arguments(&cut, "2")));
    assert!(done["event"] == "done" && done["episodes"] == 40 && done["made_now"].as_u64().unwrap() < 40, "{done}");
    line(&etude(&arguments(&whole, "1")));
    assert!(tree(Path::new(&cut)) == tree(Path::new(&whole)), "a kill changed the dataset");
    assert!(!Path::new(&cut).join(".etude/generate").exists(), "the workshop is left");
}

#[test]
fn generate_refuses_what_cannot_be() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().display().to_string();
    for (more, word) in [
        (&["--every", "7"][..], "--every"),
        (&["--noise", "3"], "--noise"),
        (&["--cameras", "nowhere"], "overview"),
        (&["--camera", "front=folder:tests"], "--camera"),
        (&["--task", "free_play"], "move_t"),
        (&["--shard", "4/4"], "0/4"),
        (&["--workers", "none"], "auto"),
        (&["--random-start", "2"], "--random-start"),
        (&["--looks", "2"], "--randomise"),
        (&["--looks", "3", "--randomise", "looks"], "give 3"),
        (&["--look-every", "2", "--randomise", "mass"], "--randomise"),
    ] {
        let mut arguments = vec!["generate", "--episodes", "2", "--out", &out];
        arguments.extend(more);
        let text = complaint(&arguments);
        assert!(text.contains(word), "{more:?}: {text}");
    }
}

#[test]
fn a_resumed_training_is_the_uninterrupted_one_and_its_policy_drives() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (data, run) = (path("data"), path("run"));
    stdout(&etude(&["record", "--episodes", "1", "--size", "64x64", "--out", &data, "--json"]));
    let train =
        ["train", "--dataset", &data, "--out", &run, "--steps", "6", "--batch", "8", "--save-every", "3", "--json"];
    let output = etude(&train);
    let text = stdout(&output);
    let warning = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(warning.contains("hardly show how to recover"), "{warning}");
    let reports = json_lines(&text);
    assert_eq!(reports.len(), 7, "{text}");
    assert_eq!((&reports[6]["steps"], &reports[6]["interrupted"]), (&6.into(), &false.into()));
    let weights = || std::fs::read(folder.path().join("run/policy/model.safetensors")).unwrap();
    let whole = weights();
    stdout(&etude(&["train", "--resume", &format!("{run}/checkpoints/000003"), "--json"]));
    assert!(whole == weights(), "resuming gave other weights");
    let curves = std::fs::read_to_string(folder.path().join("run/curves.jsonl")).unwrap();
    assert_eq!(json_lines(&curves).len(), 9);
    assert!(complaint(&train).contains("--resume"));

    let evaluate = |threads| {
        let policy = path("run/policy");
        let follow = ["--episodes", "2", "--time-limit", "1", "--latency-ticks", "1", "--json", "--threads", threads];
        let text = stdout(&etude(&[&["evaluate", "--policy", &policy][..], &follow].concat()));
        json_lines(&text)
    };
    let (one, two) = (evaluate("1"), evaluate("2"));
    assert_eq!((&one[2]["episodes"], &one[0]["seed"]), (&2.into(), &100_000.into()));
    assert_eq!(one[..2], two[..2]);
    assert_eq!((&one[0]["seconds"], &one[0]["end"]), (&1.0.into(), &"time_limit".into()));

    let policy = path("run/policy");
    let seen = complaint(&["evaluate", "--policy", &policy, "--seed", "99999"]);
    assert!(seen.contains("100000"), "{seen}");
    let other = complaint(&["evaluate", "--policy", &policy, "--task", "pick_place", "--episodes", "1"]);
    assert!(other.contains("task: the policy learnt"), "{other}");
    let file = folder.path().join("run/policy/model.safetensors");
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let damaged = complaint(&["evaluate", "--policy", &policy, "--episodes", "1"]);
    assert!(damaged.contains("model.safetensors") && damaged.contains("cut"), "{damaged}");
    let none = complaint(&["rollout", "--policy", &data]);
    assert!(none.contains("config.json"), "{none}");
}

/// A client of `etude serve-env`.
struct Client(std::net::TcpStream);

impl Client {
    fn ask(&mut self, header: serde_json::Value, payload: &[u8]) -> (serde_json::Value, Vec<u8>) {
        use std::io::{Read, Write};
        let header = header.to_string();
        let lengths = [header.len() as u32, payload.len() as u32].map(u32::to_le_bytes).concat();
        self.0.write_all(&[&lengths, header.as_bytes(), payload].concat()).unwrap();
        let mut lengths = [0u8; 8];
        self.0.read_exact(&mut lengths).unwrap();
        let length = |at: usize| u32::from_le_bytes(lengths[at..at + 4].try_into().unwrap()) as usize;
        let (mut head, mut body) = (vec![0; length(0)], vec![0; length(4)]);
        self.0.read_exact(&mut head).unwrap();
        self.0.read_exact(&mut body).unwrap();
        (serde_json::from_slice(&head).unwrap(), body)
    }
}

#[test]
fn served_worlds_step_together_and_repeat() {
    use serde_json::json;
    use std::io::{BufRead, BufReader};
    let options = "serve-env --worlds 3 --threads 2 --cameras overview --size 32x16 --once";
    let mut child = Command::new(env!("CARGO_BIN_EXE_etude"))
        .args(options.split(' '))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let port = serde_json::from_str::<serde_json::Value>(&line).unwrap()["port"].as_u64().unwrap() as u16;
    let mut client = Client(std::net::TcpStream::connect(("127.0.0.1", port)).unwrap());
    let (spaces, _) = client.ask(json!({"op": "spaces"}), &[]);
    assert_eq!((&spaces["worlds"], &spaces["joints"][5]), (&json!(3), &json!("gripper.pos")));
    assert!(spaces["high"][5] == 100.0 && spaces["low"][5] == 0.0, "{spaces}");
    // Joints and one prop, then the picture, of each world.
    let (numbers, picture) = (6 + 5, 32 * 16 * 3);
    let (answer, first) = client.ask(json!({"op": "reset", "seeds": [4, 5, 4]}), &[]);
    assert_eq!(answer["terminated"], json!([false, false, false]));
    assert_eq!(first.len(), 3 * (numbers * 4 + picture));
    let of = |bytes: &[u8], world: usize| {
        let pictures = &bytes[3 * numbers * 4..];
        [&bytes[world * numbers * 4..][..numbers * 4], &pictures[world * picture..][..picture]].concat()
    };
    assert!(of(&first, 0) == of(&first, 2) && of(&first, 0) != of(&first, 1), "seeds decide the start");
    let hold: Vec<u8> = (0..3).flat_map(|world| first[world * numbers * 4..][..24].to_vec()).collect();
    let mut moved = hold.clone();
    moved[..4].copy_from_slice(&40f32.to_le_bytes());
    for _ in 0..20 {
        client.ask(json!({"op": "step"}), &moved);
    }
    let (_, after) = client.ask(json!({"op": "step"}), &moved);
    let pan = f32::from_le_bytes(after[..4].try_into().unwrap());
    assert!((pan - 40.0).abs() < 3.0, "the arm went where it was sent: {pan}");
    assert!(of(&after, 0) != of(&after, 2) && of(&after, 0)[numbers * 4..] != of(&first, 0)[numbers * 4..]);
    let (_, again) = client.ask(json!({"op": "reset", "seeds": [4], "worlds": [1]}), &[]);
    assert!(again == [&of(&first, 0)[..]].concat(), "a world alone gives the same as among others");
    for (header, payload, word) in [
        (json!({"op": "step"}), &hold[..8], "72 bytes|8 bytes"),
        (json!({"op": "reset", "seeds": [1]}), &[][..], "seeds"),
        (json!({"op": "reset", "seeds": [1, 2], "worlds": [0, 0]}), &[], "different numbers"),
        (json!({"op": "dance"}), &[], "spaces, reset or step"),
    ] {
        let (answer, _) = client.ask(header, payload);
        let error = answer["error"].as_str().unwrap();
        assert!(word.split('|').any(|word| error.contains(word)), "{error}");
    }
    drop(client);
    assert!(child.wait().unwrap().success());
}

#[test]
fn cameras_are_watched_and_get_their_names_once() {
    let folder = tempfile::tempdir().unwrap();
    let shots = folder.path().join("shots");
    std::fs::create_dir(&shots).unwrap();
    let picture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/camera/table.jpg");
    std::fs::copy(picture, shots.join("1.jpg")).unwrap();
    let call = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_etude"));
        let home = ["HOME", "XDG_CONFIG_HOME"].map(|variable| (variable, folder.path()));
        command.arg("cameras").args(arguments).envs(home).current_dir(folder.path()).output().unwrap()
    };
    let refused = |arguments: &[&str]| {
        let output = call(arguments);
        assert!(!output.status.success(), "{arguments:?} was accepted");
        String::from_utf8(output.stderr).unwrap()
    };
    let watch = ["--json", "--seconds", "0.4", "--pictures", "seen", "--camera", "test=folder:shots@60"];
    let report: serde_json::Value = serde_json::from_str(&stdout(&call(&watch))).unwrap();
    let cameras = report["cameras"].as_array().unwrap();
    let test = cameras.iter().find(|camera| camera["bound_to"] == "test").unwrap();
    assert!(test["first_picture_s"].is_number() && test["fps"].is_number(), "{test}");
    assert_eq!(test["mode"]["width"], 64);
    assert_eq!(test["mode"]["encoding"], "jpeg");
    let png = std::fs::read(folder.path().join("seen/test.png")).unwrap();
    assert!(png.starts_with(b"\x89PNG"));
    assert!(stdout(&call(&["bind", "front", "folder:shots@15"])).contains("front is folder:"));
    // What is bound is found from anywhere.
    let kept = std::fs::read_to_string(folder.path().join("etude/cameras.ron")).unwrap();
    assert!(kept.contains(&*shots.to_string_lossy()), "{kept}");
    assert!(stdout(&call(&["unbind", "front"])).contains("forgotten"));
    assert!(refused(&["unbind", "front"]).contains("no camera is bound"));
    for (arguments, word) in [
        (&["bind", "a b", "folder:shots"][..], "letters"),
        (&["bind", "front", "folder:nowhere"], "nowhere"),
        (&["bind", "front", "usb-none"], "etude cameras"),
        (&["--camera", "front=file:shots/1.jpg"], "mp4"),
        (&["--camera", "front=folder:shots@0"], "from 1 to 240"),
        (&["--seconds", "1e9"], "0 to 3600"),
    ] {
        let text = refused(arguments);
        assert!(text.contains(word) && !text.contains("panicked"), "{arguments:?}: {text}");
    }
}
