"""The records of a long piece of work, one file for each part, and the settings they belong to."""

import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kgraft.data.write import write_json
from kgraft.errors import KgraftError
from kgraft.grafting.checkpoints import differences

SETTINGS_NAME = "settings.json"


class RecordFolder:
    """One JSON file a record in a work folder, each whole or absent, and whose they are.

    Attributes:
        workdir: the work folder.
        folder: of the records, in it.
    """

    def __init__(
        self, workdir: pathlib.Path, folder: str, *, owner: str, since: Sequence[str] = ()
    ) -> None:
        """Opens a work folder and changes nothing.

        Args:
            workdir: need not exist yet.
            folder: name of the folder of the records.
            owner: what the records are of, such as `a search`, for messages.
            since: names of settings that work folders of older versions lack.
        """
        self.workdir = workdir
        self.folder = workdir / folder
        self._owner, self._since = owner, since

    def check_settings(self, settings: Mapping[str, Any]) -> None:
        """Checks that the work folder is of these settings, or of none yet.

        Args:
            settings: what all records have in common, plain values.

        Raises:
            KgraftError: it is of others; the settings that differ are named.
            KgraftError: it has records, and nothing says of which settings.
        """
        path = self.workdir / SETTINGS_NAME
        if not path.exists():
            if any(self.paths()):
                raise KgraftError(
                    f"{self.folder} has records of {self._owner}, and {path}, which says of which "
                    "settings, is missing: put it back, or give another folder"
                )
            return
        old = read_json(path)
        # As they come back from JSON.
        plain = json.loads(json.dumps(settings, default=str))
        told = {k: v for k, v in plain.items() if k in old or k not in self._since}
        found = differences(old, told)
        if found:
            raise KgraftError(
                f"{self.workdir} belongs to {self._owner} of other settings: {', '.join(found)}"
            )

    def start(self, settings: Mapping[str, Any]) -> None:
        """Makes the folder of the records and says whose it is.

        Args:
            settings: what all records have in common, plain values.

        Raises:
            KgraftError: another process has just made it a folder of other settings.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.workdir / SETTINGS_NAME
        if not path.exists():
            write_json(path, settings)
        self.check_settings(settings)

    def paths(self) -> Iterator[pathlib.Path]:
        """Yields the file of every record, in no order."""
        yield from self.folder.glob("*.json")


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """Reads an object.

    Args:
        path: a JSON file.

    Raises:
        KgraftError: it cannot be read, or holds something else.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise KgraftError(f"cannot read {path}: {error}") from None
    if not isinstance(content, dict):
        raise KgraftError(f"cannot read {path}: expected a JSON object")
    return content
