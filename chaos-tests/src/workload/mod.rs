//! What clients do while faults are injected, besides writing ([`crate::writer`]) and being scraped
//! ([`crate::targets`]).

pub mod questions;
pub mod registers;
pub mod settings;
