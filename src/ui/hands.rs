//! Keyboard, mouse and gamepad become [`TeleopInput`], once per frame, before the control ticks.

use super::actions::Session;
use super::camera_rig::{CameraRig, MainCamera};
use super::keys::{BINDINGS, Motion, Use};
use crate::arm::DVec3;
use crate::operator::Operator;
use crate::robot::{Arm, ArmLink, WorldPose};
use crate::teleop::{HandTarget, TeleopInput};
use bevy::app::{RunFixedMainLoop, RunFixedMainLoopSystems};
use bevy::input::mouse::AccumulatedMouseScroll;
use bevy::prelude::*;
use bevy_egui::input::EguiWantsInput;

/// Factor on speeds while the key for fine motion is held.
const FINE: f64 = 0.3;
/// The handle is taken from within this many pixels of its centre.
const GRAB_PX: f32 = 26.0;
/// Height per notch of the wheel while dragging, m.
const LIFT_M: f32 = 0.008;
/// Heights a dragged handle may have, m.
const DRAG_HEIGHTS_M: (f32, f32) = (0.0115, 0.30);
/// Radius of the ring that marks the handle, m.
const RING_M: f32 = 0.017;

/// The handle at the tool point.
#[derive(Resource, Clone, Debug, Default)]
pub struct Handle {
    /// Where the hand is dragged to, m; `None` while nothing is dragged.
    pub target_m: Option<Vec3>,
    /// Whether the mouse is over it.
    pub hovered: bool,
    /// Where the tool point is, m.
    pub hand_m: Option<Vec3>,
}

/// Adds the gathering of input.
pub fn plugin(app: &mut App) {
    app.init_resource::<Handle>();
    app.add_systems(RunFixedMainLoop, (drag, gather).chain().in_set(RunFixedMainLoopSystems::BeforeFixedMainLoop));
    app.add_systems(Update, draw_handle.in_set(super::UiSystems::Present));
}

/// Directions of the screen as directions on the table, for a view turned by whole quarters.
fn table_from_screen(quarter_yaw: f32, right: f64, away: f64) -> (f64, f64) {
    let (sin, cos) = f64::from(quarter_yaw).sin_cos();
    (right * cos - away * sin, right * sin + away * cos)
}

/// What the held keys ask for.
fn from_keys(pressed: impl Fn(KeyCode) -> bool, quarter_yaw: f32) -> TeleopInput {
    let mut input = TeleopInput { speed: 1.0, ..default() };
    let (mut right, mut away) = (0.0, 0.0);
    let mut backwards = false;
    for binding in BINDINGS.iter().filter(|binding| pressed(binding.key)) {
        let Use::Hold(motion) = binding.does else { continue };
        match motion {
            Motion::Hand(x, y, z) => {
                right += x;
                away += y;
                input.translate.z += z;
            }
            Motion::Turn(turn) => input.roll += turn,
            Motion::Tilt(tilt) => input.tilt += tilt,
            Motion::Jaws(open) => input.gripper += open,
            Motion::Joint(index) => {
                input.jog.resize(input.jog.len().max(index + 1), 0.0);
                input.jog[index] = 1.0;
            }
            Motion::Fine => input.speed = FINE,
            Motion::Backwards => backwards = true,
        }
    }
    if backwards {
        input.jog.iter_mut().for_each(|rate| *rate = -*rate);
    }
    (input.translate.x, input.translate.y) = table_from_screen(quarter_yaw, right, away);
    input
}

fn gather(
    keys: Res<ButtonInput<KeyCode>>,
    buttons: Res<ButtonInput<MouseButton>>,
    egui: Res<EguiWantsInput>,
    rig: Res<CameraRig>,
    session: Res<Session>,
    handle: Res<Handle>,
    mut input: ResMut<TeleopInput>,
    #[cfg(feature = "gamepad")] gamepads: Query<&Gamepad>,
) {
    let quarter = rig.goal.quarter_yaw();
    let mut wish = if egui.wants_any_keyboard_input() || session.paused {
        TeleopInput { speed: 1.0, ..default() }
    } else {
        from_keys(|key| keys.pressed(key), quarter)
    };
    #[cfg(feature = "gamepad")]
    for gamepad in &gamepads {
        add_gamepad(&mut wish, gamepad, quarter);
    }
    if let Some(target) = handle.target_m {
        wish.drag_target_m = Some(DVec3::new(f64::from(target.x), f64::from(target.y), f64::from(target.z)));
        wish.gripper += f64::from(u8::from(buttons.pressed(MouseButton::Middle)))
            - f64::from(u8::from(buttons.pressed(MouseButton::Right)));
    }
    input.set_if_neq(wish);
}

/// Sticks move the hand, triggers the jaws, bumpers turn, the cross tilts.
#[cfg(feature = "gamepad")]
fn add_gamepad(wish: &mut TeleopInput, gamepad: &Gamepad, quarter_yaw: f32) {
    let axis = |axis: GamepadAxis| gamepad.get(axis).map_or(0.0, f64::from);
    let button = |button: GamepadButton| gamepad.get(button).map_or(0.0, f64::from);
    let (x, y) = table_from_screen(quarter_yaw, axis(GamepadAxis::LeftStickX), axis(GamepadAxis::LeftStickY));
    wish.translate += DVec3::new(x, y, axis(GamepadAxis::RightStickY));
    wish.roll +=
        button(GamepadButton::LeftTrigger) - button(GamepadButton::RightTrigger) - axis(GamepadAxis::RightStickX);
    wish.tilt += button(GamepadButton::DPadUp) - button(GamepadButton::DPadDown);
    wish.gripper += button(GamepadButton::LeftTrigger2) - button(GamepadButton::RightTrigger2);
}

fn drag(
    mut handle: ResMut<Handle>,
    mut rig: ResMut<CameraRig>,
    operator: Res<Operator>,
    session: Res<Session>,
    buttons: Res<ButtonInput<MouseButton>>,
    keys: Res<ButtonInput<KeyCode>>,
    scroll: Res<AccumulatedMouseScroll>,
    egui: Res<EguiWantsInput>,
    windows: Query<&Window>,
    cameras: Query<(&Camera, &GlobalTransform), With<MainCamera>>,
    arms: Query<(&Arm, Option<&HandTarget>)>,
    links: Query<&WorldPose, With<ArmLink>>,
) {
    handle.hovered = false;
    handle.hand_m = None;
    let free = |handle: &mut Handle, rig: &mut CameraRig| {
        handle.target_m = None;
        rig.left_button_taken = false;
    };
    let Some((arm, target)) = arms.iter().next().filter(|_| *operator == Operator::Human && !session.paused) else {
        return free(&mut handle, &mut rig);
    };
    let Some(pose) = arm.links.get(arm.model.hand_link()).and_then(|link| links.get(*link).ok()) else { return };
    let hand = pose.now.translation + pose.now.rotation * arm.tool.point_m.as_vec3();
    handle.hand_m = Some(hand);
    let cursor = windows.iter().next().and_then(Window::cursor_position);
    let (Some((camera, eye)), Some(cursor)) = (cameras.iter().next(), cursor) else {
        return free(&mut handle, &mut rig);
    };
    let near = camera.world_to_viewport(eye, hand).is_ok_and(|at| at.distance(cursor) < GRAB_PX);
    handle.hovered = near && !egui.wants_any_pointer_input();
    if buttons.just_pressed(MouseButton::Left) && handle.hovered {
        let start = target.map_or(hand, |target| target.position_m.as_vec3());
        handle.target_m = Some(start);
        rig.left_button_taken = true;
    }
    if !buttons.pressed(MouseButton::Left) {
        return free(&mut handle, &mut rig);
    }
    let Some(before) = handle.target_m else { return };
    let Ok(ray) = camera.viewport_to_world(eye, cursor) else { return };
    let vertical = keys.pressed(KeyCode::ControlLeft) || keys.pressed(KeyCode::ControlRight);
    let normal = if vertical {
        let forward = eye.forward();
        Vec3::new(forward.x, forward.y, 0.0).try_normalize().unwrap_or(Vec3::Y)
    } else {
        Vec3::Z
    };
    let mut next = before;
    let slope = ray.direction.dot(normal);
    if slope.abs() > 0.05 {
        let distance = (before - ray.origin).dot(normal) / slope;
        if distance > 0.0 && distance < 5.0 {
            next = ray.origin + *ray.direction * distance;
        }
    }
    next.z = (next.z + scroll.delta.y.clamp(-5.0, 5.0) * LIFT_M).clamp(DRAG_HEIGHTS_M.0, DRAG_HEIGHTS_M.1);
    if next.is_finite() {
        handle.target_m = Some(next);
    }
}

/// A ring about the tool point, a plumb line to the table, and where the hand is dragged to.
fn draw_handle(handle: Res<Handle>, operator: Res<Operator>, targets: Query<&HandTarget>, mut gizmos: Gizmos) {
    let Some(hand) = handle.hand_m.filter(|_| *operator == Operator::Human) else { return };
    let blocked = targets.iter().next().is_some_and(|target| target.blocked);
    let colour = if blocked {
        Color::srgb(0.95, 0.25, 0.20)
    } else if handle.hovered || handle.target_m.is_some() {
        Color::srgb(0.30, 0.85, 1.0)
    } else {
        Color::srgba(0.15, 0.55, 0.85, 0.9)
    };
    gizmos.circle(Isometry3d::from_translation(hand), RING_M, colour).resolution(24);
    let foot = hand.with_z(0.001);
    gizmos.line(hand, foot, colour);
    gizmos.circle(Isometry3d::from_translation(foot), 0.3 * RING_M, colour).resolution(12);
    if let Some(target) = handle.target_m {
        gizmos.circle(Isometry3d::from_translation(target), 0.6 * RING_M, colour).resolution(16);
        gizmos.line(hand, target, colour);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(keys: &[KeyCode], quarter_yaw: f32) -> TeleopInput {
        from_keys(|key| keys.contains(&key), quarter_yaw)
    }

    #[test]
    fn keys_move_as_the_person_sees_it() {
        let away = held(&[KeyCode::KeyW], 0.0);
        assert!((away.translate - DVec3::Y).length() < 1e-9, "the front view looks along +y");
        let turned = held(&[KeyCode::KeyW], std::f32::consts::FRAC_PI_2);
        assert!((turned.translate - DVec3::NEG_X).length() < 1e-6, "{}", turned.translate);
        let right = held(&[KeyCode::KeyD, KeyCode::KeyQ], std::f32::consts::PI);
        assert!((right.translate - DVec3::new(-1.0, 0.0, -1.0)).length() < 1e-6);
    }

    #[test]
    fn opposite_keys_cancel_and_none_do_nothing() {
        assert_eq!(held(&[KeyCode::KeyA, KeyCode::KeyD], 0.0).translate, DVec3::ZERO);
        assert_eq!(held(&[], 0.0), TeleopInput { speed: 1.0, ..default() });
    }

    #[test]
    fn joints_turn_back_with_alt_and_slower_with_shift() {
        let input = held(&[KeyCode::Digit3, KeyCode::AltLeft, KeyCode::ShiftLeft], 0.0);
        assert_eq!(input.jog, vec![0.0, 0.0, -1.0]);
        assert!(input.speed < 1.0);
    }
}
