/* A system that lets nobody pin a thread, as some containers do: preloaded, it answers as the kernel does there. */
#include <errno.h>
#include <pthread.h>
#include <sys/types.h>

int pthread_setaffinity_np(pthread_t thread, unsigned long size, const void *cores) {
    (void)thread, (void)size, (void)cores;
    return EPERM;
}

int sched_setaffinity(pid_t thread, unsigned long size, const void *cores) {
    (void)thread, (void)size, (void)cores;
    errno = EPERM;
    return -1;
}
