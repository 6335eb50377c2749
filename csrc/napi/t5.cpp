// The text encoder as a JavaScript class.
#include "model.h"

namespace vin {

static Napi::Value encode_js(const Napi::CallbackInfo& info, const ModelRef& model) {
    const T5Config& config = model->model.t5->config;
    const std::shared_ptr<Cancel> cancel = optional_cancel(options_at(info, 1));
    std::vector<int32_t> ids;
    for (int64_t id : integers(info[0], "ids")) {
        if (id < 0 || id >= config.vocab_size)
            throw invalid("Expected token ids from 0 to ", config.vocab_size - 1, " but received ", id);
        ids.push_back(static_cast<int32_t>(id));
    }
    const HandleRef out = new_handle(model->engine, {static_cast<int64_t>(ids.size()), config.d_model});
    return submit(info.Env(), out, cancel, [=](Engine& engine) {
        return planned(engine, PlanKey("t5", model->model.t5->weights.id()).add(out->shape), cancel, out->shape,
                       [&](Ops& ops, const Tensor& y) { copy_into(ops, y, model->model.t5->encode(ops, ids)); });
    });
}

void T5Wrap::define(Napi::Env env) { define_model(env, {method<&encode_js>("encode")}); }

}  // namespace vin
