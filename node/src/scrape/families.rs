//! What pages say of their metric families.
//!
//! A page says the same each time. What it said is remembered as a hash; only something new, or
//! the first page of a while, goes to the shard, which leaves out what it knows.

use narthex_exposition::{Item, Parser, unescaped};
use narthex_model::{FamilyMetadata, MetricType, Timestamp};
use xxhash_rust::xxh3::Xxh3;

/// What was said is said again after this long, should the shard have missed it. It costs a
/// second pass over the page, and no log.
const SAID_AGAIN_MILLIS: i64 = 10 * 60 * 1000;
/// Families of a page beyond this are not described: the shard keeps no more of them.
const FAMILIES_MAX: usize = 16 << 10;

/// A described metric family of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScrapedFamily {
    /// Its name.
    pub name: String,
    /// Its type.
    pub metric_type: MetricType,
    /// What it means, without escapes.
    pub help: String,
}

impl ScrapedFamily {
    /// As shards take it. The text format has no units.
    pub fn metadata(&self) -> FamilyMetadata<'_> {
        let Self { name, metric_type, help } = self;
        FamilyMetadata { family: name, metric_type: *metric_type, help, unit: "" }
    }
}

/// Remembers what the pages of a target said.
#[derive(Debug, Default)]
pub struct Said {
    hash: u64,
    period: Option<i64>,
}

impl Said {
    /// The families of a page that was read at `time` and whose descriptions were `heard`, if
    /// they are news.
    pub fn news(&mut self, heard: &Heard, page: &[u8], time: Timestamp) -> Vec<ScrapedFamily> {
        let (hash, period) = (heard.0.digest(), time.millis().div_euclid(SAID_AGAIN_MILLIS));
        if hash == self.hash && self.period == Some(period) {
            return Vec::new();
        }
        (self.hash, self.period) = (hash, Some(period));
        families(page)
    }
}

/// The descriptions of a page that is being read, as a hash.
#[derive(Default)]
pub struct Heard(Xxh3);

impl Heard {
    /// Takes in a line of the page.
    #[inline]
    pub fn hear(&mut self, item: &Item<'_>) {
        match item {
            Item::Sample(_) => {}
            Item::Help { metric, text } => {
                self.0.update(metric.as_bytes());
                self.0.update(text.as_bytes());
            }
            Item::Type { metric, kind } => {
                self.0.update(metric.as_bytes());
                self.0.update(&[*kind as u8]);
            }
        }
    }
}

/// The families of a page, in the order in which they are first described.
fn families(page: &[u8]) -> Vec<ScrapedFamily> {
    let mut families: Vec<ScrapedFamily> = Vec::new();
    let mut parser = Parser::new(page);
    // The page was read to its end before, so nothing fails here.
    while let Ok(Some(item)) = parser.next(None) {
        let (Item::Help { metric, .. } | Item::Type { metric, .. }) = item else { continue };
        // Lines of a family stand together.
        if families.last().is_none_or(|last| last.name != metric) {
            if families.len() == FAMILIES_MAX {
                break;
            }
            let (name, metric_type) = (metric.to_owned(), MetricType::Unknown);
            families.push(ScrapedFamily { name, metric_type, help: String::new() });
        }
        let Some(family) = families.last_mut() else { continue };
        match item {
            Item::Help { text, .. } => family.help = unescaped(text).into_owned(),
            Item::Type { kind, .. } => family.metric_type = kind.into(),
            Item::Sample(_) => {}
        }
    }
    families
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# HELP a It \\\\ counts.\n# TYPE a counter\na 1\n# TYPE b gauge\nb 2\n";

    fn heard(page: &str) -> Heard {
        let mut heard = Heard::default();
        let mut parser = Parser::new(page.as_bytes());
        while let Some(item) = parser.next(None).expect("valid") {
            heard.hear(&item);
        }
        heard
    }

    #[test]
    fn only_news_are_told() {
        let mut said = Said::default();
        let mut news = |page: &str, millis| {
            said.news(&heard(page), page.as_bytes(), Timestamp::from_millis(millis))
        };
        let family = |name: &str, metric_type, help: &str| ScrapedFamily {
            name: name.to_owned(),
            metric_type,
            help: help.to_owned(),
        };
        let b = family("b", MetricType::Gauge, "");
        assert_eq!(news(PAGE, 5), [family("a", MetricType::Counter, "It \\ counts."), b.clone()]);
        assert_eq!(news(&PAGE.replace('1', "7"), 15_000), []);
        let changed = PAGE.replace("counter", "summary");
        assert_eq!(news(&changed, 30_000), [family("a", MetricType::Summary, "It \\ counts."), b]);
        assert_eq!(news(&changed, 45_000), []);
        assert_eq!(news(&changed, SAID_AGAIN_MILLIS).len(), 2);
    }
}
