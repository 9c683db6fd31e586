//! Text to tokens, one at a time.
//!
//! What a character means depends on where it stands: inside braces words are labels, inside
//! brackets they are parts of a duration. The lexer follows the braces and brackets itself, so
//! that its errors come where and in the words that Prometheus has them.

use narthex_model::quote;

use super::{
    ParseError,
    token::{Keyword, Token, TokenKind},
};
use crate::ast::{BinaryOp, ByteRange};

pub(crate) struct Lexer<'a> {
    input: &'a str,
    /// Where the next token is looked for, in bytes.
    at: usize,
    parens_open: u32,
    place: Place,
}

/// What the lexer stands inside of.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Expression,
    Braces,
    /// Brackets, where only durations may stand.
    Brackets {
        has_colon: bool,
        /// Whether a number was seen; until then, letters are words of a duration's calculation.
        has_duration: bool,
    },
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(input: &'a str) -> Self {
        Self { input, at: 0, parens_open: 0, place: Place::Expression }
    }

    /// The next token; at the end of the input, [`TokenKind::EndOfInput`] for ever.
    pub(crate) fn next(&mut self) -> Result<Token, ParseError> {
        self.skip_blanks();
        let start = self.at;
        let Some(char) = self.peek() else {
            self.check_closed()?;
            return Ok(self.token(TokenKind::EndOfInput, start));
        };
        let kind = match self.place {
            Place::Braces => self.lex_inside_braces(char)?,
            Place::Expression => self.lex_expression(char)?,
            Place::Brackets { .. } => self.lex_inside_brackets(char)?,
        };
        Ok(self.token(kind, start))
    }

    /// Skips white space and comments.
    fn skip_blanks(&mut self) {
        loop {
            let rest = &self.input[self.at..];
            let blank = rest.bytes().take_while(|byte| b" \t\r\n".contains(byte)).count();
            self.at += blank;
            if !rest[blank..].starts_with('#') {
                return;
            }
            let comment = &self.input[self.at..];
            self.at += comment.find(['\n', '\r']).unwrap_or(comment.len());
        }
    }

    fn check_closed(&self) -> Result<(), ParseError> {
        let message = match self.place {
            Place::Braces => "unexpected end of input inside braces",
            Place::Brackets { has_duration: false, .. } => {
                "unexpected end of input in duration expression"
            }
            _ if self.parens_open > 0 => "unclosed left parenthesis",
            Place::Brackets { .. } => "unclosed left bracket",
            Place::Expression => return Ok(()),
        };
        Err(self.error(self.at, message))
    }

    fn lex_expression(&mut self, char: char) -> Result<TokenKind, ParseError> {
        let start = self.at;
        if char.is_ascii_digit() || self.is_fraction() {
            return self.lex_number_or_duration();
        }
        if is_letter(char) || char == ':' {
            return Ok(self.lex_word());
        }
        if let Some(operator) = self.lex_operator(char) {
            return Ok(operator);
        }
        self.advance();
        match char {
            '"' | '\'' | '`' => return self.lex_string(char),
            ',' => return Ok(TokenKind::Comma),
            '@' => return Ok(TokenKind::At),
            '(' => {
                self.parens_open += 1;
                return Ok(TokenKind::LeftParen);
            }
            ')' => return self.close_paren(start),
            '{' => {
                self.place = Place::Braces;
                return Ok(TokenKind::LeftBrace);
            }
            '[' => {
                self.place = Place::Brackets { has_colon: false, has_duration: false };
                return Ok(TokenKind::LeftBracket);
            }
            _ => {}
        }
        let message = match (char, self.peek()) {
            ('=', Some('~')) => "unexpected character after '=': '~'".to_owned(),
            ('=', _) => return Ok(TokenKind::Assign),
            ('!', next) => format!("unexpected character after '!': {}", quote_char(next)),
            (']', _) => "unexpected right bracket ']'".to_owned(),
            _ => format!("unexpected character: {}", quote_char(Some(char))),
        };
        Err(self.error(start, message))
    }

    /// An operator that consists of signs, the longest that fits.
    fn lex_operator(&mut self, char: char) -> Option<TokenKind> {
        use BinaryOp as Op;
        let second = self.input[self.at + char.len_utf8()..].chars().next();
        let (op, len) = match (char, second) {
            ('=', Some('=')) => (Op::Equal, 2),
            ('!', Some('=')) => (Op::NotEqual, 2),
            ('<', Some('=')) => (Op::LessEqual, 2),
            ('>', Some('=')) => (Op::GreaterEqual, 2),
            ('<', Some('/')) => (Op::TrimUpper, 2),
            ('>', Some('/')) => (Op::TrimLower, 2),
            ('<', _) => (Op::Less, 1),
            ('>', _) => (Op::Greater, 1),
            ('+', _) => (Op::Add, 1),
            ('-', _) => (Op::Sub, 1),
            ('*', _) => (Op::Mul, 1),
            ('/', _) => (Op::Div, 1),
            ('%', _) => (Op::Mod, 1),
            ('^', _) => (Op::Pow, 1),
            _ => return None,
        };
        self.at += len;
        Some(TokenKind::Operator(op))
    }

    fn lex_inside_braces(&mut self, char: char) -> Result<TokenKind, ParseError> {
        let start = self.at;
        if is_letter(char) {
            self.skip_while(is_letter_or_digit);
            return Ok(TokenKind::Identifier);
        }
        self.advance();
        let message = match (char, self.peek()) {
            ('"' | '\'' | '`', _) => return self.lex_string(char),
            (',', _) => return Ok(TokenKind::Comma),
            ('=', Some('~')) => return Ok(self.take(TokenKind::MatchRegex)),
            ('=', _) => return Ok(TokenKind::Assign),
            ('!', Some('~')) => return Ok(self.take(TokenKind::MatchNotRegex)),
            ('!', Some('=')) => return Ok(self.take(TokenKind::Operator(BinaryOp::NotEqual))),
            ('}', _) => {
                self.place = Place::Expression;
                return Ok(TokenKind::RightBrace);
            }
            ('!', next) => {
                format!("unexpected character after '!' inside braces: {}", quote_char(next))
            }
            ('{', _) => "unexpected left brace '{'".to_owned(),
            _ => format!("unexpected character inside braces: {}", quote_char(Some(char))),
        };
        Err(self.error(start, message))
    }

    fn lex_inside_brackets(&mut self, char: char) -> Result<TokenKind, ParseError> {
        let Place::Brackets { has_colon, has_duration } = self.place else {
            unreachable!("BUG: not inside brackets");
        };
        let start = self.at;
        if char.is_ascii_digit() || self.is_fraction() {
            self.place = Place::Brackets { has_colon, has_duration: true };
            return self.lex_number_or_duration();
        }
        if "smr".contains(char.to_ascii_lowercase()) {
            self.skip_while(is_letter);
            let kind = TokenKind::from_word(&self.input[start..self.at]);
            if matches!(kind, TokenKind::Preprocessor(_)) {
                self.place = Place::Brackets { has_colon, has_duration: true };
                return Ok(kind);
            }
            self.at = start;
        }
        if "+-*/%^".contains(char) {
            return Ok(self.lex_operator(char).expect("each of these is an operator"));
        }
        self.advance();
        match char {
            '(' => {
                self.parens_open += 1;
                Ok(TokenKind::LeftParen)
            }
            ')' => self.close_paren(start),
            ',' => Ok(TokenKind::Comma),
            ']' => {
                self.place = Place::Expression;
                Ok(TokenKind::RightBracket)
            }
            ':' if has_duration && !has_colon => {
                self.place = Place::Brackets { has_colon: true, has_duration };
                Ok(TokenKind::Colon)
            }
            _ => Err(self.error_inside_brackets(char, start, has_duration)),
        }
    }

    fn error_inside_brackets(&self, char: char, start: usize, has_duration: bool) -> ParseError {
        let quoted = quote_char(Some(char));
        let message = match char {
            ':' if has_duration => "unexpected colon ':'".to_owned(),
            ':' => "unexpected colon before duration in duration expression".to_owned(),
            '[' if has_duration => "unexpected left bracket '['".to_owned(),
            _ if has_duration && is_letter(char) => {
                format!("unexpected character: {quoted}, expected ':'")
            }
            _ if has_duration => format!("unexpected character: {quoted}"),
            _ => format!("unexpected character in duration expression: {quoted}"),
        };
        self.error(start, message)
    }

    fn close_paren(&mut self, start: usize) -> Result<TokenKind, ParseError> {
        match self.parens_open.checked_sub(1) {
            Some(open) => self.parens_open = open,
            None => return Err(self.error(start, "unexpected right parenthesis ')'")),
        }
        Ok(TokenKind::RightParen)
    }

    fn lex_word(&mut self) -> TokenKind {
        let start = self.at;
        self.skip_while(|char| is_letter_or_digit(char) || char == ':');
        let kind = TokenKind::from_word(&self.input[start..self.at]);
        let is_fill = matches!(
            kind,
            TokenKind::Keyword(Keyword::Fill | Keyword::FillLeft | Keyword::FillRight)
        );
        // Metrics may be called `fill`: it is a modifier only before a parenthesis.
        if is_fill && !self.input[self.at..].trim_start().starts_with('(') {
            return TokenKind::Identifier;
        }
        kind
    }

    /// A string whose opening quote was consumed. Escapes are checked here, where they stand, and
    /// replaced by the parser.
    fn lex_string(&mut self, quote: char) -> Result<TokenKind, ParseError> {
        let start = self.at - 1;
        loop {
            match self.advance() {
                Some(char) if char == quote => return Ok(TokenKind::String),
                Some('\\') if quote != '`' => self.check_escape(start, quote)?,
                Some('\n') if quote != '`' => {
                    return Err(self.error(start, "unterminated quoted string"));
                }
                Some(_) => {}
                None if quote == '`' => return Err(self.error(start, "unterminated raw string")),
                None => return Err(self.error(start, "unterminated quoted string")),
            }
        }
    }

    /// Checks the escape sequence whose backslash was consumed.
    fn check_escape(&mut self, start: usize, quote: char) -> Result<(), ParseError> {
        let (digits, base, max) = match self.advance() {
            Some('a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\') => return Ok(()),
            Some(char) if char == quote => return Ok(()),
            Some('0'..='7') => {
                self.at -= 1;
                (3, 8, 255)
            }
            Some('x') => (2, 16, 255),
            Some('u') => (4, 16, u32::from(char::MAX)),
            Some('U') => (8, 16, u32::from(char::MAX)),
            Some(char) => {
                let message = format!("unknown escape sequence {}", CodePoint(char));
                return Err(self.error(start, message));
            }
            None => return Err(self.error(start, "escape sequence not terminated")),
        };
        let mut value: u32 = 0;
        for _ in 0..digits {
            let Some(char) = self.advance() else {
                return Err(self.error(start, "escape sequence not terminated"));
            };
            let Some(digit) = char.to_digit(base) else {
                let message = format!("illegal character {} in escape sequence", CodePoint(char));
                return Err(self.error(start, message));
            };
            value = value.wrapping_mul(base).wrapping_add(digit);
        }
        if value > max || (0xd800..0xe000).contains(&value) {
            let message = "escape sequence is an invalid Unicode code point";
            return Err(self.error(start, message));
        }
        Ok(())
    }

    fn lex_number_or_duration(&mut self) -> Result<TokenKind, ParseError> {
        let start = self.at;
        if self.scan_number() {
            return Ok(TokenKind::Number);
        }
        if self.scan_rest_of_duration() {
            return Ok(TokenKind::Duration);
        }
        // The character that broke the duration is shown, as far as it was read.
        let seen = quote(&self.input[start..self.at]);
        Err(self.error(start, format!("bad number or duration syntax: {seen}")))
    }

    /// Scans what may be a number; whether it is one shows when it is read.
    fn scan_number(&mut self) -> bool {
        let is_hex = self.accept("0") && self.accept("xX");
        if is_hex {
            self.accept("_");
        }
        let digits = if is_hex { "0123456789abcdefABCDEF" } else { "0123456789" };
        self.accept(".");
        let mut has_dot = false;
        let mut has_exponent = false;
        self.accept(digits);
        loop {
            if self.peek_in(digits) {
                self.accept(digits);
            } else if self.accept(".") {
                if has_dot || is_hex || self.accept("_.") {
                    return false;
                }
                has_dot = true;
            } else if self.accept("eE") {
                if has_exponent {
                    return false;
                }
                has_exponent = true;
                self.accept("+-");
                if self.accept("._eE") || self.peek().is_none() {
                    return false;
                }
            } else if self.accept("_") {
                if self.accept("._eE") || self.peek().is_none() {
                    return false;
                }
            } else {
                break;
            }
        }
        !self.peek().is_some_and(is_letter_or_digit)
    }

    /// Scans the units and numbers behind the first number of a duration.
    fn scan_rest_of_duration(&mut self) -> bool {
        if !self.accept("smhdwy") {
            return false;
        }
        self.accept("s");
        while self.accept("0123456789") {
            while self.accept("0123456789") {}
            if !self.accept("smhdw") {
                return false;
            }
            self.accept("s");
        }
        let is_whole = !self.peek().is_some_and(is_letter_or_digit);
        if !is_whole {
            self.advance();
        }
        is_whole
    }

    /// Whether a number that begins with its point stands here.
    fn is_fraction(&self) -> bool {
        let mut chars = self.input[self.at..].chars();
        chars.next() == Some('.') && chars.next().is_some_and(|char| char.is_ascii_digit())
    }

    fn peek(&self) -> Option<char> {
        self.input[self.at..].chars().next()
    }

    fn peek_in(&self, chars: &str) -> bool {
        self.peek().is_some_and(|char| chars.contains(char))
    }

    fn advance(&mut self) -> Option<char> {
        let char = self.peek()?;
        self.at += char.len_utf8();
        Some(char)
    }

    fn accept(&mut self, chars: &str) -> bool {
        let found = self.peek_in(chars);
        if found {
            self.advance();
        }
        found
    }

    fn take(&mut self, kind: TokenKind) -> TokenKind {
        self.advance();
        kind
    }

    fn skip_while(&mut self, belongs: impl Fn(char) -> bool) {
        while self.peek().is_some_and(&belongs) {
            self.advance();
        }
    }

    fn token(&self, kind: TokenKind, start: usize) -> Token {
        Token { kind, range: ByteRange::new(start as u32, self.at as u32) }
    }

    fn error(&self, start: usize, message: impl Into<String>) -> ParseError {
        let range = ByteRange::new(start as u32, self.input.len() as u32);
        ParseError::new(self.input, range, message)
    }
}

fn is_letter(char: char) -> bool {
    char == '_' || char.is_ascii_alphabetic()
}

fn is_letter_or_digit(char: char) -> bool {
    is_letter(char) || char.is_ascii_digit()
}

/// A character in single quotes as Go prints it with `%q`; the end of input is -1, which Go shows
/// as the replacement character.
fn quote_char(char: Option<char>) -> String {
    match char.unwrap_or(char::REPLACEMENT_CHARACTER) {
        '\'' => "'\\''".to_owned(),
        '"' => "'\"'".to_owned(),
        char => {
            let text = quote(char.encode_utf8(&mut [0; 4])).to_string();
            format!("'{}'", &text[1..text.len() - 1])
        }
    }
}

/// A character as Go prints it with `%#U`: `U+0071 'q'`.
struct CodePoint(char);

impl std::fmt::Display for CodePoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "U+{:04X}", u32::from(self.0))?;
        if self.0.is_control() { Ok(()) } else { write!(f, " '{}'", self.0) }
    }
}
