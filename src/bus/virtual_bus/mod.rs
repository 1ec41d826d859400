//! An emulated servo bus: STS3215s that speak the same bytes with the same timing as real ones, for tests, for practice
//! without an arm, and for any other client of a real arm.
//!
//! [`VirtualBus`] is bytes in, bytes out, in its own time, with no thread or file: [`sim_port`] gives it to the driver in
//! accelerated time. [`pty`] puts it behind a pseudo-terminal in real time. What moves is a [`plant::ServoPlant`].
//!
//! Timing: an instruction takes 10 bits per byte; a servo answers after its return delay and a turnaround, and the servos
//! of a sync read one after the other, each slot kept even if a servo is missing. Not emulated: the acceleration register,
//! dead zones, velocity, PWM and step modes.

pub mod arms;
pub mod fault;
pub mod plant;
#[cfg(unix)]
pub mod pty;
pub mod registry;
pub mod servo;
pub mod sim_port;

use std::collections::VecDeque;

use self::fault::{Fate, FaultKind, FaultPlayer};
use self::plant::{ServoDrive, ServoMotion, ServoPlant, SimplePlant};
use self::servo::VirtualServo;
use super::calibration::Zero;
use super::calibration_file::ArmCalibration;
use super::packet::{BROADCAST, Listen, Packet, Parser, instruction};
use super::registers::{AMPERE_PER_UNIT, Register};

/// Pause between an instruction and its answer beyond the return delay, ns. Not known for the real servo; 20 us is two
/// byte times at 1 Mbaud.
const TURNAROUND_NS: u64 = 20_000;
/// Time a servo waits before it answers a ping to everyone, per id, ns.
const BROADCAST_SLOT_NS: u64 = 500_000;

/// What the bus has seen that no driver should do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Audit {
    /// Goal positions received.
    pub goals: u64,
    /// Goal positions outside the servo's position limits.
    pub goals_outside_limits: u64,
    /// Times the torque came on with the goal more than 20 ticks from the joint: the arm jumps.
    pub torque_on_jumps: u64,
    /// Times the torque of a joint went off, by the driver or by loss of power.
    pub torque_offs: u64,
    /// Writes that changed EEPROM.
    pub eeprom_writes: u64,
    /// Instruction packets received.
    pub instructions: u64,
    /// The first forbidden thing in words.
    pub first_violation: Option<String>,
}

/// An emulated bus with its servos.
pub struct VirtualBus {
    servos: Vec<VirtualServo>,
    plant: Box<dyn ServoPlant>,
    motions: Vec<ServoMotion>,
    drives: Vec<ServoDrive>,
    faults: FaultPlayer,
    parser: Parser,
    replies: VecDeque<(u64, Vec<u8>)>,
    now_ns: u64,
    physics_ns: u64,
    busy_until_ns: u64,
    plugged: bool,
    generation: u64,
    nominal_supply_v: f64,
    /// Baud rate of the host's end.
    pub host_baud: u32,
    /// What the driver did.
    pub audit: Audit,
}

impl std::fmt::Debug for VirtualBus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VirtualBus")
            .field("servos", &self.servos.len())
            .field("now_s", &self.now_s())
            .finish_non_exhaustive()
    }
}

impl VirtualBus {
    /// A bus with `servos` whose joints are those of `plant`, in the same order.
    pub fn new(servos: Vec<VirtualServo>, plant: Box<dyn ServoPlant>) -> Self {
        let mut bus = VirtualBus {
            motions: vec![ServoMotion::default(); servos.len()],
            drives: vec![ServoDrive::default(); servos.len()],
            servos,
            plant,
            faults: FaultPlayer::new(Vec::new(), 0),
            parser: Parser::new(Listen::ToHost),
            replies: VecDeque::new(),
            now_ns: 0,
            physics_ns: 0,
            busy_until_ns: 0,
            plugged: true,
            generation: 0,
            nominal_supply_v: 12.0,
            host_baud: 1_000_000,
            audit: Audit::default(),
        };
        bus.sense(0.0);
        bus
    }

    /// An arm calibrated as `calibration` with the built-in plant; `zeros` per joint, in the file's order (missing ones: middle).
    pub fn calibrated(calibration: &ArmCalibration, zeros: &[Zero]) -> Self {
        let zero = |index: usize| zeros.get(index).copied().unwrap_or(Zero::Middle { offset_rad: 0.0 });
        let joints = calibration.joints.iter().enumerate();
        let servos: Vec<_> = joints.map(|(index, (_, joint))| VirtualServo::calibrated(joint, zero(index))).collect();
        let plant = Box::new(SimplePlant::new(servos.len()));
        VirtualBus::new(servos, plant)
    }

    /// Six servos as they leave the factory, all with id 1: only one of them at a time should be connected.
    pub fn factory_new(count: usize) -> Self {
        VirtualBus::new((0..count).map(|_| VirtualServo::factory(1)).collect(), Box::new(SimplePlant::new(count)))
    }

    /// Play a fault script from now on.
    pub fn with_faults(mut self, faults: FaultPlayer) -> Self {
        self.faults = faults;
        self
    }

    /// Feed the servos `volts` instead of 12 V.
    pub fn with_supply(mut self, volts: f64) -> Self {
        self.nominal_supply_v = volts;
        self.apply_faults();
        self
    }

    /// Put the joints at `positions_rad`, at rest; limp servos are as if switched on there.
    pub fn place(&mut self, positions_rad: &[f64]) {
        for (motion, position_rad) in self.motions.iter_mut().zip(positions_rad) {
            *motion = ServoMotion { position_rad: *position_rad, ..ServoMotion::default() };
        }
        self.sense(0.0);
        self.servos.iter_mut().for_each(VirtualServo::rest);
    }

    /// A hand holds the limp joints at `pose_rad`, or lets go of them. Joints under torque are not its business.
    pub fn hold(&mut self, pose_rad: Option<&[f64]>) {
        if !self.plant.hold(pose_rad)
            && let Some(pose_rad) = pose_rad
        {
            self.place(pose_rad);
        }
    }

    /// Time on the bus, s.
    pub fn now_s(&self) -> f64 {
        self.now_ns as f64 * 1e-9
    }

    /// Time on the bus, ns.
    pub fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// The servos.
    pub fn servos(&self) -> &[VirtualServo] {
        &self.servos
    }

    /// The servos, to change them from outside the bus.
    pub fn servos_mut(&mut self) -> &mut Vec<VirtualServo> {
        &mut self.servos
    }

    /// What the joints do.
    pub fn motions(&self) -> &[ServoMotion] {
        &self.motions
    }

    /// The faults being played.
    pub fn faults(&self) -> &FaultPlayer {
        &self.faults
    }

    /// Begin a fault now.
    pub fn inject(&mut self, for_s: f64, kind: FaultKind) {
        let now_s = self.now_s();
        self.faults.inject(now_s, for_s, kind);
        self.apply_faults();
    }

    /// Whether the USB cable is in.
    pub fn is_plugged(&self) -> bool {
        self.plugged
    }

    /// Counts the times the cable was put in again: a port opened before is dead.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Receive bytes of the host, now.
    pub fn receive(&mut self, bytes: &[u8]) {
        if !self.plugged {
            return;
        }
        self.parser.push(bytes);
        let byte_ns = self.byte_ns();
        while let Some(packet) = self.parser.next_packet() {
            self.audit.instructions += 1;
            self.busy_until_ns = self.busy_until_ns.max(self.now_ns) + (packet.params.len() as u64 + 6) * byte_ns;
            self.look_at(&packet);
            match self.faults.instruction_fate() {
                Fate::Drop => {}
                Fate::Corrupt => {
                    let mut spoilt = packet.to_bytes();
                    self.faults.corrupt(&mut spoilt);
                    let mut parser = Parser::new(Listen::ToHost);
                    parser.push(&spoilt);
                    // The checksum has eight bits: now and then a spoilt packet passes, as on a real bus.
                    if let Some(packet) = parser.next_at_end() {
                        self.carry_out(&packet);
                    }
                }
                _ => self.carry_out(&packet),
            }
        }
    }

    /// Take up to `buffer.len()` bytes that have reached the host by now; 0 if there are none.
    pub fn send(&mut self, buffer: &mut [u8]) -> usize {
        let mut count = 0;
        while count < buffer.len() {
            let Some((_, bytes)) = self.replies.front_mut().filter(|(at, _)| *at <= self.now_ns) else { break };
            let take = bytes.len().min(buffer.len() - count);
            buffer[count..count + take].copy_from_slice(&bytes[..take]);
            bytes.drain(..take);
            count += take;
            if bytes.is_empty() {
                self.replies.pop_front();
            }
        }
        count
    }

    /// Bytes that have reached the host by now.
    pub fn ready(&self) -> usize {
        self.replies.iter().take_while(|(at, _)| *at <= self.now_ns).map(|(_, bytes)| bytes.len()).sum()
    }

    /// Forget the bytes that have reached the host by now.
    pub fn discard_ready(&mut self) {
        let now_ns = self.now_ns;
        self.replies.retain(|(at, _)| *at > now_ns);
    }

    /// When the next bytes reach the host, ns.
    pub fn next_reply_ns(&self) -> Option<u64> {
        self.replies.front().map(|(at, _)| *at)
    }

    /// Move on to `until_ns`, in whole steps of the plant; the rest of a step is made up later.
    pub fn advance_to(&mut self, until_ns: u64) {
        let step_s = self.plant.step_s().clamp(1e-5, 0.1);
        let step_ns = (step_s * 1e9) as u64;
        while self.physics_ns + step_ns <= until_ns {
            self.physics_ns += step_ns;
            self.now_ns = self.now_ns.max(self.physics_ns);
            if self.faults.advance(self.physics_ns as f64 * 1e-9) {
                self.apply_faults();
            }
            for (servo, drive) in self.servos.iter_mut().zip(&mut self.drives) {
                *drive = servo.drive(step_s);
            }
            self.plant.advance(step_s, &self.drives, &mut self.motions);
            self.sense(step_s);
        }
        self.now_ns = self.now_ns.max(until_ns);
    }

    fn sense(&mut self, dt_s: f64) {
        for (servo, motion) in self.servos.iter_mut().zip(&self.motions) {
            servo.sense(motion, dt_s);
        }
    }

    fn byte_ns(&self) -> u64 {
        10_000_000_000 / u64::from(self.host_baud.max(1))
    }

    /// Make the state of the servos that of the active faults.
    fn apply_faults(&mut self) {
        let active: Vec<FaultKind> = self.faults.active().copied().collect();
        let unplugged = active.contains(&FaultKind::Unplug);
        if unplugged && self.plugged {
            self.replies.clear();
            self.parser.clear();
        } else if !unplugged && !self.plugged {
            self.generation += 1;
        }
        self.plugged = !unplugged;
        for (index, servo) in self.servos.iter_mut().enumerate() {
            let mut supply_v = self.nominal_supply_v;
            servo.forced_overload = false;
            servo.forced_temperature_c = None;
            for kind in &active {
                match kind {
                    FaultKind::BrownOut { servo: which, volts } if which.is_none_or(|which| which == index) => {
                        supply_v = *volts;
                    }
                    FaultKind::Overload { servo: which } if *which == index => servo.forced_overload = true,
                    FaultKind::Hot { servo: which, celsius } if *which == index => {
                        servo.forced_temperature_c = Some(*celsius);
                    }
                    _ => {}
                }
            }
            let was_alive = servo.is_alive();
            servo.supply_v = supply_v;
            if was_alive && !servo.is_alive() {
                self.audit.torque_offs += u64::from(servo.get(Register::TORQUE_ENABLE) == 1);
                servo.power_up();
            }
        }
    }

    fn id_of(&self, index: usize) -> u8 {
        let taken = self.faults.active().find_map(|kind| match kind {
            FaultKind::DuplicateId { servo, id } if *servo == index => Some(*id),
            _ => None,
        });
        taken.unwrap_or_else(|| self.servos[index].id())
    }

    fn hears(&self, index: usize) -> bool {
        self.servos[index].is_alive() && self.servos[index].baud() == Some(self.host_baud)
    }

    fn carry_out(&mut self, packet: &Packet) {
        match (packet.code, packet.params.as_slice()) {
            (instruction::SYNC_READ, [address, len, ids @ ..]) => {
                for id in ids {
                    self.ask(*id, instruction::READ, &[*address, *len]);
                }
            }
            (instruction::SYNC_WRITE, [address, size, values @ ..]) if *size > 0 => {
                for value in values.chunks_exact(usize::from(*size) + 1) {
                    for index in 0..self.servos.len() {
                        if self.hears(index) && self.id_of(index) == value[0] {
                            self.apply(index, instruction::WRITE, &[&[*address], &value[1..]].concat());
                        }
                    }
                }
            }
            (instruction::PING, _) if packet.id == BROADCAST => self.answer_everyone(),
            _ if packet.id == BROADCAST => {
                for index in (0..self.servos.len()).filter(|index| self.hears(*index)).collect::<Vec<_>>() {
                    self.apply(index, packet.code, &packet.params);
                }
            }
            _ => self.ask(packet.id, packet.code, &packet.params),
        }
    }

    fn apply(&mut self, index: usize, code: u8, params: &[u8]) -> Option<Vec<u8>> {
        let servo = &mut self.servos[index];
        let torque = servo.get(Register::TORQUE_ENABLE) == 1;
        let eeprom = (params.first().is_some_and(|address| *address < 40)) && code == instruction::WRITE;
        self.audit.eeprom_writes += u64::from(eeprom);
        let reply = servo.handle(code, params);
        let torque_now = servo.get(Register::TORQUE_ENABLE) == 1;
        if torque_now && !torque {
            let (goal, position) = (servo.get(Register::GOAL_POSITION), servo.get(Register::PRESENT_POSITION));
            // A joint outside its limits is drawn to the limit, however far: the limits decide there.
            let (min, max) = (servo.get(Register::MIN_POSITION), servo.get(Register::MAX_POSITION));
            let nearest = if min < max { position.clamp(min, max) } else { position };
            if (goal - nearest).abs() > 20 {
                self.audit.torque_on_jumps += 1;
                let id = servo.id();
                self.violation(format!("torque of servo {id} came on at {position} with goal {goal}"));
            }
        }
        self.audit.torque_offs += u64::from(torque && !torque_now);
        reply
    }

    /// Put an instruction to the servos with `id` and queue the answer. Two servos with one id talk over each other.
    fn ask(&mut self, id: u8, code: u8, params: &[u8]) {
        let listening: Vec<usize> =
            (0..self.servos.len()).filter(|index| self.hears(*index) && self.id_of(*index) == id).collect();
        let mut merged: Option<(usize, Vec<u8>, f64)> = None;
        for index in &listening {
            // What the servo reports is its state before the instruction, as its answer to a write of its id shows.
            let status = self.servos[*index].status();
            let delay_s = self.servos[*index].return_delay_s();
            let Some(params) = self.apply(*index, code, params) else { continue };
            let bytes = Packet { id, code: status.0, params }.to_bytes();
            merged = Some(match merged {
                None => (*index, bytes, delay_s),
                // The line is pulled low by either; they are never quite in step.
                Some((first, mut both, delay)) => {
                    for (byte, other) in both.iter_mut().zip(&bytes).skip(1) {
                        *byte &= other.rotate_left(1);
                    }
                    (first, both, delay)
                }
            });
        }
        match merged {
            Some((index, bytes, delay_s)) => self.queue(index, bytes, delay_s),
            // The slot of a missing servo passes unused.
            None => self.busy_until_ns += TURNAROUND_NS,
        }
    }

    fn answer_everyone(&mut self) {
        let start_ns = self.busy_until_ns;
        let mut ids: Vec<u8> = (0..self.servos.len()).filter(|i| self.hears(*i)).map(|i| self.id_of(i)).collect();
        ids.sort_unstable();
        ids.dedup();
        for id in ids {
            self.busy_until_ns = self.busy_until_ns.max(start_ns + u64::from(id) * BROADCAST_SLOT_NS);
            self.ask(id, instruction::PING, &[]);
        }
    }

    fn queue(&mut self, index: usize, mut bytes: Vec<u8>, delay_s: f64) {
        let byte_ns = self.byte_ns();
        self.busy_until_ns += (delay_s * 1e9) as u64 + TURNAROUND_NS + bytes.len() as u64 * byte_ns;
        let at_ns = self.busy_until_ns;
        match self.faults.reply_fate(index) {
            Fate::Deliver => self.put(at_ns, bytes),
            Fate::Drop => {}
            Fate::Corrupt => {
                self.faults.corrupt(&mut bytes);
                self.put(at_ns, bytes);
            }
            Fate::Late(by_s) => self.put(at_ns + (by_s * 1e9) as u64, bytes),
            Fate::Twice => {
                self.put(at_ns, bytes.clone());
                self.busy_until_ns += bytes.len() as u64 * byte_ns;
                self.put(self.busy_until_ns, bytes);
            }
        }
    }

    fn put(&mut self, at_ns: u64, bytes: Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let place = self.replies.partition_point(|(at, _)| *at <= at_ns);
        self.replies.insert(place, (at_ns, bytes));
    }

    /// Check the goals in what the host sent, before any fault changes it.
    fn look_at(&mut self, packet: &Packet) {
        let goal = Register::GOAL_POSITION;
        match (packet.code, packet.params.as_slice()) {
            (instruction::WRITE | instruction::REG_WRITE, [address, bytes @ ..]) if *address == goal.address => {
                self.look_at_goal(packet.id, goal.decode(bytes));
            }
            (instruction::SYNC_WRITE, [address, size, values @ ..]) if *address == goal.address && *size >= 2 => {
                for value in values.chunks_exact(usize::from(*size) + 1) {
                    self.look_at_goal(value[0], goal.decode(&value[1..]));
                }
            }
            _ => {}
        }
    }

    fn look_at_goal(&mut self, id: u8, goal: i32) {
        self.audit.goals += 1;
        let Some(servo) = self.servos.iter().find(|servo| servo.id() == id) else { return };
        let (min, max) = (servo.get(Register::MIN_POSITION), servo.get(Register::MAX_POSITION));
        if min < max && !(min..=max).contains(&goal) {
            self.audit.goals_outside_limits += 1;
            self.violation(format!("goal {goal} of servo {id} is outside {min}..{max}"));
        }
    }

    fn violation(&mut self, what: String) {
        let now_s = self.now_s();
        self.audit.first_violation.get_or_insert_with(|| format!("at {now_s:.3} s: {what}"));
    }

    /// Total current of all servos, A.
    pub fn current_a(&self) -> f64 {
        self.servos.iter().map(|servo| f64::from(servo.get(Register::PRESENT_CURRENT)) * AMPERE_PER_UNIT).sum()
    }
}

#[cfg(test)]
mod tests;
