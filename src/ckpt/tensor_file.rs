//! One safetensors file with the strings of its header: read tensor by tensor, written tensor by tensor.
//!
//! Weights of a checkpoint are opened by [`super::WeightFiles`], which joins shards; this is for the files that stand
//! alone: gradient sets, moments of an optimizer, autocorrelations.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::weights::{Dtype, read_header, widen};
use crate::error::{Error, Result};

/// TensorElement types that are read and written here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TensorElement {
    I64,
    F32,
    F16,
    Bf16,
}

impl TensorElement {
    /// Bytes of one.
    pub fn bytes(self) -> usize {
        match self {
            Self::I64 => 8,
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::I64 => "I64",
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
        }
    }

    fn of(dtype: safetensors::Dtype) -> Option<Self> {
        match dtype {
            safetensors::Dtype::I64 => Some(Self::I64),
            safetensors::Dtype::F32 => Some(Self::F32),
            safetensors::Dtype::F16 => Some(Self::F16),
            safetensors::Dtype::BF16 => Some(Self::Bf16),
            _ => None,
        }
    }

    fn decoder_dtype(self) -> Option<Dtype> {
        match self {
            Self::I64 => None,
            Self::F32 => Some(Dtype::F32),
            Self::F16 => Some(Dtype::F16),
            Self::Bf16 => Some(Dtype::Bf16),
        }
    }

    /// Little-endian bytes of floats, rounded to the nearest, ties to even.
    ///
    /// # Panics
    /// For whole numbers.
    pub fn encode(self, values: &[f32]) -> Vec<u8> {
        match self {
            Self::I64 => unreachable!("floats are not stored as whole numbers"),
            Self::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::F16 => values.iter().flat_map(|&value| half::f16::from_f32(value).to_le_bytes()).collect(),
            Self::Bf16 => values.iter().flat_map(|&value| half::bf16::from_f32(value).to_le_bytes()).collect(),
        }
    }
}

/// Where a tensor lies in its file.
#[derive(Debug, Clone)]
pub struct StoredTensor {
    /// `None` for a type that is not read here.
    pub element: Option<TensorElement>,
    /// As the file spells it.
    pub element_name: String,
    pub shape: Vec<usize>,
    offset: u64,
    bytes: usize,
}

/// An open file whose header was checked: tensors lie side by side and fill it.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    file: File,
    metadata: BTreeMap<String, String>,
    tensors: BTreeMap<String, StoredTensor>,
}

impl TensorFile {
    pub fn open(path: &Path) -> Result<Self> {
        let (file, start, header) = read_header(path)?;
        let tensors = header.offset_keys().into_iter().filter_map(|name| {
            let info = header.info(&name)?;
            let (begin, end) = info.data_offsets;
            let tensor = StoredTensor {
                element: TensorElement::of(info.dtype),
                element_name: format!("{:?}", info.dtype),
                shape: info.shape.clone(),
                offset: start + begin as u64,
                bytes: end - begin,
            };
            Some((name, tensor))
        });
        let tensors = tensors.collect();
        let metadata = header.metadata().iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect();
        Ok(Self { path: path.to_path_buf(), file, metadata, tensors })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The strings of the header.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    pub fn tensors(&self) -> &BTreeMap<String, StoredTensor> {
        &self.tensors
    }

    /// Floats of a tensor, widened.
    ///
    /// # Errors
    /// No such tensor; other element types than float32, float16 and bfloat16.
    pub fn read_floats(&self, name: &str) -> Result<Vec<f32>> {
        let tensor = self.find(name)?;
        let dtype = tensor.element.and_then(TensorElement::decoder_dtype).ok_or_else(|| {
            self.bad(name, format!("expected float32, float16 or bfloat16, found {}", tensor.element_name))
        })?;
        Ok(widen(dtype, &self.read(name, tensor)?))
    }

    /// Whole numbers of a tensor.
    ///
    /// # Errors
    /// No such tensor; other element types than 64-bit integers.
    pub fn read_integers(&self, name: &str) -> Result<Vec<i64>> {
        let tensor = self.find(name)?;
        if tensor.element != Some(TensorElement::I64) {
            return Err(self.bad(name, format!("expected 64-bit integers, found {}", tensor.element_name)));
        }
        Ok(self.read(name, tensor)?.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect())
    }

    fn find(&self, name: &str) -> Result<&StoredTensor> {
        self.tensors.get(name).ok_or_else(|| self.bad(name, "expected a tensor of this name, found none".to_owned()))
    }

    fn read(&self, name: &str, tensor: &StoredTensor) -> Result<Vec<u8>> {
        let mut buffer = vec![0u8; tensor.bytes];
        let read = self.file.read_exact_at(&mut buffer, tensor.offset);
        read.map_err(|e| Error::io("read", &self.path, &e).at(format!("tensor {name}")))?;
        Ok(buffer)
    }

    fn bad(&self, name: &str, message: String) -> Error {
        Error::bad(message).in_file(&self.path).at(format!("tensor {name}"))
    }
}

/// A tensor that is going to be written.
#[derive(Debug, Clone)]
pub struct TensorPlan {
    pub name: String,
    pub element: TensorElement,
    pub shape: Vec<usize>,
}

impl TensorPlan {
    fn size(&self) -> usize {
        self.shape.iter().product::<usize>() * self.element.bytes()
    }
}

/// Writes a file whose tensors are made one at a time: `fill` gives the little-endian bytes of the one that it is asked
/// for. Names must differ. A reader sees the old file or the new one, never a part.
pub fn write_tensor_file(
    path: &Path,
    metadata: &BTreeMap<String, String>,
    mut tensors: Vec<TensorPlan>,
    mut fill: impl FnMut(&TensorPlan) -> Result<Vec<u8>>,
) -> Result<()> {
    // As the Python library lays them out, so that every tensor is aligned to its elements.
    tensors.sort_by(|a, b| b.element.bytes().cmp(&a.element.bytes()).then_with(|| a.name.cmp(&b.name)));
    let header = header(metadata, &tensors);
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let neighbour = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
    let failed = |e: std::io::Error| Error::io("write", path, &e);
    let attempt = (|| {
        let mut file = BufWriter::new(File::create(&neighbour).map_err(failed)?);
        file.write_all(&(header.len() as u64).to_le_bytes()).map_err(failed)?;
        file.write_all(&header).map_err(failed)?;
        for tensor in &tensors {
            let bytes = fill(tensor)?;
            if bytes.len() != tensor.size() {
                let message = format!("tensor {} takes {} bytes, {} came", tensor.name, tensor.size(), bytes.len());
                return Err(Error::internal(message).in_file(path));
            }
            file.write_all(&bytes).map_err(failed)?;
        }
        file.into_inner().map_err(|e| failed(e.into_error()))?.sync_all().map_err(failed)?;
        std::fs::rename(&neighbour, path).map_err(failed)
    })();
    if attempt.is_err() {
        // The failure is reported; what is left of the neighbour is of no use to anybody.
        let _ = std::fs::remove_file(&neighbour);
    }
    attempt
}

/// JSON, padded with spaces to a multiple of eight.
fn header(metadata: &BTreeMap<String, String>, tensors: &[TensorPlan]) -> Vec<u8> {
    let mut header = Map::new();
    if !metadata.is_empty() {
        header.insert("__metadata__".to_owned(), json!(metadata));
    }
    let mut start = 0;
    for tensor in tensors {
        let end = start + tensor.size();
        let entry = json!({"dtype": tensor.element.name(), "shape": tensor.shape, "data_offsets": [start, end]});
        header.insert(tensor.name.clone(), entry);
        start = end;
    }
    let mut bytes = Value::Object(header).to_string().into_bytes();
    bytes.resize(bytes.len().next_multiple_of(8), b' ');
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(name: &str, element: TensorElement, shape: &[usize]) -> TensorPlan {
        TensorPlan { name: name.to_owned(), element, shape: shape.to_vec() }
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let metadata = BTreeMap::from([("schema".to_owned(), "x/1, with \"quotes\"".to_owned())]);
        // Halfway between two neighbours in bfloat16: to the even one.
        let values = [1.0, 1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0, -2.5, 0.0, 3e38];
        let tensors = vec![
            plan("b", TensorElement::Bf16, &[2, 3]),
            plan("f", TensorElement::F32, &[6]),
            plan("h", TensorElement::F16, &[0, 4]),
            plan("n", TensorElement::I64, &[]),
        ];
        write_tensor_file(&path, &metadata, tensors, |tensor| {
            Ok(match tensor.element {
                TensorElement::I64 => 7i64.to_le_bytes().to_vec(),
                TensorElement::F16 => Vec::new(),
                element => element.encode(&values),
            })
        })
        .unwrap();
        let file = TensorFile::open(&path).unwrap();
        assert_eq!(file.metadata(), &metadata);
        assert_eq!(file.read_floats("f").unwrap(), values);
        assert_eq!(file.read_floats("b").unwrap()[..5], [1.0, 1.0, 1.0 + 4.0 / 256.0, -2.5, 0.0]);
        assert_eq!(file.tensors()["b"].shape, [2, 3]);
        assert_eq!(file.read_integers("n").unwrap(), [7]);
        assert!(file.read_floats("h").unwrap().is_empty());
        let message = file.read_floats("n").unwrap_err().to_string();
        assert!(message.ends_with("tensor n: expected float32, float16 or bfloat16, found I64"), "{message}");
        assert!(file.read_floats("x").is_err() && file.read_integers("f").is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failure_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        std::fs::write(&path, "old").unwrap();
        let write = |bytes: Result<Vec<u8>>| {
            write_tensor_file(&path, &BTreeMap::new(), vec![plan("f", TensorElement::F32, &[1])], |_| bytes.clone())
        };
        assert!(write(Err(Error::bad("no gradient"))).is_err());
        assert!(write(Ok(vec![0; 3])).unwrap_err().to_string().contains("takes 4 bytes, 3 came"));
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        write(Ok(vec![0; 4])).unwrap();
        assert_eq!(TensorFile::open(&path).unwrap().read_floats("f").unwrap(), [0.0]);
    }
}
