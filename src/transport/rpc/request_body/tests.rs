use std::{
    convert::Infallible,
    future::poll_fn,
    io::Write,
    sync::atomic::{AtomicUsize, Ordering},
};

use flate2::{
    Compression,
    write::{GzEncoder, ZlibEncoder},
};
use futures_util::{StreamExt, stream};
use tokio::time::sleep;
use tonic::Code;

use super::*;

const TIME: Duration = Duration::from_secs(5);

fn limits(memory_budget: &Arc<MemoryBudget>) -> MessageLimits {
    MessageLimits {
        memory_budget: Arc::clone(memory_budget),
        max_bytes: 1 << 20,
        time: TIME,
        draining: watch::channel(false).1,
    }
}

/// A message with its framing.
fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap();
    [&[flag][..], &length.to_be_bytes(), message].concat()
}

fn gzip(message: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(message).unwrap();
    encoder.finish().unwrap()
}

fn deflate(message: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(message).unwrap();
    encoder.finish().unwrap()
}

fn request(encoding: &str, body: Body) -> Request {
    Request::post("/").header("grpc-encoding", encoding).body(body).unwrap()
}

/// All that comes out of a body, and how it ends.
async fn all(request: Request) -> Result<Vec<u8>, Status> {
    let mut body = request.into_body();
    let mut whole = Vec::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let frame = frame.map_err(|error| Status::from_error(error.into()))?;
        whole.extend(frame.into_data().unwrap());
    }
    Ok(whole)
}

fn code(outcome: Result<Vec<u8>, Status>) -> Code {
    outcome.unwrap_err().code()
}

fn pieces(bytes: &[u8], length: usize) -> Body {
    let pieces: Vec<_> = bytes
        .chunks(length)
        .map(|piece| Ok::<_, Infallible>(piece.to_vec()))
        .collect();
    Body::from_stream(stream::iter(pieces))
}

#[tokio::test]
async fn messages_come_out_plain_however_they_are_packed_and_cut() {
    let memory_budget = MemoryBudget::new(1 << 20);
    let message: Vec<u8> = (0..100_000_u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
    let plain = framed(0, &message);
    for (encoding, sent) in [
        ("identity", plain.clone()),
        ("gzip", framed(1, &gzip(&message))),
        ("deflate", framed(1, &deflate(&message))),
        ("gzip", plain.clone()),
        (
            "gzip",
            framed(1, &[gzip(&message[..70_000]), gzip(&message[70_000..])].concat()),
        ),
    ] {
        for cut in [1, 3, 4096, 1 << 20] {
            let request = request(encoding, pieces(&sent, cut));
            let received = limits(&memory_budget).receive(request, false, None);
            assert_eq!(all(received).await.unwrap(), plain, "{encoding} cut at {cut}");
        }
    }
    let nothing = limits(&memory_budget).receive(request("gzip", pieces(&framed(0, &[]), 2)), false, None);
    assert_eq!(all(nothing).await.unwrap(), framed(0, &[]));
    assert_eq!(memory_budget.held(), 0);
}

#[tokio::test]
async fn messages_of_a_stream_count_one_at_a_time() {
    let memory_budget = MemoryBudget::new(1500);
    let sent = [
        framed(0, &[1; 1000]),
        framed(1, &gzip(&[2; 1200])),
        framed(0, &[3; 1400]),
    ]
    .concat();
    let plain = [framed(0, &[1; 1000]), framed(0, &[2; 1200]), framed(0, &[3; 1400])].concat();
    for cut in [7, 1 << 20] {
        let received = limits(&memory_budget).receive(request("gzip", pieces(&sent, cut)), true, None);
        assert_eq!(all(received).await.unwrap(), plain);
    }
    let both = limits(&memory_budget).receive(request("gzip", pieces(&sent, 7)), false, None);
    assert_eq!(code(all(both).await), Code::ResourceExhausted);
}

#[tokio::test]
async fn what_is_too_long_is_refused_before_it_is_read_or_unpacked() {
    let memory_budget = MemoryBudget::new(1 << 30);
    let long = limits(&memory_budget).receive(request("identity", pieces(&[0, 1, 0, 0, 0, 7], 9)), false, None);
    assert_eq!(code(all(long).await), Code::OutOfRange);
    let bomb = framed(1, &gzip(&vec![0; 100 << 20]));
    let received = limits(&memory_budget).receive(request("gzip", pieces(&bomb, 1024)), false, None);
    let mut body = received.into_body();
    let mut most = 0;
    let failed = loop {
        let frame = poll_fn(|context| {
            most = most.max(memory_budget.held());
            Pin::new(&mut body).poll_frame(context)
        });
        if let Err(error) = frame.await.unwrap() {
            break Status::from_error(error.into());
        }
    };
    assert_eq!(failed.code(), Code::OutOfRange);
    assert!(most <= 1 << 20, "{most}");
    let small = MemoryBudget::new(100_000);
    let received = limits(&small).receive(request("gzip", pieces(&bomb, 1024)), false, None);
    assert_eq!(code(all(received).await), Code::ResourceExhausted);
}

#[tokio::test]
async fn a_call_is_refused_by_the_first_bytes_of_its_message_packed_or_not() {
    let memory_budget = MemoryBudget::new(1 << 20);
    let message: Vec<u8> = (0..1_000_000_u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
    for (encoding, sent) in [("identity", framed(0, &message)), ("gzip", framed(1, &gzip(&message)))] {
        let read = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&read);
        let chunks: Vec<_> = sent.chunks(16 << 10).map(<[u8]>::to_vec).collect();
        let pieces = stream::iter(chunks).map(move |piece| {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Infallible>(piece)
        });
        let start = message[..100].to_vec();
        let look: Look = Box::new(move |first| {
            assert_eq!(first[..100], start);
            Err(Status::resource_exhausted("full"))
        });
        let received = limits(&memory_budget).receive(request(encoding, Body::from_stream(pieces)), false, Some(look));
        assert_eq!(code(all(received).await), Code::ResourceExhausted);
        assert!(
            read.load(Ordering::Relaxed) <= 2,
            "{encoding}: {read:?} pieces were read"
        );
    }
}

#[tokio::test]
async fn what_is_not_packed_as_it_says_is_malformed() {
    let memory_budget = MemoryBudget::new(1 << 20);
    let packed = gzip(&[7; 5000]);
    let mut wrong = packed.clone();
    let last = wrong.len() - 1;
    wrong[last] ^= 1;
    for sent in [
        framed(1, b"text"),
        framed(1, &packed[..last]),
        framed(1, &wrong),
        framed(1, &[&packed, &b"more"[..]].concat()),
        framed(1, &[]),
    ] {
        let received = limits(&memory_budget).receive(request("gzip", pieces(&sent, 10)), false, None);
        assert_eq!(code(all(received).await), Code::InvalidArgument);
    }
    let cut = limits(&memory_budget).receive(request("gzip", pieces(&framed(1, &packed)[..20], 10)), false, None);
    assert_eq!(code(all(cut).await), Code::InvalidArgument);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_trickles_fails_and_a_stream_may_rest_between_messages() {
    let memory_budget = MemoryBudget::new(1 << 20);
    let sent = framed(0, &[1; 2]);
    let slowly = |time: Duration, sent: Vec<u8>| {
        let pieces = stream::iter(sent).then(move |byte| async move {
            sleep(time).await;
            Ok::<_, Infallible>(vec![byte])
        });
        Body::from_stream(pieces)
    };
    let trickle = limits(&memory_budget).receive(request("", slowly(TIME / 4, sent.clone())), false, None);
    let start = Instant::now();
    assert_eq!(code(all(trickle).await), Code::DeadlineExceeded);
    assert_eq!(start.elapsed().as_secs(), TIME.as_secs());
    let in_time = limits(&memory_budget).receive(request("", slowly(TIME / 8, sent.clone())), false, None);
    assert_eq!(all(in_time).await.unwrap(), sent);

    let rests = stream::iter([sent.clone(), sent.clone()]).then(|piece| async {
        sleep(10 * TIME).await;
        Ok::<_, Infallible>(piece)
    });
    let stream = limits(&memory_budget).receive(request("", Body::from_stream(rests)), true, None);
    assert_eq!(all(stream).await.unwrap(), [sent.clone(), sent.clone()].concat());

    // A client that never ends its side holds what it sent for so long and no longer.
    let open = stream::iter([Ok::<_, Infallible>(sent)]).chain(stream::pending());
    let mut body = limits(&memory_budget)
        .receive(request("", Body::from_stream(open)), false, None)
        .into_body();
    let mut next = async || {
        poll_fn(|context| Pin::new(&mut body).poll_frame(context))
            .await
            .unwrap()
    };
    assert!(next().await.is_ok());
    assert_eq!(memory_budget.held(), 7);
    assert!(next().await.is_err());
}

#[tokio::test]
async fn a_stream_ends_between_messages_when_the_server_shuts_down() {
    let memory_budget = MemoryBudget::new(1 << 20);
    let (drain, draining) = watch::channel(false);
    let limits = MessageLimits {
        draining,
        ..limits(&memory_budget)
    };
    let message = framed(0, b"asked");
    let idle = || {
        let first = stream::iter([Ok::<_, Infallible>(message.clone())]);
        request("identity", Body::from_stream(first.chain(stream::pending())))
    };
    let mut body = limits.receive(idle(), true, None).into_body();
    let mut next = async || {
        poll_fn(|context| Pin::new(&mut body).poll_frame(context))
            .await
            .unwrap()
    };
    assert_eq!(next().await.unwrap().into_data().unwrap(), message);
    let (end, _) = tokio::join!(next(), async { drain.send_replace(true) });
    assert_eq!(Status::from_error(end.unwrap_err().into()).code(), Code::Unavailable);
    // What was said before the end is still heard.
    let mut body = limits.receive(idle(), true, None).into_body();
    let first = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
    assert_eq!(first.unwrap().unwrap().into_data().unwrap(), message);
}
