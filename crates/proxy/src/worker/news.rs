//! What would fill the log, since it happens again and again.

use std::time::Duration;

use tokio::time::Instant;

/// How long it is at least between two lines of the log.
const QUIET: Duration = Duration::from_secs(10);

/// When something that happens again and again was last told.
#[derive(Clone, Copy)]
pub(crate) struct News {
    last: Option<Instant>,
}

impl News {
    /// Nothing was told yet.
    pub(crate) const NONE: Self = Self { last: None };

    /// Whether it is to be told now.
    pub(crate) fn is_due(&mut self) -> bool {
        let now = Instant::now();
        let is_due = self.last.is_none_or(|last| now - last >= QUIET);
        if is_due {
            self.last = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_happens_again_and_again_is_told_each_ten_seconds() {
        let mut news = News::NONE;
        assert!(news.is_due());
        assert!(!news.is_due());
        tokio::time::advance(QUIET).await;
        assert!(news.is_due());
    }
}
