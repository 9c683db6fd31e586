//! A disk that gets full, and has room again: nothing acknowledged is lost, nobody has to help.

use std::{fs, path::Path, process::Command, time::Duration};

use narthex_chaos_tests::{
    api::Api,
    cluster::program,
    disk::{Disk, fill},
    node::Process,
    peers::skip,
    wait::{now, until},
    writer::{SERIES, Writer},
};

/// Between a look of the guard and the next, with room for a busy machine.
const NOTICE_DEADLINE: Duration = Duration::from_secs(30);
/// What is promised from when space returns until samples are taken again.
const RECOVERY_MAX: Duration = Duration::from_secs(30);
const API_DEADLINE: Duration = Duration::from_secs(10);
const CYCLES: usize = 3;
const BATCHES: usize = 10;

fn start(folder: &Path, data: &Path, name: &str) -> (Process, Api) {
    let mut command = Command::new(program());
    command.arg("up").arg("--data").arg(data).args(["--listen", "127.0.0.1:0"]);
    let process = Process::start(command, folder, name);
    let greeting = "Narthex answers at ";
    process.says(&[greeting], NOTICE_DEADLINE);
    let log = process.log();
    let url = log.lines().find_map(|line| line.split_once(greeting)).map(|(_, url)| url.trim());
    let api = Api::new(url.expect("it was just said"), API_DEADLINE);
    until("the node is ready", NOTICE_DEADLINE, || match api.text("/-/ready") {
        Ok((200, _)) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    (process, api)
}

#[test]
fn a_full_disk_refuses_samples_and_recovers_by_itself() {
    let folder = tempfile::tempdir().expect("folder");
    let (mounted, filler) = (folder.path().join("disk"), folder.path().join("disk/filler"));
    let _disk = match Disk::make(&folder.path().join("image"), &mounted) {
        Ok(disk) => disk,
        Err(reason) => {
            skip("full_disk::a_full_disk_refuses_samples_and_recovers_by_itself", &reason);
            return;
        }
    };
    let data = mounted.join("data");
    let (process, api) = start(folder.path(), &data, "first");
    let writer = Writer::start(Api::new(api.url(), API_DEADLINE));
    for _ in 0..CYCLES {
        let wanted = writer.acknowledged() + BATCHES;
        until("batches", NOTICE_DEADLINE, || match writer.acknowledged() {
            some if some < wanted => Err(some.to_string()),
            _ => Ok(()),
        });
        fill(&filler).expect("there is room");
        until("samples are refused", NOTICE_DEADLINE, || {
            match api.metric("narthex_node_disk_refuses")? {
                2.0 => Ok(()),
                other => Err(other.to_string()),
            }
        });
        let status = api.text("/api/v1/status/cluster").expect("an answer").1;
        assert!(status.contains("samples are refused: the disk has"), "{status}");
        let count = api.single("count(chaos_written)").expect("queries go on");
        assert!(count == f64::from(SERIES), "{count} series are shown");
        fs::remove_file(&filler).expect("removed");
        let resumed = writer.resumed_after(now(), RECOVERY_MAX);
        eprintln!("writes resumed after {resumed:?}");
    }
    let written = writer.stop();
    process.stop();
    let (process, api) = start(folder.path(), &data, "second");
    written.check(&api);
    process.stop();
}
