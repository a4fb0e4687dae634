"""The search space of configs/tune/fashion_mnist.flags; edit it freely.

Names are flags of kgraft-distill, `steps_one` and `steps_two` for the two numbers of --steps, and
for each block (from 0) its recipe `block1`, `block1_ratio` (where the recipe is width or inner) and
`block1_rate`. What is not named stays as in the flagfile. With steps, trials meet the same blocks
again, and each is trained once.
"""

from kgraft.tuning import choice, real

SPACE = {
    "block0": choice("keep", "width"),
    "block0_ratio": choice(0.5, 0.75),
    "block1": choice("width", "inner"),
    "block1_ratio": real(0.45, 0.95, step=0.1),
    "block2_ratio": real(0.35, 0.85, step=0.1),
    "block3_ratio": real(0.2, 0.5, step=0.1),
}
