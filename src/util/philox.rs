//! Philox4x32-10, to the bit: 128 random bits for each counter, none of which depends on those before it (Salmon, Moraes,
//! Dror, Shaw: Parallel Random Numbers: As Easy as 1, 2, 3. SC 2011).

/// The multipliers of a round, and what is added to the key after it.
const MULTIPLIERS: [u32; 2] = [0xd251_1f53, 0xcd9e_8d57];
const KEY_STEPS: [u32; 2] = [0x9e37_79b9, 0xbb67_ae85];
const ROUNDS: usize = 10;

/// A stream of blocks that can be read in any order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Philox {
    key: [u32; 2],
}

impl Philox {
    pub fn new(key: [u32; 2]) -> Self {
        Self { key }
    }

    /// The block with a number. Its first word is the lowest.
    pub fn block(&self, counter: [u32; 4]) -> [u32; 4] {
        let ([mut x0, mut x1, mut x2, mut x3], mut key) = (counter, self.key);
        for _ in 0..ROUNDS {
            let (high0, low0) = product(MULTIPLIERS[0], x0);
            let (high1, low1) = product(MULTIPLIERS[1], x2);
            [x0, x1, x2, x3] = [high1 ^ x1 ^ key[0], low1, high0 ^ x3 ^ key[1], low0];
            key = [key[0].wrapping_add(KEY_STEPS[0]), key[1].wrapping_add(KEY_STEPS[1])];
        }
        [x0, x1, x2, x3]
    }
}

/// High and low half of a product.
fn product(a: u32, b: u32) -> (u32, u32) {
    let product = u64::from(a) * u64::from(b);
    ((product >> 32) as u32, product as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers of the authors' library (Random123, `tests/kat_vectors`, `philox4x32 10`).
    #[test]
    fn blocks_are_random123s() {
        let all = u32::MAX;
        let pi = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        let cases: [([u32; 4], [u32; 2], [u32; 4]); 3] = [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([all; 4], [all; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (pi, [0xa409_3822, 0x299f_31d0], [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]),
        ];
        for (counter, key, wanted) in cases {
            assert_eq!(Philox::new(key).block(counter), wanted, "{counter:x?}");
        }
    }
}
