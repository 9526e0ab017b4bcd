//! Tokens that are guessed. That the time of an answer tells nothing is no row: a clock from outside proves nothing, and
//! `crates/access/tests/timing.rs` holds what is compared, and how.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use http::Method;

use crate::call::Caller;
use crate::row::{Did, Row};
use crate::stage::Stage;

pub(crate) const ROWS: &[Row] = &[Row::new(
    "tokens-guessed",
    "1,000 wrong tokens, and headers out of shape",
    |stage| Box::pin(guessed(stage)),
)
.tokens()];

fn caller(stage: &Stage, token: Option<String>) -> Caller {
    Caller::new(stage.edgeproxy.api_addr(), token)
}

async fn guessed(stage: &Stage) -> Result<Did> {
    const COUNT: u64 = 1_000;
    let tokens = stage.tokens.as_ref().context("there are tokens")?;
    let (mut refused, mut slowed) = (0_u64, 0_u64);
    let begun = Instant::now();
    for n in 0..COUNT {
        let mut stranger = caller(stage, Some(format!("{n:064x}")));
        let reply = stranger.get("/api/v1/backends").await?;
        match reply.status.as_u16() {
            401 => refused += 1,
            429 => {
                ensure!(reply.header("retry-after").is_some(), "{reply:?}");
                slowed += 1;
            }
            _ => anyhow::bail!("{reply:?}"),
        }
        ensure!(
            !reply.text().contains(&format!("{n:064x}")),
            "the answer says the token"
        );
    }
    let allowed = 60 + begun.elapsed().as_secs() + 2;
    ensure!(refused <= allowed, "{refused} were looked at, {allowed} may be");
    let mut sent = COUNT;
    for value in [
        String::new(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        "Basic YTpi".to_owned(),
        format!("bearer{}", tokens.operate),
        format!("Token {}", tokens.operate),
        format!("Bearer {} x", tokens.operate),
        format!("Bearer {},{}", tokens.operate, tokens.operate),
        format!("Bearer {}", &tokens.operate[..tokens.operate.len() - 1]),
        format!("Bearer {}x", tokens.operate),
        format!("Bearer {}", "x".repeat(8_000)),
    ] {
        let mut stranger = caller(stage, None);
        let reply = stranger
            .ask(Method::GET, "/api/v1/backends", &[("authorization", &value)], "")
            .await?;
        ensure!(
            matches!(reply.status.as_u16(), 400 | 401 | 429),
            "{value:.40}: {reply:?}"
        );
        sent += 1;
    }
    // In the query, where logs would keep it, it is none.
    let mut stranger = caller(stage, None);
    let reply = stranger
        .get(&format!(
            "/api/v1/backends?token={}&access_token={}",
            tokens.operate, tokens.operate
        ))
        .await?;
    ensure!(matches!(reply.status.as_u16(), 401 | 422 | 429), "{reply:?}");
    // From the very same address a right one goes on.
    let reply = caller(stage, Some(tokens.read.clone()))
        .get("/api/v1/backends")
        .await?;
    ensure!(reply.status == 200, "the right token is locked out: {reply:?}");
    let logs = stage.edgeproxy.logs().text();
    for token in [&tokens.operate, &tokens.register, &tokens.read] {
        ensure!(!logs.contains(token.as_str()), "the log holds a token");
    }
    Ok(Did::new(
        sent + 2,
        format!("{refused} × 401, {slowed} × 429; right tokens of the same address aren't locked out"),
    ))
}
