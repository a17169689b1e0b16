//! [`Mac`]: an Ethernet address, and its text form.

use std::fmt;
use std::str::FromStr;

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The address of all stations.
    pub const BROADCAST: Self = Self([0xFF; 6]);

    /// Whether it addresses several stations: broadcast or multicast.
    pub fn is_group(self) -> bool {
        self.0[0] & 1 == 1
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// The text is not an Ethernet address.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
#[error("\"{0}\" is not an Ethernet address; write six hexadecimal bytes, like 00:16:3e:00:00:01")]
pub struct MacError(String);

impl FromStr for Mac {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Self, MacError> {
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2);
            *byte = part.and_then(|p| u8::from_str_radix(p, 16).ok()).ok_or_else(|| MacError(text.into()))?;
        }
        if parts.next().is_some() { Err(MacError(text.into())) } else { Ok(Self(bytes)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_is_shown() {
        let mac: Mac = "00:16:3e:0a:0b:0c".parse().unwrap();
        assert_eq!(mac.to_string(), "00:16:3e:0a:0b:0c");
        for wrong in ["", "00:16:3e:0a:0b", "00:16:3e:0a:0b:0c:0d", "0:16:3e:0a:0b:0c", "zz:16:3e:0a:0b:0c"] {
            assert!(wrong.parse::<Mac>().is_err(), "{wrong}");
        }
    }
}
