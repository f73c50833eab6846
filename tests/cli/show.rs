//! Looking at tasks before anything runs.

use crate::support::{Bench, example, root};

#[test]
fn show_prints_the_exact_prompt_and_tokens() {
    let bench = Bench::new();
    bench.write("rows.jsonl", "{\"q\": \"one\", \"o\": [\"a\", \"b\"]}\n{\"q\": \"two\", \"o\": [\"cat\", \"cup\"]}\n");
    bench.write("t.toml", "schema = \"veval.task/1\"\nname = \"t\"\nkind = \"multiple_choice\"\ndata = { file = \"rows.jsonl\" }\nprompt = \"Q: {{ q }}\\nA:\"\nchoices = \"o\"\ngold = \"1\"\n");
    let ran = bench.veval(&["show", "t.toml", "--item", "1", "--tokens", example(60).to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    for part in ["Q: two\nA:\n", "choice 0 ", "choice 1, right", "\" cup\"", "t/1/", "blake3:", "tokens of request 1"] {
        assert!(ran.out.contains(part), "{part:?} is not in\n{}", ran.out);
    }
    let shots = bench.veval(&["show", "t.toml", "--item", "1", "--shots", "1"]);
    assert!(shots.out.contains("Q: one\nA: b\n\nQ: two\nA:\n"), "{}", shots.out);
    assert_eq!(bench.veval(&["show", "t.toml", "--item", "7"]).code, 2);
    let near = bench.veval(&["show", "helaswag"]);
    assert!(near.code == 2 && near.err.contains("did you mean `hellaswag`?"), "{}", near.err);
}

/// System prompt, shots as turns, an opened answer; no delimiter before a choice unless the answer has begun.
#[test]
fn chat_prompts_go_through_the_models_template() {
    let bench = Bench::new();
    let ckpt = bench.checkpoint("ckpt", 60);
    let template = "{% for m in messages %}[{{ m.role }}]{{ m.content }}[/]{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}";
    std::fs::write(ckpt.join("chat_template.jinja"), template).unwrap();
    bench.write("rows.jsonl", "{\"q\": \"one\", \"o\": [\"a\", \"b\"]}\n{\"q\": \"two\", \"o\": [\"a\", \"b\"]}\n");
    let task = |extra: &str| {
        let text = format!(
            "schema = \"veval.task/1\"\nname = \"t\"\nkind = \"multiple_choice\"\ndata = {{ file = \"rows.jsonl\" }}\nprompt = \"{{{{ q }}}}?\"\nchoices = \"o\"\ngold = \"1\"\nshots = 1\nsystem = \"Be brief.\"\nchat = true\n{extra}"
        );
        bench.write("t.toml", text);
        let ran = bench.veval(&["show", "t.toml", "--item", "1", "--tokens", "ckpt"]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        ran.out
    };
    let plain = task("");
    assert!(
        plain.contains("[system]Be brief.[/][user]one?[/][assistant]b[/][user]two?[/][assistant]\n")
            && plain.contains("\"a\"\n"),
        "{plain}"
    );
    let begun = task("answer_prefix = \"It is\"\n");
    assert!(
        begun.contains("[assistant]It is b[/][user]two?[/][assistant]It is\n") && begun.contains("\" a\"\n"),
        "{begun}"
    );
    let alone = bench.veval(&["show", "t.toml", "--item", "1"]);
    assert!(alone.code == 2 && alone.err.contains("--tokens"), "{}", alone.err);
    std::fs::remove_file(ckpt.join("chat_template.jinja")).unwrap();
    let none = bench.veval(&["show", "t.toml", "--item", "1", "--tokens", "ckpt"]);
    assert!(none.code == 2 && none.err.contains("expected a chat template, found none"), "{}", none.err);
}

#[test]
fn lists_name_what_there_is() {
    let bench = Bench::new();
    for (what, names) in [
        ("tasks", &["hellaswag", "mmlu", "gsm8k", "wikitext", "not verified"][..]),
        ("metrics", &["acc_norm", "word_perplexity", "exact_match"]),
        ("profiles", &["veval-1", "lm-eval@0.4.13"]),
        ("families", &["llama", "gpt2", "gpt_neox"]),
        ("sites", &["blocks.{i}.hook_resid_post", "[S,H,h]"]),
    ] {
        let out = bench.veval(&["list", what]).out;
        for name in names {
            assert!(out.contains(name), "{name} is not in\n{out}");
        }
    }
}

#[test]
fn committed_schemas_are_fresh() {
    let bench = Bench::new();
    for (of, file) in [("suite", "suites/suite.schema.json"), ("task", "suites/task.schema.json")] {
        let committed = std::fs::read_to_string(root().join(file)).unwrap();
        assert!(bench.veval(&["schema", of]).out == committed, "{file} is stale: veval schema {of} > {file}");
    }
}

#[test]
fn every_verb_explains_itself() {
    let bench = Bench::new();
    for verb in ["run", "rescore", "report", "list", "show", "schema"] {
        let ran = bench.veval(&[verb, "--help"]);
        assert!(ran.code == 0 && ran.out.contains("Usage: veval"), "{verb}");
    }
    assert!(bench.veval(&["run", "--help"]).out.contains("Examples:"));
    assert!(bench.veval(&["--help"]).out.contains("Exit codes"));
}

/// All shipped task files are read, and name their public data as unverified.
#[test]
fn shipped_tasks_are_valid() {
    use veval::suite::{DefinitionFile, read_task, shipped};
    let mut tasks = 0;
    for task in shipped::TASKS {
        let read = read_task(&DefinitionFile { path: task.path.into(), text: task.text.to_owned() })
            .unwrap_or_else(|e| panic!("{e}"));
        // The user's own texts have no public set.
        let named = |hub: Option<&veval::suite::Hub>| hub.is_some_and(|hub| !hub.verified) || task.name == "texts";
        assert!(read.iter().all(|one| one.data.local.is_some() && named(one.data.hub.as_ref())), "{}", task.name);
        tasks += read.len();
    }
    assert_eq!((shipped::TASKS.len(), tasks), (25, 22 + 2 * 57 + 67));
}
