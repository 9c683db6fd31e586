//! Queries over many series in memory: what evaluation alone costs, without storage.

use std::{hint::black_box, sync::Arc};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use narthex_model::{Labels, Timestamp};
use narthex_promql::{
    CancelToken, EvalOptions, ParseOptions, SampleBuffer, SelectRequest, SelectedSeries,
    SeriesData, SeriesSource, SourceError, Steps, evaluate, parse, resolve,
};

const HOSTS: usize = 100;
const CPUS: usize = 16;
const MODES: [&str; 4] = ["idle", "user", "system", "iowait"];
const SCRAPE_MILLIS: i64 = 15_000;
const SAMPLES: usize = 260;

/// Series of two metrics, all with the same timestamps.
struct Memory(Vec<SelectedSeries>);

struct Samples {
    timestamps: Vec<i64>,
    values: Vec<f64>,
}

impl SeriesData for Samples {
    fn read(
        &self,
        start: Timestamp,
        end: Timestamp,
        into: &mut SampleBuffer,
    ) -> Result<(), SourceError> {
        let from = self.timestamps.partition_point(|at| *at < start.millis());
        let to = self.timestamps.partition_point(|at| *at <= end.millis());
        into.extend_floats(&self.timestamps[from..to], &self.values[from..to]);
        Ok(())
    }
}

impl SeriesSource for Memory {
    fn select(&self, request: &SelectRequest<'_>) -> Result<Vec<SelectedSeries>, SourceError> {
        let matches = |series: &&SelectedSeries| {
            request.matchers.iter().all(|m| m.matches(series.labels.value(m.name())))
        };
        Ok(self.0.iter().filter(matches).cloned().collect())
    }
}

fn memory() -> Memory {
    let timestamps: Vec<i64> = (0..SAMPLES as i64).map(|at| at * SCRAPE_MILLIS).collect();
    let mut series = Vec::new();
    for host in 0..HOSTS {
        for cpu in 0..CPUS {
            for mode in MODES {
                for metric in ["cpu_seconds_total", "cpu_limit_total"] {
                    let pairs = [
                        ("__name__", metric),
                        ("instance", &format!("host-{host:05}.example:9100")),
                        ("job", "node"),
                        ("cpu", &cpu.to_string()),
                        ("mode", mode),
                    ];
                    let labels = Labels::from_pairs(pairs).expect("valid labels");
                    let slope = (host + cpu + 1) as f64 / 7.0;
                    let values = (0..SAMPLES).map(|at| at as f64 * slope).collect();
                    let samples = Samples { timestamps: timestamps.clone(), values };
                    series.push(SelectedSeries { labels, data: Arc::new(samples) });
                }
            }
        }
    }
    Memory(series)
}

fn bench(criterion: &mut Criterion) {
    let memory = memory();
    let steps = Steps {
        start: Timestamp::from_millis(300_000),
        end: Timestamp::from_millis((SAMPLES as i64 - 1) * SCRAPE_MILLIS),
        step_millis: SCRAPE_MILLIS,
    };
    let options = EvalOptions::new(steps);
    let mut group = criterion.benchmark_group("evaluate");
    group.sample_size(20);
    group.throughput(Throughput::Elements((HOSTS * CPUS * MODES.len()) as u64));
    let queries = [
        ("rate_sum", "sum by (instance) (rate(cpu_seconds_total[5m]))"),
        ("select_sum", "sum by (instance) (cpu_seconds_total)"),
        ("rate", "rate(cpu_seconds_total[5m])"),
        ("max_over_time", "max by (instance) (max_over_time(cpu_seconds_total[5m]))"),
        ("join", "cpu_seconds_total / ignoring() cpu_limit_total"),
        (
            "join_group_left",
            "cpu_seconds_total * on (instance) group_left sum by (instance) (cpu_limit_total)",
        ),
        ("and", "cpu_seconds_total and ignoring() cpu_limit_total"),
    ];
    for (name, query) in queries {
        let expr = parse(query, &ParseOptions::default()).expect("parses");
        let expr = resolve(expr, query, &steps).expect("resolves");
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let answer = evaluate(&expr, &options, &memory, &CancelToken::new());
                black_box(answer.expect("evaluates"))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
