//! `configs/run/*.ron`: what to run, in a file instead of on the command line.

use super::{Problems, Validate};
use serde::Deserialize;

/// What to run. What is left out is as on a command line that leaves it out.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunFile {
    /// Scene: a name in `scenes/`, or a file.
    pub task: Option<String>,
    /// What moves the joints.
    pub backend: RunBackend,
    /// Arm: a name in `configs/arm/`, or a file. A real arm is the shipped one.
    pub arm: Option<String>,
    /// URDF in place of the arm's own.
    pub urdf: Option<String>,
    /// Servo profile: a name in `configs/servo/`, or a file.
    pub servo: Option<String>,
    /// Physics: a name in `configs/physics/`, or a file.
    pub physics: Option<String>,
    /// Control ticks per second.
    pub control_hz: Option<u32>,
    /// How worlds differ, as `--randomise` takes it.
    pub randomise: Option<String>,
    /// Real cameras, as `--camera` takes them.
    pub cameras: Vec<String>,
    /// Pace of the scripted expert.
    pub speed: Option<f64>,
}

/// What moves the joints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum RunBackend {
    /// The simulation.
    #[default]
    Sim,
    /// The real arm that was calibrated last on this computer.
    Servo,
    /// The real arm on a port.
    ServoOn {
        /// Its serial port.
        port: String,
        /// Name of its calibration; left out, the one it was given on this computer.
        #[serde(default)]
        id: Option<String>,
    },
}

impl Validate for RunFile {
    fn validate(&self, problems: &mut Problems) {
        if let Some(hz) = self.control_hz {
            problems.range("control_hz", f64::from(hz), 1.0, 1000.0, "Hz");
        }
        if let Some(speed) = self.speed {
            problems.range("speed", speed, 0.05, 3.0, "");
        }
        if self.arm.as_ref().is_some_and(|arm| self.backend == RunBackend::Servo && arm != "so100") {
            problems.report(
                "arm",
                "backend: Servo is the shipped arm with real servos",
                "leave arm out, or name port and id: ServoOn(port: .., id: ..)",
            );
        }
    }
}

impl RunFile {
    /// The options of a command line that say the same, without those that `given` says are there already.
    pub fn options(&self, given: impl Fn(&str) -> bool) -> Vec<String> {
        let text = |value: &Option<String>| value.clone();
        let mut wanted: Vec<(&str, Option<String>)> = vec![
            ("--task", text(&self.task)),
            ("--urdf", text(&self.urdf)),
            ("--servo", text(&self.servo)),
            ("--physics", text(&self.physics)),
            ("--control-hz", self.control_hz.map(|hz| hz.to_string())),
            ("--randomise", text(&self.randomise)),
            ("--speed", self.speed.map(|speed| speed.to_string())),
        ];
        // Which arm moves is one question: an answer on the command line is the whole answer.
        if !given("--arm") && !given("--arm-port") {
            match &self.backend {
                RunBackend::Sim => wanted.push(("--arm", text(&self.arm))),
                RunBackend::Servo => wanted.push(("--arm", Some("real".into()))),
                RunBackend::ServoOn { port, id } => {
                    wanted.push(("--arm", text(&self.arm)));
                    wanted.push(("--arm-port", Some(port.clone())));
                    wanted.push(("--arm-id", id.clone()));
                }
            }
        }
        if !given("--camera") {
            wanted.extend(self.cameras.iter().map(|camera| ("--camera", Some(camera.clone()))));
        }
        let missing = wanted.into_iter().filter(|(option, _)| !given(option));
        missing.filter_map(|(option, value)| Some([option.to_owned(), value?])).flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{load_named, parse};
    use super::*;
    use std::path::Path;

    fn read(text: &str) -> Result<RunFile, String> {
        parse(text, Path::new("run.ron")).map_err(|error| error.to_string())
    }

    #[test]
    fn a_run_becomes_options_and_the_command_line_goes_before() {
        let run = read(r#"(task: "pick_place", backend: ServoOn(port: "/dev/ttyACM0"), control_hz: 60)"#).unwrap();
        let none = |_: &str| false;
        assert_eq!(run.options(none).join(" "), "--task pick_place --control-hz 60 --arm-port /dev/ttyACM0",);
        assert_eq!(run.options(|option| option == "--arm" || option == "--task"), ["--control-hz", "60"]);
        let shipped: RunFile = load_named("configs/run", "real_arm").unwrap();
        assert_eq!(shipped.backend, RunBackend::Servo);
        assert!(shipped.options(none).join(" ").contains("--arm real"));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_its_place() {
        for (text, says) in [
            (r#"(backend: Serwo)"#, "Serwo"),
            (r#"(tusk: "x")"#, "tusk"),
            ("(\n control_hz: 0)", "run.ron:2: control_hz"),
            (r#"(backend: Servo, arm: "other")"#, "ServoOn"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
