//! The arm: every joint's angle, target, load and limits; below it the settings.

use super::{EDGE, settings};
use crate::robot::{Arm, JointState, JointTarget};
use crate::ui::theme::{self, ACCENT, BAD, FAINT, GROOVE, TEXT};
use bevy::prelude::{Query, Result};
use bevy_egui::EguiContexts;
use bevy_egui::egui::{self, Align2, Color32, Pos2, Rect, RichText, Ui, Vec2};

/// Width of the card, points.
const WIDTH: f32 = 226.0;
/// Share of the range at either end in which a joint counts as at its limit.
const AT_LIMIT: f64 = 0.004;

pub(super) fn show(
    mut contexts: EguiContexts,
    arms: Query<&Arm>,
    joints: Query<(&JointState, &JointTarget)>,
    settings: settings::Settings,
) -> Result {
    let ctx = contexts.ctx_mut()?;
    theme::place_card(ctx, "arm", Align2::RIGHT_TOP, [-EDGE, EDGE], WIDTH, |ui| {
        theme::section(ui, "joints");
        if let Some(arm) = arms.iter().next() {
            for (index, entity) in arm.joints.iter().enumerate() {
                if let Ok((state, target)) = joints.get(*entity) {
                    joint(ui, arm, index, state, target);
                }
            }
        }
        ui.add_space(4.0);
        settings::show(ui, settings);
    });
    Ok(())
}

/// Largest torque the joint's servo gives, Nm.
fn strength_nm(arm: &Arm, index: usize) -> f64 {
    let share = if index == arm.model.gripper_joint() { arm.config.gripper_torque_fraction } else { 1.0 };
    (arm.servo.torque_limit_nm * share).max(1e-6)
}

/// Place of an angle between limits, 0 to 1.
fn place(angle: f64, lower: f64, upper: f64) -> f64 {
    if upper > lower { ((angle - lower) / (upper - lower)).clamp(0.0, 1.0) } else { 0.5 }
}

fn joint(ui: &mut Ui, arm: &Arm, index: usize, state: &JointState, target: &JointTarget) {
    let joint = &arm.model.joints[index];
    let here = place(state.position_rad, joint.lower, joint.upper);
    let goal = place(target.position_rad, joint.lower, joint.upper);
    let load = (state.torque_nm / strength_nm(arm, index)).clamp(-1.0, 1.0);
    let at_limit = !(AT_LIMIT..=1.0 - AT_LIMIT).contains(&here);
    let hint = format!(
        "{}: {:.1}°, target {:.1}°, limits {:.0}° to {:.0}°, torque {:+.2} Nm ({:.0} % of the servo), {:.1} A, {:.0} °C",
        joint.name,
        state.position_rad.to_degrees(),
        target.position_rad.to_degrees(),
        joint.lower.to_degrees(),
        joint.upper.to_degrees(),
        state.torque_nm,
        100.0 * load.abs(),
        state.current_a,
        state.temperature_c
    );
    let (rect, response) = ui.allocate_exact_size(Vec2::new(ui.available_width(), 29.0), egui::Sense::hover());
    let painter = ui.painter();
    let small = egui::FontId::proportional(12.5);
    let name = joint.name.replace('_', " ");
    painter.text(rect.left_top(), Align2::LEFT_TOP, format!("{}  {name}", index + 1), small.clone(), TEXT);
    let colour = if at_limit { BAD } else { TEXT };
    let number = egui::FontId::monospace(12.0);
    let target_text = format!("→ {:6.1}°", target.position_rad.to_degrees());
    painter.text(rect.right_top(), Align2::RIGHT_TOP, target_text, number.clone(), FAINT);
    let angle = format!("{:6.1}°", state.position_rad.to_degrees());
    painter.text(rect.right_top() - Vec2::new(72.0, 0.0), Align2::RIGHT_TOP, angle, number, colour);
    // The limits: a groove with the angle as a knob and the target as a tick.
    let groove = Rect::from_min_size(Pos2::new(rect.left(), rect.top() + 18.0), Vec2::new(rect.width(), 5.0));
    painter.rect_filled(groove, 2.5, GROOVE);
    let x = |share: f64| groove.left() + 3.0 + (groove.width() - 6.0) * share as f32;
    painter.vline(x(goal), groove.expand(2.0).y_range(), (1.5, FAINT));
    painter.circle_filled(Pos2::new(x(here), groove.center().y), 4.2, if at_limit { BAD } else { ACCENT });
    // The load: from the middle to the side it pushes to.
    let bar = Rect::from_min_size(Pos2::new(rect.left(), groove.bottom() + 1.5), Vec2::new(rect.width(), 2.5));
    let middle = bar.center().x;
    let reach = 0.5 * bar.width() * load as f32;
    let span = Rect::from_x_y_ranges(middle.min(middle + reach)..=middle.max(middle + reach), bar.y_range());
    painter.rect_filled(span, 1.0, load_colour(load.abs()));
    response.on_hover_text(RichText::new(hint));
}

fn load_colour(share: f64) -> Color32 {
    if share < 0.5 {
        Color32::from_rgb(96, 165, 200)
    } else if share < 0.85 {
        Color32::from_rgb(230, 180, 70)
    } else {
        BAD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn angles_have_a_place_between_their_limits() {
        assert_eq!(place(0.0, -1.0, 1.0), 0.5);
        assert_eq!((place(-9.0, -1.0, 1.0), place(9.0, -1.0, 1.0)), (0.0, 1.0));
        assert_eq!(place(3.0, 1.0, 1.0), 0.5);
    }
}
