//! Reading with a bound and writing whole files at once.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;

use crate::error::{Error, Result};

/// Reads a file that must not be larger than `limit` bytes.
pub fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let file = fs::File::open(path).map_err(|e| Error::io("open", path, &e))?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|e| Error::io("read", path, &e))?;
    if bytes.len() as u64 > limit {
        return Err(Error::bad(format!("expected at most {limit} bytes, found more")).in_file(path));
    }
    Ok(bytes)
}

/// Reads a bounded file as UTF-8, without a byte order mark.
pub fn read_text(path: &Path, limit: u64) -> Result<String> {
    let bytes = read_bounded(path, limit)?;
    let text = String::from_utf8(bytes).map_err(|e| {
        Error::bad(format!("expected UTF-8, found an invalid byte at offset {}", e.utf8_error().valid_up_to()))
            .in_file(path)
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}

/// Writes a whole file so that a reader sees the old content or the new, never a part: a neighbour is written,
/// synced and renamed over the target.
pub fn write_atomic(path: &Path, content: &[u8]) -> Result<()> {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let neighbour = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
    let attempt = (|| {
        let mut file = fs::File::create(&neighbour)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&neighbour, path)
    })();
    attempt.map_err(|e| {
        // The failure is reported; what is left of the neighbour is of no use to anybody.
        let _ = fs::remove_file(&neighbour);
        Error::io("write", path, &e)
    })
}

/// That nothing is there yet: results are not written over others.
pub fn check_free(path: &Path) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    let found = if path.is_dir() { "a folder" } else { "a file" };
    let error = Error::bad(format!("expected a name that is free, found {found}")).in_file(path);
    Err(error.help("remove it first, or name another"))
}

/// Creates a folder and its parents.
pub fn create_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|e| Error::io("create the folder", path, &e))
}

/// Fills a neighbour of the folder, then puts it in its place: a reader sees all of it or none. What was there before is
/// replaced.
pub fn whole_folder(folder: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let partial = folder.with_file_name(format!(".{name}.partial"));
    remove_folder(&partial)?;
    create_folder(&partial)?;
    let attempt = (|| {
        fill(&partial)?;
        remove_folder(folder)?;
        fs::rename(&partial, folder).map_err(|e| Error::io("write", folder, &e))
    })();
    if attempt.is_err() {
        // The failure is reported; what is left of the neighbour is of no use to anybody.
        let _ = remove_folder(&partial);
    }
    attempt
}

/// Removes a folder and all in it, if it is there.
pub fn remove_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", folder, &e)),
        _ => Ok(()),
    }
}

/// Compares names as people do: runs of digits by value, so that `step999` comes before `step1000`.
pub fn natural_cmp(a: &str, b: &str) -> std::cmp::Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        match (a.chars().next(), b.chars().next()) {
            (None, None) => return std::cmp::Ordering::Equal,
            (None, _) => return std::cmp::Ordering::Less,
            (_, None) => return std::cmp::Ordering::Greater,
            (Some(x), Some(y)) if x.is_ascii_digit() && y.is_ascii_digit() => {
                let (number_a, rest_a) = split_number(a);
                let (number_b, rest_b) = split_number(b);
                let (trim_a, trim_b) = (number_a.trim_start_matches('0'), number_b.trim_start_matches('0'));
                let order = trim_a
                    .len()
                    .cmp(&trim_b.len())
                    .then_with(|| trim_a.cmp(trim_b))
                    .then_with(|| number_a.cmp(number_b));
                if order.is_ne() {
                    return order;
                }
                (a, b) = (rest_a, rest_b);
            }
            (Some(x), Some(y)) => {
                if x != y {
                    return x.cmp(&y);
                }
                (a, b) = (&a[x.len_utf8()..], &b[y.len_utf8()..]);
            }
        }
    }
}

fn split_number(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn natural_order() {
        let mut names = vec!["step1000", "step20", "step3", "checkpoint-10", "step03", "step"];
        names.sort_by(|a, b| natural_cmp(a, b));
        assert_eq!(names, ["checkpoint-10", "step", "step03", "step3", "step20", "step1000"]);
    }

    #[test]
    fn bounds_and_atomic_writes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write_atomic(&path, "\u{feff}hello".as_bytes()).unwrap();
        assert_eq!(read_text(&path, 100).unwrap(), "hello");
        assert!(read_bounded(&path, 3).is_err());
        assert!(check_free(&path).unwrap_err().to_string().contains("that is free, found a file"));
        assert!(check_free(folder.path()).unwrap_err().to_string().contains("found a folder"));
        assert!(check_free(&folder.path().join("b.txt")).is_ok());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
        assert!(write_atomic(&folder.path().join("missing/a.txt"), b"").is_err());
    }
}
