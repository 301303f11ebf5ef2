"""Filters the system calls of the decoder's child, so that it reaches no file and no other process.

libseccomp, which Debian's images include, builds the filter. The library is called through ctypes,
because its Python binding on PyPI is not maintained. Without libseccomp, the limits of
`process_limits.py` still hold (docs/security.md).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import resource

PR_SET_NO_NEW_PRIVS = 38
SCMP_ACT_ALLOW = 0x7FFF0000
SCMP_ACT_ERRNO = 0x00050000

SCMP_FLTATR_CTL_TSYNC = 4
"""Attribute that applies the filter to threads that are already running as well."""

SCMP_CMP_NE = 1
NOT_A_SYSTEM_CALL = -1

REFUSED = (
    # signals and other ways into another process, above all into the parent
    *("kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_send_signal"),
    *("pidfd_open", "pidfd_getfd", "ptrace", "process_vm_readv", "process_vm_writev"),
    *("process_madvise", "kcmp", "setpriority", "sched_setaffinity", "sched_setscheduler"),
    # new processes, threads and programs
    *("execve", "execveat", "fork", "vfork", "clone", "clone3"),
    # the network
    *("socket", "socketpair", "connect", "bind", "listen", "accept", "accept4"),
    # files: the parent hands over each video as an open file
    *(
        "open",
        "openat",
        "openat2",
        "open_by_handle_at",
        "creat",
        "truncate",
        "ftruncate",
        "unlink",
        "unlinkat",
        "rename",
        "renameat",
        "renameat2",
        "mkdir",
    ),
    *("mkdirat", "rmdir", "link", "linkat", "symlink", "symlinkat", "chmod", "fchmod", "fchmodat"),
    *("chown", "fchown", "lchown", "fchownat", "mknod", "mknodat", "mount", "umount2", "chroot"),
    *("pivot_root", "unshare", "setns", "bpf", "perf_event_open", "userfaultfd", "keyctl"),
    *("add_key", "request_key", "init_module", "finit_module", "kexec_load", "reboot"),
    *("io_uring_setup", "io_uring_enter", "io_uring_register"),
)
"""Names of the calls that fail with EPERM. libseccomp knows their numbers on each architecture."""


class ArgumentTest(ctypes.Structure):
    """libseccomp's `scmp_arg_cmp`: a test of one argument of a call."""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("test", ctypes.c_int),
        ("value", ctypes.c_uint64),
        ("mask", ctypes.c_uint64),
    )


def limit_system_calls() -> bool:
    """Set the filter for all threads of this process. Returns whether the filter is active."""
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        return False
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_init.argtypes = [ctypes.c_uint32]
    library.seccomp_rule_add_array.argtypes = [
        *(ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p)
    ]
    library.seccomp_attr_set.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32]
    library.seccomp_load.argtypes = [ctypes.c_void_p]
    library.seccomp_release.argtypes = [ctypes.c_void_p]
    rules = library.seccomp_init(SCMP_ACT_ALLOW)
    if not rules:
        return False
    refuse = SCMP_ACT_ERRNO | errno.EPERM
    try:
        library.seccomp_attr_set(rules, SCMP_FLTATR_CTL_TSYNC, 1)
        for name in REFUSED:
            number = library.seccomp_syscall_resolve_name(name.encode())
            if number != NOT_A_SYSTEM_CALL:
                library.seccomp_rule_add_array(rules, refuse, number, 0, None)
        # `prlimit64` stays allowed for the process itself (argument 0), because limit_cpu calls it
        # for each video.
        other = ArgumentTest(0, SCMP_CMP_NE, 0, 0)
        limits = library.seccomp_syscall_resolve_name(b"prlimit64")
        library.seccomp_rule_add_array(rules, refuse, limits, 1, ctypes.byref(other))
        return bool(library.seccomp_load(rules) == 0)
    finally:
        library.seccomp_release(rules)
