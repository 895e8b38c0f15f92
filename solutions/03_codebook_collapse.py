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
# and a strange thing happens: of its 512 codes it uses two. The others are never chosen, so they never move,
# so they are never chosen. The picture is poor and no error message says why.
#
# You will watch it happen, measure it, try the cures that people name, and keep the ones that work. Then you
# look at the official code of two systems, where the same illness has a second, hidden cause.

# %%
import os

import torch
from matplotlib import pyplot as plt
from torch import Tensor, nn
from torch.nn import functional as F

from lvlib.course import check, progress
from lvlib.data import MovingDigits, to_video
from lvlib.models.common.quantize import GradientCodebook, code_statistics, nearest_code, straight_through, vq_losses
from lvlib.models.lvt.frame_vqvae import Encoder, FrameVQVAE, FrameVQVAEConfig
from lvlib.viz import curves, set_style, show, strip

set_style()

# %% tags=["parameters"]
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
# The share of the codebook that occurs at least once.
#
# <details><summary>Hint</summary><code>torch.bincount(codes.flatten(), minlength=num_codes)</code>, then which
# counts are above zero?</details>

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
# It is exp(H), with H the entropy in nats of the frequencies p: H = -Σ p log p. Mind codes with p = 0.
#
# <details><summary>Hint</summary><code>torch.special.entr(p)</code> is -p log p, and 0 at p = 0.</details>

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
for name, example in {"all 512 alike": every_code, "one has half": torch.cat([every_code, every_code * 0]),
                      "only code 7": torch.full((512,), 7)}.items():
    print(f"{name:14s} usage {usage(example, 512):.3f}  perplexity {perplexity(example, 512):6.1f}")

# %% [markdown]
# ## 2. Watch it happen
#
# The codebook of notebook 02, but this time from scratch: random encoder, random codes, no head start. We
# keep the code numbers of the validation frames as training goes on.

# %%
def train(quantizer, steps, seed=0, look_every=25):
    """A frame VQ-VAE from scratch around `quantizer`. Returns it, {step: perplexity} and {step: MSE} on val_frames."""
    torch.manual_seed(seed)
    model = FrameVQVAE(FrameVQVAEConfig(**size), quantizer)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    perplexities, errors = {}, {}
    for step in range(1, steps + 1):
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
collapsed, collapsed_perplexity, _ = train(GradientCodebook(K, 64), steps)
print(f"perplexity after {steps} steps: {perplexity(collapsed.encode(val_frames), K):.1f} of {K}")

# %%
with torch.no_grad():
    rebuilt = collapsed.decode(collapsed.encode(val_frames[:8]))
show(strip([val_frames[:8, :, 0].transpose(0, 1), rebuilt[:, :, 0].transpose(0, 1)], titles=["frames", "rebuilt"]),
     alt="Eight frames of digits above their reconstructions, which are grey smudges where the digits should be.")

# %% [markdown]
# Smudges. To see why, look at the vectors themselves. They have 64 dimensions; we plot the two along which
# they vary most, with the codes among them.

# %%
def portrait(ax, model, title):
    """Encoder vectors, codes in use and dead codes, on the two main axes of the vectors."""
    with torch.no_grad():
        z = model.vectors(val_frames[:64]).flatten(0, -2)
    embedding, codes = model.quantizer.embedding.detach(), model.encode(val_frames).flatten()
    mean, axes = z.mean(0), torch.pca_lowrank(z, 2)[2]
    used = torch.bincount(codes, minlength=K) > 0
    for points, style in [(z, {"s": 3, "c": "#bbbbbb", "label": "vectors"}),
                          (embedding[~used], {"s": 8, "c": "#b3432b", "marker": "x", "label": "dead codes"}),
                          (embedding[used], {"s": 14, "c": "#1f5fa8", "label": "codes in use"})]:
        ax.scatter(*((points - mean) @ axes).T, **style)
    ax.set(title=f"{title}: {int(used.sum())} of {K} in use", xticks=[], yticks=[])


torch.manual_seed(0)
untrained = FrameVQVAE(FrameVQVAEConfig(**size), GradientCodebook(K, 64))
fig, axes = plt.subplots(1, 2, figsize=(7.2, 3))
portrait(axes[0], untrained, "before training")
portrait(axes[1], collapsed, f"after {steps} steps")
axes[0].legend(loc="upper right", fontsize=7, frameon=True)
show(fig, alt="Two scatter plots. Before training all encoder vectors form one tiny blob among widely scattered "
          "codes. After training the vectors spread, but only two codes lie among them, and all others are dead.")

# %% [markdown]
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
# <details><summary>Hint</summary><code>torch.where(dead, new, old)</code>; for (k, d) tensors use
# <code>dead[:, None]</code>. What must total be so that total / fresh_count is the fresh
# vector?</details>

# %% tags=["exercise", "ex-3.3", "export:models.common.quantize"]
def restart_codes(
    dead: Tensor, fresh: Tensor, fresh_count: Tensor, embedding: Tensor, count: Tensor, total: Tensor
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
#   that a run that was stopped goes on as if it had not been;
# - **resuming**: whether the codes were started is part of the state (`updates`), not a flag that a
#   checkpoint forgets;
# - **half precision**: quantization stays in float32. Tiny changes to a running mean vanish in 16 bits.

# %% tags=["export:models.common.quantize"]
import torch.distributed as dist


def sum_over_processes(x: Tensor) -> Tensor:
    """x summed over all processes of a distributed training, in place; x itself if there is only one."""
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(x)
    return x


class EMACodebook(nn.Module):
    """Codes that are running means of the vectors that choose them, restarted where none do. LVT, section 3.1.

    restart: a code is dead when its running count falls below this share of the mean count; 0 for no restarts.
    first_batch: start the codes on vectors of the first batch (VideoGPT, section 4.1), else where they lie.
    """

    def __init__(self, num_codes: int, dim: int, commitment: float = 1.0, decay: float = 0.99, restart: float = 0.05,
                 first_batch: bool = True):
        super().__init__()
        self.commitment, self.decay, self.restart, self.first_batch = commitment, decay, restart, first_batch
        self.register_buffer("embedding", torch.randn(num_codes, dim))
        self.register_buffer("count", torch.ones(num_codes))
        self.register_buffer("total", self.embedding.clone())  # a clone: sharing memory breaks the running mean
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        """z (..., d) -> quantized (..., d), codes int64 (...), loss (), metrics by name. Learns in training mode."""
        with torch.autocast(z.device.type, enabled=False):
            z = z.float()
            if self.training and self.first_batch and self.updates == 0:
                self.start(z.detach().flatten(0, -2))
            codes = nearest_code(z, self.embedding)
            q = self.lookup(codes)
            if self.training:
                self.update(z.detach().flatten(0, -2), codes.flatten())
            commitment_loss = vq_losses(z, q)[1]
            metrics = {"commitment_loss": commitment_loss, "perplexity": perplexity(codes, len(self.count))}
            return straight_through(z, q), codes, self.commitment * commitment_loss, metrics

    def lookup(self, codes: Tensor) -> Tensor:
        """codes (...) -> their vectors (..., d)."""
        return F.embedding(codes, self.embedding)

    @torch.no_grad()
    def start(self, z: Tensor) -> None:
        """Puts every code on a vector of z (n, d)."""
        self.embedding.copy_(self.draw(z))
        self.total.copy_(self.embedding)

    @torch.no_grad()
    def update(self, z: Tensor, codes: Tensor) -> None:
        """One step of the running means, then the restarts. z (n, d), codes (n,)."""
        count, total = code_statistics(z, codes, len(self.count))
        self.count.lerp_(sum_over_processes(count), 1 - self.decay)
        self.total.lerp_(sum_over_processes(total), 1 - self.decay)
        self.updates += 1
        in_use = self.count[:, None] > 1e-6  # a code that was not chosen for very many steps stays where it is
        self.embedding.copy_(torch.where(in_use, self.total / self.count[:, None], self.embedding))
        if self.restart:
            mean = self.count.mean()
            parts = restart_codes(
                self.count < self.restart * mean, self.draw(z), mean, self.embedding, self.count, self.total)
            for buffer, new in zip((self.embedding, self.count, self.total), parts, strict=True):
                buffer.copy_(new)

    def draw(self, z: Tensor) -> Tensor:
        """As many random vectors as there are codes, from the z (n, d) of all processes; the same on each of them."""
        is_distributed = dist.is_available() and dist.is_initialized()
        rank, world = (dist.get_rank(), dist.get_world_size()) if is_distributed else (0, 1)
        order = torch.randperm(world * len(z), generator=torch.Generator().manual_seed(int(self.updates)))
        chosen = order.repeat(-(-len(self.count) // len(order)))[: len(self.count)].to(z.device) - rank * len(z)
        is_local = (0 <= chosen) & (chosen < len(z))
        return sum_over_processes(torch.where(is_local[:, None], z[chosen.clamp(0, len(z) - 1)], 0))


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
    models[name], histories[name], _ = train(make(), steps)

# %%
figure = curves(histories, xlabel="training step", ylabel=f"perplexity (of {K})", log=True,
                title="Codes in use, from scratch")
figure.axes[0].legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
show(figure,
     alt="Perplexity against training step on a log scale. Gradient, running means and start-on-data stay below "
     "about ten. With restarts it climbs into the hundreds: with decay 0.99 it follows start-on-data until "
     "step 150, with 0.95 it climbs from the start.")
for name, history in histories.items():
    print(f"{name:22s} perplexity {list(history.values())[-1]:6.1f}")

# %% [markdown]
# Starting on the data hardly helps, because at step 1 the data is one blob: the untrained encoder sends
# everything to the same place. All 512 codes sit in that blob, and when the vectors move away, most are left
# behind.
#
# ## 4. What does cure it
#
# **Restarts.** A code that nobody chooses is put on a random vector of the batch, where it is chosen at once.
# With it goes the **decay**. A code counts as dead when its running count has faded below 5% of the mean.
# With decay 0.99 that takes about 170 steps: until then the curve lies on "+ start on data". With 0.95 it
# takes about 35.
#
# The third cure you know from notebook 02: **warm-up**. Train without a quantizer first, then start the codes
# on vectors that are already spread. Over three seeds this gave a perplexity of 218 to 254 after 200 steps,
# without any restart.

# %%
class NoQuantizer(nn.Module):
    def forward(self, z):
        return z, torch.zeros(z.shape[:-1], dtype=torch.int64), z.new_zeros(()), {}


def train_warm(warm_steps, steps, seed=0):
    """First without a quantizer, then with running means started on the data, without restarts. Returns the model."""
    torch.manual_seed(seed)
    model = FrameVQVAE(FrameVQVAEConfig(**size), NoQuantizer())
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for step in range(steps):
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

# %% [markdown]
# ### Exercise 3.4 · when is a code dead? (about 10 min)
# VideoGPT's official code restarts every code with a running count below 1.0, whatever the batch and the
# codebook. Suppose 2,048 vectors a step and 512 codes, all in equal use: each code counts 4. With 16 vectors
# a step, each counts 1/32, and nearly the whole codebook is thrown away at every step. Say which codes are
# dead in a way that does not depend on the size of the batch or of the codebook: below a `share` of the mean
# count.
#
# <details><summary>Hint</summary>What is the count of a code in a codebook in equal use? It is the mean of all
# counts.</details>

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
    count = torch.bincount(torch.randint(64, (vectors * 1000,)), minlength=64) / 1000  # 64 codes in equal use
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


fig, ax = plt.subplots(figsize=(7.2, 3))
for name in ("gradient", "+ start on data", "+ faster decay, 0.95", "warm-up instead"):
    frequency = sorted_frequencies(models[name])
    needed = int((frequency.cumsum(0) < 0.8).sum()) + 1
    ax.plot(range(1, K + 1), frequency.clamp_min(1e-6), label=f"{name}: 80% in {needed}")
ax.set(xlabel="codes, most frequent first", ylabel="frequency", yscale="log", ylim=(2e-5, 1),
       title="As in LVT, Fig. 5 (there: 80% in 218)")
ax.legend(fontsize=8)
show(fig, alt="Sorted code frequencies on a log axis. The collapsed codebooks drop to zero after a handful of codes;"
          " with restarts or warm-up the curve falls slowly over hundreds of codes.")

# %% [markdown]
# With restarts, or after a warm-up, ours comes close to LVT's: 244 and 167 codes carry 80%, there 218. It is
# another data set and a young codebook, so take the shape of the curve, not the numbers. The collapsed ones
# need 1 and 7.
#
# ## 6. The second cause, hidden in official code
#
# LVT explains collapse by the size of the codebook (section 3.1). Its official code has another cause, which
# no loss curve shows. The running *counts* start at 0, while the running *sums* start at the codes. A code
# that nobody chooses in the first step is divided by almost nothing: it flies off, far from all vectors, and
# never returns. Our codebook starts with a count of 1. Let us put the zero back and look.

# %%
def lengths_after(first_count, steps=20):
    """Lengths of the codes after a few steps of running means that begin with this count, as LVT's code does it."""
    torch.manual_seed(0)
    encoder = Encoder(**size)
    embedding = torch.empty(K, 64).uniform_(-1 / K, 1 / K)
    count, total = torch.full((K,), first_count), embedding.clone()
    for _ in range(steps):
        with torch.no_grad():
            z = encoder(train_frames[torch.randint(len(train_frames), (32,)), :, 0]).permute(0, 2, 3, 1).flatten(0, -2)
        codes = nearest_code(z, embedding)
        count.lerp_(torch.bincount(codes, minlength=K).float(), 0.01)
        total.lerp_(torch.zeros(K, 64).index_add_(0, codes, z), 0.01)
        smooth = (count + 1e-5) / (count.sum() + K * 1e-5) * count.sum()  # the official code's guard against 0
        embedding = total / smooth[:, None]
    return embedding.norm(dim=1), z.norm(dim=1).mean()


for first_count in (0.0, 1.0):
    lengths, typical = lengths_after(first_count)
    print(f"counts start at {first_count}: vectors have length {typical:.1f}, the longest code {lengths.max():.1f}, "
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
        _, perplexities, errors = train(codebook, steps, seed, look_every=steps)
        outcome[name].append((perplexities[steps], errors[steps]))

for name, runs in outcome.items():
    print(f"{name:18s} perplexity", *(f"{p:6.1f}" for p, _ in runs), "  MSE", *(f"{e:.4f}" for _, e in runs))
if profile == "course":
    assert all(p < 20 for p, _ in outcome["without restarts"])
    assert all(p > 100 for p, _ in outcome["with restarts"])

# %%
fig, axes = plt.subplots(1, 2, figsize=(7.2, 2.6))
for column, (ax, title) in enumerate(zip(axes, (f"perplexity, of {K}", "validation MSE"), strict=True)):
    for x, runs in enumerate(outcome.values()):
        ax.scatter([x] * len(runs), [run[column] for run in runs], s=40)
    ax.set(title=title, xticks=[0, 1], xticklabels=outcome, xlim=(-0.5, 1.5))
    ax.set_ylim(0, 1.1 * ax.get_ylim()[1])
show(fig, alt="Dots for three seeds. Perplexity is near zero without restarts and in the hundreds with them; the "
          "error is lower with restarts for every seed.")

# %% [markdown]
# **What we measured.** Over five seeds, perplexity after 200 steps was 6.5 to 11.6 without restarts and 207
# to 279 with them. The error falls too, but only by 6 to 16% so far: after 200 steps the codes are alive and
# the encoder is still learning to use them. LVT gives no perplexity to compare with. It reports the
# frequencies in Fig. 5, at 500,000 steps on BAIR.
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
# 2. Restarts put codes where the vectors are dense. Would it be better to put them where the *error* is
#    large?
# 3. Why does a small codebook (K = 8) hardly ever collapse?
# 4. LVT divides the work among several small codebooks instead. That is notebook 04.

# %%
progress()
