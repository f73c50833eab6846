//! Requests through a backend: generation stops where it should, interventions ride on any request, and a model that
//! knows nothing scores at chance.

use std::path::{Path, PathBuf};

use veval::ckpt::discover;
use veval::kernels::tape::Tape;
use veval::lm::{Fake, LanguageModel, Local, LocalOptions, cpu};
use veval::request::site::BlockSite;
use veval::request::{
    Ask, Edit, EditOp, GradAt, GradSpan, Plan, Positions, Request, Response, Sampling, Sharing, Site,
};
use veval::run::{Prepared, PreparedTask, RunOptions, Silent, encode, run_checkpoint};
use veval::suite::{DefinitionFile, TaskData, build_items, read_suite};
use veval::text::Tokenizer;

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/example/ckpts/step2500")
}

fn model() -> Local {
    Local::open(&example(), cpu(2).unwrap(), &LocalOptions::default()).unwrap()
}

/// Answers in the order of the requests.
fn ask(model: &dyn LanguageModel, requests: Vec<Request>) -> Vec<Response> {
    let mut answers: Vec<Option<Response>> = vec![None; requests.len()];
    model
        .execute(&Plan::new(requests, Sharing::Prefixes), 0, &mut |found| {
            for (index, response) in found.whole {
                assert!(answers[index].replace(response).is_none(), "request {index} was answered twice");
            }
            Ok(())
        })
        .unwrap();
    answers.into_iter().map(Option::unwrap).collect()
}

fn generate(model: &Local, prompt: &str, stop: &[&str], max_tokens: usize) -> (Vec<u32>, String) {
    let stop = stop.iter().map(|s| (*s).to_owned()).collect();
    let tokens = model.tokenizer().encode(prompt).unwrap();
    let request = Request::plain(tokens, Ask::Generate { stop, max_tokens, sampling: Sampling::Greedy });
    match ask(model, vec![request]).remove(0) {
        Response::Generate { tokens, text, .. } => (tokens, text),
        other => panic!("{other:?}"),
    }
}

#[test]
fn generation_stops_at_texts_across_tokens_at_the_end_token_and_at_its_limit() {
    let model = model();
    let (tokens, text) = generate(&model, "copy bado :", &[], 60);
    assert_eq!(tokens.last(), model.tokenizer().eos().as_ref(), "a document ends: {text:?}");
    assert!(!text.contains("endoftext") && tokens.len() < 60, "{text:?}");
    let (few, short) = generate(&model, "copy bado :", &[], 3);
    assert!(few == tokens[..3] && text.starts_with(&short));
    // Every stop text that occurs cuts exactly there, also where it spans tokens, and nothing is generated beyond.
    let borders: Vec<usize> =
        (1..tokens.len()).map(|n| model.tokenizer().decode(&tokens[..n]).unwrap().len()).collect();
    for begin in 1..text.len().min(30) {
        for length in 1..4 {
            let Some(stop) = text.get(begin..begin + length) else { continue };
            let (stopped, cut) = generate(&model, "copy bado :", &[stop], 60);
            assert_eq!(cut, text[..text.find(stop).unwrap()], "stop {stop:?}");
            let needed = borders
                .iter()
                .position(|&end| end >= text.find(stop).unwrap() + length)
                .map_or(tokens.len(), |n| n + 1);
            assert_eq!(stopped, tokens[..needed], "stop {stop:?}");
        }
    }
}

#[test]
fn interventions_ride_on_scores_and_generations() {
    let model = model();
    let tokens = model.tokenizer().encode("the home of Arlo is Dale . the trade of Bena is").unwrap();
    let plain = Request::score(tokens.clone(), 4);
    let site = Site::Block(1, BlockSite::ResidPost);
    let Response::Capture(captured) =
        ask(&model, vec![Request::plain(tokens.clone(), Ask::Capture { sites: vec![site] })]).remove(0)
    else {
        panic!()
    };
    let own = captured[&site].clone();
    assert_eq!(own.shape, [tokens.len(), 64]);
    let edit = |op| [Edit { site, positions: Positions::All, head: None, op }];
    let answers = ask(
        &model,
        vec![
            plain.clone(),
            plain.clone().with_edits(edit(EditOp::Add(vec![0.0; 64]))),
            plain.clone().with_edits(edit(EditOp::Replace(own))),
            plain.clone().with_edits(edit(EditOp::Add(vec![0.5; 64]))),
            plain,
        ],
    );
    assert_eq!(answers[0], answers[1], "zero steering");
    assert_eq!(answers[0], answers[2], "a site patched with its own value");
    assert_ne!(answers[0], answers[3], "steering reaches the scores");
    assert_eq!(answers[0], answers[4], "a neighbour's intervention does not");
    let ask_for = |edits: Vec<Edit>| {
        Request::plain(tokens.clone(), Ask::Generate { stop: vec![], max_tokens: 5, sampling: Sampling::Greedy })
            .with_edits(edits)
    };
    let steered = ask(&model, vec![ask_for(vec![]), ask_for(edit(EditOp::Scale(0.0)).to_vec())]);
    assert_ne!(steered[0], steered[1]);
}

/// Gradients ride on requests as well: they foretell what a small intervention does, and know the loss that is scored.
#[test]
fn gradients_foretell_what_small_interventions_do() {
    let plain = model();
    let tokens = plain.tokenizer().encode("the home of Arlo is Dale . the trade of Bena is").unwrap();
    let span = GradSpan { start: 4, end: tokens.len() };
    let site = Site::Block(1, BlockSite::ResidMid);
    let grad = |at: GradAt| Request::plain(tokens.clone(), Ask::Grad { span, at });
    let recording = Local::open(&example(), Tape::new(cpu(2).unwrap()), &LocalOptions::default()).unwrap();
    let recording = recording.with_gradients();
    let score = Request::score(tokens.clone(), span.start);
    let answers = ask(&recording, vec![grad(GradAt::Sites(vec![site])), score.clone(), grad(GradAt::Parameters)]);
    let Response::Grad { loss, gradients } = &answers[0] else { panic!("{answers:?}") };
    let Response::Grad { loss: again, gradients: by_parameter } = &answers[2] else { panic!("{answers:?}") };
    let nll = |response: &Response| match response {
        Response::Score(scored) => -scored.iter().map(|token| f64::from(token.log_prob)).sum::<f64>(),
        other => panic!("{other:?}"),
    };
    assert!((loss - nll(&answers[1])).abs() < 1e-4 && loss == again, "{loss} {again} {}", nll(&answers[1]));
    assert_eq!(by_parameter.len(), recording.decoder().leaves().parameters().len());
    let gradient = &gradients[&site.to_string()];
    let direction: Vec<f32> = (0..64).map(|at| ((at * 37 + 11) % 101) as f32 / 5e3 - 0.01).collect();
    let foretold: f64 = gradient
        .values
        .chunks(64)
        .flat_map(|row| row.iter().zip(&direction))
        .map(|(a, b)| f64::from(*a) * f64::from(*b))
        .sum();
    let steered = |sign: f32| {
        let op = EditOp::Add(direction.iter().map(|value| sign * value).collect());
        let edited = score.clone().with_edits([Edit { site, positions: Positions::All, head: None, op }]);
        nll(&ask(&plain, vec![edited])[0])
    };
    let found = (steered(1.0) - steered(-1.0)) / 2.0;
    assert!(found.abs() > 1e-3 && (found - foretold).abs() < 2e-2 * found.abs(), "{found} for {foretold}");
    // A model that was not loaded for it says so.
    let error = plain.execute(&Plan::new(vec![grad(GradAt::Parameters)], Sharing::Prefixes), 0, &mut |_| Ok(()));
    assert!(error.unwrap_err().to_string().contains("loaded for gradients"));
}

/// `Logits` and `Score` see one distribution.
#[test]
fn logits_agree_with_scores() {
    let model = model();
    let tokens = model.tokenizer().encode("3 + 4 = 7 .").unwrap();
    let last = tokens.len() - 2;
    let vocab = model.tokenizer().size();
    let answers = ask(
        &model,
        vec![
            Request::score(tokens.clone(), last + 1),
            Request::plain(tokens.clone(), Ask::Logits { positions: vec![last], top_k: vocab }),
        ],
    );
    let (Response::Score(scored), Response::Logits(logits)) = (&answers[0], &answers[1]) else { panic!("{answers:?}") };
    let top = &logits[0].top;
    assert!(top.is_sorted_by(|a, b| a.1 > b.1 || (a.1 == b.1 && a.0 < b.0)));
    let sum: f64 = top.iter().map(|(_, logit)| f64::from(logit - top[0].1).exp()).sum();
    let target = top.iter().find(|(id, _)| *id == tokens[last + 1]).unwrap().1;
    assert!((f64::from(target - top[0].1) - sum.ln() - f64::from(scored[0].log_prob)).abs() < 1e-5);
    assert_eq!(scored[0].greedy, top[0].0 == tokens[last + 1]);
}

/// The null: hashes for log-probabilities give chance, whatever the normaliser; answers that come last first are
/// recorded in the order of the items. The planted truth: a model that always says the right word is always right.
#[test]
fn a_model_that_knows_nothing_scores_at_chance() {
    let text = r#"
schema = "veval.suite/1"
name = "null"
[[task]]
name = "choice"
kind = "multiple_choice"
data = { file = "none.jsonl" }
prompt = "question {{ n }} of many"
choices = "['red', 'bluish', 'a much longer colour', 'x']"
gold = "n % 4"
metrics = ["acc", "acc_norm", "acc_bytes", "acc_per_token", "acc_mutual_info", "mc2"]
[[task]]
name = "says"
kind = "generation"
data = { file = "none.jsonl" }
prompt = "{{ n }}"
target = "['other', 'copper']"
max_tokens = 8
"#;
    let suite =
        read_suite(&DefinitionFile { path: "null.toml".into(), text: text.into() }, &mut |_| unreachable!()).unwrap();
    let rows: Vec<_> = (0..1200).map(|n| serde_json::json!({ "n": n }).as_object().unwrap().clone()).collect();
    let data = TaskData { rows, pool: None };
    let tasks = suite.tasks.iter().map(|task| {
        let items = build_items(task, &task.data.public, &data).unwrap();
        PreparedTask { task: task.clone(), items, files: vec![], rows: 0, deviation: None }
    });
    let prepared = Prepared { suite: "null".into(), suite_fingerprint: String::new(), tasks: tasks.collect() };
    let model = Fake::new(Tokenizer::open(&example()).unwrap(), 256, "copper");
    let encoded = encode(&prepared, model.tokenizer(), model.info().max_length, 2).unwrap();
    let short = encode(&prepared, model.tokenizer(), 8, 1).err().unwrap().to_string();
    assert!(short.starts_with("task says: expected `max_tokens` below") && short.lines().count() == 1, "{short}");
    let out = tempfile::tempdir().unwrap();
    let options = RunOptions::new(out.path(), 1);
    let checkpoint = discover(&example()).unwrap().remove(0);
    let outcomes = run_checkpoint(&prepared, &encoded, &model, (&checkpoint, "null"), &options, &mut Silent).unwrap();
    let rows: Vec<usize> = outcomes.folder.samples().unwrap().iter().map(|sample| sample.row).collect();
    assert_eq!(rows, (0..1200).chain(0..1200).collect::<Vec<_>>());
    for row in outcomes.rows.iter().filter(|row| row.task == "choice") {
        // Sums of more tokens are lower: of the plain rules only those that allow for length are at chance.
        let (lo, hi) = (row.ci_lo.unwrap(), row.ci_hi.unwrap());
        assert!(lo <= 0.25 && 0.25 <= hi, "{}: {} ({lo} to {hi})", row.metric, row.value);
    }
    let right = outcomes.rows.iter().find(|row| row.task == "says").unwrap();
    assert_eq!((right.metric.as_str(), right.value, right.n), ("exact_match", 1.0, Some(1200)));
}
