//! A Prometheus block: its index (version 2), its chunk files and its tombstones.
//!
//! ```text
//! DIR/meta.json   DIR/index   DIR/chunks/000001 …   DIR/tombstones
//! ```
//!
//! Checksums are compared wherever there are any. Chunks in encodings that are not known are
//! counted and named, never passed over in silence.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    bytes::{Malformed, Reader},
    chunk, histogram,
};

const INDEX_MAGIC: u32 = 0xBAAA_D700;
const INDEX_VERSION: u8 = 2;
const CHUNKS_MAGIC: u32 = 0x85BD_40DD;
const CHUNKS_VERSION: u8 = 1;
const TOMBSTONES_MAGIC: u32 = 0x0130_BA30;
const TOMBSTONES_VERSION: u8 = 1;
/// The table of contents: six offsets and a checksum.
const TOC_BYTES: usize = 6 * 8 + 4;
/// Series begin at multiples of this.
const SERIES_ALIGNMENT: usize = 16;
/// Encodings of chunks.
const XOR: u8 = 1;
const HISTOGRAM: u8 = 2;
const FLOAT_HISTOGRAM: u8 = 3;

/// Why a block is not read.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    #[error("read {}", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is damaged, or not of a Prometheus block", path.display())]
    Malformed {
        path: PathBuf,
        #[source]
        source: Malformed,
    },
}

/// A block, in memory.
pub struct Block {
    path: PathBuf,
    index: Vec<u8>,
    segments: Vec<Vec<u8>>,
    deleted: BTreeMap<u64, Vec<(i64, i64)>>,
    symbols: Vec<(usize, usize)>,
    /// Numbers of the series, in the order of their labels.
    series: Vec<u32>,
}

/// One series of a block.
#[derive(Default)]
pub struct BlockSeries {
    pub labels: Vec<(String, String)>,
    /// Times in milliseconds and bits, in time order, without what is deleted.
    pub samples: Vec<(i64, u64)>,
    /// Times and messages as [`histogram::read`] gives them, in the same order.
    pub histograms: Vec<(i64, Vec<u8>)>,
    /// Chunks in encodings that are not known here.
    pub other_chunks: u64,
}

/// The time of a block's first sample, by which blocks are put in order.
pub fn min_time(folder: &Path) -> Result<i64, BlockError> {
    let path = folder.join("meta.json");
    let text = read(&path)?;
    let meta: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    let malformed = || BlockError::Malformed { path, source: Malformed("minTime") };
    meta["minTime"].as_i64().ok_or_else(malformed)
}

fn read(path: &Path) -> Result<Vec<u8>, BlockError> {
    fs::read(path).map_err(|source| BlockError::Io { path: path.to_owned(), source })
}

impl Block {
    /// Reads a block's files.
    pub fn open(folder: &Path) -> Result<Self, BlockError> {
        let path = folder.join("index");
        let index = read(&path)?;
        let segments = read_segments(&folder.join("chunks"))?;
        let deleted = read_tombstones(&folder.join("tombstones"))?;
        let mut block = Self {
            path: folder.to_owned(),
            index,
            segments,
            deleted,
            symbols: Vec::new(),
            series: Vec::new(),
        };
        block.read_toc().map_err(|source| BlockError::Malformed { path, source })?;
        Ok(block)
    }

    /// How many series there are.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    fn at(&self, offset: u64) -> Result<Reader<'_>, Malformed> {
        let offset = usize::try_from(offset).map_err(|_| Malformed("offset"))?;
        Ok(Reader(self.index.get(offset..).ok_or(Malformed("offset"))?))
    }

    fn read_toc(&mut self) -> Result<(), Malformed> {
        let mut head = Reader(&self.index);
        if head.u32("magic")? != INDEX_MAGIC || head.u8("version")? != INDEX_VERSION {
            return Err(Malformed("magic or version of the index"));
        }
        let toc = self.index.len().checked_sub(TOC_BYTES).ok_or(Malformed("contents"))?;
        let (offsets, checksum) = self.index[toc..].split_at(TOC_BYTES - 4);
        Reader(checksum).checksum(offsets, "contents")?;
        let mut offsets = Reader(offsets);
        let symbols = offsets.u64("symbols")?;
        for what in ["series", "label indices", "label index table", "postings"] {
            offsets.u64(what)?;
        }
        let postings_table = offsets.u64("postings table")?;
        self.symbols = self.read_symbols(symbols)?;
        self.series = self.read_all_postings(postings_table)?;
        Ok(())
    }

    /// Where each symbol lies.
    fn read_symbols(&self, offset: u64) -> Result<Vec<(usize, usize)>, Malformed> {
        let mut section = self.at(offset)?.section("symbols")?;
        // The content begins behind its length.
        let end = offset as usize + 4 + section.0.len();
        let count = section.u32("symbols")? as usize;
        if count > section.0.len() {
            return Err(Malformed("symbols"));
        }
        let mut symbols = Vec::with_capacity(count);
        for _ in 0..count {
            let len = section.len("symbol")?;
            symbols.push((end - section.0.len(), len));
            section.bytes(len, "symbol")?;
        }
        Ok(symbols)
    }

    /// The numbers of all series: the postings of the empty label.
    fn read_all_postings(&self, table: u64) -> Result<Vec<u32>, Malformed> {
        let mut section = self.at(table)?.section("postings table")?;
        let entries = section.u32("postings table")?;
        for _ in 0..entries {
            section.uvarint("postings entry")?;
            let mut is_all = true;
            for what in ["label name", "label value"] {
                let len = section.len(what)?;
                section.bytes(len, what)?;
                is_all &= len == 0;
            }
            let offset = section.uvarint("postings")?;
            if is_all {
                let mut postings = self.at(offset)?.section("postings")?;
                let count = postings.u32("postings")? as usize;
                if count > postings.0.len() / 4 {
                    return Err(Malformed("postings"));
                }
                return (0..count).map(|_| postings.u32("posting")).collect();
            }
        }
        Ok(Vec::new())
    }

    fn symbol(&self, number: u64) -> Result<String, Malformed> {
        let number = usize::try_from(number).map_err(|_| Malformed("symbol"))?;
        let &(at, len) = self.symbols.get(number).ok_or(Malformed("symbol"))?;
        String::from_utf8(self.index[at..at + len].to_vec()).map_err(|_| Malformed("symbol"))
    }

    /// One series, by its place among them.
    pub fn series(&self, at: usize) -> Result<BlockSeries, BlockError> {
        let malformed = |source| BlockError::Malformed { path: self.path.clone(), source };
        self.read_series(self.series[at]).map_err(malformed)
    }

    fn read_series(&self, number: u32) -> Result<BlockSeries, Malformed> {
        let mut reader = self.at(u64::from(number) * SERIES_ALIGNMENT as u64)?;
        let len = reader.len("series")?;
        let content = reader.bytes(len, "series")?;
        reader.checksum(content, "series")?;
        let mut content = Reader(content);
        let mut series = BlockSeries::default();
        for _ in 0..content.len("labels")? {
            let name = self.symbol(content.uvarint("label name")?)?;
            series.labels.push((name, self.symbol(content.uvarint("label value")?)?));
        }
        let (mut end, mut reference) = (0i64, 0i64);
        for chunk in 0..content.len("chunks")? {
            let start = match chunk {
                0 => content.varint("chunk start")?,
                _ => end.wrapping_add(content.uvarint("chunk start")? as i64),
            };
            end = start.wrapping_add(content.uvarint("chunk length")? as i64);
            reference = match chunk {
                0 => content.uvarint("chunk reference")? as i64,
                _ => reference.wrapping_add(content.varint("chunk reference")?),
            };
            self.read_chunk(reference as u64, &mut series)?;
        }
        if let Some(deleted) = self.deleted.get(&u64::from(number)) {
            let is_deleted = |time| deleted.iter().any(|(a, b)| (*a..=*b).contains(&time));
            series.samples.retain(|sample| !is_deleted(sample.0));
            series.histograms.retain(|histogram| !is_deleted(histogram.0));
        }
        // Chunks of late samples overlap others.
        series.samples.sort_by_key(|sample| sample.0);
        series.samples.dedup_by_key(|sample| sample.0);
        series.histograms.sort_by_key(|histogram| histogram.0);
        series.histograms.dedup_by_key(|histogram| histogram.0);
        Ok(series)
    }

    /// A reference is the number of the file and the chunk's place in it.
    fn read_chunk(&self, reference: u64, series: &mut BlockSeries) -> Result<(), Malformed> {
        let segment = self.segments.get((reference >> 32) as usize);
        let segment = segment.ok_or(Malformed("chunk file"))?;
        let at = (reference & u64::from(u32::MAX)) as usize;
        let mut reader = Reader(segment.get(at..).ok_or(Malformed("chunk reference"))?);
        let len = reader.len("chunk")?;
        let content = reader.bytes(len + 1, "chunk")?;
        reader.checksum(content, "chunk")?;
        let (encoding, content) = content.split_first().ok_or(Malformed("chunk"))?;
        match *encoding {
            XOR => chunk::read(content, &mut series.samples),
            HISTOGRAM => histogram::read(content, false, &mut series.histograms),
            FLOAT_HISTOGRAM => histogram::read(content, true, &mut series.histograms),
            _ => {
                series.other_chunks += 1;
                Ok(())
            }
        }
    }
}

fn read_segments(folder: &Path) -> Result<Vec<Vec<u8>>, BlockError> {
    let io = |source| BlockError::Io { path: folder.to_owned(), source };
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(io)? {
        paths.push(entry.map_err(io)?.path());
    }
    paths.sort();
    let mut segments = Vec::new();
    for path in paths {
        let bytes = read(&path)?;
        let mut head = Reader(&bytes);
        if head.u32("magic") != Ok(CHUNKS_MAGIC) || head.u8("version") != Ok(CHUNKS_VERSION) {
            let source = Malformed("magic or version of a chunk file");
            return Err(BlockError::Malformed { path, source });
        }
        segments.push(bytes);
    }
    Ok(segments)
}

/// Deleted ranges, both ends included, by series number. No file: nothing is deleted.
fn read_tombstones(path: &Path) -> Result<BTreeMap<u64, Vec<(i64, i64)>>, BlockError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(source) => return Err(BlockError::Io { path: path.to_owned(), source }),
    };
    let malformed = |source| BlockError::Malformed { path: path.to_owned(), source };
    parse_tombstones(&bytes).map_err(malformed)
}

fn parse_tombstones(bytes: &[u8]) -> Result<BTreeMap<u64, Vec<(i64, i64)>>, Malformed> {
    let mut reader = Reader(bytes);
    let is_known = reader.u32("magic")? == TOMBSTONES_MAGIC;
    if !is_known || reader.u8("version")? != TOMBSTONES_VERSION {
        return Err(Malformed("magic or version of the tombstones"));
    }
    let len = reader.0.len().checked_sub(4).ok_or(Malformed("tombstones"))?;
    let content = reader.bytes(len, "tombstones")?;
    reader.checksum(content, "tombstones")?;
    let mut content = Reader(content);
    let mut deleted: BTreeMap<u64, Vec<(i64, i64)>> = BTreeMap::new();
    while !content.0.is_empty() {
        let series = content.uvarint("series")?;
        let range = (content.varint("start")?, content.varint("end")?);
        deleted.entry(series).or_default().push(range);
    }
    Ok(deleted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tombstones_are_ranges_of_series() {
        let mut bytes = TOMBSTONES_MAGIC.to_be_bytes().to_vec();
        bytes.push(TOMBSTONES_VERSION);
        // Series 3, from 5 to 300.
        let content = [3, 10, 0xd8, 0x04];
        bytes.extend_from_slice(&content);
        bytes.extend_from_slice(&crc32c::crc32c(&content).to_be_bytes());
        let deleted = parse_tombstones(&bytes).expect("valid");
        assert_eq!(deleted, BTreeMap::from([(3, vec![(5, 300)])]));
        bytes[6] ^= 1;
        assert!(parse_tombstones(&bytes).is_err());
    }
}
