"""Makes an embedded data set out of a prepared TFDS set.

    python -m kgraft.data.embed --data_dir=DIR

The project's own `kgraft/data/embedded/fashion_mnist.npz` was made by `bin/embed-fashion-mnist`.
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence

import numpy as np

from kgraft.data.embedded_source import EMBEDDED_FOLDER
from kgraft.data.source import Source
from kgraft.data.tfds_source import TfdsSource
from kgraft.data.write import writing_aside
from kgraft.errors import KgraftError


def draw_per_class(labels: np.ndarray, *, count: int, seed: int) -> np.ndarray:
    """Draws the same number of images of every class.

    Args:
        labels: int64 `[images]`.
        count: images per class.
        seed: of the draw.

    Returns:
        Rising positions, int64 `[classes * count]`.

    Raises:
        KgraftError: a class has fewer images.
    """
    chosen = []
    for label in np.unique(labels):
        positions = np.flatnonzero(labels == label)
        if len(positions) < count:
            raise KgraftError(f"class {label} has {len(positions)} images, fewer than {count}")
        generator = np.random.default_rng([seed, int(label)])
        chosen.append(generator.choice(positions, count, replace=False))
    return np.sort(np.concatenate(chosen))


def embed(train: Source, test: Source, *, per_class: int, seed: int, path: pathlib.Path) -> None:
    """Writes a few training images a class and all test images as one npz file.

    Args:
        train: labelled source of images of one size.
        test: labelled source of images of the same size.
        per_class: training images per class.
        seed: of the draw.
        path: the file; its folder is made.

    Raises:
        KgraftError: a source has no labels, or a class fewer than `per_class` images.
    """
    if train.labels is None or test.labels is None:
        raise KgraftError(f"{train.name} has no labels: an embedded set needs them")
    positions = draw_per_class(train.labels, count=per_class, seed=seed)
    arrays = {
        "train_images": np.stack([image for image, _ in train.iterate(positions.tolist())]),
        "train_labels": train.labels[positions].astype(np.uint8),
        "test_images": np.stack([image for image, _ in test.iterate()]),
        "test_labels": test.labels.astype(np.uint8),
        "class_names": np.array(train.class_names),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with writing_aside(path) as aside, aside.open("wb") as file:
        np.savez_compressed(file, **arrays)


def main(argv: Sequence[str] | None = None) -> int:
    """Embeds a TFDS set as the command line says.

    Args:
        argv: the arguments; those of the process by default.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(prog="embed-fashion-mnist", description=__doc__)
    parser.add_argument("--data_dir", help="folder of prepared TFDS sets")
    parser.add_argument("--dataset", default="fashion_mnist", help="name of the TFDS set")
    parser.add_argument("--per_class", type=int, default=50, help="training images a class")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draw")
    parser.add_argument("--download", action="store_true", help="let TFDS download and prepare")
    parser.add_argument("--output", type=pathlib.Path, help="the file; default: in the package")
    args = parser.parse_args(argv)
    path = args.output or EMBEDDED_FOLDER / f"{args.dataset}.npz"
    try:
        parts = [
            TfdsSource(args.dataset, split=split, data_dir=args.data_dir, download=args.download)
            for split in ("train", "test")
        ]
        embed(*parts, per_class=args.per_class, seed=args.seed, path=path)
    except (KgraftError, OSError) as error:
        print(f"embed-fashion-mnist: error: {error}", file=sys.stderr)
        return 1
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
