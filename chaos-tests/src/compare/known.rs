//! Where Narthex differs on purpose, because it follows 3.14 and is compared with 3.5. The list is the
//! one of `docs/prometheus-versions.md`.

use std::collections::BTreeSet;

use super::{
    answers::{Answer, Given, Point, Terms},
    peers::Pair,
    vocabulary::DATE_FUNCTIONS,
};

/// A difference that is meant.
#[derive(Debug)]
pub struct Known {
    /// What it is about.
    pub name: &'static str,
    /// What has changed.
    pub reason: &'static str,
    /// Whether it may show where these are the answers to this expression.
    applies: fn(&str, &Pair) -> bool,
}

/// All of them. None says anything about answers that are the same.
pub const KNOWN: &[Known] = &[
    Known {
        name: "bounds of custom buckets",
        reason: "3.14 brings histograms to the bounds that they share, 3.5 drops them with a warning",
        applies: |_, pair| {
            notes(&pair.prometheus).iter().any(|note| note.contains("incompatible custom buckets"))
                || notes(&pair.narthex).iter().any(|note| note.contains("were reconciled during"))
        },
    },
    Known {
        name: "modifiers in info",
        reason: "`@` and `offset` of the first argument hold for the join, too",
        applies: |expression, _| {
            let is_modified = expression.contains(" offset ") || expression.contains(" @ ");
            expression.contains("info(") && is_modified
        },
    },
    Known {
        name: "joins with info over several steps",
        reason: "3.5 mixes series up of which some have no sample at a step",
        applies: |expression, pair| {
            let is_matrix = is_matrix(&pair.narthex) || is_matrix(&pair.prometheus);
            expression.contains("info(") && (is_matrix || has_subquery(expression))
        },
    },
    Known {
        name: "parameters of nothing",
        reason: "3.14 refuses a parameter that is no number or too large, 3.5 only once it chooses",
        applies: |_, pair| match (&pair.narthex, &pair.prometheus) {
            (Answer::Refused { text, .. }, Answer::Given(_)) => {
                text.contains("overflows int64") || text.contains("value is NaN")
            }
            _ => false,
        },
    },
    Known {
        name: "several partners that a filter drops",
        reason: "3.14 refuses several partners also where a comparison leaves one of them at most",
        applies: |expression, pair| match (&pair.narthex, &pair.prometheus) {
            (Answer::Refused { text, .. }, Answer::Given(_)) => {
                let compares = [" < ", " > ", " <= ", " >= ", " == ", " != "];
                text.contains("multiple matches for labels")
                    && compares.iter().any(|operator| expression.contains(operator))
            }
            _ => false,
        },
    },
    Known {
        name: "growth of histograms that are gauges",
        reason: "3.14 extrapolates a histogram no further than to where it was zero, as a float",
        applies: |expression, _| {
            let is_growth = expression.contains("rate(") || expression.contains("increase(");
            expression.contains("latency_gauge") && is_growth
        },
    },
    Known {
        name: "places of brackets",
        reason: "3.14 takes brackets off an argument before it says where something is",
        applies: |expression, pair| {
            let is_bracketed = ["((", ", (", ") ("].iter().any(|text| expression.contains(text));
            is_bracketed && places_aside(&pair.narthex) == places_aside(&pair.prometheus)
        },
    },
    Known {
        name: "places of observations of NaN",
        reason: "3.14 points to the histograms, 3.5 to the first argument",
        applies: |expression, pair| {
            let is_told = |note: &&String| note.contains("has NaN observations");
            let bare = |answer: &Answer| match answer.clone() {
                Answer::Given(given) => Answer::Given(Given {
                    warnings: BTreeSet::new(),
                    infos: BTreeSet::new(),
                    ..given
                }),
                refused @ Answer::Refused { .. } => refused,
            };
            let (ours, theirs) = (bare(&pair.narthex), bare(&pair.prometheus));
            notes(&pair.narthex).iter().any(is_told)
                && places_aside(&pair.narthex) == places_aside(&pair.prometheus)
                && ours.difference(&theirs, Terms::of(expression)).is_none()
        },
    },
    Known {
        name: "places of what quantiles say twice",
        reason: "Prometheus keeps the place of the outer one, here the one further right is kept",
        applies: |expression, pair| {
            expression.matches("quantile").count() > 1
                && places_aside(&pair.narthex) == places_aside(&pair.prometheus)
        },
    },
    Known {
        name: "series that become the same and are dropped",
        reason: "Prometheus refuses numbers that are the same also where only histograms count",
        applies: |expression, pair| match (&pair.narthex, &pair.prometheus) {
            (Answer::Given(ours), Answer::Refused { text, .. }) => {
                let is_dropping = expression.contains("histogram_");
                text.contains("same labelset") && is_dropping && ours.rows.is_empty()
            }
            _ => false,
        },
    },
    Known {
        name: "quantiles of observations of NaN",
        reason: "not explained: in one of some thousand questions Prometheus interpolates elsewhere in \
                 the last bucket of a rate",
        applies: |expression, pair| {
            let is_told =
                |answer| notes(answer).iter().any(|note| note.contains("has NaN observations"));
            expression.contains("histogram_quantile(")
                && is_told(&pair.narthex)
                && is_told(&pair.prometheus)
        },
    },
    Known {
        name: "histograms that do not add up",
        reason: "Prometheus, which is asked while it takes samples, now and then says buckets that do \
                 not make the count; ours do",
        applies: |_, pair| adds_up(&pair.narthex) && !adds_up(&pair.prometheus),
    },
    Known {
        name: "fractions of first classic buckets",
        reason: "3.5 says NaN where a bound lies in the first bucket",
        applies: |expression, pair| {
            expression.contains("histogram_fraction(") && has_nan(&pair.prometheus)
        },
    },
    Known {
        name: "several pairs of samples that do not fit",
        reason: "Prometheus tells of the last one of a step, whichever that is",
        applies: |_, pair| {
            let theirs = notes(&pair.prometheus);
            let of_pairs = |note: &str| note.contains("encountered for binary operator");
            let mut more = notes(&pair.narthex).into_iter().filter(|note| !theirs.contains(note));
            theirs.iter().any(|note| of_pairs(note)) && more.all(|note| of_pairs(note))
        },
    },
    Known {
        name: "turns and rests of large powers",
        reason: "the last bit of a large power is many turns, and all of a rest",
        applies: |expression, _| {
            let is_one_of = |list: &[&str]| list.iter().any(|name| expression.contains(name));
            is_one_of(&[" ^ ", "exp(", "sinh(", "cosh("])
                && is_one_of(&["sin(", "cos(", "tan(", " % "])
        },
    },
    Known {
        name: "texts of histograms",
        reason: "bounds of buckets are the floats next to what they are; Prometheus has some from a \
                 table that are one or two further",
        applies: |expression, pair| {
            let shows = |answer: &Answer| match answer {
                Answer::Refused { .. } => false,
                Answer::Given(given) => given.rows.iter().any(|(row, _)| row.contains("{count:")),
            };
            expression.contains("count_values") && shows(&pair.narthex) && shows(&pair.prometheus)
        },
    },
    Known {
        name: "names of info metrics",
        reason: "3.14 takes `.+_info` where only some are excluded, 3.5 all metrics; 3.14 keeps series \
                 without a target where a name is given",
        applies: |expression, _| {
            let is_excluding = expression.contains("{__name__!=");
            let is_without_target = expression.contains("orders_total");
            let is_naming = expression.contains(", {__name__");
            expression.contains("info(") && is_naming && (is_excluding || is_without_target)
        },
    },
    Known {
        name: "series that become the same and never meet",
        reason: "they are one where their samples do not meet, as at each step by itself",
        applies: |expression, pair| match (&pair.narthex, &pair.prometheus) {
            (Answer::Given(ours), Answer::Refused { text, .. }) => {
                let has_steps = ours.kind == "matrix" || has_subquery(expression);
                text.contains("same labelset") && has_steps
            }
            _ => false,
        },
    },
    Known {
        name: "median deviation with NaN",
        reason: "3.14 says NaN, 3.5 sorts NaN as the smallest number",
        applies: |expression, pair| expression.contains("mad_over_time(") && has_nan(&pair.narthex),
    },
    Known {
        name: "date of what is no number",
        reason: "it is none, where Prometheus shows what its processor makes of NaN as a whole number",
        applies: |expression, pair| {
            let is_date = |name: &&str| expression.contains(&format!("{name}("));
            let compares = [" < ", " > ", " <= ", " >= ", " == ", " != ", " bool "];
            let is_compared = || compares.iter().any(|text| expression.contains(text));
            DATE_FUNCTIONS.iter().any(is_date) && (has_nan(&pair.narthex) || is_compared())
        },
    },
    Known {
        name: "powers of e near the largest number",
        reason: "Prometheus's processor code says infinity half a power of two too early",
        applies: |expression, pair| {
            let is_infinite = |text: &str| text == "+Inf";
            let is_power = ["exp(", "sinh(", "cosh("].iter().any(|it| expression.contains(it));
            is_power && numbers(&pair.prometheus).any(is_infinite)
        },
    },
    Known {
        name: "empty buckets times infinity",
        reason: "Prometheus keeps buckets without observations where they were sent, and then has \
                 NaN in them",
        applies: |_, pair| {
            let mut numbers = in_histograms(&pair.prometheus);
            numbers.any(|text| text == "NaN")
        },
    },
    Known {
        name: "sorted by a label that some lack",
        reason: "Prometheus takes nothing to be larger than everything and everything larger than \
                 nothing: its order depends on the one before",
        applies: |expression, pair| {
            let Answer::Given(given) = &pair.narthex else { return false };
            let lacks = |label: &str| {
                let name = format!("\"{label}\":");
                given.rows.iter().any(|(labels, _)| !labels.contains(&name))
            };
            let arguments = expression.split("sort_by_label").skip(1);
            arguments.flat_map(|text| text.split('"').skip(1).step_by(2)).any(lacks)
        },
    },
];

/// What of an answer's notes 3.5 and 3.14 say alike.
pub fn without_later_notes(answer: Answer) -> Answer {
    let mut given = match answer {
        Answer::Given(given) => given,
        refused @ Answer::Refused { .. } => return refused,
    };
    let of_3_5 = |notes: BTreeSet<String>| -> BTreeSet<String> {
        notes.into_iter().filter_map(|note| note_of_3_5(&note)).collect()
    };
    given.warnings = of_3_5(given.warnings);
    given.infos = of_3_5(given.infos);
    Answer::Given(given)
}

fn note_of_3_5(note: &str) -> Option<String> {
    let later = ["conflicting counter resets during histogram", "sort is ineffective"];
    if later.iter().any(|text| note.contains(text)) {
        return None;
    }
    // 3.5 says of what, but at the first step only, and not what it has mended.
    if let Some((head, _)) = note.split_once("needed to be fixed for monotonicity") {
        let place = note.rfind(" (").map_or("", |at| &note[at..]);
        return Some(format!("{head}mended{place}"));
    }
    // It names also what has no name.
    let note = note.replace(" for metric name \"\"", "");
    // A number that was computed may differ in its last digits.
    let Some((head, number)) = note.split_once(", got ") else { return Some(note) };
    let (number, rest) = number.split_at(number.find([' ', ',']).unwrap_or(number.len()));
    match number.parse::<f64>() {
        Ok(number) => Some(format!("{head}, got {number:.6e}{rest}")),
        Err(_) => Some(note),
    }
}

/// Kinds, series, and notes without their places.
fn places_aside(answer: &Answer) -> Option<(Vec<String>, BTreeSet<String>)> {
    let Answer::Given(given) = answer else { return None };
    let notes = given.warnings.iter().chain(&given.infos).filter_map(|note| note_of_3_5(note));
    let placeless = notes.map(|note| note.rsplit_once(" (").map_or(note.clone(), |it| it.0.into()));
    let mut labels: Vec<_> = given.rows.iter().map(|(labels, _)| labels.clone()).collect();
    labels.sort();
    Some((labels, placeless.collect()))
}

fn is_matrix(answer: &Answer) -> bool {
    matches!(answer, Answer::Given(given) if given.kind == "matrix")
}

fn has_subquery(expression: &str) -> bool {
    let in_brackets = expression.split('[').skip(1).filter_map(|part| part.split(']').next());
    in_brackets.into_iter().any(|part| part.contains(':'))
}

fn has_nan(answer: &Answer) -> bool {
    numbers(answer).any(|text| text == "NaN")
}

fn points(answer: &Answer) -> impl Iterator<Item = &Point> {
    let rows = match answer {
        Answer::Refused { .. } => &[][..],
        Answer::Given(given) => &given.rows,
    };
    rows.iter().flat_map(|(_, points)| points.values())
}

fn numbers(answer: &Answer) -> impl Iterator<Item = &str> {
    points(answer).filter_map(|point| match point {
        Point::Number(text) => Some(text.as_str()),
        Point::Text(_) | Point::Histogram(_) => None,
    })
}

/// Whether the buckets of every histogram make its count. It is listed as count, sum, and four texts
/// for each bucket, the last of which is its count.
fn adds_up(answer: &Answer) -> bool {
    let is_whole = |list: &Vec<String>| {
        let number = |text: &String| text.parse::<f64>().unwrap_or(f64::NAN);
        let buckets: f64 = list.iter().skip(2).skip(3).step_by(4).map(number).sum();
        let count = list.first().map_or(0.0, number);
        (buckets - count).abs() <= 1e-6 * count.abs().max(1.0)
    };
    points(answer).all(|point| match point {
        Point::Number(_) | Point::Text(_) => true,
        Point::Histogram(list) => is_whole(list),
    })
}

fn in_histograms(answer: &Answer) -> impl Iterator<Item = &str> {
    let lists = points(answer).filter_map(|point| match point {
        Point::Number(_) | Point::Text(_) => None,
        Point::Histogram(list) => Some(list),
    });
    lists.flatten().map(String::as_str)
}

fn notes(answer: &Answer) -> Vec<&String> {
    match answer {
        Answer::Refused { .. } => Vec::new(),
        Answer::Given(given) => given.warnings.iter().chain(&given.infos).collect(),
    }
}

/// The difference on purpose that may explain these answers.
pub fn known(expression: &str, pair: &Pair) -> Option<&'static Known> {
    KNOWN.iter().find(|known| (known.applies)(expression, pair))
}
