//! Which web pages may use this listener through a visitor's browser.
//!
//! A browser names the page a request comes from in `Origin`. Read routes tell it which pages may
//! see the answer (CORS). Requests that change something are refused for any page but our own, and
//! where a name could have been pointed at this machine by somebody else (DNS rebinding).

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use regex_automata::meta::Regex;

const CORS_HEADERS: [(HeaderName, HeaderValue); 3] = [
    (
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("Accept, Authorization, Content-Type, Origin"),
    ),
    (header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, OPTIONS")),
    (header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("Date")),
];

/// What `--web.cors.origin` and `--web.external-url` say about pages.
#[derive(Debug)]
pub struct OriginPolicy {
    /// `None`: every page may read.
    readers: Option<Regex>,
    /// `HOST[:PORT]` of the external URL.
    external: Option<String>,
    /// This machine's name.
    hostname: String,
}

impl OriginPolicy {
    /// A policy from a regular expression for whole origins and the external URL.
    pub fn new(cors_origin: &str, external_url: Option<&Uri>) -> Result<Self, String> {
        let readers = if cors_origin == ".*" {
            None
        } else {
            let anchored = format!("^(?:{cors_origin})$");
            Some(Regex::new(&anchored).map_err(|error| error.to_string())?)
        };
        let external = external_url.and_then(Uri::authority).map(|a| a.as_str().to_owned());
        let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Ok(Self { readers, external, hostname })
    }

    /// Adds the headers that let the asking page read the answer, if it may.
    pub fn allow_reading(&self, request: &HeaderMap, answer: &mut HeaderMap) {
        let Some(origin) = request.get(header::ORIGIN) else {
            return;
        };
        let allowed = match &self.readers {
            None => HeaderValue::from_static("*"),
            Some(readers) if readers.is_match(origin.as_bytes()) => origin.clone(),
            Some(_) => return,
        };
        answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        answer.insert(header::VARY, HeaderValue::from_static("Origin"));
        answer.extend(CORS_HEADERS);
    }

    /// Why a request that changes something must be refused, if it must.
    pub fn foreign(&self, headers: &HeaderMap, uri: &Uri, loopback: bool) -> Option<String> {
        let header = |name| headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok());
        let host = uri.authority().map(|a| a.as_str()).or_else(|| header(header::HOST));
        let host = host.unwrap_or("");
        if headers.contains_key(header::ORIGIN) {
            let origin = header(header::ORIGIN).unwrap_or("");
            let page = origin.split_once("://").map_or("", |(_, authority)| authority);
            let ours = page.eq_ignore_ascii_case(host) || self.is_external(page);
            if page.is_empty() || !ours {
                return Some(format!("origin {origin:?} is foreign"));
            }
        } else if !loopback {
            return None;
        }
        if self.is_own_name(host) {
            return None;
        }
        Some(format!("host {host:?} is foreign; if it is this server's, set --web.external-url"))
    }

    fn is_external(&self, authority: &str) -> bool {
        self.external.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(authority))
    }

    /// Whether nobody else can have pointed the name at this machine.
    fn is_own_name(&self, authority: &str) -> bool {
        let name = without_port(authority).to_ascii_lowercase();
        name.parse::<IpAddr>().is_ok()
            || name == "localhost"
            || name.ends_with(".localhost")
            || name == self.hostname.to_ascii_lowercase()
            || self
                .external
                .as_deref()
                .is_some_and(|own| without_port(own).eq_ignore_ascii_case(&name))
    }
}

fn without_port(authority: &str) -> &str {
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    authority.rsplit_once(':').map_or(authority, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (n.clone(), HeaderValue::from_static(v))).collect()
    }

    fn policy(cors: &str) -> OriginPolicy {
        let external = Uri::from_static("https://metrics.example.org/prom");
        OriginPolicy::new(cors, Some(&external)).expect("valid")
    }

    #[test]
    fn readers_are_matched_as_whole_origins() {
        let policy = policy(r"https?://(a|b)\.example");
        for (origin, allowed) in [
            ("http://a.example", true),
            ("https://b.example", true),
            ("https://b.example.evil", false),
            ("null", false),
        ] {
            let mut answer = HeaderMap::new();
            policy.allow_reading(&headers(&[(header::ORIGIN, origin)]), &mut answer);
            let got = answer.get(header::ACCESS_CONTROL_ALLOW_ORIGIN);
            assert_eq!(got.is_some(), allowed, "{origin}");
        }
    }

    #[test]
    fn a_change_is_refused_for_other_pages_and_rebound_names() {
        let policy = policy(".*");
        let uri = Uri::from_static("/api/v1/write");
        type Pairs = &'static [(HeaderName, &'static str)];
        let cases: &[(Pairs, bool, bool)] = &[
            (&[(header::HOST, "127.0.0.1:9090")], true, false),
            (&[(header::HOST, "[::1]:9090")], true, false),
            (&[(header::HOST, "localhost:9090")], true, false),
            (&[(header::HOST, "evil.example")], true, true),
            (&[(header::HOST, "narthex-router:9090")], false, false),
            (&[(header::HOST, "metrics.example.org")], true, false),
            (
                &[(header::HOST, "127.0.0.1:9090"), (header::ORIGIN, "http://127.0.0.1:9090")],
                true,
                false,
            ),
            (
                &[(header::HOST, "127.0.0.1:9090"), (header::ORIGIN, "http://evil.example")],
                true,
                true,
            ),
            (&[(header::HOST, "127.0.0.1:9090"), (header::ORIGIN, "null")], false, true),
            (
                &[(header::HOST, "evil.example"), (header::ORIGIN, "http://evil.example")],
                false,
                true,
            ),
            (
                &[(header::HOST, "10.0.0.1:80"), (header::ORIGIN, "https://metrics.example.org")],
                false,
                false,
            ),
        ];
        for (pairs, loopback, refused) in cases {
            let got = policy.foreign(&headers(pairs), &uri, *loopback);
            assert_eq!(got.is_some(), *refused, "{pairs:?}: {got:?}");
        }
    }
}
