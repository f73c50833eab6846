//! Soft targets on disk: one safetensors file, which `safetensors.torch.load_file` opens.
//!
//! | tensor | shape | |
//! | --- | --- | --- |
//! | `offsets` | I64 `[documents + 1]` | positions of document `d` are rows `offsets[d]..offsets[d + 1]` |
//! | `positions` | I64 `[n]` | which token of its document is predicted, ascending; the end token behind it is the last |
//! | `ids` | I64 `[n, K]` | the true token first; what is left over is filled with it |
//! | `probabilities` | F32 `[n, K]` | 0 where `ids` is filled, so that adding up over `ids` is right |
//!
//! Strings of the header: `schema = "veval.soft-targets/1"`, `alpha_max`, `tokenizer` and `checkpoint` (fingerprints),
//! `documents` (fingerprint of the stream). Positions that are not listed are taught as they are.

use std::path::Path;

use super::soft_target::SoftTarget;
use crate::ckpt::{TensorElement, TensorFile, TensorPlan, write_tensor_file};
use crate::error::{Error, Result};

const SCHEMA: &str = "veval.soft-targets/1";
/// Candidates of a token; V-Pretraining has 64.
const MOST_CANDIDATES: usize = 1 << 16;

/// What targets are for.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetOrigin {
    pub alpha_max: f64,
    /// Fingerprints; that of the documents is [`crate::lab::corpus::fingerprint`].
    pub tokenizer: String,
    pub checkpoint: String,
    pub documents: String,
}

/// Targets of a part of a stream.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetFile {
    pub origin: TargetOrigin,
    /// Of each document, by ascending position.
    pub documents: Vec<Vec<(u32, SoftTarget)>>,
}

impl TargetFile {
    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// Positions that do not ascend, by document; what the disk says.
    pub fn write(&self, path: &Path) -> Result<()> {
        for (number, document) in self.documents.iter().enumerate() {
            if let Some(pair) = document.windows(2).find(|pair| pair[0].0 >= pair[1].0) {
                let message = format!("expected ascending positions, found {} before {}", pair[0].0, pair[1].0);
                return Err(Error::bad(message).at(format!("document {number}")));
            }
        }
        let rows = || self.documents.iter().flatten();
        let (count, width) = (rows().count(), rows().map(|(_, target)| target.entries().len()).max().unwrap_or(1));
        let plan =
            |name: &str, element, shape: &[usize]| TensorPlan { name: name.to_owned(), element, shape: shape.to_vec() };
        let plans = vec![
            plan("offsets", TensorElement::I64, &[self.documents.len() + 1]),
            plan("positions", TensorElement::I64, &[count]),
            plan("ids", TensorElement::I64, &[count, width]),
            plan("probabilities", TensorElement::F32, &[count, width]),
        ];
        let origin = &self.origin;
        let metadata = [
            ("schema", SCHEMA.to_owned()),
            ("alpha_max", origin.alpha_max.to_string()),
            ("tokenizer", origin.tokenizer.clone()),
            ("checkpoint", origin.checkpoint.clone()),
            ("documents", origin.documents.clone()),
        ];
        let metadata = metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        write_tensor_file(path, &metadata, plans, |plan| {
            let integers = |values: &mut dyn Iterator<Item = i64>| values.flat_map(i64::to_le_bytes).collect();
            let filled = |target: &SoftTarget| {
                let filling = (target.truth(), 0.0);
                target.entries().iter().copied().chain(std::iter::repeat(filling)).take(width).collect::<Vec<_>>()
            };
            Ok(match plan.name.as_str() {
                "offsets" => {
                    let ends = self.documents.iter().scan(0, |end, document| {
                        *end += document.len() as i64;
                        Some(*end)
                    });
                    integers(&mut std::iter::once(0).chain(ends))
                }
                "positions" => integers(&mut rows().map(|(position, _)| i64::from(*position))),
                "ids" => integers(&mut rows().flat_map(|(_, target)| filled(target)).map(|(id, _)| i64::from(id))),
                _ => rows().flat_map(|(_, target)| filled(target)).flat_map(|(_, p)| p.to_le_bytes()).collect(),
            })
        })
    }

    /// # Errors
    /// Another file; shapes, positions, tokens or probabilities that cannot be.
    pub fn read(path: &Path) -> Result<Self> {
        let file = TensorFile::open(path)?;
        Self::parse(&file).map_err(|error| error.in_file(path))
    }

    fn parse(file: &TensorFile) -> Result<Self> {
        let text = |key: &str| {
            let found = file.metadata().get(key).cloned();
            found.ok_or_else(|| Error::bad(format!("expected `{key}` in the header, found none")))
        };
        let schema = text("schema")?;
        if schema != SCHEMA {
            return Err(Error::bad(format!("expected a file of {SCHEMA}, found {schema}")));
        }
        let alpha_max = text("alpha_max")?;
        let origin = TargetOrigin {
            alpha_max: alpha_max
                .parse()
                .ok()
                .filter(|alpha| (0.0..=1.0).contains(alpha))
                .ok_or_else(|| Error::bad(format!("expected an alpha_max between 0 and 1, found {alpha_max}")))?,
            tokenizer: text("tokenizer")?,
            checkpoint: text("checkpoint")?,
            documents: text("documents")?,
        };
        let shape = |name: &str| file.tensors().get(name).map_or(&[][..], |tensor| &tensor.shape);
        let (offsets, positions) = (file.read_integers("offsets")?, file.read_integers("positions")?);
        let &[count, width] = shape("ids") else { return Err(bad_shape("ids", shape("ids"))) };
        if shape("probabilities") != [count, width] || !(1..=MOST_CANDIDATES).contains(&width) {
            return Err(bad_shape("probabilities", shape("probabilities")));
        }
        let ascending = offsets.first() == Some(&0) && offsets.is_sorted();
        if positions.len() != count || !ascending || offsets.last() != Some(&(count as i64)) {
            let message = format!("expected ascending offsets from 0 to {count}, one for each position and row");
            return Err(Error::bad(message).at("tensor offsets"));
        }
        let (ids, probabilities) = (file.read_integers("ids")?, file.read_floats("probabilities")?);
        let row = |row: usize| -> Result<(u32, SoftTarget)> {
            let numbers = row * width..(row + 1) * width;
            target(positions[row], &ids[numbers.clone()], &probabilities[numbers])
                .and_then(|own| within(own, origin.alpha_max))
                .map_err(|error| error.at(format!("row {row}")))
        };
        let document = |ends: &[i64]| (ends[0] as usize..ends[1] as usize).map(row).collect::<Result<Vec<_>>>();
        let documents = offsets.windows(2).map(document).collect::<Result<Vec<_>>>()?;
        for (number, document) in documents.iter().enumerate() {
            if !document.is_sorted_by(|a, b| a.0 < b.0) {
                return Err(Error::bad("expected ascending positions").at(format!("document {number}")));
            }
        }
        Ok(Self { origin, documents })
    }
}

/// A target that moves no more of the true token's mass than the file says.
fn within(own: (u32, SoftTarget), alpha_max: f64) -> Result<(u32, SoftTarget)> {
    let kept = own.1.entries().first().map_or(0.0, |(_, probability)| f64::from(*probability));
    if kept < 1.0 - alpha_max - 1e-5 {
        let message = format!("expected at least {:.4} of the true token, found {kept:.4}", 1.0 - alpha_max);
        return Err(Error::bad(message));
    }
    Ok(own)
}

fn target(position: i64, ids: &[i64], probabilities: &[f32]) -> Result<(u32, SoftTarget)> {
    let token =
        |id: i64| u32::try_from(id).map_err(|_| Error::bad(format!("expected a number within 32 bits, found {id}")));
    let truth = ids[0];
    // The filling repeats the true token with probability 0.
    let kept = ids.iter().zip(probabilities).enumerate().filter(|&(at, (&id, &p))| at == 0 || id != truth || p != 0.0);
    let entries = kept.map(|(_, (&id, &p))| Ok((token(id)?, p))).collect::<Result<_>>()?;
    Ok((token(position)?, SoftTarget::new(entries)?))
}

fn bad_shape(name: &str, shape: &[usize]) -> Error {
    Error::bad(format!("expected the shape [rows, candidates], found {shape:?}")).at(format!("tensor {name}"))
}
