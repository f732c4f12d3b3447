"""The shape of the code, checked: layers, the one place for errnos, names, sizes, docstrings, documented options."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import mount
from automation import configuration
from automation.permissions import Permissions
from vexfs_fuse import options

REPOSITORY = Path(__file__).resolve().parent.parent
LAYERS = ("automation", "vexfs_fuse", "mount")  # each may import what stands before it, and itself
PRODUCT = [
    *(REPOSITORY / "automation").rglob("*.py"),
    *(REPOSITORY / "vexfs_fuse").rglob("*.py"),
    REPOSITORY / "mount.py",
]
DOCUMENTED = (REPOSITORY / "docs/mounting.md").read_text()


def name(path: Path) -> str:
    return ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)


def imports(path: Path) -> Iterator[str]:
    """The modules that a file imports, wherever in it, for type checking too."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name(path)} imports relatively"
            yield node.module or ""


@pytest.mark.parametrize("path", PRODUCT, ids=name)
def test_imports_run_from_mount_to_automation_only(path):
    """mount.py → vexfs_fuse → automation, never back; and the domain knows nothing of FUSE."""
    layer = name(path).partition(".")[0]
    above = {*LAYERS[LAYERS.index(layer) + 1 :], "tests", "bench"}
    if layer == "automation":
        above.add("pyfuse3")
    wrong = [module for module in imports(path) if module.partition(".")[0] in above]
    assert not wrong, f"{name(path)} imports {wrong}"


def test_errno_has_one_home():
    """Only vexfs_fuse.errors names errnos: everything else raises errors that say whose fault it is."""
    homes = [name(path) for path in PRODUCT if "errno" in set(imports(path))]
    assert homes == ["vexfs_fuse.errors"]


@pytest.mark.parametrize("path", PRODUCT, ids=name)
def test_modules_are_nouns(path):
    """No utils, helpers, manager or base; a docstring that says what the module is."""
    assert path.stem not in {"utils", "util", "helpers", "helper", "manager", "base", "common", "misc"}
    assert ast.get_docstring(ast.parse(path.read_bytes())), f"{name(path)} has no docstring"


def test_files_are_of_readable_size():
    """The median file has at most 150 lines, 95 of 100 have at most 400, none has more than 600."""
    sizes = sorted(len(path.read_text().splitlines()) for path in PRODUCT)
    assert sizes[len(sizes) // 2] <= 150
    assert sizes[len(sizes) * 95 // 100] <= 400
    assert sizes[-1] <= 600


BASES = re.compile(
    r"(BaseModel|Form|\w*Error|Exception|Operations|pyfuse3\.Operations|Protocol|StrEnum|IntEnum|Enum|NamedTuple"
    r"|TypedDict|Generic|\w+\.SafeLoader|ctypes\.\w+|TimedOut|Collector)$"  # what libraries take no less than
)


@pytest.mark.parametrize("path", PRODUCT, ids=name)
def test_nothing_inherits_but_models_errors_and_operations(path):
    """Protocols instead of base classes."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.ClassDef):
            bases = [ast.unparse(base).partition("[")[0] for base in node.bases]
            assert all(BASES.match(base) for base in bases), f"{name(path)}.{node.name} inherits from {bases}"


@pytest.mark.parametrize("path", PRODUCT, ids=name)
def test_public_names_have_docstrings(path):
    """Every public function, class and method of the product says what it does."""
    missing = [
        node.name
        for node in _public(ast.parse(path.read_bytes()))
        if not ast.get_docstring(node) and not _explained_elsewhere(node)
    ]
    assert not missing, f"{name(path)}: {missing}"


def _public(parent: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    for node in ast.iter_child_nodes(parent):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from _public(node)


def _explained_elsewhere(node: ast.AST) -> bool:
    """A setter, an overload, or a protocol's method, whose meaning its class tells."""
    decorators = [ast.unparse(one) for one in getattr(node, "decorator_list", [])]
    body = getattr(node, "body", [])
    return any(one.endswith((".setter", "overload")) for one in decorators) or ast.unparse(body[-1]) == "..."


def test_every_option_of_the_command_line_is_documented():
    """docs/mounting.md mentions each option of each command, and each setting has an option."""
    seen = set()
    for build, _ in mount.COMMANDS.values():
        for action in build("vexfs")._actions:
            for option in action.option_strings:
                seen.add(option)
                assert f"`{option}" in DOCUMENTED or f", {option}`" in DOCUMENTED, f"{option} is not documented"
    for setting in configuration.NAMES:
        if setting not in ("source", "mountpoint", *configuration.TABLES):
            assert f"--{setting}" in seen, f"{setting} cannot be set on the command line"


def test_every_mount_option_is_documented():
    """docs/mounting.md names all that `-o` takes."""
    for option in options.FLAGS | options.VALUED | options.IGNORED:
        assert re.search(rf"`{re.escape(option)}[`=]", DOCUMENTED), f"-o {option} is not documented"


def test_the_configuration_file_in_the_documentation_is_complete_and_right(tmp_path):
    """The TOML example loads, and shows every setting."""
    example = re.search(r"```toml\n(.*?)```", DOCUMENTED, re.DOTALL)
    assert example is not None
    path = tmp_path / "vexfs.toml"
    path.write_text(example[1])
    settings = configuration.read(str(path))
    assert settings.model_fields_set == set(configuration.Settings.model_fields)
    assert settings.actions.model_fields_set == set(Permissions.model_fields)


def test_the_documentation_has_no_dead_links():
    """Every relative link in README.md and docs/ leads to a file that exists."""
    for page in [REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_make_documents_its_targets():
    """`make help` shows every target that a person is meant to use, and docs/installation.md explains them."""
    makefile = (REPOSITORY / "Makefile").read_text()
    targets = re.findall(r"^([a-z-]+):.*##", makefile, re.MULTILINE)
    assert {"mount", "test", "bench", "check", "schema", "lock", "unmount", "clean", "help"} <= set(targets)
    documented = (REPOSITORY / "docs/installation.md").read_text()
    for target in set(targets) - {"help", "format"}:
        assert f"make {target}" in documented, f"make {target} is not documented"
