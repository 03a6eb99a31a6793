"""Owns one kind of object in memory, with its indexes and its pages; it does not know what the objects mean."""

from bisect import bisect_left, bisect_right, insort
from typing import Any

Row = dict[str, Any]


class Table:
    """Rows in the order they were created. Every list is answered from an index, newest first."""

    def __init__(self, kind: str, fields: tuple[str, ...] = ()) -> None:
        self.kind = kind
        self.rows: dict[str, Row] = {}
        self._fields = fields
        self._order: list[str] = []
        self._created: list[int] = []
        self._place: dict[str, int] = {}
        self._index: dict[str, dict[Any, list[int]]] = {field: {} for field in fields}
        self._indexed: set[tuple[str, str]] = set()

    def put(self, row: Row) -> None:
        """Add or replace a row. An indexed field may go from None to a value, and never changes after."""
        ident = row["id"]
        if ident not in self.rows:
            self._place[ident] = len(self._order)
            self._order.append(ident)
            self._created.append(max(row["created"], self._created[-1] if self._created else 0))
        self.rows[ident] = row
        for field in self._fields:
            value = row.get(field)
            if value is not None and (field, ident) not in self._indexed:
                self._indexed.add((field, ident))
                insort(self._index[field].setdefault(value, []), self._place[ident])

    def get(self, ident: str) -> Row | None:
        return self.rows.get(ident)

    def all_by(self, field: str, value: Any) -> list[Row]:
        """Every row with that value of an indexed field, oldest first."""
        return [self.rows[self._order[place]] for place in self._index[field].get(value, ())]

    def page(
        self,
        where: dict[str, Any],
        created: dict[str, int],
        limit: int,
        starting_after: str | None = None,
        ending_before: str | None = None,
    ) -> tuple[list[Row], bool]:
        """One page, newest first, and whether more follow (https://docs.stripe.com/api/pagination)."""
        low, high = 0, len(self._order)
        if "gte" in created:
            low = max(low, bisect_left(self._created, created["gte"]))
        if "gt" in created:
            low = max(low, bisect_right(self._created, created["gt"]))
        if "lte" in created:
            high = min(high, bisect_right(self._created, created["lte"]))
        if "lt" in created:
            high = min(high, bisect_left(self._created, created["lt"]))
        if starting_after is not None:
            high = min(high, self._place[starting_after])
        if ending_before is not None:
            low = max(low, self._place[ending_before] + 1)
        indexed = [self._places(field, value) for field, value in where.items() if field in self._index]
        places: Any = min(indexed, key=len) if indexed else range(len(self._order))
        first, last = bisect_left(places, low), bisect_left(places, high)
        wanted = places[first:last]
        backwards = ending_before is not None and starting_after is None
        found: list[Row] = []
        for place in wanted if backwards else reversed(wanted):
            row = self.rows[self._order[place]]
            if all(_matches(row.get(field), value) for field, value in where.items()):
                found.append(row)
                if len(found) > limit:
                    break
        page = found[:limit]
        return (page[::-1] if backwards else page), len(found) > limit

    def _places(self, field: str, value: Any) -> list[int]:
        if isinstance(value, frozenset):
            return sorted(place for one in value for place in self._index[field].get(one, ()))
        return self._index[field].get(value, [])


def _matches(value: Any, wanted: Any) -> bool:
    return value in wanted if isinstance(wanted, frozenset) else value == wanted
