//! Accuracy, measured as the field does. Pure: numbers in, numbers out.

pub mod faces;
