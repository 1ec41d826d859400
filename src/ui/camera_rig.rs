//! The camera of the window: it orbits a point on the table, z up, and eases from one view to the next.

use crate::arm::ArmModel;
use crate::robot::{Arm, ArmLink, WorldPose};
use bevy::input::mouse::{AccumulatedMouseMotion, AccumulatedMouseScroll, MouseScrollUnit};
use bevy::prelude::*;
use bevy_egui::input::EguiWantsInput;
use std::f32::consts::{FRAC_PI_2, PI, TAU};

/// Vertical field of view, rad.
pub const FIELD_OF_VIEW_RAD: f32 = 0.50;
/// Radians per pixel of a drag that orbits.
const ORBIT_RAD_PX: f32 = 0.006;
/// Factor per notch of the wheel.
const ZOOM_PER_NOTCH: f32 = 0.88;
/// Time in which the eye comes 63 % closer to where it shall be, s.
const EASE_S: f32 = 0.09;

/// A view to jump to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Facing the arm, from above.
    Front,
    /// From the arm's left.
    Side,
    /// Straight down.
    Top,
    /// Over the wrist, moving with it.
    Wrist,
}

/// Where the eye is, in terms of the point it looks at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Orbit {
    /// The point looked at, m.
    pub target: Vec3,
    /// Turn about z: 0 looks along +y, rad.
    pub yaw: f32,
    /// Height above the horizon, rad.
    pub pitch: f32,
    /// Distance from the point, m.
    pub distance: f32,
}

impl Orbit {
    /// The orbit of a fixed view.
    pub fn of(view: View) -> Self {
        let centre = Vec3::new(0.0, -0.175, 0.088);
        match view {
            View::Front | View::Wrist => Self { target: centre, yaw: 0.42, pitch: 0.60, distance: 1.04 },
            View::Side => Self { target: centre, yaw: -FRAC_PI_2 + 0.12, pitch: 0.30, distance: 1.0 },
            View::Top => Self { target: Vec3::new(0.0, -0.15, 0.0), yaw: 0.0, pitch: FRAC_PI_2 - 0.02, distance: 1.08 },
        }
    }

    /// Turns the eye about the target.
    pub fn turn(&mut self, yaw: f32, pitch: f32) {
        self.yaw = wrap(self.yaw + yaw);
        self.pitch = (self.pitch + pitch).clamp(0.03, FRAC_PI_2 - 0.01);
    }

    /// Moves the target in the plane of the screen, by shares of the view's height.
    pub fn pan(&mut self, right: f32, up: f32) {
        let height = 2.0 * self.distance * (0.5 * FIELD_OF_VIEW_RAD).tan();
        let rotation = self.rotation();
        self.target += rotation * Vec3::new(right * height, up * height, 0.0);
        self.target = self.target.clamp(Vec3::new(-0.8, -0.9, -0.05), Vec3::new(0.8, 0.7, 0.6));
    }

    /// Changes the distance by a factor.
    pub fn zoom(&mut self, factor: f32) {
        self.distance = (self.distance * factor).clamp(0.12, 3.0);
    }

    fn rotation(&self) -> Quat {
        // From a camera that looks along -z with y up to one that looks along +y with z up, pitched, turned.
        Quat::from_rotation_z(self.yaw) * Quat::from_rotation_x(FRAC_PI_2 - self.pitch)
    }

    /// Pose of the eye.
    pub fn transform(&self) -> Transform {
        let rotation = self.rotation();
        Transform::from_translation(self.target + rotation * Vec3::Z * self.distance).with_rotation(rotation)
    }

    /// A share of the way to `goal`, turning the short way round.
    fn approach(&mut self, goal: &Self, share: f32) {
        self.target = self.target.lerp(goal.target, share);
        self.yaw = wrap(self.yaw + wrap(goal.yaw - self.yaw) * share);
        self.pitch += (goal.pitch - self.pitch) * share;
        self.distance += (goal.distance - self.distance) * share;
    }

    /// Turn of the view to the nearest quarter, rad: what "right" and "away" mean to a person at the keyboard.
    pub fn quarter_yaw(&self) -> f32 {
        (self.yaw / FRAC_PI_2).round() * FRAC_PI_2
    }
}

fn wrap(angle: f32) -> f32 {
    angle - TAU * ((angle + PI) / TAU).floor()
}

/// State of the camera.
#[derive(Resource, Debug)]
pub struct CameraRig {
    /// Where it is.
    pub now: Orbit,
    /// Where it goes.
    pub goal: Orbit,
    /// Whether it moves with the wrist.
    pub follow_wrist: bool,
    /// Whether the left button is taken by something else, such as dragging the gripper.
    pub left_button_taken: bool,
}

impl Default for CameraRig {
    fn default() -> Self {
        let orbit = Orbit::of(View::Front);
        Self { now: orbit, goal: orbit, follow_wrist: false, left_button_taken: false }
    }
}

impl CameraRig {
    /// Goes to a view.
    pub fn show(&mut self, view: View) {
        self.follow_wrist = view == View::Wrist;
        self.goal = Orbit::of(view);
        if self.follow_wrist {
            self.goal.distance = 0.42;
        }
    }
}

/// The camera that draws the scene and carries the panels.
#[derive(Component)]
pub struct MainCamera;

/// Adds the camera's movement; the camera itself is spawned by the window.
pub fn plugin(app: &mut App) {
    app.init_resource::<CameraRig>();
    app.add_systems(Update, (steer, place).chain().in_set(super::UiSystems::Present));
}

fn steer(
    mut rig: ResMut<CameraRig>,
    buttons: Res<ButtonInput<MouseButton>>,
    keys: Res<ButtonInput<KeyCode>>,
    motion: Res<AccumulatedMouseMotion>,
    scroll: Res<AccumulatedMouseScroll>,
    egui: Res<EguiWantsInput>,
    windows: Query<&Window>,
) {
    // While the hand is dragged, wheel and buttons are its own.
    if egui.wants_any_pointer_input() || rig.left_button_taken {
        return;
    }
    let height = windows.iter().next().map_or(720.0, |window| window.height().max(1.0));
    let shift = keys.pressed(KeyCode::ShiftLeft) || keys.pressed(KeyCode::ShiftRight);
    let left = buttons.pressed(MouseButton::Left);
    let pan = buttons.pressed(MouseButton::Middle) || (buttons.pressed(MouseButton::Right) && shift);
    if motion.delta != Vec2::ZERO {
        if pan {
            rig.goal.pan(-motion.delta.x / height, motion.delta.y / height);
        } else if buttons.pressed(MouseButton::Right) || left {
            rig.goal.turn(-motion.delta.x * ORBIT_RAD_PX, motion.delta.y * ORBIT_RAD_PX);
        }
    }
    let notches = match scroll.unit {
        MouseScrollUnit::Line => scroll.delta.y,
        MouseScrollUnit::Pixel => scroll.delta.y / 100.0,
    };
    if notches != 0.0 {
        rig.goal.zoom(ZOOM_PER_NOTCH.powf(notches.clamp(-5.0, 5.0)));
    }
}

fn hand_of(model: &ArmModel, arm: &Arm, links: &Query<&WorldPose, With<ArmLink>>) -> Option<Vec3> {
    let pose = links.get(*arm.links.get(model.hand_link())?).ok()?;
    Some(pose.now.translation + pose.now.rotation * arm.tool.point_m.as_vec3())
}

fn place(
    time: Res<Time<Real>>,
    mut rig: ResMut<CameraRig>,
    arms: Query<&Arm>,
    links: Query<&WorldPose, With<ArmLink>>,
    mut cameras: Query<&mut Transform, With<MainCamera>>,
) {
    if rig.follow_wrist
        && let Some(arm) = arms.iter().next()
        && let Some(hand) = hand_of(&arm.model, arm, &links)
    {
        rig.goal.target = hand;
    }
    let share = 1.0 - (-time.delta_secs() / EASE_S).exp();
    let goal = rig.goal;
    rig.now.approach(&goal, share.clamp(0.0, 1.0));
    for mut transform in &mut cameras {
        let next = rig.now.transform();
        if next != *transform && next.is_finite() {
            *transform = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_view_looks_at_its_target_with_z_up() {
        for view in [View::Front, View::Side, View::Top] {
            let orbit = Orbit::of(view);
            let eye = orbit.transform();
            let to_target = (orbit.target - eye.translation).normalize();
            assert!(eye.forward().dot(to_target) > 0.9999, "{view:?}");
            assert!((eye.translation.distance(orbit.target) - orbit.distance).abs() < 1e-4);
            assert!(eye.right().z.abs() < 1e-5, "{view:?}: the horizon is level");
            assert!(eye.up().z > 0.0);
        }
    }

    #[test]
    fn the_front_view_stands_before_the_arm_which_reaches_along_minus_y() {
        assert!(Orbit::of(View::Front).transform().translation.y < -0.5);
    }

    #[test]
    fn orbiting_stops_before_the_poles_and_zoom_before_the_target() {
        let mut orbit = Orbit::of(View::Front);
        orbit.turn(0.0, 100.0);
        assert!(orbit.pitch < FRAC_PI_2);
        orbit.turn(0.0, -100.0);
        assert!(orbit.pitch > 0.0);
        (0..100).for_each(|_| orbit.zoom(0.5));
        assert!(orbit.distance > 0.1);
        (0..1000).for_each(|_| orbit.pan(1.0, 1.0));
        assert!(orbit.transform().is_finite());
    }

    #[test]
    fn approaching_turns_the_short_way_and_arrives() {
        let mut orbit = Orbit { yaw: 3.0, ..Orbit::of(View::Front) };
        let goal = Orbit { yaw: -3.0, ..orbit };
        orbit.approach(&goal, 0.5);
        assert!(orbit.yaw.abs() > 3.0, "{}", orbit.yaw);
        (0..60).for_each(|_| orbit.approach(&goal, 0.5));
        assert!(wrap(orbit.yaw - goal.yaw).abs() < 1e-4);
    }

    #[test]
    fn directions_for_the_keyboard_snap_to_quarters() {
        let orbit = Orbit { yaw: 0.5, ..Orbit::of(View::Front) };
        assert_eq!(orbit.quarter_yaw(), 0.0);
        let orbit = Orbit { yaw: 1.0, ..orbit };
        assert_eq!(orbit.quarter_yaw(), FRAC_PI_2);
    }
}
