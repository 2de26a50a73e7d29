//! Whose face it is: from five landmarks to a vector. Embeddings never leave the process.

pub mod align;
pub mod embed;
