//! Safetensors files, written tensor by tensor.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::weights::Dtype;
use crate::error::{Error, Result};
use crate::util::files;

/// One tensor to be written.
#[derive(Debug, Clone)]
pub struct SafetensorsPlan {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
}

impl SafetensorsPlan {
    fn bytes(&self) -> u64 {
        self.dtype.size(self.shape.iter().product()) as u64
    }

    /// The format's name of the element type; blocks have none.
    fn dtype_name(&self) -> Result<&'static str> {
        match self.dtype {
            Dtype::F32 => Ok("F32"),
            Dtype::F16 => Ok("F16"),
            Dtype::Bf16 => Ok("BF16"),
            Dtype::Q8_0 | Dtype::Q4K => Err(Error::internal("safetensors files have no blocks")),
        }
    }
}

/// Writes `model.safetensors`, or, if one file would be larger than `shard_bytes`, several and their index. `read` gives
/// each tensor's bytes, in the order of the plans.
pub fn write(
    folder: &Path,
    plans: &[SafetensorsPlan],
    shard_bytes: u64,
    mut read: impl FnMut(&str) -> Result<Vec<u8>>,
) -> Result<()> {
    let shards = shards(plans, shard_bytes);
    let (count, mut weight_map) = (shards.len(), Map::new());
    for (index, shard) in shards.into_iter().enumerate() {
        let name = match count {
            1 => "model.safetensors".to_owned(),
            _ => format!("model-{:05}-of-{count:05}.safetensors", index + 1),
        };
        weight_map.extend(shard.iter().map(|plan| (plan.name.clone(), json!(name))));
        write_file(&folder.join(name), shard, &mut read)?;
    }
    if count < 2 {
        return Ok(());
    }
    let total: u64 = plans.iter().map(SafetensorsPlan::bytes).sum();
    let index = json!({"metadata": {"total_size": total}, "weight_map": weight_map});
    files::write_atomic(&folder.join("model.safetensors.index.json"), index.to_string().as_bytes())
}

/// Cuts the plans where the next tensor would be too much. There is at least one file.
fn shards(plans: &[SafetensorsPlan], most: u64) -> Vec<&[SafetensorsPlan]> {
    let (mut shards, mut rest) = (Vec::new(), plans);
    loop {
        let mut sum = 0;
        let fits = |plan: &&SafetensorsPlan| {
            sum += plan.bytes();
            sum <= most
        };
        let (shard, after) = rest.split_at(rest.iter().take_while(fits).count().max(1).min(rest.len()));
        shards.push(shard);
        if after.is_empty() {
            return shards;
        }
        rest = after;
    }
}

fn write_file(path: &Path, plans: &[SafetensorsPlan], read: &mut impl FnMut(&str) -> Result<Vec<u8>>) -> Result<()> {
    let mut header = Map::new();
    header.insert("__metadata__".to_owned(), json!({"format": "pt"}));
    let mut offset = 0;
    for plan in plans {
        let end = offset + plan.bytes();
        let entry = json!({"dtype": plan.dtype_name()?, "shape": plan.shape, "data_offsets": [offset, end]});
        header.insert(plan.name.clone(), entry);
        offset = end;
    }
    let mut header = Value::Object(header).to_string();
    header.extend(std::iter::repeat_n(' ', header.len().next_multiple_of(8) - header.len()));
    let failed = |e: &std::io::Error| Error::io("write", path, e);
    let mut out = BufWriter::new(File::create(path).map_err(|e| Error::io("create", path, &e))?);
    out.write_all(&(header.len() as u64).to_le_bytes()).map_err(|e| failed(&e))?;
    out.write_all(header.as_bytes()).map_err(|e| failed(&e))?;
    for plan in plans {
        let bytes = read(&plan.name)?;
        if bytes.len() as u64 != plan.bytes() {
            return Err(Error::internal(format!("tensor {} has {} bytes", plan.name, bytes.len())));
        }
        out.write_all(&bytes).map_err(|e| failed(&e))?;
    }
    let file = out.into_inner().map_err(|e| failed(e.error()))?;
    file.sync_all().map_err(|e| failed(&e))
}
