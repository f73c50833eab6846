//! In which order torch names the parameters of a family: that of its modules, which no file of a checkpoint keeps.

use std::collections::BTreeMap;

use super::Parameter;
use crate::diag::Diagnostic;
use crate::error::{Error, Result};

/// A line a family: `model_type`, and its parameters in order, with a star for every number. From transformers 5.23 by
/// `tests/oracle/precondition.py`. A version whose modules stood in another order, or code of one's own, cannot be told
/// from its states; names in the optimizer can.
const ORDERS: &str = include_str!("module_orders.tsv");

/// Sorts the parameters of a checkpoint as `model.named_parameters()` of transformers lists them.
///
/// # Errors
/// A family whose order is not known (mixtures of experts are not: transformers trains other tensors than checkpoints
/// have); parameters that the family does not have.
pub fn sort_by_module(model_type: &str, parameters: &mut [Parameter]) -> Result<()> {
    let order = ORDERS.lines().filter_map(|line| line.split_once('\t')).find(|(family, _)| *family == model_type);
    let (_, names) = order.ok_or_else(|| {
        Error::bad(format!("expected a family whose order of parameters is known, found {model_type}"))
            .help(super::mapping::NAMES_HELP)
    })?;
    // Of each path, the place of the first parameter below it.
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for (place, name) in names.split(' ').enumerate() {
        for path in paths(name) {
            places.entry(path).or_insert(place);
        }
    }
    let known = |name: &str| names.split(' ').any(|known| known == starred(name));
    let unknown = parameters.iter().filter(|parameter| !known(&parameter.name)).map(|parameter| {
        Diagnostic::new(format!("expected a parameter of {model_type}, found another name"))
            .at(format!("parameter {}", parameter.name))
    });
    Error::check(unknown.collect())?;
    // Depth first: at each level by the place among the siblings, or by number.
    parameters.sort_by_cached_key(|parameter| -> Vec<u64> {
        let level = |(part, path): (&str, String)| part.parse().unwrap_or_else(|_| places[&path] as u64);
        parameter.name.split('.').zip(paths(&parameter.name)).map(level).collect()
    });
    Ok(())
}

/// The paths from the root to a name, itself included, with stars.
fn paths(name: &str) -> Vec<String> {
    let name = starred(name);
    let ends = name.match_indices('.').map(|(at, _)| at).chain([name.len()]);
    ends.map(|end| name[..end].to_owned()).collect()
}

fn starred(name: &str) -> String {
    let part = |part: &str| if part.parse::<u64>().is_ok() { "*".to_owned() } else { part.to_owned() };
    name.split('.').map(part).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::ckpt::TensorFile;
    use crate::util::hash::sha256_hex;

    /// The parameters of a recorded checkpoint, by name.
    fn parameters(case: &Path) -> Vec<Parameter> {
        let mut parameters = Vec::new();
        for entry in std::fs::read_dir(case).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if name.starts_with("model") && path.extension().is_some_and(|extension| extension == "safetensors") {
                let file = TensorFile::open(&path).unwrap();
                parameters.extend(
                    file.tensors()
                        .iter()
                        .map(|(name, tensor)| Parameter { name: name.clone(), shape: tensor.shape.clone() }),
                );
            }
        }
        parameters.sort_by(|a, b| a.name.cmp(&b.name));
        parameters
    }

    #[test]
    fn every_recorded_checkpoint_is_sorted_as_transformers_names_its_parameters() {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        let recorded = std::fs::read_to_string(fixtures.join("moments/orders.tsv")).unwrap();
        for line in recorded.lines() {
            let (case, wanted) = line.split_once('\t').unwrap();
            let folder = fixtures.join("parity").join(case);
            let config = std::fs::read_to_string(folder.join("config.json")).unwrap();
            let config: serde_json::Value = serde_json::from_str(&config).unwrap();
            let mut parameters = parameters(&folder);
            sort_by_module(config["model_type"].as_str().unwrap(), &mut parameters).unwrap();
            let names: Vec<&str> = parameters.iter().map(|parameter| parameter.name.as_str()).collect();
            assert_eq!(sha256_hex(names.join("\n").as_bytes())[..16], *wanted, "{case}: {names:#?}");
        }
        assert!(recorded.lines().count() > 40);
    }

    #[test]
    fn layers_are_sorted_by_number_and_strangers_refused() {
        let parameter = |name: &str| Parameter { name: name.to_owned(), shape: vec![1] };
        let mut own = [
            parameter("lm_head.weight"),
            parameter("model.layers.10.mlp.up_proj.weight"),
            parameter("model.layers.9.input_layernorm.weight"),
            parameter("model.layers.9.self_attn.o_proj.weight"),
            parameter("model.embed_tokens.weight"),
        ];
        let wanted = [4, 3, 2, 1, 0].map(|place| own[place].clone());
        sort_by_module("llama", &mut own).unwrap();
        assert_eq!(own, wanted);
        let error = sort_by_module("mixtral", &mut own).unwrap_err().to_string();
        assert!(error.contains("expected a family whose order of parameters is known, found mixtral"), "{error}");
        let error = sort_by_module("llama", &mut [parameter("a.0"), parameter("model.norm")]).unwrap_err();
        assert_eq!(error.diagnostics().len(), 2, "{error}");
    }
}
