//! Random signs that anybody can make again: the projection matrices of Bergson, to the bit.
//!
//! A matrix is named by its module and side. The name's MD5 seeds numpy's PCG64, whose bytes are the signs, the highest
//! bit of a byte first, row by row. (Bergson 0.9, `bergson/gradients.py`; only its kind `rademacher` is reproducible
//! outside PyTorch.)

use md5::{Digest, Md5};

use crate::util::numpy_pcg64::Pcg64;

/// Which factor of a gradient a matrix projects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Output gradients.
    Left,
    /// Inputs.
    Right,
    /// Whole gradients, flattened.
    Single,
}

/// What the signs are divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// `sqrt(rows)`: inner products are kept on average (Johnson and Lindenstrauss).
    Jl,
    /// `sqrt(columns)`: rows have length 1.
    RowNorm,
}

impl Side {
    pub fn name(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Right => "right",
            Self::Single => "single",
        }
    }
}

/// `[rows, columns]`, row by row: plus or minus one over the scale's divisor.
pub fn rademacher(module: &str, side: Side, rows: usize, columns: usize, scale: Scale) -> Vec<f32> {
    let mut pcg = Pcg64::new(seed(&format!("{module}/{}", side.name())));
    let divisor = match scale {
        Scale::Jl => rows,
        Scale::RowNorm => columns,
    };
    // Divided in f32, as there.
    let entry = 1.0 / (divisor as f32).sqrt();
    let mut signs = Vec::with_capacity(rows * columns);
    while signs.len() < rows * columns {
        for byte in pcg.next_u64().to_le_bytes() {
            signs.extend((0..8).rev().map(|bit| if byte >> bit & 1 == 1 { entry } else { -entry }));
        }
    }
    signs.truncate(rows * columns);
    signs
}

/// The MD5 of a name as a big-endian number, modulo 2^63 - 1.
fn seed(name: &str) -> u64 {
    const MODULUS: u128 = (1 << 63) - 1;
    let digest: [u8; 16] = Md5::digest(name.as_bytes()).into();
    (u128::from_be_bytes(digest) % MODULUS) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_and_signs_are_bergsons() {
        let cases: [(&str, Side, u64, [u8; 8]); 3] = [
            ("x", Side::Single, 1_474_355_511_259_441_517, [0x1b, 0xf3, 0x2f, 0x24, 0x0c, 0x66, 0x07, 0x50]),
            (
                "model.layers.3.mlp.down_proj",
                Side::Right,
                9_145_328_086_490_555_464,
                [0x65, 0x26, 0x53, 0x77, 0xef, 0x7c, 0x8b, 0x6e],
            ),
            (
                "gpt_neox.layers.0.attention.dense",
                Side::Left,
                6_599_577_420_026_762_696,
                [0x09, 0x72, 0x84, 0x90, 0x22, 0x94, 0x51, 0x5b],
            ),
        ];
        for (module, side, wanted, bytes) in cases {
            assert_eq!(seed(&format!("{module}/{}", side.name())), wanted, "{module}");
            let signs = rademacher(module, side, 5, 11, Scale::Jl);
            assert_eq!(signs.len(), 55);
            for (index, sign) in signs.iter().enumerate() {
                let bit = bytes[index / 8] >> (7 - index % 8) & 1;
                assert_eq!(*sign, (2.0 * f32::from(bit) - 1.0) / 5f32.sqrt(), "{module}, entry {index}");
            }
        }
        assert_eq!(rademacher("x", Side::Left, 4, 9, Scale::RowNorm)[0].abs(), 1.0 / 3.0);
    }

    /// The mean over many matrices of a projected inner product is the inner product.
    #[test]
    fn inner_products_are_kept_on_average() {
        let (n, p) = (50, 16);
        let a: Vec<f32> = (0..n).map(|i| (i as f32 * 0.7).sin()).collect();
        let b: Vec<f32> = (0..n).map(|i| (i as f32 * 0.3).cos() + 0.2).collect();
        let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| f64::from(x * y)).sum::<f64>();
        let times =
            |matrix: &[f32], x: &[f32]| -> Vec<f32> { matrix.chunks(n).map(|row| dot(row, x) as f32).collect() };
        let draws: Vec<f64> = (0..400)
            .map(|draw| {
                let matrix = rademacher(&format!("module {draw}"), Side::Left, p, n, Scale::Jl);
                dot(&times(&matrix, &a), &times(&matrix, &b))
            })
            .collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance = draws.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / (draws.len() - 1) as f64;
        let (wanted, error) = (dot(&a, &b), (variance / draws.len() as f64).sqrt());
        assert!((mean - wanted).abs() < 4.0 * error, "{mean} for {wanted}, standard error {error}");
        // (|a|^2 |b|^2 + <a, b>^2) / p bounds the variance.
        let bound = (dot(&a, &a) * dot(&b, &b) + wanted * wanted) / p as f64;
        assert!(variance < 1.3 * bound, "variance {variance} above {bound}");
    }
}
