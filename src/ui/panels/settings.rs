//! Settings: quality, time, ghost, shapes, the expert's pace.

use crate::task::expert::{Expert, ExpertSpeed};
use crate::ui::actions::Session;
use crate::ui::attempts::Book;
use crate::ui::ghost::GhostChoice;
use crate::ui::quality::Quality;
use crate::ui::theme::{self, BAD};
use bevy::ecs::change_detection::DetectChangesMut;
use bevy::ecs::system::SystemParam;
use bevy::prelude::{Res, ResMut, Resource};
use bevy_egui::egui::{self, RichText, Ui};

/// What draws the pictures, for people.
#[derive(Resource, Clone, Debug, Default)]
pub struct AdapterName {
    /// Its name.
    pub name: String,
    /// Whether it is a driver that draws in software.
    pub software: bool,
}

/// What the settings read and write.
#[derive(SystemParam)]
pub(super) struct Settings<'w> {
    quality: ResMut<'w, Quality>,
    session: ResMut<'w, Session>,
    expert: ResMut<'w, Expert>,
    pace: ResMut<'w, ExpertSpeed>,
    adapter: Res<'w, AdapterName>,
    book: Res<'w, Book>,
}

pub(super) fn show(ui: &mut Ui, mut settings: Settings) {
    theme::section(ui, "settings");
    let mut session = settings.session.bypass_change_detection().clone();
    let before = (session.speed, session.ghost, session.shapes);
    egui::Grid::new("settings").num_columns(2).spacing([10.0, 5.0]).show(ui, |ui| {
        ui.label(theme::faint("picture"));
        ui.horizontal(|ui| {
            ui.spacing_mut().item_spacing.x = 3.0;
            let mut quality = *settings.quality;
            for choice in Quality::ALL {
                ui.selectable_value(&mut quality, choice, choice.name());
            }
            settings.quality.set_if_neq(quality);
        });
        ui.end_row();
        ui.label(theme::faint("time"));
        ui.add(egui::Slider::new(&mut session.speed, 0.1..=2.0).fixed_decimals(2).suffix("×"));
        ui.end_row();
        ui.label(theme::faint("ghost"));
        ui.horizontal(|ui| {
            ui.spacing_mut().item_spacing.x = 3.0;
            for (choice, words) in GhostChoice::ALL.into_iter().zip(["off", "mine", "expert"]) {
                ui.selectable_value(&mut session.ghost, choice, words);
            }
        });
        ui.end_row();
        ui.label(theme::faint("expert"));
        let mut pace = settings.pace.0;
        ui.add(egui::Slider::new(&mut pace, 0.25..=2.0).fixed_decimals(2).suffix("×"));
        settings.pace.set_if_neq(ExpertSpeed(pace));
        ui.end_row();
        ui.label(theme::faint("moves a T by"));
        ui.horizontal(|ui| {
            ui.spacing_mut().item_spacing.x = 3.0;
            let mut expert = *settings.expert;
            ui.selectable_value(&mut expert, Expert::Place, "gripping");
            ui.selectable_value(&mut expert, Expert::Push, "pushing");
            settings.expert.set_if_neq(expert);
        });
        ui.end_row();
        ui.label(theme::faint("shapes"));
        ui.checkbox(&mut session.shapes, "what collides");
        ui.end_row();
    });
    if before != (session.speed, session.ghost, session.shapes) {
        let target = &mut *settings.session;
        (target.speed, target.ghost, target.shapes) = (session.speed, session.ghost, session.shapes);
    }
    if settings.adapter.software {
        ui.label(theme::faint("No GPU: drawn in software, so quality began as low"))
            .on_hover_text(settings.adapter.name.as_str());
    }
    if let Some(complaint) = &settings.book.0.complaint {
        ui.label(RichText::new(complaint).size(11.5).color(BAD));
    }
}
