"""Reads what `rigguest capture` writes: a capture of all interfaces of a host in pcapng, in the order frames were seen.

Not a reader of any pcapng: one section, little-endian, stamps in nanoseconds.
"""
import struct
import sys
from typing import NamedTuple

SECTION, INTERFACE, STATISTICS, FRAME = 0x0A0D0D0A, 1, 5, 6
OPTION_NAME, OPTION_FLAGS, OPTION_DROPPED = 2, 2, 5
WENT_OUT = 2


class Sight(NamedTuple):
    """A frame at one place on its way."""

    at_ns: int
    interface: str
    interface_number: int  # of its place in the file: another interface of the same name has another one
    is_out: bool
    length: int
    head: bytes


class Capture(NamedTuple):
    sights: list
    dropped: int
    is_whole: bool  # it was ended, not cut off with its host


def blocks(data):
    """(type, content) of each whole block."""
    at = 0
    while at + 12 <= len(data):
        kind, length = struct.unpack_from("<II", data, at)
        if length < 12 or at + length > len(data):
            return
        yield kind, data[at + 8 : at + length - 4]
        at += length


def options(data):
    found, at = {}, 0
    while at + 4 <= len(data):
        code, length = struct.unpack_from("<HH", data, at)
        if code == 0:
            break
        found[code] = data[at + 4 : at + 4 + length]
        at += 4 + (length + 3) // 4 * 4
    return found


def read(path):
    with open(path, "rb") as file:
        data = file.read()
    if data[:4] != struct.pack("<I", SECTION):
        sys.exit(f"{path}: not a capture of rigguest's")
    interfaces, sights, dropped, is_whole = [], [], 0, False
    for kind, content in blocks(data):
        if kind == INTERFACE:
            interfaces.append(options(content[8:])[OPTION_NAME].decode())
        elif kind == FRAME:
            number, high, low, kept, length = struct.unpack_from("<IIIII", content)
            flags = struct.unpack("<I", options(content[20 + (kept + 3) // 4 * 4 :])[OPTION_FLAGS])[0]
            head = content[20 : 20 + kept]
            sights.append(Sight(high << 32 | low, interfaces[number], number, flags == WENT_OUT, length, head))
        elif kind == STATISTICS:
            dropped, is_whole = struct.unpack("<Q", options(content[12:])[OPTION_DROPPED])[0], True
    return Capture(sights, dropped, is_whole)
