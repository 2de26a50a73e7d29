//! The command line as others want to read it: a manual page, and completions for three shells.
//!
//! All of it is made of the two tables that also make the help, so none of it can tell of a flag that is not there. Packages
//! install what `porchlight help --as man|bash|zsh|fish` prints.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::{COMMANDS, Command, FLAGS, Flag, Kind, first_words, pending, usage};

/// The forms, as `--as` takes them.
pub const FORMS: &[&str] = &["text", "man", "bash", "zsh", "fish"];

/// The whole program in one of [`FORMS`] but `text`; empty for another word.
pub fn page(form: &str) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = match form {
        "man" => man(&mut out),
        "bash" => bash(&mut out),
        "zsh" => zsh(&mut out),
        "fish" => fish(&mut out),
        _ => Ok(()),
    };
    out
}

/// What can be typed by now.
fn commands() -> impl Iterator<Item = &'static Command> {
    COMMANDS.iter().filter(|c| c.built)
}

/// First words that need a second one.
fn groups() -> BTreeSet<&'static str> {
    commands().filter_map(|c| Some(c.path.split_once(' ')?.0)).collect()
}

/// Second words behind this first one.
fn seconds(group: &str) -> Vec<&'static Command> {
    commands().filter(|c| c.path.split_once(' ').is_some_and(|(first, _)| first == group)).collect()
}

fn second(command: &Command) -> &'static str {
    command.path.split_once(' ').map_or(command.path, |(_, second)| second)
}

/// First words of what can be typed.
fn firsts() -> Vec<&'static str> {
    first_words().into_iter().filter(|w| commands().any(|c| c.path.split(' ').next() == Some(*w))).collect()
}

/// What a first word is for: its command's sentence, or the group's second words.
fn about(first: &str) -> String {
    match COMMANDS.iter().find(|c| c.path == first) {
        Some(command) => command.about.to_owned(),
        None => seconds(first).into_iter().map(second).collect::<Vec<_>>().join(", "),
    }
}

fn flags_of(command: &str) -> impl Iterator<Item = &'static Flag> + '_ {
    FLAGS.iter().filter(move |f| f.serves(command))
}

/// The words a flag takes, where they are known.
fn words(kind: Kind) -> Vec<&'static str> {
    match kind {
        Kind::Choice(words) => words.to_vec(),
        Kind::Count(.., word) | Kind::Counts(.., word) => vec![word],
        Kind::Switch | Kind::Path(_) | Kind::Text(_) | Kind::Number(..) | Kind::Time(_) | Kind::Whole(..) => Vec::new(),
    }
}

/// Text for roff: a hyphen that can be copied, a backslash that is one, no line that looks like a request.
fn roff(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    let text = match text.starts_with(['.', '\'']) {
        true => format!("\\&{text}"),
        false => text,
    };
    // What stands between grave accents is typed.
    text.split('`').enumerate().fold(String::new(), |mut out, (i, part)| {
        if i > 0 {
            out.push_str(if i % 2 == 1 { "\\fB" } else { "\\fR" });
        }
        out.push_str(part);
        out
    })
}

fn man(out: &mut String) -> std::fmt::Result {
    let name = concat!("porchlight ", env!("CARGO_PKG_VERSION"));
    writeln!(out, ".\\\" Made by `porchlight help --as man`; do not edit.")?;
    writeln!(out, ".TH PORCHLIGHT 1 \"\" \"{}\" \"User Commands\"", roff(name))?;
    writeln!(
        out,
        ".SH NAME\nporchlight \\- object and face recognition beside the camera, with nothing but events going out"
    )?;
    writeln!(out, ".SH SYNOPSIS\n.B porchlight\n.I COMMAND\n.RI [ FLAG ]...")?;
    writeln!(
        out,
        ".SH DESCRIPTION\nReads frames from cameras or files, recognises objects and faces on this machine, and writes typed \
         events, one JSON\nline at a time. The process that sees pixels is sealed by the kernel: it can neither send nor store \
         them."
    )?;
    writeln!(out, ".SH COMMANDS")?;
    for command in COMMANDS {
        writeln!(out, ".TP\n.B {}\n{}{}.", roff(&usage_line(command)), roff(command.about), pending(command))?;
    }
    writeln!(out, ".SH OPTIONS\nThey stand behind the command.")?;
    for flag in FLAGS {
        let short = flag.short.map_or_else(String::new, |c| format!("\\fB\\-{c}\\fR, "));
        let value = match flag.kind {
            Kind::Switch => String::new(),
            kind => format!(" \\fI{}\\fR", roff(&kind.metavar())),
        };
        writeln!(out, ".TP\n{short}\\fB\\-\\-{}\\fR{value}\n{}.", roff(flag.long), roff(flag.about))?;
        if flag.repeatable {
            writeln!(out, "May be given more than once.")?;
        }
        if !flag.commands.is_empty() {
            writeln!(out, "Read by {}.", roff(&flag.commands.join(", ")))?;
        }
    }
    let codes = ["done", "a check or target missed", "usage or configuration", "model"];
    let codes = codes.iter().chain(&["camera or source", "seal", "internal"]).enumerate();
    writeln!(out, ".SH EXIT STATUS")?;
    for (code, what) in codes {
        writeln!(out, ".TP\n.B {code}\n{what}")?;
    }
    writeln!(out, ".SH ENVIRONMENT")?;
    for (name, what) in [
        ("PORCHLIGHT_MODELS", "The folder of models, instead of those that are looked in otherwise."),
        ("ORT_DYLIB_PATH", "The ONNX Runtime library."),
        ("CREDENTIALS_DIRECTORY", "systemd's: the gallery's key may be in it, as porchlight.gallery.key."),
    ] {
        writeln!(out, ".TP\n.B {name}\n{}", roff(what))?;
    }
    writeln!(out, ".SH FILES")?;
    for (name, what) in [
        ("/etc/porchlight/NAME.toml", "The configuration of the service porchlight@NAME."),
        ("/usr/lib/porchlight", "The ONNX Runtime library, and what the service is started by."),
        ("/usr/share/porchlight/models", "The models that the package brings."),
    ] {
        writeln!(out, ".TP\n.I {}\n{}", roff(name), roff(what))?;
    }
    writeln!(out, ".SH SEE ALSO\n.BR systemctl (1),\n.BR jq (1)")
}

/// Without the flags, which have a section of their own.
fn usage_line(command: &Command) -> String {
    usage(command).split(" [--").next().unwrap_or_default().trim_start_matches("porchlight ").to_owned()
}

/// Shell code that puts the words typed so far into `cmd`, as far as they are a command: for bash and zsh, which differ in
/// how the words are listed.
fn find_command(out: &mut String, typed: &str) -> std::fmt::Result {
    let mut known: BTreeSet<&str> = commands().map(|c| c.path).collect();
    known.extend(groups());
    writeln!(out, "    local cmd= w\n    for w in {typed}; do\n        case \"$w\" in -*) continue ;; esac")?;
    let known = known.into_iter().map(|path| format!("'{path}'")).collect::<Vec<_>>().join(" | ");
    writeln!(out, "        case \"${{cmd:+$cmd }}$w\" in\n            {known}) cmd=\"${{cmd:+$cmd }}$w\" ;;")?;
    writeln!(out, "            *) break ;;\n        esac\n    done")
}

fn bash(out: &mut String) -> std::fmt::Result {
    writeln!(out, "# Made by `porchlight help --as bash`; do not edit.\n_porchlight() {{")?;
    writeln!(out, "    local cur=\"${{COMP_WORDS[COMP_CWORD]}}\" prev=\"${{COMP_WORDS[COMP_CWORD-1]}}\" words=")?;
    find_command(out, "\"${COMP_WORDS[@]:1:COMP_CWORD-1}\"")?;
    writeln!(out, "    case \"$prev\" in")?;
    let files = "compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")";
    for flag in FLAGS.iter().filter(|f| f.kind != Kind::Switch) {
        match (flag.kind, words(flag.kind)) {
            (Kind::Path(_), _) => writeln!(out, "        --{}) {files}; return ;;", flag.long)?,
            (_, words) if words.is_empty() => writeln!(out, "        --{}) return ;;", flag.long)?,
            (_, words) => writeln!(
                out,
                "        --{}) mapfile -t COMPREPLY < <(compgen -W '{}' -- \"$cur\"); return ;;",
                flag.long,
                words.join(" ")
            )?,
        }
    }
    writeln!(out, "    esac\n    case \"$cmd\" in\n        '') words='{} --help --version' ;;", firsts().join(" "))?;
    for group in groups() {
        let seconds: Vec<_> = seconds(group).into_iter().map(second).collect();
        writeln!(out, "        {group}) words='{} --help' ;;", seconds.join(" "))?;
    }
    for command in commands() {
        let flags: Vec<_> = flags_of(command.path).map(|f| format!("--{}", f.long)).collect();
        writeln!(out, "        '{}')", command.path)?;
        writeln!(out, "            words='{}'", flags.join(" "))?;
        if !command.positionals.is_empty() {
            writeln!(out, "            if [[ $cur != -* ]]; then {files}; return; fi")?;
        }
        writeln!(out, "            ;;")?;
    }
    writeln!(out, "    esac\n    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n}}")?;
    writeln!(out, "complete -F _porchlight porchlight")
}

/// Text inside of single quotes, where `\[`, `\]` and `\:` are zsh's.
fn quoted(text: &str, special: &[char]) -> String {
    text.chars().fold(String::new(), |mut out, c| {
        match c {
            '\'' => out.push_str("'\\''"),
            c if special.contains(&c) => out.extend(['\\', c]),
            c => out.push(c),
        }
        out
    })
}

fn zsh(out: &mut String) -> std::fmt::Result {
    const SPECIAL: &[char] = &['[', ']', ':', '\\'];
    writeln!(out, "#compdef porchlight\n# Made by `porchlight help --as zsh`; do not edit.\n_porchlight() {{")?;
    find_command(out, "\"${(@)words[2,CURRENT-1]}\"")?;
    let describe = |out: &mut String, rows: Vec<(&str, String)>| {
        writeln!(out, "            local -a next=(")?;
        for (word, about) in rows {
            writeln!(out, "                '{word}:{}'", quoted(&about, &[]))?;
        }
        writeln!(out, "            )\n            _describe command next ;;")
    };
    writeln!(out, "    case \"$cmd\" in\n        '')")?;
    describe(out, firsts().into_iter().map(|w| (w, about(w))).collect())?;
    for group in groups() {
        writeln!(out, "        {group})")?;
        describe(out, seconds(group).into_iter().map(|c| (second(c), c.about.to_owned())).collect())?;
    }
    for command in commands() {
        writeln!(out, "        '{}')\n            _arguments -S \\", command.path)?;
        for flag in flags_of(command.path) {
            let value = match (flag.kind, words(flag.kind)) {
                (Kind::Switch, _) => String::new(),
                (Kind::Path(_), _) => format!(":{}:_files", quoted(&flag.kind.metavar(), SPECIAL)),
                (kind, words) if words.is_empty() => format!(":{}: ", quoted(&kind.metavar(), SPECIAL)),
                (_, words) => format!(":value:({})", words.join(" ")),
            };
            let again = if flag.repeatable { "*" } else { "" };
            writeln!(out, "                '{again}--{}[{}]{value}' \\", flag.long, quoted(flag.about, SPECIAL))?;
        }
        match command.positionals.is_empty() {
            true => writeln!(out, "                '*: :' ;;")?,
            false => writeln!(out, "                '*: :_files' ;;")?,
        }
    }
    writeln!(out, "    esac\n}}\n_porchlight \"$@\"")
}

fn fish(out: &mut String) -> std::fmt::Result {
    writeln!(out, "# Made by `porchlight help --as fish`; do not edit.\ncomplete -c porchlight -f")?;
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('\'', "\\'");
    for first in firsts() {
        writeln!(out, "complete -c porchlight -n __fish_use_subcommand -a {first} -d '{}'", quoted(&about(first)))?;
    }
    for group in groups() {
        let all: Vec<_> = seconds(group).into_iter().map(second).collect();
        for command in seconds(group) {
            writeln!(
                out,
                "complete -c porchlight -n '__fish_seen_subcommand_from {group}; and not __fish_seen_subcommand_from {}' -a {} -d '{}'",
                all.join(" "),
                second(command),
                quoted(command.about)
            )?;
        }
    }
    for command in commands() {
        let seen: Vec<_> = command.path.split(' ').map(|word| format!("__fish_seen_subcommand_from {word}")).collect();
        let seen = seen.join("; and ");
        if !command.positionals.is_empty() {
            writeln!(out, "complete -c porchlight -n '{seen}' -F")?;
        }
        for flag in flags_of(command.path) {
            let short = flag.short.map_or_else(String::new, |c| format!(" -s {c}"));
            let value = match (flag.kind, words(flag.kind)) {
                (Kind::Switch, _) => String::new(),
                (Kind::Path(_), _) => " -r -F".to_owned(),
                (_, words) if words.is_empty() => " -x".to_owned(),
                (_, words) => format!(" -x -a '{}'", words.join(" ")),
            };
            writeln!(
                out,
                "complete -c porchlight -n '{seen}' -l {}{short}{value} -d '{}'",
                flag.long,
                quoted(flag.about)
            )?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_names_every_command_and_flag() {
        for form in &FORMS[1..] {
            let text = page(form);
            for command in commands() {
                let there = command.path.split(' ').all(|word| text.contains(word));
                assert!(there, "{form}: {}", command.path);
            }
            for flag in FLAGS {
                let long = match *form {
                    "man" => format!("\\fB\\-\\-{}\\fR", flag.long.replace('-', "\\-")),
                    "fish" => format!(" -l {} ", flag.long),
                    _ => format!("--{}", flag.long),
                };
                assert!(text.contains(&long), "{form}: {long}");
            }
        }
        assert_eq!(page("text"), "");
    }

    #[test]
    fn roff_has_no_line_that_looks_like_a_request() {
        assert_eq!(roff(".TH a-b \\"), "\\&.TH a\\-b \\e");
        assert_eq!(roff("see `run`"), "see \\fBrun\\fR");
        for line in page("man").lines().filter(|l| l.starts_with('.')) {
            let word = line[1..].split(' ').next().unwrap_or_default();
            assert!(["TH", "SH", "TP", "B", "I", "BR", "RI", "\\\""].contains(&word), "{line}");
        }
    }
}
