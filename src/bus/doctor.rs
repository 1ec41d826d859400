//! Every joint's health in words: what is wrong, why that happens, what to do.

use super::calibration::JointCalibration;
use super::calibration_file::ArmCalibration;
use super::error::BusError;
use super::packet::StatusBits;
use super::port::ServoPort;
use super::registers::{
    LOAD_PER_UNIT, MODEL_STS3215, PRESENT_ADDRESS, PRESENT_LEN, Register, VOLT_PER_UNIT, current_a,
};
use super::settings::{DriverSettings, JointSettings, calibration_registers};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Good to know.
    Note,
    /// Works, but not as it should, or not for long.
    Warning,
    /// The arm must not be used like this.
    Fault,
}

/// Something found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What was found.
    pub what: String,
    /// Why that happens.
    pub cause: &'static str,
    /// What to do.
    pub cure: &'static str,
}

/// One joint's health.
#[derive(Clone, Debug, PartialEq)]
pub struct JointReport {
    /// Joint name.
    pub name: String,
    /// Servo id.
    pub id: u8,
    /// Firmware version, if it answers.
    pub firmware: Option<(i32, i32)>,
    /// Supply voltage, V.
    pub voltage_v: f64,
    /// Temperature, degrees Celsius.
    pub temperature_c: f64,
    /// Load, fraction of full torque.
    pub load_fraction: f64,
    /// Current, A.
    pub current_a: f64,
    /// Status bits.
    pub status: StatusBits,
    /// Share of test reads without a whole answer, 0..=1.
    pub lost_fraction: f64,
    /// What was found, worst first.
    pub findings: Vec<Finding>,
}

/// Test reads per joint.
const READS: u32 = 50;
/// More lost answers than this share are a warning; one in some thousand is usual on USB.
const MANY_LOST: f64 = 0.01;

/// Examine all joints of an arm. Only reads.
///
/// # Errors
/// [`BusError::Unplugged`]; a servo that does not answer is a finding.
pub fn examine(
    port: &mut ServoPort,
    settings: &DriverSettings,
    calibration: Option<&ArmCalibration>,
) -> Result<Vec<JointReport>, BusError> {
    let mut reports = Vec::with_capacity(settings.joints.len());
    for (index, joint) in settings.joints.iter().enumerate() {
        let calibration = calibration.and_then(|arm| arm.joint(&joint.name));
        let id = calibration.map_or(index as u8 + 1, |calibration| calibration.id);
        let table = match port.read_bytes(id, 0, 71) {
            Ok((table, _)) => Ok(table),
            Err(error @ BusError::Unplugged { .. }) => return Err(error),
            Err(error) => Err(error),
        };
        let mut lost = 0;
        if table.is_ok() {
            for _ in 0..READS {
                lost += u32::from(!port.sync_read(&[id], PRESENT_ADDRESS, PRESENT_LEN)?.is_complete());
            }
        }
        let lost_fraction = if table.is_ok() { f64::from(lost) / f64::from(READS) } else { 1.0 };
        reports.push(report(joint, id, calibration, table.as_deref(), lost_fraction));
    }
    compare_firmware(&mut reports);
    Ok(reports)
}

/// The report of one joint from its control table (71 bytes from address 0), or from why it could not be read.
pub fn report(
    joint: &JointSettings,
    id: u8,
    calibration: Option<&JointCalibration>,
    table: Result<&[u8], &BusError>,
    lost_fraction: f64,
) -> JointReport {
    let get = |register: Register| table.ok().and_then(|table| register.in_block(0, table)).unwrap_or(0);
    let mut report = JointReport {
        name: joint.name.clone(),
        id,
        firmware: table.is_ok().then(|| (get(Register::FIRMWARE_MAJOR), get(Register::FIRMWARE_MINOR))),
        voltage_v: f64::from(get(Register::PRESENT_VOLTAGE)) * VOLT_PER_UNIT,
        temperature_c: f64::from(get(Register::PRESENT_TEMPERATURE)),
        load_fraction: f64::from(get(Register::PRESENT_LOAD)) * LOAD_PER_UNIT,
        current_a: current_a(get(Register::PRESENT_CURRENT)),
        status: StatusBits(get(Register::STATUS) as u8),
        lost_fraction,
        findings: Vec::new(),
    };
    let findings = match table {
        Ok(table) => examine_table(joint, calibration, table, &report),
        Err(error) => vec![silence(error)],
    };
    report.findings = findings;
    report.findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    report
}

fn silence(error: &BusError) -> Finding {
    match error {
        BusError::Corrupt { .. } => Finding {
            severity: Severity::Fault,
            what: "its answers are damaged".to_owned(),
            cause: "two servos with the same id talk at once, or a plug is loose",
            cure: "connect this servo alone and run `etude setup-motors --joint` with its name; else press every plug home",
        },
        _ => Finding {
            severity: Severity::Fault,
            what: "it does not answer".to_owned(),
            cause: "the chain is broken before it, it has no power, or it has another id or baud rate",
            cure: "if all servos after it are silent too, replace the cable before it; else connect it alone and run `etude setup-motors --joint` with its name",
        },
    }
}

fn examine_table(
    joint: &JointSettings,
    calibration: Option<&JointCalibration>,
    table: &[u8],
    report: &JointReport,
) -> Vec<Finding> {
    let get = |register: Register| register.in_block(0, table).unwrap_or(0);
    let mut findings = Vec::new();
    let mut found = |severity, what: String, cause, cure| findings.push(Finding { severity, what, cause, cure });
    use Severity::{Fault, Note, Warning};
    if get(Register::MODEL) != MODEL_STS3215 {
        let what = format!("it is model {}, not an STS3215 (777)", get(Register::MODEL));
        found(Fault, what, "another servo was built in", "replace it, or correct the arm's configuration");
    }
    let status = report.status;
    if status.contains(StatusBits::OVERLOAD) {
        found(
            Fault,
            "its LED blinks: overload protection has tripped, it holds with a fraction of its torque".to_owned(),
            "it pushed against a stop, an object or its own cable for seconds, or carries too much",
            "free the joint, check that its cable has slack and its horn turns easily by hand, then switch its torque off and on \
             (`etude park` does)",
        );
    }
    if status.contains(StatusBits::OVERHEAT) {
        found(
            Fault,
            format!("it has switched itself off at {:.0} degrees", report.temperature_c),
            "it held a load for minutes",
            "let it cool for ten minutes; park the arm between episodes",
        );
    } else if report.temperature_c >= joint.max_temperature_c - 7.0 {
        let what =
            format!("it is warm: {:.0} degrees, the arm parks at {:.0}", report.temperature_c, joint.max_temperature_c);
        found(Warning, what, "it has held a load for some time", "park the arm for some minutes");
    }
    if status.contains(StatusBits::OVERCURRENT) {
        let cause = "its motor is blocked or shorted";
        found(
            Fault,
            "over-current protection has tripped".to_owned(),
            cause,
            "free the joint; if it trips again, replace the servo",
        );
    }
    if status.contains(StatusBits::SENSOR) {
        let cause = "its magnet or sensor is damaged";
        found(Fault, "its angle sensor fails".to_owned(), cause, "replace the servo");
    }
    voltage(&mut found, get(Register::MIN_VOLTAGE), get(Register::MAX_VOLTAGE), report);
    if report.lost_fraction > MANY_LOST {
        found(
            Warning,
            format!("{:.0} % of its answers are lost or damaged", report.lost_fraction * 100.0),
            "a loose plug, a cable along the power supply, a hub, or a second servo with its id",
            "press the plugs of this servo and the one before it home; plug the arm into the computer directly",
        );
    }
    if let Some(calibration) = calibration {
        for (register, file) in calibration_registers(calibration) {
            if get(register) != file {
                found(
                    Fault,
                    format!("{} is {} in the servo and {file} in the calibration file", register.name, get(register)),
                    "the file belongs to another arm, or the servo was replaced or calibrated by another program",
                    "load the right file, or calibrate this joint again",
                );
            }
        }
    }
    for (register, wanted) in joint.eeprom(get(Register::PHASE)) {
        if get(register) != wanted {
            let what = format!("{} is {}, should be {wanted}", register.name, get(register));
            found(Note, what, "the servo is new or was set by another program", "written at the next connection");
        }
    }
    findings
}

fn voltage(
    found: &mut impl FnMut(Severity, String, &'static str, &'static str),
    min: i32,
    max: i32,
    report: &JointReport,
) {
    let volts = report.voltage_v;
    let (min, max) = (f64::from(min) * VOLT_PER_UNIT, f64::from(max) * VOLT_PER_UNIT);
    if volts > max {
        found(
            Severity::Fault,
            format!("its LED blinks: {volts:.1} V is above its limit of {max:.1} V"),
            "the power supply is for the other kind of arm (12 V on a 7.4 V one)",
            "unplug it now and use the right one; the servo may be damaged if it stays",
        );
    } else if volts < min {
        found(
            Severity::Fault,
            format!("its LED blinks: {volts:.1} V is below its limit of {min:.1} V"),
            "the power supply is off, too weak, or the USB cable alone feeds the board",
            "switch the power supply on; use one of at least 2 A at 12 V or 4 A at 5 V",
        );
    } else if report.status.contains(StatusBits::VOLTAGE) {
        let cause = "the supply sags when several joints pull";
        found(
            Severity::Warning,
            format!("it saw a bad voltage, now {volts:.1} V"),
            cause,
            "use a stronger power supply",
        );
    }
}

/// LeRobot refuses an arm whose servos have different firmware.
fn compare_firmware(reports: &mut [JointReport]) {
    let mut versions: Vec<(i32, i32)> = reports.iter().filter_map(|report| report.firmware).collect();
    versions.sort_unstable();
    versions.dedup();
    let Some(newest) = versions.last().copied().filter(|_| versions.len() > 1) else { return };
    for report in reports.iter_mut() {
        if let Some((major, minor)) = report.firmware.filter(|version| *version != newest) {
            report.findings.push(Finding {
                severity: Severity::Note,
                what: format!("its firmware is {major}.{minor}, another servo has {}.{}", newest.0, newest.1),
                cause: "the servos are from different batches",
                cure: "nothing here; LeRobot refuses such an arm until Feetech's program has updated it",
            });
        }
    }
}

impl std::fmt::Display for JointReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (servo {}): ", self.name, self.id)?;
        match self.firmware {
            Some((major, minor)) => write!(
                f,
                "{:.1} V, {:.0} degrees, load {:.0} %, {:.2} A, firmware {major}.{minor}",
                self.voltage_v,
                self.temperature_c,
                self.load_fraction * 100.0,
                self.current_a
            )?,
            None => write!(f, "silent")?,
        }
        if self.findings.is_empty() {
            return write!(f, ", healthy");
        }
        for finding in &self.findings {
            // Nothing needs to be done about these.
            if finding.severity == Severity::Note {
                write!(f, "\n  note: {} ({})", finding.what, finding.cure)?;
                continue;
            }
            let word = match finding.severity {
                Severity::Note | Severity::Warning => "warning",
                Severity::Fault => "FAULT",
            };
            write!(f, "\n  {word}: {}\n    because: {}\n    do: {}", finding.what, finding.cause, finding.cure)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::virtual_bus::VirtualBus;
    use crate::bus::virtual_bus::fault::FaultKind;
    use crate::bus::virtual_bus::sim_port::SharedBus;
    use std::sync::Arc;

    fn calibration() -> ArmCalibration {
        ArmCalibration::from_json(include_str!("../../tests/fixtures/bus/follower.json")).unwrap()
    }

    fn arm() -> (SharedBus, ServoPort) {
        let bus = SharedBus::new(VirtualBus::calibrated(&calibration(), &[]));
        let settings = DriverSettings::default();
        for (servo, joint) in bus.lock().servos_mut().iter_mut().zip(&settings.joints) {
            for (register, value) in joint.eeprom(servo.get(Register::PHASE)) {
                servo.set(register, value);
            }
        }
        let mut port = ServoPort::new(bus.open(1_000_000).unwrap(), 1_000_000, Arc::new(bus.clone()));
        port.retries = 0;
        (bus, port)
    }

    fn examined(bus: &SharedBus, port: &mut ServoPort, after_s: f64) -> Vec<JointReport> {
        let until_ns = bus.lock().now_ns() + (after_s * 1e9) as u64;
        bus.lock().advance_to(until_ns);
        examine(port, &DriverSettings::default(), Some(&calibration())).unwrap()
    }

    #[test]
    fn a_healthy_arm_has_no_findings() {
        let (bus, mut port) = arm();
        let reports = examined(&bus, &mut port, 0.1);
        assert!(reports.iter().all(|report| report.findings.is_empty()), "{reports:#?}");
        assert_eq!(
            reports[0].to_string(),
            "shoulder_pan (servo 1): 12.0 V, 25 degrees, load 0 %, 0.00 A, firmware 3.10, healthy"
        );
    }

    #[test]
    fn each_trouble_is_named_on_its_joint_with_a_cure() {
        let troubles: [(FaultKind, usize, &str, &str); 6] = [
            (FaultKind::Overload { servo: 1 }, 1, "LED blinks: overload", "torque off and on"),
            (FaultKind::Hot { servo: 2, celsius: 72.0 }, 2, "switched itself off at 72", "cool"),
            (FaultKind::Hot { servo: 2, celsius: 58.0 }, 2, "warm", "park"),
            (FaultKind::DropReply { servo: Some(3), probability: 1.0 }, 3, "does not answer", "cable"),
            (FaultKind::BrownOut { servo: Some(4), volts: 16.0 }, 4, "16.0 V is above", "right one"),
            (FaultKind::LateReply { servo: Some(5), probability: 0.2, delay_s: 0.09 }, 5, "are lost", "plugs"),
        ];
        for (kind, joint, what, cure) in troubles {
            let (bus, mut port) = arm();
            port.retries = 3;
            bus.lock().inject(1e5, kind);
            let reports = examined(&bus, &mut port, 0.1);
            let first = reports[joint].findings.first().unwrap_or_else(|| panic!("{kind:?}: {reports:#?}"));
            assert!(first.what.contains(what) && first.cure.contains(cure), "{kind:?}: {first:?}");
            let others = reports.iter().enumerate().filter(|(index, _)| *index != joint);
            assert!(others.into_iter().all(|(_, report)| report.findings.is_empty()), "{kind:?}: {reports:#?}");
        }
    }

    #[test]
    fn registers_that_differ_are_listed() {
        let (bus, mut port) = arm();
        bus.lock().servos_mut()[0].set(Register::P_GAIN, 32);
        bus.lock().servos_mut()[1].set(Register::HOMING_OFFSET, 0);
        bus.lock().servos_mut()[2].set(Register::FIRMWARE_MINOR, 9);
        let reports = examined(&bus, &mut port, 0.1);
        let first = |joint: usize| (reports[joint].findings[0].severity, reports[joint].findings[0].what.as_str());
        assert_eq!(first(0), (Severity::Note, "P_Coefficient is 32, should be 16"));
        assert_eq!(first(1), (Severity::Fault, "Homing_Offset is 0 in the servo and 1034 in the calibration file"));
        assert_eq!(first(2), (Severity::Note, "its firmware is 3.9, another servo has 3.10"));
    }
}
