//! The types of GGUF's values, and reading them from a file that may lie about its sizes.

use std::fmt;
use std::io::{BufReader, Read};

/// What is wrong with a file, and where in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GgufError {
    /// A lower-case fragment: what was expected, what was found.
    pub message: String,
    /// `header`, `key general.alignment`, `tensor blk.0.attn_q.weight`.
    pub at: String,
}

pub type Result<T, E = GgufError> = std::result::Result<T, E>;

impl fmt::Display for GgufError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.message)
    }
}

impl std::error::Error for GgufError {}

pub(super) fn bad<T>(at: &str, message: impl Into<String>) -> Result<T> {
    Err(GgufError { message: message.into(), at: at.to_owned() })
}

/// The value of a key.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    U64(u64),
    I64(i64),
    F32(f32),
    F64(f64),
    Bool(bool),
    Text(String),
    Array(Array),
}

/// Values of one type.
#[derive(Debug, Clone, PartialEq)]
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    Bool(Vec<bool>),
    Text(Vec<String>),
}

impl Value {
    /// A whole number of any type that is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Self::U8(x) => Some(x.into()),
            Self::U16(x) => Some(x.into()),
            Self::U32(x) => Some(x.into()),
            Self::U64(x) => Some(x),
            Self::I8(x) => u64::try_from(x).ok(),
            Self::I16(x) => u64::try_from(x).ok(),
            Self::I32(x) => u64::try_from(x).ok(),
            Self::I64(x) => u64::try_from(x).ok(),
            _ => None,
        }
    }

    /// A fraction of either width.
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Self::F32(x) => Some(x.into()),
            Self::F64(x) => Some(x),
            _ => None,
        }
    }

    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(flag) = *self { Some(flag) } else { None }
    }

    pub fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    pub fn as_array(&self) -> Option<&Array> {
        if let Self::Array(array) = self { Some(array) } else { None }
    }
}

impl Array {
    pub fn len(&self) -> usize {
        match self {
            Self::U8(x) => x.len(),
            Self::I8(x) => x.len(),
            Self::U16(x) => x.len(),
            Self::I16(x) => x.len(),
            Self::U32(x) => x.len(),
            Self::I32(x) => x.len(),
            Self::U64(x) => x.len(),
            Self::I64(x) => x.len(),
            Self::F32(x) => x.len(),
            Self::F64(x) => x.len(),
            Self::Bool(x) => x.len(),
            Self::Text(x) => x.len(),
        }
    }

    pub fn as_texts(&self) -> Option<&[String]> {
        if let Self::Text(texts) = self { Some(texts) } else { None }
    }

    pub fn as_f32s(&self) -> Option<&[f32]> {
        if let Self::F32(numbers) = self { Some(numbers) } else { None }
    }

    pub fn as_bools(&self) -> Option<&[bool]> {
        if let Self::Bool(flags) = self { Some(flags) } else { None }
    }

    /// Whole numbers, if none is negative: token types, counts per layer.
    pub fn as_u64s(&self) -> Option<Vec<u64>> {
        fn all<T: Copy + TryInto<u64>>(numbers: &[T]) -> Option<Vec<u64>> {
            numbers.iter().map(|&x| x.try_into().ok()).collect()
        }
        match self {
            Self::U8(x) => all(x),
            Self::U16(x) => all(x),
            Self::U32(x) => all(x),
            Self::U64(x) => all(x),
            Self::I8(x) => all(x),
            Self::I16(x) => all(x),
            Self::I32(x) => all(x),
            Self::I64(x) => all(x),
            Self::F32(_) | Self::F64(_) | Self::Bool(_) | Self::Text(_) => None,
        }
    }
}

/// Reads forward through a header, whose remaining bytes bound every count.
pub(super) struct Scanner<R> {
    source: BufReader<R>,
    position: u64,
    left: u64,
    /// What is being read, for messages.
    pub at: String,
}

impl<R: Read> Scanner<R> {
    /// From the start of a file, and not beyond `left` bytes.
    pub fn new(source: R, left: u64) -> Self {
        Self { source: BufReader::new(source), position: 0, left, at: "header".to_owned() }
    }

    /// How many bytes have been read.
    pub fn position(&self) -> u64 {
        self.position
    }

    pub fn bad<T>(&self, message: impl Into<String>) -> Result<T> {
        bad(&self.at, message)
    }

    /// A count of things of at least `size` bytes each that the rest of the header has room for.
    pub fn count(&self, count: u64, size: u64, limit: u64, what: &str) -> Result<usize> {
        let most = (self.left / size).min(limit);
        if count > most {
            return self.bad(format!("expected at most {most} {what}, found a count of {count}"));
        }
        Ok(count as usize)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<()> {
        let count = bytes.len() as u64;
        if count > self.left {
            return self.bad(format!("expected {count} more bytes of header, found {}", self.left));
        }
        if let Err(e) = self.source.read_exact(bytes) {
            return self.bad(format!("failed to read: {e}"));
        }
        self.position += count;
        self.left -= count;
        Ok(())
    }

    pub fn fixed<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    pub fn u32(&mut self) -> Result<u32> {
        self.fixed().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Result<u64> {
        self.fixed().map(u64::from_le_bytes)
    }

    fn text(&mut self, limit: u64) -> Result<String> {
        let length = self.u64()?;
        let length = self.count(length, 1, limit, "bytes of text")?;
        let mut bytes = vec![0; length];
        self.fill(&mut bytes)?;
        String::from_utf8(bytes).or_else(|e| self.bad(format!("expected UTF-8 text, found an {}", e.utf8_error())))
    }

    /// The name of a key or a tensor.
    pub fn name(&mut self, limit: u64) -> Result<String> {
        let name = self.text(limit)?;
        if name.is_empty() { self.bad("expected a name, found an empty text") } else { Ok(name) }
    }

    pub fn value(&mut self) -> Result<Value> {
        Ok(match self.u32()? {
            0 => Value::U8(self.fixed().map(u8::from_le_bytes)?),
            1 => Value::I8(self.fixed().map(i8::from_le_bytes)?),
            2 => Value::U16(self.fixed().map(u16::from_le_bytes)?),
            3 => Value::I16(self.fixed().map(i16::from_le_bytes)?),
            4 => Value::U32(self.u32()?),
            5 => Value::I32(self.fixed().map(i32::from_le_bytes)?),
            6 => Value::F32(self.fixed().map(f32::from_le_bytes)?),
            7 => {
                let [byte] = self.fixed()?;
                Value::Bool(self.flag(byte)?)
            }
            8 => Value::Text(self.text(u64::MAX)?),
            9 => Value::Array(self.array()?),
            10 => Value::U64(self.u64()?),
            11 => Value::I64(self.fixed().map(i64::from_le_bytes)?),
            12 => Value::F64(self.fixed().map(f64::from_le_bytes)?),
            other => return self.bad(format!("expected a type of value from 0 to 12, found {other}")),
        })
    }

    fn flag(&self, byte: u8) -> Result<bool> {
        if byte > 1 { self.bad(format!("expected 0 or 1 for false or true, found {byte}")) } else { Ok(byte == 1) }
    }

    fn array(&mut self) -> Result<Array> {
        let kind = self.u32()?;
        let count = self.u64()?;
        Ok(match kind {
            0 => Array::U8(self.items(count, u8::from_le_bytes)?),
            1 => Array::I8(self.items(count, i8::from_le_bytes)?),
            2 => Array::U16(self.items(count, u16::from_le_bytes)?),
            3 => Array::I16(self.items(count, i16::from_le_bytes)?),
            4 => Array::U32(self.items(count, u32::from_le_bytes)?),
            5 => Array::I32(self.items(count, i32::from_le_bytes)?),
            6 => Array::F32(self.items(count, f32::from_le_bytes)?),
            7 => {
                let bytes = self.items(count, u8::from_le_bytes)?;
                Array::Bool(bytes.into_iter().map(|byte| self.flag(byte)).collect::<Result<_>>()?)
            }
            8 => {
                // Each text has at least its length.
                let count = self.count(count, 8, u64::MAX, "elements")?;
                Array::Text((0..count).map(|_| self.text(u64::MAX)).collect::<Result<_>>()?)
            }
            9 => return self.bad("expected an array of numbers or texts, found an array of arrays"),
            10 => Array::U64(self.items(count, u64::from_le_bytes)?),
            11 => Array::I64(self.items(count, i64::from_le_bytes)?),
            12 => Array::F64(self.items(count, f64::from_le_bytes)?),
            other => return self.bad(format!("expected a type of elements from 0 to 12, found {other}")),
        })
    }

    fn items<const N: usize, T>(&mut self, count: u64, item: fn([u8; N]) -> T) -> Result<Vec<T>> {
        let count = self.count(count, N as u64, u64::MAX, "elements")?;
        let mut bytes = vec![0; count * N];
        self.fill(&mut bytes)?;
        Ok(bytes.as_chunks().0.iter().map(|bytes| item(*bytes)).collect())
    }
}
