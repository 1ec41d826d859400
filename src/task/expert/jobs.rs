//! What a scene's task is for the gripping expert: which object, how to grip it, where to put it.

use super::grip::{GripJob, GripSide};
use crate::config::{Area, Prop, PropShape, Scene, TaskConfig};
use crate::robot::Arm;
use crate::task::area_outside_m;
use crate::world::{Order, Wish, yaw_rad};
use bevy_rapier3d::rapier::math::Pose;

/// A hand this near to an object, and this low, is at work on it, m.
const AT_WORK_M: f64 = 0.030;
const AT_WORK_HEIGHT_M: f64 = 0.060;
/// Distance between things that are put side by side into one area, m.
const SIDE_BY_SIDE_M: f64 = 0.055;

/// The job of a scene whose task is always the same, and the prop it is about; `None` where there is nothing to do, or
/// where it depends on the state: see [`job_now`].
pub fn job_of(scene: &Scene) -> Option<(&str, GripJob)> {
    match &scene.task {
        TaskConfig::FreePlay | TaskConfig::Stack { .. } | TaskConfig::SortByWord { .. } => None,
        TaskConfig::MoveT { block, goal, .. } => {
            let prop = scene.props.iter().find(|prop| prop.name == *block)?;
            let PropShape::Tee(tee) = prop.shape else { return None };
            // A T that may lie in any direction cannot be gripped from one side always: the wrist would not turn so far.
            let any_direction = prop.start.yaw_deg.1 - prop.start.yaw_deg.0 > 180.0;
            let job = GripJob {
                goal_m: (goal.x_m, goal.y_m),
                goal_yaw_rad: Some(goal.yaw_rad()),
                // On the stem, close to the centre of mass, clear of the bar.
                grip_m: (0.0, tee.centroid_m() - 1.7 * tee.stroke_m),
                grip_height_m: 0.6 * tee.height_m,
                half_width_m: 0.5 * tee.stroke_m,
                rest_height_m: 0.5 * tee.height_m,
                turn_symmetry: 2,
                lift_m: 0.020,
                release_within_m: 0.0025,
                placed_within_m: 0.0045,
                support_m: 0.0,
                goal_symmetry: 1,
                side: if any_direction { GripSide::LeastTravel } else { GripSide::QuarterTurn },
            };
            Some((block, job))
        }
        TaskConfig::PickPlace { block, goal, .. } => {
            let prop = scene.props.iter().find(|prop| prop.name == *block)?;
            Some((block, put(prop, (goal.x_m, goal.y_m))?))
        }
    }
}

/// The job of putting a block or ball somewhere on the table.
fn put(prop: &Prop, goal_m: (f64, f64)) -> Option<GripJob> {
    let (half_width_m, rest_height_m) = match prop.shape {
        PropShape::Block(x, _, z) => (0.5 * x, 0.5 * z),
        PropShape::Ball(radius) => (radius, radius),
        PropShape::Tee(_) => return None,
    };
    Some(GripJob {
        goal_m,
        goal_yaw_rad: None,
        grip_m: (0.0, 0.0),
        grip_height_m: rest_height_m,
        half_width_m,
        rest_height_m,
        turn_symmetry: 4,
        lift_m: 0.040,
        release_within_m: 0.005,
        placed_within_m: 0.013,
        support_m: 0.0,
        goal_symmetry: 1,
        side: GripSide::QuarterTurn,
    })
}

/// Whether a scene has anything for the gripping expert to do.
pub fn has_job(scene: &Scene) -> bool {
    match &scene.task {
        TaskConfig::FreePlay => false,
        TaskConfig::Stack { .. } | TaskConfig::SortByWord { .. } => true,
        TaskConfig::MoveT { .. } | TaskConfig::PickPlace { .. } => job_of(scene).is_some(),
    }
}

/// What is to be done now: the index of the prop and the job. It follows from the order and the present state alone.
/// `q_rad`: measured joint angles; `props`: poses of all props, in the scene's order.
pub fn job_now(scene: &Scene, order: &Order, arm: &Arm, q_rad: &[f64], props: &[Pose]) -> Option<(usize, GripJob)> {
    let index_of = |name: &str| scene.props.iter().position(|prop| prop.name == name);
    match &scene.task {
        TaskConfig::FreePlay => None,
        TaskConfig::MoveT { .. } | TaskConfig::PickPlace { .. } => {
            let (block, job) = job_of(scene)?;
            Some((index_of(block)?, job))
        }
        TaskConfig::Stack { block, base, .. } => {
            let (block, base) = (index_of(block)?, index_of(base)?);
            let (under, at) = (&scene.props[base], props.get(base)?);
            let support_m = f64::from(at.translation.z) + under.shape.rest_height_m();
            let job = put(&scene.props[block], (f64::from(at.translation.x), f64::from(at.translation.y)))?;
            let job = GripJob {
                goal_yaw_rad: Some(yaw_rad(at)),
                goal_symmetry: 4,
                // The wrist has to have room for the turn onto the base too.
                side: GripSide::LeastTravel,
                support_m,
                lift_m: 0.020,
                release_within_m: 0.003,
                placed_within_m: 0.007,
                ..job
            };
            Some((block, job))
        }
        TaskConfig::SortByWord { areas, .. } => {
            let tool = arm.model.tool_pose(q_rad, &arm.tool).translation;
            sort(scene, order, areas, (tool.x, tool.y, tool.z), props)
        }
    }
}

fn sort(
    scene: &Scene,
    order: &Order,
    areas: &[Area],
    tool: (f64, f64, f64),
    props: &[Pose],
) -> Option<(usize, GripJob)> {
    let is_inside = |prop: usize, area: usize| {
        let spec = scene.props.get(prop).zip(props.get(prop)).zip(areas.get(area));
        spec.is_some_and(|((spec, pose), area)| area_outside_m(spec, pose, area.pose, area.size_m) <= 0.0)
    };
    let distance = |prop: usize| {
        let pose = &props[prop];
        (f64::from(pose.translation.x) - tool.0).hypot(f64::from(pose.translation.y) - tool.1)
    };
    let nearest = |wishes: &mut dyn Iterator<Item = (usize, usize)>| {
        wishes.min_by(|a, b| distance(a.0).total_cmp(&distance(b.0)))
    };
    let wished = || order.wishes.iter().flat_map(|wish| wish.props.iter().map(|prop| (*prop, wish.area)));
    // What the hand is busy with comes first: it must be let go properly before the next.
    let busy = |prop: usize| {
        let lifted = f64::from(props[prop].translation.z) - scene.props[prop].shape.rest_height_m();
        tool.2 < AT_WORK_HEIGHT_M + lifted && distance(prop) < AT_WORK_M
    };
    let next = |wish: &Wish| {
        let there = wish.props.iter().filter(|prop| is_inside(**prop, wish.area)).count();
        let open = wish.props.iter().copied().find(|prop| !is_inside(*prop, wish.area));
        open.filter(|_| there < wish.count).map(|prop| (prop, wish.area))
    };
    let (prop, area) = nearest(&mut wished().filter(|(prop, _)| busy(*prop)))
        .or_else(|| order.wishes.iter().find_map(next))
        .or_else(|| nearest(&mut wished().filter(|(prop, area)| is_inside(*prop, *area))))?;
    let slot = free_slot(areas.get(area)?, order.wanted_in(area), prop, props)?;
    let job = put(scene.props.get(prop)?, slot)?;
    // Carried over other things, and far across the table: the wrist must have room for the way there.
    Some((prop, GripJob { lift_m: 0.045, side: GripSide::LeastTravel, ..job }))
}

/// Where in an area the next thing goes: in its middle, or side by side along its longer edge.
fn free_slot(area: &Area, count: usize, prop: usize, props: &[Pose]) -> Option<(f64, f64)> {
    let (sin, cos) = area.pose.yaw_rad().sin_cos();
    let is_long = area.size_m.0 >= area.size_m.1;
    let direction = if is_long { (cos, sin) } else { (-sin, cos) };
    let slots = (0..count.max(1)).map(|index| {
        let along = (index as f64 - 0.5 * (count.max(1) - 1) as f64) * SIDE_BY_SIDE_M;
        (area.pose.x_m + along * direction.0, area.pose.y_m + along * direction.1)
    });
    let distance = |slot: (f64, f64), pose: &Pose| {
        (f64::from(pose.translation.x) - slot.0).hypot(f64::from(pose.translation.y) - slot.1)
    };
    let is_free = |slot: (f64, f64)| {
        let mut others = props.iter().enumerate().filter(|(other, pose)| *other != prop && pose.translation.z > -1.0);
        others.all(|(_, pose)| distance(slot, pose) > 0.6 * SIDE_BY_SIDE_M)
    };
    // The one it is nearest to, so that what lies in one is not carried to the other.
    let nearest = |a: &(f64, f64), b: &(f64, f64)| distance(*a, &props[prop]).total_cmp(&distance(*b, &props[prop]));
    slots.clone().filter(|slot| is_free(*slot)).min_by(nearest).or_else(|| slots.min_by(nearest))
}
