//! Scoring rules under one name, so that a number says how it was made.
//!
//! The same task gives different scores under different rules: where a continuation starts among the tokens, which
//! shots are drawn, how a tie is broken. Peers leave these implicit; here they are a record that every stored score
//! names by its id. `olmes` is the Open Language Model Evaluation Standard (Gu et al. 2024, arXiv 2406.08446), as
//! rendered in allenai/OLMo-in-loop-evals.

/// One set of rules.
#[derive(Debug, PartialEq, Eq)]
pub struct Profile {
    /// Stands in every record and table.
    pub id: &'static str,
    pub tokenise: Tokenise,
    /// Whether a rolling text keeps the beginning-of-sequence token that its encoding brings, although a prefix token
    /// stands before it anyway. The peer then predicts that token too.
    pub rolling_keeps_bos: bool,
    pub shots: ShotRule,
    /// Which rows a limit leaves.
    pub limit: LimitRule,
    /// What stands before a choice that is scored "without context", unless the task says.
    pub unconditional: &'static str,
    /// What the lengths count by which sums are divided.
    pub lengths: Lengths,
    pub stderr: Stderr,
    /// For people: normaliser, dtype and ties, truncation, beginning-of-sequence rule.
    pub summary: &'static str,
}

/// Where a continuation starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tokenise {
    /// After as many tokens as the context alone has (lm-evaluation-harness).
    ByLength,
    /// At the first token that reaches beyond the context (ours).
    ByOffsets,
}

/// Which few-shot examples an item gets, when they are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShotRule {
    /// CPython's Mersenne Twister, one stream per task, consumed item by item.
    PythonPerItem,
    /// One draw for all items of a task, so that they share a prefix and no score depends on limit, order or shard.
    OncePerTask,
    /// The head of `shots_file`, a list made for the task.
    FixedList,
}

/// Which rows are scored under a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitRule {
    Head,
    /// A sample in the order of the draw, by CPython's `random.Random(seed).sample`.
    PythonSample,
}

/// What is measured for scores per character and per byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lengths {
    /// The choice alone.
    Choice,
    /// All that is scored: the choice and the delimiter before it.
    Continuation,
}

/// Standard errors of metrics that are no means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stderr {
    /// The delta method.
    Delta,
    /// 100,000 bootstrap draws with Python's generator, as lm-evaluation-harness makes them; none for corpus
    /// perplexities.
    PythonBootstrap,
}

/// Every profile; the first is the default.
pub const PROFILES: &[Profile] = &[
    Profile {
        id: "veval-1",
        tokenise: Tokenise::ByOffsets,
        rolling_keeps_bos: false,
        shots: ShotRule::OncePerTask,
        limit: LimitRule::Head,
        unconditional: "",
        lengths: Lengths::Choice,
        stderr: Stderr::Delta,
        summary: "joint tokens cut by offsets; f32 log-softmax, f64 sums; first maximum wins, ties counted; left truncation; tokenizer's BOS",
    },
    Profile {
        id: "lm-eval@0.4.13",
        tokenise: Tokenise::ByLength,
        rolling_keeps_bos: true,
        shots: ShotRule::PythonPerItem,
        limit: LimitRule::Head,
        unconditional: "",
        lengths: Lengths::Choice,
        stderr: Stderr::PythonBootstrap,
        summary: "joint tokens cut by context length; f32 log-softmax, f64 sums; first maximum wins; left truncation; tokenizer's BOS; one worker",
    },
    Profile {
        id: "olmes",
        tokenise: Tokenise::ByLength,
        rolling_keeps_bos: true,
        shots: ShotRule::FixedList,
        limit: LimitRule::PythonSample,
        unconditional: "Answer:",
        lengths: Lengths::Continuation,
        stderr: Stderr::Delta,
        summary: "shots from a fixed list; lengths with the space before a choice; PMI after \"Answer:\"; a limit draws; joint tokens cut by context length",
    },
];

impl Profile {
    pub fn find(id: &str) -> Option<&'static Self> {
        PROFILES.iter().find(|profile| profile.id == id)
    }

    pub fn default_profile() -> &'static Self {
        &PROFILES[0]
    }
}
