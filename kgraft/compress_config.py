"""Settings of the third grafting stage; needs the standard library only."""

import dataclasses

from kgraft.checks import above_zero, at_least, one_of, whole
from kgraft.errors import KgraftError

# In the order they are done.
TECHNIQUES = ("prune", "cluster", "quantize")
NOTHING = "none"
SPARSITY_SCHEDULES = ("solved", "polynomial", "constant")
SPARSITY_ALLOCATIONS = ("lamp", "uniform")
SPARSITY_PATTERNS = ("unstructured", "2:4", "block")
# The formats that only a compressed student has, and the technique they need.
COMPRESSED_FORMATS = {"sparse": "prune", "int8_qat": "quantize"}

_FIELDS = {
    "prune": ("sparsity", "sparsity_allocation", "sparsity_schedule", "sparsity_pattern"),
    "cluster": ("clusters",),
    "quantize": (),
}


@dataclasses.dataclass(frozen=True)
class CompressConfig:
    """How the fused student is compressed, trained by the same teacher on views of the same images.

    Attributes:
        compress: `none`, or any of `prune`, `cluster` and `quantize` joined by `+`; they are done
            in this order, and the later ones keep what the earlier ones made.
        sparsity: share of the kernels' weights that becomes zero.
        sparsity_allocation: how unstructured sparsity is shared out among kernels: `lamp` (the most
            where it is missed least, by layer-adaptive magnitude) or `uniform` (the same share of
            each).
        sparsity_schedule: `solved` (in closed form before the first step, what is left fitted to
            make good what goes), `polynomial` (by magnitude, more and more over the first half of
            the steps) or `constant` (by magnitude, all at once).
        sparsity_pattern: which weights: `unstructured`, `2:4` (two of four neighbours along the
            input channels) or `block` (four inputs of a dense layer at once).
        clusters: how many values a kernel may have; quantising gives each output channel of a
            convolution as many of its own.
        compress_steps: updates of each technique.
        compress_rate: learning rate.
        compress_views: further views of each transfer image to learn from in place of those of the
            other stages; 0 for those.
    """

    compress: str = NOTHING
    sparsity: float = 0.5
    sparsity_allocation: str = "lamp"
    sparsity_schedule: str = "solved"
    sparsity_pattern: str = "unstructured"
    clusters: int = 16
    compress_steps: int = 800
    compress_rate: float = 1e-3
    compress_views: int = 0

    def __post_init__(self) -> None:
        self._check_compress()
        one_of("sparsity_allocation", self.sparsity_allocation, SPARSITY_ALLOCATIONS)
        one_of("sparsity_schedule", self.sparsity_schedule, SPARSITY_SCHEDULES)
        one_of("sparsity_pattern", self.sparsity_pattern, SPARSITY_PATTERNS)
        if not 0 < self.sparsity < 1:
            raise KgraftError(
                f"--sparsity must be a share between 0 and 1, such as 0.5; got {self.sparsity}"
            )
        if self.sparsity_pattern == "2:4" and self.sparsity != 0.5:
            raise KgraftError(
                f"--sparsity_pattern=2:4 is a sparsity of 0.5; got --sparsity={self.sparsity}"
            )
        whole("clusters", self.clusters)
        whole("compress_steps", self.compress_steps)
        whole("compress_views", self.compress_views)
        # One of them is the zero of a pruned kernel, and two more are its negative and positive.
        at_least("clusters", self.clusters, 3)
        at_least("compress_steps", self.compress_steps, 2)
        above_zero("compress_rate", self.compress_rate)
        at_least("compress_views", self.compress_views, 0)

    @property
    def techniques(self) -> tuple[str, ...]:
        """What is done, in order."""
        asked = self.compress.split("+")
        return tuple(name for name in TECHNIQUES if name in asked)

    def settings(self, technique: str) -> dict[str, object]:
        """Returns the settings that the weights after a technique depend on, by flag.

        Args:
            technique: one of `techniques`.
        """
        done = self.techniques[: self.techniques.index(technique) + 1]
        names = [name for part in done for name in _FIELDS[part]]
        values = {name: getattr(self, name) for name in (*names, "compress_steps", "compress_rate")}
        # Left out where it changes nothing, so that runs made before it was there are found again.
        fresh = {"compress_views": self.compress_views} if self.compress_views else {}
        return {"techniques": list(done), **values, **fresh}

    def check_run(self, formats: tuple[str, ...]) -> None:
        """Checks that the formats of a run go with its techniques.

        Args:
            formats: names of formats.

        Raises:
            KgraftError: one needs a technique that is not asked for, or nothing would come of one.
        """
        self.check_formats(formats)
        if "quantize" in self.techniques and "int8_qat" not in formats:
            raise KgraftError(
                f"--compress={self.compress} trains for the file int8_qat, which is not among "
                f"--formats={','.join(formats)}: add it, or leave quantize out"
            )

    def check_formats(self, formats: tuple[str, ...]) -> None:
        """Checks that the formats asked for can be made.

        Args:
            formats: names of formats.

        Raises:
            KgraftError: one needs a technique that is not asked for.
        """
        for name in self.lacking(formats):
            technique = COMPRESSED_FORMATS[name]
            raise KgraftError(
                f"--formats={name} needs --compress={technique}; got --compress={self.compress}"
            )

    def lacking(self, formats: tuple[str, ...]) -> tuple[str, ...]:
        """Returns the formats that need a technique which is not asked for.

        Args:
            formats: names of formats.
        """
        return tuple(
            name
            for name, technique in COMPRESSED_FORMATS.items()
            if name in formats and technique not in self.techniques
        )

    def _check_compress(self) -> None:
        parts = self.compress.split("+")
        if self.compress == NOTHING:
            return
        if not set(parts) <= set(TECHNIQUES) or len(set(parts)) < len(parts):
            raise KgraftError(
                f"--compress must be none, or different ones of {', '.join(TECHNIQUES)} joined by "
                f"+, such as prune+quantize; got {self.compress!r}"
            )


UNCOMPRESSED = CompressConfig()
