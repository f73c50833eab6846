//! An adapter or a delta laid on a checkpoint: what it has to know about the model, and what the model is then.

use std::collections::BTreeMap;

use serde_json::Value;

use super::families::Described;
use super::load::{Inspected, check_names};
use super::weights::{Convert, Source};
use crate::ckpt::{Addition, Base, Config, MatrixKind, lay};
use crate::error::{Error, Result};
use crate::kernels::View;

/// What a configuration says about embedding and head.
const TIED: &str = "tie_word_embeddings";

/// The checkpoint with an addition.
pub(super) fn lay_on(base: Inspected, addition: &Addition) -> Result<Inspected> {
    let Inspected { config, family, described, files, stored } = base;
    let separate = Config { values: config.values.clone(), path: config.path.clone() };
    let separate = untied(separate);
    let untied = family.describe(&separate)?;
    let head = untied.weights.head.as_ref().map(|head| head.weight.name.clone());
    let head = head.ok_or_else(|| Error::internal("a model without a head"))?;
    let laid = lay(
        addition,
        &Base {
            files: &files,
            stored: &stored,
            matrices: &matrices(&described)?,
            embedding: &described.weights.embedding.name,
            head: &head,
            tied: described.spec.tied_head,
            buffers: family.buffers,
        },
    )?;
    if !laid.unties {
        return Ok(Inspected { config, family, described, files: files.with(laid), stored });
    }
    let files = files.with(laid);
    let stored = check_names(family, &untied, &files, addition.path())?;
    Ok(Inspected { config: separate, family, described: untied, files, stored })
}

/// The same with a head of its own.
fn untied(mut config: Config) -> Config {
    config.values.insert(TIED.to_owned(), Value::Bool(false));
    config
}

/// The matrices of a model by their stored names.
fn matrices(described: &Described) -> Result<BTreeMap<String, MatrixKind>> {
    struct Kinds(BTreeMap<String, MatrixKind>);
    impl Convert<Source, Source, (), ()> for Kinds {
        fn matrix(&mut self, source: &Source) -> Result<()> {
            let columns = matches!(source.view, View::Columns { .. });
            let kind = if columns { MatrixKind::Columns } else { MatrixKind::Rows };
            self.0.insert(source.name.clone(), kind);
            Ok(())
        }

        fn vector(&mut self, _: &Source) -> Result<()> {
            Ok(())
        }
    }
    let mut kinds = Kinds(BTreeMap::new());
    described.weights.convert(&mut kinds)?;
    let tables = [Some(&described.weights.embedding), described.weights.positions.as_ref()];
    kinds.0.extend(tables.into_iter().flatten().map(|table| (table.name.clone(), MatrixKind::Table)));
    Ok(kinds.0)
}
