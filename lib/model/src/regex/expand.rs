//! Replacement texts by the rules of Go's `Expand`.

use regex_automata::util::captures::Captures;

/// What a `$` refers to.
enum Reference<'a> {
    Number(usize),
    Name(&'a str),
}

/// Fills the references of `template` with the groups of a match in `text`. Groups that do not
/// exist or did not take part are empty; a `$` that refers to nothing stays as it is.
pub(super) fn expand(template: &str, text: &str, captures: &Captures) -> String {
    let mut expanded = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        if let Some(behind) = after.strip_prefix('$') {
            expanded.push('$');
            rest = behind;
            continue;
        }
        let Some((reference, behind)) = read_reference(after) else {
            expanded.push('$');
            rest = after;
            continue;
        };
        let group = match reference {
            Reference::Number(number) => captures.get_group(number),
            Reference::Name(name) => captures.get_group_by_name(name),
        };
        expanded.push_str(group.map_or("", |span| &text[span.start..span.end]));
        rest = behind;
    }
    expanded.push_str(rest);
    expanded
}

/// The reference behind a `$`, and what follows it.
fn read_reference(after: &str) -> Option<(Reference<'_>, &str)> {
    let (in_braces, body) = match after.strip_prefix('{') {
        Some(body) => (true, body),
        None => (false, after),
    };
    let belongs = |char: char| char == '_' || char.is_alphanumeric();
    let end = body.find(|char| !belongs(char)).unwrap_or(body.len());
    let (name, mut behind) = body.split_at(end);
    if name.is_empty() {
        return None;
    }
    if in_braces {
        behind = behind.strip_prefix('}')?;
    }
    let has_leading_zero = name.len() > 1 && name.starts_with('0');
    let is_number = name.bytes().all(|byte| byte.is_ascii_digit()) && !has_leading_zero;
    let reference = match name.parse() {
        Ok(number) if is_number => Reference::Number(number),
        _ => Reference::Name(name),
    };
    Some((reference, behind))
}
