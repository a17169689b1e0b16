//! Who is who between hosts: this end's certificate, and those of the others.
//!
//! ```text
//!   DIR/own.crt  own.key     what this node or witness shows; the key is for its user alone
//!   DIR/trust/NAME.crt       what NAME shows: it and no other is taken (a pin). Two while NAME changes its own
//!   DIR/ca.crt               who may vouch for names that have no pin, by SAN NAME.node.understudy
//!   DIR/revoked.crl          what the authority takes back
//!
//!   handshake ── certificate ──► Trusted::vouch ──► a name, or why not ──► the link holds the hello to that name
//! ```
//!
//! A pin has no expiry and needs no clock: the file's being there is what counts. An authority's certificates have dates,
//! looked at when a connection is made; a connection that stands is never ended for a date.
//!
//! * [`Credentials`] all of it, read once, and read again at a reload
//! * [`Fingerprint`] what people compare
//! * [`keygen`] makes a pair of files
//! * [`invitation`] who may bring a certificate, once; [`join`] brings it
//!
//! Not here: bytes on the connection ([`crate::connection`]).

mod authority;
mod credentials;
mod files;
mod fingerprint;
pub mod invitation;
mod joining;
pub mod keygen;
mod shown;
mod tls_error;
mod trusted;
mod verifier;

pub use credentials::Credentials;
pub(crate) use credentials::Purpose;
pub use files::CredentialsError;
pub use fingerprint::{Fingerprint, NoFingerprint};
pub(crate) use joining::{Inviter, Verdict};
pub use joining::{JoinError, Joined, join};
pub use shown::{Shown, TrustError};
pub use tls_error::TlsError;
pub use trusted::Trusted;

/// Name of the witness, as nodes know it: in the name of the file that has its certificate, and in its hello.
pub const WITNESS: &str = "witness";

/// The ALPN protocol of links.
pub const ALPN: &[u8] = b"understudy/1";

/// The ALPN protocol of nodes that join.
pub(crate) const JOIN_ALPN: &[u8] = b"understudy-join/1";

/// Removes the pin of `name`; `false` if there was none.
pub fn remove(
    directory: &std::path::Path,
    name: &understudy_session::NodeName,
) -> Result<bool, CredentialsError> {
    files::unpin(directory, name)
}
