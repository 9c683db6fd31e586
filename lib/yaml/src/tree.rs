//! A YAML document as a tree that keeps what Prometheus's decoder looks at: the text of every
//! scalar, whether it was quoted, and the line of every node.
//!
//! A typed decoder would lose that `version: 1.10` is the text `1.10`, and an untyped one that
//! `env: no` is the text `no`; so the events of the parser are kept as they come. Anchors,
//! aliases and `<<` merges are resolved here.
//!
//! Invariants
//! * a mapping names each key once;
//! * depth and number of nodes are bounded, aliases counted each time they are used.

use std::collections::HashMap;

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle};

use super::Problem;

/// Nesting beyond this is refused: no configuration comes near it, and a stack is finite.
const DEPTH_MAX: usize = 64;
/// Nodes of a document, copies made by aliases included.
const NODES_MAX: usize = 1_000_000;

/// A node and the line it begins on.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Counted from 1.
    pub line: usize,
    /// What it is.
    pub kind: Kind,
}

/// The kinds of nodes.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Nothing, `~` or `null`.
    Null,
    /// Text, a number or a truth value: the reader decides.
    Scalar {
        /// The text without quotes and escapes.
        text: String,
        /// Written without quotes.
        plain: bool,
    },
    /// A list.
    Sequence(Vec<Node>),
    /// Keys and values in the order of the document.
    Mapping(Vec<Entry>),
}

/// A key of a mapping with its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key's text.
    pub key: String,
    /// The key's line.
    pub line: usize,
    /// What stands behind the colon.
    pub value: Node,
}

/// Reads the first document of `text`; an empty text is [`Kind::Null`].
pub fn parse(text: &str) -> Result<Node, Problem> {
    let mut stack = Vec::new();
    let mut reader =
        Reader { parser: Parser::new_from_str(text), anchors: HashMap::new(), nodes: 0 };
    while let Some((event, line)) = reader.next_event()? {
        match event {
            Event::DocumentEnd => break,
            Event::StreamStart | Event::StreamEnd | Event::DocumentStart(..) => {}
            event => stack.push(reader.node(event, line, 0)?),
        }
    }
    Ok(stack.pop().unwrap_or(Node { line: 1, kind: Kind::Null }))
}

/// Reads all documents of `text`; one without content is [`Kind::Null`]. Anchors end with their
/// document, limits hold for all of them together.
pub fn parse_all(text: &str) -> Result<Vec<Node>, Problem> {
    let mut documents = Vec::new();
    let mut reader =
        Reader { parser: Parser::new_from_str(text), anchors: HashMap::new(), nodes: 0 };
    while let Some((event, line)) = reader.next_event()? {
        match event {
            Event::DocumentStart(..) => reader.anchors.clear(),
            Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            event => documents.push(reader.node(event, line, 0)?),
        }
    }
    Ok(documents)
}

struct Reader<'a> {
    parser: Parser<'a, serde_saphyr::granit_parser::StrInput<'a>>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

impl<'a> Reader<'a> {
    fn next_event(&mut self) -> Result<Option<(Event<'a>, usize)>, Problem> {
        loop {
            match self.parser.next() {
                None => return Ok(None),
                Some(Err(error)) => {
                    return Err(Problem::at(error.marker().line(), format!("yaml: {error}")));
                }
                Some(Ok((Event::Comment(..) | Event::Anchor(..), _))) => {}
                Some(Ok((event, span))) => return Ok(Some((event, span.start.line()))),
            }
        }
    }

    fn inner_event(&mut self, line: usize) -> Result<(Event<'a>, usize), Problem> {
        self.next_event()?.ok_or_else(|| Problem::at(line, "yaml: document is cut short"))
    }

    fn node(&mut self, event: Event<'a>, line: usize, depth: usize) -> Result<Node, Problem> {
        if depth > DEPTH_MAX {
            return Err(Problem::at(line, format!("yaml: nested deeper than {DEPTH_MAX}")));
        }
        self.count(1, line)?;
        let (anchor, kind) = match event {
            Event::Alias(id) => return self.alias(id, line),
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && tag.is_none();
                (anchor, scalar(&text, plain))
            }
            Event::SequenceStart(_, anchor, _) => (anchor, self.sequence(line, depth)?),
            Event::MappingStart(_, anchor, _) => (anchor, self.mapping(line, depth)?),
            _ => return Err(Problem::at(line, "yaml: unexpected end of a node")),
        };
        let node = Node { line, kind };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn alias(&mut self, id: usize, line: usize) -> Result<Node, Problem> {
        let node = self.anchors.get(&id).cloned();
        let node = node.ok_or_else(|| Problem::at(line, "yaml: alias refers to itself"))?;
        self.count(size(&node), line)?;
        Ok(node)
    }

    fn count(&mut self, nodes: usize, line: usize) -> Result<(), Problem> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > NODES_MAX {
            return Err(Problem::at(line, "yaml: document is too large"));
        }
        Ok(())
    }

    fn sequence(&mut self, line: usize, depth: usize) -> Result<Kind, Problem> {
        let mut items = Vec::new();
        loop {
            match self.inner_event(line)? {
                (Event::SequenceEnd, _) => return Ok(Kind::Sequence(items)),
                (event, line) => items.push(self.node(event, line, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, line: usize, depth: usize) -> Result<Kind, Problem> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut merged: Vec<Entry> = Vec::new();
        loop {
            let (event, line) = self.inner_event(line)?;
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let key = match self.node(event, line, depth + 1)?.kind {
                Kind::Scalar { text, .. } => text,
                Kind::Null => "null".to_owned(),
                _ => return Err(Problem::at(line, "yaml: a key must be a text")),
            };
            let (event, value_line) = self.inner_event(line)?;
            let value = self.node(event, value_line, depth + 1)?;
            if key == "<<" {
                merge(&mut merged, value)?;
            } else if entries.iter().any(|entry| entry.key == key) {
                return Err(Problem::at(line, format!("key {key:?} already set in map")));
            } else {
                entries.push(Entry { key, line, value });
            }
        }
        for entry in merged {
            if !entries.iter().any(|own| own.key == entry.key) {
                entries.push(entry);
            }
        }
        Ok(Kind::Mapping(entries))
    }
}

/// Adds the keys of a `<<` value: a mapping or a list of them, earlier ones win.
fn merge(merged: &mut Vec<Entry>, value: Node) -> Result<(), Problem> {
    match value.kind {
        Kind::Mapping(entries) => merged.extend(entries),
        Kind::Sequence(items) => {
            for item in items {
                merge(merged, item)?;
            }
        }
        _ => return Err(Problem::at(value.line, "yaml: map merge requires map or sequence")),
    }
    Ok(())
}

fn scalar(text: &str, plain: bool) -> Kind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" if plain => Kind::Null,
        text => Kind::Scalar { text: text.to_owned(), plain },
    }
}

fn size(node: &Node) -> usize {
    1 + match &node.kind {
        Kind::Sequence(items) => items.iter().map(size).sum(),
        Kind::Mapping(entries) => entries.iter().map(|entry| size(&entry.value)).sum(),
        Kind::Null | Kind::Scalar { .. } => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of<'a>(node: &'a Node, key: &str) -> &'a str {
        let Kind::Mapping(entries) = &node.kind else { panic!("no mapping: {node:?}") };
        let entry = entries.iter().find(|entry| entry.key == key).expect("key is there");
        let Kind::Scalar { text, .. } = &entry.value.kind else { panic!("no scalar: {entry:?}") };
        text
    }

    #[test]
    fn scalars_keep_their_text() {
        let node = parse("version: 1.10\nenv: no\nquoted: '~'\n").expect("valid");
        assert_eq!(text_of(&node, "version"), "1.10");
        assert_eq!(text_of(&node, "env"), "no");
        assert_eq!(text_of(&node, "quoted"), "~");
    }

    #[test]
    fn documents_are_read_one_by_one() {
        let nodes = parse_all("a: &x 1\n---\n# nothing\n---\nb: 2\n").expect("valid");
        assert_eq!(nodes.len(), 3);
        assert_eq!((text_of(&nodes[0], "a"), &nodes[1].kind), ("1", &Kind::Null));
        assert_eq!((text_of(&nodes[2], "b"), nodes[2].line), ("2", 5));
        assert_eq!(parse_all("").expect("nothing"), []);
        assert!(parse_all("a: &x 1\n---\nb: *x\n").is_err(), "anchors end with their document");
    }

    #[test]
    fn merges_do_not_replace_own_keys() {
        let node = parse("base: &b {x: 1, y: 2}\nuse:\n  <<: *b\n  y: 3\n").expect("valid");
        let Kind::Mapping(entries) = &node.kind else { panic!("no mapping") };
        assert_eq!(text_of(&entries[1].value, "x"), "1");
        assert_eq!(text_of(&entries[1].value, "y"), "3");
    }

    #[test]
    fn a_key_twice_is_refused_with_its_line() {
        let problem = parse("a: 1\nb: 2\na: 3\n").expect_err("twice");
        assert_eq!(problem.to_string(), "line 3: key \"a\" already set in map");
    }

    #[test]
    fn aliases_cannot_explode() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..12 {
            let before = format!("*a{}", i - 1);
            text += &format!("a{i}: &a{i} [{}]\n", vec![before; 10].join(", "));
        }
        assert!(parse(&text).is_err());
        assert!(parse(&"[".repeat(100_000)).is_err());
    }
}
