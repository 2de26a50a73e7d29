//! The table of all labels of a run: what a [`ClassId`] is called.
//!
//! Events hold ids; names are looked up when a line is written. The table is filled while models are loaded and never
//! changes afterwards.

use crate::detection::ClassId;

/// Label of persons: faces belong to their tracks.
pub const PERSON: &str = "person";

/// Ids to names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    names: Vec<String>,
}

impl Labels {
    /// The id of `name`; a new one when the table does not have it yet.
    pub fn intern(&mut self, name: &str) -> ClassId {
        if let Some(id) = self.id(name) {
            return id;
        }
        self.names.push(name.to_owned());
        // A card has at most 10 000 labels and a run a handful of cards: far below 65 536.
        ClassId(u16::try_from(self.names.len() - 1).unwrap_or(u16::MAX))
    }

    /// The id of `name`, if a model knows it.
    pub fn id(&self, name: &str) -> Option<ClassId> {
        self.names.iter().position(|n| n == name).and_then(|i| u16::try_from(i).ok()).map(ClassId)
    }

    /// The name of an id of this table; empty for a foreign one.
    pub fn name(&self, id: ClassId) -> &str {
        self.names.get(usize::from(id.0)).map_or("", String::as_str)
    }

    /// All names, in the order of their ids.
    pub fn names(&self) -> &[String] {
        &self.names
    }
}
