//! Cost of output commit for each epoch and interface, beside a bare netlink round trip.
fn main() {}
