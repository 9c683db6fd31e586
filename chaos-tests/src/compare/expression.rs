//! Expressions as trees of text, which can be made smaller.
//!
//! Smaller is what has less text. A tree knows of the language only what its parts are
//! ([`Kind`]), so that one part can take another's place.

use std::fmt;

/// The types of the language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A number.
    Scalar,
    /// An instant vector.
    Vector,
    /// A range vector.
    Matrix,
    /// A string.
    Text,
}

/// A part of an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Stands where it stands.
    Fixed(String),
    /// Can be left out.
    Optional(String),
    /// An expression of its own.
    Part(Expression),
}

impl From<&str> for Piece {
    fn from(text: &str) -> Self {
        Self::Fixed(text.to_owned())
    }
}

impl From<String> for Piece {
    fn from(text: String) -> Self {
        Self::Fixed(text)
    }
}

impl From<Expression> for Piece {
    fn from(part: Expression) -> Self {
        Self::Part(part)
    }
}

/// An expression of the language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expression {
    kind: Kind,
    pieces: Vec<Piece>,
}

impl Expression {
    /// What these pieces are, one after the other.
    pub fn new(kind: Kind, pieces: impl IntoIterator<Item = Piece>) -> Self {
        Self { kind, pieces: pieces.into_iter().collect() }
    }

    /// One without parts.
    pub fn leaf(kind: Kind, text: impl Into<String>) -> Self {
        Self::new(kind, [Piece::Fixed(text.into())])
    }

    /// A call with these arguments.
    pub fn call(kind: Kind, name: &str, arguments: impl IntoIterator<Item = Self>) -> Self {
        let mut pieces = vec![Piece::from(format!("{name}("))];
        for (at, argument) in arguments.into_iter().enumerate() {
            if at > 0 {
                pieces.push(", ".into());
            }
            pieces.push(argument.into());
        }
        pieces.push(")".into());
        Self::new(kind, pieces)
    }

    /// Its type.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The same in brackets.
    #[must_use]
    pub fn bracketed(self) -> Self {
        Self::new(self.kind, ["(".into(), self.into(), ")".into()])
    }

    /// Everything that is this expression with something taken away, the boldest cuts first.
    pub fn smaller(&self) -> Vec<Self> {
        let length = self.to_string().len();
        let mut found: Vec<Self> = self.below().into_iter().cloned().collect();
        found.extend(self.reduced());
        found.retain(|it| it.to_string().len() < length);
        found
    }

    /// All parts of it and of its parts.
    fn below(&self) -> Vec<&Self> {
        let parts = self.pieces.iter().filter_map(|piece| match piece {
            Piece::Part(part) => Some(part),
            Piece::Fixed(_) | Piece::Optional(_) => None,
        });
        parts.flat_map(|part| std::iter::once(part).chain(part.below())).collect()
    }

    /// The same with one piece left out, or a part in the place of what it is a part of.
    fn reduced(&self) -> Vec<Self> {
        let mut found = Vec::new();
        for (at, piece) in self.pieces.iter().enumerate() {
            match piece {
                Piece::Fixed(_) => {}
                Piece::Optional(_) => found.push(self.with(at, "".into())),
                Piece::Part(part) => {
                    let same_kind = part.below().into_iter().filter(|it| it.kind == part.kind);
                    let others = same_kind.cloned().chain(part.simplest()).chain(part.reduced());
                    found.extend(others.map(|it| self.with(at, it.into())));
                }
            }
        }
        found
    }

    /// What can stand for any expression of the kind.
    fn simplest(&self) -> Option<Self> {
        (self.kind == Kind::Scalar).then(|| Self::leaf(Kind::Scalar, "1"))
    }

    fn with(&self, at: usize, piece: Piece) -> Self {
        let mut changed = self.clone();
        changed.pieces[at] = piece;
        changed
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in &self.pieces {
            match piece {
                Piece::Fixed(text) | Piece::Optional(text) => f.write_str(text)?,
                Piece::Part(part) => part.fmt(f)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector() -> Expression {
        Expression::new(Kind::Vector, ["up".into(), Piece::Optional(" offset 5m".to_owned())])
    }

    #[test]
    fn parts_take_the_place_of_their_wholes() {
        let scalar = Expression::leaf(Kind::Scalar, "0.5");
        let sum = Expression::new(Kind::Vector, ["sum(".into(), selector().into(), ")".into()]);
        let quantile = Expression::call(Kind::Vector, "quantile", [scalar, sum]);
        assert_eq!(quantile.to_string(), "quantile(0.5, sum(up offset 5m))");
        let smaller: Vec<_> = quantile.smaller().iter().map(Expression::to_string).collect();
        assert_eq!(
            smaller,
            [
                "0.5",
                "sum(up offset 5m)",
                "up offset 5m",
                "quantile(1, sum(up offset 5m))",
                "quantile(0.5, up offset 5m)",
                "quantile(0.5, sum(up))",
            ]
        );
        assert!(Expression::leaf(Kind::Scalar, "2").smaller().is_empty());
    }
}
