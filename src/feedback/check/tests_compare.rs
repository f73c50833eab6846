//! Effects of arms, seeds and items that are planted, nulls, and how often the intervals hold the truth.

use super::*;
use crate::lab::random::Stream;

fn normal(stream: &mut Stream) -> f64 {
    (-2.0 * (1.0 - stream.unit()).ln()).sqrt() * (std::f64::consts::TAU * stream.unit()).cos()
}

fn normals(stream: &mut Stream, count: usize) -> Vec<f64> {
    (0..count).map(|_| normal(stream)).collect()
}

fn arm(name: &str, scores: Vec<Vec<f64>>) -> Arm {
    Arm { name: name.to_owned(), scores }
}

fn task(name: &str, base: Vec<Vec<f64>>, other: Vec<Vec<f64>>) -> Task {
    Task { name: name.to_owned(), base: arm("unchanged", base), arms: vec![arm("tilted", other)] }
}

/// Deviations of the effects that seeds and items have on the difference, beside a rest of deviation one.
#[derive(Clone, Copy)]
struct Effects {
    seeds: f64,
    items: f64,
}

/// A task whose arm is better by `gain`; `by_seed` are the seeds' effects. Both arms share what seeds and items do to both.
fn drawn(stream: &mut Stream, gain: f64, by_seed: &[f64], items: usize, of_items: f64) -> Task {
    let (hardness, by_item) = (normals(stream, items), normals(stream, items));
    let (mut base, mut other) = (Vec::new(), Vec::new());
    for by_seed in by_seed {
        let luck = normal(stream);
        let plain: Vec<f64> = hardness.iter().map(|hardness| 3.0 * hardness + luck + normal(stream)).collect();
        let add = |(plain, item): (&f64, &f64)| plain + gain + by_seed + of_items * item + normal(stream);
        other.push(plain.iter().zip(&by_item).map(add).collect());
        base.push(plain);
    }
    task("arithmetic", base, other)
}

/// Share of 500 draws whose interval holds the gain, with five seeds and sixty items.
fn coverage(name: &str, effects: Effects) -> f64 {
    const ROUNDS: usize = 500;
    let mut stream = Stream::new(5, &["coverage", name]);
    let held = (0..ROUNDS).filter(|_| {
        let by_seed: Vec<f64> = (0..5).map(|_| effects.seeds * normal(&mut stream)).collect();
        let found = compare(&drawn(&mut stream, 0.3, &by_seed, 60, effects.items)).unwrap().remove(0);
        found.low <= 0.3 && 0.3 <= found.high
    });
    held.count() as f64 / ROUNDS as f64
}

#[test]
fn intervals_cover_whatever_dominates() {
    // Of the mean's variance the seeds have s^2 / 5, the items s^2 / 60, the rest 1 / 300.
    for (name, effects, most) in [
        ("seeds dominate", Effects { seeds: 1.0, items: 0.2 }, 0.98),
        ("items dominate", Effects { seeds: 0.02, items: 3.0 }, 0.98),
        ("both", Effects { seeds: 0.2, items: 0.7 }, 0.995),
        ("both are small", Effects { seeds: 0.1, items: 0.3 }, 0.995),
        ("neither", Effects { seeds: 0.0, items: 0.0 }, 0.995),
    ] {
        let share = coverage(name, effects);
        assert!((0.93..=most).contains(&share), "{name}: {share}");
    }
}

/// Null of right and wrong: two arms of the same accuracy, whose intervals exclude zero one time in twenty at most.
#[test]
fn equal_arms_are_rarely_told_apart() {
    let mut stream = Stream::new(6, &["null"]);
    let found = (0..500).filter(|_| {
        let chances: Vec<f64> = (0..60).map(|_| stream.unit()).collect();
        let mut draw = || -> Vec<Vec<f64>> {
            let mut run = || chances.iter().map(|&chance| f64::from(u8::from(stream.chance(chance)))).collect();
            (0..5).map(|_| run()).collect()
        };
        let (base, other) = (draw(), draw());
        let difference = compare(&task("null", base, other)).unwrap().remove(0);
        difference.low > 0.0 || difference.high < 0.0
    });
    let share = found.count() as f64 / 500.0;
    assert!((0.003..0.07).contains(&share), "{share}");
}

#[test]
fn a_planted_gain_is_found() {
    let mut stream = Stream::new(7, &["gain"]);
    let better = drawn(&mut stream, 0.5, &[0.0, 0.1, -0.1, 0.05, -0.05], 200, 0.3);
    let found = compare(&better).unwrap().remove(0);
    assert!((found.mean - 0.5).abs() < 0.12 && found.low > 0.3 && found.high < 0.7, "{found:?}");
    assert_eq!((found.arm.as_str(), found.seeds, found.items, found.wins), ("tilted", 5, 200, 5));
    assert!(found.covers_seeds());
    let mut swapped = better.clone();
    std::mem::swap(&mut swapped.base.scores, &mut swapped.arms[0].scores);
    let worse = compare(&swapped).unwrap().remove(0);
    assert!((worse.mean + found.mean).abs() < 1e-12 && (worse.low + found.high).abs() < 1e-12 && worse.wins == 0);
}

/// The table of a textbook's kind, by hand: rows (seeds) 1 2 3 and 3 4 8, so means 2 and 5 of seeds, 2, 3 and 5.5 of items.
#[test]
fn small_tables_by_hand() {
    let cells = vec![vec![1.0, 2.0, 3.0], vec![3.0, 4.0, 8.0]];
    let found = compare(&task("small", vec![vec![0.0; 3]; 2], cells)).unwrap().remove(0);
    // Squares: seeds 13.5 of 1, items 13 of 2, rest 3 of 2. Means of squares: 13.5, 6.5, 1.5.
    let (spread, rest, items) = (13.5 / 6.0, 1.5 / 6.0, (6.5 - 1.5) / 6.0);
    assert!((found.mean - 3.5).abs() < 1e-12);
    assert!((found.standard_error - f64::sqrt(spread + items)).abs() < 1e-12);
    // Student's quantiles of 1 and 2 degrees of freedom.
    let (t1, t2) = (12.706_204_736_432_095, 4.302_652_729_749_464);
    let half = f64::sqrt(f64::max(t1 * t1 * spread, t2 * t2 * rest) + t2 * t2 * items);
    assert!((found.high - found.mean - half).abs() < 1e-6, "{found:?}");
}

/// Seeds that look alike by chance are no licence: the rest alone bounds the interval from below.
#[test]
fn seeds_that_agree_exactly_do_not_shrink_the_interval_to_nothing() {
    let cells = vec![vec![1.0, 0.0, 0.0, 0.0], vec![0.0, 1.0, 0.0, 0.0], vec![0.0, 0.0, 1.0, 0.0]];
    let found = compare(&task("alike", vec![vec![0.0; 4]; 3], cells)).unwrap().remove(0);
    // Squares: 2.25 in all, seeds none, items 0.25 (less than their share of the rest), rest 2 of 6 degrees of freedom.
    assert!((found.standard_error - 1.0 / 6.0).abs() < 1e-12, "{found:?}");
    assert!(found.low < 0.0 && found.wins == 3);
}

#[test]
fn ties_are_no_wins() {
    let same = vec![vec![1.0, 0.0, 1.0]; 4];
    let found = compare(&task("ties", same.clone(), same)).unwrap().remove(0);
    assert_eq!((found.mean, found.standard_error, found.low, found.high, found.wins), (0.0, 0.0, 0.0, 0.0, 0));
}

/// Of one seed the interval is that of paired items.
#[test]
fn one_seed_speaks_of_items_only() {
    let mut stream = Stream::new(8, &["one seed"]);
    let one = drawn(&mut stream, 0.4, &[0.0], 50, 0.5);
    let found = compare(&one).unwrap().remove(0);
    let differences: Vec<f64> =
        one.arms[0].scores[0].iter().zip(&one.base.scores[0]).map(|(arm, base)| arm - base).collect();
    let wanted = crate::stats::mean(&differences);
    let (low, high) = wanted.interval.unwrap();
    assert!((found.mean - wanted.value).abs() < 1e-12);
    assert!((found.standard_error - wanted.stderr.unwrap()).abs() < 1e-12);
    assert!((found.low - low).abs() < 1e-9 && (found.high - high).abs() < 1e-9);
    assert!(found.seeds == 1 && !found.covers_seeds());
    let family = compare_family(&[one.clone(), one]).unwrap().mean.remove(0);
    assert!((family.standard_error - found.standard_error / 2f64.sqrt()).abs() < 1e-12, "items of their own");
}

#[test]
fn a_family_of_one_is_its_task_and_weights_are_equal() {
    let mut stream = Stream::new(9, &["weights"]);
    let by_seed = [0.1, 0.0, -0.1];
    let (small, large) = (drawn(&mut stream, 1.0, &by_seed, 20, 0.5), drawn(&mut stream, 0.0, &by_seed, 400, 0.5));
    let alone = compare_family(std::slice::from_ref(&small)).unwrap();
    assert_eq!((&alone.mean, &alone.tasks[0].differences), (&compare(&small).unwrap(), &compare(&small).unwrap()));
    let both = compare_family(&[small, large]).unwrap();
    let of = |task: usize| both.tasks[task].differences[0].mean;
    assert!((both.mean[0].mean - f64::midpoint(of(0), of(1))).abs() < 1e-12);
    assert_eq!((both.mean[0].items, both.mean[0].seeds), (420, 3));
}

/// Three tasks whose seed effects are the same, or cancel: the mean's interval covers, and is wide only where they add up.
#[test]
fn a_family_keeps_what_its_tasks_share_by_seed() {
    let mut stream = Stream::new(10, &["family"]);
    let rounds = 500;
    let mut widths = Vec::new();
    for signs in [[1.0, 1.0, 1.0], [1.0, -1.0, 0.0]] {
        let (mut held, mut width) = (0, 0.0);
        for _ in 0..rounds {
            let by_seed = normals(&mut stream, 5);
            let tasks: Vec<Task> = signs
                .iter()
                .map(|sign| {
                    let effects: Vec<f64> = by_seed.iter().map(|effect| sign * effect).collect();
                    drawn(&mut stream, 0.2, &effects, 30, 0.5)
                })
                .collect();
            let found = compare_family(&tasks).unwrap().mean.remove(0);
            held += i32::from(found.low <= 0.2 && 0.2 <= found.high);
            width += (found.high - found.low) / f64::from(rounds);
        }
        let share = f64::from(held) / f64::from(rounds);
        assert!((0.93..=0.995).contains(&share), "{signs:?}: {share}");
        widths.push(width);
    }
    assert!(widths[0] > 4.0 * widths[1], "{widths:?}");
}

#[test]
fn bad_tables_are_refused_by_name() {
    let text = |task: &Task| compare(task).unwrap_err().to_string();
    let base = vec![vec![0.0; 3]; 2];
    let mut bad = task("logic", base.clone(), vec![vec![0.0; 3], vec![0.0, f64::NAN]]);
    bad.arms.push(arm("random", vec![vec![0.0; 3]]));
    bad.arms.push(arm("random", base.clone()));
    let message = text(&bad);
    for wanted in [
        "task logic, arm tilted, seed 1: expected 3 items as in arm unchanged, seed 0, found 2",
        "task logic, arm tilted, seed 1, item 1: expected finite scores, found NaN",
        "task logic, arm random: expected 2 seeds as in arm unchanged, found 1",
        "task logic, arm random: expected arms of different names",
    ] {
        assert!(message.contains(wanted), "{message}");
    }
    assert!(text(&task("logic", vec![], vec![])).contains("arm unchanged: expected scores of at least one seed"));
    let one = vec![vec![0.0]; 2];
    assert!(text(&task("logic", one.clone(), one)).contains("seed 0: expected at least 2 items, found 1"));
    let lonely = Task { arms: vec![], ..task("logic", base.clone(), base.clone()) };
    assert!(text(&lonely).contains("task logic: expected at least one arm beside the base, found none"));
    assert!(compare_family(&[]).unwrap_err().to_string().contains("at least one task"));
    let mut other = task("facts", vec![vec![0.0; 9]; 3], vec![vec![0.0; 9]; 3]);
    other.arms[0].name = "random".to_owned();
    let message = compare_family(&[task("logic", base.clone(), base), other]).unwrap_err().to_string();
    for wanted in [
        "task facts: expected the arms of task logic, [unchanged, tilted], found [unchanged, random]",
        "task facts, arm unchanged: expected 2 seeds as in task logic, found 3",
    ] {
        assert!(message.contains(wanted), "{message}");
    }
}

#[test]
fn differences_are_written_under_their_names() {
    let found = compare(&task("json", vec![vec![0.0, 1.0]; 2], vec![vec![1.0, 1.0]; 2])).unwrap();
    let json = serde_json::to_value(&found[0]).unwrap();
    let keys: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["arm", "mean", "standard_error", "low", "high", "seeds", "items", "wins"]);
}
