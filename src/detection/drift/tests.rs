//! Tests of runs: how they are kept, taken up and begun anew.

use std::{
    fs::{self, OpenOptions},
    io::Write,
};

use super::{
    log::{HEADER, RECORD},
    *,
};
use crate::{domain::image::ImageShape, metrics::Metrics};

fn images(count: u32) -> Vec<Image> {
    let shape = ImageShape::new(1, 1, 4, 256).unwrap();
    (0..count)
        .map(|i| Image::new(shape, i.to_le_bytes().to_vec()).unwrap())
        .collect()
}

fn monitor(folder: &Path, metrics: &Metrics) -> Monitor {
    let calibration: Vec<f64> = (0..200).map(f64::from).collect();
    let metrics = DriftMetrics::new(metrics, "gate");
    Monitor::open(folder, ("gate", 1, "0123456789abcdef0123"), &calibration, metrics).unwrap()
}

/// The one file in the folder.
fn file(folder: &Path) -> std::path::PathBuf {
    fs::read_dir(folder).unwrap().next().unwrap().unwrap().path()
}

const ALARMS: &str = "density_drift_alarms_total{model=\"gate\"} 1";

#[tokio::test]
async fn a_run_is_taken_up_where_it_was_left() {
    let folder = tempfile::tempdir().unwrap();
    let metrics = Metrics::new();
    let images = images(40);
    let first = monitor(folder.path(), &metrics);
    first.take(images.iter().cloned().zip((0..).map(|i| f64::from(i) * 7.0)).collect());
    let report = first.drift().await.unwrap();
    assert!(report.kept && report.images == 40);
    drop(first);
    // A crash in the middle of a record.
    let mut file = OpenOptions::new().append(true).open(file(folder.path())).unwrap();
    file.write_all(&[1, 2, 3]).unwrap();
    let second = monitor(folder.path(), &metrics);
    assert_eq!(second.drift().await.unwrap(), report);
    second.take(images.into_iter().map(|image| (image, 500.0)).collect());
    assert_eq!(second.drift().await.unwrap().repeated, 40);
    let reset = second.reset_drift().await.unwrap();
    assert_eq!((reset.images, reset.log_capital), (0, 0.0));
    drop(second);
    assert_eq!(monitor(folder.path(), &metrics).drift().await.unwrap().images, 0);
}

#[tokio::test]
async fn an_alarm_is_counted_once_and_stays_until_reset() {
    let folder = tempfile::tempdir().unwrap();
    let metrics = Metrics::new();
    let first = monitor(folder.path(), &metrics);
    first.take(images(60).into_iter().map(|image| (image, 1e6)).collect());
    assert!(first.drift().await.unwrap().alarm);
    assert!(metrics.encode().contains(ALARMS), "{}", metrics.encode());
    drop(first);
    // A server that starts into an alarm shows it.
    let metrics = Metrics::new();
    let second = monitor(folder.path(), &metrics);
    assert!(second.drift().await.unwrap().alarm);
    assert!(metrics.encode().contains(ALARMS), "{}", metrics.encode());
    assert!(!second.reset_drift().await.unwrap().alarm);
}

#[tokio::test]
async fn what_is_no_record_is_begun_anew_and_two_servers_do_not_share_one() {
    let folder = tempfile::tempdir().unwrap();
    let metrics = Metrics::new();
    drop(monitor(folder.path(), &metrics));
    fs::write(
        file(folder.path()),
        b"something else entirely, and long enough to be more than a header",
    )
    .unwrap();
    let first = monitor(folder.path(), &metrics);
    let report = first.drift().await.unwrap();
    assert!(report.kept && report.images == 0);
    assert!(!monitor(folder.path(), &metrics).drift().await.unwrap().kept);
}

/// As when a version is read again: the new one is there before the old one goes.
#[tokio::test]
async fn what_was_counted_while_another_had_the_file_is_added_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let metrics = Metrics::new();
    let scored = |range: std::ops::Range<u32>| {
        let scores = range.clone().map(|i| f64::from(i * 67 % 200) + 0.5);
        images(60)[range.start as usize..range.end as usize]
            .iter()
            .cloned()
            .zip(scores)
            .collect()
    };
    let old = monitor(folder.path(), &metrics);
    old.take(scored(0..20));
    let since = old.drift().await.unwrap().since;
    let new = monitor(folder.path(), &metrics);
    new.take(scored(10..40));
    let report = new.drift().await.unwrap();
    assert!(!report.kept && report.images == 30);
    drop(old);
    let report = new.drift().await.unwrap();
    assert_eq!((report.images, report.since, report.kept), (40, since, true));
    new.take(scored(40..60));
    let report = new.drift().await.unwrap();
    drop(new);
    // Repeated images are not kept.
    let report = DriftReport { repeated: 0, ..report };
    assert_eq!(monitor(folder.path(), &metrics).drift().await.unwrap(), report);
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_to_is_tried_until_it_can_and_a_reset_stays_one() {
    let folder = tempfile::tempdir().unwrap();
    let metrics = Metrics::new();
    let place = folder.path().join("drift");
    fs::write(&place, "a file where a folder should be").unwrap();
    let watched = monitor(&place, &metrics);
    watched.take(images(7).into_iter().map(|image| (image, 3.0)).collect());
    assert!(!watched.reset_drift().await.unwrap().kept);
    watched.take(images(5).into_iter().map(|image| (image, 3.0)).collect());
    let report = watched.drift().await.unwrap();
    assert_eq!((report.images, report.kept), (5, false));
    fs::remove_file(&place).unwrap();
    assert_eq!(
        watched.drift().await.unwrap(),
        DriftReport {
            kept: true,
            ..report.clone()
        }
    );
    drop(watched);
    let found = monitor(&place, &metrics).drift().await.unwrap();
    assert_eq!(found, DriftReport { kept: true, ..report });
}

#[tokio::test]
async fn damage_ends_a_record_and_raises_no_alarm() {
    let folder = tempfile::tempdir().unwrap();
    let metrics = Metrics::new();
    let first = monitor(folder.path(), &metrics);
    // All over the range of the calibration, in no order, and without ties, which would be broken at random: no
    // alarm is due.
    let scores = (0..).map(|i| f64::from(i * 67 % 200) + 0.5);
    first.take(images(40).into_iter().zip(scores).collect());
    drop(first);
    let path = file(folder.path());
    let whole = fs::read(&path).unwrap();
    for (at, images) in [
        (8, 0),
        (HEADER + 3, 0),
        (HEADER + 7 * RECORD + 20, 7),
        (whole.len() - 1, 39),
    ] {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x40;
        fs::write(&path, bytes).unwrap();
        let report = monitor(folder.path(), &metrics).drift().await.unwrap();
        assert_eq!(
            (report.images, report.alarm, report.kept),
            (images, false, true),
            "byte {at}"
        );
    }
}

/// Somebody makes room on a full disk, or puts a backup into place.
#[tokio::test]
async fn a_record_that_was_deleted_or_exchanged_is_what_it_is_now() {
    let folder = tempfile::tempdir().unwrap();
    let metrics = Metrics::new();
    let place = folder.path().join("drift");
    let scored = |range: std::ops::Range<u32>| {
        let some = images(40)[range.start as usize..range.end as usize].to_vec();
        some.into_iter().map(|image| (image, 3.0)).collect()
    };
    let watched = monitor(&place, &metrics);
    watched.take(scored(0..10));
    assert_eq!(watched.drift().await.unwrap().images, 10);
    let backup = fs::read(file(&place)).unwrap();
    watched.take(scored(10..20));
    let before = watched.drift().await.unwrap();
    assert_eq!((before.images, before.kept), (20, true));

    fs::remove_dir_all(&place).unwrap();
    watched.take(scored(20..25));
    let report = watched.drift().await.unwrap();
    assert_eq!((report.images, report.kept), (5, true));

    fs::write(file(&place), &backup).unwrap();
    watched.take(scored(30..32));
    let report = watched.drift().await.unwrap();
    assert_eq!((report.images, report.since, report.kept), (12, before.since, true));
    // What a reset has begun stands against what others write.
    fs::write(file(&place), &backup).unwrap();
    assert_eq!(watched.reset_drift().await.unwrap().images, 0);
    watched.take(scored(0..3));
    let report = watched.drift().await.unwrap();
    assert_eq!(report.images, 3);
    drop(watched);
    let found = monitor(&place, &metrics).drift().await.unwrap();
    assert_eq!(found, DriftReport { repeated: 0, ..report });
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_stands_still_is_told_and_not_waited_for() {
    let (orders, _unheard) = mpsc::channel(1);
    let (end, ended) = std::sync::mpsc::channel();
    let monitor = Monitor {
        label: "gate version 1".to_owned(),
        orders: Some(orders),
        ended: Mutex::new(ended),
        left_out: Mutex::default(),
    };
    // The first waits for its answer, the second for its place.
    for _ in 0..2 {
        let refusal = monitor.drift().await.unwrap_err();
        assert_eq!(refusal.kind(), Kind::DeadlineExceeded);
        assert!(refusal.to_string().contains("gate version 1"), "{refusal}");
    }
    drop(end);
}
