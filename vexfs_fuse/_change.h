/* What the requests that change the backing tree have in common, where the library carries them out; see _names.c. */
#ifndef VEX_CHANGE_H
#define VEX_CHANGE_H

#include "_serve.h"

extern int vex_judged; /* guards have to be asked before anything is changed */

/* Whether the library may change anything, and answer for what fails. */
static inline int vex_may_change(void)
{
	return !vex_judged && vex_renamed <= VEX_ROOM && vex_silent & VEX_ABSENT;
}

/* The directory that a name is made in, moved to or taken from; NULL if that is Python's to do. */
INTERNAL struct vex_inode *vex_directory(uint64_t ino, const char *name);

/* `mode` as a new object in this directory gets it. */
INTERNAL uint32_t vex_masked(struct vex_inode *parent, uint32_t mode, uint32_t umask);

/* Act as the caller, and as ourselves again: whose new objects are. */
INTERNAL void vex_become(const struct fuse_in_header *in);
INTERNAL void vex_return(const struct fuse_in_header *in);

/* Have Python do what it has put off, and take over what the library has open of an inode: before it looks at it. */
INTERNAL void vex_settle(uint64_t ino);

/* The library's open files: how many; by handle, whether there is such a one; all of it that ends it. */
extern int vex_files;
INTERNAL int vex_open(const struct fuse_in_header *in, uint32_t flags);
INTERNAL int vex_create(const struct fuse_in_header *in, const struct fuse_create_in *arg);
INTERNAL int vex_release(const struct fuse_in_header *in, uint64_t fh);
INTERNAL int vex_fsync(const struct fuse_in_header *in, uint64_t fh);

/* Set the size of an inode, through one of its open files if it is (-1: none): 0, or -1 with errno. */
INTERNAL int vex_truncate(const struct vex_inode *inode, uint64_t fh, int64_t size);

/* Before and after size or times are set: that is not taken for a write through one of the open files. */
INTERNAL void vex_compare(const struct vex_inode *inode, const struct stat *before);
INTERNAL void vex_mark(const struct vex_inode *inode, const struct stat *after);

/* The directory of our magic links, and what is called there by the number of a descriptor. */
extern int vex_links;
INTERNAL const char *vex_link(int fd);

/* Attributes (_attributes.c). */
INTERNAL int vex_setattr(const struct fuse_in_header *in, const struct fuse_setattr_in *arg);

/* Whether a file that is closed can be remembered for the watch; and remember it (_watch.c). */
extern int vex_watched;
INTERNAL int vex_remembers(void);
INTERNAL int vex_is_named(const struct vex_inode *inode, const char *key, size_t length); /* as notices tell a name */
INTERNAL int vex_writes(const char *key, size_t length); /* whether a file of this name is open here natively for writing */
INTERNAL void vex_remember(const struct vex_inode *inode, uint32_t pid, int native);

/* Requests on names: 1, or 0 if it is Python's. */
INTERNAL int vex_mkdir(const struct fuse_in_header *in, const struct fuse_mkdir_in *arg);
INTERNAL int vex_symlink(const struct fuse_in_header *in, const char *name);
INTERNAL int vex_remove(const struct fuse_in_header *in, const char *name, int directory);
INTERNAL int vex_move(const struct fuse_in_header *in, uint64_t to, const char *name, uint32_t flags);

#endif
