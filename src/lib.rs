//! porchlight: pixels come in, only typed facts go out.
#![deny(unsafe_code)]

pub mod attention;
pub mod cli;
pub mod command;
pub mod config;
pub mod decode;
pub mod detection;
pub mod emit;
pub mod event;
pub mod exit;
pub mod face;
pub mod flow;
pub mod frame;
pub mod geom;
pub mod labels;
pub mod model;
pub mod motion;
pub mod pipeline;
pub mod scene;
pub mod seal;
pub mod source;
pub mod track;
pub mod warden;
pub mod watch;
