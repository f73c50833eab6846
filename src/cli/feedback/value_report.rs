//! What `veval feedback value` prints.

use std::fmt::Write as _;
use std::path::Path;

use crate::feedback::value::{SourceReport, ValueReport};

pub(super) fn text(folder: &Path, report: &ValueReport) -> String {
    let mut order: Vec<&SourceReport> = report.sources.iter().collect();
    order.sort_by(|a, b| b.combined.value.total_cmp(&a.combined.value));
    let mut text = format!(
        "{}: {} documents\n{:<20} {:>9} {:>10} {:>9} {:>19}",
        folder.display(),
        report.documents,
        "source",
        "documents",
        "tokens",
        "value",
        "interval"
    );
    for target in &report.targets {
        let _ = write!(text, " {:>14}", target.name.chars().take(14).collect::<String>());
    }
    text.push('\n');
    for source in order {
        let interval = source.combined.interval.map_or_else(String::new, |(low, high)| format!("{low:.3} – {high:.3}"));
        let _ = write!(
            text,
            "{:<20} {:>9} {:>10} {:>9.3} {:>19}",
            source.source, source.documents, source.tokens, source.combined.value, interval
        );
        for target in &report.targets {
            let _ = write!(text, " {:>14.3e}", source.targets[&target.name].value);
        }
        text.push('\n');
    }
    for target in &report.targets {
        if let Some(planted) = &target.planted {
            let _ = writeln!(
                text,
                "{}: {} of its sealed items {:.2}, by word overlap {:.2}, by chance {:.2}",
                target.name, planted.statistic, planted.value, planted.overlap, planted.random
            );
        }
    }
    if report.documents_like_sealed_items > 0 {
        let _ = writeln!(
            text,
            "{} documents have 13 words in a row of a sealed item: they are marked (`exclude`), get no copy, and do not count in their sources",
            report.documents_like_sealed_items
        );
    }
    let _ = writeln!(
        text,
        "{} of {} sources have a value that is not zero for certain. {}",
        report.certain(),
        report.sources.len(),
        report.sentence
    );
    text
}
