//! The few vector operations that [`super`] is made of, for each kind of processor.
//!
//! A vector is 32 bytes in two halves of 16, and no operation crosses the halves: that is what AVX2 does by itself, and what two
//! registers of SSE or NEON do together. The kernel is written once, over [`Level`]; [`Plain`] says in arrays what each
//! operation means, and the others must agree with it bit for bit.
//!
//! Everything here is inlined into the one function that [`Machine::run`] enters with the processor's features switched on:
//! what is not inlined there would be compiled without them.

use bytemuck::cast;

/// 32 bytes where a vector is loaded at once.
#[derive(Clone, Copy, Default)]
#[repr(C, align(32))]
pub(super) struct Bytes(pub(super) [u8; 32]);

/// What one kind of processor can do.
pub(super) trait Level: Copy {
    /// 32 bytes or 16 signed 16-bit values.
    type V: Copy;
    /// Floats, all the same.
    type F: Copy;

    /// From memory.
    fn load(self, from: &Bytes) -> Self::V;
    /// To memory.
    fn store(self, v: Self::V) -> Bytes;
    /// Of two places in memory.
    fn halves(self, low: &[u8; 16], high: &[u8; 16]) -> Self::V;
    /// The same, of which the compiler does not know that it comes from memory: it would rather load 32-bit values for each use
    /// of [`Level::high`] and pack them.
    #[inline(always)]
    fn kept(self, v: Self::V) -> Self::V {
        v
    }
    /// A 16-bit value everywhere.
    fn word(self, value: i16) -> Self::V;
    /// The floats.
    fn float(self, value: f32) -> Self::F;
    /// The bytes of each half at those places of the same half; 0 where a place is 128 or more.
    fn shuffle(self, v: Self::V, places: Self::V) -> Self::V;
    /// Both.
    fn or(self, a: Self::V, b: Self::V) -> Self::V;
    /// Where they differ.
    fn xor(self, a: Self::V, b: Self::V) -> Self::V;
    /// Of `a` where the mask is 255, of `b` where it is 0.
    fn select(self, mask: Self::V, a: Self::V, b: Self::V) -> Self::V;
    /// 16-bit sums that stop at the ends.
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// 16-bit products, their upper halves.
    fn high(self, a: Self::V, b: Self::V) -> Self::V;
    /// 16-bit products in 1/32768, rounded; not of -32768 and -32768.
    fn fraction(self, a: Self::V, b: Self::V) -> Self::V;
    /// Half of each 16-bit value, without a sign.
    fn half(self, v: Self::V) -> Self::V;
    /// Pairs of bytes, base then other, to `base * 128 + (base - other) * 128 * weight / 65536`, cut off downwards.
    fn mix(self, pairs: Self::V, weights: Self::V) -> Self::V;
    /// Bytes, times 256: the first eight of each half, and the last.
    fn spread(self, v: Self::V) -> [Self::V; 2];
    /// The way back for 16-bit values: divided by `1 << SHIFT`, cut off downwards, and held to a byte. `SHIFT` is 1 to 8.
    fn pack<const SHIFT: i32>(self, v: [Self::V; 2]) -> Self::V;
    /// `from * gain + bias`, in two roundings.
    fn normalise(self, from: [u8; 8], gain: Self::F, bias: Self::F) -> [f32; 8];
}

/// What NEON can shift by in [`Level::pack`], checked wherever it is compiled: most builds are for other processors.
const fn is_shift(by: i32) -> bool {
    0 < by && by <= 8
}

/// What is run on a [`Machine`].
pub(super) trait Job {
    /// Does it. Must be `inline(always)`, and what it calls too.
    fn run(self, level: impl Level);
}

/// The best level of this processor.
#[derive(Clone, Copy, Debug)]
pub(super) enum Machine {
    /// AVX2.
    #[cfg(target_arch = "x86_64")]
    V3(pulp::x86::V3),
    /// SSE4.
    #[cfg(target_arch = "x86_64")]
    V2(pulp::x86::V2),
    /// NEON.
    #[cfg(target_arch = "aarch64")]
    Neon(pulp::aarch64::Neon),
    /// Any other.
    Plain,
}

impl Machine {
    /// Every level that this processor has, the best first.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let vectors = [pulp::x86::V3::try_new().map(Self::V3), pulp::x86::V2::try_new().map(Self::V2)];
        #[cfg(target_arch = "aarch64")]
        let vectors = [pulp::aarch64::Neon::try_new().map(Self::Neon)];
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let vectors: [Option<Self>; 0] = [];
        vectors.into_iter().flatten().chain([Self::Plain])
    }

    /// The best.
    pub(super) fn detect() -> Self {
        Self::all().next().unwrap_or(Self::Plain)
    }

    /// Does the job with the level's instructions.
    pub(super) fn run(self, job: impl Job) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::V3(simd) => simd.vectorize(With { level: simd, job }),
            #[cfg(target_arch = "x86_64")]
            Self::V2(simd) => simd.vectorize(With { level: simd, job }),
            #[cfg(target_arch = "aarch64")]
            Self::Neon(simd) => simd.vectorize(With { level: simd, job }),
            Self::Plain => job.run(Plain),
        }
    }
}

/// A job and its level, for `vectorize`.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
struct With<L, J> {
    level: L,
    job: J,
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
impl<L: Level, J: Job> pulp::NullaryFnOnce for With<L, J> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        self.job.run(self.level);
    }
}

/// Two half vectors as one, each operation twice.
macro_rules! twice {
    ($half:ty) => {
        type V = [$half; 2];

        #[inline(always)]
        fn load(self, from: &Bytes) -> Self::V {
            cast(from.0)
        }

        #[inline(always)]
        fn store(self, v: Self::V) -> Bytes {
            Bytes(cast(v))
        }

        #[inline(always)]
        fn halves(self, low: &[u8; 16], high: &[u8; 16]) -> Self::V {
            [cast(*low), cast(*high)]
        }
    };
    ($($name:ident($($arg:ident),*) = $simd:ident => $body:expr;)*) => {
        $(
            #[inline(always)]
            fn $name(self, $($arg: Self::V),*) -> Self::V {
                let $simd = self;
                // No closures: one that the compiler does not inline would lose the instructions.
                [{ $(let $arg = $arg[0];)* $body }, { $(let $arg = $arg[1];)* $body }]
            }
        )*
    };
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{__m128, __m128i, __m256, __m256i};

    use super::{Bytes, Level, cast};

    impl Level for pulp::x86::V3 {
        type V = __m256i;
        type F = __m256;

        #[inline(always)]
        fn load(self, from: &Bytes) -> __m256i {
            cast(from.0)
        }

        #[inline(always)]
        fn store(self, v: __m256i) -> Bytes {
            Bytes(cast(v))
        }

        #[inline(always)]
        fn halves(self, low: &[u8; 16], high: &[u8; 16]) -> __m256i {
            self.avx._mm256_set_m128i(cast(*high), cast(*low))
        }

        #[inline(always)]
        fn kept(self, v: __m256i) -> __m256i {
            self.avx2._mm256_sign_epi16(v, self.avx._mm256_set1_epi16(1))
        }

        #[inline(always)]
        fn word(self, value: i16) -> __m256i {
            self.avx._mm256_set1_epi16(value)
        }

        #[inline(always)]
        fn float(self, value: f32) -> __m256 {
            self.avx._mm256_set1_ps(value)
        }

        #[inline(always)]
        fn shuffle(self, v: __m256i, places: __m256i) -> __m256i {
            self.avx2._mm256_shuffle_epi8(v, places)
        }

        #[inline(always)]
        fn or(self, a: __m256i, b: __m256i) -> __m256i {
            self.avx2._mm256_or_si256(a, b)
        }

        #[inline(always)]
        fn xor(self, a: __m256i, b: __m256i) -> __m256i {
            self.avx2._mm256_xor_si256(a, b)
        }

        #[inline(always)]
        fn select(self, mask: __m256i, a: __m256i, b: __m256i) -> __m256i {
            self.avx2._mm256_blendv_epi8(b, a, mask)
        }

        #[inline(always)]
        fn add(self, a: __m256i, b: __m256i) -> __m256i {
            self.avx2._mm256_adds_epi16(a, b)
        }

        #[inline(always)]
        fn high(self, a: __m256i, b: __m256i) -> __m256i {
            self.avx2._mm256_mulhi_epi16(a, b)
        }

        #[inline(always)]
        fn fraction(self, a: __m256i, b: __m256i) -> __m256i {
            self.avx2._mm256_mulhrs_epi16(a, b)
        }

        #[inline(always)]
        fn half(self, v: __m256i) -> __m256i {
            self.avx2._mm256_srli_epi16::<1>(v)
        }

        #[inline(always)]
        fn mix(self, pairs: __m256i, weights: __m256i) -> __m256i {
            let avx2 = self.avx2;
            let base = avx2._mm256_srli_epi16::<1>(avx2._mm256_slli_epi16::<8>(pairs));
            // 64 times and twice: 128 is no signed byte.
            let less = avx2._mm256_maddubs_epi16(pairs, self.avx._mm256_set1_epi16(i16::from_le_bytes([64, 192])));
            avx2._mm256_add_epi16(base, avx2._mm256_mulhi_epi16(avx2._mm256_add_epi16(less, less), weights))
        }

        #[inline(always)]
        fn spread(self, v: __m256i) -> [__m256i; 2] {
            let zero = self.avx._mm256_setzero_si256();
            [self.avx2._mm256_unpacklo_epi8(zero, v), self.avx2._mm256_unpackhi_epi8(zero, v)]
        }

        #[inline(always)]
        fn pack<const SHIFT: i32>(self, [a, b]: [__m256i; 2]) -> __m256i {
            const { assert!(super::is_shift(SHIFT)) };
            let avx2 = self.avx2;
            avx2._mm256_packus_epi16(avx2._mm256_srai_epi16::<SHIFT>(a), avx2._mm256_srai_epi16::<SHIFT>(b))
        }

        #[inline(always)]
        fn normalise(self, from: [u8; 8], gain: __m256, bias: __m256) -> [f32; 8] {
            let wide = self.avx2._mm256_cvtepu8_epi32(self.sse2._mm_set_epi64x(0, i64::from_le_bytes(from)));
            let floats = self.avx._mm256_cvtepi32_ps(wide);
            cast(self.avx._mm256_add_ps(self.avx._mm256_mul_ps(floats, gain), bias))
        }
    }

    impl Level for pulp::x86::V2 {
        type F = __m128;

        twice!(__m128i);

        twice! {
            shuffle(v, places) = simd => simd.ssse3._mm_shuffle_epi8(v, places);
            or(a, b) = simd => simd.sse2._mm_or_si128(a, b);
            xor(a, b) = simd => simd.sse2._mm_xor_si128(a, b);
            select(mask, a, b) = simd => simd.sse4_1._mm_blendv_epi8(b, a, mask);
            add(a, b) = simd => simd.sse2._mm_adds_epi16(a, b);
            high(a, b) = simd => simd.sse2._mm_mulhi_epi16(a, b);
            fraction(a, b) = simd => simd.ssse3._mm_mulhrs_epi16(a, b);
            half(v) = simd => simd.sse2._mm_srli_epi16::<1>(v);
            mix(pairs, weights) = simd => {
                let base = simd.sse2._mm_srli_epi16::<1>(simd.sse2._mm_slli_epi16::<8>(pairs));
                let signs = simd.sse2._mm_set1_epi16(i16::from_le_bytes([64, 192]));
                let less = simd.ssse3._mm_maddubs_epi16(pairs, signs);
                simd.sse2._mm_add_epi16(base, simd.sse2._mm_mulhi_epi16(simd.sse2._mm_add_epi16(less, less), weights))
            };
        }

        #[inline(always)]
        fn word(self, value: i16) -> [__m128i; 2] {
            [self.sse2._mm_set1_epi16(value); 2]
        }

        #[inline(always)]
        fn float(self, value: f32) -> __m128 {
            self.sse._mm_set1_ps(value)
        }

        #[inline(always)]
        fn spread(self, [a, b]: [__m128i; 2]) -> [[__m128i; 2]; 2] {
            let (sse2, zero) = (self.sse2, self.sse2._mm_setzero_si128());
            [
                [sse2._mm_unpacklo_epi8(zero, a), sse2._mm_unpacklo_epi8(zero, b)],
                [sse2._mm_unpackhi_epi8(zero, a), sse2._mm_unpackhi_epi8(zero, b)],
            ]
        }

        #[inline(always)]
        fn pack<const SHIFT: i32>(self, [a, b]: [[__m128i; 2]; 2]) -> [__m128i; 2] {
            const { assert!(super::is_shift(SHIFT)) };
            let sse2 = self.sse2;
            let (a0, a1) = (sse2._mm_srai_epi16::<SHIFT>(a[0]), sse2._mm_srai_epi16::<SHIFT>(a[1]));
            let (b0, b1) = (sse2._mm_srai_epi16::<SHIFT>(b[0]), sse2._mm_srai_epi16::<SHIFT>(b[1]));
            [sse2._mm_packus_epi16(a0, b0), sse2._mm_packus_epi16(a1, b1)]
        }

        #[inline(always)]
        fn normalise(self, from: [u8; 8], gain: __m128, bias: __m128) -> [f32; 8] {
            let Self { sse, sse2, sse4_1, .. } = self;
            let [a, b]: [i32; 2] = cast(from);
            let a = sse2._mm_cvtepi32_ps(sse4_1._mm_cvtepu8_epi32(sse2._mm_cvtsi32_si128(a)));
            let b = sse2._mm_cvtepi32_ps(sse4_1._mm_cvtepu8_epi32(sse2._mm_cvtsi32_si128(b)));
            cast([sse._mm_add_ps(sse._mm_mul_ps(a, gain), bias), sse._mm_add_ps(sse._mm_mul_ps(b, gain), bias)])
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use std::arch::aarch64::{float32x4_t, int16x8_t, uint8x16_t};

    use super::{Bytes, Level, cast};

    impl Level for pulp::aarch64::Neon {
        type F = float32x4_t;

        twice!(uint8x16_t);

        twice! {
            shuffle(v, places) = simd => simd.neon.vqtbl1q_u8(v, places);
            or(a, b) = simd => simd.neon.vorrq_u8(a, b);
            xor(a, b) = simd => simd.neon.veorq_u8(a, b);
            select(mask, a, b) = simd => simd.neon.vbslq_u8(mask, a, b);
            add(a, b) = simd => cast(simd.neon.vqaddq_s16(cast(a), cast(b)));
            // The instruction doubles.
            high(a, b) = simd => cast(simd.neon.vshrq_n_s16::<1>(simd.neon.vqdmulhq_s16(cast(a), cast(b))));
            fraction(a, b) = simd => cast(simd.neon.vqrdmulhq_s16(cast(a), cast(b)));
            half(v) = simd => cast(simd.neon.vshrq_n_u16::<1>(cast(v)));
            mix(pairs, weights) = simd => {
                let neon = simd.neon;
                let base: int16x8_t = cast(neon.vshrq_n_u16::<1>(neon.vshlq_n_u16::<8>(cast(pairs))));
                let other: int16x8_t = cast(neon.vshlq_n_u16::<7>(neon.vshrq_n_u16::<8>(cast(pairs))));
                cast(neon.vsraq_n_s16::<1>(base, neon.vqdmulhq_s16(neon.vsubq_s16(base, other), cast(weights))))
            };
        }

        #[inline(always)]
        fn word(self, value: i16) -> [uint8x16_t; 2] {
            [cast(self.neon.vdupq_n_s16(value)); 2]
        }

        #[inline(always)]
        fn float(self, value: f32) -> float32x4_t {
            self.neon.vdupq_n_f32(value)
        }

        #[inline(always)]
        fn spread(self, [a, b]: [uint8x16_t; 2]) -> [[uint8x16_t; 2]; 2] {
            let (neon, zero) = (self.neon, self.neon.vdupq_n_u8(0));
            [[neon.vzip1q_u8(zero, a), neon.vzip1q_u8(zero, b)], [neon.vzip2q_u8(zero, a), neon.vzip2q_u8(zero, b)]]
        }

        #[inline(always)]
        fn pack<const SHIFT: i32>(self, [a, b]: [[uint8x16_t; 2]; 2]) -> [uint8x16_t; 2] {
            let neon = self.neon;
            let (a0, a1) = (neon.vqshrun_n_s16::<SHIFT>(cast(a[0])), neon.vqshrun_n_s16::<SHIFT>(cast(a[1])));
            let (b0, b1) = (neon.vqshrun_n_s16::<SHIFT>(cast(b[0])), neon.vqshrun_n_s16::<SHIFT>(cast(b[1])));
            [neon.vcombine_u8(a0, b0), neon.vcombine_u8(a1, b1)]
        }

        #[inline(always)]
        fn normalise(self, from: [u8; 8], gain: float32x4_t, bias: float32x4_t) -> [f32; 8] {
            let neon = self.neon;
            let words = neon.vmovl_u8(neon.vcreate_u8(u64::from_le_bytes(from)));
            let a = neon.vcvtq_f32_u32(neon.vmovl_u16(neon.vget_low_u16(words)));
            let b = neon.vcvtq_f32_u32(neon.vmovl_high_u16(words));
            cast([neon.vaddq_f32(neon.vmulq_f32(a, gain), bias), neon.vaddq_f32(neon.vmulq_f32(b, gain), bias)])
        }
    }
}

/// No instructions beyond those that every processor has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plain;

/// Lane by lane.
#[inline(always)]
fn words(of: impl Fn(usize) -> i16) -> [u8; 32] {
    cast::<[i16; 16], _>(std::array::from_fn(of))
}

/// As 16-bit values.
#[inline(always)]
fn lanes(v: [u8; 32]) -> [i16; 16] {
    cast(v)
}

impl Level for Plain {
    type V = [u8; 32];
    type F = f32;

    #[inline(always)]
    fn load(self, from: &Bytes) -> [u8; 32] {
        from.0
    }

    #[inline(always)]
    fn store(self, v: [u8; 32]) -> Bytes {
        Bytes(v)
    }

    #[inline(always)]
    fn halves(self, low: &[u8; 16], high: &[u8; 16]) -> [u8; 32] {
        cast([*low, *high])
    }

    #[inline(always)]
    fn word(self, value: i16) -> [u8; 32] {
        words(|_| value)
    }

    #[inline(always)]
    fn float(self, value: f32) -> f32 {
        value
    }

    #[inline(always)]
    fn shuffle(self, v: [u8; 32], places: [u8; 32]) -> [u8; 32] {
        std::array::from_fn(|i| if places[i] < 128 { v[(i & 16) + usize::from(places[i] & 15)] } else { 0 })
    }

    #[inline(always)]
    fn or(self, a: [u8; 32], b: [u8; 32]) -> [u8; 32] {
        std::array::from_fn(|i| a[i] | b[i])
    }

    #[inline(always)]
    fn xor(self, a: [u8; 32], b: [u8; 32]) -> [u8; 32] {
        std::array::from_fn(|i| a[i] ^ b[i])
    }

    #[inline(always)]
    fn select(self, mask: [u8; 32], a: [u8; 32], b: [u8; 32]) -> [u8; 32] {
        std::array::from_fn(|i| if mask[i] == 255 { a[i] } else { b[i] })
    }

    #[inline(always)]
    fn add(self, a: [u8; 32], b: [u8; 32]) -> [u8; 32] {
        let (a, b) = (lanes(a), lanes(b));
        words(|i| a[i].saturating_add(b[i]))
    }

    #[inline(always)]
    fn high(self, a: [u8; 32], b: [u8; 32]) -> [u8; 32] {
        let (a, b) = (lanes(a), lanes(b));
        words(|i| ((i32::from(a[i]) * i32::from(b[i])) >> 16) as i16)
    }

    #[inline(always)]
    fn fraction(self, a: [u8; 32], b: [u8; 32]) -> [u8; 32] {
        let (a, b) = (lanes(a), lanes(b));
        words(|i| ((i32::from(a[i]) * i32::from(b[i]) + (1 << 14)) >> 15) as i16)
    }

    #[inline(always)]
    fn half(self, v: [u8; 32]) -> [u8; 32] {
        let v = lanes(v);
        words(|i| (v[i] as u16 >> 1) as i16)
    }

    #[inline(always)]
    fn mix(self, pairs: [u8; 32], weights: [u8; 32]) -> [u8; 32] {
        let weights = lanes(weights);
        words(|i| {
            let (base, other) = (i32::from(pairs[2 * i]) * 128, i32::from(pairs[2 * i + 1]) * 128);
            (base + (((base - other) * i32::from(weights[i])) >> 16)) as i16
        })
    }

    #[inline(always)]
    fn spread(self, v: [u8; 32]) -> [[u8; 32]; 2] {
        let from = |last: usize| words(|i| (u16::from(v[(i & 8) * 2 + last + i % 8]) << 8) as i16);
        [from(0), from(8)]
    }

    #[inline(always)]
    fn pack<const SHIFT: i32>(self, [a, b]: [[u8; 32]; 2]) -> [u8; 32] {
        const { assert!(is_shift(SHIFT)) };
        let (a, b) = (lanes(a), lanes(b));
        std::array::from_fn(|i| {
            let value = if i & 8 == 0 { a } else { b }[(i & 16) / 2 + i % 8];
            (value >> SHIFT).clamp(0, 255) as u8
        })
    }

    #[inline(always)]
    fn normalise(self, from: [u8; 8], gain: f32, bias: f32) -> [f32; 8] {
        from.map(|v| f32::from(v) * gain + bias)
    }
}
