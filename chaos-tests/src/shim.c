/* What a node of a chaos run is preloaded with: its wall clock can be moved and its syncs can be
 * made to fail or to wait while it runs. The switches are a page of a file that both sides map;
 * `switches.rs` names the same words in the same order.
 *
 * Only what goes through libc is caught, which is all that Rust's standard library and RocksDB do.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct switches {
    volatile int64_t clock_millis; /* added to the wall clock */
    volatile int64_t sync_errno;   /* what every sync fails with; 0: none */
    volatile int64_t sync_millis;  /* how long every sync waits before it begins */
    volatile int64_t moved_reads;  /* readings that were moved */
    volatile int64_t failed_syncs; /* syncs that were failed or held up */
};

static struct switches none, *switches = &none;
static int (*real_gettime)(clockid_t, struct timespec *);
static int (*real_fsync)(int), (*real_fdatasync)(int);

__attribute__((constructor)) static void open_switches(void) {
    real_gettime = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    real_fsync = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    const char *path = getenv("NARTHEX_CHAOS_SWITCHES");
    int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *page = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (page != MAP_FAILED) switches = page;
}

int clock_gettime(clockid_t id, struct timespec *time) {
    int result = real_gettime ? real_gettime(id, time) : (int)syscall(SYS_clock_gettime, id, time);
    int64_t millis = switches->clock_millis;
    if (result || !millis || (id != CLOCK_REALTIME && id != CLOCK_REALTIME_COARSE)) return result;
    int64_t nanos = time->tv_nsec + millis % 1000 * 1000000;
    time->tv_sec += millis / 1000 + (nanos < 0 ? -1 : nanos / 1000000000);
    time->tv_nsec = nanos < 0 ? nanos + 1000000000 : nanos % 1000000000;
    __atomic_fetch_add(&switches->moved_reads, 1, __ATOMIC_RELAXED);
    return 0;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void)zone;
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    now->tv_sec = time.tv_sec;
    now->tv_usec = time.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *to) {
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    if (to) *to = time.tv_sec;
    return time.tv_sec;
}

static int stopped(void) {
    int64_t millis = switches->sync_millis;
    int error = (int)switches->sync_errno;
    if (millis || error) __atomic_fetch_add(&switches->failed_syncs, 1, __ATOMIC_RELAXED);
    if (millis) usleep((useconds_t)millis * 1000);
    errno = error;
    return error;
}

int fsync(int file) { return stopped() ? -1 : real_fsync(file); }

int fdatasync(int file) { return stopped() ? -1 : real_fdatasync(file); }
