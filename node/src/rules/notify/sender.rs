//! The notifier's task, and one task for each Alertmanager.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{
    HeaderValue, Method, Request,
    header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT},
};
use http_body_util::{BodyExt as _, Full, Limited};
use parking_lot::Mutex;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, error, warn};

use super::{
    BATCHES_WAITING_MAX, NotifierHandle, Outgoing,
    managers::{Managers, managers_of},
    queue::{CAPACITY, Queue},
};
use crate::{
    clock::Clock,
    config::{AlertingConfig, AlertmanagerConfig, Config},
    discovery::FileGroups,
    relabel::Rules,
    scrape::HttpClient,
};

/// How often files with Alertmanagers are looked at.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// Bytes of an answer that are read so that its connection can be used again.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// How long alerts that wait may take when the node stops.
const DRAIN_TIME: Duration = Duration::from_secs(2);

const AGENT: HeaderValue = HeaderValue::from_static(concat!("Narthex/", env!("CARGO_PKG_VERSION")));
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Counters, by Alertmanager.
#[derive(Debug, Default)]
pub struct NotifierMetrics(Mutex<BTreeMap<String, Counts>>);

#[derive(Debug, Clone, Default)]
struct Counts {
    sent: u64,
    errors: u64,
    dropped: u64,
    waiting: usize,
    is_known: bool,
}

impl NotifierMetrics {
    /// Puts the counters into `registry`.
    pub fn register(self: &Arc<Self>, registry: &mut Registry) {
        registry.register_collector(Box::new(Page(self.clone())));
    }

    /// Alerts that were dropped; without a URL those that no queue had room to take over.
    pub(super) fn note_dropped(&self, url: &str, alerts: u64) {
        if alerts > 0 {
            self.0.lock().entry(url.to_owned()).or_default().dropped += alerts;
        }
    }

    fn note(&self, url: &str, note: impl FnOnce(&mut Counts)) {
        note(self.0.lock().entry(url.to_owned()).or_default());
    }
}

#[derive(Debug)]
struct Page(Arc<NotifierMetrics>);

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        type Value = fn(&Counts) -> u64;
        let counts = self.0.0.lock().clone();
        let counters: [(&str, &str, Value); 3] = [
            ("prometheus_notifications_sent", "Alerts that were sent", |it| it.sent),
            ("prometheus_notifications_errors", "Alerts of batches that were not taken", |it| {
                it.errors
            }),
            ("prometheus_notifications_dropped", "Alerts that were dropped", |it| it.dropped),
        ];
        for (name, help, value) in counters {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (url, counts) in &counts {
                let labels = [("alertmanager", url.clone())];
                ConstCounter::new(value(counts)).encode(family.encode_family(&labels)?)?;
            }
        }
        let known = || counts.iter().filter(|(_, counts)| counts.is_known);
        let help = "Alerts that wait for an Alertmanager";
        let name = "prometheus_notifications_queue_length";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (url, counts) in known() {
            let labels = [("alertmanager", url.clone())];
            let length = ConstGauge::new(counts.waiting as f64);
            length.encode(family.encode_family(&labels)?)?;
        }
        let gauges = [
            (
                "prometheus_notifications_queue_capacity",
                "Alerts that may wait for an Alertmanager",
                CAPACITY as f64,
            ),
            (
                "prometheus_notifications_alertmanagers_discovered",
                "Alertmanagers that alerts are sent to",
                known().count() as f64,
            ),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value);
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            gauge.encode(metric)?;
        }
        Ok(())
    }
}

/// See the module.
pub(in crate::rules) struct Notifier {
    pub clock: Arc<dyn Clock>,
    pub config: watch::Receiver<Arc<Config>>,
    pub metrics: Arc<NotifierMetrics>,
    pub tasks: TaskTracker,
    pub stop: CancellationToken,
}

/// Alertmanagers that are spoken to in the same way.
struct Group {
    config: AlertmanagerConfig,
    client: Arc<HttpClient>,
    files: Vec<FileGroups>,
    relabel: Rules,
    queues: HashMap<String, Arc<Mailbox>>,
}

/// What waits for one Alertmanager, and who empties it.
struct Mailbox {
    queue: Mutex<Queue>,
    changed: Notify,
    /// It is gone from the configuration, or from discovery.
    gone: CancellationToken,
}

impl Notifier {
    /// Starts it; it ends when `stop` fires, after a moment for what waits.
    pub(in crate::rules) fn spawn(self) -> NotifierHandle {
        let (batches, inbox) = mpsc::channel(BATCHES_WAITING_MAX);
        let managers = Arc::new(Mutex::new(Managers::default()));
        let handle =
            NotifierHandle { batches, managers: managers.clone(), metrics: self.metrics.clone() };
        self.tasks.clone().spawn(self.run(inbox, managers));
        handle
    }

    async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Vec<Outgoing>>,
        managers: Arc<Mutex<Managers>>,
    ) {
        let mut alerting = None;
        let mut groups: Vec<Group> = Vec::new();
        let mut relabel = Rules::default();
        loop {
            let config = self.config.borrow_and_update().clone();
            if alerting.as_ref() != Some(&config.alerting) {
                (groups, relabel) = self.renew(groups, &config.alerting);
                alerting = Some(config.alerting.clone());
            }
            groups = self.discover(groups, &managers).await;
            let next_look = tokio::time::sleep(POLL_INTERVAL);
            tokio::pin!(next_look);
            loop {
                tokio::select! {
                    () = self.stop.cancelled() => return,
                    changed = self.config.changed() => match changed {
                        Ok(()) => break,
                        Err(_) => return,
                    },
                    () = &mut next_look => break,
                    Some(alerts) = inbox.recv() => {
                        let external = &self.config.borrow().global.external_labels;
                        let alerts = relabelled(alerts, external, &relabel);
                        groups.iter().for_each(|group| self.put(group, &alerts));
                    }
                }
            }
        }
    }

    /// Groups as the configuration has them now. Those that are the same keep what waits.
    fn renew(&self, mut before: Vec<Group>, config: &AlertingConfig) -> (Vec<Group>, Rules) {
        let mut groups = Vec::new();
        for wanted in &config.alertmanagers {
            match before.iter().position(|group| group.config == *wanted) {
                Some(at) => groups.push(before.swap_remove(at)),
                None => groups.extend(Group::new(wanted)),
            }
        }
        for group in before {
            for (url, mailbox) in group.queues {
                mailbox.gone.cancel();
                self.metrics.note(&url, |counts| counts.is_known = false);
            }
        }
        let relabel = Rules::compile(&config.alert_relabel_configs);
        if let Err(error) = &relabel {
            error!(%error, "alert_relabel_configs do not compile; alerts go out as they are");
        }
        (groups, relabel.unwrap_or_default())
    }

    /// Looks where Alertmanagers are.
    async fn discover(&self, groups: Vec<Group>, shown: &Mutex<Managers>) -> Vec<Group> {
        let now = self.clock.now();
        let looked = tokio::task::spawn_blocking(move || {
            let mut groups = groups;
            groups.iter_mut().flat_map(|group| &mut group.files).for_each(|files| {
                files.poll(now);
            });
            groups
        });
        let Ok(mut groups) = looked.await else { return Vec::new() };
        let mut all = Managers::default();
        for group in &mut groups {
            let listed = group.config.static_configs.iter();
            let found = listed.chain(group.files.iter().flat_map(FileGroups::groups));
            let found: Vec<_> = found.cloned().collect();
            match managers_of(&group.config, &found) {
                Ok((managers, problems)) => {
                    for problem in problems {
                        warn!(problem, "alertmanager cannot be reached");
                    }
                    self.follow(group, &managers);
                    all.active.extend(managers.active);
                    all.dropped.extend(managers.dropped);
                }
                Err(error) => error!(%error, "relabel_configs of alertmanagers do not compile"),
            }
        }
        *shown.lock() = all;
        groups
    }

    /// Starts and ends the senders of a group.
    fn follow(&self, group: &mut Group, managers: &Managers) {
        group.queues.retain(|url, mailbox| {
            let stays = managers.active.contains(url);
            if !stays {
                mailbox.gone.cancel();
                self.metrics.note(url, |counts| counts.is_known = false);
            }
            stays
        });
        for url in &managers.active {
            if group.queues.contains_key(url) {
                continue;
            }
            let mailbox = Arc::new(Mailbox {
                queue: Mutex::default(),
                changed: Notify::new(),
                gone: CancellationToken::new(),
            });
            self.metrics.note(url, |counts| counts.is_known = true);
            let sender = Sender {
                url: url.clone(),
                timeout: group.config.timeout,
                client: group.client.clone(),
                mailbox: mailbox.clone(),
                clock: self.clock.clone(),
                metrics: self.metrics.clone(),
            };
            self.tasks.spawn(sender.run(self.stop.clone()));
            group.queues.insert(url.clone(), mailbox);
        }
    }

    fn put(&self, group: &Group, alerts: &[Outgoing]) {
        let alerts = alerts.iter().filter_map(|alert| {
            let mut labels = alert.labels.to_builder();
            let stays = group.relabel.apply(&mut labels);
            stays.then(|| Arc::new(Outgoing { labels: labels.build(), ..alert.clone() }))
        });
        let alerts: Vec<_> = alerts.collect();
        for (url, mailbox) in &group.queues {
            let (dropped, waiting) = {
                let mut queue = mailbox.queue.lock();
                (queue.push(alerts.iter().cloned()), queue.len())
            };
            self.metrics.note_dropped(url, dropped);
            self.metrics.note(url, |counts| counts.waiting = waiting);
            mailbox.changed.notify_one();
        }
    }
}

impl Group {
    fn new(config: &AlertmanagerConfig) -> Option<Self> {
        let relabel = match Rules::compile(&config.alert_relabel_configs) {
            Ok(relabel) => relabel,
            Err(error) => {
                error!(%error, "alertmanagers refused: their rules do not compile");
                return None;
            }
        };
        Some(Self {
            client: Arc::new(HttpClient::new(config.client.clone(), config.timeout)),
            files: config.file_sd_configs.iter().cloned().map(FileGroups::new).collect(),
            relabel,
            queues: HashMap::new(),
            config: config.clone(),
        })
    }
}

/// The alerts with the cluster's external labels, as the configuration rewrites them.
fn relabelled(
    alerts: Vec<Outgoing>,
    external: &BTreeMap<String, String>,
    rules: &Rules,
) -> Vec<Outgoing> {
    let relabel = |mut alert: Outgoing| {
        let mut labels = alert.labels.to_builder();
        for (name, value) in external {
            if labels.value(name).is_empty() {
                labels.set(name, value.as_str());
            }
        }
        let stays = rules.apply(&mut labels);
        alert.labels = labels.build();
        stays.then_some(alert)
    };
    alerts.into_iter().filter_map(relabel).collect()
}

/// Empties one mailbox.
struct Sender {
    url: String,
    timeout: Duration,
    client: Arc<HttpClient>,
    mailbox: Arc<Mailbox>,
    clock: Arc<dyn Clock>,
    metrics: Arc<NotifierMetrics>,
}

/// Why alerts were not taken.
#[derive(Debug)]
enum NotTaken {
    /// Try again.
    ForNow(String),
    /// It would be refused every time.
    Ever(String),
}

impl Sender {
    async fn run(self, stop: CancellationToken) {
        let gone = self.mailbox.gone.clone();
        tokio::select! {
            () = gone.cancelled() => return,
            () = stop.cancelled() => {}
            () = self.send_all() => {}
        }
        // Nothing comes any more: what waits has a moment.
        let drain = async {
            while self.mailbox.queue.lock().len() > 0 {
                if self.send_next().await.is_some() {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(DRAIN_TIME, drain).await;
    }

    async fn send_all(&self) {
        loop {
            match self.send_next().await {
                Some(pause) => tokio::time::sleep(pause).await,
                None if self.mailbox.queue.lock().len() > 0 => {}
                None => self.mailbox.changed.notified().await,
            }
        }
    }

    /// Sends a batch, if there is one. How long to wait if it was not taken.
    async fn send_next(&self) -> Option<Duration> {
        let (batch, dropped) = self.mailbox.queue.lock().next(self.clock.now());
        self.metrics.note_dropped(&self.url, dropped);
        let alerts = batch.len() as u64;
        let mut pause = None;
        if alerts > 0 {
            // Whoever ends this in the middle leaves the batch behind.
            let mut taken = ReturnOnDrop { mailbox: &self.mailbox, batch };
            let sent = self.post(&taken.batch).await;
            let batch = std::mem::take(&mut taken.batch);
            match sent {
                Ok(()) => {
                    self.mailbox.queue.lock().done();
                    self.metrics.note(&self.url, |counts| counts.sent += alerts);
                }
                Err(NotTaken::ForNow(problem)) => {
                    debug!(url = self.url, alerts, problem, "alerts not taken; trying again");
                    let (wait, dropped) = self.mailbox.queue.lock().failed(batch);
                    self.metrics.note(&self.url, |counts| counts.errors += alerts);
                    self.metrics.note_dropped(&self.url, dropped);
                    pause = Some(wait);
                }
                Err(NotTaken::Ever(problem)) => {
                    error!(url = self.url, alerts, problem, "alerts refused");
                    self.mailbox.queue.lock().done();
                    self.metrics.note(&self.url, |counts| {
                        counts.errors += alerts;
                        counts.dropped += alerts;
                    });
                }
            }
        }
        let waiting = self.mailbox.queue.lock().len();
        self.metrics.note(&self.url, |counts| counts.waiting = waiting);
        pause
    }

    async fn post(&self, batch: &[Arc<Outgoing>]) -> Result<(), NotTaken> {
        let alerts: Vec<_> = batch.iter().map(|alert| alert.to_json()).collect();
        let body = serde_json::to_vec(&alerts).expect("texts always serialise");
        let work = async {
            let mut request = Request::new(Full::new(Bytes::from(body)));
            *request.method_mut() = Method::POST;
            *request.uri_mut() =
                self.url.parse().map_err(|_| NotTaken::Ever("not a valid URL".to_owned()))?;
            let headers = request.headers_mut();
            headers.insert(CONTENT_TYPE, JSON);
            headers.insert(USER_AGENT, AGENT);
            let for_now = |error: &dyn std::fmt::Display| NotTaken::ForNow(error.to_string());
            if let Some(value) = self.client.authorization().await.map_err(|e| for_now(&e))? {
                headers.insert(AUTHORIZATION, value);
            }
            let response = self.client.send(request).await.map_err(|error| for_now(&error))?;
            let status = response.status();
            // Read to its end, so that the connection serves again.
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            if status.is_success() {
                return Ok(());
            }
            let said = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned());
            let problem = format!("bad response status {status}: {}", said.unwrap_or_default());
            let is_final = status.is_client_error() && ![408, 429].contains(&status.as_u16());
            Err(if is_final { NotTaken::Ever(problem) } else { NotTaken::ForNow(problem) })
        };
        let late = || NotTaken::ForNow("context deadline exceeded".to_owned());
        tokio::time::timeout(self.timeout, work.boxed()).await.unwrap_or_else(|_| Err(late()))
    }
}

/// Gives a batch back whose sending was broken off.
struct ReturnOnDrop<'a> {
    mailbox: &'a Mailbox,
    batch: Vec<Arc<Outgoing>>,
}

impl Drop for ReturnOnDrop<'_> {
    fn drop(&mut self) {
        if !self.batch.is_empty() {
            self.mailbox.queue.lock().failed(std::mem::take(&mut self.batch));
        }
    }
}
