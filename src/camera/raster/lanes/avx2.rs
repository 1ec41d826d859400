//! Eight lanes in one AVX register.
//!
//! Every method here needs AVX2. The type is named only inside functions that `wide_vectors` compiles for AVX2 and calls
//! after asking the machine; that is the safety argument of all blocks in this module.

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

/// The last index of a table whose length is a power of two: every number masked with it lies within the table. Nothing for
/// other lengths.
#[inline(always)]
fn last_index(length: usize) -> Option<i32> {
    (length.is_power_of_two() && length <= 1 << 30).then(|| length as i32 - 1)
}

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
    #[inline(always)]
    fn gather(table: &[f32], at: WideI) -> Self {
        let Some(last) = last_index(table.len()) else { return Self::splat(0.0) };
        let at = at.and(WideI::splat(last));
        // SAFETY: no place is beyond the table's last, see `last_index`; AVX2 as above.
        avx!(Wide(_mm256_i32gather_ps::<4>(table.as_ptr(), at.0)))
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
    fn gather(table: &[i32], at: Self) -> Self {
        let Some(last) = last_index(table.len()) else { return Self::splat(0) };
        let at = at.and(WideI::splat(last));
        // SAFETY: no place is beyond the table's last, see `last_index`; AVX2 as above.
        avx!(WideI(_mm256_i32gather_epi32::<4>(table.as_ptr(), at.0)))
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
