//! A folder of texts.

use std::path::{Path, PathBuf};

use fancy_regex::Regex;
use serde_json::Value;

use super::read::{Row, read_rows};
use crate::error::{Error, Result};
use crate::util::hash;

const MAX_FILES: usize = 1 << 20;
const MAX_DEPTH: usize = 16;

/// The `.txt` files in a folder and its subfolders, by path. Links to folders are not followed.
fn texts(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![(folder.to_path_buf(), 0)];
    while let Some((inner, depth)) = open.pop() {
        let entries = std::fs::read_dir(&inner).map_err(|e| Error::io("list", &inner, &e))?;
        for entry in entries {
            let entry = entry.map_err(|e| Error::io("list", &inner, &e))?;
            let (path, kind) = (entry.path(), entry.file_type().map_err(|e| Error::io("look at", &inner, &e))?);
            if kind.is_dir() && depth < MAX_DEPTH {
                open.push((path, depth + 1));
            } else if !kind.is_dir() && path.extension().is_some_and(|end| end.eq_ignore_ascii_case("txt")) {
                found.push(path);
            }
        }
        if found.len() > MAX_FILES {
            return Err(Error::bad(format!("expected at most {MAX_FILES} texts, found more")).in_file(folder));
        }
    }
    found.sort();
    if found.is_empty() {
        return Err(Error::bad("expected .txt files in the folder, found none").in_file(folder));
    }
    Ok(found)
}

/// Path within the folder, with `/`.
fn within(folder: &Path, path: &Path) -> String {
    let inner = path.strip_prefix(folder).unwrap_or(path);
    inner.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect::<Vec<_>>().join("/")
}

/// One row for each text (or for each of its records), with the columns `text`, `path` and `domain`: the subfolder that
/// a file is in, or its own name without the ending.
pub(super) fn read(folder: &Path, record_start: Option<&Regex>) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for path in texts(folder)? {
        let name = within(folder, &path);
        let stem = name.rsplit_once('.').map_or(&*name, |(stem, _)| stem);
        let domain = name.split_once('/').map_or(stem, |(first, _)| first);
        for mut row in read_rows(&path, record_start)? {
            row.insert("path".to_owned(), Value::from(name.as_str()));
            row.insert("domain".to_owned(), Value::from(domain));
            rows.push(row);
        }
    }
    Ok(rows)
}

/// `blake3:...` of the names and contents of a folder's texts.
pub(super) fn fingerprint(folder: &Path) -> Result<String> {
    let mut listing = String::new();
    for path in texts(folder)? {
        listing += &format!("{}\0{}\0", within(folder, &path), hash::fingerprint_file(&path)?);
    }
    Ok(hash::fingerprint(listing.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_the_domain_of_their_folder_or_their_name() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        for (name, text) in [("web/b.txt", "two"), ("web/a/c.TXT", "one"), ("news.txt", "three"), ("notes.md", "no")] {
            write(name, text);
        }
        let rows = read_rows(folder.path(), None).unwrap();
        let column = |name: &str| rows.iter().map(|row| row[name].as_str().unwrap()).collect::<Vec<_>>();
        assert_eq!(column("path"), ["news.txt", "web/a/c.TXT", "web/b.txt"]);
        assert_eq!(column("domain"), ["news", "web", "web"]);
        assert_eq!(column("text"), ["three", "one", "two"]);
        let before = fingerprint(folder.path()).unwrap();
        write("notes.md", "other");
        assert_eq!(fingerprint(folder.path()).unwrap(), before);
        write("web/b.txt", "changed");
        assert_ne!(fingerprint(folder.path()).unwrap(), before);
        let empty = tempfile::tempdir().unwrap();
        assert!(read_rows(empty.path(), None).unwrap_err().to_string().contains("expected .txt files"));
    }
}
