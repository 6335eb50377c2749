"""The decoder of OpenSora VAE 1.2 (opensora.md §3), micro-batches of 16 frames and 5 latent frames (model.md §7)."""
import json
import os

import torch
import torch.nn.functional as F
from safetensors.torch import load_file


class Part:
    """Temporal (3D, causal in time, norms over all frames) or spatial (2D, norms over one frame)."""

    def __init__(self, w, prefix, temporal, groups, eps):
        self.temporal, self.groups, self.eps = temporal, groups, eps
        self.w = {name[len(prefix) :]: tensor for name, tensor in w.items() if name.startswith(prefix)}

    def norm(self, name, x):
        return F.group_norm(x, self.groups, self.w[name + ".weight"], self.w[name + ".bias"], self.eps)

    def conv(self, name, x):
        weight, bias = self.w[name + ".weight"], self.w.get(name + ".bias")
        k = weight.shape[-1] // 2
        if not self.temporal:
            return F.conv2d(x, weight, bias, padding=k)
        return F.conv3d(F.pad(x, (k, k, k, k, weight.shape[2] - 1, 0)), weight, bias)

    def residual(self, name, x):
        conv, shortcut = (".conv", ".conv3.conv") if self.temporal else ("", ".conv_shortcut")
        h = self.conv(name + ".conv1" + conv, F.silu(self.norm(name + ".norm1", x)))
        h = self.conv(name + ".conv2" + conv, F.silu(self.norm(name + ".norm2", h)))
        return h + (self.conv(name + shortcut, x) if name + shortcut + ".weight" in self.w else x)

    def attention(self, name, x):  # one head over the pixels of a frame
        rows = self.norm(name + ".group_norm", x).flatten(2).transpose(1, 2)
        q, k, v = (F.linear(rows, self.w[f"{name}.to_{p}.weight"], self.w[f"{name}.to_{p}.bias"])[:, None] for p in "qkv")
        y = F.linear(F.scaled_dot_product_attention(q, k, v)[:, 0], self.w[name + ".to_out.0.weight"], self.w[name + ".to_out.0.bias"])
        return x + y.transpose(1, 2).view_as(x)


def depth_to_time(x):  # out[c, 2t + s] = in[2c + s, t]
    B, C, T, H, W = x.shape
    return x.view(B, C // 2, 2, T, H, W).transpose(2, 3).reshape(B, C // 2, 2 * T, H, W)


def temporal_decode(p, config, z):
    c = config["temporal"]
    h = p.conv("decoder.conv1.conv", p.conv("post_quant_conv.conv", z))
    for j in range(c["num_res_blocks"]):
        h = p.residual(f"decoder.res_blocks.{j}", h)
    for i in reversed(range(len(c["channel_multipliers"]))):
        for j in range(c["num_res_blocks"]):
            h = p.residual(f"decoder.block_res_blocks.{i}.{j}", h)
        if i and c["temporal_downsample"][i - 1]:
            h = depth_to_time(p.conv(f"decoder.conv_blocks.{i - 1}.conv", h))
    return p.conv("decoder.conv_out.conv", F.silu(p.norm("decoder.norm1", h)))


def spatial_decode(p, config, x):
    h = p.residual("decoder.mid_block.resnets.0", p.conv("decoder.conv_in", p.conv("post_quant_conv", x)))
    h = p.residual("decoder.mid_block.resnets.1", p.attention("decoder.mid_block.attentions.0", h))
    for i in range(4):
        for j in range(config["layers_per_block"] + 1):
            h = p.residual(f"decoder.up_blocks.{i}.resnets.{j}", h)
        if i < 3:
            h = p.conv(f"decoder.up_blocks.{i}.upsamplers.0.conv", F.interpolate(h, scale_factor=2, mode="nearest"))
    return p.conv("decoder.conv_out", F.silu(p.norm("decoder.conv_norm_out", h)))


def decode(t, options):
    folder = options["folder"]
    with open(os.path.join(folder, "config.json")) as file:
        config = json.load(file)
    w = {name: tensor.float() for name, tensor in load_file(os.path.join(folder, "diffusion_pytorch_model.safetensors")).items()}
    temporal, spatial = Part(w, "temporal_vae.", True, config["norm_num_groups"], 1e-5), Part(w, "spatial_vae.module.", False, config["norm_num_groups"], 1e-6)
    # The weights' own values win over the config's.
    scale, shift = (w.get(name, torch.tensor(config[name])).view(1, 4, 1, 1, 1) for name in ("scale", "shift"))
    frames, latent_frames = config["micro_frame_size"], config["micro_latent_size"]
    latents = t["latents"]  # [4, N, h, w], whole micro-batches

    def forward():
        # All micro-batches at once: norms of the temporal part are per item of the batch.
        z = torch.stack(latents.split(latent_frames, 1)) * scale + shift
        x = temporal_decode(temporal, config, z)[:, :, -frames:] / config["scaling_factor"]
        pixels = spatial_decode(spatial, config, x.transpose(1, 2).flatten(0, 1))
        return {"pixels": pixels.transpose(0, 1)}

    return {"eager": torch.inference_mode()(forward)}


works = {"vae_decode": decode}
