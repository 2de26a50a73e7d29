//! Who is known: persons who consented, their templates, and the exact search among them.
//!
//! A template is an [`Embedding`] in fixed point: 2 bytes a dimension, 32767 for 1. For vectors of length 1 that loses less
//! than a half-precision float does (each component is off by at most 1.6e-5), and it makes the search exact twice over: the
//! products are whole numbers, whose sum does not depend on the order in which a processor adds them, and by Cauchy and
//! Schwarz no partial sum of any order leaves 32 bits: it is at most the product of the two lengths, below 2^30.01.
//!
//! Templates, like embeddings, are never printed, and wiped when dropped. What a gallery looks like on the disk is
//! [`super::vault`]'s business; here are the bytes it encrypts.

use zeroize::{Zeroize, Zeroizing};

use super::embed::Embedding;

/// Most persons of a gallery.
pub const MAX_PERSONS: usize = 100_000;
/// Most templates of one person.
pub const MAX_TEMPLATES: usize = 32;
/// Most templates of all.
pub const MAX_TEMPLATES_TOTAL: usize = 200_000;
/// Most characters of a name; events hold no longer ones.
pub const MAX_NAME: usize = 64;
/// Most bytes of a consent text.
pub const MAX_CONSENT: usize = 2000;
/// Most dimensions of a template.
pub const MAX_DIMENSIONS: usize = 4096;

/// Fixed point for 1.
const ONE: f32 = 32767.0;

/// An embedding as it is kept: fixed point, wiped on drop, neither cloned nor printed.
#[derive(PartialEq, Eq)]
pub struct Template(Box<[i16]>);

impl Template {
    /// Rounds an embedding.
    pub fn of(embedding: &Embedding) -> Self {
        Self::locked(embedding.values().iter().map(|v| (v * ONE).round() as i16).collect())
    }

    /// From fixed point. `None` unless the vector's length is 1, but for rounding: the proof that sums fit rests on that.
    pub fn from_fixed(values: &[i16]) -> Option<Self> {
        let square: i64 = values.iter().map(|&v| i64::from(v) * i64::from(v)).sum();
        let length = (square as f64).sqrt() / f64::from(ONE);
        // Rounding moves each of up to 4096 components by half a step: .001 of the length at most.
        ((length - 1.0).abs() <= 0.002).then(|| Self::locked(values.into()))
    }

    /// Out of swap, as far as the user's limit allows.
    fn locked(values: Box<[i16]>) -> Self {
        let _ = crate::seal::lock_memory(&values);
        Self(values)
    }

    /// Number of dimensions.
    pub fn dimensions(&self) -> usize {
        self.0.len()
    }

    /// Likeness, -1..=1; 0 for templates of different models.
    pub fn cosine(&self, other: &Self) -> f32 {
        if self.0.len() == other.0.len() { cosine(dot(&self.0, &other.0)) } else { 0.0 }
    }
}

impl Drop for Template {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl std::fmt::Debug for Template {
    /// Never the content.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Template({} dimensions)", self.0.len())
    }
}

/// Whole-number product; see the module's beginning for why it cannot overflow.
#[inline(always)]
fn dot(a: &[i16], b: &[i16]) -> i32 {
    a.iter().zip(b).fold(0i32, |sum, (&a, &b)| sum.wrapping_add(i32::from(a) * i32::from(b)))
}

fn cosine(dot: i32) -> f32 {
    (f64::from(dot) / (f64::from(ONE) * f64::from(ONE))).clamp(-1.0, 1.0) as f32
}

/// Somebody who consented.
#[derive(Debug, PartialEq, Eq)]
pub struct Person {
    /// As events name them.
    pub name: String,
    /// How and when they consented.
    pub consent: String,
    /// Milliseconds since 1970, UTC.
    pub enrolled_ms: i64,
    /// From when on they are not matched any more.
    pub expires_ms: Option<i64>,
    /// Their faces.
    pub templates: Vec<Template>,
}

impl Person {
    /// Whether the consent has lapsed.
    pub fn expired(&self, now_ms: i64) -> bool {
        self.expires_ms.is_some_and(|t| t <= now_ms)
    }
}

/// Everybody who is known to one embedder.
#[derive(Debug, PartialEq, Eq)]
pub struct Gallery {
    /// Hash of the embedder's weights: vectors of another one mean nothing.
    pub embedder: [u8; 32],
    /// Of its vectors.
    pub dimensions: usize,
    /// In the order of their names.
    persons: Vec<Person>,
    /// Templates of all.
    templates: usize,
}

/// Whether a name may stand in events: 1 to 64 characters, no control characters, no blanks around it.
///
/// # Errors
/// The rest of a sentence about the name.
pub fn check_name(name: &str) -> Result<(), String> {
    let sound = !name.is_empty()
        && name.chars().count() <= MAX_NAME
        && name.trim() == name
        && !name.chars().any(char::is_control);
    if sound {
        Ok(())
    } else {
        Err(format!("wanted 1 to {MAX_NAME} characters without control characters or blanks around, found {name:?}"))
    }
}

impl Gallery {
    /// Nobody yet.
    pub fn new(embedder: [u8; 32], dimensions: usize) -> Self {
        Self { embedder, dimensions, persons: Vec::new(), templates: 0 }
    }

    /// In the order of their names.
    pub fn persons(&self) -> &[Person] {
        &self.persons
    }

    /// The person of this name.
    pub fn get(&self, name: &str) -> Option<&Person> {
        self.at(name).ok().map(|i| &self.persons[i])
    }

    fn at(&self, name: &str) -> Result<usize, usize> {
        self.persons.binary_search_by(|p| p.name.as_str().cmp(name))
    }

    /// Number of templates of all.
    pub fn templates(&self) -> usize {
        self.templates
    }

    /// Adds a person; one of that name is replaced, with consent and templates.
    ///
    /// # Errors
    /// The rest of a sentence: a bound is passed, or the templates are of another model.
    pub fn insert(&mut self, person: Person) -> Result<(), String> {
        self.check(&person)?;
        let place = self.at(&person.name);
        let before = place.map_or(0, |i| self.persons[i].templates.len());
        let templates = self.templates - before + person.templates.len();
        if templates > MAX_TEMPLATES_TOTAL {
            return Err(format!("wanted at most {MAX_TEMPLATES_TOTAL} templates"));
        }
        match place {
            Ok(i) => self.persons[i] = person,
            Err(_) if self.persons.len() >= MAX_PERSONS => return Err(format!("wanted at most {MAX_PERSONS} persons")),
            Err(i) => self.persons.insert(i, person),
        }
        self.templates = templates;
        Ok(())
    }

    fn check(&self, person: &Person) -> Result<(), String> {
        check_name(&person.name)?;
        let count = person.templates.len();
        if person.consent.trim().is_empty() || person.consent.len() > MAX_CONSENT {
            return Err(format!("consent: wanted 1 to {MAX_CONSENT} bytes of text, found {}", person.consent.len()));
        }
        if count == 0 || count > MAX_TEMPLATES {
            return Err(format!("wanted 1 to {MAX_TEMPLATES} faces of a person, found {count}"));
        }
        match person.templates.iter().find(|t| t.dimensions() != self.dimensions) {
            Some(t) => Err(format!("wanted templates of {} dimensions, found {}", self.dimensions, t.dimensions())),
            None => Ok(()),
        }
    }

    /// Takes a person out; their templates are wiped when the result is dropped.
    pub fn remove(&mut self, name: &str) -> Option<Person> {
        let person = self.at(name).ok().map(|i| self.persons.remove(i))?;
        self.templates -= person.templates.len();
        Some(person)
    }

    /// The bytes to be encrypted; wiped on drop.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let bytes: usize = self
            .persons
            .iter()
            .map(|p| 64 + p.name.len() + p.consent.len() + p.templates.len() * self.dimensions * 2)
            .sum();
        // Room for all at once: a vector that grows leaves copies behind which nobody wipes.
        let mut out = Zeroizing::new(Vec::with_capacity(bytes + 64));
        out.extend_from_slice(&(self.dimensions as u32).to_le_bytes());
        out.extend_from_slice(&(self.persons.len() as u32).to_le_bytes());
        for person in &self.persons {
            for text in [&person.name, &person.consent] {
                out.extend_from_slice(&(text.len() as u32).to_le_bytes());
                out.extend_from_slice(text.as_bytes());
            }
            out.extend_from_slice(&person.enrolled_ms.to_le_bytes());
            out.extend_from_slice(&person.expires_ms.unwrap_or(i64::MIN).to_le_bytes());
            out.extend_from_slice(&(person.templates.len() as u32).to_le_bytes());
            for value in person.templates.iter().flat_map(|t| t.0.iter()) {
                out.extend_from_slice(&value.to_le_bytes());
            }
        }
        out
    }

    /// The reverse of [`Gallery::encode`], under the bounds of this module.
    ///
    /// # Errors
    /// What is wrong with the bytes; never what they hold.
    pub fn decode(embedder: [u8; 32], bytes: &[u8]) -> Result<Self, String> {
        let mut r = Reader(bytes);
        let dimensions = r.count("dimensions", MAX_DIMENSIONS)?;
        let count = r.count("persons", MAX_PERSONS)?;
        let mut gallery = Self::new(embedder, dimensions);
        for _ in 0..count {
            let name = r.text("a name", MAX_NAME * 4)?;
            let consent = r.text("a consent", MAX_CONSENT)?;
            let enrolled_ms = i64::from_le_bytes(r.array("a time")?);
            let expires_ms = Some(i64::from_le_bytes(r.array("a time")?)).filter(|t| *t != i64::MIN);
            let templates = r.count("templates", MAX_TEMPLATES)?;
            gallery.templates += templates;
            if gallery.templates > MAX_TEMPLATES_TOTAL {
                return Err(format!("wanted at most {MAX_TEMPLATES_TOTAL} templates"));
            }
            let templates = (0..templates).map(|_| r.template(dimensions)).collect::<Result<_, _>>()?;
            let person = Person { name, consent, enrolled_ms, expires_ms, templates };
            gallery.check(&person)?;
            if gallery.persons.last().is_some_and(|p| p.name >= person.name) {
                return Err("persons out of order".into());
            }
            gallery.persons.push(person);
        }
        if r.0.is_empty() { Ok(gallery) } else { Err(format!("{} bytes too many", r.0.len())) }
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, what: &str, n: usize) -> Result<&'a [u8], String> {
        let (head, rest) = self.0.split_at_checked(n).ok_or_else(|| format!("ends within {what}"))?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], String> {
        let bytes = self.bytes(what, N)?;
        bytes.try_into().map_err(|_| format!("ends within {what}"))
    }

    fn count(&mut self, what: &str, most: usize) -> Result<usize, String> {
        let n = u32::from_le_bytes(self.array(what)?) as usize;
        if n <= most { Ok(n) } else { Err(format!("{what}: wanted at most {most}, found {n}")) }
    }

    fn text(&mut self, what: &str, most: usize) -> Result<String, String> {
        let n = self.count(what, most)?;
        String::from_utf8(self.bytes(what, n)?.to_vec()).map_err(|_| format!("{what} is no UTF-8"))
    }

    fn template(&mut self, dimensions: usize) -> Result<Template, String> {
        let bytes = self.bytes("a template", dimensions * 2)?;
        let values =
            Zeroizing::new(bytes.chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect::<Vec<i16>>());
        Template::from_fixed(&values).ok_or_else(|| "a template is not of length 1".into())
    }
}

/// All templates in one block of memory, for the search. Persons are counted in the gallery's order.
pub struct Index {
    dimensions: usize,
    rows: Vec<i16>,
    /// How many rows each person has.
    owned: Vec<u32>,
}

impl Index {
    /// Of everybody in the gallery, the expired too: who may be matched is asked at each match.
    pub fn new(gallery: &Gallery) -> Self {
        let mut rows = Vec::with_capacity(gallery.templates() * gallery.dimensions);
        for template in gallery.persons.iter().flat_map(|p| &p.templates) {
            rows.extend_from_slice(&template.0);
        }
        // Out of swap as long as it lives. Where the user's limit is too low for that, swap is the user's to encrypt.
        let _ = crate::seal::lock_memory(&rows);
        let owned = gallery.persons.iter().map(|p| p.templates.len() as u32).collect();
        Self { dimensions: gallery.dimensions, rows, owned }
    }

    /// Of nobody.
    pub fn nobody(dimensions: usize) -> Self {
        Self { dimensions, rows: Vec::new(), owned: Vec::new() }
    }

    /// Of each template.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// Number of persons.
    pub fn persons(&self) -> usize {
        self.owned.len()
    }

    /// Bytes of memory the templates take.
    pub fn bytes(&self) -> usize {
        size_of_val(self.rows.as_slice())
    }

    /// The likeness of `face` to each person's likest template, into `out`. Exact: every template is compared.
    /// Of a face of another model nobody is like.
    pub fn search(&self, face: &Template, out: &mut Vec<f32>) {
        out.clear();
        if face.0.len() != self.dimensions || self.dimensions == 0 {
            out.resize(self.owned.len(), 0.0);
            return;
        }
        // With a length the compiler knows the products are unrolled: half the time of a search.
        match self.dimensions {
            128 => self.search_fixed::<128>(&face.0, out),
            512 => self.search_fixed::<512>(&face.0, out),
            n => self.best(|own| own.chunks_exact(n).map(|row| dot(row, &face.0)).max(), out),
        }
    }

    fn search_fixed<const N: usize>(&self, face: &[i16], out: &mut Vec<f32>) {
        let Some(face) = face.first_chunk::<N>() else { return };
        self.best(|own| own.as_chunks::<N>().0.iter().map(|row| dot(row, face)).max(), out);
    }

    /// Each person's likest template, as `likest` finds it among their rows.
    fn best(&self, likest: impl Fn(&[i16]) -> Option<i32>, out: &mut Vec<f32>) {
        let mut rows = self.rows.as_slice();
        for &owned in &self.owned {
            let (own, rest) = rows.split_at(owned as usize * self.dimensions);
            rows = rest;
            out.push(likest(own).map_or(-1.0, cosine));
        }
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        self.rows.zeroize();
    }
}

impl std::fmt::Debug for Index {
    /// Never the content.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Index({} persons)", self.owned.len())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A direction, the same for the same seed.
    pub(crate) fn face(seed: u64, dimensions: usize) -> Template {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(1);
        let raw: Vec<f32> = (0..dimensions)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
            })
            .collect();
        Template::of(&Embedding::normalised(&raw).expect("a direction"))
    }

    pub(crate) fn person(name: &str, seeds: &[u64], dimensions: usize) -> Person {
        Person {
            name: name.into(),
            consent: format!("{name} said yes"),
            enrolled_ms: 1_700_000_000_000,
            expires_ms: seeds.first().filter(|s| *s % 2 == 0).map(|s| *s as i64),
            templates: seeds.iter().map(|&s| face(s, dimensions)).collect(),
        }
    }

    pub(crate) fn sample() -> Gallery {
        let mut gallery = Gallery::new([7; 32], 16);
        for (name, seeds) in [("Zoë", &[1u64, 2][..]), ("Ada", &[4]), ("Grace Hopper", &[5, 6, 7])] {
            gallery.insert(person(name, seeds, 16)).expect("within bounds");
        }
        gallery
    }

    #[test]
    fn a_gallery_comes_back_as_it_was() {
        let gallery = sample();
        assert_eq!(
            gallery.persons().iter().map(|p| p.name.as_str()).collect::<Vec<_>>(),
            ["Ada", "Grace Hopper", "Zoë"]
        );
        let bytes = gallery.encode();
        assert_eq!(Gallery::decode([7; 32], &bytes).as_ref(), Ok(&gallery));
        for n in 0..bytes.len() {
            assert!(Gallery::decode([7; 32], &bytes[..n]).is_err(), "cut to {n}");
        }
        assert!(Gallery::decode([7; 32], &[&bytes[..], b"x"].concat()).is_err());
    }

    #[test]
    fn bounds_are_kept() {
        let mut gallery = Gallery::new([0; 32], 4);
        for name in ["", " a", "a\n", &"x".repeat(65)] {
            assert!(gallery.insert(person(name, &[1], 4)).is_err(), "{name:?}");
        }
        assert!(gallery.insert(person("a", &[], 4)).is_err());
        assert!(gallery.insert(person("a", &[1; 33], 4)).is_err());
        assert!(gallery.insert(person("a", &[1], 5)).is_err());
        assert!(gallery.insert(Person { consent: " ".into(), ..person("a", &[1], 4) }).is_err());
        gallery.insert(person("a", &[1], 4)).expect("sound");
        gallery.insert(person("a", &[1, 2], 4)).expect("sound");
        assert_eq!((gallery.persons().len(), gallery.templates()), (1, 2));
        assert!(gallery.remove("b").is_none());
        assert!(gallery.remove("a").is_some());
        assert!(gallery.persons().is_empty());
    }

    #[test]
    fn nothing_prints_a_template() {
        let gallery = sample();
        let number = gallery.persons()[0].templates[0].0[0].to_string();
        assert!(number.len() > 3);
        for text in
            [format!("{gallery:?}"), format!("{:#?}", gallery.persons()[0]), format!("{:?}", Index::new(&gallery))]
        {
            assert!(!text.contains(&number), "{text}");
        }
    }

    #[test]
    fn a_search_compares_every_template_and_takes_each_persons_best() {
        let gallery = sample();
        let index = Index::new(&gallery);
        assert_eq!(index.bytes(), 6 * 16 * 2);
        let mut out = Vec::new();
        for seed in 0..9 {
            let query = face(seed, 16);
            index.search(&query, &mut out);
            let slow: Vec<f32> = gallery
                .persons()
                .iter()
                .map(|p| p.templates.iter().map(|t| t.cosine(&query)).fold(-1.0, f32::max))
                .collect();
            assert_eq!(out, slow);
        }
        index.search(&face(1, 8), &mut out);
        assert_eq!(out, [0.0; 3]);
    }

    proptest! {
        #[test]
        fn fixed_point_is_nearer_than_a_thousandth(a in prop::collection::vec(-1f32..1.0, 128), b in prop::collection::vec(-1f32..1.0, 128)) {
            if let (Some(a), Some(b)) = (Embedding::normalised(&a), Embedding::normalised(&b)) {
                let fixed = Template::of(&a).cosine(&Template::of(&b));
                prop_assert!((fixed - a.cosine(&b)).abs() < 2e-4);
                prop_assert!(Template::from_fixed(&Template::of(&a).0).is_some());
            }
        }

        #[test]
        fn no_sum_overflows(axis in 0usize..128, sign in prop::bool::ANY) {
            // The longest vectors there are: all in one component, or evenly spread.
            let mut raw = vec![0.0; 128];
            raw[axis] = if sign { 1.0 } else { -1.0 };
            let even = Template::of(&Embedding::normalised(&vec![raw[axis]; 128]).expect("a direction"));
            let one = Template::of(&Embedding::normalised(&raw).expect("a direction"));
            prop_assert!((one.cosine(&one) - 1.0).abs() < 1e-4);
            prop_assert!((even.cosine(&even) - 1.0).abs() < 2e-3);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Gallery::decode([0; 32], &bytes);
        }
    }
}
