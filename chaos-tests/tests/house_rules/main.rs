//! The house rules, as tests: what each room may use and touch, how large things may grow, and
//! which words stay out.
//!
//! The rules read manifests and parsed sources. They only ratchet down: an exception that has
//! become larger than what it excuses fails too, so the lists here shrink and never grow
//! unnoticed. Nothing here knows what the code does.

mod arrows;
mod sizes;
mod sources;
mod touches;
mod words;

/// Fails with every violation at once, so that one run shows all there is to mend.
fn expect_none(rule: &str, violations: &[String]) {
    assert!(violations.is_empty(), "{rule}:\n  {}", violations.join("\n  "));
}
