//! CPython's `random.Random`: MT19937 with Python's seeding and its drawing rules, bit for bit.
//!
//! lm-evaluation-harness draws its few-shot examples with it, so its prompts can only be reproduced with it.
//! Sources: CPython 3.11 `Modules/_randommodule.c` and `Lib/random.py`; Matsumoto and Nishimura 1998.

const N: usize = 624;
const M: usize = 397;

/// One stream.
#[derive(Clone)]
pub struct PythonRandom {
    state: [u32; N],
    index: usize,
}

impl PythonRandom {
    /// `random.Random(seed)` for a non-negative integer seed.
    pub fn new(seed: u64) -> Self {
        let low = (seed & 0xffff_ffff) as u32;
        let high = (seed >> 32) as u32;
        let key: &[u32] = if high == 0 { &[low] } else { &[low, high] };
        Self::init_by_array(key)
    }

    fn init_genrand(seed: u32) -> [u32; N] {
        let mut state = [0u32; N];
        state[0] = seed;
        for i in 1..N {
            let previous = state[i - 1];
            state[i] = 1_812_433_253u32.wrapping_mul(previous ^ (previous >> 30)).wrapping_add(i as u32);
        }
        state
    }

    fn init_by_array(key: &[u32]) -> Self {
        let mut state = Self::init_genrand(19_650_218);
        let (mut i, mut j) = (1, 0);
        for _ in 0..N.max(key.len()) {
            let previous = state[i - 1];
            state[i] = (state[i] ^ (previous ^ (previous >> 30)).wrapping_mul(1_664_525))
                .wrapping_add(key[j])
                .wrapping_add(j as u32);
            i += 1;
            j += 1;
            if i >= N {
                state[0] = state[N - 1];
                i = 1;
            }
            if j >= key.len() {
                j = 0;
            }
        }
        for _ in 0..N - 1 {
            let previous = state[i - 1];
            state[i] = (state[i] ^ (previous ^ (previous >> 30)).wrapping_mul(1_566_083_941)).wrapping_sub(i as u32);
            i += 1;
            if i >= N {
                state[0] = state[N - 1];
                i = 1;
            }
        }
        state[0] = 0x8000_0000;
        Self { state, index: N }
    }

    /// The next 32 bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.index >= N {
            self.refill();
        }
        let mut y = self.state[self.index];
        self.index += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    fn refill(&mut self) {
        for i in 0..N {
            let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % N] & 0x7fff_ffff);
            let twist = if y & 1 == 0 { 0 } else { 0x9908_b0df };
            self.state[i] = self.state[(i + M) % N] ^ (y >> 1) ^ twist;
        }
        self.index = 0;
    }

    /// `random()`: 53 bits in [0, 1).
    pub fn random(&mut self) -> f64 {
        let a = f64::from(self.next_u32() >> 5);
        let b = f64::from(self.next_u32() >> 6);
        (a * 67_108_864.0 + b) / 9_007_199_254_740_992.0
    }

    /// `_randbelow(n)` for 1 <= n < 2^32: the top bits of a draw, again until they are below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0 && n < 1 << 32, "draws need 1 <= n < 2^32");
        let shift = 32 - (usize::BITS - n.leading_zeros());
        loop {
            let draw = (self.next_u32() >> shift) as usize;
            if draw < n {
                return draw;
            }
        }
    }

    /// `sample(range(n), k)`.
    ///
    /// # Panics
    /// When `k > n`, as Python raises `ValueError`.
    pub fn sample(&mut self, n: usize, k: usize) -> Vec<usize> {
        assert!(k <= n, "sample larger than population");
        // Python chooses between two algorithms by which needs less memory; they draw differently.
        let mut set_size = 21usize;
        if k > 5 {
            set_size += 4usize.pow(((3 * k) as f64).log(4.0).ceil() as u32);
        }
        if n <= set_size {
            let mut pool: Vec<usize> = (0..n).collect();
            (0..k)
                .map(|i| {
                    let j = self.below(n - i);
                    let chosen = pool[j];
                    pool[j] = pool[n - i - 1];
                    chosen
                })
                .collect()
        } else {
            let mut chosen = Vec::with_capacity(k);
            while chosen.len() < k {
                let j = self.below(n);
                if !chosen.contains(&j) {
                    chosen.push(j);
                }
            }
            chosen
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Golden vectors of CPython 3.11.
    #[test]
    fn equals_cpython() {
        let mut rng = PythonRandom::new(1234);
        let draws: Vec<u32> = (0..4).map(|_| rng.next_u32()).collect();
        assert_eq!(draws, [4_150_886_329, 3_342_196_574, 1_892_932_127, 501_869_158]);
        let mut rng = PythonRandom::new(1234);
        assert_eq!(rng.random().to_bits(), 0.966_453_535_692_138_8_f64.to_bits());
        assert_eq!(rng.random().to_bits(), 0.440_732_599_175_352_7_f64.to_bits());
        let mut rng = PythonRandom::new(1234);
        assert_eq!(rng.sample(1000, 5), [989, 796, 451, 119, 7]);
        assert_eq!(rng.sample(1000, 5), [92, 932, 965, 961, 826]);
        assert_eq!(PythonRandom::new(1234).sample(20, 5), [14, 3, 0, 2, 1]);
        assert_eq!(PythonRandom::new(1234).sample(7473, 5), [6374, 3610, 957, 61, 742]);
        let mut rng = PythonRandom::new(0);
        let choices: Vec<usize> = (0..10).map(|_| (rng.random() * 10.0) as usize).collect();
        assert_eq!(choices, [8, 7, 4, 2, 5, 4, 7, 3, 4, 5]);
    }
}
