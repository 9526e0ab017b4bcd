//! Tokens that are guessed.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use http::Method;

use crate::call::Caller;
use crate::row::{Did, Row};
use crate::stage::Stage;

pub(crate) const ROWS: &[Row] = &[
    Row::new(
        "tokens-guessed",
        "1,000 wrong tokens, and headers out of shape",
        |stage| Box::pin(guessed(stage)),
    )
    .tokens(),
    Row::new(
        "tokens-timed",
        "wrong tokens that begin as a right one does, compared with others by time",
        |stage| Box::pin(timed(stage)),
    )
    .tokens(),
];

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

async fn timed(stage: &Stage) -> Result<Did> {
    // No more than may be wrong in a minute are looked at; a right one and a wrong one take different ways in any case.
    const EACH: usize = 28;
    let tokens = stage.tokens.as_ref().context("there are tokens")?;
    let right = &tokens.operate;
    let mut times = [Vec::new(), Vec::new()];
    let mut connection = caller(stage, None);
    for n in 0..EACH {
        let near = format!("{}{n:02}", &right[..right.len() - 2]);
        let far = format!("{n:02}{}", right.chars().rev().skip(2).collect::<String>());
        for (at, token) in [near, far].into_iter().enumerate() {
            let begun = Instant::now();
            let value = format!("Bearer {token}");
            let reply = connection
                .ask(Method::GET, "/api/v1/backends", &[("authorization", &value)], "")
                .await?;
            times[at].push(begun.elapsed());
            ensure!(reply.status == 401, "{reply:?}");
        }
    }
    let mut median = |at: usize| -> Duration {
        times[at].sort_unstable();
        times[at][EACH / 2]
    };
    let (near, far) = (median(0), median(1));
    // What is compared are digests, so what is alike in tokens is not in those.
    let (less, more) = (near.min(far), near.max(far));
    ensure!(
        more < less * 3 + Duration::from_millis(2),
        "{near:?} for those that begin alike, {far:?} for others"
    );
    Ok(Did::new(
        2 * EACH as u64,
        format!(
            "{} µs for those that begin alike, {} µs for others (medians)",
            near.as_micros(),
            far.as_micros()
        ),
    ))
}
