//! `--enable-feature`: Prometheus's names of what is not on by itself.

use narthex_promql::ParseOptions;
use narthex_querier::QuerierOptions;

use crate::{
    flags::{FeatureFlags, QueryFlags, RuleFlags},
    memory,
};

/// A feature that Narthex does not have, or that nobody has.
#[derive(Debug, thiserror::Error)]
#[error("--enable-feature: {0:?} is not supported; there are {known}", known = KNOWN.join(", "))]
pub struct UnknownFeature(String);

const EXPERIMENTAL_FUNCTIONS: &str = "promql-experimental-functions";
const EXTENDED_RANGE_SELECTORS: &str = "promql-extended-range-selectors";
const BINOP_FILL_MODIFIERS: &str = "promql-binop-fill-modifiers";
const DELAYED_NAME_REMOVAL: &str = "promql-delayed-name-removal";
const PER_STEP_STATS: &str = "promql-per-step-stats";
const SEARCH_API: &str = "search-api";
const KNOWN: [&str; 6] = [
    EXPERIMENTAL_FUNCTIONS,
    EXTENDED_RANGE_SELECTORS,
    BINOP_FILL_MODIFIERS,
    DELAYED_NAME_REMOVAL,
    PER_STEP_STATS,
    SEARCH_API,
];

/// The querier's options as the flags say.
pub fn options(flags: &QueryFlags) -> Result<QuerierOptions, UnknownFeature> {
    let features = &flags.features;
    let memory_bytes_max = usize::try_from(flags.memory.bytes_max(1)).unwrap_or(usize::MAX);
    let results = flags.results_cache_max_bytes.unwrap_or_else(|| memory::of_machine() / 100);
    Ok(QuerierOptions {
        concurrency_max: flags.max_concurrency,
        timeout: flags.timeout,
        samples_max: flags.max_samples,
        memory_bytes_max,
        results_bytes_max: usize::try_from(results).unwrap_or(usize::MAX),
        slow_after: Some(flags.log_slower_than).filter(|time| !time.is_zero()),
        quarantine_after: flags.quarantine_after,
        lookback: flags.lookback_delta,
        partial_response: flags.partial_response,
        parse: parse_options(features)?,
        delayed_name_removal: has_delayed_name_removal(features),
        per_step_stats: is_on(features, PER_STEP_STATS),
        search_api: is_on(features, SEARCH_API),
        ..QuerierOptions::default()
    })
}

/// The options of the querier that answers rules, as a node's flags say.
pub fn rule_options(flags: &RuleFlags) -> Result<QuerierOptions, UnknownFeature> {
    Ok(QuerierOptions {
        lookback: flags.lookback_delta,
        parse: parse_options(&flags.features)?,
        delayed_name_removal: has_delayed_name_removal(&flags.features),
        ..QuerierOptions::default()
    })
}

/// What expressions may use, as the flag says.
pub fn parse_options(flags: &FeatureFlags) -> Result<ParseOptions, UnknownFeature> {
    let features = &flags.enable_feature;
    if let Some(unknown) = features.iter().find(|name| !KNOWN.contains(&name.as_str())) {
        return Err(UnknownFeature(unknown.clone()));
    }
    Ok(ParseOptions {
        experimental_functions: is_on(flags, EXPERIMENTAL_FUNCTIONS),
        extended_range_selectors: is_on(flags, EXTENDED_RANGE_SELECTORS),
        binop_fill_modifiers: is_on(flags, BINOP_FILL_MODIFIERS),
        ..ParseOptions::default()
    })
}

/// Whether names that operations drop go when the query ends, not at once.
pub fn has_delayed_name_removal(flags: &FeatureFlags) -> bool {
    is_on(flags, DELAYED_NAME_REMOVAL)
}

fn is_on(flags: &FeatureFlags, name: &str) -> bool {
    flags.enable_feature.iter().any(|feature| feature == name)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::flags::{Arguments, Command};

    fn options_of(features: &str) -> Result<QuerierOptions, UnknownFeature> {
        let line = ["narthex", "up", "--enable-feature", features];
        let Command::Up(arguments) = Arguments::parse_from(line).command else {
            panic!("`up` was asked for")
        };
        options(&arguments.query)
    }

    #[test]
    fn features_are_switched_on_by_name() {
        let options = options_of("promql-experimental-functions,promql-delayed-name-removal");
        let options = options.unwrap();
        assert!(options.parse.experimental_functions && options.delayed_name_removal);
        assert!(!options.parse.binop_fill_modifiers);
    }

    #[test]
    fn an_unknown_feature_is_refused_by_name() {
        let error = options_of("native-histograms").unwrap_err();
        assert!(error.to_string().contains("native-histograms"), "{error}");
    }
}
