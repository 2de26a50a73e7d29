//! One integration binary: everything here runs the real program from outside.

mod camera;
mod events;
mod flow;
mod house;
mod support;
