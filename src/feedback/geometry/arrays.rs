//! Gradients from outside, whatever made them: one matrix `[items, numbers]` in a file of numpy or safetensors.

use std::ops::Range;
use std::path::Path;

use super::part_gram::{LayerGrams, PartSums, too_few};
use crate::ckpt::TensorFile;
use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::lab::random::Stream;
use crate::util::npy::NpyFile;

/// Numbers that are handed on at a time, more or less.
const BLOCK: usize = 1 << 19;

/// An open matrix.
#[derive(Debug)]
pub struct GradientArray {
    rows: usize,
    width: usize,
    numbers: Numbers,
}

#[derive(Debug)]
enum Numbers {
    Npy(NpyFile),
    Loaded(Vec<f32>),
}

impl GradientArray {
    /// `.npy` by its ending, anything else as safetensors, which are read whole into at most `memory` bytes. `tensor`: needed
    /// where a file has more than one matrix.
    ///
    /// # Errors
    /// Other files; no such tensor, or more than one to choose from; shapes that are no matrix; elements that are no
    /// floats.
    pub fn open(path: &Path, tensor: Option<&str>, memory: usize) -> Result<Self> {
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npy")) {
            let file = NpyFile::open(path)?;
            return Ok(Self { rows: file.rows(), width: file.width(), numbers: Numbers::Npy(file) });
        }
        let file = TensorFile::open(path)?;
        let matrices: Vec<&str> = file
            .tensors()
            .iter()
            .filter(|(_, tensor)| tensor.shape.len() == 2)
            .map(|(name, _)| name.as_str())
            .collect();
        let name = match (tensor, &matrices[..]) {
            (Some(name), matrices) if matrices.contains(&name) => name.to_owned(),
            (None, [only]) => (*only).to_owned(),
            (wanted, matrices) => {
                let wanted = wanted.map_or("one matrix".to_owned(), |name| format!("a matrix {name}"));
                let problem = Diagnostic::new(format!("expected {wanted}, found {}", listed(matrices))).in_file(path);
                return Err(Error::all(vec![problem.help("name the tensor that holds a row for each item")]));
            }
        };
        let &[rows, width] = &file.tensors()[&name].shape[..] else {
            return Err(Error::internal("a matrix of no shape"));
        };
        // Widened to single precision.
        if width == 0 || rows == 0 || rows.saturating_mul(width).saturating_mul(4) > memory {
            let message =
                format!("expected rows of numbers, of at most {memory} bytes together, found {rows} x {width} numbers");
            return Err(Error::bad(message).in_file(path).help("save it as .npy, which is read row by row"));
        }
        Ok(Self { rows, width, numbers: Numbers::Loaded(file.read_floats(&name)?) })
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn width(&self) -> usize {
        self.width
    }

    /// Some rows, side by side.
    ///
    /// # Errors
    /// What the disk says.
    ///
    /// # Panics
    /// For rows that are not there.
    pub fn read(&self, rows: Range<usize>) -> Result<Vec<f64>> {
        assert!(rows.end <= self.rows, "rows within the matrix");
        match &self.numbers {
            Numbers::Npy(file) => file.read(rows),
            Numbers::Loaded(numbers) => {
                let numbers = &numbers[rows.start * self.width..rows.end * self.width];
                Ok(numbers.iter().copied().map(f64::from).collect())
            }
        }
    }

    fn blocks(&self) -> impl Iterator<Item = Range<usize>> {
        let step = (BLOCK / self.width).max(1);
        (0..self.rows).step_by(step).map(move |from| from..self.rows.min(from + step))
    }

    /// Hands on one row after the other.
    ///
    /// # Errors
    /// What the disk says, and what `row` says.
    pub fn for_each_row(&self, mut row: impl FnMut(usize, &[f64]) -> Result<()>) -> Result<()> {
        for block in self.blocks() {
            let numbers = self.read(block.clone())?;
            block.zip(numbers.chunks_exact(self.width)).try_for_each(|(number, numbers)| row(number, numbers))?;
        }
        Ok(())
    }

    /// Hands on rows of two matrices side by side: two gradients of each sample.
    ///
    /// # Errors
    /// Matrices of other shapes; what the disk says, and what `row` says.
    pub fn for_each_pair(&self, other: &Self, mut row: impl FnMut(usize, &[f64], &[f64]) -> Result<()>) -> Result<()> {
        if (self.rows, self.width) != (other.rows, other.width) {
            let wanted = format!("expected two matrices of one shape, {} x {}", self.rows, self.width);
            return Err(Error::bad(format!("{wanted}, found {} x {}", other.rows, other.width)));
        }
        for block in self.blocks() {
            let (one, other) = (self.read(block.clone())?, other.read(block.clone())?);
            let pairs = one.chunks_exact(self.width).zip(other.chunks_exact(self.width));
            block.zip(pairs).try_for_each(|(number, (one, other))| row(number, one, other))?;
        }
        Ok(())
    }
}

/// Grams of matrices, each of which is a group of items. Rows go to parts at random; matrices of as many rows are shuffled
/// alike, so that rows of the same samples are in the same part, where what noise they share does not count.
///
/// # Errors
/// Matrices of other widths than the first, or of fewer rows than parts: all of them; those of [`PartSums`].
pub fn array_grams(
    arrays: &[(String, GradientArray)],
    parts: usize,
    layers: Vec<(String, Range<usize>)>,
) -> Result<LayerGrams> {
    let Some((first, array)) = arrays.first() else {
        return Err(Error::bad("expected at least one matrix, found none"));
    };
    let width = array.width();
    let mut problems: Vec<Diagnostic> = Vec::new();
    for (name, array) in arrays {
        if array.width() != width {
            let message = format!("expected rows of {width} numbers as {first} has, found {}", array.width());
            problems.push(Diagnostic::new(message).at(format!("group {name}")));
        }
        if array.rows() < parts {
            problems.push(too_few(name, parts, array.rows()).help("fewer parts (--parts), four at least"));
        }
    }
    Error::check(problems)?;
    let mut sums = PartSums::new(arrays.iter().map(|(name, _)| name.clone()).collect(), parts, layers)?;
    for (group, (_, array)) in arrays.iter().enumerate() {
        let part_of = random_parts(array.rows(), parts);
        array.for_each_row(|number, row| sums.add_to(group, part_of[number], row))?;
    }
    sums.finish()
}

/// The part of each row: even, at random, and the same every time.
fn random_parts(rows: usize, parts: usize) -> Vec<usize> {
    let mut part_of: Vec<usize> = (0..rows).map(|number| number % parts).collect();
    Stream::new(0, &["parts of rows"]).shuffle(&mut part_of);
    part_of
}

fn listed(names: &[&str]) -> String {
    match names {
        [] => "none".to_owned(),
        names if names.len() > 8 => format!("{} matrices", names.len()),
        names => names.join(", "),
    }
}
