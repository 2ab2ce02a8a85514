/* Runs a program and has one of its system calls fail: the N-th that has to do with a folder.
 *
 *   failing FOLDER N ERRNO REPORT PROGRAM [ARGUMENT…]
 *
 * REPORT gets a line with the call that failed; it stays empty where there were fewer. Exits as the
 * program does, with 128 and the signal's number where a signal has ended it, and with 77 where
 * nothing can be traced here. By ptrace and not by LD_PRELOAD: some calls go past the C library. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define CANNOT 77

#ifndef __x86_64__
int main(void) { return CANNOT; }
#else

enum kind { PATH, PATH_AT, DESCRIPTOR, MAPPING, ALWAYS };

static const struct call {
    long number;
    const char *name;
    enum kind kind;
} calls[] = {
    {SYS_open, "open", PATH},
    {SYS_openat, "openat", PATH_AT},
    {SYS_mkdir, "mkdir", PATH},
    {SYS_rename, "rename", PATH},
    {SYS_unlink, "unlink", PATH},
    {SYS_rmdir, "rmdir", PATH},
    {SYS_unlinkat, "unlinkat", PATH_AT},
    {SYS_renameat, "renameat", PATH_AT},
    {SYS_renameat2, "renameat2", PATH_AT},
    {SYS_write, "write", DESCRIPTOR},
    {SYS_pwrite64, "pwrite64", DESCRIPTOR},
    {SYS_read, "read", DESCRIPTOR},
    {SYS_getdents64, "getdents64", DESCRIPTOR},
    {SYS_fallocate, "fallocate", DESCRIPTOR},
    {SYS_ftruncate, "ftruncate", DESCRIPTOR},
    {SYS_fsync, "fsync", DESCRIPTOR},
    {SYS_fdatasync, "fdatasync", DESCRIPTOR},
    {SYS_flock, "flock", DESCRIPTOR},
    {SYS_copy_file_range, "copy_file_range", DESCRIPTOR},
    {SYS_mmap, "mmap", MAPPING},
    {SYS_msync, "msync", ALWAYS},
};
#define CALLS (sizeof calls / sizeof *calls)

static const char *folder;

static int trace_me(char **program) {
    struct sock_filter filter[CALLS + 4];
    size_t at = 0;
    filter[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (size_t call = 0; call < CALLS; call++)
        filter[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[call].number, CALLS - call, 0);
    filter[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    filter[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE);
    struct sock_fprog all = {.len = at, .filter = filter};
    if (ptrace(PTRACE_TRACEME, 0, 0, 0) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return CANNOT;
    raise(SIGSTOP);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &all) != 0)
        return CANNOT;
    execv(program[0], program);
    return CANNOT;
}

/* The path that an address of the traced thread holds. */
static void read_path(pid_t thread, unsigned long address, char *path) {
    size_t known = 0;
    while (known < PATH_MAX - 1) {
        size_t page = 4096 - (address + known) % 4096;
        if (page > PATH_MAX - 1 - known)
            page = PATH_MAX - 1 - known;
        struct iovec here = {path + known, page}, there = {(void *)(address + known), page};
        ssize_t got = process_vm_readv(thread, &here, 1, &there, 1, 0);
        if (got <= 0)
            break;
        known += got;
        if (memchr(path, 0, known))
            return;
    }
    path[known] = 0;
}

static void read_descriptor(pid_t thread, long descriptor, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/%d/fd/%ld", thread, descriptor);
    ssize_t len = readlink(link, path, PATH_MAX - 1);
    path[len < 0 ? 0 : len] = 0;
}

/* Whether the call has to do with the folder. */
static int concerns(pid_t thread, const struct call *call, const struct user_regs_struct *regs, char *path) {
    path[0] = 0;
    switch (call->kind) {
    case PATH: read_path(thread, regs->rdi, path); break;
    case PATH_AT:
        read_path(thread, regs->rsi, path);
        if (path[0] != '/') {
            char below[PATH_MAX], name[PATH_MAX];
            strcpy(name, path);
            read_descriptor(thread, (int)regs->rdi, below);
            snprintf(path, PATH_MAX, "%.2000s/%.2000s", below, name);
        }
        break;
    case DESCRIPTOR: read_descriptor(thread, (int)regs->rdi, path); break;
    case MAPPING:
        if ((int)regs->r8 < 0)
            return 0;
        read_descriptor(thread, (int)regs->r8, path);
        break;
    case ALWAYS: return 1;
    }
    return strncmp(path, folder, strlen(folder)) == 0;
}

int main(int count, char **arguments) {
    if (count < 6)
        return CANNOT;
    folder = arguments[1];
    long left = atol(arguments[2]);
    int error = atoi(arguments[3]);
    pid_t child = fork();
    if (child == 0)
        _exit(trace_me(arguments + 5));
    int status;
    if (waitpid(child, &status, 0) != child || !WIFSTOPPED(status))
        return CANNOT;
    long options = PTRACE_O_TRACESECCOMP | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL;
    if (ptrace(PTRACE_SETOPTIONS, child, 0, options) != 0)
        return CANNOT;
    ptrace(PTRACE_CONT, child, 0, 0);
    int result = CANNOT;
    for (;;) {
        pid_t thread = waitpid(-1, &status, __WALL);
        if (thread < 0)
            return result;
        if (!WIFSTOPPED(status)) {
            if (thread == child)
                result = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
            continue;
        }
        int deliver = 0;
        if (status >> 8 == (SIGTRAP | PTRACE_EVENT_SECCOMP << 8)) {
            struct user_regs_struct regs;
            char path[PATH_MAX];
            ptrace(PTRACE_GETREGS, thread, 0, &regs);
            for (size_t at = 0; at < CALLS; at++) {
                if (calls[at].number != (long)regs.orig_rax || !concerns(thread, &calls[at], &regs, path))
                    continue;
                if (--left != 0)
                    break;
                FILE *report = fopen(arguments[4], "a");
                if (report) {
                    fprintf(report, "%s %s\n", calls[at].name, path);
                    fclose(report);
                }
                regs.orig_rax = -1;
                regs.rax = -error;
                ptrace(PTRACE_SETREGS, thread, 0, &regs);
                break;
            }
        } else if (status >> 16 == 0 && WSTOPSIG(status) != SIGSTOP && WSTOPSIG(status) != SIGTRAP) {
            deliver = WSTOPSIG(status);
        }
        ptrace(PTRACE_CONT, thread, 0, deliver);
    }
}
#endif
