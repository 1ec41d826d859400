//! The panels of a guided calibration: what to do now, how far each joint has come, what the checks found.

use super::panels::EDGE;
use super::theme::{self, ACCENT, BAD, FAINT, GOOD, GROOVE, TEXT};
use crate::bus::calibration_guide::{JointView, Step, View};
use crate::window::stage::Show;
use bevy::prelude::KeyCode;
use bevy_egui::egui::{self, Align2, Color32, Context, Rect, RichText, Ui, Vec2};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};

/// Width of the card, points.
const WIDTH: f32 = 330.0;
/// Readings of an encoder.
const TURN: f32 = 4096.0;

/// What the person asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Order {
    /// The step is done; in the review: keep it.
    Proceed,
    /// Do this joint again, alone.
    Redo(String),
}

/// What there is to be seen, renewed beside the window.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Where the calibration stands.
    pub view: View,
    /// What went wrong last, in words.
    pub problem: Option<String>,
}

/// A guided calibration on a stage with two arms: the live one and the wanted one.
pub struct CalibrationShow {
    shown: Arc<Mutex<Shown>>,
    orders: Sender<Order>,
    limits_rad: Vec<(f64, f64)>,
    name: String,
    over: bool,
}

impl CalibrationShow {
    /// A show of `shown`, whose joints have `limits_rad` in the arm model; the calibration is called `name`.
    pub fn new(shown: Arc<Mutex<Shown>>, orders: Sender<Order>, limits_rad: Vec<(f64, f64)>, name: &str) -> Self {
        Self { shown, orders, limits_rad, name: name.to_owned(), over: false }
    }

    fn shown(&self) -> Shown {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn order(&mut self, order: Order) {
        // With the arm's end gone there is nothing left to be done here.
        self.over |= self.orders.send(order).is_err();
    }

    fn proceed(&mut self, step: Step) {
        if step == Step::Kept {
            self.over = true;
        } else {
            self.order(Order::Proceed);
        }
    }
}

impl Show for CalibrationShow {
    fn poses_rad(&mut self, time_s: f64) -> Vec<Option<Vec<f64>>> {
        let view = self.shown().view;
        let live = view.joints.iter().map(|joint| joint.angle_rad).collect();
        vec![Some(live), view.wanted_rad(&self.limits_rad, time_s)]
    }

    fn panels(&mut self, ctx: &Context) {
        let Shown { view, problem } = self.shown();
        let mut orders = Vec::new();
        let mut done = false;
        theme::place_card(ctx, "calibration", Align2::LEFT_TOP, [EDGE, EDGE], WIDTH, |ui| {
            ui.label(RichText::new(format!("Calibrating \"{}\"", self.name)).size(17.0).strong());
            steps(ui, &view);
            ui.add_space(6.0);
            ui.label(RichText::new(words(&view)).size(14.5).color(TEXT));
            if let Some(problem) = &problem {
                ui.add_space(2.0);
                ui.label(RichText::new(problem).size(12.5).color(BAD));
            }
            ui.add_space(4.0);
            theme::section(ui, "joints");
            for joint in &view.joints {
                joint_line(ui, joint, view.step);
            }
            if view.step == Step::Review {
                findings(ui, &view, &mut orders);
            }
            ui.add_space(8.0);
            let (label, colour) = match view.step {
                Step::Review if view.findings.is_empty() => ("Keep it   (Enter)", GOOD),
                Step::Review => ("Keep it all the same", BAD),
                Step::Kept => ("Close   (Enter)", GOOD),
                _ => ("Done, next   (Enter)", ACCENT),
            };
            let button = egui::Button::new(RichText::new(label).size(15.0).strong().color(Color32::BLACK)).fill(colour);
            done = ui.add_sized(Vec2::new(ui.available_width(), 32.0), button).clicked();
            let leave = if view.step == Step::Kept {
                "Saved; the version before is kept beside it."
            } else {
                "Esc leaves everything in the file as it was."
            };
            ui.label(theme::faint(leave));
        });
        for order in orders {
            self.order(order);
        }
        if done {
            self.proceed(view.step);
        }
    }

    fn key(&mut self, key: KeyCode) {
        match key {
            KeyCode::Enter | KeyCode::NumpadEnter => {
                let view = self.shown().view;
                // What the checks doubt is not kept by a key pressed once too often.
                if view.step != Step::Review || view.findings.is_empty() {
                    self.proceed(view.step);
                }
            }
            KeyCode::Escape => self.over = true,
            _ => {}
        }
    }

    fn is_over(&self) -> bool {
        self.over
    }
}

/// What the person should do now.
fn words(view: &View) -> String {
    match (view.step, view.alone.as_deref()) {
        (Step::Hold, _) => "Take hold of the arm: its motors let go with the next step, and it would fall.".into(),
        (Step::Middle, None) => "Bring the arm into the pose of the blue one: base straight ahead, upper arm upright, \
                                 forearm level, wrist straight, gripper half open."
            .into(),
        (Step::Middle, Some(joint)) => {
            format!("Bring {} to the middle of its range, as the blue arm shows.", plain(joint))
        }
        (Step::Ranges, _) => match view.next_joint() {
            Some(joint) => format!("Move each joint to both of its ends, slowly. Next: {}.", plain(joint)),
            None => "Every joint has been to both ends.".into(),
        },
        (Step::Compare, _) => "Hold both arms, leader and follower, in the same pose, such as folded at rest.".into(),
        (Step::Review, _) if view.findings.is_empty() => {
            "All checks passed. Move the arm: the picture must move as it does.".into()
        }
        (Step::Review, _) => "The checks found something. Do the joint again, or keep it if you know better.".into(),
        (Step::Kept, _) => "Written into the servos and saved. Let the arm down gently.".into(),
    }
}

fn plain(joint: &str) -> String {
    joint.replace('_', " ")
}

/// The steps as a row of dots, those behind filled.
fn steps(ui: &mut Ui, view: &View) {
    let all = ["hold", "middle", "ranges", "check"];
    let now = match view.step {
        Step::Hold => 0,
        Step::Middle => 1,
        Step::Ranges => 2,
        Step::Compare | Step::Review => 3,
        Step::Kept => 4,
    };
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = 5.0;
        for (index, name) in all.into_iter().enumerate() {
            let (rect, _) = ui.allocate_exact_size(Vec2::splat(12.0), egui::Sense::hover());
            match index.cmp(&now) {
                std::cmp::Ordering::Less => ui.painter().circle_filled(rect.center(), 5.0, GOOD),
                std::cmp::Ordering::Equal => ui.painter().circle_filled(rect.center(), 5.0, ACCENT),
                std::cmp::Ordering::Greater => ui.painter().circle_stroke(rect.center(), 4.5, (1.3, FAINT)),
            };
            let colour = if index == now { TEXT } else { FAINT };
            ui.label(RichText::new(name).size(12.0).color(colour));
            ui.add_space(6.0);
        }
    });
}

fn joint_line(ui: &mut Ui, joint: &JointView, step: Step) {
    let (rect, response) = ui.allocate_exact_size(Vec2::new(ui.available_width(), 30.0), egui::Sense::hover());
    let painter = ui.painter();
    let small = egui::FontId::proportional(12.5);
    let counts = joint.active && step == Step::Ranges;
    let colour = if joint.active || step == Step::Review { TEXT } else { FAINT };
    painter.text(rect.left_top(), Align2::LEFT_TOP, plain(&joint.name), small.clone(), colour);
    let (words, colour) = match joint.ticks {
        None => ("no answer: check its cable".to_owned(), BAD),
        Some(_) if counts && joint.full_turn => ("turns freely".to_owned(), FAINT),
        Some(_) if counts && joint.done => ("both ends".to_owned(), GOOD),
        Some(_) if counts => {
            let (moved, wanted) = (joint.moved_rad.to_degrees(), joint.wanted_rad.to_degrees());
            (format!("{moved:.0} of {wanted:.0}°"), ACCENT)
        }
        // Plus zero, so that nothing is minus zero.
        Some(_) => (format!("{:.0}°", joint.angle_rad.to_degrees().round() + 0.0), FAINT),
    };
    painter.text(rect.right_top(), Align2::RIGHT_TOP, words, small, colour);
    // The encoder's turn, the range seen so far, and where the joint is.
    let groove = Rect::from_min_size(rect.left_top() + Vec2::new(0.0, 18.0), Vec2::new(rect.width(), 6.0));
    painter.rect_filled(groove, 3.0, GROOVE);
    let x = |ticks: i32| groove.left() + groove.width() * (ticks as f32 / TURN).clamp(0.0, 1.0);
    if let Some((low, high)) = joint.range {
        let filled = if joint.done { GOOD } else { ACCENT };
        let span = Rect::from_x_y_ranges(x(low)..=x(high).max(x(low) + 2.0), groove.y_range());
        painter.rect_filled(span, 3.0, filled.gamma_multiply(0.8));
    }
    if let Some(ticks) = joint.ticks {
        painter.circle_filled(egui::Pos2::new(x(ticks), groove.center().y), 4.5, TEXT);
    }
    let reading = joint.ticks.map_or("no answer".into(), |ticks| format!("reads {ticks}"));
    let range = joint.range.map_or(String::new(), |(low, high)| format!(", seen {low} to {high}"));
    response.on_hover_text(format!("{}: {reading}{range}; the bar is the encoder's whole turn", joint.name));
}

fn findings(ui: &mut Ui, view: &View, orders: &mut Vec<Order>) {
    if view.findings.is_empty() {
        ui.add_space(4.0);
        for text in ["no range touches the encoder's jump", "every range fits the arm's model", "the middle pose fits"]
        {
            theme::check(ui, true, text);
        }
        return;
    }
    theme::section(ui, "checks");
    let mut offered: Vec<&str> = Vec::new();
    for finding in &view.findings {
        ui.label(RichText::new(finding.to_string()).size(12.0).color(BAD));
        if !offered.contains(&finding.joint.as_str()) {
            offered.push(&finding.joint);
        }
    }
    ui.horizontal_wrapped(|ui| {
        for joint in offered {
            if ui.button(format!("Do {} again", plain(joint))).clicked() {
                orders.push(Order::Redo(joint.to_owned()));
            }
        }
    });
}
