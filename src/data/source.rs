//! From a task's data definition to its rows.

use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use super::folder;
use super::read::{Row, read_rows};
use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::hub::{self, Address, Settings};
use crate::suite::{Source, Task, TaskData};
use crate::util::{files, hash};

const MAX_TEXT_BYTES: u64 = 4 << 20;

/// Rows of a task, and what they were read from.
pub struct LoadedData {
    pub data: TaskData,
    /// The definition in force: the public one, or that for `--data-dir`.
    pub source: Source,
    /// File and fingerprint. A file of the hub goes by its address at the commit that was read.
    pub files: Vec<(PathBuf, String)>,
}

/// Where a file is, and the name that it goes by.
struct Place {
    path: PathBuf,
    name: PathBuf,
}

/// Reads what a task scores. With `data_dir`, a task that says where its data lies there is read from there.
///
/// # Errors
/// A public data set that is not here; a file whose fingerprint is not the pinned one; rows that do not parse.
pub fn load(task: &Task, data_dir: Option<&Path>) -> Result<LoadedData> {
    let (source, base) = locate(task, data_dir)?;
    let mut read = Vec::new();
    let mut problems = Vec::new();
    let mut rows_of = |name: &str, pin: Option<&String>| -> Result<Vec<Row>> {
        let Place { path, name } = place(&base, &with_subset(task, name))?;
        let rows = read_rows(&path, source.record_start.as_ref())?;
        let found = if path.is_dir() { folder::fingerprint(&path)? } else { hash::fingerprint_file(&path)? };
        if let Some(pin) = pin.filter(|pin| **pin != found) {
            let problem = Diagnostic::new(format!("expected the fingerprint {pin}, found {found}")).in_file(&name);
            problems.push(problem.help(
                "the data changed since the task was pinned; restore it, or change the task's `blake3` and version",
            ));
        }
        if !read.iter().any(|(known, _)| *known == name) {
            read.push((name, found));
        }
        Ok(rows)
    };
    let file = source.file.as_deref().ok_or_else(|| Error::internal("a located source has a file"))?;
    let mut rows = rows_of(file, source.blake3.as_ref())?;
    let mut pool = match source.shots_file.as_deref() {
        Some(shots) => Some(rows_of(shots, source.shots_blake3.as_ref())?),
        None => None,
    };
    Error::check(problems)?;
    for (column, name) in &source.texts {
        let Place { path, name } = place(&base, &with_subset(task, name))?;
        let text = Value::from(files::read_text(&path, MAX_TEXT_BYTES)?);
        for row in rows.iter_mut().chain(pool.iter_mut().flatten()) {
            row.insert(column.clone(), text.clone());
        }
        read.push((name, hash::fingerprint_file(&path)?));
    }
    if rows.is_empty() {
        return Err(
            Error::bad("expected at least one row, found none").in_file(place(&base, &with_subset(task, file))?.path)
        );
    }
    Ok(LoadedData { data: TaskData { rows, pool }, source, files: read })
}

/// The files of the hub that a task reads.
///
/// # Errors
/// A public data set whose files are not named.
pub fn addresses(task: &Task, data_dir: Option<&Path>) -> Result<Vec<Address>> {
    let (source, _) = locate(task, data_dir)?;
    let names = source.file.iter().chain(&source.shots_file).chain(source.texts.iter().map(|(_, name)| name));
    let names = names.map(|name| with_subset(task, name)).filter(|name| hub::is_address(name));
    names.map(|name| name.parse()).collect()
}

/// The definition in force and the folder that its paths are relative to.
fn locate(task: &Task, data_dir: Option<&Path>) -> Result<(Source, PathBuf)> {
    if let (Some(local), Some(folder)) = (&task.data.local, data_dir) {
        return Ok((local.clone(), folder.to_path_buf()));
    }
    if task.data.public.file.is_some() {
        return Ok((task.data.public.clone(), task.data.public.base.clone()));
    }
    let hub = task.data.hub.as_ref().map_or("", |hub| &hub.name);
    let error = Error::bad(format!("expected the files of the public set {hub}, which the task does not name"))
        .at(format!("task {}", task.name));
    Err(match &task.data.local {
        Some(local) => error.help(format!(
            "put it at {} under a folder and name that folder with --data-dir",
            local.file.as_deref().unwrap_or("")
        )),
        None => {
            error.help(format!("give the task `file = \"hf://dataset/{hub}@main/PATH\"`, or a `[data.local]` table"))
        }
    })
}

fn with_subset(task: &Task, name: &str) -> String {
    name.replace("{subset}", task.subset.as_deref().unwrap_or(""))
}

/// A file below the base, or one of the hub, which is fetched if it is not here.
fn place(base: &Path, name: &str) -> Result<Place> {
    if !hub::is_address(name) {
        let path = base.join(inside(name)?);
        return Ok(Place { name: path.clone(), path });
    }
    let (address, settings) = (name.parse()?, Settings::from_environment()?);
    let path = hub::fetch_file(&address, &settings, &mut |_| {})?;
    let pinned = hub::pinned(&address, &path).unwrap_or(address);
    Ok(Place { name: PathBuf::from(pinned.to_string()), path })
}

/// A path that stays below its base.
fn inside(name: &str) -> Result<PathBuf> {
    let path = PathBuf::from(name);
    if path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Ok(path);
    }
    Err(Error::bad(format!("expected a path below the definition's folder, found {name:?}")))
}
