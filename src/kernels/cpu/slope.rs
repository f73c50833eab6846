//! Row functions of the reverse pass: slopes of activations, norms and the softmax. Reductions are those of `math.rs`.

use super::isa::versions;
use super::math::{LANES, exp, normal_cdf};
use crate::kernels::Activation;

/// The sum of products, entry p in lane p % 16.
#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0f32; LANES];
    let (whole_a, tail_a) = a.as_chunks::<LANES>();
    let (whole_b, tail_b) = b.as_chunks::<LANES>();
    for (a, b) in whole_a.iter().zip(whole_b) {
        for lane in 0..LANES {
            sums[lane] = a[lane].mul_add(b[lane], sums[lane]);
        }
    }
    for ((sum, a), b) in sums.iter_mut().zip(tail_a).zip(tail_b) {
        *sum = a.mul_add(*b, *sum);
    }
    sums.iter().fold(0.0, |total, sum| total + sum)
}

/// Value and slope of an activation.
#[inline(always)]
fn activation(x: f32, kind: Activation) -> (f32, f32) {
    /// `sqrt(2 / pi)` and the cubic's factor, of the tanh approximation of GELU.
    const C: f32 = 0.797_884_6;
    const A: f32 = 0.044_715;
    match kind {
        Activation::Silu => {
            let s = 1.0 / (1.0 + exp(-x));
            (x * s, s * (x * (1.0 - s) + 1.0))
        }
        Activation::Gelu => {
            let cdf = normal_cdf(x);
            let density = 0.398_942_3 * exp(-0.5 * x * x);
            (x * cdf, x.mul_add(density, cdf))
        }
        Activation::GeluTanh => {
            let u = C * (A * x * x).mul_add(x, x);
            let s = 1.0 / (1.0 + exp(-2.0 * u));
            let slope_of_u = C * (3.0 * A * x).mul_add(x, 1.0);
            (x * s, (2.0 * x * s * (1.0 - s)).mul_add(slope_of_u, s))
        }
        Activation::Relu => (if x > 0.0 { x } else { 0.0 }, if x > 0.0 { 1.0 } else { 0.0 }),
    }
}

#[inline(always)]
fn activate_body(dy: &mut [f32], x: &[f32], kind: Activation) {
    match kind {
        Activation::Silu => dy.iter_mut().zip(x).for_each(|(dy, x)| *dy *= activation(*x, Activation::Silu).1),
        Activation::Gelu => dy.iter_mut().zip(x).for_each(|(dy, x)| *dy *= activation(*x, Activation::Gelu).1),
        Activation::GeluTanh => dy.iter_mut().zip(x).for_each(|(dy, x)| *dy *= activation(*x, Activation::GeluTanh).1),
        Activation::Relu => dy.iter_mut().zip(x).for_each(|(dy, x)| *dy *= activation(*x, Activation::Relu).1),
    }
}

#[inline(always)]
fn gated_rows(dgate: &mut [f32], dup: &mut [f32], [gate, up, dy]: [&[f32]; 3], of: impl Fn(f32) -> (f32, f32)) {
    for ((((dgate, dup), gate), up), dy) in dgate.iter_mut().zip(dup).zip(gate).zip(up).zip(dy) {
        let (value, slope) = of(*gate);
        *dgate = dy * up * slope;
        *dup = dy * value;
    }
}

#[inline(always)]
fn gated_body(dgate: &mut [f32], dup: &mut [f32], rows: [&[f32]; 3], kind: Activation) {
    match kind {
        Activation::Silu => gated_rows(dgate, dup, rows, |x| activation(x, Activation::Silu)),
        Activation::Gelu => gated_rows(dgate, dup, rows, |x| activation(x, Activation::Gelu)),
        Activation::GeluTanh => gated_rows(dgate, dup, rows, |x| activation(x, Activation::GeluTanh)),
        Activation::Relu => gated_rows(dgate, dup, rows, |x| activation(x, Activation::Relu)),
    }
}

/// `dy` becomes the gradient of `x`; returns that of `scale`.
#[inline(always)]
fn norm_apply_body(dy: &mut [f32], x: &[f32], scale: f32, gain: Option<&[f32]>) -> f32 {
    if let Some(gain) = gain {
        dy.iter_mut().zip(gain).for_each(|(dy, gain)| *dy *= gain);
    }
    let along = dot(dy, x);
    for dy in dy.iter_mut() {
        *dy /= scale;
    }
    -along / (scale * scale)
}

#[inline(always)]
fn softmax_body(dp: &mut [f32], p: &[f32]) {
    let along = dot(p, dp);
    dp.iter_mut().zip(p).for_each(|(dp, p)| *dp = p * (*dp - along));
}

/// `capped` is `cap * tanh(x / cap)`.
#[inline(always)]
fn soft_cap_body(dy: &mut [f32], capped: &[f32], cap: f32) {
    for (dy, y) in dy.iter_mut().zip(capped) {
        let t = y / cap;
        *dy *= (-t).mul_add(t, 1.0);
    }
}

versions! {
    /// Times the slope of an activation at `x`.
    pub(super) fn activate = activate_body(dy: &mut [f32], x: &[f32], kind: Activation);
    /// Gradients of `activate(gate) * up`, from gate, up and the gradient of the result.
    pub(super) fn gated = gated_body(dgate: &mut [f32], dup: &mut [f32], rows: [&[f32]; 3], kind: Activation);
    pub(super) fn norm_apply = norm_apply_body(dy: &mut [f32], x: &[f32], scale: f32, gain: Option<&[f32]>) -> f32;
    pub(super) fn softmax = softmax_body(dp: &mut [f32], p: &[f32]);
    pub(super) fn soft_cap = soft_cap_body(dy: &mut [f32], capped: &[f32], cap: f32);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::cpu::isa::Isa;
    use crate::kernels::cpu::math;
    use crate::kernels::cpu::testing::{bits, wild};

    const KINDS: [Activation; 4] = [Activation::Silu, Activation::Gelu, Activation::GeluTanh, Activation::Relu];

    fn small(seed: u32) -> Vec<f32> {
        wild(337, seed).iter().map(|x| x % 9.0).collect()
    }

    /// Against central differences of formulas in f64.
    #[test]
    fn slopes_are_those_of_the_activations() {
        let erf = |z: f64| {
            let (mut term, mut sum) = (z, z);
            for n in 1..120 {
                term *= -z * z / f64::from(n);
                sum += term / f64::from(2 * n + 1);
            }
            sum * 2.0 / std::f64::consts::PI.sqrt()
        };
        let value = |x: f64, kind| match kind {
            Activation::Silu => x / (1.0 + (-x).exp()),
            Activation::Gelu => x * 0.5 * (1.0 + erf(x / std::f64::consts::SQRT_2)),
            Activation::GeluTanh => {
                0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh())
            }
            Activation::Relu => x.max(0.0),
        };
        for kind in KINDS {
            for i in -400..400 {
                let x = f64::from(i) / 100.0 + 0.0017;
                let slope = (value(x + 1e-5, kind) - value(x - 1e-5, kind)) / 2e-5;
                let found = activation(x as f32, kind);
                assert!((f64::from(found.0) - value(x, kind)).abs() < 2e-6, "{kind:?} at {x}");
                assert!((f64::from(found.1) - slope).abs() < 2e-6, "{kind:?} at {x}: {} for {slope}", found.1);
            }
        }
    }

    #[test]
    fn values_are_the_forward_passes() {
        for kind in KINDS {
            let mut row = small(3);
            let values: Vec<f32> = row.iter().map(|x| activation(*x, kind).0).collect();
            math::activate(Isa::PORTABLE, &mut row, kind);
            let near = |(a, b): (&f32, &f32)| (a - b).abs() <= 3e-7 * b.abs() + 1e-30;
            assert!(values.iter().zip(&row).all(near), "{kind:?}");
        }
    }

    #[test]
    fn instruction_sets_agree_to_the_bit() {
        let (x, gain, up) = (small(5), small(6), small(7));
        let run = |isa: Isa| {
            let mut out = Vec::new();
            for kind in KINDS {
                let (mut dy, mut a, mut b) = (small(1), small(2), small(2));
                activate(isa, &mut dy, &x, kind);
                gated(isa, &mut a, &mut b, [&x, &up, &gain], kind);
                out.extend(dy.into_iter().chain(a).chain(b));
            }
            let mut row = small(2);
            out.push(norm_apply(isa, &mut row, &x, 0.7, Some(&gain)));
            softmax(isa, &mut row, &up);
            soft_cap(isa, &mut row, &gain, 11.0);
            out.extend(row);
            bits(&out)
        };
        for isa in Isa::available() {
            assert_eq!(run(isa), run(Isa::PORTABLE), "{isa:?}");
        }
    }
}
