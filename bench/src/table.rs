//! What was found, as tables of Markdown.

use std::{collections::BTreeMap, fmt::Write as _};

use crate::{
    measure::{Figure, Found},
    plan::Row,
    profile::Work,
    server::Kind,
    statistics::median,
};

/// Where a figure is missing.
const NOTHING: &str = "–";
/// The syncs of a peer's acknowledgements.
const NOT_SYNCED: &str = "not synced";

/// Everything that was found, one entry a run.
#[derive(Debug, Default)]
pub struct Results {
    found: BTreeMap<(Row, Kind), Vec<Found>>,
    /// Of systems that were not measured at all.
    absent: BTreeMap<Kind, String>,
}

/// One line of the main table.
struct Line {
    title: String,
    row: Row,
    /// With decimals; several are set apart by slashes.
    figures: &'static [(Figure, usize)],
}

impl Results {
    /// Adds what one run found.
    pub fn add(&mut self, row: Row, kind: Kind, found: Found) {
        self.found.entry((row, kind)).or_default().push(found);
    }

    /// Notes that a system is not measured.
    pub fn leave_out(&mut self, kind: Kind, why: String) {
        self.absent.insert(kind, why);
    }

    /// Why figures are missing or worth less, each reason once.
    pub fn problems(&self) -> Vec<String> {
        let absent = self.absent.iter().map(|(kind, why)| format!("{}: {why}", kind.title()));
        let mut all: Vec<String> = absent.collect();
        for ((row, kind), runs) in &self.found {
            for problem in runs.iter().flat_map(|found| &found.problems) {
                let text = format!("{}, {}: {problem}", kind.title(), row.name());
                if !all.contains(&text) {
                    all.push(text);
                }
            }
        }
        all
    }

    /// Whether a figure of ours is missing or worth less.
    pub fn ours_have_problems(&self) -> bool {
        let ours = self.found.iter().filter(|((_, kind), _)| kind.is_ours());
        ours.flat_map(|(_, runs)| runs).any(|found| !found.problems.is_empty())
    }

    fn kinds(&self) -> Vec<Kind> {
        let measured = |kind: &Kind| self.found.keys().any(|(_, of)| of == kind);
        Kind::ALL.into_iter().filter(measured).collect()
    }

    fn value(&self, row: Row, kind: Kind, figure: Figure) -> Option<f64> {
        let runs = self.found.get(&(row, kind))?;
        let values: Vec<f64> =
            runs.iter().filter_map(|found| found.figures.get(&figure).copied()).collect();
        median(&values)
    }

    fn cell(&self, kind: Kind, line: &Line) -> String {
        if line.figures[0].0 == Figure::SyncsPerSecond && !kind.is_ours() {
            return NOT_SYNCED.to_owned();
        }
        let text = |(figure, decimals): &(Figure, usize)| {
            let value = self.value(line.row, kind, *figure);
            value.map_or(NOTHING.to_owned(), |value| format!("{value:.decimals$}"))
        };
        let texts: Vec<String> = line.figures.iter().map(text).collect();
        match texts.iter().all(|text| text == NOTHING) {
            true => NOTHING.to_owned(),
            false => texts.join(" / "),
        }
    }

    /// The main table. `head` is a kind's column head, `title` what a row loads with.
    pub fn render(&self, head: impl Fn(Kind) -> String, title: impl Fn(Row) -> String) -> String {
        let kinds = self.kinds();
        let mut text = String::new();
        row_of(&mut text, "", kinds.iter().map(|kind| head(*kind)));
        row_of(&mut text, "---", kinds.iter().map(|_| "---".to_owned()));
        let acknowledges = kinds.iter().map(|kind| kind.acknowledges().to_owned());
        row_of(&mut text, "each ack synced", acknowledges);
        for line in lines(&title) {
            let cells: Vec<String> = kinds.iter().map(|kind| self.cell(*kind, &line)).collect();
            if cells.iter().any(|cell| cell != NOTHING && cell != NOT_SYNCED) {
                row_of(&mut text, &line.title, cells.into_iter());
            }
        }
        text
    }

    /// Whose CPU a sample of ours takes: a column for each load.
    pub fn render_profile(&self) -> String {
        let columns: Vec<(Row, Kind)> = self
            .found
            .iter()
            .filter(|((row, kind), runs)| {
                kind.is_ours() && *row != Row::Day && runs.iter().any(|it| it.profile.is_some())
            })
            .map(|(column, _)| *column)
            .collect();
        let mut text = String::new();
        if columns.is_empty() {
            return text;
        }
        let head = |(row, kind): &(Row, Kind)| {
            format!("{}, {}", row.name(), if *kind == Kind::One { "one node" } else { "RF 3" })
        };
        row_of(&mut text, "threads, CPU µs/sample", columns.iter().map(head));
        row_of(&mut text, "---", columns.iter().map(|_| "---".to_owned()));
        for work in Work::ALL {
            row_of(&mut text, work.title(), columns.iter().map(|it| self.share(*it, work)));
        }
        let sum = |(row, kind): &(Row, Kind)| {
            let cpu = self.value(*row, *kind, Figure::Cpu);
            cpu.map_or(NOTHING.to_owned(), |cpu| format!("{cpu:.2}"))
        };
        row_of(&mut text, "sum", columns.iter().map(sum));
        text
    }

    /// Microseconds of a sample that threads of one kind take.
    fn share(&self, (row, kind): (Row, Kind), work: Work) -> String {
        let runs = self.found.get(&(row, kind)).map(Vec::as_slice).unwrap_or_default();
        let shares: Vec<f64> = runs
            .iter()
            .filter_map(|found| {
                let profile = found.profile.as_ref()?;
                let whole: f64 = profile.values().sum();
                let cpu = found.figures.get(&Figure::Cpu)?;
                Some(profile.get(&work)? / whole.max(f64::MIN_POSITIVE) * cpu)
            })
            .collect();
        median(&shares).map_or(NOTHING.to_owned(), |share| format!("{share:.2}"))
    }
}

fn row_of(text: &mut String, first: &str, cells: impl Iterator<Item = String>) {
    let cells: Vec<String> = cells.collect();
    writeln!(text, "| {first} | {} |", cells.join(" | ")).expect("a string takes everything");
}

fn lines(title: &impl Fn(Row) -> String) -> Vec<Line> {
    let mut lines = Vec::new();
    for row in Row::ALL {
        let title = title(row);
        let mut add = |what: &str, figures| {
            lines.push(Line { title: format!("{title}: {what}"), row, figures });
        };
        if row == Row::Day {
            add("disk bytes/sample with index, a replica", &[(Figure::DiskBytesPerSample, 2)]);
            add("raft log on disk, MiB a node", &[(Figure::LogMibPerNode, 1)]);
            continue;
        }
        add("CPU µs/sample, all processes", &[(Figure::Cpu, 2)]);
        add(
            "syncs/s over all nodes / samples a sync, copies counted",
            &[(Figure::SyncsPerSecond, 0), (Figure::SamplesPerSync, 0)],
        );
        add("samples/s", &[(Figure::SamplesPerSecond, 0)]);
        add("ack p50 / p99, ms", &[(Figure::AckP50Millis, 1), (Figure::AckP99Millis, 1)]);
        if matches!(row, Row::Write | Row::New) {
            add(
                "resident bytes/series that the load adds, a replica",
                &[(Figure::BytesPerSeries, 0)],
            );
            add("resident MiB in all", &[(Figure::ResidentMib, 0)]);
        }
        if row == Row::Write {
            add("13 queries, sum of medians, ms", &[(Figure::QueriesMillis, 0)]);
        }
        if matches!(row, Row::Write | Row::New) {
            add(
                "after kill -9 of everything: ready / first query answered, s",
                &[(Figure::ReadySeconds, 2), (Figure::AnswersSeconds, 2)],
            );
            add("acknowledged samples not found after it", &[(Figure::NotFound, 0)]);
        }
        if row == Row::Write {
            add("disk bytes/sample with index, a replica", &[(Figure::DiskBytesPerSample, 2)]);
            add("raft log on disk, MiB a node", &[(Figure::LogMibPerNode, 1)]);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(cpu: f64, syncs: Option<f64>) -> Found {
        let mut found = Found::default();
        found.figures.insert(Figure::Cpu, cpu);
        if let Some(syncs) = syncs {
            found.figures.insert(Figure::SyncsPerSecond, syncs);
            found.figures.insert(Figure::SamplesPerSync, 1000.0);
        }
        found
    }

    #[test]
    fn a_cell_is_the_median_of_the_runs() {
        let mut results = Results::default();
        for cpu in [0.9, 0.7, 0.8] {
            results.add(Row::Write, Kind::One, found(cpu, Some(300.0)));
            results.add(Row::Write, Kind::Victoria, found(cpu * 2.0, None));
        }
        let text = results.render(|kind| kind.title().to_owned(), |row| row.name().to_owned());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "|  | VictoriaMetrics | Narthex, one node |",
                "| --- | --- | --- |",
                "| each ack synced | no | yes |",
                "| write: CPU µs/sample, all processes | 1.60 | 0.80 |",
                "| write: syncs/s over all nodes / samples a sync, copies counted | not synced | 300 / 1000 |",
            ]
        );
    }

    #[test]
    fn a_profile_adds_up_to_the_cpu_beside_it() {
        let mut one = found(2.0, None);
        one.profile = Some([(Work::Front, 30.0), (Work::Apply, 10.0)].into());
        let mut results = Results::default();
        results.add(Row::Write, Kind::One, one);
        let text = results.render_profile();
        assert!(text.contains("| apply | 0.50 |"), "{text}");
        assert!(text.ends_with("| sum | 2.00 |\n"), "{text}");
    }

    #[test]
    fn each_reason_is_told_once() {
        let mut results = Results::default();
        for _ in 0..2 {
            let mut broken = found(1.0, None);
            broken.problems.push("disk: it is full".to_owned());
            results.add(Row::Mixed, Kind::Three, broken);
        }
        results.leave_out(Kind::Prometheus, "there is none".to_owned());
        assert!(results.ours_have_problems());
        assert_eq!(
            results.problems(),
            ["Prometheus: there is none", "Narthex, three nodes, RF 3, mixed: disk: it is full"]
        );
    }
}
