//! Random signs that anybody can make again: the projection matrices of Bergson, to the bit.
//!
//! A matrix is named by its module and side, and the name's MD5 starts a generator. Which one, and how its bits become
//! rows, is Bergson's `projection_version` ([`Signs`]). (Bergson 0.9, `bergson/gradients.py`, of whose kinds only
//! `rademacher` is reproducible outside PyTorch; Bergson 2.5, `bergson/collector/projection_matrix.py`.)

use std::ops::Range;

use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

use crate::util::numpy_pcg64::Pcg64;
use crate::util::philox::Philox;

/// The generator of the signs. Rows of different generators have nothing to do with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Signs {
    /// numpy's PCG64, one stream for a matrix: Bergson 0.x and 1.x (version 1).
    Pcg64,
    /// Philox4x32-10, a block for each 128 columns of a row: Bergson 2.x (version 2).
    Philox,
}

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

impl Scale {
    /// The absolute value of the entries of `[rows, columns]`. Divided in f32, as there.
    pub(super) fn entry(self, rows: usize, columns: usize) -> f32 {
        let divisor = match self {
            Self::Jl => rows,
            Self::RowNorm => columns,
        };
        1.0 / (divisor as f32).sqrt()
    }
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
pub fn rademacher(signs: Signs, module: &str, side: Side, rows: usize, columns: usize, scale: Scale) -> Vec<f32> {
    let digest: [u8; 16] = Md5::digest(format!("{module}/{}", side.name()).as_bytes()).into();
    let bits = match signs {
        Signs::Pcg64 => pcg64_bits(digest, rows * columns),
        Signs::Philox => philox_bits(digest, rows, columns),
    };
    let entry = scale.entry(rows, columns);
    bits.into_iter().map(|bit| if bit { entry } else { -entry }).collect()
}

/// Columns of a matrix that is too large to be held: of whole gradients, flattened, as Bergson's `projection_target:
/// global` draws it. Version 1 draws it as any other; version 2 cuts it into blocks of columns, each with a name of its own.
#[derive(Debug, Clone)]
pub struct SignColumns {
    signs: Signs,
    name: String,
    rows: usize,
    columns: usize,
}

impl SignColumns {
    /// Entries that Bergson 2 holds at once: what its blocks are cut by.
    const BLOCK_ENTRIES: usize = 1 << 27;

    pub fn global(signs: Signs, module: &str, rows: usize, columns: usize) -> Self {
        Self { signs, name: format!("{module}/{}", Side::Single.name()), rows, columns }
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Calls `f` for every entry of these columns of a row: whether it is positive.
    ///
    /// # Panics
    /// Columns or a row that are not there.
    pub fn each(&self, row: usize, columns: Range<usize>, mut f: impl FnMut(bool)) {
        assert!(row < self.rows && columns.end <= self.columns, "the entries are there");
        match self.signs {
            Signs::Pcg64 => {
                let first = row as u128 * self.columns as u128 + columns.start as u128;
                let mut pcg = Pcg64::new(pcg64_seed(Md5::digest(self.name.as_bytes()).into()));
                pcg.skip(first / 64);
                let (mut at, mut left) = ((first % 64) as u32, columns.len());
                while left > 0 {
                    // The lowest byte comes first, and of each byte the highest bit.
                    let word = pcg.next_u64().swap_bytes().reverse_bits();
                    for bit in at..64.min(at + left.min(64) as u32) {
                        f(word >> bit & 1 == 1);
                        left -= 1;
                    }
                    at = 0;
                }
            }
            Signs::Philox => {
                let width = (Self::BLOCK_ENTRIES / self.rows).max(1);
                let mut start = columns.start;
                while start < columns.end {
                    let block = start / width * width;
                    let end = columns.end.min(block + width);
                    let philox = philox_of(Md5::digest(format!("{}/{block}", self.name).as_bytes()).into());
                    philox_row(philox, row, start - block..end - block, &mut f);
                    start = end;
                }
            }
        }
    }
}

/// One stream for the whole matrix, of its bytes the highest bit first.
fn pcg64_bits(digest: [u8; 16], count: usize) -> Vec<bool> {
    let mut pcg = Pcg64::new(pcg64_seed(digest));
    let bytes = std::iter::repeat_with(|| pcg.next_u64().to_le_bytes()).flatten();
    bytes.flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1)).take(count).collect()
}

/// The digest as a big-endian number, modulo 2^63 - 1.
fn pcg64_seed(digest: [u8; 16]) -> u64 {
    const MODULUS: u128 = (1 << 63) - 1;
    (u128::from_be_bytes(digest) % MODULUS) as u64
}

/// Entry `(r, c)` is bit `c % 128` of block `(c / 128, r)`, so a smaller matrix of the same name is a corner of a larger.
fn philox_bits(digest: [u8; 16], rows: usize, columns: usize) -> Vec<bool> {
    let mut bits = Vec::with_capacity(rows * columns);
    (0..rows).for_each(|row| philox_row(philox_of(digest), row, 0..columns, &mut |bit| bits.push(bit)));
    bits
}

fn philox_of([a, b, c, d, e, f, g, h, ..]: [u8; 16]) -> Philox {
    Philox::new([[a, b, c, d], [e, f, g, h]].map(u32::from_le_bytes))
}

fn philox_row(philox: Philox, row: usize, columns: Range<usize>, f: &mut impl FnMut(bool)) {
    const BLOCK: usize = 128;
    for block in columns.start / BLOCK..columns.end.div_ceil(BLOCK) {
        let words = philox.block([block as u32, row as u32, 0, 0]);
        let (first, last) = (columns.start.max(block * BLOCK), columns.end.min((block + 1) * BLOCK));
        (first % BLOCK..=(last - 1) % BLOCK).for_each(|bit| f(words[bit / 32] >> (bit % 32) & 1 == 1));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::Value;

    use super::*;

    const BOTH: [Signs; 2] = [Signs::Pcg64, Signs::Philox];

    #[test]
    fn seeds_and_signs_are_those_of_bergson_1() {
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
            let digest = Md5::digest(format!("{module}/{}", side.name()).as_bytes()).into();
            assert_eq!(pcg64_seed(digest), wanted, "{module}");
            let signs = rademacher(Signs::Pcg64, module, side, 5, 11, Scale::Jl);
            assert_eq!(signs.len(), 55);
            for (index, sign) in signs.iter().enumerate() {
                let bit = bytes[index / 8] >> (7 - index % 8) & 1;
                assert_eq!(*sign, (2.0 * f32::from(bit) - 1.0) / 5f32.sqrt(), "{module}, entry {index}");
            }
        }
        assert_eq!(rademacher(Signs::Pcg64, "x", Side::Left, 4, 9, Scale::RowNorm)[0].abs(), 1.0 / 3.0);
    }

    /// Recorded by `tests/oracle/bergson_signs.py`.
    #[test]
    fn matrices_are_those_of_bergson_2() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/bergson_signs.json");
        let recorded: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let cases = recorded["cases"].as_array().unwrap();
        assert_eq!(cases.len(), 5);
        for case in cases {
            let text = |name: &str| case[name].as_str().unwrap();
            let number = |name: &str| case[name].as_u64().unwrap() as usize;
            let side = [Side::Left, Side::Right, Side::Single].into_iter().find(|side| side.name() == text("side"));
            let scale = if text("scale") == "jl" { Scale::Jl } else { Scale::RowNorm };
            let (rows, columns) = (number("rows"), number("columns"));
            let ours = rademacher(Signs::Philox, text("module"), side.unwrap(), rows, columns, scale);
            let entry = f32::from_bits(number("entry_bits") as u32);
            assert_eq!(ours.len(), rows * columns);
            for (row, signs) in ours.chunks(columns).zip(case["signs"].as_array().unwrap()) {
                let hex = signs.as_str().unwrap();
                for (column, value) in row.iter().enumerate() {
                    let byte = u8::from_str_radix(&hex[column / 8 * 2..][..2], 16).unwrap();
                    let wanted = if byte >> (column % 8) & 1 == 1 { entry } else { -entry };
                    assert_eq!(value.to_bits(), wanted.to_bits(), "{case}, column {column}");
                }
            }
        }
    }

    /// The matrix of a whole gradient in pieces, against one that is drawn at once.
    #[test]
    fn columns_of_a_large_matrix_are_those_of_the_whole() {
        for (signs, rows, columns, name) in [
            (Signs::Pcg64, 5, 333, "layers.1.mlp/single"),
            (Signs::Philox, 5, 333, "layers.1.mlp/single/0"),
            // Blocks of 2^27 / 2^20 = 128 columns.
            (Signs::Philox, 1 << 20, 300, "layers.1.mlp/single/256"),
        ] {
            let all = SignColumns::global(signs, "layers.1.mlp", rows, columns);
            let digest = Md5::digest(name.as_bytes()).into();
            let taken = rows.min(5);
            let block = if rows > 5 { 256 } else { 0 };
            let width = columns - block;
            let wanted = match signs {
                Signs::Pcg64 => pcg64_bits(digest, taken * width),
                Signs::Philox => philox_bits(digest, taken, width),
            };
            for row in 0..taken {
                let mut found = Vec::new();
                for run in [block..block + 1, block + 1..block + 17, block + 17..columns] {
                    all.each(row, run, |bit| found.push(bit));
                }
                assert_eq!(found, wanted[row * width..][..width], "{signs:?}, {rows} rows, row {row}");
            }
            let (mut across, mut apart) = (Vec::new(), Vec::new());
            all.each(3, 100..columns, |bit| across.push(bit));
            (100..columns).for_each(|column| all.each(3, column..column + 1, |bit| apart.push(bit)));
            assert_eq!(across, apart);
        }
    }

    #[test]
    fn a_smaller_matrix_is_a_corner_of_a_larger_one_of_philox() {
        let sign = |rows, columns| {
            let matrix = rademacher(Signs::Philox, "layers.0.mlp", Side::Right, rows, columns, Scale::Jl);
            move |row: usize, column: usize| matrix[row * columns + column].signum()
        };
        let (small, large) = (sign(3, 130), sign(8, 400));
        assert!((0..3).all(|row| (0..130).all(|column| small(row, column) == large(row, column))));
        assert!((0..130).any(|column| large(0, column) != large(1, column)));
        assert!((0..128).any(|column| large(0, column) != large(0, column + 128)));
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
        for signs in BOTH {
            let draws: Vec<f64> = (0..400)
                .map(|draw| {
                    let matrix = rademacher(signs, &format!("module {draw}"), Side::Left, p, n, Scale::Jl);
                    dot(&times(&matrix, &a), &times(&matrix, &b))
                })
                .collect();
            let mean = draws.iter().sum::<f64>() / draws.len() as f64;
            let variance = draws.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / (draws.len() - 1) as f64;
            let (wanted, error) = (dot(&a, &b), (variance / draws.len() as f64).sqrt());
            assert!((mean - wanted).abs() < 4.0 * error, "{signs:?}: {mean} for {wanted}, standard error {error}");
            // (|a|^2 |b|^2 + <a, b>^2) / p bounds the variance.
            let bound = (dot(&a, &a) * dot(&b, &b) + wanted * wanted) / p as f64;
            assert!(variance < 1.3 * bound, "{signs:?}: variance {variance} above {bound}");
        }
    }
}
