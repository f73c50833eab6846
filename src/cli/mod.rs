//! The command line: one file per verb; the only place that prints.
//!
//! Exit codes: 0 done; 1 done, and a gate says no; 2 could not run (bad input, usage); 3 incomplete. Results go to
//! standard output, everything else to standard error; a closed pipe is no error.

mod args;
mod convert;
mod data;
mod diagnostics;
mod downloads;
mod export;
mod feedback;
mod gc;
mod grad;
mod grad_items;
mod grad_store;
mod grad_whiten;
mod import;
mod lab;
mod list;
mod merge;
mod progress;
mod protocols;
mod report;
mod rescore;
mod run;
mod run_feedback;
mod schema;
mod show;
mod table;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use crate::error::{Error, ErrorKind, Result};
use args::{Arguments, Verb};

/// Parses the arguments, runs the verb, reports what went wrong.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match &arguments.verb {
        Verb::Run(options) => run::run(options),
        Verb::Merge(options) => merge::merge(options),
        Verb::Rescore(options) => rescore::rescore(options),
        Verb::Gc(options) => gc::gc(options),
        Verb::Protocols(options) => protocols::protocols(options),
        Verb::Data(options) => data::data(options),
        Verb::Convert(options) => convert::convert(options),
        Verb::Import(options) => import::import(options),
        Verb::Export(options) => export::export(options),
        Verb::Grad(options) => grad::grad(options),
        Verb::Feedback(options) => feedback::feedback(options),
        Verb::Lab(options) => lab::lab(options),
        Verb::Report(options) => report::report(options),
        Verb::List(options) => list::list(options),
        Verb::Show(options) => show::show(options),
        Verb::Schema(options) => schema::schema(options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            diagnostics::print(&error);
            ExitCode::from(match error.kind() {
                ErrorKind::Incomplete => 3,
                _ => 2,
            })
        }
    }
}

/// A text of somebody else's: control characters of data and model files must not reach a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && !"\n\t".contains(c) { '\u{fffd}' } else { c }).collect()
}

/// Writes results to standard output. A reader that went away has seen enough.
fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::io("write to", std::path::Path::new("standard output"), &error))
        }
        _ => Ok(()),
    }
}
