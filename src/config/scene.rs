//! `scenes/*.ron`: a table top with a task on it. Frame: arm base, z up, the arm reaches along -y.

use super::{CameraConfig, Problems, Randomise, Validate};
use serde::{Deserialize, Serialize};

/// sRGB colour, each part 0 to 1.
pub type Colour = (f32, f32, f32);

/// A table top, what lies on it, and what shall be done with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scene {
    /// Title for people.
    pub title: String,
    /// What to do, one sentence; also the task text of recorded episodes.
    pub instruction: String,
    /// The task.
    pub task: TaskConfig,
    /// An episode ends after this time, s.
    pub time_limit_s: f64,
    /// The table.
    pub table: Table,
    /// Objects, in the order in which they are created.
    pub props: Vec<Prop>,
    /// Marks painted on the table.
    pub marks: Vec<Mark>,
    /// Where the arm starts.
    pub arm_start: ArmStart,
    /// The light.
    pub light: LightConfig,
    /// Cameras.
    pub cameras: Vec<CameraConfig>,
    /// Colours of the arm that replace its URDF's.
    #[serde(default)]
    pub arm_colours: Option<ArmColours>,
    /// What cameras see behind the table.
    #[serde(default)]
    pub backdrop: Option<BackdropColours>,
    /// How episodes differ; without it every episode has this very world.
    #[serde(default)]
    pub randomise: Option<Randomise>,
}

/// What makes an attempt a success.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum TaskConfig {
    /// Nothing to do.
    FreePlay,
    /// Bring a T block onto its outline.
    MoveT {
        /// The prop to move.
        block: String,
        /// The outline's pose.
        goal: Pose2,
        /// Share of the block's area that must lie inside the outline.
        coverage: f64,
        /// How long all conditions must hold, s.
        hold_s: f64,
    },
    /// Bring a block into an area and let go.
    PickPlace {
        /// The prop to move.
        block: String,
        /// The area's pose.
        goal: Pose2,
        /// Edge lengths of the area, m.
        size_m: (f64, f64),
        /// How long all conditions must hold, s.
        hold_s: f64,
    },
    /// Put one block onto another.
    Stack {
        /// The prop to move.
        block: String,
        /// The prop it goes onto.
        base: String,
        /// How long all conditions must hold, s.
        hold_s: f64,
    },
    /// Put what a sentence names where the sentence says; it is drawn with the start from what then is on the table. Every
    /// prop is a block or a ball and called by its colour, such as `red_block`.
    SortByWord {
        /// Where things may go.
        areas: Vec<Area>,
        /// Least and greatest number of props that are on the table in an episode.
        objects: (usize, usize),
        /// How long all conditions must hold, s.
        hold_s: f64,
    },
}

/// A rectangle on the table in which things shall lie.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Area {
    /// What a sentence calls it, such as `green area`.
    pub name: String,
    /// Its pose.
    pub pose: Pose2,
    /// Edge lengths, m.
    pub size_m: (f64, f64),
}

/// A pose on the table top.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pose2 {
    /// Position, m.
    pub x_m: f64,
    /// Position, m.
    pub y_m: f64,
    /// Turn about z, degrees.
    pub yaw_deg: f64,
}

/// The table; its top is z = 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Centre of the top, m.
    pub centre_m: (f64, f64),
    /// Edge lengths, m.
    pub size_m: (f64, f64),
    /// Friction coefficient.
    pub friction: f64,
    /// Colour.
    pub colour: Colour,
    /// Fine structure of its top, as cameras see it; without it planks.
    #[serde(default)]
    pub pattern: Option<SurfacePattern>,
    /// How much darker the pattern's second colour is, as a share; without it 0.2.
    #[serde(default)]
    pub pattern_depth: Option<f32>,
    /// Which of many equal patterns.
    #[serde(default)]
    pub pattern_seed: Option<u32>,
}

/// Fine structure of a surface.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum SurfacePattern {
    /// One colour.
    Plain,
    /// Planks with grain.
    Wood,
    /// Fine irregular mottling, like linoleum or felt.
    Mottled,
    /// Squares with this side, m.
    Checker(f32),
}

/// Colours of an arm.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArmColours {
    /// Printed parts.
    pub printed: Colour,
    /// The jaw.
    pub jaw: Colour,
    /// Servos.
    pub servos: Colour,
}

/// Colours of what is behind the table.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackdropColours {
    /// Straight ahead.
    pub horizon: Colour,
    /// Above.
    pub zenith: Colour,
    /// Below.
    pub floor: Colour,
}

/// An object that can be moved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prop {
    /// Its name.
    pub name: String,
    /// Its shape; the origin is the centre of mass.
    pub shape: PropShape,
    /// Mass, kg.
    pub mass_kg: f64,
    /// Friction coefficient.
    pub friction: f64,
    /// Colour.
    pub colour: Colour,
    /// Where it starts.
    pub start: Spawn,
}

/// Shape of a prop.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum PropShape {
    /// A block with full edge lengths, m.
    Block(f64, f64, f64),
    /// A ball of this radius, m.
    Ball(f64),
    /// A T lying flat, bar towards +y.
    Tee(TeeSize),
}

/// Size of a T: the bar is 4 strokes long, the stem 3, both one stroke wide.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TeeSize {
    /// Width of bar and stem, m.
    pub stroke_m: f64,
    /// Thickness, m.
    pub height_m: f64,
}

/// A random pose on the table, uniform in each coordinate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spawn {
    /// Range of x, m.
    pub x_m: (f64, f64),
    /// Range of y, m.
    pub y_m: (f64, f64),
    /// Range of the turn about z, degrees.
    pub yaw_deg: (f64, f64),
    /// Least and greatest distance of any corner from the arm's pan axis, m: what a gripper pointing down reaches.
    pub reach_m: (f64, f64),
    /// Least distance of the centre from every other prop and from the goal, m.
    pub apart_m: f64,
}

/// Something painted on the table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// Its shape.
    pub shape: MarkShape,
    /// Where it is.
    pub pose: Pose2,
    /// Colour.
    pub colour: Colour,
}

/// Shape of a mark.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum MarkShape {
    /// The outline of a T, drawn outside its edge with a line of this width, m.
    TeeOutline(TeeSize, f64),
    /// A filled rectangle with these edge lengths, m.
    Area(f64, f64),
}

/// Where the arm starts: the tool point somewhere in a box, fingers down.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArmStart {
    /// Range of the tool point's x, m.
    pub x_m: (f64, f64),
    /// Range of y, m.
    pub y_m: (f64, f64),
    /// Range of z, m.
    pub z_m: (f64, f64),
    /// Range of the wrist roll, degrees.
    pub roll_deg: (f64, f64),
    /// Range of the gripper, degrees.
    pub gripper_deg: (f64, f64),
}

/// The sun and the sky of a scene.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LightConfig {
    /// Direction from the scene towards the sun; need not be a unit vector.
    pub towards_sun: (f32, f32, f32),
    /// Sun strength, 1 is normal.
    pub sun: f32,
    /// Sky light, 1 is normal.
    pub sky: f32,
    /// Factor on the sun's red, green and blue.
    #[serde(default)]
    pub tint: Option<(f32, f32, f32)>,
}

impl ArmColours {
    /// Colour of a part that is `given` in the URDF; what is nearly black there is a servo.
    pub fn paint(&self, given: Colour, is_jaw: bool) -> Colour {
        match given.0 + given.1 + given.2 < 0.4 {
            true => self.servos,
            false if is_jaw => self.jaw,
            false => self.printed,
        }
    }
}

impl SurfacePattern {
    /// Reports a square that is too small to be seen.
    pub(super) fn check(&self, key: &str, problems: &mut Problems) {
        if let Self::Checker(side_m) = self {
            problems.range(key, f64::from(*side_m), 0.002, 1.0, "m");
        }
    }
}

impl Validate for Scene {
    fn validate(&self, problems: &mut Problems) {
        problems.range("time_limit_s", self.time_limit_s, 0.5, 3600.0, "s");
        problems.within("task", |p| self.task.validate(&self.props, p));
        problems.within("table", |p| {
            for value in [self.table.centre_m.0, self.table.centre_m.1] {
                p.range("centre_m", value, -2.0, 2.0, "m");
            }
            for value in [self.table.size_m.0, self.table.size_m.1] {
                p.range("size_m", value, 0.1, 4.0, "m");
            }
            p.range("friction", self.table.friction, 0.0, 3.0, "");
            p.colour("colour", self.table.colour);
            if let Some(pattern) = &self.table.pattern {
                pattern.check("pattern", p);
            }
            p.range("pattern_depth", f64::from(self.table.pattern_depth.unwrap_or(0.0)), 0.0, 1.0, "");
        });
        problems.within("props", |p| {
            for (index, prop) in self.props.iter().enumerate() {
                if self.props[..index].iter().any(|other| other.name == prop.name) {
                    p.report(&prop.name, "the name is used twice", "give every prop a name of its own");
                }
                p.within(&prop.name, |p| prop.validate(p));
            }
        });
        problems.within("marks", |p| {
            for mark in &self.marks {
                p.colour("colour", mark.colour);
                mark.pose.validate("pose", p);
                match mark.shape {
                    MarkShape::TeeOutline(tee, width_m) => {
                        tee.validate(p);
                        p.range("TeeOutline", width_m, 0.0005, 0.05, "m");
                    }
                    MarkShape::Area(x, y) => {
                        p.range("Area", x, 0.005, 1.0, "m");
                        p.range("Area", y, 0.005, 1.0, "m");
                    }
                }
            }
        });
        problems.within("arm_start", |p| {
            p.span("x_m", self.arm_start.x_m, -0.5, 0.5, "m");
            p.span("y_m", self.arm_start.y_m, -0.5, 0.5, "m");
            p.span("z_m", self.arm_start.z_m, 0.02, 0.5, "m");
            p.span("roll_deg", self.arm_start.roll_deg, -180.0, 180.0, "degrees");
            p.span("gripper_deg", self.arm_start.gripper_deg, -20.0, 120.0, "degrees");
        });
        problems.within("light", |p| {
            let (x, y, z) = self.light.towards_sun;
            if ![x, y, z].iter().all(|v| v.is_finite()) || z <= 0.2 * (x * x + y * y + z * z).sqrt() {
                p.report("towards_sun", "it does not point well above the horizon", "give a direction with a larger z");
            }
            p.range("sun", f64::from(self.light.sun), 0.0, 10.0, "");
            p.range("sky", f64::from(self.light.sky), 0.0, 10.0, "");
            let tint = self.light.tint.unwrap_or((1.0, 1.0, 1.0));
            for part in [tint.0, tint.1, tint.2] {
                p.range("tint", f64::from(part), 0.0, 4.0, "");
            }
        });
        if let Some(arm) = &self.arm_colours {
            problems.within("arm_colours", |p| {
                p.colour("printed", arm.printed);
                p.colour("jaw", arm.jaw);
                p.colour("servos", arm.servos);
            });
        }
        if let Some(backdrop) = &self.backdrop {
            problems.within("backdrop", |p| {
                p.colour("horizon", backdrop.horizon);
                p.colour("zenith", backdrop.zenith);
                p.colour("floor", backdrop.floor);
            });
        }
        if let Some(randomise) = &self.randomise {
            problems.within("randomise", |p| randomise.validate(p));
        }
        problems.within("cameras", |p| {
            for (index, camera) in self.cameras.iter().enumerate() {
                if self.cameras[..index].iter().any(|other| other.name == camera.name) {
                    p.report(&camera.name, "the name is used twice", "give every camera a name of its own");
                }
                p.within(&camera.name, |p| camera.validate(p));
            }
        });
    }
}

impl TaskConfig {
    /// The prop the task is about, and where it shall go, where the scene alone says so.
    pub fn block_and_goal(&self) -> Option<(&str, Pose2)> {
        match self {
            Self::FreePlay | Self::Stack { .. } | Self::SortByWord { .. } => None,
            Self::MoveT { block, goal, .. } | Self::PickPlace { block, goal, .. } => Some((block, *goal)),
        }
    }

    /// Places on the table that something shall be brought to, m.
    pub fn goals_m(&self) -> Vec<(f64, f64)> {
        match self {
            Self::SortByWord { areas, .. } => areas.iter().map(|area| (area.pose.x_m, area.pose.y_m)).collect(),
            _ => self.block_and_goal().map(|(_, goal)| (goal.x_m, goal.y_m)).into_iter().collect(),
        }
    }

    fn validate(&self, props: &[Prop], problems: &mut Problems) {
        let find = |key: &str, name: &str, problems: &mut Problems| {
            let found = props.iter().find(|prop| prop.name == name);
            if found.is_none() {
                problems.report(key, format!("there is no prop \"{name}\""), "name one of the props");
            }
            found
        };
        match self {
            Self::FreePlay => {}
            Self::MoveT { block, goal, coverage, hold_s } => {
                goal.validate("goal", problems);
                problems.range("coverage", *coverage, 0.1, 1.0, "");
                problems.range("hold_s", *hold_s, 0.0, 60.0, "s");
                if find("block", block, problems).is_some_and(|prop| !matches!(prop.shape, PropShape::Tee(_))) {
                    problems.report("block", format!("\"{block}\" is not a T"), "give it the shape Tee");
                }
            }
            Self::PickPlace { block, goal, size_m, hold_s } => {
                goal.validate("goal", problems);
                problems.range("size_m", size_m.0, 0.005, 1.0, "m");
                problems.range("size_m", size_m.1, 0.005, 1.0, "m");
                problems.range("hold_s", *hold_s, 0.0, 60.0, "s");
                find("block", block, problems);
            }
            Self::Stack { block, base, hold_s } => {
                problems.range("hold_s", *hold_s, 0.0, 60.0, "s");
                if block == base {
                    problems.report("base", "it is the block itself", "name another prop");
                }
                for (key, name) in [("block", block), ("base", base)] {
                    if find(key, name, problems).is_some_and(|prop| !matches!(prop.shape, PropShape::Block(..))) {
                        problems.report(key, format!("\"{name}\" is not a block"), "give it the shape Block");
                    }
                }
            }
            Self::SortByWord { areas, objects, hold_s } => {
                problems.range("hold_s", *hold_s, 0.0, 60.0, "s");
                if !(1 <= objects.0 && objects.0 <= objects.1 && objects.1 <= props.len()) {
                    let remedy = format!("give two numbers from 1 to {}, the smaller one first", props.len());
                    problems.report("objects", format!("{} to {} props cannot be there", objects.0, objects.1), remedy);
                }
                if areas.is_empty() {
                    problems.report("areas", "there is none", "give one or two");
                }
                for area in areas {
                    problems.within(&area.name, |p| {
                        area.pose.validate("pose", p);
                        p.range("size_m", area.size_m.0, 0.005, 1.0, "m");
                        p.range("size_m", area.size_m.1, 0.005, 1.0, "m");
                    });
                }
                for prop in props.iter().filter(|prop| prop.noun().is_none()) {
                    let remedy = "call a block COLOUR_block and a ball COLOUR_ball; a T cannot be sorted";
                    problems.report("props", format!("\"{}\" is not called what it is", prop.name), remedy);
                }
            }
        }
    }
}

impl Pose2 {
    /// The turn in radians.
    pub fn yaw_rad(&self) -> f64 {
        self.yaw_deg.to_radians()
    }

    fn validate(&self, key: &str, problems: &mut Problems) {
        problems.within(key, |p| {
            p.range("x_m", self.x_m, -2.0, 2.0, "m");
            p.range("y_m", self.y_m, -2.0, 2.0, "m");
            p.range("yaw_deg", self.yaw_deg, -360.0, 360.0, "degrees");
        });
    }
}

impl TeeSize {
    /// Distance from the outer edge of the bar to the centre of area, towards the stem, m.
    pub fn centroid_m(&self) -> f64 {
        // Bar: 4 units of area centred half a stroke below its edge; stem: 3 units, two and a half strokes below.
        (4.0 * 0.5 + 3.0 * 2.5) / 7.0 * self.stroke_m
    }

    /// Bar and stem as `(centre x, centre y, half x, half y)` about the centre of area, m.
    pub fn boxes_m(&self) -> [(f64, f64, f64, f64); 2] {
        let (u, c) = (self.stroke_m, self.centroid_m());
        [(0.0, c - 0.5 * u, 2.0 * u, 0.5 * u), (0.0, c - 2.5 * u, 0.5 * u, 1.5 * u)]
    }

    /// Corners of the outline, counter-clockwise, about the centre of area, m.
    pub fn outline_m(&self) -> [(f64, f64); 8] {
        let (u, c) = (self.stroke_m, self.centroid_m());
        [
            (-2.0 * u, c),
            (-2.0 * u, c - u),
            (-0.5 * u, c - u),
            (-0.5 * u, c - 4.0 * u),
            (0.5 * u, c - 4.0 * u),
            (0.5 * u, c - u),
            (2.0 * u, c - u),
            (2.0 * u, c),
        ]
    }

    /// Area seen from above, m².
    pub fn area_m2(&self) -> f64 {
        7.0 * self.stroke_m * self.stroke_m
    }

    fn validate(&self, problems: &mut Problems) {
        problems.range("stroke_m", self.stroke_m, 0.005, 0.1, "m");
        problems.range("height_m", self.height_m, 0.002, 0.1, "m");
    }
}

impl PropShape {
    /// Height of the centre of mass above the table when the prop lies as it starts, m.
    pub fn rest_height_m(&self) -> f64 {
        match *self {
            Self::Block(_, _, z) => 0.5 * z,
            Self::Ball(radius) => radius,
            Self::Tee(tee) => 0.5 * tee.height_m,
        }
    }

    /// Corners seen from above, about the centre of mass, m.
    pub fn footprint_m(&self) -> Vec<(f64, f64)> {
        match *self {
            Self::Block(x, y, _) => [(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)]
                .iter()
                .map(|(i, j)| (0.5 * i * x, 0.5 * j * y))
                .collect(),
            Self::Ball(radius) => vec![(radius, 0.0), (0.0, radius), (-radius, 0.0), (0.0, -radius)],
            Self::Tee(tee) => tee.outline_m().to_vec(),
        }
    }
}

impl Prop {
    /// Colour and kind by which a sentence calls it, `("red", "block")`; `None` if its name is not made of them.
    pub fn noun(&self) -> Option<(&str, &str)> {
        let (colour, kind) = self.name.rsplit_once('_')?;
        let fits = match self.shape {
            PropShape::Block(..) => kind == "block",
            PropShape::Ball(_) => kind == "ball",
            PropShape::Tee(_) => false,
        };
        (fits && !colour.is_empty()).then_some((colour, kind))
    }

    fn validate(&self, problems: &mut Problems) {
        problems.range("mass_kg", self.mass_kg, 0.0005, 5.0, "kg");
        problems.range("friction", self.friction, 0.0, 3.0, "");
        problems.colour("colour", self.colour);
        match self.shape {
            PropShape::Block(x, y, z) => {
                for edge in [x, y, z] {
                    problems.range("shape", edge, 0.003, 0.5, "m");
                }
            }
            PropShape::Ball(radius) => problems.range("shape", radius, 0.003, 0.25, "m"),
            PropShape::Tee(tee) => problems.within("shape", |p| tee.validate(p)),
        }
        problems.within("start", |p| {
            p.span("x_m", self.start.x_m, -1.0, 1.0, "m");
            p.span("y_m", self.start.y_m, -1.0, 1.0, "m");
            p.span("yaw_deg", self.start.yaw_deg, -360.0, 360.0, "degrees");
            p.span("reach_m", self.start.reach_m, 0.0, 2.0, "m");
            p.range("apart_m", self.start.apart_m, 0.0, 1.0, "m");
        });
    }
}
