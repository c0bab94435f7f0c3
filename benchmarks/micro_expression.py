"""MOL's forward pass and training step beside the released network's way of computing, with the same weights.

    python benchmarks/micro_expression.py

The released code goes through the seven pairs one after the other, in each F5C block through 128 channels and four
neighbours, makes its circular convolutions by appending the map to itself, and its correlation one displacement after
the other. That way is written here anew, in the words of its description, and gives the same outputs; both run in turn
on the same clips, in one process on the given number of threads. The released way computes in float32 always; where a
row says bfloat16, only ours does.
"""

from __future__ import annotations

import argparse
import copy
import platform
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from torch import nn

from visagent.tools.micro_expression.f5c import F5C, ChannelCorrespondence, CircularBranch, CircularConvolution
from visagent.tools.micro_expression.flow_head import FlowHead
from visagent.tools.micro_expression.network import FRAMES, MOL, PAIRS, MOLOutput, with_changes


def circular(layer: CircularConvolution, x: torch.Tensor) -> torch.Tensor:
    """By appending the map, without its last line, to itself."""
    if layer.axis == "height":
        longer, kernel = torch.cat([x, x[:, :, :-1]], 2), layer.kernel[:, None, :, None]
    else:
        longer, kernel = torch.cat([x, x[:, :, :, :-1]], 3), layer.kernel[:, None, None, :]
    return nn.functional.conv2d(longer, kernel, layer.bias, groups=len(layer.bias))


def branch(layer: CircularBranch, x: torch.Tensor) -> torch.Tensor:
    """Two of them."""
    y = circular(layer.first, layer.norm(x + layer.first_place))
    return x + circular(layer.second, y + layer.second_place)


def correspondence(layer: ChannelCorrespondence, x: torch.Tensor) -> torch.Tensor:
    """Channel by channel, neighbour by neighbour."""
    features = x.flatten(2)
    unit = nn.functional.normalize(features, dim=1).transpose(1, 2)
    nearest = (unit @ unit.transpose(1, 2)).topk(layer.neighbours, 2).indices
    channels = []
    for channel in range(features.shape[1]):
        own = features[:, channel]
        edges = []
        for neighbour in range(layer.neighbours):
            difference = own.gather(1, nearest[:, :, neighbour]) - own
            edges.append(torch.relu(layer.own(own) + layer.difference(difference - own)))
        channels.append(torch.stack(edges).amax(0))
    return x + torch.stack(channels, 1).reshape(x.shape)


def block(layer: F5C, x: torch.Tensor) -> torch.Tensor:
    """An F5C block."""
    upper, lower = x.chunk(2, 1)
    y = torch.cat([branch(layer.convolution.height_first, upper), branch(layer.convolution.width_first, lower)], 1)
    return correspondence(layer.correspondence, y)


def correlation(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Displacement by displacement."""
    padded = nn.functional.pad(second, (20, 20, 20, 20))
    height, width = first.shape[2:]
    return torch.stack([(first * padded[:, :, dy:dy + height, dx:dx + width]).mean(1)
                        for dy in range(0, 41, 2) for dx in range(0, 41, 2)], 1)


def flow_of_pair(head: FlowHead, first: torch.Tensor, second: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    """The flow head, frame by frame."""
    fine, middle = head.conv1(first), head.conv2(head.conv1(first))
    here, there = head.conv3(middle), head.conv3(head.conv2(head.conv1(second)))
    alike = nn.functional.leaky_relu(correlation(here, there), 0.1)
    joined = head.conv3_1(torch.cat([head.redirect(here), alike, features], 1))
    at8 = head.conv4(joined)
    at4 = head.conv5(at8)
    up = head.up3(head.up4(head.up5(head.conv6(at4), at4), at8), joined)
    return head.predict(head.up0(head.up1(head.up2(up, middle), fine), first))


def released_way(network: MOL, clips: torch.Tensor) -> MOLOutput:
    """The whole network, pair by pair."""
    shown = with_changes(clips)
    slices, landmarks, flows = [], [], []
    for pair in range(FRAMES - 1):
        earlier = block(network.earlier, network.stack(shown[:, pair]))
        later = block(network.later, network.stack(shown[:, pair + 1]))
        slices += [earlier, later]
        landmarks.append(network.landmarks(later))
        flows.append(flow_of_pair(network.flow, clips[:, pair:pair + 1], clips[:, pair + 1:pair + 2],
                                  torch.cat([earlier, later], 1)))
    return MOLOutput(network.expression(torch.stack(slices, 4)), torch.stack(landmarks, 1), torch.stack(flows, 1))


def released_classes(network: MOL, clips: torch.Tensor) -> torch.Tensor:
    """The class alone."""
    shown = with_changes(clips)
    slices = []
    for pair in range(FRAMES - 1):
        slices += [block(network.earlier, network.stack(shown[:, pair])),
                   block(network.later, network.stack(shown[:, pair + 1]))]
    return network.expression(torch.stack(slices, 4))


def in_turn(rounds: int, *runs: Callable[[], object]) -> list[float]:
    """Median seconds of each, run in turn."""
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(rounds + 1):
        for number, run in enumerate(runs):
            begun = time.perf_counter()
            run()
            times[number].append(time.perf_counter() - begun)
    return [statistics.median(each[1:]) for each in times]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch", type=int, default=4, help="clips at once")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    network, ours = MOL(5, correspondence="released", dropout=0.0), MOL(5, dropout=0.0)
    clips = torch.randn(options.batch, FRAMES, 128, 128)
    released = copy.deepcopy(network)
    for parameter in released.parameters():  # as the released code keeps them
        parameter.data = parameter.data.contiguous()
    network.eval(), ours.eval(), released.eval()

    def half(asked: MOL, pairs: Sequence[int] = PAIRS) -> MOLOutput:
        """In bfloat16, as the recipe trains."""
        with torch.autocast("cpu", torch.bfloat16):
            return asked(clips, pairs=pairs)

    with torch.inference_mode():
        fast, slow = network(clips), released_way(released, clips)
        for one, other in ((fast.classes, slow.classes), (fast.landmarks, slow.landmarks), (fast.flow, slow.flow)):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)
        classes = in_turn(options.rounds, lambda: network(clips, classes_only=True), lambda: ours(
            clips, classes_only=True), lambda: released_classes(released, clips))
        forward = in_turn(options.rounds, lambda: network(clips), lambda: ours(clips),
                          lambda: released_way(released, clips))
        halves = in_turn(options.rounds, lambda: half(network), lambda: half(ours),
                         lambda: released_way(released, clips))
    network.train(), ours.train(), released.train()

    def step(run: Callable[[], MOLOutput], trained: MOL) -> None:
        output = run()
        loss = output.classes.logsumexp(1).mean()
        if output.landmarks is not None and output.flow is not None:
            loss = loss + output.landmarks.square().mean() + output.flow.square().mean()
        loss.backward()
        trained.zero_grad()

    training = in_turn(max(1, options.rounds // 2), lambda: step(lambda: network(clips), network),
                       lambda: step(lambda: ours(clips), ours),
                       lambda: step(lambda: released_way(released, clips), released))

    def half_steps(pairs: Sequence[int]) -> list[float]:
        return in_turn(max(1, options.rounds // 2), lambda: step(lambda: half(network, pairs), network),
                       lambda: step(lambda: half(ours, pairs), ours),
                       lambda: step(lambda: released_way(released, clips), released))

    half_training, recipe = half_steps(PAIRS), half_steps([1, 4])
    class_training = in_turn(max(1, options.rounds // 2),
                             lambda: step(lambda: network(clips, classes_only=True), network),
                             lambda: step(lambda: ours(clips, classes_only=True), ours),
                             lambda: step(lambda: MOLOutput(released_classes(released, clips)), released))
    print(f"{platform.processor() or platform.machine()}, {options.threads} threads, torch {torch.__version__}, "
          f"{options.batch} clips of 8 x 128 x 128\n")
    print("| seconds | released variant, vectorised | paper's variant | released way | times as fast |")
    print("|---|---|---|---|---|")
    measured = {"class only, forward": classes, "class only, training step": class_training,
                "all three heads, forward": forward, "the same in bfloat16": halves,
                "all three heads, training step": training, "the same step in bfloat16": half_training,
                "and with the flow of two pairs, as the recipe trains": recipe}
    for name, (vectorised, paper, loops) in measured.items():
        print(f"| {name} | {vectorised:.3f} | {paper:.3f} | {loops:.3f} | {loops / vectorised:.1f}x |")


if __name__ == "__main__":
    main()
