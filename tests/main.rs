//! One integration binary: everything here runs the real program from outside. (Beside it there is `allocations.rs`, whose allocator
//! counts for a whole process.)

mod batch;
mod bench;
mod board;
mod camera;
mod cards;
mod cli;
mod compat;
mod config;
mod detect;
mod eval;
mod events;
mod faces;
mod fleet;
mod flow;
mod formats;
mod house;
mod mqtt;
mod recipes;
mod scene;
mod seal;
mod service;
mod sources;
mod support;
mod watch;
mod zoo;
