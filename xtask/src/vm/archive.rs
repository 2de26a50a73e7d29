//! An initial file system: a `cpio` archive in the kernel's "newc" form.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Result, Write};
use std::path::Path;

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;

/// Files by their path inside, without a leading slash.
#[derive(Default)]
pub(crate) struct Archive {
    entries: BTreeMap<String, (u32, Vec<u8>)>,
}

impl Archive {
    /// Adds a file and the folders above it. Everything may be executed.
    pub(crate) fn add(&mut self, path: &str, bytes: Vec<u8>) {
        let path = path.trim_start_matches('/');
        for (end, _) in path.match_indices('/') {
            self.entries.entry(path[..end].to_owned()).or_insert((FOLDER, Vec::new()));
        }
        self.entries.insert(path.to_owned(), (PROGRAM, bytes));
    }

    /// Adds an empty folder.
    pub(crate) fn folder(&mut self, path: &str) {
        self.entries.entry(path.to_owned()).or_insert((FOLDER, Vec::new()));
    }

    /// Writes it. Sorted by path, folders stand before what they hold.
    pub(crate) fn write(&self, to: &Path) -> Result<()> {
        let mut out = BufWriter::new(File::create(to)?);
        for (number, (path, (mode, bytes))) in (1u32..).zip(&self.entries) {
            record(&mut out, number, path, *mode, bytes)?;
        }
        record(&mut out, 0, "TRAILER!!!", 0, &[])?;
        out.flush()
    }
}

fn record(out: &mut impl Write, number: u32, path: &str, mode: u32, bytes: &[u8]) -> Result<()> {
    let (length, name) = (bytes.len(), path.len() + 1);
    let fields = [number, mode, 0, 0, 1, 0, length as u32, 0, 0, 0, 0, name as u32, 0];
    out.write_all(b"070701")?;
    for field in fields {
        write!(out, "{field:08x}")?;
    }
    out.write_all(path.as_bytes())?;
    // The header has 110 bytes; name and content are padded to four.
    out.write_all(&[0; 4][..1 + (4 - (110 + name) % 4) % 4])?;
    out.write_all(bytes)?;
    out.write_all(&[0; 4][..(4 - length % 4) % 4])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_begins_at_a_multiple_of_four() {
        for path in ["a", "ab", "abc", "abcd", "abcde"] {
            for length in 0..5 {
                let mut out = Vec::new();
                record(&mut out, 1, path, PROGRAM, &vec![7; length]).unwrap();
                assert_eq!(out.len() % 4, 0);
                let body = out.iter().position(|byte| *byte == 7).unwrap_or(out.len());
                assert_eq!(body % 4, 0, "{path} {length}");
            }
        }
    }

    #[test]
    fn folders_come_first() {
        let mut archive = Archive::default();
        archive.add("/lib/mods/vivid.ko", Vec::new());
        archive.folder("proc");
        let paths: Vec<_> = archive.entries.keys().map(String::as_str).collect();
        assert_eq!(paths, ["lib", "lib/mods", "lib/mods/vivid.ko", "proc"]);
    }
}
