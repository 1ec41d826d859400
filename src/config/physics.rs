//! `configs/physics/*.ron`: how Rapier is set up.

use super::{Problems, Validate};
use serde::{Deserialize, Serialize};

/// Settings of the physics engine; docs/physics.md says what was measured for each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhysicsConfig {
    /// Physics steps per second; must be a whole multiple of the control rate.
    pub step_hz: u32,
    /// Solver iterations per step.
    pub solver_iterations: usize,
    /// Natural frequency of contacts, Hz.
    pub contact_frequency_hz: f32,
    /// Damping ratio of contacts.
    pub contact_damping_ratio: f32,
    /// Friction of the fingers and of the other arm links; pairs take the larger of the two values.
    pub arm_friction: f32,
    /// Stiffness of bristle friction: share of the slip taken back per step.
    pub bristle_stiffness: f32,
    /// Slip beyond which a bristle slides on, m.
    pub bristle_slip_m: f32,
}

impl Validate for PhysicsConfig {
    fn validate(&self, problems: &mut Problems) {
        problems.range("step_hz", f64::from(self.step_hz), 30.0, 10_000.0, "Hz");
        problems.range("solver_iterations", self.solver_iterations as f64, 1.0, 200.0, "");
        problems.range("contact_frequency_hz", f64::from(self.contact_frequency_hz), 1.0, 5000.0, "Hz");
        problems.range("contact_damping_ratio", f64::from(self.contact_damping_ratio), 0.1, 100.0, "");
        problems.range("arm_friction", f64::from(self.arm_friction), 0.0, 3.0, "");
        problems.range("bristle_stiffness", f64::from(self.bristle_stiffness), 0.0, 1.0, "");
        problems.range("bristle_slip_m", f64::from(self.bristle_slip_m), 0.0, 0.01, "m");
    }
}
