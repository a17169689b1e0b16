//! Drills: rehearsed failures of real processes, judged by what clients saw.

pub mod chance;
pub mod check;
pub mod client;
pub mod history;
pub mod network;
pub mod plan;
pub mod process;
pub mod progress;
pub mod relay;
pub mod report;
pub mod sightings;
pub mod table;
