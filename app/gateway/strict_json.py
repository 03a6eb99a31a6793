"""Reads a JSON body as strictly as money needs: what two parsers could read differently is refused."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from app.gateway.problems import MalformedBody

# Integers up to here are the same number in every JSON implementation (RFC 8259, section 6).
LARGEST = 2**53 - 1
# Our deepest request is two levels; nesting is a classic way to exhaust a parser.
MAX_DEPTH = 32

# What jsonb and UTF-8 cannot hold.
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def parse(raw: bytes) -> Any:
    """The value in `raw`. Raises MalformedBody for everything that is not plain, finite, unambiguous JSON in UTF-8."""
    try:
        value = _DECODER.decode(raw.decode("utf-8"))
    except UnicodeDecodeError:
        raise MalformedBody("The body is not UTF-8.") from None
    except RecursionError:
        raise MalformedBody(f"The body is nested deeper than {MAX_DEPTH} levels.") from None
    except json.JSONDecodeError as error:
        raise MalformedBody(f"The body is not JSON: see character {error.pos}.") from None
    _check(value)
    return value


def canonical(value: object) -> bytes:
    """The same bytes for the same value, however it was spelled."""
    return _CANONICAL.encode(value).encode()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise MalformedBody("An object names the same member twice.")
    return found


def _integer(text: str) -> int:
    # The length first: converting thousands of digits is slow, and Python refuses it with an error of its own.
    if len(text) > len(str(LARGEST)) + 1 or abs(int(text)) > LARGEST:
        raise MalformedBody("An integer is beyond 2^53-1.")
    return int(text)


def _refuse_constant(name: str) -> NoReturn:
    raise MalformedBody(f"{name} is not JSON.")


# Made once: json.loads and json.dumps would make one for each body.
_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_int=_integer, parse_constant=_refuse_constant)
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


def _check(value: object) -> None:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        containers = [item for item in level if isinstance(item, (dict, list))]
        if any(isinstance(item, str) and UNSTORABLE.search(item) for item in level):
            raise MalformedBody("A text holds a NUL or half a surrogate pair.")
        if not containers:
            return
        level = [part for item in containers for part in _parts(item)]
    raise MalformedBody(f"The body is nested deeper than {MAX_DEPTH} levels.")


def _parts(container: dict[str, object] | list[object]) -> list[object]:
    return [*container, *container.values()] if isinstance(container, dict) else container
