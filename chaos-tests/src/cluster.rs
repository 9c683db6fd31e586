//! A cluster of processes: started, killed, started again, always cleaned up.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError, mpsc},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    api::Api,
    disk::Disk,
    ports::free_address,
    view::{Size, View, digests_equal},
    wait::until,
};

/// From the start of the process until it answers, on a loaded machine.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// What `narthex up --nodes 3` makes, and what is asked of one with more nodes.
const SIZE: Size = Size { nodes: 3, shards: 6, replicas: 3 };
/// One answer over HTTP.
const CALL_DEADLINE: Duration = Duration::from_secs(10);
/// From SIGTERM until every process has ended.
const STOP_DEADLINE: Duration = Duration::from_secs(60);

/// Clusters are measured: two at once on two cores would measure each other. This waits until no
/// other one of this process is there.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `narthex up --nodes 3` in a folder of its own. Dropping it kills what is left of it.
#[derive(Debug)]
pub struct Cluster {
    /// The nodes' own, by their names; dropped before the folder that they are mounted in.
    disks: Vec<Disk>,
    folder: TempDir,
    flags: Vec<String>,
    process: Option<Process>,
    _alone: MutexGuard<'static, ()>,
}

#[derive(Debug)]
struct Process {
    parent: Child,
    url: String,
}

impl Cluster {
    /// Three nodes that scrape what `config` (a prometheus.yml) says, ready for writes.
    pub fn start(config: &str) -> Self {
        Self::start_with(Some(config), &["--listen=127.0.0.1:0"])
    }

    /// The same, where a user gets who names no address.
    pub fn start_on_default_port(config: &str) -> Self {
        Self::start_with(Some(config), &[])
    }

    /// Three nodes with these flags too; without a configuration they watch themselves.
    pub fn start_with(config: Option<&str>, more_flags: &[&str]) -> Self {
        let mut cluster = Self::prepare(3, config, more_flags);
        cluster.start_again();
        cluster
    }

    /// So many nodes, with three replicas of each shard, that watch nothing.
    pub fn start_nodes(nodes: u32) -> Self {
        let mut cluster = Self::prepare(nodes, Some("{}"), &["--listen=127.0.0.1:0"]);
        cluster.start_again();
        cluster
    }

    /// Three nodes that answer at the same address after each start, so that senders go on.
    pub fn start_on_a_port(more_flags: &[&str]) -> Self {
        let listen = format!("--listen={}", free_address());
        Self::start_with(Some("{}"), &[&[listen.as_str()], more_flags].concat())
    }

    /// Three nodes with a disk each, or the reason why this machine has none.
    pub fn start_on_disks(config: &str) -> Result<Self, String> {
        let mut cluster = Self::prepare(3, Some(config), &["--listen=127.0.0.1:0"]);
        for name in ["n1", "n2", "n3"] {
            let image = cluster.folder.path().join(name);
            cluster.disks.push(Disk::make(&image, &cluster.data().join(name))?);
        }
        cluster.start_again();
        Ok(cluster)
    }

    /// Three nodes that start from a backup.
    pub fn start_from_backup(backup: &Path) -> Self {
        let mut cluster = Self::prepare(3, None, &["--listen=127.0.0.1:0"]);
        let restored = Command::new(program())
            .args(["cluster", "restore"])
            .arg(backup)
            .arg(format!("--data={}", cluster.data().display()))
            .output()
            .expect("the program starts");
        assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
        cluster.start_again();
        cluster
    }

    /// Three nodes that start from the folder in a `.tar.gz`.
    pub fn start_from_archive(archive: &Path, more_flags: &[&str]) -> Self {
        let mut cluster = Self::prepare(3, Some("{}"), more_flags);
        fs::create_dir(cluster.data()).expect("a folder can be made");
        let unpacked = Command::new("tar")
            .args(["--extract", "--gzip", "--file"])
            .arg(archive)
            .arg("--directory")
            .arg(cluster.data())
            .output()
            .expect("tar starts");
        assert!(unpacked.status.success(), "{}", String::from_utf8_lossy(&unpacked.stderr));
        cluster.start_again();
        cluster
    }

    /// Backs the running cluster up to a new folder.
    pub fn back_up(&self, backup: &Path) -> Result<(), String> {
        let output = Command::new(program())
            .args(["cluster", "backup", "--server", &self.running().url])
            .arg(backup)
            .output()
            .map_err(|error| error.to_string())?;
        match output.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    fn prepare(nodes: u32, config: Option<&str>, more_flags: &[&str]) -> Self {
        let alone = alone();
        let folder = tempfile::Builder::new().prefix("narthex-chaos").tempdir();
        let folder = folder.expect("a temporary folder can be made");
        let mut flags = vec!["up".to_owned(), format!("--nodes={nodes}")];
        flags.extend(more_flags.iter().map(|flag| (*flag).to_owned()));
        flags.push(format!("--data={}", folder.path().join("data").display()));
        if let Some(config) = config {
            let file = folder.path().join("prometheus.yml");
            fs::write(&file, config).expect("a temporary file can be written");
            flags.push(format!("--config.file={}", file.display()));
        }
        Self { disks: Vec::new(), folder, flags, process: None, _alone: alone }
    }

    /// The disks of `n1`, `n2` and `n3`, where it was started on any.
    pub fn disks(&self) -> &[Disk] {
        &self.disks
    }

    /// Starts the same cluster in the same folder, after it was stopped or killed.
    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "the cluster runs already");
        let log = self.folder.path().join("log");
        let log = File::options().create(true).append(true).open(log).expect("a log can be opened");
        let mut parent = Command::new(program())
            .args(&self.flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("the program starts");
        let output = parent.stdout.take().expect("standard output is piped");
        match announced_url(output) {
            Ok(url) => self.process = Some(Process { parent, url }),
            Err(why) => {
                let _ = parent.kill();
                let _ = parent.wait();
                panic!("no URL from narthex up: {why}\n{}", self.log_end());
            }
        }
        let api = self.api();
        until("the cluster is ready", START_DEADLINE, || match api.text("/-/ready") {
            Ok((200, _)) => Ok(()),
            other => Err(format!("{other:?}\n{}", self.log_end())),
        });
    }

    /// Its HTTP API.
    pub fn api(&self) -> Api {
        Api::new(&self.running().url, CALL_DEADLINE)
    }

    /// What all its processes have logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn log_end(&self) -> String {
        let text = self.log();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    /// Replaces the file of `--config.file`. Nobody reads it before they are told to.
    pub fn write_config(&self, config: &str) {
        let file = self.folder.path().join("prometheus.yml");
        fs::write(file, config).expect("a temporary file can be written");
    }

    /// Sends SIGHUP to the process that reads the configuration.
    pub fn hang_up(&self) {
        kill(self.running().parent.id(), Signal::HUP);
    }

    /// Stops a node as a service manager would. It is started again.
    pub fn terminate_node(&self, name: &str) {
        kill(self.node(name), Signal::TERM);
    }

    /// Stops a node from running without ending it.
    pub fn freeze_node(&self, name: &str) {
        kill(self.node(name), Signal::STOP);
    }

    /// Lets a frozen node go on.
    pub fn thaw_node(&self, name: &str) {
        kill(self.node(name), Signal::CONT);
    }

    /// The folder that its nodes have theirs in.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// `narthex cluster status -o json`.
    pub fn status(&self) -> Result<Value, String> {
        let output = Command::new(program())
            .args(["cluster", "status", "--output=json", "--server", &self.running().url])
            .output()
            .map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())
    }

    /// Whether all three nodes answer and every shard is led.
    pub fn all_reachable(&self) -> Result<(), String> {
        View::of(self.status()?).is_whole(SIZE)
    }

    /// Whether the three replicas of every shard hold the same at the same log index.
    pub fn digests_equal(&self) -> Result<(), String> {
        digests_equal(&self.api(), SIZE).map(drop)
    }

    /// The name of the node that leads this shard.
    pub fn leader(&self, shard: u64) -> Result<String, String> {
        View::of(self.status()?).leader(shard)
    }

    /// The process ids of child nodes, by name.
    pub fn nodes(&self) -> Vec<(String, u32)> {
        let parent = self.running().parent.id();
        let mut nodes: Vec<_> = processes()
            .filter(|pid| parent_of(*pid) == Some(parent))
            .filter_map(|pid| Some((node_name(pid)?, pid)))
            .collect();
        nodes.sort();
        nodes
    }

    /// Waits until all three nodes run, and returns the process id of one.
    pub fn node(&self, name: &str) -> u32 {
        until(&format!("{name} runs"), START_DEADLINE, || {
            let nodes = self.nodes();
            let found = nodes.iter().find(|(other, _)| other == name);
            found.map(|(_, pid)| *pid).ok_or_else(|| format!("{nodes:?}"))
        })
    }

    /// Kills one node as a crash would: without a word.
    pub fn kill_node(&self, name: &str) {
        kill(self.node(name), Signal::KILL);
    }

    /// Kills every process at once: the supervisor first, so that it starts none again.
    pub fn kill_all(&mut self) {
        let nodes = self.nodes();
        let mut process = self.process.take().expect("the cluster runs");
        kill(process.parent.id(), Signal::KILL);
        nodes.iter().for_each(|(_, pid)| kill(*pid, Signal::KILL));
        process.parent.wait().expect("a child can be waited for");
        wait_for_end(&nodes);
    }

    /// Kills the supervisor alone, and waits until the kernel has ended its children.
    pub fn kill_parent(&mut self) {
        let nodes = self.nodes();
        let mut process = self.process.take().expect("the cluster runs");
        kill(process.parent.id(), Signal::KILL);
        process.parent.wait().expect("a child can be waited for");
        wait_for_end(&nodes);
    }

    /// Stops it as Ctrl-C would.
    pub fn stop(&mut self) {
        let nodes = self.nodes();
        let mut process = self.process.take().expect("the cluster runs");
        kill(process.parent.id(), Signal::TERM);
        let status = until("narthex up ends", STOP_DEADLINE, || match process.parent.try_wait() {
            Ok(Some(status)) => Ok(status),
            other => Err(format!("{other:?}\n{}", self.log_end())),
        });
        assert!(status.success(), "{status}\n{}", self.log_end());
        wait_for_end(&nodes);
    }

    fn running(&self) -> &Process {
        self.process.as_ref().expect("the cluster runs")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.process.is_some() {
            self.kill_all();
        }
        if std::thread::panicking() {
            self.folder.disable_cleanup(true);
            eprintln!("kept {}; its log ends:\n{}", self.folder.path().display(), self.log_end());
        }
    }
}

/// The program under test: `NARTHEX_BIN`, or what cargo built beside this test.
pub fn program() -> PathBuf {
    if let Some(path) = std::env::var_os("NARTHEX_BIN") {
        return path.into();
    }
    let here = std::env::current_exe().expect("a test knows its own path");
    // Programs lie beside it, tests one folder deeper.
    let folders = here.ancestors().skip(1).take(2).map(|folder| folder.join("narthex"));
    let built = folders.clone().find(|path| path.is_file());
    built.unwrap_or_else(|| panic!("none of {:?} is there", folders.collect::<Vec<_>>()))
}

/// Reads the line with the URL. The rest of the output is read too, so that no write of the
/// program ever waits for us.
fn announced_url(output: impl io::Read + Send + 'static) -> Result<String, String> {
    let (found, url) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if let Some(at) = line.find("http") {
                let _ = found.try_send(line[at..].trim().to_owned());
            }
        }
    });
    url.recv_timeout(START_DEADLINE).map_err(|error| error.to_string())
}

pub(crate) fn kill(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("process ids are positive");
    // A process that has already ended is what was wanted.
    let _ = kill_process(pid, signal);
}

fn wait_for_end(nodes: &[(String, u32)]) {
    until("all nodes have ended", STOP_DEADLINE, || {
        let left: Vec<_> =
            nodes.iter().filter(|(name, pid)| node_name(*pid).as_ref() == Some(name)).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").expect("this is Linux");
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in brackets may contain spaces: count from its end.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// The name of the node that this process is; none for a process that has ended.
fn node_name(pid: u32) -> Option<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words: Vec<_> = line.split(|byte| *byte == 0).collect();
    if words.get(1)? != b"node" {
        return None;
    }
    let folder = words.iter().find_map(|word| word.strip_prefix(b"--storage.tsdb.path="))?;
    let name = folder.rsplit(|byte| *byte == b'/').next()?;
    String::from_utf8(name.to_vec()).ok()
}
