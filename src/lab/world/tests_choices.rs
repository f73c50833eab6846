//! Choices where they can be balanced, and where they cannot.

use std::collections::BTreeSet;

use super::choices::{CHOICES, Candidate, Candidates, ELSEWHERE, choose};
use super::random::Stream;

fn candidate(entity: usize, stated: usize) -> Candidate {
    Candidate { entity, stated, elsewhere: [stated; ELSEWHERE] }
}

/// Questions whose right answer is one of ten, of which each is stated more often than the one before.
fn questions(right: impl Fn(usize) -> usize) -> Vec<Candidates> {
    let question = |number: usize| {
        let right = right(number);
        let wrong = (0..10).filter(|&entity| entity != right).map(|entity| candidate(entity, 5 * entity)).collect();
        Candidates { group: "all", right: candidate(right, 5 * right), wrong }
    };
    (0..80).map(question).collect()
}

/// How often the right answer is the one of this rank from the most stated.
fn ranks(chosen: &[(Vec<usize>, usize)]) -> [usize; CHOICES] {
    let mut ranks = [0; CHOICES];
    for (choices, place) in chosen {
        assert_eq!(choices.iter().collect::<BTreeSet<_>>().len(), CHOICES);
        ranks[choices.iter().filter(|&&choice| choice > choices[*place]).count()] += 1;
    }
    ranks
}

#[test]
fn the_right_answer_has_every_rank_as_often() {
    let questions = questions(|number| (number * 7) % 10);
    let chosen = choose(&questions, &mut Stream::new(1, &["choices"]));
    assert_eq!(ranks(&chosen), [20; 4]);
    for (question, (choices, place)) in questions.iter().zip(&chosen) {
        assert_eq!(choices[*place], question.right.entity);
    }
    for place in 0..CHOICES {
        assert_eq!(chosen.iter().filter(|(_, right)| *right == place).count(), 20);
    }
}

#[test]
fn an_answer_that_is_stated_most_of_all_can_only_be_first() {
    let chosen = choose(&questions(|_| 9), &mut Stream::new(1, &["choices"]));
    assert_eq!(ranks(&chosen), [80, 0, 0, 0]);
}

#[test]
fn answers_that_are_never_stated_stand_among_others_that_never_are() {
    let wrong = (1..9).map(|entity| candidate(entity, 10 * (entity % 2))).collect();
    let question = Candidates { group: "all", right: candidate(0, 0), wrong };
    let chosen = choose(&[question], &mut Stream::new(1, &["choices"]));
    assert!(chosen[0].0.iter().all(|entity| entity % 2 == 0));
}
