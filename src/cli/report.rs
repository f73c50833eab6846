//! `veval report`, and the page that ends every run.

use std::path::Path;

use super::args::ReportArguments;
use super::print;
use crate::error::{Error, Result};
use crate::feedback::FreshFeedback;
use crate::report::{FeedbackView, View, page};
use crate::store::{list_runs, read_metrics};
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
    let feedback = runs.iter().rev().map(|(run, manifest)| {
        let found = FreshFeedback::read(run.path())?;
        Ok::<_, Error>(found.map(|found| FeedbackView::new(&manifest.checkpoint, &found)))
    });
    // The last that has any.
    let feedback = feedback.filter_map(Result::transpose).next().transpose()?;
    let loaded = runs.into_iter().map(|(run, manifest)| Ok((manifest, read_metrics(&run.metrics_path())?)));
    let mut view = View::new(&suite, &loaded.collect::<Result<Vec<_>>>()?);
    view.feedback = feedback;
    files::write_atomic(&folder.join("report.html"), page(&view)?.as_bytes())
}
