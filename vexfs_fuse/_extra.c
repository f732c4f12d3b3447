/* Operations that pyfuse3 does not have. Python's functions (vex_extra) answer them, now or later. */
#include "_native.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stddef.h>

/* Opcodes newer than Debian 12's linux/fuse.h (6.1). */
#define VEX_OPCODE_TMPFILE 51
#define VEX_OPCODE_STATX 52

EXPORT struct vex_extra vex_extra;

/* Requests that came after libfuse 3.14 are seen through older ones of the same form: an unnamed file is created (its
 * flags say O_TMPFILE), and statx(2) with a birth time asks for attributes. */
static int statx_asked;

void translate(struct fuse_in_header *in)
{
	statx_asked = in->opcode == VEX_OPCODE_STATX && vex_extra.statx;
	if (statx_asked)
		in->opcode = FUSE_GETATTR;
	else if (in->opcode == VEX_OPCODE_TMPFILE)
		in->opcode = FUSE_CREATE;
}

static void our_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	if (statx_asked) {
		note(req, ino, 0);
		vex_extra.statx(req, ino);
	} else {
		theirs.getattr(req, ino, fi);
	}
}

static void our_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	theirs.create(req, parent, fi->flags & (O_TMPFILE & ~O_DIRECTORY) ? "#unnamed" : name, mode, fi);
}

/* Inode flags (lsattr, chattr) only: everything else, such as the isatty(3) of whoever opens a file, is answered here. */
static void our_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned command, void *arg, struct fuse_file_info *fi,
		      unsigned flags, const void *in, size_t in_size, size_t out_size)
{
	(void)arg;
	(void)flags;
	if (command == FS_IOC_GETFLAGS || command == FS_IOC_SETFLAGS || command == FS_IOC_FSGETXATTR ||
	    command == FS_IOC_FSSETXATTR) {
		note(req, ino, 0);
		vex_extra.ioctl(req, fi->fh, command, in, in_size, out_size);
	} else {
		fuse_reply_err(req, ENOTTY);
	}
}

static void our_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t length, struct fuse_file_info *fi)
{
	note(req, ino, 0);
	vex_extra.fallocate(req, fi->fh, mode, off, length);
}

static void our_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi)
{
	note(req, ino, 0);
	vex_extra.lseek(req, fi->fh, off, whence);
}

static void our_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in, struct fuse_file_info *fi_in,
				fuse_ino_t ino_out, off_t off_out, struct fuse_file_info *fi_out, size_t size, int flags)
{
	(void)ino_in;
	(void)flags;
	note(req, ino_out, 0);
	vex_extra.copy_file_range(req, fi_in->fh, off_in, fi_out->fh, off_out, size);
}

/* Locks are sent by the kernel only where Python serves them (locks.py). */
static void our_getlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock)
{
	note(req, ino, 0);
	vex_extra.getlk(req, fi->fh, fi->lock_owner, lock->l_type, lock->l_start, lock->l_len);
}

static void our_setlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock, int wait)
{
	note(req, ino, 0);
	vex_extra.setlk(req, fi->fh, fi->lock_owner, lock->l_type, lock->l_start, lock->l_len, lock->l_pid, wait);
}

static void our_flock(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, int operation)
{
	note(req, ino, 0);
	vex_extra.flock(req, fi->fh, operation);
}

void add_extra(struct fuse_lowlevel_ops *ours)
{
	ours->getattr = our_getattr;
	ours->create = our_create;
	ours->fallocate = vex_extra.fallocate ? our_fallocate : NULL;
	ours->lseek = vex_extra.lseek ? our_lseek : NULL;
	ours->copy_file_range = vex_extra.copy_file_range ? our_copy_file_range : NULL;
	ours->ioctl = vex_extra.ioctl ? our_ioctl : NULL;
	ours->getlk = vex_extra.getlk ? our_getlk : NULL;
	ours->setlk = vex_extra.setlk ? our_setlk : NULL;
	ours->flock = vex_extra.flock ? our_flock : NULL;
}
