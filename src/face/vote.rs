//! Whose track it is: evidence, face by face. Pure, in stream time.
//!
//! Each face that passed the gate says for every person how like it is to them. What lies above the threshold speaks for a
//! person, what lies below speaks against, both weighted by the face's quality. Evidence adds up; a name is given when it
//! suffices, rests on at least two faces, and leads before every other person's. So two clear faces, a fifth of a second
//! apart, are enough, doubtful ones take longer, and a single one is never enough (but for a source that has only one
//! picture). A name that was given goes when the evidence for it is used up, or somebody else's overtakes it. Evidence is
//! bounded, so that no long look at one person outvotes the next who continues the track for more than a few faces.

use crate::frame::MonoNs;

/// When to name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Likeness at which a face speaks neither for nor against (`faces.match`). Default .45.
    pub threshold: f32,
    /// A face this much above it speaks with weight 1. Default .1.
    pub scale: f32,
    /// Evidence that suffices. Default 1.
    pub enough: f32,
    /// How far it must lead. Default .5.
    pub lead: f32,
    /// Faces it must rest on. Default 2; 1 for a source of one picture.
    pub faces: u32,
    /// Most one face can say. Default 1.5.
    pub loudest: f32,
    /// Most evidence there can be. Default 3.
    pub most: f32,
    /// Evidence lost in a second without a face, while there is no name. Default .1.
    pub fades: f32,
    /// Likeness by which a face must prefer a person to the next, to speak for them. Default .05.
    pub margin: f32,
    /// Good faces after which somebody whom nobody is like is called unknown. Default 4; 1 for a source of one picture.
    pub unknown_after: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            threshold: 0.45,
            scale: 0.1,
            enough: 1.0,
            lead: 0.5,
            faces: 2,
            loudest: 1.5,
            most: 3.0,
            fades: 0.1,
            margin: 0.05,
            unknown_after: 4,
        }
    }
}

impl Settings {
    /// For a source with one picture: there will be no second face.
    pub fn single(self) -> Self {
        Self { faces: 1, unknown_after: 1, enough: 1e-3, lead: 0.0, ..self }
    }
}

/// A person, by their place in the gallery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PersonId(pub u32);

/// What became known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// It is this person.
    Recognized {
        /// Who.
        person: PersonId,
        /// The likest face, 0..=1.
        similarity: f32,
        /// Its likeness less that of the next person, at most its own.
        margin: f32,
        /// Faces that spoke for them.
        faces: u32,
    },
    /// It is nobody of the gallery.
    Unknown {
        /// Good faces seen.
        faces: u32,
    },
    /// It is not this person after all.
    Revoked {
        /// Who not.
        person: PersonId,
        /// Whether somebody else's evidence overtook theirs; otherwise later faces are not like them.
        overtaken: bool,
    },
}

#[derive(Clone, Copy, Debug)]
struct Belief {
    person: PersonId,
    evidence: f32,
    faces: u32,
    similarity: f32,
    margin: f32,
}

/// The evidence of one track.
#[derive(Clone, Debug)]
pub struct Vote {
    settings: Settings,
    beliefs: Vec<Belief>,
    named: Option<PersonId>,
    unknown_told: bool,
    seen: u32,
    last: Option<MonoNs>,
}

impl Vote {
    /// Nothing known.
    pub fn new(settings: Settings) -> Self {
        Self { settings, beliefs: Vec::new(), named: None, unknown_told: false, seen: 0, last: None }
    }

    /// The name in force.
    pub fn named(&self) -> Option<PersonId> {
        self.named
    }

    /// Whether it was called unknown, and still is.
    pub fn is_unknown(&self) -> bool {
        self.unknown_told && self.named.is_none()
    }

    /// The person may not be named any more (removed, expired). True if they were.
    pub fn forget(&mut self, person: PersonId) -> bool {
        self.beliefs.retain(|b| b.person != person);
        let was = self.named == Some(person);
        if was {
            self.named = None;
        }
        was
    }

    /// The gallery was replaced: `place` says which person is where now; evidence for those who are gone goes with them.
    /// Gives who was named and is gone.
    pub fn rearrange(&mut self, place: impl Fn(PersonId) -> Option<PersonId>) -> Option<PersonId> {
        self.beliefs.retain_mut(|belief| match place(belief.person) {
            Some(person) => {
                belief.person = person;
                true
            }
            None => false,
        });
        let before = self.named;
        self.named = before.and_then(place);
        // Whoever was unknown may have been enrolled meanwhile.
        self.unknown_told = self.unknown_told && self.named.is_none();
        before.filter(|_| self.named.is_none())
    }

    /// One good face: the likeness to each person (`None`: may not be matched) and the face's quality, 0..=1. Tells what
    /// that changes: at most a revocation and a new verdict.
    pub fn face(&mut self, at: MonoNs, likeness: &[Option<f32>], quality: f32) -> [Option<Verdict>; 2] {
        let s = self.settings;
        let seconds = self.last.map_or(0.0, |t| at.ms_since(t) as f32 / 1000.0);
        self.last = Some(at);
        self.seen = self.seen.saturating_add(1);
        let weight = 0.4 + 0.6 * quality.clamp(0.0, 1.0);
        let speaks = |likeness: f32| {
            // A NaN says nothing.
            let e = (likeness - s.threshold) / s.scale;
            if e.is_nan() { 0.0 } else { e.clamp(-s.loudest, s.loudest) * weight }
        };
        let mut best: Option<(PersonId, f32)> = None;
        let mut next = 0f32;
        for (i, &likeness) in likeness.iter().enumerate() {
            let Some(likeness) = likeness else { continue };
            match best {
                Some((_, b)) if likeness.total_cmp(&b).is_le() => next = next.max(likeness),
                _ => {
                    next = best.map_or(0.0, |(_, b)| b.max(0.0));
                    best = Some((PersonId(i as u32), likeness));
                }
            }
        }
        let preferred = best.filter(|(_, likeness)| *likeness >= s.threshold && likeness - next >= s.margin);
        for belief in &mut self.beliefs {
            if self.named.is_none() {
                belief.evidence = (belief.evidence - s.fades * seconds).max(0.0);
            }
            let likeness = likeness.get(belief.person.0 as usize).copied().flatten();
            let says = likeness.map_or(0.0, speaks);
            // What does not prefer a person may speak against them, not for them.
            let says = if preferred.is_some_and(|(p, _)| p == belief.person) { says } else { says.min(0.0) };
            belief.evidence = (belief.evidence + says).min(s.most);
            if let (true, Some(likeness)) = (says > 0.0, likeness) {
                belief.faces = belief.faces.saturating_add(1);
                if likeness > belief.similarity {
                    (belief.similarity, belief.margin) = (likeness, likeness - next);
                }
            }
        }
        if let Some((person, likeness)) = preferred
            && !self.beliefs.iter().any(|b| b.person == person)
        {
            let evidence = speaks(likeness);
            self.beliefs.push(Belief { person, evidence, faces: 1, similarity: likeness, margin: likeness - next });
        }
        self.decide(best.map(|(_, likeness)| likeness))
    }

    fn decide(&mut self, likest: Option<f32>) -> [Option<Verdict>; 2] {
        let s = self.settings;
        let leader = self.beliefs.iter().copied().max_by(|a, b| a.evidence.total_cmp(&b.evidence));
        let of = |person| self.beliefs.iter().find(|b| b.person == person).map_or(0.0, |b| b.evidence);
        let mut told = [None; 2];
        if let Some(named) = self.named {
            let own = of(named);
            let overtaken = leader.is_some_and(|l| l.person != named && l.evidence >= own + s.lead.max(1e-3));
            if own <= 0.0 || overtaken {
                told[0] = Some(Verdict::Revoked { person: named, overtaken });
                self.named = None;
                self.unknown_told = false;
                self.seen = 1;
                // To be named again, a person must be seen again.
                for belief in self.beliefs.iter_mut().filter(|b| b.person == named) {
                    (belief.faces, belief.similarity, belief.margin) = (0, 0.0, 0.0);
                }
            }
        }
        self.beliefs.retain(|b| b.evidence > 0.0);
        let second = leader.map_or(0.0, |l| {
            self.beliefs.iter().filter(|b| b.person != l.person).map(|b| b.evidence).fold(0.0, f32::max)
        });
        let Some(leader) = leader.filter(|l| l.evidence > 0.0) else {
            let nobody = likest.is_none_or(|l| l < s.threshold);
            if self.named.is_none() && !self.unknown_told && nobody && self.seen >= s.unknown_after {
                self.unknown_told = true;
                told[1] = Some(Verdict::Unknown { faces: self.seen });
            }
            return told;
        };
        let sure = leader.evidence >= s.enough && leader.faces >= s.faces && leader.evidence - second >= s.lead;
        if self.named.is_none() && sure {
            self.named = Some(leader.person);
            told[1] = Some(Verdict::Recognized {
                person: leader.person,
                similarity: leader.similarity,
                margin: leader.margin,
                faces: leader.faces,
            });
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ms: u64) -> MonoNs {
        MonoNs(ms * 1_000_000)
    }

    /// Faces every 200 ms, and what was said at each.
    fn tell(vote: &mut Vote, faces: &[&[f32]]) -> Vec<Vec<Verdict>> {
        faces
            .iter()
            .enumerate()
            .map(|(i, f)| {
                let likeness: Vec<_> = f.iter().copied().map(Some).collect();
                vote.face(at(200 * i as u64), &likeness, 0.8).into_iter().flatten().collect()
            })
            .collect()
    }

    #[test]
    fn two_clear_faces_name_and_one_does_not() {
        let mut vote = Vote::new(Settings::default());
        let told = tell(&mut vote, &[&[0.8, 0.1], &[0.7, 0.2], &[0.8, 0.1]]);
        assert_eq!(told[0], []);
        let Verdict::Recognized { person, similarity, margin, faces } = told[1][0] else { panic!("{told:?}") };
        assert_eq!((person, similarity, faces), (PersonId(0), 0.8, 2));
        assert!((margin - 0.7).abs() < 1e-6);
        assert_eq!(told[2], [], "said once");
        assert_eq!(vote.named(), Some(PersonId(0)));
    }

    #[test]
    fn doubtful_faces_take_longer() {
        let mut vote = Vote::new(Settings::default());
        let told = tell(&mut vote, &[&[0.49, 0.1][..]; 8]);
        let first = told.iter().position(|t| !t.is_empty());
        assert!(first.is_some_and(|i| (2..6).contains(&i)), "{first:?}");
    }

    #[test]
    fn two_who_look_alike_are_not_told_apart_by_a_hair() {
        let mut vote = Vote::new(Settings::default());
        assert!(tell(&mut vote, &[&[0.62, 0.60][..]; 10]).iter().flatten().next().is_none());
    }

    #[test]
    fn a_stranger_is_unknown_once() {
        let mut vote = Vote::new(Settings::default());
        let told = tell(&mut vote, &[&[0.2, 0.1][..]; 9]);
        let said: Vec<_> = told.into_iter().flatten().collect();
        assert_eq!(said, [Verdict::Unknown { faces: 4 }]);
        assert!(vote.is_unknown());
        // An empty gallery knows nobody.
        let mut vote = Vote::new(Settings::default());
        assert_eq!(tell(&mut vote, &[&[][..]; 5]).into_iter().flatten().count(), 1);
    }

    #[test]
    fn a_name_goes_when_the_faces_are_no_longer_theirs() {
        let mut vote = Vote::new(Settings::default());
        let mut faces: Vec<&[f32]> = vec![&[0.8, 0.1]; 20];
        faces.extend([&[0.1, 0.75][..]; 10]);
        let said: Vec<_> = tell(&mut vote, &faces)
            .into_iter()
            .enumerate()
            .flat_map(|(i, v)| v.into_iter().map(move |v| (i, v)))
            .collect();
        let [
            (_, Verdict::Recognized { person: PersonId(0), .. }),
            (gone, Verdict::Revoked { person: PersonId(0), .. }),
            (new, Verdict::Recognized { person: PersonId(1), .. }),
        ] = said[..]
        else {
            panic!("{said:?}")
        };
        assert!(gone <= 23 && new <= 24, "{gone} {new}");
    }

    #[test]
    fn one_odd_face_does_not_take_a_name_away() {
        let mut vote = Vote::new(Settings::default());
        let said = tell(&mut vote, &[&[0.8], &[0.8], &[0.8], &[0.2], &[0.8]]);
        assert_eq!(said.into_iter().flatten().count(), 1);
    }

    #[test]
    fn who_may_not_be_matched_is_not() {
        let mut vote = Vote::new(Settings::default());
        for i in 0..10 {
            let told = vote.face(at(i * 200), &[None, Some(0.1)], 1.0);
            assert!(!told.iter().flatten().any(|v| matches!(v, Verdict::Recognized { .. })));
        }
        let mut vote = Vote::new(Settings::default());
        tell(&mut vote, &[&[0.9, 0.1][..]; 3]);
        assert!(vote.forget(PersonId(0)) && !vote.forget(PersonId(0)));
        assert_eq!(vote.named(), None);
    }

    #[test]
    fn one_picture_is_enough_where_there_is_only_one() {
        let mut vote = Vote::new(Settings::default().single());
        let told = tell(&mut vote, &[&[0.6, 0.1]]);
        assert!(matches!(told[0][..], [Verdict::Recognized { faces: 1, .. }]));
        let mut vote = Vote::new(Settings::default().single());
        assert_eq!(tell(&mut vote, &[&[0.3]])[0], [Verdict::Unknown { faces: 1 }]);
    }

    proptest! {
        #[test]
        fn laws_of_any_history(
            faces in prop::collection::vec((prop::collection::vec(-1f32..1.0, 3), 0f32..1.0, 0u64..3000), 0..60),
        ) {
            let settings = Settings::default();
            let mut vote = Vote::new(settings);
            let (mut now, mut named, mut above) = (0, None, [0u32; 3]);
            for (likeness, quality, pause) in faces {
                now += pause;
                for (n, l) in above.iter_mut().zip(&likeness) {
                    *n += u32::from(*l >= settings.threshold);
                }
                let options: Vec<_> = likeness.iter().copied().map(Some).collect();
                for verdict in vote.face(at(now), &options, quality).into_iter().flatten() {
                    match verdict {
                        Verdict::Recognized { person, similarity, margin, faces } => {
                            prop_assert_eq!(named, None, "named twice");
                            // Never on one face, never on a face below the threshold.
                            prop_assert!(faces >= 2 && above[person.0 as usize] >= faces);
                            prop_assert!((settings.threshold..=1.0).contains(&similarity));
                            prop_assert!((settings.margin..=similarity).contains(&margin));
                            named = Some(person);
                        }
                        Verdict::Revoked { person, .. } => {
                            prop_assert_eq!(named, Some(person), "revoked without a name");
                            named = None;
                        }
                        Verdict::Unknown { faces } => prop_assert!(named.is_none() && faces >= settings.unknown_after),
                    }
                }
                prop_assert_eq!(named, vote.named());
            }
        }

        #[test]
        fn strangers_are_never_named(likeness in prop::collection::vec(prop::collection::vec(-1f32..0.4499, 4), 0..60)) {
            let mut vote = Vote::new(Settings::default());
            for (i, face) in likeness.iter().enumerate() {
                let options: Vec<_> = face.iter().copied().map(Some).collect();
                for verdict in vote.face(at(i as u64 * 200), &options, 1.0).into_iter().flatten() {
                    prop_assert!(matches!(verdict, Verdict::Unknown { .. }), "{:?}", verdict);
                }
            }
        }
    }
}
