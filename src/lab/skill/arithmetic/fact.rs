//! A sum or a difference of two numbers, and how it is written.

/// A sum of two numbers, or a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fact {
    pub left: usize,
    pub sign: Sign,
    pub right: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sign {
    Plus,
    Minus,
}

impl Fact {
    pub fn result(self) -> usize {
        match self.sign {
            Sign::Plus => self.left + self.right,
            Sign::Minus => self.left - self.right,
        }
    }

    pub fn sign(self) -> char {
        match self.sign {
            Sign::Plus => '+',
            Sign::Minus => '-',
        }
    }

    /// With a space in front, as everywhere in documents: ` 2 - 1 = 1` is no part of ` 12 - 1 = 11`.
    pub fn tell(self) -> String {
        format!(" {} {} {} = {}", self.left, self.sign(), self.right, self.result())
    }

    /// Whether the last digits alone do not give the result's.
    pub fn carries(self) -> bool {
        let (left, right) = (self.left % 10, self.right % 10);
        match self.sign {
            Sign::Plus => left + right > 9,
            Sign::Minus => left < right,
        }
    }

    /// Every fact whose numbers and result are `1..=most`.
    pub fn up_to(most: usize) -> Vec<Self> {
        let pairs = (1..most).flat_map(|left| (1..=most - left).map(move |right| (left, right)));
        pairs
            .flat_map(|(left, right)| {
                [Self { left, sign: Sign::Plus, right }, Self { left: left + right, sign: Sign::Minus, right }]
            })
            .collect()
    }
}
