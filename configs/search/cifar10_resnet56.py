"""The search space of configs/tune/cifar10_resnet56.flags; edit it freely.

A stage has nine units, and a unit of any stage costs as many multiply-adds as one of another: the
question is where the nine or ten that the bound on the latency leaves are worth most. With four
values a stage each block is trained four times in stage one, however many trials there are.
"""

from kgraft.tuning import choice

UNITS = ("depth:2", "depth:3", "depth:4", "depth:5")

SPACE = {
    "block0": choice(*UNITS),
    "block1": choice(*UNITS),
    "block2": choice(*UNITS),
}
