//! How the scene is lit, and what that costs. GPUs draw Bevy's lit materials with soft shadows and smooth edges; software
//! drivers draw [`Matte`] surfaces with flat shadows, which look alike at a tenth of the price.

use super::matte::Matte;
use super::shapes;
use crate::config::LightConfig;
use crate::world::ActiveScene;
use bevy::core_pipeline::tonemapping::Tonemapping;
use bevy::light::{CascadeShadowConfigBuilder, DirectionalLightShadowMap, GlobalAmbientLight, NotShadowCaster};
use bevy::prelude::*;
use serde::{Deserialize, Serialize};

/// Height of flat shadows above the table, m: below the marks, which stay bright in the shade.
const SHADOW_HEIGHT_M: f32 = 0.0002;
/// Detail of flat shadows, m.
const SHADOW_GRID_M: f32 = 0.005;
/// Light that flat shadows leave.
const SHADE: f32 = 0.68;
/// Illuminance of a sun of strength 1, lux.
const SUN_LUX: f32 = 1720.0;
/// Illuminance of the fill light under a sky of strength 1, lux.
const FILL_LUX: f32 = 290.0;
/// Direction to the fill light.
const TOWARDS_FILL: [f32; 3] = [0.55, -0.75, 0.35];
/// Brightness of a sky of strength 1, cd/m².
const SKY_CD_M2: f32 = 1440.0;

/// How much work goes into a picture.
#[derive(Resource, Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
pub enum Quality {
    /// Matte surfaces, flat shadows, jagged edges: for software drivers.
    Low,
    /// Lit surfaces and shadows, a little smoothing.
    Medium,
    /// Everything.
    #[default]
    High,
}

impl Quality {
    /// All, cheapest first.
    pub const ALL: [Self; 3] = [Self::Low, Self::Medium, Self::High];

    /// Name for people and for JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }

    fn msaa(self) -> Msaa {
        match self {
            Self::Low => Msaa::Off,
            Self::Medium | Self::High => Msaa::Sample4,
        }
    }

    fn shadow_map_size(self) -> usize {
        match self {
            Self::Low => 256,
            Self::Medium => 2048,
            Self::High => 4096,
        }
    }
}

/// How a visual is drawn; the material follows from it and the quality.
#[derive(Component, Clone, Copy, Debug, PartialEq)]
pub struct Look {
    /// Its colour.
    pub colour: Color,
    /// 0 mirrors, 1 is chalk.
    pub roughness: f32,
    /// Whether it throws a shadow.
    pub casts: bool,
    /// Whether it is a ghost: matte and translucent at every quality.
    pub ghost: bool,
}

impl Default for Look {
    fn default() -> Self {
        Self { colour: Color::WHITE, roughness: 0.5, casts: false, ghost: false }
    }
}

/// The flat shadow of a visual.
#[derive(Component)]
struct FlatShadow;

/// The sun.
#[derive(Component)]
struct Sun;

/// A weak light from the side of the viewer without shadows, so that what is in the shade keeps its form.
#[derive(Component)]
struct Fill;

/// Adds light and materials.
pub fn plugin(app: &mut App) {
    app.init_resource::<Quality>();
    app.add_systems(Startup, spawn_sun);
    app.add_systems(Update, (relight, dress).chain().in_set(super::UiSystems::Present));
}

fn spawn_sun(mut commands: Commands) {
    commands.spawn((
        Fill,
        DirectionalLight::default(),
        Transform::default().looking_to(-Vec3::from(TOWARDS_FILL), Vec3::Y),
    ));
    commands.spawn((
        Sun,
        DirectionalLight::default(),
        CascadeShadowConfigBuilder { num_cascades: 1, minimum_distance: 0.05, maximum_distance: 2.2, ..default() }
            .build(),
        Transform::default(),
    ));
}

fn sun_direction(light: &LightConfig) -> Vec3 {
    Vec3::from(light.towards_sun).try_normalize().unwrap_or(Vec3::Z)
}

/// Sun, sky and camera follow scene and quality.
fn relight(
    quality: Res<Quality>,
    scene: Option<Res<ActiveScene>>,
    mut sky: ResMut<GlobalAmbientLight>,
    mut shadow_map: ResMut<DirectionalLightShadowMap>,
    mut suns: Query<(&mut DirectionalLight, &mut Transform), With<Sun>>,
    mut fills: Query<&mut DirectionalLight, (With<Fill>, Without<Sun>)>,
    mut cameras: Query<(&mut Msaa, &mut Tonemapping), With<Camera3d>>,
) {
    let Some(scene) = scene else { return };
    if !(quality.is_changed() || scene.is_changed()) {
        return;
    }
    let light = &scene.scene.light;
    let lit = *quality != Quality::Low;
    for (mut sun, mut transform) in &mut suns {
        sun.color = Color::srgb(1.0, 0.965, 0.91);
        sun.illuminance = if lit { SUN_LUX * light.sun } else { 0.0 };
        sun.shadow_maps_enabled = lit;
        sun.shadow_depth_bias = 0.01;
        sun.shadow_normal_bias = 1.2;
        *transform = Transform::default().looking_to(-sun_direction(light), Vec3::Y);
    }
    for mut fill in &mut fills {
        fill.color = Color::srgb(0.90, 0.95, 1.0);
        fill.illuminance = if lit { FILL_LUX * light.sky } else { 0.0 };
    }
    sky.color = Color::srgb(0.93, 0.96, 1.0);
    sky.brightness = SKY_CD_M2 * light.sky;
    shadow_map.size = quality.shadow_map_size();
    for (mut msaa, mut tonemapping) in &mut cameras {
        *msaa = quality.msaa();
        // Colours stay what the files say, and look alike at every quality.
        *tonemapping = Tonemapping::None;
    }
}

/// Gives every visual the material of the present quality.
fn dress(
    mut commands: Commands,
    quality: Res<Quality>,
    scene: Option<Res<ActiveScene>>,
    mut meshes: ResMut<Assets<Mesh>>,
    mut mattes: ResMut<Assets<Matte>>,
    mut standards: ResMut<Assets<StandardMaterial>>,
    looks: Query<(Entity, Ref<Look>, &Mesh3d)>,
    shadows: Query<(Entity, &ChildOf), With<FlatShadow>>,
) {
    let Some(scene) = scene else { return };
    let all = quality.is_changed() || scene.is_changed();
    if !all && !looks.iter().any(|(_, look, _)| look.is_changed()) {
        return;
    }
    let light = &scene.scene.light;
    let direction = sun_direction(light);
    let matte = |colour: LinearRgba, translucent: bool| Matte {
        colour,
        sun: direction.extend(0.62 * light.sun),
        sky: Vec4::new(0.55 * light.sky, 0.26 * light.sky, 0.0, 0.0),
        translucent,
    };
    let ground: LinearRgba =
        Color::srgb(scene.scene.table.colour.0, scene.scene.table.colour.1, scene.scene.table.colour.2).to_linear();
    let flat = Matte {
        colour: ground * (SHADE * (0.55 * light.sky + 0.62 * light.sun * direction.z)),
        sun: direction.extend(0.0),
        sky: Vec4::new(0.0, 0.0, 0.0, SHADOW_HEIGHT_M),
        translucent: false,
    };
    let mut shadow_material = None;
    for (entity, look, mesh) in &looks {
        if !(all || look.is_changed()) {
            continue;
        }
        for (shadow, _) in shadows.iter().filter(|(_, parent)| parent.parent() == entity) {
            commands.entity(shadow).despawn();
        }
        let mut visual = commands.entity(entity);
        visual.remove::<(MeshMaterial3d<Matte>, MeshMaterial3d<StandardMaterial>)>();
        if look.ghost || !look.casts {
            visual.insert(NotShadowCaster);
        }
        if look.ghost {
            visual.insert(MeshMaterial3d(mattes.add(matte(look.colour.to_linear(), true))));
        } else if *quality == Quality::Low {
            visual.insert(MeshMaterial3d(mattes.add(matte(look.colour.to_linear(), false))));
            if look.casts {
                let material = shadow_material.get_or_insert_with(|| mattes.add(flat.clone())).clone();
                let coarse = meshes.get(&mesh.0).and_then(|mesh| shapes::coarse(mesh, SHADOW_GRID_M));
                commands.spawn((
                    FlatShadow,
                    coarse.map_or_else(|| mesh.clone(), |coarse| Mesh3d(meshes.add(coarse))),
                    MeshMaterial3d(material),
                    Transform::default(),
                    Visibility::default(),
                    bevy::camera::visibility::NoFrustumCulling,
                    ChildOf(entity),
                ));
            }
        } else {
            visual.insert(MeshMaterial3d(standards.add(StandardMaterial {
                base_color: look.colour,
                perceptual_roughness: look.roughness,
                reflectance: 0.25,
                ..default()
            })));
        }
    }
}
