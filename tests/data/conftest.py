import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds


def picture(seed, height=12, width=16, channels=3):
    """A smooth image that no two seeds share."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (4, 4, channels)).astype(np.float32)
    return tf.image.resize(coarse, (height, width)).numpy().astype(np.uint8)


def write_image(path, image, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    encode = tf.io.encode_jpeg if path.suffix.lower() in (".jpg", ".jpeg") else tf.io.encode_png
    path.write_bytes(encode(image, **options).numpy())


def tiny_features(**more):
    return tfds.features.FeaturesDict({
        "picture": tfds.features.Image(shape=(6, 5, 3), encoding_format="png"),
        "label": tfds.features.ClassLabel(names=["cat", "dog", "emu"]),
        **more,
    })


def tiny_builder(folder, *, name="tiny_pets", features=None, extra=None, version="1.0.0"):
    """Prepares a real TFDS set of 9 training and 3 test images, in two training files."""

    def examples(start, count):
        for index in range(start, start + count):
            more = extra(index) if callable(extra) else extra
            example = {"picture": picture(index, 6, 5), "label": index % 3, **(more or {})}
            yield index, {key: example[key] for key in (features or tiny_features())}

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version(version)
        # Not in the registry of TFDS: it has to be found by its files.
        pkg_dir_path = folder

        def _info(self):
            return self.dataset_info_from_configs(features=features or tiny_features())

        def _split_generators(self, dl_manager):
            return {"train": examples(0, 9), "test": examples(9, 3)}

        def _generate_examples(self):
            raise NotImplementedError

    Builder.name = name
    builder = Builder(data_dir=str(folder))
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(num_shards=2, try_download_gcs=False)
    )
    return builder


@pytest.fixture(scope="session")
def tfds_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    tiny_builder(folder)
    return folder


@pytest.fixture
def class_folder(tmp_path):
    """Three classes of four, three and five images, of several formats and sizes."""
    counts = {"ant": 4, "bee": 3, "cow": 5}
    suffixes = (".png", ".JPEG", ".jpg", ".PNG", ".jpeg")
    for number, (name, count) in enumerate(counts.items()):
        for index in range(count):
            image = picture(10 * number + index, 12 + index, 16)
            write_image(tmp_path / "set" / name / f"{index}{suffixes[index]}", image)
    return tmp_path / "set"
