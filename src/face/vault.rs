//! The gallery on the disk: one encrypted file, its key in another.
//!
//! ```text
//! faces.gallery      magic 8 | version 2 | 0 2 | embedder 32 | key id 8 | nonce 24 | length 8 | ciphertext, tag 16
//! faces.gallery.key  64 hexadecimal digits and a newline, mode 0600
//! ```
//!
//! XChaCha20-Poly1305; everything before the ciphertext is authenticated with it, so no bit can be changed unseen. Nonces are
//! 24 random bytes, long enough never to repeat. The key is made at the first enrolment, or comes as the systemd credential
//! [`CREDENTIAL`]; then nothing here can change it.
//!
//! **A crash loses nothing.** A file is written beside the old one, synced, and renamed over it. A change of key needs two
//! files to change: the new key is on the disk (`.key.new`) before the first byte under it, and the old one is overwritten
//! only when the gallery under the new one stands. Whoever opens the gallery takes the key whose id the gallery names, and
//! the next change finishes what was left undone.
//!
//! **Erasure.** A disk may keep old blocks long after a file was replaced, flash media always do. So a removal changes the
//! key and overwrites the old one: what is left of the old file cannot be read without it. Flash may keep the old key's 65
//! bytes too; where that matters the key belongs on a medium that overwrites, or into a TPM-bound credential.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};
use sha2::Digest;
use zeroize::{Zeroize, Zeroizing};

use super::gallery::Gallery;

/// Name of the systemd credential that may hold the key.
pub const CREDENTIAL: &str = "porchlight.gallery.key";

const MAGIC: &[u8; 8] = b"PLFACES\n";
const VERSION: u16 = 1;
const HEADER: usize = 84;
const TAG: usize = 16;
/// Largest file that is read: the largest gallery that can be made stays below it.
const MAX_FILE: u64 = 256 << 20;
const KEY_FILE: usize = 65;

/// What kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The file is not there.
    Missing,
    /// It cannot be read or written.
    Io,
    /// It is no gallery, or a damaged one.
    Broken,
    /// Made by a later porchlight.
    Future,
    /// The key is missing, unreadable, open to others, or of another gallery.
    Key,
    /// Made with another embedder.
    Embedder,
    /// Somebody else is changing it.
    Busy,
}

/// A gallery that cannot be used; one line with the way out. Never holds what the gallery does.
#[derive(Debug)]
pub struct VaultError {
    kind: Kind,
    line: String,
}

impl VaultError {
    fn new(kind: Kind, path: &Path, what: impl std::fmt::Display) -> Self {
        Self { kind, line: format!("{}: {what}", path.display()) }
    }

    /// What kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }
}

impl std::fmt::Display for VaultError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.line)
    }
}

impl std::error::Error for VaultError {}

fn broken(path: &Path, what: impl std::fmt::Display) -> VaultError {
    let way = "restore it from a copy, or delete it and enrol again";
    VaultError::new(Kind::Broken, path, format_args!("wanted a gallery of porchlight, found {what}: {way}"))
}

fn io_error<'a>(path: &'a Path, what: &'a str) -> impl FnOnce(io::Error) -> VaultError + 'a {
    move |e| VaultError::new(Kind::Io, path, format_args!("cannot be {what}: {e}; nothing was changed"))
}

/// 32 secret bytes in one place, out of swap as far as the user's limit allows, wiped on drop, never printed.
struct Key(Box<Zeroizing<[u8; 32]>>);

impl Key {
    /// Locked before there is anything to keep.
    fn blank() -> Self {
        let key = Self(Box::new(Zeroizing::new([0; 32])));
        let _ = crate::seal::lock_memory(key.0.as_slice());
        key
    }

    fn random() -> io::Result<Self> {
        let mut key = Self::blank();
        random(key.0.as_mut_slice())?;
        Ok(key)
    }

    /// Names the key without telling it.
    fn id(&self) -> [u8; 8] {
        let mut hash = sha2::Sha256::new();
        hash.update(b"porchlight gallery key id\0");
        hash.update(self.0.as_slice());
        let digest = hash.finalize();
        std::array::from_fn(|i| digest[i])
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let digits = text.strip_suffix(b"\n").unwrap_or(text);
        if digits.len() != 64 {
            return None;
        }
        let mut key = Self::blank();
        for (byte, pair) in key.0.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |d: u8| char::from(d).to_digit(16);
            *byte = u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok()?;
        }
        Some(key)
    }

    fn text(&self) -> Zeroizing<Vec<u8>> {
        let mut text = Zeroizing::new(Vec::with_capacity(KEY_FILE));
        for byte in self.0.iter() {
            for digit in [byte >> 4, byte & 15] {
                text.push(b"0123456789abcdef"[usize::from(digit)]);
            }
        }
        text.push(b'\n');
        text
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&**self.0).into())
    }
}

fn random(bytes: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        let rest = &mut bytes[filled..];
        filled += rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(())
}

/// The files that a gallery is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Piece {
    /// The encrypted file.
    Gallery = 0,
    /// Its key.
    Key = 1,
    /// The key of a change that is under way.
    NextKey = 2,
}

impl Piece {
    /// All of them, by number.
    pub const ALL: [Self; 3] = [Self::Gallery, Self::Key, Self::NextKey];
}

/// Opens the files of a gallery: from the disk, or, in a sealed process, through the warden.
pub type OpenPiece<'a> = &'a mut dyn FnMut(Piece) -> io::Result<File>;

/// Told before each step that changes the disk, so that tests can end the world there.
type Watch<'a> = &'a mut dyn FnMut(&'static str) -> io::Result<()>;

/// A gallery's place.
#[derive(Clone, Debug)]
pub struct Vault {
    path: PathBuf,
    credential: Option<PathBuf>,
}

impl Vault {
    /// At `path`; the key beside it, or in the folder of systemd credentials, where one of that name is there.
    pub fn new(path: &Path, credentials: Option<&Path>) -> Self {
        let credential = credentials.map(|dir| dir.join(CREDENTIAL)).filter(|p| p.exists());
        Self { path: path.to_owned(), credential }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the key file is.
    pub fn key_path(&self) -> PathBuf {
        self.beside(".key")
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(suffix);
        name.into()
    }

    /// Where the pieces are, as far as the folders that hold them: for whoever confines itself to these.
    pub fn folders(&self) -> Vec<PathBuf> {
        let credential = self.credential.as_deref().and_then(Path::parent).map(Path::to_owned);
        std::iter::once(self.folder()).chain(credential).collect()
    }

    /// Opens one of the files for reading, without waiting for what is no file.
    ///
    /// # Errors
    /// What the system said; there is no next key where the key is a credential.
    pub fn open_piece(&self, piece: Piece) -> io::Result<File> {
        let path = match (piece, &self.credential) {
            (Piece::Gallery, _) => self.path.clone(),
            (Piece::Key, Some(credential)) => credential.clone(),
            (Piece::Key, None) => self.key_path(),
            (Piece::NextKey, Some(_)) => return Err(io::ErrorKind::NotFound.into()),
            (Piece::NextKey, None) => self.beside(".key.new"),
        };
        open_for_reading(&path)
    }

    /// Names the file's present content without telling any of it: the hash of what anybody sees who may read the file, which is
    /// cipher. A change of the gallery or its key gives another one. `None` where it cannot be read; opening it says why.
    pub fn mark(&self) -> Option<[u8; 32]> {
        let bytes = read_bounded(self.open_piece(Piece::Gallery).ok()?, MAX_FILE).ok()?;
        Some(sha2::Sha256::digest(bytes).into())
    }

    fn folder(&self) -> PathBuf {
        match self.path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir.to_owned(),
            _ => PathBuf::from("."),
        }
    }

    /// Reads and decrypts the gallery, which must be of this embedder (the hash of its weights).
    ///
    /// # Errors
    /// [`VaultError`]; [`Kind::Missing`] where there is no such file.
    pub fn open(&self, embedder: &[u8; 32]) -> Result<Gallery, VaultError> {
        self.open_with(embedder, &mut |piece| self.open_piece(piece))
    }

    /// The same with files that somebody else opens.
    ///
    /// # Errors
    /// As [`Vault::open`].
    pub fn open_with(&self, embedder: &[u8; 32], open: OpenPiece<'_>) -> Result<Gallery, VaultError> {
        let gallery = self.read_with(open)?.0;
        if gallery.embedder != *embedder {
            let (found, wanted) = (short(&gallery.embedder), short(embedder));
            return Err(VaultError::new(
                Kind::Embedder,
                &self.path,
                format_args!(
                    "made with another embedder ({found}..., not {wanted}...): its vectors mean nothing to this one: set `faces.embedder` back, or enrol everybody again into a new gallery"
                ),
            ));
        }
        Ok(gallery)
    }

    /// Reads and decrypts the gallery of whatever embedder: to list and to remove.
    ///
    /// # Errors
    /// [`VaultError`]; [`Kind::Missing`] where there is no such file.
    pub fn open_any(&self) -> Result<Gallery, VaultError> {
        Ok(self.read()?.0)
    }

    fn read(&self) -> Result<(Gallery, Key), VaultError> {
        self.read_with(&mut |piece| self.open_piece(piece))
    }

    fn read_with(&self, open: OpenPiece<'_>) -> Result<(Gallery, Key), VaultError> {
        let path = &self.path;
        let mut bytes = match open(Piece::Gallery).and_then(|file| read_bounded(file, MAX_FILE)) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let way = "enrol somebody with `porchlight faces enroll`";
                return Err(VaultError::new(Kind::Missing, path, format_args!("no such gallery: {way}")));
            }
            Err(e) => return Err(VaultError::new(Kind::Io, path, format_args!("cannot be read: {e}"))),
        };
        if bytes.is_empty() {
            return Err(broken(path, "an empty file"));
        }
        if !bytes.starts_with(MAGIC) {
            return Err(broken(path, "something else"));
        }
        if bytes.len() < 10 {
            return Err(broken(path, "a truncated one"));
        }
        let version = u16::from_le_bytes([bytes[8], bytes[9]]);
        if version != VERSION {
            return Err(VaultError::new(
                Kind::Future,
                path,
                format_args!("wanted a gallery of version {VERSION}, found {version}: use the porchlight that made it"),
            ));
        }
        if bytes.len() < HEADER + TAG {
            return Err(broken(path, "a truncated one"));
        }
        let (header, body) = bytes.split_at_mut(HEADER);
        let (text, tag) = body.split_at_mut(body.len() - TAG);
        let wanted = u64::from_le_bytes(std::array::from_fn(|i| header[76 + i]));
        if wanted != text.len() as u64 {
            return Err(broken(path, format_args!("{} bytes of content instead of {wanted}", text.len())));
        }
        let embedder: [u8; 32] = std::array::from_fn(|i| header[12 + i]);
        let id: [u8; 8] = std::array::from_fn(|i| header[44 + i]);
        let nonce: [u8; 24] = std::array::from_fn(|i| header[52 + i]);
        let key = self.key_of(id, open)?;
        let tag: [u8; TAG] = std::array::from_fn(|i| tag[i]);
        key.cipher()
            .decrypt_inout_detached(&XNonce::from(nonce), header, text.as_mut().into(), &Tag::from(tag))
            .map_err(|_| broken(path, "a damaged one (its seal does not hold)"))?;
        let gallery = Gallery::decode(embedder, text).map_err(|what| broken(path, what));
        text.zeroize();
        Ok((gallery?, key))
    }

    /// The key that the gallery names: the credential, the key file, or the new key of a change that was cut short.
    fn key_of(&self, id: [u8; 8], open: OpenPiece<'_>) -> Result<Key, VaultError> {
        let private = self.credential.is_none();
        let place = self.credential.clone().unwrap_or_else(|| self.key_path());
        let current = parse_key(open(Piece::Key), &place, private);
        if let Ok(key) = &current
            && key.id() == id
        {
            return current;
        }
        if private {
            if let Ok(key) = parse_key(open(Piece::NextKey), &self.beside(".key.new"), true)
                && key.id() == id
            {
                return Ok(key);
            }
            // Between the two looks the next key may have become the key.
            if let Ok(key) = parse_key(open(Piece::Key), &place, true)
                && key.id() == id
            {
                return Ok(key);
            }
        }
        current.and(Err(wrong_key(&place, &self.path)))
    }

    /// Reads the gallery (a new, empty one where there is none), lets `change` work on it, and replaces the file. Nobody
    /// else can change it meanwhile. With `rotate` the new file has a new key, and the old one is overwritten.
    ///
    /// # Errors
    /// [`VaultError`], or what `change` refused; the gallery is as it was then.
    pub fn change<T, E: From<VaultError>>(
        &self,
        fresh: Option<Gallery>,
        rotate: bool,
        change: impl FnOnce(&mut Gallery) -> Result<T, E>,
    ) -> Result<T, E> {
        self.change_watched(fresh, rotate, change, &mut |_| Ok(()))
    }

    fn change_watched<T, E: From<VaultError>>(
        &self,
        fresh: Option<Gallery>,
        rotate: bool,
        change: impl FnOnce(&mut Gallery) -> Result<T, E>,
        watch: Watch<'_>,
    ) -> Result<T, E> {
        let folder = self.folder();
        let dir = File::open(&folder).map_err(io_error(&folder, "opened"))?;
        lock(&dir, &self.path)?;
        let (mut gallery, old) = match (self.read(), fresh) {
            (Ok((gallery, key)), None) => (gallery, Some(key)),
            (Ok((gallery, key)), Some(fresh)) if gallery.embedder == fresh.embedder => (gallery, Some(key)),
            // Of another embedder: `open` knows what to say.
            (Ok(_), Some(fresh)) => {
                self.open(&fresh.embedder)?;
                (fresh, None)
            }
            (Err(e), Some(fresh)) if e.kind == Kind::Missing => (fresh, None),
            (Err(e), _) => return Err(e.into()),
        };
        let outcome = change(&mut gallery)?;
        self.replace(&gallery, old, rotate, &dir, watch)?;
        Ok(outcome)
    }

    fn replace(
        &self,
        gallery: &Gallery,
        old: Option<Key>,
        rotate: bool,
        dir: &File,
        watch: Watch<'_>,
    ) -> Result<(), VaultError> {
        let (place, next) = (self.key_path(), self.beside(".key.new"));
        let failed = |what: &'static str| move |e| io_error(&self.path, what)(e);
        let key = match (&self.credential, old) {
            (Some(credential), old) => {
                if rotate {
                    return Err(VaultError::new(
                        Kind::Key,
                        credential,
                        "the key comes as a systemd credential, which cannot be changed from here: do this outside the service, where the key file is",
                    ));
                }
                old.map_or_else(|| read_key(credential, false), Ok)?
            }
            (None, old) => {
                // What a change before this one left undone: the key in use must be the one in its place.
                if let Some(old) = &old
                    && read_key(&place, true).map(|k| k.id()).ok() != Some(old.id())
                {
                    self.promote(&next, &place, dir, watch).map_err(failed("given its new key"))?;
                } else if next.exists() {
                    shred(&next, watch).map_err(failed("freed of an unused key"))?;
                }
                match old {
                    Some(old) if !rotate => old,
                    old => {
                        // A key that is there before the first enrolment was put there on purpose.
                        match (&old, read_key(&place, true)) {
                            (None, Ok(key)) => key,
                            (None, Err(e)) if place.exists() => return Err(e),
                            _ => {
                                let key = Key::random().map_err(failed("given a new key"))?;
                                let home = if old.is_some() { &next } else { &place };
                                write_new(home, &key.text(), watch).map_err(failed("given a new key"))?;
                                dir.sync_all().map_err(failed("given a new key"))?;
                                key
                            }
                        }
                    }
                }
            }
        };
        let bytes = seal(gallery, &key).map_err(failed("encrypted"))?;
        let temporary = self.beside(".tmp");
        write_new(&temporary, &bytes, watch)
            .and_then(|()| watch("rename gallery"))
            .and_then(|()| std::fs::rename(&temporary, &self.path))
            .map_err(|e| {
                // What could not be finished is not left lying about; if even that fails, it is encrypted.
                let _ = std::fs::remove_file(&temporary);
                io_error(&self.path, "replaced")(e)
            })?;
        let after = |e| {
            VaultError::new(
                Kind::Io,
                &place,
                format_args!(
                    "the gallery was changed, its old key could not be overwritten: {e}: run `porchlight faces rekey`"
                ),
            )
        };
        watch("sync folder").and_then(|()| dir.sync_all()).map_err(after)?;
        if rotate && self.credential.is_none() && next.exists() {
            self.promote(&next, &place, dir, watch).map_err(after)?;
        }
        Ok(())
    }

    /// The new key takes the old one's place, which is overwritten first.
    fn promote(&self, next: &Path, place: &Path, dir: &File, watch: Watch<'_>) -> io::Result<()> {
        if place.exists() {
            shred(place, watch)?;
        }
        watch("rename key")?;
        std::fs::rename(next, place)?;
        watch("sync folder")?;
        dir.sync_all()
    }
}

/// Nobody else changes a gallery of this folder meanwhile. A process that is just being started may hold our own lock for a
/// moment, so one that is held is asked for again for a second.
fn lock(dir: &File, gallery: &Path) -> Result<(), VaultError> {
    for _ in 0..20 {
        match rustix::fs::flock(dir, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(std::time::Duration::from_millis(50)),
            Err(e) => return Err(io_error(gallery, "locked")(e.into())),
        }
    }
    Err(VaultError::new(Kind::Busy, gallery, "another porchlight is changing it: try again when that has ended"))
}

fn short(hash: &[u8; 32]) -> String {
    hash.iter().take(4).map(|b| format!("{b:02x}")).collect()
}

fn wrong_key(key: &Path, gallery: &Path) -> VaultError {
    let what =
        format_args!("not the key of {}: put the key file back that was made with it", gallery.display()).to_string();
    VaultError::new(Kind::Key, key, what)
}

/// Header and ciphertext.
fn seal(gallery: &Gallery, key: &Key) -> io::Result<Vec<u8>> {
    let plain = gallery.encode();
    let mut nonce = [0; 24];
    random(&mut nonce)?;
    let mut bytes = Vec::with_capacity(HEADER + plain.len() + TAG);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&[0, 0]);
    bytes.extend_from_slice(&gallery.embedder);
    bytes.extend_from_slice(&key.id());
    bytes.extend_from_slice(&nonce);
    bytes.extend_from_slice(&(plain.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&plain);
    let (header, text) = bytes.split_at_mut(HEADER);
    let tag = key
        .cipher()
        .encrypt_inout_detached(&XNonce::from(nonce), header, text.into())
        .map_err(|_| io::Error::other("too large"))?;
    bytes.extend_from_slice(&tag);
    Ok(bytes)
}

/// Without hanging on a pipe that somebody put there.
fn open_for_reading(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32).open(path)
}

/// A regular file of at most `most` bytes.
fn read_bounded(file: File, most: u64) -> io::Result<Vec<u8>> {
    // Not the standard library's way, which takes a call that a sealed process does not have.
    let about = rustix::fs::fstat(&file)?;
    if rustix::fs::FileType::from_raw_mode(about.st_mode) != rustix::fs::FileType::RegularFile {
        return Err(io::Error::other("wanted a file, found a folder or device"));
    }
    let length = u64::try_from(about.st_size).unwrap_or(u64::MAX);
    if length > most {
        return Err(io::Error::other(format!("wanted at most {most} bytes, found {length}")));
    }
    let mut bytes = Vec::with_capacity(length as usize);
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn read_key(path: &Path, private: bool) -> Result<Key, VaultError> {
    parse_key(open_for_reading(path), path, private)
}

fn parse_key(file: io::Result<File>, path: &Path, private: bool) -> Result<Key, VaultError> {
    let wrong = |what: &dyn std::fmt::Display| VaultError::new(Kind::Key, path, what);
    let file = file.map_err(|e| wrong(&format_args!("the gallery's key: {e}: put the key file back")))?;
    let about = rustix::fs::fstat(&file).map_err(|e| wrong(&format_args!("the gallery's key: {e}")))?;
    let mode = about.st_mode & 0o777;
    if private && mode & 0o077 != 0 {
        return Err(wrong(&format_args!("the gallery's key: wanted mode 600, found {mode:o}: chmod 600 it")));
    }
    let bytes = read_bounded(file, KEY_FILE as u64).map(Zeroizing::new);
    let bytes = bytes.map_err(|e| wrong(&format_args!("the gallery's key: {e}")))?;
    Key::parse(&bytes).ok_or_else(|| {
        wrong(&format_args!(
            "the gallery's key: wanted 64 hexadecimal digits, found something else: put the key file back"
        ))
    })
}

/// Writes a file that only we can read, whole and synced; what was there before under this name is gone.
fn write_new(path: &Path, bytes: &[u8], watch: Watch<'_>) -> io::Result<()> {
    watch("create")?;
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let (first, second) = bytes.split_at(bytes.len() / 2);
    watch("write the first half")?;
    file.write_all(first)?;
    watch("write the second half")?;
    file.write_all(second)?;
    watch("sync file")?;
    file.sync_all()
}

/// Overwrites a key and takes it away.
fn shred(path: &Path, watch: Watch<'_>) -> io::Result<()> {
    watch("overwrite key")?;
    let mut file = OpenOptions::new().write(true).open(path)?;
    let mut noise = [0; KEY_FILE];
    random(&mut noise)?;
    file.write_all(&noise)?;
    file.sync_all()?;
    watch("unlink key")?;
    std::fs::remove_file(path)
}

/// Makes the folder of a gallery, for us alone, where it is missing.
///
/// # Errors
/// What the system said.
pub fn make_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() && !dir.exists() => {
            DirBuilder::new().recursive(true).mode(0o700).create(dir)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::face::gallery::tests::{person, sample};
    use std::os::unix::fs::PermissionsExt;

    const MODEL: [u8; 32] = [7; 32];

    fn vault() -> (tempfile::TempDir, Vault) {
        let dir = tempfile::tempdir().expect("a folder");
        let vault = Vault::new(&dir.path().join("faces.gallery"), None);
        enrol(&vault);
        (dir, vault)
    }

    fn enrol(vault: &Vault) {
        vault
            .change(Some(Gallery::new(MODEL, 16)), false, |g| {
                *g = sample();
                Ok::<_, VaultError>(())
            })
            .expect("written");
    }

    fn kind(vault: &Vault) -> Option<Kind> {
        vault.open(&MODEL).err().map(|e| {
            assert!(!e.to_string().contains('\n'), "{e}");
            e.kind()
        })
    }

    fn rename(vault: &Vault, watch: Watch<'_>, rotate: bool) -> Result<(), VaultError> {
        let change = |g: &mut Gallery| {
            g.remove("Ada");
            g.insert(person("Lin", &[9], 16)).expect("within bounds");
            Ok(())
        };
        vault.change_watched(None, rotate, change, watch)
    }

    #[test]
    fn what_was_enrolled_is_there_and_nobody_else_can_read_it() {
        let (dir, vault) = vault();
        assert_eq!(vault.open(&MODEL).expect("opens"), sample());
        for path in [vault.path().to_owned(), vault.key_path()] {
            assert_eq!(std::fs::metadata(&path).expect("there").mode() & 0o777, 0o600);
        }
        assert_eq!(std::fs::read_dir(dir.path()).expect("readable").count(), 2, "no leftovers");
        let bytes = std::fs::read(vault.path()).expect("readable");
        for secret in ["Ada", "said yes"] {
            assert!(!bytes.windows(secret.len()).any(|w| w == secret.as_bytes()), "{secret} in clear text");
        }
    }

    #[test]
    fn every_truncation_is_refused() {
        let (_dir, vault) = vault();
        let bytes = std::fs::read(vault.path()).expect("readable");
        for n in 0..bytes.len() {
            std::fs::write(vault.path(), &bytes[..n]).expect("writable");
            assert_eq!(kind(&vault), Some(Kind::Broken), "cut to {n}");
        }
        std::fs::write(vault.path(), [&bytes[..], b"x"].concat()).expect("writable");
        assert_eq!(kind(&vault), Some(Kind::Broken));
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let (_dir, vault) = vault();
        let bytes = std::fs::read(vault.path()).expect("readable");
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(vault.path(), &bad).expect("writable");
            let wanted = match bit / 8 {
                8 | 9 => Kind::Future,
                44..52 => Kind::Key,
                _ => Kind::Broken,
            };
            assert_eq!(kind(&vault), Some(wanted), "bit {bit}");
        }
    }

    #[test]
    fn keys_that_do_not_fit_are_refused() {
        let (_dir, vault) = vault();
        let place = vault.key_path();
        let good = std::fs::read(&place).expect("readable");
        let mode = |m| std::fs::set_permissions(&place, std::fs::Permissions::from_mode(m)).expect("ours");
        for bad in [0o640, 0o604, 0o666] {
            mode(bad);
            assert_eq!(kind(&vault), Some(Kind::Key), "{bad:o}");
        }
        mode(0o600);
        assert_eq!(kind(&vault), None);
        let mut other = good.clone();
        other[3] = if other[3] == b'0' { b'1' } else { b'0' };
        for bad in [&b""[..], b"short", &good[..63], &[b'g'; 65], &other] {
            std::fs::write(&place, bad).expect("writable");
            assert_eq!(kind(&vault), Some(Kind::Key));
        }
        std::fs::remove_file(&place).expect("there");
        assert_eq!(kind(&vault), Some(Kind::Key));
    }

    #[test]
    fn another_embedder_and_a_missing_file_are_told_with_the_way_out() {
        let (dir, vault) = vault();
        let error = vault.open(&[8; 32]).expect_err("another embedder");
        assert_eq!(error.kind(), Kind::Embedder);
        assert!(error.to_string().contains("enrol everybody again"), "{error}");
        let refused = vault.change(Some(Gallery::new([8; 32], 16)), false, |_| Ok::<_, VaultError>(()));
        assert_eq!(refused.expect_err("another embedder").kind(), Kind::Embedder);
        let none = Vault::new(&dir.path().join("none"), None).open(&MODEL).expect_err("missing");
        assert_eq!(none.kind(), Kind::Missing);
        let folder = Vault::new(dir.path(), None).open(&MODEL).expect_err("a folder");
        assert_eq!(folder.kind(), Kind::Io);
    }

    #[test]
    fn a_removal_leaves_nothing_that_the_old_key_opens() {
        let (dir, vault) = vault();
        let (old, old_key) =
            (std::fs::read(vault.path()).expect("there"), std::fs::read(vault.key_path()).expect("there"));
        rename(&vault, &mut |_| Ok(()), true).expect("written");
        let new_key = std::fs::read(vault.key_path()).expect("there");
        assert_ne!(old_key, new_key);
        assert_eq!(std::fs::read_dir(dir.path()).expect("readable").count(), 2, "no leftovers");
        assert!(vault.open(&MODEL).expect("opens").get("Ada").is_none());
        std::fs::write(vault.path(), old).expect("writable");
        assert_eq!(kind(&vault), Some(Kind::Key), "an old copy cannot be read any more");
    }

    #[test]
    fn two_cannot_change_it_at_once() {
        let (_dir, vault) = vault();
        let inner = vault.clone();
        let outcome = vault.change(None, false, |_| {
            let busy = rename(&inner, &mut |_| Ok(()), false).expect_err("locked");
            assert_eq!(busy.kind(), Kind::Busy);
            Ok::<_, VaultError>(())
        });
        outcome.expect("written");
    }

    #[test]
    fn a_credential_is_the_key_and_is_not_changed() {
        let (dir, vault) = vault();
        let credentials = dir.path().join("credentials");
        std::fs::create_dir(&credentials).expect("new");
        std::fs::rename(vault.key_path(), credentials.join(CREDENTIAL)).expect("moved");
        let vault = Vault::new(vault.path(), Some(&credentials));
        rename(&vault, &mut |_| Ok(()), false).expect("written");
        assert!(vault.open(&MODEL).expect("opens").get("Lin").is_some());
        assert_eq!(rename(&vault, &mut |_| Ok(()), true).expect_err("not ours").kind(), Kind::Key);
        assert!(!vault.key_path().exists());
    }

    /// After a crash: the old gallery or the new one, and the next change works and cleans up.
    fn survives(dir: &Path, vault: &Vault, step: u32) {
        let found = vault.open(&MODEL).unwrap_or_else(|e| panic!("crash at step {step}: {e}"));
        assert_ne!(found.get("Ada").is_some(), found.get("Lin").is_some(), "crash at step {step}");
        for rotate in [false, true] {
            rename(vault, &mut |_| Ok(()), rotate).unwrap_or_else(|e| panic!("after a crash at step {step}: {e}"));
            assert!(vault.open(&MODEL).expect("opens").get("Lin").is_some());
            assert_eq!(std::fs::read_dir(dir).expect("readable").count(), 2, "leftovers, step {step}");
        }
    }

    #[test]
    fn an_error_at_any_step_loses_nothing() {
        for rotate in [false, true] {
            let mut steps = 0u32;
            loop {
                let (dir, vault) = vault();
                let mut left = steps;
                let outcome = rename(
                    &vault,
                    &mut |_| {
                        left = left.checked_sub(1).ok_or_else(|| io::Error::other("the disk is full"))?;
                        Ok(())
                    },
                    rotate,
                );
                survives(dir.path(), &vault, steps);
                if outcome.is_ok() {
                    break;
                }
                steps += 1;
            }
            assert!(steps >= if rotate { 13 } else { 6 }, "{steps}");
        }
    }

    /// Not a test of its own: what [`a_kill_at_any_step_loses_nothing`] runs and kills.
    #[test]
    fn victim() {
        let Ok(task) = std::env::var("PORCHLIGHT_TEST_VICTIM") else { return };
        let (path, step) = task.rsplit_once('@').expect("path@step");
        let mut left: u32 = step.parse().expect("a number");
        let vault = Vault::new(Path::new(path), None);
        let die = &mut |_| {
            if left == 0 {
                std::process::abort();
            }
            left -= 1;
            Ok(())
        };
        rename(&vault, die, true).expect("written");
    }

    #[test]
    fn a_kill_at_any_step_loses_nothing() {
        let me = std::env::current_exe().expect("a path");
        for step in 0.. {
            let (dir, vault) = vault();
            let status = std::process::Command::new(&me)
                .args(["--exact", "face::vault::tests::victim"])
                .env("PORCHLIGHT_TEST_VICTIM", format!("{}@{step}", vault.path().display()))
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null())
                .status()
                .expect("starts");
            survives(dir.path(), &vault, step);
            if status.success() {
                assert!(step >= 13, "{step}");
                break;
            }
        }
    }
}
