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

    /// The entries of a table at eight places, which are taken modulo its length; that is a power of two.
    #[inline(always)]
    fn gather(table: &[f32], at: Self::I) -> Self {
        let (mut lanes, at) = ([0.0; LANES], at.store());
        let Some(last) = table.len().checked_sub(1) else { return Self::load(&lanes) };
        for l in 0..LANES {
            lanes[l] = table.get(at[l] as usize & last).copied().unwrap_or(0.0);
        }
        Self::load(&lanes)
    }

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

    /// The same as [`F8::gather`] for integers.
    #[inline(always)]
    fn gather(table: &[i32], at: Self) -> Self {
        let (mut lanes, at) = ([0; LANES], at.store());
        let Some(last) = table.len().checked_sub(1) else { return Self::load(&lanes) };
        for l in 0..LANES {
            lanes[l] = table.get(at[l] as usize & last).copied().unwrap_or(0);
        }
        Self::load(&lanes)
    }

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
mod sse2;

#[cfg(target_arch = "x86_64")]
mod avx2;

#[cfg(any(test, not(target_arch = "x86_64")))]
mod plain;

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
        let table: [f32; 16] = std::array::from_fn(|k| a[k % LANES] * k as f32);
        out.extend(V::gather(&table, (x + y).round()).store().map(f32::to_bits));
        let table: [i32; 4] = std::array::from_fn(|k| a[k] as i32 ^ 5);
        out.extend(V::I::gather(&table, (x + y).round()).store().map(|i| i as u32));
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
