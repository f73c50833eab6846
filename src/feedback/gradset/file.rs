//! A set on disk; the face of this module says what stands there.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Evidence, GradSet, Gradients, Kind, Provenance};
use crate::ckpt::{TensorElement, TensorFile, TensorPlan, write_tensor_file};
use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::feedback::store::Reduction;
use crate::request::SiteValues;

const SCHEMA: &str = "veval.gradset/1";
const SIGN: &str = "gradient of the loss: a step against it lowers the loss";
const UNKNOWN: &str = "unknown";
const NONE: &str = "none";

/// How values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// Rounded to the nearest, ties to even.
    #[default]
    Bf16,
    F32,
}

impl GradSet {
    /// Writes the set as one file, whole or not at all.
    ///
    /// # Errors
    /// Values that bfloat16 cannot hold or that are no numbers, with their tensor; what the disk says.
    pub fn write(&self, path: &Path, precision: Precision) -> Result<()> {
        let element = match precision {
            Precision::Bf16 => TensorElement::Bf16,
            Precision::F32 => TensorElement::F32,
        };
        let plan = |(name, tensor): (&String, &SiteValues)| TensorPlan {
            name: name.clone(),
            element,
            shape: tensor.shape.clone(),
        };
        let plans = self.tensors.iter().map(plan).collect();
        write_tensor_file(path, &self.header(), plans, |plan| {
            let values = &self.tensors[&plan.name].values;
            let fits = |value: f32| match precision {
                Precision::Bf16 => half::bf16::from_f32(value).is_finite(),
                Precision::F32 => value.is_finite(),
            };
            match values.iter().find(|&&value| !fits(value)) {
                None => Ok(element.encode(values)),
                Some(value) => Err(Error::bad(format!("expected finite values within {precision:?}, found {value}"))
                    .at(format!("tensor {}", plan.name))
                    .in_file(path)),
            }
        })
    }

    fn header(&self) -> BTreeMap<String, String> {
        let Provenance { name, checkpoint, step, loss, reduction, optimizer } = &self.provenance;
        let Evidence { items, norm_mean, norm_median, split_half_cosine } = &self.evidence;
        let or_unknown = |value: Option<String>| value.unwrap_or_else(|| UNKNOWN.to_owned());
        let mut header: BTreeMap<String, String> = [
            ("schema", SCHEMA.to_owned()),
            ("kind", self.kind.name().to_owned()),
            ("name", name.clone()),
            ("checkpoint", checkpoint.clone()),
            ("step", or_unknown(step.map(|step| step.to_string()))),
            ("loss", loss.clone()),
            ("reduction", reduction_name(*reduction).to_owned()),
            ("sign", SIGN.to_owned()),
            ("optimizer", optimizer.clone().unwrap_or_else(|| NONE.to_owned())),
            ("items", items.to_string()),
            ("norm_mean", norm_mean.to_string()),
            ("norm_median", norm_median.to_string()),
            ("split_half_cosine", or_unknown(split_half_cosine.map(|cosine| cosine.to_string()))),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into();
        header.extend(self.evidence.warning().map(|warning| ("warning".to_owned(), warning)));
        header
    }

    /// Reads a set.
    ///
    /// # Errors
    /// Everything in the header that is missing or wrong; tensors of other element types or with values that are no
    /// numbers.
    pub fn read(path: &Path) -> Result<Self> {
        let file = TensorFile::open(path)?;
        let found = file.metadata().get("schema").map_or(NONE, String::as_str);
        if found != SCHEMA {
            return Err(Error::bad(format!("expected the schema {SCHEMA}, found {found}")).in_file(path));
        }
        let mut header = Header { strings: file.metadata(), problems: Vec::new() };
        let kind = header.read("kind", "a kind of set", |text| Kind::ALL.into_iter().find(|kind| kind.name() == text));
        let provenance = provenance(&mut header);
        let evidence = evidence(&mut header);
        header.read("sign", SIGN, |text| (text == SIGN).then_some(()));
        let mut problems = header.problems;
        let mut tensors = Gradients::new();
        for (name, tensor) in file.tensors() {
            match file.read_floats(name) {
                Err(error) => problems.extend(error.into_diagnostics()),
                Ok(values) => {
                    if let Some(value) = values.iter().find(|value| !value.is_finite()) {
                        let message = format!("expected finite values, found {value}");
                        problems.push(Diagnostic::new(message).at(format!("tensor {name}")));
                    }
                    tensors.insert(name.clone(), SiteValues { shape: tensor.shape.clone(), values });
                }
            }
        }
        match (kind, provenance, evidence) {
            (Some(kind), Some(provenance), Some(evidence)) if problems.is_empty() => {
                Ok(Self { kind, provenance, evidence, tensors })
            }
            _ => Err(Error::all(problems).in_file(path)),
        }
    }
}

fn reduction_name(reduction: Reduction) -> &'static str {
    match reduction {
        Reduction::Sum => "sum",
        Reduction::Mean => "mean",
    }
}

/// Strings that are read one by one, and what was wrong with them.
struct Header<'a> {
    strings: &'a BTreeMap<String, String>,
    problems: Vec<Diagnostic>,
}

impl Header<'_> {
    fn read<T>(&mut self, key: &str, wanted: &str, read: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let found = self.strings.get(key);
        let value = found.and_then(|text| read(text));
        if value.is_none() {
            let found = found.map_or_else(|| "none".to_owned(), |text| format!("{text:?}"));
            let message = format!("expected {wanted} under `{key}` of the header, found {found}");
            self.problems.push(Diagnostic::new(message));
        }
        value
    }

    fn text(&mut self, key: &str) -> Option<String> {
        self.read(key, "a text", |text| Some(text.to_owned()))
    }

    fn at_least_zero(&mut self, key: &str) -> Option<f64> {
        let number = |text: &str| text.parse().ok().filter(|value: &f64| value.is_finite() && *value >= 0.0);
        self.read(key, "a number of at least 0", number)
    }
}

// Every field is read before any is missed, so that all problems are found.

fn provenance(header: &mut Header) -> Option<Provenance> {
    let (name, checkpoint, loss) = (header.text("name"), header.text("checkpoint"), header.text("loss"));
    let step = header.read("step", "a step or `unknown`", |text| match text {
        UNKNOWN => Some(None),
        number => number.parse().ok().map(Some),
    });
    let reduction = header.read("reduction", "sum or mean", |text| {
        [Reduction::Sum, Reduction::Mean].into_iter().find(|reduction| reduction_name(*reduction) == text)
    });
    let optimizer = header.text("optimizer").map(|text| (text != NONE).then_some(text));
    Some(Provenance {
        name: name?,
        checkpoint: checkpoint?,
        step: step?,
        loss: loss?,
        reduction: reduction?,
        optimizer: optimizer?,
    })
}

fn evidence(header: &mut Header) -> Option<Evidence> {
    let items =
        header.read("items", "a count of at least 1", |text| text.parse().ok().filter(|&items: &u64| items > 0));
    let (norm_mean, norm_median) = (header.at_least_zero("norm_mean"), header.at_least_zero("norm_median"));
    let split_half_cosine = header.read("split_half_cosine", "a cosine or `unknown`", |text| match text {
        UNKNOWN => Some(None),
        number => number.parse().ok().filter(|cosine| (-1.0..=1.0).contains(cosine)).map(Some),
    });
    Some(Evidence {
        items: items?,
        norm_mean: norm_mean?,
        norm_median: norm_median?,
        split_half_cosine: split_half_cosine?,
    })
}
