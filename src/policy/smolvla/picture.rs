//! Pictures as SmolVLA wants them.

use burn::tensor::{Device, Tensor, TensorData};

/// `[batch, 3, height, width]` brought to `width` and `height` without changing its proportions: bilinear, black bars at
/// the left and the top.
pub fn resize_with_padding(image: Tensor<4>, [width, height]: [usize; 2]) -> Tensor<4> {
    let [batch, channels, rows, columns] = image.dims();
    let device = image.device();
    let ratio = (columns as f64 / width as f64).max(rows as f64 / height as f64);
    let (new_rows, new_columns) = ((rows as f64 / ratio) as usize, (columns as f64 / ratio) as usize);
    let mut image = image;
    if new_columns != columns {
        image = image.matmul(bilinear(columns, new_columns, &device).transpose().unsqueeze::<4>());
    }
    if new_rows != rows {
        image = bilinear(rows, new_rows, &device).unsqueeze::<4>().matmul(image);
    }
    let (left, top) = (width.saturating_sub(new_columns), height.saturating_sub(new_rows));
    if left > 0 {
        image = Tensor::cat(vec![Tensor::zeros([batch, channels, new_rows, left], &device), image], 3);
    }
    if top > 0 {
        image = Tensor::cat(vec![Tensor::zeros([batch, channels, top, width], &device), image], 2);
    }
    image
}

/// The matrix `[to, from]` that reads `to` evenly spaced values off `from`, pixel centres aligned.
fn bilinear(from: usize, to: usize, device: &Device) -> Tensor<2> {
    let mut matrix = vec![0f32; to * from];
    for (i, row) in matrix.chunks_exact_mut(from).enumerate() {
        let at = ((i as f64 + 0.5) * from as f64 / to as f64 - 0.5).max(0.0);
        let low = (at as usize).min(from - 1);
        let high = (low + 1).min(from - 1);
        let share = (at - low as f64) as f32;
        row[low] += 1.0 - share;
        row[high] += share;
    }
    Tensor::from_data(TensorData::new(matrix, [to, from]), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_by_means_of_neighbours_and_pads_left() {
        let image = Tensor::<4>::from_data([[[[0.0, 1.0], [2.0, 3.0], [4.0, 5.0], [6.0, 7.0]]]], &Device::flex());
        let small: Vec<f32> = resize_with_padding(image, [2, 2]).into_data().try_into_vec().unwrap();
        assert_eq!(small, [0.0, 1.5, 0.0, 5.5]);
    }
}
