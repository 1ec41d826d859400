//! Pictures and their conversion between RGB and the codecs' planar 4:2:0, BT.601 limited range: what LeRobot's
//! decoders assume for streams that carry no colour description.

/// A picture: rows from the top, three bytes a pixel, red first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `width * height * 3` bytes.
    pub rgb: Vec<u8>,
}

impl Image {
    /// A picture of one colour.
    pub fn filled(width: usize, height: usize, colour: [u8; 3]) -> Self {
        Self { width, height, rgb: colour.repeat(width * height) }
    }

    /// The colour at column `x`, row `y`; black outside the picture.
    pub fn pixel(&self, x: usize, y: usize) -> [u8; 3] {
        let at = (y * self.width + x) * 3;
        match self.rgb.get(at..at + 3) {
            Some(&[r, g, b]) if x < self.width => [r, g, b],
            _ => [0; 3],
        }
    }

    /// Whether the bytes are as many as the size says.
    pub fn is_consistent(&self) -> bool {
        self.rgb.len() == self.width * self.height * 3
    }
}

/// Planes of a picture with even sides: luma at full size, chroma at half.
#[derive(Debug, Clone, Default)]
pub(crate) struct Planes {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) y: Vec<u8>,
    pub(crate) u: Vec<u8>,
    pub(crate) v: Vec<u8>,
}

// BT.601 in 16-bit fixed point: 219/255 times the luma weights 0.299, 0.587, 0.114; chroma spans 224/255.
const Y_RGB: [i32; 3] = [16829, 33039, 6416];
const U_RGB: [i32; 3] = [-9714, -19070, 28784];
const V_RGB: [i32; 3] = [28784, -24103, -4681];

impl Planes {
    /// Converts `image`, whose sides must be even, reusing the planes' memory.
    pub(crate) fn fill(&mut self, image: &Image) {
        let (w, h) = (image.width & !1, image.height & !1);
        (self.width, self.height) = (w, h);
        self.y.resize(w * h, 0);
        self.u.resize(w * h / 4, 0);
        self.v.resize(w * h / 4, 0);
        if w == 0 || h == 0 || !image.is_consistent() {
            return;
        }
        let stride = image.width * 3;
        for (row, out) in image.rgb.chunks_exact(stride).zip(self.y.chunks_exact_mut(w)) {
            for (p, y) in row.chunks_exact(3).zip(out) {
                let sum = Y_RGB[0] * i32::from(p[0]) + Y_RGB[1] * i32::from(p[1]) + Y_RGB[2] * i32::from(p[2]);
                *y = ((sum + (16 << 16) + (1 << 15)) >> 16) as u8;
            }
        }
        let chroma = self.u.chunks_exact_mut(w / 2).zip(self.v.chunks_exact_mut(w / 2));
        for (pair, (us, vs)) in image.rgb.chunks_exact(stride * 2).zip(chroma) {
            let (top, bottom) = pair.split_at(stride);
            let blocks = top.chunks_exact(6).zip(bottom.chunks_exact(6));
            for ((a, b), (u, v)) in blocks.zip(us.iter_mut().zip(vs)) {
                // Sums of the four pixels of a block, hence two bits more of shift.
                let sum = |k: usize| i32::from(a[k]) + i32::from(a[k + 3]) + i32::from(b[k]) + i32::from(b[k + 3]);
                let (red, green, blue) = (sum(0), sum(1), sum(2));
                let mix =
                    |k: [i32; 3]| ((k[0] * red + k[1] * green + k[2] * blue + (128 << 18) + (1 << 17)) >> 18) as u8;
                (*u, *v) = (mix(U_RGB), mix(V_RGB));
            }
        }
    }
}

/// Decoded planes as a decoder lends them: strides may exceed the width.
pub(crate) struct PlanesView<'a> {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) y: &'a [u8],
    pub(crate) u: &'a [u8],
    pub(crate) v: &'a [u8],
    pub(crate) luma_stride: usize,
    pub(crate) chroma_stride: usize,
    pub(crate) full_range: bool,
}

impl PlanesView<'_> {
    /// The picture, or `None` when a plane is shorter than its size says.
    pub(crate) fn to_image(&self) -> Option<Image> {
        let (w, h) = (self.width, self.height);
        let (cw, ch) = (w.div_ceil(2), h.div_ceil(2));
        let enough =
            |plane: &[u8], stride: usize, w: usize, h: usize| stride >= w && plane.len() >= stride * (h - 1) + w;
        if w == 0 || h == 0 || w > 1 << 14 || h > 1 << 14 {
            return None;
        }
        let chroma_fits = enough(self.u, self.chroma_stride, cw, ch) && enough(self.v, self.chroma_stride, cw, ch);
        if !enough(self.y, self.luma_stride, w, h) || !chroma_fits {
            return None;
        }
        // Inverse of the matrix above in 16-bit fixed point; full range needs no stretching.
        let (luma, offset, rv, gu, gv, bu) = if self.full_range {
            (65536, 0, 91881, 22554, 46802, 116130)
        } else {
            (76309, 16, 104597, 25675, 53279, 132201)
        };
        let mut rgb = vec![0u8; w * h * 3];
        for (j, out) in rgb.chunks_exact_mut(w * 3).enumerate() {
            let y = &self.y[j * self.luma_stride..][..w];
            let u = &self.u[j / 2 * self.chroma_stride..][..cw];
            let v = &self.v[j / 2 * self.chroma_stride..][..cw];
            for ((pixels, ys), (&u, &v)) in out.chunks_mut(6).zip(y.chunks(2)).zip(u.iter().zip(v)) {
                let (u, v) = (i32::from(u) - 128, i32::from(v) - 128);
                let (red, green, blue) = (rv * v, -gu * u - gv * v, bu * u);
                for (p, &y) in pixels.chunks_exact_mut(3).zip(ys) {
                    let y = (i32::from(y) - offset) * luma + (1 << 15);
                    p[0] = ((y + red) >> 16).clamp(0, 255) as u8;
                    p[1] = ((y + green) >> 16).clamp(0, 255) as u8;
                    p[2] = ((y + blue) >> 16).clamp(0, 255) as u8;
                }
            }
        }
        Some(Image { width: w, height: h, rgb })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(image: &Image) -> Image {
        let mut planes = Planes::default();
        planes.fill(image);
        let view = PlanesView {
            width: planes.width,
            height: planes.height,
            y: &planes.y,
            u: &planes.u,
            v: &planes.v,
            luma_stride: planes.width,
            chroma_stride: planes.width / 2,
            full_range: false,
        };
        view.to_image().unwrap()
    }

    #[test]
    fn plain_colours_survive_within_two_levels() {
        for colour in [[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255], [90, 140, 30]] {
            let back = round_trip(&Image::filled(8, 6, colour));
            for (a, b) in back.pixel(3, 3).iter().zip(colour) {
                assert!(a.abs_diff(b) <= 2, "{colour:?} became {:?}", back.pixel(3, 3));
            }
        }
    }

    #[test]
    fn short_planes_are_refused() {
        let view = PlanesView {
            width: 8,
            height: 8,
            y: &[0; 60],
            u: &[0; 16],
            v: &[0; 16],
            luma_stride: 8,
            chroma_stride: 4,
            full_range: false,
        };
        assert!(view.to_image().is_none());
    }
}
