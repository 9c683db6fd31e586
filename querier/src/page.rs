//! The page at `/`: one file, made here, that asks nothing of any other server.

use axum::response::{IntoResponse as _, Response};
use http::{HeaderName, HeaderValue, header};

const PAGE: &str = include_str!("ui/index.html");

/// What the page may do: run its own script and ask this server.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
                      img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'self'";

pub(crate) fn page() -> Response {
    let head: [(HeaderName, HeaderValue); 4] = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (head, PAGE).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_asks_no_other_server_and_builds_no_markup_from_data() {
        for forbidden in ["http://", "https://", "src=", "@import", "innerHTML", "eval("] {
            let found = PAGE.replace("http://www.w3.org/2000/svg", "").contains(forbidden);
            assert!(!found, "{forbidden}");
        }
        assert!(PAGE.starts_with("<!doctype html>"));
        assert!(PAGE.len() < 64 << 10);
    }
}
