"""The numbers of system calls that a reader of files never needs, by machine, and which arguments of others it needs.

Numbers: include/uapi/asm-generic/unistd.h (aarch64) and arch/x86/entry/syscalls/syscall_64.tbl of the kernel.
"""

_EVERYWHERE = """
    pidfd_send_signal 424, io_uring_setup 425, io_uring_enter 426, io_uring_register 427, open_tree 428,
    move_mount 429, fsopen 430, fsconfig 431, fsmount 432, fspick 433, pidfd_open 434, clone3 435, openat2 437,
    pidfd_getfd 438, process_madvise 440, mount_setattr 442, quotactl_fd 443, landlock_create_ruleset 444,
    landlock_add_rule 445, landlock_restrict_self 446, memfd_secret 447, process_mrelease 448, fchmodat2 452,
    statmount 457, listmount 458, lsm_get_self_attr 459, lsm_set_self_attr 460, lsm_list_modules 461,
    setxattrat 463, getxattrat 464, listxattrat 465, removexattrat 466, open_tree_attr 467, file_getattr 468,
    file_setattr 469, listns 470
"""
_X86_64 = """
    clone 56, fork 57, vfork 58, execve 59, execveat 322, ptrace 101, process_vm_readv 310, process_vm_writev 311,
    kcmp 312, perf_event_open 298, bpf 321, userfaultfd 323, personality 135, modify_ldt 154, iopl 172, ioperm 173,
    tkill 200, rt_sigqueueinfo 129, rt_tgsigqueueinfo 297, setpgid 109, setsid 112,
    setpriority 141, sched_setparam 142, sched_setscheduler 144, sched_setaffinity 203, sched_setattr 314,
    ioprio_set 251, migrate_pages 256, move_pages 279, setrlimit 160,
    socket 41, connect 42, accept 43, sendto 44, recvfrom 45, sendmsg 46, recvmsg 47, bind 49, listen 50,
    socketpair 53, accept4 288, recvmmsg 299, sendmmsg 307,
    shmget 29, shmat 30, shmctl 31, semget 64, semop 65, semctl 66, shmdt 67, msgget 68, msgsnd 69, msgrcv 70,
    msgctl 71, semtimedop 220, mq_open 240, mq_unlink 241, mq_timedsend 242, mq_timedreceive 243, mq_notify 244,
    mq_getsetattr 245, memfd_create 319, io_setup 206, io_submit 209,
    creat 85, truncate 76, mknod 133, mknodat 259, chmod 90, fchmod 91, fchmodat 268, chown 92, fchown 93,
    lchown 94, fchownat 260, utime 132, utimes 235, futimesat 261, utimensat 280, flock 73,
    setxattr 188, lsetxattr 189, fsetxattr 190, getxattr 191, lgetxattr 192, fgetxattr 193, listxattr 194,
    llistxattr 195, flistxattr 196, removexattr 197, lremovexattr 198, fremovexattr 199,
    inotify_init 253, inotify_add_watch 254, inotify_init1 294, fanotify_init 300, fanotify_mark 301,
    name_to_handle_at 303, open_by_handle_at 304, quotactl 179, sync 162, syncfs 306,
    mount 165, umount2 166, pivot_root 155, chroot 161, setns 308, unshare 272, swapon 167, swapoff 168, acct 163,
    reboot 169, init_module 175, finit_module 313, delete_module 176, kexec_load 246, kexec_file_load 320,
    add_key 248, request_key 249, keyctl 250, settimeofday 164, clock_settime 227, adjtimex 159, clock_adjtime 305,
    sethostname 170, setdomainname 171, syslog 103, vhangup 153, uselib 134, setuid 105, setgid 106, setreuid 113,
    setregid 114, setgroups 116, setresuid 117, setresgid 119, capset 126, seccomp 317
"""
_AARCH64 = """
    clone 220, execve 221, execveat 281, ptrace 117, process_vm_readv 270, process_vm_writev 271, kcmp 272,
    perf_event_open 241, bpf 280, userfaultfd 282, personality 92,
    tkill 130, rt_sigqueueinfo 138, rt_tgsigqueueinfo 240, setpgid 154, setsid 157,
    setpriority 140, sched_setparam 118, sched_setscheduler 119, sched_setaffinity 122, sched_setattr 274,
    ioprio_set 30, migrate_pages 238, move_pages 239, setrlimit 164,
    socket 198, socketpair 199, bind 200, listen 201, accept 202, connect 203, sendto 206, recvfrom 207,
    sendmsg 211, recvmsg 212, accept4 242, recvmmsg 243, sendmmsg 269,
    mq_open 180, mq_unlink 181, mq_timedsend 182, mq_timedreceive 183, mq_notify 184, mq_getsetattr 185,
    msgget 186, msgctl 187, msgrcv 188, msgsnd 189, semget 190, semctl 191, semtimedop 192, semop 193, shmget 194,
    shmctl 195, shmat 196, shmdt 197, memfd_create 279, io_setup 0, io_submit 2,
    truncate 45, mknodat 33, fchmod 52, fchmodat 53, fchownat 54, fchown 55, utimensat 88, flock 32,
    setxattr 5, lsetxattr 6, fsetxattr 7, getxattr 8, lgetxattr 9, fgetxattr 10, listxattr 11, llistxattr 12,
    flistxattr 13, removexattr 14, lremovexattr 15, fremovexattr 16,
    inotify_init1 26, inotify_add_watch 27, fanotify_init 262, fanotify_mark 263,
    name_to_handle_at 264, open_by_handle_at 265, quotactl 60, sync 81, syncfs 267,
    mount 40, umount2 39, pivot_root 41, chroot 51, setns 268, unshare 97, swapon 224, swapoff 225, acct 89,
    reboot 142, init_module 105, finit_module 273, delete_module 106, kexec_load 104, kexec_file_load 294,
    add_key 217, request_key 218, keyctl 219, settimeofday 170, clock_settime 112, adjtimex 171, clock_adjtime 266,
    sethostname 161, setdomainname 162, syslog 116, vhangup 58, setuid 146, setgid 144, setreuid 145, setregid 143,
    setgroups 159, setresuid 147, setresgid 149, capset 91, seccomp 277
"""
_JUDGED_X86_64 = """
    kill 62, tgkill 234, prlimit64 302, prctl 157, fcntl 72, ioctl 16, mmap 9, mprotect 10, pkey_mprotect 329,
    open 2, openat 257
"""
_JUDGED_AARCH64 = """
    kill 129, tgkill 131, prlimit64 261, prctl 167, fcntl 25, ioctl 29, mmap 222, mprotect 226, pkey_mprotect 288,
    openat 56
"""


def _numbers(*tables: str) -> dict[str, int]:
    pairs = (entry.split() for table in tables for entry in table.split(","))
    return {name: int(number) for name, number in pairs}


REFUSED = {"x86_64": _numbers(_EVERYWHERE, _X86_64), "aarch64": _numbers(_EVERYWHERE, _AARCH64)}
"""Numbers of the calls that are refused whatever their arguments, by machine."""

JUDGED = {"x86_64": _numbers(_JUDGED_X86_64), "aarch64": _numbers(_JUDGED_AARCH64)}
"""Numbers of the calls whose arguments decide, by machine."""

WRITE_AND_EXECUTE, EXECUTE = 2 | 4, 4
"""PROT_WRITE and PROT_EXEC."""

CREATES = 0o100 | 0o1000 | 0o20000000
"""O_CREAT, O_TRUNC and the bit of O_TMPFILE that is its own."""

PRCTL_REFUSED = (1, 4, 22, 24, 26, 28, 35, 36, 62, 0x59616D61)
"""PDEATHSIG, DUMPABLE, SECCOMP, CAPBSET_DROP, TSC, SECUREBITS, MM, CHILD_SUBREAPER, SCHED_CORE, PTRACER."""

FCNTL_REFUSED = (6, 7, 8, 10, 15, 37, 38, 1024, 1026)
"""SETLK, SETLKW, SETOWN, SETSIG, SETOWN_EX, OFD_SETLK, OFD_SETLKW, SETLEASE, NOTIFY."""

IOCTL_ALLOWED = (0x5401, 0x5413, 0x541B, 0x5450, 0x5451)
"""TCGETS and TIOCGWINSZ (is it a terminal?), FIONREAD, FIONCLEX, FIOCLEX."""
