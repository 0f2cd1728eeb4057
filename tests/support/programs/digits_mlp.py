"""A two-layer network on scikit-learn's digits: any training loop, made a trial."""

import torch
from sklearn.datasets import load_digits
from torch import nn


def train(trial):
    images, labels = load_digits(return_X_y=True)
    images = torch.tensor(images, dtype=torch.float32, device=trial.device) / 16
    labels = torch.tensor(labels, device=trial.device)
    hidden, batch = trial.params["hidden"], trial.params["batch"]
    model = nn.Sequential(
        nn.Linear(64, hidden), nn.ReLU(), nn.Dropout(0.2), nn.Linear(hidden, 10)
    ).to(trial.device)
    optimizer = torch.optim.SGD(model.parameters(), lr=trial.params["lr"], momentum=0.9)

    if (state := trial.restore()) is not None:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])

    for epoch in range(trial.epoch + 1, trial.params["epochs"] + 1):
        model.train()
        for chosen in torch.randperm(1500, device=trial.device).split(batch):
            if trial.should_stop():
                return
            loss = nn.functional.cross_entropy(model(images[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            scores = model(images[1500:])
            error = nn.functional.cross_entropy(scores, labels[1500:])
        correct = (scores.argmax(1) == labels[1500:]).float().mean()
        trial.report(epoch, valid_loss=error, valid_accuracy=correct)
        trial.commit({"model": model.state_dict(), "optimizer": optimizer.state_dict()})
