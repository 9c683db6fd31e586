//! `narthex import tsdb DIR`: brings the blocks of a Prometheus into a cluster, through the write
//! path every sender uses.
//!
//! Blocks are read from the oldest on, and a series' samples are sent in order, so that they come
//! as new samples and not as late ones. A few senders share a block's series; each waits for its
//! answer before it sends more, and as long as it is told to when the cluster is busy. What is sent
//! twice is stored once, so an import that was cut off can be run again.

mod block;
mod bytes;
mod chunk;
mod histogram;
mod push;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use block::{Block, BlockError};
use push::{PushError, Pusher};
use tokio::task::JoinSet;

use crate::{
    flags::ImportArguments,
    output::{answer, say},
};

/// Senders at one time. More only wait for the same log.
const SENDERS: usize = 4;
/// Samples of one series that go into a request together.
const SAMPLES_TOGETHER: usize = 10_000;
/// The same of histograms.
const HISTOGRAMS_TOGETHER: usize = 500;

/// Why an import ended.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Name the folder of a Prometheus's data.
    #[error("no blocks in {}: want folders with a meta.json and an index", .0.display())]
    NoBlocks(PathBuf),
    #[error(transparent)]
    Block(#[from] BlockError),
    #[error(transparent)]
    Push(#[from] PushError),
    /// They are not in the cluster, all others are.
    #[error("{0} chunks were left out: their encoding is not known to this version")]
    LeftOut(u64),
    /// They are not in the cluster, all others are.
    #[error("{requests} requests were taken in part; the first time because: {first}")]
    Refused { requests: u64, first: String },
    #[error("print the answer")]
    Print(#[from] std::io::Error),
}

/// What came of some series.
#[derive(Debug, Default)]
struct Sum {
    samples: u64,
    other_chunks: u64,
    refused: u64,
    first_refusal: Option<String>,
}

impl Sum {
    fn add(&mut self, other: Self) {
        self.samples += other.samples;
        self.other_chunks += other.other_chunks;
        self.refused += other.refused;
        self.first_refusal = self.first_refusal.take().or(other.first_refusal);
    }
}

/// Imports a folder of blocks, or one block.
pub async fn tsdb(arguments: &ImportArguments) -> Result<(), ImportError> {
    let blocks = find_blocks(&arguments.folder)?;
    let pusher = Pusher::new(&arguments.server)?;
    let (mut sum, count) = (Sum::default(), blocks.len());
    for folder in blocks {
        say(&format!("importing {}", folder.display()));
        let opened = tokio::task::spawn_blocking(move || Block::open(&folder)).await;
        let block = Arc::new(opened.expect("BUG: reading a block panicked")?);
        sum.add(import(block, &pusher).await?);
    }
    answer(&format!("{} samples imported from {count} blocks", sum.samples))?;
    match (sum.other_chunks, sum.first_refusal) {
        (0, None) => Ok(()),
        (_, Some(first)) => Err(ImportError::Refused { requests: sum.refused, first }),
        (chunks, None) => Err(ImportError::LeftOut(chunks)),
    }
}

/// The blocks in a folder, the oldest first; the folder itself, if it is a block.
fn find_blocks(folder: &Path) -> Result<Vec<PathBuf>, ImportError> {
    let is_block = |path: &Path| path.join("meta.json").is_file() && path.join("index").is_file();
    if is_block(folder) {
        return Ok(vec![folder.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        // Prometheus's own marks of blocks that are not whole, or not wanted any more.
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_unfinished = name.contains(".tmp");
        if is_block(&path) && !is_unfinished {
            found.push((block::min_time(&path)?, path));
        }
    }
    found.sort();
    match found.is_empty() {
        true => Err(ImportError::NoBlocks(folder.to_owned())),
        false => Ok(found.into_iter().map(|(_, path)| path).collect()),
    }
}

/// Sends all series of a block; returns when all is acknowledged.
async fn import(block: Arc<Block>, pusher: &Pusher) -> Result<Sum, ImportError> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut senders = JoinSet::new();
    for _ in 0..SENDERS {
        senders.spawn(send(Arc::clone(&block), Arc::clone(&next), pusher.clone()));
    }
    let mut sum = Sum::default();
    while let Some(sent) = senders.join_next().await {
        sum.add(sent.expect("BUG: a sender panicked")?);
    }
    Ok(sum)
}

/// Takes one series after the other and sends requests of several, or of parts of one.
async fn send(
    block: Arc<Block>,
    next: Arc<AtomicUsize>,
    pusher: Pusher,
) -> Result<Sum, ImportError> {
    let mut sum = Sum::default();
    let mut request = push::Request::default();
    loop {
        let at = next.fetch_add(1, Ordering::Relaxed);
        if at >= block.len() {
            break;
        }
        let reading = Arc::clone(&block);
        let read = tokio::task::spawn_blocking(move || reading.series(at)).await;
        let series = read.expect("BUG: reading a series panicked")?;
        sum.samples += (series.samples.len() + series.histograms.len()) as u64;
        sum.other_chunks += series.other_chunks;
        for samples in series.samples.chunks(SAMPLES_TOGETHER) {
            request.add(&series.labels, samples, &[]);
            push_if_full(&pusher, &mut request, &mut sum).await?;
        }
        for histograms in series.histograms.chunks(HISTOGRAMS_TOGETHER) {
            request.add(&series.labels, &[], histograms);
            push_if_full(&pusher, &mut request, &mut sum).await?;
        }
    }
    push(&pusher, &mut request, &mut sum).await?;
    Ok(sum)
}

async fn push_if_full(
    pusher: &Pusher,
    request: &mut push::Request,
    sum: &mut Sum,
) -> Result<(), ImportError> {
    match request.is_full() {
        true => push(pusher, request, sum).await,
        false => Ok(()),
    }
}

async fn push(
    pusher: &Pusher,
    request: &mut push::Request,
    sum: &mut Sum,
) -> Result<(), ImportError> {
    if request.samples() == 0 {
        return Ok(());
    }
    if let Some(refusal) = pusher.push(std::mem::take(request)).await? {
        sum.refused += 1;
        sum.first_refusal.get_or_insert(refusal);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
