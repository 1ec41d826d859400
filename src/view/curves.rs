//! The page with the curves of a training run: losses on a logarithmic scale, success, learning rate, speed.

use crate::policy::curves::Curves;
use crate::ui::theme::{self, ACCENT, BAD, GHOST, GOOD, TEXT};
use bevy_egui::egui::{self, Color32, RichText, Ui, Vec2};
use egui_plot::{Corner, GridMark, Legend, Line, Plot, PlotPoints};
use std::ops::RangeInclusive;

/// Colours of the losses, in turn.
const COLOURS: [Color32; 5] = [ACCENT, GHOST, GOOD, BAD, TEXT];
/// Height of a line of text with its gap, points.
const TITLE: f32 = 26.0;

/// Draws the page into all of `ui`.
pub fn show(ui: &mut Ui, title: &str, curves: &Curves) {
    ui.label(RichText::new(title).size(17.0).strong());
    if curves.series.is_empty() {
        ui.label(theme::faint("waiting for the first steps"));
        return;
    }
    let losses: Vec<(&str, &[[f64; 2]])> = curves
        .series
        .iter()
        .filter_map(|(name, points)| Some((name.strip_prefix("loss_")?, points.as_slice())))
        .collect();
    let of = |name: &'static str| curves.series.get(name).map(|points| (name, points.as_slice()));
    let room = ui.available_size();
    let height = (room.y - 3.0 * TITLE) / 2.0;
    heading(ui, "loss", losses.iter().filter_map(|(name, points)| Some((*name, points.last()?[1]))));
    plot(ui, "loss", room.x, height, &losses, true, None);
    ui.add_space(6.0);
    let others = [("success_rate", "success"), ("learning_rate", "learning rate"), ("samples_per_second", "samples/s")];
    let there: Vec<_> = others.iter().filter_map(|(name, words)| Some((of(name)?, *words))).collect();
    let width = (room.x - 12.0 * there.len().saturating_sub(1) as f32) / there.len().max(1) as f32;
    ui.horizontal_top(|ui| {
        ui.spacing_mut().item_spacing.x = 12.0;
        for ((name, points), words) in there {
            ui.vertical(|ui| {
                heading(ui, words, points.last().map(|last| ("", last[1])).into_iter());
                let bounds = (name == "success_rate").then_some((0.0, 1.0));
                plot(ui, name, width, height - 6.0, &[(words, points)], false, bounds);
            });
        }
    });
}

/// What a plot shows, and the latest values.
fn heading<'a>(ui: &mut Ui, words: &str, latest: impl Iterator<Item = (&'a str, f64)>) {
    ui.horizontal(|ui| {
        ui.set_height(TITLE - 8.0);
        ui.label(RichText::new(words).strong());
        for (name, value) in latest {
            ui.label(theme::faint(format!("{name} {}", number(value)).trim().to_string()));
        }
    });
}

fn plot(
    ui: &mut Ui,
    id: &str,
    width: f32,
    height: f32,
    lines: &[(&str, &[[f64; 2]])],
    is_log: bool,
    bounds: Option<(f64, f64)>,
) {
    let scaled = |value: f64| if is_log { value.max(1e-9).log10() } else { value };
    let unscaled = move |value: f64| if is_log { 10.0f64.powf(value) } else { value };
    let marks = move |mark: GridMark, _: &RangeInclusive<f64>| number(unscaled(mark.value));
    let mut plot = Plot::new(id.to_string())
        .width(width)
        .height(height.max(40.0))
        .allow_scroll(false)
        .set_margin_fraction(Vec2::new(0.01, 0.06))
        .y_axis_formatter(marks)
        .y_axis_min_width(44.0)
        .sense(egui::Sense::hover());
    if let Some((low, high)) = bounds {
        plot = plot.include_y(low).include_y(high);
    }
    if lines.len() > 1 {
        plot = plot.legend(Legend::default().position(Corner::LeftBottom));
    }
    plot.show(ui, |plot| {
        for ((name, points), colour) in lines.iter().zip(COLOURS.iter().cycle()) {
            let points: PlotPoints = points.iter().map(|point| [point[0], scaled(point[1])]).collect();
            plot.line(Line::new((*name).to_string(), points).color(*colour).width(1.6));
        }
    });
}

/// A number in few characters.
fn number(value: f64) -> String {
    let size = value.abs();
    match size {
        _ if size == 0.0 => "0".into(),
        _ if size < 1e-3 => format!("{value:.1e}"),
        _ if size < 1.0 => format!("{value:.3}").trim_end_matches('0').to_string(),
        _ if size < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}
