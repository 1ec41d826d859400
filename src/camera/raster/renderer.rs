//! The plain way to draw: one object that owns the shadow map and the buffers of all cameras.

use super::{CameraModel, CameraView, LitScene, RasterError, RasterScene};
use std::collections::BTreeMap;

/// Draws the cameras of a scene one after the other. To draw them on several threads, keep a [`LitScene`] and one
/// [`CameraView`] per camera instead; the pictures are the same.
#[derive(Debug, Default)]
pub struct Renderer {
    lit: LitScene,
    views: BTreeMap<usize, CameraView>,
}

impl Renderer {
    /// A renderer with empty buffers.
    pub fn new() -> Self {
        Renderer::default()
    }

    /// Takes in where everything is this tick and draws the shadow map that all cameras share.
    ///
    /// # Errors
    /// Something in the scene is out of range or not finite; see [`RasterError`].
    pub fn begin_tick(&mut self, scene: &RasterScene) -> Result<(), RasterError> {
        self.lit.update(scene)
    }

    /// Draws the picture of one camera at the last tick begun. `slot` is the camera's own number: the buffers and the cached
    /// background stay with it.
    ///
    /// # Errors
    /// No tick has begun, the camera is out of range, or the buffer is not `width * height * 3` bytes.
    pub fn draw(&mut self, slot: usize, camera: &CameraModel, rgb: &mut [u8]) -> Result<(), RasterError> {
        self.views.entry(slot).or_default().draw(&self.lit, camera, rgb)
    }

    /// Frees the buffers of a camera that is no longer drawn.
    pub fn forget(&mut self, slot: usize) {
        self.views.remove(&slot);
    }

    /// The scene of the last tick begun, for [`CameraView::draw`] on other threads.
    pub fn lit_scene(&self) -> &LitScene {
        &self.lit
    }
}
