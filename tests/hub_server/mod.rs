//! A hub on the loopback interface: it answers as huggingface.co does (commits, entity tags, redirects to a storage host
//! on another port, pages of a tree) and fails as it is told to.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use sha1::{Digest, Sha1};
use sha2::Sha256;

/// Files of a page of a tree: few, so that there are several pages.
const PAGE: usize = 3;

/// Who was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    Hub,
    Storage,
}

/// A request, as it came.
#[derive(Debug, Clone)]
pub struct Request {
    pub host: Host,
    pub method: String,
    pub target: String,
    pub headers: BTreeMap<String, String>,
}

impl Request {
    pub fn is_content(&self) -> bool {
        self.method == "GET" && !self.target.starts_with("/api/models/") && !self.target.starts_with("/api/datasets/")
    }

    /// The first byte that was asked for.
    pub fn from(&self) -> usize {
        let range = self.headers.get("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
        range.map_or(0, |from| from.parse().unwrap())
    }
}

/// What goes wrong, once.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The connection ends after so many bytes of the body.
    Cut(usize),
    /// A status in place of an answer, with these headers.
    Status(u16, Vec<(&'static str, String)>),
    /// Another document, with the address of a page after it.
    Document(String, Option<String>),
    /// The body's first byte is another one.
    WrongByte,
    /// The body has so many bytes, and the header says so too.
    Length(usize),
    /// The part of another range than the one that was asked for.
    WrongRange,
    /// The body stops after so many bytes, and the connection stays.
    Stall(usize),
    /// Ten bytes, then a pause of so many milliseconds, and so on.
    Slow(u64),
}

/// A repository at one commit.
#[derive(Debug, Clone, Default)]
pub struct Repo {
    pub commit: String,
    /// Names of the commit beside `main` and `refs/pr/1`.
    pub tags: Vec<String>,
    pub files: BTreeMap<String, Vec<u8>>,
    /// Files of which the large ones lie at the storage host.
    pub large_from: usize,
    /// The token that opens it.
    pub token: Option<String>,
    pub gated: bool,
}

impl Repo {
    fn is_large(&self, content: &[u8]) -> bool {
        content.len() >= self.large_from
    }

    fn etag(&self, content: &[u8]) -> String {
        if self.is_large(content) { sha256(content) } else { git_sha1(content) }
    }
}

#[derive(Default)]
struct State {
    /// `models/owner/name` and its branches' commits.
    repos: BTreeMap<String, Repo>,
    faults: BTreeMap<String, VecDeque<Fault>>,
    requests: Vec<Request>,
    storage: String,
    ranges: bool,
    etags: bool,
    lengths: bool,
}

/// The hub and its storage host; they live as long as the process.
#[derive(Clone)]
pub struct Hub {
    pub endpoint: String,
    state: Arc<Mutex<State>>,
}

impl Hub {
    pub fn start() -> Self {
        let state = Arc::new(Mutex::new(State { ranges: true, etags: true, lengths: true, ..State::default() }));
        let listen = |host: Host| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = format!("http://{}", listener.local_addr().unwrap());
            let state = Arc::clone(&state);
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let state = Arc::clone(&state);
                    thread::spawn(move || serve(&stream, host, &state));
                }
            });
            address
        };
        let (endpoint, storage) = (listen(Host::Hub), listen(Host::Storage));
        state.lock().unwrap().storage = storage;
        Self { endpoint, state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Adds a repository, such as `models/owner/name`.
    pub fn add(&self, name: &str, repo: Repo) {
        self.state().repos.insert(name.to_owned(), repo);
    }

    /// What goes wrong with the next contents of a path, in turn. A path that begins with `/` is a request's target.
    pub fn fault(&self, path: &str, faults: impl IntoIterator<Item = Fault>) {
        self.state().faults.entry(path.to_owned()).or_default().extend(faults);
    }

    /// From now on the storage host knows no ranges.
    pub fn without_ranges(&self) {
        self.state().ranges = false;
    }

    /// From now on entity tags say nothing.
    pub fn without_etags(&self) {
        self.state().etags = false;
    }

    /// From now on files have no lengths: a content ends with its connection.
    pub fn without_lengths(&self) {
        self.state().lengths = false;
    }

    /// The requests so far, which are forgotten.
    pub fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.state().requests)
    }

    /// How many requests there were so far.
    pub fn count(&self) -> usize {
        self.state().requests.len()
    }
}

pub fn sha256(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}

pub fn git_sha1(content: &[u8]) -> String {
    hex(&Sha1::new_with_prefix(format!("blob {}\0", content.len())).chain_update(content).finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// An answer on its way.
struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Reply {
    fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn json(value: &serde_json::Value) -> Self {
        Self { body: value.to_string().into_bytes(), ..Self::new(200) }.with("content-type", "application/json")
    }
}

/// One request of a connection, which then ends.
fn serve(stream: &TcpStream, host: Host, state: &Mutex<State>) {
    let Some(request) = read(stream, host) else { return };
    let (reply, fault, lengths) = {
        let mut state = state.lock().unwrap();
        state.requests.push(request.clone());
        let (reply, fault) = answer(&request, &mut state);
        (reply, fault, state.lengths)
    };
    // A client that goes away is what some tests are about.
    let _ = send(stream, &request, reply, fault.as_ref(), lengths);
    let _ = stream.shutdown(Shutdown::Both);
}

fn read(stream: &TcpStream, host: Host) -> Option<Request> {
    let mut lines = BufReader::new(stream.take(64 << 10)).lines();
    let first = lines.next()?.ok()?;
    let mut words = first.split(' ').map(str::to_owned);
    let (method, target) = (words.next()?, words.next()?);
    let mut headers = BTreeMap::new();
    for line in lines.map_while(Result::ok).take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':')?;
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    Some(Request { host, method, target, headers })
}

fn answer(request: &Request, state: &mut State) -> (Reply, Option<Fault>) {
    if let Some(fault) = state.faults.get_mut(&request.target).and_then(VecDeque::pop_front) {
        return (Reply::new(200), Some(fault));
    }
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let path = unescape(path);
    if request.host == Host::Storage {
        return storage(request, &path, state);
    }
    if let Some(rest) = path.strip_prefix("/api/resolve-cache/") {
        let (name, rest) = rest.split_once("//").unwrap();
        let file = rest.split_once('/').unwrap().1;
        return content(request, &state.repos[name].clone(), file, state);
    }
    if let Some(rest) = path.strip_prefix("/api/") {
        let found = ["/revision/", "/tree/"].iter().find_map(|what| Some((what, rest.split_once(what)?)));
        let Some((what, (name, revision))) = found else { return (Reply::new(404), None) };
        let repo = match find(request, state, name, revision) {
            Ok(repo) => repo,
            Err(reply) => return (reply, None),
        };
        let reply = if *what == "/tree/" {
            tree(&repo, request, query)
        } else {
            Reply::json(&serde_json::json!({"id": name, "sha": repo.commit, "siblings": []}))
        };
        return (reply, None);
    }
    let Some((name, rest)) = path[1..].split_once("/resolve/") else { return (Reply::new(404), None) };
    let name = if name.starts_with("datasets/") { name.to_owned() } else { format!("models/{name}") };
    let (revision, file) = match rest.strip_prefix("refs/pr/") {
        Some(rest) => (&rest[..rest.find('/').unwrap()], &rest[rest.find('/').unwrap() + 1..]),
        None => rest.split_once('/').unwrap(),
    };
    let repo = match find(request, state, &name, revision) {
        Ok(repo) => repo,
        Err(reply) => return (reply, None),
    };
    let Some(bytes) = repo.files.get(file) else {
        let reply = Reply::new(404).with("x-error-code", "EntryNotFound").with("x-repo-commit", &repo.commit);
        return (reply, None);
    };
    let reply = Reply::new(if repo.is_large(bytes) { 302 } else { 307 }).with("x-repo-commit", &repo.commit);
    if repo.is_large(bytes) {
        let etag = if state.etags { repo.etag(bytes) } else { "v1".to_owned() };
        let reply = reply.with("x-linked-size", bytes.len().to_string()).with("x-linked-etag", format!("\"{etag}\""));
        // The content's own name, as storage hosts have it; the signature is a secret of its own.
        return (reply.with("location", format!("{}/{name}//{}?Signature=abc", state.storage, escape(file))), None);
    }
    (reply.with("location", format!("/api/resolve-cache/{name}//{}/{}", repo.commit, escape(file))), None)
}

/// The repository, if it may be seen and has the revision.
fn find(request: &Request, state: &State, name: &str, revision: &str) -> Result<Repo, Reply> {
    let repo = state.repos.get(name).ok_or_else(|| Reply::new(401).with("x-error-code", "RepoNotFound"))?;
    let given = request.headers.get("authorization").and_then(|given| given.strip_prefix("Bearer "));
    if repo.token.as_deref().is_some_and(|token| given != Some(token)) {
        let code = if repo.gated { "GatedRepo" } else { "RepoNotFound" };
        return Err(Reply::new(if given.is_some() { 403 } else { 401 }).with("x-error-code", code));
    }
    let known = ["main", "1", &repo.commit].contains(&revision);
    if known || repo.tags.iter().any(|tag| tag == revision) {
        Ok(repo.clone())
    } else {
        Err(Reply::new(404).with("x-error-code", "RevisionNotFound"))
    }
}

fn tree(repo: &Repo, request: &Request, query: &str) -> Reply {
    let start: usize = query.split('&').find_map(|part| part.strip_prefix("cursor=")?.parse().ok()).unwrap_or(0);
    let entry = |(path, bytes): (&String, &Vec<u8>)| {
        let mut entry = serde_json::json!({"type": "file", "path": path, "size": bytes.len(), "oid": git_sha1(bytes)});
        if repo.is_large(bytes) {
            entry["oid"] = git_sha1(b"version https://git-lfs.github.com/spec/v1").into();
            entry["lfs"] = serde_json::json!({"oid": sha256(bytes), "size": bytes.len(), "pointerSize": 134});
        }
        entry
    };
    let folder = serde_json::json!({"type": "directory", "path": "folder", "size": 0, "oid": git_sha1(b"")});
    let all: Vec<_> = std::iter::once(folder).chain(repo.files.iter().map(entry)).collect();
    let page: Vec<_> = all.iter().skip(start).take(PAGE).cloned().collect();
    let reply = Reply::json(&page.into());
    if start + PAGE >= all.len() {
        return reply;
    }
    let path = request.target.split('?').next().unwrap();
    let host = &request.headers["host"];
    reply.with("link", format!("<http://{host}{path}?recursive=true&cursor={}>; rel=\"next\"", start + PAGE))
}

/// The content at the storage host.
fn storage(request: &Request, path: &str, state: &mut State) -> (Reply, Option<Fault>) {
    let (name, file) = path[1..].split_once("//").unwrap();
    let repo = state.repos[name].clone();
    content(request, &repo, file, state)
}

fn content(request: &Request, repo: &Repo, file: &str, state: &mut State) -> (Reply, Option<Fault>) {
    let bytes = &repo.files[file];
    let fault = Some(request).filter(|request| request.method == "GET");
    let fault = fault.and_then(|_| state.faults.get_mut(file)?.pop_front());
    let etag = if request.host == Host::Hub { repo.etag(bytes) } else { "as-the-storage-likes".to_owned() };
    let reply = |status| Reply::new(status).with("x-repo-commit", &repo.commit).with("etag", format!("\"{etag}\""));
    let from = if state.ranges { request.from() } else { 0 };
    if !state.ranges || !request.headers.contains_key("range") {
        return (Reply { body: bytes.clone(), ..reply(200) }, fault);
    }
    if from >= bytes.len() {
        return (reply(416).with("content-range", format!("bytes */{}", bytes.len())), fault);
    }
    let start = if matches!(fault, Some(Fault::WrongRange)) { from - 1 } else { from };
    let range = format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len());
    (Reply { body: bytes[start..].to_vec(), ..reply(206).with("content-range", range) }, fault)
}

fn send(
    mut stream: &TcpStream,
    request: &Request,
    reply: Reply,
    fault: Option<&Fault>,
    lengths: bool,
) -> std::io::Result<()> {
    let Reply { mut status, mut headers, mut body } = reply;
    match fault {
        Some(Fault::Status(code, more)) => {
            status = *code;
            headers.extend(more.iter().cloned());
            body = b"no".to_vec();
        }
        Some(Fault::Document(text, next)) => {
            headers.extend(next.iter().map(|next| ("link", format!("<{next}>; rel=\"next\""))));
            body = text.clone().into_bytes();
        }
        Some(Fault::WrongByte) => body[0] ^= 1,
        Some(Fault::Length(length)) => body.resize(*length, b'x'),
        _ => {}
    }
    let mut head = format!("HTTP/1.1 {status} X\r\nconnection: close\r\n");
    if lengths {
        head += &format!("content-length: {}\r\n", body.len());
    } else {
        headers.retain(|(name, _)| *name != "x-linked-size");
    }
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all((head + "\r\n").as_bytes())?;
    if request.method == "HEAD" {
        return Ok(());
    }
    match fault {
        Some(Fault::Cut(after)) => stream.write_all(&body[..*after.min(&body.len())]),
        Some(Fault::Stall(after)) => {
            stream.write_all(&body[..*after.min(&body.len())])?;
            thread::sleep(Duration::from_secs(30));
            Ok(())
        }
        Some(Fault::Slow(pause)) => body.chunks(10).try_for_each(|chunk| {
            stream.write_all(chunk)?;
            thread::sleep(Duration::from_millis(*pause));
            Ok(())
        }),
        _ => stream.write_all(&body),
    }
}

fn escape(path: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/".contains(&b);
    path.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = (*first == b'%').then(|| u8::from_str_radix(std::str::from_utf8(&tail[..2]).unwrap(), 16).unwrap());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8(bytes).unwrap()
}
