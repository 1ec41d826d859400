//! Drawing a world from ranges. Every group has a random stream of its own, made of the episode's seed and the group's
//! number, so that switching one group on leaves what the others draw as it is; looks have one for each look of a seed.

use super::drawn::{
    Distractor, DrawnCamera, DrawnColours, DrawnFriction, DrawnLight, DrawnTable, DrawnTexture, DrawnWorld,
};
use super::spawn::Start;
use crate::arm::ArmModel;
use crate::config::{
    ArmColours, BackdropColours, CameraMount, CameraRange, Colour, ColourRange, DistractorRange, Group, LensConfig,
    Pose2, Randomise, Scene, SensorConfig, SensorRange, StartRange, SurfacePattern, TaskConfig,
};
use bevy::math::{Vec3, ops};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

/// Draws before something is left out, or as the scene has it.
const ATTEMPTS: usize = 64;
/// Table patterns of each kind: so few that they can be kept once they are made.
const PATTERNS: u32 = 8;
/// Lowest place of the tool point in a moved start, m.
const LOWEST_START_M: f64 = 0.06;
/// Where distractors may lie, m: on the table, beside and before the arm.
const DISTRACTOR_AREA_M: ((f64, f64), (f64, f64)) = ((-0.21, 0.21), (-0.36, -0.02));
/// Least distance of distractors from the arm's base, m.
const BASE_CLEAR_M: f64 = 0.11;
/// Share of a picture's half width and height inside which object and goal stay when a fixed camera is moved.
const IN_VIEW: f32 = 0.9;
/// Distractors that may be asked for: colours are drawn for so many, however many there are.
const MOST_DISTRACTORS: usize = 8;

/// What a world is drawn for.
#[derive(Clone, Copy, Debug)]
pub struct DrawFor<'a> {
    /// The scene as its file has it.
    pub scene: &'a Scene,
    /// The arm.
    pub model: &'a ArmModel,
    /// Encoder ticks per turn of its servos.
    pub ticks_per_turn: u32,
    /// The episode's start as the scene has it.
    pub start: &'a Start,
    /// The episode's seed.
    pub seed: u64,
    /// Which look of that seed.
    pub look: u32,
}

/// Draws the world that belongs to a seed and a look.
pub fn draw_world(ranges: &Randomise, it: &DrawFor) -> DrawnWorld {
    let mut world = DrawnWorld { look: it.look, ..DrawnWorld::default() };
    let stream = |group: Group| {
        // Each part of the key has words of its own, so no two streams are the same.
        let mut key = [0u8; 32];
        key[..8].copy_from_slice(&it.seed.to_le_bytes());
        key[8..16].copy_from_slice(b"etude-rw");
        key[16] = group as u8;
        key[20..24].copy_from_slice(&if group.is_look() { it.look } else { 0 }.to_le_bytes());
        Stream(ChaCha8Rng::from_seed(key))
    };
    world.light = ranges.light.map(|range| {
        let rng = &mut stream(Group::Light);
        let (x, y, z) = it.scene.light.towards_sun;
        let length = (x * x + y * y + z * z).sqrt().max(1e-9);
        let (tilt_x, tilt_y) = (rng.about(0.0, range.tilt), rng.about(0.0, range.tilt));
        DrawnLight {
            towards_sun: (round(x / length + tilt_x), round(y / length + tilt_y), round(z / length)),
            sun: rng.within(range.sun),
            sky: rng.within(range.sky),
            tint: (rng.about(1.0, range.tint), rng.about(1.0, range.tint), rng.about(1.0, range.tint)),
        }
    });
    world.colours = ranges.colours.map(|range| draw_colours(&range, it.scene, &mut stream(Group::Colours)));
    world.textures = ranges.textures.as_ref().map(|range| {
        let rng = &mut stream(Group::Textures);
        let pattern = range.patterns.get(rng.index(range.patterns.len())).copied().unwrap_or(SurfacePattern::Plain);
        DrawnTexture { pattern, depth: rng.within(range.depth), seed: rng.index(PATTERNS as usize) as u32 }
    });
    world.camera = ranges.camera.map(|range| {
        let rng = &mut stream(Group::Camera);
        (0..it.scene.cameras.len()).map(|index| draw_camera(&range, it, index, rng)).collect()
    });
    world.lens = ranges.lens.map(|range| {
        let rng = &mut stream(Group::Lens);
        let lens = |_: &_| LensConfig { k1: rng.within(range.k1), k2: rng.within(range.k2) };
        it.scene.cameras.iter().map(lens).collect()
    });
    world.sensor = ranges.sensor.map(|range| {
        let rng = &mut stream(Group::Sensor);
        it.scene.cameras.iter().map(|_| draw_sensor(&range, rng)).collect()
    });
    world.distractors = ranges.distractors.map(|range| draw_distractors(&range, it, &mut stream(Group::Distractors)));
    world.friction = ranges.friction.map(|range| {
        let rng = &mut stream(Group::Friction);
        DrawnFriction { arm: rng.within(range.factor), table: rng.within(range.factor) }
    });
    world.mass = ranges.mass.map(|range| {
        let rng = &mut stream(Group::Mass);
        it.scene.props.iter().map(|_| rng.within(range.factor)).collect()
    });
    world.servo = ranges.servo.map(|range| {
        let rng = &mut stream(Group::Servo);
        it.model.joints.iter().map(|_| rng.within(range.stiffness)).collect()
    });
    world.latency = ranges.latency.map(|range| stream(Group::Latency).whole(range.ticks));
    world.backlash = ranges.backlash.map(|range| stream(Group::Backlash).within(range.total_deg));
    world.zeros = ranges.zeros.map(|range| {
        let rng = &mut stream(Group::Zeros);
        let most = (range.error_deg / 360.0 * f64::from(it.ticks_per_turn)).floor();
        // Whole ticks, as the servo's own offset register holds them. The gripper is counted from where it closes, which
        // its calibration finds by itself.
        let gripper = it.model.gripper_joint();
        let mut ticks = |joint| {
            let drawn = (most * (2.0 * rng.unit() - 1.0)).round() as i32;
            if joint == gripper { 0 } else { drawn }
        };
        (0..it.model.joints.len()).map(&mut ticks).collect()
    });
    world.start = ranges.start.map(|range| draw_start(&range, it, &mut stream(Group::Start)));
    world.table = ranges.table.map(|range| {
        let rng = &mut stream(Group::Table);
        let shift_m = (rng.about(0.0, range.shift_m), rng.about(0.0, range.shift_m));
        DrawnTable { shift_m, size: rng.within(range.size) }
    });
    world
}

/// Four decimals are enough for everything that is drawn, and short in JSON.
fn round(value: f32) -> f32 {
    (value * 1e4).round() / 1e4
}

/// A group's random numbers.
struct Stream(ChaCha8Rng);

impl Stream {
    fn unit(&mut self) -> f64 {
        self.0.random::<f64>()
    }

    /// Evenly inside a range, with four decimals; the ends may be hit.
    fn within(&mut self, (low, high): (f64, f64)) -> f32 {
        let value = round((low + self.unit() * (high - low)) as f32);
        value.clamp(low as f32, high as f32)
    }

    /// Evenly within `reach` of `middle`.
    fn about(&mut self, middle: f64, reach: f64) -> f32 {
        self.within((middle - reach, middle + reach))
    }

    fn whole(&mut self, (low, high): (u32, u32)) -> u32 {
        low + self.index((high - low + 1) as usize) as u32
    }

    fn index(&mut self, count: usize) -> usize {
        ((self.unit() * count as f64) as usize).min(count.saturating_sub(1))
    }

    fn hsv(&mut self, saturation: (f64, f64), value: (f64, f64)) -> Colour {
        let hue = self.unit() as f32;
        from_hsv(hue, self.within(saturation), self.within(value))
    }

    /// A colour that keeps its distance from all of `others`; the farthest one tried if none does.
    fn apart(&mut self, others: &[Colour], least: f64, mut draw: impl FnMut(&mut Self) -> Colour) -> Colour {
        let distance = |colour: Colour| {
            let to = |o: &Colour| {
                let (r, g, b) = (colour.0 - o.0, colour.1 - o.1, colour.2 - o.2);
                (r * r + g * g + b * b).sqrt()
            };
            others.iter().map(to).fold(f32::INFINITY, f32::min)
        };
        let mut best = draw(self);
        for _ in 0..ATTEMPTS {
            if f64::from(distance(best)) >= least {
                break;
            }
            let next = draw(self);
            if distance(next) > distance(best) {
                best = next;
            }
        }
        best
    }
}

fn from_hsv(hue: f32, saturation: f32, value: f32) -> Colour {
    let part = |n: f32| {
        let k = n + hue * 6.0;
        let k = if k >= 6.0 { k - 6.0 } else { k };
        round(value - value * saturation * k.min(4.0 - k).clamp(0.0, 1.0))
    };
    (part(5.0), part(3.0), part(1.0))
}

/// Hue 0 to 1, saturation, value.
fn to_hsv((r, g, b): Colour) -> (f32, f32, f32) {
    let (most, least) = (r.max(g).max(b), r.min(g).min(b));
    let spread = most - least;
    if spread <= 0.0 {
        return (0.0, 0.0, most);
    }
    let sixth = if most == r {
        (g - b) / spread
    } else if most == g {
        2.0 + (b - r) / spread
    } else {
        4.0 + (r - g) / spread
    };
    let hue = sixth / 6.0;
    (if hue < 0.0 { hue + 1.0 } else { hue }, spread / most, most)
}

fn draw_colours(range: &ColourRange, scene: &Scene, rng: &mut Stream) -> DrawnColours {
    // Where sentences name things and places by their colours, these stay as they are.
    let named = matches!(scene.task, TaskConfig::SortByWord { .. });
    let mut near = |colour: Colour| {
        if named {
            return colour;
        }
        let (hue, saturation, value) = to_hsv(colour);
        let hue = hue + rng.about(0.0, range.hue_deg) / 360.0;
        let saturation = (saturation * rng.within(range.saturation)).min(1.0);
        let value = (value * rng.within(range.value)).min(1.0);
        from_hsv(hue - hue.floor(), saturation, value)
    };
    let props: Vec<Colour> = scene.props.iter().map(|prop| near(prop.colour)).collect();
    let marks: Vec<Colour> = scene.marks.iter().map(|mark| near(mark.colour)).collect();
    let seen: Vec<Colour> = props.iter().chain(&marks).copied().collect();
    let table = rng.apart(&seen, range.contrast, |rng| rng.hsv(range.table_saturation, range.table_value));
    let printed = rng.apart(&seen, range.contrast, |rng| rng.hsv(range.arm_saturation, range.arm_value));
    let other_jaw = rng.unit() < 0.5;
    let jaw = rng.apart(&seen, range.contrast, |rng| rng.hsv(range.arm_saturation, range.arm_value));
    let servo = rng.within(range.servo_value);
    let arm =
        ArmColours { printed, jaw: if other_jaw { jaw } else { printed }, servos: (servo, servo, round(servo * 1.08)) };
    let distractors = (0..MOST_DISTRACTORS)
        .map(|_| rng.apart(&seen, 1.3 * range.contrast, |rng| rng.hsv((0.1, 0.95), (0.15, 0.95))))
        .collect();
    let (hue, saturation) = (rng.unit() as f32, rng.within((0.0, 0.35)));
    let value = rng.within(range.backdrop_value);
    let lighter = (value * rng.within((1.05, 1.4))).min(0.95);
    let darker = value * rng.within((0.45, 0.9));
    let backdrop = BackdropColours {
        horizon: from_hsv(hue, saturation, value),
        zenith: from_hsv(hue, saturation * 0.6, lighter),
        floor: from_hsv(hue, saturation, darker),
    };
    DrawnColours { table, arm, props, marks, distractors, backdrop }
}

fn draw_camera(range: &CameraRange, it: &DrawFor, index: usize, rng: &mut Stream) -> DrawnCamera {
    let still = DrawnCamera { shift_m: (0.0, 0.0, 0.0), turn_deg: (0.0, 0.0, 0.0), fov: 1.0 };
    for _ in 0..ATTEMPTS {
        let mut three = |reach: f64| (rng.about(0.0, reach), rng.about(0.0, reach), rng.about(0.0, reach));
        let (shift_m, turn_deg) = (three(range.position_m), three(range.rotation_deg));
        let drawn = DrawnCamera { shift_m, turn_deg, fov: rng.about(1.0, range.fov) };
        if shows_the_task(it, index, &drawn) {
            return drawn;
        }
    }
    still
}

/// Whether a camera that does not move with the hand still sees object and goal.
fn shows_the_task(it: &DrawFor, index: usize, drawn: &DrawnCamera) -> bool {
    let world = DrawnWorld { camera: Some(vec![*drawn; index + 1]), ..DrawnWorld::default() };
    let before = &it.scene.cameras[index];
    if before.mount != CameraMount::World {
        return true;
    }
    let Some((block, goal)) = it.scene.task.block_and_goal() else { return true };
    let mut points = vec![Vec3::new(goal.x_m as f32, goal.y_m as f32, 0.0)];
    let place = it.scene.props.iter().position(|prop| prop.name == block);
    points
        .extend(place.and_then(|place| it.start.props.get(place)).map(|pose| Vec3::from(pose.translation.to_array())));
    let scene = world.apply(it.scene);
    let inside = |config: &crate::config::CameraConfig, point: Vec3| {
        let vector = |(x, y, z): (f32, f32, f32)| Vec3::new(x, y, z);
        let eye = vector(config.position_m);
        let forward = (vector(config.look_at_m) - eye).normalize_or_zero();
        let right = forward.cross(vector(config.up)).normalize_or_zero();
        let to = point - eye;
        let depth = to.dot(forward).max(1e-6);
        let half = ops::tan(0.5 * config.vertical_fov_deg.to_radians());
        let aspect = config.width as f32 / config.height as f32;
        let (x, y) = (to.dot(right) / depth / (half * aspect), to.dot(forward.cross(right)) / depth / half);
        x.abs() <= IN_VIEW && y.abs() <= IN_VIEW
    };
    // What the scene's own camera does not show need not be shown now.
    points.iter().all(|point| !inside(before, *point) || inside(&scene.cameras[index], *point))
}

fn draw_sensor(range: &SensorRange, rng: &mut Stream) -> SensorConfig {
    let mut gain = || rng.about(1.0, range.white_balance);
    let white_balance = (gain(), gain(), gain());
    SensorConfig {
        exposure: rng.within(range.exposure),
        white_balance,
        noise: rng.within(range.noise),
        blur_px: rng.within(range.blur_px),
        seed: rng.0.random::<u32>(),
    }
}

fn draw_distractors(range: &DistractorRange, it: &DrawFor, rng: &mut Stream) -> Vec<Distractor> {
    let goal = it.scene.task.block_and_goal().map(|(_, goal)| goal);
    let spots: Vec<Pose2> = it.scene.marks.iter().map(|mark| mark.pose).chain(goal).collect();
    let targets: Vec<(f64, f64)> = spots.iter().map(|pose| (pose.x_m, pose.y_m)).collect();
    let objects: Vec<((f64, f64), f64)> = it
        .start
        .props
        .iter()
        .zip(&it.scene.props)
        .map(|(pose, prop)| {
            let reach = prop.shape.footprint_m().iter().map(|(x, y)| x.hypot(*y)).fold(0.0, f64::max);
            ((f64::from(pose.translation.x), f64::from(pose.translation.y)), reach)
        })
        .collect();
    let widest = objects.iter().map(|(_, reach)| *reach).fold(0.0, f64::max);
    let mut things: Vec<Distractor> = Vec::new();
    for _ in 0..rng.whole(range.count).min(MOST_DISTRACTORS as u32) {
        for _ in 0..ATTEMPTS {
            let ball = rng.unit() < 0.2;
            let height = rng.within(range.height_m);
            let size_m = match ball {
                true => (height, height, height),
                false => (rng.within(range.size_m), rng.within(range.size_m), height),
            };
            let at_m = (rng.within(DISTRACTOR_AREA_M.0), rng.within(DISTRACTOR_AREA_M.1));
            let yaw_deg = rng.within((0.0, 180.0));
            let (x, y) = (f64::from(at_m.0), f64::from(at_m.1));
            let own = |size: (f32, f32, f32)| 0.5 * f64::from(size.0).hypot(f64::from(size.1));
            let clear = own(size_m) + range.clear_m;
            // Objects travel from where they start to the marks: neither the ends nor the ways are blocked.
            let far = |a: (f64, f64), b: (f64, f64), reach: f64| from_way((x, y), a, b) > clear + reach;
            let free = objects
                .iter()
                .all(|(from, reach)| far(*from, *from, *reach) && targets.iter().all(|to| far(*from, *to, *reach)))
                && targets.iter().all(|to| far(*to, *to, widest))
                && x.hypot(y) > BASE_CLEAR_M + own(size_m)
                && things.iter().all(|o| {
                    let apart = (x - f64::from(o.at_m.0)).hypot(y - f64::from(o.at_m.1));
                    apart > own(size_m) + own(o.size_m) + 0.01
                });
            if free {
                things.push(Distractor { size_m, ball, at_m, yaw_deg });
                break;
            }
        }
    }
    things
}

/// Distance of a point from the straight way between two others.
fn from_way(point: (f64, f64), a: (f64, f64), b: (f64, f64)) -> f64 {
    let (along_x, along_y) = (b.0 - a.0, b.1 - a.1);
    let square = along_x * along_x + along_y * along_y;
    let share = if square > 0.0 { ((point.0 - a.0) * along_x + (point.1 - a.1) * along_y) / square } else { 0.0 };
    let share = share.clamp(0.0, 1.0);
    (point.0 - a.0 - share * along_x).hypot(point.1 - a.1 - share * along_y)
}

fn draw_start(range: &StartRange, it: &DrawFor, rng: &mut Stream) -> Vec<f32> {
    let tool = it.model.hand_tool();
    for _ in 0..ATTEMPTS {
        let offsets: Vec<f32> = it.model.joints.iter().map(|_| rng.about(0.0, range.joint_deg)).collect();
        let world = DrawnWorld { start: Some(offsets.clone()), ..DrawnWorld::default() };
        let mut q = it.start.q_rad.clone();
        world.move_start(&mut q);
        let stands = it.model.clamp(&q) == q && it.model.tool_pose(&q, &tool).translation.z >= LOWEST_START_M;
        if stands {
            return offsets;
        }
    }
    vec![0.0; it.model.joints.len()]
}

#[cfg(test)]
mod tests;
