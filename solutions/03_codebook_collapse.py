# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 03 · Codebook collapse: when 512 codes are paid for and two are used
#
# **What you will build.** A codebook that stays alive. Train a VQ-VAE from scratch, as everybody does first,
# and a strange thing happens: of its 512 codes it uses two or so. The others are never chosen, so they never move,
# so they are never chosen. The picture is poor and no error message says why.
#
# You will watch it happen, measure it, try the cures that people name, and keep the ones that work. Then you
# look at the official code of two systems, where the same illness has a second, hidden cause.

# %% jupyter={"source_hidden": true}
import os

import torch
from matplotlib import pyplot as plt
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from lvlib.course import check, progress
from lvlib.data import MovingDigits, to_video
from lvlib.models.common.quantize import (
    GradientCodebook,
    code_statistics,
    nearest_code,
    straight_through,
    vq_losses,
)
from lvlib.models.lvt.frame_vqvae import Encoder, FrameVQVAE, FrameVQVAEConfig
from lvlib.viz import code_map, curves, set_style, show, strip

set_style()

# %% jupyter={"source_hidden": true} tags=["parameters"]
profile = os.environ.get("LVLIB_PROFILE", "course")

# %% [markdown]
# **What it costs.** About two and a half minutes on two CPU cores. **What it needs.** Notebook 02.
#
# The frames are those of notebook 02: two grey digits, 32 by 32 pixels. So are encoder and decoder.

# %%
clips = {"smoke": 64, "course": 8000}[profile]
options = {"frames": 1, "size": 32, "digits": 2, "digit_size": 18}
train_frames = to_video(MovingDigits(clips, **options).batch(slice(0, clips))["video"])
val_frames = to_video(MovingDigits(256, split="val", **options).batch(slice(0, 256))["video"])
size = {"channels": 1, "hidden": 64, "residual_hidden": 32, "residual_blocks": 2}
K = 512

# %% [markdown]
# ## 1. Two numbers that tell how a codebook is
#
# A reconstruction that is poor can have many reasons. To see what the *codebook* does, count its codes.
#
# ### Exercise 3.1 · usage (about 5 min)
# The share of the codebook that occurs at least once, as a tensor of one number. (All measures here are tensors.
# Who wants a Python number takes `.item()` of it, as the cells below do.)
#
# <details><summary>Hint</summary>Count how often each code of the codebook occurs. For how many is the
# count above zero? The share is of the whole codebook, not of the codes that came.</details>
#
# <details><summary>The call</summary><code>torch.bincount(codes.flatten(), minlength=num_codes)</code>
# counts. <code>(counts > 0).float().mean()</code> is a share.</details>

# %% tags=["exercise", "ex-3.1", "export:models.common.quantize"]
def usage(codes: Tensor, num_codes: int) -> Tensor:
    """Share of the codebook that occurs in codes at least once.

    Codes of any shape -> a float tensor () in [0, 1].
    """
    ### BEGIN SOLUTION
    return (torch.bincount(codes.flatten(), minlength=num_codes) > 0).float().mean()
    ### END SOLUTION


# %% tags=["check", "ex-3.1"]
usage = check("3.1", usage)

# %% [markdown]
# Usage is easily fooled: a code that occurs once in a million counts as much as one that occurs always.
# **Perplexity** is the honest number: *as many codes as this, used equally often, would be as hard to guess*.
# If all 512 occur equally often it is 512. If one code has everything it is 1.
#
# ### Exercise 3.2 · perplexity (about 10 min)
# It is exp(H), with H the entropy in nats of the frequencies p: H = -Σ p log p. Mind codes with p = 0. Again a
# tensor of one number.
#
# <details><summary>Hint</summary>The frequencies are the counts of the last exercise, divided by how many
# codes there are in all; they sum to one. A code that does not occur adds nothing to H, though log 0 is not
# a number.</details>
#
# <details><summary>The call</summary><code>torch.special.entr(p)</code> is -p log p for each p, and 0 at p
# = 0. Then <code>.sum().exp()</code>.</details>

# %% tags=["exercise", "ex-3.2", "export:models.common.quantize"]
def perplexity(codes: Tensor, num_codes: int) -> Tensor:
    """How many equally frequent codes would be as hard to guess: exp(entropy in nats).

    Codes of any shape -> a float tensor () in [1, num_codes].
    """
    ### BEGIN SOLUTION
    frequency = torch.bincount(codes.flatten(), minlength=num_codes).float() / codes.numel()
    return torch.special.entr(frequency).sum().exp()
    ### END SOLUTION


# %% tags=["check", "ex-3.2"]
perplexity = check("3.2", perplexity)

# %%
every_code = torch.arange(512)
for name, example in {"all 512 alike": every_code,
                      "one has half": torch.cat([every_code, every_code * 0]),
                      "only code 7": torch.full((512,), 7)}.items():
    print(f"{name:14s} usage {usage(example, 512):.3f}  perplexity {perplexity(example, 512):6.1f}")

# %% [markdown]
# ## 2. Watch it happen
#
# The codebook of notebook 02, but this time from scratch: random encoder, random codes, no head start. We
# keep the code numbers of the validation frames as training goes on.

# %%
def train(quantizer, steps, name, seed=0, look_every=25):
    """A frame VQ-VAE from scratch around `quantizer`.

    Returns it, {step: perplexity} and {step: MSE} on val_frames.
    """
    torch.manual_seed(seed)
    model = FrameVQVAE(FrameVQVAEConfig(**size), quantizer)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    perplexities, errors = {}, {}
    for step in tqdm(range(1, steps + 1), name, ascii=True):
        loss, _ = model.train().loss(train_frames[torch.randint(len(train_frames), (32,))])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % look_every == 0 or step == steps:
            codes = model.eval().encode(val_frames)
            perplexities[step] = perplexity(codes, K).item()
            errors[step] = (model.decode(codes) - val_frames).square().mean().item()
    return model, perplexities, errors


steps = {"smoke": 3, "course": 200}[profile]
torch.manual_seed(0)
collapsed, collapsed_perplexity, _ = train(GradientCodebook(K, 64), steps, "gradient")
print(f"perplexity after {steps} steps: {perplexity(collapsed.encode(val_frames), K):.1f} of {K}")

# %%
with torch.no_grad():
    rebuilt = collapsed.decode(collapsed.encode(val_frames[:8]))
rows = [frames[:8, :, 0].transpose(0, 1) for frames in (val_frames, rebuilt)]
show(strip(rows, titles=["frames", "rebuilt"]),
     alt="Eight frames of digits above their reconstructions, which are grey smudges where the "
     "digits should be.")

# %% [markdown]
# Smudges. To see why, look at the vectors themselves. They have 64 dimensions; we plot the two along which
# they vary most, with the codes among them. A vector has the colour of its nearest code.

# %% jupyter={"source_hidden": true}
def portrait(ax, model, title, by_code=True):
    """Encoder vectors, codes in use and dead codes, on the two main axes of the vectors.

    by_code: vectors have the colour of their code, else they are grey.
    """
    with torch.no_grad():
        z = model.vectors(val_frames[:64]).flatten(0, -2)
    embedding, codes = model.quantizer.embedding.detach(), model.encode(val_frames[:64]).flatten()
    used = torch.bincount(codes, minlength=K) > 0
    mean, axes = z.mean(0), torch.pca_lowrank(z, 2)[2]
    colours = code_map(torch.arange(K), K) / 255
    of_vectors, of_codes = (colours[codes], colours[used]) if by_code else ("#bbbbbb", "#1f5fa8")

    def scatter(points, **style):
        ax.scatter(*((points - mean) @ axes).T, **style)

    scatter(z, s=4, c=of_vectors)
    scatter(embedding[~used], s=8, c="#b3432b", lw=0.8, marker="x", label="dead codes")
    scatter(embedding[used], s=18, c=of_codes, lw=0.8, ec="black", label="codes in use")
    ax.set(title=f"{title}: {int(used.sum())} in use", xticks=[], yticks=[])


torch.manual_seed(0)
untrained = FrameVQVAE(FrameVQVAEConfig(**size), GradientCodebook(K, 64))
fig, axes = plt.subplots(1, 2, figsize=(7.2, 3))
portrait(axes[0], untrained, "before training")
portrait(axes[1], collapsed, f"after {steps} steps")
axes[0].legend(loc="upper right", fontsize=7, frameon=True)
show(fig, alt="Two scatter plots. Before training all encoder vectors form one tiny blob among "
          "widely scattered codes, and have one colour. After training the vectors have spread, "
          "but only a few codes lie among them and share them out; all the others are dead.")

# %% [markdown]
# (The plane leaves out 62 of 64 dimensions. On the left the code in use looks far from the vectors, and others
# look nearer; in all 64 it is the nearest.)
#
# An untrained encoder sends every patch to nearly the same place. One or two codes happen to be nearest, and
# they get everything: all the vectors, and all the learning. Then the encoder follows, since the commitment
# loss pulls the vectors to *those* codes. The rich get richer.
#
# ## 3. What does not cure it
#
# *"The codes start in the wrong place, so start them on the data."* Many write-ups name this. Let us build
# the finished codebook with a switch for each idea, and see. First its two moving parts.
#
# ### Exercise 3.3 · restart the dead (about 15 min)
# Some codes are dead. Put a fresh vector in place of each. The codebook is three tensors, and all three must
# agree afterwards, or the next update undoes your work: a code is `total / count`. A fresh code gets the
# count `fresh_count`.
#
# <details><summary>Hint</summary>Three times the same: where a code is dead, the new value, else the old
# one. What must total be so that total / fresh_count is the fresh vector?</details>
#
# <details><summary>The call</summary><code>torch.where(dead, new, old)</code> for the counts; for (k, d)
# tensors <code>dead[:, None]</code> in place of <code>dead</code>.</details>

# %% tags=["exercise", "ex-3.3", "export:models.common.quantize"]
def restart_codes(
    dead: Tensor, fresh: Tensor, fresh_count: Tensor,
    embedding: Tensor, count: Tensor, total: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """New (embedding (k, d), count (k,), total (k, d)), fresh (k, d) wherever dead (k,) is True.

    fresh_count (): the count that a fresh code begins with. The inputs stay as they are.
    VideoGPT, section 4.1 ("random restarts").
    """
    ### BEGIN SOLUTION
    embedding = torch.where(dead[:, None], fresh, embedding)
    count = torch.where(dead, fresh_count, count)
    total = torch.where(dead[:, None], fresh_count * fresh, total)
    return embedding, count, total
    ### END SOLUTION


# %% tags=["check", "ex-3.3"]
restart_codes = check("3.3", restart_codes)

# %% [markdown]
# (VideoGPT's official code writes only the embedding. The count and the sum keep their old values, so the
# very next update throws the fresh vector away.)
#
# Now the finished codebook. It also survives things that break others:
# - **many processes**: each sees a part of the batch, so counts and sums are added over all of them, and all
#   must draw the same fresh vectors. The random numbers come from the step number, so that they agree, and so
#   that a run that was stopped goes on as if it had not been (both are in the folded cell);
# - **resuming**: whether the codes were started is part of the state (`updates`), not a flag that a
#   checkpoint forgets;
# - **half precision**: quantization stays in float32. Tiny changes to a running mean vanish in 16 bits.

# %% jupyter={"source_hidden": true} tags=["export:models.common.quantize"]
import torch.distributed as dist


def sum_over_processes(x: Tensor) -> Tensor:
    """x summed over all processes of a training, in place; x itself if there is only one."""
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(x)
    return x


def random_vectors(z: Tensor, number: int, seed: int) -> Tensor:
    """`number` random vectors from the z (n, d) of all processes; the same on each of them."""
    is_distributed = dist.is_available() and dist.is_initialized()
    rank, world = (dist.get_rank(), dist.get_world_size()) if is_distributed else (0, 1)
    order = torch.randperm(world * len(z), generator=torch.Generator().manual_seed(seed))
    chosen = order.repeat(-(-number // len(order)))[:number].to(z.device) - rank * len(z)
    is_local = (0 <= chosen) & (chosen < len(z))
    return sum_over_processes(torch.where(is_local[:, None], z[chosen.clamp(0, len(z) - 1)], 0))


# %% tags=["export:models.common.quantize"]
class EMACodebook(nn.Module):
    """Running means of the vectors that choose a code, restarted where none do. LVT, section 3.1.

    restart: a code is dead when its running count is below this share of the mean count; 0: never.
    first_batch: start on vectors of the first batch (VideoGPT, section 4.1), else where codes lie.
    """

    def __init__(self, num_codes: int, dim: int, commitment: float = 1.0, decay: float = 0.99,
                 restart: float = 0.05, first_batch: bool = True):
        super().__init__()
        self.commitment, self.decay = commitment, decay
        self.restart, self.first_batch = restart, first_batch
        self.register_buffer("embedding", torch.randn(num_codes, dim))
        self.register_buffer("count", torch.ones(num_codes))
        self.register_buffer("total", self.embedding.clone())  # shared memory would break the mean
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        """z (..., d) -> quantized (..., d), codes int64 (...), loss (), metrics by name.

        Learns in training mode.
        """
        with torch.autocast(z.device.type, enabled=False):
            z = z.float()
            if self.training and self.first_batch and self.updates == 0:
                self.start(z.detach().flatten(0, -2))
            codes = nearest_code(z, self.embedding)
            q = self.lookup(codes)
            if self.training:
                self.update(z.detach().flatten(0, -2), codes.flatten())
            loss = vq_losses(z, q)[1]
            metrics = {"commitment_loss": loss, "perplexity": perplexity(codes, len(self.count))}
            return straight_through(z, q), codes, self.commitment * loss, metrics

    def lookup(self, codes: Tensor) -> Tensor:
        """codes (...) -> their vectors (..., d)."""
        return F.embedding(codes, self.embedding)

    @torch.no_grad()
    def start(self, z: Tensor) -> None:
        """Puts every code on a vector of z (n, d)."""
        self.embedding.copy_(random_vectors(z, len(self.count), int(self.updates)))
        self.total.copy_(self.embedding)

    @torch.no_grad()
    def update(self, z: Tensor, codes: Tensor) -> None:
        """One step of the running means, then the restarts. z (n, d), codes (n,)."""
        count, total = code_statistics(z, codes, len(self.count))
        self.count.lerp_(sum_over_processes(count), 1 - self.decay)
        self.total.lerp_(sum_over_processes(total), 1 - self.decay)
        self.updates += 1
        in_use = self.count[:, None] > 1e-6  # a code that nobody chose for very long stays put
        self.embedding.copy_(torch.where(in_use, self.total / self.count[:, None], self.embedding))
        if self.restart:
            mean, buffers = self.count.mean(), (self.embedding, self.count, self.total)
            fresh = random_vectors(z, len(self.count), int(self.updates))
            parts = restart_codes(self.count < self.restart * mean, fresh, mean, *buffers)
            for buffer, new in zip(buffers, parts, strict=True):
                buffer.copy_(new)


# %% [markdown]
# Now the suspects, each from scratch for the same number of steps. The first three have no restarts.

# %%
suspects = {
    "gradient": lambda: GradientCodebook(K, 64),
    "running means": lambda: EMACodebook(K, 64, restart=0, first_batch=False),
    "+ start on data": lambda: EMACodebook(K, 64, restart=0),
    "+ restarts": lambda: EMACodebook(K, 64),
    "+ faster decay, 0.95": lambda: EMACodebook(K, 64, decay=0.95),
}
histories = {"gradient": collapsed_perplexity}
models = {"gradient": collapsed}
for name, make in list(suspects.items())[1:]:
    torch.manual_seed(0)
    models[name], histories[name], _ = train(make(), steps, name)

# %% jupyter={"source_hidden": true}
figure = curves(histories, xlabel="training step", ylabel=f"perplexity (of {K})", log=True,
                title="Codes in use, from scratch")
figure.axes[0].legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
show(figure,
     alt="Perplexity against training step on a log scale. Gradient, running means and "
     "start-on-data stay low. With restarts it climbs into the hundreds: with decay 0.99 it "
     "follows start-on-data for most of the way, with 0.95 it climbs from the start.")

# %%
for name, history in histories.items():
    print(f"{name:22s} perplexity {list(history.values())[-1]:6.1f}")

# %% [markdown]
# Starting on the data hardly helps, because at step 1 the data is one blob: the untrained encoder sends
# everything to the same place. All 512 codes sit in that blob, and when the vectors move away, most are left
# behind.
#
# In two dimensions you can watch it. Below are 24 codes in a plane, each with the region in which it is the
# nearest. The vectors begin as one blob and spread into three groups, as they do while an encoder learns. (There
# is no encoder here: they spread by themselves, whatever the codes do.)

# %% jupyter={"source_hidden": true}
def draw_regions(ax, codebook, z):
    """The region of each code, vectors z (n, 2), codes in use (circles), dead codes (crosses)."""
    codes, side = len(codebook.embedding), torch.linspace(-2.6, 2.6, 260)
    nearest = nearest_code(torch.cartesian_prod(side, side), codebook.embedding).reshape(260, 260)
    ax.imshow(code_map(nearest.T, codes), extent=(-2.6, 2.6, -2.6, 2.6), origin="lower", alpha=0.35)
    used = torch.bincount(nearest_code(z, codebook.embedding), minlength=codes) > 0
    ax.scatter(*z.T, s=2, c="#444444")
    ax.scatter(*codebook.embedding[~used].T, s=22, marker="x", c="#b3432b", lw=1.2)
    ax.scatter(*codebook.embedding[used].T, s=26, c="white", ec="black")
    ax.set(xticks=[], yticks=[], xlim=(-2.6, 2.6), ylim=(-2.6, 2.6))
    ax.grid(False)
    return int(used.sum())


# %%
def spreading_vectors(step, generator):
    """256 vectors in a plane, (256, 2): one blob at step 0, three groups from step 58 on."""
    groups = torch.tensor([[-1.6, -1.2], [1.7, -0.9], [0.1, 1.7]])
    centres = groups[torch.randint(3, (256,), generator=generator)]
    z = centres + 0.35 * torch.randn(256, 2, generator=generator)
    return min(0.03 + step / 60, 1) * z


fig, axes = plt.subplots(2, 3, figsize=(7.2, 5))
in_use = {}
for row, (name, restart) in zip(axes, (("start on data", 0.0), ("+ restarts", 0.05)), strict=True):
    torch.manual_seed(0)
    generator, codebook = torch.Generator().manual_seed(0), EMACodebook(24, 2, 1, 0.9, restart)
    row[0].set_ylabel(name)
    for step in range(121):
        z = spreading_vectors(step, generator)
        codebook(z)
        if step % 60 == 0:
            in_use[name, step] = draw_regions(row[step // 60], codebook, z)
            row[step // 60].set_title(f"step {step}: {in_use[name, step]} of 24")
show(fig, alt="A plane in regions, one for each of 24 codes, at three moments. At step 0 all codes "
          "and all vectors are one blob in the middle. Then the vectors lie in three groups. "
          f"Without restarts {in_use['start on data', 120]} codes are among them at the end, and a "
          "knot of dead ones is where the blob was; with restarts all groups are full of codes, "
          f"{in_use['+ restarts', 120]} of 24.")

# %% [markdown]
# Only a code at the rim of the blob has vectors that move its way, and it follows them. The ones inside are the
# nearest to nobody. A few come back here, where a vector at the inner edge of its group finds them nearest. That is
# luck of the plane; in 64 dimensions there is far more room to be far from everything.
#
# ## 4. What does cure it
#
# **Restarts.** A code that nobody chooses is put on a random vector of the batch, where it is chosen at once.
# With it goes the **decay**. A code counts as dead when its running count has faded below 5% of the mean. How
# long does that take?

# %%
for decay in (0.99, 0.95):
    unused = decay ** torch.arange(1000)  # the running count of a code that nobody chooses
    mean = 1 * unused + 32 * 64 / K * (1 - unused)  # from 1 to the vectors a step and code
    print(f"decay {decay}: dead after {int((unused >= 0.05 * mean).sum())} steps")

# %% [markdown]
# With decay 0.99 that is most of our training: until then the curve lies on "+ start on data".
#
# The third cure you know from notebook 02: **warm-up**. Train without a quantizer first, then start the codes
# on vectors that are already spread. No restarts.

# %%
class NoQuantizer(nn.Module):
    def forward(self, z):
        return z, torch.zeros(z.shape[:-1], dtype=torch.int64), z.new_zeros(()), {}


def train_warm(warm_steps, steps, seed=0):
    """First without a quantizer, then with running means started on the data, without restarts."""
    torch.manual_seed(seed)
    model = FrameVQVAE(FrameVQVAEConfig(**size), NoQuantizer())
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for step in tqdm(range(steps), "warm-up instead", ascii=True):
        if step == warm_steps:
            model.quantizer = EMACodebook(K, 64, restart=0)
        loss, _ = model.train().loss(train_frames[torch.randint(len(train_frames), (32,))])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


models["warm-up instead"] = train_warm(steps // 2, steps)
codes = models["warm-up instead"].encode(val_frames)
print(f"warm-up, no restarts: perplexity {perplexity(codes, K):.1f}")

# %% jupyter={"source_hidden": true}
fig, axes = plt.subplots(1, 2, figsize=(7.2, 3))
portrait(axes[0], models["+ faster decay, 0.95"], "with restarts", by_code=False)
portrait(axes[1], models["warm-up instead"], "after a warm-up", by_code=False)
axes[0].legend(loc="upper left", fontsize=7, frameon=True)
show(fig, alt="Two scatter plots of vectors and codes. In both, hundreds of codes in use lie all "
          "over the cloud of vectors, most of them where it is dense; few are dead.")

# %% [markdown]
# Compare with the portraits of section 2: wherever there are vectors there are codes now. And what does it mean
# for two codes to be *near*? Let us look at what a code stands for: the mean of all patches that chose it, with a
# margin, since the encoder looks beyond its 4 x 4 pixels. Eight codes that lie far apart, and in each row the six
# codes nearest to it, then three that are far.

# %% jupyter={"source_hidden": true}
def stands_for(codes, frames):
    """The mean of the 12 x 12 pixels around each place that chose a code, (K, 12, 12)."""
    padded = F.pad(frames[:, :, 0], (4, 4, 4, 4), value=-1)
    patches = F.unfold(padded, 12, stride=4).transpose(1, 2).flatten(0, 1)
    total = torch.zeros(K, 144).index_add_(0, codes.flatten(), patches)
    return (total / torch.bincount(codes.flatten(), minlength=K)[:, None]).reshape(K, 12, 12)


restarted = models["+ faster decay, 0.95"]
codes = restarted.encode(val_frames)
pictures, counts = stands_for(codes, val_frames), torch.bincount(codes.flatten(), minlength=K)
common = (counts >= 5).nonzero().flatten()
distance = torch.cdist(*[restarted.quantizer.embedding[common]] * 2)
far_apart = [int(counts[common].argmax())]
while len(far_apart) < 8:  # next comes the one that is farthest from all before it
    far_apart.append(int(distance[far_apart].amin(0).argmax()))
fig, axes = plt.subplots(8, 11, figsize=(7.2, 5), width_ratios=[1] * 7 + [0.5] + [1] * 3)
for row, code in zip(axes, far_apart, strict=True):
    order = distance[code].argsort()
    ranks = [*range(7), None, len(order) // 3, len(order) // 2, len(order) - 1]
    for ax, rank in zip(row, ranks, strict=True):
        ax.axis("off")
        if rank is not None and rank < len(order):
            ax.imshow(pictures[common[order[rank]]], cmap="gray", vmin=-1, vmax=1)
for column, title in ((0, "a code"), (3, "the nearest"), (9, "far")):
    axes[0, column].set_title(title, fontsize=9)
show(fig, alt="Eight rows of small grey patches. In most rows the first seven are alike: the same "
     "blot, stroke or arc, a little moved or turned. The three at the end look different.")

# %% [markdown]
# In most rows near codes stand for like pictures: the same stroke, a little moved or turned. Nobody told the
# encoder to put like next to like. It follows from the training: vectors of like patches are alike, and codes are
# means of vectors.
#
# ### Exercise 3.4 · when is a code dead? (about 10 min)
# VideoGPT's official code restarts every code with a running count below 1.0, whatever the batch and the
# codebook. Suppose 2,048 vectors a step and 512 codes, all in equal use: each code counts 4. With 16 vectors
# a step, each counts 1/32, and nearly the whole codebook is thrown away at every step. Say which codes are
# dead in a way that does not depend on the size of the batch or of the codebook: strictly below a `share` of
# the mean count.
#
# <details><summary>Hint</summary>What would a code count if all were in equal use? The mean of all counts,
# those of dead codes too. If all counts are 0 the mean is 0, and no code is below it.</details>
#
# <details><summary>The call</summary><code>count.mean()</code>, and <code>&lt;</code>.</details>

# %% tags=["exercise", "ex-3.4"]
def dead_codes(count: Tensor, share: float) -> Tensor:
    """Which codes are dead: bool (k,), True where the running count is below `share` of the mean.

    count floats (k,). A code of exactly this count lives.
    """
    ### BEGIN SOLUTION
    return count < share * count.mean()
    ### END SOLUTION


# %% tags=["check", "ex-3.4"]
dead_codes = check("3.4", dead_codes)

# %%
for vectors in (16, 256, 2048):
    codes = torch.randint(64, (vectors * 1000,))  # 64 codes in equal use, for 1000 steps
    count = torch.bincount(codes, minlength=64) / 1000
    print(f"{vectors:5d} vectors a step: below 1.0: {int((count < 1).sum()):2d} of 64, "
          f"below 5% of the mean: {int(dead_codes(count, 0.05).sum())}")

# %% [markdown]
# ## 5. The frequencies of the codes
#
# LVT (Fig. 5) sorts the codes of its BAIR codebook by frequency: 218 of 512 carry 80% of everything. Here are
# ours.

# %%
def sorted_frequencies(model):
    counts = torch.bincount(model.encode(val_frames).flatten(), minlength=K)
    return (counts / counts.sum()).sort(descending=True).values


# %% jupyter={"source_hidden": true}
fig, ax = plt.subplots(figsize=(7.2, 3))
for name in ("gradient", "+ start on data", "+ faster decay, 0.95", "warm-up instead"):
    frequency = sorted_frequencies(models[name])
    needed = int((frequency.cumsum(0) < 0.8).sum()) + 1
    ax.plot(range(1, K + 1), frequency.clamp_min(1e-6), label=f"{name}: 80% in {needed}")
ax.set(xlabel="codes, most frequent first", ylabel="frequency", yscale="log", ylim=(2e-5, 1),
       title="As in LVT, Fig. 5 (there: 80% in 218)")
ax.legend(fontsize=8)
show(fig, alt="Sorted code frequencies on a log axis. The collapsed codebooks drop to zero after a "
          "handful of codes; with restarts or warm-up the curve falls slowly over hundreds of "
          "codes.")

# %% [markdown]
# The legend says how many codes carry 80%. With restarts, or after a warm-up, it is of the order of LVT's 218;
# the collapsed codebooks need a handful. It is another data set and a young codebook, so take the shape of the
# curve, not the numbers.
#
# ## 6. The second cause, hidden in official code
#
# LVT explains collapse by the size of the codebook (section 3.1). Its official code has another cause, which
# no loss curve shows. The running *counts* start at 0, while the running *sums* start at the codes. A code
# that nobody chooses in the first step is divided by almost nothing: it flies off, far from all vectors, and
# never returns. Our codebook starts with a count of 1. Let us put the zero back and look.

# %%
def lengths_after(first_count, steps=20):
    """Lengths of codes after a few steps of running means from this count on, as in LVT's code."""
    torch.manual_seed(0)
    encoder = Encoder(**size)
    embedding = torch.empty(K, 64).uniform_(-1 / K, 1 / K)
    count, total = torch.full((K,), first_count), embedding.clone()
    for _ in range(steps):
        with torch.no_grad():
            z = encoder(train_frames[torch.randint(len(train_frames), (32,)), :, 0])
        z = z.permute(0, 2, 3, 1).flatten(0, -2)
        codes = nearest_code(z, embedding)
        count.lerp_(torch.bincount(codes, minlength=K).float(), 0.01)
        total.lerp_(torch.zeros(K, 64).index_add_(0, codes, z), 0.01)
        # The official code's guard against 0.
        smooth = (count + 1e-5) / (count.sum() + K * 1e-5) * count.sum()
        embedding = total / smooth[:, None]
    return embedding.norm(dim=1), z.norm(dim=1).mean()


for first_count in (0.0, 1.0):
    lengths, typical = lengths_after(first_count)
    print(f"counts start at {first_count}: vectors have length {typical:.1f}, "
          f"the longest code {lengths.max():.1f}, "
          f"{int((lengths > 10 * typical).sum())} of {K} codes are 10 times too long")
    if first_count == 0.0:
        assert (lengths > 10 * typical).sum() > K / 2
assert lengths.max() < 10 * typical

# %% [markdown]
# Two more traps of the same kind, both in official code: the codebook and its running sum shared one piece of
# memory (on a CPU, LVT's reconstruction error goes to infinity within 20 steps), and the flag "already
# started on the data" is not saved (VideoGPT, TATS, MeBT: resume a training, and the first step wipes the
# codebook).
#
# ## The experiment: three seeds
#
# The claim: *without restarts the codebook collapses, with them it does not.* One run could be luck, so we
# take three of each, with new weights and new batches. Everything else is equal: running means with decay
# 0.99, as in LVT, started on the first batch.

# %%
seeds = {"smoke": [0], "course": [0, 1, 2]}[profile]
outcome = {"without restarts": [], "with restarts": []}
for seed in seeds:
    for name, restart in (("without restarts", 0.0), ("with restarts", 0.05)):
        torch.manual_seed(seed)
        codebook = EMACodebook(K, 64, restart=restart)
        _, perplexities, errors = train(codebook, steps, f"{name}, {seed}", seed, look_every=steps)
        outcome[name].append((perplexities[steps], errors[steps]))

for name, runs in outcome.items():
    print(f"{name:18s} perplexity", *(f"{p:6.1f}" for p, _ in runs),
          "  MSE", *(f"{e:.4f}" for _, e in runs))
lower = [1 - alive / dead for (_, dead), (_, alive) in zip(*outcome.values(), strict=True)]
print("restarts lower the error by", *(f"{share:.0%}" for share in lower))
if profile == "course":
    assert all(p < 20 for p, _ in outcome["without restarts"])
    assert all(p > 100 for p, _ in outcome["with restarts"])

# %% jupyter={"source_hidden": true}
fig, axes = plt.subplots(1, 2, figsize=(7.2, 2.6))
for column, title in enumerate((f"perplexity, of {K}", "validation MSE")):
    ax = axes[column]
    for x, runs in enumerate(outcome.values()):
        ax.scatter([x] * len(runs), [run[column] for run in runs], s=40)
    ax.set(title=title, xticks=[0, 1], xticklabels=outcome, xlim=(-0.5, 1.5))
    ax.set_ylim(0, 1.1 * ax.get_ylim()[1])
show(fig, alt="Dots for three seeds. Perplexity is near zero without restarts and in the hundreds "
          "with them; the error is lower with restarts for every seed.")

# %% [markdown]
# **What we measured.** The two kinds of runs are far apart, for every seed. (With two more seeds that are not run
# here it was the same.) The error falls too, but not by much so far: after 200 steps the codes are alive and the
# encoder is still learning to use them. LVT gives no perplexity to compare with. It reports the frequencies in
# Fig. 5, at 500,000 steps on BAIR.
#
# ## What you built
#
# ```python
# from lvlib.models.common.quantize import usage, perplexity, restart_codes, EMACodebook
# ```
#
# ## Scale it up
#
# `--autoencoder.restart 0` switches the restarts off in any training, if you want to see a collapse at full
# size. Perplexity is logged at every step, beside the loss:
#
# ```
# lvlib train lvt-frames-bair --out runs/collapse --data.root BAIR --autoencoder.restart 0
# tensorboard --logdir runs
# ```
#
# ## Questions to think about
#
# 1. A codebook is used equally by all codes. Is it then a good codebook?
#
#    <details><summary>Answer</summary>Not for that alone. Give every vector a random code: perplexity is
#    perfect, and the picture is gone. And codes of a good codebook need not be equal: if half of all
#    patches are black, one code for black is enough. Perplexity finds a codebook that is ill; whether one
#    is good, the error must say.</details>
#
# 2. Restarts put codes where the vectors are dense. Would it be better to put them where the *error* is
#    large?
#
#    <details><summary>Answer</summary>It would lower the error faster, since a few far vectors make most
#    of it. But it would also chase outliers, and spend codes on patches that hardly ever come. Dense places
#    have the advantage that a fresh code is chosen at once, and stays alive.</details>
#
# 3. Why does a small codebook (K = 8) hardly ever collapse?
#
#    <details><summary>Answer</summary>A handful of codes survives in any case: those at the rim of the blob. Of 8
#    that is nearly all, of 512 next to nothing. Try it: <code>train(EMACodebook(8, 64, restart=0), steps, "8
#    codes")</code>.</details>
#
# 4. LVT divides the work among several small codebooks instead (notebook 04). Why could that help?
#
#    <details><summary>Answer</summary>Because of the last question: each of the small ones stays alive,
#    and their combinations are as many as you like. It has a price, too: a combination is not free to lie
#    anywhere.</details>

# %%
progress()
