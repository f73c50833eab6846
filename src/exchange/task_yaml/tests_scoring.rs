//! Written answers, filters and metrics of whole translations.

use serde_json::{Value, json};

use super::tests::{CHOICE, WRITTEN, items, refused, task, told, translated};
use crate::suite::Question;

#[test]
fn written_answers() {
    let golds = |yaml: &str, row: Value| {
        let found = items(&translated(yaml), 0, &[row], None);
        let Question::Generate { golds, .. } = &found[0].question else { panic!() };
        golds.clone()
    };
    assert_eq!(golds(WRITTEN, json!({"q": "?", "a": ["x", "y"]})), ["x", "y"]);
    assert_eq!(golds(WRITTEN, json!({"q": "?", "a": 5})), ["5"]);
    let with = |target: &str| format!("doc_to_text: q\ndoc_to_target: {target}\n");
    assert_eq!(golds(&with("'#{{ a }}'"), json!({"q": "?", "a": 5})), ["#5"]);
    assert_eq!(golds(&with("[x, y]"), json!({"q": "?"})), ["x", "y"]);
    let chosen = "doc_to_choice: ['No', 'Yes']\n";
    assert_eq!(golds(&format!("{WRITTEN}{chosen}"), json!({"q": "?", "a": 1})), ["Yes"]);
    assert_eq!(golds(&format!("{}{chosen}", with("'{{ a }}'")), json!({"q": "?", "a": "1"})), ["Yes"]);
}

#[test]
fn how_answers_are_written() {
    let writing = |yaml: &str| {
        let translation = translated(&format!("{WRITTEN}{yaml}"));
        (task(&translation.toml).kind.writing().unwrap().clone(), told(&translation.notes))
    };
    let (plain, _) = writing("");
    assert_eq!((plain.stop, plain.max_tokens, plain.sampling), (vec!["\n\n".to_owned()], 256, None));
    let (plain, _) = writing("fewshot_delimiter: \"\\n--\\n\"\ngeneration_kwargs: {max_new_tokens: 9}\n");
    assert_eq!((plain.stop, plain.max_tokens), (vec!["\n--\n".to_owned()], 9));
    let (single, _) = writing(
        "generation_kwargs: {until: \"\\n\", max_gen_toks: 7, max_tokens: 9, temperature: 1.0, do_sample: false}\n",
    );
    assert_eq!((single.stop, single.max_tokens, single.sampling), (vec!["\n".to_owned()], 7, None));
    let (drawn, notes) = writing("generation_kwargs: {until: [], temperature: 0.5, top_p: 0.9, num_beams: 4}\n");
    assert_eq!(drawn.sampling.map(|s| (s.temperature, s.top_k, s.top_p)), Some((0.5, 0, 0.9)));
    assert!(notes.contains("`num_beams` is left out") && notes.contains("top_k = 50"), "{notes}");
    let (greedy, notes) = writing("generation_kwargs: {do_sample: true, num_beams: 1}\n");
    assert!(
        greedy.sampling.is_none() && notes.contains("without a temperature above 0") && !notes.contains("num_beams")
    );
    assert!(refused(&format!("{WRITTEN}generation_kwargs: {{until: [5]}}\n")).contains("`until`: expected texts"));
}

#[test]
fn filters_are_carried_over_or_named() {
    let list = "filter_list:\n- name: first\n  filter:\n  - {function: regex, regex_pattern: '(\\d+)', fallback: none}\n  - {function: remove_whitespace}\n  - {function: take_first}\n- name: last\n  filter:\n  - {function: regex, regex_pattern: x, group_select: -1}\n  - {function: lowercase}\n  - {function: uppercase}\n";
    let translation = translated(&format!("{WRITTEN}{list}"));
    let filters = task(&translation.toml).filters;
    assert_eq!(filters.iter().map(|filter| filter.name.as_str()).collect::<Vec<_>>(), ["first", "last"]);
    assert_eq!((filters[0].apply("a 12 3"), filters[0].apply("a")), ("12".to_owned(), "none".to_owned()));
    assert!(translation.toml.contains("pick = \"last\""));
    let dropped = format!(
        "{WRITTEN}{list}- name: vote\n  filter: [{{function: majority_vote}}, {{function: take_first}}]\n- name: own\n  filter: [{{function: !function u.F}}]\n- name: second\n  filter: [{{function: regex, group_select: 1}}]\n- name: after\n  filter: [{{function: take_first}}, {{function: lowercase}}]\n"
    );
    let notes = told(&translated(&dropped).notes);
    for part in
        ["step \"majority_vote\" has no counterpart", "Python function `u.F`", "`group_select`", "after `take_first`"]
    {
        assert!(notes.contains(part), "{part}: {notes}");
    }
    let alone = format!("{WRITTEN}filter_list: [{{name: n, filter: [{{function: map, mapping_dict: {{A: 1}}}}]}}]\n");
    assert!(refused(&alone).contains("none of its filters is here"));
    let step = "filter: [{function: take_first}]";
    let twice = format!("{WRITTEN}filter_list: [{{name: n, {step}}}, {{name: n, {step}}}]\n");
    assert!(refused(&twice).contains("found \"n\" twice"));
    let hot = format!("{WRITTEN}generation_kwargs: {{temperature: 1000, do_sample: true}}\n");
    assert!(refused(&hot).contains("expected a task that a task file can say"), "{}", refused(&hot));
    let bad = format!("{WRITTEN}filter_list: [{{name: n, filter: [{{function: regex, regex_pattern: '('}}]}}]\n");
    assert!(refused(&bad).contains("`regex_pattern`: regular expression"));
}

#[test]
fn metrics_are_carried_over_or_named() {
    let exact = "metric_list:\n- metric: exact_match\n  aggregation: mean\n  higher_is_better: true\n  ignore_case: true\n  ignore_punctuation: false\n  regexes_to_ignore: [',', '\\$']\n- metric: !function u.rouge\n- metric: no_such_score\n- metric: f1\n- metric: bleu\n  aggregation: bleu\n";
    let translation = translated(&format!("{WRITTEN}{exact}"));
    let rules = task(&translation.toml).rules;
    assert!(rules.ignore_case && !rules.ignore_punctuation && rules.delete.len() == 2);
    let metrics: Vec<&str> = task(&translation.toml).metrics.iter().map(|metric| metric.name).collect();
    assert_eq!(metrics, ["exact_match", "bleu"]);
    let notes = told(&translation.notes);
    // The harness's `f1` is one of classes, not of words.
    assert!(notes.contains("the metric \"f1\" is left out"), "{notes}");
    assert!(
        notes.contains("Python function `u.rouge`") && notes.contains("the metric \"no_such_score\" is left out"),
        "{notes}"
    );
    assert!(
        refused(&format!("{WRITTEN}metric_list: [{{metric: no_such_score}}]\n"))
            .contains("none of its metrics is here: no_such_score")
    );
    let choice = format!(
        "{CHOICE}doc_to_target: g\nmetric_list: [{{metric: acc, aggregation: median, higher_is_better: false}}]\n"
    );
    let notes = told(&translated(&choice).notes);
    assert!(notes.contains("the aggregation median") && notes.contains("here higher is better"), "{notes}");
    let twice =
        "metric_list: [{metric: exact_match, ignore_case: true}, {metric: exact_match, ignore_numbers: true}]\n";
    let translation = translated(&format!("{WRITTEN}{twice}"));
    assert!(translation.toml.contains("match = { ignore_numbers = true }"), "{}", translation.toml);
    assert!(told(&translation.notes).contains("the last one counts"));
    let lost = translated(&format!("{CHOICE}doc_to_target: g\nmetric_list: [{{metric: nothing}}]\n"));
    assert!(
        lost.toml.contains("metrics = [\"acc\", \"acc_norm\"]") && told(&lost.notes).contains("stand in its place")
    );
}
