//! How the guests of a node stand, in one line: for the service manager, which shows it beside the unit.

use crate::control::{GuestRole, GuestState, GuestStatus};

/// Such as "guests: 2 run here, 1 of them unprotected, 1 can be taken over here".
pub(super) fn headline(guests: &[GuestStatus]) -> String {
    let count =
        |is_meant: &dyn Fn(&GuestStatus) -> bool| guests.iter().filter(|guest| is_meant(guest)).count();
    let here = count(&|it| it.role == GuestRole::Primary);
    let unprotected = count(&|it| it.role == GuestRole::Primary && !it.protected);
    let copies = count(&|it| it.role == GuestRole::Secondary && it.state == GuestState::Standing);
    let incomplete = count(&|it| it.role == GuestRole::Secondary && it.state != GuestState::Standing);
    let said = [
        (here, "run here"),
        (unprotected, "of them unprotected"),
        (copies, "can be taken over here"),
        (incomplete, "not whole here"),
    ];
    let said: Vec<String> =
        said.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    if said.is_empty() {
        "no guest is run or held here".into()
    } else {
        format!("guests: {}", said.join(", "))
    }
}
