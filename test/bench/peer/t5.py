"""The T5 v1.1 encoder (opensora.md §4.2)."""
import json
import math
import os

import torch
import torch.nn.functional as F
from safetensors.torch import load_file


def buckets(length, count, most):
    distance = torch.arange(length)[None] - torch.arange(length)[:, None]  # key − query
    half, far = count // 2, distance.abs()
    exact = half // 2
    logarithmic = exact + (torch.log(far.clamp(min=1).double() / exact) / math.log(most / exact) * (half - exact) + 1e-9).long()
    return (distance > 0) * half + torch.where(far < exact, far, logarithmic.clamp(max=half - 1))


def encode(t, options):
    folder = options["folder"]
    with open(os.path.join(folder, "config.json")) as file:
        c = json.load(file)
    w = {name: tensor.float() for name, tensor in load_file(os.path.join(folder, "model.safetensors")).items()}
    ids, heads, eps = t["ids"].long(), c["num_heads"], c["layer_norm_epsilon"]
    table = w["encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"]
    bias = table[buckets(len(ids), c["relative_attention_num_buckets"], c["relative_attention_max_distance"])].permute(2, 0, 1)

    def rms(name, x):
        return F.rms_norm(x, x.shape[-1:], w[name + ".weight"], eps)

    def forward():
        x = w["shared.weight"][ids]
        for i in range(c["num_layers"]):
            p = f"encoder.block.{i}.layer."
            n = rms(p + "0.layer_norm", x)
            q, k, v = (F.linear(n, w[f"{p}0.SelfAttention.{name}.weight"]).unflatten(-1, (heads, -1)).transpose(0, 1) for name in "qkv")
            a = F.scaled_dot_product_attention(q[None], k[None], v[None], bias[None], scale=1.0)[0]
            x = x + F.linear(a.transpose(0, 1).flatten(1), w[p + "0.SelfAttention.o.weight"])
            n, dense = rms(p + "1.layer_norm", x), p + "1.DenseReluDense."
            gated = F.gelu(F.linear(n, w[dense + "wi_0.weight"]), approximate="tanh") * F.linear(n, w[dense + "wi_1.weight"])
            x = x + F.linear(gated, w[dense + "wo.weight"])
        return {"embeds": rms("encoder.final_layer_norm", x)}

    return {"eager": torch.inference_mode()(forward)}


works = {"t5_encode": encode}
