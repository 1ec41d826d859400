//! Colours, type and cards of the panels.

use bevy_egui::egui::{
    self, Align2, Color32, Context, CornerRadius, FontId, Frame, Id, Margin, RichText, Stroke, TextStyle, Ui, Vec2,
};

/// The colour of printed arms; marks what is one's own.
pub const ACCENT: Color32 = Color32::from_rgb(245, 158, 50);
/// Done, holds.
pub const GOOD: Color32 = Color32::from_rgb(104, 208, 128);
/// At a limit, failed.
pub const BAD: Color32 = Color32::from_rgb(240, 104, 92);
/// Ghosts.
pub const GHOST: Color32 = Color32::from_rgb(140, 190, 240);
/// Text.
pub const TEXT: Color32 = Color32::from_rgb(232, 235, 238);
/// Less important text.
pub const FAINT: Color32 = Color32::from_rgb(158, 166, 176);
/// Grooves of bars, lines.
pub const GROOVE: Color32 = Color32::from_rgb(58, 65, 75);
const CARD: Color32 = Color32::from_rgb(27, 31, 37);

/// Height of a window at which panels have their natural size, in points.
const NATURAL_HEIGHT: f32 = 720.0;

/// Scale of the panels in a window of this size: larger windows get larger type, small ones stay readable.
fn scale_of(width: f32, height: f32) -> f32 {
    let fits = (height / NATURAL_HEIGHT).min(width / 1280.0);
    // Half of the gain goes into larger type, half into more to see.
    (1.0 + 0.5 * (fits - 1.0)).clamp(0.7, 2.0)
}

/// Sets type and widgets of a context.
pub fn apply(ctx: &Context) {
    ctx.set_theme(egui::Theme::Dark);
    ctx.all_styles_mut(|style| {
        for (text, size) in [
            (TextStyle::Heading, 19.0),
            (TextStyle::Body, 13.5),
            (TextStyle::Button, 13.5),
            (TextStyle::Small, 11.0),
            (TextStyle::Monospace, 12.5),
        ] {
            let family =
                if text == TextStyle::Monospace { egui::FontFamily::Monospace } else { egui::FontFamily::Proportional };
            style.text_styles.insert(text, FontId::new(size, family));
        }
        style.spacing.item_spacing = Vec2::new(7.0, 5.0);
        style.spacing.button_padding = Vec2::new(8.0, 4.0);
        style.interaction.selectable_labels = false;
        style.animation_time = 0.0;
        let visuals = &mut style.visuals;
        visuals.override_text_color = Some(TEXT);
        visuals.panel_fill = CARD;
        visuals.window_fill = CARD;
        visuals.extreme_bg_color = Color32::from_rgb(18, 21, 25);
        visuals.selection.bg_fill = Color32::from_rgb(150, 88, 16);
        visuals.selection.stroke = Stroke::new(1.0, Color32::WHITE);
        let widgets = &mut visuals.widgets;
        widgets.inactive.weak_bg_fill = Color32::from_rgb(47, 53, 62);
        widgets.inactive.bg_fill = Color32::from_rgb(60, 67, 77);
        widgets.hovered.weak_bg_fill = Color32::from_rgb(66, 74, 86);
        widgets.active.weak_bg_fill = Color32::from_rgb(150, 88, 16);
        for state in [&mut widgets.inactive, &mut widgets.hovered, &mut widgets.active, &mut widgets.open] {
            state.corner_radius = CornerRadius::same(5);
            state.bg_stroke = Stroke::NONE;
            state.expansion = 0.0;
        }
    });
}

/// What has been set up in a context.
#[derive(Clone, Copy, Debug, Default)]
pub struct Prepared {
    themed: bool,
    /// Pixels per point at which digits were drawn ahead.
    warmed: f32,
}

/// To be called in each frame before anything is drawn: theme, and a scale that follows the window's size.
pub fn prepare(ctx: &Context, prepared: &mut Prepared) {
    if !prepared.themed {
        apply(ctx);
        prepared.themed = true;
    }
    // In points of the present scale; the product is the size in logical pixels, which does not change with it.
    let size = ctx.content_rect().size() * ctx.zoom_factor();
    let wanted = (scale_of(size.x, size.y) * 20.0).round() / 20.0;
    if (ctx.zoom_factor() - wanted).abs() > 0.01 {
        ctx.set_zoom_factor(wanted);
    }
    if prepared.warmed != ctx.pixels_per_point() {
        prepared.warmed = ctx.pixels_per_point();
        warm_up(ctx);
    }
}

/// Size of the clock's type, points.
pub const CLOCK: f32 = 30.0;

/// Draws the digits of running numbers once, unseen: a glyph that is new to the font's texture is missing for a frame.
pub fn warm_up(ctx: &Context) {
    let sizes = [CLOCK, 20.0, 17.0, 13.5, 12.5, 12.0].map(FontId::proportional);
    for font in sizes.into_iter().chain([FontId::monospace(12.0)]) {
        ctx.fonts_mut(|fonts| fonts.layout_no_wrap("0123456789:.,%+-–°→ s".into(), font, TEXT));
    }
}

/// Frame of a card.
pub fn card() -> Frame {
    Frame::new().fill(CARD).corner_radius(CornerRadius::same(9)).inner_margin(Margin::symmetric(12, 10))
}

/// A card that sticks to a place in the window.
pub fn place_card(
    ctx: &Context,
    id: &'static str,
    align: Align2,
    offset: [f32; 2],
    width: f32,
    add: impl FnOnce(&mut Ui),
) {
    egui::Area::new(Id::new(id)).anchor(align, offset).constrain(true).show(ctx, |ui| {
        card().show(ui, |ui| {
            ui.set_width(width);
            add(ui);
        });
    });
}

/// Faint small text.
pub fn faint(text: impl Into<String>) -> RichText {
    RichText::new(text).size(11.5).color(FAINT)
}

/// The name of a part of a card.
pub fn section(ui: &mut Ui, text: &str) {
    ui.add_space(3.0);
    ui.label(RichText::new(text.to_uppercase()).size(10.5).color(FAINT).strong());
}

/// A check mark, drawn: filled if `holds`, else an empty ring.
pub fn check(ui: &mut Ui, holds: bool, text: &str) {
    ui.horizontal(|ui| {
        let (rect, _) = ui.allocate_exact_size(Vec2::splat(14.0), egui::Sense::hover());
        let (centre, painter) = (rect.center(), ui.painter());
        if holds {
            painter.circle_filled(centre, 6.5, GOOD);
            let points = [[-3.0, 0.2], [-0.8, 2.6], [3.2, -2.4]].map(|[x, y]| centre + Vec2::new(x, y));
            painter.line_segment([points[0], points[1]], Stroke::new(1.8, CARD));
            painter.line_segment([points[1], points[2]], Stroke::new(1.8, CARD));
        } else {
            painter.circle_stroke(centre, 5.8, Stroke::new(1.3, FAINT));
        }
        ui.label(RichText::new(text).color(if holds { TEXT } else { FAINT }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_grow_with_the_window_within_reason() {
        assert_eq!(scale_of(1280.0, 720.0), 1.0);
        assert!((1.2..1.3).contains(&scale_of(1920.0, 1080.0)));
        assert!(scale_of(400.0, 300.0) >= 0.7 && scale_of(9000.0, 9000.0) <= 2.0);
    }
}
