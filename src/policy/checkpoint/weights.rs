//! A module's parameters as named tensors, and back.

use super::error::{CheckpointError, Result};
use super::safetensors::{NamedTensor, TensorFile};
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Tensor, TensorData};
use std::collections::BTreeSet;

/// Where a traversal is. Variants of enums are no part of a name.
#[derive(Debug, Default)]
struct Place(Vec<Option<String>>);

impl Place {
    fn enter(&mut self, name: &str, container: &str) {
        self.0.push((!container.starts_with("Enum:")).then(|| name.to_string()));
    }

    fn exit(&mut self) {
        self.0.pop();
    }

    fn name(&self, prefix: &str) -> String {
        prefix.to_string() + &self.0.iter().flatten().map(String::as_str).collect::<Vec<_>>().join(".")
    }
}

struct Collector<'a> {
    prefix: &'a str,
    place: Place,
    tensors: Vec<NamedTensor>,
    problem: Option<String>,
}

impl ModuleVisitor for Collector<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.place.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = self.place.name(self.prefix);
        let shape = param.shape().dims::<D>().to_vec();
        match param.val().into_data().convert::<f32>().try_into_vec::<f32>() {
            Ok(values) => self.tensors.push(NamedTensor { name, shape, values }),
            Err(e) => self.problem = Some(format!("{name}: {e:?}")),
        }
    }
}

/// Every parameter and buffer of a module under its path behind `prefix`, such as `model.`, in the module's order.
///
/// # Errors
/// When a tensor cannot be read from the device.
pub fn collect<M: Module>(module: &M, prefix: &str) -> std::result::Result<Vec<NamedTensor>, String> {
    let mut collector = Collector { prefix, place: Place::default(), tensors: Vec::new(), problem: None };
    module.visit(&mut collector);
    match collector.problem {
        Some(problem) => Err(problem),
        None => Ok(collector.tensors),
    }
}

struct Loader<'a> {
    prefix: &'a str,
    file: &'a TensorFile,
    place: Place,
    used: BTreeSet<String>,
    error: Option<CheckpointError>,
}

impl ModuleMapper for Loader<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.place.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = self.place.name(self.prefix);
        match self.find(&name, &param.lazy_shape().dims::<D>()) {
            Ok(data) => {
                self.used.insert(name);
                let tensor = Tensor::from_data(data, &param.lazy_device());
                let id = param.id;
                param.transform_for_load(tensor, id)
            }
            Err(error) => {
                self.error.get_or_insert(error);
                param
            }
        }
    }
}

impl Loader<'_> {
    fn find(&self, name: &str, shape: &[usize]) -> Result<TensorData> {
        let wrong = |problem, remedy: &str| CheckpointError::invalid(self.file.path(), name, problem, remedy);
        let Some(tensor) = self.file.get(name) else {
            return Err(wrong("the tensor is missing".into(), "config.json and weights are not from one policy"));
        };
        if tensor.shape() != shape {
            let problem = format!("has shape {:?} where the configuration asks for {shape:?}", tensor.shape());
            return Err(wrong(problem, "config.json and weights are not from one policy"));
        }
        let values = tensor.values();
        if let Some(at) = values.iter().position(|x| !x.is_finite()) {
            let problem = format!("number {at} is {}", values[at]);
            return Err(wrong(problem, "take an earlier checkpoint, from before the training diverged"));
        }
        Ok(TensorData::new(values, shape))
    }
}

/// The module with the file's weights. Tensors that `is_ignored` names may stand in the file without a place in the
/// module.
///
/// # Errors
/// A tensor that is missing, has another shape, holds numbers that are none, or has no place in the module.
pub fn load<M: Module>(module: M, file: &TensorFile, prefix: &str, is_ignored: impl Fn(&str) -> bool) -> Result<M> {
    let mut loader = Loader { prefix, file, place: Place::default(), used: BTreeSet::new(), error: None };
    let module = module.map(&mut loader);
    if let Some(error) = loader.error {
        return Err(error);
    }
    for name in file.names() {
        if loader.used.contains(name) || is_ignored(name) || name.ends_with("num_batches_tracked") {
            continue;
        }
        let (problem, remedy) = if name.contains("normalize_") && name.contains("buffer_") {
            (
                "statistics inside the weights: the checkpoint is from LeRobot before 0.4",
                "convert it with lerobot's migrate_policy_normalization.py",
            )
        } else {
            ("the policy has no such tensor", "config.json and weights are not from one policy")
        };
        return Err(CheckpointError::invalid(file.path(), name, problem, remedy));
    }
    Ok(module)
}
