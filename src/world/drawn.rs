//! What was drawn for one episode, and the scene and arm that follow from it. Everything here is recorded with the
//! episode, as one line of JSON, so that its world can be built again without the ranges it came from.

use crate::config::{
    self, ArmColours, BackdropColours, CameraConfig, Colour, LensConfig, Problems, Prop, PropShape, Scene,
    SensorConfig, Spawn, SurfacePattern, Validate,
};
use crate::robot::DrawnArm;
use bevy::math::Vec3;
use bevy_rapier3d::rapier::math::{Pose, Rotation, Vector};
use serde::{Deserialize, Serialize};

/// Names of distractors begin so.
const DISTRACTOR: &str = "distractor";
/// Density of distractors, kg/m³: wood.
const DISTRACTOR_KG_M3: f64 = 600.0;
/// Friction coefficient of distractors.
const DISTRACTOR_FRICTION: f64 = 0.5;

/// A drawn world, group by group; what is missing is as the scene and the arm have it. Numbers are kept in single precision
/// with few decimals, so that JSON gives back the same bits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "one field for each group of config::Randomise")]
pub struct DrawnWorld {
    /// Which look of the seed this is.
    pub look: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub light: Option<DrawnLight>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub colours: Option<DrawnColours>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub textures: Option<DrawnTexture>,
    /// One entry a camera, in the scene's order, as in the next two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub camera: Option<Vec<DrawnCamera>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lens: Option<Vec<LensConfig>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sensor: Option<Vec<SensorConfig>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distractors: Option<Vec<Distractor>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub friction: Option<DrawnFriction>,
    /// Factor for each object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mass: Option<Vec<f32>>,
    /// Factor on the stiffness of each joint's servo.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub servo: Option<Vec<f32>>,
    /// Ticks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<u32>,
    /// Degrees, total.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backlash: Option<f32>,
    /// What each joint reports beyond its true angle, encoder ticks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zeros: Option<Vec<i32>>,
    /// Degrees for each joint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Vec<f32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<DrawnTable>,
}

/// Light of an episode.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DrawnLight {
    /// Direction towards the sun.
    pub towards_sun: (f32, f32, f32),
    /// Factor on the sun.
    pub sun: f32,
    /// Factor on the sky.
    pub sky: f32,
    /// Factor on the sun's red, green and blue.
    pub tint: (f32, f32, f32),
}

/// Colours of an episode, sRGB.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DrawnColours {
    /// The table.
    pub table: Colour,
    /// The arm.
    pub arm: ArmColours,
    /// Objects, in the scene's order.
    pub props: Vec<Colour>,
    /// Marks, in the scene's order.
    pub marks: Vec<Colour>,
    /// Distractors, in their order; more than there may be.
    pub distractors: Vec<Colour>,
    /// Behind the table.
    pub backdrop: BackdropColours,
}

/// Pattern of the table.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DrawnTexture {
    /// Kind.
    pub pattern: SurfacePattern,
    /// How much darker its second colour is.
    pub depth: f32,
    /// Which of many.
    pub seed: u32,
}

/// Pose of a camera relative to the scene's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DrawnCamera {
    /// Shift along the mount's axes, m.
    pub shift_m: (f32, f32, f32),
    /// Turn about the camera's right, down and forward axis, degrees.
    pub turn_deg: (f32, f32, f32),
    /// Factor on the field of view.
    pub fov: f32,
}

/// A thing that lies about.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Distractor {
    /// Full edge lengths, or for a ball its diameter three times, m.
    pub size_m: (f32, f32, f32),
    /// Whether it is a ball.
    pub ball: bool,
    /// Place on the table, m.
    pub at_m: (f32, f32),
    /// Turn, degrees.
    pub yaw_deg: f32,
}

/// Factors on friction.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DrawnFriction {
    /// The arm's links.
    pub arm: f32,
    /// Table and objects.
    pub table: f32,
}

/// Table top relative to the scene's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DrawnTable {
    /// Shift of the middle, m.
    pub shift_m: (f32, f32),
    /// Factor on the edges.
    pub size: f32,
}

impl DrawnWorld {
    /// Whether anything differs from what the files say.
    pub fn is_nominal(&self) -> bool {
        Self { look: 0, ..self.clone() } == Self::default()
    }

    /// As one line of JSON.
    pub fn to_json(&self) -> String {
        // Numbers, lists and texts always serialise.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads what [`DrawnWorld::to_json`] wrote.
    ///
    /// # Errors
    /// In words, when the text is something else.
    pub fn from_json(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    /// What happens in this world, seen as `other` looks: the looks that `other` has replace one's own.
    pub fn with_looks_of(&self, other: &Self) -> Self {
        let mut world = Self { look: other.look, ..self.clone() };
        macro_rules! take {
            ($($field:ident),*) => { $(if other.$field.is_some() { world.$field = other.$field.clone(); })* };
        }
        take!(light, colours, textures, camera, lens, sensor, zeros);
        world
    }

    /// The arm in this world.
    pub fn arm(&self) -> DrawnArm {
        DrawnArm {
            zero_ticks: self.zeros.clone().unwrap_or_default(),
            stiffness: self.servo.iter().flatten().map(|factor| f64::from(*factor)).collect(),
            latency_ticks: self.latency.unwrap_or(0) as usize,
            backlash_rad: self.backlash.map(|total_deg| f64::from(total_deg).to_radians()),
            friction: self.friction.map_or(1.0, |friction| f64::from(friction.arm)),
        }
    }

    /// What is wrong with a world that was read from a file, as the scene `nominal` becomes in it; `None` if nothing is.
    pub fn problem(&self, nominal: &Scene) -> Option<String> {
        config::problem_of(self).or_else(|| config::problem_of(&self.apply(nominal)))
    }

    /// Moves the start's joints, rad.
    pub fn move_start(&self, q_rad: &mut [f64]) {
        for (q, offset_deg) in q_rad.iter_mut().zip(self.start.iter().flatten()) {
            *q += f64::from(*offset_deg).to_radians();
        }
    }

    /// Where the distractors lie.
    pub fn distractor_poses(&self) -> impl Iterator<Item = Pose> + '_ {
        self.distractors.iter().flatten().map(|thing| {
            let at = Vector::new(thing.at_m.0, thing.at_m.1, 0.5 * thing.size_m.2);
            Pose::from_parts(at, Rotation::from_rotation_z(thing.yaw_deg.to_radians()))
        })
    }

    /// The scene as it is in this world: `nominal` with everything that was drawn, distractors after its own objects.
    pub fn apply(&self, nominal: &Scene) -> Scene {
        let mut scene = nominal.clone();
        if let Some(light) = &self.light {
            scene.light.towards_sun = light.towards_sun;
            scene.light.sun *= light.sun;
            scene.light.sky *= light.sky;
            scene.light.tint = Some(light.tint);
        }
        if let Some(table) = &self.table {
            scene.table.centre_m.0 += f64::from(table.shift_m.0);
            scene.table.centre_m.1 += f64::from(table.shift_m.1);
            scene.table.size_m.0 *= f64::from(table.size);
            scene.table.size_m.1 *= f64::from(table.size);
        }
        if let Some(texture) = &self.textures {
            scene.table.pattern = Some(texture.pattern);
            scene.table.pattern_depth = Some(texture.depth);
            scene.table.pattern_seed = Some(texture.seed);
        }
        if let Some(factors) = &self.mass {
            for (prop, factor) in scene.props.iter_mut().zip(factors) {
                prop.mass_kg *= f64::from(*factor);
            }
        }
        for (index, thing) in self.distractors.iter().flatten().enumerate() {
            scene.props.push(distractor(index, thing));
        }
        if let Some(friction) = &self.friction {
            scene.table.friction *= f64::from(friction.table);
            for prop in &mut scene.props {
                prop.friction *= f64::from(friction.table);
            }
        }
        if let Some(colours) = &self.colours {
            colours.apply(nominal.props.len(), &mut scene);
        }
        for (index, camera) in scene.cameras.iter_mut().enumerate() {
            if let Some(drawn) = self.camera.as_ref().and_then(|cameras| cameras.get(index)) {
                drawn.apply(camera);
            }
            if let Some(lens) = self.lens.as_ref().and_then(|lenses| lenses.get(index)) {
                camera.lens = Some(*lens);
            }
            if let Some(sensor) = self.sensor.as_ref().and_then(|sensors| sensors.get(index)) {
                camera.sensor = Some(*sensor);
            }
        }
        scene
    }
}

impl Validate for DrawnWorld {
    /// Checks what an arm takes from it; the rest shows in the scene that follows from it.
    fn validate(&self, problems: &mut Problems) {
        for factor in self.servo.iter().flatten() {
            problems.range("servo", (*factor).into(), 0.2, 5.0, "");
        }
        for ticks in self.zeros.iter().flatten() {
            problems.range("zeros", (*ticks).into(), -2048.0, 2048.0, "ticks");
        }
        for offset_deg in self.start.iter().flatten() {
            problems.range("start", (*offset_deg).into(), -45.0, 45.0, "degrees");
        }
        problems.range("latency", self.latency.unwrap_or(0).into(), 0.0, 30.0, "ticks");
        problems.range("backlash", self.backlash.unwrap_or(0.0).into(), 0.0, 10.0, "degrees");
        let friction = self.friction.unwrap_or(DrawnFriction { arm: 1.0, table: 1.0 });
        for factor in [friction.arm, friction.table] {
            problems.range("friction", factor.into(), 0.05, 5.0, "");
        }
        for thing in self.distractors.iter().flatten() {
            for value in [thing.at_m.0, thing.at_m.1, thing.yaw_deg / 360.0] {
                problems.range("distractors", value.into(), -1.0, 1.0, "m");
            }
        }
    }
}

impl DrawnColours {
    fn apply(&self, own_props: usize, scene: &mut Scene) {
        scene.table.colour = self.table;
        scene.arm_colours = Some(self.arm);
        scene.backdrop = Some(self.backdrop);
        let props = self.props.iter().take(own_props).chain(self.distractors.iter());
        for (prop, colour) in scene.props.iter_mut().zip(props) {
            prop.colour = *colour;
        }
        for (mark, colour) in scene.marks.iter_mut().zip(&self.marks) {
            mark.colour = *colour;
        }
    }
}

impl DrawnCamera {
    /// Moves and turns a camera. Only sums, products and roots, so that every machine gets the same bits.
    fn apply(&self, camera: &mut CameraConfig) {
        let vector = |(x, y, z): (f32, f32, f32)| Vec3::new(x, y, z);
        let (eye, target) = (vector(camera.position_m), vector(camera.look_at_m));
        let sight = target - eye;
        let unit = |v: Vec3| v / (v.x * v.x + v.y * v.y + v.z * v.z).sqrt().max(1e-9);
        let forward = unit(sight);
        let right = unit(forward.cross(vector(camera.up)));
        let down = forward.cross(right);
        let eye = eye + vector(self.shift_m);
        // A small turn as a quaternion whose vector part is half the angles; off by 0.02 degrees at 10.
        let half = vector(self.turn_deg) * (0.5 * std::f32::consts::PI / 180.0);
        let axis = right * half.x + down * half.y + forward * half.z;
        let scale = 2.0 / (1.0 + axis.x * axis.x + axis.y * axis.y + axis.z * axis.z);
        let turned = |v: Vec3| {
            let cross = axis.cross(v);
            v + (cross + axis.cross(cross)) * scale
        };
        let tuple = |v: Vec3| (v.x, v.y, v.z);
        camera.position_m = tuple(eye);
        camera.look_at_m = tuple(eye + turned(sight));
        camera.up = tuple(turned(-down));
        camera.vertical_fov_deg = (camera.vertical_fov_deg * self.fov).clamp(2.0, 160.0);
    }
}

fn distractor(index: usize, thing: &Distractor) -> Prop {
    let (x, y, z) = thing.size_m;
    let (x, y, z) = (f64::from(x), f64::from(y), f64::from(z));
    let (shape, share) = match thing.ball {
        true => (PropShape::Ball(0.5 * z), std::f64::consts::PI / 6.0),
        false => (PropShape::Block(x, y, z), 1.0),
    };
    let (here_x, here_y) = (f64::from(thing.at_m.0), f64::from(thing.at_m.1));
    let yaw_deg = f64::from(thing.yaw_deg);
    Prop {
        name: format!("{DISTRACTOR}_{}", index + 1),
        shape,
        mass_kg: (DISTRACTOR_KG_M3 * x * y * z * share).max(0.001),
        friction: DISTRACTOR_FRICTION,
        colour: (0.5, 0.5, 0.5),
        start: Spawn {
            x_m: (here_x, here_x),
            y_m: (here_y, here_y),
            yaw_deg: (yaw_deg, yaw_deg),
            reach_m: (0.0, 2.0),
            apart_m: 0.0,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turned_camera_keeps_its_distance_and_turns_by_what_was_drawn() {
        let mut camera = crate::app::load_scene("move_t").unwrap().scene.cameras[0].clone();
        let (before, distance) = (camera.clone(), |camera: &CameraConfig| {
            let (p, t) = (camera.position_m, camera.look_at_m);
            Vec3::new(t.0 - p.0, t.1 - p.1, t.2 - p.2)
        });
        let drawn = DrawnCamera { shift_m: (0.01, 0.0, -0.02), turn_deg: (3.0, 0.0, 2.0), fov: 1.05 };
        drawn.apply(&mut camera);
        let (old, new) = (distance(&before), distance(&camera));
        assert!((old.length() - new.length()).abs() < 1e-6);
        assert!((old.angle_between(new).to_degrees() - 3.0).abs() < 0.02);
        assert!((camera.position_m.2 - before.position_m.2 + 0.02).abs() < 1e-6);
        assert!((camera.vertical_fov_deg / before.vertical_fov_deg - 1.05).abs() < 1e-6);
    }

    #[test]
    fn a_damaged_world_is_refused_in_words() {
        let scene = crate::app::load_scene("move_t").unwrap().scene;
        let problem = |text: &str| DrawnWorld::from_json(text).unwrap().problem(&scene);
        assert_eq!(problem(r#"{"look":3,"mass":[1.2],"latency":2}"#), None);
        assert!(problem(r#"{"mass":[-1.0]}"#).unwrap().starts_with("props.tee.mass_kg: -0.05 is out of range"));
        assert!(problem(r#"{"servo":[1.0,0.0]}"#).unwrap().starts_with("servo: 0 is out of range; give a number"));
        assert!(DrawnWorld::from_json(r#"{"mass":"heavy"}"#).is_err());
    }

    #[test]
    fn looks_are_replaced_and_what_happens_stays() {
        let own = DrawnWorld { mass: Some(vec![1.2]), zeros: Some(vec![3]), ..DrawnWorld::default() };
        let other =
            DrawnWorld { look: 2, mass: Some(vec![0.8]), zeros: Some(vec![-5]), backlash: Some(1.0), ..own.clone() };
        let seen = own.with_looks_of(&other);
        assert_eq!((seen.look, seen.mass, seen.zeros, seen.backlash), (2, Some(vec![1.2]), Some(vec![-5]), None));
        assert!(DrawnWorld { look: 4, ..DrawnWorld::default() }.is_nominal() && !own.is_nominal());
    }
}
