//! Types and constants of `linux/videodev2.h` for the crate `v4l`, through which nokhwa reads webcams.
//!
//! The published crate of this name runs bindgen at build time and so wants libclang. This one, put in its place by Cargo's
//! `[patch]` table, holds the output: bindgen 0.71.1 on the header of Linux 6.1, with an allow-list of what `v4l` 0.14 and
//! nokhwa's Linux bindings use, without layout tests and comments. It serves 64-bit Linux, where sizes agree on all
//! processors; elsewhere nothing asks for it.
#![allow(non_camel_case_types, non_snake_case, non_upper_case_globals, missing_docs, clippy::all)]

include!("videodev2.rs");
