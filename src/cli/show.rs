//! `veval show`: the exact prompt of one item, what of it is scored, and its tokens.

use std::fmt::Write;
use std::path::PathBuf;

use super::args::ShowArguments;
use super::data::here;
use super::{print, printable};
use crate::error::{Error, Result};
use crate::lm::max_length;
use crate::run::{EncodedItem, Prepared, context, encode, prepare_task};
use crate::suite::{DefinitionFile, LimitRule, Prompt, Question, Task, read_task, shipped};
use crate::text::Tokenizer;
use crate::util::files;
use crate::util::suggest::nearest;

pub(super) fn show(arguments: &ShowArguments) -> Result<()> {
    let mut task = find(&arguments.task)?;
    // The shots of an item may depend on the items before it, so all up to it are built.
    task.limit = match task.profile.limit {
        LimitRule::Head => Some(arguments.item.saturating_add(1)),
        LimitRule::PythonSample => None,
    };
    task.shots = arguments.shots.unwrap_or(task.shots);
    let mut prepared = prepare_task(&task, arguments.data_dir.as_deref())?;
    let Some(item) = std::mem::take(&mut prepared.items).into_iter().find(|item| item.row == arguments.item) else {
        return Err(Error::bad(format!("expected a row of the data, found {} while there are fewer", arguments.item)));
    };
    let checkpoint = arguments.tokens.as_deref().map(here).transpose()?;
    // The tokenizer of an adapter is its base's.
    let base = checkpoint.map(|checkpoint| checkpoint.base);
    let tokenizer = base.as_deref().map(Tokenizer::open).transpose()?;
    let prompt_text = |prompt: &Prompt| match &tokenizer {
        Some(tokenizer) => context(tokenizer, task.chat, prompt),
        None if task.chat => Err(Error::bad("expected a checkpoint whose chat template makes the prompt, found none")
            .help("name it with --tokens")),
        None => Ok(prompt.text()),
    };
    let mut text = String::new();
    let mut section = |title: &str, body: &str| {
        let line = "─".repeat(60usize.saturating_sub(title.chars().count()));
        let _ = writeln!(text, "── {} {line}\n{}", printable(title), printable(body));
    };
    section(
        "item",
        &format!(
            "{}  ({}, {} shots {:?}, profile {})",
            item.id,
            task.kind.name(),
            task.shots,
            item.shots,
            task.profile.id
        ),
    );
    for file in &prepared.files {
        section("data", &format!("{}  {}", file.path, file.fingerprint));
    }
    match &item.question {
        Question::Choices { prompts, choices, gold } => {
            for prompt in prompts {
                section("prompt", &prompt_text(prompt)?);
            }
            for (index, choice) in choices.iter().enumerate() {
                let right = if gold.contains(&index) { ", right" } else { "" };
                let delimiter = prompts[0].continuation_delimiter(task.chat);
                section(&format!("scored: choice {index}{right}"), &format!("{:?}", [delimiter, choice].concat()));
            }
        }
        Question::Cloze { prompt, target } => {
            section("prompt", &prompt_text(prompt)?);
            section("scored", &format!("{:?}", [prompt.continuation_delimiter(task.chat), target].concat()));
        }
        Question::Text { prefix, text, words, bytes } => {
            if !prefix.is_empty() {
                section("prefix", prefix);
            }
            section(&format!("scored: {words} words, {bytes} bytes"), text);
        }
        Question::Generate { prompt, golds } => {
            section("prompt", &prompt_text(prompt)?);
            for gold in golds {
                section("right answer", gold);
            }
        }
    }
    if let (Some(folder), Some(tokenizer)) = (&base, &tokenizer) {
        let max_length = max_length(folder, tokenizer)?;
        prepared.items = vec![item];
        let prepared = Prepared { suite: String::new(), suite_fingerprint: String::new(), tasks: vec![prepared] };
        for encoded in encode(&prepared, tokenizer, max_length, 1)?.items {
            tokens(&encoded, tokenizer, &mut section);
        }
    }
    print(&text)
}

/// Ids and pieces of every request, the scored ones in brackets.
fn tokens(encoded: &EncodedItem, tokenizer: &Tokenizer, section: &mut dyn FnMut(&str, &str)) {
    use crate::request::Ask;
    for (index, request) in encoded.requests.iter().enumerate() {
        let start = match request.ask {
            Ask::Score { start } => start,
            _ => request.tokens.len(),
        };
        let piece = |(position, &id): (usize, &u32)| {
            let piece = format!("{id}:{:?}", tokenizer.piece(id).unwrap_or_default());
            if position >= start { format!("[{piece}]") } else { piece }
        };
        let body: Vec<String> = request.tokens.iter().enumerate().map(piece).collect();
        section(
            &format!("tokens of request {index}: {}, {} cut", request.tokens.len(), encoded.truncated),
            &body.join(" "),
        );
    }
}

/// A task file, a shipped task, or one subset of either.
fn find(name: &str) -> Result<Task> {
    let path = PathBuf::from(name);
    if path.extension().is_some_and(|extension| extension == "toml") {
        let text = files::read_text(&path, 16 << 20)?;
        return first(read_task(&DefinitionFile { path, text })?);
    }
    if let Some(shipped) = shipped::find(name) {
        return first(read_task(&DefinitionFile { path: shipped.path.into(), text: shipped.text.to_owned() })?);
    }
    let mut names = Vec::new();
    for shipped in shipped::TASKS {
        for task in read_task(&DefinitionFile { path: shipped.path.into(), text: shipped.text.to_owned() })? {
            if task.name == name {
                return Ok(task);
            }
            names.push(task.name);
        }
    }
    let error = Error::bad(format!("expected a shipped task or a .toml file, found {name:?}"));
    Err(match nearest(name, names.iter().map(String::as_str)) {
        Some(near) => error.help(format!("did you mean `{near}`?")),
        None => error.help("`veval list tasks` names them all"),
    })
}

fn first(tasks: Vec<Task>) -> Result<Task> {
    tasks.into_iter().next().ok_or_else(|| Error::internal("a task file without tasks"))
}
