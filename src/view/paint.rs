//! Paints what egui wants drawn into a picture, on the CPU: textured triangles, blended as egui's own painters do (premultiplied
//! colours, gamma space).

use crate::dataset::Image;
use bevy_egui::egui::epaint::{ClippedPrimitive, ImageData, Mesh, Primitive, TextureId, Vertex};
use bevy_egui::egui::{self, ColorImage, Context, Pos2, RawInput, Rect, Ui, Vec2};
use std::collections::BTreeMap;

/// Passes before the picture: egui needs one to know how large things are.
const PASSES: usize = 3;

/// Draws `page` into a picture of `width` x `height` pixels on `background`.
pub fn picture(width: usize, height: usize, background: [u8; 3], mut page: impl FnMut(&mut Ui)) -> Image {
    let context = Context::default();
    crate::ui::theme::apply(&context);
    let screen = Rect::from_min_size(Pos2::ZERO, Vec2::new(width as f32, height as f32));
    let mut textures: BTreeMap<String, ColorImage> = BTreeMap::new();
    let mut image = Image::filled(width, height, background);
    for pass in 0..PASSES {
        let input = RawInput { screen_rect: Some(screen), ..RawInput::default() };
        let output = context.run_ui(input, &mut page);
        for (id, deltas) in &output.textures_delta.set {
            for delta in deltas {
                let ImageData::Color(patch) = &delta.image;
                match delta.pos {
                    None => {
                        textures.insert(name(*id), (**patch).clone());
                    }
                    Some(at) => {
                        if let Some(whole) = textures.get_mut(&name(*id)) {
                            patch_in(whole, patch, at);
                        }
                    }
                }
            }
        }
        if pass + 1 == PASSES {
            for primitive in context.tessellate(output.shapes, 1.0) {
                paint(&mut image, &primitive, &textures);
            }
        }
    }
    image
}

/// Texture ids have no order; their names do.
fn name(id: TextureId) -> String {
    format!("{id:?}")
}

fn patch_in(whole: &mut ColorImage, patch: &ColorImage, at: [usize; 2]) {
    for y in 0..patch.size[1] {
        for x in 0..patch.size[0] {
            let to = (at[1] + y) * whole.size[0] + at[0] + x;
            if let Some(pixel) = whole.pixels.get_mut(to) {
                *pixel = patch.pixels[y * patch.size[0] + x];
            }
        }
    }
}

fn paint(image: &mut Image, primitive: &ClippedPrimitive, textures: &BTreeMap<String, ColorImage>) {
    let Primitive::Mesh(mesh) = &primitive.primitive else { return };
    let Some(texture) = textures.get(&name(mesh.texture_id)) else { return };
    let clip = primitive.clip_rect;
    let bound = |value: f32, size: usize| (value.round().max(0.0) as usize).min(size);
    let x = bound(clip.left(), image.width)..bound(clip.right(), image.width);
    let y = bound(clip.top(), image.height)..bound(clip.bottom(), image.height);
    for corners in triangles(mesh) {
        triangle(image, corners, texture, &x, &y);
    }
}

fn triangles(mesh: &Mesh) -> impl Iterator<Item = [&Vertex; 3]> {
    mesh.indices.chunks_exact(3).filter_map(|corners| {
        let at = |corner: usize| mesh.vertices.get(corners[corner] as usize);
        Some([at(0)?, at(1)?, at(2)?])
    })
}

/// Twice the area of the triangle a, b, p; positive if p lies to the right of the way from a to b on the screen.
fn edge(a: Pos2, b: Pos2, p: Pos2) -> f32 {
    (b.x - a.x) * (p.y - a.y) - (b.y - a.y) * (p.x - a.x)
}

/// Pixels on an edge belong to one of the two triangles that share it: the one that has it at its top or left.
fn owns(a: Pos2, b: Pos2) -> bool {
    (a.y == b.y && b.x > a.x) || b.y < a.y
}

fn triangle(
    image: &mut Image,
    [a, mut b, mut c]: [&Vertex; 3],
    texture: &ColorImage,
    columns: &std::ops::Range<usize>,
    lines: &std::ops::Range<usize>,
) {
    let mut area = edge(a.pos, b.pos, c.pos);
    if area < 0.0 {
        (b, c, area) = (c, b, -area);
    }
    if area.is_nan() || area <= 1e-6 {
        return;
    }
    let xs = [a.pos.x, b.pos.x, c.pos.x];
    let ys = [a.pos.y, b.pos.y, c.pos.y];
    let low = |values: [f32; 3]| values.into_iter().fold(f32::MAX, f32::min).floor().max(0.0) as usize;
    let high = |values: [f32; 3]| values.into_iter().fold(f32::MIN, f32::max).ceil().max(0.0) as usize;
    for y in low(ys).max(lines.start)..high(ys).min(lines.end) {
        for x in low(xs).max(columns.start)..high(xs).min(columns.end) {
            let p = Pos2::new(x as f32 + 0.5, y as f32 + 0.5);
            let weights = [edge(b.pos, c.pos, p), edge(c.pos, a.pos, p), edge(a.pos, b.pos, p)];
            let owned = [owns(b.pos, c.pos), owns(c.pos, a.pos), owns(a.pos, b.pos)];
            if weights.iter().zip(owned).any(|(weight, owned)| *weight < 0.0 || (*weight == 0.0 && !owned)) {
                continue;
            }
            let [wa, wb, wc] = weights.map(|weight| weight / area);
            let mix = |of: fn(&Vertex) -> f32| of(a) * wa + of(b) * wb + of(c) * wc;
            let texel = sample(texture, mix(|v| v.uv.x), mix(|v| v.uv.y));
            let colour: [fn(&Vertex) -> f32; 4] =
                [|v| v.color.r().into(), |v| v.color.g().into(), |v| v.color.b().into(), |v| v.color.a().into()];
            let source = [0, 1, 2, 3].map(|channel| mix(colour[channel]) * texel[channel] / 255.0);
            let rest = 1.0 - source[3] / 255.0;
            let at = (y * image.width + x) * 3;
            if let Some(pixel) = image.rgb.get_mut(at..at + 3) {
                for (old, new) in pixel.iter_mut().zip(source) {
                    *old = (f32::from(*old) * rest + new).round().clamp(0.0, 255.0) as u8;
                }
            }
        }
    }
}

/// Colour of a texture between its pixels.
fn sample(texture: &ColorImage, u: f32, v: f32) -> [f32; 4] {
    let [width, height] = texture.size;
    let (x, y) = (u * width as f32 - 0.5, v * height as f32 - 0.5);
    let (fx, fy) = (x - x.floor(), y - y.floor());
    let pixel = |x: f32, y: f32| {
        let column = (x.max(0.0) as usize).min(width.saturating_sub(1));
        let line = (y.max(0.0) as usize).min(height.saturating_sub(1));
        let colour = texture.pixels.get(line * width + column).copied().unwrap_or(egui::Color32::TRANSPARENT);
        colour.to_array().map(f32::from)
    };
    let corners = [pixel(x.floor(), y.floor()), pixel(x.floor() + 1.0, y.floor())];
    let below = [pixel(x.floor(), y.floor() + 1.0), pixel(x.floor() + 1.0, y.floor() + 1.0)];
    [0, 1, 2, 3].map(|channel| {
        let top = corners[0][channel] * (1.0 - fx) + corners[1][channel] * fx;
        let bottom = below[0][channel] * (1.0 - fx) + below[1][channel] * fx;
        top * (1.0 - fy) + bottom * fy
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bevy_egui::egui::Color32;

    #[test]
    fn boxes_and_text_come_out_where_they_belong() {
        let image = picture(80, 40, [0; 3], |ui| {
            let painter = ui.painter();
            let half = Color32::from_rgba_unmultiplied(255, 0, 0, 128);
            painter.rect_filled(Rect::from_min_max(Pos2::new(10.0, 10.0), Pos2::new(20.0, 20.0)), 0.0, half);
            let font = egui::FontId::proportional(16.0);
            painter.text(Pos2::new(40.0, 10.0), egui::Align2::LEFT_TOP, "M", font, Color32::WHITE);
        });
        let red = image.pixel(15, 15);
        assert!(red[0].abs_diff(128) <= 2 && red[1] == 0, "{red:?}: no pixel is blended twice on the diagonal");
        assert_eq!((image.pixel(5, 5), image.pixel(25, 15)), ([0; 3], [0; 3]));
        let lit = (40..60).flat_map(|x| (10..30).map(move |y| (x, y))).filter(|(x, y)| image.pixel(*x, *y)[0] > 128);
        assert!((20..200).contains(&lit.count()), "a letter is drawn");
    }
}
