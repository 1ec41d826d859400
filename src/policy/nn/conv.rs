//! Convolutions. Those over time are matrix products: burn's own are five times slower on a CPU.

use super::uniform;
use crate::policy::conv::{Stride, conv2d};
use burn::module::{Module, Param};
use burn::tensor::activation::relu;
use burn::tensor::ops::{ConvOptions, MaxPoolOptions};
use burn::tensor::{Device, Tensor};

/// Convolution of pictures, square kernel, the same padding on all sides.
#[derive(Module, Debug)]
pub struct Conv2d {
    /// `[out, in, kernel, kernel]`.
    pub weight: Param<Tensor<4>>,
    /// `[out]`.
    pub bias: Option<Param<Tensor<1>>>,
    stride: usize,
    padding: usize,
}

impl Conv2d {
    /// With PyTorch's initial values and a bias.
    pub fn new(input: usize, output: usize, kernel: usize, stride: usize, padding: usize, device: &Device) -> Self {
        let bound = 1.0 / ((input * kernel * kernel) as f64).sqrt();
        let weight = uniform([output, input, kernel, kernel], bound, device);
        Self { weight, bias: Some(uniform([output], bound, device)), stride, padding }
    }

    /// Without a bias; the weight normal with variance 2 / (output * kernel²), torchvision's choice for ResNets.
    pub fn for_norm(
        input: usize,
        output: usize,
        kernel: usize,
        stride: usize,
        padding: usize,
        device: &Device,
    ) -> Self {
        let std = (2.0 / (output * kernel * kernel) as f64).sqrt();
        Self { weight: super::normal([output, input, kernel, kernel], std, device), bias: None, stride, padding }
    }

    /// `[batch, in, height, width]` to `[batch, out, ..]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.run(x, self.weight.val(), self.bias.as_ref().map(Param::val), false)
    }

    /// The same, and negative numbers become 0.
    pub fn forward_relu(&self, x: Tensor<4>) -> Tensor<4> {
        self.run(x, self.weight.val(), self.bias.as_ref().map(Param::val), true)
    }

    /// The convolution followed by `y * scale + shift` for each output channel, both folded into the kernel, and by
    /// max(0, ·) if `cuts_negatives`.
    pub fn forward_scaled(&self, x: Tensor<4>, scale: Tensor<1>, shift: Tensor<1>, cuts_negatives: bool) -> Tensor<4> {
        let [output, _, _, _] = self.weight.shape().dims();
        let shift = match &self.bias {
            Some(bias) => bias.val() * scale.clone() + shift,
            None => shift,
        };
        self.run(x, self.weight.val() * scale.reshape([output, 1, 1, 1]), Some(shift), cuts_negatives)
    }

    fn run(&self, x: Tensor<4>, weight: Tensor<4>, bias: Option<Tensor<1>>, cuts_negatives: bool) -> Tensor<4> {
        // Equality of devices looks through gradients.
        if x.device() == Device::flex() {
            let bias = bias.unwrap_or_else(|| Tensor::zeros([weight.dims()[0]], &x.device()));
            let stride = Stride { step: self.stride, padding: self.padding, relu: cuts_negatives };
            return conv2d(x, weight, bias, stride);
        }
        let [stride, padding] = [[self.stride; 2], [self.padding; 2]];
        let y = burn::tensor::module::conv2d(x, weight, bias, ConvOptions::new(stride, padding, [1, 1], 1));
        if cuts_negatives { relu(y) } else { y }
    }
}

/// The largest of 3x3 pixels, every second pixel, as after a ResNet's first layer.
pub fn max_pool_3x3(x: Tensor<4>) -> Tensor<4> {
    burn::tensor::module::max_pool2d(x, MaxPoolOptions::new([3, 3]).with_stride([2, 2]).with_padding([1, 1]))
}

/// Convolution over time.
#[derive(Module, Debug)]
pub struct Conv1d {
    /// `[out, in, kernel]`.
    pub weight: Param<Tensor<3>>,
    /// `[out]`.
    pub bias: Param<Tensor<1>>,
    stride: usize,
    padding: usize,
}

impl Conv1d {
    /// With PyTorch's initial values.
    pub fn new(input: usize, output: usize, kernel: usize, stride: usize, padding: usize, device: &Device) -> Self {
        let bound = 1.0 / ((input * kernel) as f64).sqrt();
        let weight = uniform([output, input, kernel], bound, device);
        Self { weight, bias: uniform([output], bound, device), stride, padding }
    }

    /// `[batch, time, in]` to `[batch, time', out]`: channels last, so that each tap of the kernel is a slice of the
    /// input and the whole is one matrix product.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [output, input, kernel] = self.weight.shape().dims();
        let [batch, time, _] = x.dims();
        let length = (time + 2 * self.padding - kernel) / self.stride + 1;
        let columns = if kernel == 1 && self.stride == 1 {
            x
        } else {
            let x = pad_time(x, self.padding, self.padding + self.stride - 1);
            let tap = |k: usize| every(x.clone(), k, self.stride, length);
            Tensor::cat((0..kernel).map(tap).collect(), 2)
        };
        // Columns run tap by tap, channels inside a tap.
        let weight = self.weight.val().permute([2, 1, 0]).reshape([kernel * input, output]);
        let y = columns.reshape([batch * length, kernel * input]).matmul(weight) + self.bias.val().unsqueeze::<2>();
        y.reshape([batch, length, output])
    }
}

/// The transposed convolution that doubles the length of a sequence: kernel 4, stride 2, padding 1.
#[derive(Module, Debug)]
pub struct ConvTranspose1d {
    /// `[in, out, 4]`.
    pub weight: Param<Tensor<3>>,
    /// `[out]`.
    pub bias: Param<Tensor<1>>,
}

impl ConvTranspose1d {
    /// With PyTorch's initial values.
    pub fn new(channels: usize, device: &Device) -> Self {
        let bound = 1.0 / ((channels * 4) as f64).sqrt();
        Self { weight: uniform([channels, channels, 4], bound, device), bias: uniform([channels], bound, device) }
    }

    /// `[batch, time, channels]` to `[batch, 2 time, channels]`.
    ///
    /// Output 2t sees tap 1 of input t and tap 3 of input t-1, output 2t+1 tap 2 of input t and tap 0 of input t+1: two
    /// products with pairs of neighbours, interleaved.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, time, channels] = x.dims();
        let x = pad_time(x, 1, 1);
        let weight = self.weight.val(); // [in, out, 4]
        let tap = |k: usize| weight.clone().narrow(2, k, 1).reshape([channels, channels]);
        let pair = |first: usize, taps: [usize; 2]| {
            let columns = Tensor::cat(vec![x.clone().narrow(1, first, time), x.clone().narrow(1, first + 1, time)], 2);
            let weight = Tensor::cat(taps.map(tap).to_vec(), 0);
            columns.reshape([batch * time, 2 * channels]).matmul(weight).reshape([batch, time, 1, channels])
        };
        let even = pair(0, [3, 1]);
        let odd = pair(1, [2, 0]);
        let y: Tensor<4> = Tensor::cat(vec![even, odd], 2);
        y.reshape([batch, 2 * time, channels]) + self.bias.val().unsqueeze::<3>()
    }
}

/// Zeros before and after, in time.
fn pad_time(x: Tensor<3>, before: usize, after: usize) -> Tensor<3> {
    let [batch, _, channels] = x.dims();
    let zeros = |n: usize| Tensor::zeros([batch, n, channels], &x.device());
    let mut parts = Vec::new();
    if before > 0 {
        parts.push(zeros(before));
    }
    parts.push(x.clone());
    if after > 0 {
        parts.push(zeros(after));
    }
    Tensor::cat(parts, 1)
}

/// `length` rows from row `start` on, `step` apart.
fn every(x: Tensor<3>, start: usize, step: usize, length: usize) -> Tensor<3> {
    let [batch, _, channels] = x.dims();
    if step == 1 {
        return x.narrow(1, start, length);
    }
    x.narrow(1, start, length * step).reshape([batch, length, step * channels]).narrow(2, 0, channels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Distribution;
    use burn::tensor::ops::ConvTransposeOptions;

    fn far(a: Tensor<3>, b: Tensor<3>) -> f32 {
        (a - b).abs().max().into_scalar::<f32>()
    }

    #[test]
    fn convolution_over_time_is_burns_own() {
        let device = Device::flex();
        for (kernel, stride, padding) in [(5, 1, 2), (3, 2, 1), (1, 1, 0)] {
            let conv = Conv1d::new(3, 7, kernel, stride, padding, &device);
            let x = Tensor::<3>::random([2, 8, 3], Distribution::Default, &device);
            let options = ConvOptions::new([stride], [padding], [1], 1);
            let expected = burn::tensor::module::conv1d(
                x.clone().swap_dims(1, 2),
                conv.weight.val(),
                Some(conv.bias.val()),
                options,
            );
            assert!(far(conv.forward(x), expected.swap_dims(1, 2)) < 1e-5, "kernel {kernel}");
        }
    }

    #[test]
    fn doubling_over_time_is_burns_own() {
        let device = Device::flex();
        let conv = ConvTranspose1d::new(5, &device);
        let x = Tensor::<3>::random([2, 6, 5], Distribution::Default, &device);
        let options = ConvTransposeOptions::new([2], [1], [0], [1], 1);
        let expected = burn::tensor::module::conv_transpose1d(
            x.clone().swap_dims(1, 2),
            conv.weight.val(),
            Some(conv.bias.val()),
            options,
        );
        assert!(far(conv.forward(x), expected.swap_dims(1, 2)) < 1e-5);
    }
}
