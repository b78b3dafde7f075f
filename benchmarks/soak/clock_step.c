/* Preloaded into a process, steps its time of day, and nothing else: by the seconds in the file that SOAK_CLOCK names.
 *
 * libfaketime 0.9.10 cannot be used for that: with the monotonic clock left alone, clock_nanosleep fails (EINVAL), and
 * with it time.sleep of Python. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *step;
static int (*real)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("SOAK_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    if (file >= 0) {
        void *at = mmap(0, sizeof *step, PROT_READ, MAP_SHARED, file, 0);
        step = at == MAP_FAILED ? 0 : at;
        close(file);
    }
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int wrong = real(clock, now);
    if (!wrong && step && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += *step;
    return wrong;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec exact;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &exact)) return -1;
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *into) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    if (into) *into = now.tv_sec;
    return now.tv_sec;
}
