//! [`Stack`] as an operation of burn on the Flex backend, with its gradient. It joins burn as a backend extension.

use super::stack::Stack;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{Bytes, DType, Shape, Tensor};
use burn_flex::{FlexTensor, Layout};

/// What a backend needs for [`conv_stack`].
#[backend_extension(Flex, Autodiff)]
pub trait ConvStack: Backend {
    /// See [`conv_stack`]; also what its gradient needs if `keep`, else a single zero.
    fn stack_forward(
        x: FloatTensor<Self>,
        parameters: FloatTensor<Self>,
        stack: Stack,
        keep: bool,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// Gradient of the parameters.
    fn stack_backward(
        x: FloatTensor<Self>,
        parameters: FloatTensor<Self>,
        trace: FloatTensor<Self>,
        slope: FloatTensor<Self>,
        stack: Stack,
    ) -> FloatTensor<Self>;
}

/// The output of a stack [images, channels * height * width] for pictures `x` [images, channels, height, width] and all
/// its weights and biases, one after the other, as [`Stack::parameters`] counts them. Pictures get no gradient. f32 on the
/// Flex backend.
pub fn conv_stack(x: Tensor<4>, parameters: Tensor<1>, stack: &Stack) -> Tensor<2> {
    let (y, _) = Dispatch::stack_forward(x.into_dispatch(), parameters.into_dispatch(), stack.clone(), false);
    Tensor::from_dispatch(y)
}

#[derive(Debug)]
struct StackBackward;

impl<B: ConvStack> Backward<B, 1> for StackBackward {
    /// Pictures, parameters, trace.
    type State = (B::FloatTensorPrimitive, B::FloatTensorPrimitive, B::FloatTensorPrimitive, Stack);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let [node] = ops.parents;
        let slope = grads.consume::<B>(&ops.node);
        let (x, parameters, trace, stack) = ops.state;
        if let Some(node) = node {
            grads.register::<B>(node.id, B::stack_backward(x, parameters, trace, slope, stack));
        }
    }
}

impl<B: ConvStack, C: CheckpointStrategy> ConvStack for Autodiff<B, C> {
    fn stack_forward(
        x: FloatTensor<Self>,
        parameters: FloatTensor<Self>,
        stack: Stack,
        _keep: bool,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let x = x.into_primitive();
        match StackBackward.prepare::<C>([parameters.node()]).compute_bound().stateful() {
            OpsKind::Tracked(preparation) => {
                let parameters = parameters.into_primitive();
                let (y, trace) = B::stack_forward(x.clone(), parameters.clone(), stack.clone(), true);
                let y = preparation.finish((x, parameters, trace.clone(), stack), y);
                (y, Self::from_inner(trace))
            }
            OpsKind::UnTracked(preparation) => {
                let (y, trace) = B::stack_forward(x, parameters.into_primitive(), stack, false);
                (preparation.finish(y), Self::from_inner(trace))
            }
        }
    }

    /// Second derivatives: not needed here, and not tracked.
    fn stack_backward(
        x: FloatTensor<Self>,
        parameters: FloatTensor<Self>,
        trace: FloatTensor<Self>,
        slope: FloatTensor<Self>,
        stack: Stack,
    ) -> FloatTensor<Self> {
        let slope = slope.into_primitive();
        let (parameters, trace) = (parameters.into_primitive(), trace.into_primitive());
        Self::from_inner(B::stack_backward(x.into_primitive(), parameters, trace, slope, stack))
    }
}

fn tensor(values: Vec<f32>, shape: Vec<usize>) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(Shape::from(shape)), DType::F32)
}

impl ConvStack for Flex {
    fn stack_forward(x: FlexTensor, parameters: FlexTensor, stack: Stack, keep: bool) -> (FlexTensor, FlexTensor) {
        let (x, parameters) = (x.to_contiguous(), parameters.to_contiguous());
        let (y, mut trace) = stack.forward(x.storage::<f32>(), parameters.storage::<f32>(), keep);
        let (channels, height, width) = stack.output();
        let wide = channels * height * width;
        let rows = y.len() / wide;
        if !keep {
            trace = vec![0.0];
        }
        let kept = vec![trace.len()];
        (tensor(y, vec![rows, wide]), tensor(trace, kept))
    }

    fn stack_backward(
        x: FlexTensor,
        parameters: FlexTensor,
        trace: FlexTensor,
        slope: FlexTensor,
        stack: Stack,
    ) -> FlexTensor {
        let (x, parameters) = (x.to_contiguous(), parameters.to_contiguous());
        let (trace, slope) = (trace.to_contiguous(), slope.to_contiguous());
        let (images, weights) = (x.storage::<f32>(), parameters.storage::<f32>());
        let gradient = stack.backward(images, weights, trace.storage::<f32>(), slope.storage::<f32>());
        let count = gradient.len();
        tensor(gradient, vec![count])
    }
}

#[cfg(test)]
mod tests {
    use super::super::conv::{Stride, conv2d};
    use super::super::stack::StackLayer;
    use super::*;
    use burn::tensor::activation::relu;
    use burn::tensor::{Device, Distribution};

    /// The stack and one convolution after the other agree, forward and in every gradient.
    #[test]
    fn agrees_with_single_convolutions() {
        let device = Device::flex().autodiff();
        let layer = |out, kernel, stride, padding| StackLayer { out, kernel, stride, padding, residual: false };
        let residual = |out| StackLayer { residual: true, ..layer(out, 3, 1, 1) };
        let cases = [
            ((96, 96), 3, vec![layer(16, 6, 3, 2), layer(32, 4, 2, 1), residual(32), layer(64, 3, 2, 1)]),
            // Sides that leave rests, channels that fill no register, a kernel smaller than its stride, several registers.
            ((37, 50), 3, vec![layer(5, 5, 2, 0), layer(20, 3, 1, 2), layer(50, 2, 3, 0), layer(3, 1, 1, 0)]),
            ((11, 9), 1, vec![layer(48, 4, 3, 3), residual(48), layer(33, 3, 2, 1)]),
        ];
        for ((height, width), channels, layers) in cases {
            let stack = Stack::new(channels, (height, width), 0.25, &layers).unwrap();
            let x = Tensor::<4>::random([9, channels, height, width], Distribution::Normal(0.0, 1.0), &device);
            let parameters =
                Tensor::<1>::random([stack.parameters()], Distribution::Normal(0.0, 0.1), &device).require_grad();
            let ours = conv_stack(x.clone(), parameters.clone(), &stack);
            let (mut y, mut at, mut inputs) = (x.sub_scalar(0.25), 0, channels);
            for layer in &layers {
                let count = layer.out * inputs * layer.kernel * layer.kernel;
                let weight = parameters.clone().narrow(0, at, count);
                let weight = weight.reshape([layer.out, inputs, layer.kernel, layer.kernel]);
                let bias = parameters.clone().narrow(0, at + count, layer.out);
                let before = y.clone();
                y = conv2d(y, weight, bias, Stride { step: layer.stride, padding: layer.padding, relu: false });
                y = relu(if layer.residual { y + before } else { y });
                (at, inputs) = (at + count + layer.out, layer.out);
            }
            let theirs: Tensor<2> = y.flatten(1, 3);
            let difference = (ours.clone() - theirs.clone()).abs().max().into_scalar::<f32>();
            assert!(difference < 1e-4, "forward of {layers:?}: {difference}");
            let weigh = Tensor::<2>::random(ours.dims(), Distribution::Normal(0.0, 1.0), &device);
            let (ours, theirs) = ((ours * weigh.clone()).sum().backward(), (theirs * weigh).sum().backward());
            let (a, b) = (parameters.grad(&ours).unwrap(), parameters.grad(&theirs).unwrap());
            let largest = b.clone().abs().max().into_scalar::<f32>();
            let difference = (a - b).abs().max().into_scalar::<f32>();
            assert!(difference < 1e-4 * largest.max(1.0), "gradient of {layers:?}: {difference} of {largest}");
        }
    }
}
