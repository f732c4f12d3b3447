/* How many metadata operations a directory serves, measured by clients that cost next to nothing themselves.
 *
 *   metadata DIRECTORY BACKING CLIENTS FILES SECONDS
 *
 * DIRECTORY lies in the mount, BACKING is the same directory as the backing filesystem has it (the same path, when the
 * backing directory itself is measured). Each of CLIENTS processes owns a subdirectory; they go through the phases
 * together, FILES operations each, and begin again until SECONDS have passed. One line a phase on stdout:
 *
 *   PHASE OPERATIONS NANOSECONDS
 *
 * NANOSECONDS is the time from the first client's start of a phase to the last one's end, summed over the repetitions.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LISTED 1000 /* entries of the directory that is listed */

enum phase { CREATE, OPEN, STAT, GETATTR, LOOKUP, MISSING, RENAME, UNLINK, MKDIR, RMDIR, LIST, LIST_STAT, PHASES };

static const char *const names[PHASES] = {"create", "open",  "stat",  "getattr", "lookup", "missing",
					  "rename", "unlink", "mkdir", "rmdir",   "list",   "list_stat"};

struct shared {
	pthread_barrier_t barrier;
	volatile int going;
	long long start[64], end[64];
	long long ns[PHASES], operations[PHASES];
};

static long long now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int repetition; /* part of the names, so that no cache knows them from the one before */

static void path(char *out, const char *directory, int client, const char *prefix, int number)
{
	snprintf(out, PATH_MAX, "%s/c%d/%s%d-%d", directory, client, prefix, repetition, number);
}

static void touch(const char *name)
{
	int fd = open(name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
	if (fd < 0)
		err(1, "create %s", name);
	close(fd);
}

static int list(const char *name, int with_stat)
{
	struct dirent *entry;
	struct stat st;
	int count = 0;
	DIR *dir = opendir(name);
	if (!dir)
		err(1, "opendir %s", name);
	while ((entry = readdir(dir))) {
		count++;
		if (with_stat && fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW))
			err(1, "fstatat %s", entry->d_name);
	}
	closedir(dir);
	if (count != LISTED + 2 && count != LISTED)
		errx(1, "%s lists %d entries", name, count);
	return count;
}

/* What must be there before a phase and is not measured: names that the kernel has not seen through the mount. */
static void prepare(enum phase phase, const char *backing, int client, int files)
{
	char a[PATH_MAX];
	for (int i = 0; phase == LOOKUP && i < files; i++) {
		path(a, backing, client, "cold", i);
		touch(a);
	}
	if (phase == LOOKUP)
		usleep(150000); /* who watches the backing directory has heard of them: that is no part of a lookup */
}

/* Through the mount, or the server would remember them for ever. */
static void tidy(enum phase phase, const char *directory, int client, int files)
{
	char a[PATH_MAX];
	for (int i = 0; phase == LOOKUP && i < files; i++) {
		path(a, directory, client, "cold", i);
		unlink(a);
	}
}

static int run(enum phase phase, const char *directory, int client, int files)
{
	char a[PATH_MAX], b[PATH_MAX];
	struct stat st;
	struct statx stx;
	int fd, listings = files / 100 ? files / 100 : 1;

	if (phase == LIST || phase == LIST_STAT) {
		snprintf(a, sizeof a, "%s/listed", directory);
		for (int i = 0; i < listings; i++)
			list(a, phase == LIST_STAT);
		return listings;
	}
	for (int i = 0; i < files; i++) {
		path(a, directory, client, phase == LOOKUP ? "cold" : phase == MISSING ? "none" : "file", i);
		switch (phase) {
		case CREATE:
			touch(a);
			break;
		case OPEN:
			if ((fd = open(a, O_RDONLY | O_CLOEXEC)) < 0)
				err(1, "open %s", a);
			close(fd);
			break;
		case STAT:
		case LOOKUP:
			if (lstat(a, &st))
				err(1, "lstat %s", a);
			break;
		case GETATTR:
			if (statx(AT_FDCWD, a, AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, &stx))
				err(1, "statx %s", a);
			break;
		case MISSING:
			if (!lstat(a, &st) || errno != ENOENT)
				err(1, "lstat of a missing %s", a);
			break;
		case RENAME:
			path(b, directory, client, "renamed", i);
			if (rename(a, b))
				err(1, "rename %s", a);
			break;
		case UNLINK:
			path(b, directory, client, "renamed", i);
			if (unlink(b))
				err(1, "unlink %s", b);
			break;
		case MKDIR:
			if (mkdir(a, 0755))
				err(1, "mkdir %s", a);
			break;
		case RMDIR:
			if (rmdir(a))
				err(1, "rmdir %s", a);
			break;
		default:
			break;
		}
	}
	return files;
}

static void client(struct shared *shared, const char *directory, const char *backing, int me, int clients, int files,
		   long long until)
{
	for (; shared->going; repetition++) {
		for (int phase = 0; phase < PHASES; phase++) {
			prepare(phase, backing, me, files);
			pthread_barrier_wait(&shared->barrier);
			shared->start[me] = now();
			int done = run(phase, directory, me, files);
			shared->end[me] = now();
			pthread_barrier_wait(&shared->barrier);
			if (me == 0) {
				long long first = shared->start[0], last = shared->end[0];
				for (int i = 1; i < clients; i++) {
					first = shared->start[i] < first ? shared->start[i] : first;
					last = shared->end[i] > last ? shared->end[i] : last;
				}
				shared->ns[phase] += last - first;
				shared->operations[phase] += (long long)done * clients;
			}
			tidy(phase, directory, me, files);
		}
		if (me == 0)
			shared->going = now() < until;
		pthread_barrier_wait(&shared->barrier); /* all read the same answer */
	}
}

int main(int argc, char **argv)
{
	if (argc != 6)
		errx(2, "usage: metadata DIRECTORY BACKING CLIENTS FILES SECONDS");
	const char *directory = argv[1], *backing = argv[2];
	int clients = atoi(argv[3]), files = atoi(argv[4]), status, failed = 0;
	long long until = now() + (long long)(atof(argv[5]) * 1e9);
	char a[PATH_MAX];

	if (clients < 1 || clients > 64 || files < 1)
		errx(2, "1 to 64 clients, at least 1 file");
	struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		err(1, "mmap");
	pthread_barrierattr_t attr;
	pthread_barrierattr_init(&attr);
	pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(&shared->barrier, &attr, clients);
	shared->going = 1;

	snprintf(a, sizeof a, "%s/listed", directory);
	if (mkdir(a, 0755) && errno != EEXIST)
		err(1, "mkdir %s", a);
	for (int i = 0; i < LISTED; i++) {
		snprintf(a, sizeof a, "%s/listed/entry%d", directory, i);
		int fd = open(a, O_CREAT | O_WRONLY, 0644);
		if (fd < 0)
			err(1, "create %s", a);
		close(fd);
	}
	for (int i = 0; i < clients; i++) {
		snprintf(a, sizeof a, "%s/c%d", directory, i);
		if (mkdir(a, 0755) && errno != EEXIST)
			err(1, "mkdir %s", a);
	}
	setpgid(0, 0);
	for (int i = 0; i < clients; i++) {
		pid_t pid = fork();
		if (pid < 0)
			err(1, "fork");
		if (pid)
			continue;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		client(shared, directory, backing, i, clients, files, until);
		_exit(0);
	}
	for (int i = 0; i < clients && !failed; i++)
		failed = wait(&status) < 0 || status;
	if (failed) { /* the others wait at a barrier for one that is gone */
		signal(SIGTERM, SIG_IGN);
		kill(0, SIGTERM);
		return 1;
	}
	for (int phase = 0; phase < PHASES; phase++)
		printf("%s %lld %lld\n", names[phase], shared->operations[phase], shared->ns[phase]);
	return 0;
}
