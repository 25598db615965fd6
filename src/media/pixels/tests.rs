//! Lists that are images, and what is wrong with the others.

use super::*;

fn read(text: &str, shape: ImageShape) -> Result<Image, MediaError> {
    serde_json::from_str::<Pixels>(text).unwrap().into_image(shape)
}

#[test]
fn rows_and_columns_arrive_in_order() {
    let grey = ImageShape::new(1, 2, 3, 256).unwrap();
    let image = read("[[0, 1, 2], [3, 4, 255]]", grey).unwrap();
    assert_eq!(image.levels(), [0, 1, 2, 3, 4, 255]);
    assert_eq!(read("[[[0],[1],[2]],[[3],[4],[255]]]", grey), Ok(image));
    let colour = ImageShape::new(3, 1, 2, 256).unwrap();
    let image = read("[[[1, 2, 3], [4, 5, 6]]]", colour).unwrap();
    assert_eq!(image.levels(), [1, 4, 2, 5, 3, 6]);
}

#[test]
fn every_fault_names_its_place_and_what_would_be_right() {
    let grey = ImageShape::new(1, 2, 2, 256).unwrap();
    for (text, parts) in [
        ("[[0, 300], [0, 0]]", &["300 at [0][1]", "0 to 255"][..]),
        ("[[0, 0], [-1, 0]]", &["-1 at [1][0]"]),
        ("[[0, 0], [0, 1.5]]", &["1.5 at [1][1]", "whole numbers"]),
        ("[[0, 0], [0, 1.0]]", &["1.0 at [1][1]"]),
        ("[[0, 1e99], [0, 1]]", &["1e99 at [0][1]"]),
        ("[[0, 0], [0, null]]", &["null at [1][1]"]),
        ("[[0, 0], [0, \"x\"]]", &["the text \"x\" at [1][1]"]),
        ("[[0, 0], [0, true]]", &["true at [1][1]"]),
        ("[[0, 0], [0, {\"a\": [1]}]]", &["an object at [1][1]"]),
        ("[[0, 0], [0]]", &["at [1] has length 1", "length 2"]),
        ("[[0, 0], 7]", &["no list at [1]"]),
        ("[[0, [0]], [0, 0]]", &["further list at [0][1]"]),
        ("[[[[0]]]]", &["further list at [0][0][0]"]),
        ("7", &["no list at the top"]),
        ("\"AAAA\"", &["no list at the top"]),
        ("[]", &["shape [0]", "2×2"]),
        ("[[0, 0, 0], [0, 0, 0]]", &["[2, 3]", "2×2 (rows × columns)"]),
        ("[[[0, 0, 0], [0, 0, 0]], [[0, 0, 0], [0, 0, 0]]]", &["[2, 2, 3]"]),
    ] {
        let message = read(text, grey).unwrap_err().to_string();
        for part in parts {
            assert!(message.contains(part), "{text}: {message:?} lacks {part:?}");
        }
    }
}

#[test]
fn whole_numbers_may_be_written_as_fractions() {
    let grey = ImageShape::new(1, 1, 3, 256).unwrap();
    let image = read("[[0.0, 1.0, 255.0]]", grey).unwrap();
    assert_eq!(image.levels(), [0, 1, 255]);
    assert!(read("[[0.0, -0.0, 0.0]]", grey).is_ok(), "black on either scale");
    assert!(read("[[0, 1, 1]]", grey).is_ok());
    let binary = ImageShape::new(1, 1, 3, 2).unwrap();
    assert_eq!(read("[[0.0, 1.0, 1.0]]", binary).unwrap().levels(), [0, 1, 1]);
    let message = read("[[0.0, 1.0, 1.0]]", grey).unwrap_err().to_string();
    assert!(
        message.contains("1.0 at [0][1]") && message.contains("unit interval"),
        "{message}"
    );
}

#[test]
fn a_model_with_fewer_levels_refuses_bytes_above_them() {
    let grey = ImageShape::new(1, 2, 2, 16).unwrap();
    let message = read("[[0, 15], [16, 0]]", grey).unwrap_err().to_string();
    assert!(
        message.contains("16 at [1][0]") && message.contains("0 to 15"),
        "{message}"
    );
    let colour = ImageShape::new(3, 1, 2, 16).unwrap();
    let message = read("[[[1, 2, 3], [4, 55, 6]]]", colour).unwrap_err().to_string();
    assert!(message.contains("55 at [0][1][1]"), "{message}");
}
