//! What must fit before a policy moves an arm: a policy that sees or commands something else than it learnt is refused in
//! words.

use super::PolicySpec;

/// What a policy would drive, as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Robot {
    /// Names of the joints in order.
    pub joints: Vec<String>,
    /// Least and greatest value of each joint, LeRobot's numbers.
    pub limits: Vec<[f32; 2]>,
    /// Cameras that can deliver pictures, by name.
    pub cameras: Vec<String>,
    /// Control ticks a second.
    pub fps: u32,
    /// What it will be asked for.
    pub asked: Asked,
    /// Where the joints are now, LeRobot's numbers; nothing before the first reading.
    pub state: Option<Vec<f32>>,
}

/// What episodes ask for.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    /// The same in every episode.
    Always(String),
    /// A sentence that is drawn for each episode.
    Drawn {
        /// Title of the scene that draws it.
        scene: String,
        /// How many of the policy's own sentences are among those that may be drawn.
        known: usize,
    },
}

/// Outside the range of the data by more than this, degrees, and a policy has never seen an arm stand there.
const STATE_ROOM: f32 = 25.0;

/// Everything about `robot` that does not fit a policy: what, and what to do about it. Empty: it may go.
pub fn refusals(spec: &PolicySpec, robot: &Robot) -> Vec<String> {
    let mut refusals = Vec::new();
    if !spec.joints.is_empty() && spec.joints != robot.joints {
        refusals.push(format!(
            "joints: the policy drives {}, the arm has {}; choose the arm it was trained for",
            spec.joints.join(", "),
            robot.joints.join(", ")
        ));
    }
    if let Some(fps) = spec.fps.filter(|fps| *fps != robot.fps) {
        refusals.push(format!(
            "rate: the policy was trained at {fps} ticks a second, this runs at {}; give --control-hz {fps}",
            robot.fps
        ));
    }
    for camera in spec.cameras.iter().filter(|camera| !robot.cameras.contains(&camera.name)) {
        let known = if robot.cameras.is_empty() { "none".into() } else { robot.cameras.join(", ") };
        refusals.push(format!(
            "cameras: the policy looks through \"{}\" ({}x{}), there is {known}; name a camera so, or choose its scene",
            camera.name, camera.width, camera.height
        ));
    }
    refusals.extend(task_refusal(spec, &robot.asked));
    let fits = spec.state_range.len() == robot.joints.len() && refusals.is_empty();
    for (index, (least, greatest)) in spec.state_range.iter().enumerate().filter(|_| fits) {
        let name = &robot.joints[index];
        if !(least.is_finite() && greatest.is_finite() && least <= greatest) {
            refusals.push(format!("statistics: the range of {name} is no range; the checkpoint is damaged"));
            continue;
        }
        let (low, high) = robot.limits.get(index).map_or((f32::MIN, f32::MAX), |limits| (limits[0], limits[1]));
        // Degrees against radians, or another zero: then most of the data lie outside what the joint can do.
        if *greatest < low - 1.0 || *least > high + 1.0 {
            refusals.push(format!(
                "units: {name} was between {least:.1} and {greatest:.1} in the data, the arm's goes from {low:.1} to \
                 {high:.1}; calibrate as for the data, or train on data of this arm"
            ));
        }
        let Some(now) = robot.state.as_ref().and_then(|state| state.get(index)) else { continue };
        if *now < least - STATE_ROOM || *now > greatest + STATE_ROOM {
            refusals.push(format!(
                "calibration: {name} stands at {now:.1}, in the data it was between {least:.1} and {greatest:.1}; move \
                 the arm to where the task starts, or calibrate it as for the data"
            ));
        }
    }
    refusals
}

/// What does not fit between what is asked for and what the policy learnt.
fn task_refusal(spec: &PolicySpec, asked: &Asked) -> Option<String> {
    // Sentences that were drawn are many; a few tell what they are about.
    let shown: Vec<&str> = spec.tasks.iter().take(3).map(String::as_str).collect();
    let more = if spec.tasks.len() > shown.len() { " and others" } else { "" };
    let learnt = format!("\"{}\"{more}", shown.join("\", \""));
    match asked {
        Asked::Always(task) if spec.tasks.is_empty() || spec.tasks.contains(task) => None,
        Asked::Always(task) => Some(format!(
            "task: the policy learnt {learnt}, not \"{task}\"; give it its own sentence with --instruction"
        )),
        Asked::Drawn { scene, known: 0 } if !spec.tasks.is_empty() => Some(format!(
            "task: the policy learnt {learnt}, and \"{scene}\" never asks for that; choose the task it was trained on"
        )),
        Asked::Drawn { scene, .. } if !spec.reads => Some(format!(
            "task: \"{scene}\" asks for something else in every episode, and this policy does not read sentences; train \
             `--policy small` on episodes with different sentences"
        )),
        Asked::Drawn { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::loader::CameraInput;

    fn spec() -> PolicySpec {
        PolicySpec {
            kind: "small".into(),
            joints: vec!["a.pos".into(), "b.pos".into()],
            cameras: vec![CameraInput { name: "wrist".into(), width: 96, height: 96 }],
            fps: Some(30),
            robot: None,
            n_obs_steps: 1,
            chunk_size: 8,
            n_action_steps: 1,
            tasks: vec!["Move it".into()],
            state_range: vec![(-30.0, 40.0), (0.0, 90.0)],
            reads: false,
            recorded: Vec::new(),
            ensemble: None,
            nudge_rad: 0.0,
        }
    }

    fn robot() -> Robot {
        Robot {
            joints: vec!["a.pos".into(), "b.pos".into()],
            limits: vec![[-110.0, 110.0], [-1e9, 1e9]],
            cameras: vec!["overview".into(), "wrist".into()],
            fps: 30,
            asked: Asked::Always("Move it".into()),
            state: Some(vec![0.0, 10.0]),
        }
    }

    #[test]
    fn what_fits_may_go_and_each_mismatch_is_named() {
        assert_eq!(refusals(&spec(), &robot()), Vec::<String>::new());
        let alone = |change: fn(&mut Robot), word: &str| {
            let mut other = robot();
            change(&mut other);
            let found = refusals(&spec(), &other);
            assert!(found.len() == 1 && found[0].starts_with(word), "{word}: {found:?}");
        };
        alone(|r| r.joints.reverse(), "joints");
        alone(|r| r.fps = 50, "rate");
        alone(|r| r.cameras = vec!["overview".into()], "cameras");
        alone(|r| r.asked = Asked::Always("Dance".into()), "task");
        alone(|r| r.state = Some(vec![95.0, 10.0]), "calibration");
        alone(|r| r.limits[0] = [1000.0, 2000.0], "units");
    }

    #[test]
    fn drawn_sentences_are_for_policies_that_read_and_know_them() {
        let drawn = |known| Robot { asked: Asked::Drawn { scene: "Sort by word".into(), known }, ..robot() };
        let mut policy = spec();
        assert!(refusals(&policy, &drawn(1))[0].contains("does not read"));
        policy.reads = true;
        assert_eq!(refusals(&policy, &drawn(1)), Vec::<String>::new());
        assert!(refusals(&policy, &drawn(0))[0].contains("never asks"));
    }

    #[test]
    fn damaged_statistics_are_refused() {
        let mut damaged = spec();
        damaged.state_range[0] = (f32::NAN, 1.0);
        assert!(refusals(&damaged, &robot())[0].starts_with("statistics"));
    }
}
