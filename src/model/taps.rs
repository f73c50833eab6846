//! Where requests reach into a forward pass: captures and edits at sites.

use std::collections::BTreeMap;

use super::spec::{BlockOrder, DecoderSpec, Positions as PositionKind};
use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::kernels::Kernels;
use crate::request::site::BlockSite;
use crate::request::{Edit, EditOp, Site, SiteValues};

/// The captures and edits of one forward pass.
pub struct Taps<'a, K: Kernels> {
    kernels: &'a K,
    captures: &'a [Site],
    edits: &'a [Edit],
    /// Position of the first row of this pass.
    first: usize,
    captured: BTreeMap<Site, K::Array>,
}

/// What the axes of a site's array are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Axes {
    /// `[S, width]`
    Rows,
    /// `[S, heads, width]`
    RowsHeads,
    /// `[heads, S, T]`
    HeadsRows,
}

impl<'a, K: Kernels> Taps<'a, K> {
    /// Nothing captured, nothing edited.
    pub fn none(kernels: &'a K) -> Self {
        Self { kernels, captures: &[], edits: &[], first: 0, captured: BTreeMap::new() }
    }

    /// For a pass whose first row stands at position `first`. The sites must have been checked by
    /// [`super::Decoder::check_sites`].
    pub fn new(kernels: &'a K, captures: &'a [Site], edits: &'a [Edit], first: usize) -> Self {
        Self { kernels, captures, edits, first, captured: BTreeMap::new() }
    }

    /// Whether anything happens at the site. Where nothing does, a pass may fuse across it.
    pub fn wants(&self, site: Site) -> bool {
        self.captures.contains(&site) || self.edits(site)
    }

    /// Whether nothing happens anywhere.
    pub(super) fn idle(&self) -> bool {
        self.captures.is_empty() && self.edits.is_empty()
    }

    /// Whether the site is edited.
    pub fn edits(&self, site: Site) -> bool {
        self.edits.iter().any(|edit| edit.site == site)
    }

    /// Passes an activation through: edits apply in order, then the result is captured.
    pub fn at(&mut self, site: Site, x: K::Array) -> Result<K::Array> {
        if !self.wants(site) {
            return Ok(x);
        }
        let mut x = x;
        for edit in self.edits.iter().filter(|edit| edit.site == site) {
            x = self.apply(edit, x)?;
        }
        if self.captures.contains(&site) {
            x = self.kernels.apart(x)?;
            self.captured.insert(site, x.clone());
        }
        Ok(x)
    }

    /// What was captured.
    pub fn into_captured(self) -> Result<BTreeMap<Site, SiteValues>> {
        self.captured.iter().map(|(site, x)| Ok((*site, self.kernels.host(x)?))).collect()
    }

    /// What was captured, as the kernels hold it.
    pub(super) fn into_arrays(self) -> BTreeMap<Site, K::Array> {
        self.captured
    }

    fn apply(&self, edit: &Edit, x: K::Array) -> Result<K::Array> {
        let shape = self.kernels.shape(&x);
        let axes = axes(edit.site);
        let last = shape[shape.len() - 1];
        let count: usize = shape.iter().product();
        let wrong = |message: String| Error::bad(message).at(format!("edit at {}", edit.site));
        if let Some(head) = edit.head {
            let heads = match axes {
                Axes::Rows => return Err(wrong("expected no head: the site has no head axis".to_owned())),
                Axes::RowsHeads => shape[1],
                Axes::HeadsRows => shape[0],
            };
            if head >= heads {
                return Err(wrong(format!("expected a head below {heads}, found {head}")));
            }
        }
        // Row-major over [a, b, last]; which of a and b is the position depends on the site.
        let selected = |row: usize| {
            let (position, head) = match axes {
                Axes::Rows => (row, None),
                Axes::RowsHeads => (row / shape[1], Some(row % shape[1])),
                Axes::HeadsRows => (row % shape[1], Some(row / shape[1])),
            };
            edit.positions.contains(self.first + position) && edit.head.is_none_or(|wanted| head == Some(wanted))
        };
        let per_row = |f: &dyn Fn(usize, usize) -> f32| -> Result<K::Array> {
            let values = (0..count / last)
                .flat_map(|row| (0..last).map(move |column| (row, column)))
                .map(|(row, column)| f(row, column))
                .collect();
            self.kernels.array(SiteValues { shape: shape.clone(), values })
        };
        match &edit.op {
            EditOp::Add(vector) => {
                if vector.len() != last {
                    return Err(wrong(format!("expected a vector of {last}, found {}", vector.len())));
                }
                self.kernels.add(x, &per_row(&|row, column| if selected(row) { vector[column] } else { 0.0 })?)
            }
            EditOp::Scale(factor) => {
                self.kernels.multiply(x, &per_row(&|row, _| if selected(row) { *factor } else { 1.0 })?)
            }
            EditOp::Replace(patch) => {
                let (axis, whole) = match axes {
                    Axes::Rows | Axes::RowsHeads => (0, self.first + shape[0]),
                    Axes::HeadsRows => (1, self.first + shape[1]),
                };
                // The patch covers the whole sequence; this pass may hold a later part of it.
                let fits = patch.shape.len() == shape.len()
                    && (0..shape.len()).all(|a| {
                        patch.shape[a] >= shape[a]
                            && (a == axis || (axes == Axes::HeadsRows && a == 2) || patch.shape[a] == shape[a])
                    })
                    && patch.values.len() == patch.shape.iter().product::<usize>();
                if !fits {
                    let mut wanted = shape.clone();
                    wanted[axis] = whole;
                    return Err(wrong(format!("expected values of shape {wanted:?}, found {:?}", patch.shape)));
                }
                let inner = patch.shape[1..].iter().product::<usize>() / patch.shape[patch.shape.len() - 1];
                let source = |row: usize| match axes {
                    Axes::Rows | Axes::RowsHeads => row + self.first * inner,
                    Axes::HeadsRows => row / shape[1] * patch.shape[1] + row % shape[1] + self.first,
                };
                // Positions beyond the patch (a generation goes on) are left alone.
                let covered = |row: usize| match axes {
                    Axes::Rows | Axes::RowsHeads => source(row) / inner < patch.shape[0],
                    Axes::HeadsRows => row % shape[1] + self.first < patch.shape[1],
                };
                let width = patch.shape[patch.shape.len() - 1];
                let values = per_row(&|row, column| {
                    if covered(row) { patch.values[source(row) * width + column] } else { 0.0 }
                })?;
                let mask = per_row(&|row, _| if selected(row) && covered(row) { 1.0 } else { 0.0 })?;
                self.kernels.select(&mask, &values, &x)
            }
        }
    }
}

fn axes(site: Site) -> Axes {
    use BlockSite::{AttnIn, AttnScores, K, KInput, Pattern, Q, QInput, Result, RotK, RotQ, V, VInput, Z};
    match site {
        Site::Block(_, Q | K | V | RotQ | RotK | Z | Result | AttnIn | QInput | KInput | VInput) => Axes::RowsHeads,
        Site::Block(_, AttnScores | Pattern) => Axes::HeadsRows,
        _ => Axes::Rows,
    }
}

/// Refuses, all at once, sites that the decoder does not have.
pub(crate) fn check(spec: &DecoderSpec, captures: &[Site], edits: &[Edit]) -> Result<()> {
    let sites: Vec<Site> = captures.iter().copied().chain(edits.iter().map(|edit| edit.site)).collect();
    let problems = sites.iter().filter_map(|&site| {
        let why = absent(spec, site)?;
        Some(Diagnostic::new(format!("{} has no site {site}: {why}", spec.family)))
    });
    let mut problems: Vec<Diagnostic> = problems.collect();
    // The per-head inputs bypass the shared norm, so its sites would silently do nothing.
    for edit in edits {
        let Site::Block(layer, BlockSite::Ln1Scale | BlockSite::Ln1Normalized) = edit.site else { continue };
        let inputs = [BlockSite::AttnIn, BlockSite::QInput, BlockSite::KInput, BlockSite::VInput];
        if inputs.iter().any(|&input| sites.contains(&Site::Block(layer, input))) {
            problems.push(Diagnostic::new(format!(
                "expected no edit at {} beside a per-head input of the same block: each head has its own norm then",
                edit.site
            )));
        }
    }
    Error::check(problems)
}

/// Refuses sites whose gradients cannot be had in one pass: per-head inputs bypass the shared norm, whose sites would
/// silently have none.
pub(crate) fn check_gradients(sites: &[Site]) -> Result<()> {
    let inputs = [BlockSite::AttnIn, BlockSite::QInput, BlockSite::KInput, BlockSite::VInput];
    let beside = |site: &&Site| {
        let Site::Block(layer, BlockSite::Ln1Scale | BlockSite::Ln1Normalized) = site else { return false };
        inputs.iter().any(|&input| sites.contains(&Site::Block(*layer, input)))
    };
    let problem = |site: &Site| {
        Diagnostic::new(format!(
            "expected no gradient at {site} beside a per-head input of the same block: each head has its own norm then"
        ))
    };
    Error::check(sites.iter().filter(beside).map(problem).collect())
}

fn absent(spec: &DecoderSpec, site: Site) -> Option<String> {
    use BlockSite::{Ln1Normalized, Ln1PostNormalized, Ln1PostScale, Ln1Scale};
    use BlockSite::{Ln2Normalized, Ln2PostNormalized, Ln2PostScale, Ln2Scale};
    match site {
        Site::PosEmbed if !matches!(spec.positions, PositionKind::Learned { .. }) => {
            Some("positions are not learned".to_owned())
        }
        Site::Block(layer, _) if layer >= spec.layers => Some(format!("there are {} blocks", spec.layers)),
        Site::Block(_, BlockSite::ResidMid) if spec.order == BlockOrder::Parallel => {
            Some("attention and MLP are added together".to_owned())
        }
        Site::Block(_, BlockSite::RotQ | BlockSite::RotK) if !matches!(spec.positions, PositionKind::Rotary(_)) => {
            Some("positions are not rotary".to_owned())
        }
        Site::Block(_, Ln1Scale | Ln1Normalized | Ln2Scale | Ln2Normalized) if !spec.norm.before => {
            Some("there is no norm before attention and MLP".to_owned())
        }
        Site::Block(_, Ln1PostScale | Ln1PostNormalized | Ln2PostScale | Ln2PostNormalized) if !spec.norm.after => {
            Some("there is no norm after attention and MLP".to_owned())
        }
        Site::Block(layer, BlockSite::MlpPre | BlockSite::MlpPreLinear | BlockSite::MlpPost)
            if spec.mlp.mixture.as_ref().is_some_and(|mixture| mixture.layers[layer]) =>
        {
            Some("the MLP is a mixture of experts, which see different rows".to_owned())
        }
        Site::Block(_, BlockSite::MlpPreLinear) if !spec.mlp.gated => Some("the MLP is not gated".to_owned()),
        Site::Block(_, BlockSite::AttnIn) if spec.heads != spec.kv_heads => {
            Some("queries and keys differ in heads; use hook_q_input, hook_k_input and hook_v_input".to_owned())
        }
        _ => None,
    }
}
