//! Whose face it is: from five landmarks to a vector, and from vectors to a name. Embeddings never leave the process.

pub mod align;
pub mod appearance;
pub mod embed;
pub mod gallery;
pub mod identity;
pub mod quality;
pub mod vault;
pub mod vote;
