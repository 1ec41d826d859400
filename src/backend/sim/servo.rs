//! The servo as it is: a position loop with finite stiffness that saturates, back-EMF, rotor inertia, dry friction, a
//! coarse encoder, and, where configured, play in the gears and a delayed command.
//!
//! Stiffness is the joint's implicit spring; it saturates at the torque limit by moving the spring's rest angle every
//! step. Damping and rotor inertia are implicit in the multibody, dry friction is a weak velocity motor. Rapier's own
//! position motor would clamp stiffness and damping together and is far off the measured step responses.

use crate::config::{AMBIENT_C, ArmConfig, ServoProfile};
use crate::robot::JointState;
use std::collections::VecDeque;
use std::sync::Arc;

/// Stiffness of a joint without torque, Nm/rad: nothing, but not zero, by which a limit would be divided.
pub(super) const LIMP_NM_RAD: f32 = 1e-6;

/// One simulated servo.
#[derive(Clone, Debug)]
pub struct Servo {
    /// Stiffness of the position loop, Nm/rad.
    pub stiffness_nm_rad: f32,
    /// Damping, Nm s/rad.
    pub damping_nm_s_rad: f32,
    /// Torque limit of the position loop, Nm.
    pub torque_limit_nm: f32,
    /// Dry friction, Nm.
    pub friction_nm: f32,
    /// Rotor inertia at the joint, kg m².
    pub armature_kg_m2: f32,
    /// Play of the gears, rad, total.
    pub backlash_rad: f32,
    /// Whether it has torque; without, the joint is limp.
    pub has_torque: bool,
    /// Temperature of its motor, degrees Celsius.
    pub temperature_c: f64,
    /// What it is made of.
    profile: Arc<ServoProfile>,
    /// Angle of one encoder tick, rad; 0 for an ideal encoder.
    pub tick_rad: f64,
    /// Goal the position loop works on now, rad.
    goal_rad: f32,
    /// Goals on their way, oldest first; its length is the delay in control ticks.
    on_the_way: VecDeque<f32>,
}

impl Servo {
    /// A servo of this profile standing at `start_rad`, with commands delayed by `delay_ticks`.
    pub fn new(
        profile: &Arc<ServoProfile>,
        arm: &ArmConfig,
        gripper: bool,
        delay_ticks: usize,
        start_rad: f64,
    ) -> Self {
        let share = if gripper { arm.gripper_torque_fraction } else { 1.0 };
        let goal_rad = start_rad as f32;
        Self {
            stiffness_nm_rad: profile.stiffness_nm_rad(arm.p_gain) as f32,
            damping_nm_s_rad: profile.damping_nm_s_rad as f32,
            torque_limit_nm: (profile.torque_limit_nm * share) as f32,
            friction_nm: profile.friction_nm as f32,
            armature_kg_m2: profile.armature_kg_m2 as f32,
            backlash_rad: arm.backlash_deg.to_radians() as f32,
            has_torque: true,
            temperature_c: AMBIENT_C,
            profile: profile.clone(),
            tick_rad: std::f64::consts::TAU / f64::from(profile.ticks_per_turn),
            goal_rad,
            on_the_way: VecDeque::from(vec![goal_rad; delay_ticks]),
        }
    }

    /// Takes the target of this control tick; the goal of `delay_ticks` ago becomes the one in force.
    pub fn command(&mut self, target_rad: f64) {
        // The goal register counts whole ticks.
        let target = self.quantise(target_rad) as f32;
        self.on_the_way.push_back(target);
        self.goal_rad = self.on_the_way.pop_front().unwrap_or(target);
    }

    /// Stiffness and rest angle of the joint's spring while it stands at `angle_rad`.
    pub fn spring(&self, angle_rad: f32) -> (f32, f32) {
        if !self.has_torque {
            return (LIMP_NM_RAD, angle_rad);
        }
        let reach = self.torque_limit_nm / self.stiffness_nm_rad;
        let error = (self.felt_error(angle_rad)).clamp(-reach, reach);
        (self.stiffness_nm_rad, angle_rad + error)
    }

    /// Torque the servo gives, Nm: what its load register would tell.
    pub fn torque_nm(&self, angle_rad: f32, velocity_rad_s: f32) -> f32 {
        if !self.has_torque {
            return 0.0;
        }
        let spring =
            (self.stiffness_nm_rad * self.felt_error(angle_rad)).clamp(-self.torque_limit_nm, self.torque_limit_nm);
        spring - self.damping_nm_s_rad * velocity_rad_s
    }

    /// What the servo reports of a joint at `angle_rad` that moves at `velocity_rad_s`, where it reports `zero_rad` more than
    /// the true angle.
    pub fn report(&self, angle_rad: f32, velocity_rad_s: f32, zero_rad: f64) -> JointState {
        let torque_nm = f64::from(self.torque_nm(angle_rad, velocity_rad_s));
        JointState {
            position_rad: self.quantise(f64::from(angle_rad) + zero_rad),
            velocity_rad_s: f64::from(velocity_rad_s),
            torque_nm,
            current_a: self.profile.current_a(torque_nm),
            temperature_c: self.temperature_c,
        }
    }

    /// Lets the motor warm, or cool, for `dt_s` in which the joint was at `angle_rad` and moved at `velocity_rad_s`.
    pub fn warm(&mut self, angle_rad: f32, velocity_rad_s: f32, dt_s: f64) {
        let torque_nm = f64::from(self.torque_nm(angle_rad, velocity_rad_s));
        self.temperature_c = self.profile.warmed_c(self.temperature_c, torque_nm, dt_s);
    }

    /// Angle as the encoder reports it, rad.
    pub fn quantise(&self, angle_rad: f64) -> f64 {
        if self.tick_rad > 0.0 { (angle_rad / self.tick_rad).round() * self.tick_rad } else { angle_rad }
    }

    /// Position error after the play of the gears: inside it no torque reaches the joint.
    fn felt_error(&self, angle_rad: f32) -> f32 {
        let error = self.goal_rad - angle_rad;
        let play = 0.5 * self.backlash_rad;
        error - error.clamp(-play, play)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn servo(change: impl FnOnce(&mut ArmConfig), delay_ticks: usize) -> Servo {
        let profile: ServoProfile = config::load_named("configs/servo", "sts3215_12v").unwrap();
        let mut arm: ArmConfig = config::load_named("configs/arm", "so100").unwrap();
        change(&mut arm);
        Servo::new(&Arc::new(profile), &arm, false, delay_ticks, 0.0)
    }

    #[test]
    fn torque_saturates_but_the_spring_stays_stiff() {
        let mut servo = servo(|_| {}, 0);
        servo.command(1.0);
        assert_eq!(servo.torque_nm(0.0, 0.0), servo.torque_limit_nm);
        let (stiffness, rest) = servo.spring(0.0);
        assert!((stiffness * rest - servo.torque_limit_nm).abs() < 1e-4);
        assert!((stiffness - 14.5).abs() < 1e-4, "P = 16 at 12 V is 14.5 Nm/rad");
    }

    #[test]
    fn commands_arrive_after_the_delay() {
        let mut servo = servo(|_| {}, 2);
        let seen: Vec<bool> = (0..4)
            .map(|_| {
                servo.command(0.5);
                servo.torque_nm(0.0, 0.0) > 0.0
            })
            .collect();
        assert_eq!(seen, [false, false, true, true]);
    }

    #[test]
    fn inside_the_backlash_no_torque_is_felt() {
        let mut servo = servo(|arm| arm.backlash_deg = 1.0, 0);
        servo.command(0.0);
        assert_eq!(servo.torque_nm(0.4f32.to_radians(), 0.0), 0.0);
        assert!(servo.torque_nm(0.6f32.to_radians(), 0.0) < 0.0);
    }

    #[test]
    fn a_motor_at_stall_is_at_its_limit_within_two_minutes_and_cools_when_it_lets_go() {
        let mut servo = servo(|_| {}, 0);
        servo.command(1.0);
        assert!((servo.report(0.0, 0.0, 0.0).current_a - 2.7).abs() < 1e-6);
        let mut seconds = 0;
        while servo.temperature_c < 70.0 {
            servo.warm(0.0, 0.0, 1.0);
            seconds += 1;
        }
        assert!((90..150).contains(&seconds), "{seconds} s");
        servo.has_torque = false;
        assert_eq!((servo.torque_nm(0.0, 0.0), servo.spring(0.3)), (0.0, (LIMP_NM_RAD, 0.3)));
        (0..600).for_each(|_| servo.warm(0.0, 0.0, 1.0));
        assert!((25.0..30.0).contains(&servo.temperature_c), "{}", servo.temperature_c);
    }

    #[test]
    fn readings_are_whole_ticks() {
        let servo = servo(|_| {}, 0);
        let read = servo.quantise(0.1234);
        assert!((read - 0.1234).abs() <= 0.5 * servo.tick_rad);
        assert!((read / servo.tick_rad).fract().abs() < 1e-9);
    }
}
