//! Statistics of features, computed and merged the way LeRobot does, so that its normalisers see what they expect.

use serde_json::{Map, Value, json};

/// Names of the quantiles with their fractions, in LeRobot's order.
pub const QUANTILES: [(&str, f64); 5] = [("q01", 0.01), ("q10", 0.10), ("q50", 0.50), ("q90", 0.90), ("q99", 0.99)];
/// LeRobot reads quantiles off a histogram with this many bins between minimum and maximum.
const BINS: usize = 5000;

/// Statistics of one feature: one number for each element, or for each of three colour channels in 0 to 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Stats {
    /// Smallest value.
    pub min: Vec<f64>,
    /// Largest value.
    pub max: Vec<f64>,
    /// Mean.
    pub mean: Vec<f64>,
    /// Standard deviation of the population.
    pub std: Vec<f64>,
    /// Quantiles in the order of [`QUANTILES`]; datasets of v2.1 have none.
    pub quantiles: Option<[Vec<f64>; 5]>,
    /// Rows, or pictures looked at.
    pub count: u64,
    /// Whether it is written in LeRobot's shape for pictures, (3, 1, 1).
    pub is_image: bool,
}

impl Stats {
    /// Of `width` numbers a row, row after row. An empty slice gives zeros.
    pub fn of_rows(rows: &[f64], width: usize) -> Self {
        let width = width.max(1);
        let count = rows.len() / width;
        let mut stats = Self::empty(count as u64, false);
        let mut column = Vec::with_capacity(count);
        for element in 0..width {
            column.clear();
            column.extend(rows.iter().skip(element).step_by(width).take(count).map(|&x| (x, 1)));
            stats.push_counted(&mut column);
        }
        stats
    }

    fn empty(count: u64, is_image: bool) -> Self {
        let (min, max, mean, std) = Default::default();
        Self { min, max, mean, std, quantiles: Some(Default::default()), count, is_image }
    }

    /// Adds the statistics of one element, given as values with their numbers of occurrence.
    fn push_counted(&mut self, values: &mut [(f64, u64)]) {
        values.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (low, high) = match (values.first(), values.last()) {
            (Some(a), Some(b)) => (a.0, b.0),
            _ => (0.0, 0.0),
        };
        let total: u64 = values.iter().map(|v| v.1).sum();
        let sum =
            |f: &dyn Fn(f64) -> f64| values.iter().map(|&(x, n)| f(x) * n as f64).sum::<f64>() / total.max(1) as f64;
        let mean = sum(&|x| x);
        self.min.push(low);
        self.max.push(high);
        self.mean.push(mean);
        self.std.push(sum(&|x| (x - mean) * (x - mean)).sqrt());
        let histogram = Histogram::new(values, low, high);
        if let Some(quantiles) = &mut self.quantiles {
            for (list, (_, fraction)) in quantiles.iter_mut().zip(QUANTILES) {
                list.push(if total < 2 { mean } else { histogram.quantile(fraction * total as f64) });
            }
        }
    }

    /// The statistics of several episodes together: extremes, means weighted by count, the exact variance, and
    /// quantiles as weighted means of the episodes' quantiles, which is LeRobot's approximation. `None` for no episode
    /// or for episodes of different width.
    pub fn merge<'a>(parts: impl IntoIterator<Item = &'a Stats>) -> Option<Stats> {
        let mut parts = parts.into_iter();
        let mut merged = parts.next()?.clone();
        for part in parts {
            merged.add(part)?;
        }
        Some(merged)
    }

    /// Adds one more episode. `None` (and `self` unchanged) when the widths differ.
    pub fn add(&mut self, other: &Stats) -> Option<()> {
        let width = self.mean.len();
        let same = |s: &Stats| [&s.min, &s.max, &s.mean, &s.std].iter().all(|v| v.len() == width);
        if !same(self) || !same(other) {
            return None;
        }
        let total = (self.count + other.count).max(1) as f64;
        let (a, b) = (self.count as f64 / total, other.count as f64 / total);
        for i in 0..width {
            let mean = self.mean[i] * a + other.mean[i] * b;
            let spread = |s: &Stats| s.std[i].powi(2) + (s.mean[i] - mean).powi(2);
            self.std[i] = (spread(self) * a + spread(other) * b).sqrt();
            self.mean[i] = mean;
            self.min[i] = self.min[i].min(other.min[i]);
            self.max[i] = self.max[i].max(other.max[i]);
        }
        self.quantiles = match (self.quantiles.take(), &other.quantiles) {
            (Some(mut mine), Some(theirs)) => {
                for (x, y) in mine.iter_mut().flatten().zip(theirs.iter().flatten()) {
                    *x = *x * a + y * b;
                }
                Some(mine)
            }
            _ => None,
        };
        self.count += other.count;
        Some(())
    }

    /// The lists by LeRobot's names, without the count.
    pub fn lists(&self) -> Vec<(&'static str, &Vec<f64>)> {
        let mut lists = vec![("min", &self.min), ("max", &self.max), ("mean", &self.mean), ("std", &self.std)];
        if let Some(quantiles) = &self.quantiles {
            lists.extend(QUANTILES.iter().map(|q| q.0).zip(quantiles));
        }
        lists
    }

    /// Built from the lists called `min`, `mean`, …; `None` when one of the first four or the count is missing.
    pub(crate) fn from_lists(mut list: impl FnMut(&str) -> Option<Vec<f64>>, is_image: bool) -> Option<Self> {
        let count = list("count")?.first().copied()? as u64;
        let (min, max, mean, std) = (list("min")?, list("max")?, list("mean")?, list("std")?);
        let mut quantiles: [Vec<f64>; 5] = Default::default();
        let complete = quantiles.iter_mut().zip(QUANTILES).all(|(q, (name, _))| list(name).map(|v| *q = v).is_some());
        Some(Self { min, max, mean, std, quantiles: complete.then_some(quantiles), count, is_image })
    }

    /// An entry of `stats.json`.
    pub fn to_json(&self) -> Value {
        let shaped = |list: &[f64]| match self.is_image {
            true => json!(list.iter().map(|x| [[x]]).collect::<Vec<_>>()),
            false => json!(list),
        };
        let mut map = Map::new();
        let quantiles_last = |name: &str| name.starts_with('q');
        for (name, list) in self.lists().into_iter().filter(|l| !quantiles_last(l.0)) {
            map.insert(name.into(), shaped(list));
        }
        map.insert("count".into(), json!([self.count]));
        for (name, list) in self.lists().into_iter().filter(|l| quantiles_last(l.0)) {
            map.insert(name.into(), shaped(list));
        }
        Value::Object(map)
    }

    /// Reads an entry of `stats.json`; nested lists are flattened.
    pub fn from_json(value: &Value, is_image: bool) -> Option<Self> {
        fn flatten(value: &Value, out: &mut Vec<f64>) {
            match value {
                Value::Array(items) => items.iter().for_each(|v| flatten(v, out)),
                other => out.extend(other.as_f64()),
            }
        }
        let list = |name: &str| {
            let mut list = Vec::new();
            flatten(value.get(name)?, &mut list);
            Some(list)
        };
        Self::from_lists(list, is_image)
    }
}

/// Counts of values in equal bins, of which only those with content are kept.
struct Histogram {
    low: f64,
    step: f64,
    /// Bin and the number of values in it and all bins before, ascending.
    cumulated: Vec<(usize, u64)>,
}

impl Histogram {
    /// `values` ascending.
    fn new(values: &[(f64, u64)], low: f64, high: f64) -> Self {
        let (low, high) = (low - 1e-10, high + 1e-10);
        let step = (high - low) / BINS as f64;
        let mut cumulated: Vec<(usize, u64)> = Vec::new();
        let mut total = 0;
        for &(x, n) in values {
            let bin = (((x - low) / step) as usize).min(BINS - 1);
            total += n;
            match cumulated.last_mut() {
                Some(last) if last.0 == bin => last.1 = total,
                _ => cumulated.push((bin, total)),
            }
        }
        Self { low, step, cumulated }
    }

    /// The value below which `target` values lie, interpolated inside its bin.
    fn quantile(&self, target: f64) -> f64 {
        let place = self.cumulated.partition_point(|b| (b.1 as f64) < target);
        let Some(&(bin, upto)) = self.cumulated.get(place) else { return self.low + self.step * BINS as f64 };
        if bin == 0 {
            return self.low;
        }
        let before = place.checked_sub(1).map_or(0, |p| self.cumulated[p].1);
        let inside = (target - before as f64) / (upto - before) as f64;
        self.low + (bin as f64 + inside) * self.step
    }
}

/// Statistics of pictures as they pass: exact counts of the 256 levels of each channel.
#[derive(Debug, Clone)]
pub struct ImageStats {
    levels: Box<[[u64; 256]; 3]>,
    pictures: u64,
}

impl Default for ImageStats {
    fn default() -> Self {
        Self { levels: Box::new([[0; 256]; 3]), pictures: 0 }
    }
}

impl ImageStats {
    /// Adds a picture; large ones are thinned out so that the longer side keeps about 150 pixels, as LeRobot does.
    pub fn add(&mut self, image: &super::Image) {
        let side = image.width.max(image.height);
        let stride = if side < 300 { 1 } else { side / 150 };
        for row in image.rgb.chunks_exact((image.width * 3).max(1)).step_by(stride) {
            for pixel in row.chunks_exact(3).step_by(stride) {
                for (levels, &value) in self.levels.iter_mut().zip(pixel) {
                    levels[usize::from(value)] += 1;
                }
            }
        }
        self.pictures += 1;
    }

    /// Statistics of what was added, in 0 to 1.
    pub fn finish(&self) -> Stats {
        let mut stats = Stats::empty(self.pictures, true);
        for levels in self.levels.iter() {
            let mut seen: Vec<_> =
                levels.iter().enumerate().filter(|l| *l.1 > 0).map(|(level, &n)| (level as f64, n)).collect();
            stats.push_counted(&mut seen);
        }
        let unit = |list: &mut Vec<f64>| list.iter_mut().for_each(|x| *x /= 255.0);
        for list in [&mut stats.min, &mut stats.max, &mut stats.mean, &mut stats.std] {
            unit(list);
        }
        stats.quantiles.iter_mut().flatten().for_each(unit);
        stats
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Image;

    #[test]
    fn rows_give_textbook_numbers() {
        let rows: Vec<f64> = (0..100).flat_map(|i| [f64::from(i), 5.0]).collect();
        let stats = Stats::of_rows(&rows, 2);
        assert_eq!((stats.min[0], stats.max[0], stats.mean[0], stats.count), (0.0, 99.0, 49.5, 100));
        assert!((stats.std[0] - 28.866_070_047_722_1).abs() < 1e-9, "{}", stats.std[0]);
        let [q01, _, q50, _, q99] = stats.quantiles.unwrap();
        assert!((q50[0] - 49.0).abs() < 0.1 && (q99[0] - 98.0).abs() < 0.1, "{q50:?} {q99:?}");
        assert!((q01[1] - 5.0).abs() < 1e-9 && stats.std[1] == 0.0);
    }

    #[test]
    fn merging_equals_computing_at_once() {
        let all: Vec<f64> = (0..60).map(|i| f64::from((i * 37) % 61)).collect();
        let whole = Stats::of_rows(&all, 1);
        let merged = Stats::merge(&[&all[..13], &all[13..40], &all[40..]].map(|p| Stats::of_rows(p, 1))).unwrap();
        assert!((whole.mean[0] - merged.mean[0]).abs() < 1e-9 && (whole.std[0] - merged.std[0]).abs() < 1e-9);
        assert_eq!((whole.min, whole.max, whole.count), (merged.min, merged.max, merged.count));
        assert!(Stats::merge(&[Stats::of_rows(&[1.0], 1), Stats::of_rows(&[1.0, 2.0], 2)]).is_none());
    }

    #[test]
    fn pictures_are_measured_by_channel() {
        let mut stats = ImageStats::default();
        stats.add(&Image::filled(8, 8, [0, 51, 255]));
        stats.add(&Image::filled(8, 8, [255, 51, 255]));
        let stats = stats.finish();
        assert_eq!(stats.mean.iter().map(|m| (m * 10.0).round()).collect::<Vec<_>>(), [5.0, 2.0, 10.0]);
        assert_eq!((stats.count, stats.min[0], stats.max[0], stats.std[1]), (2, 0.0, 1.0, 0.0));
        assert_eq!(Stats::from_json(&stats.to_json(), true), Some(stats));
    }

    #[test]
    fn one_row_or_none_gives_no_quantile_of_its_own() {
        assert_eq!(Stats::of_rows(&[7.0], 1).quantiles.unwrap()[0], [7.0]);
        assert_eq!(Stats::of_rows(&[], 1).mean, [0.0]);
    }
}
