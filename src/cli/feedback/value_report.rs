//! How far values can be trusted, as a table and as `report.json`.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::feedback::value::{Agreement, GroupValue, Values, agreement};
use crate::stats::Estimate;

/// How far the values can be trusted.
pub(super) struct Report {
    /// Rank correlation of the values of two halves of the feedback items.
    halves: Option<f64>,
    overlap: Agreement,
    /// Sources whose interval does not have zero in it.
    certain: usize,
    /// Documents that have words of a sealed item: they get no copy.
    pub show_sealed: usize,
}

impl Report {
    pub fn of(values: &Values, overlap: &[f64], sources: &[GroupValue]) -> Self {
        let combined: Vec<f64> = values.combined().iter().copied().map(f64::from).collect();
        let certain =
            |source: &&GroupValue| source.combined.interval.is_some_and(|(low, high)| low > 0.0 || high < 0.0);
        Self {
            halves: values.combined_split_half(),
            overlap: agreement(&combined, overlap),
            certain: sources.iter().filter(certain).count(),
            show_sealed: 0,
        }
    }

    /// A plain sentence.
    fn sentence(&self) -> String {
        /// Ranks that agree less are mostly noise.
        const LEAST: f64 = 0.3;
        let halves = match self.halves {
            None => "Whether other items would say the same is unknown".to_owned(),
            Some(r) if r < LEAST => format!(
                "Other items would rank the documents otherwise (rank correlation of two halves of the items {r:.2}): \
                 use more items, or look at sources only"
            ),
            Some(r) => format!("Two halves of the items rank the documents alike (rank correlation {r:.2})"),
        };
        let words = self.overlap.spearman.map_or_else(|| "unknown".to_owned(), |r| format!("{r:.2}"));
        format!("{halves}. Agreement with plain word overlap: {words}.")
    }

    pub fn json(&self, values: &Values, sources: &[GroupValue]) -> Value {
        let estimate =
            |own: &Estimate| json!({ "value": own.value, "standard_error": own.stderr, "interval": own.interval });
        let names: Vec<&str> = values.targets().collect();
        let source = |source: &GroupValue| {
            let targets: serde_json::Map<String, Value> =
                names.iter().zip(&source.targets).map(|(name, own)| ((*name).to_owned(), estimate(own))).collect();
            json!({
                "source": source.name, "documents": source.documents, "tokens": source.tokens,
                "combined": estimate(&source.combined), "targets": targets,
            })
        };
        json!({
            "schema": "veval.value_report/1",
            "documents": values.len(),
            "documents_like_sealed_items": self.show_sealed,
            "split_half_spearman": self.halves,
            "overlap_spearman": self.overlap.spearman,
            "overlap_pearson": self.overlap.pearson,
            "sentence": self.sentence(),
            "sources": sources.iter().map(source).collect::<Vec<_>>(),
        })
    }
}

pub(super) fn text(folder: &Path, values: &Values, sources: &[GroupValue], report: &Report) -> String {
    let mut order: Vec<&GroupValue> = sources.iter().collect();
    order.sort_by(|a, b| b.combined.value.total_cmp(&a.combined.value));
    let mut text = format!(
        "{}: {} documents\n{:<20} {:>9} {:>10} {:>9} {:>19}",
        folder.display(),
        values.len(),
        "source",
        "documents",
        "tokens",
        "value",
        "interval"
    );
    for name in values.targets() {
        let _ = write!(text, " {:>14}", name.chars().take(14).collect::<String>());
    }
    text.push('\n');
    for source in order {
        let interval = source.combined.interval.map_or_else(String::new, |(low, high)| format!("{low:.3} – {high:.3}"));
        let _ = write!(
            text,
            "{:<20} {:>9} {:>10} {:>9.3} {:>19}",
            source.name, source.documents, source.tokens, source.combined.value, interval
        );
        for target in &source.targets {
            let _ = write!(text, " {:>14.3e}", target.value);
        }
        text.push('\n');
    }
    if report.show_sealed > 0 {
        let _ = writeln!(
            text,
            "{} documents have 13 words in a row of a sealed item: they are marked (`exclude`) and get no copy",
            report.show_sealed
        );
    }
    let _ = writeln!(
        text,
        "{} of {} sources have a value that is not zero for certain. {}",
        report.certain,
        sources.len(),
        report.sentence()
    );
    text
}
