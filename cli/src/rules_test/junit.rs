//! Outcomes in the XML that CI systems read.

use std::fmt::Write as _;

use super::{Case, Suite};

/// The whole document.
pub(super) fn document(suites: &[Suite]) -> String {
    let mut text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n".to_owned();
    for suite in suites {
        let failed = suite.cases.iter().filter(|case| !case.failures.is_empty()).count();
        let (name, tests, errors) = (escaped(&suite.name), suite.cases.len(), suite.errors.len());
        line(
            &mut text,
            format_args!(
                "  <testsuite name=\"{name}\" tests=\"{tests}\" failures=\"{failed}\" \
                 errors=\"{errors}\">"
            ),
        );
        for error in &suite.errors {
            line(&mut text, format_args!("    <testcase name=\"{name}\">"));
            line(&mut text, format_args!("      <error>{}</error>", escaped(error)));
            line(&mut text, format_args!("    </testcase>"));
        }
        suite.cases.iter().for_each(|case| push_case(&mut text, case));
        line(&mut text, format_args!("  </testsuite>"));
    }
    text.push_str("</testsuites>\n");
    text
}

fn push_case(text: &mut String, case: &Case) {
    line(text, format_args!("    <testcase name=\"{}\">", escaped(&case.name)));
    for failure in &case.failures {
        line(text, format_args!("      <failure>{}</failure>", escaped(failure)));
    }
    line(text, format_args!("    </testcase>"));
}

fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    writeln!(text, "{content}").expect("a string takes any text");
}

/// Text for content and attributes; characters that XML cannot hold are shown as such.
fn escaped(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => result.push_str("&amp;"),
            '<' => result.push_str("&lt;"),
            '>' => result.push_str("&gt;"),
            '"' => result.push_str("&quot;"),
            '\n' | '\t' => result.push(char),
            '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => result.push(char::REPLACEMENT_CHARACTER),
            char => result.push(char),
        }
    }
    result
}
