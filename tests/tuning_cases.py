"""Records and settings made by hand, for what needs no teacher."""

from kgraft.tuning import TuneConfig
from kgraft.tuning.records import TRAINED, TrialRecord

BASE = {
    "teacher": "a.keras",
    "teacher_cuts": ("first", "second"),
    "graft": "1-2",
    "dataset": "npz:a.npz",
}


def settings(*vary, **changes):
    return TuneConfig.from_flags(**{**BASE, "vary": vary or ("block1_ratio=0.25|0.5",), **changes})


def record(trial, agreement, latency, **changes):
    """A trained trial whose score is its agreement."""
    values = {
        "status": TRAINED,
        "values": {},
        "score": agreement,
        "agreement": agreement,
        "loss": 1 - agreement,
        "closed_agreement": agreement - 0.1,
        "closed_loss": 1.2 - agreement,
        "latency_ms": latency,
        "bytes": 100,
        "macs": 1000,
        "shares": {"latency": latency, "bytes": latency, "macs": latency},
        "seconds": 1.0,
    }
    return TrialRecord(trial, **{**values, **changes})
