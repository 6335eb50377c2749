// Sources of a product for convolutions: the windows of a channels-last input, and the weight [O, I, kt, kh, kw]. The
// numbers of a window are counted k = ((a·kh + b)·kw + c)·C + channel.
#pragma once
#include "product.cuh"

namespace vin {
namespace cuda {

// The taps first, first + step, … of an axis of the weight.
struct Taps {
    int count, first, step;
};

// Window (t, h, w) starts at input (t·stride_t − pad_t, h·stride_s − pad_h, w·stride_s − pad_w); what it reads outside
// the input is 0.
struct Windows {
    const float* input;  // [frames, height, width, channels]
    i64 frames, height, width;
    int channels, kt, kh, kw;
    i64 out_frames, out_height, out_width;  // windows are numbered (t·out_height + h)·out_width + w
    int stride_t, stride_s, pad_t, pad_h, pad_w;
};
// Lines are windows, k runs over the numbers of a window.
struct WindowsAlongK {
    Windows windows;
};
// Lines are the numbers of a window, k runs over the windows.
struct WindowsAcrossK {
    Windows windows;
};
// Lines are output channels, or with the strides the other way round input channels; k = tap · C + the other channel.
struct WeightAlongK {
    const float* weight;
    i64 lines, line_stride, channel_stride;
    int channels, kh, kw;
    Taps t, h, w;
};

#if VIN_DEVICE
struct WindowPlace {
    i64 t, h, w;  // the first number of a window, in the input
    bool there;
};
VIN_DEVICE_FUNCTION WindowPlace window_place(const Windows& of, i64 window) {
    const i64 row = window / of.out_width, t = row / of.out_height;
    return {t * of.stride_t - of.pad_t, (row - t * of.out_height) * of.stride_s - of.pad_h,
            (window - row * of.out_width) * of.stride_s - of.pad_w, t < of.out_frames};
}
// The channels of a window's pixel, or null outside the input.
VIN_DEVICE_FUNCTION const float* window_pixel(const Windows& of, const WindowPlace& place, int tap) {
    const int row = tap / of.kw;
    const i64 t = place.t + row / of.kh, h = place.h + row % of.kh, w = place.w + tap % of.kw;
    const bool inside = t >= 0 && t < of.frames && h >= 0 && h < of.height && w >= 0 && w < of.width;
    return place.there && inside ? of.input + ((t * of.height + h) * of.width + w) * of.channels : nullptr;
}
// Numbers k … k + 3 of a window; from `end` on there are none.
VIN_DEVICE_FUNCTION void fetch_window(const Windows& of, const WindowPlace& place, i64 k, i64 end, float (&out)[4]) {
    int tap = (int)k / of.channels, channel = (int)k - tap * of.channels;
    const float* pixel = k < end ? window_pixel(of, place, tap) : nullptr;
    if (channel + 4 <= of.channels) return fetch_four(pixel + channel, pixel ? end - k : 0, out);
    for (int i = 0; i < 4; i++) {
        out[i] = pixel ? pixel[channel] : 0.f;
        if (++channel < of.channels) continue;
        channel = 0;
        tap++;
        pixel = k + i + 1 < end ? window_pixel(of, place, tap) : nullptr;
    }
}

VIN_DEVICE_FUNCTION bool is_along_k(const WindowsAlongK&) { return true; }
VIN_DEVICE_FUNCTION WindowPlace line_of(const WindowsAlongK& a, i64 line) { return window_place(a.windows, line); }
VIN_DEVICE_FUNCTION void fetch(const WindowsAlongK& a, const WindowPlace& place, i64 k, i64 k_end, float (&out)[4]) {
    fetch_window(a.windows, place, k, k_end, out);
}

VIN_DEVICE_FUNCTION bool is_along_k(const WindowsAcrossK&) { return false; }
VIN_DEVICE_FUNCTION FourLines line_of(const WindowsAcrossK&, i64 line) { return {line}; }
VIN_DEVICE_FUNCTION void fetch(const WindowsAcrossK& a, const FourLines& lines, i64 k, i64 k_end, float (&out)[4]) {
    const Windows& of = a.windows;
    const i64 numbers = k < k_end ? (i64)of.kt * of.kh * of.kw * of.channels : 0;
    fetch_window(of, window_place(of, k), lines.first, numbers, out);
}

VIN_DEVICE_FUNCTION bool is_along_k(const WeightAlongK&) { return true; }
VIN_DEVICE_FUNCTION Line line_of(const WeightAlongK& a, i64 line) {
    return {line < a.lines ? a.weight + line * a.line_stride : nullptr};
}
VIN_DEVICE_FUNCTION void fetch(const WeightAlongK& a, const Line& line, i64 k, i64 k_end, float (&out)[4]) {
    int tap = (int)k / a.channels, channel = (int)k - tap * a.channels;
    for (int i = 0; i < 4; i++) {
        const int row = tap / a.w.count, at_t = a.t.first + row / a.h.count * a.t.step,
                  at_h = a.h.first + row % a.h.count * a.h.step, at_w = a.w.first + tap % a.w.count * a.w.step;
        out[i] = line.data && k + i < k_end ? line.data[channel * a.channel_stride + (at_t * a.kh + at_h) * a.kw + at_w]
                                            : 0.f;
        if (++channel < a.channels) continue;
        channel = 0;
        tap++;
    }
}
#endif

#if VIN_HOST
// Windows have fewer than 2³¹ numbers each, so that k is divided in 32 bits.
inline vin_status expect_window(const char* op, int64_t numbers, int32_t stride_t, int32_t stride_s) {
    if (stride_t < 1 || stride_s < 1)
        return fail(VIN_INVALID, "%s: expected strides of at least 1, found %d in time and %d in space", op,
                    (int)stride_t, (int)stride_s);
    if (numbers > 0x7fffffff)
        return fail(VIN_NOT_SUPPORTED, "%s: expected a window of fewer than 2^31 numbers, found %lld", op,
                    (long long)numbers);
    return VIN_OK;
}
#endif

}  // namespace cuda
}  // namespace vin
