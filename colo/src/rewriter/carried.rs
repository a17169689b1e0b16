//! Connections that are rewritten on their guest's host, as bytes: they go with each image of the guest, whose memory does not
//! have the world's numbers.
//!
//! ```text
//!   card u16 │ two VLANs u16, 0xFFFF: none │ guest's address [16] │ world's [16] │ guest's port u16 │ world's u16
//!   │ shift of sequence numbers u32 │ shift of time stamps u32 │ number of the guest's SYN u32        54 bytes, little-endian
//! ```

use super::shift::Shift;
use super::table::Carried;
use crate::packet::{Address, Card, Flow, Protocol};
use thiserror::Error;

/// Bytes of one connection.
pub const CARRIED_BYTES: usize = 54;

/// Connections of one guest, at most: as many as a rewriter has by default.
pub const CARRIED_MAX: usize = 65_536;

const TCP: Protocol = Protocol::Ip(6);
const NO_VLAN: u16 = u16::MAX;
const VLAN_MAX: u16 = 0x0FFF;

/// Bytes are no connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Malformed {
    /// Not a whole number of them, or too many.
    #[error(
        "{0} bytes are no list of carried connections: each takes {CARRIED_BYTES}, and there are {CARRIED_MAX} at most"
    )]
    Length(usize),
    /// There is no such VLAN.
    #[error("{0} is no VLAN of a carried connection")]
    Vlan(u16),
}

/// Writes connections to the end of `into`, those that there is room for.
pub fn write(carried: &[Carried], into: &mut Vec<u8>) {
    for Carried { flow, shift, initial } in carried.iter().take(CARRIED_MAX) {
        let mut put = |bytes: &[u8]| into.extend_from_slice(bytes);
        put(&flow.card.0.to_le_bytes());
        flow.vlan.iter().for_each(|id| put(&id.unwrap_or(NO_VLAN).to_le_bytes()));
        put(&flow.guest.octets());
        put(&flow.world.octets());
        put(&flow.guest_port.to_le_bytes());
        put(&flow.world_port.to_le_bytes());
        [shift.sequence, shift.timestamp, *initial].iter().for_each(|number| put(&number.to_le_bytes()));
    }
}

/// Reads what [`write()`] wrote.
pub fn read(bytes: &[u8]) -> Result<Vec<Carried>, Malformed> {
    let (connections, rest) = bytes.as_chunks::<CARRIED_BYTES>();
    if !rest.is_empty() || connections.len() > CARRIED_MAX {
        return Err(Malformed::Length(bytes.len()));
    }
    connections.iter().map(read_one).collect()
}

fn read_one(bytes: &[u8; CARRIED_BYTES]) -> Result<Carried, Malformed> {
    let u16_at = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let address_at = |at: usize| {
        let mut octets = [0; 16];
        octets.copy_from_slice(&bytes[at..at + 16]);
        Address::from(octets)
    };
    let vlan_at = |at: usize| match u16_at(at) {
        NO_VLAN => Ok(None),
        id if id <= VLAN_MAX => Ok(Some(id)),
        id => Err(Malformed::Vlan(id)),
    };
    let flow = Flow {
        card: Card(u16_at(0)),
        vlan: [vlan_at(2)?, vlan_at(4)?],
        protocol: TCP,
        guest: address_at(6),
        world: address_at(22),
        guest_port: u16_at(38),
        world_port: u16_at(40),
    };
    Ok(Carried { flow, shift: Shift { sequence: u32_at(42), timestamp: u32_at(46) }, initial: u32_at(50) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn known() -> Carried {
        let flow = Flow {
            card: Card(1),
            vlan: [Some(5), None],
            protocol: TCP,
            guest: Address::from([1; 16]),
            world: Address::from([2; 16]),
            guest_port: 80,
            world_port: 0x1234,
        };
        Carried { flow, shift: Shift { sequence: 0x0a0b_0c0d, timestamp: 7 }, initial: 9 }
    }

    /// As `docs/LINK.md` draws them. A change here is a change of the protocol.
    #[test]
    fn a_connection_has_the_bytes_that_the_document_draws() {
        let mut bytes = Vec::new();
        write(&[known()], &mut bytes);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let golden = "0100".to_owned()
            + "0500ffff"
            + &"01".repeat(16)
            + &"02".repeat(16)
            + "5000"
            + "3412"
            + "0d0c0b0a"
            + "07000000"
            + "09000000";
        assert_eq!((hex, bytes.len()), (golden, CARRIED_BYTES));
        assert_eq!(read(&bytes), Ok(vec![known()]));
    }

    #[test]
    fn what_is_no_list_is_refused() {
        assert_eq!(read(&[]), Ok(Vec::new()));
        assert_eq!(read(&[0; CARRIED_BYTES + 1]), Err(Malformed::Length(CARRIED_BYTES + 1)));
        let many = vec![0; (CARRIED_MAX + 1) * CARRIED_BYTES];
        assert_eq!(read(&many), Err(Malformed::Length(many.len())));
        let mut bytes = Vec::new();
        write(&[known()], &mut bytes);
        bytes[3] = 0x20;
        assert_eq!(read(&bytes), Err(Malformed::Vlan(0x2005)));
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_the_same(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(carried) = read(&bytes) {
                let mut again = Vec::new();
                write(&carried, &mut again);
                prop_assert_eq!(again, bytes);
            }
        }
    }
}
