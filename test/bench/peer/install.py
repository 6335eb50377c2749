#!/usr/bin/env python3
"""PyTorch for `npm run bench -- --peer` in a virtual environment of its own:   python3 test/bench/peer/install.py FOLDER

On Linux x86-64 PyPI has PyTorch as a CUDA build only, linked against libraries that come in gigabytes of further wheels. The CPU uses none of them, so
stubs take their place: for each CUDA library that torch's own libraries name and the loader cannot find, a shared library of that name which defines the
symbols torch imports, with their versions. Functions return 100, cudaErrorNoDevice, so that torch.cuda.is_available() is False. Needs gcc and binutils.
"""
import glob
import os
import platform
import re
import subprocess
import sys
import tempfile
import venv

TORCH = "torch==2.15.0"
# What torch imports without its CUDA wheels, and what the peer reads files with.
REST = ["filelock", "typing_extensions", "sympy", "networkx", "jinja2", "fsspec", "setuptools>=77.0.3", "numpy", "safetensors"]
CUDA_LIBRARY = re.compile(r"lib(cu[A-Za-z]+|nv[A-Za-z]+|nccl|cusparseLt|nvshmem_host|nvToolsExt)(-[a-z0-9]+)?\.so")
# Symbols without a version of their library's name belong to a library by prefix, the longer ones first.
PREFIXES = [
    ("cusparseLt", "libcusparseLt"), ("nccl", "libnccl"), ("cuFile", "libcufile"), ("nvshmem", "libnvshmem_host"), ("cublasLt", "libcublasLt"),
    ("cublas", "libcublas"), ("cudnn", "libcudnn"), ("cufft", "libcufft"), ("cusparse", "libcusparse"), ("cusolver", "libcusolver"), ("curand", "libcurand"),
    ("nvrtc", "libnvrtc"), ("nvJitLink", "libnvJitLink"), ("cupti", "libcupti"), ("__cuda", "libcudart"), ("cuda", "libcudart"), ("nvtx", "libnvToolsExt"),
    ("cu", "libcuda"),
]
MARK = b"vin-native stub"  # tells a stub from a real library
PROOF = """
import torch
x = torch.ones(8, 8)
assert (x @ x).sum() == 512 and not torch.cuda.is_available()
assert torch.compile(lambda x: (x * 2).sum())(x) == 128
print("PyTorch", torch.__version__, "works on the CPU")
"""


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def is_stub(path):
    with open(path, "rb") as file:
        return MARK in file.read()


def missing_libraries(own):
    """Names of the CUDA libraries that torch's own need and nobody has."""
    needed = {name for path in own for name in re.findall(r"\(NEEDED\).*\[(.+?)\]", output("readelf", "-d", path)) if CUDA_LIBRARY.match(name)}
    found = output("/sbin/ldconfig", "-p") if os.path.exists("/sbin/ldconfig") else ""
    return {name for name in needed if name not in found}


def imported_symbols(own):
    """Name → version of what torch's own libraries leave open."""
    wanted, defined = {}, set()
    for path in own:
        for line in output("nm", "-D", path).splitlines():
            *_, kind, symbol = line.split()
            name, _, version = symbol.partition("@")
            if kind == "U":
                wanted[name] = version.strip("@")
            elif kind not in "wv":
                defined.add(name)
    return {name: version for name, version in wanted.items() if name not in defined}


def owner(name, version, libraries):
    if version in libraries:
        return version
    if re.match(r"GLIBC|CXXABI|GCC|GOMP|OMP|GFORTRAN", version):
        return None
    prefix = next((library for start, library in PREFIXES if name.startswith(start)), None)
    return next((library for library in libraries if prefix and library.startswith(prefix + ".so")), None)


def write_stub(folder, library, symbols):
    lines = [f'__attribute__((used)) static const char text[] = "{MARK.decode()}: no device"; static long registration[64];']
    for name in sorted(symbols):
        if "String" in name:
            lines.append(f"const char* {name}(void) {{ return text; }}")
        elif name == "__cudaRegisterFatBinary":
            lines.append(f"void* {name}(void) {{ return registration; }}")
        else:
            lines.append(f"long {name}(void) {{ return 100; }}")
    versions = {}
    for name, version in symbols.items():
        versions.setdefault(version, []).append(name)
    script = "".join(f"{version} {{ global: {' '.join(name + ';' for name in sorted(names))} }};\n" for version, names in versions.items() if version)
    with tempfile.TemporaryDirectory() as scratch:
        source, exports = os.path.join(scratch, "stub.c"), os.path.join(scratch, "stub.map")
        for path, text in ((source, "\n".join(lines)), (exports, script)):
            with open(path, "w") as file:
                file.write(text)
        command = ["gcc", "-w", "-O1", "-shared", "-fPIC", "-nostdlib", source, "-o", os.path.join(folder, library), "-Wl,-soname," + library]
        subprocess.run(command + (["-Wl,--version-script," + exports] if script else []), check=True)


def write_stubs(site):
    if glob.glob("/dev/nvidia[0-9]*") or glob.glob(os.path.join(site, "nvidia", "*", "lib")):
        sys.exit("Expected a machine without a GPU and without CUDA wheels: here PyTorch works as PyPI has it (pip install torch numpy safetensors)")
    folder = os.path.join(site, "torch", "lib")
    own = [path for path in glob.glob(folder + "/*.so*") if not is_stub(path)]
    libraries = missing_libraries(own)
    symbols = {library: {} for library in libraries}
    for name, version in imported_symbols(own).items():
        library = owner(name, version, libraries)
        if library:
            symbols[library][name] = version
    for library in sorted(libraries):
        write_stub(folder, library, symbols[library])
    print(f"{len(libraries)} stub libraries, {sum(map(len, symbols.values()))} symbols")


def main(folder):
    venv.create(folder, with_pip=True)
    python = os.path.join(folder, "bin", "python")
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    cuda_build = (platform.system(), platform.machine()) == ("Linux", "x86_64")
    subprocess.run(install + REST, check=True)
    subprocess.run(install + (["--no-deps"] if cuda_build else []) + [TORCH], check=True)
    if cuda_build:
        write_stubs(output(python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])").strip())
    subprocess.run([python, "-c", PROOF], check=True)
    print(f"npm run bench -- --peer --python {python}")


if len(sys.argv) != 2:
    sys.exit(__doc__)
main(os.path.abspath(sys.argv[1]))
