//! What can be wrong with a scene, a camera or a picture buffer.

use thiserror::Error;

/// Why a mesh, a scene or a picture was refused. Nothing is drawn after an error.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RasterError {
    /// A mesh without a single triangle of non-zero area.
    #[error("mesh has no triangle with an area ({given} given); check the mesh file and its scale")]
    EmptyMesh {
        /// Triangles handed in.
        given: usize,
    },
    /// A triangle names a vertex that is not there.
    #[error("triangle {triangle} uses vertex {index}, but the mesh has {vertices} vertices")]
    VertexIndex {
        /// Position of the triangle in the list.
        triangle: usize,
        /// The vertex asked for.
        index: u32,
        /// Vertices there are.
        vertices: usize,
    },
    /// A position, pose or setting that is infinite or not a number.
    #[error("{what} is not finite; check the pose or setting that feeds it")]
    NotFinite {
        /// The thing, e.g. `pose of instance 3`.
        what: String,
    },
    /// An instance names a mesh that the scene does not have.
    #[error("instance {instance} uses mesh {mesh}, but the scene has {meshes} meshes; add the mesh first")]
    MeshIndex {
        /// Position of the instance in the scene.
        instance: usize,
        /// The mesh asked for.
        mesh: usize,
        /// Meshes there are.
        meshes: usize,
    },
    /// A setting outside its range.
    #[error("{what} is {value}; it must be {range}")]
    OutOfRange {
        /// The setting.
        what: &'static str,
        /// Its value.
        value: String,
        /// What would be accepted.
        range: &'static str,
    },
    /// Eye, target and up vector do not span a camera frame.
    #[error("camera cannot look from its eye to its target: {reason}")]
    LookAt {
        /// What is degenerate.
        reason: &'static str,
    },
    /// The picture buffer does not fit the camera.
    #[error("picture buffer has {given} bytes, but {width} x {height} RGB needs {needed}")]
    BufferSize {
        /// Bytes handed in.
        given: usize,
        /// Bytes needed: width * height * 3.
        needed: usize,
        /// Width in pixels.
        width: usize,
        /// Height in pixels.
        height: usize,
    },
    /// `draw` before the first `begin_tick`.
    #[error("no tick has begun; call begin_tick with the scene before drawing a camera")]
    NoTick,
}
