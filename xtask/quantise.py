"""Makes the int8 object model out of the fp32 one: QDQ form, activations u8, weights s8 per output channel in 7 bits.

Seven, because processors with AVX2 and without VNNI add two u8 x s8 products in a saturating 16-bit register: 2 x 255 x 64
fits, 2 x 255 x 127 does not, and AP falls from .3 to .03. What is done beyond rounding; docs/performance.md has what all of it
together is worth, and options leave single steps out for whoever wants to know of one:

1. Constants added after a residual sum go into the bias of the convolution before it: one quantised tensor less each.
2. Channels are scaled to fill the range that all channels of a tensor share; ReLU6 and sums of scaled channels allow that
   exactly (Nagel et al., arXiv 1906.04721, with the clip of ReLU6 taken as the range).
3. Ranges are those with the least squared error over the calibration pictures, not the extremes.
4. Weights are rounded one input after the other, the error carried over to those not yet rounded, by the second moments of
   the inputs (Frantar et al., arXiv 2210.17323).
5. Biases take up what is left of each channel's mean error, front to back.
6. Heads hand out floats only after layout: scores below .003 are clipped, since nobody reads them.

What the pictures do not show (a grid of anchors without any object) may not narrow the range of the scores: they are sure from
-6 to 6 at least, and channels have half as much room again as the pictures use. Without the first AP falls by a point.

usage: quantise.py FP32.onnx OUT.onnx PICTURE|FOLDER|CLIP... [--against FILE] and options to leave single steps out
"""

import argparse
import os
import sys
import tempfile

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # the same sums in the same order

import cv2
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

WEIGHT_LIMIT = 63  # 7 bits, symmetric
SIX = 6.0
ROOM = 1.5  # times the greatest value of a channel that was seen
SURE = 6.0  # logits of scores that every grid of anchors can say
DAMP = 0.01  # share of the mean second moment added to each, so that there is an inverse


def pictures(paths, frames):
    """BGR pictures: of files, of folders, and `frames` evenly spaced ones of a clip."""
    for path in paths:
        if os.path.isdir(path):
            yield from pictures([os.path.join(path, name) for name in sorted(os.listdir(path))], frames)
        elif path.endswith((".mjpeg", ".mp4", ".gif")):
            clip, held = cv2.VideoCapture(path), []
            while True:
                more, frame = clip.read()
                if not more:
                    break
                held.append(frame)
            for i in np.linspace(0, len(held) - 1, min(frames, len(held))).astype(int):
                yield held[i]
        elif path.endswith((".jpg", ".jpeg", ".png")):
            yield cv2.imread(path)


def crops(picture):
    """The picture, and what the pipeline would cut out of it: its squares at the left, right and middle."""
    high, wide = picture.shape[:2]
    side = min(high, wide)
    yield picture
    yield picture[:, ::-1]
    for part in (0.0, 0.5, 1.0):
        if high != wide or part == 0.0:
            top, left = int((high - side) * part), int((wide - side) * part)
            yield picture[top : top + side, left : left + side]
    half = side * 3 // 5
    yield picture[high // 2 - half // 2 :, wide // 2 - half // 2 :][:half, :half]


def tensor(picture):
    small = cv2.cvtColor(cv2.resize(picture, (300, 300), interpolation=cv2.INTER_LINEAR), cv2.COLOR_BGR2RGB)
    return np.ascontiguousarray((small.astype(np.float32) / 127.5 - 1).transpose(2, 0, 1)[None])


class Graph:
    """The model as plain lists, with every constant at hand."""

    def __init__(self, path):
        self.model = onnx.load(path)
        graph = self.model.graph
        self.constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        self.nodes = []
        for node in graph.node:
            if node.op_type == "Cast" and node.input[0] in self.constants:
                self.constants[node.output[0]] = self.constants.pop(node.input[0]).astype(np.float32)
            else:
                self.nodes.append(node)
        self.constants = {k: np.array(v) for k, v in self.constants.items()}
        for conv in self.convs():
            if len(conv.input) == 2:
                conv.input.append(conv.input[1] + "_bias")
                self.constants[conv.input[2]] = np.zeros(len(self.constants[conv.input[1]]), np.float32)
        self.fold_sums()

    def convs(self):
        return [n for n in self.nodes if n.op_type == "Conv"]

    def producer(self, name):
        return next((n for n in self.nodes if name in n.output), None)

    def users(self, name):
        return [n for n in self.nodes if name in n.input]

    def fold_sums(self):
        for node in list(self.nodes):
            if node.op_type == "Add" and node.input[0] in self.constants:
                inner = self.producer(node.input[1])
                conv = self.producer(inner.input[0])
                self.constants[conv.input[2]] = self.constants[conv.input[2]] + self.constants[node.input[0]].ravel()
                inner.output[0] = node.output[0]
                self.nodes.remove(node)

    def weight(self, conv):
        return self.constants[conv.input[1]]

    def groups(self, conv):
        return next((a.i for a in conv.attribute if a.name == "group"), 1)

    def clipped(self, conv):
        """The tensor after a convolution's ReLU6, or its own output; and whether there is a ReLU6."""
        users = self.users(conv.output[0])
        if len(users) == 1 and users[0].op_type == "Clip":
            return users[0].output[0], True
        return conv.output[0], False

    def save(self, path, nodes=None, constants=None, outputs=(), whole=True):
        """Writes `nodes` and whatever constants they use; the model hands out its own outputs (`whole`) or `outputs`."""
        nodes = self.nodes if nodes is None else nodes
        constants = self.constants if constants is None else constants
        used = {name for node in nodes for name in node.input}
        held = [numpy_helper.from_array(v, k) for k, v in sorted(constants.items()) if k in used]
        old = self.model.graph
        more = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
        graph = helper.make_graph(nodes, "ssdlite_int8", old.input, list(old.output) if whole else more, held)
        model = helper.make_model(graph, opset_imports=self.model.opset_import, ir_version=8, producer_name="porchlight")
        onnx.save(model, path)


def runner(graph, nodes, constants, names, folder):
    """A function from a picture's tensor to the tensors `names`, with no more of the graph than these need."""
    path = os.path.join(folder, "look.onnx")
    need, kept = set(names), []
    for node in reversed(graph.nodes if nodes is None else nodes):
        if need & set(node.output):
            need |= set(node.input)
            kept.insert(0, node)
    graph.save(path, kept, constants, names, whole=False)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda x: dict(zip(names, session.run(names, {"input": x})))


def equalise(graph, peaks, temper):
    """Scales channels towards filling what their tensor's channels share: not at all at `temper` 0, wholly at 1."""
    convs = graph.convs()

    def apply(makers, users, scale):
        for conv in makers:
            graph.constants[conv.input[1]] = graph.weight(conv) * scale.reshape(-1, 1, 1, 1)
            graph.constants[conv.input[2]] = graph.constants[conv.input[2]] * scale
        for conv in users:
            weight = graph.weight(conv)
            deep = graph.groups(conv) > 1
            graph.constants[conv.input[1]] = weight / (scale.reshape(-1, 1, 1, 1) if deep else scale.reshape(1, -1, 1, 1))

    done = set()
    for conv in convs:
        name, six = graph.clipped(conv)
        if name in done:
            continue
        users = graph.users(name)
        if six:
            if not all(u.op_type == "Conv" for u in users):
                continue
            # Scales of a depthwise convolution's inputs go into its own rows, which have scales of their own: no cost.
            free = all(graph.groups(u) > 1 for u in users)
            scale = SIX / np.clip(ROOM * peaks[name], SIX / 16, SIX)
            apply([conv], users, scale ** (1.0 if free else temper))
            continue
        # The tensors that sums tie together.
        tied, todo = set(), [name]
        while todo:
            one = todo.pop()
            if one in tied:
                continue
            tied.add(one)
            for add in [n for n in graph.nodes if n.op_type == "Add" and (one in n.input or one in n.output)]:
                todo += [*add.input, *add.output]
        done |= tied
        makers = [c for c in convs if c.output[0] in tied]
        users = [u for one in tied for u in graph.users(one) if u.op_type != "Add"]
        if not users or not all(u.op_type == "Conv" for u in users):
            continue
        peak = np.max([peaks[one] for one in tied], 0)
        scale = peak.max() / np.clip(peak, peak.max() / 32, None)
        apply(makers, users, scale**temper)


def best_range(histogram, low, high, fixed_low):
    """(low, high) of a u8 grid with the least squared error over a histogram between `low` and `high`."""
    edges = np.linspace(low, high, len(histogram) + 1)
    middle = (edges[1:] + edges[:-1]) / 2
    best = None
    shrinks = np.concatenate([np.arange(0.3, 0.9, 0.02), np.arange(0.9, 1.0001, 0.01)])
    for up in shrinks:
        for down in [1.0] if fixed_low else shrinks[::2]:
            lo, hi = min(low * down, 0.0), max(high * up, 0.0)
            step = (hi - lo) / 255 or 1e-6
            zero = np.round(-lo / step)
            back = (np.clip(np.round(middle / step) + zero, 0, 255) - zero) * step
            error = float((histogram * (back - middle) ** 2).sum())
            if best is None or error < best[0]:
                best = (error, lo, hi)
    return best[1], best[2]


def grid(low, high):
    """Scale and zero of a range, zero exactly on the grid."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = np.float32((high - low) / 255)
    return scale, np.uint8(np.clip(np.round(-low / scale), 0, 255))


def columns(x, weight, groups, strides, pads, most):
    """The inputs of a convolution as [groups, inputs of a group, places], at most `most` places."""
    kernel = weight.shape[2]
    if kernel > 1:
        x = np.pad(x, ((0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])))
    windows = np.lib.stride_tricks.sliding_window_view(x[0], (kernel, kernel), (1, 2))[:, :: strides[0], :: strides[1]]
    channels, high, wide = windows.shape[:3]
    every = max(1, int(np.ceil(np.sqrt(high * wide / most))))
    windows = windows[:, ::every, ::every]
    flat = windows.transpose(0, 3, 4, 1, 2).reshape(groups, -1, windows.shape[1] * windows.shape[2])
    return flat


def round_weights(weight, moment, groups, limit):
    """s8 weights and the scale of each output channel: GPTQ over the inputs of each group."""
    shape = weight.shape
    w = weight.reshape(groups, shape[0] // groups, -1).astype(np.float64)
    h = moment.copy()
    count = w.shape[2]
    at = np.arange(count)
    h[:, at, at] += (DAMP * h[:, at, at].mean(1) + 1e-9)[:, None]
    peak = np.abs(w).max(2)
    # The scale: the one with the least weighted error of plain rounding.
    diagonal = h[:, at, at][:, None, :]
    scale, least = peak / limit + 1e-12, np.full(peak.shape, np.inf)
    for shrink in np.arange(0.7, 1.001, 0.02):
        trial = peak * shrink / limit + 1e-12
        back = np.clip(np.round(w / trial[..., None]), -limit, limit) * trial[..., None]
        delta = back - w
        error = np.einsum("goi,gij,goj->go", delta, h, delta) if count <= 32 else (delta**2 * diagonal).sum(2)
        better = error < least
        least, scale = np.where(better, error, least), np.where(better, trial, scale)
    order = np.argsort(-h[:, at, at], 1)
    w = np.take_along_axis(w, order[:, None, :], 2)
    h = np.take_along_axis(np.take_along_axis(h, order[:, :, None], 1), order[:, None, :], 2)
    upper = np.linalg.cholesky(np.linalg.inv(h)).transpose(0, 2, 1)
    q = np.zeros_like(w)
    for i in range(count):
        q[:, :, i] = np.clip(np.round(w[:, :, i] / scale), -limit, limit)
        error = (w[:, :, i] - q[:, :, i] * scale) / upper[:, i, i][:, None]
        w[:, :, i + 1 :] -= error[:, :, None] * upper[:, i, i + 1 :][:, None, :]
    back = np.argsort(order, 1)
    q = np.take_along_axis(q, back[:, None, :], 2)
    return q.reshape(shape).astype(np.int8), scale.reshape(-1).astype(np.float32)


def attributes(conv):
    found = {a.name: helper.get_attribute_value(a) for a in conv.attribute}
    return list(found.get("strides", [1, 1])), list(found.get("pads", [0, 0, 0, 0]))


class Quantised:
    """The graph with its ranges, rounded weights and biases; writes itself in QDQ form."""

    def __init__(self, graph, ranges, keep):
        self.graph, self.ranges, self.keep = graph, ranges, keep
        self.weights, self.bias = {}, {}

    def nodes(self):
        """Nodes and constants in QDQ form."""
        graph, nodes, held = self.graph, [], dict(self.graph.constants)
        ready = {}

        def quantised(name):
            low, high = self.ranges[name]
            held[name + "_s"], held[name + "_z"] = grid(low, high)
            nodes.append(helper.make_node("QuantizeLinear", [name, name + "_s", name + "_z"], [name + "_q"], name=name + "_Q"))
            nodes.append(helper.make_node("DequantizeLinear", [name + "_q", name + "_s", name + "_z"], [name + "_d"], name=name + "_D"))
            ready[name] = name + "_d"

        def source(name):
            return ready.get(name, name)

        if "input" in self.ranges:
            quantised("input")
        gone = {}
        for node in graph.nodes:
            name = node.output[0]
            if node.op_type == "Conv" and name not in self.keep:
                weights, scale = self.weights[name]
                at = node.input[1]
                held[at + "_q"], held[at + "_s"], held[at + "_z"] = weights, scale, np.zeros(len(scale), np.int8)
                nodes.append(helper.make_node("DequantizeLinear", [at + "_q", at + "_s", at + "_z"], [at + "_d"], name=at + "_D", axis=0))
                low, high = self.ranges[node.input[0]]
                step = (grid(low, high)[0] * scale).astype(np.float32)
                b = node.input[2]
                held[b + "_q"] = np.clip(np.round(self.bias[name] / step.astype(np.float64)), -(2**31), 2**31 - 1).astype(np.int32)
                held[b + "_s"], held[b + "_z"] = step, np.zeros(len(step), np.int32)
                nodes.append(helper.make_node("DequantizeLinear", [b + "_q", b + "_s", b + "_z"], [b + "_d"], name=b + "_D", axis=0))
                new = helper.make_node("Conv", [source(node.input[0]), at + "_d", b + "_d"], [name], name=name + "_conv")
                new.attribute.extend(node.attribute)
                nodes.append(new)
                after, six = graph.clipped(node)
                if six:  # The grid from 0 to at most 6 clips by itself.
                    gone[after] = name
                    self.ranges[name] = self.ranges[after]
                    quantised(name)
                    ready[after] = ready[name]
                    continue
            elif node.op_type == "Clip" and name in gone:
                continue
            else:
                new = helper.make_node(node.op_type, [source(i) for i in node.input], list(node.output), name=name + "_" + node.op_type)
                new.attribute.extend(node.attribute)
                if node.op_type == "Conv":
                    held[node.input[2]] = self.bias[name].astype(np.float32)
                nodes.append(new)
            if name in self.ranges:
                quantised(name)
        return nodes, held


def main():
    p = argparse.ArgumentParser()
    p.add_argument("source")
    p.add_argument("dest")
    p.add_argument("pictures", nargs="+")
    p.add_argument("--frames", type=int, default=6, help="frames taken out of each clip")
    p.add_argument("--limit", type=int, default=WEIGHT_LIMIT, help="greatest weight; 127 is wrong on AVX2 without VNNI")
    p.add_argument("--keep", default="", help="convolutions to leave in fp32, by output, comma between")
    p.add_argument("--temper", type=float, default=0.25, help="how far channels are scaled: 0 not at all, 1 wholly")
    p.add_argument("--plain", action="store_true", help="round to the nearest")
    p.add_argument("--extremes", action="store_true", help="ranges as seen, not as is best")
    p.add_argument("--biases-as-they-are", action="store_true")
    p.add_argument("--against", help="a model made before: exit 1 when scores differ by more than .1 from it on any input")
    a = p.parse_args()
    graph = Graph(a.source)
    inputs = [tensor(c) for x in pictures(a.pictures, a.frames) for c in crops(x)]
    print(f"{len(inputs)} inputs")
    convs = graph.convs()
    keep = {k for k in a.keep.split(",") if k}
    if not keep <= {c.output[0] for c in convs}:
        sys.exit(f"quantise.py: --keep {a.keep}: wanted outputs of convolutions: {' '.join(c.output[0] for c in convs)}")
    scores = set()
    todo = ["score"]
    while todo:
        node = graph.producer(todo.pop())
        if node.op_type == "Conv":
            scores.add(node.output[0])
        else:
            todo += [i for i in node.input if graph.producer(i)]
    quantised = [t for c in convs for t in {graph.clipped(c)[0], *c.input[:1]}] + [n.output[0] for n in graph.nodes if n.op_type == "Add"]
    names = sorted(set(quantised) - {"input"})
    with tempfile.TemporaryDirectory() as folder:
        look = runner(graph, None, None, names, folder)
        peaks = {}
        for x in inputs:
            for name, value in look(x).items():
                top = np.abs(value[0]).max((1, 2))
                peaks[name] = np.maximum(peaks.get(name, 0), top)
        equalise(graph, peaks, a.temper)

        # Ranges.
        look = runner(graph, None, None, names, folder)
        ends, means = {}, {}
        for x in inputs:
            for name, value in look(x).items():
                low, high = ends.get(name, (0.0, 0.0))
                ends[name] = (min(low, float(value.min())), max(high, float(value.max())))
        histograms = {}
        for x in inputs:
            for name, value in look(x).items():
                histograms[name] = histograms.get(name, 0) + np.histogram(value.ravel()[:: 1 + value.size // 40000], 2048, ends[name])[0]
        ranges = {"input": (-1.0, 1.0)}
        for name in names:
            low, high = ends[name]
            if name in scores:
                ranges[name] = (-SURE, max(high, SURE))
            elif not a.extremes:
                ranges[name] = best_range(histograms[name], low, high, low >= 0)
            else:
                ranges[name] = (low, high)

        # Weights.
        moments = {}
        for x in inputs:
            seen = look(x) | {"input": x}
            for conv in convs:
                name = conv.input[0]
                value = seen[name]
                if name in ranges:
                    scale, zero = grid(*ranges[name])
                    value = (np.clip(np.round(value / scale) + float(zero), 0, 255) - float(zero)) * scale
                strides, pads = attributes(conv)
                c = columns(value, graph.weight(conv), graph.groups(conv), strides, pads, 400)
                moment = np.matmul(c, c.transpose(0, 2, 1)).astype(np.float64) / c.shape[2]
                moments[conv.output[0]] = moments.get(conv.output[0], 0) + moment
        model = Quantised(graph, ranges, keep)
        for conv in convs:
            name = conv.output[0]
            moment = moments[name]
            if a.plain:
                moment = np.eye(moment.shape[1])[None].repeat(len(moment), 0)
            model.weights[name] = round_weights(graph.weight(conv), moment, graph.groups(conv), a.limit)
            model.bias[name] = graph.constants[conv.input[2]].astype(np.float64).copy()

        # Biases, front to back: the mean of each channel of each convolution, where its ReLU6 lets it through.
        if not a.biases_as_they_are:
            every = inputs[:: max(1, len(inputs) // 16)]
            wanted = [graph.clipped(c)[0] for c in convs]
            want = {}
            look = runner(graph, None, None, sorted(set(wanted)), folder)
            for x in every:
                for name, value in look(x).items():
                    want[name] = want.get(name, 0) + value[0].mean((1, 2)) / len(every)
                    share = ((value[0] > 0) & (value[0] < SIX)).mean((1, 2))
                    want[name + "?"] = want.get(name + "?", 0) + share / len(every)
            for conv in convs:
                own = conv.output[0]
                if own in keep:
                    continue
                nodes, held = model.nodes()
                name, six = graph.clipped(conv)
                out = own + "_d" if six else own
                look = runner(graph, nodes, held, [out], folder)
                have = sum(look(x)[out][0].mean((1, 2)) for x in every) / len(every)
                error = want[name] - have
                if six:
                    open_ = want[name + "?"]
                    error = np.where(open_ > 0.02, error / np.maximum(open_, 0.25), 0.0)
                model.bias[own] += error
        nodes, held = model.nodes()
        graph.save(a.dest, nodes, held)
    onnx.checker.check_model(a.dest)
    print(a.dest, os.path.getsize(a.dest), "bytes")
    if a.against:
        with open(a.dest, "rb") as one, open(a.against, "rb") as other:
            if one.read() == other.read():
                print("the same bytes as", a.against)
                return
        # Another processor adds in another order, and a weight in the middle goes the other way.
        both = [onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]) for path in (a.dest, a.against)]
        worst = max(np.abs(np.subtract(*[s.run(["score"], {"input": x})[0] for s in both])).max() for x in inputs)
        print(f"other bytes than {a.against}; scores differ by at most {worst:.3f}")
        if worst > 0.1:
            sys.exit(1)


if __name__ == "__main__":
    main()
