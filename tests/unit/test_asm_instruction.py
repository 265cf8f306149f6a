"""Decoding and encoding: against hand-made slots, the kernel's header and clang's assembler."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from purebpf.asm import instruction as isa
from purebpf.asm.instruction import Instruction, decode, encode, imm64, ld_imm64
from purebpf.errors import ObjectFormatError

BYTEORDERS = ["little", "big"]

# RFC 9669, "Instruction encoding": opcode; registers; off (16 bits); imm (32 bits).
STORE = Instruction(isa.BPF_STX | isa.BPF_MEM | isa.BPF_DW, dst_reg=10, src_reg=1, off=-8)
MOVE = Instruction(isa.BPF_ALU64 | isa.BPF_MOV | isa.BPF_K, dst_reg=2, imm=-2)
LOAD = (Instruction(0x18, dst_reg=3, src_reg=2, imm=7), Instruction(0, imm=-0x7FFFFFFF))
HAND_MADE = [STORE, MOVE, *LOAD, Instruction(0x95)]
HAND_MADE_BYTES = {
    "little": "7b1af8ff00000000 b7020000feffffff 1823000007000000 0000000001000080 9500000000000000",
    "big": "7ba1fff800000000 b7200000fffffffe 1832000000000007 0000000080000001 9500000000000000",
}


@pytest.mark.parametrize("byteorder", BYTEORDERS)
def test_hand_made_slots(byteorder):
    data = bytes.fromhex(HAND_MADE_BYTES[byteorder])
    assert decode(data, byteorder) == HAND_MADE
    assert decode(memoryview(data), byteorder) == HAND_MADE
    assert encode(HAND_MADE, byteorder) == data
    assert decode(b"", byteorder) == []


slots = st.lists(st.binary(min_size=8, max_size=8)).map(b"".join)


@pytest.mark.parametrize("byteorder", BYTEORDERS)
@given(data=slots.filter(lambda data: data[-8:-7] != b"\x18"))
def test_encoding_gives_back_what_was_decoded(byteorder, data):
    assert encode(decode(data, byteorder), byteorder) == data


@pytest.mark.parametrize("byteorder", BYTEORDERS)
@given(data=st.binary())
def test_any_bytes_decode_or_raise_the_documented_error(byteorder, data):
    try:
        assert encode(decode(data, byteorder), byteorder) == data
    except ObjectFormatError:
        assert len(data) % 8 or data[-8] == 0x18


def test_errors_name_the_slot():
    with pytest.raises(ObjectFormatError, match=r"^section xdp, slot 2: 19 bytes"):
        decode(bytes(19), where="section xdp")
    with pytest.raises(ObjectFormatError, match="slot 1: an ld_imm64 takes two slots"):
        decode(bytes(8) + b"\x18" + bytes(7))


@pytest.mark.parametrize(
    "wrong",
    [
        Instruction(0x100),
        Instruction(7, dst_reg=16),
        Instruction(7, src_reg=-1),
        Instruction(7, off=0x8000),
        Instruction(7, imm=1 << 31),
    ],
)
def test_values_wider_than_their_field_are_refused(wrong):
    for byteorder in BYTEORDERS:
        with pytest.raises(ObjectFormatError, match=r"^slot 1: .*not fit"):
            encode([MOVE, wrong], byteorder)


@given(st.integers(-(1 << 63), (1 << 64) - 1))
def test_ld_imm64_holds_any_64_bits(value):
    first, second = ld_imm64(3, value, src_reg=4)
    assert first.is_ld_imm64 and (first.dst_reg, first.src_reg) == (3, 4)
    assert imm64(first, second) % (1 << 64) == value % (1 << 64)
    data = encode([first, second])
    assert data[4:8] + data[12:] == (value % (1 << 64)).to_bytes(8, "little")


@pytest.mark.parametrize("value", [1 << 64, -(1 << 63) - 1])
def test_ld_imm64_refuses_more_than_64_bits(value):
    with pytest.raises(ObjectFormatError, match="64 bits"):
        ld_imm64(0, value)


@pytest.mark.needs_tool("cc")
def test_opcode_names_are_the_kernels(tmp_path):
    ours = {name: value for name, value in vars(isa).items() if name.startswith("BPF_")}
    rows = "\n".join(f'#ifdef {name}\nprintf("{name} %d\\n", {name});\n#endif' for name in ours)
    source = f"#include <stdio.h>\n#include <linux/bpf.h>\nint main(void) {{\n{rows}\nreturn 0; }}\n"
    program = tmp_path / "opcodes"
    subprocess.run(["cc", "-x", "c", "-", "-o", program], input=source, text=True, check=True)
    output = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    kernels = {name: int(value) for name, value in map(str.split, output.splitlines())}
    assert {"BPF_ALU64", "BPF_ATOMIC", "BPF_CMPXCHG"} <= kernels.keys()
    assert {name: ours[name] for name in kernels} == kernels
    # What the header lacks is our name for a mask, an enumerator, or newer than the header.
    newer = {"BPF_MEMSX", "BPF_JCOND", "BPF_LOAD_ACQ", "BPF_STORE_REL"}
    masks = {name for name in ours if name.endswith("_MASK")}
    assert ours.keys() - kernels.keys() <= masks | newer | {"BPF_ADDR_SPACE_CAST"}
