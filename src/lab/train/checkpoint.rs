//! What a run leaves on disk: checkpoints in Hugging Face's layout, and the state from which training goes on.
//!
//! | file | what |
//! | --- | --- |
//! | `config.json`, `tokenizer.json`, `tokenizer_config.json` | as transformers reads them |
//! | `model.safetensors` | weights, in float16 or float32 |
//! | `trainer_state.json` | how far training is (`progress.rs`) |
//! | `moments.safetensors` | `exp_avg.NAME` and `exp_avg_sq.NAME` in float32 (`veval.moments/1`), where asked for |
//!
//! `state/STEP` of a run has the last three, in float32: it is no checkpoint of the series.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::adamw::{AdamW, Moments};
use super::gradient::Parameters;
use super::progress::Progress;
use crate::ckpt::{TensorElement, TensorFile, TensorPlan, write_tensor_file};
use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::util::files;

const WEIGHTS: &str = "model.safetensors";
const MOMENTS: &str = "moments.safetensors";
const STATE: &str = "trainer_state.json";
/// Two numbers for each source.
const MOST_STATE_BYTES: u64 = 64 << 20;

/// How weights are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    #[default]
    Float16,
    Float32,
}

impl Precision {
    fn element(self) -> TensorElement {
        match self {
            Self::Float16 => TensorElement::F16,
            Self::Float32 => TensorElement::F32,
        }
    }

    /// As `config.json` names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Float16 => "float16",
            Self::Float32 => "float32",
        }
    }
}

/// Everything that the next step depends on besides the plan.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    pub progress: Progress,
    pub weights: Parameters,
    pub moments: BTreeMap<String, Moments>,
}

/// Files that are the same in every checkpoint of a run.
#[derive(Debug, Clone)]
pub struct Companions {
    /// Without `torch_dtype`, which depends on how weights are stored.
    pub config: Map<String, Value>,
    pub tokenizer: String,
    pub tokenizer_settings: Value,
}

/// Names and shapes of parameters.
pub type Shapes = BTreeMap<String, Vec<usize>>;

impl State {
    /// Writes a checkpoint of the series: a reader sees all of it or none.
    pub fn write_checkpoint(
        &self,
        folder: &Path,
        shapes: &Shapes,
        companions: &Companions,
        (precision, optimizer): (Precision, Option<&AdamW>),
    ) -> Result<()> {
        files::whole_folder(folder, |partial| {
            let mut config = companions.config.clone();
            config.insert("torch_dtype".to_owned(), json!(precision.name()));
            write_json(&partial.join("config.json"), &Value::Object(config))?;
            files::write_atomic(&partial.join("tokenizer.json"), companions.tokenizer.as_bytes())?;
            write_json(&partial.join("tokenizer_config.json"), &companions.tokenizer_settings)?;
            self.write_numbers(partial, shapes, precision, optimizer)
        })
    }

    /// Writes what training goes on from into a folder of its own, then removes those of earlier steps.
    pub fn keep(&self, states: &Path, shapes: &Shapes, optimizer: &AdamW) -> Result<()> {
        files::create_folder(states)?;
        let own = self.progress.step;
        let folder = states.join(own.to_string());
        files::whole_folder(&folder, |partial| {
            self.write_numbers(partial, shapes, Precision::Float32, Some(optimizer))
        })?;
        let mut earlier = kept_steps(states)?;
        earlier.retain(|step| *step != own);
        earlier.into_iter().try_for_each(|step| files::remove_folder(&states.join(step.to_string())))
    }

    /// The last state that was kept, if there is one.
    pub fn last_kept(states: &Path, shapes: &Shapes) -> Result<Option<Self>> {
        if !states.exists() {
            return Ok(None);
        }
        let last = kept_steps(states)?.into_iter().max();
        last.map(|step| Self::read(&states.join(step.to_string()), shapes)).transpose()
    }

    fn write_numbers(
        &self,
        folder: &Path,
        shapes: &Shapes,
        precision: Precision,
        optimizer: Option<&AdamW>,
    ) -> Result<()> {
        let of = |name: &str| self.weights.get(name).ok_or_else(|| Error::internal(format!("no weights of {name}")));
        let element = precision.element();
        let plans = shapes.iter().map(|(name, shape)| TensorPlan { name: name.clone(), element, shape: shape.clone() });
        let format = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
        write_tensor_file(&folder.join(WEIGHTS), &format, plans.collect(), |plan| Ok(element.encode(of(&plan.name)?)))?;
        if let Some(optimizer) = optimizer.filter(|_| self.progress.step > 0) {
            self.write_moments(&folder.join(MOMENTS), shapes, optimizer)?;
        }
        let progress = serde_json::to_value(&self.progress);
        write_json(&folder.join(STATE), &progress.map_err(|e| Error::internal(e.to_string()))?)
    }

    fn write_moments(&self, path: &Path, shapes: &Shapes, optimizer: &AdamW) -> Result<()> {
        let header = [
            ("schema", "veval.moments/1".to_owned()),
            ("optimizer", "adam".to_owned()),
            ("step", self.progress.step.to_string()),
            ("beta1", optimizer.beta1.to_string()),
            ("beta2", optimizer.beta2.to_string()),
            ("eps", optimizer.eps.to_string()),
        ];
        let header = header.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let plan = |kind: &str, (name, shape): (&String, &Vec<usize>)| TensorPlan {
            name: format!("{kind}.{name}"),
            element: TensorElement::F32,
            shape: shape.clone(),
        };
        let plans = KINDS.iter().flat_map(|kind| shapes.iter().map(|entry| plan(kind, entry)));
        write_tensor_file(path, &header, plans.collect(), |plan| {
            let (kind, name) = plan.name.split_once('.').unwrap_or_default();
            let of = self.moments.get(name).ok_or_else(|| Error::internal(format!("no moments of {name}")))?;
            Ok(TensorElement::F32.encode(if kind == KINDS[0] { &of.exp_avg } else { &of.exp_avg_sq }))
        })
    }

    /// Reads a state, or a checkpoint of this trainer in float32 with moments.
    ///
    /// # Errors
    /// Files that are missing, numbers that cannot be, tensors that are missing, of another shape or type.
    pub fn read(folder: &Path, shapes: &Shapes) -> Result<Self> {
        let state = folder.join(STATE);
        let progress: Progress = read_json(&state)?;
        progress.check().map_err(|error| error.in_file(&state))?;
        let weights = read_floats(&folder.join(WEIGHTS), "", shapes)?;
        let mut moments = BTreeMap::new();
        if progress.step == 0 {
            let zero = |shape: &Vec<usize>| Moments::zero(shape.iter().product());
            moments.extend(shapes.iter().map(|(name, shape)| (name.clone(), zero(shape))));
        } else {
            let path = folder.join(MOMENTS);
            if !path.exists() {
                return Err(Error::bad(format!("expected {MOMENTS}, found none"))
                    .in_file(folder)
                    .help("training goes on from checkpoints that were written with `moments = true`"));
            }
            let [first, second] = KINDS.map(|kind| read_floats(&path, &format!("{kind}."), shapes));
            for ((name, exp_avg), exp_avg_sq) in first?.into_iter().zip(second?.into_values()) {
                moments.insert(name, Moments { exp_avg, exp_avg_sq });
            }
        }
        Ok(Self { progress, weights, moments })
    }
}

const KINDS: [&str; 2] = ["exp_avg", "exp_avg_sq"];

/// Steps of the states in a folder.
fn kept_steps(states: &Path) -> Result<Vec<u64>> {
    let failed = |e: std::io::Error| Error::io("list", states, &e);
    let entries = std::fs::read_dir(states).map_err(failed)?;
    let name = |entry: std::io::Result<std::fs::DirEntry>| Ok(entry.map_err(failed)?.file_name());
    let names: Vec<_> = entries.map(name).collect::<Result<_>>()?;
    Ok(names.iter().filter_map(|name| name.to_str()?.parse().ok()).collect())
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    files::write_atomic(path, format!("{value:#}\n").as_bytes())
}

fn read_json<T: serde::de::DeserializeOwned>(path: &PathBuf) -> Result<T> {
    let bytes = files::read_bounded(path, MOST_STATE_BYTES)?;
    serde_json::from_slice(&bytes)
        .map_err(|e| Error::bad(format!("expected what this trainer writes: {e}")).in_file(path))
}

/// The float32 tensors `prefix + name` of these names and shapes.
fn read_floats(path: &Path, prefix: &str, shapes: &Shapes) -> Result<Parameters> {
    let file = TensorFile::open(path)?;
    let (mut values, mut problems) = (Parameters::new(), Vec::new());
    for (name, shape) in shapes {
        let stored = format!("{prefix}{name}");
        let expected = format!("expected float32 of shape {shape:?}");
        let problem = match file.tensors().get(&stored) {
            None => format!("{expected}, found no such tensor"),
            Some(tensor) if &tensor.shape != shape || tensor.element != Some(TensorElement::F32) => {
                format!("{expected}, found {} of shape {:?}", tensor.element_name, tensor.shape)
            }
            Some(_) => {
                values.insert(name.clone(), file.read_floats(&stored)?);
                continue;
            }
        };
        problems.push(Diagnostic::new(problem).in_file(path).at(format!("tensor {stored}")));
    }
    Error::check(problems)?;
    Ok(values)
}
