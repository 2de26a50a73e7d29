//! The gate: what may pass from a process that could have been taken over by the pictures it looks at.
//!
//! The types of [`crate::event`] make an honest eye's lines narrow. This module makes a dishonest eye's lines narrow: it runs
//! in another process, sees nothing but bytes, and lets pass only lines of the grammar that [`crate::event::schema`]
//! declares — the same table that the public schema is made of — with
//!
//! - keys in the declared order, once each, and no white space;
//! - numbers of bounded length, in the one form that our own writer gives them;
//! - words from closed sets, and names and hashes only from tables that were known before the eye was started;
//! - `hello` first and once, `bye` last and once, `seq` counted from 0 without gaps, `boot` the same throughout.
//!
//! So a line has one spelling, and what it can carry is what its numbers can say. How many lines there are is bounded by a
//! [`Bucket`]; what is over the bound waits, which makes the eye wait, and nothing is lost.
//!
//! A refusal is final: an eye that writes anything else is broken or hostile, and is ended.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::event::line::put_text;
use crate::event::schema::{Key, SHAPES, Shape, Type};
use crate::event::{MAX_LINE, VERSION};

/// Longest `hello`, with its newline: 16 cameras and a handful of models.
pub const MAX_HELLO: usize = 16 * 1024;

/// Most objects in a list, cameras and models.
const MAX_ITEMS: usize = 32;

/// The names that a line may hold: of cameras, zones, lines, labels, models, sources, formats; and hashes.
#[derive(Clone, Debug, Default)]
pub struct Words {
    /// As printed, with the quotes.
    names: BTreeSet<Box<[u8]>>,
    hashes: BTreeSet<Box<[u8]>>,
}

impl Words {
    /// Enters a name.
    pub fn name(&mut self, name: &str) {
        let mut text = String::new();
        put_text(name, &mut text);
        self.names.insert(text.into_bytes().into());
    }

    /// Enters a hash, 64 hexadecimal digits.
    pub fn hash(&mut self, hash: &str) {
        self.hashes.insert(format!("\"{hash}\"").into_bytes().into());
    }
}

/// Why a line does not pass. Never quotes the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Which line of the stream, from 0.
    pub line: u64,
    /// Which byte of it, from 0.
    pub byte: usize,
    /// What was wanted there.
    pub wanted: &'static str,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {} of the eye is no event: byte {}: wanted {}", self.line, self.byte, self.wanted)
    }
}

/// The state of one stream.
#[derive(Debug)]
pub struct Gate {
    words: Words,
    boot: Option<[u8; 16]>,
    seq: u64,
    ended: bool,
}

impl Gate {
    /// For one life of an eye.
    pub fn new(words: Words) -> Self {
        Self { words, boot: None, seq: 0, ended: false }
    }

    /// How long the next line may be, with its newline.
    pub fn longest(&self) -> usize {
        if self.seq == 0 { MAX_HELLO } else { MAX_LINE }
    }

    /// Whether `bye` has passed.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// What names may pass; more may be entered while the stream runs.
    pub fn words(&mut self) -> &mut Words {
        &mut self.words
    }

    /// Run and number of the next line, once `hello` has passed.
    pub fn next(&self) -> Option<(&str, u64)> {
        self.boot.as_ref().and_then(|b| std::str::from_utf8(b).ok()).map(|b| (b, self.seq))
    }

    /// Looks at one line, which ends with its newline.
    ///
    /// # Errors
    /// [`Refused`]; nothing of the line may be passed on.
    pub fn pass(&mut self, line: &[u8]) -> Result<(), Refused> {
        let mut reader = Reader { line, at: 0, words: &self.words };
        let checked = if line.len() > self.longest() { reader.no("a shorter line") } else { self.check(&mut reader) };
        match checked {
            Ok((boot, kind)) => {
                self.boot = Some(boot);
                self.seq += 1;
                self.ended = kind == "bye";
                Ok(())
            }
            Err((byte, wanted)) => Err(Refused { line: self.seq, byte, wanted }),
        }
    }

    fn check(&self, r: &mut Reader<'_>) -> Result<([u8; 16], &'static str), Bad> {
        r.expect(b"{\"v\":", "{\"v\":")?;
        if r.number(4)? != VERSION {
            return r.no("the version of this program");
        }
        r.expect(b",\"boot\":\"", "boot")?;
        let boot: [u8; 16] = match r.take(16).and_then(|b| <[u8; 16]>::try_from(b).ok()) {
            Some(b) if b.iter().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f')) => b,
            _ => return r.no("16 hexadecimal digits"),
        };
        if self.boot.is_some_and(|b| b != boot) {
            return r.no("the same boot as before");
        }
        r.expect(b"\",\"seq\":", "seq")?;
        if r.number(MAX_DIGITS)? != self.seq {
            return r.no("the next seq");
        }
        r.expect(b",\"type\":\"", "type")?;
        let Some(shape) = SHAPES.iter().find(|s| r.rest().starts_with(s.kind.as_bytes()) && r.ends_word(s.kind)) else {
            return r.no("a known type");
        };
        r.at += shape.kind.len();
        if (shape.kind == "hello") != (self.seq == 0) || self.ended {
            return r.no("hello first and once, nothing after bye");
        }
        r.expect(b"\",\"ts\":\"", "ts")?;
        r.time()?;
        r.expect(b"\",\"camera\":", "camera")?;
        r.value(Type::NameOrNull)?;
        self.keys(r, shape)?;
        r.expect(b"}\n", "the end of the line")?;
        if r.at != r.line.len() {
            return r.no("one line");
        }
        Ok((boot, shape.kind))
    }

    fn keys(&self, r: &mut Reader<'_>, shape: &Shape) -> Result<(), Bad> {
        for key in shape.keys {
            r.key(key, b",")?;
        }
        Ok(())
    }
}

/// Byte and what was wanted there.
type Bad = (usize, &'static str);

/// Most digits of a whole number, and before the point of a fraction: enough for bytes and milliseconds of any run, and
/// not for a freight of digits.
const MAX_DIGITS: usize = 12;

struct Reader<'a> {
    line: &'a [u8],
    at: usize,
    words: &'a Words,
}

impl<'a> Reader<'a> {
    fn no<T>(&self, wanted: &'static str) -> Result<T, Bad> {
        Err((self.at, wanted))
    }

    fn rest(&self) -> &'a [u8] {
        self.line.get(self.at..).unwrap_or_default()
    }

    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let taken = self.rest().get(..n)?;
        self.at += n;
        Some(taken)
    }

    fn skip(&mut self, text: &[u8]) -> bool {
        let found = self.rest().starts_with(text);
        if found {
            self.at += text.len();
        }
        found
    }

    fn expect(&mut self, text: &[u8], wanted: &'static str) -> Result<(), Bad> {
        if self.skip(text) { Ok(()) } else { self.no(wanted) }
    }

    fn ends_word(&self, word: &str) -> bool {
        self.rest().get(word.len()) == Some(&b'"')
    }

    /// 1 to `most` digits without a leading zero.
    fn number(&mut self, most: usize) -> Result<u64, Bad> {
        let digits = self.rest().iter().take_while(|c| c.is_ascii_digit()).count();
        let text = self.rest().get(..digits).unwrap_or_default();
        if digits == 0 || digits > most || (digits > 1 && text.first() == Some(&b'0')) {
            return self.no("a whole number");
        }
        self.at += digits;
        Ok(text.iter().fold(0, |n, c| n * 10 + u64::from(c - b'0')))
    }

    /// A point and exactly so many digits.
    fn decimals(&mut self, count: usize) -> Result<u64, Bad> {
        self.expect(b".", "a decimal point")?;
        match self.take(count) {
            Some(digits) if digits.iter().all(u8::is_ascii_digit) => {
                Ok(digits.iter().fold(0, |n, c| n * 10 + u64::from(c - b'0')))
            }
            _ => self.no("decimals"),
        }
    }

    /// 0 to 1 with so many decimals.
    fn unit(&mut self, decimals: usize) -> Result<(), Bad> {
        let whole = self.number(1)?;
        let part = self.decimals(decimals)?;
        if whole == 0 || (whole == 1 && part == 0) { Ok(()) } else { self.no("a number from 0 to 1") }
    }

    /// `2026-11-23T00:00:00.123Z`; years before 0 and after 9999 are not written by us.
    fn time(&mut self) -> Result<(), Bad> {
        const FORM: &[u8] = b"0000-00-00T00:00:00.000Z";
        match self.take(FORM.len()) {
            Some(t) if t.iter().zip(FORM).all(|(c, f)| if *f == b'0' { c.is_ascii_digit() } else { c == f }) => Ok(()),
            _ => self.no("a time"),
        }
    }

    /// A JSON string with its quotes, as it stands.
    fn string(&mut self) -> Result<&'a [u8], Bad> {
        let rest = self.rest();
        if rest.first() != Some(&b'"') {
            return self.no("a name");
        }
        let mut i = 1;
        loop {
            match rest.get(i) {
                Some(b'"') => break,
                Some(b'\\') => i += 2,
                Some(_) => i += 1,
                None => return self.no("a name"),
            }
        }
        self.at += i + 1;
        Ok(&rest[..=i])
    }

    fn known(&mut self, of: impl Fn(&Words) -> &BTreeSet<Box<[u8]>>, wanted: &'static str) -> Result<(), Bad> {
        let begin = self.at;
        let text = self.string()?;
        if of(self.words).contains(text) { Ok(()) } else { Err((begin, wanted)) }
    }

    fn word(&mut self, words: &[&str]) -> Result<(), Bad> {
        let begin = self.at;
        let text = self.string()?;
        let inner = &text[1..text.len() - 1];
        if words.iter().any(|w| w.as_bytes() == inner) { Ok(()) } else { Err((begin, "a word of the closed set")) }
    }

    fn key(&mut self, key: &Key, separator: &[u8]) -> Result<(), Bad> {
        let begin = self.at;
        let there = self.skip(separator) && self.skip(b"\"") && self.skip(key.name.as_bytes()) && self.skip(b"\":");
        match (there, key.optional) {
            (true, _) => self.value(key.of),
            (false, true) => {
                self.at = begin;
                Ok(())
            }
            (false, false) => self.no(key.name),
        }
    }

    fn object(&mut self, keys: &[Key]) -> Result<(), Bad> {
        self.expect(b"{", "{")?;
        for (i, key) in keys.iter().enumerate() {
            self.key(key, if i == 0 { b"" } else { b"," })?;
        }
        self.expect(b"}", "}")
    }

    fn list(&mut self, mut each: impl FnMut(&mut Self) -> Result<(), Bad>) -> Result<(), Bad> {
        self.expect(b"[", "[")?;
        if self.skip(b"]") {
            return Ok(());
        }
        for _ in 0..MAX_ITEMS {
            each(self)?;
            if self.skip(b"]") {
                return Ok(());
            }
            self.expect(b",", ", or ]")?;
        }
        self.no("a shorter list")
    }

    fn value(&mut self, of: Type) -> Result<(), Bad> {
        match of {
            Type::Count => self.number(MAX_DIGITS).map(drop),
            Type::Ordinal => match self.number(MAX_DIGITS)? {
                0 => self.no("a number from 1"),
                _ => Ok(()),
            },
            Type::Amount => {
                // Degrees may be below zero.
                self.skip(b"-");
                self.number(MAX_DIGITS)?;
                self.decimals(2).map(drop)
            }
            Type::Score => self.unit(3),
            Type::Box => {
                for before in [b"[", b",", b",", b","] {
                    self.expect(before, "a box")?;
                    self.unit(4)?;
                }
                self.expect(b"]", "a box")
            }
            Type::Bool => match self.skip(b"true") || self.skip(b"false") {
                true => Ok(()),
                false => self.no("true or false"),
            },
            Type::Words(words) => self.word(words),
            Type::WordList(words) => self.list(|r| r.word(words)),
            Type::Name => self.known(|w| &w.names, "a known name"),
            Type::NameOrNull => match self.skip(b"null") {
                true => Ok(()),
                false => self.known(|w| &w.names, "a known name or null"),
            },
            Type::Sha256 => self.known(|w| &w.hashes, "a known hash"),
            Type::Object(keys) => self.object(keys),
            Type::Objects(keys) => self.list(|r| r.object(keys)),
        }
    }
}

/// Bytes that may pass, in real time: so many at once after a quiet time, and so many a second.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    burst: f64,
    per_second: f64,
    level: f64,
    filled: Instant,
}

impl Bucket {
    /// A full one.
    pub fn new(burst: u32, per_second: u32, now: Instant) -> Self {
        let burst = f64::from(burst);
        Self { burst, per_second: f64::from(per_second.max(1)), level: burst, filled: now }
    }

    /// How long `bytes` must wait; zero when they may pass now. More than the burst never has to wait longer than for a
    /// full bucket.
    pub fn wait(&mut self, bytes: usize, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.level = (self.level + passed * self.per_second).min(self.burst);
        self.filled = now;
        let lacking = (bytes as f64).min(self.burst) - self.level;
        if lacking <= 0.0 { Duration::ZERO } else { Duration::from_secs_f64(lacking / self.per_second) }
    }

    /// They pass.
    pub fn take(&mut self, bytes: usize) {
        self.level -= bytes as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = r#"{"v":1,"boot":"0123456789abcdef","seq":"#;

    fn words() -> Words {
        let mut words = Words::default();
        ["front", "person", "0.1.0", "net", "a.mjpeg", "mjpg", "qu\"ote"].iter().for_each(|n| words.name(n));
        words.hash(&"a".repeat(64));
        words
    }

    fn hello() -> String {
        let sha = "a".repeat(64);
        format!(
            "{HEAD}0,\"type\":\"hello\",\"ts\":\"1970-01-01T00:00:00.000Z\",\"camera\":null,\"version\":\"0.1.0\",\
             \"models\":[{{\"name\":\"net\",\"sha256\":\"{sha}\"}}],\"config_sha256\":\"{sha}\",\
             \"seal\":{{\"state\":\"partial\",\"landlock_abi\":2,\"seccomp\":\"enforced\",\"network\":\"denied\",\
             \"files\":\"denied\",\"missing\":[\"truncate\",\"tcp\"]}},\"cameras\":[{{\"name\":\"front\",\
             \"source\":\"a.mjpeg\",\"width\":640,\"height\":360,\"fps\":15.00,\"format\":\"mjpg\"}}]}}\n"
        )
    }

    fn appeared(seq: u64, rest: &str) -> String {
        format!(
            "{HEAD}{seq},\"type\":\"track.appeared\",\"ts\":\"1970-01-01T00:00:01.000Z\",\"camera\":\"front\",{rest}}}\n"
        )
    }

    const GOOD: &str = r#""track":1,"label":"person","score":0.512,"box":[0.0113,0.4289,0.0630,1.0000],"age_ms":12"#;

    fn open() -> Gate {
        let mut gate = Gate::new(words());
        assert_eq!(gate.pass(hello().as_bytes()), Ok(()));
        gate
    }

    #[test]
    fn our_own_lines_pass() {
        let mut gate = open();
        assert_eq!(gate.next(), Some(("0123456789abcdef", 1)));
        assert_eq!(gate.pass(appeared(1, GOOD).as_bytes()), Ok(()));
        let without_age = GOOD.replace(",\"age_ms\":12", "");
        assert_eq!(gate.pass(appeared(2, &without_age).as_bytes()), Ok(()));
    }

    #[test]
    fn nothing_else_does() {
        let wrong = [
            ("a number with a freight", GOOD.replace("12", "1234567890123456")),
            ("a leading zero", GOOD.replace("\"track\":1", "\"track\":01")),
            ("a score of more digits", GOOD.replace("0.512", "0.51234")),
            ("a score above 1", GOOD.replace("0.512", "1.512")),
            ("a box of five", GOOD.replace("1.0000]", "1.0000,0.0000]")),
            ("an unknown name", GOOD.replace("person", "\u{41f}erson")),
            ("another spelling of a known name", GOOD.replace("person", "p\\u0065rson")),
            ("white space", GOOD.replace("\"label\":", "\"label\": ")),
            ("keys in another order", GOOD.replace(r#""track":1,"label":"person""#, r#""label":"person","track":1"#)),
            ("a key twice", GOOD.replace("\"track\":1", "\"track\":1,\"track\":1")),
            ("a key more", format!("{GOOD},\"pixels\":1")),
            ("a key less", GOOD.replace(r#","box":[0.0113,0.4289,0.0630,1.0000]"#, "")),
            ("another line in the line", format!("{GOOD}}}\n{{\"v\":1")),
            ("an open name", GOOD.replace("person\"", "person")),
        ];
        for (what, rest) in wrong {
            assert!(open().pass(appeared(1, &rest).as_bytes()).is_err(), "{what}: {rest}");
        }
        assert!(open().pass(&[0xff; 700]).is_err());
        assert!(open().pass(b"").is_err());
        assert!(open().pass(b"\n").is_err());
    }

    #[test]
    fn order_is_kept() {
        let good = appeared(1, GOOD);
        assert!(Gate::new(words()).pass(good.as_bytes()).is_err(), "before hello");
        assert!(open().pass(hello().as_bytes()).is_err(), "hello twice");
        assert!(open().pass(appeared(2, GOOD).as_bytes()).is_err(), "a gap");
        assert!(open().pass(good.replace("0123456789abcdef", "0123456789abcdee").as_bytes()).is_err(), "another boot");
        assert!(open().pass(good.replace("{\"v\":1", "{\"v\":2").as_bytes()).is_err());
        let long = hello().replace("\"cameras\":[", &format!("\"cameras\":[{}", "{".repeat(MAX_HELLO)));
        assert!(Gate::new(words()).pass(long.as_bytes()).is_err());
    }

    #[test]
    fn a_bucket_bounds_bytes_in_time() {
        let start = Instant::now();
        let mut bucket = Bucket::new(1000, 100, start);
        let (mut passed, mut now) = (0usize, start);
        while now < start + Duration::from_secs(100) {
            let wait = bucket.wait(250, now);
            if wait.is_zero() {
                bucket.take(250);
                passed += 250;
            }
            now += wait.max(Duration::from_millis(1));
        }
        assert!((10_500..=11_000).contains(&passed), "{passed}");
        assert!(bucket.wait(5000, now) <= Duration::from_secs(10), "a line longer than the burst passes too");
    }

    /// Bits that a value can carry, and the bytes it takes for that: every digit free, names from a table of 128. Fixed text
    /// (keys, brackets, words of one choice) carries nothing and takes its place.
    fn capacity(of: Type) -> (f64, f64) {
        let digit = 10f64.log2();
        let digits = |n: usize| n as f64 * digit;
        match of {
            Type::Count | Type::Ordinal => (digits(MAX_DIGITS), MAX_DIGITS as f64),
            Type::Amount => (1.0 + digits(MAX_DIGITS + 2), MAX_DIGITS as f64 + 4.0),
            Type::Score => (digits(3), 5.0),
            Type::Box => (4.0 * digits(4), 29.0),
            Type::Bool => (1.0, 4.0),
            Type::Words(words) => {
                ((words.len() as f64).log2(), words.iter().map(|w| w.len()).min().unwrap() as f64 + 2.0)
            }
            Type::WordList(words) => (words.len() as f64 * (words.len() as f64).log2(), 2.0),
            Type::Name | Type::NameOrNull => (7.0, 3.0),
            Type::Sha256 => (3.0, 66.0),
            Type::Object(keys) => {
                let (bits, bytes) = keys.iter().map(capacity_of_key).fold((0.0, 0.0), |a, k| (a.0 + k.0, a.1 + k.1));
                (bits, bytes + 1.0)
            }
            Type::Objects(keys) => {
                let (bits, bytes) = capacity(Type::Object(keys));
                // As many as fit into a line of the greatest length.
                let n = (MAX_LINE as f64 / bytes).floor();
                (n * bits, n * (bytes + 1.0) + 2.0)
            }
        }
    }

    fn capacity_of_key(key: &Key) -> (f64, f64) {
        let (bits, bytes) = capacity(key.of);
        (bits + f64::from(u8::from(key.optional)), bytes + key.name.len() as f64 + 4.0)
    }

    /// The figure of SECURITY.md: what a line can carry, in bits for each byte it takes. Text has 8; ours have less than 2,
    /// because most of a line is keys and digits.
    #[test]
    fn a_byte_of_a_line_carries_less_than_two_bits() {
        let mut most: (f64, &str) = (0.0, "");
        for shape in SHAPES.iter().filter(|s| s.kind != "hello") {
            // {"v":1,"boot":"0123456789abcdef","seq":0,"type":"","ts":"2026-11-23T00:00:00.123Z","camera":"a"
            let head_bytes = 93.0 + shape.kind.len() as f64;
            let head_bits = (SHAPES.len() as f64).log2() + 17.0 * 10f64.log2() + 4.0;
            let (bits, bytes) = capacity(Type::Object(shape.keys));
            let per_byte = (head_bits + bits) / (head_bytes + bytes);
            if per_byte > most.0 {
                most = (per_byte, shape.kind);
            }
        }
        assert!(most.0 > 0.5 && most.0 < 2.0, "{most:?}");
        eprintln!("{most:?}");
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

        /// One byte changed: either refused or still of the form (a digit for a digit).
        #[test]
        fn a_changed_byte_never_widens_a_line(at in 0usize..200, byte in 0u8..) {
            let mut line = appeared(1, GOOD).into_bytes();
            let at = at % line.len();
            let before = line[at];
            line[at] = byte;
            if open().pass(&line).is_ok() {
                proptest::prop_assert!(
                    before == byte || (before.is_ascii_digit() && byte.is_ascii_digit()),
                    "{} -> {} at {at}", before as char, byte as char
                );
            }
        }

        #[test]
        fn noise_never_passes_and_never_panics(line in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            proptest::prop_assert!(open().pass(&line).is_err());
        }
    }
}
