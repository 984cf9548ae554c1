/* Lets User Mode Linux run on processors with AMX: preloaded, it stands before libc's ptrace().
 *
 * The kernel of Debian 12 keeps 2,696 bytes of a guest process's extended registers. Where the processor has
 * more (AMX adds 8 KiB), Linux on the host refuses to set fewer than all: PTRACE_SETREGSET fails with EFAULT and
 * the guest panics when its first process starts. So the rest is set too, as zeros: the header, which is within
 * the first bytes, says that these registers are in their initial state, for no program of the guest uses AMX.
 */

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define XSTATE 0x202
#define ROOM 65536

static char all[ROOM];

static long set_all(pid_t pid, const struct iovec *some)
{
    static size_t size;
    struct iovec whole = {all, ROOM};

    if (size == 0) {
        if (syscall(SYS_ptrace, PTRACE_GETREGSET, pid, XSTATE, &whole) < 0)
            return -1;
        size = whole.iov_len;
        memset(all, 0, ROOM);
    }
    whole.iov_len = size;
    memcpy(all, some->iov_base, some->iov_len < size ? some->iov_len : size);
    return syscall(SYS_ptrace, PTRACE_SETREGSET, pid, XSTATE, &whole);
}

long ptrace(enum __ptrace_request request, ...)
{
    va_list arguments;
    va_start(arguments, request);
    pid_t pid = va_arg(arguments, pid_t);
    void *address = va_arg(arguments, void *);
    void *data = va_arg(arguments, void *);
    va_end(arguments);

    if (request == PTRACE_SETREGSET && (long)address == XSTATE)
        return set_all(pid, data);
    if (request == PTRACE_PEEKTEXT || request == PTRACE_PEEKDATA || request == PTRACE_PEEKUSER) {
        /* The system call stores the word; libc's function returns it. */
        long word;
        if (syscall(SYS_ptrace, request, pid, address, &word) < 0)
            return -1;
        errno = 0;
        return word;
    }
    return syscall(SYS_ptrace, request, pid, address, data);
}
