"""Check the prose of docstrings, comments and Markdown against rules 1 and 3 of docs/contributing/style.md.

`python -m tools.prose` checks the folders and files that pyproject.toml lists in `[tool.prose] checked`.
`python -m tools.prose PATH...` checks other folders or files.

* At most `most_relatives` of 1,000 words are free relatives (the words of `RELATIVES`). The words of all Python files
  in one folder are counted together, those of a Markdown file alone. One free relative is always allowed, since a
  short text would exceed the limit with its first.
* The phrases of `[tool.prose.phrases]` are never allowed.

Code is no prose: fenced blocks, text in backquotes, link targets and HTML comments are skipped. A Markdown file may
quote wrong prose between the lines `<!-- prose: off -->` and `<!-- prose: on -->`.
"""

import argparse
import ast
import io
import math
import re
import sys
import tokenize
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
RELATIVES = re.compile(r"\b(what|who|whoever|whatever|whichever|whom|whosoever|nobody)\b", re.IGNORECASE)
WORD = re.compile(r"[A-Za-z']+")
SKIPPED_IN_MARKDOWN = re.compile(
    r"<!-- prose: off -->.*?(?:<!-- prose: on -->|\Z)|<!--.*?-->|^ *(```+|~~~+).*?(?:^ *\1|\Z)|(?<=\])\([^)\s]*\)",
    re.DOTALL | re.MULTILINE,
)
SKIPPED = re.compile(r"(`+)[^`].*?\1|\b[a-z]+://\S+", re.DOTALL)


@dataclass(frozen=True)
class Rules:
    """The limits of prose: free relatives in 1,000 words, and a remedy for each phrase, a regular expression."""

    most_relatives: float
    phrases: Mapping[str, str]


@dataclass(frozen=True)
class Text:
    """A piece of prose and the line of its file on which it starts."""

    path: Path
    line: int
    words: str

    def place(self, offset: int) -> str:
        return f"{self.path}:{self.line + self.words.count(chr(10), 0, offset)}"


def texts(path: Path) -> Iterator[Text]:
    """Yield the prose of a Python or a Markdown file; code in it is replaced by blanks."""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        yield Text(path, 1, _blank(SKIPPED, _blank(SKIPPED_IN_MARKDOWN, source)))
        return
    for line, words in [*_docstrings(source), *_comments(source)]:
        yield Text(path, line, _blank(SKIPPED, words))


def complaints(pieces: Sequence[Text], rules: Rules) -> Iterator[str]:
    """Yield a line for each forbidden phrase, and one for each free relative if there are too many."""
    for piece in pieces:
        for phrase, remedy in rules.phrases.items():
            for found in re.finditer(rf"\b(?:{phrase.replace(' ', chr(92) + 's+')})\b", piece.words, re.IGNORECASE):
                yield f"{piece.place(found.start())}: {' '.join(found[0].split())!r}: {remedy}"
    found_at = [(piece.place(found.start()), found[0]) for piece in pieces for found in RELATIVES.finditer(piece.words)]
    count = sum(len(WORD.findall(piece.words)) for piece in pieces)
    allowed = max(1, math.floor(count * rules.most_relatives / 1000))
    if len(found_at) > allowed:
        excess = f"one of {len(found_at)} free relatives in {count} words; at most {allowed} may stay"
        yield from (f"{place}: {word!r}: {excess}" for place, word in found_at)


def units(paths: Iterable[Path]) -> Mapping[Path, Sequence[Text]]:
    """Return the prose below these paths by unit: a folder for Python files, the file itself for Markdown."""
    collected: dict[Path, list[Text]] = defaultdict(list)
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.suffix in (".py", ".md"):
                collected[file if file.suffix == ".md" else file.parent].extend(texts(file))
    return collected


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.prose", description="Check prose against the style guide.")
    parser.add_argument("paths", nargs="*", type=Path, help="folders and files; the default is in pyproject.toml")
    named: list[Path] = parser.parse_args(argv).paths
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["prose"]
    paths = named or [Path(path) for path in settings["checked"]]
    if missing := [str(path) for path in paths if not path.exists()]:
        parser.error(f"no such file or folder: {', '.join(missing)}; correct [tool.prose] checked or the arguments")
    rules = Rules(settings["most_relatives"], settings["phrases"])
    found = [line for pieces in units(paths).values() for line in complaints(pieces, rules)]
    print("\n".join(found) or f"The prose of {len(paths)} folders and files follows the rules.")
    return 1 if found else 0


def _docstrings(source: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node, clean=False)
            if text is not None:
                yield node.body[0].lineno, text


def _comments(source: str) -> Iterator[tuple[int, str]]:
    """Yield comments; those on consecutive lines are one, so that a phrase is found across a line's end."""
    start, lines = 0, list[str]()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        if lines and token.start[0] != start + len(lines):
            yield start, "\n".join(lines)
            lines = []
        start = start if lines else token.start[0]
        lines.append(token.string.lstrip("# "))
    if lines:
        yield start, "\n".join(lines)


def _blank(pattern: re.Pattern[str], text: str) -> str:
    """Replace matches by as many line breaks as they have, so that the lines keep their numbers."""
    return pattern.sub(lambda found: "\n" * found[0].count("\n") or " ", text)


if __name__ == "__main__":
    sys.exit(main())
