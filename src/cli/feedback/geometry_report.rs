//! What `veval feedback geometry` says: `geometry.json`, `geometry.csv` and a table.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::cli::table::aligned;
use crate::error::{Error, Result};
use crate::feedback::bundle::CheckpointNote;
use crate::feedback::geometry::{
    Agreement, LayerConflict, LayerGrams, PairedAgreement, Relation, Removal, Similarity, conflicts, removals,
};
use crate::stats::Estimate;

const SCHEMA: &str = "veval.geometry/1";
/// Of samples whose two gradients have at least this cosine the share is told.
const LEAST_COSINES: [f64; 4] = [0.0, 0.25, 0.5, 0.75];

/// Pairs of groups, by number.
type Pairs<'a> = &'a [(usize, usize)];

/// What a group is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Target,
    Source,
    Array,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Target => "target",
            Self::Source => "source",
            Self::Array => "array",
        }
    }
}

pub(super) struct GroupNote {
    pub name: String,
    pub kind: Kind,
    pub items: usize,
}

pub(super) struct Report {
    /// Of each group.
    pub parts: usize,
    /// As they were written; none of arrays.
    pub parameters: Option<String>,
    pub groups: Vec<GroupNote>,
    pub at: Vec<At>,
}

/// At one checkpoint, or of arrays.
pub(super) struct At {
    checkpoint: Option<CheckpointNote>,
    whole: Similarity,
    layers: Vec<(String, Similarity)>,
    /// Last of the whole.
    conflicts: Vec<LayerConflict>,
    removals: Vec<Removal>,
    agreements: Vec<SampleAgreement>,
}

/// Of the two gradients of each sample.
struct SampleAgreement {
    group: String,
    agreement: Agreement,
    /// Samples with at least each of [`LEAST_COSINES`].
    kept: Vec<f64>,
}

impl At {
    /// `told`: the pairs whose conflicts are counted; `projected`: which group is projected against which.
    pub fn of(
        checkpoint: Option<CheckpointNote>,
        grams: &LayerGrams,
        (told, projected): (Pairs<'_>, Pairs<'_>),
        paired: &PairedAgreement,
    ) -> Self {
        let agreement = |(group, agreement): (String, Agreement)| {
            let kept = LEAST_COSINES.iter().filter_map(|least| paired.kept(&group, *least)).collect();
            SampleAgreement { group, agreement, kept }
        };
        Self {
            checkpoint,
            whole: Similarity::of(grams.whole()),
            layers: grams.layers().iter().map(|layer| (layer.name.clone(), Similarity::of(&layer.gram))).collect(),
            conflicts: conflicts(grams, told),
            removals: removals(grams.whole(), projected),
            agreements: paired.finish().into_iter().map(agreement).collect(),
        }
    }

    fn name(&self) -> &str {
        self.checkpoint.as_ref().map_or("", |note| note.name.as_str())
    }
}

fn relation_name(relation: Relation) -> &'static str {
    match relation {
        Relation::Agree => "agree",
        Relation::Conflict => "conflict",
        Relation::Unclear => "unclear",
    }
}

/// Every two groups once.
fn pairs(count: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..count).flat_map(move |one| (one + 1..count).map(move |other| (one, other)))
}

fn estimate(own: &Estimate) -> Value {
    json!({ "value": own.value, "standard_error": own.stderr, "interval": own.interval })
}

impl Report {
    pub fn json(&self) -> Result<String> {
        let group = |own: &GroupNote| json!({ "name": own.name, "kind": own.kind.name(), "items": own.items });
        let whole = json!({
            "schema": SCHEMA,
            "parts": self.parts,
            "parameters": self.parameters,
            "groups": self.groups.iter().map(group).collect::<Vec<_>>(),
            "at": self.at.iter().map(|at| self.json_at(at)).collect::<Vec<_>>(),
        });
        let text = serde_json::to_string_pretty(&whole).map_err(|e| Error::internal(format!("geometry: {e}")))?;
        Ok(format!("{text}\n"))
    }

    fn json_at(&self, at: &At) -> Value {
        let name = |group: usize| self.groups[group].name.as_str();
        let group = |number: usize| {
            json!({
                "name": name(number),
                "squared_norm": estimate(&at.whole.product(number, number)),
                "above_noise": at.whole.above_noise(number),
            })
        };
        let pair = |(one, other): (usize, usize)| {
            json!({
                "one": name(one),
                "other": name(other),
                "cosine": at.whole.cosine(one, other).as_ref().map(estimate),
                "raw_cosine": at.whole.raw_cosine(one, other),
                "product": estimate(&at.whole.product(one, other)),
                "relation": relation_name(at.whole.relation(one, other)),
            })
        };
        let conflict = |own: &LayerConflict| json!({ "pairs": own.pairs, "negative": own.negative, "in_conflict": own.sure, "mass": own.mass });
        let layer = |((layer, _), own): (&(String, Similarity), &LayerConflict)| {
            let mut value = conflict(own);
            value["layer"] = layer.as_str().into();
            value
        };
        let removal = |own: &Removal| {
            json!({
                "group": name(own.group),
                "removed": own.removed,
                "removed_for_certain": own.removed_for_certain,
                "in_conflict_with": own.conflicts.iter().map(|&other| name(other)).collect::<Vec<_>>(),
            })
        };
        let agreement = |own: &SampleAgreement| {
            let [p5, p25, p50, p75, p95] = own.agreement.percentiles;
            let kept = LEAST_COSINES.iter().zip(&own.kept);
            json!({
                "group": own.group,
                "samples": own.agreement.cosine.n,
                "of_zero_gradient": own.agreement.zero,
                "cosine": estimate(&own.agreement.cosine),
                "percentiles": { "5": p5, "25": p25, "50": p50, "75": p75, "95": p95 },
                "in_conflict": estimate(&own.agreement.conflict),
                "kept": kept.map(|(least, share)| json!({ "least_cosine": least, "share": share })).collect::<Vec<_>>(),
            })
        };
        json!({
            "checkpoint": at.checkpoint,
            "groups": (0..self.groups.len()).map(group).collect::<Vec<_>>(),
            "pairs": pairs(self.groups.len()).map(pair).collect::<Vec<_>>(),
            "conflict": at.conflicts.last().map(conflict),
            "layers": at.layers.iter().zip(&at.conflicts).map(layer).collect::<Vec<_>>(),
            "projection": at.removals.iter().map(removal).collect::<Vec<_>>(),
            "agreement": at.agreements.iter().map(agreement).collect::<Vec<_>>(),
        })
    }

    /// A line for every pair in every layer, and in all of them together (`layer` empty).
    pub fn csv(&self) -> Result<String> {
        let mut csv = csv::Writer::from_writer(Vec::new());
        let internal = |e: String| Error::internal(format!("csv: {e}"));
        let head = [
            "checkpoint",
            "layer",
            "one",
            "other",
            "cosine",
            "cosine_low",
            "cosine_high",
            "raw_cosine",
            "product",
            "product_low",
            "product_high",
            "relation",
        ];
        csv.write_record(head).map_err(|e| internal(e.to_string()))?;
        for at in &self.at {
            let whole = std::iter::once(("", &at.whole));
            for (layer, similarity) in whole.chain(at.layers.iter().map(|(name, own)| (name.as_str(), own))) {
                for (one, other) in pairs(self.groups.len()) {
                    let cosine = numbers(similarity.cosine(one, other));
                    let product = numbers(Some(similarity.product(one, other)));
                    let raw = similarity.raw_cosine(one, other).to_string();
                    let names = [one, other].map(|group| self.groups[group].name.clone());
                    let fields = [at.name().to_owned(), layer.to_owned()].into_iter().chain(names).chain(cosine);
                    let relation = relation_name(similarity.relation(one, other)).to_owned();
                    let fields = fields.chain([raw]).chain(product).chain([relation]);
                    csv.write_record(fields).map_err(|e| internal(e.to_string()))?;
                }
            }
        }
        let bytes = csv.into_inner().map_err(|e| internal(e.to_string()))?;
        String::from_utf8(bytes).map_err(|e| internal(e.to_string()))
    }

    pub fn text(&self, folder: &Path) -> String {
        let mut text = format!("{}: {} groups of {} parts each\n", folder.display(), self.groups.len(), self.parts);
        for at in &self.at {
            if let Some(note) = &at.checkpoint {
                let _ = writeln!(text, "\n{}", note.name);
            }
            text += &self.pair_table(at);
            text += &self.words(at);
            text += &conflict_table(at);
            text += &self.removal_table(at);
            text += &self.agreement_table(at);
        }
        text
    }

    fn pair_table(&self, at: &At) -> String {
        let row = |(one, other): (usize, usize)| {
            let [cosine, interval] = shown(at.whole.cosine(one, other));
            let raw = format!("{:.3}", at.whole.raw_cosine(one, other));
            let names = [one, other].map(|group| self.groups[group].name.clone());
            let relation = relation_name(at.whole.relation(one, other)).to_owned();
            names.into_iter().chain([cosine, interval, raw, relation]).collect()
        };
        table(&["one", "other", "cosine", "interval", "raw", "relation"], pairs(self.groups.len()).map(row), &[0, 1, 5])
    }

    /// Groups of which there is no cosine.
    fn words(&self, at: &At) -> String {
        let noise = (0..self.groups.len()).filter(|group| !at.whole.above_noise(*group));
        let sentence = |group: usize| {
            let GroupNote { name, items, .. } = &self.groups[group];
            let square = at.whole.product(group, group);
            let [low, high] = square.interval.map_or([f64::NAN; 2], |(low, high)| [low, high]);
            let square = square.value;
            format!(
                "{name}: its gradient cannot be told from zero with {items} items, so it has no cosine (squared norm \
                 {square:.3e}, {low:.3e} – {high:.3e})\n"
            )
        };
        noise.map(sentence).collect()
    }

    fn removal_table(&self, at: &At) -> String {
        let row = |own: &Removal| {
            let names: Vec<&str> = own.conflicts.iter().map(|&other| self.groups[other].name.as_str()).collect();
            let [removed, certain] = [own.removed, own.removed_for_certain].map(percent);
            vec![self.groups[own.group].name.clone(), removed, certain, names.join(", ")]
        };
        let head = ["projection of", "removes", "for certain", "in conflict with"];
        table(&head, at.removals.iter().map(row), &[0, 3])
    }

    fn agreement_table(&self, at: &At) -> String {
        let is_set = self.groups.iter().any(|group| group.kind == Kind::Target);
        let row = |own: &SampleAgreement| {
            let [cosine, interval] = shown(Some(own.agreement.cosine));
            let [p5, _, p50, _, p95] = own.agreement.percentiles.map(|cosine| format!("{cosine:.3}"));
            let samples = own.agreement.cosine.n.to_string();
            vec![own.group.clone(), samples, cosine, interval, p5, p50, p95, percent(own.agreement.conflict.value)]
        };
        let what = if is_set { "with and without context" } else { "two gradients of each" };
        let head = [what, "samples", "cosine", "interval", "5 %", "median", "95 %", "in conflict"];
        table(&head, at.agreements.iter().map(row), &[0])
    }
}

fn conflict_table(at: &At) -> String {
    let names = at.layers.iter().map(|(name, _)| name.as_str()).chain(["all"]);
    let row = |(name, own): (&str, &LayerConflict)| {
        vec![name.to_owned(), own.pairs.to_string(), percent(own.negative), percent(own.sure), percent(own.mass)]
    };
    let told = at.conflicts.iter().filter(|own| own.pairs > 0);
    table(&["layer", "pairs", "below zero", "in conflict", "of all conflict"], names.zip(told).map(row), &[0])
}

/// Nothing where there are no rows.
fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>, left: &[usize]) -> String {
    let head: Vec<String> = head.iter().map(|&name| name.to_owned()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    if rows.len() < 2 { String::new() } else { format!("\n{}", aligned(&rows, left)) }
}

fn shown(own: Option<Estimate>) -> [String; 2] {
    let Some(own) = own else { return ["none".to_owned(), String::new()] };
    let interval = own.interval.map_or_else(String::new, |(low, high)| format!("{low:.3} – {high:.3}"));
    [format!("{:.3}", own.value), interval]
}

fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

/// Value and bounds, or nothing.
fn numbers(own: Option<Estimate>) -> [String; 3] {
    let bound = |of: fn((f64, f64)) -> f64| own.and_then(|own| own.interval).map(of);
    [own.map(|own| own.value), bound(|own| own.0), bound(|own| own.1)]
        .map(|number| number.map_or_else(String::new, |number| number.to_string()))
}
