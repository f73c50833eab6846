//! Translation edit rate (Snover and others 2006) as sacrebleu 2.6 computes it, after Tercom: edits of words, where a
//! whole run may be moved for the price of one. Texts are compared in lower case and cut at white space. Memory grows
//! with the product of their lengths.

use super::words;

/// Longest run that is moved, and how far at most.
const MOST_WORDS: usize = 10;
const MOST_DISTANCE: usize = 50;
/// After so many tries no more moves are looked for.
const MOST_TRIES: usize = 1000;
/// How far from the diagonal edits are looked for.
const BEAM: usize = 25;

/// Edits and words of one answer; the rate of a corpus is the ratio of the sums.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Counts {
    /// Fewest edits over the references.
    pub edits: f64,
    /// Mean length of the references.
    pub reference: f64,
}

impl Counts {
    /// Counts of one answer. Without references everything is 0.
    pub fn of(answer: &str, references: &[impl AsRef<str>]) -> Self {
        let answer = answer.to_lowercase();
        let answer: Vec<&str> = words(&answer).collect();
        let (mut fewest, mut length) = (usize::MAX, 0);
        for reference in references {
            let reference = reference.as_ref().to_lowercase();
            let reference: Vec<&str> = words(&reference).collect();
            fewest = fewest.min(edits(&answer, &reference));
            length += reference.len();
        }
        if references.is_empty() {
            return Self::default();
        }
        Self { edits: fewest as f64, reference: length as f64 / references.len() as f64 }
    }

    /// Counts of a corpus.
    pub fn sum(counts: impl IntoIterator<Item = Self>) -> Self {
        counts
            .into_iter()
            .fold(Self::default(), |a, b| Self { edits: a.edits + b.edits, reference: a.reference + b.reference })
    }

    /// Edits for 100 words of the reference, 0 at best, without an upper bound. Against nothing, any word is 100.
    pub fn rate(&self) -> f64 {
        if self.reference > 0.0 {
            100.0 * self.edits / self.reference
        } else if self.edits > 0.0 {
            100.0
        } else {
            0.0
        }
    }
}

/// Moves as long as they help, then plain edits.
fn edits(answer: &[&str], reference: &[&str]) -> usize {
    if reference.is_empty() {
        return answer.len();
    }
    let (mut moves, mut tries) = (0, 0);
    let mut answer = answer.to_vec();
    while let Some(better) = best_move(&answer, reference, &mut tries) {
        answer = better;
        moves += 1;
    }
    moves + Alignment::of(&answer, reference).cost
}

/// The move that saves most edits, if one does and the tries are not used up.
fn best_move<'a>(answer: &[&'a str], reference: &[&str], tries: &mut usize) -> Option<Vec<&'a str>> {
    let now = Alignment::of(answer, reference);
    // Saved edits, length, and then the earlier place: Tercom's order. Of equals the one whose words sort last.
    let mut best: Option<(isize, usize, isize, isize, Vec<&str>)> = None;
    for (start, place, length) in common_runs(answer, reference) {
        let wrong = |flags: &[bool], from: usize| flags[from..from + length].contains(&true);
        let inside = start as isize <= now.place[place] && now.place[place] < (start + length) as isize;
        if !wrong(&now.answer_wrong, start) || !wrong(&now.reference_wrong, place) || inside {
            continue;
        }
        let mut previous = None;
        for offset in 0..=length {
            let target = match (place + offset).checked_sub(1) {
                None => 0,
                Some(before) => match now.place.get(before) {
                    Some(&position) => (position + 1) as usize,
                    None => break,
                },
            };
            if previous.replace(target) == Some(target) {
                continue;
            }
            let moved = moved(answer, start, length, target);
            let saved = now.cost as isize - Alignment::of(&moved, reference).cost as isize;
            let candidate = (saved, length, -(start as isize), -(target as isize), moved);
            *tries += 1;
            if best.as_ref().is_none_or(|best| candidate > *best) {
                best = Some(candidate);
            }
        }
        if *tries >= MOST_TRIES {
            break;
        }
    }
    best.filter(|(saved, ..)| *saved > 0 && *tries < MOST_TRIES).map(|(.., moved)| moved)
}

/// Start in the answer, start in the reference and length of every run of words that both have.
fn common_runs(answer: &[&str], reference: &[&str]) -> Vec<(usize, usize, usize)> {
    let mut runs = Vec::new();
    for start in 0..answer.len() {
        for place in (0..reference.len()).filter(|place| place.abs_diff(start) <= MOST_DISTANCE) {
            let common = super::edit::common_prefix(&answer[start..], &reference[place..]).min(MOST_WORDS);
            runs.extend((1..=common).map(|length| (start, place, length)));
        }
    }
    runs
}

/// The words with a run of them moved before the word at `target`.
fn moved<'a>(words: &[&'a str], start: usize, length: usize, target: usize) -> Vec<&'a str> {
    let run = &words[start..start + length];
    let (head, tail) = (&words[..start], &words[start + length..]);
    if target < start {
        [&words[..target], run, &words[target..start], tail].concat()
    } else if target > start + length {
        [head, &words[start + length..target], run, &words[target..]].concat()
    } else {
        // Within the run itself: it goes as far to the right.
        let cut = (target - start).min(tail.len());
        [head, &tail[..cut], run, &tail[cut..]].concat()
    }
}

/// The cheapest edits near the diagonal.
struct Alignment {
    cost: usize,
    /// For each word of the reference the index of the answer's word where it stands; -1 before the first.
    place: Vec<isize>,
    reference_wrong: Vec<bool>,
    answer_wrong: Vec<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Keep,
    Substitute,
    /// A word of the answer goes.
    Delete,
    /// A word of the reference comes.
    Insert,
    Unknown,
}

impl Alignment {
    fn of(answer: &[&str], reference: &[&str]) -> Self {
        let (rows, columns) = (answer.len(), reference.len());
        // More than any real cost, and safe to add to.
        let far = usize::MAX / 2;
        let mut table = vec![(far, Step::Unknown); (rows + 1) * (columns + 1)];
        let at = |row: usize, column: usize| row * (columns + 1) + column;
        for column in 0..=columns {
            table[at(0, column)] = (column, Step::Insert);
        }
        let slope = if rows == 0 { 1.0 } else { columns as f64 / rows as f64 };
        // Where the lengths differ wildly the beam must reach the row before.
        let beam = if (BEAM as f64) < slope / 2.0 { (slope / 2.0 + BEAM as f64).ceil() as usize } else { BEAM };
        for row in 1..=rows {
            let diagonal = (row as f64 * slope).floor() as usize;
            let end = if row == rows { columns + 1 } else { (columns + 1).min(diagonal + beam) };
            for column in diagonal.saturating_sub(beam)..end {
                let deletion = (table[at(row - 1, column)].0 + 1, Step::Delete);
                let cell = if column == 0 {
                    deletion
                } else {
                    let (price, step) =
                        if answer[row - 1] == reference[column - 1] { (0, Step::Keep) } else { (1, Step::Substitute) };
                    let kept = (table[at(row - 1, column - 1)].0 + price, step);
                    let insertion = (table[at(row, column - 1)].0 + 1, Step::Insert);
                    // Of equals the first.
                    [deletion, insertion]
                        .into_iter()
                        .fold(kept, |best, other| if other.0 < best.0 { other } else { best })
                };
                if cell.0 < far {
                    table[at(row, column)] = cell;
                }
            }
        }
        let cost = table[at(rows, columns)].0;
        let (mut row, mut column, mut steps) = (rows, columns, Vec::new());
        while row > 0 || column > 0 {
            let step = table[at(row, column)].1;
            match step {
                Step::Keep | Step::Substitute => (row, column) = (row - 1, column - 1),
                Step::Delete => row -= 1,
                Step::Insert => column -= 1,
                Step::Unknown => break,
            }
            steps.push(step);
        }
        let mut found = Self { cost, place: Vec::new(), reference_wrong: Vec::new(), answer_wrong: Vec::new() };
        for step in steps.into_iter().rev() {
            let wrong = step != Step::Keep;
            if step != Step::Insert {
                found.answer_wrong.push(wrong);
            }
            if step != Step::Delete {
                found.place.push(found.answer_wrong.len() as isize - 1);
                found.reference_wrong.push(wrong);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_move_costs_one() {
        let rate = |answer: &str, reference: &str| Counts::of(answer, &[reference]).rate();
        assert_eq!(rate("A b c", "a B c"), 0.0);
        assert_eq!(rate("d e a b c", "a b c d e"), 20.0);
        assert_eq!(rate("a b", "a b c d"), 50.0);
        assert_eq!((rate("", ""), rate("a", ""), rate("", "a")), (0.0, 100.0, 100.0));
        let many = Counts::of("a b c", &["a b", "a b c d"]);
        assert_eq!((many.edits, many.reference), (1.0, 3.0));
        assert_eq!(moved(&["a", "b", "c", "d"], 0, 2, 3), ["c", "a", "b", "d"]);
        assert_eq!(moved(&["a", "b", "c", "d"], 0, 2, 1), ["c", "a", "b", "d"]);
        assert_eq!(moved(&["a", "b", "c", "d"], 2, 1, 0), ["c", "a", "b", "d"]);
    }
}
