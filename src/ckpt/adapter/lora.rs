//! A PEFT folder: which tensors of the base get which products, biases and replacements.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::merge::{Change, Plus, Product, Start};
use super::settings::{Biases, Settings};
use super::{Base, Laid, MatrixKind, SETTINGS_FILE};
use crate::ckpt::weights::WeightFiles;
use crate::diag::Diagnostic;
use crate::error::{Error, Result};

/// What PEFT puts before every name.
const PREFIX: &str = "base_model.model.";
/// What it calls the head, whatever the checkpoint does.
const HEADS: [&str; 2] = ["lm_head", "embed_out"];

/// What a tensor is to its module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    A,
    B,
    BiasOfB,
    /// Of a table.
    TableA,
    TableB,
    Magnitude,
}

const ENDINGS: [(&str, Part); 7] = [
    (".lora_A.weight", Part::A),
    (".lora_B.weight", Part::B),
    (".lora_B.bias", Part::BiasOfB),
    (".lora_embedding_A", Part::TableA),
    (".lora_embedding_B", Part::TableB),
    (".lora_magnitude_vector", Part::Magnitude),
    (".lora_magnitude_vector.weight", Part::Magnitude),
];

/// Reads an adapter's settings and headers and compares them with the base.
pub(super) fn read(folder: &Path, base: &Base<'_>) -> Result<Laid> {
    let (settings, files) = match (Settings::read(folder), WeightFiles::open_adapter(folder)) {
        (Ok(settings), Ok(files)) => (settings, files),
        (Err(a), Err(b)) => return Err(Error::all([a.into_diagnostics(), b.into_diagnostics()].concat())),
        (Err(error), _) | (_, Err(error)) => return Err(error),
    };
    let mut reader = Reader { base, settings, files: &files, folder, problems: Vec::new(), plan: Plan::default() };
    let parts = reader.sort();
    reader.products(&parts)?;
    reader.missing(&parts)?;
    Error::check(std::mem::take(&mut reader.problems))?;
    let (changes, unties) = reader.changes();
    Ok(Laid { files, changes, unties })
}

struct Reader<'a> {
    base: &'a Base<'a>,
    settings: Settings,
    files: &'a WeightFiles,
    folder: &'a Path,
    problems: Vec<Diagnostic>,
    plan: Plan,
}

/// By parameter of the base.
#[derive(Default)]
struct Plan {
    /// Tensors that take a parameter's place.
    replaced: BTreeMap<String, String>,
    /// Of these, those that were stored as a base below a product: embedding and head of a tied base share it.
    below: BTreeSet<String>,
    plus: BTreeMap<String, Plus>,
}

/// Tensors of each module.
type Parts = BTreeMap<String, BTreeMap<Part, String>>;

impl Reader<'_> {
    fn problem(&mut self, name: &str, message: String) {
        let file = self.files.get(name).map_or(self.folder, |info| self.files.file_of(info));
        self.problems.push(Diagnostic::new(message).in_file(file).at(format!("tensor {name}")));
    }

    /// Sorts the tensors into parts of products and replacements.
    fn sort(&mut self) -> Parts {
        let mut parts = Parts::new();
        for (name, info) in self.files.tensors() {
            if info.dtype.is_none() {
                self.problem(name, format!("expected F32, F16 or BF16, found {}", info.dtype_name));
            }
            let Some(rest) = name.strip_prefix(PREFIX) else {
                self.problem(name, format!("expected a name that begins with {PREFIX}"));
                continue;
            };
            let ending = ENDINGS.iter().find_map(|(end, part)| Some((rest.strip_suffix(end)?, *part)));
            if let Some((module, part)) = ending {
                if let Some(other) = parts.entry(module.to_owned()).or_default().insert(part, name.clone()) {
                    self.problem(name, format!("expected one of its kind, found {other} as well"));
                }
                continue;
            }
            let plain = rest.replace(".base_layer.", ".").replace(".modules_to_save.", ".");
            let parameter = plain.rsplit_once('.').map(|(module, end)| self.parameter(module, end));
            let Some(shape) = parameter.as_ref().and_then(|parameter| self.shape(parameter)) else {
                self.problem(name, "expected a part of LoRA or a tensor that the base has, found this one".to_owned());
                continue;
            };
            if info.shape != shape {
                let (wanted, found) = (shape.to_vec(), &info.shape);
                self.problem(name, format!("expected the base's shape {wanted:?}, found {found:?}"));
                continue;
            }
            let parameter = parameter.unwrap_or_default();
            if rest.contains(".base_layer.") {
                self.plan.below.insert(parameter.clone());
            }
            self.plan.replaced.insert(parameter, name.clone());
        }
        parts
    }

    /// The parameter of a module: the head goes by two names.
    fn parameter(&self, module: &str, end: &str) -> String {
        let named = format!("{module}.{end}");
        let head = HEADS.contains(&module) && end == "weight" && !self.base.stored.contains_key(&named);
        if head { self.base.head.to_owned() } else { named }
    }

    /// The shape of a parameter; the head of a tied base has the embedding's.
    fn shape(&self, parameter: &str) -> Option<&[usize]> {
        let tied = self.base.tied && parameter == self.base.head;
        self.base.find(if tied { self.base.embedding } else { parameter }).map(|(_, shape)| shape)
    }

    fn kind(&self, parameter: &str) -> Option<MatrixKind> {
        let head = parameter == self.base.head;
        self.base.matrices.get(parameter).copied().or(head.then_some(MatrixKind::Rows))
    }

    /// Every module's product.
    fn products(&mut self, parts: &Parts) -> Result<()> {
        for (module, parts) in parts {
            let parameter = self.parameter(module, "weight");
            let some = parts.values().next().cloned().unwrap_or_default();
            let shape = self.shape(&parameter).and_then(|shape| <[usize; 2]>::try_from(shape).ok());
            let Some((kind, [rows, columns])) = self.kind(&parameter).zip(shape) else {
                self.problem(&some, format!("expected a linear map or an embedding of the base, found {module:?}"));
                continue;
            };
            let transposed = kind != MatrixKind::Rows;
            let [out, input] = if transposed { [columns, rows] } else { [rows, columns] };
            let (rank, scale) = self.settings.rank_and_scale(module).map_err(|e| e.in_file(self.settings_file()))?;
            let table = kind == MatrixKind::Table;
            let [a, b] = if table { [Part::TableA, Part::TableB] } else { [Part::A, Part::B] };
            let mut wanted = vec![(a, vec![rank, input]), (b, vec![out, rank])];
            if self.settings.dora {
                wanted.push((Part::Magnitude, vec![out]));
            }
            if self.settings.bias_of_b && !table {
                wanted.push((Part::BiasOfB, vec![out]));
            }
            for (part, shape) in &wanted {
                self.check_part(module, parts, *part, shape);
            }
            for (part, name) in parts {
                if !wanted.iter().any(|(known, _)| known == part) {
                    self.problem(name, format!("expected no such part of {module} by {SETTINGS_FILE}"));
                }
            }
            let mut names = self.names(&parameter);
            if self.settings.with_head && self.base.tied && parameter == self.base.head {
                names.extend(self.names(self.base.embedding));
            }
            if !self.settings.targets(&names).map_err(|e| e.in_file(self.settings_file()))? {
                self.problem(&some, format!("expected a module among the `target_modules`, found {module:?}"));
            }
            let (Some(a), Some(b)) = (parts.get(&a).cloned(), parts.get(&b).cloned()) else { continue };
            let magnitude = parts.get(&Part::Magnitude).cloned();
            let product = Product { a, b, rank, scale, transposed, magnitude };
            self.plan.plus.insert(parameter, Plus::Product(product));
            if let Some(name) = parts.get(&Part::BiasOfB).cloned() {
                let bias = self.parameter(module, "bias");
                if self.base.find(&bias).is_none() {
                    self.problem(&name, format!("expected a bias of {module} in the base to add this to, found none"));
                }
                self.plan.plus.insert(bias, Plus::Tensor { name, scale });
            }
        }
        Ok(())
    }

    fn check_part(&mut self, module: &str, parts: &BTreeMap<Part, String>, part: Part, shape: &[usize]) {
        let Some(name) = parts.get(&part) else {
            let ending = ENDINGS.iter().find(|(_, known)| *known == part).map_or("", |(end, _)| end);
            self.problem(
                &format!("{PREFIX}{module}{ending}"),
                format!("expected shape {shape:?}, found no such tensor"),
            );
            return;
        };
        let found = self.files.get(name).map(|info| info.shape.clone()).unwrap_or_default();
        if found != shape {
            let message = format!("expected shape {shape:?} by {SETTINGS_FILE} and the base, found {found:?}");
            self.problem(name, message);
        }
    }

    fn settings_file(&self) -> std::path::PathBuf {
        self.folder.join(SETTINGS_FILE)
    }

    /// What a parameter's module may be called.
    fn names<'b>(&self, parameter: &'b str) -> Vec<&'b str> {
        let module = parameter.rsplit_once('.').map_or(parameter, |(module, _)| module);
        if parameter == self.base.head { HEADS.into_iter().chain([module]).collect() } else { vec![module] }
    }

    /// Whatever the settings promise and the file does not have.
    fn missing(&mut self, parts: &Parts) -> Result<()> {
        let mut promised = Vec::new();
        let tied_head = self.base.tied.then_some(self.base.head);
        let matrices = self.base.matrices.keys().map(String::as_str).chain(tied_head);
        let has_expert = parts.keys().any(|module| module.contains(".experts."));
        for parameter in matrices {
            // transformers 5 keeps the experts of a layer together, where LoRA does not reach them.
            let aside = parameter.contains(".experts.") && !has_expert;
            if aside || !self.settings.targets(&self.names(parameter)).map_err(|e| e.in_file(self.settings_file()))? {
                continue;
            }
            if !self.plan.plus.contains_key(parameter) {
                promised.push((parameter.to_owned(), "target_modules"));
            }
            let bias = parameter.strip_suffix("weight").map(|stem| format!("{stem}bias")).unwrap_or_default();
            if self.settings.biases == Biases::OfTargets && self.lacks(&bias) {
                promised.push((bias, "bias"));
            }
        }
        for parameter in self.base.stored.keys().map(String::as_str).chain(tied_head) {
            let module = parameter.rsplit_once('.').map_or(parameter, |(module, _)| module);
            let names = self.names(parameter);
            let saved = |end: &String| names.iter().any(|name| name.ends_with(end.as_str())) || below(module, end);
            if self.settings.saved.iter().any(saved) && !self.plan.replaced.contains_key(parameter) {
                promised.push((parameter.to_owned(), "modules_to_save"));
            }
            let is_bias = parameter.rsplit('.').next() == Some("bias");
            if self.settings.biases == Biases::All && is_bias && self.lacks(parameter) {
                promised.push((parameter.to_owned(), "bias"));
            }
        }
        let file = self.settings_file();
        self.problems.extend(promised.into_iter().map(|(parameter, key)| {
            Diagnostic::new(format!("expected weights for {parameter}, which this names, found none in the adapter"))
                .in_file(&file)
                .at(format!("key `{key}`"))
        }));
        if self.plan.plus.is_empty() && self.plan.replaced.is_empty() && self.problems.is_empty() {
            self.problem("", "expected weights in the adapter, found none".to_owned());
        }
        Ok(())
    }

    /// Whether the base has this parameter and the adapter does not.
    fn lacks(&self, parameter: &str) -> bool {
        self.base.stored.contains_key(parameter) && !self.plan.replaced.contains_key(parameter)
    }

    /// The changes by stored name, and whether they part embedding and head.
    fn changes(&self) -> (BTreeMap<String, Change>, bool) {
        let Plan { replaced, below, plus } = &self.plan;
        let Base { embedding, head, tied, .. } = *self.base;
        let touched = |parameter: &str| {
            plus.contains_key(parameter) || (replaced.contains_key(parameter) && !below.contains(parameter))
        };
        let parts = tied && (touched(embedding) || touched(head));
        let mut parameters: BTreeSet<&str> = replaced.keys().chain(plus.keys()).map(String::as_str).collect();
        if parts {
            parameters.extend([embedding, head]);
        }
        // What was stored below a product of either is the one matrix that both begin with.
        let shared = [embedding, head].into_iter().find_map(|name| replaced.get(name).filter(|_| below.contains(name)));
        let mut changes = BTreeMap::new();
        for parameter in parameters {
            let both = tied && [embedding, head].contains(&parameter);
            let stored = |name: &str| self.base.stored.get(name).cloned().unwrap_or_else(|| name.to_owned());
            let start = match replaced.get(parameter).or(shared.filter(|_| both)) {
                Some(name) => Start::Addition(name.clone()),
                None => Start::Base(stored(if both { embedding } else { parameter })),
            };
            let target = if both && !parts { embedding } else { parameter };
            changes.insert(stored(target), Change { start, plus: plus.get(parameter).cloned() });
        }
        (changes, parts)
    }
}

/// Whether a module lies below one whose name ends so.
fn below(module: &str, end: &str) -> bool {
    module.match_indices('.').any(|(at, _)| module[..at].ends_with(end))
}
