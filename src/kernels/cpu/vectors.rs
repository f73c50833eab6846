//! Vectors as files keep them: widened and multiplied, with the same bits on every instruction set.

use super::isa::versions;

/// Lanes of a sum, by absolute position.
const LANES: usize = 16;

/// Half-precision bits to f32, without branches. Small gradients are subnormal halves; they become normal by a
/// difference of normal numbers, because products with subnormal ones are slow.
#[inline(always)]
fn widen_half(bits: u16) -> f32 {
    /// Exponents of f32 lie this much higher.
    const BIAS: u32 = 112 << 23;
    const SUBNORMAL: u32 = 113 << 23;
    let magnitude = u32::from(bits & 0x7fff) << 13;
    let small = f32::from_bits(magnitude + SUBNORMAL) - f32::from_bits(SUBNORMAL);
    let finite = if magnitude < 1 << 23 { small.to_bits() } else { magnitude + BIAS };
    let infinite = if magnitude >= 0x0f80_0000 { BIAS } else { 0 };
    f32::from_bits((finite + infinite) | u32::from(bits & 0x8000) << 16)
}

#[inline(always)]
fn widen_f16_body(bytes: &[u8], out: &mut [f32]) {
    for (out, b) in out.iter_mut().zip(bytes.as_chunks().0) {
        *out = widen_half(u16::from_le_bytes(*b));
    }
}

#[inline(always)]
fn widen_bf16_body(bytes: &[u8], out: &mut [f32]) {
    for (out, b) in out.iter_mut().zip(bytes.as_chunks().0) {
        *out = f32::from_bits(u32::from(u16::from_le_bytes(*b)) << 16);
    }
}

#[inline(always)]
fn dot_body(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0f32; LANES];
    let (chunks_a, rest_a) = a.as_chunks::<LANES>();
    let (chunks_b, rest_b) = b.as_chunks::<LANES>();
    for (a, b) in chunks_a.iter().zip(chunks_b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    for (sum, (a, b)) in sums.iter_mut().zip(rest_a.iter().zip(rest_b)) {
        *sum += a * b;
    }
    sums.iter().sum()
}

versions! {
    /// Little-endian half-precision numbers to f32, exactly.
    pub fn widen_f16 = widen_f16_body(bytes: &[u8], out: &mut [f32]);
    /// Little-endian bfloat16 numbers to f32, exactly.
    pub fn widen_bf16 = widen_bf16_body(bytes: &[u8], out: &mut [f32]);
    /// Products, each rounded, in sixteen sums that are added in ascending order.
    pub fn dot = dot_body(a: &[f32], b: &[f32]) -> f32;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::cpu::isa::Isa;

    #[test]
    fn every_half_widens_exactly() {
        let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        for isa in Isa::available() {
            let (mut half, mut brain) = (vec![0.0; 1 << 16], vec![0.0; 1 << 16]);
            widen_f16(isa, &bytes, &mut half);
            widen_bf16(isa, &bytes, &mut brain);
            for bits in 0..=u16::MAX {
                let same = |found: f32, wanted: f32| {
                    found.to_bits() == wanted.to_bits() || (found.is_nan() && wanted.is_nan())
                };
                let at = usize::from(bits);
                assert!(same(half[at], half::f16::from_bits(bits).to_f32()), "{isa:?} {bits:#x}");
                assert!(same(brain[at], half::bf16::from_bits(bits).to_f32()), "{isa:?} {bits:#x}");
            }
        }
    }

    #[test]
    fn products_have_the_same_bits_everywhere() {
        let wild = |n: usize, by: f32| -> Vec<f32> { (0..n).map(|i| (i as f32 * by).sin() * 1e3).collect() };
        for n in [0, 1, 15, 16, 17, 100, 4096] {
            let (a, b) = (wild(n, 0.7), wild(n, 1.3));
            let wanted = dot(Isa::PORTABLE, &a, &b);
            let exact: f64 = a.iter().zip(&b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            assert!((f64::from(wanted) - exact).abs() <= 1e6 * n as f64 * f64::from(f32::EPSILON), "{n}");
            for isa in Isa::available() {
                assert_eq!(dot(isa, &a, &b).to_bits(), wanted.to_bits(), "{isa:?}, {n}");
            }
        }
    }
}
