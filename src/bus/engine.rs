//! One cycle of the bus driver, without a thread: read every joint, look after them, send every goal. [`super::driver`] runs
//! it in real time; tests run it in simulated time.
//!
//! Nothing on the bus is believed to have worked because it was sent. Each joint has a state that is driven towards the one
//! that is wanted, one transaction per cycle, until the servo itself confirms it: so a lost packet, a servo that lost its
//! power or a cable that was out need no special way back. The transactions are in `bring_up`.

use std::sync::Arc;
use std::time::Duration;

use serialport::SerialPort;

use crate::arm::ParkWay;

use super::calibration_file::ArmCalibration;
use super::clock::Clock;
use super::error::BusError;
use super::joint::Joint;
use super::packet::StatusBits;
use super::port::ServoPort;
use super::registers::{PRESENT_ADDRESS, PRESENT_LEN, Register};
use super::settings::DriverSettings;
use super::state::Reason;

/// Opens the port, again after each loss.
pub type Opener = Box<dyn FnMut() -> Result<Box<dyn SerialPort>, BusError> + Send>;

/// Older readings are not acted upon, s.
pub(super) const STALE_S: f64 = 0.1;
/// After this many missed cycles in a row a joint is asked only now and then, so that waiting for it does not slow the others.
pub(super) const SILENT_AFTER: u32 = 8;
/// How often a silent joint is asked, s.
const ASK_SILENT_EVERY_S: f64 = 0.15;
/// Consecutive readings over a limit that count.
pub(super) const CONFIRMED: u32 = 3;
/// Close enough to the park pose, rad; a sagging arm at P = 16 stays some 0.07 away.
const PARKED_RAD: f64 = 0.12;
/// Time for coming to rest beyond that of the way itself, s.
const PARK_REST_S: f64 = 3.0;
/// How long a shutdown waits for a connection that is gone, s.
const SHUTDOWN_WAIT_S: f64 = 3.0;

/// What the arm is meant to do.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Intent {
    /// Nothing was asked for yet: an arm found holding goes on holding.
    AsFound,
    Limp,
    Follow,
    Park {
        since_s: f64,
        way: ParkWay,
    },
    Stop,
}

impl Intent {
    /// Whether the torque should be on; `None`: as it is.
    pub fn torque(&self) -> Option<bool> {
        match self {
            Intent::AsFound => None,
            Intent::Limp => Some(false),
            Intent::Follow | Intent::Park { .. } | Intent::Stop => Some(true),
        }
    }
}

/// The driver of one arm, one call per cycle.
pub struct Engine {
    pub(super) settings: DriverSettings,
    pub(super) clock: Arc<dyn Clock>,
    opener: Opener,
    pub(super) port: Option<ServoPort>,
    pub(super) joints: Vec<Joint>,
    pub(super) intent: Intent,
    pub(super) reason: Option<Reason>,
    wanted_rad: Option<Vec<f64>>,
    goal_at_s: f64,
    /// Longest the present park may take before the torque goes off all the same, s.
    park_limit_s: f64,
    cycle_at_s: f64,
    cycle_dt_s: f64,
    goals_at_s: f64,
    pub(super) cycle: u64,
    next_open_s: f64,
    lost_since_s: f64,
    pub(super) lost_reason: String,
    paused_since_s: Option<f64>,
    shutdown_since_s: Option<f64>,
    pub(super) reconnects: u64,
    pub(super) noise_bytes: u64,
    pub(super) at_table: bool,
    pub(super) finished: bool,
}

impl Engine {
    /// A driver of an arm with these settings and this calibration; the port is opened by the first cycle.
    ///
    /// # Errors
    /// [`BusError::Settings`] for settings that make no sense or a joint without calibration.
    pub fn new(
        settings: DriverSettings,
        calibration: &ArmCalibration,
        opener: Opener,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, BusError> {
        settings.validate()?;
        let mut joints = Vec::with_capacity(settings.joints.len());
        for joint in &settings.joints {
            let calibration = *calibration.joint(&joint.name).ok_or_else(|| BusError::Settings {
                field: format!("joint {}", joint.name),
                reason: "it is not in the calibration file; run `etude calibrate`".to_owned(),
            })?;
            joints.push(Joint::new(joint.clone(), calibration));
        }
        let now_s = clock.now().as_secs_f64();
        let intent = if settings.powered { Intent::AsFound } else { Intent::Limp };
        Ok(Engine {
            clock,
            opener,
            port: None,
            joints,
            intent,
            reason: None,
            wanted_rad: None,
            goal_at_s: now_s,
            park_limit_s: settings.park_timeout_s,
            settings,
            cycle_at_s: now_s,
            cycle_dt_s: 0.0,
            goals_at_s: now_s,
            cycle: 0,
            next_open_s: now_s,
            lost_since_s: now_s,
            lost_reason: "not connected yet".to_owned(),
            paused_since_s: None,
            shutdown_since_s: None,
            reconnects: 0,
            noise_bytes: 0,
            at_table: false,
            finished: false,
        })
    }

    /// Time between cycles.
    pub fn period(&self) -> Duration {
        Duration::from_secs_f64(1.0 / self.settings.rate_hz)
    }

    pub(super) fn now_s(&self) -> f64 {
        self.clock.now().as_secs_f64()
    }

    /// Turn the torque on where the arm stands and follow goals from then on. Ends a park and an emergency stop.
    pub fn enable(&mut self) {
        if !self.settings.powered {
            return;
        }
        if self.shutdown_since_s.is_some() {
            // A person stopped the last park, and lets it go on.
            if self.intent == Intent::Stop {
                self.shutdown_since_s = Some(self.now_s());
                self.park(Reason::Shutdown);
            }
            return;
        }
        if self.intent != Intent::Follow {
            self.joints.iter_mut().for_each(|joint| joint.guard.approach());
        }
        for joint in &mut self.joints {
            joint.overloads_cleared.clear();
        }
        self.intent = Intent::Follow;
        self.reason = None;
        self.wanted_rad = None;
        self.goal_at_s = self.now_s();
    }

    /// A new goal per joint, rad. What is no number leaves its joint where it is. Ends a park for want of goals.
    pub fn set_goal(&mut self, goal_rad: &[f64]) {
        if goal_rad.len() != self.joints.len() {
            return;
        }
        self.goal_at_s = self.now_s();
        self.wanted_rad = Some(goal_rad.to_vec());
        if matches!(self.intent, Intent::Park { .. }) && self.reason == Some(Reason::Watchdog) {
            self.intent = Intent::Follow;
            self.reason = None;
            self.joints.iter_mut().for_each(|joint| joint.guard.approach());
        }
    }

    /// Go slowly to the park pose, then limp.
    pub fn park(&mut self, reason: Reason) {
        let holds = self.joints.iter().any(|joint| joint.torque == Some(true));
        if matches!(self.intent, Intent::Follow | Intent::Stop) || (self.intent == Intent::AsFound && holds) {
            let from: Vec<f64> = self.joints.iter().map(|joint| joint.guard.goal_rad()).collect();
            let to: Vec<f64> = self.joints.iter().map(|joint| joint.settings.park_rad).collect();
            let way = ParkWay::new(self.settings.floor.as_ref(), &from, &to);
            let needs_s = way.length_rad() / self.settings.slow_velocity_rad_s + PARK_REST_S;
            self.park_limit_s = self.settings.park_timeout_s.max(needs_s);
            self.intent = Intent::Park { since_s: self.now_s(), way };
            self.joints.iter_mut().for_each(|joint| joint.guard.approach());
        } else if self.intent == Intent::AsFound {
            self.intent = Intent::Limp;
        } else if self.reason.is_some() && self.shutdown_since_s.is_none() {
            // It has let go already, and why is known.
            return;
        }
        self.reason = Some(reason);
    }

    /// Torque off now: the arm falls unless somebody holds it.
    pub fn release(&mut self) {
        self.intent = Intent::Limp;
        self.reason = Some(Reason::Requested);
    }

    /// Stand still where the arm is, until [`enable`](Self::enable); in the park of a shutdown, too.
    pub fn emergency_stop(&mut self) {
        if !matches!(self.intent, Intent::Follow | Intent::Park { .. }) {
            return;
        }
        self.intent = Intent::Stop;
        self.reason = Some(Reason::EmergencyStop);
        for joint in &mut self.joints {
            joint.guard.reset(joint.reading.position_rad);
        }
    }

    /// Park, release the torque, and finish.
    pub fn shut_down(&mut self) {
        if self.shutdown_since_s.is_none() {
            self.shutdown_since_s = Some(self.now_s());
            self.park(Reason::Shutdown);
        }
    }

    /// Whether a shutdown is complete.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// Do one cycle: [`read`](Self::read), [`send`](Self::send), [`tend`](Self::tend). Whoever has news in between, such as a
    /// goal that came while the joints were read, calls the three one by one.
    pub fn cycle(&mut self) {
        self.read();
        self.send();
        self.tend();
    }

    /// Connect if need be, and read every joint.
    pub fn read(&mut self) {
        self.cycle += 1;
        let now_s = self.now_s();
        self.cycle_dt_s = (now_s - self.cycle_at_s).clamp(0.0, 2.0 / self.settings.rate_hz);
        self.cycle_at_s = now_s;
        if self.port.is_none() {
            self.connect(now_s);
        }
        if self.port.is_some() {
            let read = self.read_joints();
            self.lose_if(read);
        }
    }

    /// Look after the joints as they were read, and send every goal.
    pub fn send(&mut self) {
        if self.port.is_none() {
            return;
        }
        let now_s = self.now_s();
        self.look_after(now_s, self.cycle_dt_s);
        self.choose_goals(now_s);
        let sent = self.send_goals();
        self.lose_if(sent);
    }

    /// Bring the next joint that needs it to the state it should be in, and mind the time: watchdog, end of a park.
    pub fn tend(&mut self) {
        if self.port.is_some() {
            let tended = self.bring_up(self.now_s());
            self.lose_if(tended);
        }
        self.watch(self.now_s());
    }

    /// An error means that the port is gone.
    fn lose_if(&mut self, done: Result<(), BusError>) {
        if let Err(error) = done {
            self.lose(&error);
        }
    }

    fn connect(&mut self, now_s: f64) {
        if now_s < self.next_open_s {
            return;
        }
        self.next_open_s = now_s + self.settings.reconnect_every_s;
        match (self.opener)() {
            Ok(port) => {
                let mut port = ServoPort::new(port, self.settings.baud, self.clock.clone());
                // A silent servo must not stop the cycle for long.
                let budget_s = self.settings.reply_timeout_s.min(0.6 / self.settings.rate_hz);
                port.reply_timeout = Duration::from_secs_f64(budget_s);
                port.retries = 1;
                self.port = Some(port);
                for joint in &mut self.joints {
                    joint.verified = false;
                    joint.torque = None;
                    joint.missed_in_row = 0;
                }
            }
            Err(error) => self.lost_reason = error.to_string(),
        }
    }

    fn lose(&mut self, error: &BusError) {
        self.port = None;
        self.reconnects += 1;
        self.lost_reason = error.to_string();
        self.lost_since_s = self.now_s();
        self.next_open_s = self.lost_since_s;
    }

    fn read_joints(&mut self) -> Result<(), BusError> {
        let now_s = self.now_s();
        let mut due: Vec<usize> = Vec::with_capacity(self.joints.len());
        let mut one_silent = false;
        for (index, joint) in self.joints.iter_mut().enumerate() {
            let silent = joint.missed_in_row >= SILENT_AFTER;
            if silent && (one_silent || now_s - joint.asked_at_s < ASK_SILENT_EVERY_S) {
                joint.reading.errors.missed += 1;
                continue;
            }
            one_silent |= silent;
            joint.asked_at_s = now_s;
            due.push(index);
        }
        self.ask(&due)?;
        let missing: Vec<usize> = due.into_iter().filter(|index| self.joints[*index].missed_in_row > 0).collect();
        // Once more for those whose answer was lost, if it does not cost the next cycle.
        let left_s = self.cycle_at_s + 0.5 / self.settings.rate_hz - self.now_s();
        let lost_just_now: Vec<usize> =
            missing.into_iter().filter(|index| self.joints[*index].missed_in_row < SILENT_AFTER).collect();
        if left_s > 0.0 && !lost_just_now.is_empty() {
            self.ask(&lost_just_now)?;
        }
        Ok(())
    }

    fn ask(&mut self, indices: &[usize]) -> Result<(), BusError> {
        let Some(port) = self.port.as_mut().filter(|_| !indices.is_empty()) else { return Ok(()) };
        let ids: Vec<u8> = indices.iter().map(|index| self.joints[*index].id).collect();
        let read = port.sync_read(&ids, PRESENT_ADDRESS, PRESENT_LEN)?;
        self.noise_bytes += read.noise_bytes;
        let now_s = self.now_s();
        for (index, answer) in indices.iter().zip(read.answers) {
            let joint = &mut self.joints[*index];
            match answer {
                Some((block, status)) => joint.take_in(&block, status, now_s),
                None => {
                    joint.reading.errors.missed += 1;
                    joint.missed_in_row = joint.missed_in_row.saturating_add(1);
                }
            }
        }
        Ok(())
    }

    /// Notice what needs a reaction: heat, overload, a failing sensor, silence.
    fn look_after(&mut self, now_s: f64, dt_s: f64) {
        let mut trouble = None;
        for (index, joint) in self.joints.iter_mut().enumerate() {
            if joint.age_s(now_s) > STALE_S {
                // It may have lost its power meanwhile: ask for its torque before anything else.
                joint.torque = None;
                joint.overload_since_s = None;
                continue;
            }
            if joint.missed_in_row > 0 {
                continue;
            }
            let reading = &joint.reading;
            let hot = reading.temperature_c > joint.settings.max_temperature_c
                || reading.status.contains(StatusBits::OVERHEAT);
            joint.hot_in_row = if hot { joint.hot_in_row + 1 } else { 0 };
            if joint.hot_in_row >= CONFIRMED {
                trouble = Some(Reason::Hot { joint: index });
            }
            if reading.status.contains(StatusBits::SENSOR) {
                trouble = Some(Reason::Sensor { joint: index });
            }
            let tripped = StatusBits(StatusBits::OVERLOAD.0 | StatusBits::OVERCURRENT.0);
            if reading.status.0 & tripped.0 == 0 {
                joint.overload_since_s = None;
            } else if joint.overload_since_s.is_none() {
                joint.overload_since_s = Some(now_s);
                // Takes the load off at once; held there, so that it does not sink further than it must.
                joint.guard.reset(reading.position_rad);
            }
            joint.overloads_cleared.retain(|at_s| now_s - at_s < 10.0);
            if joint.overload_since_s.is_some() && joint.overloads_cleared.len() >= 3 {
                trouble = Some(Reason::Overload { joint: index });
            }
            if joint.torque == Some(true) {
                joint.guard.observe(&joint.reading, &joint.settings, dt_s);
            }
        }
        if let Some(reason) = trouble
            && matches!(self.intent, Intent::Follow | Intent::Stop)
        {
            self.park(reason);
        }
    }

    /// Send the goals once more between two cycles, because a newer one is there that should not wait for the next.
    pub fn send_between(&mut self) {
        let now_s = self.now_s();
        self.choose_goals(now_s);
        let sent = self.send_goals();
        self.lose_if(sent);
    }

    fn choose_goals(&mut self, now_s: f64) {
        // A cycle that was late must not let the goals leap.
        let dt_s = (now_s - self.goals_at_s).clamp(0.0, 2.0 / self.settings.rate_hz);
        self.goals_at_s = now_s;
        let paused = self.is_paused(now_s);
        match (paused, self.paused_since_s) {
            (true, None) => self.paused_since_s = Some(now_s),
            (false, Some(since_s)) => {
                self.paused_since_s = None;
                // After a short gap the arm goes on; after a longer one the goal may be far away by now.
                if now_s - since_s > 0.3 {
                    self.joints.iter_mut().for_each(|joint| joint.guard.approach());
                }
            }
            _ => {}
        }
        let slow = self.settings.slow_velocity_rad_s;
        let before: Vec<f64> = self.joints.iter().map(|joint| joint.guard.goal_rad()).collect();
        let parking = match &self.intent {
            // A joint without torque is nobody to wait for.
            Intent::Park { way, .. } => {
                let goals = self.joints.iter().zip(way.end_rad());
                let at = |(joint, end): (&Joint, &f64)| {
                    if joint.torque == Some(true) { joint.guard.goal_rad() } else { *end }
                };
                way.next(&goals.map(at).collect::<Vec<f64>>())
            }
            _ => Vec::new(),
        };
        for (index, joint) in self.joints.iter_mut().enumerate() {
            if joint.torque != Some(true) {
                // Wherever it is carried, it will be held there when its torque comes on.
                joint.guard.reset(joint.reading.position_rad);
                continue;
            }
            if joint.overload_since_s.is_some() {
                continue;
            }
            let (wanted, cap) = match self.intent {
                _ if joint.age_s(now_s) > STALE_S => continue,
                Intent::Follow if paused => (None, slow),
                Intent::Follow => {
                    let goal = self.wanted_rad.as_ref().and_then(|goal| goal.get(index)).copied();
                    (goal, joint.settings.max_velocity_rad_s)
                }
                Intent::Park { .. } => (parking.get(index).copied(), slow),
                Intent::AsFound | Intent::Stop | Intent::Limp => (None, slow),
            };
            joint.guard.next(wanted, cap, slow, &joint.reading, &joint.settings, dt_s);
        }
        self.stay_above_the_table(&before);
    }

    /// Goals that would take the hand through the table go as far as they can from `before`.
    fn stay_above_the_table(&mut self, before_rad: &[f64]) {
        self.at_table = false;
        // A park has looked at its way before it set out.
        let follows = self.intent == Intent::Follow;
        let Some(floor) = self.settings.floor.as_ref().filter(|_| follows) else { return };
        let goals: Vec<f64> = self.joints.iter().map(|joint| joint.guard.goal_rad()).collect();
        let Some(held) = floor.hold_back(before_rad, &goals) else { return };
        self.at_table = true;
        for (joint, goal_rad) in self.joints.iter_mut().zip(held) {
            if joint.torque == Some(true) {
                joint.guard.hold_back(goal_rad);
            }
        }
    }

    /// Whether goals are not followed for now: none come, or the whole arm is not at hand.
    pub(super) fn is_paused(&self, now_s: f64) -> bool {
        now_s - self.goal_at_s > self.settings.hold_after_s
            || self.joints.iter().any(|joint| joint.age_s(now_s) > STALE_S || joint.torque != Some(true))
    }

    fn send_goals(&mut self) -> Result<(), BusError> {
        let goals: Vec<(u8, i32)> = self
            .joints
            .iter()
            .filter(|joint| joint.torque == Some(true))
            .map(|joint| (joint.id, joint.goal_ticks(joint.guard.goal_rad())))
            .collect();
        match self.port.as_mut() {
            Some(port) if !goals.is_empty() => port.sync_write(Register::GOAL_POSITION, &goals),
            _ => Ok(()),
        }
    }

    /// The watchdog, the end of a park and of a shutdown.
    fn watch(&mut self, now_s: f64) {
        if self.intent == Intent::Follow && now_s - self.goal_at_s > self.settings.park_after_s {
            self.park(Reason::Watchdog);
        }
        if let Intent::Park { since_s, .. } = self.intent {
            let there = self.joints.iter().all(|joint| {
                let arrived = (joint.guard.goal_rad() - joint.settings.park_rad).abs() < 1e-3
                    && (joint.reading.position_rad - joint.settings.park_rad).abs() < PARKED_RAD
                    && joint.reading.velocity_rad_s.abs() < 0.1;
                joint.torque == Some(false) || (arrived && joint.age_s(now_s) < STALE_S)
            });
            if there || now_s - since_s > self.park_limit_s {
                self.intent = Intent::Limp;
            }
        }
        if let Some(since_s) = self.shutdown_since_s {
            // A joint that does not answer cannot be told to let go; nor can an arm that is unplugged.
            let let_go = |joint: &Joint| {
                let never_ours = joint.obstacle.is_some() && !joint.powered_by_us;
                joint.torque == Some(false) || never_ours || joint.age_s(now_s) > SHUTDOWN_WAIT_S
            };
            let limp = self.intent == Intent::Limp && self.joints.iter().all(let_go);
            let waited = now_s - self.lost_since_s.max(since_s) > SHUTDOWN_WAIT_S;
            let never_there = self.joints.iter().all(|joint| joint.read_at_s.is_none());
            let hopeless = self.port.is_none() && (waited || never_there);
            // A person who stopped the park decides when it goes on.
            let overdue = self.intent != Intent::Stop && now_s - since_s > self.park_limit_s + SHUTDOWN_WAIT_S;
            self.finished = limp || hopeless || overdue;
        }
    }
}
