//! Downloads that are killed, and downloads that are asked to stop: each in a process of its own, since an interrupt is
//! for a whole process. What had arrived is used by the next one.
#![cfg(feature = "hub")]

#[expect(dead_code, reason = "other tests need more of the hub")]
mod hub_server;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hub_server::{Fault, Hub, Repo, Request, sha256};
use tempfile::TempDir;
use veval::hub::{Event, Events, Settings, fetch_file};
use veval::{Error, ErrorKind, ctx};

const ADDRESS: &str = "hf://dataset/o/n/x.bin";
/// Where a child finds hub and cache, and after what it stops.
const TASK: &str = "VEVAL_TEST_HUB_TASK";

fn fetch(endpoint: &str, cache: &Path, events: &mut Events<'_>) -> Result<PathBuf, Error> {
    let variable = |name: &str| match name {
        "HF_ENDPOINT" => Some(endpoint.to_owned()),
        "HF_HUB_CACHE" => Some(cache.to_str().unwrap().to_owned()),
        _ => None,
    };
    fetch_file(&ADDRESS.parse().unwrap(), &Settings::read(&variable).unwrap(), events)
}

/// Not a test by itself: what the others start. It stops itself at the event of this name, or never.
#[test]
fn child() {
    let Ok(task) = std::env::var(TASK) else { return };
    let [endpoint, cache, stop] = task.split('\n').collect::<Vec<_>>().try_into().unwrap();
    let mut stopped = None;
    let mut events = |event: &Event<'_>| {
        let late = !matches!(event, Event::Bytes { done: ..3000 });
        if late && format!("{event:?}").starts_with(stop) {
            ctx::interrupt();
            stopped.get_or_insert_with(Instant::now);
        }
    };
    let error = fetch(endpoint, Path::new(cache), &mut events).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incomplete, "{error}");
    assert!(error.to_string().contains("run again: it goes on where it stopped"), "{error}");
    assert!(stopped.unwrap().elapsed() < Duration::from_secs(5));
}

struct World {
    hub: Hub,
    cache: TempDir,
    bytes: Vec<u8>,
}

impl World {
    fn new(faults: &[Fault]) -> Self {
        let bytes: Vec<u8> = (0..60_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        let files = [("x.bin".to_owned(), bytes.clone())].into();
        let hub = Hub::start();
        hub.add("datasets/o/n", Repo { commit: "a".repeat(40), files, ..Repo::default() });
        hub.fault("x.bin", faults.iter().cloned());
        Self { hub, cache: TempDir::new().unwrap(), bytes }
    }

    fn child(&self, stop: &str) -> Child {
        let task = format!("{}\n{}\n{stop}", self.hub.endpoint, self.cache.path().display());
        let test = std::env::current_exe().unwrap();
        let mut command = Command::new(test);
        command.args(["--exact", "child", "--nocapture"]).env(TASK, task).stdout(Stdio::null()).spawn().unwrap()
    }

    /// How much has arrived.
    fn partial(&self) -> usize {
        let name = format!("{}.incomplete", sha256(&self.bytes));
        let path = self.cache.path().join("datasets--o--n/blobs").join(name);
        path.metadata().map_or(0, |metadata| metadata.len() as usize)
    }

    /// This process ends what another one began, and asks for what is missing only.
    fn finish(&self) {
        let left = self.partial();
        assert!(0 < left && left < self.bytes.len(), "{left}");
        self.hub.requests();
        let path = fetch(&self.hub.endpoint, self.cache.path(), &mut |_| {}).unwrap();
        assert_eq!(std::fs::read(path).unwrap(), self.bytes);
        let contents = self.hub.requests().into_iter().filter(Request::is_content);
        let asked: Vec<usize> = contents.filter(|r| !r.target.contains("/resolve/")).map(|r| r.from()).collect();
        assert_eq!(asked, [left]);
    }
}

#[test]
fn after_a_kill_the_next_process_goes_on() {
    let world = World::new(&[Fault::Slow(1)]);
    let mut child = world.child("never");
    let start = Instant::now();
    while world.partial() < 3000 {
        assert!(start.elapsed() < Duration::from_mins(1), "nothing arrives");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    world.finish();
}

#[test]
fn an_interrupt_stops_a_download_and_keeps_what_has_arrived() {
    let world = World::new(&[Fault::Slow(1)]);
    assert!(world.child("Bytes").wait().unwrap().success());
    world.finish();
}

#[test]
fn an_interrupt_ends_a_wait() {
    let busy = Fault::Status(429, vec![("retry-after", "200".to_owned())]);
    let world = World::new(&[Fault::Cut(5000), busy]);
    assert!(world.child("Retrying { reason: \"127.0.0.1 answered 429").wait().unwrap().success());
    world.finish();
}

#[test]
fn a_process_that_waits_for_another_is_told_and_can_be_stopped() {
    let world = World::new(&[Fault::Slow(1)]);
    let mut first = world.child("never");
    let start = Instant::now();
    while world.partial() < 100 {
        assert!(start.elapsed() < Duration::from_mins(1), "nothing arrives");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(world.child("Waiting").wait().unwrap().success());
    assert!(first.try_wait().unwrap().is_none(), "the first one goes on");
    first.kill().unwrap();
    first.wait().unwrap();
    world.finish();
}
