//! The program measures a real Narthex, small and short: every figure of ours is there.

use std::{path::PathBuf, process::Command};

/// `NARTHEX_BIN`, or what cargo built beside this test.
fn narthex() -> PathBuf {
    if let Some(path) = std::env::var_os("NARTHEX_BIN") {
        return path.into();
    }
    PathBuf::from(env!("CARGO_BIN_EXE_narthex-bench")).with_file_name("narthex")
}

/// What it prints; the document it was told to write is as it was.
fn table(arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let document = folder.path().join("document.md");
    let text = "<!-- make bench writes from here -->\nold\n<!-- to here -->\n";
    std::fs::write(&document, text).expect("it can be written to");
    let output = Command::new(env!("CARGO_BIN_EXE_narthex-bench"))
        .arg("--narthex")
        .arg(narthex())
        .arg("--folder")
        .arg(folder.path())
        .arg("--document")
        .arg(&document)
        .args(["--runs=1", "--rest-seconds=0"])
        .args(arguments)
        .output()
        .expect("the program starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let document = std::fs::read_to_string(&document).expect("the document is there");
    assert_eq!(document, text, "a part is written nowhere");
    let left = std::fs::read_dir(folder.path()).expect("the folder is there").count();
    assert_eq!(left, 1, "folders of systems are deleted");
    String::from_utf8(output.stdout).expect("it prints text")
}

/// The numbers of the line that ends its title with `what`, a list for each system.
fn numbers(table: &str, what: &str) -> Vec<Vec<f64>> {
    let title = format!(": {what} |");
    let line = table.lines().find(|line| line.contains(&title));
    let line = line.unwrap_or_else(|| panic!("no {what} in\n{table}"));
    let cells = line.split_once(&title).expect("it contains it").1.trim_end_matches('|');
    let number = |text: &str| text.trim().parse().unwrap_or_else(|_| panic!("{line}"));
    cells.split('|').map(|cell| cell.split('/').map(number).collect()).collect()
}

#[test]
fn writing_is_measured_with_one_node_and_with_three() {
    let table = table(&["--rows=write", "--systems=one,three", "--hosts=2", "--steps=12"]);
    let [one, three] = &numbers(&table, "CPU µs/sample, all processes")[..] else {
        panic!("{table}")
    };
    assert!(0.0 < one[0] && one[0] < three[0], "three copies cost more than one:\n{table}");
    for system in numbers(&table, "syncs/s over all nodes / samples a sync, copies counted") {
        assert!(system.iter().all(|number| *number > 0.0), "{table}");
    }
    for system in numbers(&table, "after kill -9 of everything: ready / first query answered, s") {
        assert!(0.0 < system[0] && system[0] <= system[1], "{table}");
    }
    for what in ["13 queries, sum of medians, ms", "disk bytes/sample with index, a replica"] {
        assert!(numbers(&table, what).iter().all(|system| system[0] > 0.0), "{table}");
    }
    assert_eq!(numbers(&table, "acknowledged samples not found after it"), [[0.0], [0.0]]);
    assert!(table.contains("| apply |") && !table.contains("Missing"), "{table}");
}

#[test]
fn mixed_requests_and_scrapes_are_measured() {
    let size = ["--hosts=4", "--steps=5", "--targets=3", "--scrape-seconds=4"];
    let mut arguments = vec!["--rows=mixed,scrape", "--systems=victoria,one"];
    arguments.extend(size);
    let table = table(&arguments);
    assert!(table.contains("- VictoriaMetrics: no folder of peers was given"), "{table}");
    let lines: Vec<_> = table.lines().filter(|line| line.contains("CPU µs/sample, all")).collect();
    assert_eq!(lines.len(), 2, "{table}");
    assert!(lines[1].starts_with("| scrape, 3 targets: "), "{table}");
}
