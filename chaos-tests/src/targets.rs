//! Scrape targets: some log every page they serve, others serve what a test puts there.

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// The gauge that every page shows: how many pages were served before this one.
pub const SEQUENCE: &str = "chaos_page_sequence";

/// What a target answers with, given how many pages it served before.
type Pages = Arc<dyn Fn(u64) -> String + Send + Sync>;

/// One target on a port of its own. It serves until the process ends.
#[derive(Debug)]
pub struct Target {
    address: String,
    served: Arc<AtomicU64>,
}

impl Target {
    /// Listens and serves pages with [`SEQUENCE`].
    pub fn start() -> Self {
        let page = |sequence| format!("# TYPE {SEQUENCE} gauge\n{SEQUENCE} {sequence}\n");
        Self::serving("127.0.0.1", Arc::new(page))
    }

    fn serving(host: &str, pages: Pages) -> Self {
        let listener = TcpListener::bind((host, 0)).expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let served = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&served);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (counter, pages) = (Arc::clone(&counter), Arc::clone(&pages));
                // A client that goes away in the middle of a page is not our concern.
                std::thread::spawn(move || drop(serve(&stream, &counter, &pages)));
            }
        });
        Self { address, served }
    }

    /// `HOST:PORT`, which is also its `instance`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Pages served so far.
    pub fn served(&self) -> u64 {
        self.served.load(Ordering::SeqCst)
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
fn serve(stream: &TcpStream, served: &AtomicU64, pages: &Pages) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    loop {
        loop {
            match lines.next().transpose()? {
                None => return Ok(()),
                Some(line) if line.is_empty() => break,
                Some(_) => {}
            }
        }
        let body = pages(served.fetch_add(1, Ordering::SeqCst));
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
