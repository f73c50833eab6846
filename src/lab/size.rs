//! How large a world is.

/// Sizes that a lab is made in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// About 42,000 documents, three million tokens.
    Small,
    /// Eight times that.
    Medium,
}

impl Size {
    /// How many times the small one.
    pub fn times(self) -> usize {
        match self {
            Self::Small => 1,
            Self::Medium => 8,
        }
    }

    /// As people write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Medium => "medium",
        }
    }
}
