//! Which kind of processor this is, and the kernels compiled for it.

use super::kernels::{backward, forward};
use super::lanes::Plain;
#[cfg(target_arch = "x86_64")]
use super::lanes::x86;
use super::{Stack, Work};

/// Kind of processor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Machine {
    Any,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Machine {
    pub(super) fn find() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if std::arch::is_x86_feature_detected!("avx512f") {
                return Self::Avx512;
            }
            if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
                return Self::Avx2;
            }
        }
        Self::Any
    }

    pub(super) fn forward(self, stack: &Stack, framed: &[f32], layers: &[(Vec<f32>, Vec<f32>)], trace: &mut [f32]) {
        #[cfg(target_arch = "x86_64")]
        {
            #[target_feature(enable = "avx512f")]
            unsafe fn wide(stack: &Stack, framed: &[f32], layers: &[(Vec<f32>, Vec<f32>)], trace: &mut [f32]) {
                forward::<x86::Wide>(stack, framed, layers, trace);
            }
            #[target_feature(enable = "avx2,fma")]
            unsafe fn pair(stack: &Stack, framed: &[f32], layers: &[(Vec<f32>, Vec<f32>)], trace: &mut [f32]) {
                forward::<x86::Pair>(stack, framed, layers, trace);
            }
            match self {
                // SAFETY: `find` saw the processor do this.
                Self::Avx512 => return unsafe { wide(stack, framed, layers, trace) },
                // SAFETY: as above.
                Self::Avx2 => return unsafe { pair(stack, framed, layers, trace) },
                Self::Any => {}
            }
        }
        forward::<Plain>(stack, framed, layers, trace);
    }

    pub(super) fn backward(self, stack: &Stack, trace: &[f32], back: &[Vec<Vec<f32>>], work: &mut Work) {
        #[cfg(target_arch = "x86_64")]
        {
            #[target_feature(enable = "avx512f")]
            unsafe fn wide(stack: &Stack, trace: &[f32], back: &[Vec<Vec<f32>>], work: &mut Work) {
                backward::<x86::Wide>(stack, trace, back, work);
            }
            #[target_feature(enable = "avx2,fma")]
            unsafe fn pair(stack: &Stack, trace: &[f32], back: &[Vec<Vec<f32>>], work: &mut Work) {
                backward::<x86::Pair>(stack, trace, back, work);
            }
            match self {
                // SAFETY: `find` saw the processor do this.
                Self::Avx512 => return unsafe { wide(stack, trace, back, work) },
                // SAFETY: as above.
                Self::Avx2 => return unsafe { pair(stack, trace, back, work) },
                Self::Any => {}
            }
        }
        backward::<Plain>(stack, trace, back, work);
    }
}
