"""PyTorch beside the plug-in, in the same run: the ceilings of this device, then each op that has an equivalent, at the shapes of works.mjs. Jobs come as JSON in
VIN_GPU_JOB, records go to its file, as in job.mjs."""
import json
import math
import os
import sys
import time

job = json.loads(os.environ["VIN_GPU_JOB"])


def record(**row):
    with open(job["records"], "a") as file:
        file.write(json.dumps(row) + "\n")


try:
    import torch
    import torch.nn.functional as F
except ImportError as error:
    record(kind="absent", reason=f"{os.path.basename(sys.executable)} has no PyTorch: {error}")
    sys.exit()

device = torch.device("cpu" if job["rehearse"] else "cuda")
torch.backends.cuda.matmul.allow_tf32 = False
torch.backends.cudnn.allow_tf32 = False


def synchronize():
    if device.type == "cuda":
        torch.cuda.synchronize()


def seconds(call):
    """Median of rounds, each long enough for a clock."""
    def sample(times):
        synchronize()
        start = time.perf_counter()
        for _ in range(times):
            call()
        synchronize()
        return time.perf_counter() - start

    sample(1)
    once = max(sample(1), 1e-7)
    times = max(1, min(1000, round((0.001 if job["rehearse"] else 0.05) / once)))
    return sorted(sample(times) / times for _ in range(2 if job["rehearse"] else 5))[1 if job["rehearse"] else 2]


dtypes = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64, "int32": torch.int32, "uint8": torch.uint8}


def make(operand):
    shape, dtype = operand["shape"], dtypes[operand["dtype"]]
    if "below" in operand:
        return torch.randint(operand["below"], shape, device=device)
    if "value" in operand:
        return torch.full(shape, operand["value"], dtype=dtype, device=device)
    return torch.randn(shape, device=device).to(dtype)


def ceilings():
    n = (1 << 20) if job["rehearse"] else (1 << 30)
    a, b = torch.zeros(n, dtype=torch.uint8, device=device), torch.zeros(n, dtype=torch.uint8, device=device)
    yield "copy", f"PyTorch, {n} bytes copied on the device", 2 * n, lambda: b.copy_(a)
    n = 256 if job["rehearse"] else 8192
    for name, dtype in (("matmul fp32", torch.float32), ("matmul bf16", torch.bfloat16)):
        x, y = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
        yield name, f"PyTorch, {n} × {n} × {n}, TF32 off", 2 * n**3, lambda: x @ y


def gradients(forward, names):
    """A function of tensors to one of its own backward pass alone."""
    def make_call(t, s, out):
        inputs = [t[name].detach().requires_grad_() for name in names]
        y = forward(dict(t, **dict(zip(names, inputs))), s, out)
        dy = t["dy"] if "dy" in t else None
        return lambda: torch.autograd.grad(y, inputs, dy, retain_graph=True)

    return make_call


def rotate(x, rope):
    pairs = x.unflatten(-1, (-1, 2))
    cos, sin = rope.unflatten(-1, (-1, 2)).repeat_interleave(2, 0)[:, None].unbind(-1)
    a, b = pairs.unbind(-1)
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)


def to_first(x):
    return x.permute(3, 0, 1, 2)[None]


def norm(t, s, out):
    return torch.addcmul(t["shift"], F.layer_norm(t["x"], t["x"].shape[1:], eps=1e-6), 1 + t["scale"]) if "shift" in t else F.layer_norm(t["x"], t["x"].shape[1:]) * (1 + t["scale"])


def rms(t, s, out):
    return rotate(F.rms_norm(t["x"], t["x"].shape[-1:], t["weight"]), t["rope"])


def groups(t, s, out):
    return F.silu(F.group_norm(t["x"].transpose(1, 2), s["groups"], t["weight"], t["bias"]))


def adamw(t, s, out):
    w, m, v = (make(out[name]) for name in ("weight", "first_moment", "second_moment"))
    step = torch.ones((), device=device)
    options = dict(lr=s["learning_rate"], beta1=s["beta1"], beta2=s["beta2"], weight_decay=s["weight_decay"], eps=s["eps"], amsgrad=False, maximize=False)
    return lambda: torch._fused_adamw_([w], [t["gradient"]], [m], [v], [], [step], **options)


def frames(t):
    return t["weight"][None, :, None, None]


def moments(t):
    return t["moments"].chunk(2, -1)


# Per op a function of its tensors, scalars and outputs that computes once; where a backward pass is asked for, one that gives the call.
forward = {
    "linear": lambda t, s, out: F.linear(t["x"], t["weight"], t["bias"]),
    "conv3d": lambda t, s, out: F.conv3d(to_first(t["x"]), t["weight"], t["bias"], padding=1),
    "attention": lambda t, s, out: F.scaled_dot_product_attention(t["q"], t["k"], t["v"], attn_mask=t.get("bias")),
    "layer_norm_modulate": norm,
    "rms_norm_rope": rms,
    "group_norm": groups,
    "add": lambda t, s, out: t["a"] + t["b"],
    "multiply": lambda t, s, out: t["a"] * t["b"],
    "linear_combination": lambda t, s, out: s["fa"] * t["a"] + s["fb"] * t["b"] + s["fc"] * t["c"] + s["fd"] * t["d"],
    "gelu": lambda t, s, out: F.gelu(t["x"], approximate="tanh"),
    "gelu_backward": lambda t, s, out: torch.ops.aten.gelu_backward(t["dy"], t["x"], approximate="tanh"),
    "silu": lambda t, s, out: F.silu(t["x"]),
    "silu_backward": lambda t, s, out: torch.ops.aten.silu_backward(t["dy"], t["x"]),
    "copy": lambda t, s, out: t["x"].to(dtypes[out["y"]["dtype"]], copy=True),
    "fill": lambda t, s, out: torch.full(out["y"]["shape"], s["value"], dtype=torch.float32, device=device),
    "reduce_sum": lambda t, s, out: t["x"].sum(1, keepdim=True),
    "gated_residual": lambda t, s, out: torch.addcmul(t["residual"], t["gate"], t["x"]),
    "gated_residual_backward": lambda t, s, out: (t["gate"] * t["dy"], (t["dy"] * t["x"]).sum(0, keepdim=True)),
    "embedding": lambda t, s, out: F.embedding(t["ids"], t["table"]),
    "embedding_backward": lambda t, s, out: torch.ops.aten.embedding_dense_backward(t["dy"], t["ids"], out["dtable"]["shape"][0], -1, False),
    "upsample_nearest": lambda t, s, out: t["x"].repeat_interleave(2, 1).repeat_interleave(2, 2),
    "upsample_nearest_backward": lambda t, s, out: t["dy"].unflatten(1, (-1, 2)).unflatten(3, (-1, 2)).sum((2, 4)),
    "fusion_blend": lambda t, s, out: torch.lerp(t["earlier"], t["later"], (torch.arange(t["later"].shape[1], device=device) / t["later"].shape[1])[None, :, None, None]),
    "patchify": lambda t, s, out: t["x"].unflatten(2, (-1, 2)).unflatten(4, (-1, 2)).permute(1, 2, 4, 0, 3, 5).reshape(out["y"]["shape"]),
    "unpatchify": lambda t, s, out: t["x"].reshape(t["x"].shape[0], out["y"]["shape"][2] // 2, -1, out["y"]["shape"][0], 2, 2).permute(3, 0, 1, 4, 2, 5).reshape(out["y"]["shape"]),
    "randn": lambda t, s, out: torch.randn(out["y"]["shape"], device=device),
    "check_finite": lambda t, s, out: torch.isfinite(t["x"]).all(),
    "squared_error": lambda t, s, out: (frames(t) * (t["prediction"] - t["target"]) ** 2).sum(dtype=torch.float64),
    "squared_error_backward": lambda t, s, out: frames(t) * (t["prediction"] - t["target"]),
    "reconstruction_loss": lambda t, s, out: (t["weight"][:, None] * (0.5 * (e := t["prediction"] - t["target"]).abs() + 2 * e * e)).sum(dtype=torch.float64),
    "reconstruction_loss_backward": lambda t, s, out: t["weight"][:, None] * (0.5 * (e := t["prediction"] - t["target"]).sign() + 4 * e),
    "gaussian_sample": lambda t, s, out: moments(t)[0] + torch.exp(0.5 * moments(t)[1].clamp(-30, 20)) * t["noise"],
    "gaussian_kl": lambda t, s, out: 0.5 * (moments(t)[0] ** 2 + moments(t)[1].exp() - 1 - moments(t)[1]).sum(dtype=torch.float64),
    "sum_squares": lambda t, s, out: (t["x"] * t["x"]).sum(dtype=torch.float64),
    "clip_coefficient": lambda t, s, out: (s["max_norm"] / (t["sum_squares"].sqrt() + 1e-6)).clamp(max=1),
    "ema": lambda t, s, out: torch.lerp(t["weight"], t["weight"], 1 - s["decay"]),
    "to_pixels": lambda t, s, out: ((t["x"].clamp(-1, 1) + 1) * 127.5 + 0.5).to(torch.uint8),
    "sinusoid": lambda t, s, out: torch.cat(((a := t["x"][:, None] * torch.exp(torch.arange(out["y"]["shape"][1] // 2, device=device) * (-2 * math.log(10000) / out["y"]["shape"][1]))).cos(), a.sin()), -1),
    "rope_table": lambda t, s, out: torch.stack(((a := t["position"][:, None] * t["freqs"]).cos(), a.sin()), -1).flatten(-2),
}
calls = {
    "linear_backward": gradients(lambda t, s, out: F.linear(t["x"], t["weight"]), ("x", "weight")),
    "conv3d_backward": gradients(lambda t, s, out: F.conv3d(to_first(t["x"]), t["weight"], padding=1)[0].permute(1, 2, 3, 0), ("x", "weight")),
    "attention_backward": lambda t, s, out: gradients(forward["attention"], [name for name in ("q", "k", "v", "bias") if name in t])(t, s, out),
    "layer_norm_modulate_backward": gradients(norm, ("x", "scale")),
    "rms_norm_rope_backward": gradients(rms, ("x", "weight")),
    "group_norm_backward": gradients(lambda t, s, out: groups(t, s, out).transpose(1, 2), ("x", "weight", "bias")),
    "adamw": adamw,
}

if not job["done"]:
    record(kind="items", items=["ceilings", *(work["name"] for work in job["works"])])
for name, what, amount, call in [] if "ceilings" in job["done"] else ceilings():
    if name == "copy":
        record(kind="begin", item="ceilings")
        gpu = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
        record(kind="pytorch", version=torch.__version__, device=gpu)
    record(kind="ceiling", ceiling=name, what=what, rate=amount / seconds(call))
    if name == "matmul bf16":
        record(kind="item", item="ceilings", status="passed")

for work in job["works"]:
    name, op = work["name"], work["op"]
    if name in job["done"]:
        continue
    if op not in forward and op not in calls:
        record(kind="item", item=name, status="not run", reason="PyTorch has no op that computes this")
        continue
    record(kind="begin", item=name)
    try:
        tensors = {field: make(operand) for field, operand in work["in"].items()}
        if op in calls:
            call = calls[op](tensors, work["scalars"], work["out"])
        else:
            call = lambda: forward[op](tensors, work["scalars"], work["out"])
        with torch.inference_mode(op not in calls):
            record(kind="item", item=name, status="passed", seconds=seconds(call))
    except Exception as error:  # the report has it
        record(kind="item", item=name, status="failed", reason=f"{type(error).__name__}: {error}".split("\n")[0])
    tensors = call = None
    if device.type == "cuda":
        torch.cuda.empty_cache()
