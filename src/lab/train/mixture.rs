//! Which share of the trained tokens each source has, from which token on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::mixture_file::{FORMAT, MixtureFile, Shares, SourceRecord, StageRecord, UNIT};
use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::util::suggest::nearest;

/// How far a sum of shares may be from 1.
const SUM_TOLERANCE: f64 = 1e-6;
/// Whole numbers up to here are exact in f64.
const MAX_TOKENS: f64 = 9_007_199_254_740_992.0;

/// Shares that add up, of sources that are there.
#[derive(Debug, Clone, PartialEq)]
pub struct Mixture {
    sources: Vec<MixtureSource>,
    stages: Vec<Stage>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct MixtureSource {
    pub name: String,
    /// How often its tokens may be seen in a run, on average.
    pub max_repeat: Option<f64>,
}

/// Shares that hold from a token on, until the next stage starts.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    pub name: String,
    /// Tokens trained before it. The first stage starts at 0, each other one after the one before.
    pub start_tokens: u64,
    /// By source, in the order of [`Mixture::sources`]; they sum to 1.
    pub shares: Vec<f64>,
}

impl Mixture {
    /// Each source as large as it is: `sources` by name, with their tokens.
    ///
    /// # Errors
    /// No tokens at all; a name twice.
    pub fn natural(sources: &[(&str, u64)]) -> Result<Self> {
        let total: f64 = sources.iter().map(|(_, tokens)| *tokens as f64).sum();
        if total == 0.0 {
            return Err(Error::bad("expected sources with tokens, found none"));
        }
        let record = |&(name, tokens): &(&str, u64)| SourceRecord {
            name: name.to_owned(),
            available_tokens: Some(tokens as f64),
            q: tokens as f64 / total,
            ..SourceRecord::default()
        };
        Self::new(&Self::file(sources.iter().map(record).collect(), Vec::new()))
    }

    /// Reads and checks `mixture.json`.
    pub fn read(path: &Path) -> Result<Self> {
        Self::new(&MixtureFile::read(path)?).map_err(|error| error.in_file(path))
    }

    /// Checks what a file says.
    ///
    /// # Errors
    /// All of: a unit that is not tokens, names that are empty or there twice, shares that are negative, no numbers or do
    /// not sum to 1, stages without some source or with an unknown one, stages out of order.
    pub fn new(file: &MixtureFile) -> Result<Self> {
        let mut checker = Checker::default();
        let sources = checker.sources(file);
        let stages = checker.stages(file, &sources);
        Error::check(checker.problems)?;
        Ok(Self { sources, stages })
    }

    /// The mixture as a file, without what only readers need.
    pub fn to_file(&self) -> MixtureFile {
        // Without a stage that started there is no share; the last one is where the run ends.
        let last: &[f64] = self.stages.last().map_or(&[], |stage| &stage.shares);
        let source = |(source, &q): (&MixtureSource, &f64)| SourceRecord {
            name: source.name.clone(),
            q,
            max_repeat: source.max_repeat,
            ..SourceRecord::default()
        };
        let names = || self.sources.iter().map(|source| source.name.clone());
        let stage = |stage: &Stage| StageRecord {
            name: stage.name.clone(),
            start_tokens: stage.start_tokens as f64,
            q: Shares(names().zip(stage.shares.iter().copied()).collect()),
        };
        Self::file(self.sources.iter().zip(last).map(source).collect(), self.stages.iter().map(stage).collect())
    }

    fn file(sources: Vec<SourceRecord>, stages: Vec<StageRecord>) -> MixtureFile {
        let (format, unit) = (FORMAT.to_owned(), UNIT.to_owned());
        MixtureFile {
            format,
            unit,
            total_tokens: None,
            sequence_length: None,
            sources,
            stages,
            trust: None,
            floor: None,
        }
    }

    pub fn sources(&self) -> &[MixtureSource] {
        &self.sources
    }

    /// In order; at least one.
    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// The same mixture with its sources in the order of a corpus.
    ///
    /// # Errors
    /// Every source that the corpus has and the mixture does not name, and the other way round.
    pub fn in_order_of(&self, corpus: &[&str]) -> Result<Self> {
        let places: BTreeMap<&str, usize> =
            self.sources.iter().enumerate().map(|(place, source)| (source.name.as_str(), place)).collect();
        let known: BTreeSet<&str> = corpus.iter().copied().collect();
        let unnamed = known.iter().filter(|name| !places.contains_key(*name)).map(|name| {
            Diagnostic::new(format!("expected a share for each source of the corpus, found none for {name:?}"))
                .help("a share of 0 leaves a source out")
        });
        let strangers = places.keys().filter(|name| !known.contains(*name)).map(|name| unknown(name, &known));
        Error::check(unnamed.chain(strangers).collect())?;
        let order: Vec<usize> = corpus.iter().filter_map(|name| places.get(name).copied()).collect();
        let stage =
            |stage: &Stage| Stage { shares: order.iter().map(|&place| stage.shares[place]).collect(), ..stage.clone() };
        Ok(Self {
            sources: order.iter().map(|&place| self.sources[place].clone()).collect(),
            stages: self.stages.iter().map(stage).collect(),
        })
    }
}

/// A source that is named and not there.
fn unknown(name: &str, known: &BTreeSet<&str>) -> Diagnostic {
    let problem = Diagnostic::new(format!("unknown source {name:?}"));
    let known_names = || known.iter().take(20).map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
    problem.help(
        nearest(name, known.iter().copied())
            .map_or_else(|| format!("the sources are {}", known_names()), |near| format!("did you mean {near:?}?")),
    )
}

/// Collects what is wrong with a file.
#[derive(Default)]
struct Checker {
    problems: Vec<Diagnostic>,
}

impl Checker {
    fn expect(&mut self, holds: bool, place: &str, message: impl FnOnce() -> String) {
        if !holds {
            self.problems.push(Diagnostic::new(message()).at(place));
        }
    }

    fn sources(&mut self, file: &MixtureFile) -> Vec<MixtureSource> {
        self.expect(file.unit == UNIT, "unit", || format!("expected shares of {UNIT:?}, found {:?}", file.unit));
        self.expect(!file.sources.is_empty(), "sources", || "expected at least one source, found none".to_owned());
        let mut seen = BTreeSet::new();
        for (number, source) in file.sources.iter().enumerate() {
            let place = format!("sources[{number}]");
            let name = &source.name;
            self.expect(!name.is_empty(), &place, || "expected a name, found an empty one".to_owned());
            self.expect(seen.insert(name), &place, || format!("expected each source once, found {name:?} again"));
            if let Some(limit) = source.max_repeat {
                let holds = limit.is_finite() && limit > 0.0;
                let place = format!("{place} ({name}), max_repeat");
                self.expect(holds, &place, || format!("expected a number above 0, found {limit}"));
            }
        }
        let shares: Vec<(&str, f64)> = file.sources.iter().map(|source| (source.name.as_str(), source.q)).collect();
        self.shares("sources", &shares);
        let source = |source: &SourceRecord| MixtureSource { name: source.name.clone(), max_repeat: source.max_repeat };
        file.sources.iter().map(source).collect()
    }

    /// Each a share, and together 1.
    fn shares(&mut self, place: &str, shares: &[(&str, f64)]) {
        let mut whole = true;
        for (name, share) in shares {
            let holds = share.is_finite() && *share >= 0.0;
            whole &= holds;
            self.expect(holds, &format!("{place}, q of {name}"), || {
                format!("expected a share from 0 to 1, found {share}")
            });
        }
        let sum: f64 = shares.iter().map(|(_, share)| share).sum();
        let holds = !whole || shares.is_empty() || (sum - 1.0).abs() <= SUM_TOLERANCE;
        // As people wrote it, without the rounding of a sum.
        let shown = (sum * 1e9).round() / 1e9;
        self.expect(holds, &format!("{place}, q"), || format!("expected shares that sum to 1, found a sum of {shown}"));
    }

    fn stages(&mut self, file: &MixtureFile, sources: &[MixtureSource]) -> Vec<Stage> {
        if file.stages.is_empty() {
            let shares = normalised(file.sources.iter().map(|source| source.q).collect());
            return vec![Stage { name: "all".to_owned(), start_tokens: 0, shares }];
        }
        let known: BTreeSet<&str> = sources.iter().map(|source| source.name.as_str()).collect();
        let end = file.total_tokens.unwrap_or(f64::INFINITY);
        let mut seen = BTreeSet::new();
        let mut before: Option<f64> = None;
        let mut stages = Vec::new();
        for (number, stage) in file.stages.iter().enumerate() {
            let place = format!("stages[{number}] ({})", stage.name);
            self.expect(!stage.name.is_empty(), &place, || "expected a name, found an empty one".to_owned());
            self.expect(seen.insert(&stage.name), &place, || {
                format!("expected each name once, found {:?} again", stage.name)
            });
            let start = stage.start_tokens;
            let at = format!("{place}, start_tokens");
            let counts = start.fract() == 0.0 && (0.0..=MAX_TOKENS).contains(&start);
            self.expect(counts, &at, || format!("expected a whole number of tokens, found {start}"));
            if let (true, Some(before)) = (counts, before) {
                self.expect(start > before, &at, || {
                    format!("expected a start after the stage before ({before}), found {start}")
                });
            } else if counts {
                self.expect(start == 0.0, &at, || format!("expected the first stage to start at 0, found {start}"));
            }
            self.expect(!counts || start < end, &at, || {
                format!("expected a start before the end of the run ({end}), found {start}")
            });
            before = if counts { Some(start) } else { before.or(Some(0.0)) };

            let shares = self.stage_shares(&place, &stage.q, &known);
            let share = |source: &MixtureSource| shares.get(source.name.as_str()).copied().unwrap_or(0.0);
            stages.push(Stage {
                name: stage.name.clone(),
                start_tokens: start as u64,
                shares: normalised(sources.iter().map(share).collect()),
            });
        }
        stages
    }

    /// Shares of a stage by name: of every source, once.
    fn stage_shares<'a>(&mut self, place: &str, q: &'a Shares, known: &BTreeSet<&str>) -> BTreeMap<&'a str, f64> {
        let mut shares = BTreeMap::new();
        for (name, share) in &q.0 {
            if !known.contains(name.as_str()) {
                self.problems.push(unknown(name, known).at(format!("{place}, q")));
            }
            self.expect(shares.insert(name.as_str(), *share).is_none(), &format!("{place}, q"), || {
                format!("expected each source once, found {name:?} again")
            });
        }
        for name in known.iter().filter(|name| !shares.contains_key(*name)) {
            let message = format!("expected a share for each source, found none for {name:?}");
            let help = "a share of 0 leaves a source out";
            self.problems.push(Diagnostic::new(message).at(format!("{place}, q")).help(help));
        }
        let entries: Vec<(&str, f64)> = q.0.iter().map(|(name, share)| (name.as_str(), *share)).collect();
        self.shares(place, &entries);
        shares
    }
}

/// Shares that sum to 1 within the tolerance, as near to 1 as numbers can be: over a long run the rest would add up.
fn normalised(shares: Vec<f64>) -> Vec<f64> {
    let sum: f64 = shares.iter().sum();
    shares.into_iter().map(|share| share / sum).collect()
}

#[cfg(test)]
#[path = "tests_mixture.rs"]
mod tests;
