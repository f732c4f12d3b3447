/* Reads and writes of traced files: done here and told to Python before the reply, which makes the event.
 *
 * Left to Python is whatever may take long (what is not in the page cache, writes to a device that was slow), whatever
 * fails, and what has to be judged or followed by more than an event.
 */
#include "_change.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#define MOST (1 << 20) /* bytes of one request */
#define ALIGNED 4095   /* an O_DIRECT request that any filesystem would take */
#define SLOW_NS 20000000LL
#define REMEMBER_NS 5000000000LL /* for which a slow call leaves the next ones to Python, and its threads */
#define WRITE_SPECIAL 5          /* FUSE_WRITE_CACHE, FUSE_WRITE_KILL_SUIDGID */

/* What was done on a file handle: reading or writing, by whom, where. NULL while Python does all by itself. */
EXPORT void (*vex_told)(uint64_t fh, int written, uint32_t pid, uint32_t uid, uint32_t gid, int64_t offset, uint64_t length);
EXPORT int vex_judged; /* guards have to be asked before anything is written */

static int ours(uint64_t fh, uint32_t flags, uint64_t offset, uint32_t size)
{
	return vex_told && fh < vex_interruptible && size <= MOST && (!(flags & O_DIRECT) || !((offset | size) & ALIGNED));
}

static int64_t slow_until; /* the device of some file was slow a moment ago */

/* What has taken since `start` is over: whether it was slow decides who does the next ones. */
static void timed(int64_t start)
{
	int64_t end = vex_now();

	if (end - start > SLOW_NS)
		slow_until = end + REMEMBER_NS;
}

/* From the page cache; from filesystems that do not tell it from the disk (tmpfs, network filesystems) unless slow. */
static ssize_t read_at_once(int fd, char *to, size_t size, off_t offset)
{
	struct iovec part = {to, size};
	ssize_t got = preadv2(fd, &part, 1, offset, RWF_NOWAIT);
	int64_t start;

	if (got >= 0 || errno != EOPNOTSUPP || (start = vex_now()) < slow_until)
		return got;
	got = pread(fd, to, size, offset);
	timed(start);
	return got;
}

int vex_read(const struct fuse_in_header *in, const struct fuse_read_in *arg)
{
	static char buffer[MOST];
	struct stat st;
	ssize_t got;

	if (!ours(arg->fh, arg->flags, arg->offset, arg->size))
		return 0;
	got = read_at_once((int)arg->fh, buffer, arg->size, (off_t)arg->offset);
	if (got < 0 || (got < (ssize_t)arg->size &&
			(fstat((int)arg->fh, &st) || (int64_t)arg->offset + got < (int64_t)st.st_size)))
		return 0;
	vex_settle(in->nodeid);
	vex_told(arg->fh, 0, in->pid, in->uid, in->gid, (int64_t)arg->offset, (uint64_t)got);
	vex_reply(in, 0, buffer, (size_t)got);
	return 1;
}

int vex_write(const struct fuse_in_header *in, const struct fuse_write_in *arg)
{
	struct fuse_write_out out = {0};
	int64_t start;
	ssize_t count;

	if (!ours(arg->fh, arg->flags, arg->offset, arg->size) || vex_judged || arg->write_flags & WRITE_SPECIAL)
		return 0;
	start = vex_now();
	if (start < slow_until)
		return 0;
	count = pwrite((int)arg->fh, arg + 1, arg->size, (off_t)arg->offset);
	if (count < 0)
		return 0;
	timed(start);
	vex_settle(in->nodeid);
	vex_told(arg->fh, 1, in->pid, in->uid, in->gid, (int64_t)arg->offset, (uint64_t)count);
	out.size = (uint32_t)count;
	vex_reply(in, 0, &out, sizeof(out));
	return 1;
}
