"""A training script as people have them, which knows nothing of hpo4dl: arguments, a checkpoint, a line an epoch.

hpo4dl run --float lr 1e-4 1 --log --int width 4 128 --log --max-epochs 9 --max-budget 40 --minimize -- \
    python examples/train.py --lr {lr} --width {width} --epochs {epoch} --checkpoint-dir {checkpoint_path}
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

parser = argparse.ArgumentParser()
parser.add_argument('--lr', type=float, default=0.1)
parser.add_argument('--width', type=int, default=32)
parser.add_argument('--epochs', type=int, default=9)
parser.add_argument('--checkpoint-dir', type=Path, default=Path('.'))
arguments = parser.parse_args()

inputs = torch.randn(600, 8, generator=torch.Generator().manual_seed(0))
targets = inputs.sin().prod(1, keepdim=True) + inputs.mean(1, keepdim=True)  # stands for your data
model = torch.nn.Sequential(torch.nn.Linear(8, arguments.width), torch.nn.ReLU(), torch.nn.Linear(arguments.width, 1))
optimizer = torch.optim.SGD(model.parameters(), arguments.lr, 0.9)
loss_of, first, checkpoint = torch.nn.functional.mse_loss, 1, arguments.checkpoint_dir / 'checkpoint.pt'
if checkpoint.exists():
    state = torch.load(checkpoint)
    model.load_state_dict(state['model'])
    optimizer.load_state_dict(state['optimizer'])
    first = state['epoch'] + 1
for epoch in range(first, arguments.epochs + 1):
    for batch in torch.randperm(400).split(50):
        optimizer.zero_grad()
        loss_of(model(inputs[batch]), targets[batch]).backward()
        optimizer.step()
    with torch.no_grad():
        print(f'epoch={epoch} loss={loss_of(model(inputs[400:]), targets[400:]).item():.5f}')
    torch.save({'model': model.state_dict(), 'optimizer': optimizer.state_dict(), 'epoch': epoch}, checkpoint)
