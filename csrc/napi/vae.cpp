// The video autoencoder as a JavaScript class.
#include "model.h"

namespace vin {

void VaeWrap::define(Napi::Env env) {
    using V = VaeWrap;
    define_model(env, {method<&V::encode>("encode"), method<&V::decode>("decode"),
                       method<&V::decode_pixels>("decodePixels"), method<&V::memory>("memory")});
}

Napi::Value VaeWrap::encode(const Napi::CallbackInfo& info) {
    const ModelRef model = held();
    const VaeConfig& config = model->model.vae->config;
    const HandleRef pixels = unwrap_tensor(info[0], "pixels");
    const std::shared_ptr<Cancel> cancel = optional_cancel(options_at(info, 1));
    const Shape& p = pixels->shape;
    if (p.size() != 4 || p[0] != 3 || p[1] < 1 || p[2] < 8 || p[3] < 8)
        throw Error("VIN_INVALID", "Expected pixels of shape [3, T, H, W] but received " + to_string(p));
    const HandleRef out =
        new_handle(model->engine, {config.latent_channels, latent_frames(config, p[1]), p[2] / 8, p[3] / 8});
    return submit(info.Env(), out, cancel, [=](Engine& engine) {
        const Tensor result = Tensor::allocate(engine.memory(), out->shape), x = pixels->value();
        engine.planned(PlanKey("encode", model->model.vae->weights.id()).add(x), cancel.get(), 0,
                       [&](Ops& ops) { model->model.vae->encode_into(ops, x, result); });
        return result;
    });
}

struct DecodeOptions {
    HandleRef latents;
    int64_t num_frames;
    std::shared_ptr<Cancel> cancel;
};

static DecodeOptions decode_options(const Napi::CallbackInfo& info, const VaeConfig& config) {
    const Napi::Object options = options_at(info, 1);
    const HandleRef latents = unwrap_tensor(info[0], "latents");
    const Shape& x = latents->shape;
    if (x.size() != 4 || x[0] != config.latent_channels || x[1] < 1)
        throw Error("VIN_INVALID", "Expected latents of shape [" + std::to_string(config.latent_channels) +
                                       ", N, H, W] but received " + to_string(x));
    const int64_t frames = static_cast<int64_t>(required_number(options, "numFrames"));
    if (frames < 1 || latent_frames(config, frames) != x[1])
        throw Error("VIN_INVALID", "Expected numFrames that make " + std::to_string(x[1]) +
                                       " latent frames but received " + std::to_string(frames));
    return {latents, frames, optional_cancel(options)};
}

Napi::Value VaeWrap::decode(const Napi::CallbackInfo& info) {
    const ModelRef model = held();
    const DecodeOptions given = decode_options(info, model->model.vae->config);
    const Shape& x = given.latents->shape;
    const HandleRef out = new_handle(model->engine, {3, given.num_frames, 8 * x[2], 8 * x[3]});
    return submit(info.Env(), out, given.cancel, [=](Engine& engine) {
        const Tensor result = Tensor::allocate(engine.memory(), out->shape), z = given.latents->value();
        engine.planned(PlanKey("decode", model->model.vae->weights.id()).add(z).add(out->shape), given.cancel.get(), 0,
                       [&](Ops& ops) { model->model.vae->decode_into(ops, z, given.num_frames, result); });
        return result;
    });
}

Napi::Value VaeWrap::decode_pixels(const Napi::CallbackInfo& info) {
    const ModelRef model = held();
    const DecodeOptions given = decode_options(info, model->model.vae->config);
    const Napi::Object options = options_at(info, 1);
    const int64_t begin = static_cast<int64_t>(required_number(options, "begin")),
                  end = static_cast<int64_t>(required_number(options, "end"));
    const Shape& x = given.latents->shape;
    const int64_t frames = model->model.vae->micro_batch(begin, end, given.num_frames).frames();
    const HandleRef out = new_handle(model->engine, {frames, 8 * x[2], 8 * x[3], 3}, VIN_DTYPE_U8);
    return submit(info.Env(), out, given.cancel, [=](Engine& engine) {
        const Tensor result = Tensor::allocate(engine.memory(), out->shape, VIN_DTYPE_U8), z = given.latents->value();
        const Tensor flag = Tensor::allocate(engine.memory(), {1}, VIN_DTYPE_I32);
        const PlanKey key =
            PlanKey("decode pixels", model->model.vae->weights.id()).add(z.slice(1, begin, end)).add(out->shape);
        engine.planned(key, given.cancel.get(), 0, [&](Ops& ops) {
            fill(ops, flag, 0);
            model->model.vae->decode_pixels_into(ops, z, begin, end, given.num_frames, result, flag);
        });
        int32_t found = 0;
        engine.download(&found, flag.view().data, sizeof found);
        if (found)
            throw Error("VIN_NONFINITE",
                        "Expected finite pixels but the VAE made NaN or Inf from video frame " +
                            std::to_string(found - 1) + " on; check the latents and the weights of the VAE",
                        {{"frame", std::to_string(found - 1)}});
        return result;
    });
}

// Peak activation bytes of decoding one micro-batch, by the dry run on this thread.
Napi::Value VaeWrap::memory(const Napi::CallbackInfo& info) {
    const Napi::Object object = options_at(info, 0);
    const int64_t height = static_cast<int64_t>(required_number(object, "height")),
                  width = static_cast<int64_t>(required_number(object, "width"));
    const Vae& vae = *held()->model.vae;
    const int64_t frames = vae.config.micro_frame_size, latents = latent_frames(vae.config, frames);
    const size_t bytes = held()->engine->engine.plan_bytes(0, [&](Ops& ops) {
        vae.decode_pixels_into(ops, ops.empty({vae.config.latent_channels, latents, height / 8, width / 8}), 0, latents,
                               frames, ops.empty({frames, height, width, 3}, VIN_DTYPE_U8));
    });
    return Napi::Number::New(info.Env(), static_cast<double>(bytes));
}

}  // namespace vin
