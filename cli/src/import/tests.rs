//! A block written by hand after Prometheus's description of the format.

use super::{block::Block, *};

mod round_trip;

fn put_uvarint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn section(content: &[u8]) -> Vec<u8> {
    let mut out = u32::try_from(content.len()).expect("short").to_be_bytes().to_vec();
    out.extend_from_slice(content);
    out.extend_from_slice(&crc32c::crc32c(content).to_be_bytes());
    out
}

/// One sample at 1 s, in a chunk of its own.
fn chunk(encoding: u8, value: f64) -> Vec<u8> {
    let mut content = vec![encoding, 0, 1, 0xd0, 0x0f];
    content.extend_from_slice(&value.to_bits().to_be_bytes());
    let mut out = vec![content.len() as u8 - 1];
    out.extend_from_slice(&content);
    out.extend_from_slice(&crc32c::crc32c(&content).to_be_bytes());
    out
}

/// A block with the series `{a="b"}`: a float at 1 s and a chunk in an unknown encoding.
fn write_block(folder: &Path, tombstone: Option<(i64, i64)>) {
    std::fs::create_dir_all(folder.join("chunks")).expect("made");
    let mut chunks = vec![0x85, 0xBD, 0x40, 0xDD, 1, 0, 0, 0];
    chunks.extend(chunk(1, 0.5));
    let other_at = chunks.len();
    chunks.extend(chunk(9, 0.5));
    std::fs::write(folder.join("chunks/000001"), chunks).expect("written");

    let mut index = vec![0xBA, 0xAA, 0xD7, 0x00, 2];
    let symbols_at = index.len();
    index.extend(section(&[0, 0, 0, 2, 1, b'a', 1, b'b']));
    index.resize(index.len().next_multiple_of(16), 0);
    let (series_at, number) = (index.len(), index.len() / 16);
    // One label; two chunks, both at 1000 ms, the second one further in the same file.
    let mut series = vec![1, 0, 1, 2];
    put_uvarint(&mut series, 2000);
    series.extend_from_slice(&[0, 8, 0, 0]);
    put_uvarint(&mut series, (other_at as u64 - 8) * 2);
    put_uvarint(&mut index, series.len() as u64);
    index.extend_from_slice(&series);
    index.extend_from_slice(&crc32c::crc32c(&series).to_be_bytes());
    let postings_at = index.len();
    let mut postings = vec![0, 0, 0, 1];
    postings.extend_from_slice(&(number as u32).to_be_bytes());
    index.extend(section(&postings));
    let table_at = index.len();
    let mut table = vec![0, 0, 0, 1, 2, 0, 0];
    put_uvarint(&mut table, postings_at as u64);
    index.extend(section(&table));
    let offsets = [symbols_at, series_at, 0, 0, postings_at, table_at];
    let toc: Vec<u8> = offsets.iter().flat_map(|it| (*it as u64).to_be_bytes()).collect();
    index.extend_from_slice(&toc);
    index.extend_from_slice(&crc32c::crc32c(&toc).to_be_bytes());
    std::fs::write(folder.join("index"), index).expect("written");
    std::fs::write(folder.join("meta.json"), r#"{"minTime": 1000, "maxTime": 1001}"#)
        .expect("written");
    if let Some((start, end)) = tombstone {
        let mut content = Vec::new();
        put_uvarint(&mut content, number as u64);
        put_uvarint(&mut content, (start << 1) as u64);
        put_uvarint(&mut content, (end << 1) as u64);
        let mut file = vec![0x01, 0x30, 0xBA, 0x30, 1];
        file.extend_from_slice(&content);
        file.extend_from_slice(&crc32c::crc32c(&content).to_be_bytes());
        std::fs::write(folder.join("tombstones"), file).expect("written");
    }
}

#[test]
fn a_block_is_read_with_what_cannot_be_imported_counted() {
    let folder = tempfile::tempdir().expect("folder");
    write_block(folder.path(), None);
    let block = Block::open(folder.path()).expect("sound");
    assert_eq!(block.len(), 1);
    let series = block.series(0).expect("sound");
    assert_eq!(series.labels, [("a".to_owned(), "b".to_owned())]);
    assert_eq!(series.samples, [(1000, 0.5f64.to_bits())]);
    assert_eq!(series.other_chunks, 1);
}

#[test]
fn what_is_deleted_is_not_imported() {
    let folder = tempfile::tempdir().expect("folder");
    write_block(folder.path(), Some((1000, 1000)));
    let block = Block::open(folder.path()).expect("sound");
    assert_eq!(block.series(0).expect("sound").samples, []);
}

#[test]
fn a_damaged_block_is_refused() {
    let folder = tempfile::tempdir().expect("folder");
    write_block(folder.path(), None);
    let path = folder.path().join("index");
    let sound = std::fs::read(&path).expect("there");
    // Padding is no one's; everything else has a checksum, or leads to something that has.
    for at in [0, 4, 10, sound.len() - 60, sound.len() - 1] {
        let mut damaged = sound.clone();
        damaged[at] ^= 1;
        std::fs::write(&path, damaged).expect("written");
        let read = Block::open(folder.path()).and_then(|block| block.series(0).map(drop));
        assert!(read.is_err(), "byte {at}");
    }
    std::fs::write(&path, &sound).expect("written");
    let chunks = folder.path().join("chunks/000001");
    let mut damaged = std::fs::read(&chunks).expect("there");
    damaged[12] ^= 1;
    std::fs::write(&chunks, damaged).expect("written");
    assert!(Block::open(folder.path()).expect("index is sound").series(0).is_err());
}

#[test]
fn blocks_are_found_the_oldest_first() {
    let folder = tempfile::tempdir().expect("folder");
    for (name, start) in [("01B", 5), ("01A", 9), ("01C.tmp-for-deletion", 1)] {
        let block = folder.path().join(name);
        write_block(&block, None);
        let meta = format!(r#"{{"minTime": {start}}}"#);
        std::fs::write(block.join("meta.json"), meta).expect("written");
    }
    let found = find_blocks(folder.path()).expect("found");
    assert_eq!(found, [folder.path().join("01B"), folder.path().join("01A")]);
    let one = find_blocks(&found[0]).expect("a block itself");
    assert_eq!(one, found[..1]);
    assert!(find_blocks(&folder.path().join("chunks")).is_err());
}
