//! The sealed items that belong to a feedback set: they are in no file of it, so its suite is read again.

use std::collections::BTreeSet;
use std::path::Path;

use crate::cli::args::SuiteAgain;
use crate::cli::run::read;
use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::feedback::bundle::{Bundle, Chosen, ItemLine, Wish, choose};
use crate::feedback::split::OwnFields;
use crate::lab::corpus::CorpusDocument;
use crate::run::{Prepared, Selection, prepare};
use crate::text::Tokenizer;

/// What is measured on.
pub(super) struct Measured {
    pub chosen: Chosen,
    /// The suite, with the sealed items only.
    pub prepared: Prepared,
}

impl Measured {
    /// Whether a document has 13 words in a row of a sealed item.
    pub fn shows(&self, document: &CorpusDocument) -> bool {
        self.chosen.grams.overlap(&OwnFields::new([("text", document.text.as_str())])).is_some()
    }
}

/// Items of a set's targets, and of all other tasks if they are asked for, from its suite.
///
/// # Errors
/// A suite that is not there or another one; a feedback item of the set that the suite's split does not let go.
pub(super) fn items_of(
    bundle: &Bundle,
    again: &SuiteAgain,
    (tokenizer, longest): (&Tokenizer, usize),
    (others, threads): (bool, usize),
) -> Result<Measured> {
    let note = &bundle.manifest.suite;
    let path = again.suite.as_deref().unwrap_or(Path::new(&note.path_hint));
    let data_dir = again.data_dir.as_deref();
    if !path.exists() {
        let error = Error::bad(format!("expected the suite {} of the feedback set, found none", note.name));
        return Err(error.in_file(path).help("name it with --suite: sealed items are in no feedback set"));
    }
    let suite = read(path)?;
    if suite.fingerprint != note.fingerprint {
        let message =
            format!("expected the suite with the fingerprint {}, found {}", note.fingerprint, suite.fingerprint);
        return Err(Error::bad(message).in_file(path).help("build the feedback set anew from this suite"));
    }
    let selection = Selection { tasks: Vec::new(), limit: None, data_dir: data_dir.map(Path::to_path_buf) };
    let tasks = bundle.manifest.targets.iter().map(|target| target.name.clone()).collect();
    let wish = Wish { tasks, items: usize::MAX, others };
    let mut prepared = prepare(&suite, &selection, threads)?;
    let mut chosen = choose(prepared.clone(), data_dir, &wish, tokenizer, longest)?;
    // In the order of the set; tasks that are no targets come behind.
    let place = |name: &str| bundle.manifest.targets.iter().position(|target| target.name == name);
    chosen.targets.sort_by_key(|target| place(&target.name).unwrap_or(usize::MAX));
    let lets_go = |task: &str, id: &str| {
        let target = chosen.targets.iter().find(|target| target.name == task);
        target.is_some_and(|target| target.feedback.iter().any(|item| item.id == id))
    };
    let strangers = bundle.items()?.into_iter().filter(|item| !lets_go(&item.task, &item.id));
    let problem = |item: ItemLine| {
        Diagnostic::new("expected an item that the suite's split lets go, found one that it does not")
            .at(format!("task {}, item {}", item.task, item.id))
            .help("the data changed; build the feedback set anew")
    };
    Error::check(strangers.map(problem).collect())?;
    for task in &mut prepared.tasks {
        let target = chosen.targets.iter().find(|target| target.name == task.task.name);
        let sealed: BTreeSet<&str> =
            target.iter().flat_map(|target| &target.sealed).map(|item| item.id.as_str()).collect();
        task.items.retain(|item| sealed.contains(item.id.as_str()));
    }
    prepared.tasks.retain(|task| !task.items.is_empty());
    Ok(Measured { chosen, prepared })
}
