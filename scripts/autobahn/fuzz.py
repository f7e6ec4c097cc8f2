"""Runs the converted suite against a server and tells which cases did not pass.

usage: fuzz.py URL REPORTS CASES EXCLUDED

REPORTS is a folder; CASES and EXCLUDED are patterns such as 9.*, separated by commas.
"""

import io
import json
import sys
from collections import Counter
from contextlib import redirect_stdout
from pathlib import Path

from autobahntestsuite import fuzzing
from octets import b2a_hex, to_bytes, to_octets
from twisted.internet import reactor

AGENT = "shovel-pool"
PASSED = {"OK", "NON-STRICT", "INFORMATIONAL"}
MISSING = {"behavior": "MISSING", "behaviorClose": "MISSING"}


def main(url, reports, cases, excluded):
    fuzzing.FuzzingClientProtocol = OctetsProtocol
    fuzzing.binLogData = log_bytes
    fuzzing.asciiLogData = log_text
    spec = {
        "outdir": reports,
        "servers": [{"agent": AGENT, "url": url}],
        "cases": cases.split(","),
        "exclude-cases": excluded.split(","),
    }
    # The factory prints the whole list of cases.
    with redirect_stdout(io.StringIO()):
        factory = fuzzing.FuzzingClientFactory(spec)
    reactor.run()
    print(file=sys.stderr)
    return summarize(Path(reports), factory.specCases)


def summarize(reports, cases):
    # Of a server that was never reached there are no results.
    results = json.loads((reports / "index.json").read_text()).get(AGENT, {})
    outcomes = [(case, results.get(case, MISSING)) for case in cases]
    failed = [
        f"{case}: {outcome['behavior']}, closing: {outcome['behaviorClose']}"
        for case, outcome in outcomes
        if not {outcome["behavior"], outcome["behaviorClose"]} <= PASSED
    ]
    counts = Counter(outcome["behavior"] for _, outcome in outcomes)
    print(*failed, sep="\n", end="\n" if failed else "")
    print(f"{len(cases)} cases:", ", ".join(f"{n} {name}" for name, n in counts.most_common()))
    print("report:", reports / "index.html")
    return 1 if failed or not cases else 0


class OctetsProtocol(fuzzing.FuzzingClientProtocol):
    """The suite's client, where its byte strings become bytes and bytes become byte strings."""

    def onConnect(self, response):
        print(self.factory.currentCaseId, end=" ", file=sys.stderr, flush=True)

    def connectionLost(self, reason):
        # The report is JSON, which has no bytes.
        for name in ("http_request_data", "http_response_data", "localCloseReason"):
            if hasattr(self, name):
                setattr(self, name, to_octets(getattr(self, name)))
        super().connectionLost(reason)

    def onMessage(self, msg, binary):
        super().onMessage(to_octets(msg), binary)

    def onPong(self, payload):
        super().onPong(to_octets(payload))

    def logRxFrame(self, frameHeader, payload):
        super().logRxFrame(frameHeader, [to_octets(part) for part in payload])

    def sendFrame(self, opcode, payload=b"", **options):
        super().sendFrame(opcode, to_bytes(payload), **options)

    def sendMessage(self, payload, isBinary=False, **options):
        super().sendMessage(to_bytes(payload), isBinary, **options)

    def sendMessageFrameData(self, payload, sync=False):
        return super().sendMessageFrameData(to_bytes(payload), sync)

    def sendCloseFrame(self, code=None, reasonUtf8=None, isReply=False):
        super().sendCloseFrame(code, to_bytes(reasonUtf8), isReply)

    def failConnection(self):
        # Renamed since.
        self._fail_connection()


def log_bytes(data, maxlen=64):
    data = to_bytes(data)
    return b2a_hex(data[:maxlen]) + (" ..." if len(data) > maxlen else "")


def log_text(data, maxlen=64, replace=False):
    data = to_bytes(data)
    try:
        text = data[:maxlen].decode("utf-8", "replace" if replace else "strict")
    except UnicodeDecodeError:
        return "0x" + log_bytes(data, maxlen)
    return text + (" ..." if len(data) > maxlen else "")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
