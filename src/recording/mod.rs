//! Recording by a person, in the window or in a terminal: [`session`] is the plain state machine, [`keys`] the one table of
//! keys, [`desk`] carries the session's orders out in the world, and [`status`] is what the person sees of it.

pub mod desk;
pub mod keys;
pub mod session;
pub mod status;
