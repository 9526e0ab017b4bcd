//! gRPC as tonic speaks it, through the proxy: a client and a server that nobody here has written.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use edgeproxy_proxy::Config;
use http::uri::PathAndQuery;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::StreamingService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status, Streaming};

use crate::http2::within;
use crate::stage::{Stage, config};

/// Messages as they are: no compiler of any schema.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, dst: &mut EncodeBuf<'_>) -> Result<(), Status> {
        dst.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, src: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(src.copy_to_bytes(src.remaining())))
    }
}

const LARGE: usize = 16 << 20;

type Messages = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;
type Answered = Pin<Box<dyn Future<Output = Result<Response<Messages>, Status>> + Send>>;

/// What a server has seen and is asked to do. All four kinds of calls look the same on the wire.
#[derive(Clone)]
struct Service {
    path: String,
    /// Calls whose client went away.
    cancelled: mpsc::UnboundedSender<String>,
    begun: watch::Sender<usize>,
}

impl StreamingService<Bytes> for Service {
    type Response = Bytes;
    type ResponseStream = Messages;
    type Future = Answered;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Answered {
        let this = self.clone();
        Box::pin(async move { this.serve(request).await })
    }
}

/// Tells when it is dropped, unless it was told not to.
struct Alarm(Option<(mpsc::UnboundedSender<String>, String)>);

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some((to, what)) = self.0.take() {
            let _ = to.send(what);
        }
    }
}

impl Service {
    async fn serve(self, request: Request<Streaming<Bytes>>) -> Result<Response<Messages>, Status> {
        self.begun.send_modify(|begun| *begun += 1);
        let metadata = request.metadata().clone();
        let mut messages = request.into_inner();
        match self.path.as_str() {
            // Every message comes back, as soon as it comes.
            "/t/Echo" => {
                let mut response = Response::new(Box::pin(messages) as Messages);
                if let Some(value) = metadata.get("x-ask") {
                    response.metadata_mut().insert("x-answer", value.clone());
                }
                Ok(response)
            }
            "/t/Count" => {
                let mut count = 0_u32;
                while let Some(message) = messages.next().await {
                    message?;
                    count += 1;
                }
                let one = Ok(Bytes::copy_from_slice(&count.to_be_bytes()));
                Ok(Response::new(Box::pin(tokio_stream::iter([one]))))
            }
            "/t/Repeat" => {
                let message = messages.next().await.unwrap()?;
                let many = std::iter::repeat_n(Ok(message), 1_000);
                Ok(Response::new(Box::pin(tokio_stream::iter(many))))
            }
            "/t/Fail" => {
                let mut status = Status::new(Code::FailedPrecondition, "no \u{2013} 100 %");
                status.metadata_mut().insert("x-why", "because".parse().unwrap());
                Err(status)
            }
            "/t/FailLate" => {
                let two = [Ok(Bytes::from_static(b"x")), Err(Status::data_loss("gone"))];
                Ok(Response::new(Box::pin(tokio_stream::iter(two))))
            }
            "/t/Hang" => {
                let _alarm = Alarm(Some((self.cancelled, self.path)));
                std::future::pending().await
            }
            "/t/HangLate" => {
                let alarm = Alarm(Some((self.cancelled, self.path)));
                let first = tokio_stream::once(Ok(Bytes::from_static(b"x")));
                let never = tokio_stream::pending().map(move |message| {
                    let _alarm = &alarm;
                    message
                });
                Ok(Response::new(Box::pin(first.chain(never))))
            }
            _ => Err(Status::unimplemented("no such method")),
        }
    }
}

struct Server {
    addr: SocketAddr,
    cancelled: mpsc::UnboundedReceiver<String>,
    begun: watch::Sender<usize>,
    drain: Arc<Semaphore>,
    task: JoinHandle<()>,
    connections: Arc<std::sync::Mutex<Vec<JoinHandle<()>>>>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (told, cancelled) = mpsc::unbounded_channel();
        let (begun, drain) = (watch::Sender::new(0), Arc::new(Semaphore::new(0)));
        let connections = Arc::new(std::sync::Mutex::new(Vec::new()));
        let (counted, draining, open) = (begun.clone(), Arc::clone(&drain), Arc::clone(&connections));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let conn = converse(stream, told.clone(), counted.clone(), Arc::clone(&draining));
                open.lock().unwrap().push(tokio::spawn(conn));
            }
        });
        Self {
            addr,
            cancelled,
            begun,
            drain,
            task,
            connections,
        }
    }

    async fn until_begun(&self, count: usize) {
        let mut begun = self.begun.subscribe();
        within(begun.wait_for(|begun| *begun >= count)).await.unwrap();
    }

    /// Ends it with everything that it serves.
    fn kill(&self) {
        self.task.abort();
        for conn in self.connections.lock().unwrap().drain(..) {
            conn.abort();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn converse(
    stream: TcpStream,
    cancelled: mpsc::UnboundedSender<String>,
    begun: watch::Sender<usize>,
    drain: Arc<Semaphore>,
) {
    let service = service_fn(move |request: http::Request<Incoming>| {
        let service = Service {
            path: request.uri().path().to_owned(),
            cancelled: cancelled.clone(),
            begun: begun.clone(),
        };
        async move {
            let mut grpc = tonic::server::Grpc::new(Raw).max_decoding_message_size(2 * LARGE);
            Ok::<_, std::convert::Infallible>(grpc.streaming(service, request).await)
        }
    });
    let mut builder = http2::Builder::new(TokioExecutor::new());
    let conn = builder
        .initial_stream_window_size(1 << 20)
        .serve_connection(TokioIo::new(stream), service);
    let mut conn = std::pin::pin!(conn);
    tokio::select! {
        ended = &mut conn => return drop(ended),
        permit = drain.acquire() => permit.unwrap().forget(),
    }
    conn.as_mut().graceful_shutdown();
    let _ = conn.await;
}

type Client = tonic::client::Grpc<Channel>;

async fn client(addr: SocketAddr) -> Client {
    let endpoint = Endpoint::from_shared(format!("http://{addr}")).unwrap();
    let mut client = Client::new(endpoint.connect().await.unwrap()).max_decoding_message_size(2 * LARGE);
    client.ready().await.unwrap();
    client
}

fn path(path: &'static str) -> PathAndQuery {
    PathAndQuery::from_static(path)
}

async fn unary(
    client: &Client,
    method: &'static str,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, Status> {
    let mut client = client.clone();
    client.ready().await.unwrap();
    within(client.unary(request, path(method), Raw)).await
}

fn message(text: &'static str) -> Request<Bytes> {
    Request::new(Bytes::from_static(text.as_bytes()))
}

fn one_worker() -> Config {
    Config {
        workers: 1,
        ..config()
    }
}

async fn scene() -> (Server, Stage, Client) {
    let server = Server::start().await;
    let (stage, _) = Stage::h2c(one_worker(), &[server.addr]);
    let client = client(stage.addr).await;
    (server, stage, client)
}

#[tokio::test]
async fn a_unary_call_passes_with_its_metadata() {
    let (_server, _stage, client) = scene().await;
    let mut request = message("hello");
    request.metadata_mut().insert("x-ask", "1".parse().unwrap());
    let response = unary(&client, "/t/Echo", request).await.unwrap();
    assert_eq!(response.metadata().get("x-answer").unwrap(), "1");
    assert_eq!(response.into_inner(), "hello");
}

#[tokio::test]
async fn a_message_of_16_mib_passes_both_ways() {
    let (_server, _stage, client) = scene().await;
    let large = Bytes::from(vec![7; LARGE]);
    let mut client = client.max_encoding_message_size(2 * LARGE);
    client.ready().await.unwrap();
    let called = client.unary(Request::new(large.clone()), path("/t/Echo"), Raw);
    let response = tokio::time::timeout(Duration::from_secs(60), called)
        .await
        .unwrap()
        .unwrap();
    assert!(response.into_inner() == large);
}

#[tokio::test]
async fn a_server_streams() {
    let (_server, _stage, mut client) = scene().await;
    let response = client
        .server_streaming(message("x"), path("/t/Repeat"), Raw)
        .await
        .unwrap();
    let all: Vec<_> = within(response.into_inner().collect()).await;
    assert_eq!(all.len(), 1_000);
    assert!(all.into_iter().all(|message| message.unwrap() == "x"));
}

#[tokio::test]
async fn a_client_streams() {
    let (_server, _stage, mut client) = scene().await;
    let many = tokio_stream::iter(std::iter::repeat_n(Bytes::from_static(b"x"), 1_000));
    let called = client.client_streaming(Request::new(many), path("/t/Count"), Raw);
    let response = within(called).await.unwrap();
    assert_eq!(response.into_inner(), 1_000_u32.to_be_bytes()[..]);
}

#[tokio::test]
async fn both_stream_at_once_and_a_message_waits_for_no_other() {
    let (_server, _stage, mut client) = scene().await;
    let (say, said) = mpsc::channel(1);
    let called = client.streaming(Request::new(ReceiverStream::new(said)), path("/t/Echo"), Raw);
    let mut heard = within(called).await.unwrap().into_inner();
    for word in ["one", "two", "three"] {
        say.send(Bytes::from_static(word.as_bytes())).await.unwrap();
        assert_eq!(within(heard.message()).await.unwrap().unwrap(), word);
    }
    drop(say);
    assert!(within(heard.message()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_status_passes_with_its_message_and_its_trailers() {
    let (_server, _stage, mut client) = scene().await;
    let status = unary(&client, "/t/Fail", message("x")).await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::FailedPrecondition, "no \u{2013} 100 %")
    );
    assert_eq!(status.metadata().get("x-why").unwrap(), "because");
    client.ready().await.unwrap();
    let response = client
        .server_streaming(message("x"), path("/t/FailLate"), Raw)
        .await
        .unwrap();
    let mut messages = response.into_inner();
    assert_eq!(within(messages.message()).await.unwrap().unwrap(), "x");
    let status = within(messages.message()).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::DataLoss, "gone"));
}

/// A call whose client keeps no time, as tonic's would.
async fn timed(addr: SocketAddr, method: &str) -> crate::http2::Whole {
    let (sender, _conn) = crate::http2::connect(addr).await;
    let mut call = crate::http2::request("POST", method);
    for (name, value) in [
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("grpc-timeout", "100m"),
    ] {
        call.headers_mut()
            .insert(name, http::HeaderValue::from_static(value));
    }
    crate::http2::exchange(&sender, call, b"\0\0\0\0\x01x")
        .await
        .unwrap()
}

#[tokio::test]
async fn a_deadline_that_passes_is_status_4_and_cancels_at_the_server() {
    let (mut server, stage, _client) = scene().await;
    let only = timed(stage.addr, "/t/Hang").await;
    assert_eq!(
        (only.status, &only.headers["grpc-status"]),
        (200, &http::HeaderValue::from(4))
    );
    assert_eq!(only.headers["grpc-message"], "the call's deadline has passed");
    assert!(only.trailers.is_none() && only.body.is_empty());
    assert_eq!(within(server.cancelled.recv()).await.as_deref(), Some("/t/Hang"));
    let late = timed(stage.addr, "/t/HangLate").await;
    assert_eq!(late.body, b"\0\0\0\0\x01x");
    assert_eq!(late.trailers.unwrap()["grpc-status"], "4");
    assert_eq!(
        within(server.cancelled.recv()).await.as_deref(),
        Some("/t/HangLate")
    );
}

#[tokio::test]
async fn a_client_that_cancels_cancels_at_the_server() {
    let (mut server, _stage, mut client) = scene().await;
    let response = client
        .server_streaming(message("x"), path("/t/HangLate"), Raw)
        .await
        .unwrap();
    let mut messages = response.into_inner();
    assert_eq!(within(messages.message()).await.unwrap().unwrap(), "x");
    drop(messages);
    assert_eq!(
        within(server.cancelled.recv()).await.as_deref(),
        Some("/t/HangLate")
    );
}

#[tokio::test]
async fn a_server_that_is_gone_is_unavailable_and_another_one_answers_in_its_place() {
    let (one, other) = (Server::start().await, Server::start().await);
    let (stage, _) = Stage::h2c(one_worker(), &[one.addr, other.addr]);
    let client = client(stage.addr).await;
    for _ in 0..2 {
        unary(&client, "/t/Echo", message("x")).await.unwrap();
    }
    let hanging = tokio::spawn({
        let client = client.clone();
        async move { unary(&client, "/t/Hang", message("x")).await.unwrap_err() }
    });
    // Whoever of the two has it.
    let begun = async {
        while *one.begun.borrow() + *other.begun.borrow() < 3 {
            tokio::task::yield_now().await;
        }
    };
    within(begun).await;
    let victim = if *one.begun.borrow() == 2 { &one } else { &other };
    victim.kill();
    // It had begun, so nobody may repeat it.
    assert_eq!(hanging.await.unwrap().code(), Code::Unavailable);
    for _ in 0..4 {
        unary(&client, "/t/Echo", message("x")).await.unwrap();
    }
    one.kill();
    other.kill();
    let status = unary(&client, "/t/Echo", message("x")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
}

#[tokio::test]
async fn a_response_whose_server_dies_ends_with_unavailable() {
    let (server, _stage, mut client) = scene().await;
    let response = client
        .server_streaming(message("x"), path("/t/HangLate"), Raw)
        .await
        .unwrap();
    let mut messages = response.into_inner();
    assert_eq!(within(messages.message()).await.unwrap().unwrap(), "x");
    server.kill();
    let status = within(messages.message()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
}

#[tokio::test]
async fn without_a_backend_or_a_route_the_answer_is_grpcs() {
    let (_server, stage, client) = scene().await;
    stage
        .table
        .store(Arc::new(edgeproxy_proxy::RouteTable::default()));
    let status = unary(&client, "/t/Echo", message("x")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    let (stage, endpoints) = Stage::h2c(one_worker(), &[([127, 0, 0, 1], 1).into()]);
    endpoints[0].meter.close();
    let client = self::client(stage.addr).await;
    let status = unary(&client, "/t/Echo", message("x")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(status.message(), "no backend of app \"app\" is routable");
}

#[tokio::test]
async fn a_server_that_drains_gets_no_new_call_and_no_call_fails() {
    let (server, _stage, mut client) = scene().await;
    let (say, said) = mpsc::channel(1);
    let called = client.streaming(Request::new(ReceiverStream::new(said)), path("/t/Echo"), Raw);
    let mut heard = within(called).await.unwrap().into_inner();
    server.drain.add_permits(1);
    for _ in 0..50 {
        unary(&client, "/t/Echo", message("x")).await.unwrap();
    }
    say.send(Bytes::from_static(b"still")).await.unwrap();
    assert_eq!(within(heard.message()).await.unwrap().unwrap(), "still");
    drop(say);
    assert!(within(heard.message()).await.unwrap().is_none());
}

#[tokio::test]
async fn when_the_proxy_drains_the_call_that_is_there_goes_on_to_its_end() {
    let (server, stage, mut client) = scene().await;
    let (say, said) = mpsc::channel(1);
    let called = client.streaming(Request::new(ReceiverStream::new(said)), path("/t/Echo"), Raw);
    let mut heard = within(called).await.unwrap().into_inner();
    server.until_begun(1).await;
    stage.running.drain();
    say.send(Bytes::from_static(b"still")).await.unwrap();
    assert_eq!(within(heard.message()).await.unwrap().unwrap(), "still");
    drop(say);
    assert!(within(heard.message()).await.unwrap().is_none());
    stage.stopped().await;
}
