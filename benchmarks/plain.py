"""The training loop that users of segmentation_models_pytorch write, started from ImageNet like ours.

`Unet` on tf_efficientnet_lite0 with the weights of the package that both sides use, Adam at 1e-3, batches of four,
flips, float32, images scaled as the weights expect. Images up to 512 pixels are taken whole, larger ones by random
crops of 512; batches of several sizes are padded. The weights of the best of five validations count.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

__all__ = ["train_plainly"]

ENCODER = "tf_efficientnet_lite0"
VALIDATIONS = 5
BATCH = 4
CROP = 512


def train_plainly(folder: Path, *, seed: int, seconds: float) -> dict[str, Any]:
    """Train for so many seconds, validations included, and judge on the validation images."""
    from atrous.data import open_folder

    torch.manual_seed(seed)
    opened = open_folder(folder)
    names = opened.classes.names
    model, scale = _network(opened.channels, len(names))
    train, val = (_Plain(opened, split, scale) for split in ("train", "val"))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loader = DataLoader(train, BATCH, shuffle=True, drop_last=True, num_workers=1, collate_fn=_padded)
    start, due, best, steps, gone = time.perf_counter(), 1, (-1.0, {}), 0, 0.0
    while gone < seconds:
        for image, mask in loader:
            model.train()
            loss = F.cross_entropy(model(image), mask, ignore_index=255)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            steps, gone = steps + 1, time.perf_counter() - start
            if gone > seconds:
                break
            if gone > seconds * due / VALIDATIONS:
                due = int(gone / seconds * VALIDATIONS) + 1
                best = max(best, _judge(model, val, names), key=lambda found: found[0])
    mean_iou, iou = max(best, _judge(model, val, names), key=lambda found: found[0])
    return {"mean_iou": mean_iou, "iou": iou, "steps": steps, "seconds": round(gone, 1)}


def _network(channels: int, classes: int) -> tuple[nn.Module, tuple[float, float]]:
    """smp's network with the package's weights, and the mean and deviation that they expect."""
    import segmentation_models_pytorch as smp

    from atrous.encoders import timm_encoder

    weights = timm_encoder(ENCODER, in_channels=channels, pretrained=True).body.state_dict()  # type: ignore[union-attr]
    model = smp.Unet(f"tu-{ENCODER}", encoder_weights=None, in_channels=channels, classes=classes)
    model.encoder.model.load_state_dict(weights)
    return model, (127.0, 128.0)


class _Plain:
    """Images as float tensors, crops and flips for training; one set of pixels for both."""

    def __init__(self, folder: Any, split: str, scale: tuple[float, float]) -> None:
        from atrous.data import FolderDataset

        self.data, self.split, self.scale = FolderDataset(folder, split), split, scale

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        sample = self.data[index]
        image, mask = (sample["image"] - self.scale[0]) / self.scale[1], sample["mask"]
        if self.split == "train":
            height, width = (min(side, CROP) for side in mask.shape)
            top = int(torch.randint(mask.shape[0] - height + 1, ()))
            left = int(torch.randint(mask.shape[1] - width + 1, ()))
            window = (slice(top, top + height), slice(left, left + width))
            image, mask = image[:, window[0], window[1]], mask[window]
            for axis in (-1, -2):
                if (axis == -1 or self.data.folder.channels == 1) and torch.rand(()) < 0.5:
                    image, mask = image.flip(axis), mask.flip(axis)
        return image, mask


def _padded(samples: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """A batch at the next multiple of 32 of its largest sides."""
    height, width = (-(-max(mask.shape[axis] for _, mask in samples) // 32) * 32 for axis in (0, 1))
    images, masks = [], []
    for image, mask in samples:
        rest = (0, width - mask.shape[1], 0, height - mask.shape[0])
        images.append(F.pad(image, rest))
        masks.append(F.pad(mask, rest, value=255))
    return torch.stack(images), torch.stack(masks)


def _judge(model: nn.Module, val: _Plain, names: Any) -> tuple[float, dict[str, float]]:
    """Mean IoU over whole images, and that of each class."""
    from atrous.metrics import confusion_matrix, summarize

    model.eval()
    counts = np.zeros((len(names), len(names)), np.int64)
    with torch.no_grad():
        for index in range(len(val)):
            image, mask = val[index]
            batch, _ = _padded([(image, mask)])
            decided = model(batch).argmax(1)[0, : mask.shape[0], : mask.shape[1]]
            counts += confusion_matrix(decided, mask, len(names)).numpy()
    found = summarize(torch.from_numpy(counts), names)
    return found["mean_iou"], found["iou"]
