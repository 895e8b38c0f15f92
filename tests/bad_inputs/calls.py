"""Bad calls: command lines that are right, with one or two mistakes in them."""

import dataclasses
from random import Random

from bad_inputs.case import Case, Place, resume
from bad_inputs.damage import stand_in
from bad_inputs.place import RUNS

NASTY = [
    "", " ", "nan", "inf", "-inf", "-1", "0", "1", "3", "2.5", "1e400", "-1e400", str(10**12), str(10**30), str(2**31),
    str(2**63), "9" * 5000, "1_000", "0x10", "\u0663", "\U0001f600", "\udcff", "x" * 10_000, "--", "=x", "-", "[1, 2]",
    "{}", "None", "True", "false", "null", "1 2 3", "a/b/c", "..", "clips", "precious/file", "fifo", "socket", "loop",
    "dangling", "videos", "videos/a.mp4", "runs/masked", "%s", "{0}", "line\nline", "\x1b[31mred", "--help", "-h",
    "a,b", "cpu", "auto", "cuda", "actions.npy", "samples.npy", "loop.wav", "the one waits", "a|b", "fifo.npy",
    "new.mp4", "new.png",
]
NUMBERS = ["nan", "inf", "-1", "0", "2.5", "1e400", "100000", str(10**9), str(10**12), str(10**30), str(2**63),
           "9" * 5000]
# Of these a large number is no mistake: they take as long as they are told, or more processes than a machine has.
LONG = ("--training.steps", "--training.workers", "--sampling.rounds", "--sampling.steps", "--devices", "--nodes",
        "--protocol.runs")
SHORT = [word for word in NASTY if not (word.isascii() and word.replace("_", "").isdigit() and int(word[:20]) > 3)]
TRAIN = ["--data.root", "clips", "--device", "cpu", "--training.steps", "1"]
CONFIGS = ("masked-vqvae", "masked", "planes-gan", "planes", "planes-refiner", "told", "lvt-course", "videogpt-course",
           "bench-lvt")
CALLS: dict[str, list[list[str]]] = {
    "configs": [["configs"]],
    "describe": [["describe", name, "--json"] for name in CONFIGS],
    "train": [
        ["train", "masked-vqvae", "--out", "new", *TRAIN],
        ["train", "planes-gan", "--out", "new", *TRAIN, "--precision", "32-true"],
        ["train", "masked", "--out", "new", *TRAIN, "--autoencoder", "runs/masked-vqvae"],
        ["train", "planes-refiner", "--out", "new", *TRAIN, "--prior", "runs/planes"],
        ["train", "told", "--out", "new", *TRAIN, "--autoencoder", "runs/masked-vqvae"],
        ["train", "planes-gan", "--out", "new", "--data.root", "videos", "--device", "cpu", "--training.steps", "1"],
        *map(resume, RUNS),
    ],
    "sample": [
        ["sample", "runs/masked", "--n", "2", "--out", "new.npy", "--sampling.rounds", "2", "--condition.label", "sit"],
        ["sample", "runs/masked", "--n", "2", "--given", "clips", "--given-frames", "2", "--out", "new.png"],
        ["sample", "runs/masked", "--n", "2", "--given", "videos/a.mp4", "--stride", "1", "--out", "new.gif"],
        ["sample", "runs/planes", "--n", "2", "--frames", "8", "--sampling.steps", "2", "--out", "new.mp4"],
        ["sample", "runs/acted", "--n", "1", "--condition.actions", "actions.npy", "--out", "new.npy", "--seed", "1"],
        ["sample", "runs/told", "--n", "1", "--condition.text", "the seven falls", "--condition.audio", "loop.wav",
         "--out", "new.mp4"],
        ["sample", "runs/told", "--n", "1", "--condition.text", "the seventeen falls|a two rises", "--frames", "8",
         "--condition.audio", "loop.wav", "--out", "new.npy"],
        ["sample", "runs/told", "--n", "2", "--given", "clips", "--out", "new.mp4"],
        ["sample", "runs/filled", "--n", "1", "--given", "videos/a.mp4", "--given-frames", "1", "--given-last", "2",
         "--sampling.steps", "2", "--out", "new.npy"],
        ["sample", "runs/filled", "--n", "2", "--condition.label", "sit", "--sampling.noise", "1", "--out", "new.gif"],
        ["sample", "runs/diffused", "--n", "1", "--frames", "4", "--sampling.steps", "2", "--sampling.next_steps", "1",
         "--sampling.eta", "0", "--out", "new.npy"],
        ["sample", "runs/diffused", "--n", "1", "--given", "clips", "--given-frames", "2", "--frames", "4",
         "--sampling.steps", "2", "--out", "new.npy"],
        ["sample", "old/lvt-whole", "--n", "1", "--given", "old/data", "--sampling.temperature", "1", "--out", "n.npy"],
        ["sample", "old/videogpt-whole", "--n", "1", "--sampling.top_p", "0.9", "--device", "cpu", "--out", "new.npy"],
    ],
    "reconstruct": [
        ["reconstruct", "runs/masked", "videos/a.mp4", "videos/c.gif", "--out", "new.gif", "--device", "cpu"],
        ["reconstruct", "runs/planes-refiner", "videos/images", "--out", "new.npy"],
        ["reconstruct", "old/frames-whole", "videos/b.avi", "--out", "new.png"],
    ],
    "evaluate": [
        ["evaluate", "runs/masked", "--data.root", "clips", "--clips", "2", "--json"],
        ["evaluate", "runs/masked", "--given-frames", "2", "--split", "val", "--sampling.rounds", "2"],
        ["evaluate", "runs/planes-gan", "--data.root", "videos", "--split", "val", "--metrics", "psnr,mse"],
        ["evaluate", "old/lvt-whole", "--data.root", "old/data", "--metrics", "bits_per_dim", "--seed", "1"],
        ["evaluate", "runs/masked", "--protocol", "course", "--split", "train", "--metrics", "fvd,ccs",
         "--protocol.window", "4", "--work", "new"],
    ],
    "score": [
        ["score", "clips", "samples.npy", "--metrics", "psnr,nearest_frame", "--protocol.runs", "2", "--seed", "1"],
        ["score", "videos", "videos", "--metrics", "fvd,is", "--protocol.size", "32", "--protocol.frames", "4"],
        ["score", "samples.npy", "samples.npy", "--metrics", "kvd", "--work", "new", "--clips", "4", "--json"],
    ],
    "data": [
        ["data", "--list"],
        ["data", "--stats", "clips", "--split", "train", "--frames", "2", "4", "--stride", "1", "4"],
        ["data", "--stats", "videos", "--frames", "4", "--stride", "2"],
        ["data", "moving_digits", "--out", "new", "--train", "2", "--val", "1", "--test", "1", "--frames", "2",
         "--size", "16", "--digits", "1", "--speeds", "1", "2", "--grid", "1", "--seed", "0"],
        ["data", "stories", "--out", "new", "--train", "2", "--val", "1", "--test", "1", "--frames", "16",
         "--size", "16", "--stretch", "8", "--events", "1", "2", "--seed", "0"],
        ["data", "drums", "--out", "new", "--train", "2", "--val", "1", "--test", "1", "--frames", "4", "--size", "16",
         "--rate", "8000", "--digit-size", "8"],
        ["data", "video_folder", "videos", "--out", "new", "--frames", "4", "--size", "32", "--hop", "4"],
    ],
    "bench": [["bench", name, "--json", "--threads", "1"] for name in ("masked-vqvae", "masked", "planes-refiner")],
}


def prepare(place: Place) -> Case:
    command = place.random.choice(list(CALLS))
    for name in ("fifo", "fifo.npy", "socket", "loop", "dangling"):
        kind = {"loop": "a link to itself", "dangling": "a dangling link"}.get(name, f"a {name.split('.')[0]}")
        stand_in(place.root / name, place.random, (kind,))
    words, done = list(place.random.choice(CALLS[command])), []
    for _ in range(place.random.choice((1, 1, 2))):
        mutate = place.random.choice((*[_value] * 3, *[_field] * 2, _misspell, _drop, _double, _swap, _insert))
        if words:
            words, what = mutate(words, place.random)
            done.append(what)
    return Case(words, "; ".join(done), refused=done[0].startswith("misspelt") and len(done) == 1)


def _value(words: list[str], random: Random) -> tuple[list[str], str]:
    at = random.randrange(1, len(words)) if len(words) > 1 else 0
    before = words[at - 1]
    bad = random.choice(SHORT if before in LONG else NUMBERS if words[at].isdigit() else NASTY)
    if words[at].startswith("--") and random.random() < 0.5:
        return [*words[:at], f"{words[at]}={bad}", *words[at + 1:]], f"{words[at]}={bad!r:.30}"
    return [*words[:at], bad, *words[at + 1:]], f"{bad!r:.30} for {words[at]}"


def _field(words: list[str], random: Random) -> tuple[list[str], str]:
    """Sets a field of some configuration, which may be that of the call, or a sampling option or a condition."""
    from lvlib.configs import CONFIGS as TABLE
    from lvlib.evaluation.protocols import Protocol

    config = TABLE[words[1] if len(words) > 1 and words[1] in TABLE else random.choice(CONFIGS)].config
    parts = {"data": config.data, **config.stages, "training": config.training}
    if words[0] in ("sample", "evaluate"):
        parts = {"sampling": TABLE[random.choice(("masked", "planes", "lvt-course", "videogpt-course"))]
                 .config.prior.Sampling(), "data": config.data}
    if words[0] in ("score", "evaluate") and random.random() < 0.5:
        parts = {"protocol": Protocol()}
    fields = [f"--{part}.{field.name}" for part, values in parts.items() for field in dataclasses.fields(values)]
    fields += ["--condition.label", "--condition.actions", "--condition.frames", "--condition.text",
               "--condition.audio"] * (words[0] == "sample")
    field = random.choice(fields)
    field = random.choice((field, field, field, field.replace("_", "-")))
    value = random.choice([["2"], ["1", "2"], ["2", "2", "2"], ["0.5"], *([word] for word in SHORT if field in LONG),
                           *([word] for word in NASTY if field not in LONG),
                           *([word] for word in NUMBERS * 3 if field not in LONG), []])
    return [*words, field, *value], f"{field} {' '.join(map(repr, value)):.40}"


def _misspell(words: list[str], random: Random) -> tuple[list[str], str]:
    """The command, the configuration, an option or a field."""
    names = [i for i, word in enumerate(words) if i == 0 or word.startswith("--")
             or (i == 1 and words[0] in ("train", "describe", "bench", "data"))]
    at = random.choice(names)
    start = 2 if words[at].startswith("--") else 0
    word, i = words[at], random.randrange(start, len(words[at]))
    new = random.choice((word[:i] + word[i + 1:], word[:i] + "q" + word[i:], word[:i] + "\u00fc" + word[i + 1:]))
    known = {w for calls in CALLS.values() for call in calls for w in call} | {""}
    if new in known | {"--", "-"} or "." in word:  # a field without its point is a word for its neighbour
        return [*words[:at], "--no-such-option", *words[at + 1:]], "misspelt: --no-such-option"
    return [*words[:at], new, *words[at + 1:]], f"misspelt: {new}"


def _drop(words: list[str], random: Random) -> tuple[list[str], str]:
    at = random.randrange(len(words))
    return [*words[:at], *words[at + 1:]], f"without {words[at]}"


def _double(words: list[str], random: Random) -> tuple[list[str], str]:
    at = random.randrange(len(words))
    return [*words[:at], words[at], *words[at:]], f"{words[at]} twice"


def _swap(words: list[str], random: Random) -> tuple[list[str], str]:
    one, other = random.randrange(len(words)), random.randrange(len(words))
    words = list(words)
    words[one], words[other] = words[other], words[one]
    return words, f"{words[one]!r} and {words[other]!r} swapped"


def _insert(words: list[str], random: Random) -> tuple[list[str], str]:
    at, bad = random.randrange(len(words) + 1), random.choice(SHORT)
    return [*words[:at], bad, *words[at:]], f"{bad!r:.30} inserted at {at}"
