//! The comparer from outside: frames in, outputs out.

mod acknowledge;
mod dice;
mod epochs;
mod history;
mod judges;
mod others;
mod patience;
mod properties;
mod rows;
mod stuck;
mod support;
mod uses;
