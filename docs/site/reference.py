"""Reference pages from docstrings, signatures and the comments beside fields; reads the source and imports nothing.

One page per module. A field's meaning is its description, the string below it, or the comment at the end of its line.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

SECTION = re.compile(r"(Args|Returns|Raises|Yields):$")
ITEM = re.compile(r"(\*{0,2}[\w.]+): (.*)")
CODE = re.compile(r"(`[^`]+`)")
COMMENT = re.compile(r"(?:^|\s{2})# (.*)$")
LONGEST = 88  # characters of a signature on one line
WITH_SOURCE = ("planners", "envs.guardrails", "agent.cost.intrinsic")  # packages that users extend by one file
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One Python file."""

    name: str  # dotted
    file: Path  # from the root of the repository
    text: str
    tree: ast.Module = field(repr=False)

    @property
    def is_package(self) -> bool:
        return self.file.name == "__init__.py"

    @property
    def page(self) -> str:
        """The path of its page, from the root of the site."""
        return "reference/" + self.name.replace(".", "/") + ("/index.md" if self.is_package else ".md")

    @property
    def summary(self) -> str:
        """The first sentence of its docstring."""
        text = " ".join((ast.get_docstring(self.tree) or "").split("\n\n")[0].split())
        return re.split(r"(?<=[a-z`)])\. ", text)[0].rstrip(".")

    @cached_property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    def public(self) -> Iterator[ast.ClassDef | Function]:
        """Its public classes and functions, in the order of the file; also those in `if` blocks."""
        todo: list[ast.stmt] = list(self.tree.body)
        while todo:
            node = todo.pop(0)
            if isinstance(node, ast.If):
                todo = node.body + node.orelse + todo
            elif isinstance(node, ast.ClassDef | Function) and not node.name.startswith("_"):
                yield node


def modules(root: Path, packages: Sequence[str], files: Sequence[str]) -> dict[str, Module]:
    """The modules of these packages and files, by dotted name, parents before their children."""
    found: dict[str, Module] = {}
    for path in [*(root / name for name in files), *(f for p in packages for f in sorted((root / p).rglob("*.py")))]:
        file = path.relative_to(root)
        parts = file.with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        text = path.read_text(encoding="utf-8")
        found[name] = Module(name, file, text, ast.parse(text))
    return found


def targets(found: Mapping[str, Module]) -> dict[str, str]:
    """Dotted name of a module, class, method or function -> its page, and its anchor if it is not a module."""
    pages: dict[str, str] = {}
    for name, module in found.items():
        pages[name] = module.page
        for node in module.public():
            pages[f"{name}.{node.name}"] = f"{module.page}#{name}.{node.name}"
            if isinstance(node, ast.ClassDef):
                for method in _methods(node):
                    anchor = f"{name}.{node.name}.{method.name}"
                    pages[anchor] = f"{module.page}#{anchor}"
    return pages


def page(module: Module, found: Mapping[str, Module]) -> str:
    """The Markdown page of a module."""
    parts = [f"# {module.name} {{ #{module.name} }}", prose(ast.get_docstring(module.tree) or "")]
    children = [m for name, m in found.items() if name.rpartition(".")[0] == module.name]
    if children:
        parts.append(listing(children, module.page))
    parts += [_constants(module)]
    for node in module.public():
        parts += _class(module, node, found) if isinstance(node, ast.ClassDef) else _function(module, node, "", 2)
    if module.name.rpartition(".")[0] in WITH_SOURCE:
        parts += ["## Source", f"`{module.file}`", f"```python\n{module.text.rstrip()}\n```"]
    return "\n\n".join(part for part in parts if part) + "\n"


def listing(members: Sequence[Module], page: str) -> str:
    """A table of modules with one line about each, for this page."""
    depth = page.count("/")
    rows = [f"| [`{m.name}`]({'../' * depth}{m.page}) | {cell(m.summary)} |" for m in members]
    return "\n".join(["| module | what it is |", "|---|---|", *rows])


def command_line(module: Module) -> str:
    """The page of the command line, from the classes of its verbs."""
    verbs = next(
        node.value
        for node in module.tree.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == "COMMANDS"
    )
    assert isinstance(verbs, ast.Dict)
    classes = {node.name: node for node in module.public() if isinstance(node, ast.ClassDef)}
    parts = [
        "# Command line",
        "An error that the user can fix gives one line on stderr and exit status 2. Ctrl-C gives exit status 130. "
        "`telos VERB --help` prints what this page shows.",
    ]
    for key, value in zip(verbs.keys, verbs.values, strict=True):
        assert isinstance(key, ast.Constant)
        assert isinstance(value, ast.Name)
        node = classes[value.id]
        parts += [f"## telos {key.value}", prose(ast.get_docstring(node) or "")]
        rows = []
        for item in _fields(module, node):
            shown = re.search(r"metavar='([^']+)'", item.kind)
            positional = "Positional" in item.kind
            metavar = shown[1] if shown else item.name if positional else ""
            if "FlagCreatePairsOff" not in item.kind and not metavar:
                metavar = "N" if "int" in item.kind else item.name.upper()
            name = metavar if positional else f"--{item.name} {metavar}".strip()
            rows.append(f"| `{name}` | {cell(item.meaning)} |")
        if rows:
            parts.append("\n".join(["| argument | what it is |", "|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


@dataclass(frozen=True)
class Item:
    """A field of a class, or a constant of a module."""

    name: str
    kind: str  # its annotation
    default: str  # "" if there is none
    meaning: str


def _fields(module: Module, node: ast.ClassDef | ast.Module) -> Iterator[Item]:
    """The annotated, public assignments in a body, with what is said about them."""
    body = node.body
    for index, statement in enumerate(body):
        if not (isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)):
            continue
        name = statement.target.id
        if name.startswith("_"):
            continue
        following = body[index + 1] if index + 1 < len(body) else None
        said = _string(following.value) if isinstance(following, ast.Expr) else None
        default, described = _default(statement.value)
        comment = COMMENT.search(module.lines[(statement.end_lineno or statement.lineno) - 1])
        meaning = described or said or (comment[1] if comment and "type: ignore" not in comment[1] else "")
        yield Item(name, ast.unparse(statement.annotation), default, " ".join(meaning.split()))


def _default(value: ast.expr | None) -> tuple[str, str]:
    """Default and description of a field, from `x` or from `Field(default=x, description="…")`."""
    if value is None:
        return "", ""
    if isinstance(value, ast.Call) and ast.unparse(value.func) in ("Field", "field"):
        given = {keyword.arg: keyword.value for keyword in value.keywords}
        default = given.get("default")
        factory = given.get("default_factory")
        text = ast.unparse(default) if default else f"{ast.unparse(factory)}()" if factory else ""
        return ("" if "lambda" in text else text), _string(given.get("description")) or ""
    text = ast.unparse(value)
    return (text if len(text) <= 60 else "…"), ""


def _string(node: ast.expr | None) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _table(items: Sequence[Item]) -> str:
    head = ["| name | type | default | meaning |", "|---|---|---|---|"]
    if all(not item.default for item in items):
        rows = [f"| `{i.name}` | {_span(i.kind)} | {cell(i.meaning)} |" for i in items]
        return "\n".join(["| name | type | meaning |", "|---|---|---|", *rows])
    rows = [f"| `{i.name}` | {_span(i.kind)} | {_span(i.default)} | {cell(i.meaning)} |" for i in items]
    return "\n".join([*head, *rows])


def _span(text: str) -> str:
    return f"`{text}`".replace("|", r"\|") if text else ""


def cell(text: str) -> str:
    """Text for the cell of a table."""
    return escaped(text).replace("|", r"\|")


def _constants(module: Module) -> str:
    items = [item for item in _fields(module, module.tree) if item.meaning and item.name.isupper()]
    return "\n\n".join(["## Constants", _table(items)]) if items else ""


def _class(module: Module, node: ast.ClassDef, found: Mapping[str, Module]) -> list[str]:
    anchor = f"{module.name}.{node.name}"
    decorators = "".join(f"@{ast.unparse(item)}\n" for item in node.decorator_list)
    bases = ", ".join(ast.unparse(item) for item in node.bases)
    parts = [
        f"## {node.name} {{ #{anchor} }}",
        f"```python\n{decorators}class {node.name}{f'({bases})' if bases else ''}\n```",
        prose(ast.get_docstring(node) or ""),
    ]
    inherited = [name for base in node.bases if (name := _resolved(module, base, found))]
    if inherited:
        parts.append("Inherits the fields and methods of " + ", ".join(f"`{name}`" for name in inherited) + ".")
    items = list(_fields(module, node))
    if items:
        parts.append(_table(items))
    for method in _methods(node):
        parts += _function(module, method, f"{node.name}.", 3)
    return parts


def _resolved(module: Module, base: ast.expr, found: Mapping[str, Module]) -> str | None:
    """The dotted name of a base class of ours that has fields or methods to inherit."""
    name = ast.unparse(base.value if isinstance(base, ast.Subscript) else base)
    owner = module.name
    for statement in module.tree.body:
        if isinstance(statement, ast.ImportFrom) and any(alias.name == name for alias in statement.names):
            owner = statement.module or ""
    if owner not in found:
        return None
    classes = (node for node in found[owner].public() if isinstance(node, ast.ClassDef) and node.name == name)
    node = next(classes, None)
    return f"{owner}.{name}" if node and (list(_fields(found[owner], node)) or _methods(node)) else None


def _methods(node: ast.ClassDef) -> list[Function]:
    """The public methods and properties that have a docstring."""
    found = [item for item in node.body if isinstance(item, Function) and not item.name.startswith("_")]
    return [item for item in found if ast.get_docstring(item)]


def _function(module: Module, node: Function, owner: str, level: int) -> list[str]:
    anchor = f"{module.name}.{owner}{node.name}"
    decorators = "".join(f"@{ast.unparse(item)}\n" for item in node.decorator_list if _shown(item))
    return [
        f"{'#' * level} {owner}{node.name} {{ #{anchor} }}",
        f"```python\n{decorators}{signature(node)}\n```",
        prose(ast.get_docstring(node) or ""),
    ]


def _shown(decorator: ast.expr) -> bool:
    return ast.unparse(decorator) in ("property", "cached_property", "staticmethod", "classmethod", "abstractmethod")


def signature(node: Function) -> str:
    """`def name(…) -> …`, over several lines if it is long."""
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    line = f"def {node.name}({ast.unparse(node.args)}){returns}"
    if len(line) <= LONGEST:
        return line
    given = node.args
    plain = [*given.posonlyargs, *given.args]
    defaults: list[ast.expr | None] = [*[None] * (len(plain) - len(given.defaults)), *given.defaults]
    parts: list[str] = []
    for index, (argument, default) in enumerate(zip(plain, defaults, strict=True), 1):
        parts.append(_argument(argument, default))
        if index == len(given.posonlyargs):
            parts.append("/")
    if given.vararg:
        parts.append("*" + ast.unparse(given.vararg))
    elif given.kwonlyargs:
        parts.append("*")
    parts += [_argument(a, d) for a, d in zip(given.kwonlyargs, given.kw_defaults, strict=True)]
    if given.kwarg:
        parts.append("**" + ast.unparse(given.kwarg))
    inside = "".join(f"    {part},\n" for part in parts)
    return f"def {node.name}(\n{inside}){returns}"


def _argument(argument: ast.arg, default: ast.expr | None) -> str:
    text = ast.unparse(argument)
    if default is None:
        return text
    return f"{text} = {ast.unparse(default)}" if argument.annotation else f"{text}={ast.unparse(default)}"


def prose(docstring: str) -> str:
    """A docstring as Markdown: its sections become lists, and its indented blocks stay code."""
    parts: list[str] = []
    lines = docstring.splitlines()
    index = 0
    while index < len(lines):
        section = SECTION.match(lines[index])
        if not section:
            line = lines[index]
            parts.append(line if line.startswith("    ") else escaped(line))
            index += 1
            continue
        index += 1
        inside: list[str] = []
        while index < len(lines) and (not lines[index].strip() or lines[index].startswith(" ")):
            inside.append(lines[index][4:])
            index += 1
        parts += ["", f"**{section[1]}**", "", *_items(inside), ""]
    return "\n".join(parts).strip()


def _items(lines: Sequence[str]) -> list[str]:
    """The entries of a section as a list; text without entries as a paragraph."""
    found: list[str] = []
    listed = False
    for line in lines:
        entry = None if line.startswith(" ") else ITEM.match(line)
        if entry:
            listed = True
            found.append(f"- `{entry[1]}`: {escaped(entry[2])}")
        elif line.strip():
            found.append(("  " if listed else "") + escaped(line.strip()))
    return found


def escaped(text: str) -> str:
    """Text in which only code spans have a meaning in Markdown."""
    parts = CODE.split(text)
    return "".join(part if part.startswith("`") else re.sub(r"([*_<\[\]])", r"\\\1", part) for part in parts)
