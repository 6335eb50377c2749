"""Single ops as a PyTorch program writes them: F.linear with its epilogue as ops of their own, scaled_dot_product_attention, their autograd."""
import torch
import torch.nn.functional as F


def linear(t, options):
    def forward():
        y = F.linear(t["x"], t["weight"], t["bias"])
        if options["epilogue"] == "gelu":
            y = F.gelu(y, approximate="tanh")
        elif options["epilogue"] == "gate, residual":
            y = torch.addcmul(t["residual"], t["gate"], y)
        return {"y": y}

    return {"eager": torch.inference_mode()(forward)}


def linear_backward(t, options):
    inputs = [t[name].requires_grad_() for name in ("x", "weight", "bias")]
    y = F.linear(*inputs)
    return {"eager": lambda: dict(zip(("dx", "dweight", "dbias"), torch.autograd.grad(y, inputs, t["dy"], retain_graph=True)))}


def attention(t, options):
    return {"eager": torch.inference_mode()(lambda: {"y": F.scaled_dot_product_attention(t["q"], t["k"], t["v"])})}


def attention_training(t, options):
    inputs = [t[name].requires_grad_() for name in ("q", "k", "v")]

    def step():
        y = F.scaled_dot_product_attention(*inputs)
        return {"y": y, **dict(zip(("dq", "dk", "dv"), torch.autograd.grad(y, inputs, t["dy"])))}

    return {"eager": step}


works = {"linear": linear, "linear_backward": linear_backward, "attention": attention, "attention_training": attention_training}
