//! `veval import`: results and task files of other tools.

use std::io::Write;
use std::path::Path;

use super::args::{ImportArguments, ImportCsvArguments, ImportLmEvalArguments, ImportTaskArguments, ImportTo, Imports};
use super::{print, printable, report, table};
use crate::ctx;
use crate::error::{Error, Result};
use crate::exchange::task_yaml::{translate, translate_within};
use crate::exchange::{CsvImport, Imported, LmEvalImport, import_csv, import_lm_eval};
use crate::report::View;
use crate::util::files;

pub(super) fn import(arguments: &ImportArguments) -> Result<()> {
    match &arguments.what {
        Imports::LmEval(arguments) => lm_eval(arguments),
        Imports::Csv(arguments) => csv(arguments),
        Imports::Task(arguments) => task(arguments),
    }
}

fn lm_eval(arguments: &ImportLmEvalArguments) -> Result<()> {
    let ImportLmEvalArguments { files, series, to } = arguments;
    let request =
        LmEvalImport { paths: files.clone(), suite: to.suite.clone(), series: series.clone(), threads: ctx::cores() };
    write(&import_lm_eval(&request)?, to)
}

fn csv(arguments: &ImportCsvArguments) -> Result<()> {
    let ImportCsvArguments { files, columns, constants, to } = arguments;
    let request = CsvImport {
        paths: files.clone(),
        suite: to.suite.clone(),
        columns: columns.clone(),
        constants: constants.clone(),
    };
    write(&import_csv(&request)?, to)
}

/// Writes the runs and the suite's page, and prints what came in.
fn write(imported: &Imported, to: &ImportTo) -> Result<()> {
    imported.write(&to.out)?;
    report::write_page(&to.out.join(&to.suite))?;
    note(imported.notes.iter().map(String::as_str));
    let runs: Vec<_> = imported.runs.iter().map(|run| (run.manifest.clone(), run.rows.clone())).collect();
    let rows: Vec<_> = imported.runs.iter().flat_map(|run| run.rows.clone()).collect();
    print(&table::format(to.format, &View::new(&to.suite, &runs), &rows)?)
}

fn task(arguments: &ImportTaskArguments) -> Result<()> {
    let ImportTaskArguments { yaml, root, out } = arguments;
    let translation = match root {
        Some(root) => translate_within(yaml, root)?,
        None => translate(yaml)?,
    };
    let notes: Vec<String> = translation.notes.iter().map(ToString::to_string).collect();
    let Some(out) = out else {
        if let Some((name, _)) = translation.files.first() {
            return Err(Error::bad(format!("expected --out FILE: the task needs {name} beside it")).in_file(yaml));
        }
        note(notes.iter().map(String::as_str));
        return print(&translation.toml);
    };
    let folder = out.parent().unwrap_or(Path::new(""));
    let beside = translation.files.iter().map(|(name, content)| (folder.join(name), content.as_str()));
    let all: Vec<_> = beside.chain([(out.clone(), translation.toml.as_str())]).collect();
    for (path, _) in &all {
        files::check_free(path)?;
    }
    for (path, content) in &all {
        files::write_atomic(path, content.as_bytes())?;
    }
    note(notes.iter().map(String::as_str));
    print(&format!("{}\n", out.display()))
}

/// Things to know, on standard error.
fn note<'a>(notes: impl Iterator<Item = &'a str>) {
    let mut err = std::io::stderr().lock();
    for note in notes {
        // Nothing can be done about a standard error that cannot be written to.
        let _ = writeln!(err, "note: {}", printable(note));
    }
}
