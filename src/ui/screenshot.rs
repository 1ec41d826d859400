//! Pictures of the window as PNG files.

use super::actions::Session;
use bevy::image::Image;
use bevy::prelude::*;
use bevy::render::render_resource::TextureFormat;
use bevy::render::view::screenshot::{Screenshot, ScreenshotCaptured};
use std::path::{Path, PathBuf};

/// Asks for a picture of the window.
#[derive(Event, Clone, Copy, Debug)]
pub struct TakePicture;

/// Adds the taking of pictures.
pub fn plugin(app: &mut App) {
    app.add_observer(|_: On<TakePicture>, mut commands: Commands| {
        commands.spawn(Screenshot::primary_window()).observe(keep);
    });
}

fn keep(captured: On<ScreenshotCaptured>, mut session: ResMut<Session>) {
    let file = free_name();
    let line = match to_png(&captured.image).and_then(|png| write(&file, &png)) {
        Ok(()) => format!("Picture: {}", file.display()),
        Err(fault) => format!("No picture: {fault}"),
    };
    session.say(line);
}

/// `etude-1.png` and so on: the first name not taken in the user's folder of pictures, or in the present folder.
fn free_name() -> PathBuf {
    let folder = directories::UserDirs::new()
        .and_then(|folders| folders.picture_dir().map(Path::to_path_buf))
        .filter(|folder| folder.is_dir())
        .unwrap_or_default();
    let names = (1..10_000).map(|number| folder.join(format!("etude-{number}.png")));
    names.into_iter().find(|file| !file.exists()).unwrap_or_else(|| folder.join("etude.png"))
}

/// Writes a picture whole or not at all.
///
/// # Errors
/// File and reason.
pub fn write(file: &Path, png: &[u8]) -> Result<(), String> {
    crate::scores::write_whole(file, png).map_err(|fault| format!("{}: {fault}", file.display()))
}

/// Encodes a captured picture, 8 bits per channel, without its alpha.
///
/// # Errors
/// Pixel formats that are not eight bits in four channels.
pub fn to_png(image: &Image) -> Result<Vec<u8>, String> {
    let format = image.texture_descriptor.format;
    let swap = match format {
        TextureFormat::Rgba8Unorm | TextureFormat::Rgba8UnormSrgb => false,
        TextureFormat::Bgra8Unorm | TextureFormat::Bgra8UnormSrgb => true,
        other => return Err(format!("pixels of format {other:?} cannot be written")),
    };
    let data = image.data.as_ref().ok_or("the picture has no pixels")?;
    let rgb: Vec<u8> =
        data.as_chunks::<4>().0.iter().flat_map(|&[a, g, c, _]| if swap { [c, g, a] } else { [a, g, c] }).collect();
    let mut png = Vec::new();
    let mut encoder = png::Encoder::new(&mut png, image.width(), image.height());
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder
        .write_header()
        .and_then(|mut writer| writer.write_image_data(&rgb))
        .map_err(|fault| format!("the picture cannot be encoded: {fault}"))?;
    Ok(png)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bevy::asset::RenderAssetUsages;
    use bevy::render::render_resource::{Extent3d, TextureDimension};

    #[test]
    fn channels_land_where_they_belong() {
        let size = Extent3d { width: 2, height: 1, depth_or_array_layers: 1 };
        let picture = |format| {
            let pixels = vec![10, 20, 30, 255, 40, 50, 60, 255];
            Image::new(size, TextureDimension::D2, pixels, format, RenderAssetUsages::default())
        };
        for (format, expected) in [
            (TextureFormat::Rgba8UnormSrgb, [10, 20, 30, 40, 50, 60]),
            (TextureFormat::Bgra8UnormSrgb, [30, 20, 10, 60, 50, 40]),
        ] {
            let bytes = to_png(&picture(format)).unwrap();
            let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
            let mut pixels = vec![0; 6];
            reader.next_frame(&mut pixels).unwrap();
            assert_eq!(pixels, expected);
        }
    }
}
