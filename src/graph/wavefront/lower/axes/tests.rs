//! Reshapes that keep meanings apart.

use super::*;

#[test]
fn reshapes_keep_meanings_apart() {
    let image = [Axis::Batch, Axis::Feature(12), Axis::Row(7), Axis::Column(6)];
    assert_eq!(
        reshaped(&image, &[1, 4, 3, 7, 6]).unwrap(),
        [
            Axis::Batch,
            Axis::Feature(4),
            Axis::Feature(3),
            Axis::Row(7),
            Axis::Column(6)
        ]
    );
    let flat = reshaped(&image, &[1, 12, 42]).unwrap();
    assert_eq!(flat[2], Axis::Pixels(7, 6));
    assert_eq!(reshaped(&flat, &[1, 12, 7, 6]).unwrap(), image);
    let merged = reshaped(&[Axis::Batch, Axis::Pixels(7, 6), Axis::Feature(4)], &[42, 4]);
    assert_eq!(
        reshaped(&merged.unwrap(), &[1, 42, 4]).unwrap(),
        [Axis::Batch, Axis::Pixels(7, 6), Axis::Feature(4)]
    );
    let whole = reshaped(&image, &[1, 12 * 42]).unwrap();
    assert_eq!(features(&whole), [12]);
    assert_eq!(extent(&whole), Some((7, 6)));
    assert_eq!(reshaped(&whole, &[1, 12, 7, 6]).unwrap(), image);
    assert_eq!(reshaped(&whole, &[1, 4, 3, 42]).unwrap()[3], Axis::Pixels(7, 6));
    // Groups of channels, each flattened.
    let groups = reshaped(&image, &[1, 3, 4 * 42]).unwrap();
    assert_eq!(groups[1], Axis::Feature(3));
    assert_eq!(features(&groups), [3, 4]);
    assert_eq!(reshaped(&groups, &[1, 12, 7, 6]).unwrap()[2..], image[2..]);
    let last = [Axis::Batch, Axis::Row(7), Axis::Column(6), Axis::Feature(5)];
    let whole = reshaped(&last, &[1, 42 * 5]).unwrap();
    assert_eq!(reshaped(&whole, &[1, 7, 6, 5]).unwrap(), last);
    assert!(reshaped(&whole, &[1, 5, 7, 6]).is_err());
    let turned = [Axis::Batch, Axis::Column(6), Axis::Row(7), Axis::Feature(5)];
    let pixels = reshaped(&turned, &[42, 5]).unwrap();
    assert_eq!(pixels, [Axis::ColumnByColumn(7, 6), Axis::Feature(5)]);
    assert_eq!(reshaped(&pixels, &[1, 6, 7, 5]).unwrap(), turned);
    assert!(reshaped(&pixels, &[1, 7, 6, 5]).is_err());
    assert_ne!(reshaped(&flat, &[1, 12, 6, 7]).unwrap(), image);
    assert!(reshaped(&image, &[1, 12, 6]).is_err());
}

#[test]
fn pixels_may_be_blocks_of_pixels() {
    let pixels = [Axis::Batch, Axis::Pixels(7, 6), Axis::Feature(4)];
    let blocks = reshaped(&pixels, &[1, 3, 14, 4]).unwrap();
    assert_eq!((features(&blocks), extent(&blocks)), (vec![4], Some((7, 6))));
    assert_eq!((blocks[1].size(), blocks[2].size()), (3, 14));
    assert_eq!(reshaped(&blocks, &[1, 42, 4]).unwrap(), pixels);
    assert_eq!(reshaped(&blocks, &[3, 14, 2, 2]).unwrap()[..2], blocks[1..3]);
    let image = [Axis::Batch, Axis::Row(7), Axis::Column(6), Axis::Feature(4)];
    assert_eq!(reshaped(&blocks, &[1, 7, 6, 4]).unwrap(), image);
    // A block of each, or blocks of blocks, are neither.
    let turned = [blocks[0], blocks[2], blocks[1], blocks[3]];
    assert!(reshaped(&turned, &[1, 42, 4]).is_err());
    assert!(reshaped(&blocks, &[1, 6, 7, 4]).is_ok_and(|axes| axes[1] != Axis::Column(6)));
    assert!(reshaped(&blocks, &[1, 3, 7, 8]).is_err());
    assert!(reshaped(&blocks, &[1, 3, 2, 7, 4]).is_err());
}

#[test]
fn heads_may_be_part_of_the_batch_beside_lines() {
    let heads = [Axis::Column(6), Axis::Row(7), Axis::Feature(10)];
    let beside = reshaped(&heads, &[6, 14, 5]).unwrap();
    assert_eq!((features(&beside), extent(&beside)), (vec![2, 5], Some((7, 6))));
    assert_eq!(reshaped(&beside, &[6, 7, 10]).unwrap(), heads);
    let apart = [Axis::Column(6), Axis::Row(7), Axis::Feature(2), Axis::Feature(5)];
    assert_eq!(reshaped(&beside, &[6, 7, 2, 5]).unwrap(), apart);
    // Another order of them is another tensor.
    assert!(reshaped(&beside, &[6, 2, 7, 5]).is_err());
    let image = [Axis::Batch, Axis::Feature(12), Axis::Row(7), Axis::Column(6)];
    let first = reshaped(&image, &[1, 84, 6]).unwrap();
    assert_eq!((features(&first), extent(&first)), (vec![12], Some((7, 6))));
    assert_eq!(reshaped(&first, &[1, 12, 7, 6]).unwrap(), image);
    assert!(reshaped(&first, &[1, 7, 12, 6]).is_err());
    assert!(reshaped(&first, &[1, 28, 18]).is_err());
}
