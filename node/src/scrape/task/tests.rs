use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    path::Path,
    thread,
};

use narthex_model::Timestamp;
use tokio::sync::mpsc::{Receiver, Sender};

use super::*;
use crate::{clock::SystemClock, config};

const SHARD: ShardId = ShardId(2);

/// Hands every command to the test.
struct Recorder(Sender<ScrapeCommand>);

impl ScrapeSink for Recorder {
    async fn submit(&self, shard: ShardId, command: ScrapeCommand) -> Result<LeftOut, SubmitError> {
        assert_eq!(shard, SHARD);
        let sent = self.0.send(command).await;
        sent.map(|()| LeftOut::default()).map_err(|_| SubmitError::Busy(shard))
    }
}

/// Serves one page for ever, with connections kept.
fn serve(page: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            thread::spawn(move || {
                let mut lines = BufReader::new(stream.try_clone().expect("a clone")).lines();
                while let Some(Ok(line)) = lines.next() {
                    if line.is_empty() {
                        let len = page.len();
                        write!(&stream, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len}\r\n\r\n{page}").ok();
                    }
                }
            });
        }
    });
    address
}

struct Running {
    config: watch::Sender<Arc<Config>>,
    discovered: watch::Sender<Arc<Discovered>>,
    commands: Receiver<ScrapeCommand>,
    handle: ScraperHandle,
    stop: CancellationToken,
}

impl Running {
    fn start() -> Self {
        let (sender, commands) = mpsc::channel(100);
        let config = watch::Sender::new(Arc::new(Config::default()));
        let discovered = watch::Sender::new(Arc::new(Discovered::default()));
        let inputs = ScraperInputs {
            clock: SystemClock::shared(),
            sink: Arc::new(Recorder(sender)),
            config: config.subscribe(),
            discovered: discovered.subscribe(),
            hash_seed: 1,
            metrics: Arc::default(),
        };
        let stop = CancellationToken::new();
        let handle = Scraper::new(inputs).spawn(&TaskTracker::new(), stop.clone());
        let handle = handle.expect("a thread");
        Self { config, discovered, commands, handle, stop }
    }

    fn configure(&self, targets: &str) {
        let text = format!(
            "scrape_configs: [{{job_name: api, scrape_interval: 50ms, scrape_timeout: 50ms, static_configs: [{{targets: [{targets}]}}]}}]"
        );
        let config = config::parse(&text, Path::new("/")).expect("valid");
        let job = &config.scrape_configs[0];
        let groups =
            JobGroups { groups: job.static_configs.clone(), is_synced: true, ..Default::default() };
        let found = Discovered::from([(job.job_name.clone(), Arc::new(groups))]);
        self.config.send_replace(Arc::new(config));
        self.discovered.send_replace(Arc::new(found));
    }

    async fn next(&mut self) -> ScrapeCommand {
        let next = tokio::time::timeout(Duration::from_secs(20), self.commands.recv());
        next.await.expect("a command comes in time").expect("the scraper runs")
    }

    async fn lead(&self, known: Vec<TargetId>) {
        let leadership = Leadership { shard: SHARD, since: Timestamp::from_millis(0), known };
        self.handle.lead(leadership).await.expect("the scraper runs");
    }
}

fn values(samples: &[super::super::ScrapedSample]) -> Vec<(String, f64)> {
    let name = |labels: &Labels| labels.metric_name().unwrap_or_default().to_owned();
    samples.iter().map(|sample| (name(&sample.series.labels), sample.value)).collect()
}

#[tokio::test]
async fn from_configuration_to_commands_and_back_to_nothing() {
    let address = serve("# TYPE a gauge\na 1\nb{x=\"y\"} 2\n");
    let mut running = Running::start();
    running.configure(&format!("'{address}'"));
    let shard_of: Routing = Arc::new(|labels| {
        assert_eq!(labels.value("job"), "api");
        SHARD
    });
    running.handle.route(shard_of).await.expect("the scraper runs");
    running.lead(vec![TargetId(7)]).await;

    let ScrapeCommand::Gone(gone) = running.next().await else {
        panic!("an unknown target is gone")
    };
    assert_eq!(gone.target, TargetId(7));
    let mut last = None;
    for round in 0..3 {
        let ScrapeCommand::Scrape(scrape) = running.next().await else { panic!("a scrape") };
        assert!(last < Some(scrape.slot));
        last = Some(scrape.slot);
        let samples: Vec<_> = scrape.samples.iter().chain(&scrape.report).cloned().collect();
        let values = values(&samples);
        assert_eq!(values[0], ("a".to_owned(), 1.0));
        assert_eq!(values[1], ("b".to_owned(), 2.0));
        assert_eq!(values[2], ("up".to_owned(), 1.0));
        assert_eq!(values[3].0, "scrape_duration_seconds");
        assert_eq!(values[4], ("scrape_samples_scraped".to_owned(), 2.0));
        assert_eq!(values[5], ("scrape_samples_post_metric_relabeling".to_owned(), 2.0));
        let added = if round == 0 { 2.0 } else { 0.0 };
        assert_eq!(values[6], ("scrape_series_added".to_owned(), added));
        let late = scrape.time.millis_since(scrape.slot.start());
        assert!((0..50).contains(&late), "{late} ms after its slot");
    }
    let targets = running.handle.targets().await.expect("the scraper runs");
    assert_eq!(targets.active.len(), 1);
    assert_eq!(targets.active[0].health, Health::Up);

    running.configure("");
    loop {
        match running.next().await {
            ScrapeCommand::Scrape(scrape) => last = Some(scrape.slot),
            ScrapeCommand::Gone(gone) => {
                assert!(Some(gone.time) >= last.map(|slot| slot.start()));
                break;
            }
            ScrapeCommand::Failed(failed) => panic!("{}", failed.reason),
        }
    }
    running.stop.cancel();
    while running.commands.recv().await.is_some() {}
}

#[tokio::test]
async fn a_target_that_is_down_is_reported() {
    let mut running = Running::start();
    running.configure("'127.0.0.1:1'");
    running.handle.route(Arc::new(|_| SHARD)).await.expect("the scraper runs");
    running.lead(Vec::new()).await;
    let ScrapeCommand::Failed(failed) = running.next().await else { panic!("it is down") };
    assert!(failed.reason.contains("onnection refused"), "{}", failed.reason);
    assert_eq!(values(&failed.report)[0], ("up".to_owned(), 0.0));
    running.next().await;
    let targets = running.handle.targets().await.expect("the scraper runs");
    assert_eq!(targets.active[0].health, Health::Down);
    assert_eq!(targets.active[0].last_error, failed.reason);
    running.handle.leave(SHARD).await.expect("the scraper runs");
    assert!(running.handle.targets().await.expect("the scraper runs").active.is_empty());
}
