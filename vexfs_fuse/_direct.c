/* Requests that Python's functions carry out at once, called from here without a coroutine and answered from here: those
 * that make, open, move and remove. pyfuse3's way, which costs some 10 µs more, is for what may have to wait, and for
 * `/.vexfs`; a function says so by VEX_ASIDE.
 */
#include "_change.h"
#include <errno.h>
#include <string.h>

#define VEX_ASIDE -4096

/* Each returns what it has made (an inode number or a file handle), 0 where it makes nothing, or -errno. */
EXPORT struct {
	int64_t (*open)(uint64_t ino, int flags);
	int64_t (*opendir)(uint64_t ino);
	int64_t (*create)(uint64_t parent, const char *name, uint32_t mode, int flags);
	int64_t (*mkdir)(uint64_t parent, const char *name, uint32_t mode);
	int64_t (*unlink)(uint64_t parent, const char *name);
	int64_t (*rmdir)(uint64_t parent, const char *name);
	int64_t (*rename)(uint64_t parent, const char *name, uint64_t to, const char *new_name, uint32_t flags);
	int64_t (*enter)(uint64_t parent, const char *name); /* a directory that was made, to be given a number */
	int64_t (*enter_open)(uint64_t parent, const char *name, int flags, int fd); /* a file that was created */
	void (*settle)(uint64_t ino); /* what was put off is done before anything else; the open files of an inode are taken */
} vex_direct;
EXPORT uint64_t vex_created; /* by create: the number of the file's inode */

void vex_settle(uint64_t ino)
{
	const struct vex_inode *inode = vex_direct.settle && vex_files ? vex_find(ino) : NULL;

	if (!inode || !inode->opens)
		ino = 0;
	if (vex_direct.settle && (ino || vex_renamed || vex_deferred_count)) {
		vex_owed = 1;
		vex_direct.settle(ino);
	}
}

static void ask_for(const struct fuse_in_header *in, uint32_t umask)
{
	vex_settle(in->nodeid);
	vex_request = (struct vex_request){.ino = in->nodeid, .pid = in->pid, .uid = in->uid, .gid = in->gid, .umask = umask};
	vex_open_flags = 0;
	vex_backing_id = 0;
}

/* Whether the function left the request to others; a failure is answered. */
static int declined(const struct fuse_in_header *in, int64_t result, int *answered)
{
	*answered = result != VEX_ASIDE;
	if (result < 0 && *answered)
		vex_reply(in, (int)-result, NULL, 0);
	return result < 0;
}

static int describe(uint64_t ino, struct fuse_entry_out *entry)
{
	struct vex_inode *inode = vex_find(ino);
	struct stat st;

	if (!inode || fstat(inode->fd, &st))
		return EIO;
	vex_fill_entry(entry, inode, &st);
	return 0;
}

static int opened(const struct fuse_in_header *in, int64_t result)
{
	struct vex_open_out out;
	int answered;

	if (declined(in, result, &answered))
		return answered;
	out = (struct vex_open_out){.fh = (uint64_t)result, .open_flags = vex_open_flags, .backing_id = vex_backing_id};
	vex_reply(in, 0, &out, sizeof(out));
	return 1;
}

static int created(const struct fuse_in_header *in, int64_t result)
{
	struct {
		struct fuse_entry_out entry;
		struct vex_open_out open;
	} out;
	int answered, error;

	if (declined(in, result, &answered))
		return answered;
	out.open = (struct vex_open_out){.fh = (uint64_t)result, .open_flags = vex_open_flags, .backing_id = vex_backing_id};
	error = describe(vex_created, &out.entry);
	vex_reply(in, error, &out, error ? 0 : sizeof(out));
	return 1;
}

static int made(const struct fuse_in_header *in, int64_t result)
{
	struct fuse_entry_out entry;
	int answered, error;

	if (declined(in, result, &answered))
		return answered;
	error = describe((uint64_t)result, &entry);
	vex_reply(in, error, &entry, error ? 0 : sizeof(entry));
	return 1;
}

static int done(const struct fuse_in_header *in, int64_t result)
{
	int answered;

	if (declined(in, result, &answered))
		return answered;
	vex_reply(in, 0, NULL, 0);
	return 1;
}

static int renamed(const struct fuse_in_header *in, const char *name, uint64_t to, uint32_t flags)
{
	return done(in, vex_direct.rename(in->nodeid, name, to, name + strlen(name) + 1, flags));
}

int vex_enter_made(const struct fuse_in_header *in, const char *name)
{
	ask_for(in, 0);
	return made(in, vex_direct.enter(in->nodeid, name));
}

int vex_open_made(const struct fuse_in_header *in, const char *name, int flags, int fd)
{
	ask_for(in, 0);
	return created(in, vex_direct.enter_open(in->nodeid, name, flags, fd));
}

/* By the library itself, where nobody hears of it. */
static int carried_out_here(const struct fuse_in_header *in)
{
	const void *arg = in + 1;
	const struct fuse_open_in *open = arg;
	const struct fuse_rename_in *rename = arg;
	const struct fuse_rename2_in *rename2 = arg;

	vex_ask_about(in->nodeid);
	if (vex_deferred_count && !(vex_silent & 1 << VEX_CLOSED))
		vex_settle(0); /* a close that is heard tells the name that the file had */
	switch (in->opcode) {
	case FUSE_OPEN:
		return vex_open(in, open->flags);
	case FUSE_CREATE:
		return vex_create(in, arg);
	case FUSE_SETATTR:
		return vex_setattr(in, arg);
	case FUSE_FSYNC:
	case FUSE_FSYNCDIR:
		return vex_fsync(in, ((const struct fuse_fsync_in *)arg)->fh);
	case FUSE_SYMLINK:
		return vex_symlink(in, arg);
	case FUSE_MKDIR:
		return vex_mkdir(in, arg);
	case FUSE_UNLINK:
		return vex_remove(in, arg, 0);
	case FUSE_RMDIR:
		return vex_remove(in, arg, 1);
	case FUSE_RENAME:
		return vex_move(in, rename->newdir, (const char *)(rename + 1), 0);
	case FUSE_RENAME2:
		return vex_move(in, rename2->newdir, (const char *)(rename2 + 1), rename2->flags);
	default:
		return 0;
	}
}

int vex_carry_out(const struct fuse_in_header *in)
{
	const void *arg = in + 1;
	const struct fuse_open_in *open = arg;
	const struct fuse_create_in *create = arg;
	const struct fuse_mkdir_in *mkdir = arg;
	const struct fuse_rename_in *rename = arg;
	const struct fuse_rename2_in *rename2 = arg;

	if (!vex_direct.open)
		return 0;
	if (carried_out_here(in))
		return 1;
	ask_for(in, in->opcode == FUSE_CREATE ? create->umask : in->opcode == FUSE_MKDIR ? mkdir->umask : 0);
	switch (in->opcode) {
	case FUSE_OPEN:
		return opened(in, vex_direct.open(in->nodeid, (int)open->flags));
	case FUSE_OPENDIR:
		return opened(in, vex_direct.opendir(in->nodeid));
	case FUSE_CREATE:
		return created(in, vex_direct.create(in->nodeid, (const char *)(create + 1), create->mode, (int)create->flags));
	case FUSE_MKDIR:
		return made(in, vex_direct.mkdir(in->nodeid, (const char *)(mkdir + 1), mkdir->mode));
	case FUSE_UNLINK:
		return done(in, vex_direct.unlink(in->nodeid, arg));
	case FUSE_RMDIR:
		return done(in, vex_direct.rmdir(in->nodeid, arg));
	case FUSE_RENAME:
		return renamed(in, (const char *)(rename + 1), rename->newdir, 0);
	case FUSE_RENAME2:
		return renamed(in, (const char *)(rename2 + 1), rename2->newdir, rename2->flags);
	default:
		return 0;
	}
}
