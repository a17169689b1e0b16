//! Recognises files that contain a stream but are not one, by their first bytes: compressed files and libvirt's save
//! files. The error names the command that extracts the stream.

use super::fault::{Defect, Rule};

/// First bytes of compressed files, and the command that unpacks them.
const COMPRESSED: [(&[u8], &str); 8] = [
    (&[0x28, 0xB5, 0x2F, 0xFD], "zstd -dc --long=27"),
    (&[0x1F, 0x8B], "gzip -dc"),
    (&[0xFD, b'7', b'z', b'X', b'Z', 0], "xz -dc"),
    (b"BZh", "bzip2 -dc"),
    (&[0x04, 0x22, 0x4D, 0x18], "lz4 -dc"),
    (&[0x02, 0x21, 0x4C, 0x18], "lz4 -dc"),
    (&[0x5D, 0, 0], "xz --format=lzma -dc"),
    (&[0x89, b'L', b'Z', b'O', 0], "lzop -dc"),
];

/// The magic of a file that `virsh save` writes for a Xen guest: a header, the guest's XML, then the stream.
const LIBVIRT_MAGIC: &[u8; 16] = b"libvirt-xml\n \0 \r";

/// Bytes of that header. The length of the XML is at offset 20.
const LIBVIRT_HEADER_BYTES: u64 = 64;

/// Most bytes needed to recognise a container.
pub(super) const CONTAINER_BYTES: usize = 24;

/// The command that unpacks an input that begins as a compressed one.
pub(crate) fn compressed_by(input: &[u8]) -> Option<&'static str> {
    COMPRESSED.iter().find(|(magic, _)| input.starts_with(magic)).map(|(_, command)| *command)
}

/// Fails if `input` begins as a container does.
pub(super) fn refuse(input: &[u8]) -> Result<(), Defect> {
    if let Some(command) = compressed_by(input) {
        let hint = format!("The input is compressed; run it through `{command}` first");
        return Err(Defect::new(Rule::Compressed, hint));
    }
    let Some(header) = input.strip_prefix(LIBVIRT_MAGIC) else { return Ok(()) };
    let hint = match header.get(4..8).and_then(|length| length.first_chunk()) {
        Some(length) => {
            let stream_at = LIBVIRT_HEADER_BYTES + u64::from(u32::from_le_bytes(*length));
            format!("run it through `tail -c +{}` first", stream_at + 1)
        }
        None => "cut its header and XML off first".into(),
    };
    let detail =
        format!("The input is a save file of libvirt, which holds a stream after its own header; {hint}");
    Err(Defect::new(Rule::Magic, detail))
}

/// Whether more bytes may reveal a container.
pub(super) fn may_become(input: &[u8]) -> bool {
    input.len() < CONTAINER_BYTES && LIBVIRT_MAGIC.starts_with(&input[..input.len().min(LIBVIRT_MAGIC.len())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_container_is_told_with_the_command_that_opens_it() {
        for (magic, command) in COMPRESSED {
            let defect = refuse(&[magic, &[0; 8]].concat()).unwrap_err();
            assert_eq!(defect.rule, Rule::Compressed);
            assert!(defect.detail.contains(command), "{}", defect.detail);
        }
        let libvirt = [&LIBVIRT_MAGIC[..], &[2, 0, 0, 0, 0x2B, 0, 0, 0], &[0; 40]].concat();
        assert!(refuse(&libvirt).unwrap_err().detail.contains("tail -c +108"));
        assert!(refuse(&libvirt[..18]).unwrap_err().detail.contains("cut its header"));
        assert!(may_become(&libvirt[..10]) && may_become(&libvirt[..23]) && !may_become(&libvirt));
        assert_eq!(refuse(b"Xen saved domain, xl format\n"), Ok(()));
    }
}
