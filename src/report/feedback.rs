//! What would change in the trainer's mixture and why, before anybody draws it.

use serde::Serialize;

use super::svg::{Span, share_change, worth};
use super::view::number;
use crate::feedback::value::{SourceReport, Worth};
use crate::feedback::{ChangedSource, FreshFeedback};

/// The part of a page that is for the trainer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FeedbackView {
    pub checkpoint: String,
    pub stream: String,
    pub documents: usize,
    pub targets: Vec<TargetLine>,
    /// Best first.
    pub sources: Vec<SourceLine>,
    pub change: Option<ChangeNote>,
    /// Why there is no next mixture.
    pub refused: Option<String>,
    /// How far to trust it, in plain words.
    pub sentence: String,
    /// Documents with words of a sealed item.
    pub excluded: usize,
}

/// A task whose loss is to fall.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TargetLine {
    pub name: String,
    pub items: usize,
    pub sealed_items: usize,
    pub sealed_loss: String,
    pub cosine: String,
    /// Of its sealed items that were planted, those that were found, by words and by chance.
    pub planted: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SourceLine {
    pub name: String,
    pub before: String,
    pub after: String,
    pub repeat: String,
    /// SVG made here.
    pub change: String,
    pub value: String,
    /// SVG made here.
    pub interval: String,
    /// Whether zero lies outside of the interval.
    pub certain: bool,
    /// In the order of the targets.
    pub targets: Vec<TargetWorth>,
}

/// What a source is worth to one target.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TargetWorth {
    pub value: String,
    pub certain: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChangeNote {
    pub start_tokens: u64,
    pub divergence: String,
    pub bindings: Vec<String>,
}

impl FeedbackView {
    pub fn new(checkpoint: &str, found: &FreshFeedback) -> Self {
        let FreshFeedback { fresh, manifest, report } = found;
        let target = |note: &crate::feedback::bundle::TargetNote| {
            let at = note.at.last();
            let known = report.targets.iter().find(|target| target.name == note.name);
            let planted = known.and_then(|target| target.planted.as_ref()).map_or_else(String::new, |planted| {
                format!(
                    "{:.2} by value, {:.2} by words, {:.2} by chance",
                    planted.value, planted.overlap, planted.random
                )
            });
            TargetLine {
                name: note.name.clone(),
                items: note.parts.iter().sum(),
                sealed_items: note.sealed_items,
                sealed_loss: at.map_or_else(String::new, |at| number(at.sealed_loss)),
                cosine: at.and_then(|at| at.split_half_cosine).map_or_else(|| "–".to_owned(), |c| format!("{c:.2}")),
                planted,
            }
        };
        let mut order: Vec<&SourceReport> = report.sources.iter().collect();
        order.sort_by(|a, b| b.combined.value.total_cmp(&a.combined.value));
        let span = Span::of(report.sources.iter().map(|source| &source.combined));
        let names: Vec<&str> = manifest.targets.iter().map(|target| target.name.as_str()).collect();
        let changed = |name: &str| fresh.change.as_ref()?.sources.iter().find(|source| source.source == name);
        let widest = fresh.change.iter().flat_map(|change| &change.sources);
        let widest = widest.map(|source| source.before.max(source.interval.1).max(source.share)).fold(0.0, f64::max);
        Self {
            checkpoint: checkpoint.to_owned(),
            stream: fresh.stream.clone(),
            documents: report.documents,
            targets: manifest.targets.iter().map(target).collect(),
            sources: order.iter().map(|own| source(own, changed(&own.source), &names, (span, widest))).collect(),
            change: fresh.change.as_ref().map(|change| ChangeNote {
                start_tokens: change.start_tokens,
                divergence: format!("{:.3}", change.divergence),
                bindings: change.bindings.clone(),
            }),
            refused: fresh.refused.clone(),
            sentence: report.sentence.clone(),
            excluded: report.documents_like_sealed_items,
        }
    }
}

fn source(own: &SourceReport, changed: Option<&ChangedSource>, targets: &[&str], scales: (Span, f64)) -> SourceLine {
    let share = |share: f64| format!("{:.1} %", 100.0 * share);
    let of = |worth: &Worth| TargetWorth { value: signed(worth.value), certain: worth.is_certain() };
    SourceLine {
        name: own.source.clone(),
        before: changed.map_or_else(String::new, |changed| share(changed.before)),
        after: changed.map_or_else(String::new, |changed| share(changed.share)),
        repeat: changed.and_then(|changed| changed.repeat).map_or_else(String::new, |repeat| format!("{repeat:.1}")),
        change: changed.map_or_else(String::new, |changed| {
            share_change(changed.before, changed.share, changed.interval, scales.1)
        }),
        value: signed(own.combined.value),
        interval: worth(&own.combined, scales.0),
        certain: own.combined.is_certain(),
        targets: targets.iter().filter_map(|name| own.targets.get(*name)).map(of).collect(),
    }
}

/// `+0.12`, `−1.3`: three figures, and a sign that is never missed.
fn signed(value: f64) -> String {
    let size = value.abs();
    let shown = match size {
        0.0 => "0".to_owned(),
        _ if !(1e-3..1e4).contains(&size) => format!("{size:.1e}"),
        _ => {
            let decimals = (2 - size.log10().floor() as i32).clamp(0, 5) as usize;
            format!("{size:.decimals$}")
        }
    };
    match value.partial_cmp(&0.0) {
        Some(std::cmp::Ordering::Less) => format!("−{shown}"),
        Some(std::cmp::Ordering::Greater) => format!("+{shown}"),
        _ => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_a_sign_and_three_figures() {
        let shown = [0.0, 0.123_456, -12.34, 1234.5, -1e-5, 0.001_234].map(signed);
        assert_eq!(shown, ["0", "+0.123", "−12.3", "+1234", "−1.0e-5", "+0.00123"]);
    }
}
