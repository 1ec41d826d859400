//! Eight lanes in an array, for machines without a version of their own.

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
