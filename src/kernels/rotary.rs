//! Rotary position embedding: which frequencies, and their angles at given positions.

use std::f64::consts::PI;

use serde::Serialize;

/// Which part of each head turns, and how fast.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RotarySpec {
    /// Leading entries of each head that turn; even.
    pub dims: usize,
    pub theta: f64,
    pub scaling: RotaryScaling,
}

/// How the frequencies were stretched for a longer context. Rules that depend on the length of the text at hand
/// (`dynamic`, `longrope`) are not here: under them a prefix has no fixed meaning.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum RotaryScaling {
    None,
    /// All frequencies divided by `factor` (position interpolation).
    Linear {
        factor: f64,
    },
    /// Each frequency divided by a factor of its own (what GGUF stores of the next).
    Divided {
        by: Vec<f64>,
    },
    /// Llama 3.1: low frequencies divided, high ones kept, a smooth band between.
    Llama3 {
        factor: f64,
        low_freq_factor: f64,
        high_freq_factor: f64,
        original_context: f64,
    },
    /// YaRN (Peng et al. 2023, section 3.2 and 3.4), as in transformers 5.23.
    Yarn {
        factor: f64,
        beta_fast: f64,
        beta_slow: f64,
        original_context: f64,
        truncate: bool,
        attention_factor: f64,
    },
}

/// Cosines and sines of some positions, row-major `[rows, columns]`.
#[derive(Debug, Clone)]
pub struct RotaryRows {
    pub rows: usize,
    pub columns: usize,
    pub cos: Vec<f32>,
    pub sin: Vec<f32>,
}

impl RotarySpec {
    /// Inverse frequencies, one for each pair of entries.
    pub fn inverse_frequencies(&self) -> Vec<f32> {
        let dims = self.dims as f64;
        let plain = (0..self.dims / 2).map(|i| libm::pow(self.theta, -(2.0 * i as f64) / dims));
        match &self.scaling {
            RotaryScaling::None => plain.map(|f| f as f32).collect(),
            RotaryScaling::Linear { factor } => plain.map(|f| (f / factor) as f32).collect(),
            RotaryScaling::Divided { by } => plain.zip(by).map(|(f, by)| (f / by) as f32).collect(),
            RotaryScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => plain
                .map(|f| {
                    let wavelength = 2.0 * PI / f;
                    if wavelength < original_context / high_freq_factor {
                        f as f32
                    } else if wavelength > original_context / low_freq_factor {
                        (f / factor) as f32
                    } else {
                        let smooth =
                            (original_context / wavelength - low_freq_factor) / (high_freq_factor - low_freq_factor);
                        ((1.0 - smooth) * f / factor + smooth * f) as f32
                    }
                })
                .collect(),
            RotaryScaling::Yarn { factor, beta_fast, beta_slow, original_context, truncate, .. } => {
                let correction = |turns: f64| {
                    dims * libm::log(original_context / (turns * 2.0 * PI)) / (2.0 * libm::log(self.theta))
                };
                let (mut low, mut high) = (correction(*beta_fast), correction(*beta_slow));
                if *truncate {
                    (low, high) = (low.floor(), high.ceil());
                }
                let (low, mut high) = (low.max(0.0), high.min(dims - 1.0));
                if low == high {
                    high += 0.001;
                }
                plain
                    .enumerate()
                    .map(|(i, f)| {
                        let keep = 1.0 - ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
                        (f / factor * (1.0 - keep) + f * keep) as f32
                    })
                    .collect()
            }
        }
    }

    /// What the frequencies are divided by against those of the base alone, where the scaling is of a kind that formats
    /// without a name for it can say so.
    pub fn divisors(&self) -> Option<Vec<f32>> {
        if !matches!(self.scaling, RotaryScaling::Llama3 { .. } | RotaryScaling::Divided { .. }) {
            return None;
        }
        let plain = Self { scaling: RotaryScaling::None, ..self.clone() }.inverse_frequencies();
        let scaled = self.inverse_frequencies();
        match &self.scaling {
            RotaryScaling::Divided { by } => Some(by.iter().map(|by| *by as f32).collect()),
            _ => Some(plain.iter().zip(&scaled).map(|(plain, scaled)| plain / scaled).collect()),
        }
    }

    /// Whether positions turn by the same angles, but for rounding.
    pub fn turns_like(&self, other: &Self) -> bool {
        let near = |a: &f32, b: &f32| (a - b).abs() <= 1e-6 * a.abs();
        let (own, theirs) = (self.rows([1]), other.rows([1]));
        let (a, b) = (self.inverse_frequencies(), other.inverse_frequencies());
        let magnitude =
            |rows: &RotaryRows| rows.cos.iter().zip(&rows.sin).map(|(c, s)| c.hypot(*s)).collect::<Vec<_>>();
        a.len() == b.len()
            && a.iter().zip(&b).all(|(a, b)| near(a, b))
            && magnitude(&own).iter().zip(&magnitude(&theirs)).all(|(a, b)| near(a, b))
    }

    /// Angles of the positions `first..first + rows`. Products in f32, as the peers form them.
    pub fn rows(&self, positions: impl IntoIterator<Item = usize>) -> RotaryRows {
        let frequencies = self.inverse_frequencies();
        let magnitude = match self.scaling {
            RotaryScaling::Yarn { attention_factor, .. } => attention_factor as f32,
            _ => 1.0,
        };
        let angles = positions.into_iter().flat_map(|position| frequencies.iter().map(move |f| position as f32 * f));
        let turn =
            |angle: f32| (libm::cos(angle.into()) as f32 * magnitude, libm::sin(angle.into()) as f32 * magnitude);
        let (cos, sin): (Vec<f32>, Vec<f32>) = angles.map(turn).unzip();
        RotaryRows { rows: cos.len() / frequencies.len().max(1), columns: frequencies.len(), cos, sin }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn position_zero_does_not_turn_and_one_turns_by_the_frequency() {
        let spec = RotarySpec { dims: 4, theta: 10_000.0, scaling: RotaryScaling::None };
        assert_eq!(spec.inverse_frequencies(), [1.0, 0.01]);
        let rows = spec.rows(0..2);
        assert_eq!(&rows.cos[..2], [1.0, 1.0]);
        assert_eq!(rows.sin[2], 1f64.sin() as f32);
    }

    #[test]
    fn llama3_keeps_high_and_divides_low_frequencies() {
        let scaling = RotaryScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_context: 8192.0,
        };
        let scaled = RotarySpec { dims: 128, theta: 500_000.0, scaling }.inverse_frequencies();
        let plain = RotarySpec { dims: 128, theta: 500_000.0, scaling: RotaryScaling::None }.inverse_frequencies();
        assert_eq!(scaled[0], plain[0]);
        assert!((scaled[63] / plain[63] - 0.125).abs() < 1e-6);
        assert!(scaled.iter().zip(&plain).any(|(s, p)| (0.2..0.9).contains(&(s / p))));
    }

    /// As llama.cpp's converter writes them into `rope_freqs.weight`.
    #[test]
    fn llama3_can_be_said_by_divisors() {
        let scaling =
            RotaryScaling::Llama3 { factor: 8.0, low_freq_factor: 0.5, high_freq_factor: 2.0, original_context: 16.0 };
        let spec = RotarySpec { dims: 10, theta: 50.0, scaling };
        let by = spec.divisors().unwrap();
        let theirs = [1.0, 1.950_704_3, 6.945_333, 8.0, 8.0];
        assert!(by.iter().zip(theirs).all(|(a, b)| (a - b).abs() < 1e-6 * b), "{by:?}");
        let by = by.into_iter().map(f64::from).collect();
        let divided = RotarySpec { scaling: RotaryScaling::Divided { by }, ..spec.clone() };
        assert!(divided.turns_like(&spec) && !spec.turns_like(&RotarySpec { theta: 51.0, ..spec.clone() }));
    }
}
