//! Quoted text as Go prints it with `%q`, which is what Prometheus's messages and label sets show.

use std::fmt::{self, Write};

/// `text` in double quotes, escaped by Go's rules. Print it, or take `to_string()`.
pub const fn quote(text: &str) -> Quoted<'_> {
    Quoted(text)
}

/// See [`quote`].
#[derive(Debug, Clone, Copy)]
pub struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for char in self.0.chars() {
            write_escaped(f, char)?;
        }
        f.write_char('"')
    }
}

fn write_escaped(f: &mut fmt::Formatter<'_>, char: char) -> fmt::Result {
    match char {
        '"' => f.write_str("\\\""),
        '\\' => f.write_str("\\\\"),
        '\x07' => f.write_str("\\a"),
        '\x08' => f.write_str("\\b"),
        '\x0c' => f.write_str("\\f"),
        '\n' => f.write_str("\\n"),
        '\r' => f.write_str("\\r"),
        '\t' => f.write_str("\\t"),
        '\x0b' => f.write_str("\\v"),
        ' '..='~' => f.write_char(char),
        '\0'..='\x7f' => write!(f, "\\x{:02x}", char as u32),
        _ if is_printable(char) => f.write_char(char),
        '\u{80}'..='\u{ffff}' => write!(f, "\\u{:04x}", char as u32),
        _ => write!(f, "\\U{:08x}", char as u32),
    }
}

/// Whether Go's `unicode.IsPrint` holds for a character beyond ASCII. The standard library says
/// so for text, not for characters, where it escapes combining marks as well: hence the letter.
fn is_printable(char: char) -> bool {
    let text: String = ['a', char].iter().collect();
    text.escape_debug().nth(1) == Some(char)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_those_of_go() {
        assert_eq!(quote("a\"b\\c\n\t").to_string(), r#""a\"b\\c\n\t""#);
        assert_eq!(quote("\0\x7f").to_string(), r#""\x00\x7f""#);
        assert_eq!(quote("Grüße e\u{301} 世").to_string(), "\"Grüße e\u{301} 世\"");
        assert_eq!(quote("\u{a0}\u{200b}\u{e0001}").to_string(), r#""\u00a0\u200b\U000e0001""#);
    }
}
