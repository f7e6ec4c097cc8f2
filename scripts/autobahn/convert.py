"""Converts what the fuzzing client needs of autobahntestsuite from Python 2 to Python 3.

usage: convert.py SOURCE TARGET   (folders of the package; TARGET is replaced)

fissix converts the syntax. What is left are the edits below: each must apply, so that another
release of the suite fails here instead of testing something else.
"""

import re
import shutil
import sys
from pathlib import Path

from fissix.refactor import RefactoringTool, get_fixers_from_package

# File, text in the converted file, what replaces it.
EDITS = [
    # It is no part of Python, and would find the files of a web server that is not run.
    ("fuzzing.py", "textwrap, pkg_resources", "textwrap"),
    # TLS needs one more library and is not tested here.
    ("fuzzing.py", "import reactor, ssl", "import reactor"),
    ("fuzzing.py", "= ssl.ClientContextFactory()", "= None"),
    # Releases of autobahn for Python 3 have no such parameters.
    (
        "fuzzing.py",
        "WebSocketClientFactory.__init__(self, debug = debug, debugCodePaths = debug)",
        "WebSocketClientFactory.__init__(self)",
    ),
    # Reports are files of text.
    ("fuzzing.py", '% (c[0], case[c[0]], c[1])).encode("utf-8")', "% (c[0], case[c[0]], c[1]))"),
    ("fuzzing.py", "ll.encode('utf8')", "ll"),
    # Only the style sheets are used, and they need no template engine.
    ("report.py", "import jinja2\n", ""),
    # Equal values may have different pickles.
    ("case/case.py", "pickle.dumps(obj1) == pickle.dumps(obj2)", "obj1 == obj2"),
    ("case/case10_1_1.py", "len(self.payload) / self", "len(self.payload) // self"),
    # The suite does not run this one, and Python 3 cannot load it.
    ("case/__init__.py", "from .case9_9_1 import *\n", ""),
    ("case/case12_x_x.py", "os, pkg_resources, hashlib", "os, hashlib"),
    # These cases hash and decode what they receive, so they want bytes.
    (
        "case/case12_x_x.py",
        "def onMessage(self, msg, binary):\n",
        "def onMessage(self, msg, binary):\n   msg = octets.to_bytes(msg)\n",
    ),
]

# Pattern in any converted file, what replaces it.
RULES = [
    # Python 3 does not accept a base class ahead of its subclass.
    (r"\(object, Case, \)", "(Case, )"),
    (
        r'pkg_resources\.resource_filename\("autobahntestsuite", ',
        "os.path.join(os.path.dirname(__file__), os.pardir, ",
    ),
    (r"import (.*)\bbinascii\b", r"import \1octets"),
    (r"binascii\.(b2a_hex|hexlify)", r"octets.\1"),
    (r"from autobahn\.websocket\.utf8validator import", "from octets import"),
    # Options of permessage-deflate, renamed since.
    (r"\b(request|accept)NoContextTakeover\b", r"\1_no_context_takeover"),
    (r"\b(request|accept)MaxWindowBits\b", r"\1_max_window_bits"),
]


def main(source, target):
    shutil.rmtree(target, ignore_errors=True)
    (target / "case").mkdir(parents=True)
    shutil.copytree(source / "testdata", target / "testdata")
    version = (source / "_version.py").read_text()
    (target / "__init__.py").write_text(version + "version = __version__\n")

    tool = RefactoringTool(get_fixers_from_package("fissix.fixes"))
    cases = sorted(path.relative_to(source) for path in (source / "case").glob("*.py"))
    for name in ["fuzzing.py", "report.py", "caseset.py", *map(str, cases)]:
        (target / name).write_text(convert(tool, source, name), encoding="utf-8")


def convert(tool, source, name):
    # Byte by byte, so that the characters of a literal are the bytes that it has in Python 2.
    text = (source / name).read_text(encoding="latin-1")
    if name == "report.py":
        text = text[: text.index("REPORT_DIR_PERMISSIONS")]
    # The path tells fissix which imports are of neighbours.
    text = str(tool.refactor_string(text + "\n", str(source / name)))
    for pattern, replacement in RULES:
        text = re.sub(pattern, replacement, text)
    for file, old, new in EDITS:
        if file == name:
            if old not in text:
                sys.exit(f"{name} is not as expected: it lacks {old!r}")
            text = text.replace(old, new)
    return text


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
