//! A tree and a value to a text.

use std::{
    fmt::{self, Display, Write as _},
    ops::Range,
};

use super::{
    Functions, Template, Value, builtin,
    parse::{Block, Command, Node, Operand, OperandKind, Pipeline},
    time,
};

/// Nodes that one execution may visit, each round of a loop counting again.
const STEPS_MAX: usize = 1_000_000;
/// Bytes of the text, and of each text that functions make.
pub(crate) const OUTPUT_BYTES_MAX: usize = 1 << 20;
/// How deep blocks and templates may be inside of each other; a template may call itself for ever.
const NESTING_MAX: usize = 250;
/// Bytes, or elements, of arguments that count as one step.
const STEP_ARGUMENTS: usize = 64;

/// What went wrong, and which part of the source was being executed.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) message: String,
}

impl Problem {
    fn at(range: &Range<usize>, message: impl Into<String>) -> Self {
        Self { from: range.start, to: range.end, message: message.into() }
    }
}

/// Where an execution goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

/// Executes `template` on `data`.
pub(crate) fn execute(
    template: &Template,
    data: Value,
    functions: &dyn Functions,
) -> Result<String, Problem> {
    let variables = vec![("$", data.clone())];
    let mut execution =
        Execution { template, functions, variables, text: String::new(), steps: 0, depth: 0 };
    execution.list(&template.body, &data)?;
    Ok(execution.text)
}

struct Execution<'a> {
    template: &'a Template,
    functions: &'a dyn Functions,
    /// Those in scope; inner ones last.
    variables: Vec<(&'a str, Value)>,
    text: String,
    steps: usize,
    depth: usize,
}

impl<'a> Execution<'a> {
    fn list(&mut self, nodes: &'a [Node], dot: &Value) -> Result<Flow, Problem> {
        if self.depth == NESTING_MAX {
            let message = format!("exceeded maximum template depth ({NESTING_MAX})");
            return Err(Problem::at(&(0..0), message));
        }
        self.depth += 1;
        let mut flow = Flow::Next;
        for node in nodes {
            flow = self.node(node, dot)?;
            if flow != Flow::Next {
                break;
            }
        }
        self.depth -= 1;
        Ok(flow)
    }

    fn node(&mut self, node: &'a Node, dot: &Value) -> Result<Flow, Problem> {
        match node {
            Node::Text(text) => self.print(text, &(0..0))?,
            Node::Action(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                if pipeline.variables.is_empty() {
                    self.print(&value, &range_of(pipeline))?;
                }
            }
            Node::If(block) => return self.conditional(block, dot, false),
            Node::With(block) => return self.conditional(block, dot, true),
            Node::Range(block) => return self.range(block, dot),
            Node::Template { name, at, pipeline } => {
                let value = match pipeline {
                    Some(pipeline) => self.pipeline(pipeline, dot)?,
                    None => Value::Nil,
                };
                self.call_template(name, at, &value)?;
            }
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn step(&mut self, at: &Range<usize>) -> Result<(), Problem> {
        self.steps(1, at)
    }

    fn steps(&mut self, count: usize, at: &Range<usize>) -> Result<(), Problem> {
        self.steps = self.steps.saturating_add(count);
        match self.steps > STEPS_MAX {
            true => Err(Problem::at(at, format!("more than {STEPS_MAX} steps"))),
            false => Ok(()),
        }
    }

    fn print(&mut self, value: &dyn Display, at: &Range<usize>) -> Result<(), Problem> {
        self.step(at)?;
        write!(Bounded(&mut self.text), "{value}")
            .map_err(|_| Problem::at(at, format!("text is longer than {OUTPUT_BYTES_MAX} bytes")))
    }

    /// `if`, and `with`, for whose body the value is the dot.
    fn conditional(
        &mut self,
        block: &'a Block,
        dot: &Value,
        moves_dot: bool,
    ) -> Result<Flow, Problem> {
        let scope = self.variables.len();
        let value = self.pipeline(&block.pipeline, dot)?;
        let flow = if value.is_true() {
            self.list(&block.body, if moves_dot { &value } else { dot })
        } else {
            self.list(&block.otherwise, dot)
        };
        self.variables.truncate(scope);
        flow
    }

    fn range(&mut self, block: &'a Block, dot: &Value) -> Result<Flow, Problem> {
        let scope = self.variables.len();
        let over = self.value(&block.pipeline, dot)?;
        let at = range_of(&block.pipeline);
        let items = items(&over)
            .ok_or_else(|| Problem::at(&at, format!("range can't iterate over {over}")))?;
        if items.is_empty() {
            return self.list(&block.otherwise, dot);
        }
        // All at once: who leaves a long loop early has made its items nevertheless.
        self.steps(items.len(), &at)?;
        for (key, item) in items {
            match block.pipeline.variables.as_slice() {
                [] => {}
                [only] => self.set(only, item.clone(), block.pipeline.assigns),
                [first, second, ..] => {
                    self.set(first, key, block.pipeline.assigns);
                    self.set(second, item.clone(), block.pipeline.assigns);
                }
            }
            let flow = self.list(&block.body, &item)?;
            self.variables.truncate(scope);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::Next)
    }

    fn call_template(&mut self, name: &str, at: &Range<usize>, dot: &Value) -> Result<(), Problem> {
        let Some(body) = self.template.defined.get(name) else {
            return Err(Problem::at(at, format!("template {name:?} not defined")));
        };
        let outside = std::mem::replace(&mut self.variables, vec![("$", dot.clone())]);
        self.list(body, dot)?;
        self.variables = outside;
        Ok(())
    }

    /// The value of a pipeline, which its variables get.
    fn pipeline(&mut self, pipeline: &'a Pipeline, dot: &Value) -> Result<Value, Problem> {
        let value = self.value(pipeline, dot)?;
        for name in &pipeline.variables {
            self.set(name, value.clone(), pipeline.assigns);
        }
        Ok(value)
    }

    fn value(&mut self, pipeline: &'a Pipeline, dot: &Value) -> Result<Value, Problem> {
        let mut value = None;
        for command in &pipeline.commands {
            value = Some(self.command(command, dot, value)?);
        }
        Ok(value.expect("a pipeline has a command"))
    }

    /// Gives a variable of an outer block another value, or makes one of this block.
    fn set(&mut self, name: &'a str, value: Value, assigns: bool) {
        let mut known = self.variables.iter_mut().rev();
        if assigns && let Some((_, variable)) = known.find(|(known, _)| *known == name) {
            *variable = value;
            return;
        }
        self.variables.push((name, value));
    }

    fn command(
        &mut self,
        command: &'a Command,
        dot: &Value,
        piped: Option<Value>,
    ) -> Result<Value, Problem> {
        let first = &command.operands[0];
        self.step(&first.at)?;
        let arguments = &command.operands[1..];
        match &first.kind {
            OperandKind::Function(name) if first.fields.is_empty() => {
                self.function(name, command, dot, piped)
            }
            OperandKind::Nil => Err(Problem::at(&first.at, "nil is not a command")),
            _ if arguments.is_empty() && piped.is_none() => self.operand(first, dot),
            _ => self.method(command, dot, piped),
        }
    }

    fn function(
        &mut self,
        name: &str,
        command: &'a Command,
        dot: &Value,
        piped: Option<Value>,
    ) -> Result<Value, Problem> {
        let at = &command.operands[0].at;
        if matches!(name, "and" | "or") {
            return self.short_circuit(name, command, dot, piped);
        }
        let mut args = Vec::with_capacity(command.operands.len());
        for operand in &command.operands[1..] {
            args.push(self.operand(operand, dot)?);
        }
        args.extend(piped);
        self.steps(args.iter().map(size).sum::<usize>() / STEP_ARGUMENTS, at)?;
        let called = match builtin::is_known(name) {
            true => builtin::call(name, &args),
            false => self.functions.call(name, &args),
        };
        called.map_err(|message| Problem::at(at, format!("error calling {name}: {message}")))
    }

    /// `and` and `or` look at no more arguments than they need.
    fn short_circuit(
        &mut self,
        name: &str,
        command: &'a Command,
        dot: &Value,
        piped: Option<Value>,
    ) -> Result<Value, Problem> {
        let mut value = None;
        for operand in &command.operands[1..] {
            let found = self.operand(operand, dot)?;
            if found.is_true() == (name == "or") {
                return Ok(found);
            }
            value = Some(found);
        }
        let message = format!("wrong number of args for {name}: want at least 1 got 0");
        piped.or(value).ok_or_else(|| Problem::at(&command.operands[0].at, message))
    }

    /// The last field of the first operand, called with arguments.
    fn method(
        &mut self,
        command: &'a Command,
        dot: &Value,
        piped: Option<Value>,
    ) -> Result<Value, Problem> {
        let first = &command.operands[0];
        let Some((name, fields)) = first.fields.split_last() else {
            return Err(Problem::at(&first.at, "can't give argument to non-function"));
        };
        let mut receiver = self.subject(first, dot)?;
        for field in fields {
            receiver = field_of(&receiver, field, &first.at)?;
        }
        let mut args = Vec::new();
        for operand in &command.operands[1..] {
            args.push(self.operand(operand, dot)?);
        }
        args.extend(piped);
        match (&receiver, name.as_str(), args.as_slice()) {
            (Value::Time(time), "Format", [Value::Text(layout)]) => {
                Ok(Value::text(time::formatted(*time, layout)))
            }
            _ => {
                let kind = receiver.type_name();
                let message = format!("{name} is not a method of {kind} but has arguments");
                Err(Problem::at(&first.at, message))
            }
        }
    }

    fn operand(&mut self, operand: &'a Operand, dot: &Value) -> Result<Value, Problem> {
        let mut value = self.subject(operand, dot)?;
        for field in &operand.fields {
            value = field_of(&value, field, &operand.at)?;
        }
        Ok(value)
    }

    /// The value that an operand's fields are asked of.
    fn subject(&mut self, operand: &'a Operand, dot: &Value) -> Result<Value, Problem> {
        match &operand.kind {
            OperandKind::Dot => Ok(dot.clone()),
            OperandKind::Nil => Ok(Value::Nil),
            OperandKind::Constant(value) => Ok(value.clone()),
            OperandKind::Variable(name) => {
                let known = self.variables.iter().rev().find(|(known, _)| *known == name.as_str());
                let undefined = || Problem::at(&operand.at, format!("undefined variable: {name}"));
                known.map(|(_, value)| value.clone()).ok_or_else(undefined)
            }
            OperandKind::Function(name) => {
                self.step(&operand.at)?;
                let called = match builtin::is_known(name) {
                    true => builtin::call(name, &[]),
                    false => self.functions.call(name, &[]),
                };
                called.map_err(|message| {
                    Problem::at(&operand.at, format!("error calling {name}: {message}"))
                })
            }
            OperandKind::Pipeline(pipeline) => self.pipeline(pipeline, dot),
        }
    }
}

/// What a function may have to look at of a value.
fn size(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len(),
        Value::List(items) => items.len(),
        _ => 0,
    }
}

/// Takes so much text and no more.
pub(crate) struct Bounded<'a>(pub(crate) &'a mut String);

impl fmt::Write for Bounded<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len() + text.len() > OUTPUT_BYTES_MAX {
            return Err(fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

/// The source of a pipeline's commands.
fn range_of(pipeline: &Pipeline) -> Range<usize> {
    let operands = || pipeline.commands.iter().flat_map(|command| &command.operands);
    let start = operands().next().map_or(0, |operand| operand.at.start);
    start..operands().last().map_or(start, |operand| operand.at.end)
}

fn field_of(value: &Value, field: &str, at: &Range<usize>) -> Result<Value, Problem> {
    let missing = || {
        let kind = value.type_name();
        Problem::at(at, format!("can't evaluate field {field} in type {kind}"))
    };
    match value {
        Value::Texts(entries) => Ok(Value::text(entries.get(field).map_or("", String::as_str))),
        Value::Map(entries) => Ok(entries.get(field).cloned().unwrap_or(Value::Nil)),
        Value::Record(record) => record.field(field).cloned().ok_or_else(missing),
        Value::Time(time) => time_field(*time, field).ok_or_else(missing),
        Value::Nil => {
            Err(Problem::at(at, format!("nil pointer evaluating interface {{}}.{field}")))
        }
        _ => Err(missing()),
    }
}

/// The methods of a time that take no arguments.
fn time_field(time: narthex_model::Timestamp, field: &str) -> Option<Value> {
    let number = |layout| time::formatted(time, layout).parse().ok().map(Value::Int);
    match field {
        "UTC" => Some(Value::Time(time)),
        "String" => Some(Value::text(time::standard(time))),
        "Unix" => Some(Value::Int(time.millis().div_euclid(1000))),
        "UnixMilli" => Some(Value::Int(time.millis())),
        "Year" => number("2006"),
        "Day" => number("2"),
        "YearDay" => number("002"),
        "Hour" => number("15"),
        "Minute" => number("4"),
        "Second" => number("5"),
        "Month" => Some(Value::text(time::formatted(time, "January"))),
        "Weekday" => Some(Value::text(time::formatted(time, "Monday"))),
        _ => None,
    }
}

/// Keys and values to loop over, or `None` if there is no way.
fn items(over: &Value) -> Option<Vec<(Value, Value)>> {
    match over {
        Value::Nil => Some(Vec::new()),
        Value::List(items) => Some((0..).map(Value::Int).zip(items.iter().cloned()).collect()),
        Value::Texts(entries) => {
            let pair = |(key, value): (&String, &String)| {
                (Value::text(key.as_str()), Value::text(value.as_str()))
            };
            Some(entries.iter().map(pair).collect())
        }
        Value::Map(entries) => {
            let pair = |(key, value): (&String, &Value)| (Value::text(key.as_str()), value.clone());
            Some(entries.iter().map(pair).collect())
        }
        Value::Int(count) => {
            let count = usize::try_from(*count).unwrap_or(0).min(STEPS_MAX + 1);
            Some((0..).map(|i| (Value::Int(i), Value::Int(i))).take(count).collect())
        }
        _ => None,
    }
}
