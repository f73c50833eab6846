//! `veval merge`: one record from the parts of a run.

use std::collections::BTreeSet;

use super::args::MergeArguments;
use super::{print, report, table};
use crate::ctx;
use crate::error::Result;
use crate::report::View;
use crate::run::merge as merge_parts;

pub(super) fn merge(arguments: &MergeArguments) -> Result<()> {
    let merged = merge_parts(&arguments.out, ctx::cores())?;
    let suites: BTreeSet<String> = merged.iter().map(|(_, manifest, _)| manifest.suite.clone()).collect();
    let mut text = String::new();
    for suite in suites {
        report::write_page(&arguments.out.join(&suite))?;
        let of_suite = merged.iter().filter(|(_, manifest, _)| manifest.suite == suite);
        let runs: Vec<_> = of_suite.map(|(_, manifest, rows)| (manifest.clone(), rows.clone())).collect();
        let rows: Vec<_> = runs.iter().flat_map(|(_, rows)| rows.clone()).collect();
        text += &table::format(arguments.format, &View::new(&suite, &runs), &rows)?;
    }
    print(&text)
}
