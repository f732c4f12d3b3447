/* Attributes that the library changes by itself, where nobody hears of it: owner, size, mode and times, in that order.
 *
 * It does the same as Python's handler (attributes.py), which has everything else: files that Python has open, and
 * sizes of files whose suid or sgid bit would have to go.
 */
#include "_change.h"
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define OWNER (FATTR_UID | FATTR_GID)
#define TIMES (FATTR_ATIME | FATTR_MTIME)

static int heard(const struct vex_inode *inode, int owner, uint32_t asked)
{
	const struct vex_inode *parent = vex_find(inode->parent);

	return !parent || (owner && !vex_unheard_in(VEX_OWNER, parent, inode->name)) ||
	       (asked & FATTR_SIZE && !vex_unheard_in(VEX_TRUNCATED, parent, inode->name)) ||
	       (asked & FATTR_MODE && !vex_unheard_in(VEX_MODE, parent, inode->name)) ||
	       (asked & TIMES && !vex_unheard_in(VEX_TIMES, parent, inode->name));
}

static struct timespec when(uint32_t asked, uint32_t field, uint32_t now, uint64_t seconds, uint32_t nanoseconds)
{
	if (!(asked & field))
		return (struct timespec){.tv_nsec = UTIME_OMIT};
	if (asked & now)
		return (struct timespec){.tv_nsec = UTIME_NOW};
	return (struct timespec){.tv_sec = (time_t)seconds, .tv_nsec = nanoseconds};
}

static int carried_out(struct vex_inode *inode, const struct fuse_setattr_in *arg, int owner, uint32_t asked)
{
	struct timespec times[2] = {when(asked, FATTR_ATIME, FATTR_ATIME_NOW, arg->atime, arg->atimensec),
				    when(asked, FATTR_MTIME, FATTR_MTIME_NOW, arg->mtime, arg->mtimensec)};

	if (owner) { /* of no field at all too: chown(-1, -1), which clears suid and sgid all the same */
		if (fchownat(inode->fd, "", asked & FATTR_UID ? arg->uid : (uid_t)-1,
			     asked & FATTR_GID ? arg->gid : (gid_t)-1, AT_EMPTY_PATH))
			return -1;
		vex_skip(VEX_OWNER);
	}
	if (asked & FATTR_SIZE) {
		if (vex_truncate(inode, asked & FATTR_FH ? arg->fh : UINT64_MAX, (int64_t)arg->size))
			return -1;
		vex_skip(VEX_TRUNCATED);
	}
	if (asked & FATTR_MODE) {
		if (fchmodat(vex_links, vex_link(inode->fd), arg->mode & 07777, 0))
			return -1;
		vex_skip(VEX_MODE);
	}
	if (asked & TIMES) {
		if (utimensat(vex_links, vex_link(inode->fd), times, 0))
			return -1;
		if (!(asked & FATTR_SIZE)) /* a truncation sets mtime along the way */
			vex_skip(VEX_TIMES);
	}
	return 0;
}

int vex_setattr(const struct fuse_in_header *in, const struct fuse_setattr_in *arg)
{
	struct vex_inode *inode = vex_may_change() && vex_links >= 0 ? vex_find(in->nodeid) : NULL;
	uint32_t asked = arg->valid;
	int owner = asked & OWNER || !(asked & (FATTR_SIZE | FATTR_MODE | TIMES)), error;
	struct fuse_attr_out out;
	struct stat st;

	if (!inode || inode->fd < 0 || inode->theirs || heard(inode, owner, asked) || fstat(inode->fd, &st) ||
	    (asked & FATTR_SIZE &&
	     (!S_ISREG(st.st_mode) || st.st_mode & (S_ISUID | S_ISGID) || st.st_blocks * 512 > FREED_INLINE)))
		return 0;
	vex_compare(inode, &st);
	error = carried_out(inode, arg, owner, asked) ? errno : 0;
	if (fstat(inode->fd, &st))
		error = error ? error : errno;
	else {
		if (asked & (FATTR_SIZE | TIMES))
			vex_mark(inode, &st);
		vex_fill_attributes(&out, inode, &st);
		vex_written(inode);
	}
	vex_reply(in, error, &out, error ? 0 : sizeof(out));
	return 1;
}
