"""`keras.distillation.Distiller`, as its documentation describes it."""

import keras
import tensorflow as tf

from kgraft.comparison.setting import Outcome, Setting
from kgraft.comparison.told import Told
from kgraft.comparison.whole import Student, random_student
from kgraft.data.preprocess import preprocess
from kgraft.grafting import fuse
from kgraft.grafting.batches import shuffled_batches
from kgraft.graph import Graph, as_model, concat, without_training_layers

_ORDER = 22


def distiller(setting: Setting) -> Outcome:
    """Keras's own distillation of the whole student from random weights.

    Keras 3, `keras.distillation.Distiller` with `LogitsDistillation` at its defaults (temperature
    3, weight 0.5, Adam at 1e-3), fitted without labels, which leaves its supervised term out. The
    divergence is given as an object: Keras 3.15 puts logits through the softmax for that alone. For
    its default, the name, it takes the divergence of the logits themselves, by which a student
    unlearns.
    """
    student = random_student(setting)
    pieces, own = _joined(student)
    model = keras.distillation.Distiller(
        teacher=as_model(setting.chain.graph, name="teacher", frozen=True),
        student=as_model(concat(pieces), name="student", shared=own, frozen=True),
        distillation_losses=keras.distillation.LogitsDistillation(loss=keras.losses.KLDivergence()),
    )
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
    if setting.updates:
        callbacks = [_tells(setting.updates)]
        model.fit(_dataset(setting), epochs=1, shuffle=False, verbose=0, callbacks=callbacks)
    settings = {
        "start": "random",
        "loss": "kl",
        "temperature": 3.0,
        "rate": 1e-3,
        "keras": keras.__version__,
    }
    return Outcome(fuse(student), int(model.optimizer.iterations), settings)


def _tells(updates: int) -> keras.callbacks.Callback:
    told = Told("distiller", updates)
    # Keras tells the mean over all batches so far, and counts batches from 0.
    return keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: told(batch + 1, logs["loss"])
    )


def _joined(student: Student) -> tuple[tuple[Graph, ...], set[int]]:
    """The pieces of the student in order, and the ids of the layers that train."""
    pieces: list[Graph] = []
    own: set[int] = set()
    for block in student:
        if block.kept:
            # Fitting runs all of the student in training mode, which the teacher's own is not in.
            pieces += [without_training_layers(piece) for piece in block.pieces]
        else:
            pieces += block.pieces
            own |= {id(layer) for piece in block.pieces for layer in piece.layers}
    return tuple(pieces), own


def _dataset(setting: Setting) -> tf.data.Dataset:
    """One batch of preprocessed views per update, in an order that the seed fixes."""
    bank, batch = setting.bank, setting.config.train.batch
    order = shuffled_batches(
        len(bank), batch=batch, steps=setting.updates, replicas=1, seed=(setting.seed, _ORDER)
    )
    real = tf.data.Dataset.from_tensor_slices((order.rows, order.weights > 0))

    def read(rows: tf.Tensor, used: tf.Tensor) -> tuple[tf.Tensor]:
        views = tf.gather(bank.tensor(0), tf.boolean_mask(rows, used))
        return (tf.cast(preprocess(views, bank.preprocess), tf.float32),)

    return real.map(read).prefetch(2)
