//! `etude doctor`: every joint's health in words.

use super::arm::{ArmArgs, model_settings};
use super::{CliError, say};
use crate::bus::discover;
use crate::bus::doctor::{JointReport, Severity, examine};
use clap::Args;
use serde_json::json;

/// Options of `etude doctor`.
#[derive(Args, Debug)]
pub(super) struct DoctorArgs {
    #[command(flatten)]
    arm: ArmArgs,
    /// One JSON line per joint.
    #[arg(long)]
    json: bool,
}

pub(super) fn doctor(args: &DoctorArgs) -> Result<(), CliError> {
    // An arm is examined before it has a calibration, too.
    let calibration = args.arm.id()?.map(|_| args.arm.calibration()).transpose()?;
    let mut port = discover::open_patient(&args.arm.port)?;
    // Every lost answer counts here.
    port.retries = 1;
    let reports = examine(&mut port, &model_settings()?, calibration.as_ref())?;
    for report in &reports {
        say(if args.json { to_json(report).to_string() } else { report.to_string() })?;
    }
    let count = |severity| {
        reports.iter().flat_map(|report| &report.findings).filter(|finding| finding.severity == severity).count()
    };
    let faults = count(Severity::Fault);
    if !args.json {
        if calibration.is_none() {
            say("the calibration was not compared: give its name with --id NAME")?;
        }
        say(match (faults, count(Severity::Warning)) {
            (0, 0) => "the arm is healthy".to_owned(),
            (0, warnings) => format!("the arm can be used; {}", plural(warnings, "warning")),
            (faults, 0) => plural(faults, "fault"),
            (faults, warnings) => format!("{} and {}", plural(faults, "fault"), plural(warnings, "warning")),
        })?;
    }
    if faults == 0 {
        return Ok(());
    }
    Err(CliError::Usage(format!("{}: the arm must not be used like this; cure the faults listed", args.arm.port)))
}

fn plural(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn to_json(report: &JointReport) -> serde_json::Value {
    let findings: Vec<_> = report
        .findings
        .iter()
        .map(|finding| {
            let severity = match finding.severity {
                Severity::Note => "note",
                Severity::Warning => "warning",
                Severity::Fault => "fault",
            };
            json!({ "severity": severity, "what": finding.what, "cause": finding.cause, "cure": finding.cure })
        })
        .collect();
    json!({
        "joint": report.name,
        "id": report.id,
        "firmware": report.firmware.map(|(major, minor)| format!("{major}.{minor}")),
        "voltage_v": report.voltage_v,
        "temperature_c": report.temperature_c,
        "load_fraction": report.load_fraction,
        "current_a": report.current_a,
        "status": report.status.words(),
        "lost_fraction": report.lost_fraction,
        "findings": findings,
    })
}
