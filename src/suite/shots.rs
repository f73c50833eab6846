//! Which few-shot examples an item gets.

use super::profile::ShotRule;
use super::task::ShotOrder;
use crate::error::{Error, Result};
use crate::util::hash::seed_from;
use crate::util::python_random::PythonRandom;

/// Chooses `count` rows of a pool for every item.
///
/// `same(item, row)` tells whether a pool row is the item itself; `exclude` says whether such rows are kept out.
/// Under [`ShotRule::OncePerTask`] one draw serves all items: `count + 1` rows are drawn, and an item that is among
/// them gets the others. With `per_item` each item has a draw of its own, seeded by its position in the data.
///
/// # Errors
/// A pool that is too small.
pub fn choose_shots(
    rule: ShotRule,
    order: ShotOrder,
    per_item: bool,
    (task, seed): (&str, u64),
    (items, pool, count): (usize, usize, usize),
    exclude: bool,
    same: &dyn Fn(usize, usize) -> bool,
) -> Result<Vec<Vec<usize>>> {
    if count == 0 {
        return Ok(vec![Vec::new(); items]);
    }
    let needed = count + usize::from(exclude);
    if pool < needed {
        return Err(Error::bad(format!("expected at least {needed} rows to draw {count} shots from, found {pool}")));
    }
    let others = |item: usize, drawn: &[usize]| -> Vec<usize> {
        drawn.iter().copied().filter(|&row| !(exclude && same(item, row))).take(count).collect()
    };
    let without_item = |item: usize| -> Vec<usize> { (0..pool).filter(|&row| !same(item, row)).collect() };
    let too_few = |item: usize| {
        let message = format!("expected {count} shots other than the item, found fewer");
        Error::bad(message).at(format!("task {task}, item {item}"))
    };
    match (order, rule) {
        (ShotOrder::First, _) | (_, ShotRule::FixedList) => (0..items)
            .map(|item| {
                let head = others(item, &(0..pool).collect::<Vec<_>>());
                if head.len() < count { Err(too_few(item)) } else { Ok(head) }
            })
            .collect(),
        (ShotOrder::Random, ShotRule::PythonPerItem) => {
            let mut rng = PythonRandom::new(seed);
            (0..items)
                .map(|item| {
                    let chosen = others(item, &rng.sample(pool, needed));
                    if chosen.len() == count {
                        return Ok(chosen);
                    }
                    // Copies of the item took more than one place: the peer draws again from the rows without them.
                    let rest = without_item(item);
                    if rest.len() < count {
                        return Err(too_few(item));
                    }
                    Ok(rng.sample(rest.len(), count).into_iter().map(|index| rest[index]).collect())
                })
                .collect()
        }
        (ShotOrder::Random, ShotRule::OncePerTask) => {
            let stream = |item: Option<usize>| {
                let place = item.map_or_else(|| "all".to_owned(), |item| item.to_string());
                PythonRandom::new(seed_from(&["shots", task, &seed.to_string(), &place]))
            };
            let common = stream(None).sample(pool, needed);
            (0..items)
                .map(|item| {
                    let chosen = if per_item {
                        others(item, &stream(Some(item)).sample(pool, needed))
                    } else {
                        others(item, &common)
                    };
                    if chosen.len() == count {
                        return Ok(chosen);
                    }
                    let rest = without_item(item);
                    if rest.len() < count {
                        return Err(too_few(item));
                    }
                    Ok(stream(Some(item)).sample(rest.len(), count).into_iter().map(|index| rest[index]).collect())
                })
                .collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(rule: ShotRule, items: usize, pool: usize, per_item: bool, exclude: bool) -> Vec<Vec<usize>> {
        choose_shots(rule, ShotOrder::Random, per_item, ("t", 1234), (items, pool, 5), exclude, &|a, b| a == b).unwrap()
    }

    #[test]
    fn python_rule_consumes_one_stream_item_by_item() {
        let shots = choose(ShotRule::PythonPerItem, 2, 1000, false, false);
        assert_eq!(shots, [[989, 796, 451, 119, 7], [92, 932, 965, 961, 826]]);
    }

    #[test]
    fn an_item_is_never_its_own_shot() {
        for rule in [ShotRule::PythonPerItem, ShotRule::OncePerTask] {
            for (item, shots) in choose(rule, 30, 30, false, true).iter().enumerate() {
                assert!(shots.len() == 5 && !shots.contains(&item), "{rule:?} {item}: {shots:?}");
            }
        }
    }

    #[test]
    fn our_draw_does_not_depend_on_the_number_of_items() {
        let few = choose(ShotRule::OncePerTask, 3, 500, false, false);
        let many = choose(ShotRule::OncePerTask, 400, 500, false, false);
        assert!(few[0] == many[399] && few[2] == few[0]);
        let own = choose(ShotRule::OncePerTask, 3, 500, true, false);
        assert!(own[0] != own[1] && own[1] == choose(ShotRule::OncePerTask, 9, 500, true, false)[1]);
    }

    #[test]
    fn a_small_pool_is_refused() {
        let error =
            choose_shots(ShotRule::OncePerTask, ShotOrder::First, false, ("t", 1), (1, 3, 5), true, &|_, _| false)
                .unwrap_err();
        assert!(error.to_string().contains("expected at least 6 rows to draw 5 shots from, found 3"));
    }
}
