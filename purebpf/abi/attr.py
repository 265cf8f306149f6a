"""The arguments of bpf(2), one structure for each group of commands, and the information it returns.

In C, ``union bpf_attr`` has a member for each group of commands, and bpf(2) takes the size of what is used of
it.  Here each member is a structure of its own, so that a command carries the fields it has and no others;
``ATTR_OF_CMD`` says which structure goes with which command.  Fields have the kernel's names.  A kernel that
knows fewer fields takes a longer structure as long as the rest is zero (E2BIG or EINVAL means that it is
not), so these structures, the newest ones, work on every kernel.

User pointers are ``u64`` fields (``__aligned_u64`` in C), and every ``u64`` is at a multiple of 8 on every
machine, also where C and ctypes would be content with 4 (i386).  That takes no compiler attribute here: the
structures have no implicit padding, each gap is a field of its own whose name starts with an underscore.  So
the layout is the one of 64-bit kernels everywhere.  It differs from what a 32-bit x86 kernel expects in four
places, where the header has a plain ``__u64`` behind a 32-bit field: ``tracing.cookie`` and
``expected_revision`` of ``tcx``, ``netkit`` and ``cgroup``, all in ``bpf_attr_link_create``.

Assigning to a name that is not a field raises AttributeError (the empty ``__slots__`` see to that), so a
misspelled field is not silently lost.

Defined in ``include/uapi/linux/bpf.h``; the state here is Linux 7.2's.  The version beside a command is the
first kernel that has it.
"""

from __future__ import annotations

from ctypes import Structure, Union, c_char, c_int32, c_uint8, c_uint32, c_uint64

from purebpf.abi.bpf import BPF_OBJ_NAME_LEN, BPF_TAG_SIZE, bpf_cmd

u8, u32, s32, u64 = c_uint8, c_uint32, c_int32, c_uint64
_name = c_char * BPF_OBJ_NAME_LEN

# --- maps -----------------------------------------------------------------------------------------


class bpf_attr_map_create(Structure):
    """BPF_MAP_CREATE (3.18)."""

    __slots__ = ()
    _fields_ = (
        ("map_type", u32),
        ("key_size", u32),
        ("value_size", u32),
        ("max_entries", u32),
        ("map_flags", u32),
        ("inner_map_fd", u32),
        ("numa_node", u32),
        ("map_name", _name),
        ("map_ifindex", u32),
        ("btf_fd", u32),
        ("btf_key_type_id", u32),
        ("btf_value_type_id", u32),
        ("btf_vmlinux_value_type_id", u32),
        ("map_extra", u64),
        ("value_type_btf_obj_fd", s32),
        ("map_token_fd", s32),
        ("excl_prog_hash", u64),
        ("excl_prog_hash_size", u32),
        ("_end", u32),
    )


class _value(Union):
    __slots__ = ()
    _fields_ = (("value", u64), ("next_key", u64))


class bpf_attr_map_elem(Structure):
    """BPF_MAP_{LOOKUP,UPDATE,DELETE}_ELEM, _GET_NEXT_KEY, _LOOKUP_AND_DELETE_ELEM (4.20), _FREEZE (5.2)."""

    __slots__ = ()
    _anonymous_ = ("_value",)
    _fields_ = (("map_fd", u32), ("_gap", u32), ("key", u64), ("_value", _value), ("flags", u64))


class bpf_attr_map_batch(Structure):
    """BPF_MAP_{LOOKUP,LOOKUP_AND_DELETE,UPDATE,DELETE}_BATCH (5.6).  ``batch`` in C."""

    __slots__ = ()
    _fields_ = (
        ("in_batch", u64),
        ("out_batch", u64),
        ("keys", u64),
        ("values", u64),
        ("count", u32),
        ("map_fd", u32),
        ("elem_flags", u64),
        ("flags", u64),
    )


# --- programs and BTF -----------------------------------------------------------------------------


class _attach_target(Union):
    __slots__ = ()
    _fields_ = (("attach_prog_fd", u32), ("attach_btf_obj_fd", u32))


class bpf_attr_prog_load(Structure):
    """BPF_PROG_LOAD (3.18)."""

    __slots__ = ()
    _anonymous_ = ("_attach_target",)
    _fields_ = (
        ("prog_type", u32),
        ("insn_cnt", u32),
        ("insns", u64),
        ("license", u64),
        ("log_level", u32),
        ("log_size", u32),
        ("log_buf", u64),
        ("kern_version", u32),
        ("prog_flags", u32),
        ("prog_name", _name),
        ("prog_ifindex", u32),
        ("expected_attach_type", u32),
        ("prog_btf_fd", u32),
        ("func_info_rec_size", u32),
        ("func_info", u64),
        ("func_info_cnt", u32),
        ("line_info_rec_size", u32),
        ("line_info", u64),
        ("line_info_cnt", u32),
        ("attach_btf_id", u32),
        ("_attach_target", _attach_target),
        ("core_relo_cnt", u32),
        ("fd_array", u64),
        ("core_relos", u64),
        ("core_relo_rec_size", u32),
        ("log_true_size", u32),
        ("prog_token_fd", s32),
        ("fd_array_cnt", u32),
        ("signature", u64),
        ("signature_size", u32),
        ("keyring_id", s32),
    )


class bpf_attr_prog_test_run(Structure):
    """BPF_PROG_TEST_RUN, also called BPF_PROG_RUN (4.12).  ``test`` in C."""

    __slots__ = ()
    _fields_ = (
        ("prog_fd", u32),
        ("retval", u32),
        ("data_size_in", u32),
        ("data_size_out", u32),
        ("data_in", u64),
        ("data_out", u64),
        ("repeat", u32),
        ("duration", u32),
        ("ctx_size_in", u32),
        ("ctx_size_out", u32),
        ("ctx_in", u64),
        ("ctx_out", u64),
        ("flags", u32),
        ("cpu", u32),
        ("batch_size", u32),
        ("_end", u32),
    )


class bpf_attr_prog_bind_map(Structure):
    """BPF_PROG_BIND_MAP (5.10): the map lives as long as the program."""

    __slots__ = ()
    _fields_ = (("prog_fd", u32), ("map_fd", u32), ("flags", u32))


class bpf_attr_prog_assoc_struct_ops(Structure):
    """BPF_PROG_ASSOC_STRUCT_OPS (7.0): name the struct_ops map whose operations the program may use."""

    __slots__ = ()
    _fields_ = (("map_fd", u32), ("prog_fd", u32), ("flags", u32))


class bpf_attr_prog_stream_read(Structure):
    """BPF_PROG_STREAM_READ_BY_FD (6.17): read what a program printed to its BPF_STREAM_STDOUT or _STDERR."""

    __slots__ = ()
    _fields_ = (
        ("stream_buf", u64),
        ("stream_buf_len", u32),
        ("stream_id", u32),
        ("prog_fd", u32),
        ("_end", u32),
    )


class bpf_attr_btf_load(Structure):
    """BPF_BTF_LOAD (4.18)."""

    __slots__ = ()
    _fields_ = (
        ("btf", u64),
        ("btf_log_buf", u64),
        ("btf_size", u32),
        ("btf_log_size", u32),
        ("btf_log_level", u32),
        ("btf_log_true_size", u32),
        ("btf_flags", u32),
        ("btf_token_fd", s32),
    )


# --- pins, ids, information -----------------------------------------------------------------------


class bpf_attr_obj(Structure):
    """BPF_OBJ_PIN, BPF_OBJ_GET (4.4)."""

    __slots__ = ()
    _fields_ = (("pathname", u64), ("bpf_fd", u32), ("file_flags", u32), ("path_fd", s32), ("_end", u32))


class _id(Union):
    __slots__ = ()
    _fields_ = (("start_id", u32), ("prog_id", u32), ("map_id", u32), ("btf_id", u32), ("link_id", u32))


class bpf_attr_get_id(Structure):
    """BPF_{PROG,MAP}_GET_{NEXT_ID,FD_BY_ID} (4.13), the same of BTF (4.18, next id 5.4) and LINK (5.8)."""

    __slots__ = ()
    _anonymous_ = ("_id",)
    _fields_ = (("_id", _id), ("next_id", u32), ("open_flags", u32), ("fd_by_id_token_fd", s32))


class bpf_attr_info(Structure):
    """BPF_OBJ_GET_INFO_BY_FD (4.13): fills one of the ``bpf_*_info`` below.  ``info`` in C."""

    __slots__ = ()
    _fields_ = (("bpf_fd", u32), ("info_len", u32), ("info", u64))


class bpf_attr_task_fd_query(Structure):
    """BPF_TASK_FD_QUERY (4.18): what a perf event fd of a process traces."""

    __slots__ = ()
    _fields_ = (
        ("pid", u32),
        ("fd", u32),
        ("flags", u32),
        ("buf_len", u32),
        ("buf", u64),
        ("prog_id", u32),
        ("fd_type", u32),
        ("probe_offset", u64),
        ("probe_addr", u64),
    )


class bpf_attr_enable_stats(Structure):
    """BPF_ENABLE_STATS (5.8): count runs and run time as long as the returned fd is open."""

    __slots__ = ()
    _fields_ = (("type", u32),)


class bpf_attr_token_create(Structure):
    """BPF_TOKEN_CREATE (6.9)."""

    __slots__ = ()
    _fields_ = (("flags", u32), ("bpffs_fd", u32))


# --- attaching without a link ---------------------------------------------------------------------


class _target(Union):
    __slots__ = ()
    _fields_ = (("target_fd", u32), ("target_ifindex", u32))


class _relative(Union):
    __slots__ = ()
    _fields_ = (("relative_fd", u32), ("relative_id", u32))


class bpf_attr_prog_attach(Structure):
    """BPF_PROG_ATTACH, BPF_PROG_DETACH (4.10)."""

    __slots__ = ()
    _anonymous_ = ("_target", "_relative")
    _fields_ = (
        ("_target", _target),
        ("attach_bpf_fd", u32),
        ("attach_type", u32),
        ("attach_flags", u32),
        ("replace_bpf_fd", u32),
        ("_relative", _relative),
        ("expected_revision", u64),
    )


class _count(Union):
    __slots__ = ()
    _fields_ = (("prog_cnt", u32), ("count", u32))


class bpf_attr_prog_query(Structure):
    """BPF_PROG_QUERY (4.15): which programs are attached to a target.  ``query`` in C."""

    __slots__ = ()
    _anonymous_ = ("_target", "_count")
    _fields_ = (
        ("_target", _target),
        ("attach_type", u32),
        ("query_flags", u32),
        ("attach_flags", u32),
        ("prog_ids", u64),
        ("_count", _count),
        ("_gap", u32),
        ("prog_attach_flags", u64),
        ("link_ids", u64),
        ("link_attach_flags", u64),
        ("revision", u64),
    )


class bpf_attr_raw_tracepoint_open(Structure):
    """BPF_RAW_TRACEPOINT_OPEN (4.17).  ``raw_tracepoint`` in C."""

    __slots__ = ()
    _fields_ = (("name", u64), ("prog_fd", u32), ("_gap", u32), ("cookie", u64))


# --- links ----------------------------------------------------------------------------------------


class _link_iter(Structure):
    __slots__ = ()
    _fields_ = (("iter_info", u64), ("iter_info_len", u32), ("_end", u32))


class _link_perf_event(Structure):
    __slots__ = ()
    _fields_ = (("bpf_cookie", u64),)


class _link_kprobe_multi(Structure):
    __slots__ = ()
    _fields_ = (("flags", u32), ("cnt", u32), ("syms", u64), ("addrs", u64), ("cookies", u64))


class _link_tracing(Structure):
    __slots__ = ()
    _fields_ = (("target_btf_id", u32), ("_gap", u32), ("cookie", u64))


class _link_netfilter(Structure):
    __slots__ = ()
    _fields_ = (("pf", u32), ("hooknum", u32), ("priority", s32), ("flags", u32))


class _link_relative(Structure):
    __slots__ = ()
    _anonymous_ = ("_relative",)
    _fields_ = (("_relative", _relative), ("_gap", u32), ("expected_revision", u64))


class _link_uprobe_multi(Structure):
    __slots__ = ()
    _fields_ = (
        ("path", u64),
        ("offsets", u64),
        ("ref_ctr_offsets", u64),
        ("cookies", u64),
        ("cnt", u32),
        ("flags", u32),
        ("pid", u32),
        ("path_fd", u32),
    )


class _link_tracing_multi(Structure):
    __slots__ = ()
    _fields_ = (("ids", u64), ("cookies", u64), ("cnt", u32), ("_end", u32))


class _link_details(Union):
    __slots__ = ()
    _anonymous_ = ("_iter",)
    _fields_ = (
        ("target_btf_id", u32),
        ("_iter", _link_iter),
        ("perf_event", _link_perf_event),
        ("kprobe_multi", _link_kprobe_multi),
        ("tracing", _link_tracing),
        ("netfilter", _link_netfilter),
        ("tcx", _link_relative),
        ("uprobe_multi", _link_uprobe_multi),
        ("netkit", _link_relative),
        ("cgroup", _link_relative),
        ("tracing_multi", _link_tracing_multi),
    )


class _link_source(Union):
    __slots__ = ()
    _fields_ = (("prog_fd", u32), ("map_fd", u32))


class bpf_attr_link_create(Structure):
    """BPF_LINK_CREATE (5.7).  Which member of the last union counts depends on ``attach_type``."""

    __slots__ = ()
    _anonymous_ = ("_source", "_target", "_details")
    _fields_ = (
        ("_source", _link_source),
        ("_target", _target),
        ("attach_type", u32),
        ("flags", u32),
        ("_details", _link_details),
    )


class _iter_map(Structure):
    __slots__ = ()
    _fields_ = (("map_fd", u32),)


class _iter_cgroup(Structure):
    __slots__ = ()
    _fields_ = (("order", u32), ("cgroup_fd", u32), ("cgroup_id", u64))


class _iter_task(Structure):
    __slots__ = ()
    _fields_ = (("tid", u32), ("pid", u32), ("pid_fd", u32))


class bpf_iter_link_info(Union):
    """What ``iter_info`` of BPF_LINK_CREATE points to: what the iterator walks."""

    __slots__ = ()
    _fields_ = (("map", _iter_map), ("cgroup", _iter_cgroup), ("task", _iter_task))


class _new(Union):
    __slots__ = ()
    _fields_ = (("new_prog_fd", u32), ("new_map_fd", u32))


class _old(Union):
    __slots__ = ()
    _fields_ = (("old_prog_fd", u32), ("old_map_fd", u32))


class bpf_attr_link_update(Structure):
    """BPF_LINK_UPDATE (5.7)."""

    __slots__ = ()
    _anonymous_ = ("_new", "_old")
    _fields_ = (("link_fd", u32), ("_new", _new), ("flags", u32), ("_old", _old))


class bpf_attr_link_detach(Structure):
    """BPF_LINK_DETACH (5.9)."""

    __slots__ = ()
    _fields_ = (("link_fd", u32),)


class bpf_attr_iter_create(Structure):
    """BPF_ITER_CREATE (5.8)."""

    __slots__ = ()
    _fields_ = (("link_fd", u32), ("flags", u32))


# --- which structure goes with which command ------------------------------------------------------

ATTR_OF_CMD: dict[bpf_cmd, type[Structure]] = {
    bpf_cmd.BPF_MAP_CREATE: bpf_attr_map_create,
    bpf_cmd.BPF_MAP_LOOKUP_ELEM: bpf_attr_map_elem,
    bpf_cmd.BPF_MAP_UPDATE_ELEM: bpf_attr_map_elem,
    bpf_cmd.BPF_MAP_DELETE_ELEM: bpf_attr_map_elem,
    bpf_cmd.BPF_MAP_GET_NEXT_KEY: bpf_attr_map_elem,
    bpf_cmd.BPF_PROG_LOAD: bpf_attr_prog_load,
    bpf_cmd.BPF_OBJ_PIN: bpf_attr_obj,
    bpf_cmd.BPF_OBJ_GET: bpf_attr_obj,
    bpf_cmd.BPF_PROG_ATTACH: bpf_attr_prog_attach,
    bpf_cmd.BPF_PROG_DETACH: bpf_attr_prog_attach,
    bpf_cmd.BPF_PROG_TEST_RUN: bpf_attr_prog_test_run,
    bpf_cmd.BPF_PROG_GET_NEXT_ID: bpf_attr_get_id,
    bpf_cmd.BPF_MAP_GET_NEXT_ID: bpf_attr_get_id,
    bpf_cmd.BPF_PROG_GET_FD_BY_ID: bpf_attr_get_id,
    bpf_cmd.BPF_MAP_GET_FD_BY_ID: bpf_attr_get_id,
    bpf_cmd.BPF_OBJ_GET_INFO_BY_FD: bpf_attr_info,
    bpf_cmd.BPF_PROG_QUERY: bpf_attr_prog_query,
    bpf_cmd.BPF_RAW_TRACEPOINT_OPEN: bpf_attr_raw_tracepoint_open,
    bpf_cmd.BPF_BTF_LOAD: bpf_attr_btf_load,
    bpf_cmd.BPF_BTF_GET_FD_BY_ID: bpf_attr_get_id,
    bpf_cmd.BPF_TASK_FD_QUERY: bpf_attr_task_fd_query,
    bpf_cmd.BPF_MAP_LOOKUP_AND_DELETE_ELEM: bpf_attr_map_elem,
    bpf_cmd.BPF_MAP_FREEZE: bpf_attr_map_elem,
    bpf_cmd.BPF_BTF_GET_NEXT_ID: bpf_attr_get_id,
    bpf_cmd.BPF_MAP_LOOKUP_BATCH: bpf_attr_map_batch,
    bpf_cmd.BPF_MAP_LOOKUP_AND_DELETE_BATCH: bpf_attr_map_batch,
    bpf_cmd.BPF_MAP_UPDATE_BATCH: bpf_attr_map_batch,
    bpf_cmd.BPF_MAP_DELETE_BATCH: bpf_attr_map_batch,
    bpf_cmd.BPF_LINK_CREATE: bpf_attr_link_create,
    bpf_cmd.BPF_LINK_UPDATE: bpf_attr_link_update,
    bpf_cmd.BPF_LINK_GET_FD_BY_ID: bpf_attr_get_id,
    bpf_cmd.BPF_LINK_GET_NEXT_ID: bpf_attr_get_id,
    bpf_cmd.BPF_ENABLE_STATS: bpf_attr_enable_stats,
    bpf_cmd.BPF_ITER_CREATE: bpf_attr_iter_create,
    bpf_cmd.BPF_LINK_DETACH: bpf_attr_link_detach,
    bpf_cmd.BPF_PROG_BIND_MAP: bpf_attr_prog_bind_map,
    bpf_cmd.BPF_TOKEN_CREATE: bpf_attr_token_create,
    bpf_cmd.BPF_PROG_STREAM_READ_BY_FD: bpf_attr_prog_stream_read,
    bpf_cmd.BPF_PROG_ASSOC_STRUCT_OPS: bpf_attr_prog_assoc_struct_ops,
}


class bpf_common_attr(Structure):
    """A log for any command (7.2), passed beside its attributes; the command then has BPF_COMMON_ATTRS."""

    __slots__ = ()
    _fields_ = (
        ("log_buf", u64),
        ("log_size", u32),
        ("log_level", u32),
        ("log_true_size", u32),
        ("_end", u32),
    )


# --- what BPF_OBJ_GET_INFO_BY_FD returns ----------------------------------------------------------


class bpf_prog_info(Structure):
    """Of a program's fd.  An array whose pointer and count are set is filled; the counts come back anyway."""

    __slots__ = ()
    _fields_ = (
        ("type", u32),
        ("id", u32),
        ("tag", u8 * BPF_TAG_SIZE),
        ("jited_prog_len", u32),
        ("xlated_prog_len", u32),
        ("jited_prog_insns", u64),
        ("xlated_prog_insns", u64),
        ("load_time", u64),
        ("created_by_uid", u32),
        ("nr_map_ids", u32),
        ("map_ids", u64),
        ("name", _name),
        ("ifindex", u32),
        ("gpl_compatible", u32, 1),
        ("_gap", u32, 31),
        ("netns_dev", u64),
        ("netns_ino", u64),
        ("nr_jited_ksyms", u32),
        ("nr_jited_func_lens", u32),
        ("jited_ksyms", u64),
        ("jited_func_lens", u64),
        ("btf_id", u32),
        ("func_info_rec_size", u32),
        ("func_info", u64),
        ("nr_func_info", u32),
        ("nr_line_info", u32),
        ("line_info", u64),
        ("jited_line_info", u64),
        ("nr_jited_line_info", u32),
        ("line_info_rec_size", u32),
        ("jited_line_info_rec_size", u32),
        ("nr_prog_tags", u32),
        ("prog_tags", u64),
        ("run_time_ns", u64),
        ("run_cnt", u64),
        ("recursion_misses", u64),
        ("verified_insns", u32),
        ("attach_btf_obj_id", u32),
        ("attach_btf_id", u32),
        ("_end", u32),
    )


class bpf_map_info(Structure):
    """Of a map's fd."""

    __slots__ = ()
    _fields_ = (
        ("type", u32),
        ("id", u32),
        ("key_size", u32),
        ("value_size", u32),
        ("max_entries", u32),
        ("map_flags", u32),
        ("name", _name),
        ("ifindex", u32),
        ("btf_vmlinux_value_type_id", u32),
        ("netns_dev", u64),
        ("netns_ino", u64),
        ("btf_id", u32),
        ("btf_key_type_id", u32),
        ("btf_value_type_id", u32),
        ("btf_vmlinux_id", u32),
        ("map_extra", u64),
        ("hash", u64),
        ("hash_size", u32),
        ("_end", u32),
    )


class bpf_btf_info(Structure):
    """Of a BTF object's fd.  Set ``btf`` and ``btf_size`` to have the BTF copied, and the name likewise."""

    __slots__ = ()
    _fields_ = (
        ("btf", u64),
        ("btf_size", u32),
        ("id", u32),
        ("name", u64),
        ("name_len", u32),
        ("kernel_btf", u32),
    )


class _info_raw_tracepoint(Structure):
    __slots__ = ()
    _fields_ = (("tp_name", u64), ("tp_name_len", u32), ("_gap", u32), ("cookie", u64))


class _info_tracing(Structure):
    __slots__ = ()
    _fields_ = (
        ("attach_type", u32),
        ("target_obj_id", u32),
        ("target_btf_id", u32),
        ("_gap", u32),
        ("cookie", u64),
    )


class _info_cgroup(Structure):
    __slots__ = ()
    _fields_ = (("cgroup_id", u64), ("attach_type", u32), ("_end", u32))


class _info_iter_map(Structure):
    __slots__ = ()
    _fields_ = (("map_id", u32),)


class _info_iter_object(Union):
    __slots__ = ()
    _fields_ = (("map", _info_iter_map),)


class _info_iter_cgroup(Structure):
    __slots__ = ()
    _fields_ = (("cgroup_id", u64), ("order", u32), ("_end", u32))


class _info_iter_task(Structure):
    __slots__ = ()
    _fields_ = (("tid", u32), ("pid", u32))


class _info_iter_range(Union):
    __slots__ = ()
    _fields_ = (("cgroup", _info_iter_cgroup), ("task", _info_iter_task))


class _info_iter(Structure):
    __slots__ = ()
    _anonymous_ = ("_object", "_range")
    _fields_ = (
        ("target_name", u64),
        ("target_name_len", u32),
        ("_object", _info_iter_object),
        ("_range", _info_iter_range),
    )


class _info_netns(Structure):
    __slots__ = ()
    _fields_ = (("netns_ino", u32), ("attach_type", u32))


class _info_xdp(Structure):
    __slots__ = ()
    _fields_ = (("ifindex", u32),)


class _info_struct_ops(Structure):
    __slots__ = ()
    _fields_ = (("map_id", u32),)


class _info_netfilter(Structure):
    __slots__ = ()
    _fields_ = (("pf", u32), ("hooknum", u32), ("priority", s32), ("flags", u32))


class _info_kprobe_multi(Structure):
    __slots__ = ()
    _fields_ = (("addrs", u64), ("count", u32), ("flags", u32), ("missed", u64), ("cookies", u64))


class _info_uprobe_multi(Structure):
    __slots__ = ()
    _fields_ = (
        ("path", u64),
        ("offsets", u64),
        ("ref_ctr_offsets", u64),
        ("cookies", u64),
        ("path_size", u32),
        ("count", u32),
        ("flags", u32),
        ("pid", u32),
    )


class _info_tracing_multi(Structure):
    __slots__ = ()
    _fields_ = (
        ("attach_type", u32),
        ("count", u32),
        ("btf_obj_id", u32),
        ("_gap", u32),
        ("ids", u64),
        ("addrs", u64),
        ("cookies", u64),
    )


class _info_uprobe(Structure):
    __slots__ = ()
    _fields_ = (
        ("file_name", u64),
        ("name_len", u32),
        ("offset", u32),
        ("cookie", u64),
        ("ref_ctr_offset", u64),
    )


class _info_kprobe(Structure):
    __slots__ = ()
    _fields_ = (
        ("func_name", u64),
        ("name_len", u32),
        ("offset", u32),
        ("addr", u64),
        ("missed", u64),
        ("cookie", u64),
    )


class _info_tracepoint(Structure):
    __slots__ = ()
    _fields_ = (("tp_name", u64), ("name_len", u32), ("_gap", u32), ("cookie", u64))


class _info_event(Structure):
    __slots__ = ()
    _fields_ = (("config", u64), ("type", u32), ("_gap", u32), ("cookie", u64))


class _info_perf_event_details(Union):
    __slots__ = ()
    _fields_ = (
        ("uprobe", _info_uprobe),
        ("kprobe", _info_kprobe),
        ("tracepoint", _info_tracepoint),
        ("event", _info_event),
    )


class _info_perf_event(Structure):
    __slots__ = ()
    _anonymous_ = ("_details",)
    _fields_ = (("type", u32), ("_gap", u32), ("_details", _info_perf_event_details))


class _info_ifindex(Structure):
    __slots__ = ()
    _fields_ = (("ifindex", u32), ("attach_type", u32))


class _info_sockmap(Structure):
    __slots__ = ()
    _fields_ = (("map_id", u32), ("attach_type", u32))


class _info_of_type(Union):
    __slots__ = ()
    _fields_ = (
        ("raw_tracepoint", _info_raw_tracepoint),
        ("tracing", _info_tracing),
        ("cgroup", _info_cgroup),
        ("iter", _info_iter),
        ("netns", _info_netns),
        ("xdp", _info_xdp),
        ("struct_ops", _info_struct_ops),
        ("netfilter", _info_netfilter),
        ("kprobe_multi", _info_kprobe_multi),
        ("uprobe_multi", _info_uprobe_multi),
        ("tracing_multi", _info_tracing_multi),
        ("perf_event", _info_perf_event),
        ("tcx", _info_ifindex),
        ("netkit", _info_ifindex),
        ("sockmap", _info_sockmap),
    )


class bpf_link_info(Structure):
    """Of a link's fd.  Which member of the union counts depends on ``type`` (bpf_link_type)."""

    __slots__ = ()
    _anonymous_ = ("_of_type",)
    _fields_ = (("type", u32), ("id", u32), ("prog_id", u32), ("_gap", u32), ("_of_type", _info_of_type))


class bpf_token_info(Structure):
    """Of a BPF token's fd: bit sets of the commands, map, program and attach types that it allows (6.17)."""

    __slots__ = ()
    _fields_ = (
        ("allowed_cmds", u64),
        ("allowed_maps", u64),
        ("allowed_progs", u64),
        ("allowed_attachs", u64),
    )
