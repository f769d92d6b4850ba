"""Cases of the PyTorch VOneNet, whose checkout is on PYTHONPATH."""

import contextlib
import io
import warnings

import timing
import torch
from torch import nn

warnings.simplefilter("ignore")
with contextlib.redirect_stdout(io.StringIO()):
    from vonenet.back_ends import BasicBlock, ResNetBackEnd
    from vonenet.vonenet import VOneNet

_TINY = {
    "visual_degrees": 2,
    "stride": 2,
    "sf_max": 11.3,
    "k_exc": 23.5,
    "noise_scale": 0.286,
    "noise_level": 0.071,
}


def _vonenet(arch: str | None, image_size: int) -> nn.Module:
    setting = _TINY if image_size < 128 else {}
    with contextlib.redirect_stdout(io.StringIO()):
        return VOneNet(model_arch=arch, image_size=image_size, **setting).eval()


def _images(batch_size: int, image_size: int) -> torch.Tensor:
    return torch.rand(batch_size, 3, image_size, image_size) * 2 - 1


def _forward(arch: str | None, noise: bool = True):
    def prepare(batch_size: int, image_size: int):
        model = _vonenet(arch, image_size)
        if not noise:
            model.noise_mode = None
        images = _images(batch_size, image_size)

        def step():
            with torch.no_grad():
                model(images)

        return step

    return prepare


def _training(batch_size: int, image_size: int):
    back_end = ResNetBackEnd(block=BasicBlock, layers=[2, 2, 2, 2], num_classes=200)
    model = nn.Sequential(
        _vonenet(None, image_size), nn.Conv2d(512, 64, 1, bias=False), back_end
    ).train()
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.SGD(trained, 0.1, momentum=0.9, weight_decay=5e-4)
    images = _images(batch_size, image_size)
    labels = torch.randint(0, 200, (batch_size,))

    def step():
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()

    return step


timing.main(
    {
        "block": _forward(None),
        "block_quiet": _forward(None, noise=False),
        "resnet50": _forward("resnet50"),
        "training": _training,
    },
    torch.set_num_threads,
)
