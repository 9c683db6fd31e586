//! Verdicts on what a run has shown.

use std::fmt;

/// See the module of scenarios.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// All held.
    Pass,
    /// It proves nothing.
    Unknown,
    /// Something did not hold.
    Fail,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "pass",
            Self::Unknown => "unknown",
            Self::Fail => "fail",
        })
    }
}

/// What one check has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The check, as in the plan: K2, Q1 and so on.
    pub check: &'static str,
    /// What is asked.
    pub question: &'static str,
    /// The answer.
    pub verdict: Verdict,
    /// What was seen.
    pub detail: String,
}

impl Finding {
    /// Passes unless there are `problems`.
    pub fn of(
        check: &'static str,
        question: &'static str,
        problems: &[String],
        seen: String,
    ) -> Self {
        let verdict = if problems.is_empty() { Verdict::Pass } else { Verdict::Fail };
        let shown: Vec<_> = problems.iter().take(10).map(String::as_str).collect();
        let more = problems.len().saturating_sub(shown.len());
        let more = if more > 0 { format!("\nand {more} more") } else { String::new() };
        let detail = format!("{seen}\n{}{more}", shown.join("\n"));
        Self { check, question, verdict, detail: detail.trim().to_owned() }
    }

    /// Proves nothing unless `proof`; what failed stays failed.
    #[must_use]
    pub fn only_if(mut self, proof: bool, otherwise: &str) -> Self {
        if !proof && self.verdict == Verdict::Pass {
            self.verdict = Verdict::Unknown;
            self.detail = format!("{otherwise}\n{}", self.detail).trim().to_owned();
        }
        self
    }
}

/// The verdict on all of them: the worst.
pub fn judge(findings: &[Finding]) -> Verdict {
    findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(problems: &[String]) -> Finding {
        Finding::of("K2", "is all there?", problems, "10 batches".to_owned())
    }

    #[test]
    fn unknown_is_no_pass_and_hides_no_failure() {
        let (good, bad) = (finding(&[]), finding(&["one is lost".to_owned()]));
        assert_eq!(judge(&[]), Verdict::Unknown);
        assert_eq!(judge(std::slice::from_ref(&good)), Verdict::Pass);
        let unknown = good.clone().only_if(false, "too little was written");
        assert_eq!(judge(&[good, unknown.clone()]), Verdict::Unknown);
        assert_eq!(judge(&[unknown, bad.clone().only_if(false, "no")]), Verdict::Fail);
        assert_eq!(bad.detail, "10 batches\none is lost");
    }
}
