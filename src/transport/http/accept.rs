//! Content negotiation: which of the formats that an endpoint offers the client wants most.

use axum::http::{HeaderMap, header};

use super::problem::PROBLEM;
use crate::{
    model::{Kind, Refusal},
    operations::{Format, render::not_acceptable},
};

/// The best of `offered` (in order of the server's own preference) by the Accept header; without one, the first. RFC
/// 9110, section 12.5.1: the most specific range that matches a format decides its quality, and a quality of 0 excludes
/// it.
pub(crate) fn negotiate(headers: &HeaderMap, offered: &[Format]) -> Result<Format, Refusal> {
    let ranges = ranges(headers)?;
    if let Some(place) = best(&ranges, offered.iter().map(|format| format.media_type())) {
        return Ok(offered[place]);
    }
    // Clients that are generated from the document may name the format of refusals alone, and mean the JSON beside it.
    if quality(&ranges, PROBLEM) > 0 && offered.contains(&Format::Json) {
        return Ok(Format::Json);
    }
    Err(not_acceptable(offered))
}

/// Whether the client would rather read HTML than JSON, as browsers do.
pub(crate) fn prefers_html(headers: &HeaderMap) -> bool {
    let ranges = ranges(headers).unwrap_or_default();
    best(&ranges, ["application/json", "text/html"].into_iter()) == Some(1)
}

/// Which of some media types is wanted most; of equals the first.
fn best(ranges: &[Range<'_>], types: impl Iterator<Item = &'static str>) -> Option<usize> {
    let mut best: Option<(u16, usize)> = None;
    for (place, media_type) in types.enumerate() {
        let quality = if ranges.is_empty() {
            1000
        } else {
            quality(ranges, media_type)
        };
        if quality > 0 && best.is_none_or(|(other, _)| quality > other) {
            best = Some((quality, place));
        }
    }
    best.map(|(_, place)| place)
}

/// The media ranges of the Accept header.
fn ranges(headers: &HeaderMap) -> Result<Vec<Range<'_>>, Refusal> {
    let mut ranges = Vec::new();
    for value in headers.get_all(header::ACCEPT) {
        let text = value
            .to_str()
            .map_err(|_| Refusal::new(Kind::Malformed, "the header Accept is not readable text"))?;
        ranges.extend(text.split(',').filter_map(Range::parse));
    }
    Ok(ranges)
}

/// One media range, with its quality in thousandths.
struct Range<'a> {
    kind: &'a str,
    subtype: &'a str,
    quality: u16,
}

impl<'a> Range<'a> {
    /// `None` for what is not a media range: the RFC lets a server ignore it.
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';');
        let (kind, subtype) = parts.next()?.trim().split_once('/')?;
        let quality = parts
            .filter_map(|parameter| parameter.split_once('='))
            .find(|(name, _)| name.trim().eq_ignore_ascii_case("q"))
            .map_or(Some(1.0), |(_, value)| value.trim().parse::<f32>().ok())?;
        Some(Self {
            kind,
            subtype,
            quality: (quality.clamp(0.0, 1.0) * 1000.0) as u16,
        })
    }

    /// How specifically the range matches: 2 for the very type, 1 for its group, 0 for anything.
    fn specificity(&self, media_type: &str) -> Option<u8> {
        let (kind, subtype) = media_type.split_once('/')?;
        match (self.kind, self.subtype) {
            ("*", "*") => Some(0),
            (k, "*") if k.eq_ignore_ascii_case(kind) => Some(1),
            (k, s) if k.eq_ignore_ascii_case(kind) && s.eq_ignore_ascii_case(subtype) => Some(2),
            _ => None,
        }
    }
}

fn quality(ranges: &[Range<'_>], media_type: &str) -> u16 {
    ranges
        .iter()
        .filter_map(|range| Some((range.specificity(media_type)?, range.quality)))
        .max()
        .map_or(0, |(_, quality)| quality)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const ALL: &[Format] = &[Format::Json, Format::Png, Format::Npy];

    fn choose(accept: &'static str) -> Option<Format> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
        negotiate(&headers, ALL).ok()
    }

    #[test]
    fn the_client_decides_and_the_server_breaks_ties() {
        for (accept, wanted) in [
            ("*/*", Some(Format::Json)),
            ("", Some(Format::Json)),
            ("image/png", Some(Format::Png)),
            ("IMAGE/PNG", Some(Format::Png)),
            ("image/*", Some(Format::Png)),
            ("application/*", Some(Format::Json)),
            ("application/x-npy, */*;q=0.1", Some(Format::Npy)),
            ("application/json;q=0.2, image/png; q=0.9", Some(Format::Png)),
            ("image/png;q=0.5, application/json;q=0.5", Some(Format::Json)),
            ("application/json;q=0, */*", Some(Format::Png)),
            ("*/*, application/json;q=0.1", Some(Format::Png)),
            ("text/html,application/xhtml+xml,*/*;q=0.8", Some(Format::Json)),
            ("text/html", None),
            ("image/jpeg", None),
            ("*/*;q=0", None),
            ("image/png;q=nonsense", Some(Format::Json)),
            ("application/problem+json", Some(Format::Json)),
            ("application/problem+json, image/png", Some(Format::Png)),
        ] {
            assert_eq!(choose(accept), wanted, "{accept:?}");
        }
        assert_eq!(negotiate(&HeaderMap::new(), ALL).ok(), Some(Format::Json));
    }

    #[test]
    fn only_those_get_html_who_would_rather_have_it() {
        let prefers = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            prefers_html(&headers)
        };
        assert!(prefers(
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
        ));
        assert!(prefers("text/html"));
        for accept in [
            "*/*",
            "",
            "application/json",
            "application/json, text/html",
            "text/html;q=0",
            "image/png",
        ] {
            assert!(!prefers(accept), "{accept:?}");
        }
        assert!(!prefers_html(&HeaderMap::new()));
    }

    #[test]
    fn the_refusal_names_what_there_is() {
        let refusal = not_acceptable(ALL);
        assert_eq!(refusal.kind(), Kind::NotAcceptable);
        let detail = refusal.detail();
        assert!(
            detail.contains("application/json, image/png, application/x-npy"),
            "{detail}"
        );
    }
}
