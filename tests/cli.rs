//! The program as a person calls it.

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
                ["practise", "run", "urdf", "bench", "screenshot"].iter().all(|verb| text.contains(verb)),
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
        (&["run", "--task", "move_x"][..], "there are free_play, move_t, pick_place"),
        (&["run", "--task", "free_play"], "nothing to do"),
        (&["run", "--episodes", "0"], "--episodes"),
        (&["run", "--speed", "NaN"], "--speed"),
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
            self.0.stdin.as_mut().unwrap().write_all(format!("{line}\n").as_bytes()).unwrap();
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
    fn what_does_not_fit_is_answered_in_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let cases: [(&[&str], &str); 8] = [
            (&["doctor", "--port", "/dev/nope"], "/dev/nope: there is no such port"),
            (&["park", "--port", "/dev/null", "--id", "blue"], "blue.json: no such calibration"),
            (&["calibrate", "--port", "/dev/null", "--id", "a/b"], "letters, digits"),
            (&["calibrate", "--port", "/dev/null", "--id", "a", "--joint", "elbow"], "elbow_flex"),
            (&["setup-motors", "--port", "/dev/null"], "cannot open the port"),
            (&["virtual-arm", "--faults", "nix.ron"], "nix.ron"),
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
