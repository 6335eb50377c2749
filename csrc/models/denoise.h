// One whole evaluation (model.md §3) and the training loss (§4). C++ knows no timesteps list and no method: it
// evaluates what it is asked.
#pragma once
#include "../core/engine.h"
#include "dit.h"
#include "fusion.h"
#include "vin.h"

namespace vin {

struct DenoiseRequest {
    Tensor latents;  // [C, N, H, W]
    double timestep = 0;
    // [N]: t of each latent frame, where they have their own; `timestep` is then that of the global tokens. Or empty.
    std::vector<double> frame_times;
    Tensor text, negative_text;  // [L, D]; without negative_text or with guidance_scale 1: one evaluation
    double guidance_scale = 1;
    double fps = 16, height = 0, width = 0;  // pixels
    std::vector<Chunk> chunks;
    bool use_global_tokens = false;
    std::vector<int64_t> keyframes;
    bool fuse = true;
    std::vector<uint8_t> fuse_overlaps;  // per chunk but the first, instead of `fuse`; empty: all alike
    FusionWeights fusion_weights = FusionWeights::linear;
    FrameAttention attention;         // other than whole: one chunk of all frames, no global tokens, not in training
    std::vector<uint8_t> frame_mask;  // [N] or empty
    Tensor global_tokens_from;        // latents that the VIN reads instead
    // Global tokens of each branch [branches, G, d], or absent: those of the evaluation before are read, and those of
    // this one are written.
    Tensor memory;
    bool reads_memory = false;
    bool remembers_itself = false;  // in training: the memory is what the VIN makes of this evaluation without one
    Tensor residuals;               // [branches, residual_rows(), C]: what the blocks added to each chunk; or absent
    bool reuse_residuals = false;   // they are read, in place of captions, VIN and blocks; else they are written
    std::vector<Range> chunk_text, chunk_negative_text;     // rows of text per chunk; empty: all
    int64_t vin_text_rows = 0, vin_negative_text_rows = 0;  // the VIN reads the first so many rows of text; 0: all
    // methods.md §5, without global tokens: chunks read the frames before them through cam.* and a latent frame through
    // apm.*; anchor −1 is the null anchor. Guidance goes on with w_anchor · (ε(text, anchor) − ε(text, null anchor)).
    bool streaming = false;
    int64_t anchor = -1;
    double anchor_guidance_scale = 0;
    // Randomized blending, instead of `fuse`: how many frames of each overlap have the earlier chunk's value, the
    // others have the later one's. Per chunk but the first.
    std::vector<int64_t> overlap_cuts;
};

// What a test wants to see; filled for the conditional branch when `trace` is given.
struct DenoiseTrace {
    Tensor t_vec, video_tokens, global_tokens, global_tokens_projected;
    std::vector<Tensor> chunks;
};

// Writes the prediction into eps [C, N, H, W]. finite_flags i32 [branches · (chunks + 1)] may be absent; branch 0 is
// the text's.
void denoise(Ops& ops, const Transformer& model, const DenoiseRequest& request, const Tensor& eps,
             const Tensor& finite_flags, DenoiseTrace* trace = nullptr);
int64_t finite_flags_needed(const DenoiseRequest& request);
// Evaluations that guidance puts together, with or without a negative text.
int64_t guidance_branches(const DenoiseRequest& request, bool negative_text);
int64_t residual_rows(const DenoiseRequest& request, const Shape& latents);
// How far this moves from step to step tells how far the prediction will (methods.md §9): [N · S, C].
Tensor first_input(Ops& ops, const Transformer& model, const DenoiseRequest& request);
// Times of its rows, in the order of their modulation: `timestep`, 0 where frames are masked, those that frames have
// beside; and the place in that list of each frame [N].
struct FrameLevels {
    std::vector<double> times;
    std::vector<int32_t> of_frame;
};
FrameLevels frame_levels(const DenoiseRequest& request, bool masked);
// How many times there are in one evaluation.
inline int64_t times_of_rows(const DenoiseRequest& request) {
    return static_cast<int64_t>(frame_levels(request, !request.frame_mask.empty()).times.size());
}
// What the dry run of denoise() depends on.
PlanKey plan_key(const Transformer& model, const DenoiseRequest& request);
// Inside a command that keeps the model: it fails as VIN_NONFINITE, with the block of the first flag that is set in the
// order of execution.
void check_finite_flags(Engine& engine, const Tensor& finite_flags, const Transformer& model);

// All output channels [P, N, H, W] of the plain backbone as one chunk, as STDiT3 computes them (opensora.md §1.3).
void forward(Ops& ops, const Transformer& model, const DenoiseRequest& request, const Tensor& output);

struct LossRequest {
    DenoiseRequest evaluation;  // latents = x_t; one branch
    Tensor target;              // [C, N, H, W]
    double context_loss_weight = 1;
    double gradient_scale = 1;  // this video's share in the summed gradient
    Tensor global_features;     // [K], or absent: what the global tokens of the whole video are to tell
    double global_feature_weight = 0;
};

// Whether two videos can be evaluated as one batch, apart from the lengths of their texts.
bool same_shape(const DenoiseRequest& a, const DenoiseRequest& b);
// Rows of the residual stream that the largest chunk of a video has.
int64_t chunk_rows(const Transformer& model, const DenoiseRequest& request);

// §4, and where fusion.offsets train the error of the blended overlaps: adds the loss of each video of a batch of one
// shape to its entry of losses (f64 [1] each); text [B, L, D] stands for that of the requests. With a tape, gradients
// flow to every weight. Each chunk's backward pass runs before the next chunk's forward pass, so activations never grow
// with the length of the videos.
void denoise_loss(Ops& ops, const Transformer& model, const std::vector<LossRequest>& batch, const Tensor& text,
                  const std::vector<Tensor>& losses);

}  // namespace vin
