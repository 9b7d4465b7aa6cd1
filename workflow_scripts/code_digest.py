"""The digest of the code that computes a stage: the import closure without comments and docstrings.

The closure is followed through import statements anywhere in a module, inside this package only:
versions of other packages are recorded as provenance and do not make a result stale.
"""

import ast
import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PACKAGE = "workflow_scripts"

# Modules, and whole packages, that cannot change a result, wherever they are imported but in
# `RESULTS`: the one list of them. What measures is among them: a measurement is not made again
# because the way of measuring changed.
NEUTRAL = frozenset(
    f"{PACKAGE}.{name}"
    for name in (
        "code_digest",
        "differences",
        "energy.accounting",
        "energy.counters",
        "energy.rank",
        "energy.sampler",
        "errors",
        "fetch.sources.asking",
        "fetch.sources.manual",
        "fetch.sources.signing",
        "files",
        "lifetime",
        "loader.copier",
        "logs",
        "mllog",
        "models.flops",
        "pack.verify",
        "pretrain.address",
        "pretrain.attempts",
        "pretrain.earlier",
        "pretrain.launch",
        "pretrain.launch_slurm",
        "pretrain.meeting",
        "pretrain.parallel.arrival",
        "pretrain.peaks",
        "pretrain.snapshots",
        "pretrain.spawn",
        "pretrain.staging",
        "pretrain.stalled",
        "pretrain.stop",
        "pretrain.times",
        "pretrain.usage",
        "pretrain.watchdog",
        "provenance",
        "shards.copies",
        "shards.copy_folder",
        "slurm",
        "stage",
        "threads",
        "tile.at_hand",
        "tile.room",
        "transfer",
    )
)

# Of those, by stage, the ones whose numbers its result is computed from.
RESULTS = {"forecast": frozenset({f"{PACKAGE}.models.flops", f"{PACKAGE}.pretrain.stop"})}


def _is_neutral(module: str) -> bool:
    """Whether a module, or a package that it is in, is in `NEUTRAL`."""
    parts = module.split(".")
    return any(".".join(parts[:count]) in NEUTRAL for count in range(2, len(parts) + 1))


# Templates and tables that lie beside a package's modules and are read by them.
DATA_SUFFIXES = frozenset({".css", ".j2", ".yaml"})


def _module_file(module: str, root: Path) -> Path | None:
    """The file of a module of this package, or None if there is no such module."""
    path = root.joinpath(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def _imported(tree: ast.Module, module: str, *, is_package: bool) -> set[str]:
    """Names of this package's modules (and of things in them) that a module imports."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                parents = parts[: len(parts) - node.level + is_package]
                base = ".".join([*parents, *([node.module] if node.module else [])])
            names.add(base)
            names.update(f"{base}.{alias.name}" for alias in node.names)
    return {name for name in names if name.split(".")[0] == PACKAGE}


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:] or [ast.Pass()]
    return tree


def _text(node: Any) -> str:
    """A syntax tree as text, the same in every version of Python.

    Empty fields are left out: newer versions have more of them.
    """
    if isinstance(node, list):
        return f"[{','.join(map(_text, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = [(name, value) for name, value in ast.iter_fields(node) if value not in (None, [])]
    return f"{type(node).__name__}({','.join(f'{name}={_text(value)}' for name, value in fields)})"


@dataclass(frozen=True)
class _Module:
    """What a module imports of this package, and its code without docstrings, as text."""

    imported: frozenset[str]
    code: str


def _read(file: Path, module: str) -> _Module:
    is_package = file.name == "__init__.py"
    return _parsed(file.read_text(encoding="utf-8"), module, is_package=is_package)


@functools.cache  # most modules serve several stages, and every job starts with this
def _parsed(source: str, module: str, *, is_package: bool) -> _Module:
    tree = ast.parse(source)
    imported = frozenset(_imported(tree, module, is_package=is_package))
    return _Module(imported, _text(_without_docstrings(tree)))


def import_closure(stage: str, root: Path | None = None) -> dict[str, Path]:
    """The modules that a stage's program can run, by name, less those that are neutral to it.

    Args:
        stage: The stage's module or package below `workflow_scripts`, such as `pack`.
        root: The folder that holds the package; this installation's by default.

    Raises:
        ValueError: There is no such stage.
    """
    root = root or Path(__file__).resolve().parent.parent
    start = f"{PACKAGE}.{stage}"
    if _module_file(start, root) is None:
        raise ValueError(f"no module {start} below {root}")
    closure: dict[str, Path] = {}
    waiting = [start, f"{start}.__main__"]
    while waiting:
        module = waiting.pop()
        neutral = _is_neutral(module) and module not in RESULTS.get(stage, ())
        if module in closure or neutral:
            continue
        file = _module_file(module, root)
        if file is None:  # a function or class imported from its module
            continue
        closure[module] = file
        waiting.extend(_read(file, module).imported)
        waiting.append(module.rpartition(".")[0])  # importing a module runs its package first
    closure.pop("", None)
    return dict(sorted(closure.items()))


@functools.cache
def code_digest(stage: str, root: Path | None = None) -> str:
    """Hexadecimal sha256 over the code that can change a stage's result."""
    total = hashlib.sha256()
    for module, file in import_closure(stage, root).items():
        total.update(f"{module}\n{_read(file, module).code}\n".encode())
        if file.name == "__init__.py":
            for data in sorted(file.parent.iterdir()):
                if data.suffix in DATA_SUFFIXES:
                    total.update(f"{module}/{data.name}\n".encode() + data.read_bytes())
    return total.hexdigest()
