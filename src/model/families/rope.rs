//! Rotary positions as configurations describe them: in `rope_parameters` (transformers 5), or in `rope_scaling` and
//! the family's own keys (transformers 4).

use serde_json::{Map, Value};

use super::parts::positive;
use crate::ckpt::ConfigReader;
use crate::kernels::{RotaryScaling, RotarySpec};

/// Where a family's configuration names base and turning share of each head, and what holds where it does not.
#[derive(Clone, Copy)]
pub(super) struct Keys {
    pub theta: (&'static str, f64),
    /// `None` where whole heads turn: the library that wrote the checkpoint ignores a share then.
    pub fraction: Option<(&'static str, f64)>,
}

impl Default for Keys {
    fn default() -> Self {
        Self { theta: ("rope_theta", 10_000.0), fraction: None }
    }
}

impl Keys {
    /// The only table of a model.
    pub fn read(self, config: &mut ConfigReader<'_>, head_width: usize) -> RotarySpec {
        let object = ["rope_parameters", "rope_scaling"].into_iter().find_map(|key| Some((key, config.object(key)?)));
        self.read_from(config, head_width, object)
    }

    /// The table that `kind` of layers uses, where `rope_parameters` has one for each kind. Else `scaling`, if it has
    /// any, is in `rope_scaling`.
    pub fn read_kind(self, config: &mut ConfigReader<'_>, head_width: usize, kind: &str, scaled: bool) -> RotarySpec {
        let kinds = config.object("rope_parameters");
        let nested = kinds.and_then(|kinds| kinds.get(kind)).and_then(Value::as_object);
        if kinds.is_some() && nested.is_none() {
            config.refuse("rope_parameters", &format!("expected an object for {kind} layers"));
        }
        let object = match nested {
            Some(object) => Some(("rope_parameters", object)),
            None => config.object("rope_scaling").filter(|_| scaled).map(|object| ("rope_scaling", object)),
        };
        self.read_from(config, head_width, object)
    }

    fn read_from<'a>(
        self,
        config: &mut ConfigReader<'a>,
        head_width: usize,
        object: Option<(&str, &'a Map<String, Value>)>,
    ) -> RotarySpec {
        let mut theta = config.number_or(self.theta.0, self.theta.1);
        let (fraction_key, fraction) = self.fraction.unwrap_or(("partial_rotary_factor", 1.0));
        let mut fraction = config.number_or(fraction_key, fraction);
        let context = config.optional_count("max_position_embeddings");
        let mut scaling = RotaryScaling::None;
        if let Some((key, object)) = object {
            let mut inner = config.nested(object);
            theta = inner.number_or("rope_theta", theta);
            fraction = inner.number_or("partial_rotary_factor", fraction);
            scaling = read_scaling(&mut inner, context);
            let problems = inner.into_problems();
            config.absorb(problems.into_iter().map(|p| p.help(format!("see `{key}`"))).collect());
        }
        if theta <= 1.0 {
            config.problem("rope_theta", &format!("expected a number above 1, found {theta}"));
        }
        if !(0.0..=1.0).contains(&fraction) {
            config.problem("partial_rotary_factor", &format!("expected a share from 0 to 1, found {fraction}"));
        }
        if let RotaryScaling::Divided { by } = &scaling
            && by.len() != head_width / 2
        {
            let message = format!("expected {} factors, found {}", head_width / 2, by.len());
            config.problem("rope_scaling", &message);
        }
        // transformers truncates the product; an odd number of turning entries has no halves.
        let dims = (head_width as f64 * fraction) as usize;
        if !dims.is_multiple_of(2) {
            let message = format!("expected an even number of rotary entries, found {dims} of {head_width}");
            config.problem(fraction_key, &message);
        }
        if self.fraction.is_none() && fraction != 1.0 {
            config.problem(fraction_key, &format!("expected 1: whole heads turn in this family, found {fraction}"));
        }
        RotarySpec { dims, theta, scaling }
    }
}

fn read_scaling(inner: &mut ConfigReader<'_>, context: Option<usize>) -> RotaryScaling {
    // Old configurations say `type`.
    let kind = inner.text_or(if inner.has("rope_type") { "rope_type" } else { "type" }, "default");
    match kind {
        "default" => RotaryScaling::None,
        "linear" => RotaryScaling::Linear { factor: positive(inner, "factor", None) },
        "llama3" => RotaryScaling::Llama3 {
            factor: positive(inner, "factor", None),
            low_freq_factor: positive(inner, "low_freq_factor", None),
            high_freq_factor: positive(inner, "high_freq_factor", None),
            original_context: positive(inner, "original_max_position_embeddings", None),
        },
        "divided" => RotaryScaling::Divided { by: inner.numbers("factors").unwrap_or_default() },
        "yarn" => yarn(inner, context),
        other => {
            inner.problem(
                "rope_type",
                &format!("expected one of default, linear, llama3, yarn, found {other:?}{}", why_not(other)),
            );
            RotaryScaling::None
        }
    }
}

/// YaRN with the defaults of transformers 5.23. The attention factor multiplies cosines and sines.
fn yarn(inner: &mut ConfigReader<'_>, context: Option<usize>) -> RotaryScaling {
    let factor = positive(inner, "factor", None);
    let magnitude = |scale: f64| if factor <= 1.0 { 1.0 } else { 0.1 * scale * libm::log(factor) + 1.0 };
    let attention_factor = match (inner.has("attention_factor"), inner.has("mscale") && inner.has("mscale_all_dim")) {
        (true, _) => positive(inner, "attention_factor", None),
        (false, true) => {
            magnitude(positive(inner, "mscale", None)) / magnitude(positive(inner, "mscale_all_dim", None))
        }
        (false, false) => magnitude(1.0),
    };
    RotaryScaling::Yarn {
        factor,
        beta_fast: positive(inner, "beta_fast", Some(32.0)),
        beta_slow: positive(inner, "beta_slow", Some(1.0)),
        original_context: positive(inner, "original_max_position_embeddings", context.map(|n| n as f64)),
        truncate: inner.flag_or("truncate", true),
        attention_factor,
    }
}

fn why_not(kind: &str) -> &'static str {
    match kind {
        "dynamic" | "longrope" | "su" => {
            ", which depends on the length of each text: a shared prefix would have no fixed meaning"
        }
        _ => "",
    }
}
