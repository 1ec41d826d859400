//! Recording at a glance: what is going on, how long still, whether anything is wrong, and how the last episode was.

use super::EDGE;
use crate::config::TaskConfig;
use crate::dataset::Saved;
use crate::dataset::check::Severity;
use crate::episode::Episode;
use crate::recording::desk::Desk;
use crate::recording::keys::label_of;
use crate::recording::session::{Action, Phase};
use crate::recording::status::{Status, clock, size};
use crate::ui::actions::{self, Session};
use crate::ui::recording::Ask;
use crate::ui::theme::{self, ACCENT, BAD, FAINT, GOOD, GROOVE, TEXT};
use crate::world::ActiveScene;
use bevy::prelude::{MessageWriter, Res, Result};
use bevy_egui::EguiContexts;
use bevy_egui::egui::{self, Align, Align2, Color32, Id, Layout, RichText, Ui, Vec2};

/// Width of the card, points.
const WIDTH: f32 = 238.0;
/// Findings of the last episode that are shown.
const FINDINGS: usize = 4;
/// Pictures older than this are worth a look, s.
const OLD_S: f64 = 0.2;
/// Thickness of the frame about the window while it records, points.
const FRAME: f32 = 4.0;

pub(super) fn show(
    mut contexts: EguiContexts,
    desk: Res<Desk>,
    scene: Res<ActiveScene>,
    episode: Res<Episode>,
) -> Result {
    let ctx = contexts.ctx_mut()?;
    let status = desk.status();
    if status.phase == Phase::Recording {
        let colour = if status.paused { FAINT } else { BAD };
        let frame = ctx.content_rect();
        let layer = egui::LayerId::new(egui::Order::Foreground, Id::new("recording frame"));
        ctx.layer_painter(layer).rect_stroke(frame, 0.0, (FRAME, colour), egui::StrokeKind::Inside);
    }
    theme::place_card(ctx, "recording", Align2::LEFT_TOP, [EDGE, EDGE], WIDTH, |ui| {
        head(ui, &status);
        progress(ui, &status);
        ui.label(RichText::new(&desk.options().task).color(TEXT));
        if !desk.options().tags.is_empty() {
            ui.label(theme::faint(format!("tags: {}", desk.options().tags.join(", "))));
        }
        if !matches!(scene.scene.task, TaskConfig::FreePlay) {
            score(ui, &episode);
        }
        theme::section(ui, "health");
        health(ui, &status);
        theme::section(ui, "last episode");
        match &desk.last {
            Some(saved) => last(ui, saved),
            None => {
                ui.label(theme::faint("none in this session"));
            }
        }
        if let Some(message) = &status.message {
            ui.add_space(4.0);
            ui.label(RichText::new(message).size(12.5).color(ACCENT));
        }
    });
    Ok(())
}

fn colour_of(status: &Status) -> Color32 {
    match status.phase {
        _ if status.paused => FAINT,
        Phase::Recording => BAD,
        Phase::Complete => GOOD,
        Phase::WarmUp | Phase::Ready | Phase::Ending | Phase::Stopped(_) => ACCENT,
    }
}

fn head(ui: &mut Ui, status: &Status) {
    ui.horizontal(|ui| {
        let (rect, _) = ui.allocate_exact_size(Vec2::splat(16.0), egui::Sense::hover());
        let colour = colour_of(status);
        if status.phase == Phase::Recording && !status.paused {
            ui.painter().circle_filled(rect.center(), 7.0, colour);
        } else {
            ui.painter().circle_stroke(rect.center(), 6.0, (2.0, colour));
        }
        ui.label(RichText::new(status.title()).size(18.0).strong().color(colour));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            ui.label(RichText::new(format!("{} of {}", status.number, status.of)).size(18.0).strong());
        });
    });
    ui.horizontal(|ui| {
        let time_s = status.left_s.unwrap_or(status.elapsed_s);
        ui.label(RichText::new(clock(time_s)).size(theme::CLOCK).strong());
        let words = match (status.phase, status.left_s) {
            (Phase::WarmUp, _) => "get used to the arm;\nnothing is recorded",
            (Phase::Ready, Some(_)) => "until it starts by itself",
            (Phase::Ready, None) => "move the arm or press\nEnter to start",
            (Phase::Recording, Some(_)) => "left",
            (Phase::Recording, None) => "recorded",
            (Phase::Ending, _) => "ending",
            (Phase::Complete, _) => "all there; Esc closes",
            (Phase::Stopped(_), _) => "saving",
        };
        ui.label(theme::faint(words));
    });
}

fn progress(ui: &mut Ui, status: &Status) {
    let (rect, response) = ui.allocate_exact_size(Vec2::new(ui.available_width(), 8.0), egui::Sense::hover());
    let share = status.have as f32 / status.of.max(1) as f32;
    ui.painter().rect_filled(rect, 4.0, GROOVE);
    let mut filled = rect;
    filled.set_width(rect.width() * share.clamp(0.0, 1.0));
    ui.painter().rect_filled(filled, 4.0, GOOD);
    response.on_hover_text(format!("{} of {} episodes are in the dataset", status.have, status.of));
}

fn score(ui: &mut Ui, episode: &Episode) {
    ui.horizontal(|ui| {
        ui.label(theme::faint("score"));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let colour = if episode.score.conditions_hold { GOOD } else { TEXT };
            let percent = format!("{:.0} %", episode.score.value * 100.0);
            ui.label(RichText::new(percent).size(15.0).strong().color(colour));
        });
    });
}

fn health(ui: &mut Ui, status: &Status) {
    let mut lines: Vec<(String, String, bool)> = Vec::new();
    lines.push(("frames late".into(), format!("{} of {}", status.late, status.rows), status.late * 20 > status.rows));
    for (name, age_s) in &status.cameras {
        lines.push((format!("camera {name}"), format!("{:.0} ms old", age_s * 1e3), *age_s > OLD_S));
    }
    let queue = status.queue;
    let lost = if queue.lost > 0 { format!(", {} lost", queue.lost) } else { String::new() };
    let words = format!("{} of {}{lost}", queue.waiting, queue.capacity);
    lines.push(("waiting for encoding".into(), words, queue.lost > 0 || queue.waiting * 2 > queue.capacity.max(1)));
    if let Some(free) = status.disk.free_bytes {
        let lasts = status.disk.lasts_s.map(|lasts_s| lasts_s / 60.0).filter(|minutes| *minutes < 600.0);
        let lasts = lasts.map_or(String::new(), |minutes| format!(", {minutes:.0} min"));
        lines.push(("disk left".into(), format!("{}{lasts}", size(free)), status.disk.is_low));
    }
    for (name, value, is_bad) in lines {
        ui.horizontal(|ui| {
            ui.label(theme::faint(name));
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                ui.label(RichText::new(value).size(12.0).color(if is_bad { BAD } else { TEXT }));
            });
        });
    }
}

fn last(ui: &mut Ui, saved: &Saved) {
    let report = &saved.report;
    let (verdict, colour) = match report.success {
        Some(true) => ("success", GOOD),
        Some(false) => ("failure", BAD),
        None => ("not judged", FAINT),
    };
    ui.horizontal(|ui| {
        ui.label(format!("{}: {:.1} s", report.episode, report.seconds));
        ui.label(RichText::new(verdict).strong().color(colour));
    });
    if report.findings.is_empty() {
        ui.label(RichText::new("no faults found").size(12.0).color(GOOD));
    }
    for finding in report.findings.iter().take(FINDINGS) {
        let colour = match finding.severity {
            Severity::Note => FAINT,
            Severity::Warning => ACCENT,
            Severity::Bad => BAD,
        };
        let subject = finding.subject.trim_start_matches("observation.images.");
        let text = RichText::new(format!("{subject}: {}", finding.message)).size(11.5).color(colour);
        ui.label(text).on_hover_text(&finding.advice);
    }
    if report.findings.len() > FINDINGS {
        ui.label(theme::faint(format!("and {} more", report.findings.len() - FINDINGS)));
    }
}

/// The bar of buttons.
pub(super) fn buttons(
    mut contexts: EguiContexts,
    mut asks: MessageWriter<Ask>,
    mut actions: MessageWriter<actions::Action>,
    desk: Res<Desk>,
    session: Res<Session>,
) -> Result {
    let ctx = contexts.ctx_mut()?;
    let phase = desk.session.phase();
    let recording = phase == Phase::Recording;
    egui::Area::new(Id::new("controls")).anchor(Align2::CENTER_BOTTOM, [0.0, -EDGE]).show(ctx, |ui| {
        theme::card().inner_margin(egui::Margin::symmetric(8, 6)).show(ui, |ui| {
            ui.horizontal(|ui| {
                ui.spacing_mut().item_spacing.x = 5.0;
                let paused = desk.session.is_paused();
                let all = [
                    (if recording { "End" } else { "Start" }, Action::Go, recording),
                    ("Again", Action::Again, false),
                    ("Success", Action::Success, false),
                    ("Failure", Action::Failure, false),
                    (if paused { "Go on" } else { "Pause" }, Action::Pause, paused),
                    ("Delete last", Action::DeleteLast, false),
                    ("Stop", Action::Stop, false),
                ];
                for (index, (words, action, on)) in all.into_iter().enumerate() {
                    if index == 5 {
                        ui.separator();
                    }
                    // Asked of a copy, so that a button is only offered when it does something.
                    let can = desk.session.clone().act(action).is_ok();
                    let text = RichText::new(format!("{words}  {}", label_of(action)));
                    let text = if on && action == Action::Go { text.color(BAD) } else { text };
                    if ui.add_enabled(can, egui::Button::new(text)).clicked() {
                        asks.write(Ask(action));
                    }
                }
                ui.separator();
                if ui.selectable_label(session.help, "Help  H").clicked() {
                    actions.write(actions::Action::Help);
                }
            });
        });
    });
    Ok(())
}
