//! What a dataset holds: the features and the other entries of `meta/info.json`, as LeRobot v3.0 writes them.

use super::error::{DatasetError, Result};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::path::Path;

/// The version written, and the newest one read.
pub const VERSION: &str = "v3.0";
/// Prefix of every camera's feature key.
pub const CAMERA_PREFIX: &str = "observation.images.";
/// Feature key of the measured joint positions.
pub const STATE: &str = "observation.state";
/// Feature key of the targets really sent.
pub const ACTION: &str = "action";
/// Columns LeRobot adds to every dataset, with their types; always last and in this order.
pub const DEFAULT_COLUMNS: [(&str, &str); 5] = [
    ("timestamp", "float32"),
    ("frame_index", "int64"),
    ("episode_index", "int64"),
    ("index", "int64"),
    ("task_index", "int64"),
];
/// LeRobot's template of the parquet files' paths.
pub(crate) const DATA_PATH: &str = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet";
/// LeRobot's template of the mp4 files' paths.
pub(crate) const VIDEO_PATH: &str = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4";

/// Names of the columns this program adds. None begins with `observation` or `action`, so LeRobot's policies do not
/// take them for inputs or outputs.
pub mod extra {
    /// Clock of the tick, seconds since the program's start, float64.
    pub const CAPTURE: &str = "etude.capture_s";
    /// How late the tick ran against its deadline, seconds, float32.
    pub const LATE: &str = "etude.late_s";
    /// Age of each camera's picture when the tick began, seconds, float32, one a camera in the features' order; 0 for what is
    /// drawn in the tick itself. Older datasets lack it.
    pub const CAMERA_AGE: &str = "etude.camera_age_s";
    /// Load of each servo as a fraction of its stall torque, float32, one a joint.
    pub const LOAD: &str = "etude.load";
    /// Current of each servo, ampere, float32, one a joint.
    pub const CURRENT: &str = "etude.current_a";
    /// Temperature of each servo, degrees Celsius, float32, one a joint.
    pub const TEMPERATURE: &str = "etude.temperature_c";
    /// The task's own measure of progress, 0 to 1, float32.
    pub const SCORE: &str = "etude.score";
    /// Whether the task counted as solved in this tick, bool (the field's usual name for it).
    pub const SUCCESS: &str = "next.success";
    /// Who drove: see [`crate::dataset::Source`], int64.
    pub const SOURCE: &str = "etude.source";
    /// Seed the simulated episode began with, the same in each row; -1 where it did not begin with one, int64.
    pub const SEED: &str = "etude.seed";
    /// Verdict over the whole episode, the same in each row: 1 success, 0 failure, -1 not judged, int64.
    pub const OUTCOME: &str = "etude.outcome";
    /// The world the simulated episode happened in, where worlds differ: one line of JSON in its first row, nothing in the
    /// others, string. Only in datasets that were recorded so.
    pub const WORLD: &str = "etude.world";
}

/// One column or camera.
#[derive(Debug, Clone, PartialEq)]
pub struct Feature {
    /// Its key, `observation.state` and the like.
    pub key: String,
    /// `float32`, `int64`, `bool`, `string`, `video`, `image`, …
    pub dtype: String,
    /// Shape of one row's value; `[height, width, 3]` for cameras.
    pub shape: Vec<usize>,
    /// Names of the elements, as found.
    pub names: Value,
    /// Every other entry (`info` of a camera).
    pub rest: Map<String, Value>,
}

impl Feature {
    /// A column of `width` numbers a row.
    pub fn column(key: &str, dtype: &str, width: usize, names: Value) -> Self {
        Self { key: key.into(), dtype: dtype.into(), shape: vec![width], names, rest: Map::new() }
    }

    /// Pictures kept as mp4 files.
    pub fn is_video(&self) -> bool {
        self.dtype == "video"
    }

    /// Pictures of either kind, mp4 or PNG inside the parquet file.
    pub fn is_visual(&self) -> bool {
        matches!(self.dtype.as_str(), "video" | "image")
    }

    /// Numbers in one row's value.
    pub fn width(&self) -> usize {
        self.shape.iter().product()
    }

    fn to_json(&self) -> Value {
        let mut map = Map::new();
        map.insert("dtype".into(), json!(self.dtype));
        map.insert("shape".into(), json!(self.shape));
        map.insert("names".into(), self.names.clone());
        map.extend(self.rest.clone());
        Value::Object(map)
    }
}

/// A camera to be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CameraSpec {
    /// Short name: `front`, `wrist`.
    pub name: String,
    /// Pixels, even.
    pub width: usize,
    /// Pixels, even.
    pub height: usize,
}

impl CameraSpec {
    /// The feature key, `observation.images.<name>`.
    pub fn key(&self) -> String {
        format!("{CAMERA_PREFIX}{}", self.name)
    }
}

/// What a new dataset shall hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// Rows a second.
    pub fps: u32,
    /// LeRobot's name of the robot, `so100_follower`.
    pub robot_type: String,
    /// Names of the elements of state and action in LeRobot's manner, `shoulder_pan.pos`.
    pub joints: Vec<String>,
    /// The cameras, in the order in which rows bring their pictures.
    pub cameras: Vec<CameraSpec>,
    /// Whether the `etude.*` columns are written.
    pub extras: bool,
}

impl Spec {
    /// The `info.json` of an empty dataset.
    ///
    /// # Errors
    /// [`DatasetError::Request`] names the first entry that no dataset can have.
    pub fn info(&self) -> Result<Info> {
        self.validate()?;
        let n = self.joints.len();
        let mut features = vec![
            Feature::column(ACTION, "float32", n, json!(self.joints)),
            Feature::column(STATE, "float32", n, json!(self.joints)),
        ];
        for camera in &self.cameras {
            let mut rest = Map::new();
            rest.insert("info".into(), self.video_info(camera));
            features.push(Feature {
                key: camera.key(),
                dtype: "video".into(),
                shape: vec![camera.height, camera.width, 3],
                names: json!(["height", "width", "channels"]),
                rest,
            });
        }
        if self.extras {
            let scalar = |key, dtype| Feature::column(key, dtype, 1, Value::Null);
            let joints = |key| Feature::column(key, "float32", n, json!(self.joints));
            features.extend([scalar(extra::CAPTURE, "float64"), scalar(extra::LATE, "float32")]);
            if !self.cameras.is_empty() {
                let names: Vec<&str> = self.cameras.iter().map(|camera| camera.name.as_str()).collect();
                features.push(Feature::column(extra::CAMERA_AGE, "float32", names.len(), json!(names)));
            }
            features.extend([
                joints(extra::LOAD),
                joints(extra::CURRENT),
                joints(extra::TEMPERATURE),
                scalar(extra::SCORE, "float32"),
                scalar(extra::SUCCESS, "bool"),
                scalar(extra::SOURCE, "int64"),
                scalar(extra::OUTCOME, "int64"),
                scalar(extra::SEED, "int64"),
            ]);
        }
        features.extend(DEFAULT_COLUMNS.map(|(key, dtype)| Feature::column(key, dtype, 1, Value::Null)));
        Ok(Info {
            version: VERSION.into(),
            fps: self.fps,
            features,
            total_episodes: 0,
            total_frames: 0,
            total_tasks: 0,
            chunks_size: 1000,
            data_files_size_mib: 100,
            video_files_size_mib: 200,
            data_path: DATA_PATH.into(),
            video_path: Some(VIDEO_PATH.into()).filter(|_| !self.cameras.is_empty()),
            robot_type: Some(self.robot_type.clone()),
            rest: Map::new(),
        })
    }

    /// As [`Spec::info`], with the column of the episodes' worlds where `world` is set.
    ///
    /// # Errors
    /// As [`Spec::info`].
    pub(crate) fn info_with(&self, world: bool) -> Result<Info> {
        let mut info = self.info()?;
        if world {
            let before_defaults = info.features.len() - DEFAULT_COLUMNS.len();
            info.features.insert(before_defaults, Feature::column(extra::WORLD, "string", 1, Value::Null));
        }
        Ok(info)
    }

    fn video_info(&self, camera: &CameraSpec) -> Value {
        json!({
            "is_depth_map": false, "video.height": camera.height, "video.width": camera.width, "video.codec": "h264",
            "video.pix_fmt": "yuv420p", "video.fps": self.fps, "video.channels": 3, "has_audio": false,
            "video.g": super::h264::GOP,
        })
    }

    fn validate(&self) -> Result<()> {
        let bad = |what: &str, problem: String, remedy: &str| Err(DatasetError::request(what, problem, remedy));
        if !(1..=240).contains(&self.fps) {
            return bad("fps", format!("{} rows a second is out of range", self.fps), "Use 1 to 240");
        }
        if self.joints.is_empty() {
            return bad("joints", "the list is empty".into(), "Name the robot's joints");
        }
        for (i, name) in self.joints.iter().enumerate() {
            if self.joints[..i].contains(name) {
                return bad("joints", format!("{name} occurs twice"), "Give each joint its own name");
            }
        }
        for (i, camera) in self.cameras.iter().enumerate() {
            let what = format!("camera {}", camera.name);
            let usable = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
            if camera.name.is_empty() || !camera.name.chars().all(usable) || camera.name.starts_with('.') {
                return bad(&what, "the name cannot be a folder".into(), "Use letters, digits, _ and -");
            }
            if self.cameras[..i].iter().any(|c| c.name == camera.name) {
                return bad(&what, "the name occurs twice".into(), "Give each camera its own name");
            }
            let fits = |n: usize| (16..=4096).contains(&n) && n.is_multiple_of(2);
            if !fits(camera.width) || !fits(camera.height) {
                let size = format!("{}x{} cannot be encoded", camera.width, camera.height);
                return bad(&what, size, "Use even sizes from 16 to 4096 pixels");
            }
        }
        Ok(())
    }
}

/// `meta/info.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct Info {
    /// `v3.0`, or `v2.1` when read from an older dataset.
    pub version: String,
    /// Rows a second.
    pub fps: u32,
    /// Columns and cameras in file order.
    pub features: Vec<Feature>,
    /// Finished episodes.
    pub total_episodes: usize,
    /// Rows of all of them.
    pub total_frames: usize,
    /// Different task texts.
    pub total_tasks: usize,
    /// Files in one `chunk-…` folder.
    pub chunks_size: usize,
    /// Size at which LeRobot begins a new parquet file, MiB.
    pub data_files_size_mib: usize,
    /// Size at which LeRobot begins a new mp4 file, MiB.
    pub video_files_size_mib: usize,
    /// Template of the parquet files' paths.
    pub data_path: String,
    /// Template of the mp4 files' paths.
    pub video_path: Option<String>,
    /// LeRobot's name of the robot.
    pub robot_type: Option<String>,
    /// Entries this program does not know, kept as they are.
    pub rest: Map<String, Value>,
}

impl Info {
    /// Reads the text of `path` (used in messages only).
    ///
    /// # Errors
    /// [`DatasetError::Invalid`] names the key and what it should hold.
    pub fn parse(path: &Path, text: &[u8]) -> Result<Self> {
        let bad = |key: &str, problem: String, remedy: &str| DatasetError::invalid(path, key, problem, remedy);
        let json: Value = serde_json::from_slice(text)
            .map_err(|e| bad("JSON", format!("not readable: {e}"), "Restore the file from a copy"))?;
        let Value::Object(mut map) = json else {
            return Err(bad("JSON", "not an object".into(), "Restore the file from a copy"));
        };
        let version = match map.remove("codebase_version") {
            Some(Value::String(v)) => v,
            _ => return Err(bad("codebase_version", "missing".into(), "Add \"codebase_version\": \"v3.0\"")),
        };
        let number = version.trim_start_matches('v');
        if !(number.starts_with("3.") || number == "2.1") {
            let remedy = "Datasets of v2.1 and v3.x can be read: convert with LeRobot first";
            return Err(bad("codebase_version", format!("{version} is not known"), remedy));
        }
        let fps = map
            .remove("fps")
            .and_then(|v| v.as_f64())
            .filter(|f| f.fract() == 0.0 && (1.0..=1000.0).contains(f))
            .ok_or_else(|| {
                bad("fps", "missing or not a whole number from 1 to 1000".into(), "Write the rows a second")
            })? as u32;
        let Some(Value::Object(raw)) = map.remove("features") else {
            return Err(bad("features", "missing".into(), "Restore the file from a copy"));
        };
        let features = raw.into_iter().map(|(key, value)| parse_feature(path, key, value)).collect::<Result<_>>()?;
        let mut count = |key: &str| -> Result<usize> {
            let value = map.remove(key);
            let wrong = || bad(key, "missing or not a whole number".into(), "Write the true count");
            value.and_then(|v| v.as_u64()).map(|v| v as usize).ok_or_else(wrong)
        };
        let (total_episodes, total_frames) = (count("total_episodes")?, count("total_frames")?);
        let total_tasks = count("total_tasks")?;
        let chunks_size = count("chunks_size").unwrap_or(1000).max(1);
        let data_files_size_mib = count("data_files_size_in_mb").unwrap_or(100);
        let video_files_size_mib = count("video_files_size_in_mb").unwrap_or(200);
        let mut text = |key: &str| map.remove(key).and_then(|v| v.as_str().map(String::from));
        let data_path = text("data_path").unwrap_or_else(|| DATA_PATH.into());
        let video_path = text("video_path");
        let robot_type = text("robot_type");
        map.remove("splits");
        let info = Self {
            version,
            fps,
            features,
            total_episodes,
            total_frames,
            total_tasks,
            chunks_size,
            data_files_size_mib,
            video_files_size_mib,
            data_path,
            video_path,
            robot_type,
            rest: map,
        };
        Ok(info)
    }

    /// The text of `info.json`: the keys in LeRobot's order, four spaces of indent, no newline at the end.
    pub fn to_text(&self) -> String {
        let mut map = Map::new();
        let features: Map<_, _> = self.features.iter().map(|f| (f.key.clone(), f.to_json())).collect();
        let known = [
            ("codebase_version", json!(self.version)),
            ("fps", json!(self.fps)),
            ("features", Value::Object(features)),
            ("total_episodes", json!(self.total_episodes)),
            ("total_frames", json!(self.total_frames)),
            ("total_tasks", json!(self.total_tasks)),
            ("chunks_size", json!(self.chunks_size)),
            ("data_files_size_in_mb", json!(self.data_files_size_mib)),
            ("video_files_size_in_mb", json!(self.video_files_size_mib)),
            ("data_path", json!(self.data_path)),
            ("video_path", json!(self.video_path)),
            ("robot_type", json!(self.robot_type)),
            ("splits", json!({"train": format!("0:{}", self.total_episodes)})),
        ];
        map.extend(known.map(|(key, value)| (key.to_string(), value)));
        map.extend(self.rest.clone());
        to_pretty(&map)
    }

    /// Whether the dataset has the older layout with one file an episode.
    pub fn is_v21(&self) -> bool {
        self.version.trim_start_matches('v') == "2.1"
    }

    /// The feature called `key`.
    pub fn feature(&self, key: &str) -> Option<&Feature> {
        self.features.iter().find(|f| f.key == key)
    }

    /// Keys of the cameras whose pictures are mp4 files, in file order.
    pub fn videos(&self) -> impl Iterator<Item = &Feature> {
        self.features.iter().filter(|f| f.is_video())
    }

    /// Makes the column of the cameras' ages that of `other`, a dataset to be continued: without it if that has none, in its
    /// order of cameras if that has the same ones.
    pub(crate) fn follow_camera_ages(&mut self, other: &Info) {
        let Some(theirs) = other.feature(extra::CAMERA_AGE) else {
            self.features.retain(|feature| feature.key != extra::CAMERA_AGE);
            return;
        };
        let sorted = |names: &Value| {
            let mut names: Vec<String> = names.as_array().into_iter().flatten().map(Value::to_string).collect();
            names.sort_unstable();
            names
        };
        if let Some(ours) = self.features.iter_mut().find(|feature| feature.key == extra::CAMERA_AGE)
            && sorted(&ours.names) == sorted(&theirs.names)
        {
            ours.names = theirs.names.clone();
        }
    }

    /// What keeps rows of `other` from being added here, one sentence each; empty when they fit.
    pub fn differences(&self, other: &Info) -> Vec<String> {
        let mut found = Vec::new();
        if self.is_v21() {
            found.push(format!("it is of version {}, convert it to {VERSION} with LeRobot first", self.version));
        }
        if self.fps != other.fps {
            found.push(format!("it has {} rows a second, not {}", self.fps, other.fps));
        }
        if self.robot_type.is_some() && other.robot_type.is_some() && self.robot_type != other.robot_type {
            let name = |t: &Option<String>| t.clone().unwrap_or_default();
            found.push(format!("its robot is {}, not {}", name(&self.robot_type), name(&other.robot_type)));
        }
        for feature in &self.features {
            match other.feature(&feature.key) {
                None => found.push(format!("it has {}, which would be missing", feature.key)),
                Some(new) if new.shape != feature.shape || new.dtype != feature.dtype => found.push(format!(
                    "its {} is {} {:?}, not {} {:?}",
                    feature.key, feature.dtype, feature.shape, new.dtype, new.shape
                )),
                Some(new) if !new.is_visual() && new.names != feature.names && !feature.names.is_null() => {
                    found.push(format!("its {} has the elements {}, not {}", feature.key, feature.names, new.names));
                }
                Some(_) => {}
            }
        }
        let new = other.features.iter().filter(|f| self.feature(&f.key).is_none());
        found.extend(new.map(|f| format!("it has no {}", f.key)));
        found
    }
}

fn parse_feature(path: &Path, key: String, value: Value) -> Result<Feature> {
    let place = format!("features.{key}");
    let bad = |problem: &str| DatasetError::invalid(path, &place, problem, "Restore the file from a copy");
    let Value::Object(mut map) = value else { return Err(bad("not an object")) };
    if key.contains('/') || key.contains('\\') || key.starts_with("..") || key.is_empty() {
        return Err(bad("the name cannot be a folder"));
    }
    let Some(Value::String(dtype)) = map.remove("dtype") else { return Err(bad("no dtype")) };
    let shape: Option<Vec<usize>> = match map.remove("shape") {
        Some(Value::Array(items)) => {
            items.iter().map(|v| v.as_u64().filter(|&n| n < 1 << 24).map(|n| n as usize)).collect()
        }
        _ => None,
    };
    let shape = shape.filter(|s| s.len() <= 5).ok_or_else(|| bad("the shape is not a list of at most five sizes"))?;
    if shape.iter().try_fold(1usize, |a, &b| a.checked_mul(b)).is_none_or(|n| n > 1 << 28) {
        return Err(bad("the shape is too large"));
    }
    if matches!(dtype.as_str(), "video" | "image") && shape.len() != 3 {
        return Err(bad("a camera's shape is [height, width, channels]"));
    }
    let names = map.remove("names").unwrap_or(Value::Null);
    Ok(Feature { key, dtype, shape, names, rest: map })
}

/// JSON with four spaces of indent, as Python's `json.dump(indent=4)` writes it.
pub(crate) fn to_pretty(value: &impl Serialize) -> String {
    let mut text = Vec::new();
    let format = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, format);
    // Values built from strings and numbers always serialise; an empty text would be refused by every reader.
    if value.serialize(&mut serializer).is_err() {
        text.clear();
    }
    String::from_utf8(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> Spec {
        Spec {
            fps: 30,
            robot_type: "so100_follower".into(),
            joints: ["a.pos", "b.pos"].map(String::from).to_vec(),
            cameras: vec![CameraSpec { name: "front".into(), width: 64, height: 48 }],
            extras: true,
        }
    }

    #[test]
    fn text_survives_a_round_trip() {
        let info = spec().info().unwrap();
        let back = Info::parse(Path::new("info.json"), info.to_text().as_bytes()).unwrap();
        assert_eq!(info, back);
    }

    #[test]
    fn extra_columns_are_no_policy_inputs_and_defaults_come_last() {
        let info = spec().info().unwrap();
        let extras: Vec<_> = info.features.iter().filter(|f| f.key.starts_with("etude.")).collect();
        assert_eq!(extras.len(), 10);
        assert!(extras.iter().all(|f| !f.key.starts_with("observation") && !f.key.starts_with("action")));
        let last: Vec<_> = info.features.iter().rev().take(5).rev().map(|f| f.key.as_str()).collect();
        assert_eq!(last, DEFAULT_COLUMNS.map(|c| c.0));
    }

    #[test]
    fn impossible_specs_are_refused_by_name() {
        let mut odd = spec();
        odd.cameras[0].width = 63;
        assert!(odd.info().unwrap_err().to_string().contains("camera front"));
        let mut slash = spec();
        slash.cameras[0].name = "a/b".into();
        assert!(slash.info().is_err());
        let mut twice = spec();
        twice.joints[1] = "a.pos".into();
        assert!(twice.info().unwrap_err().to_string().contains("occurs twice"));
        let mut still = spec();
        still.fps = 0;
        assert!(still.info().unwrap_err().to_string().starts_with("fps"));
    }

    #[test]
    fn errors_name_file_key_and_remedy() {
        let error =
            Info::parse(Path::new("d/meta/info.json"), br#"{"codebase_version":"v3.0","fps":2.5}"#).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("d/meta/info.json") && text.contains("fps") && text.contains("Write the rows"), "{text}");
        let old = Info::parse(Path::new("i"), br#"{"codebase_version":"v1.6","fps":30}"#).unwrap_err().to_string();
        assert!(old.contains("v1.6") && old.contains("convert"), "{old}");
    }

    #[test]
    fn differences_name_each_mismatch() {
        let a = spec().info().unwrap();
        let mut other = spec();
        other.fps = 50;
        other.cameras[0].width = 96;
        other.extras = false;
        let text = a.differences(&other.info().unwrap()).join("\n");
        assert!(text.contains("30 rows a second, not 50"), "{text}");
        assert!(text.contains("observation.images.front"), "{text}");
        assert!(text.contains("etude.load"), "{text}");
        assert!(a.differences(&a).is_empty());
    }
}
