//! Pictures of the simulated cameras; nothing is shown while there are none.

use super::EDGE;
use crate::camera::{CameraFrame, CameraSensor, CamerasInUse};
use crate::ui::actions::Session;
use crate::ui::theme;
use bevy::prelude::{DetectChanges, Local, Query, Ref, Res, ResMut, Resource, Result};
use bevy_egui::EguiContexts;
use bevy_egui::egui::{self, Align2, ColorImage, Id, TextureHandle, TextureOptions, Vec2};

/// Width of a picture on the screen, points.
const WIDTH: f32 = 168.0;

/// Room for the bar of buttons, points.
const ABOVE_CONTROLS: f32 = 46.0;

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
    mut shown: Local<bool>,
    mut in_use: ResMut<CamerasInUse>,
    frames: Query<(&CameraSensor, Ref<CameraFrame>)>,
    mut pictures: ResMut<CameraPictures>,
) {
    if *shown != session.cameras {
        *shown = session.cameras;
        *in_use = if session.cameras { CamerasInUse::All } else { CamerasInUse::None };
        pictures.0.clear();
    }
    if !session.cameras || !frames.iter().any(|(_, frame)| frame.is_changed()) {
        return;
    }
    let mut newest: Vec<(&CameraSensor, Ref<CameraFrame>)> = frames.iter().collect();
    newest.sort_by_key(|(sensor, _)| sensor.index);
    pictures.0 = newest
        .into_iter()
        .map(|(sensor, frame)| CameraPicture {
            name: sensor.config.name.clone(),
            width: frame.width as usize,
            height: frame.height as usize,
            rgb: frame.rgb.clone(),
        })
        .collect();
}

pub(super) fn show(
    mut contexts: EguiContexts,
    pictures: Res<CameraPictures>,
    mut textures: Local<Vec<TextureHandle>>,
) -> Result {
    let whole: Vec<&CameraPicture> = pictures.0.iter().filter(|picture| picture.is_whole()).collect();
    textures.truncate(whole.len());
    if whole.is_empty() {
        return Ok(());
    }
    let ctx = contexts.ctx_mut()?.clone();
    if pictures.is_changed() || textures.len() < whole.len() {
        for (index, picture) in whole.iter().enumerate() {
            let image = ColorImage::from_rgb([picture.width, picture.height], &picture.rgb);
            match textures.get_mut(index) {
                Some(texture) => texture.set(image, TextureOptions::LINEAR),
                None => textures.push(ctx.load_texture(picture.name.clone(), image, TextureOptions::LINEAR)),
            }
        }
    }
    egui::Area::new(Id::new("cameras")).anchor(Align2::RIGHT_BOTTOM, [-EDGE, -EDGE - ABOVE_CONTROLS]).show(
        &ctx,
        |ui| {
            theme::card().inner_margin(egui::Margin::same(8)).show(ui, |ui| {
                ui.horizontal(|ui| {
                    for (picture, texture) in whole.iter().zip(textures.iter()) {
                        let height = WIDTH * picture.height as f32 / picture.width as f32;
                        ui.vertical(|ui| {
                            ui.label(theme::faint(picture.name.as_str()));
                            ui.image((texture.id(), Vec2::new(WIDTH, height.min(WIDTH))));
                        });
                    }
                });
            });
        },
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_of_the_wrong_size_are_not_drawn() {
        let picture = |bytes| CameraPicture { name: "top".into(), width: 2, height: 2, rgb: vec![0; bytes] };
        assert!(picture(12).is_whole());
        assert!(!picture(11).is_whole() && !picture(0).is_whole());
        assert!(!CameraPicture { width: 0, rgb: Vec::new(), ..picture(0) }.is_whole());
    }
}
