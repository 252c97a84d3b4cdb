//! Terminals: the line discipline, pseudo-terminal pairs, controlling terminals.

mod line_discipline;
mod output;
#[cfg(test)]
mod tests;

pub use line_discipline::{Effect, LineDiscipline, Reaction};
