//! The bar of buttons at the bottom.

use super::EDGE;
use crate::operator::Operator;
use crate::ui::actions::{Action, Session};
use crate::ui::camera_rig::View;
use crate::ui::ghost::GhostChoice;
use crate::ui::keys::label_of;
use crate::ui::theme;
use bevy::prelude::{MessageWriter, Res, Result};
use bevy_egui::EguiContexts;
use bevy_egui::egui::{self, Align2, Id, Ui};

pub(super) fn show(
    mut contexts: EguiContexts,
    mut actions: MessageWriter<Action>,
    operator: Res<Operator>,
    session: Res<Session>,
) -> Result {
    let ctx = contexts.ctx_mut()?;
    egui::Area::new(Id::new("controls")).anchor(Align2::CENTER_BOTTOM, [0.0, -EDGE]).show(ctx, |ui| {
        theme::card().inner_margin(egui::Margin::symmetric(8, 6)).show(ui, |ui| {
            ui.horizontal(|ui| {
                ui.spacing_mut().item_spacing.x = 5.0;
                let watching = matches!(*operator, Operator::Scripted | Operator::Policy);
                let mut button = |ui: &mut Ui, on: bool, words: &str, action: Action| {
                    let key = label_of(action).unwrap_or("");
                    let response = ui.selectable_label(on, words).on_hover_text(format!("{words} ({key})"));
                    if response.clicked() {
                        actions.write(action);
                    }
                };
                let words = if watching { "Take over" } else { "Watch expert" };
                button(ui, watching, words, Action::WatchOrTakeOver);
                ui.separator();
                button(ui, session.paused, if session.paused { "Go on" } else { "Pause" }, Action::Pause);
                button(ui, false, "Step", Action::Step);
                button(ui, session.speed < 1.0, "Slow", Action::SlowMotion);
                ui.separator();
                button(ui, session.ghost != GhostChoice::Off, "Ghost", Action::NextGhost);
                ui.separator();
                for (words, view) in
                    [("Front", View::Front), ("Side", View::Side), ("Top", View::Top), ("Wrist", View::Wrist)]
                {
                    button(ui, false, words, Action::Show(view));
                }
                button(ui, session.cameras, "Cameras", Action::Cameras);
                ui.separator();
                button(ui, false, "Picture", Action::Screenshot);
                button(ui, session.help, "Help  H", Action::Help);
            });
        });
    });
    Ok(())
}
