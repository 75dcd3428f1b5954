"""Builds the documentation site from the Markdown of the repository and the docstrings of the code.

    python docs/site/build.py [--out build/docs]

The site is in OUT/site. Links between files of the repository become links between pages: a module leads to its
reference page, and any other file to a page that shows it. The build fails if a link or an anchor leads nowhere, if a
page is missing from the navigation, or if a page would load anything from another host.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import reference

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PACKAGES = ("agent", "envs", "planners", "worldmodels")
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""Pages outside docs/, and their place in the site."""
WIDE = "---\nhide: [toc]\n---\n\n"  # measured tables need the room of the table of contents
COPIED = (".gif", ".png", ".svg")
FENCE = re.compile(r"(^```.*?^```[^\n]*$)", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"(\]\()([^)\s]+)(\))")
SPAN = re.compile(r"(?<!\[)`([a-z_]+(?:[./]\w+)+)`(?!\])")
INTERVAL = re.compile(r"\[([-+\d.%]+), ([-+\d.%]+)\]")  # is not broken over two lines
MARKER = re.compile(r"(-|\d+\.) ")
LANGUAGES = {".py": "python", ".yaml": "yaml", ".xml": "xml", ".toml": "toml"}

Nav = Sequence[Mapping[str, Any]]
NAV: Nav = [
    {"Home": "index.md"},
    {"Getting started": "getting_started.md"},
    {
        "Concepts": [
            {"Objective-driven agents": "concepts.md"},
            {"Guardrails": "guardrails.md"},
            {"Choosing a planner": "planners.md"},
            {"Variants of the physics": "variants.md"},
        ]
    },
    {
        "Guides": [
            {"Your own task": "own_task.md"},
            {"Your own planner": "own_planner.md"},
            {"Your own guardrail": "own_guardrail.md"},
            {"Your own world model": "own_world_model.md"},
            {"Train a world model": "learning.md"},
            {"Runs and reports": "runs.md"},
            {"telos as a library": "library.md"},
            {"On a cluster": "cluster.md"},
            {"Contributing": "contributing.md"},
            {"Changelog": "changelog.md"},
        ]
    },
]
"""The hand-written pages. The sections Reference, Measured and Decisions follow from the files."""


class Wrong(Exception):
    """What is wrong with the site, one line each."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "docs")
    options = parser.parse_args()
    try:
        print(build(options.out.resolve()) / "index.html")
    except Wrong as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def build(out: Path) -> Path:
    """Write the pages to OUT/pages and the site to OUT/site, and return the latter.

    Raises:
        Wrong: see the module's docstring.
    """
    shutil.rmtree(out, ignore_errors=True)
    pages = out / "pages"
    pages.mkdir(parents=True)
    nav = stage(pages)
    config = (HERE / "zensical.toml").read_text(encoding="utf-8")
    (out / "zensical.toml").write_text(config.replace("nav = []", f"nav = {toml(nav)}"), encoding="utf-8")
    shutil.copy(HERE / "site.css", pages / "site.css")
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--config-file", str(out / "zensical.toml")]
    done = subprocess.run(command, cwd=out, capture_output=True, text=True, check=False)
    if done.returncode != 0 or "Warning" in done.stdout + done.stderr:
        raise Wrong(done.stdout + done.stderr)
    wrong = list(faults(out / "site"))
    if wrong:
        raise Wrong("\n".join(wrong))
    return out / "site"


def stage(pages: Path) -> Nav:
    """Write all pages of the site, as Markdown, and return the navigation. Raises Wrong if the two do not fit."""
    modules = reference.modules(ROOT, PACKAGES, ["telos.py"])
    sources = {str(module.file): module.page for module in modules.values()}
    names = {**reference.targets(modules), **sources}
    for file in sorted((ROOT / "docs").rglob("*.md")):
        path = file.relative_to(ROOT / "docs")
        sources[str(file.relative_to(ROOT))] = str(path.with_name("index.md") if path.stem == "README" else path)
    sources.update(PAGES)
    shown: dict[str, str] = {}
    for name, page in sources.items():
        if name.endswith(".md"):
            text = (ROOT / name).read_text(encoding="utf-8")
            text = spans(linked(text, Path(name), page, sources, shown), page, names)
            if page.startswith("measured/"):
                text = WIDE + INTERVAL.sub("[\\1,\u00a0\\2]", text)
            write(pages / page, lists(text))
    for module in modules.values():
        write(pages / module.page, spans(reference.page(module, modules), module.page, names))
    generated = {
        "reference/index.md": overview(modules),
        "reference/command_line.md": reference.command_line(modules["agent.command.cli"]),
        "adr/index.md": decisions(),
    }
    for page, text in generated.items():
        write(pages / page, spans(text, page, names))
    for name, page in shown.items():
        write(pages / page, source(Path(name)))
    for file in (ROOT / "docs").rglob("*"):
        if file.suffix in COPIED:
            path = pages / file.relative_to(ROOT / "docs")
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, path)
    nav = navigation(modules)
    listed = sorted(entries(nav))
    written = sorted(str(file.relative_to(pages)) for file in pages.rglob("*.md") if file.name != "404.md")
    written = [page for page in written if not page.startswith("source/")]
    if listed != written:
        lost, extra = sorted(set(listed) - set(written)), sorted(set(written) - set(listed))
        raise Wrong(f"the navigation of docs/site/build.py lists pages that are missing: {lost}, and lacks: {extra}")
    return nav


def linked(text: str, file: Path, page: str, sources: Mapping[str, str], shown: dict[str, str]) -> str:
    """The text of a page with the links between files of the repository as links between pages.

    Args:
        file: of the text, from the root of the repository.
        page: of the text, from the root of the site.
        sources: file -> page.
        shown: file -> page, for files that have no page of their own; this function adds to it.

    Raises:
        Wrong: a link leads to no file.
    """

    def replaced(match: re.Match[str]) -> str:
        link, _, anchor = match[2].partition("#")
        if not link or urlsplit(match[2]).scheme:
            return match[0]
        target = os.path.normpath(file.parent / link)
        if not (ROOT / target).is_file():
            raise Wrong(f"{file}: the link {match[2]} leads to no file")
        if target.startswith("docs/") and target.endswith(COPIED):
            goal = target.removeprefix("docs/")
        else:
            goal = sources.get(target) or shown.setdefault(target, f"source/{target}.md")
        return f"{match[1]}{relative(goal, page)}{f'#{anchor}' if anchor else ''}{match[3]}"

    return "".join(part if part.startswith("```") else LINK.sub(replaced, part) for part in FENCE.split(text))


def spans(text: str, page: str, names: Mapping[str, str]) -> str:
    """The text with code spans that name a module, class, function or file of ours as links to its page."""

    def replaced(match: re.Match[str]) -> str:
        goal = names.get(match[1])
        if goal is None or goal == page:
            return match[0]
        return f"[{match[0]}]({relative(goal, page)})"

    parts = FENCE.split(text)
    return "".join(part if part.startswith("```") else SPAN.sub(replaced, part) for part in parts)


def lists(text: str) -> str:
    """The text with its lists as Python-Markdown wants them: after an empty line, and indented by 4 instead of 2."""
    lines: list[str] = []
    fenced = listed = False  # in a fenced block; in a paragraph that began with a list marker
    for line in text.splitlines():
        fenced ^= line.startswith("```")
        bare = line.lstrip(" ")
        marked = bool(MARKER.match(bare)) and not fenced
        if marked and not listed and lines and lines[-1]:
            lines.append("")
        listed = bool(bare) and (listed or marked)
        lines.append(line if fenced else " " * (len(line) - len(bare)) + line)
    return "\n".join(lines) + "\n"


def relative(goal: str, page: str) -> str:
    """A link from a page to another, both from the root of the site."""
    path, _, anchor = goal.partition("#")
    there = os.path.relpath(path, os.path.dirname(page) or ".")
    return f"{there}#{anchor}" if anchor else there


def overview(modules: Mapping[str, reference.Module]) -> str:
    """The first page of the reference."""
    parts = [
        "# Reference",
        "The reference is made from the docstrings, the signatures, and the comments beside fields. Shapes: N "
        "candidates, H control steps, A action size, S size of a state, G guardrails, M members. Units are SI units.",
        "The page [Command line](command_line.md) lists the verbs of `telos` with their arguments.",
    ]
    for package in ("telos", *PACKAGES):
        inside = [m for name, m in modules.items() if name.rpartition(".")[0] == package or name == package == "telos"]
        link = relative(modules[package].page, "reference/index.md")
        parts += [f"## {package}", f"[`{package}`]({link}): {reference.escaped(modules[package].summary)}."]
        if package != "telos":
            parts.append(reference.listing(inside, "reference/index.md"))
    return "\n\n".join(parts) + "\n"


def decisions() -> str:
    """The index of the decisions."""
    rows = "\n".join(f"- [{title(file)}]({file.name})" for file in sorted((ROOT / "docs" / "adr").glob("*.md")))
    return f"# Decisions\n\nEach page records one decision: its context, the decision, its consequences.\n\n{rows}\n"


def title(file: Path) -> str:
    """The first heading of a page."""
    found = re.search(r"^# (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise Wrong(f"{file.relative_to(ROOT)}: without a heading")
    return found[1]


def source(file: Path) -> str:
    """A page that shows a file."""
    text = (ROOT / file).read_text(encoding="utf-8").rstrip()
    return f"# {file.name}\n\n`{file}`\n\n````{LANGUAGES.get(file.suffix, 'text')}\n{text}\n````\n"


def navigation(modules: Mapping[str, reference.Module]) -> Nav:
    """The whole navigation."""
    measured = ROOT / "docs" / "measured"
    order = re.findall(r"\]\((\w+\.md)\)", (measured / "README.md").read_text(encoding="utf-8"))
    order += sorted({file.name for file in measured.glob("*.md")} - {*order, "README.md"})
    found = [{title(measured / name): f"measured/{name}"} for name in order]
    adrs = [{title(file): f"adr/{file.name}"} for file in sorted((ROOT / "docs" / "adr").glob("*.md"))]
    members = [tree(name, modules) for name in PACKAGES]
    return [
        *NAV,
        {
            "Reference": [
                "reference/index.md",
                {"Command line": "reference/command_line.md"},
                {"telos": "reference/telos.md"},
                *members,
            ]
        },
        {"Measured": ["measured/index.md", *found, {"Where planning falls short": "where_it_falls_short.md"}]},
        {"Decisions": ["adr/index.md", *adrs]},
    ]


def tree(name: str, modules: Mapping[str, reference.Module]) -> Mapping[str, Any]:
    """The navigation of a module and all below it."""
    label = name.rpartition(".")[2]
    children = [child for child in modules if child.rpartition(".")[0] == name]
    if not modules[name].is_package:
        return {label: modules[name].page}
    return {label: [modules[name].page, *(tree(child, modules) for child in children)]}


def entries(nav: Any) -> Iterator[str]:
    """The pages of a navigation."""
    if isinstance(nav, str):
        yield nav
    else:
        for part in nav.values() if isinstance(nav, Mapping) else nav:
            yield from entries(part)


def toml(value: Any) -> str:
    """Strings, lists and tables as TOML on one line."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{toml(key)} = {toml(item)}" for key, item in value.items()) + "}"
    return "[" + ", ".join(toml(item) for item in value) + "]"


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


LOADS = {"script": "src", "img": "src", "source": "src", "video": "src", "iframe": "src", "object": "data"}


class Links(HTMLParser):
    """What a page links to and loads, and the anchors that it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.classes: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        self.classes |= set(given.get("class", "").split())
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag == "link" and "href" in given:
            (self.links if given.get("rel") in ("canonical", "next", "prev") else self.loaded).append(given["href"])
        if tag in LOADS and LOADS[tag] in given:
            self.loaded.append(given[LOADS[tag]])
        self.loaded += [part.split()[0] for part in given.get("srcset", "").split(",") if part.strip()]
        self.loaded += re.findall(r"url\(([^)]+)\)", given.get("style", ""))


def faults(site: Path) -> Iterator[str]:
    """Links and pictures of the built pages that lead nowhere, and whatever a browser would load from elsewhere."""
    pages = {file: Links(file.read_text(encoding="utf-8")) for file in sorted(site.rglob("*.html"))}
    for file, page in pages.items():
        where = file.relative_to(site)
        if where.name == "404.html":  # its links begin at the root of a host
            continue
        if "mermaid" in page.classes or "glightbox" in page.classes:
            yield f"{where}: a diagram or a light box, whose scripts come from another host"
        for link in page.loaded:
            if elsewhere(link):
                yield f"{where}: loads {link}"
        for link in [*page.links, *page.loaded]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = file if not parts.path else Path(os.path.normpath(file.parent / unquote(parts.path)))
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file():
                yield f"{where}: {link} leads to no file"
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                yield f"{where}: {link} leads to no anchor"
    for file in site.rglob("*.css"):
        for link in re.findall(r"(?:url\(|@import\s*)['\"]?([^'\")]+)", file.read_text(encoding="utf-8")):
            if elsewhere(link):
                yield f"{file.relative_to(site)}: loads {link}"


def elsewhere(link: str) -> bool:
    """Whether a browser would fetch it from another host."""
    parts = urlsplit(link)
    return bool(parts.netloc) or parts.scheme not in ("", "data")


if __name__ == "__main__":
    sys.exit(main())
