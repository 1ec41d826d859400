//! What must be seen at once: how the attempt ended, what went wrong, notices, pause.

use super::EDGE;
use crate::backend::servo::ServoHealth;
use crate::control::EmergencyStop;
use crate::episode::{Episode, EpisodeFault, EpisodePhase};
use crate::operator::Operator;
use crate::recording::desk::Desk;
use crate::robot::{Arm, ArmLimits};
use crate::ui::actions::Session;
use crate::ui::attempts::LatestResult;
use crate::ui::theme::{self, ACCENT, BAD, FAINT, GOOD, TEXT};
use bevy::prelude::{Query, Res, Result};
use bevy_egui::EguiContexts;
use bevy_egui::egui::{self, Align2, Color32, Id, RichText};

pub(super) fn show(
    mut contexts: EguiContexts,
    session: Res<Session>,
    latest: Res<LatestResult>,
    episode: Res<Episode>,
    fault: Res<EpisodeFault>,
    operator: Res<Operator>,
    stop: Res<EmergencyStop>,
    arms: Query<(&Arm, &ArmLimits)>,
    health: Res<ServoHealth>,
    desk: Option<Res<Desk>>,
) -> Result {
    let ctx = contexts.ctx_mut()?;
    let mut lines: Vec<(String, String, Color32)> = Vec::new();
    if stop.on {
        lines.push((
            "Stopped".into(),
            "the arm stands where it is   ·   Tab lets it go on, slowly at first".into(),
            BAD,
        ));
    }
    for notice in &health.notices {
        lines.push((String::new(), notice.clone(), TEXT));
    }
    for (arm, limits) in &arms {
        // The driver of a real arm says the same of what it notices itself.
        let own = limits.notices(arm, "then Tab, and Tab again, lets it work again");
        for notice in own.into_iter().filter(|_| health.notices.is_empty() || limits.trouble.is_some()) {
            lines.push((String::new(), notice, TEXT));
        }
    }
    if let Some(fault) = &fault.0 {
        lines.push(("This start is not possible".into(), format!("{fault}   ·   N next start"), BAD));
    } else if let Some(result) = latest
        .0
        .as_ref()
        .filter(|result| matches!(episode.phase, EpisodePhase::Done(_)) && result.number == episode.number)
    {
        let colour = if result.good { GOOD } else { ACCENT };
        lines.push((result.title.clone(), result.detail.clone(), colour));
    } else if session.paused {
        let step = if desk.is_some() { "" } else { "   ·   . one tick" };
        lines.push(("Paused".into(), format!("P go on{step}"), TEXT));
    } else if episode.phase == EpisodePhase::Ready && *operator == Operator::Human && episode.number == 1 {
        lines.push(("Move the hand: W A S D, Q E, U O".into(), "or drag the blue ring   ·   H all keys".into(), TEXT));
    }
    if let Some((notice, _)) = &session.notice {
        lines.push((String::new(), notice.clone(), TEXT));
    }
    if lines.is_empty() {
        return Ok(());
    }
    egui::Area::new(Id::new("banner")).anchor(Align2::CENTER_TOP, [0.0, EDGE]).interactable(false).show(ctx, |ui| {
        theme::card().inner_margin(egui::Margin::symmetric(18, 9)).show(ui, |ui| {
            ui.set_max_width(560.0);
            ui.vertical_centered(|ui| {
                for (title, detail, colour) in lines {
                    if !title.is_empty() {
                        ui.label(RichText::new(title).size(20.0).strong().color(colour));
                    }
                    ui.label(RichText::new(detail).size(12.5).color(if colour == TEXT { TEXT } else { FAINT }));
                }
            });
        });
    });
    Ok(())
}
