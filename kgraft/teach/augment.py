"""Random crops and flips on TensorFlow tensors; every draw follows from its seed alone."""

import tensorflow as tf


def crop_flip(images: tf.Tensor, *, padding: int, seed: tf.Tensor) -> tf.Tensor:
    """Pads with zeros, crops each image back at a random place and flips half of them.

    Args:
        images: uint8 `[batch, height, width, channels]`.
        padding: zero pixels on each side.
        seed: two integers; the same seed gives the same crops.

    Returns:
        uint8 `[batch, height, width, channels]`.
    """
    shape = tf.shape(images)
    batch, height, width = shape[0], shape[1], shape[2]
    draws = tf.random.stateless_uniform([batch, 3], seed)
    offset = tf.cast(tf.floor(draws[:, :2] * float(2 * padding + 1)), tf.int32)
    rows = offset[:, :1] + tf.range(height)
    columns = offset[:, 1:] + tf.range(width)
    # A flip is a crop whose columns are read backwards: one gather does both.
    columns = tf.where(draws[:, 2:] < 0.5, columns, tf.reverse(columns, [1]))
    padded = tf.pad(images, [[0, 0], [padding, padding], [padding, padding], [0, 0]])
    cropped = tf.gather(padded, rows, axis=1, batch_dims=1)
    cropped = tf.gather(tf.transpose(cropped, [0, 2, 1, 3]), columns, axis=1, batch_dims=1)
    return tf.ensure_shape(tf.transpose(cropped, [0, 2, 1, 3]), images.shape)


def resized_crop_flip(image: tf.Tensor, *, size: tuple[int, int], seed: tf.Tensor) -> tf.Tensor:
    """Cuts out 8 to 100 % of the area at ratio 3/4 to 4/3, resizes it and flips half of the time.

    Args:
        image: uint8 `[height, width, channels]`, of any size.
        size: `(height, width)` of the result.
        seed: two integers; the same seed gives the same crop.

    Returns:
        uint8 `[height, width, channels]`.
    """
    box_seed, flip_seed = tf.unstack(tf.random.split(tf.cast(seed, tf.int64), 2))
    begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.shape(image),
        tf.zeros([0, 0, 4]),
        seed=box_seed,
        aspect_ratio_range=(3 / 4, 4 / 3),
        area_range=(0.08, 1.0),
        use_image_if_no_bounding_boxes=True,
    )
    cropped = tf.slice(image, begin, extent)
    resized = tf.image.resize(cropped, size, antialias=True)
    flipped = tf.image.stateless_random_flip_left_right(resized, flip_seed)
    return tf.cast(tf.clip_by_value(tf.round(flipped), 0, 255), tf.uint8)
