//! Bergson's index: `gradients.bin`, raw rows with the modules side by side, and what its other files say about them.
//!
//! Of all its versions from 0.5 to 2.5. Older `info.json` name the element by a structured type, and leave settings out
//! of `processor_config.yaml` that were added later.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::element::Element;
use super::header::{Layout, Module, ProjectionRecord};
use super::reader::Part;
use crate::error::{Error, Result};
use crate::feedback::{Scale, Signs};
use crate::util::{files, npy};

pub(super) const INFO: &str = "info.json";
pub(super) const GRADIENTS: &str = "gradients.bin";
pub(super) const OFFSETS: &str = "offsets.npy";
pub(super) const CONFIG: &str = "processor_config.yaml";
/// Items without rows.
const MAX_EMPTY: usize = 1 << 24;
const MAX_INFO_BYTES: u64 = 64 << 20;
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// Settings of a projection: what Bergson takes a missing one for, and what ours are. `projection_dim`, `_scale` and
/// `_version` vary.
const SETTINGS: [(&str, &str, &str); 8] = [
    ("projection_dim", "null", ""),
    ("reshape_to_square", "false", "false"),
    ("projection_type", "normal", "rademacher"),
    ("projection_target", "per_module", "per_module"),
    ("projection_scale", "row_norm", ""),
    ("include_bias", "false", "false"),
    ("projection_seed", "null", "null"),
    ("projection_version", "1", ""),
];

/// An index, as one part.
pub(super) struct Found {
    pub layout: Layout,
    pub part: Part,
    /// With tokens' rows: where those of each item begin, and where the last ends.
    pub offsets: Option<Vec<u64>>,
}

#[derive(Deserialize)]
struct Info {
    #[serde(default)]
    attribute_tokens: bool,
    num_grads: u64,
    /// In the order of the columns.
    grad_sizes: Map<String, Value>,
    base_dtype: Option<String>,
    dtype: Option<Structured>,
}

/// numpy's structured type, of old indexes.
#[derive(Deserialize)]
struct Structured {
    formats: Vec<String>,
}

/// Opens an index; `None` where there is none.
pub(super) fn open(folder: &Path) -> Result<Option<Found>> {
    let (info_path, path) = (folder.join(INFO), folder.join(GRADIENTS));
    if !info_path.exists() {
        return Ok(None);
    }
    let text = files::read_text(&info_path, MAX_INFO_BYTES)?;
    let info: Info = serde_json::from_str(&text).map_err(|e| {
        Error::bad(format!("expected the description of an index of Bergson's: {e}")).in_file(&info_path)
    })?;
    let projection = projection(folder)?;
    let layout = layout(&info, projection).map_err(|error| error.in_file(&info_path))?;
    let size = std::fs::metadata(&path).map_err(|e| Error::io("read the size of", &path, &e))?.len();
    let expected = info.num_grads.checked_mul(layout.row_bytes() as u64);
    if expected != Some(size) {
        let (rows, width) = (info.num_grads, layout.row_bytes());
        return Err(Error::bad(format!("expected {rows} rows of {width} bytes, found {size} bytes"))
            .in_file(&path)
            .help("the file is cut short, or info.json is that of another index"));
    }
    let offsets = info.attribute_tokens.then(|| offsets(&folder.join(OFFSETS), info.num_grads)).transpose()?;
    let part = Part { path, rows: 0..info.num_grads, grads: 0, columns: None };
    Ok(Some(Found { layout, part, offsets }))
}

/// Where the rows of each item begin, and where the last ends.
fn offsets(path: &Path, rows: u64) -> Result<Vec<u64>> {
    let offsets = npy::read_integers(path, usize::try_from(rows).unwrap_or(usize::MAX).saturating_add(MAX_EMPTY))?;
    let offsets: Option<Vec<u64>> = offsets.into_iter().map(|offset| u64::try_from(offset).ok()).collect();
    let whole =
        |offsets: &Vec<u64>| offsets.first() == Some(&0) && offsets.last() == Some(&rows) && offsets.is_sorted();
    offsets
        .filter(whole)
        .ok_or_else(|| Error::bad(format!("expected ascending offsets from 0 to {rows}, found others")).in_file(path))
}

fn layout(info: &Info, projection: ProjectionRecord) -> Result<Layout> {
    let structured = || info.dtype.as_ref()?.formats.first()?.rsplit(')').next();
    let name = info.base_dtype.as_deref().or_else(structured).unwrap_or("none");
    let dtype = match name.trim_start_matches(['<', '|']) {
        "float16" | "f2" => Element::F16,
        "bfloat16" | "V2" => Element::Bf16,
        "float32" | "f4" => Element::F32,
        _ => return Err(Error::bad(format!("expected float16, bfloat16 or float32, found {name:?}")).at("base_dtype")),
    };
    let square = |width: usize| match projection {
        ProjectionRecord::Rademacher { dim, .. } if dim.checked_mul(dim) == Some(width) => [dim, dim],
        _ => [1, width],
    };
    let (mut modules, mut end) = (Vec::new(), 0usize);
    for (name, width) in &info.grad_sizes {
        let start = end;
        let width = width.as_u64().and_then(|width| usize::try_from(width).ok());
        let next = width.and_then(|width| Some((width, start.checked_add(width)?)));
        let Some((width, next)) = next else {
            return Err(Error::bad("expected a number of columns").at(format!("grad_sizes, module {name}")));
        };
        end = next;
        modules.push(Module { name: name.clone(), start, end, shape: square(width), params: None });
    }
    let layout = Layout { dtype, modules, projection };
    Error::check(layout.problems())?;
    Ok(layout)
}

/// What `processor_config.yaml` says. It is a flat list of settings.
fn projection(folder: &Path) -> Result<ProjectionRecord> {
    let path = folder.join(CONFIG);
    let text = if path.exists() { files::read_text(&path, MAX_CONFIG_BYTES)? } else { String::new() };
    let mut settings: BTreeMap<String, String> =
        SETTINGS.iter().map(|(name, missing, _)| ((*name).to_owned(), (*missing).to_owned())).collect();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let pair = line.split_once(':').filter(|(name, _)| !name.starts_with(char::is_whitespace));
        let Some((name, value)) = pair else {
            let message = format!("expected a setting, `name: value`, found {line:?}");
            return Err(Error::bad(message).in_file(&path).at(format!("line {}", number + 1)));
        };
        settings.insert(name.to_owned(), value.trim().to_owned());
    }
    Ok(record(settings))
}

fn record(settings: BTreeMap<String, String>) -> ProjectionRecord {
    let get = |name: &str| settings.get(name).map_or("", String::as_str);
    if ["null", "0"].contains(&get("projection_dim")) {
        return ProjectionRecord::None;
    }
    let ours = SETTINGS.iter().all(|(name, _, ours)| ours.is_empty() || get(name) == *ours);
    let known = settings.len() == SETTINGS.len();
    let scale = match get("projection_scale") {
        "jl" => Some(Scale::Jl),
        "row_norm" => Some(Scale::RowNorm),
        _ => None,
    };
    let signs = match get("projection_version") {
        "1" => Some(Signs::Pcg64),
        "2" => Some(Signs::Philox),
        _ => None,
    };
    match (get("projection_dim").parse(), scale, signs) {
        (Ok(dim), Some(scale), Some(signs)) if ours && known => ProjectionRecord::Rademacher { dim, scale, signs },
        _ => ProjectionRecord::Bergson { settings },
    }
}

/// The text of `processor_config.yaml`. Bergson refuses settings that are newer than itself, so those that mean the same
/// where they are missing are left out.
pub(super) fn config(projection: &ProjectionRecord) -> String {
    let settings: BTreeMap<&str, String> = match projection {
        ProjectionRecord::None => BTreeMap::from([("projection_dim", "null".to_owned())]),
        ProjectionRecord::Bergson { settings } => {
            settings.iter().map(|(name, value)| (name.as_str(), value.clone())).collect()
        }
        ProjectionRecord::Rademacher { dim, scale, signs } | ProjectionRecord::Global { dim, scale, signs, .. } => {
            let is_global = matches!(projection, ProjectionRecord::Global { .. });
            let varying = |name: &str| match name {
                "projection_dim" => dim.to_string(),
                "projection_scale" => if *scale == Scale::Jl { "jl" } else { "row_norm" }.to_owned(),
                _ => if *signs == Signs::Philox { "2" } else { "1" }.to_owned(),
            };
            let own = |ours: &str, name: &str| match name {
                "projection_target" if is_global => "global".to_owned(),
                _ if ours.is_empty() => varying(name),
                _ => ours.to_owned(),
            };
            SETTINGS.iter().map(|(name, _, ours)| (*name, own(ours, name))).collect()
        }
    };
    let says = |name: &str, value: &str| {
        name == "projection_dim" || !SETTINGS.iter().any(|(known, missing, _)| *known == name && *missing == value)
    };
    let lines = settings.iter().filter(|(name, value)| says(name, value));
    lines.map(|(name, value)| format!("{name}: {value}\n")).collect::<Vec<_>>().concat()
}
