#include "json.h"

#include <algorithm>
#include <charconv>
#include <clocale>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <locale.h>

#include "files.h"

namespace vin {

namespace {

constexpr size_t depth_ceiling = 512;

// A host program may have called setlocale: numbers are read and written in the C locale, with a point.
locale_t c_locale() {
    static const locale_t locale = newlocale(LC_NUMERIC_MASK, "C", nullptr);
    return locale;
}

struct CNumericLocale {
    locale_t before = uselocale(c_locale());
    ~CNumericLocale() { uselocale(before); }
};

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// The number of bytes of the UTF-8 sequence at p (before end), 0 if it is not one.
size_t utf8_sequence(const unsigned char* p, const unsigned char* end) {
    unsigned char a = p[0];
    if (a < 0x80) return 1;
    size_t length = a >= 0xC2 && a <= 0xDF ? 2 : (a & 0xF0) == 0xE0 ? 3 : a >= 0xF0 && a <= 0xF4 ? 4 : 0;
    if (length == 0 || static_cast<size_t>(end - p) < length) return 0;
    for (size_t i = 1; i < length; i++)
        if ((p[i] & 0xC0) != 0x80) return 0;
    if (a == 0xE0 && p[1] < 0xA0) return 0;  // overlong
    if (a == 0xED && p[1] > 0x9F) return 0;  // surrogate
    if (a == 0xF0 && p[1] < 0x90) return 0;  // overlong
    if (a == 0xF4 && p[1] > 0x8F) return 0;  // above U+10FFFF
    return length;
}

void append_utf8(std::string* out, uint32_t code) {
    if (code < 0x80) return out->push_back(static_cast<char>(code));
    int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;  // bytes of six bits behind the first
    out->push_back(static_cast<char>(0xFF << (7 - more) | code >> 6 * more));
    while (more-- > 0) out->push_back(static_cast<char>(0x80 | (code >> 6 * more & 0x3F)));
}

void append_quoted(std::string* out, const std::string& text) {
    static const char* const short_escape[] = {"\\b", "\\t", "\\n", nullptr, "\\f", "\\r"};  // 8 … 13
    out->push_back('"');
    for (char c : text) {
        unsigned char u = static_cast<unsigned char>(c);
        if (c == '"' || c == '\\') {
            out->push_back('\\');
            out->push_back(c);
        } else if (u >= 8 && u <= 13 && short_escape[u - 8]) {
            *out += short_escape[u - 8];
        } else if (u < 0x20 || u == 0x7F) {
            char escape[8];
            snprintf(escape, sizeof escape, "\\u%04x", u);
            *out += escape;
        } else {
            out->push_back(c);
        }
    }
    out->push_back('"');
}

std::string write_double(double value) {
    if (!std::isfinite(value)) throw invalid("Expected a finite number for JSON but received ", value);
    CNumericLocale locale;
    char text[40];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, nullptr) == value) break;
    }
    return text;
}

void append_json(std::string* out, const Json& json) {
    if (json.is_null()) {
        *out += "null";
    } else if (const bool* b = json.boolean()) {
        *out += *b ? "true" : "false";
    } else if (const JsonNumber* n = json.number()) {
        *out += n->exact ? std::to_string(n->integer) : write_double(n->value);
    } else if (const std::string* s = json.text()) {
        append_quoted(out, *s);
    } else if (const JsonArray* a = json.array()) {
        out->push_back('[');
        for (size_t i = 0; i < a->size(); i++) {
            if (i) out->push_back(',');
            append_json(out, (*a)[i]);
        }
        out->push_back(']');
    } else {
        out->push_back('{');
        bool first = true;
        for (const JsonMember& member : json.object()->members()) {
            if (!first) out->push_back(',');
            first = false;
            append_quoted(out, member.first);
            out->push_back(':');
            append_json(out, member.second);
        }
        out->push_back('}');
    }
}

std::string brief_number(double value) {
    if (value == std::floor(value) && std::fabs(value) < 1e15) return std::to_string(static_cast<int64_t>(value));
    return write_double(value);
}

}  // namespace

size_t valid_utf8(const char* text, size_t bytes) {
    const unsigned char* p = reinterpret_cast<const unsigned char*>(text);
    size_t i = 0;
    while (i < bytes) {
        uint64_t eight;
        if (bytes - i >= 8 && (memcpy(&eight, p + i, 8), (eight & 0x8080808080808080u) == 0)) {
            i += 8;
            continue;
        }
        size_t length = utf8_sequence(p + i, p + bytes);
        if (length == 0) return i;
        i += length;
    }
    return bytes;
}

std::string describe(const Json* json) {
    if (!json) return "nothing";
    if (const std::string* s = json->text()) return quoted(*s);
    if (const JsonArray* a = json->array()) return "an array of " + std::to_string(a->size());
    if (const JsonObject* o = json->object()) return "an object of " + std::to_string(o->members().size());
    if (const JsonNumber* n = json->number(); n && !n->exact && !std::isfinite(n->value))
        return std::isnan(n->value) ? "NaN" : "an infinite number";
    return write_json(*json);
}

std::string quoted(const std::string& text) {
    constexpr size_t most = 80;
    size_t length = std::min(text.size(), most);
    while (length < text.size() && length > 0 && (static_cast<unsigned char>(text[length]) & 0xC0) == 0x80)
        length--;  // not inside a sequence
    std::string out;
    append_quoted(&out, text.substr(0, length));
    if (length < text.size()) out.insert(out.size() - 1, "…");
    return out;
}

// Where `key` is in by_key_, or would be.
std::vector<uint32_t>::const_iterator JsonObject::place(const std::string& key) const {
    return std::lower_bound(by_key_.begin(), by_key_.end(), key,
                            [this](uint32_t i, const std::string& k) { return members_[i].first < k; });
}

const Json* JsonObject::find(const std::string& key) const {
    const auto at = place(key);
    return at != by_key_.end() && members_[*at].first == key ? &members_[*at].second : nullptr;
}

void JsonObject::set(std::string key, Json value) {
    if (const Json* old = find(key)) {
        *const_cast<Json*>(old) = std::move(value);
        return;
    }
    by_key_.insert(place(key), static_cast<uint32_t>(members_.size()));
    members_.emplace_back(std::move(key), std::move(value));
}

// Sorting finds duplicates in n log n whatever the keys are; a hash table could be filled with colliding ones.
const std::string* JsonObject::index() {
    by_key_.resize(members_.size());
    for (uint32_t i = 0; i < by_key_.size(); i++) by_key_[i] = i;
    std::sort(by_key_.begin(), by_key_.end(),
              [this](uint32_t a, uint32_t b) { return members_[a].first < members_[b].first; });
    for (size_t i = 1; i < by_key_.size(); i++)
        if (members_[by_key_[i]].first == members_[by_key_[i - 1]].first) return &members_[by_key_[i]].first;
    return nullptr;
}

// Recursive descent over valid UTF-8. One level of nesting is one frame; depth is checked before going deeper.
class JsonParser {
public:
    JsonParser(const char* text, size_t bytes, const std::string& file, const JsonLimits& limits)
        : begin_(text), p_(text), end_(text + bytes), file_(file), limits_(limits),
          depth_(std::min(limits.depth, depth_ceiling)) {}

    Json document() {
        Json json;
        skip_space();
        value(&json, 0);
        skip_space();
        if (p_ != end_) fail("the end of the file");
        return json;
    }

private:
    [[noreturn]] void fail(const std::string& expected) const {
        std::string found = "the end of the file";
        if (p_ != end_) {
            const unsigned char* at = reinterpret_cast<const unsigned char*>(p_);
            found = quoted(std::string(p_, utf8_sequence(at, reinterpret_cast<const unsigned char*>(end_))));
        }
        size_t line = 1 + static_cast<size_t>(std::count(begin_, p_, '\n')), column = 1;
        for (const char* q = p_; q != begin_ && q[-1] != '\n'; q--) column++;
        fail_with(concat(expected, " at line ", line, ", column ", column), found);
    }
    [[noreturn]] void fail_with(const std::string& expected, const std::string& found) const {
        throw wrong_file(file_, expected, found);
    }

    void skip_space() {
        while (p_ != end_ && (*p_ == ' ' || *p_ == '\n' || *p_ == '\r' || *p_ == '\t')) p_++;
    }
    bool take(char c) {
        if (p_ == end_ || *p_ != c) return false;
        p_++;
        return true;
    }
    void word(const char* rest) {
        const char* start = p_;
        for (const char* w = rest; *w; w++)
            if (!take(*w)) {
                p_ = start;
                fail("a JSON value");
            }
    }

    void value(Json* out, size_t depth) {
        if (++values_ > limits_.values) fail_with(concat("at most ", limits_.values, " JSON values"), "more");
        if (p_ == end_) fail("a JSON value");
        switch (*p_) {
            case '{': return object(out, depth);
            case '[': return array(out, depth);
            case '"': return string(&out->value.emplace<std::string>());
            case 't':
                word("true");
                out->value = true;
                return;
            case 'f':
                word("false");
                out->value = false;
                return;
            case 'n': word("null"); return;
            default:
                if (!limits_.nonfinite || !nonfinite(out)) number(out);
                return;
        }
    }

    bool nonfinite(Json* out) {
        static const std::pair<const char*, double> names[] = {
            {"NaN", std::nan("")}, {"Infinity", HUGE_VAL}, {"-Infinity", -HUGE_VAL}};
        for (const auto& [name, value] : names) {
            const size_t length = strlen(name);
            if (static_cast<size_t>(end_ - p_) < length || memcmp(p_, name, length) != 0) continue;
            p_ += length;
            out->value = JsonNumber{value, 0, false};
            return true;
        }
        return false;
    }

    void deeper(size_t depth) {
        if (depth >= depth_) fail_with(concat("at most ", depth_, " nested arrays and objects"), "more");
    }

    void object(Json* out, size_t depth) {
        deeper(depth);
        JsonObject& object = out->value.emplace<JsonObject>();
        p_++;
        skip_space();
        if (!take('}')) {
            do {
                skip_space();
                if (p_ == end_ || *p_ != '"') fail("a key in quotes");
                if (object.members_.empty()) object.members_.reserve(4);
                object.members_.emplace_back();
                JsonMember& member = object.members_.back();
                string(&member.first);
                skip_space();
                if (!take(':')) fail("':'");
                skip_space();
                value(&member.second, depth + 1);
                skip_space();
            } while (take(','));
            if (!take('}')) fail("',' or '}'");
            if (const std::string* twice = object.index())
                fail_with("every key of an object once", concat(quoted(*twice), " twice"));
        }
    }

    void array(Json* out, size_t depth) {
        deeper(depth);
        JsonArray& array = out->value.emplace<JsonArray>();
        p_++;
        skip_space();
        if (!take(']')) {
            do {
                skip_space();
                if (array.empty()) array.reserve(2);
                array.emplace_back();
                value(&array.back(), depth + 1);
                skip_space();
            } while (take(','));
            if (!take(']')) fail("',' or ']'");
        }
    }

    uint32_t hex4() {
        uint32_t code = 0;
        for (int i = 0; i < 4; i++, p_++) {
            char c = p_ == end_ ? '\0' : *p_;
            uint32_t digit = is_digit(c) ? c - '0' : 16;
            if (c >= 'a' && c <= 'f') digit = c - 'a' + 10;
            if (c >= 'A' && c <= 'F') digit = c - 'A' + 10;
            if (digit == 16) fail("four hexadecimal digits");
            code = code * 16 + digit;
        }
        return code;
    }

    void escape(std::string* out) {
        static const char names[] = "\"\\/bfnrt", codes[] = "\"\\/\b\f\n\r\t";
        const char* name = p_ == end_ || *p_ == '\0' ? nullptr : strchr(names, *p_);
        if (name) {
            p_++;
            out->push_back(codes[name - names]);
            return;
        }
        if (!take('u')) fail("an escape");
        const char* start = p_ - 2;
        uint32_t code = hex4();
        if (code >= 0xD800 && code <= 0xDBFF && end_ - p_ >= 2 && p_[0] == '\\' && p_[1] == 'u') {
            p_ += 2;
            uint32_t low = hex4();
            code = low >= 0xDC00 && low <= 0xDFFF ? 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00) : 0xD800;
        }
        if (code >= 0xD800 && code <= 0xDFFF) {
            p_ = start;
            fail("a pair of surrogates");
        }
        append_utf8(out, code);
    }

    void string(std::string* out) {
        p_++;
        for (;;) {
            const char* start = p_;
            while (p_ != end_ && *p_ != '"' && *p_ != '\\' && static_cast<unsigned char>(*p_) >= 0x20) p_++;
            out->append(start, p_);
            if (p_ == end_) fail("'\"'");
            if (take('"')) return;
            if (!take('\\')) fail("no control character in a string");
            escape(out);
        }
    }

    // -? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?
    void number(Json* out) {
        const char* start = p_;
        bool integer = true;
        take('-');
        if (p_ == end_ || !is_digit(*p_)) {
            p_ = start;
            fail("a JSON value");
        }
        if (!take('0')) digits();
        if (take('.')) {
            integer = false;
            digits();
        }
        if (take('e') || take('E')) {
            integer = false;
            if (!take('+')) take('-');
            digits();
        }
        std::string text(start, p_);  // strtod needs its end
        JsonNumber n;
        n.value = strtod_l(text.c_str(), nullptr, c_locale());
        if (!std::isfinite(n.value)) fail_with("numbers that fit a double", quoted(text));
        if (integer && text != "-0")
            n.exact = std::from_chars(text.data(), text.data() + text.size(), n.integer).ec == std::errc();
        if (!n.exact) n.integer = 0;
        out->value = n;
    }

    void digits() {
        if (p_ == end_ || !is_digit(*p_)) fail("a digit");
        while (p_ != end_ && is_digit(*p_)) p_++;
    }

    const char *begin_, *p_, *end_;
    const std::string& file_;
    const JsonLimits& limits_;
    size_t depth_, values_ = 0;
};

Json parse_json(const char* text, size_t bytes, const std::string& file, const JsonLimits& limits) {
    if (bytes > limits.bytes)
        throw wrong_file(file, concat("at most ", limits.bytes, " bytes of JSON"), std::to_string(bytes));
    if (bytes > UINT32_MAX)
        throw wrong_file(file, "at most 4294967295 bytes of JSON",
                         std::to_string(bytes));  // members are counted in 32 bits
    if (const std::string foreign = foreign_format(text, bytes); !foreign.empty())
        throw wrong_file(file, "JSON", foreign);
    // Editors of other systems put a byte order mark in front.
    if (bytes >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) text += 3, bytes -= 3;
    size_t valid = valid_utf8(text, bytes);
    if (valid != bytes) throw wrong_file(file, "UTF-8", concat("another byte at offset ", valid));
    return JsonParser(text, bytes, file, limits).document();
}

std::string write_json(const Json& json) {
    std::string out;
    append_json(&out, json);
    return out;
}

void JsonField::refuse(const std::string& expected) const {
    const std::string found = describe(json_), what = expected + (path_.empty() ? "" : " for " + path_);
    throw Error("VIN_FORMAT", concat(file_, ": expected ", what, " but found ", found),
                {{"file", file_}, {"key", path_}, {"expected", expected}, {"found", found}});
}

void JsonField::unsupported(const std::string& expected) const {
    throw Error("VIN_NOT_SUPPORTED",
                concat("Expected ", expected, " for ", path_, " in ", file_, " but found ", describe(json_),
                       ", which is not supported"),
                {{"file", file_}, {"name", path_}});
}

JsonField JsonField::or_empty() const {
    static const Json empty = JsonObject();
    return present_and_not_null() ? *this : JsonField(&empty, file_, path_);
}

JsonField JsonField::operator[](const std::string& key) const {
    const JsonObject* object = json_ ? json_->object() : nullptr;
    if (!object) fail("an object");
    return JsonField(object->find(key), file_, path_.empty() ? key : path_ + "." + key);
}

JsonField JsonField::operator[](size_t index) const {
    const JsonArray* array = json_ ? json_->array() : nullptr;
    if (!array) fail("an array");
    return JsonField(index < array->size() ? &(*array)[index] : nullptr, file_,
                     path_ + "[" + std::to_string(index) + "]");
}

size_t JsonField::size() const {
    const JsonArray* array = json_ ? json_->array() : nullptr;
    if (!array) fail("an array");
    return array->size();
}

int64_t JsonField::integer(int64_t min, int64_t max) const {
    const JsonNumber* n = json_ ? json_->number() : nullptr;
    if (!n || !n->exact || n->integer < min || n->integer > max) fail("an integer from ", min, " to ", max);
    return n->integer;
}

int64_t JsonField::integer_or(int64_t fallback, int64_t min, int64_t max) const {
    return present_and_not_null() ? integer(min, max) : fallback;
}

double JsonField::number(double min, double max) const {
    const JsonNumber* n = json_ ? json_->number() : nullptr;
    if (!n || !(n->value >= min && n->value <= max))
        fail("a number from ", brief_number(min), " to ", brief_number(max));
    return n->value;
}

double JsonField::number() const {
    const JsonNumber* n = json_ ? json_->number() : nullptr;
    if (!n || !std::isfinite(n->value)) fail("a number");
    return n->value;
}

double JsonField::number_or(double fallback, double min, double max) const {
    return present_and_not_null() ? number(min, max) : fallback;
}

bool JsonField::boolean() const {
    const bool* b = json_ ? json_->boolean() : nullptr;
    if (!b) fail("true or false");
    return *b;
}

bool JsonField::boolean_or(bool fallback) const { return present_and_not_null() ? boolean() : fallback; }

const std::string& JsonField::text() const {
    const std::string* s = json_ ? json_->text() : nullptr;
    if (!s) fail("a string");
    return *s;
}

std::string JsonField::one_of(std::initializer_list<const char*> choices) const {
    const std::string* s = json_ ? json_->text() : nullptr;
    std::string names;
    for (const char* choice : choices) {
        if (s && *s == choice) return *s;
        names += (names.empty() ? "" : " or ") + quoted(choice);
    }
    fail(names);
}

std::vector<int64_t> JsonField::integers(int64_t min, int64_t max, size_t max_count) const {
    if (size() > max_count) fail("at most ", max_count, " integers");
    std::vector<int64_t> values;
    for (size_t i = 0; i < size(); i++) values.push_back((*this)[i].integer(min, max));
    return values;
}

}  // namespace vin
