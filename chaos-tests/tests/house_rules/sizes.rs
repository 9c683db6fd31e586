//! Functions, files and parameter lists stay small enough to be read once and trusted.

use syn::{spanned::Spanned, visit::Visit};

use crate::{expect_none, sources};

const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 600;
const PARAMETERS_MAX: usize = 5;

/// What is larger, how large, and why. Each entry may only shrink; one that is no longer needed
/// fails the test until it is deleted.
const EXCEPTIONS: &[Exception] = &[Exception {
    what: "lib/promql/src/parser/tests.rs::types_are_checked",
    code_lines: 74,
    reason: "a table, each line one expression and its message",
}];

struct Exception {
    /// `path` for a file, `path::function` for a function's lines.
    what: &'static str,
    code_lines: usize,
    #[expect(dead_code, reason = "for the reader of the list")]
    reason: &'static str,
}

#[test]
fn sizes_only_shrink() {
    let mut violations = Vec::new();
    let mut large = Vec::new();
    for source in sources::all() {
        let lines = code_lines(&source.text, 1, usize::MAX);
        if lines > FILE_LINES_MAX {
            large.push((source.path.clone(), lines));
        }
        let mut functions =
            Functions { text: &source.text, found: Vec::new(), shaped_by_trait: false };
        functions.visit_file(&source.syntax);
        for function in functions.found {
            let what = format!("{}::{}", source.path, function.name);
            if function.parameters > PARAMETERS_MAX {
                violations.push(format!("{what} has {} parameters", function.parameters));
            }
            if function.code_lines > FUNCTION_LINES_MAX {
                large.push((what, function.code_lines));
            }
        }
    }
    compare(&large, &mut violations);
    expect_none("sizes only shrink", &violations);
}

fn compare(large: &[(String, usize)], violations: &mut Vec<String>) {
    for (what, lines) in large {
        match EXCEPTIONS.iter().find(|exception| exception.what == what) {
            None => violations.push(format!("{what} has {lines} code lines")),
            Some(exception) if exception.code_lines != *lines => violations.push(format!(
                "{what} has {lines} code lines, its exception says {}",
                exception.code_lines
            )),
            Some(_) => {}
        }
    }
    for exception in EXCEPTIONS {
        if !large.iter().any(|(what, _)| what == exception.what) {
            violations.push(format!("{} needs no exception any more", exception.what));
        }
    }
}

struct Function {
    name: String,
    code_lines: usize,
    parameters: usize,
}

struct Functions<'a> {
    text: &'a str,
    found: Vec<Function>,
    /// Inside the implementation of a trait, which chose the parameters.
    shaped_by_trait: bool,
}

impl Functions<'_> {
    fn add(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let first = signature.span().start().line;
        let last = block.span().end().line;
        self.found.push(Function {
            name: signature.ident.to_string(),
            code_lines: code_lines(self.text, first, last),
            parameters: if self.shaped_by_trait { 0 } else { signature.inputs.len() },
        });
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.add(&item.sig, &item.block);
        syn::visit::visit_item_fn(self, item);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let outside = std::mem::replace(&mut self.shaped_by_trait, item.trait_.is_some());
        syn::visit::visit_item_impl(self, item);
        self.shaped_by_trait = outside;
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.add(&item.sig, &item.block);
        syn::visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.add(&item.sig, block);
        }
        syn::visit::visit_trait_item_fn(self, item);
    }
}

/// Lines from `first` to `last`, both included and counted from 1, without blank lines and
/// lines that are only a comment.
fn code_lines(text: &str, first: usize, last: usize) -> usize {
    let lines = text.lines().enumerate();
    lines
        .map(|(at, line)| (at + 1, line.trim_start()))
        .filter(|(number, line)| {
            (first..=last).contains(number) && !line.is_empty() && !line.starts_with("//")
        })
        .count()
}

#[test]
fn only_code_counts() {
    let text = "// why\nfn f(a: u8, b: u8) {\n\n    // why\n    a + b;\n}\n";
    let mut functions = Functions { text, found: Vec::new(), shaped_by_trait: false };
    functions.visit_file(&syn::parse_file(text).expect("valid Rust"));
    assert_eq!((functions.found[0].code_lines, functions.found[0].parameters), (3, 2));
}
