//! A validated task.

use std::path::PathBuf;

use fancy_regex::Regex;
use serde::{Deserialize, Serialize};

use super::expression::{Expression, Template};
use super::profile::Profile;
use super::protocol::Protocol;
use crate::metric::{Filter, MatchRules, Metric, OutcomeKind};

/// One task, or one subset of it, ready to be given data.
#[derive(Debug, Clone)]
pub struct Task {
    pub name: String,
    pub version: String,
    pub about: String,
    pub kind: Kind,
    pub data: Data,
    pub description: Option<Template>,
    /// What every context begins with; never scored.
    pub prefix: String,
    pub system: String,
    pub chat: bool,
    pub answer_prefix: Option<Template>,
    pub shot_answer: Option<Template>,
    /// What stands before a choice that is scored without its context.
    pub unconditional: String,
    pub delimiter: String,
    pub shot_delimiter: String,
    pub shots: usize,
    pub shot_order: ShotOrder,
    /// Under [`OncePerTask`](super::ShotRule::OncePerTask): each item has its own draw after all.
    pub shots_per_item: bool,
    /// `None`: only when the shots come from other rows than the items.
    pub shots_may_repeat_item: Option<bool>,
    pub metrics: Vec<&'static Metric>,
    pub filters: Vec<Filter>,
    pub rules: MatchRules,
    pub profile: &'static Profile,
    pub slices: Vec<(String, Expression)>,
    /// The value of `subset` in templates and of `{subset}` in paths.
    pub subset: Option<String>,
    /// Where the same items are asked in several ways: the labels of this one, such as `letter:polite`, which also end
    /// its name and its groups'. Else empty.
    pub variant: String,
    /// Groups whose score this task enters, weighted by items.
    pub groups: Vec<String>,
    pub limit: Option<usize>,
    pub seed: u64,
}

/// How items are scored.
#[derive(Debug, Clone)]
pub enum Kind {
    /// One question, several answers.
    MultipleChoice {
        prompt: Template,
        choices: Expression,
        gold: Gold,
        protocol: Protocol,
    },
    /// Several questions, one continuation: which makes it likelier.
    Contexts {
        contexts: Expression,
        continuation: Template,
        gold: Gold,
    },
    Cloze {
        prompt: Template,
        target: Template,
    },
    Perplexity {
        text: Template,
        original: Option<Template>,
    },
    Generation {
        prompt: Template,
        target: Expression,
        writing: Writing,
    },
}

/// How an answer is written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Writing {
    /// Texts that end it.
    pub stop: Vec<String>,
    pub max_tokens: usize,
    /// `None`: the likeliest token each time.
    pub sampling: Option<Sampling>,
}

/// How an answer is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    pub temperature: f64,
    /// 0 for all.
    pub top_k: usize,
    pub top_p: f64,
}

/// Which choices are right.
#[derive(Debug, Clone)]
pub enum Gold {
    /// An index, a list of indices, or a choice's text.
    Index(Expression),
    /// 1 beside each right choice.
    Labels(Expression),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShotOrder {
    Random,
    First,
}

/// Where rows come from.
#[derive(Debug, Clone)]
pub struct Data {
    pub hub: Option<Hub>,
    /// Files beside the definition; for a hub data set only `fields` matter.
    pub public: Source,
    /// The same data under `--data-dir`.
    pub local: Option<Source>,
}

/// A public data set.
#[derive(Debug, Clone)]
pub struct Hub {
    pub name: String,
    pub config: Option<String>,
    pub split: String,
    pub shots_split: Option<String>,
    pub verified: bool,
}

/// Files and how their columns map.
#[derive(Debug, Clone)]
pub struct Source {
    /// What relative paths are relative to; `--data-dir` replaces it for local sources.
    pub base: PathBuf,
    pub file: Option<String>,
    pub shots_file: Option<String>,
    pub blake3: Option<String>,
    pub shots_blake3: Option<String>,
    pub record_start: Option<Regex>,
    /// Column and the file whose content it is.
    pub texts: Vec<(String, String)>,
    pub fields: Vec<(String, Expression)>,
    pub deviation: Option<String>,
}

impl Task {
    /// A name of this task or of one of its groups without the variant's labels.
    pub fn base_of<'a>(&self, name: &'a str) -> &'a str {
        name.strip_suffix(self.variant.as_str()).and_then(|base| base.strip_suffix(':')).unwrap_or(name)
    }
}

impl Kind {
    pub fn outcome(&self) -> OutcomeKind {
        match self {
            Self::MultipleChoice { protocol: Protocol::Generative { .. }, .. } | Self::Generation { .. } => {
                OutcomeKind::Answer
            }
            Self::MultipleChoice { .. } | Self::Contexts { .. } => OutcomeKind::Choices,
            Self::Cloze { .. } => OutcomeKind::Cloze,
            Self::Perplexity { .. } => OutcomeKind::Rolling,
        }
    }

    /// How answers are written, where they are.
    pub fn writing(&self) -> Option<&Writing> {
        match self {
            Self::Generation { writing, .. }
            | Self::MultipleChoice { protocol: Protocol::Generative { writing, .. }, .. } => Some(writing),
            _ => None,
        }
    }

    pub fn name(&self) -> &'static str {
        match self {
            Self::MultipleChoice { .. } | Self::Contexts { .. } => "multiple_choice",
            Self::Cloze { .. } => "cloze",
            Self::Perplexity { .. } => "perplexity",
            Self::Generation { .. } => "generation",
        }
    }
}
