"""One training step of the paper's CIFAR-10 setting: kgraft against the published procedure.

    python -m benchmarks.step --json

VGG16 on 32x32 images, batch 64, each phase of stage one and of stage two. The variants take turns
in one run, PyTorch in a process of its own that idles between its turns:

- published: the whole teacher twice, gradients for all weights (`published.py`);
- published_no_grad: the same with the run that makes the target under `no_grad`;
- kgraft_cold: nothing cached, the teacher's prefix is computed from the views at every step;
- kgraft_cached: the activations at the cuts are in the view bank;
- matrix: a large matrix product in TensorFlow of the type the steps compute in, the machine's rate.

Weights are random and images are noise: a step takes as long on them as on others. `*_ms` are
means over the three phases of stage one, of each one's median; `peak_fraction` is over the updates
of stage one, as many of each phase as the paper does, and `peak_fraction_inside` the same without
the multiply-adds that meet zero padding.
"""

import argparse
import contextlib
import functools
from typing import Any

from benchmarks import apart, command, paper
from kgraft.config import PRECISIONS

_VIEWS = 1600
_HELDOUT = 128
# Updates that PyTorch does in a turn, a good second as kgraft's: the first after another library's
# turn takes up to half as long again.
_PUBLISHED_UPDATES = 4
# More than any phase gets to in the seconds it is measured.
_ENDLESS = 50_000
_VARIANTS = ("published", "published_no_grad", "kgraft_cold", "kgraft_cached")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds `--rounds` and `--precision`."""
    parser.add_argument("--rounds", type=command.positive, default=5, help="turns of each variant")
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="auto", help="what kgraft computes in"
    )


def measure(flags: argparse.Namespace) -> command.Results:
    """Measures all phases.

    Args:
        flags: `threads`, `rounds` and `precision`.

    Returns:
        What `summary` makes of the phases, and `phases` in detail.
    """
    from benchmarks import machine

    machine.set_threads(flags.threads)
    others = machine.OtherWork()
    with published_schedule(2 * paper.BATCH, flags.threads) as published:
        bench = _Bench(published, flags)
        phases = [bench.measure(number) for number in range(len(paper.PHASES))]
    return {
        "benchmark": "step",
        "batch": paper.BATCH,
        "rounds": flags.rounds,
        "precision": flags.precision,
        **summary(phases),
        "phases": phases,
        "machine": machine.describe(flags.threads, others),
    }


def published_schedule(images: int, threads: int | None) -> apart.Apart:
    """Starts PyTorch with the paper's phases.

    Args:
        images: how many there are.
        threads: threads within an operation; None for PyTorch's choice.

    Returns:
        A `PublishedSchedule` in a process of its own.
    """
    command.tell("starting PyTorch")
    keys = ("start", "stop", "block_rate", "adapter_rate")
    return apart.Apart(
        "benchmarks.published:PublishedSchedule",
        phases=[{key: getattr(phase, key) for key in keys} for phase in paper.PHASES],
        images=images,
        batch=paper.BATCH,
        threads=threads,
    )


class _Bench:
    """What the phases share: PyTorch, kgraft's teacher, student and banks."""

    def __init__(self, published: apart.Apart, flags: argparse.Namespace) -> None:
        from benchmarks import product

        self._published, self._flags = published, flags
        self._setting = product.Setting.make()
        self._phases = [product.make_phase(p, steps=_ENDLESS) for p in paper.PHASES]
        command.tell(f"running the teacher over {_VIEWS} views")
        pixels = (_noise(_VIEWS), _noise(_HELDOUT))
        self._banks = {
            cached: product.Banks.fill(self._setting, pixels, self._phases, cached=cached)
            for cached in (False, True)
        }

    def measure(self, number: int) -> dict[str, Any]:
        """Measures one phase in turns."""
        from benchmarks import machine, product, turns

        command.tell(f"measuring {paper.PHASES[number].name}, {self._flags.rounds} rounds")
        with contextlib.ExitStack() as stack:
            variants = self._variants(number, stack)
            times = turns.take_turns(variants, rounds=self._flags.rounds)
            dtype = variants["kgraft_cached"].dtype
        count = functools.partial(product.required_macs, self._setting, self._phases[number])
        return {
            "dtype": dtype,
            **phase_figures(
                paper.PHASES[number],
                times,
                macs=paper.BATCH * count(padding=True),
                macs_inside=paper.BATCH * count(padding=False),
                matrix_operations=machine.OPERATIONS,
            ),
        }

    def _variants(self, number: int, stack: contextlib.ExitStack) -> dict[str, Any]:
        from benchmarks import machine, product

        published = functools.partial(self._published, phase=number, updates=_PUBLISHED_UPDATES)
        cold, cached = (
            stack.enter_context(
                product.ProductPhase(
                    self._setting,
                    self._phases[number],
                    self._banks[kept],
                    precision=self._flags.precision,
                )
            )
            for kept in (False, True)
        )
        return {
            "published": published,
            "kgraft_cold": cold,
            "published_no_grad": functools.partial(published, target_gradients=False),
            "kgraft_cached": cached,
            "matrix": machine.MatrixProduct(cached.dtype).seconds,
        }


def _noise(count: int) -> Any:
    import numpy as np

    rng = np.random.default_rng(count)
    return rng.integers(0, 256, (count, *paper.IMAGE_SHAPE), np.uint8)


def phase_figures(
    phase: paper.PaperPhase,
    times: dict[str, list[float]],
    *,
    macs: int,
    macs_inside: int,
    matrix_operations: int,
) -> dict[str, Any]:
    """Works out the figures of one phase.

    Args:
        phase: the phase.
        times: seconds of each round by variant.
        macs: multiply-adds that one cached step requires.
        macs_inside: the same without those that meet zero padding.
        matrix_operations: floating-point operations of the matrix product.

    Returns:
        Medians in milliseconds, ratios, fractions of peak, and every round.
    """
    from benchmarks import turns

    median = turns.medians(times)
    milliseconds = {f"{name}_ms": 1000 * median[name] for name in times}
    figures = {
        "name": phase.name,
        "stage": phase.stage,
        "updates": phase.updates,
        **milliseconds,
        **_ratios(milliseconds),
        "macs": macs,
        "macs_inside": macs_inside,
        "matrix_gflops": matrix_operations / median["matrix"] / 1e9,
    }
    return {
        **figures,
        **_fractions([figures], ""),
        "rounds_ms": {name: [1000 * value for value in times[name]] for name in times},
    }


def summary(phases: list[dict[str, Any]]) -> dict[str, float]:
    """Works out the headline figures.

    Args:
        phases: what `phase_figures` made of each phase.

    Returns:
        Of stage one the mean milliseconds of each variant, their ratios and the fractions of peak;
        the fractions of stage two and of all updates; the matrix product's rate.
    """
    from benchmarks import arithmetic

    one = [phase for phase in phases if phase["stage"] == 1]
    keys = [f"{name}_ms" for name in _VARIANTS]
    means = {key: arithmetic.mean(phase[key] for phase in one) for key in keys}
    return {
        **means,
        **_ratios(means),
        **_fractions(one, ""),
        **_fractions([phase for phase in phases if phase["stage"] == 2], "_stage_two"),
        **_fractions(phases, "_all_updates"),
        "matrix_gflops": arithmetic.mean(phase["matrix_gflops"] for phase in phases),
    }


def _ratios(milliseconds: dict[str, float]) -> dict[str, float]:
    from benchmarks import arithmetic

    return arithmetic.ratios(
        milliseconds,
        of={"ratio": "published_ms", "ratio_no_grad": "published_no_grad_ms"},
        to={"cold": "kgraft_cold_ms", "cached": "kgraft_cached_ms"},
    )


def _fractions(phases: list[dict[str, Any]], suffix: str) -> dict[str, float]:
    """The cached steps of some phases, each as often as the paper does it, against the machine."""
    from benchmarks import arithmetic

    rate = arithmetic.mean(phase["matrix_gflops"] for phase in phases) * 1e9
    seconds = sum(phase["updates"] * phase["kgraft_cached_ms"] / 1000 for phase in phases)
    return {
        name + suffix: arithmetic.peak_fraction(
            macs=sum(phase["updates"] * phase[key] for phase in phases),
            seconds=seconds,
            operations_per_second=rate,
        )
        for name, key in (("peak_fraction", "macs"), ("peak_fraction_inside", "macs_inside"))
    }


if __name__ == "__main__":
    command.run("step", "One VGG16 step against PyTorch.", measure, add_flags=add_flags, torch=True)
