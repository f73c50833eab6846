//! Matrices of which any rows are read.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// numpy itself writes about a hundred.
const MOST_HEAD: usize = 1 << 16;

/// Element types that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NpyElement {
    F32,
    F64,
}

impl NpyElement {
    fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }
}

/// An open file whose head was checked: it holds as many elements as it says.
#[derive(Debug)]
pub struct NpyFile {
    path: PathBuf,
    file: File,
    start: u64,
    element: NpyElement,
    rows: usize,
    width: usize,
}

impl NpyFile {
    /// # Errors
    /// Other files; other elements than little-endian f4 and f8; other shapes than `[n, d]`; columns side by side
    /// (`fortran_order`); a size that is not the shape's.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io("open", path, &e))?;
        let size = file.metadata().map_err(|e| Error::io("read the size of", path, &e))?.len();
        let (start, text) = head(&file, size)
            .map_err(|e| Error::io("read", path, &e))?
            .ok_or_else(|| Error::bad("expected an array of numpy (.npy), found another file").in_file(path))?;
        let bad = |wanted: &str, found: &str| Error::bad(format!("expected {wanted}, found {found}")).in_file(path);
        let element = match field(&text, "descr").unwrap_or_default() {
            "'<f4'" => NpyElement::F32,
            "'<f8'" => NpyElement::F64,
            other => {
                let help = "save it with array.astype('<f4')";
                return Err(
                    bad("numbers of type '<f4' or '<f8'", if other.is_empty() { "none" } else { other }).help(help)
                );
            }
        };
        if field(&text, "fortran_order") != Some("False") {
            return Err(bad("rows one after the other", "columns").help("save it with numpy.ascontiguousarray(array)"));
        }
        let shape = field(&text, "shape").unwrap_or_default();
        let Some(&[rows, width]) = lengths(shape).as_deref() else { return Err(bad("a shape (n, d)", shape)) };
        let wanted = rows.checked_mul(width).and_then(|count| count.checked_mul(element.bytes()));
        if wanted.is_none_or(|wanted| wanted as u64 != size - start) || width == 0 {
            let found = format!("{} bytes", size - start);
            return Err(bad(&format!("the numbers of an array of shape {shape}"), &found).help("the file is cut short"));
        }
        Ok(Self { path: path.to_path_buf(), file, start, element, rows, width })
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn width(&self) -> usize {
        self.width
    }

    pub fn element(&self) -> NpyElement {
        self.element
    }

    /// Some rows, side by side.
    ///
    /// # Errors
    /// What the disk says, rows that are not there among it.
    pub fn read(&self, rows: Range<usize>) -> Result<Vec<f64>> {
        let bytes = self.width * self.element.bytes();
        let mut buffer = vec![0u8; rows.len() * bytes];
        let read = self.file.read_exact_at(&mut buffer, self.start + (rows.start * bytes) as u64);
        read.map_err(|e| Error::io("read", &self.path, &e))?;
        Ok(match self.element {
            NpyElement::F32 => buffer.as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect(),
            NpyElement::F64 => buffer.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
        })
    }
}

/// A list of integers, `<i8`, of at most `most` entries.
///
/// # Errors
/// Other files, elements and shapes; a size that is not the shape's.
pub fn read_integers(path: &Path, most: usize) -> Result<Vec<i64>> {
    let file = File::open(path).map_err(|e| Error::io("open", path, &e))?;
    let io = |e: std::io::Error| Error::io("read", path, &e);
    let size = file.metadata().map_err(io)?.len();
    let found = head(&file, size).map_err(io)?;
    let start = found.and_then(|(start, text)| {
        let &[count] = lengths(field(&text, "shape")?).as_deref()? else { return None };
        let is_whole = count <= most && (count as u64).checked_mul(8) == Some(size - start);
        (field(&text, "descr") == Some("'<i8'") && is_whole).then_some(start)
    });
    let Some(start) = start else {
        let message = format!("expected a list of at most {most} numbers of type '<i8' (.npy), found another file");
        return Err(Error::bad(message).in_file(path));
    };
    let mut bytes = vec![0u8; (size - start) as usize];
    file.read_exact_at(&mut bytes, start).map_err(io)?;
    Ok(bytes.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect())
}

/// The lengths in a text such as `(2, 3)`.
fn lengths(shape: &str) -> Option<Vec<usize>> {
    let lengths = shape.trim_start_matches('(').trim_end_matches(')').split(',').map(str::trim);
    lengths.filter(|text| !text.is_empty()).map(|text| text.parse().ok()).collect()
}

/// Where the elements begin, and the text about them; none for another file.
fn head(file: &File, size: u64) -> std::io::Result<Option<(u64, String)>> {
    let mut first = [0u8; 12];
    if size < first.len() as u64 {
        return Ok(None);
    }
    file.read_exact_at(&mut first, 0)?;
    let (start, length) = match (&first[..6] == MAGIC, first[6]) {
        (true, 1) => (10, usize::from(u16::from_le_bytes([first[8], first[9]]))),
        (true, 2 | 3) => (12, u32::from_le_bytes([first[8], first[9], first[10], first[11]]) as usize),
        _ => return Ok(None),
    };
    let end = start + length as u64;
    if length > MOST_HEAD || end > size {
        return Ok(None);
    }
    let mut text = vec![0u8; length];
    file.read_exact_at(&mut text, start)?;
    Ok(String::from_utf8(text).ok().map(|text| (end, text)))
}

/// The value of a key of the dictionary that the head is: `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`.
fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("'{key}'"))?;
    let value = rest.trim_start().strip_prefix(':')?.trim_start();
    let end = if value.starts_with('(') { value.find(')')? + 1 } else { value.find([',', '}'])? };
    Some(value[..end].trim())
}
