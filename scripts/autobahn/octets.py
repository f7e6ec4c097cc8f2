"""Byte strings as the converted suite has them: a `str` in which each character is one byte.

Python 2's literals are bytes. Those of the suite stay `str`, with characters below 256, and become
bytes where they meet the WebSocket library.
"""

import binascii

from autobahn.websocket.utf8validator import Utf8Validator as BytesValidator


def to_bytes(octets):
    """The bytes of a byte string; what is none, such as `None`, is left as it is."""
    return octets.encode("latin-1") if isinstance(octets, str) else octets


def to_octets(data):
    """The byte string of bytes; what is none, such as `None`, is left as it is."""
    return data.decode("latin-1") if isinstance(data, bytes) else data


def b2a_hex(octets):
    return binascii.b2a_hex(to_bytes(octets)).decode("ascii")


hexlify = b2a_hex


class Utf8Validator(BytesValidator):
    def validate(self, octets):
        return super().validate(to_bytes(octets))
