"""purebpf: load clang-built eBPF objects from pure Python.

    with purebpf.load("execsnoop.bpf.o") as bpf:
        bpf.attach()
        for event in bpf.maps["events"].read("event"):
            print(event.pid, event.comm)

Loading is a plan, then its execution: ``parse`` makes data of the file, ``ObjectSpec.plan`` the exact bpf(2) calls,
``ObjectSpec.load`` performs them.
"""

from purebpf.btf.value import to_plain
from purebpf.errors import (
    AttachError,
    KernelError,
    ObjectFormatError,
    PlanError,
    PureBpfError,
    RingError,
    VerifierError,
)
from purebpf.events.trace_pipe import TracePipe
from purebpf.kernel import probe as features
from purebpf.kernel.facts import KernelFacts
from purebpf.links.link import Link
from purebpf.load.plan import LoadPlan
from purebpf.maps.map import Map
from purebpf.object import BpfObject, ObjectSpec, load, parse
from purebpf.program import Program

__version__ = "0.1.0"

__all__ = [
    "AttachError",
    "BpfObject",
    "KernelError",
    "KernelFacts",
    "Link",
    "LoadPlan",
    "Map",
    "ObjectFormatError",
    "ObjectSpec",
    "PlanError",
    "Program",
    "PureBpfError",
    "RingError",
    "TracePipe",
    "VerifierError",
    "features",
    "load",
    "parse",
    "to_plain",
]
