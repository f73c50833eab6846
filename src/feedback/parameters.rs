//! Which parameters gradients are taken of.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::model::{Leaves, Place};
use crate::util::suggest::nearest;

/// A choice of parameters, as people write it: `all`, `last:2`, or names with `*`, separated by commas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parameters {
    All,
    /// Those of the last so many blocks.
    Last(usize),
    /// Those whose names are like one of these; `*` stands for any text.
    Names(Vec<String>),
}

impl FromStr for Parameters {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self::All);
        }
        if let Some(count) = text.strip_prefix("last:") {
            return match count.parse() {
                Ok(count) if count > 0 => Ok(Self::Last(count)),
                _ => Err("expected a number of blocks, such as last:2".to_owned()),
            };
        }
        let names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
        if names.iter().any(String::is_empty) {
            return Err("expected all, last:N, or names separated by commas, such as *.mlp.*".to_owned());
        }
        Ok(Self::Names(names))
    }
}

impl fmt::Display for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Last(count) => write!(f, "last:{count}"),
            Self::Names(names) => f.write_str(&names.join(",")),
        }
    }
}

impl Parameters {
    /// The names of a model's parameters that are meant.
    ///
    /// # Errors
    /// A name that is like none, more blocks than there are.
    pub fn of(&self, leaves: &Leaves) -> Result<BTreeSet<String>> {
        let all = leaves.parameters();
        match self {
            Self::All => Ok(all.keys().map(|&name| name.to_owned()).collect()),
            Self::Last(count) => {
                let blocks = leaves.blocks();
                if *count > blocks {
                    return Err(Error::bad(format!("parameters: expected at most last:{blocks}, found last:{count}")));
                }
                let wanted = |number: &usize| match leaves.place(*number) {
                    Place::Block(block) => block >= blocks - count,
                    Place::Embedding | Place::End => false,
                };
                let of_block = all.iter().filter(|(_, (_, numbers))| numbers.iter().all(wanted));
                Ok(of_block.map(|(&name, _)| name.to_owned()).collect())
            }
            Self::Names(patterns) => {
                let mut names = BTreeSet::new();
                for pattern in patterns {
                    let like: Vec<&str> = all.keys().copied().filter(|name| is_like(name, pattern)).collect();
                    if like.is_empty() {
                        let error =
                            Error::bad(format!("parameters: expected a name of the model's, found {pattern:?}"));
                        return Err(match nearest(pattern, all.keys().copied()) {
                            Some(near) => error.help(format!("did you mean `{near}`?")),
                            None => error.help("`*` stands for any text, as in *.mlp.*"),
                        });
                    }
                    names.extend(like.into_iter().map(str::to_owned));
                }
                Ok(names)
            }
        }
    }
}

/// Whether a name is like a pattern in which `*` stands for any text.
fn is_like(name: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or("");
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (name, pattern, wanted) in [
            ("a.b.c", "a.b.c", true),
            ("a.b.c", "a.b", false),
            ("a.b.c", "*", true),
            ("a.b.c", "*.c", true),
            ("a.b.c", "a.*c", true),
            ("a.b.c", "*b*", true),
            ("a.b.c", "*b*b*", false),
            ("aba", "ab*ba", false),
        ] {
            assert_eq!(is_like(name, pattern), wanted, "{name} {pattern}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for text in ["all", "last:2", "*.mlp.*,lm_head.weight"] {
            assert_eq!(text.parse::<Parameters>().unwrap().to_string(), text);
        }
        for wrong in ["last:0", "last:x", "a,,b", ""] {
            assert!(wrong.parse::<Parameters>().is_err(), "{wrong}");
        }
    }
}
