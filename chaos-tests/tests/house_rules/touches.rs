//! Who may touch the disk, the network, clocks and randomness, and who may wait.

use syn::visit::Visit;

use crate::{
    expect_none,
    sources::{self, Source, for_tests},
};

/// A part of the world outside a function's arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Touch {
    Disk,
    Network,
    Async,
    Clock,
    Randomness,
    Raft,
}

use Touch::{Async, Clock, Disk, Network, Raft, Randomness};

/// Path prefixes that give a touch away.
const SIGNS: &[(&str, Touch)] = &[
    ("std::fs", Disk),
    ("std::os::unix::fs", Disk),
    ("tokio::fs", Disk),
    ("rocksdb", Disk),
    ("tempfile", Disk),
    ("rustix::fs", Disk),
    ("std::net::Tcp", Network),
    ("std::net::Udp", Network),
    ("std::net::ToSocketAddrs", Network),
    ("tokio::net", Network),
    ("tonic::transport", Network),
    ("hyper", Network),
    ("hyper_util", Network),
    ("axum", Network),
    ("tokio", Async),
    ("tokio_util", Async),
    ("tokio_stream", Async),
    ("std::time::SystemTime", Clock),
    ("std::time::Instant", Clock),
    ("tokio::time", Clock),
    ("jiff::Timestamp::now", Clock),
    ("uuid::Uuid::new_v4", Randomness),
    ("rand", Randomness),
    ("getrandom", Randomness),
    ("openraft", Raft),
];

/// What each crate, or a folder or file in it, may touch. The longest path that fits counts.
/// Clocks are further bound by clippy.toml, which asks for a reason at each call.
const ALLOWED: &[(&str, &[Touch])] = &[
    ("lib/model", &[]),
    ("lib/exposition", &[]),
    ("lib/yaml", &[]),
    ("lib/template", &[]),
    ("lib/rules", &[]),
    ("lib/objects", &[]),
    ("lib/promql", &[]),
    ("lib/cluster", &[]),
    ("lib/tsdb", &[Disk]),
    // Its calls have deadlines.
    ("proto", &[Network, Async, Clock]),
    // Its disk is the web configuration file.
    ("web", &[Disk, Network, Async, Clock, Randomness]),
    ("node", &[Disk, Network, Async, Clock, Randomness]),
    ("node/src/raft", &[Disk, Network, Async, Clock, Randomness, Raft]),
    ("router", &[Network, Async, Clock, Randomness]),
    ("querier", &[Network, Async, Clock, Randomness]),
    ("cli", &[Disk, Network, Async, Clock, Randomness]),
    // It measures programs from outside; what it sends is drawn from fixed seeds.
    ("bench", &[Disk, Network, Clock]),
];

#[test]
fn each_room_touches_only_what_it_may() {
    let mut violations = Vec::new();
    for source in sources::all() {
        // What generates code at build time runs on the builder's machine.
        if source.is_test() || source.path.ends_with("build.rs") {
            continue;
        }
        let allowed = allowed(&source);
        for (path, line) in paths_outside_tests(&source.syntax) {
            if let Some(touch) = touches(&path).into_iter().find(|touch| !allowed.contains(touch)) {
                violations.push(format!("{}:{line}: {path} ({touch:?})", source.path));
            }
        }
    }
    expect_none("each room touches only what it may", &violations);
}

fn allowed(source: &Source) -> &'static [Touch] {
    let fits = |folder: &str| {
        source.path.strip_prefix(folder).is_some_and(|rest| rest.starts_with(['/', '.']))
    };
    ALLOWED
        .iter()
        .filter(|(folder, _)| fits(folder))
        .max_by_key(|(folder, _)| folder.len())
        .unwrap_or_else(|| panic!("{}: its crate is not in the table", source.path))
        .1
}

fn touches(path: &str) -> Vec<Touch> {
    let given_away = |sign: &str| {
        path.strip_prefix(sign).is_some_and(|rest| {
            rest.is_empty() || rest.starts_with("::") || sign.starts_with("std::net::")
        })
    };
    SIGNS.iter().filter(|(sign, _)| given_away(sign)).map(|(_, touch)| *touch).collect()
}

/// Every path the source names outside of tests, with its line.
fn paths_outside_tests(syntax: &syn::File) -> Vec<(String, usize)> {
    let mut paths = Paths(Vec::new());
    paths.visit_file(syntax);
    paths.0
}

#[test]
fn touches_are_found_wherever_they_are_named() {
    let syntax = syn::parse_file(
        "use std::{fs, net::{IpAddr, TcpStream}};
         use tokio::time::Instant as Now;
         #[cfg(test)] mod tests { use openraft::Raft; }
         fn f() -> u64 { std::time::SystemTime::now() }",
    )
    .expect("valid Rust");
    let found: Vec<_> =
        paths_outside_tests(&syntax).iter().flat_map(|(path, _)| touches(path)).collect();
    assert_eq!(found, [Disk, Network, Async, Clock, Clock]);
}

struct Paths(Vec<(String, usize)>);

impl Paths {
    fn expand(&mut self, tree: &syn::UseTree, prefix: &str) {
        let joined = |name: &syn::Ident| {
            if prefix.is_empty() { name.to_string() } else { format!("{prefix}::{name}") }
        };
        match tree {
            syn::UseTree::Path(path) => self.expand(&path.tree, &joined(&path.ident)),
            syn::UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.expand(tree, prefix));
            }
            syn::UseTree::Name(syn::UseName { ident }) => {
                self.0.push((joined(ident), ident.span().start().line));
            }
            syn::UseTree::Rename(syn::UseRename { ident, .. }) => {
                self.0.push((joined(ident), ident.span().start().line));
            }
            syn::UseTree::Glob(glob) => {
                self.0.push((prefix.to_owned(), glob.star_token.spans[0].start().line));
            }
        }
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let attributes = match item {
            syn::Item::Mod(item) => &item.attrs,
            syn::Item::Fn(item) => &item.attrs,
            syn::Item::Impl(item) => &item.attrs,
            syn::Item::Use(item) => &item.attrs,
            _ => return syn::visit::visit_item(self, item),
        };
        if !for_tests(attributes) {
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.expand(&item.tree, "");
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if names.len() > 1 {
            self.0.push((names.join("::"), path.segments[0].ident.span().start().line));
        }
        syn::visit::visit_path(self, path);
    }
}
