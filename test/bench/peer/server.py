"""Answers JSON lines on stdin with JSON lines on stdout. A work has one or more variants (eager, compiled), each a function without arguments that returns
its outputs by name:
    make {work, path, options}      inputs from a safetensors file       → id of the work, names of its variants
    run {id, variant, times, threads}                                    → seconds
    outputs {id, variant, path}     one call, outputs to a safetensors file
    forget {id}
"""
import itertools
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
works = {}
ids = itertools.count()


def hello():
    return torch.__version__


def make(work, path, options):
    variants = makers[work](load_file(path), options)
    id = next(ids)
    works[id] = variants
    return {"id": id, "variants": list(variants)}


def run(id, variant, times, threads):
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    call = works[id][variant]
    start = time.perf_counter()
    for _ in range(times):
        call()
    return time.perf_counter() - start


def outputs(id, variant, path):
    save_file({name: tensor.detach().float().clone().contiguous() for name, tensor in works[id][variant]().items()}, path)


def forget(id):
    del works[id]
    if not works:
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
