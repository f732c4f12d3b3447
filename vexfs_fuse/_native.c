/* What libfuse can do and pyfuse3 does not expose.
 *
 * Loaded with RTLD_GLOBAL before `import pyfuse3`, this library stands in front of five public functions of libfuse that
 * pyfuse3 calls:
 *
 *   fuse_session_new          adds operations that pyfuse3 does not register, and notes who calls where it does not say
 *   fuse_session_mount        has the INIT exchange done at once and amends its reply, to negotiate what libfuse 3.14
 *                             cannot (passthrough, KILLPRIV_V2, …)
 *   fuse_session_receive_buf  reads requests, and answers what it can by itself
 *   fuse_reply_open           add open flags and the backing id to the reply of the handler that is just returning
 *   fuse_reply_create
 *
 * Everything runs in the one thread that reads the session (vex_wait without the GIL), so plain globals are enough. No private
 * structure of libfuse is touched; the kernel's own wire structures (linux/fuse.h) are.
 */
#include "_change.h"
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Newer than Debian 12's linux/fuse.h (6.1). Bits of the 64-bit flags: low word `flags`, high word `flags2`. */
#define VEX_INIT_EXT (1ULL << 30)
#define VEX_HANDLE_KILLPRIV_V2 (1ULL << 28)
#define VEX_DIRECT_IO_ALLOW_MMAP (1ULL << 36)

#define HEADER_ROOM 4096 /* before the data of a write, as libfuse has it */

struct vex_backing_map {
	int32_t fd;
	uint32_t flags;
	uint64_t padding;
};
#define VEX_BACKING_OPEN _IOW(229, 1, struct vex_backing_map)
#define VEX_BACKING_CLOSE _IOW(229, 2, uint32_t)

struct vex_init_out {
	uint32_t major, minor, max_readahead, flags;
	uint16_t max_background, congestion_threshold;
	uint32_t max_write, time_gran;
	uint16_t max_pages, map_alignment;
	uint32_t flags2, max_stack_depth;
	uint16_t request_timeout, unused[11];
};

EXPORT struct vex_request vex_request;

EXPORT uint32_t vex_open_flags;
EXPORT int32_t vex_backing_id;

/* Wanted before the mount, agreed after it: bits of the 64-bit INIT flags. */
EXPORT uint64_t vex_wanted;
EXPORT uint64_t vex_offered;
EXPORT uint64_t vex_agreed;
EXPORT int vex_session_fd = -1;

/* Called with the file handle when a process that waits in `read` on a handle at or above `vex_interruptible` is
 * interrupted by a signal. */
EXPORT void (*vex_interrupted)(uint64_t fh);

struct fuse_lowlevel_ops theirs;

void note(fuse_req_t req, fuse_ino_t ino, int32_t flags)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	vex_request = (struct vex_request){.ino = ino, .pid = ctx->pid, .uid = ctx->uid, .gid = ctx->gid, .flags = flags};
}

static void our_init(void *userdata, struct fuse_conn_info *conn)
{
	theirs.init(userdata, conn);
	/* The caller's umask must not be applied before a default ACL is looked at. */
	conn->want |= conn->capable & (FUSE_CAP_DONT_MASK | FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_ASYNC_DIO);
	conn->want &= ~(unsigned)(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
	conn->max_background = 64;
	if (vex_extra.readdir)
		conn->want |= conn->capable & FUSE_CAP_READDIRPLUS_AUTO;
#ifdef FUSE_CAP_OVER_IO_URING /* libfuse 3.18; requests by threads of its own would pass us by */
	fuse_unset_feature_flag(conn, FUSE_CAP_OVER_IO_URING);
#endif
}

static void our_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi)
{
	note(req, ino, to_set);
	theirs.setattr(req, ino, attr, to_set, fi);
}

static void interrupted(fuse_req_t req, void *fh)
{
	(void)req;
	if (vex_interrupted)
		vex_interrupted((uint64_t)(uintptr_t)fh);
}

static void our_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	note(req, ino, fi->flags);
	if (fi->fh >= vex_interruptible)
		fuse_req_interrupt_func(req, interrupted, (void *)(uintptr_t)fi->fh);
	theirs.read(req, ino, size, off, fi);
}

static uint32_t last_opcode;
static int kill_suid; /* of the WRITE request just read; libfuse does not pass it on */

static void our_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off, struct fuse_file_info *fi)
{
	note(req, ino, kill_suid);
	theirs.write(req, ino, buf, size, off, fi);
}

static void our_write_buf(fuse_req_t req, fuse_ino_t ino, struct fuse_bufvec *bufv, off_t off, struct fuse_file_info *fi)
{
	note(req, ino, kill_suid);
	theirs.write_buf(req, ino, bufv, off, fi);
}

static void our_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	note(req, ino, 0);
	if (vex_extra.unlock)
		vex_extra.unlock(req, fi->fh, fi->lock_owner);
	theirs.flush(req, ino, fi);
}

static void our_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	note(req, ino, 0);
	theirs.fsync(req, ino, datasync, fi);
}

static void our_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	note(req, ino, 0);
	theirs.fsyncdir(req, ino, datasync, fi);
}

static void our_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	note(req, ino, 0);
	theirs.readdirplus(req, ino, size, off, fi);
}

static void our_statfs(fuse_req_t req, fuse_ino_t ino)
{
	note(req, ino, 0);
	theirs.statfs(req, ino);
}

static void our_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	note(req, ino, 0);
	vex_extra.readdir(req, fi->fh, (uint64_t)off, size);
}

static void *original(const char *name)
{
	void *found = dlsym(RTLD_NEXT, name);
	if (!found) {
		void *libfuse = dlopen("libfuse3.so.4", RTLD_NOW | RTLD_NOLOAD); /* from 3.17 on */
		if (!libfuse)
			libfuse = dlopen("libfuse3.so.3", RTLD_NOW | RTLD_NOLOAD);
		found = libfuse ? dlsym(libfuse, name) : NULL;
	}
	return found;
}

/* Whether a session was made through us: with a libfuse whose entry points we do not know, nothing here has an effect. */
EXPORT int vex_active;

static struct fuse_lowlevel_ops extended(const struct fuse_lowlevel_ops *op, size_t op_size)
{
	struct fuse_lowlevel_ops ours;

	memset(&theirs, 0, sizeof(theirs));
	memcpy(&theirs, op, op_size < sizeof(theirs) ? op_size : sizeof(theirs));
	ours = theirs;
	ours.init = our_init;
	ours.setattr = our_setattr;
	ours.read = our_read;
	ours.write = our_write;
	ours.write_buf = our_write_buf;
	ours.flush = our_flush;
	ours.fsync = our_fsync;
	ours.fsyncdir = our_fsyncdir;
	ours.readdirplus = our_readdirplus;
	ours.statfs = our_statfs;
	ours.readdir = vex_extra.readdir ? our_readdir : NULL;
	add_extra(&ours);
	vex_active = 1;
	return ours;
}

#undef fuse_session_new /* a macro from libfuse 3.17 on, whose programs call the versioned function below */
EXPORT struct fuse_session *fuse_session_new(struct fuse_args *args, const struct fuse_lowlevel_ops *op, size_t op_size,
					     void *userdata)
{
	struct fuse_session *(*real)(struct fuse_args *, const struct fuse_lowlevel_ops *, size_t, void *) =
		original("fuse_session_new");
	struct fuse_lowlevel_ops ours = extended(op, op_size);

	return real(args, &ours, sizeof(ours), userdata);
}

struct libfuse_version;
EXPORT struct fuse_session *fuse_session_new_versioned(struct fuse_args *args, const struct fuse_lowlevel_ops *op,
						       size_t op_size, struct libfuse_version *version, void *userdata)
{
	struct fuse_session *(*real)(struct fuse_args *, const struct fuse_lowlevel_ops *, size_t,
				     struct libfuse_version *, void *) = original("fuse_session_new_versioned");
	struct fuse_lowlevel_ops ours = extended(op, op_size);

	return real(args, &ours, sizeof(ours), version, userdata);
}

/* A request that was read before pyfuse3 asked for it, since the library may answer it by itself; `size` is the room that
 * any request needs. */
static struct {
	size_t size, length;
	char *data;
} waiting;

static void look_at(struct fuse_in_header *in, size_t length)
{
	last_opcode = in->opcode;
	translate(in);
	if (in->opcode == FUSE_WRITE) {
		const struct fuse_write_in *w = (const void *)(in + 1);
		kill_suid = !!(w->write_flags & (1 << 2)); /* FUSE_WRITE_KILL_SUIDGID */
	} else if (in->opcode == FUSE_INIT) {
		const uint32_t *arg = (const void *)(in + 1); /* major, minor, max_readahead, flags, flags2 */
		vex_offered = arg[3];
		if (length >= sizeof(*in) + 20 && (vex_offered & VEX_INIT_EXT))
			vex_offered |= (uint64_t)arg[4] << 32;
	}
}

/* pyfuse3 wants a request, in a buffer that it frees. -EINTR sends it back to waiting: whoever asked is gone, or is
 * answered. */
EXPORT int fuse_session_receive_buf(struct fuse_session *se, struct fuse_buf *buf)
{
	ssize_t got = (ssize_t)waiting.length;

	if (!buf->mem && !(buf->mem = malloc(waiting.size)))
		return -ENOMEM;
	if (got) {
		memcpy(buf->mem, waiting.data, waiting.length);
		waiting.length = 0;
	} else {
		got = read(vex_session_fd, buf->mem, waiting.size);
		if (got < 0 && errno == ENODEV) { /* unmounted */
			fuse_session_exit(se);
			return 0;
		}
		if (got < 0)
			return errno == EAGAIN || errno == ENOENT ? -EINTR : -errno;
		if (got < (ssize_t)sizeof(struct fuse_in_header))
			return -EIO;
		if (vex_answer(buf->mem) || vex_carry_out(buf->mem)) {
			last_opcode = 0; /* the next one of its kind can be read ahead */
			return -EINTR;
		}
	}
	vex_settle(((const struct fuse_in_header *)buf->mem)->nodeid);
	look_at(buf->mem, (size_t)got);
	buf->flags = 0;
	buf->size = (size_t)got;
	return (int)got;
}

static void amend(struct vex_init_out *init)
{
	uint64_t take = vex_wanted & vex_offered;

	if (init->flags & FUSE_WRITEBACK_CACHE)
		take &= ~VEX_PASSTHROUGH;
	if (take >> 32)
		take |= VEX_INIT_EXT;
	if (take & VEX_PASSTHROUGH) {
		init->max_stack_depth = 1;
		if (init->minor < 40)
			init->minor = 40;
	}
	init->flags |= (uint32_t)take;
	init->flags2 |= (uint32_t)(take >> 32);
	vex_agreed = (uint64_t)init->flags2 << 32 | init->flags;
}

/* Have libfuse answer a request into a pipe that stands in the device's place. The length of the answer, or -1. */
static ssize_t answer_of_libfuse(struct fuse_session *se, const struct fuse_buf *request, void *answer, size_t size)
{
	int fd = fuse_session_fd(se), device = fcntl(fd, F_DUPFD_CLOEXEC, 0), ends[2];
	ssize_t got = -1;

	if (device < 0)
		return -1;
	if (pipe2(ends, O_CLOEXEC) == 0) {
		if (dup3(ends[1], fd, O_CLOEXEC) >= 0) {
			fuse_session_process_buf(se, request);
			dup3(device, fd, O_CLOEXEC);
		}
		close(ends[1]);
		got = read(ends[0], answer, size);
		close(ends[0]);
	}
	close(device);
	return got;
}

/* The kernel asks for INIT within the mount, so it is there. Its answer is libfuse's, amended. */
static int exchange_init(struct fuse_session *se)
{
	int (*receive)(struct fuse_session *, struct fuse_buf *) = original("fuse_session_receive_buf");
	struct {
		struct fuse_out_header head;
		struct vex_init_out init;
	} answer;
	struct fuse_buf request = {0};
	int result = -EPROTO;

	if (receive(se, &request) > 0) {
		look_at(request.mem, request.size);
		if (answer_of_libfuse(se, &request, &answer, sizeof(answer)) == sizeof(answer) && !answer.head.error) {
			amend(&answer.init);
			waiting.length = 0;
			waiting.size = answer.init.max_write + HEADER_ROOM;
			waiting.data = realloc(waiting.data, waiting.size);
			if (waiting.data && write(vex_session_fd, &answer, sizeof(answer)) == sizeof(answer))
				result = 0;
		}
	}
	if (result)
		fuse_log(FUSE_LOG_ERR, "vexfs: the INIT request of the kernel could not be answered\n");
	free(request.mem);
	return result;
}

EXPORT int fuse_session_mount(struct fuse_session *se, const char *mountpoint)
{
	int (*real)(struct fuse_session *, const char *) = original("fuse_session_mount");
	int result = real(se, mountpoint);

	if (result == 0) {
		vex_offered = vex_agreed = 0;
		vex_session_fd = fuse_session_fd(se);
		result = exchange_init(se);
		fcntl(vex_session_fd, F_SETFL, fcntl(vex_session_fd, F_GETFL) | O_NONBLOCK); /* serve() reads without a poll */
		if (result)
			fuse_session_unmount(se);
	}
	return result;
}

static struct vex_open_out open_out(const struct fuse_file_info *fi)
{
	struct vex_open_out out = {.fh = fi->fh, .open_flags = vex_open_flags, .backing_id = vex_backing_id};

	if (fi->direct_io)
		out.open_flags |= FOPEN_DIRECT_IO;
	if (fi->keep_cache)
		out.open_flags |= FOPEN_KEEP_CACHE;
	if (fi->nonseekable)
		out.open_flags |= FOPEN_NONSEEKABLE;
	vex_open_flags = 0;
	vex_backing_id = 0;
	return out;
}

EXPORT int fuse_reply_open(fuse_req_t req, const struct fuse_file_info *fi)
{
	struct vex_open_out out = open_out(fi);
	return fuse_reply_buf(req, (const char *)&out, sizeof(out));
}

EXPORT int fuse_reply_create(fuse_req_t req, const struct fuse_entry_param *e, const struct fuse_file_info *fi)
{
	struct {
		struct fuse_entry_out entry;
		struct vex_open_out open;
	} out = {.open = open_out(fi)};
	struct fuse_entry_out *entry = &out.entry;

	entry->nodeid = e->ino;
	entry->generation = e->generation;
	vex_split(e->entry_timeout, &entry->entry_valid, &entry->entry_valid_nsec);
	vex_split(e->attr_timeout, &entry->attr_valid, &entry->attr_valid_nsec);
	vex_fill(&entry->attr, e->attr.st_ino, &e->attr);
	return fuse_reply_buf(req, (const char *)&out, sizeof(out));
}

/* Give or take CAP_FSETID in this thread's effective set; the sets are read once, nobody else changes them. */
static int fsetid(int on)
{
	static struct __user_cap_data_struct with[2], without[2];
	static int known;
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};

	if (!known) {
		if (syscall(SYS_capget, &head, with))
			return -errno;
		memcpy(without, with, sizeof(with));
		without[0].effective &= ~(1u << CAP_FSETID);
		known = 1;
	}
	return syscall(SYS_capset, &head, on ? with : without) ? -errno : 0;
}

EXPORT uint64_t vex_backings_given, vex_backings_returned;

/* The kernel writes with the credentials of this moment; without CAP_FSETID it clears suid and sgid as for an ordinary
 * writer. */
EXPORT int vex_backing_open(int fd)
{
	struct vex_backing_map map = {.fd = fd};
	int result, dropped = fsetid(0) == 0;

	result = ioctl(vex_session_fd, VEX_BACKING_OPEN, &map);
	if (result < 0)
		result = -errno;
	else
		vex_backings_given++;
	if (dropped)
		fsetid(1);
	return result;
}

EXPORT int vex_backing_close(uint32_t id)
{
	if (ioctl(vex_session_fd, VEX_BACKING_CLOSE, &id) < 0)
		return -errno;
	vex_backings_returned++;
	return 0;
}

int64_t vex_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* Read a request ahead of pyfuse3 and answer it: 1, 0 if it waits for pyfuse3, -1 if there is none. What is not read
 * ahead: data that is written by Python, which would be copied once more. */
static int serve(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	ssize_t got;

	if (last_opcode == FUSE_WRITE)
		return poll(&p, 1, 0) > 0 ? 0 : -1;
	got = read(fd, waiting.data, waiting.size);
	if (got < (ssize_t)sizeof(struct fuse_in_header))
		return got < 0 && errno == EAGAIN ? -1 : 0;
	if (vex_answer((const void *)waiting.data) || vex_carry_out((const void *)waiting.data))
		return 1;
	vex_settle(((const struct fuse_in_header *)waiting.data)->nodeid);
	waiting.length = (size_t)got;
	return 0;
}

#define LADEN 100
#define LULL_NS 20000LL /* without a request, after which what is put off is done */

/* Whether so much is put off that Python should do it now. */
static int laden(void)
{
	return vex_deferred_count > LADEN || vex_crowded();
}

/* Answer requests until one is Python's (1), there is work put off and nothing else to do for a while or much of it (2),
 * or nothing has come for so many nanoseconds (0), or others want their turn (3). It does not sleep: a sleep and the
 * wake-up from it cost more than the wait of a caller that does one call after another. */
EXPORT int vex_wait(int fd, long nanoseconds, long turn)
{
	int64_t start = vex_now(), end = start + nanoseconds, at = start;

	do {
		int served;

		if (laden())
			return 2;
		served = serve(fd);
		if (!served)
			return 1;
		if (served < 0 && vex_deferred_count && at > end - nanoseconds + LULL_NS)
			return 2;
		at = vex_now();
		if (served > 0)
			end = at + nanoseconds;
	} while (at < end && at < start + turn);
	return at < end ? 3 : 0;
}
