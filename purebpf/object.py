"""The public way through the rooms: parse, plan, load, attach, and the live objects that come of it."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING

from purebpf.abi.bpf import bpf_cmd, bpf_map_type
from purebpf.btf.reader import Btf
from purebpf.btf.value import codec
from purebpf.errors import AttachError, KernelError
from purebpf.kernel import bpf as kernel_bpf
from purebpf.kernel import pin
from purebpf.kernel.facts import KernelFacts
from purebpf.kernel.fd import Fd
from purebpf.kernel.memlock import raise_memlock_limit
from purebpf.kernel.memory import Memory
from purebpf.links.link import Link
from purebpf.load.execute import Descriptor, execute, fill
from purebpf.load.features import Feature
from purebpf.load.plan import PIN_ROOT, Handle, LoadPlan, Mapped, make_plan
from purebpf.maps.arena import Arena
from purebpf.maps.codec import RawCodec
from purebpf.maps.map import Codec, Map
from purebpf.obj import spec as obj_spec
from purebpf.obj.parse import Source, parse_object
from purebpf.program import Program

if TYPE_CHECKING:
    from purebpf.links.usdt import Specs


class ObjectSpec(obj_spec.ObjectSpec):
    """A parsed object, not yet in the kernel.  Edit it, then ``load()`` it, or ``plan()`` to see what that would do."""

    def plan(self, kernel: KernelFacts | None = None, *, pin_root: str = PIN_ROOT) -> LoadPlan:
        """The bpf(2) calls that would load this object into ``kernel`` (default: the running one).

        ``pin_root`` is the directory, in a BPF file system, for maps that the object wants pinned by name.
        Raises PlanError if the object cannot be loaded there.
        """
        return make_plan(self, kernel or KernelFacts.running(), pin_root)

    def load(self, kernel: KernelFacts | None = None, *, pin_root: str = PIN_ROOT) -> BpfObject:
        """Load the object into the running kernel; ``kernel`` may say other facts about it, such as ``core_btf``.

        Maps that the object wants pinned by name are looked for in ``pin_root``, and used if they are alike; else they
        are created and pinned there, and stay when the object is closed.
        Raises PlanError, KernelError, or VerifierError for a rejected program; nothing stays behind then.
        """
        facts = kernel or KernelFacts.running()
        plan = make_plan(self, facts, pin_root)
        if not facts.has(Feature.MEMCG_ACCOUNT):
            raise_memlock_limit()
        running = _RunningKernel()
        owners = execute(plan, running)
        try:
            return BpfObject(self, plan, owners, running.memories)
        except BaseException:
            for owner in owners.values():
                owner.close()
            running.undo()
            raise


class _RunningKernel:
    """What the executor needs of the kernel."""

    def __init__(self) -> None:
        self._pins: list[str] = []
        self.memories: dict[Handle, Memory] = {}

    def prepare_pin(self, path: str) -> None:
        pin.prepare(path)

    def note_pin(self, path: str) -> None:
        self._pins.append(path)

    def map_memory(self, handle: Handle, fd: Descriptor, mapped: Mapped) -> None:
        memory = Memory(fd.fileno(), mapped.size, mapped.address, what=f"{handle.kind} {handle.name!r}")
        self.memories[handle] = memory
        memory.write(mapped.offset, mapped.contents)

    def undo(self) -> None:
        while self._pins:
            pin.remove(self._pins.pop())
        for memory in self.memories.values():
            memory.close()

    def bpf(self, cmd: bpf_cmd, attr: ctypes.Structure, *, action: str) -> int:
        return kernel_bpf.bpf(cmd, attr, action=action)

    def lacking(self, code: int, cmd: bpf_cmd, fields: Mapping[str, int]) -> str:
        from purebpf.kernel.lacking import lacking  # here, as it is only needed when something has gone wrong

        return lacking(code, cmd, fields)

    def own(self, number: int, what: str) -> Fd:
        return Fd(number, what)


def parse(source: Source, name: str | None = None) -> ObjectSpec:
    """Parse a clang-built BPF object without touching the kernel.

    ``source`` is a path or the file's bytes.  ``name`` is the object's name, by default the file name up to its first
    dot.  Raises ObjectFormatError for a malformed file, KernelError if it cannot be read.
    """
    return parse_object(source, ObjectSpec, name)


def load(
    source: Source, *, kernel: KernelFacts | None = None, name: str | None = None, pin_root: str = PIN_ROOT
) -> BpfObject:
    """Parse an object and load it into the running kernel: ``parse(source).load()``."""
    return parse(source, name).load(kernel, pin_root=pin_root)


class BpfObject:
    """A loaded object: its live maps and programs by name, and the links of the programs it has attached.

    ``struct_ops`` are the values to put into struct_ops maps, under the key 0, by map: the kernel registers the
    programs then, and calls them.

    It owns all of them.  ``close()`` or the end of a ``with`` block detaches, and lets go of programs and maps.
    """

    def __init__(
        self, spec: ObjectSpec, plan: LoadPlan, owners: Mapping[Handle, Fd], memories: Mapping[Handle, Memory]
    ) -> None:
        self.spec = spec
        self.plan = plan
        self.name = spec.name
        self.maps: dict[str, Map] = {}
        self.programs: dict[str, Program] = {}
        self.links: list[Link] = []
        self.struct_ops = {key: fill(value, owners) for key, value in plan.struct_ops.items()}
        self._others: list[Fd] = []
        usdt = functools.cache(functools.partial(_usdt_specs, self.maps))
        for handle, fd in owners.items():
            if handle.kind == "map":
                self.maps[handle.name] = _live_map(fd, handle.name, spec, plan, memories.get(handle))
            elif handle.kind == "prog":
                self.programs[handle.name] = Program(fd, spec.programs[handle.name], usdt)
            else:
                self._others.append(fd)

    def attach(self) -> list[Link]:
        """Attach each program whose section says where, in the object's order, then each struct_ops map; all or none.

        Those whose spec has ``autoattach`` False are left out.  Returns the links, which stay the object's own.  Raises
        AttachError or KernelError, which names the program; what had been attached is detached then.
        """
        made: list[Link] = []
        try:
            for program in self.programs.values():
                if program.attaches_itself and program.spec.autoattach:
                    with _naming(program):
                        made.append(program.attach())
            for key in self.struct_ops:
                if self.spec.maps[key].autoattach:
                    made.append(self.attach_struct_ops(key))
        except BaseException:
            for link in reversed(made):
                link.close()
            raise
        self.links += made
        return made

    def attach_struct_ops(self, name: str) -> Link:
        """Register a struct_ops map: the kernel calls its programs from then on.

        The link is the caller's.  Raises KeyError if there is no such map, and KernelError.
        """
        from purebpf.links.struct_ops import attach_struct_ops

        return attach_struct_ops(self.maps[name].fileno(), name, self.struct_ops[name], self.spec.maps[name].map_flags)

    def update_struct_ops(self, link: Link, name: str) -> None:
        """Have another struct_ops map take the place of a link's, at once; both of section ``.struct_ops.link``.

        Raises KeyError if there is no such map, AttachError if ``link`` is no bpf link, and KernelError.
        """
        from purebpf.links.struct_ops import register

        register(self.maps[name].fileno(), name, self.struct_ops[name], self.spec.maps[name].map_flags)
        link.update(self.maps[name])

    def detach(self) -> None:
        """Detach what ``attach()`` attached; maps and programs stay.  Detaching twice does nothing."""
        while self.links:
            self.links.pop().close()

    def close(self) -> None:
        """Detach what ``attach()`` attached, and let go of everything.  Closing twice does nothing."""
        self.detach()
        owners: list[Program | Map | Fd] = [*self.programs.values(), *self.maps.values(), *self._others]
        for owner in owners:
            owner.close()

    def __enter__(self) -> BpfObject:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        counts = f"{len(self.maps)} maps, {len(self.programs)} programs, {len(self.links)} links"
        return f"<BpfObject {self.name!r}: {counts}>"


@contextmanager
def _naming(program: Program) -> Iterator[None]:
    """Have an error say which of an object's programs could not be attached."""
    who = f"program {program.name!r}"
    try:
        yield
    except KernelError as error:
        raise KernelError(error.errno or 0, f"{who}: {error.action}", error.hint) from None
    except AttachError as error:
        if str(error).startswith(who):
            raise
        raise AttachError(f"{who}: {error}") from None


def _usdt_specs(maps: Mapping[str, Map]) -> Specs:
    """What an object's programs share for static tracepoints; few objects have such programs."""
    from purebpf.links.usdt import Specs

    return Specs(maps)


def _live_map(fd: Fd, key: str, spec: ObjectSpec, plan: LoadPlan, memory: Memory | None) -> Map:
    definition = spec.maps[key]
    max_entries = plan.max_entries(Handle("map", key))
    if memory is not None:
        places = [place for place in spec.variables.places.values() if place.map == key]
        start = plan.variables_start(Handle("map", key))
        variables = {p.name: (start + p.offset, _codec(spec.btf, p.type_id, p.size)) for p in places}
        return Arena(fd, key, definition.type, max_entries, memory, variables)
    if key in plan.struct_ops:  # its values are of the kernel's type
        return Map(fd, key, definition.type, max_entries, RawCodec(4), RawCodec(len(plan.struct_ops[key].data)))
    key_codec = _codec(spec.btf, definition.key_type_id, definition.key_size)
    value_codec = _codec(spec.btf, definition.value_type_id, definition.value_size)
    if definition.type == bpf_map_type.BPF_MAP_TYPE_PERF_EVENT_ARRAY:
        from purebpf.events.array import PerfEventArray

        return PerfEventArray(fd, key, definition.type, max_entries, key_codec, value_codec, spec.btf)
    return Map(fd, key, definition.type, max_entries, key_codec, value_codec)


def _codec(btf: Btf | None, type_id: int, size: int) -> Codec:
    """By BTF where the map has a type of that size.  That of a data section is like a struct of its variables."""
    if btf is not None and type_id and btf.size_of(type_id) == size:
        typed: Codec = codec(btf, type_id)
        return typed
    return RawCodec(size)
