//! A stack of convolutions, each followed by max(0, ·), forward and backward, image by image in the core's own cache. The
//! network of the small policy spends most of its time here: nothing is unfolded or packed for a matrix product, channels
//! are the lanes of the vector unit, and what lies between the layers is never written out for the whole batch.
//!
//! Every number is a sum in an order that depends on neither threads nor batch; between kinds of processors the last bits
//! differ.

mod kernels;
mod lanes;
mod machine;

use machine::Machine;
use rayon::prelude::*;

/// Channels are padded to a multiple of this: one AVX-512 register.
const LANES: usize = 16;
/// Images are shared out in this many parts when gradients of the weights are summed.
const SHARES: usize = 8;

/// One convolution: square kernel, the same stride and zero padding both ways, then max(0, ·).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StackLayer {
    /// Output channels.
    pub out: usize,
    /// Side of the kernel.
    pub kernel: usize,
    /// Stride.
    pub stride: usize,
    /// Zero padding.
    pub padding: usize,
    /// Adds the input before the cut; it has to have the size of the output.
    pub residual: bool,
}

/// Sizes of a layer in memory. Pictures are channel-last with a border, and channels padded to [`LANES`], but for the input.
#[derive(Clone, Debug)]
struct Plan {
    layer: StackLayer,
    channels: usize,
    height: usize,
    width: usize,
    out_height: usize,
    out_width: usize,
    /// Numbers a place of the input takes: its channels and padding, or 1 where each channel is a plane of its own.
    depth: usize,
    /// Planes of the input: the channels of the first layer, else 1.
    planes: usize,
    /// Numbers a place of the output takes.
    out_depth: usize,
    /// Height and width of the input with its border.
    framed: (usize, usize),
    /// Height and width of the output's gradient with a border, and the border above and left.
    slope: (usize, usize, usize),
}

impl Plan {
    /// Numbers in one row of a patch.
    fn run(&self) -> usize {
        self.layer.kernel * self.depth
    }

    /// Numbers in the packed weights.
    fn packed(&self) -> usize {
        self.planes * self.layer.kernel * self.run() * self.out_depth
    }

    /// Numbers in the framed input.
    fn input(&self) -> usize {
        self.planes * self.plane()
    }

    /// Numbers in a plane of the framed input.
    fn plane(&self) -> usize {
        self.framed.0 * self.framed.1 * self.depth
    }

    /// Numbers in the weights and in weights and biases.
    fn weights(&self) -> usize {
        self.layer.out * self.channels * self.layer.kernel * self.layer.kernel
    }

    /// Kernel rows (or columns) that meet input rows of a phase of the stride.
    fn taps(&self, phase: usize) -> usize {
        (self.layer.kernel.saturating_sub(phase)).div_ceil(self.layer.stride)
    }

    /// Where the weight of one kernel place, input and output channel is in the parameters.
    fn weight_at(&self, out: usize, channel: usize, y: usize, x: usize) -> usize {
        ((out * self.channels + channel) * self.layer.kernel + y) * self.layer.kernel + x
    }

    /// Weights as [plane][kernel row][kernel column][input channel][output channel].
    fn pack(&self, weights: &[f32]) -> Vec<f32> {
        let mut packed = vec![0.0; self.packed()];
        self.each_weight(|from, to| packed[to] = weights[from]);
        packed
    }

    /// Calls `visit` with the place of every weight in the parameters and in the packed form.
    fn each_weight(&self, mut visit: impl FnMut(usize, usize)) {
        let k = self.layer.kernel;
        for out in 0..self.layer.out {
            for channel in 0..self.channels {
                for y in 0..k {
                    for x in 0..k {
                        let (plane, lane) = if self.planes > 1 { (channel, 0) } else { (0, channel) };
                        let to = (((plane * k + y) * k + x) * self.depth + lane) * self.out_depth + out;
                        visit(self.weight_at(out, channel, y, x), to);
                    }
                }
            }
        }
    }

    /// For each phase of rows and columns the weights that lead back from the output to it: [row][column][output channel]
    /// [input channel], rows and columns from the last to the first.
    fn pack_back(&self, weights: &[f32]) -> Vec<Vec<f32>> {
        let stride = self.layer.stride;
        let phases = (0..stride * stride).map(|phase| (phase / stride, phase % stride));
        phases
            .map(|(row, column)| {
                let (rows, columns) = (self.taps(row), self.taps(column));
                let mut packed = vec![0.0; rows * columns * self.out_depth * self.depth];
                for (y, x) in (0..rows).flat_map(|y| (0..columns).map(move |x| (y, x))) {
                    let from = (row + (rows - 1 - y) * stride, column + (columns - 1 - x) * stride);
                    for out in 0..self.layer.out {
                        let to = ((y * columns + x) * self.out_depth + out) * self.depth;
                        for channel in 0..self.channels {
                            packed[to + channel] = weights[self.weight_at(out, channel, from.0, from.1)];
                        }
                    }
                }
                packed
            })
            .collect()
    }
}

/// A stack for pictures of one size.
#[derive(Clone, Debug)]
pub struct Stack {
    plans: Vec<Plan>,
    /// What is taken from every number of a picture.
    shift: f32,
}

/// What one image leaves behind for its gradients: the framed input of every layer but the first, and the output.
type Trace = Vec<f32>;

impl Stack {
    /// For pictures of so many channels and this height and width, from whose numbers `shift` is taken first. `None` where a
    /// kernel is larger than what it looks at, a residual does not fit or is the first, or there are no layers.
    pub fn new(channels: usize, (height, width): (usize, usize), shift: f32, layers: &[StackLayer]) -> Option<Self> {
        let (mut channels, mut height, mut width) = (channels, height, width);
        let (mut planes, mut depth) = (channels, 1);
        let mut plans = Vec::new();
        for layer in layers {
            let StackLayer { out, kernel, stride, padding, residual } = *layer;
            let framed = (height + 2 * padding, width + 2 * padding);
            if kernel == 0 || stride == 0 || out == 0 || channels == 0 || framed.0.min(framed.1) < kernel {
                return None;
            }
            let (out_height, out_width) = ((framed.0 - kernel) / stride + 1, (framed.1 - kernel) / stride + 1);
            let same = !plans.is_empty() && (out, out_height, out_width) == (channels, height, width) && stride == 1;
            if residual && !same {
                return None;
            }
            let out_depth = out.next_multiple_of(LANES);
            // Every phase of the stride reaches as far back as the largest kernel share, and forward over all of the input.
            let border = kernel.div_ceil(stride) - 1;
            let side = |framed: usize, out: usize| border + framed.div_ceil(stride).max(out);
            let slope = (side(framed.0, out_height), side(framed.1, out_width), border);
            let layer = *layer;
            plans.push(Plan {
                layer,
                channels,
                height,
                width,
                out_height,
                out_width,
                depth,
                planes,
                out_depth,
                framed,
                slope,
            });
            (channels, height, width) = (out, out_height, out_width);
            (planes, depth) = (1, out_depth);
        }
        (!plans.is_empty()).then_some(Self { plans, shift })
    }

    /// Numbers in all weights and biases: for each layer `[out, in, kernel, kernel]`, then `[out]`.
    pub fn parameters(&self) -> usize {
        self.plans.iter().map(|plan| plan.weights() + plan.layer.out).sum()
    }

    /// Channels, height and width of the output.
    pub fn output(&self) -> (usize, usize, usize) {
        self.plans.last().map_or((0, 0, 0), |last| (last.layer.out, last.out_height, last.out_width))
    }

    /// Numbers kept of an image for [`Self::backward`].
    pub fn trace(&self) -> usize {
        let framed: usize = self.plans[1..].iter().map(Plan::input).sum();
        framed + self.last().out_height * self.last().out_width * self.last().out_depth
    }

    fn last(&self) -> &Plan {
        &self.plans[self.plans.len() - 1]
    }

    fn image(&self) -> usize {
        self.plans[0].channels * self.plans[0].height * self.plans[0].width
    }

    fn outputs(&self) -> usize {
        let (channels, height, width) = self.output();
        channels * height * width
    }

    /// Weights and biases of every layer in `parameters`.
    fn parts<'a>(&self, parameters: &'a [f32]) -> Vec<(&'a [f32], &'a [f32])> {
        let mut rest = parameters;
        let mut parts = Vec::new();
        for plan in &self.plans {
            let (weights, after) = rest.split_at(plan.weights());
            let (bias, after) = after.split_at(plan.layer.out);
            parts.push((weights, bias));
            rest = after;
        }
        parts
    }

    /// `images`: [count, channels, height, width]. The output [count, channels, height, width] and, with `keep`, what
    /// [`Self::backward`] needs.
    pub fn forward(&self, images: &[f32], parameters: &[f32], keep: bool) -> (Vec<f32>, Vec<f32>) {
        self.forward_on(Machine::find(), images, parameters, keep)
    }

    fn forward_on(&self, machine: Machine, images: &[f32], parameters: &[f32], keep: bool) -> (Vec<f32>, Vec<f32>) {
        let count = images.len() / self.image();
        let mut outputs = vec![0.0; count * self.outputs()];
        let mut traces = vec![0.0; if keep { count * self.trace() } else { 0 }];
        let layers: Vec<(Vec<f32>, Vec<f32>)> = self
            .plans
            .iter()
            .zip(self.parts(parameters))
            .map(|(plan, (weights, bias))| {
                let mut padded = bias.to_vec();
                padded.resize(plan.out_depth, 0.0);
                (plan.pack(weights), padded)
            })
            .collect();
        let mut kept: Vec<&mut [f32]> = traces.chunks_mut(self.trace()).collect();
        kept.resize_with(count, Default::default);
        let images = images.par_chunks_exact(self.image());
        images.zip(outputs.par_chunks_exact_mut(self.outputs())).zip(kept).for_each_init(
            || (vec![0.0; self.plans[0].input()], Trace::new()),
            |(framed, own), ((image, output), trace)| {
                self.frame(image, framed);
                let trace = if trace.is_empty() {
                    own.resize(self.trace(), 0.0);
                    own.as_mut_slice()
                } else {
                    trace
                };
                machine.forward(self, framed, &layers, trace);
                self.flatten(trace, output);
            },
        );
        (outputs, traces)
    }

    /// Gradients of the parameters: `slopes` [count, channels, height, width] are those of the output.
    pub fn backward(&self, images: &[f32], parameters: &[f32], traces: &[f32], slopes: &[f32]) -> Vec<f32> {
        self.backward_on(Machine::find(), images, parameters, traces, slopes)
    }

    fn backward_on(
        &self,
        machine: Machine,
        images: &[f32],
        parameters: &[f32],
        traces: &[f32],
        slopes: &[f32],
    ) -> Vec<f32> {
        let count = images.len() / self.image();
        let share = count.div_ceil(SHARES).max(1);
        let back: Vec<Vec<Vec<f32>>> = self
            .plans
            .iter()
            .zip(self.parts(parameters))
            .enumerate()
            .map(|(index, (plan, (weights, _)))| if index == 0 { Vec::new() } else { plan.pack_back(weights) })
            .collect();
        let sums: Vec<Vec<(Vec<f32>, Vec<f32>)>> = (0..count.div_ceil(share))
            .into_par_iter()
            .map(|number| {
                let mut work = Work::new(self);
                for image in number * share..((number + 1) * share).min(count) {
                    self.frame(&images[image * self.image()..][..self.image()], &mut work.framed);
                    let trace = &traces[image * self.trace()..][..self.trace()];
                    self.unflatten(&slopes[image * self.outputs()..][..self.outputs()], trace, &mut work);
                    machine.backward(self, trace, &back, &mut work);
                }
                work.sums
            })
            .collect();
        let mut gradients = Vec::with_capacity(self.parameters());
        for (index, plan) in self.plans.iter().enumerate() {
            let (mut weights, mut bias) = (vec![0.0; plan.packed()], vec![0.0; plan.out_depth]);
            for part in &sums {
                weights.iter_mut().zip(&part[index].0).for_each(|(sum, part)| *sum += part);
                bias.iter_mut().zip(&part[index].1).for_each(|(sum, part)| *sum += part);
            }
            let at = gradients.len();
            gradients.resize(at + plan.weights(), 0.0);
            plan.each_weight(|to, from| gradients[at + to] = weights[from]);
            gradients.extend_from_slice(&bias[..plan.layer.out]);
        }
        gradients
    }

    /// Puts a picture [channels, height, width] into its frame. The border stays zero.
    fn frame(&self, image: &[f32], framed: &mut [f32]) {
        let plan = &self.plans[0];
        let padding = plan.layer.padding;
        let planes = framed.chunks_exact_mut(plan.plane()).zip(image.chunks_exact(plan.height * plan.width));
        for (framed, image) in planes {
            let rows = framed.chunks_exact_mut(plan.framed.1).skip(padding).zip(image.chunks_exact(plan.width));
            for (to, from) in rows {
                to[padding..].iter_mut().zip(from).for_each(|(to, from)| *to = *from - self.shift);
            }
        }
    }

    /// The output at the end of a trace as [channels, height, width].
    fn flatten(&self, trace: &[f32], output: &mut [f32]) {
        let last = self.last();
        let places = last.out_height * last.out_width;
        let from = &trace[trace.len() - places * last.out_depth..];
        for (channel, to) in output.chunks_exact_mut(places).enumerate() {
            for (place, to) in to.iter_mut().enumerate() {
                *to = from[place * last.out_depth + channel];
            }
        }
    }

    /// Gradients of the output go, where it is above zero, into the last layer's frame.
    fn unflatten(&self, slopes: &[f32], trace: &[f32], work: &mut Work) {
        let last = self.last();
        let places = last.out_height * last.out_width;
        let from = &trace[trace.len() - places * last.out_depth..];
        let Some(to) = work.slopes.last_mut() else { return };
        let (_, width, border) = last.slope;
        for y in 0..last.out_height {
            for x in 0..last.out_width {
                let place = y * last.out_width + x;
                let to = &mut to[((y + border) * width + x + border) * last.out_depth..][..last.layer.out];
                for (channel, to) in to.iter_mut().enumerate() {
                    let open = from[place * last.out_depth + channel] > 0.0;
                    *to = if open { slopes[channel * places + place] } else { 0.0 };
                }
            }
        }
    }
}

/// Buffers of a thread for gradients.
struct Work {
    framed: Vec<f32>,
    /// For each layer the framed gradient of its output.
    slopes: Vec<Vec<f32>>,
    /// For each layer the sums of the gradients of packed weights and bias.
    sums: Vec<(Vec<f32>, Vec<f32>)>,
    /// A row on its way back.
    row: Vec<f32>,
}

impl Work {
    fn new(stack: &Stack) -> Self {
        Self {
            framed: vec![0.0; stack.plans[0].input()],
            slopes: stack.plans.iter().map(|plan| vec![0.0; plan.slope.0 * plan.slope.1 * plan.out_depth]).collect(),
            sums: stack.plans.iter().map(|plan| (vec![0.0; plan.packed()], vec![0.0; plan.out_depth])).collect(),
            row: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All kinds of processors that this one can stand in for.
    fn machines() -> Vec<Machine> {
        let mut machines = vec![Machine::Any];
        #[cfg(target_arch = "x86_64")]
        {
            if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
                machines.push(Machine::Avx2);
            }
            if std::arch::is_x86_feature_detected!("avx512f") {
                machines.push(Machine::Avx512);
            }
        }
        machines
    }

    #[test]
    fn every_kind_of_processor_computes_the_same() {
        let layer = |out, kernel, stride, padding| StackLayer { out, kernel, stride, padding, residual: false };
        let layers = [
            layer(16, 6, 3, 2),
            layer(40, 4, 2, 1),
            StackLayer { residual: true, ..layer(40, 3, 1, 1) },
            layer(70, 3, 2, 1),
        ];
        // Widths of 25, 12 and 6 places: whole groups and what is left of them.
        let stack = Stack::new(3, (60, 75), 0.5, &layers).unwrap();
        let mut state = 1u32;
        let mut random = |_: usize| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / 16_777_216.0 - 0.5
        };
        let images: Vec<f32> = (0..9 * 3 * 60 * 75).map(&mut random).collect();
        let parameters: Vec<f32> = (0..stack.parameters()).map(|i| 0.3 * random(i)).collect();
        let (plain, _) = stack.forward_on(Machine::Any, &images, &parameters, false);
        let slopes: Vec<f32> = (0..plain.len()).map(&mut random).collect();
        let (_, traces) = stack.forward_on(Machine::Any, &images, &parameters, true);
        let gradient = stack.backward_on(Machine::Any, &images, &parameters, &traces, &slopes);
        let near = |a: &[f32], b: &[f32]| {
            let largest = a.iter().fold(0.0f32, |most, a| most.max(a.abs()));
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4 * largest)
        };
        assert!(plain.iter().any(|value| *value > 0.0) && gradient.iter().any(|value| value.abs() > 0.01));
        for machine in machines() {
            let (output, _) = stack.forward_on(machine, &images, &parameters, false);
            assert!(near(&plain, &output), "forward on {machine:?}");
            // The same traces: a last bit decides over what was cut.
            let other = stack.backward_on(machine, &images, &parameters, &traces, &slopes);
            assert!(near(&gradient, &other), "backward on {machine:?}");
        }
    }
}
