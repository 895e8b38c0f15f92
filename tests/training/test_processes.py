"""Trainings in processes of their own: killed at any moment, and two that share the work."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from toys import (
    Clips,
    Codes,
    ConditionedCodes,
    OwnSlices,
    codebook_model,
    conditioned_prior,
    gan,
    logged,
    planes,
    prior,
)

from lvlib.training import train
from lvlib.training.checkpoint import EMA, MODEL, folder_of, load_tensors, steps_saved

HERE = Path(__file__).parent
TIMES = {"seconds", "clips_per_second"}
pytestmark = [pytest.mark.slow, pytest.mark.posix]  # the scripts fork


def run_script(*command: object) -> subprocess.CompletedProcess:
    places = [str(HERE.parents[1]), str(HERE), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, places))}
    done = subprocess.run([sys.executable, *map(str, command)], env=environment, capture_output=True, text=True,
                          timeout=900)
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.parametrize("training, kills", [("gan", 40), ("planes", 8), ("prior", 8)])
def test_killed_at_any_moment_a_run_ends_with_the_weights_of_one_never_stopped(tmp_path, training, kills):
    report = json.loads(run_script(HERE / "kill_and_resume.py", tmp_path, training, kills, 0).stdout)
    assert report["whole"] == report["last"] == "status 0"
    assert len(report["kills"]) == kills and {ending for ending, _ in report["kills"]} <= {"SIGKILL", "SIGPROF"}
    assert len({step for _, step in report["kills"]}) >= 4  # they died at different places
    assert [ending for ending, *_ in report["in_writing"]] == ["SIGKILL"] * 9
    assert sum(unfinished for _, unfinished, _ in report["in_writing"]) >= 5  # they died while writing
    for name in (MODEL, EMA):
        whole, killed = (folder_of(tmp_path / run, 400) / name for run in ("whole", "killed"))
        assert whole.read_bytes() == killed.read_bytes(), report
    whole, killed = ([{name: value for name, value in record.items() if name not in TIMES}
                      for record in logged(tmp_path / run)] for run in ("whole", "killed"))
    assert killed == whole and [record["step"] for record in whole] == list(range(5, 401, 5))


# Adam and RMSprop make steps of one size out of gradients that are rounding and nothing else, which a wrong gradient
# would turn round: it would move a weight by 1e-2 and more. The planes are in float64.
PAIRS = {"run": (1e-4, 1e-5), "prior": (1e-4, 5e-4), "conditioned": (1e-4, 5e-4), "gan": (1e-4, 1e-5),
         "planes": (1e-9, 1e-12)}  # pair: rtol, atol


def test_two_processes_end_as_one_would(tmp_path):
    """Weights, running mean, codebooks with their restarts, losses; of two processes with three micro-batches each and
    one process with none. Half of the run by Fabric, half by torchrun; and
    what only one of the processes notices stops both: neither waits for ever."""
    from two_processes import CONDITIONED, GAN, PLANES, PRIOR, SETTINGS, TRAININGS

    for started_as in ("fabric", "torchrun"):
        run_script(HERE / "two_processes.py", tmp_path, started_as)

    def outcome(name, ranks=(0, 1)):
        first, *others = (json.loads((tmp_path / f"{name}-{rank}.json").read_text()) for rank in ranks)
        assert all(other == first for other in others)
        return first

    assert outcome("run6") == "6 steps of 6" and outcome("run12") == "6 steps of 12"
    assert [outcome(name) for name in ("prior12", "conditioned12", "gan12", "planes12")] == ["12 steps of 12"] * 4
    train(codebook_model(), Clips(), SETTINGS, tmp_path / "one run", val_data=Clips(6))
    train(prior(OwnSlices), Codes(), PRIOR, tmp_path / "one prior", val_data=Codes(6))
    train(conditioned_prior(), ConditionedCodes(), CONDITIONED, tmp_path / "one conditioned",
          val_data=ConditionedCodes(6))
    train(gan(), Clips(), GAN, tmp_path / "one gan", val_data=Clips(6))
    whole = dataclasses.replace(PLANES, accumulate=1)
    train(planes(), Clips(), whole, tmp_path / "one planes", val_data=Clips(6))
    for pair, (rtol, atol) in PAIRS.items():
        for name in (MODEL, EMA):
            one, two = (load_tensors(tmp_path / run, 12, name) for run in (f"one {pair}", pair))
            for tensor in one:
                torch.testing.assert_close(two[tensor], one[tensor], rtol=rtol, atol=atol, msg=f"{pair} {tensor}")
        one, two = (logged(tmp_path / run) for run in (f"one {pair}", pair))
        for expected, got in zip(one, two, strict=True):
            for name in expected.keys() - TIMES - {"perplexity", "val_perplexity"}:  # these are no means over clips
                assert got[name] == pytest.approx(expected[name], rel=1e-4, abs=1e-5), name
        assert any(name.startswith("val_") for name in two[-1])
    train(codebook_model(restart=0), Clips(), SETTINGS, tmp_path / "no restarts")
    without, two = (load_tensors(tmp_path / run, 12, MODEL) for run in ("no restarts", "run"))
    name = "quantizer.codebooks.1.embedding"
    assert (without[name] - two[name]).abs().max() > 0.01  # else this would not test restarts

    ended = "another process of the training ended in step {}; the checkpoint of step {} is whole"
    assert outcome("first killed12", [1]) == ended.format(5, 3)
    assert outcome("second killed12", [0]) == ended.format(8, 6)
    assert outcome("killed12") == outcome("mean resumed12") == "6 steps of 12"
    for whole, resumed in ("gan", "killed"), ("mean", "mean resumed"):
        for name in (MODEL, EMA):
            files = [folder_of(tmp_path / run, 12) / name for run in (whole, resumed)]
            assert files[0].read_bytes() == files[1].read_bytes()

    assert "training.seed = 0, not 1" in outcome("refused12")
    assert outcome("nan12") == "the loss is not finite at step 5; the checkpoint of step 3 is whole"
    assert "interrupted after step 5: saved in RUN" in outcome("interrupt12")
    assert outcome("full12") == (
        "cannot write to RUN at step 6: No space left on device; the checkpoint of step 3 is whole")
    assert outcome("memory12", [0]) == ended.format(5, 3) and outcome("memory12", [1]).startswith("out of memory")
    assert outcome("early12") == "4 steps of 12"
    assert [steps_saved(tmp_path / name) for name in TRAININGS if (tmp_path / name).exists()] == [
        *[[6, 9, 12]] * 8, [3], [3, 5], [3], [3], [3, 4]]
