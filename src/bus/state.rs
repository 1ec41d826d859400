//! What the driver tells the rest of the program: the newest state of the arm, in SI units.

use super::packet::StatusBits;

/// Errors counted per joint since the driver started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JointErrors {
    /// Cycles without a whole answer.
    pub missed: u64,
    /// Positions thrown away because the joint cannot have moved so far.
    pub implausible: u64,
    /// Single transactions that failed after their retries.
    pub transactions: u64,
    /// Times the servo was found without the torque it should have: it lost power.
    pub resets: u64,
    /// Times its overload protection was cleared.
    pub overloads: u64,
}

/// The newest reading of one joint.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct JointReading {
    /// Joint angle, rad.
    pub position_rad: f64,
    /// Joint velocity, rad/s.
    pub velocity_rad_s: f64,
    /// Drive as a fraction of full torque, signed.
    pub load_fraction: f64,
    /// Supply voltage, V.
    pub voltage_v: f64,
    /// Temperature, degrees Celsius.
    pub temperature_c: f64,
    /// Motor current, A.
    pub current_a: f64,
    /// Status bits of the servo.
    pub status: StatusBits,
    /// Age of this reading, s; infinite before the first.
    pub age_s: f64,
    /// Encoder reading after homing, ticks.
    pub ticks: i32,
    /// Whether the torque is on.
    pub torque_on: bool,
    /// Goal that was sent last, rad; the position itself while the torque is off.
    pub goal_rad: f64,
    /// Whether the joint pushes against something and has been made to yield.
    pub stalled: bool,
    /// Errors so far.
    pub errors: JointErrors,
}

/// What the arm does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// No connection.
    #[default]
    Disconnected,
    /// Connected, torque off.
    Limp,
    /// Torque coming on joint by joint.
    Enabling,
    /// Following goals.
    Following,
    /// Torque on, standing still because goals or a joint's answers are missing.
    Holding,
    /// Going slowly to the park pose; the torque goes off there.
    Parking,
    /// Standing still by emergency stop until it is enabled again.
    Stopped,
}

/// Why the arm parks, is limp or has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The program asked for it.
    Requested,
    /// The program ends.
    Shutdown,
    /// No goals came.
    Watchdog,
    /// Emergency stop.
    EmergencyStop,
    /// A joint is too hot.
    Hot {
        /// Joint index.
        joint: usize,
    },
    /// A joint's overload protection keeps tripping.
    Overload {
        /// Joint index.
        joint: usize,
    },
    /// A joint's angle sensor fails.
    Sensor {
        /// Joint index.
        joint: usize,
    },
}

impl Reason {
    /// Why, in words; `names` are the joint names.
    pub fn describe(&self, names: &[&str]) -> String {
        let name = |joint: &usize| names.get(*joint).copied().unwrap_or("a joint").to_owned();
        match self {
            Self::Requested => "as asked".to_owned(),
            Self::Shutdown => "the program ends".to_owned(),
            Self::Watchdog => "no goals came".to_owned(),
            Self::EmergencyStop => "emergency stop".to_owned(),
            Self::Hot { joint } => format!("{} is too hot; let it cool and take load off it", name(joint)),
            Self::Overload { joint } => {
                format!("the overload protection of {} keeps tripping; see what it pushes against", name(joint))
            }
            Self::Sensor { joint } => format!("the angle sensor of {} fails; etude doctor says more", name(joint)),
        }
    }
}

/// Something the user should know while it lasts.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// Joint index, if it is about one.
    pub joint: Option<usize>,
    /// What is the matter.
    pub kind: NoticeKind,
}

/// Kinds of [`Notice`].
#[derive(Clone, Debug, PartialEq)]
pub enum NoticeKind {
    /// The port cannot be opened or was lost.
    Disconnected {
        /// What the system said, with the remedy.
        reason: String,
    },
    /// The joint does not answer.
    Silent,
    /// Another kind of servo has the joint's id, or its registers cannot be read or written.
    Unusable {
        /// Why.
        reason: String,
    },
    /// The servo's homing or limits are not those of the calibration.
    CalibrationDiffers {
        /// Register name.
        register: &'static str,
        /// Value in the servo.
        servo: i32,
        /// Value in the file.
        file: i32,
    },
    /// The joint stands outside its calibrated range, so that its angle cannot be trusted.
    OutsideRange {
        /// Where it stands, ticks.
        ticks: i32,
        /// Lower end of the range, ticks.
        min: i32,
        /// Upper end of the range, ticks.
        max: i32,
    },
    /// Hotter than allowed.
    Hot {
        /// Degrees Celsius.
        celsius: f64,
    },
    /// Status bits are set.
    Status {
        /// Which.
        bits: StatusBits,
    },
    /// Pushing against something.
    Stalled,
    /// Goals would take the hand through the table and are held back.
    AtTable,
}

impl Notice {
    /// The notice in a sentence with the remedy; `names` are the joint names.
    pub fn describe(&self, names: &[&str]) -> String {
        let joint = self.joint.and_then(|joint| names.get(joint)).copied().unwrap_or("arm");
        match &self.kind {
            NoticeKind::Disconnected { reason } => reason.clone(),
            NoticeKind::Silent => format!(
                "{joint}: no answer; check the cable to this servo and from the one before it, and that no other servo has its id"
            ),
            NoticeKind::Unusable { reason } => format!("{joint}: {reason}"),
            NoticeKind::CalibrationDiffers { register, servo, file } => format!(
                "{joint}: {register} is {servo} in the servo and {file} in the calibration file; load the right file, write \
                 the file into the servo, or calibrate again"
            ),
            NoticeKind::OutsideRange { ticks, min, max } => format!(
                "{joint}: stands at {ticks}, outside its calibrated range {min}..{max}; move it inside by hand, or calibrate \
                 this joint again if it is"
            ),
            NoticeKind::Hot { celsius } => {
                format!("{joint}: {celsius:.0} degrees; let it cool, and take load off the arm")
            }
            NoticeKind::Status { bits } => format!("{joint}: reports {}; see `etude doctor`", bits.words().join(", ")),
            NoticeKind::AtTable => "the hand is at the table; goals that lead further down are held back".to_owned(),
            NoticeKind::Stalled => format!("{joint}: pushes against something and has been made to yield"),
        }
    }
}

/// Times in microseconds in classes of about 4 %, 1 us to 10 s: mean, percentiles and maximum without keeping the samples.
#[derive(Clone, Debug, PartialEq)]
pub struct Timings {
    classes: Vec<u64>,
    count: u64,
    sum_us: f64,
    max_us: f64,
}

const CLASSES: usize = 420;
const CLASS_RATIO: f64 = 1.04;

impl Default for Timings {
    fn default() -> Self {
        Timings { classes: vec![0; CLASSES], count: 0, sum_us: 0.0, max_us: 0.0 }
    }
}

impl Timings {
    /// Add a time.
    pub fn add(&mut self, us: f64) {
        let us = us.max(0.0);
        let class = if us <= 1.0 { 0 } else { (us.ln() / CLASS_RATIO.ln()).ceil() as usize };
        self.classes[class.min(CLASSES - 1)] += 1;
        self.count += 1;
        self.sum_us += us;
        self.max_us = self.max_us.max(us);
    }

    /// Number of times.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Mean, us.
    pub fn mean_us(&self) -> f64 {
        self.sum_us / self.count.max(1) as f64
    }

    /// Longest, us.
    pub fn max_us(&self) -> f64 {
        self.max_us
    }

    /// Time that `fraction` of all stay below, us; at most 4 % too long.
    pub fn percentile_us(&self, fraction: f64) -> f64 {
        let wanted = (fraction * self.count as f64).ceil() as u64;
        let mut seen = 0;
        for (class, count) in self.classes.iter().enumerate() {
            seen += count;
            if seen >= wanted && *count > 0 {
                return CLASS_RATIO.powi(class as i32).min(self.max_us);
            }
        }
        self.max_us
    }
}

/// How the driver keeps time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pace {
    /// Time a cycle takes from its start to its last byte sent.
    pub cycle: Timings,
    /// How late cycles start.
    pub lateness: Timings,
    /// Cycles left out because the one before took too long.
    pub skipped: u64,
    /// Time from the reading a goal was made of (see `BusDriver::set_goal_read_at`) to the goal on the wire.
    pub goal: Timings,
}

/// The newest state of an arm.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ArmState {
    /// When it was read, on the driver's clock, s.
    pub time_s: f64,
    /// Cycles so far.
    pub cycle: u64,
    /// What the arm does.
    pub mode: Mode,
    /// Why it parks, is limp or has stopped.
    pub reason: Option<Reason>,
    /// The joints in bus order.
    pub joints: Vec<JointReading>,
    /// What the user should know.
    pub notices: Vec<Notice>,
    /// Times the connection was lost.
    pub reconnects: u64,
    /// Bytes that belonged to no packet.
    pub noise_bytes: u64,
    /// Whether the driver has ended.
    pub finished: bool,
}

impl ArmState {
    /// Whether every joint has a reading no older than `age_s`.
    pub fn is_fresh(&self, age_s: f64) -> bool {
        self.joints.iter().all(|joint| joint.age_s <= age_s)
    }

    /// Joint angles, rad.
    pub fn positions_rad(&self) -> Vec<f64> {
        self.joints.iter().map(|joint| joint.position_rad).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_four_percent() {
        let mut timings = Timings::default();
        (1..=1000).for_each(|us| timings.add(f64::from(us)));
        for (fraction, exact) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let found = timings.percentile_us(fraction);
            assert!(found >= exact && found <= exact * 1.041, "{fraction}: {found}");
        }
        assert_eq!((timings.max_us(), timings.mean_us()), (1000.0, 500.5));
        assert_eq!(Timings::default().percentile_us(0.99), 0.0);
    }

    #[test]
    fn notices_name_the_joint_and_the_remedy() {
        let kind = NoticeKind::CalibrationDiffers { register: "Homing_Offset", servo: 5, file: -5 };
        let text = Notice { joint: Some(1), kind }.describe(&["shoulder_pan", "shoulder_lift"]);
        assert!(text.starts_with("shoulder_lift: Homing_Offset is 5") && text.contains("calibrate"), "{text}");
    }
}
