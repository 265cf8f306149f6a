"""purebpf.load.targets: what programs are bound to, by BTF made for the purpose and by that of the running kernel."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import traced
from btf_making import FUNC, FUNC_PROTO, PTR, TYPEDEF, Assembler

import purebpf
from purebpf.abi.bpf import bpf_attach_type, bpf_prog_type
from purebpf.errors import PlanError, PureBpfError
from purebpf.load.facts import Facts, ModuleBtf
from purebpf.load.plan import Handle, make_plan
from purebpf.load.targets import find_target

KERNEL_BTF = Path("/sys/kernel/btf/vmlinux")


def types(*functions, points=(), base=None):
    """BTF with these functions, and tracepoints by their full names; and the ids by name."""
    made = Assembler(base=base)
    ids = {}
    proto = made.add(FUNC_PROTO, "", 0)
    for name in functions:
        ids[name] = made.add(FUNC, name, proto)
    pointer = made.add(PTR, "", proto)
    for name in points:
        ids[name] = made.add(TYPEDEF, name, pointer)
    return made, ids


KERNEL, IDS = types(
    "do_exit", "bpf_lsm_file_open", "bpf_iter_task", "file_open", points=("btf_trace_sched_switch", "sched_switch")
)
MODULE, MODULE_IDS = types("in_module", "do_exit", points=("btf_trace_module_point",), base=KERNEL)
OTHER, OTHER_IDS = types("in_module", "only_other", base=KERNEL)


def no_types():
    raise PureBpfError("there are no types here")


def facts(read_btf=KERNEL.btf, **more):
    def modules(kernel):
        return [ModuleBtf("mod", 77, MODULE.btf(kernel)), ModuleBtf("module", 78, OTHER.btf(kernel))]

    return Facts(
        release="6.1.0",
        read_btf=read_btf,
        read_modules=modules,
        byteorder="little",
        possible_cpus=1,
        page_size=4096,
        **more,
    )


def program(section):
    """The program of target_fentry with this section, or that type, with this target."""
    spec = purebpf.parse(traced.HERE / "objects/target_fentry.bpf.o")
    stem, _, target = section.partition("/")
    found = next(p for p in spec.programs.values() if p.section.removeprefix("?").partition("/")[0] == stem)
    found.attach_to = target
    return found


@pytest.mark.parametrize(
    "section, name",
    [
        ("fentry/do_exit", "do_exit"),
        ("fentry.s/do_exit", "do_exit"),
        ("fexit/do_exit", "do_exit"),
        ("fmod_ret/do_exit", "do_exit"),
        ("fentry/vmlinux:do_exit", "do_exit"),
        ("fentry/file_open", "file_open"),
        ("lsm/file_open", "bpf_lsm_file_open"),
        ("lsm.s/file_open", "bpf_lsm_file_open"),
        ("lsm_cgroup/file_open", "bpf_lsm_file_open"),
        ("tp_btf/sched_switch", "btf_trace_sched_switch"),
    ],
)
def test_of_the_kernel(section, name):
    found = find_target(program(section), facts())
    assert (found.type_id, found.module) == (IDS[name], None)


@pytest.mark.parametrize(
    "section, module, name",
    [
        ("fentry/in_module", "mod", "in_module"),
        ("fentry/mod:in_module", "mod", "in_module"),
        ("fentry/module:in_module", "module", "in_module"),
        ("fentry/only_other", "module", "only_other"),
        ("tp_btf/module_point", "mod", "btf_trace_module_point"),
    ],
)
def test_of_a_module(section, module, name):
    found = find_target(program(section), facts())
    assert (found.type_id, found.module.name) == ({"mod": MODULE_IDS, "module": OTHER_IDS}[module][name], module)


@pytest.mark.parametrize(
    "section, message",
    [
        ("fentry/do_exitt", "Linux 6.1.0 has no function 'do_exitt'; did you mean do_exit?"),
        ("fentry/sched_switch", "has no function 'sched_switch'"),
        ("fentry/mod:only_other", "has no function 'only_other' in module 'mod'"),
        ("fentry/mod:in_modul", "has no function 'in_modul' in module 'mod'; did you mean in_module?"),
        ("fentry/only_othr", "has no function 'only_othr'; did you mean only_other?"),
        ("fentry/nothing:do_exit", "Linux 6.1.0 has no types of a kernel module 'nothing'"),
        ("fentry/modul:do_exit", "has no types of a kernel module 'modul'; did you mean module or mod?"),
        ("fentry/vmlinux:do_exitt", "has no function 'do_exitt' in module 'vmlinux'; did you mean do_exit?"),
        ("tp_btf/sched_swich", "has no tracepoint 'sched_swich'; did you mean sched_switch?"),
        ("lsm/file_opne", "has no security hook 'file_opne'; did you mean file_open?"),
        ("fentry/", "section 'fentry/do_nanosleep' does not say which function to bind it to; write fentry/FUNCTION"),
        (
            "freplace/replaceable",
            "replaces function 'replaceable' of another program; set the program's attach_prog_fd",
        ),
    ],
)
def test_missing(section, message):
    with pytest.raises(PlanError) as error:
        find_target(program(section), facts())
    assert message in str(error.value)


def test_a_kernel_without_security_hooks():
    made, _ = types("do_exit")
    kernel = Facts(release="6.1.0", read_btf=made.btf, byteorder="little", possible_cpus=1, page_size=4096)
    with pytest.raises(PlanError, match=r"no security hook 'file_open', nor any other: .* without CONFIG_BPF_LSM"):
        find_target(program("lsm/file_open"), kernel)


def test_no_types_at_all():
    with pytest.raises(
        PlanError, match="'do_exit' of the kernel, and its types cannot be had: there are no types here"
    ):
        find_target(program("fentry/do_exit"), facts(no_types))


def test_of_a_program():
    """freplace needs the other program; fentry and fexit take one."""
    asked = []

    def read_program_btf(fd):
        asked.append(fd)
        return types("other", "replaceable")[0].btf()

    known = facts(read_program_btf=read_program_btf)
    for section in ("freplace/replaceable", "fentry/replaceable"):
        one = program(section)
        one.attach_prog_fd = 55
        assert find_target(one, known).type_id == types("other", "replaceable")[1]["replaceable"]
        one.attach_to = "replacable"
        with pytest.raises(PlanError, match=r"has no function 'replacable'; did you mean replaceable\?"):
            find_target(one, known)
        with pytest.raises(PlanError, match="the program it is bound to: programs are loaded only in a running kernel"):
            find_target(one, facts())
    assert asked == [55] * 4


def planned(*names, target=None, prog_fd=0, known=None):
    spec = purebpf.parse(traced.HERE / "objects/target_fentry.bpf.o")
    for key, one in spec.programs.items():
        one.autoload = key in names
        if one.autoload:
            one.attach_to = target or one.attach_to
            one.attach_prog_fd = prog_fd
    return make_plan(spec, known or facts())


def test_fields_of_the_load():
    (load,) = (c for c in planned("guard_sleeping") if c.creates == Handle("prog", "guard_sleeping"))
    assert load.fields["attach_btf_id"] == IDS["bpf_lsm_file_open"]
    assert load.fields["expected_attach_type"] == bpf_attach_type.BPF_LSM_MAC
    assert load.fields["prog_type"] == bpf_prog_type.BPF_PROG_TYPE_LSM
    assert "attach_btf_obj_fd" not in load.fields and "attach_prog_fd" not in load.fields


def test_a_module_is_opened_once_and_first():
    plan = planned("enter", "enter_sleeping", target="in_module")
    assert plan.commands[0].fields == {"btf_id": 77}
    handle = plan.commands[0].creates
    assert str(handle) == "<module btf mod>"
    loads = [command for command in plan if command.creates and command.creates.kind == "prog"]
    assert [load.fields["attach_btf_obj_fd"] for load in loads] == [handle] * 2
    assert [command.creates for command in plan].count(handle) == 1


def test_the_other_program_is_named():
    known = facts(read_program_btf=lambda fd: types("replaceable")[0].btf())
    (load,) = (c for c in planned("replace", prog_fd=9, known=known) if c.creates == Handle("prog", "replace"))
    assert (load.fields["attach_prog_fd"], load.fields["prog_type"]) == (9, bpf_prog_type.BPF_PROG_TYPE_EXT)


@pytest.mark.skipif(not KERNEL_BTF.exists(), reason="needs the kernel's BTF")
@pytest.mark.needs_tool("bpftool")
def test_against_bpftool():
    """The ids are those that bpftool prints for the kernel's functions and types."""
    done = subprocess.run(["bpftool", "btf", "dump", "-j", "file", KERNEL_BTF], capture_output=True, check=True)
    listed = {(kind["kind"], kind.get("name")): kind["id"] for kind in reversed(json.loads(done.stdout)["types"])}
    known = purebpf.KernelFacts.running()
    for section, kind, name in [
        ("fentry/do_nanosleep", "FUNC", "do_nanosleep"),
        ("lsm/file_open", "FUNC", "bpf_lsm_file_open"),
        ("tp_btf/sched_switch", "TYPEDEF", "btf_trace_sched_switch"),
    ]:
        assert find_target(program(section), known).type_id == listed[kind, name]
