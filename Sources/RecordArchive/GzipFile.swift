import CZlib
import Glibc

/// Writes one gzip file (RFC 1952). Not Sendable: it stays with whoever made it.
final class GzipFile {
    private let path: String
    private let descriptor: Int32
    private var stream = z_stream()
    private var buffer = [UInt8](repeating: 0, count: 1 << 16)
    private var isOpen = true

    /// Makes a new file. Whoever still writes to an earlier one of that name does not touch this one, also when it has
    /// got another name by then.
    init(path: String) throws(ArchiveError) {
        self.path = path
        unlink(path)
        descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o640)
        guard descriptor >= 0 else { throw .system(path) }
        // 31: the largest window, with gzip's header and trailer.
        let status = deflateInit2_(
            &stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY, ZLIB_VERSION,
            Int32(MemoryLayout<z_stream>.size))
        guard status == Z_OK else {
            close(descriptor)
            isOpen = false
            throw .file(path: path, reason: "zlib can't start (\(status))")
        }
    }

    deinit {
        guard isOpen else { return }
        deflateEnd(&stream)
        close(descriptor)
    }

    func write(_ bytes: [UInt8]) throws(ArchiveError) { try deflate(bytes, Z_NO_FLUSH) }

    /// On return all of it is on the disk.
    func finish() throws(ArchiveError) {
        try deflate([], Z_FINISH)
        guard fsync(descriptor) == 0 else { throw .system(path) }
        isOpen = false
        deflateEnd(&stream)
        // NFS tells only here that there was no room.
        guard close(descriptor) == 0 else { throw .system(path) }
    }

    private func deflate(_ bytes: [UInt8], _ flush: Int32) throws(ArchiveError) {
        var input = bytes
        var failure: ArchiveError?
        input.withUnsafeMutableBufferPointer { input in
            stream.next_in = input.baseAddress
            stream.avail_in = UInt32(input.count)
            repeat {
                let produced = buffer.withUnsafeMutableBufferPointer { output in
                    stream.next_out = output.baseAddress
                    stream.avail_out = UInt32(output.count)
                    _ = CZlib.deflate(&stream, flush)
                    return output.count - Int(stream.avail_out)
                }
                failure = writeAll(produced)
                // A buffer that was not filled means that nothing is left.
            } while failure == nil && stream.avail_out == 0
            stream.next_in = nil
        }
        if let failure { throw failure }
    }

    /// - Returns: what went wrong; nil: the first `count` bytes of the buffer are in the file.
    private func writeAll(_ count: Int) -> ArchiveError? {
        var written = 0
        while written < count {
            let result = buffer.withUnsafeBytes {
                Glibc.write(descriptor, $0[written..<count].rebased, count - written)
            }
            if result > 0 { written += result } else if errno != EINTR { return .system(path) }
        }
        return nil
    }
}

/// Reads one gzip file.
enum GzipReader {
    /// - Parameters:
    ///   - raw: gets the file's bytes as they are.
    ///   - content: gets what they stand for.
    /// - Throws: `.damaged` unless it is one whole gzip file: zlib checks CRC and length.
    static func read(
        _ path: String, raw: (UnsafeBufferPointer<UInt8>) -> Void, content: (UnsafeBufferPointer<UInt8>) -> Void
    ) throws(ArchiveError) {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .system(path) }
        defer { close(descriptor) }
        var stream = z_stream()
        guard inflateInit2_(&stream, 31, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size)) == Z_OK else {
            throw .file(path: path, reason: "zlib can't start")
        }
        defer { inflateEnd(&stream) }
        var input = [UInt8](repeating: 0, count: 1 << 16)
        var output = [UInt8](repeating: 0, count: 1 << 17)
        var status = Z_OK
        while true {
            let count = input.withUnsafeMutableBytes { Glibc.read(descriptor, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw .system(path) }
            guard count > 0 else { break }
            guard status != Z_STREAM_END else { throw .damaged(path: path, reason: "something follows its end") }
            status = input.withUnsafeMutableBufferPointer { bytes in
                raw(UnsafeBufferPointer(rebasing: bytes[..<count]))
                stream.next_in = bytes.baseAddress
                stream.avail_in = UInt32(count)
                var status = Z_OK
                repeat {
                    status = output.withUnsafeMutableBufferPointer { room in
                        stream.next_out = room.baseAddress
                        stream.avail_out = UInt32(room.count)
                        let status = inflate(&stream, Z_NO_FLUSH)
                        content(UnsafeBufferPointer(rebasing: room[..<(room.count - Int(stream.avail_out))]))
                        return status
                    }
                } while status == Z_OK && (stream.avail_in > 0 || stream.avail_out == 0)
                // Nothing to do is no error: the rest comes with the next bytes.
                return status == Z_BUF_ERROR ? Z_OK : stream.avail_in > 0 ? Z_DATA_ERROR : status
            }
            guard status == Z_OK || status == Z_STREAM_END else {
                throw .damaged(path: path, reason: "it is not gzip throughout (zlib: \(status))")
            }
        }
        guard status == Z_STREAM_END else { throw .damaged(path: path, reason: "its end is missing") }
    }
}

extension Slice<UnsafeRawBufferPointer> {
    fileprivate var rebased: UnsafeRawPointer? { UnsafeRawBufferPointer(rebasing: self).baseAddress }
}

extension ArchiveError {
    /// What the system said last.
    static func system(_ path: String) -> ArchiveError { .file(path: path, reason: String(cString: strerror(errno))) }
}
