//! porchlight: pixels come in, only typed facts go out.
#![deny(unsafe_code)]

pub mod attention;
pub mod detection;
pub mod frame;
pub mod geom;
pub mod motion;
pub mod track;
