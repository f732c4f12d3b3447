"""VexFS on the command line, and the one place where the engine and the filesystem are joined.

    vexfs SOURCE MOUNTPOINT      vexfs unmount MOUNTPOINT      vexfs status      vexfs check

`python mount.py` takes the same words. Exit status: 0 done, 1 the world was at fault, 2 the caller.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import importlib.util
import json
import logging
import os
import re
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

HERE: Final = os.path.dirname(os.path.realpath(__file__))

if __name__ == "__main__" and importlib.util.find_spec("pyfuse3") is None:
    # `python mount.py` with whatever Python comes first in PATH: go on in the environment that `make` has built.
    environment = os.path.join(HERE, ".venv")
    if sys.prefix != environment and os.access(f"{environment}/bin/python", os.X_OK):
        os.execv(f"{environment}/bin/python", ["python", os.path.realpath(__file__), *sys.argv[1:]])
    sys.exit(f"vexfs: this Python ({sys.executable}) lacks VexFS's libraries: run `make install` in {HERE} first")

from automation import configuration, logs  # noqa: E402 - only now are their libraries sure to be there
from automation.configuration import Settings  # noqa: E402
from automation.errors import CallerError, DefinitionError, VexError  # noqa: E402
from automation.state_directory import StateDirectory, default_path  # noqa: E402

if TYPE_CHECKING:
    from vexfs_fuse.background import Ready
    from vexfs_fuse.mounting import Place
    from vexfs_fuse.options import MountOptions

log: Final = logging.getLogger("vexfs")

Arguments = dict[str, Any]
LOCK_SECONDS: Final = 5.0  # that the state directory is waited for, when the mount before has not quite ended
Listening = tuple[socket.socket, str | None]  # the endpoint's socket, and the token that it asks for

DESCRIPTION: Final = """\
Mount a directory so that every operation on it is an event, and automations react to the events.
With DIRECTORY alone it is mounted over itself: existing paths become instrumented in place.
"""
EPILOG: Final = """\
other commands:
  unmount MOUNTPOINT    let running workflows finish, then unmount and stop
  status [MOUNTPOINT]   what is mounted, and how it is doing
  check [PATH ...]      validate workflow definitions without mounting
  replay, test          try patterns, triggers and rules on recorded events, without mounting
  record MOUNTPOINT     write events down, for replay
  explain MOUNTPOINT    why something did or did not fire
  graph MOUNTPOINT ...  who made what from what
  runs MOUNTPOINT       the newest runs of workflows
  run MOUNTPOINT NAME   start a run by hand, or a dry run
  trace MOUNTPOINT [ID] a run, step by step
  journal MOUNTPOINT    the audit trail: who did what, and why
  verify MOUNTPOINT     check that nobody changed the audit trail

SIGINT, SIGTERM, unmount and fusermount3 -u all stop it; a second SIGTERM ends the grace time, SIGHUP reloads the
definitions. While mounted, MOUNTPOINT/.vexfs/README explains the control files. All about this: docs/mounting.md
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    words = sys.argv[1:] if argv is None else argv
    if words and words[0] in TOOLS:
        logs.configure("error", "text")
        return int(importlib.import_module(TOOLS[words[0]]).main(list(words[1:])))
    command, arguments = parse(words, os.path.basename(sys.argv[0]))
    logs.configure("warning" if command is mount else "error", "text")
    try:
        return command(arguments)
    except VexError as error:
        logs.complain(str(error))
        return 2 if isinstance(error, CallerError | DefinitionError) else 1
    except BrokenPipeError:  # `vexfs status | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except KeyboardInterrupt:
        return 130
    except Exception:
        log.exception("a bug in VexFS ended it")
        return 1


def parse(words: Sequence[str], program: str) -> tuple[Callable[[Arguments], int], Arguments]:
    """The command and its arguments, those that were given. Exits with 2 when they are wrong, with 0 after --help."""
    bare = not words or words[0] not in COMMANDS
    build, command = COMMANDS["mount" if bare else words[0]]
    shown = f"python {program}" if program.endswith(".py") else "vexfs"
    parser = build(shown)
    if bare and words and not words[0].startswith("-") and not os.path.lexists(words[0]):
        near = configuration.suggest(words[0], (*COMMANDS, *TOOLS))
        if near:
            parser.exit(2, f"vexfs: {words[0]}: there is no such command or directory{near}\n")
    arguments = _arguments(parser, words if bare else words[1:])
    if bare and program == "vexfs":
        # `vexfs SRC MNT -o ...`, the call of mount(8) for an fstab line: like any FUSE program, return once mounted.
        arguments.setdefault("background", True)
    return command, arguments


def _arguments(parser: argparse.ArgumentParser, words: Sequence[str]) -> Arguments:
    """What was given; exits with 2, and names the nearest option, for a word that means nothing."""
    given, unknown = parser.parse_known_args(words)
    if unknown:
        word = unknown[0].partition("=")[0]
        known = tuple(re.findall(r"--[a-z][a-z-]+", parser.format_help()))
        near = configuration.suggest(word, known) or " (see --help)"
        what = f"there is no such option{near}" if word.startswith("-") else "that is one argument too many"
        parser.exit(2, f"vexfs: {word}: {what}\n")
    return vars(given)


def mount(arguments: Arguments) -> int:
    """Mount and serve until the mount ends; in the background, return when it answers."""
    settings, mount_options = _settings(arguments)
    if settings.source is None or settings.mountpoint is None:
        raise CallerError("say what to mount: SOURCE MOUNTPOINT, or one DIRECTORY to mount over itself (see --help)")
    from vexfs_fuse import background, mounting

    mountpoint = mounting.resolve(settings.mountpoint)
    if not mounting.answers(mountpoint):
        # While a dead mount lies there nobody can write past VexFS: what takes long to load is loaded before it goes.
        importlib.import_module("vexfs_fuse.server")
    log_file = _log_file(settings, mountpoint)
    state_dir = _state_dir(settings)
    own: dict[str | None, str] = {log_file: "the log file", state_dir: "the state directory"}
    own |= {_socket_path(settings): "the endpoint's socket"}
    place = mounting.prepare(
        settings.source,
        settings.mountpoint,
        mount_options,
        keep_out={k: v for k, v in own.items() if k} | settings.actions.own_paths | _tenants_paths(settings),
    )
    workflows = settings.workflows or default_workflows(settings.source)
    mounting.check_directory(workflows, "the directory of workflows")
    workflows_fd = os.open(workflows, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    logs.configure(settings.log_level, settings.log_format, log_file, warn=settings.background)
    kept = StateDirectory(state_dir, patience=LOCK_SECONDS) if state_dir else None
    listen = _listen(settings, kept)
    ready = background.detach() if settings.background else None
    try:
        _serve(place, settings, mount_options, (workflows_fd, os.path.abspath(workflows)), kept, listen, ready)
    except VexError as error:
        if ready is None:
            raise
        log.critical("%s", error)  # the terminal may be gone, the log is not
        return 1
    finally:
        if kept is not None:
            kept.close()
        os.close(workflows_fd)
        os.close(place.root_fd)
    return 0


def _tenants_paths(settings: Settings) -> dict[str, str]:
    return {path: what for form in settings.tenants.values() for path, what in form.own_paths.items()}


def _serve(
    place: Place,
    settings: Settings,
    options: MountOptions,
    workflows: tuple[int, str],
    kept: StateDirectory | None,
    listen: Listening | None,
    ready: Ready | None,
) -> None:
    """Join the pieces and run them to the end. Everything that is opened before mounting is a descriptor by now."""
    import trio

    from automation.actions import Commands
    from automation.bus import Bus
    from automation.service import Service
    from automation.tenants.hosting import Ground, Hosting
    from automation.tenants.tenant import tenants_of
    from automation.workspace import Trash, Workspace
    from vexfs_fuse.control import ControlTree, Mount
    from vexfs_fuse.metrics import SessionMetrics
    from vexfs_fuse.server import LateCache, Server
    from vexfs_fuse.session import Session, SessionOptions

    bus = Bus()
    commands = Commands(place.mountpoint)
    cache = LateCache()
    trash = Trash(place.root_fd, settings.actions.trash_age, settings.actions.trash_size)
    workspace = Workspace(place.root_fd, bus.adopt, cache, trash)
    service = Service(
        bus,
        workspace=workspace,
        commands=commands,
        workflows=workflows[0],
        shown=workflows[1],
        kept=kept,
        event_log=settings.event_log,
        dry_run=settings.dry_run,
        automation=settings.automation,
        keeping=settings.journal,
        listen=listen,
        permissions=settings.actions,
    )
    hosting = None
    if settings.tenants and settings.automation.enable_multi_tenant_isolation:
        ground = Ground(place.root_fd, cache, place.mountpoint, settings)
        hosting = Hosting(service, tenants_of(settings.tenants), ground)
    shown = Mount(place.mountpoint, place.source)
    tree = ControlTree(service, shown)
    session = Session(
        place.root_fd,
        place.mountpoint,
        bus=bus,
        tree=tree,
        commands=commands if hosting is None else hosting.commands,
        guards=service.guards if hosting is None else hosting.guards,
        options=SessionOptions(
            fuse=options.for_libfuse(place.source),
            entry_timeout=settings.entry_timeout,
            attr_timeout=settings.attr_timeout,
            show_control=settings.show_control,
            failed_events=settings.failed_events,
            exclusive=settings.exclusive,
            io=settings.io,
            shared_locks=settings.locks == "shared",
        ),
    )
    cache.target = session.cache
    for one in (service, *service.tenants.values()):
        one.dispatcher.writers.ask(session.written_to)
    shown.facts.append(session.facts)
    service.registry.register(SessionMetrics(session.backing, session.cache, session.interest, lambda: session.watch))
    announce = ready.tell if ready else lambda: None
    try:
        trio.run(Server(service, session, settings.grace).run, announce)
        log.info("%s is unmounted", place.mountpoint)
    except* VexError as group:
        raise _first(group) from group
    finally:
        if hosting is not None:
            hosting.close()


def _settings(arguments: Arguments) -> tuple[Settings, MountOptions]:
    """The settings from all four places, and `-o` sorted out; see `automation.configuration` for who wins."""
    from vexfs_fuse import options

    given = dict(arguments)
    config = given.pop("config", None)
    if "source" in given:
        given.setdefault("mountpoint", given["source"])
    line = configuration.parse(given | {"options": tuple(given.pop("options", ()))})
    config = config or options.parse(line.options).config
    file = configuration.read(config) if config else Settings()
    try:
        options.parse(file.options)
    except CallerError as error:
        raise CallerError(f"{config}: options: {error}") from error
    sorted_out = options.parse((*file.options, *line.options))
    settings = configuration.combine(file, sorted_out.settings, line)
    if settings.source is not None and settings.mountpoint is None:
        settings = settings.model_copy(update={"mountpoint": settings.source})
    return settings, sorted_out


def _log_file(settings: Settings, mountpoint: str) -> str | None:
    """Where the log goes, as an absolute path; None is stderr, which only the foreground has."""
    if settings.log_file is not None:
        return os.path.abspath(settings.log_file)
    return logs.default_file(mountpoint) if settings.background else None


def _state_dir(settings: Settings) -> str | None:
    """Where the mount keeps what must outlive it, as an absolute path; None where nothing must."""
    if settings.volatile or settings.source is None:
        return None
    return os.path.abspath(settings.state_dir or default_path(os.path.realpath(settings.source)))


def _socket_path(settings: Settings) -> str | None:
    """The path of the endpoint's socket, if it is one with a path."""
    listen = settings.listen or ""
    return os.path.abspath(listen[5:]) if listen.startswith("unix:") else None


def _listen(settings: Settings, kept: StateDirectory | None) -> Listening | None:
    """The endpoint's socket, open before anything is mounted; a token of its own where none is given and others of
    this machine could connect.
    """
    if settings.listen is None:
        return None
    from automation.endpoint import open_socket, read_token

    token_file = settings.token_file
    if token_file is None and not settings.listen.startswith("unix:"):
        if kept is None:
            raise CallerError("--listen on a port needs --token-file, or a state directory to keep a token in")
        token_file = kept.file("token")
    listening = open_socket(settings.listen)
    try:
        return listening, None if token_file is None else read_token(token_file, make=settings.token_file is None)
    except CallerError:
        listening.close()
        raise


def _first(group: BaseExceptionGroup[VexError]) -> VexError:
    """The first error in a group of groups: one sentence is enough for a person."""
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


def unmount(arguments: Arguments) -> int:
    """End mounts, in the order given."""
    from vexfs_fuse import unmounting

    timeout = configuration.parse({"grace": arguments["timeout"]}, "--timeout").grace
    for path in arguments["mountpoints"]:
        unmounting.unmount(path, force=arguments["force"], timeout=timeout)
    return 0


def status(arguments: Arguments) -> int:
    """Show all mounts, or one mount's status page; 1 when one does not answer."""
    from vexfs_fuse import reporting

    if arguments["mountpoint"] is not None:
        print(reporting.page(arguments["mountpoint"]), end="")
        return 0
    reports = reporting.overview()
    print(json.dumps(reports, indent=2) if arguments["json"] else reporting.table(reports))
    return 0 if all(report["state"] == "answers" for report in reports) else 1


def check(arguments: Arguments) -> int:
    """Validate definitions; one line `file:line: field: reason` for each error."""
    from automation import library

    paths = arguments["paths"] or ["workflows" if os.path.isdir("workflows") else shipped_workflows()]
    errors = library.check(paths)
    if arguments["json"]:
        print(
            json.dumps(
                [{"file": e.path, "line": e.line, "field": e.field, "reason": e.reason} for e in errors], indent=2
            )
        )
    else:
        for error in errors:
            print(error)
        if not errors and not arguments["quiet"]:
            print(f"no errors in {', '.join(paths)}")
    return 1 if errors else 0


def default_workflows(source: str) -> str:
    """`workflows/` beside the source if there is one, else the examples that VexFS ships."""
    beside = os.path.join(os.path.dirname(os.path.realpath(source)), "workflows")
    return beside if os.path.isdir(beside) else shipped_workflows()


def shipped_workflows() -> str:
    """The directory of example automations: in the repository, or where a wheel puts them."""
    for directory in (os.path.join(HERE, "workflows"), os.path.join(sys.prefix, "share", "vexfs", "workflows")):
        if os.path.isdir(directory):
            return directory
    raise CallerError("the shipped workflows are not installed: name a directory with --workflows")


def version() -> str:
    """The installed version; "uninstalled" when this runs from a mere checkout."""
    try:
        return importlib.metadata.version("vexfs")
    except importlib.metadata.PackageNotFoundError:
        return "uninstalled"


def _mount_parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        usage=f"{program} [mount] SOURCE MOUNTPOINT [options]\n       {program} [mount] DIRECTORY [options]",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    switch = argparse.BooleanOptionalAction
    add = parser.add_argument_group("what and where").add_argument
    add("source", nargs="?", metavar="SOURCE", help="the directory that holds the data")
    add("mountpoint", nargs="?", metavar="MOUNTPOINT", help="an empty directory, or SOURCE itself")
    add(
        "--workflows",
        metavar="DIR",
        help="the automations (default: workflows/ beside SOURCE, else the shipped examples)",
    )
    add("--state-dir", metavar="DIR", help="what must outlive the mount (default: a directory of its own)")
    add(
        "--event-log", action=argparse.BooleanOptionalAction, help="what detection knows survives a kill (default: yes)"
    )
    add("--volatile", action=argparse.BooleanOptionalAction, help="keep nothing that outlives the mount")
    add("--listen", metavar="ADDRESS", help="take events by HTTP: 127.0.0.1:PORT or unix:PATH (default: do not)")
    add("--token-file", metavar="FILE", help="holds the token they must bring (default: one is made, see the log)")
    add("--config", metavar="FILE", help="a TOML file with these options by the same names")

    group = parser.add_argument_group("how it runs")
    ground = group.add_mutually_exclusive_group().add_argument
    ground(
        "-f", "--foreground", dest="background", action="store_false", help="stay (default, but not for a bare `vexfs`)"
    )
    ground("-b", "--background", dest="background", action="store_true", help="return as soon as the mount answers")
    group.add_argument("--dry-run", action=switch, help="automations act on paper only: see the traces of their runs")
    group.add_argument(
        "--grace", metavar="SECONDS", help="how long running workflows may go on after a stop (default: 10)"
    )

    add = parser.add_argument_group("how the mount looks").add_argument
    add(
        "-o",
        "--options",
        action="append",
        metavar="OPTION,...",
        help="ro, allow_other, default_permissions, fsname=NAME, ...",
    )
    add("--show-control", action=switch, help="list .vexfs in the root; by name it is always there")
    add("--attr-timeout", metavar="SECONDS", help="how long the kernel may keep attributes (default: 60)")
    add("--entry-timeout", metavar="SECONDS", help="how long the kernel may keep names (default: 60)")
    add("--exclusive", action=switch, help="nobody else changes SOURCE: do not watch it")
    add("--io", metavar="POLICY", help="auto, native (as fast as can be) or traced (each read and write an event)")
    add("--locks", metavar="WHOSE", help="local (among users of the mount) or shared (with the source, each an event)")
    add("--failed-events", action=switch, help="failed operations are events too, with the name of their error")

    add = parser.add_argument_group("what it tells").add_argument
    add("--log-level", metavar="LEVEL", help="debug, info, warning or error (default: info)")
    add("--log-format", metavar="FORM", help="text, or json for one object per line (default: text)")
    add("--log-file", metavar="FILE", help="instead of stderr; a mount in the background always has one")
    add("-V", "--version", action="version", version=f"vexfs {version()}")
    return parser


def _unmount_parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"{program} unmount",
        description="Let running workflows finish within the mount's grace time, then unmount and stop its process.",
    )
    parser.add_argument("mountpoints", nargs="+", metavar="MOUNTPOINT")
    parser.add_argument("--force", action="store_true", help="even if processes use it: their next call fails")
    parser.add_argument("--timeout", default="60", metavar="SECONDS", help="wait no longer than this (default: 60)")
    return parser


def _status_parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"{program} status", description="List the mounts of VexFS, or show one mount's own status page."
    )
    parser.add_argument("mountpoint", nargs="?", metavar="MOUNTPOINT")
    parser.add_argument("--json", action="store_true", help="the list as JSON")
    return parser


def _check_parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"{program} check",
        description="Validate workflow definitions without mounting. Errors read `file:line: field: reason`;"
        " the exit status is 1 if there is one.",
    )
    parser.add_argument(
        "paths", nargs="*", metavar="PATH", help="files or directories (default: ./workflows, else the shipped)"
    )
    parser.add_argument("--json", action="store_true", help="the results as JSON")
    parser.add_argument("--quiet", action="store_true", help="print nothing unless there is an error")
    return parser


COMMANDS: Final[Mapping[str, tuple[Callable[[str], argparse.ArgumentParser], Callable[[Arguments], int]]]] = {
    "mount": (_mount_parser, mount),
    "unmount": (_unmount_parser, unmount),
    "umount": (_unmount_parser, unmount),
    "status": (_status_parser, status),
    "check": (_check_parser, check),
}

# Commands of the engine, each with a parser of its own; `main(argv)` in these modules.
TOOLS: Final[Mapping[str, str]] = {
    "replay": "automation.replay",
    "record": "automation.recording",
    "test": "automation.expectations",
    "explain": "automation.explain",
    "graph": "automation.provenance.rendering",
    "runs": "automation.terminal.runs",
    "run": "automation.terminal.run",
    "trace": "automation.terminal.trace",
    "journal": "automation.journal.extract",
    "verify": "automation.journal.inspection",
}

if __name__ == "__main__":
    sys.exit(main())
