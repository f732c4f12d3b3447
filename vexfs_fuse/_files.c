/* Files that the library opens, creates and closes itself, where nobody hears of it nor of what is read and written.
 *
 * The open files of an inode are all the library's or all Python's: before Python looks at one it takes over what is
 * open of it here (`vex_take_files`), and an inode of which it has files open is left to it. A file that is opened and
 * closed again in between is never known to Python, but for what the watch on the backing tree must know of writers
 * (_watch.c).
 */
#include "_change.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#define HANDLES 1024 /* buckets */
#define LADEN 1000 /* things that Python has to do; with more, it does the next ones */
#define SET_IDS (S_ISUID | S_ISGID)
#define VEX_FOPEN_NOFLUSH (1 << 5)
#define VEX_FOPEN_PASSTHROUGH (1 << 7)
#define INVALIDATE_INODE 2

static struct file {
	struct file *next;
	struct vex_inode *inode;
	int fd, flags, created, native;
	int changed, truncated; /* a write was noticed before the close; its size was set through it */
	uint32_t pid, uid, gid;
	int64_t size, mtime; /* at the open, or when they were last set */
} *files[HANDLES];
EXPORT int vex_files;
EXPORT int vex_links = -1; /* the directory of our magic links */

struct taken {
	uint64_t ino;
	int64_t size, mtime;
	int32_t fd, flags, created, native, backing_id, changed, truncated;
	uint32_t pid, uid, gid;
};

static int writable(int flags)
{
	return (flags & O_ACCMODE) != O_RDONLY;
}

static int maps(const struct file *file)
{
	return file->native && (file->flags & O_ACCMODE) == O_RDWR;
}

const char *vex_link(int fd)
{
	static char link[16];

	snprintf(link, sizeof(link), "%d", fd);
	return link;
}

static int reopen(int fd, int flags)
{
	return openat(vex_links, vex_link(fd), (flags & ~(O_CREAT | O_EXCL | O_NOFOLLOW)) | O_CLOEXEC);
}

/* Whether a file of this name is opened, used and closed without anybody who hears of it. */
static int unheard(const struct vex_inode *parent, const char *name)
{
	return vex_links >= 0 && vex_unheard_in(VEX_OPENED, parent, name) && vex_unheard_in(VEX_CLOSED, parent, name) &&
	       vex_unheard_in(VEX_READ, parent, name) && vex_unheard_in(VEX_WRITTEN, parent, name) &&
	       vex_unheard_in(VEX_FLUSH, parent, name);
}

/* The kernel is to ask for the attributes anew: it does not know what a mapping of the backing file changed. */
static void expire(const struct vex_inode *inode)
{
	struct {
		struct fuse_out_header head;
		struct fuse_notify_inval_inode_out body;
	} out = {.head = {.len = sizeof(out), .error = INVALIDATE_INODE}, .body = {.ino = inode->ino, .off = -1}};

	if (write(vex_session_fd, &out, sizeof(out)) < 0)
		return; /* the kernel did not know it */
}

/* Remember it, and say what goes into the reply. */
static struct file *opened(const struct fuse_in_header *in, struct vex_inode *inode, int fd, int flags,
			   const struct stat *st, int created, struct vex_open_out *out)
{
	struct file *file = malloc(sizeof(*file));

	if (!file)
		return NULL;
	if (vex_agreed & VEX_PASSTHROUGH && !inode->backing_id && !inode->opens) {
		inode->backing_id = vex_backing_open(fd);
		if (inode->backing_id < 0)
			inode->backing_id = 0; /* stacked too deep, say: this file's data comes through us */
	}
	*file = (struct file){.next = files[fd % HANDLES],
			      .inode = inode,
			      .fd = fd,
			      .flags = flags,
			      .created = created,
			      .native = inode->backing_id != 0,
			      .pid = in->pid,
			      .uid = in->uid,
			      .gid = in->gid,
			      .size = st->st_size,
			      .mtime = vex_modified(st)};
	files[fd % HANDLES] = file;
	vex_files++;
	inode->opens++;
	if (maps(file)) {
		inode->mappers++;
		if (!created)
			expire(inode);
	}
	*out = (struct vex_open_out){.fh = (uint64_t)fd,
				     .open_flags = VEX_FOPEN_NOFLUSH | (file->native ? VEX_FOPEN_PASSTHROUGH : 0),
				     .backing_id = inode->backing_id};
	vex_skip(VEX_OPENED);
	return file;
}

static struct file **find(uint64_t fh)
{
	struct file **at = &files[fh % HANDLES];

	while (*at && (uint64_t)(*at)->fd != fh)
		at = &(*at)->next;
	return at;
}

/* It is no longer ours. */
static void let_go(struct file **at)
{
	struct file *file = *at;

	file->inode->opens--;
	file->inode->mappers -= maps(file);
	vex_files--;
	*at = file->next;
	free(file);
}

static int differs(const struct file *file, const struct stat *st)
{
	return writable(file->flags) && (st->st_size != file->size || vex_modified(st) != file->mtime);
}

void vex_compare(const struct vex_inode *inode, const struct stat *before)
{
	for (int i = 0; inode->opens && i < HANDLES; i++)
		for (struct file *file = files[i]; file; file = file->next)
			if (file->inode == inode && differs(file, before))
				file->changed = 1;
}

void vex_mark(const struct vex_inode *inode, const struct stat *after)
{
	for (int i = 0; inode->opens && i < HANDLES; i++)
		for (struct file *file = files[i]; file; file = file->next)
			if (file->inode == inode) {
				file->size = after->st_size;
				file->mtime = vex_modified(after);
			}
}

int vex_truncate(const struct vex_inode *inode, uint64_t fh, int64_t size)
{
	struct file *file = *find(fh);
	int fd, result;

	if (file) {
		file->truncated = 1;
		return ftruncate(file->fd, size);
	}
	fd = reopen(inode->fd, O_WRONLY);
	if (fd < 0)
		return -1;
	result = ftruncate(fd, size);
	close(fd);
	return result;
}

static void closed(struct file **at, const struct stat *st)
{
	struct file *file = *at;
	struct vex_inode *inode = file->inode;

	if (file->changed || differs(file, st)) {
		vex_skip(VEX_WRITTEN);
		expire(inode);
		file->changed = 1;
	}
	if (file->changed || file->truncated) {
		vex_tell(inode, st);
		vex_written(inode);
	}
	vex_skip(VEX_CLOSED);
	if (vex_watched && writable(file->flags))
		vex_remember(inode, file->pid, file->native);
	if (inode->backing_id && inode->opens == 1) {
		vex_backing_close((uint32_t)inode->backing_id);
		inode->backing_id = 0;
	}
	close(file->fd);
	let_go(at);
	if (!inode->opens && inode->lent) {
		inode->lent = 0;
		vex_defer(inode->ino, 1);
	}
	if (!inode->opens && !inode->lookups && !inode->adopted)
		vex_discard(inode);
}

int vex_release(const struct fuse_in_header *in, uint64_t fh)
{
	struct file **at = find(fh);
	struct vex_inode *parent;
	struct stat st;

	if (*at) {
		vex_ask_about((*at)->inode->ino);
		at = find(fh);
	}
	if (!*at || vex_deferred_count >= LADEN || vex_renamed > VEX_ROOM || !vex_remembers() || !(parent = vex_find((*at)->inode->parent)) ||
	    !vex_unheard_in(VEX_CLOSED, parent, (*at)->inode->name) ||
	    !vex_unheard_in(VEX_WRITTEN, parent, (*at)->inode->name) || fstat((*at)->fd, &st) ||
	    (!st.st_nlink && st.st_blocks * 512 > FREED_INLINE))
		return 0;
	vex_reply(in, 0, NULL, 0);
	closed(at, &st);
	return 1;
}

/* Filesystems in memory: there is nothing to wait for. */
static int in_memory(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC);
}

int vex_fsync(const struct fuse_in_header *in, uint64_t fh)
{
	const struct file *file = *find(fh);
	const struct vex_inode *inode = vex_may_change() ? vex_find(in->nodeid) : NULL;
	const struct vex_inode *parent = !inode || inode->kind == S_IFDIR ? inode : vex_find(inode->parent);

	if (!parent || inode->fd < 0 || (!file && inode->kind != S_IFDIR) ||
	    !vex_unheard_in(VEX_FSYNC, parent, inode->name) || !in_memory(inode->fd))
		return 0;
	vex_skip(VEX_FSYNC);
	vex_reply(in, 0, NULL, 0);
	return 1;
}

/* Whether a file may be emptied here. */
static int emptied(const struct vex_inode *inode, const struct vex_inode *parent, struct stat *st)
{
	return !fstat(inode->fd, st) && !(st->st_mode & SET_IDS) && st->st_blocks * 512 <= FREED_INLINE &&
	       vex_unheard_in(VEX_TRUNCATED, parent, inode->name);
}

int vex_open(const struct fuse_in_header *in, uint32_t flags)
{
	struct vex_inode *inode = vex_may_change() ? vex_find(in->nodeid) : NULL, *parent;
	struct vex_open_out out;
	struct stat st, before = {0};
	struct file *file;
	int fd;

	if (!inode || inode->fd < 0 || inode->kind != S_IFREG || inode->theirs || !(parent = vex_find(inode->parent)) ||
	    flags & (O_DIRECT | O_CREAT) || !unheard(parent, inode->name) ||
	    (flags & O_TRUNC && !emptied(inode, parent, &before)))
		return 0;
	fd = reopen(inode->fd, (int)flags);
	if (fd < 0) {
		vex_reply(in, errno, NULL, 0);
		return 1;
	}
	if (fstat(fd, &st) || st.st_mode & SET_IDS || !(file = opened(in, inode, fd, (int)flags, &st, 0, &out))) {
		close(fd);
		return 0;
	}
	if (before.st_size) {
		file->truncated = 1;
		vex_skip(VEX_TRUNCATED);
	}
	if (!vex_reply(in, 0, &out, sizeof(out)))
		closed(find((uint64_t)fd), &st);
	return 1;
}

/* The inode of the file that was just made. */
static struct vex_inode *met(const struct vex_inode *parent, const char *name, int fd, const struct stat *st)
{
	int path_fd = vex_find_object(st) ? -1 : reopen(fd, O_PATH);
	struct vex_inode *inode = path_fd < 0 ? NULL : vex_make(st, path_fd, parent->ino, name);

	if (!inode && path_fd >= 0)
		close(path_fd);
	return inode;
}

int vex_create(const struct fuse_in_header *in, const struct fuse_create_in *arg)
{
	const char *name = (const char *)(arg + 1);
	struct vex_inode *parent = vex_directory(in->nodeid, name), *inode;
	struct {
		struct fuse_entry_out entry;
		struct vex_open_out open;
	} out;
	struct stat st;
	uint32_t mode;
	int fd;

	if (!parent || arg->flags & (O_DIRECT | O_DIRECTORY) || arg->mode & SET_IDS || vex_crowded() ||
	    !vex_unheard_in(VEX_CREATED, parent, name) || !unheard(parent, name))
		return 0;
	mode = vex_masked(parent, arg->mode, arg->umask);
	vex_become(in);
	fd = openat(parent->fd, name, (int)arg->flags | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
	vex_return(in);
	if (fd < 0) {
		if (errno == EEXIST && !(arg->flags & O_EXCL))
			return 0;
		vex_reply(in, errno, NULL, 0);
		return 1;
	}
	if (fstat(fd, &st) || !(inode = met(parent, name, fd, &st)))
		return vex_open_made(in, name, (int)arg->flags, fd);
	if (!opened(in, inode, fd, (int)arg->flags, &st, 1, &out.open))
		return vex_open_made(in, name, (int)arg->flags, fd);
	vex_skip(VEX_CREATED);
	vex_fill_entry(&out.entry, inode, &st);
	if (vex_reply(in, 0, &out, sizeof(out)))
		inode->lookups++;
	else
		closed(find((uint64_t)fd), &st);
	return 1;
}

int vex_writes(const char *key, size_t length)
{
	for (int i = 0; vex_files && i < HANDLES; i++)
		for (const struct file *file = files[i]; file; file = file->next)
			if (file->native && writable(file->flags) && vex_is_named(file->inode, key, length))
				return 1;
	return 0;
}

/* The inode of an open file; 0 if it is none of ours. */
EXPORT uint64_t vex_inode_of(uint64_t fh)
{
	const struct file *file = *find(fh);

	return file ? file->inode->ino : 0;
}

/* The files that are open here, of one inode or of all (0), at most `room`, for Python to take over with their inodes'
 * backing ids. */
EXPORT int vex_take_files(uint64_t ino, struct taken *out, int room)
{
	int count = 0;

	for (int i = 0; vex_files && i < HANDLES; i++)
		for (struct file **at = &files[i]; *at && count < room;) {
			const struct file *file = *at;
			struct vex_inode *inode = file->inode;

			if (ino && inode->ino != ino) {
				at = &(*at)->next;
				continue;
			}
			out[count++] = (struct taken){.ino = inode->ino,
						      .size = file->size,
						      .mtime = file->mtime,
						      .fd = file->fd,
						      .flags = file->flags,
						      .created = file->created,
						      .native = file->native,
						      .backing_id = inode->backing_id,
						      .changed = file->changed,
						      .truncated = file->truncated,
						      .pid = file->pid,
						      .uid = file->uid,
						      .gid = file->gid};
			inode->theirs++;
			let_go(at);
			if (!inode->opens) {
				inode->backing_id = 0;
				if (inode->lent)
					vex_defer(inode->ino, 1);
				inode->lent = 0;
			}
		}
	return count;
}

/* What nobody took over, of a mount that has ended. */
EXPORT void vex_close_files(void)
{
	for (int i = 0; i < HANDLES; i++)
		while (files[i]) {
			close(files[i]->fd);
			let_go(&files[i]);
		}
}
