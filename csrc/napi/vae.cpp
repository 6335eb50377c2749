// The video autoencoder as a JavaScript class.
#include "model.h"

namespace vin {

static Napi::Value encode_js(const Napi::CallbackInfo& info, const ModelRef& model) {
    const VaeConfig& config = model->model.vae->config;
    const HandleRef pixels = unwrap_tensor(info[0], "pixels");
    const std::shared_ptr<Cancel> cancel = optional_cancel(options_at(info, 1));
    const Shape& p = pixels->shape;
    if (p.size() != 4 || p[0] != 3 || p[1] < 1 || p[2] < 8 || p[3] < 8)
        throw invalid("Expected pixels of shape [3, T, H, W] but received ", p);
    const HandleRef out =
        new_handle(model->engine, {config.latent_channels, latent_frames(config, p[1]), p[2] / 8, p[3] / 8});
    return submit(info.Env(), out, cancel, [=](Engine& engine) {
        const Tensor x = pixels->value();
        return planned(engine, PlanKey("encode", model->model.vae->weights.id()).add(x), cancel, out->shape,
                       [&](Ops& ops, const Tensor& z) { model->model.vae->encode_into(ops, x, z); });
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
        throw invalid("Expected latents of shape [", config.latent_channels, ", N, H, W] but received ", x);
    const int64_t frames = required_integer(options, "numFrames");
    if (frames < 1 || latent_frames(config, frames) != x[1])
        throw invalid("Expected numFrames that make ", x[1], " latent frames but received ", frames);
    return {latents, frames, optional_cancel(options)};
}

static Napi::Value decode_js(const Napi::CallbackInfo& info, const ModelRef& model) {
    const DecodeOptions given = decode_options(info, model->model.vae->config);
    const Shape& x = given.latents->shape;
    const HandleRef out = new_handle(model->engine, {3, given.num_frames, 8 * x[2], 8 * x[3]});
    return submit(info.Env(), out, given.cancel, [=](Engine& engine) {
        const Tensor z = given.latents->value();
        const PlanKey key = PlanKey("decode", model->model.vae->weights.id()).add(z).add(out->shape);
        return planned(engine, key, given.cancel, out->shape,
                       [&](Ops& ops, const Tensor& x) { model->model.vae->decode_into(ops, z, given.num_frames, x); });
    });
}

static Napi::Value decode_pixels_js(const Napi::CallbackInfo& info, const ModelRef& model) {
    const DecodeOptions given = decode_options(info, model->model.vae->config);
    const Napi::Object options = options_at(info, 1);
    const int64_t begin = required_integer(options, "begin"), end = required_integer(options, "end");
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
        const auto found = std::make_shared<int32_t>(0);
        engine.fetch(found.get(), flag.view().data, sizeof *found);
        engine.after([found] {
            if (*found)
                throw Error("VIN_NONFINITE",
                            concat("Expected finite pixels but the VAE made NaN or Inf from video frame ", *found - 1,
                                   " on; check the latents and the weights of the VAE"),
                            {{"frame", std::to_string(*found - 1)}});
        });
        return result;
    });
}

// Peak activation bytes of decoding one micro-batch, by the dry run on this thread.
static Napi::Value memory_js(const Napi::CallbackInfo& info, const ModelRef& model) {
    const Napi::Object object = options_at(info, 0);
    const int64_t height = required_integer(object, "height"), width = required_integer(object, "width");
    const Vae& vae = *model->model.vae;
    const int64_t frames = vae.config.micro_frame_size, latents = latent_frames(vae.config, frames);
    const size_t bytes = model->engine->engine.plan_bytes(0, [&](Ops& ops) {
        vae.decode_pixels_into(ops, ops.empty({vae.config.latent_channels, latents, height / 8, width / 8}), 0, latents,
                               frames, ops.empty({frames, height, width, 3}, VIN_DTYPE_U8));
    });
    return Napi::Number::New(info.Env(), static_cast<double>(bytes));
}

void VaeWrap::define(Napi::Env env) {
    define_model(env, {method<&encode_js>("encode"), method<&decode_js>("decode"),
                       method<&decode_pixels_js>("decodePixels"), method<&memory_js>("memory")});
}

}  // namespace vin
