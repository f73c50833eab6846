//! GGUF files, versions 2 and 3, little-endian: the metadata and the places of the tensors, checked before use.
//!
//! Layout: `GGUF`, version (u32), number of tensors and of keys (u64 each); per key its name, a type (u32) and the
//! value; per tensor its name, the number of dimensions (u32), the dimensions (u64 each, the fastest first), a type
//! (u32) and the offset of its data (u64); padding; data. A text is its length (u64) and its bytes. Offsets count from
//! the start of the data and are multiples of the alignment. Source: `docs/gguf.md` and `src/gguf.cpp` of ggml.
//!
//! Files come from strangers: every count is compared with what is left of the file before memory is taken for it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::{self, Read, Seek, SeekFrom};

use super::blocks::Quant;
use super::scan::{GgufError, Result, Scanner, Value, bad};

pub const MAGIC: [u8; 4] = *b"GGUF";
/// What the data of tensors is aligned to where no key says otherwise.
pub const ALIGNMENT: u64 = 32;
pub const ALIGNMENT_KEY: &str = "general.alignment";
/// Real headers, with a quarter of a million tokens, stay below 20 MB; safetensors sets the same bound.
const MAX_HEADER_BYTES: u64 = 100_000_000;
const MAX_KEYS: u64 = 65_536;
const MAX_TENSORS: u64 = 65_536;
/// The format's own bound.
const MAX_KEY_BYTES: u64 = 65_535;
/// llama.cpp has room for 63 bytes; other writers use longer names.
const MAX_TENSOR_NAME_BYTES: u64 = 255;
const MAX_DIMENSIONS: u32 = 4;
/// Bound of every dimension and of their product, so that the bytes of a tensor cannot overflow.
const MAX_ELEMENTS: u64 = 1 << 48;
const MAX_ALIGNMENT: u64 = 1 << 16;

/// Where a tensor lies and how it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// One to four, the fastest first: the reverse of a Hugging Face shape, so `[columns, rows]` for a matrix.
    pub dims: Vec<u64>,
    /// ggml's number of the type.
    pub ggml_type: u32,
    /// `None` for a type that cannot be read.
    pub quant: Option<Quant>,
    /// From the start of the file.
    pub offset: u64,
    /// Bytes of the data; 0 for a type that cannot be read.
    pub bytes: u64,
}

impl TensorInfo {
    pub fn elements(&self) -> u64 {
        self.dims.iter().product()
    }
}

fn failed(at: &str, error: &io::Error) -> GgufError {
    GgufError { message: format!("failed to read: {error}"), at: at.to_owned() }
}

/// The checked header of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Gguf {
    pub version: u32,
    pub metadata: BTreeMap<String, Value>,
    pub tensors: BTreeMap<String, TensorInfo>,
}

impl Gguf {
    /// Reads and checks a header from the start of a file. No tensor of a known type overlaps another or ends behind the
    /// file, and each has whole blocks.
    pub fn read<R: Read + Seek>(mut source: R) -> Result<Self> {
        let size = source.seek(SeekFrom::End(0)).map_err(|e| failed("header", &e))?;
        source.rewind().map_err(|e| failed("header", &e))?;
        header(&mut Scanner::new(source, size.min(MAX_HEADER_BYTES)), size)
    }

    pub fn get(&self, key: &str) -> Option<&Value> {
        self.metadata.get(key)
    }
}

fn header<R: Read>(scan: &mut Scanner<R>, size: u64) -> Result<Gguf> {
    let version = version(scan)?;
    let tensors = scan.u64()?;
    let keys = scan.u64()?;
    // The least that each takes: a name of one letter and a value of one byte; a name of one letter and one dimension.
    let keys = scan.count(keys, 14, MAX_KEYS, "keys")?;
    let tensors = scan.count(tensors, 33, MAX_TENSORS, "tensors")?;
    let metadata = read_metadata(scan, keys)?;
    let alignment = alignment(&metadata)?;
    let mut tensors = read_infos(scan, tensors, alignment)?;
    place(&mut tensors, scan.position().next_multiple_of(alignment), size)?;
    Ok(Gguf { version, metadata, tensors })
}

fn version<R: Read>(scan: &mut Scanner<R>) -> Result<u32> {
    let magic: [u8; 4] = scan.fixed()?;
    if magic != MAGIC {
        return scan.bad(format!("expected a file that begins with GGUF, found {}", magic.escape_ascii()));
    }
    match scan.u32()? {
        version @ 2..=3 => Ok(version),
        other if matches!(other.swap_bytes(), 1..=3) => {
            scan.bad("expected little-endian numbers, found big-endian ones")
        }
        other => scan.bad(format!("expected version 2 or 3, found {other}")),
    }
}

fn read_metadata<R: Read>(scan: &mut Scanner<R>, count: usize) -> Result<BTreeMap<String, Value>> {
    let mut metadata = BTreeMap::new();
    for number in 1..=count {
        scan.at = format!("key number {number}");
        let key = scan.name(MAX_KEY_BYTES)?;
        scan.at = format!("key {key}");
        let value = scan.value()?;
        match metadata.entry(key) {
            Entry::Vacant(place) => place.insert(value),
            Entry::Occupied(_) => return scan.bad("expected one key of this name, found another"),
        };
    }
    Ok(metadata)
}

fn read_infos<R: Read>(scan: &mut Scanner<R>, count: usize, alignment: u64) -> Result<BTreeMap<String, TensorInfo>> {
    let mut tensors = BTreeMap::new();
    for number in 1..=count {
        scan.at = format!("tensor number {number}");
        let name = scan.name(MAX_TENSOR_NAME_BYTES)?;
        scan.at = format!("tensor {name}");
        let info = read_info(scan, alignment)?;
        match tensors.entry(name) {
            Entry::Vacant(place) => place.insert(info),
            Entry::Occupied(_) => return scan.bad("expected one tensor of this name, found another"),
        };
    }
    Ok(tensors)
}

/// The entry of a tensor. Its offset still counts from the start of the data.
fn read_info<R: Read>(scan: &mut Scanner<R>, alignment: u64) -> Result<TensorInfo> {
    let count = scan.u32()?;
    if !(1..=MAX_DIMENSIONS).contains(&count) {
        return scan.bad(format!("expected 1 to {MAX_DIMENSIONS} dimensions, found {count}"));
    }
    let dims: Vec<u64> = (0..count).map(|_| scan.u64()).collect::<Result<_>>()?;
    let ggml_type = scan.u32()?;
    let offset = scan.u64()?;
    if !offset.is_multiple_of(alignment) {
        return scan.bad(format!("expected an offset that is a multiple of {alignment}, found {offset}"));
    }
    let quant = Quant::from_ggml_type(ggml_type);
    match data_bytes(&dims, quant) {
        Ok(bytes) => Ok(TensorInfo { dims, ggml_type, quant, offset, bytes }),
        Err(message) => scan.bad(message),
    }
}

/// The alignment that the metadata sets.
fn alignment(metadata: &BTreeMap<String, Value>) -> Result<u64> {
    match metadata.get(ALIGNMENT_KEY) {
        None => Ok(ALIGNMENT),
        Some(Value::U32(n)) if n.is_power_of_two() && u64::from(*n) <= MAX_ALIGNMENT => Ok(u64::from(*n)),
        Some(value) => {
            let message = format!("expected a power of two up to {MAX_ALIGNMENT} as u32, found {value:?}");
            bad(&format!("key {ALIGNMENT_KEY}"), message)
        }
    }
}

/// The bytes that a tensor of these dimensions takes, or what is wrong with them.
pub(super) fn data_bytes(dims: &[u64], quant: Option<Quant>) -> std::result::Result<u64, String> {
    let product = dims.iter().try_fold(1u64, |product, &n| product.checked_mul(n).filter(|&n| n <= MAX_ELEMENTS));
    let Some(elements) = product.filter(|&n| n > 0) else {
        return Err(format!("expected 1 to {MAX_ELEMENTS} elements, found the dimensions {dims:?}"));
    };
    let Some(quant) = quant else { return Ok(0) };
    let length = quant.block_len() as u64;
    if !dims[0].is_multiple_of(length) {
        return Err(format!(
            "expected rows of a multiple of {length} elements for {}, found {}",
            quant.name(),
            dims[0]
        ));
    }
    Ok(elements / length * quant.block_bytes() as u64)
}

/// Makes offsets count from the start of the file, and checks that the data lies inside and apart.
fn place(tensors: &mut BTreeMap<String, TensorInfo>, start: u64, size: u64) -> Result<()> {
    for (name, info) in tensors.iter_mut() {
        let room = size.saturating_sub(start);
        if info.offset > room || info.bytes > room - info.offset {
            let message = format!("expected data within {room} bytes, found {} at {}", info.bytes, info.offset);
            return bad(&format!("tensor {name}"), message);
        }
        info.offset += start;
    }
    let mut sorted: Vec<(&String, &TensorInfo)> = tensors.iter().filter(|(_, info)| info.bytes > 0).collect();
    sorted.sort_by_key(|(_, info)| info.offset);
    for pair in sorted.windows(2) {
        let [(before, first), (name, second)] = pair else { continue };
        if second.offset < first.offset + first.bytes {
            return bad(
                &format!("tensor {name}"),
                format!("expected data of its own, found it inside that of {before}"),
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::super::blocks::dequantise;
    use super::super::scan::Array;
    use super::*;

    fn text(text: &[u8]) -> Vec<u8> {
        [&(text.len() as u64).to_le_bytes(), text].concat()
    }

    fn key(name: &str, kind: u32, value: &[u8]) -> Vec<u8> {
        [&text(name.as_bytes())[..], &kind.to_le_bytes(), value].concat()
    }

    fn array(kind: u32, count: u64, items: &[u8]) -> Vec<u8> {
        [&kind.to_le_bytes()[..], &count.to_le_bytes(), items].concat()
    }

    fn tensor(name: &str, dims: &[u64], kind: u32, offset: u64) -> Vec<u8> {
        let dims_bytes: Vec<u8> = dims.iter().flat_map(|n| n.to_le_bytes()).collect();
        let count = (dims.len() as u32).to_le_bytes();
        [&text(name.as_bytes())[..], &count, &dims_bytes, &kind.to_le_bytes(), &offset.to_le_bytes()].concat()
    }

    /// A file whose counts are right.
    fn file(keys: &[Vec<u8>], tensors: &[Vec<u8>], data: usize) -> Vec<u8> {
        let mut bytes = [&MAGIC[..], &3u32.to_le_bytes()].concat();
        bytes.extend((tensors.len() as u64).to_le_bytes());
        bytes.extend((keys.len() as u64).to_le_bytes());
        bytes.extend(keys.concat());
        bytes.extend(tensors.concat());
        bytes.resize(bytes.len().next_multiple_of(32) + data, 0);
        bytes
    }

    fn patched(mut bytes: Vec<u8>, at: usize, new: &[u8]) -> Vec<u8> {
        bytes[at..at + new.len()].copy_from_slice(new);
        bytes
    }

    fn read(bytes: &[u8]) -> String {
        match Gguf::read(Cursor::new(bytes)) {
            Ok(_) => "ok".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    fn values(bytes: &[u8], info: &TensorInfo) -> Vec<f32> {
        let mut values = vec![0.0; info.elements() as usize];
        dequantise(info.quant.unwrap(), &bytes[info.offset as usize..][..info.bytes as usize], &mut values);
        values
    }

    fn good() -> Vec<u8> {
        let keys = [key("a", 4, &7u32.to_le_bytes()), key("b", 9, &array(8, 2, &[text(b"x"), text(b"")].concat()))];
        file(&keys, &[tensor("t", &[2, 3], 0, 0), tensor("u", &[32], 8, 32)], 66)
    }

    #[test]
    fn a_header_is_read() {
        let gguf = Gguf::read(Cursor::new(good())).unwrap();
        assert_eq!(gguf.get("a").and_then(Value::as_u64), Some(7));
        assert_eq!(gguf.get("b").and_then(Value::as_array).and_then(|b| b.as_texts()).unwrap(), ["x", ""]);
        let (t, u) = (&gguf.tensors["t"], &gguf.tensors["u"]);
        assert_eq!((&t.dims[..], t.quant, t.bytes), (&[2, 3][..], Some(Quant::F32), 24));
        assert_eq!((u.offset - t.offset, u.bytes), (32, 34));
        assert_eq!(u.offset + u.bytes, good().len() as u64);
        let second = Gguf::read(Cursor::new(patched(good(), 4, &[2]))).unwrap();
        assert_eq!((second.version, second.tensors), (2, gguf.tensors));
    }

    #[test]
    fn hostile_headers_are_refused_in_words() {
        let huge = u64::MAX.to_le_bytes();
        let name = |length: usize| "n".repeat(length);
        let cases: Vec<(Vec<u8>, &str)> = vec![
            (vec![], "header: expected 4 more bytes of header, found 0"),
            (patched(good(), 0, b"G\x00\"F"), r#"expected a file that begins with GGUF, found G\x00\"F"#),
            (patched(good(), 4, &[1]), "expected version 2 or 3, found 1"),
            (patched(good(), 4, &[4]), "expected version 2 or 3, found 4"),
            (patched(good(), 4, &[0, 0, 0, 3]), "expected little-endian numbers"),
            (patched(good(), 8, &huge), "header: expected at most 6 tensors, found a count of 18446744073709551615"),
            (patched(good(), 16, &huge), "header: expected at most 14 keys, found a count"),
            (patched(good(), 24, &huge), "key number 1: expected at most"),
            (file(&[key("", 4, &[0; 4])], &[], 0), "key number 1: expected a name, found an empty text"),
            (file(&[key("k", 13, &[0; 4])], &[], 0), "key k: expected a type of value from 0 to 12, found 13"),
            (file(&[key("k", 7, &[2])], &[], 0), "key k: expected 0 or 1 for false or true, found 2"),
            (file(&[key("k", 8, &text(b"\xff"))], &[], 0), "key k: expected UTF-8 text, found an invalid"),
            (file(&[key("k", 8, &huge)], &[], 0), "key k: expected at most"),
            (file(&[key("k", 9, &array(9, 1, &array(0, 1, &[0])))], &[], 0), "found an array of arrays"),
            (file(&[key("k", 9, &array(12, 1 << 61, &[]))], &[], 0), "key k: expected at most"),
            (file(&[key("k", 9, &array(8, 1 << 61, &[]))], &[], 0), "elements, found a count of 2305843009213693952"),
            (file(&[key("k", 9, &array(7, 1, &[9]))], &[], 0), "found 9"),
            (file(&[key("k", 9, &array(99, 1, &[9]))], &[], 0), "expected a type of elements from 0 to 12, found 99"),
            (file(&[key("k", 0, &[1]), key("k", 0, &[2])], &[], 0), "key k: expected one key of this name"),
            (file(&[key(&name(65_536), 0, &[1])], &[], 0), "expected at most 65535 bytes of text"),
            (file(&[key(ALIGNMENT_KEY, 4, &24u32.to_le_bytes())], &[], 0), "expected a power of two up to 65536"),
            (file(&[key(ALIGNMENT_KEY, 4, &0u32.to_le_bytes())], &[], 0), "found U32(0)"),
            (file(&[key(ALIGNMENT_KEY, 10, &32u64.to_le_bytes())], &[], 0), "found U64(32)"),
            (file(&[], &[tensor("t", &[], 0, 0)], 64), "tensor t: expected 1 to 4 dimensions, found 0"),
            (file(&[], &[tensor("t", &[1; 5], 0, 0)], 64), "found 5"),
            (
                file(&[], &[tensor("t", &[0], 0, 0)], 64),
                "expected 1 to 281474976710656 elements, found the dimensions [0]",
            ),
            (file(&[], &[tensor("t", &[1 << 32, 1 << 32], 0, 0)], 64), "found the dimensions [4294967296, 4294967296]"),
            (file(&[], &[tensor("t", &[u64::MAX, 3], 0, 0)], 64), "found the dimensions"),
            (
                file(&[], &[tensor("t", &[48], 8, 0)], 64),
                "expected rows of a multiple of 32 elements for Q8_0, found 48",
            ),
            (file(&[], &[tensor("t", &[1], 0, 8)], 64), "expected an offset that is a multiple of 32, found 8"),
            (file(&[], &[tensor("t", &[1], 0, 64)], 64), "tensor t: expected data within 64 bytes, found 4 at 64"),
            (file(&[], &[tensor("t", &[17], 0, 0)], 64), "expected data within 64 bytes, found 68 at 0"),
            (file(&[], &[tensor("t", &[1], 0, u64::MAX - 31)], 64), "tensor t: expected data within 64 bytes"),
            (file(&[], &[tensor("t", &[1], 99, 96)], 64), "tensor t: expected data within 64 bytes"),
            (file(&[], &vec![tensor("t", &[1], 0, 0); 2], 64), "tensor t: expected one tensor of this name"),
            (file(&[], &[tensor("t", &[9], 0, 0), tensor("u", &[1], 0, 32)], 64), "tensor u: expected data of its own"),
            (file(&[], &[tensor(&name(256), &[1], 0, 0)], 64), "expected at most 255 bytes of text"),
        ];
        for (bytes, expected) in cases {
            let message = read(&bytes);
            assert!(message.contains(expected), "expected {expected:?}, found {message:?}");
        }
        assert_eq!(read(&good()), "ok");
        let wide = [key(ALIGNMENT_KEY, 4, &64u32.to_le_bytes())];
        assert!(read(&file(&wide, &[tensor("t", &[1], 0, 32)], 128)).contains("a multiple of 64"));
    }

    #[test]
    fn a_tensor_of_an_unknown_type_is_kept_but_has_no_values() {
        let bytes = file(&[], &[tensor("t", &[7], 16, 32)], 64);
        let gguf = Gguf::read(Cursor::new(&bytes)).unwrap();
        let info = &gguf.tensors["t"];
        assert_eq!((info.quant, info.ggml_type, info.bytes), (None, 16, 0));
    }

    #[test]
    fn cut_and_damaged_files_are_no_danger() {
        let bytes = good();
        for length in 0..bytes.len() {
            assert_ne!(read(&bytes[..length]), "ok", "{length} bytes");
        }
        let mut state = 1u64;
        for _ in 0..50_000 {
            let mut damaged = bytes.clone();
            for _ in 0..3 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let at = (state >> 33) as usize % damaged.len();
                damaged[at] = if state & 0x100_0000 == 0 { (state >> 56) as u8 } else { 0xff };
            }
            if let Ok(gguf) = Gguf::read(Cursor::new(&damaged)) {
                for info in gguf.tensors.values().filter(|info| info.quant.is_some()) {
                    assert_eq!(values(&damaged, info).len() as u64, info.elements());
                }
            }
        }
    }

    #[test]
    fn a_file_of_llama_cpp_is_read() {
        let bytes: &[u8] = include_bytes!("../../../tests/fixtures/gguf/stories-q4_k_m.gguf");
        let gguf = Gguf::read(Cursor::new(bytes)).unwrap();
        assert_eq!(gguf.get("general.architecture").and_then(Value::as_text), Some("llama"));
        assert_eq!(
            gguf.get("llama.attention.layer_norm_rms_epsilon").and_then(Value::as_f64),
            Some(f64::from(1e-5f32))
        );
        assert_eq!(gguf.get("tokenizer.ggml.add_bos_token").and_then(Value::as_bool), Some(true));
        let tokens = gguf.get("tokenizer.ggml.tokens").and_then(Value::as_array).unwrap();
        assert_eq!((tokens.as_texts().unwrap().len(), tokens.as_texts().unwrap()[403].as_str()), (512, "\u{2581}Once"));
        let types = gguf.get("tokenizer.ggml.token_type").and_then(Value::as_array).and_then(Array::as_u64s).unwrap();
        assert_eq!(types[..4], [2, 3, 3, 6]);
        let used: Vec<Quant> = [Quant::F32, Quant::F16, Quant::Q5_0, Quant::Q8_0].to_vec();
        assert!(gguf.tensors.values().all(|info| used.contains(&info.quant.unwrap())));
        assert_eq!((gguf.tensors.len(), &gguf.tensors["blk.4.ffn_down.weight"].dims[..]), (47, &[172, 64][..]));
        for (name, info) in &gguf.tensors {
            assert!(values(bytes, info).iter().all(|x| x.is_finite()), "{name}");
        }
    }
}
