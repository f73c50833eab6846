//! The few functions of a checkpoint's pickle that stand for something: each is answered by building its value.

use super::value::{Id, Label, Node, Said, StorageRef, TensorRef, TorchDtype, Values};

/// Of one tensor; PyTorch itself stops at 64.
const MAX_DIMENSIONS: usize = 64;
/// Of one call of a known function.
const MAX_ARGUMENTS: usize = 8;

/// The value of `function(*arguments)`. Of an unknown function it is opaque: nothing is ever called.
pub(super) fn call(values: &mut Values, function: Id, arguments: Id) -> Said<Id> {
    if let &Node::Opaque(label) = values.get(function) {
        return values.push(Node::Opaque(label));
    }
    let Some((module, name)) = values.global(function) else {
        return Err(format!("expected a function to call, found {}", values.describe(function)));
    };
    let known = Known::find(module, name);
    let Some(known) = known else {
        return values.push(Node::Opaque(Label::Global(function)));
    };
    let arguments = tuple(values, arguments, MAX_ARGUMENTS, "arguments")?.to_vec();
    match known {
        Known::Dict => dict(values, &arguments),
        Known::DefaultDict => values.push(Node::Dict(Vec::new())),
        Known::Size => size(values, &arguments),
        Known::Tensor(version) => tensor(values, version, &arguments),
        Known::Parameter => parameter(values, &arguments),
        Known::FromType => from_type(values, &arguments),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// Of pairs or of another dict.
    Dict,
    DefaultDict,
    Size,
    /// `_rebuild_tensor`, `_v2`, `_v3`.
    Tensor(u8),
    Parameter,
    FromType,
}

impl Known {
    fn find(module: &str, name: &str) -> Option<Self> {
        Some(match (module, name) {
            ("collections", "OrderedDict" | "Counter") => Self::Dict,
            ("collections", "defaultdict") => Self::DefaultDict,
            ("torch", "Size") => Self::Size,
            ("torch._utils", "_rebuild_tensor") => Self::Tensor(1),
            ("torch._utils", "_rebuild_tensor_v2") => Self::Tensor(2),
            ("torch._utils", "_rebuild_tensor_v3") => Self::Tensor(3),
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => Self::Parameter,
            // Until 1.8 the module was `torch.tensor`.
            ("torch._tensor" | "torch.tensor", "_rebuild_from_type" | "_rebuild_from_type_v2") => Self::FromType,
            _ => return None,
        })
    }
}

/// `OrderedDict()`, `OrderedDict(dict)` or `OrderedDict(pairs)`; Python 2 wrote the last.
fn dict(values: &mut Values, arguments: &[Id]) -> Said<Id> {
    let pairs = match arguments {
        [] => Some(Vec::new()),
        &[of] => match values.get(of) {
            Node::Dict(pairs) => Some(pairs.clone()),
            Node::List(items) | Node::Tuple(items) => items.iter().map(|&item| pair(values, item)).collect(),
            _ => None,
        },
        _ => None,
    };
    let Some(pairs) = pairs else {
        return Err(format!("expected a dict of pairs, found {} arguments", arguments.len()));
    };
    values.charge(2 * pairs.len())?;
    values.push(Node::Dict(pairs))
}

fn pair(values: &Values, id: Id) -> Option<(Id, Id)> {
    match values.get(id) {
        Node::List(items) | Node::Tuple(items) => match items.as_slice() {
            &[key, value] => Some((key, value)),
            _ => None,
        },
        _ => None,
    }
}

/// `torch.Size((2, 3))`, a tuple.
fn size(values: &mut Values, arguments: &[Id]) -> Said<Id> {
    let items = match arguments {
        &[of] => match values.get(of) {
            Node::List(items) | Node::Tuple(items) => Some(items.clone()),
            _ => None,
        },
        _ => None,
    };
    let items = items.ok_or("expected a size of one tuple, found other arguments")?;
    values.charge(items.len())?;
    values.push(Node::Tuple(items))
}

/// `(data, requires_grad, hooks)` with or without attributes: a parameter is its data.
fn parameter(values: &Values, arguments: &[Id]) -> Said<Id> {
    let &[data, _, _, ..] = arguments else {
        return Err(format!("expected a parameter of at least 3 arguments, found {}", arguments.len()));
    };
    match values.get(data) {
        Node::Tensor(_) | Node::Opaque(_) => Ok(data),
        _ => Err(format!("expected a parameter of a tensor, found {}", values.describe(data))),
    }
}

/// `(function, type, arguments, attributes)`: a tensor that carries Python attributes, or of a subclass. What a
/// subclass means by its storage is its own affair, so that only PyTorch's plain types are rebuilt.
fn from_type(values: &mut Values, arguments: &[Id]) -> Said<Id> {
    let &[function, class, inner, _attributes] = arguments else {
        return Err(format!("expected a tensor with a type of 4 arguments, found {}", arguments.len()));
    };
    let plain =
        matches!(values.global(class), Some(("torch", "Tensor") | ("torch.nn.parameter", "Parameter" | "Buffer")));
    // Not by way of `call`: a pickle that nests this function would recurse.
    let known = values.global(function).and_then(|(module, name)| Known::find(module, name));
    match (plain, known) {
        (true, Some(Known::Tensor(version))) => {
            let inner = tuple(values, inner, MAX_ARGUMENTS, "arguments")?.to_vec();
            tensor(values, version, &inner)
        }
        (true, Some(Known::Parameter)) => parameter(values, tuple(values, inner, MAX_ARGUMENTS, "arguments")?),
        _ if values.global(class).is_some() => values.push(Node::Opaque(Label::Global(class))),
        _ => values.push(Node::Opaque(Label::Fixed("a tensor of an unknown type"))),
    }
}

/// `(storage, offset, size, stride)`, from version 2 on `requires_grad, hooks`, in version 3 `dtype`, then perhaps
/// `metadata`.
fn tensor(values: &mut Values, version: u8, arguments: &[Id]) -> Said<Id> {
    let (least, most) = match version {
        1 => (4, 4),
        2 => (6, 7),
        _ => (7, 8),
    };
    let (&[storage, offset, size, stride, ref rest @ ..], true) =
        (arguments, (least..=most).contains(&arguments.len()))
    else {
        return Err(format!("expected a tensor of {least} to {most} arguments, found {}", arguments.len()));
    };
    let storage = match values.get(storage) {
        Node::Storage(storage) => **storage,
        // What a subclass or an accelerator makes of it cannot be known.
        &Node::Opaque(label) => return values.push(Node::Opaque(label)),
        _ => return Err(format!("expected a tensor of a storage, found {}", values.describe(storage))),
    };
    // Conjugated and negated views: their bytes are not their values.
    if let Some(&metadata) = arguments.get(least)
        && !values.is_empty(metadata)
    {
        return values.push(Node::Opaque(Label::Fixed("a tensor with metadata, such as a negated view")));
    }
    let (dtype, storage_bytes) = match element_type(values, storage, (version == 3).then(|| rest[2]))? {
        Ok(found) => found,
        Err(label) => return values.push(Node::Opaque(label)),
    };
    let offset = count(values, offset, "a storage offset")?;
    let (shape, strides) = (counts(values, size, "a size")?, counts(values, stride, "a stride")?);
    if shape.len() != strides.len() {
        return Err(format!("expected {} strides, one a size, found {}", shape.len(), strides.len()));
    }
    values.charge(4 * shape.len())?;
    values.push(Node::Tensor(Box::new(TensorRef { dtype, key: storage.key, storage_bytes, offset, shape, strides })))
}

/// The element type and the size of the storage in bytes; for a type that is not read, its name.
fn element_type(values: &Values, storage: StorageRef, dtype: Option<Id>) -> Said<Result<(TorchDtype, u64), Label>> {
    let typed = match values.global(storage.class) {
        Some(("torch", name)) => TorchDtype::of_storage(name),
        _ => None,
    };
    let untyped =
        matches!(values.global(storage.class), Some(("torch" | "torch.storage", "UntypedStorage" | "_UntypedStorage")));
    let (class, named) = match dtype {
        None => (storage.class, typed),
        Some(id) => match values.global(id) {
            Some(("torch", name)) => (id, TorchDtype::of_name(name)),
            _ => return Err(format!("expected an element type, found {}", values.describe(id))),
        },
    };
    let (Some(dtype), Some(unit)) = (named, typed.map(TorchDtype::bytes).or(untyped.then_some(1))) else {
        return Ok(Err(Label::Global(class)));
    };
    let bytes = storage.count.checked_mul(unit as u64);
    let bytes = bytes.ok_or_else(|| format!("expected a storage of less than 2^64 bytes, found {}", storage.count))?;
    Ok(Ok((dtype, bytes)))
}

fn counts(values: &Values, id: Id, what: &str) -> Said<Vec<u64>> {
    tuple(values, id, MAX_DIMENSIONS, "dimensions")?.iter().map(|&item| count(values, item, what)).collect()
}

/// The items of a tuple or list. Bounded before it is copied, since a pickle can name the same tuple again and again.
fn tuple<'a>(values: &'a Values, id: Id, most: usize, what: &str) -> Said<&'a [Id]> {
    match values.get(id) {
        Node::Tuple(items) | Node::List(items) if items.len() <= most => Ok(items),
        _ => Err(format!("expected a tuple of at most {most} {what}, found {}", values.describe(id))),
    }
}

fn count(values: &Values, id: Id, what: &str) -> Said<u64> {
    match values.get(id) {
        &Node::Int(number) if number >= 0 => Ok(number as u64),
        _ => Err(format!("expected {what} of at least 0, found {}", values.describe(id))),
    }
}
