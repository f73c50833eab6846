//! Arrays that are written from beginning to end.

use std::io::{BufWriter, Write};
use std::path::Path;

use super::head;
use crate::error::{Error, Result};

/// Writes an array of version 1.0. `descr`: numpy's name of the element, such as `<f4`.
pub fn write(path: &Path, descr: &str, shape: &[u64], fill: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let head = head(descr, shape, 0);
    write_file(path, |file| {
        file.write_all(&head).map_err(|e| Error::io("write", path, &e))?;
        fill(file)
    })
}

/// Writes and syncs a file.
pub fn write_file(path: &Path, fill: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let file = std::fs::File::create(path).map_err(|e| Error::io("create", path, &e))?;
    let mut file = BufWriter::new(file);
    fill(&mut file)?;
    let file = file.into_inner().map_err(|e| Error::io("write", path, e.error()))?;
    file.sync_all().map_err(|e| Error::io("write", path, &e))
}
