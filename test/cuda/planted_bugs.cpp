// planted_bugs CASE: runs one kernel through the emulated driver and prints what the driver says: "ok" and results, or "error <number>: <report>".
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <vector>

#include "device.cuh"

using namespace vin::cuda;

// ---- kernels ----

// Sum of 256 numbers by halving: right, with 9 barriers.
VIN_KERNEL tree_sum(float* y, const float* x) {
    const auto part = shared_array<float>(0, 256);
    const int t = (int)threadIdx.x;
    part[t] = x[blockIdx.x * 256 + t];
    __syncthreads();
    for (int half = 128; half > 0; half /= 2) {
        if (t < half) part[t] += part[t + half];
        __syncthreads();
    }
    if (t == 0) y[blockIdx.x] = part[0];
}
VIN_EMULATED_KERNEL(tree_sum)

// Each thread writes where it stands in the grid.
VIN_KERNEL indices(unsigned* y) {
    const unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
    const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    y[block * blockDim.x * blockDim.y * blockDim.z + thread] += 1 + thread + 1000 * block;
}
VIN_EMULATED_KERNEL(indices)

// Half of the threads wait at another barrier.
VIN_KERNEL divergent_sites(float*) {
    if (threadIdx.x < 16)
        __syncthreads();
    else
        __syncthreads();
}
VIN_EMULATED_KERNEL(divergent_sites)

// The last thread leaves before the barrier.
VIN_KERNEL early_exit(float*) {
    if (threadIdx.x == 31) return;
    __syncthreads();
}
VIN_EMULATED_KERNEL(early_exit)

// One element past the array.
VIN_KERNEL past_the_end(float* y) {
    const auto part = shared_array<float>(0, 32);
    part[(int)threadIdx.x + 1] = 1;
    y[threadIdx.x] = part[(int)threadIdx.x];
}
VIN_EMULATED_KERNEL(past_the_end)

// The same through a plain pointer, which only the red zone sees.
VIN_KERNEL into_the_red_zone(float*) {
    float* part = shared_array<float>(0, 32).data;
    part[threadIdx.x + 1] = 1;
}
VIN_EMULATED_KERNEL(into_the_red_zone)

// An array of 64 numbers in a launch that asked for 32.
VIN_KERNEL more_than_asked(float*) { shared_array<float>(0, 64)[0] = 1; }
VIN_EMULATED_KERNEL(more_than_asked)

// Reads what nobody has written.
VIN_KERNEL not_written(float* y) { y[threadIdx.x] = shared_array<float>(0, 32)[(int)threadIdx.x]; }
VIN_EMULATED_KERNEL(not_written)

// Reads behind an allocation of one float, after a page.
VIN_KERNEL wild_read(float* y) { y[0] = y[16 + (int)threadIdx.x]; }
VIN_EMULATED_KERNEL(wild_read)

VIN_KERNEL one_more(float* y) { y[threadIdx.x] += 1; }
VIN_EMULATED_KERNEL(one_more)

// An int and what nobody has written beside it.
struct Padded {
    int terms;
    double factor[4];
};
VIN_KERNEL padded(Padded) {}

// ---- cases ----

static const Driver* driver;
static CudaStream stream;
static CudaModule module;

static int report(CudaResult result) {
    const char* text = "";
    driver->error_text(result, &text);
    printf("error %d: %s\n", result, text);
    return 0;
}
#define TRY(call) \
    if (const CudaResult result_ = (call)) return report(result_)

template <class... P>
static CudaResult queue(CudaStream on, const char* name, Grid grid, Grid block, unsigned shared, P... arguments) {
    CudaFunction function;
    if (const CudaResult result = driver->module_function(&function, module, name)) return result;
    void* parameters[] = {&arguments..., nullptr};
    return driver->launch(function, grid.x, grid.y, grid.z, block.x, block.y, block.z, shared, on, parameters, nullptr);
}

// What launch.h needs of backend.cpp: keeps the first bytes of the first parameter.
static unsigned first_parameter[2];
vin_status vin::cuda::launch_by_name(vin_stream*, const char*, Grid, Grid, unsigned, void** parameters) {
    memcpy(first_parameter, parameters[0], sizeof first_parameter);
    return VIN_OK;
}

template <class... P>
static CudaResult launch(const char* name, Grid grid, Grid block, unsigned shared, P... arguments) {
    if (const CudaResult result = queue(stream, name, grid, block, shared, arguments...)) return result;
    return driver->stream_synchronize(stream);
}

static CudaMemory memory(size_t bytes) {
    CudaMemory result = 0;
    driver->memory_alloc(&result, bytes);
    return result;
}

static int sum() {
    std::vector<float> x(3 * 256), y(3);
    for (size_t i = 0; i < x.size(); i++) x[i] = (float)(i % 97);
    const CudaMemory dx = memory(x.size() * 4), dy = memory(y.size() * 4);
    TRY(driver->copy_to_device(dx, x.data(), x.size() * 4, stream));
    TRY(launch("tree_sum", {3}, {256}, shared_bytes<float>(256), dy, dx));
    TRY(driver->copy_to_host(y.data(), dy, y.size() * 4, stream));
    for (size_t b = 0; b < y.size(); b++) {
        float expected = 0;
        for (size_t i = 0; i < 256; i++) expected += x[b * 256 + i];
        if (y[b] != expected) return printf("wrong sum %g, expected %g\n", y[b], expected), 0;
    }
    return printf("ok\n"), 0;
}

static int numbering() {
    const Grid grid = {2, 3, 2}, block = {4, 2, 3};
    const unsigned threads = 24, blocks = 12;
    std::vector<unsigned> y(threads * blocks);
    const CudaMemory dy = memory(y.size() * 4);
    TRY(driver->fill_bytes(dy, 0, y.size() * 4, stream));
    TRY(launch("indices", grid, block, 0, dy));
    TRY(driver->copy_to_host(y.data(), dy, y.size() * 4, stream));
    for (unsigned i = 0; i < y.size(); i++)
        if (y[i] != 1 + i % threads + 1000 * (i / threads)) return printf("wrong index at %u: %u\n", i, y[i]), 0;
    return printf("ok\n"), 0;
}

static int nan_fill() {
    float y[32];
    const CudaMemory dy = memory(sizeof y);
    TRY(launch("not_written", {1}, {32}, shared_bytes<float>(32), dy));
    TRY(driver->copy_to_host(y, dy, sizeof y, stream));
    for (float each : y)
        if (!isnan(each)) return printf("read %g\n", each), 0;
    return printf("ok\n"), 0;
}

static int plain(const char* name, Grid grid, Grid block, unsigned shared) {
    TRY(launch(name, grid, block, shared, memory(64 * 4)));
    return printf("ok\n"), 0;
}

static int plain_on(const char* name, CudaMemory y) {
    TRY(launch(name, {1}, {1}, 0, y));
    return printf("ok\n"), 0;
}

// A fault stays: the next call, correct by itself, fails too.
static int sticky() {
    if (launch("early_exit", {1}, {32}, 0, memory(4)) == CUDA_SUCCESS) return printf("no fault\n"), 0;
    return plain("indices", {1}, {1}, 0);
}

static int opt_in() {
    CudaFunction function;
    TRY(driver->module_function(&function, module, "tree_sum"));
    TRY(driver->function_set_attribute(function, CUDA_FUNCTION_MAX_DYNAMIC_SHARED, 100 * 1024));
    return sum();
}

static int double_free() {
    const CudaMemory m = memory(4);
    TRY(driver->memory_free(m));
    TRY(driver->memory_free(m));
    return printf("ok\n"), 0;
}

static int long_copy() {
    float host[17] = {};
    TRY(driver->copy_to_device(memory(64), host, sizeof host, stream));
    return printf("ok\n"), 0;
}

// The plug-in's own way to launch: beside the number 1 there is nothing that looks like the rest of an address.
static int padding() {
    std::vector<Padded> values(1);
    memset(static_cast<void*>(values.data()), 0x7f, sizeof(Padded));
    values[0].terms = 1;
    vin::cuda::launch({1}, {1}, 0, nullptr, VIN_KERNEL_OF(padded), values[0]);
    return printf("%u %u\n", first_parameter[0], first_parameter[1]), 0;
}

// ---- streams, events and what is in flight ----

static void* pinned(size_t bytes) {
    void* result = nullptr;
    driver->host_alloc(&result, bytes, 0);
    return result;
}

static CudaStream open_stream() {
    CudaStream result = nullptr;
    driver->stream_create(&result, 0);
    return result;
}

// Four streams add 1 to a number each after the one before, the last is waited for: 5 if every wait between them holds.
static int chain(bool dropped) {
    float* host = static_cast<float*>(pinned(2 * sizeof(float)));
    host[0] = 1;
    const CudaMemory y = memory(4);
    CudaEvent before;
    TRY(driver->event_create(&before, CUDA_EVENT_DISABLE_TIMING));
    TRY(driver->copy_to_device(y, host, 4, stream));
    TRY(driver->event_record(before, stream));
    for (int i = 0; i < 4; i++) {
        const CudaStream next = open_stream();
        if (!(dropped && i == 2)) TRY(driver->stream_wait_event(next, before, 0));
        TRY(queue(next, "one_more", {1}, {1}, 0, y));
        TRY(driver->event_create(&before, CUDA_EVENT_DISABLE_TIMING));
        TRY(driver->event_record(before, next));
    }
    const CudaStream last = open_stream();
    TRY(driver->stream_wait_event(last, before, 0));
    TRY(driver->copy_to_host(host + 1, y, 4, last));
    TRY(driver->stream_synchronize(last));
    TRY(driver->stream_synchronize(stream));
    return printf("%g\n", host[1]), 0;
}

static int host_write_in_flight() {
    float* host = static_cast<float*>(pinned(4));
    host[0] = 1;
    TRY(driver->copy_to_device(memory(4), host, 4, stream));
    host[0] = 2;
    TRY(driver->stream_synchronize(stream));
    return printf("ok\n"), 0;
}

// Before anybody waits there is nothing to read.
static int early_read() {
    float* host = static_cast<float*>(pinned(4));
    const CudaMemory y = memory(4);
    TRY(driver->fill_bytes(y, 0, 4, stream));
    host[0] = 1;
    TRY(driver->copy_to_host(host, y, 4, stream));
    const bool early = isnan(host[0]);
    TRY(driver->stream_synchronize(stream));
    return printf("%s, then %g\n", early ? "NaN" : "a number", host[0]), 0;
}

static int free_in_flight() {
    const CudaMemory y = memory(4);
    TRY(queue(stream, "one_more", {1}, {1}, 0, y));
    TRY(driver->memory_free(y));
    return printf("ok\n"), 0;
}

static int freed_read() {
    const CudaMemory y = memory(4);
    TRY(driver->memory_free(y));
    return plain_on("one_more", y);
}

static int full() {
    CudaMemory m;
    TRY(driver->memory_alloc(&m, 3 << 20));
    size_t free_bytes, total;
    TRY(driver->memory_info(&free_bytes, &total));
    printf("%zu of %zu free; ", free_bytes, total);
    TRY(driver->memory_alloc(&m, 2 << 20));
    return printf("ok\n"), 0;
}

// A fault stays with its device, and goes with the last user of its context.
static int two_devices() {
    CudaContext first, second;
    TRY(driver->context_retain(&first, 0));
    TRY(driver->context_retain(&second, 1));
    if (launch("early_exit", {1}, {32}, 0, memory(4)) == CUDA_SUCCESS) return printf("no fault\n"), 0;
    TRY(driver->context_set(second));
    CudaMemory m;
    TRY(driver->memory_alloc(&m, 4));
    printf("second works; ");
    driver->context_release(0);
    driver->context_release(0);
    TRY(driver->context_retain(&first, 0));
    TRY(driver->context_set(first));
    TRY(driver->memory_alloc(&m, 4));
    return printf("first works again\n"), 0;
}

int main(int, char** argv) {
    const Refusal* refusal;
    driver = open_driver(&refusal);
    if (!driver) return printf("no driver: %s\n", refusal->text), 0;
    CudaContext context;
    TRY(driver->context_retain(&context, 0));
    TRY(driver->context_set(context));
    TRY(driver->module_load(&module, driver->image_of(nullptr)));
    TRY(driver->stream_create(&stream, 0));
    const char* name = argv[1];
    const auto is = [&](const char* each) { return strcmp(name, each) == 0; };
    const unsigned shared = shared_bytes<float>(32);
    if (is("sum")) return sum();
    if (is("numbering")) return numbering();
    if (is("nan_fill")) return nan_fill();
    if (is("sticky")) return sticky();
    if (is("opt_in")) return opt_in();
    if (is("double_free")) return double_free();
    if (is("long_copy")) return long_copy();
    if (is("padding")) return padding();
    if (is("chain")) return chain(false);
    if (is("dropped_wait")) return chain(true);
    if (is("host_write_in_flight")) return host_write_in_flight();
    if (is("early_read")) return early_read();
    if (is("free_in_flight")) return free_in_flight();
    if (is("freed_read")) return freed_read();
    if (is("wild_read")) return plain_on("wild_read", memory(4));
    if (is("null")) return plain_on("one_more", 0);
    if (is("full")) return full();
    if (is("two_devices")) return two_devices();
    if (is("too_many_threads")) return plain("indices", {1}, {1025}, 0);
    if (is("flat_grid")) return plain("indices", {1, 65536}, {1}, 0);
    if (is("no_blocks")) return plain("indices", {0}, {32}, 0);
    if (is("unasked_shared")) return plain("not_written", {1}, {32}, 48 * 1024 + 16);
    if (is("unknown_kernel")) return plain("no_such_kernel", {1}, {32}, 0);
    return plain(name, {1}, {32}, shared);
}
