"""Our own source files as syntax trees, for the tests that check the rules of the house.

A `Source` is one file: where it lies, its module name, its lines and its tree.  The checkers of
tests/test_layering.py and tests/test_house.py take sources and give back faults, each a text that
begins with `file:line:`; so a checker is tested by giving it a small bad snippet.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import Container, Dict, Iterator, List, NamedTuple, Sequence, Set, Union

ROOT = Path(__file__).resolve().parent.parent.parent

# The oldest Python we run on: newer syntax is a syntax error here, whatever Python runs the tests.
OLDEST_PYTHON = (3, 9)

Function = Union[ast.FunctionDef, ast.AsyncFunctionDef]
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


# What the rules look at; other nodes are many, and walking the trees takes longest.
LOOKED_AT = (
    *FUNCTIONS, ast.ClassDef, ast.AnnAssign, ast.Import, ast.ImportFrom, ast.Call, ast.ExceptHandler, ast.If,
)


class Source(NamedTuple):
    """One file: `path` below the root with `/`, `module` as one would import it; `nodes` are those of its
    tree that are of the kinds of LOOKED_AT."""

    path: str
    module: str
    lines: List[str]
    tree: ast.Module
    nodes: Sequence[ast.AST]

    def at(self, node: Union[int, ast.AST]) -> str:
        """`file:line`, for a fault at `node` or at a line number."""
        line = node if isinstance(node, int) else getattr(node, "lineno", 1)
        return f"{self.path}:{line}"


def parse(path: str, text: str) -> Source:
    """The source of the file `path` below the root, whose content is `text`."""
    module = path[: -len(".py")].replace("/", ".").removesuffix(".__init__")
    if path == "lwsws.py":
        module = "(lwsws.py)"  # the launcher is not the package of the same name
    tree = ast.parse(text, filename=path, feature_version=OLDEST_PYTHON)
    nodes = [node for node in ast.walk(tree) if isinstance(node, LOOKED_AT)]
    return Source(path, module, text.splitlines(), tree, nodes)


@cache    # parsing takes longer than most rules take to look
def parse_file(path: str) -> Source:
    """The source at `path` below the root."""
    return parse(path, (ROOT / path).read_text("utf-8"))


def read(*places: str) -> List[Source]:
    """All Python files at or below `places` (files or folders below the root), in order of their paths."""
    files: Set[Path] = set()
    for place in places:
        where = ROOT / place
        files.update(where.rglob("*.py") if where.is_dir() else [where] if where.exists() else [])
    return [parse_file(str(file.relative_to(ROOT))) for file in sorted(files)]


class Import(NamedTuple):
    """One module that a source imports: its absolute name, and whether only for the type checker."""

    name: str
    line: int
    for_types: bool


def imports(source: Source, ours: Container[str] = ()) -> Iterator[Import]:
    """Every import in `source`, inside functions too.

    `from a import b` is the module a.b if that is one of `ours`, else a.
    """
    only_types: Set[ast.AST] = set()
    if any("TYPE_CHECKING" in line for line in source.lines):
        for node in source.nodes:
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
                only_types.update(inner for statement in node.body for inner in ast.walk(statement))
    for node in source.nodes:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            inner = [f"{base}.{alias.name}" for alias in node.names]
            names = [name if name in ours else base for name in inner]
        else:
            continue
        for name in dict.fromkeys(names):
            yield Import(name, node.lineno, node in only_types)


def import_graph(sources: Sequence[Source]) -> Dict[str, Set[str]]:
    """For each module of `sources`, those of them that it imports when it runs."""
    ours = frozenset(source.module for source in sources)
    return {
        source.module: {
            found.name
            for found in imports(source, ours)
            if not found.for_types and found.name in ours and found.name != source.module
        }
        for source in sources
    }
