//! porchlight: pixels come in, only typed facts go out.
//!
//! ```text
//!            capture        scout            vision                report          writer
//! camera --> RawFrame ==> Frame + Verdict -> Regions, Detections -> Faces, visits -> Event --> JSON line
//!            source         decode, motion   attention, model,      scene            event, emit
//!                                            track
//! ```
//!
//! The library is the program: `main.rs` only calls [`command::main`]. It is a library so that benchmarks and tests can reach
//! each room by itself. Start with [`pipeline`], which reads like the diagram, then follow a frame: [`source`] gives a
//! [`frame::RawFrame`], [`decode`] makes a [`frame::Frame`] of it, [`motion`] says what moved, [`attention`] where to look,
//! [`model`] what is there, [`track`] what is the same as before, [`scene`] what is worth a line, [`event`] what a line can
//! hold, [`emit`] writes it.
//!
//! Two rules explain most of the shapes here. Time comes from the frame's [`frame::Stamp`] and never from a clock, so that a
//! replay says the same bytes on any machine. And nothing behind [`track`] knows pixels, so that the way out is too narrow for
//! a picture.
#![deny(unsafe_code)]

pub mod attention;
pub mod cadence;
pub mod cli;
pub mod command;
pub mod config;
pub mod decode;
pub mod detection;
pub mod emit;
pub mod eval;
pub mod event;
pub mod exit;
pub mod face;
pub mod flow;
pub mod frame;
pub mod geom;
pub mod governor;
pub mod labels;
pub mod model;
pub mod motion;
pub mod pipeline;
pub mod scene;
pub mod seal;
pub mod source;
pub mod stats;
pub mod track;
pub mod view;
pub mod warden;
pub mod watch;
