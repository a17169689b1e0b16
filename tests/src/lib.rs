//! End to end: the simulators with their judges, kill drills, scraped metrics.

#![forbid(unsafe_code)]

pub mod drivers;
pub mod golden;

pub mod sim;
