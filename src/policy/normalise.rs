//! Statistics of a dataset, and what LeRobot's normaliser makes of them.

use crate::policy::checkpoint::{ConfigProblem, FeatureKind, Features};
use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// LeRobot's small number against division by zero.
const EPSILON: f64 = 1e-8;
/// Mean of ImageNet's pictures, which LeRobot puts in place of a dataset's own.
const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// Standard deviation of ImageNet's pictures.
const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// How a kind of feature is normalised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NormMode {
    /// To mean 0 and standard deviation 1.
    #[serde(rename = "MEAN_STD")]
    MeanStd,
    /// Smallest and largest value to -1 and 1.
    #[serde(rename = "MIN_MAX")]
    MinMax,
    /// The quantiles 0.01 and 0.99 to -1 and 1.
    #[serde(rename = "QUANTILES")]
    Quantiles,
    /// The quantiles 0.10 and 0.90 to -1 and 1.
    #[serde(rename = "QUANTILE10")]
    Quantile10,
    /// Not at all.
    #[serde(rename = "IDENTITY")]
    Identity,
}

/// Which mode each kind of feature has.
pub type NormMap = BTreeMap<FeatureKind, NormMode>;

/// Statistics by feature and by LeRobot's names (`mean`, `std`, `min`, `max`, `q01`, ..): one number for each element,
/// or for each of a picture's three channels.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Statistics(BTreeMap<String, BTreeMap<String, Vec<f32>>>);

impl Statistics {
    /// Sets one statistic of a feature.
    pub fn insert(&mut self, feature: &str, name: &str, values: Vec<f32>) {
        self.0.entry(feature.into()).or_default().insert(name.into(), values);
    }

    /// One statistic of a feature.
    pub fn get(&self, feature: &str, name: &str) -> Option<&[f32]> {
        self.0.get(feature)?.get(name).map(Vec::as_slice)
    }

    /// Every statistic with its feature and name, in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, &[f32])> {
        self.0.iter().flat_map(|(feature, stats)| {
            stats.iter().map(move |(name, values)| (feature.as_str(), name.as_str(), values.as_slice()))
        })
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// From the content of a dataset's `meta/stats.json`. What are no numbers in nested lists is left out.
    pub fn from_json(stats: &Value) -> Self {
        fn flatten(value: &Value, out: &mut Vec<f32>) {
            match value {
                Value::Array(list) => list.iter().for_each(|v| flatten(v, out)),
                Value::Number(n) => out.extend(n.as_f64().map(|x| x as f32)),
                _ => {}
            }
        }
        let mut all = Self::default();
        for (feature, stats) in stats.as_object().into_iter().flatten() {
            for (name, values) in stats.as_object().into_iter().flatten() {
                let mut numbers = Vec::new();
                flatten(values, &mut numbers);
                all.insert(feature, name, numbers);
            }
        }
        all
    }

    /// Puts ImageNet's mean and standard deviation in place of the cameras' own, as LeRobot's training does.
    pub fn use_imagenet(&mut self, features: &Features) {
        for (camera, _) in features.cameras() {
            self.insert(camera, "mean", IMAGENET_MEAN.to_vec());
            self.insert(camera, "std", IMAGENET_STD.to_vec());
        }
    }
}

/// `(x - offset) * scale + shift`, element by element, and back with `back` in place of `1 / scale`.
#[derive(Debug, Clone)]
struct Line {
    offset: Vec<f32>,
    scale: Vec<f32>,
    back: Vec<f32>,
    shift: f32,
    is_picture: bool,
}

/// Normalises what a policy sees and un-normalises what it gives.
#[derive(Debug, Clone)]
pub struct Normaliser {
    lines: BTreeMap<String, Line>,
}

impl Normaliser {
    /// For the features of a policy.
    ///
    /// # Errors
    /// When a statistic that a mode needs is missing or has another width. LeRobot would leave such a feature as it is;
    /// a policy fed with it moves an arm anywhere.
    pub fn new(statistics: &Statistics, modes: &NormMap, features: &Features) -> Result<Self, ConfigProblem> {
        let mut lines = BTreeMap::new();
        for (key, feature) in features.all() {
            let is_picture = feature.kind == FeatureKind::Visual;
            let width = if is_picture { feature.shape[0] } else { feature.shape.iter().product() };
            let stat = |name: &str| -> Result<Vec<f64>, ConfigProblem> {
                let problem = |what: String| {
                    let remedy = "train on a dataset whose meta/stats.json has it, or give the processor of this robot";
                    ConfigProblem::new(format!("{key}.{name}"), what, remedy)
                };
                let values = statistics.get(key, name).ok_or_else(|| problem("the statistic is missing".into()))?;
                if values.len() != width {
                    return Err(problem(format!("has {} numbers, the feature has {width}", values.len())));
                }
                if !values.iter().all(|x| x.is_finite()) {
                    return Err(problem("holds numbers that are none".into()));
                }
                Ok(values.iter().map(|&x| f64::from(x)).collect())
            };
            let between = |low: &str, high: &str| -> Result<Line, ConfigProblem> {
                let (low, high) = (stat(low)?, stat(high)?);
                let span = |(l, h): (&f64, &f64)| if h == l { EPSILON } else { h - l };
                let spans: Vec<f64> = low.iter().zip(&high).map(span).collect();
                Ok(Line {
                    offset: low.iter().map(|&x| x as f32).collect(),
                    scale: spans.iter().map(|s| (2.0 / s) as f32).collect(),
                    back: spans.iter().map(|s| (s / 2.0) as f32).collect(),
                    shift: -1.0,
                    is_picture,
                })
            };
            let line = match modes.get(&feature.kind).copied().unwrap_or(NormMode::Identity) {
                NormMode::Identity => continue,
                NormMode::MeanStd => {
                    let (mean, std) = (stat("mean")?, stat("std")?);
                    Line {
                        offset: mean.iter().map(|&x| x as f32).collect(),
                        scale: std.iter().map(|s| (1.0 / (s + EPSILON)) as f32).collect(),
                        back: std.iter().map(|&s| s as f32).collect(),
                        shift: 0.0,
                        is_picture,
                    }
                }
                NormMode::MinMax => between("min", "max")?,
                NormMode::Quantiles => between("q01", "q99")?,
                NormMode::Quantile10 => between("q10", "q90")?,
            };
            lines.insert(key.to_string(), line);
        }
        Ok(Self { lines })
    }

    /// A feature as the policy wants it: `[.., width]`, or a picture `[batch, 3, height, width]` of 0 to 1. A feature
    /// that is not normalised passes unchanged.
    pub fn normalise<const D: usize>(&self, key: &str, x: Tensor<D>) -> Tensor<D> {
        let Some(line) = self.lines.get(key) else { return x };
        let device = x.device();
        let part = |values: &[f32]| line.spread(values, &device);
        (x - part(&line.offset)) * part(&line.scale) + line.shift
    }

    /// What the policy gave, in the dataset's units: `[.., width]`.
    pub fn unnormalise<const D: usize>(&self, key: &str, x: Tensor<D>) -> Tensor<D> {
        let Some(line) = self.lines.get(key) else { return x };
        let device = x.device();
        let part = |values: &[f32]| line.spread(values, &device);
        (x - line.shift) * part(&line.back) + part(&line.offset)
    }
}

impl Line {
    /// Numbers of the elements in a shape that spreads over the others.
    fn spread<const D: usize>(&self, values: &[f32], device: &Device) -> Tensor<D> {
        let mut shape = [1; D];
        let at = if self.is_picture { D.saturating_sub(3) } else { D - 1 };
        shape[at] = values.len();
        Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arm() -> (Statistics, Features) {
        let mut statistics = Statistics::default();
        for key in ["observation.state", "action"] {
            for (name, values) in
                [("mean", [10.0, -5.0]), ("std", [2.0, 0.5]), ("min", [0.0, 3.0]), ("max", [20.0, 3.0])]
            {
                statistics.insert(key, name, values.to_vec());
            }
        }
        (statistics, Features::of_arm(2, &[]))
    }

    fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
        x.into_data().try_into_vec().unwrap()
    }

    #[test]
    fn modes_agree_with_their_formulas_and_come_back() {
        let (statistics, features) = arm();
        let x = Tensor::<2>::from_data([[12.0, -5.5], [10.0, -4.5]], &Device::flex());
        let modes: NormMap = [(FeatureKind::State, NormMode::MeanStd), (FeatureKind::Action, NormMode::MinMax)].into();
        let normaliser = Normaliser::new(&statistics, &modes, &features).unwrap();
        let y = normaliser.normalise("observation.state", x.clone());
        assert_eq!(values(y.clone()), [1.0, -1.0, 0.0, 1.0]);
        assert_eq!(values(normaliser.unnormalise("observation.state", y)), values(x));
        let action = Tensor::<2>::from_data([[5.0, 3.0]], &Device::flex());
        let y = normaliser.normalise("action", action.clone());
        assert_eq!(values(y.clone()), [-0.5, -1.0], "a joint that never moved is at -1");
        assert_eq!(values(normaliser.unnormalise("action", y)), values(action));
    }

    #[test]
    fn missing_or_foreign_statistics_are_refused_by_name() {
        let (mut statistics, features) = arm();
        let modes: NormMap = [(FeatureKind::State, NormMode::Quantiles)].into();
        let error = Normaliser::new(&statistics, &modes, &features).unwrap_err().to_string();
        assert!(error.starts_with("observation.state.q01: the statistic is missing; "), "{error}");
        statistics.insert("observation.state", "mean", vec![0.0; 7]);
        let modes: NormMap = [(FeatureKind::State, NormMode::MeanStd)].into();
        let error = Normaliser::new(&statistics, &modes, &features).unwrap_err().to_string();
        assert!(error.contains("has 7 numbers, the feature has 2"), "{error}");
    }
}
