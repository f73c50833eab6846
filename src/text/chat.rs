//! Chat templates: from turns to the one text that the model was trained to read.

use std::path::Path;

use fancy_regex::Regex;
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind, Value};
use serde::Serialize;
use serde_json::Value as Json;

use crate::error::{Error, Result};
use crate::util::{files, jinja, python};

const MAX_TEMPLATE_BYTES: u64 = 4 << 20;
/// What `strftime_now` tells a template: scores must not depend on the day.
const FIXED_DATE: (&str, &str, &str) = ("2024", "01", "01");

/// One turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    pub content: String,
}

impl Message {
    pub fn new(role: &str, content: impl Into<String>) -> Self {
        Self { role: role.to_owned(), content: content.into() }
    }
}

/// A model's template and the special tokens it may name.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    source: String,
    specials: Vec<(String, String)>,
}

impl ChatTemplate {
    /// From `chat_template.jinja`, else from `tokenizer_config.json`: a text, or a list of named texts of which
    /// `default` is taken.
    pub(super) fn open(
        folder: &Path,
        config: &serde_json::Map<String, Json>,
        special: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>> {
        let file = folder.join("chat_template.jinja");
        let source = if file.exists() {
            Some(files::read_text(&file, MAX_TEMPLATE_BYTES)?)
        } else {
            config.get("chat_template").and_then(|value| match value {
                Json::String(text) => Some(text.clone()),
                Json::Array(named) => {
                    let is_default = |entry: &&Json| entry.get("name").and_then(Json::as_str) == Some("default");
                    named.iter().find(is_default)?.get("template")?.as_str().map(str::to_owned)
                }
                _ => None,
            })
        };
        let names = ["bos_token", "eos_token", "pad_token", "unk_token"];
        let specials = names.iter().filter_map(|name| Some(((*name).to_owned(), special(name)?))).collect();
        Ok(source.map(|source| Self { source, specials }))
    }

    /// A template that stands on its own.
    pub fn new(source: impl Into<String>, specials: Vec<(String, String)>) -> Self {
        Self { source: source.into(), specials }
    }

    pub fn source(&self) -> &str {
        &self.source
    }

    /// What its texts depend on.
    pub(super) fn identity(&self) -> Json {
        serde_json::json!({ "source": self.source, "specials": self.specials })
    }

    /// The text of these turns. With `open_answer` the assistant's turn is opened at the end, for the model to go on;
    /// without, a last assistant turn is left open.
    ///
    /// # Errors
    /// A template that does not parse, refuses the turns (`raise_exception`), or runs out of fuel.
    pub fn render(&self, messages: &[Message], open_answer: bool) -> Result<String> {
        if open_answer {
            return self.render_turns(messages, true);
        }
        let mut marked = messages.to_vec();
        let last =
            marked.last_mut().ok_or_else(|| Error::bad("chat template: expected a turn to leave open, found none"))?;
        let content = last.content.trim().to_owned();
        last.content += END_TAG;
        leave_open(&self.render_turns(&marked, false)?, &content)
    }

    fn render_turns(&self, messages: &[Message], open_answer: bool) -> Result<String> {
        let env = environment()?;
        let bad = |e: &dyn std::fmt::Display| Error::bad(format!("chat template: {e}"));
        // `generation` blocks mark what training masks; for a text they hold what they hold.
        let begin = Regex::new(r"\{%([-+]?)\s*generation\s*([-+]?)%\}").map_err(|e| bad(&e))?;
        let end = Regex::new(r"\{%([-+]?)\s*endgeneration\s*([-+]?)%\}").map_err(|e| bad(&e))?;
        let source = begin.replace_all(&self.source, "{%$1 if true $2%}");
        let source = end.replace_all(&source, "{%$1 endif $2%}");
        let mut values: Vec<(String, Value)> = self.specials.iter().map(|(k, v)| (k.clone(), Value::from(v))).collect();
        values.push(("messages".to_owned(), jinja::value(messages)));
        values.push(("add_generation_prompt".to_owned(), Value::from(open_answer)));
        values.push(("tools".to_owned(), Value::from(())));
        values.push(("documents".to_owned(), Value::from(())));
        env.render_str(&source, Value::from_pairs(values)).map_err(|e| bad(&jinja::explain(&e)))
    }
}

/// Stands at the end of a turn that is to stay open, as in transformers' `continue_final_message`.
const END_TAG: &str = "CONTINUE_FINAL_MESSAGE_TAG ";

/// Cuts at the last tag. Where the template trimmed the turn, the space after the tag is gone and the text is trimmed
/// there as well.
fn leave_open(text: &str, content: &str) -> Result<String> {
    let at = text.rfind(END_TAG.trim_end()).filter(|_| text.contains(content));
    let at =
        at.ok_or_else(|| Error::bad("chat template: expected the last turn's content in the text, found it changed"))?;
    let before = &text[..at];
    Ok(if text[at..].starts_with(END_TAG) { before } else { python::rstrip(before) }.to_owned())
}

/// As `transformers` sets Jinja2 up: blocks trimmed, undefined names allowed, `raise_exception` and `strftime_now`.
fn environment() -> Result<Environment<'static>> {
    let mut env = jinja::environment();
    env.set_undefined_behavior(minijinja::UndefinedBehavior::Lenient);
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    env.set_syntax(syntax.map_err(|e| Error::internal(format!("template syntax: {e}")))?);
    env.add_function("raise_exception", |message: String| -> Result<String, minijinja::Error> {
        Err(minijinja::Error::new(ErrorKind::InvalidOperation, format!("the template refuses these turns: {message}")))
    });
    env.add_function("strftime_now", |format: &str| {
        let (year, month, day) = FIXED_DATE;
        let named = format.replace("%B", "January").replace("%b", "Jan").replace("%A", "Monday").replace("%a", "Mon");
        named.replace("%Y", year).replace("%y", &year[2..]).replace("%m", month).replace("%d", day)
    });
    Ok(env)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHATML: &str = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}\
                          {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

    #[test]
    fn turns_become_text_and_the_last_can_stay_open() {
        let template = ChatTemplate::new(CHATML, vec![]);
        let turns = [Message::new("user", "Hi"), Message::new("assistant", "Answer: ")];
        let text = template.render(&turns[..1], true).unwrap();
        assert_eq!(text, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
        assert!(template.render(&turns, false).unwrap().ends_with("assistant\nAnswer: "));
    }

    #[test]
    fn hostile_templates_end_in_errors() {
        let refuse = ChatTemplate::new("{{ raise_exception('no system turns') }}", vec![]);
        assert!(refuse.render(&[], true).unwrap_err().to_string().contains("no system turns"));
        let endless =
            ChatTemplate::new("{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}", vec![]);
        assert!(endless.render(&[], true).unwrap_err().to_string().contains("fuel"));
        assert!(ChatTemplate::new("{% if %}", vec![]).render(&[], true).is_err());
        let dated = ChatTemplate::new(
            "{{ strftime_now('%d %b %Y') }}{{ bos_token }}",
            vec![("bos_token".into(), "<s>".into())],
        );
        assert_eq!(dated.render(&[], true).unwrap(), "01 Jan 2024<s>");
    }
}
