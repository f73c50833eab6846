//! A one-dimensional array of numpy that grows.
//!
//! The head is 128 bytes long whatever the length, so that it can be written anew when elements were added. A reader sees as
//! many elements as the head says; what a kill left behind them is cut when the file is opened to go on.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::head;
use crate::error::{Error, Result};

const HEAD_BYTES: usize = 128;

/// Unsigned numbers, little-endian.
pub trait Element: Copy {
    /// Numpy's name.
    const DESCR: &'static str;
    const BYTES: u64;
    fn append_to(self, bytes: &mut Vec<u8>);
    /// From its bytes.
    fn read(bytes: &[u8]) -> Self;
}

macro_rules! element {
    ($type:ty, $descr:literal) => {
        impl Element for $type {
            const DESCR: &'static str = $descr;
            const BYTES: u64 = size_of::<$type>() as u64;

            fn append_to(self, bytes: &mut Vec<u8>) {
                bytes.extend(self.to_le_bytes());
            }

            fn read(bytes: &[u8]) -> Self {
                bytes.iter().rev().fold(0, |number, byte| number << 8 | Self::from(*byte))
            }
        }
    };
}

element!(u32, "<u4");
element!(u64, "<u8");

/// An array's file.
#[derive(Debug)]
pub struct GrowingArray<T> {
    path: PathBuf,
    file: File,
    len: u64,
    element: std::marker::PhantomData<T>,
}

impl<T: Element> GrowingArray<T> {
    /// An empty array, in the place of what was there.
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).map_err(|e| Error::io("create", path, &e))?;
        let mut array = Self { path: path.to_owned(), file, len: 0, element: std::marker::PhantomData };
        array.write_head()?;
        Ok(array)
    }

    /// The first `len` elements of an array that [`Self::create`] began; the rest is cut.
    ///
    /// # Errors
    /// Another file; fewer elements.
    pub fn open(path: &Path, len: u64) -> Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(|e| Error::io("open", path, &e))?;
        let mut array = Self { path: path.to_owned(), file, len, element: std::marker::PhantomData };
        let found = stored::<T>(&mut array.file, path)?;
        if found < len {
            return Err(Error::bad(format!("expected at least {len} elements, found {found}")).in_file(path));
        }
        array.io("cut", |file| file.set_len(HEAD_BYTES as u64 + len * T::BYTES))?;
        array.write_head()?;
        Ok(array)
    }

    /// Elements so far.
    pub fn count(&self) -> u64 {
        self.len
    }

    pub fn append(&mut self, elements: &[T]) -> Result<()> {
        let mut bytes = Vec::with_capacity(elements.len() * T::BYTES as usize);
        for element in elements {
            element.append_to(&mut bytes);
        }
        let end = HEAD_BYTES as u64 + self.len * T::BYTES;
        self.io("write", |file| {
            file.seek(SeekFrom::Start(end))?;
            file.write_all(&bytes)
        })?;
        self.len += elements.len() as u64;
        self.write_head()
    }

    /// Returns when the disk has it.
    pub fn sync(&mut self) -> Result<()> {
        self.io("write", |file| file.sync_all())
    }

    fn write_head(&mut self) -> Result<()> {
        let head = head_of::<T>(self.len);
        self.io("write", |file| {
            file.seek(SeekFrom::Start(0))?;
            file.write_all(&head)
        })
    }

    fn io(&mut self, what: &str, action: impl FnOnce(&mut File) -> std::io::Result<()>) -> Result<()> {
        action(&mut self.file).map_err(|e| Error::io(what, &self.path, &e))
    }
}

/// Elements `from..to` of an array, or those of them that are there.
pub fn read<T: Element>(path: &Path, from: u64, to: u64) -> Result<Vec<T>> {
    let io = |e: std::io::Error| Error::io("read", path, &e);
    let mut file = File::open(path).map_err(|e| Error::io("open", path, &e))?;
    let to = to.min(stored::<T>(&mut file, path)?);
    file.seek(SeekFrom::Start(HEAD_BYTES as u64 + from.min(to) * T::BYTES)).map_err(io)?;
    let mut bytes = Vec::new();
    file.take(to.saturating_sub(from) * T::BYTES).read_to_end(&mut bytes).map_err(io)?;
    Ok(bytes.chunks_exact(T::BYTES as usize).map(T::read).collect())
}

/// How many elements a file has.
fn stored<T: Element>(file: &mut File, path: &Path) -> Result<u64> {
    let io = |e: std::io::Error| Error::io("read", path, &e);
    let mut start = Vec::new();
    file.take(HEAD_BYTES as u64).read_to_end(&mut start).map_err(io)?;
    let wanted = head_of::<T>(0);
    // Up to the length, which is what differs.
    let same = wanted.iter().position(|byte| *byte == b'(').map_or(0, |at| at + 1);
    if start.len() < HEAD_BYTES || start[..same] != wanted[..same] {
        let message = format!("expected an array of {} that a training wrote, found another file", T::DESCR);
        return Err(Error::bad(message).in_file(path));
    }
    let bytes = file.metadata().map_err(io)?.len();
    Ok(bytes.saturating_sub(HEAD_BYTES as u64) / T::BYTES)
}

fn head_of<T: Element>(len: u64) -> Vec<u8> {
    head(T::DESCR, &[len], HEAD_BYTES)
}
