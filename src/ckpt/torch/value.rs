//! What the interpreter builds: values in one flat arena that refer to each other by number, so that no depth of
//! nesting can overflow the stack, not even when they are dropped.

/// Of values, and of references from containers to values. Each costs one to five bytes of pickle, up to 40 of memory.
const MAX_VALUES: usize = 1 << 23;
const MAX_ITEMS: usize = 1 << 24;

/// What a step returns whose caller knows the place: the message of an error, without `at`.
pub(super) type Said<T> = Result<T, String>;

/// The number of a value; only ever one that `Values::push` returned.
pub(super) type Id = u32;

/// Element types that are read. A tensor of another type is listed as an opaque value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TorchDtype {
    F32,
    F16,
    Bf16,
    F64,
    I64,
    I32,
    I16,
    I8,
    U8,
    /// One byte, of which PyTorch writes 0 or 1.
    Bool,
}

impl TorchDtype {
    /// Of one element.
    pub fn bytes(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::Bf16 | Self::I16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    /// The name that PyTorch uses.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
            Self::F64 => "float64",
            Self::I64 => "int64",
            Self::I32 => "int32",
            Self::I16 => "int16",
            Self::I8 => "int8",
            Self::U8 => "uint8",
            Self::Bool => "bool",
        }
    }

    /// Of `torch.<name>`; PyTorch pickles no aliases such as `torch.half`.
    pub(super) fn of_name(name: &str) -> Option<Self> {
        [Self::F32, Self::F16, Self::Bf16, Self::F64, Self::I64, Self::I32, Self::I16, Self::I8, Self::U8, Self::Bool]
            .into_iter()
            .find(|dtype| dtype.name() == name)
    }

    /// Of `torch.<name>Storage`.
    pub(super) fn of_storage(name: &str) -> Option<Self> {
        Some(match name {
            "FloatStorage" => Self::F32,
            "HalfStorage" => Self::F16,
            "BFloat16Storage" => Self::Bf16,
            "DoubleStorage" => Self::F64,
            "LongStorage" => Self::I64,
            "IntStorage" => Self::I32,
            "ShortStorage" => Self::I16,
            "CharStorage" => Self::I8,
            "ByteStorage" => Self::U8,
            "BoolStorage" => Self::Bool,
            _ => return None,
        })
    }
}

/// A stretch of the pickle. Texts are not copied, so that one which is referred to often costs its bytes once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) bytes: u32,
}

/// What an opaque value is called.
#[derive(Debug, Clone, Copy)]
pub(super) enum Label {
    /// By the class or function that it came from.
    Global(Id),
    Fixed(&'static str),
}

/// A persistent id: bytes of the archive that tensors share.
#[derive(Debug, Clone, Copy)]
pub(super) struct StorageRef {
    /// The class, such as `torch.FloatStorage`.
    pub(super) class: Id,
    /// Of the entry `data/<key>`.
    pub(super) key: Span,
    /// In elements of the class; in bytes for an untyped storage.
    pub(super) count: u64,
}

/// A view of a storage. Offset and strides count elements.
#[derive(Debug)]
pub(super) struct TensorRef {
    pub(super) dtype: TorchDtype,
    pub(super) key: Span,
    pub(super) storage_bytes: u64,
    pub(super) offset: u64,
    pub(super) shape: Vec<u64>,
    pub(super) strides: Vec<u64>,
}

#[derive(Debug)]
pub(super) enum Node {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Span),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    /// In order of insertion; a later pair of the same key replaces an earlier one.
    Dict(Vec<(Id, Id)>),
    Global {
        module: Span,
        name: Span,
    },
    Storage(Box<StorageRef>),
    Tensor(Box<TensorRef>),
    /// Neither callable nor looked into.
    Opaque(Label),
}

/// All values of one pickle.
#[derive(Debug)]
pub(super) struct Values {
    pickle: Vec<u8>,
    nodes: Vec<Node>,
    items: usize,
}

impl Values {
    pub(super) fn new(pickle: Vec<u8>) -> Self {
        Self { pickle, nodes: Vec::new(), items: 0 }
    }

    pub(super) fn pickle(&self) -> &[u8] {
        &self.pickle
    }

    pub(super) fn push(&mut self, node: Node) -> Said<Id> {
        if self.nodes.len() == MAX_VALUES {
            return Err(format!("expected at most {MAX_VALUES} values, found more"));
        }
        self.nodes.push(node);
        Ok((self.nodes.len() - 1) as Id)
    }

    pub(super) fn get(&self, id: Id) -> &Node {
        &self.nodes[id as usize]
    }

    pub(super) fn get_mut(&mut self, id: Id) -> &mut Node {
        &mut self.nodes[id as usize]
    }

    /// Counts references that a container is about to hold.
    pub(super) fn charge(&mut self, items: usize) -> Said<()> {
        self.items = self.items.saturating_add(items);
        if self.items <= MAX_ITEMS {
            return Ok(());
        }
        Err(format!("expected containers of at most {MAX_ITEMS} items in all, found more"))
    }

    /// The text of a `Text` or of the parts of a `Global`, which were found to be UTF-8 when they were read.
    pub(super) fn text(&self, span: Span) -> &str {
        let bytes = &self.pickle[span.start as usize..][..span.bytes as usize];
        std::str::from_utf8(bytes).unwrap_or_default()
    }

    /// The module and the name of a global.
    pub(super) fn global(&self, id: Id) -> Option<(&str, &str)> {
        match self.get(id) {
            Node::Global { module, name } => Some((self.text(*module), self.text(*name))),
            _ => None,
        }
    }

    pub(super) fn label(&self, label: Label) -> String {
        match label {
            Label::Fixed(text) => text.to_owned(),
            Label::Global(id) => self.global(id).map_or_else(String::new, |(module, name)| format!("{module}.{name}")),
        }
    }

    /// Whether it is None or a dict without items.
    pub(super) fn is_empty(&self, id: Id) -> bool {
        match self.get(id) {
            Node::None => true,
            Node::Dict(pairs) => pairs.is_empty(),
            _ => false,
        }
    }

    /// What a value is, for messages.
    pub(super) fn describe(&self, id: Id) -> String {
        match self.get(id) {
            Node::None => "None".to_owned(),
            Node::Bool(value) => value.to_string(),
            Node::Int(value) => value.to_string(),
            Node::Float(value) => value.to_string(),
            Node::Text(span) => shortened(self.text(*span)),
            Node::Tuple(items) => format!("a tuple of {} items", items.len()),
            Node::List(items) => format!("a list of {} items", items.len()),
            Node::Dict(pairs) => format!("a dict of {} items", pairs.len()),
            Node::Global { .. } => shortened(&self.label(Label::Global(id))),
            Node::Storage(_) => "a storage".to_owned(),
            Node::Tensor(_) => "a tensor".to_owned(),
            Node::Opaque(label) => format!("an opaque value {}", shortened(&self.label(*label))),
        }
    }
}

/// Quoted, and cut after 80 characters.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(80) {
        None => format!("{text:?}"),
        Some((cut, _)) => format!("{:?}...", &text[..cut]),
    }
}

/// Where an error lies: `tensor a.b`, without control characters and cut after 200 characters.
pub(super) fn place(what: &str, name: &str) -> String {
    let cut = name.char_indices().nth(200);
    let (name, dots) = cut.map_or((name, ""), |(at, _)| (&name[..at], "..."));
    format!("{what} {}{dots}", name.escape_debug())
}
