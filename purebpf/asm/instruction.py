"""BPF instructions: decode bytes into ``Instruction`` tuples, and encode them again.

A BPF program is an array of 8-byte slots, each a ``struct bpf_insn`` (linux/bpf.h).  An ``Instruction`` is
exactly one slot, so the index in a decoded list *is* the slot number in which jumps, calls, relocations,
``.BTF.ext`` records and the verifier's log count.

Only ``ld_imm64`` (load a 64-bit immediate) is longer: it takes two slots, and the second holds nothing but
the upper half of the immediate.  It decodes to two instructions, the second with opcode 0, as the kernel and
libbpf hold it too.  One object for both would need a slot numbering beside the list's own; and the two halves
are often two values anyhow, such as a map's file descriptor and an offset into that map's value.

Decoding judges no instruction.  The kernel's verifier does that, and says why; bytes that mean nothing today
may be an instruction of a later kernel.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Literal, NamedTuple

from purebpf.errors import ObjectFormatError

SLOT_SIZE = 8  # bytes

# An opcode is a sum of fields, named as in linux/bpf_common.h and linux/bpf.h.  What the kernel's macro
# BPF_CLASS(code) gives is ``code & BPF_CLASS_MASK`` here, and so on.

BPF_CLASS_MASK = 0x07
BPF_LD = 0x00
BPF_LDX = 0x01
BPF_ST = 0x02
BPF_STX = 0x03
BPF_ALU = 0x04  # on the lower 32 bits of a register
BPF_JMP = 0x05
BPF_JMP32 = 0x06  # compares the lower 32 bits
BPF_ALU64 = 0x07

# Loads and stores: mode | size | class.

BPF_SIZE_MASK = 0x18
BPF_W = 0x00  # 4 bytes
BPF_H = 0x08  # 2 bytes
BPF_B = 0x10  # 1 byte
BPF_DW = 0x18  # 8 bytes

BPF_MODE_MASK = 0xE0
BPF_IMM = 0x00  # ld_imm64
BPF_ABS = 0x20  # packet access inherited from classic BPF
BPF_IND = 0x40  # the same
BPF_MEM = 0x60
BPF_MEMSX = 0x80  # load with sign extension
BPF_ATOMIC = 0xC0  # the operation is in imm

# Arithmetic and jumps: operation | source | class.

BPF_SRC_MASK = 0x08
BPF_K = 0x00  # the operand is imm
BPF_X = 0x08  # the operand is src_reg

BPF_OP_MASK = 0xF0
BPF_ADD = 0x00
BPF_SUB = 0x10
BPF_MUL = 0x20
BPF_DIV = 0x30  # signed when off is 1
BPF_OR = 0x40
BPF_AND = 0x50
BPF_LSH = 0x60
BPF_RSH = 0x70
BPF_NEG = 0x80
BPF_MOD = 0x90  # signed when off is 1
BPF_XOR = 0xA0
BPF_MOV = 0xB0  # sign-extending when off is 8, 16 or 32
BPF_ARSH = 0xC0
BPF_END = 0xD0  # swaps bytes; imm is the width in bits

BPF_TO_LE = 0x00  # where the source would be: BPF_ALU | BPF_END converts to this byte order,
BPF_TO_BE = 0x08  # and BPF_ALU64 | BPF_END swaps always

BPF_JA = 0x00  # jump by off slots; in class BPF_JMP32 by imm slots; with BPF_X to the address in dst_reg
BPF_JEQ = 0x10
BPF_JGT = 0x20
BPF_JGE = 0x30
BPF_JSET = 0x40
BPF_JNE = 0x50
BPF_JSGT = 0x60
BPF_JSGE = 0x70
BPF_CALL = 0x80
BPF_EXIT = 0x90
BPF_JLT = 0xA0
BPF_JLE = 0xB0
BPF_JSLT = 0xC0
BPF_JSLE = 0xD0
BPF_JCOND = 0xE0  # may_goto

# The imm of BPF_ATOMIC: BPF_ADD, BPF_OR, BPF_AND or BPF_XOR, each alone or with BPF_FETCH, or one of these.

BPF_FETCH = 0x01
BPF_XCHG = 0xE0 | BPF_FETCH
BPF_CMPXCHG = 0xF0 | BPF_FETCH
BPF_LOAD_ACQ = 0x100
BPF_STORE_REL = 0x110

BPF_ADDR_SPACE_CAST = 1  # the off of a 64-bit register move that casts between address spaces


class Instruction(NamedTuple):
    """One slot of a program: the kernel's ``struct bpf_insn``, whose ``code`` is called ``opcode`` here.

    ``off`` (16 bits) and ``imm`` (32 bits) are signed.
    """

    opcode: int
    dst_reg: int = 0
    src_reg: int = 0
    off: int = 0
    imm: int = 0

    @property
    def is_ld_imm64(self) -> bool:
        """Whether this is the first of the two slots of a 64-bit load.

        Its ``src_reg`` says what the immediate means: 0 for a plain number, else one of ``abi.bpf``'s
        ``BPF_PSEUDO_MAP_FD`` and its kin.
        """
        return self.opcode == BPF_LD | BPF_IMM | BPF_DW


def ld_imm64(dst_reg: int, value: int, src_reg: int = 0) -> tuple[Instruction, Instruction]:
    """The two slots that load a 64-bit number, given signed or unsigned.

    Raises ObjectFormatError if the number has more than 64 bits.
    """
    if not -(1 << 63) <= value < 1 << 64:
        raise ObjectFormatError(f"ld_imm64 cannot hold {value:#x}: it has more than 64 bits")
    lower, upper = struct.unpack("<ii", (value & (1 << 64) - 1).to_bytes(8, "little"))
    return Instruction(BPF_LD | BPF_IMM | BPF_DW, dst_reg, src_reg, 0, lower), Instruction(0, imm=upper)


def imm64(first: Instruction, second: Instruction) -> int:
    """The number that the two slots of an ``ld_imm64`` hold, signed like every immediate."""
    return second.imm << 32 | first.imm & 0xFFFF_FFFF


def decode(
    data: bytes | bytearray | memoryview,
    byteorder: Literal["little", "big"] = "little",
    *,
    where: str = "instructions",
) -> list[Instruction]:
    """The instructions in ``data``, one for each 8-byte slot.

    ``byteorder`` is that of the BPF object; ``where`` names the bytes in errors.  Raises ObjectFormatError,
    naming the slot, if the bytes are no whole number of slots or end in the middle of an ``ld_imm64``.
    """
    slots, rest = divmod(len(data), SLOT_SIZE)
    if rest:
        raise ObjectFormatError(
            f"{len(data)} bytes are no whole number of 8-byte instructions: the last has {rest} bytes",
            where=f"{where}, slot {slots}",
        )
    # dst_reg and src_reg are bit fields of one byte: dst_reg, the first, has the low bits on little endian,
    # the high bits on big endian.
    if byteorder == "little":
        program = [
            Instruction(opcode, regs & 15, regs >> 4, off, imm)
            for opcode, regs, off, imm in struct.iter_unpack("<BBhi", data)
        ]
    else:
        program = [
            Instruction(opcode, regs >> 4, regs & 15, off, imm)
            for opcode, regs, off, imm in struct.iter_unpack(">BBhi", data)
        ]
    if program and program[-1].is_ld_imm64:
        raise ObjectFormatError(
            "an ld_imm64 takes two slots, and the program ends after its first",
            where=f"{where}, slot {slots - 1}",
        )
    return program


def encode(instructions: Iterable[Instruction], byteorder: Literal["little", "big"] = "little") -> bytes:
    """The bytes of ``instructions``, as ``decode`` reads them.  BPF_PROG_LOAD wants the host's byte order.

    Raises ObjectFormatError, naming the slot, if a value does not fit its field.
    """
    pack = struct.Struct("<BBhi" if byteorder == "little" else ">BBhi").pack
    slots = []
    for slot, (opcode, dst_reg, src_reg, off, imm) in enumerate(instructions):
        if not (0 <= dst_reg <= 15 and 0 <= src_reg <= 15):
            raise ObjectFormatError(
                f"register numbers {dst_reg} and {src_reg} do not fit their 4 bits", where=f"slot {slot}"
            )
        regs = dst_reg | src_reg << 4 if byteorder == "little" else dst_reg << 4 | src_reg
        try:
            slots.append(pack(opcode, regs, off, imm))
        except struct.error:
            raise ObjectFormatError(
                f"opcode {opcode:#x}, off {off}, imm {imm} do not fit their 8, 16 and 32 bits",
                where=f"slot {slot}",
            ) from None
    return b"".join(slots)
