//! Other looks of generated episodes: their datasets hold what was where in every row, so nothing is simulated again.

use super::easel::{self, Looks, Seen, Take};
use super::maker::{Counting, NUMBERS_OF_POSE, column};
use super::run::{Made, Progress, Told, Work, carry_out};
use super::{Camera, GenerateError, LookAhead};
use crate::app::{Loaded, RunOptions};
use crate::config::{Randomise, Scene};
use crate::dataset::bulk::{GENERATED, Numbers, WholeEpisode};
use crate::dataset::schema::{ACTION, CAMERA_PREFIX, DEFAULT_COLUMNS, STATE, extra};
use crate::dataset::{Dataset, DatasetError, Feature, Info};
use crate::episode::EpisodeRequests;
use crate::headless::Headless;
use crate::joint_units::JointUnits;
use crate::operator::Operator;
use crate::record::{self, CameraWish, set_up_cameras};
use crate::replay::check_joints;
use crate::world::{DrawFor, DrawnWorld, Order, Randomiser, Start, Worlds};
use bevy_rapier3d::rapier::math::{Pose, Rotation, Vector};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// A prop lower than this is not part of the episode, m.
const ABSENT_BELOW_M: f32 = -1.0;
/// Quantiser where a dataset does not tell with which its pictures were encoded.
const QUANTISER: u64 = 14;

/// Which looks of which episodes.
#[derive(Clone, Debug)]
pub struct Redraw {
    /// Episodes, by their numbers.
    pub episodes: Vec<usize>,
    /// Looks of each.
    pub looks: u32,
    /// Number of the first look; `None`: the first that the dataset does not have.
    pub from_look: Option<u32>,
    /// Rows after which the pictures of an episode go over to another look; 0: never.
    pub look_every: u32,
    /// What is drawn anew.
    pub ranges: Randomise,
}

/// Whether a dataset tells what was where, so that [`redraw`] can draw it.
pub fn can_redraw(dataset: &Dataset) -> bool {
    dataset.info().feature(column::PROPS).is_some()
}

/// Draws generated episodes of `dataset` in other looks, into a new dataset in `root`, by `workers` threads. What was killed
/// goes on where it was; the result is the same for any number of workers. `watch` hears of progress.
///
/// # Errors
/// [`GenerateError`]: it was generated in another scene, or files cannot be read or written.
pub fn redraw(
    dataset: &Dataset,
    (loaded, options): (&Loaded, &RunOptions),
    wanted: &Redraw,
    workers: usize,
    root: &Path,
    watch: impl FnMut(&Progress),
) -> Result<Made, GenerateError> {
    let scene = loaded.scene.scene.clone();
    check_joints(dataset, &JointUnits::new(&loaded.model)).map_err(|error| bad(error.to_string(), "name the arm"))?;
    check_props(dataset, &scene)?;
    let made = dataset.info().rest.get(GENERATED);
    let quantiser = made.and_then(|made| made.get("settings")?.get("quantiser")?.as_u64()).unwrap_or(QUANTISER);
    let worlds = record::worlds(dataset)?;
    let source = Source::read(dataset)?;
    let first = match wanted.from_look {
        Some(first) => first,
        None => source.last_look() + 1,
    };
    let looks = Looks::new(Some(&wanted.ranges), first, wanted.looks, wanted.look_every);
    if !looks.can_differ() || wanted.looks == 0 {
        let problem = "nothing is to be drawn anew".into();
        return Err(GenerateError::Option { option: "--randomise", problem, remedy: "give looks".into() });
    }
    let cameras = dataset.info().videos().map(camera).collect();
    let info = info_of(dataset.info());
    let about = json!({"settings": {
        "redrawn": format!("{:016x}", source.hash()),
        "episodes": wanted.episodes,
        "looks": wanted.looks,
        "from_look": first,
        "look_every": wanted.look_every,
        "ranges": format!("{:016x}", xxh3_64(format!("{:?}", wanted.ranges).as_bytes())),
        "quantiser": quantiser,
        "generated": made.and_then(|made| made.get("settings")).cloned().unwrap_or_default(),
    }});
    let about = |tried: Option<u64>| -> Value {
        let mut about = about.clone();
        if let Some(tried) = tried {
            about["tried"] = json!(tried);
        }
        about
    };
    let options = RunOptions { operator: Operator::Nobody, ..options.clone() };
    let quantiser = u8::try_from(quantiser).unwrap_or(QUANTISER as u8);
    let work = Redrawing { loaded, options, wanted, looks, dataset, source, worlds, scene, cameras, quantiser, info };
    carry_out(&work, 0..wanted.episodes.len() as u64, workers, root, &about, watch)
}

fn bad(problem: String, remedy: &str) -> GenerateError {
    GenerateError::Option { option: "dataset", problem, remedy: remedy.into() }
}

/// Whether the props that the dataset tells of are those of the scene.
fn check_props(dataset: &Dataset, scene: &Scene) -> Result<(), GenerateError> {
    let names = dataset.info().feature(column::PROPS).map(|feature| feature.names.clone()).unwrap_or_default();
    let names: Vec<&str> = names.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let told = names.iter().step_by(NUMBERS_OF_POSE).map(|name| name.split('.').next().unwrap_or_default());
    let told: Vec<&str> = told.filter(|name| !name.starts_with("distractor_")).collect();
    let own: Vec<&str> = scene.props.iter().map(|prop| prop.name.as_str()).collect();
    if told == own {
        return Ok(());
    }
    let problem = format!("it tells of {}, the scene has {}", told.join(", "), own.join(", "));
    Err(bad(problem, "name the scene it was generated in with --task"))
}

fn camera(feature: &Feature) -> Camera {
    let name = feature.key.strip_prefix(CAMERA_PREFIX).unwrap_or(&feature.key).to_string();
    let side = |index: usize| feature.shape.get(index).and_then(|side| u32::try_from(*side).ok()).unwrap_or(0);
    Camera { name, width: side(1), height: side(0) }
}

/// Features of the redrawn dataset: those of the source, and the column that tells the worlds.
fn info_of(source: &Info) -> Info {
    let mut info = source.clone();
    (info.total_episodes, info.total_frames, info.total_tasks) = (0, 0, 0);
    info.rest.clear();
    if info.feature(extra::WORLD).is_none() {
        let defaults = info.features.len().saturating_sub(DEFAULT_COLUMNS.len());
        info.features.insert(defaults, Feature::column(extra::WORLD, "string", 1, Value::Null));
    }
    info
}

/// The columns of the source, whole.
struct Source {
    columns: Vec<(String, usize, Numbers)>,
}

impl Source {
    fn read(dataset: &Dataset) -> Result<Self, DatasetError> {
        let mut columns = Vec::new();
        for feature in &dataset.info().features {
            let key = feature.key.as_str();
            if feature.is_video() || DEFAULT_COLUMNS.iter().any(|column| column.0 == key) {
                continue;
            }
            let numbers = match feature.dtype.as_str() {
                "float32" => Numbers::F32(dataset.rows(key)?.values.clone()),
                "float64" => Numbers::F64(dataset.scalars(key)?),
                "int64" => Numbers::I64(dataset.scalars(key)?.into_iter().map(|value| value as i64).collect()),
                "bool" => Numbers::Bool(dataset.scalars(key)?.into_iter().map(|value| value != 0.0).collect()),
                "string" => Numbers::Text(dataset.texts(key)?),
                other => {
                    let problem = format!("its numbers are {other}");
                    return Err(DatasetError::Request {
                        what: key.into(),
                        problem,
                        remedy: "Remove the column".into(),
                    });
                }
            };
            columns.push((key.to_string(), feature.width(), numbers));
        }
        Ok(Self { columns })
    }

    fn floats(&self, key: &str, row: usize) -> &[f32] {
        let found = self.columns.iter().find(|column| column.0 == key);
        match found {
            Some((_, width, Numbers::F32(values))) => values.get(row * width..(row + 1) * width).unwrap_or_default(),
            _ => &[],
        }
    }

    /// The greatest number of a look.
    fn last_look(&self) -> u32 {
        let Some((.., Numbers::Text(told))) = self.columns.iter().find(|column| column.0 == extra::WORLD) else {
            return 0;
        };
        told.iter().filter_map(|text| DrawnWorld::from_json(text).ok()).map(|world| world.look).max().unwrap_or(0)
    }

    fn hash(&self) -> u64 {
        xxh3_64(format!("{:?}", self.columns).as_bytes())
    }
}

/// Rows `rows` of `numbers`, `width` a row.
fn part(numbers: &Numbers, width: usize, rows: std::ops::Range<usize>) -> Numbers {
    fn cut<T: Clone>(values: &[T], width: usize, rows: &std::ops::Range<usize>) -> Vec<T> {
        values.get(rows.start * width..rows.end * width).unwrap_or_default().to_vec()
    }
    match numbers {
        Numbers::F32(values) => Numbers::F32(cut(values, width, &rows)),
        Numbers::F64(values) => Numbers::F64(cut(values, width, &rows)),
        Numbers::I64(values) => Numbers::I64(cut(values, width, &rows)),
        Numbers::Bool(values) => Numbers::Bool(cut(values, width, &rows)),
        Numbers::Text(values) => Numbers::Text(cut(values, width, &rows)),
    }
}

/// Episodes to draw, and all that is needed for it.
struct Redrawing<'a> {
    loaded: &'a Loaded,
    options: RunOptions,
    wanted: &'a Redraw,
    looks: Looks,
    dataset: &'a Dataset,
    source: Source,
    worlds: Vec<Option<DrawnWorld>>,
    scene: Arc<Scene>,
    cameras: Vec<Camera>,
    quantiser: u8,
    info: Info,
}

/// A world to draw in.
struct Painter {
    headless: Headless,
    looking: LookAhead,
    units: JointUnits,
}

impl Work for Redrawing<'_> {
    type Worker = Painter;

    fn hire(&self) -> Result<Painter, GenerateError> {
        let mut headless = Headless::from_loaded(self.loaded, &self.options);
        let world = headless.app.world_mut();
        let wishes: Vec<CameraWish> = self.cameras.iter().map(Camera::wish).collect();
        set_up_cameras(world, &wishes)?;
        world.insert_resource(crate::camera::CamerasInUse::None);
        let looking = LookAhead::new(world);
        Ok(Painter { headless, looking, units: JointUnits::new(&self.loaded.model) })
    }

    fn info(&self, _: &Painter) -> Info {
        self.info.clone()
    }

    fn make(&self, painter: &mut Painter, original: u64, told: &mut Told) -> Result<Vec<WholeEpisode>, GenerateError> {
        let number = self.wanted.episodes[original as usize];
        let episode = self.dataset.episode(number)?;
        let rows = episode.rows();
        let own = self.worlds.get(number).cloned().flatten().unwrap_or_default();
        let props_of = |row: usize| poses(self.source.floats(column::PROPS, row));
        let first = props_of(rows.start);
        let props = first.get(..self.scene.props.len()).unwrap_or_default().to_vec();
        let present = props.iter().map(|pose| pose.translation.z > ABSENT_BELOW_M).collect();
        let start = Start { q_rad: vec![0.0; painter.units.names().len()], props, present, order: Order::default() };
        let seed = match self.source.columns.iter().find(|found| found.0 == column::SEED) {
            Some((.., Numbers::I64(seeds))) => seeds.get(rows.start).map_or(0, |seed| *seed as u64),
            _ => 0,
        };
        // The episode's things come into being; where they are is told row by row.
        let world = painter.headless.app.world_mut();
        world.resource_mut::<Randomiser>().worlds = Worlds::Given(Arc::new(own.clone()));
        world.resource_mut::<EpisodeRequests>().start_at = Some(start.clone());
        painter.headless.start(seed)?;
        let arm = painter.looking.arm(painter.headless.app.world()).ok_or(GenerateError::NoArm)?;
        let counting = Counting::new(&arm, &own);
        let clock = self.source.columns.iter().find(|found| found.0 == extra::CAPTURE);
        let hz = f64::from(self.loaded.rate.hz);
        let seen: Vec<Seen> = rows
            .clone()
            .map(|row| Seen {
                tick: match clock {
                    Some((.., Numbers::F64(seconds))) => seconds.get(row).map_or(0, |s| (s * hz).round() as u64),
                    _ => (row - rows.start) as u64,
                },
                q_rad: counting.true_rad(&painter.units.to_rad(self.source.floats(STATE, row))),
                props: props_of(row),
            })
            .collect();
        let ticks_per_turn = arm.servo.ticks_per_turn;
        let it = DrawFor { scene: &self.scene, model: &arm.model, ticks_per_turn, start: &start, seed, look: 0 };
        let task = episode.tasks.first().cloned().unwrap_or_default();
        let mut episodes = Vec::new();
        for number in 0..self.wanted.looks {
            let take = self.looks.take(number, &own, seen.len(), &it);
            let how = (&self.cameras[..], self.info.fps, self.quantiser);
            let pictures = easel::draw(painter.headless.app.world_mut(), &arm, how, &seen, &take)?;
            let shift = |key: &str, row: &[f32]| {
                let now = Counting::new(&arm, &take.world);
                let whole = key == STATE || key == column::SENT;
                let q = painter.units.to_rad(row);
                painter.units.to_lerobot(&if whole {
                    now.whole_rad(&counting.true_rad(&q))
                } else {
                    now.counted_rad(&counting.uncounted_rad(&q))
                })
            };
            let columns = self.columns(rows.clone(), &take, take.world.zeros != own.zeros, &shift);
            episodes.push(WholeEpisode { rows: seen.len(), task: task.clone(), columns, pictures });
            if told.stops() {
                break;
            }
        }
        told.attempt(episodes.len(), 0);
        Ok(episodes)
    }

    fn looks(&self) -> u64 {
        self.wanted.looks.into()
    }
}

impl Redrawing<'_> {
    /// Columns of one look. `shift` gives a row of joints as counted in it; it is asked where zeros differ.
    fn columns(
        &self,
        rows: std::ops::Range<usize>,
        take: &Take,
        differs: bool,
        shift: &dyn Fn(&str, &[f32]) -> Vec<f32>,
    ) -> Vec<(String, Numbers)> {
        let joints = self.loaded.model.joints.len().max(1);
        let mut columns: Vec<(String, Numbers)> = Vec::new();
        for (key, width, numbers) in self.source.columns.iter().filter(|found| found.0 != extra::WORLD) {
            let mut own = part(numbers, *width, rows.clone());
            let counts = [STATE, ACTION, column::SENT, column::CHUNK].contains(&key.as_str());
            if let Numbers::F32(values) = &mut own
                && counts
                && differs
            {
                *values = values.chunks(joints).flat_map(|row| shift(key, row)).collect();
            }
            columns.push((key.clone(), own));
        }
        columns.push((extra::WORLD.into(), Numbers::Text(take.told(rows.len()))));
        // In the order of the features.
        let place = |key: &str| self.info.features.iter().position(|feature| feature.key == key);
        columns.sort_by_key(|(key, _)| place(key));
        columns
    }
}

/// The poses of a row of [`column::PROPS`]; those that are all zero end it.
fn poses(row: &[f32]) -> Vec<Pose> {
    let told = row.chunks_exact(NUMBERS_OF_POSE).take_while(|pose| pose.iter().any(|value| *value != 0.0));
    told.map(|p| Pose::from_parts(Vector::new(p[0], p[1], p[2]), Rotation::from_xyzw(p[3], p[4], p[5], p[6]))).collect()
}
