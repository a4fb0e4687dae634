"""Grafting: the view bank, losses, the graft schedule and the one trainer of every phase."""

from kgraft.grafting.bank import ViewBank
from kgraft.grafting.checkpoints import Checkpoints
from kgraft.grafting.evaluate import agreement
from kgraft.grafting.fuse import FusedStudent, Remaining, fuse
from kgraft.grafting.losses import LOSSES, feature_mse, make_loss
from kgraft.grafting.precision import Compute, check_xla, choose_compute
from kgraft.grafting.progress import OnProgress, Progress, ProgressLine, tell_all
from kgraft.grafting.run import check_ready, run_schedule, settle_start
from kgraft.grafting.schedule import Phase, graft_schedule, positions_wanted
from kgraft.grafting.strategy import has_several_workers, is_chief, make_strategy
from kgraft.grafting.tensorboard import TensorBoardLog
from kgraft.grafting.trainer import PhaseResult, train_phase

__all__ = [
    "LOSSES",
    "Checkpoints",
    "Compute",
    "FusedStudent",
    "OnProgress",
    "Phase",
    "PhaseResult",
    "Progress",
    "ProgressLine",
    "Remaining",
    "TensorBoardLog",
    "ViewBank",
    "agreement",
    "check_ready",
    "check_xla",
    "choose_compute",
    "feature_mse",
    "fuse",
    "graft_schedule",
    "has_several_workers",
    "is_chief",
    "make_loss",
    "make_strategy",
    "positions_wanted",
    "run_schedule",
    "settle_start",
    "tell_all",
    "train_phase",
]
