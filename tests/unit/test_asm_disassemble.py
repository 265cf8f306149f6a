"""Our listing against that of llvm-objdump, line for line.

Three sources of instructions: an assembly text that holds every form, v1 to v4; every opcode with fields of
all kinds, much of which is no instruction; and every BPF object in the tree.
"""

from __future__ import annotations

import random
import re
import subprocess
from pathlib import Path

import pytest
from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile

from purebpf.asm import instruction as isa
from purebpf.asm.disassemble import disassemble, instruction_text
from purebpf.asm.instruction import Instruction, decode, encode

ROOT = Path(__file__).parents[2]
OBJECTS = sorted([*ROOT.glob("prebuilt/*.bpf.o"), *ROOT.glob("tests/objects/*.bpf.o")])
TRIPLES = {"little": "bpfel", "big": "bpfeb"}


def assemble(source, byteorder, path):
    """Assemble into an object at ``path``."""
    command = ["llvm-mc-19", f"-triple={TRIPLES[byteorder]}", "-mcpu=v4", "-filetype=obj", "-o", path]
    run = subprocess.run(command, input=source, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def objdump(path):
    """The lines of llvm-objdump's listing of each section that has any."""
    command = ["llvm-objdump-19", "-d", "-z", "--no-show-raw-insn", "--mcpu=v4", path]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    _, *parts = re.split(r"^Disassembly of section (.*):\n", output, flags=re.MULTILINE)
    listings = zip(parts[::2], parts[1::2], strict=True)
    return {name: text.rstrip("\n").split("\n") for name, text in listings if text.strip()}


def code(path):
    """The instructions of each executable section."""
    with path.open("rb") as file:
        elf = ELFFile(file)
        byteorder = "little" if elf.little_endian else "big"
        return {
            section.name: decode(section.data(), byteorder, where=section.name)
            for section in elf.iter_sections()
            if section["sh_flags"] & SH_FLAGS.SHF_EXECINSTR and section["sh_size"]
        }


def labels_in(listing):
    """The names that llvm-objdump announces, by slot: symbols, or the section where it has none."""
    announced = (re.fullmatch(r"([0-9a-f]{16}) <(.*)>:", line) for line in listing)
    return {int(match[1], 16) // 8: match[2] for match in announced if match}


def assert_listings_are_equal(path):
    theirs = objdump(path)
    programs = code(path)
    assert programs.keys() == theirs.keys()
    for name, program in programs.items():
        assert disassemble(program, labels=labels_in(theirs[name])) == theirs[name]


# --- every form, in the assembler's own words ----------------------------------------------------

ASSIGNMENTS = ["=", "+=", "-=", "*=", "/=", "%=", "|=", "&=", "^=", "<<=", ">>=", "s>>="]
SIGNED_DIVISIONS = ["s/=", "s%="]
COMPARISONS = ["==", "!=", ">", ">=", "<", "<=", "&", "s>", "s>=", "s<", "s<="]

V1 = [
    *(f"r1 {op} {operand}" for op in ASSIGNMENTS for operand in ["r2", "0x10", "-0x80000000"]),
    *(f"if r1 {op} r10 goto -0x3" for op in COMPARISONS),
    *(f"if r1 {op} 0xf goto +0x5" for op in COMPARISONS),
    "r3 = -r3",
    *(f"r{bits // 16} = {order}{bits} r{bits // 16}" for order in ["le", "be"] for bits in [16, 32, 64]),
    "r1 = *(u64 *)(r2 + 0x7fff)",
    "r1 = *(u64 *)(r10 - 0x8000)",
    "*(u64 *)(r10 - 0x8) = r1",
    *(f"r0 = *({size} *)skb[{index}]" for size in ["u8", "u16", "u32"] for index in ["0xc", "-0x1000", "r7"]),
    "lock *(u64 *)(r1 + 0x0) += r2",
    "goto +0x7fff",
    "goto -0x8000",
    "call 0x6",
    "callx r4",
    "r1 = 0x0 ll",
    "r1 = 0x123456789abcdef0 ll",
    "r1 = -0x8000000000000000 ll",
    *(f"ld_pseudo\tr2, {source:#x}, 0x5" for source in range(1, 7)),
    "exit",
]
V3 = [
    *(f"w1 {op} {operand}" for op in ASSIGNMENTS for operand in ["w2", "0x10", "-0x1"]),
    *(f"if w1 {op} w9 goto -0x3" for op in COMPARISONS),
    *(f"if w1 {op} -0xf goto +0x5" for op in COMPARISONS),
    "w3 = -w3",
    *(f"w1 = *({size} *)(r2 + 0x4)" for size in ["u8", "u16", "u32"]),
    *(f"*({size} *)(r1 - 0x4) = w2" for size in ["u8", "u16", "u32"]),
    *(f"lock *(u64 *)(r1 + 0x8) {op} r2" for op in ["|=", "&=", "^="]),
    *(f"lock *(u32 *)(r1 + 0x8) {op} w2" for op in ["+=", "|=", "&=", "^="]),
    *(f"r2 = atomic_fetch_{op}((u64 *)(r1 - 0x8), r2)" for op in ["add", "or", "and", "xor"]),
    *(f"w2 = atomic_fetch_{op}((u32 *)(r1 - 0x8), w2)" for op in ["add", "or", "and", "xor"]),
    "r2 = xchg_64(r1 + 0x8, r2)",
    "w2 = xchg32_32(r1 + 0x8, w2)",
    "r0 = cmpxchg_64(r1 + 0x8, r0, r2)",
    "w0 = cmpxchg32_32(r1 + 0x8, w0, w2)",
]
V4 = [
    *(f"r1 {op} {operand}" for op in SIGNED_DIVISIONS for operand in ["r2", "0x10", "-0x1"]),
    *(f"w1 {op} {operand}" for op in SIGNED_DIVISIONS for operand in ["w2", "0x10", "-0x1"]),
    *(f"r1 = ({size})r2" for size in ["s8", "s16", "s32"]),
    *(f"w1 = ({size})w2" for size in ["s8", "s16"]),
    *(f"r1 = *({size} *)(r2 - 0x4)" for size in ["s8", "s16", "s32"]),
    *(f"*({size} *)(r1 + 0x8) = -0x7" for size in ["u8", "u16", "u32", "u64"]),
    *(f"r{bits // 16} = bswap{bits} r{bits // 16}" for bits in [16, 32, 64]),
    "gotol +0x7fff",
    "gotol -0x8000",
    "may_goto +0x3",
    "r1 = addr_space_cast(r2, 0x0, 0x1)",
    "r1 = addr_space_cast(r2, 0x1, 0x0)",
]


@pytest.mark.needs_tool("llvm-mc-19", "llvm-objdump-19")
@pytest.mark.parametrize("byteorder", TRIPLES)
def test_every_form_reads_as_the_assembler_takes_it(byteorder, tmp_path):
    source = [*V1, *V3, *V4]
    path = tmp_path / "forms.o"
    assemble("\n".join(source) + "\n", byteorder, path)
    [listing] = [disassemble(program) for program in code(path).values()]
    assert [line.split(":\t", 1)[1] for line in listing] == source
    assert_listings_are_equal(path)


@pytest.mark.needs_tool("llvm-mc-19", "llvm-objdump-19")
def test_both_byte_orders_decode_to_the_same_instructions(tmp_path):
    programs = []
    for byteorder in TRIPLES:
        assemble("\n".join([*V1, *V3, *V4]) + "\n", byteorder, tmp_path / byteorder)
        programs.append(code(tmp_path / byteorder)[".text"])
    assert programs[0] == programs[1]


# LLVM 19 takes these for others, or for none. Their bytes and text are those of the kernel commits that
# introduced them, and of later LLVMs. (The last it knows, but loses the upper half.)
@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("d310fcff00010000", "w0 = load_acquire((u8 *)(r1 - 0x4))"),
        ("cb10000000010000", "w0 = load_acquire((u16 *)(r1 + 0x0))"),
        ("c310000000010000", "w0 = load_acquire((u32 *)(r1 + 0x0))"),
        ("db10000000010000", "r0 = load_acquire((u64 *)(r1 + 0x0))"),
        ("d321000010010000", "store_release((u8 *)(r1 + 0x0), w2)"),
        ("cb21000010010000", "store_release((u16 *)(r1 + 0x0), w2)"),
        ("c321000010010000", "store_release((u32 *)(r1 + 0x0), w2)"),
        ("db21080010010000", "store_release((u64 *)(r1 + 0x8), r2)"),
        ("0d01000000000000", "gotox r1"),
        ("18220000050000000000000007000000", "ld_pseudo\tr2, 0x2, 0x700000005"),
    ],
)
def test_forms_that_llvm_19_does_not_know(data, text):
    assert instruction_text(*decode(bytes.fromhex(data))) == text


# --- every opcode, with fields that fit it and fields that do not --------------------------------

REGISTERS = [0, 1, 2, 6, 10, 11, 12, 15]
OFFS = [0, 0, 0, 1, 2, 8, 16, 32, 64, 3, -1, -3, 0x7FFF, -0x8000]
IMMS = [0, 1, 16, 32, 64, 8, 5, -1, 0x10000, 0x7FFFFFFF, -0x80000000]
ATOMIC_OPERATIONS = [0, 0x40, 0x50, 0xA0, 0x01, 0x41, 0x51, 0xA1, 0xE1, 0xF1, 0x10, 0xE0, 0xF0]


def any_fields(opcode, randomly):
    """An instruction that LLVM 19 shows as it is, if it is one.

    Of an atomic operation it sees only the lowest byte, of an ld_imm64 with a source only the lower half.
    """
    is_ld_imm64 = opcode == isa.BPF_LD | isa.BPF_IMM | isa.BPF_DW
    is_atomic = opcode & (isa.BPF_CLASS_MASK | isa.BPF_MODE_MASK) == isa.BPF_STX | isa.BPF_ATOMIC
    return Instruction(
        opcode,
        dst_reg=randomly.choice(REGISTERS),
        src_reg=0 if is_ld_imm64 else randomly.choice(REGISTERS),
        off=randomly.choice(OFFS),
        imm=randomly.choice(ATOMIC_OPERATIONS if is_atomic else IMMS),
    )


@pytest.mark.needs_tool("llvm-mc-19", "llvm-objdump-19")
@pytest.mark.parametrize("byteorder", TRIPLES)
def test_every_opcode_with_any_fields(byteorder, tmp_path):
    randomly = random.Random(9669)
    gotox = isa.BPF_JMP | isa.BPF_JA | isa.BPF_X  # LLVM 22
    program = [any_fields(opcode, randomly) for opcode in range(256) if opcode != gotox for _ in range(60)]
    randomly.shuffle(program)
    program += [Instruction(isa.BPF_JMP | isa.BPF_EXIT)] * 2
    data = encode(program, byteorder)
    path = tmp_path / "opcodes.o"
    assemble("\n".join(f".byte {byte}" for byte in data) + "\n", byteorder, path)
    assert code(path) == {".text": program}
    assert_listings_are_equal(path)


# --- the objects in the tree ---------------------------------------------------------------------


@pytest.mark.needs_tool("llvm-objdump-19")
@pytest.mark.parametrize("path", OBJECTS, ids=lambda path: path.name)
def test_objects_in_the_tree(path):
    assert_listings_are_equal(path)


# --- what stands around the instructions ---------------------------------------------------------

LOOP = [
    Instruction(0x18, dst_reg=1, imm=5),
    Instruction(0, imm=1),
    Instruction(isa.BPF_ALU64 | isa.BPF_ADD | isa.BPF_K, 1, imm=-1),
    Instruction(isa.BPF_JMP | isa.BPF_JNE | isa.BPF_K, 1, off=-2),
    Instruction(isa.BPF_JMP32 | isa.BPF_JA, imm=-4),
    Instruction(isa.BPF_JMP | isa.BPF_JA | isa.BPF_X, dst_reg=1),
    Instruction(isa.BPF_JMP | isa.BPF_EXIT),
]


def test_slots_are_numbered_as_jumps_count_them():
    assert disassemble(LOOP) == [
        "       0:\tr1 = 0x100000005 ll",
        "       2:\tr1 += -0x1",
        "       3:\tif r1 != 0x0 goto -0x2",
        "       4:\tgotol -0x4",
        "       5:\tgotox r1",
        "       6:\texit",
    ]


def test_labels_stand_before_their_slots_and_behind_jumps():
    assert disassemble(LOOP, labels={2: "again", 6: "out"}) == [
        "       0:\tr1 = 0x100000005 ll",
        "",
        "0000000000000010 <again>:",
        "       2:\tr1 += -0x1",
        "       3:\tif r1 != 0x0 goto -0x2 <again>",
        "       4:\tgotol -0x4",
        "       5:\tgotox r1",
        "",
        "0000000000000030 <out>:",
        "       6:\texit",
    ]
    assert disassemble(LOOP, labels={0: "start"})[5] == "       4:\tgotol -0x4 <start+0x8>"


def test_half_an_ld_imm64_is_unknown():
    assert disassemble(LOOP[:1]) == ["       0:\t<unknown>"]
