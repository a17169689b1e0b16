//! The other hosts in `status`: what each last said of itself, and how long ago that was.
//!
//! ```text
//!   peer b, as it said 400 ms ago: witness connected
//!
//!   GUEST  ROLE       PROTECTED       EPOCH  COMMIT AGE  GENERATION
//!   g1     secondary  copy: standing  1204   14 ms       2
//! ```

use super::table::{Table, age, natural, or_dash, protected_words, role_words};
use crate::config::human::show_us;
use crate::control::status::PeerStatus;
use crate::control::{GuestBulletin, Said, Status};
use std::fmt::Write;

const COLUMNS: [&str; 6] = ["GUEST", "ROLE", "PROTECTED", "EPOCH", "COMMIT AGE", "GENERATION"];

/// Shows each peer that has said something, on this link or an earlier one.
pub(super) fn put(text: &mut String, status: &Status) {
    for peer in &status.peers {
        if let Some(said) = &peer.said {
            text.push('\n');
            put_head(text, peer, said);
            put_guests(text, said);
        }
    }
}

fn put_head(text: &mut String, peer: &PeerStatus, said: &Said) {
    let ago = show_us(said.age_ms.saturating_mul(1_000));
    let witness = match said.bulletin.witness {
        witness if !witness.configured => "no witness",
        witness if witness.connected => "witness connected",
        _ => "witness NOT connected",
    };
    let how = if peer.connected { "as it said" } else { "NOT connected, as it was" };
    let _ = writeln!(text, "peer {}, {how} {ago} ago: {witness}", peer.node);
    if said.bulletin.maintenance.on {
        text.push_str("  └ in maintenance: takes no new copies\n");
    }
    if said.bulletin.version != env!("CARGO_PKG_VERSION") {
        let _ = writeln!(text, "  └ runs version {}", said.bulletin.version);
    }
}

fn put_guests(text: &mut String, said: &Said) {
    let mut guests: Vec<&GuestBulletin> = said.bulletin.guests.iter().collect();
    if guests.is_empty() {
        text.push_str("\nno guests\n");
        return;
    }
    guests.sort_by_cached_key(|guest| natural(&guest.name));
    let table = Table::begin(text, &COLUMNS, guests.iter().map(|guest| row(guest)).collect());
    for (number, guest) in guests.into_iter().enumerate() {
        table.put_row(text, number);
        if !guest.reason.is_empty() {
            table.put_note(text, &guest.reason);
        }
    }
    if said.bulletin.left_out > 0 {
        let _ = writeln!(text, "and {} guests more, which only `status` there shows", said.bulletin.left_out);
    }
}

fn row(guest: &GuestBulletin) -> [String; 6] {
    [
        guest.name.clone(),
        role_words(guest.role).to_owned(),
        protected_words(guest.role, guest.protected, &guest.state),
        or_dash(guest.epoch.map(|epoch| epoch.to_string())),
        age(guest.commit_age_ms),
        guest.generation.to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::tests::{guest, of};
    use super::*;
    use crate::control::status::MaintenanceStatus;
    use crate::control::{Bulletin, GuestRole, WitnessBulletin};

    fn peer(said: Option<Said>) -> PeerStatus {
        PeerStatus {
            node: "b".into(),
            address: None,
            addresses: Vec::new(),
            path: None,
            connected: true,
            reason: String::new(),
            round_trip_us: None,
            said,
            spares: Vec::new(),
        }
    }

    fn shown(peer: PeerStatus) -> String {
        let mut text = String::new();
        put(&mut text, &Status { peers: vec![peer], ..of(Vec::new()) });
        text
    }

    #[test]
    fn a_peer_is_shown_with_the_age_of_what_it_said_and_one_that_is_silent_as_it_was() {
        assert_eq!(shown(peer(None)), "");
        let held = GuestBulletin {
            role: GuestRole::Secondary,
            state: "standing".into(),
            protected: false,
            ..GuestBulletin::from(&guest("g10"))
        };
        let late = GuestBulletin {
            state: "link_lost".into(),
            reason: "the link to a is down".into(),
            ..GuestBulletin::from(&guest("g2"))
        };
        let bulletin = Bulletin {
            version: "99".into(),
            maintenance: MaintenanceStatus { on: true, since: Some(1) },
            witness: WitnessBulletin { configured: true, connected: false },
            guests: vec![held, late],
            left_out: 3,
        };
        let said = Said { age_ms: 400, bulletin };
        let table = "  └ in maintenance: takes no new copies
  └ runs version 99

GUEST  ROLE       PROTECTED       EPOCH  COMMIT AGE  GENERATION
g2     primary    yes: link lost  1204   14.0 ms     2
       └ the link to a is down
g10    secondary  copy: standing  1204   14.0 ms     2
and 3 guests more, which only `status` there shows
";
        let head = "\npeer b, as it said 400.0 ms ago: witness NOT connected\n";
        assert_eq!(shown(peer(Some(said.clone()))), format!("{head}{table}"));
        let silent = PeerStatus { connected: false, ..peer(Some(Said { age_ms: 90_000, ..said })) };
        let head = "\npeer b, NOT connected, as it was 90.0 s ago: witness NOT connected\n";
        assert_eq!(shown(silent), format!("{head}{table}"));
    }
}
