//! Interventions: edits of the activations at named sites.

use super::ask::SiteValues;
use super::site::Site;

/// One edit. Edits at one site apply in the order in which the request lists them.
#[derive(Debug, Clone, PartialEq)]
pub struct Edit {
    pub site: Site,
    pub positions: Positions,
    /// Only this head, at sites that have a head axis.
    pub head: Option<usize>,
    pub op: EditOp,
}

/// What is done to the activation.
#[derive(Debug, Clone, PartialEq)]
pub enum EditOp {
    /// Add a vector of the site's last axis to every row (steering).
    Add(Vec<f32>),
    /// Multiply (0 ablates).
    Scale(f32),
    /// Put these values there (patching). Their shape is the site's whole shape; rows outside `positions`, and heads
    /// other than `head`, are left alone.
    Replace(SiteValues),
}

/// At which absolute positions of the sequence. For attention scores and patterns these are query positions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Positions {
    All,
    /// From this position on, which is how a continuation is steered.
    From(usize),
    These(Vec<usize>),
}

impl Positions {
    pub fn contains(&self, position: usize) -> bool {
        match self {
            Self::All => true,
            Self::From(first) => position >= *first,
            Self::These(list) => list.contains(&position),
        }
    }
}
