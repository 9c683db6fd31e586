//! Text to pieces: what is printed as it stands, and the tokens of actions.

use super::parse::Problem;

/// What a template consists of.
#[derive(Debug)]
pub(crate) enum Piece<'a> {
    /// Printed as it stands.
    Text(&'a str),
    /// `{{ … }}`, without comments. Ends with [`Kind::Close`].
    Action(Vec<Token<'a>>),
}

/// A part of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) kind: Kind,
    pub(crate) text: &'a str,
    /// Where it begins in the source.
    pub(crate) at: usize,
    /// Whether a blank stands in front of it.
    pub(crate) is_spaced: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `}}`
    Close,
    /// `.`
    Dot,
    /// `.name`
    Field,
    /// `$` or `$name`
    Variable,
    Identifier,
    Number,
    /// `"…"`, `` `…` ``
    Text,
    /// `'x'`
    Char,
    /// `|`
    Pipe,
    /// `(`
    Left,
    /// `)`
    Right,
    /// `,`
    Comma,
    /// `:=`
    Declare,
    /// `=`
    Assign,
}

const OPEN: &str = "{{";
const CLOSE: &str = "}}";

/// Takes a whole template apart.
pub(crate) fn pieces(source: &str) -> Result<Vec<Piece<'_>>, Problem> {
    let mut lexer = Lexer { source, at: 0, trims_next: false };
    let mut pieces = Vec::new();
    loop {
        let text = lexer.text();
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        if lexer.rest().is_empty() {
            return Ok(pieces);
        }
        if let Some(tokens) = lexer.action()? {
            pieces.push(Piece::Action(tokens));
        }
    }
}

struct Lexer<'a> {
    source: &'a str,
    at: usize,
    /// The last action ended with ` -}}`.
    trims_next: bool,
}

/// Go's idea of a blank inside of actions.
fn is_space(char: char) -> bool {
    matches!(char, ' ' | '\t' | '\r' | '\n')
}

fn is_word(char: char) -> bool {
    char == '_' || char.is_alphanumeric()
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.source[self.at..]
    }

    /// The text up to the next action, blanks cut off where the actions around it say so.
    fn text(&mut self) -> &'a str {
        let rest = self.rest();
        let end = rest.find(OPEN).unwrap_or(rest.len());
        let mut text = &rest[..end];
        self.at += end;
        if self.trims_next {
            text = text.trim_start_matches(is_space);
        }
        let behind = self.rest().strip_prefix(OPEN).and_then(|rest| rest.strip_prefix('-'));
        if behind.is_some_and(|behind| behind.starts_with(is_space)) {
            text = text.trim_end_matches(is_space);
        }
        text
    }

    /// The tokens of the action that begins here; `None` for a comment.
    fn action(&mut self) -> Result<Option<Vec<Token<'a>>>, Problem> {
        let start = self.at;
        self.at += OPEN.len();
        self.trims_next = false;
        let rest = self.rest();
        if rest.strip_prefix('-').is_some_and(|behind| behind.starts_with(is_space)) {
            self.at += 2;
        }
        if self.rest().starts_with("/*") {
            self.comment(start)?;
            return Ok(None);
        }
        let mut tokens = Vec::new();
        loop {
            let token = self.token(start)?;
            tokens.push(token);
            if token.kind == Kind::Close {
                return Ok(Some(tokens));
            }
        }
    }

    fn comment(&mut self, start: usize) -> Result<(), Problem> {
        let rest = self.rest();
        let end = rest.find("*/").ok_or_else(|| Problem::new(start, "unclosed comment"))?;
        self.at += end + 2;
        if self.close().is_none() {
            return Err(Problem::new(start, "comment ends before closing delimiter"));
        }
        Ok(())
    }

    /// Takes `}}` or ` -}}`, if it stands here. Returns where the braces are.
    fn close(&mut self) -> Option<usize> {
        let rest = self.rest();
        let unspaced = rest.trim_start_matches(is_space);
        let is_spaced = unspaced.len() < rest.len();
        if is_spaced
            && let Some(behind) = unspaced.strip_prefix('-').filter(|b| b.starts_with(CLOSE))
        {
            self.at = self.source.len() - behind.len() + CLOSE.len();
            self.trims_next = true;
            return Some(self.at - CLOSE.len());
        }
        let behind = rest.strip_prefix(CLOSE)?;
        self.at = self.source.len() - behind.len();
        Some(self.at - CLOSE.len())
    }

    fn token(&mut self, action: usize) -> Result<Token<'a>, Problem> {
        let before = self.at;
        if let Some(at) = self.close() {
            let is_spaced = at > before;
            return Ok(Token { kind: Kind::Close, text: CLOSE, at, is_spaced });
        }
        let unspaced = self.rest().trim_start_matches(is_space);
        self.at = self.source.len() - unspaced.len();
        let is_spaced = self.at > before;
        if let Some(at) = self.close() {
            return Ok(Token { kind: Kind::Close, text: CLOSE, at, is_spaced });
        }
        let at = self.at;
        let (kind, len) = self.measure(action)?;
        self.at += len;
        Ok(Token { kind, text: &self.source[at..self.at], at, is_spaced })
    }

    /// What stands here and how many bytes it takes.
    fn measure(&self, action: usize) -> Result<(Kind, usize), Problem> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else {
            return Err(Problem::new(action, "unclosed action"));
        };
        let second = rest[first.len_utf8()..].chars().next();
        match first {
            '|' => Ok((Kind::Pipe, 1)),
            '(' => Ok((Kind::Left, 1)),
            ')' => Ok((Kind::Right, 1)),
            ',' => Ok((Kind::Comma, 1)),
            '=' => Ok((Kind::Assign, 1)),
            ':' if second == Some('=') => Ok((Kind::Declare, 2)),
            ':' => Err(Problem::new(self.at, "expected :=")),
            '"' | '`' | '\'' => self.quoted(first),
            '.' if !second.is_some_and(|second| second.is_ascii_digit()) => {
                self.word(1, if second.is_some_and(is_word) { Kind::Field } else { Kind::Dot })
            }
            '$' => self.word(1, Kind::Variable),
            '+' | '-' | '.' | '0'..='9' => self.number(),
            _ if is_word(first) => self.word(0, Kind::Identifier),
            _ => {
                let message =
                    format!("unrecognized character in action: U+{:04X} '{first}'", first as u32);
                Err(Problem::new(self.at, message))
            }
        }
    }

    /// A word behind `skipped` bytes. What follows must not look as if it belonged to it.
    fn word(&self, skipped: usize, kind: Kind) -> Result<(Kind, usize), Problem> {
        let behind = &self.rest()[skipped..];
        let len = match kind {
            Kind::Dot => 0,
            _ => behind.find(|char| !is_word(char)).unwrap_or(behind.len()),
        };
        let next = behind[len..].chars().next();
        let ends = |char: char| is_space(char) || matches!(char, '.' | ',' | '|' | ':' | ')' | '(');
        match next {
            Some(char) if kind != Kind::Dot && !ends(char) && !behind[len..].starts_with(CLOSE) => {
                let message = format!("bad character U+{:04X} '{char}'", char as u32);
                Err(Problem::new(self.at, message))
            }
            _ => Ok((kind, skipped + len)),
        }
    }

    fn number(&self) -> Result<(Kind, usize), Problem> {
        let rest = self.rest();
        let belongs = |(at, char): (usize, char)| {
            let is_sign = matches!(char, '+' | '-');
            let behind_exponent = rest[..at].ends_with(['e', 'E', 'p', 'P']);
            is_word(char) || char == '.' || (is_sign && (at == 0 || behind_exponent))
        };
        let end = rest.char_indices().find(|place| !belongs(*place));
        let len = end.map_or(rest.len(), |(at, _)| at);
        let text = &rest[..len];
        if super::parse::number(text).is_none() {
            return Err(Problem::new(self.at, format!("bad number syntax: {text:?}")));
        }
        Ok((Kind::Number, len))
    }

    fn quoted(&self, quote: char) -> Result<(Kind, usize), Problem> {
        let rest = self.rest();
        let (kind, what) = match quote {
            '`' => (Kind::Text, "unterminated raw quoted string"),
            '"' => (Kind::Text, "unterminated quoted string"),
            _ => (Kind::Char, "unterminated character constant"),
        };
        let mut is_escaped = false;
        for (at, char) in rest.char_indices().skip(1) {
            if is_escaped {
                is_escaped = false;
            } else if char == '\\' && quote != '`' {
                is_escaped = true;
            } else if char == quote {
                return Ok((kind, at + 1));
            } else if char == '\n' && quote != '`' {
                break;
            }
        }
        Err(Problem::new(self.at, what))
    }
}
