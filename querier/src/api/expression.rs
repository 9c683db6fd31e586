//! `/api/v1/format_query` and `/api/v1/parse_query`: expressions laid out, and as trees.

use axum::response::Response;
use bytes::Bytes;
use narthex_model::Matcher;
use narthex_promql::{
    ast::{
        AtModifier, Binary, Call, Cardinality, DurationExpr, Expr, ExprKind, FillValue,
        RangeExtension, Selector, Subquery, VectorMatching,
    },
    parse, pretty,
    types::{FunctionSignature, Optional, ValueType},
};

use crate::{
    Querier,
    answer::{Remarks, success},
    error::ApiError,
    json::{Json, Sink},
    params::Params,
};

fn parsed(api: &Querier, params: &Params) -> Result<Expr, ApiError> {
    parse(params.value("query"), &api.options.parse)
        .map_err(|error| ApiError::invalid_parameter("query", &error.to_string()))
}

/// The query over as many lines as it needs.
pub(super) fn format(api: &Querier, params: &Params) -> Result<Response, ApiError> {
    let text = pretty(&parsed(api, params)?);
    Ok(success(&Remarks::default(), |json| {
        json.text(&text);
    }))
}

/// The query's syntax tree, as Prometheus's page wants it. Members are in the order of their names.
pub(super) fn tree(api: &Querier, params: &Params) -> Result<Response, ApiError> {
    let expr = parsed(api, params)?;
    Ok(success(&Remarks::default(), |json| write(json, &expr)))
}

/// The JSON that `/api/v1/parse_query` answers with, by itself.
pub fn syntax_tree(expr: &Expr) -> String {
    let mut json = Json::new(Vec::<Bytes>::new());
    write(&mut json, expr);
    String::from_utf8(json.finish().concat()).expect("JSON is made of texts")
}

fn write<S: Sink>(json: &mut Json<S>, expr: &Expr) {
    json.raw("{");
    let kind = match &expr.kind {
        ExprKind::Number(number) => return write_number(json, number.value),
        ExprKind::String(text) => {
            json.name("type").text("stringLiteral").name("val").text(text).raw("}");
            return;
        }
        ExprKind::Selector(selector) => {
            write_selector(json, selector, None);
            "vectorSelector"
        }
        ExprKind::Matrix(matrix) => {
            write_selector(json, &matrix.selector, Some(&matrix.window));
            "matrixSelector"
        }
        ExprKind::Subquery(subquery) => {
            write_subquery(json, subquery);
            "subquery"
        }
        ExprKind::Unary(unary) => {
            write(json.name("expr"), &unary.expr);
            json.name("op").text(unary.op.text());
            "unaryExpr"
        }
        ExprKind::Binary(binary) => {
            write_binary(json, binary);
            "binaryExpr"
        }
        ExprKind::Aggregate(aggregate) => {
            write(json.name("expr"), &aggregate.expr);
            json.name("grouping").texts(&aggregate.labels);
            json.name("op").text(aggregate.op.text()).name("param");
            match &aggregate.param {
                Some(param) => write(json, param),
                None => {
                    json.raw("null");
                }
            }
            json.name("type").text("aggregation");
            json.name("without").boolean(aggregate.without).raw("}");
            return;
        }
        ExprKind::Call(call) => {
            write_call(json, call);
            "call"
        }
        ExprKind::Paren(inner) => {
            write(json.name("expr"), inner);
            "parenExpr"
        }
    };
    json.name("type").text(kind).raw("}");
}

/// In plain decimals, whatever its size.
fn write_number<S: Sink>(json: &mut Json<S>, value: f64) {
    let text = match value {
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        value => value.to_string(),
    };
    json.name("type").text("numberLiteral").name("val").text(&text).raw("}");
}

/// Milliseconds; 0 for what only a running query knows.
fn millis(duration: Option<&DurationExpr>) -> i64 {
    duration.and_then(DurationExpr::literal).map_or(0, |literal| literal.millis())
}

fn write_selector<S: Sink>(json: &mut Json<S>, selector: &Selector, window: Option<&DurationExpr>) {
    json.name("anchored").boolean(selector.extension == Some(RangeExtension::Anchored));
    json.name("matchers").raw("[");
    for matcher in &selector.matchers {
        write_matcher(json.element(), matcher);
    }
    json.raw("]").name("name").text(selector.name.as_deref().unwrap_or_default());
    json.name("offset").integer(millis(selector.offset.as_ref()));
    if let Some(window) = window {
        json.name("range").integer(millis(Some(window)));
    }
    json.name("smoothed").boolean(selector.extension == Some(RangeExtension::Smoothed));
    write_at(json, selector.at, None);
}

fn write_matcher<S: Sink>(json: &mut Json<S>, matcher: &Matcher) {
    json.raw("{").name("name").text(matcher.name());
    json.name("type").text(matcher.op().text());
    json.name("value").text(matcher.value()).raw("}");
}

/// Where `@` points; a subquery's step stands between the two.
fn write_at<S: Sink>(json: &mut Json<S>, at: Option<AtModifier>, step: Option<i64>) {
    let (edge, time) = match at {
        Some(AtModifier::Start) => (Some("start"), None),
        Some(AtModifier::End) => (Some("end"), None),
        Some(AtModifier::Time(time)) => (None, Some(time.millis())),
        None => (None, None),
    };
    json.name("startOrEnd");
    match edge {
        Some(edge) => json.text(edge),
        None => json.raw("null"),
    };
    if let Some(step) = step {
        json.name("step").integer(step);
    }
    json.name("timestamp");
    match time {
        Some(time) => json.integer(time),
        None => json.raw("null"),
    };
}

fn write_subquery<S: Sink>(json: &mut Json<S>, subquery: &Subquery) {
    write(json.name("expr"), &subquery.expr);
    json.name("offset").integer(millis(subquery.offset.as_ref()));
    json.name("range").integer(millis(Some(&subquery.window)));
    write_at(json, subquery.at, Some(millis(subquery.step.as_ref())));
}

fn write_binary<S: Sink>(json: &mut Json<S>, binary: &Binary) {
    json.name("bool").boolean(binary.return_bool);
    write(json.name("lhs"), &binary.lhs);
    json.name("matching");
    match &binary.matching {
        Some(matching) => write_matching(json, matching),
        None => {
            json.raw("null");
        }
    }
    json.name("op").text(binary.op.text());
    write(json.name("rhs"), &binary.rhs);
}

fn write_matching<S: Sink>(json: &mut Json<S>, matching: &VectorMatching) {
    let cardinality = match matching.cardinality {
        Cardinality::OneToOne => "one-to-one",
        Cardinality::ManyToOne => "many-to-one",
        Cardinality::OneToMany => "one-to-many",
        Cardinality::ManyToMany => "many-to-many",
    };
    json.raw("{").name("card").text(cardinality).name("fillValues").raw("{");
    for (side, fill) in [("lhs", matching.fill_left), ("rhs", matching.fill_right)] {
        json.name(side).float(fill.map_or(f64::NAN, |FillValue(value)| value));
    }
    json.raw("}").name("include").texts(&matching.include);
    json.name("labels").texts(&matching.labels).name("on").boolean(matching.on).raw("}");
}

fn write_call<S: Sink>(json: &mut Json<S>, call: &Call) {
    json.name("args").raw("[");
    for arg in &call.args {
        write(json.element(), arg);
    }
    let FunctionSignature { name, args, optional, returns, .. } = call.function;
    json.raw("]").name("func").raw("{");
    json.name("argTypes").texts(args.iter().map(|kind| ValueType::wire_name(*kind)));
    json.name("name").text(name).name("returnType").text(returns.wire_name());
    json.name("variadic").integer(match optional {
        Optional::Nothing => 0,
        Optional::UpTo(more) => i64::from(*more),
        Optional::Any => -1,
    });
    json.raw("}");
}
