#!/usr/bin/env python3
"""Demands that what comments and documents refer to is in the repository.

usage: scripts/references.py

That is: files and folders, links and headings of documents ('docs/wire.md, "Frames"'), decisions
and invariants by number, groups and cases of docs/behaviour.md. No document may be called by a name
in capitals: each such word of a comment must be a name in the code, or one of TERMS.
"""

import os
import re
import subprocess
import sys
from glob import glob

# Words in capitals that are neither in the code nor documents.
TERMS = set("ASCII CRLF EAGAIN IANA PACKAGE SAFETY SERVER TOML".split())

START = r"(?<![\w./*-])"
FILE = re.compile(START + r"[\w.-][\w./-]*\.(?:md|rs|sh|py|patch)\b(?![\w/]|\.\w)")
LINK = re.compile(r"\]\(([^)\s]+)\)")
SECTION = re.compile(START + r"([\w./-]+\.md)(?:#([\w-]+)|`?,?\s+\"([^\"]+)\")")
DECISION = re.compile(r"\b[Dd]ecisions?\s+(\d+)(?:\s+and\s+(\d+))?")
INVARIANT = re.compile(r"\b[Ii]nvariants?\s+(\d+)(?:\s+and\s+(\d+))?")
GROUP = re.compile(r"\bgroups?\s+([A-Z])(?:\s+and\s+([A-Z]))?\s+of\s+`?\S*behaviour\.md")
CASE = re.compile(r"(?<![\w%+-])[A-L]\d{1,3}(?![\w-])")
CAPITALS = re.compile(r"(?<![\w-])[A-Z]{4,}(?![\w-]|\.\w)")
QUOTED = re.compile(r"`[^`\n]*`|\"[^\"\n]*\"")
RUST_COMMENT = re.compile(r"(?<![:\"])//[/!]?")
HASH_COMMENT = re.compile(r"(?<!\S)#+")


def main():
    os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
    repository = Repository()
    texts = [Text(name) for name in repository.files if is_read(name)]
    faults = [fault for text in texts for fault in faults_of(text, repository)]
    faults += unknown_capitals(texts)
    for fault in sorted(faults):
        print("{}:{}: {}".format(*fault), file=sys.stderr)
    print(f"== references: {len(texts)} files, {len(faults)} lead nowhere")
    return 1 if faults else 0


def is_read(name):
    return name.endswith((".rs", ".md", ".sh", ".py", ".toml", ".patch", "justfile", ".ci/run"))


class Repository:
    """What can be referred to."""

    def __init__(self):
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        self.files = [name for name in listed.split("\0") if os.path.isfile(name)]
        self.names = {os.path.basename(name) for name in self.files}
        self.folders = sorted({name.split("/")[0] for name in self.files if "/" in name})
        invariants = read("ARCHITECTURE.md").split("\n## Invariants\n")[1].split("\n## ")[0]
        self.invariants = set(re.findall(r"^(\d+)\. ", invariants, re.MULTILINE))
        self.groups, self.cases, group = set(), set(), None
        for line in read("docs/behaviour.md").splitlines():
            if found := re.match(r"## ([A-Z])\. ", line):
                group = found[1]
                self.groups.add(group)
            elif found := re.match(r"(\d+)\. ", line):
                self.cases.add(group + found[1])

    def has(self, path, beside):
        """Whether the path is there, seen from the root or from a folder above the file `beside`.

        What is made and not kept may be missing, and a decision be named by its number.
        """
        folder = beside
        while folder:
            folder = os.path.dirname(folder)
            seen = os.path.normpath(os.path.join(folder, path))
            if glob(seen) or (re.search(r"/\d{4}$", seen) and glob(seen + "-*.md")):
                return True
        return subprocess.run(["git", "check-ignore", "--quiet", path], check=False).returncode == 0


class Text:
    """A file, and what of it is written for people, as far as one can tell without a parser."""

    def __init__(self, name):
        self.name = name
        self.whole = read(name)
        lines = self.whole.split("\n")
        if name.endswith(".patch"):
            # The rest is as the files that it changes.
            head = next((at for at, line in enumerate(lines) if line.startswith("diff ")), len(lines))
            self.whole = "\n".join(lines[:head])
            lines = lines[:head]
        self.code, prose = [], []
        for line in lines:
            code, comment = self.split(line)
            self.code.append(code)
            prose.append(comment)
        # Line by line as the file.
        self.prose = "\n".join(prose)

    def split(self, line):
        """Code and comment of a line."""
        if self.name.endswith((".md", ".patch")):
            return "", line
        found = (RUST_COMMENT if self.name.endswith(".rs") else HASH_COMMENT).search(line)
        return (line[: found.start()], line[found.end() :]) if found else (line, "")


def faults_of(text, repository):
    """Yields file, line and a message for each reference that leads nowhere."""

    def fault(found, message):
        return text.name, found.string.count("\n", 0, found.start()) + 1, message

    folders = "|".join(re.escape(folder) for folder in repository.folders)
    path = re.compile(rf"{START}(?:{folders})/(?:[\w./*-]*[\w/*-])?")
    for found in path.finditer(text.whole):
        if not repository.has(found[0], text.name):
            yield fault(found, f"there is no {found[0]}")
    for found in FILE.finditer(text.prose):
        name = os.path.basename(found[0])
        if not path.match(found[0]) and name not in repository.names:
            yield fault(found, f"there is no {found[0]}")
    if text.name.endswith(".md"):
        for found in LINK.finditer(text.prose):
            if not leads_somewhere(found[1], text.name):
                yield fault(found, f"the link leads nowhere: {found[1]}")
    for found in SECTION.finditer(text.prose):
        document = beside(found[1], text.name)
        section = " ".join((found[2] or found[3]).split())
        if document and not has_section(document, section):
            yield fault(found, f"{document} has no section {section}")
    for pattern, what, is_there in (
        (DECISION, "decision", lambda number: glob(f"docs/decisions/{int(number):04}-*.md")),
        (INVARIANT, "invariant", repository.invariants.__contains__),
        (GROUP, "group", repository.groups.__contains__),
    ):
        for found in pattern.finditer(text.prose):
            for name in filter(None, found.groups()):
                if not is_there(name):
                    yield fault(found, f"there is no {what} {name}")
    for found in CASE.finditer(text.prose):
        if found[0] not in repository.cases:
            yield fault(found, f"there is no case {found[0]} in docs/behaviour.md")


def unknown_capitals(texts):
    """Words in capitals that no code knows: they would be documents that are not here."""
    known = {word for text in texts for line in text.code for word in re.findall(r"\b[A-Z]{4,}\b", line)}
    for text in texts:
        for number, line in enumerate(text.prose.split("\n"), 1):
            for word in CAPITALS.findall(QUOTED.sub("", line)):
                if word not in known | TERMS:
                    yield text.name, number, f"{word}: no document, no name in the code, no term"


def leads_somewhere(target, name):
    if re.match(r"[a-z]+:", target):
        return True
    path, _, anchor = target.partition("#")
    path = os.path.join(os.path.dirname(name), path) if path else name
    return os.path.exists(path) and (not anchor or has_section(path, anchor))


def beside(document, name):
    """The path of a document, which may be named as seen from the file or from docs."""
    for folder in (os.path.dirname(name), "", "docs"):
        if os.path.isfile(path := os.path.join(folder, document)):
            return path
    return None


def has_section(document, name):
    """Whether a heading, or its anchor, is that."""
    headings = re.findall(r"^#+ +(.*)$", read(document), re.MULTILINE)
    anchors = (re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings)
    return name in headings or name in anchors


def read(name):
    with open(name, encoding="utf-8") as file:
        return file.read()


if __name__ == "__main__":
    sys.exit(main())
