//! Whole translations of task files written for these tests.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::{Translation, translate, translate_within};
use crate::diag::Diagnostic;
use crate::suite::{DefinitionFile, Item, Question, Task, TaskData, build_items, read_suite, read_task};

/// Keys that every task needs and no test is about.
const REST: &str = "dataset_path: o/set\ntest_split: test\n";

fn of(yaml: &str) -> crate::Result<Translation> {
    of_bytes(format!("task: t\n{REST}{yaml}").as_bytes())
}

fn of_bytes(bytes: &[u8]) -> crate::Result<Translation> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("t.yaml"), bytes).unwrap();
    translate(&folder.path().join("t.yaml"))
}

pub(super) fn translated(yaml: &str) -> Translation {
    of(yaml).unwrap_or_else(|e| panic!("{e}"))
}

pub(super) fn refused(yaml: &str) -> String {
    match of(yaml) {
        Ok(translation) => panic!("translated:\n{}", translation.toml),
        Err(error) => error.to_string(),
    }
}

pub(super) fn told(notes: &[Diagnostic]) -> String {
    notes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

pub(super) fn task(toml: &str) -> Task {
    read_task(&DefinitionFile { path: "t.toml".into(), text: toml.to_owned() }).unwrap().remove(0)
}

fn rows(values: &[Value]) -> Vec<Map<String, Value>> {
    values.iter().map(|value| value.as_object().unwrap().clone()).collect()
}

pub(super) fn items(translation: &Translation, shots: usize, values: &[Value], pool: Option<&[Value]>) -> Vec<Item> {
    let mut task = task(&translation.toml);
    task.shots = shots;
    let data = TaskData { rows: rows(values), pool: pool.map(rows) };
    build_items(&task, &task.data.public, &data).unwrap_or_else(|e| panic!("{}\n{e}", translation.toml))
}

/// Contexts, continuations and right choices.
fn asked(item: &Item) -> (Vec<String>, Vec<String>, Vec<usize>) {
    let Question::Choices { prompts, choices, gold } = &item.question else { panic!("{item:?}") };
    let delimiter = prompts[0].continuation_delimiter(false);
    let continuations = choices.iter().map(|choice| format!("{delimiter}{choice}")).collect();
    (prompts.iter().map(crate::suite::Prompt::text).collect(), continuations, gold.clone())
}

pub(super) const CHOICE: &str = "output_type: multiple_choice\ndoc_to_text: 'Q: {{ q }}'\ndoc_to_choice: [a, b, c]\n";
pub(super) const WRITTEN: &str = "doc_to_text: q\ndoc_to_target: a\n";

#[test]
fn a_multiple_choice_task_is_carried_over() {
    let translation = translated(
        "tag: [x]\ntask_alias: Capitals\noutput_type: multiple_choice\ndataset_name: en\ntraining_split: train\n\
         doc_to_text: \"Q: {{ q }}\\nA:\"\ndoc_to_choice: '{{ [right, wrong] }}'\ndoc_to_target: 0\n\
         description: \"Answer.\\n\\n\"\nnum_fewshot: 1\nshould_decontaminate: false\nmetadata: {version: 1.0}\n",
    );
    assert_eq!(
        translation.toml,
        "# Imported from t.yaml of lm-evaluation-harness.\n# What is not carried over:\n# - t.yaml:4, `tag` is left out: \
         a task file has no tags: a suite that names the tasks, or `subsets` of one task, gives their score together\n\
         schema = \"veval.task/1\"\nname = \"t\"\nversion = \"1.0\"\nkind = \"multiple_choice\"\n\
         about = \"Capitals (imported)\"\nprofile = \"lm-eval@0.4.13\"\ndescription = \"\"\"\nAnswer.\n\n\"\"\"\n\
         prompt = \"\"\"\nQ: {{ q }}\nA:\"\"\"\nchoices = \"[right, wrong]\"\ngold = \"0\"\n\
         metrics = [\"acc\", \"acc_norm\"]\nshots = 1\n\n[data]\nhub = \"o/set\"\nconfig = \"en\"\nsplit = \"test\"\n\
         shots_split = \"train\"\nverified = false\n"
    );
    let pool = [json!({"q": "p", "right": "1", "wrong": "2"})];
    let found = items(&translation, 1, &[json!({"q": "x", "right": "r", "wrong": "w"})], Some(&pool));
    let (contexts, continuations, gold) = asked(&found[0]);
    assert_eq!(contexts, ["Answer.\n\nQ: p\nA: 1\n\nQ: x\nA:"]);
    assert_eq!((continuations, gold), (vec![" r".to_owned(), " w".to_owned()], vec![0]));
}

#[test]
fn a_suite_takes_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let text = "schema = \"veval.suite/1\"\nname = \"s\"\n[[task]]\nfile = \"t.toml\"\n".to_owned();
    let toml = translated(&format!("{CHOICE}doc_to_target: g\n")).toml;
    let file = DefinitionFile { path: folder.path().join("s.toml"), text };
    let suite = read_suite(&file, &mut |_: &Path| Ok(toml.clone())).unwrap();
    assert_eq!(suite.tasks[0].name, "t");
}

#[test]
fn the_right_choice_is_found_as_the_harness_finds_it() {
    // Target, column, right choice of a, b, c, d.
    for (target, value, right) in [
        ("g", json!(2), 2),
        ("g", json!("b"), 1),
        ("'{{ g }}'", json!(2), 2),
        ("'{{ g }}'", json!("2"), 2),
        ("'{{ g }}'", json!("c"), 2),
        ("'{{ g - 1 }}'", json!(1), 0),
        ("'{{ [\"x\", \"y\"].index(g) }}'", json!("y"), 1),
        ("'{{ [\"d\", \"a\"][g] }}'", json!(0), 3),
        ("'{% if g %}1{% else %}0{% endif %}'", json!(true), 1),
        ("yes", json!(0), 1),
        ("3", json!(0), 3),
        ("'3'", json!(0), 3),
        ("'b'", json!(0), 1),
    ] {
        // A bare `b` would be a column; in quotes it is one as well, so the row has it.
        let yaml = format!("{}doc_to_target: {target}\n", CHOICE.replace("[a, b, c]", "[a, b, c, d]"));
        let row = json!({"q": "?", "g": value, "b": "b"});
        let translation = translated(&yaml);
        assert_eq!(asked(&items(&translation, 0, &[row], None)[0]).2, [right], "{target}\n{}", translation.toml);
    }
    let several = translated(&format!("{CHOICE}doc_to_target: '{{{{ g }}}}'\n"));
    assert_eq!(asked(&items(&several, 0, &[json!({"q": "?", "g": [0, 2]})], None)[0]).2, [0, 2]);
}

#[test]
fn choices_come_in_many_forms() {
    let row = json!({"q": "?", "x": "X", "y": "Y", "both": ["X", "Y"], "of": {"text": ["X", "Y"]}});
    for choices in [
        "['X', 'Y']",
        "{first: X, second: 'Y'}",
        "both",
        "'{{ both }}'",
        "'{{ of.text }}'",
        "'{{ [x, y] }}'",
        "\"['{{x}}', \\\"{{y}}\\\"]\"",
        "\"['X', 'Y']\"",
        "'{{ [x|upper, y] }}'",
    ] {
        let yaml =
            format!("output_type: multiple_choice\ndoc_to_text: q\ndoc_to_target: 0\ndoc_to_choice: {choices}\n");
        let (_, continuations, _) = asked(&items(&translated(&yaml), 0, std::slice::from_ref(&row), None)[0]);
        assert_eq!(continuations, [" X", " Y"], "{choices}");
    }
    let bare = CHOICE.replace("[a, b, c]", "[no, yes]");
    let message = refused(&format!("{bare}doc_to_target: 0\n"));
    assert!(
        message.contains("t.yaml:6:16: `doc_to_choice`: expected texts, found true or false among them"),
        "{message}"
    );
    let set = CHOICE.replace("[a, b, c]", "'{% set x = 1 %}{{ [x] }}'");
    assert!(refused(&format!("{set}doc_to_target: 0\n")).contains("found `{% set x = 1 %}`"));
}

#[test]
fn an_index_as_the_question_asks_one_for_each_choice() {
    let translation = translated(
        "output_type: multiple_choice\ndoc_to_text: \"{{ ['1', '2'].index(answer) }}\"\n\
         doc_to_choice: \"{{ [s + ' ' + one, s + ' ' + two] }}\"\ndoc_to_target: '{{ rest.strip() }}'\nmetric_list: [{metric: acc}]\n",
    );
    let rows = [json!({"s": "S", "one": "o", "two": "t", "rest": " r ", "answer": "2"})];
    let found = items(&translation, 1, &rows, Some(&rows));
    let (contexts, continuations, gold) = asked(&found[0]);
    assert_eq!(contexts, ["S t r\n\nS o", "S t r\n\nS t"]);
    assert_eq!((continuations, gold), (vec![" r".to_owned(), " r".to_owned()], vec![1]));
    let note = told(
        &translated(
            "output_type: multiple_choice\ndoc_to_text: label\ndoc_to_choice: [a, b]\ndoc_to_target: '{{ t.x }}'\n",
        )
        .notes,
    );
    assert!(note.contains("the column `label` is taken as the text of the question"), "{note}");
}

#[test]
fn a_cloze_scores_its_target_as_it_is() {
    let yaml = "output_type: loglikelihood\ndoc_to_text: '{{ c }}'\ndoc_to_target: ' {{ w }}'\n";
    let translation = translated(yaml);
    let found = items(&translation, 1, &[json!({"c": "see the", "w": "cat"})], None);
    let Question::Cloze { prompt, target } = &found[0].question else { panic!() };
    assert_eq!((prompt.text().as_str(), prompt.continuation_delimiter(false)), ("see the  cat\n\nsee the", ""));
    assert_eq!(target, " cat");
    // Shots come from the test split, which is not named as theirs: the item is not kept out.
    assert!(translation.toml.contains("shots_may_repeat_item = true"));
    assert!(refused(&format!("{yaml}gen_prefix: x\n")).contains("end `doc_to_text` with it"));
    assert!(refused(&format!("{yaml}doc_to_choice: [a]\n")).contains("no counterpart"));
}

#[test]
fn a_rolling_text_has_no_shots_and_no_description() {
    let translation = translated(
        "output_type: loglikelihood_rolling\ndoc_to_text: ''\ndoc_to_target: page\ndescription: x y\nnum_fewshot: 0\n",
    );
    let Question::Text { text, .. } = &items(&translation, 0, &[json!({"page": "A b."})], None)[0].question else {
        panic!()
    };
    assert_eq!(text, "A b.");
    assert!(!translation.toml.contains("description") && translation.toml.contains("word_perplexity"));
}

#[test]
fn shots_come_from_where_the_harness_takes_them() {
    // Splits, the split of the shots, and whether the item may be among them.
    for (splits, pool, may_repeat) in [
        ("test_split: t", None, Some(true)),
        ("test_split: t\ntraining_split: r", Some("r"), None),
        ("test_split: t\nvalidation_split: v", Some("v"), None),
        ("test_split: t\nfewshot_split: t", None, None),
        ("test_split: t\ntraining_split: r\nfewshot_split: f", Some("f"), None),
        ("validation_split: v", None, None),
        ("validation_split: v\ntraining_split: r", Some("r"), Some(false)),
        ("validation_split: v\nfewshot_split: v", None, Some(true)),
        ("test_split: t\nfewshot_split: f\nfewshot_config: {split: g, sampler: default}", Some("g"), None),
        ("test_split: null\nvalidation_split: v\nfewshot_config: {sampler: first_n}", None, None),
    ] {
        let yaml = format!("task: t\ndataset_path: set\n{WRITTEN}{splits}\n");
        let translation = of_bytes(yaml.as_bytes()).unwrap();
        let read = task(&translation.toml);
        assert_eq!(read.data.hub.unwrap().shots_split.as_deref(), pool, "{splits}");
        assert_eq!(read.shots_may_repeat_item, may_repeat, "{splits}");
        assert_eq!(translation.toml.contains("shot_order = \"first\""), splits.contains("first_n"));
    }
    let other = refused(&format!("{WRITTEN}fewshot_config: {{doc_to_text: 'S {{{{ q }}}}'}}\n"));
    assert!(other.contains("`fewshot_config`: `doc_to_text` has no counterpart"), "{other}");
}

#[test]
fn samples_become_a_file() {
    let translation = translated(&format!(
        "{WRITTEN}num_fewshot: 2\nfewshot_config:\n  sampler: first_n\n  samples:\n  - {{q: one, a: '1'}}\n  - {{q: two, a: '2'}}\n"
    ));
    let (name, lines) = &translation.files[0];
    assert_eq!(
        (name.as_str(), lines.as_str()),
        ("t_shots.jsonl", "{\"q\":\"one\",\"a\":\"1\"}\n{\"q\":\"two\",\"a\":\"2\"}\n")
    );
    assert_eq!(task(&translation.toml).data.public.shots_file.as_deref(), Some("t_shots.jsonl"));
    let pool = [json!({"q": "one", "a": "1"}), json!({"q": "two", "a": "2"})];
    let found = items(&translation, 2, &[json!({"q": "three", "a": "3"})], Some(&pool));
    let Question::Generate { prompt, .. } = &found[0].question else { panic!() };
    assert_eq!(prompt.text(), "one 1\n\ntwo 2\n\nthree");
    let odd = refused(&format!("{WRITTEN}fewshot_config: {{samples: !function u.list}}\n"));
    assert!(odd.contains("Python function `u.list`") && odd.contains("shots_file"), "{odd}");
}

#[test]
fn prefixes_stand_where_the_harness_puts_them() {
    let translation =
        translated(&format!("{WRITTEN}gen_prefix: The answer is\ntarget_delimiter: ''\nfewshot_delimiter: '|'\n"));
    let found = items(&translation, 1, &[json!({"q": "Q", "a": "A"})], Some(&[json!({"q": "P", "a": "B"})]));
    let Question::Generate { prompt, .. } = &found[0].question else { panic!() };
    assert_eq!(prompt.text(), "PThe answer is B|QThe answer is");
    let word = translated(&format!("{WRITTEN}gen_prefix: Answer\n"));
    let prompt = |row: Value| match &items(&word, 0, &[row], None)[0].question {
        Question::Generate { prompt, .. } => prompt.text(),
        other => panic!("{other:?}"),
    };
    assert_eq!(prompt(json!({"q": "Q", "a": "A"})), "Q Answer");
    assert_eq!(prompt(json!({"q": "Q", "a": "A", "Answer": "So:"})), "Q So:");
}

#[test]
fn local_files_and_addresses() {
    let data = |dataset: &str| {
        let yaml = format!("task: t\n{WRITTEN}test_split: test\ntraining_split: train\n{dataset}");
        of_bytes(yaml.as_bytes()).map(|translation| (task(&translation.toml).data.public, translation))
    };
    let (source, found) =
        data("dataset_path: json\ndataset_kwargs: {data_files: {test: a/x.jsonl, train: [y.jsonl]}}\n").unwrap();
    assert_eq!((source.file.as_deref(), source.shots_file.as_deref()), (Some("a/x.jsonl"), Some("y.jsonl")));
    assert!(told(&found.notes).contains("check the path \"a/x.jsonl\""));
    let (source, _) =
        data("dataset_path: o/n\ndataset_kwargs: {revision: r1, data_files: {test: d/x.parquet, train: t.csv}}\n")
            .unwrap();
    assert_eq!(source.file.as_deref(), Some("hf://dataset/o/n@r1/d/x.parquet"));
    let (source, _) = data("dataset_path: csv\ndataset_kwargs: {data_files: {test: 'hf://datasets/o/n@v/x.csv', train: 'https://huggingface.co/datasets/o/n/resolve/main/y.csv?download=true'}}\n").unwrap();
    assert_eq!(source.file.as_deref(), Some("hf://dataset/o/n@v/x.csv"));
    assert_eq!(source.shots_file.as_deref(), Some("hf://dataset/o/n@main/y.csv"));
    for (dataset, reason) in [
        ("dataset_path: json\n", "expected `data_files`"),
        ("dataset_path: text\n", "write the rows into a .jsonl file"),
        ("dataset_path: /data/set\n", "found the path"),
        (
            "dataset_path: json\ndataset_kwargs: {data_files: {test: /x.jsonl, train: y.jsonl}}\n",
            "below the task file's folder",
        ),
        (
            "dataset_path: json\ndataset_kwargs: {data_files: {test: a/../../x.jsonl, train: y.jsonl}}\n",
            "below the task file's folder",
        ),
        (
            "dataset_path: json\ndataset_kwargs: {data_files: {test: 'https://x.org/x.jsonl', train: y.jsonl}}\n",
            "fetch it first",
        ),
        ("dataset_path: json\ndataset_kwargs: {data_files: {dev: x.jsonl}}\n", "expected files of the split \"test\""),
        (
            "dataset_path: json\ndataset_kwargs: {data_files: {test: [x.jsonl, y.jsonl], train: y.jsonl}}\n",
            "join them into one",
        ),
        ("dataset_path: json\ndataset_kwargs: {data_files: {test: 'x*.jsonl', train: y.jsonl}}\n", "name of one file"),
        ("dataset_path: json\ndataset_kwargs: {data_files: {test: x.bin, train: y.jsonl}}\n", "whose name ends in"),
        ("", "expected the key `dataset_path`"),
    ] {
        let message = data(dataset).map(|(_, found)| found.toml).unwrap_err().to_string();
        assert!(message.contains(reason), "{dataset}: {message}");
    }
}

#[test]
fn every_obstacle_is_named_with_its_line() {
    let message = refused(
        "process_docs: !function utils.docs\ndoc_to_text: !function utils.text\ndoc_to_target: '{{ x|nofilter }}'\n\
         doc_to_image: img\nunsafe_code: true\nprocess_results: !function utils.results\ndescription: '{{'\n\
         target_delimiter: 3\nnum_fewshot: -1\nmetric_list: [{metric: x}]\n",
    );
    for part in [
        "t.yaml:4:15: `process_docs`: needs the Python function `utils.docs`",
        "t.yaml:5:14: `doc_to_text`: needs the Python function `utils.text`",
        "t.yaml:6:16: the filter `nofilter` of Jinja is not here",
        "t.yaml:7:1: `doc_to_image` has no counterpart",
        "t.yaml:8:14: `unsafe_code`: expected false",
        "`process_results`: needs the Python function",
        "t.yaml:10:14: template:",
        "t.yaml:11:19: `target_delimiter`: expected a text, found a whole number",
        "t.yaml:12:14: `num_fewshot`: expected a whole number of at least 0",
        "none of its metrics is here: x",
    ] {
        assert!(message.contains(part), "{part}:\n{message}");
    }
    let notes = told(&translated(&format!("{WRITTEN}doc_to_txt: x\nrepeats: 3\n")).notes);
    assert!(notes.contains("did you mean `doc_to_text`?") && notes.contains("each item is answered once"), "{notes}");
    let none = refused("doc_to_text: null\noutput_type: other\n");
    assert!(none.contains("`output_type`: expected one of multiple_choice, loglikelihood"), "{none}");
    let none = refused("doc_to_text: null\n");
    assert!(
        none.contains("expected the key `doc_to_text`") && none.contains("expected the key `doc_to_target`"),
        "{none}"
    );
    let method = refused("doc_to_text: '{{ q.encode() }}'\ndoc_to_target: '{{ a.strip().index(b) }}'\n");
    assert!(method.contains("the method `.encode()` is not here") && !method.contains("strip"), "{method}");
}

#[test]
fn groups_classes_and_templates_are_no_tasks() {
    let message = |yaml: &str| of_bytes(yaml.as_bytes()).map(|t| t.toml).unwrap_err().to_string();
    let group = message("group: g\ntask:\n- one\n- {task: two, num_fewshot: 1}\n- {group: three, task: [x]}\n");
    assert!(group.contains("found a group of tasks") && group.contains("(one, two, three)"), "{group}");
    assert!(message("task: t\nclass: !function m.C\n").contains("is a Python class"));
    assert!(message("dataset_path: x\n").contains("expected the key `task`"));
    assert!(message("- a\n- b\n").contains("expected a mapping, found a list"));
    assert!(message("").contains("expected a YAML document"));
}

#[test]
fn includes_stay_below_the_root_and_end() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    };
    put("base", &format!("task: none\n{REST}doc_to_text: q\ndoc_to_target: a\ntask_list: [1]\nnum_fewshot: 2\n"));
    let inner = put("in/x.yaml", "include: ../base\ntask: x\nnum_fewshot: null\n");
    let message = translate(&inner).unwrap_err().to_string();
    assert!(
        message.contains("in/x.yaml:1:10: `include`: expected a file below") && message.contains("root"),
        "{message}"
    );
    let toml = translate_within(&inner, folder.path()).unwrap().toml;
    assert!(toml.contains("name = \"x\"") && !toml.contains("shots ="), "{toml}");
    let several = put("many.yaml", "include: [base, more]\ntask: m\n");
    put("more", "doc_to_text: other\n");
    assert!(translate(&several).unwrap().toml.contains("{{ other }}"));
    let cycle = put("a.yaml", "include: b.yaml\ntask: a\n");
    put("b.yaml", "include: a.yaml\n");
    assert!(translate(&cycle).unwrap_err().to_string().contains("b.yaml:1:10: `include`: expected each file once"));
    let missing = put("c.yaml", "include: [nowhere]\ntask: c\n");
    assert!(translate(&missing).unwrap_err().to_string().contains("failed to find \"nowhere\""));
    let broken = put("d.yaml", "include: {a: b}\ntask: d\n");
    assert!(translate(&broken).unwrap_err().to_string().contains("expected the path of a file, found a mapping"));
    for number in 0..70 {
        put(&format!("chain{number}"), &format!("include: chain{}\n", number + 1));
    }
    let chain = put("e.yaml", "include: chain0\ntask: e\n");
    assert!(translate(&chain).unwrap_err().to_string().contains("at most 64 files"));
    #[cfg(unix)]
    {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "task: s\n").unwrap();
        std::os::unix::fs::symlink(outside.path().join("secret"), folder.path().join("link")).unwrap();
        let linked = put("f.yaml", "include: link\ntask: f\n");
        assert!(translate(&linked).unwrap_err().to_string().contains("expected a file below"));
        let direct = translate_within(&outside.path().join("secret"), folder.path()).unwrap_err().to_string();
        assert!(direct.contains("expected a file below"), "{direct}");
    }
}

#[test]
fn files_are_bounded_utf_8() {
    let message = |bytes: &[u8]| of_bytes(bytes).map(|t| t.toml).unwrap_err().to_string();
    assert!(message(b"task: \xff\xfe\n").contains("expected UTF-8"));
    assert!(message(&vec![b'#'; (1 << 20) + 1]).contains("expected at most"));
    let marked = format!("\u{feff}task: t\r\n{}doc_to_text: q\r\ndoc_to_target: a\r\n", REST.replace('\n', "\r\n"));
    assert!(of_bytes(marked.as_bytes()).unwrap().toml.contains("name = \"t\""));
}

#[test]
fn texts_survive_the_way_into_toml() {
    for text in [
        "\"\"\" ''' \\",
        "a\tb\u{1}c",
        "line\n\n  two \\\nthree\"",
        "\r\nx",
        "ünï \u{2028} 漢",
        "\n",
        "#",
        "{{ 'a\\n' }}",
    ] {
        let yaml = format!("doc_to_text: q\ndoc_to_target: a\ndescription: {}\n", json!(text));
        let translation = translated(&yaml);
        assert_eq!(task(&translation.toml).description.unwrap().source(), text, "{}", translation.toml);
        let stop = format!("{WRITTEN}generation_kwargs: {{until: [{}]}}\n", json!(text));
        let toml = translated(&stop).toml;
        assert_eq!(task(&toml).kind.writing().unwrap().stop, [text], "{toml}");
    }
}
