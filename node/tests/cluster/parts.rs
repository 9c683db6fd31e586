//! Scraped series whose labels belong to another shard than their target's.

use std::{
    io::{BufRead, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{Arc, Mutex},
};

use narthex_cluster::{Command, ImportScrapeConfig, Owner, ShardId, TenantId};
use narthex_model::{Labels, Timestamp};
use narthex_node::{config, node::Node};

use super::{alone, request, until, values, wall_millis};

/// A target that shows what it is told to.
pub struct Gateway {
    pub address: String,
    page: Arc<Mutex<String>>,
}

impl Gateway {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let page = Arc::<Mutex<String>>::default();
        let served = page.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let page = served.clone();
                // A scraper that goes away is not our concern.
                std::thread::spawn(move || drop(serve(&stream, &page)));
            }
        });
        Self { address, page }
    }

    /// Shows one series for each of these batches.
    fn show(&self, batches: std::ops::Range<usize>) {
        let line = |at| format!("pushed{{job=\"batch\",instance=\"b{at}\"}} {at}\n");
        self.show_page(batches.map(line).collect());
    }

    pub fn show_page(&self, page: String) {
        *self.page.lock().expect("unpoisoned") = page;
    }
}

fn serve(stream: &TcpStream, page: &Mutex<String>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    loop {
        loop {
            match lines.next().transpose()? {
                None => return Ok(()),
                Some(line) if line.is_empty() => break,
                Some(_) => {}
            }
        }
        let body = page.lock().expect("unpoisoned").clone();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4";
        write!(&mut &*stream, "{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len())?;
    }
}

async fn scrape(node: &Node, targets: &[&str]) {
    scrape_every(node, targets, "500ms").await;
}

pub async fn scrape_every(node: &Node, targets: &[&str], interval: &str) {
    let text = format!(
        "scrape_configs:\n  - job_name: gateway\n    honor_labels: true\n    \
         scrape_interval: {interval}\n    scrape_timeout: {interval}\n    \
         static_configs: [{{ targets: {targets:?} }}]\n"
    );
    let config = config::parse(&text, Path::new(".")).expect("a config");
    let content = config.encode().into();
    request(node, Command::ImportScrapeConfig(ImportScrapeConfig { owner: Owner::File, content }))
        .await;
}

/// Every pushed series now, with the shard that shows it.
async fn shown(node: &Node) -> Vec<(ShardId, String)> {
    let mut shown = Vec::new();
    for shard in (0..3).map(ShardId) {
        let series = values(node, shard, "pushed", wall_millis()).await;
        shown.extend(series.into_iter().map(|(labels, _)| (shard, labels)));
    }
    shown
}

/// Where queries look for them.
fn expected(node: &Node, batches: std::ops::Range<usize>) -> Vec<(ShardId, String)> {
    let state = node.client().state();
    let mut expected: Vec<_> = batches
        .map(|at| {
            let instance = format!("b{at}");
            let pairs = [("__name__", "pushed"), ("instance", &*instance), ("job", "batch")];
            let labels = Labels::from_pairs(pairs).expect("valid");
            let now = Timestamp::from_millis(wall_millis());
            let shard = state.shard_of(TenantId(0), &labels, now).expect("founded");
            (shard, labels.to_string())
        })
        .collect();
    expected.sort();
    expected
}

async fn wait_for(node: &Node, batches: std::ops::Range<usize>) {
    let expected = expected(node, batches.clone());
    until(&format!("batches {batches:?}"), async || {
        let mut shown = shown(node).await;
        shown.sort();
        if shown == expected { Ok(()) } else { Err(format!("{shown:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scraped_series_lives_and_ends_on_the_shard_of_its_labels() {
    let folder = tempfile::tempdir().expect("folder");
    let node = alone(folder.path(), |_| {}).await;
    let gateway = Gateway::start();
    gateway.show(0..24);
    scrape(&node, &[&gateway.address]).await;
    wait_for(&node, 0..24).await;
    let shards: std::collections::BTreeSet<_> =
        expected(&node, 0..24).into_iter().map(|(shard, _)| shard).collect();
    assert!(shards.len() > 1, "all on one shard");

    gateway.show(12..18);
    wait_for(&node, 12..18).await;
    gateway.show(0..0);
    wait_for(&node, 0..0).await;
    gateway.show(3..9);
    wait_for(&node, 3..9).await;
    scrape(&node, &[]).await;
    wait_for(&node, 0..0).await;
    let known = |replica: &Arc<narthex_node::shard::Replica>| replica.reader.targets().len();
    until("no shard remembers the target", async || {
        let left: usize = node.replicas().all().iter().map(known).sum();
        if left == 0 { Ok(()) } else { Err(left.to_string()) }
    })
    .await;
    node.stop().await;
}
