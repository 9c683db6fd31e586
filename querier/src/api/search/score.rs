//! How well a name fits what somebody types.
//!
//! Scores lie between 0 and 1. A name that begins with the text always has 1.

/// How texts that are not contained as they stand are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// All characters appear in their order, better together than apart.
    Subsequence,
    /// The name contains the text; or they are similar by Jaro and Winkler's measure, which
    /// forgives typing errors.
    JaroWinkler,
}

/// Texts of which a name must fit one.
#[derive(Debug)]
pub struct Search {
    texts: Vec<String>,
    algorithm: Algorithm,
    /// The least score that is found. For Jaro and Winkler's measure, 0 switches it off.
    threshold: f64,
    is_case_sensitive: bool,
}

impl Search {
    /// A search for any of `texts`, of names with at least `threshold` hundredths; without texts
    /// all names are found.
    pub fn new(
        texts: &[&str],
        algorithm: Algorithm,
        threshold: u8,
        is_case_sensitive: bool,
    ) -> Self {
        let text = |text: &&str| match is_case_sensitive {
            true => (*text).to_owned(),
            false => text.to_lowercase(),
        };
        let threshold = f64::from(threshold) / 100.0;
        Self { texts: texts.iter().map(text).collect(), algorithm, threshold, is_case_sensitive }
    }

    /// The best score of a name; `None` where it is not found.
    pub fn score(&self, name: &str) -> Option<f64> {
        if self.texts.is_empty() {
            return Some(1.0);
        }
        let lower = (!self.is_case_sensitive).then(|| name.to_lowercase());
        let name = lower.as_deref().unwrap_or(name);
        self.texts.iter().filter_map(|text| self.score_of(text, name)).max_by(f64::total_cmp)
    }

    fn score_of(&self, text: &str, name: &str) -> Option<f64> {
        if name.starts_with(text) {
            return Some(1.0);
        }
        match self.algorithm {
            Algorithm::Subsequence => {
                subsequence(text, name).filter(|score| *score >= self.threshold)
            }
            Algorithm::JaroWinkler if name.contains(text) => Some(0.9),
            Algorithm::JaroWinkler if self.threshold == 0.0 => None,
            Algorithm::JaroWinkler => {
                Some(strsim::jaro_winkler(text, name)).filter(|score| *score >= self.threshold)
            }
        }
    }
}

/// The share of the text's neighbours that are neighbours in the name too, less for a late start.
/// `None` where a character is missing.
fn subsequence(text: &str, name: &str) -> Option<f64> {
    // The whole text in one piece is better than its first characters wherever they are.
    if let Some(at) = name.find(text) {
        return Some(0.9 - 0.1 * at as f64 / name.len() as f64);
    }
    let mut rest = name.char_indices();
    let (mut together, mut last_end) = (0usize, None);
    let mut characters = 0usize;
    for wanted in text.chars() {
        let (at, found) = rest.find(|(_, character)| *character == wanted)?;
        together += usize::from(last_end == Some(at));
        last_end = Some(at + found.len_utf8());
        characters += 1;
    }
    let pairs = characters.saturating_sub(1).max(1);
    Some(0.1 + 0.7 * together as f64 / pairs as f64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn score(text: &str, name: &str) -> Option<f64> {
        Search::new(&[text], Algorithm::Subsequence, 0, true).score(name)
    }

    #[test]
    fn the_closer_the_better() {
        let of = |name: &str| score("cpu", name).unwrap_or(0.0);
        assert_eq!(of("cpu_seconds"), 1.0);
        assert!(of("cpu_seconds") > of("node_cpu"));
        assert!(of("node_cpu") > of("c_pu"));
        assert!(of("c_pu") > of("c_p_u"));
        assert!(of("c_p_u") > 0.0);
        assert_eq!(score("cpu", "upc"), None);
        assert_eq!(Search::new(&["cpu"], Algorithm::Subsequence, 85, true).score("c_pu"), None);
    }

    #[test]
    fn typing_errors_are_forgiven_where_asked() {
        let search = |threshold| Search::new(&["procces"], Algorithm::JaroWinkler, threshold, true);
        assert_eq!(search(0).score("process"), None);
        assert!(search(80).score("process").is_some());
        assert_eq!(search(80).score("zebra"), None);
    }

    proptest! {
        #[test]
        fn what_is_contained_is_found(before in "\\PC{0,5}", text in "\\PC{1,5}", after in "\\PC{0,5}") {
            let name = format!("{before}{text}{after}");
            for algorithm in [Algorithm::Subsequence, Algorithm::JaroWinkler] {
                let found = Search::new(&[&text], algorithm, 0, true).score(&name);
                prop_assert!(found.is_some_and(|score| (0.0..=1.0).contains(&score)), "{found:?}");
            }
        }

        #[test]
        fn scores_are_shares(text in "\\PC{0,6}", name in "\\PC{0,9}") {
            let found = score(&text, &name);
            prop_assert!(found.is_none_or(|score| (0.0..=1.0).contains(&score)), "{found:?}");
        }
    }
}
