//! The proxy of one attack, who is before and behind it, and what is found out about them afterwards.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use edgeproxy_tests::{Edgeproxy, Registration, Setup, Wire, closed};
use tempfile::TempDir;

use crate::bystander::{Crowd, Ways};
use crate::call::Caller;
use crate::origin::Origin;
use crate::report::{Line, Verdict};
use crate::row::{Did, Row};
use crate::vitals::{self, Vitals};

/// The app of bystanders and attackers alike, and the backend that both are sent to.
pub(crate) const SHOP: &str = "shop";
pub(crate) const SHOP_ID: &str = "shop-1";

/// Bystanders are seen to be well for so long before and after the attack.
const CALM: Duration = Duration::from_millis(200);

/// What a tokens file lets its holders do, as roles.
pub(crate) struct Tokens {
    folder: TempDir,
    pub(crate) operate: String,
    /// To register for [`SHOP`] alone.
    pub(crate) register: String,
    pub(crate) read: String,
}

impl Tokens {
    fn make() -> Result<Self> {
        let folder = TempDir::with_prefix("edgeproxy-attacks-")?;
        let file = folder.path().join("tokens.toml");
        let new = |role: &str, app: &str| -> Result<String> {
            let made = Command::new(Edgeproxy::binary())
                .args([
                    "token", "new", "--name", role, "--role", role, "--app", app, "--append",
                ])
                .arg(&file)
                .stdin(Stdio::null())
                .output()?;
            ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
            Ok(String::from_utf8(made.stdout)?.trim().to_owned())
        };
        Ok(Self {
            operate: new("operate", "*")?,
            register: new("register", SHOP)?,
            read: new("read", "*")?,
            folder,
        })
    }
}

/// What an attack has before it.
pub(crate) struct Stage {
    pub(crate) edgeproxy: Edgeproxy,
    pub(crate) origin: Origin,
    pub(crate) tokens: Option<Tokens>,
    /// Open before anybody had come.
    alone: usize,
    /// With the bystanders, before the attack.
    before: Vitals,
    /// Bytes that were resident after a second time.
    warm: Option<u64>,
}

impl Stage {
    pub(crate) fn proxy(&self) -> SocketAddr {
        self.edgeproxy.proxy()
    }

    /// A bare connection to the proxy.
    pub(crate) async fn wire(&self) -> Wire {
        Wire::connect(self.proxy()).await
    }

    /// Somebody who may do everything that the API can be asked for.
    pub(crate) fn operator(&self) -> Caller {
        let token = self.tokens.as_ref().map(|tokens| tokens.operate.clone());
        Caller::new(self.edgeproxy.api_addr(), token)
    }

    /// What is resident now is what a third attack is compared with.
    pub(crate) async fn is_warm(&mut self) {
        // Bystanders go on, so what they have open is there, too.
        closed(&self.edgeproxy, self.before.descriptors + LEEWAY).await;
        self.warm = Some(Vitals::of(&self.edgeproxy).resident);
    }
}

/// Starts everything, and looks at what the product takes up before the attack.
pub(crate) async fn set(row: &Row) -> (Stage, Crowd) {
    let tokens = row
        .has_tokens
        .then(|| Tokens::make().expect("tokens can be made"));
    let mut setup = (row.setup)(defaults());
    if let Some(tokens) = &tokens {
        let file = tokens.folder.path().join("tokens.toml");
        setup = setup.set("API_TOKENS_FILE", file.to_str().expect("the path is text"));
    }
    let edgeproxy = setup.start().await;
    let alone = Vitals::of(&edgeproxy).descriptors;
    let origin = Origin::start().await;
    let mut stage = Stage {
        edgeproxy,
        origin,
        tokens,
        alone,
        before: Vitals::default(),
        warm: None,
    };
    let shop = Registration::new(SHOP_ID, SHOP, stage.origin.addr)
        .with("ttl_secs", 3_600)
        .with("soft_limit", 0)
        .with("hard_limit", 0);
    let registered = stage.operator().register(&shop).await;
    let _ = registered.expect("the API answers").expect(201);
    let crowd = Crowd::start(&Ways {
        proxy: stage.proxy(),
        api: stage.edgeproxy.api_addr(),
        token: stage.tokens.as_ref().map(|tokens| tokens.register.clone()),
        kept: SHOP_ID,
    });
    tokio::time::sleep(CALM).await;
    vitals::forget_peak(&stage.edgeproxy);
    stage.before = Vitals::of(&stage.edgeproxy);
    (stage, crowd)
}

fn defaults() -> Setup {
    Edgeproxy::setup()
        // So that idle connections to backends are gone soon after an attack.
        .set("POOL_IDLE_TIMEOUT_SECS", "1")
        .set("LOG", "warn,edgeproxy=info,edgeproxy_server=info")
        .gives_back_at_once()
}

/// How many descriptors come and go with bystanders.
const LEEWAY: usize = 6;

/// Looks at what is left of the attack, and at what others noticed.
pub(crate) async fn judge(row: &'static Row, mut stage: Stage, crowd: Crowd, outcome: Result<Did>) -> Line {
    let mut wrong = Vec::new();
    let did = outcome.unwrap_or_else(|error| {
        wrong.push(format!("{error:#}"));
        Did::new(0, "")
    });
    let before = stage.before;
    tokio::time::sleep(CALM).await;
    // So that what is left is the attack's.
    let mut tally = crowd.end().await;
    let settled = settled(&stage).await;
    let after = Vitals::of(&stage.edgeproxy);
    if !stage.edgeproxy.is_running() {
        wrong.push("edgeproxy has ended".to_owned());
    }
    if let Some(line) = stage.edgeproxy.logs().panic() {
        wrong.push(format!("edgeproxy panicked: {line}"));
    }
    wrong.extend(stage.origin.faults());
    wrong.extend(settled.err().map(|error| format!("{error:#}")));
    let mut line = Line {
        sent: did.sent,
        did: did.did,
        bystanders: tally.requests,
        failed: tally.failed,
        p99: tally.p99(),
        peak: after.peak.saturating_sub(before.resident),
        before: stage.warm.unwrap_or(before.resident),
        after: after.resident,
        descriptors: after.descriptors.saturating_sub(stage.alone),
        ..Line::of(row)
    };
    wrong.extend(line.harm(row));
    wrong.extend(tally.failures);
    if !wrong.is_empty() {
        eprintln!(
            "---- {}: edgeproxy's logs\n{}----",
            row.name,
            tail(&stage.edgeproxy.logs().text())
        );
    }
    line.verdict = match did.skipped {
        Some(why) if wrong.is_empty() => Verdict::Skipped(why),
        _ => Verdict::of(wrong),
    };
    line
}

fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n") + "\n"
}

/// Waits until nothing is in flight, of anybody, and nothing more is open than before anybody had come: what
/// [`edgeproxy_tests::settled`] does, by a token and where the attack has used up what the API gives an address.
async fn settled(stage: &Stage) -> Result<()> {
    let mut operator = stage.operator();
    let mut last = 0;
    for _ in 0..500 {
        let reply = operator.get("/api/v1/backends?limit=10000").await?;
        if reply.status == 429 {
            // The attack was by an address that is this one's, too.
            tokio::time::sleep(Duration::from_millis(500)).await;
            continue;
        }
        ensure!(reply.status == 200, "{reply:?}");
        let page = reply.json();
        let backends = page["backends"].as_array().context("a page has backends")?;
        last = backends
            .iter()
            .filter_map(|backend| backend["in_flight"].as_u64())
            .sum();
        if last == 0 {
            drop(operator);
            closed(&stage.edgeproxy, stage.alone).await;
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    anyhow::bail!("{last} requests are still in flight")
}
