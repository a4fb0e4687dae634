"""The report's part about exported files: how each compares with the Keras student."""

from collections.abc import Sequence

from kgraft.export import Comparison, LayerNoise, Verification, short_name
from kgraft.report.markdown_parts import section, shown, table
from kgraft.report.table import UNKNOWN

_HEADINGS = (
    "file",
    "verified",
    "largest difference",
    "mean difference",
    "allowed",
    "agreement with student %",
    "images",
    "ops",
)
_TEST_HEADINGS = (
    "file, on the test set",
    "accuracy %",
    "agreement with student %",
    "largest difference",
    "mean difference",
    "images",
)
_NOISE_HEADINGS = ("file, noisiest layers first", "layers", "first", "second", "third")
_WORST = 3


def exports_section(verifications: Sequence[Verification]) -> str:
    """Renders the verification of all files; nothing where there is none.

    Args:
        verifications: of each file.
    """
    if not verifications:
        return ""
    tested = [(found.name, found.test) for found in verifications if found.test is not None]
    noisy = [(found.name, found.layers) for found in verifications if found.layers]
    return section(
        "Exports",
        table(_HEADINGS, [_cells(found) for found in verifications]),
        table(_TEST_HEADINGS, [_test_cells(*one) for one in tested]) if tested else "",
        table(_NOISE_HEADINGS, [_noise_cells(*one) for one in noisy]) if noisy else "",
        "Noise is that of quantisation: signal-to-noise of each layer's output against the float32 "
        "file, in decibels."
        if noisy
        else "",
    )


def _cells(found: Verification) -> tuple[str, ...]:
    return (
        found.name,
        "yes" if found.ok else f"NO: {found.why}",
        shown(found.max_abs_difference),
        shown(found.mean_abs_difference),
        shown(found.tolerance * found.largest_logit),
        _percent(found.agreement),
        str(found.images),
        ", ".join(f"{name} {count}" for name, count in found.ops.items()) or UNKNOWN,
    )


def _test_cells(name: str, test: Comparison) -> tuple[str, ...]:
    return (
        name,
        _percent(test.accuracy),
        _percent(test.agreement),
        shown(test.max_abs_difference),
        shown(test.mean_abs_difference),
        str(test.images),
    )


def _noise_cells(name: str, layers: Sequence[LayerNoise]) -> tuple[str, ...]:
    worst = [_layer(layer) for layer in layers[:_WORST]]
    return (name, str(len(layers)), *worst, *[UNKNOWN] * (_WORST - len(worst)))


def _layer(layer: LayerNoise) -> str:
    ratio = "exact" if layer.snr_db is None else f"{layer.snr_db:.1f} dB"
    return f"{short_name(layer.name)} ({layer.op}) {ratio}"


def _percent(share: float | None) -> str:
    return UNKNOWN if share is None else f"{100 * share:.2f}"
