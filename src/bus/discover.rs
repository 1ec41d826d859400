//! Which serial ports there are, which of them have an arm on them, and what to do when one may not be opened.

use std::sync::Arc;
use std::time::Duration;

use serialport::SerialPortType;

use super::clock::SystemClock;
use super::error::BusError;
use super::port::ServoPort;
use super::registers::{JOINT_IDS, MODEL_STS3215, Register};

/// A serial port and what its USB device says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortInfo {
    /// Device file.
    pub path: String,
    /// USB vendor and product id.
    pub usb_id: Option<(u16, u16)>,
    /// USB serial number: tells two arms apart.
    pub serial_number: Option<String>,
    /// Manufacturer's name.
    pub manufacturer: Option<String>,
    /// Product's name.
    pub product: Option<String>,
}

/// What was found on a port.
#[derive(Debug)]
pub struct Probe {
    /// Servos that answered: id and model number.
    pub servos: Vec<(u8, i32)>,
    /// Supply voltage at the first of them, V: 5 V or 7.4 V leader, 12 V follower.
    pub voltage_v: Option<f64>,
    /// Bytes that made no packet: two servos with one id, or another baud rate.
    pub noise: bool,
}

impl Probe {
    /// Whether all six servos of an arm answered.
    pub fn is_arm(&self) -> bool {
        JOINT_IDS.iter().all(|id| self.servos.contains(&(*id, MODEL_STS3215)))
    }
}

/// The serial ports of this computer, USB ones first. Ports of the main board without a device name are included: an arm can be on any.
///
/// # Errors
/// [`BusError::Io`] if the system cannot list them.
pub fn list_ports() -> Result<Vec<PortInfo>, BusError> {
    let ports = serialport::available_ports()
        .map_err(|error| BusError::Io { what: "listing the serial ports".to_owned(), source: error.into() })?;
    let mut found: Vec<PortInfo> = ports
        .into_iter()
        .map(|port| {
            let mut info =
                PortInfo { path: port.port_name, usb_id: None, serial_number: None, manufacturer: None, product: None };
            if let SerialPortType::UsbPort(usb) = port.port_type {
                info.usb_id = Some((usb.vid, usb.pid));
                info.serial_number = usb.serial_number;
                info.manufacturer = usb.manufacturer;
                info.product = usb.product;
            }
            info
        })
        .collect();
    found.sort_by(|a, b| (a.usb_id.is_none(), &a.path).cmp(&(b.usb_id.is_none(), &b.path)));
    Ok(found)
}

/// The device file of the port with this USB serial number.
pub fn path_of_serial_number(serial_number: &str) -> Option<String> {
    let ports = list_ports().ok()?;
    ports.into_iter().find(|port| port.serial_number.as_deref() == Some(serial_number)).map(|port| port.path)
}

/// Ask the ids 1 to 6 on the port `path` at 1 Mbaud. Only reads; a moving arm is not disturbed.
///
/// # Errors
/// As [`ServoPort::open`], and [`BusError::Unplugged`].
pub fn probe(path: &str) -> Result<Probe, BusError> {
    let mut port = ServoPort::open(path, 1_000_000, SystemClock::shared())?;
    probe_port(&mut port)
}

/// Ask the ids 1 to 6 on an open port.
///
/// # Errors
/// [`BusError::Unplugged`].
pub fn probe_port(port: &mut ServoPort) -> Result<Probe, BusError> {
    let read = port.sync_read(&JOINT_IDS, Register::MODEL.address, Register::MODEL.size)?;
    let mut probe = Probe { servos: Vec::new(), voltage_v: None, noise: read.noise_bytes > 0 };
    for (id, answer) in JOINT_IDS.iter().zip(read.answers) {
        let model = match answer {
            Some((bytes, _)) => Some(Register::MODEL.decode(&bytes)),
            // Not every adapter passes a sync read; one by one then.
            None => match port.read(*id, Register::MODEL) {
                Ok(answer) => Some(answer.value),
                Err(error @ BusError::Unplugged { .. }) => return Err(error),
                Err(error) => {
                    probe.noise |= matches!(error, BusError::Corrupt { .. });
                    None
                }
            },
        };
        probe.servos.extend(model.map(|model| (*id, model)));
    }
    if let Some((id, _)) = probe.servos.first() {
        let voltage = port.read(*id, Register::PRESENT_VOLTAGE).ok();
        probe.voltage_v = voltage.map(|answer| f64::from(answer.value) * super::registers::VOLT_PER_UNIT);
    }
    Ok(probe)
}

/// The text of a udev rule that lets everybody at this computer open the serial adapters arms come with.
pub const UDEV_RULE: &str = "\
# Serial adapters of SO-100 and SO-101 arms: usable by whoever sits at this computer.
SUBSYSTEM==\"tty\", ATTRS{idVendor}==\"1a86\", MODE=\"0666\", TAG+=\"uaccess\"
SUBSYSTEM==\"tty\", ATTRS{idVendor}==\"0403\", MODE=\"0666\", TAG+=\"uaccess\"
SUBSYSTEM==\"tty\", ATTRS{idVendor}==\"10c4\", MODE=\"0666\", TAG+=\"uaccess\"
";

/// Where the rule goes.
pub const UDEV_RULE_PATH: &str = "/etc/udev/rules.d/99-etude-arm.rules";

/// What to do when `path` may not be opened: the group that may, or the udev rule.
pub fn permission_remedy(path: &str) -> String {
    let group = owner_group(path);
    let user = std::env::var("USER").unwrap_or_else(|_| "$USER".to_owned());
    let joining = match group.as_deref() {
        Some("root") | None => String::new(),
        Some(group) => format!("Run `sudo usermod -aG {group} {user}` and log in again. Or: "),
    };
    format!(
        "{joining}run `etude ports --fix-permissions`, which writes {UDEV_RULE_PATH}, then `sudo udevadm control --reload && \
         sudo udevadm trigger`, and plug the arm in again"
    )
}

/// Name of the group that owns a device file.
#[cfg(unix)]
fn owner_group(path: &str) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let gid = std::fs::metadata(path).ok()?.gid();
    let groups = std::fs::read_to_string("/etc/group").ok()?;
    let entry = groups.lines().find(|line| line.split(':').nth(2).and_then(|id| id.parse().ok()) == Some(gid))?;
    entry.split(':').next().map(str::to_owned)
}

#[cfg(not(unix))]
fn owner_group(_path: &str) -> Option<String> {
    None
}

/// Put the udev rule in place; needs the rights of the administrator.
///
/// # Errors
/// [`BusError::Io`] with the command to run instead.
pub fn write_udev_rule(path: &std::path::Path) -> Result<(), BusError> {
    std::fs::write(path, UDEV_RULE).map_err(|source| {
        let what = format!("{}: writing the rule; run the same command with sudo", path.display());
        BusError::Io { what, source }
    })
}

/// A port opened for set-up or diagnosis: patient, with retries.
///
/// # Errors
/// As [`ServoPort::open`].
pub fn open_patient(path: &str) -> Result<ServoPort, BusError> {
    let clock: Arc<dyn super::clock::Clock> = SystemClock::shared();
    let mut port = ServoPort::open(path, 1_000_000, clock)?;
    port.reply_timeout = Duration::from_millis(50);
    port.retries = 3;
    Ok(port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::calibration_file::ArmCalibration;
    use crate::bus::virtual_bus::VirtualBus;
    use crate::bus::virtual_bus::sim_port::SharedBus;

    fn port_on(bus: VirtualBus) -> ServoPort {
        let bus = SharedBus::new(bus);
        ServoPort::new(bus.open(1_000_000).unwrap(), 1_000_000, Arc::new(bus.clone()))
    }

    #[test]
    fn an_arm_is_recognised_and_a_missing_servo_named() {
        let calibration = ArmCalibration::from_json(include_str!("../../tests/fixtures/bus/follower.json")).unwrap();
        let found = probe_port(&mut port_on(VirtualBus::calibrated(&calibration, &[]))).unwrap();
        assert!(found.is_arm() && !found.noise);
        assert_eq!(found.voltage_v, Some(12.0));
        let mut five = calibration;
        five.joints.remove(2);
        let found = probe_port(&mut port_on(VirtualBus::calibrated(&five, &[]))).unwrap();
        assert!(!found.is_arm());
        assert_eq!(found.servos.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [1, 2, 4, 5, 6]);
    }

    #[test]
    fn new_servos_with_one_id_are_noise() {
        let found = probe_port(&mut port_on(VirtualBus::factory_new(3))).unwrap();
        assert!(found.noise && !found.is_arm());
    }

    #[test]
    fn a_port_that_is_not_there_or_not_ours_is_explained() {
        let missing = probe("/dev/no-such-port").unwrap_err();
        assert!(matches!(&missing, BusError::NoSuchPort { path } if path == "/dev/no-such-port"), "{missing}");
        let remedy = permission_remedy("/dev/null");
        assert!(remedy.contains("--fix-permissions") && remedy.contains("udevadm"), "{remedy}");
        let folder = tempfile::tempdir().unwrap();
        let rule = folder.path().join("99-etude-arm.rules");
        write_udev_rule(&rule).unwrap();
        assert!(std::fs::read_to_string(&rule).unwrap().contains("1a86"));
        let refused = write_udev_rule(&folder.path().join("none/rule")).unwrap_err().to_string();
        assert!(refused.contains("sudo"), "{refused}");
    }
}
