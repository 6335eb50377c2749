#include "files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <system_error>

namespace vin {

namespace {

const char* errno_name(int error) {
    static const std::pair<int, const char*> names[] = {{ENOSPC, "ENOSPC"},   {EDQUOT, "EDQUOT"},
                                                        {EFBIG, "EFBIG"},     {EIO, "EIO"},
                                                        {EROFS, "EROFS"},     {EACCES, "EACCES"},
                                                        {EPERM, "EPERM"},     {ENOENT, "ENOENT"},
                                                        {ENOTDIR, "ENOTDIR"}, {EISDIR, "EISDIR"},
                                                        {ELOOP, "ELOOP"},     {EMFILE, "EMFILE"},
                                                        {ENFILE, "ENFILE"},   {ENAMETOOLONG, "ENAMETOOLONG"}};
    for (const auto& [number, name] : names)
        if (number == error) return name;
    return "errno";
}

[[noreturn]] void throw_disk(const std::string& path, const char* doing, int error) {
    std::string reason = std::generic_category().message(error);
    throw Error("VIN_DISK", concat("Could not ", doing, " ", path, ": ", reason),
                {{"file", path}, {"reason", errno_name(error)}, {"errno", std::to_string(error)}});
}

const char* kind_of(mode_t mode) {
    return S_ISDIR(mode)    ? "a folder"
           : S_ISLNK(mode)  ? "a symbolic link"
           : S_ISFIFO(mode) ? "a pipe"
           : S_ISSOCK(mode) ? "a socket"
                            : "a device";
}

void check_member_info(const std::string& path, const struct stat& info) {
    if (!S_ISREG(info.st_mode)) throw wrong_file(path, "a regular file", kind_of(info.st_mode));
    if (info.st_nlink > 1)
        throw wrong_file(path, "a file with one name", concat("a hard link, one of ", info.st_nlink));
}

[[noreturn]] void throw_open(const std::string& path, int error) {
    if (error == ENOENT || error == ENOTDIR)
        throw Error("VIN_MISSING_COMPONENT", concat("Expected the file ", path, " but there is none"),
                    {{"file", path}});
    throw_disk(path, "open", error);
}

// The path without links; empty if nothing is there.
std::string real_path(const std::string& path) {
    char buffer[PATH_MAX];
    return realpath(path.c_str(), buffer) ? buffer : "";
}

bool is_inside(const std::string& path, const std::string& folder) {
    return folder == "/" ||
           (path.size() > folder.size() && path.compare(0, folder.size(), folder) == 0 && path[folder.size()] == '/');
}

// The regular file that a member's path stands for, and what is known of it before it is opened.
std::string member_target(const std::string& path, struct stat* info) {
    if (lstat(path.c_str(), info) != 0) throw_open(path, errno);
    std::string target = path;
    if (S_ISLNK(info->st_mode)) {
        const std::string root = repository_of(folder_of(path));
        target = real_path(path);
        if (target.empty()) throw wrong_file(path, "a regular file", "a symbolic link to nothing");
        if (!is_inside(target, root)) throw wrong_file(path, "a regular file", concat("a symbolic link out of ", root));
        if (lstat(target.c_str(), info) != 0) throw_open(path, errno);
    }
    check_member_info(path, *info);
    return target;
}

}  // namespace

std::string repository_of(const std::string& folder) {
    const std::string real = real_path(folder), snapshots = "/snapshots/";
    struct stat info;
    for (size_t at = real.rfind(snapshots); at != std::string::npos; at = at ? real.rfind(snapshots, at - 1) : at) {
        const std::string repository = real.substr(0, at);
        if (stat((repository + "/blobs").c_str(), &info) == 0 && S_ISDIR(info.st_mode)) return repository;
        if (at == 0) break;
    }
    const std::string above = folder_of(real);
    return stat((above + "/model_index.json").c_str(), &info) == 0 ? above : real;
}

std::string foreign_format(const char* start, size_t bytes) {
    static const std::pair<std::string, const char*> starts[] = {
        {"version https://git-lfs",
         "a Git LFS pointer; run git lfs pull in its repository, or download the file itself"},
        {"GGUF", "a GGUF file; take the model's safetensors files, GGUF is not read"},
        {"PK\3\4", "a zip archive, as torch.save writes one; convert a PyTorch checkpoint with "
                   "safetensors.torch.save_file, unpack any other archive"},
        {"\x80\2", "a Python pickle; convert it with safetensors.torch.save_file"},
        {"\x80\3", "a Python pickle; convert it with safetensors.torch.save_file"},
        {"\x80\4", "a Python pickle; convert it with safetensors.torch.save_file"},
        {"\x80\5", "a Python pickle; convert it with safetensors.torch.save_file"},
        {"\x1f\x8b", "a gzip file; unpack it"},
        {"\x89HDF", "an HDF5 file; take the model's safetensors files, HDF5 is not read"},
        {"\x93NUMPY", "a NumPy array; save it with safetensors.numpy.save_file"},
    };
    for (const auto& [begin, what] : starts)
        if (bytes >= begin.size() && memcmp(start, begin.data(), begin.size()) == 0) return what;
    size_t at = bytes >= 3 && memcmp(start, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    while (at < bytes && strchr(" \t\r\n", start[at]) && start[at]) at++;
    if (at + 1 < bytes && start[at] == '<' &&
        (start[at + 1] == '!' || start[at + 1] == '?' || isalpha(static_cast<unsigned char>(start[at + 1]))))
        return "an HTML or XML page, as a failed download leaves it; download the file again";
    return "";
}

std::string folder_of(const std::string& path) {
    size_t slash = path.rfind('/');
    return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

std::string base_name_of(const std::string& path) {
    size_t slash = path.rfind('/');
    return slash == std::string::npos ? path : path.substr(slash + 1);
}

void check_member_file(const std::string& path) {
    struct stat info;
    member_target(path, &info);
}

ReadFile::ReadFile(const std::string& path, OpenRule rule) : path_(path) {
    if (path.find('\0') != std::string::npos)
        throw wrong_file(path.substr(0, path.find('\0')), "a path without NUL", "one");
    struct stat before;
    const std::string target = rule == OpenRule::member ? member_target(path, &before) : path;
    // O_NONBLOCK: opening a pipe must not wait for its writer. It means nothing for regular files.
    int flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | (rule == OpenRule::member ? O_NOFOLLOW : 0);
    do fd_ = open(target.c_str(), flags);
    while (fd_ < 0 && errno == EINTR);
    if (fd_ < 0) {
        if (errno == ELOOP && rule == OpenRule::member) throw wrong_file(path, "a regular file", "a symbolic link");
        throw_open(path, errno);
    }
    try {
        struct stat info;
        if (fstat(fd_, &info) != 0) throw_disk(path, "open", errno);
        if (!S_ISREG(info.st_mode)) throw wrong_file(path, "a regular file", kind_of(info.st_mode));
        if (rule == OpenRule::member) {
            check_member_info(path, info);
            if (info.st_dev != before.st_dev || info.st_ino != before.st_ino)
                throw wrong_file(path, "the file that was checked", "another one: it was replaced meanwhile");
        }
        size_ = static_cast<uint64_t>(info.st_size);
    } catch (...) {
        close(fd_);
        throw;
    }
}

ReadFile::~ReadFile() {
    if (fd_ >= 0) close(fd_);
}

void ReadFile::read_at(uint64_t offset, void* out, size_t bytes) const {
    char* to = static_cast<char*>(out);
    while (bytes > 0) {
        // A single call reads at most 2 GiB on Linux; 1 GiB at a time.
        ssize_t got = pread(fd_, to, std::min<size_t>(bytes, size_t{1} << 30), static_cast<off_t>(offset));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) throw_disk(path_, "read", errno);
        if (got == 0)
            throw wrong_file(path_, concat(size_, " bytes as when it was opened"), concat("the end at byte ", offset));
        to += got;
        offset += static_cast<uint64_t>(got);
        bytes -= static_cast<size_t>(got);
    }
}

std::string read_file(const std::string& path, uint64_t max_bytes, OpenRule rule) {
    ReadFile file(path, rule);
    if (file.size() > max_bytes)
        throw wrong_file(path, concat("at most ", max_bytes, " bytes"), std::to_string(file.size()));
    std::string bytes(static_cast<size_t>(file.size()), '\0');
    file.read_at(0, &bytes[0], bytes.size());
    return bytes;
}

static void sync_folder(const std::string& folder) {
    int fd = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) throw_disk(folder, "open", errno);
    int failed = fsync(fd) != 0 ? errno : 0;
    close(fd);
    // Some file systems cannot sync a folder and say EINVAL.
    if (failed && failed != EINVAL) throw_disk(folder, "write", failed);
}

AtomicFile::AtomicFile(const std::string& path) : path_(path) {
    static std::atomic<uint64_t> count{0};
    if (path.find('\0') != std::string::npos) throw invalid("Expected a path without NUL to write to");
    // The final name may already be as long as names can be, so it is not part of this one. A leftover of a killed
    // process with our pid is skipped.
    do {
        temporary_ = folder_of(path) + "/.vin-" + std::to_string(getpid()) + "-" + std::to_string(count++) + ".tmp";
        fd_ = open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    } while (fd_ < 0 && (errno == EINTR || errno == EEXIST));
    if (fd_ < 0) throw_disk(path_, "write", errno);
}

AtomicFile::~AtomicFile() {
    if (fd_ >= 0) close(fd_);
    if (!temporary_.empty()) unlink(temporary_.c_str());
}

void AtomicFile::write(const void* data, size_t bytes) {
    const char* from = static_cast<const char*>(data);
    while (bytes > 0) {
        ssize_t put = ::write(fd_, from, std::min<size_t>(bytes, size_t{1} << 30));
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) throw_disk(path_, "write", errno);
        from += put;
        bytes -= static_cast<size_t>(put);
    }
}

void AtomicFile::commit() {
    if (fsync(fd_) != 0) throw_disk(path_, "write", errno);
    int fd = fd_;
    fd_ = -1;
    if (close(fd) != 0) throw_disk(path_, "write", errno);
    if (rename(temporary_.c_str(), path_.c_str()) != 0) throw_disk(path_, "write", errno);
    temporary_.clear();
    sync_folder(folder_of(path_));
}

}  // namespace vin
