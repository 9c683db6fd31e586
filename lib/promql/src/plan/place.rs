//! Where an expression can be evaluated.

use narthex_model::METRIC_NAME;

use crate::{
    ast::{AggregateOp, Call, Expr, ExprKind},
    types::ValueType,
};

/// Where an expression can be evaluated so that the answer is that of one storage with all series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It needs no series: on every shard and at the querier alike.
    Anywhere,
    /// Each series of the result comes from one series: on the shards, each for its own.
    Shards,
    /// As on the shards, but series of different shards may get equal labels, which must show
    /// before anything else looks at them.
    ShardsThenMerge,
    /// It relates series that may live on different shards.
    Querier,
}

impl Place {
    /// Of an operation whose operands have these places and that looks at one series at a time.
    fn of_each(operands: impl IntoIterator<Item = Self>) -> Self {
        let join = |place, operand| match (place, operand) {
            (Self::Querier | Self::ShardsThenMerge, _) => Self::Querier,
            (_, Self::Querier | Self::ShardsThenMerge) => Self::Querier,
            (Self::Shards, _) | (_, Self::Shards) => Self::Shards,
            (Self::Anywhere, Self::Anywhere) => Self::Anywhere,
        };
        operands.into_iter().fold(Self::Anywhere, join)
    }
}

/// Functions that relate the series of their arguments, or order them.
const RELATING: [&str; 12] = [
    "absent",
    "absent_over_time",
    "histogram_fraction",
    "histogram_quantile",
    "histogram_quantiles",
    "info",
    "scalar",
    "sort",
    "sort_by_label",
    "sort_by_label_desc",
    "sort_desc",
    // A single series that is no shard's own.
    "vector",
];

pub(super) fn place(expr: &Expr) -> Place {
    match &expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) => Place::Anywhere,
        ExprKind::Selector(_) | ExprKind::Matrix(_) => Place::Shards,
        ExprKind::Paren(inner) => place(inner),
        ExprKind::Unary(unary) => Place::of_each([place(&unary.expr)]),
        ExprKind::Subquery(subquery) => Place::of_each([place(&subquery.expr)]),
        ExprKind::Binary(binary) => {
            let operands = Place::of_each([place(&binary.lhs), place(&binary.rhs)]);
            // Between two vectors, elements of different shards may meet.
            let relates = binary.matching.is_some() && operands != Place::Anywhere;
            if relates { Place::Querier } else { operands }
        }
        ExprKind::Aggregate(aggregate) => {
            // Whether an element is kept follows from its labels alone.
            let is_per_element = aggregate.op == AggregateOp::LimitRatio
                && aggregate.param.as_ref().map(place) == Some(Place::Anywhere);
            let inner = Place::of_each([place(&aggregate.expr)]);
            if is_per_element || inner == Place::Anywhere { inner } else { Place::Querier }
        }
        ExprKind::Call(call) => {
            let args = Place::of_each(call.args.iter().map(place));
            let relates = RELATING.contains(&call.function.name) && args != Place::Anywhere;
            // Which series a scalar came from is forgotten, so that nothing else may be local.
            let is_scalar = expr.value_type() == ValueType::Scalar && args != Place::Anywhere;
            if relates || is_scalar {
                return Place::Querier;
            }
            if args == Place::Shards && sets_label(call) { Place::ShardsThenMerge } else { args }
        }
    }
}

/// Whether a call sets a label of its series other than the metric's name, by which alone series
/// of different shards cannot become equal.
fn sets_label(call: &Call) -> bool {
    let sets = matches!(call.function.name, "label_replace" | "label_join");
    let label = call.args.get(1).map(|arg| &arg.unwrapped().kind);
    sets && !matches!(label, Some(ExprKind::String(label)) if label == METRIC_NAME)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ParseOptions, parse};

    #[test]
    fn places_follow_what_is_related() {
        let cases = [
            ("1 + time()", Place::Anywhere),
            ("vector(1) + vector(2)", Place::Anywhere),
            ("up", Place::Shards),
            ("-rate(up[5m]) * 2 > time()", Place::Shards),
            ("max_over_time(rate(up[5m])[1h:]) ", Place::Shards),
            ("label_replace(up, \"a\", \"$1\", \"b\", \"(.*)\")", Place::ShardsThenMerge),
            ("label_join(up, \"__name__\", \"-\", \"b\")", Place::Shards),
            ("label_join(up, \"a\", \"-\", \"b\") > 1", Place::Querier),
            ("limit_ratio(0.5, up)", Place::Shards),
            ("up + up", Place::Querier),
            ("up + on() vector(1)", Place::Querier),
            ("sum(up)", Place::Querier),
            ("up * scalar(up)", Place::Querier),
            ("absent(up)", Place::Querier),
            ("sort(up)", Place::Querier),
            ("max_over_time(sum(up)[1h:])", Place::Querier),
        ];
        for (text, expected) in cases {
            let expr = parse(text, &ParseOptions::everything()).expect("valid");
            assert_eq!(place(&expr), expected, "{text}");
        }
    }
}
