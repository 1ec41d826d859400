//! The spatial softmax of Finn et al.: each channel of a feature map becomes the point its activation gathers at.

use crate::policy::nn::{Conv2d, buffer};
use burn::module::{Module, Param};
use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor, TensorData};

/// Feature maps to key points.
#[derive(Module, Debug)]
pub struct SpatialSoftmax {
    nets: Conv2d,
    /// Coordinates x, y of each cell from -1 to 1, row by row: `[height * width, 2]`.
    pos_grid: Param<Tensor<2>>,
}

impl SpatialSoftmax {
    /// For maps of `[channels, height, width]`.
    pub fn new(channels: usize, [height, width]: [usize; 2], points: usize, device: &Device) -> Self {
        let coordinate = |i: usize, n: usize| if n > 1 { -1.0 + 2.0 * i as f64 / (n - 1) as f64 } else { -1.0 };
        let grid: Vec<f32> = (0..height * width)
            .flat_map(|cell| [coordinate(cell % width, width) as f32, coordinate(cell / width, height) as f32])
            .collect();
        Self {
            nets: Conv2d::new(channels, points, 1, 1, 0, device),
            pos_grid: buffer(Tensor::from_data(TensorData::new(grid, [height * width, 2]), device)),
        }
    }

    /// `[batch, channels, height, width]` to `[batch, 2 points]`, x and y of each point in turn.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = self.nets.forward(x);
        let [batch, points, height, width] = x.dims();
        let attention = softmax(x.reshape([batch * points, height * width]), 1);
        attention.matmul(self.pos_grid.val()).reshape([batch, 2 * points])
    }
}
