//! `configs/randomise/*.ron` and the `randomise` section of a scene: how far worlds may differ from episode to episode.

use super::{Problems, SurfacePattern, Validate};
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// Ranges by group; a group that is missing does not vary.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Randomise {
    /// Direction, strength and tint of the light.
    pub light: Option<LightRange>,
    /// Colours of table, arm, objects, marks and what is behind the table.
    pub colours: Option<ColourRange>,
    /// Pattern of the table.
    pub textures: Option<TextureRange>,
    /// Pose and field of view of every camera.
    pub camera: Option<CameraRange>,
    /// Distortion of every camera's lens.
    pub lens: Option<LensRange>,
    /// Exposure, white balance, noise and blur of every camera.
    pub sensor: Option<SensorRange>,
    /// Things that lie about and have nothing to do with the task.
    pub distractors: Option<DistractorRange>,
    /// Friction of fingers, table and objects.
    pub friction: Option<FrictionRange>,
    /// Mass of every object.
    pub mass: Option<MassRange>,
    /// Stiffness of every servo.
    pub servo: Option<ServoRange>,
    /// Delay of commands.
    pub latency: Option<LatencyRange>,
    /// Play of the gears.
    pub backlash: Option<BacklashRange>,
    /// Errors of the joints' zeros.
    pub zeros: Option<ZeroRange>,
    /// How the arm stands at the start.
    pub start: Option<StartRange>,
    /// Place and size of the table top.
    pub table: Option<TableRange>,
}

/// Range of the light.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LightRange {
    /// How far the tip of the unit vector towards the sun may move along x and y.
    pub tilt: f64,
    /// Factor on the sun.
    pub sun: (f64, f64),
    /// Factor on the sky.
    pub sky: (f64, f64),
    /// How far the sun's red, green and blue may each leave 1.
    pub tint: f64,
}

/// Range of the colours.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColourRange {
    /// Brightness of the table; its hue may be any.
    pub table_value: (f64, f64),
    /// Saturation of the table.
    pub table_saturation: (f64, f64),
    /// Brightness of the arm's printed parts; their hue may be any.
    pub arm_value: (f64, f64),
    /// Saturation of the arm's printed parts.
    pub arm_saturation: (f64, f64),
    /// Brightness of the servos, which are grey.
    pub servo_value: (f64, f64),
    /// How far the hue of objects and marks may move, degrees: small, since instructions name colours.
    pub hue_deg: f64,
    /// Factor on the saturation of objects and marks.
    pub saturation: (f64, f64),
    /// Factor on the brightness of objects and marks.
    pub value: (f64, f64),
    /// Brightness of what is behind the table.
    pub backdrop_value: (f64, f64),
    /// Least distance of the table's and the arm's colour from every object and mark, as a length in the sRGB cube.
    pub contrast: f64,
}

/// Range of the table's pattern.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextureRange {
    /// Patterns to choose from.
    pub patterns: Vec<SurfacePattern>,
    /// How much darker the pattern's second colour is, as a share.
    pub depth: (f64, f64),
}

/// Range of the cameras' poses.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CameraRange {
    /// How far a camera may be moved along each axis, m.
    pub position_m: f64,
    /// How far it may be turned about each of its axes, degrees.
    pub rotation_deg: f64,
    /// How far the field of view may leave its value, as a share.
    pub fov: f64,
}

/// Range of the lenses.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LensRange {
    /// Quadratic distortion; barrel is negative.
    pub k1: (f64, f64),
    /// Quartic distortion.
    pub k2: (f64, f64),
}

/// Range of the image sensors.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SensorRange {
    /// Factor on the light.
    pub exposure: (f64, f64),
    /// How far the factors of red, green and blue may each leave 1.
    pub white_balance: f64,
    /// Standard deviation of the noise, byte values.
    pub noise: (f64, f64),
    /// Blur, pixels (standard deviation).
    pub blur_px: (f64, f64),
}

/// Range of what lies about.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DistractorRange {
    /// How many.
    pub count: (u32, u32),
    /// Edge lengths on the table, m.
    pub size_m: (f64, f64),
    /// Height, m: low enough for a hand that carries something to pass above.
    pub height_m: (f64, f64),
    /// Least distance of their outline from objects, marks and the ways between them, m.
    pub clear_m: f64,
}

/// Range of friction.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrictionRange {
    /// Factor; drawn once for the fingers and once for table and objects.
    pub factor: (f64, f64),
}

/// Range of masses.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MassRange {
    /// Factor, drawn for every object.
    pub factor: (f64, f64),
}

/// Range of the servos.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServoRange {
    /// Factor on the stiffness, drawn for every servo.
    pub stiffness: (f64, f64),
}

/// Range of the delay of commands.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatencyRange {
    /// Control ticks on top of the arm's own delay.
    pub ticks: (u32, u32),
}

/// Range of the play of the gears.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BacklashRange {
    /// Total play, degrees, the same for all joints.
    pub total_deg: (f64, f64),
}

/// Range of the joints' zeros.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZeroRange {
    /// Largest error of a joint, degrees; drawn in whole encoder ticks.
    pub error_deg: f64,
}

/// Range of the arm's start.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartRange {
    /// How far each joint may stand from where the scene would have it, degrees; the hand stays above the table.
    pub joint_deg: f64,
}

/// Range of the table top.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableRange {
    /// How far its middle may be moved along x and y, m.
    pub shift_m: f64,
    /// Factor on its edges.
    pub size: (f64, f64),
}

/// A group of things that vary together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "named after the fields of Randomise, which say it")]
pub enum Group {
    Light,
    Colours,
    Textures,
    Camera,
    Lens,
    Sensor,
    Distractors,
    Friction,
    Mass,
    Servo,
    Latency,
    Backlash,
    Zeros,
    Start,
    Table,
}

impl Group {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Light,
        Self::Colours,
        Self::Textures,
        Self::Camera,
        Self::Lens,
        Self::Sensor,
        Self::Distractors,
        Self::Friction,
        Self::Mass,
        Self::Servo,
        Self::Latency,
        Self::Backlash,
        Self::Zeros,
        Self::Start,
        Self::Table,
    ];

    /// Its key in the files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Colours => "colours",
            Self::Textures => "textures",
            Self::Camera => "camera",
            Self::Lens => "lens",
            Self::Sensor => "sensor",
            Self::Distractors => "distractors",
            Self::Friction => "friction",
            Self::Mass => "mass",
            Self::Servo => "servo",
            Self::Latency => "latency",
            Self::Backlash => "backlash",
            Self::Zeros => "zeros",
            Self::Start => "start",
            Self::Table => "table",
        }
    }

    /// Whether it changes how an episode looks, or how its joints are counted, and nothing that happens in it: such groups
    /// can be drawn anew for an episode that is over.
    pub fn is_look(self) -> bool {
        match self {
            Self::Light | Self::Colours | Self::Textures | Self::Camera | Self::Lens | Self::Sensor | Self::Zeros => {
                true
            }
            Self::Distractors
            | Self::Friction
            | Self::Mass
            | Self::Servo
            | Self::Latency
            | Self::Backlash
            | Self::Start
            | Self::Table => false,
        }
    }
}

impl FromStr for Group {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|group| group.name() == text).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|group| group.name()).collect();
            format!("there is no group \"{text}\"; give all, none, a .ron file, or some of {}", names.join(", "))
        })
    }
}

/// Applies `$visit!(field, Group)` to every group.
macro_rules! for_each_group {
    ($visit:ident) => {
        $visit!(light, Light);
        $visit!(colours, Colours);
        $visit!(textures, Textures);
        $visit!(camera, Camera);
        $visit!(lens, Lens);
        $visit!(sensor, Sensor);
        $visit!(distractors, Distractors);
        $visit!(friction, Friction);
        $visit!(mass, Mass);
        $visit!(servo, Servo);
        $visit!(latency, Latency);
        $visit!(backlash, Backlash);
        $visit!(zeros, Zeros);
        $visit!(start, Start);
        $visit!(table, Table);
    };
}

impl Randomise {
    /// The groups that vary.
    pub fn groups(&self) -> Vec<Group> {
        let mut groups = Vec::new();
        macro_rules! list {
            ($field:ident, $group:ident) => {
                if self.$field.is_some() {
                    groups.push(Group::$group);
                }
            };
        }
        for_each_group!(list);
        groups
    }

    /// The named groups, each with its own range or, where it has none, that of `other`.
    pub fn only(&self, groups: &[Group], other: &Self) -> Self {
        let mut chosen = Self::default();
        macro_rules! choose {
            ($field:ident, $group:ident) => {
                if groups.contains(&Group::$group) {
                    chosen.$field = self.$field.clone().or_else(|| other.$field.clone());
                }
            };
        }
        for_each_group!(choose);
        chosen
    }
}

impl Validate for Randomise {
    fn validate(&self, problems: &mut Problems) {
        macro_rules! check {
            ($field:ident, $group:ident) => {
                if let Some(range) = &self.$field {
                    problems.within(Group::$group.name(), |p| range.check(p));
                }
            };
        }
        for_each_group!(check);
    }
}

impl LightRange {
    fn check(&self, p: &mut Problems) {
        p.range("tilt", self.tilt, 0.0, 0.7, "");
        p.span("sun", self.sun, 0.0, 4.0, "");
        p.span("sky", self.sky, 0.1, 4.0, "");
        p.range("tint", self.tint, 0.0, 0.5, "");
    }
}

impl ColourRange {
    fn check(&self, p: &mut Problems) {
        let spans = [
            ("table_value", self.table_value),
            ("table_saturation", self.table_saturation),
            ("arm_value", self.arm_value),
            ("arm_saturation", self.arm_saturation),
            ("servo_value", self.servo_value),
            ("backdrop_value", self.backdrop_value),
        ];
        for (key, span) in spans {
            p.span(key, span, 0.0, 1.0, "");
        }
        p.range("hue_deg", self.hue_deg, 0.0, 180.0, "degrees");
        p.span("saturation", self.saturation, 0.0, 4.0, "");
        p.span("value", self.value, 0.05, 4.0, "");
        p.range("contrast", self.contrast, 0.0, 0.6, "");
    }
}

impl TextureRange {
    fn check(&self, p: &mut Problems) {
        if self.patterns.is_empty() {
            p.report("patterns", "the list is empty", "name some of Plain, Wood, Mottled, Checker(side_m)");
        }
        for pattern in &self.patterns {
            pattern.check("patterns", p);
        }
        p.span("depth", self.depth, 0.0, 1.0, "");
    }
}

impl CameraRange {
    fn check(&self, p: &mut Problems) {
        p.range("position_m", self.position_m, 0.0, 0.2, "m");
        p.range("rotation_deg", self.rotation_deg, 0.0, 30.0, "degrees");
        p.range("fov", self.fov, 0.0, 0.5, "");
    }
}

impl LensRange {
    fn check(&self, p: &mut Problems) {
        p.span("k1", self.k1, -0.3, 0.3, "");
        p.span("k2", self.k2, -0.1, 0.1, "");
    }
}

impl SensorRange {
    fn check(&self, p: &mut Problems) {
        p.span("exposure", self.exposure, 0.05, 8.0, "");
        p.range("white_balance", self.white_balance, 0.0, 0.5, "");
        p.span("noise", self.noise, 0.0, 32.0, "byte values");
        p.span("blur_px", self.blur_px, 0.0, 0.8, "pixels");
    }
}

impl DistractorRange {
    fn check(&self, p: &mut Problems) {
        p.span("count", (self.count.0.into(), self.count.1.into()), 0.0, 8.0, "");
        p.span("size_m", self.size_m, 0.005, 0.15, "m");
        p.span("height_m", self.height_m, 0.003, 0.15, "m");
        p.range("clear_m", self.clear_m, 0.0, 0.5, "m");
    }
}

impl FrictionRange {
    fn check(&self, p: &mut Problems) {
        p.span("factor", self.factor, 0.05, 5.0, "");
    }
}

impl MassRange {
    fn check(&self, p: &mut Problems) {
        p.span("factor", self.factor, 0.1, 10.0, "");
    }
}

impl ServoRange {
    fn check(&self, p: &mut Problems) {
        p.span("stiffness", self.stiffness, 0.2, 5.0, "");
    }
}

impl LatencyRange {
    fn check(&self, p: &mut Problems) {
        p.span("ticks", (self.ticks.0.into(), self.ticks.1.into()), 0.0, 30.0, "ticks");
    }
}

impl BacklashRange {
    fn check(&self, p: &mut Problems) {
        p.span("total_deg", self.total_deg, 0.0, 10.0, "degrees");
    }
}

impl ZeroRange {
    fn check(&self, p: &mut Problems) {
        p.range("error_deg", self.error_deg, 0.0, 15.0, "degrees");
    }
}

impl StartRange {
    fn check(&self, p: &mut Problems) {
        p.range("joint_deg", self.joint_deg, 0.0, 45.0, "degrees");
    }
}

impl TableRange {
    fn check(&self, p: &mut Problems) {
        p.range("shift_m", self.shift_m, 0.0, 0.2, "m");
        p.span("size", self.size, 0.5, 2.0, "");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{load_named, parse};
    use std::path::Path;

    fn complaint(text: &str) -> String {
        parse::<Randomise>(text, Path::new("r.ron")).unwrap_err().to_string()
    }

    #[test]
    fn the_shipped_ranges_have_every_group() {
        let shipped: Randomise = load_named("configs/randomise", "standard").unwrap();
        assert_eq!(shipped.groups(), Group::ALL);
    }

    #[test]
    fn bad_ranges_are_refused_by_file_line_key_and_remedy() {
        let text = complaint("(\n  mass: (factor: (0.7, 1.4)),\n  servo: (stiffness: (1.2, 0.8)),\n)");
        assert!(text.starts_with("r.ron:3: servo.stiffness:") && text.contains("smaller number first"), "{text}");
        let text = complaint("(\n  zeros: (error_deg: 90.0),\n)");
        assert!(text.starts_with("r.ron:2: zeros.error_deg: 90 is out of range; give a number from 0 to 15"), "{text}");
        let text = complaint("(\n  textures: (patterns: [], depth: (0.0, 0.1)),\n)");
        assert!(text.contains("r.ron:2: textures.patterns: the list is empty; name some of"), "{text}");
        for unknown in ["(mas: (factor: (1.0, 1.0)))", "(mass: (faktor: (1.0, 1.0)))", "(mass: ())"] {
            let text = complaint(unknown);
            assert!(text.starts_with("r.ron:1:") && text.contains("docs/configuration.md"), "{text}");
        }
    }

    #[test]
    fn chosen_groups_take_their_own_ranges_first() {
        let shipped: Randomise = load_named("configs/randomise", "standard").unwrap();
        let own = Randomise { mass: Some(MassRange { factor: (1.0, 1.1) }), ..Randomise::default() };
        let chosen = own.only(&[Group::Mass, Group::Light], &shipped);
        assert_eq!((chosen.mass, chosen.light), (own.mass, shipped.light));
        assert_eq!(chosen.groups(), [Group::Light, Group::Mass]);
        assert!("masses".parse::<Group>().unwrap_err().contains("mass"));
    }
}
