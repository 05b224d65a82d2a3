"""The prose of Markdown files, docstrings and errors, without code, tables and marks; and what is wrong with it."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
MOST_WORDS = 40  # in a sentence
# Words that we dropped -> what we write.
DROPPED = {
    "mend": "fix",
    "mended": "fixed",
    "mends": "fixes",
    "rightly": "correctly",
    "wrongly": "wrong, falsely",
    "thereof": "of it",
    "whilst": "while",
    "hitherto": "until now",
    "thus": "so",
    "hence": "so",
    "whereas": "but",
    "amongst": "among",
    "save for": "except",
    "that it grew from": "that it began with",
    "is told": "is reported",
    "are told": "are reported",
    "lest": "so that … not",
    "nought": "nothing",
    "of one's own": "your own",
    "anew": "again",
    "aloud": "with a warning",
}


def pages() -> list[Path]:
    """Returns the pages beside the README and every page of the documentation, all that are in English."""
    named = [ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "SECURITY", "CHANGELOG")]
    found = [*named, *sorted((ROOT / "docs").rglob("*.md"))]
    return [path for path in found if not path.name.endswith(".ko.md") and "_build" not in path.parts]


def prose_of(text: str) -> list[str]:
    """Returns paragraphs and items of lists, each as one line, without code, tables, headings and comments."""
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"^(```|~~~).*?^\1", "\n", text, flags=re.DOTALL | re.MULTILINE)
    paragraphs: list[str] = []
    for block in re.split(r"\n\s*\n", text):
        lines = [line for line in block.splitlines() if not re.match(r"\s*(\||#|!\[)", line)]
        for item in re.split(r"\n(?=\s*(?:[-*]|\d+\.) )", "\n".join(lines)):
            joined = " ".join(item.split())
            if joined:
                paragraphs.append(re.sub(r"^(?:[-*]|\d+\.) ", "", joined))
    return paragraphs


def sentences_of(paragraph: str) -> list[str]:
    """Returns the sentences of a paragraph; inline code counts as one word, a link as its text."""
    text = re.sub(r"`[^`]*`", "CODE", paragraph)
    text = re.sub(r"CODE((,| and|, and) CODE)+", "CODE", text)  # an enumeration of names
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"\b(e\.g|i\.e|vs|etc)\.", r"\1", text)
    return [each for each in re.split(r"(?<=[.!?:;])[\"”)*]*\s+(?=[\"“(*\[]*[A-Z0-9])|(?<=[.!?])\s*$", text) if each]


def words_of(sentence: str) -> int:
    """Returns how many words a sentence has."""
    return len(re.findall(r"[^\s]*\w[^\s]*", sentence))


def faults_of(text: str) -> list[str]:
    """Returns what is wrong with a text's prose, in words."""
    found = []
    for paragraph in prose_of(text):
        for sentence in sentences_of(paragraph):
            if words_of(sentence) > MOST_WORDS:
                found.append(f"{words_of(sentence)} words: {sentence}")
        plain = re.sub(r"`[^`]*`", "", paragraph).lower()
        found += [
            f"{word!r}, write {better!r}: {paragraph[:120]}"
            for word, better in DROPPED.items()
            if re.search(rf"\b{re.escape(word)}\b", plain)
        ]
    return found


def said_by(program: str) -> list[tuple[int, str]]:
    """Returns the docstrings of a program, and what it raises and warns with: (line, text)."""
    found = []
    for node in ast.walk(ast.parse(program)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            found.append((getattr(node, "lineno", 1), ast.get_docstring(node) or ""))
        if isinstance(node, ast.Raise) or (isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "warn"):
            pieces = [each.value for each in ast.walk(node) if isinstance(each, ast.Constant)]
            found.append((node.lineno, " ".join(each for each in pieces if isinstance(each, str))))
    return found
