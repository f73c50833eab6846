//! `veval data`: what the hub has, here.

use std::collections::BTreeSet;
use std::path::Path;

use super::args::{DataArguments, DataVerb, PullArguments};
use super::downloads::Downloads;
use super::print;
use super::run::{read, stop_when_interrupted};
use crate::ckpt::{self, CheckpointRef, discover, discover_one, fetch};
use crate::data::addresses;
use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::hub::{self, Address, Settings, is_address};
use crate::suite::Suite;

pub(super) fn data(arguments: &DataArguments) -> Result<()> {
    match &arguments.verb {
        DataVerb::Pull(options) => pull(options),
    }
}

fn pull(arguments: &PullArguments) -> Result<()> {
    let mut wanted: Vec<Address> = Vec::new();
    let mut problems: Vec<Diagnostic> = Vec::new();
    for name in &arguments.wanted {
        let found = if is_address(name) {
            name.parse().map(|address| vec![address])
        } else {
            read(Path::new(name)).and_then(|suite| of_suite(&suite, arguments.data_dir.as_deref()))
        };
        match found {
            Ok(found) => wanted.extend(found),
            Err(error) => problems.extend(error.into_diagnostics()),
        }
    }
    Error::check(problems)?;
    let mut known = BTreeSet::new();
    wanted.retain(|address| known.insert(address.clone()));
    stop_when_interrupted()?;
    let mut downloads = Downloads::new(arguments.quiet);
    let paths = hub::pull(&wanted, &Settings::from_environment()?, &mut |event| downloads.event(event))?;
    print(&paths.iter().fold(String::new(), |text, path| text + &format!("{}\n", path.display())))
}

/// The addresses that the tasks of a suite read, or the problems of all tasks.
fn of_suite(suite: &Suite, data_dir: Option<&Path>) -> Result<Vec<Address>> {
    let mut found = Vec::new();
    let mut problems = Vec::new();
    for task in &suite.tasks {
        match addresses(task, data_dir) {
            Ok(addresses) => found.extend(addresses),
            Err(error) => problems.extend(error.into_diagnostics()),
        }
    }
    Error::check(problems)?;
    Ok(found)
}

/// Brings files here that are not, so that they are seen to come.
pub(super) fn fetch_files(addresses: &[Address], quiet: bool) -> Result<()> {
    if addresses.is_empty() {
        return Ok(());
    }
    stop_when_interrupted()?;
    let (settings, mut downloads) = (Settings::from_environment()?, Downloads::new(quiet));
    for address in addresses {
        hub::fetch_file(address, &settings, &mut |event| downloads.event(event))?;
    }
    Ok(())
}

/// The checkpoints that an argument stands for: a path, or an address of the hub.
pub(super) fn checkpoints(path: &Path, quiet: bool) -> Result<Vec<CheckpointRef>> {
    let Some(address) = path.to_str().filter(|text| is_address(text)) else { return discover(path) };
    stop_when_interrupted()?;
    let mut downloads = Downloads::new(quiet);
    fetch(&address.parse()?, &Settings::from_environment()?, &mut |event| downloads.event(event)).map(|one| vec![one])
}

/// The one checkpoint that an argument stands for, on this machine.
pub(super) fn here(path: &Path) -> Result<ckpt::Address> {
    match path.to_str().filter(|text| is_address(text)) {
        Some(_) => Ok(checkpoints(path, false)?.swap_remove(0).address),
        None => Ok(discover_one(path)?.address),
    }
}
