//! What the guest wrote down, and questions to it.
//!
//! A line is `SECONDS ID KIND TEXT`. KIND is `out` or `err` (what a program printed), `mark` (what a script says), or `say`
//! (what a script printed, which it should not).

/// One line.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Seconds since the guest booted.
    pub(crate) at: f64,
    /// Who.
    pub(crate) id: String,
    /// What kind of line.
    pub(crate) kind: String,
    /// The rest.
    pub(crate) text: String,
}

/// The lines of one scenario.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record(pub(crate) Vec<Entry>);

/// Reads the guest's lines; what is none is left out (a torn last one).
pub(crate) fn read(text: &str) -> Vec<Entry> {
    let entry = |line: &str| {
        let mut words = line.trim_end_matches('\r').splitn(4, ' ');
        let at = words.next()?.parse().ok()?;
        let (id, kind) = (words.next()?.to_owned(), words.next()?.to_owned());
        Some(Entry { at, id, kind, text: words.next().unwrap_or_default().to_owned() })
    };
    text.lines().filter_map(entry).collect()
}

/// A verdict: what was wanted and what was found.
pub(crate) type Verdict = Result<(), String>;

/// An event: a line of JSON that a program printed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event<'a> {
    /// When it was read.
    pub(crate) at: f64,
    /// The line.
    pub(crate) text: &'a str,
}

impl<'a> Event<'a> {
    /// The value of the first key of that name, as it stands; a text without its quotes.
    pub(crate) fn get(&self, key: &str) -> Option<&'a str> {
        let begin = self.text.find(&format!("\"{key}\":"))? + key.len() + 3;
        let rest = &self.text[begin..];
        match rest.strip_prefix('"') {
            Some(text) => text.split('"').next(),
            None => rest.split([',', '}', ']']).next(),
        }
    }

    /// A number.
    pub(crate) fn number(&self, key: &str) -> Result<u64, String> {
        self.get(key).and_then(|value| value.parse().ok()).ok_or_else(|| format!("no number {key:?} in {}", self.text))
    }

    /// Its `type`.
    pub(crate) fn kind(&self) -> &'a str {
        self.get("type").unwrap_or_default()
    }
}

impl Record {
    /// Everything that a program printed as events.
    pub(crate) fn events(&self, id: &str) -> Vec<Event<'_>> {
        let lines = self.0.iter().filter(|e| e.id == id && e.kind == "out");
        lines.map(|e| Event { at: e.at, text: &e.text }).collect()
    }

    /// Everything that a program printed to stdout.
    pub(crate) fn text(&self, id: &str) -> String {
        let lines = self.0.iter().filter(|e| e.id == id && e.kind == "out");
        lines.map(|e| e.text.as_str()).collect::<Vec<_>>().join("\n")
    }

    /// Its events of one type.
    pub(crate) fn of(&self, id: &str, kind: &str) -> Vec<Event<'_>> {
        self.events(id).into_iter().filter(|e| e.kind() == kind).collect()
    }

    /// Its events of one type and reason.
    pub(crate) fn with(&self, id: &str, kind: &str, reason: &str) -> Vec<Event<'_>> {
        self.of(id, kind).into_iter().filter(|e| e.get("reason") == Some(reason)).collect()
    }

    /// What it printed to stderr.
    pub(crate) fn complaints(&self, id: &str) -> Vec<&str> {
        self.0.iter().filter(|e| e.id == id && e.kind == "err").map(|e| e.text.as_str()).collect()
    }

    /// Marks that begin with these words: when, and what follows.
    pub(crate) fn marks(&self, words: &str) -> Vec<(f64, &str)> {
        let rest = |text: &'_ str| -> Option<usize> {
            let left = text.strip_prefix(words)?;
            (left.is_empty() || left.starts_with(' ')).then_some(words.len())
        };
        let marks = self.0.iter().filter(|e| e.kind == "mark");
        marks.filter_map(|e| Some((e.at, e.text[rest(&e.text)?..].trim_start()))).collect()
    }

    /// The program ended with this code.
    pub(crate) fn exited(&self, id: &str, code: &str) -> Verdict {
        match self.marks(&format!("exit {id}")).last() {
            Some((_, found)) if *found == code => Ok(()),
            found => {
                let said = self.complaints(id).join(" | ");
                Err(format!("{id}: wanted exit {code}, found {:?}; stderr: {said}", found.map(|(_, code)| *code)))
            }
        }
    }

    /// The law of the ledger in the last line, the order of sequence numbers, every visit closed; and no script trouble.
    pub(crate) fn sound(&self, id: &str) -> Verdict {
        let events = self.events(id);
        for (place, event) in events.iter().enumerate() {
            if event.number("seq")? != place as u64 {
                return Err(format!("{id}: wanted seq {place}, found {}", event.text));
            }
        }
        let appeared = self.of(id, "track.appeared").len();
        let left = self.of(id, "track.left").len();
        if appeared != left {
            return Err(format!("{id}: {appeared} tracks appeared, {left} left"));
        }
        let bye = self.bye(id)?;
        for camera in bye.text.split("{\"name\":").skip(1) {
            let camera = Event { at: bye.at, text: camera };
            let mut sum = 0;
            for key in ["displaced", "undecodable", "still", "inferred", "failed"] {
                sum += camera.number(key)?;
            }
            let captured = camera.number("captured")?;
            if captured != sum {
                return Err(format!("{id}: captured {captured}, accounted for {sum}: {}", camera.text));
            }
        }
        self.no_trouble()
    }

    /// Scripts said nothing they should not.
    pub(crate) fn no_trouble(&self) -> Verdict {
        for words in ["missing", "gone", "script failed"] {
            if let Some((at, text)) = self.marks(words).first() {
                return Err(format!("at {at} s: {words} {text}"));
            }
        }
        match self.0.iter().find(|e| e.kind == "say") {
            Some(said) => Err(format!("the script printed: {}", said.text)),
            None => Ok(()),
        }
    }

    /// The last line of a run.
    pub(crate) fn bye(&self, id: &str) -> Result<Event<'_>, String> {
        self.of(id, "bye").last().copied().ok_or_else(|| {
            let said = self.complaints(id).join(" | ");
            format!("{id}: no line of type bye; stderr: {said}")
        })
    }

    /// A total of a camera, from the last line.
    pub(crate) fn total(&self, id: &str, camera: &str, key: &str) -> Result<u64, String> {
        let bye = self.bye(id)?;
        let text = bye.text.split_once(&format!("{{\"name\":\"{camera}\"")).map(|(_, rest)| rest);
        let text = text.ok_or_else(|| format!("{id}: no camera {camera} in {}", bye.text))?;
        Event { at: bye.at, text }.number(key)
    }
}

/// A verdict from a comparison, with both sides.
pub(crate) fn wanted(holds: bool, what: impl std::fmt::Display) -> Verdict {
    if holds { Ok(()) } else { Err(what.to_string()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "1.00 - mark begin x\n2.50 a out {\"seq\":0,\"type\":\"hello\",\"cameras\":[{\"name\":\"c\"}]}\r\n\
        3.00 a out {\"seq\":1,\"type\":\"bye\",\"totals\":{\"cameras\":[{\"name\":\"c\",\"captured\":5,\"displaced\":1,\
        \"undecodable\":1,\"still\":1,\"inferred\":1,\"failed\":1}]}}\n3.10 - mark exit a 0\n3.2 to";

    #[test]
    fn a_record_is_read_and_questioned() {
        let record = Record(read(TEXT));
        assert_eq!(record.0.len(), 4);
        assert_eq!(record.of("a", "hello")[0].at, 2.5);
        assert_eq!(record.exited("a", "0"), Ok(()));
        assert!(record.exited("a", "4").is_err() && record.exited("b", "0").is_err());
        assert_eq!(record.sound("a"), Ok(()));
        assert_eq!(record.total("a", "c", "captured"), Ok(5));
        assert!(record.total("a", "d", "captured").is_err());
    }

    #[test]
    fn a_ledger_that_does_not_add_up_is_found() {
        assert!(Record(read(&TEXT.replace("\"captured\":5", "\"captured\":6"))).sound("a").is_err());
        assert!(Record(read(&TEXT.replace("\"seq\":1", "\"seq\":2"))).sound("a").is_err());
        let trouble = format!("{TEXT}\n4.0 - mark missing a online\n");
        assert!(Record(read(&trouble)).sound("a").is_err());
    }
}
