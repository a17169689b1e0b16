//! Invitations: who may bring a certificate of its own, once, and until when.
//!
//! ```text
//!   invite b ─► invitations/b: what the token proves, and until when        the token itself is printed, and kept nowhere
//!   join     ─► proof = HMAC(key of the token, keying material of this very connection, name)
//!   taken    ─► invitations/b is gone, trust/b.crt is there
//! ```
//!
//! A proof is good on one connection only: whoever reads it, or passes it on, has nothing. Who can read the invitation's
//! file could make one, and could read the private key beside it as well.

use super::fingerprint::{from_hex, hex};
use ring::hmac::{HMAC_SHA256, Key, Tag, sign, verify};
use ring::rand::{SecureRandom, SystemRandom};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, SystemTime};
use understudy_session::NodeName;

/// Lifetime of an invitation.
pub const GOOD_FOR: Duration = Duration::from_secs(15 * 60);

const FOLDER: &str = "invitations";

/// Bytes of a token, and of a connection's exported keying material.
const TOKEN_BYTES: usize = 16;
pub(super) const CHANNEL_BYTES: usize = 32;

/// Label of the keying material that is exported for joining and for nothing else.
pub(super) const CHANNEL_LABEL: &[u8] = b"EXPORTER-understudy-join";

/// Upper bound of an invitation's file, which has two short lines.
const FILE_BYTES_MAX: u64 = 1_024;

/// The secret that an invited node receives, on paper or in a command to paste.
#[derive(Clone, PartialEq, Eq)]
pub struct Token([u8; TOKEN_BYTES]);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// The text has the wrong form.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
#[error("A token has 32 hexadecimal digits")]
pub struct NoToken;

impl FromStr for Token {
    type Err = NoToken;

    fn from_str(text: &str) -> Result<Self, NoToken> {
        from_hex(text).map(Self).ok_or(NoToken)
    }
}

impl Token {
    fn new() -> io::Result<Self> {
        let mut bytes = [0; TOKEN_BYTES];
        SystemRandom::new().fill(&mut bytes).map_err(|_| io::Error::other("there is no randomness"))?;
        Ok(Self(bytes))
    }

    /// The form that is stored: it verifies the token without revealing it.
    fn key(&self) -> [u8; 32] {
        let tag = sign(&Key::new(HMAC_SHA256, b"understudy invitation"), &self.0);
        let mut key = [0; 32];
        key.copy_from_slice(tag.as_ref());
        key
    }

    /// The proof that `name` knows the token, bound to the connection with this keying material.
    pub(super) fn prove(&self, channel: &[u8; CHANNEL_BYTES], name: &NodeName) -> Tag {
        sign(&Key::new(HMAC_SHA256, &self.key()), &statement(channel, name))
    }
}

fn statement(channel: &[u8; CHANNEL_BYTES], name: &NodeName) -> Vec<u8> {
    [channel, name.0.as_bytes()].concat()
}

/// Why a node may not join.
#[derive(thiserror::Error, Debug)]
pub enum NotInvited {
    /// There is no invitation, or it has been used.
    #[error("there is no invitation for {0}, or it was used; make one with `understudy invite {0}`")]
    None(NodeName),
    /// The invitation has expired.
    #[error("the invitation for {0} has run out; make another with `understudy invite {0}`")]
    RanOut(NodeName),
    /// The proof does not match the token.
    #[error(
        "the token is not that of the invitation for {0}; take the line of the last `understudy invite {0}`"
    )]
    WrongToken(NodeName),
    /// The invitation's file cannot be read or removed.
    #[error("the invitation for {name} cannot be used: {source}")]
    System { name: NodeName, source: io::Error },
}

fn path(directory: &Path, name: &NodeName) -> PathBuf {
    directory.join(FOLDER).join(&name.0)
}

/// Invites `name`, and replaces an earlier invitation of that name.
pub fn invite(directory: &Path, name: &NodeName, now: SystemTime) -> io::Result<Token> {
    let token = Token::new()?;
    let until = now + GOOD_FOR;
    let seconds = until.duration_since(SystemTime::UNIX_EPOCH).map_err(io::Error::other)?.as_secs();
    DirBuilder::new().recursive(true).mode(0o700).create(directory.join(FOLDER))?;
    let path = path(directory, name);
    // Never half of one: what is read is the former or this.
    let fresh = directory.join(FOLDER).join(format!(".{name}.new"));
    let _ = fs::remove_file(&fresh);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    let written = file
        .write_all(format!("{}\n{seconds}\n", hex(&token.key())).as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&fresh, path));
    if written.is_err() {
        // Whatever is in the folder counts as an open invitation.
        let _ = fs::remove_file(&fresh);
    }
    written.map(|()| token)
}

/// Whether any invitation is open.
pub(super) fn is_anybody(directory: &Path) -> bool {
    fs::read_dir(directory.join(FOLDER)).is_ok_and(|mut entries| entries.next().is_some())
}

/// Consumes the invitation of `name` if `proof` is valid on the connection with this keying material.
pub(super) fn use_up(
    directory: &Path,
    name: &NodeName,
    channel: &[u8; CHANNEL_BYTES],
    proof: &[u8],
    now: SystemTime,
) -> Result<(), NotInvited> {
    let path = path(directory, name);
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => NotInvited::None(name.clone()),
        _ => NotInvited::System { name: name.clone(), source },
    };
    let mut text = String::new();
    let file = OpenOptions::new().read(true).open(&path).map_err(failed)?;
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    let mut lines = text.lines();
    let key: Option<[u8; 32]> = lines.next().and_then(from_hex);
    let until = lines.next().and_then(|line| line.parse().ok()).map(Duration::from_secs);
    let (Some(key), Some(until)) = (key, until) else {
        return Err(failed(io::Error::other("its file is damaged")));
    };
    if now > SystemTime::UNIX_EPOCH + until {
        return Err(NotInvited::RanOut(name.clone()));
    }
    let key = Key::new(HMAC_SHA256, &key);
    if verify(&key, &statement(channel, name), proof).is_err() {
        return Err(NotInvited::WrongToken(name.clone()));
    }
    // Of two at once, one finds it gone.
    fs::remove_file(&path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANNEL: [u8; CHANNEL_BYTES] = [7; CHANNEL_BYTES];

    #[test]
    fn an_invitation_is_good_once_for_its_name_on_one_connection_and_for_a_while() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        let (b, c) = (NodeName("b".into()), NodeName("c".into()));
        let now = SystemTime::now();
        assert!(!is_anybody(at));
        let former = invite(at, &b, now).unwrap();
        let token = invite(at, &b, now).unwrap();
        assert!(is_anybody(at) && former != token);
        let text = fs::read_to_string(at.join("invitations/b")).unwrap();
        assert!(!text.contains(&token.to_string()), "the token is kept nowhere");
        let used = |name, token: &Token, channel, at_time| {
            let proof = token.prove(&CHANNEL, &b);
            use_up(at, name, &channel, proof.as_ref(), at_time)
        };
        assert!(matches!(used(&b, &former, CHANNEL, now), Err(NotInvited::WrongToken(_))));
        assert!(matches!(used(&b, &token, [8; CHANNEL_BYTES], now), Err(NotInvited::WrongToken(_))));
        assert!(matches!(used(&c, &token, CHANNEL, now), Err(NotInvited::None(_))));
        let late = now + GOOD_FOR + Duration::from_secs(2);
        assert!(matches!(used(&b, &token, CHANNEL, late), Err(NotInvited::RanOut(_))));
        used(&b, &token, CHANNEL, now).unwrap();
        assert!(matches!(used(&b, &token, CHANNEL, now), Err(NotInvited::None(_))), "it was used");
        assert!(!is_anybody(at));
        // For another name, which would need another proof.
        invite(at, &c, now).unwrap();
        assert!(matches!(used(&c, &token, CHANNEL, now), Err(NotInvited::WrongToken(_))));
        fs::write(at.join("invitations/c"), "x").unwrap();
        assert!(matches!(used(&c, &token, CHANNEL, now), Err(NotInvited::System { .. })));
    }
}
