//! `adapter_config.json` of a LoRA adapter, as PEFT 0.21 reads it.

use std::path::Path;

use fancy_regex::Regex;
use serde_json::Value;

use super::SETTINGS_FILE;
use crate::ckpt::config::{Config, ConfigReader};
use crate::error::{Error, Result};

/// What a LoRA adapter does.
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
pub(super) struct Settings {
    rank: usize,
    alpha: f64,
    /// Whether products are divided by the root of their rank.
    rank_stabilised: bool,
    /// For modules that fit, the first of them.
    ranks: Vec<(Regex, usize)>,
    alphas: Vec<(Regex, f64)>,
    targets: Modules,
    excluded: Modules,
    layers: Vec<usize>,
    /// What the lists of layers are called; any if there is none.
    layer_lists: Vec<Regex>,
    /// Ends of the names of modules whose own weights are stored.
    pub saved: Vec<String>,
    pub biases: Biases,
    /// Whether `B` has a bias.
    pub bias_of_b: bool,
    pub dora: bool,
    /// Whether what is done to the embedding is done to the head of a tied base.
    pub with_head: bool,
}

/// Which biases of the base are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Biases {
    None,
    All,
    OfTargets,
}

/// Some modules, by name.
enum Modules {
    /// Those of these names, or below which the path goes on.
    Named(Vec<String>),
    Matching(Regex),
}

/// Settings that change nothing about a trained adapter. `fan_in_fan_out` is among them: how a matrix lies is known from
/// the base, as PEFT overrules it by the module.
const OF_NO_EFFECT: &[&str] = &[
    "auto_mapping",
    "base_model_name_or_path",
    "corda_config",
    "eva_config",
    "fan_in_fan_out",
    "inference_mode",
    "loftq_config",
    "lora_dropout",
    "lora_ga_config",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "task_type",
];

const READ: &[&str] = &[
    "alpha_pattern",
    "bias",
    "ensure_weight_tying",
    "exclude_modules",
    "init_lora_weights",
    "layers_pattern",
    "layers_to_transform",
    "lora_alpha",
    "lora_bias",
    "modules_to_save",
    "peft_type",
    "r",
    "rank_pattern",
    "target_modules",
    "use_dora",
    "use_rslora",
];

/// Ways to begin that leave the weights of the base as they are.
const PLAIN_BEGINNINGS: [&str; 3] = ["gaussian", "eva", "orthogonal"];

impl Settings {
    pub fn read(folder: &Path) -> Result<Self> {
        let config = Config::of_file(&folder.join(SETTINGS_FILE))?;
        let mut reader = ConfigReader::new(&config);
        let kind = reader.text_or("peft_type", "");
        if kind != "LORA" {
            return Err(Error::bad(format!("expected an adapter of type LORA, found {kind:?}"))
                .in_file(&config.path)
                .at("key `peft_type`")
                .help("merge it with PEFT (`merge_and_unload`) and name the merged checkpoint"));
        }
        let begun = config.values.get("init_lora_weights");
        if begun.and_then(Value::as_str).is_some_and(|name| !PLAIN_BEGINNINGS.contains(&name)) {
            reader.refuse("init_lora_weights", "expected a base whose weights the adapter left as they were");
        }
        for (key, value) in &config.values {
            let known = READ.contains(&key.as_str()) || OF_NO_EFFECT.contains(&key.as_str());
            if !known && is_set(value) {
                reader.refuse(key, "expected no setting besides those of plain LoRA, RSLoRA and DoRA");
            }
        }
        let biases = match reader.text_or("bias", "none") {
            "none" => Biases::None,
            "all" => Biases::All,
            "lora_only" => Biases::OfTargets,
            _ => {
                reader.refuse("bias", "expected none, all or lora_only");
                Biases::None
            }
        };
        let this = Self {
            rank: reader.count_or("r", 8),
            alpha: reader.number_or("lora_alpha", 8.0),
            rank_stabilised: reader.flag_or("use_rslora", false),
            ranks: patterns(&mut reader, "rank_pattern", |value| {
                value.as_u64().filter(|rank| (1..1 << 31).contains(rank)).map(|rank| rank as usize)
            }),
            alphas: patterns(&mut reader, "alpha_pattern", |value| value.as_f64().filter(|alpha| alpha.is_finite())),
            targets: modules(&mut reader, "target_modules", config.values.get("target_modules")),
            excluded: modules(&mut reader, "exclude_modules", config.values.get("exclude_modules")),
            layers: match config.values.get("layers_to_transform") {
                Some(Value::Number(_)) => reader.optional_whole_number("layers_to_transform").into_iter().collect(),
                _ => reader.whole_numbers("layers_to_transform").unwrap_or_default(),
            },
            layer_lists: layer_lists(&mut reader, config.values.get("layers_pattern")),
            saved: reader.texts("modules_to_save").unwrap_or_default().into_iter().map(str::to_owned).collect(),
            biases,
            bias_of_b: reader.flag_or("lora_bias", false),
            dora: reader.flag_or("use_dora", false),
            with_head: reader.flag_or("ensure_weight_tying", false),
        };
        if this.bias_of_b && this.dora {
            reader.problem("lora_bias", "expected false together with `use_dora`, found true");
        }
        if matches!(&this.targets, Modules::Named(names) if names.is_empty()) {
            reader.refuse("target_modules", "expected the names of modules, or a regular expression");
        }
        Error::check(reader.into_problems())?;
        Ok(this)
    }

    /// The rank of a module's product, and what the product is multiplied by.
    pub fn rank_and_scale(&self, module: &str) -> Result<(usize, f32)> {
        let rank = first(&self.ranks, module)?.unwrap_or(self.rank);
        let alpha = first(&self.alphas, module)?.unwrap_or(self.alpha);
        let divisor = if self.rank_stabilised { (rank as f64).sqrt() } else { rank as f64 };
        Ok((rank, (alpha / divisor) as f32))
    }

    /// Whether a module, of any of these names, gets a product.
    pub fn targets(&self, names: &[&str]) -> Result<bool> {
        for name in names {
            if self.targets_one(name)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn targets_one(&self, module: &str) -> Result<bool> {
        let around = |saved: &String| format!(".{module}.").contains(&format!(".{saved}."));
        if self.excluded.contain(module)? || self.saved.iter().any(around) || !self.targets.contain(module)? {
            return Ok(false);
        }
        let whole = matches!(&self.targets, Modules::Named(names) if names.iter().any(|name| name == module));
        if self.layers.is_empty() || whole || matches!(self.targets, Modules::Matching(_)) {
            return Ok(true);
        }
        Ok(self.layer(module)?.is_some_and(|layer| self.layers.contains(&layer)))
    }

    /// The number behind the first list of layers in a module's path.
    fn layer(&self, module: &str) -> Result<Option<usize>> {
        let parts: Vec<&str> = module.split('.').collect();
        // The number is not the last, and a list of any name stands in something.
        let from = if self.layer_lists.is_empty() { 2 } else { 1 };
        for at in from..parts.len().saturating_sub(1) {
            let Ok(number) = parts[at].parse::<usize>() else { continue };
            let list = parts[..at].join(".");
            let fits = |known: &Regex| fits(known, &list);
            if self.layer_lists.is_empty() || any(&self.layer_lists, fits)? {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }
}

impl Modules {
    fn contain(&self, module: &str) -> Result<bool> {
        match self {
            Self::Named(names) => Ok(names.iter().any(|name| {
                module.strip_suffix(name.as_str()).is_some_and(|before| before.is_empty() || before.ends_with('.'))
            })),
            Self::Matching(regex) => fits(regex, module),
        }
    }
}

fn any<T>(list: &[T], test: impl Fn(&T) -> Result<bool>) -> Result<bool> {
    for item in list {
        if test(item)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The value of the first pattern that a module fits.
fn first<T: Copy>(patterns: &[(Regex, T)], module: &str) -> Result<Option<T>> {
    for (pattern, value) in patterns {
        if fits(pattern, module)? {
            return Ok(Some(*value));
        }
    }
    Ok(None)
}

fn fits(regex: &Regex, text: &str) -> Result<bool> {
    regex.is_match(text).map_err(|e| {
        Error::bad(format!("expected a regular expression that can be matched: {e}"))
            .at(format!("pattern {:?} on {text:?}", regex.as_str()))
    })
}

/// Whether a value is not what stands for "no".
fn is_set(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        _ => true,
    }
}

/// An expression that a whole text must match, behind some beginning of it.
fn compiled(reader: &mut ConfigReader<'_>, key: &str, before: &str, pattern: &str) -> Option<Regex> {
    match Regex::new(&format!(r"\A{before}(?:{pattern})\z")) {
        Ok(regex) => Some(regex),
        Err(e) => {
            reader.problem(key, &format!("expected a regular expression, found {pattern:?}: {e}"));
            None
        }
    }
}

/// An object whose keys are ends of module names, as expressions.
fn patterns<T>(reader: &mut ConfigReader<'_>, key: &str, read: impl Fn(&Value) -> Option<T>) -> Vec<(Regex, T)> {
    let mut patterns = Vec::new();
    for (pattern, value) in reader.object(key).into_iter().flatten() {
        match read(value) {
            Some(value) => patterns.extend(compiled(reader, key, r"(?:.*\.)?", pattern).map(|regex| (regex, value))),
            None => reader.problem(key, &format!("expected a number for {pattern:?}, found {value}")),
        }
    }
    patterns
}

/// A list of names, or an expression that whole names match.
fn modules(reader: &mut ConfigReader<'_>, key: &str, value: Option<&Value>) -> Modules {
    match value {
        Some(Value::String(pattern)) => {
            compiled(reader, key, "", pattern).map_or(Modules::Named(Vec::new()), Modules::Matching)
        }
        _ => Modules::Named(reader.texts(key).unwrap_or_default().into_iter().map(str::to_owned).collect()),
    }
}

fn layer_lists(reader: &mut ConfigReader<'_>, value: Option<&Value>) -> Vec<Regex> {
    let key = "layers_pattern";
    let names: Vec<String> = match value {
        Some(Value::String(name)) => vec![name.clone()],
        _ => reader.texts(key).unwrap_or_default().into_iter().map(str::to_owned).collect(),
    };
    let named = names.iter().filter(|name| !name.is_empty());
    named.filter_map(|name| compiled(reader, key, r"(?:.*\.)?", name)).collect()
}
