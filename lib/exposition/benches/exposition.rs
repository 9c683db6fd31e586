//! How fast a page is read: cold, and against the cache of its last reading.

use std::{hint::black_box, path::Path};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use narthex_exposition::{Item, Parser, SeriesCache, parse_series};

/// The page to read: `NARTHEX_BENCH_PAGE`, or a made-up one of 900 samples.
fn page() -> Vec<u8> {
    if let Ok(path) = std::env::var("NARTHEX_BENCH_PAGE") {
        return std::fs::read(Path::new(&path)).expect("the page is readable");
    }
    let mut page = String::new();
    for family in 0..30 {
        page += &format!("# HELP metric_{family}_total What this family counts, in a sentence.\n");
        page += &format!("# TYPE metric_{family}_total counter\n");
        for member in 0..30 {
            page += &format!(
                "metric_{family}_total{{device=\"dev{member}\",mode=\"idle\"}} {}\n",
                f64::from(family * member) * 1.37
            );
        }
    }
    page.into_bytes()
}

/// Reads the page as a scrape does and adds up the values.
fn read_cached(cache: &mut SeriesCache<usize>, page: &[u8]) -> f64 {
    cache.begin();
    let mut parser = Parser::new(page);
    let mut sum = 0.0;
    while let Some(item) = parser.next(cache.expected()).expect("a valid page") {
        let Item::Sample(line) = item else { continue };
        if line.is_expected {
            black_box(cache.take_expected());
        } else if cache.find(line.series).is_none() {
            let labels = parse_series(line.series).expect("a valid series").len();
            cache.insert(line.series, labels);
        }
        sum += line.value;
    }
    cache.commit();
    sum
}

fn bench(criterion: &mut Criterion) {
    let page = page();
    let mut group = criterion.benchmark_group("exposition");
    group.throughput(Throughput::Bytes(page.len() as u64));
    group.bench_function("cold", |bencher| {
        bencher.iter(|| read_cached(&mut SeriesCache::new(1), black_box(&page)));
    });
    let mut cache = SeriesCache::new(1);
    group.bench_function("cached", |bencher| {
        bencher.iter(|| read_cached(&mut cache, black_box(&page)));
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
