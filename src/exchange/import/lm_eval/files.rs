//! Which files there are, and which belong together by their names.

use std::path::{Path, PathBuf};

use super::results::Results;
use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::util::suggest::nearest;

/// More files or deeper folders than this are somebody's mistake.
const MAX_FILES: usize = 100_000;
const MAX_DEPTH: usize = 16;

/// Files by what they hold, in the order of names.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub results: Vec<PathBuf>,
    pub samples: Vec<PathBuf>,
}

/// The files that were named, and all `.json` and `.jsonl` files of the folders that were.
pub(super) fn find(paths: &[PathBuf]) -> Result<Found> {
    let mut all = Vec::new();
    let mut problems = Vec::new();
    for path in paths {
        let before = all.len();
        if path.is_dir() {
            walk(path, 0, &mut all)?;
            if all.len() == before {
                let problem = Diagnostic::new("expected .json or .jsonl files in the folder, found none");
                problems.push(problem.in_file(path));
            }
        } else if !path.is_file() {
            problems.push(Diagnostic::new("expected a file or folder, found none").in_file(path));
        } else if is(path, "json") || is(path, "jsonl") {
            all.push(path.clone());
        } else {
            problems.push(
                Diagnostic::new("expected a file that ends in .json (results) or .jsonl (samples)").in_file(path),
            );
        }
    }
    if paths.is_empty() {
        problems.push(Diagnostic::new("expected at least one file, found none"));
    }
    Error::check(problems)?;
    all.sort();
    all.dedup();
    let (samples, results) = all.into_iter().partition(|path| is(path, "jsonl"));
    Ok(Found { results, samples })
}

fn is(path: &Path, ending: &str) -> bool {
    path.extension().is_some_and(|found| found.eq_ignore_ascii_case(ending))
}

fn walk(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<()> {
    let io = |e: std::io::Error| Error::io("list", folder, &e);
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path.is_dir() && depth < MAX_DEPTH {
            walk(&path, depth + 1, found)?;
        } else if is(&path, "json") || is(&path, "jsonl") {
            found.push(path);
        }
        if found.len() > MAX_FILES {
            return Err(Error::bad(format!("expected at most {MAX_FILES} files, found more")).in_file(folder));
        }
    }
    Ok(())
}

/// A file of samples, by its name.
pub(super) struct SampleFile<'a> {
    path: &'a Path,
    stem: String,
}

const PREFIX: &str = "samples_";

impl<'a> SampleFile<'a> {
    pub fn of(path: &'a Path) -> Self {
        Self { path, stem: path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned()) }
    }

    /// The result file of the same time in the same folder, else the only one there; none where the folder has none.
    pub fn owner(&self, known: &[Results]) -> Result<Option<usize>> {
        let beside: Vec<usize> = (0..known.len()).filter(|&i| known[i].path.parent() == self.path.parent()).collect();
        let time = split_time(&self.stem).1;
        let of_time = |index: &usize| {
            let stem = known[*index].path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
            time.is_some() && split_time(&stem.unwrap_or_default()).1 == time
        };
        let same: Vec<usize> = beside.iter().copied().filter(of_time).collect();
        match (&same[..], &beside[..]) {
            ([index], _) | ([], [index]) => Ok(Some(*index)),
            ([], []) => Ok(None),
            _ => Err(Error::bad(format!("expected one result file for these samples, found {}", beside.len()))
                .in_file(self.path)
                .help("results and samples of one evaluation carry the same time in their names")),
        }
    }

    /// The task whose name the file's name holds, with `_` for signs that no file name may have.
    pub fn task(&self, results: Option<&Results>) -> Result<String> {
        let named = self.stem.strip_prefix(PREFIX).map(|rest| split_time(rest).0);
        let Some(results) = results else {
            return named.map(str::to_owned).ok_or_else(|| {
                Error::bad("expected a name such as samples_TASK_TIME.jsonl, or the result file in the same folder")
                    .in_file(self.path)
            });
        };
        let tasks = || results.facts.keys().map(String::as_str);
        let named = named.unwrap_or(&self.stem);
        // Before 0.4.3 the name was that of the model, then that of the task.
        let fits = |task: &&str| {
            let plain = sanitized(task);
            named == *task || named == plain || (named == self.stem && named.ends_with(&format!("_{plain}")))
        };
        let found = tasks().filter(fits).max_by_key(|task| task.len());
        found.map(str::to_owned).ok_or_else(|| {
            let error = Error::bad(format!("expected a task of {} in the name, found {named:?}", results.file.path))
                .in_file(self.path);
            match nearest(named, tasks()) {
                Some(near) => error.help(format!("the results have `{near}`")),
                None => error.help("rename the file to samples_TASK_TIME.jsonl, or leave it out"),
            }
        })
    }
}

/// As the harness does it: everything but letters, digits and `_` becomes `_`.
fn sanitized(task: &str) -> String {
    task.chars().map(|c| if c.is_alphanumeric() || c == '_' { c } else { '_' }).collect()
}

/// `<name>_2026-11-29T10-00-00.000000`: the name and the time.
fn split_time(stem: &str) -> (&str, Option<&str>) {
    let time = |text: &str| {
        let bytes = text.as_bytes();
        bytes.len() >= 19
            && bytes.iter().enumerate().all(|(index, byte)| match index {
                4 | 7 | 13 | 16 => *byte == b'-',
                10 => *byte == b'T',
                19 => *byte == b'.',
                _ => byte.is_ascii_digit(),
            })
    };
    match stem.rsplit_once('_') {
        Some((name, tail)) if time(tail) => (name, Some(tail)),
        _ => (stem, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_cut_off_names() {
        assert_eq!(split_time("a_b_2024-03-05T10-20-30.123456"), ("a_b", Some("2024-03-05T10-20-30.123456")));
        assert_eq!(split_time("a_2024-03-05T10-20-30"), ("a", Some("2024-03-05T10-20-30")));
        for stem in
            ["a", "a_b", "a_2024-03-05", "a_2024-03-05X10-20-30", "2024-03-05T10-20-30", "a_ü024-03-05T10-20-30"]
        {
            assert_eq!(split_time(stem), (stem, None), "{stem}");
        }
        assert_eq!(sanitized("wmt-ro.en x"), "wmt_ro_en_x");
    }

    #[test]
    fn folders_are_searched_and_other_files_refused() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("model");
        std::fs::create_dir_all(inner.join("empty")).unwrap();
        for name in ["results_b.json", "samples_x.jsonl", "notes.txt"] {
            std::fs::write(inner.join(name), "").unwrap();
        }
        let found = find(&[folder.path().to_path_buf(), inner.join("results_b.json")]).unwrap();
        assert_eq!((found.results.len(), found.samples.len()), (1, 1));
        let paths = [inner.join("empty"), inner.join("notes.txt"), inner.join("absent.json")];
        assert_eq!(find(&paths).unwrap_err().diagnostics().len(), 3);
        assert!(find(&[]).is_err());
    }
}
