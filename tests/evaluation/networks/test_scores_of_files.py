"""Scores with networks that the user gives: under their own names, and never under another's."""

import json

import numpy as np
import pytest
import stand_ins
import torch

from lvlib.cli import main
from lvlib.data.clips import sha256
from lvlib.data.tensors import to_video
from lvlib.metrics.frechet import frechet_distance
from lvlib.metrics.moments import moments_of

CLIPS = 6


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root, random = tmp_path_factory.mktemp("place"), np.random.default_rng(0)
    for name in "real", "made":
        np.save(root / f"{name}.npy", random.integers(256, size=(CLIPS, 16, 16, 16, 3), dtype=np.uint8))
    stand_ins.save(stand_ins.I3DStandIn(400), root / "i3d-400.pt")
    stand_ins.save(stand_ins.I3DStandIn(600), root / "i3d-600.pt")
    stand_ins.save(stand_ins.C3DStandIn(), root / "c3d.pt")
    stand_ins.save(stand_ins.VggStandIn(), root / "vgg.pt")
    return root


def score(place, *arguments, capsys):
    status = main(["score", str(place / "real.npy"), str(place / "made.npy"), "--json", "--device", "cpu",
                   *map(str, arguments)])
    out, errors = capsys.readouterr()
    return json.loads(out) if status == 0 else errors


def test_files_are_used_as_they_are_given(place, capsys):
    report = score(place, "--metrics", "fvd,kvd,is,ccs,lpips", "--i3d", place / "i3d-400.pt", "--c3d", place / "c3d.pt",
                   "--vgg", place / "vgg.pt", capsys=capsys)
    assert report["scores"] == ["fvd_i3d-kinetics400", "kvd_i3d-kinetics400", "is_c3d-ucf101", "ccs_c3d-ucf101",
                                "lpips-vgg"]
    network = stand_ins.I3DStandIn(400).eval()
    clips = [to_video(np.load(place / f"{name}.npy")) for name in ("real", "made")]
    with torch.no_grad():
        features = [network(((video + 1) * 127.5).round(), True, True, True) for video in clips]
    expected = frechet_distance(*map(moments_of, features)).item()
    assert report["fvd_i3d-kinetics400"]["model"] == pytest.approx(expected, rel=1e-4)
    assert report["networks"]["features"] == {"name": "i3d-kinetics400", "sha256": sha256(place / "i3d-400.pt")}
    assert report["networks"]["perceptual"]["name"] == "lpips-vgg"


def test_a_paper_s_network_is_not_another(place, capsys):
    to_size = "--protocol", "mebt-16", "--protocol.size", 16, "--metrics", "fvd", "--protocol.runs", 1
    line = score(place, *to_size, "--i3d", place / "i3d-400.pt", capsys=capsys)
    assert "protocol mebt-16 takes i3d-kinetics600, and" in line and "is i3d-kinetics400" in line
    report = score(place, *to_size, "--i3d", place / "i3d-600.pt", capsys=capsys)
    assert report["scores"] == ["fvd_i3d-kinetics600"] and report["protocol_changed"] == {"size": 16, "runs": 1}
    assert "give --i3d FILE" in score(place, *to_size, capsys=capsys)
    course = score(place, *to_size, "--protocol.features", "course", capsys=capsys)
    assert course["scores"] == ["frechet_course"] and course["protocol_changed"]["features"] == "course"
