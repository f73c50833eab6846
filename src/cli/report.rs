//! `veval report`, and the page that ends every run.

use std::path::Path;

use super::args::ReportArguments;
use super::print;
use crate::error::{Error, Result};
use crate::feedback::FreshFeedback;
use crate::report::{FeedbackView, View, page};
use crate::store::{Manifest, RunFolder, list_runs, read_metrics};
use crate::util::files;

pub(super) fn report(arguments: &ReportArguments) -> Result<()> {
    write_page(&arguments.folder)?;
    print(&format!("{}\n", arguments.folder.join("report.html").display()))
}

/// Writes `report.html` over all complete runs of a suite's folder.
pub(super) fn write_page(folder: &Path) -> Result<()> {
    let runs = list_runs(folder)?;
    let Some((_, first)) = runs.first() else {
        return Err(Error::bad("expected complete runs, found none")
            .in_file(folder)
            .help("name the folder of a suite, `<out>/<suite>`"));
    };
    let suite = first.suite.clone();
    let mut notes = Vec::new();
    // The last that has any.
    let feedback = runs.iter().rev().find_map(|(run, manifest)| feedback_of(run, manifest, &mut notes));
    let loaded = runs.into_iter().map(|(run, manifest)| Ok((manifest, read_metrics(&run.metrics_path())?)));
    let mut view = View::new(&suite, &loaded.collect::<Result<Vec<_>>>()?);
    view.feedback = feedback;
    view.notes.extend(notes);
    files::write_atomic(&folder.join("report.html"), page(&view)?.as_bytes())
}

/// What a run left for the trainer, unless it was made for other scores. What cannot be read is no reason to show no page.
fn feedback_of(run: &RunFolder, manifest: &Manifest, notes: &mut Vec<String>) -> Option<FeedbackView> {
    let name = &manifest.checkpoint;
    match FreshFeedback::read(run.path()) {
        Ok(found) => {
            let found = found?;
            if found.fresh.run == manifest.key {
                return Some(FeedbackView::new(name, &found));
            }
            notes.push(format!("{name}: its feedback for the trainer is that of another run, and is not shown"));
        }
        Err(error) => notes.push(format!("{name}: its feedback for the trainer cannot be read: {error}")),
    }
    None
}
