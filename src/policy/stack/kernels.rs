//! Sums of products over one image: outputs, and gradients of weights and inputs.

use super::lanes::Lanes;
use super::{LANES, Plan, Stack, StackLayer, Work};

/// A patch of rows in memory: in each of `planes`, `plane_step` apart, `rows` of `run` numbers, `row_step` apart; the next
/// patch begins `step` later.
#[derive(Clone, Copy)]
struct Patches {
    planes: usize,
    plane_step: usize,
    rows: usize,
    run: usize,
    row_step: usize,
    step: usize,
}

/// Sums of `P` patches from `from` on, each times the same weights [planes][rows][run][depth], of which `V` vectors count.
///
/// # Safety
/// Everything the patches and the weights cover can be read.
#[inline(always)]
unsafe fn products<L: Lanes, const P: usize, const V: usize>(
    patches: Patches,
    from: *const f32,
    weights: *const f32,
    depth: usize,
) -> [[L; V]; P] {
    let mut sums = [[L::zero(); V]; P];
    let mut weights = weights;
    for row in 0..patches.planes * patches.rows {
        let (plane, row) = (row / patches.rows, row % patches.rows);
        let from = from.wrapping_add(plane * patches.plane_step + row * patches.row_step);
        for i in 0..patches.run {
            let mut lanes = [L::zero(); V];
            for (v, lanes) in lanes.iter_mut().enumerate() {
                // SAFETY: the caller's promise.
                *lanes = unsafe { L::load(weights.add(v * LANES)) };
            }
            for (p, sums) in sums.iter_mut().enumerate() {
                // SAFETY: as above.
                let factor = unsafe { *from.add(p * patches.step + i) };
                for (sum, lanes) in sums.iter_mut().zip(lanes) {
                    *sum = sum.add_product(factor, lanes);
                }
            }
            weights = weights.wrapping_add(depth);
        }
    }
    sums
}

/// [`products`] for all places of a row: `to` [places][depth].
#[inline(always)]
fn row_of_products<L: Lanes>(patches: Patches, from: &[f32], weights: &[f32], depth: usize, to: &mut [f32]) {
    let count = to.len() / depth;
    if count == 0 {
        return;
    }
    let Patches { planes, plane_step, rows, run, row_step, step } = patches;
    let reach = (count - 1) * step + (planes - 1) * plane_step + (rows - 1) * row_step + run;
    assert!(reach <= from.len() && planes * rows * run * depth <= weights.len());
    assert!(depth.is_multiple_of(LANES) && count * depth == to.len());
    let (mut place, vectors) = (0, depth / LANES);
    while place < count {
        let at = from.as_ptr().wrapping_add(place * step);
        // As many places at once as there are registers for, then the rest by halves.
        let left = (count - place).min(L::PLACES);
        let places = 1usize << left.ilog2();
        let mut vector = 0;
        while vector < vectors {
            let weights = weights.as_ptr().wrapping_add(vector * LANES);
            let to = to.as_mut_ptr().wrapping_add(place * depth + vector * LANES);
            let both = L::VECTORS == 2 && vectors - vector >= 2;
            // SAFETY: the assertions keep the last patch, the last weight and the last sum inside their slices.
            unsafe {
                match (places, both) {
                    (8, true) => put(products::<L, 8, 2>(patches, at, weights, depth), to, depth),
                    (8, false) => put(products::<L, 8, 1>(patches, at, weights, depth), to, depth),
                    (4, true) => put(products::<L, 4, 2>(patches, at, weights, depth), to, depth),
                    (4, false) => put(products::<L, 4, 1>(patches, at, weights, depth), to, depth),
                    (2, true) => put(products::<L, 2, 2>(patches, at, weights, depth), to, depth),
                    (2, false) => put(products::<L, 2, 1>(patches, at, weights, depth), to, depth),
                    (_, true) => put(products::<L, 1, 2>(patches, at, weights, depth), to, depth),
                    (_, false) => put(products::<L, 1, 1>(patches, at, weights, depth), to, depth),
                }
            }
            vector += if both { 2 } else { 1 };
        }
        place += places;
    }
}

/// Writes sums, `depth` numbers apart.
///
/// # Safety
/// All of them can be written.
#[inline(always)]
unsafe fn put<L: Lanes, const P: usize, const V: usize>(sums: [[L; V]; P], to: *mut f32, depth: usize) {
    for (p, sums) in sums.into_iter().enumerate() {
        for (v, sum) in sums.into_iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { sum.store(to.add(p * depth + v * LANES)) };
        }
    }
}

/// All layers of one image; `framed` is the first one's input.
#[inline(always)]
pub(super) fn forward<L: Lanes>(stack: &Stack, framed: &[f32], layers: &[(Vec<f32>, Vec<f32>)], trace: &mut [f32]) {
    let mut rest = trace;
    let mut input: &[f32] = framed;
    for (index, (plan, (weights, bias))) in stack.plans.iter().zip(layers).enumerate() {
        // The output lies in the frame of the next layer's input, or as it is at the end.
        let (width, padding, size) = match stack.plans.get(index + 1) {
            Some(next) => (next.framed.1, next.layer.padding, next.input()),
            None => (plan.out_width, 0, plan.out_height * plan.out_width * plan.out_depth),
        };
        let (output, after) = std::mem::take(&mut rest).split_at_mut(size);
        let StackLayer { kernel, stride, .. } = plan.layer;
        let row_step = plan.framed.1 * plan.depth;
        let patches = Patches {
            planes: plan.planes,
            plane_step: plan.plane(),
            rows: kernel,
            run: plan.run(),
            row_step,
            step: stride * plan.depth,
        };
        let wide = plan.out_width * plan.out_depth;
        for y in 0..plan.out_height {
            let to = &mut output[((y + padding) * width + padding) * plan.out_depth..][..wide];
            row_of_products::<L>(patches, &input[y * stride * row_step..], weights, plan.out_depth, to);
            if plan.layer.residual {
                let same = &input[(y + plan.layer.padding) * row_step + plan.layer.padding * plan.depth..][..wide];
                to.iter_mut().zip(same).for_each(|(to, same)| *to += *same);
            }
            for to in to.chunks_exact_mut(plan.out_depth) {
                to.iter_mut().zip(bias).for_each(|(to, bias)| *to = (*to + bias).max(0.0));
            }
        }
        (input, rest) = (output, after);
    }
}

/// Gradients of one image are added to `work.sums`; the last layer's framed gradient is in `work.slopes` already.
#[inline(always)]
pub(super) fn backward<L: Lanes>(stack: &Stack, trace: &[f32], back: &[Vec<Vec<f32>>], work: &mut Work) {
    let mut end = trace.len() - stack.last().out_height * stack.last().out_width * stack.last().out_depth;
    for (index, plan) in stack.plans.iter().enumerate().rev() {
        let (before, here) = work.slopes.split_at_mut(index);
        let slope = here[0].as_slice();
        let input = if index == 0 {
            work.framed.as_slice()
        } else {
            end -= plan.input();
            &trace[end..end + plan.input()]
        };
        let (sum_weights, sum_bias) = &mut work.sums[index];
        weight_slopes::<L>(plan, input, slope, sum_weights, sum_bias);
        if let Some(to) = before.last_mut() {
            let plans = (plan, &stack.plans[index - 1]);
            input_slopes::<L>(plans, &back[index], input, slope, to, &mut work.row);
        }
    }
}

/// Adds gradients of packed weights and bias.
#[inline(always)]
fn weight_slopes<L: Lanes>(plan: &Plan, input: &[f32], slope: &[f32], weights: &mut [f32], bias: &mut [f32]) {
    let (_, slope_width, border) = plan.slope;
    let depth = plan.out_depth;
    let slope = &slope[(border * slope_width + border) * depth..];
    for y in 0..plan.out_height {
        for places in slope[y * slope_width * depth..][..plan.out_width * depth].chunks_exact(depth) {
            bias.iter_mut().zip(places).for_each(|(sum, value)| *sum += value);
        }
    }
    let (run, kernel) = (plan.run(), plan.layer.kernel);
    for row in 0..plan.planes * kernel {
        let mut i = 0;
        while i < run {
            let from = &input[row / kernel * plan.plane() + row % kernel * plan.framed.1 * plan.depth + i..];
            let to = &mut weights[(row * run + i) * depth..];
            let many = match run - i {
                8.. => 8,
                6.. => 6,
                4.. => 4,
                _ => 1,
            };
            let mut vector = 0;
            while vector < depth / LANES {
                let both = L::VECTORS == 2 && depth / LANES - vector >= 2;
                let (slope, to) = (&slope[vector * LANES..], &mut to[vector * LANES..]);
                match (many, both) {
                    (8, true) => outer_products::<L, 8, 2>(plan, from, slope, to),
                    (6, true) => outer_products::<L, 6, 2>(plan, from, slope, to),
                    (4, true) => outer_products::<L, 4, 2>(plan, from, slope, to),
                    (_, true) => outer_products::<L, 1, 2>(plan, from, slope, to),
                    (8, false) if L::PLACES == 8 => outer_products::<L, 8, 1>(plan, from, slope, to),
                    (8, false) => {
                        outer_products::<L, 4, 1>(plan, from, slope, to);
                        outer_products::<L, 4, 1>(plan, &from[4..], slope, &mut to[4 * depth..]);
                    }
                    (6, false) => outer_products::<L, 6, 1>(plan, from, slope, to),
                    (4, false) => outer_products::<L, 4, 1>(plan, from, slope, to),
                    (_, false) => outer_products::<L, 1, 1>(plan, from, slope, to),
                }
                vector += if both { 2 } else { 1 };
            }
            i += many;
        }
    }
}

/// Adds to `T` rows of the packed weights' gradient, of which `V` vectors count, the sum over all places.
#[inline(always)]
fn outer_products<L: Lanes, const T: usize, const V: usize>(plan: &Plan, from: &[f32], slope: &[f32], to: &mut [f32]) {
    let (depth, step) = (plan.out_depth, plan.layer.stride * plan.depth);
    let (row, slope_row) = (plan.layer.stride * plan.framed.1 * plan.depth, plan.slope.1 * depth);
    let (height, width) = (plan.out_height, plan.out_width);
    assert!((height - 1) * row + (width - 1) * step + T <= from.len());
    assert!((height - 1) * slope_row + (width - 1) * depth + V * LANES <= slope.len());
    assert!((T - 1) * depth + V * LANES <= to.len());
    let mut sums = [[L::zero(); V]; T];
    for y in 0..height {
        let from = from.as_ptr().wrapping_add(y * row);
        let slope = slope.as_ptr().wrapping_add(y * slope_row);
        for x in 0..width {
            let mut lanes = [L::zero(); V];
            for (v, lanes) in lanes.iter_mut().enumerate() {
                // SAFETY: the assertions keep the last place inside both slices.
                *lanes = unsafe { L::load(slope.add(x * depth + v * LANES)) };
            }
            for (t, sums) in sums.iter_mut().enumerate() {
                // SAFETY: as above.
                let factor = unsafe { *from.add(x * step + t) };
                for (sum, lanes) in sums.iter_mut().zip(lanes) {
                    *sum = sum.add_product(factor, lanes);
                }
            }
        }
    }
    for (t, sums) in sums.into_iter().enumerate() {
        for (v, sum) in sums.into_iter().enumerate() {
            let to = &mut to[t * depth + v * LANES..][..LANES];
            // SAFETY: `to` holds sixteen numbers.
            unsafe { L::load(to.as_ptr()).add_product(1.0, sum).store(to.as_mut_ptr()) };
        }
    }
}

/// Gradients of a layer's input, where it is above zero, into the frame of the layer before.
#[inline(always)]
fn input_slopes<L: Lanes>(
    (plan, before): (&Plan, &Plan),
    back: &[Vec<f32>],
    input: &[f32],
    slope: &[f32],
    to: &mut [f32],
    row_buffer: &mut Vec<f32>,
) {
    let StackLayer { stride, padding, .. } = plan.layer;
    let (_, slope_width, border) = plan.slope;
    let (_, to_width, to_border) = before.slope;
    let row_step = slope_width * plan.out_depth;
    for y in 0..plan.height {
        let (row, phase_y) = ((y + padding) / stride, (y + padding) % stride);
        for phase_x in 0..stride {
            // Columns of this phase: the first one and its number in the strided picture.
            let first = (phase_x + stride - padding % stride) % stride;
            if first >= plan.width {
                continue;
            }
            let (column, count) = ((first + padding) / stride, (plan.width - first).div_ceil(stride));
            let (rows, columns) = (plan.taps(phase_y), plan.taps(phase_x));
            row_buffer.clear();
            row_buffer.resize(count * plan.depth, 0.0);
            // A stride wider than the kernel leaves places that nothing looks at.
            if rows > 0 && columns > 0 {
                let at = ((row + border + 1 - rows) * slope_width + column + border + 1 - columns) * plan.out_depth;
                let run = columns * plan.out_depth;
                let patches = Patches { planes: 1, plane_step: 0, rows, run, row_step, step: plan.out_depth };
                let weights = &back[phase_y * stride + phase_x];
                row_of_products::<L>(patches, &slope[at..], weights, plan.depth, row_buffer);
            }
            if plan.layer.residual {
                let same = &slope[((y + border) * slope_width + border) * plan.out_depth..];
                row_buffer.iter_mut().zip(same).for_each(|(sum, same)| *sum += *same);
            }
            let input = &input[((y + padding) * plan.framed.1 + padding + first) * plan.depth..];
            let to = &mut to[((y + to_border) * to_width + to_border + first) * plan.depth..];
            let input = input.chunks(plan.depth).step_by(stride);
            let to = to.chunks_mut(plan.depth).step_by(stride);
            for ((to, input), values) in to.zip(input).zip(row_buffer.chunks_exact(plan.depth)) {
                for ((to, input), value) in to.iter_mut().zip(input).zip(values) {
                    *to = if *input > 0.0 { *value } else { 0.0 };
                }
            }
        }
    }
}
