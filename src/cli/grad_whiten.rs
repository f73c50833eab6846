//! `veval grad autocorrelation`, `veval grad whiten`: the directions that gradients share, and rows without them.

use std::collections::BTreeMap;
use std::path::Path;

use super::args::{GradAutocorrelationArguments, GradWhitenArguments};
use super::run::stop_when_interrupted;
use super::{grad_items, print, progress};
use crate::diag::Diagnostic;
use crate::error::{Error, ErrorKind, Result};
use crate::feedback::store::{GradStore, GradWriter, Header, QueryShare, WhiteningRecord, whiten as whiten_rows};
use crate::feedback::{Autocorrelation, Damping, Power, Symmetric, Whitening};
use crate::lm::{cpu, memory_beside, memory_limit};
use crate::util::{files, hash};

/// In the header of the file with the sums: the header of the store, as its index has it.
const STORE: &str = "store";

pub(super) fn autocorrelation(arguments: &GradAutocorrelationArguments) -> Result<()> {
    files::check_free(&arguments.out)?;
    let store = GradStore::open(&arguments.store)?;
    whole(&store)?;
    if store.is_empty() {
        return Err(Error::bad("expected a store with rows, found none").in_file(&arguments.store));
    }
    check_memory(&store, 1)?;
    stop_when_interrupted()?;
    let bar = progress::items_bar(usize::try_from(store.len()).unwrap_or(usize::MAX), 0, arguments.quiet);
    let sums = store.autocorrelation(&|done| bar.set_position(done))?;
    bar.finish_and_clear();
    // Of what the sums are.
    let mut metadata = BTreeMap::from([("rows".to_owned(), store.len().to_string())]);
    if let Some(header) = store.header() {
        let text = serde_json::to_string(header).map_err(|e| Error::internal(format!("header: {e}")))?;
        metadata.insert(STORE.to_owned(), text);
    }
    sums.write(&arguments.out, &metadata)?;
    print(&format!("{}\n", arguments.out.display()))
}

pub(super) fn whiten(arguments: &GradWhitenArguments) -> Result<()> {
    let store = GradStore::open(&arguments.store)?;
    let Some(header) = store.header() else {
        return Err(Error::bad("expected a store of veval's, found an index of Bergson's").in_file(&arguments.store));
    };
    if header.whitening.is_some() {
        return Err(Error::bad("expected a store that was not whitened, found one that was").in_file(&arguments.store));
    }
    whole(&store)?;
    check_memory(&store, 4)?;
    let train = read(&arguments.by, |of| header.made_otherwise(of))?;
    let mut record = WhiteningRecord {
        store_sha256: hash::sha256_hex_of_file(&arguments.store.join("index.json"))?,
        source_sha256: hash::sha256_hex_of_file(&arguments.by)?,
        damping: arguments.damping,
        queries: None,
    };
    let means = match &arguments.queries {
        None => train.means(),
        Some(path) => {
            let queries = read(path, |of| header.incomparable(of))?;
            let share = match arguments.share {
                Some(share) => share,
                None => Autocorrelation::trackstar_share(&queries, &train, arguments.rank)?,
            };
            record.queries = Some(QueryShare { source_sha256: hash::sha256_hex_of_file(path)?, share });
            Autocorrelation::mixed(share, &queries, &train)?
        }
    };
    let inverse = |(name, mean): (&String, &Symmetric)| {
        let whitening = Whitening::new(mean, Damping::OfMean(arguments.damping), Power::InverseRoot);
        Ok((name.clone(), whitening.map_err(|error| error.at(format!("module {name}")))?))
    };
    let by = means.iter().map(inverse).collect::<Result<BTreeMap<String, Whitening>>>()?;
    let mut header = header.clone();
    header.whitening = Some(record);
    stop_when_interrupted()?;
    let mut writer = GradWriter::open(&arguments.out, &header)?;
    grad_items::copy(&arguments.store, &arguments.out, writer.rows())?;
    let (rows, done) = (store.len(), writer.rows());
    let count = |rows: u64| usize::try_from(rows).unwrap_or(usize::MAX);
    let bar = progress::items_bar(count(rows), count(done), arguments.quiet);
    let kernels = cpu(arguments.threads.count())?;
    let whitened = whiten_rows(&store, &by, &kernels, &mut writer, &|done| bar.set_position(done));
    // What was computed before an interrupt is kept.
    if whitened.is_err() {
        writer.flush()?;
    }
    whitened.map_err(|error| match error.kind() {
        ErrorKind::Incomplete => error.help("run the same command again to go on"),
        _ => error,
    })?;
    writer.finish()?;
    bar.finish_and_clear();
    print(&format!("{}\n", arguments.out.display()))
}

/// Refuses a store that lacks rows: what is made of it would not say so.
fn whole(store: &GradStore) -> Result<()> {
    if store.is_complete() {
        return Ok(());
    }
    let error = Error::bad("expected a store that is complete, found one whose writer has not finished");
    Err(error.in_file(store.folder()).help("run the command that wrote it again: it goes on where it stopped"))
}

/// Refuses matrices of all modules that the machine has no memory for, `copies` times.
fn check_memory(store: &GradStore, copies: usize) -> Result<()> {
    let squares = store.layout().modules.iter().map(|module| module.columns().len().saturating_pow(2));
    let needed = squares.fold(0, usize::saturating_add).saturating_mul(8 * copies);
    memory_beside(memory_limit(None), needed, "the autocorrelations of all modules").map(drop).map_err(|error| {
        error.in_file(store.folder()).help("collect with a smaller --proj-dim, or fewer parameters (--params last:2)")
    })
}

/// Sums over rows, of which `differences` says what they should not be.
fn read(path: &Path, differences: impl Fn(&Header) -> Vec<Diagnostic>) -> Result<Autocorrelation> {
    let (sums, metadata) = Autocorrelation::read(path)?;
    let header: Option<Header> = metadata.get(STORE).and_then(|text| serde_json::from_str(text).ok());
    let header = header.ok_or_else(|| {
        Error::bad("expected sums that say whose rows they are of, found none")
            .in_file(path)
            .help("`veval grad autocorrelation` writes them")
    })?;
    Error::check(differences(&header)).map_err(|error| error.in_file(path))?;
    Ok(sums)
}
