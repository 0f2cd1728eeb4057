"""What a careful hand makes of an eager loop in an afternoon: nothing but settings and data moved.

The images lie on the device and are augmented there, a batch at a time; arithmetic is bfloat16 in
channels last; the optimiser is fused; nothing is read from the device before the epoch ends.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.loops.setting import Setting, as_torch_ships, half


class FairLoop:
    """Trains one network.

    Args:
        setting: The job.
        precision: "fp32" or "bf16".
    """

    networks = 1

    def __init__(self, setting: Setting, precision: str) -> None:
        self.setting, self.precision = setting, precision
        self.name = f"fair: data on the device, channels last, eager {precision}"
        self.data = setting.data()
        self.mean, self.std = (
            torch.tensor(values, device=setting.device).view(-1, 1, 1)
            for values in (self.data.about.mean, self.data.about.std)
        )
        self.network = setting.network().to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.SGD(
            self.network.parameters(),
            lr=0.1,
            momentum=setting.recipe.momentum,
            weight_decay=setting.recipe.weight_decay,
            fused=True,
        )

    def epoch(self, number: int, rate: float) -> float:
        """Trains on every image once; see `Loop`."""
        device, images = self.setting.device, self.data.train
        draws = torch.Generator(device).manual_seed(self.setting.seed * 100_003 + number)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.network.train()
        total = torch.zeros((), device=device)
        order = torch.randperm(len(images), generator=draws, device=device)
        with as_torch_ships(device):
            for chosen in order.split(self.setting.recipe.batch_size):
                pixels = self._augmented(images.pixels[chosen], draws)
                labels = images.labels[chosen]
                self.optimizer.zero_grad()
                with half(device, self.precision):
                    loss = functional.cross_entropy(self.network(pixels), labels)
                loss.backward()
                nn.utils.clip_grad_norm_(
                    self.network.parameters(), self.setting.recipe.grad_clip, foreach=True
                )
                self.optimizer.step()
                total += loss.detach() * len(labels)
        return float(total) / len(images)

    def _augmented(self, pixels: Tensor, draws: torch.Generator) -> Tensor:
        """Bytes [N, C, H, W] shifted, mirrored and normalised, each image by draws of its own."""
        about, device, number = self.data.about, pixels.device, len(pixels)
        padded = functional.pad(pixels, [about.padding] * 4)
        span = 2 * about.padding + 1
        shifts = torch.randint(span, (2, number, 1), generator=draws, device=device)
        rows, columns = shifts + torch.arange(about.size, device=device)  # [N, size] each
        image = torch.arange(number, device=device)[:, None, None]
        # Indices beside a slice come first: [N, size, size, C], which is channels last.
        cut = padded[image, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).float()
        if about.flip:
            mirrored = torch.rand(number, generator=draws, device=device) < 0.5
            cut = torch.where(mirrored[:, None, None, None], cut.flip(3), cut)
        cut = (cut / 255 - self.mean) / self.std
        return cut.contiguous(memory_format=torch.channels_last)
