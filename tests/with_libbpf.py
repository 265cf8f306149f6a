"""C programs for tests to compare with, compiled against the installed libbpf (libbpf-dev) when first asked for."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest


def compiled(directory, source):
    """The path of the program in ``directory`` that a source file makes, which is given by its path.

    Without libbpf-dev the test is skipped, or fails if PUREBPF_REQUIRE_ALL is set.
    """
    if not Path("/usr/include/bpf/libbpf.h").exists():
        if os.environ.get("PUREBPF_REQUIRE_ALL") == "1":
            pytest.fail("needs libbpf-dev, and PUREBPF_REQUIRE_ALL is set", pytrace=False)
        pytest.skip("needs libbpf-dev")
    program = directory / source.stem
    subprocess.run(["cc", "-O", "-o", program, source, "-lbpf"], check=True)
    return program
