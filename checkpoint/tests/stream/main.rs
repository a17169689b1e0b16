//! The record stream: golden bytes, round trips, any split, truncation, hostile input, every rule.

mod golden_bytes;
mod hostile;
mod receivers;
mod round_trip;
mod rules;
mod sample;
mod splits;
