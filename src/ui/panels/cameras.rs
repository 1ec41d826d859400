//! Pictures of the cameras, simulated and real; nothing is shown while there are none.

use super::EDGE;
use crate::camera::{CameraFrame, CameraSensor, CameraState, CamerasInUse, CamerasWatched};
use crate::recording::desk::Desk;
use crate::ui::actions::Session;
use crate::ui::theme;
use bevy::asset::RenderAssetUsages;
use bevy::image::Image;
use bevy::prelude::{Assets, DetectChanges, Handle, Local, Query, Ref, Res, ResMut, Resource, Result};
use bevy::render::render_resource::{Extent3d, TextureDimension, TextureFormat};
use bevy_egui::egui::{self, Align2, Id, TextureId, Vec2};
use bevy_egui::{EguiContexts, EguiTextureHandle};

/// Width of a picture on the screen, points.
const WIDTH: f32 = 168.0;

/// Width of all pictures together at most, points.
const ROW: f32 = 480.0;
/// Room for the bar of buttons, points.
const ABOVE_CONTROLS: f32 = 46.0;
/// Pictures are not made narrower than this to fit below the arm's card, points.
const NARROWEST: f32 = 96.0;
/// Height of the card beside its pictures, and the gap to other cards, points.
const AROUND: f32 = 16.0 + 20.0;
/// See [`AROUND`].
const GAP: f32 = 8.0;

/// The latest picture of a camera.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CameraPicture {
    /// The camera's name.
    pub name: String,
    /// Width, pixels.
    pub width: usize,
    /// Height, pixels.
    pub height: usize,
    /// Pixels, three bytes each, row by row from the top; `width * height * 3` of them.
    pub rgb: Vec<u8>,
    /// Why it cannot be relied on.
    pub warning: Option<String>,
}

/// What to say of a picture that cannot be relied on.
fn warning(frame: &CameraFrame) -> Option<String> {
    match frame.state {
        CameraState::Fresh => None,
        CameraState::Stale if frame.age_s.is_finite() => Some(format!("{:.1} s old", frame.age_s)),
        CameraState::Stale => Some("no picture yet".into()),
        CameraState::Lost => Some("camera lost".into()),
    }
}

impl CameraPicture {
    fn is_whole(&self) -> bool {
        self.width > 0 && self.height > 0 && self.rgb.len() == self.width * self.height * 3
    }
}

/// Pictures to show, in this order.
#[derive(Resource, Clone, Debug, Default)]
pub struct CameraPictures(pub Vec<CameraPicture>);

/// Cameras draw only while somebody looks; what they drew last is shown.
pub(super) fn look(
    session: Res<Session>,
    desk: Option<Res<Desk>>,
    mut shown: Local<bool>,
    mut watched: ResMut<CamerasWatched>,
    in_use: Res<CamerasInUse>,
    frames: Query<(&CameraSensor, Ref<CameraFrame>)>,
    mut pictures: ResMut<CameraPictures>,
) {
    if *shown != session.cameras {
        *shown = session.cameras;
        // Beside what recording or a policy draws, which goes on whether or not anybody watches; while people record, only
        // that.
        watched.0 = session.cameras && desk.is_none();
        pictures.0.clear();
    }
    if !session.cameras || !frames.iter().any(|(_, frame)| frame.is_changed()) {
        return;
    }
    let mut newest: Vec<(&CameraSensor, Ref<CameraFrame>)> = frames.iter().collect();
    let is_used = |sensor: &CameraSensor, frame: &CameraFrame| {
        watched.0 || frame.captured.is_some() || in_use.contains(&sensor.config.name)
    };
    newest.retain(|(sensor, frame)| is_used(sensor, frame));
    newest.sort_by_key(|(sensor, _)| sensor.index);
    pictures.0 = newest
        .into_iter()
        .map(|(sensor, frame)| CameraPicture {
            name: sensor.config.name.clone(),
            width: frame.width as usize,
            height: frame.height as usize,
            rgb: frame.rgb.clone(),
            warning: warning(&frame),
        })
        .collect();
}

/// The picture as Bevy keeps it: four bytes a pixel.
fn to_image(picture: &CameraPicture) -> Image {
    let size = Extent3d { width: picture.width as u32, height: picture.height as u32, depth_or_array_layers: 1 };
    let rgba = picture.rgb.as_chunks::<3>().0.iter().flat_map(|&[r, g, b]| [r, g, b, 255]).collect();
    let format = TextureFormat::Rgba8UnormSrgb;
    Image::new(size, TextureDimension::D2, rgba, format, RenderAssetUsages::default())
}

pub(super) fn show(
    mut contexts: EguiContexts,
    pictures: Res<CameraPictures>,
    mut images: ResMut<Assets<Image>>,
    mut shown: Local<Vec<(Handle<Image>, TextureId)>>,
) -> Result {
    let whole: Vec<&CameraPicture> = pictures.0.iter().filter(|picture| picture.is_whole()).collect();
    let kept = whole.len().min(shown.len());
    for (handle, _) in shown.drain(kept..) {
        contexts.remove_image(&handle);
    }
    if whole.is_empty() {
        return Ok(());
    }
    for (index, picture) in whole.iter().enumerate() {
        match shown.get(index) {
            // Changed in place, so that no frame goes by without a picture.
            Some((handle, _)) if pictures.is_changed() => {
                if let Some(mut image) = images.get_mut(handle) {
                    *image = to_image(picture);
                }
            }
            Some(_) => {}
            None => {
                let handle = images.add(to_image(picture));
                let texture = contexts.add_image(EguiTextureHandle::Strong(handle.clone()));
                shown.push((handle, texture));
            }
        }
    }
    let ctx = contexts.ctx_mut()?;
    let tallest = whole.iter().map(|picture| picture.height as f32 / picture.width as f32).fold(0.0, f32::max).min(1.0);
    let arm = ctx.memory(|memory| memory.area_rect(Id::new("arm")));
    let (width, aside) = place(ctx.content_rect(), arm, whole.len(), tallest);
    let place = [-EDGE - aside, -EDGE - ABOVE_CONTROLS];
    egui::Area::new(Id::new("cameras")).anchor(Align2::RIGHT_BOTTOM, place).show(ctx, |ui| {
        theme::card().inner_margin(egui::Margin::same(8)).show(ui, |ui| {
            ui.horizontal(|ui| {
                for (picture, (_, texture)) in whole.iter().zip(shown.iter()) {
                    let height = width * picture.height as f32 / picture.width as f32;
                    ui.vertical(|ui| {
                        match &picture.warning {
                            None => ui.label(theme::faint(picture.name.as_str())),
                            Some(warning) => {
                                let text = format!("{}: {warning}", picture.name);
                                ui.label(egui::RichText::new(text).color(ui.visuals().warn_fg_color))
                            }
                        };
                        ui.image((*texture, Vec2::new(width, height.min(width))));
                    });
                }
            });
        });
    });
    Ok(())
}

/// Width of the pictures, and how far to the left of the corner they stand, so that they do not cover the arm's card:
/// narrower below it if that is enough, else beside it. `tallest`: largest height of a picture as a share of its width.
fn place(screen: egui::Rect, arm: Option<egui::Rect>, count: usize, tallest: f32) -> (f32, f32) {
    let widest = (ROW / count.max(1) as f32).min(WIDTH);
    let Some(arm) = arm else { return (widest, 0.0) };
    let room = screen.bottom() - EDGE - ABOVE_CONTROLS - AROUND - GAP - arm.bottom();
    let fits = widest.min(room / tallest.max(0.01));
    if fits >= NARROWEST.min(widest) { (fits, 0.0) } else { (widest, screen.right() - EDGE - arm.left() + GAP) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_keep_clear_of_the_arms_card() {
        let screen = egui::Rect::from_min_max(egui::pos2(0.0, 0.0), egui::pos2(1280.0, 720.0));
        let arm = |bottom| Some(egui::Rect::from_min_max(egui::pos2(1018.0, 12.0), egui::pos2(1268.0, bottom)));
        assert_eq!(place(screen, None, 2, 1.0), (WIDTH, 0.0));
        assert_eq!(place(screen, arm(400.0), 2, 1.0), (WIDTH, 0.0));
        let (width, aside) = place(screen, arm(500.0), 2, 1.0);
        assert!((NARROWEST..WIDTH).contains(&width) && aside == 0.0, "{width}");
        let bottom = 720.0 - EDGE - ABOVE_CONTROLS;
        assert!(bottom - AROUND - width >= 500.0, "{width}");
        let (width, aside) = place(screen, arm(600.0), 2, 1.0);
        assert!(width == WIDTH && 1280.0 - EDGE - aside <= 1018.0, "{aside}");
    }

    #[test]
    fn pictures_of_the_wrong_size_are_not_drawn() {
        let picture =
            |bytes| CameraPicture { name: "top".into(), width: 2, height: 2, rgb: vec![0; bytes], warning: None };
        assert!(picture(12).is_whole());
        assert!(!picture(11).is_whole() && !picture(0).is_whole());
        assert!(!CameraPicture { width: 0, rgb: Vec::new(), ..picture(0) }.is_whole());
    }

    #[test]
    fn old_and_missing_pictures_are_told() {
        let frame = |state, age_s| CameraFrame { state, age_s, ..CameraFrame::default() };
        assert_eq!(warning(&frame(CameraState::Fresh, 0.05)), None);
        assert_eq!(warning(&frame(CameraState::Stale, 0.44)).as_deref(), Some("0.4 s old"));
        assert_eq!(warning(&frame(CameraState::Stale, f32::INFINITY)).as_deref(), Some("no picture yet"));
        assert_eq!(warning(&frame(CameraState::Lost, 3.0)).as_deref(), Some("camera lost"));
    }
}
