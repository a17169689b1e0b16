//! Priorities of our filters at an interface's hook. The filter with the lowest priority sees a frame first.
//!
//! ```text
//!   1 ours │ 2 … 8 ours while one is replaced │ 9 … others' │ … 0xc000, counting down: given by the kernel
//! ```

use super::netlink::filter::Filter;

/// The priority of an installed redirect.
pub(super) const PRIORITY: u16 = 1;
/// The last priority that a redirect may have while it replaces another.
pub(super) const PRIORITY_MAX: u16 = 8;

/// The first of our priorities that no filter in `there` has, provided that it comes before every filter that
/// `is_ours` denies. Otherwise the error is the priority of the filter in the way.
pub(super) fn first_free(there: &[Filter], is_ours: impl Fn(&Filter) -> bool) -> Result<u16, u16> {
    let is_taken = |priority: &u16| there.iter().any(|filter| filter.priority == *priority);
    let others = there.iter().filter(|filter| !is_ours(filter)).map(|filter| filter.priority);
    let first_of_others = others.min().unwrap_or(u16::MAX);
    let free = (PRIORITY..=PRIORITY_MAX).find(|priority| !is_taken(priority));
    free.filter(|priority| *priority < first_of_others).ok_or(first_of_others)
}
