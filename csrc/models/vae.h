// OpenSora VAE 1.2 at any size: a 2D AutoencoderKL per frame and a causal temporal VAE over micro-batches (model.md §7,
// opensora.md §3). Inside, everything is channels last: [T,H,W,C]. Callers see videos as [3,T,H,W] in −1 … 1 and
// latents [4,N,h,w] with h = H / 8, w = W / 8.
#pragma once
#include <string>
#include <vector>

#include "../core/weights.h"
#include "../ops/ops.h"
#include "config.h"

namespace vin {

struct VaeConfig {
    static constexpr int64_t latent_channels = 4;
    static constexpr int64_t spatial_factor = 8;
    static constexpr int64_t temporal_factor = 4;

    std::vector<int64_t> block_out_channels = {128, 256, 512, 512};  // 2D VAE
    int64_t layers_per_block = 2;
    int64_t norm_num_groups = 32;  // of both VAEs

    int64_t temporal_filters = 128;
    int64_t temporal_res_blocks = 4;
    std::vector<int64_t> temporal_multipliers = {1, 2, 2, 4};
    std::vector<bool> temporal_downsample = {false, true, true};  // after level 0, 1, 2

    double scaling_factor = 0.18215;                                // between the two VAEs
    std::vector<float> shift = {0, 0, 0, 0}, scale = {1, 1, 1, 1};  // used when the state dict has none
    int64_t micro_frame_size = 17;                                  // F
    int64_t micro_latent_size = 5;                                  // L
    JsonObject resolved;

    int64_t extra_latents() const {
        return micro_latent_size - (micro_frame_size + temporal_factor - 1) / temporal_factor;
    }  // L − ⌈F/4⌉
};

// Missing keys are the published sizes. Throws VIN_FORMAT, and VIN_NOT_SUPPORTED for what no backend computes with.
VaeConfig vae_config(const JsonField& config);
// Names and shapes as published, initial values of demo.md §3.4.
std::vector<WeightSpec> vae_weights(const VaeConfig& config);
// Older SDXL files call the attention's to_q, to_k, to_v, to_out.0 query, key, value, proj_attn.
std::string vae_canonical_name(const std::string& name);

// ---- model.md §7: r video frames of a micro-batch ↔ l = ⌈r/4⌉ + L − ⌈F/4⌉ latent frames ----
struct MicroBatch {
    int64_t frame_begin, frame_end, latent_begin, latent_end;
    int64_t frames() const { return frame_end - frame_begin; }
    int64_t latents() const { return latent_end - latent_begin; }
    int64_t front() const { return VaeConfig::temporal_factor * latents() - frames(); }  // frames put in front of it
};
std::vector<MicroBatch> micro_batches(const VaeConfig& config, int64_t num_frames);
int64_t latent_frames(const VaeConfig& config, int64_t num_frames);

struct VaeResidualBlock {
    Layer norm1, conv1, norm2, conv2;
    Layer shortcut;  // absent where the width stays
};
struct VaeAttentionBlock {
    Layer group_norm, to_q, to_k, to_v, to_out;
};
struct VaeLevel {
    std::vector<VaeResidualBlock> blocks;
    Layer resample;  // behind the blocks; absent where the size stays
};
// One way through one half of the VAE. Its levels are in the order of the data flow.
struct VaeCoder {
    Layer conv_in;
    std::vector<VaeLevel> levels;
    std::vector<VaeResidualBlock> middle;
    VaeAttentionBlock attention;  // behind the first block of the middle; 2D VAE only
    Layer norm_out, conv_out;
    Layer quant_conv;  // behind an encoder, in front of a decoder
};
// The tensors of a VAE, by their place in it.
struct VaeWeights {
    VaeCoder spatial_encoder, spatial_decoder, temporal_encoder, temporal_decoder;
    Tensor shift, scale;  // [1,4,1,1,1]; absent: those of the config
};
void list_vae_weights(WeightList& list, const VaeConfig& config, VaeWeights& weights);

// It must outlive a tape it recorded on.
struct Vae : VaeWeights {
    VaeConfig config;
    Weights weights;

    Vae(VaeConfig config, Weights weights);  // `weights` by the names of vae_weights

    // pixels [3,T,H,W] → posterior means after shift and scale: latents [4,N,h,w]
    void encode_into(Ops& ops, const Tensor& pixels, const Tensor& latents) const;
    // latents [4,N,h,w] → output [3,num_frames,8h,8w]
    void decode_into(Ops& ops, const Tensor& latents, int64_t num_frames, const Tensor& output) const;
    // One micro-batch, latent frames [begin, end) → output u8 [frames,8h,8w,3]. finite_flag i32 [1], 0 before, may be
    // absent: 1 + the video frame from which on pixels are not finite, which bytes cannot show.
    void decode_pixels_into(Ops& ops, const Tensor& latents, int64_t begin, int64_t end, int64_t num_frames,
                            const Tensor& output, const Tensor& finite_flag = {}) const;
    // The micro-batch that holds exactly the latent frames [begin, end); throws VIN_INVALID when there is none.
    MicroBatch micro_batch(int64_t begin, int64_t end, int64_t num_frames) const;

    // The four networks, channels last.
    Tensor spatial_encode(Ops& ops, const Tensor& frames) const;  // [T,H,W,3] → moments [T,h,w,8]
    Tensor spatial_decode(Ops& ops, const Tensor& z) const;       // [T,h,w,4] → [T,8h,8w,3]
    Tensor temporal_encode(Ops& ops, const Tensor& x) const;      // [4l,h,w,4] → moments [l,h,w,8]
    Tensor temporal_decode(Ops& ops, const Tensor& z) const;      // [l,h,w,4] → [4l,h,w,4]
};

// Adds to loss f64 [2]: Σ weight · (l1 |p − x| + mse (p − x)²) over all values, and kl · KL(posterior ‖ N(0, 1)). Then
// run the tape. What a step sees. spatial: frames by themselves through the 2D VAE. temporal: one micro-batch of 2D
// latents (posterior mean · scaling_factor) through the temporal VAE alone, which costs a tenth. all: one micro-batch
// of pixels through both.
enum class VaeStage { spatial, temporal, all };

// pixels [3,T,H,W]; weight [T,H,W], for `temporal` [T,h,w], or absent; noise of the posterior sample: [4,T,h,w] for
// `spatial`, else [4,l,h,w].
void vae_loss(Ops& ops, const Vae& vae, const Tensor& pixels, const Tensor& weight, const Tensor& noise, VaeStage stage,
              double l1, double mse, double kl, const Tensor& loss);
// The reconstruction part alone, of latents [4,l,h,w] as encode_into() gives them (a micro-batch of r frames): pixels
// [3,r,H,W], weight [r,H,W] or absent.
void vae_decoder_loss(Ops& ops, const Vae& vae, const Tensor& latents, const Tensor& pixels, const Tensor& weight,
                      double l1, double mse, const Tensor& loss);

}  // namespace vin
