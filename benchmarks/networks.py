"""Prediction and one training step on CPU: ours against smp's and torchvision's networks used as their users use them.

    python -m benchmarks.networks

Both sides carry the same trained weights (trained for a few minutes on made scenes, kept in `.cache`), get the same
8-bit array, and return an 8-bit array of classes. The peers run as their documentation shows: float32, `eval()`,
`torch.inference_mode()`; in training float32 with cross-entropy and SGD.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import atrous
from atrous.bundle import load_bundle
from atrous.images.files import read_image
from atrous.inference.devices import choose_precision
from atrous.tasks import TASKS
from benchmarks.harness import Row, compare, save
from benchmarks.peers import smp_unet, torchvision_fcn

CACHE = Path(__file__).parent / ".cache"
SIZE = 512
PEERS = {"unet": smp_unet, "fcn": torchvision_fcn}
NAMES = {"unet": "smp Unet resnet18", "fcn": "torchvision fcn_resnet50"}
STEPS = {"unet": 250, "fcn": 100}


def scenes() -> Path:
    """Made scenes, kept from run to run."""
    folder = CACHE / "scenes"
    if not folder.exists():
        from atrous.workflows import sample

        sample("scenes", folder, count=48, size=SIZE, seed=0)
    return folder


def bundle(name: str) -> Path:
    """A network trained briefly on the scenes, kept from run to run."""
    run = CACHE / name
    if not (run / "bundle").exists():
        overrides = [
            f"training.max_steps={STEPS[name]}",
            "data.crop=192",
            "data.batch_size=6",
            "model.pretrained=false",
        ]
        atrous.train(scenes(), recipe=name, out=run, overrides=overrides)
    return run / "bundle"


def images(count: int = 6) -> list[np.ndarray]:
    """Held-out scenes as (H, W, 3) uint8."""
    from atrous.data.folder import open_folder

    return [read_image(pair.image).array for pair in open_folder(scenes()).splits["val"][:count]]


def plain_predict(net: nn.Module, mean: torch.Tensor, std: torch.Tensor, image: np.ndarray) -> np.ndarray:
    """What a user of the peer writes."""
    x = (torch.from_numpy(image).permute(2, 0, 1).float() - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    with torch.inference_mode():
        out = net(x[None])
    logits = out["out"] if isinstance(out, dict) else out
    return logits.argmax(1)[0].numpy().astype(np.uint8)


def predictors(name: str):
    """The peer's way and ours, both from an array to classes."""
    ours = atrous.Predictor.load(bundle(name), device="cpu")
    model = load_bundle(bundle(name)).model.eval()
    net = PEERS[name](model).eval()
    return (lambda image: plain_predict(net, model.mean, model.std, image)), (lambda image: ours(image).classes), ours


def prediction(name: str) -> tuple[list[Row], float]:
    """Median seconds of both, and the share of pixels that both decide alike."""
    peer, ours, _ = predictors(name)
    pictures = images()
    alike = float(np.mean([(peer(image) == ours(image)).mean() for image in pictures]))
    image = pictures[0]
    return compare(
        f"predict {name} {SIZE}x{SIZE}", {NAMES[name]: lambda: peer(image), "atrous": lambda: ours(image)}
    ), alike


def trainers(name: str, *, batch: int = 4, size: int = 256):
    """One step of the peer's plain loop, and one of ours: model, loss, gradients, optimiser."""
    model = load_bundle(bundle(name)).model.train()
    net = PEERS[name](model).train()
    generator = torch.Generator().manual_seed(0)
    image = 255 * torch.rand(batch, 3, size, size, generator=generator)
    mask = torch.randint(0, model.num_classes, (batch, size, size), generator=generator)
    peer_optimizer = torch.optim.SGD(net.parameters(), lr=1e-4, momentum=0.9)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    task = TASKS["segmentation"](model.num_classes)
    model.to(memory_format=torch.channels_last)
    low = choose_precision("auto", torch.device("cpu")) == torch.bfloat16

    def peer_step() -> None:
        x = (image - model.mean.view(1, 3, 1, 1)) / model.std.view(1, 3, 1, 1)
        out = net(x)
        if isinstance(out, dict):  # torchvision's reference weighs its auxiliary output by half; here both sides by 0.4
            loss = F.cross_entropy(out["out"], mask) + 0.4 * F.cross_entropy(out["aux"], mask)
        else:
            loss = F.cross_entropy(out, mask)
        peer_optimizer.zero_grad()
        loss.backward()
        peer_optimizer.step()

    def our_step() -> None:
        batch = {"image": image.contiguous(memory_format=torch.channels_last), "mask": mask, "grids": model.grids}
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            loss = torch.stack(list(task.losses(model(batch["image"]), batch).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return peer_step, our_step


def training(name: str) -> list[Row]:
    """Median seconds of both."""
    peer, ours = trainers(name)
    return compare(f"train step {name} 4x256x256", {NAMES[name]: peer, "atrous": ours}, rounds=5)


def memory(name: str, side: str, action: str) -> float:
    """Peak resident MB of one contender doing one thing in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.networks", "--probe", name, side, action]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    return float(json.loads(done.stdout.splitlines()[-1]))


def probe(name: str, side: str, action: str) -> None:
    """Do one thing once and print the peak resident MB."""
    index = ["peer", "atrous"].index(side)
    if action == "predict":
        predictors(name)[index](np.zeros((1024, 1024, 3), np.uint8) + images(1)[0][:1, :1])
    else:
        trainers(name)[index]()
    # Not `ru_maxrss`: a child inherits the high-water mark of the process that started it.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    print(json.dumps(int(status["VmHWM"].split()[0]) / 1024))


def main() -> None:
    """Both tables, with agreement and peak memory."""
    predicted, stepped, extra = [], [], {}
    for name in PEERS:
        rows, alike = prediction(name)
        predicted += rows
        extra[f"pixels decided alike, {name}"] = f"{100 * alike:.3f} %"
        stepped += training(name)
    for name in PEERS:
        for action, what in (("predict", "predicting 1024x1024"), ("train", "a training step")):
            peer, ours = memory(name, "peer", action), memory(name, "atrous", action)
            extra[f"peak memory, {name}, {what}"] = f"{NAMES[name]} {peer:.0f} MB, atrous {ours:.0f} MB"
    alike = {key: value for key, value in extra.items() if "predict" in key or "alike" in key}
    save("predict_cpu", "python -m benchmarks.networks", predicted, alike)
    save("train_step_cpu", "python -m benchmarks.networks", stepped, {k: v for k, v in extra.items() if k not in alike})


if __name__ == "__main__":
    if sys.argv[1:2] == ["--probe"]:
        probe(*sys.argv[2:])
    else:
        main()
