//! An interpreter of pickle protocols 2 to 5 that builds values and calls nothing.
//!
//! Opcodes of CPython's `Lib/pickletools.py`, without the text opcodes of protocols 0 and 1, the extension registry and
//! out-of-band buffers, none of which `torch.save` writes.

use std::collections::BTreeMap;

use super::rebuild;
use super::value::{Id, Label, Node, Said, Span, StorageRef, Values};
use super::{Result, TorchError};

/// The description of a large checkpoint takes some megabytes.
pub(super) const MAX_PICKLE_BYTES: u64 = 128 << 20;
/// Of values that wait for their container: as many as a list or dict has items, in batches of 1000.
const MAX_STACK: usize = 1 << 22;
/// Of open containers; Python's own pickler gives up at 1000 levels.
const MAX_MARKS: usize = 10_000;
const MAX_MEMO: usize = 1 << 23;
/// Of one text; longer bytes are skipped without being read.
const MAX_TEXT_BYTES: usize = 16 << 20;
/// Of a module or class, which is compared each time it is called.
const MAX_NAME_BYTES: u32 = 1024;

/// The values of a pickle and the one that it stands for.
#[derive(Debug)]
pub(super) struct Pickle {
    pub(super) values: Values,
    pub(super) root: Id,
}

impl Pickle {
    /// Of at most `MAX_PICKLE_BYTES`, so that every place in it is within a u32.
    pub(super) fn read(bytes: Vec<u8>) -> Result<Self> {
        debug_assert!(bytes.len() as u64 <= MAX_PICKLE_BYTES);
        let values = Values::new(bytes);
        let mut machine = Machine { values, at: 0, stack: Vec::new(), marks: Vec::new(), memo: BTreeMap::new() };
        loop {
            let at = machine.at;
            match machine.step() {
                Ok(None) => {}
                Ok(Some(root)) => return Ok(Self { values: machine.values, root }),
                Err(message) => return Err(TorchError::new(message).at(format!("byte {at} of the pickle"))),
            }
        }
    }
}

struct Machine {
    values: Values,
    /// Of the pickle, where the next byte is read.
    at: usize,
    stack: Vec<Id>,
    /// The heights of the stack at which open containers begin.
    marks: Vec<usize>,
    memo: BTreeMap<u32, Id>,
}

impl Machine {
    /// Runs one opcode; the value of the pickle at its end.
    fn step(&mut self) -> Said<Option<Id>> {
        let first = self.at == 0;
        let opcode = self.byte()?;
        if first != (opcode == 0x80) {
            return Err(format!("expected a pickle that begins with its protocol, found opcode {opcode:#04x}"));
        }
        match opcode {
            b'.' => return self.stop().map(Some),
            0x80 => self.protocol()?,
            0x95 => self.frame()?,
            b'(' => self.mark()?,
            b'0' => self.pop_any()?,
            b'1' => drop(self.pop_mark()?),
            b'2' => self.push_id(self.top()?)?,
            b'N' | 0x88 | 0x89 | b'J' | b'K' | b'M' | b'G' | 0x8a | 0x8b => self.number(opcode)?,
            b'T' | b'U' | b'X' | 0x8c | 0x8d => self.text(opcode)?,
            b'B' | b'C' | 0x8e | 0x96 => self.bytes(opcode)?,
            b')' | b't' | 0x85 | 0x86 | 0x87 => self.tuple(opcode)?,
            b']' | b'l' | b'a' | b'e' => self.list(opcode)?,
            b'}' | b'd' | b's' | b'u' => self.dict(opcode)?,
            0x8f..=0x91 => self.set(opcode)?,
            b'h' | b'j' | b'q' | b'r' | 0x94 => self.memo(opcode)?,
            b'c' | 0x93 => self.global(opcode)?,
            b'Q' => self.persistent()?,
            b'R' | 0x81 | 0x92 => self.call(opcode)?,
            b'b' => self.build()?,
            _ => return Err(format!("expected an opcode of a tensor file, found {opcode:#04x}")),
        }
        Ok(None)
    }

    fn stop(&mut self) -> Said<Id> {
        let left = self.values.pickle().len() - self.at;
        match (self.stack.as_slice(), self.marks.len(), left) {
            (&[root], 0, 0) => Ok(root),
            (stack, marks, left) => Err(format!(
                "expected one value at the end, found {} with {marks} open containers and {left} more bytes",
                stack.len()
            )),
        }
    }

    fn protocol(&mut self) -> Said<()> {
        match self.byte()? {
            2..=5 => Ok(()),
            other => Err(format!("expected pickle protocol 2 to 5, found {other}")),
        }
    }

    /// Frames help a reader to buffer; their bounds mean nothing.
    fn frame(&mut self) -> Said<()> {
        let (length, left) = (self.unsigned::<8>()?, self.values.pickle().len() - self.at);
        if length > left as u64 {
            return Err(format!("expected a frame of at most {left} bytes, found one of {length}"));
        }
        Ok(())
    }

    fn mark(&mut self) -> Said<()> {
        if self.marks.len() == MAX_MARKS {
            return Err(format!("expected at most {MAX_MARKS} open containers, found more"));
        }
        self.marks.push(self.stack.len());
        Ok(())
    }

    /// Discards a value, or a mark where nothing lies above it.
    fn pop_any(&mut self) -> Said<()> {
        if self.marks.last() == Some(&self.stack.len()) {
            self.marks.pop();
            return Ok(());
        }
        self.pop().map(drop)
    }

    fn number(&mut self, opcode: u8) -> Said<()> {
        let node = match opcode {
            b'N' => Node::None,
            0x88 => Node::Bool(true),
            0x89 => Node::Bool(false),
            b'J' => Node::Int(i64::from(self.unsigned::<4>()? as i32)),
            b'K' => Node::Int(i64::from(self.byte()?)),
            b'M' => Node::Int(self.unsigned::<2>()? as i64),
            // The only field of a pickle that is big-endian.
            b'G' => Node::Float(f64::from_bits(self.unsigned::<8>()?.swap_bytes())),
            0x8a => {
                let length = u64::from(self.byte()?);
                self.long(length)?
            }
            _ => {
                let length = self.unsigned::<4>()?;
                self.long(length)?
            }
        };
        self.push(node)
    }

    /// A whole number in two's complement, little-endian, of any length.
    fn long(&mut self, length: u64) -> Said<Node> {
        let span = self.take(length)?;
        let bytes = &self.values.pickle()[span.start as usize..][..span.bytes as usize];
        if bytes.len() > 8 {
            return Ok(Node::Opaque(Label::Fixed("an integer of more than 64 bits")));
        }
        let fill = if bytes.last().is_some_and(|&top| top & 0x80 != 0) { 0xff } else { 0 };
        let mut wide = [fill; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        Ok(Node::Int(i64::from_le_bytes(wide)))
    }

    fn text(&mut self, opcode: u8) -> Said<()> {
        let length = match opcode {
            b'U' | 0x8c => self.unsigned::<1>()?,
            b'T' | b'X' => self.unsigned::<4>()?,
            _ => self.unsigned::<8>()?,
        };
        let span = self.take(length)?;
        if span.bytes as usize > MAX_TEXT_BYTES {
            return Err(format!("expected a text of at most {MAX_TEXT_BYTES} bytes, found {length}"));
        }
        let bytes = &self.values.pickle()[span.start as usize..][..span.bytes as usize];
        // Python 2 wrote bytes as text; Python 3 writes lone surrogates of file names.
        let node = match std::str::from_utf8(bytes) {
            Ok(_) => Node::Text(span),
            Err(_) => Node::Opaque(Label::Fixed("a text that is no UTF-8")),
        };
        self.push(node)
    }

    fn bytes(&mut self, opcode: u8) -> Said<()> {
        let length = match opcode {
            b'C' => self.unsigned::<1>()?,
            b'B' => self.unsigned::<4>()?,
            _ => self.unsigned::<8>()?,
        };
        self.take(length)?;
        self.push(Node::Opaque(Label::Fixed("bytes")))
    }

    fn tuple(&mut self, opcode: u8) -> Said<()> {
        let items = match opcode {
            b')' => Vec::new(),
            b't' => self.pop_mark()?,
            _ => self.pop_many(usize::from(opcode - 0x84))?,
        };
        self.push_items(items, Node::Tuple)
    }

    fn list(&mut self, opcode: u8) -> Said<()> {
        let items = match opcode {
            b']' => return self.push(Node::List(Vec::new())),
            b'l' => {
                let items = self.pop_mark()?;
                return self.push_items(items, Node::List);
            }
            b'a' => self.pop_many(1)?,
            _ => self.pop_mark()?,
        };
        self.values.charge(items.len())?;
        let target = self.top()?;
        match self.values.get_mut(target) {
            Node::List(list) => list.extend(items),
            Node::Opaque(_) => {}
            _ => return Err(format!("expected a list to append to, found {}", self.values.describe(target))),
        }
        Ok(())
    }

    fn dict(&mut self, opcode: u8) -> Said<()> {
        let flat = match opcode {
            b'}' => Vec::new(),
            b's' => self.pop_many(2)?,
            _ => self.pop_mark()?,
        };
        let (pairs, []) = flat.as_chunks::<2>() else {
            return Err(format!("expected as many values as keys, found {} in all", flat.len()));
        };
        self.values.charge(flat.len())?;
        let pairs = pairs.iter().map(|&[key, value]| (key, value));
        if matches!(opcode, b'}' | b'd') {
            return self.push(Node::Dict(pairs.collect()));
        }
        let target = self.top()?;
        match self.values.get_mut(target) {
            Node::Dict(dict) => dict.extend(pairs),
            Node::Opaque(_) => {}
            _ => return Err(format!("expected a dict to fill, found {}", self.values.describe(target))),
        }
        Ok(())
    }

    /// Nothing of a checkpoint lies in a set.
    fn set(&mut self, opcode: u8) -> Said<()> {
        if opcode != 0x8f {
            self.pop_mark()?;
        }
        if opcode != 0x90 {
            return self.push(Node::Opaque(Label::Fixed("a set")));
        }
        let target = self.top()?;
        match self.values.get(target) {
            Node::Opaque(_) => Ok(()),
            _ => Err(format!("expected a set to fill, found {}", self.values.describe(target))),
        }
    }

    fn memo(&mut self, opcode: u8) -> Said<()> {
        let number = match opcode {
            b'h' | b'q' => self.unsigned::<1>()? as u32,
            b'j' | b'r' => self.unsigned::<4>()? as u32,
            _ => self.memo.len() as u32,
        };
        if matches!(opcode, b'h' | b'j') {
            let id = self.memo.get(&number).copied();
            return self.push_id(id.ok_or_else(|| format!("expected a value under {number} in the memo, found none"))?);
        }
        if self.memo.len() == MAX_MEMO {
            return Err(format!("expected a memo of at most {MAX_MEMO} values, found more"));
        }
        let id = self.top()?;
        self.memo.insert(number, id);
        Ok(())
    }

    fn global(&mut self, opcode: u8) -> Said<()> {
        let (module, name) = if opcode == b'c' { (self.line()?, self.line()?) } else { self.pop_names()? };
        if module.bytes > MAX_NAME_BYTES || name.bytes > MAX_NAME_BYTES {
            let found = module.bytes.max(name.bytes);
            return Err(format!("expected the name of a class of at most {MAX_NAME_BYTES} bytes, found {found}"));
        }
        self.push(Node::Global { module, name })
    }

    fn pop_names(&mut self) -> Said<(Span, Span)> {
        let (name, module) = (self.pop()?, self.pop()?);
        if let (&Node::Text(module), &Node::Text(name)) = (self.values.get(module), self.values.get(name)) {
            return Ok((module, name));
        }
        let (module, name) = (self.values.describe(module), self.values.describe(name));
        Err(format!("expected the texts of a module and a name, found {module} and {name}"))
    }

    fn persistent(&mut self) -> Said<()> {
        let id = self.pop()?;
        match storage(&self.values, id) {
            Some(storage) => self.push(Node::Storage(Box::new(storage))),
            None => Err(format!(
                "expected a persistent id ('storage', class, key, location, count), found {}",
                self.values.describe(id)
            )),
        }
    }

    /// REDUCE, NEWOBJ and NEWOBJ_EX: what is known is rebuilt, anything else becomes an opaque value.
    fn call(&mut self, opcode: u8) -> Said<()> {
        if opcode == 0x92 {
            let _keywords = self.pop()?;
        }
        let (arguments, function) = (self.pop()?, self.pop()?);
        let id = match (opcode, self.values.get(function)) {
            (b'R', _) => rebuild::call(&mut self.values, function, arguments)?,
            (_, Node::Global { .. }) => self.values.push(Node::Opaque(Label::Global(function)))?,
            (_, &Node::Opaque(label)) => self.values.push(Node::Opaque(label))?,
            _ => return Err(format!("expected a class to make, found {}", self.values.describe(function))),
        };
        self.push_id(id)
    }

    /// Sets attributes: of an `OrderedDict` they are the module's versions; opaque values have none.
    fn build(&mut self) -> Said<()> {
        let _state = self.pop()?;
        let target = self.top()?;
        match self.values.get(target) {
            Node::Dict(_) | Node::Opaque(_) => Ok(()),
            _ => Err(format!("expected an object to set attributes of, found {}", self.values.describe(target))),
        }
    }

    fn byte(&mut self) -> Said<u8> {
        Ok(self.unsigned::<1>()? as u8)
    }

    fn unsigned<const N: usize>(&mut self) -> Said<u64> {
        let span = self.take(N as u64)?;
        let bytes = &self.values.pickle()[span.start as usize..][..N];
        Ok(bytes.iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte)))
    }

    fn take(&mut self, bytes: u64) -> Said<Span> {
        let left = self.values.pickle().len() - self.at;
        if bytes > left as u64 {
            return Err(format!("expected {bytes} more bytes, found {left}: the pickle is cut short"));
        }
        let span = Span { start: self.at as u32, bytes: bytes as u32 };
        self.at += bytes as usize;
        Ok(span)
    }

    /// Up to a line feed, which is consumed.
    fn line(&mut self) -> Said<Span> {
        let rest = &self.values.pickle()[self.at..];
        let bytes =
            rest.iter().position(|&byte| byte == b'\n').ok_or("expected a line, found the end of the pickle")?;
        if std::str::from_utf8(&rest[..bytes]).is_err() {
            return Err("expected a name in UTF-8, found other bytes".to_owned());
        }
        let span = self.take(bytes as u64)?;
        self.at += 1;
        Ok(span)
    }

    fn push(&mut self, node: Node) -> Said<()> {
        let id = self.values.push(node)?;
        self.push_id(id)
    }

    fn push_items(&mut self, items: Vec<Id>, node: fn(Vec<Id>) -> Node) -> Said<()> {
        self.values.charge(items.len())?;
        self.push(node(items))
    }

    fn push_id(&mut self, id: Id) -> Said<()> {
        if self.stack.len() == MAX_STACK {
            return Err(format!("expected a stack of at most {MAX_STACK} values, found more"));
        }
        self.stack.push(id);
        Ok(())
    }

    fn pop(&mut self) -> Said<Id> {
        let id = self.top()?;
        self.stack.pop();
        Ok(id)
    }

    /// The topmost values, none of which may lie below an open container.
    fn pop_many(&mut self, count: usize) -> Said<Vec<Id>> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let found = self.stack.len() - floor;
        if found < count {
            return Err(format!("expected {count} values on the stack, found {found}"));
        }
        Ok(self.stack.split_off(self.stack.len() - count))
    }

    fn pop_mark(&mut self) -> Said<Vec<Id>> {
        let mark = self.marks.pop().ok_or("expected an open container, found none")?;
        Ok(self.stack.split_off(mark))
    }

    fn top(&self) -> Said<Id> {
        let floor = self.marks.last().copied().unwrap_or(0);
        self.stack[floor..].last().copied().ok_or_else(|| "expected a value on the stack, found none".to_owned())
    }
}

/// Of `("storage", class, key, location, count)`. The location, such as `cuda:0`, does not matter.
fn storage(values: &Values, id: Id) -> Option<StorageRef> {
    let Node::Tuple(parts) = values.get(id) else { return None };
    let &[kind, class, key, _location, count] = parts.as_slice() else { return None };
    let (&Node::Text(kind), &Node::Text(key), &Node::Int(count)) =
        (values.get(kind), values.get(key), values.get(count))
    else {
        return None;
    };
    let known = values.text(kind) == "storage" && values.global(class).is_some() && count >= 0;
    known.then_some(StorageRef { class, key, count: count as u64 })
}
