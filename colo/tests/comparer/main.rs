//! The comparer from outside: frames in, outputs out.

mod epochs;
mod rows;
mod support;
