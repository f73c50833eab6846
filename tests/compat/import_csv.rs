//! `veval import csv`: the Pythia and OLMo tables, and tables with planted numbers.

use std::path::PathBuf;

use veval::exchange::{CsvImport, Imported, import_csv};
use veval::store::{MetricRow, RunFolder};

use crate::import_lm_eval::{files_of, lm_eval, recorded, row};
use crate::shared::shared_data;

fn csv(paths: &[PathBuf], columns: &[&str], constants: &[&str]) -> veval::Result<Imported> {
    import_csv(&CsvImport {
        paths: paths.to_vec(),
        suite: "table".into(),
        columns: columns.iter().map(|column| column.parse().unwrap()).collect(),
        constants: constants.iter().map(|constant| constant.parse().unwrap()).collect(),
    })
}

#[test]
fn the_pythia_tables() {
    let Some(data) = shared_data() else { return };
    let path = |name: &str| data.join("pythia-evals").join(name);
    let files = ["pythia_v1_main.csv", "pythia_v1_mmlu_acc.csv", "pythia_v1_crows_pairs.csv"].map(path);
    let roles = ["series=model", "series=variant", "shots=num_fewshot", "n=n_derived"];
    let imported = csv(&files, &roles, &["profile=lm-eval"]).unwrap();
    assert_eq!(imported.runs.iter().map(|run| run.rows.len()).sum::<usize>(), 11_632 + 47_025 + 24_728);
    let run = imported.runs.iter().find(|run| run.folder_name() == "pythia-12b_suite__step143000").unwrap();
    let lambada = row(run, "lambada_openai", "acc");
    assert_eq!((lambada.value, lambada.shots, lambada.n), (0.704_638, Some(0), Some(5153)));
    assert_eq!((run.manifest.series.as_str(), run.manifest.step), ("pythia-12b:suite", Some(143_000)));
    assert_eq!(run.manifest.imported.len(), 3);
    // Without the variant, scores of four experiments are under one name.
    let error = csv(&files[..1], &["series=model", "shots=num_fewshot"], &[]).unwrap_err().to_string();
    assert!(error.contains("expected one score") && error.contains("found it in line"), "{error}");

    let wide = path("raw/csv_pythia-125m-deduped_term_frquency_all_shots.csv");
    let roles = ["series=model", "checkpoint=checkpoint", "shots=fewshot", "value:acc=acc", "stderr:acc=acc_stderr"];
    let imported = csv(&[wide], &roles, &[]).unwrap();
    assert_eq!(imported.runs.iter().map(|run| run.rows.len()).sum::<usize>(), 6000);
    let steps: Vec<Option<u64>> = imported.runs.iter().map(|run| run.manifest.step).collect();
    assert_eq!(steps.iter().flatten().sum::<u64>(), 13_000 + 39_000 + 65_000 + 91_000 + 117_000 + 143_000);
    assert_eq!(imported.runs[0].manifest.series, "EleutherAI/pythia-125m-deduped");
}

#[test]
fn the_olmo_tables() {
    let Some(data) = shared_data() else { return };
    let folder = data.join("olmo-ladder/ladder-runs");
    let mut files = files_of(&folder, "csv");
    files.retain(|path| !path.to_string_lossy().contains("peteish"));
    assert_eq!(files.len(), 30);
    let roles = [
        "step=_step",
        "tokens=throughput/total_tokens",
        "value:loss=eval/{task}/CrossEntropyLoss",
        "value:bits_per_byte=eval/downstream_bpb/{task}_bpb",
        "value:acc_norm=eval/downstream/{task}_len_norm",
        "value:acc=eval/downstream/{task}_acc",
    ];
    let imported = csv(&files, &roles, &["shots=5", "profile=olmes"]).unwrap();
    // By hand: rows of each file times its columns of those names.
    let mut wanted = 0;
    for file in &files {
        let text = std::fs::read_to_string(file).unwrap();
        let header = text.lines().next().unwrap();
        let is_one = |name: &&str| {
            name.ends_with("/CrossEntropyLoss")
                || name.starts_with("eval/downstream_bpb/")
                || name.starts_with("eval/downstream/")
        };
        wanted += header.split(',').filter(is_one).count() * (text.lines().count() - 1);
    }
    assert_eq!(imported.runs.iter().map(|run| run.rows.len()).sum::<usize>(), wanted);
    let run = imported.runs.iter().find(|run| run.manifest.series == "190M-1xC").unwrap();
    assert!(run.manifest.tokens.is_some() && run.manifest.checkpoint.starts_with("step"));
    assert!(row(run, "c4_en-validation", "loss").value > 1.0);
    assert!(row(run, "arc_easy_test_rc_5shot", "bits_per_byte").value > 0.0);

    // The large models' tables have other columns, and no tokens.
    let large = ["peteish7_eval_full", "peteish13_eval_full", "peteish13_eval_final"];
    let large = large.map(|name| folder.join(name).with_extension("csv"));
    let error = csv(&large, &roles, &[]).unwrap_err();
    assert_eq!(error.diagnostics().len(), 3, "{error}");
    let roles = ["step=_step", "value:bits_per_byte=eval/downstream_bpb/{task}_bpb"];
    let imported = csv(&large, &roles, &[]).unwrap();
    assert_eq!(imported.runs.len(), 186 + 94 + 12);

    let anneal = folder.join("peteish7_eval_anneal.csv");
    let roles = ["tokens=throughput/total_tokens", "value:acc=eval/downstream/{task}_acc"];
    let manifest = &csv(&[anneal], &roles, &[]).unwrap().runs[0].manifest;
    assert_eq!((manifest.tokens, manifest.step), (Some(3_945_065_873_408), None));
    assert_eq!(manifest.checkpoint, "tokens3945065873408");
    // Tables of no trajectory: predictions beside what was measured.
    let tables = ["step1_main.csv", "chained_main.csv"].map(|name| data.join("olmo-ladder").join(name));
    let imported = csv(&tables, &["task=Task", "value:actual=Actual", "value:predicted=Pred"], &[]).unwrap();
    let step1 = imported.runs.iter().find(|run| run.manifest.checkpoint == "step1_main").unwrap();
    assert_eq!(row(step1, "mmlu_avg_test_5shot", "actual").value, 0.748_827_437_388_896_8);
}

fn table(text: &str, columns: &[&str], constants: &[&str]) -> veval::Result<Imported> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.csv");
    std::fs::write(&path, text).unwrap();
    csv(&[path], columns, constants)
}

#[test]
fn planted_tables() {
    let text = "\u{feff}checkpoint,task,metric,value,stderr,n,note\nstep10-tokens2B,a,acc,0.5,0.1,10.0,\"x, y\"\nstep10-tokens2B,a,f1,NaN,,,\n\"step20\",a,acc, 1e-1 ,nan,7,\nstep20,b,acc,,,,\n";
    let imported = table(text, &[], &["shots=3", "series=s"]).unwrap();
    let shown: Vec<String> = imported
        .runs
        .iter()
        .flat_map(|run| {
            run.rows.iter().map(|r| {
                format!(
                    "{:?} {:?} {} {} {} {:?} {:?} {:?}",
                    r.step, r.tokens, r.task, r.metric, r.value, r.stderr, r.n, r.shots
                )
            })
        })
        .collect();
    let wanted = [
        "Some(10) Some(2000000000) a acc 0.5 Some(0.1) Some(10) Some(3)",
        "Some(10) Some(2000000000) a f1 NaN None None Some(3)",
        "Some(20) None a acc 0.1 None Some(7) Some(3)",
    ];
    assert_eq!(shown, wanted);
    // Wide, with errors beside the values, slices, and the file's name as series and checkpoint.
    let text = "t,lang,x_acc,x_acc_se,x_f1,y_acc\n,de,0.1,0.01,0.2,0.3\n,fr,0.4,0.02,0.5,0.6\n";
    let imported = table(text, &["slice=lang", "value={task}_{metric}", "stderr={task}_{metric}_se"], &[]);
    // The error's column fits the pattern of values as well.
    assert_eq!(imported.unwrap().runs[0].rows.len(), 8);
    let imported = table(
        text,
        &["slice=lang", "value:acc={task}_acc", "value:f1={task}_f1", "stderr:acc={task}_{metric}_se"],
        &[],
    )
    .unwrap();
    let run = &imported.runs[0];
    assert_eq!((run.folder_name().as_str(), run.rows.len()), ("mine", 6));
    assert_eq!((row(run, "x", "acc").slice.as_str(), row(run, "x", "acc").stderr), ("lang=de", Some(0.01)));
    assert_eq!(row(run, "y", "acc").stderr, None);
    assert_eq!(row(run, "x", "f1").stderr, None);
}

/// What we wrote ourselves comes in again.
#[test]
fn our_own_tables_round_trip() {
    let first = lm_eval(&[recorded()]).unwrap();
    let out = tempfile::tempdir().unwrap();
    let folder: &RunFolder = &first.write(out.path()).unwrap()[0];
    let again = csv(&[folder.metrics_path()], &[], &[]).unwrap();
    let named = |row: &MetricRow| MetricRow { suite: "table".into(), ..row.clone() };
    assert_eq!(again.runs[0].rows, first.runs[0].rows.iter().map(named).collect::<Vec<_>>());
}

#[test]
fn bad_tables_say_what_is_wrong() {
    let problem = |text: &str, columns: &[&str], constants: &[&str], wanted: &str| {
        let error = table(text, columns, constants).unwrap_err().to_string();
        assert!(error.contains(wanted), "expected {wanted:?} in\n{error}");
    };
    let good = "step,task,metric,value\n1,a,acc,0.5\n";
    problem(good, &["stderr=stdrr"], &[], "expected a column \"stdrr\", found none");
    problem("steps,task,metric,value\n", &["step=stepz"], &[], "did you mean \"steps\"?");
    problem("task,metric\na,acc\n", &[], &[], "name it with --column value=NAME; the columns are task, metric");
    problem("metric,value\nacc,1\n", &[], &[], "--column task=NAME");
    problem("task,value\na,1\n", &[], &[], "expected the name of the metric of \"value\"");
    problem(good, &["value:acc=value"], &[], "expected one name for the metric");
    problem(good, &[], &["task=b", "task=c"], "expected one value for task, found two");
    problem(good, &["task=task"], &["task=b"], "expected a column or a value for task, found both");
    problem(good, &["step=step", "step=task"], &[], "expected one column for step, found two");
    problem(good, &["value={task}_x"], &[], "expected columns such as \"{task}_x\", found none");
    problem(good, &["value={tusk}_x"], &[], "did you mean {task}?");
    problem("a,b\n1,2\n", &["value:x=a", "value:y=b", "stderr=b"], &["task=t"], "--column stderr:METRIC=b");
    problem("task,task,metric,value\n", &[], &[], "found \"task\" twice");
    problem("step,task,metric,value\n1,a,acc\n", &[], &[], "line 2");
    problem("", &[], &[], "expected a column with values");
    problem(good.lines().next().unwrap(), &[], &[], "expected at least one score, found none");
    problem(
        "step,task,metric,value\n1,a,acc,half\n-3,a,acc,1\n",
        &[],
        &[],
        "line 2, column \"value\": expected a number, found \"half\"",
    );
    problem(
        "step,task,metric,value\n1,a,acc,half\n-3,a,acc,1\n",
        &[],
        &[],
        "line 3, step: expected a whole number from 0, found \"-3\"",
    );
    problem("step,task,metric,value,stderr\n1,a,acc,1,-1\n", &[], &[], "expected a standard error from 0");
    problem("step,task,metric,value\n1,,acc,1\n", &[], &[], "expected a task, found an empty cell");
    problem(
        "step,task,metric,value\n1,a,acc,1\n2,b,acc,1\n1,a,acc,2\n",
        &[],
        &[],
        "line 4: expected one score acc of a for step1, found it in line 2 too",
    );
    problem(
        "step,checkpoint,task,metric,value\n1,x,a,acc,1\n2,x,b,acc,1\n",
        &[],
        &[],
        "expected step 1, tokens unknown for x of mine as in line 2, found step 2",
    );
    problem("step,task,metric,value\n1,\"a,acc,1\n", &[], &[], "line 2");
    let many = "step,task,metric,value\n".to_owned() + &"1,a,acc,x\n".repeat(1000);
    assert_eq!(table(&many, &[], &[]).unwrap_err().diagnostics().len(), 20);
    assert!("stpe=x".parse::<veval::exchange::Column>().unwrap_err().contains("did you mean `step`?"));
    assert!("step:acc=x".parse::<veval::exchange::Column>().is_err());
    assert!("value=".parse::<veval::exchange::Column>().is_err());
    assert!("value=1".parse::<veval::exchange::Constant>().is_err());
    assert!("shots".parse::<veval::exchange::Constant>().is_err());
    // Nothing of several files is taken where one is bad.
    let folder = tempfile::tempdir().unwrap();
    let paths = [folder.path().join("a.csv"), folder.path().join("absent.csv")];
    std::fs::write(&paths[0], "step,task,metric,value\n1,a,acc,x\n").unwrap();
    assert_eq!(csv(&paths, &[], &[]).unwrap_err().diagnostics().len(), 2);
}
