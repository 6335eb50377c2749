"""The transformer with its Video Interface Network (layout `full`) as a PyTorch program: one evaluation with guidance, and one training step.

Written for speed, as its user would: chunks of one length, guidance branches and videos share a batch; what does not depend on the latents is computed once
when the work is made. Shapes: B branches or videos, n chunks of a length, N latent frames, S tokens a frame, G global tokens, L caption rows, C width.
"""
import json
import math
import os

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn


def norm(x):
    return F.layer_norm(x, x.shape[-1:], eps=1e-6)


def modulate(x, scale, shift):
    return torch.addcmul(shift, norm(x), 1 + scale)


def gelu(x):
    return F.gelu(x, approximate="tanh")


def split(x, heads):  # [B, R, H·d] → [B, H, R, d]
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def merge(x):
    return x.transpose(1, 2).flatten(2)


def sinusoid(x, width=256):
    angles = x[:, None] * torch.exp(-math.log(10000) * torch.arange(width // 2) / (width // 2))
    return torch.cat([angles.cos(), angles.sin()], 1)


def rotate(x, cos, sin):  # adjacent pairs; cos and sin [R, d/2]
    a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([a * cos - b * sin, b * cos + a * sin], -1).flatten(-2)


def position_embedding(rows, columns, width, scale):
    base = round(math.sqrt(rows * columns))
    inverse = 10000.0 ** (-2 * torch.arange(width // 4, dtype=torch.float64) / (width // 2))

    def embed(count):  # [count, width/2]
        angles = (torch.arange(count, dtype=torch.float64) / scale * (base / count))[:, None] * inverse
        return torch.cat([angles.sin(), angles.cos()], 1)

    column, row = embed(columns), embed(rows)
    return torch.cat([column.expand(rows, -1, -1), row[:, None].expand(-1, columns, -1)], -1).reshape(rows * columns, width).float()


class Group:
    """Chunks that have the same number of frames and of context frames."""

    def __init__(self, chunks, frames, context, tokens, global_tokens, freqs):
        self.frames, self.context = frames, context
        self.numbers = [i for i, (first, start, end) in enumerate(chunks) if (end - first, start - first) == (frames, context)]
        self.firsts = [chunks[i][0] for i in self.numbers]
        # Rows: video tokens, turned by their frame, then global tokens, which are not.
        angles = (torch.arange(frames).float() - context)[:, None] * freqs
        angles = torch.cat([angles.repeat_interleave(tokens, 0), torch.zeros(global_tokens, freqs.numel())])
        self.cos, self.sin = angles.cos(), angles.sin()

    def of(self, x, axis):  # frames of each chunk, a new axis of n chunks in front of the frames
        return torch.stack([x.narrow(axis, first, self.frames) for first in self.firsts], axis)


class Vin(nn.Module):
    def __init__(self, folder, options):
        super().__init__()
        with open(os.path.join(folder, "config.json")) as file:
            self.config = json.load(file)
        for name, tensor in load_file(os.path.join(folder, "diffusion_pytorch_model.safetensors")).items():
            self.register_parameter(name.replace(".", "/"), nn.Parameter(tensor.float()))
        c, self.options = self.config, options
        self.heads, self.vin_heads = c["num_heads"], c["vin"]["num_heads"]
        N, H, W = options["latentFrames"], options["height"] // 8, options["width"] // 8
        self.rows, self.columns = H // 2, W // 2
        S, G = self.rows * self.columns, c["vin"]["num_global_tokens"]
        scale = math.sqrt(options["height"] * options["width"]) / c["input_sq_size"]
        self.position = position_embedding(self.rows, self.columns, c["hidden_size"], scale)
        self.time_code = sinusoid(torch.arange(N) * min(1, c["max_latent_frames"] / N))
        self.fps_code = sinusoid(torch.tensor([float(options["fps"])]))
        shapes = dict.fromkeys((end - first, start - first) for first, start, end in options["chunks"])
        freqs = self.w("rope.freqs").detach()
        self.groups = [Group(options["chunks"], frames, context, S, G, freqs) for frames, context in shapes]

    def w(self, name):
        return getattr(self, name.replace(".", "/"))

    def linear(self, name, x):
        return F.linear(x, self.w(name + ".weight"), self.w(name + ".bias"))

    def mlp(self, name, x, activation=gelu, parts=("fc1", "fc2")):
        return self.linear(f"{name}.{parts[1]}", activation(self.linear(f"{name}.{parts[0]}", x)))

    def rms(self, name, x):
        return F.rms_norm(x, x.shape[-1:], self.w(name + ".weight"), eps=1e-6)

    def embed(self, name, code):
        return self.mlp(name + ".mlp", code, F.silu, ("0", "2"))

    def tokens(self, latents):  # §3.2: [B, C, N, H, W] → [B, N, S, C]
        B, C, N, H, W = latents.shape
        patches = latents.view(B, C, N, self.rows, 2, self.columns, 2).permute(0, 2, 3, 5, 1, 4, 6).reshape(B, N, -1, 4 * C)
        tokens = F.linear(patches, self.w("x_embedder.proj.weight").flatten(1), self.w("x_embedder.proj.bias"))
        return tokens + self.position + self.linear("time_embedder", self.time_code)[:, None]

    def encode(self, keys):  # §3.3: [B, K, C] → [B, G, d]
        p, start = "vin.encoder", self.w("vin.global_tokens")
        q = split(self.linear(p + ".q_linear", norm(start))[None], self.vin_heads)
        k, v = (split(x, self.vin_heads) for x in self.linear(p + ".kv_linear", norm(keys)).chunk(2, -1))
        q, k = self.rms(p + ".q_norm", q).expand(len(keys), -1, -1, -1), self.rms(p + ".k_norm", k)
        z = start + self.linear(p + ".proj", merge(F.scaled_dot_product_attention(q, k, v)))
        return z + self.mlp(p + ".mlp", norm(z))

    def modulation(self, table, mod):  # [B, 6·C] → six [B, 1, C]
        return (self.w(table) + mod.unflatten(1, (6, -1))).unsqueeze(2).unbind(1)

    def process(self, z, text, t):  # §3.4
        y = torch.cat([z, self.linear("vin.text_proj", text)], 1)
        mod = self.linear("vin.t_block.1", F.silu(t))
        for b in range(self.config["vin"]["num_blocks"]):
            p = f"vin.blocks.{b}"
            shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = self.modulation(p + ".scale_shift_table", mod)
            q, k, v = (split(x, self.vin_heads) for x in self.linear(p + ".attn.qkv", modulate(y, scale_a, shift_a)).chunk(3, -1))
            a = F.scaled_dot_product_attention(self.rms(p + ".attn.q_norm", q), self.rms(p + ".attn.k_norm", k), v)
            y = torch.addcmul(y, gate_a, self.linear(p + ".attn.proj", merge(a)))
            y = torch.addcmul(y, gate_m, self.mlp(p + ".mlp", modulate(y, scale_m, shift_m)))
        return self.linear("vin.out_proj", norm(y[:, : z.shape[1]]))

    def block(self, p, h, mod, captions, group, n):  # §3.5: h [B·n, R, C]
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = (x.repeat_interleave(n, 0) for x in self.modulation(p + ".scale_shift_table", mod))
        q, k, v = (split(x, self.heads) for x in self.linear(p + ".attn.qkv", modulate(h, scale_a, shift_a)).chunk(3, -1))
        q, k = (rotate(self.rms(f"{p}.attn.{name}_norm", x), group.cos, group.sin) for name, x in (("q", q), ("k", k)))
        context = group.context * self.rows * self.columns
        if context and torch.is_grad_enabled():  # context keys and values carry no gradient
            k, v = (torch.cat([x[:, :, :context].detach(), x[:, :, context:]], 2) for x in (k, v))
        h = torch.addcmul(h, gate_a, self.linear(p + ".attn.proj", merge(F.scaled_dot_product_attention(q, k, v))))
        q = split(self.linear(p + ".cross_attn.q_linear", h), self.heads)
        k, v = (split(x, self.heads).repeat_interleave(n, 0) for x in self.linear(p + ".cross_attn.kv_linear", captions).chunk(2, -1))
        h = h + self.linear(p + ".cross_attn.proj", merge(F.scaled_dot_product_attention(q, k, v)))
        return torch.addcmul(h, gate_m, self.mlp(p + ".mlp", modulate(h, scale_m, shift_m)))

    def dit(self, tokens, z, t, mod, captions, group):  # predictions [B, n, 4, F, H, W]
        B, n, C = len(t), len(group.numbers), tokens.shape[-1]
        video = group.of(tokens, 1).flatten(2, 3).expand(B, -1, -1, -1)
        h = torch.cat([video, z[:, None].expand(-1, n, -1, -1)], 2).flatten(0, 1)
        for i in range(self.config["depth"]):
            h = self.block(f"blocks.{i}", h, mod, captions, group, n)
        shift, scale = (self.w("final_layer.scale_shift_table") + t[:, None]).unsqueeze(2).repeat_interleave(n, 0).unbind(1)
        u = self.linear("final_layer.linear", modulate(h[:, : video.shape[2]], scale, shift))
        u = u.view(B, n, group.frames, self.rows, self.columns, 2, 2, -1)
        return u.permute(0, 1, 7, 2, 3, 5, 4, 6).reshape(B, n, -1, group.frames, 2 * self.rows, 2 * self.columns)

    def predictions(self, latents, timesteps, text):  # per group
        t = self.embed("t_embedder", sinusoid(timesteps)) + self.embed("fps_embedder", self.fps_code)
        tokens = self.tokens(latents)
        z = self.process(self.encode(tokens[:, self.options["keyframes"]].flatten(1, 2)).expand(len(text), -1, -1), text, t)
        mod = self.linear("t_block.1", F.silu(t))
        captions = self.mlp("y_embedder.y_proj", text)
        return [self.dit(tokens, z, t, mod, captions, group) for group in self.groups]

    def denoise(self, latents, timestep, text):
        """latents [C, N, H, W]; branches: the text, then as many rows of y_embedding."""
        branches = torch.stack([text, self.w("y_embedder.y_embedding")[: len(text)]])
        chunks = self.options["chunks"]
        found = [None] * len(chunks)
        for group, predictions in zip(self.groups, self.predictions(latents[None], timestep.expand(2), branches)):
            for i, number in enumerate(group.numbers):
                found[number] = predictions[:, i]
        owned = []  # §3.6
        for i, (first, start, end) in enumerate(chunks):
            own = found[i][:, :, start - first :]
            overlap = chunks[i + 1][1] - chunks[i + 1][0] if i + 1 < len(chunks) else 0
            if overlap:
                k = torch.arange(overlap).view(-1, 1, 1)
                blend = ((overlap - k) * own[:, :, -overlap:] + k * found[i + 1][:, :, :overlap]) / overlap
                own = torch.cat([own[:, :, :-overlap], blend], 2)
            owned.append(own)
        conditional, unconditional = torch.cat(owned, 2)
        return torch.lerp(unconditional, conditional, self.options["guidanceScale"])

    def loss(self, latents, timesteps, text, target):
        """§4 of each video, [B]; context frames count like the others."""
        sums = 0
        for group, predictions in zip(self.groups, self.predictions(latents, timesteps, text)):
            wanted = group.of(target, 2).transpose(1, 2)
            sums = sums + (predictions - wanted).square().flatten(1).sum(1)
        return sums / target[0].numel()


def compiled(function, options):
    """{} where compiling is not asked for."""
    return {} if options["quick"] else {"compiled": torch.compile(function, dynamic=False)}


def denoise(t, options):
    model = Vin(options["folder"], options).eval().requires_grad_(False)
    torch._inductor.config.freezing = True  # weights become constants, packed for the matrix products

    def work(function):
        return torch.no_grad()(lambda: {"eps": function(t["latents"], t["timestep"], t["text"])})

    return {name: work(function) for name, function in {"eager": model.denoise, **compiled(model.denoise, options)}.items()}


def training_step(t, options):
    torch._inductor.config.freezing = False

    def work(compile_it):
        model = Vin(options["folder"], options)
        function = compiled(model.loss, options)["compiled"] if compile_it else model.loss
        named = {name.replace("/", "."): parameter for name, parameter in model.named_parameters()}
        for name, parameter in named.items():
            parameter.requires_grad_(name in options["trained"])
        trained = [named[name] for name in options["trained"]]
        averages = [parameter.detach().clone() for parameter in trained]
        optimizer = torch.optim.AdamW(trained, lr=options["learningRate"], betas=options["betas"], eps=1e-8, weight_decay=options["weightDecay"], fused=True)

        def step():
            optimizer.zero_grad(set_to_none=True)
            losses = function(t["latents"], t["timesteps"], t["text"], t["target"])
            losses.mean().backward()
            norm = torch.nn.utils.clip_grad_norm_(trained, options["maxGradNorm"])
            optimizer.step()
            with torch.no_grad():
                torch._foreach_lerp_(averages, trained, 1 - options["emaDecay"])
            return {"losses": losses, "norm": norm.view(1), **{name: named[name].grad for name in options["gradients"]}}

        return step

    return {"eager": work(False), **({} if options["quick"] else {"compiled": work(True)})}


works = {"denoise": denoise, "training_step": training_step}
