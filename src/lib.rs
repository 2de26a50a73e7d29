//! porchlight: pixels come in, only typed facts go out.
#![deny(unsafe_code)]

pub mod cli;
pub mod command;
pub mod config;
pub mod decode;
pub mod detection;
pub mod exit;
pub mod face;
pub mod frame;
pub mod geom;
pub mod labels;
pub mod model;
pub mod source;
