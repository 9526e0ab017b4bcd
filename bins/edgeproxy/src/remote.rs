//! Commands that ask a running edgeproxy by its API.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use edgeproxy_config::API_ENV;
use edgeproxy_tls::{Identity, IdentityError, Trust};
use http::{HeaderName, Method, StatusCode};
use serde_json::Value;
use tokio::runtime;
use tokio_rustls::rustls;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::client::{Answer, Client, Opened, Tls};
use crate::output::{print, shown, tell};
use crate::token;

/// Which edgeproxy is asked, and as whom.
#[derive(Args, Debug, Clone)]
pub(crate) struct Remote {
    /// Where its API is.
    #[arg(
        long,
        value_name = "URL",
        env = "EDGEPROXY_API",
        default_value = "http://127.0.0.1:8081"
    )]
    api: String,
    /// The file that holds the token to show it. There is no flag for the token itself: others could see it.
    #[arg(long, value_name = "FILE", env = "EDGEPROXY_API_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// The authorities that its certificate has to come from, as PEM; none is those that this system trusts.
    #[arg(long, value_name = "FILE", env = "EDGEPROXY_API_CA")]
    ca: Option<PathBuf>,
    /// The certificate to show it, as PEM, where it asks for one.
    #[arg(long, value_name = "FILE", env = "EDGEPROXY_API_CERT", requires = "key")]
    cert: Option<PathBuf>,
    /// The private key of that certificate, as PEM.
    #[arg(long, value_name = "FILE", env = "EDGEPROXY_API_KEY", requires = "cert")]
    key: Option<PathBuf>,
}

/// In which form an answer is printed.
#[derive(Args, Debug, Clone, Copy)]
pub(crate) struct Form {
    /// Print what the API answers, as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

impl Remote {
    fn tls(&self, host: &str) -> anyhow::Result<Tls> {
        let read = |path: &PathBuf| {
            let shown = path.display().to_string();
            std::fs::read(path).with_context(|| format!("{shown} can't be read"))
        };
        let trust = match given(self.ca.as_ref()) {
            None => Trust::system(),
            Some(path) => {
                let trust = Trust::from_pem(&read(path)?);
                trust.map_err(|error| anyhow!("{} {error}", path.display()))?
            }
        };
        let identity = match given(self.cert.as_ref()).zip(given(self.key.as_ref())) {
            None => None,
            Some((cert, key)) => {
                let identity = Identity::from_pem(&read(cert)?, &read(key)?);
                let at_fault = |error: &IdentityError| if error.is_of_key() { key } else { cert };
                Some(identity.map_err(|error| anyhow!("{} {error}", at_fault(&error).display()))?)
            }
        };
        let config = edgeproxy_tls::Client {
            trust: Some(trust),
            identity,
        };
        let server_name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned());
        Ok(Tls {
            connector: config.build()?.into(),
            server_name: server_name
                .with_context(|| format!("{host:?} is no name that a certificate can have"))?,
        })
    }
}

/// A connection to an API.
pub(crate) struct Api {
    client: Client,
    url: String,
    /// Whether a token goes further than this machine, in the clear.
    is_overheard: bool,
}

/// Asks, prints what `ask` makes of it, and ends with 0; or with 1 and the reason.
pub(crate) fn run(remote: &Remote, ask: impl AsyncFnOnce(&mut Api) -> anyhow::Result<String>) -> ExitCode {
    let answered = in_runtime(async {
        let mut api = Api::warned(remote)?;
        ask(&mut api).await
    });
    match answered {
        Ok(text) => {
            print(&text);
            ExitCode::SUCCESS
        }
        Err(error) => failed(&error),
    }
}

/// Has a future run to its end, on this thread.
pub(crate) fn in_runtime<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime")?
        .block_on(future)
}

/// Tells why, and ends with 1.
pub(crate) fn failed(error: &anyhow::Error) -> ExitCode {
    tell(&format!("edgeproxy: {error:#}\n"));
    ExitCode::FAILURE
}

impl Api {
    /// What the options name. The file of the token is read each time.
    pub(crate) fn at(remote: &Remote) -> anyhow::Result<Self> {
        let url = remote.api.as_str();
        let Target { scheme, host, port } = target(url)?;
        let mut client = Client::new(format!("{host}:{port}"));
        if scheme == Scheme::Https {
            client = client.inside(remote.tls(&host)?);
        }
        let mut is_overheard = false;
        if let Some(path) = given(remote.token_file.as_ref()) {
            is_overheard = scheme == Scheme::Http && !is_loopback(&host);
            client = client.with_token(&token::from_file(path)?)?;
        }
        Ok(Self {
            client,
            url: url.to_owned(),
            is_overheard,
        })
    }

    /// The same, with a word on standard error about a token that others may read on its way.
    pub(crate) fn warned(remote: &Remote) -> anyhow::Result<Self> {
        let api = Self::at(remote)?;
        if api.is_overheard {
            tell(&format!(
                "edgeproxy: the token goes to {} in the clear, where others may read it; use https\n",
                api.url
            ));
        }
        Ok(api)
    }

    /// Sends a request and reads the JSON of the answer.
    pub(crate) async fn call(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        self.call_with(method, path, body, &[]).await
    }

    /// The same with headers more.
    pub(crate) async fn call_with(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        more: &[(HeaderName, &str)],
    ) -> anyhow::Result<Value> {
        let answer = self.client.send_with(method, path, body, more).await;
        let answer = answer.map_err(|error| self.unreachable(&error))?;
        if answer.status.is_success() {
            return answer.json();
        }
        Err(self.refusal(&answer).into())
    }

    /// Sends a GET whose answer is read while it is being written.
    pub(crate) async fn open(&self, path: &str, more: &[(HeaderName, &str)]) -> anyhow::Result<Opened> {
        let opened = self.client.open(path, more).await;
        let opened = opened.map_err(|error| self.unreachable(&error))?;
        if opened.status().is_success() {
            return Ok(opened);
        }
        let answer = opened.read().await.map_err(|error| self.unreachable(&error))?;
        Err(self.refusal(&answer).into())
    }

    /// Where it is, as it was named.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// That there is no answer, why, and what may help.
    fn unreachable(&self, error: &anyhow::Error) -> anyhow::Error {
        anyhow!("{} can't be asked: {error:#}\n  {}", self.url, after(error))
    }

    /// What an answer that is no success says: a problem (RFC 9457), if it is an edgeproxy that answers.
    fn refusal(&self, answer: &Answer) -> Refusal {
        let Answer { status, body, .. } = answer;
        let problem: Value = serde_json::from_slice(body).unwrap_or_default();
        let words = match problem["error"].as_str().or(problem["detail"].as_str()) {
            Some(error) => format!(
                "{status}: {}{}{}",
                shown(error),
                fields(&problem),
                next_step(*status)
            ),
            None => format!(
                "{status} from {}: is that the API of edgeproxy? Name its address by --api",
                self.url
            ),
        };
        Refusal {
            status: *status,
            words,
        }
    }

    /// A GET.
    pub(crate) async fn get(&mut self, path: &str) -> anyhow::Result<Value> {
        self.call(Method::GET, path, None).await
    }

    /// Every page of a listing: the items of `member`, and how many there are.
    pub(crate) async fn pages(
        &mut self,
        path: &str,
        query: &Query,
        member: &str,
    ) -> anyhow::Result<Vec<Value>> {
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let query = query.clone().and("cursor", cursor.as_deref());
            let mut page = self.get(&format!("{path}{}", query.0)).await?;
            let Some(found) = page.get_mut(member).and_then(Value::as_array_mut) else {
                bail!("the answer has no {member}: is that the API of edgeproxy?");
            };
            items.append(found);
            match page["next_cursor"].as_str() {
                Some(next) if cursor.as_deref() != Some(next) => cursor = Some(next.to_owned()),
                _ => return Ok(items),
            }
        }
    }
}

/// An answer that is no success, in the server's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{words}")]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    /// With the status.
    pub(crate) words: String,
}

/// What may help where there is no answer.
fn after(error: &anyhow::Error) -> String {
    let causes = || error.chain();
    let tls = causes()
        .filter_map(|cause| cause.downcast_ref::<io::Error>()?.get_ref())
        .find_map(|inner| inner.downcast_ref::<rustls::Error>());
    let http = causes().find_map(|cause| cause.downcast_ref::<hyper::Error>());
    match (tls, http) {
        (Some(rustls::Error::InvalidMessage(_)), _) => {
            "does it speak TLS? The address of an API in the clear begins with http://".to_owned()
        }
        (Some(rustls::Error::InvalidCertificate(_)), _) => {
            "name the authorities of its certificate by --ca, or by EDGEPROXY_API_CA, and it by a name that is in it".to_owned()
        }
        (Some(_), _) => {
            "does it ask for a certificate? Show it one by --cert and --key".to_owned()
        }
        (None, Some(error)) if error.is_parse() || error.is_incomplete_message() => {
            "is it an API inside TLS? Then its address begins with https://".to_owned()
        }
        (None, _) => format!(
            "is edgeproxy running there, with api_enabled = true? Name another address by --api, or by {API_ENV}"
        ),
    }
}

/// The same refusal with what to do next, if what was asked for is not there.
pub(crate) fn or_look(error: anyhow::Error, next: &str) -> anyhow::Error {
    match error.downcast::<Refusal>() {
        Ok(Refusal { status, words }) if status == StatusCode::NOT_FOUND => {
            let words = format!("{words}\n  {next}");
            Refusal { status, words }.into()
        }
        Ok(refusal) => refusal.into(),
        Err(error) => error,
    }
}

/// What to do about a status, where its words can't know with what they are shown.
fn next_step(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => {
            "\n  name the file of a token by --token-file, or by EDGEPROXY_API_TOKEN_FILE"
        }
        _ => "",
    }
}

/// What each refused field is refused for, if there are several: one is in the error already.
fn fields(problem: &Value) -> String {
    let fields = problem["fields"].as_array().map_or(&[][..], Vec::as_slice);
    let fields = if fields.len() > 1 { fields } else { &[] };
    let told = fields.iter().map(|field| {
        let text = |member: &str| shown(field[member].as_str().unwrap_or_default());
        format!("\n  {} {}", text("field"), text("problem"))
    });
    told.collect()
}

/// An empty variable is none.
fn given(path: Option<&PathBuf>) -> Option<&PathBuf> {
    path.filter(|path| !path.as_os_str().is_empty())
}

fn is_loopback(host: &str) -> bool {
    let ip = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || ip.is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// What a URL says.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    scheme: Scheme,
    host: String,
    port: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

/// Reads a URL.
fn target(url: &str) -> anyhow::Result<Target> {
    let expected = "expected a URL such as http://127.0.0.1:8081";
    let (scheme, rest) = match url.split_once("://") {
        None | Some(("http", _)) => (Scheme::Http, url.strip_prefix("http://").unwrap_or(url)),
        Some(("https", rest)) => (Scheme::Https, rest),
        Some(_) => bail!("the API is at {url}; {expected}"),
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    let uri: http::uri::Authority = authority
        .parse()
        .with_context(|| format!("the API is at {url}; {expected}"))?;
    if uri.host().is_empty() || uri.as_str().contains('@') {
        bail!("the API is at {url}; {expected}");
    }
    let usual = match scheme {
        Scheme::Http => 80,
        Scheme::Https => 443,
    };
    Ok(Target {
        scheme,
        host: uri.host().to_owned(),
        port: uri.port_u16().unwrap_or(usual),
    })
}

/// The query of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Query(pub(crate) String);

impl Query {
    /// The same with a parameter more, if there is a value.
    pub(crate) fn and(mut self, name: &str, value: Option<&str>) -> Self {
        if let Some(value) = value {
            self.0.push(if self.0.is_empty() { '?' } else { '&' });
            self.0.push_str(name);
            self.0.push('=');
            self.0.push_str(&encoded(value));
        }
        self
    }
}

/// A segment or a value of a URL (RFC 3986 §2.1).
pub(crate) fn encoded(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b if b.is_ascii_alphanumeric() || b"-._~".contains(&b) => char::from(b).to_string(),
            b => format!("%{b:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_a_scheme_a_host_and_a_port() {
        for (url, scheme, host, port) in [
            ("http://127.0.0.1:8081", Scheme::Http, "127.0.0.1", 8_081),
            ("http://localhost:9000/", Scheme::Http, "localhost", 9_000),
            ("edge.internal:8081", Scheme::Http, "edge.internal", 8_081),
            ("http://edge.internal", Scheme::Http, "edge.internal", 80),
            ("http://[::1]:8081", Scheme::Http, "[::1]", 8_081),
            ("https://edge.internal", Scheme::Https, "edge.internal", 443),
            ("https://[::1]:8081/", Scheme::Https, "[::1]", 8_081),
        ] {
            let host = host.to_owned();
            assert_eq!(target(url).unwrap(), Target { scheme, host, port }, "{url}");
        }
        for bad in [
            "",
            "http://",
            "ftp://a",
            "https://",
            "http://a/api/v1",
            "http://me@a",
            "http://a b",
        ] {
            let told = format!("{:#}", target(bad).unwrap_err());
            assert!(told.contains("such as http://127.0.0.1:8081"), "{bad}: {told}");
        }
    }

    #[test]
    fn what_a_server_says_of_a_refusal_moves_no_cursor() {
        let api = Api {
            client: Client::new("127.0.0.1:9".to_owned()),
            url: "http://127.0.0.1:9".to_owned(),
            is_overheard: false,
        };
        let body =
            r#"{"error":"a\u001b[2J","fields":[{"field":"b\u001b[2J","problem":"c\nd"},{"field":"e"}]}"#;
        let refusal = api.refusal(&Answer {
            status: StatusCode::BAD_REQUEST,
            headers: http::HeaderMap::new(),
            body: body.into(),
        });
        assert_eq!(refusal.words, "400 Bad Request: a [2J\n  b [2J c d\n  e ");
    }

    #[test]
    fn what_is_sent_is_encoded() {
        let query = Query::default()
            .and("app", Some("a b&c"))
            .and("region", None)
            .and("state", Some("trial"));
        assert_eq!(query.0, "?app=a%20b%26c&state=trial");
        assert_eq!(encoded("b:1/.."), "b%3A1%2F..");
    }
}
