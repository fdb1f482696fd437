"""From the options of a mount to a WSGI application: where Python looks for it, and the import.

This is code of the administrator's, and runs with all rights of the server.  What it raises when it is
imported comes through, so that the log has the traceback; what is wrong with the options is an OptionError.
"""

from __future__ import annotations

import functools
import os
import re
import sys
from importlib import import_module
from importlib.machinery import PathFinder
from typing import Any, Sequence

from lwsws.builtin.wsgi_call import Application
from lwsws.plugin import OptionError, Options

# A module and what it calls the application; with "()" it is a function that makes it.
_APP = re.compile(r"([^\W\d]\w*(?:\.[^\W\d]\w*)*):([^\W\d]\w*(?:\.[^\W\d]\w*)*)(\(\))?")

# The directory that this process has changed to; it can have only one.
_directory = ""


def check_options(options: Options) -> None:
    """OptionError for `app`, `path` or `chdir` that no application can have.  Imports and changes nothing."""
    parse_app(options.get("app"))
    for path in options.all("path"):
        check_directory("path", path)
        try:
            os.listdir(path)
        except OSError as error:
            raise OptionError("path", f'"{path}" cannot be read: {error.strerror}') from None
    if options.get("chdir"):
        check_directory("chdir", options.get("chdir"))


def parse_app(text: str) -> Sequence[str]:
    """The module, what it calls the application, and "()" if that makes it, else ""; OptionError."""
    app = text.strip()
    found = _APP.fullmatch(app)
    if found is None:
        shown = f'"{app[:60]}" is not of the form' if app else "is missing: give it as"
        raise OptionError("app", f'{shown} "module:callable"')
    return found.groups("")


def check_directory(option: str, path: str) -> None:
    """OptionError if `path` is no absolute path of a directory that can be entered."""
    if not os.path.isabs(path):
        raise OptionError(option, f'"{path}" is no absolute path')
    try:
        os.stat(os.path.join(path, "."))    # asks for no more than a chdir() does
    except OSError as error:
        raise OptionError(option, f'"{path}": {error.strerror}') from None


def load_application(options: Options) -> Application:
    """The application that `app`, `path` and `chdir` say; OptionError."""
    check_options(options)
    name, attribute, makes = parse_app(options.get("app"))
    change_directory(options.get("chdir"))
    paths = options.all("path")
    look_in(paths)
    module = import_application(name, paths)
    application: Any
    try:
        application = functools.reduce(getattr, attribute.split("."), module)
    except AttributeError:
        raise OptionError("app", f'the module "{name}" has no "{attribute}"') from None
    if makes:
        application = application()
    if not callable(application):
        raise OptionError("app", f'"{name}:{attribute}{makes}" is a {type(application).__name__}, '
                                 "which cannot be called")
    result: Application = application
    return result


def import_application(name: str, paths: Sequence[str]) -> Any:
    """The module `name`.  OptionError if there is none, or another one of its name."""
    try:
        module = import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name + ".").startswith(error.name + "."):
            raise   # it is there, and misses something
        where = ", ".join(paths) or 'the modules of Python; the option "path" says where else to look'
        raise OptionError("app", f'there is no module "{error.name}" in {where}') from None
    # Modules are of the whole process: a second one of the same name would never be seen.
    package = name.partition(".")[0]
    there = PathFinder.find_spec(package, list(paths)) if paths else None
    loaded = sys.modules[package].__spec__
    if there is not None and loaded is not None and there.origin != loaded.origin:
        raise OptionError("app", f'the module "{package}" of {loaded.origin} is in use already, which is not '
                                 f"{there.origin}: one of them needs another name")
    return module


def look_in(paths: Sequence[str]) -> None:
    """Have Python look for modules in `paths`, in their order, before all else."""
    for path in reversed(paths):
        if path not in sys.path:
            sys.path.insert(0, path)


def change_directory(path: str) -> None:
    """Make `path` the current directory of the process, unless it is ""; OptionError."""
    global _directory
    if not path or path == _directory:
        return
    if _directory:
        raise OptionError("chdir", f'"{path}" has no effect: the process is in "{_directory}" already, as '
                                   "another mount wants it")
    try:
        os.chdir(path)
    except OSError as error:
        raise OptionError("chdir", f'"{path}": {error.strerror}') from None
    _directory = path
