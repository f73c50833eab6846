//! How far training was, as people write it into names: `step1000-tokens4B`, `checkpoint-2000`, `iter_0000300`,
//! `epoch=3-step=1500.ckpt`, `step10k`, `4B-tokens`.
//!
//! A name is cut into words, numbers and single signs, and only whole words count: `footstep7` and `criteria-7` say
//! nothing, and neither does `mycheckpoint-7B`, whose number is a size.

/// What a name says; nothing where it says nothing, or more than one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Optimizer steps.
    pub step: Option<u64>,
    /// Training tokens seen.
    pub tokens: Option<u64>,
}

/// Words before a number of steps: those of an earlier line win; within a line, the last one in the name.
const STEP_WORDS: &[&[&str]] = &[
    &["step", "steps", "globalstep"],
    &["iteration", "iterations", "iter", "iters"],
    &["checkpoint", "checkpoints", "ckpt"],
];
const TOKEN_WORDS: &[&str] = &["tokens", "token"];

/// Letter behind a number, and its power of ten.
type Units = &'static [(char, u32)];
/// A step has no billions: the number of `checkpoint-7B` is the size of a model.
const STEP_UNITS: Units = &[('k', 3), ('m', 6)];
const TOKEN_UNITS: Units = &[('k', 3), ('m', 6), ('b', 9), ('t', 12)];

impl Progress {
    /// Reads a name of a folder, file or revision.
    pub fn from_name(name: &str) -> Self {
        let pieces = pieces(&name.to_ascii_lowercase());
        Self { step: step(&pieces), tokens: tokens(&pieces) }
    }

    /// What of a name stands before its first step or number of tokens: `pythia-160m` of `pythia-160m-step3000`.
    pub fn name_before(name: &str) -> &str {
        let pieces = pieces(&name.to_ascii_lowercase());
        let speaks = |index: &usize| {
            let (here, behind) = (&pieces[*index], &pieces[index + 1..]);
            let says = |words: &[&str], units| here.is_one_of(words) && after(behind, units).is_some();
            STEP_WORDS.iter().any(|words| says(words, STEP_UNITS))
                || says(TOKEN_WORDS, TOKEN_UNITS)
                || before(&pieces[*index..]).is_some()
        };
        let end = (0..pieces.len()).find(speaks).unwrap_or(pieces.len());
        let length: usize = pieces[..end].iter().map(Piece::length).sum();
        name[..length].trim_end_matches(['-', '_', '.', ' ', '@', '='])
    }

    /// What this says, and where it says nothing, what `other` says.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self { step: self.step.or(other.step), tokens: self.tokens.or(other.tokens) }
    }
}

#[derive(Debug, PartialEq)]
enum Piece {
    /// Letters.
    Word(String),
    /// Digits, perhaps with a point and more digits.
    Number(String),
    Sign(char),
}

impl Piece {
    fn is_one_of(&self, words: &[&str]) -> bool {
        matches!(self, Self::Word(word) if words.contains(&word.as_str()))
    }

    /// Bytes in the name.
    fn length(&self) -> usize {
        match self {
            Self::Word(text) | Self::Number(text) => text.len(),
            Self::Sign(sign) => sign.len_utf8(),
        }
    }
}

fn pieces(name: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let run = |test: fn(char) -> bool| rest.find(|c| !test(c)).unwrap_or(rest.len());
        let (piece, length) = if first.is_alphabetic() {
            let end = run(char::is_alphabetic);
            (Piece::Word(rest[..end].to_owned()), end)
        } else if first.is_ascii_digit() {
            let whole = run(|c| c.is_ascii_digit());
            let after = rest[whole..].strip_prefix('.').unwrap_or("");
            let fraction = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
            let end = if fraction > 0 { whole + 1 + fraction } else { whole };
            (Piece::Number(rest[..end].to_owned()), end)
        } else {
            (Piece::Sign(first), first.len_utf8())
        };
        pieces.push(piece);
        rest = &rest[length..];
    }
    pieces
}

fn step(pieces: &[Piece]) -> Option<u64> {
    if let [Piece::Number(digits)] = pieces {
        return count(digits, 0);
    }
    STEP_WORDS.iter().find_map(|words| last_after(pieces, words, STEP_UNITS))
}

fn tokens(pieces: &[Piece]) -> Option<u64> {
    last_after(pieces, TOKEN_WORDS, TOKEN_UNITS)
        .or_else(|| (0..pieces.len()).rev().find_map(|index| before(&pieces[index..])))
}

/// The number behind the last of these words that has one.
fn last_after(pieces: &[Piece], words: &[&str], units: Units) -> Option<u64> {
    (0..pieces.len())
        .rev()
        .filter(|&index| pieces[index].is_one_of(words))
        .find_map(|index| after(&pieces[index + 1..], units))
}

/// `1000`, `-1000`, `=10k` at the head of what follows a word.
fn after(pieces: &[Piece], units: Units) -> Option<u64> {
    let signs = pieces.iter().take_while(|piece| matches!(piece, Piece::Sign('-' | '_' | '=' | ':' | ' '))).count();
    match &pieces[signs..] {
        // `checkpoint_3_1500` is an epoch and a step, or something else.
        [Piece::Number(_), Piece::Sign('_'), Piece::Number(_), ..] => None,
        [Piece::Number(digits), Piece::Word(word), ..] => match unit(word, units) {
            Some((power, "")) => count(digits, power),
            _ if word.chars().count() == 1 => None,
            _ => count(digits, 0),
        },
        [Piece::Number(digits), ..] => count(digits, 0),
        _ => None,
    }
}

/// `4btokens`, `4b-tokens`, `1000tokens` at the head. A sign between a bare number and the word belongs to something
/// else: `step1000-tokens`.
fn before(pieces: &[Piece]) -> Option<u64> {
    let is_word = |word: &str| TOKEN_WORDS.contains(&word);
    match pieces {
        [Piece::Number(digits), Piece::Word(word), ..] if is_word(word) => count(digits, 0),
        [Piece::Number(digits), Piece::Word(word), rest @ ..] => match (unit(word, TOKEN_UNITS)?, rest) {
            ((power, ""), [Piece::Sign(_), Piece::Word(next), ..]) if is_word(next) => count(digits, power),
            ((power, glued), _) if is_word(glued) => count(digits, power),
            _ => None,
        },
        _ => None,
    }
}

/// The power of ten that a word begins with, and the rest of the word.
fn unit(word: &str, units: Units) -> Option<(u32, &str)> {
    units.iter().find_map(|(letter, power)| Some((*power, word.strip_prefix(*letter)?)))
}

/// `digits` times a power of ten, if it is a whole number that fits.
fn count(digits: &str, power: u32) -> Option<u64> {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = fraction.trim_end_matches('0');
    let missing = power.checked_sub(u32::try_from(fraction.len()).ok()?)?;
    [whole, fraction].concat().parse::<u64>().ok()?.checked_mul(10u64.checked_pow(missing)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str) -> (Option<u64>, Option<u64>) {
        let Progress { step, tokens } = Progress::from_name(name);
        (step, tokens)
    }

    #[test]
    fn the_fields_names_are_read() {
        let cases: &[(&str, Option<u64>, Option<u64>)] = &[
            ("step1000", Some(1000), None),
            ("step_1000", Some(1000), None),
            ("Step-1000", Some(1000), None),
            ("step=1000", Some(1000), None),
            ("global_step93000", Some(93_000), None),
            ("globalstep12", Some(12), None),
            ("checkpoint-2000", Some(2000), None),
            ("iter_0000300", Some(300), None),
            ("iteration 7", Some(7), None),
            ("epoch=3-step=1500.ckpt", Some(1500), None),
            ("ckpt-20.gguf", Some(20), None),
            ("step10k", Some(10_000), None),
            ("step1.5k", Some(1500), None),
            ("step1M-seed3", Some(1_000_000), None),
            ("13000", Some(13_000), None),
            ("step1000-tokens4B", Some(1000), Some(4_000_000_000)),
            ("stage1-step928646-tokens3896B", Some(928_646), Some(3_896_000_000_000)),
            ("tokens-4B", None, Some(4_000_000_000)),
            ("tokens_4.2b", None, Some(4_200_000_000)),
            ("tokens=1T", None, Some(1_000_000_000_000)),
            ("tokens4000", None, Some(4000)),
            ("300B-tokens", None, Some(300_000_000_000)),
            ("run-8.6Btokens", None, Some(8_600_000_000)),
            ("100M_tokens_step5", Some(5), Some(100_000_000)),
            ("checkpoint-5-step-1000", Some(1000), None),
            ("step1-recipe-step5000", Some(5000), None),
            ("12b_step143000", Some(143_000), None),
        ];
        for (name, step, tokens) in cases {
            assert_eq!(read(name), (*step, *tokens), "{name}");
        }
    }

    #[test]
    fn other_names_say_nothing() {
        let names = [
            "",
            "main",
            "pythia-160m",
            "pythia-v1.1-70m",
            "footstep7",
            "criteria-7",
            "timestep100",
            "mycheckpoint-7B",
            "checkpoint-7B",
            "checkpoint_3_1500",
            "step",
            "step-final",
            "step1.5",
            "step99999999999999999999",
            "tokens99999999T",
            "two-step-recipe",
            "3.5",
            "trillion-tokens",
            "détokens4B",
            "ⅳstep5",
        ];
        for name in names {
            assert_eq!(read(name), (None, None), "{name}");
        }
        assert_eq!(read("step1000-tokens"), (Some(1000), None));
        assert_eq!(read("step-by-step-model-step12"), (Some(12), None));
    }

    #[test]
    fn the_rest_of_a_name_is_its_own() {
        let before = Progress::name_before;
        assert_eq!(before("pythia-160m-step3000"), "pythia-160m");
        assert_eq!(before("OLMo-7B_4Btokens"), "OLMo-7B");
        assert_eq!(before("step1000-tokens4B"), "");
        assert_eq!(before("Größe-7B"), "Größe-7B");
        assert_eq!(before("two-step-recipe"), "two-step-recipe");
    }

    #[test]
    fn the_first_speaker_wins() {
        let name = Progress::from_name("step5").or(Progress::from_name("step6-tokens1M"));
        assert_eq!(name, Progress { step: Some(5), tokens: Some(1_000_000) });
    }
}
