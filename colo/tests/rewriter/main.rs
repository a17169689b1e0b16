//! The rewriter: case by case, and in any order.

mod any_order;
mod bases;
mod bench;
mod bounds;
mod model;
mod numbers;
mod opening;
mod quotes;
#[path = "../support/mod.rs"]
mod support;
