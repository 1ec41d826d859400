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
