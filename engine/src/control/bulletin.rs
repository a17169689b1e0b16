//! What a node says of itself to its peers, for people: a few words about each guest. `docs/STATUS.md` documents it as
//! `peers[].said`; on the link it is the same document without the age.
//!
//! A peer may be of another version. So states are words here, what is unknown is passed over, and what is missing has a default.

use serde::{Deserialize, Serialize};
use understudy_link::BULLETIN_BYTES_MAX;

/// Whether the node takes new copies.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct MaintenanceStatus {
    /// It takes none.
    pub on: bool,
    /// Since when, in seconds since 1970.
    #[serde(default)]
    pub since: Option<u64>,
}

/// What a node is to a guest.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "snake_case")]
pub enum GuestRole {
    /// It runs the guest.
    Primary,
    /// It holds the copy.
    Secondary,
}

/// A node, in a few words.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Default, Debug)]
pub struct Bulletin {
    /// Its version.
    #[serde(default)]
    pub version: String,
    /// Whether a person works on its host.
    #[serde(default)]
    pub maintenance: MaintenanceStatus,
    /// Its witness.
    #[serde(default)]
    pub witness: WitnessBulletin,
    /// Its guests, by name.
    #[serde(default)]
    pub guests: Vec<GuestBulletin>,
    /// Guests for which there was no room.
    #[serde(default)]
    pub left_out: u64,
}

/// A node's witness, in a few words.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Default, Debug)]
#[serde(default)]
pub struct WitnessBulletin {
    /// Whether there is one.
    pub configured: bool,
    /// Whether it answers.
    pub connected: bool,
}

/// A guest, in a few words: each means what it does in [`GuestStatus`](super::GuestStatus).
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "GuestStatus has the words")]
pub struct GuestBulletin {
    pub name: String,
    pub role: GuestRole,
    #[serde(default)]
    pub peer: String,
    pub state: String,
    #[serde(default)]
    pub protected: bool,
    #[serde(default)]
    pub reason: String,
    #[serde(default)]
    pub generation: u64,
    #[serde(default)]
    pub epoch: Option<u64>,
    #[serde(default)]
    pub committed: Option<u64>,
    #[serde(default)]
    pub commit_age_ms: Option<u64>,
}

/// A bulletin as the node that heard it shows it.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct Said {
    /// How long ago it was said.
    pub age_ms: u64,
    /// What was.
    #[serde(flatten)]
    pub bulletin: Bulletin,
}

impl Bulletin {
    /// As it goes on the link. Guests for which there is no room are counted in place of being said.
    pub fn write(&mut self) -> Vec<u8> {
        loop {
            let said = serde_json::to_vec(self).expect("a bulletin is plain data");
            if said.len() <= BULLETIN_BYTES_MAX || self.guests.is_empty() {
                return said;
            }
            let kept = self.guests.len() / 2;
            self.left_out += (self.guests.len() - kept) as u64;
            self.guests.truncate(kept);
        }
    }

    /// Reads what a peer has said.
    pub fn read(said: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest(name: &str) -> GuestBulletin {
        GuestBulletin {
            name: name.into(),
            role: GuestRole::Primary,
            peer: "b".into(),
            state: "protected".into(),
            protected: true,
            reason: String::new(),
            generation: 2,
            epoch: Some(7),
            committed: Some(6),
            commit_age_ms: Some(14),
        }
    }

    #[test]
    fn what_is_said_is_what_is_heard() {
        let mut bulletin =
            Bulletin { version: "9.9.9".into(), guests: vec![guest("g1")], ..Bulletin::default() };
        assert_eq!(Bulletin::read(&bulletin.write()).unwrap(), bulletin);
    }

    #[test]
    fn a_peer_of_another_version_is_understood_as_far_as_it_goes() {
        let said = r#"{"version":"99","mood":"good","guests":[{"name":"g1","role":"primary","state":"levitating","aura":7}]}"#;
        let bulletin = Bulletin::read(said.as_bytes()).unwrap();
        assert_eq!((&*bulletin.guests[0].state, bulletin.guests[0].protected), ("levitating", false));
        assert_eq!(Bulletin::read(b"{}").unwrap(), Bulletin::default());
    }

    #[test]
    fn what_is_no_bulletin_is_an_error() {
        for said in [&b""[..], b"[", b"{\"guests\":7}", b"\xff\xff", &[b'['; BULLETIN_BYTES_MAX]] {
            assert!(Bulletin::read(said).is_err(), "{said:?}");
        }
    }

    #[test]
    fn however_many_guests_there_are_it_fits_and_says_how_many_it_leaves_out() {
        let guests: Vec<_> = (0..1_000).map(|it| guest(&format!("{it:0>200}"))).collect();
        let mut bulletin = Bulletin { guests, ..Bulletin::default() };
        assert!(bulletin.write().len() <= BULLETIN_BYTES_MAX);
        assert!(bulletin.guests.len() > 100 && bulletin.left_out + bulletin.guests.len() as u64 == 1_000);
    }
}
