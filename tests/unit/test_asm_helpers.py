"""Helper numbers and names, against the installed kernel header and against the running kernel's types."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from purebpf.asm.helpers import bpf_func_id, helper_name

OURS = {helper.name: helper.value for helper in bpf_func_id}


@pytest.mark.needs_tool("cc")
def test_names_and_numbers_are_the_headers(tmp_path):
    # __BPF_FUNC_MAPPER applies a macro to every name, and puts the commas.
    source = r"""
        #include <stdio.h>
        #include <linux/bpf.h>
        #define ROW(name) { "BPF_FUNC_" #name, BPF_FUNC_ ## name }
        static const struct { const char *name; int number; } rows[] = { __BPF_FUNC_MAPPER(ROW) };
        int main(void) {
            for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
                printf("%s %d\n", rows[i].name, rows[i].number);
            return 0;
        }"""
    program = tmp_path / "helpers"
    subprocess.run(["cc", "-x", "c", "-", "-o", program], input=source, text=True, check=True)
    output = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    headers = {name: int(number) for name, number in map(str.split, output.splitlines())}
    assert len(headers) > 200
    assert headers.items() <= OURS.items()


@pytest.mark.needs_tool("bpftool")
@pytest.mark.skipif(not Path("/sys/kernel/btf/vmlinux").exists(), reason="needs a kernel with BTF")
def test_names_and_numbers_are_the_running_kernels():
    command = ["bpftool", "btf", "dump", "file", "/sys/kernel/btf/vmlinux", "format", "c"]
    header = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    body = re.search(r"^enum bpf_func_id \{(.*?)^\}", header, re.DOTALL | re.MULTILINE)[1]
    kernels = {name: int(number) for name, number in re.findall(r"\b(BPF_FUNC_\w+) = (\d+)", body)}
    assert len(kernels) > 150
    assert kernels.items() <= OURS.items()


def test_numbers_have_no_gap():
    assert sorted(OURS.values()) == list(range(212))


def test_short_names():
    assert helper_name(1) == "map_lookup_elem"
    assert helper_name(bpf_func_id.BPF_FUNC_perf_event_output) == "perf_event_output"
    assert helper_name(100_000) == "unknown#100000"
