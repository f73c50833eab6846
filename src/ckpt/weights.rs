//! Tensors by name, read by position: no memory map, so a file that shrinks is an error, not a crash.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};

use safetensors::tensor::Metadata;
use serde_json::Value;

use super::adapter::{Change, Laid, Start};
use super::address::is_llama2c;
use super::gguf::{self, GgufFile, Quant, is_gguf};
use super::llama2c::{self, Llama2cFile};
use super::torch::{TorchDtype, TorchError, TorchFile};
use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::util::files;

/// The bound that the safetensors library sets itself.
const MAX_HEADER_BYTES: u64 = 100_000_000;
const MAX_INDEX_BYTES: u64 = 64 << 20;

/// Element types that a decoder's weights may have and are kept in. The last two are stored in blocks along a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dtype {
    F32,
    F16,
    Bf16,
    /// 32 signed bytes and a half-precision scale.
    Q8_0,
    /// 256 numbers of four bits; eight scales and minima of six bits, and scales of those.
    Q4K,
}

impl Dtype {
    /// Elements of a block, and its bytes.
    pub fn block(self) -> (usize, usize) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::Bf16 => (1, 2),
            Self::Q8_0 => (32, 34),
            Self::Q4K => (256, 144),
        }
    }

    /// Bytes of so many elements, which are whole blocks.
    pub fn size(self, elements: usize) -> usize {
        let (length, bytes) = self.block();
        elements / length * bytes
    }

    /// How many elements of some little-endian bytes are NaN or infinite: those whose exponent bits are all set, or
    /// those of a block, if such are its scales.
    pub fn count_nonfinite(self, bytes: &[u8]) -> usize {
        let halves = |mask: u16| bytes.as_chunks().0.iter().filter(|b| u16::from_le_bytes(**b) & mask == mask).count();
        let (length, size) = self.block();
        let scales = |block: &[u8], count: usize| Self::F16.count_nonfinite(&block[..2 * count]) > 0;
        let blocks = |count| length * bytes.chunks_exact(size).filter(|block| scales(block, count)).count();
        match self {
            Self::F32 => {
                let mask = 0x7f80_0000;
                bytes.as_chunks().0.iter().filter(|b| u32::from_le_bytes(**b) & mask == mask).count()
            }
            Self::F16 => halves(0x7c00),
            Self::Bf16 => halves(0x7f80),
            Self::Q8_0 => blocks(1),
            Self::Q4K => blocks(2),
        }
    }

    /// The name that PyTorch uses, or ggml.
    pub fn name(self) -> &'static str {
        match self {
            Self::Q8_0 => "Q8_0",
            Self::Q4K => "Q4_K",
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
        }
    }
}

/// Where one tensor lies.
#[derive(Debug, Clone)]
pub struct TensorInfo {
    /// `None` for an element type that no decoder weight has (integer buffers of old checkpoints).
    pub dtype: Option<Dtype>,
    /// As the file spells it.
    pub dtype_name: String,
    /// The stored type of quantised blocks of which kernels know nothing: they are read as f32.
    pub widened_from: Option<&'static str>,
    pub shape: Vec<usize>,
    file: usize,
    place: Place,
}

impl TensorInfo {
    /// Bytes that are held at once while it is read, the result included.
    pub(crate) fn reading(&self) -> Option<usize> {
        let bytes = self.dtype?.size(self.shape.iter().product());
        // The sum, what is added, and the bytes of either.
        Some(if matches!(self.place, Place::Changed) { 3 * bytes } else { bytes })
    }
}

#[derive(Debug, Clone)]
enum Place {
    /// As it is wanted.
    Plain {
        offset: u64,
        bytes: usize,
    },
    Gguf(gguf::Place),
    Llama2c(llama2c::Place),
    /// In the PyTorch file of the same number.
    Torch,
    /// Something was laid on the base's tensor.
    Changed,
}

/// An addition, and what it changes.
#[derive(Debug)]
struct Overlay {
    addition: WeightFiles,
    changes: BTreeMap<String, Change>,
    /// Tensors of the base as they are without it.
    originals: BTreeMap<String, TensorInfo>,
}

/// All tensors of a checkpoint, by name.
#[derive(Debug)]
pub struct WeightFiles {
    files: Vec<(PathBuf, File)>,
    /// PyTorch files, in place of `files`.
    torch: Vec<(PathBuf, TorchFile)>,
    tensors: BTreeMap<String, TensorInfo>,
    overlay: Option<Box<Overlay>>,
}

impl WeightFiles {
    /// Opens a GGUF or llama2.c file, or what a folder has: `model.safetensors`, else `pytorch_model.bin`, whole or as the
    /// shards that an index beside it names. Reads the headers.
    pub fn open(checkpoint: &Path) -> Result<Self> {
        if is_gguf(checkpoint) {
            return Self::open_gguf(checkpoint);
        }
        if is_llama2c(checkpoint) {
            return Self::open_llama2c(checkpoint);
        }
        Self::open_folder(checkpoint, FORMATS)
    }

    /// Opens the weights of a PEFT folder.
    pub(super) fn open_adapter(folder: &Path) -> Result<Self> {
        Self::open_folder(folder, ADAPTER_FORMATS)
    }

    fn open_folder(folder: &Path, formats: Formats) -> Result<Self> {
        for (name, open) in formats {
            let (single, index) = (folder.join(name), folder.join(format!("{name}.index.json")));
            if single.exists() {
                return open(&[single]);
            }
            if index.exists() {
                return Self::open_listed(folder, &index, open);
            }
        }
        let names: Vec<String> = formats.iter().map(|(name, _)| format!("{name} or {name}.index.json")).collect();
        Err(Error::bad(format!("expected {}, found none", names.join(", "))).in_file(folder))
    }

    /// Opens the shards that an index names.
    fn open_listed(folder: &Path, index: &Path, open: Opener) -> Result<Self> {
        let listed = read_index(index)?;
        let mut shards: Vec<&String> = listed.values().collect();
        shards.sort();
        shards.dedup();
        let problems: Vec<Diagnostic> = shards.iter().filter_map(|shard| shard_problem(folder, shard, index)).collect();
        Error::check(problems)?;
        let paths: Vec<PathBuf> = shards.iter().map(|shard| folder.join(shard)).collect();
        let this = open(&paths)?;
        let missing: Vec<Diagnostic> = listed
            .iter()
            .filter(|(name, _)| !this.tensors.contains_key(*name))
            .map(|(name, shard)| {
                Diagnostic::new(format!("expected the tensor in {shard}, found none"))
                    .in_file(index)
                    .at(format!("tensor {name}"))
            })
            .collect();
        Error::check(missing)?;
        Ok(this)
    }

    fn empty() -> Self {
        Self { files: Vec::new(), torch: Vec::new(), tensors: BTreeMap::new(), overlay: None }
    }

    /// The same with an addition laid on it: whatever is changed is f32, or, if it is replaced only, of the type in which
    /// the addition has it.
    pub(crate) fn with(mut self, laid: Laid) -> Self {
        let Laid { files: addition, changes, .. } = laid;
        let mut originals = BTreeMap::new();
        for (name, change) in &changes {
            let from = match &change.start {
                // The head of a base that had none starts from the embedding.
                Start::Base(from) => originals.get(from).or_else(|| self.tensors.get(from)),
                Start::Addition(from) => addition.get(from),
            };
            let Some(from) = from.cloned() else { continue };
            let mut info = TensorInfo { place: Place::Changed, ..from };
            if change.plus.is_some() && info.dtype != Some(Dtype::F32) {
                info.widened_from = info.dtype.map(Dtype::name);
                info.dtype = Some(Dtype::F32);
            }
            if let Some(original) = self.tensors.insert(name.clone(), info) {
                originals.insert(name.clone(), original);
            }
        }
        self.overlay = Some(Box::new(Overlay { addition, changes, originals }));
        self
    }

    fn open_torch(paths: &[PathBuf]) -> Result<Self> {
        let mut this = Self::empty();
        let mut problems = Vec::new();
        for path in paths {
            let file = match TorchFile::open(path) {
                Ok(file) => file,
                Err(TorchError { message, at }) => {
                    problems.push(Diagnostic::new(message).in_file(path).at(at));
                    continue;
                }
            };
            for (name, tensor) in file.tensors() {
                let info = TensorInfo {
                    dtype: match tensor.dtype {
                        TorchDtype::F32 => Some(Dtype::F32),
                        TorchDtype::F16 => Some(Dtype::F16),
                        TorchDtype::Bf16 => Some(Dtype::Bf16),
                        _ => None,
                    },
                    dtype_name: format!("{:?}", tensor.dtype),
                    widened_from: None,
                    shape: tensor.shape.clone(),
                    file: this.torch.len(),
                    place: Place::Torch,
                };
                if this.tensors.insert(name.clone(), info).is_some() {
                    problems.push(twice(path, name));
                }
            }
            this.torch.push((path.clone(), file));
        }
        Error::check(problems)?;
        Ok(this)
    }

    fn open_gguf(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io("open", path, &e))?;
        let info = |gguf::Tensor { name, shape, stored, place }: gguf::Tensor| {
            let (dtype, dtype_name, widened_from) = (Some(place.dtype()), stored.to_owned(), place.widened_from());
            (name, TensorInfo { dtype, dtype_name, widened_from, shape, file: 0, place: Place::Gguf(place) })
        };
        let tensors = GgufFile::open(path)?.tensors()?.into_iter().map(info).collect();
        Ok(Self { files: vec![(path.to_path_buf(), file)], tensors, ..Self::empty() })
    }

    fn open_llama2c(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io("open", path, &e))?;
        let info = |llama2c::Tensor { name, shape, place }: llama2c::Tensor| {
            let dtype_name = place.stored().to_owned();
            let widened_from = place.widened_from();
            let place = Place::Llama2c(place);
            (name, TensorInfo { dtype: Some(Dtype::F32), dtype_name, widened_from, shape, file: 0, place })
        };
        let tensors = Llama2cFile::open(path)?.tensors().into_iter().map(info).collect();
        Ok(Self { files: vec![(path.to_path_buf(), file)], tensors, ..Self::empty() })
    }

    fn open_safetensors(paths: &[PathBuf]) -> Result<Self> {
        let mut this = Self::empty();
        let mut problems = Vec::new();
        for path in paths {
            match read_header(path) {
                Ok((file, data_start, metadata)) => {
                    let number = this.files.len();
                    for name in metadata.offset_keys() {
                        let Some(info) = metadata.info(&name) else { continue };
                        let (begin, end) = info.data_offsets;
                        let tensor = TensorInfo {
                            dtype: dtype_of(info.dtype),
                            dtype_name: format!("{:?}", info.dtype),
                            widened_from: None,
                            shape: info.shape.clone(),
                            file: number,
                            place: Place::Plain { offset: data_start + begin as u64, bytes: end - begin },
                        };
                        if this.tensors.insert(name.clone(), tensor).is_some() {
                            problems.push(twice(path, &name));
                        }
                    }
                    this.files.push((path.clone(), file));
                }
                Err(error) => problems.extend(error.into_diagnostics()),
            }
        }
        Error::check(problems)?;
        Ok(this)
    }

    pub fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.tensors
    }

    pub fn get(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.get(name)
    }

    /// The file that holds a tensor.
    pub fn file_of(&self, info: &TensorInfo) -> &Path {
        match (&info.place, &self.overlay) {
            (Place::Changed, Some(overlay)) => overlay.addition.first_file(),
            (Place::Torch, _) => &self.torch[info.file].0,
            _ => &self.files[info.file].0,
        }
    }

    fn first_file(&self) -> &Path {
        let paths = self.files.iter().map(|(path, _)| path).chain(self.torch.iter().map(|(path, _)| path));
        paths.map(PathBuf::as_path).next().unwrap_or(Path::new(""))
    }

    /// The raw little-endian bytes of a tensor.
    pub fn read_bytes(&self, name: &str) -> Result<Vec<u8>> {
        let info =
            self.get(name).ok_or_else(|| Error::internal(format!("tensor {name} was not checked before reading")))?;
        match (&info.place, &self.overlay) {
            (Place::Changed, Some(overlay)) => self.read_changed(name, info, overlay),
            _ => self.read_stored(name, info),
        }
    }

    fn read_changed(&self, name: &str, info: &TensorInfo, overlay: &Overlay) -> Result<Vec<u8>> {
        let Overlay { addition, changes, originals } = overlay;
        let gone = |name: &str| Error::internal(format!("tensor {name} vanished"));
        let change = changes.get(name).ok_or_else(|| gone(name))?;
        let (bytes, dtype) = match &change.start {
            Start::Addition(from) => (addition.read_bytes(from)?, addition.get(from).and_then(|info| info.dtype)),
            Start::Base(from) => {
                let info = originals.get(from).or_else(|| self.get(from)).ok_or_else(|| gone(from))?;
                (self.read_stored(from, info)?, info.dtype)
            }
        };
        let Some(plus) = &change.plus else { return Ok(bytes) };
        let mut values = widen(dtype.ok_or_else(|| gone(name))?, &bytes);
        drop(bytes);
        plus.apply(&mut values, &info.shape, addition)?;
        Ok(values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    /// What a file of this checkpoint itself has.
    fn read_stored(&self, name: &str, info: &TensorInfo) -> Result<Vec<u8>> {
        let path = self.file_of(info);
        let read = match &info.place {
            Place::Plain { offset, bytes } => {
                let mut buffer = vec![0u8; *bytes];
                self.files[info.file].1.read_exact_at(&mut buffer, *offset).map(|()| buffer)
            }
            Place::Gguf(place) => place.read(&self.files[info.file].1),
            Place::Llama2c(place) => place.read(&self.files[info.file].1),
            Place::Torch => {
                let read = self.torch[info.file].1.read(name);
                return read.map_err(|TorchError { message, at }| Error::bad(message).in_file(path).at(at));
            }
            Place::Changed => return Err(Error::internal(format!("tensor {name} has no place of its own"))),
        };
        read.map_err(|e| Error::io("read", path, &e).at(format!("tensor {name}")))
    }
}

/// Opens the files of one format.
type Opener = fn(&[PathBuf]) -> Result<WeightFiles>;

/// Names of weights in a folder, the preferred first.
type Formats = [(&'static str, Opener); 2];

const FORMATS: Formats =
    [("model.safetensors", WeightFiles::open_safetensors), ("pytorch_model.bin", WeightFiles::open_torch)];

const ADAPTER_FORMATS: Formats =
    [("adapter_model.safetensors", WeightFiles::open_safetensors), ("adapter_model.bin", WeightFiles::open_torch)];

/// Whether [`WeightFiles::open`] finds something at a path.
pub(super) fn has_weights(path: &Path) -> bool {
    let there = |name: &str| path.join(name).exists() || path.join(format!("{name}.index.json")).exists();
    is_gguf(path) || is_llama2c(path) || FORMATS.iter().any(|(name, _)| there(name))
}

fn twice(path: &Path, name: &str) -> Diagnostic {
    Diagnostic::new("expected one tensor of this name, found it in two shards")
        .in_file(path)
        .at(format!("tensor {name}"))
}

/// Widens raw bytes to f32; exact but for blocks, whose values are those of ggml.
pub(crate) fn widen(dtype: Dtype, bytes: &[u8]) -> Vec<f32> {
    let halves = |widen: fn(u16) -> f32| bytes.as_chunks().0.iter().map(|b| widen(u16::from_le_bytes(*b))).collect();
    match dtype {
        Dtype::F32 => bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        Dtype::F16 => halves(|bits| half::f16::from_bits(bits).to_f32()),
        Dtype::Bf16 => halves(|bits| half::bf16::from_bits(bits).to_f32()),
        Dtype::Q8_0 => gguf::values(Quant::Q8_0, bytes),
        Dtype::Q4K => gguf::values(Quant::Q4K, bytes),
    }
}

fn dtype_of(dtype: safetensors::Dtype) -> Option<Dtype> {
    match dtype {
        safetensors::Dtype::F32 => Some(Dtype::F32),
        safetensors::Dtype::F16 => Some(Dtype::F16),
        safetensors::Dtype::BF16 => Some(Dtype::Bf16),
        _ => None,
    }
}

/// Reads and checks one header. The library's own check wants the whole file in memory, so the sizes are compared here.
pub(super) fn read_header(path: &Path) -> Result<(File, u64, Metadata)> {
    let file = File::open(path).map_err(|e| Error::io("open", path, &e))?;
    let size = file.metadata().map_err(|e| Error::io("read the size of", path, &e))?.len();
    let bad = |message: String| {
        Error::bad(message).in_file(path).help("the file is cut short or is no safetensors file; copy it again")
    };
    let mut prefix = [0u8; 8];
    if size < 8 {
        return Err(bad(format!("expected a safetensors file of at least 8 bytes, found {size}")));
    }
    file.read_exact_at(&mut prefix, 0).map_err(|e| Error::io("read", path, &e))?;
    let length = u64::from_le_bytes(prefix);
    if length > MAX_HEADER_BYTES || length > size - 8 {
        return Err(bad(format!(
            "expected a header of at most {} bytes, found a length of {length}",
            MAX_HEADER_BYTES.min(size - 8)
        )));
    }
    let mut header = vec![0u8; length as usize];
    file.read_exact_at(&mut header, 8).map_err(|e| Error::io("read", path, &e))?;
    let metadata: Metadata =
        serde_json::from_slice(&header).map_err(|e| bad(format!("expected a safetensors header: {e}")))?;
    let data = size - 8 - length;
    if metadata.data_len() as u64 != data {
        return Err(bad(format!("expected {} bytes of tensor data, found {data}", metadata.data_len())));
    }
    Ok((file, 8 + length, metadata))
}

/// `weight_map`: tensor name to shard name.
fn read_index(path: &Path) -> Result<BTreeMap<String, String>> {
    let text = files::read_text(path, MAX_INDEX_BYTES)?;
    let index: Value =
        serde_json::from_str(&text).map_err(|e| Error::bad(format!("expected a JSON object: {e}")).in_file(path))?;
    let map = index
        .get("weight_map")
        .and_then(Value::as_object)
        .ok_or_else(|| Error::bad("expected an object under `weight_map`").in_file(path))?;
    map.iter()
        .map(|(name, shard)| {
            let shard = shard.as_str().ok_or_else(|| {
                Error::bad(format!("expected a file name, found {shard}")).in_file(path).at(format!("tensor {name}"))
            })?;
            Ok((name.clone(), shard.to_owned()))
        })
        .collect()
}

/// A shard must be a plain file name of an existing file in the folder.
fn shard_problem(folder: &Path, shard: &str, index: &Path) -> Option<Diagnostic> {
    let mut parts = Path::new(shard).components();
    let plain = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) && !shard.contains('\\');
    if !plain {
        return Some(
            Diagnostic::new(format!("expected the name of a file beside the index, found {shard:?}")).in_file(index),
        );
    }
    (!folder.join(shard).is_file()).then(|| {
        Diagnostic::new(format!("expected the shard {shard}, found no such file"))
            .in_file(index)
            .help("copy the missing shard into the folder")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(files: &[(&str, &[u8])]) -> String {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
        match WeightFiles::open(folder.path()) {
            Ok(_) => "ok".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    fn with_header(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    #[test]
    fn hostile_files_are_refused_in_words() {
        let good = with_header(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, &[0; 4]);
        assert_eq!(open(&[("model.safetensors", &good)]), "ok");
        let cases: [(&str, Vec<u8>, &str); 6] = [
            ("empty", vec![], "at least 8 bytes, found 0"),
            ("length 2^62", (1u64 << 62).to_le_bytes().to_vec(), "found a length of 4611686018427387904"),
            ("no JSON", with_header("{nonsense", &[]), "expected a safetensors header"),
            ("cut data", good[..good.len() - 1].to_vec(), "expected 4 bytes of tensor data, found 3"),
            ("extra data", [good.clone(), vec![0]].concat(), "expected 4 bytes of tensor data, found 5"),
            (
                "lying shape",
                with_header(r#"{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,4]}}"#, &[0; 4]),
                "expected a safetensors header",
            ),
        ];
        for (name, bytes, expected) in cases {
            let message = open(&[("model.safetensors", &bytes)]);
            assert!(message.contains(expected), "{name}: {message}");
        }
        assert!(open(&[]).contains("expected model.safetensors or model.safetensors.index.json, pytorch_model.bin or"));
        let index = |shard: &str| format!(r#"{{"weight_map":{{"a":"{shard}"}}}}"#).into_bytes();
        assert!(open(&[("model.safetensors.index.json", &index("../x"))]).contains("beside the index"));
        assert!(open(&[("model.safetensors.index.json", &index("/etc/passwd"))]).contains("beside the index"));
        assert!(open(&[("model.safetensors.index.json", &index("x"))]).contains("found no such file"));
        let other = with_header(r#"{"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, &[0; 4]);
        assert!(
            open(&[("model.safetensors.index.json", &index("x")), ("x", &other)])
                .contains("tensor a: expected the tensor in x")
        );
    }

    #[test]
    fn numbers_that_are_none_are_counted() {
        for dtype in [Dtype::F32, Dtype::F16, Dtype::Bf16] {
            let values = [1.0, f32::NAN, -2.5, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, 65_000.0];
            let bytes: Vec<u8> = values
                .iter()
                .flat_map(|&x| match dtype {
                    Dtype::F32 => x.to_le_bytes().to_vec(),
                    Dtype::F16 => half::f16::from_f32(x).to_le_bytes().to_vec(),
                    _ => half::bf16::from_f32(x).to_le_bytes().to_vec(),
                })
                .collect();
            assert_eq!(dtype.count_nonfinite(&bytes), 3, "{dtype:?}");
        }
    }

    #[test]
    fn widening_is_exact() {
        assert_eq!(widen(Dtype::F16, &half::f16::from_f32(-1.5).to_le_bytes()), [-1.5]);
        assert_eq!(widen(Dtype::Bf16, &half::bf16::from_f32(3.0).to_le_bytes()), [3.0]);
    }
}
