"""The bundled network, and a second one of another architecture that evaluates pictures made from the first."""

from torch import Tensor, nn

from optvis.demo.patterns import COLOURS, PATTERNS


class _TwoHeaded(nn.Module):
    """The base of both networks: from normalised pictures [N, 3, H, W] of at least 32 px to a pattern and a colour."""

    input_size = (3, 64, 64)
    image_mean = [0.35, 0.34, 0.33]
    image_std = [0.25, 0.25, 0.25]
    output_names = {"pattern": list(PATTERNS), "colour": list(COLOURS)}

    def __init__(self, features: nn.Sequential, width: int) -> None:
        super().__init__()
        self.features = features
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.pattern = nn.Linear(width, len(PATTERNS))
        self.colour = nn.Linear(width, len(COLOURS))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Logits {"pattern": [N, 12], "colour": [N, 8]}."""
        x = self.flatten(self.pool(self.features(x)))
        return {"pattern": self.pattern(x), "colour": self.colour(x)}


class DemoNetwork(_TwoHeaded):
    """A plain stack of convolutions, batch norms and ReLUs. `features/7` is the first convolution after a pooling."""

    def __init__(self) -> None:
        # The strided layer has an even kernel and pooling takes the mean, so that every pixel contributes to
        # equally many outputs and the gradient with respect to the picture has no checkerboard pattern.
        layers = [
            *_conv(3, 32, kernel=6, stride=2),  # 32 x 32 for a picture of 64
            *_conv(32, 32),
            nn.AvgPool2d(2),
            *_conv(32, 64),  # 16 x 16
            *_conv(64, 64),
            nn.AvgPool2d(2),
            *_conv(64, 96),  # 8 x 8
            *_conv(96, 128),
            *_conv(128, 128),
        ]
        super().__init__(nn.Sequential(*layers), 128)


def _conv(inner: int, outer: int, kernel: int = 3, stride: int = 1) -> list[nn.Module]:
    padding = (kernel - 1) // 2
    return [
        nn.Conv2d(inner, outer, kernel, stride, padding, bias=False),
        nn.BatchNorm2d(outer),
        nn.ReLU(inplace=True),
    ]


class JudgeNetwork(_TwoHeaded):
    """Residual blocks of a depthwise and two pointwise convolutions with SiLU, unlike `DemoNetwork` by design."""

    def __init__(self) -> None:
        layers = [
            nn.Conv2d(3, 32, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.SiLU(),
            _down(32, 64),
            _Block(64),
            _Block(64),
            _down(64, 112),
            _Block(112),
            _Block(112),
            _Block(112),
        ]
        super().__init__(nn.Sequential(*layers), 112)


class _Block(nn.Module):
    """A residual block from [N, C, H, W] to the same shape."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 5, padding=2, groups=width, bias=False),
            nn.BatchNorm2d(width),
            nn.Conv2d(width, 2 * width, 1),
            nn.SiLU(),
            nn.Conv2d(2 * width, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.body(x)
        return out


def _down(inner: int, outer: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inner, outer, 2, stride=2, bias=False), nn.BatchNorm2d(outer))


NETWORKS: dict[str, type[DemoNetwork] | type[JudgeNetwork]] = {"demo": DemoNetwork, "judge": JudgeNetwork}
