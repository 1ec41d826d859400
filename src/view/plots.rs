//! Curves over the rows of an episode, drawn with a painter so that window and sheet look alike.

use crate::ui::theme::{ACCENT, FAINT, GROOVE, TEXT};
use bevy_egui::egui::{Align2, Color32, FontId, Painter, Pos2, Rect, Stroke, Vec2};

/// The colour of measured values.
pub const STATE_COLOUR: Color32 = Color32::from_rgb(120, 190, 240);
/// The colour of targets.
pub const ACTION_COLOUR: Color32 = ACCENT;
const BACKGROUND: Color32 = Color32::from_rgb(21, 24, 29);
const OUTSIDE: Color32 = Color32::from_rgba_premultiplied(0, 0, 0, 120);

/// A plot: its name, and curves with their colours, one number a row.
pub struct Plot<'a> {
    /// What is plotted.
    pub title: &'a str,
    /// The curves.
    pub curves: Vec<(&'a [f32], Color32)>,
    /// Lowest and highest value shown; `None`: as the curves need.
    pub range: Option<(f32, f32)>,
    /// Unit of the values, for the labels.
    pub unit: &'a str,
    /// Row that is marked.
    pub cursor: Option<f32>,
    /// First and last row that will stay; what is outside is darkened.
    pub kept: Option<(usize, usize)>,
}

impl Plot<'_> {
    fn rows(&self) -> usize {
        self.curves.iter().map(|curve| curve.0.len()).max().unwrap_or(0)
    }

    /// Lowest and highest value shown, never the same.
    fn bounds(&self) -> (f32, f32) {
        if let Some(range) = self.range {
            return range;
        }
        let values = || self.curves.iter().flat_map(|curve| curve.0).copied().filter(|value| value.is_finite());
        let (low, high) = values().fold((f32::MAX, f32::MIN), |(low, high), v| (low.min(v), high.max(v)));
        if low > high {
            return (0.0, 1.0);
        }
        let margin = ((high - low) * 0.08).max(0.5);
        (low - margin, high + margin)
    }

    /// Draws the plot into `rect`.
    pub fn draw(&self, painter: &Painter, rect: Rect) {
        painter.rect_filled(rect, 4.0, BACKGROUND);
        let inner = rect.shrink2(Vec2::new(6.0, 5.0));
        let inner = Rect::from_min_max(inner.min + Vec2::new(0.0, 13.0), inner.max);
        let (low, high) = self.bounds();
        let rows = self.rows().max(2);
        let x = |row: f32| inner.left() + inner.width() * row / (rows - 1) as f32;
        let y = |value: f32| inner.bottom() - inner.height() * ((value - low) / (high - low)).clamp(0.0, 1.0);
        if low < 0.0 && high > 0.0 {
            painter.hline(inner.x_range(), y(0.0), (1.0, GROOVE));
        }
        for (values, colour) in &self.curves {
            let points: Vec<Pos2> = thinned(values, inner.width().max(1.0) as usize)
                .map(|(row, value)| Pos2::new(x(row as f32), y(value)))
                .collect();
            painter.line(points, Stroke::new(1.3, *colour));
        }
        if let Some((first, last)) = self.kept {
            let span = |from: f32, to: f32| Rect::from_x_y_ranges(from..=to, rect.y_range());
            painter.rect_filled(span(rect.left(), x(first as f32)), 0.0, OUTSIDE);
            painter.rect_filled(span(x(last as f32), rect.right()), 0.0, OUTSIDE);
        }
        if let Some(row) = self.cursor {
            painter.vline(x(row), rect.y_range(), (1.0, TEXT));
        }
        let small = FontId::proportional(10.5);
        painter.text(rect.min + Vec2::new(6.0, 3.0), Align2::LEFT_TOP, self.title, small.clone(), TEXT);
        let label = format!("{low:.0} to {high:.0}{}", self.unit);
        painter.text(rect.right_top() + Vec2::new(-6.0, 3.0), Align2::RIGHT_TOP, label, small, FAINT);
    }

    /// The row under a place in `rect`.
    pub fn row_at(&self, rect: Rect, place: Pos2) -> usize {
        row_at(rect.shrink(6.0), self.rows(), place)
    }
}

/// The row under a place in a strip that shows `rows` rows.
pub fn row_at(rect: Rect, rows: usize, place: Pos2) -> usize {
    let share = ((place.x - rect.left()) / rect.width().max(1.0)).clamp(0.0, 1.0);
    (share * rows.saturating_sub(1) as f32).round() as usize
}

/// At most about two values a pixel: of each group its first, lowest and highest, in order, so that spikes stay.
fn thinned(values: &[f32], pixels: usize) -> impl Iterator<Item = (usize, f32)> {
    let step = values.len().div_ceil(pixels.max(1)).max(1);
    let groups = values.chunks(step).enumerate();
    let points = groups.flat_map(move |(group, chunk)| {
        let finite = || chunk.iter().enumerate().filter(|value| value.1.is_finite());
        let low = finite().min_by(|a, b| a.1.total_cmp(b.1)).map(|value| value.0);
        let high = finite().max_by(|a, b| a.1.total_cmp(b.1)).map(|value| value.0);
        let mut places: Vec<usize> = low.into_iter().chain(high).collect();
        places.sort_unstable();
        places.dedup();
        places.into_iter().map(move |place| (group * step + place, chunk[place])).collect::<Vec<_>>()
    });
    points.collect::<Vec<_>>().into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_spikes_and_order() {
        let mut values = vec![0.0; 1000];
        values[501] = 9.0;
        values[777] = f32::NAN;
        let points: Vec<(usize, f32)> = thinned(&values, 100).collect();
        assert!(points.len() <= 200 && points.contains(&(501, 9.0)), "{}", points.len());
        assert!(points.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert_eq!(thinned(&[3.0, 4.0], 100).count(), 2);
        assert_eq!(thinned(&[], 100).count(), 0);
    }

    #[test]
    fn places_are_rows_and_flat_curves_have_room() {
        let rect = Rect::from_min_max(Pos2::new(10.0, 0.0), Pos2::new(110.0, 50.0));
        assert_eq!(row_at(rect, 101, Pos2::new(60.0, 5.0)), 50);
        assert_eq!((row_at(rect, 101, Pos2::new(-9.0, 5.0)), row_at(rect, 101, Pos2::new(999.0, 5.0))), (0, 100));
        let flat = [3.0; 5];
        let curves: Vec<(&[f32], Color32)> = vec![(&flat, TEXT)];
        let plot = Plot { title: "", curves, range: None, unit: "", cursor: None, kept: None };
        assert_eq!(plot.bounds(), (2.5, 3.5));
        assert_eq!(Plot { curves: Vec::new(), ..plot }.bounds(), (0.0, 1.0));
    }
}
