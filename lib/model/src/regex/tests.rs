use proptest::prelude::*;

use super::*;

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"))
}

#[test]
fn patterns_have_the_meaning_of_go() {
    let matching = [
        ("a.b", "a\nb"),
        ("", ""),
        ("(?i)ab[c-d]", "ABD"),
        (r"\d+", "123"),
        (r"\Qa.b\E+", "a.bb"),
        ("a{,2}", "a{,2}"),
        ("x{a}", "x{a}"),
        ("{", "{"),
        ("a{2,3}", "aaa"),
        (r"[[:alpha:]_]+", "ab_"),
        ("[]a]+", "]a"),
        ("[a&&b]+", "a&&b"),
        ("[+--b]+", ",b"),
        (r"\<\>", "<>"),
        ("[[]", "["),
        (r"\101\x42\x{43}", "ABC"),
        (r"\pL\p{Greek}\PN", "aαb"),
        ("(?P<n>a)|(?<m>b)", "b"),
        ("a(?-s:.)b", "a.b"),
        ("(?m:^a$\n^b$)", "a\nb"),
        (r"foo\b.*", "foo bar"),
        ("a??b", "ab"),
        ("[a-]", "-"),
        (r"[\d-z]+", "1-z"),
        ("(?U)a+", "aa"),
        ("a|b|", ""),
    ];
    for (pattern, text) in matching {
        assert!(regex(pattern).is_match(text), "{pattern} should match {text:?}");
    }
    let differing = [
        ("ab", "abc"),
        (r"\d", "٣"),
        (r"\w", "é"),
        (r"\s", "\x0b"),
        ("a(?-s:.)b", "a\nb"),
        ("(?i:a)b", "AB"),
        (r"\bé\b", "é"),
        ("[^a]", "a"),
        ("a$b", "a\nb"),
    ];
    for (pattern, text) in differing {
        assert!(!regex(pattern).is_match(text), "{pattern} should not match {text:?}");
    }
}

#[test]
fn refusals_are_in_the_words_of_go() {
    let refused = [
        ("(.*", "missing closing ): `(.*`"),
        ("a)", "unexpected ): `a)`"),
        ("[a", "missing closing ]: `[a`"),
        ("*a", "missing argument to repetition operator: `*`"),
        ("a**", "invalid nested repetition operator: `**`"),
        ("a{1001}", "invalid repeat count: `{1001}`"),
        ("(a{100}){100}", "invalid repeat count: `{100}`"),
        ("a{3,2}", "invalid repeat count: `{3,2}`"),
        ("[z-a]", "invalid character class range: `z-a`"),
        ("[a--b]", "invalid character class range: `a--`"),
        (r"\y", r"invalid escape sequence: `\y`"),
        (r"(a)\1", r"invalid escape sequence: `\1`"),
        (r"\Z", r"invalid escape sequence: `\Z`"),
        ("a\\", "trailing backslash at end of expression: ``"),
        ("(?x)a", "invalid or unsupported Perl syntax: `(?x`"),
        ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
        ("(?P<n", "invalid named capture: `(?P<n`"),
        ("(?P<n!>a)", "invalid named capture: `(?P<n!>`"),
        (r"\p{Klingon}", r"invalid character class range: `\p{Klingon}`"),
        ("[[:foo:]]", "invalid character class range: `[:foo:]`"),
    ];
    for (pattern, message) in refused {
        let error = Regex::new(pattern).expect_err(pattern).to_string();
        assert_eq!(error, format!("error parsing regexp: {message}"), "{pattern}");
    }
    assert!(Regex::new(&"(".repeat(100_000)).is_err());
    assert!(Regex::new(r"((\pL{10}){10}){10}").is_err(), "too large a program");
}

#[test]
fn simple_patterns_need_no_engine() {
    let set = |pattern: &str| regex(pattern).set_matches().map(<[String]>::to_vec);
    assert_eq!(set("b|a|b"), Some(vec!["a".into(), "b".into()]));
    assert_eq!(
        set("api-(1|2[ab])?"),
        Some(["api-", "api-1", "api-2a", "api-2b"].map(String::from).to_vec())
    );
    assert_eq!(set("a.*"), None);
    assert_eq!(set("[a-z][a-z]"), None);
    let shapes = [
        (".*", Shape::All),
        ("(.+)", Shape::NotEmpty),
        ("foo.*", Shape::Prefix("foo".into())),
        (".*foo", Shape::Suffix("foo".into())),
        (".*foo.*?", Shape::Contains("foo".into())),
        ("fo+", Shape::Other),
        ("(?-s:.*)", Shape::Other),
        ("^.*", Shape::Other),
    ];
    for (pattern, shape) in shapes {
        assert_eq!(regex(pattern).0.shape, shape, "{pattern}");
    }
    let prefixes =
        [("foo.*bar", "foo"), ("(foo|fob)x", "fo"), ("fo+", "f"), ("fo?", "f"), ("(?i)a", "")];
    for (pattern, prefix) in prefixes {
        assert_eq!(regex(pattern).prefix(), prefix, "{pattern}");
    }
}

#[test]
fn references_expand_by_the_rules_of_go() {
    let pattern = regex("(?P<first>[a-z]+)-(\\d+)(x)?");
    let expand = |template| pattern.expand(template, "ab-12");
    let cases = [
        ("$1:$2", "ab:12"),
        ("${1}1", "ab1"),
        ("$1x", ""),
        ("$first", "ab"),
        ("${first}$$", "ab$"),
        ("$3|$4|$9", "||"),
        ("$", "$"),
        ("${1", "${1"),
        ("$-$", "$-$"),
        ("$01", ""),
        ("$0", "ab-12"),
    ];
    for (template, text) in cases {
        assert_eq!(expand(template).as_deref(), Some(text), "{template}");
    }
    assert_eq!(pattern.expand("x", "nothing"), None);
    assert_eq!(regex("(a|b)").expand("<$1>", "b").as_deref(), Some("<b>"));
}

proptest! {
    #[test]
    fn shapes_agree_with_the_engine(
        pattern in "(\\.\\*|\\.\\+|[ab]{1,2}|\\(a\\|b\\)|\\(ab\\|\\)|a\\?|\\[ab\\]|\\|){1,5}",
        text in "[abc]{0,4}",
    ) {
        let regex = regex(&pattern);
        prop_assert_eq!(regex.is_match(&text), regex.0.program.is_match(text.as_str()));
        if regex.is_match(&text) {
            prop_assert!(text.starts_with(regex.prefix()));
        }
    }

    #[test]
    fn any_pattern_is_compiled_or_refused(
        pattern in "(\\(|\\)|\\[|\\]|\\{|\\}|\\*|\\+|\\?|\\||\\\\|\\^|\\$|\\.|-|,|:|[0-9a-zA-Z]|é){0,24}",
        text in "\\PC{0,8}",
    ) {
        if let Ok(regex) = Regex::new(&pattern) {
            regex.expand("$1", &text);
        }
    }
}
