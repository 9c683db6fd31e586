//! Character classes by name.

use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, HirKind};

/// The class of these ranges.
pub(super) fn from_ranges(ranges: &[(char, char)]) -> ClassUnicode {
    ClassUnicode::new(ranges.iter().map(|(start, end)| ClassUnicodeRange::new(*start, *end)))
}

/// `\d`, `\s`, `\w` and their negations: ASCII, as in RE2.
pub(super) fn perl(letter: char) -> Option<ClassUnicode> {
    let mut class = match letter.to_ascii_lowercase() {
        'd' => from_ranges(&[('0', '9')]),
        // Without the vertical tab, which only the POSIX class has.
        's' => from_ranges(&[('\t', '\n'), ('\x0c', '\r'), (' ', ' ')]),
        'w' => from_ranges(&[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')]),
        _ => return None,
    };
    if letter.is_ascii_uppercase() {
        class.negate();
    }
    Some(class)
}

/// `alpha` of `[[:alpha:]]`.
pub(super) fn posix(name: &str) -> Option<ClassUnicode> {
    let (name, is_negated) = match name.strip_prefix('^') {
        Some(name) => (name, true),
        None => (name, false),
    };
    let mut class = match name {
        "alnum" => from_ranges(&[('0', '9'), ('A', 'Z'), ('a', 'z')]),
        "alpha" => from_ranges(&[('A', 'Z'), ('a', 'z')]),
        "ascii" => from_ranges(&[('\0', '\x7f')]),
        "blank" => from_ranges(&[('\t', '\t'), (' ', ' ')]),
        "cntrl" => from_ranges(&[('\0', '\x1f'), ('\x7f', '\x7f')]),
        "digit" => from_ranges(&[('0', '9')]),
        "graph" => from_ranges(&[('!', '~')]),
        "lower" => from_ranges(&[('a', 'z')]),
        "print" => from_ranges(&[(' ', '~')]),
        "punct" => from_ranges(&[('!', '/'), (':', '@'), ('[', '`'), ('{', '~')]),
        "space" => from_ranges(&[('\t', '\r'), (' ', ' ')]),
        "upper" => from_ranges(&[('A', 'Z')]),
        "word" => perl('w')?,
        "xdigit" => from_ranges(&[('0', '9'), ('A', 'F'), ('a', 'f')]),
        _ => return None,
    };
    if is_negated {
        class.negate();
    }
    Some(class)
}

/// `Lu` or `Greek` of `\p{…}`: a general category of one or two letters, or a script.
pub(super) fn unicode(name: &str) -> Option<ClassUnicode> {
    if name == "Any" {
        return Some(from_ranges(&[('\0', char::MAX)]));
    }
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    if !is_name || !name.starts_with(|char: char| char.is_ascii_uppercase()) {
        return None;
    }
    let property = if name.len() <= 2 { "gc" } else { "sc" };
    let hir = regex_syntax::parse(&format!("\\p{{{property}={name}}}")).ok()?;
    match hir.into_kind() {
        HirKind::Class(Class::Unicode(class)) => Some(class),
        _ => None,
    }
}
