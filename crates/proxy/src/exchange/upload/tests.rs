use std::collections::VecDeque;
use std::task::Waker;

use proptest::prelude::*;

use super::*;

/// Yields what a test scripts; `None` in the script is a pause.
#[derive(Default)]
struct Script(VecDeque<Option<Result<&'static [u8], ()>>>);

impl Body for Script {
    type Data = Bytes;
    type Error = ();

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ()>>> {
        match self.0.pop_front() {
            Some(Some(Ok(data))) => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(data))))),
            Some(Some(Err(()))) => Poll::Ready(Some(Err(()))),
            Some(None) => Poll::Pending,
            None => Poll::Ready(None),
        }
    }
}

fn script(steps: &[&'static [u8]]) -> Script {
    Script(steps.iter().map(|data| Some(Ok(*data))).collect())
}

fn poll<B: Body<Data = Bytes> + Unpin>(draw: &mut Draw<B>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
    Pin::new(draw).poll_frame(&mut Context::from_waker(Waker::noop()))
}

/// Draws until the end, a pause or an error.
fn read(draw: &mut Draw<Script>) -> (Vec<u8>, Option<Broken>) {
    let mut data = Vec::new();
    loop {
        match poll(draw) {
            Poll::Ready(Some(Ok(frame))) => data.extend_from_slice(frame.data_ref().unwrap()),
            Poll::Ready(Some(Err(broken))) => return (data, Some(broken)),
            Poll::Ready(None) | Poll::Pending => return (data, None),
        }
    }
}

#[test]
fn a_second_attempt_gets_the_same_body_from_its_beginning() {
    let upload = Upload::new(script(&[b"ab", b"cd", b"ef"]), 1_000, None);
    let mut first = upload.draw();
    assert!(matches!(poll(&mut first), Poll::Ready(Some(Ok(_)))));
    let mut second = upload.draw();
    assert_eq!(read(&mut second), (b"abcdef".to_vec(), None));
    assert_eq!(read(&mut first), (Vec::new(), Some(Broken::Superseded)));
    assert!(second.is_end_stream() && upload.is_replayable());
}

#[test]
fn a_body_larger_than_what_is_kept_passes_but_cannot_be_repeated() {
    let upload = Upload::new(script(&[&[1; 60], &[2; 60]]), 100, None);
    let mut draw = upload.draw();
    assert!(matches!(poll(&mut draw), Poll::Ready(Some(Ok(_)))));
    assert!(upload.is_replayable());
    assert_eq!(read(&mut draw).0.len(), 60);
    assert!(!upload.is_replayable());
}

#[test]
fn a_body_that_nobody_has_drawn_from_can_be_sent_by_any_method() {
    let upload = Upload::new(script(&[b"ab"]), 0, None);
    drop(upload.draw());
    assert!(upload.is_replayable());
    assert_eq!(read(&mut upload.draw()).0, b"ab");
    assert!(!upload.is_replayable());
}

#[test]
fn a_settled_body_is_not_kept_but_still_complete() {
    let upload = Upload::new(script(&[b"ab", b"cd"]), 1_000, None);
    let mut first = upload.draw();
    assert!(matches!(poll(&mut first), Poll::Ready(Some(Ok(_)))));
    let mut second = upload.draw();
    upload.settle();
    assert_eq!(read(&mut second), (b"abcd".to_vec(), None));
    assert!(!upload.is_replayable());
}

#[test]
fn a_truncated_or_overlong_body_ends_in_an_error_every_time() {
    let mut broken = script(&[b"ab"]);
    broken.0.push_back(Some(Err(())));
    let upload = Upload::new(broken, 1_000, None);
    assert_eq!(read(&mut upload.draw()), (b"ab".to_vec(), Some(Broken::Client)));
    assert!(!upload.is_replayable());
    assert_eq!(read(&mut upload.draw()), (b"ab".to_vec(), Some(Broken::Client)));
    let upload = Upload::new(script(&[b"ab", b"cd"]), 1_000, Some(3));
    assert_eq!(read(&mut upload.draw()), (b"ab".to_vec(), Some(Broken::TooLarge)));
    assert_eq!(upload.broken(), Some(Broken::TooLarge));
}

#[tokio::test(start_paused = true)]
async fn who_holds_an_upload_up_is_known() {
    let second = Duration::from_secs(1);
    let mut paused = script(&[b"ab"]);
    paused.0.push_back(None);
    let upload = Upload::new(paused, 1_000, None);
    let (sent, mut draw) = (Instant::now(), upload.draw());
    assert_eq!(upload.stall(sent, second), Stall::Until(sent + second));
    tokio::time::advance(second).await;
    assert_eq!(upload.stall(sent, second), Stall::Backend, "nobody has read");
    assert_eq!(read(&mut draw).0, b"ab");
    assert_eq!(
        upload.stall(sent, second),
        Stall::Until(Instant::now() + second),
        "it moved"
    );
    tokio::time::advance(second).await;
    assert_eq!(
        upload.stall(sent, second),
        Stall::Client,
        "the backend waits for the client"
    );
    read(&mut draw);
    tokio::time::advance(second).await;
    assert_eq!(upload.stall(sent, second), Stall::Backend, "it has everything");
}

proptest! {
    #[test]
    fn any_attempt_sees_the_whole_body_or_is_told_that_it_cannot(
        sizes in proptest::collection::vec(0_usize..50, 0..12),
        drawn in proptest::collection::vec(0_usize..14, 0..4),
        keep_max in 0_usize..600,
    ) {
        static DATA: [u8; 50] = [7; 50];
        let whole: usize = sizes.iter().sum();
        let steps: Vec<&'static [u8]> = sizes.iter().map(|n| &DATA[..*n]).collect();
        let upload = Upload::new(script(&steps), keep_max, None);
        for frames in drawn {
            if !upload.is_replayable() {
                break;
            }
            let mut draw = upload.draw();
            for _ in 0..frames {
                let _ = poll(&mut draw);
            }
        }
        if upload.is_replayable() {
            let mut last = upload.draw();
            let (data, broken) = read(&mut last);
            prop_assert_eq!((data.len(), broken), (whole, None));
            prop_assert!(last.is_end_stream());
        }
    }
}
