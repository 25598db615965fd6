use super::*;

#[test]
fn the_preface_tells_the_version_however_it_is_cut() {
    for cut in 0..HTTP2_PREFACE.len() {
        let (first, second) = HTTP2_PREFACE.split_at(cut);
        assert_eq!(version(0, first), Version::Unknown(cut));
        assert_eq!(version(cut, second), Version::Two);
        assert_eq!(version(cut, b"x"), Version::One);
    }
    assert_eq!(version(0, b"POST / HTTP/1.1"), Version::One);
}

#[tokio::test(start_paused = true)]
async fn who_is_idle_or_waits_to_be_refused_can_be_spared() {
    let activity = Activity::new(Arc::default());
    assert_eq!(activity.spare_since(), None);
    tokio::time::advance(SPARE_TIME).await;
    assert!(activity.spare_since().is_some());

    let (one, other) = (activity.begin(false, Some(0)), activity.begin(false, Some(0)));
    tokio::time::advance(10 * SPARE_TIME).await;
    assert_eq!(activity.spare_since(), None);
    let wait = |flight: Flight| tokio::spawn(async move { flight.wait(Duration::from_secs(3)).await });
    let one = wait(one);
    tokio::task::yield_now().await;
    assert_eq!(activity.spare_since(), None, "the other may yet be answered");
    let other = wait(other);
    tokio::task::yield_now().await;
    let start = Instant::now();
    assert_eq!(activity.spare_since(), Some(start));
    activity.want();
    one.await.unwrap();
    other.await.unwrap();
    activity.wanted().await;
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn who_sends_too_slowly_can_be_spared() {
    let activity = Activity::new(Arc::default());
    let _flight = activity.begin(false, Some(100_000));
    let due = Instant::now() + SPARE_TIME;
    activity.awaits(1, due);
    assert_eq!(activity.spare_since(), None);
    tokio::time::advance(SPARE_TIME).await;
    assert_eq!(activity.spare_since(), Some(due));
    activity.came(1);
    assert_eq!(activity.spare_since(), None, "it is at work");
    let due = due + time_for(100_000);
    activity.awaits(1, due);
    assert_eq!(activity.spare_since(), None);
    activity.want();
    activity.late(due).await;
    assert!(due.elapsed() < Duration::from_millis(5) && Instant::now() >= due);
}

#[tokio::test(start_paused = true)]
async fn who_takes_an_answer_too_slowly_runs_out_of_patience() {
    let limits = Arc::new(ServerLimits::default());
    let taken_at = |rate: f64| {
        let limits = Arc::clone(&limits);
        async move {
            let activity = Activity::new(limits);
            activity.received(b"GET");
            let mut flight = activity.begin(false, Some(0));
            let start = Instant::now();
            for _ in 0..1000 {
                flight.offered(1 << 10);
                let time = Duration::from_secs_f64(1024.0 / rate);
                if activity.deadline().0 < Instant::now() + time {
                    return Some(start.elapsed());
                }
                tokio::time::advance(time).await;
                flight.taken();
            }
            None
        }
    };
    let slowest = f64::from(SLOWEST);
    assert_eq!(taken_at(slowest).await, None);
    // It loses half of the time that passes.
    let time = taken_at(slowest / 2.0).await.unwrap();
    assert!(
        time > limits.unread_timeout && time < 3 * limits.unread_timeout,
        "{time:?}"
    );
    assert_eq!(taken_at(1024.0 / 31.0).await, Some(Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn who_comes_before_it_was_told_to_is_impatient() {
    let activity = Activity::new(Arc::default());
    let ask = || activity.begin(false, Some(0));
    let first = ask();
    assert!(!first.is_impatient());
    first.refused(Duration::from_secs(2));
    tokio::time::advance(Duration::from_millis(1_999)).await;
    assert!(ask().is_impatient());
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(!ask().is_impatient());
}
