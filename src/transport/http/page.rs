//! The page at `/` for people with a browser: HTML, CSS and modules of JavaScript as they lie in `page/`, embedded in
//! the binary.
//!
//! Architecture invariant: the page is a client like any other. It asks the documented API by relative addresses, and
//! nothing in the server knows what it shows. It loads nothing from elsewhere and runs nothing that is not here, which
//! its policy has the browser hold it to.

use axum::{
    extract::Path,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::problem::Problem;

/// For caches: what is at the address depends on the header `Accept`.
pub(super) const BY_ACCEPT: HeaderValue = HeaderValue::from_static("accept");

/// Scripts, styles and answers from this server only; images that scripts make, too.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' \
    data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
    trusted-types 'none'";

const INDEX: &str = include_str!("page/index.html");

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Name, media type and content of what the page loads.
const ASSETS: [(&str, &str, &str); 15] = [
    ("icon.svg", "image/svg+xml", include_str!("page/icon.svg")),
    ("style.css", "text/css; charset=utf-8", include_str!("page/style.css")),
    ("api.js", SCRIPT, include_str!("page/api.js")),
    ("app.js", SCRIPT, include_str!("page/app.js")),
    ("brush.js", SCRIPT, include_str!("page/brush.js")),
    ("charts.js", SCRIPT, include_str!("page/charts.js")),
    ("codes.js", SCRIPT, include_str!("page/codes.js")),
    ("compare.js", SCRIPT, include_str!("page/compare.js")),
    ("complete.js", SCRIPT, include_str!("page/complete.js")),
    ("dom.js", SCRIPT, include_str!("page/dom.js")),
    ("draw.js", SCRIPT, include_str!("page/draw.js")),
    ("health.js", SCRIPT, include_str!("page/health.js")),
    ("judge.js", SCRIPT, include_str!("page/judge.js")),
    ("picture.js", SCRIPT, include_str!("page/picture.js")),
    ("source.js", SCRIPT, include_str!("page/source.js")),
];

/// The page itself.
pub(super) fn index() -> Response {
    let mut response = served("text/html; charset=utf-8", INDEX);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::VARY, BY_ACCEPT);
    response
}

/// What the page loads.
pub(super) async fn asset(Path(file): Path<String>) -> Result<Response, Problem> {
    let asset = ASSETS.iter().find(|(name, ..)| *name == file);
    let (_, media_type, content) = asset.ok_or_else(|| Problem::from_status(StatusCode::NOT_FOUND))?;
    Ok(served(media_type, content))
}

fn served(media_type: &'static str, content: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, media_type),
        // Another version of the server has other files of the same names.
        (header::CACHE_CONTROL, "no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("permissions-policy"),
            "camera=(self), microphone=(), geolocation=()",
        ),
    ];
    (headers, content).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One person can read the page in an hour.
    const MOST_LINES: usize = 1_500;

    #[test]
    fn the_page_is_of_a_size_that_one_person_can_read() {
        let contents = ASSETS.iter().map(|(_, _, content)| *content).chain([INDEX]);
        let lines: usize = contents.map(|content| content.lines().count()).sum();
        assert!(lines <= MOST_LINES, "{lines}");
    }

    #[test]
    fn it_loads_only_what_is_here_and_all_of_it() {
        let page = |content: &str| -> Vec<String> {
            let quoted = content.split('"').skip(1).step_by(2);
            quoted
                .filter_map(|link| Some(link.strip_prefix("page/")?.to_owned()))
                .collect()
        };
        let modules = |content: &str| -> Vec<String> {
            let imports = content.lines().filter(|line| line.starts_with("import "));
            imports
                .filter_map(|line| Some(line.split("\"./").nth(1)?.split('"').next()?.to_owned()))
                .collect()
        };
        let mut wanted = page(INDEX);
        for (_, _, content) in ASSETS {
            wanted.extend(modules(content));
        }
        for (name, ..) in ASSETS {
            assert!(wanted.iter().any(|own| own == name), "nothing loads {name}");
        }
        for name in wanted {
            assert!(ASSETS.iter().any(|(own, ..)| *own == name), "{name} is not served");
        }
    }

    #[test]
    fn no_address_leaves_the_server_or_its_prefix() {
        for (name, content) in ASSETS
            .iter()
            .map(|(name, _, content)| (*name, *content))
            .chain([("", INDEX)])
        {
            let content = content.replace("http://www.w3.org/", "");
            for part in ["http:", "https:", "=\"/", "(\"/", "(`/", "innerHTML", "eval("] {
                assert!(!content.contains(part), "{name} has {part}");
            }
        }
    }
}
