"""Networks from files that users give, on stand-ins with the same signatures: the real files are not ours to ship."""

import hashlib
import zipfile

import pytest
import safetensors.torch
import torch
from stand_ins import C3DStandIn, I3DStandIn, Integers, NotFinite, OneRow, Raises, ThreeAxes, Two, VggStandIn, save

from lvlib.data import from_video
from lvlib.errors import UserError
from lvlib.evaluation.networks.files import C3D, I3D, LpipsVgg
from lvlib.evaluation.networks.pixels import as_bytes
from lvlib.pretrained import torchscript
from lvlib.pretrained.torchscript import probe_clips


def clips(n=3, channels=3, frames=16, size=32, seed=0) -> torch.Tensor:
    return torch.rand(n, channels, frames, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.fixture(scope="module")
def i3d(tmp_path_factory) -> I3D:
    return I3D(save(I3DStandIn(), tmp_path_factory.mktemp("i3d") / "i3d.pt"))


@pytest.fixture(scope="module")
def c3d(tmp_path_factory) -> C3D:
    return C3D(save(C3DStandIn(), tmp_path_factory.mktemp("c3d") / "c3d.pt"))


@pytest.fixture(scope="module")
def vgg(tmp_path_factory) -> LpipsVgg:
    return LpipsVgg(save(VggStandIn(), tmp_path_factory.mktemp("vgg") / "vgg.pt"))


@pytest.mark.parametrize("classes", [400, 600])
def test_the_width_tells_on_which_kinetics_an_i3d_was_trained(tmp_path, classes):
    network = I3D(save(I3DStandIn(classes), tmp_path / "i3d.pt"))
    assert (network.name, network.dim) == (f"i3d-kinetics{classes}", classes)
    assert network.look(clips()).features.shape == (3, classes)


def test_i3d_sees_whole_values_from_0_to_255_scaled_and_resized_by_its_program(i3d):
    video = clips()
    frames = from_video(video).permute(0, 4, 1, 2, 3)
    expected = I3DStandIn().eval()(frames, rescale=True, resize=True, return_features=True)
    seen = i3d.look(video)
    torch.testing.assert_close(seen.features, expected)
    torch.testing.assert_close(seen.probs, expected.softmax(1))
    assert seen.features.dtype == seen.probs.dtype == torch.float32


def test_c3d_gives_the_probabilities_of_its_program(c3d):
    video = clips()
    expected = C3DStandIn()(from_video(video).permute(0, 4, 1, 2, 3))
    seen = c3d.look(video)
    torch.testing.assert_close(seen.probs, expected)
    torch.testing.assert_close(seen.probs.sum(1), torch.ones(3))
    assert (c3d.name, c3d.dim) == ("c3d-ucf101", seen.features.shape[1])
    assert seen.probs.std(0).max() > 0  # other clips, other classes


def test_lpips_is_the_summed_squared_difference_of_what_its_program_gives(vgg):
    frames, others = (clips(20, frames=1, seed=seed)[:, :, 0] for seed in (1, 2))  # more than it takes at once
    program = VggStandIn()
    a, b = (program((x + 1) * 127.5, resize_images=False, return_lpips=True) for x in (frames, others))
    torch.testing.assert_close(vgg.distance(frames, others), (a - b).square().sum(1))
    assert (vgg.distance(frames, others) > 0).all() and (vgg.distance(frames, frames) == 0).all()
    assert vgg.name == "lpips-vgg"


def test_bytes_keep_their_place():
    values = torch.arange(2 * 3 * 4 * 5 * 6).reshape(2, 3, 4, 5, 6) % 256
    assert torch.equal(as_bytes(values / 127.5 - 1), values.to(torch.uint8))
    assert as_bytes(torch.tensor([-2.0, 2.0]).reshape(1, 1, 1, 1, 2)).unique().tolist() == [0, 255]


@pytest.mark.parametrize("kind", ["i3d", "c3d"])
def test_a_clip_does_not_depend_on_its_neighbours_and_grey_is_three_equal_channels(kind, request):
    network = request.getfixturevalue(kind)
    video = clips(channels=1)
    together = network.look(video)
    alone = torch.cat([network.look(clip[None]).features for clip in video])
    torch.testing.assert_close(together.features, alone)
    torch.testing.assert_close(together.features, network.look(video.repeat(1, 3, 1, 1, 1)).features)
    with pytest.raises(ValueError, match="1 channel or 3, not 2"):
        network.look(clips(channels=2))


def test_lpips_takes_grey_frames(vgg):
    frames, others = clips(channels=1, seed=1)[:, :, 0], clips(channels=1, seed=2)[:, :, 0]
    in_colour = vgg.distance(frames.repeat(1, 3, 1, 1), others.repeat(1, 3, 1, 1))
    torch.testing.assert_close(vgg.distance(frames, others), in_colour)


@pytest.mark.parametrize("kind", ["i3d", "c3d"])
def test_networks_are_in_eval_mode_and_make_no_gradients(kind, request):
    network = request.getfixturevalue(kind)
    video = clips().requires_grad_()
    seen = network.look(video)
    assert not seen.features.requires_grad and not seen.probs.requires_grad
    assert torch.equal(seen.features, network.look(video).features)  # the stand-in of I3D has dropout


def test_too_few_frames(i3d, c3d):
    assert i3d.look(clips(frames=i3d.least_frames)).features.shape == (3, 400)
    with pytest.raises(UserError, match="i3d-kinetics400 looks at clips of 10 frames or more, not 9"):
        i3d.look(clips(frames=9))
    with pytest.raises(UserError, match="c3d-ucf101 looks at clips of 16 frames or more, not 15"):
        c3d.look(clips(frames=15))
    with pytest.raises(UserError, match="16 frames, not 17: take windows"):
        c3d.look(clips(frames=17))


def test_frames_that_are_too_small_for_five_stages(vgg):
    with pytest.raises(UserError, match="16 x 16 or larger, not 8 x 8"):
        vgg.distance(clips(size=8)[:, :, 0], clips(size=8)[:, :, 0])


def test_the_checksum_is_that_of_the_file_and_names_known_ones(tmp_path, monkeypatch):
    path = save(I3DStandIn(), tmp_path / "i3d.pt")
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    network = I3D(path)
    assert network.checksum == checksum and network.origin == f"unknown file, sha256 {checksum}"
    monkeypatch.setitem(torchscript.KNOWN_FILES, checksum, "the file of the field")
    assert I3D(path).origin == f"the file of the field, sha256 {checksum}"


def test_known_checksums_are_checksums():
    assert all(len(bytes.fromhex(checksum)) == 32 for checksum in torchscript.KNOWN_FILES)


def test_the_probe_moves_and_never_changes():
    probe = probe_clips()
    assert probe.shape == (2, 3, 16, 32, 32) and torch.equal(probe, probe_clips())
    assert (probe[:, :, 1:] != probe[:, :, :-1]).any()
    assert torch.equal(probe[0, 0, 1, :, 1:], probe[0, 0, 0, :, :-1])  # to the right
    assert torch.equal(probe[1, 0, 1, 1:], probe[1, 0, 0, :-1])  # down


def checkpoint(path, **options):
    torch.save({"conv1.weight": torch.zeros(3)}, path, **options)


def archive(path):
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("notes/readme.txt", "hello")


def damaged(path):
    data = save(I3DStandIn(), path).read_bytes()
    path.write_bytes(data.replace(b"PK\x03\x04", b"PK\x03\x05"))


def of_another_pytorch(path):
    save(I3DStandIn(), path)
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data.replace(b"torch.softmax(", b"torch.softer_max("))


def cut_off(path):
    data = save(I3DStandIn(), path).read_bytes()
    path.write_bytes(data[:len(data) // 2])


FILES = {
    "a state_dict": (checkpoint, "weights without the program"),
    "an old state_dict": (lambda path: checkpoint(path, _use_new_zipfile_serialization=False),
                          "weights without the program"),
    "safetensors": (lambda path: safetensors.torch.save_file({"a": torch.zeros(3)}, path),
                    "weights without the program"),
    "a module": (lambda path: torch.save(torch.nn.Linear(2, 2), path), "weights without the program"),
    "an archive": (archive, "no TorchScript file"),
    "text": (lambda path: path.write_text("hello"), "no TorchScript file"),
    "nothing": (lambda path: path.write_bytes(b""), "no TorchScript file"),
    "a folder": (lambda path: path.mkdir(), "no such file"),
    "no file": (lambda path: None, "no such file"),
    "cut off": (cut_off, "no TorchScript file"),
    "damaged": (damaged, "damaged"),
    "another PyTorch's": (of_another_pytorch, "of a TorchScript that this PyTorch does not read"),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_is_something_else_is_refused_in_one_line(tmp_path, kind):
    write, words = FILES[kind]
    path = tmp_path / "given.pt"
    write(path)
    for network in (I3D, C3D, LpipsVgg):
        with pytest.raises(UserError, match=words) as refused:
            network(path)
        assert "\n" not in str(refused.value) and str(path) in str(refused.value)


PROGRAMS = {
    "C3D as I3D": (I3D, C3DStandIn(), "does not take clips as I3D does"),
    "LPIPS as I3D": (I3D, VggStandIn(), "does not take clips as I3D does"),
    "I3D as C3D": (C3D, I3DStandIn(), "gives 400 numbers a clip; C3D gives probabilities of 101 classes"),
    "I3D as LPIPS": (LpipsVgg, I3DStandIn(), "does not take frames as the LPIPS network does"),
    "other classes": (I3D, I3DStandIn(512), "512 features a clip; I3D has 400"),
    "probabilities that sum to two": (C3D, C3DStandIn(factor=2.0), "no probabilities"),
    "probabilities below zero": (C3D, C3DStandIn(factor=3.0, shift=-2 / 101), "no probabilities"),
    "another VGG": (LpipsVgg, VggStandIn(last=256), "gives 123904 features .*; the LPIPS network gives 124928"),
    "not finite": (I3D, NotFinite(), "not finite"),
    "too large": (I3D, I3DStandIn(factor=float("inf")), "not finite"),
    "three axes": (I3D, ThreeAxes(), r"gives torch.float32 \(2, 1, 16\) for 2 inputs"),
    "one row": (I3D, OneRow(), r"gives torch.float32 \(1, 400\) for 2 inputs"),
    "integers": (I3D, Integers(), r"gives torch.int64 \(2, 400\) for 2 inputs"),
    "two tensors": (I3D, Two(), "gives no tensor, but tuple"),
    "more frames": (I3D, Raises(), "64 frames, please"),
}


@pytest.mark.parametrize("kind", PROGRAMS)
def test_a_program_that_is_something_else_is_refused_in_one_line(tmp_path, kind):
    network, program, words = PROGRAMS[kind]
    path = save(program, tmp_path / "given.pt")
    with pytest.raises(UserError, match=words) as refused:
        network(path)
    assert "\n" not in str(refused.value) and str(path) in str(refused.value)
