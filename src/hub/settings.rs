//! Where the hub is, where its cache lies, and how patient to be: the variables that Python's `huggingface_hub` reads,
//! with its defaults (version 2.4, `constants.py`), so that both use one cache.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::ctx;
use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::util::files;

const ENDPOINT: &str = "https://huggingface.co";
const MAX_TOKEN_BYTES: u64 = 4096;

/// How the hub is used.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `http://` or `https://`, host and possibly a path, without a slash at the end (`HF_ENDPOINT`).
    pub endpoint: String,
    /// The folder of all repositories (`HF_HUB_CACHE`, else `hub` in `HF_HOME`).
    pub cache: PathBuf,
    /// Nothing is asked of the network (`HF_HUB_OFFLINE`).
    pub offline: bool,
    /// `HF_TOKEN`, else the file at `HF_TOKEN_PATH`, else `token` in `HF_HOME`.
    pub token: Option<Token>,
    pub patience: Patience,
}

/// How long to wait, and how often to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For a connection and for the head of an answer (`HF_HUB_ETAG_TIMEOUT`, in seconds).
    pub answer: Duration,
    /// For the next bytes of a file (`HF_HUB_DOWNLOAD_TIMEOUT`, in seconds).
    pub bytes: Duration,
    /// Tries in a row that bring nothing, before a request is given up.
    pub tries: u32,
    /// Before the second try; doubled before each later one.
    pub first_wait: Duration,
    /// No wait is longer; a hub that asks for a longer one is left alone. Its quotas are counted over five minutes.
    pub longest_wait: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(10),
            bytes: Duration::from_secs(10),
            tries: 6,
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_mins(5),
        }
    }
}

/// A secret. It is sent to the endpoint and to no other host, and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// `None` for an empty text.
    fn new(text: &str, from: &str) -> Result<Option<Self>> {
        let text = text.trim();
        if text.bytes().all(|b| b.is_ascii_graphic()) {
            return Ok(Some(text).filter(|text| !text.is_empty()).map(|text| Self(text.to_owned())));
        }
        let problem = Diagnostic::new(format!("{from}: expected a token of visible ASCII characters, found others"));
        Err(Error::all(vec![problem.help("copy the token again from the settings page of the hub")]))
    }

    #[cfg(feature = "hub")]
    pub(super) fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

impl Settings {
    /// What this process's environment says.
    pub fn from_environment() -> Result<Self> {
        Self::read(&ctx::variable)
    }

    /// What some variables say. All problems are reported together.
    pub fn read(variable: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let home = match variable("HF_HOME") {
            Some(home) => expand(&home, variable),
            None => match variable("XDG_CACHE_HOME") {
                Some(caches) => expand(&caches, variable).join("huggingface"),
                None => expand("~/.cache/huggingface", variable),
            },
        };
        let cache = ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"].into_iter().find_map(variable);
        let cache = cache.map_or_else(|| home.join("hub"), |cache| expand(&cache, variable));
        let is_true = |name| variable(name).is_some_and(|v| ["1", "ON", "YES", "TRUE"].contains(&&*v.to_uppercase()));
        let mut problems = Vec::new();
        let mut keep = |result: Result<()>| problems.extend(result.err().into_iter().flat_map(Error::into_diagnostics));
        let (mut endpoint, mut token, mut patience) = (String::new(), None, Patience::default());
        keep(read_endpoint(variable).map(|found| endpoint = found));
        keep(read_token(variable, &home).map(|found| token = found));
        keep(seconds("HF_HUB_ETAG_TIMEOUT", variable, &mut patience.answer));
        keep(seconds("HF_HUB_DOWNLOAD_TIMEOUT", variable, &mut patience.bytes));
        Error::check(problems)?;
        let offline = is_true("HF_HUB_OFFLINE") || is_true("TRANSFORMERS_OFFLINE");
        Ok(Self { endpoint, cache, offline, token, patience })
    }
}

fn read_endpoint(variable: &dyn Fn(&str) -> Option<String>) -> Result<String> {
    let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
    let endpoint = endpoint.trim_end_matches('/');
    let rest = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://"));
    let strange = |c: char| !c.is_ascii_graphic() || "?#@\\\"<>".contains(c);
    if rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['/', ':']) && !rest.contains(strange)) {
        return Ok(endpoint.to_owned());
    }
    Err(Error::bad(format!("HF_ENDPOINT: expected an address such as {ENDPOINT}, found {endpoint:?}")))
}

fn read_token(variable: &dyn Fn(&str) -> Option<String>, home: &std::path::Path) -> Result<Option<Token>> {
    for name in ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"] {
        if let Some(token) = variable(name) {
            return Token::new(&token, name);
        }
    }
    let path = variable("HF_TOKEN_PATH").map_or_else(|| home.join("token"), |path| expand(&path, variable));
    if !path.exists() {
        return Ok(None);
    }
    let text = files::read_text(&path, MAX_TOKEN_BYTES)?;
    Token::new(&text, &path.display().to_string())
}

fn seconds(name: &str, variable: &dyn Fn(&str) -> Option<String>, time: &mut Duration) -> Result<()> {
    let Some(text) = variable(name) else { return Ok(()) };
    match text.trim().parse::<u64>() {
        Ok(seconds @ 1..=3600) => *time = Duration::from_secs(seconds),
        _ => return Err(Error::bad(format!("{name}: expected seconds from 1 to 3600, found {text:?}"))),
    }
    Ok(())
}

/// A path with `~` at the beginning and variables (`$NAME`, `${NAME}`) put in, as Python's `expanduser` and
/// `expandvars` do: unknown variables stay as they are.
fn expand(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> PathBuf {
    let home = variable("HOME").filter(|_| text == "~" || text.starts_with("~/"));
    let mut rest = if home.is_some() { &text[1..] } else { text };
    let mut path = home.unwrap_or_default();
    while let Some(start) = rest.find('$') {
        path += &rest[..start];
        let after = &rest[start + 1..];
        let plain = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
        let braced = after.strip_prefix('{').and_then(|braced| Some(&braced[..braced.find('}')?]));
        let (name, end) = braced.map_or((&after[..plain], plain), |name| (name, name.len() + 2));
        path += &variable(name).unwrap_or_else(|| rest[start..=start + end].to_owned());
        rest = &after[end..];
    }
    PathBuf::from(path + rest)
}
