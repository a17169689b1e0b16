"""What a frame is: its kind, what makes it this frame, and its number if it has one (guest/frames.c)."""
import struct

# What `rigguest` sends numbered frames of; a run that saw none of one kind has not shown anything about it.
KINDS = ["IPv4 TCP", "IPv4 UDP", "IPv4 ICMP", "IPv6 UDP", "IPv6 ICMP", "ARP", "VLAN", "VLAN in VLAN"]
IPV4 = {1: "IPv4 ICMP", 6: "IPv4 TCP", 17: "IPv4 UDP"}
IPV6 = {6: "IPv6 TCP", 17: "IPv6 UDP", 58: "IPv6 ICMP"}
# "I am here now": what the engine says in its guest's name after a takeover.
ANNOUNCEMENT = "RARP"


def kind(head):
    ethertype = head[12:14].hex()
    if ethertype == "0800":
        return IPV4.get(head[23], "IPv4")
    if ethertype == "86dd":
        return IPV6.get(head[20], "IPv6")
    return {"0806": "ARP", "8035": ANNOUNCEMENT, "8100": "VLAN", "88a8": "VLAN in VLAN"}.get(ethertype, ethertype)


def key(sight):
    """All of it but the checksum of TCP and UDP, which a card may fill in on the way."""
    head = sight.head
    if head[12:14] == b"\x08\x00" and head[23:24] in (b"\x06", b"\x11"):
        at = 14 + (head[14] & 15) * 4 + (16 if head[23] == 6 else 6)
        head = head[:at] + b"\0\0" + head[at + 2 :]
    return sight.length, head


def number(head):
    """((boot, kind), number) of a numbered frame."""
    at = head.find(b"rigframe")
    if at < 0 or at + 32 > len(head):
        return None
    boot, which, count = struct.unpack_from("<QQQ", head, at + 8)
    return (boot, which), count
