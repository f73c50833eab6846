//! Conversions, samplers, warnings, and names that must not slip through.

use super::sampler::Sampler;
use super::*;
use crate::error::Result;
use crate::feedback::mix::Run;
use crate::lab::train::{MixtureFile, Shares, SourceRecord, StageRecord};

const SETTINGS: ExportSettings = ExportSettings {
    run: Run { total_tokens: 4096 * 1_024_000, sequence_length: 4096 },
    batch_sequences: 512,
    seed: 42,
};

fn source(name: &str, paths: &[&str], q: f64, mean_tokens: f64, available_tokens: f64) -> SourceRecord {
    SourceRecord {
        name: name.into(),
        paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        q,
        mean_tokens: Some(mean_tokens),
        available_tokens: Some(available_tokens),
        max_repeat: Some(4.0),
        ..SourceRecord::default()
    }
}

fn file() -> MixtureFile {
    MixtureFile {
        format: "veval.mixture/1".into(),
        unit: "tokens".into(),
        total_tokens: Some(SETTINGS.run.total_tokens as f64),
        sequence_length: Some(SETTINGS.run.sequence_length),
        sources: vec![
            source("math", &["data/math"], 0.17, 1409.0, 3.1e8),
            source("web", &["s3://corpus/web-0", "s3://corpus/web-1"], 0.58, 812.5, 4e10),
            source("q&a: \"forum\" #1", &["data/q&a's"], 0.25, 95.0, 6e8),
            source("old", &["data/old"], 0.0, 500.0, 1e9),
        ],
        stages: Vec::new(),
        trust: None,
        floor: None,
    }
}

/// A mixture of one stage, one of whose sources has no share.
pub(super) fn blend() -> Blend {
    Blend::new(&file(), SETTINGS).unwrap()
}

fn staged_file() -> MixtureFile {
    let mut file = file();
    let stage = |name: &str, start_tokens: f64, shares: [f64; 4]| StageRecord {
        name: name.into(),
        start_tokens,
        q: Shares(file.sources.iter().map(|source| source.name.clone()).zip(shares).collect()),
    };
    let half = SETTINGS.run.total_tokens as f64 / 2.0;
    file.stages = vec![stage("warm up", 0.0, [0.1, 0.6, 0.1, 0.2]), stage("anneal", half, [0.17, 0.58, 0.25, 0.0])];
    file
}

/// The same in two stages.
pub(super) fn staged() -> Blend {
    Blend::new(&staged_file(), SETTINGS).unwrap()
}

fn text<'a>(export: &'a Export, name: &str) -> &'a str {
    let file =
        export.files.iter().find(|file| file.name == name).unwrap_or_else(|| panic!("{name}: {:?}", export.files));
    std::str::from_utf8(&file.bytes).unwrap()
}

#[test]
fn token_shares_become_document_shares_and_come_back() {
    let blend = blend();
    let drawn = blend.drawn(&blend.stages[0], Unit::Documents);
    let per_token = [0.17 / 1409.0, 0.58 / 812.5, 0.25 / 95.0];
    let total: f64 = per_token.iter().sum();
    for ((source, share), wanted) in drawn.iter().zip(per_token) {
        assert!((share - wanted / total).abs() < 1e-15, "{source}");
    }
    assert_eq!(drawn.len(), 3, "a source without a share is left out");
    let back: Vec<f64> =
        drawn.iter().map(|(source, share)| share * blend.sources[*source].mean_tokens.unwrap()).collect();
    let tokens: f64 = back.iter().sum();
    assert!((back[0] / tokens - 0.17).abs() < 1e-15);
    let sequences: f64 = blend.drawn(&blend.stages[0], Unit::Sequences).iter().map(|(_, share)| share).sum();
    assert!((sequences - 1.0).abs() < 1e-15);
}

#[test]
fn every_sampler_comes_near_the_shares_of_tokens() {
    for blend in [blend(), staged()] {
        for trainer in TRAINERS {
            let export = export(trainer, &blend).unwrap();
            assert_eq!(export.achieved.len(), blend.stages.len());
            for (achieved, stage) in export.achieved.iter().zip(&blend.stages) {
                let (source, gap) = &achieved.deviation;
                let place = blend.sources.iter().position(|known| known.name == *source).unwrap();
                assert_eq!(achieved.shares[place] - stage.shares[place], *gap);
                for (found, wanted) in achieved.shares.iter().zip(&stage.shares) {
                    assert!((found - wanted).abs() <= gap.abs(), "{}", trainer.name);
                }
                // By chance: five standard errors, where a draw of the longest documents weighs most; else rounding
                // of the trainer itself.
                let bound = match trainer.sampler {
                    Sampler::Chance => 5e-3,
                    Sampler::Proportions => 2e-3,
                    Sampler::Blocks(block) => 1.0 / block as f64,
                    Sampler::FurthestBehind | Sampler::EpochCounts | Sampler::Remainders => 1e-5,
                };
                assert!(gap.abs() < bound, "{}: {gap}", trainer.name);
                assert!(achieved.draws >= 1_000_000);
            }
        }
    }
}

#[test]
fn samplers_do_what_their_trainers_do() {
    let shares = [0.1, 0.5, 0.3, 0.1];
    for sampler in [Sampler::FurthestBehind, Sampler::EpochCounts, Sampler::Remainders, Sampler::Proportions] {
        let (draws, counts) = sampler.draw(&shares, 1);
        assert_eq!((draws, counts.iter().sum::<u64>()), (1_000_000, 1_000_000), "{sampler:?}");
        for (count, share) in counts.iter().zip(shares) {
            assert!((*count as f64 - share * 1e6).abs() <= 2.0, "{sampler:?} {counts:?}");
        }
    }
    // 204.8, 614.4 and 1228.8 of a block.
    let (draws, counts) = Sampler::Blocks(2048).draw(&[0.1, 0.3, 0.6], 1);
    let blocks = draws / 2048;
    assert_eq!(counts, [205 * blocks, 614 * blocks, 1229 * blocks]);
    // 0.37 / 0.03 * 100 is 1233.3; the rest is 1953.3 and 100.
    assert_eq!(sampler::proportions(&[0.37, 0.6, 0.03]), [1233, 2000, 100]);
    let by_chance = Sampler::Chance.draw(&shares, 1);
    assert_eq!(by_chance, Sampler::Chance.draw(&shares, 1));
    assert_ne!(by_chance, Sampler::Chance.draw(&shares, 2));
    let many = vec![1e-3; 1000];
    assert_eq!(Sampler::FurthestBehind.draw(&many, 1).0, 100_000, "work is bounded");
}

#[test]
fn stages_are_native_or_files_with_a_warning() {
    let blend = staged();
    for trainer in TRAINERS {
        let export = export(trainer, &blend).unwrap();
        let warned = export.warnings.iter().any(|warning| warning.contains("has no stages"));
        let native = ["nanotron", "llm-foundry", "levanter"].contains(&trainer.name);
        assert_eq!(warned, !native, "{}: {:?}", trainer.name, export.warnings);
        let readme = text(&export, "README.txt");
        assert_eq!(readme.lines().count(), 3, "{readme}");
        assert!(readme.contains(trainer.unit.words()));
    }
    let nanotron = export(find("nanotron").unwrap(), &blend).unwrap();
    let stages = text(&nanotron, "data_stages.yaml");
    assert!(stages.contains("start_training_step: 1\n") && stages.contains("start_training_step: 1001\n"), "{stages}");
    let curriculum = export(find("llm-foundry").unwrap(), &blend).unwrap();
    let half = SETTINGS.run.total_tokens / 2;
    assert!(
        text(&curriculum, "curriculum.yaml")
            .contains(&format!("duration: {half}tok\n    schedule:\n      - duration: {half}tok"))
    );
}

#[test]
fn starts_between_steps_are_rounded_and_said() {
    let mut file = staged_file();
    file.stages[1].start_tokens += 4096.0 * 100.0;
    let blend = Blend::new(&file, SETTINGS).unwrap();
    let nanotron = export(find("nanotron").unwrap(), &blend).unwrap();
    assert!(text(&nanotron, "data_stages.yaml").contains("start_training_step: 1001\n"));
    let wanted =
        "stage \"anneal\" starts at 2097561600 tokens; the files start it after 1000 steps, at 2097152000 tokens";
    assert_eq!(nanotron.warnings.iter().filter(|warning| *warning == wanted).count(), 1, "{:?}", nanotron.warnings);
    // Levanter's blocks of 2048 sequences are four steps.
    file.stages[1].start_tokens = 512.0 * 4096.0 * 1001.0;
    let levanter = export(find("levanter").unwrap(), &Blend::new(&file, SETTINGS).unwrap()).unwrap();
    assert!(text(&levanter, "train_weights.yaml").contains("  - - 1000\n"));
    file.stages[1].start_tokens = 512.0 * 4096.0;
    let error = export(find("levanter").unwrap(), &Blend::new(&file, SETTINGS).unwrap()).unwrap_err();
    assert!(
        error.to_string().contains("expected stages that start 4 or more steps of 2097152 tokens apart"),
        "{error}"
    );
}

#[test]
fn what_a_trainer_cannot_say_is_warned_of() {
    let mut file = file();
    file.sources[0].w = Some(0.34);
    file.sources[2].w = Some(25.0);
    let blend = Blend::new(&file, SETTINGS).unwrap();
    assert_eq!([blend.sources[0].loss_factor, blend.sources[2].loss_factor], [2.0, 4.0]);
    let megatron = export(find("megatron").unwrap(), &blend).unwrap().warnings;
    for wanted in [
        "megatron keeps no count of repeats: \"math\" is seen 2.30 times",
        "megatron cannot weight losses: that of \"math\" should count 2.000 times",
        "should count 4.000 times",
        "the share of \"web\" is split evenly among its 2 paths",
    ] {
        assert!(megatron.iter().any(|warning| warning.contains(wanted)), "{wanted:?} is not in {megatron:#?}");
    }
    let hf = export(find("hf").unwrap(), &blend).unwrap();
    assert!(!hf.warnings.iter().any(|warning| warning.contains("cannot weight")), "{:?}", hf.warnings);
    assert!(text(&hf, "mixture.json").contains("\"loss_weights\": [2.0, 1.0, 4.0]"));
    let olmo = export(find("olmo-core").unwrap(), &blend).unwrap();
    assert!(!olmo.warnings.iter().any(|warning| warning.contains("repeats") || warning.contains("split evenly")));
    file.sources[0].q -= 0.0002;
    file.sources[3].q = 0.0002;
    let levanter = export(find("levanter").unwrap(), &Blend::new(&file, SETTINGS).unwrap()).unwrap();
    assert!(levanter.warnings.iter().any(|warning| warning.contains("\"old\" gets none")), "{:?}", levanter.warnings);
    assert_eq!(levanter.achieved[0].shares[3], 0.0);
}

fn refused(trainer: &str, change: impl FnOnce(&mut MixtureFile)) -> String {
    let mut file = file();
    change(&mut file);
    let attempt = || -> Result<Export> { export(find(trainer)?, &Blend::new(&file, SETTINGS)?) };
    attempt().unwrap_err().to_string()
}

#[test]
fn hostile_names_are_quoted_or_refused() {
    let name = "a\"b\\: {x}\n- '#é\u{2028}";
    let mut file = file();
    file.sources[0].name = name.into();
    file.sources[0].paths = vec![format!("data/{}", name.replace('\n', ""))];
    let blend = Blend::new(&file, SETTINGS).unwrap();
    let quoted = r#""a\"b\\: {x}\n- '#é\u2028""#;
    for (trainer, name) in [
        ("olmo-core", "source_mixture.yaml"),
        ("torchtitan", "mix.py"),
        ("llm-foundry", "streams.yaml"),
        ("hf", "mixture.json"),
        ("levanter", "train_weights.yaml"),
        ("live", "weights.json"),
    ] {
        let export = export(find(trainer).unwrap(), &blend).unwrap();
        assert!(text(&export, name).contains(quoted), "{trainer}: {}", text(&export, name));
        assert_eq!(text(&export, "README.txt").lines().count(), 3);
    }
    let read: serde_json::Value =
        serde_json::from_str(text(&export(find("hf").unwrap(), &blend).unwrap(), "mixture.json")).unwrap();
    assert_eq!(read["names"][0], name);

    let comma = refused("llamafactory", |file| file.sources[0].name = "math,code".into());
    assert!(comma.contains("source math,code: expected a name without a comma, found \"math,code\""), "{comma}");
    let space = refused("llamafactory", |file| file.sources[0].name = " math".into());
    assert!(space.contains("white space around it"), "{space}");
    let split = refused("megatron", |file| file.sources[0].paths = vec!["data/my math".into()]);
    assert!(split.contains("expected a path without white space, found \"data/my math\""), "{split}");
    let omega = refused("llm-foundry", |file| file.sources[0].paths = vec!["${oc.env:HOME}/x".into()]);
    assert!(omega.contains("expected a path without \"${\""), "{omega}");
}

#[test]
fn what_is_missing_is_said_for_all_sources() {
    let text = refused("energon", |file| {
        file.sources[0].paths.clear();
        file.sources[0].mean_tokens = None;
        file.sources[1].paths[1].clear();
        file.sources[2].mean_tokens = Some(f64::NAN);
        file.sources[3].paths.clear();
    });
    for wanted in [
        "source math: expected paths, which energon needs, found none",
        "source math: expected the mean tokens of a document: energon draws documents, found none",
        "source web: expected a path, found \"\"",
        "source q&a: \"forum\" #1: expected the mean tokens",
    ] {
        assert!(text.contains(wanted), "{wanted:?} is not in {text}");
    }
    assert!(!text.contains("old"), "a source without a share needs nothing: {text}");
    let mut file = file();
    file.sources[0].mean_tokens = None;
    file.sources[0].documents = Some(200_000);
    assert_eq!(Blend::new(&file, SETTINGS).unwrap().sources[0].mean_tokens, Some(1550.0));

    let twice = refused("llamafactory", |file| file.sources[0].name = "web/1".into());
    assert!(twice.contains("found \"web/1\" twice"), "{twice}");
    assert!(refused("hf", |file| file.sources[0].q = 0.5).contains("shares that sum to 1"));
    assert!(find("llama-factory").unwrap_err().to_string().contains("did you mean \"llamafactory\"?"));
    assert!(find("x").unwrap_err().to_string().contains("the trainers are olmo-core, torchtitan"));
    for batch_sequences in [0, 1_024_001, u64::MAX] {
        let error = Blend::new(&file, ExportSettings { batch_sequences, ..SETTINGS }).unwrap_err().to_string();
        assert!(error.contains(&format!("found {batch_sequences} sequences")), "{error}");
    }
    let mut late = staged_file();
    late.total_tokens = None;
    late.stages[1].start_tokens = SETTINGS.run.total_tokens as f64;
    assert!(
        Blend::new(&late, SETTINGS).unwrap_err().to_string().contains("stages[1] (anneal): expected a start before")
    );
}

#[test]
fn many_sources_take_no_time() {
    let mut file = file();
    file.sources = (0..1000).map(|n| source(&format!("s{n}"), &["p"], 1e-3, 500.0, 1e9)).collect();
    let blend = Blend::new(&file, SETTINGS).unwrap();
    let start = crate::ctx::seconds();
    for trainer in TRAINERS {
        export(trainer, &blend).unwrap();
    }
    // All ten; one alone must take less than a second on a busy machine.
    assert!(crate::ctx::seconds() - start < 10.0);
}
