//! lighteval's own unit-test data for metrics: every suite of `../shared/data/lighteval_metric_cases` is computed here
//! and compared at the file's own tolerance, or stands in a table with the reason why not.
//!
//! lighteval's runner passes some cases without comparing anything: metrics that it does not know by name, and values
//! that are inputs of a corpus metric. Where such a case is wrong, what lighteval's code really computes was recorded
//! (commit 3fd15266, by calling the metric's corpus function), and ours must equal that.

use std::sync::LazyLock;

use serde_json::Value;
use veval::metric::classify::Confusion;
use veval::metric::extract::{Extractor, Target, extractive_match};
use veval::metric::text::equality::{Part, matches, stripped};
use veval::metric::text::rouge::{Kind as Rouge, Stemming};
use veval::metric::text::{bag, bleu, chrf, drop, edit, fragments, normalise, plain_bleu, ter, treebank};
use veval::metric::{
    ChoiceOutcome, ChoiceScore, ClozeOutcome, Filter, MatchRules, Metric, Outcome, OutcomeKind, RollingOutcome,
    ranking, repeat, summarise,
};

#[path = "shared/mod.rs"]
mod shared;

/// Names and values, as `expected_output` has them; one value without a name for a corpus.
type Scores = Vec<(String, f64)>;

type Suite = (&'static str, fn(&Case) -> Scores);

/// Every suite that is computed, and how.
const SUITES: &[Suite] = &[
    ("acc_golds_likelihood", |case| one("acc", case.choice_metric("exact_match", 0..case.greedy().len()))),
    ("avg_at_k", |case| one("avg@k", average(case, |gold, answer| gold == answer))),
    ("avg_at_k_math", |case| one("avg@k", average(case, math))),
    ("bits_per_byte", |case| one("bits_per_byte", case.rolling("bits_per_byte"))),
    ("bleu", |case| {
        let counts: bleu::Counts = case.pairs().map(|(answer, golds)| bleu::Counts::of(answer, &golds[..1])).sum();
        corpus(counts.corpus_bleu())
    }),
    ("bleu_1", |case| one("bleu_1", nltk_bleu(case, &[1.0]))),
    ("bleu_4", |case| one("bleu_4", nltk_bleu(case, &[0.0, 0.0, 0.0, 1.0]))),
    ("byte_perplexity", |case| one("byte_perplexity", case.rolling("byte_perplexity"))),
    ("chrf", |case| {
        corpus(transposed(case, |answer, golds| chrf::Counts::of(chrf::Kind::Chrf, answer, golds).score()))
    }),
    ("chrf_plus", |case| {
        corpus(transposed(case, |answer, golds| chrf::Counts::of(chrf::Kind::ChrfPlusPlus, answer, golds).score()))
    }),
    ("copyright", copyright),
    ("drop", drop_scores),
    ("exact_match", |case| one("em", case.best(|gold, answer| truth(matches(Part::Whole, answer, gold, stripped))))),
    ("expr_gold_metric", |case| {
        one("extractive_match", case.best(|gold, answer| truth(found(&PLAIN, &BOX_FIRST, gold, answer, 5))))
    }),
    ("extractiveness", extractiveness),
    ("f1_score", |case| one("f1", case.best(|gold, answer| bag::set_f1(answer, gold)))),
    ("f1_score_macro", |case| corpus(case.labels().macro_f1().unwrap())),
    ("f1_score_micro", |case| corpus(case.labels().accuracy().unwrap())),
    ("g_pass_at_k", |case| g_pass(case, "", |gold, answer| gold.trim() == answer.trim())),
    ("g_pass_at_k_latex", |case| g_pass(case, "latex_", |gold, answer| found(&LATEX, &BOX_FIRST, gold, answer, 5))),
    ("g_pass_at_k_math", |case| g_pass(case, "math_", |gold, answer| found(&PLAIN, &BOX_FIRST, gold, answer, 5))),
    ("gpqa_instruct_metric", |case| {
        one("extractive_match", case.best(|gold, answer| truth(letter(case, true, gold, answer))))
    }),
    ("gpqa_instruct_pass_at_k", |case| one("gpqa_pass@k", pass(case, |gold, answer| letter(case, true, gold, answer)))),
    ("loglikelihood_acc", |case| one("acc", case.choice_metric("acc", case.gold_indices()))),
    ("loglikelihood_f1", |case| one("loglikelihood_f1", case.predicted().largest_f1().unwrap())),
    ("maj_at_k", |case| one("maj@k", majority(case))),
    ("mcc", |case| corpus(case.predicted().matthews_correlation().unwrap())),
    ("mrr", |case| one("mrr", ranking::reciprocal_rank(&case.log_probs(), &case.gold_indices()).unwrap())),
    ("multi_f1_numeric", |case| {
        let table = case.predicted();
        corpus((0..3).map(|class| table.one_against_all_accuracy(&class).unwrap()).sum::<f64>() / 3.0)
    }),
    ("pass_at_k", |case| one("pass@k", pass(case, |gold, answer| gold.trim() == answer.trim()))),
    ("pass_at_k_letters", |case| one("pass@k", pass(case, |gold, answer| letter(case, false, gold, answer)))),
    ("pass_at_k_math", |case| one("pass@k", pass(case, math))),
    ("prediction_perplexity", |case| one("ppl", case.perplexity())),
    ("recall_at_k", |case| {
        one("recall", truth(ranking::hit_at_k(&case.log_probs(), &case.gold_indices(), case.parameter("k"))))
    }),
    ("rouge1", |case| one("rouge1", rouge(case, Rouge::Runs(1)))),
    ("rouge2", |case| one("rouge2", rouge(case, Rouge::Runs(2)))),
    ("rougeL", |case| one("rougeL", rouge(case, Rouge::Subsequence))),
    ("rougeLsum", |case| one("rougeLsum", rouge(case, Rouge::Summary))),
    ("rouge_t5", rouge_t5),
    ("target_perplexity", |case| one("ppl", case.perplexity())),
    ("ter", |case| corpus(transposed(case, |answer, golds| ter::Counts::of(answer, golds).rate()))),
    ("truthfulqa_mc_metrics", truthfulqa),
    ("word_perplexity", |case| corpus(case.rolling("word_perplexity"))),
];

/// Suites that are not computed, and why.
const WITHOUT: &[(&str, &str)] = &[
    ("bert_score", "needs the weights of microsoft/deberta-large-mnli; lighteval's own runner skips it"),
    ("bleurt", "needs the weights of Elron/bleurt-tiny-512"),
    ("faithfulness", "needs a model of natural language inference (SummaC); lighteval's own runner skips it"),
    ("simpleqa_judge", "needs a language model as judge; lighteval's own runner skips it"),
];

/// Values that are wrong in the file: suite, case, name; what lighteval's code computes, if it does; and why.
const WRONG: &[(&str, &str, &str, Option<f64>, &str)] = &[
    ("bits_per_byte", "Basic Test", "bits_per_byte", Some(-0.051_524_822_888_246_55), UNCOMPARED),
    ("byte_perplexity", "Basic Test", "byte_perplexity", Some(0.967_216_100_482_005_6), UNCOMPARED),
    ("prediction_perplexity", "Basic Test", "ppl", Some(0.367_879_441_171_442_33), UNCOMPARED),
    ("target_perplexity", "Low Perplexity", "ppl", Some(1.822_118_800_390_509), UNCOMPARED),
    ("target_perplexity", "Moderate Perplexity", "ppl", Some(9.974_182_454_814_718), UNCOMPARED),
    ("target_perplexity", "High Perplexity", "ppl", Some(29.964_100_047_397_025), UNCOMPARED),
    ("target_perplexity", "Very High Perplexity", "ppl", Some(121.510_417_518_734_97), UNCOMPARED),
    ("target_perplexity", "Mixed Confidence", "ppl", Some(33.115_451_958_692_31), UNCOMPARED),
    (
        "truthfulqa_mc_metrics",
        "Multiple Gold Indices",
        "truthfulqa_mc2",
        None,
        "gold indices that do not begin after the first block make lighteval cut the list at -2, so that no choice is \
         right; both choices of the second block are, and their mass is 1",
    ),
];

const UNCOMPARED: &str = "lighteval's runner compares no value that is an input of a corpus metric; its corpus function \
                          gives another number for this input";

static PLAIN: LazyLock<Extractor> = LazyLock::new(|| Extractor::new(&[Target::Plain]));
static LATEX: LazyLock<Extractor> = LazyLock::new(|| Extractor::new(&[Target::Latex { boxed_first: false }]));
static BOTH: LazyLock<Extractor> =
    LazyLock::new(|| Extractor::new(&[Target::Plain, Target::Latex { boxed_first: false }]));
static BOX_FIRST: LazyLock<Extractor> =
    LazyLock::new(|| Extractor::new(&[Target::Plain, Target::Latex { boxed_first: true }]));

#[test]
fn every_suite_passes_or_says_why_not() {
    let Some(data) = shared::shared_data() else { return };
    let (mut checked, mut suites) = (0, 0);
    let mut problems = Vec::new();
    let mut met = vec![false; WRONG.len()];
    let mut files: Vec<_> = std::fs::read_dir(data.join("lighteval_metric_cases"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    for path in &files {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let suite: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let Some((_, compute)) = SUITES.iter().find(|(suite, _)| *suite == name) else {
            match WITHOUT.iter().find(|(suite, _)| *suite == name) {
                Some((_, why)) => println!("{name}: not computed, {why}"),
                None => problems.push(format!("{name} is in neither table")),
            }
            continue;
        };
        suites += 1;
        for case in suite["test_cases"].as_array().unwrap() {
            let title = case["name"].as_str().unwrap().rsplit(" - ").next().unwrap();
            let scores = compute(&Case(case));
            let expected = expected(case);
            let names = |pairs: &[(String, f64)]| pairs.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
            assert_eq!(names(&scores), names(&expected), "{name}, {title}");
            for ((key, found), (_, expected)) in scores.iter().zip(&expected) {
                let near = |a: f64, tolerance: f64| (found - a).abs() <= tolerance;
                let right = near(*expected, case["tolerance"].as_f64().unwrap_or(1e-9));
                let wrong =
                    WRONG.iter().position(|(suite, case, value, ..)| (*suite, *case, *value) == (name, title, key));
                match wrong.map(|index| (index, WRONG[index].3)) {
                    None if right => checked += 1,
                    None => problems.push(format!("{name}, {title}: {key} is {found}, not {expected}")),
                    Some(_) if right => problems.push(format!("{name}, {title}: {key} is right after all")),
                    Some((_, Some(peer))) if !near(peer, 1e-6 * peer.abs()) => {
                        problems.push(format!("{name}, {title}: {key} is {found}, lighteval has {peer}"));
                    }
                    Some((index, _)) => {
                        met[index] = true;
                        let why = WRONG[index].4;
                        println!("{name}, {title}: {key} is {found:.4}, not {expected}: {why}");
                    }
                }
            }
        }
    }
    problems
        .extend(WRONG.iter().zip(&met).filter(|(_, met)| !**met).map(|(entry, _)| format!("{entry:?} was not met")));
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    println!(
        "{} suites: {suites} computed, {} not; {checked} values as expected, {} wrong in the file",
        files.len(),
        files.len() - suites,
        WRONG.len()
    );
    assert!(suites == SUITES.len() && files.len() == SUITES.len() + WITHOUT.len() && checked > 200);
}

/// Names without the parameters behind them, in the order of the names.
fn expected(case: &Value) -> Scores {
    let number = |value: &Value| value.as_f64().or_else(|| value.as_bool().map(truth)).unwrap();
    match &case["expected_output"] {
        Value::Object(values) => {
            let mut scores: Scores = values
                .iter()
                .map(|(name, value)| (name.split(':').next().unwrap().to_owned(), number(value)))
                .collect();
            scores.sort_by(|a, b| a.0.cmp(&b.0));
            scores
        }
        value => corpus(number(value)),
    }
}

fn one(name: &str, value: f64) -> Scores {
    vec![(name.to_owned(), value)]
}

fn corpus(value: f64) -> Scores {
    one("", value)
}

fn truth(value: bool) -> f64 {
    f64::from(u8::from(value))
}

/// A case: one item, or several of a corpus.
struct Case<'a>(&'a Value);

impl<'a> Case<'a> {
    fn parameter(&self, name: &str) -> usize {
        usize::try_from(self.0["metric_params"][name].as_u64().unwrap()).unwrap()
    }

    fn items(&self) -> Vec<(&'a Value, &'a Value)> {
        match self.0["docs"].as_array() {
            Some(docs) => docs.iter().zip(self.0["model_responses"].as_array().unwrap()).collect(),
            None => vec![(&self.0["doc"], &self.0["model_response"])],
        }
    }

    fn doc(&self) -> &'a Value {
        self.items()[0].0
    }

    fn response(&self) -> &'a Value {
        self.items()[0].1
    }

    fn gold_indices(&self) -> Vec<usize> {
        gold_indices(self.doc())
    }

    fn golds(&self) -> Vec<&'a str> {
        golds(self.doc())
    }

    fn answers(&self) -> Vec<&'a str> {
        texts(&self.response()["text"])
    }

    fn log_probs(&self) -> Vec<f64> {
        log_probs(self.response())
    }

    fn greedy(&self) -> Vec<bool> {
        let flags = self.response()["argmax_logits_eq_gold"].as_array();
        flags.into_iter().flatten().map(|flag| flag.as_u64() == Some(1)).collect()
    }

    /// First answer and golds of every item.
    fn pairs(&self) -> impl Iterator<Item = (&'a str, Vec<&'a str>)> {
        self.items().into_iter().map(|(doc, response)| (texts(&response["text"])[0], golds(doc)))
    }

    /// The best score of any answer against any gold.
    fn best(&self, score: impl Fn(&str, &str) -> f64) -> f64 {
        let scores =
            self.golds().into_iter().flat_map(|gold| self.answers().into_iter().map(move |answer| (gold, answer)));
        scores.map(|(gold, answer)| score(gold, answer)).fold(0.0, f64::max)
    }

    /// First gold and first answer as classes.
    fn labels(&self) -> Confusion<&'a str> {
        Confusion::of(self.pairs().map(|(answer, golds)| (golds[0], answer)))
    }

    /// First gold index and the likeliest choice as classes. (With several gold indices scikit-learn refuses
    /// lighteval's call, and nobody compares: the file's values are those of the first.)
    fn predicted(&self) -> Confusion<usize> {
        Confusion::of(self.items().into_iter().map(|(doc, response)| {
            let scores = log_probs(response);
            let likeliest = (0..scores.len()).find(|&i| ranking::hit_at_k(&scores, &[i], 1)).unwrap();
            (gold_indices(doc)[0], likeliest)
        }))
    }

    /// A metric of veval over the choices of the item.
    fn choice_metric(&self, name: &str, gold: impl IntoIterator<Item = usize>) -> f64 {
        let (log_probs, greedy) = (self.log_probs(), self.greedy());
        let choices = (0..log_probs.len().max(greedy.len()))
            .map(|i| choice(log_probs.get(i).copied().unwrap_or(0.0), greedy.get(i).copied().unwrap_or(false)));
        item_metric(
            name,
            &Outcome::Choices(ChoiceOutcome { choices: choices.collect(), gold: gold.into_iter().collect() }),
        )
    }

    /// A metric of veval over whole texts; lighteval counts words and bytes of the query.
    fn rolling(&self, name: &str) -> f64 {
        let metric = Metric::find(OutcomeKind::Rolling, name).unwrap();
        let values: Vec<_> = self
            .items()
            .into_iter()
            .map(|(doc, response)| {
                let query = doc["query"].as_str().unwrap();
                let outcome = Outcome::Rolling(RollingOutcome {
                    log_probs: log_probs(response).into_iter().map(|x| x as f32).collect(),
                    words: veval::util::python::split_pieces(query),
                    bytes: query.len(),
                });
                metric.item(&outcome, &Filter::none(), &MatchRules::default()).unwrap()
            })
            .collect();
        summarise(metric, &values, None).value
    }

    /// Perplexity per target, as veval has it for cloze tasks.
    fn perplexity(&self) -> f64 {
        let metric = Metric::find(OutcomeKind::Cloze, "perplexity").unwrap();
        let log_probs = self.log_probs().into_iter().map(|x| x as f32).collect();
        let outcome = Outcome::Cloze(ClozeOutcome { log_probs, greedy: false, bytes: 1 });
        let value = metric.item(&outcome, &Filter::none(), &MatchRules::default()).unwrap();
        summarise(metric, &[value], None).value
    }
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().map(|text| text.as_str().unwrap()).collect()
}

fn log_probs(response: &Value) -> Vec<f64> {
    response["logprobs"].as_array().into_iter().flatten().map(|value| value.as_f64().unwrap()).collect()
}

fn gold_indices(doc: &Value) -> Vec<usize> {
    let index = |value: &Value| usize::try_from(value.as_u64().unwrap()).unwrap();
    match &doc["gold_index"] {
        Value::Array(indices) => indices.iter().map(index).collect(),
        value => vec![index(value)],
    }
}

fn golds(doc: &Value) -> Vec<&str> {
    let choices = texts(&doc["choices"]);
    gold_indices(doc).into_iter().map(|index| choices[index]).collect()
}

fn choice(log_prob: f64, greedy: bool) -> ChoiceScore {
    ChoiceScore { log_probs: vec![log_prob as f32], greedy, chars: 1, bytes: 1, unconditional: None }
}

fn item_metric(name: &str, outcome: &Outcome) -> f64 {
    let metric = Metric::find(OutcomeKind::Choices, name).unwrap();
    let value = metric.item(outcome, &Filter::none(), &MatchRules::default()).unwrap();
    summarise(metric, &[value], None).value
}

/// lighteval hands sacrebleu one list per item where it expects one per reference: only the first answer is scored, and
/// the golds of all items are its references. (Only `bleu` is handed over rightly.)
fn transposed(case: &Case, score: impl Fn(&str, &[&str]) -> f64) -> f64 {
    let pairs: Vec<_> = case.pairs().collect();
    let golds: Vec<&str> = pairs.iter().map(|(_, golds)| golds[0]).collect();
    score(pairs[0].0, &golds)
}

fn nltk_bleu(case: &Case, weights: &[f64]) -> f64 {
    let golds: Vec<Vec<String>> = case.golds().iter().map(|gold| treebank::nltk(gold)).collect();
    let scores =
        case.answers().into_iter().map(|answer| plain_bleu::sentence_bleu(&treebank::nltk(answer), &golds, weights));
    mean(scores)
}

fn rouge(case: &Case, kind: Rouge) -> f64 {
    let golds = case.golds();
    mean(
        case.answers()
            .into_iter()
            .flat_map(|answer| golds.iter().map(move |gold| kind.score(answer, gold, Stemming::None).f)),
    )
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let values: Vec<f64> = values.collect();
    values.iter().sum::<f64>() / values.len() as f64
}

/// Of one pair; lighteval's bootstrap of it can only draw itself.
fn rouge_t5(case: &Case) -> Scores {
    let (answer, gold) = (normalise::bigbench(case.answers()[0]), normalise::bigbench(case.golds()[0]));
    [
        ("rouge1", Rouge::Runs(1)),
        ("rouge2", Rouge::Runs(2)),
        ("rougeL", Rouge::Subsequence),
        ("rougeLsum", Rouge::Summary),
    ]
    .map(|(name, kind)| (name.to_owned(), 100.0 * kind.score(&answer, &gold, Stemming::None).f))
    .to_vec()
}

/// The reference is cut to as many characters as the answer has.
fn copyright(case: &Case) -> Scores {
    let answer = case.answers()[0].trim();
    let reference: String = case.golds()[0].chars().take(answer.chars().count()).collect();
    let (answer, reference) = (treebank::treebank(answer), treebank::treebank(&reference));
    vec![
        ("edit_distance".to_owned(), edit::distance(&answer, &reference) as f64),
        ("edit_similarity".to_owned(), edit::similarity(&answer, &reference)),
        ("longest_common_prefix_length".to_owned(), edit::common_prefix(&answer, &reference) as f64),
    ]
}

fn drop_scores(case: &Case) -> Scores {
    let answers: Vec<Vec<&str>> =
        texts(&case.doc()["specific"]["golds_no_preprocessing"]).into_iter().map(|gold| vec![gold]).collect();
    let scores = drop::scores(&case.answers(), &answers);
    vec![("em".to_owned(), scores.exact_match), ("f1".to_owned(), scores.f1)]
}

/// lighteval cuts with spaCy, which on these texts gives words and single punctuation marks.
fn extractiveness(case: &Case) -> Scores {
    let tokens = |text: &str| treebank::treebank(&text.replace('.', " . "));
    let text = case.doc()["specific"]["text"].as_str().unwrap();
    let found = fragments::extractiveness(&tokens(case.answers()[0]), &tokens(text));
    vec![
        ("summarization_compression".to_owned(), found.compression),
        ("summarization_coverage".to_owned(), found.coverage),
        ("summarization_density".to_owned(), found.density),
    ]
}

/// The first `len_mc1` choices are those of MC1, the others those of MC2; gold indices count through both.
fn truthfulqa(case: &Case) -> Scores {
    let cut = usize::try_from(case.doc()["specific"]["len_mc1"].as_u64().unwrap()).unwrap();
    let choices: Vec<ChoiceScore> = case.log_probs().into_iter().map(|log_prob| choice(log_prob, false)).collect();
    let outcome =
        |choices: &[ChoiceScore], gold: Vec<usize>| Outcome::Choices(ChoiceOutcome { choices: choices.to_vec(), gold });
    let right = case.gold_indices().into_iter().filter_map(|index| index.checked_sub(cut)).collect();
    vec![
        ("truthfulqa_mc1".to_owned(), item_metric("acc", &outcome(&choices[..cut], vec![0]))),
        ("truthfulqa_mc2".to_owned(), item_metric("mc2", &outcome(&choices[cut..], right))),
    ]
}

fn found(gold_in: &Extractor, answer_in: &Extractor, gold: &str, answer: &str, precision: u32) -> bool {
    extractive_match((gold_in, &[gold]), (answer_in, answer), precision)
}

fn math(gold: &str, answer: &str) -> bool {
    found(&BOTH, &BOTH, gold.trim(), answer.trim(), 6)
}

fn letter(case: &Case, anywhere: bool, gold: &str, answer: &str) -> bool {
    let choices = texts(&case.doc()["choices"]).len();
    let extractor = Extractor::new(&[Target::Letter { choices, anywhere }]);
    found(&extractor, &extractor, gold, answer, 6)
}

/// Which of the answers are right.
fn verdicts(case: &Case, right: impl Fn(&str, &str) -> bool) -> Vec<bool> {
    let gold = case.golds()[0];
    case.answers().into_iter().map(|answer| right(gold, answer)).collect()
}

fn average(case: &Case, right: impl Fn(&str, &str) -> bool) -> f64 {
    repeat::average_at_k(&verdicts(case, right), case.parameter("k")).unwrap()
}

fn majority(case: &Case) -> f64 {
    let answers = case.answers();
    truth(repeat::majority(&answers[..case.parameter("k")]) == Some(&case.golds()[0]))
}

fn pass(case: &Case, right: impl Fn(&str, &str) -> bool) -> f64 {
    let n = case.parameter("n");
    let c = verdicts(case, right).into_iter().take(n).filter(|right| *right).count();
    repeat::pass_at_k(n, c, case.parameter("k"))
}

fn g_pass(case: &Case, prefix: &str, right: impl Fn(&str, &str) -> bool) -> Scores {
    let (n, k) = (case.parameter("n"), case.parameter("k"));
    let c = verdicts(case, right).into_iter().take(n).filter(|right| *right).count();
    let thresholds = case.0["metric_params"]["thresholds"].as_array().unwrap();
    let mut scores: Scores = thresholds
        .iter()
        .map(|threshold| {
            let threshold = threshold.as_f64().unwrap();
            (format!("{prefix}g-pass@{k}_{threshold:?}"), repeat::g_pass_at_k(n, c, k, threshold))
        })
        .collect();
    scores.push((format!("m{prefix}g-pass@{k}"), repeat::mean_g_pass_at_k(n, c, k)));
    scores.sort_by(|a, b| a.0.cmp(&b.0));
    scores
}
