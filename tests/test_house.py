"""The rules of the house that a machine can check: sizes, docstrings, names, broad excepts.

Each rule is a checker: it takes sources and gives back faults, each of which begins with
`file:line:`.  What may break a rule stands in the tables at the top, with its reason.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import Counter
from typing import Callable, Dict, Iterator, List, Sequence, Set, Tuple

import pytest

from tests.support.source import FUNCTIONS, Function, Source, parse, read

FILE_LINES = 450
FUNCTION_LINES = 50  # without the docstring

# The named boundaries where a broad except is right, and how many each file may have.
BROAD_EXCEPTS: Dict[str, int] = {
    "lwsws/net/reactor.py": 2,  # one faulty callback must not end the loop (fds; timers and soon-queue)
    "lwsws/net/workers.py": 1,  # a job's exception travels back to the reactor as a value
    "lwsws/roles/http.py": 1,  # a faulty handler or plugin ends its own exchange with a 500
    "lwsws/process/children.py": 1,  # a forked child never returns into the work of its parent
    "lwsws/core/plugincall.py": 2,  # a faulty plugin ends its own session (with and without an answer)
}
# Files whose work is to talk to the user on the terminal.
MAY_PRINT = frozenset(["lwsws/cli.py", "lwsws/passwd.py", "lwsws/acme_command.py"])

NOTE_WORDS = ("TO" + "DO", "FIX" + "ME")
VAGUE_NAMES = frozenset(["util", "utils", "manager", "managers", "helper", "helpers"])

EVERYWHERE = ("lwsws", "lwsws.py", "tests", "bench")
SHIPPED = ("lwsws", "lwsws.py")


def long_files(sources: Sequence[Source]) -> Iterator[str]:
    """Files that should be two."""
    for source in sources:
        if len(source.lines) > FILE_LINES:
            yield f"{source.at(FILE_LINES + 1)}: file has {len(source.lines)} lines, at most {FILE_LINES}"


def size(function: Function) -> int:
    """The lines of `function` from its def to its end, docstring not counted."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    if ast.get_docstring(function) is not None:
        docstring = function.body[0]
        lines -= (docstring.end_lineno or docstring.lineno) - docstring.lineno + 1
    return lines


def long_functions(sources: Sequence[Source]) -> Iterator[str]:
    """Functions that should be several."""
    for source in sources:
        for node in source.nodes:
            if isinstance(node, FUNCTIONS) and size(node) > FUNCTION_LINES:
                yield f"{source.at(node)}: {node.name} has {size(node)} lines, at most {FUNCTION_LINES}"


def undescribed_modules(sources: Sequence[Source]) -> Iterator[str]:
    """Files that do not say what they are."""
    for source in sources:
        if ast.get_docstring(source.tree) is None:
            yield f"{source.at(1)}: no module docstring"


def last_name(node: ast.expr) -> str:
    """What a name or an attribute is called; "" for anything else."""
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def base_names(node: ast.ClassDef) -> List[str]:
    """The bases of a class by their last name, `Generic[T]` as Generic."""
    bases = [base.value if isinstance(base, ast.Subscript) else base for base in node.bases]
    return [last_name(base) for base in bases]


def is_public(name: str) -> bool:
    """Whether others may use what has this name."""
    return not name.startswith("_")


class Interfaces:
    """Which methods of our classes fulfil what a base class or a typing.Protocol has described."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.bases: Dict[str, List[str]] = {}
        self.described: Dict[str, Set[str]] = {}
        self.protocols: Set[str] = set()
        for source in sources:
            for node in source.nodes:
                if isinstance(node, ast.ClassDef):
                    self._add(node)

    def _add(self, node: ast.ClassDef) -> None:
        methods = {item.name for item in node.body if isinstance(item, FUNCTIONS) and ast.get_docstring(item)}
        self.bases[node.name] = base_names(node)
        self.described[node.name] = methods
        if "Protocol" in base_names(node):
            self.protocols |= methods

    def fulfils(self, class_name: str, method: str) -> bool:
        """Whether a base of the class, or any typing.Protocol, describes `method`."""
        if method in self.protocols:
            return True
        return any(
            method in self.described.get(base, ()) or self.fulfils(base, method)
            for base in self.bases.get(class_name, ())
            if base != class_name
        )


def undescribed(sources: Sequence[Source]) -> Iterator[str]:
    """Public classes, functions and methods without a docstring."""
    interfaces = Interfaces(sources)
    for source in sources:
        for node in source.tree.body:
            if not isinstance(node, (*FUNCTIONS, ast.ClassDef)) or not is_public(node.name):
                continue
            if ast.get_docstring(node) is None:
                yield f"{source.at(node)}: {node.name} has no docstring"
            if isinstance(node, ast.ClassDef):
                yield from undescribed_methods(source, node, interfaces)


def undescribed_methods(source: Source, owner: ast.ClassDef, interfaces: Interfaces) -> Iterator[str]:
    """Public methods of one class without a docstring that fulfil no described interface."""
    for node in owner.body:
        if isinstance(node, FUNCTIONS) and is_public(node.name) and ast.get_docstring(node) is None:
            marks = [mark.attr for mark in node.decorator_list if isinstance(mark, ast.Attribute)]
            if "setter" not in marks and not interfaces.fulfils(owner.name, node.name):
                yield f"{source.at(node)}: {owner.name}.{node.name} has no docstring"


def eager_annotations(sources: Sequence[Source]) -> Iterator[str]:
    """Files with annotations that Python 3.9 would evaluate."""
    for source in sources:
        kinds = (*FUNCTIONS, ast.ClassDef, ast.AnnAssign)
        annotated = any(isinstance(node, kinds) for node in source.nodes)
        postponed = any(
            isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in source.tree.body
        )
        if annotated and not postponed:
            yield f"{source.at(1)}: no `from __future__ import annotations`"


def is_broad(node: ast.AST) -> bool:
    """Whether `node` catches everything: a bare except, `except Exception`, suppress(Exception)."""
    if isinstance(node, ast.ExceptHandler):
        caught = [node.type] if not isinstance(node.type, ast.Tuple) else list(node.type.elts)
    elif isinstance(node, ast.Call) and "suppress" in last_name(node.func):
        caught = list(node.args)
    else:
        return False
    return any(item is None or getattr(item, "id", "") in ("Exception", "BaseException") for item in caught)


def broad_excepts(sources: Sequence[Source]) -> Iterator[str]:
    """Broad excepts beyond those of the named boundaries."""
    for source in sources:
        broad = [node for node in source.nodes if is_broad(node)]
        allowed = BROAD_EXCEPTS.get(source.path, 0)
        for node in broad[allowed:]:
            yield f"{source.at(node)}: broad except: not one of the named boundaries"


def prints(sources: Sequence[Source]) -> Iterator[str]:
    """Output that goes past the log."""
    for source in sources:
        if source.path not in MAY_PRINT:
            for node in source.nodes:
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print":
                    yield f"{source.at(node)}: print: use lwsws.log"


def left_notes(sources: Sequence[Source]) -> Iterator[str]:
    """Comments that say something is not done yet."""
    for source in sources:
        lines = "\n".join(source.lines) + "\n"
        if not any(word in lines for word in NOTE_WORDS):
            continue    # which saves the telling of comments from text
        text = io.StringIO(lines)
        for token in tokenize.generate_tokens(text.readline):
            if token.type == tokenize.COMMENT and any(word in token.string for word in NOTE_WORDS):
                yield f"{source.at(token.start[0])}: {token.string.strip('# ')}"


def words(name: str) -> Set[str]:
    """The words of a snake_case or CamelCase name, in lower case."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def named_things(source: Source) -> Iterator[Tuple[int, str]]:
    """Line and name of the file itself and of what it defines."""
    yield 1, source.path.rpartition("/")[2][: -len(".py")]
    for node in source.nodes:
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            yield node.lineno, node.name


def vague_names(sources: Sequence[Source]) -> Iterator[str]:
    """Names that say nothing."""
    for source in sources:
        for line, name in named_things(source):
            if words(name) & VAGUE_NAMES:
                yield f"{source.at(line)}: {name}: a name must say what the thing is for"


Checker = Callable[[Sequence[Source]], Iterator[str]]
RULES: List[Tuple[Checker, Sequence[str]]] = [
    (long_files, EVERYWHERE),
    (long_functions, EVERYWHERE),
    (undescribed_modules, SHIPPED),
    (undescribed, SHIPPED),
    (eager_annotations, EVERYWHERE),
    (broad_excepts, EVERYWHERE),
    (prints, SHIPPED),
    (left_notes, EVERYWHERE),
    (vague_names, EVERYWHERE),
]


@pytest.mark.parametrize("checker, places", RULES, ids=[checker.__name__ for checker, _ in RULES])
def test_the_rule_holds(checker: Checker, places: Sequence[str]) -> None:
    assert list(checker(read(*places))) == []


def test_no_allowance_is_left_over() -> None:
    """An entry of a table whose reason has gone would let a later fault pass."""
    found = Counter(
        source.path for source in read(*SHIPPED) for node in source.nodes if is_broad(node)
    )
    assert {path: found[path] for path in BROAD_EXCEPTS} == BROAD_EXCEPTS


FUTURE = "from __future__ import annotations\n"
LONG_BODY = "    x = 1\n" * 50
SUPPRESS = "import contextlib\nwith contextlib.suppress(Exception): f()\n"
HEIR = "class A:\n    'd'\n    def m(self):\n        'd'\nclass B(A):\n    'd'\n    def m(self): ...\n"


@pytest.mark.parametrize(
    "checker, text, message",
    [
        (long_files, "\n" * 451, "lwsws/a.py:451: file has 451 lines"),
        (long_functions, "\ndef f():\n" + LONG_BODY, "lwsws/a.py:2: f has 51 lines"),
        (long_functions, "class C:\n  async def f(self):\n" + LONG_BODY, "lwsws/a.py:2: f has 51 lines"),
        (undescribed_modules, "x = 1\n", "lwsws/a.py:1: no module docstring"),
        (undescribed, "def f(): ...\n", "lwsws/a.py:1: f has no docstring"),
        (undescribed, "class C:\n    x = 1\n", "lwsws/a.py:1: C has no docstring"),
        (undescribed, "class C:\n    'd'\n    def m(self): ...\n", "lwsws/a.py:3: C.m has no docstring"),
        (eager_annotations, "def f(): ...\n", "lwsws/a.py:1: no `from __future__"),
        (eager_annotations, "x: int = 1\n", "lwsws/a.py:1: no `from __future__"),
        (broad_excepts, "try:\n    f()\nexcept Exception:\n    pass\n", "lwsws/a.py:3: broad except"),
        (broad_excepts, "try:\n    f()\nexcept:\n    pass\n", "lwsws/a.py:3: broad except"),
        (broad_excepts, "try:\n    f()\nexcept (OSError, BaseException):\n    pass\n", "broad except"),
        (broad_excepts, SUPPRESS, "lwsws/a.py:2: broad except"),
        (prints, "def f():\n    print('x')\n", "lwsws/a.py:2: print"),
        (left_notes, f"x = 1  # {NOTE_WORDS[0]}: later\n", f"lwsws/a.py:1: {NOTE_WORDS[0]}: later"),
        (vague_names, "class ConnectionManager: ...\n", "lwsws/a.py:1: ConnectionManager"),
        (vague_names, "\ndef path_utils(): ...\n", "lwsws/a.py:2: path_utils"),
    ],
)
def test_each_checker_finds_its_fault(checker: Checker, text: str, message: str) -> None:
    faults = list(checker([parse("lwsws/a.py", text)]))
    assert len(faults) == 1
    assert message in faults[0]


@pytest.mark.parametrize(
    "checker, text",
    [
        (long_files, "\n" * 450),
        (long_functions, "def f():\n    '''d\n\n\n    '''\n" + "    x = 1\n" * 49),
        (undescribed, "def _f(): ...\nclass C:\n    'd'\n    def _m(self): ...\n"),
        (undescribed, "class C:\n    'd'\n    def __init__(self): ...\n"),
        (undescribed, HEIR),
        (undescribed, HEIR.replace("class A", "class A(Protocol)").replace("(A)", "")),
        (eager_annotations, FUTURE + "def f(): ...\n"),
        (eager_annotations, "__version__ = '1'\n"),
        (broad_excepts, "try:\n    f()\nexcept (OSError, ValueError):\n    pass\n"),
        (left_notes, f"x = '# {NOTE_WORDS[0]}'\n"),
        (vague_names, "class Futile: ...\ndef manage_nothing(): ...\n"),
    ],
)
def test_each_checker_lets_good_code_pass(checker: Checker, text: str) -> None:
    assert list(checker([parse("lwsws/a.py", text)])) == []


def test_a_file_may_have_only_as_many_broad_excepts_as_it_is_allowed() -> None:
    text = "try:\n    f()\nexcept Exception:\n    pass\n" * 2
    assert list(broad_excepts([parse("lwsws/net/workers.py", text)])) == [
        "lwsws/net/workers.py:7: broad except: not one of the named boundaries"
    ]


def test_a_vague_file_name_is_found() -> None:
    assert list(vague_names([parse("lwsws/net/utils.py", "")])) == [
        "lwsws/net/utils.py:1: utils: a name must say what the thing is for"
    ]


def test_syntax_newer_than_the_oldest_python_is_refused() -> None:
    with pytest.raises(SyntaxError):
        parse("lwsws/a.py", "match 1:\n    case 1: pass\n")
