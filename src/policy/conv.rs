//! Convolution for the Flex backend: im2col and one matrix product a tile, forward and backward, in parallel over images. It
//! joins burn as a backend extension, since burn-flex's own convolution is several times slower in training.
//!
//! Sums run in an order that does not depend on the number of threads, so a training run repeats on another core count.

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{Bytes, DType, Shape, Tensor};
use burn_flex::{FlexTensor, Layout};
use rayon::prelude::*;

/// Images are shared out in this many parts when gradients of the weights are summed.
const SHARES: usize = 8;
/// Numbers in one tile of unfolded patches: 512 KiB, so that it stays in a core's second-level cache.
const TILE: usize = 128 * 1024;

/// How a convolution goes over a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stride {
    /// Pixels from one place to the next, both ways.
    pub step: usize,
    /// Zeros around the picture.
    pub padding: usize,
    /// Whether negative results become 0.
    pub relu: bool,
}

/// What a backend needs for [`conv2d`].
#[backend_extension(Flex, Autodiff)]
pub trait Convolution: Backend {
    /// See [`conv2d`].
    fn patch_conv(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        b: FloatTensor<Self>,
        stride: Stride,
    ) -> FloatTensor<Self>;

    /// Gradients of input, weight and bias; that of the input is a single zero unless `wants_dx`.
    fn patch_conv_backward(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        y: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        stride: Stride,
        wants_dx: bool,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

/// Convolution of `x` `[images, in, height, width]` with `weight` `[out, in, kernel height, kernel width]` and `bias` `[out]`,
/// the same step and zero padding both ways. f32 on the Flex backend.
pub fn conv2d(x: Tensor<4>, weight: Tensor<4>, bias: Tensor<1>, stride: Stride) -> Tensor<4> {
    let y = Dispatch::patch_conv(x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch(), stride);
    Tensor::from_dispatch(y)
}

/// What the backward pass keeps: the nodes of input and weight, the output, how the kernel went over the picture.
type Kept<T> = (NodeId, NodeId, T, Stride);

#[derive(Debug)]
struct ConvolutionBackward;

impl<B: Convolution> Backward<B, 3> for ConvolutionBackward {
    type State = Kept<B::FloatTensorPrimitive>;

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let [x_node, w_node, b_node] = ops.parents;
        let dy = grads.consume::<B>(&ops.node);
        let (x, w, y, stride) = ops.state;
        let x = checkpointer.retrieve_node_output::<B::FloatTensorPrimitive>(x);
        let w = checkpointer.retrieve_node_output::<B::FloatTensorPrimitive>(w);
        let (dx, dw, db) = B::patch_conv_backward(x, w, y, dy, stride, x_node.is_some());
        for (node, gradient) in [(x_node, dx), (w_node, dw), (b_node, db)] {
            if let Some(node) = node {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}

impl<B: Convolution, C: CheckpointStrategy> Convolution for Autodiff<B, C> {
    fn patch_conv(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        b: FloatTensor<Self>,
        stride: Stride,
    ) -> FloatTensor<Self> {
        match ConvolutionBackward.prepare::<C>([x.node(), w.node(), b.node()]).compute_bound().stateful() {
            OpsKind::Tracked(mut preparation) => {
                let nodes = (preparation.checkpoint(&x), preparation.checkpoint(&w));
                let y = B::patch_conv(x.into_primitive(), w.into_primitive(), b.into_primitive(), stride);
                preparation.finish((nodes.0, nodes.1, y.clone(), stride), y)
            }
            OpsKind::UnTracked(preparation) => {
                preparation.finish(B::patch_conv(x.into_primitive(), w.into_primitive(), b.into_primitive(), stride))
            }
        }
    }

    /// Second derivatives: not needed here, and not tracked.
    fn patch_conv_backward(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        y: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        stride: Stride,
        wants_dx: bool,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        use burn::backend::AutodiffBackend;
        let [x, w, y, dy] = [x, w, y, dy].map(|tensor| tensor.into_primitive());
        let (dx, dw, db) = B::patch_conv_backward(x, w, y, dy, stride, wants_dx);
        (Self::from_inner(dx), Self::from_inner(dw), Self::from_inner(db))
    }
}

/// Sizes of one convolution.
#[derive(Clone, Copy)]
struct Sizes {
    images: usize,
    channels: usize,
    height: usize,
    width: usize,
    out: usize,
    kernel: (usize, usize),
    stride: usize,
    padding: usize,
    out_height: usize,
    out_width: usize,
    /// Rows of the output in one tile.
    tile_rows: usize,
}

impl Sizes {
    /// Of input `x` [images, in, height, width] and weight `w` [out, in, kernel height, kernel width].
    fn new(x: &FlexTensor, w: &FlexTensor, stride: Stride) -> Self {
        let (x, w) = (x.layout().shape(), w.layout().shape());
        let (kernel, Stride { step: stride, padding, .. }) = ((w[2], w[3]), stride);
        let out_height = (x[2] + 2 * padding - kernel.0) / stride + 1;
        let out_width = (x[3] + 2 * padding - kernel.1) / stride + 1;
        let tile_rows = (TILE / (w[1] * kernel.0 * kernel.1 * out_width)).clamp(1, out_height);
        Self {
            images: x[0],
            channels: x[1],
            height: x[2],
            width: x[3],
            out: w[0],
            kernel,
            stride,
            padding,
            out_height,
            out_width,
            tile_rows,
        }
    }

    /// Numbers in one patch.
    fn patch(&self) -> usize {
        self.channels * self.kernel.0 * self.kernel.1
    }

    /// Numbers in one input image.
    fn image(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// Places in one output channel.
    fn places(&self) -> usize {
        self.out_height * self.out_width
    }

    fn tiles(&self) -> usize {
        self.out_height.div_ceil(self.tile_rows)
    }

    /// Output rows of a tile.
    fn rows(&self, tile: usize) -> std::ops::Range<usize> {
        let first = tile * self.tile_rows;
        first..(first + self.tile_rows).min(self.out_height)
    }

    /// Rows and columns of a padded image that patches reach, divided by the stride: the size of one of its planes.
    fn plane(&self) -> (usize, usize) {
        let side = |out: usize, kernel: usize| ((out - 1) * self.stride + kernel).div_ceil(self.stride);
        (side(self.out_height, self.kernel.0), side(self.out_width, self.kernel.1))
    }

    /// Numbers in all planes of an image.
    fn planes(&self) -> usize {
        let (height, width) = self.plane();
        self.channels * self.stride * self.stride * height * width
    }

    /// Calls `visit` for every row of the image that patches reach and every phase of its columns: with the place of the first
    /// of them in the image, its place in the planes, and how many there are, one stride apart in the image.
    fn each_row(&self, mut visit: impl FnMut(usize, usize, usize)) {
        let (height, width) = self.plane();
        for channel in 0..self.channels {
            for y in 0..self.height {
                let (row, of_row) = ((y + self.padding) / self.stride, (y + self.padding) % self.stride);
                if row >= height {
                    continue;
                }
                for phase in 0..self.stride {
                    // The first column of this phase, and its place once the image is padded.
                    let x = (phase + self.stride - self.padding % self.stride) % self.stride;
                    let at = (x + self.padding) / self.stride;
                    let count = self.width.saturating_sub(x).div_ceil(self.stride).min(width.saturating_sub(at));
                    let plane = (channel * self.stride + of_row) * self.stride + phase;
                    visit((channel * self.height + y) * self.width + x, (plane * height + row) * width + at, count);
                }
            }
        }
    }

    /// Deals a padded image out into stride x stride planes a channel, so that every row of the unfolded matrix is read in one
    /// piece. Padding in `planes` is left as it is: zero.
    fn deal(&self, image: &[f32], planes: &mut [f32]) {
        self.each_row(|from, to, count| {
            let to = &mut planes[to..to + count];
            if self.stride == 1 {
                to.copy_from_slice(&image[from..from + count]);
            } else {
                to.iter_mut().zip(image[from..].iter().step_by(self.stride)).for_each(|(to, from)| *to = *from);
            }
        });
    }

    /// Adds what was gathered in planes to the image they were dealt from.
    fn collect(&self, planes: &[f32], image: &mut [f32]) {
        self.each_row(|to, from, count| {
            let to = image[to..].iter_mut().step_by(self.stride);
            to.zip(&planes[from..from + count]).for_each(|(to, from)| *to += *from);
        });
    }

    /// Calls `visit` with the number of every row of the unfolded matrix and the place in the planes of its first number.
    fn each_patch_row(&self, first: usize, mut visit: impl FnMut(usize, usize)) {
        let ((height, width), stride) = (self.plane(), self.stride);
        let mut row = 0;
        for channel in 0..self.channels {
            for i in 0..self.kernel.0 {
                for j in 0..self.kernel.1 {
                    let plane = (channel * stride + i % stride) * stride + j % stride;
                    visit(row, (plane * height + first + i / stride) * width + j / stride);
                    row += 1;
                }
            }
        }
    }

    /// Patches of the output rows `rows` of an image as columns: `columns` [patch, rows * out_width].
    fn unfold(&self, planes: &[f32], rows: std::ops::Range<usize>, columns: &mut [f32]) {
        let (count, width) = (rows.len() * self.out_width, self.plane().1);
        self.each_patch_row(rows.start, |row, at| {
            let to = &mut columns[row * count..][..count];
            match self.out_width {
                8 => copy_rows::<8>(&planes[at..], width, to),
                16 => copy_rows::<16>(&planes[at..], width, to),
                32 => copy_rows::<32>(&planes[at..], width, to),
                wide => to.chunks_exact_mut(wide).enumerate().for_each(|(y, to)| {
                    to.copy_from_slice(&planes[at + y * width..][..wide]);
                }),
            }
        });
    }

    /// Adds columns to the planes that [`Self::unfold`] took them from.
    fn fold(&self, columns: &[f32], rows: std::ops::Range<usize>, planes: &mut [f32]) {
        let (count, width) = (rows.len() * self.out_width, self.plane().1);
        self.each_patch_row(rows.start, |row, at| {
            let from = &columns[row * count..][..count];
            match self.out_width {
                8 => add_rows::<8>(from, width, &mut planes[at..]),
                16 => add_rows::<16>(from, width, &mut planes[at..]),
                32 => add_rows::<32>(from, width, &mut planes[at..]),
                wide => from.chunks_exact(wide).enumerate().for_each(|(y, from)| {
                    let to = &mut planes[at + y * width..][..wide];
                    to.iter_mut().zip(from).for_each(|(to, from)| *to += *from);
                }),
            }
        });
    }
}

/// Copies rows of `W` numbers, `width` apart, one after the other: of a known length, they need no call each.
fn copy_rows<const W: usize>(from: &[f32], width: usize, to: &mut [f32]) {
    for (to, from) in to.as_chunks_mut::<W>().0.iter_mut().zip(from.chunks(width)) {
        if let Some(from) = from.first_chunk::<W>() {
            *to = *from;
        }
    }
}

/// Adds rows of `W` numbers to rows `width` apart.
fn add_rows<const W: usize>(from: &[f32], width: usize, to: &mut [f32]) {
    for (from, to) in from.as_chunks::<W>().0.iter().zip(to.chunks_mut(width)) {
        if let Some(to) = to.first_chunk_mut::<W>() {
            to.iter_mut().zip(from).for_each(|(to, from)| *to += *from);
        }
    }
}

/// A matrix in memory: first element, distance between rows, distance between columns.
#[derive(Clone, Copy)]
struct Matrix<'a>(&'a [f32], usize, usize);

/// `to` [m, n], with `row` numbers between its rows, becomes `a` [m, k] times `b` [k, n], added to what it was if `add`.
fn multiply((m, n, k): (usize, usize, usize), to: &mut [f32], row: usize, add: bool, a: Matrix<'_>, b: Matrix<'_>) {
    if m == 0 || n == 0 || k == 0 {
        return;
    }
    let last = |matrix: Matrix<'_>, rows: usize, columns: usize| (rows - 1) * matrix.1 + (columns - 1) * matrix.2;
    assert!(last(a, m, k) < a.0.len() && last(b, k, n) < b.0.len() && (m - 1) * row + n <= to.len());
    // SAFETY: the assertion keeps every element gemm touches inside the three slices, and `to` is borrowed mutably, so it
    // overlaps neither of the others.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            to.as_mut_ptr(),
            1,
            row as isize,
            add,
            a.0.as_ptr(),
            a.2 as isize,
            a.1 as isize,
            b.0.as_ptr(),
            b.2 as isize,
            b.1 as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// Sum in sixteen lanes: one after the other each addition would wait for the last.
fn sum_of(values: &[f32]) -> f32 {
    let (chunks, rest) = values.as_chunks::<16>();
    let mut lanes = [0.0; 16];
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(lane, value)| *lane += value);
    }
    lanes.iter().chain(rest).sum()
}

fn tensor(values: Vec<f32>, shape: Vec<usize>) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(Shape::from(shape)), DType::F32)
}

impl Convolution for Flex {
    fn patch_conv(x: FlexTensor, w: FlexTensor, b: FlexTensor, stride: Stride) -> FlexTensor {
        let [x, w, b] = [x, w, b].map(|tensor| tensor.to_contiguous());
        let sizes = Sizes::new(&x, &w, stride);
        let (images, weight, bias) = (x.storage::<f32>(), w.storage::<f32>(), b.storage::<f32>());
        let (patch, places) = (sizes.patch(), sizes.places());
        let mut y = vec![0.0; sizes.images * sizes.out * places];
        let is_plain = sizes.kernel == (1, 1) && sizes.stride == 1 && sizes.padding == 0;
        let work = |(image, y): (&[f32], &mut [f32]), (planes, columns): &mut (Vec<f32>, Vec<f32>)| {
            if !is_plain {
                planes.resize(sizes.planes(), 0.0);
                columns.resize(patch * sizes.tile_rows * sizes.out_width, 0.0);
                sizes.deal(image, planes);
            }
            for (plane, bias) in y.chunks_exact_mut(places).zip(bias) {
                plane.fill(*bias);
            }
            for tile in 0..sizes.tiles() {
                let rows = sizes.rows(tile);
                let (at, count) = (rows.start * sizes.out_width, rows.len() * sizes.out_width);
                let unfolded = if is_plain {
                    Matrix(&image[at..], places, 1)
                } else {
                    sizes.unfold(planes, rows, columns);
                    Matrix(columns, count, 1)
                };
                multiply((sizes.out, count, patch), &mut y[at..], places, true, Matrix(weight, patch, 1), unfolded);
            }
            if stride.relu {
                y.iter_mut().for_each(|value| *value = value.max(0.0));
            }
        };
        if !y.is_empty() {
            let images = images.par_chunks_exact(sizes.image());
            let outputs = y.par_chunks_exact_mut(sizes.out * places);
            images.zip(outputs).for_each_init(Default::default, |buffers, pair| work(pair, buffers));
        }
        tensor(y, vec![sizes.images, sizes.out, sizes.out_height, sizes.out_width])
    }

    fn patch_conv_backward(
        x: FlexTensor,
        w: FlexTensor,
        y: FlexTensor,
        dy: FlexTensor,
        stride: Stride,
        wants_dx: bool,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let [x, w, y, dy] = [x, w, y, dy].map(|tensor| tensor.to_contiguous());
        let sizes = Sizes::new(&x, &w, stride);
        let (images, weight) = (x.storage::<f32>(), w.storage::<f32>());
        let (outputs, slopes) = (y.storage::<f32>(), dy.storage::<f32>());
        let (patch, places, count) = (sizes.patch(), sizes.places(), sizes.images);
        let mut dx = vec![0.0; if wants_dx { count * sizes.image() } else { 0 }];
        let share = count.div_ceil(SHARES).max(1);
        let mut dx_shares: Vec<&mut [f32]> = dx.chunks_mut((share * sizes.image()).max(1)).collect();
        dx_shares.resize_with(count.div_ceil(share), Default::default);
        let work = |(number, dx): (usize, &mut [f32])| {
            let (mut dw, mut db) = (vec![0.0; sizes.out * patch], vec![0.0f32; sizes.out]);
            let mut columns = vec![0.0; patch * sizes.tile_rows * sizes.out_width];
            let mut slope = vec![0.0; sizes.out * places];
            let mut planes = vec![0.0; sizes.planes()];
            let mut planes_slope = vec![0.0; if wants_dx { sizes.planes() } else { 0 }];
            for image in number * share..((number + 1) * share).min(count) {
                let of_image = image * sizes.out * places..(image + 1) * sizes.out * places;
                slope.copy_from_slice(&slopes[of_image.clone()]);
                if stride.relu {
                    let y = &outputs[of_image];
                    slope.iter_mut().zip(y).for_each(|(slope, y)| *slope = if *y > 0.0 { *slope } else { 0.0 });
                }
                for (sum, plane) in db.iter_mut().zip(slope.chunks_exact(places)) {
                    *sum += sum_of(plane);
                }
                sizes.deal(&images[image * sizes.image()..][..sizes.image()], &mut planes);
                planes_slope.fill(0.0);
                for tile in 0..sizes.tiles() {
                    let rows = sizes.rows(tile);
                    let (at, wide) = (rows.start * sizes.out_width, rows.len() * sizes.out_width);
                    sizes.unfold(&planes, rows.clone(), &mut columns);
                    let slope = Matrix(&slope[at..], places, 1);
                    let unfolded = Matrix(&columns, 1, wide);
                    multiply((sizes.out, patch, wide), &mut dw, patch, true, slope, unfolded);
                    if wants_dx {
                        multiply((patch, wide, sizes.out), &mut columns, wide, false, Matrix(weight, 1, patch), slope);
                        sizes.fold(&columns, rows, &mut planes_slope);
                    }
                }
                if wants_dx {
                    let at = (image - number * share) * sizes.image();
                    sizes.collect(&planes_slope, &mut dx[at..at + sizes.image()]);
                }
            }
            (dw, db)
        };
        let sums: Vec<(Vec<f32>, Vec<f32>)> = dx_shares.into_par_iter().enumerate().map(work).collect();
        let (mut dw, mut db) = (vec![0.0; sizes.out * patch], vec![0.0; sizes.out]);
        for (part_w, part_b) in &sums {
            dw.iter_mut().zip(part_w).for_each(|(sum, part)| *sum += part);
            db.iter_mut().zip(part_b).for_each(|(sum, part)| *sum += part);
        }
        let dx = if wants_dx { tensor(dx, x.layout().shape().to_vec()) } else { tensor(vec![0.0], vec![1]) };
        (dx, tensor(dw, w.layout().shape().to_vec()), tensor(db, vec![sizes.out]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::ops::ConvOptions;
    use burn::tensor::{Device, Distribution, module};

    /// Ours and burn's own agree, forward and in all three gradients.
    #[test]
    fn agrees_with_burns_convolution() {
        let device = Device::flex().autodiff();
        // The last ones are large enough for several tiles.
        let cases = [
            ((13, 17), 3, 6, 3, 2, true),
            ((16, 16), 3, 4, 2, 1, false),
            ((9, 7), 3, 3, 1, 1, true),
            ((8, 8), 3, 1, 1, 0, false),
            ((9, 8), 3, 1, 2, 0, false),
            ((70, 75), 16, 3, 1, 1, true),
            ((120, 61), 16, 7, 2, 3, false),
        ];
        for (size, channels, kernel, stride, padding, relu) in cases {
            let random =
                |shape: [usize; 4]| Tensor::<4>::random(shape, Distribution::Normal(0.0, 0.2), &device).require_grad();
            let (x, w) = (random([11, channels, size.0, size.1]), random([5, channels, kernel, kernel]));
            let b = Tensor::<1>::random([5], Distribution::Normal(0.0, 1.0), &device).require_grad();
            let ours = conv2d(x.clone(), w.clone(), b.clone(), Stride { step: stride, padding, relu });
            let options = ConvOptions::new([stride; 2], [padding; 2], [1, 1], 1);
            let theirs = module::conv2d(x.clone(), w.clone(), Some(b.clone()), options);
            let theirs = if relu { burn::tensor::activation::relu(theirs) } else { theirs };
            let largest = |a: Tensor<4>, b: Tensor<4>| (a - b).abs().max().into_scalar::<f32>();
            assert!(largest(ours.clone(), theirs.clone()) < 1e-4, "forward of {kernel}/{stride}/{padding}");
            let weigh = Tensor::<4>::random(ours.dims(), Distribution::Normal(0.0, 1.0), &device);
            let (ours, theirs) = ((ours * weigh.clone()).sum().backward(), (theirs * weigh).sum().backward());
            for tensor in [&x, &w] {
                let (a, b) = (tensor.grad(&ours).unwrap(), tensor.grad(&theirs).unwrap());
                assert!(largest(a, b) < 1e-3, "gradient of {kernel}/{stride}/{padding}");
            }
            let (a, b) = (b.grad(&ours).unwrap(), b.grad(&theirs).unwrap());
            assert!((a - b).abs().max().into_scalar::<f32>() < 1e-3, "bias of {kernel}/{stride}/{padding}");
        }
    }
}
