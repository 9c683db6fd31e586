//! Patterns that are looked for anywhere in a text, as templates do.

use regex_automata::meta;

use super::{InvalidRegex, PROGRAM_BYTES_MAX, expand, parse};

/// A pattern that may match any part of a text; `.` does not match line breaks.
#[derive(Debug, Clone)]
pub struct SearchRegex(meta::Regex);

impl SearchRegex {
    /// Compiles `pattern`.
    pub fn new(pattern: &str) -> Result<Self, InvalidRegex> {
        let config = meta::Config::new()
            .nfa_size_limit(Some(PROGRAM_BYTES_MAX))
            .hybrid_cache_capacity(PROGRAM_BYTES_MAX);
        let program = meta::Regex::builder()
            .configure(config)
            .build_from_hir(&parse::parse_lines(pattern)?)
            .map_err(|_| InvalidRegex::new("expression too large", pattern))?;
        Ok(Self(program))
    }

    /// Whether some part of `text` matches.
    pub fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text)
    }

    /// `text` with every match replaced by `replacement`, whose `$1` and `${name}` are filled by
    /// the rules of Go's `Expand`; `None` if that may be longer than `bytes_max`.
    pub fn replace_all(&self, text: &str, replacement: &str, bytes_max: usize) -> Option<String> {
        // Each reference may stand for the whole text.
        let references = replacement.matches('$').count();
        let expanded_max = references.saturating_mul(text.len()).saturating_add(replacement.len());
        if expanded_max > bytes_max {
            return None;
        }
        let mut replaced = String::with_capacity(text.len());
        let mut behind = 0;
        for captures in self.0.captures_iter(text) {
            let Some(found) = captures.get_match() else { continue };
            replaced.push_str(&text[behind..found.start()]);
            replaced.push_str(&expand::expand(replacement, text, &captures));
            behind = found.end();
            if replaced.len() > bytes_max {
                return None;
            }
        }
        replaced.push_str(&text[behind..]);
        Some(replaced)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(pattern: &str) -> SearchRegex {
        SearchRegex::new(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"))
    }

    #[test]
    fn a_part_of_a_text_is_enough() {
        assert!(search("b+").is_match("abbc"));
        assert!(!search("^b").is_match("ab"));
        assert!(!search("a.b").is_match("a\nb"));
        assert!(SearchRegex::new("[").is_err());
    }

    #[test]
    fn every_match_is_replaced() {
        let replaced = |pattern: &str, text: &str, replacement: &str| {
            search(pattern).replace_all(text, replacement, 100)
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(replaced("(.*):.*", "localhost:9090", "$1"), some("localhost"));
        assert_eq!(replaced("(?P<x>a)b", "ab-ab", "${x}x"), some("ax-ax"));
        assert_eq!(replaced("", "ab", "-"), some("-a-b-"));
        assert_eq!(replaced("b*", "abc", "x"), some("xaxcx"));
    }

    #[test]
    fn what_would_be_too_long_is_not_made() {
        assert_eq!(search("a").replace_all(&"a".repeat(60), "bb", 100), None);
        assert_eq!(search("(.*)").replace_all(&"a".repeat(60), "$1$1", 100), None);
    }
}
