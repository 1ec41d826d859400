//! A cheap material: one sun and a sky, worked out per corner, for software drivers, ghosts and flat shadows. Bevy's own
//! lit material costs a software driver ten times as much.

use bevy::asset::uuid_handle;
use bevy::mesh::MeshVertexBufferLayoutRef;
use bevy::pbr::{MaterialPipeline, MaterialPipelineKey};
use bevy::prelude::*;
use bevy::render::render_resource::{AsBindGroup, RenderPipelineDescriptor, SpecializedMeshPipelineError};
use bevy::shader::{Shader, ShaderRef};

/// The shader.
const SHADER: Handle<Shader> = uuid_handle!("6c2f5c1e-6f0b-4b7e-9b1c-0e9a3a7d51c4");

/// The material.
#[derive(Asset, TypePath, AsBindGroup, Clone, Debug)]
pub struct Matte {
    /// Linear colour and opacity.
    #[uniform(0)]
    pub colour: LinearRgba,
    /// Direction to the sun, a unit vector with z > 0, and its strength.
    #[uniform(0)]
    pub sun: Vec4,
    /// Light of the sky from above and from below; whether the mesh is flattened along the sun onto the plane z = `w`
    /// (0: not).
    #[uniform(0)]
    pub sky: Vec4,
    /// Whether it is seen through.
    pub translucent: bool,
}

impl Material for Matte {
    fn vertex_shader() -> ShaderRef {
        SHADER.into()
    }

    fn fragment_shader() -> ShaderRef {
        SHADER.into()
    }

    fn alpha_mode(&self) -> AlphaMode {
        if self.translucent { AlphaMode::Blend } else { AlphaMode::Opaque }
    }

    fn enable_prepass() -> bool {
        false
    }

    fn enable_shadows() -> bool {
        false
    }

    fn specialize(
        _: &MaterialPipeline,
        descriptor: &mut RenderPipelineDescriptor,
        _: &MeshVertexBufferLayoutRef,
        _: MaterialPipelineKey<Self>,
    ) -> Result<(), SpecializedMeshPipelineError> {
        // A ghost shows its nearest surface only, not the inside of every part.
        if let Some(depth) = &mut descriptor.depth_stencil {
            depth.depth_write_enabled = Some(true);
        }
        Ok(())
    }
}

/// Adds the material.
pub fn plugin(app: &mut App) {
    app.add_plugins(MaterialPlugin::<Matte>::default());
    let shader = Shader::from_wgsl(include_str!("matte.wgsl"), "etude/matte.wgsl");
    if let Err(fault) = app.world_mut().resource_mut::<Assets<Shader>>().insert(&SHADER, shader) {
        error!("the matte shader could not be registered: {fault}");
    }
}
