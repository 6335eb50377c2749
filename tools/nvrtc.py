"""Compiles CUDA sources with NVRTC: python3 nvrtc.py LIBNVRTC, tasks as JSON lines on stdin, an answer a line.

task   {"source": path, "architecture": "sm_80", "options": [...], "output": path}
answer {"status": 0, "log": text}; the cubin is written when the status is 0
"""
import ctypes
import json
import sys


def main():
    nvrtc = ctypes.CDLL(sys.argv[1])
    nvrtc.nvrtcGetErrorString.restype = ctypes.c_char_p

    def text_of(program, size_of, read):
        size = ctypes.c_size_t()
        size_of(program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        read(program, buffer)
        return buffer.raw

    for line in sys.stdin:
        task = json.loads(line)
        program = ctypes.c_void_p()
        with open(task["source"], "rb") as source:
            status = nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.read(), task["source"].encode(), 0, None, None)
        options = [f"--gpu-architecture={task['architecture']}", *task["options"]]
        if status == 0:
            status = nvrtc.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*[option.encode() for option in options]))
        log = text_of(program, nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog).rstrip(b"\0").decode()
        if status == 0:
            with open(task["output"], "wb") as output:
                output.write(text_of(program, nvrtc.nvrtcGetCUBINSize, nvrtc.nvrtcGetCUBIN))
        else:
            log = f"{nvrtc.nvrtcGetErrorString(status).decode()}\n{log}"
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
        print(json.dumps({"status": status, "log": log}), flush=True)


main()
