//! `etude setup-motors`: ids and baud rate, one motor at a time.

use super::arm::{Answers, describe_probe, tell};
use super::{CliError, say};
use crate::bus::discover;
use crate::bus::error::BusError;
use crate::bus::registers::{JOINT_IDS, JOINT_NAMES};
use crate::bus::setup::{assign, find_only_motor, setup_order};
use clap::Args;

/// Options of `etude setup-motors`.
#[derive(Args, Debug)]
pub(super) struct SetupMotorsArgs {
    /// Serial port of the controller board, as `etude ports` shows it.
    #[arg(long, value_name = "PORT")]
    port: String,
    /// Only this joint's motor, for instance one that was replaced.
    #[arg(long, value_name = "NAME")]
    joint: Option<String>,
}

pub(super) fn setup_motors(args: &SetupMotorsArgs) -> Result<(), CliError> {
    if let Some(joint) = args.joint.as_deref().filter(|joint| !JOINT_NAMES.contains(joint)) {
        return Err(unknown_joint(joint));
    }
    let mut port = discover::open_patient(&args.port)?;
    let answers = Answers::new();
    tell("Motors get their ids one at a time. Power on; the board's USB cable in.");
    let mut done_ids: Vec<u8> = Vec::new();
    for (id, name) in setup_order().filter(|(_, name)| args.joint.as_deref().is_none_or(|joint| joint == *name)) {
        loop {
            let answer = answers
                .ask(&format!("{name}: connect this motor alone to the board and press Enter (s skips it, q ends):"))?;
            match answer.as_str() {
                "q" => return Ok(()),
                "s" => break,
                "" => {}
                other => {
                    tell(&format!("{other}: not understood"));
                    continue;
                }
            }
            let found = find_only_motor(&mut port);
            if let Ok(motor) = &found
                && !may_be_renamed(motor.id, id, &done_ids, &answers)?
            {
                port.set_baud(1_000_000)?;
                continue;
            }
            let done = found.and_then(|found| assign(&mut port, &found, id).map(|()| found));
            // Whatever was tried last, the next motor is looked for from the usual rate.
            port.set_baud(1_000_000)?;
            match done {
                Ok(found) => {
                    let was = if (found.id, found.baud) == (id, 1_000_000) {
                        "had it already".to_owned()
                    } else {
                        format!("had id {} at {} baud", found.id, found.baud)
                    };
                    say(format!("{name}: id {id} at 1000000 baud, read back ({was}; {:.1} V)", found.voltage_v))?;
                    done_ids.push(id);
                    break;
                }
                Err(error @ BusError::Unplugged { .. }) => return Err(error.into()),
                Err(error) => tell(&format!("{name}: {error}")),
            }
        }
    }
    if args.joint.is_none() {
        let mut question = "Now connect all six in a chain, from shoulder_pan to gripper, and press Enter (q ends):";
        while answers.ask(question)? != "q" {
            let probe = discover::probe_port(&mut port)?;
            say(describe_probe(&probe))?;
            if probe.is_arm() {
                tell(&format!("Next: etude calibrate --port {} --id NAME", args.port));
                return Ok(());
            }
            tell(&format!(
                "etude setup-motors --port {} --joint NAME sets one of them up alone; `etude doctor` looks closer",
                args.port
            ));
            question = "Check plugs and cables and press Enter to look again (q ends):";
        }
    }
    Ok(())
}

/// Whether a motor that has an id may get another. One that has the id of another joint was set up already: somebody forgot
/// to change the cable, or means it.
fn may_be_renamed(old: u8, new: u8, done_ids: &[u8], answers: &Answers) -> Result<bool, CliError> {
    let name = |id: u8| JOINT_IDS.iter().zip(JOINT_NAMES).find(|(known, _)| **known == id).map(|(_, name)| name);
    if done_ids.contains(&old) {
        tell(&format!(
            "this is the motor set up as {} just now; unplug it and connect the next one",
            name(old).unwrap_or("another joint")
        ));
        return Ok(false);
    }
    // A new motor has id 1, so that one says nothing.
    let (Some(other), true) = (name(old), old != new && old != 1) else { return Ok(true) };
    let answer = answers.ask(&format!(
        "this motor has id {old}, that of {other}: it was set up before. Type yes to make it id {new}, or press Enter to connect \
         another:"
    ))?;
    Ok(answer == "yes")
}

/// The complaint about a joint that no arm has.
pub(super) fn unknown_joint(joint: &str) -> CliError {
    CliError::Usage(format!("--joint {joint}: there is no such joint; choose one of {}", JOINT_NAMES.join(", ")))
}
