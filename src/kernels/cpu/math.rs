//! Row functions: exp, softmax, norms, activations. Every reduction has a fixed order: entry p goes to lane p % 16,
//! lanes are added in ascending order. So a row's result does not depend on its neighbours, and a longer row whose
//! extra entries contribute zero gives the same bits.

use super::isa::versions;
use super::packed::Element;
use crate::kernels::Activation;

pub(super) const LANES: usize = 16;

/// `e^x` within 1.02 ulp over all f32 from -104 to 89.5: `x = n ln 2 + r` and a polynomial of degree 6 in r. Above 88.72
/// infinite, below -103.97 zero, through the subnormals; NaN stays NaN.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    /// `1.5 * 2^23`: adding it leaves the nearest integer in the low bits.
    const ROUND: f32 = 12_582_912.0;
    // Written so that NaN fails both comparisons and passes through.
    let x = if -104.0 > x { -104.0 } else { x };
    let x = if 89.0 < x { 89.0 } else { x };
    let t = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = t - ROUND;
    let r = n.mul_add(-std::f32::consts::LN_2, x);
    // What the f32 constant is larger than ln 2 by.
    let r = n.mul_add(1.904_654_2e-9, r);
    let q = 0.001_381_457_f32.mul_add(r, 0.008_368_731).mul_add(r, 0.041_668_39).mul_add(r, 0.166_665_21);
    let q = q.mul_add(r, 0.499_999_94);
    let p = (q * r).mul_add(r, r) + 1.0;
    // Wrapping, because overflow checks would keep the compiler from vectorising.
    let n = (t.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let pow2 = |e: i32| f32::from_bits((e.wrapping_add(127) << 23) as u32);
    // Two steps, so that subnormal results are rounded once.
    p * pow2(n >> 1) * pow2(n.wrapping_sub(n >> 1))
}

/// The normal distribution function, within 6e-7 of its value. The tail is `exp(-z^2) P(1 / (1 + 0.3 z)) / 2` with a polynomial fitted to
/// `exp(z^2) erfc(z)` for z from 0.45 to 11 (relative error 2e-9); nearer to zero an odd polynomial of erf (3e-9).
#[expect(clippy::approx_constant, reason = "a fitted coefficient that happens to be near 2 / sqrt(pi)")]
#[inline(always)]
pub(super) fn normal_cdf(x: f32) -> f32 {
    let signed = x * std::f32::consts::FRAC_1_SQRT_2;
    let z = signed.abs();
    // x^2 / 2 and what its rounding lost: far out, the exponential magnifies the error of its argument.
    let square = x * x;
    let lost = 0.5 * x.mul_add(x, -square);
    let s = 0.5 * square;
    let near = 0.004_623_285_3_f32
        .mul_add(s, -0.026_711_397)
        .mul_add(s, 0.112_821_42)
        .mul_add(s, -0.376_125_77)
        .mul_add(s, 1.128_379_2);
    let near = 0.5f32.mul_add(near * signed, 0.5);
    let t = 1.0 / 0.3f32.mul_add(z, 1.0);
    let p = (-0.141_832_1_f32).mul_add(t, 0.546_433_75).mul_add(t, -0.642_666_4).mul_add(t, 0.706_265_3);
    let p = p.mul_add(t, -0.215_074_61).mul_add(t, 0.274_101_26).mul_add(t, 0.129_547_56).mul_add(t, 0.174_431_05);
    let p = p.mul_add(t, 0.168_773_01).mul_add(t, 1.994_423e-5);
    let tail = 0.5 * exp(-s) * (1.0 - lost) * p;
    let far = if x < 0.0 { tail } else { 1.0 - tail };
    if z < 0.5 { near } else { far }
}

/// The hyperbolic tangent within 2 ulp: near zero an odd polynomial (Cephes, `tanhf.c`), else by [`exp`].
#[inline(always)]
fn tanh(x: f32) -> f32 {
    let s = x * x;
    let p = (-0.005_704_988_6_f32).mul_add(s, 0.020_639_088).mul_add(s, -0.053_739_715).mul_add(s, 0.133_314_42);
    let near = (p.mul_add(s, -0.333_332_8) * s).mul_add(x, x);
    let far = 1.0 - 2.0 / (exp(2.0 * x.abs()) + 1.0);
    if x.abs() < 0.625 { near } else { far.copysign(x) }
}

#[inline(always)]
fn lanes(values: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [0f32; LANES];
    let (chunks, tail) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            sums[lane] += term(chunk[lane]);
        }
    }
    for (sum, value) in sums.iter_mut().zip(tail) {
        *sum += term(*value);
    }
    sums.iter().fold(0.0, |total, sum| total + sum)
}

#[inline(always)]
fn sum_body(row: &[f32]) -> f32 {
    lanes(row, |x| x)
}

#[inline(always)]
fn sum_of_squares_body(row: &[f32]) -> f32 {
    lanes(row, |x| x * x)
}

/// The largest value that is a number, else -inf.
#[inline(always)]
fn max_body(row: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut max = [f32::NEG_INFINITY; LANES];
    let (chunks, tail) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            max[lane] = larger(max[lane], chunk[lane]);
        }
    }
    max.iter().chain(tail).fold(f32::NEG_INFINITY, |a, &b| larger(a, b))
}

#[inline(always)]
fn softmax_body(row: &mut [f32]) {
    scaled_softmax_body(row, 1.0);
}

/// The softmax of `row * by` for a positive factor, which keeps the order: the largest product is the largest value's.
#[inline(always)]
fn scaled_softmax_body(row: &mut [f32], by: f32) {
    let max = max_body(row) * by;
    let mut sums = [0f32; LANES];
    let (chunks, tail) = row.as_chunks_mut::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            chunk[lane] = exp(chunk[lane] * by - max);
            sums[lane] += chunk[lane];
        }
    }
    for (x, sum) in tail.iter_mut().zip(&mut sums) {
        *x = exp(*x * by - max);
        *sum += *x;
    }
    let factor = 1.0 / sums.iter().fold(0.0, |total, sum| total + sum);
    for x in row.iter_mut() {
        *x *= factor;
    }
}

#[inline(always)]
fn shift_body(row: &mut [f32], by: f32) {
    for x in row {
        *x -= by;
    }
}

#[inline(always)]
fn scale_body(row: &mut [f32], by: f32) {
    for x in row {
        *x *= by;
    }
}

#[inline(always)]
fn divide_body(row: &mut [f32], by: f32) {
    for x in row {
        *x /= by;
    }
}

#[inline(always)]
fn clip_body(row: &mut [f32], limit: f32) {
    for x in row {
        // Not `clamp`: NaN stays NaN either way, and this vectorises.
        *x = if *x > limit { limit } else { *x };
        *x = if *x < -limit { -limit } else { *x };
    }
}

#[inline(always)]
fn soft_cap_body(row: &mut [f32], by: f32, cap: f32) {
    for x in row {
        *x = tanh(*x * by / cap) * cap;
    }
}

#[inline(always)]
fn norm_body(row: &mut [f32], scale: f32, gain: Option<&[f32]>, bias: Option<&[f32]>) {
    match gain {
        Some(gain) => row.iter_mut().zip(gain).for_each(|(x, gain)| *x = *x / scale * gain),
        None => divide_body(row, scale),
    }
    if let Some(bias) = bias {
        add_body(row, bias);
    }
}

#[inline(always)]
fn add_body(row: &mut [f32], other: &[f32]) {
    for (x, y) in row.iter_mut().zip(other) {
        *x += y;
    }
}

#[inline(always)]
fn multiply_body(row: &mut [f32], other: &[f32]) {
    for (x, y) in row.iter_mut().zip(other) {
        *x *= y;
    }
}

#[inline(always)]
fn gated_body(row: &mut [f32], other: &[f32], kind: Activation) {
    activate_body(row, kind);
    multiply_body(row, other);
}

#[inline(always)]
fn activate_body(row: &mut [f32], kind: Activation) {
    match kind {
        Activation::Silu => row.iter_mut().for_each(|x| *x /= 1.0 + exp(-*x)),
        Activation::Gelu => row.iter_mut().for_each(|x| *x *= normal_cdf(*x)),
        // (1 + tanh u) / 2 = 1 / (1 + exp(-2 u)), without cancellation.
        Activation::GeluTanh => row.iter_mut().for_each(|x| {
            let u = 0.797_884_6 * (0.044_715 * *x * *x).mul_add(*x, *x);
            *x /= 1.0 + exp(-2.0 * u);
        }),
        Activation::Relu => row.iter_mut().for_each(|x| *x = if *x > 0.0 { *x } else { 0.0 }),
    }
}

/// The largest value, and the sum of `exp(x - largest)`: f32 terms, f64 sums in sixteen lanes.
#[inline(always)]
fn max_and_exp_sum_body(row: &[f32]) -> (f32, f64) {
    let max = max_body(row);
    let mut sums = [0f64; LANES];
    let (chunks, tail) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            sums[lane] += f64::from(exp(chunk[lane] - max));
        }
    }
    for (sum, value) in sums.iter_mut().zip(tail) {
        *sum += f64::from(exp(value - max));
    }
    (max, sums.iter().fold(0.0, |total, sum| total + sum))
}

/// Half-precision bits to f32, exactly. A subnormal half is normal as f32: the multiplication puts its exponent right.
#[inline(always)]
fn widen_f16(bits: u16) -> f32 {
    let magnitude = u32::from(bits & 0x7fff) << 13;
    let finite = f32::from_bits(magnitude) * f32::from_bits(0x7780_0000);
    let value = if bits & 0x7c00 == 0x7c00 { magnitude | 0x7f80_0000 } else { finite.to_bits() };
    f32::from_bits(value | u32::from(bits & 0x8000) << 16)
}

#[inline(always)]
fn widen_body(element: Element, bytes: &[u8], out: &mut [f32]) {
    match element {
        Element::F32 => {
            for (out, b) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *out = f32::from_le_bytes(*b);
            }
        }
        Element::F16 => {
            for (out, b) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *out = widen_f16(u16::from_le_bytes(*b));
            }
        }
        Element::Bf16 => {
            for (out, b) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *out = f32::from_bits(u32::from(u16::from_le_bytes(*b)) << 16);
            }
        }
        Element::Q8_0 | Element::Q4K => unreachable!("blocks are widened by runs"),
    }
}

#[inline(always)]
fn rotate_body(head: &mut [f32], cos: &[f32], sin: &[f32]) {
    let (a, b) = head.split_at_mut(cos.len());
    for (((a, b), cos), sin) in a.iter_mut().zip(b).zip(cos).zip(sin) {
        (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
    }
}

versions! {
    pub(super) fn sum = sum_body(row: &[f32]) -> f32;
    pub(super) fn sum_of_squares = sum_of_squares_body(row: &[f32]) -> f32;
    /// Turns scores into probabilities; -inf becomes zero.
    pub(super) fn softmax = softmax_body(row: &mut [f32]);
    /// Scales by a positive factor, then as [`softmax`], with the bits of the two.
    pub(super) fn scaled_softmax = scaled_softmax_body(row: &mut [f32], by: f32);
    /// Subtracts a number.
    pub(super) fn shift = shift_body(row: &mut [f32], by: f32);
    pub(super) fn scale = scale_body(row: &mut [f32], by: f32);
    pub(super) fn divide = divide_body(row: &mut [f32], by: f32);
    pub(super) fn clip = clip_body(row: &mut [f32], limit: f32);
    /// `cap * tanh(by * x / cap)`
    pub(super) fn soft_cap = soft_cap_body(row: &mut [f32], by: f32, cap: f32);
    /// `x / scale * gain + bias`
    pub(super) fn norm = norm_body(row: &mut [f32], scale: f32, gain: Option<&[f32]>, bias: Option<&[f32]>);
    pub(super) fn add = add_body(row: &mut [f32], other: &[f32]);
    pub(super) fn multiply = multiply_body(row: &mut [f32], other: &[f32]);
    pub(super) fn activate = activate_body(row: &mut [f32], kind: Activation);
    /// `activate(row) * other`
    pub(super) fn gated = gated_body(row: &mut [f32], other: &[f32], kind: Activation);
    pub(super) fn max_and_exp_sum = max_and_exp_sum_body(row: &[f32]) -> (f32, f64);
    /// Plain stored weights to f32, exactly.
    pub(super) fn widen = widen_body(element: Element, bytes: &[u8], out: &mut [f32]);
    /// Turns a head by one angle for each pair of entries.
    pub(super) fn rotate = rotate_body(head: &mut [f32], cos: &[f32], sin: &[f32]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::cpu::isa::Isa;
    use crate::kernels::cpu::testing::{bits, wild};

    #[test]
    fn exp_is_within_its_bound() {
        for seed in 0..200 {
            for x in wild(1001, seed).iter().map(|x| if seed % 2 == 0 { *x } else { x % 110.0 }) {
                let (e, want) = (exp(x), f64::from(x).exp());
                let near = if want > f64::from(f32::MAX) {
                    e.is_infinite()
                } else {
                    (f64::from(e) - want).abs() <= 1.3e-7 * want + 1.5e-45
                };
                assert!(near, "exp({x}) = {e}, not {want}");
            }
        }
        assert!(
            exp(f32::NAN).is_nan()
                && exp(f32::INFINITY).is_infinite()
                && exp(f32::NEG_INFINITY) == 0.0
                && exp(-0.0) == 1.0
        );
    }

    /// Against erf by its series and by its continued fraction, in f64.
    #[test]
    fn gelu_is_x_times_the_normal_distribution() {
        let cdf = |x: f64| {
            let z = x.abs() / std::f64::consts::SQRT_2;
            let tail = if z < 3.0 {
                let (mut term, mut sum) = (z, z);
                for n in 1..80 {
                    term *= -z * z / f64::from(n);
                    sum += term / f64::from(2 * n + 1);
                }
                0.5 - sum / std::f64::consts::PI.sqrt()
            } else {
                let fraction = (1..60).rev().fold(0.0, |f, k| f64::from(k) / 2.0 / (z + f));
                (-z * z).exp() / (z + fraction) / std::f64::consts::PI.sqrt() / 2.0
            };
            if x < 0.0 { tail } else { 1.0 - tail }
        };
        for i in -60_000..60_000 {
            let x = i as f32 / 5000.0;
            let mut row = [x];
            activate_body(&mut row, Activation::Gelu);
            let want = f64::from(x) * cdf(f64::from(x));
            assert!(
                (f64::from(row[0]) - want).abs() <= 6e-7 * want.abs() + 2e-7 * f64::from(x.abs()).min(1e-3),
                "gelu({x}) = {}, not {want}",
                row[0]
            );
        }
    }

    #[test]
    fn tanh_is_within_its_bound() {
        for seed in 0..100 {
            for x in wild(1001, seed).iter().map(|x| if seed % 2 == 0 { *x } else { x % 10.0 }) {
                let (found, want) = (f64::from(tanh(x)), f64::from(x).tanh());
                assert!((found - want).abs() <= 2.4e-7 * want.abs(), "tanh({x}) = {found}, not {want}");
            }
        }
        assert!(tanh(f32::NAN).is_nan() && tanh(f32::INFINITY) == 1.0 && tanh(f32::NEG_INFINITY) == -1.0);
    }

    #[test]
    fn instruction_sets_agree_to_the_bit() {
        let small = |seed| -> Vec<f32> { wild(337, seed).iter().map(|x| x % 9.0).collect() };
        let (gain, bias) = (small(5), small(6));
        let run = |isa: Isa| {
            let mut out = Vec::new();
            for kind in [Activation::Silu, Activation::Gelu, Activation::GeluTanh, Activation::Relu] {
                let mut row = small(1);
                activate(isa, &mut row, kind);
                out.extend(row);
            }
            let mut row = small(2);
            out.extend([sum(isa, &row), sum_of_squares(isa, &row)]);
            softmax(isa, &mut row);
            norm(isa, &mut row, 0.3, Some(&gain), Some(&bias));
            norm(isa, &mut row, 0.7, None, None);
            multiply(isa, &mut row, &gain);
            add(isa, &mut row, &bias);
            shift(isa, &mut row, 0.7);
            soft_cap(isa, &mut row, 1.3, 0.9);
            clip(isa, &mut row, 0.5);
            scale(isa, &mut row, 0.3);
            divide(isa, &mut row, 0.7);
            scaled_softmax(isa, &mut row, 0.1);
            out.extend(row);
            bits(&out)
        };
        for isa in Isa::available() {
            assert_eq!(run(isa), run(Isa::PORTABLE), "{isa:?}");
        }
    }

    #[test]
    fn every_half_widens_exactly() {
        for bits in 0..=u16::MAX {
            let (ours, want) = (widen_f16(bits), half::f16::from_bits(bits).to_f32());
            assert!(ours.to_bits() == want.to_bits() || (ours.is_nan() && want.is_nan()), "{bits:#x}");
        }
    }

    #[test]
    fn masked_entries_change_nothing() {
        let mut short: Vec<f32> = wild(45, 3).iter().map(|x| x % 5.0).collect();
        let mut long = short.clone();
        long.resize(99, f32::NEG_INFINITY);
        softmax_body(&mut short);
        softmax_body(&mut long);
        assert_eq!(bits(&short), bits(&long[..45]));
        assert!(long[45..].iter().all(|x| *x == 0.0));
    }
}
