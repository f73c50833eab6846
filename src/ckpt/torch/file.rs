//! One file of `torch.save`: its tensors by name, each read where its storage lies.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use super::flatten::{Flat, Scalar, flatten};
use super::pickle::{MAX_PICKLE_BYTES, Pickle};
use super::value::{Node, TensorRef, TorchDtype, Values, place, shortened};
use super::zip::{Archive, Entry, Source};
use super::{Result, TorchError};

/// Of a tensor that has more elements than its storage (stride 0): its size is what the file claims, not what it holds.
const MAX_EXPANDED_BYTES: u64 = 32 << 20;
/// How the former format begins: a pickle of the number 0x1950a86a20f9469cfc6c, `torch.serialization.MAGIC_NUMBER`.
const LEGACY_MAGIC: [u8; 12] = [0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

/// One tensor: a view of a storage, which others may share.
#[derive(Debug, Clone)]
pub struct TorchTensor {
    pub dtype: TorchDtype,
    pub shape: Vec<usize>,
    /// In elements, one a dimension.
    pub strides: Vec<usize>,
    /// The name of the storage within the file. Tied tensors have the same, and the same offset.
    pub storage: String,
    /// Of the first element, in elements.
    pub storage_offset: usize,
    entry: Entry,
}

impl TorchTensor {
    /// Their bytes are within a u64, which was checked when the file was opened.
    pub fn elements(&self) -> usize {
        // Sizes beside a 0 may multiply to anything.
        if self.shape.contains(&0) { 0 } else { self.shape.iter().product() }
    }

    /// Whether the elements lie one behind the other in row-major order.
    fn contiguous(&self) -> bool {
        let mut expected = 1;
        self.axes().iter().rev().all(|&(size, stride)| {
            let fits = stride == expected;
            expected *= size;
            fits
        })
    }

    /// Sizes and strides; dimensions of size 1 are left out, whose strides mean nothing.
    fn axes(&self) -> Vec<(usize, usize)> {
        self.shape.iter().copied().zip(self.strides.iter().copied()).filter(|&(size, _)| size != 1).collect()
    }
}

/// An open file. Nothing of the tensors is read until `read`.
#[derive(Debug)]
pub struct TorchFile {
    archive: Archive,
    tensors: BTreeMap<String, TorchTensor>,
    scalars: BTreeMap<String, Scalar>,
    opaque: BTreeMap<String, String>,
}

impl TorchFile {
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| TorchError::new(format!("failed to open: {e}")))?;
        let metadata = file.metadata().map_err(|e| TorchError::new(format!("failed to read the size: {e}")))?;
        if !metadata.is_file() {
            return Err(TorchError::new("expected a file, found something else"));
        }
        Self::from_source(Source::File(file, metadata.len()))
    }

    /// The same of a file that was read before.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self> {
        Self::from_source(Source::Bytes(bytes))
    }

    fn from_source(source: Source) -> Result<Self> {
        refuse_other_formats(&source)?;
        let archive = Archive::open(source)?;
        let prefix = find_prefix(&archive)?;
        refuse_big_endian(&archive, &prefix)?;
        let pickle = read_pickle(&archive, &prefix)?;
        let Flat { tensors, scalars, opaque } = flatten(&pickle.values, pickle.root)?;
        let mut placed = BTreeMap::new();
        for (name, id) in tensors {
            let Node::Tensor(tensor) = pickle.values.get(id) else { continue };
            let found = locate(&pickle.values, tensor, &archive, &prefix)
                .map_err(|e| TorchError::new(e).at(place("tensor", &name)))?;
            placed.insert(name, found);
        }
        Ok(Self { archive, tensors: placed, scalars, opaque })
    }

    /// By dotted path: the keys of dicts and the positions in lists.
    pub fn tensors(&self) -> &BTreeMap<String, TorchTensor> {
        &self.tensors
    }

    pub fn get(&self, name: &str) -> Option<&TorchTensor> {
        self.tensors.get(name)
    }

    /// Plain values by dotted path, such as `param_groups.0.lr`.
    pub fn scalars(&self) -> &BTreeMap<String, Scalar> {
        &self.scalars
    }

    /// What was found and not read, by dotted path: the class of an object, or the type of a tensor that has none of
    /// the element types here.
    pub fn opaque(&self) -> &BTreeMap<String, String> {
        &self.opaque
    }

    /// The little-endian bytes of a tensor in row-major order, however it lies in its storage. Takes up to the size of
    /// the storage beside the result where it does not lie so itself.
    pub fn read(&self, name: &str) -> Result<Vec<u8>> {
        let tensor = self
            .get(name)
            .ok_or_else(|| TorchError::new("expected a tensor of this name, found none").at(place("tensor", name)))?;
        let elements = tensor.elements();
        if elements == 0 {
            return Ok(Vec::new());
        }
        let axes = tensor.axes();
        let contiguous = tensor.contiguous();
        let span = if contiguous {
            elements
        } else {
            1 + axes.iter().map(|(size, stride)| (size - 1) * stride).sum::<usize>()
        };
        let width = tensor.dtype.bytes();
        let bytes = self
            .archive
            .read(tensor.entry, (tensor.storage_offset * width) as u64, (span * width) as u64)
            .map_err(|e| TorchError::new(e.message).at(place("tensor", name)))?;
        if contiguous {
            return Ok(bytes);
        }
        Ok(match width {
            1 => gather::<1>(&bytes, &axes),
            2 => gather::<2>(&bytes, &axes),
            4 => gather::<4>(&bytes, &axes),
            _ => gather::<8>(&bytes, &axes),
        })
    }
}

/// Elements of N bytes in row-major order; no size may be 0, and the furthest element must lie within the bytes.
fn gather<const N: usize>(bytes: &[u8], axes: &[(usize, usize)]) -> Vec<u8> {
    let elements = bytes.as_chunks::<N>().0;
    let Some((&(inner, inner_stride), outer)) = axes.split_last() else {
        return bytes.to_vec();
    };
    let mut result = Vec::with_capacity(axes.iter().map(|(size, _)| size).product::<usize>() * N);
    let mut index = vec![0; outer.len()];
    let mut base = 0;
    loop {
        for step in 0..inner {
            result.extend_from_slice(&elements[base + step * inner_stride]);
        }
        let mut axis = outer.len();
        loop {
            if axis == 0 {
                return result;
            }
            axis -= 1;
            let (size, stride) = outer[axis];
            index[axis] += 1;
            base += stride;
            if index[axis] < size {
                break;
            }
            base -= stride * size;
            index[axis] = 0;
        }
    }
}

/// Names what a file is that people mistake for one of `torch.save`.
fn refuse_other_formats(source: &Source) -> Result<()> {
    let start = source.read(0, source.size().min(64))?;
    if start.starts_with(&[0x80]) && start.windows(LEGACY_MAGIC.len()).any(|bytes| bytes == LEGACY_MAGIC) {
        return Err(TorchError::new(
            "expected the zip format that torch.save writes since PyTorch 1.6, found the format before it; re-save the \
             file: `x = torch.load(path, map_location=\"cpu\", weights_only=True); torch.save(x, path)`",
        ));
    }
    if start.starts_with(b"version https://git-lfs") {
        return Err(TorchError::new(
            "expected a file of torch.save, found a pointer of Git LFS; fetch the file with `git lfs pull`",
        ));
    }
    Ok(())
}

/// The folder within the archive, named after the file when it was saved.
fn find_prefix(archive: &Archive) -> Result<String> {
    let mut pickles = archive.entries().keys().filter_map(|name| name.strip_suffix("/data.pkl"));
    let (Some(prefix), None) = (pickles.next().filter(|prefix| !prefix.contains('/')), pickles.next()) else {
        return Err(TorchError::new(
            "expected one entry <name>/data.pkl, found none or several: no file of torch.save",
        ));
    };
    if archive.get(&format!("{prefix}/constants.pkl")).is_some() {
        return Err(TorchError::new("expected a file of torch.save, found a TorchScript program; save its state_dict"));
    }
    Ok(prefix.to_owned())
}

fn refuse_big_endian(archive: &Archive, prefix: &str) -> Result<()> {
    let name = format!("{prefix}/byteorder");
    // Before PyTorch 2.1 nothing was written, and nothing but little-endian was in use.
    let Some(entry) = archive.get(&name) else { return Ok(()) };
    let order = archive.read(entry, 0, entry.bytes.min(16)).map_err(|e| e.at(&name))?;
    if order == b"little" {
        return Ok(());
    }
    let found = String::from_utf8_lossy(&order).into_owned();
    let message = format!("expected the byte order little, found {found:?}; re-save the file on another machine");
    Err(TorchError::new(message).at(name))
}

fn read_pickle(archive: &Archive, prefix: &str) -> Result<Pickle> {
    let name = format!("{prefix}/data.pkl");
    let entry = archive.get(&name).ok_or_else(|| TorchError::new("expected an entry, found none").at(&name))?;
    // Before it is read into memory.
    if entry.bytes > MAX_PICKLE_BYTES {
        let message = format!("expected a pickle of at most {MAX_PICKLE_BYTES} bytes, found {}", entry.bytes);
        return Err(TorchError::new(message).at(name));
    }
    Pickle::read(archive.read(entry, 0, entry.bytes).map_err(|e| TorchError::new(e.message).at(name))?)
}

/// Finds the entry of a tensor's storage and checks that every element lies in it.
fn locate(values: &Values, tensor: &TensorRef, archive: &Archive, prefix: &str) -> Result<TorchTensor, String> {
    let key = values.text(tensor.key);
    let entry = archive.get(&format!("{prefix}/data/{key}"));
    let entry = entry.ok_or_else(|| format!("expected the entry {prefix}/data/{}, found none", shortened(key)))?;
    if entry.bytes != tensor.storage_bytes {
        return Err(format!("expected a storage of {} bytes, found {}", tensor.storage_bytes, entry.bytes));
    }
    let width = tensor.dtype.bytes() as u64;
    let bytes = claimed_elements(tensor, entry.bytes / width).and_then(|elements| elements.checked_mul(width));
    let bytes = bytes.ok_or_else(|| {
        format!(
            "expected a tensor within its storage of {} elements, found sizes {:?} with strides {:?} from element {} on",
            entry.bytes / width,
            tensor.shape,
            tensor.strides,
            tensor.offset
        )
    })?;
    if bytes > entry.bytes.max(MAX_EXPANDED_BYTES) {
        return Err(format!("expected an expanded tensor of at most {MAX_EXPANDED_BYTES} bytes, found {bytes}"));
    }
    Ok(TorchTensor {
        dtype: tensor.dtype,
        shape: tensor.shape.iter().map(|&x| x as usize).collect(),
        strides: tensor.strides.iter().map(|&x| x as usize).collect(),
        storage: key.to_owned(),
        storage_offset: tensor.offset as usize,
        entry,
    })
}

/// How many elements a tensor has; none if one lies behind the elements that its storage holds.
fn claimed_elements(tensor: &TensorRef, held: u64) -> Option<u64> {
    // Sizes beside a 0 may multiply to anything.
    if tensor.shape.contains(&0) {
        return Some(0);
    }
    let mut last = tensor.offset;
    let mut elements = 1u64;
    for (&size, &stride) in tensor.shape.iter().zip(&tensor.strides) {
        last = last.checked_add(stride.checked_mul(size - 1)?)?;
        elements = elements.checked_mul(size)?;
    }
    (last < held).then_some(elements)
}
