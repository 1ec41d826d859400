//! One episode as a picture, for machines without a display: cameras at several times, joints and score over time, and what the
//! quality check found.

use super::model::{Model, Series};
use super::paint;
use super::plots::{ACTION_COLOUR, Plot, STATE_COLOUR};
use crate::dataset::check::{Finding, Severity};
use crate::dataset::{DatasetError, Image};
use crate::ui::theme::{ACCENT, BAD, FAINT, GOOD, TEXT};
use bevy_egui::egui::{
    Align2, Color32, ColorImage, Context, FontId, Painter, Pos2, Rect, TextureHandle, TextureOptions, Vec2,
};

const WIDTH: f32 = 1280.0;
const MARGIN: f32 = 14.0;
const GAP: f32 = 6.0;
const HEAD: f32 = 52.0;
const PLOT: f32 = 104.0;
const LINE: f32 = 17.0;
/// Plots beside each other.
const COLUMNS: usize = 3;
/// Findings shown.
const FINDINGS: usize = 10;
const BACKGROUND: [u8; 3] = [27, 31, 37];

/// A picture of an episode with `pictures` of each camera. `findings` of the quality check go below.
///
/// # Errors
/// When the episode's files cannot be read.
pub fn sheet(model: &Model, episode: usize, pictures: usize, findings: &[Finding]) -> Result<Image, DatasetError> {
    let entry = model.dataset.episode(episode)?.clone();
    let series = model.series(episode)?;
    let pictures = pictures.clamp(2, 24).min(entry.length.max(2));
    let width = (WIDTH - 2.0 * MARGIN - GAP * (pictures - 1) as f32) / pictures as f32;
    let rows: Vec<usize> = (0..pictures).map(|i| (entry.length - 1) * i / (pictures - 1)).collect();
    let mut strips: Vec<(String, f32, Vec<ColorImage>)> = Vec::new();
    for (key, name) in &model.cameras {
        let mut strip = Vec::new();
        let mut height = 0.0;
        for row in &rows {
            let image = model.dataset.frame(entry.from + row, key)?;
            height = width * image.height as f32 / image.width.max(1) as f32;
            strip.push(texture(&shrunk(&image, (width * 2.0) as usize)));
        }
        strips.push((name.clone(), height, strip));
    }
    let plots = series.states.len().max(series.actions.len()) + usize::from(!series.score.is_empty());
    let plot_lines = plots.div_ceil(COLUMNS);
    let shown = findings.len().clamp(1, FINDINGS);
    let height = MARGIN * 2.0
        + HEAD
        + strips.iter().map(|strip| strip.1 + LINE + GAP).sum::<f32>()
        + plot_lines as f32 * (PLOT + GAP)
        + LINE * (shown + 1) as f32;
    let mut textures: Vec<Vec<TextureHandle>> = Vec::new();
    Ok(paint::picture(WIDTH as usize, height.ceil() as usize, BACKGROUND, |ui| {
        if textures.is_empty() {
            textures = strips.iter().map(|strip| load(ui.ctx(), strip)).collect();
        }
        let painter = ui.ctx().layer_painter(ui.layer_id());
        let fps = f64::from(model.dataset.info().fps);
        let mut top = head(&painter, model, episode);
        for ((name, height, _), strip) in strips.iter().zip(&textures) {
            for (place, (row, texture)) in rows.iter().zip(strip).enumerate() {
                let left = MARGIN + place as f32 * (width + GAP);
                let rect = Rect::from_min_size(Pos2::new(left, top), Vec2::new(width, *height));
                let uv = Rect::from_min_max(Pos2::ZERO, Pos2::new(1.0, 1.0));
                painter.image(texture.id(), rect, uv, Color32::WHITE);
                let time = format!("{:.1} s", *row as f64 / fps);
                let label = if place == 0 { format!("{name}   {time}") } else { time };
                let at = Pos2::new(left, top + height + 2.0);
                painter.text(at, Align2::LEFT_TOP, label, FontId::proportional(11.5), FAINT);
            }
            top += height + LINE + GAP;
        }
        let bottom = draw_plots(&painter, model, &series, top);
        list(&painter, findings, bottom);
    }))
}

/// The joints' and the score's plots below `top`; their lower end.
fn draw_plots(painter: &Painter, model: &Model, series: &Series, top: f32) -> f32 {
    let width = (WIDTH - 2.0 * MARGIN - GAP * (COLUMNS - 1) as f32) / COLUMNS as f32;
    let joints = series.states.len().max(series.actions.len());
    let place = |index: usize| {
        let (column, line) = (index % COLUMNS, index / COLUMNS);
        let corner = Pos2::new(MARGIN + column as f32 * (width + GAP), top + line as f32 * (PLOT + GAP));
        Rect::from_min_size(corner, Vec2::new(width, PLOT))
    };
    for joint in 0..joints {
        joint_plot(model, series, joint).draw(painter, place(joint));
    }
    if !series.score.is_empty() {
        score_plot(series).draw(painter, place(joints));
    }
    let plots = joints + usize::from(!series.score.is_empty());
    top + plots.div_ceil(COLUMNS) as f32 * (PLOT + GAP)
}

/// Measured positions and targets of a joint.
pub fn joint_plot<'a>(model: &'a Model, series: &'a Series, joint: usize) -> Plot<'a> {
    let curve = |lists: &'a [Vec<f32>]| lists.get(joint).map_or(&[][..], Vec::as_slice);
    let curves = vec![(curve(&series.actions), ACTION_COLOUR), (curve(&series.states), STATE_COLOUR)];
    let title = model.joints.get(joint).map_or("joint", String::as_str);
    Plot { title, curves, range: None, unit: "", cursor: None, kept: None }
}

/// The score over time.
pub fn score_plot(series: &Series) -> Plot<'_> {
    let curves = vec![(series.score.as_slice(), GOOD)];
    Plot { title: "score", curves, range: Some((0.0, 1.0)), unit: "", cursor: None, kept: None }
}

fn head(painter: &Painter, model: &Model, episode: usize) -> f32 {
    let Some(entry) = model.entries.get(episode) else { return MARGIN };
    let (verdict, colour) = match entry.success {
        Some(true) => ("success", GOOD),
        Some(false) => ("failure", BAD),
        None => ("not judged", FAINT),
    };
    let name = model.dataset.root().file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let title = format!("{name}   episode {episode}   ");
    let corner = Pos2::new(MARGIN, MARGIN);
    let end = painter.text(corner, Align2::LEFT_TOP, title, FontId::proportional(19.0), TEXT);
    painter.text(end.right_top(), Align2::LEFT_TOP, verdict, FontId::proportional(19.0), colour);
    let tags = if entry.tags.is_empty() { String::new() } else { format!("   tags: {}", entry.tags.join(", ")) };
    let line = format!("\"{}\"   {:.1} s, {} rows   {}{tags}", entry.task, entry.seconds, entry.rows, entry.source);
    let at = corner + Vec2::new(0.0, 27.0);
    painter.text(at, Align2::LEFT_TOP, line, FontId::proportional(12.5), FAINT);
    let legend = Pos2::new(WIDTH - MARGIN, MARGIN + 27.0);
    let target = painter.text(legend, Align2::RIGHT_TOP, "target", FontId::proportional(12.5), ACTION_COLOUR);
    let at = target.left_top() - Vec2::new(12.0, 0.0);
    painter.text(at, Align2::RIGHT_TOP, "measured", FontId::proportional(12.5), STATE_COLOUR);
    MARGIN + HEAD
}

fn list(painter: &Painter, findings: &[Finding], top: f32) {
    let font = FontId::proportional(12.0);
    if findings.is_empty() {
        painter.text(Pos2::new(MARGIN, top), Align2::LEFT_TOP, "no faults found", font, GOOD);
        return;
    }
    for (line, finding) in findings.iter().take(FINDINGS).enumerate() {
        let at = Pos2::new(MARGIN, top + line as f32 * LINE);
        painter.text(at, Align2::LEFT_TOP, finding.to_string(), font.clone(), colour_of(finding.severity));
    }
    if findings.len() > FINDINGS {
        let at = Pos2::new(MARGIN, top + FINDINGS as f32 * LINE);
        painter.text(at, Align2::LEFT_TOP, format!("and {} more", findings.len() - FINDINGS), font, FAINT);
    }
}

/// The colour of a finding.
pub fn colour_of(severity: Severity) -> Color32 {
    match severity {
        Severity::Note => FAINT,
        Severity::Warning => ACCENT,
        Severity::Bad => BAD,
    }
}

/// A picture as egui wants it.
pub fn texture(image: &Image) -> ColorImage {
    ColorImage::from_rgb([image.width, image.height], &image.rgb)
}

fn load(context: &Context, (name, _, strip): &(String, f32, Vec<ColorImage>)) -> Vec<TextureHandle> {
    let one = |image: &ColorImage| context.load_texture(name, image.clone(), TextureOptions::LINEAR);
    strip.iter().map(one).collect()
}

/// Halves a picture until it is hardly wider than `width`, so that little of it is skipped when it is drawn.
fn shrunk(image: &Image, width: usize) -> Image {
    let mut small = image.clone();
    while small.width >= width.max(1) * 2 && small.height >= 2 {
        let (w, h) = (small.width / 2, small.height / 2);
        let mut half = Image::filled(w, h, [0; 3]);
        for y in 0..h {
            for x in 0..w {
                let corners = [(0, 0), (1, 0), (0, 1), (1, 1)].map(|(dx, dy)| small.pixel(2 * x + dx, 2 * y + dy));
                for channel in 0..3 {
                    let sum: u32 = corners.iter().map(|pixel| u32::from(pixel[channel])).sum();
                    half.rgb[(y * w + x) * 3 + channel] = (sum / 4) as u8;
                }
            }
        }
        small = half;
    }
    small
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_episode_is_drawn_without_a_display() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/lerobot_v30/video");
        let model = Model::open(&root).unwrap();
        let image = sheet(&model, 1, 6, &[]).unwrap();
        assert_eq!(image.width, 1280);
        // The middle of the first picture of the first camera: green, as in the test of the reader.
        let width = (WIDTH - 2.0 * MARGIN - 5.0 * GAP) / 6.0;
        let pixel = image.pixel((MARGIN + width / 2.0) as usize, (MARGIN + HEAD + width * 0.375) as usize);
        let frame = model.dataset.frame(60, &model.cameras[0].0).unwrap();
        let truth = frame.pixel(frame.width / 2, frame.height / 2);
        assert!(pixel.iter().zip(truth).all(|(a, b)| a.abs_diff(b) < 25), "{pixel:?} is not {truth:?}");
        let blue = image.rgb.chunks(3).filter(|p| p[2] > 200 && p[0] < 150).count();
        assert!(blue > 500, "curves of measured positions: {blue} pixels");
        assert!(sheet(&model, 3, 6, &[]).is_err());
    }
}
