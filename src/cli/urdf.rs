//! `etude urdf check` and `etude urdf fk`.

use super::{CliError, say};
use crate::arm::{ArmModel, check, load_urdf};
use clap::Subcommand;
use std::path::{Path, PathBuf};

/// Verbs about URDF files.
#[derive(Subcommand, Debug)]
pub(super) enum UrdfVerb {
    /// List links, joints, masses and limits, and warn of what is doubtful.
    Check {
        /// The URDF.
        file: PathBuf,
        /// Print the report as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Forward kinematics of a table of poses, as CSV: pose,link,x,y,z,qw,qx,qy,qz in the base frame.
    Fk {
        /// The URDF.
        file: PathBuf,
        /// CSV with joint names as header and angles in radians; joints left out stand at zero.
        #[arg(long, value_name = "POSES.csv")]
        poses: PathBuf,
    },
}

pub(super) fn run(verb: &UrdfVerb) -> Result<(), CliError> {
    match verb {
        UrdfVerb::Check { file, json } => check_urdf(file, *json),
        UrdfVerb::Fk { file, poses } => forward_kinematics(file, poses),
    }
}

fn check_urdf(file: &Path, json: bool) -> Result<(), CliError> {
    let report = check(&load_urdf(file)?);
    if json {
        return say(serde_json::to_string_pretty(&report).unwrap_or_default());
    }
    say(format!("robot {}  ({})", report.robot, file.display()))?;
    say("\nlink                 parent               mass kg  visuals  shapes")?;
    for link in &report.links {
        let parent = link.parent.as_deref().unwrap_or("-");
        let mass = link.mass_kg.map_or("-".into(), |mass| format!("{mass:.4}"));
        say(format!("{:<20} {parent:<20} {mass:>7}  {:>7}  {:>6}", link.name, link.visuals, link.shapes))?;
    }
    say("\njoint                child                lower deg  upper deg  effort Nm  velocity rad/s")?;
    for joint in &report.joints {
        say(format!(
            "{:<20} {:<20} {:>9.1}  {:>9.1}  {:>9.2}  {:>14.2}",
            joint.name,
            joint.child,
            joint.lower_rad.to_degrees(),
            joint.upper_rad.to_degrees(),
            joint.effort_nm,
            joint.velocity_rad_s
        ))?;
    }
    say(format!("\nmoving mass {:.3} kg, {} triangles to draw", report.moving_mass_kg, report.visual_triangles))?;
    for warning in &report.warnings {
        say(format!("warning: {warning}"))?;
    }
    if report.warnings.is_empty() {
        say("no warnings")?;
    }
    Ok(())
}

fn forward_kinematics(file: &Path, poses: &Path) -> Result<(), CliError> {
    let model = load_urdf(file)?;
    let table = read_poses(&model, poses)?;
    let mut writer = csv::Writer::from_writer(std::io::stdout().lock());
    let write_error = |error: csv::Error| CliError::Output(std::io::Error::other(error));
    writer.write_record(["pose", "link", "x", "y", "z", "qw", "qx", "qy", "qz"]).map_err(write_error)?;
    for (index, q) in table.iter().enumerate() {
        for (link, pose) in model.links.iter().zip(model.link_poses(q)) {
            let (p, r) = (pose.translation, pose.rotation);
            let numbers = [p.x, p.y, p.z, r.w, r.x, r.y, r.z].map(|value| format!("{value:.9}"));
            let row = [index.to_string(), link.name.clone()].into_iter().chain(numbers);
            writer.write_record(row).map_err(write_error)?;
        }
    }
    writer.flush()?;
    Ok(())
}

fn read_poses(model: &ArmModel, file: &Path) -> Result<Vec<Vec<f64>>, CliError> {
    let error = |problem: String, remedy: &str| CliError::Poses {
        file: file.to_path_buf(),
        problem,
        remedy: remedy.to_string(),
    };
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_path(file)
        .map_err(|e| error(e.to_string(), "check the path"))?;
    let header = reader.headers().map_err(|e| error(e.to_string(), "start with a line of joint names"))?.clone();
    let names: Vec<&str> = model.joints.iter().map(|joint| joint.name.as_str()).collect();
    let columns: Vec<usize> = header
        .iter()
        .map(|name| {
            model.joint_index(name).ok_or_else(|| {
                error(
                    format!("header: no joint \"{name}\" in {}", model.file.display()),
                    &format!("use the URDF's names: {}", names.join(", ")),
                )
            })
        })
        .collect::<Result<_, _>>()?;
    reader
        .records()
        .enumerate()
        .map(|(row, record)| {
            let line = row + 2;
            let record = record.map_err(|e| error(format!("line {line}: {e}"), "give one number per column"))?;
            let mut q = vec![0.0; model.joints.len()];
            for (column, text) in columns.iter().zip(record.iter()) {
                let value: f64 = text
                    .parse()
                    .ok()
                    .filter(|value: &f64| value.is_finite())
                    .ok_or_else(|| error(format!("line {line}: \"{text}\" is no number"), "give radians"))?;
                q[*column] = value;
            }
            Ok(q)
        })
        .collect()
}
