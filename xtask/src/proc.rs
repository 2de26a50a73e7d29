//! Starting other programs.

use crate::fail::{Failure, Result};
use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};

/// A program this machine may lack, and what puts it there.
pub(crate) struct Program {
    /// The name it is started by.
    pub(crate) name: &'static str,
    /// The command that installs it on Debian.
    pub(crate) fix: &'static str,
}

/// Downloads and unpacks packages.
pub(crate) const PYTHON: Program = Program { name: "python3", fix: "apt-get install python3 python3-pip" };
/// Owns the headers that libclang lacks, and links the product.
pub(crate) const GCC: Program = Program { name: "gcc", fix: "apt-get install gcc libc6-dev" };

impl Program {
    /// A command that starts it.
    pub(crate) fn command(&self) -> Command {
        Command::new(self.name)
    }

    fn missing(&self, error: &std::io::Error) -> Failure {
        match error.kind() {
            ErrorKind::NotFound => Failure::new(format!("{} is not installed; try: {}", self.name, self.fix)),
            _ => Failure::new(format!("{} cannot be started: {error}", self.name)),
        }
    }

    /// Runs `command` quietly. Both outputs come back; a failure becomes one line that ends with what it said last.
    pub(crate) fn output(&self, command: &mut Command, purpose: &str) -> Result<String> {
        let out = command.stdin(Stdio::null()).output().map_err(|error| self.missing(&error))?;
        if out.status.success() {
            return Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned());
        }
        let stderr = String::from_utf8_lossy(&out.stderr);
        if let Some(hint) = hint(&stderr) {
            return Err(Failure::new(format!("{purpose}: {hint}")));
        }
        Err(Failure::new(format!("{purpose}: {} ended with {}: {}", self.name, out.status, last_words(&stderr))))
    }

    /// Runs `command` with our own stdin, stdout and stderr and passes its exit code on.
    pub(crate) fn passing(&self, command: &mut Command) -> Result {
        let status = command.status().map_err(|error| self.missing(&error))?;
        if status.success() { Ok(()) } else { Err(Failure::passed_on(code(status))) }
    }
}

/// The cargo that started us, with our own stdout and stderr.
pub(crate) fn cargo(args: &[&str], more: &[String]) -> Result {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    crate::say(format_args!(
        "cargo {}",
        args.iter().copied().chain(more.iter().map(String::as_str)).collect::<Vec<_>>().join(" ")
    ));
    let program = Program { name: "cargo", fix: "install Rust 1.92 or newer" };
    program.passing(Command::new(cargo).args(args).args(more).current_dir(crate::root()))
}

/// The same with variables of its environment set.
pub(crate) fn cargo_with(args: &[&str], env: &[(&str, std::ffi::OsString)]) -> Result {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    crate::say(format_args!("cargo {}", args.join(" ")));
    let program = Program { name: "cargo", fix: "install Rust 1.92 or newer" };
    let env = env.iter().map(|(name, value)| (*name, value));
    program.passing(Command::new(cargo).args(args).envs(env).current_dir(crate::root()))
}

/// A shell's view of how a program ended: its code, or 128 and the signal.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    u8::try_from(code).unwrap_or(1)
}

/// The fix for the failures a fresh machine is likely to have.
fn hint(stderr: &str) -> Option<&'static str> {
    const KNOWN: &[(&str, &str)] = &[
        ("No module named pip", "python3 has no pip; try: apt-get install python3-pip"),
        ("ensurepip is not available", "python3 cannot make virtual environments; try: apt-get install python3-venv"),
        ("No module named venv", "python3 cannot make virtual environments; try: apt-get install python3-venv"),
        (
            "DO NOT MATCH THE HASHES",
            "a downloaded package is not the one that was pinned (its hash differs); nothing was kept",
        ),
        (
            "Temporary failure in name resolution",
            "no network: the package index has no address; connect and run it again",
        ),
    ];
    KNOWN.iter().find(|(sign, _)| stderr.contains(sign)).map(|(_, fix)| *fix)
}

/// The last line that says an error, else the last line.
fn last_words(stderr: &str) -> String {
    let lines: Vec<_> = stderr.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let error = lines.iter().rev().find(|line| line.to_ascii_lowercase().contains("error"));
    error.or(lines.last()).map_or_else(|| "it said nothing".to_owned(), |line| (*line).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named_with_its_fix() {
        let program = Program { name: "no-such-program-here", fix: "apt-get install it" };
        let failure = program.output(&mut program.command(), "test").unwrap_err();
        assert_eq!(failure.line.unwrap(), "no-such-program-here is not installed; try: apt-get install it");
    }

    #[test]
    fn exit_codes_and_signals_are_passed_on() {
        let sh = Program { name: "sh", fix: "" };
        assert_eq!(sh.passing(sh.command().args(["-c", "exit 7"])).unwrap_err().code, 7);
        assert_eq!(sh.passing(sh.command().args(["-c", "kill -9 $$"])).unwrap_err().code, 137);
    }

    #[test]
    fn a_failure_is_one_line() {
        let sh = Program { name: "sh", fix: "" };
        let failure = |script| sh.output(sh.command().args(["-c", script]), "fetching").unwrap_err().line.unwrap();
        assert_eq!(
            failure("echo first >&2; echo 'ERROR: no such version' >&2; echo later >&2; exit 1"),
            "fetching: sh ended with exit status: 1: ERROR: no such version"
        );
        assert!(
            failure("echo '/usr/bin/python3: No module named pip' >&2; exit 1")
                .ends_with("apt-get install python3-pip")
        );
    }
}
