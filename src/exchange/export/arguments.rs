//! What was asked of the model, as the harness's samples have it: requests of a context and a continuation, a text, or
//! a context and how to go on.

use super::python::Python;
use crate::suite::Writing;

/// Longest answer where a task file of the harness says nothing.
const DEFAULT_MAX_TOKENS: usize = 256;

/// The arguments of one request.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Arguments(Vec<Python>);

/// The requests of an item.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Asked {
    pub requests: Vec<Arguments>,
    /// The same choices without their context, for runs that scored them.
    pub unconditional: Vec<Arguments>,
    /// The text that is right, where the outcome does not hold it.
    pub target: Option<String>,
}

impl Asked {
    pub fn one(arguments: Arguments, target: Option<String>) -> Self {
        Self { requests: vec![arguments], unconditional: Vec::new(), target }
    }
}

impl Arguments {
    pub fn scored(context: &str, continuation: &str) -> Self {
        Self(vec![context.into(), continuation.into()])
    }

    pub fn text(text: &str) -> Self {
        Self(vec![text.into()])
    }

    pub fn written(context: &str, writing: Option<&Writing>) -> Self {
        Self(vec![context.into(), writing.map_or(Python::None, generation)])
    }

    /// The text that the harness hashes, where it is known.
    pub fn first_text(&self) -> Option<&str> {
        match self.0.first() {
            Some(Python::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// A request of whose texts only the number is known.
    pub fn unknown(texts: usize) -> Self {
        Self(vec![Python::None; texts])
    }

    /// A request of which only the way of writing is known.
    pub fn unknown_context(writing: Option<&Writing>) -> Self {
        Self(vec![Python::None, writing.map_or(Python::None, generation)])
    }
}

/// `{"gen_args_0": {"arg_0": .., "arg_1": ..}, ..}`
pub(super) fn numbered(requests: &[Arguments]) -> Python {
    let name = |kind: &str, index: usize| format!("{kind}_{index}");
    Python::dict(requests.iter().enumerate().map(|(index, Arguments(parts))| {
        let parts = parts.iter().enumerate().map(|(index, part)| (name("arg", index), part.clone()));
        (name("gen_args", index), Python::dict(parts))
    }))
}

/// Generation settings. The harness's task files leave its own default length out, and so do we.
pub(super) fn generation(writing: &Writing) -> Python {
    let mut settings = vec![("until", Python::list(&writing.stop))];
    match &writing.sampling {
        None => settings.extend([("do_sample", Python::Bool(false)), ("temperature", Python::Float(0.0))]),
        Some(drawn) => settings.extend([
            ("do_sample", Python::Bool(true)),
            ("temperature", Python::Float(drawn.temperature)),
            ("top_k", Python::count(drawn.top_k)),
            ("top_p", Python::Float(drawn.top_p)),
        ]),
    }
    if writing.max_tokens != DEFAULT_MAX_TOKENS {
        settings.push(("max_gen_toks", Python::count(writing.max_tokens)));
    }
    Python::dict(settings)
}
