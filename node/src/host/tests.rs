use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use narthex_exposition::{Item, Parser, parse_series};

use super::*;

/// Families that this page has: everything of the real exporter that begins so must be equal.
const PREFIXES: [&str; 9] = [
    "node_boot_time_seconds",
    "node_cpu_guest_seconds_total",
    "node_cpu_seconds_total",
    "node_disk_",
    "node_filesystem_",
    "node_load",
    "node_memory_",
    "node_network_",
    "node_uname_info",
];

/// The series and the types of a page.
fn contents(page: &str) -> (BTreeSet<String>, BTreeMap<String, String>) {
    let is_ours = |name: &str| PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    let (mut series, mut types) = (BTreeSet::new(), BTreeMap::new());
    let mut parser = Parser::new(page.as_bytes());
    while let Some(item) = parser.next(None).expect("a valid page") {
        match item {
            Item::Sample(line) => {
                let labels = parse_series(line.series).expect("a valid series");
                if is_ours(&labels[0].1) {
                    // The real exporter says 0 where the kernel has fewer files than it expects.
                    let text = String::from_utf8_lossy(line.series);
                    series.insert(text.replace("rotational=\"1\"", "rotational=\"0\""));
                }
            }
            Item::Type { metric, kind } if is_ours(metric) => {
                types.insert(metric.to_owned(), format!("{kind:?}"));
            }
            _ => {}
        }
    }
    (series, types)
}

#[test]
fn the_page_has_every_family() {
    let page = render();
    let (series, types) = contents(&page);
    for prefix in PREFIXES {
        assert!(series.iter().any(|name| name.starts_with(prefix)), "{prefix}:\n{page}");
    }
    assert_eq!(types["node_cpu_seconds_total"], "Counter");
    assert!(page.contains("node_scrape_collector_success{collector=\"cpu\"} 1\n"));
    assert!(!host_name().is_empty());
}

/// Where the build unpacks programs to compare with, or a test said they are.
fn real_exporter() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    let peers = std::env::var_os("NARTHEX_TEST_PEERS").map(PathBuf::from);
    [peers, cache.map(|cache| cache.join("narthex/peers"))]
        .into_iter()
        .flatten()
        .map(|folder| folder.join("root/usr/bin/prometheus-node-exporter"))
        .find(|program| program.is_file())
}

/// Ends the process however the test ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[expect(clippy::disallowed_methods, reason = "another process is waited for, with a deadline")]
fn page_of(port: u16) -> String {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        assert!(Instant::now() < deadline, "the real exporter does not answer");
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else {
            std::thread::yield_now();
            continue;
        };
        write!(stream, "GET /metrics HTTP/1.0\r\nAccept: text/plain;version=0.0.4\r\n\r\n")
            .expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (_, page) = answer.split_once("\r\n\r\n").expect("a head");
        return page.to_owned();
    }
}

#[test]
fn names_and_labels_are_those_of_the_real_exporter() {
    let Some(program) = real_exporter() else {
        let name = "host::tests::names_and_labels_are_those_of_the_real_exporter";
        // Past the capture of a passing test's output, for build/test to list.
        let _ = writeln!(std::io::stderr(), "SKIPPED: {name}: there is no node_exporter");
        return;
    };
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    drop(listener);
    let child = Command::new(program)
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the real exporter starts");
    let _running = Running(child);
    let (theirs, their_types) = contents(&page_of(port));
    let (ours, our_types) = contents(&render());
    let missing: Vec<_> = theirs.difference(&ours).collect();
    let extra: Vec<_> = ours.difference(&theirs).collect();
    assert!(missing.is_empty() && extra.is_empty(), "missing {missing:#?}, extra {extra:#?}");
    assert_eq!(our_types, their_types);
}
