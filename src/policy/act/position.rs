//! Fixed position vectors of sines and cosines.

use burn::tensor::{Device, Tensor, TensorData};
use std::f64::consts::TAU;

const BASE: f64 = 10_000.0;

/// Element `j` of `width` of the vector of a position: sine at even, cosine at odd places.
fn element(position: f64, j: usize, width: usize) -> f32 {
    let angle = position / BASE.powf(2.0 * (j / 2) as f64 / width as f64);
    (if j.is_multiple_of(2) { angle.sin() } else { angle.cos() }) as f32
}

/// Of places in a sequence: `[1, length, width]`.
pub fn of_sequence(length: usize, width: usize, device: &Device) -> Tensor<3> {
    let values: Vec<f32> = (0..length).flat_map(|i| (0..width).map(move |j| element(i as f64, j, width))).collect();
    Tensor::from_data(TensorData::new(values, [1, length, width]), device)
}

/// Of cells of a feature map, row by row: `[1, rows * columns, width]`; the first half of each vector tells the row,
/// the second the column, both scaled to one turn.
pub fn of_map(rows: usize, columns: usize, width: usize, device: &Device) -> Tensor<3> {
    let half = width / 2;
    let turn = |i: usize, n: usize| (i + 1) as f64 / (n as f64 + 1e-6) * TAU;
    let mut values = Vec::with_capacity(rows * columns * width);
    for row in 0..rows {
        for column in 0..columns {
            values.extend((0..half).map(|j| element(turn(row, rows), j, half)));
            values.extend((0..half).map(|j| element(turn(column, columns), j, half)));
        }
    }
    Tensor::from_data(TensorData::new(values, [1, rows * columns, width]), device)
}
