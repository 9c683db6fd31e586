//! Words that stay out: modules without a subject, `unwrap` where it can panic, notes to self.

use syn::{spanned::Spanned, visit::Visit};

use crate::{
    expect_none,
    sources::{self, for_tests},
};

/// Names that say nothing of what lies behind them, so everything ends up there.
const SUBJECTLESS: &[&str] =
    &["common", "util", "utils", "helper", "helpers", "misc", "shared", "manager"];

/// In pieces, so that this file does not fail its own rule.
const NOTES_TO_SELF: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];

/// Endings of the files a reader opens.
const TEXT_ENDINGS: &[&str] =
    &[".rs", ".md", ".toml", ".proto", ".html", ".sh", ".ts", ".tsx", ".css", ".mjs"];

#[test]
fn modules_have_subjects() {
    let mut violations = Vec::new();
    for path in sources::files_ending(".rs") {
        let subjectless = path
            .split('/')
            .any(|part| SUBJECTLESS.contains(&part.strip_suffix(".rs").unwrap_or(part)));
        if subjectless {
            violations.push(path);
        }
    }
    expect_none("a module is named after its subject", &violations);
}

#[test]
fn nothing_is_noted_for_later() {
    let mut violations = Vec::new();
    for path in TEXT_ENDINGS.iter().flat_map(|ending| sources::files_ending(ending)) {
        let text = std::fs::read_to_string(sources::root().join(&path)).unwrap();
        for (at, line) in text.lines().enumerate() {
            let word = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            if word.into_iter().any(|word| NOTES_TO_SELF.contains(&word)) {
                violations.push(format!("{path}:{}: {}", at + 1, line.trim()));
            }
        }
    }
    expect_none("what is to be done is done or filed, not noted", &violations);
}

#[test]
fn accessors_are_named_after_what_they_return() {
    let violations = calls(|calls| &calls.get_functions);
    expect_none("no get_ on accessors", &violations);
}

#[test]
fn nothing_unwraps_outside_tests() {
    let violations = calls(|calls| &calls.unwraps);
    expect_none("expect says why it cannot fail, unwrap does not", &violations);
}

fn calls(of: impl Fn(&Calls) -> &Vec<(String, usize)>) -> Vec<String> {
    let mut violations = Vec::new();
    for source in sources::all().iter().filter(|source| !source.is_test()) {
        let mut calls = Calls::default();
        calls.visit_file(&source.syntax);
        for (name, line) in of(&calls) {
            violations.push(format!("{}:{line}: {name} in {}", source.path, source.crate_folder()));
        }
    }
    violations
}

#[derive(Default)]
struct Calls {
    unwraps: Vec<(String, usize)>,
    get_functions: Vec<(String, usize)>,
    /// Inside the implementation of a trait, which chose the names.
    named_by_trait: bool,
}

impl<'ast> Visit<'ast> for Calls {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !for_tests(&item.attrs) {
            syn::visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if !for_tests(&item.attrs) {
            syn::visit::visit_item_fn(self, item);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let outside = std::mem::replace(&mut self.named_by_trait, item.trait_.is_some());
        syn::visit::visit_item_impl(self, item);
        self.named_by_trait = outside;
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        let name = signature.ident.to_string();
        if name.starts_with("get_") && signature.inputs.len() == 1 && !self.named_by_trait {
            self.get_functions.push((name, signature.span().start().line));
        }
        syn::visit::visit_signature(self, signature);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        if call.method == "unwrap" && call.args.is_empty() {
            self.unwraps.push((call.method.to_string(), call.method.span().start().line));
        }
        syn::visit::visit_expr_method_call(self, call);
    }
}
