//! Arrays as numpy keeps them: a line of text about the array, then its elements.

use std::io::{BufWriter, Write};
use std::path::Path;

use crate::error::{Error, Result};

/// Writes an array of version 1.0. `descr`: numpy's name of the element, such as `<f4`.
pub(super) fn write(
    path: &Path,
    descr: &str,
    shape: &[u64],
    fill: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<()> {
    let lengths: Vec<String> = shape.iter().map(|length| format!("{length},")).collect();
    let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}), }}", lengths.join(" "));
    // Magic, version and length take ten bytes; the whole is a multiple of 64 and ends a line.
    let length = (10 + text.len() + 1).next_multiple_of(64) - 10;
    let mut head = b"\x93NUMPY\x01\x00".to_vec();
    head.extend((length as u16).to_le_bytes());
    head.extend(format!("{text:<width$}\n", width = length - 1).bytes());
    write_file(path, |file| {
        file.write_all(&head).map_err(|e| Error::io("write", path, &e))?;
        fill(file)
    })
}

/// Writes and syncs a file.
pub(super) fn write_file(path: &Path, fill: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let file = std::fs::File::create(path).map_err(|e| Error::io("create", path, &e))?;
    let mut file = BufWriter::new(file);
    fill(&mut file)?;
    let file = file.into_inner().map_err(|e| Error::io("write", path, e.error()))?;
    file.sync_all().map_err(|e| Error::io("write", path, &e))
}
