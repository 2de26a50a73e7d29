//! How a chore fails: one line and an exit code.

/// Something went wrong.
pub(crate) const FAILED: u8 = 1;
/// The command line was not understood.
pub(crate) const USAGE: u8 = 2;

/// What a chore returns.
pub(crate) type Result<T = ()> = std::result::Result<T, Failure>;

/// Why a chore stopped, and the exit code that says so.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The line for stderr; none where the program that failed has already said it.
    pub(crate) line: Option<String>,
    /// The exit code of `cargo xtask`.
    pub(crate) code: u8,
}

impl Failure {
    /// Something went wrong: what, where, and the fix where there is one.
    pub(crate) fn new(line: impl Into<String>) -> Self {
        Self { line: Some(line.into()), code: FAILED }
    }

    /// The command line was not understood.
    pub(crate) fn usage(line: impl Into<String>) -> Self {
        Self { line: Some(line.into()), code: USAGE }
    }

    /// A program we started failed and has said why.
    pub(crate) fn passed_on(code: u8) -> Self {
        Self { line: None, code }
    }
}
