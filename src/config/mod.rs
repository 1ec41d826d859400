//! Configuration files: RON, one type per kind of file. Unknown keys are refused, every number is checked, and an error
//! names file, line, key and remedy. Lengths are metres, angles are radians inside; a key that takes degrees says `_deg`.

mod arm;
mod camera;
mod physics;
mod randomise;
mod run;
mod scene;

pub use arm::{
    AMBIENT_C, ArmConfig, OVERCURRENT_AFTER_S, STALL_AFTER_S, SafetyConfig, ServoProfile, catalogue_stall_current_a,
    usual_cooling_s, usual_heating_c_s,
};
pub use camera::{CameraConfig, CameraMount, LensConfig, SensorConfig};
pub use physics::PhysicsConfig;
pub use randomise::{
    BacklashRange, CameraRange, ColourRange, DistractorRange, FrictionRange, Group, LatencyRange, LensRange,
    LightRange, MassRange, Randomise, SensorRange, ServoRange, StartRange, TableRange, TextureRange, ZeroRange,
};
pub use run::{RunBackend, RunFile};
pub use scene::{
    Area, ArmColours, ArmStart, BackdropColours, Colour, LightConfig, Mark, MarkShape, Pose2, Prop, PropShape, Scene,
    Spawn, SurfacePattern, Table, TaskConfig, TeeSize,
};

use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why a configuration was refused.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("{file}: cannot be read: {source}; {remedy}")]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
        /// What to do.
        remedy: String,
    },
    /// The text is not what this kind of file holds.
    #[error("{file}:{line}:{column}: {message}")]
    Parse {
        /// The file.
        file: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What is wrong and what was expected.
        message: String,
    },
    /// A value is impossible.
    #[error("{file}:{line}: {key}: {problem}; {remedy}")]
    Value {
        /// The file.
        file: PathBuf,
        /// Line of the key, from 1.
        line: usize,
        /// The key with its parents, such as `props.tee.mass_kg`.
        key: String,
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// The folder with the shipped files was not found.
    #[error(
        "the folder with urdf/, scenes/ and configs/ was not found; run etude inside its checkout, or set ETUDE_HOME to it"
    )]
    NoHome,
}

/// A configuration whose values can be checked.
pub trait Validate {
    /// Reports impossible values to `problems`.
    fn validate(&self, problems: &mut Problems);
}

/// Collects what [`Validate`] finds; the first problem is reported.
#[derive(Debug, Default)]
pub struct Problems {
    path: Vec<String>,
    first: Option<(Vec<String>, String, String)>,
}

impl Problems {
    /// Checks the fields of a nested value under `key`.
    pub fn within(&mut self, key: &str, check: impl FnOnce(&mut Self)) {
        self.path.push(key.to_string());
        check(self);
        self.path.pop();
    }

    /// Reports a problem with `key`.
    pub fn report(&mut self, key: &str, problem: impl Into<String>, remedy: impl Into<String>) {
        if self.first.is_none() {
            let mut path = self.path.clone();
            path.push(key.to_string());
            self.first = Some((path, problem.into(), remedy.into()));
        }
    }

    /// The first problem in words, for values that no file holds.
    pub fn first(&self) -> Option<String> {
        let (path, problem, remedy) = self.first.as_ref()?;
        Some(format!("{}: {problem}; {remedy}", path.join(".")))
    }

    /// Checks that a number is finite and inside `low..=high`; `unit` goes into the remedy.
    pub fn range(&mut self, key: &str, value: f64, low: f64, high: f64, unit: &str) {
        if !value.is_finite() || value < low || value > high {
            self.report(
                key,
                format!("{value} is out of range"),
                format!("give a number from {low} to {high} {unit}").trim_end().to_string(),
            );
        }
    }

    /// Checks a `(low, high)` pair: both inside the range and in order.
    pub fn span(&mut self, key: &str, (low, high): (f64, f64), least: f64, most: f64, unit: &str) {
        self.range(key, low, least, most, unit);
        self.range(key, high, least, most, unit);
        if low > high {
            self.report(key, format!("({low}, {high}) runs backwards"), "give the smaller number first");
        }
    }

    /// Checks a colour: three numbers from 0 to 1.
    pub fn colour(&mut self, key: &str, (r, g, b): (f32, f32, f32)) {
        for part in [r, g, b] {
            self.range(key, f64::from(part), 0.0, 1.0, "(sRGB)");
        }
    }
}

/// Reads and checks a configuration file.
///
/// # Errors
/// [`ConfigError`] naming file, line, key and remedy.
pub fn load<T: DeserializeOwned + Validate>(file: &Path) -> Result<T, ConfigError> {
    let text = std::fs::read_to_string(file).map_err(|source| ConfigError::Read {
        file: file.to_path_buf(),
        source,
        remedy: "check the path and its permissions".into(),
    })?;
    parse(&text, file)
}

/// As [`load`], from text; `file` is what errors name.
///
/// # Errors
/// [`ConfigError`] naming file, line, key and remedy.
pub fn parse<T: DeserializeOwned + Validate>(text: &str, file: &Path) -> Result<T, ConfigError> {
    let options = ron::Options::default().with_default_extension(ron::extensions::Extensions::IMPLICIT_SOME);
    let value: T = options.from_str(text).map_err(|error| ConfigError::Parse {
        file: file.to_path_buf(),
        line: error.span.start.line,
        column: error.span.start.col,
        message: format!("{}; keys and their units are listed in docs/configuration.md", error.code),
    })?;
    let mut problems = Problems::default();
    value.validate(&mut problems);
    match problems.first {
        None => Ok(value),
        Some((path, problem, remedy)) => Err(ConfigError::Value {
            file: file.to_path_buf(),
            line: line_of(text, &path),
            key: path.join("."),
            problem,
            remedy,
        }),
    }
}

/// What is wrong with a value that came from elsewhere than a configuration file, as `key: problem; remedy`; `None` if nothing is.
pub fn problem_of(value: &impl Validate) -> Option<String> {
    let mut problems = Problems::default();
    value.validate(&mut problems);
    problems.first.map(|(path, problem, remedy)| format!("{}: {problem}; {remedy}", path.join(".")))
}

/// Line (from 1) where the last key of `path` stands, looking for one part of the path after the other. List items are
/// found by the name they carry, `"tee"`, or by nothing, in which case the search goes on from the list's own line.
fn line_of(text: &str, path: &[String]) -> usize {
    let mut at = 0;
    for part in path {
        let quoted = format!("\"{part}\"");
        let found = text[at..]
            .match_indices(part.as_str())
            .find(|(offset, _)| {
                let before = text[..at + offset].chars().next_back();
                let after = text[at + offset + part.len()..].trim_start().chars().next();
                !before.is_some_and(|c| c.is_alphanumeric() || c == '_') && matches!(after, Some(':' | '('))
            })
            .map(|(offset, _)| offset)
            .or_else(|| text[at..].find(&quoted));
        if let Some(offset) = found {
            at += offset;
        }
    }
    text[..at].lines().count() + usize::from(text[..at].is_empty() || text[..at].ends_with('\n'))
}

/// The folder that holds `urdf/`, `scenes/`, `configs/` and `assets/`: `ETUDE_HOME` if set, else the present folder or one
/// above it, else one above the program, else the checkout it was built in.
///
/// # Errors
/// [`ConfigError::NoHome`] if there is none.
pub fn home() -> Result<PathBuf, ConfigError> {
    let holds = |folder: &Path| folder.join("urdf/so100.urdf").is_file() && folder.join("scenes").is_dir();
    if let Some(folder) = std::env::var_os("ETUDE_HOME").map(PathBuf::from) {
        return if holds(&folder) { Ok(folder) } else { Err(ConfigError::NoHome) };
    }
    let starts = [std::env::current_dir().ok(), std::env::current_exe().ok()];
    let upwards = starts.iter().flatten().flat_map(|start| start.ancestors());
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR"));
    upwards.chain([built_in]).find(|folder| holds(folder)).map(Path::to_path_buf).ok_or(ConfigError::NoHome)
}

/// Loads `name` from `folder` of the home, `scenes/move_t.ron` for example, or the file itself if `name` is a path.
///
/// # Errors
/// [`ConfigError`]; an unknown name is answered with the names there are.
pub fn load_named<T: DeserializeOwned + Validate>(folder: &str, name: &str) -> Result<T, ConfigError> {
    if name.ends_with(".ron") {
        return load(Path::new(name));
    }
    let folder = home()?.join(folder);
    let file = folder.join(format!("{name}.ron"));
    if !file.is_file() {
        return Err(ConfigError::Read {
            file,
            source: std::io::ErrorKind::NotFound.into(),
            remedy: format!("there are {}; a path ending in .ron works too", names_in(&folder).join(", ")),
        });
    }
    load(&file)
}

/// Names of the `.ron` files in a folder, sorted.
pub fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "ron"))
        .filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    names
}
