//! Tasks: what is scored, and what counts as done.

pub mod expert;
mod overlap;
pub mod push_plan;

pub use overlap::{PlanarPose, convex_overlap_m2, tee_coverage};

use crate::config::{Area, Pose2, Prop, PropShape, Scene, TaskConfig};
use crate::world::{Order, PropBody, PropState, yaw_rad};
use bevy::prelude::*;
use bevy_rapier3d::rapier::math::{Pose, Rotation, Vector};

/// An object slower than this is at rest, m/s.
const REST_SPEED_M_S: f32 = 0.005;
/// An object turning slower than this is at rest, rad/s.
const REST_SPIN_RAD_S: f32 = 0.10;
/// An object lies on the table if its centre is no higher than this above where it rests, m.
const LYING_M: f32 = 0.0015;
/// A tool point higher than this is clear of what lies on the table, m.
const CLEAR_HEIGHT_M: f64 = 0.035;
/// A stacked block is no farther than this from the height it must have, m.
const STACKED_WITHIN_M: f64 = 0.003;
/// Coverage that is reported besides the one that counts as success: the published Push-T's criterion.
pub const STRICT_COVERAGE: f64 = 0.95;

/// Score of one tick.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskScore {
    /// 0 to 1; what it means depends on the task.
    pub value: f64,
    /// Whether every condition of success holds in this tick.
    pub conditions_hold: bool,
    /// How long they must hold, s; `None` if the task cannot be done, as in free play.
    pub hold_s: Option<f64>,
    /// The conditions and whether each holds, for people.
    pub conditions: Vec<(&'static str, bool)>,
}

/// Scores the present state against what the episode asks for. `tool_height_m`: height of the point between the fingers.
pub fn judge_task(
    scene: &Scene,
    order: &Order,
    props: &Query<(&PropBody, &PropState)>,
    tool_height_m: f64,
) -> TaskScore {
    let find = |name: &str| props.iter().find(|(prop, _)| prop.spec.name == name);
    match &scene.task {
        TaskConfig::FreePlay => TaskScore::default(),
        TaskConfig::MoveT { block, goal, coverage, hold_s } => find(block).map_or_else(TaskScore::default, |found| {
            let value = coverage_of(found.0, found.1, *goal);
            conditions(*hold_s, value, vec![("covers the outline", value >= *coverage)], &[found], 0.0, tool_height_m)
        }),
        TaskConfig::PickPlace { block, goal, size_m, hold_s } => find(block).map_or_else(TaskScore::default, |found| {
            let outside_m = area_outside_m(&found.0.spec, &found.1.motion.pose, *goal, *size_m);
            let goal = vec![("inside the area", outside_m <= 0.0)];
            conditions(*hold_s, marks(outside_m), goal, &[found], 0.0, tool_height_m)
        }),
        TaskConfig::Stack { block, base, hold_s } => match (find(block), find(base)) {
            (Some(block), Some(base)) => judge_stack(*hold_s, block, base, tool_height_m),
            _ => TaskScore::default(),
        },
        TaskConfig::SortByWord { areas, hold_s, .. } => judge_sorting(*hold_s, areas, order, props, tool_height_m),
    }
}

/// Full marks inside; half of them 5 cm short, so that progress shows from afar.
fn marks(outside_m: f64) -> f64 {
    1.0 / (1.0 + outside_m.max(0.0) / 0.05)
}

/// The conditions that all tasks share, after those of the goal, for the props that matter. `support_m`: height of what
/// they lie on.
fn conditions(
    hold_s: f64,
    value: f64,
    goal: Vec<(&'static str, bool)>,
    props: &[(&PropBody, &PropState)],
    support_m: f64,
    tool_height_m: f64,
) -> TaskScore {
    let rests = |(prop, state): &(&PropBody, &PropState)| {
        let motion = &state.motion;
        let upright = match prop.spec.shape {
            PropShape::Tee(_) => (motion.pose.rotation * Vector::Z).z > 0.999,
            PropShape::Block(..) | PropShape::Ball(_) => true,
        };
        let rest_m = (support_m + prop.spec.shape.rest_height_m()) as f32;
        let still = motion.linear_m_s.length() < REST_SPEED_M_S && motion.angular_rad_s.length() < REST_SPIN_RAD_S;
        upright && motion.pose.translation.z < rest_m + LYING_M && still
    };
    let clear = props.iter().all(|(_, state)| !state.touched) && tool_height_m > CLEAR_HEIGHT_M + support_m;
    let words = if support_m > 0.0 { "at rest" } else { "at rest on the table" };
    let mut conditions = goal;
    conditions.push((words, props.iter().all(rests)));
    conditions.push(("gripper clear", clear));
    let conditions_hold = conditions.iter().all(|(_, holds)| *holds);
    TaskScore { value, conditions_hold, hold_s: Some(hold_s), conditions }
}

/// One block on another: its centre over it, and as high as it must be.
fn judge_stack(
    hold_s: f64,
    block: (&PropBody, &PropState),
    base: (&PropBody, &PropState),
    tool_height_m: f64,
) -> TaskScore {
    let (top, under) = (block.1.motion.pose.translation, base.1.motion.pose.translation);
    let support_m = 2.0 * base.0.spec.shape.rest_height_m();
    let rest_m = support_m + block.0.spec.shape.rest_height_m();
    let beside_m = f64::from((top - under).truncate().length());
    let low_m = (f64::from(top.z) - rest_m).abs();
    let base_lies = f64::from(under.z) < base.0.spec.shape.rest_height_m() + f64::from(LYING_M);
    let on_top = beside_m < base.0.spec.shape.rest_height_m() && low_m < STACKED_WITHIN_M && base_lies;
    let value = if on_top { 1.0 } else { marks(beside_m + low_m).min(0.99) };
    let goal = vec![("on top of the other", on_top)];
    conditions(hold_s, value, goal, &[block], support_m, tool_height_m)
}

/// Whether everything lies where the sentence says, and nothing else lies there.
fn judge_sorting(
    hold_s: f64,
    areas: &[Area],
    order: &Order,
    props: &Query<(&PropBody, &PropState)>,
    tool_height_m: f64,
) -> TaskScore {
    let outside_m = |prop: &PropBody, state: &PropState, area: &Area| {
        area_outside_m(&prop.spec, &state.motion.pose, area.pose, area.size_m)
    };
    let mut wanted: Vec<(&PropBody, &PropState)> = Vec::new();
    let (mut value, mut count, mut done) = (0.0, 0, true);
    for wish in &order.wishes {
        let Some(area) = areas.get(wish.area) else { continue };
        let mut near: Vec<(f64, (&PropBody, &PropState))> = props
            .iter()
            .filter(|(prop, _)| wish.props.contains(&prop.index))
            .map(|(prop, state)| (outside_m(prop, state, area), (prop, state)))
            .collect();
        // Equally near ones in the scene's order: queries promise none.
        near.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.0.index.cmp(&b.1.0.index)));
        near.truncate(wish.count);
        done &= near.len() == wish.count && near.iter().all(|(outside_m, _)| *outside_m <= 0.0);
        value += near.iter().map(|(outside_m, _)| marks(*outside_m)).sum::<f64>();
        count += wish.count;
        wanted.extend(near.into_iter().map(|(_, prop)| prop));
    }
    let nothing_else = areas.iter().enumerate().all(|(index, area)| {
        let there = props.iter().filter(|(prop, state)| outside_m(prop, state, area) <= 0.0).count();
        there <= order.wanted_in(index)
    });
    let value = if count > 0 { value / count as f64 } else { 0.0 };
    let goal = vec![("as the sentence says", done && count > 0), ("nothing else inside", nothing_else)];
    conditions(hold_s, value, goal, &wanted, 0.0, tool_height_m)
}

fn coverage_of(prop: &PropBody, state: &PropState, goal: Pose2) -> f64 {
    let PropShape::Tee(tee) = prop.spec.shape else { return 0.0 };
    let pose = &state.motion.pose;
    let at = (f64::from(pose.translation.x), f64::from(pose.translation.y), yaw_rad(pose));
    tee_coverage(&tee, at, (goal.x_m, goal.y_m, goal.yaw_rad()))
}

/// How far the farthest corner of a prop's footprint is outside a rectangle, m; negative inside. Things in the air count as
/// if they were set down.
pub(crate) fn area_outside_m(prop: &Prop, pose: &Pose, goal: Pose2, size_m: (f64, f64)) -> f64 {
    // A prop that is no part of the episode is nowhere.
    if pose.translation.z < -1.0 {
        return f64::INFINITY;
    }
    let mut pose = *pose;
    if matches!(prop.shape, PropShape::Ball(_)) {
        pose.rotation = Rotation::IDENTITY;
    }
    let (sin, cos) = goal.yaw_rad().sin_cos();
    prop.shape
        .footprint_m()
        .iter()
        .map(|(x, y)| {
            let corner = pose.transform_point(Vector::new(*x as f32, *y as f32, 0.0));
            let (dx, dy) = (f64::from(corner.x) - goal.x_m, f64::from(corner.y) - goal.y_m);
            let (along, across) = (cos * dx + sin * dy, -sin * dx + cos * dy);
            (along.abs() - 0.5 * size_m.0).max(across.abs() - 0.5 * size_m.1)
        })
        .fold(f64::NEG_INFINITY, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::sim::BodyMotion;
    use crate::config::load_named;
    use crate::world::Wish;
    use bevy::ecs::system::RunSystemOnce;

    /// The score of a scene whose props lie at these places (x, y, height of the centre; m), the hand far away.
    fn score(scene: &Scene, order: &Order, places: &[(f32, f32, f32)]) -> TaskScore {
        let mut world = World::new();
        for (index, (spec, place)) in scene.props.iter().zip(places).enumerate() {
            let pose = Pose::from_translation(Vector::new(place.0, place.1, place.2));
            let motion = BodyMotion { pose, linear_m_s: Vector::ZERO, angular_rad_s: Vector::ZERO };
            world.spawn((PropBody { index, spec: spec.clone() }, PropState { motion, touched: false }));
        }
        let (scene, order) = (scene.clone(), order.clone());
        let judge = move |props: Query<(&PropBody, &PropState)>| judge_task(&scene, &order, &props, 0.2);
        world.run_system_once(judge).unwrap()
    }

    const GREEN: (f32, f32) = (0.135, -0.20);
    const YELLOW: (f32, f32) = (-0.135, -0.20);

    /// Red block, blue block, orange ball, white ball.
    fn sorted(order: &Order, at: [(f32, f32); 4]) -> TaskScore {
        let scene: Scene = load_named("scenes", "sort_by_word").unwrap();
        let heights = [0.0125, 0.0125, 0.0135, 0.0135];
        let places: Vec<(f32, f32, f32)> = at.iter().zip(heights).map(|((x, y), z)| (*x, *y, z)).collect();
        score(&scene, order, &places)
    }

    fn wishes(wishes: &[(&[usize], usize, usize)]) -> Order {
        let wish = |(props, count, area): &(&[usize], usize, usize)| Wish {
            props: props.to_vec(),
            count: *count,
            area: *area,
        };
        Order { text: String::new(), wishes: wishes.iter().map(wish).collect() }
    }

    #[test]
    fn sorting_is_judged_by_the_sentence() {
        let away = [(0.0, -0.15), (0.0, -0.22), (0.06, -0.28), (-0.06, -0.28)];
        let with = |changes: &[(usize, (f32, f32))]| {
            let mut at = away;
            changes.iter().for_each(|(prop, place)| at[*prop] = *place);
            at
        };
        let blue_green = wishes(&[(&[1], 1, 0)]);
        assert!(sorted(&blue_green, with(&[(1, GREEN)])).conditions_hold);
        assert!(!sorted(&blue_green, away).conditions_hold);
        assert!(!sorted(&blue_green, with(&[(1, YELLOW)])).conditions_hold, "another area");
        assert!(!sorted(&blue_green, with(&[(0, GREEN)])).conditions_hold, "another block");
        let (low, high) = ((GREEN.0, GREEN.1 - 0.03), (GREEN.0, GREEN.1 + 0.03));
        assert!(!sorted(&blue_green, with(&[(1, low), (0, high)])).conditions_hold, "one too many");
        assert!(!sorted(&blue_green, with(&[(1, GREEN), (3, YELLOW)])).conditions_hold, "nothing was said of yellow");
        let two_balls = wishes(&[(&[2, 3], 2, 0)]);
        assert!(sorted(&two_balls, with(&[(2, low), (3, high)])).conditions_hold);
        let one = sorted(&two_balls, with(&[(2, low)]));
        assert!(!one.conditions_hold && one.value > sorted(&two_balls, away).value, "half of it is worth something");
        let each = wishes(&[(&[0], 1, 0), (&[2], 1, 1)]);
        assert!(sorted(&each, with(&[(0, GREEN), (2, YELLOW)])).conditions_hold);
        assert!(!sorted(&each, with(&[(0, YELLOW), (2, GREEN)])).conditions_hold, "exchanged");
    }

    #[test]
    fn a_stack_is_one_block_on_the_other() {
        let scene: Scene = load_named("scenes", "stack").unwrap();
        let order = Order::of_scene(&scene);
        let base = (0.05, -0.2, 0.0125);
        let with = |red: (f32, f32, f32)| score(&scene, &order, &[red, base]);
        assert!(with((0.05, -0.2, 0.0375)).conditions_hold);
        assert!(with((0.055, -0.204, 0.0375)).conditions_hold);
        assert!(!with((0.05, -0.2, 0.060)).conditions_hold, "in the air");
        assert!(!with((0.07, -0.2, 0.0375)).conditions_hold, "beside it");
        let beside = with((0.08, -0.2, 0.0125));
        assert!(!beside.conditions_hold && beside.value < 1.0);
        let upside_down = score(&scene, &order, &[base, (0.05, -0.2, 0.0375)]);
        assert!(!upside_down.conditions_hold, "the blue one on the red one");
    }
}
