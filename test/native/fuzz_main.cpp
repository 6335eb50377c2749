// A small coverage-guided fuzzer for compilers without libFuzzer: fuzz_main --seconds N --seed S --crash FILE CORPUS_FILE…
// The targets are built with -fsanitize-coverage=trace-pc, which calls __sanitizer_cov_trace_pc on every edge; this file is not. Inputs that reach a new edge
// join the pool. The same seed gives the same inputs. A crash or a run of over 20 s leaves its input in FILE and a status other than 0.
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes);
extern "C" void __sanitizer_set_death_callback(void (*callback)());
extern "C" const char* __asan_default_options() { return "handle_abort=1:detect_leaks=1:allocator_may_return_null=0:max_allocation_size_mb=1024"; }

namespace {

constexpr size_t edge_slots = 1 << 16;
constexpr size_t input_bytes = 4096;

uint8_t edges_hit[edge_slots];
uintptr_t previous;

std::string current;
const char* crash_file = "crash";

void keep_input() {
    int fd = open(crash_file, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (fd < 0) return;
    if (write(fd, current.data(), current.size()) < 0) perror(crash_file);
    close(fd);
}

void on_alarm(int) {
    static const char text[] = "one input took over 20 s\n";
    if (write(2, text, sizeof text - 1) < 0) _exit(3);
    keep_input();
    _exit(3);
}

struct Random {
    uint64_t state;
    uint64_t next() {  // splitmix64
        uint64_t z = state += 0x9e3779b97f4a7c15u;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
        z = (z ^ z >> 27) * 0x94d049bb133111ebu;
        return z ^ z >> 31;
    }
    size_t below(size_t n) { return static_cast<size_t>(next() % n); }
};

const char* const tokens[] = {"{", "}", "[", "]", ",", ":", "\"", "\\", "null", "true", "false", "-1", "0", "1.5", "1e9", "1e999", "9223372036854775807",
                              "9223372036854775808", "4294967296", "\"dtype\":\"F32\"", "\"shape\":[1]", "\"data_offsets\":[0,4]", "\"__metadata__\":{\"a\":\"b\"}",
                              "\"BF16\"", "\"F64\"", "\"I64\"", "\"I32\"", "\"U8\"", "\"F16\"", "\"F8_E4M3\"", "\\u0041", "\\ud83d\\ude00", "\\ud800", "\xc3\xa9", "\xf0\x9f\x98\x80",
                              "\xed\xa0\x80", "\xff", "weight_map", ".safetensors", "../", " ", "\n", "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["};

void mutate(std::string* input, const std::vector<std::string>& pool, Random* random) {
    for (size_t times = 1 + random->below(4); times > 0; times--) {
        size_t at = random->below(input->size() + 1), length = 1 + random->below(16);
        bool empty = at == input->size();
        switch (random->below(8)) {
            case 0: if (!empty) (*input)[at] = static_cast<char>((*input)[at] ^ 1 << random->below(8)); break;
            case 1: if (!empty) (*input)[at] = static_cast<char>(random->next()); break;
            case 2: input->erase(at, length); break;
            case 3: input->insert(at, input->substr(random->below(input->size() + 1), length)); break;
            case 4: input->insert(at, tokens[random->below(sizeof tokens / sizeof *tokens)]); break;
            case 5: {
                const char* token = tokens[random->below(sizeof tokens / sizeof *tokens)];
                input->replace(at, strlen(token), token);
                break;
            }
            case 6: {  // another input's end behind this one's start
                const std::string& other = pool[random->below(pool.size())];
                *input = input->substr(0, at) + other.substr(random->below(other.size() + 1));
                break;
            }
            default: if (!empty && (*input)[at] >= '0' && (*input)[at] <= '9') (*input)[at] = static_cast<char>('0' + random->below(10));
        }
    }
    if (input->size() > input_bytes) input->resize(input_bytes);
}

// Runs `current`; returns whether it reached an edge for the first time.
bool run(std::vector<uint8_t>* seen, size_t* covered) {
    memset(edges_hit, 0, sizeof edges_hit);
    previous = 0;
    alarm(20);
    LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(current.data()), current.size());
    alarm(0);
    bool fresh = false;
    for (size_t i = 0; i < edge_slots; i += 8) {
        uint64_t eight;
        memcpy(&eight, edges_hit + i, 8);
        if (!eight) continue;
        for (size_t j = i; j < i + 8; j++)
            if (edges_hit[j] && !(*seen)[j]) {
                (*seen)[j] = 1;
                ++*covered;
                fresh = true;
            }
    }
    return fresh;
}

}  // namespace

extern "C" void __sanitizer_cov_trace_pc() {
    uintptr_t pc = reinterpret_cast<uintptr_t>(__builtin_return_address(0));
    edges_hit[(pc ^ previous) * 0x9e3779b97f4a7c15u >> 48] = 1;
    previous = pc << 1;
}

int main(int count, char** arguments) {
    double seconds = 60;
    Random random = {1};
    std::vector<std::string> pool;
    for (int i = 1; i < count; i++) {
        std::string argument = arguments[i];
        if (argument == "--seconds" && i + 1 < count) seconds = atof(arguments[++i]);
        else if (argument == "--seed" && i + 1 < count) random.state = strtoull(arguments[++i], nullptr, 10);
        else if (argument == "--crash" && i + 1 < count) crash_file = arguments[++i];
        else {
            FILE* file = fopen(arguments[i], "rb");
            if (!file) {
                perror(arguments[i]);
                return 2;
            }
            std::string bytes(1 << 20, '\0');
            bytes.resize(fread(&bytes[0], 1, bytes.size(), file));
            fclose(file);
            pool.push_back(bytes);
        }
    }
    if (pool.empty()) pool.emplace_back();
    signal(SIGALRM, on_alarm);
    __sanitizer_set_death_callback(keep_input);

    std::vector<uint8_t> seen(edge_slots);
    size_t covered = 0, executions = 0;
    for (const std::string& input : pool) {
        current = input;
        run(&seen, &covered);
        executions++;
    }
    auto start = std::chrono::steady_clock::now();
    auto elapsed = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); };
    while (elapsed() < seconds) {
        current = pool[random.below(pool.size())];
        mutate(&current, pool, &random);
        if (run(&seen, &covered)) pool.push_back(current);
        executions++;
    }
    printf("executions %zu, edges covered %zu, inputs kept %zu\n", executions, covered, pool.size());
    return 0;
}
