//! Recording by people, viewing, and what was noted, on the command line.

use super::*;

#[test]
fn an_episode_is_viewed_without_a_display_and_replayed_with_the_physics_it_was_recorded_with() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("set");
    let out = out.to_str().unwrap();
    let arguments = [&record_arguments(out, "1")[..], &["--physics", "reference", "--tags", "a,b"]].concat();
    stdout(&etude(&arguments));
    let replayed = json_lines(&stdout(&etude(&["replay", "--dataset", out, "--episode", "0", "--json"])));
    assert_eq!(replayed[0]["identical"], true, "{replayed:?}");
    let other = ["replay", "--dataset", out, "--episode", "0", "--physics", "fast", "--json"];
    assert_eq!(json_lines(&stdout(&etude(&other)))[0]["identical"], false);
    let sheet = folder.path().join("sheet.png");
    let text = stdout(&etude(&["dataset", "view", out, "--png", sheet.to_str().unwrap()]));
    assert!(text.contains("episode 0, 1280x"), "{text}");
    assert!(std::fs::read(&sheet).unwrap().starts_with(b"\x89PNG"));
    let told = complaint(&["dataset", "view", out]);
    assert!(told.contains("display") && told.contains("--png"), "{told}");
    assert!(complaint(&["dataset", "view", out, "--episode", "9"]).contains("there is 1 episode, counted from 0"));
    assert!(complaint(&["replay", "--dataset", out, "--episode", "0", "--window"]).contains("display"));
}

#[test]
fn a_persons_cut_episode_is_told_of_and_recovered() {
    use etude::dataset::{CameraSpec, Image, Row, RowExtra, Spec, Writer, WriterOptions};
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("set");
    let text = out.to_str().unwrap();
    stdout(&etude(&[&record_arguments(text, "1")[..], &["--cameras", "wrist"]].concat()));
    let info = etude::dataset::Dataset::open(&out).unwrap().info().clone();
    let joints = info.feature("action").unwrap().names.as_array().unwrap().iter();
    let spec = Spec {
        fps: info.fps,
        robot_type: info.robot_type.clone().unwrap(),
        joints: joints.map(|name| name.as_str().unwrap().to_string()).collect(),
        cameras: vec![CameraSpec { name: "wrist".into(), width: 48, height: 48 }],
        extras: true,
    };
    let mut writer = Writer::open(&out, &spec, &WriterOptions::default()).unwrap();
    writer.begin("a person's way").unwrap();
    for row in 0..35 {
        let images = vec![std::sync::Arc::new(Image::filled(48, 48, [row * 5, 90, 20]))];
        let numbers = vec![f32::from(row); 6];
        writer.push(Row { state: numbers.clone(), action: numbers, images, extra: RowExtra::default() }).unwrap();
    }
    // Left in the middle, as a kill leaves it.
    drop(writer);
    let again = |arguments: &[&str]| etude(&[&record_arguments(text, "1")[..], arguments].concat());
    let left = again(&["--cut", "leave"]);
    let told = String::from_utf8_lossy(&left.stderr).into_owned();
    assert!(told.contains("1 cut episode") && told.contains("a person's way") && told.contains("35 rows"), "{told}");
    assert!(stdout(&etude(&["dataset", "info", text])).contains("1 episode; recording into it again offers"));
    let recovered = again(&["--cut", "recover"]);
    assert!(String::from_utf8_lossy(&recovered.stderr).contains("recovered a cut episode"), "{recovered:?}");
    let dataset = etude::dataset::Dataset::open(&out).unwrap();
    assert_eq!((dataset.episodes().len(), dataset.episodes()[1].length), (2, 35));
    assert_eq!(dataset.rows("action").unwrap().row(dataset.len() - 1), [34.0; 6]);
    assert!(!String::from_utf8_lossy(&again(&["--cut", "recover"]).stderr).contains("cut episode"));
}

#[test]
fn recording_beside_a_clock_stops_in_order_and_wrong_calls_are_answered() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("set");
    let out = out.to_str().unwrap();
    let live = ["record", "--realtime", "--episodes", "3", "--out", out, "--size", "48x48"];
    let told = complaint(&[&live[..], &["--keep-free-mb", "999999999999"]].concat());
    assert!(told.contains("nearly full") && told.contains("everything recorded is saved"), "{told}");
    assert!(stdout(&etude(&["dataset", "info", out])).contains("0 episodes"));
    let person = ["record", "--operator", "human", "--episodes", "3", "--out", out, "--size", "48x48"];
    for (arguments, expected) in [
        (&[][..], "--leader PORT --no-window"),
        (&["--no-window"], "give --leader PORT"),
        (&["--leader", "/dev/nothing", "--no-window"], "/dev/nothing"),
        (&["--episode-time", "0"], "--episode-time"),
        (&["--warm-up", "NaN"], "--warm-up"),
        (&["--instruction", " "], "--instruction"),
    ] {
        let told = complaint(&[&person[..], arguments].concat());
        assert!(told.contains(expected), "{arguments:?}: {told}");
    }
    let told = complaint(&["record", "--realtime", "--episodes", "3", "--out", out, "--size", "64x64"]);
    assert!(told.contains("differs") && told.contains("[48, 48, 3]"), "{told}");
}

/// However a session in a terminal ends, the terminal is as it was before.
#[cfg(unix)]
#[test]
fn a_terminal_gives_single_keys_and_is_put_back() {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::{LocalModes, tcgetattr};
    use std::io::Write;
    use std::os::unix::process::ExitStatusExt;
    use std::time::Duration;
    for by_signal in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let mut master = std::fs::File::from(openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap());
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let open = || std::fs::OpenOptions::new().read(true).write(true).open(&name).unwrap();
        let (terminal, input) = (open(), open());
        let before = tcgetattr(&terminal).unwrap().local_modes;
        let mut child = Command::new(env!("CARGO_BIN_EXE_etude"))
            .args(["record", "--realtime", "--episodes", "3", "--size", "48x48", "--warm-up", "86400", "--out"])
            .arg(folder.path().join("set"))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stdin(input)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let began = Instant::now();
        while tcgetattr(&terminal).unwrap().local_modes.contains(LocalModes::ICANON) {
            assert!(child.try_wait().unwrap().is_none() && began.elapsed() < Duration::from_secs(60), "no single keys");
            std::thread::sleep(Duration::from_millis(5));
        }
        if by_signal {
            rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM)
                .unwrap();
        } else {
            master.write_all(b"q").unwrap();
        }
        let status = child.wait().unwrap();
        assert!(status.success() && status.signal().is_none(), "{status}");
        assert_eq!(tcgetattr(&terminal).unwrap().local_modes, before);
    }
}
