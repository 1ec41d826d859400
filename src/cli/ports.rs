//! `etude ports`: serial ports, and which arms are on them.

use super::arm::{describe_probe, known, same_file};
use super::{CliError, say};
use crate::bus::discover::{self, PortInfo, UDEV_RULE_PATH};
use crate::bus::virtual_bus::registry;
use clap::Args;
use serde::Serialize;
use std::path::Path;

/// Options of `etude ports`.
#[derive(Args, Debug)]
pub(super) struct PortsArgs {
    /// Further ports to look at, such as the link of a virtual arm.
    #[arg(value_name = "PORT")]
    also: Vec<String>,
    /// Ask for servos on ports of the main board, too; takes up to a second each.
    #[arg(long)]
    all: bool,
    /// One JSON line per port.
    #[arg(long)]
    json: bool,
    /// Write the udev rule that lets you open the ports of arms; needs sudo.
    #[arg(long)]
    fix_permissions: bool,
}

/// A port and what is on it.
#[derive(Serialize)]
struct Found {
    path: String,
    usb_vendor: Option<String>,
    usb_product: Option<String>,
    serial_number: Option<String>,
    manufacturer: Option<String>,
    product: Option<String>,
    /// Name this computer knows the arm by.
    id: Option<String>,
    /// `follower` or `leader`, if known.
    role: Option<&'static str>,
    /// Whether all six servos of an arm answer; nothing if they were not asked.
    is_arm: Option<bool>,
    /// Ids that answered.
    servo_ids: Vec<u8>,
    voltage_v: Option<f64>,
    /// What it emulates, if it is a running `etude virtual-arm`.
    emulated: Option<String>,
    /// What is there, or why it could not be asked, in words.
    what: String,
}

pub(super) fn ports(args: &PortsArgs) -> Result<(), CliError> {
    if args.fix_permissions {
        discover::write_udev_rule(Path::new(UDEV_RULE_PATH))?;
        say(format!("{UDEV_RULE_PATH} written"))?;
        return say("now run: sudo udevadm control --reload && sudo udevadm trigger; then plug the arm in again");
    }
    // Emulated arms are no serial ports to the system, but to everybody else.
    let virtual_arms = registry::running(&registry::folder());
    let also: Vec<String> = args.also.iter().cloned().chain(virtual_arms.iter().map(|arm| arm.port.clone())).collect();
    let mut listed = discover::list_ports()?;
    for path in &also {
        if !listed.iter().any(|port| same_file(&port.path, path)) {
            listed.push(PortInfo {
                path: path.clone(),
                usb_id: None,
                serial_number: None,
                manufacturer: None,
                product: None,
            });
        }
    }
    let mut shown = 0;
    for port in &listed {
        let asked = args.all || port.usb_id.is_some() || also.iter().any(|path| same_file(&port.path, path));
        // A PC lists dozens of ports that lead nowhere.
        if !asked && port.path.starts_with("/dev/ttyS") {
            continue;
        }
        shown += 1;
        let mut found = examine(port, asked)?;
        if let Some(arm) = virtual_arms.iter().find(|arm| same_file(&arm.port, &port.path)) {
            found.emulated = Some(arm.what.clone());
        }
        if args.json {
            say(serde_json::to_string(&found).unwrap_or_default())?;
        } else {
            say(describe(&found))?;
        }
    }
    if shown == 0 && !args.json {
        say(
            "no USB serial ports; plug the arm's USB cable in and switch its power on (--all asks the main board's ports)",
        )?;
        say("without an arm, `etude virtual-arm --link arm` emulates one, which is then listed here")?;
    }
    Ok(())
}

fn examine(port: &PortInfo, asked: bool) -> Result<Found, CliError> {
    use crate::bus::calibration_file::Role;
    let known = known(port)?;
    let mut found = Found {
        path: port.path.clone(),
        usb_vendor: port.usb_id.map(|(vendor, _)| format!("{vendor:04x}")),
        usb_product: port.usb_id.map(|(_, product)| format!("{product:04x}")),
        serial_number: port.serial_number.clone(),
        manufacturer: port.manufacturer.clone(),
        product: port.product.clone(),
        id: known.as_ref().map(|arm| arm.calibration_id.clone()),
        role: known.as_ref().map(|arm| if arm.role == Role::Leader { "leader" } else { "follower" }),
        is_arm: None,
        servo_ids: Vec::new(),
        voltage_v: None,
        emulated: None,
        what: "not asked (--all)".into(),
    };
    if !asked {
        return Ok(found);
    }
    match discover::probe(&port.path) {
        Ok(probe) => {
            found.is_arm = Some(probe.is_arm());
            found.servo_ids = probe.servos.iter().map(|(id, _)| *id).collect();
            found.voltage_v = probe.voltage_v;
            found.what = describe_probe(&probe);
        }
        Err(error) => {
            let text = error.to_string();
            found.what = text.strip_prefix(&format!("{}: ", port.path)).unwrap_or(&text).to_owned();
        }
    }
    Ok(found)
}

fn describe(found: &Found) -> String {
    let arm = match (&found.id, found.role, found.is_arm) {
        (Some(id), Some(role), _) => format!("{role} \"{id}\", {}", found.what),
        // Followers have 12 V or 7.4 V supplies and leaders 7.4 V or 5 V: a hint, not more.
        (_, _, Some(true)) if found.voltage_v.is_some_and(|volts| volts > 9.0) => {
            format!("{}, so a follower; not known here: etude calibrate --port {} --id NAME", found.what, found.path)
        }
        (_, _, Some(true)) => {
            format!("{}; not known here: etude calibrate --port {} --id NAME [--leader]", found.what, found.path)
        }
        (_, _, Some(false)) if !found.servo_ids.is_empty() || found.emulated.is_some() => {
            let (what, path) = (&found.what, &found.path);
            format!("{what}; for new motors: etude setup-motors --port {path}, else: etude doctor --port {path}")
        }
        _ => found.what.clone(),
    };
    let usb = match (&found.usb_vendor, &found.usb_product) {
        (Some(vendor), Some(product)) => {
            let name = found.product.as_deref().or(found.manufacturer.as_deref()).unwrap_or("unnamed");
            let serial =
                found.serial_number.as_deref().map_or(String::new(), |number| format!(", serial number {number}"));
            format!("  [{vendor}:{product} {name}{serial}]")
        }
        _ => String::new(),
    };
    let emulated = found.emulated.as_ref().map_or(String::new(), |what| format!("  [emulated: {what}]"));
    format!("{}: {arm}{usb}{emulated}", found.path)
}
