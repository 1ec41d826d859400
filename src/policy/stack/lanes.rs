//! Sixteen numbers at once, on whatever a processor has for them.

use super::LANES;

/// Sixteen numbers in the registers of a kind of processor.
pub(super) trait Lanes: Copy {
    /// Output places and vectors of channels that are worked on at once: as many as there are registers for.
    const PLACES: usize;
    /// See [`Self::PLACES`].
    const VECTORS: usize;
    fn zero() -> Self;
    /// # Safety
    /// Sixteen numbers can be read at `from`.
    unsafe fn load(from: *const f32) -> Self;
    /// # Safety
    /// Sixteen numbers can be written at `to`.
    unsafe fn store(self, to: *mut f32);
    /// `self + factor * other`.
    fn add_product(self, factor: f32, other: Self) -> Self;
}

/// Plain numbers: the compiler makes of them what the processor has.
#[derive(Clone, Copy)]
pub(super) struct Plain([f32; LANES]);

impl Lanes for Plain {
    const PLACES: usize = 4;
    const VECTORS: usize = 1;

    #[inline(always)]
    fn zero() -> Self {
        Self([0.0; LANES])
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's promise; the read needs no alignment.
        Self(unsafe { from.cast::<[f32; LANES]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's promise; the write needs no alignment.
        unsafe { to.cast::<[f32; LANES]>().write_unaligned(self.0) }
    }

    #[inline(always)]
    fn add_product(mut self, factor: f32, other: Self) -> Self {
        for (sum, other) in self.0.iter_mut().zip(other.0) {
            *sum += factor * other;
        }
        self
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    use super::Lanes;
    use std::arch::x86_64::*;

    /// One register of AVX-512.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Wide(__m512);

    impl Lanes for Wide {
        const PLACES: usize = 8;
        const VECTORS: usize = 2;

        #[inline(always)]
        fn zero() -> Self {
            // SAFETY: used only where AVX-512 was found, see `Machine`.
            Self(unsafe { _mm512_setzero_ps() })
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: as above, and the caller's promise.
            Self(unsafe { _mm512_loadu_ps(from) })
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: as above, and the caller's promise.
            unsafe { _mm512_storeu_ps(to, self.0) }
        }

        #[inline(always)]
        fn add_product(self, factor: f32, other: Self) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm512_fmadd_ps(_mm512_set1_ps(factor), other.0, self.0) })
        }
    }

    /// Two registers of AVX2.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Pair(__m256, __m256);

    impl Lanes for Pair {
        const PLACES: usize = 4;
        const VECTORS: usize = 1;

        #[inline(always)]
        fn zero() -> Self {
            // SAFETY: used only where AVX2 was found, see `Machine`.
            unsafe { Self(_mm256_setzero_ps(), _mm256_setzero_ps()) }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: as above, and the caller's promise.
            unsafe { Self(_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))) }
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: as above, and the caller's promise.
            unsafe {
                _mm256_storeu_ps(to, self.0);
                _mm256_storeu_ps(to.add(8), self.1);
            }
        }

        #[inline(always)]
        fn add_product(self, factor: f32, other: Self) -> Self {
            // SAFETY: as above.
            unsafe {
                let factor = _mm256_set1_ps(factor);
                Self(_mm256_fmadd_ps(factor, other.0, self.0), _mm256_fmadd_ps(factor, other.1, self.1))
            }
        }
    }
}
