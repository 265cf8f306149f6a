"""What libbpf makes of an object before it loads it: the truth for what our parser makes of it.

libbpf_open.c is compiled against the installed libbpf (libbpf-dev) when first asked for.  Nothing here needs root.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from with_libbpf import compiled


class Libbpf:
    """The compiled program."""

    def __init__(self, directory):
        self.program = compiled(directory, Path(__file__).with_name("libbpf_open.c"))

    def _run(self, *arguments):
        return subprocess.run([self.program, *arguments], capture_output=True, text=True)

    def open(self, path):
        """The object's maps and programs as dicts, and None; or None, and what libbpf complained about."""
        run = self._run(path)
        return (json.loads(run.stdout), None) if run.returncode == 0 else (None, run.stderr)

    def sections(self, names):
        """Section name -> (program type, attach type), None where libbpf does not know the name."""
        found = json.loads(self._run("--section", *names).stdout)
        return {name: tuple(types) if types else None for name, types in found.items()}

    def section_names(self):
        """The section names that this libbpf knows, by its own words."""
        text = self._run("--section", "no such section").stderr
        return text.partition("supported section(type) names are:")[2].split()
