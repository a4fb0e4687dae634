"""The published training procedure in PyTorch, to measure against.

Written for this benchmark from the paper's description (arXiv 2012.04915) and nothing else. What it
does at every update, and kgraft does not:

- the whole teacher runs twice: once for the target logits, once with the student blocks in it;
- the teacher's weights keep `requires_grad`, so that gradients are computed for all of them, and
  the backward pass goes down to the first layer. The description does not say whether that holds
  for the run that makes the target too; both ways can be measured;
- the adapters are 1x1 convolutions with bias.

Batches come ready-made from memory, without the data loader and the augmentation of the original,
and there is no test after an epoch: what is measured is the update alone.
"""

import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional

CONV_WIDTHS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
# The student's widths of the blocks that are replaced: two of convolutions, and the head.
_STUDENT_WIDTHS = {3: (256, 256, 256), 4: (256, 256, 256)}
_HEAD = len(CONV_WIDTHS)
_HIDDEN = 512


class StudentBlock(nn.Module):
    """A student block between two 1x1 adapters with bias; None where the widths agree."""

    def __init__(self, entry: nn.Module | None, body: nn.Module, exit_: nn.Module | None) -> None:
        super().__init__()
        self.entry = entry or nn.Identity()
        self.body = body
        self.exit = exit_ or nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Runs the block, `[batch, channels, height, width]` in the teacher's width."""
        return self.exit(self.body(self.entry(x)))


def _conv_block(channels: int, widths: tuple[int, ...]) -> nn.Sequential:
    parts: list[nn.Module] = []
    for width in widths:
        parts += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
        channels = width
    return nn.Sequential(*parts, nn.MaxPool2d(2))


def make_teacher(classes: int) -> nn.ModuleList:
    """Builds the paper's VGG16 for 32x32 images as a list of six blocks, with random weights.

    Args:
        classes: number of logits.

    Returns:
        Five convolutional blocks and the head, in inference mode, `requires_grad` left on.
    """
    blocks, channels = nn.ModuleList(), 3
    for widths in CONV_WIDTHS:
        blocks.append(_conv_block(channels, widths))
        channels = widths[-1]
    hidden = (nn.Linear(channels, _HIDDEN), nn.BatchNorm1d(_HIDDEN))
    blocks.append(nn.Sequential(nn.Flatten(), *hidden, nn.Linear(_HIDDEN, classes)))
    return blocks.eval()


def make_student(classes: int) -> dict[int, StudentBlock]:
    """Builds the paper's student blocks with their adapters, by block number.

    Args:
        classes: number of logits.
    """
    made = {}
    for index, widths in _STUDENT_WIDTHS.items():
        taught_in, taught_out = CONV_WIDTHS[index - 1][-1], CONV_WIDTHS[index][-1]
        # The first replaced block follows a block of the teacher's own, at its full width.
        own_in = _STUDENT_WIDTHS.get(index - 1, CONV_WIDTHS[index - 1])[-1]
        entry = nn.Conv2d(taught_in, own_in, 1) if own_in != taught_in else None
        body = _conv_block(own_in, widths)
        made[index] = StudentBlock(entry, body, nn.Conv2d(widths[-1], taught_out, 1))
    width = _STUDENT_WIDTHS[_HEAD - 1][-1]
    head = nn.Sequential(nn.Flatten(), nn.Linear(width, _HIDDEN), nn.Linear(_HIDDEN, classes))
    made[_HEAD] = StudentBlock(nn.Conv2d(CONV_WIDTHS[-1][-1], width, 1), head, None)
    return made


class PublishedPhase:
    """One phase of the published procedure: a span of the teacher replaced, and its updates."""

    def __init__(
        self,
        *,
        start: int,
        stop: int,
        images: int,
        batch: int,
        block_rate: float,
        adapter_rate: float,
    ) -> None:
        """Builds teacher, student blocks, optimiser and images of noise, and warms up.

        Args:
            start: first block of the span.
            stop: the block after its last.
            images: how many there are; the last batch of an epoch may be uneven.
            batch: images per update.
            block_rate: learning rate of the student blocks.
            adapter_rate: learning rate of their adapters.
        """
        torch.manual_seed(0)
        self._teacher = make_teacher(classes=10)
        student = make_student(classes=10)
        self._span = nn.ModuleList([student[index] for index in range(start, stop)])
        self._grafted = [*self._teacher[:start], *self._span, *self._teacher[stop:]]
        self._optimizer = torch.optim.Adam(self._groups(block_rate, adapter_rate))
        self._batches = _endless_batches(torch.randn(images, 3, 32, 32), batch)
        for target_gradients in (True, False):
            self(updates=2, target_gradients=target_gradients)

    def __call__(self, *, updates: int, target_gradients: bool) -> float:
        """Does some updates.

        Args:
            updates: how many.
            target_gradients: whether gradients go through the run that makes the target.

        Returns:
            Seconds per update.
        """
        began = time.perf_counter()
        for _ in range(updates):
            # As a training loop does that shows its loss: it waits for each update.
            self._update(next(self._batches), target_gradients).item()
        return (time.perf_counter() - began) / updates

    def _groups(self, block_rate: float, adapter_rate: float) -> list[dict[str, Any]]:
        adapters: list[nn.Parameter] = []
        blocks: list[nn.Parameter] = []
        for name, weights in self._span.named_parameters():
            (blocks if ".body." in name else adapters).append(weights)
        return [{"params": blocks, "lr": block_rate}, {"params": adapters, "lr": adapter_rate}]

    def _update(self, images: torch.Tensor, target_gradients: bool) -> torch.Tensor:
        with torch.set_grad_enabled(target_gradients):
            target = _run(self._teacher, images)
        logits = _run(self._grafted, images)
        distance = functional.normalize(logits, dim=1) - functional.normalize(target, dim=1)
        loss = distance.square().sum()
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        return loss.detach()


class PublishedSchedule:
    """Phases of the published procedure in one process, warm, to be measured in any order."""

    def __init__(
        self, *, phases: list[dict[str, Any]], images: int, batch: int, threads: int | None
    ) -> None:
        """Builds every phase.

        Args:
            phases: `start`, `stop`, `block_rate` and `adapter_rate` of each.
            images: how many there are.
            batch: images per update.
            threads: threads within an operation; None for PyTorch's choice.
        """
        if threads is not None:
            torch.set_num_threads(threads)
        self._phases = [PublishedPhase(images=images, batch=batch, **phase) for phase in phases]

    def __call__(self, *, phase: int, updates: int, target_gradients: bool = True) -> float:
        """Does some updates of one phase.

        Args:
            phase: its number.
            updates: how many.
            target_gradients: whether gradients go through the run that makes the target.

        Returns:
            Seconds per update.
        """
        return self._phases[phase](updates=updates, target_gradients=target_gradients)


def _endless_batches(images: torch.Tensor, batch: int) -> Iterator[torch.Tensor]:
    while True:
        for rows in torch.randperm(len(images)).split(batch):
            yield images[rows]


def _run(blocks: Any, x: torch.Tensor) -> torch.Tensor:
    for block in blocks:
        x = block(x)
    return x
