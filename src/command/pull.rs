//! `models pull`: weights from a folder or over HTTP, into the folder of their card, and only if their hash is the card's.
//!
//! Nothing in porchlight speaks to a network, and that stays so: an address is fetched by `curl`, started as a child, which
//! every system's administrator already trusts or has left out. It costs no dependency, no TLS stack to keep up to date, and
//! the promise is easy to check: no other place starts a program by that name (`tests/house.rs`), and every other command,
//! `models pull --from FOLDER` among them, forbids itself sockets before it begins.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::Digest;

use super::{Failure, Printer, complain, one_line};
use crate::exit::Exit;
use crate::model::card::{Card, find, hex};

/// Larger weights are refused, as when they are loaded.
const MAX: u64 = 2 << 30;
/// What curl says when a server cannot go on where we stopped.
const CURL_RANGE: [i32; 2] = [33, 36];

fn failed(path: &Path, what: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Model, format!("{}: {what}", path.display()))
}

/// Whether this is something for curl.
pub(super) fn is_address(from: &str) -> bool {
    from.starts_with("https://") || from.starts_with("http://")
}

/// SHA-256 of a file of at most [`MAX`] bytes; `None` when there is no such file.
fn hash(path: &Path) -> Result<Option<String>, Failure> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed(path, e)),
    };
    let (mut hash, mut buffer) = (sha2::Sha256::new(), vec![0; 1 << 16]);
    loop {
        match file.read(&mut buffer).map_err(|e| failed(path, e))? {
            0 => return Ok(Some(hex(&hash.finalize()))),
            n => hash.update(&buffer[..n]),
        }
    }
}

pub(super) fn pull(name: &str, from: Option<&str>) -> Result<Exit, Failure> {
    let card = Card::load(&find(name)?)?;
    if let Some(warning) = card.licence_warning() {
        complain(&warning);
    }
    let said = |what: &str| {
        Printer::new().print(&format!("{} {what}\n", card.name))?;
        Ok(Exit::Done)
    };
    if hash(&card.weights)?.as_ref() == Some(&card.sha256) {
        return said("is here");
    }
    let mut part = card.weights.clone().into_os_string();
    part.push(".part");
    let part = PathBuf::from(part);
    // A part that is whole already: the program was stopped between the last byte and the new name.
    if hash(&part)?.as_ref() != Some(&card.sha256) {
        match (from, &card.url) {
            (Some(from), _) if is_address(from) => fetch(&address(from, &card), &part)?,
            (Some(folder), _) => copy(Path::new(folder), &card, &part)?,
            (None, Some(url)) => fetch(url, &part)?,
            (None, None) => {
                let what =
                    format!("the card has no 'url': name a folder or an address: models pull {name} --from DIR|URL");
                return Err(failed(&card.dir.join("card.toml"), what));
            }
        }
        let found = hash(&part)?.unwrap_or_default();
        if found != card.sha256 {
            // It will not become right by going on.
            let _ = std::fs::remove_file(&part);
            let from = from.or(card.url.as_deref()).unwrap_or_default();
            let what = format!("sha256: wanted {} (card), found {found} at {from}: nothing was changed", card.sha256);
            return Err(failed(&card.weights, what));
        }
    }
    File::open(&part)
        .and_then(|f| f.sync_all())
        .and_then(|()| std::fs::rename(&part, &card.weights))
        .map_err(|e| failed(&card.weights, e))?;
    said("fetched")
}

/// An address that names a folder gets the name of the file.
fn address(from: &str, card: &Card) -> String {
    let file = card.weights.file_name().map(|f| f.to_string_lossy().into_owned()).unwrap_or_default();
    if from.ends_with(".onnx") { from.to_owned() } else { format!("{}/{file}", from.trim_end_matches('/')) }
}

fn copy(folder: &Path, card: &Card, part: &Path) -> Result<(), Failure> {
    let file = card.weights.file_name().unwrap_or_default();
    let places = [folder.join(file), folder.join(&card.name).join(file)];
    let Some(source) = places.iter().find(|p| p.is_file()) else {
        return Err(failed(folder, format!("wanted the file {} in this folder, found none", one_line(file))));
    };
    let mut from = File::open(source).map_err(|e| failed(source, e))?.take(MAX + 1);
    let mut to = File::create(part).map_err(|e| failed(part, e))?;
    let copied = std::io::copy(&mut from, &mut to).and_then(|n| to.flush().map(|()| n)).map_err(|e| failed(part, e))?;
    if copied > MAX {
        let _ = std::fs::remove_file(part);
        return Err(failed(source, format!("wanted at most {MAX} bytes, found more")));
    }
    Ok(())
}

fn fetch(url: &str, part: &Path) -> Result<(), Failure> {
    let went_on = part.exists();
    match curl(url, part)? {
        (0, _) => Ok(()),
        (code, _) if went_on && CURL_RANGE.contains(&code) => {
            // The server cannot go on: from the beginning, once.
            std::fs::remove_file(part).map_err(|e| failed(part, e))?;
            match curl(url, part)? {
                (0, _) => Ok(()),
                (_, said) => Err(Failure::new(Exit::Model, format!("{url}: {said}"))),
            }
        }
        (_, said) => {
            let again = if part.exists() { ": the same command goes on where it stopped" } else { "" };
            Err(Failure::new(Exit::Model, format!("{url}: {said}{again}")))
        }
    }
}

/// Its exit code and last words.
fn curl(url: &str, part: &Path) -> Result<(i32, String), Failure> {
    let mut command = Command::new("curl");
    // Not its user's settings; plain HTTP only where that was typed; never from HTTPS down to it.
    command.args(["--disable", "--silent", "--show-error", "--fail", "--location", "--proto-redir", "=https"]);
    command.args(["--proto", if url.starts_with("https") { "=https" } else { "=http,https" }]);
    command.args(["--retry", "2", "--connect-timeout", "30", "--speed-limit", "1", "--speed-time", "60"]);
    command.args(["--max-filesize", &MAX.to_string(), "--continue-at", "-", "--output"]);
    let output = command.arg(part).arg("--url").arg(url).stdin(Stdio::null()).stdout(Stdio::null()).output();
    let output = output.map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Failure::new(
            Exit::Model,
            format!("curl is not installed: apt-get install curl, or fetch {url} by other means and use --from DIR"),
        ),
        _ => Failure::new(Exit::Model, format!("curl cannot be started: {e}")),
    })?;
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or("curl said nothing");
    Ok((output.status.code().unwrap_or(-1), one_line(last.as_ref())))
}
