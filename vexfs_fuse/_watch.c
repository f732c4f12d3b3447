/* What the watch on the backing tree must not take for the doing of others: files that clients wrote to natively, in
 * whose name the kernel wrote and closed them (watch.py).
 *
 * A file that the library closes is remembered by the handle of its directory with its name, as notices tell it, until
 * the watch has looked twice: a kernel that tells late is forgiven one interval.
 */
#include "_change.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fanotify.h>

#define BUCKETS 1024
#define MOST 8192 /* with more, Python closes the next ones */
#define DATA (FAN_MODIFY | FAN_ATTRIB | FAN_CLOSE_WRITE)

static struct writer {
	struct writer *next;
	uint64_t ino, turn;
	uint32_t pid, native;
	size_t length;
	char key[];
} *writers[BUCKETS];
static int count;
static uint64_t turn;
EXPORT int vex_watched;

struct told {
	uint64_t ino;
	uint32_t pid, native;
	const char *key;
	size_t length;
};

static struct writer **bucket(const char *key, size_t length)
{
	uint64_t hash = 14695981039346656037ULL;

	for (size_t i = 0; i < length; i++)
		hash = (hash ^ (unsigned char)key[i]) * 1099511628211ULL;
	return &writers[hash % BUCKETS];
}

int vex_remembers(void)
{
	return !vex_watched || count < MOST;
}

/* The directory that an inode lies in, whose handle is known; NULL if it cannot be. */
static struct vex_inode *directory_of(const struct vex_inode *inode)
{
	struct vex_inode *parent = vex_find(inode->parent);
	int mount_id;
	struct {
		struct file_handle head;
		char rest[MAX_HANDLE_SZ];
	} found = {.head.handle_bytes = MAX_HANDLE_SZ};

	if (!parent || parent->fd < 0)
		return NULL;
	if (!parent->handle) {
		if (name_to_handle_at(parent->fd, "", &found.head, &mount_id, AT_EMPTY_PATH))
			return NULL;
		parent->handle_length = (uint32_t)(sizeof(found.head) + found.head.handle_bytes);
		parent->handle = malloc(parent->handle_length);
		if (!parent->handle)
			return NULL;
		memcpy(parent->handle, &found, parent->handle_length);
	}
	return parent;
}

int vex_is_named(const struct vex_inode *inode, const char *key, size_t length)
{
	size_t name = strlen(inode->name);
	const struct vex_inode *parent;

	if (length < name || memcmp(key + length - name, inode->name, name) != 0)
		return 0;
	parent = directory_of(inode);
	return parent && parent->handle_length == length - name && memcmp(parent->handle, key, length - name) == 0;
}

void vex_remember(const struct vex_inode *inode, uint32_t pid, int native)
{
	struct vex_inode *parent = directory_of(inode);
	struct writer *writer, **at;
	size_t name = strlen(inode->name), handle;

	if (!parent)
		return;
	handle = parent->handle_length;
	writer = malloc(sizeof(*writer) + handle + name);
	if (!writer)
		return;
	*writer = (struct writer){.ino = inode->ino, .turn = turn, .pid = pid, .native = (uint32_t)native};
	writer->length = handle + name;
	memcpy(writer->key, parent->handle, handle);
	memcpy(writer->key + handle, inode->name, name);
	at = bucket(writer->key, writer->length);
	writer->next = *at;
	*at = writer;
	count++;
}

/* The watch has looked: forget those of before its last look. */
EXPORT void vex_looked(void)
{
	turn++;
	for (int i = 0; count && i < BUCKETS; i++)
		for (struct writer **at = &writers[i], *gone; (gone = *at);) {
			if (gone->turn + 1 >= turn) {
				at = &gone->next;
				continue;
			}
			*at = gone->next;
			free(gone);
			count--;
		}
}

/* All that are remembered, at most `room`. */
EXPORT int vex_writers(struct told *out, int room)
{
	int told = 0;

	for (int i = 0; i < BUCKETS; i++)
		for (struct writer *writer = writers[i]; writer && told < room; writer = writer->next)
			out[told++] = (struct told){writer->ino, writer->pid, writer->native, writer->key, writer->length};
	return told;
}

/* Whether it is about data that a client wrote natively: the first record that follows tells the directory and name. */
static int of_client(const struct fanotify_event_metadata *event)
{
	const struct fanotify_event_info_fid *info = (const void *)((const char *)event + event->metadata_len);
	const struct file_handle *handle = (const void *)info->handle;
	const char *key = (const char *)handle;
	size_t length;

	if (event->mask & ~(uint64_t)DATA || info->hdr.info_type != FAN_EVENT_INFO_TYPE_DFID_NAME)
		return 0;
	length = sizeof(*handle) + handle->handle_bytes;
	length += strlen(key + length);
	for (const struct writer *writer = *bucket(key, length); writer; writer = writer->next)
		if (writer->length == length && memcmp(writer->key, key, length) == 0)
			return writer->pid == (uint32_t)event->pid || !(event->mask & (FAN_MODIFY | FAN_ATTRIB));
	return event->mask == FAN_CLOSE_WRITE && vex_writes(key, length); /* told before the release is asked for */
}

/* Whether any of these notices tells what neither this process nor such a client did. */
EXPORT int vex_foreign(const char *data, size_t length, int own)
{
	for (size_t at = 0; at < length;) {
		const struct fanotify_event_metadata *event = (const void *)(data + at);

		if (event->pid != own && !of_client(event))
			return 1;
		at += event->event_len;
	}
	return 0;
}
