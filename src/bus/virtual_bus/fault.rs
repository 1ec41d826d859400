//! Faults on the emulated bus: a script in RON, or a random one with a seed.
//!
//! ```ron
//! [
//!     (at_s: 1.0, for_s: 0.5, kind: CorruptReply(servo: Some(3), probability: 0.5)),
//!     (at_s: 4.0, for_s: 0.3, kind: Unplug),
//! ]
//! ```

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

/// A kind of fault. `servo` is the position on the bus, 0 first; `None` means every servo.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum FaultKind {
    /// Answers that never come.
    DropReply {
        /// Which servo.
        servo: Option<usize>,
        /// Per answer.
        probability: f64,
    },
    /// Answers with changed, missing or additional bytes.
    CorruptReply {
        /// Which servo.
        servo: Option<usize>,
        /// Per answer.
        probability: f64,
    },
    /// Answers that come late.
    LateReply {
        /// Which servo.
        servo: Option<usize>,
        /// Per answer.
        probability: f64,
        /// How late, s.
        delay_s: f64,
    },
    /// Answers that come twice.
    DuplicateReply {
        /// Which servo.
        servo: Option<usize>,
        /// Per answer.
        probability: f64,
    },
    /// Instructions no servo hears.
    DropInstruction {
        /// Per instruction.
        probability: f64,
    },
    /// Instructions that reach the servos with a changed byte.
    CorruptInstruction {
        /// Per instruction.
        probability: f64,
    },
    /// The USB cable is out.
    Unplug,
    /// A servo answers to another one's id.
    DuplicateId {
        /// Which servo.
        servo: usize,
        /// The id it takes.
        id: u8,
    },
    /// The supply sags, or is the wrong one; below 4 V a servo resets and comes up limp.
    BrownOut {
        /// Which servo.
        servo: Option<usize>,
        /// Supply voltage meanwhile, V.
        volts: f64,
    },
    /// A servo trips its overload protection.
    Overload {
        /// Which servo.
        servo: usize,
    },
    /// A servo is hot.
    Hot {
        /// Which servo.
        servo: usize,
        /// Its temperature, degrees Celsius.
        celsius: f64,
    },
}

/// A fault and when it is there.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Start, s of bus time.
    pub at_s: f64,
    /// Duration, s.
    pub for_s: f64,
    /// What.
    pub kind: FaultKind,
}

/// Read a script.
///
/// # Errors
/// Where it is wrong, or which number makes no sense.
pub fn parse_script(text: &str) -> Result<Vec<Fault>, String> {
    let options = ron::Options::default().with_default_extension(ron::extensions::Extensions::IMPLICIT_SOME);
    let script: Vec<Fault> = options.from_str(text).map_err(|error| format!("fault script: {error}"))?;
    for (index, fault) in script.iter().enumerate() {
        let probability = match fault.kind {
            FaultKind::DropReply { probability, .. }
            | FaultKind::CorruptReply { probability, .. }
            | FaultKind::LateReply { probability, .. }
            | FaultKind::DuplicateReply { probability, .. }
            | FaultKind::DropInstruction { probability }
            | FaultKind::CorruptInstruction { probability } => probability,
            _ => 0.0,
        };
        let times = [fault.at_s, fault.for_s];
        if !(0.0..=1.0).contains(&probability) || times.iter().any(|time| !time.is_finite() || *time < 0.0) {
            return Err(format!(
                "fault script: fault {index}: times must be 0 or more and probabilities 0..=1: {fault:?}"
            ));
        }
    }
    Ok(script)
}

/// A random script: episodes of faults that overlap, each followed by `quiet_s` without any, until `end_s`.
pub fn random_script(seed: u64, servos: usize, quiet_s: f64, end_s: f64) -> Vec<Fault> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut script = Vec::new();
    let mut at_s = quiet_s;
    let servos = servos.max(1);
    while at_s < end_s {
        let episode_s = rng.random_range(0.2..3.0);
        for _ in 0..rng.random_range(1..5) {
            let for_s = rng.random_range(0.05..episode_s);
            let start_s = at_s + rng.random_range(0.0..=episode_s - for_s);
            script.push(Fault { at_s: start_s, for_s, kind: random_kind(&mut rng, servos) });
        }
        at_s += episode_s + quiet_s;
    }
    script.sort_by(|first, second| first.at_s.total_cmp(&second.at_s));
    script
}

fn random_kind(rng: &mut ChaCha8Rng, servos: usize) -> FaultKind {
    let servo = rng.random_range(0..servos);
    let some = rng.random_bool(0.5).then_some(servo);
    let probability = rng.random_range(0.05..=1.0);
    match rng.random_range(0..20) {
        0..4 => FaultKind::DropReply { servo: some, probability },
        4..8 => FaultKind::CorruptReply { servo: some, probability },
        8..11 => FaultKind::LateReply { servo: some, probability, delay_s: rng.random_range(0.001..0.1) },
        11..14 => FaultKind::DuplicateReply { servo: some, probability },
        14 => FaultKind::DropInstruction { probability },
        15 => FaultKind::CorruptInstruction { probability },
        16 => FaultKind::Unplug,
        17 => FaultKind::DuplicateId { servo, id: rng.random_range(1..=servos as u8) },
        18 => FaultKind::BrownOut { servo: some, volts: rng.random_range(0.0..7.0) },
        _ if rng.random_bool(0.5) => FaultKind::Overload { servo },
        _ => FaultKind::Hot { servo, celsius: rng.random_range(60.0..90.0) },
    }
}

/// What happens to one packet.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Fate {
    Deliver,
    Drop,
    Corrupt,
    Late(f64),
    Twice,
}

/// Plays a script.
#[derive(Debug)]
pub struct FaultPlayer {
    script: Vec<Fault>,
    next: usize,
    active: Vec<Fault>,
    rng: ChaCha8Rng,
    /// Packets spoilt and lasting faults begun so far.
    pub injected: u64,
    /// When the last fault ended, s.
    pub last_end_s: f64,
}

impl FaultPlayer {
    /// Play `script`, with chance decided by `seed`.
    pub fn new(mut script: Vec<Fault>, seed: u64) -> Self {
        script.sort_by(|first, second| first.at_s.total_cmp(&second.at_s));
        let rng = ChaCha8Rng::seed_from_u64(seed);
        FaultPlayer { script, next: 0, active: Vec::new(), rng, injected: 0, last_end_s: 0.0 }
    }

    /// Faults active now.
    pub fn active(&self) -> impl Iterator<Item = &FaultKind> {
        self.active.iter().map(|fault| &fault.kind)
    }

    /// Whether no fault is active now.
    pub fn is_quiet(&self) -> bool {
        self.active.is_empty()
    }

    /// Begin a fault now.
    pub fn inject(&mut self, now_s: f64, for_s: f64, kind: FaultKind) {
        self.begin(Fault { at_s: now_s, for_s, kind });
    }

    /// Move on to `now_s`; whether the set of active faults changed.
    pub(super) fn advance(&mut self, now_s: f64) -> bool {
        let before = self.active.len();
        if let Some(end_s) = self.active.iter().map(|f| f.at_s + f.for_s).filter(|end| *end <= now_s).reduce(f64::max) {
            self.last_end_s = self.last_end_s.max(end_s);
            self.active.retain(|fault| fault.at_s + fault.for_s > now_s);
        }
        let mut changed = self.active.len() != before;
        while let Some(fault) = self.script.get(self.next).filter(|fault| fault.at_s <= now_s).copied() {
            self.next += 1;
            self.begin(fault);
            changed = true;
        }
        changed
    }

    fn begin(&mut self, fault: Fault) {
        use FaultKind as K;
        if matches!(
            fault.kind,
            K::Unplug | K::DuplicateId { .. } | K::BrownOut { .. } | K::Overload { .. } | K::Hot { .. }
        ) {
            self.injected += 1;
        }
        self.active.push(fault);
    }

    pub(super) fn instruction_fate(&mut self) -> Fate {
        for index in 0..self.active.len() {
            let (probability, fate) = match self.active[index].kind {
                FaultKind::DropInstruction { probability } => (probability, Fate::Drop),
                FaultKind::CorruptInstruction { probability } => (probability, Fate::Corrupt),
                _ => continue,
            };
            if self.strikes(probability) {
                return fate;
            }
        }
        Fate::Deliver
    }

    pub(super) fn reply_fate(&mut self, from: usize) -> Fate {
        for index in 0..self.active.len() {
            let (servo, probability, fate) = match self.active[index].kind {
                FaultKind::DropReply { servo, probability } => (servo, probability, Fate::Drop),
                FaultKind::CorruptReply { servo, probability } => (servo, probability, Fate::Corrupt),
                FaultKind::LateReply { servo, probability, delay_s } => (servo, probability, Fate::Late(delay_s)),
                FaultKind::DuplicateReply { servo, probability } => (servo, probability, Fate::Twice),
                _ => continue,
            };
            if servo.is_none_or(|servo| servo == from) && self.strikes(probability) {
                return fate;
            }
        }
        Fate::Deliver
    }

    /// Damage a packet: change bytes, lose some, or add some.
    pub(super) fn corrupt(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..self.rng.random_range(1..4) {
            if bytes.is_empty() {
                return;
            }
            let at = self.rng.random_range(0..bytes.len());
            match self.rng.random_range(0..4) {
                0 => drop(bytes.remove(at)),
                1 => bytes.insert(at, self.rng.random()),
                2 => bytes.truncate(at),
                _ => bytes[at] ^= 1 << self.rng.random_range(0..8),
            }
        }
    }

    fn strikes(&mut self, probability: f64) -> bool {
        let strikes = self.rng.random::<f64>() < probability;
        self.injected += u64::from(strikes);
        strikes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_read_and_nonsense_is_refused() {
        let script = parse_script("[(at_s: 1.0, for_s: 0.5, kind: DropReply(servo: 3, probability: 0.5))]").unwrap();
        assert_eq!(script[0].kind, FaultKind::DropReply { servo: Some(3), probability: 0.5 });
        for (wrong, expected) in [
            ("[(at_s: 1.0, for_s: 0.5, kind: Dropp)]", "Dropp"),
            ("[(at_s: -1.0, for_s: 0.5, kind: Unplug)]", "fault 0"),
            ("[(at_s: 0.0, for_s: 1.0, kind: DropInstruction(probability: 2.0))]", "fault 0"),
            ("[(at_s: 0.0, for_s: 1.0, kind: Unplug, twice: true)]", "twice"),
        ] {
            let error = parse_script(wrong).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_random_script_repeats_with_its_seed_and_leaves_quiet_gaps() {
        let script = random_script(7, 6, 1.5, 200.0);
        assert_eq!(script, random_script(7, 6, 1.5, 200.0));
        assert_ne!(script, random_script(8, 6, 1.5, 200.0));
        let mut ends = 0.0f64;
        let mut gaps = 0;
        for fault in &script {
            gaps += usize::from(fault.at_s - ends >= 1.4);
            ends = ends.max(fault.at_s + fault.for_s);
        }
        assert!(gaps > 20, "{gaps}");
    }

    #[test]
    fn a_fault_is_active_for_its_time() {
        let mut player = FaultPlayer::new(vec![Fault { at_s: 1.0, for_s: 0.5, kind: FaultKind::Unplug }], 0);
        player.advance(0.9);
        assert!(player.is_quiet());
        assert!(player.advance(1.0));
        assert_eq!(player.active().collect::<Vec<_>>(), [&FaultKind::Unplug]);
        assert!(player.advance(1.5));
        assert!(player.is_quiet());
        assert_eq!((player.last_end_s, player.injected), (1.5, 1));
    }
}
