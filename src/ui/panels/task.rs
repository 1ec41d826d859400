//! The task: what to do, how well it goes, how well it went.

use super::EDGE;
use crate::config::TaskConfig;
use crate::control::ControlRate;
use crate::episode::{Episode, EpisodePhase};
use crate::operator::Operator;
use crate::scores::{Attempt, TaskRecord};
use crate::trace::Trace;
use crate::ui::actions::{Action, Session};
use crate::ui::attempts::Book;
use crate::ui::ghost::Ghost;
use crate::ui::theme::{self, ACCENT, FAINT, GHOST, GOOD, GROOVE, TEXT};
use crate::world::{ActiveScene, Order};
use bevy::prelude::{MessageWriter, Res, Result};
use bevy_egui::EguiContexts;
use bevy_egui::egui::{self, Align, Align2, Layout, RichText, Ui, Vec2};
use egui_plot::{HLine, Line, Plot, PlotPoints};

/// Width of the card, points.
const WIDTH: f32 = 226.0;
/// Points of a plot; more could not be seen.
const MOST_POINTS: usize = 240;
/// Last attempts shown.
const SHOWN: usize = 4;

pub(super) fn show(
    mut contexts: EguiContexts,
    mut actions: MessageWriter<Action>,
    (scene, order): (Res<ActiveScene>, Res<Order>),
    episode: Res<Episode>,
    rate: Res<ControlRate>,
    operator: Res<Operator>,
    session: Res<Session>,
    book: Res<Book>,
    trace: Res<Trace>,
    ghost: Res<Ghost>,
) -> Result {
    let ctx = contexts.ctx_mut()?;
    let seconds = episode.clock_ticks as f64 * rate.tick_s();
    theme::place_card(ctx, "task", Align2::LEFT_TOP, [EDGE, EDGE], WIDTH, |ui| {
        choose_task(ui, &session, &scene.name, &mut actions);
        ui.add_space(2.0);
        let words = if episode.phase == EpisodePhase::Idle { &scene.scene.instruction } else { &order.text };
        ui.label(RichText::new(words).color(TEXT));
        let scored = !matches!(scene.scene.task, TaskConfig::FreePlay);
        timer(ui, &episode, *operator, seconds, scene.scene.time_limit_s);
        if scored {
            score(ui, &scene.scene.task, &episode);
            plot(ui, &scene.scene.task, &trace, &ghost);
            for (text, holds) in &episode.score.conditions {
                theme::check(ui, *holds, text);
            }
            records(ui, &book.0.task(&scene.name), episode.seed);
        }
        ui.add_space(4.0);
        starts(ui, episode.seed, &mut actions);
    });
    Ok(())
}

fn title_of(name: &str) -> String {
    match name {
        "move_t" => "Move-T".into(),
        "move_t_anywhere" => "Move-T anywhere".into(),
        "pick_place" => "Pick & place".into(),
        other => {
            let words = other.replace(['_', '-'], " ");
            let mut letters = words.chars();
            letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
        }
    }
}

fn choose_task(ui: &mut Ui, session: &Session, now: &str, actions: &mut MessageWriter<Action>) {
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing.x = 4.0;
        for (index, name) in session.tasks.iter().enumerate() {
            let chosen = name == now;
            let text = RichText::new(title_of(name)).size(13.5).color(if chosen { TEXT } else { FAINT });
            if ui.selectable_label(chosen, text).clicked() && !chosen {
                actions.write(Action::Task(index));
            }
        }
    });
}

fn timer(ui: &mut Ui, episode: &Episode, operator: Operator, seconds: f64, limit_s: f64) {
    ui.horizontal(|ui| {
        ui.label(RichText::new(clock(seconds)).size(theme::CLOCK).strong());
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let words = match (&episode.phase, operator) {
                (EpisodePhase::Ready, _) => "the clock starts\nwhen you move".to_string(),
                (_, Operator::Scripted) => format!("expert at work\nof {limit_s:.0} s"),
                (_, Operator::Policy) => format!("policy at work\nof {limit_s:.0} s"),
                _ => format!("of {limit_s:.0} s"),
            };
            ui.label(theme::faint(words));
        });
    });
}

/// Minutes, seconds, tenths.
fn clock(seconds: f64) -> String {
    let tenths = (seconds.max(0.0) * 10.0 + 1e-6).floor() as u64;
    format!("{}:{:02}.{}", tenths / 600, tenths / 10 % 60, tenths % 10)
}

/// Score from which the task counts as done, where the score says so.
fn wanted(task: &TaskConfig) -> Option<f64> {
    match task {
        TaskConfig::MoveT { coverage, .. } => Some(*coverage),
        TaskConfig::PickPlace { .. } | TaskConfig::Stack { .. } | TaskConfig::SortByWord { .. } => Some(1.0),
        TaskConfig::FreePlay => None,
    }
}

fn score(ui: &mut Ui, task: &TaskConfig, episode: &Episode) {
    let value = episode.score.value as f32;
    let done = wanted(task).is_some_and(|wanted| episode.score.value >= wanted);
    ui.horizontal(|ui| {
        ui.label(theme::faint(if matches!(task, TaskConfig::MoveT { .. }) { "covered" } else { "score" }));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let colour = if done { GOOD } else { TEXT };
            ui.label(RichText::new(format!("{:.0} %", value * 100.0)).size(17.0).strong().color(colour));
        });
    });
    let (rect, _) = ui.allocate_exact_size(Vec2::new(ui.available_width(), 8.0), egui::Sense::hover());
    let painter = ui.painter();
    painter.rect_filled(rect, 4.0, GROOVE);
    let mut filled = rect;
    filled.set_width(rect.width() * value.clamp(0.0, 1.0));
    painter.rect_filled(filled, 4.0, if done { GOOD } else { ACCENT });
    if let Some(wanted) = wanted(task).filter(|wanted| *wanted < 1.0) {
        let x = rect.left() + rect.width() * wanted as f32;
        painter.vline(x, rect.expand(2.0).y_range(), (1.5, TEXT));
    }
}

/// Every so manieth score of a trace over time in s.
fn curve(trace: &Trace) -> PlotPoints<'static> {
    let step = trace.len().div_ceil(MOST_POINTS).max(1);
    let hz = f64::from(trace.hz.max(1));
    let last = trace.len().saturating_sub(1);
    trace
        .scores()
        .enumerate()
        .filter(|(tick, _)| tick % step == 0 || *tick == last)
        .map(|(tick, score)| [tick as f64 / hz, f64::from(score)])
        .collect()
}

fn plot(ui: &mut Ui, task: &TaskConfig, trace: &Trace, ghost: &Ghost) {
    let rival = ghost.trace.as_ref();
    let longest = rival.map_or(0.0, Trace::seconds).max(trace.seconds()).max(10.0);
    ui.add_space(4.0);
    Plot::new("score")
        .height(86.0)
        .show_axes(false)
        .show_grid(false)
        .allow_drag(false)
        .allow_zoom(false)
        .allow_scroll(false)
        .allow_boxed_zoom(false)
        .allow_double_click_reset(false)
        .show_x(false)
        .show_y(false)
        .sense(egui::Sense::hover())
        .set_margin_fraction(Vec2::splat(0.03))
        .default_x_bounds(0.0, longest)
        .default_y_bounds(0.0, 1.0)
        .show(ui, |plot| {
            plot.set_plot_bounds_x(0.0..=longest);
            plot.set_plot_bounds_y(-0.03..=1.03);
            if let Some(wanted) = wanted(task) {
                plot.hline(HLine::new("done", wanted).color(GOOD.gamma_multiply(0.6)).width(1.0));
            }
            if let Some(rival) = rival {
                plot.line(Line::new("ghost", curve(rival)).color(GHOST.gamma_multiply(0.8)).width(1.3));
            }
            plot.line(Line::new("now", curve(trace)).color(ACCENT).width(2.0));
        });
    if !ghost.about.is_empty() {
        ui.horizontal(|ui| {
            let (rect, _) = ui.allocate_exact_size(Vec2::new(12.0, 8.0), egui::Sense::hover());
            ui.painter().hline(rect.x_range(), rect.center().y, (2.0, GHOST));
            ui.label(theme::faint(format!("ghost: {}", ghost.about)));
        });
    }
}

fn line_of(attempt: &Attempt) -> (String, egui::Color32) {
    if attempt.success {
        (format!("{:.1} s", attempt.seconds), GOOD)
    } else {
        (format!("{:.0} %", attempt.score * 100.0), FAINT)
    }
}

fn records(ui: &mut Ui, record: &TaskRecord, seed: u64) {
    theme::section(ui, "best and last attempts");
    if record.attempts == 0 {
        ui.label(theme::faint("none yet"));
        return;
    }
    let here = record.best_by_seed.get(&seed);
    egui::Grid::new("best").num_columns(2).spacing([10.0, 2.0]).show(ui, |ui| {
        for (words, attempt) in [("best", record.best.as_ref()), ("best from this start", here)] {
            ui.label(theme::faint(words));
            let (text, colour) = attempt.map_or(("–".into(), FAINT), line_of);
            ui.label(RichText::new(text).strong().color(colour));
            ui.end_row();
        }
    });
    ui.horizontal_wrapped(|ui| {
        ui.label(theme::faint("last"));
        for attempt in record.last.iter().take(SHOWN) {
            let (text, colour) = line_of(attempt);
            ui.label(RichText::new(text).size(12.0).color(colour));
        }
    });
    ui.label(theme::faint(format!("{} of {} attempts done", record.successes, record.attempts)));
}

fn starts(ui: &mut Ui, seed: u64, actions: &mut MessageWriter<Action>) {
    ui.horizontal(|ui| {
        let mut typed = seed;
        ui.label(theme::faint("start"));
        let field = ui.add(egui::DragValue::new(&mut typed).speed(0.1));
        if field.changed() && typed != seed {
            actions.write(Action::Seed(typed));
        }
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            for (text, action, hint) in [
                ("Next", Action::NextSeed, "the next start (N)"),
                ("Again", Action::Restart, "the same start again (R)"),
                ("<", Action::PreviousSeed, "the start before (B)"),
            ] {
                if ui.button(text).on_hover_text(hint).clicked() {
                    actions.write(action);
                }
            }
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_shows_whole_tenths() {
        assert_eq!(clock(0.0), "0:00.0");
        assert_eq!(clock(59.99), "0:59.9");
        assert_eq!(clock(61.25), "1:01.2");
        assert_eq!(clock(222.0 / 30.0), "0:07.4");
    }

    #[test]
    fn scenes_of_ones_own_get_a_title() {
        assert_eq!(title_of("my_own-scene"), "My own scene");
        assert_eq!(title_of(""), "");
    }
}
