//! Eight lanes in two SSE2 registers, which every x86-64 has.

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
