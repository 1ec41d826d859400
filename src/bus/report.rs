//! What the driver tells of an arm: its mode, every joint's reading, and what a person should know.

use super::engine::{CONFIRMED, Engine, Intent, SILENT_AFTER};
use super::state::{ArmState, JointReading, Mode, Notice, NoticeKind};

impl Engine {
    fn mode(&self, now_s: f64) -> Mode {
        if self.port.is_none() {
            return Mode::Disconnected;
        }
        match self.intent {
            Intent::AsFound if self.joints.iter().any(|joint| joint.torque == Some(true)) => Mode::Holding,
            Intent::AsFound | Intent::Limp => Mode::Limp,
            Intent::Stop => Mode::Stopped,
            Intent::Park { .. } => Mode::Parking,
            Intent::Follow if self.joints.iter().any(|joint| joint.torque != Some(true)) => Mode::Enabling,
            Intent::Follow if self.is_paused(now_s) => Mode::Holding,
            Intent::Follow => Mode::Following,
        }
    }

    /// The newest state.
    pub fn state(&self) -> ArmState {
        let now_s = self.now_s();
        let mut notices = Vec::new();
        if self.port.is_none() {
            notices.push(Notice { joint: None, kind: NoticeKind::Disconnected { reason: self.lost_reason.clone() } });
        }
        if self.at_table {
            notices.push(Notice { joint: None, kind: NoticeKind::AtTable });
        }
        for (index, joint) in self.joints.iter().enumerate() {
            let mut note = |kind| notices.push(Notice { joint: Some(index), kind });
            if self.port.is_some() && joint.missed_in_row >= SILENT_AFTER {
                note(NoticeKind::Silent);
            }
            if let Some(kind) = &joint.obstacle {
                note(kind.clone());
            }
            if joint.hot_in_row >= CONFIRMED {
                note(NoticeKind::Hot { celsius: joint.reading.temperature_c });
            }
            if !joint.reading.status.is_ok() {
                note(NoticeKind::Status { bits: joint.reading.status });
            }
            if joint.guard.is_stalled() {
                note(NoticeKind::Stalled);
            }
        }
        let joints = self.joints.iter().map(|joint| {
            let torque_on = joint.torque == Some(true);
            JointReading {
                age_s: joint.age_s(now_s),
                torque_on,
                goal_rad: if torque_on { joint.guard.goal_rad() } else { joint.reading.position_rad },
                stalled: joint.guard.is_stalled(),
                ..joint.reading
            }
        });
        ArmState {
            time_s: now_s,
            cycle: self.cycle,
            mode: self.mode(now_s),
            reason: self.reason,
            joints: joints.collect(),
            notices,
            reconnects: self.reconnects,
            noise_bytes: self.noise_bytes,
            finished: self.finished,
        }
    }
}
