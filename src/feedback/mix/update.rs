//! The update: from a mixture and values to the next mixture, and what bound it.

use std::collections::BTreeSet;

use super::binding::Binding;
use super::bounds::Stretch;
use super::curriculum::{Curriculum, Run, StageUpdate};
use super::interval::intervals;
use super::round::WholeBounds;
use super::tilt::{Region, Solved, Stop, divergence};
use super::value::SourceValue;
use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::lab::train::{MixtureFile, Shares, SourceRecord, Stage, StageRecord, Trust};
use crate::util::suggest::nearest;

/// What the errors of the values alone may spend of the trust limit. So values about 2.4 errors large move a mixture
/// as far as values without errors do, and pure noise spends about a seventh of the limit.
const ERRORS_SHARE: f64 = 0.25;
/// How near to a bound a share is held by it.
const AT_BOUND: f64 = 1e-12;
/// How often the limit is lowered so that whole sequences keep it.
const ATTEMPTS: usize = 60;

/// What an update may do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule {
    /// Of `KL(q || q_prev)` of each stage, in nats.
    pub limit: f64,
    /// The least share of a source that had one.
    pub floor: f64,
    /// How often the run may see a source's tokens, in place of what the sources say. Without it, what they say, or 4.
    pub max_repeat: Option<f64>,
    /// Of the intervals.
    pub seed: u64,
}

impl Default for Rule {
    fn default() -> Self {
        Self { limit: 0.1, floor: 0.005, max_repeat: None, seed: 0 }
    }
}

/// The next mixture.
#[derive(Debug, Clone, PartialEq)]
pub struct Mixed {
    /// With the stages that stay and the new ones; the sources' own shares are those of the last one.
    pub file: MixtureFile,
    /// The new ones.
    pub stages: Vec<MixedStage>,
}

/// One new stage.
#[derive(Debug, Clone, PartialEq)]
pub struct MixedStage {
    pub name: String,
    pub start_tokens: u64,
    pub sequences: u64,
    pub eta: f64,
    /// `KL(q || q_prev)`, at most the limit.
    pub divergence: f64,
    pub bindings: Vec<Binding>,
    /// In the order of the mixture.
    pub sources: Vec<MixedSource>,
}

/// A source in a stage.
#[derive(Debug, Clone, PartialEq)]
pub struct MixedSource {
    pub name: String,
    pub before: f64,
    /// `sequences` of the stage's sequences.
    pub share: f64,
    pub interval: (f64, f64),
    pub sequences: u64,
    pub value: SourceValue,
    pub shrunk: f64,
    /// How often its tokens are seen until the end of the stage, where it is known how many there are.
    pub repeat: Option<f64>,
}

/// The mixture with new stages, each bounded by the one before it. A stage at 0 makes the mixture anew, from the
/// shares of its last stage; a later one keeps what was planned before it.
///
/// # Errors
/// All of: rules that are no numbers; no stages, or stages out of order; values without an error, of an unknown
/// source or missing for one. For a stage that cannot be met, both numbers: floors above caps, floors that sum to
/// more than 1, caps that sum to less, floors and caps beyond the trust limit, too few sequences for whole ones.
pub fn update(previous: &MixtureFile, run: Run, stages: &[StageUpdate], rule: Rule) -> Result<Mixed> {
    check(previous, run, stages, rule)?;
    let mut curriculum = Curriculum::new(previous, run, rule.max_repeat)?;
    let mut mixed = Vec::with_capacity(stages.len());
    for (number, stage) in stages.iter().enumerate() {
        let end = stages.get(number + 1).map(|next| next.start_tokens);
        let place = |error: Error| error.at(format!("stage {}", stage.name));
        if curriculum
            .stages
            .iter()
            .any(|earlier| earlier.start_tokens < stage.start_tokens && earlier.name == stage.name)
        {
            let message = format!("expected each stage's name once, found {:?} again", stage.name);
            return Err(place(Error::bad(message).help("an earlier stage of the mixture has it")));
        }
        let solved = solve(&curriculum, run, stage, end, rule).map_err(place)?;
        let shares = solved.sources.iter().map(|source| source.share).collect();
        curriculum.go_on(Stage { name: stage.name.clone(), start_tokens: stage.start_tokens, shares });
        mixed.push(solved);
    }
    Ok(Mixed { file: file(previous, run, &curriculum, &mixed, rule), stages: mixed })
}

fn check(previous: &MixtureFile, run: Run, stages: &[StageUpdate], rule: Rule) -> Result<()> {
    let mut problems = Vec::new();
    let mut expect = |holds: bool, place: &str, message: String| {
        if !holds {
            problems.push(Diagnostic::new(message).at(place));
        }
    };
    let Rule { limit, floor, max_repeat, .. } = rule;
    expect(limit.is_finite() && limit > 0.0, "limit", format!("expected a trust limit above 0, found {limit}"));
    expect((0.0..=1.0).contains(&floor), "floor", format!("expected a share from 0 to 1, found {floor}"));
    if let Some(most) = max_repeat {
        expect(most.is_finite() && most > 0.0, "max_repeat", format!("expected a number above 0, found {most}"));
    }
    expect(!stages.is_empty(), "stages", "expected at least one new stage, found none".to_owned());
    let mut before: Option<u64> = None;
    for stage in stages {
        let place = format!("stage {}", stage.name);
        expect(!stage.name.is_empty(), &place, "expected a name, found an empty one".to_owned());
        let start = stage.start_tokens;
        let from = before.map_or(0, |before| before + 1);
        let holds = start >= from && run.first_sequence(start) < run.sequences();
        let end = run.total_tokens;
        expect(holds, &place, format!("expected a start from {from} to a sequence before {end} tokens, found {start}"));
        before = Some(start);
        for source in &previous.sources {
            let name = &source.name;
            let Some(SourceValue { value, error }) = stage.values.get(name) else {
                expect(false, &place, format!("expected a value for each source, found none for {name:?}"));
                continue;
            };
            let numbers = value.is_finite() && error.is_finite() && *error >= 0.0;
            let found = format!("found {value} with an error of {error}");
            expect(numbers, &place, format!("expected a value of {name:?} and an error of at least 0, {found}"));
        }
        let known: BTreeSet<&str> = previous.sources.iter().map(|source| source.name.as_str()).collect();
        for name in stage.values.keys().filter(|name| !known.contains(name.as_str())) {
            let near =
                nearest(name, known.iter().copied()).map_or(String::new(), |near| format!("; did you mean {near:?}?"));
            expect(false, &place, format!("expected values of the mixture's sources, found one of {name:?}{near}"));
        }
    }
    Error::check(problems)
}

fn solve(curriculum: &Curriculum, run: Run, stage: &StageUpdate, end: Option<u64>, rule: Rule) -> Result<MixedStage> {
    let length = run.sequence_length as f64;
    let last = end.map_or(run.sequences(), |end| run.first_sequence(end));
    let sequences = last - run.first_sequence(stage.start_tokens);
    if sequences == 0 {
        return Err(Error::bad("expected a stage of at least one sequence, found none"));
    }
    let before = curriculum.shares_before(stage.start_tokens);
    let seen = curriculum.seen(stage.start_tokens);
    let stretch = Stretch {
        supplies: &curriculum.supplies,
        before: before.clone(),
        seen: seen.clone(),
        tokens_left: (run.sequences() - run.first_sequence(stage.start_tokens)) as f64 * length,
        floor: rule.floor,
    };
    let region = stretch.region()?;
    let values: Vec<SourceValue> =
        curriculum.supplies.iter().map(|supply| stage.values.get(&supply.name).copied().unwrap_or_default()).collect();
    let shrunk: Vec<f64> = values.iter().map(|value| value.shrunk()).collect();
    let ceiling = ceiling(&before, &values, rule.limit);
    let (solved, counts) = in_whole_sequences(&region, &shrunk, rule.limit, ceiling, sequences)?;
    let shares: Vec<f64> = counts.iter().map(|&count| count as f64 / sequences as f64).collect();
    let intervals = intervals(&region, &values, rule.limit, ceiling, &shares, rule.seed);
    let sources = counts.iter().zip(intervals).enumerate().map(|(source, (&count, interval))| {
        let supply = &curriculum.supplies[source];
        let tokens = seen[source] + count as f64 * length;
        MixedSource {
            name: supply.name.clone(),
            before: before[source],
            share: shares[source],
            interval,
            sequences: count,
            value: values[source],
            shrunk: shrunk[source],
            repeat: supply.available_tokens.filter(|available| *available > 0.0).map(|available| tokens / available),
        }
    });
    Ok(MixedStage {
        name: stage.name.clone(),
        start_tokens: stage.start_tokens,
        sequences,
        eta: solved.eta,
        divergence: divergence(&shares, &before),
        bindings: bindings(curriculum, &region, &values, &seen, &solved, rule),
        sources: sources.collect(),
    })
}

/// The largest eta that errors allow: values drawn from their errors alone would spend `eta^2 / 2 * sum p (1 - p)
/// se^2` of divergence, to second order.
fn ceiling(before: &[f64], values: &[SourceValue], limit: f64) -> f64 {
    let errors: f64 = before.iter().zip(values).map(|(share, value)| spread(*share, *value)).sum();
    (2.0 * ERRORS_SHARE * limit / errors).sqrt()
}

fn spread(share: f64, value: SourceValue) -> f64 {
    share * (1.0 - share) * value.error * value.error
}

/// The best shares that stay within the limit when they are whole sequences. Rounding may add to the divergence; the
/// limit of the real shares is lowered by what it added until it is kept.
fn in_whole_sequences(
    region: &Region,
    values: &[f64],
    limit: f64,
    ceiling: f64,
    sequences: u64,
) -> Result<(Solved, Vec<u64>)> {
    let nearest = divergence(&region.at(values, 0.0), &region.before);
    if nearest > limit {
        return Err(Error::bad(format!(
            "expected a mixture within the trust limit of {limit} nats, found that floors and repeat caps alone need \
             {nearest:.4}"
        ))
        .help("raise the limit, lower the floor or allow more repeats"));
    }
    let bounds = WholeBounds::new(&region.low, &region.high, sequences);
    if !bounds.leave_room(sequences) {
        let (low, high) = (bounds.low.iter().sum::<u64>(), bounds.high.iter().sum::<u64>());
        return Err(Error::bad(format!(
            "expected floors and repeat caps that {sequences} whole sequences can meet, found that they need at least \
             {low} and allow at most {high}"
        ))
        .help("train on more sequences, or lower the floor"));
    }
    let mut target = limit;
    for _ in 0..ATTEMPTS {
        let solved = region.solve(values, target, ceiling);
        let counts = bounds.round(&solved.shares, sequences);
        let whole: Vec<f64> = counts.iter().map(|&count| count as f64 / sequences as f64).collect();
        let excess = divergence(&whole, &region.before) - limit;
        if excess <= 0.0 {
            return Ok((solved, counts));
        }
        target = (target - 2.0 * excess).max(nearest).min(target);
        if target == nearest && solved.eta == 0.0 {
            break;
        }
    }
    Err(Error::bad(format!(
        "expected whole sequences within the trust limit of {limit} nats, found that {sequences} sequences are too few \
         for it"
    ))
    .help("raise the limit, or train on more sequences"))
}

fn bindings(
    curriculum: &Curriculum,
    region: &Region,
    values: &[SourceValue],
    seen: &[f64],
    solved: &Solved,
    rule: Rule,
) -> Vec<Binding> {
    let mut found = Vec::new();
    match solved.stop {
        Stop::Limit => found.push(Binding::Trust { divergence: solved.divergence, limit: rule.limit }),
        Stop::Level => found.push(Binding::Level),
        Stop::Ceiling => {
            let worst = |&a: &usize, &b: &usize| {
                spread(region.before[a], values[a]).total_cmp(&spread(region.before[b], values[b]))
            };
            let source = (0..values.len()).max_by(worst).unwrap_or(0);
            let name = curriculum.supplies[source].name.clone();
            found.push(Binding::Errors { eta: solved.eta, source: name, error: values[source].error });
        }
        Stop::Corner => {}
    }
    for (source, supply) in curriculum.supplies.iter().enumerate() {
        let (share, name) = (solved.shares[source], supply.name.clone());
        if region.before[source] == 0.0 {
            found.push(Binding::Absent { source: name });
        } else if region.low[source] > 0.0 && share <= region.low[source] + AT_BOUND {
            found.push(Binding::Floor { source: name, share });
        } else if let Some(available_tokens) =
            supply.available_tokens.filter(|_| share >= region.high[source] - AT_BOUND)
        {
            let (max_repeat, seen_tokens) = (supply.max_repeat, seen[source]);
            found.push(Binding::Repeats { source: name, share, max_repeat, available_tokens, seen_tokens });
        }
    }
    found
}

fn file(previous: &MixtureFile, run: Run, curriculum: &Curriculum, mixed: &[MixedStage], rule: Rule) -> MixtureFile {
    let last = &mixed[mixed.len() - 1];
    let seen = curriculum.seen(run.total_tokens);
    let source = |(number, (record, source)): (usize, (&SourceRecord, &MixedSource))| SourceRecord {
        q_prev: Some(source.before),
        q: source.share,
        q_lo: Some(source.interval.0),
        q_hi: Some(source.interval.1),
        w: Some(source.share),
        max_repeat: Some(curriculum.supplies[number].max_repeat),
        implied_repeat: record
            .available_tokens
            .filter(|available| *available > 0.0)
            .map(|tokens| seen[number] / tokens),
        value: Some(source.value.value),
        value_se: Some(source.value.error),
        ..record.clone()
    };
    let stage = |stage: &Stage| StageRecord {
        name: stage.name.clone(),
        start_tokens: stage.start_tokens as f64,
        q: Shares(previous.sources.iter().map(|s| s.name.clone()).zip(stage.shares.iter().copied()).collect()),
    };
    MixtureFile {
        format: previous.format.clone(),
        unit: previous.unit.clone(),
        total_tokens: Some(run.total_tokens as f64),
        sequence_length: Some(run.sequence_length),
        sources: previous.sources.iter().zip(&last.sources).enumerate().map(source).collect(),
        stages: curriculum.stages.iter().map(stage).collect(),
        trust: Some(Trust { kl_to_prev: last.divergence, limit: rule.limit }),
        floor: Some(rule.floor),
    }
}
