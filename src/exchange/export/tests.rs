//! A planted run of invented items, exported. Expected hashes are Python's own.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::*;
use crate::metric::{AnswerOutcome, ChoiceOutcome, ChoiceScore, ClozeOutcome, Outcome, RollingOutcome};
use crate::run::{Prepared, Selection, prepare, rescore};
use crate::store::{DataFile, RUN_SCHEMA, Shard};
use crate::suite::{DefinitionFile, Item, Question, Suite, read_suite};
use crate::util::hash::sha256_hex;

const SUITE: &str = r#"
schema = "veval.suite/1"
name = "planted"
[defaults]
profile = "lm-eval@0.4.13"

[[task]]
name = "pick"
version = "2.0"
kind = "multiple_choice"
data = { file = "pick.jsonl" }
prompt = "{{ subset }}: {{ q }}"
choices = "options"
gold = "right"
subsets = ["one", "two"]
metrics = ["acc", "acc_mutual_info", "bits_per_byte"]

[[task]]
name = "true/ones"
kind = "multiple_choice"
data = { file = "pick.jsonl" }
prompt = "{{ q }}"
choices = "options"
gold = "[0, 1]"
metrics = ["mc2", "acc"]

[[task]]
name = "who"
kind = "multiple_choice"
data = { file = "who.jsonl" }
contexts = "[a, b]"
continuation = "{{ rest }}"
gold = "0"
metrics = ["acc", "exact_match"]

[[task]]
name = "last"
kind = "cloze"
data = { file = "last.jsonl" }
prompt = "{{ context }}"
target = "{{ word }}"

[[task]]
name = "free"
kind = "generation"
data = { file = "free.jsonl" }
prompt = "Q: {{ q }}\nA:"
target = "answers"
stop = ["\n"]
max_tokens = 7
match = { ignore_case = true, delete = ["!"] }
[[task.filters]]
name = "number"
steps = [{ op = "regex", pattern = "[0-9]+", pick = "last" }]
[[task.filters]]
name = "whole"
steps = [{ op = "strip" }, { op = "take_first" }]

[[task]]
name = "page"
kind = "perplexity"
data = { file = "page.jsonl" }
text = "{{ text }}"
prefix = "Told: "
"#;

const ROWS: [(&str, &str); 5] = [
    (
        "pick.jsonl",
        "{\"q\": \"Größe \\\"?\\\"\", \"options\": [\"klein\", \"groß\"], \"right\": 1, \"weight\": 1e-05, \"nested\": {\"a\": [], \"b\": null, \"c\": [true, 1.0]}}\n{\"q\": \"x\", \"options\": [\"y\", \"z\"], \"right\": 0}\n",
    ),
    ("who.jsonl", "{\"a\": \"Ann said\", \"b\": \"Bob said\", \"rest\": \"so.\"}\n"),
    ("last.jsonl", "{\"context\": \"A long\", \"word\": \"day\"}\n{\"context\": \"To\", \"word\": \"be\"}\n"),
    ("free.jsonl", "{\"q\": \"2+2?\", \"answers\": [\"it's 4\", \"4\"]}\n{\"q\": \"3?\", \"answers\": [\"3\"]}\n"),
    ("page.jsonl", "{\"text\": \"two  words\"}\n"),
];

/// Document and target of the first item of `pick`, target of the first of `free`, of an unknown target.
const DOCUMENT: &str = "c81290259ede8ad36b1174de30ab3df0f5947441cdea91dc9a99fe13426e4c53";
const TARGET: &str = "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b";
const TARGETS: &str = "b6700d46cb7bbff96eb32a3c8b8551740165103073d85216de2255e51974df69";
const UNKNOWN: &str = "dc937b59892604f5a86ac96936cd7ff09e25f18ae6b758e8014a24c7fa039e91";

/// A folder with a suite, its data, and a complete run of it.
struct Planted {
    folder: tempfile::TempDir,
    suite: Suite,
}

impl Planted {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, rows) in ROWS {
            std::fs::write(folder.path().join(name), rows).unwrap();
        }
        let planted = Self { suite: suite(folder.path(), SUITE), folder };
        let prepared = prepare(&planted.suite, &Selection::default(), 1).unwrap();
        let manifest = manifest(&prepared);
        let items = prepared.tasks.iter().flat_map(|task| task.items.iter().map(move |item| (&task.task.name, item)));
        let mut samples: Vec<Sample> = items.map(|(task, item)| sample(task, item)).collect();
        rescore(&manifest, &mut samples).unwrap();
        planted.record(&manifest, &samples);
        planted
    }

    fn run(&self) -> RunFolder {
        RunFolder::at(self.folder.path().join("runs/planted/step7"))
    }

    fn record(&self, manifest: &Manifest, samples: &[Sample]) {
        let mut writer = self.run().begin(manifest).unwrap();
        for sample in samples {
            writer.write(sample).unwrap();
        }
        self.run().finish(writer, manifest).unwrap();
    }

    /// Changes the record.
    fn change(&self, change: impl FnOnce(&mut Manifest, &mut Vec<Sample>)) {
        let mut manifest = self.run().manifest().unwrap().unwrap();
        let mut samples = self.run().samples().unwrap();
        change(&mut manifest, &mut samples);
        self.record(&manifest, &samples);
    }

    fn export(&self, with_suite: bool) -> Result<Exported> {
        let texts = Texts { suite: &self.suite, data_dir: None };
        export_lm_eval(&self.run(), &self.folder.path().join("out"), with_suite.then_some(&texts), 1)
    }

    fn refusal(&self) -> String {
        let refusal = self.export(true).unwrap_err().to_string();
        assert!(!self.folder.path().join("out").exists(), "{refusal}");
        refusal
    }
}

fn suite(folder: &Path, text: &str) -> Suite {
    let file = DefinitionFile { path: folder.join("suite.toml"), text: text.to_owned() };
    read_suite(&file, &mut |_| unreachable!()).unwrap_or_else(|e| panic!("{e}"))
}

fn manifest(prepared: &Prepared) -> Manifest {
    serde_json::from_value(json!({
        "schema": RUN_SCHEMA, "status": "running", "key": "blake3:key", "suite": prepared.suite,
        "suite_fingerprint": prepared.suite_fingerprint, "series": "s", "checkpoint": "step7",
        "path": "/models/s:/step7", "step": 7, "tokens": null, "tokenizer": "blake3:tokenizer",
        "model": {
            "fingerprint": "blake3:model", "numerics": "cpu/2", "family": "llama", "parameters": 5,
            "dtypes": ["bfloat16"], "max_length": 64, "ends": [2],
        },
        "tasks": prepared.tasks.iter().map(crate::run::PreparedTask::record).collect::<Vec<_>>(),
        "veval": "0.0.0", "threads": 1, "started": "2026-11-24T08:15:16Z", "finished": "2026-11-24T08:15:20Z",
        "model_seconds": 2.5,
    }))
    .unwrap()
}

/// Log-likelihoods of -2 and -3 for choices, -1.5 for texts; "So: 12 4 " as an answer.
fn sample(task: &str, item: &Item) -> Sample {
    let (context, outcome) = match &item.question {
        Question::Choices { prompts, choices, gold } => {
            let choice = |(index, text): (usize, &String)| ChoiceScore {
                log_probs: vec![-1.0, -1.0 - index as f32],
                greedy: index == 0,
                chars: text.chars().count(),
                bytes: text.len(),
                unconditional: (!task.starts_with("who")).then_some(-1.0 - 4.0 * index as f64),
            };
            let choices = choices.iter().enumerate().map(choice).collect();
            (prompts[0].text(), Outcome::Choices(ChoiceOutcome { choices, gold: gold.clone() }))
        }
        Question::Cloze { prompt, target } => {
            let outcome = ClozeOutcome { log_probs: vec![-1.0, -0.5], greedy: true, bytes: target.len() };
            (prompt.text(), Outcome::Cloze(outcome))
        }
        Question::Generate { prompt, golds } => {
            let outcome = AnswerOutcome { text: "So: 12 4 ".to_owned(), tokens: 5, golds: golds.clone() };
            (prompt.text(), Outcome::Answer(outcome))
        }
        Question::Text { prefix, words, bytes, .. } => {
            let outcome = RollingOutcome { log_probs: vec![-1.0, -0.5], words: *words, bytes: *bytes };
            (prefix.clone(), Outcome::Rolling(outcome))
        }
    };
    Sample {
        task: task.to_owned(),
        item: item.id.clone(),
        row: item.row,
        slices: item.slices.iter().cloned().collect(),
        shots: item.shots.clone(),
        prompt_hash: sha256_hex(context.as_bytes()),
        truncated: 0,
        outcome,
        metrics: std::collections::BTreeMap::new(),
    }
}

fn lines(path: &Path) -> Vec<Value> {
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn find<'a>(exported: &'a Exported, task: &str) -> &'a PathBuf {
    let name = format!("samples_{task}_2026-11-24T08-15-20.jsonl");
    exported.samples.iter().find(|path| path.ends_with(&name)).unwrap_or_else(|| panic!("{task}: {exported:?}"))
}

#[test]
fn samples_have_what_was_asked_and_answered() {
    let planted = Planted::new();
    let exported = planted.export(true).unwrap();
    let folder = planted.folder.path().join("out/__models__s__step7");
    assert_eq!(exported.results, folder.join("results_2026-11-24T08-15-20.json"));
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 8);

    let pick = lines(find(&exported, "pick_one"));
    let keys: Vec<&String> = pick[0].as_object().unwrap().keys().collect();
    let known = "doc_id doc target arguments resps filtered_resps filter metrics doc_hash prompt_hash target_hash";
    let own = "acc acc_mutual_info choice_bits_per_byte";
    assert_eq!(keys, format!("{known} {own}").split(' ').collect::<Vec<_>>());
    assert_eq!((&pick[0]["doc_hash"], &pick[0]["target_hash"]), (&json!(DOCUMENT), &json!(TARGET)));
    assert_eq!(pick[0]["doc"]["weight"], json!(1e-5));
    assert_eq!(pick[0]["arguments"]["gen_args_1"], json!({"arg_0": "one: Größe \"?\"", "arg_1": " groß"}));
    // Mutual information: the same choices after nothing.
    assert_eq!(pick[0]["arguments"]["gen_args_3"], json!({"arg_0": "", "arg_1": " groß"}));
    let resps = json!([[["-2.0", "True"]], [["-3.0", "False"]], [["-1.0", "None"]], [["-5.0", "None"]]]);
    assert_eq!(pick[0]["resps"], resps);
    assert_eq!(pick[0]["filtered_resps"][1], json!(["-3.0", "False"]));
    assert_eq!((&pick[0]["acc"], &pick[0]["acc_mutual_info"]), (&json!(0.0), &json!(1.0)));
    let bits = pick[0]["choice_bits_per_byte"].as_f64().unwrap();
    assert!((bits - 3.0 / std::f64::consts::LN_2 / 5.0).abs() < 1e-15, "{bits}");

    let truths = lines(find(&exported, "true__ones"));
    assert_eq!((&truths[0]["target"], &truths[0]["metrics"]), (&json!("[0, 1]"), &json!(["acc", "veval_acc"])));
    assert_eq!((&truths[0]["acc"], &truths[0]["veval_acc"]), (&json!(1.0), &json!(1.0)));

    let who = lines(find(&exported, "who"));
    assert_eq!((&who[0]["target"], &who[0]["exact_match"]), (&json!("so."), &json!(1)));
    assert_eq!(who[0]["arguments"]["gen_args_1"], json!({"arg_0": "Bob said", "arg_1": " so."}));

    let last = lines(find(&exported, "last"));
    assert_eq!((&last[0]["target"], &last[0]["acc"]), (&json!(" day"), &json!(1)));
    assert_eq!((&last[0]["resps"], &last[0]["perplexity"]), (&json!([[["-1.5", "True"]]]), &json!(-1.5)));
    assert_eq!(last[0]["bits_per_byte"], json!([-1.5, 3]));

    let free = lines(find(&exported, "free"));
    assert_eq!(free.len(), 4, "a line for every filter and item");
    let settings = json!({"until": ["\n"], "do_sample": false, "temperature": 0.0, "max_gen_toks": 7});
    assert_eq!(free[0]["arguments"]["gen_args_0"], json!({"arg_0": "Q: 2+2?\nA:", "arg_1": settings}));
    assert_eq!((&free[0]["target"], &free[0]["target_hash"]), (&json!("[\"it's 4\", '4']"), &json!(TARGETS)));
    // One item with several right answers makes lists of all.
    assert_eq!(free[1]["target"], "['3']");
    let shown = |line: &Value| [&line["filter"], &line["filtered_resps"][0], &line["exact_match"]].map(Value::clone);
    assert_eq!(shown(&free[0]), [json!("number"), json!("4"), json!(1.0)]);
    assert_eq!(shown(&free[2]), [json!("whole"), json!("So: 12 4"), json!(0.0)]);

    let page = lines(find(&exported, "page"));
    assert_eq!((&page[0]["target"], &page[0]["resps"]), (&json!("two  words"), &json!([["-1.5"]])));
    // A text of theirs has nothing before it: ours is shown with it, and so is its hash.
    assert_eq!(page[0]["arguments"], json!({"gen_args_0": {"arg_0": "Told: two  words"}}));
    assert_eq!(page[0]["prompt_hash"], sha256_hex(b"Told: two  words"));
    assert_eq!((&page[0]["word_perplexity"], &page[0]["token_perplexity"]), (&json!([-1.5, 2]), &json!([-1.5, 2])));
}

#[test]
fn results_name_scores_settings_and_source() {
    let planted = Planted::new();
    let exported = planted.export(true).unwrap();
    let text = std::fs::read_to_string(&exported.results).unwrap();
    let results: Value = serde_json::from_str(&text).unwrap();
    let wanted = json!({"name": "pick_one", "alias": "pick_one", "sample_len": 2, "acc,none": 0.5, "acc_stderr,none": 0.5,
        "acc_mutual_info,none": 0.5, "acc_mutual_info_stderr,none": 0.5});
    for (key, value) in wanted.as_object().unwrap() {
        assert_eq!(&results["results"]["pick_one"][key], value, "{key}");
    }
    // One item; and perplexities over a whole text, of which the harness gives no error either.
    assert_eq!(results["results"]["who"]["acc_stderr,none"], "N/A");
    assert_eq!(results["results"]["page"]["word_perplexity_stderr,none"], "N/A");
    assert_eq!(results["results"]["free"]["exact_match,number"], 0.5);
    assert!(text.contains("\"exact_match,whole\": 0.0,\n"), "{text}");

    assert_eq!(results["group_subtasks"], json!({"pick": ["pick_one", "pick_two"]}));
    assert_eq!(results["groups"]["pick"], results["results"]["pick"]);
    assert_eq!(results["groups"]["pick"]["acc,none"], 0.5);
    assert_eq!(results["groups"]["pick"]["sample_count"]["choice_bits_per_byte,none"], 4);
    assert_eq!(results["versions"]["pick_one"], json!(2.0));
    assert_eq!((&results["versions"]["pick"], &results["n-shot"]["pick"]), (&json!("N/A"), &json!(0)));
    assert_eq!(results["higher_is_better"]["last"], json!({"acc": true, "bits_per_byte": false, "perplexity": false}));
    assert_eq!(results["n-samples"]["free"], json!({"original": 2, "effective": 2}));
    let free = &results["configs"]["free"];
    assert_eq!((&free["output_type"], &free["target_delimiter"]), (&json!("generate_until"), &json!(" ")));
    assert_eq!(
        free["metric_list"][0],
        json!({"metric": "exact_match", "aggregation": "mean", "higher_is_better": true, "ignore_case": true,
            "ignore_punctuation": false, "ignore_numbers": false, "regexes_to_ignore": ["!"]})
    );
    let regex = json!({"function": "regex", "regex_pattern": "[0-9]+", "group_select": -1, "fallback": "[invalid]"});
    assert_eq!(free["filter_list"][0], json!({"name": "number", "filter": [regex, {"function": "take_first"}]}));
    assert_eq!(results["configs"]["page"]["metric_list"][0]["aggregation"], "weighted_perplexity");

    let hashes: String = lines(find(&exported, "free"))
        .iter()
        .flat_map(|line| ["doc_hash", "prompt_hash", "target_hash"].map(|key| line[key].as_str().unwrap().to_owned()))
        .collect();
    assert_eq!(results["task_hashes"]["free"], sha256_hex(hashes.as_bytes()));
    assert_eq!((&results["date"], &results["git_hash"]), (&json!(1_795_508_116.0), &Value::Null));
    assert_eq!(results["config"]["model_args"], json!({"pretrained": "/models/s:/step7"}));
    assert_eq!(
        (&results["model_name_sanitized"], &results["model_source"]),
        (&json!("__models__s__step7"), &json!("veval"))
    );
    assert_eq!((&results["total_evaluation_time_seconds"], &results["eot_token_id"]), (&json!("2.5"), &json!(2)));
    assert_eq!((&results["veval"]["step"], &results["veval"]["documents"]), (&json!(7), &json!(true)));
}

#[test]
fn without_the_suite_texts_are_unknown_and_the_scores_the_same() {
    let planted = Planted::new();
    let full = planted.export(true).unwrap();
    let scores = |exported: &Exported| -> Value {
        let results: Value = serde_json::from_slice(&std::fs::read(&exported.results).unwrap()).unwrap();
        json!([results["results"], results["n-samples"], results["versions"]])
    };
    let (wanted, last) = (scores(&full), lines(find(&full, "last")));
    std::fs::remove_dir_all(planted.folder.path().join("out")).unwrap();
    let bare = planted.export(false).unwrap();
    assert_eq!(scores(&bare), wanted);
    let found = lines(find(&bare, "last"));
    assert_eq!(found[0]["doc"]["item"].as_str().unwrap().split('/').next(), Some("last"));
    assert_eq!(found[0]["arguments"], json!({"gen_args_0": {"arg_0": null, "arg_1": null}}));
    assert_eq!((&found[0]["target"], &found[0]["target_hash"]), (&json!("None"), &json!(UNKNOWN)));
    for key in ["prompt_hash", "resps", "perplexity", "metrics"] {
        assert_eq!(found[0][key], last[0][key], "{key}");
    }
    let free = lines(find(&bare, "free"));
    assert_eq!((&free[0]["target"], &free[0]["target_hash"]), (&json!("[\"it's 4\", '4']"), &json!(TARGETS)));
    assert_eq!(free[0]["arguments"]["gen_args_0"]["arg_1"]["max_gen_toks"], 7);
}

#[test]
fn an_export_depends_on_the_record_alone_and_overwrites_nothing() {
    let planted = Planted::new();
    let first = planted.export(true).unwrap();
    let content = |exported: &Exported| {
        let paths = exported.samples.iter().chain([&exported.results]);
        paths.map(|path| std::fs::read(path).unwrap()).collect::<Vec<_>>()
    };
    let wanted = content(&first);
    let refusal = planted.export(true).unwrap_err().to_string();
    assert!(refusal.contains("expected a name that is free"), "{refusal}");
    std::fs::remove_dir_all(planted.folder.path().join("out")).unwrap();
    assert_eq!(content(&planted.export(true).unwrap()), wanted);
}

#[test]
fn texts_of_another_run_are_refused() {
    let mut planted = Planted::new();
    std::fs::write(planted.folder.path().join("who.jsonl"), "{\"a\": \"A\", \"b\": \"B\", \"rest\": \"so.\"}\n")
        .unwrap();
    std::fs::write(planted.folder.path().join("last.jsonl"), "{\"context\": \"A long\", \"word\": \"day\"}\n").unwrap();
    let refusal = planted.refusal();
    assert_eq!(refusal.matches("expected the data that were run, blake3:").count(), 2, "{refusal}");
    assert!(refusal.contains("who.jsonl, task who") && refusal.contains("last.jsonl, task last"), "{refusal}");

    planted.suite = suite(planted.folder.path(), &SUITE.replace("{{ q }}", "{{ q }} "));
    assert!(planted.refusal().contains("expected the suite that was run, blake3:"));

    let planted = Planted::new();
    planted.change(|_, samples| {
        samples[0].prompt_hash = sha256_hex(b"another prompt");
        samples[5].item = "true/ones/0/0000000000000000".to_owned();
    });
    let refusal = planted.refusal();
    assert!(refusal.contains("pick_one, row 0: expected the prompt of SHA-256"), "{refusal}");
    assert!(refusal.contains("expected the item true/ones/0/0000000000000000, found true/ones/1/"), "{refusal}");
}

#[test]
fn only_whole_runs_of_our_own_are_exported() {
    let refused = |change: fn(&mut Manifest), expected: &str| {
        let planted = Planted::new();
        planted.change(|manifest, _| change(manifest));
        let refusal = planted.refusal();
        assert!(refusal.contains(expected), "{refusal}");
    };
    refused(
        |manifest| manifest.imported = vec![DataFile { path: "old.json".into(), fingerprint: "blake3:x".into() }],
        "found one imported from old.json",
    );
    refused(|manifest| manifest.shard = Some(Shard { index: 1, count: 3 }), "expected a whole run, found part 1/3");
    refused(|manifest| manifest.finished = None, "found one that is not finished");
    refused(|manifest| manifest.finished = Some("../../x".into()), "expected a time such as");
    refused(|manifest| manifest.started = "yesterday".into(), "run.json, started: expected a time such as");
    refused(|manifest| manifest.tasks[0].metrics.push("odd".into()), "expected a known metric, found \"odd\"");
    refused(|manifest| manifest.tasks[0].items = 3, "expected 3 samples of task pick_one, found 2");
    let nothing = Planted::new();
    let run = RunFolder::at(nothing.folder.path().join("runs"));
    let refusal = export_lm_eval(&run, nothing.folder.path(), None, 1).unwrap_err().to_string();
    assert!(refusal.contains("expected run.json, found none"), "{refusal}");
}

#[test]
fn a_record_cannot_name_a_place_outside() {
    assert_eq!(as_folder("org/model"), "org__model");
    assert_eq!(as_folder("/a//b:\\c"), "__a__b__c");
    for (name, folder) in [("..", "__.."), ("", "__"), ("../..", "..__..")] {
        assert_eq!(as_folder(name), folder);
    }
    let planted = Planted::new();
    planted.change(|manifest, samples| {
        manifest.path = "..".to_owned();
        manifest.tasks[0].name = "../../up".to_owned();
        for sample in samples.iter_mut().filter(|sample| sample.task == "pick_one") {
            sample.task = "../../up".to_owned();
        }
    });
    let exported = planted.export(false).unwrap();
    let out = planted.folder.path().join("out/__..");
    assert!(exported.samples.iter().all(|path| path.parent() == Some(&out)), "{exported:?}");
    assert!(exported.samples[0].ends_with("samples_..__..__up_2026-11-24T08-15-20.jsonl"), "{exported:?}");
}

/// What a model without numbers says is written as Python writes it.
#[test]
fn not_a_number_stays_one() {
    let planted = Planted::new();
    planted.change(|_, samples| {
        for sample in samples.iter_mut() {
            if let Outcome::Cloze(item) = &mut sample.outcome {
                item.log_probs = vec![f32::NAN];
            }
        }
    });
    let exported = planted.export(true).unwrap();
    let text = std::fs::read_to_string(find(&exported, "last")).unwrap();
    assert!(text.contains("\"resps\": [[[\"nan\", \"True\"]]]") && text.contains("\"perplexity\": NaN"), "{text}");
    assert!(std::fs::read_to_string(&exported.results).unwrap().contains("\"perplexity,none\": NaN"));
}
