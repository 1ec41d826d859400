//! Eight numbers handled as one. Every operation is exactly rounded and element-wise, so all implementations give the same
//! bits: two SSE2 registers (every x86-64), one AVX register (chosen at run time), or plain arrays (other machines).

use std::ops::{Add, Div, Mul, Sub};

/// Elements of a vector.
pub(super) const LANES: usize = 8;

/// Eight f32 with what the drawing loops need. Comparisons give a mask of all ones or zeros per lane.
pub(super) trait F8:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self>
{
    /// Eight i32.
    type I: I8<F = Self>;
    fn splat(x: f32) -> Self;
    fn load(from: &[f32; LANES]) -> Self;
    fn store(self) -> [f32; LANES];
    fn sqrt(self) -> Self;
    /// `self < other ? self : other`.
    fn min(self, other: Self) -> Self;
    /// `self > other ? self : other`.
    fn max(self, other: Self) -> Self;
    /// Mask of lanes with `self < other`.
    fn lt(self, other: Self) -> Self::I;
    /// Nearest integer, ties to even, within +-2^31.
    fn round(self) -> Self::I;

    #[inline(always)]
    fn clamp(self, low: f32, high: f32) -> Self {
        self.min(Self::splat(high)).max(Self::splat(low))
    }
    #[inline(always)]
    fn abs(self) -> Self {
        self.max(Self::splat(0.0) - self)
    }
    /// Largest integer not above.
    #[inline(always)]
    fn floor(self) -> Self::I {
        let r = self.round();
        r + self.lt(r.to_f())
    }
    /// 0, 1, .. 7.
    #[inline(always)]
    fn ramp() -> Self {
        Self::load(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
    }
    /// `from + (to - from) * share`.
    #[inline(always)]
    fn mix(self, to: Self, share: Self) -> Self {
        self + (to - self) * share
    }
}

/// Eight i32 or masks.
pub(super) trait I8: Copy + Add<Output = Self> {
    /// The matching eight f32.
    type F: F8<I = Self>;
    fn splat(x: i32) -> Self;
    fn load(from: &[i32; LANES]) -> Self;
    fn store(self) -> [i32; LANES];
    fn and(self, other: Self) -> Self;
    fn or(self, other: Self) -> Self;
    /// `self & !mask`.
    fn without(self, mask: Self) -> Self;
    fn shl<const N: i32>(self) -> Self;
    /// Shift right that keeps the sign.
    fn sra<const N: i32>(self) -> Self;
    fn to_f(self) -> Self::F;
    /// `mask ? a : b` per lane, for masks of all ones or zeros.
    fn pick(self, a: Self::F, b: Self::F) -> Self::F;
    /// The sign bits as a number, lane 0 lowest.
    fn bits(self) -> u32;

    /// `mask ? a : b` for integers.
    #[inline(always)]
    fn pick_i(self, a: Self, b: Self) -> Self {
        a.and(self).or(b.without(self))
    }
}

/// An expression for each of the three axes or channels. (Closures would not do: what is not inlined by force is compiled
/// without the wide registers.)
macro_rules! three {
    ($k:ident => $e:expr) => {
        [
            {
                let $k = 0;
                $e
            },
            {
                let $k = 1;
                $e
            },
            {
                let $k = 2;
                $e
            },
        ]
    };
}
pub(super) use three;

/// Scalar product.
#[inline(always)]
pub(super) fn dot3<V: F8>(a: [V; 3], b: [V; 3]) -> V {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// The implementation every machine of this kind can run.
#[cfg(not(target_arch = "x86_64"))]
pub(super) type Base = plain::Array;
/// The implementation every machine of this kind can run.
#[cfg(target_arch = "x86_64")]
pub(super) type Base = sse2::Pair;
#[cfg(target_arch = "x86_64")]
pub(super) use avx2::Wide;

/// Runs `$body::<V>` with the widest vectors of the machine; same source, same bits.
macro_rules! wide_vectors {
    ($(#[$meta:meta])* fn $name:ident($($arg:ident: $ty:ty),* $(,)?) => $body:ident) => {
        $(#[$meta])*
        fn $name($($arg: $ty),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                fn wide($($arg: $ty),*) {
                    $body::<crate::camera::raster::lanes::Wide>($($arg),*)
                }
                if std::arch::is_x86_feature_detected!("avx2") {
                    // SAFETY: the machine has AVX2, which is all that `wide` asks for.
                    return unsafe { wide($($arg),*) };
                }
            }
            $body::<crate::camera::raster::lanes::Base>($($arg),*)
        }
    };
}
pub(super) use wide_vectors;

macro_rules! operators {
    ($type:ident, $($trait:ident $method:ident $function:path),*) => {
        $(impl $trait for $type {
            type Output = $type;
            #[inline(always)]
            fn $method(self, other: $type) -> $type {
                $function(self, other)
            }
        })*
    };
}

#[cfg(target_arch = "x86_64")]
mod sse2 {
    use super::*;
    use std::arch::x86_64::*;

    /// Two SSE registers of four f32.
    #[derive(Clone, Copy)]
    pub struct Pair(__m128, __m128);
    /// Two SSE registers of four i32.
    #[derive(Clone, Copy)]
    pub struct PairI(__m128i, __m128i);

    macro_rules! each {
        ($type:ident, $f:ident, $a:expr, $b:expr) => {
            // SAFETY: SSE2 is part of every x86-64.
            unsafe { $type($f($a.0, $b.0), $f($a.1, $b.1)) }
        };
    }
    #[inline(always)]
    fn add(a: Pair, b: Pair) -> Pair {
        each!(Pair, _mm_add_ps, a, b)
    }
    #[inline(always)]
    fn sub(a: Pair, b: Pair) -> Pair {
        each!(Pair, _mm_sub_ps, a, b)
    }
    #[inline(always)]
    fn mul(a: Pair, b: Pair) -> Pair {
        each!(Pair, _mm_mul_ps, a, b)
    }
    #[inline(always)]
    fn div(a: Pair, b: Pair) -> Pair {
        each!(Pair, _mm_div_ps, a, b)
    }
    #[inline(always)]
    fn add_i(a: PairI, b: PairI) -> PairI {
        each!(PairI, _mm_add_epi32, a, b)
    }
    operators!(Pair, Add add add, Sub sub sub, Mul mul mul, Div div div);
    operators!(PairI, Add add add_i);

    impl F8 for Pair {
        type I = PairI;
        #[inline(always)]
        fn splat(x: f32) -> Self {
            Self::load(&[x; LANES])
        }
        #[inline(always)]
        fn load(from: &[f32; LANES]) -> Self {
            // SAFETY: eight f32 are two times four f32; the loads need no alignment.
            unsafe { Pair(_mm_loadu_ps(from.as_ptr()), _mm_loadu_ps(from.as_ptr().add(4))) }
        }
        #[inline(always)]
        fn store(self) -> [f32; LANES] {
            let mut to = [0.0; LANES];
            // SAFETY: the array holds eight f32; the stores need no alignment.
            unsafe {
                _mm_storeu_ps(to.as_mut_ptr(), self.0);
                _mm_storeu_ps(to.as_mut_ptr().add(4), self.1);
            }
            to
        }
        #[inline(always)]
        fn sqrt(self) -> Self {
            // SAFETY: SSE2 is part of every x86-64.
            unsafe { Pair(_mm_sqrt_ps(self.0), _mm_sqrt_ps(self.1)) }
        }
        #[inline(always)]
        fn min(self, other: Self) -> Self {
            each!(Pair, _mm_min_ps, self, other)
        }
        #[inline(always)]
        fn max(self, other: Self) -> Self {
            each!(Pair, _mm_max_ps, self, other)
        }
        #[inline(always)]
        fn lt(self, other: Self) -> PairI {
            let m = each!(Pair, _mm_cmplt_ps, self, other);
            // SAFETY: SSE2 is part of every x86-64.
            unsafe { PairI(_mm_castps_si128(m.0), _mm_castps_si128(m.1)) }
        }
        #[inline(always)]
        fn round(self) -> PairI {
            // SAFETY: SSE2 is part of every x86-64.
            unsafe { PairI(_mm_cvtps_epi32(self.0), _mm_cvtps_epi32(self.1)) }
        }
    }

    impl I8 for PairI {
        type F = Pair;
        #[inline(always)]
        fn splat(x: i32) -> Self {
            Self::load(&[x; LANES])
        }
        #[inline(always)]
        fn load(from: &[i32; LANES]) -> Self {
            let p = from.as_ptr();
            // SAFETY: eight i32 are two times four i32; the loads need no alignment.
            unsafe { PairI(_mm_loadu_si128(p.cast()), _mm_loadu_si128(p.add(4).cast())) }
        }
        #[inline(always)]
        fn store(self) -> [i32; LANES] {
            let mut to = [0; LANES];
            let p = to.as_mut_ptr();
            // SAFETY: the array holds eight i32; the stores need no alignment.
            unsafe {
                _mm_storeu_si128(p.cast(), self.0);
                _mm_storeu_si128(p.add(4).cast(), self.1);
            }
            to
        }
        #[inline(always)]
        fn and(self, other: Self) -> Self {
            each!(PairI, _mm_and_si128, self, other)
        }
        #[inline(always)]
        fn or(self, other: Self) -> Self {
            each!(PairI, _mm_or_si128, self, other)
        }
        #[inline(always)]
        fn without(self, mask: Self) -> Self {
            each!(PairI, _mm_andnot_si128, mask, self)
        }
        #[inline(always)]
        fn shl<const N: i32>(self) -> Self {
            // SAFETY: SSE2 is part of every x86-64.
            unsafe { PairI(_mm_slli_epi32::<N>(self.0), _mm_slli_epi32::<N>(self.1)) }
        }
        #[inline(always)]
        fn sra<const N: i32>(self) -> Self {
            // SAFETY: SSE2 is part of every x86-64.
            unsafe { PairI(_mm_srai_epi32::<N>(self.0), _mm_srai_epi32::<N>(self.1)) }
        }
        #[inline(always)]
        fn to_f(self) -> Pair {
            // SAFETY: SSE2 is part of every x86-64.
            unsafe { Pair(_mm_cvtepi32_ps(self.0), _mm_cvtepi32_ps(self.1)) }
        }
        #[inline(always)]
        fn pick(self, a: Pair, b: Pair) -> Pair {
            // SAFETY: SSE2 is part of every x86-64.
            unsafe {
                let one = |m, a, b| {
                    let m = _mm_castsi128_ps(m);
                    _mm_or_ps(_mm_and_ps(m, a), _mm_andnot_ps(m, b))
                };
                Pair(one(self.0, a.0, b.0), one(self.1, a.1, b.1))
            }
        }
        #[inline(always)]
        fn bits(self) -> u32 {
            // SAFETY: SSE2 is part of every x86-64.
            unsafe {
                let four = |m| _mm_movemask_ps(_mm_castsi128_ps(m)) as u32;
                four(self.0) | four(self.1) << 4
            }
        }
    }
}

/// Every method here needs AVX2. The type is named only inside functions that `wide_vectors` compiles for AVX2 and calls
/// after asking the machine; that is the safety argument of all blocks in this module.
#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::*;
    use std::arch::x86_64::*;

    /// One AVX register of eight f32.
    #[derive(Clone, Copy)]
    pub struct Wide(__m256);
    /// One AVX register of eight i32.
    #[derive(Clone, Copy)]
    pub struct WideI(__m256i);

    macro_rules! avx {
        ($type:ident($e:expr)) => {
            // SAFETY: reached only on machines with AVX2, see the module's comment.
            $type(unsafe { $e })
        };
    }
    #[inline(always)]
    fn add(a: Wide, b: Wide) -> Wide {
        avx!(Wide(_mm256_add_ps(a.0, b.0)))
    }
    #[inline(always)]
    fn sub(a: Wide, b: Wide) -> Wide {
        avx!(Wide(_mm256_sub_ps(a.0, b.0)))
    }
    #[inline(always)]
    fn mul(a: Wide, b: Wide) -> Wide {
        avx!(Wide(_mm256_mul_ps(a.0, b.0)))
    }
    #[inline(always)]
    fn div(a: Wide, b: Wide) -> Wide {
        avx!(Wide(_mm256_div_ps(a.0, b.0)))
    }
    #[inline(always)]
    fn add_i(a: WideI, b: WideI) -> WideI {
        avx!(WideI(_mm256_add_epi32(a.0, b.0)))
    }
    operators!(Wide, Add add add, Sub sub sub, Mul mul mul, Div div div);
    operators!(WideI, Add add add_i);

    impl F8 for Wide {
        type I = WideI;
        #[inline(always)]
        fn splat(x: f32) -> Self {
            avx!(Wide(_mm256_set1_ps(x)))
        }
        #[inline(always)]
        fn load(from: &[f32; LANES]) -> Self {
            avx!(Wide(_mm256_loadu_ps(from.as_ptr())))
        }
        #[inline(always)]
        fn store(self) -> [f32; LANES] {
            let mut to = [0.0; LANES];
            // SAFETY: the array holds eight f32; the store needs no alignment; AVX2 as above.
            unsafe { _mm256_storeu_ps(to.as_mut_ptr(), self.0) };
            to
        }
        #[inline(always)]
        fn sqrt(self) -> Self {
            avx!(Wide(_mm256_sqrt_ps(self.0)))
        }
        #[inline(always)]
        fn min(self, other: Self) -> Self {
            avx!(Wide(_mm256_min_ps(self.0, other.0)))
        }
        #[inline(always)]
        fn max(self, other: Self) -> Self {
            avx!(Wide(_mm256_max_ps(self.0, other.0)))
        }
        #[inline(always)]
        fn lt(self, other: Self) -> WideI {
            avx!(WideI(_mm256_castps_si256(_mm256_cmp_ps::<_CMP_LT_OQ>(self.0, other.0))))
        }
        #[inline(always)]
        fn round(self) -> WideI {
            avx!(WideI(_mm256_cvtps_epi32(self.0)))
        }
    }

    impl I8 for WideI {
        type F = Wide;
        #[inline(always)]
        fn splat(x: i32) -> Self {
            avx!(WideI(_mm256_set1_epi32(x)))
        }
        #[inline(always)]
        fn load(from: &[i32; LANES]) -> Self {
            avx!(WideI(_mm256_loadu_si256(from.as_ptr().cast())))
        }
        #[inline(always)]
        fn store(self) -> [i32; LANES] {
            let mut to = [0; LANES];
            // SAFETY: the array holds eight i32; the store needs no alignment; AVX2 as above.
            unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), self.0) };
            to
        }
        #[inline(always)]
        fn and(self, other: Self) -> Self {
            avx!(WideI(_mm256_and_si256(self.0, other.0)))
        }
        #[inline(always)]
        fn or(self, other: Self) -> Self {
            avx!(WideI(_mm256_or_si256(self.0, other.0)))
        }
        #[inline(always)]
        fn without(self, mask: Self) -> Self {
            avx!(WideI(_mm256_andnot_si256(mask.0, self.0)))
        }
        #[inline(always)]
        fn shl<const N: i32>(self) -> Self {
            avx!(WideI(_mm256_slli_epi32::<N>(self.0)))
        }
        #[inline(always)]
        fn sra<const N: i32>(self) -> Self {
            avx!(WideI(_mm256_srai_epi32::<N>(self.0)))
        }
        #[inline(always)]
        fn to_f(self) -> Wide {
            avx!(Wide(_mm256_cvtepi32_ps(self.0)))
        }
        #[inline(always)]
        fn pick(self, a: Wide, b: Wide) -> Wide {
            avx!(Wide(_mm256_blendv_ps(b.0, a.0, _mm256_castsi256_ps(self.0))))
        }
        #[inline(always)]
        fn bits(self) -> u32 {
            // SAFETY: AVX2 as above.
            unsafe { _mm256_movemask_ps(_mm256_castsi256_ps(self.0)) as u32 }
        }
    }
}

#[cfg(any(test, not(target_arch = "x86_64")))]
mod plain {
    use super::*;
    use crate::camera::raster::scalar::round_i32;

    /// Eight f32 in an array.
    #[derive(Clone, Copy)]
    pub struct Array([f32; LANES]);
    /// Eight i32 in an array.
    #[derive(Clone, Copy)]
    pub struct ArrayI([i32; LANES]);

    #[inline(always)]
    fn zip<T: Copy, U>(a: [T; LANES], b: [T; LANES], f: impl Fn(T, T) -> U) -> [U; LANES] {
        std::array::from_fn(|l| f(a[l], b[l]))
    }
    #[inline(always)]
    fn add(a: Array, b: Array) -> Array {
        Array(zip(a.0, b.0, |a, b| a + b))
    }
    #[inline(always)]
    fn sub(a: Array, b: Array) -> Array {
        Array(zip(a.0, b.0, |a, b| a - b))
    }
    #[inline(always)]
    fn mul(a: Array, b: Array) -> Array {
        Array(zip(a.0, b.0, |a, b| a * b))
    }
    #[inline(always)]
    fn div(a: Array, b: Array) -> Array {
        Array(zip(a.0, b.0, |a, b| a / b))
    }
    #[inline(always)]
    fn add_i(a: ArrayI, b: ArrayI) -> ArrayI {
        ArrayI(zip(a.0, b.0, i32::wrapping_add))
    }
    operators!(Array, Add add add, Sub sub sub, Mul mul mul, Div div div);
    operators!(ArrayI, Add add add_i);

    impl F8 for Array {
        type I = ArrayI;
        #[inline(always)]
        fn splat(x: f32) -> Self {
            Array([x; LANES])
        }
        #[inline(always)]
        fn load(from: &[f32; LANES]) -> Self {
            Array(*from)
        }
        #[inline(always)]
        fn store(self) -> [f32; LANES] {
            self.0
        }
        #[inline(always)]
        fn sqrt(self) -> Self {
            Array(self.0.map(f32::sqrt))
        }
        #[inline(always)]
        fn min(self, other: Self) -> Self {
            Array(zip(self.0, other.0, |a, b| if a < b { a } else { b }))
        }
        #[inline(always)]
        fn max(self, other: Self) -> Self {
            Array(zip(self.0, other.0, |a, b| if a > b { a } else { b }))
        }
        #[inline(always)]
        fn lt(self, other: Self) -> ArrayI {
            ArrayI(zip(self.0, other.0, |a, b| -i32::from(a < b)))
        }
        #[inline(always)]
        fn round(self) -> ArrayI {
            // Beyond 2^22 the trick of `round_i32` ends; f32 there are whole or half numbers.
            ArrayI(self.0.map(|x| if x.abs() < 4e6 { round_i32(x) } else { x.round_ties_even() as i32 }))
        }
    }

    impl I8 for ArrayI {
        type F = Array;
        #[inline(always)]
        fn splat(x: i32) -> Self {
            ArrayI([x; LANES])
        }
        #[inline(always)]
        fn load(from: &[i32; LANES]) -> Self {
            ArrayI(*from)
        }
        #[inline(always)]
        fn store(self) -> [i32; LANES] {
            self.0
        }
        #[inline(always)]
        fn and(self, other: Self) -> Self {
            ArrayI(zip(self.0, other.0, |a, b| a & b))
        }
        #[inline(always)]
        fn or(self, other: Self) -> Self {
            ArrayI(zip(self.0, other.0, |a, b| a | b))
        }
        #[inline(always)]
        fn without(self, mask: Self) -> Self {
            ArrayI(zip(self.0, mask.0, |a, m| a & !m))
        }
        #[inline(always)]
        fn shl<const N: i32>(self) -> Self {
            ArrayI(self.0.map(|a| a << N))
        }
        #[inline(always)]
        fn sra<const N: i32>(self) -> Self {
            ArrayI(self.0.map(|a| a >> N))
        }
        #[inline(always)]
        fn to_f(self) -> Array {
            Array(self.0.map(|a| a as f32))
        }
        #[inline(always)]
        fn pick(self, a: Array, b: Array) -> Array {
            Array(std::array::from_fn(|l| if self.0[l] != 0 { a.0[l] } else { b.0[l] }))
        }
        #[inline(always)]
        fn bits(self) -> u32 {
            (0..LANES).fold(0, |bits, l| bits | u32::from(self.0[l] < 0) << l)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bits of a mixture of all operations.
    #[inline(always)]
    fn mixture<V: F8>(a: &[f32; LANES], b: &[f32; LANES], out: &mut Vec<u32>) {
        let (x, y) = (V::load(a), V::load(b));
        let z = (x * y + x / y - y).abs().sqrt().min(V::splat(7.5)).max(x.clamp(-2.0, 2.0));
        let i = z.floor() + (x + y).round();
        let less = x.lt(y);
        let z = less.pick(z, x.mix(y, V::ramp()));
        let i = less.pick_i(i.shl::<3>(), i.sra::<1>()).or(V::I::splat(64)).and(V::I::load(&[-9; LANES])).without(less);
        out.extend(z.store().map(f32::to_bits));
        out.extend(i.store().map(|i| i as u32));
        out.extend(i.to_f().store().map(f32::to_bits));
        out.push(less.bits());
    }

    #[inline(always)]
    fn base(seed: &u32, out: &mut Vec<u32>) {
        wide_or_base::<Base>(seed, out);
    }

    #[inline(always)]
    fn wide_or_base<V: F8>(seed: &u32, out: &mut Vec<u32>) {
        for k in 0..2000u32 {
            let number = |l: usize, salt: u32| {
                let h = crate::camera::raster::scalar::hash(seed ^ k.wrapping_mul(977) ^ salt ^ (l as u32) << 20);
                (h as i32 >> 8) as f32 * if k % 3 == 0 { 1e-6 } else { 1e-3 }
            };
            let (a, b) = (std::array::from_fn(|l| number(l, 1)), std::array::from_fn(|l| number(l, 2)));
            mixture::<V>(&a, &b, out);
        }
    }

    wide_vectors! {
        fn widest(seed: &u32, out: &mut Vec<u32>) => wide_or_base
    }

    #[test]
    fn all_implementations_give_the_same_bits() {
        let (mut a, mut b, mut c) = (Vec::new(), Vec::new(), Vec::new());
        widest(&5, &mut a);
        base(&5, &mut b);
        wide_or_base::<plain::Array>(&5, &mut c);
        assert_eq!(a, b);
        assert!(b == c);
    }
}
