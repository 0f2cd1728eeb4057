"""A training loop as the field runs it today: images from worker processes, a kernel at a time.

It follows the shape of published loops for cell-based networks: transforms of one image at a time
in two loader processes, float32 in NCHW, and the loss and the accuracies read from the device in
every step. The code is our own.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from benchmarks.loops.setting import Setting, as_torch_ships
from benchmarks.loops.transforms import Augmented, transform_for


class ReferenceLoop:
    """Trains one network.

    Args:
        setting: The job.
        workers: Processes that load images; 0 loads them in this one.
    """

    networks = 1

    def __init__(self, setting: Setting, workers: int = 2) -> None:
        self.setting = setting
        cuda = setting.device.type == "cuda"
        data = setting.data(torch.device("cpu"))
        library, transform = transform_for(data.about)
        self.name = f"reference: {library} transforms, DataLoader, eager fp32"
        self.loader = DataLoader(
            Augmented(data.train, transform),
            batch_size=setting.recipe.batch_size,
            shuffle=True,
            generator=torch.Generator().manual_seed(setting.seed),
            num_workers=workers,
            pin_memory=cuda,
        )
        self.network = setting.network()
        self.criterion = nn.CrossEntropyLoss().to(setting.device)
        self.optimizer = torch.optim.SGD(
            self.network.parameters(),
            lr=0.1,
            momentum=setting.recipe.momentum,
            weight_decay=setting.recipe.weight_decay,
        )

    def epoch(self, number: int, rate: float) -> float:
        """Trains on every image once; see `Loop`."""
        del number  # the loader's own generator goes on
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.network.train()
        total = images = 0.0
        device = self.setting.device
        with as_torch_ships(device):
            for pixels, labels in self.loader:
                pixels = pixels.to(device, non_blocking=True)
                labels = labels.to(device, non_blocking=True)
                self.optimizer.zero_grad()
                logits = self.network(pixels)
                loss = self.criterion(logits, labels)
                loss.backward()
                nn.utils.clip_grad_norm_(self.network.parameters(), self.setting.recipe.grad_clip)
                self.optimizer.step()
                top_1, top_5 = _accuracies(logits, labels)
                total += loss.item() * len(labels)
                images += len(labels)
                # Published loops average these; that they are read is what takes time.
                del top_1, top_5
        return total / images


def _accuracies(logits: Tensor, labels: Tensor) -> tuple[float, float]:
    """Top-1 and top-5 accuracy of a batch, in percent."""
    _, predicted = logits.topk(min(5, logits.shape[1]), 1)
    hits = predicted.t().eq(labels.view(1, -1)).float()
    each = (hits[:k].reshape(-1).sum(0) * (100 / len(labels)) for k in (1, 5))
    top_1, top_5 = (accuracy.item() for accuracy in each)
    return top_1, top_5
