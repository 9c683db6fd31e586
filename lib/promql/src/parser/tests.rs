use proptest::prelude::*;

use super::*;
use crate::{
    ast::{DurationExpr, DurationKind, Subquery},
    pretty,
};

fn all() -> ParseOptions {
    ParseOptions::everything()
}

fn printed(input: &str) -> String {
    match parse(input, &all()) {
        Ok(expr) => expr.to_string(),
        Err(error) => panic!("{input}: {error}"),
    }
}

fn refused(input: &str) -> String {
    match parse(input, &all()) {
        Ok(expr) => panic!("{input} was taken for {expr}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn expressions_print_as_they_were_meant() {
    let cases = [
        ("1 + 2/(3*1)", "1 + 2 / (3 * 1)"),
        ("-1^2 + -foo ^ 2", "-1 ^ 2 + -foo ^ 2"),
        ("a ^ b ^ -c", "a ^ b ^ -c"),
        ("foo{a='b',c=~\"d|e\",}", r#"foo{a="b",c=~"d|e"}"#),
        (r#"{"my.metric", "my.label"!="x"}"#, r#"{"my.label"!="x",__name__="my.metric"}"#),
        ("sum(a) by (job, \"x y\")", r#"sum by (job, "x y") (a)"#),
        ("sum without() (a)", "sum without () (a)"),
        ("topk(5, a)", "topk(5, a)"),
        ("a * on(x) group_left b", "a * on (x) group_left () b"),
        ("a + fill_right(-1) fill_left(Inf) b", "a + fill_left (+Inf) fill_right (-1) b"),
        ("a == bool on() b", "a == bool on () b"),
        ("rate(foo[1h30m] offset -5m @ 12.5)", "rate(foo[1h30m] @ 12.500 offset -5m)"),
        ("foo[300]", "foo[5m]"),
        ("(a+b)[5m:] offset 1w", "(a + b)[5m:] offset 1w"),
        ("foo @ end() offset (2*step())", "foo @ end() offset (2 * step())"),
        ("foo[5m] anchored", "foo[5m] anchored"),
        ("sum offset 5m", "sum offset 5m"),
        ("step + range + start(  )", "step + range + start()"),
        ("fill + fill", "fill + fill"),
        ("a </ b >/ 2", "a </ b >/ 2"),
        ("0x1F + 1_000 + 1h", "31 + 1000 + 1h"),
        ("foo offset 100 + 2", "foo offset 1m40s + 2"),
        ("foo offset -2 ^ 2", "foo offset -2s ^ 2"),
        ("info(a, {x=~\".*\"})", r#"info(a, {x=~".*"})"#),
        ("\"a\\n'\" # comment", r#""a\n'""#),
    ];
    for (input, text) in cases {
        assert_eq!(printed(input), text, "{input}");
        assert_eq!(printed(text), text, "{input}");
    }
}

#[test]
fn syntax_errors_name_the_token_and_the_place() {
    let cases = [
        ("", "1:1: parse error: no expression found in input"),
        ("1 +", "1:4: parse error: unexpected end of input"),
        ("foo bar", r#"1:5: parse error: unexpected identifier "bar""#),
        ("(1", "1:3: parse error: unclosed left parenthesis"),
        ("1)", "1:2: parse error: unexpected right parenthesis ')'"),
        ("sum(foo bar)", r#"1:9: parse error: unexpected identifier "bar" in aggregation"#),
        (
            "sum by x (y)",
            r#"1:8: parse error: unexpected identifier "x" in grouping opts, expected "(""#,
        ),
        (
            "foo{a=b}",
            r#"1:7: parse error: unexpected identifier "b" in label matching, expected string"#,
        ),
        ("foo{a:b=\"c\"}", "1:6: parse error: unexpected character inside braces: ':'"),
        (
            "foo{gibberish}",
            r#"1:14: parse error: unexpected "}" in label matching, expected label matching operator"#,
        ),
        ("some{", "1:6: parse error: unexpected end of input inside braces"),
        (
            "foo[]",
            r#"1:5: parse error: unexpected "]" in subquery or range selector, expected number, duration, step(), or range()"#,
        ),
        ("foo[5m:x]", r#"1:8: parse error: unexpected character: 'x', expected ':'"#),
        ("foo[\"5m\"]", r#"1:5: parse error: unexpected character in duration expression: '"'"#),
        ("foo[5m1h]", r#"1:5: parse error: not a valid duration string: "5m1h""#),
        ("foo[5mm]", r#"1:5: parse error: bad number or duration syntax: "5mm""#),
        ("foo[0m]", "1:5: parse error: duration must be greater than 0"),
        (
            "foo offset",
            "1:11: parse error: unexpected end of input in offset, expected number, duration, step(), or range()",
        ),
        ("foo @ bar", r#"1:7: parse error: unexpected identifier "bar" in @, expected timestamp"#),
        ("a\n+\n* b", "3:1: parse error: unexpected <op:*>"),
        ("a - on(b) ignoring(c) d", "1:11: parse error: unexpected <ignoring>"),
        ("'\\q'", "1:1: parse error: unknown escape sequence U+0071 'q'"),
        ("\"abc", "1:1: parse error: unterminated quoted string"),
        ("1 =~ 2", "1:3: parse error: unexpected character after '=': '~'"),
        ("rate(a,)", "1:7: parse error: trailing commas not allowed in function call args"),
        ("foo(a)", r#"1:1: parse error: unknown function with name "foo""#),
    ];
    for (input, message) in cases {
        assert_eq!(refused(input), message, "{input}");
    }
}

#[test]
fn types_are_checked() {
    let cases = [
        (
            "1 and 1",
            r#"1:1: parse error: set operator "and" not allowed in binary scalar expression"#,
        ),
        ("1 == 1", "1:3: parse error: comparisons between scalars must use BOOL modifier"),
        (
            "foo + bool bar",
            "1:5: parse error: bool modifier can only be used on comparison operators",
        ),
        (
            "foo == on(bar) 10",
            "1:1: parse error: vector matching only allowed between instant vectors",
        ),
        (
            "foo and on(bar) group_left(baz) bar",
            r#"1:1: parse error: no grouping allowed for "and" operation"#,
        ),
        (
            "foo * on(bar) group_left(bar) baz",
            r#"1:5: parse error: label "bar" must not occur in ON and GROUP clause at once"#,
        ),
        (
            "rate(foo)",
            r#"1:6: parse error: expected type range vector in call to function "rate", got instant vector"#,
        ),
        (
            "sum(foo[5m])",
            "1:5: parse error: expected type instant vector in aggregation expression, got range vector",
        ),
        (
            "topk(a, b)",
            "1:6: parse error: expected type scalar in aggregation parameter, got instant vector",
        ),
        (
            "-foo[5m]",
            r#"1:1: parse error: unary expression only allowed on expressions of type scalar or instant vector, got "range vector""#,
        ),
        (
            "time()[5m:]",
            "1:1: parse error: subquery is only allowed on instant vector, got scalar instead",
        ),
        (
            "{x=\"\"}",
            "1:1: parse error: vector selector must contain at least one non-empty matcher",
        ),
        (
            "foo{__name__=\"bar\"}",
            r#"1:1: parse error: metric name must not be set twice: "foo" or "bar""#,
        ),
        ("floor()", r#"1:1: parse error: expected 1 argument(s) in call to "floor", got 0"#),
        (
            "hour(a, b)",
            r#"1:1: parse error: expected at most 1 argument(s) in call to "hour", got 2"#,
        ),
        (
            "label_join(a, \"b\")",
            r#"1:1: parse error: expected at least 3 argument(s) in call to "label_join", got 2"#,
        ),
        (
            "foo + \"bar\"",
            "1:7: parse error: binary expression must contain only scalar and instant vector types",
        ),
        (
            "info(a, b)",
            "1:9: parse error: expected label selectors only, got vector selector instead",
        ),
        ("count_values(\"a\\xc5z\", b)", r#"1:14: parse error: invalid label name "a\xc5z""#),
    ];
    for (input, message) in cases {
        assert_eq!(refused(input), message, "{input}");
    }
}

#[test]
fn experiments_must_be_enabled() {
    let cases = [
        (
            "limitk(1, a)",
            "1:1: parse error: limitk() is experimental and must be enabled with --enable-feature=promql-experimental-functions",
        ),
        ("mad_over_time(a[5m])", r#"1:1: parse error: function "mad_over_time" is not enabled"#),
        (
            "a + fill(0) b",
            "1:1: parse error: binop fill modifiers are experimental and not enabled",
        ),
        ("a smoothed", "1:1: parse error: smoothed modifier is experimental and not enabled"),
    ];
    for (input, message) in cases {
        let error = parse(input, &ParseOptions::default()).expect_err("gated").to_string();
        assert_eq!(error, message);
        assert!(parse(input, &all()).is_ok());
    }
}

#[test]
fn depth_and_length_are_limited() {
    let deep = |levels: usize| format!("{}1{}", "(".repeat(levels), ")".repeat(levels));
    assert!(parse(&deep(100), &all()).is_ok());
    for input in [
        deep(100_000),
        "-".repeat(100_000),
        vec!["1"; 100_000].join("+"),
        "a^".repeat(100_000),
        format!("a[{}1]", "-".repeat(100_000)),
        format!("a{}", "[1m:]".repeat(10_000)),
    ] {
        assert!(parse(&input, &all()).is_err());
    }
    assert!(parse(&vec!["a"; 500].join(" or "), &all()).is_ok());
    let short = ParseOptions { input_bytes_max: 3, ..all() };
    assert!(parse("1+1", &short).is_ok() && parse("1+11", &short).is_err());
}

#[test]
fn ranges_cover_what_was_written() {
    let input = "sum by (x) (rate(foo[5m] offset 1m)) + 2";
    let expr = parse(input, &all()).expect("valid");
    let mut texts = Vec::new();
    expr.walk(&mut |node| {
        texts.push(&input[node.range.start as usize..node.range.end as usize]);
    });
    let expected = [
        input,
        "sum by (x) (rate(foo[5m] offset 1m))",
        "rate(foo[5m] offset 1m)",
        "foo[5m] offset 1m",
        "2",
    ];
    assert_eq!(texts, expected);
}

#[test]
fn selectors_of_the_api_have_no_modifiers() {
    let matchers = parse_selector("up{job=\"api\"}", &all()).expect("valid");
    let texts: Vec<_> = matchers.iter().map(ToString::to_string).collect();
    assert_eq!(texts, [r#"job="api""#, r#"__name__="up""#]);
    for input in ["up[5m]", "up offset 5m", "1", "{}", "up + up", ""] {
        assert!(parse_selector(input, &all()).is_err(), "{input}");
    }
}

/// The tree without its ranges, which printing moves.
fn without_ranges(mut expr: Expr) -> Expr {
    strip(&mut expr);
    expr
}

fn strip(expr: &mut Expr) {
    expr.range = ByteRange::default();
    let durations = match &mut expr.kind {
        ExprKind::Selector(selector) => [selector.offset.as_mut(), None, None],
        ExprKind::Matrix(matrix) => {
            [matrix.selector.offset.as_mut(), Some(&mut matrix.window), None]
        }
        ExprKind::Subquery(subquery) => {
            let Subquery { offset, window, step, .. } = subquery.as_mut();
            [offset.as_mut(), Some(window), step.as_mut()]
        }
        _ => [None, None, None],
    };
    durations.into_iter().flatten().for_each(strip_duration);
    expr.children_mut().into_iter().for_each(strip);
}

fn strip_duration(duration: &mut DurationExpr) {
    duration.range = ByteRange::default();
    match &mut duration.kind {
        DurationKind::Literal(_) | DurationKind::Step | DurationKind::Range => {}
        DurationKind::Negate(inner) | DurationKind::Paren(inner) => strip_duration(inner),
        DurationKind::Binary(_, lhs, rhs) => {
            strip_duration(lhs);
            strip_duration(rhs);
        }
    }
}

fn arbitrary_expr() -> impl Strategy<Value = String> {
    let selector = "[a-c]{1,2}(\\{(job|\"x y\")(=|!=|=~)\"[a-z.]{0,3}\"\\})?( offset -?[1-9]m)?( @ [0-9]{1,4})?";
    let leaf = prop_oneof![
        3 => selector.prop_map(|text| text),
        1 => "[0-9]{1,3}(\\.[0-9])?|[1-9]h|Inf|NaN",
    ];
    leaf.prop_recursive(5, 40, 3, |inner| {
        let op = "\\+|-|\\*|/|%|\\^|atan2|== bool|!= bool|> bool|and|or|unless|\\* on\\(job\\) group_left\\(a\\)|\\+ ignoring\\(\"x y\"\\)|</|- fill\\(-1\\)";
        prop_oneof![
            (inner.clone(), op, inner.clone()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
            inner.clone().prop_map(|a| format!("({a})")),
            ("[-+]", inner.clone()).prop_map(|(sign, a)| format!("{sign}{a}")),
            ("sum|max by\\(job\\)|count without\\(a, b\\)", inner.clone())
                .prop_map(|(op, a)| format!("{op} ({a})")),
            ("topk|quantile", inner.clone()).prop_map(|(op, a)| format!("{op}(2, {a})")),
            inner.clone().prop_map(|a| format!("rate(({a})[5m:1m] offset 1m)")),
            ("rate|max_over_time|deriv", "[a-c]", "5m|step\\(\\)|1m \\* 2|-\\(1 - 2\\)")
                .prop_map(|(f, name, window)| format!("{f}({name}[{window}])")),
            inner.prop_map(|a| format!("label_replace({a}, \"a\", \"$1\", \"b\", \"(.*)\")")),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_printed_parses_to_the_same_tree(input in arbitrary_expr()) {
        if let Ok(expr) = parse(&input, &all()) {
            let text = expr.to_string();
            let again = parse(&text, &all()).map_err(|error| {
                TestCaseError::fail(format!("{input} printed {text}: {error}"))
            })?;
            prop_assert_eq!(again.to_string(), text);
            let lines = pretty(&expr);
            let from_lines = parse(&lines, &all()).map_err(|error| {
                TestCaseError::fail(format!("{input} is laid out as {lines}: {error}"))
            })?;
            prop_assert_eq!(without_ranges(from_lines), without_ranges(again.clone()));
            prop_assert_eq!(without_ranges(again), without_ranges(expr));
        }
    }

    #[test]
    fn any_text_is_parsed_or_refused(input in "\\PC{0,60}") {
        let _ = parse(&input, &all());
    }

    #[test]
    fn any_run_of_tokens_is_parsed_or_refused(
        tokens in proptest::collection::vec(
            "foo|sum|by|\\(|\\)|\\[|\\]|\\{|\\}|5m|1|:|,|=|!=|=~|\"a\"|'|offset|@|-|\\^|on|group_left|start|#|\\\\|é|fill|rate|and|`|\n",
            0..20,
        ),
    ) {
        let joined = [tokens.join(" "), tokens.concat()];
        for input in joined {
            if let Ok(expr) = parse(&input, &all()) {
                prop_assert!(parse(&expr.to_string(), &all()).is_ok(), "{} printed {}", input, expr);
            }
        }
    }
}
