//! The blocks that GGUF stores weights in, and their values as f32, bit for bit those of ggml.
//!
//! Source: `dequantize_row_*` and `quantize_row_q8_0_ref` of ggml's `ggml-quants.c`, whose order of float operations
//! is kept: each product and each difference is rounded on its own. All layouts are little-endian. A scale that is
//! infinite or NaN makes NaN where ggml makes NaN, perhaps of other bits.

use half::f16;

/// How the elements of a tensor are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Quant {
    F32,
    F16,
    Bf16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
    Iq4Nl,
    Iq4Xs,
}

impl Quant {
    pub const ALL: [Self; 15] = [
        Self::F32,
        Self::F16,
        Self::Bf16,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q2K,
        Self::Q3K,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
        Self::Iq4Nl,
        Self::Iq4Xs,
    ];

    /// Number in the file, name, elements of a block, bytes of a block.
    const fn row(self) -> (u32, &'static str, usize, usize) {
        match self {
            Self::F32 => (0, "F32", 1, 4),
            Self::F16 => (1, "F16", 1, 2),
            Self::Bf16 => (30, "BF16", 1, 2),
            Self::Q4_0 => (2, "Q4_0", 32, 18),
            Self::Q4_1 => (3, "Q4_1", 32, 20),
            Self::Q5_0 => (6, "Q5_0", 32, 22),
            Self::Q5_1 => (7, "Q5_1", 32, 24),
            Self::Q8_0 => (8, "Q8_0", 32, 34),
            Self::Q2K => (10, "Q2_K", 256, 84),
            Self::Q3K => (11, "Q3_K", 256, 110),
            Self::Q4K => (12, "Q4_K", 256, 144),
            Self::Q5K => (13, "Q5_K", 256, 176),
            Self::Q6K => (14, "Q6_K", 256, 210),
            Self::Iq4Nl => (20, "IQ4_NL", 32, 18),
            Self::Iq4Xs => (23, "IQ4_XS", 256, 136),
        }
    }

    /// The type of a number that ggml gives to types; `None` for those that cannot be read.
    pub fn from_ggml_type(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|quant| quant.ggml_type() == number)
    }

    pub const fn ggml_type(self) -> u32 {
        self.row().0
    }

    /// The name that llama.cpp uses.
    pub const fn name(self) -> &'static str {
        self.row().1
    }

    /// Elements of a block. A row of a tensor has whole blocks.
    pub const fn block_len(self) -> usize {
        self.row().2
    }

    /// Bytes of a block.
    pub const fn block_bytes(self) -> usize {
        self.row().3
    }
}

/// The values of whole blocks: `bytes` has some blocks, `out` has a place for each of their elements.
///
/// # Panics
///
/// When the two lengths do not belong together, which is the caller's mistake.
pub fn dequantise(quant: Quant, bytes: &[u8], out: &mut [f32]) {
    match quant {
        Quant::F32 => each(bytes, out, |b: &[u8; 4], y: &mut [f32; 1]| y[0] = f32::from_le_bytes(*b)),
        Quant::F16 => each(bytes, out, |b: &[u8; 2], y: &mut [f32; 1]| y[0] = f16::from_le_bytes(*b).to_f32()),
        Quant::Bf16 => {
            let widen = |b: &[u8; 2]| f32::from_bits(u32::from(u16::from_le_bytes(*b)) << 16);
            each(bytes, out, |b: &[u8; 2], y: &mut [f32; 1]| y[0] = widen(b));
        }
        Quant::Q4_0 => each(bytes, out, q4_0),
        Quant::Q4_1 => each(bytes, out, q4_1),
        Quant::Q5_0 => each(bytes, out, q5_0),
        Quant::Q5_1 => each(bytes, out, q5_1),
        Quant::Q8_0 => each(bytes, out, q8_0),
        Quant::Q2K => each(bytes, out, q2_k),
        Quant::Q3K => each(bytes, out, q3_k),
        Quant::Q4K => each(bytes, out, q4_k),
        Quant::Q5K => each(bytes, out, q5_k),
        Quant::Q6K => each(bytes, out, q6_k),
        Quant::Iq4Nl => each(bytes, out, iq4_nl),
        Quant::Iq4Xs => each(bytes, out, iq4_xs),
    }
}

/// The values of whole blocks.
pub fn values(quant: Quant, bytes: &[u8]) -> Vec<f32> {
    let mut values = vec![0f32; bytes.len() / quant.block_bytes() * quant.block_len()];
    dequantise(quant, bytes, &mut values);
    values
}

fn each<const B: usize, const L: usize>(bytes: &[u8], out: &mut [f32], one: impl Fn(&[u8; B], &mut [f32; L])) {
    let (blocks, rest) = bytes.as_chunks();
    let (places, tail) = out.as_chunks_mut();
    assert!(rest.is_empty() && tail.is_empty() && blocks.len() == places.len(), "blocks and places must agree");
    for (block, place) in blocks.iter().zip(places) {
        one(block, place);
    }
}

/// The half-precision number at a byte of a block.
fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// Bytes of two four-bit numbers: the low ones make the first half of `y`, the high ones the second.
fn nibbles(bytes: &[u8], y: &mut [f32], low: impl Fn(u8) -> f32, high: impl Fn(u8) -> f32) {
    let (first, second) = y.split_at_mut(bytes.len());
    for ((first, second), &byte) in first.iter_mut().zip(second).zip(bytes) {
        *first = low(byte & 15);
        *second = high(byte >> 4);
    }
}

/// Scale; 32 numbers of four bits, less 8.
fn q4_0(block: &[u8; 18], y: &mut [f32; 32]) {
    let d = half_at(block, 0);
    let value = |q: u8| (f32::from(q) - 8.0) * d;
    nibbles(&block[2..], y, value, value);
}

/// Scale and minimum; 32 numbers of four bits.
fn q4_1(block: &[u8; 20], y: &mut [f32; 32]) {
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    let value = |q: u8| f32::from(q) * d + m;
    nibbles(&block[4..], y, value, value);
}

/// The 32 fifth bits and the 32 lower four bits of numbers.
fn five_bits(fifth: &[u8], lower: &[u8], y: &mut [f32; 32], value: impl Fn(u8) -> f32) {
    let fifth = u32::from_le_bytes([fifth[0], fifth[1], fifth[2], fifth[3]]);
    let bit = |place: usize| ((fifth >> place) as u8 & 1) << 4;
    let (first, second) = y.split_at_mut(16);
    for (i, ((first, second), &byte)) in first.iter_mut().zip(second).zip(lower).enumerate() {
        *first = value((byte & 15) | bit(i));
        *second = value((byte >> 4) | bit(i + 16));
    }
}

/// Scale; 32 fifth bits; 32 numbers of four bits; less 16.
fn q5_0(block: &[u8; 22], y: &mut [f32; 32]) {
    let d = half_at(block, 0);
    five_bits(&block[2..6], &block[6..], y, |q| (f32::from(q) - 16.0) * d);
}

/// Scale and minimum; 32 fifth bits; 32 numbers of four bits.
fn q5_1(block: &[u8; 24], y: &mut [f32; 32]) {
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    five_bits(&block[4..8], &block[8..], y, |q| f32::from(q) * d + m);
}

/// Scale; 32 signed bytes.
fn q8_0(block: &[u8; 34], y: &mut [f32; 32]) {
    let d = half_at(block, 0);
    for (y, q) in y.iter_mut().zip(&block[2..]) {
        *y = f32::from(q.cast_signed()) * d;
    }
}

/// 16 pairs of a four-bit scale and a four-bit minimum; 256 numbers of two bits; scales of both.
fn q2_k(block: &[u8; 84], y: &mut [f32; 256]) {
    let (scales, quants) = (&block[..16], &block[16..80]);
    let (d, dmin) = (half_at(block, 80), half_at(block, 82));
    for (i, (y, scale)) in y.chunks_exact_mut(16).zip(scales).enumerate() {
        let (dl, ml) = (d * f32::from(scale & 15), dmin * f32::from(scale >> 4));
        let (from, shift) = two_bits(i);
        for (y, q) in y.iter_mut().zip(&quants[from..from + 16]) {
            *y = dl * f32::from((q >> shift) & 3) - ml;
        }
    }
}

/// Where the two-bit numbers of the `i`-th run of 16 elements lie: the first byte and the shift.
fn two_bits(i: usize) -> (usize, usize) {
    (i / 8 * 32 + i % 2 * 16, i % 8 / 2 * 2)
}

/// 256 third bits; 256 numbers of two bits; 16 scales of six bits, less 32; their scale.
fn q3_k(block: &[u8; 110], y: &mut [f32; 256]) {
    let (third, quants, scales) = (&block[..32], &block[32..96], &block[96..108]);
    let d = half_at(block, 108);
    for (i, y) in y.chunks_exact_mut(16).enumerate() {
        let low = if i < 8 { scales[i] & 15 } else { scales[i - 8] >> 4 };
        let scale = low | (((scales[8 + i % 4] >> (i / 4 * 2)) & 3) << 4);
        let dl = d * (f32::from(scale) - 32.0);
        let (from, shift) = two_bits(i);
        for ((y, q), third) in y.iter_mut().zip(&quants[from..from + 16]).zip(&third[i % 2 * 16..]) {
            let less = if (third >> (i / 2)) & 1 == 1 { 0.0 } else { 4.0 };
            *y = dl * (f32::from((q >> shift) & 3) - less);
        }
    }
}

/// Six-bit scale and minimum of the `i`-th run of 32 elements, out of the twelve bytes that hold eight of each.
fn scale_min(packed: &[u8], i: usize) -> (f32, f32) {
    let (scale, min) = if i < 4 {
        (packed[i] & 63, packed[i + 4] & 63)
    } else {
        ((packed[i + 4] & 15) | (packed[i - 4] >> 6 << 4), (packed[i + 4] >> 4) | (packed[i] >> 6 << 4))
    };
    (f32::from(scale), f32::from(min))
}

/// Scales of scales and of minima; eight of each, of six bits; 256 numbers of four bits.
fn q4_k(block: &[u8; 144], y: &mut [f32; 256]) {
    let scales = four_bit_scales(block);
    for (i, (y, quants)) in y.chunks_exact_mut(64).zip(block[16..].chunks_exact(32)).enumerate() {
        let ((d1, m1), (d2, m2)) = (scales[2 * i], scales[2 * i + 1]);
        nibbles(quants, y, |q| d1 * f32::from(q) - m1, |q| d2 * f32::from(q) - m2);
    }
}

/// Scale and minimum of each run of 32 elements of a block of [`Quant::Q4K`]: an element is `scale * q - minimum`.
pub fn four_bit_scales(block: &[u8]) -> [(f32, f32); 8] {
    let (d, dmin) = (half_at(block, 0), half_at(block, 2));
    std::array::from_fn(|run| {
        let (scale, min) = scale_min(&block[4..16], run);
        (d * scale, dmin * min)
    })
}

/// As `q4_k`, with 256 fifth bits before the four lower ones.
fn q5_k(block: &[u8; 176], y: &mut [f32; 256]) {
    let (d, dmin) = (half_at(block, 0), half_at(block, 2));
    let (fifth, quants) = (&block[16..48], &block[48..]);
    for (i, y) in y.chunks_exact_mut(32).enumerate() {
        let (scale, min) = scale_min(&block[4..16], i);
        let (dl, ml) = (d * scale, dmin * min);
        for ((y, q), fifth) in y.iter_mut().zip(&quants[i / 2 * 32..]).zip(fifth) {
            let q = ((q >> (i % 2 * 4)) & 15) | (((fifth >> i) & 1) << 4);
            *y = dl * f32::from(q) - ml;
        }
    }
}

/// 256 numbers of four lower bits; 256 of two upper bits; 16 signed scales of numbers less 32; their scale.
fn q6_k(block: &[u8; 210], y: &mut [f32; 256]) {
    let (lower, upper, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let d = half_at(block, 208);
    for (i, (y, scale)) in y.chunks_exact_mut(16).zip(scales).enumerate() {
        let scale = d * f32::from(scale.cast_signed());
        // A half of the block has 128 elements: 64 bytes of lower bits, used twice, and 32 of upper bits, used four times.
        let (half, run) = (i / 8, i % 8);
        let lower = &lower[half * 64 + run % 4 * 16..];
        let upper = &upper[half * 32 + run % 2 * 16..];
        for ((y, low), up) in y.iter_mut().zip(lower).zip(upper) {
            let q = ((low >> (run / 4 * 4)) & 15) | (((up >> (run / 2 * 2)) & 3) << 4);
            *y = scale * (f32::from(q) - 32.0);
        }
    }
}

/// The sixteen values of the IQ4 types.
const IQ4: [f32; 16] =
    [-127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0, 69.0, 89.0, 113.0];

/// Scale; 32 places in the table.
fn iq4_nl(block: &[u8; 18], y: &mut [f32; 32]) {
    let d = half_at(block, 0);
    let value = |q: u8| d * IQ4[usize::from(q)];
    nibbles(&block[2..], y, value, value);
}

/// Scale of scales; eight scales less 32, of two upper and four lower bits; 256 places in the table.
fn iq4_xs(block: &[u8; 136], y: &mut [f32; 256]) {
    let d = half_at(block, 0);
    let upper = u16::from_le_bytes([block[2], block[3]]);
    for (i, (y, quants)) in y.chunks_exact_mut(32).zip(block[8..].chunks_exact(16)).enumerate() {
        let scale = ((block[4 + i / 2] >> (i % 2 * 4)) & 15) | (((upper >> (2 * i)) as u8 & 3) << 4);
        let dl = d * (f32::from(scale) - 32.0);
        let value = |q: u8| dl * IQ4[usize::from(q)];
        nibbles(quants, y, value, value);
    }
}

/// Blocks of a half-precision scale and 32 signed bytes. The format has no place for numbers that are not finite: a NaN
/// becomes 0, and an infinite number gives its block an infinite scale.
///
/// # Panics
///
/// When the count is no multiple of 32, which is the caller's mistake.
pub fn quantise_q8_0(values: &[f32]) -> Vec<u8> {
    let (blocks, rest) = values.as_chunks::<32>();
    assert!(rest.is_empty(), "Q8_0 holds whole blocks of 32 elements");
    let mut out = Vec::with_capacity(blocks.len() * Quant::Q8_0.block_bytes());
    for block in blocks {
        let largest = block.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
        let d = largest / 127.0;
        let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
        out.extend(f16::from_f32(d).to_le_bytes());
        // Out of range only where the scale is so small that its inverse is infinite; ggml's conversion gives 0 there.
        let byte = |q: f32| if q.abs() < 128.0 { q as i8 as u8 } else { 0 };
        out.extend(block.iter().map(|x| byte((x * inverse).round())));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two blocks of each type, made by llama.cpp, and their values by gguf-py and by ggml's C functions.
    const RECORDED: &[u8] = include_bytes!("../../../tests/fixtures/gguf/blocks.safetensors");

    /// The bytes of one tensor of the record; its header is plain enough to be searched as text.
    fn recorded(name: &str) -> Option<&'static [u8]> {
        let length = u64::from_le_bytes(RECORDED[..8].try_into().unwrap()) as usize;
        let header = std::str::from_utf8(&RECORDED[8..8 + length]).unwrap();
        let entry = header.split(&format!("\"{name}\":")).nth(1)?;
        let offsets = entry.split("\"data_offsets\":[").nth(1)?.split(']').next()?;
        let (begin, end) = offsets.split_once(',')?;
        Some(&RECORDED[8 + length..][begin.trim().parse().unwrap()..end.trim().parse().unwrap()])
    }

    fn floats(bytes: &[u8]) -> Vec<f32> {
        bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    }

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|x| x.to_bits()).collect()
    }

    #[test]
    fn values_are_those_of_ggml() {
        for quant in Quant::ALL {
            let name = quant.name();
            let Some(bytes) = recorded(&format!("{name}.bytes")) else {
                assert_eq!(quant, Quant::F32, "no record of {name}");
                continue;
            };
            assert_eq!(bytes.len(), 2 * quant.block_bytes(), "{name}");
            let mut values = vec![0.0; 2 * quant.block_len()];
            dequantise(quant, bytes, &mut values);
            let expected = floats(recorded(&format!("{name}.values")).unwrap());
            assert_eq!(bits(&values), bits(&expected), "{name}");
        }
    }

    #[test]
    fn q8_0_is_written_as_ggml_writes_it() {
        let source = floats(recorded("Q8_0.source").unwrap());
        assert_eq!(quantise_q8_0(&source), recorded("Q8_0.bytes").unwrap());
        assert_eq!(quantise_q8_0(&[0.0; 32]), [0; 34]);
        // Halves go away from zero; the largest value decides the scale.
        let mut values = [0.0; 32];
        (values[0], values[1], values[2]) = (-127.0, 0.5, -2.5);
        assert_eq!(quantise_q8_0(&values)[..5], [0x00, 0x3c, 129, 1, 253]);
    }

    #[test]
    fn extreme_values_have_blocks() {
        let mut values = [0.0; 32];
        values[0] = f32::from_bits(1);
        assert_eq!(quantise_q8_0(&values), [0; 34], "too small for a scale");
        values[0] = f32::MAX;
        assert_eq!(quantise_q8_0(&values)[..3], [0x00, 0x7c, 127], "an infinite scale");
        values[0] = f32::INFINITY;
        assert_eq!(quantise_q8_0(&values)[..4], [0x00, 0x7c, 0, 0]);
    }

    #[test]
    fn types_have_the_numbers_of_ggml() {
        for quant in Quant::ALL {
            assert_eq!(Quant::from_ggml_type(quant.ggml_type()), Some(quant));
        }
        assert_eq!(Quant::from_ggml_type(4), None);
        assert_eq!(Quant::from_ggml_type(u32::MAX), None);
    }

    #[test]
    #[should_panic(expected = "blocks and places must agree")]
    fn half_a_block_is_refused() {
        dequantise(Quant::Q8_0, &[0; 34], &mut [0.0; 31]);
    }
}
