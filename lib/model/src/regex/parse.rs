//! Go's regular expression syntax to the engine's tree.
//!
//! What Go refuses is refused, in its words; what both accept with different meanings gets Go's.

use regex_syntax::hir::{
    Capture, Class, ClassUnicode, ClassUnicodeRange, Dot, Hir, Look, Repetition,
};

use super::{InvalidRegex, class};

/// The deepest nesting of groups. Go allows 1000; here each level takes stack in three walks.
const DEPTH_MAX: u32 = 128;
/// The largest count of a repetition, also of all that are nested taken together.
const REPEAT_MAX: u32 = 1000;

type Parsed<T> = Result<T, InvalidRegex>;

/// Parses a whole pattern. `.` matches line breaks unless a flag says otherwise.
pub(super) fn parse(pattern: &str) -> Parsed<Hir> {
    parse_with(pattern, Flags { dot_matches_newline: true, ..Flags::default() })
}

/// As [`parse`], but `.` stops at line breaks, as in Go unless told otherwise.
pub(super) fn parse_lines(pattern: &str) -> Parsed<Hir> {
    parse_with(pattern, Flags::default())
}

fn parse_with(pattern: &str, flags: Flags) -> Parsed<Hir> {
    let mut parser =
        Parser { pattern, rest: pattern, flags, depth: 0, groups: 0, names: Vec::new() };
    let node = parser.parse_alternation()?;
    if !parser.rest.is_empty() {
        return Err(InvalidRegex::new("unexpected )", pattern));
    }
    Ok(node.hir)
}

#[derive(Debug, Clone, Copy, Default)]
struct Flags {
    ignore_case: bool,
    multi_line: bool,
    dot_matches_newline: bool,
    swap_greed: bool,
}

struct Parser<'a> {
    pattern: &'a str,
    rest: &'a str,
    flags: Flags,
    depth: u32,
    groups: u32,
    names: Vec<&'a str>,
}

/// A part of the tree and how often repetitions in it multiply.
struct Node {
    hir: Hir,
    repeats: u32,
}

impl From<Hir> for Node {
    fn from(hir: Hir) -> Self {
        Self { hir, repeats: 1 }
    }
}

/// How often something comes.
struct Count {
    min: u32,
    max: Option<u32>,
}

impl<'a> Parser<'a> {
    /// Branches up to a closing parenthesis or the end. Flags set inside end with it.
    fn parse_alternation(&mut self) -> Parsed<Node> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(InvalidRegex::new("expression nests too deeply", self.pattern));
        }
        let outer_flags = self.flags;
        let mut branches = vec![self.parse_branch()?];
        while self.accept('|') {
            branches.push(self.parse_branch()?);
        }
        self.flags = outer_flags;
        self.depth -= 1;
        Ok(join(branches, Hir::alternation))
    }

    fn parse_branch(&mut self) -> Parsed<Node> {
        let mut parts: Vec<Node> = Vec::new();
        // Where the last repetition began, if nothing came after it.
        let mut repeated_from: Option<&str> = None;
        // What the last repetition belongs to is the last of `parts`, unless there is none.
        let mut has_operand = false;
        while let Some(char) = self.peek() {
            if matches!(char, '|' | ')') {
                break;
            }
            let before = self.rest;
            if let Some(count) = self.take_repetition()? {
                let text = taken(before, self.rest);
                if let Some(first) = repeated_from {
                    let both = taken(first, self.rest);
                    return Err(InvalidRegex::new("invalid nested repetition operator", both));
                }
                let operand = parts.pop().filter(|_| has_operand);
                let Some(operand) = operand else {
                    return Err(InvalidRegex::new("missing argument to repetition operator", text));
                };
                parts.push(self.repeat(operand, &count, text)?);
                repeated_from = Some(before);
                continue;
            }
            repeated_from = None;
            if let Some(quoted) = self.rest.strip_prefix("\\Q") {
                // Each character is an element of its own: a repetition takes the last.
                parts.extend(self.parse_quoted(quoted));
                has_operand = !parts.is_empty();
                continue;
            }
            match self.parse_atom()? {
                Some(node) => {
                    parts.push(node);
                    has_operand = true;
                }
                None => has_operand = has_operand && !parts.is_empty(),
            }
        }
        Ok(join(parts, Hir::concat))
    }

    /// `*`, `+`, `?`, `{n,m}`. A brace that is none of these is a character.
    fn take_repetition(&mut self) -> Parsed<Option<Count>> {
        let count = match self.peek() {
            Some('*') => Count { min: 0, max: None },
            Some('+') => Count { min: 1, max: None },
            Some('?') => Count { min: 0, max: Some(1) },
            Some('{') => return self.take_counted(),
            _ => return Ok(None),
        };
        self.advance();
        Ok(Some(count))
    }

    fn take_counted(&mut self) -> Parsed<Option<Count>> {
        let Some((body, behind)) = self.rest[1..].split_once('}') else {
            return Ok(None);
        };
        let (min, max) = match body.split_once(',') {
            None => (read_count(body), Some(read_count(body))),
            Some((min, "")) => (read_count(min), None),
            Some((min, max)) => (read_count(min), Some(read_count(max))),
        };
        let (Some(min), Some(max)) = (min, max.map_or(Some(None), |max| max.map(Some))) else {
            return Ok(None);
        };
        let text = taken(self.rest, behind);
        if min > REPEAT_MAX || max.is_some_and(|max| max > REPEAT_MAX || min > max) {
            return Err(InvalidRegex::new("invalid repeat count", text));
        }
        self.rest = behind;
        Ok(Some(Count { min, max }))
    }

    fn repeat(&mut self, operand: Node, count: &Count, text: &str) -> Parsed<Node> {
        let is_lazy = self.accept('?');
        let factor = count.max.unwrap_or(count.min).max(1);
        let repeats = operand.repeats.saturating_mul(factor);
        if repeats > REPEAT_MAX {
            return Err(InvalidRegex::new("invalid repeat count", text));
        }
        let hir = Hir::repetition(Repetition {
            min: count.min,
            max: count.max,
            greedy: is_lazy == self.flags.swap_greed,
            sub: Box::new(operand.hir),
        });
        Ok(Node { hir, repeats })
    }

    /// One element; `None` for what only sets flags.
    fn parse_atom(&mut self) -> Parsed<Option<Node>> {
        let char = self.advance().expect("the caller saw a character");
        let hir = match char {
            '(' => return self.parse_group(),
            '[' => self.parse_class()?,
            '.' if self.flags.dot_matches_newline => Hir::dot(Dot::AnyChar),
            '.' => Hir::dot(Dot::AnyCharExceptLF),
            '^' if self.flags.multi_line => Hir::look(Look::StartLF),
            '^' => Hir::look(Look::Start),
            '$' if self.flags.multi_line => Hir::look(Look::EndLF),
            '$' => Hir::look(Look::End),
            '\\' => return self.parse_escape().map(Some),
            _ => self.literal(char),
        };
        Ok(Some(hir.into()))
    }

    /// A group whose parenthesis was taken.
    fn parse_group(&mut self) -> Parsed<Option<Node>> {
        let mut capture = None;
        let outer_flags = self.flags;
        if let Some(perl) = self.rest.strip_prefix('?') {
            let named = perl.strip_prefix("P<").or_else(|| perl.strip_prefix('<'));
            if let Some(named) = named {
                let name = self.parse_group_name(named)?;
                capture = Some(Some(name));
            } else if self.parse_flags()? {
                return Ok(None);
            }
        } else {
            capture = Some(None);
        }
        let index = self.groups + 1;
        if capture.is_some() {
            self.groups = index;
        }
        let inner = self.parse_alternation()?;
        if !self.accept(')') {
            return Err(InvalidRegex::new("missing closing )", self.pattern));
        }
        self.flags = outer_flags;
        let Some(name) = capture else {
            return Ok(Some(inner));
        };
        let name = name.map(Box::from);
        let hir = Hir::capture(Capture { index, name, sub: Box::new(inner.hir) });
        Ok(Some(Node { hir, repeats: inner.repeats }))
    }

    /// `name>` of `(?P<name>`, of which `named` is what follows the bracket.
    fn parse_group_name(&mut self, named: &'a str) -> Parsed<&'a str> {
        let start = format!("({}", self.rest);
        let Some((name, behind)) = named.split_once('>') else {
            return Err(InvalidRegex::new("invalid named capture", &start));
        };
        let is_name = !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !is_name {
            let text = &start[..start.len() - behind.len()];
            return Err(InvalidRegex::new("invalid named capture", text));
        }
        if self.names.contains(&name) {
            return Err(InvalidRegex::new("duplicate capture group name", name));
        }
        self.names.push(name);
        self.rest = behind;
        Ok(name)
    }

    /// `?i-s:` or `?i-s)`, behind a parenthesis. Whether the group ends with its flags.
    fn parse_flags(&mut self) -> Parsed<bool> {
        let start = self.rest;
        self.advance();
        let (mut flags, mut value, mut has_flag) = (self.flags, true, false);
        loop {
            let char = self.advance();
            match char {
                Some('i') => flags.ignore_case = value,
                Some('m') => flags.multi_line = value,
                Some('s') => flags.dot_matches_newline = value,
                Some('U') => flags.swap_greed = value,
                Some('-') if value => {
                    value = false;
                    has_flag = false;
                    continue;
                }
                Some(':' | ')') if value || has_flag => {
                    self.flags = flags;
                    return Ok(char == Some(')'));
                }
                None => return Err(InvalidRegex::new("missing closing )", self.pattern)),
                Some(_) => {
                    let text = format!("({}", taken(start, self.rest));
                    return Err(InvalidRegex::new("invalid or unsupported Perl syntax", &text));
                }
            }
            has_flag = true;
        }
    }

    /// An escape outside of a class, whose backslash was taken.
    fn parse_escape(&mut self) -> Parsed<Node> {
        let look = match self.peek() {
            Some('A') => Some(Look::Start),
            Some('z') => Some(Look::End),
            Some('b') => Some(Look::WordAscii),
            Some('B') => Some(Look::WordAsciiNegate),
            _ => None,
        };
        if let Some(look) = look {
            self.advance();
            return Ok(Hir::look(look).into());
        }
        if let Some(class) = self.parse_class_escape()? {
            return Ok(Hir::class(Class::Unicode(class)).into());
        }
        let char = self.parse_char_escape()?;
        Ok(self.literal(char).into())
    }

    /// Characters without a meaning, up to `\E`.
    fn parse_quoted(&mut self, quoted: &'a str) -> Vec<Node> {
        let (text, behind) = quoted.split_once("\\E").unwrap_or((quoted, ""));
        self.rest = behind;
        text.chars().map(|char| self.literal(char).into()).collect()
    }

    /// `d`, `S`, `p{Greek}`, `PL`: a class behind a backslash.
    fn parse_class_escape(&mut self) -> Parsed<Option<ClassUnicode>> {
        let before = self.rest;
        let letter = self.peek();
        if let Some(class) = letter.and_then(class::perl) {
            self.advance();
            return Ok(Some(self.fold(class)));
        }
        if !matches!(letter, Some('p' | 'P')) {
            return Ok(None);
        }
        self.advance();
        let invalid = |rest: &str| {
            let text = format!("\\{}", taken(before, rest));
            InvalidRegex::new("invalid character class range", &text)
        };
        let name = if self.accept('{') {
            let Some((name, behind)) = self.rest.split_once('}') else {
                return Err(invalid(""));
            };
            self.rest = behind;
            name
        } else {
            let start = self.rest;
            self.advance();
            taken(start, self.rest)
        };
        let (name, is_negated) = match name.strip_prefix('^') {
            Some(name) => (name, letter == Some('p')),
            None => (name, letter == Some('P')),
        };
        let class = class::unicode(name).ok_or_else(|| invalid(self.rest))?;
        let mut class = self.fold(class);
        if is_negated {
            class.negate();
        }
        Ok(Some(class))
    }

    /// A single character behind a backslash.
    fn parse_char_escape(&mut self) -> Parsed<char> {
        let before = self.rest;
        let Some(char) = self.advance() else {
            return Err(InvalidRegex {
                message: "trailing backslash at end of expression: ``".to_owned(),
            });
        };
        let found = match char {
            'a' => Some('\x07'),
            'f' => Some('\x0c'),
            'n' => Some('\n'),
            'r' => Some('\r'),
            't' => Some('\t'),
            'v' => Some('\x0b'),
            'x' => self.parse_hex(),
            // A single digit would be a reference to a group, which does not exist.
            '1'..='7' if !self.peek().is_some_and(|next| next.is_digit(8)) => None,
            '0'..='7' => Some(self.parse_octal(char)),
            _ if char.is_ascii() && !char.is_ascii_alphanumeric() => Some(char),
            _ => None,
        };
        found.ok_or_else(|| {
            let text = format!("\\{}", taken(before, self.rest));
            InvalidRegex::new("invalid escape sequence", &text)
        })
    }

    /// At most two more octal digits.
    fn parse_octal(&mut self, first: char) -> char {
        let mut value = first.to_digit(8).unwrap_or(0);
        for _ in 0..2 {
            let Some(digit) = self.peek().and_then(|char| char.to_digit(8)) else {
                break;
            };
            self.advance();
            value = value * 8 + digit;
        }
        char::from_u32(value).expect("three octal digits are a character")
    }

    /// `7F` or `{10FFFF}`.
    fn parse_hex(&mut self) -> Option<char> {
        if self.accept('{') {
            let start = self.rest;
            while self.advance()? != '}' {}
            let digits = taken(start, self.rest).strip_suffix('}')?;
            let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            return is_hex
                .then(|| u32::from_str_radix(digits, 16).ok())
                .flatten()
                .and_then(char::from_u32);
        }
        let high = self.advance()?.to_digit(16)?;
        let low = self.advance()?.to_digit(16)?;
        char::from_u32(high * 16 + low)
    }

    /// A class whose bracket was taken.
    fn parse_class(&mut self) -> Parsed<Hir> {
        let start = self.rest;
        let is_negated = self.accept('^');
        let mut class = ClassUnicode::empty();
        let mut is_first = true;
        loop {
            let Some(char) = self.peek() else {
                let text = format!("[{start}");
                return Err(InvalidRegex::new("missing closing ]", &text));
            };
            if char == ']' && !is_first {
                self.advance();
                break;
            }
            is_first = false;
            class.union(&self.parse_class_item(start)?);
        }
        let mut class = self.fold(class);
        if is_negated {
            class.negate();
        }
        Ok(Hir::class(Class::Unicode(class)))
    }

    fn parse_class_item(&mut self, class_start: &str) -> Parsed<ClassUnicode> {
        if let Some(posix) = self.rest.strip_prefix("[:")
            && let Some((name, behind)) = posix.split_once(":]")
        {
            let text = taken(self.rest, behind);
            self.rest = behind;
            return class::posix(name)
                .ok_or_else(|| InvalidRegex::new("invalid character class range", text));
        }
        let before = self.rest;
        if self.accept('\\') {
            if let Some(class) = self.parse_class_escape()? {
                return Ok(class);
            }
            self.rest = before;
        }
        let low = self.parse_class_char(class_start)?;
        let mut high = low;
        let is_range = self.rest.starts_with('-') && !self.rest.starts_with("-]");
        if is_range && self.rest.len() > 1 {
            self.advance();
            high = self.parse_class_char(class_start)?;
            if high < low {
                let text = taken(before, self.rest);
                return Err(InvalidRegex::new("invalid character class range", text));
            }
        }
        Ok(ClassUnicode::new([ClassUnicodeRange::new(low, high)]))
    }

    fn parse_class_char(&mut self, class_start: &str) -> Parsed<char> {
        match self.advance() {
            Some('\\') => self.parse_char_escape(),
            Some(char) => Ok(char),
            None => Err(InvalidRegex::new("missing closing ]", &format!("[{class_start}"))),
        }
    }

    fn literal(&self, char: char) -> Hir {
        if self.flags.ignore_case {
            let class = self.fold(class::from_ranges(&[(char, char)]));
            return Hir::class(Class::Unicode(class));
        }
        Hir::literal(char.encode_utf8(&mut [0; 4]).as_bytes())
    }

    /// The class with both cases of its letters, if a flag asks for it.
    fn fold(&self, mut class: ClassUnicode) -> ClassUnicode {
        if self.flags.ignore_case {
            class.case_fold_simple();
        }
        class
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn advance(&mut self) -> Option<char> {
        let char = self.peek()?;
        self.rest = &self.rest[char.len_utf8()..];
        Some(char)
    }

    fn accept(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.advance();
        }
        found
    }
}

/// What was consumed between two states of the rest.
fn taken<'s>(before: &'s str, after: &str) -> &'s str {
    &before[..before.len() - after.len()]
}

/// A count of a repetition. Too large a number stays one, to be refused as such.
fn read_count(digits: &str) -> Option<u32> {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let has_leading_zero = digits.len() > 1 && digits.starts_with('0');
    (is_number && !has_leading_zero).then(|| digits.parse().unwrap_or(u32::MAX))
}

fn join(nodes: Vec<Node>, how: impl Fn(Vec<Hir>) -> Hir) -> Node {
    let repeats = nodes.iter().map(|node| node.repeats).max().unwrap_or(1);
    Node { hir: how(nodes.into_iter().map(|node| node.hir).collect()), repeats }
}
