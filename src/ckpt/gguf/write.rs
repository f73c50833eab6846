//! Writing GGUF, version 3, tensor after tensor, so that no more than one is held.

use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::io::{self, Write};

use half::f16;

use super::blocks::{Quant, quantise_q8_0};
use super::header::{ALIGNMENT, ALIGNMENT_KEY, MAGIC, data_bytes};
use super::scan::{Array, GgufError, Result, Value, bad};

const VERSION: u32 = 3;
/// How many elements are made blocks at a time; a multiple of every block's length.
const PIECE: usize = 1 << 16;

/// A tensor to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorPlan {
    pub name: String,
    /// The fastest first: the reverse of a Hugging Face shape.
    pub dims: Vec<u64>,
    pub quant: Quant,
}

/// Writes a file: the header at once, then the data of each tensor in the order of the plans.
pub struct GgufWriter<W: Write> {
    out: W,
    /// Name, type and bytes of the tensors to come.
    pending: VecDeque<(String, Quant, u64)>,
}

impl<W: Write> GgufWriter<W> {
    /// Checks the plans and writes the header. The alignment is the format's default, and no key may set another.
    pub fn new(mut out: W, metadata: &[(String, Value)], plans: &[TensorPlan]) -> Result<Self> {
        let mut keys = BTreeSet::new();
        for (key, _) in metadata {
            if key.is_empty() || key == ALIGNMENT_KEY || !keys.insert(key) {
                return bad(&format!("key {key}"), "expected a name of its own that sets no alignment, found this");
            }
        }
        let mut header = Vec::from(MAGIC);
        header.extend(VERSION.to_le_bytes());
        header.extend((plans.len() as u64).to_le_bytes());
        header.extend((metadata.len() as u64).to_le_bytes());
        for (key, value) in metadata {
            put_text(&mut header, key);
            put_value(&mut header, value);
        }
        let pending = put_plans(&mut header, plans)?;
        header.resize(header.len().next_multiple_of(ALIGNMENT as usize), 0);
        out.write_all(&header).map_err(|e| failed("header", &e))?;
        Ok(Self { out, pending })
    }

    /// The next tensor, row after row, in the type of its plan: F32, F16 or Q8_0.
    pub fn tensor(&mut self, values: &[f32]) -> Result<()> {
        let (at, quant, bytes) = self.next()?;
        let given = (values.len() / quant.block_len() * quant.block_bytes()) as u64;
        if given != bytes || !values.len().is_multiple_of(quant.block_len()) {
            return bad(&at, format!("expected values for {bytes} bytes of data, found {}", values.len()));
        }
        for piece in values.chunks(PIECE) {
            let Some(bytes) = encode(quant, piece) else {
                return bad(&at, format!("expected F32, F16 or Q8_0 to write values in, found {}", quant.name()));
            };
            self.out.write_all(&bytes).map_err(|e| failed(&at, &e))?;
        }
        self.pad(&at, bytes)
    }

    /// Ends the file, which must have all its tensors.
    pub fn finish(mut self) -> Result<W> {
        if let Some((name, ..)) = self.pending.front() {
            return bad(&format!("tensor {name}"), "expected data for it before the end of the file, found none");
        }
        self.out.flush().map_err(|e| failed("end of the file", &e))?;
        Ok(self.out)
    }

    fn next(&mut self) -> Result<(String, Quant, u64)> {
        match self.pending.pop_front() {
            Some((name, quant, bytes)) => Ok((format!("tensor {name}"), quant, bytes)),
            None => bad("end of the file", "expected no more tensors, found another"),
        }
    }

    fn pad(&mut self, at: &str, bytes: u64) -> Result<()> {
        let zeros = bytes.next_multiple_of(ALIGNMENT) - bytes;
        self.out.write_all(&[0; ALIGNMENT as usize][..zeros as usize]).map_err(|e| failed(at, &e))
    }
}

fn failed(at: &str, error: &io::Error) -> GgufError {
    GgufError { message: format!("failed to write: {error}"), at: at.to_owned() }
}

/// Whole blocks of a type that can be written; `None` for another.
fn encode(quant: Quant, values: &[f32]) -> Option<Vec<u8>> {
    match quant {
        Quant::F32 => Some(values.iter().flat_map(|x| x.to_le_bytes()).collect()),
        Quant::F16 => Some(values.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect()),
        Quant::Q8_0 => Some(quantise_q8_0(values)),
        _ => None,
    }
}

/// The entries of the tensors, whose data follow one another; and what is to come.
fn put_plans(header: &mut Vec<u8>, plans: &[TensorPlan]) -> Result<VecDeque<(String, Quant, u64)>> {
    let mut names = BTreeSet::new();
    let mut pending = VecDeque::new();
    let mut offset = 0u64;
    for plan in plans {
        let at = format!("tensor {}", plan.name);
        if plan.name.is_empty() || plan.name.len() > 63 || !names.insert(&plan.name) {
            return bad(&at, "expected a name of its own of 1 to 63 bytes, found this");
        }
        if !(1..=4).contains(&plan.dims.len()) {
            return bad(&at, format!("expected 1 to 4 dimensions, found {}", plan.dims.len()));
        }
        let bytes = data_bytes(&plan.dims, Some(plan.quant)).or_else(|message| bad(&at, message))?;
        put_text(header, &plan.name);
        header.extend((plan.dims.len() as u32).to_le_bytes());
        header.extend(plan.dims.iter().flat_map(|n| n.to_le_bytes()));
        header.extend(plan.quant.ggml_type().to_le_bytes());
        header.extend(offset.to_le_bytes());
        pending.push_back((plan.name.clone(), plan.quant, bytes));
        offset += bytes.next_multiple_of(ALIGNMENT);
    }
    Ok(pending)
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// The number of a type, then its bytes.
fn put<const N: usize>(out: &mut Vec<u8>, number: u32, bytes: [u8; N]) {
    out.extend(number.to_le_bytes());
    out.extend(bytes);
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::U8(x) => put(out, 0, x.to_le_bytes()),
        Value::I8(x) => put(out, 1, x.to_le_bytes()),
        Value::U16(x) => put(out, 2, x.to_le_bytes()),
        Value::I16(x) => put(out, 3, x.to_le_bytes()),
        Value::U32(x) => put(out, 4, x.to_le_bytes()),
        Value::I32(x) => put(out, 5, x.to_le_bytes()),
        Value::F32(x) => put(out, 6, x.to_le_bytes()),
        Value::Bool(x) => put(out, 7, [u8::from(*x)]),
        Value::Text(text) => {
            out.extend(8u32.to_le_bytes());
            put_text(out, text);
        }
        Value::Array(array) => {
            out.extend(9u32.to_le_bytes());
            put_array(out, array);
        }
        Value::U64(x) => put(out, 10, x.to_le_bytes()),
        Value::I64(x) => put(out, 11, x.to_le_bytes()),
        Value::F64(x) => put(out, 12, x.to_le_bytes()),
    }
}

fn put_array(out: &mut Vec<u8>, array: &Array) {
    let mut start = |number: u32| put(out, number, (array.len() as u64).to_le_bytes());
    match array {
        Array::U8(_) => start(0),
        Array::I8(_) => start(1),
        Array::U16(_) => start(2),
        Array::I16(_) => start(3),
        Array::U32(_) => start(4),
        Array::I32(_) => start(5),
        Array::F32(_) => start(6),
        Array::Bool(_) => start(7),
        Array::Text(_) => start(8),
        Array::U64(_) => start(10),
        Array::I64(_) => start(11),
        Array::F64(_) => start(12),
    }
    match array {
        Array::U8(xs) => out.extend(xs),
        Array::I8(xs) => out.extend(xs.iter().flat_map(|x| x.to_le_bytes())),
        Array::U16(xs) => out.extend(xs.iter().flat_map(|x| x.to_le_bytes())),
        Array::I16(xs) => out.extend(xs.iter().flat_map(|x| x.to_le_bytes())),
        Array::U32(xs) => out.extend(xs.iter().flat_map(|x| x.to_le_bytes())),
        Array::I32(xs) => out.extend(xs.iter().flat_map(|x| x.to_le_bytes())),
        Array::U64(xs) => out.extend(xs.iter().flat_map(|x| x.to_le_bytes())),
        Array::I64(xs) => out.extend(xs.iter().flat_map(|x| x.to_le_bytes())),
        Array::F32(xs) => out.extend(xs.iter().flat_map(|x| x.to_le_bytes())),
        Array::F64(xs) => out.extend(xs.iter().flat_map(|x| x.to_le_bytes())),
        Array::Bool(xs) => out.extend(xs.iter().map(|x| u8::from(*x))),
        Array::Text(texts) => texts.iter().for_each(|text| put_text(out, text)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::super::blocks::values;
    use super::super::header::Gguf;
    use super::*;

    fn write(metadata: &[(String, Value)], tensors: &[(TensorPlan, &[f32])]) -> Vec<u8> {
        let plans: Vec<TensorPlan> = tensors.iter().map(|(plan, _)| plan.clone()).collect();
        let mut writer = GgufWriter::new(Vec::new(), metadata, &plans).unwrap();
        for (_, values) in tensors {
            writer.tensor(values).unwrap();
        }
        writer.finish().unwrap()
    }

    fn plan(name: &str, dims: &[u64], quant: Quant) -> TensorPlan {
        TensorPlan { name: name.to_owned(), dims: dims.to_vec(), quant }
    }

    fn every_value() -> Vec<(String, Value)> {
        let arrays = [
            Array::U8(vec![1, 255]),
            Array::I8(vec![-1]),
            Array::U16(vec![65_535]),
            Array::I16(vec![-2]),
            Array::U32(vec![u32::MAX]),
            Array::I32(vec![i32::MIN, 3]),
            Array::U64(vec![u64::MAX]),
            Array::I64(vec![i64::MIN]),
            Array::F32(vec![0.5, -0.0]),
            Array::F64(vec![1e300]),
            Array::Bool(vec![true, false]),
            Array::Text(vec!["\u{2581}a".to_owned(), String::new()]),
            Array::Text(vec![]),
        ];
        let mut values = vec![
            Value::U8(200),
            Value::I8(-100),
            Value::U16(60_000),
            Value::I16(-30_000),
            Value::U32(4_000_000_000),
            Value::I32(-2_000_000_000),
            Value::U64(u64::MAX),
            Value::I64(i64::MIN),
            Value::F32(1e-5),
            Value::F64(std::f64::consts::PI),
            Value::Bool(true),
            Value::Text("naïve".to_owned()),
        ];
        values.extend(arrays.map(Value::Array));
        values.into_iter().enumerate().map(|(i, value)| (format!("key.{i}"), value)).collect()
    }

    #[test]
    fn what_is_written_is_read() {
        let numbers: Vec<f32> = (0..96).map(|i| i as f32 / 8.0 - 5.0).collect();
        let metadata = every_value();
        let tensors = [
            (plan("plain", &[5, 3], Quant::F32), &numbers[..15]),
            (plan("half", &[3, 1, 7], Quant::F16), &numbers[..21]),
            (plan("blocks", &[32, 3], Quant::Q8_0), &numbers[..]),
        ];
        let bytes = write(&metadata, &tensors);
        assert!(bytes.len().is_multiple_of(ALIGNMENT as usize));
        let gguf = Gguf::read(Cursor::new(&bytes)).unwrap();
        assert_eq!(gguf.version, 3);
        assert_eq!(gguf.metadata, metadata.into_iter().collect());
        for (plan, written) in tensors {
            let info = &gguf.tensors[&plan.name];
            assert_eq!((&info.dims, info.quant), (&plan.dims, Some(plan.quant)));
            let read = values(plan.quant, &bytes[info.offset as usize..][..info.bytes as usize]);
            let near = if plan.quant == Quant::Q8_0 { 0.03 } else { 0.0 };
            assert!(read.iter().zip(written).all(|(a, b)| (a - b).abs() <= near) && read.len() == written.len());
        }
    }

    #[test]
    fn mistakes_are_refused_in_words() {
        let start = |metadata: &[(String, Value)], plans: &[TensorPlan]| match GgufWriter::new(vec![], metadata, plans)
        {
            Ok(_) => "ok".to_owned(),
            Err(error) => error.to_string(),
        };
        let key = |name: &str| (name.to_owned(), Value::U32(64));
        assert!(start(&[key(ALIGNMENT_KEY)], &[]).starts_with("key general.alignment: expected"));
        assert!(start(&[key("a"), key("a")], &[]).starts_with("key a: expected a name of its own"));
        let twice = [plan("t", &[1], Quant::F32), plan("t", &[1], Quant::F32)];
        assert!(start(&[], &twice).starts_with("tensor t: expected a name of its own"));
        assert!(start(&[], &[plan("t", &[], Quant::F32)]).contains("found 0"));
        assert!(start(&[], &[plan("t", &[33], Quant::Q8_0)]).contains("a multiple of 32"));

        let mut writer = GgufWriter::new(Vec::new(), &[], &[plan("t", &[2], Quant::F32)]).unwrap();
        assert!(writer.tensor(&[1.0]).unwrap_err().message.contains("expected values for 8 bytes of data, found 1"));
        let mut writer = GgufWriter::new(Vec::new(), &[], &[plan("t", &[256], Quant::Q4K)]).unwrap();
        assert!(writer.tensor(&[1.0; 256]).unwrap_err().message.contains("found Q4_K"));
        let mut writer = GgufWriter::new(Vec::new(), &[], &[]).unwrap();
        assert!(writer.tensor(&[]).unwrap_err().message.contains("no more tensors"));
        let writer = GgufWriter::new(Vec::new(), &[], &[plan("t", &[2], Quant::F32)]).unwrap();
        assert!(writer.finish().unwrap_err().to_string().starts_with("tensor t: expected data"));
    }
}
