//! Element types of stored rows.

use serde::{Deserialize, Serialize};

use crate::kernels::cpu::{Isa, vectors};

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
    pub(super) fn widen(self, isa: Isa, bytes: &[u8], out: &mut [f32]) {
        match self {
            Self::F16 => vectors::widen_f16(isa, bytes, out),
            Self::Bf16 => vectors::widen_bf16(isa, bytes, out),
            Self::F32 => {
                for (out, b) in out.iter_mut().zip(bytes.as_chunks().0) {
                    *out = f32::from_le_bytes(*b);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_beyond_the_range_become_the_largest() {
        for (element, largest) in [(Element::F16, 65_504.0), (Element::Bf16, 3.389_531_4e38), (Element::F32, f32::MAX)]
        {
            let mut bytes = Vec::new();
            let saturated = element.encode(&[f32::MAX, f32::MIN, 1.0], &mut bytes);
            let mut back = [0.0; 3];
            element.widen(Isa::best(), &bytes, &mut back);
            assert_eq!(back, [largest, -largest, 1.0], "{element:?}");
            assert_eq!(saturated, if element == Element::F32 { 0 } else { 2 });
        }
    }
}
