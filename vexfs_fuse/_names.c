/* Names that are made, moved and removed by the library itself, where nobody hears of it: mkdir, symlink, unlink, rmdir, rename.
 *
 * What it does to inodes is the same as what Python's handlers do (namespace.py), which have everything that is not
 * plain: what is heard or judged, hard links, objects whose name is not known or not the one asked for, and whatever
 * the caller could be told in more than an errno. Python learns of new names when it next looks (`vex_follow`).
 */
#include "_change.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/xattr.h>
#include <unistd.h>

#define PLAIN_NS 1000000000LL /* for which a directory is taken to have no default ACL */
#define NO_SETUID_FIXUP (1 << 2)

/* Who we are, and whether we may act as others (credentials.py). */
EXPORT struct {
	uint32_t uid, gid, bits, switches;
} vex_self;

static int changes_identity(const struct fuse_in_header *in)
{
	return vex_self.switches && (in->uid != vex_self.uid || in->gid != vex_self.gid);
}

void vex_become(const struct fuse_in_header *in)
{
	if (!changes_identity(in))
		return;
	prctl(PR_SET_SECUREBITS, vex_self.bits | NO_SETUID_FIXUP, 0, 0, 0);
	setfsgid(in->gid);
	setfsuid(in->uid);
}

void vex_return(const struct fuse_in_header *in)
{
	int code = errno;

	if (!changes_identity(in))
		return;
	setfsuid(vex_self.uid);
	setfsgid(vex_self.gid);
	prctl(PR_SET_SECUREBITS, vex_self.bits, 0, 0, 0);
	errno = code;
}

struct vex_inode *vex_directory(uint64_t ino, const char *name)
{
	struct vex_inode *inode = vex_may_change() ? vex_find(ino) : NULL;

	return inode && inode->fd >= 0 && inode->kind == S_IFDIR && !vex_is_control(ino, name) ? inode : NULL;
}

uint32_t vex_masked(struct vex_inode *parent, uint32_t mode, uint32_t umask)
{
	char link[32];
	int64_t now;

	mode &= 07777;
	if (!umask)
		return mode;
	now = vex_now();
	if (parent->plain_until < now) {
		snprintf(link, sizeof(link), "/proc/self/fd/%d", parent->fd);
		if (getxattr(link, "system.posix_acl_default", NULL, 0) >= 0)
			return mode;
		parent->plain_until = now + PLAIN_NS;
	}
	return mode & ~umask;
}

/* Whether the object with this status is one whose names the library can tell: it has no other, and is known by this
 * one if it is known at all (`*inode`). */
static int plain(const struct stat *st, uint64_t parent, const char *name, struct vex_inode **inode)
{
	*inode = vex_find_object(st);
	return (S_ISDIR(st->st_mode) || st->st_nlink == 1) &&
	       (!*inode || ((*inode)->fd >= 0 && vex_called(*inode, parent, name)));
}

/* The same of what has this name, of which only device, number and kind are told. What is known by this name is what the
 * kernel looked up, and may believe to be still there. */
static int found(const struct vex_inode *parent, const char *name, struct stat *st, struct vex_inode **inode)
{
	*inode = vex_find_name(parent->ino, name);
	if (!*inode)
		return fstatat(parent->fd, name, st, AT_SYMLINK_NOFOLLOW) == 0 && plain(st, parent->ino, name, inode);
	*st = (struct stat){.st_dev = (*inode)->dev, .st_ino = (*inode)->backing_ino, .st_mode = (*inode)->kind};
	return 1;
}

static int answer(const struct fuse_in_header *in, int result)
{
	vex_reply(in, result ? errno : 0, NULL, 0);
	return 1;
}

/* What the caller made has this name. */
static int made(const struct fuse_in_header *in, struct vex_inode *parent, const char *name)
{
	struct fuse_entry_out entry;
	struct stat st;
	struct vex_inode *inode =
		fstatat(parent->fd, name, &st, AT_SYMLINK_NOFOLLOW) ? NULL : vex_meet(parent, name, &st);

	if (!inode)
		return vex_enter_made(in, name);
	vex_fill_entry(&entry, inode, &st);
	inode->lookups += vex_reply(in, 0, &entry, sizeof(entry));
	return 1;
}

int vex_symlink(const struct fuse_in_header *in, const char *name)
{
	struct vex_inode *parent = vex_directory(in->nodeid, name);
	int result;

	if (!parent || !vex_unheard_in(VEX_SYMLINKED, parent, name) || vex_crowded())
		return 0;
	vex_become(in);
	result = symlinkat(name + strlen(name) + 1, parent->fd, name);
	vex_return(in);
	if (result)
		return answer(in, result);
	vex_skip(VEX_SYMLINKED);
	return made(in, parent, name);
}

int vex_mkdir(const struct fuse_in_header *in, const struct fuse_mkdir_in *arg)
{
	const char *name = (const char *)(arg + 1);
	struct vex_inode *parent = vex_directory(in->nodeid, name);
	uint32_t mode;
	int result;

	if (!parent || !vex_unheard_in(VEX_DIR_CREATED, parent, name) || vex_crowded())
		return 0;
	mode = vex_masked(parent, arg->mode, arg->umask);
	vex_become(in);
	result = mkdirat(parent->fd, name, mode);
	vex_return(in);
	if (result)
		return answer(in, result);
	vex_skip(VEX_DIR_CREATED);
	return made(in, parent, name);
}

int vex_remove(const struct fuse_in_header *in, const char *name, int directory)
{
	struct vex_inode *parent = vex_directory(in->nodeid, name), *inode;
	int kind = directory ? VEX_DIR_DELETED : VEX_DELETED;
	struct stat st;

	if (!parent || !vex_unheard_in(kind, parent, name) || !found(parent, name, &st, &inode) ||
	    S_ISDIR(st.st_mode) != directory)
		return 0;
	if (unlinkat(parent->fd, name, directory ? AT_REMOVEDIR : 0))
		return answer(in, -1);
	vex_skip(kind);
	if (inode)
		vex_rename(inode, parent->ino, NULL);
	return answer(in, 0);
}

int vex_move(const struct fuse_in_header *in, uint64_t to, const char *name, uint32_t flags)
{
	const char *new_name = name + strlen(name) + 1;
	struct vex_inode *from, *into, *inode, *over = NULL;
	struct stat moved, covered;
	int directory, covers = 0, kind;

	vex_ask_about(to);
	from = vex_directory(in->nodeid, name);
	into = vex_directory(to, new_name);
	if (flags || !from || !into || !found(from, name, &moved, &inode))
		return 0;
	directory = S_ISDIR(moved.st_mode);
	kind = directory ? VEX_DIR_RENAMED : VEX_RENAMED;
	if (!vex_unheard_in(kind, from, name) || !vex_unheard_in(kind, into, new_name))
		return 0;
	if (renameat2(from->fd, name, into->fd, new_name, RENAME_NOREPLACE)) {
		if (errno != EEXIST && errno != EINVAL) /* EINVAL: a filesystem without this flag, among other things */
			return answer(in, -1);
		covers = fstatat(into->fd, new_name, &covered, AT_SYMLINK_NOFOLLOW) == 0;
		if ((!covers && errno != ENOENT) ||
		    (covers && (!plain(&covered, into->ino, new_name, &over) ||
				(covered.st_ino == moved.st_ino && covered.st_dev == moved.st_dev) ||
				!vex_unheard_in(VEX_REPLACED, into, new_name))))
			return 0;
		if (renameat(from->fd, name, into->fd, new_name))
			return answer(in, -1);
	}
	vex_skip(kind);
	if (covers && !directory)
		vex_skip(VEX_REPLACED);
	if (over)
		vex_rename(over, into->ino, NULL);
	if (inode)
		vex_rename(inode, into->ino, new_name);
	return answer(in, 0);
}
