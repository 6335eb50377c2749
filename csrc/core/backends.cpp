#include "backends.h"

#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iterator>

#ifdef __GLIBC__
#include <link.h>
#endif

#include "cpu_backend.h"
#include "threads.h"

namespace vin {

std::vector<std::string> cpu_isas() {
    const char* names[8];
    const int n = vin_cpu_isas(names);
    return std::vector<std::string>(names, names + n);
}

static std::string choose_isa(const std::string& isa) {
    const std::vector<std::string> isas = cpu_isas();
    const std::string chosen = isa.empty() ? isas.back() : isa;
    if (std::find(isas.begin(), isas.end(), chosen) == isas.end()) {
        std::string list;
        for (const std::string& name : isas) list += (list.empty() ? "" : ", ") + name;
        throw Error("VIN_NOT_SUPPORTED",
                    "Expected one of the instruction sets " + list + " of this machine but received " + chosen,
                    {{"isa", chosen}});
    }
    return chosen;
}

double cpu_peak(const std::string& isa, int threads) {
    struct Work {
        std::string isa;
        int64_t rounds;
    } work = {choose_isa(isa), 1 << 12};
    Threads pool(threads);
    // More tasks than threads: one that is held up for a moment leaves its share to the others, as in an op.
    const int64_t tasks = 8 * threads;
    const double operations_of_a_round = vin_cpu_multiply_adds(work.isa.c_str(), 1);
    for (;; work.rounds *= 2) {
        const auto start = std::chrono::steady_clock::now();
        pool.parallel(
            tasks,
            [](void* given, int64_t) {
                vin_cpu_multiply_adds(static_cast<Work*>(given)->isa.c_str(), static_cast<Work*>(given)->rounds);
            },
            &work);
        const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        if (seconds > 0.01) return operations_of_a_round * static_cast<double>(work.rounds * tasks) / seconds;
    }
}

Error refusal(const vin_backend& backend, vin_status status, const std::string& path) {
    const char* text = backend.last_error ? backend.last_error() : "";
    const char* reason = status == VIN_NO_DRIVER        ? "driver_missing"
                         : status == VIN_DRIVER_TOO_OLD ? "driver_too_old"
                         : status == VIN_NO_CODE        ? "no_code_for_device"
                         : status == VIN_NO_DEVICE      ? "no_device"
                         : status == VIN_NO_ACCESS      ? "no_access"
                         : status == VIN_NO_WSL_DRIVER  ? "wsl_driver"
                                                        : "device_failed";
    std::string sentence = text && *text ? text : "it gives no reason";
    // What a driver says of a call that failed is no sentence yet.
    if (sentence.compare(0, 9, "Expected ") != 0)
        sentence =
            "Expected the device of " + path + " to open but " + sentence +
            (status == VIN_OUT_OF_MEMORY ? "; end other programs that use it"
                                         : "; end other programs that use it, update its driver, or use device 'cpu'");
    // A full device is no reason to do without it silently.
    return Error(status == VIN_OUT_OF_MEMORY ? "VIN_OUT_OF_MEMORY" : "VIN_BACKEND_UNAVAILABLE", sentence,
                 {{"file", path}, {"reason", reason}});
}

std::vector<std::string> find_library(const std::string& name) {
    std::vector<std::string> found;
#ifdef __GLIBC__
    const std::string end = "/" + name;
    const auto take = [&](const std::string& path) {
        if (access(path.c_str(), F_OK) == 0 && std::find(found.begin(), found.end(), path) == found.end())
            found.push_back(path);
    };
    struct Loaded {
        const std::string& end;
        std::vector<std::string>& found;
    } loaded = {end, found};
    dl_iterate_phdr(
        [](dl_phdr_info* info, size_t, void* given) {
            const Loaded& loaded = *static_cast<Loaded*>(given);
            const std::string path = info->dlpi_name;
            if (path.size() >= loaded.end.size() &&
                path.compare(path.size() - loaded.end.size(), std::string::npos, loaded.end) == 0)
                loaded.found.push_back(path);
            return 0;
        },
        &loaded);
    Dl_serinfo size = {};
    void* program = dlopen(nullptr, RTLD_NOW);
    if (program && dlinfo(program, RTLD_DI_SERINFOSIZE, &size) == 0) {
        std::vector<Dl_serinfo> room(size.dls_size / sizeof(Dl_serinfo) + 1);
        Dl_serinfo* folders = room.data();
        if (dlinfo(program, RTLD_DI_SERINFOSIZE, folders) == 0 && dlinfo(program, RTLD_DI_SERINFO, folders) == 0)
            for (unsigned i = 0; i < folders->dls_cnt; i++) take(folders->dls_serpath[i].dls_name + end);
    }
    // What ldconfig has found elsewhere: text between zeros.
    std::ifstream file("/etc/ld.so.cache", std::ios::binary);
    const std::string cache((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    const std::string text = end + '\0';
    for (size_t at = cache.find(text); at != std::string::npos; at = cache.find(text, at + 1)) {
        const size_t zero = cache.rfind('\0', at);
        const size_t start = zero == std::string::npos ? 0 : zero + 1;
        take(cache.substr(start, at - start) + end);
    }
#endif
    return found;
}

vin_backend open_plugin(const vin_host& host, const std::string& path) {
    // Plug-ins are never closed: an exiting thread may still be in their code.
    void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        const std::string why = dlerror();
        const bool symbol = why.find("undefined symbol") != std::string::npos;
        throw Error("VIN_BACKEND_UNAVAILABLE",
                    "Expected to load the backend " + path + " but " + why +
                        (symbol ? "; it was built for other libraries than this system's: install one for these"
                                : "; install the plug-ins of this vin-native again"),
                    {{"file", path}, {"reason", symbol ? "symbol" : "dlopen"}});
    }
    auto entry =
        reinterpret_cast<vin_status (*)(uint32_t, const vin_host*, vin_backend*)>(dlsym(library, "vin_backend_entry"));
    if (!entry)
        throw Error(
            "VIN_BACKEND_UNAVAILABLE",
            "Expected the symbol vin_backend_entry in " + path +
                " but it has none: it is no plug-in of vin-native; install the plug-ins of this vin-native again",
            {{"file", path}, {"reason", "symbol"}});
    vin_backend backend = {};
    static const vin_host kept_host =
        host;  // plug-ins keep the pointer; all engines of a process share these functions
    const vin_status status = entry(VIN_ABI, &kept_host, &backend);
    if (backend.abi != VIN_ABI || backend.size != sizeof(vin_backend))
        throw Error("VIN_BACKEND_UNAVAILABLE",
                    "Expected a backend of ABI " + std::to_string(VIN_ABI) + " and size " +
                        std::to_string(sizeof(vin_backend)) + " in " + path + " but found ABI " +
                        std::to_string(backend.abi) + " and size " + std::to_string(backend.size) +
                        "; install one of this version",
                    {{"file", path}, {"reason", "abi"}});
    if (status != VIN_OK) throw refusal(backend, status, path);
    return backend;
}

int32_t ordinal_of(const std::string& device) {
    const size_t colon = device.rfind(':');
    return colon == std::string::npos ? 0 : static_cast<int32_t>(std::strtol(device.c_str() + colon + 1, nullptr, 10));
}

vin_backend open_backend(const vin_host& host, const std::string& device, const std::string& isa,
                         const std::string& plugin_path) {
    if (device != "cpu") {
        if (plugin_path.empty())
            throw Error("VIN_NOT_SUPPORTED",
                        "Expected a backend file for the device " + device + " but none was given");
        return open_plugin(host, plugin_path);
    }
    const std::string chosen = choose_isa(isa);
    vin_backend backend = {};
    static const vin_host kept_host = host;
    vin_cpu_backend(&kept_host, chosen.c_str(), &backend);  // which has every ISA that it names
    return backend;
}

}  // namespace vin
