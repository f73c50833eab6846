//! `feedback geometry`.

use std::path::PathBuf;

use clap::Args;

use super::feedback::one_or_more;
use super::{Cost, Format};
use crate::feedback::Parameters;

#[derive(Debug, Args)]
#[command(after_long_help = "\
Groups are the targets of a feedback set and the sources of a stream; their gradients are taken anew, in random parts, so the
set needs not have been built at these checkpoints. Or they are matrices from any tool or modality, a row for each item. A
cosine is that of the truths behind the mean gradients, without the noise that pulls cosines of means towards zero; the
raw one stands beside it. Two groups agree, or are in conflict, where the interval of their inner product leaves out zero.
A group whose own gradient cannot be told from zero has no cosine.

DIR/geometry.json has everything, DIR/geometry.csv every pair in every layer.

Examples:
  veval feedback geometry fb data/lab/midrun --stream data/lab/corpus.jsonl.gz --sample 100 --out geometry
  veval feedback geometry fb ckpts/ --stream corpus.jsonl.gz --source web --source code --params last:2 --out geometry
  veval feedback geometry --arrays text=text.npy --arrays image=image.safetensors:grads --paired text=image --out geometry")]
pub(in crate::cli) struct FeedbackGeometryArguments {
    /// A feedback set
    #[arg(value_name = "FB", required_unless_present = "arrays", requires = "stream")]
    pub bundle: Option<PathBuf>,
    /// Checkpoints with the set's tokenizer, or folders of them
    #[arg(value_name = "CKPT", required_unless_present = "arrays")]
    pub checkpoints: Vec<PathBuf>,
    /// Documents: JSON lines with source, id and text (.jsonl, .jsonl.gz)
    #[arg(long, value_name = "FILE", required_unless_present = "arrays", requires = "bundle")]
    pub stream: Option<PathBuf>,
    /// Only this source (may be given several times)
    #[arg(long = "source", value_name = "NAME", conflicts_with = "arrays")]
    pub sources: Vec<String>,
    /// Only N documents of each source, at random
    #[arg(long, value_name = "N", value_parser = one_or_more, conflicts_with = "arrays")]
    pub sample: Option<usize>,
    /// Whose gradients: all, last:N blocks, or names with *, separated by commas [default: those of the set]
    #[arg(long = "params", value_name = "WHICH", conflicts_with = "arrays")]
    pub parameters: Option<Parameters>,
    /// In place of a set and a stream: gradients of items, a row each (may be given several times)
    #[arg(long, value_name = "NAME=FILE.npy|FILE.safetensors[:TENSOR]", value_parser = array, conflicts_with_all = ["bundle", "stream"])]
    pub arrays: Vec<ArrayFile>,
    /// Two of the arrays whose rows are gradients of the same samples, to be compared row by row (may be given several times)
    #[arg(long, value_name = "NAME=NAME", value_parser = pair, requires = "arrays", conflicts_with = "bundle")]
    pub paired: Vec<(String, String)>,
    /// So many columns of the arrays are a layer; layers stand side by side (may be given several times) [default: one layer]
    #[arg(long = "layer", value_name = "NAME=COLUMNS", value_parser = layer, requires = "arrays", conflicts_with = "bundle")]
    pub layers: Vec<(String, usize)>,
    /// Random parts of each group's items: intervals are over parts
    #[arg(long, value_name = "K", default_value_t = 10, value_parser = parts)]
    pub parts: usize,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    #[command(flatten)]
    pub cost: Cost,
    /// No progress on standard error
    #[arg(long, short)]
    pub quiet: bool,
    /// The folder of the results, which must not exist
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

/// `NAME=FILE`, and which tensor of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct ArrayFile {
    pub name: String,
    pub path: PathBuf,
    pub tensor: Option<String>,
}

fn array(text: &str) -> Result<ArrayFile, String> {
    const MARK: &str = ".safetensors:";
    let (name, file) = named(text).ok_or("expected NAME=FILE, such as text=text.npy")?;
    let (file, tensor) = match file.find(MARK) {
        Some(at) => (&file[..at + MARK.len() - 1], Some(file[at + MARK.len()..].to_owned())),
        None => (file, None),
    };
    Ok(ArrayFile { name, path: PathBuf::from(file), tensor })
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (one, other) = named(text).ok_or("expected NAME=NAME, such as text=image")?;
    Ok((one, other.to_owned()))
}

fn layer(text: &str) -> Result<(String, usize), String> {
    let (name, columns) = named(text).ok_or("expected NAME=COLUMNS, such as encoder=4096")?;
    match columns.parse() {
        Ok(columns) if columns > 0 => Ok((name, columns)),
        _ => Err("expected a number of columns above 0".to_owned()),
    }
}

fn named(text: &str) -> Option<(String, &str)> {
    let (name, rest) = text.split_once('=')?;
    (!name.is_empty() && !rest.is_empty()).then(|| (name.to_owned(), rest))
}

/// With fewer than four an interval over parts says nothing.
fn parts(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if (4..=64).contains(&count) => Ok(count),
        _ => Err("expected a number from 4 to 64".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_are_named_and_may_name_a_tensor() {
        let read = |text: &str| array(text).map(|own| (own.name, own.path, own.tensor));
        let file = |path: &str, tensor: Option<&str>| Ok(("a".to_owned(), path.into(), tensor.map(str::to_owned)));
        assert_eq!(read("a=b/c.npy"), file("b/c.npy", None));
        assert_eq!(read("a=b.safetensors"), file("b.safetensors", None));
        assert_eq!(read("a=b=c.safetensors:x.y:z"), file("b=c.safetensors", Some("x.y:z")));
        for wrong in ["b.npy", "=b.npy", "a="] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
