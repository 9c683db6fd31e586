//! Values as Go's `fmt` prints them.

use std::fmt::Write as _;

use narthex_model::{number, quote};

use super::{
    Value,
    execute::{Bounded, OUTPUT_BYTES_MAX},
    value::Nested,
};

/// The widest field and the most digits that a verb may ask for.
const WIDTH_MAX: usize = 10_000;

/// What the functions of this module make, or that it would be too long.
type Text = Result<String, String>;

fn too_long<E>(_: E) -> String {
    format!("text is longer than {OUTPUT_BYTES_MAX} bytes")
}

/// As `Sprint`: a blank between two that are no texts.
pub(crate) fn print(args: &[Value]) -> Text {
    let mut text = String::new();
    for (at, arg) in args.iter().enumerate() {
        let is_text = |value: &Value| matches!(value, Value::Text(_));
        let is_apart = at > 0 && !is_text(arg) && !is_text(&args[at - 1]);
        let blank = if is_apart { " " } else { "" };
        write!(Bounded(&mut text), "{blank}{}", Nested(arg)).map_err(too_long)?;
    }
    Ok(text)
}

/// As `Sprintln`.
pub(crate) fn println(args: &[Value]) -> Text {
    let mut text = String::new();
    for (at, arg) in args.iter().enumerate() {
        let blank = if at > 0 { " " } else { "" };
        write!(Bounded(&mut text), "{blank}{}", Nested(arg)).map_err(too_long)?;
    }
    text.push('\n');
    Ok(text)
}

/// One value, however long it is: those of alerts are bounded by what a query answers.
fn plain(value: &Value) -> String {
    Nested(value).to_string()
}

/// What stands between `%` and the verb.
#[derive(Debug, Clone, Copy, Default)]
struct Flags {
    minus: bool,
    plus: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// As `Sprintf`. What does not fit is shown in the text, as there.
pub(crate) fn printf(layout: &str, args: &[Value]) -> Text {
    let mut text = String::new();
    let mut rest = layout;
    let mut next = 0;
    while let Some((before, behind)) = rest.split_once('%') {
        text.push_str(before);
        let (flags, behind) = read_flags(behind);
        let Some(verb) = behind.chars().next() else {
            text.push_str("%!(NOVERB)");
            rest = "";
            break;
        };
        rest = &behind[verb.len_utf8()..];
        if verb == '%' {
            text.push('%');
            continue;
        }
        match args.get(next) {
            Some(arg) => text.push_str(&formatted(arg, verb, flags)),
            None => text.push_str(&format!("%!{verb}(MISSING)")),
        }
        next += 1;
        if text.len() > OUTPUT_BYTES_MAX {
            return Err(too_long(()));
        }
    }
    text.push_str(rest);
    if next < args.len() {
        text.push_str("%!(EXTRA ");
        for (at, arg) in args[next..].iter().enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            write!(Bounded(&mut text), "{comma}{}", typed(arg)).map_err(too_long)?;
        }
        text.push(')');
    }
    Ok(text)
}

fn read_flags(text: &str) -> (Flags, &str) {
    let mut flags = Flags::default();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        match first {
            '-' => flags.minus = true,
            '+' => flags.plus = true,
            // Go's alternative forms are not those of any alert.
            '#' => {}
            ' ' => flags.space = true,
            '0' => flags.zero = true,
            _ => break,
        }
        rest = &rest[1..];
    }
    (flags.width, rest) = read_count(rest);
    if let Some(behind) = rest.strip_prefix('.') {
        (flags.precision, rest) = read_count(behind);
        flags.precision = flags.precision.or(Some(0));
    }
    (flags, rest)
}

fn read_count(text: &str) -> (Option<usize>, &str) {
    let len = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = text.split_at(len);
    let count = digits.parse::<usize>().ok().map(|count| count.min(WIDTH_MAX));
    (count, rest)
}

fn formatted(value: &Value, verb: char, flags: Flags) -> String {
    let text = match (verb, value) {
        ('T', value) => value.type_name().to_owned(),
        ('v' | 't', Value::Bool(value)) => value.to_string(),
        ('v' | 'd', Value::Int(value)) => return signed(flags, *value < 0, &magnitude(*value)),
        ('b' | 'o' | 'x' | 'X' | 'c' | 'U', Value::Int(value)) => integer(verb, *value),
        ('v' | 'g', Value::Float(value)) => match flags.precision {
            None => return float(flags, *value, number::format_exposition(value.abs())),
            Some(precision) => return float(flags, *value, general(value.abs(), precision)),
        },
        ('f' | 'F', Value::Float(value)) => {
            let precision = flags.precision.unwrap_or(6);
            return float(flags, *value, format!("{:.precision$}", value.abs()));
        }
        ('e' | 'E', Value::Float(value)) => {
            let text = scientific(value.abs(), flags.precision.unwrap_or(6));
            let text = if verb == 'E' { text.to_uppercase() } else { text };
            return float(flags, *value, text);
        }
        ('v' | 's', Value::Text(text)) => cut(text, flags.precision).to_owned(),
        ('q', Value::Text(text)) => quote(cut(text, flags.precision)).to_string(),
        ('x' | 'X', Value::Text(text)) => {
            let digits: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
            if verb == 'X' { digits.to_uppercase() } else { digits }
        }
        ('v', value) => plain(value),
        ('s' | 'd', Value::List(_) | Value::Texts(_) | Value::Map(_) | Value::Record(_)) => {
            plain(value)
        }
        ('s', Value::Time(_)) => plain(value),
        (verb, Value::Nil) => format!("%!{verb}(<nil>)"),
        (verb, value) => format!("%!{verb}({})", typed(value)),
    };
    padded(&text, flags)
}

/// `type=value`, for what does not fit.
fn typed(value: &Value) -> String {
    match value {
        Value::Nil => "<nil>".to_owned(),
        value => format!("{}={value}", value.type_name()),
    }
}

fn cut(text: &str, chars: Option<usize>) -> &str {
    let end = chars.and_then(|chars| text.char_indices().nth(chars));
    end.map_or(text, |(end, _)| &text[..end])
}

fn magnitude(value: i64) -> String {
    value.unsigned_abs().to_string()
}

fn integer(verb: char, value: i64) -> String {
    let sign = if value < 0 { "-" } else { "" };
    let value = value.unsigned_abs();
    match verb {
        'b' => format!("{sign}{value:b}"),
        'o' => format!("{sign}{value:o}"),
        'x' => format!("{sign}{value:x}"),
        'X' => format!("{sign}{value:X}"),
        'U' => format!("U+{value:04X}"),
        _ => {
            let char = u32::try_from(value).ok().and_then(char::from_u32);
            char.unwrap_or(char::REPLACEMENT_CHARACTER).to_string()
        }
    }
}

/// A number whose digits without sign are `digits`.
fn float(flags: Flags, value: f64, digits: String) -> String {
    if value.is_finite() {
        return signed(flags, value.is_sign_negative(), &digits);
    }
    // Infinities and what is no number are not padded with zeros.
    let flags = Flags { zero: false, ..flags };
    match value {
        f64::INFINITY => padded("+Inf", flags),
        f64::NEG_INFINITY => padded("-Inf", flags),
        _ => padded(if flags.plus { "+NaN" } else { "NaN" }, flags),
    }
}

/// Sign and digits; zeros of the padding stand between the two.
fn signed(flags: Flags, is_negative: bool, digits: &str) -> String {
    let sign = match (is_negative, flags.plus, flags.space) {
        (true, _, _) => "-",
        (_, true, _) => "+",
        (_, _, true) => " ",
        _ => "",
    };
    let len = sign.len() + digits.len();
    match flags.width {
        Some(width) if flags.zero && !flags.minus && width > len => {
            format!("{sign}{}{digits}", "0".repeat(width - len))
        }
        _ => padded(&format!("{sign}{digits}"), flags),
    }
}

fn padded(text: &str, flags: Flags) -> String {
    let len = text.chars().count();
    let Some(missing) = flags.width.and_then(|width| width.checked_sub(len)) else {
        return text.to_owned();
    };
    let padding = " ".repeat(missing);
    if flags.minus { format!("{text}{padding}") } else { format!("{padding}{text}") }
}

/// `%.Ng`: so many significant digits, none of them a zero at the end.
pub fn general(value: f64, precision: usize) -> String {
    let precision = precision.max(1);
    if !value.is_finite() {
        return number::format_exposition(value);
    }
    let rounded = format!("{value:.*e}", precision - 1);
    let (mantissa, exponent) = rounded.split_once('e').unwrap_or((&rounded, "0"));
    let exponent: i64 = exponent.parse().unwrap_or(0);
    let digits = mantissa.chars().filter(char::is_ascii_digit).collect::<String>();
    let significant = digits.trim_end_matches('0').len();
    let point = exponent + 1;
    // Go's own rule of when an exponent is shorter.
    let mut bound = precision as i64;
    if bound > significant as i64 && significant as i64 >= point {
        bound = significant as i64;
    }
    if value != 0.0 && (exponent < -4 || exponent >= bound) {
        return scientific(value, significant.saturating_sub(1));
    }
    let decimals = (significant as i64 - point).max(0) as usize;
    // The digits are those of the rounding above.
    let rounded: f64 = rounded.parse().unwrap_or(value);
    format!("{rounded:.decimals$}")
}

/// `1.5e+07`: at least two digits of exponent, with its sign.
fn scientific(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    format!("{mantissa}e{sign}{digits:0>2}")
}
