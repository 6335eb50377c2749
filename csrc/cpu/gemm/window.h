// Operands of a convolution, gathered while they are packed: the windows of a channels-last input, and the weight
// [O,I,kt,kh,kw]. A window's elements are counted k = ((a·kh + b)·kw + c)·C + channel, so the kw·C elements of one (a,
// b) lie next to each other in the input.
#pragma once
#include "pack.h"

namespace vin::cpu::VIN_CPU_ISA {

// Window (t, h, w) starts at input (t·stride_t − pad_t, h·stride_s − pad_h, w·stride_s − pad_w); what it reads outside
// the input is 0.
struct Windows {
    const float* input;  // [frames, height, width, channels]
    int64_t frames, height, width, channels;
    int64_t kt, kh, kw;
    int64_t out_height, out_width;  // windows are numbered (t·out_height + h)·out_width + w
    int64_t stride_t, stride_s, pad_t, pad_h, pad_w;

    struct Place {
        int64_t t, h, w;  // first element of a window, in the input
    };
    Place place(int64_t window) const {
        const int64_t row = window / out_width;
        return {row / out_height * stride_t - pad_t, row % out_height * stride_s - pad_h,
                window % out_width * stride_s - pad_w};
    }
    // Elements from … to of a window's line (a, b), where they lie in the input; `zeros` holds a copy if some are
    // outside, null is returned if all are.
    const float* line(const Place& at, int64_t a, int64_t b, int64_t from, int64_t to, float* zeros) const {
        const int64_t t = at.t + a, h = at.h + b;
        if (t < 0 || t >= frames || h < 0 || h >= height) return nullptr;
        const float* const start = input + ((t * height + h) * width + at.w) * channels;
        const int64_t first = max(from, -at.w * channels), last = min(to, (width - at.w) * channels);
        if (first == from && last == to) return start + from;
        if (first >= last) return nullptr;
        memset(zeros, 0, (size_t)(to - from) * sizeof(float));
        memcpy(zeros + (first - from), start + first, (size_t)(last - first) * sizeof(float));
        return zeros;
    }
};

// Lines are windows, k runs over the elements of a window.
struct WindowsAlongK {
    Windows windows;
    template <int P>
    void pack(float* out, int64_t first, int64_t lines, int64_t k, int64_t depth) const {
        constexpr int64_t longest = 256;
        float zeros[P][longest];
        const int64_t run = windows.kw * windows.channels;
        for (; lines > 0; first += P, lines -= P) {
            const int n = (int)min(P, lines);
            Windows::Place at[P];
            for (int i = 0; i < n; i++) at[i] = windows.place(first + i);
            for (int64_t next = k, length; next < k + depth; next += length, out += length * P) {
                const int64_t tap = next / run, from = next % run;
                length = min(min(run - from, longest), k + depth - next);
                const float* line[P];
                for (int i = 0; i < n; i++)
                    line[i] = windows.line(at[i], tap / windows.kh, tap % windows.kh, from, from + length, zeros[i]);
                pack_lines<P>(out, line, n, length);
            }
        }
    }
};

// Lines are the elements of a window, k runs over windows.
struct WindowsAcrossK {
    Windows windows;
    template <int P>
    void pack(float* out, int64_t first, int64_t lines, int64_t k, int64_t depth) const {
        const int64_t run = windows.kw * windows.channels;
        for (; lines > 0; first += P, lines -= P, out += P * depth) {
            const int n = (int)min(P, lines);
            for (int done = 0, length; done < n; done += length) {
                const int64_t tap = (first + done) / run, from = (first + done) % run;
                length = (int)min((int64_t)n - done, run - from);
                for (int64_t i = 0; i < depth; i++) {
                    float zeros[P];
                    const float* line = windows.line(windows.place(k + i), tap / windows.kh, tap % windows.kh, from,
                                                     from + length, zeros);
                    float* const to = out + i * P + done;
                    if (!line)
                        memset(to, 0, (size_t)length * sizeof(float));
                    else if (length == P)
                        memcpy(to, line, P * sizeof(float));
                    else
                        for (int j = 0; j < length; j++) to[j] = line[j];
                }
            }
            if (n < P)
                for (int64_t i = 0; i < depth; i++)
                    for (int j = n; j < P; j++) out[i * P + j] = 0;
        }
    }
};

// One axis of the taps that a product uses: tap m of `count` is tap first + m · step of the weight.
struct Taps {
    int64_t count, first, step;
};

// The weight with k = ((a·kh + b)·kw + c)·channels + channel. For y a line is an output channel; for dx it is an input
// channel.
struct WeightLines {
    const float* weight;
    int64_t line_stride, channel_stride, channels;
    Taps t, h, w;
    int64_t kh, kw;  // of the whole weight
    template <int P>
    void pack(float* out, int64_t first, int64_t lines, int64_t k, int64_t depth) const {
        for (; lines > 0; first += P, lines -= P, out += P * depth) {
            const int n = (int)min(P, lines);
            for (int64_t i = 0; i < depth; i++) {
                const int64_t tap = (k + i) / channels, channel = (k + i) % channels;
                const int64_t a = t.first + tap / (h.count * w.count) * t.step,
                              b = h.first + tap / w.count % h.count * h.step, c = w.first + tap % w.count * w.step;
                const float* from = weight + first * line_stride + channel * channel_stride + (a * kh + b) * kw + c;
                for (int j = 0; j < P; j++) out[i * P + j] = j < n ? from[j * line_stride] : 0;
            }
        }
    }
};

}  // namespace vin::cpu::VIN_CPU_ISA
