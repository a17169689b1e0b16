//! End to end: the simulator with its checkers, kill drills, scraped metrics.

#![forbid(unsafe_code)]

pub mod golden;

pub mod sim;
