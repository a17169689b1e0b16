//! End to end: the simulator with its judges, kill drills, scraped metrics.

#![forbid(unsafe_code)]

pub mod drivers;
pub mod golden;
pub mod legacy;
