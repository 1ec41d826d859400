//! The planar Push-T for a person: the finger follows pointer or keys, ten times a second as in the published task.

use super::theme::{self, ACCENT, BAD, FAINT, GOOD, TEXT};
use crate::planar::PlanarDriver;
use crate::push_t_2d::{
    Action, CONTROL_HZ, FINGER, GOAL, MAX_STEPS, PlanarExpert, Plane, PushT2d, SUCCESS_COVERAGE, WORKSPACE, corners,
};
use bevy_egui::egui::{self, Align2, Color32, Context, FontId, Id, Key, Pos2, Rect, RichText, Shape, Stroke, Vec2};

/// Physics steps of a control step.
const SUBSTEPS: f64 = 10.0;
/// Speed of the target while an arrow key is held, pixels/s.
const KEY_SPEED: f64 = 260.0;
/// Most time that is caught up with after a pause, s.
const MOST_S: f64 = 0.25;

const PAPER: Color32 = Color32::WHITE;
const WALL: Color32 = Color32::from_rgb(211, 211, 211);
const GOAL_COLOUR: Color32 = Color32::from_rgb(144, 238, 144);
const TEE_COLOUR: Color32 = Color32::from_rgb(119, 136, 153);
const FINGER_COLOUR: Color32 = Color32::from_rgb(65, 105, 225);

/// Who moves the finger.
pub enum Who {
    /// The person.
    Person,
    /// The scripted expert.
    Expert(Box<PlanarExpert>),
    /// A policy.
    Policy(Box<PlanarDriver>),
}

/// A table for one person: episodes one after the other, with a clock.
pub struct PlanarTable {
    world: PushT2d,
    who: Who,
    /// A policy that waits while a person has the finger.
    aside: Option<Box<PlanarDriver>>,
    seed: u64,
    /// Where a person wants the finger.
    target: Action,
    /// What is done in the present step.
    action: Action,
    /// Time of the present step that has passed, s.
    into_step_s: f64,
    /// The clock waits for the first movement.
    begun: bool,
    /// The episode is over, done or not.
    over: Option<bool>,
    best_coverage: f64,
    /// Episodes ended, and those of them that were done, by the person alone.
    ended: (u32, u32),
    fault: Option<String>,
    /// It was not drawn yet.
    is_new: bool,
}

impl PlanarTable {
    /// A table with the episode of `seed`, moved by `who`.
    pub fn new(seed: u64, who: Who) -> Self {
        let world = PushT2d::new(seed);
        let here = world.observation().agent_position;
        let mut table = Self {
            world,
            who,
            aside: None,
            seed,
            target: here,
            action: here,
            into_step_s: 0.0,
            begun: false,
            over: None,
            best_coverage: 0.0,
            ended: (0, 0),
            fault: None,
            is_new: true,
        };
        table.restart(seed);
        table
    }

    /// Begins the episode of `seed`.
    pub fn restart(&mut self, seed: u64) {
        self.seed = seed;
        let here = self.world.reset(seed).agent_position;
        (self.target, self.action, self.into_step_s) = (here, here, 0.0);
        (self.begun, self.over, self.best_coverage) = (false, None, self.world.coverage());
        match &mut self.who {
            Who::Person => {}
            Who::Expert(expert) => **expert = Default::default(),
            Who::Policy(driver) => driver.begin(seed),
        }
    }

    /// Hands the finger over: from whoever has it to the person, from the person to the policy or else the expert.
    pub fn hand_over(&mut self) {
        let before = std::mem::replace(&mut self.who, Who::Person);
        match before {
            Who::Person => {
                self.who = match self.aside.take() {
                    Some(mut driver) => {
                        driver.begin(self.seed);
                        Who::Policy(driver)
                    }
                    None => Who::Expert(Box::default()),
                };
            }
            Who::Expert(_) => {}
            Who::Policy(driver) => self.aside = Some(driver),
        }
        self.target = self.world.observation().agent_position;
    }

    /// Lets `dt_s` pass; `wanted` is where a person points, `keys` the direction of the arrow keys.
    pub fn pass(&mut self, dt_s: f64, wanted: Option<Action>, keys: (f64, f64)) {
        let dt_s = dt_s.clamp(0.0, MOST_S);
        if matches!(self.who, Who::Person) {
            if let Some(wanted) = wanted {
                self.target = wanted;
            }
            let moved = |at: f32, by: f64| (f64::from(at) + by * KEY_SPEED * dt_s).clamp(0.0, WORKSPACE) as f32;
            self.target = [moved(self.target[0], keys.0), moved(self.target[1], keys.1)];
            self.begun |= wanted.is_some() || keys != (0.0, 0.0);
        } else {
            self.begun = true;
        }
        if !self.begun || self.over.is_some() || self.fault.is_some() {
            return;
        }
        let step_s = 1.0 / f64::from(CONTROL_HZ);
        if self.into_step_s == 0.0 {
            self.decide();
        }
        self.into_step_s += dt_s;
        while self.into_step_s >= step_s && self.over.is_none() {
            self.into_step_s -= step_s;
            let result = self.world.step(self.action);
            self.best_coverage = self.best_coverage.max(result.coverage);
            if result.done {
                self.over = Some(result.success);
                if matches!(self.who, Who::Person) {
                    self.ended = (self.ended.0 + 1, self.ended.1 + u32::from(result.success));
                }
            } else {
                self.decide();
            }
        }
    }

    fn decide(&mut self) {
        self.action = match &mut self.who {
            Who::Person => self.target,
            Who::Expert(expert) => expert.act(&self.world),
            Who::Policy(driver) => match driver.act(&self.world) {
                Ok(action) => action,
                Err(error) => {
                    self.fault = Some(error.to_string());
                    self.action
                }
            },
        };
    }

    /// The plane as it is now, between two control steps.
    pub fn plane(&self) -> Plane {
        let mut plane = self.world.plane().clone();
        if self.over.is_none() {
            let target = (f64::from(self.action[0]), f64::from(self.action[1]));
            let substeps = (self.into_step_s * f64::from(CONTROL_HZ) * SUBSTEPS).floor().min(SUBSTEPS - 1.0);
            for _ in 0..substeps as u32 {
                plane.step(target);
            }
        }
        plane
    }

    /// Whether the episode is over, and whether it was done.
    pub fn over(&self) -> Option<bool> {
        self.over
    }

    /// Steps of the episode so far.
    pub fn steps(&self) -> u32 {
        self.world.steps()
    }
}

/// Draws the table and takes in pointer and keys; whether the next frame is wanted soon.
pub fn show(context: &Context, table: &mut PlanarTable, dt_s: f64) -> bool {
    if table.is_new {
        theme::warm_up(context);
        table.is_new = false;
    }
    let screen = context.content_rect();
    let side = (screen.height() - 24.0).min(screen.width() - 300.0).max(120.0);
    let square = Rect::from_min_size(Pos2::new(12.0, 12.0), Vec2::splat(side));
    let scale = side / WORKSPACE as f32;
    let (mut keys, mut wanted) = ((0.0, 0.0), None);
    context.input(|input| {
        let held = |a: Key, b: Key| f64::from(u8::from(input.key_down(a) || input.key_down(b)));
        keys.0 = held(Key::ArrowRight, Key::D) - held(Key::ArrowLeft, Key::A);
        keys.1 = held(Key::ArrowDown, Key::S) - held(Key::ArrowUp, Key::W);
        if let Some(at) = input.pointer.latest_pos().filter(|at| square.contains(*at)) {
            let place = (at - square.min) / scale;
            // A pointer that rests does not call the finger back from where keys moved it.
            wanted = (input.pointer.delta() != Vec2::ZERO || input.pointer.any_down()).then_some([place.x, place.y]);
        }
        if input.key_pressed(Key::N) || input.key_pressed(Key::Enter) {
            table.restart(table.seed.wrapping_add(1));
        }
        if input.key_pressed(Key::R) {
            table.restart(table.seed);
        }
        if input.key_pressed(Key::Tab) || input.key_pressed(Key::E) {
            table.hand_over();
        }
    });
    table.pass(dt_s, wanted, keys);
    let plane = table.plane();
    egui::Area::new(Id::new("planar")).fixed_pos(Pos2::ZERO).constrain(false).show(context, |ui| {
        ui.set_clip_rect(screen);
        ui.painter().rect_filled(screen, 0.0, Color32::from_rgb(35, 40, 47));
        draw(ui.painter(), square, &plane);
        let text = Rect::from_min_max(Pos2::new(square.right() + 20.0, 16.0), screen.max - Vec2::splat(12.0));
        ui.scope_builder(egui::UiBuilder::new().max_rect(text), |ui| tell(ui, table));
    });
    table.begun && table.over.is_none()
}

fn draw(painter: &egui::Painter, square: Rect, plane: &Plane) {
    let scale = square.width() / WORKSPACE as f32;
    let at = |(x, y): (f64, f64)| square.min + Vec2::new(x as f32, y as f32) * scale;
    painter.rect_filled(square, 0.0, PAPER);
    let inner = square.shrink(5.0 * scale);
    painter.rect_stroke(inner, 0.0, Stroke::new(4.0 * scale, WALL), egui::StrokeKind::Middle);
    let tee = |(x, y, angle): (f64, f64, f64), colour: Color32| {
        for part in corners((x, y), angle) {
            painter.add(Shape::convex_polygon(part.map(at).to_vec(), colour, Stroke::NONE));
        }
    };
    tee(GOAL, GOAL_COLOUR);
    painter.circle_filled(at(plane.finger), FINGER as f32 * scale, FINGER_COLOUR);
    tee(plane.tee(), TEE_COLOUR);
}

fn tell(ui: &mut egui::Ui, table: &PlanarTable) {
    ui.label(RichText::new("Push-T in the plane").size(19.0).strong());
    let who = match &table.who {
        Who::Person => "you push",
        Who::Expert(_) => "the expert pushes",
        Who::Policy(_) => "the policy pushes",
    };
    ui.label(theme::faint(format!("seed {}, {who}", table.seed)));
    ui.add_space(8.0);
    let left_s = f64::from(MAX_STEPS.saturating_sub(table.steps())) / f64::from(CONTROL_HZ);
    ui.label(RichText::new(format!("{left_s:.1} s")).size(theme::CLOCK));
    let coverage = table.world.coverage();
    ui.label(format!("covered {:.1} %, best {:.1} %", 100.0 * coverage, 100.0 * table.best_coverage));
    ui.label(format!("score {:.3}", (table.best_coverage / SUCCESS_COVERAGE).min(1.0)));
    let (words, colour) = match (&table.fault, table.over) {
        (Some(problem), _) => (problem.as_str(), BAD),
        (None, Some(true)) => ("done", GOOD),
        (None, Some(false)) => ("time is up", BAD),
        (None, None) if !table.begun => ("move to begin", ACCENT),
        (None, None) => ("more than 95 % to be covered", TEXT),
    };
    ui.label(RichText::new(words).size(17.0).color(colour));
    if table.ended.0 > 0 {
        ui.label(theme::faint(format!("{} of {} done", table.ended.1, table.ended.0)));
    }
    ui.add_space(14.0);
    for line in ["pointer or arrows: finger", "N: next   R: again", "Tab: let the expert, or take over", "Q: leave"] {
        ui.label(RichText::new(line).size(12.0).color(FAINT));
    }
    let note = ui.available_rect_before_wrap().left_bottom() - Vec2::new(0.0, 4.0);
    let text = "the published task: 10 steps a second, 300 at most";
    ui.painter().text(note, Align2::LEFT_BOTTOM, text, FontId::proportional(11.0), FAINT);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_waits_for_a_person_and_the_finger_follows() {
        let mut table = PlanarTable::new(3, Who::Person);
        table.pass(1.0, None, (0.0, 0.0));
        assert_eq!(table.steps(), 0);
        let before = table.plane().finger;
        for _ in 0..10 {
            table.pass(0.05, Some([400.0, 60.0]), (0.0, 0.0));
        }
        assert_eq!(table.steps(), 5);
        let after = table.plane().finger;
        let left = |at: (f64, f64)| (at.0 - 400.0).hypot(at.1 - 60.0);
        assert!(left(after) < left(before) - 20.0, "{before:?} {after:?}");
        for _ in 0..20 {
            table.pass(0.05, None, (-1.0, 0.0));
        }
        assert!(table.plane().finger.0 < after.0 - 50.0, "the left arrow moves it left");
        table.restart(4);
        assert_eq!((table.steps(), table.over()), (0, None));
    }

    #[test]
    fn frames_of_any_length_give_the_same_episode_and_the_expert_ends_it() {
        let run = |dt_s: f64| {
            let mut table = PlanarTable::new(100_000, Who::Person);
            table.hand_over();
            while table.over().is_none() {
                table.pass(dt_s, None, (0.0, 0.0));
            }
            (table.steps(), table.world.state(), table.over())
        };
        let (steps, state, over) = run(0.1 / 7.0);
        assert_eq!((steps, state, over), run(0.23));
        assert_eq!(over, Some(true));
    }
}
