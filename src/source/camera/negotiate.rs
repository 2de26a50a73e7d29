//! Which mode of a camera is asked for. Pure: it sees what a camera offers and what is wanted, and no device.
//!
//! **The rule.** Of the wanted format, if one is given:
//! 1. the size: exactly the wanted one, else the smallest that covers it, else the largest;
//! 2. of those, what reaches the wanted rate (99 % of it will do: 29.97 is good enough for 30), else what comes closest;
//! 3. of those, what is cheapest to decode: NV12, YU12, YUYV, UYVY, MJPG; GREY last, because it has no colour.
//!
//! Of the rates of a mode the slowest is taken that reaches the wanted one: frames that nobody looks at cost bus and processor.
//!
//! Where a USB bus had no room ([`Wish::thrift`]), MJPG comes first instead, and then the rate is halved, and halved again.

use super::sys::Colour;
use crate::frame::{MonoNs, PixelFormat, Range};
use crate::geom::Size;

/// A rate is reached at this part of it.
const REACHED: f64 = 0.99;

/// Four letters that name a pixel format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FourCc(pub [u8; 4]);

impl std::fmt::Display for FourCc {
    /// As the kernel's documentation writes it: `Y16-BE` for the big-endian kin of `Y16 `.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c, d] = self.0;
        let letters = [a, b, c, d & 0x7f];
        let end = if d & 0x80 == 0 { "" } else { "-BE" };
        write!(f, "{}{end}", letters.trim_ascii_end().escape_ascii())
    }
}

/// Seconds from frame to frame, as a fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// Numerator.
    pub num: u32,
    /// Denominator.
    pub den: u32,
}

impl Interval {
    /// Frames per second; `None` when that is no number above 0.
    pub fn rate(self) -> Option<f64> {
        (self.num > 0 && self.den > 0).then(|| f64::from(self.den) / f64::from(self.num))
    }

    /// For a rate, to the thousandth.
    pub fn of_rate(fps: f64) -> Self {
        let rounded = fps.round();
        if (fps - rounded).abs() < 1e-3 {
            return Self { num: 1, den: rounded.clamp(1.0, 1000.0) as u32 };
        }
        // A number that is none becomes the slowest.
        Self { num: 1000, den: ((fps * 1000.0).round().clamp(1.0, 1e6) as u32).max(1) }
    }
}

/// The formats that are read, the cheapest to decode first.
pub(super) const FORMATS: [(FourCc, PixelFormat); 6] = [
    (FourCc(*b"NV12"), PixelFormat::Nv12),
    (FourCc(*b"YU12"), PixelFormat::I420),
    (FourCc(*b"YUYV"), PixelFormat::Yuyv),
    (FourCc(*b"UYVY"), PixelFormat::Uyvy),
    (FourCc(*b"MJPG"), PixelFormat::Mjpg),
    (FourCc(*b"GREY"), PixelFormat::Grey),
];

/// The format that a code names; `None` for those that are not read.
pub(super) fn format_of(code: FourCc) -> Option<PixelFormat> {
    // Some drivers say JPEG where others say MJPG.
    let code = if code == FourCc(*b"JPEG") { FourCc(*b"MJPG") } else { code };
    FORMATS.iter().find(|(known, _)| *known == code).map(|(_, format)| *format)
}

/// Position in the order of cost.
fn cost(format: PixelFormat, thrift: u32) -> usize {
    if thrift > 0 && format == PixelFormat::Mjpg {
        return 0;
    }
    1 + FORMATS.iter().position(|(_, known)| *known == format).unwrap_or(FORMATS.len())
}

/// What is wanted of a camera.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wish {
    /// This format and no other; `None`: any.
    pub format: Option<PixelFormat>,
    /// Width and height.
    pub size: Size,
    /// Frames per second.
    pub fps: f64,
    /// Bytes from row to row to ask for; 0, the usual: as few as the driver can. For tests of padded rows.
    pub stride: u32,
    /// How often a bus had no room for it.
    pub thrift: u32,
}

impl Default for Wish {
    fn default() -> Self {
        Self { format: None, size: Size::new(1280, 720), fps: 15.0, stride: 0, thrift: 0 }
    }
}

impl Wish {
    /// The rate to aim at: halved for every time after the first that a bus had no room.
    pub fn rate(&self) -> f64 {
        self.fps / f64::from(1u32 << self.thrift.saturating_sub(1).min(4))
    }
}

/// The frame rates of a mode.
#[derive(Clone, Debug, PartialEq)]
pub enum Rates {
    /// The driver does not say.
    Unsaid,
    /// These, highest first; at least one.
    List(Vec<f64>),
    /// Anything from the first to the second.
    Range(f64, f64),
}

impl Rates {
    /// Of what was found; absurd numbers are left out.
    pub(super) fn of_list(mut found: Vec<f64>) -> Self {
        found.retain(|fps| fps.is_finite() && *fps > 0.0);
        found.sort_by(|a, b| b.total_cmp(a));
        found.dedup();
        if found.is_empty() { Self::Unsaid } else { Self::List(found) }
    }
}

/// One combination that a camera offers.
#[derive(Clone, Debug, PartialEq)]
pub struct Mode {
    /// Pixel format.
    pub format: PixelFormat,
    /// Its code, as the driver spells it.
    pub code: FourCc,
    /// Width and height.
    pub size: Size,
    /// Frame rates.
    pub rates: Rates,
}

impl Mode {
    /// The slowest rate that still reaches `wanted`, else the fastest; `wanted` when the driver does not say.
    pub fn rate_for(&self, wanted: f64) -> f64 {
        match &self.rates {
            Rates::Unsaid => wanted,
            Rates::Range(slowest, fastest) => wanted.min(*fastest).max(*slowest),
            Rates::List(list) => {
                let reaching = list.iter().copied().filter(|fps| *fps >= wanted * REACHED);
                reaching.reduce(f64::min).or(list.first().copied()).unwrap_or(wanted)
            }
        }
    }
}

/// The mode that the rule (see the top of this file) takes, and why. `None` when nothing offered can be read.
pub fn choose<'a>(modes: &'a [Mode], wish: &Wish) -> Option<(&'a Mode, String)> {
    let wanted = wish.rate();
    let size_class = |size: Size| {
        let (width, height) = (wish.size.width, wish.size.height);
        match (size == wish.size, size.width >= width && size.height >= height) {
            (true, _) => (0, 0),
            (false, true) => (1, size.pixels() as u64),
            (false, false) => (2, u64::MAX - size.pixels() as u64),
        }
    };
    // 0 when the rate is reached, else more the further it is missed, in steps of a tenth.
    let short = |mode: &Mode| match mode.rate_for(wanted) {
        rate if rate >= wanted * REACHED => 0,
        rate => 1 + ((wanted - rate) * 10.0 / wanted.max(0.1)) as u64,
    };
    let able = modes.iter().filter(|mode| wish.format.is_none_or(|format| format == mode.format));
    let best = able.min_by_key(|mode| (size_class(mode.size), short(mode), cost(mode.format, wish.thrift)))?;
    let size = match size_class(best.size).0 {
        0 => "the wanted size",
        1 => "the smallest size that covers the wanted one",
        _ => "the largest size",
    };
    let rate = if short(best) == 0 { "reaches the rate" } else { "comes closest to the rate" };
    let thrift = match wish.thrift {
        0 => "cheapest to decode of those",
        1 => "compressed if possible, for the bus had no room",
        _ => "compressed and slower, for the bus had no room",
    };
    Some((best, format!("{size}, {rate}, {thrift}")))
}

/// Luma range: as the driver says, else what is usual for the format.
pub(super) fn range_of(format: PixelFormat, colour: Colour) -> Range {
    match (colour, format) {
        (Colour::Full | Colour::Jpeg, _) | (Colour::Unsaid, PixelFormat::Grey | PixelFormat::Mjpg) => Range::Full,
        (Colour::Limited | Colour::Unsaid, _) => Range::Limited,
    }
}

/// The driver's time if it is near `now`, else `now`; always later than `last`, because stages divide by differences.
pub(super) fn believable(driver: Option<MonoNs>, now: MonoNs, last: MonoNs) -> MonoNs {
    /// A driver's time stamp further than this from now is not believed, nanoseconds.
    const BELIEVABLE: u64 = 10_000_000_000;
    let at = driver.filter(|at| at.0 > last.0 && at.0.abs_diff(now.0) <= BELIEVABLE).unwrap_or(now);
    MonoNs(at.0.max(last.0.saturating_add(1)))
}

/// A 32-bit counter as one that does not wrap. A step back (the driver began again) counts as one frame on.
pub(super) fn unwrap_sequence(state: &mut Option<(u32, u64)>, sequence: u32) -> u64 {
    let wide = match *state {
        None => u64::from(sequence),
        Some((last, wide)) => match sequence.wrapping_sub(last) {
            step @ 1..=0x7fff_ffff => wide + u64::from(step),
            _ => wide + 1,
        },
    };
    *state = Some((sequence, wide));
    wide
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mode(format: PixelFormat, width: u32, height: u32, fps: &[f64]) -> Mode {
        let code = FORMATS.iter().find(|(_, known)| *known == format).unwrap().0;
        Mode { format, code, size: Size::new(width, height), rates: Rates::of_list(fps.to_vec()) }
    }

    fn wish(width: u32, height: u32, fps: f64) -> Wish {
        Wish { size: Size::new(width, height), fps, ..Wish::default() }
    }

    /// A usual USB camera: raw only where the bus allows it.
    fn usb() -> Vec<Mode> {
        vec![
            mode(PixelFormat::Yuyv, 640, 480, &[30.0, 15.0]),
            mode(PixelFormat::Yuyv, 1280, 720, &[10.0, 5.0]),
            mode(PixelFormat::Mjpg, 640, 480, &[30.0]),
            mode(PixelFormat::Mjpg, 1280, 720, &[30.0, 15.0]),
            mode(PixelFormat::Mjpg, 1920, 1080, &[30.0]),
            mode(PixelFormat::Grey, 640, 480, &[30.0]),
        ]
    }

    #[test]
    fn the_mode_is_the_cheapest_that_reaches_size_and_rate() {
        let chosen = |wish: Wish| choose(&usb(), &wish).map(|(mode, _)| (mode.format, mode.size)).unwrap();
        assert_eq!(chosen(wish(640, 480, 30.0)), (PixelFormat::Yuyv, Size::new(640, 480)));
        assert_eq!(chosen(wish(1280, 720, 15.0)), (PixelFormat::Mjpg, Size::new(1280, 720)), "yuyv is too slow");
        assert_eq!(chosen(wish(1280, 720, 5.0)), (PixelFormat::Yuyv, Size::new(1280, 720)));
        assert_eq!(chosen(wish(800, 600, 15.0)), (PixelFormat::Mjpg, Size::new(1280, 720)), "covers it");
        assert_eq!(chosen(wish(3840, 2160, 15.0)), (PixelFormat::Mjpg, Size::new(1920, 1080)), "the largest");
        let grey = Wish { format: Some(PixelFormat::Grey), ..wish(1280, 720, 15.0) };
        assert_eq!(chosen(grey).0, PixelFormat::Grey);
        let nv12 = Wish { format: Some(PixelFormat::Nv12), ..Wish::default() };
        assert!(choose(&usb(), &nv12).is_none() && choose(&[], &Wish::default()).is_none());
        let rate = |rates: Rates, wanted| Mode { rates, ..mode(PixelFormat::Yuyv, 1, 1, &[]) }.rate_for(wanted);
        assert_eq!(rate(Rates::List(vec![60.0, 30.0, 15.0]), 20.0), 30.0);
        assert_eq!(rate(Rates::List(vec![29.97]), 30.0), 29.97);
        assert_eq!((rate(Rates::Unsaid, 30.0), rate(Rates::Range(1.0, 25.0), 30.0)), (30.0, 25.0));
        assert_eq!((rate(Rates::Range(5.0, 25.0), 7.3), rate(Rates::Range(5.0, 25.0), 1.0)), (7.3, 5.0));
    }

    #[test]
    fn a_bus_without_room_gets_less() {
        let thrifty = |thrift| Wish { thrift, ..wish(640, 480, 30.0) };
        assert_eq!(choose(&usb(), &thrifty(1)).unwrap().0.format, PixelFormat::Mjpg);
        assert_eq!([0, 1, 2, 3, 40].map(|thrift| thrifty(thrift).rate()), [30.0, 30.0, 15.0, 7.5, 1.875]);
    }

    #[test]
    fn driver_time_is_believed_only_when_it_can_be_true() {
        let now = MonoNs(100_000_000_000);
        let last = MonoNs(99_000_000_000);
        assert_eq!(believable(Some(MonoNs(99_950_000_000)), now, last), MonoNs(99_950_000_000));
        for absurd in [None, Some(MonoNs(0)), Some(last), Some(MonoNs(98_000_000_000)), Some(MonoNs(u64::MAX))] {
            assert_eq!(believable(absurd, now, last), now, "{absurd:?}");
        }
        assert_eq!(believable(None, now, now), MonoNs(now.0 + 1), "time moves on");
    }

    #[test]
    fn the_sequence_survives_its_wrap_and_a_restart() {
        let mut state = None;
        let wide: Vec<_> =
            [u32::MAX - 1, u32::MAX, 0, 3, 3, 0].map(|sequence| unwrap_sequence(&mut state, sequence)).into();
        let first = u64::from(u32::MAX) - 1;
        assert_eq!(wide, [first, first + 1, first + 2, first + 5, first + 6, first + 7]);
    }

    #[test]
    fn rates_become_frame_intervals() {
        let pair = |fps| (Interval::of_rate(fps).num, Interval::of_rate(fps).den);
        assert_eq!([pair(30.0), pair(29.97), pair(7.5)], [(1, 30), (1000, 29970), (1000, 7500)]);
        assert_eq!((pair(0.0), pair(f64::NAN)), ((1, 1), (1000, 1)));
        assert_eq!((Interval { num: 0, den: 30 }.rate(), Interval { num: 1, den: 0 }.rate()), (None, None));
        assert_eq!(Rates::of_list(vec![f64::NAN, -1.0, 0.0]), Rates::Unsaid);
    }

    #[test]
    fn codes_are_written_as_the_kernel_does() {
        let shown = |code: &[u8; 4]| FourCc(*code).to_string();
        assert_eq!(
            [shown(b"YUYV"), shown(b"Y16 "), shown(b"Y16\xa0"), shown(b"A\nB\0")],
            ["YUYV", "Y16", "Y16-BE", "A\\nB\\x00"]
        );
    }

    #[test]
    fn the_range_is_as_said_else_as_usual() {
        assert_eq!(range_of(PixelFormat::Yuyv, Colour::Unsaid), Range::Limited);
        assert_eq!(range_of(PixelFormat::Yuyv, Colour::Jpeg), Range::Full);
        assert_eq!(range_of(PixelFormat::Grey, Colour::Unsaid), Range::Full);
        assert_eq!(range_of(PixelFormat::Grey, Colour::Limited), Range::Limited);
        assert_eq!(range_of(PixelFormat::Mjpg, Colour::Unsaid), Range::Full);
    }

    fn any_mode() -> impl Strategy<Value = Mode> {
        let rates = prop_oneof![
            prop::collection::vec(prop_oneof![1.0..120.0f64, Just(f64::NAN), Just(0.0)], 0..4).prop_map(Rates::of_list),
            (0.1..30.0f64, 0.0..90.0f64).prop_map(|(slowest, more)| Rates::Range(slowest, slowest + more)),
        ];
        (0usize..6, 1u32..5, 1u32..5, rates).prop_map(|(format, width, height, rates)| {
            let (code, format) = FORMATS[format];
            Mode { format, code, size: Size::new(width * 320, height * 240), rates }
        })
    }

    proptest! {
        /// The rule, from the other side: of any set of modes, none would have been better in the order size, rate, cost; the
        /// order of the set does not matter but among equals; a mode is found if one fits.
        #[test]
        fn no_mode_beats_the_chosen_one(
            modes in prop::collection::vec(any_mode(), 0..14), side in 1u32..5, fps in 0.5..90.0f64,
            only in prop::option::of(0usize..6), thrift in 0u32..4,
        ) {
            let format = only.map(|index| FORMATS[index].1);
            let wish = Wish { format, thrift, ..wish(side * 320, side * 240, fps) };
            let able: Vec<_> = modes.iter().filter(|m| format.is_none_or(|f| f == m.format)).collect();
            let chosen = choose(&modes, &wish);
            prop_assert_eq!(chosen.is_some(), !able.is_empty());
            if let Some((best, why)) = chosen {
                prop_assert!(!why.is_empty() && able.contains(&best));
                let covers = |m: &Mode| m.size.width >= wish.size.width && m.size.height >= wish.size.height;
                let reaches = |m: &Mode| m.rate_for(wish.rate()) >= wish.rate() * REACHED;
                for other in able {
                    if other.size == wish.size {
                        prop_assert_eq!(best.size, wish.size);
                    }
                    if covers(other) {
                        prop_assert!(covers(best) && (best.size == wish.size || best.size.pixels() <= other.size.pixels()));
                    }
                    if other.size == best.size && reaches(other) {
                        prop_assert!(reaches(best));
                        prop_assert!(cost(best.format, thrift) <= cost(other.format, thrift), "{:?} {:?}", best, other);
                    }
                }
                let rate = best.rate_for(wish.rate());
                prop_assert!(rate.is_finite() && rate > 0.0);
            }
            let mut turned = modes.clone();
            turned.reverse();
            let key = |found: Option<(&Mode, String)>| found.map(|(m, _)| (m.format, m.size.pixels()));
            prop_assert_eq!(key(choose(&modes, &wish)), key(choose(&turned, &wish)));
        }
    }
}
