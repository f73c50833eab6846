//! `veval export`: a run in the files of another tool.

use super::args::{ExportArguments, ExportLmEvalArguments, Exports};
use super::{print, run};
use crate::ctx;
use crate::error::Result;
use crate::exchange::{Texts, export_lm_eval};
use crate::store::RunFolder;

pub(super) fn export(arguments: &ExportArguments) -> Result<()> {
    match &arguments.what {
        Exports::LmEval(arguments) => lm_eval(arguments),
    }
}

fn lm_eval(arguments: &ExportLmEvalArguments) -> Result<()> {
    let suite = arguments.suite.as_deref().map(run::read).transpose()?;
    let texts = suite.as_ref().map(|suite| Texts { suite, data_dir: arguments.data_dir.as_deref() });
    let exported = export_lm_eval(&RunFolder::at(&arguments.run), &arguments.out, texts.as_ref(), ctx::cores())?;
    print(&format!("{}\n", exported.results.display()))
}
