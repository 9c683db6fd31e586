//! Pieces to a tree, checked as Go checks it: functions and variables must be known.

use std::{collections::BTreeMap, ops::Range};

use super::{
    Functions, Value, builtin,
    lex::{self, Kind, Piece, Token},
};

/// The deepest nesting of blocks and parentheses.
const DEPTH_MAX: usize = 100;

/// What is wrong, and where.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) at: usize,
    pub(crate) message: String,
}

impl Problem {
    pub(crate) fn new(at: usize, message: impl Into<String>) -> Self {
        Self { at, message: message.into() }
    }
}

/// A part of a template.
#[derive(Debug, Clone)]
pub(crate) enum Node {
    Text(String),
    Action(Pipeline),
    If(Block),
    With(Block),
    Range(Block),
    /// Executes what has this name on the value of the pipeline.
    Template {
        name: String,
        at: Range<usize>,
        pipeline: Option<Pipeline>,
    },
    Break,
    Continue,
}

/// A block with its condition.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    pub(crate) pipeline: Pipeline,
    pub(crate) body: Vec<Node>,
    pub(crate) otherwise: Vec<Node>,
}

#[derive(Debug, Clone)]
pub(crate) struct Pipeline {
    /// Variables that get the value.
    pub(crate) variables: Vec<String>,
    /// `=` instead of `:=`.
    pub(crate) assigns: bool,
    /// Each but the first gets the value of the one before it as its last argument.
    pub(crate) commands: Vec<Command>,
}

/// A value, or something to call and its arguments.
#[derive(Debug, Clone)]
pub(crate) struct Command {
    pub(crate) operands: Vec<Operand>,
}

#[derive(Debug, Clone)]
pub(crate) struct Operand {
    /// Its text in the source.
    pub(crate) at: Range<usize>,
    pub(crate) kind: OperandKind,
    /// Fields that are asked of the value, one of the other.
    pub(crate) fields: Vec<String>,
}

#[derive(Debug, Clone)]
pub(crate) enum OperandKind {
    Dot,
    Nil,
    Constant(Value),
    Variable(String),
    Function(String),
    Pipeline(Box<Pipeline>),
}

/// A parsed template.
pub(crate) struct Parsed {
    pub(crate) body: Vec<Node>,
    pub(crate) defined: BTreeMap<String, Vec<Node>>,
}

/// What ended a list of nodes.
enum Stop {
    End,
    Else,
    /// `else if`, `else with`: the word is not taken yet.
    ElseBlock,
    /// The end of the template.
    Source,
}

/// Parses a whole template.
pub(crate) fn parse(source: &str, functions: &dyn Functions) -> Result<Parsed, Problem> {
    let mut parser = Parser {
        pieces: lex::pieces(source)?.into_iter(),
        end: source.len(),
        action: Vec::new(),
        next: 0,
        functions,
        variables: vec!["$".to_owned()],
        depth: 0,
        loops: 0,
        defined: BTreeMap::new(),
    };
    let (body, stop) = parser.list()?;
    match stop {
        Stop::Source => Ok(Parsed { body, defined: parser.defined }),
        Stop::End => Err(parser.unexpected_word("end")),
        Stop::Else | Stop::ElseBlock => Err(parser.unexpected_word("else")),
    }
}

struct Parser<'a> {
    pieces: std::vec::IntoIter<Piece<'a>>,
    /// Bytes of the source.
    end: usize,
    /// The tokens of the action at hand, the last of which closes it.
    action: Vec<Token<'a>>,
    next: usize,
    functions: &'a dyn Functions,
    /// Those in scope; inner ones last.
    variables: Vec<String>,
    depth: usize,
    /// Loops around what is being parsed.
    loops: usize,
    defined: BTreeMap<String, Vec<Node>>,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Token<'a> {
        self.action[self.next.min(self.action.len() - 1)]
    }

    fn advance(&mut self) -> Token<'a> {
        let token = self.peek();
        self.next += 1;
        token
    }

    fn is_word(&self, word: &str) -> bool {
        let token = self.peek();
        token.kind == Kind::Identifier && token.text == word
    }

    fn unexpected(&self, token: Token<'_>, context: &str) -> Problem {
        Problem::new(token.at, format!("unexpected {:?} in {context}", token.text))
    }

    fn unexpected_word(&self, word: &str) -> Problem {
        let at = self.action.first().map_or(self.end, |token| token.at);
        Problem::new(at, format!("unexpected {{{{{word}}}}}"))
    }

    fn deeper(&mut self, at: usize) -> Result<(), Problem> {
        self.depth += 1;
        match self.depth > DEPTH_MAX {
            true => Err(Problem::new(at, format!("nested deeper than {DEPTH_MAX}"))),
            false => Ok(()),
        }
    }

    /// Nodes up to an `end` or `else`, which is taken, or to the end of the source.
    fn list(&mut self) -> Result<(Vec<Node>, Stop), Problem> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            match piece {
                Piece::Text(text) => nodes.push(Node::Text(text.to_owned())),
                Piece::Action(tokens) => {
                    self.action = tokens;
                    self.next = 0;
                    if self.is_word("end") {
                        self.next += 1;
                        self.close("end")?;
                        return Ok((nodes, Stop::End));
                    }
                    if self.is_word("else") {
                        self.next += 1;
                        if self.is_word("if") || self.is_word("with") {
                            return Ok((nodes, Stop::ElseBlock));
                        }
                        self.close("else")?;
                        return Ok((nodes, Stop::Else));
                    }
                    nodes.extend(self.node()?);
                }
            }
        }
        Ok((nodes, Stop::Source))
    }

    fn close(&mut self, context: &str) -> Result<(), Problem> {
        let token = self.advance();
        match token.kind {
            Kind::Close => Ok(()),
            _ => Err(self.unexpected(token, context)),
        }
    }

    /// The node that begins with the action at hand; `None` for a definition.
    fn node(&mut self) -> Result<Option<Node>, Problem> {
        let token = self.peek();
        let word = if token.kind == Kind::Identifier { token.text } else { "" };
        match word {
            "if" | "with" | "range" => self.block().map(Some),
            "template" => self.template().map(Some),
            "define" => self.define().map(|()| None),
            "block" => self.named_block().map(Some),
            "break" | "continue" => {
                self.next += 1;
                self.close(word)?;
                if self.loops == 0 {
                    return Err(Problem::new(
                        token.at,
                        format!("{{{{{word}}}}} outside {{{{range}}}}"),
                    ));
                }
                Ok(Some(if word == "break" { Node::Break } else { Node::Continue }))
            }
            _ => {
                let pipeline = self.pipeline("command", Kind::Close)?;
                Ok(Some(Node::Action(pipeline)))
            }
        }
    }

    /// `if`, `with` and `range`, with what belongs to them.
    fn block(&mut self) -> Result<Node, Problem> {
        let token = self.advance();
        self.deeper(token.at)?;
        let scope = self.variables.len();
        let pipeline = self.pipeline(token.text, Kind::Close)?;
        let is_loop = token.text == "range";
        self.loops += usize::from(is_loop);
        let (body, stop) = self.list()?;
        self.loops -= usize::from(is_loop);
        let otherwise = match stop {
            Stop::End => Vec::new(),
            // The inner block takes the `end` of both.
            Stop::ElseBlock if !is_loop => vec![self.block()?],
            Stop::Else => match self.list()? {
                (nodes, Stop::End) => nodes,
                (_, Stop::Source) => return Err(self.cut_short()),
                (_, Stop::Else | Stop::ElseBlock) => return Err(self.unexpected_word("else")),
            },
            Stop::ElseBlock => return Err(self.unexpected(self.peek(), "else")),
            Stop::Source => return Err(self.cut_short()),
        };
        self.variables.truncate(scope);
        self.depth -= 1;
        let block = Block { pipeline, body, otherwise };
        Ok(match token.text {
            "if" => Node::If(block),
            "with" => Node::With(block),
            _ => Node::Range(block),
        })
    }

    fn cut_short(&self) -> Problem {
        Problem::new(self.end, "unexpected EOF")
    }

    /// `{{template "name" pipeline}}`
    fn template(&mut self) -> Result<Node, Problem> {
        self.next += 1;
        let (name, at) = self.template_name("template clause")?;
        let pipeline = match self.peek().kind {
            Kind::Close => None,
            _ => Some(self.pipeline("template clause", Kind::Close)?),
        };
        Ok(Node::Template { name, at, pipeline })
    }

    /// `{{define "name"}} … {{end}}`
    fn define(&mut self) -> Result<(), Problem> {
        let token = self.advance();
        if self.depth > 0 {
            return Err(self.unexpected(token, "command"));
        }
        let (name, _) = self.template_name("define clause")?;
        self.close("define clause")?;
        self.named_body(name, token.at)
    }

    /// `{{block "name" pipeline}} … {{end}}`: a definition that is executed where it stands.
    fn named_block(&mut self) -> Result<Node, Problem> {
        let token = self.advance();
        let (name, at) = self.template_name("block clause")?;
        let pipeline = self.pipeline("block clause", Kind::Close)?;
        self.named_body(name.clone(), token.at)?;
        Ok(Node::Template { name, at, pipeline: Some(pipeline) })
    }

    fn named_body(&mut self, name: String, at: usize) -> Result<(), Problem> {
        self.deeper(at)?;
        let outside = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let loops = std::mem::take(&mut self.loops);
        let (body, stop) = self.list()?;
        match stop {
            Stop::End => {}
            Stop::Source => return Err(self.cut_short()),
            Stop::Else | Stop::ElseBlock => return Err(self.unexpected_word("else")),
        }
        self.loops = loops;
        self.variables = outside;
        self.depth -= 1;
        self.defined.insert(name, body);
        Ok(())
    }

    fn template_name(&mut self, context: &str) -> Result<(String, Range<usize>), Problem> {
        let token = self.advance();
        if token.kind != Kind::Text {
            return Err(self.unexpected(token, context));
        }
        let name = unquoted(token)?;
        Ok((name, token.at..token.at + token.text.len()))
    }

    /// A pipeline up to `until`, which is taken.
    fn pipeline(&mut self, context: &str, until: Kind) -> Result<Pipeline, Problem> {
        let start = self.peek().at;
        let (variables, assigns) = self.declaration(context)?;
        let mut commands = Vec::new();
        loop {
            let command = self.command()?;
            let token = self.advance();
            let is_empty = command.operands.is_empty();
            if is_empty && (token.kind == Kind::Pipe || !commands.is_empty()) {
                return Err(Problem::new(token.at, format!("missing value for {context}")));
            }
            if !is_empty {
                check_stage(&command, commands.len())?;
                commands.push(command);
            }
            match token.kind {
                Kind::Pipe => {}
                kind if kind == until => break,
                _ => return Err(self.unexpected(token, context)),
            }
        }
        if commands.is_empty() {
            return Err(Problem::new(start, format!("missing value for {context}")));
        }
        if !assigns {
            self.variables.extend(variables.iter().cloned());
        }
        Ok(Pipeline { variables, assigns, commands })
    }

    /// `$a :=`, `$a =` and, in front of what a loop ranges over, `$i, $e :=`.
    fn declaration(&mut self, context: &str) -> Result<(Vec<String>, bool), Problem> {
        let start = self.next;
        let mut names = Vec::new();
        while self.peek().kind == Kind::Variable {
            names.push(self.advance().text.to_owned());
            let token = self.advance();
            match token.kind {
                Kind::Declare => return Ok((names, false)),
                Kind::Assign => {
                    names.iter().try_for_each(|name| self.check_known(name, token.at))?;
                    return Ok((names, true));
                }
                Kind::Comma if context == "range" && names.len() == 1 => {}
                Kind::Comma => {
                    return Err(Problem::new(
                        token.at,
                        format!("too many declarations in {context}"),
                    ));
                }
                _ => break,
            }
        }
        // No declaration: the variable is a value.
        self.next = start;
        Ok((Vec::new(), false))
    }

    fn check_known(&self, name: &str, at: usize) -> Result<(), Problem> {
        match self.variables.iter().any(|known| known == name) {
            true => Ok(()),
            false => Err(Problem::new(at, format!("undefined variable {name:?}"))),
        }
    }

    fn command(&mut self) -> Result<Command, Problem> {
        let mut operands = Vec::new();
        loop {
            let token = self.peek();
            if !operands.is_empty() && !token.is_spaced {
                // What is not separated must end the command.
                let ends = matches!(token.kind, Kind::Pipe | Kind::Right | Kind::Close);
                if !ends {
                    return Err(self.unexpected(token, "operand"));
                }
            }
            match self.operand()? {
                Some(operand) => operands.push(operand),
                None => return Ok(Command { operands }),
            }
        }
    }

    fn operand(&mut self) -> Result<Option<Operand>, Problem> {
        let token = self.peek();
        let mut fields = Vec::new();
        let kind = match token.kind {
            Kind::Dot => OperandKind::Dot,
            Kind::Field => {
                fields.push(token.text[1..].to_owned());
                OperandKind::Dot
            }
            Kind::Variable => {
                self.check_known(token.text, token.at)?;
                OperandKind::Variable(token.text.to_owned())
            }
            Kind::Identifier => self.identifier(token)?,
            Kind::Number | Kind::Char | Kind::Text => OperandKind::Constant(constant(token)?),
            Kind::Left => {
                self.next += 1;
                self.deeper(token.at)?;
                let inner = self.pipeline("parenthesized pipeline", Kind::Right)?;
                self.depth -= 1;
                // The parenthesis was taken with the pipeline; what follows is as for others.
                self.next -= 1;
                OperandKind::Pipeline(Box::new(inner))
            }
            _ => return Ok(None),
        };
        let last = self.advance();
        let mut end = last.at + last.text.len();
        let is_chained = |token: Token<'_>| token.kind == Kind::Field && !token.is_spaced;
        while is_chained(self.peek()) {
            let field = self.advance();
            let is_constant = matches!(kind, OperandKind::Constant(_) | OperandKind::Nil);
            if is_constant || (matches!(kind, OperandKind::Dot) && fields.is_empty()) {
                let message = format!("unexpected . after term {:?}", token.text);
                return Err(Problem::new(field.at, message));
            }
            fields.push(field.text[1..].to_owned());
            end = field.at + field.text.len();
        }
        Ok(Some(Operand { at: token.at..end, kind, fields }))
    }

    fn identifier(&self, token: Token<'_>) -> Result<OperandKind, Problem> {
        Ok(match token.text {
            "true" => OperandKind::Constant(Value::Bool(true)),
            "false" => OperandKind::Constant(Value::Bool(false)),
            "nil" => OperandKind::Nil,
            name if builtin::is_known(name) || self.functions.has(name) => {
                OperandKind::Function(name.to_owned())
            }
            name => {
                return Err(Problem::new(token.at, format!("function {name:?} not defined")));
            }
        })
    }
}

/// Only what can take an argument may stand behind a `|`.
fn check_stage(command: &Command, before: usize) -> Result<(), Problem> {
    let first = &command.operands[0];
    let takes_arguments = match first.kind {
        OperandKind::Constant(_) | OperandKind::Nil => false,
        OperandKind::Dot => !first.fields.is_empty(),
        OperandKind::Variable(_) | OperandKind::Function(_) | OperandKind::Pipeline(_) => true,
    };
    if before > 0 && !takes_arguments {
        let message = format!("non executable command in pipeline stage {}", before + 1);
        return Err(Problem::new(first.at.start, message));
    }
    Ok(())
}

fn constant(token: Token<'_>) -> Result<Value, Problem> {
    match token.kind {
        Kind::Number => number(token.text)
            .ok_or_else(|| Problem::new(token.at, format!("bad number syntax: {:?}", token.text))),
        Kind::Char => {
            let text = unquoted(token)?;
            let mut chars = text.chars();
            match (chars.next(), chars.next()) {
                (Some(char), None) => Ok(Value::Int(i64::from(u32::from(char)))),
                _ => Err(Problem::new(
                    token.at,
                    format!("malformed character constant: {}", token.text),
                )),
            }
        }
        _ => unquoted(token).map(Value::text),
    }
}

/// A number as Go writes it: with underscores, in hexadecimal, octal or binary digits.
pub(crate) fn number(text: &str) -> Option<Value> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let plain = digits.replace('_', "");
    if !plain.starts_with(|char: char| char.is_ascii_digit() || char == '.') {
        return None;
    }
    let radix = match plain.get(..2).map(str::to_ascii_lowercase).as_deref() {
        Some("0x") => Some(16),
        Some("0o") => Some(8),
        Some("0b") => Some(2),
        _ => None,
    };
    if let Some(radix) = radix {
        return i64::from_str_radix(&plain[2..], radix).ok().map(|value| Value::Int(sign * value));
    }
    if let Ok(value) = plain.parse::<i64>() {
        return Some(Value::Int(sign * value));
    }
    let value: f64 = plain.parse().ok()?;
    value.is_finite().then_some(Value::Float(sign as f64 * value))
}

fn unquoted(token: Token<'_>) -> Result<String, Problem> {
    let inner = &token.text[1..token.text.len() - 1];
    if token.text.starts_with('`') {
        return Ok(inner.replace('\r', ""));
    }
    unescaped(inner).ok_or_else(|| Problem::new(token.at, "invalid syntax"))
}

/// Replaces Go's escapes. Bytes beyond ASCII must make UTF-8.
fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        if char != '\\' {
            let mut buffer = [0; 4];
            bytes.extend_from_slice(char.encode_utf8(&mut buffer).as_bytes());
            continue;
        }
        let escape = chars.next()?;
        let plain = match escape {
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            'v' => 11,
            '\\' | '\'' | '"' => u8::try_from(escape).ok()?,
            'x' => u8::try_from(digits(&mut chars, 2, 16, 0)?).ok()?,
            '0'..='7' => {
                let first = escape.to_digit(8)?;
                u8::try_from(digits(&mut chars, 2, 8, first)?).ok()?
            }
            'u' | 'U' => {
                let count = if escape == 'u' { 4 } else { 8 };
                let char = char::from_u32(digits(&mut chars, count, 16, 0)?)?;
                let mut buffer = [0; 4];
                bytes.extend_from_slice(char.encode_utf8(&mut buffer).as_bytes());
                continue;
            }
            _ => return None,
        };
        bytes.push(plain);
    }
    String::from_utf8(bytes).ok()
}

/// The number that `count` more digits make of `value`.
fn digits(chars: &mut std::str::Chars<'_>, count: usize, radix: u32, value: u32) -> Option<u32> {
    (0..count).try_fold(value, |value, _| {
        value.checked_mul(radix)?.checked_add(chars.next()?.to_digit(radix)?)
    })
}
