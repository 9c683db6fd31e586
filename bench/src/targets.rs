//! Scrape targets: a port for each host, and the prometheus.yml that names them.

use std::{
    io::{self, BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use crate::{
    fleet::{Host, JOB, texts, write_page},
    page::PageSeries,
    unmeasured::Unmeasured,
};

/// Targets that serve until this is dropped.
#[derive(Debug)]
pub struct Targets {
    stopped: Arc<AtomicBool>,
    addresses: Vec<String>,
    series: usize,
    served: Arc<AtomicU64>,
}

impl Targets {
    /// Listens on a free port of loopback for each host.
    pub fn start(page: &[PageSeries], hosts: usize, seconds: u64) -> Result<Self, Unmeasured> {
        let series = Arc::new(texts(page));
        let served = Arc::new(AtomicU64::new(0));
        let stopped = Arc::new(AtomicBool::new(false));
        let mut addresses = Vec::new();
        for number in 0..hosts {
            let failed = || Unmeasured::at("listen for scrapes");
            let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(failed())?;
            addresses.push(listener.local_addr().map_err(failed())?.to_string());
            let host = Arc::new(Mutex::new(Host::new(number, page, 1000 * seconds as i64)));
            let target = Target { host, series: series.clone(), served: served.clone() };
            let stopped = stopped.clone();
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    if stopped.load(Ordering::Relaxed) {
                        return;
                    }
                    let target = target.clone();
                    // A scraper that goes away in the middle of a page is not our concern.
                    std::thread::spawn(move || drop(target.serve(&stream)));
                }
            });
        }
        Ok(Self { stopped, addresses, series: page.len(), served })
    }

    /// Samples served so far.
    pub fn samples_served(&self) -> u64 {
        self.served.load(Ordering::Relaxed) * self.series as u64
    }

    /// A prometheus.yml that scrapes them all.
    pub fn config(&self, interval_seconds: u64) -> String {
        format!(
            "global:\n  scrape_interval: {interval_seconds}s\n  scrape_timeout: {interval_seconds}s\n\
             scrape_configs:\n  - job_name: {JOB}\n    static_configs:\n      - targets: {:?}\n",
            self.addresses
        )
    }
}

impl Drop for Targets {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        for address in &self.addresses {
            // Wakes the thread that listens there; connections end with their scraper.
            drop(TcpStream::connect(address));
        }
    }
}

#[derive(Debug, Clone)]
struct Target {
    host: Arc<Mutex<Host>>,
    series: Arc<Vec<String>>,
    served: Arc<AtomicU64>,
}

impl Target {
    /// Answers requests of one connection until the scraper closes it.
    fn serve(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut lines = BufReader::new(stream).lines();
        let mut answer = Vec::new();
        loop {
            loop {
                match lines.next().transpose()? {
                    None => return Ok(()),
                    Some(line) if line.is_empty() => break,
                    Some(_) => {}
                }
            }
            let mut body = Vec::new();
            {
                let mut host = self.host.lock().unwrap_or_else(PoisonError::into_inner);
                write_page(&self.series, host.step(), &mut body);
            }
            answer.clear();
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4";
            write!(answer, "{head}\r\ncontent-length: {}\r\n\r\n", body.len())?;
            answer.extend_from_slice(&body);
            self.served.fetch_add(1, Ordering::Relaxed);
            (&mut &*stream).write_all(&answer)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{http::Http, page};

    #[test]
    fn each_target_serves_its_own_page_and_counts_it() {
        let page = page::read(&page::made_up()).unwrap();
        let targets = Targets::start(&page, 2, 2).unwrap();
        let pages: Vec<String> = targets
            .addresses
            .iter()
            .map(|at| Http::new(&format!("http://{at}"), Duration::from_secs(10)))
            .map(|http| {
                let first = http.text("/metrics").unwrap();
                assert_ne!(first, http.text("/metrics").unwrap(), "values move");
                first
            })
            .collect();
        assert_ne!(pages[0], pages[1]);
        assert_eq!(page::read(&pages[0]).unwrap().len(), page.len());
        assert_eq!(targets.samples_served(), 4 * page.len() as u64);
        assert!(targets.config(2).contains(&format!("{:?}", targets.addresses)));
    }
}
