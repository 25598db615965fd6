//! Forms (`multipart/form-data`): files in fields named `image`, `images` or `file`, a `mask`, and options as text.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::stream;
use multer::Multipart;

use crate::http::{
    options::{Options, short},
    problem::{Problem, ProblemKind},
};

use super::{Content, MaskSource, file_source};

/// Fields that hold images, any number of them.
const IMAGE_FIELDS: &[&str] = &["image", "images", "images[]", "file", "files"];

/// Options are short; a longer field is a file in the wrong place.
const MAX_OPTION_BYTES: usize = 256;

/// Takes a form apart. Fields that hold no image are options.
pub(super) async fn read(
    body: Bytes,
    boundary: &str,
    options: &mut Options,
    takes_mask: bool,
) -> Result<Content, Problem> {
    let malformed = |error: multer::Error| {
        Problem::new(
            ProblemKind::Malformed,
            format!("the multipart body cannot be read: {error}"),
        )
    };
    // The body is here in full, so nothing below ever waits.
    let mut form = Multipart::new(stream::iter([Ok::<_, Infallible>(body)]), boundary);
    let mut content = Content::default();
    while let Some(field) = form.next_field().await.map_err(malformed)? {
        let name = field.name().unwrap_or_default().to_owned();
        let is_file = field.file_name().is_some();
        let bytes = field.bytes().await.map_err(malformed)?;
        if IMAGE_FIELDS.contains(&name.as_str()) {
            content.sources.push(file_source(bytes));
        } else if name == "mask" && takes_mask {
            if content.mask.replace(MaskSource::File(bytes)).is_some() {
                return Err(Problem::option("mask", "given twice; give it once"));
            }
        } else if is_file || bytes.len() > MAX_OPTION_BYTES {
            let mask = if takes_mask { ", or mask" } else { "" };
            return Err(Problem::option(
                &short(&name),
                format!(
                    "this field holds a file; files go into fields named image, images or file{mask}"
                ),
            ));
        } else {
            let text = String::from_utf8(bytes.to_vec())
                .map_err(|_| Problem::option(&short(&name), "not readable text"))?;
            options.add_text(name, text)?;
        }
    }
    Ok(content)
}
