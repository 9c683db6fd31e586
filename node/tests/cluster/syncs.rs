//! What an acknowledgement says of the disk.

use std::{sync::Arc, time::Duration};

use narthex_node::raft::SyncSeam;

use super::{alone, append, up, wall_millis};

const SLOW: Duration = Duration::from_millis(20);

/// A disk whose syncs take a while.
struct SlowSync;

impl SyncSeam for SlowSync {
    fn sync(&self, sync_wal: &mut dyn FnMut() -> std::io::Result<()>) -> std::io::Result<()> {
        #[expect(clippy::disallowed_methods, reason = "stands for a slow disk")]
        std::thread::sleep(SLOW);
        sync_wal()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledgement_comes_before_its_sync() {
    let folder = tempfile::tempdir().expect("folder");
    let node = alone(folder.path(), |config| config.sync = Arc::new(SlowSync)).await;
    let start = wall_millis();
    // The first one waits for the shards to be led.
    append(&node, &up(0.0, start).0, up(0.0, start).1).await;
    for number in 1..=10 {
        let (labels, sample) = up(f64::from(number), start + i64::from(number));
        #[expect(clippy::disallowed_methods, reason = "an acknowledgement is timed for real")]
        let asked = std::time::Instant::now();
        append(&node, &labels, sample).await;
        assert!(asked.elapsed() >= SLOW, "acknowledged after {:?}", asked.elapsed());
    }
    node.stop().await;
}
