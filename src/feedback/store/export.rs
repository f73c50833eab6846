//! The store in the files of others.

use std::io::Write;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::bergson;
use super::element::Element;
use super::header::{Normalizer, ProjectionRecord};
use super::reader::GradStore;
use crate::error::{Error, Result};
use crate::feedback::Signs;
use crate::util::{files, npy};

const BLOCK_BYTES: usize = 4 << 20;

/// Whose files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportTo {
    /// An index of Bergson's, for its `load_gradients`, `Attributor` and scores.
    Bergson,
    /// `grads.npy` and a file for each column.
    Npy,
    /// A folder that TRAK's `MmapSaver` opens: one model, all items featurised.
    Trak,
}

/// What to know about an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    pub rows: u64,
    pub notes: Vec<String>,
}

/// Writes the whole store into a new folder. Hashes are compared first; the folder appears when everything is in it.
///
/// # Errors
/// A folder that is there; damaged shards.
pub fn export(store: &GradStore, to: ExportTo, out: &Path) -> Result<Exported> {
    files::check_free(out)?;
    let name = out.file_name().ok_or_else(|| Error::bad("expected the name of a folder").in_file(out))?;
    store.verify()?;
    let part = out.with_file_name(format!("{}.part", name.to_string_lossy()));
    if part.exists() {
        std::fs::remove_dir_all(&part).map_err(|e| Error::io("remove", &part, &e))?;
    }
    files::create_folder(&part)?;
    let mut notes = match to {
        ExportTo::Bergson => to_bergson(store, &part),
        ExportTo::Npy => to_npy(store, &part),
        ExportTo::Trak => to_trak(store, &part),
    }?;
    if !store.is_complete() {
        notes.push("the store is not complete: its writer has not finished".to_owned());
    }
    std::fs::rename(&part, out).map_err(|e| Error::io("rename to", out, &e))?;
    Ok(Exported { rows: store.len(), notes })
}

fn to_bergson(store: &GradStore, folder: &Path) -> Result<Vec<String>> {
    /// `torch.save({})` as torch wrote it before 1.6 and reads it still: magic, protocol, system, the dictionary, no
    /// storages.
    const EMPTY: &[u8] =
        b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}.\x80\x02}.\x80\x02].";
    let (layout, rows) = (store.layout(), store.len());
    npy::write_file(&folder.join(bergson::GRADIENTS), |file| copy(store, file))?;
    let sizes: Map<String, Value> =
        layout.modules.iter().map(|module| (module.name.clone(), module.columns().len().into())).collect();
    let offsets = if store.is_per_token() { Some(offsets(store)?) } else { None };
    let items = offsets.as_ref().map_or(rows, |offsets| offsets.len() as u64 - 1);
    let info = json!({
        "attribute_tokens": offsets.is_some(), "num_items": items, "num_grads": rows, "grad_sizes": sizes,
        "base_dtype": layout.dtype.numpy(),
    });
    if let Some(offsets) = offsets {
        let path = folder.join(bergson::OFFSETS);
        let bytes: Vec<u8> = offsets.iter().flat_map(|offset| offset.to_le_bytes()).collect();
        npy::write(&path, "<i8", &[offsets.len() as u64], |file| {
            file.write_all(&bytes).map_err(|e| Error::io("write", &path, &e))
        })?;
    }
    write_json(&folder.join(bergson::INFO), &info)?;
    files::write_atomic(&folder.join(bergson::CONFIG), bergson::config(&layout.projection).as_bytes())?;
    for name in ["normalizers.pth", "hessians.pth", "hessians_eigen.pth"] {
        files::write_atomic(&folder.join(name), EMPTY)?;
    }
    let mut notes = vec!["there is no data.hf: Bergson's commands that print documents need one".to_owned()];
    if store.header().is_some_and(|header| header.normalizer != Normalizer::None) {
        let note = "normalizers.pth is empty: gradients that Bergson computes for queries are not divided by moments";
        notes.push(note.to_owned());
    }
    if store.header().is_some_and(|header| !header.also.is_empty()) {
        let note = "embeddings or vectors are in the rows: Bergson loads them and computes none for queries";
        notes.push(note.to_owned());
    }
    if store.header().is_some_and(|header| header.whitening.is_some()) {
        let note = "the rows are whitened, which no file says: queries that Bergson computes are not";
        notes.push(note.to_owned());
    }
    let signs = match layout.projection {
        ProjectionRecord::Rademacher { signs, .. } | ProjectionRecord::Global { signs, .. } => Some(signs),
        ProjectionRecord::None | ProjectionRecord::Bergson { .. } => None,
    };
    if signs == Some(Signs::Pcg64) {
        let note = "Bergson 2 projects by other random signs: it loads these rows, and only Bergson 0.x and 1.x can \
                    compute queries for them";
        notes.push(note.to_owned());
    }
    Ok(notes)
}

/// Where the rows of each item begin, and where the last ends.
fn offsets(store: &GradStore) -> Result<Vec<i64>> {
    let (mut offsets, mut last) = (Vec::new(), None);
    for row in 0..store.len() {
        let id = store.info(row)?.id;
        if last != Some(id) {
            offsets.push(row as i64);
            last = Some(id);
        }
    }
    offsets.push(store.len() as i64);
    Ok(offsets)
}

fn to_npy(store: &GradStore, folder: &Path) -> Result<Vec<String>> {
    let (rows, dim) = (store.len(), store.layout().dim() as u64);
    npy::write(&folder.join("grads.npy"), descr(store), &[rows, dim], |file| copy_for_numpy(store, file))?;
    let mut columns = vec![("row_id.npy", "<i8", Vec::new())];
    if store.header().is_some() {
        columns.extend([("loss.npy", "<f4", Vec::new()), ("norm.npy", "<f4", Vec::new())]);
        columns.push(("n_tokens.npy", "<i4", Vec::new()));
    }
    if store.header().is_some_and(|header| header.per_token) {
        columns.push(("position.npy", "<i4", Vec::new()));
    }
    for row in 0..rows {
        let info = store.info(row)?;
        let item = info.item.iter().flat_map(|item| {
            let always = [item.loss.to_le_bytes(), item.norm.to_le_bytes(), item.n_tokens.to_le_bytes()];
            always.into_iter().chain(item.position.map(i32::to_le_bytes)).map(Vec::from)
        });
        let cells = std::iter::once(info.id.to_le_bytes().to_vec()).chain(item);
        columns.iter_mut().zip(cells).for_each(|((_, _, bytes), cell)| bytes.extend(cell));
    }
    for (name, descr, bytes) in columns {
        let path = folder.join(name);
        npy::write(&path, descr, &[rows], |file| file.write_all(&bytes).map_err(|e| Error::io("write", &path, &e)))?;
    }
    Ok(widened(store).into_iter().collect())
}

fn to_trak(store: &GradStore, folder: &Path) -> Result<Vec<String>> {
    let (rows, dim) = (store.len(), store.layout().dim() as u64);
    let (model, descr) = (folder.join("0"), descr(store));
    files::create_folder(&model)?;
    files::create_folder(&folder.join("scores"))?;
    let fill = |name: &str, descr: &str, columns: u64, cell: &[u8]| {
        let path = model.join(name);
        npy::write(&path, descr, &[rows, columns], |file| {
            (0..rows * columns).try_for_each(|_| file.write_all(cell)).map_err(|e| Error::io("write", &path, &e))
        })
    };
    npy::write(&model.join("grads.mmap"), descr, &[rows, dim], |file| copy_for_numpy(store, file))?;
    let (one, zero): (&[u8], &[u8]) =
        if descr == "<f2" { (&[0, 0x3c], &[0; 2]) } else { (&1f32.to_le_bytes(), &[0; 4]) };
    fill("out_to_loss.mmap", descr, 1, one)?;
    fill("features.mmap", descr, dim, zero)?;
    fill("_is_featurized.mmap", "<i4", 1, &1i32.to_le_bytes())?;
    write_json(&folder.join("id_0.json"), &json!({"0": {"is_featurized": 1, "is_finalized": 0}}))?;
    write_json(&folder.join("experiments.json"), &json!({}))?;
    let matrix = match &store.layout().projection {
        ProjectionRecord::Rademacher { .. } | ProjectionRecord::Global { .. } => "rademacher",
        ProjectionRecord::None => "identity",
        ProjectionRecord::Bergson { settings } => settings.get("projection_type").map_or("unknown", String::as_str),
    };
    let metadata = json!({"JL dimension": dim, "JL matrix type": matrix, "train set size": rows});
    write_json(&folder.join("metadata.json"), &metadata)?;
    let note = "the rows are gradients of losses, where TRAK takes those of margins: out_to_loss is 1; its own projection \
                cannot make queries for them";
    Ok(std::iter::once(note.to_owned()).chain(widened(store)).collect())
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    files::write_atomic(path, format!("{value:#}\n").as_bytes())
}

/// numpy's name of the element. It has no bfloat16.
fn descr(store: &GradStore) -> &'static str {
    if store.layout().dtype == Element::F16 { "<f2" } else { "<f4" }
}

fn widened(store: &GradStore) -> Option<String> {
    (store.layout().dtype == Element::Bf16).then(|| "numpy has no bfloat16: rows were widened to float32".to_owned())
}

/// All rows as they are stored.
fn copy(store: &GradStore, out: &mut dyn Write) -> Result<()> {
    let mut bytes = Vec::new();
    for rows in store.blocks(BLOCK_BYTES) {
        store.read(rows, &mut bytes)?;
        out.write_all(&bytes).map_err(|e| Error::io("write", Path::new("the rows"), &e))?;
    }
    Ok(())
}

fn copy_for_numpy(store: &GradStore, out: &mut dyn Write) -> Result<()> {
    if store.layout().dtype != Element::Bf16 {
        return copy(store, out);
    }
    for rows in store.blocks(BLOCK_BYTES) {
        let bytes: Vec<u8> = store.rows(rows)?.into_iter().flat_map(f32::to_le_bytes).collect();
        out.write_all(&bytes).map_err(|e| Error::io("write", Path::new("the rows"), &e))?;
    }
    Ok(())
}
