//! porchlight: pixels come in, only typed facts go out.
#![deny(unsafe_code)]

pub mod decode;
pub mod detection;
pub mod frame;
pub mod geom;
pub mod source;
