"""Trainings in processes of their own: killed at any moment, and two that share the work."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from toys import Clips, Codes, ConditionedCodes, OwnSlices, codebook_model, conditioned_prior, prior

from lvlib.training import train
from lvlib.training.checkpoint import EMA, MODEL, folder_of, load_tensors, steps_saved

HERE = Path(__file__).parent


def run_script(*command: str) -> subprocess.CompletedProcess:
    places = [str(HERE.parents[1]), str(HERE), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, places))}
    return subprocess.run([sys.executable, *map(str, command)], env=environment, capture_output=True, text=True,
                          timeout=300)


@pytest.mark.slow
@pytest.mark.parametrize("training", ["codebooks", "prior"])
def test_killed_at_any_moment_a_run_ends_with_the_weights_of_one_never_stopped(tmp_path, training):
    done = run_script(HERE / "kill_and_resume.py", tmp_path, training)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["whole"] == report["last"] == "status 0"
    assert [ending for ending, _ in report["kills"]] == ["SIGKILL"] * 10
    assert len({step for _, step in report["kills"]}) >= 4  # they died at different places
    assert [ending for ending, *_ in report["in_writing"]] == ["SIGKILL"] * 8
    assert sum(unfinished for _, unfinished, _ in report["in_writing"]) >= 5  # they died while writing
    for name in (MODEL, EMA):
        whole, killed = (folder_of(tmp_path / run, 400) / name for run in ("whole", "killed"))
        assert whole.read_bytes() == killed.read_bytes(), report
    logged = [json.loads(text)["step"] for text in (tmp_path / "killed" / "metrics.jsonl").read_text().splitlines()]
    assert logged == list(range(5, 401, 5))


@pytest.mark.slow
def test_two_processes_end_as_one_would(tmp_path):
    """Weights, running mean, codebooks with their restarts, losses. Half of the run by Fabric, half by torchrun; and
    what only one of the processes notices stops both, with the same words: neither waits for ever."""
    from two_processes import CONDITIONED, PRIOR, SETTINGS, TRAININGS

    for started_as in ("fabric", "torchrun"):
        done = run_script(HERE / "two_processes.py", tmp_path, started_as)
        assert done.returncode == 0, done.stderr

    def told(name):
        first, second = (json.loads((tmp_path / f"{name}-{rank}.json").read_text()) for rank in (0, 1))
        assert first == second
        return first

    assert told("run6") == "6 steps of 6" and told("run12") == "6 steps of 12"
    train(codebook_model(), Clips(), SETTINGS, tmp_path / "one", val_data=Clips(6))
    train(codebook_model(restart=0), Clips(), SETTINGS, tmp_path / "no restarts")
    assert told("prior12") == "12 steps of 12"
    train(prior(OwnSlices), Codes(), PRIOR, tmp_path / "one prior", val_data=Codes(6))
    assert told("conditioned12") == "12 steps of 12"
    train(conditioned_prior(), ConditionedCodes(), CONDITIONED, tmp_path / "one conditioned",
          val_data=ConditionedCodes(6))
    pairs = ("one", "run"), ("one prior", "prior"), ("one conditioned", "conditioned")
    # RMSprop makes steps of one size out of gradients that are rounding and nothing else; a wrong one moves by 1e-2.
    for names, atol in zip(pairs, (1e-5, 5e-4, 5e-4), strict=True):
        for name in (MODEL, EMA):
            one, two = (load_tensors(tmp_path / run, 12, name) for run in names)
            for tensor in one:
                torch.testing.assert_close(two[tensor], one[tensor], rtol=1e-4, atol=atol, msg=tensor)
    without, two = (load_tensors(tmp_path / run, 12, MODEL) for run in ("no restarts", "run"))
    name = "quantizer.codebooks.1.embedding"
    assert (without[name] - two[name]).abs().max() > 0.01  # else this would not test restarts
    for names in pairs:
        one, two = ([json.loads(text) for text in (tmp_path / run / "metrics.jsonl").read_text().splitlines()]
                    for run in names)
        assert [record["loss"] for record in two] == pytest.approx([record["loss"] for record in one], rel=1e-4)
        assert two[-1]["val_loss"] == pytest.approx(one[-1]["val_loss"], rel=1e-4)

    assert "training.seed = 0, not 1" in told("refused12")
    assert told("nan12") == "the loss is not finite at step 5; the checkpoint of step 3 is whole"
    assert "interrupted after step 5: saved in RUN" in told("interrupt12")
    assert told("full12") == "cannot write to RUN at step 6: No space left on device; the checkpoint of step 3 is whole"
    assert [steps_saved(tmp_path / name) for name in TRAININGS] == [
        [6, 9, 12], [6, 9, 12], [6, 9, 12], [], [3], [3, 5], [3]]
