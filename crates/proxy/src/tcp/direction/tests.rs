use std::future::poll_fn;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// Both ends of a connection.
async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (connected, accepted) = tokio::join!(TcpStream::connect(addr), listener.accept());
    (connected.unwrap(), accepted.unwrap().0)
}

/// Bytes that no shift or repetition of a part leaves equal.
fn bytes(count: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    std::iter::repeat_with(|| random.u8(..)).take(count).collect()
}

#[tokio::test]
async fn bulk_arrives_whole_and_by_pipe_and_all_is_given_back() {
    let supplies = Supplies::default();
    let begun = supplies.begin();
    let ((mut sender, from), (to, mut receiver)) = (pair().await, pair().await);
    let sent = bytes(8 * 1024 * 1024);
    let mut direction = Direction::new(&from, &to, &supplies);
    let mut was_bulky = false;
    let moving = poll_fn(|cx| {
        let polled = direction.poll(cx);
        was_bulky |= direction.bulky;
        polled
    });
    let mut received = Vec::new();
    let (written, moved, read) = tokio::join!(
        async {
            sender.write_all(&sent).await.unwrap();
            sender.shutdown().await
        },
        moving,
        receiver.read_to_end(&mut received),
    );
    written.unwrap();
    moved.unwrap();
    read.unwrap();
    assert!(received == sent, "{} of {} bytes", received.len(), sent.len());
    assert_eq!(direction.moved(), sent.len() as u64);
    assert!(was_bulky && matches!(direction.held, Held::Nothing));
    drop(direction);
    assert!(supplies.bulk().is_some());
    drop(begun);
}

#[tokio::test]
async fn a_little_at_a_time_is_never_bulky_and_an_idle_direction_holds_nothing() {
    let supplies = Supplies::default();
    let ((mut sender, from), (to, mut receiver)) = (pair().await, pair().await);
    let mut direction = Direction::new(&from, &to, &supplies);
    for round in 0..100_u8 {
        sender.write_all(&[round; 100]).await.unwrap();
        let mut received = [0; 100];
        tokio::select! {
            ended = poll_fn(|cx| direction.poll(cx)) => panic!("{ended:?}"),
            read = receiver.read_exact(&mut received) => { read.unwrap(); }
        }
        assert_eq!(received, [round; 100]);
        assert!(!direction.bulky);
        assert!(matches!(direction.held, Held::Nothing));
    }
}

#[tokio::test]
async fn a_bulky_direction_that_becomes_chatty_returns_to_a_buffer() {
    let supplies = Supplies::default();
    let ((mut sender, from), (to, mut receiver)) = (pair().await, pair().await);
    let mut direction = Direction::new(&from, &to, &supplies);
    direction.bulky = true;
    for _ in 0..SMALL_READS {
        assert!(direction.bulky);
        sender.write_all(b"word").await.unwrap();
        let mut received = [0; 4];
        tokio::select! {
            ended = poll_fn(|cx| direction.poll(cx)) => panic!("{ended:?}"),
            read = receiver.read_exact(&mut received) => { read.unwrap(); }
        }
        assert_eq!(&received, b"word");
    }
    assert!(!direction.bulky);
}

#[tokio::test]
async fn a_receiver_that_stops_stalls_the_sender_and_what_is_held_is_bounded() {
    let supplies = Supplies::default();
    let ((sender, from), (to, _receiver)) = (pair().await, pair().await);
    let mut direction = Direction::new(&from, &to, &supplies);
    let chunk = bytes(64 * 1024);
    let mut offered = 0;
    let stalled = poll_fn(|cx| {
        loop {
            let moved = direction.poll(cx);
            assert!(moved.is_pending(), "{moved:?}");
            match sender.try_write(&chunk) {
                Ok(count) => offered += count as u64,
                Err(_) if direction.is_deaf() => return Poll::Ready(()),
                Err(_) => {
                    if sender.poll_write_ready(cx).is_pending() {
                        return Poll::Pending;
                    }
                }
            }
        }
    });
    stalled.await;
    assert!(direction.moved() > 0);
    assert!(offered <= 8 * 1024 * 1024, "{offered}");
    // It waits for the receiver alone, and asks nothing of the sender.
    let before = direction.moved();
    poll_fn(|cx| {
        assert!(direction.poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;
    assert_eq!(direction.moved(), before);
}

#[tokio::test]
async fn a_reset_of_either_socket_is_an_error() {
    let supplies = Supplies::default();
    for resets_sender in [true, false] {
        let ((mut sender, from), (to, receiver)) = (pair().await, pair().await);
        let mut direction = Direction::new(&from, &to, &supplies);
        if resets_sender {
            sender.set_zero_linger().unwrap();
            drop(sender);
        } else {
            receiver.set_zero_linger().unwrap();
            drop(receiver);
            // The system knows of it once the socket has a state to tell.
            to.readable().await.unwrap();
            sender.write_all(b"x").await.unwrap();
        }
        assert!(poll_fn(|cx| direction.poll(cx)).await.is_err());
    }
}

#[tokio::test]
async fn the_large_buffer_of_other_systems_carries_the_same() {
    let ((mut sender, from), (to, mut receiver)) = (pair().await, pair().await);
    let sent = bytes(1024 * 1024);
    let mut bulk = crate::tcp::copy::Bulk::open().unwrap();
    let carrying = async {
        loop {
            from.readable().await.unwrap();
            match bulk.fill(&from) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if is_passing(&error) => continue,
                Err(error) => panic!("{error}"),
            }
            while bulk.held() > 0 {
                to.writable().await.unwrap();
                if let Err(error) = bulk.drain(&to) {
                    assert!(is_passing(&error), "{error}");
                }
            }
        }
        SockRef::from(&to).shutdown(Shutdown::Write).unwrap();
    };
    let mut received = Vec::new();
    let (written, (), read) = tokio::join!(
        async {
            sender.write_all(&sent).await.unwrap();
            sender.shutdown().await
        },
        carrying,
        receiver.read_to_end(&mut received),
    );
    written.unwrap();
    read.unwrap();
    assert!(received == sent);
}
