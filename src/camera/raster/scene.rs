//! What is drawn: meshes placed in the world, one sun and a sky, a table top with markings, a backdrop.

use super::pose::Pose;
use super::{RasterError, RasterMesh};
use bevy::math::{Vec2, Vec3};
use std::sync::Arc;

/// A mesh placed in the world.
#[derive(Debug, Clone, PartialEq)]
pub struct Instance {
    /// Index of its mesh in the scene.
    pub mesh: usize,
    /// Where the mesh's frame is in the world.
    pub world_from_mesh: Pose,
    /// Scale along the mesh's own axes before the pose; 1 for true size, not negative.
    pub scale: Vec3,
    /// Linear RGB reflectance, 0 to 1.
    pub colour: Vec3,
    /// Strength of the highlight: 0 matt, 1 glossy plastic.
    pub gloss: f32,
    /// True for things that keep their pose over many ticks: pictures and shadows of them are then reused. Purely a hint; a
    /// static instance may still be moved, at the cost of drawing afresh.
    pub is_static: bool,
}

impl Instance {
    /// A moving instance of true size and slight gloss.
    pub fn new(mesh: usize, world_from_mesh: Pose, colour: Vec3) -> Self {
        Instance { mesh, world_from_mesh, scale: Vec3::ONE, colour, gloss: 0.35, is_static: false }
    }
}

/// One sun with a shadow, and the light of sky and floor from everywhere else.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Light {
    /// Direction towards the sun (any length). It must stand above the horizon (z > 0.1 of its length).
    pub to_sun: Vec3,
    /// Linear RGB of the sun on a surface that faces it.
    pub sun: Vec3,
    /// Linear RGB of the ambient light on a surface that faces up.
    pub sky: Vec3,
    /// Linear RGB of the ambient light on a surface that faces down.
    pub bounce: Vec3,
    /// Middle of the square on the table plane where shadows are computed, in metres.
    pub shadow_centre_m: Vec2,
    /// Half the side of that square in metres; things up to about this height in it cast shadows. 0.05 to 5.
    pub shadow_half_size_m: f32,
}

impl Default for Light {
    fn default() -> Self {
        Light {
            to_sun: Vec3::new(-0.42, -0.38, 1.0),
            sun: Vec3::new(0.86, 0.81, 0.74),
            sky: Vec3::new(0.34, 0.37, 0.42),
            bounce: Vec3::new(0.20, 0.18, 0.155),
            shadow_centre_m: Vec2::new(0.0, -0.17),
            shadow_half_size_m: 0.34,
        }
    }
}

/// Fine structure of a table top.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum TablePattern {
    /// The first colour throughout.
    Plain,
    /// Planks with grain.
    #[default]
    Wood,
    /// Fine irregular mottling, like linoleum or felt.
    Mottled,
    /// Squares of this side in metres; the pattern repeats every 0.512 m, so sides that divide it evenly look best.
    Checker(
        /// Side of a square in metres.
        f32,
    ),
}

/// A rectangular table top at z = 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TableTop {
    /// Middle in metres.
    pub centre_m: Vec2,
    /// Half width and half depth in metres.
    pub half_size_m: Vec2,
    /// Thickness of the board in metres.
    pub thickness_m: f32,
    /// The two linear RGB colours that the pattern mixes.
    pub colours: [Vec3; 2],
    /// Fine structure.
    pub pattern: TablePattern,
    /// Seed of the pattern.
    pub seed: u32,
}

impl Default for TableTop {
    fn default() -> Self {
        TableTop {
            centre_m: Vec2::new(0.0, -0.17),
            half_size_m: Vec2::new(0.48, 0.40),
            thickness_m: 0.025,
            colours: [Vec3::new(0.58, 0.47, 0.34), Vec3::new(0.38, 0.28, 0.185)],
            pattern: TablePattern::Wood,
            seed: 1,
        }
    }
}

/// A closed line on the table, e.g. the goal's outline.
#[derive(Debug, Clone, PartialEq)]
pub struct Outline {
    /// Corners in order (either sense), in metres on the table. At least 3, at most 64.
    pub points_m: Vec<Vec2>,
    /// Width of the line in metres.
    pub width_m: f32,
    /// How far the line's middle lies outside the polygon, in metres (negative: inside).
    pub offset_m: f32,
    /// Linear RGB.
    pub colour: Vec3,
    /// How much of the colour tints the inside, 0 to 1.
    pub fill: f32,
}

/// What is seen beside the table, in linear RGB as it appears (it is not lit).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backdrop {
    /// Straight ahead.
    pub horizon: Vec3,
    /// Above.
    pub zenith: Vec3,
    /// Below.
    pub floor: Vec3,
    /// Distance in metres at which the table has half gone over into the backdrop.
    pub fog_distance_m: f32,
}

impl Default for Backdrop {
    fn default() -> Self {
        Backdrop {
            horizon: Vec3::new(0.52, 0.55, 0.58),
            zenith: Vec3::new(0.70, 0.74, 0.79),
            floor: Vec3::new(0.205, 0.215, 0.23),
            fog_distance_m: 4.0,
        }
    }
}

/// Everything that cameras see.
#[derive(Debug, Clone, Default)]
pub struct RasterScene {
    meshes: Vec<Arc<RasterMesh>>,
    /// Meshes in the world, drawn in this order (which matters only where two surfaces coincide).
    pub instances: Vec<Instance>,
    /// The light.
    pub light: Light,
    /// The table top; without one there is only the backdrop.
    pub table: Option<TableTop>,
    /// Lines on the table, later ones over earlier ones.
    pub outlines: Vec<Outline>,
    /// Behind everything.
    pub backdrop: Backdrop,
}

impl RasterScene {
    /// An empty scene with default light and backdrop.
    pub fn new() -> Self {
        RasterScene::default()
    }

    /// Adds a mesh and gives its index for [`Instance::mesh`].
    pub fn add_mesh(&mut self, mesh: impl Into<Arc<RasterMesh>>) -> usize {
        self.meshes.push(mesh.into());
        self.meshes.len() - 1
    }

    /// The meshes added so far.
    pub fn meshes(&self) -> &[Arc<RasterMesh>] {
        &self.meshes
    }

    /// Triangles of all instances together.
    pub fn triangle_count(&self) -> usize {
        self.instances.iter().filter_map(|i| self.meshes.get(i.mesh)).map(|m| m.triangle_count()).sum()
    }

    /// Checks that everything is finite and in range.
    pub(super) fn validate(&self) -> Result<(), RasterError> {
        let finite = |ok: bool, what: &str| match ok {
            true => Ok(()),
            false => Err(RasterError::NotFinite { what: what.into() }),
        };
        let range = |ok: bool, what, value: String, range| match ok {
            true => Ok(()),
            false => Err(RasterError::OutOfRange { what, value, range }),
        };
        for (i, it) in self.instances.iter().enumerate() {
            if it.mesh >= self.meshes.len() {
                return Err(RasterError::MeshIndex { instance: i, mesh: it.mesh, meshes: self.meshes.len() });
            }
            if !it.world_from_mesh.is_usable() {
                return Err(RasterError::NotFinite { what: format!("pose of instance {i}") });
            }
            if !(it.scale.is_finite() && it.colour.is_finite() && it.gloss.is_finite()) {
                return Err(RasterError::NotFinite { what: format!("scale, colour or gloss of instance {i}") });
            }
            range(it.scale.min_element() >= 0.0, "scale of an instance", it.scale.to_string(), "0 or more")?;
        }
        let l = &self.light;
        finite(
            l.to_sun.is_finite() && l.sun.is_finite() && l.sky.is_finite() && l.bounce.is_finite(),
            "direction or colour of the light",
        )?;
        finite(l.shadow_centre_m.is_finite(), "centre of the shadow square")?;
        let height = l.to_sun.z / l.to_sun.length();
        range(height > 0.1, "height of the sun (z of its unit direction)", height.to_string(), "above 0.1")?;
        let half = l.shadow_half_size_m;
        range((0.05..=5.0).contains(&half), "half size of the shadow square", format!("{half} m"), "0.05 to 5 m")?;
        if let Some(t) = &self.table {
            finite(t.centre_m.is_finite() && t.colours.iter().all(|c| c.is_finite()), "centre or colour of the table")?;
            let size = t.half_size_m.min_element().min(t.thickness_m);
            range(
                size >= 0.0 && t.half_size_m.is_finite(),
                "size of the table",
                size.to_string(),
                "0 or more, finite",
            )?;
            if let TablePattern::Checker(side) = t.pattern {
                range(side >= 0.002, "checker side of the table", format!("{side} m"), "at least 0.002 m")?;
            }
        }
        for o in &self.outlines {
            let n = o.points_m.len();
            range((3..=64).contains(&n), "number of points of an outline", n.to_string(), "3 to 64")?;
            let ok = o.points_m.iter().all(|p| p.is_finite())
                && (o.width_m + o.offset_m + o.fill).is_finite()
                && o.colour.is_finite();
            finite(ok, "point, width or colour of an outline")?;
        }
        let b = &self.backdrop;
        finite((b.horizon + b.zenith + b.floor).is_finite(), "colour of the backdrop")?;
        range(b.fog_distance_m > 0.0, "fog distance of the backdrop", format!("{} m", b.fog_distance_m), "above 0 m")
    }
}
