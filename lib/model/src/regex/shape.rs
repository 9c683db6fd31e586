//! Patterns that need no engine.

use regex_syntax::hir::{Class, Dot, Hir, HirKind};

/// The largest set of texts that is compared one by one.
const SET_LEN_MAX: usize = 256;

/// What a pattern comes down to.
#[derive(Debug, PartialEq)]
pub(super) enum Shape {
    /// `.*`
    All,
    /// `.+`
    NotEmpty,
    /// `a|b|c`: these texts and no others, sorted.
    Set(Vec<String>),
    /// `a.*`
    Prefix(String),
    /// `.*a`
    Suffix(String),
    /// `.*a.*`
    Contains(String),
    /// Anything else.
    Other,
}

impl Shape {
    pub(super) fn of(hir: &Hir) -> Self {
        if is_dot_star(hir) {
            return Self::All;
        }
        if is_dot_plus(hir) {
            return Self::NotEmpty;
        }
        if let Some(texts) = texts(hir) {
            return Self::Set(texts);
        }
        let HirKind::Concat(parts) = without_groups(hir).kind() else {
            return Self::Other;
        };
        match parts.as_slice() {
            [first, last] if is_dot_star(last) => literal(first).map_or(Self::Other, Self::Prefix),
            [first, last] if is_dot_star(first) => literal(last).map_or(Self::Other, Self::Suffix),
            [first, middle, last] if is_dot_star(first) && is_dot_star(last) => {
                literal(middle).map_or(Self::Other, Self::Contains)
            }
            _ => Self::Other,
        }
    }

    /// Whether `text` matches; `None` if only the engine knows.
    pub(super) fn is_match(&self, text: &str) -> Option<bool> {
        match self {
            Self::All => Some(true),
            Self::NotEmpty => Some(!text.is_empty()),
            Self::Set(texts) => {
                Some(texts.binary_search_by(|known| known.as_str().cmp(text)).is_ok())
            }
            Self::Prefix(prefix) => Some(text.starts_with(prefix)),
            Self::Suffix(suffix) => Some(text.ends_with(suffix)),
            Self::Contains(part) => Some(text.contains(part)),
            Self::Other => None,
        }
    }
}

/// What every text that matches begins with.
pub(super) fn prefix(hir: &Hir) -> String {
    match hir.kind() {
        HirKind::Literal(literal) => utf8(&literal.0),
        HirKind::Capture(capture) => prefix(&capture.sub),
        HirKind::Alternation(branches) => {
            let mut prefixes = branches.iter().map(prefix);
            let first = prefixes.next().unwrap_or_default();
            prefixes.fold(first, |common, other| common_prefix(&common, &other).to_owned())
        }
        HirKind::Concat(parts) => {
            let mut text = String::new();
            for part in parts {
                // Behind a part that is more than its literal, the text may go on differently.
                match literal(part) {
                    Some(literal) => text.push_str(&literal),
                    None => {
                        text.push_str(&prefix(part));
                        break;
                    }
                }
            }
            text
        }
        _ => String::new(),
    }
}

fn common_prefix<'a>(left: &'a str, right: &str) -> &'a str {
    let same = left.chars().zip(right.chars()).take_while(|(a, b)| a == b);
    &left[..same.map(|(char, _)| char.len_utf8()).sum()]
}

fn without_groups(hir: &Hir) -> &Hir {
    match hir.kind() {
        HirKind::Capture(capture) => without_groups(&capture.sub),
        _ => hir,
    }
}

fn literal(hir: &Hir) -> Option<String> {
    match without_groups(hir).kind() {
        HirKind::Literal(literal) => Some(utf8(&literal.0)),
        _ => None,
    }
}

fn utf8(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("literals are made of characters")
}

fn is_dot_star(hir: &Hir) -> bool {
    is_dots(hir, 0)
}

fn is_dot_plus(hir: &Hir) -> bool {
    is_dots(hir, 1)
}

/// Whether this is any character, at least `min` times. Lazy or not makes no difference, since
/// the whole text has to match.
fn is_dots(hir: &Hir, min: u32) -> bool {
    match without_groups(hir).kind() {
        HirKind::Repetition(repetition) => {
            let is_endless = repetition.min == min && repetition.max.is_none();
            is_endless && *without_groups(&repetition.sub) == Hir::dot(Dot::AnyChar)
        }
        _ => false,
    }
}

/// All texts that match, sorted, each once, if they are few.
fn texts(hir: &Hir) -> Option<Vec<String>> {
    let mut texts = unsorted_texts(hir)?;
    texts.sort_unstable();
    texts.dedup();
    Some(texts)
}

fn unsorted_texts(hir: &Hir) -> Option<Vec<String>> {
    match hir.kind() {
        HirKind::Empty => Some(vec![String::new()]),
        HirKind::Literal(literal) => Some(vec![utf8(&literal.0)]),
        HirKind::Class(Class::Unicode(class)) => {
            let len: usize = class.iter().map(|range| range.len()).sum();
            (len <= SET_LEN_MAX).then(|| {
                let ranges = class.iter().flat_map(|range| range.start()..=range.end());
                ranges.map(String::from).collect()
            })
        }
        HirKind::Capture(capture) => unsorted_texts(&capture.sub),
        HirKind::Alternation(branches) => {
            let mut all = Vec::new();
            for branch in branches {
                all.extend(unsorted_texts(branch)?);
                if all.len() > SET_LEN_MAX {
                    return None;
                }
            }
            Some(all)
        }
        HirKind::Concat(parts) => {
            parts.iter().try_fold(vec![String::new()], |heads, part| cross(&heads, part))
        }
        HirKind::Repetition(repetition) if repetition.min == 0 && repetition.max == Some(1) => {
            let mut all = unsorted_texts(&repetition.sub)?;
            all.push(String::new());
            Some(all)
        }
        _ => None,
    }
}

/// Each of `heads` with each text of `part` behind it.
fn cross(heads: &[String], part: &Hir) -> Option<Vec<String>> {
    let tails = unsorted_texts(part)?;
    if heads.len() * tails.len() > SET_LEN_MAX {
        return None;
    }
    let pairs = heads.iter().flat_map(|head| tails.iter().map(move |tail| (head, tail)));
    Some(pairs.map(|(head, tail)| format!("{head}{tail}")).collect())
}
