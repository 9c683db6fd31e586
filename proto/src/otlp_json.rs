//! OTLP's JSON where it differs from what serde reads: 64-bit integers are decimal text or
//! numbers, floats may be the words for what JSON lacks, ids are hexadecimal.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Deserializer, de};

use crate::opentelemetry::proto::metrics::v1::AggregationTemporality;

/// An integer of any width, as a number or in decimal.
pub fn integer<'de, D: Deserializer<'de>, T: TryFrom<i128>>(from: D) -> Result<T, D::Error> {
    Integer::deserialize(from).map(|integer| integer.0)
}

/// A list of them.
pub fn integers<'de, D: Deserializer<'de>, T: TryFrom<i128>>(from: D) -> Result<Vec<T>, D::Error> {
    let all = Option::<Vec<Integer<T>>>::deserialize(from)?;
    Ok(all.unwrap_or_default().into_iter().map(|integer| integer.0).collect())
}

/// A float, as a number or as `NaN`, `Infinity` or `-Infinity`.
pub fn float<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Float::deserialize(from).map(|float| float.0)
}

/// A list of them.
pub fn floats<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<f64>, D::Error> {
    let all = Option::<Vec<Float>>::deserialize(from)?;
    Ok(all.unwrap_or_default().into_iter().map(|float| float.0).collect())
}

/// A float that may be absent.
pub fn optional_float<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    Ok(Option::<Float>::deserialize(from)?.map(|float| float.0))
}

/// A temporality, by its number or its name.
pub fn temporality<'de, D: Deserializer<'de>>(from: D) -> Result<i32, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(i32),
        Name(String),
    }
    match Either::deserialize(from)? {
        Either::Number(number) => Ok(number),
        Either::Name(name) => AggregationTemporality::from_str_name(&name)
            .map(|temporality| temporality as i32)
            .ok_or_else(|| de::Error::custom(format!("unknown temporality {name:?}"))),
    }
}

/// Bytes in base64.
pub fn base64<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
    let text = String::deserialize(from)?;
    STANDARD.decode(text).map(Bytes::from).map_err(de::Error::custom)
}

/// Bytes in hexadecimal.
pub fn hex<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
    let text = String::deserialize(from)?;
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let (pairs, left) = text.as_bytes().as_chunks::<2>();
    let bytes: Option<Vec<u8>> =
        pairs.iter().map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?)).collect();
    match bytes {
        Some(bytes) if left.is_empty() => Ok(bytes.into()),
        _ => Err(de::Error::custom(format!("{text:?} is not hexadecimal"))),
    }
}

struct Integer<T>(T);

impl<'de, T: TryFrom<i128>> Deserialize<'de> for Integer<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let integer = from.deserialize_any(IntegerVisitor)?;
        T::try_from(integer)
            .map(Integer)
            .map_err(|_| de::Error::custom(format!("{integer} is out of range")))
    }
}

struct IntegerVisitor;

impl de::Visitor<'_> for IntegerVisitor {
    type Value = i128;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an integer, or one in decimal text")
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<i128, E> {
        Ok(value.into())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<i128, E> {
        Ok(value.into())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<i128, E> {
        text.parse().map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

struct Float(f64);

impl<'de> Deserialize<'de> for Float {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(FloatVisitor).map(Float)
    }
}

struct FloatVisitor;

impl de::Visitor<'_> for FloatVisitor {
    type Value = f64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, \"NaN\", \"Infinity\" or \"-Infinity\"")
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<f64, E> {
        Ok(value)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<f64, E> {
        Ok(value as f64)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<f64, E> {
        Ok(value as f64)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<f64, E> {
        match text {
            "NaN" => Ok(f64::NAN),
            "Infinity" => Ok(f64::INFINITY),
            "-Infinity" => Ok(f64::NEG_INFINITY),
            text => text.parse().map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self)),
        }
    }
}
