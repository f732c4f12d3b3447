/* What libfuse can do and pyfuse3 does not expose.
 *
 * Loaded with RTLD_GLOBAL before `import pyfuse3`, this library stands in front of four public functions of libfuse that
 * pyfuse3 calls, and passes each call on:
 *
 *   fuse_session_new    adds operations that pyfuse3 does not register, and notes who calls where pyfuse3 does not say
 *   fuse_session_mount  sees the INIT exchange, to negotiate what libfuse 3.14 cannot (passthrough, KILLPRIV_V2, …)
 *   fuse_reply_open     add open flags and the backing id to the reply of the handler that is just returning
 *   fuse_reply_create
 *
 * Everything runs in the one thread that holds the GIL and reads the session, so plain globals are enough. No private
 * structure of libfuse is touched; the kernel's own wire structures (linux/fuse.h) are.
 */
#include "_native.h"
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
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* Newer than Debian 12's linux/fuse.h (6.1). Bits of the 64-bit flags: low word `flags`, high word `flags2`. */
#define VEX_INIT_EXT (1ULL << 30)
#define VEX_HANDLE_KILLPRIV_V2 (1ULL << 28)
#define VEX_DIRECT_IO_ALLOW_MMAP (1ULL << 36)
#define VEX_PASSTHROUGH (1ULL << 37)
#define VEX_FOPEN_PASSTHROUGH (1 << 7)

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

struct vex_open_out {
	uint64_t fh;
	uint32_t open_flags;
	int32_t backing_id;
};

EXPORT struct vex_request vex_request;

/* Set by an open or create handler as its last act; consumed by the reply. */
EXPORT uint32_t vex_open_flags;
EXPORT int32_t vex_backing_id;

/* Wanted before the mount, agreed after it: bits of the 64-bit INIT flags. */
EXPORT uint64_t vex_wanted;
EXPORT uint64_t vex_offered;
EXPORT uint64_t vex_agreed;
EXPORT int vex_session_fd = -1;

/* Directories by inode number, so that a lookup of a name that is not there (every creation begins with one) is answered
 * here. A direct-mapped cache: a later directory takes an earlier one's place, which then asks Python again. */
#define DIRECTORIES 4096
static struct {
	uint64_t ino;
	int fd;
} directories[DIRECTORIES];
EXPORT uint64_t vex_absent; /* how many lookups were answered so */
EXPORT double vex_absent_timeout; /* seconds for which the kernel may believe it, 0 to ask each time */

/* Releases and forgets: nobody waits for what they do, so they are answered at once and done by Python when no request
 * waits, or before the next event is published. Full, the next ones go to Python directly. */
#define DEFERRED 1024
EXPORT struct {
	uint64_t id;    /* a file handle, or an inode number */
	uint64_t count; /* lookups to forget; 0 for a release */
} vex_deferred[DEFERRED];
EXPORT int vex_deferred_count;

/* Called with the file handle when a process that waits in `read` on a handle at or above `vex_interruptible` is
 * interrupted by a signal. */
EXPORT void (*vex_interrupted)(uint64_t fh);
EXPORT uint64_t vex_interruptible = UINT64_MAX;

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
}

/* Remember (fd ≥ 0) or forget (fd < 0) the descriptor of a directory. */
EXPORT void vex_directory(uint64_t ino, int fd)
{
	if (fd >= 0) {
		directories[ino % DIRECTORIES].ino = ino;
		directories[ino % DIRECTORIES].fd = fd;
	} else if (directories[ino % DIRECTORIES].ino == ino) {
		directories[ino % DIRECTORIES].ino = 0;
	}
}

static void our_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct stat st;

	if (directories[parent % DIRECTORIES].ino == parent &&
	    fstatat(directories[parent % DIRECTORIES].fd, name, &st, AT_SYMLINK_NOFOLLOW) && errno == ENOENT &&
	    !(parent == FUSE_ROOT_ID && strcmp(name, ".vexfs") == 0)) {
		const struct fuse_entry_param absent = {.entry_timeout = vex_absent_timeout};

		vex_absent++;
		if (vex_absent_timeout > 0)
			fuse_reply_entry(req, &absent);
		else
			fuse_reply_err(req, ENOENT);
		return;
	}
	theirs.lookup(req, parent, name);
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

static int defer(uint64_t id, uint64_t count)
{
	if (id >= vex_interruptible || vex_deferred_count == DEFERRED)
		return 0;
	vex_deferred[vex_deferred_count].id = id;
	vex_deferred[vex_deferred_count++].count = count;
	return 1;
}

static void our_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	if (defer(fi->fh, 0))
		fuse_reply_err(req, 0);
	else
		theirs.release(req, ino, fi);
}

static void our_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count)
{
	if (defer(ino, count))
		fuse_reply_none(req);
	else
		theirs.forget(req, ino, count);
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
		void *libfuse = dlopen("libfuse3.so.3", RTLD_NOW | RTLD_NOLOAD);
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
	ours.lookup = our_lookup;
	ours.setattr = our_setattr;
	ours.read = our_read;
	ours.write = our_write;
	ours.write_buf = our_write_buf;
	ours.flush = our_flush;
	ours.fsync = our_fsync;
	ours.fsyncdir = our_fsyncdir;
	ours.readdirplus = our_readdirplus;
	ours.statfs = our_statfs;
	ours.release = our_release;
	ours.forget = our_forget;
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

static ssize_t session_read(int fd, void *buf, size_t len, void *userdata)
{
	ssize_t got = read(fd, buf, len);
	struct fuse_in_header *in = buf;
	(void)userdata;

	if (got < (ssize_t)sizeof(*in))
		return got;
	translate(in);
	if (in->opcode == FUSE_WRITE) {
		const struct fuse_write_in *w = (const void *)(in + 1);
		kill_suid = !!(w->write_flags & (1 << 2)); /* FUSE_WRITE_KILL_SUIDGID */
	} else if (in->opcode == FUSE_INIT) {
		const uint32_t *arg = (const void *)(in + 1); /* major, minor, max_readahead, flags, flags2 */
		vex_offered = arg[3];
		if (got >= (ssize_t)(sizeof(*in) + 20) && (vex_offered & VEX_INIT_EXT))
			vex_offered |= (uint64_t)arg[4] << 32;
	}
	return got;
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

static int awaiting_init;

static ssize_t session_writev(int fd, struct iovec *iov, int count, void *userdata)
{
	(void)userdata;
	if (awaiting_init && count == 2 && iov[0].iov_len == sizeof(struct fuse_out_header) &&
	    iov[1].iov_len == sizeof(struct vex_init_out)) {
		awaiting_init = 0;
		amend(iov[1].iov_base);
	}
	return writev(fd, iov, count);
}

EXPORT int fuse_session_mount(struct fuse_session *se, const char *mountpoint)
{
	static const struct fuse_custom_io io = {.read = session_read, .writev = session_writev};
	int (*real)(struct fuse_session *, const char *) = original("fuse_session_mount");
	int result = real(se, mountpoint);

	if (result == 0) {
		awaiting_init = 1;
		vex_offered = vex_agreed = 0;
		vex_session_fd = fuse_session_fd(se);
		if (fuse_session_custom_io(se, &io, vex_session_fd) != 0)
			awaiting_init = 0; /* the session works as it would without us */
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

static void split(double timeout, uint64_t *seconds, uint32_t *nanoseconds)
{
	*seconds = timeout <= 0 ? 0 : (uint64_t)timeout;
	*nanoseconds = timeout <= 0 ? 0 : (uint32_t)((timeout - (double)*seconds) * 1e9);
}

EXPORT int fuse_reply_create(fuse_req_t req, const struct fuse_entry_param *e, const struct fuse_file_info *fi)
{
	struct {
		struct fuse_entry_out entry;
		struct vex_open_out open;
	} out = {.open = open_out(fi)};
	struct fuse_entry_out *entry = &out.entry;
	struct fuse_attr *attr = &entry->attr;
	const struct stat *st = &e->attr;

	entry->nodeid = e->ino;
	entry->generation = e->generation;
	split(e->entry_timeout, &entry->entry_valid, &entry->entry_valid_nsec);
	split(e->attr_timeout, &entry->attr_valid, &entry->attr_valid_nsec);
	attr->ino = st->st_ino;
	attr->size = st->st_size;
	attr->blocks = st->st_blocks;
	attr->atime = st->st_atim.tv_sec;
	attr->mtime = st->st_mtim.tv_sec;
	attr->ctime = st->st_ctim.tv_sec;
	attr->atimensec = st->st_atim.tv_nsec;
	attr->mtimensec = st->st_mtim.tv_nsec;
	attr->ctimensec = st->st_ctim.tv_nsec;
	attr->mode = st->st_mode;
	attr->nlink = st->st_nlink;
	attr->uid = st->st_uid;
	attr->gid = st->st_gid;
	attr->rdev = st->st_rdev;
	attr->blksize = st->st_blksize;
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

/* Register an open file for passthrough: its id (> 0), or -errno. The kernel writes with the credentials of this moment;
 * without CAP_FSETID it clears suid and sgid as for an ordinary writer. */
EXPORT int vex_backing_open(int fd)
{
	struct vex_backing_map map = {.fd = fd};
	int result, dropped = fsetid(0) == 0;

	result = ioctl(vex_session_fd, VEX_BACKING_OPEN, &map);
	if (result < 0)
		result = -errno;
	if (dropped)
		fsetid(1);
	return result;
}

EXPORT int vex_backing_close(uint32_t id)
{
	return ioctl(vex_session_fd, VEX_BACKING_CLOSE, &id) < 0 ? -errno : 0;
}

/* All entries of a directory as struct fuse_dirent, one after the other, each with the position behind it as its offset:
 * `*out` is malloc'ed, for vex_free. Its length, or -errno. `hide` is left out. */
EXPORT ssize_t vex_list(int fd, const char *hide, char **out)
{
	struct entry {
		uint64_t ino;
		int64_t off;
		uint16_t length;
		uint8_t type;
		char name[];
	};
	size_t used = 0, room = 1 << 16;
	char *list = malloc(room), raw[32768] __attribute__((aligned(8)));
	ssize_t got = -1;

	if (list && lseek(fd, 0, SEEK_SET) == 0)
		while ((got = syscall(SYS_getdents64, fd, raw, sizeof(raw))) > 0)
			for (ssize_t at = 0; at < got;) {
				const struct entry *from = (const void *)(raw + at);
				size_t length = strlen(from->name), size = FUSE_DIRENT_ALIGN(offsetof(struct fuse_dirent, name) + length);

				at += from->length;
				if (hide && strcmp(from->name, hide) == 0)
					continue;
				if (used + size > room) {
					char *grown = realloc(list, room *= 2);
					if (!grown) {
						free(list);
						return -ENOMEM;
					}
					list = grown;
				}
				struct fuse_dirent *to = (void *)(list + used);
				memset(to, 0, size);
				to->ino = from->ino;
				to->off = (int64_t)(used += size);
				to->namelen = (uint32_t)length;
				to->type = from->type;
				memcpy(to->name, from->name, length);
			}
	if (got < 0) {
		int code = list ? errno : ENOMEM;
		free(list);
		return -code;
	}
	*out = list;
	return (ssize_t)used;
}

EXPORT void vex_free(char *list)
{
	free(list);
}

static int64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* Wait at most `nanoseconds` for the session to become readable, without sleeping: 1 if it is, 0 if not, 2 if not yet
 * and there is deferred work to do meanwhile. A sleep and the wake-up from it cost more than the wait of a caller that
 * does one call after another. */
EXPORT int vex_wait(int fd, long nanoseconds)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	int64_t end = now() + nanoseconds;

	do {
		if (poll(&p, 1, 0) > 0)
			return 1;
		if (vex_deferred_count)
			return 2;
	} while (now() < end);
	return 0;
}
