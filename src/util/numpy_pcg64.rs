//! numpy's `PCG64(seed)`, to the bit: a SeedSequence spreads the seed over 256 bits, which start a permuted congruential
//! generator (O'Neill 2014, XSL-RR 128/64). As in numpy 2.

/// A stream of 64-bit words.
#[derive(Debug, Clone)]
pub struct Pcg64 {
    state: u128,
    increment: u128,
}

const MULTIPLIER: u128 = 0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645;

impl Pcg64 {
    /// `numpy.random.PCG64(seed)`
    pub fn new(seed: u64) -> Self {
        let [a, b, c, d] = seed_words(seed);
        let wide = |high: u64, low: u64| u128::from(high) << 64 | u128::from(low);
        let mut pcg = Self { state: 0, increment: wide(c, d) << 1 | 1 };
        pcg.step();
        pcg.state = pcg.state.wrapping_add(wide(a, b));
        pcg.step();
        pcg
    }

    fn step(&mut self) {
        self.state = self.state.wrapping_mul(MULTIPLIER).wrapping_add(self.increment);
    }

    /// Leaves out the next `words` words.
    pub fn skip(&mut self, mut words: u128) {
        // Two steps are one step of another generator of this kind (Brown 1994).
        let (mut multiplier, mut increment) = (MULTIPLIER, self.increment);
        while words > 0 {
            if words & 1 == 1 {
                self.state = self.state.wrapping_mul(multiplier).wrapping_add(increment);
            }
            increment = increment.wrapping_mul(multiplier.wrapping_add(1));
            multiplier = multiplier.wrapping_mul(multiplier);
            words >>= 1;
        }
    }

    pub fn next_u64(&mut self) -> u64 {
        self.step();
        let (high, low) = ((self.state >> 64) as u64, self.state as u64);
        (high ^ low).rotate_right((self.state >> 122) as u32)
    }
}

/// `SeedSequence(seed).generate_state(4, uint64)`
fn seed_words(seed: u64) -> [u64; 4] {
    const POOL: usize = 4;
    let (mut hash, multiply) = (0x43b0_d7e5_u32, 0x931e_8875_u32);
    let mut hashed = |value: u32| {
        let value = value ^ hash;
        hash = hash.wrapping_mul(multiply);
        let value = value.wrapping_mul(hash);
        value ^ value >> 16
    };
    let mut pool: [u32; POOL] = [seed as u32, (seed >> 32) as u32, 0, 0].map(&mut hashed);
    for source in 0..POOL {
        for target in (0..POOL).filter(|target| *target != source) {
            let mixed = 0xca01_f9dd_u32
                .wrapping_mul(pool[target])
                .wrapping_sub(0x4973_f715_u32.wrapping_mul(hashed(pool[source])));
            pool[target] = mixed ^ mixed >> 16;
        }
    }
    let mut hash = 0x8b51_f9dd_u32;
    let mut word = |index: usize| {
        let value = pool[index % POOL] ^ hash;
        hash = hash.wrapping_mul(0x58f3_8ded);
        let value = value.wrapping_mul(hash);
        u64::from(value ^ value >> 16)
    };
    let words: [u64; 8] = std::array::from_fn(&mut word);
    std::array::from_fn(|index| words[2 * index] | words[2 * index + 1] << 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From numpy 2: `numpy.random.PCG64(seed).random_raw(3)`.
    #[test]
    fn streams_are_numpys() {
        let raw = |seed: u64| {
            let mut pcg = Pcg64::new(seed);
            [pcg.next_u64(), pcg.next_u64(), pcg.next_u64()]
        };
        assert_eq!(raw(0), [11_749_869_230_777_074_271, 4_976_686_463_289_251_617, 755_828_109_848_996_024]);
        for words in [0, 1, 2, 7, 64, 1000] {
            let (mut stepped, mut skipped) = (Pcg64::new(9), Pcg64::new(9));
            for _ in 0..words {
                stepped.next_u64();
            }
            skipped.skip(words);
            assert_eq!(stepped.next_u64(), skipped.next_u64(), "{words}");
        }
        assert_eq!(raw(1 << 40), [6_655_761_860_222_389_633, 11_588_987_068_175_201_250, 18_358_741_258_079_589_334]);
    }
}
