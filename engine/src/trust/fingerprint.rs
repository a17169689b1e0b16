//! A certificate's fingerprint: SHA-256 of its DER bytes, as people compare it.

use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use std::fmt;
use std::str::FromStr;

/// SHA-256 of a certificate.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Fingerprint([u8; SHA256_OUTPUT_LEN]);

/// The text has the wrong form.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
#[error("A fingerprint has 64 hexadecimal digits")]
pub struct NoFingerprint;

impl Fingerprint {
    /// The fingerprint of a certificate in DER.
    pub fn of(der: &[u8]) -> Self {
        let mut sum = [0; SHA256_OUTPUT_LEN];
        sum.copy_from_slice(digest(&SHA256, der).as_ref());
        Self(sum)
    }
}

/// In groups of four digits; without the spaces it is the output of `openssl x509 -fingerprint -sha256` without its colons.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            return f.write_str(&hex(&self.0));
        }
        for (at, byte) in self.0.iter().enumerate() {
            let gap = if at > 0 && at % 2 == 0 { " " } else { "" };
            write!(f, "{gap}{byte:02x}")?;
        }
        Ok(())
    }
}

impl FromStr for Fingerprint {
    type Err = NoFingerprint;

    fn from_str(text: &str) -> Result<Self, NoFingerprint> {
        from_hex(text).map(Self).ok_or(NoFingerprint)
    }
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Exactly `N` bytes from hexadecimal digits.
pub(super) fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; N];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_is_written() {
        let it = Fingerprint::of(b"abc");
        assert_eq!(
            format!("{it:#}"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "SHA-256 of FIPS 180-2's first example"
        );
        assert_eq!(format!("{it:#}").parse(), Ok(it));
        assert!(it.to_string().starts_with("ba78 16bf "));
        for text in ["", "ba78", "+a7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015a!"] {
            assert_eq!(text.parse::<Fingerprint>(), Err(NoFingerprint));
        }
    }
}
