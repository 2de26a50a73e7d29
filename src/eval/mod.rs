//! Accuracy, measured as the field does. Pure: numbers in, numbers out.

pub mod assign;
pub mod coco;
pub mod events;
pub mod faces;
pub mod mot;
pub mod wider;
