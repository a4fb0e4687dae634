"""A folder of image files, one sub-folder a class or none at all."""

import collections
import functools
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from kgraft.data.decode import Attempt, Encoded, decode_all
from kgraft.data.source import Source
from kgraft.errors import KgraftError

_SPLITS = ("train", "training", "val", "valid", "validation", "test", "testing")
EXTENSIONS = (".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff")
# Counted as images that cannot be decoded, rather than passed over without a word.
_NOT_READ = (".avif", ".heic", ".heif", ".jp2", ".jxl")


class FolderSource(Source):
    """JPEG, PNG, BMP, WebP, TIFF and GIF files, in the order of their paths.

    With sub-folders each is a class, in the order of the names; without any, the images have no
    labels. Names that begin with a dot are passed over.
    """

    image_shape = None

    def __init__(self, path: str, *, channels: int = 3) -> None:
        """Opens a folder.

        Args:
            path: the folder.
            channels: 1 to decode to grey, 3 to RGB.

        Raises:
            KgraftError: there is no such folder; it holds no images; it holds images beside
                classes; a sub-folder looks like a split rather than a class; a name is not
                UTF-8; files cannot be decoded to that many channels.
        """
        self.name = f"folder:{path}"
        if channels not in (1, 3):
            raise KgraftError(
                f"{self.name}: files are read as grey or RGB, 1 or 3 channels, and the model takes "
                f"{channels}: give its images as npz:FILE or tfds:NAME"
            )
        self._root = pathlib.Path(os.path.expanduser(path))
        self._channels = channels
        if not self._root.is_dir():
            raise KgraftError(f"{self.name}: there is no folder {self._root.absolute()}")
        folders = _visible_folders(self._root)
        per_class = [_images_below(folder) for folder in folders]
        loose = _images_in(self._root)
        self._check(folders, per_class, loose)
        self._check_names(path for paths in (folders, *per_class, loose) for path in paths)
        self._labels: np.ndarray | None = None
        self.class_names = None
        self._files = loose
        if not loose:
            self._files = [file for files in per_class for file in files]
            counts = [len(files) for files in per_class]
            self._labels = np.repeat(np.arange(len(folders), dtype=np.int64), counts)
            self.class_names = tuple(folder.name for folder in folders)

    def __len__(self) -> int:
        return len(self._files)

    @functools.cached_property
    def ids(self) -> tuple[str, ...]:
        """The path of each image inside the folder, with `/` between its parts."""
        return tuple(file.relative_to(self._root).as_posix() for file in self._files)

    @property
    def labels(self) -> np.ndarray | None:
        """Class of each image, int64 `[images]`; None for a folder without sub-folders."""
        return self._labels

    def attempts(self, positions: Sequence[int] | None = None) -> Iterator[Attempt]:
        """Yields each image, or the reason it cannot be decoded, with its label."""
        order = range(len(self)) if positions is None else positions
        return decode_all((self._encoded(i) for i in order), channels=self._channels)

    def _encoded(self, position: int) -> Encoded:
        file = self._files[position]
        label = None if self._labels is None else int(self._labels[position])
        return Encoded(str(file), file.read_bytes, label)

    def _check(
        self,
        folders: list[pathlib.Path],
        per_class: list[list[pathlib.Path]],
        loose: list[pathlib.Path],
    ) -> None:
        if not loose and not any(per_class):
            raise KgraftError(
                f"{self.name} holds no images: expected {', '.join(EXTENSIONS)} files, in one "
                f"sub-folder a class or directly"
            )
        if loose and any(per_class):
            raise KgraftError(
                f"{self.name} holds both images ({loose[0].name}) and folders of images "
                f"({folders[[bool(files) for files in per_class].index(True)].name}): expected one "
                f"sub-folder a class, or images only"
            )
        inner = [
            {file.relative_to(folder).parts[0] for file in files}
            for folder, files in zip(folders, per_class, strict=True)
        ]
        shared = collections.Counter(name for names in inner for name in names)
        for folder, names in zip(folders, inner, strict=True):
            if len(names) < 2 or loose or _images_in(folder):
                continue
            # Splits hold the same classes; what is below classes has names of its own.
            alike = any(shared[name] > 1 for name in names)
            if alike or len(folders) == 1 or folder.name.lower() in _SPLITS:
                raise KgraftError(
                    f"{self.name}: {folder.name} holds no images but folders of them: expected one "
                    f"sub-folder a class. Is {folder.name} a split? Then give folder:{folder}"
                )

    def _check_names(self, paths: Iterable[pathlib.Path]) -> None:
        """Refuses what could not be written into lists of images, labels and reports."""
        for path in paths:
            name = path.relative_to(self._root).as_posix()
            try:
                name.encode()
            except UnicodeEncodeError:
                raise KgraftError(
                    f"{self.name}: names must be UTF-8; got {name!r}: rename it"
                ) from None


def _visible_folders(root: pathlib.Path) -> list[pathlib.Path]:
    found = (path for path in root.iterdir() if not path.name.startswith("."))
    return sorted((path for path in found if path.is_dir()), key=lambda path: path.name)


def _images_in(folder: pathlib.Path) -> list[pathlib.Path]:
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if _is_image(entry.name))
    return [folder / name for name in names]


def _images_below(folder: pathlib.Path) -> list[pathlib.Path]:
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [pathlib.Path(parent, name) for name in sorted(names) if _is_image(name)]
    return found


def _is_image(name: str) -> bool:
    return name.lower().endswith((*EXTENSIONS, *_NOT_READ)) and not name.startswith(".")
