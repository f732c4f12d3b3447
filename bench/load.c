/* A steady load on a mount, made by a program that costs next to nothing itself.
 *
 *   load DIRECTORY RATE COUNT
 *
 * A file in DIRECTORY is opened, written four times over and closed, RATE times a second, each time at its due moment;
 * what could not be done in time is made up for. Ends after COUNT times, with 0 it goes on until it is killed.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static void once(const char *path)
{
	static const char data[1024];
	int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
	if (fd < 0)
		err(1, "%s", path);
	for (int i = 0; i < 4; i++)
		if (pwrite(fd, data, sizeof data, i * sizeof data) != sizeof data)
			err(1, "%s", path);
	if (close(fd))
		err(1, "%s", path);
}

int main(int argc, char **argv)
{
	if (argc != 4)
		errx(2, "usage: load DIRECTORY RATE COUNT");
	char path[PATH_MAX];
	long long period = 1e9 / atof(argv[2]), count = atoll(argv[3]), due;
	struct timespec at;
	clock_gettime(CLOCK_MONOTONIC, &at);
	due = at.tv_sec * 1000000000LL + at.tv_nsec;
	for (long long number = 0; !count || number < count; number++, due += period) {
		at.tv_sec = due / 1000000000, at.tv_nsec = due % 1000000000;
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
		snprintf(path, sizeof path, "%s/%lld", argv[1], number % 100);
		once(path);
	}
	return 0;
}
