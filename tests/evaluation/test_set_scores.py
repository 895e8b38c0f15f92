"""Scores of sets of clips against their definitions, however the clips are gone through."""

import numpy as np
import pytest
import torch
from stand_in_network import StandIn

from lvlib.data import to_video
from lvlib.errors import UserError
from lvlib.evaluation.batch import FileBatch
from lvlib.evaluation.choice import chosen, spread
from lvlib.evaluation.clip_files import FileSource, SampleFile
from lvlib.evaluation.evaluating import evaluate, means
from lvlib.evaluation.metric import Tools, label, restored, state_of
from lvlib.evaluation.protocols import PROTOCOLS, Protocol, changed
from lvlib.evaluation.scores import METRICS, OF_FILES
from lvlib.evaluation.work import Work
from lvlib.metrics.coherence import class_coherence, inception_coherence
from lvlib.metrics.frechet import frechet_distance
from lvlib.metrics.inception import class_sums, inception_score
from lvlib.metrics.kernel import kernel_distance
from lvlib.metrics.moments import moments_of

CLIPS = 71  # more than four batches, and no whole number of them


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder, random = tmp_path_factory.mktemp("clips"), np.random.default_rng(0)
    for name, light in ("real", 90), ("generated", 120):
        video = random.normal(light, 40, (CLIPS, 20, 8, 8, 3)) + random.normal(0, 30, (CLIPS, 1, 1, 1, 1))
        np.save(folder / f"{name}.npy", video.clip(0, 255).astype(np.uint8))
    return folder


def tools(**fields) -> Tools:
    network = StandIn()
    return Tools(Protocol(window=8, every=4, clips=CLIPS, **fields), network, network, network)


def source(clips, real=CLIPS, generated=CLIPS):
    sets = [SampleFile(clips / f"{name}.npy", None) for name in ("real", "generated")]
    return FileSource(sets[0], list(range(real)), sets[1], list(range(generated)), CLIPS, False, "cpu")


def videos(clips):
    return [to_video(np.load(clips / f"{name}.npy")) for name in ("real", "generated")]


def computed(metrics):
    return {name: metric.compute() for name, metric in metrics.items()}


def same(one, other, rel=1e-9):
    for name in one:
        for of, value in one[name].items():
            assert value == pytest.approx(other[name][of], rel=rel, abs=1e-12), (name, of)


def test_batch_by_batch_is_as_all_at_once(clips):
    found = computed(evaluate(source(clips), OF_FILES, tools(), 0))
    real, generated = videos(clips)
    seen = {of: StandIn().look(video) for of, video in (("real", real), ("model", generated))}
    features = {of: part.features for of, part in seen.items()}
    moments = {of: moments_of(part) for of, part in features.items()}
    halves = features["real"][::2], features["real"][1::2]
    assert found["fvd"]["model"] == pytest.approx(frechet_distance(moments["real"], moments["model"]).item(), rel=1e-6)
    assert found["fvd"]["real_halves"] == pytest.approx(frechet_distance(*map(moments_of, halves)).item(), rel=1e-6)
    crossed = [frechet_distance(moments_of(features["real"][a::2]), moments_of(features["model"][1 - a::2])).item()
               for a in (0, 1)]
    assert found["fvd"]["model_halves"] == pytest.approx(np.mean(crossed), rel=1e-6)
    assert found["kvd"]["model"] == pytest.approx(kernel_distance(features["real"], features["model"]).item(), rel=1e-6)
    assert found["kvd"]["real_halves"] == pytest.approx(kernel_distance(*halves).item(), rel=1e-6, abs=1e-6)
    for of in "real", "model":
        assert found["is"][of] == pytest.approx(inception_score(class_sums(seen[of].probs)).item(), rel=1e-6)
    parts = {of: [StandIn().look(video[:, :, start:start + 8]) for start in (0, 4, 8, 12)]
             for of, video in (("real", real), ("model", generated))}
    pooled = moments_of(torch.cat([part.features for part in parts["real"]]))
    assert found["fvd_windows"]["model"] == pytest.approx(
        [frechet_distance(pooled, moments_of(part.features)).item() for part in parts["model"]], rel=1e-5, abs=1e-6)
    probs = torch.stack([part.probs for part in parts["model"]], 1)
    assert found["ccs"]["model"] == pytest.approx(class_coherence(probs).mean(0).tolist())
    assert found["ics"]["model"] == pytest.approx(inception_coherence(probs).mean(0).tolist(), rel=1e-4)
    assert found["psnr"]["model"] == pytest.approx(
        (10 * (4 / (real - generated).square().flatten(1).mean(1)).log10()).mean().item(), rel=1e-5)
    assert found["ends_lpips"]["real"] == pytest.approx(
        (real[:, :, 0] - real[:, :, -1]).square().mean().item(), rel=1e-5)


def test_several_processes_are_as_one(clips):
    """Each takes every fourth batch; what they counted is merged in the order of their numbers."""
    own, whole = tools(), source(clips)
    alone = computed(evaluate(whole, OF_FILES, own, 0))
    parts = []
    for rank in range(4):
        part = {name: METRICS[name](own) for name in OF_FILES}
        for number in range(rank, len(whole), 4):
            batch = whole.batch(number)
            for metric in part.values():
                metric.update(batch)
        parts.append({name: restored(METRICS[name](own), state_of(metric)) for name, metric in part.items()})
    together = parts[0]
    for part in parts[1:]:
        for name in OF_FILES:
            together[name].merge(part[name])
    same(alone, computed(together))


class Stopped(Exception):
    pass


def stops_at(source, last):
    read = source.batch

    def batch(number):
        if number == last:
            raise Stopped
        return read(number)

    source.batch = batch
    return source


def test_a_stopped_evaluation_goes_on(clips, tmp_path):
    settings = {"clips": CLIPS, "sampling": {"top_p": 0.9}, "shape": (1, 2)}
    whole = computed(evaluate(source(clips), OF_FILES, tools(), 0))
    with pytest.raises(Stopped):
        evaluate(stops_at(source(clips), 3), OF_FILES, tools(), 0, Work(tmp_path / "work", settings, 0, 0, 1))
    own = tools()
    again = evaluate(source(clips), OF_FILES, own, 0, Work(tmp_path / "work", settings, 0, 0, 1))
    assert computed(again) == whole
    assert own.features.looks < 2 * CLIPS * 5  # windows are looked at four times: the first three batches were not
    fresh = tools()
    done = evaluate(source(clips), OF_FILES, fresh, 0, Work(tmp_path / "work", settings, 0, 0, 1))
    assert computed(done) == whole and fresh.features.looks == 0


def test_work_of_other_settings_is_refused_and_stays(clips, tmp_path):
    evaluate(source(clips), ["fvd"], tools(), 0, Work(tmp_path, {"clips": CLIPS}, 0, 0, 1))
    with pytest.raises(UserError, match="work of other settings .clips.: give another --work"):
        evaluate(source(clips), ["fvd"], tools(), 0, Work(tmp_path, {"clips": 5}, 0, 0, 1))
    path, = tmp_path.glob("*.pt")
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(UserError, match="is damaged, or not of an evaluation: delete it"):
        evaluate(source(clips), ["fvd"], tools(), 0, Work(tmp_path, {"clips": CLIPS}, 0, 0, 1))


def test_more_generated_clips_count_for_the_inception_score_alone(clips):
    sample = SampleFile(clips / "generated.npy", None)
    def scores(generated):
        part = FileSource(sample, list(range(20)), sample, list(range(generated)), 20, False, "cpu")
        return computed(evaluate(part, ["fvd", "is"], tools(), 0))

    few, many = scores(20), scores(CLIPS)
    assert few["fvd"] == pytest.approx(many["fvd"])
    probs = StandIn().look(videos(clips)[1]).probs
    assert many["is"]["model"] == pytest.approx(inception_score(class_sums(probs)).item(), rel=1e-6)
    assert many["is"]["real"] == pytest.approx(few["is"]["real"])


def test_too_few_clips_for_a_covariance_are_told_with_numbers(clips):
    few = evaluate(source(clips, 5, 4), ["fvd"], tools(), 0)
    assert few["fvd"].too_few() == ("4 clips leave a covariance of 5 features with rank 3: the distance is far too "
                                    "large; take more than 5 clips, better 50")
    assert evaluate(source(clips), ["fvd"], tools(), 0)["fvd"].too_few() is None
    for name in "fvd", "kvd":
        with pytest.raises(UserError, match="at least 4 real clips and 4 generated"):
            computed(evaluate(source(clips, 5, 1), [name], tools(), 0))
        with pytest.raises(UserError, match="at least 4 real clips and 4 generated"):
            computed(evaluate(source(clips, 3, 5), [name], tools(), 0))


def test_features_that_are_not_finite_are_refused():
    video = torch.zeros(3, 3, 8, 4, 4)
    network = StandIn()
    network.weight[0, 0] = torch.nan
    with pytest.raises(UserError, match="stand-in makes features that are not finite of the model clips"):
        FileBatch(32, video, video).seen(network, "model")


def test_networks_see_what_a_file_would_hold():
    video = torch.linspace(-1, 1, 3 * 3 * 8 * 16).view(3, 3, 8, 4, 4)
    rounded = ((video + 1) * 127.5).round() / 127.5 - 1
    seen = FileBatch(0, video, video).seen(StandIn(), "model")
    assert torch.allclose(seen.features, StandIn().look(rounded).features, atol=1e-6)
    assert not torch.equal(video, rounded)


@pytest.mark.parametrize("name, network, called", [
    ("fvd", "i3d-kinetics400", "fvd_i3d-kinetics400"), ("fvd", "course", "frechet_course"),
    ("fvd_star", "course", "frechet_star_course"), ("r_fvd", "transnetv2", "r_frechet_transnetv2"),
    ("fvd_windows", "i3d-kinetics600", "fvd_windows_i3d-kinetics600"), ("kvd", "course", "kernel_course"),
    ("is", "c3d-ucf101", "is_c3d-ucf101"), ("lpips", "lpips-vgg", "lpips-vgg"), ("psnr", "course", "psnr"),
    ("ends_lpips", "efficientnet-lite0", "ends_perceptual_efficientnet-lite0"), ("ccs", "course", "ccs_course")])
def test_a_score_carries_the_name_of_its_network(name, network, called):
    part = METRICS[name].network
    assert label(name, METRICS[name], Protocol(**({part: network} if part else {}))) == called


def test_no_two_scores_have_one_name():
    for named in PROTOCOLS.values():
        names = [label(name, metric, named.protocol) for name, metric in METRICS.items()]
        assert len(set(names)) == len(names)


def test_a_changed_protocol_says_so():
    assert changed("tats-short", PROTOCOLS["tats-short"].protocol) == {}
    assert changed("course", Protocol(clips=8, features="transnetv2")) == {"clips": 8, "features": "transnetv2"}
    with pytest.raises(UserError, match="protocol.every must be at least 1, not 0"):
        Protocol(every=0)


class Videos:
    """Two short videos, and one that is very long."""

    def __len__(self):
        return 102

    def clips_of_videos(self):
        return [range(1), range(1, 101), range(101, 102)]


def test_a_long_video_does_not_rule_where_a_video_is_drawn_first():
    taken = [chosen(Videos(), Protocol(choice="video", clips=9), seed) for seed in range(20)]
    assert all(sorted(map(which_video, numbers)) == [0, 1, 2] for numbers in taken)
    assert len({number for numbers in taken for number in numbers}) > 15  # another clip of the long one
    by_clip = chosen(Videos(), Protocol(choice="clip", clips=50), 0)
    assert len(set(by_clip)) == 50 and by_clip != sorted(by_clip)
    assert by_clip == chosen(Videos(), Protocol(choice="clip", clips=50), 0)
    assert spread(100, 4) == [0, 33, 66, 99] and spread(3, 9) == [0, 1, 2] and spread(9, 1) == [0]


def which_video(number):
    return 0 if number < 1 else 1 if number < 101 else 2


def test_means_over_runs_have_a_spread():
    mean, std = means([{"a": {"model": 1.0, "real": [1.0, 2.0]}}, {"a": {"model": 3.0, "real": [3.0, 2.0]}}])
    assert mean == {"a": {"model": 2.0, "real": [2.0, 2.0]}}
    assert std["a"]["model"] == pytest.approx(2**0.5) and std["a"]["real"] == pytest.approx([2**0.5, 0])
