//! Element types of stored rows.

use serde::{Deserialize, Serialize};

/// What a stored number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Element {
    F16,
    Bf16,
    F32,
}

impl Element {
    pub const ALL: [Self; 3] = [Self::F16, Self::Bf16, Self::F32];

    /// Bytes of a number.
    pub fn size(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
        }
    }

    /// In our index.
    pub fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::F32 => "f32",
        }
    }

    /// In a safetensors header.
    pub(super) fn safetensors(self) -> &'static str {
        match self {
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::F32 => "F32",
        }
    }

    /// In numpy, with the package `ml_dtypes`.
    pub(super) fn numpy(self) -> &'static str {
        match self {
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
            Self::F32 => "float32",
        }
    }

    /// The largest number. Larger ones are stored as this one, as Bergson does.
    fn largest(self) -> f32 {
        match self {
            Self::F16 => half::f16::MAX.to_f32(),
            Self::Bf16 => half::bf16::MAX.to_f32(),
            Self::F32 => f32::MAX,
        }
    }

    /// Appends finite numbers as little-endian bytes, rounded to nearest. Says how many were beyond the range.
    pub(super) fn encode(self, values: &[f32], bytes: &mut Vec<u8>) -> u64 {
        let largest = self.largest();
        let clamped = values.iter().map(|value| value.clamp(-largest, largest));
        match self {
            Self::F16 => bytes.extend(clamped.flat_map(|value| half::f16::from_f32(value).to_le_bytes())),
            Self::Bf16 => bytes.extend(clamped.flat_map(|value| half::bf16::from_f32(value).to_le_bytes())),
            Self::F32 => bytes.extend(clamped.flat_map(f32::to_le_bytes)),
        }
        values.iter().filter(|value| value.abs() > largest).count() as u64
    }

    /// Widens little-endian bytes, exactly.
    pub(super) fn widen(self, bytes: &[u8], out: &mut [f32]) {
        match self {
            Self::F16 => {
                for (out, b) in out.iter_mut().zip(bytes.as_chunks().0) {
                    *out = widen_half(u16::from_le_bytes(*b));
                }
            }
            Self::Bf16 => {
                for (out, b) in out.iter_mut().zip(bytes.as_chunks().0) {
                    *out = f32::from_bits(u32::from(u16::from_le_bytes(*b)) << 16);
                }
            }
            Self::F32 => {
                for (out, b) in out.iter_mut().zip(bytes.as_chunks().0) {
                    *out = f32::from_le_bytes(*b);
                }
            }
        }
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_widens_exactly() {
        for bits in 0..=u16::MAX {
            let wanted = half::f16::from_bits(bits).to_f32();
            let found = widen_half(bits);
            assert!(found.to_bits() == wanted.to_bits() || (found.is_nan() && wanted.is_nan()), "{bits:#x}");
        }
    }

    #[test]
    fn numbers_beyond_the_range_become_the_largest() {
        for (element, largest) in [(Element::F16, 65_504.0), (Element::Bf16, 3.389_531_4e38), (Element::F32, f32::MAX)]
        {
            let mut bytes = Vec::new();
            let saturated = element.encode(&[f32::MAX, f32::MIN, 1.0], &mut bytes);
            let mut back = [0.0; 3];
            element.widen(&bytes, &mut back);
            assert_eq!(back, [largest, -largest, 1.0], "{element:?}");
            assert_eq!(saturated, if element == Element::F32 { 0 } else { 2 });
        }
    }
}
