//! What a policy sees and gives: LeRobot's `input_features` and `output_features`.

use super::error::ConfigProblem;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// What a feature is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum FeatureKind {
    /// A picture.
    Visual,
    /// Joint positions.
    State,
    /// Positions of objects.
    Env,
    /// What the policy gives.
    Action,
}

/// One feature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feature {
    /// What it is.
    #[serde(rename = "type")]
    pub kind: FeatureKind,
    /// Sizes; a picture's are channels, height, width.
    pub shape: Vec<usize>,
}

impl Feature {
    /// A picture of three channels.
    pub fn picture(height: usize, width: usize) -> Self {
        Self { kind: FeatureKind::Visual, shape: vec![3, height, width] }
    }

    /// `width` numbers.
    pub fn vector(kind: FeatureKind, width: usize) -> Self {
        Self { kind, shape: vec![width] }
    }
}

/// Everything a policy sees and gives, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Features {
    /// By LeRobot's keys, such as `observation.state`.
    pub inputs: Vec<(String, Feature)>,
    /// `action`.
    pub outputs: Vec<(String, Feature)>,
}

impl Features {
    /// For `joints` joint positions in and out, and cameras by name, height and width.
    pub fn of_arm(joints: usize, cameras: &[(&str, usize, usize)]) -> Self {
        let state = ("observation.state".to_string(), Feature::vector(FeatureKind::State, joints));
        let picture = |&(name, height, width): &(&str, usize, usize)| {
            (format!("observation.images.{name}"), Feature::picture(height, width))
        };
        Self {
            inputs: std::iter::once(state).chain(cameras.iter().map(picture)).collect(),
            outputs: vec![("action".into(), Feature::vector(FeatureKind::Action, joints))],
        }
    }

    /// Keys and pictures of the cameras, in order.
    pub fn cameras(&self) -> impl Iterator<Item = (&str, &Feature)> {
        self.inputs.iter().filter(|(_, f)| f.kind == FeatureKind::Visual).map(|(key, f)| (key.as_str(), f))
    }

    fn width_of(&self, kind: FeatureKind) -> Option<usize> {
        self.inputs.iter().find(|(_, f)| f.kind == kind).map(|(_, f)| f.shape.iter().product())
    }

    /// Numbers of the joint positions, when the policy sees them.
    pub fn state_width(&self) -> Option<usize> {
        self.width_of(FeatureKind::State)
    }

    /// Numbers of the objects' positions, when the policy sees them.
    pub fn environment_width(&self) -> Option<usize> {
        self.width_of(FeatureKind::Env)
    }

    /// Numbers of an action.
    ///
    /// # Errors
    /// When there is no action.
    pub fn action_width(&self) -> Result<usize, ConfigProblem> {
        let action = self.outputs.iter().find(|(_, f)| f.kind == FeatureKind::Action && !f.shape.contains(&0));
        action
            .map(|(_, f)| f.shape.iter().product())
            .ok_or_else(|| ConfigProblem::new("output_features", "hold no action", "train on a dataset with actions"))
    }

    /// Every feature with its key.
    pub fn all(&self) -> impl Iterator<Item = (&str, &Feature)> {
        self.inputs.iter().chain(&self.outputs).map(|(key, f)| (key.as_str(), f))
    }

    pub(super) fn from_config(config: &Map<String, Value>) -> Result<Self, ConfigProblem> {
        let read = |part: &str| -> Result<Vec<(String, Feature)>, ConfigProblem> {
            let Some(Value::Object(map)) = config.get(part) else {
                return Err(ConfigProblem::new(part, "is missing", "give the config.json of a trained policy"));
            };
            let feature = |(key, value): (&String, &Value)| {
                let feature = Feature::deserialize(value).map_err(|e| {
                    let remedy = "give a type (VISUAL, STATE, ENV, ACTION) and a shape";
                    ConfigProblem::new(format!("{part}.{key}"), e.to_string(), remedy)
                })?;
                if feature.kind == FeatureKind::Visual && feature.shape.len() != 3 {
                    let problem = format!("has shape {:?}", feature.shape);
                    let remedy = "a picture's shape is [channels, height, width]";
                    return Err(ConfigProblem::new(format!("{part}.{key}"), problem, remedy));
                }
                Ok((key.clone(), feature))
            };
            map.iter().map(feature).collect()
        };
        Ok(Self { inputs: read("input_features")?, outputs: read("output_features")? })
    }

    pub(super) fn to_json(features: &[(String, Feature)]) -> Value {
        let each = |(key, f): &(String, Feature)| (key.clone(), json!({"type": f.kind, "shape": f.shape}));
        Value::Object(features.iter().map(each).collect())
    }
}

/// Channels after the first layer of a backbone: 64 for `resnet18`, N for `resnet18_wN`.
///
/// # Errors
/// For any other name.
pub fn backbone_width(name: &str) -> Result<usize, ConfigProblem> {
    let width = match name.strip_prefix("resnet18") {
        Some("") => Some(64),
        Some(rest) => rest.strip_prefix("_w").and_then(|n| n.parse().ok()).filter(|n| (1..=256).contains(n)),
        None => None,
    };
    width.ok_or_else(|| {
        let remedy = "give resnet18, or resnet18_wN for N channels after the first layer (1 to 256)";
        ConfigProblem::new("vision_backbone", format!("is {name}"), remedy)
    })
}
