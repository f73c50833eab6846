//! Stored zip archives, with or without zip64: the names of the entries and where their bytes lie.
//!
//! Stricter than a general reader, since `torch.save` writes one plain form: no compression, no encryption, no comment,
//! one disk, a central directory that ends where the end records begin, entries that do not overlap. The checksums are
//! not compared: PyTorch's own reader ignores them too, and `torch.serialization.set_crc32_options(False)` falsifies
//! them.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use super::value::place;
use super::{Result, TorchError};

/// A checkpoint has one entry a storage; none comes near a million.
const MAX_ENTRIES: u64 = 1_000_000;
/// `torch.save` writes names such as `pytorch_model/data/1234`.
const MAX_NAME_BYTES: usize = 1024;
/// Of the whole central directory, about 80 bytes an entry.
const MAX_DIRECTORY_BYTES: u64 = 128 << 20;

const END: u32 = 0x0605_4b50;
const END_BYTES: u64 = 22;
const END64: u32 = 0x0606_4b50;
const END64_BYTES: u64 = 56;
const LOCATOR: u32 = 0x0706_4b50;
const LOCATOR_BYTES: u64 = 20;
const CENTRAL: u32 = 0x0201_4b50;
const CENTRAL_BYTES: u64 = 46;
const LOCAL: u32 = 0x0403_4b50;
const LOCAL_BYTES: u64 = 30;

/// General-purpose flags: encrypted, strong encryption, hidden local headers.
const FLAGS_ENCRYPTED: u16 = 1 | 1 << 6 | 1 << 13;
/// The sizes of the local header follow the data instead.
const FLAG_SIZES_LATER: u16 = 1 << 3;
/// The number of the extra field that holds 64-bit sizes.
const EXTRA_ZIP64: u16 = 1;

/// What is read by position: a file, or bytes in memory.
#[derive(Debug)]
pub(super) enum Source {
    /// With its size when it was opened.
    File(File, u64),
    Bytes(Vec<u8>),
}

impl Source {
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::File(_, size) => *size,
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }

    /// Compares with the size before it allocates.
    pub(super) fn read(&self, offset: u64, bytes: u64) -> Result<Vec<u8>> {
        let size = self.size();
        let end = offset.checked_add(bytes).filter(|&end| end <= size).ok_or_else(|| {
            TorchError::new(format!("expected {bytes} bytes from byte {offset} on, found a file of {size} bytes"))
        })?;
        match self {
            Self::File(file, _) => {
                let mut buffer = vec![0; bytes as usize];
                file.read_exact_at(&mut buffer, offset).map_err(|e| {
                    TorchError::new(format!("failed to read {bytes} bytes: {e}")).at(format!("byte {offset}"))
                })?;
                Ok(buffer)
            }
            Self::Bytes(all) => Ok(all[offset as usize..end as usize].to_vec()),
        }
    }
}

/// Where the bytes of one entry lie in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) offset: u64,
    pub(super) bytes: u64,
}

/// An open archive, all of whose entries lie within the file.
#[derive(Debug)]
pub(super) struct Archive {
    source: Source,
    entries: BTreeMap<String, Entry>,
}

impl Archive {
    pub(super) fn open(source: Source) -> Result<Self> {
        let directory = Directory::find(&source)?;
        let bytes = source.read(directory.offset, directory.bytes)?;
        let mut fields = Fields(&bytes);
        let mut entries = BTreeMap::new();
        // From the local header to the end of the data, to find overlaps.
        let mut spans = Vec::new();
        for number in 0..directory.entries {
            let listed = Listed::read(&mut fields).map_err(|e| located(e, format!("entry {number}")))?;
            let entry =
                listed.locate(&source, directory.offset).map_err(|e| located(e, place("entry", &listed.name)))?;
            spans.push((listed.header, entry.offset + entry.bytes));
            if entries.insert(listed.name.clone(), entry).is_some() {
                return Err(
                    TorchError::new("expected one entry of this name, found two").at(place("entry", &listed.name))
                );
            }
        }
        if !fields.0.is_empty() {
            return Err(TorchError::new(format!(
                "expected {} entries, found {} more bytes in the central directory",
                directory.entries,
                fields.0.len()
            )));
        }
        spans.sort_unstable();
        match spans.windows(2).find(|pair| pair[0].1 > pair[1].0) {
            None => Ok(Self { source, entries }),
            Some(pair) => Err(TorchError::new("expected entries side by side, found two that overlap")
                .at(format!("byte {}", pair[1].0))),
        }
    }

    pub(super) fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.entries
    }

    pub(super) fn get(&self, name: &str) -> Option<Entry> {
        self.entries.get(name).copied()
    }

    /// Some bytes of an entry; those past its end are refused, though the file may go on.
    pub(super) fn read(&self, entry: Entry, start: u64, bytes: u64) -> Result<Vec<u8>> {
        if start.checked_add(bytes).is_none_or(|end| end > entry.bytes) {
            return Err(TorchError::new(format!(
                "expected {bytes} bytes from byte {start} on, found an entry of {} bytes",
                entry.bytes
            )));
        }
        self.source.read(entry.offset + start, bytes)
    }
}

/// Adds a place to an error that has none.
fn located(error: TorchError, at: String) -> TorchError {
    if error.at.is_empty() { error.at(at) } else { error }
}

/// Little-endian fields, front to back.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or_else(|| {
            TorchError::new(format!("expected {bytes} bytes more of a record, found {}", self.0.len()))
        })?;
        self.0 = rest;
        Ok(taken)
    }

    fn number<const N: usize>(&mut self) -> Result<u64> {
        Ok(self.take(N)?.iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte)))
    }

    fn u16(&mut self) -> Result<u16> {
        Ok(self.number::<2>()? as u16)
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(self.number::<4>()? as u32)
    }

    fn u64(&mut self) -> Result<u64> {
        self.number::<8>()
    }

    /// Refuses another record than the one that is expected here.
    fn signature(&mut self, expected: u32, what: &str) -> Result<()> {
        let found = self.u32()?;
        if found == expected {
            return Ok(());
        }
        Err(TorchError::new(format!("expected {what} ({expected:#010x}), found {found:#010x}")))
    }
}

/// Where the central directory lies.
#[derive(Debug, PartialEq, Eq)]
struct Directory {
    offset: u64,
    bytes: u64,
    entries: u64,
}

impl Directory {
    fn find(source: &Source) -> Result<Self> {
        let size = source.size();
        let end_at = size.checked_sub(END_BYTES).ok_or_else(|| {
            TorchError::new(format!("expected a zip archive of at least {END_BYTES} bytes, found {size}"))
        })?;
        let narrow = Self::read_end(source, end_at)?;
        let (found, directory_end) = match end_at.checked_sub(LOCATOR_BYTES) {
            Some(at) if is_locator(source, at)? => {
                let (wide, wide_at) = Self::read_end64(source, at)?;
                if !narrow.agrees(&wide) {
                    return Err(TorchError::new(format!(
                        "expected the same central directory in both end records, found {narrow:?} and {wide:?}"
                    )));
                }
                (wide, wide_at)
            }
            _ => (narrow, end_at),
        };
        found.check(directory_end)?;
        Ok(found)
    }

    fn read_end(source: &Source, at: u64) -> Result<Self> {
        let bytes = source.read(at, END_BYTES)?;
        let mut fields = Fields(&bytes);
        fields.signature(END, "the end record of a zip archive in the last 22 bytes").map_err(|e| {
            TorchError::new(format!("{}; the file is cut short or is no file of torch.save", e.message))
        })?;
        let (disk, first_disk) = (fields.u16()?, fields.u16()?);
        let (here, entries) = (u64::from(fields.u16()?), u64::from(fields.u16()?));
        let (bytes, offset) = (u64::from(fields.u32()?), u64::from(fields.u32()?));
        let comment = fields.u16()?;
        if (disk, first_disk, here, comment) != (0, 0, entries, 0) {
            return Err(TorchError::new("expected a zip archive on one disk and without a comment, found another"));
        }
        Ok(Self { offset, bytes, entries })
    }

    /// The zip64 end record that the locator at a byte names, and where it lies.
    fn read_end64(source: &Source, locator: u64) -> Result<(Self, u64)> {
        let bytes = source.read(locator, LOCATOR_BYTES)?;
        let mut fields = Fields(&bytes);
        fields.signature(LOCATOR, "the locator of the zip64 end record")?;
        let (disk, at, disks) = (fields.u32()?, fields.u64()?, fields.u32()?);
        let record = source.read(at, END64_BYTES)?;
        let mut fields = Fields(&record);
        fields.signature(END64, "the zip64 end record")?;
        let length = fields.u64()?;
        let _versions = fields.u32()?;
        let (this_disk, first_disk) = (fields.u32()?, fields.u32()?);
        let (here, entries, bytes, offset) = (fields.u64()?, fields.u64()?, fields.u64()?, fields.u64()?);
        // A writer that knows of one disk only may count it as none.
        if disks > 1 || (disk, this_disk, first_disk, here) != (0, 0, 0, entries) {
            return Err(TorchError::new("expected a zip archive on one disk, found another"));
        }
        // The length counts from behind itself, 12 bytes into the record.
        if length < END64_BYTES - 12 || at.checked_add(12).and_then(|x| x.checked_add(length)) != Some(locator) {
            return Err(TorchError::new(format!(
                "expected the zip64 end record to reach byte {locator}, found a length of {length} from byte {at} on"
            )));
        }
        Ok((Self { offset, bytes, entries }, at))
    }

    /// Each field of the narrow record is that of the wide one, or all ones.
    fn agrees(&self, wide: &Self) -> bool {
        let same = |narrow: u64, wide: u64, ones: u64| narrow == wide || narrow == ones;
        same(self.entries, wide.entries, u64::from(u16::MAX))
            && same(self.bytes, wide.bytes, u64::from(u32::MAX))
            && same(self.offset, wide.offset, u64::from(u32::MAX))
    }

    fn check(&self, end: u64) -> Result<()> {
        if self.offset.checked_add(self.bytes) != Some(end) {
            return Err(TorchError::new(format!(
                "expected a central directory that ends at byte {end}, found {} bytes from byte {} on",
                self.bytes, self.offset
            )));
        }
        if self.entries > MAX_ENTRIES || self.bytes > MAX_DIRECTORY_BYTES || self.entries * CENTRAL_BYTES > self.bytes {
            return Err(TorchError::new(format!(
                "expected at most {MAX_ENTRIES} entries in at most {MAX_DIRECTORY_BYTES} bytes of central directory, \
                 found {} entries in {} bytes",
                self.entries, self.bytes
            )));
        }
        Ok(())
    }
}

fn is_locator(source: &Source, at: u64) -> Result<bool> {
    Ok(source.read(at, 4)? == LOCATOR.to_le_bytes())
}

/// One record of the central directory.
#[derive(Debug)]
struct Listed {
    name: String,
    bytes: u64,
    /// Where the local header lies.
    header: u64,
}

impl Listed {
    fn read(fields: &mut Fields) -> Result<Self> {
        fields.signature(CENTRAL, "a record of the central directory")?;
        let _versions = fields.u32()?;
        check_form(fields.u16()?, fields.u16()?)?;
        let _time_date_checksum = fields.take(8)?;
        let (packed, bytes) = (u64::from(fields.u32()?), u64::from(fields.u32()?));
        let (name, extra, comment) = (fields.u16()?, fields.u16()?, fields.u16()?);
        let disk = fields.u16()?;
        let _attributes = fields.take(6)?;
        let header = u64::from(fields.u32()?);
        let name = entry_name(fields.take(usize::from(name))?)?;
        // In the order in which the extra field holds those that are all ones here.
        let mut wide = [bytes, packed, header];
        widen(&mut wide, fields.take(usize::from(extra))?)?;
        let _comment = fields.take(usize::from(comment))?;
        let [bytes, packed, header] = wide;
        if packed != bytes || disk != 0 {
            return Err(TorchError::new(format!(
                "expected a stored entry of {bytes} bytes on disk 0, found {packed} bytes on disk {disk}"
            )));
        }
        Ok(Self { name, bytes, header })
    }

    /// Reads the local header, behind which the data lie, and compares it with the record.
    fn locate(&self, source: &Source, directory: u64) -> Result<Entry> {
        let bytes = source.read(self.header, LOCAL_BYTES + self.name.len() as u64)?;
        let mut fields = Fields(&bytes);
        fields.signature(LOCAL, "a local header")?;
        let _version = fields.u16()?;
        let flags = fields.u16()?;
        check_form(flags, fields.u16()?)?;
        let _time_date_checksum = fields.take(8)?;
        let (packed, unpacked) = (u64::from(fields.u32()?), u64::from(fields.u32()?));
        let (name, extra) = (fields.u16()?, fields.u16()?);
        if usize::from(name) != self.name.len() || fields.0 != self.name.as_bytes() {
            return Err(TorchError::new("expected the same name in the local header, found another"));
        }
        let stated = |x: u64| x == self.bytes || x == u64::from(u32::MAX) || (flags & FLAG_SIZES_LATER != 0 && x == 0);
        if !stated(packed) || !stated(unpacked) {
            return Err(TorchError::new(format!(
                "expected {} bytes in the local header, found {packed} and {unpacked}",
                self.bytes
            )));
        }
        let offset = self.header + LOCAL_BYTES + u64::from(name) + u64::from(extra);
        if offset.checked_add(self.bytes).is_none_or(|end| end > directory) {
            return Err(TorchError::new(format!(
                "expected data that end before the central directory at byte {directory}, found {} bytes from byte \
                 {offset} on",
                self.bytes
            )));
        }
        Ok(Entry { offset, bytes: self.bytes })
    }
}

fn check_form(flags: u16, method: u16) -> Result<()> {
    if flags & FLAGS_ENCRYPTED != 0 {
        return Err(TorchError::new("expected an entry without encryption, found an encrypted one"));
    }
    if method != 0 {
        return Err(TorchError::new(format!(
            "expected a stored entry (method 0) as torch.save writes it, found compression method {method}"
        )));
    }
    Ok(())
}

/// A key of the archive, never a path.
fn entry_name(bytes: &[u8]) -> Result<String> {
    if bytes.is_empty() || bytes.len() > MAX_NAME_BYTES {
        let found = bytes.len();
        return Err(TorchError::new(format!("expected a name of 1 to {MAX_NAME_BYTES} bytes, found {found}")));
    }
    let name = std::str::from_utf8(bytes).map_err(|e| TorchError::new(format!("expected a name in UTF-8: {e}")))?;
    if name.contains('\0') {
        return Err(TorchError::new("expected a name without NUL, found one"));
    }
    Ok(name.to_owned())
}

/// Replaces the fields that are all ones by those of the zip64 extra field.
fn widen(narrow: &mut [u64; 3], extra: &[u8]) -> Result<()> {
    let ones = u64::from(u32::MAX);
    if narrow.iter().all(|&x| x != ones) {
        return Ok(());
    }
    let mut fields = Fields(extra);
    while !fields.0.is_empty() {
        let (kind, length) = (fields.u16()?, fields.u16()?);
        let mut field = Fields(fields.take(usize::from(length))?);
        if kind == EXTRA_ZIP64 {
            return narrow.iter_mut().filter(|x| **x == ones).try_for_each(|x| {
                *x = field.u64()?;
                Ok(())
            });
        }
    }
    Err(TorchError::new("expected 64-bit sizes in an extra field, found none"))
}
