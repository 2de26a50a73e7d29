//! How a run ends, as the caller sees it.

/// The exit codes; other programs rely on them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything asked for was done, or the reader of stdout went away.
    #[default]
    Done = 0,
    /// A check or a target was missed.
    Missed = 1,
    /// A command line or configuration that cannot be acted on.
    Usage = 2,
    /// A model, its card or the runtime.
    Model = 3,
    /// A camera or another source of pictures.
    Source = 4,
    /// The seal could not be put in place.
    Seal = 5,
    /// A bug, a hang, a crash that did not heal.
    Internal = 6,
}

impl Exit {
    /// The number.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
