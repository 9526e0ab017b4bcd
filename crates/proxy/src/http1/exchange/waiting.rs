//! What a request does that finds every backend full.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use edgeproxy_backend::AppName;
use tokio::time::Instant;

use super::attempt::Unanswered;
use super::{After, Exchange, Served, explain};
use crate::AppRoute;
use crate::exchange::answer::Answer;
use crate::exchange::queue::Waiting;
use crate::transport::socket::Socket;

impl<S: Socket> Exchange<'_, S> {
    /// Waits in the queue of `app` for a place, and is served then.
    pub(super) async fn queue(&mut self, app: &AppRoute) -> Result<Served, After> {
        let (name, mut queue) = (app.name.clone(), Arc::clone(&app.queue));
        let mut queue_max = app.settings.queue_max;
        let until = Instant::now() + app.settings.queue_timeout;
        loop {
            let Ok(waiting) = queue.join(queue_max) else {
                let retry_after = self.worker.config().retry_after;
                return Err(Answer::backends_full(name.as_str(), retry_after).into());
            };
            self.worker.books().app(&name).queued.add(1);
            let mut turn = Some(waiting);
            // Until it has had a place, which it may have to come back from.
            while let Some(waiting) = &mut turn {
                self.wait(waiting, until, &name).await?;
                *self.now = Instant::now();
                // Much may have changed meanwhile.
                let table = self.worker.current_table();
                let Some(app) = table.app(&name) else {
                    waiting.pass_on();
                    return Err(Answer::no_route(Some(name.as_str())).into());
                };
                (queue, queue_max) = (Arc::clone(&app.queue), app.settings.queue_max);
                let served = self.run(app, &mut turn).await;
                let is_over = !matches!(served, Err(After::Full));
                if let Some(waiting) = &mut turn
                    && (is_over || !self.tried.is_empty())
                {
                    // There may be room on one that has failed this request; the next in line can use that.
                    waiting.pass_on();
                }
                if is_over {
                    return served;
                }
            }
        }
    }

    /// Waits for this request's turn to try for a place.
    async fn wait(&mut self, waiting: &mut Waiting, until: Instant, app: &AppName) -> Result<(), After> {
        let timer = self.timer;
        timer.arm(until);
        // So that it is known whether all of it has come.
        let decoded = self.upload.body.decode().map_err(Unanswered::Body);
        decoded.map_err(|unanswered| explain(&unanswered, self.max_body))?;
        poll_fn(|cx| {
            if waiting.poll_turn(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            if timer.poll_due(cx).is_ready() {
                let late = Answer::queue_timeout(app.as_str(), self.worker.config().retry_after);
                return Poll::Ready(Err(late.into()));
            }
            self.poll_gone(cx).map(|()| Err(After::Ended))
        })
        .await
    }

    /// Notices a client that leaves, if nothing more of its request is to be read.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let body = &mut self.upload.body;
        if body.has_come() {
            self.client.poll_gone(cx, &mut body.buffer)
        } else {
            Poll::Pending
        }
    }
}
