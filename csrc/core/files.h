// Files as bytes: positioned reads that never map memory (a file that shrinks while it is read is an error, not
// SIGBUS), and writes that are complete or absent.
#pragma once
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>

#include "error.h"

namespace vin {

// Asked between slices of a long read or write: false stops it with VIN_ABORTED. May be empty.
using KeepGoing = std::function<bool()>;
inline void check_keep_going(const KeepGoing& keep_going) {
    if (keep_going && !keep_going()) throw Error("VIN_ABORTED", "Aborted");
}

std::string folder_of(const std::string& path);  // "." for a bare name
std::string base_name_of(const std::string& path);

enum class OpenRule {
    follow,  // a path the user gave: symbolic links are the user's own
    member  // a name that came from a file: a regular file with one name inside the folder's repository; checked before
            // it is opened
};

// The folder that the files of `folder` may link into: a cache of the Hub keeps
// …/models--<name>/snapshots/<revision>/<file> as links into …/models--<name>/blobs; of a model folder's component it
// is the model folder, of any other folder itself.
std::string repository_of(const std::string& folder);

// The checks of OpenRule::member alone, without opening.
void check_member_file(const std::string& path);

// What a file is by its first bytes, and what to do about it: "a Git LFS pointer; run git lfs pull, …". Empty: nothing
// that is known.
std::string foreign_format(const char* start, size_t bytes);

// A regular file open for reading. VIN_MISSING_COMPONENT if there is none, VIN_FORMAT if it is something else, VIN_DISK
// if the system refuses.
class ReadFile {
public:
    ReadFile() = default;
    explicit ReadFile(const std::string& path, OpenRule rule = OpenRule::follow);
    ~ReadFile();
    ReadFile(ReadFile&& other) noexcept : path_(std::move(other.path_)), fd_(other.fd_), size_(other.size_) {
        other.fd_ = -1;
    }
    ReadFile& operator=(ReadFile&& other) noexcept {
        std::swap(path_, other.path_);
        std::swap(fd_, other.fd_);
        std::swap(size_, other.size_);
        return *this;
    }

    const std::string& path() const { return path_; }
    uint64_t size() const { return size_; }  // when it was opened
    void read_at(uint64_t offset, void* out,
                 size_t bytes) const;  // all of them, or VIN_FORMAT: the file has become shorter

private:
    std::string path_;
    int fd_ = -1;
    uint64_t size_ = 0;
};

// The whole file; VIN_FORMAT beyond max_bytes, before anything is read.
std::string read_file(const std::string& path, uint64_t max_bytes, OpenRule rule = OpenRule::follow);

// Temporary file in the same folder → write → fsync(file) → rename → fsync(folder). Without commit() the destructor
// removes the temporary file. Failures are VIN_DISK with the system's word for it (ENOSPC, …).
class AtomicFile {
public:
    explicit AtomicFile(const std::string& path);
    ~AtomicFile();
    AtomicFile(const AtomicFile&) = delete;
    AtomicFile& operator=(const AtomicFile&) = delete;

    void write(const void* data, size_t bytes);
    void commit();

private:
    std::string path_, temporary_;
    int fd_ = -1;
};

}  // namespace vin
