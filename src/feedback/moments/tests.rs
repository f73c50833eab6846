//! States that torch wrote (`tests/oracle/precondition.py`) and what torch makes of gradients with them; files that
//! were tampered with.

use std::path::{Path, PathBuf};

use super::mapping::{Slot, assign};
use super::*;
use crate::ckpt::{TensorElement, TensorPlan, write_tensor_file};
use crate::feedback::precondition::{RankOne, Rule, precondition};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/moments")
}

/// In the order of `named_parameters()`.
fn parameters() -> Vec<Parameter> {
    let text = std::fs::read_to_string(folder().join("parameters.tsv")).unwrap();
    let line = |line: &str| {
        let (name, shape) = line.split_once('\t').unwrap();
        Parameter { name: name.to_owned(), shape: shape.split(',').map(|size| size.parse().unwrap()).collect() }
    };
    text.lines().map(line).collect()
}

/// The largest difference between what torch makes of the gradients and what is made here, over the largest of each
/// parameter.
fn worst(case: &str, moments: &Moments, rule: Rule) -> f64 {
    let prefix = if rule == Rule::Less { "less" } else { "update" };
    let gradients = TensorFile::open(&folder().join("gradients.safetensors")).unwrap();
    let expected = TensorFile::open(&folder().join(format!("{case}.expected.safetensors"))).unwrap();
    let mut worst = 0f64;
    for Parameter { name, shape } in parameters() {
        let own = moments.read(&name).unwrap();
        assert_eq!((own.step, &own.shape), (5, &shape), "{name}");
        let mut found = gradients.read_floats(&name).unwrap();
        precondition(&mut found, &own, rule).unwrap();
        let wanted = expected.read_floats(&format!("{prefix}.{name}")).unwrap();
        let largest = wanted.iter().fold(0f32, |largest, value| largest.max(value.abs()));
        let difference = found.iter().zip(&wanted).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
        worst = worst.max(f64::from(difference / largest));
    }
    worst
}

#[test]
fn states_of_torch_scale_gradients_as_torch_does() {
    for (file, case) in
        [("adamw", "adamw"), ("adamw_named", "adamw"), ("amsgrad", "amsgrad"), ("adafactor", "adafactor")]
    {
        let moments = Moments::open(&folder().join(format!("{file}.pt")), &parameters(), Order::Module).unwrap();
        assert_eq!(moments.names().count(), parameters().len());
        let error = worst(case, &moments, Rule::Optimizer);
        assert!(error < 1e-6, "{file}: {error}");
    }
    let moments = Moments::open(&folder().join("adamw.pt"), &parameters(), Order::Module).unwrap();
    let error = worst("adamw", &moments, Rule::Less);
    assert!(error < 1e-6, "{error}");
    let own = moments.read("layers.0.q_proj.weight").unwrap();
    assert_eq!(own.optimizer, Optimizer::Adam { beta1: 0.9, beta2: 0.95, eps: 1e-8 });
    let moments = Moments::open(&folder().join("adafactor.pt"), &parameters(), Order::Module).unwrap();
    let own = moments.read("layers.0.down_proj.weight").unwrap();
    let rank_one = RankOne::of(&own).unwrap();
    assert_eq!((own.optimizer, own.first.is_none()), (Optimizer::Adafactor, true));
    assert_eq!((rank_one.rows.len(), rank_one.columns.len()), (6, 11));
    assert!(RankOne::of(&moments.read("norm.weight").unwrap()).is_none());
}

fn refused(path: &Path, parameters: &[Parameter], order: Order) -> Vec<String> {
    let error = Moments::open(path, parameters, order).unwrap_err();
    error
        .diagnostics()
        .iter()
        .map(|diagnostic| diagnostic.to_string().replace(&folder().display().to_string(), ""))
        .collect()
}

#[test]
fn other_models_are_refused_with_every_difference() {
    let all = parameters();
    let (plain, named) = (folder().join("adamw.pt"), folder().join("adamw_named.pt"));
    let mut wider = all.clone();
    wider[0].shape = vec![14, 6];
    wider[4].shape = vec![6, 11];
    for (path, number) in [(&plain, 3), (&named, 3)] {
        let problems = refused(path, &wider, Order::Module);
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(
            problems[0]
                .contains("state.0: expected moments of embed_tokens.weight with its shape [14, 6], found [13, 6]")
        );
        assert!(problems[1].contains(&format!("state.{number}: expected moments of layers.0.up_proj.weight")));
    }
    // Shapes alone tell the embedding and the two halves of the network's middle from each other, and no more.
    let problems = refused(&plain, &all, Order::Unknown);
    assert_eq!(problems.len(), 7, "{problems:?}");
    let both =
        "expected a shape [6, 6] that one parameter has, found it at layers.0.q_proj.weight and layers.0.o_proj.weight";
    assert!(problems[0].contains(both), "{problems:?}");
    assert!(problems[0].contains("help: save the optimizer with names"));
    assert!(Moments::open(&named, &all, Order::Unknown).is_ok());
    let problems = refused(&plain, &all[1..], Order::Module);
    assert!(
        problems[0].contains("param_groups.0.params: expected 4 parameters, as the model has in this group, found 5")
    );
    let problems = refused(&named, &all[1..], Order::Module);
    assert!(
        problems[0].contains("state.0: expected the name of a parameter of the model, found \"embed_tokens.weight\"")
    );
    let more = [all, vec![Parameter { name: "lm_head.weight".to_owned(), shape: vec![2] }]].concat();
    let problems = refused(&named, &more, Order::Module);
    assert_eq!(problems.len(), 1);
    assert!(problems[0].contains("parameter lm_head.weight: expected a state of this name, found none"));
}

fn slot(number: u64, group: usize, shape: &[usize]) -> Slot {
    Slot { number, group, name: None, shape: Some(shape.to_vec()) }
}

fn parameter(name: &str, shape: &[usize]) -> Parameter {
    Parameter { name: name.to_owned(), shape: shape.to_vec() }
}

#[test]
fn vectors_whose_group_no_name_tells_follow_the_shapes() {
    let of = |scale: &[usize]| [parameter("w", &[2, 3]), parameter("scale", scale), parameter("ln.bias", &[4])];
    let trainer = [slot(0, 0, &[2, 3]), slot(1, 0, &[5]), slot(2, 1, &[4])];
    let matrices = [slot(0, 0, &[2, 3]), slot(1, 1, &[5]), slot(2, 1, &[4])];
    assert_eq!(assign(&trainer, 2, &of(&[5]), Order::Module).unwrap(), [0, 1, 2]);
    assert_eq!(assign(&matrices, 2, &of(&[5]), Order::Module).unwrap(), [0, 1, 2]);
    let one_group = [slot(0, 0, &[4]), slot(1, 0, &[5]), slot(2, 0, &[2, 3])];
    assert_eq!(assign(&one_group, 1, &of(&[5]), Order::Unknown).unwrap(), [2, 1, 0]);
    assert!(assign(&trainer, 2, &of(&[7]), Order::Module).is_err());
    let error = assign(&trainer, 3, &of(&[5]), Order::Module).unwrap_err().to_string();
    assert!(error.contains("param_groups: expected one group, or one that decays"), "{error}");
}

#[test]
fn wrapped_and_doubled_names() {
    let named = |number, name: &str| Slot { name: Some(name.to_owned()), ..slot(number, 0, &[2]) };
    let model = [parameter("a", &[2]), parameter("b", &[2])];
    let slots = [named(0, "_orig_mod.module.b"), named(1, "module.a")];
    assert_eq!(assign(&slots, 1, &model, Order::Unknown).unwrap(), [1, 0]);
    let error = assign(&[named(0, "a"), named(1, "module.a")], 1, &model, Order::Module).unwrap_err().to_string();
    assert!(error.contains("state.1: expected one state of a, found it under 0 as well"), "{error}");
    assert!(error.contains("parameter b: expected a state of this name, found none"), "{error}");
}

/// A state of torch with some bytes replaced by as many others, everywhere.
fn tampered(case: &str, changes: &[(&[u8], &[u8])]) -> (tempfile::TempDir, PathBuf) {
    let mut bytes = std::fs::read(folder().join(case)).unwrap();
    for (from, to) in changes {
        assert_eq!(from.len(), to.len());
        let places: Vec<usize> = (0..bytes.len() - from.len()).filter(|&at| bytes[at..].starts_with(from)).collect();
        assert!(!places.is_empty(), "{from:?}");
        for at in places {
            bytes[at..at + to.len()].copy_from_slice(to);
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("optimizer.pt");
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

#[test]
fn states_that_are_no_moments_are_refused() {
    let attempt = |case: &str, changes: &[(&[u8], &[u8])]| {
        let (_folder, path) = tampered(case, changes);
        refused(&path, &parameters(), Order::Module)
    };
    let all = parameters().len();
    let problems = attempt("adamw.pt", &[(b"exp_avg_sq", b"square_avg")]);
    assert_eq!(problems.len(), all);
    assert!(problems[0].contains(
        "state.0: expected exp_avg_sq, or exp_avg_sq_row and exp_avg_sq_col, found exp_avg, square_avg, step"
    ));
    let problems = attempt("adafactor.pt", &[(b"exp_avg_sq_col", b"exp_avg_sq_dol")]);
    assert!(problems.iter().all(|problem| problem.contains("exp_avg_sq_dol, exp_avg_sq_row")), "{problems:?}");
    let problems = attempt("adamw.pt", &[(b"betas", b"bytes")]);
    assert_eq!(problems.len(), 2);
    assert!(problems[0].contains("param_groups.0: expected `betas` and `eps` of Adam"), "{problems:?}");
    let problems = attempt(
        "adamw.pt",
        &[(&[&b"G"[..], &0.95f64.to_be_bytes()].concat(), &[&b"G"[..], &1.5f64.to_be_bytes()].concat())],
    );
    assert!(problems[0].contains("param_groups.0: expected betas from 0 to below 1"), "{problems:?}");
    let problems = attempt("adamw.pt", &[(b"step", b"stop")]);
    assert!(problems.len() == all && problems[0].contains("state.0: expected a step, found none"), "{problems:?}");
    let problems = attempt("adamw.pt", &[(&5f32.to_le_bytes(), &0.5f32.to_le_bytes())]);
    assert!(problems[0].contains("state.0: expected a step of at least 1, found 0.5"), "{problems:?}");
    let problems = attempt("adamw.pt", &[(b"param_groups", b"param_gruops")]);
    assert!(problems[0].contains("expected `param_groups` with numbers of parameters, found none"), "{problems:?}");
    let problems = attempt("adamw.pt", &[(b"\x05\x00\x00\x00state", b"\x05\x00\x00\x00stale")]);
    assert!(
        problems.len() == all && problems[0].contains("state.0: expected moments of the parameter, found no state")
    );
    let (_folder, path) = tampered("adamw.pt", &[(b"PK\x05\x06", b"PK\x05\x07")]);
    assert_eq!(refused(&path, &parameters(), Order::Module).len(), 1);
    let missing = folder().join("none.pt");
    assert!(refused(&missing, &parameters(), Order::Module)[0].contains("failed to open"));
}

#[test]
fn squares_below_zero_are_refused_when_they_are_read() {
    let good = Moments::open(&folder().join("adamw.pt"), &parameters(), Order::Module).unwrap();
    let SecondMoment::Full(second) = good.read("norm.weight").unwrap().second else { panic!("no whole moments") };
    let (_folder, path) = tampered("adamw.pt", &[(&second[2].to_le_bytes(), &(-second[2]).to_le_bytes())]);
    let moments = Moments::open(&path, &parameters(), Order::Module).unwrap();
    let message = moments.read("norm.weight").unwrap_err().to_string();
    assert!(message.contains(&format!("expected finite squares, found -{} at element 2", second[2])), "{message}");
    assert!(message.contains("optimizer.pt, tensor state."), "{message}");
    assert!(moments.read("embed_tokens.weight").is_ok());
    assert!(moments.read("x").unwrap_err().to_string().contains("parameter x: expected moments of the parameter"));
}

type Tensors<'a> = &'a [(&'a str, &'a [usize], &'a [f32])];

fn named_file(header: &[(&str, &str)], tensors: Tensors) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("moments.safetensors");
    let header = header.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
    let plan = |&(name, shape, _): &(&str, &[usize], &[f32])| TensorPlan {
        name: name.to_owned(),
        element: TensorElement::F32,
        shape: shape.to_vec(),
    };
    let values = |plan: &TensorPlan| tensors.iter().find(|tensor| tensor.0 == plan.name).unwrap().2;
    write_tensor_file(&path, &header, tensors.iter().map(plan).collect(), |plan| Ok(plan.element.encode(values(plan))))
        .unwrap();
    (folder, path)
}

const ADAM: [(&str, &str); 6] = [
    ("schema", "veval.moments/1"),
    ("optimizer", "adam"),
    ("step", "3"),
    ("beta1", "0.9"),
    ("beta2", "0.95"),
    ("eps", "1e-8"),
];

#[test]
fn named_moments_are_read() {
    let model = [parameter("a", &[2]), parameter("b", &[1, 2])];
    let (_folder, path) = named_file(
        &ADAM,
        &[
            ("exp_avg_sq.a", &[2], &[1.0, 4.0]),
            ("exp_avg.a", &[2], &[-1.0, 2.0]),
            ("exp_avg_sq.b", &[1, 2], &[0.0, 9.0]),
        ],
    );
    let moments = Moments::open(&path, &model, Order::Unknown).unwrap();
    let wanted = ParameterMoments {
        optimizer: Optimizer::Adam { beta1: 0.9, beta2: 0.95, eps: 1e-8 },
        shape: vec![2],
        step: 3,
        second: SecondMoment::Full(vec![1.0, 4.0]),
        first: Some(vec![-1.0, 2.0]),
    };
    assert_eq!(moments.read("a").unwrap(), wanted);
    assert_eq!(moments.read("b").unwrap().first, None);
    let adafactor = [("schema", "veval.moments/1"), ("optimizer", "adafactor"), ("step", "3")];
    let (_folder, path) = named_file(
        &adafactor,
        &[
            ("exp_avg_sq.a", &[2], &[1.0, 4.0]),
            ("exp_avg_sq_row.b", &[1], &[2.0]),
            ("exp_avg_sq_col.b", &[2], &[1.0, 3.0]),
        ],
    );
    let found = Moments::open(&path, &model, Order::Unknown).unwrap().read("b").unwrap();
    assert_eq!(found.second, SecondMoment::Factored { rows: vec![2.0], columns: vec![1.0, 3.0] });
}

#[test]
fn every_fault_of_named_moments_is_told() {
    let model = [parameter("a", &[2]), parameter("b", &[1, 2]), parameter("c", &[1]), parameter("d", &[1])];
    let header = [("schema", "veval.moments/1"), ("optimizer", "adam"), ("step", "0"), ("beta1", "x"), ("eps", "inf")];
    let (_folder, path) = named_file(
        &header,
        &[
            ("exp_avg_sq.a", &[1, 2], &[1.0, 4.0]),
            ("exp_avg_sq_row.b", &[1], &[2.0]),
            ("exp_avg_sq.c", &[1], &[2.0]),
            ("exp_avg.c", &[1, 1], &[2.0]),
            ("exp_avg.e", &[1], &[2.0]),
        ],
    );
    let problems = refused(&path, &model, Order::Unknown);
    let wanted = [
        "expected a number under `beta1` of the header, found x",
        "expected a number under `beta2` of the header, found none",
        "expected a number under `eps` of the header, found inf",
        "expected a whole step of at least 1, found 0",
        "parameter a: expected second moments of the parameter's shape [2], found [1, 2]",
        "parameter b: expected exp_avg_sq, or exp_avg_sq_row and exp_avg_sq_col, found neither or both",
        "parameter c: expected first moments of the parameter's shape [1], found [1, 1]",
        "parameter d: expected exp_avg_sq",
        "tensor exp_avg.e: expected moments of a parameter of the model, found another name",
    ];
    assert_eq!(problems.len(), wanted.len(), "{problems:?}");
    for (problem, wanted) in problems.iter().zip(wanted) {
        assert!(problem.contains(wanted), "{problem}");
    }
    let halves: Tensors = &[("exp_avg_sq_row.b", &[1], &[2.0]), ("exp_avg_sq_col.b", &[2], &[1.0, 3.0])];
    let (_folder, path) = named_file(&ADAM, halves);
    assert!(refused(&path, &model[1..2], Order::Unknown)[0].contains("parameter b: expected exp_avg_sq of Adam"));
    let (_folder, path) = named_file(&[("schema", "veval.moments/2")], &[]);
    assert!(refused(&path, &model, Order::Unknown)[0].contains("expected the schema veval.moments/1"));
    let (_folder, path) = named_file(&[("schema", "veval.moments/1"), ("optimizer", "lion"), ("step", "1")], &[]);
    assert!(refused(&path, &[], Order::Unknown)[0].contains("adam or adafactor in the header, found lion"));
}
