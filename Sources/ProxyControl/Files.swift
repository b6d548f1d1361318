import Glibc

enum Errno {
    static func text(_ number: Int32) -> String {
        guard let text = strerror(number) else { return "error \(number)" }
        return String(cString: text)
    }
}

/// Small file operations on absolute paths. Blocking.
enum Files {
    static func makeFolder(_ path: String, mode: mode_t) throws(ProxyError) {
        var prefix = ""
        for part in path.split(separator: "/") {
            prefix += "/" + part
            if mkdir(prefix, prefix == path ? mode : 0o755) != 0 && errno != EEXIST {
                throw .system("making a folder", prefix, errno)
            }
        }
        if chmod(path, mode) != 0 { throw .system("setting a folder's mode", path, errno) }
    }

    /// With symbolic links followed.
    static func resolved(_ path: String) throws(ProxyError) -> String {
        guard let real = realpath(path, nil) else { throw .system("resolving a folder", path, errno) }
        defer { free(real) }
        return String(cString: real)
    }

    /// - Returns: nil when the file can't be read.
    static func read(_ path: String, from offset: Int = 0) -> [UInt8]? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        if offset > 0 { lseek(descriptor, off_t(offset), SEEK_SET) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 16384)
        while true {
            let count = Glibc.read(descriptor, &buffer, buffer.count)
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { return nil }
            if count == 0 { return bytes }
            bytes.append(contentsOf: buffer[..<count])
        }
    }

    static func text(_ path: String, from offset: Int = 0) -> String? {
        read(path, from: offset).map { String(decoding: $0, as: UTF8.self) }
    }

    /// What is in a folder, in no order; empty when it can't be read.
    static func names(in path: String) -> [String] {
        guard let folder = opendir(path) else { return [] }
        defer { closedir(folder) }
        var names: [String] = []
        while let entry = readdir(folder) {
            names.append(
                withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                    pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
                })
        }
        return names
    }

    /// 0 when there is no such file.
    static func size(_ path: String) -> Int {
        var information = stat()
        return stat(path, &information) == 0 ? Int(information.st_size) : 0
    }

    /// Replaces the file as a whole: a reader sees the old content or the new.
    static func replace(_ path: String, _ bytes: some Collection<UInt8>, mode: mode_t) throws(ProxyError) {
        let temporary = path + ".new"
        let descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode)
        guard descriptor >= 0 else { throw .system("writing a file", temporary, errno) }
        var rest = Array(bytes)[...]
        var failure: Int32 = 0
        while !rest.isEmpty && failure == 0 {
            let count = rest.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
            if count > 0 { rest = rest.dropFirst(count) } else if errno != EINTR { failure = errno }
        }
        if close(descriptor) != 0 && failure == 0 { failure = errno }
        guard failure == 0 else { throw .system("writing a file", temporary, failure) }
        if rename(temporary, path) != 0 { throw .system("replacing a file", path, errno) }
    }

    /// Takes the lock that a process holds as long as it controls a folder; the kernel gives it back when it ends.
    /// - Returns: the descriptor to close.
    static func lock(_ path: String) throws(ProxyError) -> Int32 {
        let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw .system("taking the folder's lock", path, errno) }
        if flock(descriptor, LOCK_EX | LOCK_NB) != 0 {
            close(descriptor)
            throw ProxyError(.folderInUse, while: "taking the folder's lock", "another process holds \(path)")
        }
        return descriptor
    }
}
