//! Scrape targets: some log every page they serve, others serve what a test puts there.

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
};

use crate::wait::wall_millis;

/// The gauge that every page shows: how many pages were served before this one.
pub const SEQUENCE: &str = "chaos_page_sequence";

/// What a target answers with, given how many pages it served before.
type Pages = Arc<dyn Fn(u64) -> String + Send + Sync>;

/// When each page was served, in wall-clock milliseconds.
type Served = Arc<Mutex<Vec<i64>>>;

/// One target on a port of its own. It serves until the process ends.
#[derive(Debug)]
pub struct Target {
    address: String,
    served: Served,
}

impl Target {
    /// Listens and serves pages with [`SEQUENCE`].
    pub fn start() -> Self {
        Self::start_at("127.0.0.1")
    }

    /// The same at another address of this host.
    pub fn start_at(host: &str) -> Self {
        let page = |sequence| format!("# TYPE {SEQUENCE} gauge\n{SEQUENCE} {sequence}\n");
        Self::serving(host, Arc::new(page))
    }

    fn serving(host: &str, pages: Pages) -> Self {
        let listener = TcpListener::bind((host, 0)).expect("a host has a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let served = Served::default();
        let log = Arc::clone(&served);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, pages) = (Arc::clone(&log), Arc::clone(&pages));
                // A client that goes away in the middle of a page is not our concern.
                std::thread::spawn(move || drop(serve(&stream, &log, &pages)));
            }
        });
        Self { address, served }
    }

    /// `HOST:PORT`, which is also its `instance`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// When it served each page, in wall-clock milliseconds.
    pub fn served_at(&self) -> Vec<i64> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Pages served so far.
    pub fn served(&self) -> u64 {
        self.served_at().len() as u64
    }
}

/// A target whose page a test changes.
#[derive(Debug)]
pub struct PageTarget {
    target: Target,
    page: Arc<Mutex<String>>,
}

impl PageTarget {
    /// Serves `page` at a loopback address.
    pub fn start(host: &str, page: &str) -> Self {
        let page = Arc::new(Mutex::new(page.to_owned()));
        let shown = Arc::clone(&page);
        let pages = move |_| shown.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Self { target: Target::serving(host, Arc::new(pages)), page }
    }

    /// Serves another page from now on.
    pub fn show(&self, page: &str) {
        page.clone_into(&mut self.page.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// `HOST:PORT`, which is also its `instance`.
    pub fn address(&self) -> &str {
        self.target.address()
    }

    /// Pages served so far.
    pub fn served(&self) -> u64 {
        self.target.served()
    }
}

/// Answers requests of one connection until the client closes it.
fn serve(stream: &TcpStream, served: &Mutex<Vec<i64>>, pages: &Pages) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    loop {
        loop {
            match lines.next().transpose()? {
                None => return Ok(()),
                Some(line) if line.is_empty() => break,
                Some(_) => {}
            }
        }
        let body = {
            let mut served = served.lock().unwrap_or_else(PoisonError::into_inner);
            served.push(wall_millis());
            pages(served.len() as u64 - 1)
        };
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4";
        write!(&mut &*stream, "{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len())?;
    }
}

/// A prometheus.yml that scrapes these targets, one job for each interval in seconds.
pub fn config(jobs: &[(&str, u64, &[Target])]) -> String {
    let mut text = "scrape_configs:\n".to_owned();
    for (job, interval_seconds, targets) in jobs {
        let addresses: Vec<_> = targets.iter().map(|target| target.address.as_str()).collect();
        text.push_str(&format!(
            "  - job_name: {job}\n    scrape_interval: {interval_seconds}s\n    \
             scrape_timeout: {interval_seconds}s\n    static_configs:\n      - targets: {addresses:?}\n"
        ));
    }
    text
}
