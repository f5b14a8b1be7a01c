/* Records what the processes of a service do to the files below a folder, in one order over all of them.
 *
 * Loaded with LD_PRELOAD. POWER_ROOT is the folder, POWER_TRACE a file that all processes map: a header with a lock, then
 * the events. An operation and its event are one under that lock. A sync is only recorded, which saves time.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { CREATE = 1, MKDIR, WRITE, TRUNCATE, FSYNC, FDATASYNC, RENAME, UNLINK, ANSWER, MARK, UNSUPPORTED };

struct header {
    uint64_t end;
    pthread_mutex_t lock;
};
struct event {
    uint32_t operation, pid;
    uint64_t inode;
    int64_t offset;
    uint32_t path_bytes, data_bytes;
};
#define FIRST 4096

static struct header *trace;
static uint64_t trace_bytes;
static char root[PATH_MAX];
static size_t root_length;

#define REAL(result, name, ...)                                                                                        \
    static result (*real_)(__VA_ARGS__);                                                                               \
    if (!real_) *(void **)&real_ = dlsym(RTLD_NEXT, #name)

static void map_trace(const char *path) {
    int file = open(path, O_RDWR | O_CLOEXEC);
    struct stat status;
    if (file < 0 || fstat(file, &status)) abort();
    trace_bytes = (uint64_t)status.st_size;
    trace = mmap(NULL, trace_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (trace == MAP_FAILED) abort();
    close(file);
}

__attribute__((constructor)) static void begin(void) {
    const char *folder = getenv("POWER_ROOT"), *path = getenv("POWER_TRACE");
    if (!folder || !path) return;
    root_length = strlen(strcpy(root, folder));
    map_trace(path);
}

/* For the program that starts the services. */
void power_create(const char *path) {
    map_trace(path);
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&trace->lock, &attributes);
    trace->end = FIRST;
}

static void lock(void) {
    if (pthread_mutex_lock(&trace->lock) == EOWNERDEAD) pthread_mutex_consistent(&trace->lock);
}
static void unlock(void) {
    int kept = errno;
    pthread_mutex_unlock(&trace->lock);
    errno = kept;
}

static void record(uint32_t operation, uint64_t inode, int64_t offset, const char *path, const void *data, size_t bytes) {
    size_t path_bytes = path ? strlen(path) : 0;
    struct event event = {operation, (uint32_t)getpid(), inode, offset, (uint32_t)path_bytes, (uint32_t)bytes};
    if (trace->end + sizeof event + path_bytes + bytes > trace_bytes) abort();
    char *at = (char *)trace + trace->end;
    memcpy(at, &event, sizeof event);
    if (path_bytes) memcpy(at + sizeof event, path, path_bytes);
    if (bytes) memcpy(at + sizeof event + path_bytes, data, bytes);
    trace->end += sizeof event + path_bytes + bytes;
}

void power_mark(const char *text) {
    lock();
    record(MARK, 0, 0, text, NULL, 0);
    unlock();
}

static int below_root(const char *path) {
    return !strncmp(path, root, root_length) && (path[root_length] == '/' || !path[root_length]);
}
static int is_index(const char *path) {
    size_t length = strlen(path);
    return length > 4 && !strcmp(path + length - 4, "-shm");
}

/* The absolute path, if it is below the folder and no WAL-index, which SQLite makes anew. */
static int tracked(int folder, const char *path, char *absolute) {
    if (!trace || !path) return 0;
    if (path[0] == '/' || (folder != AT_FDCWD && !path[0])) {
        snprintf(absolute, PATH_MAX, "%s", path);
    } else {
        char base[PATH_MAX] = "", link[64];
        if (folder == AT_FDCWD) {
            if (!getcwd(base, sizeof base)) return 0;
        } else {
            snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
            ssize_t length = readlink(link, base, sizeof base - 1);
            if (length < 0) return 0;
            base[length] = 0;
        }
        if (strlen(base) + strlen(path) + 2 > PATH_MAX) return 0;
        strcat(strcat(strcpy(absolute, base), "/"), path);
    }
    return below_root(absolute) && !is_index(absolute);
}
static int tracked_file(int file, char *path) {
    char link[64];
    if (!trace) return 0;
    int kept = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    errno = kept;
    if (length < 0) return 0;
    path[length] = 0;
    return below_root(path) && !is_index(path) && !strstr(path, "-shm (deleted)");
}
static uint64_t inode_of(int file) {
    struct stat status;
    return fstat(file, &status) ? 0 : status.st_ino;
}

static int opened(int (*open_)(int, const char *, int, ...), int folder, const char *path, int flags, mode_t mode) {
    char absolute[PATH_MAX];
    struct stat status;
    if (!(flags & (O_CREAT | O_TRUNC)) || !tracked(folder, path, absolute)) return open_(folder, path, flags, mode);
    lock();
    int existed = !stat(absolute, &status);
    int file = open_(folder, path, flags, mode);
    if (file >= 0) {
        if (!existed) record(CREATE, inode_of(file), 0, absolute, NULL, 0);
        else if (flags & O_TRUNC && S_ISREG(status.st_mode)) record(TRUNCATE, status.st_ino, 0, absolute, NULL, 0);
    }
    unlock();
    return file;
}

static mode_t mode_of(int flags, va_list more) {
    return flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(more, mode_t) : 0;
}
#define OPENAT(name)                                                                                                   \
    int name(int folder, const char *path, int flags, ...) {                                                           \
        REAL(int, openat64, int, const char *, int, ...);                                                              \
        va_list more;                                                                                                  \
        va_start(more, flags);                                                                                         \
        mode_t mode = mode_of(flags, more);                                                                            \
        va_end(more);                                                                                                  \
        return opened(real_, folder, path, flags, mode);                                                               \
    }
#define OPEN(name)                                                                                                     \
    int name(const char *path, int flags, ...) {                                                                       \
        REAL(int, openat64, int, const char *, int, ...);                                                              \
        va_list more;                                                                                                  \
        va_start(more, flags);                                                                                         \
        mode_t mode = mode_of(flags, more);                                                                            \
        va_end(more);                                                                                                  \
        return opened(real_, AT_FDCWD, path, flags, mode);                                                             \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

ssize_t write(int file, const void *data, size_t bytes) {
    REAL(ssize_t, write, int, const void *, size_t);
    char path[PATH_MAX];
    if (!tracked_file(file, path)) return real_(file, data, bytes);
    lock();
    struct stat status;
    off_t offset = lseek(file, 0, SEEK_CUR);
    if (fcntl(file, F_GETFL) & O_APPEND && !fstat(file, &status)) offset = status.st_size;
    ssize_t written = real_(file, data, bytes);
    if (written > 0) record(WRITE, inode_of(file), offset, path, data, (size_t)written);
    unlock();
    return written;
}
#define PWRITE(name)                                                                                                   \
    ssize_t name(int file, const void *data, size_t bytes, off_t offset) {                                             \
        REAL(ssize_t, pwrite64, int, const void *, size_t, off_t);                                                     \
        char path[PATH_MAX];                                                                                           \
        if (!tracked_file(file, path)) return real_(file, data, bytes, offset);                                        \
        lock();                                                                                                        \
        ssize_t written = real_(file, data, bytes, offset);                                                            \
        if (written > 0) record(WRITE, inode_of(file), offset, path, data, (size_t)written);                           \
        unlock();                                                                                                      \
        return written;                                                                                                \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

#define FTRUNCATE(name)                                                                                                \
    int name(int file, off_t length) {                                                                                 \
        REAL(int, ftruncate64, int, off_t);                                                                            \
        char path[PATH_MAX];                                                                                           \
        if (!tracked_file(file, path)) return real_(file, length);                                                     \
        lock();                                                                                                        \
        int result = real_(file, length);                                                                              \
        if (!result) record(TRUNCATE, inode_of(file), length, path, NULL, 0);                                          \
        unlock();                                                                                                      \
        return result;                                                                                                 \
    }
FTRUNCATE(ftruncate)
FTRUNCATE(ftruncate64)

#define SYNC(name, operation)                                                                                          \
    int name(int file) {                                                                                               \
        REAL(int, name, int);                                                                                          \
        char path[PATH_MAX];                                                                                           \
        if (!tracked_file(file, path)) return real_(file);                                                             \
        lock();                                                                                                        \
        record(operation, inode_of(file), 0, path, NULL, 0);                                                           \
        unlock();                                                                                                      \
        return 0;                                                                                                      \
    }
SYNC(fsync, FSYNC)
SYNC(fdatasync, FDATASYNC)

static int renamed(int from_folder, const char *from, int to_folder, const char *to) {
    REAL(int, renameat, int, const char *, int, const char *);
    char before[PATH_MAX], after[PATH_MAX];
    int leaves = tracked(from_folder, from, before), arrives = tracked(to_folder, to, after);
    if (!leaves && !arrives) return real_(from_folder, from, to_folder, to);
    lock();
    int result = real_(from_folder, from, to_folder, to);
    if (!result) record(leaves && arrives ? RENAME : UNSUPPORTED, 0, 0, before, after, strlen(after));
    unlock();
    return result;
}
int rename(const char *from, const char *to) { return renamed(AT_FDCWD, from, AT_FDCWD, to); }
int renameat(int from_folder, const char *from, int to_folder, const char *to) {
    return renamed(from_folder, from, to_folder, to);
}

static int unlinked(int folder, const char *path, int flags) {
    REAL(int, unlinkat, int, const char *, int);
    char absolute[PATH_MAX];
    if (!tracked(folder, path, absolute)) return real_(folder, path, flags);
    lock();
    int result = real_(folder, path, flags);
    if (!result) record(UNLINK, 0, 0, absolute, NULL, 0);
    unlock();
    return result;
}
int unlink(const char *path) { return unlinked(AT_FDCWD, path, 0); }
int unlinkat(int folder, const char *path, int flags) { return unlinked(folder, path, flags); }
int rmdir(const char *path) { return unlinked(AT_FDCWD, path, AT_REMOVEDIR); }

static int made(int folder, const char *path, mode_t mode) {
    REAL(int, mkdirat, int, const char *, mode_t);
    char absolute[PATH_MAX];
    struct stat status;
    if (!tracked(folder, path, absolute)) return real_(folder, path, mode);
    lock();
    int result = real_(folder, path, mode);
    if (!result && !stat(absolute, &status)) record(MKDIR, status.st_ino, 0, absolute, NULL, 0);
    unlock();
    return result;
}
int mkdir(const char *path, mode_t mode) { return made(AT_FDCWD, path, mode); }
int mkdirat(int folder, const char *path, mode_t mode) { return made(folder, path, mode); }

/* An answer goes out: it is known by the number in its X-Request-ID. */
ssize_t send(int socket, const void *data, size_t bytes, int flags) {
    REAL(ssize_t, send, int, const void *, size_t, int);
    static const char name[] = "X-Request-ID: ";
    const char *found = trace ? memmem(data, bytes, name, sizeof name - 1) : NULL;
    if (found) {
        char id[64] = "";
        sscanf(found + sizeof name - 1, "%63[^\r\n]", id);
        lock();
        record(ANSWER, 0, 0, id, NULL, 0);
        unlock();
    }
    return real_(socket, data, bytes, flags);
}

/* What is not recorded is noticed. */
#define NOTICED(result, name, file, parameters, ...)                                                                   \
    result name parameters {                                                                                           \
        static result(*real_) parameters;                                                                              \
        if (!real_) *(void **)&real_ = dlsym(RTLD_NEXT, #name);                                                        \
        char path[PATH_MAX];                                                                                           \
        if (tracked_file(file, path)) {                                                                                \
            lock();                                                                                                    \
            record(UNSUPPORTED, 0, 0, path, #name, strlen(#name));                                                     \
            unlock();                                                                                                  \
        }                                                                                                              \
        return real_(__VA_ARGS__);                                                                                     \
    }
NOTICED(ssize_t, writev, file, (int file, const struct iovec *parts, int count), file, parts, count)
NOTICED(ssize_t, pwritev, file, (int file, const struct iovec *parts, int count, off_t at), file, parts, count, at)
NOTICED(ssize_t, sendfile, to, (int to, int from, off_t *at, size_t bytes), to, from, at, bytes)
NOTICED(ssize_t, sendfile64, to, (int to, int from, off_t *at, size_t bytes), to, from, at, bytes)
NOTICED(ssize_t, copy_file_range, to, (int from, off64_t *at, int to, off64_t *where, size_t bytes, unsigned flags), from, at, to, where, bytes, flags)
NOTICED(int, posix_fallocate, file, (int file, off_t at, off_t bytes), file, at, bytes)
NOTICED(int, posix_fallocate64, file, (int file, off_t at, off_t bytes), file, at, bytes)
NOTICED(int, fallocate64, file, (int file, int mode, off_t at, off_t bytes), file, mode, at, bytes)
NOTICED(int, sync_file_range, file, (int file, off_t at, off_t bytes, unsigned flags), file, at, bytes, flags)
