//! What the body of a request may be: its media types, with a schema and an example of each.

use serde_json::{Map, Value, json};

use super::examples::{self, NO_STREAM, USUAL, USUAL_CODE};
use crate::intake::{IMAGE_TYPES, STREAM_TYPE, Takes};

/// What the body may be.
pub(super) fn request_body(takes: Takes) -> Option<Value> {
    let binary = json!({"type": "string", "format": "binary"});
    let (schema, example) = json_body(takes)?;
    let mut content = Map::new();
    content.insert(
        "application/json".to_owned(),
        json!({"schema": schema, "example": example}),
    );
    if takes.images() {
        let files = json!({"type": "array", "items": binary, "description": "Image files; also as images or file"});
        let mut form = json!({"image": files});
        if takes == Takes::MaskedImages {
            form["mask"] = binary.clone();
        }
        content.insert(
            "multipart/form-data".to_owned(),
            json!({"schema": {"type": "object", "required": ["image"], "properties": form}}),
        );
        for media_type in IMAGE_TYPES {
            content.insert(media_type.to_owned(), json!({"schema": binary}));
        }
    }
    if takes.images() || takes == Takes::Codes {
        let array = if takes == Takes::Codes {
            "float32 or float64 of shape [N, L]"
        } else {
            "uint8 levels of shape [N, H, W] or [N, H, W, C]"
        };
        let mut schema = binary.clone();
        schema["description"] = json!(array);
        content.insert("application/x-npy".to_owned(), json!({"schema": schema}));
    }
    if takes == Takes::Streams {
        content.insert(STREAM_TYPE.to_owned(), json!({"schema": binary}));
    }
    Some(json!({"required": true, "content": content}))
}

/// The schema of a JSON body, and an example of one.
fn json_body(takes: Takes) -> Option<(Value, Value)> {
    let list = |key: &str, items: Value, least: usize, most: Option<usize>| {
        let mut list = json!({"type": "array", "minItems": least, "items": items});
        if let Some(most) = most {
            list["maxItems"] = json!(most);
        }
        json!({"type": "object", "required": [key], "properties": {key: list}})
    };
    let example = examples::body(takes, USUAL, USUAL_CODE, NO_STREAM)?;
    let image = json!({
        "oneOf": [
            {"type": "object", "title": "ImageFile", "required": ["base64"], "properties": {
                "base64": {"type": "string", "contentEncoding": "base64", "description": "An image file"},
                "media_type": {"type": "string", "description": "What it is; what counts is the content"}
            }},
            {"type": "object", "title": "ImagePixels", "required": ["pixels"], "properties": {
                "pixels": {"type": "array", "items": {"type": "array", "items": {}},
                    "description": "Levels as they are: rows of columns, or rows of columns of channels"}
            }}
        ]
    });
    match takes {
        Takes::Nothing => None,
        Takes::Images => Some((list("images", image, 1, None), example)),
        Takes::TwoImages => Some((list("images", image, 2, Some(2)), example)),
        Takes::MaskedImages => {
            let mut schema = list("images", image, 1, None);
            let rows = json!({"type": "array", "items": {"type": "array", "items": {"enum": [0, 1]}}});
            let file = json!({"type": "string", "contentEncoding": "base64"});
            schema["properties"]["mask"] = json!({"oneOf": [rows, file], "description": "Which pixels are given"});
            Some((schema, example))
        }
        Takes::Codes => {
            let code = json!({"type": "array", "items": {"type": "number"}});
            Some((list("latents", code, 1, None), example))
        }
        Takes::Streams => {
            let stream = json!({"type": "string", "contentEncoding": "base64"});
            Some((list("streams", stream, 1, None), example))
        }
    }
}
