//! Checks on an episode's pictures, by the measures taken of each.

use super::check::{CheckOptions, Finding, Kind, Severity, median};
use super::check_rows::{EpisodeRows, covered, runs};
use super::encode::CameraReport;
use super::measure::{FrameMeasure, THUMBNAIL, Thumbnail};

/// Pictures that differ less than this (mean level) from the one before are the same picture. A repeated one differs by
/// nothing; simulated cameras have no noise, and a hand at the rim of a small picture changes little.
const SAME: f32 = 0.004;
/// Mean luma below which a picture shows hardly anything; black is 16.
const DARK: f32 = 35.0;
/// Share of white pixels above which a picture has lost its content.
const WHITE_SHARE: f32 = 0.25;

/// Findings about one camera.
pub(crate) fn picture_findings(rows: &EpisodeRows, camera: &CameraReport, options: &CheckOptions) -> Vec<Finding> {
    let frames = &camera.frames;
    let count = frames.len().min(rows.len());
    let mut findings = Vec::new();
    if count == 0 {
        return findings;
    }
    let mut add = |kind, severity, frames: Vec<[usize; 2]>, message: String, advice: &str| {
        findings.push(Finding { kind, severity, subject: camera.key.clone(), frames, message, advice: advice.into() });
    };
    if !camera.lost.is_empty() {
        let lost = runs(rows.len(), |row| camera.lost.binary_search(&row).is_ok());
        let message = format!("{} pictures were lost, encoding could not keep up", camera.lost.len());
        add(Kind::LostPictures, Severity::Bad, lost, message, "Use a smaller picture, or close other programs");
    }
    // The same picture again is right while nothing moves.
    let moves = |row: usize| rows.motion(row) > options.rest * 0.5;
    let is_lost = |row: usize| camera.lost.binary_search(&row).is_ok();
    let again = runs(count, |row| row > 0 && frames[row].change < SAME && moves(row) && !is_lost(row));
    let moving = (1..count).filter(|&row| moves(row)).count();
    let repeated = covered(&again);
    if repeated > 0 && repeated * 10 >= moving * 9 && moving >= 5 {
        let message = "the picture never changes while the arm moves".to_string();
        add(Kind::DeadCamera, Severity::Bad, Vec::new(), message, "Check the cable; delete the episode");
    // One in fifty is chance: a slow motion may leave a small picture as it was.
    } else if repeated * 50 > moving {
        let severity = if repeated * 20 > moving { Severity::Bad } else { Severity::Warning };
        let message = format!("{repeated} pictures repeat the one before while the arm moves");
        add(Kind::RepeatedPictures, severity, again, message, "Lower the camera's rate or free its USB port");
    }
    let share = |is: &dyn Fn(&FrameMeasure) -> bool| {
        let runs = runs(count, |row| is(&frames[row]));
        let share = covered(&runs) as f32 / count as f32;
        (runs, share)
    };
    let (dark, dark_share) = share(&|m| m.mean < DARK);
    if dark_share > 0.3 {
        let message = format!("{:.0} % of the pictures are dark", dark_share * 100.0);
        add(Kind::Dark, Severity::Bad, dark, message, "Add light, or take the lens cap off");
    }
    let (white, white_share) = share(&|m| m.bright > WHITE_SHARE);
    if white_share > 0.3 {
        let message = format!("{:.0} % of the pictures are white in large parts", white_share * 100.0);
        add(Kind::Saturated, Severity::Warning, white, message, "Lower the exposure and lock it");
    }
    let usual = median(&mut frames.iter().map(|m| m.sharpness).collect::<Vec<_>>());
    let (blurred, blurred_share) = share(&|m| m.sharpness < usual * 0.3 && usual > 5.0);
    if blurred_share > 0.05 {
        let message = format!("{:.0} % of the pictures are blurred", blurred_share * 100.0);
        add(Kind::Blur, Severity::Warning, blurred, message, "Lock the focus; move more slowly or add light");
    }
    findings
}

/// A finding when the first picture fits the reference better after being shifted.
pub(crate) fn moved_camera(key: &str, reference: &Thumbnail, first: Option<&Thumbnail>) -> Option<Finding> {
    let (x, y) = shift(reference, first?)?;
    let percent = |cells: i32, of: usize| f64::from(cells.abs()) * 100.0 / of as f64;
    let (across, down) = (percent(x, THUMBNAIL.0), percent(y, THUMBNAIL.1));
    Some(Finding {
        kind: Kind::CameraMoved,
        severity: Severity::Bad,
        subject: key.into(),
        frames: Vec::new(),
        message: format!("the view is shifted by {across:.0} % of its width and {down:.0} % of its height"),
        advice: "Put the camera back; policies fail after a shift of a centimetre. Delete the episode or keep all after it apart".into(),
    })
}

/// Cells by which `b` is shifted against `a`; `None` when it is not.
fn shift(a: &Thumbnail, b: &Thumbnail) -> Option<(i32, i32)> {
    const REACH: i32 = 6;
    let (columns, rows) = (THUMBNAIL.0 as i32, THUMBNAIL.1 as i32);
    if a.0.len() != b.0.len() || a.0.len() != (columns * rows) as usize {
        return None;
    }
    // Edges, not brightness: light changes must not look like motion. The middle is compared, where both overlap.
    let edge = |t: &Thumbnail, x: i32, y: i32| {
        let at = |x: i32, y: i32| t.0[(y * columns + x) as usize];
        [at(x + 1, y) - at(x - 1, y), at(x, y + 1) - at(x, y - 1)]
    };
    let error = |dx: i32, dy: i32| {
        let margin = REACH + 1;
        let mut sum = 0.0;
        for y in margin..rows - margin {
            for x in margin..columns - margin {
                let (p, q) = (edge(a, x, y), edge(b, x + dx, y + dy));
                // Bounded, so that objects placed anew cannot outweigh the rest of the scene.
                sum += ((p[0] - q[0]).abs() + (p[1] - q[1]).abs()).min(20.0);
            }
        }
        sum / ((rows - 2 * margin) * (columns - 2 * margin)) as f32
    };
    let here = error(0, 0);
    let candidates = (-REACH..=REACH).flat_map(|dy| (-REACH..=REACH).map(move |dx| (dx, dy)));
    let (best, at) = candidates.map(|(dx, dy)| (error(dx, dy), (dx, dy))).min_by(|p, q| p.0.total_cmp(&q.0))?;
    (here > 1.0 && best < here * 0.6).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moving(rows: usize) -> EpisodeRows {
        let state: Vec<f32> = (0..rows).map(|row| row as f32 * 2.0).collect();
        EpisodeRows { fps: 30, width: 1, action: state.clone(), state, ..Default::default() }
    }

    fn camera(rows: usize, change: impl Fn(usize) -> FrameMeasure) -> CameraReport {
        CameraReport { key: "front".into(), frames: (0..rows).map(change).collect(), ..Default::default() }
    }

    const GOOD: FrameMeasure = FrameMeasure { mean: 120.0, bright: 0.01, sharpness: 90.0, change: 3.0 };

    #[test]
    fn faults_of_pictures_are_told_apart() {
        let rows = moving(60);
        let kinds = |camera: CameraReport| {
            let found = picture_findings(&rows, &camera, &CheckOptions::default());
            found.into_iter().map(|f| (f.kind, f.frames)).collect::<Vec<_>>()
        };
        assert_eq!(kinds(camera(60, |_| GOOD)), []);
        let still = FrameMeasure { change: 0.0, ..GOOD };
        assert_eq!(kinds(camera(60, |_| still)), [(Kind::DeadCamera, vec![])]);
        let stuck = camera(60, |row| if (20..24).contains(&row) { still } else { GOOD });
        assert_eq!(kinds(stuck), [(Kind::RepeatedPictures, vec![[20, 23]])]);
        let dark = FrameMeasure { mean: 18.0, ..GOOD };
        assert_eq!(kinds(camera(60, |row| if row < 30 { dark } else { GOOD })), [(Kind::Dark, vec![[0, 29]])]);
        let white = FrameMeasure { bright: 0.5, ..GOOD };
        assert_eq!(kinds(camera(60, |_| white))[0].0, Kind::Saturated);
        let soft = FrameMeasure { sharpness: 9.0, ..GOOD };
        assert_eq!(kinds(camera(60, |row| if row > 50 { soft } else { GOOD })), [(Kind::Blur, vec![[51, 59]])]);
        let mut lost = camera(60, |_| GOOD);
        lost.lost = vec![3, 4, 9];
        assert_eq!(kinds(lost), [(Kind::LostPictures, vec![[3, 4], [9, 9]])]);
    }

    #[test]
    fn a_shifted_view_is_noticed_and_a_moved_object_is_not() {
        let (columns, rows) = THUMBNAIL;
        let scene = |dx: usize, dy: usize, object: usize| {
            let value = |i: usize| {
                let (x, y) = (i % columns + dx, i / columns + dy);
                let texture = ((x / 5 * 31 + y / 4 * 17) % 7) as f32 * 20.0;
                let near = (i % columns).abs_diff(object) < 4 && (i / columns).abs_diff(20) < 4;
                if near { 250.0 } else { texture }
            };
            Thumbnail((0..columns * rows).map(value).collect())
        };
        let reference = scene(10, 10, 20);
        assert_eq!(shift(&reference, &scene(10, 10, 40)), None);
        assert_eq!(shift(&reference, &scene(12, 9, 20)), Some((-2, 1)));
        assert!(moved_camera("front", &reference, Some(&scene(12, 9, 30))).is_some());
    }
}
