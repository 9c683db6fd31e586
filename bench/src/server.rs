//! The systems side by side: how each is started, asked and weighed.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    clock::{now, pause, until},
    http::Http,
    process::System,
    unmeasured::Unmeasured,
};

/// From the start of a process until it answers; a peer may replay for minutes.
const READY_DEADLINE: Duration = Duration::from_secs(300);
/// One look at whether it does.
const READY_ANSWER_DEADLINE: Duration = Duration::from_secs(2);
/// Settling, snapshots, merges: all that is asked before disk is weighed.
const SETTLE_DEADLINE: Duration = Duration::from_secs(300);
/// What Prometheus and VictoriaMetrics keep: more than the largest load.
const RETENTION: &str = "90d";

/// A column of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Kind {
    Prometheus,
    Victoria,
    /// Narthex in one process.
    One,
    /// Narthex in three, each sample on all of them.
    Three,
}

impl Kind {
    /// All, in the order of the table.
    pub const ALL: [Self; 4] = [Self::Prometheus, Self::Victoria, Self::One, Self::Three];

    /// The head of its column, without a version.
    pub fn title(self) -> &'static str {
        match self {
            Self::Prometheus => "Prometheus",
            Self::Victoria => "VictoriaMetrics",
            Self::One => "Narthex, one node",
            Self::Three => "Narthex, three nodes, RF 3",
        }
    }

    /// What an acknowledgement promises.
    pub fn acknowledges(self) -> &'static str {
        match self {
            Self::Prometheus | Self::Victoria => "no",
            Self::One => "yes",
            Self::Three => "yes, on a majority",
        }
    }

    /// How many times it stores each sample.
    pub fn replicas(self) -> u64 {
        if self == Self::Three { 3 } else { 1 }
    }

    pub fn is_ours(self) -> bool {
        matches!(self, Self::One | Self::Three)
    }

    /// The name of its program.
    fn program(self) -> &'static str {
        match self {
            Self::Prometheus => "prometheus",
            Self::Victoria => "victoria-metrics",
            Self::One | Self::Three => "narthex",
        }
    }

    fn ready_path(self) -> &'static str {
        if self == Self::Victoria { "/health" } else { "/-/ready" }
    }

    /// Its arguments: `folder` is its own, `config` a prometheus.yml.
    pub fn arguments(self, folder: &str, address: &str, config: Option<&str>) -> Vec<String> {
        let mut arguments = match self {
            Self::Prometheus => vec![
                format!("--storage.tsdb.path={folder}/db"),
                format!("--web.listen-address={address}"),
                format!("--storage.tsdb.retention.time={RETENTION}"),
                "--web.enable-remote-write-receiver".to_owned(),
                "--web.enable-admin-api".to_owned(),
                "--log.level=warn".to_owned(),
            ],
            Self::Victoria => vec![
                format!("-storageDataPath={folder}/db"),
                format!("-httpListenAddr={address}"),
                format!("-retentionPeriod={RETENTION}"),
                "-search.latencyOffset=0s".to_owned(),
                "-loggerLevel=WARN".to_owned(),
            ],
            Self::One | Self::Three => {
                vec!["up".to_owned(), format!("--data={folder}/db"), format!("--listen={address}")]
            }
        };
        if self == Self::Three {
            arguments.push("--nodes=3".to_owned());
        }
        match (self, config) {
            (Self::Prometheus, None) => arguments.push(format!("--config.file={folder}/none.yml")),
            (Self::Victoria, Some(config)) => {
                arguments.push(format!("-promscrape.config={config}"))
            }
            (_, Some(config)) => arguments.push(format!("--config.file={config}")),
            (_, None) => {}
        }
        arguments
    }
}

/// Where the programs are.
#[derive(Debug, Clone)]
pub struct Programs {
    pub narthex: PathBuf,
    /// A folder with peers, and a file `versions` of lines `program version`.
    pub peers: Option<PathBuf>,
}

impl Programs {
    /// The program of this kind, or why it is not measured.
    pub fn path(&self, kind: Kind) -> Result<PathBuf, Unmeasured> {
        let path = match (kind.is_ours(), &self.peers) {
            (true, _) => self.narthex.clone(),
            (false, Some(peers)) => peers.join(kind.program()),
            (false, None) => {
                return Err(Unmeasured::Absent("no folder of peers was given".to_owned()));
            }
        };
        match path.exists() {
            true => Ok(path),
            false => Err(Unmeasured::Absent(format!("there is no {}", path.display()))),
        }
    }

    /// The version of this kind, empty where nobody knows it.
    pub fn version(&self, kind: Kind) -> String {
        if kind.is_ours() {
            let output = Command::new(&self.narthex).arg("--version").output();
            let text = output.map(|output| output.stdout).unwrap_or_default();
            return last_word(&String::from_utf8_lossy(&text)).to_owned();
        }
        let versions = self.peers.as_ref().map(|peers| peers.join("versions"));
        let text = versions.and_then(|file| fs::read_to_string(file).ok()).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(kind.program()));
        line.map(last_word).unwrap_or_default().to_owned()
    }
}

fn last_word(line: &str) -> &str {
    line.split_whitespace().next_back().unwrap_or_default()
}

/// Bytes on disk, in all of a system's folders.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DiskBytes {
    pub data: u64,
    /// Narthex's raft logs.
    pub log: Option<u64>,
}

/// A system that runs in a folder of its own, which goes with it.
#[derive(Debug)]
pub struct Server {
    pub kind: Kind,
    program: PathBuf,
    arguments: Vec<String>,
    url: String,
    // Ended before its folder is deleted.
    system: Option<System>,
    folder: TempDir,
}

impl Server {
    /// Starts it below `parent` and waits until it is ready.
    pub fn start(
        kind: Kind,
        programs: &Programs,
        parent: &Path,
        config: Option<&str>,
    ) -> Result<Self, Unmeasured> {
        let folder = tempfile::Builder::new().prefix("narthex-bench-").tempdir_in(parent);
        let folder = folder.map_err(Unmeasured::at("make a folder"))?;
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).map_err(Unmeasured::at(format!("write {name}")))?;
            Ok::<_, Unmeasured>(path.to_string_lossy().into_owned())
        };
        write("none.yml", "global: {scrape_interval: 15s}\n")?;
        let config = config.map(|text| write("prometheus.yml", text)).transpose()?;
        let address = free_address()?;
        let path = folder.path().to_string_lossy();
        let arguments = kind.arguments(&path, &address, config.as_deref());
        let program = programs.path(kind)?;
        let url = format!("http://{address}");
        let mut server = Self { kind, program, arguments, url, system: None, folder };
        server.start_again()?;
        Ok(server)
    }

    /// Starts it again where it was; returns how long it took until it was ready.
    fn start_again(&mut self) -> Result<Duration, Unmeasured> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        let start = now();
        let mut system = System::start(command, &self.folder.path().join("log"))?;
        let http = Http::new(&self.url, READY_ANSWER_DEADLINE);
        let mut ended = None;
        until("it is ready", READY_DEADLINE, || match system.still_runs() {
            Ok(()) => http.text(self.kind.ready_path()).map(|_| ()),
            Err(why) => {
                ended = Some(why);
                Ok(())
            }
        })?;
        if let Some(why) = ended {
            return Err(why);
        }
        self.system = Some(system);
        Ok(start.elapsed())
    }

    /// Kills all its processes and starts it again; returns how long that took until it was ready.
    pub fn crash(&mut self) -> Result<Duration, Unmeasured> {
        self.system.take().expect("it runs").kill()?;
        self.start_again()
    }

    /// Where it answers.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its processes.
    pub fn system(&self) -> &System {
        self.system.as_ref().expect("it runs")
    }

    /// Syncs of raft logs so far, summed over its nodes; none of peers.
    pub fn syncs(&self) -> Result<Option<f64>, Unmeasured> {
        if !self.kind.is_ours() {
            return Ok(None);
        }
        let mut sum = 0.0;
        for address in self.node_addresses()? {
            let http = Http::new(&format!("http://{address}"), Duration::from_secs(10));
            sum += syncs_of(&http.text("/metrics")?)
                .ok_or_else(|| Unmeasured::Absent(format!("{address} counts no syncs")))?;
        }
        Ok(Some(sum))
    }

    /// The web listeners of Narthex's nodes, which tell their own metrics.
    fn node_addresses(&self) -> Result<Vec<String>, Unmeasured> {
        let output = Command::new(&self.program)
            .args(["cluster", "status", "--output=json", "--server", &self.url])
            .output()
            .map_err(Unmeasured::at("ask for the cluster's status"))?;
        let status: Value = serde_json::from_slice(&output.stdout).map_err(|_| {
            let error = String::from_utf8_lossy(&output.stderr);
            Unmeasured::Absent(format!("no status of the cluster: {error}"))
        })?;
        let nodes = status["nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
        let addresses = nodes.iter().filter_map(|node| node["webAddress"].as_str());
        Ok(addresses.filter(|address| !address.is_empty()).map(str::to_owned).collect())
    }

    /// Weighs its disk after it has put in order what it holds.
    pub fn disk(&self) -> Result<DiskBytes, Unmeasured> {
        let http = Http::new(&self.url, SETTLE_DEADLINE);
        let root = self.folder.path().join("db");
        match self.kind {
            Kind::Prometheus => {
                http.post("/api/v1/admin/tsdb/snapshot")?;
                Ok(DiskBytes { data: bytes_below(&root.join("snapshots"))?, log: None })
            }
            Kind::Victoria => {
                http.text("/internal/force_flush")?;
                http.text("/internal/force_merge")?;
                // The merge begins a moment after it was asked for.
                pause(Duration::from_secs(5));
                until("parts are merged", SETTLE_DEADLINE, || {
                    let page = http.text("/metrics")?;
                    match page.lines().any(|line| line == "vm_active_force_merges 0") {
                        true => Ok(()),
                        false => Err(Unmeasured::Absent("a merge is under way".to_owned())),
                    }
                })?;
                Ok(DiskBytes { data: bytes_below(&root)?, log: None })
            }
            Kind::One | Kind::Three => {
                http.post("/api/v1/admin/tsdb/settle")?;
                let mut bytes = DiskBytes { data: 0, log: Some(0) };
                for node in entries(&root)? {
                    bytes.data += bytes_below(&node.join("data"))?;
                    bytes.log = Some(bytes.log.unwrap_or(0) + bytes_below(&node.join("log"))?);
                }
                Ok(bytes)
            }
        }
    }
}

/// Of a page of metrics.
fn syncs_of(page: &str) -> Option<f64> {
    let rest = page
        .lines()
        .find_map(|line| line.strip_prefix("narthex_node_raft_log_sync_duration_seconds_count"))?;
    rest.trim_start_matches("_total").trim().parse().ok()
}

/// An address of loopback that nobody listens at.
fn free_address() -> Result<String, Unmeasured> {
    let failed = || Unmeasured::at("look for a free port");
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(failed())?;
    Ok(listener.local_addr().map_err(failed())?.to_string())
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, Unmeasured> {
    let failed = || Unmeasured::at(format!("list {}", folder.display()));
    let entries = fs::read_dir(folder).map_err(failed())?;
    entries.map(|entry| Ok(entry.map_err(failed())?.path())).collect()
}

/// The lengths of all files in a folder, 0 where there is none.
fn bytes_below(folder: &Path) -> Result<u64, Unmeasured> {
    if !folder.is_dir() {
        return Ok(0);
    }
    let mut bytes = 0;
    for path in entries(folder)? {
        bytes += match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_dir() => bytes_below(&path)?,
            Ok(metadata) => metadata.len(),
            // Compactions delete files meanwhile.
            Err(_) => 0,
        };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syncs_are_counted_under_either_name() {
        let name = "narthex_node_raft_log_sync_duration_seconds_count";
        assert_eq!(syncs_of(&format!("# HELP {name} x\n{name} 17\n")), Some(17.0));
        assert_eq!(syncs_of(&format!("a 1\n{name}_total 18\n")), Some(18.0));
        assert_eq!(syncs_of("a 1\n"), None);
    }

    #[test]
    fn a_folder_weighs_what_its_files_do() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("a")).unwrap();
        fs::write(folder.path().join("a/b"), [0; 1000]).unwrap();
        fs::write(folder.path().join("c"), [0; 24]).unwrap();
        assert_eq!(bytes_below(folder.path()).unwrap(), 1024);
        assert_eq!(bytes_below(&folder.path().join("d")).unwrap(), 0);
    }

    #[test]
    fn what_is_missing_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let peers = folder.path().to_owned();
        let programs = Programs { narthex: "/nonexistent/narthex".into(), peers: Some(peers) };
        assert!(programs.path(Kind::One).unwrap_err().to_string().contains("/nonexistent/narthex"));
        assert!(programs.path(Kind::Victoria).is_err());
        fs::write(folder.path().join("versions"), "prometheus 3.5.3\n").unwrap();
        assert_eq!(programs.version(Kind::Prometheus), "3.5.3");
        assert_eq!(programs.version(Kind::Victoria), "");
    }
}
