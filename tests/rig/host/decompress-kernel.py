#!/usr/bin/env python3
"""decompress-kernel.py BZIMAGE VMLINUX: the kernel inside a bzImage, by the boot protocol's payload fields."""
import lzma
import struct
import subprocess
import sys
import zlib

image = open(sys.argv[1], "rb").read()
setup_sectors = image[0x1F1] or 4
offset, length = struct.unpack_from("<II", image, 0x248)
payload = image[(setup_sectors + 1) * 512 + offset :][:length]
if payload.startswith(b"\xfd7zXZ\0"):
    kernel = lzma.LZMADecompressor(format=lzma.FORMAT_XZ).decompress(payload)
elif payload.startswith(b"\x28\xb5\x2f\xfd"):
    kernel = subprocess.run(["zstd", "-dc"], input=payload, stdout=subprocess.PIPE, check=False).stdout
elif payload.startswith(b"\x1f\x8b"):
    kernel = zlib.decompressobj(31).decompress(payload)
else:
    sys.exit(f"the kernel is compressed in an unknown way: {payload[:6].hex()}")
open(sys.argv[2], "wb").write(kernel)
