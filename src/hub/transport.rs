//! Requests with patience: time limits, tries again, redirects by hand, and the token for the endpoint alone.

use std::time::Duration;

use ureq::http::{HeaderMap, Request};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body};

use super::event::{Event, Events};
use super::settings::{Patience, Settings};
use super::url::Url;
use crate::ctx;
use crate::diag::Diagnostic;
use crate::error::{Error, ErrorKind, Result};

const MAX_REDIRECTS: usize = 10;
/// While something is waited for, an interrupt is looked for so often.
pub(super) const TICK: Duration = Duration::from_millis(50);

/// What of a resource is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// The head of the answer, from the endpoint alone: a redirect to another host is the answer.
    Metadata,
    /// The content, from the endpoint alone.
    Document,
    /// The content from this byte on, from wherever the endpoint points to.
    Bytes { from: u64 },
}

/// The head of an answer, and a body to be read.
pub(super) struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Body,
    /// Who answered, after redirects.
    pub url: Url,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub fn number(&self, name: &str) -> Option<u64> {
        self.header(name)?.trim().parse().ok()
    }

    /// How long the server asks to wait: `retry-after: 5`, or the hub's `ratelimit: "api";r=0;t=5` when nothing is left.
    fn wait(&self) -> Option<Duration> {
        let reset = || {
            let limit = self.header("ratelimit").filter(|_| self.status == 429)?;
            limit.split(';').find_map(|part| part.trim().strip_prefix("t=")?.parse().ok())
        };
        self.number("retry-after").or_else(reset).map(Duration::from_secs)
    }
}

/// Tries that are left, until one brings something.
pub(super) struct Tries {
    patience: Patience,
    used: u32,
}

impl Tries {
    pub fn new(patience: Patience) -> Self {
        Self { patience, used: 0 }
    }

    /// The last try brought something: the count begins anew.
    pub fn renew(&mut self) {
        self.used = 0;
    }

    /// Waits for the next try; as long as the server asks for, else twice as long each time.
    ///
    /// # Errors
    /// No try is left, the server asks for too much, or somebody wants to stop.
    pub fn pause(&mut self, reason: &str, asked: Option<Duration>, events: &mut Events<'_>) -> Result<()> {
        self.used += 1;
        let Patience { tries, first_wait, longest_wait, .. } = self.patience;
        let give_up = |why: String| {
            let problem = Diagnostic::new(format!("{reason}; {why}"));
            Error::new(ErrorKind::Incomplete, problem.help("run again later: what has arrived is kept"))
        };
        if let Some(asked) = asked.filter(|asked| *asked > longest_wait) {
            return Err(give_up(format!("it asks to wait {} s, which is too long", asked.as_secs())));
        }
        if self.used >= tries {
            return Err(give_up(format!("given up after {tries} tries")));
        }
        let doubled = first_wait.saturating_mul(1 << (self.used - 1).min(16)).min(longest_wait);
        let wait = asked.unwrap_or(doubled);
        events(&Event::Retrying { reason, milliseconds: wait.as_millis() as u64 });
        sleep(wait)
    }
}

/// Sleeps, unless somebody wants to stop.
pub(super) fn sleep(time: Duration) -> Result<()> {
    let mut left = time;
    loop {
        if ctx::interrupted() {
            return Err(stopped());
        }
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(TICK));
        left = left.saturating_sub(TICK);
    }
}

/// What an interrupt leaves.
pub(super) fn stopped() -> Error {
    let problem = Diagnostic::new("stopped before all files had arrived");
    Error::new(ErrorKind::Incomplete, problem.help("run again: it goes on where it stopped"))
}

pub(super) struct Transport<'a> {
    agent: Agent,
    settings: &'a Settings,
    home: Url,
}

impl<'a> Transport<'a> {
    pub fn new(settings: &'a Settings) -> Result<Self> {
        let Patience { answer, bytes, .. } = settings.patience;
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(format!("veval/{}", ctx::VERSION))
            // Lengths and ranges are those of the file itself.
            .accept_encoding("identity")
            .timeout_resolve(Some(answer))
            .timeout_connect(Some(answer))
            .timeout_send_request(Some(answer))
            .timeout_recv_response(Some(answer))
            .timeout_per_read(Some(bytes))
            .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build());
        Ok(Self { agent: Agent::new_with_config(config.build()), settings, home: Url::parse(&settings.endpoint)? })
    }

    /// Whether an address is the endpoint's own: such an answer is the hub's word, and may see the token.
    pub fn is_home(&self, url: &Url) -> bool {
        url.origin() == self.home.origin()
    }

    /// Asks, again if that may help, and follows redirects.
    ///
    /// # Errors
    /// No answer after all tries, or a redirect that is not to be followed. Any status that another try would not change
    /// is an answer.
    pub fn ask(&self, url: &Url, ask: Ask, tries: &mut Tries, events: &mut Events<'_>) -> Result<Answer> {
        loop {
            match self.follow(url, ask)? {
                Ok(answer) if matches!(answer.status, 408 | 429 | 500 | 502 | 503 | 504) => {
                    let reason = format!("{} answered {}", answer.url.host(), told(answer.status));
                    tries.pause(&reason, answer.wait(), events)?;
                }
                Ok(answer) => return Ok(answer),
                Err(reason) => tries.pause(&reason, None, events)?,
            }
        }
    }

    /// One try: an answer, or what went wrong and may pass.
    fn follow(&self, url: &Url, ask: Ask) -> Result<Result<Answer, String>> {
        let mut url = url.clone();
        for _ in 0..=MAX_REDIRECTS {
            if ctx::interrupted() {
                return Err(stopped());
            }
            if !matches!(ask, Ask::Bytes { .. }) && !self.is_home(&url) {
                return Err(Error::bad(format!("expected {} to answer itself, found a reference to {url}", self.home)));
            }
            let answer = match self.send(&url, ask) {
                Ok(response) => {
                    let (parts, body) = response.into_parts();
                    Answer { status: parts.status.as_u16(), headers: parts.headers, body, url: url.clone() }
                }
                Err(error) => return hopeless(&error, &url).map_or_else(|| Ok(Err(failed(&error, &url))), Err),
            };
            let target = answer.header("location").filter(|_| matches!(answer.status, 301 | 302 | 303 | 307 | 308));
            let Some(target) = target else { return Ok(Ok(answer)) };
            let next = url.join(target)?;
            if ask == Ask::Metadata && !self.is_home(&next) {
                return Ok(Ok(answer));
            }
            url = next;
        }
        Err(Error::bad(format!("expected at most {MAX_REDIRECTS} redirects, found more, the last to {url}")))
    }

    fn send(&self, url: &Url, ask: Ask) -> Result<ureq::http::Response<Body>, ureq::Error> {
        let mut request = Request::builder().uri(url.uri()).method(if ask == Ask::Metadata { "HEAD" } else { "GET" });
        if let Some(token) = self.settings.token.as_ref().filter(|_| self.is_home(url)) {
            request = request.header("authorization", format!("Bearer {}", token.secret()));
        }
        // No `If-Range`: a storage host tags contents in its own way. The address names a commit and the hash is checked.
        if let Ask::Bytes { from: from @ 1.. } = ask {
            request = request.header("range", format!("bytes={from}-"));
        }
        self.agent.run(request.body(())?)
    }
}

/// What another try would not change.
fn hopeless(error: &ureq::Error, url: &Url) -> Option<Error> {
    use ureq::Error as E;
    // A handshake that fails for its content (a certificate, another protocol) comes as an error of reading.
    let handshake = |error: &std::io::Error| error.kind() == std::io::ErrorKind::InvalidData;
    match error {
        E::Io(inner) if handshake(inner) => Some(insecure(error, url)),
        E::Rustls(_) | E::Tls(_) | E::Pem(_) => Some(insecure(error, url)),
        E::BadUri(_) | E::Http(_) | E::InvalidProxyUrl | E::LargeResponseHeader(..) => {
            Some(Error::bad(format!("expected an answer of {}, found {error}", url.host())))
        }
        _ => None,
    }
}

fn insecure(error: &ureq::Error, url: &Url) -> Error {
    Error::bad(format!("expected a secure connection to {}, found {error}", url.host()))
        .help("check the certificates of this machine (SSL_CERT_FILE), its clock and HF_ENDPOINT")
}

fn failed(error: &ureq::Error, url: &Url) -> String {
    format!("no answer of {} ({error})", url.host())
}

/// A status in numbers and, where it is a common one, in words.
pub(super) fn told(status: u16) -> String {
    match ureq::http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()) {
        Some(reason) => format!("{status} ({reason})"),
        None => status.to_string(),
    }
}
