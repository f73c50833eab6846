//! Values of expressions without an expression tree: an expression is what it is at a few random points.
//!
//! Two rational functions with the same value at a random point of a large prime field are the same, up to a chance of
//! their degree over the size of the field (Schwartz 1980, Zippel 1979): here below 1e-15 for degrees up to a thousand,
//! at each of [`POINTS`] points. The points are fixed, so that a verdict never changes.
//!
//! Roots are powers in the field. A square root that the field has is the one that is a square itself, which makes
//! roots of products products of roots; letters stand for squares, so that they and their products have one. What has
//! none (a negative number; half of all sums) gets a value of its own, which no law connects with others.

/// `82 * 8 * 3 * 5 * 7 * ... * 43 - 1`, a prime below 2^62: every number whose prime factors are at most 43 is a square,
/// -1 is none, and every odd root up to the 43rd is unique.
const PRIME: u64 = 4_291_145_716_787_769_839;
const POINTS: usize = 3;
/// Largest denominator of an exponent that is taken for a root.
const MOST_ROOT: i32 = 12;

/// What was read: a value, or an equation.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub(super) value: Value,
    /// The left side, and whether it is made of letters only.
    pub(super) left: Option<(Value, bool)>,
}

/// An expression at every point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Value {
    residues: [u64; POINTS],
    /// As a number, where it is rational and has no letters.
    number: Option<f64>,
    /// Written with a decimal point, perhaps as a percentage.
    decimal: bool,
}

impl Answer {
    /// A number as digits, with a sign and a decimal point perhaps.
    pub(super) fn number(digits: &str) -> Option<Self> {
        Value::number(digits).map(Self::from)
    }

    pub(super) fn percent(self) -> Self {
        Self { value: self.value.percent(), left: self.left }
    }

    /// Whether both are the same. An equation whose other side is a value, or that is compared with a value, stands
    /// for its right side.
    pub(super) fn same(&self, answer: &Self, precision: u32) -> bool {
        match (&self.left, &answer.left) {
            (Some((gold, _)), Some((left, _))) => {
                let (gold, answer) = (gold.minus(self.value), left.minus(answer.value));
                gold.same(answer, precision) || gold.same(answer.negated(), precision)
            }
            // `x = 1` answers "what is x"; `2x = 1` does not.
            (Some((_, false)), None) => false,
            _ => self.value.same(answer.value, precision),
        }
    }
}

impl From<Value> for Answer {
    fn from(value: Value) -> Self {
        Self { value, left: None }
    }
}

impl Value {
    pub fn integer(number: i64) -> Self {
        let residue = number.rem_euclid(PRIME as i64) as u64;
        Self { residues: [residue; POINTS], number: Some(number as f64), decimal: false }
    }

    /// Digits with at most one point. `None` if that is not what it is.
    pub fn number(text: &str) -> Option<Self> {
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.len() + fraction.len() == 0 || !whole.chars().chain(fraction.chars()).all(|c| c.is_ascii_digit()) {
            return None;
        }
        let residue = whole
            .bytes()
            .chain(fraction.bytes())
            .fold(0, |sum, digit| (multiply(sum, 10) + u64::from(digit - b'0')) % PRIME);
        let scale = power(10, fraction.len() as u64);
        let magnitude = Self {
            residues: [multiply(residue, inverse(scale)?); POINTS],
            number: digits.parse().ok(),
            decimal: digits.contains('.'),
        };
        Some(if negative { magnitude.negated() } else { magnitude })
    }

    /// A letter, or anything else whose value is not known.
    pub fn symbol(name: &str) -> Self {
        let square = |point: usize| power(scatter(name, &[point as u64]), 2);
        Self { residues: std::array::from_fn(square), number: None, decimal: false }
    }

    /// A function of which nothing is known but that equal arguments give equal values.
    pub fn function(name: &str, arguments: &[Self]) -> Self {
        let at = |point: usize| {
            let arguments: Vec<u64> = arguments.iter().map(|argument| argument.residues[point]).collect();
            scatter(name, &arguments)
        };
        Self { residues: std::array::from_fn(at), number: None, decimal: false }
    }

    pub fn is_number(self) -> bool {
        self.number.is_some()
    }

    fn combined(self, other: Self, residue: impl Fn(u64, u64) -> u64, number: impl Fn(f64, f64) -> f64) -> Self {
        let both = self.number.zip(other.number).map(|(a, b)| number(a, b));
        Self {
            residues: std::array::from_fn(|point| residue(self.residues[point], other.residues[point])),
            number: both.filter(|number| number.is_finite()),
            decimal: false,
        }
    }

    pub fn plus(self, other: Self) -> Self {
        self.combined(other, |a, b| (a + b) % PRIME, |a, b| a + b)
    }

    pub fn minus(self, other: Self) -> Self {
        self.combined(other, |a, b| (a + PRIME - b) % PRIME, |a, b| a - b)
    }

    /// Keeps it a decimal number.
    pub fn negated(self) -> Self {
        Self { decimal: self.decimal, ..Self::integer(0).minus(self) }
    }

    pub fn times(self, other: Self) -> Self {
        self.combined(other, multiply, |a, b| a * b)
    }

    /// `None` for a division by zero.
    pub fn over(self, other: Self) -> Option<Self> {
        let mut inverses = [0; POINTS];
        for (slot, residue) in inverses.iter_mut().zip(other.residues) {
            *slot = inverse(residue)?;
        }
        Some(self.times(Self { residues: inverses, number: other.number.map(|number| 1.0 / number), decimal: false }))
    }

    /// A hundredth; a decimal number stays one.
    pub fn percent(self) -> Self {
        let hundredth = self.over(Self::integer(100)).unwrap_or(self);
        Self { decimal: self.decimal, ..hundredth }
    }

    /// Whole exponents multiply out, simple fractions are roots, others make a function of both. `None` for zero to a negative power.
    pub fn to_the(self, exponent: Self) -> Option<Self> {
        let over = |n: i32| {
            let times = exponent.number? * f64::from(n);
            ((times - times.round()).abs() < 1e-9 && times.abs() <= 1e9).then_some((times.round(), n))
        };
        let Some((whole, degree)) = (1..=MOST_ROOT).find_map(over) else {
            return Some(Self::function("power", &[self, exponent]));
        };
        if degree > 1 {
            return self.root(Self::integer(degree.into())).to_the(Self::integer(whole as i64));
        }
        let raised = Self {
            residues: self.residues.map(|residue| power(residue, whole.abs() as u64)),
            number: self.number.map(|number| number.powf(whole.abs())).filter(|number| number.is_finite()),
            decimal: false,
        };
        if whole < 0.0 { Self::integer(1).over(raised) } else { Some(raised) }
    }

    /// The root of this degree; above the 43rd a function of which nothing is known.
    pub fn root(self, degree: Self) -> Self {
        let Some(n) = degree.number.filter(|n| n.fract() == 0.0 && (2.0..44.0).contains(n)).map(|n| n as u64) else {
            return Self::function("root", &[self, degree]);
        };
        let number = self.number.map(|number| number.powf(1.0 / n as f64).round());
        Self {
            residues: self.residues.map(|residue| root(residue, n)),
            number: number.filter(|root| Some(root.powi(n as i32)) == self.number && root.abs() < 1e7),
            decimal: false,
        }
    }

    /// Of whole numbers up to 20.
    pub fn factorial(self) -> Option<Self> {
        let number = self.number.filter(|number| number.fract() == 0.0 && (0.0..=20.0).contains(number))?;
        Some(Self::integer((1..=number as i64).product()))
    }

    fn same(self, other: Self, precision: u32) -> bool {
        match self.number.zip(other.number).filter(|_| self.decimal || other.decimal) {
            Some((a, b)) => {
                let scale = 10f64.powi(precision as i32);
                (a * scale).round_ties_even() == (b * scale).round_ties_even()
            }
            None => self.residues == other.residues,
        }
    }
}

fn multiply(a: u64, b: u64) -> u64 {
    (u128::from(a) * u128::from(b) % u128::from(PRIME)) as u64
}

fn power(base: u64, exponent: u64) -> u64 {
    let (mut base, mut exponent, mut result) = (base, exponent, 1);
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = multiply(result, base);
        }
        base = multiply(base, base);
        exponent >>= 1;
    }
    result
}

fn inverse(residue: u64) -> Option<u64> {
    (residue != 0).then(|| power(residue, PRIME - 2))
}

/// A root of degree 2 to 43.
fn root(residue: u64, degree: u64) -> u64 {
    if degree.is_multiple_of(2) {
        let is_square = residue == 0 || power(residue, (PRIME - 1) / 2) == 1;
        let half = if is_square { power(residue, PRIME.div_ceil(4)) } else { scatter("root", &[residue]) };
        return if degree == 2 { half } else { root(half, degree / 2) };
    }
    if degree == 1 {
        return residue;
    }
    // The exponent whose product with the degree is 1 modulo the order of the field's group.
    let multiples = (1..=degree).map(|k| u128::from(k) * u128::from(PRIME - 1) + 1);
    let exponent =
        multiples.into_iter().find_map(|sum| (sum % u128::from(degree) == 0).then(|| sum / u128::from(degree)));
    power(residue, exponent.map_or(1, |exponent| exponent as u64))
}

/// A fixed element of the field for a name and numbers, spread evenly (FNV-1a, then the mixer of splitmix64).
fn scatter(name: &str, numbers: &[u64]) -> u64 {
    let bytes = name.bytes().chain([0xff]).chain(numbers.iter().flat_map(|number| number.to_le_bytes()));
    let hash =
        bytes.fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (hash ^ (hash >> 31)) % PRIME
}
