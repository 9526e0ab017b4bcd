use std::collections::VecDeque;
use std::sync::Mutex;

use super::*;
use crate::otlp::Scope;
use crate::queue::{self, MOST_WAITING, Queue};

/// Answers as it was told to, then takes everything; `None` is no answer at all.
#[derive(Clone, Default)]
struct Scripted(Arc<Mutex<Script>>);

#[derive(Default)]
struct Script {
    answers: VecDeque<Option<Result<Taken, Refused>>>,
    /// When it was asked, and for how many spans.
    asked: Vec<(Instant, usize)>,
}

impl Post for Scripted {
    async fn post(&mut self, body: Bytes) -> Result<Taken, Refused> {
        let answer = {
            let mut script = self.0.lock().unwrap();
            let export = Export::decode(body).unwrap();
            let spans = export.resource_spans[0].scope_spans[0].spans.len();
            script.asked.push((Instant::now(), spans));
            script.answers.pop_front()
        };
        match answer {
            None => Ok(taken(0)),
            Some(Some(answer)) => answer,
            Some(None) => std::future::pending().await,
        }
    }
}

impl Scripted {
    fn with(answers: impl IntoIterator<Item = Option<Result<Taken, Refused>>>) -> Self {
        let scripted = Self::default();
        scripted.0.lock().unwrap().answers.extend(answers);
        scripted
    }

    fn asked(&self) -> Vec<(Instant, usize)> {
        self.0.lock().unwrap().asked.clone()
    }
}

const fn taken(rejected: u64) -> Taken {
    Taken { rejected, why: None }
}

fn busy(pause: Option<Duration>) -> Option<Result<Taken, Refused>> {
    let why = "busy".to_owned();
    Some(Err(Refused::ForNow { why, pause }))
}

/// Pushes a batch of each size, ends, and tells what was sent and dropped, and how long that took.
async fn exported(to: &Scripted, sizes: &[u64]) -> (u64, u64, Duration) {
    let began = Instant::now();
    let (queue, exporting, waiting, ending) = set_up(to);
    for size in sizes {
        queue.push(vec![*size], *size);
    }
    let running = tokio::spawn(exporting.run(waiting));
    // Once everything that can be done has been.
    let settled = began + Duration::from_secs(600);
    sleep_until(settled).await;
    let asked_last = to.asked().last().map_or(began, |(at, _)| *at);
    ending.begin();
    running.await.unwrap();
    (queue.sent(), queue.dropped(), asked_last - began)
}

type Set<F> = (Queue<u64>, Exporting<Scripted, F>, Waiting<u64>, Arc<Ending>);

fn set_up(to: &Scripted) -> Set<impl FnMut(u64, &mut Vec<Span>) + Send + use<>> {
    let (queue, waiting) = queue::open();
    let ending = Arc::<Ending>::default();
    let origin = Origin {
        attributes: Vec::new(),
        scope: Scope::default(),
        schema_url: String::new(),
    };
    let spans = |size: u64, spans: &mut Vec<Span>| {
        spans.extend((0..size).map(|_| Span::default()));
    };
    let exporting = Exporting::new(
        to.clone(),
        origin,
        spans,
        Arc::clone(queue.counts()),
        Arc::clone(&ending),
    );
    (queue, exporting, waiting, ending)
}

#[tokio::test(start_paused = true)]
async fn what_waits_goes_together_but_not_all_of_it() {
    let to = Scripted::default();
    let (sent, dropped, _) = exported(&to, &[600, 600, 600, 1]).await;
    assert_eq!((sent, dropped), (1_801, 0));
    let sizes: Vec<usize> = to.asked().iter().map(|(_, spans)| *spans).collect();
    assert_eq!(sizes, [1_200, 601]);
}

#[tokio::test(start_paused = true)]
async fn a_collector_that_is_busy_is_asked_again_when_it_says_so() {
    let to = Scripted::with([busy(Some(Duration::from_secs(7))), busy(None)]);
    let (sent, dropped, took) = exported(&to, &[3]).await;
    assert_eq!((sent, dropped), (3, 0));
    let seconds = took.as_secs_f64();
    // Seven that it said, and two by our own rule, half as much more or less.
    assert!((8.0..=10.0).contains(&seconds), "{seconds}");
}

#[tokio::test(start_paused = true)]
async fn one_that_stays_busy_loses_them_after_five_tries() {
    let to = Scripted::with(std::iter::repeat_with(|| busy(None)).take(5));
    let (sent, dropped, _) = exported(&to, &[3, 2_000]).await;
    assert_eq!((sent, dropped, to.asked().len()), (0, 2_003, 5));
}

#[tokio::test(start_paused = true)]
async fn one_that_never_answers_is_given_ten_seconds() {
    let to = Scripted::with([None]);
    let (sent, dropped, took) = exported(&to, &[3]).await;
    assert_eq!((sent, dropped), (3, 0));
    assert!(took >= TIMEOUT && took < TIMEOUT + 2 * PAUSE, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_for_ever_is_not_sent_again() {
    let why = "no".to_owned();
    let to = Scripted::with([Some(Err(Refused::ForEver { why })), Some(Ok(taken(2)))]);
    let (sent, dropped, _) = exported(&to, &[2_000, 5]).await;
    assert_eq!((sent, dropped, to.asked().len()), (3, 2_002, 2));
}

#[tokio::test(start_paused = true)]
async fn at_the_end_what_is_left_is_sent() {
    let to = Scripted::default();
    let (queue, exporting, waiting, ending) = set_up(&to);
    ending.begin();
    queue.push(vec![2], 2);
    queue.push(vec![2_000], 2_000);
    exporting.run(waiting).await;
    assert_eq!((queue.sent(), queue.dropped()), (2_002, 0));
}

#[tokio::test(start_paused = true)]
async fn at_the_end_a_collector_that_does_not_answer_is_not_waited_for() {
    let to = Scripted::with([None]);
    let (queue, exporting, waiting, ending) = set_up(&to);
    queue.push(vec![2_000], 2_000);
    queue.push(vec![2], 2);
    let running = tokio::spawn(exporting.run(waiting));
    while to.asked().is_empty() {
        tokio::task::yield_now().await;
    }
    let began = Instant::now();
    ending.begin();
    running.await.unwrap();
    assert_eq!(began.elapsed().as_secs(), FLUSH.as_secs());
    assert_eq!((queue.sent(), queue.dropped()), (0, 2_002));
    queue.push(vec![1], 1);
    assert_eq!(queue.dropped(), 2_003);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_drops_and_stops_nobody() {
    let (queue, exporting, waiting, ending) = set_up(&Scripted::default());
    // Few at a time take no more room than many.
    for _ in 0..1_000 {
        queue.push(vec![1], 1);
    }
    queue.push(vec![1; MOST_WAITING - 1_000], 3_096);
    assert_eq!(queue.dropped(), 0);
    for _ in 0..10 {
        queue.push(vec![3], 3);
    }
    assert_eq!((queue.sent(), queue.dropped()), (0, 30));
    // What has been sent makes room for as many again.
    let running = tokio::spawn(exporting.run(waiting));
    while queue.sent() < 4_096 {
        tokio::task::yield_now().await;
    }
    queue.push(vec![1; MOST_WAITING], 4_096);
    ending.begin();
    running.await.unwrap();
    assert_eq!((queue.sent(), queue.dropped()), (8_192, 30));
}
