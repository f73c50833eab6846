//! What an address stands for, brought from the hub into the cache.

use std::path::PathBuf;

use super::address::{Address, Commit, RepoPath};
use super::cache::RepoCache;
use super::checkpoint::{Wanted, Weights, choose, shards};
use super::download::Download;
use super::event::{Event, Events};
use super::lookup::{Content, Found, Lookup};
use super::settings::Settings;
use super::transport::Transport;
use crate::error::{Error, Result};

/// The hub, where it may be asked.
pub(super) struct Remote<'a> {
    address: &'a Address,
    settings: &'a Settings,
    cache: RepoCache,
}

impl<'a> Remote<'a> {
    /// `None` where the network may not be asked.
    pub fn open(address: &'a Address, settings: &'a Settings) -> Option<Self> {
        let cache = RepoCache::new(&settings.cache, &address.repo);
        (!settings.offline).then_some(Self { address, settings, cache })
    }

    /// A file as the hub has it now. At a commit the cache's own copy is that.
    pub fn file(&self, path: &RepoPath, events: &mut Events<'_>) -> Result<PathBuf> {
        if let Some(found) = self.address.revision.commit().and_then(|commit| self.cache.find(&commit, path)) {
            events(&Event::Cached { file: &self.address.to_string() });
            return Ok(found);
        }
        let transport = Transport::new(self.settings)?;
        let lookup = Lookup { transport: &transport, settings: self.settings, address: self.address };
        match lookup.file(path, events).map_err(|error| self.named(error))? {
            Found::File { commit, content } => {
                let found = self.bring(&transport, &commit, path, &content, events)?;
                self.cache.set_commit(&self.address.revision, &commit)?;
                Ok(found)
            }
            Found::Nothing { commit, error } => {
                if let Some(commit) = commit {
                    self.cache.set_absent(&commit, path)?;
                    self.cache.set_commit(&self.address.revision, &commit)?;
                }
                Err(self.named(error))
            }
        }
    }

    /// A checkpoint as the hub has it now: its folder, or the one file that the address names.
    pub fn model(&self, events: &mut Events<'_>) -> Result<PathBuf> {
        let transport = Transport::new(self.settings)?;
        let lookup = Lookup { transport: &transport, settings: self.settings, address: self.address };
        let commit = lookup.commit(events).map_err(|error| self.named(error))?;
        let fixed = self.address.at(&commit);
        let lookup = Lookup { address: &fixed, ..lookup };
        let files = lookup.files(events).map_err(|error| self.named(error))?;
        let names = files.keys().cloned().collect();
        let wanted = choose(&names, self.address.path.as_ref()).map_err(|error| self.named(error))?;
        let mut bring = |path: &RepoPath| match files.get(path) {
            Some(content) => self.bring(&transport, &commit, path, content, events),
            None => Err(self.named(Error::bad(format!("expected the shard {path} that the index names, found none")))),
        };
        let place = match wanted {
            Wanted::File(path) => bring(&path)?,
            Wanted::Checkpoint(chosen) => {
                match &chosen.weights {
                    Weights::Whole(path) => drop(bring(path)?),
                    Weights::Indexed(index) => {
                        for shard in shards(index, &bring(index)?)? {
                            bring(&shard)?;
                        }
                    }
                }
                // The configuration stands first and comes last: a folder that has one has all.
                for path in chosen.small.iter().rev() {
                    bring(path)?;
                }
                self.cache.place(&commit, self.address.path.as_ref())
            }
        };
        self.cache.set_commit(&self.address.revision, &commit)?;
        Ok(place)
    }

    fn bring(
        &self,
        transport: &Transport<'_>,
        commit: &Commit,
        path: &RepoPath,
        content: &Content,
        events: &mut Events<'_>,
    ) -> Result<PathBuf> {
        // The bytes of the commit that was looked up, whatever the branch does meanwhile.
        let fixed = Address { path: Some(path.clone()), ..self.address.at(commit) };
        let name = Address { path: Some(path.clone()), ..self.address.clone() }.to_string();
        if let Some(found) = self.cache.find(commit, path) {
            events(&Event::Cached { file: &name });
            return Ok(found);
        }
        let lookup = Lookup { transport, settings: self.settings, address: &fixed };
        let download = Download { lookup: &lookup, cache: &self.cache, path, content, name: &name };
        download.bring(events).map_err(|error| self.named(error))?;
        self.cache.link(commit, path, &content.digest)
    }

    /// The error, with the address where it names no other place.
    fn named(&self, error: Error) -> Error {
        error.in_file(self.address.to_string())
    }
}
