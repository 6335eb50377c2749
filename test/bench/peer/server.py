"""Answers JSON lines on stdin with JSON lines on stdout. One work exists at a time, in one or more variants (eager, compiled), each a function without
arguments that returns its outputs by name:
    make {work, path, options}   inputs from a safetensors file       → names of the variants
    run {variant, times, threads}                                     → seconds
    outputs {variant, path}      one call, outputs to a safetensors file
    forget
"""
import json
import os
import sys
import time

# Answers keep the real stdout; whatever a library prints goes to stderr.
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

import torch
from safetensors.torch import load_file, save_file

import ops
import t5
import vae
import vin

makers = {**ops.works, **t5.works, **vae.works, **vin.works}
variants = {}


def hello():
    return torch.__version__


def make(work, path, options):
    forget()
    variants.update(makers[work](load_file(path), options))
    return list(variants)


def run(variant, times, threads):
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    call = variants[variant]
    start = time.perf_counter()
    for _ in range(times):
        call()
    return time.perf_counter() - start


def outputs(variant, path):
    save_file({name: tensor.detach().float().clone().contiguous() for name, tensor in variants[variant]().items()}, path)


def forget():
    variants.clear()
    torch.compiler.reset()


for line in sys.stdin:
    request = json.loads(line)
    call = {"hello": hello, "make": make, "run": run, "outputs": outputs, "forget": forget}[request.pop("call")]
    try:
        answer = {"value": call(**request)}
    except Exception as error:  # the bench reports it
        answer = {"error": f"{type(error).__name__}: {error}"}
    answers.write(json.dumps(answer) + "\n")
    answers.flush()
