//! What the program tells its user, apart from the log.

use std::io::Write;

/// A line on standard error, where progress and complaints go.
pub fn say(line: &str) {
    // A closed terminal must not end a cluster.
    let _ = writeln!(std::io::stderr(), "narthex: {line}");
}

/// The same for what others read by its form: nothing is put in front.
pub fn complain(line: &str) {
    // Whoever closed it does not want to know.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// A line on standard output: what was asked for.
pub fn answer(line: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(line.as_bytes())?;
    stdout.write_all(b"\n")
}
