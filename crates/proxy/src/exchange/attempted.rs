//! One attempt on one backend, by HTTP/1.1 or as a stream of HTTP/2.

use edgeproxy_backend::{InFlight, Protocol};
use http::uri::Scheme;
use http::{Request, Response, StatusCode, Version, response};
use tokio::time::Instant;

use super::{Answered, Exchange, Heard};
use crate::exchange::download::Arriving;
use crate::exchange::pick::Taken;
use crate::exchange::retry::{self, Failed, Next};
use crate::exchange::upload::Broken;
use crate::headers::forward;
use crate::upstream::attempt::http1::{self, Upgrades};
use crate::upstream::attempt::mux::Way;
use crate::upstream::attempt::sending::Outgoing;
use crate::upstream::attempt::{Unanswered, http2};
use crate::upstream::wire::Wire;
use crate::worker::clock;

impl Exchange<'_> {
    /// Tries one backend, and tells its ledger how it went.
    pub(super) async fn attempt(&mut self, taken: Taken) -> Result<Answered, Unanswered> {
        let place = &taken.place;
        let heard = match place.endpoint().protocol {
            Protocol::H2c => self.converse_by_http2(place).await,
            // In a box, since it is whichever of the two the backend chooses.
            Protocol::Https if self.handshake.is_none() => Box::pin(self.converse_by_http2(place)).await,
            _ => self.converse(place).await,
        };
        self.account.connected(self.made.take());
        match heard {
            Ok((response, sent)) if self.is_unhealthy(response.status()) => {
                self.responded(place, &response, sent.elapsed());
                self.tried.push(place.endpoint().incarnation);
                self.failed(place, Failed::Unhealthy);
                Ok((response, taken))
            }
            Ok((response, sent)) => {
                let now = Instant::now();
                let latency = now.saturating_duration_since(sent);
                self.responded(place, &response, latency);
                self.worker.tell(place, place.succeeded(latency, clock::at(now)));
                Ok((response, taken))
            }
            Err(unanswered) => {
                self.tried.push(place.endpoint().incarnation);
                if let Unanswered::Failed(failed) = unanswered {
                    self.failed(place, failed);
                }
                Err(unanswered)
            }
        }
    }

    /// Sends the request to one backend, on a kept connection if there is one, and on a fresh one if that
    /// turns out to be dead.
    async fn converse(&self, place: &InFlight) -> Result<Heard, Unanswered> {
        let endpoint = &**place.endpoint();
        let upstream = self.worker.upstream(endpoint);
        let connecting = (&self.timer, self.app.settings.connect_timeout, &self.made);
        let conn = http1::connection(self.worker, &upstream, endpoint, connecting).await?;
        match self.send(conn, place).await {
            Err(Unanswered::Failed(failed))
                if retry::next(failed, self.request()) == Next::FreshConnection =>
            {
                let conn = Box::pin(http1::connect(self.worker, &upstream, endpoint, connecting)).await?;
                Box::pin(self.send(conn, place)).await
            }
            decided => decided,
        }
    }

    async fn send(&self, conn: http1::Conn, place: &InFlight) -> Result<Heard, Unanswered> {
        let request = Outgoing {
            parts: &self.parts,
            added: &self.added,
            target: &self.target,
            host: self.host.as_ref(),
            addr: place.endpoint().addr,
        };
        let upgrades = match &self.handshake {
            Some(_) => Upgrades::Asked,
            None => Upgrades::No,
        };
        let sent = Instant::now();
        let timing = (&self.timer, &self.app.settings);
        let passing = (self.respond, self.worker);
        let response = http1::send(conn, &request, upgrades, &self.upload, passing, timing).await?;
        let (parts, body) = response.into_parts();
        self.heard(parts, Arriving::Http1(body), sent)
    }

    /// Sends the request to one backend as a stream of a shared connection; once more if that was being closed.
    async fn converse_by_http2(&self, place: &InFlight) -> Result<Heard, Unanswered> {
        match self.send_by_http2(place).await {
            Err(Unanswered::Failed(failed))
                if retry::next(failed, self.request()) == Next::FreshConnection =>
            {
                Box::pin(self.send_by_http2(place)).await
            }
            decided => decided,
        }
    }

    async fn send_by_http2(&self, place: &InFlight) -> Result<Heard, Unanswered> {
        let (config, endpoint) = (self.worker.config(), place.endpoint());
        let mux = self.worker.mux(endpoint);
        let connecting = (self.app.settings.connect_timeout, &self.made);
        let slot = match http2::way(&mux, endpoint, config, connecting).await? {
            Way::Stream(slot) => slot,
            Way::Alone(Some(wire)) => return Box::pin(self.send_alone(wire, place)).await,
            Way::Alone(None) => {
                let heard = Box::pin(self.converse(place)).await;
                if matches!(heard, Err(Unanswered::Failed(Failed::Tls))) {
                    // It may have changed its mind.
                    mux.choose_anew();
                }
                return heard;
            }
        };
        let scheme = match endpoint.protocol {
            Protocol::Https => Scheme::HTTPS,
            _ => Scheme::HTTP,
        };
        let mut request = Request::new(());
        *request.method_mut() = self.parts.method.clone();
        *request.uri_mut() = forward::absolute(scheme, &self.target, self.host.as_ref(), endpoint.addr)
            .ok_or(Unanswered::Client(Broken::Target))?;
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = self.parts.headers.clone();
        self.added.append_to(request.headers_mut());
        let sent = Instant::now();
        let timers = (&self.timer, self.app.settings.response_header_timeout);
        let passing = (self.respond, self.worker.pseudonym());
        let response = http2::send(slot, request, &self.upload, passing, timers).await?;
        let (parts, body) = response.into_parts();
        self.heard(parts, Arriving::Http2(body), sent)
    }

    /// By HTTP/1.1, on the connection on which the backend has just chosen that.
    async fn send_alone(&self, wire: Wire, place: &InFlight) -> Result<Heard, Unanswered> {
        let upstream = self.worker.upstream(place.endpoint());
        self.send(http1::Conn::fresh(wire, upstream), place).await
    }

    fn heard(&self, mut parts: response::Parts, body: Arriving, sent: Instant) -> Result<Heard, Unanswered> {
        let agreed = match &self.handshake {
            Some(handshake) if parts.status == StatusCode::SWITCHING_PROTOCOLS => {
                handshake.settle(&mut parts)
            }
            // It would tell the client that there is a WebSocket.
            Some(_) if parts.status.is_success() => false,
            _ => true,
        };
        let pseudonym = self.worker.pseudonym();
        let passed = match (&body, &self.handshake) {
            (Arriving::Http1(_), None) => {
                forward::sign(&mut parts, pseudonym);
                true
            }
            _ => agreed && forward::to_client(&mut parts, pseudonym),
        };
        if !passed {
            return Err(Failed::Malformed.into());
        }
        Ok((Response::from_parts(parts, body), sent))
    }
}
