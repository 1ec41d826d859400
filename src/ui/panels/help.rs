//! The help: every key, printed from the table that reads them.

use crate::recording::desk::Desk;
use crate::recording::keys;
use crate::ui::actions::Session;
use crate::ui::keys::{Group, MOUSE, help_lines};
use crate::ui::theme::{self, ACCENT, TEXT};
use bevy::prelude::{Res, Result};
use bevy_egui::EguiContexts;
use bevy_egui::egui::{self, Align2, Grid, Id, Order, RichText, Ui};

pub(super) fn show(mut contexts: EguiContexts, session: Res<Session>, desk: Option<Res<Desk>>) -> Result {
    if !session.help {
        return Ok(());
    }
    let ctx = contexts.ctx_mut()?;
    egui::Area::new(Id::new("help")).order(Order::Foreground).anchor(Align2::CENTER_CENTER, [0.0, 0.0]).show(
        ctx,
        |ui| {
            theme::card().inner_margin(egui::Margin::symmetric(20, 16)).show(ui, |ui| {
                ui.horizontal_top(|ui| {
                    ui.spacing_mut().item_spacing.x = 28.0;
                    let gamepad = cfg!(feature = "gamepad");
                    ui.vertical(|ui| {
                        group(ui, Group::Hand.title(), &lines(Group::Hand));
                        group(ui, Group::Joints.title(), &lines(Group::Joints));
                    });
                    ui.vertical(|ui| {
                        let mouse: Vec<(String, &str)> =
                            MOUSE.iter().map(|(keys, words)| ((*keys).into(), *words)).collect();
                        group(ui, "Mouse", &mouse);
                        if desk.is_none() {
                            group(ui, Group::Time.title(), &lines(Group::Time));
                        }
                        if gamepad {
                            let pad = [("sticks", "move, lift, turn"), ("triggers", "open, close"), ("cross", "tilt")];
                            group(ui, "Gamepad", &pad.map(|(keys, words)| (keys.to_string(), words)));
                        }
                    });
                    ui.vertical(|ui| {
                        if desk.is_some() {
                            let lines = keys::WORDS.map(|(action, words)| (keys::label_of(action).to_string(), words));
                            group(ui, "Recording", &lines);
                        } else {
                            group(ui, Group::Attempt.title(), &lines(Group::Attempt));
                        }
                        group(ui, Group::Sight.title(), &lines(Group::Sight));
                    });
                });
            });
        },
    );
    Ok(())
}

fn lines(group: Group) -> Vec<(String, &'static str)> {
    help_lines(group)
}

fn group(ui: &mut Ui, title: &str, lines: &[(String, &str)]) {
    ui.label(RichText::new(title).strong().color(ACCENT));
    Grid::new(title).num_columns(2).spacing([12.0, 3.0]).show(ui, |ui| {
        for (keys, words) in lines {
            ui.label(RichText::new(keys).size(12.5).strong().color(TEXT));
            ui.label(theme::faint(*words));
            ui.end_row();
        }
    });
    ui.add_space(8.0);
}
