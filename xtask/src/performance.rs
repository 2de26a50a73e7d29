//! `cargo xtask performance`: writes the figures of docs/performance.md anew, each from the program that measures it.
//!
//! The page has blocks between `<!-- measured: COMMAND -->` and `<!-- end -->`. Each is replaced by what the command prints; the words
//! around them are a person's, who reads the new figures before committing them.

use std::fs;
use std::process::Command;

use crate::fail::{Failure, Result};
use crate::proc::{PYTHON, Program};
use crate::python::io;
use crate::{say, setup, work};

const PAGE: &str = "docs/performance.md";
const BEGIN: &str = "<!-- measured: ";
const END: &str = "<!-- end -->";

/// The chore. With names, only the blocks whose command holds one of them.
pub(crate) fn run(names: &[String]) -> Result {
    setup::ensure(std::env::consts::ARCH)?;
    work::build_release()?;
    let path = crate::root().join(PAGE);
    let mut page = fs::read_to_string(&path).map_err(io(&path))?;
    let commands: Vec<String> = blocks(&page)?.iter().map(|block| block.command.to_owned()).collect();
    let wanted = |command: &String| names.is_empty() || names.iter().any(|name| command.contains(name.as_str()));
    if !commands.iter().any(wanted) {
        return Err(Failure::usage(format!(
            "performance: {PAGE} measures {}; wanted one of these",
            commands.join(", ")
        )));
    }
    for command in commands.iter().filter(|command| wanted(command)) {
        say(format_args!("performance: {command}"));
        let measured = measure(command)?;
        page = replaced(&page, command, &measured)?;
        // What is measured is kept, whatever happens to the rest.
        fs::write(&path, &page).map_err(io(&path))?;
    }
    Ok(())
}

/// What a command of the page prints.
fn measure(command: &str) -> Result<String> {
    let words: Vec<&str> = command.split_whitespace().collect();
    match words[..] {
        ["machine"] => PYTHON.output(PYTHON.command().args(["-c", MACHINE]), "asking the machine what it is"),
        ["cargo", ..] => {
            let cargo = Program { name: "cargo", fix: "install Rust 1.92 or newer" };
            let mut run = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
            cargo.output(run.args(&words[1..]).current_dir(crate::root()), command)
        }
        _ => Err(Failure::new(format!("{PAGE}: `{command}`: wanted `machine` or a command of cargo"))),
    }
}

/// Processor, kernel, and how busy it was: figures are of one machine at one time.
const MACHINE: &str = r#"
import os, platform
cpu = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), platform.machine())
flags = next((l for l in open("/proc/cpuinfo") if l.startswith(("flags", "Features"))), "")
isa = [f for f in ("avx2", "avx512_vnni", "avx_vnni", "asimddp") if f in flags]
print(f"{os.cpu_count()} x {cpu} ({', '.join(isa)}), Linux {platform.release().split('-')[0]}, load {os.getloadavg()[0]:.1f}")
"#;

/// A block of the page: its command, and where what stands in it begins and ends.
struct Block<'a> {
    command: &'a str,
    inside: std::ops::Range<usize>,
}

fn blocks(page: &str) -> Result<Vec<Block<'_>>> {
    let mut all = Vec::new();
    let mut from = 0;
    while let Some(begin) = page[from..].find(BEGIN).map(|at| at + from) {
        let broken = |wanted: &str| {
            let line = page[..begin].lines().count();
            Failure::new(format!("{PAGE}:{line}: a block of figures is not closed: wanted `{wanted}` behind it"))
        };
        let name = begin + BEGIN.len();
        let name_end = page[name..].find(" -->").map(|at| at + name).ok_or_else(|| broken("-->"))?;
        let inside = name_end + " -->".len();
        let end = page[inside..].find(END).map(|at| at + inside).ok_or_else(|| broken(END))?;
        if page[inside..end].contains(BEGIN) {
            return Err(broken(END));
        }
        all.push(Block { command: &page[name..name_end], inside: inside..end });
        from = end + END.len();
    }
    Ok(all)
}

fn replaced(page: &str, command: &str, measured: &str) -> Result<String> {
    let all = blocks(page)?;
    let missing = || Failure::new(format!("{PAGE}: no block of `{command}`"));
    let block = all.iter().find(|block| block.command == command).ok_or_else(missing)?;
    let (before, behind) = (&page[..block.inside.start], &page[block.inside.end..]);
    Ok(format!("{before}\n```text\n{}\n```\n{behind}", measured.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_replaced_and_everything_else_stays() {
        let page = "a\n<!-- measured: machine -->\nold\n<!-- end -->\nb\n<!-- measured: cargo bench --bench run -->\n<!-- end -->\nc\n";
        let commands: Vec<_> = blocks(page).unwrap().iter().map(|b| b.command).collect();
        assert_eq!(commands, ["machine", "cargo bench --bench run"]);
        let new = replaced(page, "cargo bench --bench run", "x\ny\n").unwrap();
        let wanted = "<!-- measured: cargo bench --bench run -->\n```text\nx\ny\n```\n<!-- end -->\nc\n";
        assert!(
            new.starts_with("a\n<!-- measured: machine -->\nold\n<!-- end -->\nb\n") && new.ends_with(wanted),
            "{new}"
        );
        // Again: the same.
        assert_eq!(replaced(&new, "cargo bench --bench run", "x\ny").unwrap(), new);
        assert!(replaced(page, "other", "x").is_err());
    }

    #[test]
    fn a_block_without_an_end_is_one_line() {
        for page in ["x\n<!-- measured: machine -->\n", "<!-- measured: a -->\n<!-- measured: b -->\n<!-- end -->"] {
            assert!(
                blocks(page).err().and_then(|e| e.line).is_some_and(|line| line.contains("is not closed")),
                "{page}"
            );
        }
    }

    #[test]
    fn the_page_has_its_blocks() {
        let page = fs::read_to_string(crate::root().join(PAGE)).unwrap();
        let commands: Vec<_> = blocks(&page).unwrap().iter().map(|b| b.command.to_owned()).collect();
        for wanted in ["machine", "stages", "--bench run", "idle", "cameras", "prep", "peer"] {
            assert!(commands.iter().any(|c| c.contains(wanted)), "{wanted} in {commands:?}");
        }
    }
}
