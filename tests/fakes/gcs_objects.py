"""Objects of a bucket with their generations, and preconditions on these."""

from __future__ import annotations

import base64
import dataclasses
import datetime
import hashlib
from typing import Any

import google_crc32c


class Missing(Exception):  # noqa: N818 - an answer, not a fault
    """There is no such thing; the message is the server's."""


class Conflict(Exception):  # noqa: N818 - an answer, not a fault
    """A condition does not hold.

    Attributes:
        status: What is answered.
    """

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


@dataclasses.dataclass(frozen=True)
class Stored:
    """One generation of an object."""

    data: bytes
    generation: int
    metageneration: int
    created: datetime.datetime
    updated: datetime.datetime
    content_type: str
    metadata: dict[str, str] | None

    @property
    def etag(self) -> str:
        """Changes whenever it does."""
        return f"{self.generation}/{self.metageneration}"

    def resource(self, bucket: str, name: str) -> dict[str, Any]:
        """Return it as the JSON API has it."""
        fields = {
            "kind": "storage#object", "id": f"{bucket}/{name}/{self.generation}", "name": name,
            "bucket": bucket, "generation": str(self.generation),
            "metageneration": str(self.metageneration), "contentType": self.content_type,
            "size": str(len(self.data)), "storageClass": "STANDARD", "etag": self.etag,
            "timeCreated": _time(self.created), "updated": _time(self.updated),
            "md5Hash": base64.b64encode(hashlib.md5(self.data).digest()).decode(),
            "crc32c": base64.b64encode(google_crc32c.Checksum(self.data).digest()).decode()}
        return fields | ({"metadata": self.metadata} if self.metadata else {})


class Bucket:
    """Content of one bucket.

    Attributes:
        objects: By name.
    """

    def __init__(self) -> None:
        self.objects: dict[str, Stored] = {}
        self._last_generation = 0

    def put(
        self, name: str, data: bytes, now: datetime.datetime,
        content_type: str = "application/octet-stream", metadata: dict[str, str] | None = None,
    ) -> Stored:
        """Make a new generation of an object."""
        # Microseconds, as Google's are.
        self._last_generation = max(self._last_generation + 1, int(now.timestamp() * 1e6))
        stored = Stored(data, self._last_generation, 1, now, now, content_type, metadata)
        self.objects[name] = stored
        return stored

    def patch(self, name: str, fields: dict[str, Any], now: datetime.datetime) -> Stored:
        """Changes what is said of an object."""
        there = self.objects[name]
        patched = dataclasses.replace(
            there, metageneration=there.metageneration + 1, updated=now,
            content_type=fields.get("contentType", there.content_type),
            metadata=fields.get("metadata", there.metadata))
        self.objects[name] = patched
        return patched

    def get(self, bucket: str, name: str, query: dict[str, str]) -> Stored:
        """Return an object if it is there and all conditions hold.

        Raises:
            Missing: If it is not there, or not in the generation that is asked for.
            Conflict: If a condition does not hold.
        """
        there = self.objects.get(name)
        if there is None or query.get("generation") not in (None, "", str(there.generation)):
            raise Missing(f"No such object: {bucket}/{name}")
        self.check(name, query)
        return there

    def check(self, name: str, query: dict[str, str]) -> None:
        """Raise unless the conditions on an object hold, which may be missing.

        Raises:
            Conflict: If one does not.
        """
        there = self.objects.get(name)
        generation = there.generation if there else 0
        metageneration = there.metageneration if there else 0
        for kind, present in (("Generation", generation), ("Metageneration", metageneration)):
            if query.get(f"if{kind}Match") not in (None, "", str(present)):
                raise Conflict(412)
            if query.get(f"if{kind}NotMatch") == str(present):
                raise Conflict(304)

    def page(self, query: dict[str, str], page_size: int) -> dict[str, Any]:
        """Return one page of a listing: `items` as pairs, `prefixes`, maybe `nextPageToken`."""
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        start, end = query.get("startOffset", ""), query.get("endOffset", "")
        entries: dict[str, Stored | None] = {}
        for name in sorted(self.objects):
            if not name.startswith(prefix) or name < start or (end and name >= end):
                continue
            folder, found, _ = name[len(prefix):].partition(delimiter) if delimiter else ("",) * 3
            if found:
                entries[prefix + folder + delimiter] = None
            else:
                entries[name] = self.objects[name]
        token = query.get("pageToken", "")
        left = [(name, it) for name, it in entries.items() if name > token]
        size = min(page_size, int(query.get("maxResults") or page_size))
        page = {
            "items": [(name, it) for name, it in left[:size] if it is not None],
            "prefixes": [name for name, it in left[:size] if it is None]}
        return page | ({"nextPageToken": left[size - 1][0]} if len(left) > size else {})


def _time(at: datetime.datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
