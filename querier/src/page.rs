//! The pages at `/`: files that `ui/` is built into, part of the program.
//!
//! All pages are one document, whose script shows the one that the path names. What it loads lies
//! relative to it, so that it works below any path; so every page's path has one segment.

use std::io::Read as _;

use axum::{
    body::Body,
    extract::{Path, RawQuery},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use flate2::read::GzDecoder;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

/// What a page may do: run its own files and ask this server.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'self'";

const DOCUMENT: &str = "index.html";

/// Where Prometheus 2's page was.
const OLD: &str = "graph";

/// The pages that the script has; see `ui/src/pages/routes.ts`.
const PAGES: [&str; 12] = [
    "query",
    "tail",
    "alerts",
    "rules",
    "targets",
    "cluster",
    "service-discovery",
    "tsdb-status",
    "active-queries",
    "status",
    "flags",
    "config",
];

/// A file of the built pages.
struct File {
    /// From the bundle's root.
    name: &'static str,
    /// Differs where the content does; with its quotation marks.
    tag: &'static str,
    /// By gzip.
    packed: &'static [u8],
}

static FILES: &[File] = include!(concat!(env!("OUT_DIR"), "/files.rs"));

/// `/`: the document.
pub(crate) async fn root(headers: HeaderMap) -> Response {
    answer(DOCUMENT, &headers)
}

/// `/{page}`: the document for the pages that there are, and files beside it.
pub(crate) async fn page(
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    if name == OLD {
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        return match HeaderValue::try_from(format!("query{query}")) {
            Ok(place) => (StatusCode::FOUND, [(header::LOCATION, place)]).into_response(),
            Err(_) => StatusCode::BAD_REQUEST.into_response(),
        };
    }
    let is_page = PAGES.contains(&name.as_str());
    answer(if is_page { DOCUMENT } else { &name }, &headers)
}

/// `/assets/{file}`: what the document loads.
pub(crate) async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    answer(&format!("assets/{name}"), &headers)
}

fn answer(name: &str, headers: &HeaderMap) -> Response {
    let Some(file) = FILES.iter().find(|file| file.name == name) else {
        return (StatusCode::NOT_FOUND, "404 page not found\n").into_response();
    };
    let told = |name| headers.get_all(name).iter().filter_map(|it: &HeaderValue| it.to_str().ok());
    let mut tags = told(header::IF_NONE_MATCH).flat_map(|list| list.split(',')).map(str::trim);
    let mut response = if tags.any(|tag| tag.trim_start_matches("W/") == file.tag || tag == "*") {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let is_packed = told(header::ACCEPT_ENCODING).any(takes_gzip);
        content(file, is_packed)
    };
    let fixed: [(HeaderName, &'static str); 6] = [
        (header::CACHE_CONTROL, caching(file.name)),
        (header::ETAG, file.tag),
        (header::VARY, "accept-encoding"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in fixed {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Names of assets change with their content.
fn caching(name: &str) -> &'static str {
    if name.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" }
}

fn takes_gzip(list: &str) -> bool {
    list.split(',').any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, "q=1"));
        let weight = weight.trim().trim_start_matches("q=").parse::<f32>();
        name.trim() == "gzip" && weight.is_ok_and(|weight| weight > 0.0)
    })
}

fn content(file: &File, is_packed: bool) -> Response {
    let kind = (header::CONTENT_TYPE, HeaderValue::from_static(content_type(file.name)));
    if is_packed {
        let coding = (header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        return ([kind, coding], Body::from(Bytes::from_static(file.packed))).into_response();
    }
    ([kind], unpacked(file)).into_response()
}

fn unpacked(file: &File) -> Vec<u8> {
    let mut content = Vec::new();
    GzDecoder::new(file.packed).read_to_end(&mut content).expect("the program's own files unpack");
    content
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "text/plain; charset=utf-8",
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    /// Compressed bytes of all that the first page loads before anybody does anything, and of all
    /// pages together.
    const FIRST_BYTES_MAX: usize = 250 << 10;
    const ALL_BYTES_MAX: usize = 600 << 10;

    fn document() -> String {
        let file = FILES.iter().find(|file| file.name == DOCUMENT).expect("a document");
        String::from_utf8(unpacked(file)).expect("UTF-8")
    }

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (n.clone(), HeaderValue::from_static(v))).collect()
    }

    /// Files that the document names.
    fn loaded() -> Vec<&'static File> {
        let document = document();
        let named = document.split("\"./").skip(1).filter_map(|rest| rest.split('"').next());
        let found = |name: &str| FILES.iter().find(|file| file.name == name);
        named.map(|name| found(name).unwrap_or_else(|| panic!("{name} is missing"))).collect()
    }

    #[test]
    fn pages_are_small() {
        let sum = |files: &mut dyn Iterator<Item = &File>| files.map(|f| f.packed.len()).sum();
        let first: usize = sum(&mut loaded().into_iter());
        let all: usize = sum(&mut FILES.iter().filter(|file| file.name.starts_with("assets/")));
        eprintln!("first page: {first} bytes, all pages: {all} bytes");
        assert!(loaded().len() >= 3 && first < FIRST_BYTES_MAX, "first page: {first} bytes");
        assert!(all < ALL_BYTES_MAX, "all pages: {all} bytes");
    }

    #[test]
    fn the_document_runs_nothing_but_files_of_its_own() {
        let document = document();
        assert!(document.starts_with("<!doctype html>"));
        for forbidden in ["http:", "https:", "\"//", "<style", "onload", "javascript:"] {
            assert!(!document.contains(forbidden), "{forbidden}");
        }
        let scripts = document.matches("<script").count();
        assert_eq!(scripts, document.matches(" src=\"./assets/").count());
        assert!(!POLICY.contains("unsafe"));
    }

    #[test]
    fn the_script_and_the_server_know_the_same_pages() {
        let routes = include_str!("../ui/src/pages/routes.ts");
        let mut known: Vec<&str> =
            routes.split("path: \"/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        let mut served = PAGES.to_vec();
        known.sort_unstable();
        served.sort_unstable();
        assert_eq!(known, served);
    }

    #[tokio::test]
    async fn pages_are_compressed_for_those_who_take_it() {
        let plain = root(HeaderMap::new()).await;
        assert!(!plain.headers().contains_key(header::CONTENT_ENCODING));
        let body = plain.into_body().collect().await.expect("body").to_bytes();
        assert_eq!(body, document().as_bytes());
        let refusing = headers(&[(header::ACCEPT_ENCODING, "gzip;q=0, br")]);
        assert!(!root(refusing).await.headers().contains_key(header::CONTENT_ENCODING));
        let packed = root(headers(&[(header::ACCEPT_ENCODING, "br, gzip;q=0.8")])).await;
        assert_eq!(packed.headers()[header::CONTENT_ENCODING], "gzip");
        assert_eq!(packed.headers()[header::CACHE_CONTROL], "no-cache");
        assert_eq!(packed.headers()[header::CONTENT_TYPE], "text/html; charset=utf-8");
        let tag = packed.headers()[header::ETAG].clone();
        let again = HeaderMap::from_iter([(header::IF_NONE_MATCH, tag)]);
        assert_eq!(root(again).await.status(), StatusCode::NOT_MODIFIED);
    }

    #[tokio::test]
    async fn every_page_is_the_document_and_nothing_else_is() {
        let get = async |name: &str| {
            let query = RawQuery(Some("g0.expr=up%7B%7D".to_owned()));
            page(Path(name.to_owned()), query, HeaderMap::new()).await
        };
        for name in PAGES {
            assert_eq!(get(name).await.status(), StatusCode::OK, "{name}");
        }
        assert_eq!(get("nonsense").await.status(), StatusCode::NOT_FOUND);
        let old = get(OLD).await;
        assert_eq!(old.status(), StatusCode::FOUND);
        assert_eq!(old.headers()[header::LOCATION], "query?g0.expr=up%7B%7D");
        let notices = get("licences.md").await;
        assert_eq!(notices.headers()[header::CONTENT_TYPE], "text/plain; charset=utf-8");
        for file in loaded() {
            let name = file.name.trim_start_matches("assets/").to_owned();
            let response = asset(Path(name), HeaderMap::new()).await;
            let caching = &response.headers()[header::CACHE_CONTROL];
            assert_eq!(caching, "public, max-age=31536000, immutable");
        }
        let missing = asset(Path("x.js".to_owned()), HeaderMap::new()).await;
        assert_eq!(missing.status(), StatusCode::NOT_FOUND);
    }
}
