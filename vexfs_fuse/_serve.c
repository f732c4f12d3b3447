/* Requests that the library answers by itself, without Python: names, attributes and listings of what the table knows,
 * and what nobody waits for (releases, forgets).
 *
 * Each is left to Python while somebody hears its events (`vex_silent`), and where anything is out of the ordinary. What
 * nobody hears is counted (`vex_unheard`). All of it runs in the one thread that reads the session.
 */
#include "_change.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

EXPORT uint32_t vex_silent;
EXPORT uint64_t vex_unheard[VEX_KINDS];
EXPORT int vex_owed;
EXPORT struct vex_timeouts vex_timeouts;

/* Releases and forgets: nobody waits for what they do, so they are answered at once and done by Python when no request
 * waits, or before the next event is published. Full, the next ones go to Python directly. */
#define DEFERRED 1024 /* and some that the library itself adds, for its open files */
#define SPARE 64
EXPORT struct {
	uint64_t id;    /* a file handle, or an inode number */
	uint64_t count; /* lookups to forget; 0 for a release */
} vex_deferred[DEFERRED + SPARE];
EXPORT int vex_deferred_count;

EXPORT uint64_t vex_interruptible = UINT64_MAX;

int vex_reply(const struct fuse_in_header *in, int error, const void *body, size_t length)
{
	struct fuse_out_header out = {
		.len = (uint32_t)(sizeof(out) + length), .error = -error, .unique = in->unique};
	struct iovec parts[2] = {{&out, sizeof(out)}, {(void *)body, length}};

	return writev(vex_session_fd, parts, length ? 2 : 1) >= 0;
}

void vex_split(double timeout, uint64_t *seconds, uint32_t *nanoseconds)
{
	*seconds = timeout <= 0 ? 0 : (uint64_t)timeout;
	*nanoseconds = timeout <= 0 ? 0 : (uint32_t)((timeout - (double)*seconds) * 1e9);
}

void vex_fill(struct fuse_attr *attr, uint64_t ino, const struct stat *st)
{
	*attr = (struct fuse_attr){
		.ino = ino,
		.size = st->st_size,
		.blocks = st->st_blocks,
		.atime = st->st_atim.tv_sec,
		.mtime = st->st_mtim.tv_sec,
		.ctime = st->st_ctim.tv_sec,
		.atimensec = st->st_atim.tv_nsec,
		.mtimensec = st->st_mtim.tv_nsec,
		.ctimensec = st->st_ctim.tv_nsec,
		.mode = st->st_mode,
		.nlink = st->st_nlink,
		.uid = st->st_uid,
		.gid = st->st_gid,
		.rdev = st->st_rdev,
		.blksize = st->st_blksize,
	};
}

static double believed(const struct vex_inode *inode)
{
	return inode->mappable || inode->mappers ? 0 : inode->kind == S_IFREG ? vex_timeouts.file : vex_timeouts.attr;
}

void vex_fill_attributes(struct fuse_attr_out *out, struct vex_inode *inode, const struct stat *st)
{
	vex_tell(inode, st);
	*out = (struct fuse_attr_out){0};
	vex_split(believed(inode), &out->attr_valid, &out->attr_valid_nsec);
	vex_fill(&out->attr, inode->ino, st);
}

void vex_fill_entry(struct fuse_entry_out *entry, struct vex_inode *inode, const struct stat *st)
{
	vex_tell(inode, st);
	*entry = (struct fuse_entry_out){.nodeid = inode->ino, .generation = inode->generation};
	vex_split(vex_timeouts.entry, &entry->entry_valid, &entry->entry_valid_nsec);
	vex_split(believed(inode), &entry->attr_valid, &entry->attr_valid_nsec);
	vex_fill(&entry->attr, inode->ino, st);
}

struct vex_inode *vex_meet(const struct vex_inode *parent, const char *name, struct stat *st)
{
	struct vex_inode *inode = vex_find_object(st);
	int fd;

	if (inode)
		return inode->fd >= 0 && inode->ino != FUSE_ROOT_ID && vex_called(inode, parent->ino, name) ? inode : NULL;
	fd = openat(parent->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	if (fstat(fd, st) == 0 && !vex_find_object(st))
		inode = vex_make(st, fd, parent->ino, name);
	if (!inode)
		close(fd);
	return inode;
}

int vex_is_control(uint64_t parent, const char *name)
{
	return parent == FUSE_ROOT_ID && strcmp(name, ".vexfs") == 0;
}

static int lookup(const struct fuse_in_header *in, const char *name)
{
	struct vex_inode *parent = vex_find(in->nodeid), *inode;
	struct fuse_entry_out entry;
	struct stat st;

	if (!parent || parent->fd < 0 || vex_is_control(in->nodeid, name))
		return 0;
	if (fstatat(parent->fd, name, &st, AT_SYMLINK_NOFOLLOW)) {
		if (errno != ENOENT || !(vex_silent & VEX_ABSENT))
			return 0;
		entry = (struct fuse_entry_out){0};
		vex_split(vex_timeouts.absent, &entry.entry_valid, &entry.entry_valid_nsec);
		vex_reply(in, vex_timeouts.absent > 0 ? 0 : ENOENT, &entry, vex_timeouts.absent > 0 ? sizeof(entry) : 0);
		return 1;
	}
	if (!(vex_silent & 1 << VEX_LOOKUP) || !(inode = vex_meet(parent, name, &st)))
		return 0;
	vex_fill_entry(&entry, inode, &st);
	vex_skip(VEX_LOOKUP);
	inode->lookups += vex_reply(in, 0, &entry, sizeof(entry));
	return 1;
}

static int getattr(const struct fuse_in_header *in)
{
	struct vex_inode *inode = vex_silent & 1 << VEX_GETATTR ? vex_find(in->nodeid) : NULL;
	struct fuse_attr_out out;
	struct stat st;

	if (!inode || inode->fd < 0 || fstat(inode->fd, &st))
		return 0;
	vex_fill_attributes(&out, inode, &st);
	vex_skip(VEX_GETATTR);
	vex_reply(in, 0, &out, sizeof(out));
	return 1;
}

static int readlink_of(const struct fuse_in_header *in)
{
	struct vex_inode *inode = vex_silent & 1 << VEX_READLINK ? vex_find(in->nodeid) : NULL;
	char target[PATH_MAX];
	ssize_t got = inode && inode->fd >= 0 ? readlinkat(inode->fd, "", target, sizeof(target)) : -1;

	if (got < 0)
		return 0;
	vex_skip(VEX_READLINK);
	vex_reply(in, 0, target, (size_t)got);
	return 1;
}

/* The kernel asks for security.capability before most changes of a file, and remembers no answer. */
static int getxattr_of(const struct fuse_in_header *in, const struct fuse_getxattr_in *arg)
{
	static char value[XATTR_SIZE_MAX];
	struct vex_inode *inode = vex_silent & 1 << VEX_XATTR ? vex_find(in->nodeid) : NULL;
	struct fuse_getxattr_out out = {0};
	char link[32];
	ssize_t got;

	if (!inode || inode->fd < 0)
		return 0;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", inode->fd);
	got = getxattr(link, (const char *)(arg + 1), value, arg->size < sizeof(value) ? arg->size : sizeof(value));
	if (got < 0) {
		vex_reply(in, errno, NULL, 0);
		return 1;
	}
	vex_skip(VEX_XATTR);
	out.size = (uint32_t)got;
	vex_reply(in, 0, arg->size ? (void *)value : &out, arg->size ? (size_t)got : sizeof(out));
	return 1;
}

void vex_defer(uint64_t id, uint64_t count)
{
	vex_owed = 1;
	vex_deferred[vex_deferred_count].id = id;
	vex_deferred[vex_deferred_count++].count = count;
}

static int release(const struct fuse_in_header *in, const struct fuse_release_in *arg)
{
	if (vex_release(in, arg->fh))
		return 1;
	if (arg->fh >= vex_interruptible || vex_deferred_count >= DEFERRED)
		return 0;
	vex_defer(arg->fh, 0);
	vex_reply(in, 0, NULL, 0);
	return 1;
}

/* Whether its last descriptor can be closed at once: freeing a large file takes long, and is done in a thread. */
static int quickly_freed(const struct vex_inode *inode)
{
	struct stat st;

	return !inode->removed || (fstat(inode->fd, &st) == 0 && st.st_blocks * 512 <= FREED_INLINE);
}

static void forget_one(uint64_t ino, uint64_t count)
{
	struct vex_inode *inode = vex_find(ino);

	if (inode && (inode->lookups > count || (inode->lookups == count && inode->opens && !inode->adopted)))
		inode->lookups -= count;
	else if (inode && inode->lookups == count && !inode->adopted && quickly_freed(inode))
		vex_discard(inode);
	else
		vex_defer(ino, count);
}

static int forget(const struct fuse_in_header *in, const struct fuse_forget_in *arg)
{
	if (in->nodeid >= vex_interruptible || vex_deferred_count >= DEFERRED)
		return 0;
	forget_one(in->nodeid, arg->nlookup);
	return 1;
}

static int forget_many(const struct fuse_batch_forget_in *arg)
{
	const struct fuse_forget_one *each = (const void *)(arg + 1);

	if (vex_deferred_count >= DEFERRED || arg->count > (uint32_t)(DEFERRED - vex_deferred_count))
		return 0;
	for (uint32_t i = 0; i < arg->count; i++)
		if (each[i].nodeid >= vex_interruptible)
			return 0;
	for (uint32_t i = 0; i < arg->count; i++)
		forget_one(each[i].nodeid, each[i].nlookup);
	return 1;
}

int vex_answer(const struct fuse_in_header *in)
{
	const void *arg = in + 1;

	switch (in->opcode) {
	case FUSE_LOOKUP:
		return lookup(in, arg);
	case FUSE_GETATTR:
		return getattr(in);
	case FUSE_READLINK:
		return readlink_of(in);
	case FUSE_GETXATTR:
		return getxattr_of(in, arg);
	case FUSE_READ:
		return vex_read(in, arg);
	case FUSE_WRITE:
		return vex_write(in, arg);
	case FUSE_READDIR:
		return vex_readdir(in, arg, 0);
	case FUSE_READDIRPLUS:
		return vex_readdir(in, arg, 1);
	case FUSE_RELEASE:
	case FUSE_RELEASEDIR:
		return release(in, arg);
	case FUSE_FORGET:
		return forget(in, arg);
	case FUSE_BATCH_FORGET:
		return forget_many(arg);
	default:
		return 0;
	}
}
