//! Templates and expressions of task files: checked when a suite is read, rendered for every document.

use minijinja::{Environment, Value};
use serde_json::{Map, Value as Json};

use crate::error::{Error, Result};
use crate::util::jinja;

/// A Jinja template that yields a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(String);

/// A Jinja expression that yields a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expression(String);

/// Renders templates and expressions over the columns of a document.
pub struct Jinja {
    env: Environment<'static>,
}

impl Template {
    /// # Errors
    /// What the parser says, when the source is no template.
    pub fn new(source: &str) -> Result<Self> {
        jinja::environment()
            .template_from_str(source)
            .map_err(|e| Error::bad(format!("template: {}", jinja::explain(&e))))?;
        Ok(Self(source.to_owned()))
    }

    pub fn source(&self) -> &str {
        &self.0
    }
}

impl Expression {
    /// # Errors
    /// What the parser says, when the source is no expression.
    pub fn new(source: &str) -> Result<Self> {
        jinja::environment()
            .compile_expression(source)
            .map_err(|e| Error::bad(format!("expression: {}", jinja::explain(&e))))?;
        Ok(Self(source.to_owned()))
    }

    pub fn source(&self) -> &str {
        &self.0
    }
}

impl Default for Jinja {
    fn default() -> Self {
        Self::new()
    }
}

impl Jinja {
    pub fn new() -> Self {
        Self { env: jinja::environment() }
    }

    /// The template's text for a document.
    pub fn render(&self, template: &Template, document: &Map<String, Json>) -> Result<String> {
        let rendered = self.env.render_str(&template.0, jinja::value(document));
        rendered.map_err(|e| Error::bad(format!("template {:?}: {}", shorten(&template.0), jinja::explain(&e))))
    }

    /// The expression's value for a document, as JSON.
    pub fn evaluate(&self, expression: &Expression, document: &Map<String, Json>) -> Result<Json> {
        let fail = |e: minijinja::Error| {
            Error::bad(format!("expression {:?}: {}", shorten(&expression.0), jinja::explain(&e)))
        };
        let compiled = self.env.compile_expression(&expression.0).map_err(fail)?;
        let value: Value = compiled.eval(jinja::value(document)).map_err(fail)?;
        if value.is_undefined() {
            return Err(Error::bad(format!(
                "expression {:?}: expected a value, found an unknown name",
                shorten(&expression.0)
            )));
        }
        serde_json::to_value(&value).map_err(|e| Error::bad(format!("expression {:?}: {e}", shorten(&expression.0))))
    }
}

fn shorten(source: &str) -> String {
    match source.char_indices().nth(60) {
        Some((end, _)) => format!("{}...", &source[..end]),
        None => source.to_owned(),
    }
}
