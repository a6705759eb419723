"""Files of the tree that are not what was received, in data_dir/quarantine: moved there, never
deleted, each with a text beside it that says where it was and why it is here."""

import json
import os
from contextlib import suppress
from datetime import UTC, datetime

from pacsnode.storage import folders
from pacsnode.storage.base import measure

NOTE = ".json"
_LONGEST = 200  # bytes of a name that are kept; with what follows 255 at most


class QuarantineFolder:
    """Made where it is missing, when it is needed."""

    def __init__(self, path: str, *, fsync: bool) -> None:
        self.path = path
        self._fsync = fsync

    def link(self, path: str, name: str, why: str, text: str) -> str:
        """Give the file at `path`, which is `name` in the tree, a name here, with its note,
        durably: the same for the same bytes, so that a move that was interrupted is gone on with.
        `why` is one word. Raises OSError."""
        with suppress(FileExistsError):
            os.mkdir(self.path, folders.FOLDER_MODE)
            folders.sync_folder(os.path.dirname(self.path))
        with open(path, "rb") as file:
            digest, length = measure(file)
        kept = os.fsdecode(os.fsencode(name.replace("/", "_"))[-_LONGEST:])
        here = f"{kept}.{why}.{digest.hex()[:16]}"
        with suppress(FileExistsError):
            os.link(path, os.path.join(self.path, here))
        self._note(here, name, why, text, length)
        if self._fsync:
            folders.sync_folder(self.path)
        return here

    def _note(self, here: str, name: str, why: str, text: str, length: int) -> None:
        note = {
            "was": f"instances/{name}",
            "fault": why,
            "text": text,
            "bytes": length,
            "moved_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        path = os.path.join(self.path, here + NOTE)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, folders.FILE_MODE)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(json.dumps(note, indent=2) + "\n")
            file.flush()
            if self._fsync:
                os.fsync(descriptor)
