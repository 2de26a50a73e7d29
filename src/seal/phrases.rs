//! What a sealed eye may say to people: a closed set of phrases with numbers in them.
//!
//! Its stderr goes through the gatekeeper like its events. From the moment at which an eye of cameras is given something to
//! look at, only lines of `PHRASES` pass: texts of ours, in which a slot takes a number of bounded length or a word from a
//! closed list. So a complaint can carry what its numbers can say, and no more; what is on no list is left out, and that
//! something was left out is said. Before that moment the eye has seen no picture, and its words pass as they are: which
//! file is missing, what is wrong with a card.
//!
//! An eye of files is not held to this, as it is not held to the bound of bytes: whoever replays a file has the file, and
//! wants to know what is wrong at which byte of it.

/// The texts, with their slots:
///
/// | slot | takes |
/// | --- | --- |
/// | `{n}` | a whole number of at most 12 digits |
/// | `{x}` | the same with one to three decimals |
/// | `{size}` | `{n}x{n}` |
/// | `{name}` | the name of a camera or source of the configuration |
/// | `{doing}`, `{hint}`, `{format}`, `{broken}`, `{adjusted}`, `{tried}`, `{file}` | a phrase of that list |
/// | `{os}` | what the system says to an error number |
const PHRASES: &[&str] = &[
    // A camera's life.
    "camera '{name}': {name}: cannot {doing}: {os}; {hint}",
    "camera '{name}': {name}: cannot {doing}: {hint}",
    "camera '{name}': {name}: no frame for {x} s",
    "camera '{name}': {name}: the driver changed its format",
    "camera '{name}': {name}: {n} broken frames in a row: {broken}",
    "camera '{name}': {name}: the driver gives {adjusted}",
    "camera '{name}': {name}: the driver gives {adjusted}, {adjusted}",
    "camera '{name}': {name}: the driver gives {adjusted}, {adjusted}, {adjusted}",
    "camera '{name}': not one of its frames is a picture: see `undecodable` in the last line",
    // A camera that cannot be used, said at the start; `{name}: stopped` when the end was asked for by then.
    "{name}: cannot {doing}: {os}; {hint}",
    "{name}: cannot {doing}: {hint}",
    "{name}: stopped before the first frame",
    "no camera answers:{tried}",
    "no camera: /dev holds no video device; plug one in, or give --camera DEV or --source PATH",
    // The rest of the program.
    "stdout: cannot be written: {os}",
    "internal error: {file}:{n}: this is a bug, please report it",
];

/// What a camera is asked to do.
const DOING: &[&str] = &[
    "open",
    "ask what it is",
    "use it as a camera",
    "find a mode",
    "set the format",
    "get buffers",
    "map a buffer",
    "queue a buffer",
    "start streaming",
    "read a frame",
];

/// What may be done about it, or why nothing can.
const HINTS: &[&str] = &[
    "no such camera (unplugged?)",
    "not a device; a file goes to --source",
    "another program uses it; `fuser -v DEVICE` names it",
    "the USB bus has no room for it; lower size or rate, or use another port",
    "the camera or its cable failed",
    "add this user to the group video",
    "not a V4L2 device",
    "the driver refused",
    "the node does not capture video; try the camera's other /dev/video node",
    "it captures into several planes, which is not supported; use a bridge such as v4l2loopback",
    "wanted {format}, it offers other formats: see `porchlight cameras`",
    "the driver gave a format that is not read: see `porchlight cameras`",
    "the picture is {size}; at most {size} is decoded",
    "the picture is {size}; wanted at least 1x1",
    "it does not stream; `porchlight cameras` says more",
];

/// Formats, as they are asked for.
const FORMATS: &[&str] =
    &["MJPG, YUYV, UYVY, NV12, YU12 or GREY", "mjpg", "yuyv", "uyvy", "nv12", "i420", "i422", "i444", "grey", "rgb24"];

/// Cameras that were tried, one after another.
const TRIED: &[&str] =
    &[" {name}: {os}; {hint}", " {name}: {hint}", " {name}: {os}; {hint};{tried}", " {name}: {hint};{tried}"];

/// What is wrong with a frame.
const BROKEN: &[&str] = &["the driver marked it as broken", "no bytes", "{n} bytes, too few for {size} {format}"];

/// What a driver made of what it was asked for.
const ADJUSTED: &[&str] =
    &["format {format} instead of {format}", "size {size} instead of {size}", "{x} instead of {x} frames per second"];

/// Our own sources, where a panic can be; `tests/house.rs` compares with the tree.
pub const FILES: &[&str] = &include!("files.in");

/// Longest number.
const DIGITS: usize = 12;

/// The phrases, with the names of one run.
#[derive(Clone, Debug, Default)]
pub struct Phrases {
    names: Vec<String>,
}

impl Phrases {
    /// With the names of cameras and sources.
    pub fn new(mut names: Vec<String>) -> Self {
        names.sort();
        names.dedup();
        Self { names }
    }

    /// Whether the eye may say this line (without its newline).
    pub fn pass(&self, line: &str) -> bool {
        let Some(text) = line.strip_prefix("porchlight: ") else { return false };
        PHRASES.iter().any(|phrase| self.fits(phrase, text, &|rest| rest.is_empty()))
    }

    /// Whether `text` begins with the phrase, and `then` likes what is left.
    fn fits(&self, phrase: &str, text: &str, then: &dyn Fn(&str) -> bool) -> bool {
        let Some((before, slot)) = phrase.split_once('{') else {
            return text.strip_prefix(phrase).is_some_and(then);
        };
        let Some(text) = text.strip_prefix(before) else { return false };
        let Some((slot, behind)) = slot.split_once('}') else { return false };
        let go_on = |rest: &str| self.fits(behind, rest, then);
        let any = |list: &[&str]| list.iter().any(|phrase| self.fits(phrase, text, &go_on));
        match slot {
            "n" => number(text).is_some_and(go_on),
            "x" => number(text).and_then(decimals).is_some_and(go_on),
            "size" => number(text).and_then(|t| t.strip_prefix('x')).and_then(number).is_some_and(go_on),
            "name" => self.names.iter().filter_map(|name| text.strip_prefix(name.as_str())).any(go_on),
            "doing" => any(DOING),
            "hint" => any(HINTS),
            "format" => any(FORMATS),
            "broken" => any(BROKEN),
            "adjusted" => any(ADJUSTED),
            "tried" => any(TRIED),
            "file" => any(FILES),
            "os" => (1..=MOST_ERRORS).any(|errno| {
                let words = std::io::Error::from_raw_os_error(errno).to_string();
                text.strip_prefix(&words).is_some_and(go_on)
            }),
            _ => false,
        }
    }
}

/// Linux has so many error numbers.
const MOST_ERRORS: i32 = 133;

/// What follows a whole number.
fn number(text: &str) -> Option<&str> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let plain = digits == 1 || !text.starts_with('0');
    ((1..=DIGITS).contains(&digits) && plain).then(|| &text[digits..])
}

/// What follows a point and one to three digits.
fn decimals(text: &str) -> Option<&str> {
    let text = text.strip_prefix('.')?;
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    (1..=3).contains(&digits).then(|| &text[digits..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phrases() -> Phrases {
        Phrases::new(vec!["front".into(), "/dev/video0".into(), "/dev/video01".into()])
    }

    #[test]
    fn what_is_on_the_list_passes() {
        for line in [
            "camera 'front': /dev/video0: no frame for 2.0 s",
            "camera 'front': /dev/video01: no frame for 2.0 s",
            "camera 'front': /dev/video0: cannot read a frame: No such device (os error 19); no such camera (unplugged?)",
            "camera 'front': /dev/video0: the driver gives size 320x180 instead of 640x360, 25.00 instead of 30.00 frames per second",
            "no camera answers: /dev/video0: not a V4L2 device; /dev/video01: No space left on device (os error 28); the driver refused",
            "camera 'front': /dev/video0: 10 broken frames in a row: 7 bytes, too few for 320x180 yuyv",
            "internal error: src/seal/phrases.rs:12: this is a bug, please report it",
            "stdout: cannot be written: No space left on device (os error 28)",
        ] {
            assert!(phrases().pass(&format!("porchlight: {line}")), "{line}");
        }
    }

    #[test]
    fn what_is_not_does_not() {
        for line in [
            "",
            "AAAA",
            "camera 'front': /dev/video0: no frame for 2.0 s, and more",
            "camera 'back': /dev/video0: no frame for 2.0 s",
            "camera 'front': /dev/video0: no frame for 2.0000 s",
            "camera 'front': /dev/video0: no frame for 1234567890123.0 s",
            "camera 'front': /dev/video0: no frame for 02.0 s",
            "camera 'front': /dev/video0: cannot dance: not a V4L2 device",
            "internal error: src/nowhere.rs:12: this is a bug, please report it",
            "internal error: index out of bounds: this is a bug, please report it",
        ] {
            assert!(!phrases().pass(&format!("porchlight: {line}")), "{line}");
        }
        assert!(!phrases().pass("camera 'front': /dev/video0: no frame for 2.0 s"));
    }

    /// No slot takes text: whatever passes differs from a phrase in digits and in words of the lists alone.
    #[test]
    fn every_slot_is_known() {
        for phrase in [PHRASES, DOING, HINTS, FORMATS, BROKEN, ADJUSTED, TRIED, FILES].into_iter().flatten() {
            for slot in phrase.split('{').skip(1) {
                let slot = slot.split('}').next().unwrap_or_default();
                let known =
                    ["n", "x", "size", "name", "doing", "hint", "format", "broken", "adjusted", "tried", "file", "os"];
                assert!(known.contains(&slot), "{phrase}");
            }
        }
    }

    /// The bound of SECURITY.md: what a byte of a phrase can carry, at most.
    #[test]
    fn a_byte_of_a_phrase_carries_less_than_two_bits() {
        // A digit is worth log2(10) bits, a list what its length says; a size has two numbers, and so on.
        fn worth(phrase: &str) -> (f64, usize) {
            let list = |list: &[&str]| {
                // The richest entry for its length, counted with what it takes to choose it.
                let bits = (list.len() as f64).log2();
                list.iter()
                    .map(|p| worth(p))
                    .map(|(b, n)| (b + bits, n))
                    .max_by(|a, b| (a.0 / a.1 as f64).total_cmp(&(b.0 / b.1 as f64)))
                    .unwrap()
            };
            let ten = 10f64.log2();
            let mut sum = (0.0, 0);
            for (i, piece) in phrase.split('{').enumerate() {
                let text = match piece.split_once('}') {
                    Some((slot, text)) if i > 0 => {
                        let (bits, bytes) = match slot {
                            "n" => (12.0 * ten, 12),
                            "x" => (15.0 * ten, 16),
                            "size" => (24.0 * ten, 25),
                            // 16 cameras with names of one letter.
                            "name" => (5.0, 1),
                            "doing" => list(DOING),
                            "hint" => list(HINTS),
                            "format" => list(FORMATS),
                            "broken" => list(BROKEN),
                            "adjusted" => list(ADJUSTED),
                            "file" => list(FILES),
                            // Each of them; one more choice whether it is the last.
                            "tried" => list(&TRIED[..2]),
                            // Eight bits choose one of the errors, whose shortest text has over twenty letters.
                            _ => (8.0, 20),
                        };
                        sum = (sum.0 + bits, sum.1 + bytes);
                        text
                    }
                    _ => piece,
                };
                sum.1 += text.len();
            }
            sum
        }
        for phrase in PHRASES {
            let (bits, bytes) = worth(phrase);
            let all = (bits + (PHRASES.len() as f64).log2()) / (bytes + "porchlight: \n".len()) as f64;
            assert!(all < 2.0, "{all:.2}: {phrase}");
        }
    }
}
