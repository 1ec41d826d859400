//! Etude: practise, record and run robot tasks on a simulated or real SO-100 arm.
//!
//! The story of one tick ([`control::ControlSystems`]): the backend behind each joint reports its
//! [`robot::JointState`]; one [`operator::Operator`] answers with a [`robot::JointCommand`]; inside every limit it becomes
//! the [`robot::JointTarget`] that is really sent; physics advances; the [`task`] is scored; what happened is kept.
//! docs/architecture.md draws the rooms.

pub mod app;
pub mod arm;
pub mod backend;
pub mod bus;
pub mod camera;
pub mod cli;
pub mod config;
pub mod control;
pub mod dataset;
pub mod episode;
pub mod evaluate;
pub mod generate;
pub mod headless;
pub mod joint_units;
pub mod operator;
pub mod planar;
pub mod policy;
pub mod push_t_2d;
pub mod record;
pub mod recording;
pub mod redraw;
pub mod replay;
pub mod rig;
pub mod robot;
pub mod rollout;
pub mod scores;
pub mod serve_env;
pub mod task;
pub mod teleop;
pub mod trace;
pub mod ui;
pub mod view;
pub mod window;
pub mod world;
