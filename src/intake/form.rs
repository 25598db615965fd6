//! Forms (`multipart/form-data`): files in fields named `image`, `images` or `file`, a `mask`, and options as text.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::{FutureExt, stream};
use multer::Multipart;

use super::{Budget, Content, MaskSource, Takes, check_count, file_source, options::RawOptions};
use crate::model::{Kind, Refusal, refusal::clip};

/// Fields that hold images, any number of them.
const IMAGE_FIELDS: [&str; 5] = ["image", "images", "images[]", "file", "files"];

/// Options are short; a longer field is a file in the wrong place.
const MAX_OPTION_BYTES: usize = 256;

/// Characters of a file's name that are kept, to be told with its result.
const MAX_NAME: usize = 255;

/// Takes a form apart. Fields that hold no image are options; a form ends at its first unknown one.
pub(super) fn read(
    body: Bytes,
    boundary: &str,
    options: &mut RawOptions,
    takes: Takes,
    budget: Budget,
) -> Result<Content, Refusal> {
    // The body is here in full, so that nothing in there ever waits.
    take_apart(body, boundary, options, takes, budget)
        .now_or_never()
        .unwrap_or_else(|| Err(Refusal::internal("a form that is here in full waited")))
}

async fn take_apart(
    body: Bytes,
    boundary: &str,
    options: &mut RawOptions,
    takes: Takes,
    budget: Budget,
) -> Result<Content, Refusal> {
    let malformed =
        |error: multer::Error| Refusal::new(Kind::Malformed, format!("the multipart body cannot be read: {error}"));
    let mut form = Multipart::new(stream::iter([Ok::<_, Infallible>(body)]), boundary);
    let mut content = Content::default();
    while let Some(field) = form.next_field().await.map_err(malformed)? {
        let name = field.name().unwrap_or_default().to_owned();
        let file = field.file_name().map(|name| name.chars().take(MAX_NAME).collect());
        let is_file = file.is_some();
        let bytes = field.bytes().await.map_err(malformed)?;
        if IMAGE_FIELDS.contains(&name.as_str()) {
            content.sources.push(file_source(bytes));
            content.files.push(file.unwrap_or_default());
            check_count(content.sources.len(), budget.max_images)?;
        } else if name == "mask" && takes == Takes::MaskedImages {
            if content.mask.replace(MaskSource::File(bytes)).is_some() {
                return Err(Refusal::option("mask", "given twice; give it once"));
            }
        } else if options.knows(&name) && !is_file && bytes.len() <= MAX_OPTION_BYTES {
            let text =
                String::from_utf8(bytes.to_vec()).map_err(|_| Refusal::option(clip(&name), "not readable text"))?;
            options.add_text(&name, text)?;
        } else if is_file || bytes.len() > MAX_OPTION_BYTES {
            let mask = if takes == Takes::MaskedImages { ", or mask" } else { "" };
            let name = if name.is_empty() {
                "a field without a name".to_owned()
            } else {
                format!("the field {:?}", clip(&name))
            };
            let detail = format!("{name} holds a file; files go into fields named image, images or file{mask}");
            return Err(Refusal::new(Kind::InvalidOption, detail));
        } else {
            options.add_text(&name, String::new())?;
        }
    }
    Ok(content)
}
