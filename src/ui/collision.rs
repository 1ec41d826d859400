//! What collides, drawn as lines by Rapier's debug pipeline: bodies here carry no entity, which bevy_rapier's own debug
//! plugin takes for granted.

use super::actions::Session;
use bevy::prelude::*;
use bevy_rapier3d::plugin::context::{RapierContextColliders, RapierRigidBodySet};
use bevy_rapier3d::rapier::math::Vector;
use bevy_rapier3d::rapier::pipeline::{
    DebugRenderBackend, DebugRenderMode, DebugRenderObject, DebugRenderPipeline, DebugRenderStyle,
};

struct Lines<'a, 'w, 's>(&'a mut Gizmos<'w, 's>);

impl DebugRenderBackend for Lines<'_, '_, '_> {
    fn draw_line(&mut self, _: DebugRenderObject, a: Vector, b: Vector, [hue, saturation, lightness, alpha]: [f32; 4]) {
        if a.is_finite() && b.is_finite() {
            self.0.line(a, b, Color::hsla(hue, saturation, lightness, alpha));
        }
    }
}

/// Adds the drawing of collision shapes.
pub fn plugin(app: &mut App) {
    app.add_systems(Update, draw.in_set(super::UiSystems::Present));
}

fn draw(
    session: Res<Session>,
    mut pipeline: Local<Option<DebugRenderPipeline>>,
    worlds: Query<(&RapierRigidBodySet, &RapierContextColliders)>,
    mut gizmos: Gizmos,
) {
    if !session.shapes {
        return;
    }
    let pipeline = pipeline
        .get_or_insert_with(|| DebugRenderPipeline::new(DebugRenderStyle::default(), DebugRenderMode::COLLIDER_SHAPES));
    for (bodies, colliders) in &worlds {
        pipeline.render_colliders(&mut Lines(&mut gizmos), &bodies.bodies, &colliders.colliders);
    }
}
