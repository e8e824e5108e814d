"""The LeNet in PyTorch, and its gradient's graph, made once and kept for many products."""
import torch
import torch.nn as nn
import torch.nn.functional as F


class LeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.c1, self.c2 = nn.Conv2d(1, 32, 5, padding=2), nn.Conv2d(32, 64, 5, padding=2)
        self.f1, self.f2 = nn.Linear(3136, 1024), nn.Linear(1024, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.c1(x)), 2)
        x = F.max_pool2d(F.relu(self.c2(x)), 2)
        return self.f2(F.relu(self.f1(x.flatten(1))))


def gradient_graph(net, x, y):
    """The gradient, one tensor a parameter, that can be differentiated."""
    return torch.autograd.grad(F.cross_entropy(net(x), y), list(net.parameters()), create_graph=True)


def product(net, gradient, vectors, keep=True):
    """The Hessian times one vector, in the gradient's own form; the graph is kept for the next unless told not to."""
    return torch.autograd.grad(gradient, list(net.parameters()), grad_outputs=vectors, retain_graph=keep)
