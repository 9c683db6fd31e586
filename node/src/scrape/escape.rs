//! Percent-encoding of URLs as Go writes them, so that a target's URL reads as in Prometheus.

use std::fmt::Write as _;

const PLAIN: &[u8] = b"-_.~";
/// What Go leaves as it is in a path.
const PLAIN_IN_PATH: &[u8] = b"-_.~$&+,/:;=@!*'()%";

/// A name or value of a query: a blank becomes a plus.
pub fn query(text: &str) -> String {
    escaped(text, PLAIN).replace("%20", "+")
}

/// A path. Escapes that are already there stay.
pub fn path(text: &str) -> String {
    escaped(text, PLAIN_IN_PATH)
}

fn escaped(text: &str, plain: &[u8]) -> String {
    let mut escaped = String::with_capacity(text.len());
    for &byte in text.as_bytes() {
        if byte.is_ascii_alphanumeric() || plain.contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            write!(escaped, "%{byte:02X}").expect("a String takes everything");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_where_it_must_be() {
        assert_eq!(query("a b&c=ö"), "a+b%26c%3D%C3%B6");
        assert_eq!(path("/a b/c?d"), "/a%20b/c%3Fd");
        assert_eq!(path("/a%20b"), "/a%20b");
    }
}
