// Fills the table of driver.h from NVIDIA's libcuda, found at run time so that the plug-in loads on machines without
// it.
#include "driver.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "images.h"

namespace vin {
namespace cuda {

static const void* image_of(const char* kernel) {
    const KernelImage* row = kernel_images;
    while (kernel && row->kernel && strcmp(row->kernel, kernel) != 0) row++;
    return row->image;
}

__attribute__((format(printf, 2, 3))) static Refusal refusal(vin_status status, const char* format, ...) {
    Refusal refusal = {status, ""};
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(refusal.text, sizeof refusal.text, format, arguments);
    va_end(arguments);
    return refusal;
}

// The kernel's part of the driver, which containers see too.
static bool machine_has_driver() { return access("/proc/driver/nvidia/version", F_OK) == 0; }

static Refusal find(void** library) {
    if ((*library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL))) return {VIN_OK, ""};
    // Of a library that is there dlerror says more than that there is no such file.
    const char* error = dlerror();
    if (error && !strstr(error, "No such file"))
        return refusal(VIN_NO_DRIVER, "Expected to load NVIDIA's driver but %s; install the driver again", error);
    // Windows puts the driver where a Linux of its own is told to look, but a container in it is not.
    static const char wsl[] = "/usr/lib/wsl/lib/libcuda.so.1";
    if ((*library = dlopen(wsl, RTLD_NOW | RTLD_LOCAL))) return {VIN_OK, ""};
    error = dlerror();
    if (access(wsl, F_OK) == 0)
        return refusal(
            VIN_NO_WSL_DRIVER,
            "Expected to load the driver that Windows lends but %s; add /usr/lib/wsl/lib to LD_LIBRARY_PATH, "
            "or run `wsl --update` in Windows",
            error ? error : "it does not load");
    if (access("/usr/lib/wsl", F_OK) == 0 || access("/dev/dxg", F_OK) == 0)
        return refusal(
            VIN_NO_WSL_DRIVER,
            "Expected %s, which Windows lends, but it is not there; install NVIDIA's driver in Windows (none "
            "in this Linux) and run `wsl --update`, or use device 'cpu'",
            wsl);
    if (machine_has_driver())
        return refusal(VIN_NO_ACCESS,
                       "Expected libcuda.so.1, since the machine has NVIDIA's driver, but it is not here; start the "
                       "container with --gpus all (NVIDIA Container Toolkit), or install the driver's libraries");
    return refusal(VIN_NO_DRIVER,
                   "Expected NVIDIA's driver but libcuda.so.1 was not found; install the driver, or use device 'cpu'");
}

static Refusal fill(Driver& driver) {
    void* library = nullptr;
    const Refusal missing = find(&library);
    if (missing.status != VIN_OK) return missing;
    const int toolkit = atoi(VIN_TOOLKIT_VERSION);
    // The first drivers of CUDA 12 and 13 (NVIDIA's table of compatibility).
    const int needed = toolkit >= 13 ? 580 : 525;
#define VIN_DRIVER_FILL(field, symbol, parameters) \
    driver.field = reinterpret_cast<decltype(driver.field)>(dlsym(library, symbol)); \
    if (!driver.field) \
        return refusal(VIN_DRIVER_TOO_OLD, \
                       "Expected " symbol " in libcuda.so.1 but this driver is too old; update it to %d or later", \
                       needed);
    VIN_DRIVER_TABLE(VIN_DRIVER_FILL)
#undef VIN_DRIVER_FILL
    int version = 0;
    if (driver.driver_version(&version) == CUDA_SUCCESS && version / 1000 < toolkit)
        return refusal(VIN_DRIVER_TOO_OLD,
                       "Expected a driver for CUDA %d but found one for CUDA %d.%d; update it to %d or later", toolkit,
                       version / 1000, version % 1000 / 10, needed);
    driver.image_of = image_of;
    driver.name = "cuda";
    driver.build = VIN_TOOLKIT_VERSION;
    return {VIN_OK, ""};
}

static Refusal start(const Driver& driver) {
    const CudaResult result = driver.init(0);
    if (result == CUDA_SUCCESS) return {VIN_OK, ""};
    const char* visible = getenv("CUDA_VISIBLE_DEVICES");
    if (result == CUDA_ERROR_NO_DEVICE && visible)
        return refusal(VIN_NO_DEVICE, "Expected a GPU but CUDA_VISIBLE_DEVICES=%.60s shows none; unset it", visible);
    if (result == CUDA_ERROR_NO_DEVICE && !machine_has_driver())
        return refusal(VIN_NO_DEVICE, "Expected a GPU but NVIDIA's driver finds none; use device 'cpu'");
    if (result == CUDA_ERROR_SYSTEM_DRIVER_MISMATCH)
        return refusal(VIN_NO_ACCESS,
                       "Expected one version of NVIDIA's driver but its library and its kernel module differ; restart "
                       "the machine after an update, and the container");
    return refusal(VIN_NO_ACCESS,
                   "Expected a GPU but NVIDIA's driver does not start here (cuInit gave %d); give the container its "
                   "devices (--gpus all), or this user access to /dev/nvidia*",
                   result);
}

const Driver* open_driver(const Refusal** refusal) {
    static Driver driver = {};
    static const Refusal found = fill(driver);
    *refusal = &found;
    return found.status == VIN_OK ? &driver : nullptr;
}

const Driver* start_driver(const Refusal** refusal) {
    const Driver* driver = open_driver(refusal);
    if (!driver) return nullptr;
    static const Refusal started = start(*driver);
    *refusal = &started;
    return started.status == VIN_OK ? driver : nullptr;
}

}  // namespace cuda
}  // namespace vin
