use std::io::Cursor;

use axum::http::HeaderValue;
use image::{DynamicImage, GrayImage, ImageFormat};

use super::*;

#[derive(Debug, serde::Deserialize)]
struct Params {
    k: Option<u32>,
}

fn shape() -> ImageShape {
    ImageShape::new(1, 2, 2, 256).unwrap()
}

fn png(width: u32, height: u32) -> Bytes {
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::ImageLuma8(GrayImage::new(width, height))
        .write_to(&mut bytes, ImageFormat::Png)
        .unwrap();
    bytes.into_inner().into()
}

fn reading(query: &str, config: HttpConfig, takes_mask: bool) -> Reading {
    Reading {
        shape: shape(),
        config: Arc::new(config),
        takes_mask,
        resize: None,
        options: Options::from_query(Some(query)).unwrap(),
    }
}

fn json(text: &str) -> Content {
    Content {
        json: Some(Bytes::copy_from_slice(text.as_bytes())),
        ..Content::default()
    }
}

fn read(query: &str, content: Content) -> Result<Input<Params>, Problem> {
    reading(query, HttpConfig::default(), false).finish(content)
}

fn form(parts: &[(&str, &[u8])]) -> Bytes {
    let mut body = Vec::new();
    for (head, content) in parts {
        body.extend(format!("--b\r\nContent-Disposition: form-data; {head}\r\n\r\n").bytes());
        body.extend(*content);
        body.extend(b"\r\n");
    }
    body.extend(b"--b--\r\n");
    body.into()
}

fn detail(problem: &Problem) -> String {
    let body = serde_json::to_value(problem.body("x")).unwrap();
    body["detail"].as_str().unwrap().to_owned()
}

fn kind(content_type: Option<&'static str>) -> Result<BodyKind, (u16, String)> {
    let mut headers = HeaderMap::new();
    if let Some(value) = content_type {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(value));
    }
    BodyKind::of(&headers).map_err(|problem| (problem.status().as_u16(), detail(&problem)))
}

#[test]
fn content_types_decide_and_unknown_ones_are_told_what_is_read() {
    assert_eq!(kind(Some("image/png")), Ok(BodyKind::File));
    assert_eq!(kind(Some("IMAGE/JPEG; q=1")), Ok(BodyKind::File));
    assert_eq!(
        kind(Some("application/json; charset=utf-8")),
        Ok(BodyKind::Json)
    );
    assert_eq!(kind(Some("application/x-npy")), Ok(BodyKind::Npy));
    assert!(matches!(
        kind(Some("multipart/form-data; boundary=b")),
        Ok(BodyKind::Form { boundary }) if boundary == "b"
    ));
    assert_eq!(kind(Some("multipart/form-data")).unwrap_err().0, 400);
    for other in [
        None,
        Some("text/plain"),
        Some("image/tiff"),
        Some("application/octet-stream"),
        Some("application/x-www-form-urlencoded"),
    ] {
        let (status, detail) = kind(other).unwrap_err();
        assert_eq!(status, 415);
        for part in [
            "image/png",
            "multipart/form-data",
            "application/json",
            "application/x-npy",
        ] {
            assert!(detail.contains(part), "{detail}");
        }
    }
}

#[test]
fn json_brings_images_and_options() {
    let file = BASE64_STANDARD.encode(png(2, 2));
    let body = format!(
        r#"{{"k": 3, "images": [{{"base64": "{file}"}}, {{"pixels": [[1, 2], [3, 4]]}}]}}"#
    );
    let input = read("", json(&body)).unwrap();
    assert_eq!(input.options.k, Some(3));
    assert_eq!(input.images[0].as_ref().unwrap().levels(), [0; 4]);
    assert_eq!(input.images[1].as_ref().unwrap().levels(), [1, 2, 3, 4]);
}

#[test]
fn one_bad_image_stays_alone() {
    let body = r#"{"images": [{"pixels": [[1, 2], [3, 300]]}, {"pixels": [[1, 2], [3, 4]]}, {"base64": "%"}, {"base64": "AAAA"}]}"#;
    let input = read("", json(body)).unwrap();
    let details: Vec<_> = input
        .images
        .iter()
        .map(|image| image.as_ref().err().map(detail).unwrap_or_default())
        .collect();
    assert!(details[0].contains("300 at [1][1]"), "{details:?}");
    assert_eq!(details[1], "");
    assert!(details[2].contains("base64"), "{details:?}");
    assert!(details[3].contains("known format"), "{details:?}");
}

#[test]
fn json_that_is_not_understood_is_refused_by_name() {
    for (body, status, parts) in [
        ("{", 400, &["EOF"][..]),
        ("{} x", 400, &["trailing"]),
        ("[1]", 422, &["an object"]),
        ("\u{1}", 400, &["line 1"]),
        (
            r#"{"images": [{"pixels": [[1,2],[3,4]]}], "kk": 1}"#,
            422,
            &["kk:", "k, resize, convert"],
        ),
        (
            r#"{"images": [{"pixels": [[1,2],[3,4]]}], "mask": [[1,1],[0,0]]}"#,
            422,
            &["mask:"],
        ),
        (
            r#"{"images": [{"pixel": 1}]}"#,
            422,
            &["`pixel`", "`base64`"],
        ),
        (r#"{"images": [{}]}"#, 422, &["either"]),
        (
            r#"{"images": [{"base64": "", "pixels": []}]}"#,
            422,
            &["either"],
        ),
        (r#"{"images": [7]}"#, 422, &["base64"]),
        (r#"{"images": 7}"#, 422, &["sequence"]),
        (r#"{"images": [], "images": []}"#, 422, &["twice"]),
        (r#"{"images": []}"#, 422, &["no image"]),
        ("{}", 422, &["no image"]),
        (r#"{"k": 1, "k": 2, "images": []}"#, 422, &["k:", "twice"]),
    ] {
        let problem = read("", json(body)).unwrap_err();
        assert_eq!(problem.status(), status, "{body}");
        for part in parts {
            assert!(
                detail(&problem).contains(part),
                "{body}: {}",
                detail(&problem)
            );
        }
    }
    let twice = read("k=1", json(r#"{"k": 1, "images": []}"#)).unwrap_err();
    assert!(detail(&twice).contains("twice"));
}

#[test]
fn deep_nesting_does_not_overflow() {
    let body = format!(r#"{{"images": [{{"pixels": {}"#, "[".repeat(100_000));
    assert_eq!(read("", json(&body)).unwrap_err().status(), 400);
}

#[test]
fn limits_on_images_and_pixels_hold_over_the_whole_request() {
    let config = HttpConfig {
        max_images: 2,
        max_decoded_pixels: 30,
        ..HttpConfig::default()
    };
    let files = |count: usize, side: u32| Content::from(vec![Source::File(png(side, side)); count]);
    let read = |query, content| reading(query, config.clone(), false).finish::<Params>(content);
    let problem = read("", files(3, 2)).unwrap_err();
    assert_eq!(problem.status(), 413);
    assert!(detail(&problem).contains("at most 2"));
    // 16 of 30 pixels are spent on the first, so the second no longer fits.
    let input = read("resize=true", files(2, 4)).unwrap();
    assert!(input.images[0].is_ok());
    assert_eq!(input.images[1].as_ref().unwrap_err().status(), 413);
    let array = media::write_images(&vec![Image::new(shape(), vec![0; 4]).unwrap(); 3], shape());
    let input = read("", Content::from(vec![Source::Array(array.into())])).unwrap();
    assert_eq!(input.images[0].as_ref().unwrap_err().status(), 413);
}

#[tokio::test]
async fn forms_bring_files_a_mask_and_options() {
    let file = png(2, 2);
    let body = form(&[
        ("name=\"image\"; filename=\"a.png\"", &file),
        ("name=\"k\"", b"5"),
        ("name=\"file\"; filename=\"b.png\"", &file),
        ("name=\"mask\"; filename=\"m.png\"", &file),
    ]);
    let mut options = Options::default();
    let content = form::read(body, "b", &mut options, true).await.unwrap();
    let mut reading = reading("", HttpConfig::default(), true);
    reading.options = options;
    let input: Input<Params> = reading.finish(content).unwrap();
    assert_eq!(input.images.len(), 2);
    assert_eq!(input.mask, Some(vec![false; 4]));
    assert_eq!(input.options.k, Some(5));
}

#[tokio::test]
async fn forms_that_are_not_understood_are_refused() {
    let file = png(2, 2);
    let mut options = Options::default();
    for (body, status, part) in [
        (
            form(&[("name=\"mask\"; filename=\"m.png\"", &file)]),
            422,
            "mask:",
        ),
        (
            form(&[("name=\"picture\"; filename=\"m.png\"", &file)]),
            422,
            "image, images or file",
        ),
        (form(&[("name=\"k\"", &[b'1'; 1000])]), 422, "holds a file"),
        (Bytes::from_static(b"--b\r\nContent-Disp"), 400, "multipart"),
        (Bytes::from_static(b"nonsense"), 400, "multipart"),
        (Bytes::new(), 400, "multipart"),
    ] {
        let problem = form::read(body, "b", &mut options, false)
            .await
            .unwrap_err();
        assert_eq!(problem.status(), status);
        assert!(detail(&problem).contains(part), "{}", detail(&problem));
    }
}

#[test]
fn masks_come_as_rows_or_as_files() {
    let body = |mask: &str| {
        json(&format!(
            r#"{{"images": [{{"pixels": [[1, 2], [3, 4]]}}], "mask": {mask}}}"#
        ))
    };
    let read = |mask| reading("", HttpConfig::default(), true).finish::<Params>(body(mask));
    let flags = [true, true, false, false];
    assert_eq!(read("[[1, 1], [0, 0]]").unwrap().mask.unwrap(), flags);
    let file = format!("\"{}\"", BASE64_STANDARD.encode(png(2, 2)));
    assert_eq!(read(&file).unwrap().mask.unwrap(), [false; 4]);
    for (mask, part) in [
        ("[[1, 1]]", "shape [1, 2]"),
        ("[[1, 2], [0, 0]]", "2 at [0][1]"),
        ("\"AAAA\"", "known format"),
        ("7", "a mask"),
    ] {
        let problem = read(mask).unwrap_err();
        assert_eq!(problem.status(), 422);
        assert!(detail(&problem).contains(part), "{}", detail(&problem));
    }
}
