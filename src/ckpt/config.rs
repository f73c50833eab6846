//! `config.json`: typed reading that collects every problem instead of stopping at the first.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::address::is_llama2c;
use super::gguf::{GgufFile, is_gguf};
use super::llama2c::Llama2cFile;
use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::util::files;

/// No real configuration comes near this.
const MAX_CONFIG_BYTES: u64 = 4 << 20;
/// Bound of every count in a configuration, so that products of two cannot overflow.
const MAX_COUNT: u64 = 1 << 31;

/// The `config.json` of a checkpoint.
#[derive(Debug, Clone)]
pub struct Config {
    pub path: PathBuf,
    pub values: Map<String, Value>,
}

impl Config {
    /// Of a folder, or what a GGUF or llama2.c file says in its place.
    pub fn read(checkpoint: &Path) -> Result<Self> {
        let of_file = |values| Self { path: checkpoint.to_path_buf(), values };
        if is_gguf(checkpoint) {
            return Ok(of_file(GgufFile::open(checkpoint)?.config()?));
        }
        if is_llama2c(checkpoint) {
            return Ok(of_file(Llama2cFile::open(checkpoint)?.config()));
        }
        Self::of_file(&checkpoint.join("config.json"))
    }

    /// A JSON file with an object.
    pub(super) fn of_file(path: &Path) -> Result<Self> {
        let text = files::read_text(path, MAX_CONFIG_BYTES)?;
        let values = serde_json::from_str::<Map<String, Value>>(&text)
            .map_err(|e| Error::bad(format!("expected a JSON object: {e}")).in_file(path))?;
        Ok(Self { path: path.to_path_buf(), values })
    }

    /// The `model_type`, which names the family.
    pub fn model_type(&self) -> Result<&str> {
        self.values.get("model_type").and_then(Value::as_str).ok_or_else(|| {
            Error::bad("expected a text under `model_type`, found none")
                .in_file(&self.path)
                .help("the folder must be a Hugging Face checkpoint whose config.json names its architecture")
        })
    }
}

/// Reads keys of one JSON object and collects what is wrong with them.
pub struct ConfigReader<'a> {
    values: &'a Map<String, Value>,
    path: &'a Path,
    problems: Vec<Diagnostic>,
}

impl<'a> ConfigReader<'a> {
    pub fn new(config: &'a Config) -> Self {
        Self { values: &config.values, path: &config.path, problems: Vec::new() }
    }

    /// Reads from an object inside, such as `rope_parameters`. Problems stay with the reader they were found by.
    #[must_use]
    pub fn nested(&self, values: &'a Map<String, Value>) -> ConfigReader<'a> {
        Self { values, path: self.path, problems: Vec::new() }
    }

    pub fn object(&self, key: &str) -> Option<&'a Map<String, Value>> {
        self.values.get(key).and_then(Value::as_object)
    }

    /// Whether the key is there and not null.
    pub fn has(&self, key: &str) -> bool {
        self.values.get(key).is_some_and(|v| !v.is_null())
    }

    /// Whether the key is there, be it null.
    pub fn names(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// A required count of at least 1. On a problem the value 1 stands in, so that reading can go on.
    pub fn count(&mut self, key: &str) -> usize {
        match self.values.get(key) {
            Some(value) if !value.is_null() => self.read_count(key, value),
            _ => {
                self.problem(key, "expected a whole number of at least 1, found none");
                1
            }
        }
    }

    pub fn count_or(&mut self, key: &str, default: usize) -> usize {
        self.optional_count(key).unwrap_or(default)
    }

    pub fn optional_count(&mut self, key: &str) -> Option<usize> {
        let value = self.values.get(key).filter(|v| !v.is_null())?;
        Some(self.read_count(key, value))
    }

    /// A whole number that may be 0.
    pub fn optional_whole_number(&mut self, key: &str) -> Option<usize> {
        let value = self.values.get(key).filter(|v| !v.is_null())?;
        if value.as_u64() == Some(0) { Some(0) } else { Some(self.read_count(key, value)) }
    }

    fn read_count(&mut self, key: &str, value: &Value) -> usize {
        match value.as_u64() {
            Some(n) if (1..=MAX_COUNT).contains(&n) => n as usize,
            _ => {
                self.problem(key, &format!("expected a whole number from 1 to {MAX_COUNT}, found {value}"));
                1
            }
        }
    }

    pub fn number_or(&mut self, key: &str, default: f64) -> f64 {
        match self.values.get(key) {
            None | Some(Value::Null) => default,
            Some(value) => match value.as_f64() {
                Some(number) if number.is_finite() => number,
                _ => {
                    self.problem(key, &format!("expected a number, found {value}"));
                    default
                }
            },
        }
    }

    pub fn flag_or(&mut self, key: &str, default: bool) -> bool {
        match self.values.get(key) {
            None | Some(Value::Null) => default,
            Some(Value::Bool(flag)) => *flag,
            Some(value) => {
                self.problem(key, &format!("expected true or false, found {value}"));
                default
            }
        }
    }

    pub fn text_or(&mut self, key: &str, default: &'a str) -> &'a str {
        match self.values.get(key) {
            None | Some(Value::Null) => default,
            Some(Value::String(text)) => text,
            Some(value) => {
                self.problem(key, &format!("expected a text, found {value}"));
                default
            }
        }
    }

    /// A list of texts, if there is one.
    pub fn texts(&mut self, key: &str) -> Option<Vec<&'a str>> {
        self.list(key, "texts", Value::as_str)
    }

    /// A list of whole numbers, if there is one.
    pub fn whole_numbers(&mut self, key: &str) -> Option<Vec<usize>> {
        self.list(key, "whole numbers", |value| value.as_u64().map(|number| number as usize))
    }

    /// A list of finite numbers above 0, if there is one.
    pub fn numbers(&mut self, key: &str) -> Option<Vec<f64>> {
        self.list(key, "numbers above 0", |value| value.as_f64().filter(|number| number.is_finite() && *number > 0.0))
    }

    fn list<T>(&mut self, key: &str, of: &str, read: impl Fn(&'a Value) -> Option<T>) -> Option<Vec<T>> {
        let value = self.values.get(key).filter(|value| !value.is_null())?;
        let list = value.as_array().and_then(|list| list.iter().map(read).collect());
        if list.is_none() {
            self.problem(key, &format!("expected a list of {of}, found {value}"));
        }
        list
    }

    /// Refuses an option that would change the numbers and is not implemented.
    pub fn refuse(&mut self, key: &str, why: &str) {
        let found = self.values.get(key).map_or_else(|| "none".to_owned(), Value::to_string);
        self.problem(key, &format!("{why}, found {found}"));
    }

    pub fn problem(&mut self, key: &str, message: &str) {
        self.problems.push(Diagnostic::new(message).in_file(self.path).at(format!("key `{key}`")));
    }

    pub fn absorb(&mut self, other: Vec<Diagnostic>) {
        self.problems.extend(other);
    }

    pub fn into_problems(self) -> Vec<Diagnostic> {
        self.problems
    }
}
