//! One content: from the endpoint, or where it points to, into the cache.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::address::RepoPath;
use super::cache::RepoCache;
use super::event::{Event, Events};
use super::lookup::{Content, Lookup};
use super::refusal::refusal;
use super::transport::{Answer, Ask, Tries, stopped};
use super::url::{self, Url};
use crate::ctx;
use crate::error::{Error, Result};
use crate::util::files;

/// Bound of a file whose length the hub does not tell.
const MAX_UNTOLD_BYTES: u64 = 1 << 30;
const BUFFER_BYTES: usize = 256 << 10;

/// A file on its way.
pub(super) struct Download<'a> {
    pub lookup: &'a Lookup<'a>,
    pub cache: &'a RepoCache,
    pub path: &'a RepoPath,
    pub content: &'a Content,
    /// Its address, as events name it.
    pub name: &'a str,
}

/// How the body of an answer ended.
enum End {
    /// As the server meant it to.
    Whole,
    /// The connection broke.
    Cut(String),
}

impl Download<'_> {
    /// Brings the content to its place among the blobs; it goes on where an earlier try stopped.
    ///
    /// # Errors
    /// The hub refuses, no try is left, somebody wants to stop (what has arrived is kept); or the bytes are not those that
    /// the hub had named (what has arrived is deleted).
    pub fn bring(&self, events: &mut Events<'_>) -> Result<()> {
        let blob = self.cache.blob(&self.content.digest);
        let _lock = self.cache.lock(&self.content.digest, self.name, events)?;
        if blob.is_file() {
            events(&Event::Cached { file: self.name });
            return Ok(());
        }
        let partial = self.cache.incomplete(&self.content.digest);
        files::create_folder(partial.parent().unwrap_or(&partial))?;
        self.fill(&partial, events)?;
        self.verify(&partial, events)?;
        fs::rename(&partial, &blob).map_err(|e| Error::io("rename", &partial, &e))?;
        events(&Event::Finished { file: self.name });
        Ok(())
    }

    fn fill(&self, partial: &Path, events: &mut Events<'_>) -> Result<()> {
        let open = File::options().read(true).write(true).create(true).truncate(false).open(partial);
        let mut file = open.map_err(|e| Error::io("open", partial, &e))?;
        let io = |e: std::io::Error| Error::io("write", partial, &e);
        let url = url::of_file(&self.lookup.settings.endpoint, self.lookup.address, self.path)?;
        let mut tries = self.lookup.tries();
        let mut have = file.seek(SeekFrom::End(0)).map_err(io)?;
        let mut most = have;
        events(&Event::Started { file: self.name, size: self.content.size, kept: have });
        while self.content.size != Some(have) {
            if self.content.size.is_some_and(|size| have > size) {
                have = restart(&mut file).map_err(io)?;
                continue;
            }
            let answer = self.lookup.transport.ask(&url, Ask::Bytes { from: have }, &mut tries, events)?;
            match answer.status {
                200 => have = restart(&mut file).map_err(io)?,
                206 => self.check_range(&answer, have, partial)?,
                416 if have > 0 => {
                    have = restart(&mut file).map_err(io)?;
                    let reason = format!("{} has no bytes after those that are here", answer.url.host());
                    tries.pause(&reason, None, events)?;
                    continue;
                }
                _ => return Err(refusal(&answer, &self.lookup.asked(Some(self.path)), self.lookup.transport)),
            }
            let host = answer.url.host().to_owned();
            let end = self.copy(answer, &mut file, partial, &mut have, events)?;
            if let (End::Whole, None) = (&end, self.content.size) {
                break;
            }
            if self.content.size != Some(have) {
                self.go_on(&end, &host, have > most, &mut tries, events)?;
            }
            most = most.max(have);
        }
        file.sync_all().map_err(io)
    }

    /// Copies a body to the file's end; never more than the file may have.
    fn copy(
        &self,
        answer: Answer,
        file: &mut File,
        partial: &Path,
        have: &mut u64,
        events: &mut Events<'_>,
    ) -> Result<End> {
        let bound = self.content.size.unwrap_or(MAX_UNTOLD_BYTES);
        let promised = answer.number("content-length").map(|rest| have.saturating_add(rest));
        if let Some(promised) = promised.filter(|&n| n > bound || self.content.size.is_some_and(|size| n != size)) {
            return Err(self.wrong_length(&answer.url, partial, promised));
        }
        let url = answer.url;
        let mut body = answer.body.into_reader();
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            if ctx::interrupted() {
                return Err(stopped());
            }
            let read = match body.read(&mut buffer) {
                Ok(0) => return Ok(End::Whole),
                Ok(read) => read,
                Err(error) => return Ok(End::Cut(error.to_string())),
            };
            if *have + read as u64 > bound {
                return Err(self.wrong_length(&url, partial, *have + read as u64));
            }
            file.write_all(&buffer[..read]).map_err(|e| Error::io("write", partial, &e))?;
            *have += read as u64;
            events(&Event::Bytes { done: *have });
        }
    }

    /// A body ended too early: wait, and ask for the rest. Only bytes that no try had brought before count as progress.
    fn go_on(&self, end: &End, host: &str, progress: bool, tries: &mut Tries, events: &mut Events<'_>) -> Result<()> {
        if progress {
            tries.renew();
        }
        let reason = match end {
            End::Whole => format!("{host} ended {} too early", self.path),
            End::Cut(error) => format!("{host} broke off in {} ({error})", self.path),
        };
        tries.pause(&reason, None, events)
    }

    /// `Content-Range: bytes 100-199/200`
    fn check_range(&self, answer: &Answer, have: u64, partial: &Path) -> Result<()> {
        let range = answer.header("content-range").unwrap_or_default();
        let parts = range.strip_prefix("bytes ").and_then(|range| range.split_once('/'));
        let start = parts.and_then(|(range, _)| range.split_once('-')?.0.parse::<u64>().ok());
        let total = parts.and_then(|(_, total)| total.parse::<u64>().ok());
        if start != Some(have) {
            let wanted = format!("expected the bytes of {} from {have} on", self.path);
            return Err(Error::bad(format!("{wanted}, found the range {range:?} from {}", answer.url.host())));
        }
        match total {
            Some(total) if self.content.size.is_some_and(|size| size != total) => {
                Err(self.wrong_length(&answer.url, partial, total))
            }
            _ => Ok(()),
        }
    }

    fn verify(&self, partial: &Path, events: &mut Events<'_>) -> Result<()> {
        events(&Event::Verifying { file: self.name });
        let expected = &self.content.digest;
        let found = expected.of_file(partial)?;
        if found == *expected {
            return Ok(());
        }
        Err(self.spoilt(partial, format!("expected {expected} of the content, found {}", found.hex())))
    }

    fn wrong_length(&self, url: &Url, partial: &Path, found: u64) -> Error {
        let bound = self.content.size.unwrap_or(MAX_UNTOLD_BYTES);
        let at_most = if self.content.size.is_some() { "" } else { "at most " };
        self.spoilt(partial, format!("expected {at_most}{bound} bytes, found {found} from {}", url.host()))
    }

    /// What has arrived is not what the hub had named: it is of no use to a later try.
    fn spoilt(&self, partial: &Path, problem: String) -> Error {
        // If it cannot be deleted, the next try finds it wrong again; this error is the one that counts.
        let _ = fs::remove_file(partial);
        Error::bad(problem).in_file(self.name).help(
            "the bytes were deleted; run again, and if it stays so, the server or a proxy on the way changes files",
        )
    }
}

/// Forgets what has arrived.
fn restart(file: &mut File) -> std::io::Result<u64> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))
}
