//! porchlight: pixels come in, only typed facts go out.
#![deny(unsafe_code)]

pub mod detection;
pub mod emit;
pub mod event;
pub mod flow;
pub mod frame;
pub mod geom;
pub mod labels;
pub mod model;
pub mod watch;
