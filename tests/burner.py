"""A program that burns its time in a function of known name, made without a compiler: x86-64 code put into an ELF file.

It is as gcc -fno-omit-frame-pointer would compile this:

    void burn(void)  { for (;;) counter++; }
    void outer(void) { burn(); }
    void zeros(void) { for (;;) read(0, buffer, sizeof(buffer)); }      // with an argument on the command line
    void _start()    { if (argc > 1) zeros(); outer(); }
"""

from __future__ import annotations

import struct

from elf_image import SHF_ALLOC, SHF_EXECINSTR, SHT_PROGBITS, STB_LOCAL, STT_FUNC, build

ADDRESS = 0x400000
BUFFER = 0x600000
BUFFER_SIZE = 1 << 20

_ENTER = bytes.fromhex("55 4889e5")  # push rbp; mov rbp, rsp
_FUNCTIONS = {
    "burn": _ENTER + bytes.fromhex("48ffc0 ebfb"),  # inc rax; jmp -5
    "outer": _ENTER + b"\xe8burn" + b"\xc3",  # call burn; ret
    "zeros": _ENTER
    + bytes.fromhex("31c0 31ff be")  # xor eax, eax; xor edi, edi; mov esi, BUFFER
    + struct.pack("<I", BUFFER)
    + b"\xba"  # mov edx, BUFFER_SIZE
    + struct.pack("<I", BUFFER_SIZE)
    + bytes.fromhex("0f05 ebee"),  # syscall; jmp -18
    "_start": bytes.fromhex("833c2401 7e05")  # cmp dword [rsp], 1; jle +5
    + b"\xe8zero"  # call zeros
    + b"\xe8oute",  # call outer
}
_CALLED = {b"burn": "burn", b"zero": "zeros", b"oute": "outer"}


def burner():
    """The bytes of the program's file."""
    places, code = {}, b""
    for name, body in _FUNCTIONS.items():
        places[name] = len(code)
        for mark, called in _CALLED.items():
            at = body.find(b"\xe8" + mark)
            if at >= 0:
                distance = places[called] - (len(code) + at + 5)
                body = body[: at + 1] + struct.pack("<i", distance) + body[at + 5 :]
        code += body
    symbols = [
        (name, 1, ADDRESS + 64 + place, len(_FUNCTIONS[name]), STT_FUNC, STB_LOCAL) for name, place in places.items()
    ]
    text = {"type": SHT_PROGBITS, "flags": SHF_ALLOC | SHF_EXECINSTR, "addr": ADDRESS + 64}
    data = bytearray(build([(".text", code, text)], symbols))
    segments = struct.pack("<IIQQQQQQ", 1, 5, 0, ADDRESS, ADDRESS, 64 + len(code), 64 + len(code), 4096)
    segments += struct.pack("<IIQQQQQQ", 1, 6, 0, BUFFER, BUFFER, 0, BUFFER_SIZE, 4096)
    struct.pack_into("<HHI", data, 16, 2, 62, 1)  # an executable program, for x86-64
    struct.pack_into("<QQ", data, 24, ADDRESS + 64 + places["_start"], len(data))
    struct.pack_into("<HH", data, 54, 56, 2)
    return bytes(data) + segments
