"""The workflows directory: loads every definition, follows changes, keeps the last good version of each.

Files `*.yaml`, `*.yml`, `*.json` hold a workflow, a book of rules, patterns, a machine or thresholds, a `*.lua` or
`*.js` file declares a workflow, a `*.scxml` file is a machine; other names and hidden files are not ours. Changes are
taken whole: a file is read once it is written, and all that changed goes live in one step.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final

import trio

from automation.analytics.forms import Analytics
from automation.bus import Bus
from automation.definitions import Workflow
from automation.errors import CallerError, DefinitionError, WorldError
from automation.events import SemanticEvent
from automation.inotify import DirectoryWatch
from automation.loading import examine_form, examine_source, most_telling
from automation.machines import loading as machines
from automation.machines.machine import Machine
from automation.machines.thresholds import ThresholdsForm
from automation.models.forms import AdaptiveForm, ModelForm
from automation.patterns.collection import Collection, check_names, examine_collection, is_collection, patterns_of
from automation.provenance.forms import ProvenanceForm
from automation.provenance.needs import unmet_in
from automation.requester import requester
from automation.rules.book import Book, check_books, examine_book, is_book
from automation.scripts.declaration import declare
from automation.scripts.pool import ScriptPool
from automation.sources import MOST_BYTES, Source, read_source
from automation.switches import Switches
from automation.versions import Versions

log: Final = logging.getLogger(__name__)

DECLARING: Final = (".lua", ".js")  # scripts that declare a workflow
SUFFIXES: Final = (".yaml", ".yml", ".json", *DECLARING, ".scxml")
QUIET_SECONDS: Final = 0.05  # several files copied at once are one change
LARGE: Final = 16_384  # characters; what is longer is examined in a thread, so that the mount goes on answering
EXPECTATIONS: Final = (".test.yaml", ".test.yml", ".test.json")  # for `vexfs test`
Definition = (
    Workflow | Book | Machine | Collection | ThresholdsForm | Analytics | ProvenanceForm | ModelForm | AdaptiveForm
)
Declare = Callable[[str, str], Awaitable[dict[str, Any]]]
"""Path and text of a Lua file → the mapping that a YAML file would hold; DefinitionError when it declares none."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of the library. `definition` is the last good version (`text` its text), None if there never was one;
    `error` says what is wrong with the file as it is now. `fault` is why VexFS switched the workflow off itself.
    """

    name: str
    file: str
    text: str
    definition: Definition | None
    error: DefinitionError | None
    version: int
    loaded_ns: int
    enabled: bool
    fault: str = ""

    @property
    def active(self) -> bool:
        """Whether the workflow reacts."""
        return self.definition is not None and self.enabled and not self.fault

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a person."""
        out: dict[str, Any] = {"name": self.name, "file": self.file, "version": self.version, "active": self.active}
        if self.definition is not None:
            out |= {"enabled": self.enabled, "description": self.definition.description}
        if self.error is not None:
            out |= {"error": str(self.error), "line": self.error.line, "field": self.error.field}
        return out | ({"fault": self.fault} if self.fault else {})


class Library:
    """Borrows `directory_fd`, which was opened before mounting. `on_change(old, new)` is told of each entry that
    changed, in one step of the loop for all files that changed together. `objection(file, definition)` says why one
    that is right may not be loaded, `unmet(file, text, definition)` what it needs that is not there; `ready` waits
    for what others need. Unless `hot`, what is there at the start stays until the end.
    """

    def __init__(
        self,
        bus: Bus,
        directory_fd: int,
        declare: Declare,
        shown: str = "workflows",
        *,
        hot: bool = True,
        switches: Switches | None = None,
        versions: Versions | None = None,
    ) -> None:
        self.on_change: Callable[[Entry | None, Entry | None], None] = lambda old, new: None
        self.check_book: Callable[[Book, list[Book]], list[DefinitionError]] = lambda book, others: []
        self.prepare_book: Callable[[Book], Awaitable[None]] = _prepared
        self.ready: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint
        self.objection: Callable[[str, Definition], str] = lambda file, definition: ""
        self.unmet: Callable[[str, str, Definition], DefinitionError | None] = lambda file, text, definition: None
        self.hot: Final = hot
        self.directory: Final = shown
        self._bus: Final = bus
        self._fd: Final = directory_fd
        self._declare: Final = declare
        self._entries: dict[str, Entry] = {}
        self._by_file: dict[str, str] = {}
        self._digests: Final[dict[str, bytes]] = {}
        self._enabled: Final = switches or Switches("definition")
        self._versions: Final = versions or Versions()
        self._lock: Final = trio.Lock()
        self._via = "mount"
        self._again = trio.Event()

    @property
    def entries(self) -> Mapping[str, Entry]:
        """Every workflow by name, broken ones too."""
        return MappingProxyType(self._entries)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Load, then follow the directory until cancelled."""
        watch = self._watch() if self.hot else None
        try:
            await self.reload()
            self._via = "directory"
            task_status.started()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._look_again)
                while watch is not None:
                    await watch.changed()
                    await trio.sleep(QUIET_SECONDS)
                    await self._reload_safely()
        finally:
            if watch is not None:
                watch.close()

    async def _look_again(self) -> None:
        while self.hot:
            await self._again.wait()
            self._again = trio.Event()
            await self.ready()
            await self._reload_safely()

    async def _reload_safely(self) -> None:
        try:
            await self.reload()
        except OSError as error:
            log.warning("%s cannot be read: %s; what is loaded goes on", self.directory, error.strerror)

    async def reload(self) -> list[DefinitionError]:
        """Read what changed; the errors of all files as they are now."""
        async with self._lock, _without_collection():
            texts = await trio.to_thread.run_sync(self._read_changed)
            news: list[tuple[str, str, Definition | None, DefinitionError | None]] = []
            for file in sorted(texts.changed):
                text = texts.changed[file]
                if isinstance(text, DefinitionError):
                    news.append((file, "", None, text))
                else:
                    news.append((file, text, *await self._examine(file, text)))
            books = [one for _, _, one, error in news if error is None and isinstance(one, Book)]
            for i, (file, text, definition, error) in enumerate(news):
                if error is None and isinstance(definition, Book):
                    news[i] = (file, text, definition, await self._ready(definition, books))
            for file in texts.gone:
                self._drop(file)
            asked = [isinstance(one[2], ProvenanceForm) for one in news]  # by others, so they come first
            for first in (True, False):
                with self._versions.together():
                    for one, is_asked in zip(news, asked, strict=True):
                        if is_asked is first:
                            self._take(*one)
                if first and any(asked):
                    await self.ready()
        return [entry.error for entry in self._entries.values() if entry.error is not None]

    async def install(self, filename: str, text: str) -> Entry:
        """Write a definition into the directory and let it react; DefinitionError when it is wrong: then nothing
        changes but the entry of that file, which shows the error.
        """
        if not is_definition(filename) or "/" in filename:
            raise CallerError(f"{filename!r} is no name for a definition; end it in .yaml, .json, .lua, .js or .scxml")
        self.check_hot()
        async with self._lock, _without_collection():
            definition, error = await self._examine(filename, text)
            if error is None and definition is not None:
                error = self._conflict(filename, text, definition)
            if error is None and isinstance(definition, Book):
                error = await self._ready(definition, [])
            if error is not None or definition is None:
                raise self._refused(filename, error or DefinitionError(filename, None, "", "holds no workflow"))
            data = text.encode("utf-8", "surrogateescape")
            try:
                await trio.to_thread.run_sync(self._write, filename, data)
            except OSError as failure:
                raise WorldError(f"cannot write {filename} to {self.directory}: {failure.strerror}") from failure
            self._digests[filename] = _digest(data)
            self._take(filename, text, definition, None)
            await self.ready()
            return self._entries[definition.name]

    async def rollback(self, name: str, version: int | None = None) -> Entry:
        """Write an earlier version of a definition's file anew, by default the one before the present; a file that is
        refused as it is, or gone, gets its last good version. It becomes a new version. CallerError when it is not
        kept.
        """
        kept = self.versions(name)
        present = self._entries.get(name)
        good = present is not None and present.error is None
        below = present.version if present is not None and good else 1 << 62
        earlier = [number for number in kept if (number < below if version is None else number == version)]
        chosen = self._versions.text(name, earlier[-1]) if earlier else None
        if chosen is None:
            shown = ", ".join(map(str, kept)) or "none"
            wanted = "an earlier version" if version is None else f"version {version}"
            raise CallerError(f"{wanted} of {name!r} is not kept; the versions are: {shown}")
        return await self.install(*chosen)

    def versions(self, name: str) -> dict[int, int]:
        """The versions that can be rolled back to, and when each was loaded (ns): the last 10, over all mounts."""
        return self._versions.of(name)

    async def uninstall(self, name: str) -> None:
        """Remove the file of a workflow; CallerError when there is none of that name."""
        self.check_hot()
        entry = self.entry(name)
        async with self._lock:
            try:
                await trio.to_thread.run_sync(lambda: os.unlink(entry.file, dir_fd=self._fd))
            except FileNotFoundError:
                log.debug("%s was gone already", entry.file)
            except OSError as failure:
                raise WorldError(f"cannot remove {entry.file}: {failure.strerror}") from failure
            self._drop(entry.file)

    def check_hot(self) -> None:
        """CallerError when definitions cannot change while mounted."""
        if not self.hot:
            raise CallerError("definitions cannot change while mounted: enable_hot_reload is false")

    def entry(self, name: str) -> Entry:
        """The entry of that name; CallerError when there is none."""
        found = self._entries.get(name)
        if found is None:
            raise CallerError(f"there is no workflow called {name!r}")
        return found

    def enable(self, name: str) -> None:
        """Let a workflow react (again), after a fault too."""
        self._set(name, enabled=True, fault="")

    def disable(self, name: str) -> None:
        """Let a workflow react no more, until it is enabled."""
        self._set(name, enabled=False, fault=self.entry(name).fault)

    def fail(self, name: str, reason: str) -> None:
        """Switch a workflow off because it misbehaved; a changed file or `enable` switches it on again."""
        entry = self._entries.get(name)
        if entry is not None:
            self._swap(entry, replace(entry, fault=reason), "failed", reason)

    def _set(self, name: str, *, enabled: bool, fault: str) -> None:
        entry = self.entry(name)
        self._enabled[name] = enabled
        if (entry.enabled, entry.fault) != (enabled, fault):
            self._swap(entry, replace(entry, enabled=enabled, fault=fault), "enabled" if enabled else "disabled")

    # One file

    async def _ready(self, book: Book, others: list[Book]) -> DefinitionError | None:
        """Check a book beside the others that come with it, and prepare it; the first error."""
        try:
            if book.size > LARGE:
                errors = await trio.to_thread.run_sync(self.check_book, book, others)
            else:
                errors = self.check_book(book, others)
            if not errors:
                await self.prepare_book(book)
        except Exception as error:
            log.exception("checking %s met a bug", book.file)
            return DefinitionError(book.file, None, "", f"cannot be checked: {error!r}")
        return errors[0] if errors else None

    async def _examine(self, file: str, text: str) -> tuple[Definition | None, DefinitionError | None]:
        workflow: Definition | None
        try:
            if file.endswith(DECLARING):
                workflow, errors = examine_source(Source(file, await self._declare(file, text), {}))
            elif len(text) > LARGE:
                workflow, errors = await trio.to_thread.run_sync(examined, file, text)
            else:
                workflow, errors = examined(file, text)
        except DefinitionError as error:
            return None, error
        except Exception as error:
            log.exception("examining %s met a bug", file)
            return None, DefinitionError(file, None, "", f"cannot be examined: {error!r}")
        return workflow, most_telling(errors) if errors else None

    def _take(self, file: str, text: str, workflow: Definition | None, error: DefinitionError | None) -> None:
        """Let the new version of a file take effect, or show why it cannot."""
        old = self._entries.get(self._by_file.get(file, ""))
        if workflow is not None and error is None:
            error = self._conflict(file, text, workflow)
        if error is not None or workflow is None:
            error = error or DefinitionError(file, None, "", "holds no workflow")
            if old is None or str(old.error) != str(error):
                self._note_error(file, text, old, error)
            return
        if old is not None and old.name != workflow.name:
            self._drop(file)
            old = None
        loaded_ns = time.time_ns()
        new = Entry(
            name=workflow.name,
            file=file,
            text=text,
            definition=workflow,
            error=None,
            version=self._versions.keep(workflow.name, file, text, loaded_ns, old.version if old else 0),
            loaded_ns=loaded_ns,
            enabled=self._enabled.get(workflow.name, workflow.enabled),
        )
        self._by_file[file] = new.name
        self._swap(old, new, "loaded" if old is None or old.definition is None else "changed")

    def _note_error(self, file: str, text: str, old: Entry | None, error: DefinitionError) -> None:
        log.warning("%s", error)
        if old is None:
            name = self._free_name(file)
            self._by_file[file] = name
            new = Entry(name, file, text, None, error, 0, time.time_ns(), enabled=True)
        else:
            new = replace(old, error=error)
        self._swap(old, new, "refused", str(error))

    def _refused(self, file: str, error: DefinitionError) -> DefinitionError:
        old = self._entries.get(self._by_file.get(file, ""))
        if old is not None:
            self._note_error(file, old.text, old, error)
        else:
            self._publish(os.path.splitext(file)[0], file, 0, "refused", str(error))
        return error

    def _conflict(self, file: str, text: str, workflow: Definition) -> DefinitionError | None:
        reason = self.objection(file, workflow)
        if reason:
            return DefinitionError(file, None, "", reason)
        if (error := self.unmet(file, text, workflow)) is not None:
            return error
        other = self._entries.get(workflow.name)
        if other is None or other.file == file or other.definition is None:
            return self._pattern_conflict(file, workflow)
        return DefinitionError(file, None, "name", f"{other.file} holds a workflow called {workflow.name!r} already")

    def _pattern_conflict(self, file: str, new: Definition) -> DefinitionError | None:
        names = patterns_of(new).keys()
        for other in self._entries.values() if names else ():
            shared = names & patterns_of(other.definition).keys() if other.file != file else None
            if shared:
                name = min(shared)
                reason = f"{other.file} holds a pattern called {name!r} already"
                return DefinitionError(file, None, f"patterns.{name}", reason)
        return None

    def _free_name(self, file: str) -> str:
        stem = os.path.splitext(file)[0]
        return file if stem in self._entries else stem

    def _drop(self, file: str) -> None:
        self._digests.pop(file, None)
        old = self._entries.get(self._by_file.pop(file, ""))
        if old is not None:
            self._swap(old, None, "removed")

    def _swap(self, old: Entry | None, new: Entry | None, status: str, reason: str = "") -> None:
        if old is not None and (new is None or new.name != old.name):
            del self._entries[old.name]
        if new is not None:
            self._entries[new.name] = new
        self.on_change(old, new)
        if new is not None and new.active and isinstance(new.definition, ProvenanceForm):
            self._reconsider()
        one = new or old
        if one is not None:
            self._publish(one.name, one.file, one.version, status, reason)

    def _reconsider(self) -> None:
        """Read again, at the next look, the files that were refused: what they lacked may be there now."""
        for entry in self._entries.values():
            if entry.error is not None:
                self._digests.pop(entry.file, None)
        self._again.set()

    def _publish(self, name: str, file: str, version: int, status: str, reason: str) -> None:
        attrs = {"name": name, "file": file, "version": version, "status": status, "via": self._via}
        one = requester()
        if one is not None:
            attrs["via"] = one.via
        uid = self._owner(file) if one is None else one.uid
        attrs |= {"reason": reason} if reason else {}
        self._bus.publish(SemanticEvent("system.definition", uid=uid, attrs=attrs))

    def _owner(self, file: str) -> int:
        """Whose the file is: nobody tells who changed it in the directory itself."""
        try:
            return os.stat(file, dir_fd=self._fd).st_uid
        except OSError:
            return 0  # it is gone

    # The directory

    def _watch(self) -> DirectoryWatch | None:
        try:
            return DirectoryWatch(self._fd)
        except OSError as error:
            log.warning("changes in %s are seen after `reload` only: %s", self.directory, error)
            return None

    def _read_changed(self) -> _Changes:
        """In a thread: the texts of the files that differ from what was read last."""
        names = [name for name in os.listdir(self._fd) if is_definition(name)]
        gone = sorted(set(self._by_file) - set(names))
        changed: dict[str, str | DefinitionError] = {}
        for name in names:
            try:
                data = _read(self._fd, name)
            except OSError as error:
                data = b""
                changed[name] = DefinitionError(name, None, "", f"cannot be read: {error.strerror}")
            digest = _digest(data)
            if name in changed or self._digests.get(name) == digest:
                continue
            self._digests[name] = digest
            try:
                changed[name] = data.decode()
            except UnicodeDecodeError as error:
                line = data[: error.start].count(b"\n") + 1
                changed[name] = DefinitionError(name, line, "", "the file is no UTF-8 text")
        return _Changes(changed, gone)

    def _write(self, name: str, data: bytes) -> None:
        temporary = f".{name}.new"
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644, dir_fd=self._fd)
        with open(fd, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(fd)
        os.rename(temporary, name, src_dir_fd=self._fd, dst_dir_fd=self._fd)


KINDS: Final[Mapping[str, type[Analytics | ProvenanceForm | ModelForm | AdaptiveForm]]] = MappingProxyType(
    {"analytics": Analytics, "provenance": ProvenanceForm, "model": ModelForm, "adaptive": AdaptiveForm}
)
"""Definitions that say what they are and that a form describes whole."""


@dataclass(frozen=True, slots=True)
class _Changes:
    changed: dict[str, str | DefinitionError]
    gone: list[str]


def is_definition(name: str) -> bool:
    """Whether a file of this name belongs to the library."""
    return name.endswith(SUFFIXES) and not name.startswith(".") and not name.endswith(EXPECTATIONS)


def examined(file: str, text: str) -> tuple[Definition | None, list[DefinitionError]]:
    """A file by what it holds: a machine, a book of rules, patterns alone, or a workflow."""
    if file.endswith(".scxml"):
        return machines.examine(file, text)
    try:
        source = read_source(file, text)
    except DefinitionError as error:
        return None, [error]
    if machines.is_machine(source.value):
        return machines.examine_source(source)
    if machines.is_system(source.value):
        return machines.examine_system(source)
    kind = source.value.get("kind") if isinstance(source.value, dict) else None
    if isinstance(kind, str) and kind in KINDS:
        return examine_form(source, KINDS[kind])
    if is_book(source):
        return examine_book(source, text)
    return examine_collection(source) if is_collection(source) else examine_source(source)


@contextlib.asynccontextmanager
async def _without_collection() -> AsyncIterator[None]:
    """A large file is made into many objects and no cycles. Looking for those meanwhile would stop the mount for 100 to
    200 ms, several times for a file of 5,000 rules.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


async def _prepared(book: Book) -> None:
    """Nothing to prepare where nobody keeps rules."""


def _read(directory_fd: int, name: str) -> bytes:
    fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=directory_fd)
    with open(fd, "rb") as stream:
        return stream.read(MOST_BYTES + 1)


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def check(paths: Iterable[str]) -> list[DefinitionError]:
    """Every error in the given files and directories of definitions, without running anything but `declare` of Lua
    files; for `vexfs check`. A path that cannot be read is a CallerError.
    """
    return trio.run(_check, list(paths))


async def _check(paths: list[str]) -> list[DefinitionError]:
    errors: list[DefinitionError] = []
    names: dict[tuple[str, str], str] = {}
    books: list[Book] = []
    loaded: dict[str, Definition] = {}
    for file, workflow, found in await _examine([file for path in paths for file in files_of(path)]):
        errors += found
        if isinstance(workflow, Book):
            books.append(workflow)
        if workflow is not None:
            loaded[file] = workflow
            other = names.setdefault((os.path.dirname(file), workflow.name), file)
            if other != file:
                reason = f"{other} holds a workflow called {workflow.name!r} already"
                errors.append(DefinitionError(file, None, "name", reason))
    return errors + check_books(books) + check_names(loaded, paths) + list(unmet_in(loaded, paths))


def examine_files(files: Iterable[str]) -> list[tuple[str, Definition | None, list[DefinitionError]]]:
    """What each file holds, or what is wrong with it; for tools that work without a mount. CallerError for a file that
    cannot be read.
    """
    return trio.run(_examine, list(files))


async def _examine(files: list[str]) -> list[tuple[str, Definition | None, list[DefinitionError]]]:
    async with ScriptPool() as pool:
        return [(file, *await _check_file(file, lambda p, t: declare(pool, p, t))) for file in files]


def files_of(path: str) -> list[str]:
    """The definition that a path is, or those directly in a directory; CallerError for what is neither."""
    try:
        if os.path.isdir(path):
            return [os.path.join(path, name) for name in sorted(os.listdir(path)) if is_definition(name)]
        os.stat(path)
    except OSError as error:
        raise CallerError(f"cannot read {path}: {error.strerror}") from error
    if not is_definition(os.path.basename(path)):
        raise CallerError(f"{path} is no definition; its name must end in .yaml, .yml, .json, .lua, .js or .scxml")
    return [path]


async def _check_file(file: str, declare: Declare) -> tuple[Definition | None, list[DefinitionError]]:
    try:
        text = await trio.Path(file).read_text(encoding="utf-8")
        if not file.endswith(DECLARING):
            return examined(file, text)
        return examine_source(Source(file, await declare(file, text), {}))
    except DefinitionError as error:
        return None, [error]
    except UnicodeDecodeError:
        return None, [DefinitionError(file, None, "", "the file is no UTF-8 text")]
    except OSError as error:
        raise CallerError(f"cannot read {file}: {error.strerror}") from error
