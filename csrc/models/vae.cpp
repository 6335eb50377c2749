#include "vae.h"

#include <algorithm>
#include <cmath>

namespace vin {

// Frames that go through the 2D VAE at once: about 2^17 pixels, so that small frames fill all threads and large ones
// keep memory low. It follows from the frame size alone: memory does not grow with the length of a video.
static int64_t frames_at_once(int64_t height, int64_t width) {
    return std::clamp<int64_t>((int64_t{1} << 17) / (height * width), 1, 16);
}

static Tensor channels_last(const Tensor& x) { return x.permute({1, 2, 3, 0}); }  // [C,T,H,W] → [T,H,W,C]

static Tensor times(Ops& ops, const Tensor& x, double factor) {
    return multiply(ops, x, constant(ops, std::vector<float>{static_cast<float>(factor)}, {1, 1, 1, 1}));
}

static void expect_shape(const char* name, const Tensor& x, const Shape& shape) {
    expect(x.shape() == shape, "Expected ", name, " of shape ", shape, " but found ", x.shape());
}

Vae::Vae(VaeConfig config_, Weights weights_) : config(std::move(config_)), weights(std::move(weights_)) {
    WeightList list(&weights);
    list_vae_weights(list, config, *this);
}

// ---- what both halves are made of ----

// Statistics of a group norm: over a whole micro-batch (temporal VAE) or frame by frame (2D VAE).
struct Norms {
    int groups;
    float eps;
    bool across_frames;

    Tensor operator()(Ops& ops, const Layer& norm, const Tensor& x, bool silu) const {
        const int64_t batch = across_frames ? 1 : x.size(0);
        const Tensor whole = x.reshape({batch, x.numel() / x.size(3) / batch, x.size(3)});
        return group_norm(ops, whole, norm.weight, norm.bias, groups, silu, eps).reshape(x.shape());
    }
};
static Norms spatial_norms(const VaeConfig& c) { return {static_cast<int>(c.norm_num_groups), 1e-6f, false}; }
static Norms temporal_norms(const VaeConfig& c) { return {static_cast<int>(c.norm_num_groups), 1e-5f, true}; }

// Keeps the size; causal in time: zeros in front only.
static Tensor convolution(Ops& ops, const Layer& layer, const Tensor& x, const Tensor& residual = {}) {
    const int pad_t = layer.weight.rank() == 5 ? static_cast<int>(layer.weight.size(2)) - 1 : 0;
    return conv3d(ops, x, layer.weight, layer.bias,
                  Convolution{1, 1, pad_t, static_cast<int>(layer.weight.size(-1)) / 2}, residual);
}

static Tensor pointwise(Ops& ops, const Layer& layer, const Tensor& x, const Tensor& residual = {}) {
    return linear(ops, x, layer.weight, layer.bias, {VIN_ACTIVATION_NONE, {}, {}, residual});
}

// x → norm1 → silu → conv1 → norm2 → silu → conv2, + shortcut(x)
static Tensor residual_block(Ops& ops, const Norms& norm, const VaeResidualBlock& block, const Tensor& x) {
    return checkpoint(ops, [norm, &block, x](Ops& ops) {
        Tensor h = norm(ops, block.norm1, x, true);
        h = convolution(ops, block.conv1, h);
        h = norm(ops, block.norm2, h, true);
        return convolution(ops, block.conv2, h, block.shortcut ? pointwise(ops, block.shortcut, x) : x);
    });
}

// One head over the h·w pixels of each frame, + x
static Tensor attention_block(Ops& ops, const Norms& norm, const VaeAttentionBlock& block, const Tensor& x) {
    return checkpoint(ops, [norm, &block, x](Ops& ops) {
        const int64_t length = x.size(1) * x.size(2);
        const float scale = static_cast<float>(1 / std::sqrt(static_cast<double>(x.size(3))));
        const Tensor h = norm(ops, block.group_norm, x, false).rows();
        const Tensor q = pointwise(ops, block.to_q, h), k = pointwise(ops, block.to_k, h),
                     v = pointwise(ops, block.to_v, h);
        const auto frame = [length](const Tensor& rows, int64_t i) {
            return rows.slice(0, i * length, (i + 1) * length);
        };
        std::vector<Tensor> frames;
        for (int64_t i = 0; i < x.size(0); i++)
            frames.push_back(biased_attention(ops, frame(q, i), frame(k, i), frame(v, i), 1, {}, scale));
        return pointwise(ops, block.to_out, concatenate(ops, frames).reshape(x.shape()), x);
    });
}

// h is handed over, so that no caller keeps the input of the first block.
static Tensor blocks(Ops& ops, const Norms& norm, const std::vector<VaeResidualBlock>& list, Tensor h) {
    for (const VaeResidualBlock& block : list) h = residual_block(ops, norm, block, h);
    return h;
}

// ---- opensora.md §3.2: 2D VAE ----

static Tensor spatial_middle(Ops& ops, const Norms& norm, const VaeCoder& coder, Tensor h) {
    h = residual_block(ops, norm, coder.middle[0], h);
    h = attention_block(ops, norm, coder.attention, h);
    return residual_block(ops, norm, coder.middle[1], h);
}

Tensor Vae::spatial_encode(Ops& ops, const Tensor& frames) const {
    const VaeCoder& coder = spatial_encoder;
    const Norms norm = spatial_norms(config);
    Tensor h = convolution(ops, coder.conv_in, frames);
    for (const VaeLevel& level : coder.levels) {
        h = blocks(ops, norm, level.blocks, std::move(h));
        // Zeros right and below only: an odd last row or column pairs with them.
        const Convolution halve{1, 2, 0, 0, h.size(0), h.size(1) / 2, h.size(2) / 2};
        if (level.resample) h = conv3d(ops, h, level.resample.weight, level.resample.bias, halve);
    }
    h = spatial_middle(ops, norm, coder, std::move(h));
    h = norm(ops, coder.norm_out, h, true);
    h = convolution(ops, coder.conv_out, h);
    return pointwise(ops, coder.quant_conv, h);
}

Tensor Vae::spatial_decode(Ops& ops, const Tensor& z) const {
    const VaeCoder& coder = spatial_decoder;
    const Norms norm = spatial_norms(config);
    Tensor h = pointwise(ops, coder.quant_conv, z);
    h = convolution(ops, coder.conv_in, h);
    h = spatial_middle(ops, norm, coder, std::move(h));
    for (const VaeLevel& level : coder.levels) {
        h = blocks(ops, norm, level.blocks, std::move(h));
        if (level.resample) h = convolution(ops, level.resample, upsample_nearest(ops, h));
    }
    h = norm(ops, coder.norm_out, h, true);
    return convolution(ops, coder.conv_out, h);
}

// ---- opensora.md §3.3: temporal VAE ----

Tensor Vae::temporal_encode(Ops& ops, const Tensor& x) const {
    const VaeCoder& coder = temporal_encoder;
    const Norms norm = temporal_norms(config);
    Tensor h = convolution(ops, coder.conv_in, x);
    for (const VaeLevel& level : coder.levels) {
        h = blocks(ops, norm, level.blocks, std::move(h));
        // Stride 2 in time needs one frame of zeros in front: (3 − 1) + (1 − 2).
        const Convolution halve{2, 1, 1, 1, h.size(0) / 2, h.size(1), h.size(2)};
        if (level.resample) h = conv3d(ops, h, level.resample.weight, level.resample.bias, halve);
    }
    h = blocks(ops, norm, coder.middle, std::move(h));
    h = norm(ops, coder.norm_out, h, true);
    h = pointwise(ops, coder.conv_out, h);
    return pointwise(ops, coder.quant_conv, h);
}

// out[2t + s, c] = in[t, 2c + s]
static Tensor depth_to_time(Ops& ops, const Tensor& x) {
    const int64_t T = x.size(0), H = x.size(1), W = x.size(2), C = x.size(3) / 2;
    return contiguous(ops, x.reshape({T, H, W, C, 2}).permute({0, 4, 1, 2, 3})).reshape({2 * T, H, W, C});
}

Tensor Vae::temporal_decode(Ops& ops, const Tensor& z) const {
    const VaeCoder& coder = temporal_decoder;
    const Norms norm = temporal_norms(config);
    Tensor h = pointwise(ops, coder.quant_conv, z);
    h = convolution(ops, coder.conv_in, h);
    h = blocks(ops, norm, coder.middle, std::move(h));
    for (const VaeLevel& level : coder.levels) {
        h = blocks(ops, norm, level.blocks, std::move(h));
        if (level.resample) h = depth_to_time(ops, convolution(ops, level.resample, h));
    }
    h = norm(ops, coder.norm_out, h, true);
    return convolution(ops, coder.conv_out, h);
}

// ---- model.md §7: micro-batches ----

// 17 ↔ 5: zeros, as Open-Sora has it. 16 ↔ 5: the first frame again, so that the first latent frame is a picture of it.
static Tensor with_front(Ops& ops, const VaeConfig& config, const Tensor& x, int64_t front) {
    if (front == 0) return x;
    const bool repeat = config.extra_latents() > 0;
    std::vector<Tensor> parts(static_cast<size_t>(repeat ? front : 1), x.slice(0, 0, 1));
    if (!repeat) {
        parts[0] = ops.empty({front, x.size(1), x.size(2), x.size(3)});
        fill(ops, parts[0], 0);
    }
    parts.push_back(x);
    return concatenate(ops, parts);
}

static Tensor without_front(const Tensor& x, const MicroBatch& batch) {
    return x.slice(0, batch.front(), batch.front() + batch.frames());
}

static Tensor mean_of(const Tensor& moments) { return moments.slice(3, 0, VaeConfig::latent_channels); }

static Tensor stored_or(Ops& ops, const Tensor& stored, const std::vector<float>& fallback) {
    const Shape shape = {1, 1, 1, VaeConfig::latent_channels};
    return stored ? stored.reshape(shape) : constant(ops, fallback, shape);
}

// 1/x as x/|x| · 1/|x|: an RMS norm over one channel gives both factors.
static Tensor reciprocal(Ops& ops, const Tensor& x) {
    const Tensor sign = ops.empty({x.numel(), 1, 1}), magnitude = ops.empty({x.numel(), 1});
    const Tensor one = constant(ops, std::vector<float>{1}, {1});
    call(ops,
         vin_rms_norm_rope_args{sign.view(), magnitude.view(), x.reshape(sign.shape()).view(), one.view(), {}, 1, 0.f});
    return multiply(ops, sign.reshape(x.shape()), magnitude.reshape(x.shape()));
}

static void expect_pixels(const Tensor& pixels) {
    const bool large_enough = pixels.rank() == 4 && pixels.size(2) >= VaeConfig::spatial_factor &&
                              pixels.size(3) >= VaeConfig::spatial_factor;
    expect(large_enough && pixels.size(0) == 3, "Expected pixels [3, T, H, W] of at least 8 × 8 but found ",
           pixels.shape());
}

static Shape latent_shape(const Tensor& pixels, int64_t latents) {
    return {VaeConfig::latent_channels, latents, pixels.size(2) / VaeConfig::spatial_factor,
            pixels.size(3) / VaeConfig::spatial_factor};
}

// [3,r,H,W] → moments [l,h,w,8]
static Tensor encode_micro_batch(Ops& ops, const Vae& vae, const Tensor& pixels, int64_t front) {
    const int64_t frames = pixels.size(1), group = frames_at_once(pixels.size(2), pixels.size(3));
    std::vector<Tensor> parts;
    for (int64_t begin = 0; begin < frames; begin += group) {
        const Tensor part = contiguous(ops, channels_last(pixels.slice(1, begin, std::min(frames, begin + group))));
        parts.push_back(times(ops, mean_of(vae.spatial_encode(ops, part)), vae.config.scaling_factor));
    }
    return vae.temporal_encode(ops, with_front(ops, vae.config, concatenate(ops, parts), front));
}

void Vae::encode_into(Ops& ops, const Tensor& pixels, const Tensor& latents) const {
    expect_pixels(pixels);
    expect_shape("latents", latents, latent_shape(pixels, latent_frames(config, pixels.size(1))));
    const Tensor shift = stored_or(ops, this->shift, config.shift), minus_shift = ops.empty(shift.shape());
    const Tensor per_scale = reciprocal(ops, stored_or(ops, this->scale, config.scale));
    combine_into(ops, minus_shift, -1, shift);
    for (const MicroBatch& batch : micro_batches(config, pixels.size(1))) {
        const Tensor moments =
            encode_micro_batch(ops, *this, pixels.slice(1, batch.frame_begin, batch.frame_end), batch.front());
        // z = (mean − shift) / scale
        const Tensor z = multiply(ops, add(ops, mean_of(moments), minus_shift), per_scale);
        copy_into(ops, channels_last(latents.slice(1, batch.latent_begin, batch.latent_end)), z);
    }
}

// One micro-batch: latents [4,l,h,w] → frames of the 2D VAE; take(frames [t,8h,8w,3], first) for each group of them.
template <class Take>
static void decode_micro_batch(Ops& ops, const Vae& vae, const Tensor& latents, const MicroBatch& batch,
                               const Take& take) {
    const Tensor scale = stored_or(ops, vae.scale, vae.config.scale);
    const Tensor shift = stored_or(ops, vae.shift, vae.config.shift);
    const Tensor z = add(ops, multiply(ops, contiguous(ops, channels_last(latents)), scale), shift);
    const Tensor x = times(ops, without_front(vae.temporal_decode(ops, z), batch), 1 / vae.config.scaling_factor);
    const int64_t group =
        frames_at_once(latents.size(2) * VaeConfig::spatial_factor, latents.size(3) * VaeConfig::spatial_factor);
    for (int64_t begin = 0; begin < batch.frames(); begin += group)
        take(vae.spatial_decode(ops, x.slice(0, begin, std::min(batch.frames(), begin + group))), begin);
}

static void expect_latents(const VaeConfig& config, const Tensor& latents, int64_t num_frames) {
    const bool right_rank = latents.rank() == 4 && latents.size(0) == VaeConfig::latent_channels;
    expect(right_rank, "Expected latents [4, N, h, w] but found ", latents.shape());
    const int64_t expected = latent_frames(config, num_frames), found = latents.size(1);
    expect(num_frames > 0 && found == expected, "Expected ", expected, " latent frames for ", num_frames,
           " video frames but found ", found);
}

void Vae::decode_into(Ops& ops, const Tensor& latents, int64_t num_frames, const Tensor& output) const {
    expect_latents(config, latents, num_frames);
    expect_shape(
        "pixels", output,
        {3, num_frames, latents.size(2) * VaeConfig::spatial_factor, latents.size(3) * VaeConfig::spatial_factor});
    for (const MicroBatch& batch : micro_batches(config, num_frames)) {
        const Tensor pixels = channels_last(output.slice(1, batch.frame_begin, batch.frame_end));
        decode_micro_batch(ops, *this, latents.slice(1, batch.latent_begin, batch.latent_end), batch,
                           [&](const Tensor& frames, int64_t first) {
                               copy_into(ops, pixels.slice(0, first, first + frames.size(0)), frames);
                           });
    }
}

static Shape frames_shape(const Tensor& latents, const MicroBatch& batch) {
    return {batch.frames(), latents.size(2) * VaeConfig::spatial_factor, latents.size(3) * VaeConfig::spatial_factor,
            3};
}

MicroBatch Vae::micro_batch(int64_t begin, int64_t end, int64_t num_frames) const {
    for (const MicroBatch& batch : micro_batches(config, num_frames))
        if (batch.latent_begin == begin && batch.latent_end == end) return batch;
    throw invalid("Expected the latent frames of one micro-batch of ", config.micro_latent_size, " but found ", begin,
                  " to ", end, " of ", num_frames, " video frames");
}

void Vae::decode_pixels_into(Ops& ops, const Tensor& latents, int64_t begin, int64_t end, int64_t num_frames,
                             const Tensor& output, const Tensor& finite_flag) const {
    expect_latents(config, latents, num_frames);
    const MicroBatch batch = micro_batch(begin, end, num_frames);
    expect_shape("pixels", output, frames_shape(latents, batch));
    decode_micro_batch(ops, *this, latents.slice(1, begin, end), batch, [&](const Tensor& frames, int64_t first) {
        check_finite(ops, finite_flag, frames.reshape({frames.size(0), frames.numel() / frames.size(0)}),
                     static_cast<int>(batch.frame_begin + first));
        call(ops, vin_to_pixels_args{output.slice(0, first, first + frames.size(0)).view(), frames.view()});
    });
}

// ---- training ----

void vae_loss(Ops& ops, const Vae& vae, const Tensor& pixels, const Tensor& weight, const Tensor& noise_,
              VaeStage stage, double l1, double mse, double kl, const Tensor& loss) {
    const VaeConfig& config = vae.config;
    expect_pixels(pixels);
    const int64_t T = pixels.size(1), H = pixels.size(2), W = pixels.size(3);
    expect(H % VaeConfig::spatial_factor == 0 && W % VaeConfig::spatial_factor == 0,
           "Expected a height and width divisible by 8 but found ", pixels.shape());
    expect(stage == VaeStage::spatial || T <= config.micro_frame_size, "Expected at most one micro-batch of ",
           config.micro_frame_size, " frames but found ", T);
    const MicroBatch batch = micro_batches(config, T).front();
    expect_shape("noise", noise_, latent_shape(pixels, stage == VaeStage::spatial ? T : batch.latents()));
    const int64_t cell = stage == VaeStage::temporal ? VaeConfig::spatial_factor : 1;
    if (weight) expect_shape("weight", weight, {T, H / cell, W / cell});

    const Tensor frames = contiguous(ops, channels_last(pixels)), noise = contiguous(ops, channels_last(noise_));
    Tensor target = frames, moments = vae.spatial_encode(ops, frames);
    if (stage != VaeStage::spatial) {
        const Tensor x = times(ops, mean_of(moments), config.scaling_factor);
        if (stage == VaeStage::temporal) target = x;
        moments = vae.temporal_encode(ops, with_front(ops, config, x, batch.front()));
    }
    gaussian_kl(ops, loss.slice(0, 1, 2), moments, kl);
    Tensor prediction = gaussian_sample(ops, moments, noise);
    if (stage != VaeStage::spatial) prediction = without_front(vae.temporal_decode(ops, prediction), batch);
    if (stage == VaeStage::all) prediction = times(ops, prediction, 1 / config.scaling_factor);
    if (stage != VaeStage::temporal) prediction = vae.spatial_decode(ops, prediction);
    reconstruction_loss(ops, loss.slice(0, 0, 1), prediction, target,
                        weight ? weight.reshape({weight.numel()}) : weight, l1, mse);
}

void vae_decoder_loss(Ops& ops, const Vae& vae, const Tensor& latents, const Tensor& pixels, const Tensor& weight,
                      double l1, double mse, const Tensor& loss) {
    expect_pixels(pixels);
    const int64_t frames = pixels.size(1);
    const std::vector<MicroBatch> batches = micro_batches(vae.config, frames);
    expect(batches.size() == 1, "Expected at most one micro-batch of ", vae.config.micro_frame_size,
           " frames but found ", frames);
    expect_latents(vae.config, latents, frames);
    if (weight) expect_shape("weight", weight, {frames, pixels.size(2), pixels.size(3)});
    const Tensor target = contiguous(ops, channels_last(pixels));
    decode_micro_batch(ops, vae, latents, batches.front(), [&](const Tensor& prediction, int64_t first) {
        const int64_t end = first + prediction.size(0);
        const Tensor part = weight ? weight.slice(0, first, end) : weight;
        reconstruction_loss(ops, loss.slice(0, 0, 1), prediction, target.slice(0, first, end),
                            part ? part.reshape({part.numel()}) : part, l1, mse);
    });
}

}  // namespace vin
