//! Wrong answers that give nothing away: the right one is as often stated as they are.

use super::random::Stream;

/// Choices of a question with one right answer.
pub(super) const CHOICES: usize = 4;
/// Draws of wrong answers of which the best is taken.
const DRAWS: usize = 24;

/// Other numbers that are balanced as far as that goes.
pub(super) const ELSEWHERE: usize = 2;

/// An answer that could be right.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub entity: usize,
    /// How often it is stated as an answer to just this sort of question.
    pub stated: usize,
    /// Other numbers by which a guesser could choose: it is stated that often elsewhere.
    pub elsewhere: [usize; ELSEWHERE],
}

/// What may be answered to a question.
pub(super) struct Candidates {
    /// Questions of a group are balanced among themselves.
    pub group: &'static str,
    pub right: Candidate,
    /// At least three.
    pub wrong: Vec<Candidate>,
}

/// The choices of every question, in the order to show them, and the place of the right one.
///
/// Wrong answers are as often stated as the right one, if there are enough such. Otherwise the right answer is, in each
/// group, equally often the most stated of the choices, the second most, and so on, as far as there are candidates for
/// that. So whoever picks the most frequent choice is right by chance only. The same is aimed at for how often an
/// answer is stated elsewhere. And the right answer is equally often in each place.
pub(super) fn choose(questions: &[Candidates], stream: &mut Stream) -> Vec<(Vec<usize>, usize)> {
    let mut chosen = vec![(Vec::new(), 0); questions.len()];
    let mut groups: Vec<&str> = questions.iter().map(|question| question.group).collect();
    groups.sort_unstable();
    groups.dedup();
    for group in groups {
        let mut members: Vec<(usize, Ranked)> = Vec::new();
        for (number, question) in questions.iter().enumerate().filter(|(_, question)| question.group == group) {
            members.push((number, Ranked::new(question, stream)));
        }
        stream.shuffle(&mut members);
        // Whoever has the least freedom goes first.
        members.sort_by_key(|(_, ranked)| ranked.possible().count());
        let mut places: Vec<usize> = (0..members.len()).map(|n| n % CHOICES).collect();
        stream.shuffle(&mut places);
        let (mut used, mut used_elsewhere) = ([0; CHOICES], [[0; CHOICES]; ELSEWHERE]);
        for ((number, ranked), place) in members.iter().zip(places) {
            let right = questions[*number].right;
            let wrong = if ranked.equal.len() < CHOICES - 1 {
                let drawn = ranked.balanced(right, &used, &used_elsewhere, stream);
                used[drawn.rank] += 1;
                for (used, rank) in used_elsewhere.iter_mut().zip(drawn.ranks_elsewhere) {
                    used[rank] += 1;
                }
                drawn.wrong
            } else {
                stream.sample(&ranked.equal, CHOICES - 1)
            };
            let mut choices: Vec<usize> = wrong.iter().map(|candidate| candidate.entity).collect();
            choices.insert(place.min(choices.len()), right.entity);
            chosen[*number] = (choices, place);
        }
    }
    chosen
}

/// Wrong answers by whether they are stated more often than the right one.
struct Ranked {
    /// As often.
    equal: Vec<Candidate>,
    /// More often, or as often by luck.
    more: Vec<Candidate>,
    /// Less often, or as often by luck.
    less: Vec<Candidate>,
}

impl Ranked {
    fn new(question: &Candidates, stream: &mut Stream) -> Self {
        let right = question.right.stated;
        let equal = question.wrong.iter().copied().filter(|candidate| candidate.stated == right).collect();
        let (more, less) = question
            .wrong
            .iter()
            .partition(|candidate| candidate.stated > right || (candidate.stated == right && stream.chance(0.5)));
        Self { equal, more, less }
    }

    /// How many of the choices may be more frequent than the right one.
    fn possible(&self) -> impl Iterator<Item = usize> + '_ {
        (0..CHOICES).filter(|&rank| rank <= self.more.len() && CHOICES - 1 - rank <= self.less.len())
    }

    /// Three wrong answers with ranks of the right one that were used least so far; the first rank matters most.
    fn balanced(
        &self,
        right: Candidate,
        used: &[usize; CHOICES],
        used_elsewhere: &[[usize; CHOICES]; ELSEWHERE],
        stream: &mut Stream,
    ) -> Drawn {
        let least = self.possible().map(|rank| used[rank]).min().unwrap_or(0);
        let ranks: Vec<usize> = self.possible().filter(|&rank| used[rank] == least).collect();
        let draws: Vec<Drawn> = (0..DRAWS).map(|_| self.draw(right, *stream.pick(&ranks), stream)).collect();
        let cost = |drawn: &Drawn| -> usize {
            used_elsewhere.iter().zip(drawn.ranks_elsewhere).map(|(used, rank)| used[rank]).sum()
        };
        draws.into_iter().min_by_key(cost).unwrap_or_default()
    }

    fn draw(&self, right: Candidate, rank: usize, stream: &mut Stream) -> Drawn {
        let mut wrong = stream.sample(&self.more, rank);
        wrong.extend(stream.sample(&self.less, CHOICES - 1 - rank));
        stream.shuffle(&mut wrong);
        let ranks_elsewhere = std::array::from_fn(|number| {
            // Between equals the number of the entity decides, which is as good as luck.
            let key = |candidate: &Candidate| (candidate.elsewhere[number], candidate.entity);
            wrong.iter().filter(|candidate| key(candidate) > key(&right)).count()
        });
        Drawn { wrong, rank, ranks_elsewhere }
    }
}

/// Wrong answers for a question, and how many of them are stated more often than the right one.
#[derive(Default)]
struct Drawn {
    wrong: Vec<Candidate>,
    rank: usize,
    ranks_elsewhere: [usize; ELSEWHERE],
}
