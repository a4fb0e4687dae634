import dataclasses

from kgraft.comparison.cells import CellRecord
from kgraft.comparison.remarks import machine_lines, method_lines, views_told
from kgraft.comparison.summary import summarize

VERSIONS = {"keras": "3.15.1", "tensorflow": "2.21.0"}


def cell(method, shots=1, draw=0, **changes):
    figures = {"accuracy": 0.5, "agreement": 0.6, "parameters": 9, "macs": 9, "seconds": 1.0}
    figures |= {"updates": 9, "images": 10, "views": 160, "selection": "the last"}
    return CellRecord(method, shots, draw, draw, **figures | changes)


def test_cells_of_one_machine_and_of_several():
    cpu = cell("kd", device="a CPU", versions=VERSIONS)
    failed = CellRecord("kd", 1, 1, 1, error="it broke", device="another")
    told = "Cells by device and versions: 2 on a CPU (keras 3.15.1, tensorflow 2.21.0)"
    assert machine_lines([cpu, cpu, failed]) == ["", f"{told}."]
    gpu = dataclasses.replace(cpu, device="a GPU")
    apart = "; seconds of different machines do not compare."
    both = f"{told}; 1 on a GPU (keras 3.15.1, tensorflow 2.21.0)"
    assert machine_lines([cpu, gpu, cpu])[1] == both + apart
    assert machine_lines([cpu, cpu, cell("kd")])[1] == f"{told}; 1 of 3 do not say{apart}"
    assert machine_lines([failed]) == []


def test_views_are_those_that_the_records_say():
    def used(count):
        return {"views": 1_600, "settings": {"views_used": count}}

    assert views_told([cell("paper"), cell("kd"), cell("fskd", **used(100))], 16) == ""
    assert views_told([cell("paper", **used(1_600))], 16) == ""
    records = [cell("paper", k, **used(160)) for k in (5, 1)] + [cell("finetune", **used(160))]
    told = "; from those of the transfer images alone `finetune` at 1-shot and `paper` at 1-shot, "
    assert views_told(records, 16) == f"{told}5-shot"
    silent = "; the records of `paper` at 10-shot do not say from which"
    assert views_told([*records, cell("paper", 10, views=1_600)], 16) == f"{told}5-shot{silent}"


def test_students_at_chance_are_named_where_the_classes_are_known():
    records = [cell("kd", agreement=0.105), cell("kd", 5, agreement=0.12)]
    lines = method_lines(summarize(records), records, {"classes": 10})
    assert lines[0].endswith(" at chance at 1-shot: did not learn at this rate.")
    assert "chance" not in method_lines(summarize(records), records, {})[0]
    records = [cell("fskd", agreement=0.1, updates=0)]
    assert method_lines(summarize(records), records, {"classes": 10})[0].endswith("at 1-shot.")


def test_other_dtypes_and_revisions_are_noted():
    records = [cell("kgraft", computed_in="bfloat16", revision=1), cell("kgraft", 5, revision=2)]
    line = method_lines(summarize(records), records, {})[0]
    assert "computed in bfloat16, in part or all; cells of revisions 1, 2 of the method." in line
    plain = [cell("kgraft", computed_in="float32", revision=1)]
    assert method_lines(summarize(plain), plain, {})[0].endswith("Weights: the last.")
